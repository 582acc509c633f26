"""Figures of a probe and of a hybrid of images; data as markers with errors, exact values black.

A probe's figure shows where information is nonlocal, how far it reaches and how wide a network must be; a hybrid's
shows quality against cost, recovery over (T_f, r), errors over time, and the images.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..plots import COLORS, MARKERS, curve, heat_map, legend, new_figure, noise_axis, noise_rows
from ..results import grids
from .conclusions import SCHEDULES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Variables = Mapping[Any, Any]
ALARM = "#b00020"
MEASURES = {"frechet_distance": "Fréchet distance of features", "patch_divergence": "divergence of patches (nats)"}
QUALITY = {"bits": "bits per dimension lost", **MEASURES}
RECOVERY = {
    "excess_mse": "squared error beyond global",
    "mse": "squared error",
    "agreement": "same class as before",
    "patch_divergence": "divergence of patches (nats)",
}

# -- probe ----------------------------------------------------------------------------------------------------


def plot_probe(result: xr.DataTree) -> "Figure":
    """Draw what a probe found, and below it what it makes of pictures whose truth is known, a row each."""
    known = calibrations(result)
    heights = [7.8, *[3.9] * len(known)]
    figure = _empty(sum(heights))
    first, *others = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    plot_probe_panels(result, first)
    for part, name in zip(others, known, strict=True):
        part.suptitle(f"Known truth: {name.removeprefix('calibration_')}; black: exact")
        plot_calibration(result, name, part)
    return figure


def plot_probe_panels(result: xr.DataTree, figure: "Figure | SubFigure | None" = None) -> "Figure | SubFigure":
    """Draw the panels of a probe: CMI map and curves, and what follows from them: Markov length, recommended radius.

    Where no Markov length was found its panel is left out.
    """
    variables = grids(result)["probe"]
    if "markov_length" not in variables:
        figure = figure or _empty(4.2)
        axes = figure.subplots(1, 2)
        plot_probe_map(variables, ax=axes[0])
        plot_probe_curves(variables, ax=axes[1])
        figure.suptitle("NOT CONVERGED: may be too large or too small", color=ALARM, fontweight="bold")
        return figure
    figure = figure or _empty(7.8)
    found = bool(variables["markov_length"].notnull().any())
    axes = figure.subplot_mosaic([["map", "curves"], ["length" if found else "radius", "radius"]])
    plot_probe_map(variables, ax=axes["map"])
    plot_probe_curves(variables, ax=axes["curves"])
    if found:
        plot_probe_lengths(variables, ax=axes["length"])
    plot_probe_radius(variables, ax=axes["radius"])
    return figure


def plot_calibration(
    result: xr.DataTree, group: str, figure: "Figure | SubFigure | None" = None
) -> "Figure | SubFigure":
    """Draw measured beside exact for pictures of known truth: CMI curves, Markov length, nonlocality window."""
    figure, variables = figure or _empty(3.7), grids(result)[group]
    keys = ("markov_length", "markov_length_exact")
    panels = [plot_probe_windows] if "markov_length" in variables else []
    if any(key in variables and variables[key].notnull().any() for key in keys):
        panels = [plot_probe_lengths, *panels]
    first, *axes = figure.subplots(1, 1 + len(panels), squeeze=False)[0]
    plot_probe_curves(variables, ax=first, n_curves=3)
    for plot, ax in zip(panels, axes, strict=True):
        plot(variables, ax=ax)
    return figure


def calibrations(result: xr.DataTree) -> list[str]:
    """Return the names of the groups of known truth."""
    return [name for name, group in grids(result).items() if "cmi_exact" in group]


def _empty(height: float) -> "Figure":
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(11.0, height), layout="constrained")


def plot_probe_map(variables: Variables, *, ax: "Axes | None" = None) -> "Axes":
    """Draw a heat map of log I_t(A;C|B) above its null over time and radius; below two standard errors it is grey."""
    ax = new_figure()[1] if ax is None else ax
    cmi, stderr = variables["cmi_above_null"].values.T, variables["cmi_above_null_stderr"].values.T
    seen = np.where(cmi > 2 * stderr, cmi, np.nan)
    t, radii = variables["t"].values, variables["radius"].values
    heat_map(ax, t, radii, seen, r"$I_t(A;C|B)$ above null (nats)", log=True)
    ax.set(ylabel="radius r", title="Nonlocal information; grey: zero within two errors")
    ax.set_yticks(radii)
    return noise_axis(ax, variables)


def plot_probe_curves(variables: Variables, *, ax: "Axes | None" = None, n_curves: int = 5) -> "Axes":
    """Draw I_t(A;C|B) against time for some radii, I_t(A;BC) as open markers, exact values black with their errors.

    The scale is linear below the tolerance (dotted) and logarithmic above it, so that zero can be shown.
    """
    ax = new_figure()[1] if ax is None else ax
    t, radii = variables["t"].values, variables["radius"].values
    cmi, stderr = variables["cmi_above_null"].values, variables["cmi_above_null_stderr"].values
    total, tolerance = variables["total_information"], float(variables["tolerance"].values)
    hollow: dict[str, Any] = {"color": "0.45", "marker": "o", "mfc": "w", "ms": 4, "lw": 0.8}
    ax.errorbar(t, total.values, variables["total_information_stderr"].values, label=r"$I(A;BC)$", **hollow)
    _exact(ax, variables, "total_information", label="exact")
    for k, j in enumerate(np.unique(np.linspace(0, radii.size - 1, n_curves).round().astype(int))):
        _exact(ax, variables, "cmi", j)
        curve(ax, k, t, cmi[:, j], stderr[:, j], f"$I(A;C|B)$, r = {radii[j]}")
    ax.axhline(tolerance, color="k", ls=":", lw=1)
    ax.axhline(0.0, color="0.7", lw=0.8)
    ax.set_yscale("symlog", linthresh=tolerance)
    ax.set_ylim(top=2 * max(ax.dataLim.y1, tolerance))
    ax.set(ylabel="information (nats)", title="Information; dotted: tolerance")
    legend(noise_axis(ax, variables), 2 if n_curves < 5 else 3)
    return ax


def plot_probe_lengths(variables: Variables, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the Markov length against time; ticks on the axis show where there is no exponential decay."""
    ax = new_figure()[1] if ax is None else ax
    t, xi = variables["t"].values, variables["markov_length"].values
    none = np.isnan(xi)
    _exact(ax, variables, "markov_length")
    curve(ax, 0, t[~none], xi[~none], variables["markov_length_stderr"].values[~none])
    if none.any():
        ax.plot(t[none], np.zeros(none.sum()), "|", color="0.5", ms=12, label="no exponential window")
    ax.set_ylim(0.0, None if np.isfinite(ax.dataLim.y1) and ax.dataLim.y1 > 0 else 1.0)
    ax.set(xlim=_limits(t), ylabel=r"Markov length $\xi$ (sites)", title="How far information reaches")
    legend(noise_axis(ax, variables))
    return ax


def plot_probe_radius(variables: Variables, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the recommended radius against time, above stripes for the nonlocality window (and that of the label)."""
    ax = new_figure()[1] if ax is None else ax
    t, radii = variables["t"].values, variables["radius"].values
    low, high = _limits(t)
    shaded = []
    if variables["n_nonlocal_times"].values[0]:
        shaded.append(("window", COLORS[1], f"nonlocality window, r = {radii[0]}"))
    if "speciation_seen" in variables and variables["speciation_seen"].values:
        shaded.append(("speciation", COLORS[2], "speciation window"))
    for k, (name, color, label) in enumerate(shaded):
        start, stop = (float(variables[f"{name}_{end}"].values.flat[0]) for end in ("start", "stop"))
        window = (low if np.isnan(start) else start, high if np.isnan(stop) else stop)
        ax.axvspan(*window, 0.04 * k, 0.04 * (k + 1), color=color, label=label, alpha=0.6, lw=0)
    top = radii[-1] + 1.5
    if "recommended_radius" in variables:
        chosen = variables["recommended_radius"].values
        shown = np.where(chosen < 0, top, chosen)
        ax.step(t, shown, where="mid", color=COLORS[0], lw=1.6)
        ax.plot(t, shown, "o", color=COLORS[0], ms=4, label="recommended r(t)")
        ax.set_yticks([*radii, top], [*map(str, radii), "global"])
        ax.set_ylim(radii[0] - 0.5, top + 0.5)
    else:
        ax.set_yticks([])
    ax.set(xlim=(low, high), ylabel="radius r", title="How wide a network must be, and when")
    legend(noise_axis(ax, variables))
    return ax


def plot_probe_windows(variables: Variables, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the nonlocality window of every radius, from start to stop with their errors; the exact one black.

    A window open at an end goes on to the edge of the panel.
    """
    ax = new_figure()[1] if ax is None else ax
    low, high = _limits(variables["t"].values)
    radii = variables["radius"].values
    for ending, shift, color, width in (("", 0.12, COLORS[1], 3.0), ("_exact", -0.12, "k", 1.2)):
        if f"window_start{ending}" not in variables:
            continue
        count = variables[f"n_nonlocal_times{ending}"].values
        ends = [variables[f"window_{end}{ending}"].values for end in ("start", "stop")]
        errors = [variables[f"window_{end}{ending}_stderr"].values for end in ("start", "stop")]
        for j in np.flatnonzero(count):
            y = radii[j] + shift
            shown = [limit if np.isnan(end[j]) else end[j] for end, limit in zip(ends, (low, high), strict=True)]
            ax.plot(shown, [y, y], color=color, lw=width, alpha=0.6 if width > 2 else 1.0, solid_capstyle="butt")
            for end, error in zip(ends, errors, strict=True):
                if np.isfinite(end[j]):
                    ax.errorbar(end[j], y, xerr=error[j], color=color, capsize=2, lw=1)
    ax.set(xlim=(low, high), ylim=(radii[0] - 0.6, radii[-1] + 0.6), ylabel="radius r")
    ax.set_yticks(radii)
    ax.set_title(f"Where I(A;C|B) > {float(variables['tolerance'].values):g} nats")
    return noise_axis(ax, variables)


def _exact(ax: "Axes", variables: Variables, name: str, radius: int | None = None, label: str | None = None) -> None:
    """Draw the exact values where they are known, a black line in a band of their errors."""
    if f"{name}_exact" not in variables:
        return
    t, values = variables["t"].values, variables[f"{name}_exact"].values
    stderr = variables[f"{name}_exact_stderr"].values
    if radius is not None:
        values, stderr = values[:, radius], stderr[:, radius]
    ax.plot(t, values, "k", lw=1, label=label)
    ax.fill_between(t, values - stderr, values + stderr, color="k", alpha=0.15, lw=0)


def _limits(t: np.ndarray) -> tuple[float, float]:
    pad = 0.05 * (t[-1] - t[0]) if t.size > 1 else 0.5
    return float(t[0] - pad), float(t[-1] + pad)


# -- hybrid ---------------------------------------------------------------------------------------------------


def plot_hybrid(result: xr.DataTree) -> "Figure":
    """Draw quality and loss against cost, errors, recovery, and a grid of images; one legend for all schedules."""
    import matplotlib.pyplot as plt

    groups = grids(result)
    made, recovery = groups["generation"], groups["recovery"]
    figure = plt.figure(figsize=(15.0, 12.0), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.45, 1.0))
    above, below = halves
    axes = above.subplots(2, 3)
    shown = ["bits", *(name for name in MEASURES if name in made)]
    for ax, name in zip(axes[0], shown, strict=False):
        plot_quality(made, name, ax=ax)
    for ax in axes[0, len(shown) :]:
        ax.remove()
    above.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False)
    plot_excess(groups["denoising"], made, ax=axes[1, 0])
    plot_recovery(recovery, "excess_mse", ax=axes[1, 1])
    plot_recovery(recovery, "agreement" if "agreement" in recovery else "patch_divergence", ax=axes[1, 2])
    plot_images(groups["images"], ax=below.subplots())
    return figure


def plot_quality(variables: Variables, name: str, *, ax: "Axes | None" = None) -> "Axes":
    """Draw bits lost, or a distance to real images, against cost, a marker for every schedule; black: real images."""
    ax = new_figure()[1] if ax is None else ax
    keys = (f"real_{name}", f"real_{name}_stderr")
    real, error = (float(variables[key].values) if key in variables else 0.0 for key in keys)
    ax.axhspan(real - error, real + error, color="0.8", lw=0)
    ax.axhline(real, color="k", lw=1, label="real images")
    whole = variables["cost"].values[list(variables["schedule"].values).index("GGG")]
    for k, schedule in enumerate(variables["schedule"].values):
        cost, value, error = (variables[key].values[k] for key in ("cost", name, f"{name}_stderr"))
        style: dict[str, Any] = {"fmt": MARKERS[k], "color": COLORS[k], "ms": 7, "capsize": 3}
        ax.errorbar(cost / whole, value, error, label=SCHEDULES.get(str(schedule), str(schedule)), **style)
    ax.set(xlabel=f"cost, in {whole:.2g} {variables['cost'].attrs['long_name']}", xlim=(0.0, 1.1))
    lowest = float((variables[name].values - variables[f"{name}_stderr"].values).min())
    ax.set(ylabel=QUALITY[name], ylim=(min(0.0, 1.1 * lowest, real - 2 * error), None))
    return ax


def plot_excess(variables: Variables, generation: Variables | None = None, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the squared error beyond that of the global network, a curve for every radius; shaded: the window."""
    ax = new_figure()[1] if ax is None else ax
    t, excess, stderr = (variables[name].values for name in ("t", "excess_mse", "excess_mse_stderr"))
    for k, r in enumerate(variables["radius"].values[:-1]):
        curve(ax, k, t, excess[:, k], stderr[:, k], f"r = {r}", ms=3, lw=0.8)
    if generation is not None:
        window = (float(generation[f"window_{end}"].values) for end in ("start", "stop"))
        ax.axvspan(*window, color="0.9", lw=0, zorder=-1)
    ax.axhline(0.0, color="k", lw=1)
    ax.set(ylabel="squared error beyond global", title="Local denoisers; grey: the window")
    legend(noise_axis(ax, variables))
    return ax


def plot_recovery(variables: Variables, name: str, *, ax: "Axes | None" = None) -> "Axes":
    """Draw a map over (T_f, r) of what is left of images noised to T_f and returned; top row: the global network."""
    ax = new_figure()[1] if ax is None else ax
    starts, radii = variables["start"].values, variables["radius"].values
    shown = variables[name].values.T
    kinds = np.arange(len(radii))
    heat_map(ax, np.arange(len(starts)), kinds, shown, RECOVERY[name])
    for (i, j), value in np.ndenumerate(shown):
        dark = value < np.nanmin(shown) + 0.6 * np.ptp(shown)
        ax.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=7, color="w" if dark else "k")
    noise_rows(ax, np.arange(len(starts)), starts, variables["log_snr"].values)
    ax.set_yticks(kinds, [f"{r}" if r >= 0 else "global" for r in radii])
    ax.set(ylabel="radius r", title=f"Noised and returned: {RECOVERY[name]}")
    return ax


def plot_images(variables: Variables, *, ax: "Axes | None" = None) -> "Axes":
    """Draw rows of images: real ones, then every schedule."""
    ax = new_figure()[1] if ax is None else ax
    pixels = variables["pixels"].values
    edge = [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)]
    if pixels.ndim == 5:
        pixels = np.pad(np.clip((pixels + 1) / 2, 0, 1), edge, constant_values=1.0)
    else:
        pixels = np.pad(pixels, edge[:-1], constant_values=np.nan)
    n, m, rows, columns, *colours = pixels.shape
    canvas = np.swapaxes(pixels, 1, 2).reshape(n * rows, m * columns, *colours)
    ax.imshow(canvas, cmap="gray_r", interpolation="nearest")
    ax.set_yticks((np.arange(n) + 0.5) * rows, [str(name) for name in variables["source"].values])
    ax.set_xticks([])
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    return ax
