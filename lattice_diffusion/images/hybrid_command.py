"""`lattice-diffusion hybrid`: images by four schedules of local and global networks, the window taken from a probe."""

import json
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from .. import __version__
from ..errors import InputError
from ..phases import nonlocality_window
from ..progress import duration, progress_bar, say
from ..results import grids, load, write
from ..store import beside, check_output, check_same
from ..studies.reproduce import draw
from .hybrid_data import Split, seed_of, split
from .hybrid_generation import Radii, four_schedules, stepwise
from .hybrid_measurements import Effort, classifier_of, images_denoised, measure, ticks
from .hybrid_schema import Judge, hybrid_groups, hybrid_result
from .hybrid_training import Training, seconds_per_step, steps_within, trained, untrained
from .probe_command import opened, parse_radii, parts_of, start, written_plan

if TYPE_CHECKING:
    from ..denoisers.network import Network


STEPS = ("steps", "global_steps")
MEASURES = {"cmi": "I(A;C|B)", "error": "a squared error beyond the global one's"}


@dataclass(frozen=True)
class Request:
    """The options of the command as they were given."""

    window: str | None = None
    by: str = "cmi"
    tolerance: float | None = None
    radius: int = 2
    radii: str = "1..6"
    levels: int = 8
    shrink: int = 1
    n: int = 1000
    steps: int = 60
    budget: float = 1800.0
    seed: int = 0


@dataclass(frozen=True)
class HybridPlan:
    """All that decides the numbers: images, training, window and radii of the schedules, effort."""

    data: dict[str, object]
    levels: int
    shrink: int
    training: Training
    radius: int
    window: tuple[float, float]
    recommended: tuple[tuple[float, int], ...] | None
    effort: Effort

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def run_hybrid(
    images_path: Path,
    out: Path,
    asked: Request,
    *,
    probe: Path | None = None,
    key: str | None = None,
    labels: Path | None = None,
    n_max: int | None = None,
    value_range: str | None = None,
    resume: bool = False,
    force: bool = False,
    effort: Mapping[str, Any] | None = None,
    **training: int,
) -> xr.DataTree:
    """Train, measure and write; a killed run goes on with `resume`, to the same numbers.

    Args:
        probe: result file of a probe of the same images: the window at the radius asked for, and r(t).
        effort: fields of `Effort`; training: `steps` and `global_steps` (both, or
            neither), `width`, `batch_size` of `Training`.

    Raises:
        ValueError: neither window nor probe, options outside their range, images that do not fit.
    """
    for path in (out, beside(out, ".png")):
        check_output(path, resume=resume, force=force)
    _check(asked)
    parts = parts_of(out, resume=resume, force=force)
    if resume and out.exists() and not parts.exists():
        say(f"{out} is finished")
        return load(out)
    images = opened(images_path, key, labels, n_max, value_range)
    data = split(images, asked.levels, asked.shrink, np.random.default_rng(seed_of(asked.seed, "split")))
    radii = parse_radii(asked.radii)
    if asked.radius not in radii:
        raise InputError(f"radius must be one of the radii {list(radii)}, got {asked.radius}")
    window = parse_window(asked, probe)
    recommended = None if probe is None else _recommended(probe)
    known = written_plan(parts) if resume else None
    if known is not None:  # steps may have followed from a budget and another day's speed
        training = {**{name: known["training"][name] for name in STEPS}, **training}
    plan_training = _training(data, radii, asked, training)
    spent = Effort(**{"n_generated": asked.n, "n_steps": asked.steps, **(effort or {})})
    plan = HybridPlan(
        images.describe(), asked.levels, asked.shrink, plan_training, asked.radius, window, recommended, spent
    )
    _begin(parts, plan, known)
    return _run(plan, data, out, parts, asked)


def _training(data: Split, radii: tuple[int, ...], asked: Request, given: Mapping[str, int]) -> Training:
    """What is to be trained; steps that are not given follow from the budget."""
    if set(STEPS) <= set(given):
        return Training(radii, seed=asked.seed, **given)
    others = {name: value for name, value in given.items() if name not in STEPS}
    speed = seconds_per_step(data, Training(radii, 1, 1, seed=asked.seed, **others))
    return Training(radii, *steps_within(asked.budget, speed), seed=asked.seed, **others)


def _run(plan: HybridPlan, data: Split, out: Path, parts: Path, asked: Request) -> xr.DataTree:
    schedules = four_schedules(plan.radius, plan.window)
    if plan.recommended is not None:
        at, radii = (np.array(column) for column in zip(*plan.recommended, strict=True))
        schedules["r(t)"] = stepwise(at, radii, plan.training.radii)
    _say_cost(plan, data, schedules)
    steps = sum(plan.training.steps_of(kind) for kind in plan.training.kinds)
    with progress_bar("training", steps, shown=True) as advance:
        nets = trained(data, plan.training, parts, advance)
    classifier = classifier_of(data, plan.training.seed, parts)
    if classifier is None:
        say("no labels, so no classifier: quality is measured by patches alone")
    with progress_bar("measuring", ticks(nets, schedules, plan.effort), shown=True) as advance:
        measured = measure(nets, data, schedules, plan.effort, plan.training.seed, parts, advance)
    judge = Judge(data, classifier)
    groups, rows = hybrid_groups(
        data, plan.training.kinds, judge, schedules, plan.effort.starts, plan.radius, plan.window, measured
    )
    _warn_of_training(groups["generation"])
    parameters = {**asdict(asked), "plan": json.loads(plan.to_json())}
    result = hybrid_result(parameters, plan.training.seed, groups, rows)
    write(out, result)
    draw(out, out.with_suffix(".png"))
    shutil.rmtree(parts)
    return result


def _warn_of_training(generation: Mapping[str, Any]) -> None:
    """Say so where the global network is no better than the local one, which it would be after enough training."""
    kl, stderr = generation["kl"].values[0], generation["kl_stderr"].values[0]  # of LLL
    if kl < 3 * stderr:
        say(
            f"warning: local networks everywhere are {kl:.3g} +- {stderr:.2g} nats an image from the global one by the "
            "area law: it has not learned more than they have; give a larger --budget before comparing schedules"
        )


def parse_window(asked: Request, probe: Path | None) -> tuple[float, float]:
    """The window asked for, or that of the probe at the radius of the schedules, open ends at 0 and 1.

    By "cmi" it is where I(A;C|B) exceeds the tolerance, the probe's own by default; by "error" where a local denoiser's
    squared error exceeds the global one's by more than that, a quarter of its largest excess by default. Clean images
    have CMI too, at times where it costs nothing; the error has not.
    """
    if asked.window is not None:
        found = re.fullmatch(r"\s*([\d.]+)\s*,\s*([\d.]+)\s*", asked.window)
        try:
            window = (float(found[1]), float(found[2])) if found else (1.0, 0.0)
        except ValueError:
            window = (1.0, 0.0)
        if not 0 <= window[0] < window[1] <= 1:
            raise InputError(f"window must be two times 0 <= t1 < t2 <= 1, such as 0.2,0.7, got {asked.window!r}")
        return window
    if probe is None:
        raise InputError("window or probe must be given, got neither; take --window 0.2,0.7 or --probe FILE.h5")
    variables = _probe(probe)
    if asked.shrink > 1:
        raise InputError("a probe of unshrunk images has other distances; give --window, or probe the shrunk images")
    radii, t = variables["radius"].values.tolist(), variables["t"].values
    if asked.radius not in radii:
        raise InputError(f"radius must be one of the probe's radii {radii}, got {asked.radius}")
    name, tolerance = _measure(variables, asked)
    seen = nonlocality_window(t, variables[name].values[:, radii.index(asked.radius)], tolerance)
    if seen is None:
        raise InputError(
            f"the probe found {MEASURES[asked.by]} <= {tolerance:g} at all times for r = {asked.radius}: local "
            "networks suffice by that measure; lower --tolerance or give --window"
        )
    return (seen.start.value if seen.start else 0.0), (seen.stop.value if seen.stop else 1.0)


def _measure(variables: Mapping[str, Any], asked: Request) -> tuple[str, float]:
    """The probe's variable that the window is taken from, and what it must exceed."""
    if asked.by == "cmi":
        own = float(variables["tolerance"].values)
        return "cmi_above_null", own if asked.tolerance is None else asked.tolerance
    if "excess_mse" not in variables:
        raise InputError("a window by error needs a probe that measured excess_mse, got one without; take --by cmi")
    at = variables["radius"].values.tolist().index(asked.radius)
    quarter = 0.25 * float(variables["excess_mse"].values[:, at].max())
    return "excess_mse", quarter if asked.tolerance is None else asked.tolerance


def _probe(path: Path) -> dict[str, Any]:
    result = load(path)
    if result.attrs.get("name") != "probe":
        raise InputError(f"{path} must be the result of a probe, got one of {result.attrs.get('name')!r}")
    return grids(result)["probe"]


def _recommended(probe: Path) -> tuple[tuple[float, int], ...] | None:
    variables = _probe(probe)
    if "recommended_radius" not in variables:
        return None
    t, radii = variables["t"].values.tolist(), variables["recommended_radius"].values.tolist()
    return tuple(zip(t, radii, strict=True))


def _check(asked: Request) -> None:
    for name, low in (("levels", 2), ("shrink", 1), ("n", 100), ("steps", 2)):
        if getattr(asked, name) < low:
            raise InputError(f"{name} must be >= {low}, got {getattr(asked, name)}")
    if asked.by not in MEASURES:
        raise InputError(f"by must be one of {', '.join(MEASURES)}, got {asked.by!r}")
    for name in ("budget", "tolerance"):
        value = getattr(asked, name)
        if value is not None and not 0 < value < np.inf:
            raise InputError(f"{name} must be > 0, got {value:g}")


def _begin(parts: Path, plan: HybridPlan, known: dict[str, Any] | None) -> None:
    """The plan written to the folder of parts. Raises ValueError where the run before was another one."""
    if known is None:
        start(parts, plan.to_json())
    else:
        check_same(parts, known, __version__, json.loads(plan.to_json()))


def _say_cost(plan: HybridPlan, data: Split, schedules: Mapping[str, Radii]) -> None:
    training, few = plan.training, data.real[:16]
    per_step = seconds_per_step(data, training, few=2)
    learning = sum(per_step[kind] * training.steps_of(kind) for kind in training.kinds)
    fresh = {kind: untrained(data, training, kind, np.random.default_rng(0)) for kind in training.kinds}
    measuring = 0.0
    for kind, n in images_denoised(fresh, schedules, plan.effort).items():
        measuring += n * _seconds_per_image(fresh[kind], few)
    say(
        f"hybrid: {len(data.train)} images of {data.shape[0]}x{data.shape[1]} to train on, {len(training.radii)} local "
        f"networks of {training.steps} steps, a global one of {training.global_steps}: about {duration(learning)}; "
        f"then {plan.effort.n_generated} images by each of {len(schedules)} schedules, global where "
        f"{plan.window[0]:.3g} <= t < {plan.window[1]:.3g}, and recovery: about {duration(measuring)}"
    )


def _seconds_per_image(net: "Network", few: np.ndarray) -> float:
    net(few, 0.5)
    start = time.perf_counter()
    net(few, 0.5)
    return (time.perf_counter() - start) / len(few)
