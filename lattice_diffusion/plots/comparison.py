"""The figure of a comparison of denoisers: where which costs what, and the frontier of error against cost."""

import json
from typing import TYPE_CHECKING, Any

import xarray as xr

from ..denoisers.comparison import Comparison
from ..noise_units import UNITS, NoiseLevel, unit_of
from . import COLORS, MARKERS, curve, legend, new_figure, noise_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_comparison(found: Comparison, *, unit: Any = "linear", budget: float | None = None) -> "Figure":
    """Draw KL per unit of log snr of every network over the noise level in `unit`, and predicted error against cost.

    The bar above the first panel is the schedule for the budget, in the colours of its networks.
    """
    figure, (left, right) = new_figure(2, width=5.5)
    unit = unit_of(unit)
    level = NoiseLevel(found.log_snr).to(unit)
    for k, name in enumerate(found.names):
        curve(left, k, level, *found.density(name), label=name)
        one = found.throughout(name)
        right.errorbar(one.kl, one.cost, xerr=one.kl_stderr, marker=MARKERS[k % 7], color=COLORS[k % 7], ls="")
    left.axhline(0.0, color="0.7", lw=0.8, zorder=0)
    left.set(xlabel=unit.label, ylabel="KL beyond the best per unit of log snr (nats)")
    if unit.high > 1e3 or unit.name == "sigma":
        left.set_xscale("log")
    if unit.name in ("linear", "sigma", "log_snr"):
        t = NoiseLevel(found.log_snr).to("linear")
        noise_axis(left, xr.Dataset({"log_snr": ("t", found.log_snr)}, {"t": t}), at=level)
    frontier = found.frontier()
    right.plot([one.kl for one in frontier], [one.cost for one in frontier], "k.-", lw=1, label="frontier", zorder=0)
    right.set(xlabel="predicted KL beyond the best (nats)", ylabel="seconds of a call at every level")
    right.set_xscale("symlog", linthresh=1e-3)
    if budget is not None:
        plan = found.schedule(budget)
        for name, first, last in plan.bounds(unit):
            left.plot([first, last], [1.02] * 2, lw=5, color=COLORS[found.names.index(name) % 7],
                      transform=left.get_xaxis_transform(), clip_on=False, solid_capstyle="butt")  # fmt: skip
        right.plot(plan.kl, plan.cost, "k*", ms=11, label=f"schedule for {budget:g} nat")
    legend(left)
    legend(right)
    return figure


def plot_result(result: xr.DataTree) -> "Figure":
    """Draw the comparison in a result, in the unit and with the budget that were asked for."""
    asked = json.loads(result.attrs["parameters"])
    unit = asked["unit"] if asked["unit"] in UNITS or asked["unit"] == "ddpm" else "linear"  # no schedules of others
    return plot_comparison(Comparison(result, {}), unit=unit, budget=asked["budget"])
