"""A column of a planar Ising model as a free-fermion state of domain walls, and the gates that bonds apply to it.

Faces form an open L x W grid without field; columns are time. The amplitude psi(s) of a column, all spins to its
left summed out, is Gaussian in domain walls at 0..L (wall j between rows j-1 and j, the outer two against an outside
held up). Relative to a reference column, with S a set of walls toggled in it,

    psi(reference + S) = psi(reference) Pf Gamma_S,
    Gamma_jk = psi(reference + {j, k}) / psi(reference) > 0,   j < k,   and Gamma_kj = -Gamma_jk.

Gates, with kappa = exp(-2|K|) and walls a = i, b = i + 1:

    down bond K at wall j      Gamma_jk *= exp(-2K) for all k  (+2K where the reference has that wall)
    right bond K on row i      (K < 0 moves the reference by a flip of s_i)     N = 1 + kappa Gamma_ab, a factor of Z
        Gamma_jk += (kappa/N) (Gamma_jb Gamma_ka - Gamma_ja Gamma_kb),          j, k not in {a, b},
        Gamma_ja, Gamma_jb = (Gamma_ja + kappa Gamma_jb)/N, (Gamma_jb + kappa Gamma_ja)/N,
        Gamma_ab = (Gamma_ab + kappa)/N
    reference moved by {a, b}  when Gamma_ab grows large: a factor Gamma_ab of Z and the same rank-two form

Every N is a sum of positive terms and small Gamma keep their digits, where the covariances
<i c_j c_k> = +-(1 - exp(-4|K|)) of the same state would lose them.

Arrays: `gamma` (L+1, L+1), of which the upper triangle is read; `wall` (L+1,) bool, the reference; `p`, `q` (L+1,)
are workspace. Source: Kaufman, Phys. Rev. 76, 1232 (1949); Bravyi, quant-ph/0404180 (Pfaffian states). Gamma are the
boundary correlations of the Kramers-Wannier dual.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

LARGE = 100.0  # largest Gamma tolerated before the reference moves
STEP = 300.0  # |K| applied at a time: exp(2 STEP) must not overflow
LOST = -1e-11  # a positive amplitude ratio this negative was rounding noise before strong bonds raised it


@njit(cache=True, error_model="numpy")
def _column(gamma: FloatArray, a: int, out: FloatArray) -> None:
    """out_k = Gamma_ka, antisymmetric, from the upper triangle."""
    for k in range(a):
        out[k] = gamma[k, a]
    out[a] = 0.0
    for k in range(a + 1, gamma.shape[0]):
        out[k] = -gamma[a, k]


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def _rank_two(gamma: FloatArray, p: FloatArray, q: FloatArray, c: float) -> None:
    """Gamma_jk += c (q_j p_k - p_j q_k) for j < k: the whole cost of the method."""
    n = gamma.shape[0]
    for j in range(n - 1):
        x, y = c * q[j], c * p[j]
        if x != 0.0 or y != 0.0:
            row, u, v = gamma[j, j + 1 :], p[j + 1 :], q[j + 1 :]
            for k in range(n - 1 - j):
                row[k] += x * u[k] - y * v[k]


@njit(cache=True, error_model="numpy")
def flip_gate(gamma: FloatArray, a: int, kappa: float, p: FloatArray, q: FloatArray) -> float:
    """Apply 1 + kappa sigma^x on row a, between walls a and a + 1; returns the log of the norm."""
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
def _pivot(gamma: FloatArray, wall: BoolArray, a: int, b: int, p: FloatArray, q: FloatArray) -> float:
    """Toggle walls a < b in the reference; returns log psi(new) / psi(old)."""
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
def _partner(gamma: FloatArray, j: int) -> tuple[int, float, float]:
    """The wall k of the largest Gamma_jk, that value, and the smallest one."""
    best, smallest, largest = -1, np.inf, -np.inf
    for k in range(gamma.shape[0]):
        if k != j:
            value = gamma[min(j, k), max(j, k)]
            smallest = min(smallest, value)
            if value > largest:
                best, largest = k, value
    return best, largest, smallest


@njit(cache=True, error_model="numpy")
def _scale(gamma: FloatArray, j: int, factor: float) -> None:
    for k in range(j):
        gamma[k, j] *= factor
    for k in range(j + 1, gamma.shape[0]):
        gamma[j, k] *= factor


@njit(cache=True, error_model="numpy")
def down_gate(gamma: FloatArray, wall: BoolArray, j: int, coupling: float, p: FloatArray, q: FloatArray) -> float:
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
def right_gate(gamma: FloatArray, wall: BoolArray, i: int, coupling: float, p: FloatArray, q: FloatArray) -> float:
    """Apply (exp(K) + exp(-K) sigma^x) exp(-|K|) on row i."""
    if coupling < 0.0:  # a certain flip moves the reference and leaves Gamma as it is
        wall[i] = not wall[i]
        wall[i + 1] = not wall[i + 1]
    kappa = np.exp(-2.0 * abs(coupling))
    return flip_gate(gamma, i, kappa, p, q) if kappa > 0.0 else 0.0
