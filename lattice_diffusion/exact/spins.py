"""Averages over noisy samples, and exact answers for two-valued data from posteriors of the clean spins.

The conditional mutual information is averaged in its Rao-Blackwell form,
    I(A;C|B) = E_{x_B, x_C} KL( p(x_A | x_B, x_C) || p(x_A | x_B) ),
where both laws are mixtures over a clean block A or a label, so that every sample contributes a non-negative number
and 1e-12 is as easy as 1e-2.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from ..channels import Channel
from ..errors import InputError
from ..estimate import Curve
from ..kernels.mixtures import block_divergence
from ..lattice import BoolArray, FloatArray, Lattice, Tripartition


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
        divergence: Callable[..., None] = block_divergence,
    ) -> FloatArray:
        """Return values (n, tripartition) whose means are I(A;C|B); all share A and A + B + C.

        Args:
            posterior: law of the states of A, or of a label that A depends on, given x_t on a region, (size, state).
            law: law of an observation given the state, (outcome, 2), see `Channel.output_law`; (outcome, q) for tokens.
            divergence: kernel that averages the divergence of two posteriors over observations.
        """
        out = np.zeros((self.n, len(parts)))
        for rows, x_t in self.batches(size):
            q = posterior(x_t, parts[0].BC)
            for k, part in enumerate(parts):
                if part.C.any():
                    found = np.empty(len(q))
                    divergence(q, posterior(x_t, part.B), law, self.rng, found)
                    out[rows, k] = found
        return out


MAX_BLOCK = 4  # spins of A, and of a joint posterior


def spin_weights(h: FloatArray) -> FloatArray:
    """Return likelihoods (..., 2) of spin -1 and +1 under the field h, the larger one scaled to 1; h may be +-inf."""
    return np.exp(-np.stack([h, -h], axis=-1).clip(0) * 2.0)


def block_states(k: int) -> NDArray[np.int8]:
    """Return the 2^k states of k spins, (2^k, k) of +-1, in the order of block posteriors: first spin highest bit."""
    bits = (np.arange(1 << k)[:, None] >> np.arange(k - 1, -1, -1)) & 1
    return (2 * bits - 1).astype(np.int8)


@dataclass(frozen=True)
class SpinPosterior:
    """Law of clean spins given a noisy region.

    Attributes:
        states: (2^k, k) of +-1, the states of the k spins asked for, in C order of their sites.
        probabilities: (n, 2^k).
    """

    states: NDArray[np.int8]
    probabilities: FloatArray

    @property
    def mean(self) -> FloatArray:
        """Posterior mean E[s_i | x], (n, k)."""
        return self.probabilities @ self.states

    @property
    def variance(self) -> FloatArray:
        """Posterior variance Var[s_i | x], (n, k), from both probabilities so that small ones keep their digits."""
        plus = self.probabilities @ (self.states > 0)
        minus = self.probabilities @ (self.states < 0)
        return 4.0 * plus * minus


class SpinSolver(ABC):
    """Exact sums over clean spins in site fields h, (n, *shape), which are 0 where nothing is observed."""

    shape: tuple[int, ...]
    batch = 256  # noisy samples held at a time

    @abstractmethod
    def log_evidence(self, h: FloatArray) -> FloatArray:
        """Return (n,), log sum_s p_0(s) prod_i exp(h_i s_i - |h_i|)."""

    @abstractmethod
    def probabilities(self, h: FloatArray) -> FloatArray:
        """Return (n, *shape, 2), P(s_i = -1 | h) and P(s_i = +1 | h)."""

    def block_posterior(self, h: FloatArray, sites: NDArray[np.int64]) -> FloatArray:
        """Return (n, 2^k), the law of the spins at the flat indices `sites`, where h must be 0; see `block_states`."""
        h = h.reshape(len(h), -1)
        logs = []
        for state in block_states(len(sites)):
            clamped = h.copy()
            clamped[:, sites] = np.inf * state
            logs.append(self.log_evidence(clamped.reshape(-1, *self.shape)))
        log = np.stack(logs, axis=1)
        return np.exp(log - logsumexp(log, axis=1, keepdims=True))

    def blind_log_odds(self, h: FloatArray, lattice: Lattice, radius: int | None, wanted: BoolArray) -> FloatArray:
        """Return (n, *shape), log P(s_i=+1)/P(s_i=-1) given h in the box of `radius` around i, less its own.

        All is seen for radius None. Only the entries of `wanted` (n, *shape) are computed.
        """
        out = np.zeros(h.shape)
        for site in np.ndindex(*self.shape):
            todo = wanted[(slice(None), *site)]
            if not todo.any():
                continue
            seen = np.ones(self.shape, bool) if radius is None else lattice.box(site, radius)
            seen[site] = False
            law = self.block_posterior(np.where(seen, h[todo], 0.0), np.array([np.ravel_multi_index(site, self.shape)]))
            with np.errstate(divide="ignore"):
                out[(todo, *site)] = np.log(law[:, 1]) - np.log(law[:, 0])
        return out

    @property
    def n_free(self) -> int:
        """The number of signs that a clean state is made of."""
        return math.prod(self.shape)

    def law(self) -> tuple[NDArray[np.int8], FloatArray]:
        """Return all 2^n_free clean states (S, *shape) and their probabilities (S,); for small systems."""
        states = block_states(self.n_free).reshape(-1, *self.shape)
        return states, softmax(self.log_evidence(np.where(states > 0, np.inf, -np.inf)))

    def check_possible(self, h: FloatArray) -> None:
        """Raise InputError where observations known for certain contradict each other."""
        return None

    def closed_cmi(self, channel: Channel, t: float, parts: Tripartition) -> float | None:
        """Return I(A;C|B) in closed form, or None where none is known."""
        return None

    def check_channel(self, channel: Channel) -> None:
        """Raise InputError for a channel that the solver does not take; spins take all."""
        return None

    def sampled_cmi(self, noisy: NoisySamples, parts: Sequence[Tripartition]) -> Curve:
        """Return I(A;C|B) of several tripartitions that share A and A + B + C, on one set of noisy samples."""
        channel, t, sites = noisy.channel, noisy.t, np.flatnonzero(parts[0].A)
        if len(sites) > MAX_BLOCK:
            raise InputError(f"A must hold at most {MAX_BLOCK} spins for sampled answers, got {len(sites)}")

        def posterior(x_t: FloatArray, region: BoolArray) -> FloatArray:
            return self.block_posterior(np.where(region, channel.likelihood_field(x_t, t), 0.0), sites)

        divergences = noisy.divergences(parts, posterior, channel.output_law(t), self.batch)
        return Curve.from_samples(divergences, "Rao-Blackwell average over exact posteriors")

    def log_marginal(self, channel: Channel, t: float, x_t: NDArray, region: BoolArray) -> FloatArray:
        h = np.where(region, channel.likelihood_field(x_t, t), 0.0)
        peaks = channel.peak_log_likelihood(x_t, t).reshape(len(x_t), -1)
        return self.log_evidence(h) + peaks[:, np.flatnonzero(region)].sum(axis=1)

    def posterior(
        self, channel: Channel, t: float, x_t: NDArray, sites: BoolArray, observed: BoolArray
    ) -> SpinPosterior:
        """Return the joint law of the clean spins on `sites`; their own observations enter where they are observed."""
        flat = np.flatnonzero(sites)
        if not 1 <= len(flat) <= MAX_BLOCK:
            raise InputError(f"sites must mark 1 to {MAX_BLOCK} spins for a joint posterior, got {len(flat)}")
        h = np.where(observed, channel.likelihood_field(x_t, t), 0.0)
        states = block_states(len(flat))
        law = self.block_posterior(np.where(sites, 0.0, h), flat)
        own = spin_weights(h.reshape(len(h), -1)[:, flat])  # (n, k, 2)
        law = law * np.where(states > 0, own[:, None, :, 1], own[:, None, :, 0]).prod(axis=2)
        return SpinPosterior(states, law / law.sum(axis=1, keepdims=True))

    def posterior_mean(self, channel: Channel, t: float, x_t: NDArray, observed: BoolArray) -> FloatArray:
        law = self.probabilities(np.where(observed, channel.likelihood_field(x_t, t), 0.0))
        return law[..., 1] - law[..., 0]
