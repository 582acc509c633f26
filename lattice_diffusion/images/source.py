"""Where images come from: a shape, a number type, and raw values of sorted indices, from disk or from memory."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, available_memory


class ImageError(InputError):
    """Images that cannot be used; the message is one sentence: what, received, allowed, remedy."""


@dataclass(frozen=True)
class Source:
    """Images as they are stored.

    Attributes:
        name: of the file, for messages.
        shape: (n, row, column), (n, row, column, channel) or (n, channel, row, column).
        dtype: of the numbers.
        take: raw values at strictly increasing indices, (m, *shape[1:]).
        labels: (n,) of any type, or None.
        held_bytes: memory it needs all the time; 0 where images are read by slices.
        as_stored: samples of a model, which are not scaled; channel_first: whether axis 1 counts channels;
        unused: a value that marks entries that are not there, such as the bonds over the edge.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    take: Callable[[NDArray[np.int64]], NDArray] = field(repr=False)
    labels: NDArray | None = field(default=None, repr=False)
    held_bytes: int = 0
    as_stored: bool = False
    channel_first: bool = False
    unused: int | None = None


def check_memory(name: str, n_bytes: int) -> int:
    """`n_bytes` itself; an ImageError where the machine has not so much memory available."""
    available = available_memory()
    if n_bytes > available:
        raise ImageError(
            f"{name} is compressed and needs {n_bytes / 2**30:.3g} GiB of memory, {available / 2**30:.3g} GiB are "
            "available; save its images as .npy or .h5, which are read by slices"
        )
    return n_bytes


def array_source(
    name: str, array: NDArray, labels: NDArray | None = None, held_bytes: int = 0, *, channel_first: bool = False
) -> Source:
    """Images in an array, mapped from disk or in memory."""
    return Source(
        name,
        array.shape,
        array.dtype,
        lambda index: np.asarray(array[span(index)]),
        labels,
        held_bytes,
        channel_first=channel_first,
    )


def span(index: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """A slice where the indices are neighbours: far cheaper to read."""
    if index.size and index[-1] - index[0] + 1 == index.size:
        return slice(int(index[0]), int(index[-1]) + 1)
    return index
