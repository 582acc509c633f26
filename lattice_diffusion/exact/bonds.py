"""Bonds of an L x W grid of faces as 2-channel images (2, L, W): where they are and how far from a patch of faces.

Channel 0 holds the right bond of face (i, j), to (i, j+1); channel 1 its down bond, to (i+1, j). On open grids the
last column of channel 0 and the last row of channel 1 are unused; on periodic ones they lead round the torus.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, shown

Faces = tuple[int, int]


class Patch(NamedTuple):
    """Faces (i .. i + height - 1, j .. j + width - 1): the two of a bond, or a 2x2 block."""

    i: int
    j: int
    height: int
    width: int


def bond_mask(faces: Faces, periodic: bool) -> NDArray[np.bool_]:
    """(2, L, W), True at the grid's bonds."""
    mask = np.ones((2, *faces), bool)
    if not periodic:
        mask[0, :, -1] = False
        mask[1, -1, :] = False
    return mask


def bond_patch(faces: Faces, periodic: bool, bond: object) -> Patch:
    """The two faces of `bond`, ((i, j), (k, l)) in any order. Raises ValueError for anything else."""
    sentence = f"bond must join two neighbouring faces of the {faces[0]}x{faces[1]} grid, such as ((2, 3), (2, 4))"
    try:
        first, second = ((int(a), int(b)) for a, b in bond)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InputError(f"{sentence}, got {shown(bond)}") from None
    if all(0 <= a < faces[0] and 0 <= b < faces[1] for a, b in (first, second)):
        for (a, b), other in ((first, second), (second, first)):
            for height, width in ((1, 2), (2, 1)):
                row, column = a + height - 1, b + width - 1
                if other == ((row % faces[0], column % faces[1]) if periodic else (row, column)):
                    return Patch(a, b, height, width)
    raise InputError(f"{sentence}, got ({first}, {second})")


def block_patch(faces: Faces, periodic: bool, block: object) -> Patch:
    """The 2x2 faces whose top left one is `block`. Raises ValueError where they leave the grid."""
    try:
        i, j = (int(a) for a in block)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InputError(f"block must be the top left face (i, j) of a 2x2 block, got {shown(block)}") from None
    reach = 0 if periodic else 1
    if not (0 <= i < faces[0] - reach and 0 <= j < faces[1] - reach):
        raise InputError(
            f"block must be the top left face of a 2x2 block inside the {faces[0]}x{faces[1]} grid, got ({i}, {j})"
        )
    return Patch(i, j, 2, 2)


def bond_of(patch: Patch) -> tuple[int, int, int]:
    """(channel, i, j) of the bond between the two faces of a patch."""
    return patch.height - 1, patch.i, patch.j


def patch_of(A: NDArray[np.bool_], periodic: bool) -> Patch | None:
    """The patch of faces whose bonds are exactly A, one bond or the four of a block; None for any other A."""
    channel, i, j = (int(x) for x in np.argwhere(A)[0])
    faces = (A.shape[1], A.shape[2])
    candidates = [Patch(i, j, 1 + channel, 2 - channel)]
    if channel == 0:  # the first bond in C order is the block's upper one, or its lower one across the seam
        candidates += [Patch(i, j, 2, 2), Patch((i - 1) % faces[0], j, 2, 2)]
    for patch in candidates:
        fits = periodic or (patch.i + patch.height <= faces[0] and patch.j + patch.width <= faces[1])
        if fits and np.array_equal(A, bond_mask(faces, periodic) & (bond_radii(faces, periodic, patch) == 0)):
            return patch
    return None


def bond_radii(faces: Faces, periodic: bool, patch: Patch) -> NDArray[np.int64]:
    """(2, L, W): the smallest box around the patch, in Chebyshev distance, that holds both faces of each bond.

    0 for the patch's own bonds; unused entries of open grids count as if the grid went on round the torus.
    """
    distances = []
    for n, start, length in zip(faces, patch[:2], patch[2:], strict=True):
        after = np.arange(n) - (start + length - 1)
        before = start - np.arange(n)
        distance = np.minimum(after % n, before % n) if periodic else np.maximum(after, before).clip(0)
        distance[(start + np.arange(length)) % n] = 0
        distances.append(distance)
    face = np.maximum(distances[0][:, None], distances[1][None, :])
    return np.stack([np.maximum(face, np.roll(face, -1, axis=1)), np.maximum(face, np.roll(face, -1, axis=0))])


def window(bonds: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the smallest rectangle of faces that holds all the bonds of an open grid's mask."""
    right, down = np.nonzero(bonds[0]), np.nonzero(bonds[1])
    i, j = (np.concatenate([right[axis], down[axis]]) for axis in (0, 1))
    last_i = np.concatenate([right[0], down[0] + 1]).max()
    last_j = np.concatenate([right[1] + 1, down[1]]).max()
    return slice(int(i.min()), int(last_i) + 1), slice(int(j.min()), int(last_j) + 1)
