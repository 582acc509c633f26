"""HDF5 files that others made: plain numbers and text are read, within the memory there is, and nothing is executed.

Everything else raises UntrustedError: links (external links, virtual and external storage, soft links), objects and
references, filters for which HDF5 would load a library, and datasets that would unpack to more than fits.
"""

import math

import h5py
import numpy as np
from numpy.typing import NDArray

from .errors import InputError, available_memory, gibibytes

FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
TEXT_BLOCK = 2**28  # bytes that one block of texts may take where all of them share the largest of the file
NETCDF = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates")  # of axes


class UntrustedError(InputError):
    """Something in a file that is not read; the message says what."""


class Room:
    """Bytes that may still be read from one file: what the machine has available when it is opened."""

    def __init__(self) -> None:
        self.left = available_memory()

    def take(self, name: str, n_bytes: int) -> None:
        if n_bytes > self.left:
            raise UntrustedError(f"{name} unpacks to {gibibytes(n_bytes)}, with {gibibytes(self.left)} of memory left")
        self.left -= n_bytes


def member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """Return an object that lies in the file itself, a dataset `check`ed."""
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        where = f" into another file, {link.filename!r}," if isinstance(link, h5py.ExternalLink) else ","
        raise UntrustedError(f"{name} is a link{where} and is not followed")
    item = group[name]
    if isinstance(item, h5py.Dataset):
        check(item)
    return item


def check(dataset: h5py.Dataset) -> None:
    """Check that the numbers or texts of a dataset lie in the file, packed by HDF5's own filters."""
    name, created = dataset.name.lstrip("/"), dataset.id.get_create_plist()
    if dataset.is_virtual or created.get_external_count():
        raise UntrustedError(f"{name} lies in other files, which are not opened")
    for number in (created.get_filter(k)[0] for k in range(created.get_nfilters())):
        if number not in FILTERS:
            raise UntrustedError(f"{name} is packed by filter {number}; only {', '.join(FILTERS.values())} are read")
    if not (_is_text(dataset) or dataset.dtype.kind in "buif"):
        raise UntrustedError(f"{name} holds {dataset.dtype}; only numbers and text are read")
    if dataset.chunks:  # which are unpacked as a whole, however little is read
        Room().take(f"a chunk of {name}", math.prod(dataset.chunks) * dataset.dtype.itemsize)


def values(dataset: h5py.Dataset, room: Room) -> NDArray:
    """Return all numbers or texts of a dataset that was `check`ed, if there is room for them."""
    name = dataset.name.lstrip("/")
    if not _is_text(dataset):
        room.take(name, dataset.nbytes)
        return np.asarray(dataset[...])
    if dataset.ndim > 1:
        raise UntrustedError(f"{name} holds text along {dataset.ndim} axes; only one is read")
    room.take(name, 64 * dataset.size)
    texts = np.empty(dataset.shape, object)
    if dataset.ndim == 0:
        texts[()] = dataset.asstr()[()]
        return texts
    step = max(1, TEXT_BLOCK // max(1, dataset.file.id.get_filesize()))  # texts may all be the same large one
    for start in range(0, dataset.size, step):
        texts[start : start + step] = dataset.asstr()[start : start + step]
        room.take(name, sum(len(text) for text in texts[start : start + step]))
    return texts


def attribute(item: h5py.Group | h5py.Dataset, name: str) -> str | int | float | bool:
    """Return one text or number. Raises KeyError where there is none, UntrustedError for anything else."""
    stored = item.attrs.get_id(name)
    if stored.shape != () or not (_is_text(stored) or stored.dtype.kind in "buif"):
        raise UntrustedError(f"the attribute {name} is not one text or number")
    value = item.attrs[name]
    value = value.decode() if isinstance(value, bytes) else value
    return value if isinstance(value, str) else value.item()


def check_tree(file: h5py.File) -> int:
    """Check a file of groups that hold datasets of plain numbers or text, and return the bytes of all datasets."""
    total, room = 0, Room()
    for name in file.attrs:
        attribute(file, name)
    for group_name in file:
        group = member(file, group_name)
        if not isinstance(group, h5py.Group):
            raise UntrustedError(f"{group_name} lies outside any group")
        for name in group:
            dataset = member(group, name)
            if not isinstance(dataset, h5py.Dataset):
                raise UntrustedError(f"{group_name}/{name} is a group inside a group")
            for attribute_name in set(dataset.attrs) - set(NETCDF):
                attribute(dataset, attribute_name)
            if _is_text(dataset):
                values(dataset, room)
            elif dataset.id.get_offset() is None:  # packed or in chunks: what is read takes memory
                room.take(dataset.name, dataset.nbytes)
            total += dataset.nbytes
    return total


def _is_text(stored: h5py.Dataset | h5py.h5a.AttrID) -> bool:
    return h5py.check_string_dtype(stored.dtype) is not None
