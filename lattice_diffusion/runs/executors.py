"""What measures points: this process, a pool of processes, a Dask cluster, the ranks of an MPI job, or a caller's own.

    lattice-diffusion run SPEC.toml --out FILE.h5 --workers 8
    lattice-diffusion run SPEC.toml --out FILE.h5 --scheduler tcp://10.0.0.1:8786
    mpiexec -n 65 python -m mpi4py.futures -m lattice_diffusion run SPEC.toml --out FILE.h5 --scheduler mpi

One process dispatches points and writes; the others only compute, and need this package but no common disk.
`completed` hands work to any of them and yields the answers as they come; `Costs` learns how long points take, so that
cheap ones go out in batches.
"""

import asyncio
import contextlib
import itertools
import logging
import multiprocessing
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

from ..errors import InputError
from ..progress import Stop, say, signals_held
from ..threads import ONE_THREAD, start_worker
from .points import Point

CONNECT_SECONDS = 5.0
COUNT_SECONDS = 5.0  # between two looks at how many workers a cluster has
BATCH_SECONDS = 0.2  # cheap points go out in batches that take about so long,
BATCHES_PER_SECOND = 200  # or longer, for a scheduler to receive no more than so many,
BATCH_POINTS = 1000  # and never of more points than this
Work = TypeVar("Work")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Engine:
    """An executor, and what `concurrent.futures` does not say about it.

    Attributes:
        executor: does the work.
        width: how many pieces of work it does at a time, now.
        tells_running: whether a future can be cancelled exactly until it runs; Dask's would be torn out of work.
    """

    executor: Executor
    width: Callable[[], int]
    tells_running: bool = True

    @property
    def in_process(self) -> bool:
        return isinstance(self.executor, InProcess)


class InProcess(Executor):
    """Runs what is submitted at once, here."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextlib.contextmanager
def open_engine(executor: Executor | None, scheduler: str | None, workers: int) -> Iterator[Engine]:
    """Yield a caller's executor, which stays theirs to shut down; what `scheduler` names; else `workers` processes.

    Raises InputError for a malformed scheduler or a missing extra, ConnectionError (an OSError) where none answers
    within seconds, or where it goes away later.
    """
    if executor is not None:
        if scheduler is not None:
            raise InputError("points are measured by an executor or through a scheduler, got both; give one")
        yield Engine(executor, lambda: workers)
    elif scheduler is None:
        with process_pool(workers) as pool:
            yield Engine(pool, lambda: workers)
    elif scheduler == "mpi":
        with _mpi() as engine:
            yield engine
    elif scheduler.startswith(("tcp://", "tls://")):
        with _dask(scheduler) as engine:
            yield engine
    else:
        raise InputError(f"scheduler must be tcp://HOST:PORT of a Dask scheduler, tls://.. or mpi, got {scheduler!r}")


# -- dispatch ------------------------------------------------------------------------------------------------


def completed(
    engine: Engine, pieces: Iterator[Work], work: Callable[[Work], Answer], stop: Stop
) -> Iterator[tuple[Work, Answer]]:
    """Yield every piece with `work(piece)`, in the order they end.

    A few more are submitted than are worked on, so that no worker waits for the next one. `pieces` is asked for the
    next one only when it can be submitted. Once `stop` is asked, only what is under way comes back.
    """
    ended: SimpleQueue[Future[Answer] | None] = SimpleQueue()
    under_way: dict[Future[Answer], Work] = {}
    stop.wake = lambda: ended.put(None)  # a SimpleQueue may be filled by a signal handler
    more = True
    while more or under_way:
        width = engine.width()
        at_once = 1 if engine.in_process else width + max(2, width // 8)
        while more and not stop.asked and len(under_way) < at_once:
            for piece in pieces:
                future = engine.executor.submit(work, piece)
                under_way[future] = piece
                future.add_done_callback(ended.put)
                break
            else:
                more = False
        if stop.asked:
            more = False
            if engine.tells_running:
                for future in list(under_way):
                    if future.cancel():
                        del under_way[future]
        if under_way and (done := ended.get()) in under_way:
            assert done is not None
            yield under_way.pop(done), done.result()


# -- batches -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """Seconds by kind of point (grid and lattice size), the least that one has taken."""

    seconds: dict[str, float] = field(default_factory=dict)

    def learn(self, point: Point, seconds: float) -> None:
        """Take over what a point took."""
        self.seconds[_kind(point)] = min(seconds, self.of([point]))

    def of(self, points: Iterable[Point]) -> float:
        """Return what points take together; infinity where one of its kind is still to be measured."""
        return sum(self.seconds.get(_kind(point), float("inf")) for point in points)

    def batches(self, todo: deque[Point], engine: Engine) -> Iterator[list[Point]]:
        """Yield points to submit together: one by one while their cost is unknown, or where they are measured here."""
        while todo:
            width = engine.width()
            seconds = max(BATCH_SECONDS, width / BATCHES_PER_SECOND)
            most = 1 if engine.in_process else min(BATCH_POINTS, 1 + len(todo) // (4 * width))
            batch = [todo.popleft()]
            cost = self.of(batch)
            while todo and len(batch) < most and (cost := cost + self.of([todo[0]])) <= seconds:
                batch.append(todo.popleft())
            yield batch


def pilots(todo: list[Point], number: int) -> tuple[list[Point], list[Point]]:
    """Return `number` points of every kind, which tell the cost, and the rest.

    With one more than there are workers, one of them at least is not slowed down by compilation. Kinds take turns, so
    that workers that begin at the same time compile different kernels, and find each other's.
    """
    kinds: dict[str, list[Point]] = {}
    for point in todo:
        kinds.setdefault(_kind(point), []).append(point)
    turns = itertools.zip_longest(*(kind[:: -(-len(kind) // number)] for kind in kinds.values()))
    chosen = [point for turn in turns for point in turn if point is not None]
    taken = {id(point) for point in chosen}
    return chosen, [point for point in todo if id(point) not in taken]


def _kind(point: Point) -> str:
    model = point.parameters["model"]
    return f"{point.grid} {model.get('shape', model.get('regions'))}"


# -- processes -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def process_pool(workers: int) -> Iterator[Executor]:
    """Yield an executor of `workers` single-threaded processes, `InProcess` for one.

    The processes leave Ctrl-C and SIGTERM, which a terminal or a batch system sends to all, to this one. Raises
    ChildProcessError (an OSError) where a worker dies, as when memory runs out.
    """
    if workers == 1:
        yield InProcess()
        return
    context = multiprocessing.get_context("spawn")  # forking a process with threads is not safe
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)
    try:
        with signals_held():
            for _ in range(workers):  # a process is started for each
                pool.submit(os.getpid)
        yield pool
    except BaseException as error:
        for process in list((pool._processes or {}).values()):
            process.kill()  # a second Ctrl-C, or no use for what they are doing
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise ChildProcessError(
                "a worker process died, perhaps for want of memory; the points done are kept: "
                "run again with --resume and fewer --workers"
            ) from error
        raise
    pool.shutdown()


# -- clusters ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Engine]:
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise InputError(
            f"--scheduler {address} needs Dask, which is not installed; pip install 'lattice-diffusion[cluster]'"
        ) from None
    _check_listening(address)
    try:
        # A client that fails to connect hangs up for long, so another one looks first, in a thread of its own: this
        # one may run an event loop already, as that of a notebook does.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, asyncio.wait_for(_shake_hands(address), CONNECT_SECONDS)).result()
        client: Any = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {address}, though something listens there; check the address"
        ) from error
    log = logging.getLogger("distributed.client")  # that the scheduler goes away is said below
    with client, contextlib.ExitStack() as last:
        last.callback(setattr, log, "disabled", log.disabled)
        log.disabled = True
        width = _now_and_then(lambda: sum(client.nthreads().values()))
        if not width():
            say(f"the scheduler at {address} has no workers yet; waiting for them")
        try:
            yield Engine(client.get_executor(pure=False), lambda: max(1, width()), tells_running=False)
        except (CancelledError, OSError) as error:
            if client.status == "running" and not isinstance(error, CancelledError):
                raise
            raise ConnectionError(
                f"the scheduler at {address} went away; the points done are kept: run again with --resume"
            ) from error
        except KilledWorker as error:
            raise ChildProcessError(
                "several workers died of one point, perhaps for want of memory; the points done are kept: "
                "run again with --resume on larger workers"
            ) from error


async def _shake_hands(address: str) -> None:
    from distributed.comm.core import connect
    from distributed.security import Security

    comm = await connect(address, timeout=CONNECT_SECONDS, **Security().get_connection_args("client"))
    await comm.close()


def _check_listening(address: str) -> None:
    host, _, port = address.partition("://")[2].rpartition(":")
    if not (host and port.isdecimal() and int(port) < 2**16):
        raise InputError(f"scheduler must look like tcp://10.0.0.1:8786, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror
        raise ConnectionError(
            f"no scheduler at {address}: {reason}; start one with `dask scheduler`, or check the address"
        ) from None


def _now_and_then(count: Callable[[], int]) -> Callable[[], int]:
    """Return `count`, asked again only every few seconds, as every answer is a trip over the network."""
    last, asked = 0, -COUNT_SECONDS

    def recent() -> int:
        nonlocal last, asked
        if time.monotonic() - asked >= COUNT_SECONDS or not last:
            last, asked = count(), time.monotonic()
        return last

    return recent


@contextlib.contextmanager
def _mpi() -> Iterator[Engine]:
    how = "mpiexec -n N python -m mpi4py.futures -m lattice_diffusion run .."
    try:
        from mpi4py import MPI
        from mpi4py.futures import MPIPoolExecutor, _core
    except (ImportError, RuntimeError):  # no mpi4py, or no MPI library under it
        raise InputError("--scheduler mpi needs mpi4py and MPI itself; pip install 'lattice-diffusion[mpi]'") from None
    ranks = MPI.COMM_WORLD.Get_size()
    if ranks < 2:
        raise InputError(f"--scheduler mpi needs N >= 2 ranks, one of which writes, got {ranks}; start as {how}")
    if getattr(_core, "SharedPool", None) is None:  # every rank runs this, none waits for points
        raise InputError(f"--scheduler mpi needs ranks that wait for points; start as {how}")
    with MPIPoolExecutor(main=False, env=ONE_THREAD) as pool:
        yield Engine(pool, lambda: ranks - 1)
