"""Images in NumPy's files: .npy mapped from disk, .npz mapped where it is stored plain, in memory where compressed.

Nothing is unpickled: the header of an array is read first, and Python objects are refused.
"""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from .source import ImageError, Source, array_source, check_memory

IMAGE_KEYS = ("images", "x_train")
LABEL_KEYS = ("labels", "y", "y_train")


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    size: int

    @property
    def n_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def _header(file: IO[bytes], name: str) -> _Header:
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ImageError(f"{name} is not an array in NumPy's format: it is damaged or of another kind") from error
    if dtype.hasobject:
        raise ImageError(f"{name} holds Python objects, which are never unpickled; save a plain array of numbers")
    return _Header(shape, fortran, dtype, file.tell())


def _map(path: Path, header: _Header, offset: int, name: str) -> NDArray:
    if offset + header.n_bytes > path.stat().st_size:
        raise ImageError(f"{name} is truncated: {header.shape} of {header.dtype} needs more bytes than it has")
    if header.n_bytes == 0:
        return np.zeros(header.shape, header.dtype)
    return np.memmap(path, header.dtype, "r", offset, header.shape, "F" if header.fortran else "C")


def read_npy(path: Path) -> NDArray:
    """The array of a .npy file, mapped from disk."""
    with open(path, "rb") as file:
        header = _header(file, path.name)
    return _map(path, header, header.size, path.name)


def open_npy(path: Path, key: str | None) -> Source:
    if key is not None:
        raise ImageError(f"key must be left out for {path.name}, which holds one array, got {key!r}")
    return array_source(path.name, read_npy(path))


def open_npz(path: Path, key: str | None) -> Source:
    """The array `key`, "images" or "x_train", or the only one of three or four axes; labels beside it."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ImageError(f"{path.name} is not a readable .npz file: it is truncated or of another kind") from error
    with archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
        headers = {}
        for array, member in members.items():
            if key in (None, array):
                with _open(archive, member, path) as file:
                    headers[array] = _header(file, f"{path.name}[{array}]")
        chosen = choose_key(path.name, key, {name: header.shape for name, header in headers.items()}, list(members))
        images, held = _member(archive, path, members[chosen], headers[chosen])
        labels = None
        for array in LABEL_KEYS:
            if array in members and array != chosen:
                with _open(archive, members[array], path) as file:
                    header = _header(file, f"{path.name}[{array}]")
                labels = _member(archive, path, members[array], header)[0]
                break
    return array_source(path.name, images, labels, held)


def choose_key(name: str, key: str | None, shapes: dict[str, tuple[int, ...]], known: list[str]) -> str:
    """Which array of a file holds the images. Raises ImageError with the names there are where it is not clear."""
    if key is not None:
        if key not in shapes:
            raise ImageError(f"key must be an array of {name}, got {key!r}; it has {', '.join(known) or 'none'}")
        return key
    named = [array for array in IMAGE_KEYS if array in shapes]
    fitting = [array for array, shape in shapes.items() if len(shape) in (3, 4)]
    if named or len(fitting) == 1:
        return (named or fitting)[0]
    listing = ", ".join(f"{array} {shape}" for array, shape in shapes.items()) or "no array"
    raise ImageError(f"{name} must have one array of images (n, row, column), it has {listing}; give its name as key")


def _open(archive: zipfile.ZipFile, member: str, path: Path) -> IO[bytes]:
    try:
        return archive.open(member)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error) as error:  # RuntimeError: encrypted
        raise ImageError(f"{path.name} is damaged or encrypted: {member} cannot be read") from error


def _member(archive: zipfile.ZipFile, path: Path, member: str, header: _Header) -> tuple[NDArray, int]:
    """An array of an archive, and the bytes of memory it takes: none where it lies in the file as it is."""
    name, info = f"{path.name}[{member.removesuffix('.npy')}]", archive.getinfo(member)
    if info.compress_type == zipfile.ZIP_STORED:
        with open(path, "rb") as file:
            file.seek(info.header_offset + 26)
            lengths = struct.unpack("<HH", file.read(4))  # of the member's name and extra field, after 30 bytes
        return _map(path, header, info.header_offset + 30 + sum(lengths) + header.size, name), 0
    held = check_memory(name, header.n_bytes)
    try:
        with _open(archive, member, path) as packed:
            return npy.read_array(packed, allow_pickle=False), held
    except (zlib.error, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ImageError(f"{name} is damaged: it starts well but cannot be read on") from error
