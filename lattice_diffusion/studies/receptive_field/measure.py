"""The cheapest r(t) for a KL budget, chosen from measured areas and then run: predicted and achieved error and cost.

Two generators whose error is known exactly: closed loops unmasked bond by bond, and Gaussian fields under exact local
denoisers, whose law is in closed form. The cost of a reverse step is counted, as the entries that it reads or the
multiply-adds of networks of these radii, or measured, as the seconds that such networks take: then the schedules are
those of this machine. Schedules: "optimal" (one Lagrange multiplier), "hybrid" (one radius and the global denoiser in
one interval) and "log rule" (r >= xi log(N K sqrt(gamma) / error)).
"""

import itertools
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from ...channels import Channel, Erasure, Gaussian
from ...denoisers import ExactDenoiser, gaussian_divergence, generated_covariance, unmask_loops
from ...denoisers.paired_errors import mean_and_error
from ...errors import InputError
from ...models import DomainWalls, GaussianField
from ...phases import Allocation, evaluate_schedule, log_rule, optimal_schedule, two_level_schedule
from ...results import variable
from ...runs.points import Point
from ...runs.quantities import (
    Column,
    Settings,
    Values,
    check_solvable,
    quantity,
    settings_axis,
    site_divergences,
    with_errors,
)
from ..area_law import field_excess
from ..base import check_loops

if TYPE_CHECKING:
    from ...denoisers import GlobalNet, LocalNet

SCHEDULES = ("optimal", "hybrid", "log rule")
N_SITES = 1 << 12  # of a timed pass, so that it takes milliseconds


# -- what a pass of a network costs by its radius ----------------------------------------------------------------------


class NetworkCostSettings(Settings):
    """rounds: of timing; passes: of every network in a round, of which the best counts."""

    rounds: Annotated[int, Field(ge=2)] = 4
    passes: Annotated[int, Field(ge=1)] = 3


def networks(model: Any, channel: Channel, radii: list[int]) -> "list[LocalNet | GlobalNet]":
    """Return one network of every radius and the global one, of default size, for data of the model."""
    from ...denoisers import GlobalNet, LocalNet, network_arguments

    kind = network_arguments(model)
    return [*(LocalNet(r, channel=channel, **kind) for r in radii), GlobalNet(channel=channel, **kind)]


def network_costs(
    model: Any, channel: Channel, radii: list[int], rounds: int, passes: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return multiply-adds (radii + 1,) and seconds (rounds, radii + 1) of denoising one sample; the global one last.

    Networks are untrained, as weights cost nothing. In every round each is timed in turn, so that whatever else the
    machine does disturbs all alike; a round's time is the best of its passes.
    """
    nets = networks(model, channel, radii)
    x_t = np.zeros((max(1, N_SITES // model.lattice.n_sites), *model.image_shape))
    for net in nets:
        net(x_t, 0.5)
    seconds = np.full((rounds, len(nets)), np.inf)
    for row_ in seconds:
        for _ in range(passes):
            for k, net in enumerate(nets):
                start = time.perf_counter()
                net(x_t, 0.5)
                row_[k] = min(row_[k], time.perf_counter() - start)
    return np.array([net.multiply_adds(model.image_shape) for net in nets]), seconds / len(x_t)


def _radii_and_global(table: dict[str, Any]) -> dict[str, xr.Variable]:
    name = "radius of the denoiser, -1 for the global one"
    return {"radius": variable("radius", [*table["radii"], -1], "sites", name)}


NETWORK_COST_COLUMNS = {
    **with_errors("seconds", ("radius",), "s", "measured time of denoising one sample"),
    "multiply_adds": Column(("radius",), "1", "multiply-adds of denoising one sample"),
}


@quantity(
    "the cost of networks",
    NETWORK_COST_COLUMNS,
    _radii_and_global,
    NetworkCostSettings,
    models=("domain-walls", "gaussian-field", "ising"),
    timed=False,
)
def network_cost(point: Point, rng: np.random.Generator) -> Values:
    settings = point.settings
    multiply_adds, seconds = network_costs(point.model, point.channel, point.radii, settings.rounds, settings.passes)
    mean, stderr = mean_and_error(seconds)
    return {"seconds": mean, "seconds_stderr": stderr, "multiply_adds": multiply_adds}


# -- the cheapest r(t) for a budget, chosen from the areas and then run ------------------------------------------------


class ScheduleSettings(NetworkCostSettings):
    """budgets: KL per site in nats; n_slices: times at which the radius is chosen; n_noise: noise samples at each.

    cost: what is saved, entries read by exact denoisers (of the boxes, of the whole lattice for the global one), or
    multiply-adds or seconds of networks, timed in so many rounds of so many passes.
    """

    budgets: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.01,)
    n_slices: Annotated[int, Field(ge=2)] = 24
    n_noise: Annotated[int, Field(ge=2)] = 16
    cost: Literal["entries", "multiply-adds", "seconds"] = "entries"


@dataclass(frozen=True)
class Areas:
    """What radii lose in every slice of time; the last column is the global denoiser.

    Attributes:
        times: (n_slices,) middles; area: (n_slices, n_radii + 1), KL per site; stderr: its error;
        cmi: (n_slices, n_radii), the decay that gives xi and gamma.
    """

    times: NDArray[np.float64]
    area: NDArray[np.float64]
    stderr: NDArray[np.float64]
    cmi: NDArray[np.float64]

    @classmethod
    def of(cls, times: NDArray, rows: NDArray, cmi: NDArray) -> "Areas":
        """Average samples along axis 1 of rows (n_slices, n, n_radii), and add a global column of zeros."""
        n = rows.shape[1]
        error = rows.std(axis=1, ddof=1) / math.sqrt(n) if n > 1 else np.zeros_like(rows[:, 0])
        zero = np.zeros((len(rows), 1))
        area = np.concatenate([rows.mean(axis=1), zero], axis=1)
        return cls(times, area, np.concatenate([error, zero], axis=1), cmi)


def loop_areas(model: DomainWalls, radii: list[int], n_slices: int, n: int, rng: np.random.Generator) -> Areas:
    """Slices of equal masked fraction: area = dt E KL(global || local) of a masked bond."""
    channel = Erasure()
    denoisers = [ExactDenoiser(model, channel, radius) for radius in [*radii, None]]
    times = (np.arange(n_slices) + 0.5) / n_slices
    rows = np.empty((n_slices, n, len(radii)))
    for k, t in enumerate(times):
        x_t = channel.corrupt(model.sample(n, rng), float(t), rng)
        laws: list[Any] = [denoiser.blind(x_t, float(t)) for denoiser in denoisers]
        *locals_, whole = (law.log_odds for law in laws)
        rows[k] = site_divergences(whole, locals_, model.sites)
    return Areas.of(times, rows / n_slices, rows.mean(axis=1) * (1 - times[:, None]))


def field_areas(model: GaussianField, channel: Gaussian, radii: list[int], times: NDArray) -> Areas:
    """Slices between reverse times: area = 1/2 int d(snr) excess, by Gauss and Legendre in t; nothing is sampled."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    middles, area = 0.5 * (times[:-1] + times[1:]), np.zeros((len(times) - 1, len(radii)))
    for k, (t, s) in enumerate(itertools.pairwise(times)):
        for node, weight in zip(nodes, weights, strict=True):
            u = float(middles[k] + 0.5 * (t - s) * node)
            step = 1e-6 * min(u, 1.0 - u)
            rate = (channel.snr(u - step) - channel.snr(u + step)) / (2.0 * step)  # -d(snr)/dt
            area[k] += 0.25 * (t - s) * weight * rate * field_excess(model, channel, u, radii)
    parts = [model.tripartition(radius) for radius in radii]
    cmi = np.array([[model.solver.closed_cmi(channel, float(t), part) for part in parts] for t in middles])
    return Areas.of(middles, area[:, None], cmi)


def slice_costs(
    model: Any, channel: Channel, radii: list[int], settings: ScheduleSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cost of one slice per site (n_radii + 1,), the global denoiser last, and its error, 0 if counted."""
    share = settings.n_slices * model.sites.sum()
    if settings.cost == "entries":
        denoisers = [ExactDenoiser(model, channel, radius) for radius in [*radii, None]]
        counted = np.array([d.multiply_adds(d.shape) for d in denoisers])
    else:
        counted, seconds = network_costs(model, channel, radii, settings.rounds, settings.passes)
        if settings.cost == "seconds":
            mean, stderr = mean_and_error(seconds)
            return mean / share, stderr / share
    return counted / share, np.zeros(len(counted))


def choose(
    kind: str, areas: Areas, cost: NDArray[np.float64], budget: float, radii: list[int], n_sites: int
) -> Allocation:
    """Return one of SCHEDULES for a budget in nats per site."""
    if kind == "optimal":
        return optimal_schedule(areas.area, cost, budget)
    if kind == "hybrid":
        return two_level_schedule(areas.area, cost, budget)
    floor = float(areas.cmi[areas.cmi > 0].min(initial=math.inf))
    xi, gamma = np.array([decay(radii, curve, floor) for curve in areas.cmi]).T
    choice = log_rule(xi, gamma, [*radii, math.inf], n_sites, len(areas.times), budget * n_sites)
    return evaluate_schedule(choice, areas.area, cost)


def decay(radii: list[int], curve: NDArray, floor: float) -> tuple[float, float]:
    """Return xi and gamma of gamma e^(-r/xi) through a CMI curve, up to the first radius at which it is below `floor`.

    NaN for fewer than two radii; xi = 0 for a curve that is below the floor from the start.
    """
    last = max(2, int((curve > floor).sum()) + 1)
    r, y = np.array(radii[:last], float), np.log(np.maximum(curve[:last], floor))
    if len(r) < 2:
        return math.nan, 1.0
    slope, intercept = np.polyfit(r, y, 1)
    return (-1.0 / slope, math.exp(intercept)) if slope < 0 else (0.0, 1.0)


def _loop_error(model: DomainWalls, radius: NDArray, n_samples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return KL per bond of unmasking with radius[k] in slice k, mean over orders, and its error."""

    def radius_at(t: float) -> int | None:
        r = radius[min(int(t * len(radius)), len(radius) - 1)]
        return None if math.isinf(r) else int(r)

    run = unmask_loops(np.zeros((n_samples, *model.image_shape)), radius_at, rng).divergence
    return float(run.mean()), float(run.std(ddof=1) / math.sqrt(n_samples))


def _field_error(model: GaussianField, channel: Any, times: NDArray, radius: NDArray) -> float:
    """Return KL per site of the generated law."""
    denoisers = {r: ExactDenoiser(model, channel, None if math.isinf(r) else int(r)) for r in set(radius.tolist())}

    def schedule(t: float) -> ExactDenoiser:
        return denoisers[float(radius[int(np.argmin(np.abs(times[:-1] - t)))])]

    law = generated_covariance(model, channel, [float(t) for t in times], schedule)
    return gaussian_divergence(model, law) / model.lattice.n_sites


BUDGETS = settings_axis("budget", "budgets", "nat", "allowed KL per site")


def _coordinates(table: dict[str, Any]) -> dict[str, xr.Variable]:
    return {
        **BUDGETS(table),
        "schedule": variable("schedule", np.array(SCHEDULES), "1", "how the radii were chosen"),
        "slice": variable("slice", np.arange(table["settings"]["n_slices"]), "1", "slice of time"),
        **_radii_and_global(table),
    }


def _check(point: Point) -> None:
    (check_loops if isinstance(point.model, DomainWalls) else check_solvable)(point)
    if sorted(set(point.radii)) != point.radii:
        raise InputError(f"radii must increase, got {point.radii}")


DIMS = ("budget", "schedule")
RADIUS_SCHEDULE_COLUMNS = {
    **with_errors("predicted", DIMS, "nat", "area of the schedule: predicted KL per site, a bound for fields"),
    **with_errors("achieved", DIMS, "nat", "KL(p_0 || generated) per site of the schedule as run"),
    "cost": Column(DIMS, "1", "entries, multiply-adds or seconds (settings.cost) per site, mean over times"),
    "chosen_radius": Column((*DIMS, "slice"), "sites", "chosen radius, -1 for the global denoiser"),
    "slice_time": Column(("slice",), "1", "middle of the slice, in diffusion time"),
    **with_errors("area", ("slice", "radius"), "nat", "KL per site that a radius adds in a slice"),
    **with_errors("radius_cost", ("radius",), "1", "entries, multiply-adds or seconds per site in one slice"),
}


@quantity(
    "the radius schedule",
    RADIUS_SCHEDULE_COLUMNS,
    _coordinates,
    ScheduleSettings,
    models=("domain-walls", "gaussian-field"),
    check=_check,
    timed=False,
)
def radius_schedule(point: Point, rng: np.random.Generator) -> Values:
    model, channel, settings, radii = point.model, point.channel, point.settings, point.radii
    field, n_slices, n_sites = isinstance(model, GaussianField), settings.n_slices, int(model.sites.sum())
    times = np.linspace(1.0, 0.0, n_slices + 1)
    if field:
        areas = field_areas(model, channel, radii, times)
    else:
        areas = loop_areas(model, radii, n_slices, settings.n_noise, rng)
    cost, cost_error = slice_costs(model, channel, radii, settings)
    table = np.full((len(settings.budgets), len(SCHEDULES), 5), np.nan)
    radius = np.full((*table.shape[:2], n_slices), np.nan)
    values, rows = np.array([*radii, math.inf]), np.arange(n_slices)
    for (b, budget), (k, kind) in itertools.product(enumerate(settings.budgets), enumerate(SCHEDULES)):
        found = choose(kind, areas, cost, budget, radii, n_sites)
        radius[b, k] = values[found.choice]
        error = float(np.sqrt((areas.stderr[rows, found.choice] ** 2).sum()))
        if field:
            achieved = _field_error(model, channel, times, radius[b, k]), 0.0
        else:
            achieved = _loop_error(model, radius[b, k], point.n_samples, rng)
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
