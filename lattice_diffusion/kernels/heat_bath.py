"""Heat-bath updates of Ising spins, sublattice by sublattice."""

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def sweeps(spins, neighbors, order, beta, n_sweeps, rng):  # type: ignore[no-untyped-def]
    """`n_sweeps` sweeps in place: each spin in `order` is redrawn given its neighbours.

    spins: (N,) int8; neighbors: (N, z) site indices, -1 where there is none.
    """
    z = neighbors.shape[1]
    up = np.empty(2 * z + 1)
    for k in range(2 * z + 1):
        up[k] = 1.0 / (1.0 + math.exp(-2.0 * beta * (k - z)))
    for _ in range(n_sweeps):
        for i in order:
            total = z
            for k in range(z):
                if neighbors[i, k] >= 0:
                    total += spins[neighbors[i, k]]
            spins[i] = 1 if rng.random() < up[total] else -1
