"""Exact log Z, bond posteriors and edge label of a planar Ising model with any couplings, by free fermions.

Z = sum_s exp(sum_bonds K s s') over an open L x W grid of faces without field; right[L, W-1] couples (i, j), (i, j+1)
and down[L-1, W] couples (i, j), (i+1, j), of any sign. A region of a larger grid is a smaller grid. Couplings of
+-inf are exact ties, of weight 1 if kept and 0 if not.

Columns are time. The amplitude psi(s) of a column, all spins to its left summed out, is Gaussian in domain walls at
0..L (wall j between rows j-1 and j, the outer two against an outside held up). Relative to a reference column, with S
a set of walls toggled in it,

    psi(reference + S) = psi(reference) Pf Gamma_S,
    Gamma_jk = psi(reference + {j, k}) / psi(reference) > 0,   j < k,   and Gamma_kj = -Gamma_jk.

Bonds act as gates, with kappa = exp(-2|K|) and walls a = i, b = i + 1:

    down bond K at wall j      Gamma_jk *= exp(-2K) for all k  (+2K where the reference has that wall)
    right bond K on row i      (K < 0 moves the reference by a flip of s_i)     N = 1 + kappa Gamma_ab, a factor of Z
        Gamma_jk += (kappa/N) (Gamma_jb Gamma_ka - Gamma_ja Gamma_kb),          j, k not in {a, b},
        Gamma_ja, Gamma_jb = (Gamma_ja + kappa Gamma_jb)/N, (Gamma_jb + kappa Gamma_ja)/N,
        Gamma_ab = (Gamma_ab + kappa)/N
    reference moved by {a, b}  when Gamma_ab grows large: a factor Gamma_ab of Z and the same rank-two form

The last column is summed by gates of K = 0, so no determinant is left to take: O(L^3 W), L the shorter side. Every N
is a sum of positive terms and small Gamma keep their digits, where the covariances <i c_j c_k> = +-(1 - exp(-4|K|))
of the same state would lose them.

Rounding: log Z is right to 1e-12 of itself for |K| <= 5 and any signs, and for |K| of any size while few bonds are
frustrated (planted data). Where strong bonds are frustrated throughout (a spin glass at T -> 0: |K| >= 10, L > 8),
differences of Pfaffians lose exp(-4|K|) beside 1. With some |K| > STRONG every answer is therefore computed from
both sides, at twice the cost, and is nan where they differ by 1e-8: then take a transfer matrix.

Arrays: `gamma` (L+1, L+1), of which the upper triangle is read; `wall` (L+1,) bool, the reference; `p`, `q` (L+1,)
are workspace. Source: Kaufman, Phys. Rev. 76, 1232 (1949); Bravyi, quant-ph/0404180 (Pfaffian states). Gamma are the
boundary correlations of the Kramers-Wannier dual.
"""

import numpy as np
from numba import njit

LARGE = 100.0  # largest Gamma tolerated before the reference moves
STEP = 300.0  # |K| applied at a time: exp(2 STEP) must not overflow
LOST = -1e-11  # a positive amplitude ratio this negative was rounding noise before strong bonds raised it
STRONG = 4.0  # |K| beyond which the answer is checked from the other side


@njit(cache=True, error_model="numpy")
def _column(gamma, a, out):
    """Write the column Gamma_ka of the antisymmetric matrix into out_k, from its upper triangle."""
    for k in range(a):
        out[k] = gamma[k, a]
    out[a] = 0.0
    for k in range(a + 1, gamma.shape[0]):
        out[k] = -gamma[a, k]


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def _rank_two(gamma, p, q, c):
    """Add c (q_j p_k - p_j q_k) to Gamma_jk for j < k: the whole cost of the method."""
    n = gamma.shape[0]
    for j in range(n - 1):
        x, y = c * q[j], c * p[j]
        if x != 0.0 or y != 0.0:
            row, u, v = gamma[j, j + 1 :], p[j + 1 :], q[j + 1 :]
            for k in range(n - 1 - j):
                row[k] += x * u[k] - y * v[k]


@njit(cache=True, error_model="numpy")
def flip_gate(gamma, a, kappa, p, q):
    """Apply 1 + kappa sigma^x on row a, between walls a and a + 1, and return the log of the norm."""
    n, b = gamma.shape[0], a + 1
    pair = gamma[a, b]
    norm = 1.0 + kappa * pair
    _column(gamma, a, p)
    _column(gamma, b, q)
    _rank_two(gamma, p, q, kappa / norm)
    for k in range(a):
        gamma[k, a] = (p[k] + kappa * q[k]) / norm
        gamma[k, b] = (q[k] + kappa * p[k]) / norm
    for k in range(b + 1, n):
        gamma[a, k] = -(p[k] + kappa * q[k]) / norm
        gamma[b, k] = -(q[k] + kappa * p[k]) / norm
    gamma[a, b] = (pair + kappa) / norm
    return np.log(norm)


@njit(cache=True, error_model="numpy")
def _pivot(gamma, wall, a, b, p, q):
    """Toggle walls a < b in the reference, and return log psi(new) / psi(old)."""
    n, pair = gamma.shape[0], gamma[a, b]
    _column(gamma, a, p)
    _column(gamma, b, q)
    for k in range(n):  # divided first: the products could overflow
        q[k] /= pair
    _rank_two(gamma, p, q, 1.0)
    for k in range(a + 1, b):  # reordering {j, k, a, b}: a sign for each wall between a and b
        for j in range(k):
            gamma[j, k] = -gamma[j, k]
        for j in range(k + 1, n):
            gamma[k, j] = -gamma[k, j]
    for k in range(n):
        if k != a and k != b:
            gamma[min(k, a), max(k, a)] = abs(q[k])
            gamma[min(k, b), max(k, b)] = abs(p[k] / pair)
    gamma[a, b] = 1.0 / pair
    wall[a] = not wall[a]
    wall[b] = not wall[b]
    return np.log(pair)


@njit(cache=True, error_model="numpy")
def _partner(gamma, j):
    """Return the wall k of the largest Gamma_jk, that value, and the smallest one."""
    best, smallest, largest = -1, np.inf, -np.inf
    for k in range(gamma.shape[0]):
        if k != j:
            value = gamma[min(j, k), max(j, k)]
            smallest = min(smallest, value)
            if value > largest:
                best, largest = k, value
    return best, largest, smallest


@njit(cache=True, error_model="numpy")
def _scale(gamma, j, factor):
    for k in range(j):
        gamma[k, j] *= factor
    for k in range(j + 1, gamma.shape[0]):
        gamma[j, k] *= factor


@njit(cache=True, error_model="numpy")
def down_gate(gamma, wall, j, coupling, p, q):
    """Apply exp(K s s' - |K|) across wall j; K = +-inf projects (-inf is returned where nothing is left)."""
    if np.isinf(coupling):
        log_weight = 0.0
        if wall[j] != (coupling < 0.0):
            k, largest, _ = _partner(gamma, j)
            if not largest > 0.0:
                return -np.inf
            log_weight = _pivot(gamma, wall, min(j, k), max(j, k), p, q)
        _scale(gamma, j, 0.0)
        return log_weight
    log_weight, rest = 0.0, coupling
    while True:
        step = min(max(rest, -STEP), STEP)
        rest -= step
        sign = -1.0 if wall[j] else 1.0
        log_weight += sign * step - abs(step)
        if step != 0.0:
            _scale(gamma, j, np.exp(-2.0 * sign * step))
        k, largest, smallest = _partner(gamma, j)
        if smallest < LOST * max(1.0, largest):
            return np.nan
        if largest > LARGE:
            log_weight += _pivot(gamma, wall, min(j, k), max(j, k), p, q)
        if rest == 0.0:
            return log_weight


@njit(cache=True, error_model="numpy")
def right_gate(gamma, wall, i, coupling, p, q):
    """Apply (exp(K) + exp(-K) sigma^x) exp(-|K|) on row i."""
    if coupling < 0.0:  # a certain flip moves the reference and leaves Gamma as it is
        wall[i] = not wall[i]
        wall[i + 1] = not wall[i + 1]
    kappa = np.exp(-2.0 * abs(coupling))
    return flip_gate(gamma, i, kappa, p, q) if kappa > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def _sweep(gamma, wall, right, down, first, last):
    """Take in columns first..last-1 and the right bonds that leave them; return log weight less sum of finite |K|."""
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
def _sum_out(gamma):
    """Return log sum_s psi(s) / psi(reference), each row flipped or not."""
    n = gamma.shape[0]
    p, q = np.empty(n), np.empty(n)
    log_weight = 0.0
    for a in range(n - 1):
        log_weight += flip_gate(gamma, a, 1.0, p, q)
    return log_weight


@njit(cache=True, error_model="numpy")
def _free_edge(down):
    """Return the state before the first column, all amplitudes 1, with the reference that its bonds prefer."""
    rows = down.shape[0] + 1
    gamma, wall = np.ones((rows + 1, rows + 1)), np.zeros(rows + 1, np.bool_)
    for i in range(rows - 1):
        wall[i + 1] = down[i, 0] < 0.0
    return gamma, wall


@njit(cache=True, error_model="numpy")
def _sizes(bonds):
    """Return the sum and the maximum of |K| over the finite couplings."""
    total, largest = 0.0, 0.0
    for k in bonds.ravel():
        if np.isfinite(k):
            total += abs(k)
            largest = max(largest, abs(k))
    return total, largest


@njit(cache=True, error_model="numpy")
def _agreed(value, again):
    return value if value == again or abs(value - again) <= 1e-8 * max(1.0, abs(value)) else np.nan


@njit(cache=True, error_model="numpy")
def _chain(right, down, mirrored):
    """Return contiguous copies with columns along the shorter side, left and right exchanged if mirrored."""
    if right.shape[0] > down.shape[1]:
        right, down = down.T, right.T
    step = -1 if mirrored else 1
    return right[:, ::step].copy(), down[:, ::step].copy()


@njit(cache=True, error_model="numpy")
def log_partition(right, down):
    """Return log Z of right[L, W-1], down[L-1, W]; -inf if ties conflict."""
    (sum_right, max_right), (sum_down, max_down) = _sizes(right), _sizes(down)
    largest = max(max_right, max_down)
    values = np.zeros(2)
    for side in range(2 if largest > STRONG else 1):
        r, d = _chain(right, down, side == 1)
        gamma, wall = _free_edge(d)
        values[side] = sum_right + sum_down + _sweep(gamma, wall, r, d, 0, d.shape[1]) + _sum_out(gamma)
    return _agreed(values[0], values[1]) if largest > STRONG else values[0]


@njit(cache=True, error_model="numpy")
def _log_odds(right, down, axis, i, j):
    """Return the log ratio of the bond tied + to tied -; the columns left of it are shared."""
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
def bond_log_odds(right, down, axis, i, j):
    """Return log Z(s s' = +1) / Z(s s' = -1) of one bond from all the others; its own coupling K is not read.

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
def label_log_odds(right, down):
    """Return log P(S = +1 | x) / P(S = -1 | x), S = s s' of left and right edge column, each tied to one sign.

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
