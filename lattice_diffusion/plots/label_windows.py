"""Two windows on one axis: where denoising is nonlocal, and where the label is decided."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ..errors import InputError
from . import COLORS, curve, legend, new_figure, noise_axis, trusted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLOOR = 1e-5  # nats; what is smaller is not drawn, and below it there is room for the windows
NAMES = {
    "cmi": "$I(A;C|B)$",
    "label_information_abc": "$I(S;ABC)$",
    "label_information_lost": "$I_0(S;AB) - I(S;B)$",
}


def plot_label_windows(
    data: xr.Dataset,
    nonlocality: tuple[float, float],
    speciation: tuple[float, float],
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw I_t(A;C|B) with I_t(S;ABC) and I_0(S;AB) - I_t(S;B), and both windows as bars below them.

    Args:
        data: the variables `NAMES` over t, and `cmi_given_label`, I_t(A;C|B,S), if any.
        nonlocality, speciation: start and stop, NaN for an end that lies beyond the times measured.
    """
    ax, t = new_figure()[1] if ax is None else ax, data["t"].values
    for k, (name, label) in enumerate(NAMES.items()):
        curve(ax, k, t, data[name].where(data[name] > FLOOR), data[f"{name}_stderr"], label, lw=0.7)
    if "cmi_given_label" in data:
        given = data["cmi_given_label"].where(trusted(data, "cmi_given_label"))
        ax.plot(t, given.where(given > FLOOR), COLORS[0], ls="--", label="$I(A;C|B,S)$")
    ax.axhline(FLOOR, color="0.8", lw=0.8)
    bars = {"speciation": (0.19, COLORS[3], speciation), "nonlocality": (0.07, COLORS[0], nonlocality)}
    where = ax.get_xaxis_transform()
    for name, (height, color, ends) in bars.items():
        low, high = (float(t[i]) if np.isnan(end) else end for i, end in zip((0, -1), ends, strict=True))
        ax.plot((low, high), (height, height), color=color, lw=4, alpha=0.7, transform=where, solid_capstyle="butt")
        for end in ends:  # open ends have no cap
            ax.plot([end], [height], "|", color=color, ms=10, mew=2, transform=where)
        ax.text(low, height + 0.025, name, transform=where, color=color, fontsize="small")
    highest = 2 * max(1.0, float(data["label_information_abc"].max()))
    ax.set(yscale="log", ylim=(FLOOR / 150, highest), ylabel="information (nats)")
    ax.set_yticks([10.0**k for k in range(-5, 1)], minor=False)
    legend(noise_axis(ax, data), 2)
    return ax


def plot_probe_label_windows(variables: Mapping[str, xr.Variable]) -> "Axes":
    """Draw the same from a probe of labelled images, at its smallest radius."""
    if "speciation_start" not in variables:
        raise InputError("a probe without labels, or not converged, has no speciation window; probe again with labels")
    data = xr.Dataset(dict(variables)).isel(radius=0)
    names = {"cmi_above_null": "cmi", "label_information": "label_information_abc"}
    data = data.drop_vars(["cmi", "cmi_stderr"]).rename(
        {f"{old}{end}": f"{new}{end}" for old, new in names.items() for end in ("", "_stderr")}
    )
    window, speciation = (
        (float(data[f"{name}_start"]), float(data[f"{name}_stop"])) for name in ("window", "speciation")
    )
    ax = plot_label_windows(data, window, speciation)
    ax.set_title(f"Images: windows at {float(data['tolerance']):g} nats, r = {data['radius'].item()}")
    return ax
