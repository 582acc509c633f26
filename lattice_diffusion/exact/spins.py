"""Averages over noisy samples, and exact answers for spins and tokens from posteriors of their clean values.

The conditional mutual information is averaged in its Rao-Blackwell form,
    I(A;C|B) = E_{x_B, x_C} KL( p(x_A | x_B, x_C) || p(x_A | x_B) ),
where both laws are mixtures over a clean block A or a label, so that every sample contributes a non-negative number
and 1e-12 is as easy as 1e-2.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from ..channels import Channel
from ..errors import InputError
from ..estimate import Curve
from ..kernels.mixtures import block_divergence
from ..lattice import BoolArray, FloatArray, Tripartition

Box = Callable[[Sequence[int], int], BoolArray]  # the sites within a radius of one, as of a model


@dataclass(frozen=True)
class NoisySamples:
    """`n` configurations drawn by `sample`, seen through `channel` at time t."""

    channel: Channel
    t: float
    sample: Callable[[int, np.random.Generator], NDArray]
    n: int
    rng: np.random.Generator

    def batches(self, size: int) -> Iterator[tuple[slice, FloatArray]]:
        """Yield which of the n, and their noisy values (at most size, *lattice), drawn anew each time."""
        for start in range(0, self.n, size):
            rows = slice(start, min(start + size, self.n))
            yield rows, self.channel.corrupt(self.sample(rows.stop - start, self.rng), self.t, self.rng)

    def divergences(
        self,
        parts: Sequence[Tripartition],
        posterior: Callable[[FloatArray, BoolArray], FloatArray],
        law: FloatArray,
        size: int,
    ) -> FloatArray:
        """Return values (n, tripartition) whose means are I(A;C|B); all share A and A + B + C.

        Args:
            posterior: law of the states of A, or of a label that A depends on, given x_t on a region, (size, state).
            law: law of an observation of a site given its value, (outcome, q), the values in order.
        """
        out = np.zeros((self.n, len(parts)))
        for rows, x_t in self.batches(size):
            q = posterior(x_t, parts[0].BC)
            for k, part in enumerate(parts):
                if part.C.any():
                    found = np.empty(len(q))
                    block_divergence(q, posterior(x_t, part.B), law, self.rng, found)
                    out[rows, k] = found
        return out


@dataclass(frozen=True)
class StatePosterior:
    """Joint law of some clean spins or tokens given a noisy region.

    Attributes:
        states: (q^k, k), the states of the k sites asked for, in C order of the sites.
        probabilities: (n, q^k).
    """

    states: NDArray[np.integer]
    probabilities: FloatArray

    @property
    def mean(self) -> FloatArray:
        """Posterior mean E[s_i | x] of the values as numbers, (n, k)."""
        return self.probabilities @ self.states

    @property
    def variance(self) -> FloatArray:
        """Posterior variance Var[s_i | x] of the values as numbers, (n, k)."""
        return np.einsum("nb,nbk->nk", self.probabilities, (self.states - self.mean[:, None]) ** 2)


class DiscreteSolver(ABC):
    """Exact sums over clean values, q at every site, given what is `seen` of them, (n, *shape) or (n, *shape, q).

    Attributes:
        values: (q,), what a site may hold, in the order of all laws.
        nothing: what is seen of a site that is not observed.
        most_states: of A, and of a joint posterior; unit: what the sites hold, in words.
        batch: noisy samples held at a time.
    """

    shape: tuple[int, ...]
    values: NDArray[np.integer]
    nothing: float
    most_states, unit, batch = 4096, "tokens", 256
    impossible = "x_t must be possible under the model, got observations that contradict each other"

    @property
    def q(self) -> int:
        return len(self.values)

    @abstractmethod
    def log_evidence(self, seen: FloatArray) -> FloatArray:
        """Return (n,), log sum_s p_0(s) prod_i p(seen_i|s_i), the largest likelihood of every site scaled to 1."""

    @abstractmethod
    def probabilities(self, seen: FloatArray) -> FloatArray:
        """Return (n, *shape, q), the law of every value; tokens: 0 where nothing is possible."""

    @abstractmethod
    def evidence(self, channel: Any, t: float, x_t: NDArray) -> FloatArray:
        """Return what is seen where all of x_t is observed."""

    @abstractmethod
    def log_likelihoods(self, seen: FloatArray) -> FloatArray:
        """Return log p(seen_i|s_i) (.., q), the largest 0."""

    @abstractmethod
    def certain(self, digits: NDArray[np.int64]) -> FloatArray:
        """Return what is seen of sites whose values are known to be values[digits]."""

    def outcomes(self, channel: Any, t: float) -> FloatArray:
        """Return the law of an observation of a site given its value, (n_outcomes, q)."""
        return channel.output_law(t)

    def check_possible(self, seen: FloatArray) -> None:
        """Raise InputError where observations known for certain contradict each other."""
        return None

    def check_channel(self, channel: Any) -> None:
        """Raise InputError for a channel that the solver does not take."""
        return None

    def closed_cmi(self, channel: Any, t: float, parts: Tripartition) -> float | None:
        """Return I(A;C|B) in closed form, or None where none is known."""
        return None

    @property
    def n_free(self) -> int:
        """The number of values that a clean state is made of."""
        return math.prod(self.shape)

    def law(self) -> tuple[NDArray[np.integer], FloatArray]:
        """Return all q^n_free clean states (S, *shape) and their probabilities (S,); for small systems."""
        digits = block_digits(self.q, self.n_free).reshape(-1, *self.shape)
        return self.values[digits], softmax(self.log_evidence(self.certain(digits)))

    def seen(self, channel: Any, t: float, x_t: NDArray, observed: BoolArray) -> FloatArray:
        """Return what is seen of x_t on the mask `observed`."""
        return self._only(self.evidence(channel, t, x_t), observed)

    def _only(self, seen: FloatArray, mask: BoolArray) -> FloatArray:
        return np.where(mask.reshape(mask.shape + (1,) * (seen.ndim - 1 - mask.ndim)), seen, self.nothing)

    def block_posterior(self, seen: FloatArray, sites: NDArray[np.int64]) -> FloatArray:
        """Return (n, q^k), the law of the states `block_digits` at the flat indices `sites`, where nothing is seen."""
        flat, logs = seen.reshape(len(seen), math.prod(self.shape), -1), []
        for state in block_digits(self.q, len(sites)):
            clamped = flat.copy()
            clamped[:, sites] = self.certain(state).reshape(len(sites), -1)
            logs.append(self.log_evidence(clamped.reshape(seen.shape)))
        return self._law(np.stack(logs, axis=1))

    def _block_logs(self, seen: FloatArray, sites: NDArray[np.int64]) -> FloatArray:
        """Return (n, q^k), logarithms of the weights of `block_posterior` but for a factor; -inf where impossible."""
        with np.errstate(divide="ignore"):
            return np.log(self.block_posterior(seen, sites))

    def _law(self, log: FloatArray) -> FloatArray:
        """Return laws (n, states) from logarithms of weights; raise InputError where all are -inf."""
        if np.isneginf(log).all(axis=1).any():
            raise InputError(self.impossible)
        return np.asarray(softmax(log, axis=1))

    def blind_logs(self, seen: FloatArray, box: Box, radius: int | None, wanted: BoolArray) -> FloatArray:
        """Return (n, *shape, q), logarithms of every value's law given what is seen in its box, less itself.

        They hold but for a constant; all is seen for radius None. Entries that are not `wanted` (n, *shape) are 0.
        """
        out = np.zeros((*wanted.shape, self.q))
        for site in np.ndindex(*self.shape):
            todo = wanted[(slice(None), *site)]
            if todo.any():
                around = np.ones(self.shape, bool) if radius is None else box(site, radius)
                around[site] = False
                place = np.array([np.ravel_multi_index(site, self.shape)])
                out[(todo, *site)] = self._block_logs(self._only(seen[todo], around), place)
        return out

    def sampled_cmi(self, noisy: NoisySamples, parts: Sequence[Tripartition]) -> Curve:
        """Return I(A;C|B) of several tripartitions that share A and A + B + C, on one set of noisy samples."""
        channel, t, sites = noisy.channel, noisy.t, self._block("A", parts[0].A)

        def posterior(x_t: FloatArray, region: BoolArray) -> FloatArray:
            return self.block_posterior(self.seen(channel, t, x_t, region), sites)

        divergences = noisy.divergences(parts, posterior, self.outcomes(channel, t), self.batch)
        return Curve.from_samples(divergences, "Rao-Blackwell average over exact posteriors")

    def log_marginal(self, channel: Any, t: float, x_t: NDArray, region: BoolArray) -> FloatArray:
        peaks = channel.peak_log_likelihood(x_t, t).reshape(len(x_t), -1)[:, np.flatnonzero(region)].sum(axis=1)
        return peaks + self._by_batches(lambda x: self.log_evidence(self.seen(channel, t, x, region)), x_t)

    def posterior(self, channel: Any, t: float, x_t: NDArray, sites: BoolArray, observed: BoolArray) -> StatePosterior:
        """Return the joint law of the clean values on `sites`; their own observations enter where they are observed."""
        flat, seen = self._block("sites", sites), self.seen(channel, t, x_t, observed)
        digits = block_digits(self.q, len(flat))
        own = self.log_likelihoods(seen).reshape(len(x_t), -1, self.q)[:, flat]  # (n, k, q)
        log = self._block_logs(self._only(seen, ~sites), flat)
        log = log + np.take_along_axis(own, digits.T[None], axis=2).sum(axis=1)
        return StatePosterior(self.values[digits], self._law(log))

    def posterior_mean(self, channel: Any, t: float, x_t: NDArray, observed: BoolArray) -> FloatArray:
        """Return the mean of every spin, (n, *shape), and the law of every token, (n, *shape, q)."""
        return self._by_batches(lambda x: self.probabilities(self.seen(channel, t, x, observed)), x_t)

    def _by_batches(self, function: Callable[[NDArray], FloatArray], x_t: NDArray) -> FloatArray:
        return np.concatenate([function(x_t[i : i + self.batch]) for i in range(0, len(x_t), self.batch)])

    def _block(self, name: str, mask: BoolArray) -> NDArray[np.int64]:
        sites, most = np.flatnonzero(mask), int(math.log(self.most_states, self.q) + 1e-9)
        if not 1 <= len(sites) <= most:
            raise InputError(f"{name} must hold 1 to {most} {self.unit} for a joint law, got {len(sites)}")
        return sites


def block_digits(q: int, k: int) -> NDArray[np.int64]:
    """Return the q^k states of k sites as digits 0..q-1, (q^k, k), in the order of block posteriors: first highest."""
    return np.indices((q,) * k).reshape(k, -1).T


# -- spins ------------------------------------------------------------------------------------------------------------


def spin_weights(h: FloatArray) -> FloatArray:
    """Return likelihoods (..., 2) of spin -1 and +1 under the field h, the larger one scaled to 1; h may be +-inf."""
    return np.exp(-np.stack([h, -h], axis=-1).clip(0) * 2.0)


def block_states(k: int) -> NDArray[np.int8]:
    """Return the 2^k states of k spins, (2^k, k) of +-1, in the order of block posteriors: first spin highest bit."""
    return (2 * block_digits(2, k) - 1).astype(np.int8)


class SpinSolver(DiscreteSolver):
    """Exact sums over clean spins in site fields h, (n, *shape), which are 0 where nothing is observed.

    `log_evidence` is log sum_s p_0(s) prod_i exp(h_i s_i - |h_i|), `probabilities` P(s_i = -1 | h) and P(s_i = +1 | h).
    """

    values, nothing = np.array([-1, 1], np.int8), 0.0
    most_states, unit = 16, "spins"

    def evidence(self, channel: Channel, t: float, x_t: NDArray) -> FloatArray:
        return channel.likelihood_field(x_t, t)

    def log_likelihoods(self, seen: FloatArray) -> FloatArray:
        return -np.stack([seen, -seen], axis=-1).clip(0) * 2.0

    def certain(self, digits: NDArray[np.int64]) -> FloatArray:
        return np.where(digits > 0, np.inf, -np.inf)

    def outcomes(self, channel: Channel, t: float) -> FloatArray:
        return np.ascontiguousarray(channel.output_law(t)[:, ::-1])

    def posterior_mean(self, channel: Channel, t: float, x_t: NDArray, observed: BoolArray) -> FloatArray:
        law = super().posterior_mean(channel, t, x_t, observed)
        return law[..., 1] - law[..., 0]

    def blind_log_odds(self, h: FloatArray, box: Box, radius: int | None, wanted: BoolArray) -> FloatArray:
        """Return (n, *shape), log P(s_i=+1)/P(s_i=-1) of `blind_logs`; 0 where not wanted."""
        logs = self.blind_logs(h, box, radius, wanted)
        return logs[..., 1] - logs[..., 0]
