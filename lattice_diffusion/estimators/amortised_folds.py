"""Folds of networks, each of which knows all times and radii: what they say of samples held out and fitted.

Everything finished is kept in a folder, if there is one, so that a killed run goes on.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..store import atomic_write
from .amortised_plan import ProbePlan
from .image_field import LEAST, Field

if TYPE_CHECKING:
    from .image_likelihood import PixelLaw
    from .image_training import Task

ALMOST_CLEAN = 0.01  # time at which images tell as much about labels as clean ones do


class Part(NamedTuple):
    """One network's share: samples it was held out from and, `fitted`, was fitted to; (n, n_times, n_views) of each."""

    rows: NDArray[np.int64]
    nats: NDArray[np.float32]
    errors: NDArray[np.float32]
    fitted: NDArray[np.int64]
    fitted_nats: NDArray[np.float32]
    fitted_errors: NDArray[np.float32]


def folds(
    field: Field, plan: ProbePlan, device: str, parts: Path | None, on_step: Callable[[], None]
) -> Iterator[tuple[str, Part]]:
    """Kind of views and what one network says, fold by fold."""
    from .image_noise import noise_of
    from .image_training import Task

    split, *seeds = np.random.SeedSequence(plan.seed).spawn(1 + plan.folds)
    order = np.random.default_rng(split).permutation(field.n)
    rows_of = [np.sort(order[fold :: plan.folds]) for fold in range(plan.folds)]
    partner = np.empty(field.n, np.int64)
    for fold in range(plan.folds):
        partner[order[fold :: plan.folds]] = np.roll(order[fold :: plan.folds], 1)
    kinds = plan.kinds(field)
    for fold, rows in enumerate(rows_of):
        trial, *own = seeds[fold].spawn(1 + len(kinds))
        train = np.sort(np.concatenate([other for k, other in enumerate(rows_of) if k != fold]))
        near: bool | None = None if plan.near and plan.pixel is not None else False
        for kind, seed in zip(kinds, own, strict=True):
            labelled = kind == "labels"
            times = np.array([ALMOST_CLEAN, *plan.times] if labelled else plan.times)
            noise = noise_of(plan.noise(), times, field.pixels, device)
            task = Task(field.read, noise, partner if kind == "null" else None, field.labels if labelled else None)
            done = None if parts is None else parts / f"fold{fold}-{kind}.npz"
            if done is not None and done.exists():
                for _ in range(plan.steps):
                    on_step()
                with np.load(done) as file:
                    yield kind, Part(**{name: file[name] for name in Part._fields})
                continue
            if near is None and not labelled:  # labels, which come last, are told from A alone
                near = _near(field, plan, task, train, trial)
            task = replace(task, near=bool(near) and not labelled)
            part = _one(field, plan, task, rows, train, seed, done, on_step)
            if done is not None:
                with atomic_write(done) as partial:
                    np.savez(partial, **part._asdict())
                done.with_suffix(".pt").unlink(missing_ok=True)
            yield kind, part


def _law(field: Field, plan: ProbePlan, task: "Task", seed: np.random.SeedSequence) -> "PixelLaw":
    from .image_likelihood import PixelLaw
    from .image_views import Views

    views = Views(field.shape, plan.radii, plan.pixel, plan.near, field.channels)
    n_values = len(field.pixels.levels) if task.labels is None else int(task.labels.max()) + 1
    n_views, rng = task.n_views(len(plan.radii)), np.random.default_rng(seed)
    law = PixelLaw(views, n_views, n_values, plan.width, rng, sees_a=task.labels is not None)
    return law.to(task.noise.device)


def _near(field: Field, plan: ProbePlan, task: "Task", train: NDArray[np.int64], seed: np.random.SeedSequence) -> bool:
    """Whether pixels near A help, told from boxes, whatever comes first."""
    from .image_training import TRIAL, near_helps

    start, training = seed.spawn(2)
    boxes = replace(task, partner=None, labels=None)
    steps = max(1, round(TRIAL * plan.steps))
    return near_helps(
        lambda: _law(field, plan, boxes, start), boxes, train, training, steps=steps, batch_size=plan.batch_size
    )


def _one(
    field: Field,
    plan: ProbePlan,
    task: "Task",
    rows: NDArray[np.int64],
    train: NDArray[np.int64],
    seed: np.random.SeedSequence,
    done: Path | None,
    on_step: Callable[[], None],
) -> Part:
    """Train one network on `train`, and ask it about `rows` and as many of those it was fitted to."""
    from .image_evaluation import evaluate, view_weights
    from .image_training import fit_law

    start, training, weighing, evaluation, again = seed.spawn(5)
    law = _law(field, plan, task, start)
    checkpoint = None if done is None else done.with_suffix(".pt")
    options: dict[str, Any] = {"steps": plan.steps, "batch_size": plan.batch_size}
    fitted, unfitted = fit_law(law, task, train, training, checkpoint=checkpoint, on_step=on_step, **options)
    weights = view_weights(law, task, unfitted, weighing)
    some = np.zeros(0, np.int64)
    if plan.corrected and task.labels is None:
        chosen = np.random.default_rng(again).permutation(len(fitted))[: len(rows)]
        some = fitted[np.sort(chosen)]
    return Part(rows, *evaluate(law, task, rows, weights, evaluation), some, *evaluate(law, task, some, weights, again))


def pilot(field: Field, plan: ProbePlan, device: str) -> tuple[float, float]:
    """Seconds of a training step, with what belongs to it, and of asking about all images, a network on average."""
    from .image_training import TRIAL

    few = replace(plan, steps=8, near=0)
    small = Field(field.read, min(field.n, max(LEAST, 4 * plan.batch_size)), field.shape, field.pixels)
    ends: list[float] = []
    asking: list[float] = []
    for _ in folds(small, few, device, None, lambda: ends.append(time.perf_counter())):
        asking.append(time.perf_counter() - ends[-1])
        if len(asking) == len(few.kinds(small)):
            break
    laps = np.diff(ends)
    step = float(np.mean([np.median(laps[start : start + 6]) for start in range(0, len(laps), 8)]))
    trials = 2 * TRIAL / len(plan.kinds(field)) if plan.near and plan.pixel is not None else 0
    return step * (1 + trials), float(np.mean(asking)) * field.n / small.n
