"""Figures of a hybrid of images: quality against cost, recovery over (T_f, r), errors over time, the images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..results import grids
from . import COLORS, MARKERS, heat_map, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Variables = Mapping[str, xr.Variable]
MEASURES = {
    "frechet_distance": "Fréchet distance of features",
    "patch_divergence": "divergence of patches (nats)",
}


def plot_hybrid(result: xr.DataTree) -> "Figure":
    """All panels: quality against cost by classifier and by patches, area density, recovery, and a grid of images."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(15.0, 11.5), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.35, 1.0))
    above, below = parts
    axes = above.subplots(2, 3)
    groups = grids(result)
    for ax, name in zip(axes[0], MEASURES, strict=False):
        if name in groups["generation"]:
            plot_quality(groups["generation"], name, ax=ax)
        else:
            ax.set_axis_off()
    plot_kl(groups["generation"], ax=axes[0, 2])
    plot_excess(groups["denoising"], groups["generation"], ax=axes[1, 0])
    plot_recovery(groups["recovery"], "excess_mse", ax=axes[1, 1])
    plot_recovery(groups["recovery"], "agreement" if "agreement" in groups["recovery"] else "mse", ax=axes[1, 2])
    plot_images(groups["images"], ax=below.subplots())
    return figure


def plot_quality(variables: Variables, name: str, *, ax: "Axes | None" = None) -> "Axes":
    """A distance to real images against cost, a marker for every schedule; black: real images in their place."""
    ax = new_figure()[1] if ax is None else ax
    real, error = (float(variables[f"real_{key}"].values) for key in (name, f"{name}_stderr"))
    ax.axhspan(real - error, real + error, color="0.8", lw=0)
    ax.axhline(real, color="k", lw=1, label="real images")
    _schedules(ax, variables, name)
    ax.set(ylabel=MEASURES[name], ylim=(min(0.0, real - 2 * error), None))
    ax.legend(frameon=False, fontsize=8, title="before / inside / after", title_fontsize=8)
    start, stop = (float(variables[f"window_{end}"].values) for end in ("start", "stop"))
    ax.set_title(f"local r = {int(variables['local_radius'].values)}, window {start:.2f} to {stop:.2f}")
    return ax


def plot_kl(variables: Variables, *, ax: "Axes | None" = None) -> "Axes":
    """KL per image beyond global everywhere, by the area law, against cost."""
    ax = new_figure()[1] if ax is None else ax
    ax.axhline(0.0, color="k", lw=1)
    _schedules(ax, variables, "kl")
    ax.set(ylabel="KL per image beyond GGG (nats)", title="What the area law predicts")
    return ax


def _schedules(ax: "Axes", variables: Variables, name: str) -> None:
    whole = variables["cost"].values[list(variables["schedule"].values).index("GGG")]
    for k, schedule in enumerate(variables["schedule"].values):
        cost, value, error = (variables[key].values[k] for key in ("cost", name, f"{name}_stderr"))
        ax.errorbar(cost / whole, value, error, fmt=MARKERS[k], color=COLORS[k], ms=7, capsize=3, label=str(schedule))
    ax.set(xlabel=f"cost, in {whole:.2g} multiply-adds an image", xlim=(0.0, 1.1))


def plot_excess(variables: Variables, generation: Variables | None = None, *, ax: "Axes | None" = None) -> "Axes":
    """Squared error beyond that of the global network, a curve for every radius; shaded: the window."""
    ax = new_figure()[1] if ax is None else ax
    t, excess, stderr = (variables[name].values for name in ("t", "excess_mse", "excess_mse_stderr"))
    for k, r in enumerate(variables["radius"].values[:-1]):
        ax.errorbar(
            t, excess[:, k], stderr[:, k], color=COLORS[k % 7], marker=MARKERS[k % 7], ms=3, lw=0.8, label=f"r = {r}"
        )
    if generation is not None:
        window = (float(generation[f"window_{end}"].values) for end in ("start", "stop"))
        ax.axvspan(*window, color="0.9", lw=0, zorder=-1)
    ax.axhline(0.0, color="k", lw=1)
    ax.set(xlabel="time t", ylabel="squared error beyond global", title="Local denoisers; grey: the window")
    ax.legend(frameon=False, fontsize=8, ncols=2)
    return ax


def plot_recovery(variables: Variables, name: str, *, ax: "Axes | None" = None) -> "Axes":
    """Map over (T_f, r) of what is left of images noised to T_f and returned; top row: the global network."""
    ax = new_figure()[1] if ax is None else ax
    starts, radii = variables["start"].values, variables["radius"].values
    shown = variables[name].values.T
    kinds = np.arange(len(radii))
    heat_map(ax, np.arange(len(starts)), kinds, shown, _RECOVERY[name])
    for (i, j), value in np.ndenumerate(shown):
        dark = value < np.nanmin(shown) + 0.6 * np.ptp(shown)
        ax.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=7, color="w" if dark else "k")
    ax.set_xticks(np.arange(len(starts)), [f"{t:g}" for t in starts])
    ax.set_yticks(kinds, [f"{r}" if r >= 0 else "global" for r in radii])
    ax.set(xlabel="noised to T_f", ylabel="radius r", title="Noise and back")
    return ax


_RECOVERY = {
    "excess_mse": "squared error beyond global",
    "mse": "squared error",
    "agreement": "same class as before",
    "patch_divergence": "divergence of patches (nats)",
}


def plot_images(variables: Variables, *, ax: "Axes | None" = None) -> "Axes":
    """Rows of images: real ones, then every schedule."""
    ax = new_figure()[1] if ax is None else ax
    pixels = np.pad(variables["pixels"].values, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    n, m, rows, columns = pixels.shape
    canvas = pixels.transpose(0, 2, 1, 3).reshape(n * rows, m * columns)
    ax.imshow(canvas, cmap="gray_r", interpolation="nearest")
    ax.set_yticks((np.arange(n) + 0.5) * rows, [str(name) for name in variables["source"].values])
    ax.set_xticks([])
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    return ax
