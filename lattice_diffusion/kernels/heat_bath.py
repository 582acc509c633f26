"""Heat-bath updates of Ising spins: one chain, monotonically coupled chains, and a temperature ladder.

Spin i turns up if u < f(2 beta (h_i + sum_j J_ij s_j)), f(x) = 1/(1 + exp(-x)). Tabulated bounds on f settle all but
about one comparison in a hundred; the rest compute f.
"""

import math

import numpy as np
from numba import njit

from .clusters import next_word

_REACH, _PER_UNIT = 40.0, 32.0  # f(-40) is below the spacing of u, 2^-53
_grid = np.arange(-_REACH, _REACH + 0.5 / _PER_UNIT, 1.0 / _PER_UNIT)
_BOUNDS = 1.0 / (1.0 + np.exp(-_grid))
_BOUNDS[0], _BOUNDS[-1] = 0.0, 1.0
_LAST = float(len(_BOUNDS) - 2)


@njit(cache=True, inline="always")
def _uniform(s):
    word, s = next_word(s)
    return np.float64(word >> np.uint64(11)) * 2.0**-53, s


@njit(cache=True, inline="always")
def _below_logistic(u, x):
    """Return whether u < 1/(1 + exp(-x)); at fixed u it never turns false as x grows."""
    place = (x + _REACH) * _PER_UNIT
    place = place if place > 0.0 else 0.0
    k = np.uint32(place if place < _LAST else _LAST)
    below = u < _BOUNDS[k]
    if (u < _BOUNDS[k + np.uint32(1)]) != below:
        below = u < 1.0 / (1.0 + math.exp(-x))
    return below


@njit(cache=True, inline="always")
def _local_field(spins, i, neighbors, couplings, fields):
    total = fields[i]
    for k in range(neighbors.shape[1]):
        total += couplings[i, k] * spins[neighbors[i, k]]
    return total


@njit(cache=True, inline="always")
def _sweep(spins, order, neighbors, couplings, fields, beta, s):
    for i in order:
        u, s = _uniform(s)
        x = 2.0 * beta * _local_field(spins, i, neighbors, couplings, fields)
        spins[i] = 2 * np.int8(_below_logistic(u, x)) - 1
    return s


@njit(cache=True, nogil=True)
def sweeps(spins, order, neighbors, couplings, fields, n_sweeps, state):
    """Make `n_sweeps` sweeps in place over the sites in `order`; the others stay clamped.

    spins: (N,) int8; neighbors: (N, z) int32, i itself where there is none, with coupling 0;
    couplings: (N, z); fields: (N,), finite; state: (4,) uint64 of xoshiro256++.
    """
    s = (state[0], state[1], state[2], state[3])
    for _ in range(n_sweeps):
        s = _sweep(spins, order, neighbors, couplings, fields, 1.0, s)
    state[0], state[1], state[2], state[3] = s


@njit(cache=True, nogil=True)
def coupled_sweeps(upper, lower, order, neighbors, couplings, fields, n_sweeps, state):
    """Make sweeps of two chains by the same random numbers: for couplings >= 0, lower <= upper stays true."""
    s = (state[0], state[1], state[2], state[3])
    for _ in range(n_sweeps):
        for i in order:
            u, s = _uniform(s)
            x = 2.0 * _local_field(upper, i, neighbors, couplings, fields)
            upper[i] = 2 * np.int8(_below_logistic(u, x)) - 1
            x = 2.0 * _local_field(lower, i, neighbors, couplings, fields)
            lower[i] = 2 * np.int8(_below_logistic(u, x)) - 1
    state[0], state[1], state[2], state[3] = s


@njit(cache=True)
def _energy(spins, neighbors, couplings, fields):
    total = 0.0
    for i in range(len(spins)):
        total -= 0.5 * spins[i] * (fields[i] + _local_field(spins, i, neighbors, couplings, fields))
    return total


@njit(cache=True, nogil=True)
def exchange(spins, rung, betas, order, neighbors, couplings, fields, n_rounds, accepted, state):
    """Make `n_rounds` of a sweep of every replica and swaps of neighbouring temperatures, in place.

    spins: (K, N) int8; rung: (K,), replica rung[k] sits at betas[k]; accepted: (K-1,), swaps are added.
    Each round tries the pairs (0, 1), (2, 3), ... and then (1, 2), (3, 4), ..., accepting with probability
    min(1, exp((beta_k - beta_k+1) (E_k - E_k+1))).
    """
    n_rungs = len(betas)
    energies = np.empty(n_rungs)
    s = (state[0], state[1], state[2], state[3])
    for _ in range(n_rounds):
        for k in range(n_rungs):
            replica = spins[rung[k]]
            s = _sweep(replica, order, neighbors, couplings, fields, betas[k], s)
            energies[k] = _energy(replica, neighbors, couplings, fields)
        for first in range(2):
            for k in range(first, n_rungs - 1, 2):
                u, s = _uniform(s)
                gain = (betas[k] - betas[k + 1]) * (energies[k] - energies[k + 1])
                if gain >= 0.0 or u < math.exp(gain):
                    rung[k], rung[k + 1] = rung[k + 1], rung[k]
                    energies[k], energies[k + 1] = energies[k + 1], energies[k]
                    accepted[k] += 1
    state[0], state[1], state[2], state[3] = s
