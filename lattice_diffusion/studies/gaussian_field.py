"""Massive free field: the Markov length over (m, t) against 1/(2 kappa)."""

from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..channels import Gaussian
from ..lattice import Lattice
from ..models import GaussianField
from ..results import grids, variable
from .base import Analysis, Study, grid, measured, row

NAME = "gaussian-field"
SOURCE = "xi = 1/(2 kappa), cosh kappa = 1 + (m^2 + snr)/2"


def wanted(full: bool) -> dict[str, Any]:
    # in 2D the lattice must be many correlation lengths 1/m wide, as the chain is for all of these masses
    masses = {name: np.linspace(low, 1.0, 19 if full else 10) for name, low in (("chain", 0.1), ("square", 0.3))}
    squares = {name: [round(float(m) ** 2, 6) for m in values] for name, values in masses.items()}
    t = {"start": 0.1, "stop": 0.95, "num": 35 if full else 18}
    few = t if full else {"start": 0.15, "stop": 0.95, "num": 9}
    chain = {"name": NAME, "length": 241, "dimension": 1, "mass_squared": squares["chain"]}
    square = {"name": NAME, "length": 101 if full else 61, "dimension": 2, "mass_squared": squares["square"]}
    return {
        "chain": grid(chain, "gaussian", t=t, radii=list(range(1, 25))),
        "square": grid(square, "gaussian", t=few, radii=list(range(2, 17, 2))),
    }


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for name in ("chain", "square"):
        data = grids(result)[name]
        masses, times = data["mass_squared"].values, data["t"].values
        fields = [GaussianField(Lattice((3,)), float(m2)) for m2 in masses]  # the length is that of any lattice
        predicted = np.array([[one.markov_length(Gaussian("linear"), float(t)) for t in times] for one in fields])
        found = variable(("mass_squared", "t"), predicted, "sites", SOURCE)
        analysis.variables[name] = {"markov_length_predicted": found}
        deviation = np.abs(data["markov_length"].values / predicted - 1)
        worst = divmod(int(np.nanargmax(deviation)), len(times))
        for (i, j), remark in (((len(masses) // 2, len(times) // 2), ""), (worst, ": largest deviation")):
            label = f"xi ({name}, m = {np.sqrt(masses[i]):.2f}, t = {times[j]:.2f}{remark})"
            xi = measured(data.isel(mass_squared=i, t=j), "markov_length")
            analysis.rows.append(row(label, xi, predicted[i, j], SOURCE, "exact", times[j]))
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.4)
    by_mass = {
        name: data.assign_coords(mass_squared=np.sqrt(data["mass_squared"]).round(3)).rename(mass_squared="m")
        for name, data in grids(result).items()
    }
    square = by_mass["square"]
    plots.cells(left, square, "markov_length", y="m")
    known = square["markov_length_predicted"]
    lines = left.contour(square["t"], square["m"], known, [0.25, 0.5, 1.0, 2.0], colors="k", linewidths=1)
    left.clabel(lines, fmt="%g")
    left.set(ylabel="mass m", title="2D field; black: 1/(2κ)")
    for ax, name, title in ((middle, "chain", "1D"), (right, "square", "2D")):
        plots.curves(ax, by_mass[name], "markov_length", by="m", most=4, log=False)
        ax.set(title=f"{title}; black: 1/(2κ)")
        plots.legend(ax, 2)
    return fig


SHOWS = "The Markov length that is fitted to the CMI of a free field is 1/(2 kappa) at every mass and time."
STUDY = Study(NAME, "Massive free field: Markov length over (m, t)", SHOWS, wanted, analyse, figure)
