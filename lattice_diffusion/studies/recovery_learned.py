"""The learned part of `recovery`: networks of radius r beside the exact denoisers of that radius on the same grids."""

from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..results import Row, grids

STARTS = (0.3, 0.5, 0.7, 0.9)  # T_f
DATA_PHASE_AND_BEYOND = (1, 3)  # of them
EVERY = tuple(range(len(STARTS)))


def learned_grids(exact: dict[str, dict[str, Any]], *, full: bool) -> dict[str, dict[str, Any]]:
    """Of the exact grids, whose radii begin with the learned ones and whose t have all STARTS."""

    def learned(name: str, radii: list[int], training: dict[str, int], **changes: Any) -> dict[str, Any]:
        settings = {**exact[name].get("settings", {}), "starts": list(STARTS), **training}
        asked = {"t": [1.0], "radii": radii, "quantity": "learned_recovery", "settings": settings}
        return {**exact[name], **asked, **changes}

    long, short = {"train_steps": 3000, "width": 48}, {"train_steps": 400}
    loops = {"train_steps": 6000, "width": 48} if full else {"train_steps": 600, "batch_size": 48}
    erased = loops if full else {**loops, "train_steps": 300}  # enough for vertices; longer loops take far more
    return {
        "learned": learned("ising", [1, 2, 3] if full else [1, 2], {**long, "batch_size": 96} if full else short),
        "learned-field": learned("field", [1, 2], long if full else short, n_samples=2000 if full else 400),
        "learned-loops": learned("loops-small", [1], loops),
        "learned-erased": learned("erased-small", [1], erased, quantity="learned_unmasking"),
    }


def learned_rows(experiment: str, result: xr.DataTree) -> list[Row]:
    """Learned and exact: independent samples, so that errors add. Of loops, training leaves something to be learned."""

    def beside(pair: tuple[str, str], label: str, wanted: tuple[int, ...], *k: int, name: str = "error") -> list[Row]:
        (exact, learned), found = (grids(result)[grid] for grid in pair), []
        source = "the exact denoiser of that radius" + ("; asymptotic in training" if "loops" in label else "")
        for i in wanted:
            start = learned["start"].values[i]
            j = int(np.flatnonzero(np.isclose(exact["t"].values, start))[0])
            for m, r in enumerate(learned["radius"].values):
                truth, error = (float(exact[key].values[(*k, j, m)]) for key in (name, f"{name}_stderr"))
                value, stderr = (float(learned[key].values[(*k, 0, i, m)]) for key in (name, f"{name}_stderr"))
                stderr, what = float(np.hypot(error, stderr)), f"{label.format(r)}, T_f = {start:g}"
                found.append(Row(experiment, what, truth, value, stderr, source))
                if "excess" in learned:
                    value -= float(learned["excess"].values[(*k, 0, i, m)])
                    what = f"{what}, less what learning costs"
                    found.append(Row(experiment, what, truth, value, stderr, "KL(p_0 || p_net) - KL(p_local || p_net)"))
        return found

    found = beside(("field", "learned-field"), "field, learned r = {}, KL per site", DATA_PHASE_AND_BEYOND)
    for k, beta in enumerate(grids(result)["learned"]["beta"].values):
        label = f"Ising beta = {beta:g}, learned r = {{}}, patch error"
        found += beside(("ising", "learned"), label, DATA_PHASE_AND_BEYOND, k)
    label = "erased loops, 6x6 faces, learned r = {}, KL per bond"
    found += beside(("erased-small", "learned-erased"), label, EVERY, name="divergence")
    label = "loops, 6x6 faces, learned r = {}, broken vertices"
    return [*found, *beside(("loops-small", "learned-loops"), label, EVERY)]


def mark(ax: Any, grid: dict[str, xr.Variable], *k: int, name: str = "error", label: str = "learned") -> None:
    """Every learned radius, open markers."""
    for m in range(grid["radius"].values.size):
        values, stderr = (grid[key].values[(*k, 0, slice(None), m)] for key in (name, f"{name}_stderr"))
        ax.errorbar(
            *(grid["start"].values + 0.008, values, stderr),
            **{"color": plots.COLORS[m], "mfc": "white", "marker": plots.MARKERS[m], "ms": 7, "lw": 0},
            **{"elinewidth": 1, "label": label if m == 0 else None},
        )


def mark_small(ax: Any, exact: dict[str, xr.Variable], learned: dict[str, xr.Variable], name: str) -> None:
    """Loops on the small grid, r = 1: exact, dashed, and learned."""
    ax.errorbar(
        *(exact["t"].values, exact[name].values[:, 0], exact[f"{name}_stderr"].values[:, 0]),
        **{"color": plots.COLORS[0], "ls": "--", "lw": 1, "label": "r = 1, 6×6"},
    )
    mark(ax, learned, name=name, label="learned, 6×6")
