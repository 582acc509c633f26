"""Noisy configurations a batch at a time, and the conditional mutual information averaged over them.

The average is taken in its Rao-Blackwell form,
    I(A;C|B) = E_{x_B, x_C} KL( p(x_A | x_B, x_C) || p(x_A | x_B) ),
where both laws are mixtures over a clean block A or a label, so that every sample contributes a non-negative number
and 1e-12 is as easy as 1e-2.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel
from ..kernels.mixtures import block_divergence
from ..lattice import Tripartition

Sampler = Callable[[int, np.random.Generator], NDArray]
Posterior = Callable[[NDArray[np.float64], NDArray[np.bool_]], NDArray[np.float64]]


@dataclass(frozen=True)
class NoisySamples:
    """`n` configurations drawn by `sample`, seen through `channel` at time t."""

    channel: Channel
    t: float
    sample: Sampler
    n: int
    rng: np.random.Generator

    def batches(self, size: int) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Which of the n, and their noisy values (at most size, *lattice); drawn anew each time."""
        for start in range(0, self.n, size):
            rows = slice(start, min(start + size, self.n))
            yield rows, self.channel.corrupt(self.sample(rows.stop - start, self.rng), self.t, self.rng)

    def divergences(
        self, parts: Sequence[Tripartition], posterior: Posterior, law: NDArray[np.float64], size: int
    ) -> NDArray[np.float64]:
        """(n, tripartition), whose means are I(A;C|B); all have one A and one A + B + C.

        Args:
            posterior: of the states of A, or of a label that A tells of, given x_t on a region, (size, state).
            law: of what is observed given the state, (outcome, 2), see `Channel.output_law`.
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
