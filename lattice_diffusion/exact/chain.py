"""Ising chain and ring: a hidden Markov model under any channel, and a closed form under erasure."""

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel, Erasure
from ..errors import check_memory
from ..kernels import chain as kernel
from ..lattice import Tripartition
from .spins import SpinSolver, spin_weights
from .transfer_matrix import link_factors


class ChainSolver(SpinSolver):
    """Forward-backward sums over an open or periodic chain with coupling beta, of order N per sample."""

    def __init__(self, n_sites: int, beta: float, periodic: bool) -> None:
        check_memory("lattice", 80.0 * n_sites, "take a shorter chain")
        self.shape = (n_sites,)
        self.correlation = float(np.tanh(beta))
        self.periodic = periodic
        self._links = np.tile(link_factors(np.array(beta)), (n_sites, 1))
        if not periodic:
            self._links[0] = 1.0
        self._log_z = self._log_sum(np.ones((1, n_sites, 2)))[0]

    def _log_sum(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.empty(len(weights))
        kernel.log_evidence(self._links, weights, out)
        return out

    def log_evidence(self, h: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._log_sum(spin_weights(h)) - self._log_z

    def probabilities(self, h: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = spin_weights(h)
        out = np.empty_like(weights)
        kernel.site_probabilities(self._links, weights, out)
        return out

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.int8]:
        """Perfect samples (n_samples, N) of +-1."""
        out = np.empty((n_samples, *self.shape), np.int8)
        kernel.sample(self.correlation, self.correlation if self.periodic else 0.0, rng, out)
        return out

    def closed_cmi(self, channel: Channel, t: float, parts: Tripartition) -> float | None:
        if self.periodic or not isinstance(channel, Erasure) or not parts.ABC.all() or parts.A.sum() != 1:
            return None
        site = int(np.argmax(parts.A))
        buffer = np.flatnonzero(parts.AB)
        if buffer[-1] - buffer[0] != len(buffer) - 1:
            return None
        return erasure_cmi(
            self.correlation,
            t,
            buffer=(site - int(buffer[0]), int(buffer[-1]) - site),
            reach=(site, self.shape[0] - 1 - site),
        )


def erasure_cmi(correlation: float, eps: float, buffer: tuple[int, int], reach: tuple[int, int]) -> float:
    """I(A;C|B) of one spin of an open Ising chain under erasure, in nats, exact.

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
    sides = []
    for n_buffer, n_sites in zip(buffer, reach, strict=True):
        distance = np.append(np.arange(1.0, n_sites + 1), np.inf)
        probability = np.append((1 - eps) * eps ** np.arange(n_sites), eps**n_sites)
        sides.append((distance, probability, distance > n_buffer))
    (a, p_a, far_a), (b, p_b, far_b) = sides
    c_a, c_b = bond_information(correlation**a), bond_information(correlation**b)
    c_ab = bond_information(correlation ** (a[:, None] + b))
    gain = np.where(far_a[:, None], c_a[:, None], 0.0) + np.where(far_b, c_b, 0.0)
    gain = np.where(far_a[:, None] | far_b, gain - c_ab, 0.0)
    return float((1 - eps) * (p_a @ gain.clip(0) @ p_b))


def bond_information(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """log 2 - h2((1 + y)/2) of two spins with correlation y, to full relative accuracy."""
    y2 = np.asarray(correlation, float) ** 2
    small = sum(y2**n / (2 * n * (2 * n - 1)) for n in range(1, 9))
    y = np.sqrt(y2)
    with np.errstate(divide="ignore", invalid="ignore"):
        large = 0.5 * ((1 + y) * np.log1p(y) + np.where(y < 1, (1 - y) * np.log1p(-y), 0.0))
    return np.where(y2 < 0.01, small, large)
