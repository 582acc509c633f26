"""Transfer matrix of an Ising model with fields over the 2^W states of a row: open L x W, or a cylinder.

A row of W spins is a vector over 2^W states, site j at bit W-1-j, 1 for spin +1. From one row to the next

    spread        v(s') = sum_s prod_j link_j(s_j, s'_j) v(s)          one butterfly per column, in place, symmetric
    row_weights   D(s)  = prod_j w_j(s_j) prod_j link_j(s_j-1, s_j)    a table

take a sum over the rows above down (spread, then times D) and one over the rows below up (times D, then spread).
All terms are positive, so that small odds keep their digits; factors are scaled to at most 1, vectors to sum 1, and
what the scaling takes out is accumulated as a logarithm once a row.

Arrays (float64): `right` (L, W, 2) and `down` (L+1, W, 2) hold the factors of equal and of opposite neighbours,
right[i, j] between (i, j-1) and (i, j) (right[i, 0] is not read), down[i, j] between (i-1, j) and (i, j), (1, 1) at the
edges; `weights` (n, L, W, 2) the likelihoods of spin -1 and +1. With `right` (L, W+1, 2) rows are rings, closed by
right[i, W] between (i, W-1) and (i, 0).
"""

import numpy as np
from numba import njit


@njit(cache=True, fastmath={"contract"})
def butterfly(v, length, same, flip):
    """Turn the spin at the bit of value `length` of v into its neighbour in the next row."""
    for start in range(0, v.size, 2 * length):
        low, high = v[start : start + length], v[start + length : start + 2 * length]
        for k in range(length):
            a, b = low[k], high[k]
            low[k] = same * a + flip * b
            high[k] = flip * a + same * b


@njit(cache=True, fastmath={"contract"})
def _two_butterflies(v, length, down):
    """Turn two neighbouring spins, the second at the bit of value `length`, in one pass over memory; down (2, 2)."""
    same, flip = down[0]
    same_next, flip_next = down[1]
    for start in range(0, v.size, 4 * length):
        v00, v01 = v[start : start + length], v[start + length : start + 2 * length]
        v10, v11 = v[start + 2 * length : start + 3 * length], v[start + 3 * length : start + 4 * length]
        for k in range(length):
            a, b, c, d = v00[k], v01[k], v10[k], v11[k]
            a, c = same * a + flip * c, flip * a + same * c
            b, d = same * b + flip * d, flip * b + same * d
            v00[k], v01[k] = same_next * a + flip_next * b, flip_next * a + same_next * b
            v10[k], v11[k] = same_next * c + flip_next * d, flip_next * c + same_next * d


@njit(cache=True, fastmath={"contract"})
def _last_butterflies(v, down):
    """Do the same for the last two columns, whose runs of one state would be slow."""
    same, flip = down[0]
    same_next, flip_next = down[1]
    for k in range(0, v.size, 4):
        a, b, c, d = v[k], v[k + 1], v[k + 2], v[k + 3]
        a, c = same * a + flip * c, flip * a + same * c
        b, d = same * b + flip * d, flip * b + same * d
        v[k], v[k + 1] = same_next * a + flip_next * b, flip_next * a + same_next * b
        v[k + 2], v[k + 3] = same_next * c + flip_next * d, flip_next * c + same_next * d


@njit(cache=True)
def spread(v, down):
    """Turn v, a function of one row, into one of the next; down (W, 2)."""
    width = down.shape[0]
    odd = width % 2
    if odd:
        butterfly(v, 1 << (width - 1), down[0, 0], down[0, 1])
    for j in range(odd, width - 2, 2):
        _two_butterflies(v, 1 << (width - 2 - j), down[j : j + 2])
    if width > 1:
        _last_butterflies(v, down[-2:])


@njit(cache=True)
def row_weights(right, weights, out):
    """Write D of one row into out (2^W,); right (W, 2), or (W+1, 2) for a ring, and weights (W, 2)."""
    width = weights.shape[0]
    out[0], out[1] = weights[-1]
    for j in range(width - 2, -1, -1):
        size = 1 << (width - 1 - j)
        equal, opposite = right[j + 1]
        minus, plus = weights[j]
        low, high = out[:size], out[size : 2 * size]
        for k in range(size >> 1):  # the next spin is -1
            low[k], high[k] = minus * equal * low[k], plus * opposite * low[k]
        for k in range(size >> 1, size):
            low[k], high[k] = minus * opposite * low[k], plus * equal * low[k]
    if right.shape[0] > width:
        equal, opposite = right[width]
        half = out.size >> 1
        for k in range(half):
            out[k] *= opposite if k & 1 else equal
            out[half + k] *= equal if k & 1 else opposite


@njit(cache=True, fastmath={"reassoc", "contract"})
def absorb(v, factor):
    """Multiply v by `factor`, scale it to sum 1, and return the logarithm of the scale taken out."""
    total = 0.0
    for k in range(v.size):
        v[k] *= factor[k]
        total += v[k]
    inverse = 1.0 / total if total > 0.0 else 0.0
    for k in range(v.size):
        v[k] *= inverse
    return np.log(total) if total > 0.0 else -np.inf


@njit(cache=True, fastmath={"reassoc", "contract"})
def dot(v, w):
    total = 0.0
    for k in range(v.size):
        total += v[k] * w[k]
    return total


@njit(cache=True)
def add_row(v, work, right, down, weights):
    """Turn v, a function of the row above, into one of this row; return the log of the scale taken out."""
    spread(v, down)
    row_weights(right, weights, work)
    return absorb(v, work)


@njit(cache=True)
def take_row(v, work, right, down, weights):
    """Apply the adjoint of `add_row`: v, the sum over what follows this row, takes the row in as well."""
    row_weights(right, weights, work)
    absorb(v, work)
    spread(v, down)


@njit(cache=True)
def log_evidence(right, down, weights, out):
    """Write the log of the sum over all states of the scaled factors and weights into out (n,)."""
    n_rows, width = weights.shape[1:3]
    v = np.empty(1 << width)
    work = np.empty(1 << width)
    for n in range(weights.shape[0]):
        v[:] = 0.5**width  # the spins above the first row are summed over without weight
        out[n] = 0.0
        for i in range(n_rows):
            out[n] += add_row(v, work, right[i], down[i], weights[n, i])


@njit(cache=True)
def block_weights(right, down, weights, sites, above, below, out):
    """Write the law of the 2^k states of the block `sites` (k, 2) = (row, column) into out (n, 2^k), first highest bit.

    above, below: (2^W,) sums over the rows before the first and after the last one, as functions of the nearest row.
    """
    k_sites, size = sites.shape[0], above.size
    top, bottom = sites[:, 0].min(), sites[:, 0].max()
    forward, backward, v, work = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    logs = np.empty(out.shape[1])
    for n in range(weights.shape[0]):
        forward[:] = above
        for i in range(top):
            add_row(forward, work, right[i], down[i], weights[n, i])
        backward[:] = below
        for i in range(weights.shape[1] - 1, bottom, -1):
            take_row(backward, work, right[i], down[i], weights[n, i])
        for state in range(out.shape[1]):
            clamped = weights[n, top : bottom + 1].copy()
            for k in range(k_sites):
                plus = (state >> (k_sites - 1 - k)) & 1
                clamped[sites[k, 0] - top, sites[k, 1], 1 - plus] = 0.0
            v[:] = forward
            logs[state] = 0.0
            for i in range(top, bottom + 1):
                logs[state] += add_row(v, work, right[i], down[i], clamped[i - top])
            out[n, state] = dot(v, backward)
        out[n] *= np.exp(logs - logs.max())
        out[n] /= out[n].sum()


@njit(cache=True)
def row_vectors(right, down, weights, above, below):
    """Write relative sums over rows, (L+1, 2^W): above[i] over those before row i, as a function of row i-1,
    below[i] over row i and those after it, as a function of row i-1 too."""
    n_rows, width = weights.shape[:2]
    work = np.empty(1 << width)
    above[0] = 0.5**width
    for i in range(n_rows):
        above[i + 1] = above[i]
        add_row(above[i + 1], work, right[i], down[i], weights[i])
    below[n_rows] = 0.5**width
    for i in range(n_rows - 1, -1, -1):
        below[i] = below[i + 1]
        take_row(below[i], work, right[i], down[i], weights[i])


@njit(cache=True, nogil=True)
def sample_row_above(vector, down, states, rng):
    """Take the sampled states (n,) of a row back, site by site, to those of the row above, in place.

    vector: (2^W,) row vector of the row above; down: factors (W, 2) between the two rows.
    """
    width = down.shape[0]
    before = np.empty((width, vector.size))
    before[0] = vector
    for j in range(width - 1):
        before[j + 1] = before[j]
        butterfly(before[j + 1], 1 << (width - 1 - j), down[j, 0], down[j, 1])
    for n in range(states.size):
        state = states[n]
        for j in range(width - 1, -1, -1):
            bit = 1 << (width - 1 - j)
            plus = 1 if state & bit else 0
            w_minus = before[j, state & ~bit] * down[j, plus]
            w_plus = before[j, state | bit] * down[j, 1 - plus]
            state = state | bit if rng.random() * (w_minus + w_plus) < w_plus else state & ~bit
        states[n] = state
