"""What is refused before anything is computed: an output that is in the way, a spec that no model accepts."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from .. import __version__
from ..results import ResultError
from .journal import journal_path
from .points import grid_points
from .quantities import find
from .refusal import at_point, is_refusal
from .spec import Spec, SpecError


def check_output(
    path: Path, *, resume: bool = False, force: bool = False, ours: bool = False, resumable: bool = True
) -> None:
    """Refuse a `path` that cannot be written, or that exists without `resume` or `force`, in one sentence.

    `ours`: the journal is the caller's own, so only the result file counts as existing. `resumable`: whether
    resuming is a remedy, as it is for result files.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a file name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"the folder {path.parent} cannot be written to; choose another")
    if not (resume or force) and (path.exists() or (not ours and journal_path(path).exists())):
        remedy = "--resume to go on with it, " if resumable else ""
        raise FileExistsError(f"{path} exists; use {remedy}--force to overwrite it, or another name")


def beside(file: Path, suffix: str) -> Path:
    """The name of `file` with another suffix. Raises IsADirectoryError for a folder."""
    if not file.name or file.is_dir():
        raise IsADirectoryError(f"{file} is a folder; give a result file (.h5)")
    return file.with_suffix(suffix)


@contextlib.contextmanager
def enough_of(file: Path) -> Iterator[None]:
    """Say in one sentence, as ResultError, that a result file has not what is drawn or told of it."""
    try:
        yield
    except (LookupError, StopIteration, ArithmeticError, ValueError, TypeError) as error:
        if is_refusal(error):
            raise
        what = error if isinstance(error, KeyError) else type(error).__name__
        raise ResultError(
            f"{file} has not what its figure shows ({what}): it is unfinished, or was made by other means"
        ) from error


class Described(Protocol):
    """A spec or another description of what a file holds."""

    def to_json(self) -> str: ...


def check_same(path: Path, parameters: Any, version: Any, spec: Described) -> None:
    """Refuse to go on with a file of another spec, naming the key that differs, or of another version."""
    difference = _difference(json.loads(parameters), json.loads(spec.to_json()))
    if difference:
        raise SpecError(f"{path} holds another experiment: {difference}; use --force to overwrite it, or another name")
    if version != __version__:
        raise SpecError(
            f"{path} was begun by lattice_diffusion {version}, this is {__version__}; "
            "finish it with that version, or use --force to start again"
        )


def _difference(old: Any, new: Any, place: str = "") -> str | None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            inner = _difference(old.get(key), new.get(key), f"{place}.{key}" if place else key)
            if inner:
                return inner
        return None
    return None if old == new else f"{place} is {json.dumps(old)} there and {json.dumps(new)} here"


def check_points(spec: Spec) -> None:
    """Build model, solver, channel and partitions for every value of every axis, before computing anything."""
    for name, grid in spec.grids.items():
        for point in grid_points(name, grid):
            first = {axis: i == 0 for axis, i in zip(point.coordinates, point.index, strict=True)}
            if first.pop("t", True) and list(first.values()).count(False) <= 1:
                with at_point(point):
                    find(grid.quantity).check(point.parameters)
