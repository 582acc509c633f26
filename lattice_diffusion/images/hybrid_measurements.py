"""What is measured of trained networks: errors over time, recovery over (T_f, r), images of every schedule.

Each piece is kept in the folder of parts as soon as it is there, with random numbers of its own, so that a killed run
goes on to the same numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..store import atomic_write
from .hybrid_data import Split, seed_of
from .hybrid_generation import Generated, Nets, Radii, generate, returned, squared_errors
from .hybrid_training import name_of

if TYPE_CHECKING:
    from .hybrid_classifier import Classifier

ERROR_TIMES = np.round(np.arange(0.04, 0.97, 0.04), 2)
Tick = Callable[[], None]


@dataclass(frozen=True)
class Effort:
    """How much is measured: images generated, noised and returned, and looked at for errors; steps of a path.

    starts: the times T_f of recovery.
    """

    n_generated: int = 1000
    n_returned: int = 200
    n_errors: int = 300
    n_steps: int = 60
    starts: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.65, 0.8)


@dataclass(frozen=True)
class Measured:
    """Arrays as they come: errors (n, t, network); back (start, network, n, 1, row, column); images by schedule."""

    errors: NDArray[np.float64]
    back: NDArray[np.float64]
    generated: dict[str, Generated]


def measure(
    nets: Nets, data: Split, schedules: Mapping[str, Radii], effort: Effort, seed: int, parts: Path, tick: Tick
) -> Measured:
    """All that is asked for; `tick` is called `ticks(..)` times."""
    kept = _Parts(parts)
    error_seed, back_seed, generation_seed = seed_of(seed, "measuring").spawn(3)
    clean = data.real[: effort.n_errors]

    def errors() -> dict[str, NDArray]:
        columns = []
        for column in squared_errors(nets, clean, ERROR_TIMES, np.random.default_rng(error_seed)):
            columns.append(column)
            tick()
        return {"errors": np.stack(columns, axis=1)}

    found = kept.get("errors", errors, tick, len(ERROR_TIMES))["errors"]
    back = []
    for start, row in zip(effort.starts, back_seed.spawn(len(effort.starts)), strict=True):
        for kind, path in zip(nets, row.spawn(len(nets)), strict=True):

            def there_and_back(start: float = start, kind: int = kind, path: np.random.SeedSequence = path) -> dict:
                rng = np.random.default_rng(path)
                x = returned(nets[kind], data.real[: effort.n_returned], start, effort.n_steps, rng)
                tick()
                return {"x": x.astype(np.float32)}

            back.append(kept.get(f"back-{start:g}-{name_of(kind)}", there_and_back, tick, 1)["x"])
    shape = (len(effort.starts), len(nets), *back[0].shape)
    generated = {}
    for (name, radii), path in zip(schedules.items(), generation_seed.spawn(len(schedules)), strict=True):

        def out_of_noise(radii: Radii = radii, path: np.random.SeedSequence = path) -> dict:
            made = generate(nets, radii, effort.n_generated, effort.n_steps, np.random.default_rng(path))
            tick()
            return {"x": made.images.astype(np.float32), "cost": np.array([made.multiply_adds, made.seconds])}

        one = kept.get(f"generated-{name}", out_of_noise, tick, 1)
        generated[name] = Generated(one["x"].astype(float), *(float(v) for v in one["cost"]))
    return Measured(found, np.stack(back).reshape(shape).astype(float), generated)


def ticks(nets: Nets, schedules: Mapping[str, Radii], effort: Effort) -> int:
    return len(ERROR_TIMES) + len(effort.starts) * len(nets) + len(schedules)


def images_denoised(nets: Nets, schedules: Mapping[str, Radii], effort: Effort) -> dict[int, int]:
    """How many images each network denoises in all, from which the time follows."""
    returns = sum(int(np.ceil(effort.n_steps * start)) for start in effort.starts)
    counts = {kind: effort.n_errors * len(ERROR_TIMES) + effort.n_returned * returns for kind in nets}
    for radii in schedules.values():
        for t in np.linspace(1, 0, effort.n_steps + 1)[:-1]:
            counts[radii(float(t))] += effort.n_generated
    return counts


def classifier_of(data: Split, seed: int, parts: Path) -> "Classifier | None":
    """A classifier of the training images; None without labels."""
    if data.labels is None:
        return None
    import torch

    from .hybrid_classifier import Classifier, fit_classifier

    path, rng = parts / "classifier.pt", np.random.default_rng(seed_of(seed, "classifier"))
    if path.exists():
        net = Classifier(data.shape, len(data.classes), rng)
        net.load_state_dict(torch.load(path, weights_only=True))
        return net
    net = fit_classifier(data.train, data.labels[0], len(data.classes), rng)
    with atomic_write(path) as partial:
        torch.save(net.state_dict(), partial)
    return net


class _Parts:
    """Arrays by name in a folder, computed where they are not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, compute: Callable[[], dict[str, NDArray]], tick: Tick, n_ticks: int) -> dict[str, NDArray]:
        path = self.folder / f"{name}.npz"
        if path.exists():
            for _ in range(n_ticks):
                tick()
            with np.load(path) as file:
                return dict(file)
        arrays = compute()
        with atomic_write(path) as partial:
            np.savez(partial, **arrays)  # type: ignore[arg-type]
        return arrays
