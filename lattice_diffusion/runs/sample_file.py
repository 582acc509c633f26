"""An HDF5 file of samples that can be killed at any moment.

HDF5 does not survive a kill while it changes its own structure. So the file is made whole at first, of its final size
but empty (sparse), and samples are then put in place block by block, straight into the bytes of the array; a block
counts once its byte in `done` is set, after its samples are on disk. The file opens with `results.read`, h5py and
xarray at any time.
"""

import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError
from ..store import atomic_write

GROUP = "samples"


class BusyError(InputError):
    """Another run writes to the file."""


def create(
    path: Path, attributes: dict[str, Any], shape: tuple[int, ...], dims: tuple[str, ...], dtype: DTypeLike, batch: int
) -> None:
    """The file with no sample drawn: `samples` of `shape` and axes `dims`, `done` for every `batch` samples.

    Raises ValueError where the disk has not enough room, OSError where the folder cannot be written to.
    """
    n_bytes = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize + 8 * shape[0]
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise InputError(
            f"{shape[0]} samples need {n_bytes / 2**30:.3g} GiB, and the disk of {path.parent.absolute()} has "
            f"{free / 2**30:.3g} GiB free; take fewer samples or another folder"
        )
    whole = atomic_write(path, path.with_name(path.name + ".part"))
    with whole as part, h5py.File(part, "w", track_order=True) as file:
        file.attrs.update(attributes)
        group = file.create_group(GROUP, track_order=True)
        at_once = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        at_once.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        at_once.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        n_blocks = -(-shape[0] // batch)
        group.create_dataset("samples", shape, dtype, dcpl=at_once)
        group.create_dataset("done", data=np.zeros(n_blocks, np.uint8))
        for name, axes, long_name in (
            ("samples", dims, "samples; unset where their block is not done"),
            ("done", ("block",), f"1 where a block of {batch} samples has been drawn"),
        ):
            group[name].attrs.update({"units": "1", "long_name": long_name})
            for axis, dim in enumerate(axes):
                scale = group.create_dataset(dim, data=np.arange(group[name].shape[axis]))
                scale.attrs.update({"units": "1", "long_name": f"index along {dim}"})
                scale.make_scale(dim)
                group[name].dims[axis].attach_scale(scale)


class SampleFile:
    """An existing file, locked against other runs, to put blocks into; a context manager that closes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with h5py.File(path, "r") as file:
            samples, done = file[GROUP]["samples"], file[GROUP]["done"]
            self._place, self._done_place = samples.id.get_offset(), done.id.get_offset()
            self.done: NDArray[np.bool_] = done[...] == 1
            self._sample_bytes, self._dtype = samples.nbytes // samples.shape[0], samples.dtype
        self._file = _open_locked(path)

    def put(self, block: int, first: int, samples: NDArray[Any]) -> None:
        """Write one block, samples first, first + 1, ...; it survives a power cut from here on."""
        place = self._place + first * self._sample_bytes
        left = np.ascontiguousarray(samples, self._dtype).data.cast("B")
        while left:
            written = os.pwrite(self._file, left, place)
            left, place = left[written:], place + written
        os.fdatasync(self._file)
        os.pwrite(self._file, b"\x01", self._done_place + block)
        self.done[block] = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, marked complete where every block is there (one byte of an attribute, in place)."""
        os.fsync(self._file)
        os.close(self._file)
        if self.done.all():
            with h5py.File(self.path, "r+") as file:
                file.attrs.modify("complete", True)


def refuse_busy(path: Path) -> None:
    """Raises BusyError where another run writes to `path`, which must exist."""
    os.close(_open_locked(path))


def _open_locked(path: Path) -> int:
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock, with which HDF5 would keep readers out
    except OSError:
        os.close(file)
        raise BusyError(f"{path} is being written by another run; wait for it or choose another file") from None
    return file
