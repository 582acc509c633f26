"""How far two sets of images are apart, with errors: by the features of a classifier, and by the law of small patches.

Both sets are cut into blocks, and a distance is measured again without the k-th block of either (jackknife): its mean
pseudo-value is free of the bias that finite sets bring, so that two sets of one law are at 0 within errors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from ..errors import InputError

BLOCKS = 20


@dataclass(frozen=True)
class Distance:
    """Pseudo-values (block,), whose mean is the distance; those of two distances to one reference may be subtracted."""

    pseudo_values: NDArray[np.float64]

    @property
    def value(self) -> float:
        return float(self.pseudo_values.mean())

    @property
    def stderr(self) -> float:
        return float(self.pseudo_values.std(ddof=1) / np.sqrt(self.pseudo_values.size))

    def __sub__(self, other: "Distance") -> "Distance":
        return Distance(self.pseudo_values - other.pseudo_values)


def frechet_distance(features: NDArray, reference: NDArray) -> Distance:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of means and covariances, (n, feature) each (Heusel et al. 2017)."""
    return _jackknife(lambda x, y: _frechet(features[x], reference[y]), len(features), len(reference))


def patch_divergence(images: NDArray, reference: NDArray, threshold: float, side: int = 3) -> Distance:
    """Jensen-Shannon divergence, in nats, of the laws of `side` x `side` patches cut to two values at `threshold`.

    Patches are those at all places; 0 for equal laws only, log 2 for laws that share no patch.

    Args:
        images, reference: (n, 1, row, column).
    """
    if side > min(images.shape[2:]) or side > 4:
        raise InputError(f"side must be at most 4 and fit into the images, got {side} for {images.shape[2:]}")
    x, y = (_patch_counts(set_[:, 0] > threshold, side) for set_ in (images, reference))
    blocks = [np.stack([counts[block].sum(axis=0) for block in _blocks(len(counts))]) for counts in (x, y)]

    def divergence(kept: NDArray[np.bool_]) -> float:
        p, q = (counts[kept].sum(axis=0) / counts[kept].sum() for counts in blocks)
        return 0.5 * float(rel_entr(p, (p + q) / 2).sum() + rel_entr(q, (p + q) / 2).sum())

    everything = divergence(np.ones(BLOCKS, bool))
    without = np.array([divergence(np.arange(BLOCKS) != k) for k in range(BLOCKS)])
    return Distance(BLOCKS * everything - (BLOCKS - 1) * without)


def _patch_counts(up: NDArray[np.bool_], side: int) -> NDArray[np.int64]:
    """How often every patch occurs in every image, (n, 2^(side^2))."""
    windows = np.lib.stride_tricks.sliding_window_view(up, (side, side), axis=(1, 2))
    codes = windows.reshape(*windows.shape[:3], -1) @ (1 << np.arange(side**2))
    n_codes = 1 << side**2
    shifted = codes.reshape(len(up), -1) + n_codes * np.arange(len(up))[:, None]
    return np.bincount(shifted.ravel(), minlength=len(up) * n_codes).reshape(len(up), n_codes)


def _frechet(x: NDArray, y: NDArray) -> float:
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0.0))) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0.0)).sum()
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(first) + np.trace(second) - 2 * overlap)


def _blocks(n: int) -> list[NDArray[np.int64]]:
    return np.array_split(np.arange(n), BLOCKS)


def _jackknife(distance: Callable[[NDArray, NDArray], float], m: int, n: int) -> Distance:
    if min(m, n) < 2 * BLOCKS:
        raise InputError(f"a distance needs at least {2 * BLOCKS} images on either side, got {m} and {n}")
    full = distance(np.arange(m), np.arange(n))
    without = [
        distance(np.setdiff1d(np.arange(m), a), np.setdiff1d(np.arange(n), b))
        for a, b in zip(_blocks(m), _blocks(n), strict=True)
    ]
    return Distance(BLOCKS * full - (BLOCKS - 1) * np.array(without))
