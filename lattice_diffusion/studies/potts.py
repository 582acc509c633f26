"""Potts models: Markov lengths of chains of q symbols under both noises of tokens, and squares at criticality."""

import math
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..models.potts import critical_coupling
from ..results import grids, variable
from .base import Analysis, Study, grid, rows_of

NAME = "potts"
ERASURE = "xi = 1/log(1/(eps lambda^2)), lambda = (e^J - 1)/(e^J + q - 1), exact"
LIMIT = "xi -> 1/(2 log(1/lambda)) as t -> 1, half the clean correlation length, asymptotic"
COUPLING, LATE, Q_SQUARE = 1.4, 0.99, 3


def wanted(full: bool) -> dict[str, Any]:
    chain = {"name": "potts-chain", "length": 41, "coupling": COUPLING, "q": [2, 3, 4]}
    times, n = [0.2, 0.4, 0.6, 0.8, 0.9, LATE], 20000 if full else 800
    critical = critical_coupling(Q_SQUARE)
    square = {"name": "potts", "shape": [7, 7] if full else [6, 5], "q": Q_SQUARE}
    square["coupling"] = [0.8, critical, 1.2]
    keys = {"t": [0.2, 0.4, 0.6, 0.8, 0.9], "radii": [1, 2, 3], "n_samples": 1000 if full else 100}
    return {
        "erasure": grid(chain, "erasure", t=times, radii=list(range(1, 8)), n_samples=n),
        "uniform": grid(chain, "uniform", t=times, radii=list(range(1, 8)), n_samples=n),
        "square-erasure": grid(square, "erasure", **keys),
        "square-uniform": grid(square, "uniform", **keys),
    }


def correlation(coupling: float, q: float) -> float:
    """Return the second eigenvalue of the transfer matrix over the first."""
    return math.expm1(coupling) / (math.expm1(coupling) + q)


def limit_length(q: float) -> float:
    return -0.5 / math.log(correlation(COUPLING, q))


def analyse(result: xr.DataTree) -> Analysis:
    data = grids(result)
    q, times = data["erasure"]["q"].values, data["erasure"]["t"].values
    exact = np.array([[-1.0 / math.log(t * correlation(COUPLING, n) ** 2) for t in times] for n in q])
    two, late = np.isin(times, (0.6, 0.9)), data["uniform"].sel(t=LATE)
    limits, label = [limit_length(n) for n in q], "xi (erasure, q = {q:g}, eps = {t})"
    rows = rows_of(data["erasure"].isel(t=two), "markov_length", label, exact[:, two], ERASURE, "exact")
    rows += rows_of(late, "markov_length", "xi (uniform, q = {q:g}, t = {t})", limits, LIMIT, "asymptotic")
    return Analysis({"erasure": {"markov_length_predicted": variable(("q", "t"), exact, "sites", ERASURE)}}, rows)


def figure(result: xr.DataTree) -> Any:
    data = grids(result)
    fig, axes = plots.new_figure(4, width=4.2)
    for chain, square, noise in zip(axes[:2], axes[2:], ("erasure", "uniform"), strict=True):
        plots.curves(chain, data[noise], "markov_length", by="q", log=False, join=False)
        chain.set(title=f"Chain, {noise}, J = {COUPLING}")
        plots.curves(square, data[f"square-{noise}"].sel(radius=1), "cmi", by="coupling", log=False, join=False)
        square.set(title=f"Square, q = 3, r = 1, {noise}")
    for q in data["uniform"]["q"].values:
        axes[1].axhline(limit_length(q), color="k", lw=1)
    for ax in axes:
        plots.legend(ax)
    return fig


SHOWS = "Chains of q symbols have a bounded Markov length under both noises, which the transfer matrix gives."
STUDY = Study(NAME, "Potts models: tokens of q symbols", SHOWS, wanted, analyse, figure)
