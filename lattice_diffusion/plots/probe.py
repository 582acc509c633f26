"""Figures of a probe of images: where information is nonlocal, how far it reaches, how wide a network must be."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ..results import grids
from . import COLORS, curve, heat_map, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Variables = Mapping[str, xr.Variable]
SHADE = {"alpha": 0.15, "lw": 0}


def plot_probe(result: xr.DataTree) -> "Figure":
    """All that a probe found, and below it what it makes of pictures whose truth is known, a row each."""
    import matplotlib.pyplot as plt

    known = calibrations(result)
    heights = [7.8, *[3.9] * len(known)]
    figure = plt.figure(figsize=(11.0, sum(heights)), layout="constrained")
    first, *others = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _panels(first, grids(result)["probe"])
    for part, name in zip(others, known, strict=True):
        part.suptitle(f"Known truth: {name.removeprefix('calibration_')}; black: exact")
        _beside(part, grids(result)[name])
    return figure


def plot_probe_panels(result: xr.DataTree) -> "Figure":
    """The four panels of a probe: CMI map, CMI curves, Markov length, recommended radius."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11.0, 7.8), layout="constrained")
    _panels(figure, grids(result)["probe"])
    return figure


def plot_calibration(result: xr.DataTree, group: str) -> "Figure":
    """Measured beside exact, for pictures whose truth is known: CMI curves, Markov length, nonlocality window."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11.0, 3.7), layout="constrained")
    _beside(figure, grids(result)[group])
    return figure


def calibrations(result: xr.DataTree) -> list[str]:
    """Names of the groups of known truth."""
    return [name for name, group in grids(result).items() if "cmi_exact" in group]


def _panels(figure: "Figure | SubFigure", variables: Variables) -> None:
    axes = figure.subplots(2, 2)
    plot_probe_map(variables, ax=axes[0, 0])
    plot_probe_curves(variables, ax=axes[0, 1])
    plot_probe_lengths(variables, ax=axes[1, 0])
    plot_probe_radius(variables, ax=axes[1, 1])


def _beside(figure: "Figure | SubFigure", variables: Variables) -> None:
    axes = figure.subplots(1, 3)
    plot_probe_curves(variables, ax=axes[0], n_curves=3)
    plot_probe_lengths(variables, ax=axes[1])
    plot_probe_windows(variables, ax=axes[2])


def plot_probe_map(variables: Variables, *, ax: "Axes | None" = None) -> "Axes":
    """Heat map of log I_t(A;C|B) above its null over time and radius; less than two standard errors stays grey."""
    ax = new_figure()[1] if ax is None else ax
    cmi, stderr = variables["cmi_above_null"].values.T, variables["cmi_above_null_stderr"].values.T
    seen = np.where(cmi > 2 * stderr, cmi, np.nan)
    heat_map(
        ax,
        variables["t"].values,
        variables["radius"].values,
        seen,
        r"$I_t(A;C|B)$ above null (nats)",
        log=True,
    )
    ax.set(xlabel="time t", ylabel="radius r", title="Nonlocal information; grey: zero within two errors")
    return ax


def plot_probe_curves(variables: Variables, *, ax: "Axes | None" = None, n_curves: int = 5) -> "Axes":
    """I_t(A;C|B) against time for some radii, I_t(A;BC) as open markers, exact values black with their errors.

    The scale is linear below the tolerance (dotted) and logarithmic above it, so that zero can be shown.
    """
    ax = new_figure()[1] if ax is None else ax
    t, radii = variables["t"].values, variables["radius"].values
    cmi, stderr = variables["cmi_above_null"].values, variables["cmi_above_null_stderr"].values
    total, tolerance = variables["total_information"], float(variables["tolerance"].values)
    ax.errorbar(
        t,
        total.values,
        variables["total_information_stderr"].values,
        label=r"$I(A;BC)$",
        color="0.45",
        marker="o",
        mfc="w",
        ms=4,
        lw=0.8,
    )
    _exact(ax, variables, "total_information", label="exact")
    for k, j in enumerate(np.unique(np.linspace(0, radii.size - 1, n_curves).round().astype(int))):
        _exact(ax, variables, "cmi", j)
        curve(ax, k, t, cmi[:, j], stderr[:, j], f"$I(A;C|B)$, r = {radii[j]}")
    ax.axhline(tolerance, color="k", ls=":", lw=1)
    ax.axhline(0.0, color="0.7", lw=0.8)
    ax.set_yscale("symlog", linthresh=tolerance)
    known = variables.get("total_information_exact", total).values
    ax.set_ylim(top=30 * max(float(total.values.max()), float(known.max()), tolerance))  # room for the legend
    ax.set(xlabel="time t", ylabel="information (nats)", title="Information; dotted: tolerance")
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
    return ax


def plot_probe_lengths(variables: Variables, *, ax: "Axes | None" = None) -> "Axes":
    """Markov length against time with errors; a tick on the axis where there is no exponential decay to be seen."""
    ax = new_figure()[1] if ax is None else ax
    t, xi = variables["t"].values, variables["markov_length"].values
    none = np.isnan(xi)
    _exact(ax, variables, "markov_length")
    curve(ax, 0, t[~none], xi[~none], variables["markov_length_stderr"].values[~none])
    if none.any():
        ax.plot(t[none], np.zeros(none.sum()), "|", color="0.5", ms=12, label="no exponential window")
        ax.legend(frameon=False, fontsize=8)
    ax.set_ylim(0.0, None if np.isfinite(ax.dataLim.y1) and ax.dataLim.y1 > 0 else 1.0)
    ax.set(xlim=_limits(t), xlabel="time t", ylabel=r"Markov length $\xi$ (sites)", title="How far information reaches")
    return ax


def plot_probe_radius(variables: Variables, *, ax: "Axes | None" = None) -> "Axes":
    """Recommended radius against time, with the nonlocality window (and that of the label) shaded."""
    ax = new_figure()[1] if ax is None else ax
    t, radii = variables["t"].values, variables["radius"].values
    r, low, high = radii[0], *_limits(t)
    if variables["n_nonlocal_times"].values[0]:
        start, stop = (float(variables[f"window_{end}"].values[0]) for end in ("start", "stop"))
        window = (low if np.isnan(start) else start, high if np.isnan(stop) else stop)
        ax.axvspan(*window, color=COLORS[1], label=f"nonlocality window, r = {r}", **SHADE)
    if "speciation_seen" in variables and variables["speciation_seen"].values:
        start, stop = (float(variables[f"speciation_{end}"].values) for end in ("start", "stop"))
        window = (low if np.isnan(start) else start, high if np.isnan(stop) else stop)
        ax.axvspan(*window, color=COLORS[2], label="speciation window", **SHADE)
    top = radii[-1] + 1.5
    if "recommended_radius" in variables:
        chosen = variables["recommended_radius"].values
        shown = np.where(chosen < 0, top, chosen)
        ax.step(t, shown, where="mid", color=COLORS[0], lw=1.6)
        ax.plot(t, shown, "o", color=COLORS[0], ms=4, label="recommended r(t)")
        ax.set_yticks([*radii, top], [*map(str, radii), "global"])
        ax.set_ylim(radii[0] - 0.5, top + 2.5)  # room for the legend
    else:
        ax.set_yticks([])
    ax.set(xlim=(low, high), xlabel="time t", ylabel="radius r", title="How wide a network must be, and when")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    return ax


def plot_probe_windows(variables: Variables, *, ax: "Axes | None" = None) -> "Axes":
    """Nonlocality window of every radius, from its start to its stop with their errors; the exact one black.

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
    ax.set(xlim=(low, high), ylim=(radii[0] - 0.6, radii[-1] + 0.6), xlabel="time t", ylabel="radius r")
    ax.set_yticks(radii)
    ax.set_title(f"Where I(A;C|B) > {float(variables['tolerance'].values):g} nats")
    return ax


def _exact(ax: "Axes", variables: Variables, name: str, radius: int | None = None, label: str | None = None) -> None:
    """The exact values where they are known, a black line in a band of their errors."""
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
