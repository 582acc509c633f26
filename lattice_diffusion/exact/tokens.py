"""Exact answers for tokens 0..q-1 from likelihoods of their symbols, as `spins` has for two values, and Potts models.

Observations enter as weights (n, *shape, q), the likelihoods of the symbols, 1 where nothing is observed. Information
is averaged in its Rao-Blackwell form, see `spins`.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from ..channels import TokenNoise, for_tokens
from ..errors import InputError, check_memory
from ..estimate import Curve
from ..kernels import potts as kernel
from ..lattice import BoolArray, FloatArray, Lattice, Tripartition
from .spins import NoisySamples

MAX_STATES = 4096  # of A, and of a joint posterior
MAX_ROW = 16384  # states of a row of a Potts model


def token_type(q: int) -> np.dtype:
    """Return the type of tokens: the shortest unsigned integers that hold q symbols."""
    return np.dtype(np.uint8 if q <= 1 << 8 else np.uint16)


def block_states(q: int, k: int) -> NDArray[np.unsignedinteger]:
    """Return the q^k states of k tokens, (q^k, k), first token highest digit."""
    return np.array(list(itertools.product(range(q), repeat=k)), token_type(q)).reshape(-1, k)


@dataclass(frozen=True)
class TokenPosterior:
    """Law of clean tokens given a noisy region.

    Attributes:
        states: (q^k, k), the states of the k tokens asked for, in C order of their sites.
        probabilities: (n, q^k).
    """

    states: NDArray[np.unsignedinteger]
    probabilities: FloatArray

    @property
    def marginals(self) -> FloatArray:
        """Law of each token, (n, k, q)."""
        q = int(self.states.max()) + 1
        return np.einsum("nb,bks->nks", self.probabilities, self.states[..., None] == np.arange(q))

    @property
    def mean(self) -> FloatArray:
        """Posterior mean E[s_i | x] of the symbols as numbers, (n, k)."""
        return self.probabilities @ self.states

    @property
    def variance(self) -> FloatArray:
        """Posterior variance Var[s_i | x] of the symbols as numbers, (n, k)."""
        return np.maximum(self.probabilities @ self.states.astype(float) ** 2 - self.mean**2, 0.0)


class TokenSolver(ABC):
    """Exact sums over clean tokens with weights (n, *shape, q)."""

    shape: tuple[int, ...]
    q: int
    batch = 256  # noisy samples held at a time

    @abstractmethod
    def log_evidence(self, weights: FloatArray) -> FloatArray:
        """Return (n,), log sum_s p_0(s) prod_i weights_i(s_i)."""

    @abstractmethod
    def probabilities(self, weights: FloatArray) -> FloatArray:
        """Return (n, *shape, q), the law of every token; 0 where the weights allow no state."""

    def block_posterior(self, weights: FloatArray, sites: NDArray[np.int64]) -> FloatArray:
        """Return (n, q^k), the law of the tokens at the flat indices `sites`, their own weights left out."""
        clamped = weights.reshape(len(weights), -1, self.q).copy()
        logs = np.empty((len(weights), self.q ** len(sites)))
        for b, state in enumerate(block_states(self.q, len(sites))):
            clamped[:, sites] = np.eye(self.q)[state]
            logs[:, b] = self.log_evidence(clamped.reshape(weights.shape))
        peak = logs.max(axis=1, keepdims=True)
        return self._possible(np.exp(logs - np.where(np.isneginf(peak), 0.0, peak)))

    def _possible(self, law: FloatArray) -> FloatArray:
        """Return laws (.., states) of sum 1; raise InputError where all weights are 0."""
        total = law.sum(axis=-1, keepdims=True)
        if not total.all():
            raise InputError("x_t must be possible under the model, got observations that contradict each other")
        return law / total

    def local_laws(self, weights: FloatArray, lattice: Lattice, radius: int | None, blind: bool) -> FloatArray:
        """Return (n, *shape, q), the law of every token given the weights in the box of `radius` around it.

        All is seen for radius None. Its own weight is left out for `blind`.
        """
        if radius is None and not blind:
            return self._possible(self.probabilities(weights))
        out = weights.astype(float)
        known = (weights > 0.0).sum(axis=-1) == 1
        for site in np.ndindex(*self.shape):
            todo = ~known[(slice(None), *site)] | blind
            if not todo.any():
                continue
            seen = np.ones(self.shape, bool) if radius is None else lattice.box(site, radius)
            place = np.array([np.ravel_multi_index(site, self.shape)])
            law = self.block_posterior(np.where(seen[..., None], weights[todo], 1.0), place)
            out[(todo, *site)] = law if blind else self._possible(law * weights[(todo, *site)])
        return out

    def law(self) -> tuple[NDArray[np.unsignedinteger], FloatArray]:
        """Return all q^N clean states (S, *shape) and their probabilities (S,); for small systems."""
        states = block_states(self.q, math.prod(self.shape)).reshape(-1, *self.shape)
        return states, softmax(self.log_evidence(np.eye(self.q)[states]))

    def check_channel(self, channel: TokenNoise) -> None:
        """Raise InputError for a channel that the solver does not take."""
        for_tokens(channel, self.q)

    def closed_cmi(self, channel: TokenNoise, t: float, parts: Tripartition) -> float | None:
        """Return I(A;C|B) in closed form, or None where none is known."""
        return None

    def weights(self, channel: TokenNoise, t: float, x_t: NDArray, observed: BoolArray) -> FloatArray:
        """Return the weights of what is observed of x_t."""
        return np.where(observed[..., None], channel.likelihoods(x_t, t), 1.0)

    def sampled_cmi(self, noisy: NoisySamples, parts: Sequence[Tripartition]) -> Curve:
        """Return I(A;C|B) of several tripartitions that share A and A + B + C, on one set of noisy samples."""
        channel, t, sites = noisy.channel, noisy.t, self._block("A", parts[0].A)

        def posterior(x_t: FloatArray, region: BoolArray) -> FloatArray:
            return self.block_posterior(self.weights(channel, t, x_t, region), sites)  # type: ignore[arg-type]

        divergences = noisy.divergences(parts, posterior, channel.output_law(t), self.batch, kernel.token_divergence)
        return Curve.from_samples(divergences, "Rao-Blackwell average over exact posteriors")

    def log_marginal(self, channel: TokenNoise, t: float, x_t: NDArray, region: BoolArray) -> FloatArray:
        peaks = channel.peak_log_likelihood(x_t, t).reshape(len(x_t), -1)
        evidence = [
            self.log_evidence(self.weights(channel, t, x_t[start : start + self.batch], region))
            for start in range(0, len(x_t), self.batch)
        ]
        return np.concatenate(evidence) + peaks[:, np.flatnonzero(region)].sum(axis=1)

    def posterior(
        self, channel: TokenNoise, t: float, x_t: NDArray, sites: BoolArray, observed: BoolArray
    ) -> TokenPosterior:
        """Return the joint law of the clean tokens on `sites`; their own observations enter where they are observed."""
        flat = self._block("sites", sites)
        weights = self.weights(channel, t, x_t, observed)
        own = weights.reshape(len(x_t), -1, self.q)[:, flat]  # (n, k, q)
        states = block_states(self.q, len(flat))
        law = self.block_posterior(weights, flat) * np.take_along_axis(own, states.T[None], axis=2).prod(axis=1)
        return TokenPosterior(states, self._possible(law))

    def posterior_mean(self, channel: TokenNoise, t: float, x_t: NDArray, observed: BoolArray) -> FloatArray:
        """Return the law of every token, (n, *shape, q), which is the mean of its indicator."""
        out = np.empty((*np.shape(x_t), self.q))
        for start in range(0, len(x_t), self.batch):
            rows = slice(start, start + self.batch)
            out[rows] = self._possible(self.probabilities(self.weights(channel, t, x_t[rows], observed)))
        return out

    def _block(self, name: str, mask: BoolArray) -> NDArray[np.int64]:
        sites, most = np.flatnonzero(mask), int(math.log(MAX_STATES, self.q) + 1e-9)
        if not 1 <= len(sites) <= most:
            raise InputError(f"{name} must hold 1 to {most} tokens of {self.q} symbols, got {len(sites)}")
        return sites


# -- Potts models, from row to row ------------------------------------------------------------------------------------


def solvable(lattice: Lattice, q: int) -> bool:
    """Return whether the model has an exact solution on the lattice."""
    open_grid = lattice.ndim == 2 and not any(lattice.periodic)
    return (open_grid and min(lattice.shape) * math.log(q) <= math.log(MAX_ROW) + 1e-9) or lattice.ndim == 1


class PottsSolver(TokenSolver):
    """p_0(s) ~ exp(J sum_<ij> delta(s_i, s_j)) on an open grid, a chain or a ring.

    Cost per sample of order L W q^(W+1), W the shorter side, which is 1 for a chain; q times that for a ring.

    Raises InputError for q^W > 16384, or a lattice that is neither.
    """

    def __init__(self, lattice: Lattice, coupling: float, q: int) -> None:
        self.shape, self.q, self._closed = lattice.shape, q, lattice.ndim == 1 and lattice.periodic[0]
        if not solvable(lattice, q):
            raise InputError(
                f"the exact Potts solution needs a chain, a ring or an open 2D lattice with q^W <= {MAX_ROW:,}, W the "
                f"shorter side, got q = {q}, shape {lattice.shape}, periodic = {lattice.periodic}; samplers draw any"
            )
        rows, width = (*self.shape, 1) if lattice.ndim == 1 else self.shape
        self._transposed = width > rows
        rows, width = max(rows, width), min(rows, width)
        check_memory("lattice", 8.0 * (rows * width + 4) * q**width, "take a smaller one")
        change = np.exp(-float(coupling))
        self._right, self._down = np.ones((rows, width, 2)), np.ones((rows, width, 2))
        self._right[:, 1:, 1] = change
        self._down[0 if self._closed else 1 :, :, 1] = change
        self._free = np.ones((1, rows, width, q))
        self._log_z = float(logsumexp(self._log_sums(self._free)[0]))

    def _rows(self, weights: FloatArray) -> FloatArray:
        """Return weights in the kernel's orientation, (n, rows, width, q)."""
        weights = np.swapaxes(weights, 1, 2) if self._transposed else weights
        return np.ascontiguousarray(weights.reshape(len(weights), *self._free.shape[1:]), dtype=float)

    def _log_sums(self, rows: FloatArray) -> FloatArray:
        """Return log sums (n, starts), the states of a ring's last site, or one."""
        out = np.empty((len(rows), self.q if self._closed else 1))
        kernel.log_sums(self._right, self._down, rows, self._closed, out)
        return out

    def log_evidence(self, weights: FloatArray) -> FloatArray:
        sums = self._log_sums(self._rows(weights))
        return np.asarray(logsumexp(sums, axis=1) - self._log_z)

    def probabilities(self, weights: FloatArray) -> FloatArray:
        rows = self._rows(weights)
        out = np.empty_like(rows)
        kernel.site_probabilities(self._right, self._down, rows, self._closed, out)
        return (np.swapaxes(out, 1, 2) if self._transposed else out).reshape(weights.shape)

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.unsignedinteger]:
        """Return perfect samples (n_samples, *shape)."""
        starts = rng.integers(0, self.q, n_samples) if self._closed else np.zeros(n_samples, int)  # all alike
        out = np.empty((n_samples, *self._free.shape[1:3]), token_type(self.q))
        kernel.sample(self._right, self._down, self._free[0], self._closed, starts, rng, out)
        return (np.swapaxes(out, 1, 2) if self._transposed else out).reshape(n_samples, *self.shape)
