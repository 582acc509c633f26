"""The networks of a hybrid: local ones of several radii and a global one, trained alike, resumable."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..channels import Gaussian
from .hybrid_data import Split, seed_of

if TYPE_CHECKING:
    from ..denoisers.network import Network

CHANNEL = Gaussian("linear")
GLOBAL = -1
GLOBAL_SHARE = 0.4  # of the time that training may take
CHECKPOINT_EVERY = 100


@dataclass(frozen=True)
class Training:
    """What is trained; together with the images it decides the weights.

    Attributes:
        radii: of the local networks, increasing.
        steps, global_steps: of every local network, of the global one.
    """

    radii: tuple[int, ...]
    steps: int
    global_steps: int
    width: int = 32
    batch_size: int = 32
    seed: int = 0

    @property
    def kinds(self) -> tuple[int, ...]:
        """Radii of all networks, -1 for the global one, which comes last."""
        return (*self.radii, GLOBAL)

    def steps_of(self, kind: int) -> int:
        return self.global_steps if kind == GLOBAL else self.steps


def untrained(data: Split, training: Training, kind: int, rng: np.random.Generator) -> "Network":
    from ..denoisers import GlobalImageNet, LocalImageNet

    if kind == GLOBAL:
        return GlobalImageNet(data.levels, data.prior, channel=CHANNEL, width=training.width, rng=rng)
    return LocalImageNet(kind, data.levels, data.prior, channel=CHANNEL, width=training.width, rng=rng)


def trained(data: Split, training: Training, parts: Path, on_step: Callable[[], None]) -> "dict[int, Network]":
    """All networks by radius, -1 for the global one; `parts` keeps their checkpoints, and what is there is used."""
    from ..denoisers import train

    nets = {}
    seeds = seed_of(training.seed, "training").spawn(len(training.kinds))
    for kind, seed in zip(training.kinds, seeds, strict=True):
        weights, batches = (np.random.default_rng(s) for s in seed.spawn(2))
        nets[kind] = untrained(data, training, kind, weights)
        done = 0
        for step in train(
            nets[kind],
            data.train,
            rng=batches,
            steps=training.steps_of(kind),
            batch_size=training.batch_size,
            checkpoint=parts / f"{name_of(kind)}.pt",
            checkpoint_every=CHECKPOINT_EVERY,
            resume=True,
        ):
            for _ in range(step.number - done):
                on_step()
            done = step.number
        for _ in range(training.steps_of(kind) - done):
            on_step()
    return nets


def seconds_per_step(data: Split, training: Training, few: int = 4) -> dict[int, float]:
    """What a training step of every network takes, from a few of them."""
    from ..denoisers import train

    found = {}
    for kind in training.kinds:
        rng = np.random.default_rng(0)
        net = untrained(data, training, kind, rng)
        ends = [time.perf_counter()]
        for _ in train(net, data.train[:1000], rng=rng, steps=few + 1, batch_size=training.batch_size):
            ends.append(time.perf_counter())
        found[kind] = float(np.median(np.diff(ends)[1:]))
    return found


def steps_within(budget: float, seconds: dict[int, float]) -> tuple[int, int]:
    """Steps of every local network, and of the global one, that take `budget` seconds together."""
    local = sum(value for kind, value in seconds.items() if kind != GLOBAL)
    return max(1, int((1 - GLOBAL_SHARE) * budget / local)), max(1, int(GLOBAL_SHARE * budget / seconds[GLOBAL]))


def name_of(kind: int) -> str:
    return "global" if kind == GLOBAL else f"local-{kind}"
