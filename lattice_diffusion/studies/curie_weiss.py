"""Curie-Weiss model: CMI over (beta, t), and the time at which noise hides the sign of the magnetisation."""

import functools
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..channels import Gaussian
from ..lattice import Lattice
from ..models import CurieWeiss
from ..models.curie_weiss import mean_field_magnetization
from ..phases import power_law
from .base import Analysis, Study, WhiteMixture, beside_closed_form, by_size, grid, grid_times, measured, row, rows_of

NAME = "curie-weiss"
MIXTURE = "peak of the white mixture with mu = m_0 = tanh(beta m_0), std^2 = 1 - m_0^2; large N"


def wanted(full: bool) -> dict[str, Any]:
    betas = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0]
    times, grids = grid_times(0.2, 0.99, 41 if full else 19), {}
    for size in [64, 128, 256, 512] if full else [64, 128, 256]:
        regions = [1, size // 4, size - size // 4 - 1]
        model = {"name": NAME, "regions": regions, "beta": betas if full else betas[1::2]}
        grids[f"size-{size}"] = grid(model, "gaussian", t=times, n_samples=4000 if full else 500)
    model = {"name": NAME, "regions": [1, 16, 47], "beta": [0.8, 1.2, 1.6]}
    times, n_samples = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95], 20000 if full else 4000
    grids["bitflip"] = grid(model, "bitflip", t=times, n_samples=n_samples, method="sampled")
    return grids


@functools.cache
def predicted_peak(size: int, beta: float) -> float | None:
    """Return the peak time of the CMI of spins independent given the sign of the magnetisation; None for beta <= 1."""
    m_0, sizes = mean_field_magnetization(beta), (size // 4, size // 4 + 1, size - 1, size)
    return WhiteMixture(m_0, 1 - m_0**2, sizes).peak(0.3) if m_0 > 0 else None


def analyse(result: xr.DataTree) -> Analysis:
    analysis, data = Analysis(), by_size(result, "size-")
    sizes, largest = np.array(list(data)), list(data)[-1]
    ordered, label = data[largest].sel(beta=slice(1.4, None)), f"peak time (N = {largest}, beta = {{beta:.1f}})"
    predicted: Any = [predicted_peak(largest, float(beta)) for beta in ordered["beta"].values]
    analysis.rows.extend(rows_of(ordered, "peak_time", label, predicted, MIXTURE, "asymptotic"))
    last = [measured(group.isel(beta=-1), "peak_time") for group in data.values()]
    time, error = np.array([e.value for e in last]), np.array([e.stderr for e in last])
    law = power_law(sizes, (1 - time) / time, error / time**2)
    label = f"exponent of sqrt(snr) ~ N^x at the peak, beta = {data[largest]['beta'].values[-1]:.1f}"
    analysis.rows.append(row(label, law.exponent, -0.5, "speciation at snr N m_0^2 ~ 1", "asymptotic"))

    label, source = "mean z^2 of sampled CMI under bit flips", "finite sum over counts"
    beside_closed_form(analysis, result, "bitflip", label, source)
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, right) = plots.new_figure(2)
    size, data = list(by_size(result, "size-").items())[-1]
    ordered = np.linspace(1.15, float(data["beta"][-1]), 16)
    plots.cells(left, data, "cmi", y="beta", vmin=1e-7)
    left.plot([predicted_peak(size, beta) for beta in ordered], ordered, "k", label="mixture's peak")
    lattice, channel = Lattice((size,)), Gaussian("linear")
    speciation = [CurieWeiss(lattice, beta).transition(channel) for beta in ordered]
    left.plot([s.time for s in speciation if s], ordered[: len(speciation)], "k:", label=r"$g N m_0^2 = 1$")
    left.axhline(1.0, color="k", ls="--")
    left.set(title=f"N = {size}, |A| = 1, |B| = N/4; hatched: rare samples", xlim=data["t"].values[[0, -1]])
    right.set_ylim(data["t"].values[[0, -1]])
    for k, (n, group) in enumerate(by_size(result, "size-").items()):
        plots.curves(right, group, "peak_time", "beta", k=k, join=False, label=f"N = {n}")
        right.plot(ordered, [predicted_peak(n, beta) for beta in ordered], color=plots.COLORS[k])
    right.axvline(1.0, color="k", ls="--")
    right.set(title="Peak of the CMI; lines: mixture with m₀(β)")
    for ax in (left, right):
        plots.legend(ax)
    return fig


SHOWS = "The CMI of ordered Curie-Weiss spins is largest where noise hides the sign of their magnetisation."
STUDY = Study(NAME, "Curie-Weiss: CMI and speciation over (beta, t)", SHOWS, wanted, analyse, figure)
