"""The figure of a comparison of denoisers: where which costs what, and the frontier of error against cost."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..denoisers.comparison import Comparison
from ..noise_units import NoiseLevel, unit_of
from . import COLORS, MARKERS, curve, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_comparison(found: Comparison, *, unit: Any = "linear", budget: float | None = None) -> "Figure":
    """Draw KL per unit of log snr of every network over the noise level in `unit`, and predicted error against cost.

    The bar below the first panel is the schedule for the budget, in the colours of its networks.
    """
    figure, (left, right) = new_figure(2, width=5.5)
    unit, table = unit_of(unit), found.table
    level = NoiseLevel(found.log_snr).to(unit)
    nats = 0.5 * np.exp(found.log_snr) * found.n_values
    for k, name in enumerate(found.names):
        gap, stderr = (table[key].values[:, k] * nats for key in ("gap", "gap_stderr"))
        curve(left, level, gap, stderr, k, label=name)
        one = found.throughout(name)
        right.errorbar(one.kl, one.cost, xerr=one.kl_stderr, marker=MARKERS[k % 7], color=COLORS[k % 7], ls="")
    left.axhline(0.0, color="0.7", lw=0.8, zorder=0)
    left.set(xlabel=unit.label, ylabel="KL beyond the best per unit of log snr (nats)")
    if unit.high > 1e3 or unit.name == "sigma":
        left.set_xscale("log")
    frontier = found.frontier()
    right.plot([one.kl for one in frontier], [one.cost for one in frontier], "k.-", lw=1, label="frontier", zorder=0)
    right.set(xlabel="predicted KL beyond the best (nats)", ylabel="seconds of a call at every level")
    right.set_xscale("symlog", linthresh=1e-3)
    if budget is not None:
        plan = found.schedule(budget)
        for name, first, last in plan.bounds(unit):
            left.plot([first, last], [-0.06] * 2, lw=5, color=COLORS[found.names.index(name) % 7],
                      transform=left.get_xaxis_transform(), clip_on=False, solid_capstyle="butt")  # fmt: skip
        right.plot(plan.kl, plan.cost, "k*", ms=11, label=f"schedule for {budget:g} nat")
    left.legend()
    right.legend()
    return figure
