"""Domain walls x_e = s s' of Ising spins on an open grid: the noisy bonds are a random-bond Ising model.

    P(s | x) ~ exp(sum_e (beta + h_e) s s'),   h_e the likelihood field of an observed bond, 0 of any other,

planar and without field, so any law of a few bonds is a ratio of partition functions. Bonds take the
place of the spins of `exact.spins`: images (n, 2, L, W), whose unused entries are not read. With beta = 0 a bond that
is not observed has no coupling, so a box B is solved as a small grid of its own.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from operator import index
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, softmax

from ..channels import Channel, Erasure, check_time
from ..errors import InputError
from ..estimate import Curve, Estimate
from ..kernels import erasure_paths, percolation
from ..lattice import BoolArray, FloatArray, Rng, Tripartition
from . import bonds, planar
from .bonds import Faces, bond_mask, bond_of, bond_patch, window
from .ising import MAX_WIDTH, TransferMatrix
from .planar import FreeFermions, RowTransfer
from .spins import Box, NoisySamples, SpinSolver, StatePosterior, block_states

PlanarMethod = Literal["auto", "free_fermions", "transfer_matrix"]
BATCH = 1 << 20  # numbers in one array of noisy bonds


def binary_entropy(log_odds: FloatArray) -> FloatArray:
    """Return the entropy in nats of a sign with these log-odds, which may be infinite."""
    size = np.abs(log_odds)
    certain = np.isinf(size)
    size = np.where(certain, 0.0, size)
    return np.where(certain, 0.0, np.log1p(np.exp(-size)) + size * expit(-size))


class DomainWallSolver(SpinSolver):
    """Exact answers about noisy domain walls.

    Args:
        faces: (L, W) of the grid of spins.
        beta: their inverse temperature; 0 for uniform closed loops.
        periodic: a torus, where beta = 0 and erasure is all that is solved.
        method: "free_fermions" (any size; "auto" takes it) or "transfer_matrix" (shorter side <= 14).

    Raises InputError for an unknown method, or a transfer matrix that is too wide.
    """

    unit = "bonds"
    impossible = (
        "x_t cannot come from domain walls: bonds known for certain contradict each other round a closed path of "
        "faces; check x_t, the channel and t"
    )

    def __init__(self, faces: Faces, beta: float = 0.0, periodic: bool = False, method: PlanarMethod = "auto") -> None:
        if method not in get_args(PlanarMethod):
            raise InputError(f"method must be auto, free_fermions or transfer_matrix, got {method!r}")
        if method == "transfer_matrix" and min(faces) > MAX_WIDTH:
            raise InputError(
                f"method='transfer_matrix' needs a shorter side <= {MAX_WIDTH}, got {faces[0]}x{faces[1]} faces; "
                "use method='free_fermions'"
            )
        self.faces, self.beta, self.periodic, self.method = faces, float(beta), periodic, method
        self.shape: tuple[int, ...] = (2, *faces)
        self._engine = RowTransfer() if method == "transfer_matrix" else FreeFermions()
        self.batch = max(1, min(self.batch, BATCH // (2 * faces[0] * faces[1])))

    @cached_property
    def bonds(self) -> BoolArray:
        """Mask (2, L, W), True at the grid's bonds."""
        return bond_mask(self.faces, self.periodic)

    @cached_property
    def _log_sum(self) -> float:
        """Log of sum_s p_0, scaled like `_log_sums`."""
        return float(self._log_sums(np.zeros((1, *self.shape)))[0])

    @property
    def n_free(self) -> int:
        if self.periodic:
            raise InputError("states of domain walls are listed on open grids, got a torus; use periodic=False")
        return self.faces[0] * self.faces[1] - 1

    def law(self) -> tuple[NDArray[np.int8], FloatArray]:
        free = block_states(self.n_free)  # the first face is +1: its sign leaves no trace in the walls
        faces = np.concatenate([np.ones((len(free), 1), np.int8), free], axis=1)
        states = walls(faces.reshape(-1, *self.faces))
        return states, softmax(self.beta * states.sum(axis=(1, 2, 3)))

    # -- sums over faces -----------------------------------------------------------------------------------

    def _couplings(self, h: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return K = beta + h as right (n, L, W-1) and down (n, L-1, W)."""
        return np.ascontiguousarray(h[:, 0, :, :-1] + self.beta), np.ascontiguousarray(h[:, 1, :-1, :] + self.beta)

    def _log_sums(self, h: FloatArray, rare: bool = True) -> FloatArray:
        """Return (n,), log sum_s prod exp(K s s' - |K|), K = beta + h; -inf below exp(-80) if not `rare`."""
        return self._checked(self._engine.log_sums(*self._couplings(h), rare=rare), h)

    def _checked(self, values: FloatArray, h: FloatArray) -> FloatArray:
        """Return `values` (n, ..) if all are numbers; raise InputError saying why not."""
        lost = np.isnan(values).reshape(len(values), -1).any(axis=1)
        if lost.any():
            ties = np.isinf(h[lost])
            if ties.any() and np.isneginf(self._engine.log_sums(*self._couplings(np.where(ties, h[lost], 0.0)))).any():
                raise InputError(self.impossible)
            if self.method == "transfer_matrix":
                remedy = "use method='free_fermions'"
            elif min(self.faces) <= MAX_WIDTH:
                remedy = "use exact.domain_walls.DomainWallSolver(.., method='transfer_matrix')"
            else:
                remedy = f"use a grid with a shorter side <= {MAX_WIDTH} and method='transfer_matrix', or a larger t"
            strongest = np.abs(h[lost][~ties]).max(initial=0.0)
            raise InputError(
                f"couplings as strong and frustrated as here (up to |h| = {strongest:.3g}) cost more digits than there "
                f"are, in {int(lost.sum())} of {len(values)} samples; {remedy}"
            )
        return values

    def _part(self, h: FloatArray, sites: NDArray[np.int64]) -> tuple["DomainWallSolver", FloatArray, NDArray]:
        """Return the grid that matters to the law of `sites`: all of it, or for beta = 0 the observed rectangle."""
        if self.beta > 0.0:
            return self, h, sites
        seen = (h != 0.0).any(axis=0) & self.bonds
        seen.reshape(-1)[sites] = True
        rows, columns = window(seen)
        channel, i, j = np.unravel_index(sites, self.shape)
        shape = (2, rows.stop - rows.start, columns.stop - columns.start)
        part = DomainWallSolver((shape[1], shape[2]), 0.0, False, self.method)
        inner = np.ravel_multi_index((channel, i - rows.start, j - columns.start), shape)
        return part, h[:, :, rows, columns], inner

    def log_evidence(self, h: FloatArray) -> FloatArray:
        """Return (n,), log sum over walls of p_0(x) prod exp(h_e x_e - |h_e|)."""
        h = np.where(self.bonds, h, 0.0)
        ties = np.isinf(h)
        finite = np.where(ties, 0.0, h)
        # what the scaled sums leave out: |beta + h| - |h|, or the prior's beta x of a tie; less the prior's own
        weight = np.where(ties, self.beta * np.sign(h), np.abs(self.beta + finite) - np.abs(finite)) - self.beta
        return self._log_sums(h) + (weight * self.bonds).sum(axis=(1, 2, 3)) - self._log_sum

    def log_odds(self, h: FloatArray, site: int) -> FloatArray:
        """Return (n,), log P(x_e = +1)/P(x_e = -1) of the bond at flat index `site`, whose own h is not read."""
        part, inner, sites = self._part(h, np.array([site]))
        channel, i, j = (int(k[0]) for k in np.unravel_index(sites, part.shape))
        log_odds = part._engine.bond_log_odds(*part._couplings(inner), (channel, i, j))
        return part._checked(log_odds, inner) + 2.0 * self.beta

    def block_posterior(self, h: FloatArray, sites: NDArray[np.int64]) -> FloatArray:
        return self._law(self._block_logs(h, sites))

    def _block_logs(self, h: FloatArray, sites: NDArray[np.int64]) -> FloatArray:
        if len(sites) == 1:
            log_odds = self.log_odds(h, int(sites[0]))
            return np.stack([log_expit(-log_odds), log_expit(log_odds)], axis=1)
        part, inner, sites = self._part(h, sites)
        states = block_states(len(sites))
        log = np.full((len(h), len(states)), -np.inf)
        allowed = states.prod(axis=1) > 0 if part._is_loop(sites) else np.ones(len(states), bool)
        for b in np.flatnonzero(allowed):
            clamped = inner.copy()
            clamped.reshape(len(h), -1)[:, sites] = np.inf * states[b]
            log[:, b] = part._log_sums(clamped, rare=False) + self.beta * states[b].sum()
        return log

    def _is_loop(self, sites: NDArray[np.int64]) -> bool:
        """Return whether the bonds go round a block of faces, so that their product is +1."""
        if len(sites) != 4:
            return False
        marked = np.zeros(self.shape, bool)
        marked.reshape(-1)[sites] = True
        rows, columns = window(marked)
        return rows.stop - rows.start == columns.stop - columns.start == 2

    def probabilities(self, h: FloatArray) -> FloatArray:
        """Return (n, 2, L, W, 2), P(x_e = -1 | h) and P(x_e = +1 | h), bond by bond; 1/2 at unused entries."""
        self.check_possible(h)
        certain = np.isinf(h)
        blind = self.blind_log_odds(h, None, None, ~certain)
        log_odds = np.where(self.bonds, np.where(certain, h, blind + 2.0 * np.where(certain, 0.0, h)), 0.0)
        return np.stack([expit(-log_odds), expit(log_odds)], axis=-1)

    def blind_log_odds(self, h: FloatArray, box: Box | None, radius: int | None, wanted: BoolArray) -> FloatArray:
        """Return log-odds of every bond given those in the box of faces around it, 0 at unused entries.

        Loops under erasure: signs along kept paths; loops in small boxes, which are grids of their own, and bonds of
        which all others are seen: sums over rows (`planar`); else bond by bond.
        """
        h = np.where(self.bonds, h, 0.0)
        if radius is not None and radius >= max(self.faces) - 1 and not self.periodic:
            radius = None
        if self.beta == 0.0 and np.all((h == 0.0) | np.isinf(h)):
            log_odds = self._erased(h, radius, wanted)
        elif radius is None and min(self.faces) <= planar.SWEEP_WIDTH:
            log_odds = np.where(self.bonds, planar.all_seen(h + self.beta) + 2.0 * self.beta, 0.0)
        elif radius is not None and radius <= planar.BOX_RADIUS and self.beta == 0.0:
            log_odds = planar.boxes(h, radius)
        else:
            log_odds = super().blind_log_odds(h, box, radius, wanted & self.bonds)  # type: ignore[arg-type]
        if np.isnan(log_odds).any():
            raise InputError(self.impossible)
        return log_odds

    def _erased(self, h: FloatArray, radius: int | None, wanted: BoolArray) -> FloatArray:
        size = min(self.faces)
        if self.periodic and (radius is None or 2 * radius + 2 >= size):
            raise InputError(
                f"radius must be < {size / 2 - 1:g} on this torus of {self.faces[0]}x{self.faces[1]} faces, whose "
                f"larger boxes close round it, got {radius}; open the edges (periodic=False)"
            )
        x = np.sign(h).astype(np.int8)
        signs = np.empty_like(x)
        erasure_paths.signs(x, wanted & self.bonds, max(self.faces) if radius is None else radius, signs)
        return np.where(signs == 0, 0.0, np.copysign(np.inf, signs))

    def check_possible(self, h: FloatArray) -> None:
        """Raise InputError where bonds known for certain contradict each other round a closed path (open grids)."""
        signs = np.where(np.isinf(h) & self.bonds, np.sign(h), 0.0).astype(np.int8)
        if not self.periodic and erasure_paths.first_contradiction(signs) >= 0:
            raise InputError(self.impossible)

    def check_channel(self, channel: Channel) -> None:
        if self.periodic and not isinstance(channel, Erasure):
            raise InputError(
                f"{channel.name} noise on a periodic grid is beyond the planar solvers; open the edges "
                "(periodic=False), or use erasure, which gives the CMI on a torus too"
            )

    def _check_planar(self, request: str) -> None:
        if self.periodic:
            raise InputError(
                f"{request} needs a planar solver, which a periodic grid has not; open the edges (periodic=False), "
                "or ask for the CMI under erasure, which ranks give on a torus too"
            )

    def sampled_cmi(self, noisy: NoisySamples, parts: Sequence[Tripartition]) -> Curve:
        """Return I(A;C|B) of several tripartitions that share A and A + B + C; by percolation for erased loops."""
        if not np.any(parts[0].A & self.bonds):
            raise InputError("A must hold at least one bond of the grid, got unused entries of open edges only")
        if isinstance(noisy.channel, Erasure) and self.beta == 0.0:
            kept = 1.0 - noisy.t
            boxes = None if self.periodic else bonds.box_radii(parts, self.periodic)
            if boxes is not None:
                curve = bonds.box_curve(self.faces, *boxes, kept, noisy.n, noisy.rng)
            else:
                curve = bonds.rank_curve(parts, self.periodic, kept, noisy.n, noisy.rng)
            return curve if kept < 1.0 else Curve.exact(curve.values, curve.method)
        seen = [Tripartition(part.A & self.bonds, part.B & self.bonds, part.C & self.bonds) for part in parts]
        curve = super().sampled_cmi(noisy, seen)
        engine = "transfer matrix" if self.method == "transfer_matrix" else "free fermions"
        return replace(curve, method=f"{curve.method}, {engine}")

    def log_marginal(self, channel: Channel, t: float, x_t: NDArray, region: BoolArray) -> FloatArray:
        self._check_planar("a marginal")
        return super().log_marginal(channel, t, x_t, region & self.bonds)

    def posterior(
        self, channel: Channel, t: float, x_t: NDArray, sites: BoolArray, observed: BoolArray
    ) -> StatePosterior:
        self._check_planar("a posterior")
        if np.any(sites & ~self.bonds):
            at = tuple(int(k) for k in np.argwhere(sites & ~self.bonds)[0])
            raise InputError(f"sites must mark bonds of the grid, got the unused entry {at} beyond an open edge")
        return super().posterior(channel, t, x_t, sites, observed & self.bonds)

    def posterior_mean(self, channel: Channel, t: float, x_t: NDArray, observed: BoolArray) -> FloatArray:
        """Return E[x_e | x_t on `observed`] at every bond, 0 at unused entries; costs one posterior per bond."""
        self._check_planar("a posterior mean")
        return super().posterior_mean(channel, t, x_t, observed & self.bonds)

    # -- the label, and correlations of spins --------------------------------------------------------------

    def check_label(self) -> None:
        """Raise InputError for what `label_entropy` cannot do."""
        self._check_planar("the label of two opposite edges")
        if self.faces[1] < 2:
            raise InputError(f"the label needs two edge columns, got {self.faces[0]}x{self.faces[1]} faces")
        if self.beta > 0.0 and min(self.faces) > MAX_WIDTH:
            raise InputError(
                f"label_entropy at beta > 0 draws spins with tied edges, for which the shorter side must be "
                f"<= {MAX_WIDTH}, got {self.faces[0]}x{self.faces[1]}; use beta = 0 or a narrower grid"
            )

    def label_entropy(self, channel: Channel, t: float, n_samples: int = 1000, rng: Rng = None) -> Estimate:
        """Return E H(S|x) in nats: S = s s' of the left and right edge columns, each tied to one sign.

        The edge columns' own bonds are known, all others are seen through the channel. With beta = 0 every S and
        every wall is alike (gauge symmetry), so the noise is drawn on the state of no walls, which takes noise that
        treats both signs alike. PHYSICS.md section 3.
        """
        t, n_samples = check_time(t), index(n_samples)
        self.check_label()
        if self.beta == 0.0 and not _treats_signs_alike(channel, t):
            raise InputError(f"label_entropy at beta = 0 needs noise that treats both signs alike, got {channel.name}")
        if channel.snr(t) == np.inf:
            return Estimate(0.0, 0.0, 0, "no noise")
        if channel.snr(t) == 0.0:
            prior = self._engine.label_log_odds(*self._couplings(np.zeros((1, *self.shape))))
            return Estimate(float(binary_entropy(prior)[0]), 0.0, 0, "no signal: the prior's entropy")
        if n_samples < 2:
            raise InputError(f"n_samples must be >= 2 to give an error, got {n_samples}")
        rng = np.random.default_rng(rng)
        if isinstance(channel, Erasure) and self.beta == 0.0:
            count, _ = percolation.spanning(rng, 1.0 - t, *self.faces, n_samples)
            p = count / n_samples
            error = np.log(2.0) * max(np.sqrt(p * (1.0 - p) / (n_samples - 1)), 1.0 / n_samples)  # as if seen once
            return Estimate(np.log(2.0) * (1.0 - p), float(error), n_samples, "spanning clusters by percolation")
        entropy = np.empty(n_samples)
        noisy = NoisySamples(channel, t, self._walls_with_tied_edges, n_samples, rng)
        for rows, x_t in noisy.batches(self.batch):
            h = self.seen(channel, t, x_t, self.bonds)
            entropy[rows] = binary_entropy(self._checked(self._engine.label_log_odds(*self._couplings(h)), h))
        curve = Curve.from_samples(entropy[:, None], "mean entropy of the exact posterior of the label")
        return curve.where_nothing_varied(float(np.log(2.0)))[0]

    def _walls_with_tied_edges(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.int8]:
        if self.beta == 0.0:
            return np.broadcast_to(self.bonds.astype(np.int8), (n_samples, *self.shape))
        return walls(self._tied_edges.sample(n_samples, rng))

    @cached_property
    def _tied_edges(self) -> TransferMatrix:
        down = np.full((self.faces[0] - 1, self.faces[1]), self.beta)
        down[:, [0, -1]] = np.inf
        return TransferMatrix(np.full((self.faces[0], self.faces[1] - 1), self.beta), down)

    def clean_correlation(self, bond: object) -> float:
        """Return <s s'> of two neighbouring faces before any noise."""
        return float(np.tanh(0.5 * self.log_odds(np.zeros((1, *self.shape)), self._site(bond))[0]))

    def squared_correlations(self, noisy: NoisySamples, bond: object) -> FloatArray:
        """Return (n,), <s s'>_x^2 of two neighbouring faces given all noisy bonds, one value per sample.

        Under Gaussian noise with snr = beta their mean is `clean_correlation`, exactly (Puetz et al., 2504.12385):
        the noisy bonds then couple two replicas of the spins as the spins themselves are coupled.
        """
        self._check_planar("a correlation")
        site = self._site(bond)
        out = np.empty(noisy.n)
        for rows, x_t in noisy.batches(self.batch):
            h = self.seen(noisy.channel, noisy.t, x_t, self.bonds)
            own = h.reshape(len(h), -1)[:, site]
            out[rows] = np.tanh(0.5 * self.log_odds(h, site) + own) ** 2
        return out

    def _site(self, bond: object) -> int:
        at = bond_of(bond_patch(self.faces, self.periodic, bond))
        return int(np.ravel_multi_index(at, self.shape))


def _treats_signs_alike(channel: Channel, t: float) -> bool:
    """Return whether the laws of an observation given s = +1 and s = -1 are the same but for names of outcomes."""
    law = channel.output_law(t)
    return bool(np.abs(np.sort(law[:, 0]) - np.sort(law[:, 1])).max() < 1e-12)


def walls(spins: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the bonds s s' (n, 2, L, W) of spins (n, L, W) on an open grid, 0 at unused entries."""
    x = np.zeros((len(spins), 2, *spins.shape[1:]), np.int8)
    x[:, 0, :, :-1] = spins[:, :, :-1] * spins[:, :, 1:]
    x[:, 1, :-1, :] = spins[:, :-1, :] * spins[:, 1:, :]
    return x
