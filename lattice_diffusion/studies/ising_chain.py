"""Ising chain: a bounded Markov length at every time, and a closed form under erasure."""

import math
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..channels import Erasure
from ..exact import cmi_curve
from ..lattice import Lattice
from ..models import IsingChain
from ..results import Row, grids, variable
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment, markov_lengths, pooled_z

NAME = "ising-chain"
ERASURE = "xi = 1/log(coth(beta)^2/eps), exact"
LIMIT = "xi -> 1/(2 log coth(beta)) as t -> 1, half the clean correlation length"
LATE = 0.99


def specs(preset: str) -> Spec:
    full = preset == "full"
    n_samples = 20000 if full else 2000
    closed = {
        "model": {"name": NAME, "length": 161, "beta": {"start": 0.2, "stop": 1.4, "num": 25 if full else 13}},
        "channel": {"name": "erasure"},
        "t": {"start": 0.05, "stop": 0.95, "num": 37 if full else 19},
        "radii": list(range(1, 16)),
        "method": "closed",
    }
    few = {"name": NAME, "length": 61, "beta": [0.4, 0.7, 1.0]}
    times = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, LATE]
    sampled = {"model": few, "t": times, "n_samples": n_samples, "method": "sampled"}
    return Spec(
        name=NAME,
        grids={
            "erasure": closed,
            "erasure-sampled": {**sampled, "channel": {"name": "erasure"}, "radii": [1, 2]},
            "gaussian": {**sampled, "channel": {"name": "gaussian"}, "radii": list(range(1, 9))},
            "bitflip": {**sampled, "channel": {"name": "bitflip"}, "radii": list(range(1, 9))},
        },
    )


def _erasure_length(beta: float, eps: float) -> float:
    return -1.0 / math.log(eps * math.tanh(beta) ** 2)


def _limit_length(beta: float) -> float:
    return -0.5 / math.log(math.tanh(beta))


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for name in ("erasure", "gaussian", "bitflip"):
        analysis.variables[name] = markov_lengths(grids(result)[name])
    grid, derived = grids(result)["erasure"], analysis.variables["erasure"]
    betas, times = grid["beta"].values, grid["t"].values
    predicted = np.array([[_erasure_length(beta, t) for t in times] for beta in betas])
    derived["markov_length_predicted"] = variable(("beta", "t"), predicted, "sites", ERASURE)
    xi, stderr = derived["markov_length"].values, derived["markov_length_stderr"].values
    for i, j in ((len(betas) // 3, len(times) // 2), (2 * len(betas) // 3, len(times) - 3)):
        label = f"xi (erasure, beta = {betas[i]:.2f}, eps = {times[j]:.2f})"
        row = Row(NAME, label, float(predicted[i, j]), float(xi[i, j]), float(stderr[i, j]), ERASURE)
        analysis.rows.append(row)
    grid = grids(result)["erasure-sampled"]
    lattice, truth = Lattice((61,)), np.zeros(grid["cmi"].values.shape)
    for i, beta in enumerate(grid["beta"].values):
        model = IsingChain(lattice, float(beta))
        for j, t in enumerate(grid["t"].values):
            parts = [lattice.tripartition(lattice.center, int(r)) for r in grid["radius"].values]
            truth[i, j] = cmi_curve(model, Erasure(), float(t), parts).values
    analysis.variables["erasure-sampled"] = {
        "cmi_closed": variable(grid["cmi"].dims, truth, "nat", "closed form of the infinite noise average")
    }
    pooled = pooled_z(grid["cmi"].values, grid["cmi_stderr"].values, truth)
    analysis.rows.append(
        Row(
            NAME,
            "mean z^2 of sampled CMI under erasure",
            1.0,
            pooled.value,
            pooled.stderr,
            "closed form by nearest kept spins",
        )
    )
    for name in ("gaussian", "bitflip"):
        grid, derived = grids(result)[name], analysis.variables[name]
        late = int(np.argmin(np.abs(grid["t"].values - LATE)))
        for i, beta in enumerate(grid["beta"].values):
            value, error = derived["markov_length"].values[i, late], derived["markov_length_stderr"].values[i, late]
            label = f"xi ({name}, beta = {beta:.2f}, t = {LATE})"
            analysis.rows.append(Row(NAME, label, _limit_length(beta), float(value), float(error), LIMIT))
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, right) = plots.new_figure(2, width=5.2)
    grid = grids(result)["erasure"]
    plots.plot_markov_length(grid, "beta", ax=left)
    levels = [0.25, 0.5, 1.0, 2.0, 3.0]
    lines = left.contour(
        grid["t"].values,
        grid["beta"].values,
        grid["markov_length_predicted"].values,
        levels=levels,
        colors="k",
        linewidths=1,
    )
    left.clabel(lines, fmt="%g", fontsize=8)
    left.set(xlabel="erasure probability ε = t", ylabel="β", title="Erasure; black: 1/log(coth²β/ε)")
    grid = grids(result)["gaussian"]
    for k, beta in enumerate(grid["beta"].values):
        xi, stderr = grid["markov_length"].values[k], grid["markov_length_stderr"].values[k]
        plots.curve(right, k, grid["t"].values, xi, stderr, f"β = {beta:g}")
        right.axhline(_limit_length(beta), color="k", lw=1)
    right.set(xlabel="time t", ylabel=r"Markov length $\xi$ (sites)", title="Gaussian noise; black: limit t → 1")
    right.legend(frameon=False, fontsize=8)
    return fig


EXPERIMENT = NamedExperiment(NAME, "Ising chain: bounded Markov length", specs, analyse, figure)
