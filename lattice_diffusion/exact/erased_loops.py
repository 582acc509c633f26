"""Closed loops under erasure: entropies are ranks of graphs, and the CMI is the mean of merges.

Of uniform closed loops the kept bonds K of a region have entropy rank(K) log 2, with
    rank(K) = faces - clusters                     on an open grid,
    rank(K) = faces - clusters + windings          on a torus, all four homology classes equally likely,
windings = 0, 1, 2: the dimension over Z2 of the homology classes of the closed paths within K. (A path that closes
round the torus is not known to be +1; it tells the class.) They follow from the fourfold cover of the torus, on
which a cluster without windings has 4 copies, one with 1 has 2, one with 2 has 1.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from ..estimate import Curve
from ..kernels import percolation
from ..lattice import Tripartition
from .bonds import Faces, Patch, bond_mask, bond_of, bond_radii, patch_of

LOG_2 = float(np.log(2.0))
NODES = 1 << 18  # faces of one batch of samples


def box_radii(parts: Sequence[Tripartition], periodic: bool) -> tuple[Patch, list[int]] | None:
    """The patch and the radii if A is a bond or block, each B a box around it less A, and C all the rest."""
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
    """I(A;C|B_r) on an open grid for all radii from one pass of the percolation kernels."""
    r = np.minimum(radii, max(faces))
    if patch.height + patch.width == 3:
        histogram, _ = percolation.bond_radii(rng, keep, *faces, *bond_of(patch), n_samples)
        after = np.append(np.cumsum(histogram[:0:-1])[::-1], 0) / n_samples  # P(r < first connection < inf)
        p = after[r]
        covariance = (after[np.maximum(r[:, None], r[None, :])] - np.outer(p, p)) / (n_samples - 1)
        scale = keep * LOG_2
        method = "first-connection radii by percolation"
        return Curve(scale * p, scale**2 * covariance, n_samples, method)
    values, products = np.zeros(len(r)), np.zeros((len(r), len(r)))
    rows = max(2, NODES // max(faces))
    for start in range(0, n_samples, rows):
        merges = np.empty((min(rows, n_samples - start), max(faces) + 1))
        percolation.block_samples(rng, keep, *faces, patch.i, patch.j, merges)
        values += merges[:, r].sum(axis=0)
        products += merges[:, r].T @ merges[:, r]
    mean = values / n_samples
    covariance = (products / n_samples - np.outer(mean, mean)) / (n_samples - 1)
    return Curve(LOG_2 * mean, LOG_2**2 * covariance, n_samples, "merges of the block's faces by percolation")


def rank_curve(
    parts: Sequence[Tripartition], periodic: bool, keep: float, n_samples: int, rng: np.random.Generator
) -> Curve:
    """I(A;C|B) for any masks and on the torus: rank(AB) + rank(BC) - rank(B) - rank(ABC), all bonds erased alike."""
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


def ranks(kept: NDArray[np.bool_], periodic: bool) -> NDArray[np.int64]:
    """(n,), GF(2) rank of the values of the kept bonds (n, 2, L, W)."""
    n_faces = kept.shape[2] * kept.shape[3]
    if not periodic:
        return n_faces - _clusters(kept, 1)
    clusters, copies = _clusters(kept, 1), _clusters(kept, 4)
    lost = 4 * clusters - copies  # 2 for every cluster with one winding, 3 for the only one with two
    windings = np.where(lost % 2 == 1, 2, np.minimum(lost, 1))
    return n_faces - clusters + windings


def _clusters(kept: NDArray[np.bool_], sheets: int) -> NDArray[np.int64]:
    """(n,), clusters of each sample on a cover of 1 or 4 sheets; crossing a seam of the torus changes the sheet."""
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
