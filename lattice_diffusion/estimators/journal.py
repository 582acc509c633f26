"""Rows of a benchmark on disk, one JSON line each, written as soon as they are measured."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import InputError

Row = dict[str, Any]


class Journal:
    """The open, locked file; see `journal`."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file

    def rows(self) -> list[Row]:
        """What is there; cuts off a last line torn by a crash, so that appending can go on."""
        self._file.seek(0)
        text = self._file.read()
        end = text.rfind(b"\n") + 1
        self._file.truncate(end)
        return _parse(self.path, text[:end])

    def append(self, row: Row) -> None:
        """Record one row; it survives the death of this process from here on."""
        self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def journal(path: Path) -> Iterator[Journal]:
    """Open for appending, for this process alone.

    Raises:
        BlockingIOError: another benchmark is writing to it.
    """
    with open(path, "a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"{path} is being written by another benchmark; wait for it, or use another file"
            ) from None
        yield Journal(path, file)


def read(path: Path) -> list[Row]:
    """The finished rows of a benchmark."""
    text = Path(path).read_bytes()
    return _parse(path, text[: text.rfind(b"\n") + 1])


def _parse(path: Path, text: bytes) -> list[Row]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or "task_id" not in row:
            raise InputError(f"{path} is not a benchmark's file: line {number} is not a row; use another file")
        rows.append(row)
    return rows
