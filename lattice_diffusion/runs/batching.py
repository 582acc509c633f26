"""What points cost, learned as they are measured: pilots of every kind first, then cheap points in chunks."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .executors import Engine
from .points import Point
from .process_pool import InProcess

CHUNK_SECONDS = 0.2  # cheap points go out in chunks that take about so long,
CHUNKS_PER_SECOND = 200  # or longer, for a scheduler to hand out no more than so many,
CHUNK_POINTS = 1000  # and never of more points than this


@dataclass(frozen=True)
class Costs:
    """Seconds by kind of point (grid and lattice size), the least that one has taken."""

    seconds: dict[str, float] = field(default_factory=dict)

    def learn(self, point: Point, seconds: float) -> None:
        self.seconds[_kind(point)] = min(seconds, self.of([point]))

    def of(self, points: Iterable[Point]) -> float:
        """Together; infinite where one of its kind is still to be measured."""
        return sum(self.seconds.get(_kind(point), float("inf")) for point in points)

    def chunks(self, todo: deque[Point], engine: Engine) -> Iterator[list[Point]]:
        """Points to hand out together: one by one while their cost is unknown, or where they are measured here."""
        while todo:
            width = engine.width()
            seconds = max(CHUNK_SECONDS, width / CHUNKS_PER_SECOND)
            most = 1 if isinstance(engine.executor, InProcess) else min(CHUNK_POINTS, 1 + len(todo) // (4 * width))
            chunk = [todo.popleft()]
            cost = self.of(chunk)
            while todo and len(chunk) < most and (cost := cost + self.of([todo[0]])) <= seconds:
                chunk.append(todo.popleft())
            yield chunk


def pilots(todo: list[Point], number: int) -> tuple[list[Point], list[Point]]:
    """`number` points of every kind, and the rest.

    With one more than there are workers, one of them at least is not slowed down by compilation.
    """
    kinds: dict[str, list[Point]] = {}
    for point in todo:
        kinds.setdefault(_kind(point), []).append(point)
    chosen = [point for kind in kinds.values() for point in kind[:: -(-len(kind) // number)]]
    taken = {id(point) for point in chosen}
    return chosen, [point for point in todo if id(point) not in taken]


def _kind(point: Point) -> str:
    model = point.parameters["model"]
    return f"{point.grid} {model.get('shape', model.get('regions'))}"
