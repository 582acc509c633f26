"""Sums over the tokens of a nearest-neighbour Potts model, site by site over the q^W states of a row.

A state has one digit of base q per column. Adding site (i, j) takes out the token above it, which is the highest digit,
and puts the new one in as the lowest; after a whole row site j is the digit of q^(W-1-j). Adding a site is
    out[.., s] = w_s link_right(s, left) sum_{s'} link_down(s', s) v[s', ..],
where a link has one factor for equal tokens and one for different ones. What scaling takes out of vectors is
accumulated as a logarithm once a row. Lattices whose rows close to a ring are a sum over the states of the row before
the first, which is also the last: `closed`.

Arrays (float64): `right` and `down` (L, W, 2) hold the factors of equal and of different neighbours, right[i, j]
between (i, j-1) and (i, j), down[i, j] between (i-1, j) and (i, j), (1, 1) at open edges; `weights` (n, L, W, q) the
likelihoods of the symbols.
"""

import math

import numpy as np
from numba import njit

from .clusters import merge


@njit(cache=True)
def add_site(v, out, right, down, weight):
    q = weight.size
    rest = v.size // q
    equal, other = right
    same, change = down
    for k in range(rest):
        total = 0.0
        for s in range(q):
            total += v[s * rest + k]
        left = k % q  # a single column has no left neighbour and right = (1, 1)
        for s in range(q):
            own = v[s * rest + k]
            out[k * q + s] = weight[s] * (equal if s == left else other) * (change * (total - own) + same * own)


@njit(cache=True)
def take_site(v, out, right, down, weight):
    """Apply the adjoint of `add_site`."""
    q = weight.size
    rest = v.size // q
    equal, other = right
    same, change = down
    for k in range(rest):
        left = k % q
        total = 0.0
        for s in range(q):
            total += weight[s] * (equal if s == left else other) * v[k * q + s]
        for s in range(q):
            own = weight[s] * (equal if s == left else other) * v[k * q + s]
            out[s * rest + k] = change * (total - own) + same * own


@njit(cache=True, fastmath={"reassoc"})
def normalise(v):
    """Scale v to sum 1, and return the logarithm of the sum."""
    total = v.sum()
    v *= 1.0 / total if total > 0.0 else 0.0
    return np.log(total) if total > 0.0 else -np.inf


@njit(cache=True)
def add_row(v, work, right, down, weights):
    """Turn v, a function of the row above, into one of this row; return the log of the scale taken out."""
    for j in range(right.shape[0]):
        add_site(v, work, right[j], down[j], weights[j])
        v[:] = work
    return normalise(v)


@njit(cache=True)
def take_row(v, work, right, down, weights):
    for j in range(right.shape[0] - 1, -1, -1):
        take_site(v, work, right[j], down[j], weights[j])
        v[:] = work
    return normalise(v)


@njit(cache=True)
def _start(v, closed, k):
    """Set v to the row before the first: state k of a ring, a uniform sum over states of an open lattice."""
    if closed:
        v[:] = 0.0
        v[k] = 1.0
    else:
        v[:] = 1.0 / v.size


@njit(cache=True)
def log_sums(right, down, weights, closed, out):
    """Write the log of the sum over all states into out[n, k], those of a ring by the state k of its last row."""
    size = weights.shape[3] ** right.shape[1]
    v, work = np.empty(size), np.empty(size)
    for n in range(weights.shape[0]):
        for k in range(out.shape[1]):
            _start(v, closed, k)
            out[n, k] = 0.0
            for i in range(right.shape[0]):
                out[n, k] += add_row(v, work, right[i], down[i], weights[n, i])
            if closed:
                out[n, k] += math.log(v[k]) if v[k] > 0.0 else -np.inf


@njit(cache=True)
def site_probabilities(right, down, weights, closed, out):
    """Write the law of every token into out[n, i, j], 0 where nothing is possible.

    There is one pass down and one up for every start.
    """
    n_rows, width = right.shape[:2]
    q = weights.shape[3]
    size = q**width
    forward = np.empty((n_rows, size))
    v, work = np.empty(size), np.empty(size)
    for n in range(weights.shape[0]):
        out[n] = 0.0
        top = -np.inf
        for k in range(size if closed else 1):
            _start(v, closed, k)
            scale = 0.0
            for i in range(n_rows):
                scale += add_row(v, work, right[i], down[i], weights[n, i])
                forward[i] = v
            if closed:
                scale += math.log(v[k]) if v[k] > 0.0 else -np.inf
            if scale == -np.inf:
                continue
            if scale > top:
                out[n] *= math.exp(top - scale)
                top = scale
            share = math.exp(scale - top)
            if closed:
                _start(v, closed, k)
            else:
                v[:] = 1.0
            for i in range(n_rows - 1, -1, -1):
                norm = 0.0
                for state in range(size):
                    norm += v[state] * forward[i, state]
                for state in range(size):
                    rest = state
                    joint = share * v[state] * forward[i, state] / norm
                    for j in range(width - 1, -1, -1):
                        out[n, i, j, rest % q] += joint
                        rest //= q
                take_row(v, work, right[i], down[i], weights[n, i])
        for i in range(n_rows):
            for j in range(width):
                total = out[n, i, j].sum()
                if total > 0.0:
                    out[n, i, j] /= total


@njit(cache=True, nogil=True)
def sample(right, down, weights, closed, starts, rng, out):
    """Write perfect samples of the weighted law into out (n, L, W), drawn site by site backwards.

    weights: (L, W, q); starts: (n,) state of the last row of a ring, 0 for open lattices.
    """
    n_rows, width = right.shape[:2]
    q = weights.shape[2]
    size = q**width
    rest = size // q
    before = np.empty((n_rows * width + 1, size))
    chance = np.empty(q)
    for k in range(size if closed else 1):
        if not (starts == k).any():
            continue
        _start(before[0], closed, k)
        for i in range(n_rows):
            for j in range(width):
                at = i * width + j
                add_site(before[at], before[at + 1], right[i, j], down[i, j], weights[i, j])
                before[at + 1] /= before[at + 1].sum()
        cumulative = np.cumsum(before[-1])
        for n in range(out.shape[0]):
            if starts[n] != k:
                continue
            state = k if closed else min(np.searchsorted(cumulative, rng.random() * cumulative[-1], "right"), size - 1)
            for at in range(n_rows * width - 1, -1, -1):
                i, j = at // width, at % width
                s, kept = state % q, state // q
                out[n, i, j] = s
                total = 0.0
                for above in range(q):
                    total += before[at, above * rest + kept] * down[i, j, 0 if above == s else 1]
                    chance[above] = total
                above = min(np.searchsorted(chance, rng.random() * total, "right"), q - 1)
                state = above * rest + kept


@njit(cache=True, nogil=True)
def swendsen_wang(tokens, bonds, probability, q, n_sweeps, rng):
    """Make Swendsen-Wang sweeps in place: satisfied bonds are kept with `probability`, and clusters recoloured.

    tokens: (N,); bonds: (M, 2).
    """
    parent = np.empty(len(tokens), np.int64)
    for _ in range(n_sweeps):
        for i in range(len(tokens)):
            parent[i] = i
        for b in range(len(bonds)):
            i, j = bonds[b]
            if tokens[i] == tokens[j] and rng.random() < probability:
                merge(parent, i, j)
        for i in range(len(tokens)):  # parents precede children
            tokens[i] = rng.integers(0, q) if parent[i] == i else tokens[parent[i]]
