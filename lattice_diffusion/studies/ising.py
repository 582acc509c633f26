"""Ising on the square lattice: CMI and Markov length over (beta, t); above beta_c the global sign is a label."""

from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..channels import Gaussian
from ..estimate import Estimate
from ..exact import cmi_curve
from ..lattice import Lattice
from ..models import GaussianMixture
from ..models.ising import BETA_CRITICAL, onsager_magnetization
from ..phases import peak_time
from ..results import Row, grids
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment, estimates, markov_lengths

NAME = "ising"
PREFACTOR = 0.5  # r^(-1/2) exp(-r/xi), as for the field: Ornstein-Zernike correlations summed over the face of a box
RADIUS = 2  # at which peaks are located
MIXTURE = "peak of the white mixture with mu = m_0 (Onsager-Yang), std^2 = 1 - m_0^2; asymptotic"


def specs(preset: str) -> Spec:
    full = preset == "full"
    t = [0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.74, 0.78, 0.81, 0.84, 0.87, 0.9, 0.92, 0.94, 0.96, 0.98]
    grids = {}
    for length, n_samples in ((8, 4000), (10, 1000), (12, 500)):
        beta = [0.2, 0.25, 0.3, 0.35, 0.4, 0.44, 0.48, 0.5, 0.55, 0.6, 0.65, 0.7]
        grids[f"length-{length}"] = {
            "model": {"name": NAME, "length": length, "beta": beta},
            "channel": {"name": "gaussian", "schedule": "linear"},
            "t": t if full else t[1::2],
            "radii": list(range(1, length // 2)),
            "n_samples": 10 * n_samples if full else n_samples,
        }
    return Spec(name=NAME, grids=grids)


def mixture_peak(length: int, beta: float) -> float | None:
    """Peak time of the CMI at RADIUS if spins were independent given the global sign; None for beta <= beta_c."""
    from scipy.optimize import minimize_scalar

    m_0 = onsager_magnetization(beta)
    if m_0 == 0.0:
        return None
    lattice = Lattice((length, length))
    model = GaussianMixture(lattice, m_0, float(np.sqrt(1 - m_0**2)))
    parts = [lattice.tripartition(lattice.center, RADIUS)]
    channel = Gaussian("linear")
    best = minimize_scalar(
        lambda t: -np.log(cmi_curve(model, channel, t, parts).values[0]),
        bounds=(0.5, 0.999),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(best.x)


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for name, grid in grids(result).items():
        length = int(name.removeprefix("length-"))
        # a C thinner than two sites cuts the decay short: its last radii feel the open edge
        derived = markov_lengths(grid, PREFACTOR, max_radius=(length - 1) // 2 - 2)
        betas, times = grid["beta"].values, grid["t"].values
        at = int(np.flatnonzero(grid["radius"].values == RADIUS)[0])
        found: list[Estimate | None] = []
        for i, beta in enumerate(betas):
            found.append(peak_time(times, grid["cmi"].values[i, :, at], grid["cmi_stderr"].values[i, :, at]))
            predicted = mixture_peak(length, float(beta))
            peak = found[-1]
            if predicted is not None and peak is not None and float(beta) in (0.5, 0.6, 0.7):
                label = f"peak time (L = {length}, r = {RADIUS}, beta = {beta:.1f})"
                analysis.rows.append(Row(NAME, label, predicted, peak.value, peak.stderr, MIXTURE))
        derived |= estimates(("beta",), "peak_time", found, "1", f"time of the largest CMI at r = {RADIUS}")
        analysis.variables[name] = derived
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.7)
    name = list(grids(result))[-1]
    grid, length = grids(result)[name], int(name.removeprefix("length-"))
    betas, times = grid["beta"].values, grid["t"].values
    at = int(np.flatnonzero(grid["radius"].values == RADIUS)[0])
    ordered = BETA_CRITICAL + np.geomspace(1e-3, betas[-1] - BETA_CRITICAL, 16)
    predicted = [mixture_peak(length, float(beta)) for beta in ordered]
    plots.heat_map(left, times, betas, grid["cmi"].values[:, :, at], r"$I_t(A;C|B)$ (nats)", log=True, vmin=1e-6)
    left.errorbar(
        grid["peak_time"].values, betas, xerr=grid["peak_time_stderr"].values, fmt="wo", ms=4, mec="k", label="peak"
    )
    left.set(title=f"L = {length}, r = {RADIUS}; black: β_c and mixture peak")
    plots.plot_markov_length(grid, "beta", ax=middle)
    middle.set(title=f"Markov length, L = {length}; grey: none")
    for ax in (left, middle):
        ax.axhline(BETA_CRITICAL, color="k", lw=1, ls="--")
        ax.plot(predicted, ordered, "k", lw=1.5)
        ax.set(xlabel="time t", ylabel="β", ylim=(betas[0] - 0.02, betas[-1] + 0.02))
    for k, other in enumerate(grids(result)):
        group, size = grids(result)[other], int(other.removeprefix("length-"))
        plots.curve(
            right, k, group["beta"].values, group["peak_time"].values, group["peak_time_stderr"].values, f"L = {size}"
        )
        right.plot(ordered, [mixture_peak(size, float(beta)) for beta in ordered], "k", lw=1)
    right.axvline(BETA_CRITICAL, color="k", lw=1, ls="--")
    right.set(xlabel="β", ylabel="peak time", title="Peak of the CMI; black: mixture with m₀(β)")
    right.legend(frameon=False, fontsize=8)
    return fig


EXPERIMENT = NamedExperiment(NAME, "Ising: CMI and Markov length over (beta, t)", specs, analyse, figure)
