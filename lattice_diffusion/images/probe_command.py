"""`lattice-diffusion probe`: what is asked for in words, the cost before it is paid, the result file."""

import json
import re
import shutil
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import xarray as xr

from ..channels import Schedule
from ..errors import InputError, check_device
from ..estimators.amortised import CHANNELS
from ..progress import duration, progress_bar, say
from ..results import load, rows, write
from ..store import atomic_write, check_output
from .calibration import PREFIX, calibrate, comparison, exact_seconds, pictures, plan_for
from .images import Images, ImageWarning, open_images
from .probe import Field, ProbePlan, field_of_images, measure, pilot, reach
from .probe_schema import probe_result, probe_variables

DEFAULT_RADII = 12
STEPS = 2000  # of a network, if no budget is given
MOST_TIMES = 1000
FEW_STEPS = 500


@dataclass(frozen=True)
class Request:
    """The options of the command as they were given; `calibrate` None where the noise is that of the exact answers."""

    times: str = "11"
    radii: str | None = None
    pixel: str = "center"
    channel: str = "gaussian"
    budget: float | None = None
    calibrate: bool | None = None
    tolerance: float = 0.01
    kl: float = 1.0
    seed: int = 0
    device: str = "cpu"
    schedule: str = "linear"


def opened(
    path: Path,
    key: str | None = None,
    labels: Path | None = None,
    n_max: int | None = None,
    value_range: str | None = None,
) -> Images:
    """The images of the user, and what is odd about them in one line each."""
    limits = None if value_range is None else _value_range(value_range)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ImageWarning)
        images = open_images(path, key=key, labels=labels, n_max=n_max, value_range=limits)
    for warning in found:
        say(f"warning: {warning.message}")
    return images


def run_probe(
    images_path: Path,
    out: Path,
    asked: Request,
    *,
    key: str | None = None,
    labels: Path | None = None,
    n_max: int | None = None,
    value_range: str | None = None,
    resume: bool = False,
    force: bool = False,
    **training: int,
) -> xr.DataTree:
    """Measure and write; a killed run goes on with `resume`, to the same numbers.

    Args:
        value_range: values of the darkest and lightest pixel, "0,255".
        training: `steps`, `width`, `batch_size`, `folds` of `ProbePlan`.
    """
    check_output(out, resume=resume, force=force)
    asked = settled(asked)
    parts = parts_of(out, resume=resume, force=force)
    if resume and out.exists() and not parts.exists():
        say(f"{out} is finished")
        return load(out)
    images = opened(images_path, key, labels, n_max, value_range)
    plan = parse_plan(images, asked, **training)
    field = field_of_images(images, plan.pixel)
    _check_values(field, plan, images)
    known = written_plan(parts) if resume else None
    known_pictures = pictures(field.shape) if asked.calibrate else {}
    plans = {name: plan_for(plan, rendering) for name, rendering in known_pictures.items()}
    seconds, asking = pilot(field, plan, asked.device)
    networks = plan.folds * (len(plan.kinds(field)) + 2 * len(known_pictures))
    if known is None and asked.budget is not None:
        plan = replace(plan, steps=max(1, int((0.95 * asked.budget / networks - asking) / seconds)))
    plan = begin(parts, plan, images.describe(), asked, known)
    exact = sum(exact_seconds(rendering, plans[name]) for name, rendering in known_pictures.items())
    _say_cost(field, plan, asked, networks * (plan.steps * seconds + asking) + exact)
    options: dict[str, Any] = {"tolerance": asked.tolerance, "budget": asked.kl}
    calibrations = {}
    with progress_bar("probe", networks * plan.steps, shown=True) as advance:
        measured = measure(field, plan, device=asked.device, parts=parts, on_step=advance)
        for name, rendering in known_pictures.items():
            (parts / name).mkdir(exist_ok=True)
            calibrations[PREFIX + name] = calibrate(
                rendering,
                field.n,
                replace(plans[name], steps=plan.steps),
                device=asked.device,
                parts=parts / name,
                on_step=advance,
                **options,
            )
    variables = probe_variables(**measured, **options)
    levels = {"levels": len(field.pixels.levels), "unresolved": field.pixels.unresolved}
    parameters = {**asdict(asked), "plan": json.loads(plan.to_json()), "pixel_levels": levels}
    result = probe_result(variables, images.describe(), parameters, plan.seed, calibrations=calibrations)
    for name, calibration in calibrations.items():
        rows(result).extend(comparison(name, calibration))
    write(out, result)
    shutil.rmtree(parts)
    return result


def parse_plan(images: Images, asked: Request, **training: int) -> ProbePlan:
    """Times, radii and A from their words. Raises ValueError (InputError for a pixel that is not there or constant)."""
    _, _, rows, columns = images.shape
    pixel = _pixel(asked.pixel, rows, columns)
    if pixel is not None:
        images.check_pixel(*pixel)
    limit = reach((rows, columns), pixel)
    if limit < 2:
        raise InputError(f"images must reach at least two pixels beyond A, got {rows}x{columns}")
    radii = tuple(range(1, min(DEFAULT_RADII + 1, limit))) if asked.radii is None else parse_radii(asked.radii)
    if radii[-1] >= limit:
        raise InputError(f"radii must be below {limit}, where the box covers the image, got {radii[-1]}")
    noise = {"channel": asked.channel, "schedule": asked.schedule}
    return ProbePlan(_times(asked.times), radii, pixel, seed=asked.seed, **noise, **{"steps": STEPS, **training})  # type: ignore[arg-type]


def _check_values(field: Field, plan: ProbePlan, images: Images) -> None:
    """Refuses channels of spins for other images; says what the levels of a pixel leave open."""
    pixels = field.pixels
    if plan.channel != "gaussian" and not pixels.spins:
        raise InputError(
            f"channel {plan.channel} needs images of two values, {images.source.name} is {images.kind}; use gaussian"
        )
    if pixels.unresolved:
        noise = plan.noise()
        within = 0.5 * np.log1p(noise.snr(plan.times[0]) * pixels.spread.mean(axis=0)).sum()
        say(
            f"A is told apart by {len(pixels.levels)} {'levels' if field.channels == 1 else 'colours'}, which leave "
            f"{pixels.unresolved:.2g} of its variance open: up to {within:.2g} nats at t = {plan.times[0]:g}"
        )


def settled(asked: Request) -> Request:
    """With `calibrate` decided. Raises ValueError for what no probe can do."""
    if asked.channel not in CHANNELS:
        raise InputError(f"channel must be one of {', '.join(CHANNELS)}, got {asked.channel!r}")
    if asked.schedule not in get_args(Schedule):
        raise InputError(f"schedule must be one of {', '.join(get_args(Schedule))}, got {asked.schedule!r}")
    if asked.channel != "gaussian" and asked.schedule != "linear":
        raise InputError(f"schedule is of gaussian noise, got {asked.schedule!r} for {asked.channel}; leave it out")
    solved = (asked.channel, asked.schedule) == ("gaussian", "linear")
    if asked.calibrate and not solved:
        raise InputError("calibrate is for gaussian noise of linear schedule; leave it out")
    if asked.budget is not None and not 0 < asked.budget < np.inf:
        raise InputError(f"budget must be > 0 seconds, got {asked.budget:g}")
    for name, value in (("tolerance", asked.tolerance), ("kl", asked.kl)):
        if not 0 < value < np.inf:
            raise InputError(f"{name} must be > 0 nats, got {value:g}")
    check_device(asked.device)
    return replace(asked, calibrate=solved if asked.calibrate is None else asked.calibrate)


def _times(text: str) -> tuple[float, ...]:
    try:
        if re.fullmatch(r"\s*\d+\s*", text):
            n = int(text)
            if 2 <= n <= MOST_TIMES:
                return tuple(round(k / (n + 1), 4) for k in range(1, n + 1))
        elif "," in text:
            return tuple(float(word) for word in text.split(","))
    except ValueError:
        pass
    allowed = "how many or a list, at least two, such as 0.2,0.3,0.4"
    raise InputError(f"times must be {allowed}, got {text!r}; {MOST_TIMES} at most")


def _value_range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"value_range must be two numbers such as 0,255, got {text!r}") from None
    return low, high


def parse_radii(text: str) -> tuple[int, ...]:
    span = re.fullmatch(r"\s*(\d{1,9})\s*\.\.\s*(\d{1,9})\s*", text)
    if span and int(span[1]) <= int(span[2]) <= 10_000:
        return tuple(range(int(span[1]), int(span[2]) + 1))
    if re.fullmatch(r"\s*\d{1,9}\s*(,\s*\d{1,9}\s*)*", text):
        return tuple(int(word) for word in text.split(","))
    raise InputError(f"radii must be a range such as 1..12 or a list such as 1,2,4, got {text!r}")


def _pixel(text: str, rows: int, columns: int) -> tuple[int, int] | None:
    if text == "average":
        return None
    if text == "center":
        return rows // 2, columns // 2
    place = re.fullmatch(r"\s*(\d{1,9})\s*,\s*(\d{1,9})\s*", text)
    if place is None:
        raise InputError(f"pixel must be center, average or a place such as 14,14, got {text!r}")
    return int(place[1]), int(place[2])


def begin(
    parts: Path, plan: ProbePlan, data: dict[str, object], asked: Request, known: dict[str, Any] | None
) -> ProbePlan:
    """The plan to follow, written to the folder of parts; that of the run before, `known`, where there is one.

    Raises ValueError where the run before was of other images, or asked for something else.
    """
    now: dict[str, Any] = {"data": data, "asked": asdict(asked), "plan": json.loads(plan.to_json())}
    if known is not None:
        now["plan"]["steps"] = known["plan"]["steps"]  # may have followed from a budget and another day's speed
        now["asked"] |= {name: known["asked"][name] for name in ("budget", "tolerance", "kl", "device")}
        for part, values in now.items():
            for key, value in values.items():
                if known[part].get(key) != value:
                    there, here = json.dumps(known[part].get(key)), json.dumps(value)
                    raise InputError(
                        f"{parts} holds another probe: {key} is {there} there and {here} here; "
                        "use --force to start again"
                    )
        return replace(plan, steps=int(known["plan"]["steps"]))
    start(parts, json.dumps(now))
    return plan


def parts_of(out: Path, *, resume: bool, force: bool) -> Path:
    """The folder of what is finished. Raises FileExistsError for that of a run before, without `resume` or `force`."""
    parts = out.with_name(out.name + ".parts")
    if parts.exists() and not (resume or force):
        raise FileExistsError(
            f"{parts} holds an unfinished run; use --resume to go on with it, --force to start again, or another name"
        )
    return parts


def start(parts: Path, plan: str) -> None:
    """The folder of parts with the plan alone; those of a run before are gone."""
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    with atomic_write(parts / "plan.json") as path:
        path.write_text(plan, encoding="utf-8")


def written_plan(parts: Path) -> dict[str, Any] | None:
    path = parts / "plan.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _say_cost(field: Field, plan: ProbePlan, asked: Request, seconds: float) -> None:
    if plan.steps < FEW_STEPS:
        say(f"warning: {plan.steps} steps a network are few, so that less is found than there is; {STEPS} are usual")
    beside = ", and as many pictures of Ising spins and of loops" if asked.calibrate else ""
    say(
        f"probe: {field.n} images of {field.shape[0]}x{field.shape[1]}, {len(plan.times)} times x {len(plan.radii)} "
        f"radii, {plan.folds} folds, {plan.steps} steps a network{beside}: about {duration(seconds)} on "
        f"{asked.device}"
    )
