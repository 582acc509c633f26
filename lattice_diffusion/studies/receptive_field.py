"""How wide, when: the cheapest r(t) for a stated error beside the two-level hybrid and the logarithmic rule.

The areas that radii lose are measured (loops) or known (fields), the schedule is chosen from them and then run. The
optimal one must lie on the frontier of error against cost, and cost what it said, be the cost counted (entries that
exact denoisers read) or measured (seconds of networks of these radii). Only the latter differs from run to run.
"""

import math
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..phases import schedule_frontier
from ..results import Row, grids, variable
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment

NAME = "receptive-field"
LAW = "masked area law, exact by the chain rule"
GIRSANOV = "Girsanov: at most 1"
SYSTEMS = {"loops": "loops under erasure", "field": "Gaussian field", "field-seconds": "Gaussian field, by seconds"}
COSTS = {"loops": "entries read", "field": "entries read", "field-seconds": "seconds of networks"}
TIMED = "mean over rounds of the best of three passes, networks of default size in turn"


def specs(preset: str) -> Spec:
    full = preset == "full"
    budgets, n_slices = [0.03, 0.01, 0.003, 0.001], 400 if full else 120
    field = {
        "model": {"name": "gaussian-field", "length": 16 if full else 12, "mass_squared": 0.03},
        "channel": {"name": "gaussian"},
        "t": [1.0],
        "radii": [1, 2, 3, 4, 5],
        "quantity": "radius_schedule",
        "settings": {"budgets": budgets, "n_slices": n_slices},
    }
    return Spec(
        name=NAME,
        grids={
            "loops": {
                "model": {"name": "domain-walls", "length": 64},
                "channel": {"name": "erasure"},
                "t": [1.0],
                "radii": [1, 2, 3, 4, 6, 8, 11, 16],
                "n_samples": 2000 if full else 100,
                "quantity": "radius_schedule",
                "settings": {
                    "budgets": [0.03, 0.01, 0.003, 0.001, 0.0003],
                    "n_slices": 32,
                    "n_noise": 400 if full else 24,
                },
            },
            "field": field,
            "field-seconds": {**field, "settings": {"budgets": budgets, "n_slices": n_slices, "cost": "seconds"}},
            "loop-networks": {
                "model": {"name": "domain-walls", "length": 64},
                "channel": {"name": "erasure"},
                "t": [1.0],
                "radii": [1, 2, 4, 8],
                "quantity": "network_cost",
            },
        },
    )


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for name in SYSTEMS:
        grid = grids(result)[name]
        hull = schedule_frontier(grid["area"].values[0], grid["radius_cost"].values[0])
        step = np.arange(len(hull))
        analysis.variables[name] = {
            "frontier": variable(("frontier",), step, "1", "schedules of the frontier, cheapest first"),
            "frontier_error": variable(("frontier",), np.array([s.error for s in hull]), "nat", "their KL per site"),
            "frontier_cost": variable(("frontier",), np.array([s.cost for s in hull]), "1", "their cost per site"),
        }
    loops, field = grids(result)["loops"], grids(result)["field"]
    for b, budget in enumerate(loops["budget"].values):
        predicted, achieved = (loops[key].values[0, b, 0] for key in ("predicted", "achieved"))
        errors = (loops[f"{key}_stderr"].values[0, b, 0] for key in ("predicted", "achieved"))
        stderr = math.hypot(*errors) / predicted
        label = f"KL achieved / predicted, optimal r(t), loops, budget {budget:g}"
        analysis.rows.append(Row(NAME, label, 1.0, achieved / predicted, stderr, LAW))
    ratio = (field["achieved"].values[0, :, 0] / field["predicted"].values[0, :, 0]).max()
    analysis.rows.append(Row(NAME, "largest KL / bound, optimal r(t), field", None, ratio, 0.0, GIRSANOV))
    for name, title in SYSTEMS.items():
        grid = grids(result)[name]
        cost = grid["cost"].values[0]
        everywhere = grid["radius_cost"].values[0, -1] * grid["slice"].values.size
        for b in (0, len(cost) - 1):
            label = f"cost of optimal r(t) / global, {title}, budget {grid['budget'].values[b]:g}"
            error = _timing_error(grid, b)
            analysis.rows.append(Row(NAME, label, None, cost[b, 0] / everywhere, error, COSTS[name]))
            label = f"cost of optimal r(t) / hybrid, {title}, budget {grid['budget'].values[b]:g}"
            source = f"{COSTS[name]}; at most 1 but for one slice"
            analysis.rows.append(Row(NAME, label, None, cost[b, 0] / cost[b, 1], 0.0, source))
    analysis.rows.extend(_network_rows("field", field, "radius_cost", grids(result)["field-seconds"]))
    analysis.rows.extend(_network_rows("loops", loops, "seconds", grids(result)["loop-networks"]))
    return analysis


def _timing_error(grid: dict[str, xr.Variable], b: int) -> float:
    """Of the optimal schedule's share of the global cost, from the errors of what its radii cost; 0 where counted."""
    chosen, radii = grid["chosen_radius"].values[0, b, 0], grid["radius"].values
    cost, stderr = (grid[key].values[0] for key in ("radius_cost", "radius_cost_stderr"))
    slices = np.array([np.sum(chosen == r) for r in radii]) / len(chosen)
    share = slices @ cost / cost[-1]
    return float(np.hypot(slices[:-1] @ stderr[:-1], (share - slices[-1]) * stderr[-1]) / cost[-1])


def _network_rows(name: str, exact: dict[str, xr.Variable], column: str, timed: dict[str, xr.Variable]) -> list[Row]:
    """What networks of a radius cost in units of the global one, beside what their boxes hold."""
    seconds, stderr = (timed[key].values[0] for key in (column, f"{column}_stderr"))
    radii, entries = list(exact["radius"].values), exact["radius_cost"].values[0]
    rows = []
    for k, r in enumerate(timed["radius"].values[:-1]):
        value = seconds[k] / seconds[-1]
        error = value * math.hypot(stderr[k] / seconds[k], stderr[-1] / seconds[-1])
        read = f"entries {entries[radii.index(r)] / entries[-1]:.3f}"
        rows.append(
            Row(NAME, f"seconds of a network, r = {r} / global, {name}", None, value, error, f"{TIMED}; {read}")
        )
    return rows


def figure(result: xr.DataTree) -> Any:
    import matplotlib.pyplot as plt

    fig, ((left, middle), (right, last)) = plt.subplots(2, 2, figsize=(10.6, 8.4), layout="constrained")
    loops = grids(result)["loops"]
    t, chosen = loops["slice_time"].values[0], loops["chosen_radius"].values[0, :, 0]
    top = 2 * loops["radius"].values[-2]
    for b, budget in enumerate(loops["budget"].values):
        radius = np.where(chosen[b] < 0, top, chosen[b])
        middle_of = plots.COLORS[b % len(plots.COLORS)]
        left.step(t, radius, where="mid", color=middle_of, lw=1.6, label=f"{budget:g} nats per bond")
    left.axvline(0.5, color="k", lw=1.5)
    left.set(
        yscale="log", xlabel="masked fraction t", ylabel="radius r(t)", title="Optimal radius, loops; black: t* = 1/2"
    )
    ticks = [1, 2, 4, 8, 16]
    left.set_yticks([*ticks, top], [*map(str, ticks), "global"])
    left.minorticks_off()
    left.legend(frameon=False, fontsize=8)
    for ax, (name, title) in zip((middle, right, last), SYSTEMS.items(), strict=True):
        grid = grids(result)[name]
        ax.plot(grid["frontier_cost"].values, grid["frontier_error"].values, "k", lw=1.2, label="frontier, predicted")
        for k, kind in enumerate(grid["schedule"].values):
            cost = grid["cost"].values[0, :, k]
            plots.curve(
                ax,
                k,
                cost,
                grid["achieved"].values[0, :, k],
                grid["achieved_stderr"].values[0, :, k],
                f"{kind}, achieved",
            )
            ax.plot(cost, grid["predicted"].values[0, :, k], "_", ms=12, color=plots.COLORS[k])
        ax.axvline(grid["radius_cost"].values[0, -1] * grid["slice"].values.size, color="k", lw=1, ls=":")
        ax.set(
            xscale="log",
            yscale="log",
            xlabel=f"cost ({COSTS[name]}, per site)",
            ylabel="KL (nats per site)",
            title=title,
        )
        low = grid["predicted"].values[0, :, :2].min()
        ax.set_ylim(low / 30, None)
        ax.legend(frameon=False, fontsize=8, loc="lower left")
    return fig


EXPERIMENT = NamedExperiment(NAME, "Receptive field: the cheapest radius for a stated error", specs, analyse, figure)
