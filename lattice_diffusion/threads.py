"""One thread per process: points run in parallel, and sums must not depend on how libraries split them."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

# NumPy and torch read these when they are first imported. Kernels of numba have one thread as they are.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"), "1")
_lock = threading.Lock()
_open = contextlib.ExitStack()
_depth = 0


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_worker() -> None:
    """Limit a new process to one thread, before it loads anything, and let it die with its parent if that is killed."""
    os.environ.update(ONE_THREAD)
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def follow() -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def one_thread(*, torch: bool = False) -> Iterator[None]:
    """Compute on one thread inside the block, by the libraries' own calls; the environment stays as it is.

    With `torch`, where networks are computed inside, it is imported to be told, which takes seconds.
    """
    global _depth
    with _lock:
        if torch or "torch" in sys.modules:
            _limit_torch()  # first: its OpenMP limited by the next line says nothing of the threads of its MKL
        if _depth == 0:
            _open.enter_context(_blas().limit(limits=1))
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _open.close()


@cache
def _blas() -> Any:
    import scipy.linalg  # noqa: F401  has a BLAS of its own
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()


def _limit_torch() -> None:
    import torch

    before = torch.get_num_threads()
    if before > 1:
        torch.set_num_threads(1)
        _open.callback(torch.set_num_threads, before)
