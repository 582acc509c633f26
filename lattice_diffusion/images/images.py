"""Images as a distribution on a lattice: scaled to [-1, 1], looked through once, read in batches.

One pass over the file, in bounded memory, finds what a probe must know before it starts: the clean levels of a
pixel (two for spins, 256 grey levels for bytes), mean and variance of every pixel, and pixels that never change.
"""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .folder import open_folder
from .hdf5_files import open_hdf5
from .idx_files import is_idx, open_idx, read_idx
from .numpy_files import open_npy, open_npz, read_npy
from .scan import MAX_LEVELS, Scan, scan
from .source import ImageError, Source

Kind = Literal["spins", "grey", "colour", "real"]
FEW = 1000
RANGES = {"b1": (0.0, 1.0), "u1": (0.0, 255.0), "u2": (0.0, 65535.0)}
FORMATS = ".npy, .npz, .h5, .hdf5, an IDX file such as train-images-idx3-ubyte[.gz], or a folder of images"


class ImageWarning(UserWarning):
    """Images that can be used, but from which less can be learned than their number suggests."""


@dataclass(frozen=True)
class Images:
    """Images (n, channel, row, column), read when asked for.

    Attributes:
        source: the file; index: which of its images, (n,), increasing.
        kind: "spins" (two values), "grey", "colour" (three channels) or "real" (floats of any value).
        value_range: what goes to -1 and 1; None for samples of a model, which stay as they are.
        levels: the values that a clean pixel can take, after scaling, increasing; None where there are more than 256.
        labels: codes 0, 1, ... of `classes`, (n,), or None.
        mean, variance: of every entry after scaling, (channel, row, column).
        constant: entries that have one value in all images, (channel, row, column).
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

    def read(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Images of these indices, in their order, repeated where they repeat, (m, channel, row, column).

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
        """All images in the order of the file, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))

    def check_pixel(self, row: int, column: int) -> None:
        """Raises ImageError where a pixel is outside, or has one value in all images and so no information."""
        _, _, rows, columns = self.shape
        if not (0 <= row < rows and 0 <= column < columns):
            raise ImageError(f"the pixel must be in a {rows}x{columns} image, got {row},{column}")
        if self.constant[:, row, column].all():
            raise ImageError(
                f"the pixel {row},{column} has one value in all images, so nothing is to be known about it; "
                "choose a pixel that changes"
            )

    def describe(self) -> dict[str, object]:
        """What the images are, as plain JSON types."""
        return {
            "file": self.source.name,
            "images": len(self),
            "shape": list(self.shape[1:]),
            "kind": self.kind,
            "value_range": None if self.value_range is None else list(self.value_range),
            "levels": None if self.levels is None else len(self.levels),
            "classes": list(self.classes),
            "mean_variance": float(self.variance.mean()),
            "constant_fraction": float(self.constant.mean()),
            "memory_bytes": self.source.held_bytes,
        }


def open_images(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    labels: ArrayLike | str | os.PathLike[str] | None = None,
    value_range: tuple[float, float] | None = None,
    n_max: int | None = None,
) -> Images:
    """Images of a file or folder, scaled to [-1, 1].

    Bytes run from 0 to 255; floats in [0, 1] or [-1, 1] are taken to have that range; any two values are spins;
    other numbers need `value_range`. Labels are found under the usual names beside the images.

    Args:
        path: .npy, .npz, .h5, IDX (also .gz), or a folder of images.
        key: which array of .npz or .h5; "images" or the only fitting one by default.
        labels: (n,), or a file of them (.npy or IDX).
        value_range: what goes to -1 and 1.
        n_max: so many images, evenly spaced over the file, which may be sorted by label.

    Raises:
        OSError: no such file.
        ImageError: a file that is damaged, of another kind, or whose numbers are not images.

    Warns:
        ImageWarning: fewer than 1,000 images, or entries that never change.
    """
    source = _open(Path(path), key)
    if len(source.shape) not in (3, 4) or min(source.shape) < 1 or source.dtype.kind not in "buif":
        raise ImageError(
            f"{source.name} must hold numbers (n, row, column) or (n, row, column, 3), got {source.shape} of "
            f"{source.dtype}; give the array's name as key if there are several"
        )
    n_file = source.shape[0]
    if n_max is not None and n_max < 2:
        raise ImageError(f"n_max must be >= 2, got {n_max}")
    if n_file < 2:
        raise ImageError(f"{source.name} has one image; a distribution needs many")
    n = n_file if n_max is None else min(n_max, n_file)
    index = np.arange(n, dtype=np.int64) * n_file // n
    codes, classes = _labels(source, labels)
    layout = _channels_first(source, np.empty((0, *source.shape[1:]), source.dtype)).shape[1:]
    found = scan(source.name, (_channels_first(source, source.take(part)) for part in _parts(index, source)), layout)
    limits = _range(source, found, value_range)
    kind, raw_levels = _kind(source, found, limits, declared=value_range is not None)
    if kind == "spins" and not source.as_stored and raw_levels is not None:
        limits = float(raw_levels[0]), float(raw_levels[-1])
    factor = 1.0 if limits is None else 2.0 / (limits[1] - limits[0])
    images = Images(
        source,
        index,
        kind,
        limits,
        None if raw_levels is None else _scale(raw_levels, limits),
        None if codes is None else codes[index],
        classes,
        found.mean if limits is None else (found.mean - limits[0]) * factor - 1.0,
        found.variance * factor**2,
        found.low == found.high,
    )
    _warn(images)
    return images


def _open(path: Path, key: str | None) -> Source:
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    if path.is_dir():
        return open_folder(path, key)
    opener = {".npy": open_npy, ".npz": open_npz, ".h5": open_hdf5, ".hdf5": open_hdf5}.get(path.suffix.lower())
    if opener is None and is_idx(path):
        opener = open_idx
    if opener is None:
        raise ImageError(f"{path.name} is not a file of images that is known here; give {FORMATS}")
    return opener(path, key)


def _channels_first(source: Source, raw: NDArray) -> NDArray:
    """(m, channel, row, column), whichever way they are stored."""
    if raw.ndim == 3:
        return raw[:, None]
    if source.channel_first:
        return raw
    if raw.shape[3] in (1, 3):
        return np.moveaxis(raw, 3, 1)
    if raw.shape[1] in (1, 3):
        return raw
    raise ImageError(f"{source.name} must have 1 or 3 channels in its last axis, got shape {source.shape}")


def _parts(index: NDArray[np.int64], source: Source) -> Iterator[NDArray[np.int64]]:
    size = max(1, 2**21 // max(1, int(np.prod(source.shape[1:]))))
    for start in range(0, index.size, size):
        yield index[start : start + size]


def _range(source: Source, found: Scan, declared: tuple[float, float] | None) -> tuple[float, float] | None:
    low, high = float(found.low.min()), float(found.high.max())
    if low == high:
        raise ImageError(f"all pixels of {source.name} have the value {low:g}; there is nothing to learn from them")
    if declared is not None:
        start, stop = (float(x) for x in declared)
        if not (np.isfinite([start, stop]).all() and start < stop):
            raise ImageError(f"value_range must be two numbers low < high, got {declared}")
        if low < start or high > stop:
            raise ImageError(
                f"values must be in the declared range {start:g} .. {stop:g}, {source.name} has {low:g} .. {high:g}; "
                "declare that range or mend the images"
            )
        return start, stop
    if source.as_stored:
        return None
    usual = RANGES.get(source.dtype.str[1:])
    if usual or (found.levels is not None and found.levels.size == 2):
        return usual or (low, high)
    if source.dtype.kind == "f" and low >= -1.0 and high <= 1.0:
        return (0.0, 1.0) if low >= 0.0 else (-1.0, 1.0)
    raise ImageError(
        f"value_range must be given for {source.dtype} with values {low:g} .. {high:g}, as only bytes and floats in "
        "[0, 1] or [-1, 1] have a usual one"
    )


def _kind(
    source: Source, found: Scan, limits: tuple[float, float] | None, *, declared: bool
) -> tuple[Kind, NDArray | None]:
    """What a pixel is, and the values it can take, as stored; two values inside a wider declared range are grey."""
    levels = found.levels
    if levels is not None and source.unused is not None:
        levels = levels[levels != source.unused]
    if levels is not None and levels.size == 2 and not (declared and tuple(levels) != limits):
        return "spins", levels
    whole = source.dtype.kind in "bui"
    if whole and limits is not None and limits[1] - limits[0] < MAX_LEVELS and limits[0] % 1 == limits[1] % 1 == 0:
        levels = np.arange(limits[0], limits[1] + 1)
    if found.mean.shape[0] == 3:
        return "colour", levels
    return ("grey" if whole or levels is not None else "real"), levels


def _scale(raw: NDArray, limits: tuple[float, float] | None) -> NDArray[np.float32]:
    x = raw.astype(np.float32, order="C")
    if limits is None:
        return x
    x -= np.float32(limits[0])
    x *= np.float32(2.0)
    x /= np.float32(limits[1] - limits[0])
    x -= np.float32(1.0)
    return x


def _labels(
    source: Source, given: ArrayLike | str | os.PathLike[str] | None
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        if not path.exists():
            raise FileNotFoundError(f"no such file of labels: {path}")
        values = read_idx(path)[0] if is_idx(path) else read_npy(path)
    elif given is not None:
        values = np.asarray(given)
    elif source.labels is not None:
        values = source.labels
    else:
        return None, ()
    if values.shape != source.shape[:1]:
        raise ImageError(f"labels must be one per image, ({source.shape[0]},), got shape {values.shape}")
    classes, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int64), tuple(str(x) for x in classes)


def _warn(images: Images) -> None:
    n = len(images)
    if n < FEW:
        warnings.warn(
            f"{images.source.name} has only {n} images; expect errors of about {0.5 / np.sqrt(n):.2g} nats in every "
            f"information, and take at least {FEW}",
            ImageWarning,
            stacklevel=4,
        )
    share = float(images.constant.mean())
    if share:
        warnings.warn(
            f"{share:.1%} of the pixels of {images.source.name} have one value in all images; "
            "they tell nothing, and A cannot be one of them",
            ImageWarning,
            stacklevel=4,
        )
