"""Domain walls of Ising spins under Gaussian noise: the (beta, noise) phase diagram.

Inference of the walls has a line of transitions from (beta = 0, s = sigma/alpha = 0.979) to the tricritical point
(beta_c, 1/sqrt(beta_c)). On s^2 = 1/beta noise and prior are equally strong, and the posterior correlation squared
averages to the clean correlation exactly, E <s s'>_x^2 = <s s'>: a sharp test at every beta.
"""

import math
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..exact.spins import NoisySamples
from ..models.ising import BETA_CRITICAL
from ..results import estimates, grids, variable
from ..runs.points import Point
from ..runs.quantities import Column, Values, quantity, with_errors
from .base import Analysis, Study, grid, label_crossing, row, rows_of

NAME = "domain-walls"
DUALITY = (0.978694, "duality conjecture at beta = 0")
TRICRITICAL = (BETA_CRITICAL**-0.5, "1/sqrt(beta_c), Puetz et al. (2025), arXiv:2504.12385")
IDENTITY = "E <s s'>_x^2 = <s s'> on sigma^2/alpha^2 = 1/beta, exact"
# where the crossing is sought: beta to lowest and highest sigma/alpha
LINE = {
    0.0: (0.9, 1.06),
    0.1: (0.93, 1.1),
    0.2: (0.97, 1.17),
    0.3: (0.96, 1.16),
    0.38: (1.02, 1.32),
    BETA_CRITICAL: (1.3, 1.75),
}
IDENTITY_BETAS = (0.2, 0.3, 0.4, BETA_CRITICAL, 0.5, 0.6)
CUT_BETA = 0.3
CUT = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0)


def times(noise: Any) -> list[float]:
    return [round(float(s / (1 + s)), 6) for s in noise]


def wanted(full: bool) -> dict[str, Any]:
    grids = {}
    for beta, ends in LINE.items():
        model = {"name": NAME, "length": [8, 10, 12, 14] if full else [6, 8, 10], "beta": beta}
        keys = {"quantity": "label_entropy", "n_samples": 100000 if full else 1200}
        t = times(np.linspace(*ends, 9 if full else 7))
        grids[f"line-{1000 * beta:03.0f}"] = grid(model, "gaussian", t=t, **keys)
    for beta in IDENTITY_BETAS:
        model = {"name": NAME, "length": 14 if full else 10, "beta": beta}
        keys = {"quantity": "squared_correlation", "n_samples": 100000 if full else 5000}
        grids[f"identity-{1000 * beta:03.0f}"] = grid(model, "gaussian", t=times([1 / math.sqrt(beta)]), **keys)
    model, n_samples = {"name": NAME, "length": 14, "beta": [CUT_BETA]}, 20000 if full else 300
    grids["cut"] = grid(model, "gaussian", t=times(CUT), radii=[1, 2, 3, 4], n_samples=n_samples)
    return grids


COLUMNS = {
    **with_errors("squared_correlation", (), "1", "squared posterior correlation of two faces, E <s s'>_x^2"),
    "clean_correlation": Column((), "1", "correlation of the two faces before noise, <s s'>"),
}


@quantity("the squared correlation", COLUMNS, reads=("bond",), models=("domain-walls",), averages=True)
def squared_correlation(point: Point, rng: np.random.Generator) -> Values:
    solver, bond = point.model.solver, point.parameters["model"]["bond"]
    noisy = NoisySamples(point.channel, point.t, point.model.sample, point.n_samples, rng)
    squares = solver.squared_correlations(noisy, bond)
    stderr = squares.std(ddof=1) / np.sqrt(point.n_samples)
    if stderr <= 1e-10 * squares.mean() and 0.0 < point.channel.snr(point.t) < np.inf:
        stderr = 1.0 / point.n_samples  # one sample of another value has not been seen
    return {
        "squared_correlation": squares.mean(),
        "squared_correlation_stderr": stderr,
        "clean_correlation": np.array(solver.clean_correlation(bond)),
    }


def noise_of(data: xr.Dataset) -> np.ndarray:
    """Return sigma/alpha at the times of a grid."""
    return np.asarray(data["t"].values / (1 - data["t"].values))


def analyse(result: xr.DataTree) -> Analysis:
    data = grids(result)
    analysis, found = Analysis(), []
    for beta, (low, high) in LINE.items():
        line = data[f"line-{1000 * beta:03.0f}"]
        critical = label_crossing(line, noise_of(line), ((low + high) / 2, 1.5)).critical
        found.append(critical if low < critical.value < high else None)
    what = "sigma/alpha at which the label entropies cross"
    analysis.variables["line"] = {
        "line_beta": variable(("line_beta",), np.array(list(LINE)), "1", "coupling of the faces"),
        **estimates(("line_beta",), "critical_noise", found, "1", what),
    }
    for (value, source), beta, end in ((DUALITY, 0.0, found[0]), (TRICRITICAL, BETA_CRITICAL, found[-1])):
        if end is not None:
            label = f"sigma/alpha* (beta = {beta:.3f}) from crossing label entropies"
            analysis.rows.append(row(label, end, value, f"{source}; L <= 14", "literature", *times([end.value])))
    for beta in IDENTITY_BETAS:
        one, label = data[f"identity-{1000 * beta:03.0f}"], "E <s s'>_x^2 at sigma^2/alpha^2 = 1/beta"
        known, label = one["clean_correlation"], f"{label}, beta = {beta:.3f}"
        analysis.rows.extend(rows_of(one, "squared_correlation", label, known, IDENTITY, "exact"))
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.4)
    line, cut = grids(result)["line"], grids(result)["cut"].isel(beta=0)
    plots.curves(left, line, "critical_noise", "line_beta", label="crossing")
    beta = np.linspace(0.35, 0.7, 100)
    left.plot(beta, beta**-0.5, "k--", label=r"$\sigma^2/\alpha^2 = 1/\beta$")
    left.plot([0, BETA_CRITICAL], [DUALITY[0], TRICRITICAL[0]], "k*", ms=10, label="known")
    left.axvline(BETA_CRITICAL, color="k", lw=1, ls=":")
    left.text(0.1, 1.35, "walls lost")
    left.text(0.22, 0.9, "walls known")
    left.set(xlabel="β", title="Line of learning transitions", xlim=(-0.03, 0.62), ylim=(0.85, 1.75))
    ticks = np.linspace(0.9, 1.7, 5)
    plots.noise_rows(left, ticks, np.array(times(ticks)), -2 * np.log(ticks), upright=True)
    plots.curves(middle, cut, "cmi", by="radius")
    plots.curves(right, cut, "markov_length", log=False)
    middle.set_title(f"CMI of a bond at β = {CUT_BETA}; dashed: transition")
    right.set_title(f"Markov length at β = {CUT_BETA}")
    critical = np.interp(CUT_BETA, line["line_beta"].values, line["critical_noise"].values)
    for ax in (middle, right):
        ax.axvline(critical / (1 + critical), color="k", ls="--")
    for ax in (left, middle):
        plots.legend(ax)
    return fig


SHOWS = "Domain walls are lost at a line of transitions from s = 0.979 at beta = 0 to the tricritical point at beta_c."
STUDY = Study(NAME, "Domain walls: the (beta, noise) phase diagram", SHOWS, wanted, analyse, figure)
