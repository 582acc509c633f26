"""Concurrence: data lose locality while they decide their label.

Nonlocality window at tolerance d: from inf to sup of {t : I_t(A;C|B) > d}. Speciation window of the label S at e: from
inf {t : I_0(S;AB) - I_t(S;B) >= e} to sup {t : I_t(S;ABC) >= e}. Let a be what the label explains of the nonlocal
information, I_t(A;C|B,S) <= (1 - a) I_t(A;C|B) wherever I_t(A;C|B) > d. Then by the chain rule, there,

    a d < a I_t(A;C|B) <= I_t(A;C|B) - I_t(A;C|B,S) = [I_t(S;AB) - I_t(S;B)] - [I_t(S;ABC) - I_t(S;BC)],

which is at most I_0(S;AB) - I_t(S;B), as noise only loses, and at most I_t(S;A|B) <= I_t(S;ABC): the nonlocality window
at d lies inside the speciation window at a d. Checked here for white classes (a = 1), classes with a field in common
(a < 1), and Ising spins with S the sign of the magnetisation.
"""

from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..phases import Window, nonlocality_window, speciation_window
from ..plots.concurrence import plot_concurrence
from ..results import Row, grids, variable
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment, estimates, grid_times

NAME = "concurrence"
TOLERANCE = 3e-3  # d, in nats
TITLES = {
    "mixture": "White classes",
    "mixture-field": "Classes with a common field",
    "ising": "Ising, β = 0.6, label: sign",
}
ENDS = ("nonlocality_start", "nonlocality_stop", "speciation_start", "speciation_stop")
CHAIN = "chain rule of informations"


def specs(preset: str) -> Spec:
    full = preset == "full"
    common: dict[str, Any] = {"channel": {"name": "gaussian"}, "quantity": "label_information", "radii": [1]}
    times = grid_times(0.05, 0.9996, 90 if full else 45)
    grids = {
        "mixture": {
            **common,
            "model": {"name": "gaussian-mixture", "length": 11, "mean": 1.0, "std": 0.6},
            "t": times,
            "n_samples": 2,
        },
        "mixture-field": {
            **common,
            "model": {"name": "gaussian-mixture", "length": 11, "mean": 1.0, "mass_squared": 0.3},
            "t": times,
            "n_samples": 2,
        },
        "ising": {
            **common,
            "model": {"name": "ising", "shape": [7, 7] if full else [7, 5], "beta": 0.6},
            "t": grid_times(0.2, 0.998, 44 if full else 22),
            "n_samples": 20000 if full else 1000,
        },
    }
    return Spec(name=NAME, grids=grids)


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for name, title in TITLES.items():
        grid = {key: v.values for key, v in grids(result)[name].variables.items()}
        names = ("cmi", "cmi_given_label", "chain_rule")
        columns = {key: grid[key].reshape(grid["t"].size) for key in grid if key.startswith((*names, "label_"))}
        t, explained = grid["t"], share_explained(columns["cmi"], columns["cmi_given_label"], TOLERANCE)
        lost, known = columns["label_information_lost"], columns["label_information_abc"]
        nonlocality = nonlocality_window(t, columns["cmi"], TOLERANCE, columns["cmi_stderr"])
        errors = {
            "lost_stderr": columns["label_information_lost_stderr"],
            "label_abc_stderr": columns["label_information_abc_stderr"],
        }
        tolerance = explained * TOLERANCE
        speciation = speciation_window(t, 0.0, -lost, known, tolerance, **errors) if explained > 0 else None
        ends = [end for window in (nonlocality, speciation) for end in (_ends(window))]
        variables = {
            "explained": variable((), np.array(explained), "1", "share a of I(A;C|B) that the label explains"),
            "end": variable(("end",), np.array(ENDS, object), "1", "which end of which window"),
            **estimates(("end",), "end_time", ends, "1", "time of the end; NaN where the times do not bracket it"),
        }
        analysis.variables[name] = variables
        analysis.rows.extend(_rows(title, columns, explained, nonlocality, speciation))
    return analysis


def share_explained(cmi: np.ndarray, given_label: np.ndarray, tolerance: float) -> float:
    """The largest a with I(A;C|B,S) <= (1 - a) I(A;C|B) wherever I(A;C|B) > tolerance, and 0 at least."""
    nonlocal_ = cmi > tolerance
    if not nonlocal_.any():
        return 1.0
    return max(0.0, 1.0 - float((given_label[nonlocal_] / cmi[nonlocal_]).max()))


def _ends(window: Window | None) -> tuple[Any, Any]:
    return (window.start, window.stop) if window else (None, None)


def _rows(
    title: str,
    columns: dict[str, np.ndarray],
    explained: float,
    nonlocality: Window | None,
    speciation: Window | None,
) -> list[Row]:
    """Chain rule where the CMI is largest, the windows, and by how much the inequalities hold."""
    top = int(columns["cmi"].argmax())
    chain, error = columns["chain_rule"][top], columns["chain_rule_stderr"][top]
    rows = [
        Row(NAME, f"chain rule at the peak of I(A;C|B), {title}", 0.0, float(chain), float(error), CHAIN),
        Row(NAME, f"share of I(A;C|B) that the label explains, {title}", None, explained, 0.0, ""),
    ]
    for what, window in (("nonlocality", nonlocality), ("speciation", speciation)):
        for end, time in zip(("start", "stop"), _ends(window), strict=True):
            if time is not None:
                rows.append(Row(NAME, f"{what} {end}, {title}", None, time.value, time.stderr, "window"))
    inside = columns["cmi"] > TOLERANCE
    needed = explained * columns["cmi"]
    bounds = {
        "I_0(S;AB) - I_t(S;B)": (columns["label_information_lost"], columns["label_information_lost_stderr"]),
        "I_t(S;ABC)": (columns["label_information_abc"], columns["label_information_abc_stderr"]),
    }
    for bound, (values, stderr) in bounds.items():
        margin = np.where(inside, values - needed, np.inf)
        worst = int(margin.argmin())
        spread = float(np.hypot(stderr[worst], explained * columns["cmi_stderr"][worst]))
        rows.append(Row(NAME, f"least of {bound} - a I(A;C|B), {title}", None, float(margin[worst]), spread, ">= 0"))
    return rows


def figure(result: xr.DataTree) -> Any:
    fig, axes = plots.new_figure(len(TITLES), width=4.8)
    for ax, (name, title) in zip(axes, TITLES.items(), strict=True):
        grid = {key: v.values.squeeze() for key, v in grids(result)[name].variables.items()}
        plot_concurrence(
            grid["t"],
            (grid["cmi"], grid["cmi_stderr"]),
            (grid["label_information_abc"], grid["label_information_abc_stderr"]),
            (grid["label_information_lost"], grid["label_information_lost_stderr"]),
            nonlocality=tuple(grid["end_time"][:2]),
            speciation=tuple(grid["end_time"][2:]),
            given_label=grid["cmi_given_label"],
            ax=ax,
        )
        ax.set_title(f"{title}: a = {float(grid['explained']):.2f}")
    return fig


EXPERIMENT = NamedExperiment(NAME, "Concurrence: locality is lost while the label is decided", specs, analyse, figure)
