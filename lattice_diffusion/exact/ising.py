"""Nearest-neighbour Ising models of one and two dimensions, solved by sums along the chain or from row to row.

ChainSolver is a hidden Markov model under any channel, with a closed form under erasure; TransferMatrix takes open
grids and cylinders with any couplings and fields, and SeamSolver closes them to tori and to long cylinders.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax

from ..channels import Channel, Erasure
from ..errors import InputError, check_memory
from ..kernels import chain, potts, rows
from ..kernels import transfer_matrix as kernel
from ..lattice import BoolArray, FloatArray, Tripartition
from .spins import Box, SpinSolver, block_states, spin_weights

MAX_WIDTH = 14
MAX_SEAM = 8


def link_factors(coupling: FloatArray) -> FloatArray:
    """Return factors (..., 2) of equal and opposite neighbours, the larger one scaled to 1."""
    return np.exp(-np.stack([-coupling, coupling], axis=-1).clip(0) * 2.0)


class ChainSolver(SpinSolver):
    """Sums over an open or periodic chain with coupling beta, of order N per sample: Potts' chain of two symbols."""

    def __init__(self, n_sites: int, beta: float, periodic: bool) -> None:
        check_memory("lattice", 80.0 * n_sites, "take a shorter chain")
        self.shape = (n_sites,)
        self.correlation = float(np.tanh(beta))
        self.periodic = periodic
        self._right = np.ones((n_sites, 1, 2))
        self._down = np.tile(link_factors(np.array(float(beta))), (n_sites, 1, 1))
        if not periodic:
            self._down[0] = 1.0
        self._log_z = self._log_sum(np.ones((1, n_sites, 2)))[0]

    def _log_sum(self, weights: FloatArray) -> FloatArray:
        out = np.empty((len(weights), 2 if self.periodic else 1))
        potts.log_sums(self._right, self._down, weights[:, :, None], self.periodic, out)
        return np.asarray(logsumexp(out, axis=1))

    def log_evidence(self, h: FloatArray) -> FloatArray:
        return self._log_sum(spin_weights(h)) - self._log_z

    def probabilities(self, h: FloatArray) -> FloatArray:
        weights = spin_weights(h)[:, :, None]
        out = np.empty_like(weights)
        potts.site_probabilities(self._right, self._down, weights, self.periodic, out)
        return out[:, :, 0]

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.int8]:
        """Return perfect samples (n_samples, N) of +-1."""
        out = np.empty((n_samples, *self.shape), np.int8)
        chain.sample(self.correlation, self.correlation if self.periodic else 0.0, rng, out)
        return out

    def closed_cmi(self, channel: Channel, t: float, parts: Tripartition) -> float | None:
        if self.correlation == 0.0 or separated(channel, t, parts):
            return 0.0
        if self.periodic or not isinstance(channel, Erasure) or not parts.ABC.all() or parts.A.sum() != 1:
            return None
        site = int(np.argmax(parts.A))
        buffer = np.flatnonzero(parts.AB)
        if buffer[-1] - buffer[0] != len(buffer) - 1:
            return None
        inside = (site - int(buffer[0]), int(buffer[-1]) - site)
        return erasure_cmi(self.correlation, t, inside, reach=(site, self.shape[0] - 1 - site))


def separated(channel: Channel, t: float, parts: Tripartition) -> bool:
    """Return whether there is no noise and B parts A from C, all sites being observed: then I(A;C|B) = 0 (Markov)."""
    moves = [np.roll(parts.A, step, axis) for axis in range(parts.A.ndim) for step in (1, -1)]
    return channel.snr(t) == np.inf and bool(parts.ABC.all()) and not np.any(np.array(moves) & parts.C)


def erasure_cmi(correlation: float, eps: float, buffer: tuple[int, int], reach: tuple[int, int]) -> float:
    """Return I(A;C|B) of one spin of an open Ising chain under erasure, in nats, exact.

    Only the nearest kept spins, at distances a and b on the two sides, matter. With
    c(x) = log 2 - h2((1 + tanh(beta)^x)/2) (0 if there is no kept spin), the entropy of A given them is
    log 2 - c(a) - c(b) + c(a+b), so each pattern contributes, all terms non-negative,
        c(a) - c(a+b)         a beyond the buffer, b inside,
        c(a) + c(b) - c(a+b)  both beyond,
    weighted with (1-eps) for A itself and P(a) = (1-eps) eps^(a-1). For large buffers of r sites on each side it
    falls as (eps tanh(beta)^2)^r: the Markov length is 1/log(coth(beta)^2/eps), bounded for every t.

    Args:
        correlation: tanh(beta).
        buffer: sites of B to the left and to the right of A.
        reach: sites of the chain to the left and to the right of A.
    """
    sides, n = [], sum(reach)
    information = np.append(bond_information(correlation ** np.arange(n + 1.0)), 0.0)  # by distance; of no spin: 0
    for n_buffer, n_sites in zip(buffer, reach, strict=True):
        distance = np.append(np.arange(1, n_sites + 1), n + 1)
        probability = np.append((1 - eps) * eps ** np.arange(n_sites), eps**n_sites)
        sides.append((distance, probability, distance > n_buffer))
    (a, p_a, far_a), (b, p_b, far_b) = sides
    c_a, c_b, c_ab = information[a], information[b], information[np.minimum(a[:, None] + b, n + 1)]
    gain = np.where(far_a[:, None], c_a[:, None], 0.0) + np.where(far_b, c_b, 0.0)
    gain = np.where(far_a[:, None] | far_b, gain - c_ab, 0.0)
    return float((1 - eps) * (p_a @ gain.clip(0) @ p_b))


def bond_information(correlation: FloatArray) -> FloatArray:
    """Return log 2 - h2((1 + y)/2) of two spins with correlation y, to full relative accuracy."""
    y2 = np.asarray(correlation, float) ** 2
    small = sum(y2**n / (2 * n * (2 * n - 1)) for n in range(1, 9))
    y = np.sqrt(y2)
    with np.errstate(divide="ignore", invalid="ignore"):
        large = 0.5 * ((1 + y) * np.log1p(y) + np.where(y < 1, (1 - y) * np.log1p(-y), 0.0))
    return np.where(y2 < 0.01, small, large)


class TransferMatrix(SpinSolver):
    """Exact answers for p_0(s) ~ exp(sum K s s' + sum f s) on an open L x W grid, or on a cylinder.

    Cost per sample of order L W 2^w, memory of order (L + W) 2^w numbers, w the shorter side, or the periodic one.

    Args:
        right: (L, W-1), K between (i, j) and (i, j+1); (L, W) if the last column meets the first.
        down: (L-1, W), K between (i, j) and (i+1, j); (L, W) if the last row meets the first.
        field: f, one number or (L, W).

    Raises InputError where w is longer than 14, or both axes are periodic.
    """

    def __init__(self, right: FloatArray, down: FloatArray, field: ArrayLike = 0.0) -> None:
        right, down = np.asarray(right, float), np.asarray(down, float)
        self.shape = shape = (right.shape[0], down.shape[1])
        periodic = (down.shape[0] == shape[0], right.shape[1] == shape[1])
        if all(periodic):
            raise InputError(f"the exact Ising solution takes one periodic axis, got two ({shape[0]}x{shape[1]})")
        self._transposed = periodic[0] or (shape[1] > shape[0] and not periodic[1])
        if self._transposed:
            right, down = down.T, right.T
        n_rows, width = right.shape[0], down.shape[1]
        if width > MAX_WIDTH:
            side = "periodic side" if any(periodic) else "shorter side"
            raise InputError(
                f"the exact Ising solution needs a {side} <= {MAX_WIDTH}, got {shape[0]}x{shape[1]}; "
                f"{MAX_WIDTH}x{n_rows} is feasible, and samplers draw any size"
            )
        self._right = np.ones((n_rows, 1 + right.shape[1], 2))
        self._right[:, 1:] = link_factors(right)
        self._down = np.ones((n_rows + 1, width, 2))
        self._down[1:-1] = link_factors(down)
        self._field = np.broadcast_to(np.asarray(field, float), shape)
        self._prior = self._oriented(spin_weights(self._field)[None])
        self._above = np.empty((n_rows + 1, 1 << width))
        self._below = np.empty_like(self._above)
        kernel.row_vectors(self._right, self._down, self._prior[0], self._above, self._below)
        self.log_z = self._log_sum(self._prior)[0]

    def _oriented(self, weights: FloatArray) -> FloatArray:
        """Return weights (n, L, W, 2) as (n, rows, width, 2) of the kernels."""
        return np.ascontiguousarray(np.swapaxes(weights, 1, 2) if self._transposed else weights)

    def _weights(self, h: FloatArray) -> FloatArray:
        """Return the weights of likelihood fields and of the model's own, (n, rows, width, 2)."""
        return self._oriented(spin_weights(h)) * self._prior

    def _log_sum(self, weights: FloatArray) -> FloatArray:
        out = np.empty(len(weights))
        kernel.log_evidence(self._right, self._down, weights, out)
        return out

    def log_evidence(self, h: FloatArray) -> FloatArray:
        return self._log_sum(self._weights(h)) - self.log_z

    def closed_cmi(self, channel: Channel, t: float, parts: Tripartition) -> float | None:
        """Return 0 where that is known: for independent spins, and without noise beyond B; else None."""
        independent = bool((self._right == 1.0).all() and (self._down == 1.0).all())
        return 0.0 if independent or separated(channel, t, parts) else None

    def probabilities(self, h: FloatArray) -> FloatArray:
        weights = self._weights(h)
        law = self._site_odds(weights) * weights
        law /= law.sum(axis=-1, keepdims=True)
        return np.swapaxes(law, 1, 2) if self._transposed else law

    def _site_odds(self, weights: FloatArray) -> FloatArray:
        """Return the relative weights (n, rows, width, 2) of spin -1 and +1 given all weights but a site's own."""
        out = np.empty_like(weights)
        rows.site_odds(self._right, self._down, weights, out)
        return out

    def blind_log_odds(self, h: FloatArray, box: Box, radius: int | None, wanted: BoolArray) -> FloatArray:
        if radius is not None and radius < max(self.shape) - 1:
            return super().blind_log_odds(h, box, radius, wanted)
        odds = self._site_odds(self._weights(h))
        with np.errstate(divide="ignore"):
            log_odds = np.log(odds[..., 1]) - np.log(odds[..., 0])
        return (np.swapaxes(log_odds, 1, 2) if self._transposed else log_odds) + 2.0 * self._field

    def block_posterior(self, h: FloatArray, sites: NDArray[np.int64]) -> FloatArray:
        cells = np.stack(np.unravel_index(sites, self.shape), axis=1)
        cells = np.ascontiguousarray(cells[:, ::-1] if self._transposed else cells)
        # rows without any observation are summed over once, not for every sample
        fields = self._oriented(h)
        used = np.union1d(np.flatnonzero(fields.any(axis=(0, 2))), cells[:, 0])
        first, last = used[0], used[-1] + 1
        weights = spin_weights(fields[:, first:last]) * self._prior[:, first:last]
        out = np.empty((len(h), 1 << len(sites)))
        links, ends = (self._right[first:last], self._down[first : last + 1]), (self._above[first], self._below[last])
        kernel.block_weights(*links, weights, cells - [first, 0], *ends, out)
        return out

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.int8]:
        """Return perfect, independent samples of p_0, (n_samples, L, W) of +-1, row by row backwards."""
        n_rows, width = self._down.shape[0] - 1, self._down.shape[1]
        states = np.searchsorted(np.cumsum(self._above[-1]), rng.random(n_samples) * self._above[-1].sum())
        out = np.empty((n_samples, n_rows, width), np.int8)
        for i in range(n_rows - 1, -1, -1):
            out[:, i] = 2 * ((states[:, None] >> np.arange(width - 1, -1, -1)) & 1) - 1
            kernel.sample_row_above(self._above[i], self._down[i], states, rng)
        return np.swapaxes(out, 1, 2) if self._transposed else out


def seam_length(shape: tuple[int, ...], periodic: tuple[bool, ...]) -> int | None:
    """Return the length of the seam that is best summed over, None where none is needed.

    It is the shorter side of a torus, and the open side of a cylinder more than twice as long around.
    """
    if all(periodic):
        return min(shape)
    side = shape[periodic.index(False)]
    return side if any(periodic) and 2 * side < max(shape) else None


class SeamSolver(SpinSolver):
    """Exact answers where the last row meets the first: on a torus, or along the longer side of a cylinder.

    The states of the first row, the seam, are summed over; given one, the other rows are an open grid, or a cylinder,
    in a field. Cost per sample of order L W 4^W, memory of order L 4^W numbers, W the length of the seam.

    Args:
        right, down, field: as of `TransferMatrix`; down or right or both are closed.

    Raises InputError where the seam is longer than 8.
    """

    def __init__(self, right: FloatArray, down: FloatArray, field: ArrayLike = 0.0) -> None:
        right, down = np.asarray(right, float), np.asarray(down, float)
        self.shape = shape = (right.shape[0], down.shape[1])
        closed = (down.shape[0] == shape[0], right.shape[1] == shape[1])
        self._transposed = shape[1] > shape[0] if all(closed) else closed[1]
        field = np.broadcast_to(np.asarray(field, float), shape)
        if self._transposed:
            right, down, field = down.T, right.T, field.T
        n_rows, width = field.shape
        if width > MAX_SEAM:
            raise InputError(
                f"the exact Ising solution needs a shorter side <= {MAX_SEAM} on a torus, and a periodic side "
                f"<= {MAX_WIDTH} or an open one <= {MAX_SEAM} on a cylinder, got {shape[0]}x{shape[1]}; sample it"
            )
        check_memory("lattice", 16.0 * n_rows * 4**width, "take a smaller one")
        self._seam = seam = block_states(width)
        ring = np.hstack([seam, seam[:, :1]])[:, : right.shape[1] + 1]
        fields = np.tile(field[1:], (len(seam), 1, 1))
        fields[:, 0] += down[0] * seam
        fields[:, -1] += down[-1] * seam
        self._rest = [TransferMatrix(right[1:], down[1:-1], one) for one in fields]
        log_p = ring[:, 1:] * ring[:, :-1] @ right[0] + seam @ field[0] + np.abs(fields).sum(axis=(1, 2))
        self._log_p = log_p + [one.log_z for one in self._rest]
        self._log_p -= logsumexp(self._log_p)
        self._independent = not (right.any() or down.any())

    def _oriented(self, x: NDArray) -> NDArray:
        return np.swapaxes(x, 1, 2) if self._transposed else x

    def _joint(self, h: FloatArray) -> FloatArray:
        """Return the log probability of every state of the seam and of oriented fields, (2^W, n)."""
        with np.errstate(divide="ignore"):
            own = np.log(spin_weights(h[:, 0]))
        of_seam = np.where(self._seam[:, None] > 0, own[..., 1], own[..., 0]).sum(axis=2)
        return self._log_p[:, None] + of_seam + [rest.log_evidence(h[:, 1:]) for rest in self._rest]

    def log_evidence(self, h: FloatArray) -> FloatArray:
        return np.asarray(logsumexp(self._joint(self._oriented(h)), axis=0))

    def probabilities(self, h: FloatArray) -> FloatArray:
        h = self._oriented(h)
        law, out = softmax(self._joint(h), axis=0), np.zeros((*h.shape, 2))
        for k, plus in enumerate((self._seam < 0, self._seam > 0)):
            out[:, 0, :, k] = law.T @ plus
        for p, rest in zip(law, self._rest, strict=True):
            out[:, 1:] += p[:, None, None, None] * rest.probabilities(h[:, 1:])
        return self._oriented(out)

    def closed_cmi(self, channel: Channel, t: float, parts: Tripartition) -> float | None:
        return 0.0 if self._independent or separated(channel, t, parts) else None

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.int8]:
        """Return perfect, independent samples of p_0, (n_samples, L, W) of +-1."""
        which = rng.choice(len(self._seam), n_samples, p=np.exp(self._log_p))
        out = np.empty((n_samples, *self._oriented(np.empty((1, *self.shape))).shape[1:]), np.int8)
        out[:, 0] = self._seam[which]
        for k in np.unique(which):
            out[which == k, 1:] = self._rest[k].sample(int((which == k).sum()), rng)
        return self._oriented(out)
