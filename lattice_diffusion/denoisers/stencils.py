"""What a local network may see of its surroundings, as boolean stencils (groups, in_channels, *kernel).

The entry [g, c, R + a, R + b] says whether outputs of group g at (i, j) see channel c at (i + a, j + b); kernels have
odd sides 2R + 1. With one group, all channels of a pixel are one site; with one group a channel, each is its own.
"""

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..exact.bonds import Patch, bond_radii

Stencil = NDArray[np.bool_]


def box_stencil(radius: int, in_channels: int = 1, ndim: int = 2) -> Stencil:
    """The box of Chebyshev radius `radius` without its centre: (1, in_channels, 2r+1, ...)."""
    if not isinstance(radius, int | np.integer) or radius < 0:
        raise InputError(f"radius must be an integer >= 0, got {radius!r}")
    seen = np.ones((1, in_channels, *[2 * int(radius) + 1] * ndim), bool)
    seen.reshape(in_channels, -1)[:, seen[0, 0].size // 2] = False
    return seen


def bond_stencil(radius: int, faces: tuple[int, int] | None = None) -> Stencil:
    """For each bond the others whose two faces are within `radius` of its own two faces: (2, 2, 2r+3, 2r+3).

    It is B of `models.DomainWalls.tripartition(bond=..., radius=radius)`.

    Args:
        faces: of the torus the bonds live on, where boxes may meet themselves; None for any open grid.
    """
    if not isinstance(radius, int | np.integer) or radius < 0:
        raise InputError(f"radius must be an integer >= 0, got {radius!r}")
    reach = int(radius) + 1
    faces = faces or (2 * reach + 2,) * 2
    offsets = np.ix_(*(np.arange(-reach, reach + 1) % n for n in faces))
    seen = np.empty((2, 2, 2 * reach + 1, 2 * reach + 1), bool)
    for bond in (0, 1):
        distance = bond_radii(faces, True, Patch(0, 0, 1 + bond, 2 - bond))
        distance[bond, 0, 0] = reach  # not itself
        seen[bond] = [distance[c][offsets] <= radius for c in (0, 1)]
    return seen


def check_stencil(stencil: Stencil, in_channels: int, ndim: int) -> Stencil:
    """The stencil itself, if it fits the data and no output sees its own site; a ValueError otherwise."""
    stencil = np.asarray(stencil)
    shape = f"(1 or {in_channels}, {in_channels}, {ndim} odd sides)"
    if stencil.dtype != np.bool_:
        raise InputError(f"stencil must be boolean, got {stencil.dtype}; use stencil.astype(bool)")
    if stencil.ndim != 2 + ndim or stencil.shape[0] not in (1, in_channels) or stencil.shape[1] != in_channels:
        raise InputError(f"stencil must have shape {shape}, got {stencil.shape}")
    if any(side % 2 == 0 for side in stencil.shape[2:]):
        raise InputError(f"stencil must have shape {shape}, got {stencil.shape}")
    groups = len(stencil)
    center = stencil[(slice(None), slice(None), *(side // 2 for side in stencil.shape[2:]))]
    if center.any() if groups == 1 else center.diagonal().any():
        raise InputError("stencil must leave out the output's own site, its centre; own observations enter exactly")
    return stencil
