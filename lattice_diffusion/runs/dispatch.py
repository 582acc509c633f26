"""Work handed to an engine bit by bit, and taken back as it ends."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

from .executors import Engine
from .process_pool import InProcess
from .stopping import Stop

Chunk = TypeVar("Chunk")
Answer = TypeVar("Answer")


def handed_out(
    engine: Engine, chunks: Iterator[Chunk], work: Callable[[Chunk], Answer], stop: Stop
) -> Iterator[tuple[Chunk, Answer]]:
    """Every chunk with `work(chunk)`, in the order they end, a few more handed out than are worked on at a time.

    `chunks` is asked for the next one only when it can be handed out. Once `stop` is asked, only what is under way
    comes back.
    """
    ended: SimpleQueue[Future[Answer] | None] = SimpleQueue()
    under_way: dict[Future[Answer], Chunk] = {}
    stop.wake = lambda: ended.put(None)  # a SimpleQueue may be filled by a signal handler
    more = True
    while more or under_way:
        while more and not stop.asked and len(under_way) < _window(engine):
            for chunk in chunks:
                future = engine.executor.submit(work, chunk)
                under_way[future] = chunk
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


def _window(engine: Engine) -> int:
    """How many chunks are handed out at a time: enough that no worker waits for the next one."""
    if isinstance(engine.executor, InProcess):
        return 1
    width = engine.width()
    return width + max(2, width // 8)
