"""Ising on the square lattice: CMI and Markov length over (beta, t); above beta_c the global sign is a label."""

import functools
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..models.ising import BETA_CRITICAL, onsager_magnetization
from ..runs.points import grid_points, markov_lengths
from .base import Analysis, Study, WhiteMixture, by_size, grid, measured, row, spec_of

NAME = "ising"
RADIUS = 2  # at which peaks are located
MIXTURE = "peak of the white mixture with mu = m_0 (Onsager-Yang), std^2 = 1 - m_0^2; asymptotic"


def wanted(full: bool) -> dict[str, Any]:
    t = [0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.74, 0.78, 0.81, 0.84, 0.87, 0.9, 0.92, 0.94, 0.96, 0.98]
    betas = [0.2, 0.3, 0.4, 0.44, 0.5, 0.6, 0.7, *((0.25, 0.35, 0.48, 0.55, 0.65) if full else ())]
    grids = {}
    for length, n_samples in ((8, 4000), (10, 1000), (12, 500)) if full else ((8, 2000), (12, 250)):
        grids[f"length-{length}"] = grid(
            {"name": NAME, "length": length, "beta": sorted(betas)},
            "gaussian",
            t=t if full else t[1::2],
            radii=list(range(1, length // 2)),
            n_samples=10 * n_samples if full else n_samples,
        )
    return grids


@functools.cache
def predicted_peak(length: int, beta: float) -> float | None:
    """Return the peak time of the CMI at RADIUS of spins independent given the global sign; None for beta <= beta_c."""
    m_0, seen, n = onsager_magnetization(beta), (2 * RADIUS + 1) ** 2, length**2
    return WhiteMixture(m_0, 1 - m_0**2, (seen - 1, seen, n - 1, n)).peak(0.5) if m_0 > 0 else None


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for length, data in by_size(result, "length-").items():
        name = f"length-{length}"
        # a C thinner than two sites cuts the decay short: its last radii feel the open edge
        points = grid_points(name, spec_of(result).grids[name])
        analysis.variables[name] = markov_lengths(data, points, max_radius=(length - 1) // 2 - 2)
        for i, beta in enumerate(data["beta"].values):
            predicted = predicted_peak(length, float(beta)) if float(beta) in (0.5, 0.6, 0.7) else None
            peak = measured(data.isel(beta=i).sel(radius=RADIUS), "peak_time")
            if predicted is not None and np.isfinite(peak.value):
                label = f"peak time (L = {length}, r = {RADIUS}, beta = {beta:.1f})"
                analysis.rows.append(row(label, peak, predicted, MIXTURE, "asymptotic", peak.value))
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.4)
    sizes = {length: data.sel(radius=RADIUS) for length, data in by_size(result, "length-").items()}
    length, data = list(sizes.items())[-1]
    ordered = BETA_CRITICAL + np.geomspace(1e-3, float(data["beta"][-1]) - BETA_CRITICAL, 16)
    plots.cells(left, data, "cmi", y="beta", vmin=1e-6)
    left.set(title=f"CMI, L = {length}, r = {RADIUS}; hatched: rare samples")
    plots.cells(middle, data, "markov_length", y="beta")
    middle.set(title=f"Markov length, L = {length}; grey: none")
    for ax in (left, middle):
        ax.axhline(BETA_CRITICAL, color="k", ls="--", label=r"$\beta_c$")
        ax.plot([predicted_peak(length, float(beta)) for beta in ordered], ordered, "k", label="mixture's peak")
        plots.legend(ax)
    for k, (size, one) in enumerate(sizes.items()):
        shifted = one["beta"] + 0.004 * (k - 1)  # so that error bars stand beside each other
        plots.curves(right, one, "peak_time", "beta", k=k, at=shifted, join=False, label=f"L = {size}")
        right.plot(ordered, [predicted_peak(size, float(beta)) for beta in ordered], color=plots.COLORS[k])
    right.axvline(BETA_CRITICAL, color="k", ls="--")
    right.set(title=f"Peak at r = {RADIUS}; lines: mixture with m₀(β)")
    plots.legend(right)
    return fig


SHOWS = "The CMI of Ising spins above beta_c peaks where noise hides their global sign, as in a mixture of two classes."
STUDY = Study(NAME, "Ising: CMI and Markov length over (beta, t)", SHOWS, wanted, analyse, figure)
