"""Run a spec: every point of every grid on any executor, crash-safe, resumable, the same numbers every way.

Points are independent and own their random numbers, so neither the number of workers nor the order in which
points end changes the result. Points done go to a journal at once and to the result file from time to time.
"""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from .. import results
from ..results import Result
from .checks import check_output, check_points, check_same
from .grid import Point, n_points, points
from .journal import Journal, journal_path
from .pool import InProcess, process_pool
from .progress import duration, progress_bar, say
from .quantities import evaluate
from .refusal import at_point
from .spec import Spec
from .tables import Tables

CHECKPOINT_SECONDS = 30.0


class Interrupted(KeyboardInterrupt):
    """Stopped by Ctrl-C or SIGTERM; what was measured is kept."""


class _Measured(NamedTuple):
    point: Point
    values: dict[str, NDArray]
    seconds: float


def run(
    spec: Spec,
    path: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    workers: int = 1,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> Result:
    """Measure every point of `spec` and write the result file `path`.

    Args:
        executor: any `concurrent.futures` executor; without one, this process (`workers` = 1) or that many
            fresh processes of one thread each.
        workers: how many points are measured at a time; with an `executor`, how many it can take.
        resume: go on with an unfinished `path`; a finished one is returned as it is.
        force: overwrite `path`.
        progress: say on stderr what it will cost, and show a bar there if it is a terminal.

    Raises SpecError or PointRefused (ValueErrors, one sentence) for what cannot be run, FileExistsError for
    an existing `path`, PointFailed with the point's coordinates where a point breaks, Interrupted on Ctrl-C
    or SIGTERM; in the last two cases the points done are kept for `resume`.
    """
    path = Path(path)
    if workers < 1:
        raise ValueError(f"workers must be >= 1, got {workers}")
    if resume and force:
        raise ValueError("resume goes on with a file and force overwrites it; give one of the two")
    check_output(path, resume=resume, force=force)
    if resume and path.exists():
        finished = results.read(path)
        check_same(path, finished.attributes["parameters"], finished.attributes["package_version"], spec)
        if finished.complete:
            if journal_path(path).exists():  # killed between the last two steps
                with Journal(path) as journal:
                    journal.remove()
            return finished
    check_points(spec)
    with Journal(path) as journal:
        task = _begin(spec, path, journal, resume=resume, force=force)
        try:
            with (
                _sigterm_interrupts(),
                process_pool(workers) if executor is None else _open(executor) as pool,
            ):
                task.measure_all(pool, workers, progress)
        except BaseException as error:
            if task.tables.n_done:
                task.checkpoint(complete=False)
            else:
                journal.remove()
            if isinstance(error, KeyboardInterrupt):
                done = f"{task.tables.n_done} of {task.n_points}"
                raise Interrupted(f"stopped after {done} points; run again with --resume to go on") from None
            raise
        result = task.checkpoint(complete=True)
        journal.remove()
    return result


@dataclass(frozen=True)
class _Task:
    """A run under way: what is left to measure and where measured values go."""

    spec: Spec
    path: Path
    journal: Journal
    tables: Tables
    attributes: dict[str, Any]
    todo: list[Point]

    @property
    def n_points(self) -> int:
        return n_points(self.spec)

    def checkpoint(self, *, complete: bool) -> Result:
        """Write the result file as it is now."""
        result = Result({**self.attributes, "complete": complete}, self.tables.groups())
        self.journal.sync()
        results.write(self.path, result)
        return result

    def measure_all(self, pool: Executor, workers: int, progress: bool) -> None:
        """Pilot points first, which tell the cost; then the others."""
        pilots, rest = _pilots(self.todo, 1 + workers)
        limit = 1 if isinstance(pool, InProcess) else 3 * workers
        seconds: dict[str, float] = {}
        next_checkpoint = 0.0  # an old file is overwritten only once there is something to put in its place
        with progress_bar(self.spec.name, len(self.todo), shown=progress) as advance:
            for batch in (pilots, rest):
                if batch is rest and progress:
                    cost = duration(sum(seconds[_cost_class(point)] for point in rest) / workers)
                    hands = "1 worker" if workers == 1 else f"{workers} workers"
                    say(f"{self.spec.name}: {len(self.todo)} points, about {cost} on {hands}")
                for point, values, took in _completed(pool, batch, self.spec.seed, limit):
                    self.journal.append(point.grid, point.index, values)
                    self.tables.record(point.grid, point.index, values)
                    kind = _cost_class(point)
                    seconds[kind] = min(took, seconds.get(kind, took))
                    advance()
                    if time.monotonic() > next_checkpoint:
                        self.checkpoint(complete=False)
                        next_checkpoint = time.monotonic() + CHECKPOINT_SECONDS


def _begin(spec: Spec, path: Path, journal: Journal, *, resume: bool, force: bool) -> _Task:
    """The run with everything filled in that an earlier one has measured."""
    try:
        check_output(path, resume=resume, force=force, ours=True)  # another run may have ended meanwhile
    except OSError:
        journal.remove()
        raise
    parameters = spec.to_json()
    attributes = results.provenance(spec.name, parameters, spec.seed, complete=False)
    tables = Tables(spec)
    header = journal.header() if resume else None
    if resume and path.exists():
        unfinished = results.read(path)
        tables.restore(unfinished.groups)
        attributes["created"] = unfinished.attributes["created"]
    if header is None:
        journal.start(json.loads(parameters), str(attributes["created"]))
    else:
        check_same(path, json.dumps(header["spec"]), header["package_version"], spec)
        attributes["created"] = header["created"]
        for grid, index, values in journal.entries():
            tables.record(grid, index, values)
    todo = [point for point in points(spec) if not tables.has(point)]
    return _Task(spec, path, journal, tables, attributes, todo)


def _pilots(todo: list[Point], number: int) -> tuple[list[Point], list[Point]]:
    """`number` points of every grid and lattice size, and the rest.

    With one more than there are workers, one of them at least is not slowed down by compilation.
    """
    classes: dict[str, list[Point]] = {}
    for point in todo:
        classes.setdefault(_cost_class(point), []).append(point)
    pilots = [point for kind in classes.values() for point in kind[:: -(-len(kind) // number)]]
    chosen = {id(point) for point in pilots}
    return pilots, [point for point in todo if id(point) not in chosen]


def _cost_class(point: Point) -> str:
    model = point.parameters["model"]
    return f"{point.grid} {model.get('shape', model.get('regions'))}"


def _completed(pool: Executor, todo: Iterable[Point], seed: int, limit: int) -> Iterator[_Measured]:
    """Measured points as they end, with at most `limit` handed to the executor at a time."""
    pending: set[Future[_Measured]] = set()
    for point in todo:
        pending.add(pool.submit(measure_point, point, seed))
        if len(pending) >= limit:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


def measure_point(point: Point, seed: int) -> _Measured:
    """What a worker does: one point, with its own random numbers, and how many seconds it took."""
    start = time.perf_counter()
    with at_point(point):
        values = evaluate(point.parameters, point.rng(seed))
    return _Measured(point, values, time.perf_counter() - start)


@contextlib.contextmanager
def _open(executor: Executor) -> Iterator[Executor]:
    """A caller's executor, which stays theirs to shut down."""
    yield executor


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM, as batch systems send it, stops a run like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
