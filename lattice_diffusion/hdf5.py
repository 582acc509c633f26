"""HDF5 files that others made: plain numbers and text are read, within the memory there is, and nothing is executed.

Refused in one sentence: links to other files (external links, virtual and external storage), soft links, objects and
references, filters that HDF5 would load a library for, and datasets that would unpack to more than fits.
"""

import math

import h5py
import numpy as np
from numpy.typing import NDArray

from .errors import InputError, available_memory, gibibytes

FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
TEXT_BLOCK = 2**28  # bytes that one block of texts may take where all of them share the largest of the file


class UntrustedError(InputError):
    """Something in a file that is not read; the message is what it is."""


class Room:
    """Bytes that may still be read from one file: what the machine has available when it is opened."""

    def __init__(self) -> None:
        self.left = available_memory()

    def take(self, name: str, n_bytes: int) -> None:
        """Raises UntrustedError where `name` needs more than is left."""
        if n_bytes > self.left:
            raise UntrustedError(
                f"{name} unpacks to {gibibytes(n_bytes)}, this machine has {gibibytes(self.left)} of memory left for it"
            )
        self.left -= n_bytes


def member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """An object that lies in the file itself. Raises UntrustedError for links, which are not followed."""
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise UntrustedError(f"{name} is a link into another file, {link.filename!r}, and is not followed")
    if not isinstance(link, h5py.HardLink):
        raise UntrustedError(f"{name} is a link, and is not followed")
    item = group[name]
    if isinstance(item, h5py.Dataset):
        check(item)
    return item


def check(dataset: h5py.Dataset) -> None:
    """Raises UntrustedError unless its numbers or texts lie in the file, packed by HDF5's own filters."""
    name, created = dataset.name.lstrip("/"), dataset.id.get_create_plist()
    if dataset.is_virtual or created.get_external_count():
        raise UntrustedError(f"{name} lies in other files, which are not opened")
    filters = [created.get_filter(k)[0] for k in range(created.get_nfilters())]
    unknown = [number for number in filters if number not in FILTERS]
    if unknown:
        raise UntrustedError(
            f"{name} is packed by the filter {unknown[0]}; only {', '.join(FILTERS.values())} are read"
        )
    if h5py.check_string_dtype(dataset.dtype) is None and dataset.dtype.kind not in "buif":
        raise UntrustedError(f"{name} holds {dataset.dtype}; only numbers and text are read")
    if dataset.chunks:  # which are unpacked as a whole, however little is read
        Room().take(f"a chunk of {name}", math.prod(dataset.chunks) * dataset.dtype.itemsize)


def values(dataset: h5py.Dataset, room: Room) -> NDArray:
    """All numbers or texts of a dataset that was `check`ed. Raises UntrustedError where there is no room for them."""
    name = dataset.name.lstrip("/")
    if h5py.check_string_dtype(dataset.dtype) is None:
        room.take(name, dataset.nbytes)
        return np.asarray(dataset[...])
    room.take(name, 64 * dataset.size)
    texts = np.empty(dataset.size, object)
    if dataset.ndim == 0:
        texts[0] = dataset.asstr()[()]
        return texts.reshape(())
    if dataset.ndim != 1:
        raise UntrustedError(f"{name} holds text along {dataset.ndim} axes; only one is read")
    step = max(1, TEXT_BLOCK // max(1, dataset.file.id.get_filesize()))  # texts may all be the same large one
    for start in range(0, dataset.size, step):
        texts[start : start + step] = dataset.asstr()[start : start + step]
        room.take(name, sum(len(text) for text in texts[start : start + step]))
    return texts


def attribute(item: h5py.Group | h5py.Dataset, name: str) -> str | int | float | bool:
    """One text or number. Raises KeyError where there is none, UntrustedError for anything else."""
    stored = item.attrs.get_id(name)
    text = h5py.check_string_dtype(stored.dtype) is not None
    if stored.shape != () or not (text or stored.dtype.kind in "buif"):
        raise UntrustedError(f"the attribute {name} is not one text or number")
    value = item.attrs[name]
    value = value.decode() if isinstance(value, bytes) else value
    return value if isinstance(value, str) else value.item()


NETCDF = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates")  # of axes


def check_tree(file: h5py.File) -> int:
    """Return the bytes of all datasets of a file whose groups hold datasets only, each of plain numbers or text.

    Raises UntrustedError for anything else, and where a text or an array would need more memory than there is.
    """
    total, room = 0, Room()
    for attribute_name in file.attrs:
        attribute(file, attribute_name)
    for group_name in file:
        group = member(file, group_name)
        if not isinstance(group, h5py.Group):
            raise UntrustedError(f"{group_name} lies outside any group")
        for name in group:
            dataset = member(group, name)
            if not isinstance(dataset, h5py.Dataset):
                raise UntrustedError(f"{group_name}/{name} is a group inside a group")
            for attribute_name in dataset.attrs:
                if attribute_name not in NETCDF:
                    attribute(dataset, attribute_name)
            if h5py.check_string_dtype(dataset.dtype) is not None:
                values(dataset, room)
            elif dataset.id.get_offset() is None:  # packed or in chunks: what is read takes memory
                room.take(dataset.name, dataset.nbytes)
            total += dataset.nbytes
    return total
