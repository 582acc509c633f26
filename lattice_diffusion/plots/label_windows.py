"""Two windows on one axis: where denoising is nonlocal, and where the label is decided."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import InputError
from . import COLORS, curve, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Measured = tuple[NDArray, NDArray]  # values and their errors
FLOOR = 1e-5  # nats, of the axis


def plot_label_windows(
    t: NDArray,
    cmi: Measured,
    label: Measured,
    lost: Measured,
    *,
    nonlocality: tuple[float, float],
    speciation: tuple[float, float],
    given_label: NDArray | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """I_t(A;C|B) with I_t(S;ABC) and I_0(S;AB) - I_t(S;B), and both windows as bars below them.

    Args:
        label: I_t(S;ABC); lost: I_0(S;AB) - I_t(S;B).
        nonlocality, speciation: start and stop, NaN for an end that lies beyond the times measured.
        given_label: I_t(A;C|B,S).
    """
    ax = new_figure()[1] if ax is None else ax
    curve(ax, 0, t, *cmi, "$I(A;C|B)$")
    if given_label is not None:
        ax.plot(t, given_label, color=COLORS[0], lw=1, ls="--", label="$I(A;C|B,S)$")
    curve(ax, 1, t, *label, "$I(S;ABC)$")
    curve(ax, 2, t, *lost, "$I_0(S;AB) - I(S;B)$")
    ax.set_yscale("log")
    ax.set_ylim(FLOOR, 30.0)
    for height, color, (start, stop) in ((0.17, COLORS[3], speciation), (0.09, COLORS[0], nonlocality)):
        _bar(ax, height, color, start, stop, float(t[0]), float(t[-1]))
    ax.set(xlabel="time t", ylabel="information (nats)", title="Nonlocality and speciation windows")
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    return ax


def _bar(ax: "Axes", height: float, color: str, start: float, stop: float, low: float, high: float) -> None:
    """A horizontal bar at a height in units of the axes; open ends run to the edge and have no cap."""
    ends = low if np.isnan(start) else start, high if np.isnan(stop) else stop
    where = ax.get_xaxis_transform()
    ax.plot(ends, (height, height), color=color, lw=4, alpha=0.7, transform=where, solid_capstyle="butt")
    for given, end in zip((start, stop), ends, strict=True):
        if not np.isnan(given):
            ax.plot([end], [height], "|", color=color, ms=10, mew=2, transform=where)
    name = "speciation" if height > 0.1 else "nonlocality"
    ax.text(ends[0], height + 0.02, name, transform=where, color=color, fontsize=8)


_NEEDED = [
    *(
        f"{name}{end}"
        for name in ("cmi_above_null", "label_information", "label_information_lost")
        for end in ("", "_stderr")
    ),
    *("t", "radius", "tolerance", "window_start", "window_stop", "speciation_start", "speciation_stop"),
]


def plot_probe_label_windows(variables: Mapping[str, xr.Variable], *, ax: "Axes | None" = None) -> "Axes":
    """The same from a probe of labelled images, at its smallest radius."""
    if "label_information_lost" not in variables:
        raise InputError("a probe without labels has no speciation window; probe again with labels")
    values = {name: variables[name].values for name in _NEEDED}
    ax = plot_label_windows(
        values["t"],
        (values["cmi_above_null"][:, 0], values["cmi_above_null_stderr"][:, 0]),
        (values["label_information"], values["label_information_stderr"]),
        (values["label_information_lost"], values["label_information_lost_stderr"]),
        nonlocality=(float(values["window_start"][0]), float(values["window_stop"][0])),
        speciation=(float(values["speciation_start"]), float(values["speciation_stop"])),
        ax=ax,
    )
    ax.set_title(f"Images: windows at {float(values['tolerance']):g} nats, r = {values['radius'][0]}")
    return ax
