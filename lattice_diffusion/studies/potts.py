"""Potts models: Markov lengths of chains of q symbols under both noises of tokens, and squares at criticality."""

import math
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..models.potts import critical_coupling
from ..results import grids, variable
from ..runs.spec import Spec
from .base import Analysis, Study, grid, measured, row

NAME = "potts"
ERASURE = "xi = 1/log(1/(eps lambda^2)), lambda = (e^J - 1)/(e^J + q - 1), exact"
LIMIT = "xi -> 1/(2 log(1/lambda)) as t -> 1, half the clean correlation length, asymptotic"
COUPLING, LATE, Q_SQUARE = 1.4, 0.99, 3


def specs(preset: str) -> Spec:
    full = preset == "full"
    chain = {"name": "potts-chain", "length": 41, "coupling": COUPLING, "q": [2, 3, 4]}
    times, n = [0.2, 0.4, 0.6, 0.8, 0.9, LATE], 20000 if full else 800
    critical = critical_coupling(Q_SQUARE)
    square = {"name": "potts", "shape": [7, 7] if full else [6, 5], "q": Q_SQUARE}
    square["coupling"] = [0.8, critical, 1.2]
    keys = {"t": [0.2, 0.4, 0.6, 0.8, 0.9], "radii": [1, 2, 3], "n_samples": 1000 if full else 100}
    wanted = {
        "erasure": grid(chain, "erasure", t=times, radii=list(range(1, 8)), n_samples=n),
        "uniform": grid(chain, "uniform", t=times, radii=list(range(1, 8)), n_samples=n),
        "square-erasure": grid(square, "erasure", **keys),
        "square-uniform": grid(square, "uniform", **keys),
    }
    return Spec(name=NAME, grids=wanted)


def correlation(coupling: float, q: float) -> float:
    """Return the second eigenvalue of the transfer matrix over the first."""
    return math.expm1(coupling) / (math.expm1(coupling) + q)


def analyse(result: xr.DataTree) -> Analysis:
    data, rows = grids(result), []
    q, times = data["erasure"]["q"].values, data["erasure"]["t"].values
    exact = np.array([[-1.0 / math.log(t * correlation(COUPLING, n) ** 2) for t in times] for n in q])
    for i, n in enumerate(q):
        for t in (0.6, 0.9):
            xi = measured(data["erasure"].isel(q=i).sel(t=t), "markov_length")
            known = exact[i, list(times).index(t)]
            rows.append(row(f"xi (erasure, q = {n:g}, eps = {t})", xi, known, ERASURE, "exact"))
        xi = measured(data["uniform"].isel(q=i).sel(t=LATE), "markov_length")
        limit = -0.5 / math.log(correlation(COUPLING, n))
        rows.append(row(f"xi (uniform, q = {n:g}, t = {LATE})", xi, limit, LIMIT, "asymptotic"))
    return Analysis({"erasure": {"markov_length_predicted": variable(("q", "t"), exact, "sites", ERASURE)}}, rows)


def figure(result: xr.DataTree) -> Any:
    data = grids(result)
    fig, axes = plots.new_figure(4, width=4.2)
    for ax, name in zip(axes, ("erasure", "uniform"), strict=False):
        for k, n in enumerate(data[name]["q"].values):
            one = data[name].isel(q=k)
            plots.curve(ax, k, one["t"], one["markov_length"], one["markov_length_stderr"], f"q = {n:g}")
            if name == "erasure":
                ax.plot(one["t"], one["markov_length_predicted"], "k", lw=1)
            else:
                ax.axhline(-0.5 / math.log(correlation(COUPLING, n)), color="k", lw=1)
        ax.set(xlabel="time t", ylabel=r"Markov length $\xi$ (sites)", title=f"Chain, {name}, J = {COUPLING}")
    for ax, name in zip(axes[2:], ("square-erasure", "square-uniform"), strict=True):
        for k, coupling in enumerate(data[name]["coupling"].values):
            one = data[name].isel(coupling=k).sel(radius=1)
            plots.curve(ax, k, one["t"], one["cmi"], one["cmi_stderr"], f"J = {coupling:.3f}")
        ax.set(xlabel="time t", ylabel="I(A;C|B) (nats), r = 1", title=f"Square, q = 3, {name.partition('-')[2]}")
    for ax in axes:
        plots.legend(ax)
    return fig


SHOWS = "Chains of q symbols have a bounded Markov length under both noises, which the transfer matrix gives."
STUDY = Study(NAME, "Potts models: tokens of q symbols", SHOWS, specs, analyse, figure)
