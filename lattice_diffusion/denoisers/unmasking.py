"""Masked generation of closed loops, one bond after the other, each from the known bonds in a box around it.

A bond whose box holds a path of known bonds between its faces takes the sign that the path carries, any other a fair
coin. A bond that others outside the box decide then costs log 2, so that for an order of unmasking

    KL(p_0 || p_local) = log 2 (bonds that their box leaves open - bonds that all others leave open),

whatever values were drawn; its mean over random orders is the masked area law.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..exact.bonds import bond_mask
from ..exact.erased_loops import LOG_2, ranks
from ..kernels import erasure_paths


@dataclass(frozen=True)
class Unmasked:
    """What unmasking led to.

    Attributes:
        x: (n, 2, L, W) of +-1, 0 at unused entries.
        divergence: (n,), KL(p_0 || p_local) of each sample's order, in nats per bond of the grid.
    """

    x: NDArray[np.int8]
    divergence: NDArray[np.float64]


def unmask_loops(
    x_t: NDArray,
    radius: int | Callable[[float], int | None] | None,
    rng: np.random.Generator,
    *,
    left: float = 0.0,
) -> Unmasked:
    """Reveals the masked bonds of an open grid in random order.

    Args:
        x_t: (n, 2, L, W), +-1 where kept and 0 where masked; all 0 to generate from nothing.
        radius: of the box, or a function of the masked fraction t of the whole grid; None for all known bonds.
        left: probability of a masked bond to stay masked: s/t on the way from t to s.

    Raises:
        ValueError: x_t of another shape, or with other values; left outside [0, 1].
    """
    start = np.asarray(x_t)
    if start.ndim != 4 or start.shape[1] != 2 or 0 in start.shape:
        raise InputError(f"x_t must be bond images (n, 2, L, W), got shape {start.shape}")
    if not np.isin(start, (-1, 0, 1)).all():
        raise InputError("x_t must hold -1 and +1 where kept and 0 where masked, got other values")
    if not 0.0 <= left <= 1.0:
        raise InputError(f"left must be a probability in [0, 1], got {left}")
    faces = (start.shape[2], start.shape[3])
    bonds = bond_mask(faces, periodic=False)
    x = np.where(bonds, start, 0).astype(np.int8)
    known_before = ranks(x != 0, periodic=False)
    n_bonds, far = int(bonds.sum()), max(faces)
    divergence = np.empty(len(x))
    for n in range(len(x)):
        masked = rng.permutation(np.flatnonzero(bonds & (x[n] == 0)))
        n_masked = len(masked)
        masked = masked[: n_masked - rng.binomial(n_masked, left)]
        coins = 2 * rng.integers(0, 2, len(masked)) - 1
        fractions = np.arange(n_masked, n_masked - len(masked), -1) / n_bonds
        radii = [radius(float(t)) if callable(radius) else radius for t in fractions]
        reach = np.array([far if r is None else min(r, far) for r in radii], np.int64)
        unknown = np.empty((1, len(masked)), bool)
        erasure_paths.unmask(x[n : n + 1], (coins * (1 + masked))[None], reach, unknown)
        divergence[n] = unknown.sum()
    divergence -= ranks(x != 0, periodic=False) - known_before  # what all known bonds would have left open
    return Unmasked(x, LOG_2 * divergence / n_bonds)


def violated_vertices(x: NDArray) -> NDArray[np.float64]:
    """(n,), the fraction of vertices inside an open grid whose four bonds, all visible, have product -1."""
    if x.ndim != 4 or x.shape[1] != 2 or min(x.shape[2:]) < 2:
        raise InputError(f"x must be bond images (n, 2, L, W) of at least 2x2 faces, got shape {x.shape}")
    right, down = x[:, 0], x[:, 1]
    around = right[:, :-1, :-1] * right[:, 1:, :-1] * down[:, :-1, :-1] * down[:, :-1, 1:]
    return np.asarray((around < 0).mean(axis=(1, 2)))
