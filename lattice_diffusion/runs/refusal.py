"""Telling an input that was refused, which is the user's to mend, from a defect, which is ours."""

import contextlib
import dis
from collections.abc import Iterator

from ..errors import InputError
from .points import Point


class PointRefused(InputError):
    """A point whose parameters a model, lattice or solver refused; says which point, and why."""


class WorkerRefused(InputError):
    """A worker that must not measure; says why."""


class PointFailed(RuntimeError):
    """A point at which something broke; says which point, the cause is chained."""


def is_refusal(error: BaseException) -> bool:
    """Whether `error` is a ValueError or TypeError that this package raised on purpose.

    NumPy and Python raise the same types for defects of ours, often from C and so with one of our lines last
    in the traceback; only a `raise` statement in this package counts.
    """
    if isinstance(error, PointRefused | WorkerRefused):  # perhaps from another process, its traceback lost
        return True
    if not isinstance(error, ValueError | TypeError):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    code = trace.tb_frame.f_code
    package = str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[0] == __name__.split(".")[0]
    return package and dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"


@contextlib.contextmanager
def at_point(point: Point) -> Iterator[None]:
    """Say at which point an error arose: as PointRefused, or as PointFailed with the error as its cause."""
    try:
        yield
    except Exception as error:
        if is_refusal(error):
            raise PointRefused(f"{point}: {error}") from None
        raise PointFailed(f"{point}: {type(error).__name__}: {error}") from error
