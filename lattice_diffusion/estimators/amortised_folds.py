"""A probe of images: I_t(A;C|B_r) over times and radii, held out, with what the same networks find where there is none.

Images are split into folds; every image is measured by networks that were trained on the others,

    I(A;C|B_r) = E[log q(x_A | all others) - log q(x_A | B_r)],    I(A;BC) = E[log q(x_A | all others) - log q(x_A)],

and with labels S, I(S;B_r) and I(S;BC) likewise (A itself left out). The null is the same difference of networks
trained alike on images whose C comes from another image. Errors are over images. Everything measured is kept beside
the result until that is written, so that a killed run goes on.
"""

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..channels import Gaussian

if TYPE_CHECKING:
    from .image_likelihood import Pixels

Read = Callable[[NDArray[np.int64]], NDArray]
MAX_LEVELS = 32
LEVEL_SAMPLE = 4096  # images that levels are taken from
ALMOST_CLEAN = 0.01  # time at which images tell as much about labels as clean ones do


@dataclass(frozen=True)
class ProbePlan:
    """What is measured and how; together with the images it decides every number.

    Attributes:
        times: in (0, 1), increasing; radii: increasing; pixel: A, None for a random one in every image.
        steps, batch_size, width: of every network's training; folds: of the cross-fitting.
    """

    times: tuple[float, ...]
    radii: tuple[int, ...]
    pixel: tuple[int, int] | None
    steps: int = 3000
    seed: int = 0
    folds: int = 2
    width: int = 192
    batch_size: int = 256

    def __post_init__(self) -> None:
        increasing = all(a < b for a, b in itertools.pairwise(self.times))
        if not self.times or not increasing or not 0 < self.times[0] <= self.times[-1] < 1:
            raise ValueError(f"times must increase inside (0, 1), got {list(self.times)}")
        increasing = all(a < b for a, b in itertools.pairwise(self.radii))
        if not self.radii or not increasing or self.radii[0] < 1:
            raise ValueError(f"radii must be increasing integers >= 1, got {list(self.radii)}")
        for name, low in (("steps", 1), ("folds", 2), ("width", 1), ("batch_size", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be >= {low}, got {getattr(self, name)}")

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Field:
    """Grey images or spins as a probe reads them: `read(indices)` gives (m, row, column); codes of labels, if any."""

    read: Read
    n: int
    shape: tuple[int, int]
    pixels: "Pixels"
    labels: NDArray[np.int64] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Networks of every fold."""
        return ("boxes", "null") if self.labels is None else ("boxes", "null", "labels")

    def __post_init__(self) -> None:
        if self.n < 20:
            raise ValueError(f"a probe needs at least 20 images, and better 1,000, got {self.n}")


def field_of_array(x: NDArray) -> Field:
    """Samples of a model (n, row, column) with at most 32 values."""
    from .image_likelihood import Pixels

    levels = np.unique(x[:LEVEL_SAMPLE]).astype(float)
    if not 2 <= len(levels) <= MAX_LEVELS:
        raise ValueError(f"samples must have 2 to {MAX_LEVELS} values, got {len(levels)}")
    x = x.astype(np.float32)
    return Field(x.__getitem__, len(x), x.shape[1:], Pixels(levels, x.mean(axis=0), x.var(axis=0)))


def reach(shape: tuple[int, int], pixel: tuple[int, int] | None) -> int:
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
    """Arguments of `probe_variables`, all that is measured.

    Args:
        parts: folder of what is finished and of training in progress; what is there is used.
        on_step: called `plan.steps` times for every network, `plan.folds` of each of the field's kinds.

    Raises:
        ValueError: a radius that leaves nothing outside the box.
    """
    limit = reach(field.shape, plan.pixel)
    if plan.radii[-1] >= limit:
        raise ValueError(f"radii must be below {limit}, where the box covers the image, got {plan.radii[-1]}")
    nats: dict[str, NDArray] = {}
    errors: dict[str, NDArray] = {}
    for kind, rows, *values in _folds(field, plan, device, parts, on_step):
        for found, value in zip((nats, errors), values, strict=True):
            found.setdefault(kind, np.empty((field.n, *value.shape[1:]), np.float32))[rows] = value
    n_radii = len(plan.radii)
    box, null, error = nats["boxes"], nats["null"], errors["boxes"]
    return {
        "t": plan.times,
        "radius": plan.radii,
        **_with_floor(_averages("cmi", box[:, :, -1:] - box[:, :, 1:-1], covariance=True), plan, field.n),
        **_averages("cmi_null", null[:, :, n_radii:] - null[:, :, :n_radii]),
        **_averages("total_information", box[:, :, -1] - box[:, :, 0]),
        **_averages("excess_mse", error[:, :, 1:-1] - error[:, :, -1:]),
        **(_labels(nats["labels"]) if "labels" in nats else {}),
        "image_shape": field.shape,
        "channel": Gaussian("linear"),
    }


def _labels(nats: NDArray) -> dict[str, Any]:
    """What the image and its smallest box know of the label; the first time is that of almost clean images."""
    whole, box = nats[:, :, -1] - nats[:, :, 0], nats[:, :, 1] - nats[:, :, 0]
    clean = float(box[:, 0].mean(dtype=float))
    found = _averages("label_information", whole[:, 1:]) | _averages("label_information_b", box[:, 1:])
    return {**found, "label_information_clean": clean}


def _with_floor(found: dict[str, NDArray], plan: ProbePlan, n: int) -> dict[str, NDArray]:
    """Errors of the CMI, with what is too small to be told from nothing.

    Whether a larger view is believed is one weight, fitted on m images that training leaves out; a gain below 1/2m nats
    is what chance gives (Wilks 1938). Without this, views that are not believed would be 0 with no error.
    """
    from .image_training import VALIDATION

    floor = 0.5 / (VALIDATION * (plan.folds - 1) * n)
    found["cmi_stderr"] = np.hypot(found["cmi_stderr"], floor)
    found["cmi_covariance"] = found["cmi_covariance"] + floor**2 * np.eye(len(plan.radii))
    return found


def _averages(name: str, samples: NDArray, *, covariance: bool = False) -> dict[str, NDArray]:
    """Mean over images and its error, and the covariance between radii."""
    samples = samples.astype(float)
    n = len(samples)
    found = {name: samples.mean(axis=0), f"{name}_stderr": samples.std(axis=0, ddof=1) / np.sqrt(n)}
    if covariance:
        centred = samples - found[name]
        found[f"{name}_covariance"] = np.einsum("ntr,nts->trs", centred, centred) / (n * (n - 1))
    return found


def _folds(
    field: Field, plan: ProbePlan, device: str, parts: Path | None, on_step: Callable[[], None]
) -> Iterator[tuple[str, NDArray[np.int64], NDArray, NDArray]]:
    """Kind of views, held-out images, their log q and squared errors, fold by fold."""
    import torch

    from .image_likelihood import Noise, PixelLaw
    from .image_training import Task, evaluate, fit_law, view_weights
    from .image_views import Views

    split, *seeds = np.random.SeedSequence(plan.seed).spawn(1 + plan.folds)
    order = np.random.default_rng(split).permutation(field.n)
    rows_of = [np.sort(order[fold :: plan.folds]) for fold in range(plan.folds)]
    partner = np.empty(field.n, np.int64)
    for fold in range(plan.folds):
        partner[order[fold :: plan.folds]] = np.roll(order[fold :: plan.folds], 1)
    views = Views(field.shape, plan.radii, plan.pixel)
    for (fold, kind), seed in zip(
        itertools.product(range(plan.folds), field.kinds),
        itertools.chain.from_iterable(seed.spawn(len(field.kinds)) for seed in seeds),
        strict=True,
    ):
        labelled = kind == "labels"
        times = np.array([ALMOST_CLEAN, *plan.times] if labelled else plan.times)
        noise = Noise(Gaussian("linear"), times, field.pixels, device)
        task = Task(field.read, noise, partner if kind == "null" else None, field.labels if labelled else None)
        done = None if parts is None else parts / f"fold{fold}-{kind}.npz"
        if done is not None and done.exists():
            for _ in range(plan.steps):
                on_step()
            with np.load(done) as file:
                yield kind, rows_of[fold], file["nats"], file["errors"]
            continue
        train = np.sort(np.concatenate([rows for other, rows in enumerate(rows_of) if other != fold]))
        start, training, weighing, evaluation = seed.spawn(4)
        n_views = task.n_views(len(plan.radii))
        rng = np.random.default_rng(start)
        n_values = int(task.labels.max()) + 1 if task.labels is not None else len(field.pixels.levels)
        law = PixelLaw(views, n_views, n_values, plan.width, rng).to(torch.device(device))
        checkpoint = None if parts is None else parts / f"fold{fold}-{kind}.pt"
        options = {"steps": plan.steps, "batch_size": plan.batch_size, "checkpoint": checkpoint, "on_step": on_step}
        unfitted = fit_law(law, task, train, training, **options)  # type: ignore[arg-type]
        weights = view_weights(law, task, unfitted, weighing)
        nats, errors = evaluate(law, task, rows_of[fold], weights, evaluation)
        if done is not None:
            partial = done.with_name(f"{done.stem}.{os.getpid()}.partial.npz")
            np.savez(partial, nats=nats, errors=errors)
            os.replace(partial, done)
            checkpoint.unlink(missing_ok=True)  # type: ignore[union-attr]
        yield kind, rows_of[fold], nats, errors


def pilot(field: Field, plan: ProbePlan, device: str) -> float:
    """Seconds that a training step takes, of either kind of network on average."""
    few = ProbePlan(**{**asdict(plan), "steps": 8})
    small = Field(field.read, min(field.n, max(20, 4 * plan.batch_size)), field.shape, field.pixels)
    ends: list[float] = []
    for _ in _folds(small, few, device, None, lambda: ends.append(time.perf_counter())):
        if len(ends) >= 16:
            break
    laps = np.diff(ends)
    return float(np.median(laps[:6]) + np.median(laps[9:15])) / 2
