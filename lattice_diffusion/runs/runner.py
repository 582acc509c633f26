"""Run a spec: every point of every grid on any executor, crash-safe, resumable, the same numbers every way.

Points are independent and own their random numbers, so neither the number of workers nor the order in which points end
changes the result. Points done go to a journal at once, and to the result file from time to time: HDF5 does not survive
a kill in the middle of a write. The journal holds every point of an unfinished result file, so that either of the two
is enough to go on.
"""

import contextlib
import functools
import json
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr
from numpy.typing import NDArray

from .. import __version__, results
from ..errors import InputError
from ..progress import Stop, asks_to_stop, duration, progress_bar, say
from ..store import Journal, check_output, check_same, journal_path
from ..threads import one_thread
from .executors import Costs, Engine, completed, open_engine, pilots
from .points import Point, Tables, derived, grid_points, n_points, points
from .quantities import evaluate, find
from .spec import Spec

CHECKPOINT_SECONDS = 30.0
CHECKPOINT_SHARE = 0.01  # of the time, at most, goes into checkpoints
_SCHEMA = "lattice_diffusion journal 1"


class Interrupted(KeyboardInterrupt):
    """Stopped by Ctrl-C or SIGTERM; what was measured is kept."""


class PointFailed(RuntimeError):
    """A point at which something broke; says which point, the cause is chained."""


class Measured(NamedTuple):
    """One point's values, and the seconds it took."""

    values: dict[str, NDArray]
    seconds: float


def run(
    spec: Spec,
    path: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    scheduler: str | None = None,
    workers: int = 1,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> xr.DataTree:
    """Measure every point of `spec`, write the result file `path`, and return the result.

    Args:
        executor: any `concurrent.futures` executor; without one, what `scheduler` says.
        scheduler: the address of a Dask scheduler, or "mpi"; without one, this process (`workers` = 1) or that
            many fresh processes of one thread each.
        workers: how many points are measured at a time; with an `executor`, how many it can take. A scheduler
            knows it itself.
        resume: go on with an unfinished `path`; a finished one is returned as it is.
        force: overwrite `path`.
        progress: say on stderr what it will cost, and show a bar there if it is a terminal.

    Raises InputError for what cannot be run, FileExistsError for an existing `path`, OSError for a disk that takes no
    more or a scheduler that is not there, PointFailed with the point's coordinates where a point breaks, Interrupted on
    Ctrl-C or SIGTERM, once the points under way have ended (at once on the second). In all these cases the points done
    are kept for `resume`.
    """
    path = Path(path)
    if workers < 1:
        raise InputError(f"workers must be >= 1, got {workers}")
    check_output(path, resume=resume, force=force)
    if resume and path.exists():
        finished = _read(path)
        if finished is not None:
            begun = json.loads(finished.attrs["parameters"]), finished.attrs["package_version"]
            check_same(path, *begun, json.loads(spec.to_json()))
            if finished.attrs["complete"]:
                if journal_path(path).exists():  # killed between the last two steps
                    with Journal(journal_path(path)) as journal:
                        journal.remove()
                return finished
    check_points(spec)
    engine_for = open_engine(executor, scheduler, min(workers, n_points(spec)))
    with asks_to_stop() as stop, engine_for as engine, Journal(journal_path(path)) as journal:
        task = _begin(spec, path, journal, resume=resume, force=force)
        try:
            task.measure_all(engine, stop, progress)
        except BaseException as error:
            if task.tables.n_done:
                with contextlib.suppress(OSError):  # the journal has everything
                    task.checkpoint(complete=False)
            else:
                journal.remove()
            if isinstance(error, KeyboardInterrupt):
                done = f"{task.tables.n_done} of {n_points(spec)}"
                raise Interrupted(f"stopped after {done} points; run again with --resume to go on") from None
            raise
        result = task.checkpoint(complete=True)
        journal.remove()
    return result


def check_points(spec: Spec) -> None:
    """Build model, solver, channel and partitions for every value of every axis, before computing anything."""
    for name, grid in spec.grids.items():
        empty: set[int] = set()
        for point in grid_points(name, grid):
            first = {axis: i == 0 for axis, i in zip(point.coordinates, point.index, strict=True)}
            if first.pop("t", True) and list(first.values()).count(False) <= 1:
                with _at_point(point):
                    find(grid.quantity).check(point)
                    if grid.quantity == "cmi":
                        empty |= {r for r, part in zip(point.radii, point.parts, strict=False) if not part.C.any()}
        if empty:
            say(f"{name}: C is empty at r = {', '.join(map(str, sorted(empty)))}, where the CMI is 0")


def measure_points(batch: list[Point], seed: int, version: str) -> list[Measured]:
    """Measure every point with its own random numbers, on one thread: what a worker does.

    Raises InputError where this is another version of the package.
    """
    if version != __version__:
        raise InputError(f"workers must have lattice_diffusion {version}, got {__version__}; install the same there")
    measured = []
    with one_thread():
        for point in batch:
            start = time.perf_counter()
            with _at_point(point):
                values = evaluate(replace(point), point.rng(seed))  # a copy keeps its model and solver for so long only
            measured.append(Measured(values, time.perf_counter() - start))
    return measured


@contextlib.contextmanager
def _at_point(point: Point) -> Iterator[None]:
    """Say at which point an error arose: user errors stay InputError, bugs become PointFailed."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{point}: {error}") from None
    except Exception as error:
        raise PointFailed(f"{point}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class _Task:
    """A run under way: what is left to measure and where measured values go."""

    spec: Spec
    path: Path
    journal: Journal
    tables: Tables
    attributes: dict[str, Any]
    todo: list[Point]
    costs: Costs = field(default_factory=Costs)

    def checkpoint(self, *, complete: bool) -> xr.DataTree:
        """Write the result file as it is now; a complete one with Markov lengths and peak times."""
        groups = self.tables.groups()
        if complete:
            for name, variables in groups.items():
                variables |= derived(xr.Dataset(variables), grid_points(name, self.spec.grids[name]))
        result = results.tree({**self.attributes, "complete": complete}, groups)
        with _says_what_is_kept(self.path):
            self.journal.sync()
            results.write(self.path, result)
        return result

    def measure_all(self, engine: Engine, stop: Stop, progress: bool) -> None:
        """Measure pilot points first, which tell the cost; then the others. Raises KeyboardInterrupt once stopped."""
        first, rest = pilots(self.todo, 1 + engine.width())
        todo, ahead = deque([*first, *rest]), {id(point) for point in first}
        work = functools.partial(measure_points, seed=self.spec.seed, version=__version__)
        next_checkpoint = 0.0  # an old file is overwritten only once there is something to put in its place
        told = not progress
        networks = any(grid.settings is not None for grid in self.spec.grids.values())
        with (
            one_thread(torch=networks) if engine.in_process else contextlib.nullcontext(),
            progress_bar(self.spec.name, len(self.todo), shown=progress) as advance,
        ):
            for batch, measured in completed(engine, self.costs.batches(todo, engine), work, stop):
                self._record(batch, measured)
                advance(len(batch))
                if not told:  # the first point was measured
                    told = True
                    known = f"{len(first)} of them first, which tell the cost" if rest else "too few to tell the cost"
                    say(f"{self.spec.name}: {len(self.todo)} points, {known}")
                if ahead:
                    ahead.difference_update(id(point) for point in batch)
                    if progress and rest and not ahead:
                        width = engine.width()
                        hands = "1 worker" if width == 1 else f"{width} workers"
                        cost = duration(self.costs.of(rest) / width)
                        say(f"{self.spec.name}: the other {len(rest)} points take about {cost} on {hands}")
                if time.monotonic() > next_checkpoint:
                    start = time.monotonic()
                    self.checkpoint(complete=False)
                    now = time.monotonic()
                    next_checkpoint = now + max(CHECKPOINT_SECONDS, (now - start) / CHECKPOINT_SHARE)
        if self.tables.n_done < n_points(self.spec):
            raise KeyboardInterrupt

    def _record(self, batch: list[Point], measured: list[Measured]) -> None:
        entries = [
            {"grid": point.grid, "index": point.index, "values": {name: x.tolist() for name, x in one.values.items()}}
            for point, one in zip(batch, measured, strict=True)
        ]
        with _says_what_is_kept(self.path):
            self.journal.append(entries)
        for point, one in zip(batch, measured, strict=True):
            self.tables.record(point.grid, point.index, one.values)
            self.costs.learn(point, one.seconds)


def _begin(spec: Spec, path: Path, journal: Journal, *, resume: bool, force: bool) -> _Task:
    """Return the run with everything filled in that an earlier one has measured, and all of that in the journal."""
    if path.exists() and not (resume or force):  # another run has ended meanwhile
        journal.remove()
        check_output(path)
    attributes = results.provenance(spec.name, spec.to_json(), spec.seed, complete=False)
    tables = Tables(spec)
    records = journal.records() if resume else iter(())
    header = next(records, None)
    unfinished = _read(path) if resume and path.exists() else None
    if unfinished is not None:
        attributes["created"] = unfinished.attrs["created"]
    if header is None:
        if resume and path.exists() and unfinished is None:
            results.load(path)  # damaged, and there is nothing to mend it with
        start = {"schema": _SCHEMA, "package_version": __version__, "created": attributes["created"]}
        with _says_what_is_kept(path):
            journal.clear()
            journal.append([{**start, "spec": json.loads(spec.to_json())}])
    else:
        if header.get("schema") != _SCHEMA:
            raise InputError(f"{journal.path} is not a journal of this version of lattice_diffusion; move it away")
        check_same(path, header["spec"], header["package_version"], json.loads(spec.to_json()))
        attributes["created"] = header["created"]
        for entry in records:
            tables.record(entry["grid"], tuple(entry["index"]), entry["values"])
        if path.exists() and unfinished is None:
            say(f"{path} is damaged; going on from its journal")
    if unfinished is not None:
        with _says_what_is_kept(path):
            journal.append(tables.restore(results.grids(unfinished)))
    todo = [point for point in points(spec) if not tables.has(point)]
    return _Task(spec, path, journal, tables, attributes, todo)


def _read(path: Path) -> xr.DataTree | None:
    """Return the result file; None for a damaged one beside its journal, which has everything."""
    try:
        return results.load(path)
    except results.ResultError:
        if not journal_path(path).exists():
            raise
        return None


@contextlib.contextmanager
def _says_what_is_kept(path: Path) -> Iterator[None]:
    """Say in one sentence that the disk takes no more, with the remedy."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(
            f"{path} cannot be written: {why}; the points done are kept: make room and run again with --resume"
        ) from error
