"""Label windows: data lose locality while they decide their label.

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
from numpy.typing import ArrayLike, NDArray

from .. import plots
from ..channels import Channel
from ..errors import InputError
from ..estimate import Estimate
from ..exact.magnetisation import TERMS, label_terms
from ..exact.spins import NoisySamples
from ..lattice import Tripartition
from ..models import GaussianMixture
from ..phases import Window, nonlocality_window, speciation_window
from ..plots.label_windows import plot_label_windows
from ..results import Row, estimates, grids, variable
from ..runs.points import Point
from ..runs.quantities import Values, averages, check_parts, quantity, with_errors
from .base import Analysis, Study, grid, grid_times, measured, row

NAME = "label-windows"
TOLERANCE = 3e-3  # d, in nats
MAX_WIDTH = 9  # of Ising spins, whose label is summed exactly
TITLES = {
    "mixture": "White classes",
    "mixture-field": "Classes with a common field",
    "ising": "Ising, β = 0.6, label: sign",
}
ENDS = ("nonlocality_start", "nonlocality_stop", "speciation_start", "speciation_stop")


def wanted(full: bool) -> dict[str, Any]:
    common = {"quantity": "label_information", "radii": [1]}
    closed = {**common, "t": grid_times(0.05, 0.9996, 90 if full else 45), "n_samples": 2}
    sampled = {**common, "t": grid_times(0.2, 0.998, 44 if full else 22), "n_samples": 20000 if full else 300}
    mixture = {"name": "gaussian-mixture", "length": 11, "mean": 1.0}
    ising = {"name": "ising", "shape": [7, 7] if full else [7, 5], "beta": 0.6}
    return {
        "mixture": grid({**mixture, "std": 0.6}, "gaussian", **closed),
        "mixture-field": grid({**mixture, "mass_squared": 0.3}, "gaussian", **closed),
        "ising": grid(ising, "gaussian", **sampled),
    }


# -- at a point: what a region knows of the label, beside the CMI with and without the label given --------------------
#
# The label is the component of a mixture (closed forms) or the sign of the magnetisation of Ising spins (sampled, exact
# posteriors). `chain_rule` is 0 for exact answers and within errors for sampled ones:
#
#     I(A;C|B) - I(A;C|B,S) - [I(S;AB) - I(S;B)] + [I(S;ABC) - I(S;BC)].


def _closed(model: GaussianMixture, channel: Channel, t: float, part: Tripartition) -> list[float]:
    solver = model.solver
    given = 0.0 if solver.white or channel.snr(t) == 0.0 else solver.field.closed_cmi(channel, t, part)
    known = [model.label_information(channel, t, region) for region in (part.B, part.AB, part.BC, part.ABC)]
    lost = model.label_information(channel, 0.0, part.AB) - known[0]
    return [solver.closed_cmi(channel, t, part), given, *known, lost]


def _named(x: dict[str, NDArray]) -> dict[str, NDArray]:
    chain_rule = x["cmi"] - x["cmi_given_label"] - (x["ab"] - x["b"]) + (x["abc"] - x["bc"])
    terms = {name if name.startswith("cmi") else f"label_information_{name}": value for name, value in x.items()}
    return {"chain_rule": chain_rule, **terms}


def _check(point: Point) -> None:
    check_parts(point)
    if isinstance(point.model, GaussianMixture):
        return
    point.model.check_plain("the information about the label")
    shape, A = point.model.lattice.shape, point.parts[0].A
    if A.size % 2 == 0 or min(shape) > MAX_WIDTH or A.sum() != 1:
        raise InputError(
            f"the sign of the magnetisation needs an odd number of spins, a shorter side <= {MAX_WIDTH} and A of one "
            f"spin, got {A.size} spins, side {min(shape)} and A of {A.sum()}"
        )


COLUMNS = {
    **with_errors("chain_rule", ("radius",), "nat", "what the chain rule of informations leaves, 0 in theory"),
    **with_errors("cmi", ("radius",), "nat", "conditional mutual information I(A;C|B)"),
    **with_errors("cmi_given_label", ("radius",), "nat", "the same with the label given, I(A;C|B,S)"),
}
for _region, _symbol in {
    "b": "I(S;B)",
    "ab": "I(S;AB)",
    "bc": "I(S;BC)",
    "abc": "I(S;ABC)",
    "lost": "I_0(S;AB) - I_t(S;B)",
}.items():
    _words = f"information about the label, {_symbol}"
    COLUMNS |= with_errors(f"label_information_{_region}", ("radius",), "nat", _words)


@quantity(
    "the information about the label",
    COLUMNS,
    reads=("patch", "center"),
    models=("gaussian-mixture", "ising"),
    check=_check,
    averages=True,
)
def label_information(point: Point, rng: np.random.Generator) -> Values:
    model, channel, t = point.model, point.channel, point.t
    if isinstance(model, GaussianMixture):
        values = np.array([_closed(model, channel, t, part) for part in point.parts]).T
        answer: Values = {}
        for name, value in _named(dict(zip(TERMS, values, strict=True))).items():
            answer |= {name: value, f"{name}_stderr": np.zeros_like(value)}
        return answer
    terms = label_terms(model.beta, NoisySamples(channel, t, model.sample, point.n_samples, rng), point.parts)
    return averages(_named({name: getattr(terms, name) for name in TERMS}))


# -- what follows: two windows, one inside the other -------------------------------------------------------------------


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for name, title in TITLES.items():
        data = grids(result)[name].isel(radius=0)
        t, lost, known = (data[key].values for key in ("t", "label_information_lost", "label_information_abc"))
        explained = share_explained(data["cmi"], data["cmi_given_label"], TOLERANCE)
        nonlocality = nonlocality_window(t, data["cmi"], TOLERANCE, data["cmi_stderr"])
        errors = {
            "lost_stderr": data["label_information_lost_stderr"],
            "label_abc_stderr": data["label_information_abc_stderr"],
        }
        tolerance = explained * TOLERANCE
        speciation = speciation_window(t, 0.0, -lost, known, tolerance, **errors) if explained > 0 else None
        ends = [end for window in (nonlocality, speciation) for end in _ends(window)]
        analysis.variables[name] = {
            "explained": variable((), np.array(explained), "1", "share a of I(A;C|B) that the label explains"),
            "end": variable(("end",), np.array(ENDS, object), "1", "which end of which window"),
            **estimates(("end",), "end_time", ends, "1", "time of the end; NaN where the times do not bracket it"),
        }
        analysis.rows.extend(_rows(title, data, explained, nonlocality, speciation))
    return analysis


def share_explained(cmi: ArrayLike, given_label: ArrayLike, tolerance: float) -> float:
    """Return the largest a >= 0 with I(A;C|B,S) <= (1 - a) I(A;C|B) wherever I(A;C|B) > tolerance."""
    cmi, given_label = np.asarray(cmi), np.asarray(given_label)
    nonlocal_ = cmi > tolerance
    if not nonlocal_.any():
        return 1.0
    return max(0.0, 1.0 - float((given_label[nonlocal_] / cmi[nonlocal_]).max()))


def _ends(window: Window | None) -> tuple[Any, Any]:
    return (window.start, window.stop) if window else (None, None)


def _rows(
    title: str, data: xr.Dataset, explained: float, nonlocality: Window | None, speciation: Window | None
) -> list[Row]:
    """Return the chain rule where the CMI is largest, the windows, and by how much the inequalities hold."""
    top = int(data["cmi"].argmax("t"))
    chain = measured(data.isel(t=top), "chain_rule")
    rows = [
        row(
            f"chain rule at the peak of I(A;C|B), {title}",
            *(chain, 0.0, "chain rule of informations", "exact", float(data["t"][top])),
        ),
        row(f"share of I(A;C|B) that the label explains, {title}", explained),
    ]
    for what, window in (("nonlocality", nonlocality), ("speciation", speciation)):
        for end, time in zip(("start", "stop"), _ends(window), strict=True):
            if time is not None:
                rows.append(row(f"{what} {end}, {title}", time, source="window", t=time.value))
    inside, needed = data["cmi"].values > TOLERANCE, explained * data["cmi"].values
    for bound, name in (("I_0(S;AB) - I_t(S;B)", "lost"), ("I_t(S;ABC)", "abc")):
        values, stderr = (data[f"label_information_{name}{suffix}"].values for suffix in ("", "_stderr"))
        margin = np.where(inside, values - needed, np.inf)
        worst = int(margin.argmin())
        spread = float(np.hypot(stderr[worst], explained * data["cmi_stderr"].values[worst]))
        least = Estimate(float(margin[worst]), spread, 0)
        rows.append(row(f"least of {bound} - a I(A;C|B), {title}", least, source=">= 0", t=float(data["t"][worst])))
    return rows


def figure(result: xr.DataTree) -> Any:
    fig, axes = plots.new_figure(len(TITLES), width=4.4, height=4.4)
    for ax, (name, title) in zip(axes, TITLES.items(), strict=True):
        data = grids(result)[name].isel(radius=0)
        start, stop, label_start, label_stop = data["end_time"].values
        plot_label_windows(data, (start, stop), (label_start, label_stop), ax)
        ax.set_title(f"{title}: a = {float(data['explained']):.2f}")
    return fig


SHOWS = "Data are nonlocal only while their label is undecided: the window of large CMI lies within that of speciation."
STUDY = Study(NAME, "Label windows: locality is lost while the label is decided", SHOWS, wanted, analyse, figure)
