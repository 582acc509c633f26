"""I_t(A;C|B_r) over times and radii from clean samples: folds of networks, each of which knows all times and radii.

Samples are split into folds; every sample is measured by networks that were trained on the others,

    I(A;C|B_r) = E[log q(x_A | all others) - log q(x_A | B_r)],    I(A;BC) = E[log q(x_A | all others) - log q(x_A)],

and with labels S, I(S;B_r) and I(S;BC) likewise (A itself left out), and the forward-backward agreement
P_FB = E sum_s q(s|x_t)^2, the chance that an image noised to t and denoised by its posterior comes back with its label.

Held-out averages are too low by what the networks overfit, averages over the samples they were fitted to too high by
as much to first order, so half-way between is `corrected` (see `neural`); labels are held out. The null is the same
difference of networks trained alike on samples whose C comes from another one. Errors are over samples, and of
half-way: the truth may be anywhere between the two averages. Everything measured is kept in a folder, if there is one,
so that a killed run goes on.
"""

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..channels import BitFlip, Channel, Erasure, Gaussian
from .image_field import LEAST, Field, Pixel

if TYPE_CHECKING:
    from .image_likelihood import PixelLaw
    from .image_training import Task

BETWEEN = 12**-0.5  # error of half-way, in units of the gap: the truth may be anywhere between
ALMOST_CLEAN = 0.01  # time at which images tell as much about labels as clean ones do
CHANNELS = ("gaussian", "bitflip", "erasure")


@dataclass(frozen=True)
class ProbePlan:
    """What is measured and how; together with the samples it decides every number.

    Attributes:
        times: in (0, 1), increasing; radii: increasing; pixel: A, None for a random one in every sample.
        steps, batch_size, width: of every network's training; folds: of the cross-fitting.
        channel: gaussian, bitflip or erasure; schedule: of gaussian noise.
        near: pixels this near A may stand for it while a network is trained.
        corrected: half-way between held-out and in-sample averages; False: held out, too low.
        null: whether that is measured.
    """

    times: tuple[float, ...]
    radii: tuple[int, ...]
    pixel: Pixel | None
    steps: int = 3000
    seed: int = 0
    folds: int = 2
    width: int = 64
    batch_size: int = 512
    channel: str = "gaussian"
    schedule: str = "linear"
    near: int = 3
    corrected: bool = True
    null: bool = True

    def __post_init__(self) -> None:
        increasing = all(a < b for a, b in itertools.pairwise(self.times))
        if not self.times or not increasing or not 0 < self.times[0] <= self.times[-1] < 1:
            raise ValueError(f"times must increase inside (0, 1), got {list(self.times)}")
        increasing = all(a < b for a, b in itertools.pairwise(self.radii))
        if not self.radii or not increasing or self.radii[0] < 1:
            raise ValueError(f"radii must be increasing integers >= 1, got {list(self.radii)}")
        for name, low in (("steps", 1), ("folds", 2), ("width", 1), ("batch_size", 1), ("near", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be >= {low}, got {getattr(self, name)}")
        if self.channel not in CHANNELS:
            raise ValueError(f"channel must be one of {', '.join(CHANNELS)}, got {self.channel!r}")
        if self.channel != "gaussian" and self.schedule != "linear":
            raise ValueError(
                f"schedule is of gaussian noise only, got {self.schedule!r} for {self.channel}; leave it out"
            )
        self.noise()

    def noise(self) -> Channel:
        if self.channel == "gaussian":
            return Gaussian(self.schedule)  # type: ignore[arg-type]
        return BitFlip() if self.channel == "bitflip" else Erasure()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def kinds(self, field: Field) -> tuple[str, ...]:
        """Networks of every fold."""
        return ("boxes", *(("null",) if self.null else ()), *(("labels",) if field.labels is not None else ()))


class Part(NamedTuple):
    """One network's share: samples it was held out from and, `fitted`, was fitted to; (n, n_times, n_views) of each."""

    rows: NDArray[np.int64]
    nats: NDArray[np.float32]
    errors: NDArray[np.float32]
    fitted: NDArray[np.int64]
    fitted_nats: NDArray[np.float32]
    fitted_errors: NDArray[np.float32]


def reach(shape: tuple[int, int], pixel: Pixel | None) -> int:
    """The radius from which on nothing is left outside the box."""
    from .image_views import Views

    return Views.reach(shape, pixel)


def measure(
    field: Field,
    plan: ProbePlan,
    *,
    device: str = "cpu",
    parts: Path | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Arguments of `experiments.probe_schema.probe_variables`, all that is measured.

    Args:
        parts: folder of what is finished and of training in progress; what is there is used.
        on_step: called `plan.steps` times for every network, `plan.folds` of each of `plan.kinds`.

    Raises:
        ValueError: a radius that leaves nothing outside the box, a channel that is not for such values.
    """
    limit = reach(field.shape, plan.pixel)
    if plan.radii[-1] >= limit:
        raise ValueError(f"radii must be below {limit}, where the box covers the image, got {plan.radii[-1]}")
    found: dict[str, list[Part]] = {}
    for kind, part in _folds(field, plan, device, parts, on_step):
        found.setdefault(kind, []).append(part)
    n_radii, n = len(plan.radii), field.n
    values: dict[str, Any] = {"t": plan.times, "radius": plan.radii}

    def add(name: str, kind: str, difference: Callable[[NDArray], NDArray], *, errors: bool = False) -> None:
        held, inside, used = _both(found[kind], n, difference, errors=errors)
        samples, gap = _half_way(held, inside, used) if plan.corrected else (held, np.zeros(held.shape[1:]))
        values.update(_averages(name, samples))
        if name == "cmi":
            values["cmi_held_out"], values["cmi_in_sample"] = held.mean(axis=0), 2 * samples.mean(0) - held.mean(0)
            values["cmi_covariance"] = _covariance(samples, gap, plan)
            values["cmi_stderr"] = np.sqrt(np.diagonal(values["cmi_covariance"], axis1=1, axis2=2))
        else:
            values[f"{name}_stderr"] = np.hypot(values[f"{name}_stderr"], gap * BETWEEN)

    add("cmi", "boxes", lambda v: v[:, :, -1:] - v[:, :, 1:-1])
    if plan.null:
        add("cmi_null", "null", lambda v: v[:, :, n_radii:] - v[:, :, :n_radii])
    add("total_information", "boxes", lambda v: v[:, :, -1] - v[:, :, 0])
    if plan.channel == "gaussian":
        add("excess_mse", "boxes", lambda v: v[:, :, 1:-1] - v[:, :, -1:], errors=True)
    if "labels" in found:
        values.update(_labels(_both(found["labels"], n, lambda v: v)[0]))
    return {**values, "image_shape": field.shape, "channel": plan.noise()}


def _both(
    parts: list[Part], n: int, difference: Callable[[NDArray], NDArray], *, errors: bool = False
) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
    """Of all n samples: held out, averaged over networks fitted to them (0 where there are none), where there are."""
    shape = (n, *difference(parts[0].errors if errors else parts[0].nats).shape[1:])
    held, inside, times = np.empty(shape), np.zeros(shape), np.zeros(n)
    for part in parts:
        held[part.rows] = difference(part.errors if errors else part.nats)
        inside[part.fitted] += difference(part.fitted_errors if errors else part.fitted_nats)
        times[part.fitted] += 1
    return held, inside / np.maximum(times, 1).reshape(-1, *[1] * (len(shape) - 1)), times > 0


def _half_way(held: NDArray, inside: NDArray, used: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
    """Values whose mean is half-way between the two averages, paired sample by sample, and how far these are apart.

    The latter less what chance puts between them, and 0 where that is all.
    """
    values, n_used = held.copy(), int(used.sum())
    difference = inside[used] - held[used]
    values[used] += 0.5 / used.mean() * difference
    gap = np.sqrt(np.maximum(difference.mean(axis=0) ** 2 - difference.var(axis=0) / n_used, 0.0))
    return values, gap


def _labels(nats: NDArray) -> dict[str, Any]:
    """What the image and its smallest box know of the label; the first time is that of almost clean images."""
    whole, box = nats[:, :, -1] - nats[:, :, 0], nats[:, :, 1] - nats[:, :, 0]
    clean = float(box[:, 0].mean(dtype=float))
    found = _averages("label_information", whole[:, 1:]) | _averages("label_information_b", box[:, 1:])
    agreement = _averages("forward_backward", np.exp(nats[:, 1:, -1].astype(float)))
    return {**found, **agreement, "label_information_clean": clean}


def _covariance(samples: NDArray, gap: NDArray, plan: ProbePlan) -> NDArray:
    """Of the CMI at one time between radii, (T, R, R): of samples, of the correction, of what is too small to be seen.

    Whether a larger view is believed is one weight, fitted on m samples that training leaves out; a gain below 1/2m
    nats is what chance gives (Wilks 1938). Without this, views that are not believed would be 0 with no error.
    """
    from .image_training import VALIDATION

    n = len(samples)
    floor = 0.5 / (VALIDATION * (plan.folds - 1) * n)
    centred = samples - samples.mean(axis=0)
    apart = BETWEEN * gap
    between: NDArray = np.einsum("ntr,nts->trs", centred, centred) / (n * (n - 1)) + apart[:, :, None] * apart[:, None]
    return between + floor**2 * np.eye(len(plan.radii))


def _averages(name: str, samples: NDArray) -> dict[str, NDArray]:
    """Mean over samples and its error."""
    samples = samples.astype(float)
    return {name: samples.mean(axis=0), f"{name}_stderr": samples.std(axis=0, ddof=1) / np.sqrt(len(samples))}


def _folds(
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
            if near is None:
                near = _near(field, plan, task, train, trial)
            task = replace(task, near=near and not labelled)
            part = _one(field, plan, task, rows, train, seed, done, on_step)
            if done is not None:
                partial = done.with_name(f"{done.stem}.{os.getpid()}.partial.npz")
                np.savez(partial, **part._asdict())
                os.replace(partial, done)
                done.with_suffix(".pt").unlink(missing_ok=True)
            yield kind, part


def _law(field: Field, plan: ProbePlan, task: "Task", seed: np.random.SeedSequence) -> "PixelLaw":
    from .image_likelihood import PixelLaw
    from .image_views import Views

    views = Views(field.shape, plan.radii, plan.pixel, plan.near, field.channels)
    n_values = len(field.pixels.levels) if task.labels is None else int(task.labels.max()) + 1
    law = PixelLaw(views, task.n_views(len(plan.radii)), n_values, plan.width, np.random.default_rng(seed))
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
    from .image_training import evaluate, fit_law, view_weights

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


def pilot(field: Field, plan: ProbePlan, device: str) -> float:
    """Seconds that a training step takes, of either kind of network on average, with what belongs to it."""
    from .image_training import TRIAL

    few = replace(plan, steps=8, near=0)
    small = Field(field.read, min(field.n, max(LEAST, 4 * plan.batch_size)), field.shape, field.pixels)
    ends: list[float] = []
    for _ in _folds(small, few, device, None, lambda: ends.append(time.perf_counter())):
        if len(ends) >= 8 * len(few.kinds(small)):
            break
    laps = np.diff(ends)
    step = float(np.mean([np.median(laps[start : start + 6]) for start in range(0, len(laps), 8)]))
    return step * (1 + 2 * TRIAL / len(plan.kinds(field)) if plan.near and plan.pixel is not None else 1)
