"""What measures points: this process, a pool of processes, a Dask cluster, the ranks of an MPI job, or a caller's own.

    lattice-diffusion run SPEC.toml --out FILE.h5 --workers 8
    lattice-diffusion run SPEC.toml --out FILE.h5 --scheduler tcp://10.0.0.1:8786
    mpiexec -n 65 python -m mpi4py.futures -m lattice_diffusion run SPEC.toml --out FILE.h5 --scheduler mpi

One process hands out points and writes; the others only compute, and need this package but no common disk.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..threads import ONE_THREAD
from .process_pool import process_pool
from .progress import say

CONNECT_SECONDS = 5.0
COUNT_SECONDS = 5.0  # between two looks at how many workers a cluster has


class SchedulerError(InputError):
    """A scheduler that cannot be used here; the message is one sentence."""


@dataclass(frozen=True)
class Engine:
    """An executor, and what `concurrent.futures` does not say about it.

    Attributes:
        executor: measures points.
        width: how many it measures at a time, now.
        tells_running: whether a future can be cancelled exactly until it runs; Dask's would be torn out of work.
    """

    executor: Executor
    width: Callable[[], int]
    tells_running: bool = True


@contextlib.contextmanager
def open_engine(executor: Executor | None, scheduler: str | None, workers: int) -> Iterator[Engine]:
    """A caller's executor, which stays theirs to shut down; what `scheduler` names; else `workers` processes.

    Raises SchedulerError (a ValueError) for a malformed scheduler or a missing extra, ConnectionError (an OSError)
    where none answers within seconds, or where it goes away later.
    """
    if executor is not None:
        if scheduler is not None:
            raise SchedulerError("points are measured by an executor or through a scheduler, got both; give one")
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
        raise SchedulerError(
            f"scheduler must be tcp://HOST:PORT of a Dask scheduler, tls://.. or mpi, got {scheduler!r}"
        )


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Engine]:
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise SchedulerError(
            f"--scheduler {address} needs Dask, which is not installed; pip install 'lattice-diffusion[cluster]'"
        ) from None
    _check_listening(address)
    try:
        # A client that fails to connect hangs up for long, so another one looks first.
        asyncio.run(asyncio.wait_for(_shake_hands(address), CONNECT_SECONDS))
        client: Any = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {address}, though something listens there; check the address"
        ) from error
    with client:
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
        raise SchedulerError(f"scheduler must look like tcp://10.0.0.1:8786, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror
        raise ConnectionError(
            f"no scheduler at {address}: {reason}; start one with `dask scheduler`, or check the address"
        ) from None


def _now_and_then(count: Callable[[], int]) -> Callable[[], int]:
    """`count`, asked again only every few seconds, as every answer is a trip over the network."""
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
        raise SchedulerError(
            "--scheduler mpi needs mpi4py and an MPI library; pip install 'lattice-diffusion[mpi]'"
        ) from None
    ranks = MPI.COMM_WORLD.Get_size()
    if ranks < 2:
        raise SchedulerError(f"--scheduler mpi needs N >= 2 ranks, one of which writes, got {ranks}; start as {how}")
    if getattr(_core, "SharedPool", None) is None:  # every rank runs this, none waits for points
        raise SchedulerError(f"--scheduler mpi needs ranks that wait for points; start as {how}")
    with MPIPoolExecutor(main=False, env=ONE_THREAD) as pool:
        yield Engine(pool, lambda: ranks - 1)
