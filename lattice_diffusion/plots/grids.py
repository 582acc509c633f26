"""The figure of any result file: every grid, every quantity, every slice along the axes that a panel does not show."""

import contextlib
import itertools
import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import InputError
from ..report import with_error
from ..results import grids
from . import cells, curves, legend, place, scale, what

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, WIDTH, HEIGHT = 4, 4.0, 3.6  # panels in a row at most, and inches of one
MAX_PANELS = 600
FEW = 3  # values of an axis that are drawn as curves, not as a map
_SILENT = ("_stderr", "_covariance", "_p_value", "_closed", "_predicted", "_exact", "log_snr")  # drawn with others


@dataclass(frozen=True)
class Panel:
    """One panel: its title, and what draws it."""

    title: str
    draw: Callable[["Axes"], Any]


def plot_grids(
    result: xr.DataTree,
    grid: str | None = None,
    *,
    at: Mapping[str, Any] | None = None,
    over: Sequence[str] = (),
    quantity: Sequence[str] = (),
) -> "Figure":
    """Return a figure of all grids of a result, a panel for every quantity and every value of the axes not shown.

    A quantity of one axis is a curve. One of more is a map over two, and over two alone a curve beside it.

    Args:
        grid: the one grid to draw.
        at: values of axes, such as {"beta": 0.5}; all by default.
        over: the two axes of the maps, or the one of the curves; by default the time and the longest other one.
        quantity: names of the variables to draw; all that were measured or derived by default.

    Raises InputError for names and values that the result does not have.
    """
    import matplotlib.pyplot as plt

    blocks = panels(result, grid, at=at, over=over, quantity=quantity)
    n_panels = sum(map(len, blocks.values()))
    if n_panels > MAX_PANELS:
        raise InputError(f"a figure has at most {MAX_PANELS} panels, got {n_panels}; choose by grid, quantity or at")
    columns = max(math.ceil(n / math.ceil(n / COLUMNS)) for n in map(len, blocks.values()))  # in even rows
    rows = [math.ceil(len(found) / columns) for found in blocks.values()]
    large = max(1.0, plt.rcParams["font.size"] / 12)
    size = (WIDTH * columns * large, sum(HEIGHT * n + 0.4 for n in rows) * large)
    figure = plt.figure(figsize=size, layout="constrained")
    parts = figure.subfigures(len(blocks), 1, height_ratios=rows, squeeze=False)[:, 0]
    for part, (name, found), n in zip(parts, blocks.items(), rows, strict=True):
        part.suptitle(f"{result.attrs.get('name', '')}: {name}", fontweight="bold")
        axes = part.subplots(n, columns, squeeze=False).ravel()
        for ax, panel in zip(axes, found, strict=False):
            panel.draw(ax)
            lines = textwrap.wrap(panel.title.replace(" = ", "\0=\0"), int(44 / large))  # a name stays with its value
            ax.set_title("\n".join(lines).replace("\0", " "))
        for ax in axes[len(found) :]:
            ax.remove()
    return figure


def panels(result: xr.DataTree, grid: str | None = None, **choice: Any) -> dict[str, list[Panel]]:
    """Return the panels of `plot_grids` by grid, for grids that have any."""
    known = grids(result)
    if grid is not None and grid not in known:
        raise InputError(f"grid must be one of {', '.join(known)}, got {grid!r}")
    model = None
    with contextlib.suppress(ValueError, AttributeError):  # parameters of a damaged file
        model = json.loads(str(result.attrs["parameters"])).get("model")
    found = {name: list(_panels(data, model, **choice)) for name, data in known.items() if grid in (None, name)}
    found = {name: those for name, those in found.items() if those}
    if not found:
        held = [f"{name}: {', '.join(map(str, [*data.data_vars, *data.sizes]))}" for name, data in known.items()]
        raise InputError(f"no grid has such quantities and axes; there are {'; '.join(held)}")
    return found


def _panels(
    data: xr.Dataset,
    model: Any,
    at: Mapping[str, Any] | None = None,
    over: Sequence[str] = (),
    quantity: Sequence[str] = (),
) -> Iterator[Panel]:
    at = at or {}
    if "samples" in data:
        yield from _samples(data["samples"], model)
        return
    if any(dim not in data.dims for dim in (*at, *over)):
        return  # another grid may have it
    index = {dim: _index(data[dim], value) for dim, value in at.items()}
    for name, array in data.data_vars.items():
        wanted = name in quantity if quantity else name != "done" and not str(name).endswith(_SILENT)
        chosen = {dim: place for dim, place in index.items() if dim in array.dims}
        if wanted and array.dtype.kind in "fiu" and set(over) <= set(array.dims) - set(chosen):
            yield from _variable(data.isel(chosen), str(name), over, list(chosen))


def _index(coordinate: xr.DataArray, value: Any) -> int:
    """Return the place of a value along an axis."""
    values = coordinate.values
    if values.dtype.kind in "OUT":
        found = np.flatnonzero(values.astype(str) == str(value))
    else:
        found = np.flatnonzero(np.isclose(values, float(value), rtol=1e-4, atol=1e-9))
    if found.size == 0:
        listed = ", ".join(f"{x:.6g}" if values.dtype.kind == "f" else str(x) for x in values)
        raise InputError(f"{coordinate.name} must be one of {listed}, got {value}")
    return int(found[0])


def _variable(data: xr.Dataset, name: str, over: Sequence[str], at: Sequence[str]) -> Iterator[Panel]:
    """Yield the panels of one variable: those of every combination of values along the axes that are not shown."""
    axes = [str(dim) for dim in data[name].dims]
    fixed = [*(dim for dim in axes if data.sizes[dim] == 1 and dim not in over), *at]
    data = data.squeeze([dim for dim in fixed if dim in data.dims])
    dims = sorted((dim for dim in axes if dim in data.dims), key=lambda dim: (dim != "t", -data.sizes[dim]))
    shown = list(over) or dims[: 2 if len(dims) > 1 and data.sizes[dims[1]] > FEW else 1]
    others = [dim for dim in axes if dim in dims and dim not in shown]
    if not shown:
        error = float(data[f"{name}_stderr"]) if f"{name}_stderr" in data else 0.0
        text = f"{what(data[name])}\n{with_error(float(data[name]), error)}"
        yield Panel(place(data, fixed), partial(_text, text=text))
        return
    scales = scale(data, name)
    series = shown[1] if len(shown) == 2 and not others else None
    if len(shown) == 1 and others:  # a curve for every value of another axis
        series = max(others, key=lambda dim: data.sizes[dim])
        others.remove(series)
    most = data.sizes[series] if series and over else 7
    for index in itertools.product(*(range(data.sizes[dim]) for dim in others)):
        part = data.isel(dict(zip(others, index, strict=True)))
        title, found = place(part, [*others, *fixed]), part[name].notnull()
        if not (found & (part[name] != 0)).any():
            nothing = "zero everywhere" if found.any() else "none found"
            yield Panel(title, partial(_text, text=f"{what(data[name])}:\n{nothing}"))
            continue
        if len(shown) == 2:
            yield Panel(title, partial(cells, data=part, name=name, x=shown[0], y=shown[1], **scales))
        if len(shown) == 1 or (series and not over):
            yield Panel(title, partial(_curves, data=part, name=name, x=shown[0], by=series, most=most))


def _curves(ax: "Axes", data: xr.Dataset, name: str, x: str, by: str | None, most: int) -> None:
    curves(ax, data, name, x, by, most=most)
    if by is not None:
        legend(ax, 1 if by == "t" else None)


def _text(ax: "Axes", text: str) -> None:
    ax.axis("off")
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)


# -- samples -----------------------------------------------------------------------------------------------------------


def _samples(samples: xr.DataArray, model: str | None) -> Iterator[Panel]:
    """Yield the first samples as pictures, and the histogram of the mean of every sample."""
    dims = [str(dim) for dim in samples.dims[1:]]
    first = samples[:7].values
    if len(dims) == 1:
        first = samples[:40].values[None]
    walls = model == "domain-walls"
    draw = _loops if walls else partial(_picture, limits=(first.min(), first.max()))
    for k, picture in enumerate(first):
        title = f"samples 0 to {len(picture) - 1}" if len(dims) == 1 else f"sample {k}"
        yield Panel(title, partial(draw, x=picture))
    values = np.asarray(samples[:100_000].values, float).reshape(len(samples[:100_000]), -1)
    means = values[:, (values[0] != 0) | (not walls)].mean(axis=1)

    def histogram(ax: "Axes") -> None:
        ax.hist(means, bins=min(60, max(10, len(means) // 20)), color="#0072B2")
        ax.set(xlabel="mean of a sample (magnetisation)", ylabel="number of samples")

    yield Panel(f"{len(means)} samples", histogram)


def _picture(ax: "Axes", x: NDArray[Any], limits: tuple[float, float]) -> None:
    plane = x if x.ndim == 2 else x[tuple(n // 2 for n in x.shape[:-2])]  # the middle slice
    ax.imshow(plane, cmap="cividis", vmin=limits[0], vmax=limits[1], aspect="equal" if x.ndim > 1 else "auto")
    ax.set(xticks=[], yticks=[])


def _loops(ax: "Axes", x: NDArray[Any]) -> None:
    """Draw the walls: lines between the faces whose bond is -1."""
    from matplotlib.collections import LineCollection

    right, down = (np.argwhere(bonds < 0) for bonds in x)
    lines = [[(j + 0.5, i - 0.5), (j + 0.5, i + 0.5)] for i, j in right]
    lines += [[(j - 0.5, i + 0.5), (j + 0.5, i + 0.5)] for i, j in down]
    ax.add_collection(LineCollection(lines, color="k"))
    ax.set(xlim=(-0.5, x.shape[2] - 0.5), ylim=(x.shape[1] - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
