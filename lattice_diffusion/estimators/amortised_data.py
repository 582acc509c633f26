"""Clean samples or images for the amortised likelihood: read by indices, with the levels that a pixel takes.

Levels are exact where a pixel takes few values: up to 32, or 64 vectors of several channels. Others are told apart
only as far as needed: the values are divided into as many cells, evenly or, vectors, by k-means, and within a cell
taken for Gaussian. What that leaves open is `Pixels.unresolved`, a share of the variance, and a limit to what can be
known at times of little noise: the information within a cell of variance v is at most snr v / 2 nats.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..channels import check_symbols, check_tokens
from ..errors import InputError

Read = Callable[[NDArray[np.int64]], NDArray]
Pixel = tuple[int, int]
MAX_LEVELS = 32
MAX_COLOURS = 64
LEVEL_SAMPLE = 4096  # images that levels are taken from
SLICE = 4096  # images read at a time
LEAST = 20


@dataclass(frozen=True)
class Pixels:
    """Clean levels of a pixel, mean and variance of every entry: what is known of the images before training.

    Attributes:
        levels: (K, channel); values in between count as the nearest.
        spread: (K, channel), variance of the values that count as a level; 0 where levels are exact.
        unresolved: share of the variance of a pixel that is within levels.
        mean, variance: (channel, row, column).
    """

    levels: NDArray[np.float64]
    spread: NDArray[np.float64]
    unresolved: float
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @property
    def spins(self) -> bool:
        """True if a pixel takes two exact values."""
        return self.levels.shape == (2, 1) and self.unresolved == 0


@dataclass(frozen=True)
class Field:
    """Clean images: `read(indices)` gives (m, channel, row, column); codes of labels, if any.

    Attributes:
        shape: (row, column).
    """

    read: Read
    n: int
    shape: tuple[int, int]
    pixels: Pixels
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.n < LEAST:
            raise InputError(f"a probe needs at least {LEAST} images, and better 1,000, got {self.n}")

    @property
    def channels(self) -> int:
        """Number of values of a pixel."""
        return len(self.pixels.mean)


def field_of_array(
    x: NDArray, pixel: Pixel | None = None, *, labels: NDArray[np.int64] | None = None, tokens: int | None = None
) -> Field:
    """Return the field of samples; an array on disk is read by slices.

    Args:
        x: (n, site), which is an image of one row, (n, row, column) or (n, channel, row, column).
        pixel: A, whose values decide the levels; None: those of all pixels.
        labels: codes 0, 1, ..., (n,).
        tokens: number of symbols where the values are tokens.

    Raises:
        InputError: another number of axes, values that are not finite or all alike, or no tokens where they should be,
            labels of another length.
    """
    if x.ndim not in (2, 3, 4) or x.dtype.kind not in "buif":
        raise InputError(
            "samples must be numbers (n, site), (n, row, column) or (n, channel, row, column), "
            f"got {x.shape} of {x.dtype}"
        )
    if np.ma.is_masked(x):
        raise InputError("samples must have no masked entries; fill them in or leave those samples out")
    if x.ndim == 4 and x.shape[1] > 3 and x.shape[3] in (1, 3):
        raise InputError(f"samples must have their channels first, got {x.shape}; use np.moveaxis(x, 3, 1)")
    if labels is not None and labels.shape != (len(x),):
        raise InputError(f"labels must be one per sample, ({len(x)},), got shape {labels.shape}")

    def read(indices: NDArray[np.int64]) -> NDArray:
        values = np.asarray(x[indices], np.float32)
        return values.reshape(len(values), *(1,) * (4 - values.ndim), *values.shape[1:])

    total, squares, offset = 0.0, 0.0, read(np.arange(1)).astype(float)
    for start in range(0, len(x), SLICE):
        part = read(np.arange(start, min(start + SLICE, len(x))))
        if tokens is not None:
            check_tokens("samples", part, tokens)
        part = part - offset
        total, squares = total + part.sum(axis=0), squares + (part**2).sum(axis=0)
    mean, variance = total / len(x), np.maximum(squares / len(x) - (total / len(x)) ** 2, 0.0)
    if not np.isfinite(squares).all():
        raise InputError("samples must be finite, got nan or inf")
    if not variance.max() > 0:
        raise InputError(f"samples must vary, got {offset.flat[0]:g} at every place of every sample")
    first = read(np.arange(0, len(x), max(1, len(x) // LEVEL_SAMPLE)))
    pixels = pixels_of(first, pixel, mean + offset[0], variance, tokens=tokens)
    return Field(read, len(x), first.shape[2:], pixels, labels)


def pixels_of(
    images: NDArray,
    pixel: Pixel | None,
    mean: NDArray,
    variance: NDArray,
    levels: NDArray | None = None,
    tokens: int | None = None,
) -> Pixels:
    """Return the levels of a pixel from some of the images, (m, channel, row, column).

    Args:
        levels: of grey images, where they are known to be no others, increasing.
        tokens: number of symbols, which are the levels.
    """
    if tokens is not None:
        if len(mean) != 1:
            raise InputError(f"images of tokens must have one channel, got {len(mean)}")
        levels = np.arange(check_symbols(tokens, "tokens"))
    at_a = images.reshape(*images.shape[:2], -1).transpose(0, 2, 1) if pixel is None else images[:, :, *pixel][:, None]
    values = at_a.reshape(-1, images.shape[1]).astype(float)
    known = np.unique(values, axis=0) if levels is None else np.asarray(levels, float)[:, None]
    if len(known) < 2:
        raise InputError(f"A must vary, got {known[0].tolist()} in all of {len(images)} samples; choose another pixel")
    most = MAX_LEVELS if values.shape[1] == 1 else MAX_COLOURS
    if len(known) <= most or tokens is not None:
        return Pixels(known, np.zeros_like(known), 0.0, mean, variance)
    if values.shape[1] == 1:
        known = np.linspace(known.min(), known.max(), most)[:, None]
        nearest = np.rint((values[:, 0] - known[0]) / (known[1] - known[0])).astype(int)
    else:
        known, nearest = _cells(values, most)
    count = np.maximum(np.bincount(nearest, minlength=most), 1)[:, None]
    squares = (values - known[nearest]) ** 2
    spread = np.stack([np.bincount(nearest, square, most) for square in squares.T], axis=1)
    share = float(spread.sum() / max(((values - values.mean(axis=0)) ** 2).sum(), np.finfo(float).tiny))
    return Pixels(known, spread / count, share, mean, variance)


def _cells(values: NDArray[np.float64], most: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the centres of k-means cells and the cell of every value; the same ones every time."""
    from scipy.cluster.vq import kmeans2, vq

    rng = np.random.default_rng(0)
    some = values[rng.choice(len(values), min(len(values), 20 * LEVEL_SAMPLE), replace=False)]
    distinct = np.unique(some, axis=0)
    start = distinct[np.linspace(0, len(distinct) - 1, most).astype(int)]
    centres, _ = kmeans2(some, start, iter=30, minit="matrix", missing="warn")
    return centres, vq(values, centres)[0]
