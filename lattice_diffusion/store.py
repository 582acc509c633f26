"""What can be interrupted and resumed: one atomic write, one lock, one rule of when two runs are the same.

Everything that takes long keeps what is finished on disk, in one of three forms:

    with atomic_write(path) as partial:     a file that is there whole or not at all
        partial.write_bytes(...)

    with Journal(path) as journal:          records appended one by one, a line of JSON each, as they are measured
        known = list(journal.records())     those of an interrupted run; a torn last line is dropped
        journal.append([{"x": 1}])          survives the death of this process from here on
        journal.sync()                      and a power cut

    with Parts(out, resume, force) as parts:    a folder OUT.parts of finished files, for what is not JSON
        known = parts.plan                      what the interrupted run was about, None for a new one
        parts.begin(plan)                       the same plan, or an InputError that names the difference
        with atomic_write(parts.folder / "net.pt") as partial: ...
        parts.remove()                          once the result file has everything

A journal and a folder of parts are locked as long as they are open: a second run raises InputError. A run goes on with
what is there only if `check_same` finds the same parameters and the same version of the package.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from . import __version__
from .errors import InputError
from .progress import say

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
Record = dict[str, Any]  # of plain JSON types


@contextlib.contextmanager
def atomic_write(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """Yield a name to write to, and give what was written there the name `path` at the end, safe from power cuts.

    Nothing is left of it where writing fails. By default it has the same suffix, and another one in another process
    that writes the same file; `partial` is for files of one writer, where what a killed one left is written over.
    """
    partial = partial or path.with_name(f"{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    with contextlib.suppress(OSError):  # where the file system can
        os.fsync(folder)
    os.close(folder)


def open_locked(path: Path, flags: int) -> int:
    """Return the number of the open file `path` (`flags` of `os.open`), locked until it is closed.

    On a file system that has no locks it is open without one, which is said on stderr. Raises InputError where another
    holds the lock, OSError where the file cannot be opened.
    """
    number = os.open(path, flags, 0o666)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            say(f"warning: {path.parent} has no file locks ({error.strerror}): nothing keeps two runs from one file")
        # A run that ends between our opening and our locking removes the name; we would hold a file of nobody.
        if os.path.samestat(os.fstat(number), os.stat(path)):
            return number
    except (BlockingIOError, PermissionError, FileNotFoundError):
        pass
    except BaseException:
        os.close(number)
        raise
    os.close(number)
    owner = path.name.removesuffix(".journal")
    raise InputError(f"{path.with_name(owner)} is being written by another run; wait for it or choose another file")


class Journal:
    """Append-only records in a locked file, a line of JSON each; a context manager that closes it.

    Python writes a float such that it reads back exactly. A last line torn by a crash is dropped when the records are
    read. Raises InputError where another process holds the file, OSError where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._file = open_locked(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)

    def records(self) -> Iterator[Record]:
        """Yield the records; cut off a torn last line, so that appending can go on.

        Raises InputError where the file is damaged elsewhere, or is something else.
        """
        end = 0
        for length, record in _lines(self.path):
            end += length
            yield record
        os.truncate(self.path, end)

    def append(self, records: Iterable[Record]) -> None:
        """Write records. Raises OSError where the disk is full, with the file as it was before."""
        text = b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)
        end = os.fstat(self._file).st_size
        try:
            while text:  # a disk that fills up takes a part
                text = text[os.write(self._file, text) :]
        except OSError as error:
            os.truncate(self.path, end)
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def sync(self) -> None:
        """Make all records survive a power cut."""
        os.fsync(self._file)

    def clear(self) -> None:
        """Drop all records."""
        os.truncate(self.path, 0)

    def remove(self) -> None:
        """Delete the file: another one has everything."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._file)


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a journal, without its lock; a last line that is not whole is left out."""
    return (record for _, record in _lines(path))


def _lines(path: Path) -> Iterator[tuple[int, Record]]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise InputError(f"{path} is damaged or of another kind: line {number} is not a record; move it away")
            yield len(line), record


class Parts:
    """The locked folder OUT.parts of what is finished of the result file `out`; a context manager.

    Raises FileExistsError for the folder of an interrupted run without `resume` or `force`, InputError where another
    process holds it. With `force` it starts empty.

    Attributes:
        folder: where finished files go, each by `atomic_write`.
        plan: the plan of the interrupted run, or what a finished result file says of its own; None for a new one.
        finished: whether the result file has everything.
    """

    def __init__(self, out: Path, resume: bool = False, force: bool = False) -> None:
        self.out, self.folder = out, out.with_name(out.name + ".parts")
        if self.folder.exists() and not (resume or force):
            raise FileExistsError(f"{self.folder} holds an unfinished run; use --resume or --force, or another name")
        self.folder.mkdir(exist_ok=True)
        self._lock = open_locked(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        if force:
            self._empty()
        written = self.folder / "plan.json"
        stored = json.loads(written.read_text(encoding="utf-8")) if written.exists() else None
        self.plan: Record | None = stored and stored["plan"]
        self._version = stored and stored["package_version"]
        self.finished = resume and self.plan is None and out.exists()

    def read_finished(self, name: str, found: Mapping[str, Any]) -> None:
        """Take the plan from the root attributes of the result file; InputError where that is not called `name`."""
        if found["name"] != name:
            raise InputError(
                f"{self.out} holds a {found['name']}, no {name}; use --force to overwrite it, or another name"
            )
        self.plan, self._version = json.loads(found["parameters"]), found["package_version"]

    def begin(self, plan: Record, **conclusions: Any) -> None:
        """Write the plan of a new run, or check that an earlier one had the same. Raises InputError if not.

        `conclusions` are options of what is made of the measurements, which only a finished result file has settled.
        """
        if self.finished and self.plan is not None:
            plan = {**plan, **conclusions}
            known = {key: self.plan[key] for key in plan if key in self.plan}  # the file says more
            check_same(self.out, known, self._version, plan)
            say(f"{self.out} is finished")
            return
        if self.plan is not None:
            check_same(self.folder, self.plan, self._version, plan)
            return
        self._empty()
        with atomic_write(self.folder / "plan.json") as path:
            path.write_text(json.dumps({"package_version": __version__, "plan": plan}), encoding="utf-8")
        self.plan, self._version = json.loads(json.dumps(plan)), __version__

    def remove(self) -> None:
        """Delete the folder: the result file has everything."""
        shutil.rmtree(self.folder)

    def _empty(self) -> None:
        for item in self.folder.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            elif item.name != "lock":
                item.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._lock)
        if self.plan is None or self.finished:  # nothing was begun
            shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def unfinished(
    out: str | os.PathLike[str] | None, name: str, load: Callable[[Path], Any], *, resume: bool, force: bool
) -> Iterator[Parts]:
    """Yield the folder of what is finished of a result file called `name`, which `load` reads.

    Without `out` the folder is a temporary one.
    """
    if out is None:
        with tempfile.TemporaryDirectory() as folder, Parts(Path(folder) / "result.h5") as parts:
            yield parts
        return
    path = Path(out)
    check_output(path, resume=resume, force=force)
    with Parts(path, resume, force) as parts:
        if parts.finished:
            parts.read_finished(name, load(path).attrs)
        yield parts


def journal_path(out: Path) -> Path:
    """Return the journal of the result file `out`."""
    return out.with_name(out.name + ".journal")


def check_same(path: Path, parameters: Any, version: Any, wanted: Any) -> None:
    """Raise InputError, naming the first key that differs, unless `path` is of the parameters `wanted` and of this
    version of the package."""
    difference = _difference(parameters, json.loads(json.dumps(wanted)))
    if difference:
        raise InputError(f"{path} holds another experiment: {difference}; use --force to overwrite it, or another name")
    if version != __version__:
        raise InputError(f"{path} was begun by lattice_diffusion {version}; finish it with that, or use --force")


def _difference(old: Any, new: Any, place: str = "") -> str | None:
    if isinstance(old, dict) and isinstance(new, dict):
        inner = (_difference(old.get(k), new.get(k), f"{place}.{k}" if place else k) for k in sorted({*old, *new}))
        return next(filter(None, inner), None)
    return None if old == new else f"{place} is {json.dumps(old)} there and {json.dumps(new)} here"


def check_output(path: Path, *, resume: bool = False, force: bool = False, resumable: bool = True) -> None:
    """Check that `path` can be written, before anything is computed for it; figures are not `resumable`.

    Raises InputError for both `resume` and `force`, OSError for a folder, for a missing or protected folder, and for a
    file or journal that exists without `resume` or `force`.
    """
    if resume and force:
        raise InputError("resume goes on with a file and force overwrites it; give one of the two")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a file name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"the folder {path.parent} cannot be written to; choose another")
    if not (resume or force) and (path.exists() or journal_path(path).exists()):
        remedy = "--resume to go on with it, " if resumable else ""
        raise FileExistsError(f"{path} exists; use {remedy}--force to overwrite it, or another name")


def beside(file: Path, suffix: str) -> Path:
    """Return the name of `file` with another suffix. Raises IsADirectoryError for a folder."""
    if not file.name or file.is_dir():
        raise IsADirectoryError(f"{file} is a folder; give a result file (.h5)")
    return file.with_suffix(suffix)
