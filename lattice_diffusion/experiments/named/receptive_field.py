"""How wide, when: the cheapest r(t) for a stated error beside the two-level hybrid and the logarithmic rule.

The areas that radii lose are measured (loops) or known (fields), the schedule is chosen from them and then run. The
optimal one must lie on the frontier of error against cost, and cost what it said.
"""

import math
from typing import Any

import numpy as np

from ... import plots
from ...phases import schedule_frontier
from ...results import Result, Row, Variable
from ..spec import Spec
from .base import Analysis, NamedExperiment

NAME = "receptive-field"
LAW = "masked area law, exact by the chain rule"
GIRSANOV = "Girsanov: at most 1"
SYSTEMS = {"loops": "loops under erasure", "field": "Gaussian field"}


def specs(preset: str) -> Spec:
    full = preset == "full"
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
            "field": {
                "model": {"name": "gaussian-field", "length": 16 if full else 12, "mass_squared": 0.03},
                "channel": {"name": "gaussian"},
                "t": [1.0],
                "radii": [1, 2, 3, 4, 5],
                "quantity": "radius_schedule",
                "settings": {"budgets": [0.03, 0.01, 0.003, 0.001], "n_slices": 400 if full else 120},
            },
        },
    )


def analyse(result: Result) -> Analysis:
    analysis = Analysis()
    for name in SYSTEMS:
        grid = result.groups[name]
        hull = schedule_frontier(grid["area"].values[0], grid["radius_cost"].values[0])
        step = np.arange(len(hull))
        analysis.variables[name] = {
            "frontier": Variable(("frontier",), step, "1", "schedules of the frontier, cheapest first"),
            "frontier_error": Variable(("frontier",), np.array([s.error for s in hull]), "nat", "their KL per site"),
            "frontier_cost": Variable(("frontier",), np.array([s.cost for s in hull]), "1", "their cost per site"),
        }
    loops, field = result.groups["loops"], result.groups["field"]
    for b, budget in enumerate(loops["budget"].values):
        predicted, achieved = (loops[key].values[0, b, 0] for key in ("predicted", "achieved"))
        errors = (loops[f"{key}_stderr"].values[0, b, 0] for key in ("predicted", "achieved"))
        stderr = math.hypot(*errors) / predicted
        label = f"KL achieved / predicted, optimal r(t), loops, budget {budget:g}"
        analysis.rows.append(Row(NAME, label, 1.0, achieved / predicted, stderr, LAW))
    ratio = (field["achieved"].values[0, :, 0] / field["predicted"].values[0, :, 0]).max()
    analysis.rows.append(Row(NAME, "largest KL / bound, optimal r(t), field", None, ratio, 0.0, GIRSANOV))
    for name, title in SYSTEMS.items():
        grid = result.groups[name]
        cost = grid["cost"].values[0]
        everywhere = grid["radius_cost"].values[0, -1] * grid["slice"].values.size
        for b in (0, len(cost) - 1):
            label = f"cost of optimal r(t) / global, {title}, budget {grid['budget'].values[b]:g}"
            analysis.rows.append(Row(NAME, label, None, cost[b, 0] / everywhere, 0.0, "entries read"))
            label = f"cost of optimal r(t) / hybrid, {title}, budget {grid['budget'].values[b]:g}"
            analysis.rows.append(Row(NAME, label, None, cost[b, 0] / cost[b, 1], 0.0, "entries read; at most 1"))
    return analysis


def figure(result: Result) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.8)
    loops = result.groups["loops"]
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
    for ax, (name, title) in zip((middle, right), SYSTEMS.items(), strict=True):
        grid = result.groups[name]
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
            xscale="log", yscale="log", xlabel="cost (entries read per site)", ylabel="KL (nats per site)", title=title
        )
        low = grid["predicted"].values[0, :, :2].min()
        ax.set_ylim(low / 30, None)
        ax.legend(frameon=False, fontsize=8, loc="lower left")
    return fig


EXPERIMENT = NamedExperiment(NAME, "Receptive field: the cheapest radius for a stated error", specs, analyse, figure)
