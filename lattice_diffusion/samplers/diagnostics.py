"""Diagnostics of Ising samples: how correlated they are, how fast they came, and whether the burn-in was enough."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..lattice import Lattice
from .autocorrelation import AutocorrelationTime, integrated_autocorrelation_time, mser
from .chains import Chain, Source
from .heat_bath import PastCoupling
from .observables import energies, magnetizations

PERFECT = ("transfer_matrix", "coupling_from_the_past")
SURE = 0.25  # largest error of tau with which samples may be called independent: about 350 samples


class CorrelatedError(InputError):
    """Samples that had to be independent are not, or are too few to tell."""


@dataclass(frozen=True)
class Diagnostics:
    """How samples of the Ising model were drawn and how many independent ones they are worth.

    Attributes:
        method: the one used.
        n_samples, n_chains: in all; independent chains, replicas included.
        burn_in, thin: updates (sweeps; clusters of Wolff), of the first chain; None for perfect samples.
        acceptance: mean probability that a local update flips its spin; for cluster updates of a ferromagnet without
            field the mean fraction of sites in the cluster of a random site, which is <m^2> (Fortuin and Kasteleyn).
            Perfect samples: None.
        tau_energy, tau_magnetization: integrated autocorrelation times of the energy and of |m| in samples, 1 for
            independent ones, with errors; None where the chains are too short or do not move at all.
        burn_in_mser: updates from the start to where MSER-5 of the energy says that the mean is best begun: near
            burn_in when that was enough; None for perfect samples and fewer than 10 per chain.
        coalescence: mean sweeps into the past until coupling from the past met; None for other methods.
        seconds: wall time of drawing, burn-in and compilation included.
    """

    method: str
    n_samples: int
    n_chains: int
    seconds: float
    tau_energy: AutocorrelationTime | None
    tau_magnetization: AutocorrelationTime | None
    burn_in: int | None = None
    thin: int | None = None
    acceptance: float | None = None
    burn_in_mser: int | None = None
    coalescence: float | None = None

    @property
    def perfect(self) -> bool:
        return self.method in PERFECT

    @property
    def tau(self) -> AutocorrelationTime | None:
        """Return the longer of tau_energy and tau_magnetization."""
        if self.tau_energy is None or self.tau_magnetization is None:
            return None
        return max(self.tau_energy, self.tau_magnetization)

    @property
    def independent(self) -> bool:
        """True for perfect samples, or if tau is 1 within three errors of at most 1/4 (about 350 samples or more)."""
        taus = (self.tau_energy, self.tau_magnetization)
        return self.perfect or all(t is not None and t.error <= SURE and t.tau <= 1.0 + 3.0 * t.error for t in taus)

    @property
    def effective_samples(self) -> float | None:
        """Return n_samples / tau, at most n_samples; None where tau is."""
        return None if self.tau is None else self.n_samples / max(1.0, self.tau.tau)

    @property
    def effective_samples_per_second(self) -> float | None:
        return None if self.effective_samples is None else self.effective_samples / self.seconds

    @property
    def advice(self) -> str:
        """Say in one sentence how to get independent samples."""
        if self.independent:
            return "the samples are independent"
        if self.tau is None or self.tau.tau <= 1.0 + 3.0 * self.tau.error or self.thin is None:
            return (
                f"{self.n_samples} samples of {self.method} are too few to tell whether they are independent (about "
                "350 are needed, and a chain that moves); draw more, or use a perfect method: " + ", ".join(PERFECT)
            )
        # neighbours of an AR(1) with this tau correlate by a; thin until they do by 1%
        a = (self.tau.tau - 1.0) / (self.tau.tau + 1.0)
        factor = max(2, math.ceil(math.log(0.01) / math.log(a)))
        return (
            f"samples of {self.method} with thin = {self.thin} are correlated, tau = {self.tau.tau:.2f} +- "
            f"{self.tau.error:.2f} samples (1 when independent); use thin = {factor * self.thin}"
        )


def diagnose(
    lattice: Lattice,
    beta: float,
    field: ArrayLike,
    method: str,
    sources: Sequence[Source],
    parts: Sequence[NDArray[np.int8]],
    seconds: float,
) -> Diagnostics:
    """Return the diagnostics of the samples `parts` that the chains `sources` gave."""
    n_samples = sum(len(part) for part in parts)
    if method in PERFECT:
        met = [source for source in sources if isinstance(source, PastCoupling)]
        coalescence = sum(s.total_past for s in met) / sum(s.n_drawn for s in met) if met else None
        one = AutocorrelationTime(1.0, 0.0)
        return Diagnostics(method, n_samples, len(parts), seconds, one, one, coalescence=coalescence)
    chains = [source for source in sources if isinstance(source, Chain)]
    first, n_replicas = chains[0], chains[0].n_replicas
    n_times = min(len(part) for part in parts) // n_replicas

    def series(values: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([x[: n_times * n_replicas].reshape(n_times, n_replicas).T for x in values])

    e = series([energies(part, lattice) for part in parts])
    m = series([np.abs(magnetizations(part)) for part in parts])
    return Diagnostics(
        method,
        n_samples,
        len(parts) * n_replicas,
        seconds,
        _tau(e),
        _tau(m),
        first.burn_in,
        first.thin,
        _acceptance(method, lattice, beta, field, parts),
        first.burn_in + first.thin * mser(e) if n_times >= 10 else None,
    )


def _tau(series: NDArray[np.float64]) -> AutocorrelationTime | None:
    try:
        return integrated_autocorrelation_time(series)
    except InputError:  # too short or constant
        return None


def _acceptance(
    method: str, lattice: Lattice, beta: float, field: ArrayLike, parts: Sequence[NDArray[np.int8]]
) -> float | None:
    """Return what an update does on average in equilibrium, from the samples alone."""
    if method in ("swendsen_wang", "wolff"):
        return None if np.any(field) else float(np.mean(np.concatenate([magnetizations(part) for part in parts]) ** 2))
    flips = [np.mean([flip_probability(s, lattice, beta, field) for s in part]) for part in parts]
    return float(np.average(flips, weights=[len(part) for part in parts]))


def flip_probability(spins: NDArray[np.int8], lattice: Lattice, beta: float, field: ArrayLike) -> float:
    """Return the mean over free sites of 1/(1 + exp(2 s_i (beta sum_j s_j + h_i))): a heat bath flips s_i."""
    flat = spins.ravel().astype(float)
    i, j = lattice.bonds.T
    neighbours = np.bincount(i, flat[j], flat.size) + np.bincount(j, flat[i], flat.size)
    h = np.broadcast_to(np.asarray(field, float), lattice.shape).ravel()
    free = np.isfinite(h)
    along = flat[free] * (beta * neighbours[free] + h[free])
    return float(np.mean(0.5 * (1.0 - np.tanh(along)))) if free.any() else 0.0
