"""Planar Ising model with arbitrary couplings on an open grid: log Z, bond posteriors and the edge label, exactly.

Z = sum_s exp(sum_bonds K s s') over an L x W grid of faces without field; right[L, W-1] couples (i, j), (i, j+1) and
down[L-1, W] couples (i, j), (i+1, j), of any sign. Columns are swept by free fermions (domain_wall_state), the last
one is summed by gates of K = 0, so no determinant is left to take: O(L^3 W) real arithmetic, L the shorter side.
A region of a larger grid is a smaller grid. Couplings of +-inf are exact ties, of weight 1 if kept and 0 if not.

Rounding: log Z to 1e-12 of itself for |K| <= 5 and any signs, and for |K| of any size while few bonds are
frustrated (planted data). Strong and frustrated through and through (a spin glass at T -> 0: |K| >= 10, L > 8),
differences of Pfaffians lose exp(-4|K|) beside 1. With some |K| > STRONG every answer is therefore computed from
both sides, at twice the cost, and is nan where they differ by 1e-8: then take a transfer matrix.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lattice_diffusion.kernels.domain_wall_state import down_gate, flip_gate, right_gate

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

STRONG = 4.0  # |K| beyond which the answer is checked from the other side


@njit(cache=True, error_model="numpy")
def _sweep(gamma: FloatArray, wall: BoolArray, right: FloatArray, down: FloatArray, first: int, last: int) -> float:
    """Columns first..last - 1 with the right bonds that leave them; log weight less the sum of finite |K|."""
    rows, columns = right.shape[0], right.shape[1] + 1
    p, q = np.empty(rows + 1), np.empty(rows + 1)
    log_weight = 0.0
    for c in range(first, last):
        for i in range(rows - 1):
            log_weight += down_gate(gamma, wall, i + 1, down[i, c], p, q)
        if c < columns - 1:
            for i in range(rows):
                log_weight += right_gate(gamma, wall, i, right[i, c], p, q)
    return log_weight


@njit(cache=True, error_model="numpy")
def _sum_out(gamma: FloatArray) -> float:
    """log sum_s psi(s) / psi(reference): flip every row or not."""
    n = gamma.shape[0]
    p, q = np.empty(n), np.empty(n)
    log_weight = 0.0
    for a in range(n - 1):
        log_weight += flip_gate(gamma, a, 1.0, p, q)
    return log_weight


@njit(cache=True, error_model="numpy")
def _free_edge(down: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Before the first column all amplitudes are 1 and any reference will do: take what its bonds prefer."""
    rows = down.shape[0] + 1
    gamma, wall = np.ones((rows + 1, rows + 1)), np.zeros(rows + 1, np.bool_)
    for i in range(rows - 1):
        wall[i + 1] = down[i, 0] < 0.0
    return gamma, wall


@njit(cache=True, error_model="numpy")
def _sizes(bonds: FloatArray) -> tuple[float, float]:
    """Sum and maximum of |K| over the finite couplings."""
    total, largest = 0.0, 0.0
    for k in bonds.ravel():
        if np.isfinite(k):
            total += abs(k)
            largest = max(largest, abs(k))
    return total, largest


@njit(cache=True, error_model="numpy")
def _agreed(value: float, again: float) -> float:
    return value if value == again or abs(value - again) <= 1e-8 * max(1.0, abs(value)) else np.nan


@njit(cache=True, error_model="numpy")
def _chain(right: FloatArray, down: FloatArray, mirrored: bool) -> tuple[FloatArray, FloatArray]:
    """Contiguous copies with the columns along the shorter side, left and right exchanged if mirrored."""
    if right.shape[0] > down.shape[1]:
        right, down = down.T, right.T
    step = -1 if mirrored else 1
    return right[:, ::step].copy(), down[:, ::step].copy()


@njit(cache=True, error_model="numpy")
def log_partition(right: FloatArray, down: FloatArray) -> float:
    """log Z of right[L, W-1], down[L-1, W]; -inf if ties conflict."""
    (sum_right, max_right), (sum_down, max_down) = _sizes(right), _sizes(down)
    largest = max(max_right, max_down)
    values = np.zeros(2)
    for side in range(2 if largest > STRONG else 1):
        r, d = _chain(right, down, side == 1)
        gamma, wall = _free_edge(d)
        values[side] = sum_right + sum_down + _sweep(gamma, wall, r, d, 0, d.shape[1]) + _sum_out(gamma)
    return _agreed(values[0], values[1]) if largest > STRONG else values[0]


@njit(cache=True, error_model="numpy")
def log_partitions(right: FloatArray, down: FloatArray) -> FloatArray:
    """log Z of each sample: right[n, L, W-1], down[n, L-1, W] -> [n]."""
    out = np.empty(right.shape[0])
    for n in range(right.shape[0]):
        out[n] = log_partition(right[n], down[n])
    return out


@njit(cache=True, error_model="numpy")
def _log_odds(right: FloatArray, down: FloatArray, axis: int, i: int, j: int) -> float:
    """The bond tied + against tied -; the columns left of it are shared."""
    bonds = right if axis == 0 else down
    gamma, wall = _free_edge(down)
    if _sweep(gamma, wall, right, down, 0, j) == -np.inf:
        return np.nan
    log_odds = 0.0
    for sign in (1.0, -1.0):
        bonds[i, j] = sign * np.inf
        branch, walls = gamma.copy(), wall.copy()
        log_odds += sign * (_sweep(branch, walls, right, down, j, down.shape[1]) + _sum_out(branch))
    return log_odds


@njit(cache=True, error_model="numpy")
def bond_log_odds(right: FloatArray, down: FloatArray, axis: int, i: int, j: int) -> float:
    """log Z(s s' = +1) / Z(s s' = -1) of one bond from all the others; its own coupling K is not read.

    axis 0: the right bond of face (i, j), axis 1: its down bond. The posterior with its own field is
    P(s s' = +-1) = 1/(1 + exp(-+(2K + log-odds))): both probabilities to relative accuracy. Swept from the side
    that shares more columns between the two signs: at most 1.5 times the cost of log Z.
    """
    largest = max(_sizes(right)[1], _sizes(down)[1])
    if right.shape[0] > down.shape[1]:
        axis, i, j = 1 - axis, j, i
    columns = max(right.shape[0], down.shape[1])
    other = columns - 1 - j - (1 - axis)  # the bond's column seen from the other side
    near = other > j
    values = np.zeros(2)
    for side in range(2 if largest > STRONG else 1):
        mirrored = near != (side == 1)
        r, d = _chain(right, down, mirrored)
        values[side] = _log_odds(r, d, axis, i, other if mirrored else j)
    return _agreed(values[0], values[1]) if largest > STRONG else values[0]


@njit(cache=True, error_model="numpy")
def bonds_log_odds(right: FloatArray, down: FloatArray, axis: int, i: int, j: int) -> FloatArray:
    """bond_log_odds of the same bond in each sample: right[n, L, W-1], down[n, L-1, W] -> [n]."""
    out = np.empty(right.shape[0])
    for n in range(right.shape[0]):
        out[n] = bond_log_odds(right[n], down[n], axis, i, j)
    return out


@njit(cache=True, error_model="numpy")
def label_log_odds(right: FloatArray, down: FloatArray) -> float:
    """log P(S = +1 | x) / P(S = -1 | x), S = s s' of the left and the right edge column, each tied to one sign.

    The sweep starts from the single amplitude "all up" and ends on "all up" and "all down", whose ratio is
    Gamma_0L: both signs of S from one sweep. down[:, 0] and down[:, -1] are not read. W >= 2.
    """
    rows, columns = right.shape[0], down.shape[1]
    largest = max(_sizes(right)[1], _sizes(down[:, 1:-1])[1])
    values = np.zeros(2)
    for side in range(2 if largest > STRONG else 1):
        step = 1 - 2 * side
        r, d = right[:, ::step].copy(), down[:, ::step].copy()
        d[:, 0], d[:, -1] = np.inf, np.inf
        gamma, wall = np.zeros((rows + 1, rows + 1)), np.zeros(rows + 1, np.bool_)
        _sweep(gamma, wall, r, d, 0, columns)
        values[side] = np.log(gamma[0, rows]) if wall[0] else -np.log(gamma[0, rows])
    return _agreed(values[0], values[1]) if largest > STRONG else values[0]


@njit(cache=True, error_model="numpy")
def labels_log_odds(right: FloatArray, down: FloatArray) -> FloatArray:
    """label_log_odds of each sample: right[n, L, W-1], down[n, L-1, W] -> [n]."""
    out = np.empty(right.shape[0])
    for n in range(right.shape[0]):
        out[n] = label_log_odds(right[n], down[n])
    return out
