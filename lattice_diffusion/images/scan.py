"""One pass over raw images: extremes, moments and distinct values of the pixels, in bounded memory."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .source import ImageError

MAX_LEVELS = 256
PER_LEVEL = 16  # entries that a distinct value needs on average for floats to count as levels


@dataclass(frozen=True)
class Scan:
    """Of raw values: per entry (channel, row, column), and the increasing distinct values if there are few."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    levels: NDArray | None


def scan(name: str, batches: Iterable[NDArray], shape: tuple[int, ...]) -> Scan:
    """Raises ImageError where a value is not finite. Moments of batches are merged as in Chan et al. (1979)."""
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    mean, squares, count = np.zeros(shape), np.zeros(shape), 0
    levels: NDArray | None = np.empty(0)
    for batch in batches:
        x = np.asarray(batch, np.float64)
        m = len(x)
        if not np.isfinite(x).all():
            raise ImageError(f"pixel values of {name} must be finite, image {count} or one soon after has nan or inf")
        np.minimum(low, x.min(axis=0), out=low)
        np.maximum(high, x.max(axis=0), out=high)
        shift = x.mean(axis=0) - mean
        squares += ((x - x.mean(axis=0)) ** 2).sum(axis=0) + shift**2 * (count * m / (count + m))
        mean += shift * (m / (count + m))
        count += m
        if levels is not None:
            levels = np.union1d(levels, np.unique(batch))
            levels = levels if levels.size <= MAX_LEVELS else None
    if levels is not None and levels.size > 2 and count * np.prod(shape) < PER_LEVEL * levels.size:
        levels = None
    return Scan(low, high, mean, squares / count, levels)
