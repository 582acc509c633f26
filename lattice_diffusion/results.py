"""Result files: one HDF5 file per run, read and written as an xarray DataTree with one node per grid.

The root attributes say what was run and by which code (schema, versions, git commit, parameters as JSON, seed,
whether the file is complete). Every variable has `units` and `long_name`, and the standard error of `x` is `x_stderr`.
The node `table` holds the measured numbers beside their analytic values, one `Row` each, and what kind of comparison
each is, one of `KINDS`. `run` adds to every grid of CMI curves over t

    markov_length, markov_length_stderr, markov_length_p_value      at every t, sites; NaN: no exponential window
    peak_time, peak_time_stderr                                     at every radius; NaN: not bracketed by the times

(see `runs.points`).
"""

import contextlib
import json
import math
import os
import subprocess
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import h5py
import numpy as np
import xarray as xr

from . import __version__, hdf5
from .errors import InputError
from .estimate import Estimate
from .store import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "lattice_diffusion"
SCHEMA_VERSION = 1
TABLE = "table"
LAZY_BYTES = 2**28  # files with more than this are read from disk when a variable is looked at
KINDS = {  # of comparison, and what is expected of each; only "exact" rows count in a summary
    "exact": "the values must agree within the error",
    "asymptotic": "the values agree for large systems, late times or many steps; a finite distance is expected",
    "literature": "the value is a published or conjectured one, compared at finite size",
    "learned": "a trained network is compared with the exact answer; an excess is expected",
    "none": "there is no analytic value",
}
PROVENANCE = ("name", "package_version", "parameters", "seed", "complete")  # attributes of every result file
Variables = Mapping[Any, Any]  # arrays by name, or an xarray Dataset


class ResultError(InputError):
    """A file that is not a readable result file; the message is one sentence."""


@dataclass(frozen=True)
class Row:
    """One measured number beside its analytic value (None where there is none), the value's source, one of `KINDS`.

    `log_snr` is the noise at which it was measured, or which it is; None where there is none or it has no snr.
    """

    experiment: str
    quantity: str
    analytic: float | None
    value: float
    stderr: float
    source: str
    kind: str = "none"
    log_snr: float | None = None

    @property
    def z(self) -> float | None:
        """(value - analytic) / stderr; None without an analytic value or without an error."""
        if self.analytic is None or not self.stderr > 0:
            return None
        return (self.value - self.analytic) / self.stderr


class Result(xr.DataTree):
    """The DataTree of a result, one node a grid, which can be drawn and written as a page."""

    __slots__ = ()

    def plot(self) -> "Figure":
        """Return the figure of the study, probe or hybrid that the result is of, or else a map of its CMI."""
        from .studies.reproduce import figure_of

        return figure_of(self)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one static HTML page with the figures, tables and parameters of the result."""
        from .images.page import write_page

        write_page(self, path)


def variable(dims: Hashable | Sequence[Hashable], values: Any, units: str, long_name: str) -> xr.Variable:
    """Return an array with named axes; `units` is "nat", "sites", ... or "1"."""
    values = np.asarray(values)
    if values.dtype.kind == "U":
        values = values.astype(object)
    return xr.Variable(dims, values, {"units": units, "long_name": long_name})


def estimates(
    dims: Sequence[Hashable],
    name: str,
    found: Sequence[Estimate | None],
    units: str,
    long_name: str,
    shape: tuple[int, ...] = (-1,),
) -> dict[str, xr.Variable]:
    """Return the variables `name` and `name_stderr` of estimates; NaN for None."""
    numbers = np.array([(np.nan, np.nan) if e is None else (e.value, e.stderr) for e in found]).reshape(*shape, 2)
    return with_stderr(name, dims, numbers[..., 0], numbers[..., 1], units, long_name)


def with_stderr(
    name: str, dims: Sequence[Hashable], values: Any, stderr: Any, units: str, long_name: str
) -> dict[str, xr.Variable]:
    """Return the variables `name` and `name_stderr`."""
    return {
        name: variable(tuple(dims), values, units, long_name),
        f"{name}_stderr": variable(tuple(dims), stderr, units, f"standard error of {name}"),
    }


def tree(attributes: Mapping[str, Any], groups: Mapping[str, Variables], rows: Iterable[Row] = ()) -> Result:
    """Return a result from its root attributes, the variables of every node, and its table."""
    nodes = {f"/{name}": xr.Dataset(dict(variables)) for name, variables in groups.items()}
    rows = list(rows)
    if rows:
        columns = [list(column) for column in zip(*map(astuple, rows), strict=True)]
        table = {}
        for field, values in zip(fields(Row), columns, strict=True):
            text = isinstance(values[0], str)
            array = np.array(values, object) if text else np.array(values, float)  # None becomes NaN
            table[field.name] = variable("row", array, "1", _COLUMNS[field.name])
        nodes[f"/{TABLE}"] = xr.Dataset({"row": variable("row", range(len(rows)), "1", "row of the table"), **table})
    return Result.from_dict({"/": xr.Dataset(attrs=dict(attributes)), **nodes})


_COLUMNS = {
    "experiment": "experiment",
    "quantity": "measured quantity",
    "analytic": "analytic value, NaN where there is none",
    "value": "measured value",
    "stderr": "standard error of the measured value",
    "source": "source of the analytic value",
    "kind": "kind of comparison: exact, asymptotic, literature, learned or none",
    "log_snr": "log snr of the noise, NaN where there is none",
}


_OPTIONAL = ("analytic", "log_snr")  # columns of which NaN is None


def grids(result: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the measured grids of a result by name, without its table."""
    return {name: node.to_dataset() for name, node in result.children.items() if name != TABLE}


def rows(result: xr.DataTree) -> list[Row]:
    """Return the table of measured numbers beside analytic values; empty where there is none."""
    if TABLE not in result.children:
        return []
    table = result.children[TABLE].to_dataset()
    names = [field.name for field in fields(Row) if field.name in table or field.default is MISSING]
    found = []
    for line in zip(*(table[name].values.tolist() for name in names), strict=True):
        row: dict[str, Any] = dict(zip(names, line, strict=True))
        found.append(Row(**{**row, **{name: None for name in _OPTIONAL if name in row and math.isnan(row[name])}}))
    return found


def provenance(name: str, parameters: str, seed: int, *, complete: bool) -> dict[str, str | int | bool]:
    """Return the root attributes: what was run (`parameters`: JSON, defaults resolved), when, and by which code."""
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
    """Return the commit of the source tree, with "-dirty" where it has changes; "unknown" outside a git checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # an installed package inside someone else's repository is not of that commit
        return "unknown"
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip() or "unknown"


def write(path: str | os.PathLike[str], result: xr.DataTree) -> None:
    """Write `result` to `path` in one step: a reader or a crash sees the old file or the new one, never half.

    Raises InputError for what could not be read again, OSError where the folder cannot be written to.
    """
    path = Path(path)
    # HDF5 does not recover from a full disk: it works in memory, and plain bytes are written.
    # It knows what it works on by its name, in all threads of the process.
    with h5py.File(uuid4().hex, "w", driver="core", backing_store=False, track_order=True) as file:
        file.attrs.update(result.attrs)
        for name, node in result.children.items():
            if node.children:
                raise InputError(f"a grid must have a name without '/', got '{name}/{next(iter(node.children))}'")
            _write_group(file.create_group(name, track_order=True), node.to_dataset())
        file.flush()
        image = file.id.get_file_image()
    try:
        with atomic_write(path, path.with_name(path.name + ".part")) as partial:
            partial.write_bytes(image)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _write_group(group: h5py.Group, dataset: xr.Dataset) -> None:
    coordinates = {
        name: dataset.variables.get(name, variable(name, range(size), "1", f"index along {name}"))
        for name, size in dataset.sizes.items()
    }
    for name, array in {**coordinates, **dataset.variables}.items():
        if array.dtype.kind not in "buifOUT":
            raise InputError(f"{name} must hold real numbers or text, got {array.dtype}")
        if not str(name).isprintable() or "/" in str(name) or str(name) in ("", "."):
            raise InputError(f"variables and axes must have names of printable characters without '/', got {name!r}")
        text = array.dtype.kind in "OUT"
        values = np.asarray(array.values, object) if text else array.values
        group.create_dataset(str(name), data=values, dtype=h5py.string_dtype("utf-8") if text else None)
        group[str(name)].attrs.update(array.attrs)
    for name in coordinates:
        group[str(name)].make_scale(str(name))
    for name, array in dataset.variables.items():
        if name not in coordinates:
            for axis, dim in enumerate(array.dims):
                group[str(name)].dims[axis].attach_scale(group[str(dim)])


def load(path: str | os.PathLike[str]) -> Result:
    """Return the result in a file, a DataTree of one node a grid; large arrays stay on disk until they are looked at.

    Raises FileNotFoundError or IsADirectoryError for no file, ResultError (an InputError) for a truncated or
    foreign one. Files of others are read as plain numbers and text: see `hdf5`.
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
    try:
        with file:
            _check_schema(file, path)
            n_bytes = hdf5.check_tree(file)
            _check_described(file, path)
            if not isinstance(json.loads(str(file.attrs["parameters"])), dict):
                raise ValueError("the parameters are not a JSON object")
        found = xr.open_datatree(path, engine="h5netcdf", decode_cf=False, phony_dims="access")
        nodes = {name: node.to_dataset() for name, node in found.children.items()}
        if n_bytes <= LAZY_BYTES:
            with found:  # node by node: DataTree.load leaves out variables that have the name of a node
                nodes = {name: node.load() for name, node in nodes.items()}
        attributes = {name: x.item() if isinstance(x, np.generic) else x for name, x in found.attrs.items()}
        result = Result.from_dict({"/": xr.Dataset(attrs=attributes), **nodes})
        rows(result)
    except ResultError:
        raise
    except hdf5.UntrustedError as error:
        raise ResultError(f"{path} is not read: {error}") from None
    except _BROKEN as error:
        raise ResultError(f"{path} is damaged: it starts like a result file but cannot be read on") from error
    return result


# what HDF5, xarray and a file's own contents raise where they are not what was written
_BROKEN = (OSError, KeyError, AttributeError, RuntimeError, ValueError, TypeError, IndexError, OverflowError)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise ResultError where the result file `path` lacks what the block reads from it."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, StopIteration, ArithmeticError, ValueError, TypeError) as error:
        what = error if isinstance(error, KeyError) else type(error).__name__
        raise ResultError(
            f"{path} lacks what its figure shows ({what}): it is unfinished, or was made by other means"
        ) from error


def _check_described(file: h5py.File, path: Path) -> None:
    for array in (array for group in file.values() for array in group.values()):
        lacking = [word for word in ("units", "long_name") if word not in array.attrs]
        lacking += [f"named axis {k}" for k, dim in enumerate(array.dims) if not (len(dim) or array.is_scale)]
        if lacking:
            raise ResultError(f"{path} is damaged: {array.name.lstrip('/')} has no {lacking[0]}")


def _check_schema(file: h5py.File, path: Path) -> None:
    if "schema" not in file.attrs or hdf5.attribute(file, "schema") != SCHEMA:
        raise ResultError(f"{path} is an HDF5 file, but not written by lattice_diffusion: it has no such schema name")
    version = hdf5.attribute(file, "schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        reads = f"this lattice_diffusion reads 1 to {SCHEMA_VERSION}; use a newer one"
        raise ResultError(f"{path} has schema version {version}, {reads}")
    lacking = [name for name in PROVENANCE if name not in file.attrs]
    if lacking:
        raise ResultError(f"{path} does not say {', '.join(lacking)}, as every result file does; it is damaged")
