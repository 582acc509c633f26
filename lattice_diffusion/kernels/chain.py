"""Forward-backward recursions of an Ising chain or ring with fields.

The first spin is summed over last, so that chain and ring are one recursion on 2 x 2 matrices.
`links` (N, 2): factors of equal and of opposite neighbours, links[i] between sites i-1 and i, links[0] closing
the ring ((1, 1) for an open chain); `weights` (n, N, 2): likelihoods of spin -1 and +1.
"""

import math

import numpy as np
from numba import njit


@njit(cache=True)
def _step(v, link, weight):
    """Replace v[s0, s] by sum_s v[s0, s] link(s, s') w(s'), scaled to sum 1, and return the sum."""
    for s0 in range(2):
        minus, plus = v[s0, 0], v[s0, 1]
        v[s0, 0] = (minus * link[0] + plus * link[1]) * weight[0]
        v[s0, 1] = (minus * link[1] + plus * link[0]) * weight[1]
    total = v.sum()
    if total > 0.0:
        v /= total
    return total


@njit(cache=True)
def log_evidence(links, weights, out):
    """Write the log of the sum over all states of factors and weights into out (n,)."""
    v = np.empty((2, 2))
    for n in range(weights.shape[0]):
        v[:] = 0.0
        v[0, 0], v[1, 1] = weights[n, 0, 0], weights[n, 0, 1]
        scale = 0.0
        for i in range(1, links.shape[0]):
            total = _step(v, links[i], weights[n, i])
            scale += math.log(total) if total > 0.0 else -np.inf
        closed = links[0, 0] * (v[0, 0] + v[1, 1]) + links[0, 1] * (v[0, 1] + v[1, 0])
        out[n] = scale + (math.log(closed) if closed > 0.0 else -np.inf)


@njit(cache=True)
def site_probabilities(links, weights, out):
    """Write P(s_i = -1) and P(s_i = +1) of every site into out (n, N, 2)."""
    n_sites = links.shape[0]
    forward = np.empty((n_sites, 2, 2))
    v = np.empty((2, 2))
    one = np.ones(2)
    for n in range(weights.shape[0]):
        v[:] = 0.0
        v[0, 0], v[1, 1] = weights[n, 0, 0], weights[n, 0, 1]
        forward[0] = v
        for i in range(1, n_sites):
            _step(v, links[i], weights[n, i])
            forward[i] = v
        v[0, 0] = v[1, 1] = links[0, 0]  # backward[s0, s]: from the closing bond down
        v[0, 1] = v[1, 0] = links[0, 1]
        for i in range(n_sites - 1, -1, -1):
            minus = forward[i, 0, 0] * v[0, 0] + forward[i, 1, 0] * v[1, 0]
            plus = forward[i, 0, 1] * v[0, 1] + forward[i, 1, 1] * v[1, 1]
            out[n, i, 0] = minus / (minus + plus)
            out[n, i, 1] = plus / (minus + plus)
            if i > 0:
                for s in range(2):
                    v[:, s] *= weights[n, i, s]
                _step(v, links[i], one)


@njit(cache=True, nogil=True)
def sample(correlation, closing, rng, out):
    """Draw perfect samples of +-1 into out (n, N); neighbours are equal with probability (1 + correlation) / 2.

    closing: correlation carried by the ring's closing bond, 0 for an open chain. The rest of the ring, bond i
    to the closing one, is a chain between the present spin and the first one.
    """
    n_sites = out.shape[1]
    for n in range(out.shape[0]):
        first = 1 if rng.random() < 0.5 else -1
        out[n, 0] = first
        for i in range(1, n_sites):
            rest = closing * correlation ** (n_sites - 1 - i)
            plus = (1.0 + correlation * out[n, i - 1]) * (1.0 + rest * first)
            minus = (1.0 - correlation * out[n, i - 1]) * (1.0 - rest * first)
            out[n, i] = 1 if rng.random() * (plus + minus) < plus else -1
