"""Samples without end: batches of one chain, or of perfect samples, in bounded memory."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..lattice import Lattice
from .chains import Source
from .checks import check_memory
from .methods import IsingMethod, open_source


def stream(
    lattice: Lattice,
    beta: float,
    batch_size: int,
    rng: np.random.Generator,
    method: IsingMethod = "auto",
    *,
    field: ArrayLike = 0.0,
    burn_in: int | None = None,
    thin: int | None = None,
) -> Iterator[NDArray[np.int8]]:
    """Batches (batch_size, *lattice.shape) of what `ising` draws, for ever.

        for spins in itertools.islice(stream(lattice, beta, 256, rng), 1000): ...

    A Markov chain burns in once, when `stream` is called, and goes on from batch to batch: the first n samples are
    those of `ising` with n_samples = n and a generator in the same state. (The transfer matrix draws batch by batch,
    so that there the numbers depend on batch_size.) The arguments are those of `ising`.

    Raises:
        ValueError: as `ising` does, at the call.
    """
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise InputError(f"batch_size must be a positive integer, got {batch_size}")
    check_memory(batch_size * lattice.n_sites)
    return _batches(open_source(lattice, beta, rng, method, field, burn_in, thin), int(batch_size))


def _batches(source: Source, batch_size: int) -> Iterator[NDArray[np.int8]]:
    while True:
        yield source.draw(batch_size)
