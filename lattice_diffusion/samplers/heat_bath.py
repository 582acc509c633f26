"""Single-site heat bath on any lattice: the plain reference beside the fast samplers."""

import numpy as np
from numpy.typing import NDArray

from ..kernels import heat_bath
from ..lattice import Lattice
from .chains import Chain, Spins, check_schedule


def heat_bath_chain(
    lattice: Lattice, beta: float, rng: np.random.Generator, burn_in: int | None, thin: int | None
) -> Chain:
    """Sweeps at one beta, by default 20 L^2 before the first and L^2 between samples; each with a fair overall sign."""
    burn_in, thin = check_schedule(lattice, burn_in, thin, exponent=2.0)
    neighbors = neighbor_table(lattice)
    order = checkerboard_order(lattice)
    spins = np.where(rng.random(lattice.n_sites) < 0.5, 1, -1).astype(np.int8)

    def advance(n_sweeps: int) -> None:
        heat_bath.uniform_sweeps(spins, neighbors, order, beta, n_sweeps, rng)

    def sample() -> Spins:
        return (spins if rng.random() < 0.5 else -spins).reshape(1, *lattice.shape)

    advance(burn_in)
    return Chain(lattice.shape, advance, sample, burn_in, thin)


def neighbor_table(lattice: Lattice) -> NDArray[np.int64]:
    """(N, 2 d) flat neighbour indices, -1 beyond an open edge."""
    table = np.full((lattice.n_sites, 2 * lattice.ndim), -1)
    filled = np.zeros(lattice.n_sites, int)
    for i, j in lattice.bonds:
        table[i, filled[i]] = j
        table[j, filled[j]] = i
        filled[i] += 1
        filled[j] += 1
    return table


def checkerboard_order(lattice: Lattice) -> NDArray[np.int64]:
    """Even sites, then odd ones; any fixed order of single-site heat baths leaves p invariant."""
    parity = np.indices(lattice.shape).sum(axis=0).ravel() % 2
    return np.argsort(parity, kind="stable")
