"""What samples are drawn from, one after the other: perfect samples, or a Markov chain that has burnt in."""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..lattice import Lattice

Spins = NDArray[np.int8]
MAX_UPDATES = 10**9  # in one go, during which nothing can interrupt


class Source(Protocol):
    """Goes on for ever: `draw(n)` gives the next n samples, int8 (n, *lattice.shape)."""

    def draw(self, n: int) -> Spins: ...


class Perfect:
    """Independent samples of the law itself, by `draw`."""

    def __init__(self, draw: Callable[[int], Spins]) -> None:
        self.draw = draw


class Chain:
    """A chain, or `n_replicas` side by side, that has burnt in, sampled every `thin` updates.

    Samples come time after time, the replicas of one time in a row: sample k is of replica k mod n_replicas.

    Args:
        shape: of the lattice.
        advance: makes so many updates of the state, in place.
        spins: the configurations now, (n_replicas, *shape).
        burn_in, thin: updates made so far, and those between samples.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        advance: Callable[[int], object],
        spins: Callable[[], Spins],
        burn_in: int,
        thin: int,
        n_replicas: int = 1,
    ) -> None:
        self.shape, self.burn_in, self.thin, self.n_replicas = shape, burn_in, thin, n_replicas
        self._advance, self._spins = advance, spins
        self._left = np.empty((0, *shape), np.int8)  # replicas of the latest time that are still to be given

    def draw(self, n: int) -> Spins:
        out = np.empty((n, *self.shape), np.int8)
        filled = 0
        while filled < n:
            if not len(self._left):
                self._advance(self.thin)
                self._left = self._spins()
            taken = self._left[: n - filled]
            out[filled : filled + len(taken)] = taken
            self._left = self._left[len(taken) :]
            filled += len(taken)
        return out


def relaxation_sweeps(lattice: Lattice, exponent: float = 0.5) -> int:
    """L^exponent sweeps, L the longest side: the order of the critical relaxation time."""
    return math.ceil(max(lattice.shape) ** exponent)


def check_schedule(lattice: Lattice, burn_in: int | None, thin: int | None, exponent: float = 0.5) -> tuple[int, int]:
    """burn_in and thin, by default 20 L^exponent and L^exponent."""
    relaxation = relaxation_sweeps(lattice, exponent)
    burn_in = 20 * relaxation if burn_in is None else burn_in
    thin = relaxation if thin is None else thin
    integers = isinstance(burn_in, int | np.integer) and isinstance(thin, int | np.integer)
    if not integers or not 0 <= burn_in <= MAX_UPDATES or not 1 <= thin <= MAX_UPDATES:
        raise InputError(
            f"burn_in must be >= 0 and thin >= 1, both integers of at most {MAX_UPDATES:,}, got {burn_in} and {thin}"
        )
    return burn_in, thin


def block_rng(seed: int, block: int) -> np.random.Generator:
    """The generator of one block of a long series: the block-th that `SeedSequence(seed)` spawns."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block,)))
