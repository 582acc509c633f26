"""Site-by-site transfer matrix of an Ising model with fields over the 2^W states of a row: open L x W, or a cylinder.

A state holds one bit per column, 1 for spin +1. Adding site (i, j) takes out the spin above it, which is the
highest bit, and puts the new one in as the lowest; after a whole row site j is bit W-1-j. Adding a site is
    out[.., s] = w_s link_right(s, left) sum_{s'} link_down(s, s') v[s', ..],
with all factors scaled to at most 1; what the scaling takes out is accumulated as a logarithm once a row.

Arrays (float64): `right` (L, W, 2) and `down` (L+1, W, 2) hold the factors of equal and of opposite neighbours,
right[i, j] between (i, j-1) and (i, j), down[i, j] between (i-1, j) and (i, j), (1, 1) at the edges;
`weights` (n, L, W, 2) the likelihoods of spin -1 and +1. With `right` (L, W+1, 2) rows are rings, closed by right[i, W]
between (i, W-1) and (i, 0).
"""

import numpy as np
from numba import njit


# Factors are read into scalars first: the compiler cannot know that `out` does not overlap them.
@njit(cache=True, fastmath={"contract"})
def add_site(v, out, right, down, weight):
    half = v.size >> 1
    low, high = v[:half], v[half:]
    same, flip = down
    equal, opposite = right
    w_minus, w_plus = weight
    for k in range(half):
        odd = k & 1  # a single column has no left neighbour and right = (1, 1)
        minus = w_minus * (opposite if odd else equal)
        plus = w_plus * (equal if odd else opposite)
        out[2 * k] = minus * (same * low[k] + flip * high[k])
        out[2 * k + 1] = plus * (flip * low[k] + same * high[k])


@njit(cache=True, fastmath={"contract"})
def take_site(v, out, right, down, weight):
    """Apply the adjoint of `add_site`."""
    half = v.size >> 1
    low, high = out[:half], out[half:]
    same, flip = down
    equal, opposite = right
    w_minus, w_plus = weight
    for k in range(half):
        odd = k & 1
        minus = w_minus * (opposite if odd else equal) * v[2 * k]
        plus = w_plus * (equal if odd else opposite) * v[2 * k + 1]
        low[k] = same * minus + flip * plus
        high[k] = flip * minus + same * plus


@njit(cache=True, inline="always")
def _pair_factors(right, down, weight):
    """Return factors of the first of two sites, and products of the second's by its spin and its neighbours'."""
    same, flip = down[0]
    equal, opposite = right[0]
    w_minus, w_plus = weight[0]
    a0, a1 = right[1, 0] * weight[1, 0] * down[1, 0], right[1, 0] * weight[1, 0] * down[1, 1]
    b0, b1 = right[1, 1] * weight[1, 1] * down[1, 1], right[1, 1] * weight[1, 1] * down[1, 0]
    c0, c1 = right[1, 1] * weight[1, 0] * down[1, 0], right[1, 1] * weight[1, 0] * down[1, 1]
    d0, d1 = right[1, 0] * weight[1, 1] * down[1, 1], right[1, 0] * weight[1, 1] * down[1, 0]
    return same, flip, equal, opposite, w_minus, w_plus, a0, a1, b0, b1, c0, c1, d0, d1


@njit(cache=True, fastmath={"contract"})
def add_two_sites(v, out, right, down, weight):
    """Add two neighbouring sites in one pass over memory; right, down, weight are (2, 2), one row a site."""
    q = v.size >> 2
    v00, v01, v10, v11 = v[:q], v[q : 2 * q], v[2 * q : 3 * q], v[3 * q :]
    same, flip, equal, opposite, w_minus, w_plus, a0, a1, b0, b1, c0, c1, d0, d1 = _pair_factors(right, down, weight)
    for k in range(q):
        odd = k & 1
        minus = w_minus * (opposite if odd else equal)
        plus = w_plus * (equal if odd else opposite)
        m0 = minus * (same * v00[k] + flip * v10[k])
        m1 = minus * (same * v01[k] + flip * v11[k])
        p0 = plus * (flip * v00[k] + same * v10[k])
        p1 = plus * (flip * v01[k] + same * v11[k])
        out[4 * k] = a0 * m0 + a1 * m1
        out[4 * k + 1] = b0 * m0 + b1 * m1
        out[4 * k + 2] = c0 * p0 + c1 * p1
        out[4 * k + 3] = d0 * p0 + d1 * p1


@njit(cache=True, fastmath={"contract"})
def take_two_sites(v, out, right, down, weight):
    """Apply the adjoint of `add_two_sites`."""
    q = v.size >> 2
    o00, o01, o10, o11 = out[:q], out[q : 2 * q], out[2 * q : 3 * q], out[3 * q :]
    same, flip, equal, opposite, w_minus, w_plus, a0, a1, b0, b1, c0, c1, d0, d1 = _pair_factors(right, down, weight)
    for k in range(q):
        odd = k & 1
        minus = w_minus * (opposite if odd else equal)
        plus = w_plus * (equal if odd else opposite)
        m0 = minus * (a0 * v[4 * k] + b0 * v[4 * k + 1])
        m1 = minus * (a1 * v[4 * k] + b1 * v[4 * k + 1])
        p0 = plus * (c0 * v[4 * k + 2] + d0 * v[4 * k + 3])
        p1 = plus * (c1 * v[4 * k + 2] + d1 * v[4 * k + 3])
        o00[k] = same * m0 + flip * p0
        o01[k] = same * m1 + flip * p1
        o10[k] = flip * m0 + same * p0
        o11[k] = flip * m1 + same * p1


@njit(cache=True, fastmath={"reassoc", "contract"})
def dot(v, w):
    total = 0.0
    for k in range(v.size):
        total += v[k] * w[k]
    return total


@njit(cache=True, fastmath={"reassoc"})
def normalise(source, v):
    """Write source / sum(source) into v, and return the logarithm of the sum."""
    total = 0.0
    for k in range(v.size):
        total += source[k]
    inverse = 1.0 / total if total > 0.0 else 0.0
    for k in range(v.size):
        v[k] = source[k] * inverse
    return np.log(total) if total > 0.0 else -np.inf


@njit(cache=True)
def close_row(v, link):
    """Multiply v by the factors `link` (2,) of equal and of opposite first and last spins of the row."""
    half = v.size >> 1
    for k in range(half):
        v[k] *= link[k & 1]
        v[half + k] *= link[1 - (k & 1)]


@njit(cache=True)
def add_row(v, work, right, down, weights):
    """Turn v, a function of the row above, into one of this row; return the log of the scale taken out."""
    width = down.shape[0]
    source, target = v, work
    for j in range(0, width - 1, 2):
        add_two_sites(source, target, right[j : j + 2], down[j : j + 2], weights[j : j + 2])
        source, target = target, source
    if width % 2 == 1:
        add_site(source, target, right[width - 1], down[width - 1], weights[width - 1])
        source = target
    if right.shape[0] > width:
        close_row(source, right[width])
    return normalise(source, v)


@njit(cache=True)
def take_row(v, work, right, down, weights):
    """Apply the adjoint of `add_row`: v, the sum over what follows this row, takes the row in as well."""
    width = down.shape[0]
    if right.shape[0] > width:
        close_row(v, right[width])
    source, target = v, work
    if width % 2 == 1:
        take_site(source, target, right[width - 1], down[width - 1], weights[width - 1])
        source, target = target, source
    for j in range(width - 2 - width % 2, -1, -2):
        take_two_sites(source, target, right[j : j + 2], down[j : j + 2], weights[j : j + 2])
        source, target = target, source
    return normalise(source, v)


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
    """Write relative weights of the 2^k states of the block `sites` (k, 2) = (row, column), sorted by row.

    above, below: (2^W,) sums over the rows before the first and after the last one, as functions of the nearest row.
    out: (n, 2^k); the first site is the highest bit. Block sites must have weights (1, 1).
    """
    width = weights.shape[2]
    k_sites = sites.shape[0]
    top, bottom = sites[0, 0], sites[k_sites - 1, 0]
    n_early = 0  # sites above the block's last row are clamped, those in it are read off the state
    while sites[n_early, 0] < bottom:
        n_early += 1
    n_late = k_sites - n_early
    size = 1 << width
    run = 1 << (width - 1 - sites[n_early:, 1].max())  # neighbouring states that agree on the block
    forward, backward, v, work = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    log_scale = np.empty(1 << n_early)
    for n in range(weights.shape[0]):
        forward[:] = above
        for i in range(top):
            add_row(forward, work, right[i], down[i], weights[n, i])
        backward[:] = below
        for i in range(weights.shape[1] - 1, bottom, -1):
            take_row(backward, work, right[i], down[i], weights[n, i])
        clamped = weights[n, top : bottom + 1].copy()
        for early in range(1 << n_early):
            for k in range(n_early):
                plus = (early >> (n_early - 1 - k)) & 1
                clamped[sites[k, 0] - top, sites[k, 1], 0] = 1 - plus
                clamped[sites[k, 0] - top, sites[k, 1], 1] = plus
            v[:] = forward
            scale = 0.0
            for i in range(top, bottom + 1):
                scale += add_row(v, work, right[i], down[i], clamped[i - top])
            log_scale[early] = scale
            base = early << n_late
            for late in range(1 << n_late):
                out[n, base + late] = 0.0
            for start in range(0, size, run):
                late = 0
                for k in range(n_early, k_sites):
                    late = 2 * late + ((start >> (width - 1 - sites[k, 1])) & 1)
                out[n, base + late] += dot(v[start : start + run], backward[start : start + run])
        largest = log_scale.max()
        total = 0.0
        for early in range(1 << n_early):
            factor = np.exp(log_scale[early] - largest)
            for b in range(early << n_late, (early + 1) << n_late):
                out[n, b] *= factor
                total += out[n, b]
        for b in range(out.shape[1]):
            out[n, b] /= total


@njit(cache=True)
def row_vectors(right, down, weights, above, below):
    """Write normalised sums over rows, (L+1, 2^W): above[i] over those before row i, as a function of row i-1,
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
def sample_row_above(vector, right, down, weights, states, rng):
    """Take the sampled states of a row back site by site to those of the row above, in place.

    vector: (2^W,) row vector of the row above; right, down, weights: those of the sampled row; states: (n,).
    """
    width = down.shape[0]
    half = (1 << width) >> 1
    before = np.empty((width + 1, 1 << width))
    before[0] = vector
    for j in range(width):
        add_site(before[j], before[j + 1], right[j], down[j], weights[j])
    for n in range(states.size):
        state = states[n]
        for j in range(width - 1, -1, -1):
            plus, rest = state & 1, state >> 1
            w_minus = before[j, rest] * down[j, plus]
            w_plus = before[j, rest + half] * down[j, 1 - plus]
            state = rest + half if rng.random() * (w_minus + w_plus) < w_plus else rest
        states[n] = state
