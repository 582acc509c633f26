"""Single-site heat bath on any lattice: the plain reference beside the fast samplers."""

import numpy as np
from numpy.typing import NDArray

from ..kernels import heat_bath
from ..lattice import Lattice


def heat_bath_chain(
    lattice: Lattice,
    beta: float,
    n_samples: int,
    rng: np.random.Generator,
    burn_in: int | None,
    thin: int | None,
) -> NDArray[np.int8]:
    longest = max(lattice.shape)
    burn_in = 20 * longest**2 if burn_in is None else burn_in
    thin = longest**2 if thin is None else thin
    if burn_in < 0 or thin < 1:
        raise ValueError(f"burn_in must be >= 0 and thin >= 1, got {burn_in} and {thin}")
    neighbors = neighbor_table(lattice)
    order = checkerboard_order(lattice)
    spins = np.where(rng.random(lattice.n_sites) < 0.5, 1, -1).astype(np.int8)
    out = np.empty((n_samples, lattice.n_sites), np.int8)
    heat_bath.sweeps(spins, neighbors, order, beta, burn_in, rng)
    for n in range(n_samples):
        heat_bath.sweeps(spins, neighbors, order, beta, thin, rng)
        out[n] = spins if rng.random() < 0.5 else -spins
    return out.reshape(n_samples, *lattice.shape)


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
