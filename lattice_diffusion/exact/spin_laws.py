"""Laws of whole Ising samples, exactly: of the magnetisation, and of small patches.

One vector over the 2^W states of a row, W the shorter side, goes down the open lattice: couplings within a row
multiply it, those between rows act on one spin after the other. Carried along for every number of up spins it gives
the law of the magnetisation; cut to the patterns of a patch, row by row, the law of the patch.
"""

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .transfer_matrix import MAX_WIDTH

FloatArray = NDArray[np.float64]


def magnetisation_law(shape: tuple[int, int], beta: float) -> tuple[FloatArray, FloatArray]:
    """Values m = -1, .., 1 of the mean spin, (N+1,), and their probabilities under exp(beta sum s s'), open edges.

    Raises ValueError where the shorter side is longer than 14.
    """
    n_rows, width = _rows(shape)
    n = n_rows * width
    within, up = _within(width, beta), np.bitwise_count(np.arange(1 << width))
    vector = np.zeros((n + 1, 1 << width))
    vector[0] = 1.0
    for row in range(n_rows):
        vector = within * (_down(vector, width, beta) if row else vector)
        for k in range(width, 0, -1):
            states = up == k
            vector[k:, states] = vector[:-k, states]
            vector[:k, states] = 0.0
        vector /= vector.sum()
    return np.linspace(-1.0, 1.0, n + 1), vector.sum(axis=1)


def patch_law(shape: tuple[int, int], beta: float, side: int) -> FloatArray:
    """(2^(side^2),), probabilities of the patterns of a square patch, the mean over all its places.

    Patterns are numbered by their spins in C order, the first one the highest bit, up 1.
    """
    n_rows, width = _rows(shape)
    if not 1 <= side <= min(shape) or side > 3:
        raise InputError(f"side must be 1 to 3 and fit the lattice {shape[0]}x{shape[1]}, got {side}")
    within, states = _within(width, beta), np.arange(1 << width)
    above, below = [within / within.sum()], [np.ones(1 << width)]
    for _ in range(n_rows - 1):
        above.append(_scaled(within * _down(above[-1], width, beta)))
        below.append(_scaled(_down(within * below[-1], width, beta)))
    law = np.zeros(1 << side**2)
    for left in range(width - side + 1):
        shows = (states >> (width - left - side)) % (1 << side) == np.arange(1 << side)[:, None]
        for top in range(n_rows - side + 1):
            vector = above[top] * shows
            for _ in range(side - 1):
                vector = within * _down(vector, width, beta)
                vector = (vector[:, None] * shows).reshape(-1, 1 << width)
            here = vector @ below[n_rows - top - side]
            law += here / here.sum()
    law /= (width - side + 1) * (n_rows - side + 1)
    if shape[1] > shape[0]:  # rows were columns
        pattern = np.arange(side**2).reshape(side, side)
        law = law.reshape((2,) * side**2).transpose(pattern.T.ravel()).ravel()
    return law


def _rows(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) > MAX_WIDTH:
        raise InputError(f"shape must have two sides, the shorter one <= {MAX_WIDTH}, got {tuple(shape)}")
    return max(shape), min(shape)


def _within(width: int, beta: float) -> FloatArray:
    """(2^W,), exp(beta sum s s') along a row, 1 where all spins are equal; the first spin is the highest bit."""
    row = np.arange(1 << width)
    walls = np.bitwise_count((row ^ (row >> 1)) % (1 << (width - 1)))
    return np.asarray(np.exp(-2.0 * beta * walls))


def _down(vector: FloatArray, width: int, beta: float) -> FloatArray:
    """(.., 2^W) of one row summed into the next."""
    odd = np.exp(-2.0 * beta)
    for j in range(width):
        pair = vector.reshape(-1, 1 << j, 2, 1 << (width - 1 - j))
        vector = (pair + odd * pair[:, :, ::-1]).reshape(vector.shape)
    return vector


def _scaled(vector: FloatArray) -> FloatArray:
    return vector / vector.max()
