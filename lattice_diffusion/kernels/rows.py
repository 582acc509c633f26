"""Marginals of planar spins from whole rows: every site's without its own field, every bond's without its coupling.

Arrays are those of `transfer_matrix`; rows are open.
"""

import numpy as np
from numba import njit

from .transfer_matrix import absorb, butterfly, dot, row_weights, spread


@njit(cache=True)
def _rows_below(right, down, weights, D, below):
    """Write D (L, 2^W) of all rows, and the sums below[i] over rows i+1 .. L-1 as functions of row i."""
    n_rows, width = weights.shape[:2]
    below[n_rows - 1] = 0.5**width
    for i in range(n_rows - 1, -1, -1):
        row_weights(right[i], weights[i], D[i])
        if i > 0:
            below[i - 1] = below[i]
            absorb(below[i - 1], D[i])
            spread(below[i - 1], down[i])


@njit(cache=True)
def _sites_of_row(joint, weights, table, out):
    """Write the weights of s_j = -1, +1 into out[j], under joint (2^W,) times all weights (W, 2) but its own.

    joint is used up; table (2^W,) is workspace: at [2^k : 2^(k+1)] it holds the product of the last k columns' weights.
    """
    width = weights.shape[0]
    table[1] = 1.0
    for k in range(width - 1):
        n = 1 << k
        for s in range(n):
            table[2 * n + s] = weights[width - 1 - k, 0] * table[n + s]
            table[3 * n + s] = weights[width - 1 - k, 1] * table[n + s]
    for j in range(width):
        n = 1 << (width - 1 - j)
        minus, plus = joint[:n], joint[n : 2 * n]
        out[j, 0], out[j, 1] = dot(minus, table[n : 2 * n]), dot(plus, table[n : 2 * n])
        for s in range(n):
            minus[s] = weights[j, 0] * minus[s] + weights[j, 1] * plus[s]


@njit(cache=True)
def site_odds(right, down, weights, out):
    """Write the relative weights of s = -1 and +1 at every site into out[n, i, j], given all weights but its own."""
    n_rows, width = weights.shape[1:3]
    size = 1 << width
    D, below, links = np.empty((n_rows, size)), np.empty((n_rows, size)), np.empty((n_rows, size))
    v, joint, table = np.empty(size), np.empty(size), np.empty(size)
    free = np.ones((width, 2))
    for i in range(n_rows):
        row_weights(right[i], free, links[i])
    for n in range(weights.shape[0]):
        _rows_below(right, down, weights[n], D, below)
        v[:] = 0.5**width
        for i in range(n_rows):
            spread(v, down[i])
            for s in range(size):
                joint[s] = v[s] * below[i, s] * links[i, s]
            _sites_of_row(joint, weights[n, i], table, out[n, i])
            absorb(v, D[i])


@njit(cache=True)
def _bond_sums(v, u, run, out):
    """Write the sums of v(s) u(s') over equal and opposite spins at the bit of value `run`, all others equal."""
    out[:] = 0.0
    for k in range(0, v.size, 2 * run):
        v_minus, v_plus = v[k : k + run], v[k + run : k + 2 * run]
        u_minus, u_plus = u[k : k + run], u[k + run : k + 2 * run]
        out[0] += dot(v_minus, u_minus) + dot(v_plus, u_plus)
        out[1] += dot(v_minus, u_plus) + dot(v_plus, u_minus)


@njit(cache=True)
def _right_bonds_of_row(joint, right, table, out):
    """Write the weights of s_j-1 = s_j and -s_j into out[j-1], under joint (2^W,) times all links (W, 2) but this.

    table (2^(W+1),) is workspace: at [2^k : 2^(k+1)] it holds the links among the last k columns.
    """
    width = right.shape[0]
    table[2], table[3] = 1.0, 1.0
    for k in range(1, width - 1):
        equal, opposite = right[width - k]
        n = 1 << (k - 1)
        for s in range(n):
            minus, plus = table[2 * n + s], table[3 * n + s]
            table[4 * n + s], table[5 * n + s] = equal * minus, opposite * plus
            table[6 * n + s], table[7 * n + s] = opposite * minus, equal * plus
    for j in range(1, width):
        n = 1 << (width - 1 - j)
        same, flip = right[j]
        minus, plus = table[2 * n : 3 * n], table[3 * n : 4 * n]
        out[j - 1, 0] = dot(joint[:n], minus) + dot(joint[3 * n : 4 * n], plus)
        out[j - 1, 1] = dot(joint[n : 2 * n], plus) + dot(joint[2 * n : 3 * n], minus)
        for s in range(n):
            joint[s] = same * joint[s] + flip * joint[2 * n + s]
            joint[n + s] = flip * joint[n + s] + same * joint[3 * n + s]


@njit(cache=True)
def bond_odds(right, down, out):
    """Write relative weights of equal and opposite spins over right and down bond of (i, j) into out[n, 0 or 1, i, j].

    Links of their own for every sample, right (n, L, W, 2) and down (n, L+1, W, 2); no field. Each bond is given all
    couplings but its own. Entries without a bond are left alone.
    """
    n_rows, width = right.shape[1:3]
    size = 1 << width
    D, below = np.empty((n_rows, size)), np.empty((n_rows, size))
    prefix = np.empty((width, size))
    v, u, table = np.empty(size), np.empty(size), np.empty(2 * size)
    free = np.ones((n_rows, width, 2))
    for n in range(right.shape[0]):
        _rows_below(right[n], down[n], free, D, below)
        v[:] = 0.5**width
        for i in range(n_rows):
            if i > 0:
                u[:] = below[i]
                absorb(u, D[i])
                for j in range(width):
                    prefix[j] = v
                    butterfly(v, 1 << (width - 1 - j), down[n, i, j, 0], down[n, i, j, 1])
                for j in range(width - 1, -1, -1):
                    run = 1 << (width - 1 - j)
                    _bond_sums(prefix[j], u, run, out[n, 1, i - 1, j])
                    butterfly(u, run, down[n, i, j, 0], down[n, i, j, 1])
            u[:] = v
            absorb(u, below[i])
            _right_bonds_of_row(u, right[n, i], table, out[n, 0, i])
            absorb(v, D[i])


@njit(cache=True)
def local_down_bond_odds(right, down, radius, out):
    """Write the same for the down bond of (i, j), i < L-1, given the other couplings in the box, into out[n, i, j].

    The box holds rows i-r .. i+1+r and columns j-r .. j+r; right (n, L+2r, W+2r, 2) and down (n, L+1+2r, W+2r, 2) are
    padded by r faces without couplings, factors (1, 1), on all sides.
    """
    n_rows, width = out.shape[1], out.shape[2]
    side = 2 * radius + 1
    v, u, D = np.empty(1 << side), np.empty(1 << side), np.empty(1 << side)
    free, links = np.ones((side, 2)), np.empty((side, 2))
    for n in range(right.shape[0]):
        for i in range(n_rows):
            for j in range(width):
                v[:] = 1.0
                for k in range(i, i + radius + 1):
                    if k > i:
                        spread(v, down[n, k, j : j + side])
                    row_weights(right[n, k, j : j + side], free, D)
                    absorb(v, D)
                u[:] = 1.0
                for k in range(i + side, i + radius, -1):
                    if k < i + side:
                        spread(u, down[n, k + 1, j : j + side])
                    row_weights(right[n, k, j : j + side], free, D)
                    absorb(u, D)
                links[:] = down[n, i + radius + 1, j : j + side]
                links[radius, 0], links[radius, 1] = 1.0, 0.0
                spread(v, links)
                _bond_sums(v, u, 1 << radius, out[n, i, j])
