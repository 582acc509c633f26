"""What a long run says on stderr, what it is expected to take, and how Ctrl-C and SIGTERM stop it.

The first signal asks a run to stop once what is under way has ended; the second stops it at once.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # batch systems send SIGTERM
Handler = Callable[[int, FrameType | None], None]


def say(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a time in words, such as "12 s" or "3 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def progress_bar(name: str, total: int, *, shown: bool) -> Iterator[Callable[..., None]]:
    """Show a bar with the time left while the block runs, on a terminal only; yield what advances it, by 1 or more."""
    if not (shown and total and sys.stderr.isatty()):
        yield lambda n=1: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda n=1: bar.advance(task, n)


class Stop:
    """Whether a run was asked to stop; `wake` is called when it is, in the main thread, between two instructions."""

    def __init__(self) -> None:
        self.asked = False
        self.wake: Callable[[], None] = lambda: None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        with contextlib.suppress(OSError):
            os.write(2, b"stopping when the points under way have ended; once more to stop at once\n")
        self.wake()


@contextlib.contextmanager
def asks_to_stop() -> Iterator[Stop]:
    """Yield a `Stop` that the signals set; out of the main thread, where Python has no signals, nothing sets it."""
    stop = Stop()
    with _handler(_SIGNALS, stop):
        yield stop


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, as Ctrl-C does."""
    with _handler((signal.SIGTERM,), signal.default_int_handler):
        yield


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold both signals back; a process started meanwhile never receives them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _handler(numbers: tuple[signal.Signals, ...], handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
