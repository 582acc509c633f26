"""Images in IDX, the format of MNIST (LeCun, Cortes, Burges 1998): big-endian header, then plain numbers.

Two zero bytes, one of number type, one that counts the axes, the axes' lengths as four bytes each. Plain files are
mapped from disk; gzip has no random access and is decompressed into memory.
"""

import gzip
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from .source import ImageError, Source, array_source, check_memory

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def is_idx(path: Path) -> bool:
    """Whether the name says IDX, with or without .gz, as in train-images-idx3-ubyte or train-images.idx3-ubyte."""
    return any(word in path.name.lower() for word in ("-idx", ".idx"))


def read_idx(path: Path) -> tuple[NDArray, int]:
    """The array, and the bytes of memory it takes. Raises ImageError for a file that is truncated or corrupt."""
    if path.suffix != ".gz":
        with open(path, "rb") as file:
            shape, dtype = _header(file, path.name)
            offset = file.tell()
        n_bytes = _count(shape) * dtype.itemsize
        _check_size(path.name, path.stat().st_size - offset, n_bytes, shape)
        return np.memmap(path, dtype, "r", offset, shape), 0
    try:
        with gzip.open(path, "rb") as packed:
            shape, dtype = _header(packed, path.name)
            n_bytes = check_memory(path.name, _count(shape) * dtype.itemsize)
            data = packed.read(n_bytes)
            excess = len(packed.read(1))  # reading to the end compares the checksum
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ImageError(f"{path.name} is a corrupt gzip file ({error}); download it again") from error
    _check_size(path.name, len(data) + excess, n_bytes, shape)
    return np.frombuffer(data, dtype).reshape(shape), n_bytes


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=object))


def _header(file: IO[bytes] | gzip.GzipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES or not 1 <= start[3] <= 4:
        raise ImageError(f"{name} is not an IDX file: it starts with {start.hex(' ') or 'nothing'}, not 00 00 08 03")
    lengths = file.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        raise ImageError(f"{name} is truncated: it ends inside its header; download it again")
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    if 0 in shape:
        raise ImageError(f"{name} is empty: its header says {shape}")
    return shape, np.dtype(TYPES[start[2]])


def _check_size(name: str, found: int, needed: int, shape: tuple[int, ...]) -> None:
    if found != needed:
        state = "truncated" if found < needed else "too long"
        raise ImageError(f"{name} is {state}: {shape} needs {needed} bytes after the header; download it again")


def open_idx(path: Path, key: str | None) -> Source:
    """Images, with the labels of the file beside it (train-labels-idx1-ubyte of train-images-idx3-ubyte)."""
    if key is not None:
        raise ImageError(f"key must be left out for {path.name}, which holds one array, got {key!r}")
    images, held = read_idx(path)
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = read_idx(beside)[0] if beside != path and beside.exists() else None
    return array_source(path.name, images, labels, held)
