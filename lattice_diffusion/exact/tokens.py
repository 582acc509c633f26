"""Exact answers for tokens 0..q-1 from likelihoods of their symbols, as `spins` has for two values, and Potts models.

Observations enter as weights (n, *shape, q), the likelihoods of the symbols, 1 where nothing is observed.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from ..channels import TokenNoise, for_tokens
from ..errors import InputError, check_memory
from ..kernels import potts as kernel
from ..lattice import BoolArray, FloatArray, Lattice
from .spins import Box, DiscreteSolver

MAX_ROW = 16384  # states of a row of a Potts model


def token_type(q: int) -> np.dtype:
    """Return the type of tokens: the shortest unsigned integers that hold q symbols."""
    return np.dtype(np.uint8 if q <= 1 << 8 else np.uint16)


class TokenSolver(DiscreteSolver):
    """Exact sums over clean tokens with weights (n, *shape, q), the likelihoods of the symbols."""

    nothing = 1.0

    def __init__(self, q: int) -> None:
        self.values, self.unit = np.arange(q, dtype=token_type(q)), f"tokens of {q} symbols"

    def check_channel(self, channel: TokenNoise) -> None:
        for_tokens(channel, self.q)

    def evidence(self, channel: TokenNoise, t: float, x_t: NDArray) -> FloatArray:
        return channel.likelihoods(x_t, t)

    def log_likelihoods(self, seen: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.log(seen)

    def certain(self, digits: NDArray[np.int64]) -> FloatArray:
        return np.eye(self.q)[digits]

    def posterior_mean(self, channel: TokenNoise, t: float, x_t: NDArray, observed: BoolArray) -> FloatArray:
        return self.possible(super().posterior_mean(channel, t, x_t, observed))

    def possible(self, law: FloatArray) -> FloatArray:
        """Return laws (.., q) of sum 1; raise InputError where all weights are 0."""
        total = law.sum(axis=-1, keepdims=True)
        if not total.all():
            raise InputError(self.impossible)
        return law / total

    def local_laws(self, weights: FloatArray, box: Box, radius: int | None, blind: bool) -> FloatArray:
        """Return (n, *shape, q), the law of every token given the weights in the box of `radius` around it.

        All is seen for radius None. Its own weight is left out for `blind`.
        """
        if radius is None and not blind:
            return self.possible(self.probabilities(weights))
        unknown = (weights > 0.0).sum(axis=-1) > 1
        law = softmax(self.blind_logs(weights, box, radius, unknown | blind), axis=-1)
        return law if blind else self.possible(law * weights)


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
        super().__init__(q)
        self.shape, self._closed = lattice.shape, lattice.ndim == 1 and lattice.periodic[0]
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
