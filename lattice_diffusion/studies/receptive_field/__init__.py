"""How wide, when: the cheapest r(t) for a stated error beside the two-level hybrid and the logarithmic rule.

The areas that radii lose are measured (loops) or known (fields), the schedule is chosen from them and then run. The
optimal one must lie on the frontier of error against cost, and cost what it said, be the cost counted (entries that
exact denoisers read) or measured (seconds of networks of these radii). Only the latter differs from run to run.
"""

from typing import Any

import numpy as np
import xarray as xr

from ... import plots
from ...estimate import Estimate
from ...phases import schedule_frontier
from ...results import Row, grids, variable
from ..base import Analysis, Study, grid, measured, ratio, row

NAME = "receptive-field"
LAW = "masked area law, exact by the chain rule"
GIRSANOV = "Girsanov: at most 1"
TIMED = "mean over rounds of the best of three passes, networks of default size in turn"
SYSTEMS = {"loops": "loops under erasure", "field": "Gaussian field", "field-seconds": "Gaussian field, by seconds"}
COSTS = {"loops": "entries read", "field": "entries read", "field-seconds": "seconds of networks"}


def wanted(full: bool) -> dict[str, Any]:
    loops = {"name": "domain-walls", "length": 64}
    model = {"name": "gaussian-field", "length": 16 if full else 10, "mass_squared": 0.03}
    field = {"budgets": [0.03, 0.01, 0.003, 0.001], "n_slices": 400 if full else 32}
    budgets = [0.03, 0.01, 0.003, 0.001, *([0.0003] if full else [])]
    schedule, radii = {"quantity": "radius_schedule"}, [1, 2, 3, 4, 6, 8, 11, 16]
    settings = {"budgets": budgets, "n_slices": 32, "n_noise": 400 if full else 6}
    return {
        "loops": grid(loops, "erasure", radii=radii, n_samples=2000 if full else 40, settings=settings, **schedule),
        "field": grid(model, "gaussian", radii=[1, 2, 3, 4, 5], settings=field, **schedule),
        "field-seconds": grid(
            model, "gaussian", radii=[1, 2, 3, 4, 5], settings={**field, "cost": "seconds"}, **schedule
        ),
        "loop-networks": grid(loops, "erasure", radii=[1, 2, 4, 8], quantity="network_cost"),
    }


# -- what follows ------------------------------------------------------------------------------------------------------


def analyse(result: xr.DataTree) -> Analysis:
    analysis, data = Analysis(), grids(result)
    for name in SYSTEMS:
        hull = schedule_frontier(data[name]["area"], data[name]["radius_cost"])
        analysis.variables[name] = {
            "frontier": variable("frontier", range(len(hull)), "1", "schedules of the frontier, cheapest first"),
            "frontier_error": variable("frontier", [s.error for s in hull], "nat", "their KL per site"),
            "frontier_cost": variable("frontier", [s.cost for s in hull], "1", "their cost per site"),
        }
    loops, field = data["loops"].sel(schedule="optimal"), data["field"].sel(schedule="optimal")
    for budget in loops["budget"].values:
        found = ratio(*(measured(loops.sel(budget=budget), key) for key in ("achieved", "predicted")))
        label = f"KL achieved / predicted, optimal r(t), loops, budget {budget:g}"
        analysis.rows.append(row(label, found, 1.0, LAW, "exact"))
    worst = float((field["achieved"] / field["predicted"]).max())
    analysis.rows.append(row("largest KL / bound, optimal r(t), field", worst, source=GIRSANOV))
    for name, title in SYSTEMS.items():
        everywhere = float(data[name]["radius_cost"][-1]) * data[name]["slice"].size
        for b in (0, -1):
            place = data[name].isel(budget=b)
            optimal, hybrid = (float(place["cost"].sel(schedule=kind)) for kind in ("optimal", "hybrid"))
            end = f"{title}, budget {float(place['budget']):g}"
            share = Estimate(optimal / everywhere, _timing_error(place.sel(schedule="optimal")), 0)
            source = f"{COSTS[name]}; at most 1 but for one slice"
            analysis.rows.append(row(f"cost of optimal r(t) / global, {end}", share, source=COSTS[name]))
            analysis.rows.append(row(f"cost of optimal r(t) / hybrid, {end}", optimal / hybrid, source=source))
    analysis.rows.extend(_network_rows("field", field, "radius_cost", data["field-seconds"]))
    analysis.rows.extend(_network_rows("loops", loops, "seconds", data["loop-networks"]))
    return analysis


def _timing_error(place: xr.Dataset) -> float:
    """Return the error of a schedule's share of the global cost, from those of what its radii cost; 0 where counted."""
    chosen, radii = place["chosen_radius"].values, place["radius"].values
    cost, stderr = place["radius_cost"].values, place["radius_cost_stderr"].values
    slices = np.array([np.sum(chosen == r) for r in radii]) / len(chosen)
    share = slices @ cost / cost[-1]
    return float(np.hypot(slices[:-1] @ stderr[:-1], (share - slices[-1]) * stderr[-1]) / cost[-1])


def _network_rows(name: str, exact: xr.Dataset, column: str, timed: xr.Dataset) -> list[Row]:
    """Return what networks of a radius cost in units of the global one, beside what their boxes hold."""
    rows, entries = [], exact["radius_cost"]
    for r in timed["radius"].values[:-1]:
        found = ratio(*(measured(timed.sel(radius=radius), column) for radius in (r, -1)))
        read = f"entries {float(entries.sel(radius=r) / entries.sel(radius=-1)):.3f}"
        label = f"seconds of a network, r = {r} / global, {name}"
        rows.append(row(label, found, source=f"{TIMED}; {read}"))
    return rows


def figure(result: xr.DataTree) -> Any:
    fig, ((left, middle), (right, last)) = plots.new_figure(2, rows=2)
    loops = grids(result)["loops"].sel(schedule="optimal")
    top, ticks = 2 * loops["radius"].values[-2], [1, 2, 4, 8, 16]
    for b, budget in enumerate(loops["budget"].values):
        chosen = loops["chosen_radius"].values[b]
        style = {"color": plots.COLORS[b % len(plots.COLORS)], "lw": 1.6, "label": f"{budget:g}"}
        left.step(loops["slice_time"], np.where(chosen < 0, top, chosen), where="mid", **style)
    left.axvline(0.5, color="k", lw=1.5)
    left.set(yscale="log", xlabel="masked fraction t", ylabel="radius r(t)")
    left.set_title("Optimal radius, loops; black: t* = 1/2")
    left.set_yticks([*ticks, top], [*map(str, ticks), "global"])
    left.minorticks_off()
    plots.legend(left, title="budget (nats per bond)")
    for ax, (name, title) in zip((middle, right, last), SYSTEMS.items(), strict=True):
        data = grids(result)[name]
        ax.plot(data["frontier_cost"], data["frontier_error"], "k", label="frontier, predicted")
        for k, kind in enumerate(data["schedule"].values):
            chosen = data.sel(schedule=kind)
            plots.curve(ax, k, chosen["cost"], chosen["achieved"], chosen["achieved_stderr"], f"{kind}, achieved")
            ax.plot(chosen["cost"], chosen["predicted"], "_", ms=12, color=plots.COLORS[k])
        ax.axvline(float(data["radius_cost"][-1]) * data["slice"].size, color="k", lw=1, ls=":", label="global")
        ax.set(xscale="log", yscale="log", xlabel=f"cost ({COSTS[name]}, per site)", ylabel="KL (nats per site)")
        ax.set(ylim=(data["predicted"].values[:, :2].min() / 30, None), title=title)
        plots.plain_log(ax.xaxis)
        plots.legend(ax, 2)
    return fig


SHOWS = "The cheapest r(t) for a KL budget is wide only near the transition, and achieves the error that it predicts."
STUDY = Study(NAME, "Receptive field: the cheapest radius for a stated error", SHOWS, wanted, analyse, figure)
