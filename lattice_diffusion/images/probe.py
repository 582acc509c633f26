"""Where networks on a user's images must be global, and how wide: the map of I(A;C|B) over times and radii.

result = ld.probe("images.npy", times=9, radii=range(1, 13), out="probe.h5")
result["probe"]["cmi_above_null"].sel(radius=1)
result.report("probe.html")
"""

import contextlib
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from operator import index
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..channels import Schedule
from ..errors import InputError, device_of, shown
from ..estimators.amortised import BODIES, CHANNELS, ProbePlan, needs_whole, reach
from ..estimators.amortised_data import LEVEL_SAMPLE, MAX_LEVELS, Field, Pixel, pixels_of
from ..lattice import Rng
from ..noise_units import level
from ..progress import duration, progress_bar, say
from ..results import Result, load, write
from ..store import unfinished
from .calibration import N_SPECTRUM, PREFIX, TITLES, Pictures, comparison, exact_seconds, pictures_for, plan_for
from .calibration import calibrate as calibrate_on
from .conclusions import FEW_STEPS, PROBE, probe_result
from .decisions import BITS_PER_DIM, probe_variables
from .images import Images, open_images

DEFAULT_RADII = 12
OVERHEAD_STEPS = 12  # of a network, in which its validation and trials take as long
SLOWER = 20  # steps of a perceptron that one of a U-Net takes, about
MOST_TIMES = 1000
HELD_BYTES = 2**30  # images up to this size are read once and kept


def probe(
    images: Any,
    *,
    times: int | str | Sequence[float] = 11,
    radii: str | Sequence[int] | None = None,
    pixel: str | Pixel = "center",
    channel: Literal["gaussian", "bitflip", "erasure", "uniform"] = "gaussian",
    schedule: Schedule = "linear",
    key: str | None = None,
    labels: ArrayLike | str | Path | None = None,
    n_max: int | None = None,
    value_range: tuple[float, float] | str | None = None,
    tokens: int | None = None,
    calibrate: bool = True,
    tolerance: float = 0.01,
    bits_per_dim: float = BITS_PER_DIM,
    body: Literal["auto", "mlp", "gated", "conv"] = "auto",
    budget: float | None = None,
    rng: Rng = 0,
    device: str = "cpu",
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    **training: int | None,
) -> Result:
    """Return the map of I_t(A;C|B) of images over times and radii, and what follows from it (see `decisions`).

    Nothing follows from networks whose training has not converged, which is measured: then the result holds the map and
    the checks alone. A run that was killed goes on with `resume`, to the same numbers.

    Args:
        images: a file, a folder, an array or a dataset, see `open_images`; also for key, labels, n_max, value_range and
            tokens.
        times: how many in (0, 1), or their list of two or more. Lists may be text, as on the command line: "0.2,0.3".
        radii: widths of B; 1 to 12 by default, as far as something is left outside the box; also "1..12".
        pixel: A: "center", a place (row, column), or "average" over all pixels.
        channel: bitflip and erasure are for images of two values, erasure and uniform for tokens; schedule: of Gaussian
            noise.
        calibrate: whether as many pictures of known truth are measured, too.
        tolerance: nats that the CMI must exceed inside the windows.
        bits_per_dim: KL that the recommended r(t) may cost, in bits per value of a pixel.
        body: of the networks; mlp: perceptrons; gated: for images whose texture or contrast varies; conv: a U-Net,
            which learns more of whole images and is slower; auto: conv of 5000 images or more whose sides have 24
            pixels or more, on a GPU or where the budget leaves 500 steps, else mlp (see `AmortisedLikelihood`).
        budget: about the seconds that all of it may take, instead of `steps`; 2000 training steps for every network,
            1000 for a U-Net, if neither is given.
        rng: decides weights, noise and folds.
        device: of torch, such as "cuda".
        out: result file; also the name of the folder OUT.parts of what is finished. None: nothing is kept.
        resume: go on with an interrupted run; force: overwrite what is there.
        progress: whether cost and progress are shown on stderr.
        training: `steps`, `width`, `batch_size`, `folds` of `estimators.amortised.ProbePlan`.

    Raises InputError for an argument outside its range, images that cannot be used, another run in the folder of parts;
    OSError for a file that is not there or cannot be written.
    """
    started = time.perf_counter()
    _check(channel, schedule, tolerance, bits_per_dim, budget, device)
    training = {name: value for name, value in training.items() if value is not None}
    if budget is not None and "steps" in training:
        raise InputError(f"budget and steps must not both be given, got {budget:g} and {training['steps']}")
    seed = seed_of(rng)
    asked = {"times": plain(times), "radii": plain(radii), "pixel": plain(pixel), "channel": channel, "budget": budget}
    asked |= {"calibrate": calibrate, "tolerance": tolerance, "seed": seed, "device": device}
    asked |= {"schedule": schedule, "bits_per_dim": bits_per_dim}
    with unfinished(out, PROBE, load, resume=resume, force=force) as parts:
        opened = open_images(images, key=key, labels=labels, n_max=n_max, value_range=value_range, tokens=tokens)
        noise = {"channel": channel, "schedule": schedule, "tokens": opened.symbols}
        many = needs_whole(opened.shape[0], opened.shape, opened.symbols)
        bodies = [body]
        if body == "auto" and parts.plan is not None:
            bodies = [parts.plan["plan"]["body"]]
        elif body == "auto" and many and budget is None:
            bodies = ["mlp" if device_of(device) == "cpu" else "conv"]
        elif body == "auto":
            bodies = ["mlp", "conv"] if many else ["mlp"]
        if parts.plan is not None and budget is not None:  # steps followed from another day's speed
            training["steps"] = parts.plan["plan"]["steps"]
        plans = [_plan(opened, times, radii, pixel, seed=seed, body=one, **noise, **training) for one in bodies]
        plan = plans[0]
        field = field_of_images(opened, plan.pixel)
        warned = [*opened.oddities(), *_unresolved(field, plan, opened)]
        if progress:
            say(str(opened))
        some = np.arange(min(field.n, N_SPECTRUM))
        known = pictures_for(field.read(some), plan, field.labels is not None) if calibrate else {}
        within = budget if parts.plan is None else None
        if within is not None or progress:
            plan = _costed(field, plans, known, within, device, progress, started)
        if many and plan.body == "mlp":
            warned.append("Perceptrons may miss half of what whole images tell; --body conv finds more, more slowly.")
        if plan.steps < FEW_STEPS:
            usual = BODIES[plan.body][2]
            warned.append(f"{plan.steps} steps of training a network are few; {usual} are usual.")
        if progress:
            for sentence in warned[len(opened.oddities()) :]:  # the others are warned of by `open_images`
                say(f"warning: {sentence}")
        settled = {"data": opened.describe(), "calibrate": calibrate, "plan": asdict(plan)}
        parts.begin(settled, tolerance=tolerance, bits_per_dim=bits_per_dim)
        if parts.finished:
            return load(parts.out)
        n_networks = plan.folds * (len(plan.kinds(field)) + 2 * len(known))
        found: dict[str, Any] = {}
        rows: list[Any] = []
        with progress_bar("probe", n_networks * plan.steps, shown=progress) as advance:
            from ..estimators.amortised_estimates import measure

            where: dict[str, Any] = {"device": device, "on_step": advance}
            measured = measure(field, plan, parts=parts.folder, **where)
            for name, rendering in known.items():
                folder = parts.folder / name
                folder.mkdir(exist_ok=True)
                one = calibrate_on(rendering, field.n, plan_for(plan, rendering), tolerance, parts=folder, **where)
                found[PREFIX + name] = one
                rows += comparison(PREFIX + name, one)
        if known and channel == "gaussian":
            asked["nearest_pictures"] = next(iter(known))
        levels = {"levels": len(field.pixels.levels), "unresolved": field.pixels.unresolved}
        result = probe_result(
            probe_variables(**measured, tolerance=tolerance, bits_per_dim=bits_per_dim),
            opened.describe(),
            {**asked, "plan": asdict(plan), "pixel_levels": levels, "warnings": warned},
            seed,
            calibrations=found,
            rows=rows,
        )
        if out is not None:
            write(out, result)
        parts.remove()
    return result


def field_of_images(images: Images, pixel: Pixel | None = None) -> Field:
    """Return images as the estimator reads them: held in memory where they are small, read by slices otherwise.

    The levels are those of `pixel`, None: of all pixels.
    """
    n, _, rows, columns = images.shape
    levels = images.levels if images.levels is not None and len(images.levels) <= MAX_LEVELS else None
    first = images.read(np.arange(0, n, max(1, n // LEVEL_SAMPLE)))
    grey = levels if images.shape[1] == 1 else None
    pixels = pixels_of(first, pixel, images.mean, images.variance, grey, images.symbols)
    labels = images.labels if len(images.classes) > 1 else None
    read = images.read
    if 4 * n * images.mean.size <= HELD_BYTES:
        held: NDArray[np.float32] = np.concatenate(list(images.batches(4096)))
        read = held.__getitem__  # type: ignore[assignment]
    return Field(read, n, (rows, columns), pixels, labels)


def _check(channel: str, schedule: str, tolerance: float, bits: float, budget: float | None, device: str) -> None:
    """Raise InputError for what no probe can do."""
    for name, value, allowed in (("channel", channel, CHANNELS), ("schedule", schedule, get_args(Schedule))):
        if value not in allowed:
            raise InputError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    if channel != "gaussian" and schedule != "linear":
        raise InputError(f"schedule is of gaussian noise, got {schedule!r} for {channel}; leave it out")
    limits = (("budget", budget, "seconds"), ("tolerance", tolerance, "nats"), ("bits_per_dim", bits, "bits"))
    for name, number, units in limits:
        if number is not None and not 0 < number < np.inf:
            raise InputError(f"{name} must be > 0 {units}, got {number:g}")
    device_of(device)


def _plan(
    images: Images,
    times: int | str | Sequence[float],
    radii: str | Sequence[int] | None,
    pixel: str | Pixel,
    **options: Any,
) -> ProbePlan:
    """Return the plan of these arguments of `probe`; raises InputError for an A that is not there or constant."""
    _, _, rows, columns = images.shape
    place = _place(pixel, rows, columns)
    if place is not None:
        images.check_pixel(*place)
    limit = reach((rows, columns), place)
    if limit < 2:
        raise InputError(f"images must reach at least two pixels beyond A, got {rows}x{columns}")
    widths = tuple(range(1, min(DEFAULT_RADII + 1, limit))) if radii is None else parse_radii(radii)
    if not widths or widths[-1] >= limit:
        raise InputError(f"radii must be below {limit}, where the box covers the image, got {shown(list(widths))}")
    return ProbePlan(_times(times), widths, place, **options)


def _times(times: int | str | Sequence[float]) -> tuple[float, ...]:
    """Return the times of a number of them, or of their list."""
    text = times if isinstance(times, str) else None
    with contextlib.suppress(ValueError, TypeError):
        if text is not None:
            times = [float(word) for word in text.split(",")] if "," in text else int(text)
        if not isinstance(times, int):
            listed = tuple(float(t) for t in times)
            if len(listed) > 1:
                return listed
        elif 2 <= times <= MOST_TIMES:
            return tuple(round(k / (times + 1), 4) for k in range(1, times + 1))
    allowed = f"2 to {MOST_TIMES}, or a list, at least two, such as 0.2,0.3,0.4"
    raise InputError(f"times must be how many, {allowed}, got {shown(times if text is None else text)}")


def parse_radii(radii: str | Sequence[int]) -> tuple[int, ...]:
    """Return radii, which may be text such as 1..12 or 1,2,4."""
    text = radii if isinstance(radii, str) else ""
    with contextlib.suppress(TypeError):
        if not isinstance(radii, str):
            return tuple(index(r) for r in radii)
    span = re.fullmatch(r"\s*(\d{1,9})\s*\.\.\s*(\d{1,9})\s*", text)
    if span and int(span[1]) <= int(span[2]) <= 10_000:
        return tuple(range(int(span[1]), int(span[2]) + 1))
    if re.fullmatch(r"\s*\d{1,9}\s*(,\s*\d{1,9}\s*)*", text):
        return tuple(int(word) for word in text.split(","))
    raise InputError(f"radii must be a range such as 1..12 or a list such as 1,2,4, got {radii!r}")


def _place(pixel: str | Pixel, rows: int, columns: int) -> Pixel | None:
    """Return the place of A, None for an average over all pixels."""
    if not isinstance(pixel, str):
        row, column = pixel
        return int(row), int(column)
    if pixel == "average":
        return None
    if pixel == "center":
        return rows // 2, columns // 2
    place = re.fullmatch(r"\s*(\d{1,9})\s*,\s*(\d{1,9})\s*", pixel)
    if place is None:
        raise InputError(f"pixel must be center, average or a place such as 14,14, got {pixel!r}")
    return int(place[1]), int(place[2])


def _unresolved(field: Field, plan: ProbePlan, images: Images) -> Iterator[str]:
    """Yield a sentence on what the levels of a pixel leave open; raise InputError for noise of spins otherwise."""
    pixels = field.pixels
    if plan.channel != "gaussian" and not pixels.spins and plan.tokens is None:
        raise InputError(
            f"channel {plan.channel} needs images of two values, {images.source.name} is {images.kind}; use gaussian, "
            "or declare tokens"
        )
    if pixels.unresolved:
        within = 0.5 * np.log1p(plan.noise().snr(plan.times[0]) * pixels.spread.mean(axis=0)).sum()
        yield (
            f"A is told apart by {len(pixels.levels)} {'levels' if field.channels == 1 else 'colours'}, which leave "
            f"{pixels.unresolved:.2g} of its variance open: up to {within:.2g} nats at "
            f"{level(plan.times[0], np.log(plan.noise().snr(plan.times[0])))}, where I(A;C|B) and r(t) may be too "
            "small."
        )


def _costed(
    field: Field,
    plans: list[ProbePlan],
    known: dict[str, Pictures],
    budget: float | None,
    device: str,
    progress: bool,
    started: float,
) -> ProbePlan:
    """Return the last plan of which the budget leaves enough steps, or the first, with these; say what it costs."""
    from ..estimators.amortised_estimates import pilot

    larger = [max(1.0, math.prod(rendering.shape) / (field.shape[0] * field.shape[1])) for rendering in known.values()]
    exact = sum(exact_seconds(rendering, plan_for(plans[0], rendering)) for rendering in known.values())
    n_networks = plans[0].folds * (len(plans[0].kinds(field)) + 2 * sum(larger))

    def fits(n_steps: int, seconds: float, beside: float) -> bool:
        return budget is not None and 0.95 * budget > time.perf_counter() - started + beside + n_steps * seconds

    plan, step, beside = plans[0], math.inf, 0.0
    for one in plans:
        if one is plan or fits(SLOWER * FEW_STEPS, n_networks * step, beside):  # else its pilot may cost all there is
            seconds, asking = pilot(field, one, device)
            its = n_networks * (asking + OVERHEAD_STEPS * seconds) + exact
            if one is plan or fits(FEW_STEPS, n_networks * seconds, its):
                plan, step, beside = one, seconds, its
    seconds, spent = step, time.perf_counter() - started
    if budget is not None:
        remedy = "--no-calibrate or fewer times" if known else "fewer times"
        left = training_seconds(budget, spent + beside, n_networks * seconds, remedy)
        plan = replace(plan, steps=int(left / (n_networks * seconds)))
    if progress:
        titles = " and ".join(TITLES[name] for name in known)
        pictured = f", and as many pictures of known truth ({titles})" if known else ""
        say(
            f"probe: {field.n} images of {field.shape[0]}x{field.shape[1]}, {len(plan.times)} times x "
            f"{len(plan.radii)} radii, {plan.folds} folds, {plan.steps} steps a network ({plan.body}){pictured}: about "
            f"{duration(spent + n_networks * plan.steps * seconds + beside)} on {device}"
        )
    return plan


# -- what probe and hybrid share -----------------------------------------------------------------------------


def seed_of(rng: Rng) -> int:
    """Return a seed as it is, and one that is drawn for a generator or None."""
    return rng if isinstance(rng, int) else int(np.random.default_rng(rng).integers(2**32))


def training_seconds(budget: float, beside: float, step: float, remedy: str) -> float:
    """Return the seconds that `beside` leaves for training, with some to spare; InputError unless `step` fits in."""
    left = 0.95 * budget - beside
    if left < step:
        least = math.ceil((beside + step) / 0.95)
        raise InputError(
            f"budget must be at least {least} s, as {duration(beside)} pass beside training, "
            f"got {budget:g}; raise it, or take {remedy}"
        )
    return left


def plain(value: Any) -> Any:
    """Return text, numbers and None as they are, and sequences and arrays as lists, for JSON."""
    return value if isinstance(value, str | int | float | None) else np.asarray(value).tolist()
