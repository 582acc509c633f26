"""Diagnostics of Ising samples: how correlated they are, how fast they came, and whether the burn-in was enough."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..lattice import Lattice
from .autocorrelation import MIN_LENGTH, AutocorrelationTime, integrated_autocorrelation_time, mser
from .chains import Chain, Source
from .observables import energies, magnetizations

FROZEN = "not those of a chain that mixes"
PERFECT = ("transfer_matrix", "coupling_from_the_past")
SIGMAS = 3.5  # from tau = 1, of which one in 2000 modes of independent samples is farther
ANEW = 2000  # samples from other starts, at most
SURE = 0.3  # largest relative error of tau with which samples may be called independent: about 400 samples


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
        taus: integrated autocorrelation times in samples, 1 for independent ones, with errors, of the slow modes by
            name: energy, |m|, m, the staggered m, and the longest wave along each axis of 3 or more sites. None
            for modes that the chains are too short for, or that do not move at all.
        doubt: why the samples cannot be certified, in one sentence, where their times do not tell; else None. Besides
            a mode without a time it is a mean that depends on where a chain starts, in order or at random: a
            frozen sign or domain.
        burn_in_mser: updates from the start to where MSER-5 of the energy says that the mean is best begun: near
            burn_in when that was enough; None for perfect samples and fewer than 10 per chain.
        seconds: wall time of drawing, burn-in and compilation included.
    """

    method: str
    n_samples: int
    n_chains: int
    seconds: float
    taus: Mapping[str, AutocorrelationTime | None]
    doubt: str | None = None
    burn_in: int | None = None
    thin: int | None = None
    acceptance: float | None = None
    burn_in_mser: int | None = None

    @property
    def perfect(self) -> bool:
        return self.method in PERFECT

    @property
    def tau(self) -> AutocorrelationTime | None:
        """Return the longest of `taus`; None where a mode has none."""
        known = [time for time in self.taus.values() if time is not None]
        return max(known) if len(known) == len(self.taus) else None

    @property
    def independent(self) -> bool:
        """True for perfect samples, and where nothing is in doubt and every tau is 1 within its error of at most 0.3.

        That takes about 400 samples or more.
        """
        return self.perfect or (self.doubt is None and all(map(_is_one, self.taus.values())))

    @property
    def effective_samples(self) -> float | None:
        """Return n_samples / tau, at most n_samples; None where tau is."""
        return None if self.tau is None else self.n_samples / max(1.0, self.tau.tau)

    @property
    def advice(self) -> str:
        """Say in one sentence how to get independent samples."""
        if self.independent:
            return "the samples are independent"
        if self.doubt or self.tau is None:
            return f"{self.doubt}; or use a perfect method: " + ", ".join(PERFECT)
        if self.tau.tau <= 1.0 + SIGMAS * self.tau.error / self.tau.tau or self.thin is None:
            if self.tau.error <= SURE * self.tau.tau:
                return f"samples of {self.method} with thin = {self.thin} alternate; take another thin"
            return (
                f"{self.n_samples} samples of {self.method} are too few to tell whether they are independent (about "
                "400 are needed); draw more, or use a perfect method: " + ", ".join(PERFECT)
            )
        # neighbours of an AR(1) with this tau correlate by a; thin until they do by 1%
        a = (self.tau.tau - 1.0) / (self.tau.tau + 1.0)
        factor = max(2, math.ceil(math.log(0.01) / math.log(a)))
        return (
            f"samples of {self.method} with thin = {self.thin} are correlated, tau = {self.tau.tau:.2f} +- "
            f"{self.tau.error:.2f} samples (1 when independent); use thin = {factor * self.thin}"
        )


def _is_one(time: AutocorrelationTime | None) -> bool:
    if time is None:
        return False
    relative = time.error / time.tau
    return relative <= SURE and abs(time.tau - 1.0) <= SIGMAS * relative


def diagnose(
    lattice: Lattice,
    couplings: NDArray[np.float64],
    field: ArrayLike,
    method: str,
    sources: Sequence[Source],
    parts: Sequence[NDArray[np.int8]],
    seconds: float,
    anew: Callable[[int, int], NDArray[np.int8]],
) -> Diagnostics:
    """Return the diagnostics of the samples `parts` that the chains `sources` gave.

    anew(start, n) draws n samples from a new chain of the same kind that starts with all free spins equal to `start`.
    """
    n_samples = sum(len(part) for part in parts)
    if method in PERFECT:
        one = AutocorrelationTime(1.0, 0.0)
        return Diagnostics(method, n_samples, len(parts), seconds, {"energy": one, "|m|": one})
    chains = [source for source in sources if isinstance(source, Chain)]
    first = chains[0]
    found = _modes(lattice, parts, first.n_replicas)
    taus: dict[str, AutocorrelationTime | None] = {}
    doubt = None
    for name, series in found.items():
        try:
            taus[name] = integrated_autocorrelation_time(series)
        except InputError as error:
            taus[name] = None
            why = "never changes, so that nothing tells whether its chain moves" if np.ptp(series) == 0 else str(error)
            doubt = doubt or f"{n_samples} samples of {method} are too few to tell: the mode {name} {why}"
    if doubt is None and all(map(_is_one, taus.values())):
        n_anew = min(n_samples, ANEW)
        for start in (1, -1) if np.any(field) else (1,):
            other = _modes(lattice, [anew(start, n_anew)], first.n_replicas)
            doubt = doubt or _difference(found, other, start)
    acceptance = None
    if method not in ("swendsen_wang", "wolff"):  # what an update does on average in equilibrium, from the samples
        flips = [np.mean([flip_probability(s, lattice, couplings, field) for s in part]) for part in parts]
        acceptance = float(np.average(flips, weights=[len(part) for part in parts]))
    elif not np.any(field):
        acceptance = float(np.mean(np.concatenate([magnetizations(part) for part in parts]) ** 2))
    return Diagnostics(
        method,
        n_samples,
        len(parts) * first.n_replicas,
        seconds,
        taus,
        doubt,
        first.burn_in,
        first.thin,
        acceptance,
        first.burn_in + first.thin * mser(found["energy"]) if found["energy"].shape[1] >= 10 else None,
    )


def _modes(lattice: Lattice, parts: Sequence[NDArray[np.int8]], n_replicas: int) -> dict[str, NDArray[np.float64]]:
    """Return the series of each slow mode, (chains, times), by name."""
    n_times = min(len(part) for part in parts) // n_replicas

    def series(values: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([x[: n_times * n_replicas].reshape(n_times, n_replicas).T for x in values])

    m = series([magnetizations(part) for part in parts])
    found = {"energy": series([energies(part, lattice) for part in parts]), "|m|": np.abs(m), "m": m}
    sites = np.indices(lattice.shape)
    waves = {"staggered m": (-1.0) ** sites.sum(axis=0)}
    for axis, (length, periodic) in enumerate(zip(lattice.shape, lattice.periodic, strict=True)):
        if length > 2:
            waves[f"wave along axis {axis}"] = np.cos((2.0 if periodic else 1.0) * np.pi * (sites[axis] + 0.5) / length)
    for name, wave in waves.items():
        found[name] = series([part.reshape(len(part), -1) @ wave.ravel() / wave.size for part in parts])
    return found


def _difference(
    found: Mapping[str, NDArray[np.float64]], other: Mapping[str, NDArray[np.float64]], start: int
) -> str | None:
    """Return in one sentence which mean depends on the start by more than 5 errors; None where none does."""
    for name in found:
        variance = 0.0
        for series in (found[name], other[name]):
            try:
                variance += max(1.0, integrated_autocorrelation_time(series).tau) * series.var() / series.size
            except InputError:  # constant, or too slow for so few
                variance += series.var() * (1.0 if np.ptp(series) == 0 else 1.0 / MIN_LENGTH)
        means = found[name].mean(), other[name].mean()
        if abs(means[0] - means[1]) > 5.0 * math.sqrt(variance) + 1e-12:
            return (
                f"the samples are {FROZEN}: the mean of {name} is {means[0]:.3g}, but {means[1]:.3g} from a chain that "
                f"starts with all spins {start:+d}; use swendsen_wang, or a longer burn_in"
            )
    return None


def flip_probability(
    spins: NDArray[np.int8], lattice: Lattice, couplings: NDArray[np.float64], field: ArrayLike
) -> float:
    """Return the mean over free sites of 1/(1 + exp(2 s_i (sum_j J_ij s_j + h_i))): a heat bath flips s_i."""
    flat = spins.ravel().astype(float)
    i, j = lattice.bonds.T
    neighbours = np.bincount(i, couplings * flat[j], flat.size) + np.bincount(j, couplings * flat[i], flat.size)
    h = np.broadcast_to(np.asarray(field, float), lattice.shape).ravel()
    free = np.isfinite(h)
    along = flat[free] * (neighbours[free] + h[free])
    return float(np.mean(0.5 * (1.0 - np.tanh(along)))) if free.any() else 0.0
