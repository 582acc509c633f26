"""Two-way local connection: noise from t_a on to t_b and local recovery back, for every segment of the path.

Closed loops under erasure, in phases separated by t* = 1/2. A segment inside a phase is harmless to local recovery: its
error falls exponentially with the radius. One that straddles t* costs the area under the CMI's peak, r^(-2). Small
systems show the same in full, with the bound by the CMI on the way.
"""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .. import plots
from ..phases import power_law
from ..results import Row, grids
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment

NAME = "phases"
WINDOW = "peak r^(-5/4) times width r^(-3/4) (expected), asymptotic"
BOUND = "KL <= sum of CMI drops <= sum of CMI: at most 1"
FLOOR = 1e-6  # of colours, nats per bond
SEGMENTS = ((0.1, 0.3), (0.7, 0.9), (0.3, 0.7))  # in the data phase, in the trivial phase, across


def specs(preset: str) -> Spec:
    full = preset == "full"
    edges = [round(0.05 * k, 2) for k in range(1, 20)] if full else [round(0.1 * k, 1) for k in range(1, 10)]
    loops = {"name": "domain-walls", "length": 128 if full else 64}
    return Spec(
        name=NAME,
        grids={
            "map": {
                "model": loops,
                "channel": {"name": "erasure"},
                "t": edges,
                "radii": [2, 8],
                "n_samples": 400 if full else 40,
                "quantity": "round_trip",
                "settings": {"stops": edges},
            },
            "decay": {
                "model": {"name": "domain-walls", "length": 512 if full else 192},
                "channel": {"name": "erasure"},
                "t": [start for start, _ in SEGMENTS],
                "radii": [1, 2, 3, 4, 6, 8, 11, 16],
                "n_samples": 100 if full else 12,
                "quantity": "round_trip",
                "settings": {"stops": sorted({stop for _, stop in SEGMENTS})},
            },
            "small": {
                "model": {"name": "domain-walls", "faces": [3, 3]},
                "channel": {"name": "bitflip"},
                "t": [round(0.1 * k, 1) for k in range(1, 9)],
                "radii": [0, 1],
                "quantity": "exact_round_trip",
                "settings": {"stops": [round(0.1 * k, 1) for k in range(1, 10)]},
            },
            "small-ising": {
                "model": {"name": "ising", "shape": [3, 3], "beta": 0.44},
                "channel": {"name": "erasure"},
                "t": [0.0, 0.2, 0.4, 0.6, 0.8],
                "radii": [0, 1],
                "quantity": "exact_round_trip",
                "settings": {"stops": [0.2, 0.4, 0.6, 0.8, 1.0]},
            },
        },
    )


def segment(result: xr.DataTree, start: float, stop: float, name: str = "divergence") -> NDArray:
    """(n_radii,) of the grid "decay"."""
    grid = grids(result)["decay"]
    a = int(np.argmin(np.abs(grid["t"].values - start)))
    b = int(np.argmin(np.abs(grid["stop"].values - stop)))
    return np.asarray(grid[name].values[a, b])


def analyse(result: xr.DataTree) -> Analysis:
    analysis, radii = Analysis(), grids(result)["decay"]["radius"].values
    data, trivial, across = (segment(result, *ends) for ends in SEGMENTS)
    error = segment(result, *SEGMENTS[2], "divergence_stderr")
    law = power_law(radii[-3:], across[-3:], error[-3:])
    label = f"exponent of the error across t*, r = {radii[-3]}..{radii[-1]}"
    analysis.rows.append(Row(NAME, label, -2.0, law.exponent.value, law.exponent.stderr, WINDOW))
    k = int(np.flatnonzero(radii == 8)[0])
    for name, inside, ends in (("data", data, SEGMENTS[0]), ("trivial", trivial, SEGMENTS[1])):
        stderr = segment(result, *ends, "divergence_stderr")[k] / across[k]
        label = f"error of segment {list(ends)} ({name} phase) over {list(SEGMENTS[2])}, r = 8"
        analysis.rows.append(Row(NAME, label, 0.0, inside[k] / across[k], stderr, "harmless inside a phase"))
    for name, title in (("small", "loops 3 x 3, bit flips"), ("small-ising", "Ising 3 x 3, erasure")):
        grid = grids(result)[name]
        kl, drop, cmi = (grid[key].values for key in ("divergence", "drop", "cmi"))
        seen = np.isfinite(kl) & (drop > 1e-12)
        worst = float((kl[seen] / drop[seen]).max())
        analysis.rows.append(Row(NAME, f"largest KL / sum of CMI drops, {title}", None, worst, 0.0, BOUND))
        analysis.rows.append(
            Row(NAME, f"largest drops / sum of CMI, {title}", None, float((drop[seen] / cmi[seen]).max()), 0.0, BOUND)
        )
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, axes = plots.new_figure(4, width=4.3)
    grid = grids(result)["map"]
    times, stops = grid["t"].values, grid["stop"].values
    for ax, r in zip(axes[:2], range(2), strict=True):
        values = np.maximum(grid["divergence"].values[:, :, r].T, FLOOR)  # NaN, no segment, stays NaN
        plots.heat_map(ax, times, stops, values, "KL (nats per bond)", log=True)
        _cross(ax, 0.5)
        ax.set_title(f"Loops under erasure, r = {grid['radius'].values[r]}")
    small = grids(result)["small"]
    values = np.maximum(small["total_variation"].values[:, :, 1].T, 1e-3)
    plots.heat_map(axes[2], small["t"].values, small["stop"].values, values, "total variation", log=True)
    _cross(axes[2], 2 * 0.10919)
    axes[2].set_title("Loops 3 x 3, bit flips, r = 1: all states")
    radii = grids(result)["decay"]["radius"].values
    for k, (ends, name) in enumerate(zip(SEGMENTS, ("data phase", "trivial phase", "across t*"), strict=True)):
        kl, error = segment(result, *ends), segment(result, *ends, "divergence_stderr")
        seen = kl > 0
        plots.curve(axes[3], k, radii[seen], kl[seen], error[seen], f"{ends[0]} to {ends[1]}: {name}")
    across = segment(result, *SEGMENTS[2])
    axes[3].plot(radii[3:], 0.5 * across[3] * (radii[3:] / radii[3]) ** -2.0, "k--", lw=1, label=r"$r^{-2}$")
    axes[3].set(xscale="log", yscale="log", xlabel="radius r", ylabel="KL (nats per bond)", ylim=(1e-11, None))
    axes[3].set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    axes[3].minorticks_off()
    axes[3].set_title("Error of three segments")
    axes[3].legend(frameon=False, fontsize=8, loc="lower left")
    return fig


def _cross(ax: Any, t: float) -> None:
    ax.axvline(t, color="k", lw=1.5)
    ax.axhline(t, color="k", lw=1.5)
    ax.set(xlabel=r"start $t_a$", ylabel=r"stop $t_b$")


EXPERIMENT = NamedExperiment(NAME, "Phases: which segments local recovery undoes", specs, analyse, figure)
