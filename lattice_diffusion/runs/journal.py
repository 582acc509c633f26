"""Crash safety: every measured point goes at once to a text file beside the result file.

HDF5 does not survive a kill in the middle of a write. So points are appended to FILE.h5.journal, one JSON
line each (Python writes a float so that it reads back exactly), after a header line that holds the spec. A
last line torn by a crash is dropped on reading. The journal holds every point of an unfinished result file, so that
either of the two is enough to go on. It also locks the result file against a second run.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import InputError

_SCHEMA = "lattice_diffusion journal 1"
Entry = tuple[str, tuple[int, ...], dict[str, NDArray]]


class JournalError(InputError):
    """A journal that cannot be used; the message is one sentence."""


def journal_path(path: Path) -> Path:
    """Where the journal of the result file `path` lies."""
    return path.with_name(path.name + ".journal")


class Journal:
    """The open, locked journal of one result file; a context manager that closes it.

    Raises JournalError where another run holds it, OSError where the folder cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = journal_path(path)
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115  closed by __exit__
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A run that ends between our open and our lock removes the name; we would hold no one's journal.
            ours = os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path))
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            self._file.close()
            raise JournalError(f"{path} is being written by another run; wait for it to end or choose another file")

    def start(self, spec: dict[str, Any], created: str) -> None:
        """Drop what is there and write the header."""
        self._file.truncate(0)
        header = {"schema": _SCHEMA, "package_version": __version__, "created": created, "spec": spec}
        self._write([header])

    def header(self) -> dict[str, Any] | None:
        """The header, or None where not even that was written before a crash."""
        with open(self.path, "rb") as file:
            line = file.readline()
        if not line.endswith(b"\n"):
            return None
        header = self._parse(line)
        if header.get("schema") != _SCHEMA:
            raise JournalError(f"{self.path} is not a journal of this version of lattice_diffusion; move it away")
        return header

    def entries(self) -> Iterator[Entry]:
        """The points recorded so far; cuts off a torn last line, so that appending can go on."""
        with open(self.path, "rb") as file:
            end = len(file.readline())
            for line in file:
                if not line.endswith(b"\n"):
                    break
                entry = self._parse(line)
                end += len(line)
                values = {name: np.asarray(x, dtype=float) for name, x in entry["values"].items()}
                yield entry["grid"], tuple(entry["index"]), values
        self._file.truncate(end)

    def append(self, entries: Iterable[Entry]) -> None:
        """Record points; they survive the death of this process from here on.

        Raises OSError where the disk is full, with the journal as it was before.
        """
        self._write(
            {"grid": grid, "index": index, "values": {name: x.tolist() for name, x in values.items()}}
            for grid, index, values in entries
        )

    def sync(self) -> None:
        """Make everything appended survive a power cut too."""
        os.fsync(self._file.fileno())

    def remove(self) -> None:
        """Delete the journal: the result file has everything."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _write(self, records: Iterable[dict[str, Any]]) -> None:
        text = b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)
        end = os.fstat(self._file.fileno()).st_size
        try:
            while text:  # a disk that fills up takes a part
                text = text[self._file.write(text) :]
        except OSError as error:
            self._file.truncate(end)
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise JournalError(f"{self.path} is damaged in the middle; move it away, or start again with --force")
        return record
