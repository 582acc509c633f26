"""The cheapest r(t) for a KL budget, chosen from measured areas and then run: predicted and achieved error and cost.

Two generators whose error is known exactly: closed loops unmasked bond by bond, and Gaussian fields under exact local
denoisers, whose law is in closed form. The cost of a reverse step is counted, as the entries that it reads (of the
boxes, of the whole lattice for the global denoiser) or the multiply-adds of networks of these radii, or measured, as
the seconds that such networks take: then the schedules are those of this machine. Schedules: "optimal" (one Lagrange
multiplier), "hybrid" (one radius and the global denoiser in one interval) and "log rule"
(r >= xi log(N K sqrt(gamma) / error)).
"""

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from ...channels import Channel, Erasure, Gaussian
from ...denoisers import Bernoulli, ExactDenoiser, gaussian_divergence, generated_covariance, unmask_loops
from ...errors import InputError
from ...models import DomainWalls, GaussianField
from ...phases import Allocation, evaluate_schedule, log_rule, optimal_schedule, two_level_schedule
from ...results import variable
from ..build import build_channel, build_model
from .base import Column, Parameters, Quantity, Settings, check_solvable, with_errors
from .denoising import divergence
from .generated_law import field_excess
from .network_cost import network_costs, radii_and_global

SCHEDULES = ("optimal", "hybrid", "log rule")


class ScheduleSettings(Settings):
    """budgets: KL per site in nats; n_slices: times at which the radius is chosen; n_noise: noise samples at each.

    cost: what is saved, entries read by exact denoisers, or multiply-adds or seconds of networks, timed in so many
    rounds of so many passes.
    """

    budgets: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.01,)
    n_slices: Annotated[int, Field(ge=2)] = 24
    n_noise: Annotated[int, Field(ge=2)] = 16
    cost: Literal["entries", "multiply-adds", "seconds"] = "entries"
    rounds: Annotated[int, Field(ge=2)] = 4
    passes: Annotated[int, Field(ge=1)] = 3


@dataclass(frozen=True)
class Areas:
    """What radii cost and lose in every slice of time; the last column is the global denoiser.

    Attributes:
        times: (n_slices,) middles; area: (n_slices, n_radii + 1), KL per site; stderr: its error;
        cmi: (n_slices, n_radii), the decay that gives xi and gamma.
    """

    times: NDArray[np.float64]
    area: NDArray[np.float64]
    stderr: NDArray[np.float64]
    cmi: NDArray[np.float64]


def loop_areas(model: DomainWalls, radii: list[int], n_slices: int, n: int, rng: np.random.Generator) -> Areas:
    """Slices of equal masked fraction: area = dt E KL(global || local) of a masked bond."""
    channel = Erasure()
    denoisers = [ExactDenoiser(model, channel, radius) for radius in [*radii, None]]
    times = (np.arange(n_slices) + 0.5) / n_slices
    rows = np.empty((n_slices, n, len(radii)))
    for k, t in enumerate(times):
        x_t = channel.corrupt(model.sample(n, rng), float(t), rng)
        *locals_, whole = (_log_odds(denoiser, x_t, float(t)) for denoiser in denoisers)
        for j, log_odds in enumerate(locals_):
            rows[k, :, j] = divergence(whole, log_odds)[:, model.bonds].mean(axis=1)
    return _areas(times, rows / n_slices, rows.mean(axis=1) * (1 - times[:, None]))


def _log_odds(denoiser: ExactDenoiser, x_t: NDArray, t: float) -> NDArray[np.float64]:
    law = denoiser.blind(x_t, t)
    assert isinstance(law, Bernoulli)
    return np.asarray(law.log_odds)


def field_areas(model: GaussianField, channel: Gaussian, radii: list[int], times: NDArray) -> Areas:
    """Slices between reverse times: area = 1/2 int d(snr) excess, by Gauss and Legendre in t; nothing is sampled."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    middles, area = 0.5 * (times[:-1] + times[1:]), np.zeros((len(times) - 1, len(radii)))
    for k, (t, s) in enumerate(itertools.pairwise(times)):
        for node, weight in zip(nodes, weights, strict=True):
            u = float(middles[k] + 0.5 * (t - s) * node)
            area[k] += 0.25 * (t - s) * weight * _snr_rate(channel, u) * field_excess(model, channel, u, radii)
    parts = [model.lattice.tripartition(model.lattice.center, radius) for radius in radii]
    cmi = np.array([[model.solver.closed_cmi(channel, float(t), part) for part in parts] for t in middles])
    return _areas(middles, area[:, None], cmi)


def _snr_rate(channel: Gaussian, t: float) -> float:
    """-d(snr)/dt, by a central difference."""
    step = 1e-6 * min(t, 1.0 - t)
    return (channel.snr(t - step) - channel.snr(t + step)) / (2.0 * step)


def _areas(times: NDArray, rows: NDArray, cmi: NDArray) -> Areas:
    """Samples along axis 1 of rows (n_slices, n, n_radii); a global column of zeros is added."""
    error = rows.std(axis=1, ddof=1) / math.sqrt(rows.shape[1]) if rows.shape[1] > 1 else np.zeros_like(rows[:, 0])
    zero = np.zeros((len(rows), 1))
    area = np.concatenate([rows.mean(axis=1), zero], axis=1)
    return Areas(times, area, np.concatenate([error, zero], axis=1), cmi)


def slice_costs(
    model: Any, channel: Channel, radii: list[int], settings: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n_radii + 1,), cost of one slice per site, the global denoiser last, and its standard error, 0 where counted."""
    share = settings["n_slices"] * (model.bonds.sum() if isinstance(model, DomainWalls) else model.lattice.n_sites)
    if settings["cost"] == "entries":
        denoisers = [ExactDenoiser(model, channel, radius) for radius in [*radii, None]]
        counted = np.array([d.multiply_adds(d.shape) for d in denoisers])
    else:
        counted, seconds = network_costs(model, channel, radii, settings["rounds"], settings["passes"])
        if settings["cost"] == "seconds":
            error = seconds.std(axis=0, ddof=1) / math.sqrt(len(seconds))
            return seconds.mean(axis=0) / share, error / share
    return counted / share, np.zeros(len(counted))


def choose(
    kind: str, areas: Areas, cost: NDArray[np.float64], budget: float, radii: list[int], n_sites: int
) -> Allocation:
    """One of SCHEDULES for a budget in nats per site."""
    if kind == "optimal":
        return optimal_schedule(areas.area, cost, budget)
    if kind == "hybrid":
        return two_level_schedule(areas.area, cost, budget)
    floor = float(areas.cmi[areas.cmi > 0].min(initial=math.inf))
    xi, gamma = np.array([decay(radii, curve, floor) for curve in areas.cmi]).T
    choice = log_rule(xi, gamma, [*radii, math.inf], n_sites, len(areas.times), budget * n_sites)
    return evaluate_schedule(choice, areas.area, cost)


def decay(radii: list[int], curve: NDArray, floor: float) -> tuple[float, float]:
    """xi and gamma of gamma e^(-r/xi) through a CMI curve, up to the first radius at which it is below `floor`.

    NaN for fewer than two radii; xi = 0 for a curve that is below the floor from the start.
    """
    last = max(2, int((curve > floor).sum()) + 1)
    r, y = np.array(radii[:last], float), np.log(np.maximum(curve[:last], floor))
    if len(r) < 2:
        return math.nan, 1.0
    slope, intercept = np.polyfit(r, y, 1)
    return (-1.0 / slope, math.exp(intercept)) if slope < 0 else (0.0, 1.0)


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    settings, radii = parameters["settings"], parameters["radii"]
    budgets, n_slices, n_samples = settings["budgets"], settings["n_slices"], parameters["n_samples"]
    if isinstance(model, GaussianField):
        assert isinstance(channel, Gaussian)
        times = np.linspace(1.0, 0.0, n_slices + 1)
        areas, n_sites = field_areas(model, channel, radii, times), model.lattice.n_sites
    else:
        areas, n_sites = loop_areas(model, radii, n_slices, settings["n_noise"], rng), int(model.bonds.sum())
    cost, cost_error = slice_costs(model, channel, radii, settings)
    table = np.full((len(budgets), len(SCHEDULES), 5), np.nan)
    radius = np.full((len(budgets), len(SCHEDULES), n_slices), np.nan)
    values = [*radii, math.inf]
    for b, budget in enumerate(budgets):
        for k, kind in enumerate(SCHEDULES):
            found = choose(kind, areas, cost, budget, radii, n_sites)
            radius[b, k] = [values[j] for j in found.choice]
            rows = np.arange(n_slices)
            error = float(np.sqrt((areas.stderr[rows, found.choice] ** 2).sum()))
            if isinstance(model, GaussianField):
                achieved = _field_error(model, channel, times, radius[b, k]), 0.0
            else:
                achieved = _loop_error(model, radius[b, k], n_samples, rng)
            table[b, k] = found.error, error, *achieved, found.cost
    columns = ("predicted", "predicted_stderr", "achieved", "achieved_stderr", "cost")
    return {
        **{name: table[..., i] for i, name in enumerate(columns)},
        "chosen_radius": np.where(np.isinf(radius), -1.0, radius),
        "slice_time": areas.times,
        "area": areas.area,
        "area_stderr": areas.stderr,
        "radius_cost": cost,
        "radius_cost_stderr": cost_error,
    }


def _loop_error(model: DomainWalls, radius: NDArray, n_samples: int, rng: np.random.Generator) -> tuple[float, float]:
    """KL per bond of unmasking with radius[k] in slice k, mean over orders."""

    def radius_at(t: float) -> int | None:
        r = radius[min(int(t * len(radius)), len(radius) - 1)]
        return None if math.isinf(r) else int(r)

    masked = np.zeros((n_samples, *model.lattice.shape))
    run = unmask_loops(masked, radius_at, rng).divergence
    return float(run.mean()), float(run.std(ddof=1) / math.sqrt(n_samples))


def _field_error(model: GaussianField, channel: Any, times: NDArray, radius: NDArray) -> float:
    """KL per site of the generated law."""
    denoisers = {r: ExactDenoiser(model, channel, None if math.isinf(r) else int(r)) for r in set(radius.tolist())}

    def schedule(t: float) -> ExactDenoiser:
        return denoisers[float(radius[int(np.argmin(np.abs(times[:-1] - t)))])]

    law = generated_covariance(model, channel, [float(t) for t in times], schedule)
    return gaussian_divergence(model, law) / model.lattice.n_sites


def coordinates(table: Parameters) -> dict[str, xr.Variable]:
    settings = table["settings"]
    budgets = np.array(settings["budgets"])
    return {
        "budget": variable(("budget",), budgets, "nat", "allowed KL per site"),
        "schedule": variable(("schedule",), np.array(SCHEDULES, dtype=object), "1", "how the radii were chosen"),
        "slice": variable(("slice",), np.arange(settings["n_slices"]), "1", "slice of time"),
        **radii_and_global(table),
    }


def _check(parameters: Parameters) -> None:
    check_solvable(parameters)
    model, name = build_model(parameters["model"]), parameters["channel"]["name"]
    if isinstance(model, DomainWalls) and (name != "erasure" or model.beta != 0.0 or model.periodic):
        raise InputError("radius schedules of domain walls take uniform loops, beta = 0, open, and the channel erasure")
    if sorted(set(parameters["radii"])) != parameters["radii"]:
        raise InputError(f"radii must increase, got {parameters['radii']}")


DIMS = ("budget", "schedule")
RADIUS_SCHEDULE = Quantity(
    "radius_schedule",
    "the radius schedule",
    {
        **with_errors("predicted", DIMS, "nat", "area of the schedule: predicted KL per site, a bound for fields"),
        **with_errors("achieved", DIMS, "nat", "KL(p_0 || generated) per site of the schedule as run"),
        "cost": Column(DIMS, "1", "entries, multiply-adds or seconds (settings.cost) per site, mean over times"),
        "chosen_radius": Column((*DIMS, "slice"), "sites", "chosen radius, -1 for the global denoiser"),
        "slice_time": Column(("slice",), "1", "middle of the slice, in diffusion time"),
        **with_errors("area", ("slice", "radius"), "nat", "KL per site that a radius adds in a slice"),
        **with_errors("radius_cost", ("radius",), "1", "entries, multiply-adds or seconds per site in one slice"),
    },
    evaluate,
    coordinates,
    settings=ScheduleSettings,
    reads=("radii",),
    models=("domain-walls", "gaussian-field"),
    check=_check,
)
