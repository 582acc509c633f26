"""Figures of results: data as markers with error bars, what is known analytically in black."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ..errors import InputError, check_finite, shown
from ..results import grids

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def new_figure(n_panels: int = 1, width: float = 5.0, height: float = 3.9) -> tuple["Figure", Any]:
    """Return a figure with a row of panels, and its axes, an array for more than one."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, n_panels, figsize=(width * n_panels, height), layout="constrained")
    return figure, axes


def _axes(ax: "Axes | None") -> "Axes":
    return new_figure()[1] if ax is None else ax


def heat_map(
    ax: "Axes",
    x: ArrayLike,
    y: ArrayLike,
    values: ArrayLike,
    label: str,
    *,
    log: bool = False,
    vmin: float | None = None,
) -> "Axes":
    """Draw `values` (len(y), len(x)) as coloured cells with a colour bar; cells without a value stay grey.

    On a logarithmic scale values that are not positive have no colour, and `vmin` cuts the scale.
    """
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    x, y = np.asarray(x, float), np.asarray(y, float)
    z = np.ma.masked_invalid(np.asarray(values, float))
    if x.ndim != 1 or z.shape != (y.size, x.size):
        raise InputError(f"values must have shape (len(y), len(x)), got {z.shape} for {y.shape} and {x.shape}")
    check_finite(x=x, y=y, vmin=0.0 if vmin is None else vmin)
    if log:
        z = np.ma.masked_less_equal(z, 0.0)
    low, high = (float(z.min()), float(z.max())) if z.count() else (1.0, 10.0)
    low = max(low, vmin) if vmin is not None else low
    high = max(high, 2 * low) if log else high
    mesh = ax.pcolormesh(
        _edges(x),
        _edges(y),
        z,
        cmap="viridis",
        norm=LogNorm(low, high) if log else Normalize(low, high),
        rasterized=True,
    )
    bar = ax.figure.colorbar(mesh, ax=ax, label=label)
    if log and high < 1e3 * low:
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        bar.ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        bar.ax.yaxis.set_minor_locator(NullLocator())
    ax.set_facecolor("0.85")
    return ax


def _edges(x: np.ndarray) -> np.ndarray:
    """Return cell edges halfway between the values; the outer cells are symmetric."""
    if x.size == 1:
        return np.array([x[0] - 0.5, x[0] + 0.5])
    middle = 0.5 * (x[1:] + x[:-1])
    return np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])


def curve(ax: "Axes", k: int, x: ArrayLike, y: ArrayLike, stderr: ArrayLike | None, label: str | None = None) -> "Axes":
    """Draw the k-th data set as markers with error bars."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.shape != y.shape or x.ndim > 1:
        raise InputError(f"x and y must have one shape (n,), got {x.shape} and {y.shape}")
    stderr = None if stderr is None else np.asarray(stderr, float)
    if stderr is not None and (stderr.shape not in ((), y.shape, (2, *y.shape)) or (stderr < 0).any()):
        raise InputError(f"stderr must be >= 0, one for every value or two, got {shown(stderr)}")
    ax.errorbar(
        x, y, stderr, label=label, color=COLORS[k % 7], marker=MARKERS[k % 7], ms=4, lw=0, elinewidth=1, capsize=1.5
    )
    return ax


def plot_cmi(
    result: xr.DataTree, grid: str | None = None, *, at: Mapping[str, int] | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Draw log I_t(A;C|B) over time and buffer width, or over time and the first axis if r has one value.

    Args:
        grid: which grid of the result; its first with cmi by default.
        at: index along axes that are not shown, 0 by default.
    """
    known = {name: group for name, group in grids(result).items() if {"cmi", "t", "radius"} <= {*group.variables}}
    if not known or grid not in (None, *known):
        names = ", ".join(known) or "of which there is none"
        raise InputError(f"grid must be one that holds cmi over t and radius, {names}, got {grid!r}")
    name = next(iter(known)) if grid is None else grid
    cmi = known[name]["cmi"]
    others = [str(dim) for dim in cmi.dims if dim not in ("t", "radius")]
    other = "radius" if cmi.sizes["radius"] > 1 or not others else others[0]
    at = {**dict.fromkeys((str(dim) for dim in cmi.dims if dim not in ("t", other)), 0), **(at or {})}
    for dim, i in at.items():
        if dim not in cmi.dims or not -cmi.sizes[dim] <= i < cmi.sizes[dim]:
            raise InputError(f"at must hold indices along axes of cmi, of sizes {dict(cmi.sizes)}, got {dim!r}: {i}")
    shown = cmi.isel({dim: i for dim, i in at.items() if dim not in ("t", other)}).transpose(other, "t")
    ax = heat_map(_axes(ax), cmi["t"], cmi[other], shown, r"$I_t(A;C|B)$ (nats)", log=True)
    ax.set(xlabel="time t", ylabel=cmi[other].attrs["long_name"], title=f"{result.attrs.get('name', '')}: {name}")
    return ax


def plot_markov_length(
    variables: Mapping[str, xr.Variable] | xr.Dataset, control: str, *, ax: "Axes | None" = None
) -> "Axes":
    """Draw a heat map of the Markov length over time and the `control` parameter (variable of dims (control, t))."""
    missing = [name for name in ("t", control, "markov_length") if name not in variables]
    if missing:
        raise InputError(f"variables must hold t, {control} and markov_length, got no {', '.join(missing)}")
    ax = _axes(ax)
    label = r"Markov length $\xi$ (sites)"
    heat_map(ax, variables["t"].values, variables[control].values, variables["markov_length"].values, label, log=True)
    ax.set_xlabel("time t")
    return ax


def plot_scores(
    floors: ArrayLike, estimators: Sequence[str], tasks: Sequence[str], *, ax: "Axes | None" = None
) -> "Axes":
    """Draw a table of RMSE in units of the statistical floor, (len(estimators), len(tasks)); 1 is as good as it gets.

    Every cell carries its number; a cell without one (NaN: no estimate) stays grey and says "failed".
    """
    from matplotlib.colors import LogNorm

    values = np.asarray(floors, float)
    if values.shape != (len(estimators), len(tasks)):
        raise InputError(f"floors must have shape ({len(estimators)}, {len(tasks)}), got {values.shape}")
    if ax is None:
        ax = new_figure(width=2.5 + 0.62 * len(tasks), height=2.0 + 0.45 * len(estimators))[1]
    largest = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    norm = LogNorm(1.0, max(10.0, largest), clip=True)
    mesh = ax.pcolormesh(np.ma.masked_invalid(values), cmap="viridis", norm=norm, rasterized=True)
    ax.figure.colorbar(mesh, ax=ax, label="RMSE / floor")
    ax.set_facecolor("0.85")
    for (i, j), value in np.ndenumerate(values):
        dark = np.isfinite(value) and norm(value) < 0.6
        text = f"{value:.2g}" if value < 100 else f"{value:.0f}"
        ax.text(
            *(j + 0.5, i + 0.5),
            text if np.isfinite(value) else "failed",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
        )
    ax.set_xticks(np.arange(len(tasks)) + 0.5, tasks, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(np.arange(len(estimators)) + 0.5, estimators)
    ax.tick_params(length=0)
    ax.invert_yaxis()
    return ax
