"""Two windows on one axis: where denoising is nonlocal, and where the label is decided."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import InputError
from . import COLORS, curve, legend, new_figure, noise_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Measured = tuple[NDArray, NDArray]  # values and their errors
FLOOR = 1e-5  # nats; what is smaller is not drawn, and below it there is room for the windows


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
    """Draw I_t(A;C|B) with I_t(S;ABC) and I_0(S;AB) - I_t(S;B), and both windows as bars below them.

    Args:
        label: I_t(S;ABC); lost: I_0(S;AB) - I_t(S;B).
        nonlocality, speciation: start and stop, NaN for an end that lies beyond the times measured.
        given_label: I_t(A;C|B,S).
    """
    ax = new_figure()[1] if ax is None else ax
    names = ("$I(A;C|B)$", "$I(S;ABC)$", "$I_0(S;AB) - I(S;B)$")
    for k, (name, (values, stderr)) in enumerate(zip(names, (cmi, label, lost), strict=True)):
        curve(ax, k, t, np.where(values > FLOOR, values, np.nan), stderr, name, lw=0.7)
    if given_label is not None:
        ax.plot(t, np.where(given_label > FLOOR, given_label, np.nan), COLORS[0], ls="--", label="$I(A;C|B,S)$")
    ax.axhline(FLOOR, color="0.8", lw=0.8)
    bars = {"speciation": (0.19, COLORS[3], speciation), "nonlocality": (0.07, COLORS[0], nonlocality)}
    where = ax.get_xaxis_transform()
    for name, (height, color, ends) in bars.items():
        low, high = (float(t[i]) if np.isnan(end) else end for i, end in zip((0, -1), ends, strict=True))
        ax.plot((low, high), (height, height), color=color, lw=4, alpha=0.7, transform=where, solid_capstyle="butt")
        for end in ends:  # open ends have no cap
            ax.plot([end], [height], "|", color=color, ms=10, mew=2, transform=where)
        ax.text(low, height + 0.025, name, transform=where, color=color, fontsize="small")
    ax.set(yscale="log", ylim=(FLOOR / 150, 2 * max(1.0, label[0].max())), xlabel="time t", ylabel="information (nats)")
    ax.set_yticks([10.0**k for k in range(-5, 1)], minor=False)
    ax.set_title("Nonlocality and speciation windows")
    legend(ax, 2)
    return ax


def plot_probe_label_windows(variables: Mapping[str, xr.Variable], *, ax: "Axes | None" = None) -> "Axes":
    """Draw the same from a probe of labelled images, at its smallest radius."""
    if "speciation_start" not in variables:
        raise InputError("a probe without labels, or not converged, has no speciation window; probe again with labels")

    def measured(name: str, *place: Any) -> Any:
        return tuple(variables[f"{name}{end}"].values[..., *place] for end in ("", "_stderr"))

    ends = [tuple(float(variables[f"{name}_{end}"].values.flat[0]) for end in ("start", "stop")) for name in _WINDOWS]
    ax = plot_label_windows(
        variables["t"].values,
        measured("cmi_above_null", 0),
        measured("label_information"),
        measured("label_information_lost"),
        **dict(zip(("nonlocality", "speciation"), ends, strict=True)),  # type: ignore[arg-type]
        ax=ax,
    )
    r = variables["radius"].values[0]
    ax.set_title(f"Images: windows at {float(variables['tolerance'].values):g} nats, r = {r}")
    legend(noise_axis(ax, variables), 2)
    return ax


_WINDOWS = ("window", "speciation")  # as a probe calls them
