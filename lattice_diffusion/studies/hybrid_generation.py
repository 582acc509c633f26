"""Global only inside the window: as good as global everywhere, at a fraction of the cost?

Four schedules generate from pure noise, the window taken from the exact CMI at the local radius. Loops have a
transition; Ising spins have none at finite t, only a label (beta > beta_c) that is decided late. Quality is that of
small patches (or closed loops) and of the law of the magnetisation, which knows of the label.

GLG fails wherever its local window leaves what cannot be undone. Under erasure a bond stays as it was drawn; under
Gaussian noise the global end closes all loops again, and what closes is uniform, as all denoisers respect flips of
single faces and every loop is such an image of every other: GLG of uniform loops is exact there.
"""

from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..results import Row, grids
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment

NAME = "hybrid-generation"
TITLES = {
    "loops-erasure": "Loops under erasure",
    "loops-gaussian": "Loops, Gaussian noise",
    "ising": "Ising, β = 0.44",
    "ising-ordered": "Ising, β = 0.6",
    "learned": "Ising, β = 0.6, learned",
}
WALLS = ("loops-erasure", "loops-gaussian")
# columns, and what they are for walls and for spins: in rows, and on the axis of the figure
QUALITIES = {
    "error": ("broken vertices", "patch error", "broken vertices", r"patch error $\frac{1}{2}\chi^2$ (nats)"),
    "mean_distance": ("W_1 of mean bond", "W_1 of magnetisation", r"$W_1$ of mean bond", r"$W_1$ of magnetisation"),
}
SOURCES = {
    "error": ("closed loops", "exact law of 3x3 patches"),
    "mean_distance": ("as many true samples, less their null", "exact law of m, less its null"),
}


def specs(preset: str) -> Spec:
    full = preset == "full"
    gaussian: dict[str, Any] = {"channel": {"name": "gaussian"}, "t": [1.0], "quantity": "generation"}
    walls, n_steps = {"name": "domain-walls", "beta": 0.0}, 150 if full else 60
    side = 10 if full else 8
    settings = {"n_steps": n_steps, "tolerance": 2e-3, "n_noise": 2000 if full else 300}
    grids = {
        "loops-erasure": {
            "model": {**walls, "length": 64},
            "channel": {"name": "erasure"},
            "t": [1.0],
            "radii": [4],
            "n_samples": 1000 if full else 100,
            "quantity": "generation",
            "settings": {"tolerance": 3e-4},
        },
        "loops-gaussian": {
            **gaussian,
            "model": {**walls, "length": 12 if full else 8},
            "radii": [1],
            "n_samples": 4000 if full else 600,
            "settings": {**settings, "tolerance": 1e-2},
        },
        "learned": {
            **gaussian,
            "quantity": "learned_generation",
            "model": {"name": "ising", "length": side, "beta": 0.6},
            "radii": [1],
            "n_samples": 8000 if full else 1000,
            "settings": {
                **settings,
                "train_steps": 4000 if full else 500,
                "global_steps": 6000 if full else 700,
                "width": 48 if full else 32,
            },
        },
    }
    for name, beta in (("ising", 0.44), ("ising-ordered", 0.6)):
        grids[name] = {
            **gaussian,
            "model": {"name": "ising", "length": side, "beta": beta},
            "radii": [1],
            "n_samples": 20000 if full else 2000,
            "settings": settings,
        }
    return Spec(name=NAME, grids=grids)


def _values(result: xr.DataTree, name: str) -> dict[str, Any]:
    """What was measured at a grid's only point, by name."""
    grid = grids(result)[name]
    return {key: grid[key].values[(0,) * (grid["cost"].values.ndim - 1)] for key in _MEASURED}


_MEASURED = (
    "error",
    "error_stderr",
    "mean_distance",
    "mean_distance_stderr",
    "energy_change",
    "energy_change_stderr",
    "order_change",
    "order_change_stderr",
    "cost",
    "seconds",
    "window",
)


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for name, title in TITLES.items():
        values = _values(result, name)
        names = list(grids(result)[name]["schedule"].values)
        start, stop = values["window"]
        analysis.rows.append(
            Row(NAME, f"window, start to stop, {title}", None, stop - start, 0.0, f"{start:.3f} to {stop:.3f}")
        )
        spins = int(name not in WALLS)
        for column, labels in QUALITIES.items():
            for k, kind in enumerate(names):
                known = 0.0 if kind == "GGG" and name != "learned" else None
                value, stderr = values[column][k], values[f"{column}_stderr"][k]
                label = f"{kind} {labels[spins]}, {title}"
                analysis.rows.append(Row(NAME, label, known, value, stderr, SOURCES[column][spins]))
        cost = values["cost"]
        saving = cost[names.index("LGL")] / cost[names.index("GGG")]
        analysis.rows.append(
            Row(NAME, f"LGL cost / GGG cost, {title}", None, saving, 0.0, "multiply-adds or entries read")
        )
    return analysis


def figure(result: xr.DataTree) -> Any:
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(2, len(TITLES), figsize=(3.5 * len(TITLES), 7.4), layout="constrained")
    for upper, lower, (name, title) in zip(*axes, TITLES.items(), strict=True):
        values = _values(result, name)
        for ax, (column, labels) in zip((upper, lower), QUALITIES.items(), strict=True):
            _quality_and_cost(ax, values, column, list(grids(result)[name]["schedule"].values))
            ax.set_ylabel(labels[2 if name in WALLS else 3])
        start, stop = values["window"]
        upper.set_title(f"{title}\nwindow {start:.2f} to {stop:.2f}")
        lower.set_xlabel("cost per value")
    axes[0, 0].legend(frameon=False, fontsize=8, title="before / inside / after", title_fontsize=8)
    return fig


def _quality_and_cost(ax: Any, values: dict[str, Any], column: str, names: list[str]) -> None:
    """Zero is perfect; the axis is linear near it, and all over where no schedule differs from it."""
    from matplotlib.ticker import NullFormatter

    quality, stderr = values[column], values[f"{column}_stderr"]
    for k, kind in enumerate(names):
        style = {"fmt": plots.MARKERS[k], "color": plots.COLORS[k], "ms": 7, "capsize": 3, "label": kind}
        ax.errorbar(values["cost"][k], quality[k], stderr[k], **style)
    if np.abs(quality).max() > 5 * stderr.max():
        floor = 2 * (stderr.max() if column == "mean_distance" else stderr.min()) if (quality <= stderr).any() else 0.0
        ax.set_yscale("symlog", linthresh=max(floor, 0.01 * np.abs(quality).max()), linscale=0.5)
    ax.axhline(0.0, color="k", lw=1)
    ax.set(xscale="log", xlim=(0.6 * values["cost"].min(), 1.7 * values["cost"].max()))
    ax.xaxis.set_minor_formatter(NullFormatter())


EXPERIMENT = NamedExperiment(NAME, "Hybrid generation: global only inside the window", specs, analyse, figure)
