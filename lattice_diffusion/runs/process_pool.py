"""Where points are measured when the caller brings no executor: in this process, or in fresh ones."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ..threads import ONE_THREAD
from .stopping import signals_held


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

    The processes leave Ctrl-C and SIGTERM, which a terminal or a batch system sends to all, to this one. Raises
    ChildProcessError (an OSError) where a worker dies, as when memory runs out.
    """
    if workers == 1:
        yield InProcess()
        return
    context = multiprocessing.get_context("spawn")  # forking a process with threads is not safe
    with _environment(ONE_THREAD):
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent)
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


def _follow_parent() -> None:
    """Die with the parent: a killed one must not leave workers behind."""
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
