"""Figures of results: data as markers with error bars, what is known analytically in black.

`curves` and `cells` draw a variable of a labelled grid along one axis and over two. Values that rare samples carry are
told apart: with too few samples the estimate of a small, positive mean lacks the samples that matter, and so does its
error. Outward from the peak over time, all that lies beyond the first value below three of its errors is drawn with
open markers, or hatched; see `trusted`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check_finite, shown
from ..noise_units import units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
CMI, XI = r"$I_t(A;C|B)$ (nats)", r"Markov length $\xi$ (sites)"
SYMBOLS = {"t": "t", "radius": "r", "beta": "β", "length": "L", "mass_squared": "m²", "mean": "μ", "std": "s"}
SYMBOLS |= {"coupling": "J"}
WORDS = {"t": "time t", "radius": "radius r", "beta": "β", "length": "side L"}
SIGNIFICANT = 3.0  # errors
N_TICKS = 6, 5, 4  # of three rows each on an axis of time
DECADES = 9  # of a logarithmic scale of colours, at most
Style = Literal["paper", "talk"]
STYLES: dict[str, dict[str, Any]] = {
    "paper": {"font.size": 10, "axes.titlesize": 10.5, "legend.fontsize": 8.5, "lines.markersize": 4},
    "talk": {
        **{"font.size": 17, "axes.titlesize": 17, "legend.fontsize": 14, "lines.markersize": 7.5},
        **{"lines.linewidth": 2.5, "axes.linewidth": 1.4, "errorbar.capsize": 3.0},
    },
}


@contextmanager
def style(name: Style = "paper") -> Iterator[None]:
    """Draw with fonts and lines for a page, or for a projector."""
    import matplotlib as mpl

    if name not in STYLES:
        raise InputError(f"style must be paper or talk, got {name!r}")
    common = {"legend.frameon": False, "errorbar.capsize": 1.5, "lines.linewidth": 1.2, "hatch.linewidth": 0.6}
    chosen: dict[Any, Any] = {**common, "hatch.color": "0.55", **STYLES[name]}
    with mpl.rc_context(chosen):
        yield


def new_figure(n_panels: int = 1, width: float = 5.0, height: float = 3.9, *, rows: int = 1) -> tuple["Figure", Any]:
    """Return a figure with rows of panels, and its axes, an array for more than one."""
    import matplotlib.pyplot as plt

    large = max(1.0, plt.rcParams["font.size"] / 12)  # room for the fonts of a talk
    size = (width * n_panels * large, height * rows * large)
    return plt.subplots(rows, n_panels, figsize=size, layout="constrained")


def legend(ax: "Axes", ncols: int | None = None, **options: Any) -> None:
    """Put the legend below the axes and their labels, where it leaves the data free."""
    import matplotlib.pyplot as plt
    from matplotlib.transforms import offset_copy

    lines = 5.4 if "\n" in ax.get_xticklabels()[0].get_text() else 3.4  # of text below the axes
    down = -lines * plt.rcParams["font.size"]
    below = offset_copy(ax.transAxes, ax.get_figure(root=True), 0, down, units="points")
    n = len(ax.get_legend_handles_labels()[0])
    if n == 0:
        return
    ncols = ncols or (n if n <= 4 else 3)
    options = {"handlelength": 1.4, "columnspacing": 1.2, "borderaxespad": 0.0, **options}
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=below, ncols=ncols, **options)


# -- plain arrays ------------------------------------------------------------------------------------------------------


def heat_map(
    ax: "Axes",
    x: ArrayLike,
    y: ArrayLike,
    values: ArrayLike,
    label: str,
    *,
    log: bool = False,
    vmin: float | None = None,
    vmax: float | None = None,
    hatched: ArrayLike | None = None,
) -> "Axes":
    """Draw `values` (len(y), len(x)) as coloured cells with a colour bar, if any; cells without a value stay grey.

    On a logarithmic scale values that are not positive have no colour. `vmin` and `vmax` cut the scale, and cells of
    the mask `hatched` have stripes in place of a colour. Axes of whole numbers have ticks at whole numbers.
    """
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.ticker import MaxNLocator

    for axis, coordinate in ((ax.xaxis, np.asarray(x)), (ax.yaxis, np.asarray(y))):
        if coordinate.dtype.kind in "iu":
            axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    x, y = np.asarray(x, float), np.asarray(y, float)
    z = np.ma.masked_invalid(np.asarray(values, float))
    if x.ndim != 1 or z.shape != (y.size, x.size):
        raise InputError(f"values must have shape (len(y), len(x)), got {z.shape} for {y.shape} and {x.shape}")
    check_finite(x=x, y=y, vmin=0.0 if vmin is None else vmin)
    if log:
        z = np.ma.masked_less_equal(z, 0.0)
    striped = np.zeros(z.shape, bool) if hatched is None else np.asarray(hatched, bool)
    z = np.ma.masked_where(striped, z)
    low, high = (float(z.min()), float(z.max())) if z.count() else (1.0, 10.0)
    cut = vmin is not None and low < vmin
    if vmin is not None:
        low = vmin if vmax is not None else max(low, vmin)
    high = high if vmax is None else vmax
    high = max(high, 2 * low) if log else high
    edges = _edges(x), _edges(y)
    norm = LogNorm(low, high) if log else Normalize(low, high)
    mesh = ax.pcolormesh(*edges, z, cmap="viridis", norm=norm, rasterized=True)
    if z.count():
        bar = ax.figure.colorbar(mesh, ax=ax, label=label, extend="min" if cut else "neither")
        if log and high < 1e3 * low:
            plain_log(bar.ax.yaxis)
    ax.set_facecolor("0.85")
    if striped.any():
        nothing = np.ma.masked_where(~striped, np.ones(z.shape))
        ax.pcolor(*edges, nothing, hatch="////", cmap="Greys", vmin=0.9, vmax=10.0, edgecolor="0.55", lw=0)
    return ax


def plain_log(axis: Any) -> None:
    """Write the ticks of a logarithmic axis of few decades as 1, 2, 5, 10."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_locator(NullLocator())


def _edges(x: np.ndarray) -> np.ndarray:
    """Return cell edges halfway between the values; the outer cells are symmetric."""
    if x.size == 1:
        return np.array([x[0] - 0.5, x[0] + 0.5])
    middle = 0.5 * (x[1:] + x[:-1])
    return np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])


def curve(
    ax: "Axes", k: int, x: ArrayLike, y: ArrayLike, stderr: ArrayLike | None, label: str | None = None, **options: Any
) -> "Axes":
    """Draw the k-th data set as markers with error bars; more options are those of matplotlib's `errorbar`."""
    x, y = np.asarray(x), np.asarray(y, float)
    x = x if x.dtype.kind in "OUT" else x.astype(float)
    if x.shape != y.shape or x.ndim > 1:
        raise InputError(f"x and y must have one shape (n,), got {x.shape} and {y.shape}")
    stderr = None if stderr is None else np.asarray(stderr, float)
    if stderr is not None and (stderr.shape not in ((), y.shape, (2, *y.shape)) or (stderr < 0).any()):
        raise InputError(f"stderr must be >= 0, one for every value or two, got {shown(stderr)}")
    given = {"color": COLORS[k % 7], "marker": MARKERS[k % 7], "lw": 0, "elinewidth": 1, "label": label}
    ax.errorbar(x, y, stderr, **{**given, **options})
    return ax


# -- variables of labelled grids ---------------------------------------------------------------------------------------


def words(coordinate: xr.DataArray) -> str:
    """Return the label of an axis."""
    return WORDS.get(str(coordinate.name), str(coordinate.attrs.get("long_name", coordinate.name)))


def place(data: xr.Dataset, axes: Iterable[str]) -> str:
    """Return "β = 0.5, t = 0.3 (σ/α = 0.43, log snr = +1.7)" of axes along which a grid has one value."""
    texts = []
    for key in axes:
        x, noise = data[key].item(), _noise_of(key)
        text = f"{SYMBOLS.get(key, key.replace('_', ' '))} = {x if isinstance(x, str) else f'{x:.6g}'}"
        texts.append(f"{text} ({units(float(data[noise]))})" if noise in data else text)
    return ", ".join(texts)


def what(array: xr.DataArray) -> str:
    """Return the name of a variable with its unit, in two lines where it is long."""
    import textwrap

    known = {"cmi": CMI, "markov_length": XI, "peak_time": "peak time", "label_entropy": r"$E\,H(S|x)$ (nats)"}
    unit = {"nat": " (nats)", "1": ""}.get(array.attrs.get("units", "1"), f" ({array.attrs.get('units')})")
    long_name = str(array.attrs.get("long_name", array.name)).partition(" (")[0]
    return known.get(str(array.name)) or "\n".join(textwrap.wrap(long_name + unit, 36))


def trusted(data: xr.Dataset, name: str) -> xr.DataArray:
    """Return where a variable is above three of its errors, over time in one stretch around its peak.

    Once rare samples carry a mean, none of them is seen at all a little further from the peak: what is found there may
    be far too low, and its error too. Exact values, without an error, are trusted.
    """
    stderr = data.get(f"{name}_stderr")
    if stderr is None or not (stderr > 0.0).any():
        return data[name].notnull()
    seen = data[name] > SIGNIFICANT * stderr
    if "t" not in seen.dims or data[name].attrs.get("units") != "nat":
        return seen
    values = data[name].fillna(-np.inf).transpose(..., "t").values
    peak, good = values.argmax(axis=-1)[..., None], seen.transpose(..., "t").values
    places = np.arange(values.shape[-1])
    before = np.where(~good & (places <= peak), places, -1).max(axis=-1, keepdims=True)
    after = np.where(~good & (places >= peak), places, places.size).min(axis=-1, keepdims=True)
    inside = (places > before) & (places < after)
    return seen.transpose(..., "t").copy(data=inside).transpose(*seen.dims)


def is_logarithmic(data: xr.Dataset, name: str) -> bool:
    """Return whether a variable is positive and spans so much that its logarithm is to be drawn.

    Entropies of labels are not, as what counts is where those of all sizes cross.
    """
    if name.endswith("entropy"):
        return False
    values, seen = data[name].values, trusted(data, name).values
    positive, wide = values[seen & (values > 0)], 5.0 if name == "markov_length" else 50.0
    return bool(np.nanmin(values, initial=0.0) >= 0.0 and positive.size > 1 and positive.max() > wide * positive.min())


def scale(data: xr.Dataset, name: str) -> dict[str, Any]:
    """Return the scale of colours of a variable: logarithmic or not, from its least trusted value to the largest."""
    values = data[name].where(trusted(data, name)).values
    if not is_logarithmic(data, name):
        finite = data[name].values[np.isfinite(data[name].values)]
        if is_time(data, name) and finite.size:
            finite = _bracket(data["t"].values, finite.min(), finite.max())
        return {"vmin": float(finite.min()), "vmax": float(finite.max())} if finite.size else {}
    high = float(np.nanmax(values))
    return {"log": True, "vmin": max(float(values[values > 0].min()), high / 10**DECADES), "vmax": high}


def places(coordinate: xr.DataArray) -> NDArray[Any]:
    """Return where the values of an axis are drawn by `cells`: whole numbers and names a step apart, others as is."""
    return coordinate.values if coordinate.dtype.kind == "f" else np.arange(coordinate.size)


def cells(
    ax: "Axes", data: xr.Dataset, name: str, x: str = "t", y: str = "radius", *, label: str = "", **scales: Any
) -> "Axes":
    """Draw a variable of two axes as a map, its scale cut where it is noise; what is not `trusted` is hatched.

    Where the grid has the time of the peak along `y`, it is marked. `scales` replaces what `scale` says.
    """
    scales = {**scale(data, name), **scales}
    seen = trusted(data, name) if scales.get("log") else None
    hatched = None if seen is None else (~seen & data[name].notnull()).transpose(y, x)
    values = data[name].transpose(y, x)
    heat_map(ax, places(data[x]), places(data[y]), values, label or what(data[name]), hatched=hatched, **scales)
    for axis, key, room in ((ax.xaxis, x, 0.2), (ax.yaxis, y, 0.1)):  # a label's, as a share of the axis
        along = data[key].values
        if along.dtype.kind != "f":
            step = -(-along.size // 14)
            axis.set_ticks(places(data[key])[::step], [str(n) for n in along[::step]])
        elif np.diff(np.sort(along)).min(initial=np.inf) >= room * np.ptp(along):
            axis.set_ticks(along, [f"{x:.4g}" for x in along])
    ax.set(xlabel=words(data[x]), ylabel=words(data[y]))
    for key in (x, y):
        if _noise_of(key) in data:
            noise_axis(ax, data, key, upright=key == y)
    if is_time(data, name):
        noise_axis(ax.figure.axes[-1], data, upright=True, label=what(data[name]))
    peak = data.get("peak_time")
    if peak is not None and name == "cmi" and x == "t" and peak.dims == (y,):
        peak, limits = peak.where(trusted(data, name).any("t")), ax.get_xlim()
        look: dict[str, Any] = {"fmt": "o", "color": "k", "mfc": "white", "elinewidth": 1, "label": "peak"}
        ax.errorbar(peak, places(data[y]), xerr=data.get("peak_time_stderr"), **look)
        ax.set_xlim(limits)  # errors of peaks may be wider than the map
    return ax


def curves(
    ax: "Axes",
    data: xr.Dataset,
    name: str,
    x: str = "t",
    by: str | None = None,
    *,
    k: int = 0,
    at: ArrayLike | None = None,
    log: bool | None = None,
    join: bool = True,
    most: int = 7,
    label: str | None = None,
    **options: Any,
) -> "Axes":
    """Draw a variable along `x` with its errors, a data set for each value of `by`; open markers are not `trusted`.

    Known values, the variables NAME_closed, _predicted or _exact, are drawn in black.

    Args:
        k: number of the first data set, which decides on colours and markers.
        at: what to draw along the axis in place of the coordinate `x`, such as the noise at every time.
        log: whether the axis is logarithmic; by default where the values say so.
        join: whether markers are joined by thin lines.
        most: number of data sets at most, spread evenly over the values of `by`.
        label: of a single data set; those of several are their values.
    """
    log = is_logarithmic(data, name) if log is None else log
    seen = trusted(data, name) if log else data[name].notnull()
    known = next((key for end in ("closed", "predicted", "exact") if (key := f"{name}_{end}") in data), None)
    along = places(data[x]) if data[x].dtype.kind in "OUT" else data[x].values if at is None else np.asarray(at)
    chosen: Any = [None] if by is None else np.unique(np.linspace(0, data[by].size - 1, most).round().astype(int))
    for n, i in enumerate(chosen, k):
        one, good = (data, seen) if i is None else (data.isel({by: i}), seen.isel({by: i}))
        text = label if by is None else place(one, [by])
        values, mask, stderr = one[name].values, good.values, one.get(f"{name}_stderr")
        if np.isnan(values).all():
            continue
        error = np.zeros(values.shape) if stderr is None else np.nan_to_num(stderr.values)
        color = options.get("color", COLORS[n % 7])
        if known:
            ax.plot(along, one[known], color="k", lw=1, zorder=1)
        elif join:
            ax.plot(along, np.where(mask, values, np.nan), color=color, lw=1, alpha=0.6)
        curve(ax, n, along[mask], values[mask], error[mask], text, **options)
        rest = ~mask & (values > 0)
        if rest.any():
            around = np.minimum(error[rest], 0.999 * values[rest]), error[rest]
            curve(ax, n, along[rest], values[rest], around, mfc="white", alpha=0.45, **options)
    if log:
        positive = data[name].values[seen.values & (data[name].values > 0)]
        low, high = (positive.min() / 2, 2 * positive.max()) if positive.size else (1.0, 10.0)
        if ax.get_yscale() == "log":  # of what was drawn before
            low, high = min(low, ax.get_ylim()[0]), max(high, ax.get_ylim()[1])
        ax.set(yscale="log", ylim=(low, high))
        if high < 1e3 * low and low > 1e-3:
            plain_log(ax.yaxis)
    ax.set(ylabel=what(data[name]))
    if _noise_of(x) in data:
        noise_axis(ax, data, x, at=at)
    else:
        ax.set_xlabel(words(data[x]))
    if at is None:
        ticks(ax, data[x])
    if is_time(data, name):
        if ax.get_ylim()[0] < 0.0 or ax.get_ylim()[1] > 1.0:
            ax.set_ylim(0.0, 1.0)
        noise_axis(ax, data, upright=True, label=what(data[name]))
    return ax


def ticks(ax: "Axes", coordinate: xr.DataArray) -> None:
    """Mark whole numbers and names along x, on a logarithmic scale where they rise by factors."""
    from matplotlib.ticker import NullLocator

    values, kind = coordinate.values, coordinate.dtype.kind
    if kind == "f":
        return
    if kind in "iu" and values[0] > 0 and values[-1] >= 8 * values[0] and np.ptp(np.diff(values)) > 0:
        ax.set_xscale("log")
    step = -(-values.size // 10)
    ax.set_xticks(values[::step] if kind in "iu" else places(coordinate)[::step], [str(v) for v in values[::step]])
    ax.xaxis.set_minor_locator(NullLocator())


def is_time(data: xr.Dataset, name: str) -> bool:
    """Return whether a variable is the time of a peak under noise that has an snr."""
    return name.endswith("_time") and "log_snr" in data


def _noise_of(axis: str) -> str:
    """Return the name of the variable with the log snr along an axis of times."""
    return "log_snr" if axis == "t" else f"{axis}_log_snr"


def _bracket(t: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """Return the times measured from low to high in order; the next one on either side, too, where they are few."""
    t = np.sort(t)
    first, last = np.searchsorted(t, low), np.searchsorted(t, high, "right")
    few = last - first < 3
    return t[max(0, first - few) : last + few]


def noise_axis(
    ax: "Axes",
    data: Any,
    key: str = "t",
    *,
    at: ArrayLike | None = None,
    upright: bool = False,
    label: str = "noise level",
) -> "Axes":
    """Label an axis of noise with t, σ/α and log snr, at some of the times measured.

    Args:
        data: variables by name, with the times `key` and the log snr at each.
        at: where the times are on the axis, in place of the times themselves.
        upright: whether the axis is that of y; then labels are of the times that what is drawn reaches.
        label: what the axis shows.
    """
    t, log_snr = data[key].values, data[_noise_of(key)].values
    at = t if at is None else np.asarray(at)
    if upright:
        shown = np.isin(t, _bracket(t, *ax.get_ylim()))
        t, log_snr, at = t[shown], log_snr[shown], at[shown]
    even = (ax.yaxis if upright else ax.xaxis).get_transform().transform(at)
    gaps = [np.abs(even[:, None] - np.linspace(even.min(), even.max(), n)) for n in N_TICKS]
    shown = np.unique(min(gaps, key=lambda gap: gap.min(axis=0).max()).argmin(axis=0))  # as even as they get
    return noise_rows(ax, at[shown], t[shown], log_snr[shown], upright=upright, label=label)


def _short(number: float, digits: int = 2) -> str:
    """Return two digits of a number, more of one above 100."""
    return f"{number:.{digits}g}" if number < 100 else f"{number:.0f}"


def noise_rows(
    ax: "Axes",
    places: NDArray[Any],
    t: NDArray[Any],
    log_snr: NDArray[Any],
    *,
    upright: bool = False,
    label: str = "noise level",
) -> "Axes":
    """Label `places` of an axis with t, σ/α and log snr, in rows below it, or in lines beside it where it is `upright`.

    Where several grids share the axis, the labels are those of the widest.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullLocator

    size, more = 0.8 * plt.rcParams["font.size"], int(log_snr.max() < log_snr.min() + 0.5)
    texts = [
        f"{x:.{4 if 0.999 < x < 1 else 3}g}\n{_short(ratio, 2 + more)}\n{level:+z.{1 + more}f}"
        for x, ratio, level in zip(t, np.exp(-log_snr / 2), log_snr, strict=True)
    ]
    (ax.yaxis if upright else ax.xaxis).set_minor_locator(NullLocator())
    if upright:
        ax.set_yticks(places, [text.replace("\n", ", ") for text in texts], fontsize=size)
        ax.set_ylabel(f"{label}: t, σ/α, log snr")
        return ax
    for text in [text for text in ax.texts if text.get_gid() == "noise"]:
        if np.ptp(ax.get_xticks()) > np.ptp(places):
            return ax
        text.remove()
    ax.set_xticks(places, texts, fontsize=size)
    where: dict[str, Any] = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points"}
    where |= {"ha": "right", "va": "top", "fontsize": size, "gid": "noise"}
    ax.annotate("t\nσ/α\nlog snr", (places[0], 0), (-1.9 * size, -7), **where)
    ax.set_xlabel(label)
    return ax


# -- a table -----------------------------------------------------------------------------------------------------------


def plot_scores(
    floors: ArrayLike, estimators: Sequence[str], tasks: Sequence[str], *, ax: "Axes | None" = None
) -> "Axes":
    """Draw a table of RMSE in units of the statistical floor, (len(estimators), len(tasks)); 1 is as good as it gets.

    Every cell carries its number; a cell of NaN (no estimate) stays grey and says "failed", one of infinity (not
    measured) is empty.
    """
    from matplotlib.colors import LogNorm

    values = np.asarray(floors, float)
    if values.shape != (len(estimators), len(tasks)):
        raise InputError(f"floors must have shape ({len(estimators)}, {len(tasks)}), got {values.shape}")
    if ax is None:
        ax = new_figure(width=2.5 + 0.62 * len(tasks), height=2.0 + 0.45 * len(estimators))[1]
    largest = float(values[np.isfinite(values)].max(initial=1.0))
    norm = LogNorm(1.0, max(10.0, largest), clip=True)
    mesh = ax.pcolormesh(np.ma.masked_invalid(values), cmap="viridis", norm=norm, rasterized=True)
    ax.figure.colorbar(mesh, ax=ax, label="RMSE / floor")
    ax.set_facecolor("0.85")
    for (i, j), value in np.ndenumerate(values):
        text = _short(value) if np.isfinite(value) else "failed" if np.isnan(value) else ""
        color = "white" if np.isfinite(value) and norm(value) < 0.6 else "black"
        ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=8, color=color)
    ax.set_xticks(np.arange(len(tasks)) + 0.5, tasks, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(np.arange(len(estimators)) + 0.5, estimators)
    ax.tick_params(length=0)
    ax.invert_yaxis()
    return ax
