"""The Ising model on the L x L torus in closed form (Kaufman, Phys. Rev. 76, 1232 (1949)), and small tori row by row.

Nothing here shares code with the package.
"""

import itertools

import numpy as np


def log_z(L, beta):
    """log Z of the L x L torus; beta may be complex, near the real axis."""
    b = beta + 0j  # signs are kept apart: a phase of pi would drown a small imaginary part
    k = np.arange(1, 2 * L)
    gamma = np.append(2 * b + np.log(np.tanh(b)), np.arccosh(np.cosh(2 * b) / np.tanh(2 * b) - np.cos(np.pi * k / L)))
    half = L * gamma / 2
    sums = []
    for parity in (1, 0):
        x = half[parity::2]
        sign = np.sign(x.real)
        sums += [(1, np.sum(np.log(2 * np.cosh(x)))), (np.prod(sign), np.sum(np.log(2 * np.sinh(x * sign))))]
    largest = max(s.real for _, s in sums)
    total = sum(sign * np.exp(s - largest) for sign, s in sums)
    return L * L / 2 * np.log(2 * np.sinh(2 * b)) + largest + np.log(total)


def energy(L, beta):
    """-d log Z / d beta / L^2 by a complex step."""
    return -log_z(L, beta + 1e-30j).imag / 1e-30 / L**2


def specific_heat(L, beta):
    """beta^2 d^2 log Z / d beta^2 / L^2: the derivative of the energy by central differences of fourth order."""
    d = 1e-3
    slope = (8 * (energy(L, beta + d) - energy(L, beta - d)) - energy(L, beta + 2 * d) + energy(L, beta - 2 * d)) / 12
    return -(beta**2) * slope / d


def torus_correlations(length, width, beta):
    """<s_0 s_r>, r = 0 .. length // 2, along the axis of `length` sites of a torus, by its 2^width transfer matrix."""
    rows = np.array(list(itertools.product((-1, 1), repeat=width)))
    along = beta * (rows * np.roll(rows, 1, axis=1)).sum(axis=1)
    T = np.exp(beta * rows @ rows.T + 0.5 * (along[:, None] + along))
    spin = rows[:, 0]
    power = [np.linalg.matrix_power(T, r) for r in range(length + 1)]
    pair = [
        np.trace(spin[:, None] * power[r] * spin @ power[length - r]) if r else np.trace(power[length])
        for r in range(length // 2 + 1)
    ]
    return np.array(pair) / np.trace(power[length])
