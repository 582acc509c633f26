"""Ctrl-C and SIGTERM, as batch systems send it: the first asks a run to stop, the second stops it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], None]


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
    """A `Stop` that the signals set; out of the main thread, where Python has no signals, nothing sets it."""
    stop = Stop()
    with _handler(_SIGNALS, stop):
        yield stop


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does."""
    with _handler((signal.SIGTERM,), signal.default_int_handler):
        yield


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Both signals wait; a process started meanwhile never hears them."""
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
