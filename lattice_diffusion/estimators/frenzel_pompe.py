"""Nearest neighbours: the classic estimator of conditional mutual information, and its collapse in high dimension."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import digamma

from ..errors import InputError, Limits
from ..estimate import Estimate
from .base import Estimator
from .sample import Sample

TREE_DIMENSIONS = 10  # beyond that a tree visits almost every point, and plain distances are faster
BLOCK_BYTES = 2**25  # of one block of distances


class FrenzelPompe(Estimator):
    """I(A;C|B) = psi(k) - < psi(n_AB + 1) + psi(n_BC + 1) - psi(n_B + 1) >.

    n_R counts the other samples nearer than the k-th neighbour in A + B + C, in maximum norm over the columns of
    R, each scaled to unit variance; where B is empty psi(n_B + 1) is psi(n), the estimator of Kraskov et al. (2004).
    Local distances cancel only where the density is flat across them: fine in a few dimensions, far too low in tens.
    Source: Frenzel and Pompe, Phys. Rev. Lett. 99, 204101 (2007).

    The error is by subsampling (Holmes and Nemenman 2019, arXiv:1903.09280): the variance falls as 1/n, so that of
    the mean over `blocks` disjoint parts of the data is that of the whole. The bias has no error bar.

    Args:
        k: which neighbour; larger k scatters less and is biased more.
        blocks: parts of the data for the error, whole groups each.
    """

    continuous_only = True
    limits: ClassVar[Limits] = {"k": (1, None), "blocks": (2, None)}

    def __init__(self, k: int = 5, blocks: int = 10) -> None:
        self.k = k
        self.blocks = blocks

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        if self.blocks > len(sample) or self.k >= len(sample):
            raise InputError(f"blocks and k must be below the {len(sample)} samples, got {self.blocks} and {self.k}")
        block = groups * self.blocks // (int(groups.max()) + 1)
        smallest = int(np.bincount(block, minlength=self.blocks).min())
        if smallest <= self.k:
            raise InputError(
                f"{self.blocks} blocks with k = {self.k} need more than {self.k} samples in every block, got "
                f"{smallest}; lower blocks or k, or draw more"
            )
        a, b, c = ((x - x.mean(axis=0)) / x.std(axis=0) for x in (sample.a, sample.b, sample.c))
        value = _information(a, b, c, self.k)
        parts = [_information(a[rows], b[rows], c[rows], self.k) for rows in (block == i for i in range(self.blocks))]
        stderr = float(np.std(parts, ddof=1) / np.sqrt(self.blocks))
        return Estimate(value, stderr, len(sample), f"k = {self.k} nearest neighbours, error from {self.blocks} blocks")


def _information(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], k: int) -> float:
    d = a.shape[1] + b.shape[1] + c.shape[1]
    counts = (_counts_by_tree if d <= TREE_DIMENSIONS else _counts_by_distances)(a, b, c, k)
    n_ab, n_bc, n_b = counts
    return float(digamma(k) - (digamma(n_ab + 1) + digamma(n_bc + 1) - digamma(n_b + 1)).mean())


def _counts_by_tree(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], k: int
) -> tuple[NDArray, NDArray, NDArray]:
    ab, bc, abc = np.hstack([a, b]), np.hstack([b, c]), np.hstack([a, b, c])
    radius = cKDTree(abc).query(abc, k + 1, p=np.inf)[0][:, k]
    inside = np.nextafter(radius, 0.0)  # strictly nearer

    def count(x: NDArray[np.float64]) -> NDArray:
        if x.shape[1] == 0:
            return np.full(len(x), len(x) - 1)
        return cKDTree(x).query_ball_point(x, inside, p=np.inf, return_length=True) - 1

    return count(ab), count(bc), count(b)


def _counts_by_distances(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], k: int
) -> tuple[NDArray, NDArray, NDArray]:
    n = len(a)
    out = np.empty((3, n), int)
    step = max(1, BLOCK_BYTES // (8 * n))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        d_b = cdist(b[rows], b, "chebyshev") if b.shape[1] else np.zeros((len(a[rows]), n))
        d_ab = np.maximum(cdist(a[rows], a, "chebyshev"), d_b)
        d_bc = np.maximum(cdist(c[rows], c, "chebyshev"), d_b)
        radius = np.partition(np.maximum(d_ab, d_bc), k, axis=1)[:, k, None]  # entry 0 is the sample itself
        out[:, rows] = [(distance < radius).sum(axis=1) - 1 for distance in (d_ab, d_bc, d_b)]
    return out[0], out[1], out[2]
