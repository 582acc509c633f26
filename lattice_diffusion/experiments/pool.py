"""Where points are measured when the caller brings no executor: in this process, or in fresh ones."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ..threads import ONE_THREAD


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
def process_pool(workers: int) -> Iterator[Executor]:
    """An executor of `workers` single-threaded processes, `InProcess` for one.

    Raises ChildProcessError (an OSError) where a worker dies, as when memory runs out.
    """
    if workers == 1:
        yield InProcess()
        return
    context = multiprocessing.get_context("spawn")  # forking a process with threads is not safe
    with _environment(ONE_THREAD):
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
        try:
            yield pool
        except BaseException as error:
            for process in list((pool._processes or {}).values()):
                process.terminate()  # points take long; what is half measured is of no use
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise ChildProcessError(
                    "a worker process died, perhaps for want of memory; the points done are kept: "
                    "run again with --resume and fewer --workers"
                ) from error
            raise
        pool.shutdown()


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and die with it: a killed parent must not leave workers behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def follow() -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
