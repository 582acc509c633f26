"""Bonds of an L x W grid of faces as 2-channel images (2, L, W), and the entropies of closed loops under erasure.

Channel 0 holds the right bond of face (i, j), to (i, j+1); channel 1 its down bond, to (i+1, j). On open grids the
last column of channel 0 and the last row of channel 1 are unused; on periodic ones they lead round the torus.

Of uniform closed loops the kept bonds K of a region have entropy rank(K) log 2, with
    rank(K) = faces - clusters                     on an open grid,
    rank(K) = faces - clusters + windings          on a torus, all four homology classes equally likely,
windings = 0, 1, 2: the dimension over Z2 of the homology classes of the closed paths within K. (A path that closes
round the torus is not known to be +1; it tells the class.) They follow from the fourfold cover of the torus, on
which a cluster without windings has 4 copies, one with 1 has 2, one with 2 has 1.
"""

from collections.abc import Sequence
from operator import index
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from ..errors import InputError, check_memory, shown
from ..estimate import Curve
from ..kernels import percolation
from ..lattice import BoolArray, Tripartition

Faces = tuple[int, int]
LOG_2 = float(np.log(2.0))
NODES = 1 << 18  # faces of one batch of samples
SAMPLES = 1 << 16  # samples of patches held at a time


class Patch(NamedTuple):
    """Faces (i .. i + height - 1, j .. j + width - 1): the two of a bond, or a 2x2 block."""

    i: int
    j: int
    height: int
    width: int


def bond_mask(faces: Faces, periodic: bool) -> BoolArray:
    """Return (2, L, W), True at the grid's bonds."""
    mask = np.ones((2, *faces), bool)
    if not periodic:
        mask[0, :, -1] = False
        mask[1, -1, :] = False
    return mask


def bond_patch(faces: Faces, periodic: bool, bond: object) -> Patch:
    """Return the two faces of `bond`, ((i, j), (k, l)) in any order; InputError for anything else."""
    sentence = f"bond must join two neighbouring faces of the {faces[0]}x{faces[1]} grid, such as ((2, 3), (2, 4))"
    try:
        first, second = ((index(a), index(b)) for a, b in bond)  # type: ignore[attr-defined]
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
    """Return the 2x2 faces whose top left one is `block`; InputError where they leave the grid."""
    try:
        i, j = (index(a) for a in block)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InputError(f"block must be the top left face (i, j) of a 2x2 block, got {shown(block)}") from None
    reach = 0 if periodic else 1
    if not (0 <= i < faces[0] - reach and 0 <= j < faces[1] - reach):
        raise InputError(f"block must be the top left of 2x2 faces in the {faces[0]}x{faces[1]} grid, got ({i}, {j})")
    return Patch(i, j, 2, 2)


def bond_of(patch: Patch) -> tuple[int, int, int]:
    """Return (channel, i, j) of the bond between the two faces of a patch."""
    return patch.height - 1, patch.i, patch.j


def patch_of(A: BoolArray, periodic: bool) -> Patch | None:
    """Return the patch of faces whose bonds are exactly A, one bond or the four of a block; None for any other A."""
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
    """Return (2, L, W): the smallest box around the patch, in Chebyshev distance, that holds both faces of each bond.

    0 for the patch's own bonds; unused entries of open grids count as if the grid went on round the torus.
    """
    check_memory("faces", 56.0 * faces[0] * faces[1], "take a smaller grid")
    distances = []
    for n, start, length in zip(faces, patch[:2], patch[2:], strict=True):
        after = np.arange(n) - (start + length - 1)
        before = start - np.arange(n)
        distance = np.minimum(after % n, before % n) if periodic else np.maximum(after, before).clip(0)
        distance[(start + np.arange(length)) % n] = 0
        distances.append(distance)
    face = np.maximum(distances[0][:, None], distances[1][None, :])
    return np.stack([np.maximum(face, np.roll(face, -1, axis=1)), np.maximum(face, np.roll(face, -1, axis=0))])


def window(bonds: BoolArray) -> tuple[slice, slice]:
    """Return rows and columns of the smallest rectangle of faces that holds all the bonds of an open grid's mask."""
    right, down = np.nonzero(bonds[0]), np.nonzero(bonds[1])
    i, j = (np.concatenate([right[axis], down[axis]]) for axis in (0, 1))
    last_i = np.concatenate([right[0], down[0] + 1]).max()
    last_j = np.concatenate([right[1] + 1, down[1]]).max()
    return slice(int(i.min()), int(last_i) + 1), slice(int(j.min()), int(last_j) + 1)


def box_radii(parts: Sequence[Tripartition], periodic: bool) -> tuple[Patch, list[int]] | None:
    """Return the patch and the radii if A is a bond or block, each B a box around it less A, and C all the rest."""
    faces = (parts[0].shape[1], parts[0].shape[2])
    bonds, A = bond_mask(faces, periodic), parts[0].A
    patch = patch_of(A, periodic)
    if patch is None or not np.array_equal(parts[0].ABC, bonds):
        return None
    distance = np.where(bonds, bond_radii(faces, periodic, patch), -1)
    radii = []
    for part in parts:
        r = int(distance[part.B].max(initial=0))
        if not np.array_equal(part.B, bonds & (distance <= r) & ~A):
            return None
        radii.append(r)
    return patch, radii


def box_curve(
    faces: Faces, patch: Patch, radii: Sequence[int], keep: float, n_samples: int, rng: np.random.Generator
) -> Curve:
    """Return I(A;C|B_r) on an open grid for all radii from one pass of the percolation kernels."""
    r, block, excess = np.minimum(radii, max(faces)), patch.height + patch.width > 3, []
    histogram = np.zeros(max(faces) + 1, np.int64)
    for start in range(0, n_samples, SAMPLES):
        joined = np.empty((min(SAMPLES, n_samples - start), *[patch.height * patch.width] * 2), np.int16)
        percolation.joined_radii(rng, keep, *faces, *patch, joined)
        if block:
            excess.append(LOG_2 * excess_merges(joined, r, keep))
        else:
            first = np.where(joined[:, 0, 1] == percolation.FAR, 0, joined[:, 0, 1])
            histogram += np.bincount(first, minlength=len(histogram))
    if block:
        return Curve.from_samples(np.concatenate(excess), "merges of the block's faces by percolation")
    after = np.append(np.cumsum(histogram[:0:-1])[::-1], 0) / n_samples  # P(r < first connection < inf)
    p = after[r]
    covariance = (after[np.maximum(r[:, None], r[None, :])] - np.outer(p, p)) / (n_samples - 1)
    scale = keep * LOG_2
    return Curve(scale * p, scale**2 * covariance, n_samples, "first-connection radii by percolation")


def excess_merges(joined: NDArray[np.int16], radii: NDArray[np.integer], keep: float) -> NDArray[np.float64]:
    """Return merges(A | B_r) - merges(A | B_r + C) of every sample and radius, A the 4 bonds of a 2x2 block.

    Averaged over A's own erasures, by how many neighbouring faces, and how many pairs across, meet outside A.
    """
    lost = 1.0 - keep
    merges = np.zeros((5, 3))
    merges[0] = 4.0 * keep - keep**4, 2.0 * (1.0 - lost**2), 1.0 - lost**4
    merges[1], merges[2] = 3.0 * keep - keep**3, 1.0 - lost**2
    met = joined[:, None, [0, 0, 1, 2, 0, 1], [1, 2, 3, 3, 3, 2]] <= np.append(radii, percolation.FAR - 1)[:, None]
    mean = merges[met[..., :4].sum(axis=2, dtype=np.int8), met[..., 4:].sum(axis=2, dtype=np.int8)]
    return mean[:, :-1] - mean[:, -1:]


def rank_curve(
    parts: Sequence[Tripartition], periodic: bool, keep: float, n_samples: int, rng: np.random.Generator
) -> Curve:
    """Return I(A;C|B) = E[rank(AB) + rank(BC) - rank(B) - rank(ABC)] log 2 for any masks, on the torus too."""
    faces = (parts[0].shape[1], parts[0].shape[2])
    bonds = bond_mask(faces, periodic)
    A, ABC = parts[0].A & bonds, parts[0].ABC & bonds
    excess = np.zeros((n_samples, len(parts)))
    batch = max(1, NODES // (faces[0] * faces[1]))
    for start in range(0, n_samples, batch):
        rows = slice(start, min(start + batch, n_samples))
        kept = (rng.random((rows.stop - start, *bonds.shape)) < keep) & bonds
        outer = ranks(kept & (ABC & ~A), periodic) - ranks(kept & ABC, periodic)
        for k, part in enumerate(parts):
            excess[rows, k] = outer + ranks(kept & part.AB, periodic) - ranks(kept & part.B, periodic)
    return Curve.from_samples(LOG_2 * excess, "ranks of the kept bonds by union-find")


def ranks(kept: BoolArray, periodic: bool) -> NDArray[np.int64]:
    """Return (n,), the GF(2) rank of the values of the kept bonds (n, 2, L, W)."""
    n_faces = kept.shape[2] * kept.shape[3]
    if not periodic:
        return n_faces - _clusters(kept, 1)
    clusters, copies = _clusters(kept, 1), _clusters(kept, 4)
    lost = 4 * clusters - copies  # 2 for every cluster with one winding, 3 for the only one with two
    windings = np.where(lost % 2 == 1, 2, np.minimum(lost, 1))
    return n_faces - clusters + windings


def _clusters(kept: BoolArray, sheets: int) -> NDArray[np.int64]:
    """Return (n,), clusters of each sample on a cover of 1 or 4 sheets; a seam of the torus changes the sheet."""
    n, _, rows, columns = kept.shape
    k, channel, i, j = np.nonzero(kept)
    wraps_right = (channel == 0) & (j == columns - 1)
    wraps_down = (channel == 1) & (i == rows - 1)
    faces = rows * columns
    near = i * columns + j
    far = (i + channel) % rows * columns + (j + 1 - channel) % columns
    crossing = wraps_right * 1 + wraps_down * 2 if sheets == 4 else 0
    ends = []
    for sheet in range(sheets):
        base = k * sheets * faces
        ends.append((base + sheet * faces + near, base + (sheet ^ crossing) * faces + far))
    start, end = (np.concatenate([pair[side] for pair in ends]) for side in (0, 1))
    size = n * sheets * faces
    graph = csr_array((np.ones(start.size, np.int8), (start, end)), shape=(size, size))
    labels = connected_components(graph, directed=False)[1]
    first = np.unique(labels, return_index=True)[1]
    return np.bincount(first // (sheets * faces), minlength=n)
