"""Massive free field: the Markov length over (m, t) against 1/(2 kappa)."""

from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..channels import Gaussian
from ..lattice import Lattice
from ..models import GaussianField
from ..results import Row, grids, variable
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment, markov_lengths

NAME = "gaussian-field"
SOURCE = "xi = 1/(2 kappa), cosh kappa = 1 + (m^2 + snr)/2"
# I ~ r^-p exp(-r/xi): in 2D the propagator squared, 1/r, times the width sqrt(r) of the face of the box that it sees
PREFACTOR = {"chain": 0.0, "square": 0.5}


def specs(preset: str) -> Spec:
    full = preset == "full"
    # in 2D the lattice must be many correlation lengths 1/m wide, as the chain is for all of these masses
    masses = {name: np.linspace(low, 1.0, 19 if full else 10) for name, low in (("chain", 0.1), ("square", 0.3))}
    mass_squared = {name: [round(float(m) ** 2, 6) for m in values] for name, values in masses.items()}
    t = {"start": 0.1, "stop": 0.95, "num": 35 if full else 18}
    channel = {"name": "gaussian", "schedule": "linear"}
    chain = {"name": NAME, "length": 241, "dimension": 1, "mass_squared": mass_squared["chain"]}
    square = {"name": NAME, "length": 101 if full else 61, "dimension": 2, "mass_squared": mass_squared["square"]}
    return Spec(
        name=NAME,
        grids={
            "chain": {"model": chain, "channel": channel, "t": t, "radii": list(range(1, 25))},
            "square": {"model": square, "channel": channel, "t": t, "radii": list(range(2, 17, 2))},
        },
    )


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for name, exponent in PREFACTOR.items():
        grid = grids(result)[name]
        masses, times = grid["mass_squared"].values, grid["t"].values
        predicted = np.array([[_predicted(m2, t) for t in times] for m2 in masses])
        derived = markov_lengths(grid, exponent)
        derived["markov_length_predicted"] = variable(("mass_squared", "t"), predicted, "sites", SOURCE)
        analysis.variables[name] = derived
        xi, stderr = derived["markov_length"].values, derived["markov_length_stderr"].values
        deviation = np.abs(xi / predicted - 1)
        worst = divmod(int(np.nanargmax(deviation)), len(times))
        where = f"{name}, m = {np.sqrt(masses[worst[0]]):.2f}, t = {times[worst[1]]:.2f}"
        for label, (i, j) in {
            f"xi ({name}, m = {np.sqrt(masses[len(masses) // 2]):.2f}, t = {times[len(times) // 2]:.2f})": (
                len(masses) // 2,
                len(times) // 2,
            ),
            f"xi ({where}: largest deviation)": worst,
        }.items():
            row = Row(NAME, label, float(predicted[i, j]), float(xi[i, j]), float(stderr[i, j]), SOURCE)
            analysis.rows.append(row)
    return analysis


def _predicted(mass_squared: float, t: float) -> float:
    return GaussianField(Lattice((3,)), float(mass_squared)).markov_length(Gaussian("linear"), float(t))


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.6)
    square = grids(result)["square"]
    masses = np.sqrt(square["mass_squared"].values)
    predicted = square["markov_length_predicted"].values
    plots.heat_map(
        left, square["t"].values, masses, square["markov_length"].values, r"Markov length $\xi$ (sites)", log=True
    )
    levels = [0.25, 0.5, 1.0, 2.0, 3.0]
    lines = left.contour(square["t"].values, masses, predicted, levels=levels, colors="k", linewidths=1)
    left.clabel(lines, fmt="%g", fontsize=8)
    left.set(xlabel="time t", ylabel="mass m", title="2D field; black: 1/(2κ)")
    for ax, name in ((middle, "chain"), (right, "square")):
        grid = grids(result)[name]
        masses, times = np.sqrt(grid["mass_squared"].values), grid["t"].values
        fine = np.linspace(times[0], times[-1], 200)
        for k, i in enumerate(np.linspace(0, len(masses) - 1, 4).astype(int)):
            ax.plot(fine, [_predicted(masses[i] ** 2, t) for t in fine], "k", lw=1)
            plots.curve(
                ax,
                k,
                times,
                grid["markov_length"].values[i],
                grid["markov_length_stderr"].values[i],
                f"m = {masses[i]:.2f}",
            )
        ax.set(
            xlabel="time t",
            ylabel=r"Markov length $\xi$ (sites)",
            title=f"{'1D' if name == 'chain' else '2D'}; black: 1/(2κ)",
        )
        ax.legend(frameon=False, fontsize=8)
    return fig


EXPERIMENT = NamedExperiment(NAME, "Massive free field: Markov length over (m, t)", specs, analyse, figure)
