"""Ising chain: a bounded Markov length at every time, and a closed form under erasure."""

import math
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..results import grids, variable
from .base import Analysis, Study, beside_closed_form, grid, measured, row, rows_of

NAME = "ising-chain"
ERASURE = "xi = 1/log(coth(beta)^2/eps), exact"
LIMIT = "xi -> 1/(2 log coth(beta)) as t -> 1, half the clean correlation length"
LATE = 0.99


def wanted(full: bool) -> dict[str, Any]:
    chain = {"name": NAME, "length": 161, "beta": {"start": 0.2, "stop": 1.4, "num": 25 if full else 13}}
    few = {"name": NAME, "length": 61, "beta": [0.4, 0.7, 1.0]}
    t = {"start": 0.05, "stop": 0.95, "num": 37 if full else 19}
    times = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, LATE]
    sampled = {"t": times, "n_samples": 20000 if full else 2000, "method": "sampled"}
    return {
        "erasure": grid(chain, "erasure", t=t, radii=list(range(1, 16)), method="closed"),
        "erasure-sampled": grid(few, "erasure", radii=[1, 2], **sampled),
        "gaussian": grid(few, "gaussian", radii=list(range(1, 9)), **sampled),
        "bitflip": grid(few, "bitflip", radii=list(range(1, 9)), **sampled),
    }


def limit_length(beta: float) -> float:
    return -0.5 / math.log(math.tanh(beta))


def analyse(result: xr.DataTree) -> Analysis:
    analysis, data = Analysis(), grids(result)
    betas, times = data["erasure"]["beta"].values, data["erasure"]["t"].values
    predicted = np.array([[-1.0 / math.log(t * math.tanh(beta) ** 2) for t in times] for beta in betas])
    found = variable(("beta", "t"), predicted, "sites", ERASURE)
    analysis.variables["erasure"] = {"markov_length_predicted": found}
    for i, j in ((len(betas) // 3, len(times) // 2), (2 * len(betas) // 3, len(times) - 3)):
        label = f"xi (erasure, beta = {betas[i]:.2f}, eps = {times[j]:.2f})"
        xi = measured(data["erasure"].isel(beta=i, t=j), "markov_length")
        analysis.rows.append(row(label, xi, predicted[i, j], ERASURE, "exact"))

    label, source = "mean z^2 of sampled CMI under erasure", "closed form by nearest kept spins"
    beside_closed_form(analysis, result, "erasure-sampled", label, source)
    for name in ("gaussian", "bitflip"):
        late, label = data[name].sel(t=LATE, method="nearest"), f"xi ({name}, beta = {{beta:.2f}}, t = {LATE})"
        limits = [limit_length(beta) for beta in late["beta"].values]
        analysis.rows.extend(rows_of(late, "markov_length", label, limits, LIMIT, "asymptotic"))
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, right) = plots.new_figure(2)
    data = grids(result)["erasure"]
    plots.cells(left, data, "markov_length", y="beta")
    known, levels = data["markov_length_predicted"], [0.25, 0.5, 1.0, 2.0, 3.0]
    left.clabel(left.contour(data["t"], data["beta"], known, levels, colors="k", linewidths=1), fmt="%g")
    left.set(xlabel="erasure probability ε = t", title="Erasure; black: 1/log(coth²β/ε)")
    plots.curves(right, grids(result)["gaussian"], "markov_length", by="beta", log=False)
    for beta in grids(result)["gaussian"]["beta"].values:
        right.axhline(limit_length(beta), color="k", lw=1)
    right.set(title="Gaussian noise; black: limit t → 1")
    plots.legend(right)
    return fig


SHOWS = "The Markov length of an Ising chain is finite at every time, so that local denoisers suffice throughout."
STUDY = Study(NAME, "Ising chain: bounded Markov length", SHOWS, wanted, analyse, figure)
