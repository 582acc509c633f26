"""The learned part of `recovery`: networks of radius r beside the exact denoisers of that radius on the same grids."""

from typing import Any

import numpy as np

from ... import plots
from ...results import Result, Row, Variable

STARTS = (0.3, 0.5, 0.7, 0.9)  # T_f
DATA_PHASE_AND_BEYOND = (1, 3)  # of them
EVERY = tuple(range(len(STARTS)))


def grids(exact: dict[str, dict[str, Any]], *, full: bool) -> dict[str, dict[str, Any]]:
    """Of the exact grids, whose radii begin with the learned ones and whose t have all STARTS."""

    def learned(name: str, radii: list[int], training: dict[str, int], **changes: Any) -> dict[str, Any]:
        settings = {**exact[name].get("settings", {}), "starts": list(STARTS), **training}
        return {
            **exact[name],
            "t": [1.0],
            "radii": radii,
            "quantity": "learned_recovery",
            "settings": settings,
        } | changes

    long, short = {"train_steps": 3000, "width": 48}, {"train_steps": 400}
    loops = {"train_steps": 6000, "width": 48} if full else {"train_steps": 600, "batch_size": 48}
    return {
        "learned": learned("ising", [1, 2, 3] if full else [1, 2], {**long, "batch_size": 96} if full else short),
        "learned-field": learned("field", [1, 2], long if full else short, n_samples=2000 if full else 400),
        "learned-loops": learned("loops-small", [1], loops),
        "learned-erased": learned("erased-small", [1], loops, quantity="learned_unmasking"),
    }


def rows(experiment: str, result: Result) -> list[Row]:
    """Learned and exact: independent samples, so that errors add."""

    def beside(
        exact_name: str,
        learned_name: str,
        label: str,
        wanted: tuple[int, ...],
        name: str = "error",
        k: tuple[int, ...] = (),
    ) -> list[Row]:
        exact, learned = result.groups[exact_name], result.groups[learned_name]
        found = []
        for i in wanted:
            start = learned["start"].values[i]
            j = int(np.flatnonzero(np.isclose(exact["t"].values, start))[0])
            for m, r in enumerate(learned["radius"].values):
                truth, error = (float(exact[key].values[(*k, j, m)]) for key in (name, f"{name}_stderr"))
                value, stderr = (float(learned[key].values[(*k, 0, i, m)]) for key in (name, f"{name}_stderr"))
                what, stderr = f"{label.format(r)}, T_f = {start:g}", float(np.hypot(error, stderr))
                found.append(Row(experiment, what, truth, value, stderr, "the exact denoiser of that radius"))
        return found

    betas = result.groups["learned"]["beta"].values
    return [
        *beside("field", "learned-field", "field, learned r = {}, KL per site", DATA_PHASE_AND_BEYOND),
        *(
            row
            for k, beta in enumerate(betas)
            for row in beside(
                *("ising", "learned", f"Ising beta = {beta:g}, learned r = {{}}, patch error", DATA_PHASE_AND_BEYOND),
                k=(k,),
            )
        ),
        *beside("loops-small", "learned-loops", "loops, 6x6 faces, learned r = {}, broken vertices", EVERY),
        *beside(
            *("erased-small", "learned-erased", "erased loops, 6x6 faces, learned r = {}, KL per bond", EVERY),
            name="divergence",
        ),
    ]


def mark(ax: Any, grid: dict[str, Variable], name: str = "error", k: tuple[int, ...] = ()) -> None:
    """Every learned radius, open markers."""
    for m in range(grid["radius"].values.size):
        values, stderr = (grid[key].values[(*k, 0, slice(None), m)] for key in (name, f"{name}_stderr"))
        ax.errorbar(
            *(grid["start"].values + 0.008, values, stderr),
            **{"color": plots.COLORS[m], "mfc": "white", "marker": plots.MARKERS[m], "ms": 7, "lw": 0},
            **{"elinewidth": 1, "label": "learned" if m == 0 else None},
        )


def mark_small(ax: Any, exact: dict[str, Variable], learned: dict[str, Variable], name: str) -> None:
    """Loops on the small grid, r = 1: exact, dashed, and learned."""
    ax.errorbar(
        *(exact["t"].values, exact[name].values[:, 0], exact[f"{name}_stderr"].values[:, 0]),
        **{"color": plots.COLORS[0], "ls": "--", "lw": 1, "label": "r = 1, 6×6"},
    )
    mark(ax, learned, name)
