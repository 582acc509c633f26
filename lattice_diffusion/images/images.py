"""Images as a distribution on a lattice: scaled to [-1, 1], looked through once, read in batches.

One pass over the images, in bounded memory, finds what a probe must know before it starts: the clean levels of a
pixel (two for spins, 256 grey levels for bytes), mean and variance of every pixel, and pixels that never change.
"""

import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..channels import check_symbols, check_tokens
from ..errors import InputError, check_limits
from .readers import Source, open_source, read_labels, unmasked

Kind = Literal["spins", "grey", "colour", "real", "tokens"]
FEW = 1000
RANGES = {"u1": ((0.0, 255.0),), "u2": ((0.0, 65535.0),)}
MAX_LEVELS = 256
PER_LEVEL = 16  # entries that a distinct value needs on average for floats to count as levels
BATCH_ENTRIES = 2**21  # pixels that are looked through at a time


class ImageWarning(UserWarning):
    """Images that can be used, but from which less can be learned than their number suggests."""


@dataclass(frozen=True)
class Images:
    """Images (n, channel, row, column), read when asked for.

    Attributes:
        source: where they are stored; index: which of its images these are, (n,), increasing.
        kind: "spins" (two values), "grey", "colour" (three channels), "real" (floats of any value) or "tokens".
        value_range: values that are scaled to -1 and 1; None for tokens and samples of a model, which are not scaled.
        levels: the values that a clean pixel can take, after scaling, increasing; None where there are more than 256.
            Of tokens, all symbols.
        labels: codes 0, 1, ... of `classes`, (n,), or None.
        mean, variance: of every entry after scaling, (channel, row, column).
        constant: True for entries that have one value in all images, (channel, row, column).
    """

    source: Source = field(repr=False)
    index: NDArray[np.int64] = field(repr=False)
    kind: Kind
    value_range: tuple[float, float] | None
    levels: NDArray[np.float32] | None = field(repr=False)
    labels: NDArray[np.int64] | None = field(repr=False)
    classes: tuple[str, ...]
    mean: NDArray[np.float64] = field(repr=False)
    variance: NDArray[np.float64] = field(repr=False)
    constant: NDArray[np.bool_] = field(repr=False)

    def __len__(self) -> int:
        return self.index.size

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, channel, row, column)."""
        channel, row, column = self.mean.shape
        return len(self), channel, row, column

    @property
    def symbols(self) -> int | None:
        """Number of symbols of tokens, None for other images."""
        return len(self.levels) if self.kind == "tokens" and self.levels is not None else None

    def read(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Return the images of these indices in their order, repeated where they repeat, (m, channel, row, column).

        Sorted indices are read fastest. Raises IndexError for an index outside [0, n).
        """
        wanted = np.asarray(indices, np.int64)
        if wanted.ndim != 1 or (wanted.size and not 0 <= wanted.min() <= wanted.max() < len(self)):
            raise IndexError(f"indices must be (m,) in [0, {len(self)}), got {indices!r}")
        distinct, place = np.unique(self.index[wanted], return_inverse=True)
        raw = _channels_first(self.source, self.source.take(distinct))
        in_order = distinct.size == wanted.size and bool((np.diff(place) > 0).all())
        return _scale(raw if in_order else raw[place], self.value_range)

    def batches(self, size: int) -> Iterator[NDArray[np.float32]]:
        """Yield all images in the order of the file, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))

    def check_pixel(self, row: int, column: int) -> None:
        """Raise InputError for a pixel that lies outside, or has one value in all images and so no information."""
        _, _, rows, columns = self.shape
        if not (0 <= row < rows and 0 <= column < columns):
            raise InputError(f"the pixel must be in a {rows}x{columns} image, got {row},{column}")
        if self.constant[:, row, column].all():
            raise InputError(f"the pixel {row},{column} has one value in all images; choose a pixel that changes")

    def oddities(self) -> list[str]:
        """Return sentences on what makes less known from these images than their number suggests."""
        n, share, name, found = len(self), float(self.constant.mean()), self.source.name, []
        if n < FEW:
            found.append(
                f"{name} has only {n} images; expect errors of about {0.5 / np.sqrt(n):.2g} nats in every information, "
                f"and take at least {FEW}."
            )
        if share:
            found.append(
                f"{share:.1%} of the pixels of {name} have one value in all images; they tell nothing, and A cannot be "
                "one of them."
            )
        return found

    def describe(self) -> dict[str, object]:
        """Return what the images are as plain JSON types."""
        return {
            "file": self.source.name,
            "array": self.source.array,
            "images": len(self),
            "shape": list(self.shape[1:]),
            "kind": self.kind,
            "value_range": None if self.value_range is None else list(self.value_range),
            "levels": None if self.levels is None else len(self.levels),
            "labels": self.source.labels_from if self.classes else None,
            "classes": list(self.classes),
            "mean_variance": float(self.variance.mean()),
            "constant_fraction": float(self.constant.mean()),
            "memory_bytes": self.source.held_bytes,
            "checksum": zlib.crc32(self.read([0, len(self) // 2, len(self) - 1]).tobytes()),
        }

    def __str__(self) -> str:
        """Return what was found in a file, and how it is taken, in one line."""
        n, _, rows, columns = self.shape
        array = "" if self.source.array is None else f"[{self.source.array}]"
        limits, labels = self.value_range, f"{len(self.classes)} classes by {self.source.labels_from}"
        scaled = "as they are" if limits is None else f"{limits[0]:g} .. {limits[1]:g} scaled to -1 .. 1"
        kind = f"images of {self.kind} values" if self.kind == "real" else f"images of {self.kind}"
        found = f"{self.source.name}{array}: {n} {kind}, {rows}x{columns}, {scaled}"
        return f"{found}, {labels if self.classes else 'no labels'}"


def open_images(
    images: Any,
    *,
    key: str | None = None,
    labels: Any = None,
    value_range: tuple[float, float] | str | None = None,
    n_max: int | None = None,
    tokens: int | None = None,
) -> Images:
    """Return images scaled to [-1, 1].

    Bytes run from 0 to 255, 16 bits from 0 to 65535, floats from 0 or -1 to 1, if the values fill more than half of
    that; any two values are spins; other numbers need `value_range`. Three equal channels are grey. Labels are found
    under the usual names beside the images. `str` of the result says what was found and how it is taken.

    Args:
        images: a .npy, .npz, .h5 or IDX file (also .gz), a folder of pictures, an array (n, row, column) or
            (n, row, column, 3), or a dataset of (image, label), such as those of torchvision. Images are returned
            as they are.
        key: name of the array in a .npz or .h5 file; "images", "x_train", "train_images" or the only fitting one by
            default.
        labels: (n,), (n, 1) or one-hot (n, class), or a .npy or IDX file of them.
        value_range: values that are scaled to -1 and 1; also "0,255".
        n_max: largest number of images, which are spaced evenly over the file, as it may be sorted by label.
        tokens: number of symbols, where the values are tokens 0, 1, ..; samples of a model say it themselves. They may
            also be sequences (n, site), which are images of one row.

    Raises OSError where the file does not exist or cannot be read; InputError where the file is damaged, of another
    kind, or its numbers are not images.

    Warns:
        ImageWarning: fewer than 1,000 images, or entries that never change.
    """
    if isinstance(images, Images):
        return images
    source = open_source(images, key)
    tokens = source.tokens if tokens is None else check_symbols(tokens, "tokens")
    if tokens is not None and value_range is not None:
        raise InputError(f"value_range must be left out for tokens, which are not scaled, got {value_range}")
    axes = (2, 3, 4) if tokens is not None or source.as_stored else (3, 4)
    if len(source.shape) not in axes or min(source.shape) < 1 or source.dtype.kind not in "buif":
        raise InputError(
            f"{source.name} must hold numbers (n, row, column) or (n, row, column, 3), or declared tokens (n, site), "
            f"got {source.shape} of {source.dtype}; give the array's name as key if there are several"
        )
    n_file = source.shape[0]
    check_limits({"n_max": (2, None)}, {"n_max": n_max})
    if n_file < 2:
        raise InputError(f"{source.name} has one image; a distribution needs many")
    n = n_file if n_max is None else min(n_max, n_file)
    index = np.arange(n, dtype=np.int64) * n_file // n
    codes, classes = _labels(source, labels)
    if labels is not None:
        source = replace(source, labels_from=Path(labels).name if isinstance(labels, str | Path) else "labels")
    seen = _moments(source, index, tokens)
    if grey := seen.alike and len(seen.mean) == 3:
        source, seen = _first_channel(source, seen)
    kind: Kind
    raw_levels: NDArray | None
    if tokens is None:
        limits = _range(source, seen, value_range)
        kind, raw_levels = _kind(source, seen, limits, declared=value_range is not None)
    else:
        limits, kind, raw_levels = None, "tokens", np.arange(tokens)
    factor = 1.0 if limits is None else 2.0 / (limits[1] - limits[0])
    opened = Images(
        source,
        index,
        kind,
        limits,
        None if raw_levels is None else _scale(raw_levels, limits),
        None if codes is None else codes[index],
        classes,
        seen.mean if limits is None else (seen.mean - limits[0]) * factor - 1.0,
        seen.variance * factor**2,
        seen.low == seen.high,
    )
    if grey:
        warnings.warn(f"the three channels of {source.name} are equal; read as one, grey", ImageWarning, stacklevel=2)
    for text in opened.oddities():
        warnings.warn(text, ImageWarning, stacklevel=2)
    return opened


@dataclass(frozen=True)
class _Moments:
    """Extremes and moments of raw values, (channel, row, column), and their increasing levels if they are few.

    alike: whether all channels are equal in all images.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    levels: NDArray | None
    alike: bool


def _moments(source: Source, index: NDArray[np.int64], tokens: int | None) -> _Moments:
    """Look through the raw images once; moments of batches are merged as in Chan et al. (1979)."""
    shape = _channels_first(source, np.empty((0, *source.shape[1:]), source.dtype)).shape[1:]
    size = max(1, BATCH_ENTRIES // int(np.prod(shape)))
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    mean, squares = np.zeros(shape), np.zeros(shape)
    levels: NDArray | None = np.empty(0)
    alike = True
    for count in range(0, index.size, size):
        batch = _channels_first(source, source.take(index[count : count + size]))
        x = np.asarray(batch, np.float64)
        m = len(x)
        alike = alike and bool((batch == batch[:, :1]).all())
        if not np.isfinite(x).all():
            raise InputError(f"pixel values of {source.name} must be finite, image {count} or later has nan or inf")
        if tokens is not None:
            check_tokens(source.name, x, tokens)
        np.minimum(low, x.min(axis=0), out=low)
        np.maximum(high, x.max(axis=0), out=high)
        shift = x.mean(axis=0) - mean
        squares += ((x - x.mean(axis=0)) ** 2).sum(axis=0) + shift**2 * (count * m / (count + m))
        mean += shift * (m / (count + m))
        if levels is not None:
            levels = np.union1d(levels, np.unique(batch))
            levels = levels if levels.size <= MAX_LEVELS else None
    if levels is not None and levels.size > 2 and index.size * np.prod(shape) < PER_LEVEL * levels.size:
        levels = None
    return _Moments(low, high, mean, squares / index.size, levels, alike)


def _first_channel(source: Source, seen: _Moments) -> tuple[Source, _Moments]:
    """Return images of which one channel is read, and its moments."""
    shape = source.shape[0], *seen.mean.shape[1:]
    one = replace(source, shape=shape, take=lambda index: _channels_first(source, source.take(index))[:, 0])
    first = {name: getattr(seen, name)[:1] for name in ("low", "high", "mean", "variance")}
    return one, replace(seen, **first)


def _channels_first(source: Source, raw: NDArray) -> NDArray:
    """Return raw images as (m, channel, row, column), whichever way they are stored."""
    if raw.ndim < 4:
        return raw.reshape(len(raw), *(1,) * (4 - raw.ndim), *raw.shape[1:])
    if source.channel_first:
        return raw
    if raw.shape[3] in (1, 3):
        return np.moveaxis(raw, 3, 1)
    if raw.shape[1] in (1, 3):
        return raw
    raise InputError(f"{source.name} must have 1 or 3 channels in its last axis, got shape {source.shape}")


def _range(source: Source, seen: _Moments, declared: tuple[float, float] | str | None) -> tuple[float, float] | None:
    """Return the values that are scaled to -1 and 1, None for samples of a model."""
    low, high = float(seen.low.min()), float(seen.high.max())
    if low == high:
        raise InputError(f"all pixels of {source.name} have the value {low:g}; there is nothing to learn from them")
    if declared is not None:
        try:
            start, stop = map(float, declared.split(",") if isinstance(declared, str) else declared)
        except ValueError:
            start = stop = np.nan
        if not -np.inf < start < stop < np.inf:
            raise InputError(f"value_range must be two numbers low < high, such as 0,255, got {declared!r}")
        if low < start or high > stop:
            raise InputError(
                f"values must be in the declared range {start:g} .. {stop:g}, {source.name} has {low:g} .. {high:g}; "
                "declare that range or mend the images"
            )
        return start, stop
    if source.as_stored:
        return None
    if seen.levels is not None and seen.levels.size == 2:
        return low, high
    unit = ((0.0, 1.0), (-1.0, 1.0)) if source.dtype.kind == "f" else ()
    for start, stop in RANGES.get(source.dtype.str[1:], unit):
        middle = (start + stop) / 2
        if start <= low < high <= stop and high > middle and (start == 0 or low < middle - (stop - start) / 4):
            return start, stop
    raise InputError(
        f"value_range must be given for {source.dtype} with values {low:g} .. {high:g}: the values of black and white, "
        "which are usual for bytes, 16 bits and floats in [0, 1] or [-1, 1] that fill more than half of their range"
    )


def _kind(
    source: Source, seen: _Moments, limits: tuple[float, float] | None, *, declared: bool
) -> tuple[Kind, NDArray | None]:
    """Return the kind of the images and their raw levels; two values inside a wider declared range are grey."""
    levels = seen.levels
    if levels is not None and source.unused is not None:
        levels = levels[levels != source.unused]
    if levels is not None and levels.size == 2 and not (declared and tuple(levels) != limits):
        return "spins", levels
    whole = source.dtype.kind in "bui"
    if whole and limits is not None and limits[1] - limits[0] < MAX_LEVELS and limits[0] % 1 == limits[1] % 1 == 0:
        levels = np.arange(limits[0], limits[1] + 1)
    if seen.mean.shape[0] == 3:
        return "colour", levels
    return ("grey" if whole or levels is not None else "real"), levels


def _scale(raw: NDArray, limits: tuple[float, float] | None) -> NDArray[np.float32]:
    x = raw.astype(np.float32, order="C")
    if limits is not None:
        x -= np.float32(limits[0])
        x *= np.float32(2.0)
        x /= np.float32(limits[1] - limits[0])
        x -= np.float32(1.0)
    return x


def _labels(source: Source, given: Any) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Return the codes of the labels and their names."""
    values = read_labels(Path(given)) if isinstance(given, str | Path) else source.labels if given is None else given
    if values is None:
        return None, ()
    values = unmasked(values, "labels")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    elif values.ndim == 2 and ((values == 0) | (values == 1)).all() and (values.sum(axis=1) == 1).all():
        values = values.argmax(axis=1)
    if values.shape != source.shape[:1]:
        wanted = f"one per image, ({source.shape[0]},), or one-hot"
        raise InputError(f"labels must be {wanted}, got shape {values.shape}; give others as labels")
    if missing := int((values != values).sum()):
        raise InputError(f"labels must hold one for every image, got nan for {missing}; leave those images out")
    classes, codes = np.unique(values, return_inverse=True)
    if len(classes) > max(2, len(codes) / 2):
        if given is None:  # numbers beside the images, such as the targets of a regression
            return None, ()
        raise InputError(f"labels must be classes of several images, got {len(classes)} of {len(codes)} images")
    return codes.astype(np.int64), tuple(str(x) for x in classes)
