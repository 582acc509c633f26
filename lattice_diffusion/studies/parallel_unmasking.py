"""How many tokens can be unmasked at once: predicted and achieved divergence over steps k and radius r.

One curve, h_r(t) = H(x_i | what is seen within r where each site is masked with probability t), predicts what any
placement of steps costs; running them with exact posteriors says what it does cost.
"""

import math
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field

from .. import plots
from ..phases import equal_batches, parallel_divergence, unmasking_cost, unmasking_entropies, unmasking_schedule
from ..results import grids, variable
from ..runs.points import Point
from ..runs.quantities import Settings, Values, quantity, with_errors
from .base import Analysis, Study, grid, measured, ratio, row

NAME = "parallel-unmasking"
EVERYTHING = 99  # a radius that covers every lattice here
RIEMANN = "left Riemann error of h (2511.04647), asymptotic in the size of batches"
CASES = {"loops": "closed loops", "chain": "Potts chain, q = 3", "ising": "Ising", "hierarchy": "random hierarchy"}


class UnmaskingSettings(Settings):
    """steps: numbers k of steps; n_times: masked fractions at which h is measured."""

    steps: tuple[Annotated[int, Field(ge=1)], ...] = (2, 4, 8, 16)
    n_times: Annotated[int, Field(ge=3)] = 33


def _coordinates(table: dict[str, Any]) -> dict[str, xr.Variable]:
    settings = UnmaskingSettings.of(table.get("settings"))
    return {
        "steps": variable("steps", settings.steps, "1", "number of steps k"),
        "masked": variable("masked", np.linspace(0.0, 1.0, settings.n_times), "1", "masked fraction t"),
    }


PLANE = ("radius", "steps")
COLUMNS = {
    **with_errors("divergence_equal", PLANE, "nat", "KL per site of equal steps, as run"),
    **with_errors("divergence_best", PLANE, "nat", "KL per site of the best steps, as run"),
    **with_errors("predicted_equal", PLANE, "nat", "KL per site of equal steps, from h"),
    **with_errors("predicted_best", PLANE, "nat", "KL per site of the best steps, from h"),
    **with_errors("entropy", ("radius", "masked"), "nat", "h(t), entropy of a site given what is seen of its box"),
}


@quantity("parallel unmasking", COLUMNS, _coordinates, UnmaskingSettings, timed=False)
def parallel_unmasking(point: Point, rng: np.random.Generator) -> Values:
    """Measure h of every radius, place steps by it, and run them."""
    model, settings = point.model, point.settings
    n_sites, n = int(model.sites.sum()), point.n_samples
    times = np.linspace(0.0, 1.0, settings.n_times)
    curves = [unmasking_entropies(model, times, n, rng, radius=r) for r in point.radii]
    floor = times, unmasking_entropies(model, times, n, rng).values
    out: dict[str, Any] = {"entropy": [c.values for c in curves], "entropy_stderr": [c.stderr for c in curves]}
    for kind in ("equal", "best"):
        cost, doubt, found, error = (np.empty((len(curves), len(settings.steps))) for _ in range(4))
        for i, (r, curve) in enumerate(zip(point.radii, curves, strict=True)):
            for j, k in enumerate(settings.steps):
                h = times, curve.values
                steps = np.linspace(1.0, 0.0, k + 1) if kind == "equal" else unmasking_schedule(h, k, floor).times
                cost[i, j] = unmasking_cost(h, steps, floor)
                doubt[i, j] = np.linalg.norm(np.interp(steps[:-1], times, curve.stderr) * np.diff(steps))
                run = parallel_divergence(model, equal_batches(n_sites, steps), n, rng, radius=r)
                found[i, j], error[i, j] = run.value / n_sites, run.stderr / n_sites
        out |= {f"predicted_{kind}": cost, f"predicted_{kind}_stderr": doubt}
        out |= {f"divergence_{kind}": found, f"divergence_{kind}_stderr": error}
    return {name: np.asarray(values) for name, values in out.items()}


def wanted(full: bool) -> dict[str, Any]:
    tree = {"name": "random-hierarchy", "depth": 5, "branching": 2, "vocabulary": 8, "synonyms": 2, "rules": 1}
    models: dict[str, Any] = {
        "loops": ({"name": "domain-walls", "length": 48 if full else 24, "beta": 0.0}, [1, 2, 4, EVERYTHING], 20),
        "chain": ({"name": "potts-chain", "length": 24, "coupling": 2.0, "q": 3}, [1, 2, 4, EVERYTHING], 40),
        "ising": ({"name": "ising", "shape": [7, 7], "beta": 0.44}, [1, 2, EVERYTHING], 60),
        "hierarchy": (tree, [1, 3, 7, EVERYTHING], 60),
    }
    keys = {"quantity": "parallel_unmasking", "settings": {"n_times": 65 if full else 21}}
    return {
        name: grid(model, "erasure", radii=radii, n_samples=20 * n if full else n, **keys)
        for name, (model, radii, n) in models.items()
    }


def analyse(result: xr.DataTree) -> Analysis:
    data, rows = grids(result), []
    loops = data["loops"].sel(radius=EVERYTHING)
    for k in (4, 8):
        found, source = measured(loops.sel(steps=k), "divergence_equal"), "(log 2)/(2k) per bond, asymptotic in size"
        label, known = f"KL per bond, closed loops, {k} equal steps", math.log(2) / (2 * k)
        rows.append(row(label, found, known, source, "asymptotic"))
    for name, title in CASES.items():
        for kind in ("equal", "best"):
            place = data[name].sel(radius=EVERYTHING, steps=4)
            share = ratio(measured(place, f"divergence_{kind}"), measured(place, f"predicted_{kind}"))
            rows.append(row(f"KL / predicted, {title}, 4 {kind} steps, all seen", share, 1.0, RIEMANN, "asymptotic"))
        place = data[name].sel(radius=EVERYTHING, steps=8)
        gain = ratio(*(measured(place, f"divergence_{kind}") for kind in ("equal", "best")))
        rows.append(row(f"gain of the best 8 steps over equal ones, {title}", gain))
        budget = 0.05
        cheap = np.argwhere(data[name]["divergence_best"].transpose("steps", "radius").values < budget)
        if len(cheap):
            k, r = data[name]["steps"].values[cheap[0, 0]], data[name]["radius"].values[cheap[0, 1]]
            label = f"fewest steps within {budget} nats per site, {title} (radius {'all' if r == EVERYTHING else r})"
            rows.append(row(label, float(k)))
    return Analysis({}, rows)


def figure(result: xr.DataTree) -> Any:
    data = grids(result)
    fig, axes = plots.new_figure(len(CASES), width=4.2, rows=2)
    for (name, title), top, bottom in zip(CASES.items(), *axes, strict=True):
        one = data[name]
        for k, r in enumerate(one["radius"].values):
            label, at = "all seen" if r == EVERYTHING else f"r = {r}", one.sel(radius=r)
            plots.curve(top, k, one["masked"], at["entropy"], at["entropy_stderr"], label)
            plots.curve(bottom, k, one["steps"], at["divergence_best"], at["divergence_best_stderr"], label)
            bottom.plot(one["steps"], at["predicted_best"], "k", lw=1)
            bottom.plot(one["steps"], at["predicted_equal"], "k:", lw=1)
        known = one["masked"].values, one.sel(radius=EVERYTHING)["entropy"].values
        for t in unmasking_schedule(known, 8).times[1:-1]:
            top.axvline(t, color="0.8", lw=0.8, zorder=0)
        top.set(xlabel="masked fraction t", ylabel="h(t) (nats)", title=f"{title}: grey, the best 8 steps")
        bottom.set(xscale="log", yscale="log", xlabel="steps k", ylabel="KL per site (nats)", title="Lines: predicted")
        bottom.set_ylim(bottom=max(1e-6, bottom.get_ylim()[0]))  # less is rounding of zero
        plots.ticks(bottom, one["steps"])
        plots.legend(bottom)
    return fig


SHOWS = "One measured curve h(t) predicts what unmasking many tokens at once costs, and where the steps belong."
STUDY = Study(NAME, "Parallel unmasking: how many tokens at once", SHOWS, wanted, analyse, figure)
