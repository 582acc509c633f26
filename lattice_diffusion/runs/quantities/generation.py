"""Generation from pure noise by four schedules of local and global denoisers, the window taken from the exact CMI.

    LLL   local at all times                     LGL   global inside the window, local outside
    GLG   local inside the window only           GGG   global at all times

The window is where I_t(A;C|B) at the local radius exceeds a tolerance. `error` is 0 for perfect generation: 1/2 chi^2
of the law of 3 x 3 patches for spins (against the exact law, without bias), the fraction of vertices around which loops
are broken for domain walls. So is `mean_distance`, of the law of a sample's mean value: the magnetisation of spins,
against its exact law, the mean bond of walls, against as many true samples. Erased loops are unmasked bond by bond, all
else in `n_steps` reverse steps.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from ... import exact
from ...channels import Channel
from ...denoisers import (
    Denoiser,
    ExactDenoiser,
    Switch,
    always,
    hybrid,
    pure_noise,
    reverse_steps,
    unmask_loops,
    violated_vertices,
)
from ...errors import InputError
from ...exact.magnetisation import patch_law
from ...models import DomainWalls
from ...phases import nonlocality_window
from ...results import variable
from ..build import build_channel, build_model
from .base import Column, Parameters, Quantity, Settings, check_solvable, with_errors
from .local_training import TrainingSettings, trained, trained_globally
from .locality_gap import averages
from .mean_law import MeanLaw, mean_law
from .recovery import energies, half_chi_square, orders, patch_frequencies, return_times

SCHEDULES = ("LLL", "GLG", "LGL", "GGG")
FloatArray = NDArray[np.float64]


class GenerationSettings(Settings):
    """n_steps: reverse steps; tolerance (nats), n_times and n_noise (samples each) of the window's CMI curve."""

    n_steps: Annotated[int, Field(ge=2)] = 40
    tolerance: Annotated[float, Field(gt=0)] = 1e-3
    n_times: Annotated[int, Field(ge=3)] = 19
    n_noise: Annotated[int, Field(ge=2)] = 400


class LearnedGenerationSettings(GenerationSettings, TrainingSettings):
    """Both, and global_steps of training for the global network."""

    global_steps: Annotated[int, Field(ge=1)] = 1000


def window(model: Any, channel: Channel, radius: int, settings: dict[str, Any], rng: np.random.Generator) -> FloatArray:
    """(2,), start and stop of the nonlocality window at the middle of the lattice; 0 and 1 for ends not bracketed."""
    if isinstance(model, DomainWalls):
        i, j = ((n - 1) // 2 for n in model.faces)
        part = model.tripartition(radius=radius, bond=((i, j), (i, j + 1)))
    else:
        part = model.lattice.tripartition(model.lattice.center, radius)
    times = np.linspace(0.0, 1.0, settings["n_times"] + 2)[1:-1]
    n = settings["n_noise"] * (100 if _unmasked(model, channel) else 1)  # percolation is that much cheaper
    curve = [exact.cmi(model, channel, float(t), part, n, rng) for t in times]
    found = nonlocality_window(times, [c.value for c in curve], settings["tolerance"], [c.stderr for c in curve])
    if found is None:
        raise InputError(
            f"tolerance must be below the largest CMI, {max(c.value for c in curve):.3g} nats at r = {radius}, "
            f"got {settings['tolerance']}"
        )
    return np.array(
        [0.0 if found.start is None else found.start.value, 1.0 if found.stop is None else found.stop.value]
    )


def schedules(local: Denoiser, everything: Denoiser, between: FloatArray) -> dict[str, Switch]:
    start, stop = (float(t) for t in between)
    return {
        "LLL": always(local),
        "GLG": hybrid(everything, local, start, stop),
        "LGL": hybrid(local, everything, start, stop),
        "GGG": always(everything),
    }


def _unmasked(model: Any, channel: Channel) -> bool:
    return isinstance(model, DomainWalls) and channel.name == "erasure"


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel, radius = build_model(parameters["model"]), build_channel(parameters["channel"]), _radius(parameters)
    between = window(model, channel, radius, parameters["settings"], rng)
    denoisers = ExactDenoiser(model, channel, radius), ExactDenoiser(model, channel)
    return _generate(parameters, model, channel, denoisers, between, rng)


def evaluate_learned(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel, settings = (
        build_model(parameters["model"]),
        build_channel(parameters["channel"]),
        parameters["settings"],
    )
    radius = _radius(parameters)
    between = window(model, channel, radius, settings, rng)
    local = trained(model, channel, radius, settings, rng)
    everything = trained_globally(model, channel, settings, rng)
    return _generate(parameters, model, channel, (local, everything), between, rng)


def _generate(
    parameters: Parameters,
    model: Any,
    channel: Channel,
    denoisers: tuple[Denoiser, Denoiser],
    between: FloatArray,
    rng: np.random.Generator,
) -> dict[str, NDArray]:
    n, start = parameters["n_samples"], parameters["t"]
    shape = model.lattice.shape if isinstance(model, DomainWalls) else (1, *model.lattice.shape)
    n_values = int(model.bonds.sum()) if isinstance(model, DomainWalls) else model.lattice.n_sites
    times = return_times(model, channel, start, parameters["settings"]["n_steps"])
    true = truth(model, model.sample(n, rng))
    rows: dict[str, list[float]] = {}
    for schedule in schedules(*denoisers, between).values():
        begin = time.perf_counter()
        noise = pure_noise((n, *shape), channel, start, rng)
        x, cost = _run(model, noise, times, schedule, channel, rng)
        seconds = time.perf_counter() - begin
        row = quality(model, x.reshape(true.samples.shape), true, rng)
        for name, value in {**row, "cost": cost / n_values, "seconds": seconds / n}.items():
            rows.setdefault(name, []).append(float(value))
    return {**{name: np.array(values) for name, values in rows.items()}, "window": between}


def _run(
    model: Any, noise: NDArray, times: list[float], schedule: Switch, channel: Channel, rng: np.random.Generator
) -> tuple[NDArray, float]:
    """Generated data and what all denoising of one sample cost."""
    if _unmasked(model, channel):

        def radius_at(t: float) -> int | None:
            return schedule(t).radius

        costs = [schedule(float(t)).multiply_adds(noise.shape[1:]) for t in np.linspace(0.0, 1.0, 201)]
        return unmask_loops(noise, radius_at, rng).x, float(np.mean(costs))
    cost = 0
    for step in reverse_steps(noise, times, schedule, channel, rng):
        cost += step.multiply_adds
    return step.x, float(cost)


@dataclass(frozen=True)
class Truth:
    """What generated samples are compared with.

    Attributes:
        samples: as many, drawn from p_0.
        patches: (512,), exact probabilities of 3 x 3 patches of spins; None for domain walls.
        means: the law of a sample's mean value.
    """

    samples: NDArray
    patches: FloatArray | None
    means: MeanLaw


def truth(model: Any, samples: NDArray) -> Truth:
    walls = isinstance(model, DomainWalls)
    patches = None if walls else patch_law(model.lattice.shape, model.beta, 3)
    return Truth(samples, patches, mean_law(model, means(model, samples), int(_used(model).sum())))


def quality(model: Any, x: NDArray, true: Truth, rng: np.random.Generator) -> dict[str, float]:
    """How far generated samples are from the truth; each value with its error."""
    changes = {}
    measures: dict[str, Callable[[Any, NDArray], FloatArray]] = {
        "energy_change": energies,
        "order_change": orders,
        "correlation_change": half_way_correlations,
    }
    for name, of in measures.items():
        one, other = of(model, x), of(model, true.samples)
        changes[name] = one.mean() - other.mean()
        changes[f"{name}_stderr"] = math.sqrt((one.var(ddof=1) + other.var(ddof=1)) / len(x))
    changes["mean_distance"], changes["mean_distance_stderr"] = true.means.distance(means(model, x), rng)
    if true.patches is None:
        broken = averages({"error": violated_vertices(np.where(model.bonds, x, 0))[:, None]})
        return {**{name: float(value[0]) for name, value in broken.items()}, **changes}
    error, stderr = half_chi_square(patch_frequencies(model, x, side=3) - true.patches, true.patches)
    return {"error": error, "error_stderr": stderr, **changes}


def means(model: Any, x: NDArray) -> FloatArray:
    """(n,): mean of all values, the magnetisation of spins."""
    return np.asarray(x[:, _used(model)].mean(axis=1, dtype=float))


def _used(model: Any) -> NDArray[np.bool_]:
    return model.bonds if isinstance(model, DomainWalls) else np.ones(model.lattice.shape, bool)


def half_way_correlations(model: Any, x: NDArray) -> FloatArray:
    """(n,): mean product of values half the lattice apart, over rows and columns; right bonds of domain walls."""
    plane = x[:, 0, :, :-1] if isinstance(model, DomainWalls) else x
    products = []
    for axis in (1, 2):
        half = plane.shape[axis] // 2
        along = np.moveaxis(plane, axis, 1)
        products.append((along[:, :-half] * along[:, half:]).mean(axis=(1, 2), dtype=float))
    return np.asarray(0.5 * (products[0] + products[1]))


def coordinates(table: Parameters) -> dict[str, xr.Variable]:
    names = np.array(SCHEDULES, dtype=object)
    return {
        "schedule": variable(("schedule",), names, "1", "L local, G global: before, inside and after the window"),
        "end": variable(("end",), np.array(["start", "stop"], dtype=object), "1", "end of the window"),
    }


def _radius(parameters: Parameters) -> int:
    if len(parameters["radii"]) != 1:
        raise InputError(f"radii must hold the one radius of the local denoiser, got {parameters['radii']}")
    return int(parameters["radii"][0])


def _check(parameters: Parameters) -> None:
    check_solvable(parameters)
    _radius(parameters)
    model, channel = build_model(parameters["model"]), parameters["channel"]["name"]
    if parameters["t"] < 1.0:
        raise InputError(f"generation starts from pure noise, t = 1, got t = {parameters['t']}")
    if isinstance(model, DomainWalls) and channel == "erasure" and (model.beta > 0.0 or model.periodic):
        raise InputError("erased domain walls are generated for uniform loops only, beta = 0 on an open grid")


BY_SCHEDULE = ("schedule",)
COLUMNS = {
    **with_errors("error", BY_SCHEDULE, "1", "half chi^2 of 3 x 3 patches, or fraction of broken vertices"),
    **with_errors("mean_distance", BY_SCHEDULE, "1", "W_1 of the law of the mean value to the true one, less its null"),
    **with_errors("energy_change", BY_SCHEDULE, "1", "energy per site (bond), generated less true"),
    **with_errors("order_change", BY_SCHEDULE, "1", "squared mean value, generated less true"),
    **with_errors("correlation_change", BY_SCHEDULE, "1", "correlation at half the lattice, generated less true"),
    "cost": Column(BY_SCHEDULE, "1", "multiply-adds (exact denoisers: entries read) per value, all steps"),
    "seconds": Column(BY_SCHEDULE, "s", "measured time per sample, all steps"),
    "window": Column(("end",), "1", "nonlocality window of the exact CMI"),
}
GENERATION = Quantity(
    "generation",
    "generation",
    COLUMNS,
    evaluate,
    coordinates,
    settings=GenerationSettings,
    reads=("radii",),
    models=("ising", "domain-walls"),
    check=_check,
)
LEARNED_GENERATION = Quantity(
    "learned_generation",
    "learned generation",
    COLUMNS,
    evaluate_learned,
    coordinates,
    settings=LearnedGenerationSettings,
    reads=("radii",),
    models=("ising",),
    check=_check,
)
