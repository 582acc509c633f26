"""Result files: one HDF5 file per experiment, one group per grid, named axes, units everywhere, no pickles.

Root attributes say what was run and by which code (schema, versions, git commit, parameters as JSON, seed,
whether the file is complete). Coordinates are dimension scales, so that
`xarray.open_datatree(path, engine="h5netcdf")` opens the file. The group `table` holds the measured numbers
beside their analytic values, one `Row` each.
"""

import json
import math
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import __version__, hdf5
from .errors import InputError, shown
from .store import replacing

SCHEMA = "lattice_diffusion"
SCHEMA_VERSION = 1
TABLE = "table"
MAPPED_BYTES = 2**28
PROVENANCE = ("name", "package_version", "parameters", "seed", "complete")  # without which no file is read
_TEXT = h5py.string_dtype("utf-8")


class ResultError(InputError):
    """A file that is not a readable result file; the message is one sentence."""


@dataclass(frozen=True)
class Variable:
    """An array with named axes, one per name in `dims`; a coordinate has `dims == (its own name,)`.

    `values` are floats, integers or strings (object array). `units` is "nat", "sites", ... or "1".
    Raises ValueError where the number of axes and of names differ.
    """

    dims: tuple[str, ...]
    values: Any
    units: str
    long_name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(self.dims))
        try:
            object.__setattr__(self, "values", np.asarray(self.values))
        except ValueError:
            raise InputError(f"values must be an array, all rows of one length, got {shown(self.values)}") from None
        if self.values.ndim != len(self.dims):
            raise InputError(f"values must have one axis per name in dims {self.dims}, got {self.values.ndim} axes")


@dataclass(frozen=True)
class Row:
    """One measured number beside its analytic value (None where there is none) and where that comes from."""

    experiment: str
    quantity: str
    analytic: float | None
    value: float
    stderr: float
    source: str

    @property
    def z(self) -> float | None:
        """(value - analytic) / stderr; None without an analytic value or without an error."""
        if self.analytic is None or not self.stderr > 0:
            return None
        return (self.value - self.analytic) / self.stderr


@dataclass(frozen=True)
class Result:
    """Everything in one result file: root attributes, variables per group, and the table."""

    attributes: dict[str, Any]
    groups: dict[str, dict[str, Variable]]
    rows: list[Row] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True when every point of every grid has been measured."""
        return bool(self.attributes.get("complete", False))


def provenance(name: str, parameters: str, seed: int, *, complete: bool) -> dict[str, str | int | bool]:
    """Root attributes: what was run (`parameters`: JSON, defaults resolved), when, and by which code."""
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "package_version": __version__,
        "git_commit": git_commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parameters": parameters,
        "seed": str(seed),
        "complete": complete,
    }


def git_commit() -> str:
    """Commit of the source tree, "-dirty" appended where it has changes; "unknown" outside a git checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # an installed package inside someone else's repository is not of that commit
        return "unknown"
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip() or "unknown"


def write(path: str | os.PathLike[str], result: Result) -> None:
    """Write `result` to `path` in one step: a reader or a crash sees the old file or the new one, never half.

    Raises OSError where the folder cannot be written to, ValueError where variables disagree on a dimension.
    """
    path = Path(path)
    # HDF5 does not recover from a full disk: it works in memory, and plain bytes are written.
    with h5py.File(path.name, "w", driver="core", backing_store=False, track_order=True) as file:
        file.attrs.update(result.attributes)
        for name, variables in result.groups.items():
            _write_group(file.create_group(name, track_order=True), variables)
        if result.rows:
            _write_group(file.create_group(TABLE, track_order=True), _table(result.rows))
        file.flush()
        image = file.id.get_file_image()
    try:
        with replacing(path, path.with_name(path.name + ".part")) as partial:
            partial.write_bytes(image)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def read(path: str | os.PathLike[str]) -> Result:
    """Read a result file.

    Raises FileNotFoundError or IsADirectoryError for no file, ResultError (a ValueError) for a truncated or
    foreign one.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a result file (.h5)")
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        file = h5py.File(path, "r")
    except PermissionError:
        raise
    except OSError as error:
        raise ResultError(f"{path} is not a readable HDF5 file: it is truncated or of another kind") from error
    with file:
        try:
            _check_schema(file, path)
            attributes = {name: hdf5.attribute(file, name) for name in file.attrs}
            room = hdf5.Room()
            groups = {name: _read_group(hdf5.member(file, name), room) for name in file}
            rows = _rows(groups.pop(TABLE, {}))
            if not isinstance(json.loads(str(attributes["parameters"])), dict):
                raise InputError("parameters are no table")
        except ResultError:
            raise
        except hdf5.UntrustedError as error:
            raise ResultError(f"{path} is not read: {error}") from None
        except _BROKEN as error:
            raise ResultError(f"{path} is damaged: it starts like a result file but cannot be read on") from error
    return Result(attributes, groups, rows)


# what HDF5 and a file's own contents raise where they are not what was written
_BROKEN = (OSError, KeyError, AttributeError, RuntimeError, ValueError, TypeError, IndexError, OverflowError)


def _check_schema(file: h5py.File, path: Path) -> None:
    if "schema" not in file.attrs or hdf5.attribute(file, "schema") != SCHEMA:
        raise ResultError(f"{path} is an HDF5 file, but not written by lattice_diffusion: it has no such schema name")
    version = hdf5.attribute(file, "schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise ResultError(
            f"{path} has schema version {version}, and this lattice_diffusion {__version__} reads 1 to "
            f"{SCHEMA_VERSION}; use a newer one"
        )
    lacking = [name for name in PROVENANCE if name not in file.attrs]
    if lacking:
        raise ResultError(f"{path} does not say {', '.join(lacking)}, as every result file does; it is damaged")


def _write_group(group: h5py.Group, variables: Mapping[str, Variable]) -> None:
    sizes: dict[str, int] = {}
    for name, variable in variables.items():
        for dim, size in zip(variable.dims, variable.values.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise InputError(f"{group.name}/{name} has {size} values along {dim}, other variables {sizes[dim]}")
        text = variable.values.dtype.kind in "OU"
        dataset = group.create_dataset(name, data=variable.values, dtype=_TEXT if text else None)
        dataset.attrs["units"] = variable.units
        dataset.attrs["long_name"] = variable.long_name
    for dim, size in sizes.items():
        if dim not in group:
            dataset = group.create_dataset(dim, data=np.arange(size))
            dataset.attrs["units"], dataset.attrs["long_name"] = "1", f"index along {dim}"
        group[dim].make_scale(dim)
    for name, variable in variables.items():
        for axis, dim in enumerate(variable.dims):
            if name != dim:
                group[name].dims[axis].attach_scale(group[dim])


def _read_group(group: h5py.Group, room: hdf5.Room) -> dict[str, Variable]:
    variables = {}
    for name in group:
        dataset = hdf5.member(group, name)
        dims = (name,) if dataset.is_scale else tuple(Path(axis[0].name).name for axis in dataset.dims)
        units, long_name = (str(hdf5.attribute(dataset, key)) for key in ("units", "long_name"))
        variables[name] = Variable(dims, _values(dataset, room), units, long_name)
    return variables


def _values(dataset: h5py.Dataset, room: hdf5.Room) -> NDArray:
    """Large contiguous arrays, such as samples, stay on disk until they are looked at."""
    place = dataset.id.get_offset()
    if place is None or dataset.nbytes < MAPPED_BYTES:
        return hdf5.values(dataset, room)
    return np.memmap(dataset.file.filename, dataset.dtype, "r", place, dataset.shape)


_COLUMNS = {
    "experiment": "experiment",
    "quantity": "measured quantity",
    "analytic": "analytic value, NaN where there is none",
    "value": "measured value",
    "stderr": "standard error of the measured value",
    "source": "where the analytic value comes from",
}


def _table(rows: list[Row]) -> dict[str, Variable]:
    def column(name: str) -> ArrayLike:
        values = [getattr(row, name) for row in rows]
        if name in ("analytic", "value", "stderr"):
            return np.array([math.nan if value is None else value for value in values], dtype=float)
        return np.array(values, dtype=object)

    index = Variable(("row",), np.arange(len(rows)), "1", "row of the table")
    columns = {
        name: Variable(("row",), np.asarray(column(name)), "1", long_name) for name, long_name in _COLUMNS.items()
    }
    return {"row": index, **columns}


def _rows(table: Mapping[str, Variable]) -> list[Row]:
    if not table:
        return []
    columns = [table[name].values.tolist() for name in _COLUMNS]
    return [
        Row(experiment, quantity, None if math.isnan(analytic) else analytic, value, stderr, source)
        for experiment, quantity, analytic, value, stderr, source in zip(*columns, strict=True)
    ]
