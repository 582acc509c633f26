"""Curie-Weiss model: CMI over (beta, t), and the time at which noise hides the sign of the magnetisation."""

from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..channels import BitFlip, Gaussian
from ..exact import cmi_curve
from ..exact.gaussian import label_cmi
from ..lattice import Lattice, Tripartition
from ..models import CurieWeiss
from ..models.curie_weiss import mean_field_magnetization
from ..phases import peak_time, power_law
from ..results import Row, grids, variable
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment, estimates, grid_times, pooled_z

NAME = "curie-weiss"
MIXTURE = "peak of the white mixture with mu = m_0 = tanh(beta m_0), std^2 = 1 - m_0^2; large N"


def specs(preset: str) -> Spec:
    full = preset == "full"
    sizes = [64, 128, 256, 512] if full else [64, 128, 256]
    beta = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0]
    grids: dict[str, Any] = {}
    for size in sizes:
        grids[f"size-{size}"] = {
            "model": {
                "name": NAME,
                "regions": [1, size // 4, size - size // 4 - 1],
                "beta": beta if full else beta[1::2],
            },
            "channel": {"name": "gaussian", "schedule": "linear"},
            "t": grid_times(0.2, 0.99, 41 if full else 19),
            "n_samples": 4000 if full else 1000,
        }
    grids["bitflip"] = {
        "model": {"name": NAME, "regions": [1, 16, 47], "beta": [0.8, 1.2, 1.6]},
        "channel": {"name": "bitflip"},
        "t": [0.3, 0.5, 0.7, 0.8, 0.9, 0.95],
        "n_samples": 20000 if full else 4000,
        "method": "sampled",
    }
    return Spec(name=NAME, grids=grids)


def mixture_peak(size: int, beta: float) -> float | None:
    """Peak time of the CMI if spins were independent given the sign of the magnetisation; None for beta <= 1."""
    from scipy.optimize import minimize_scalar

    m_0 = mean_field_magnetization(beta)
    if m_0 == 0.0:
        return None
    channel = Gaussian("linear")

    def log_cmi(t: float) -> float:
        alpha, sigma = channel.alpha(t), channel.sigma(t)
        unit = (alpha * m_0) ** 2 / (alpha**2 * (1 - m_0**2) + sigma**2)
        return float(np.log(label_cmi(*(n * unit for n in (size // 4, size // 4 + 1, size - 1, size)))))

    best = minimize_scalar(lambda t: -log_cmi(t), bounds=(0.3, 0.999), method="bounded", options={"xatol": 1e-8})
    return float(best.x)


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    peaks: dict[int, np.ndarray] = {}
    errors: dict[int, np.ndarray] = {}
    names = [name for name in grids(result) if name.startswith("size-")]
    for name in names:
        grid, size = grids(result)[name], int(name.removeprefix("size-"))
        cmi, stderr = grid["cmi"].values[..., 0], grid["cmi_stderr"].values[..., 0]
        found = [peak_time(grid["t"].values, cmi[i], stderr[i]) for i in range(len(cmi))]
        derived = estimates(("beta",), "peak_time", found, "1", "time of the largest CMI")
        peaks[size], errors[size] = derived["peak_time"].values, derived["peak_time_stderr"].values
        analysis.variables[name] = derived
    betas, sizes = grids(result)[names[0]]["beta"].values, np.array(list(peaks))
    for i, beta in enumerate(betas):
        predicted = mixture_peak(int(sizes[-1]), float(beta))
        if predicted is not None and beta >= 1.4:
            peak, error = peaks[int(sizes[-1])][i], errors[int(sizes[-1])][i]
            label = f"peak time (N = {sizes[-1]}, beta = {beta:.1f})"
            analysis.rows.append(Row(NAME, label, predicted, float(peak), float(error), MIXTURE))
    last = len(betas) - 1
    peak, error = np.array([peaks[n][last] for n in sizes]), np.array([errors[n][last] for n in sizes])
    law = power_law(sizes, (1 - peak) / peak, error / peak**2)
    label = f"exponent of sqrt(snr) ~ N^x at the peak, beta = {betas[last]:.1f}"
    analysis.rows.append(
        Row(NAME, label, -0.5, law.exponent.value, law.exponent.stderr, "speciation at snr N m_0^2 ~ 1")
    )
    grid = grids(result)["bitflip"]
    parts, lattice = Tripartition.from_sizes(1, 16, 47), Lattice((64,))
    truth = np.array(
        [
            [cmi_curve(CurieWeiss(lattice, float(beta)), BitFlip(), float(t), [parts]).values for t in grid["t"].values]
            for beta in grid["beta"].values
        ]
    )
    analysis.variables["bitflip"] = {"cmi_closed": variable(grid["cmi"].dims, truth, "nat", "closed form by counts")}
    pooled = pooled_z(grid["cmi"].values, grid["cmi_stderr"].values, truth)
    analysis.rows.append(
        Row(NAME, "mean z^2 of sampled CMI under bit flips", 1.0, pooled.value, pooled.stderr, "finite sum over counts")
    )
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, right) = plots.new_figure(2, width=5.4)
    names = [name for name in grids(result) if name.startswith("size-")]
    grid, size = grids(result)[names[-1]], int(names[-1].removeprefix("size-"))
    betas, times = grid["beta"].values, grid["t"].values
    plots.heat_map(left, times, betas, grid["cmi"].values[..., 0], r"$I_t(A;C|B)$ (nats)", log=True, vmin=1e-7)
    left.errorbar(
        grid["peak_time"].values, betas, xerr=grid["peak_time_stderr"].values, fmt="wo", ms=4, mec="k", label="peak"
    )
    ordered = np.linspace(1.15, betas[-1], 16)
    left.plot([mixture_peak(size, beta) for beta in ordered], ordered, "k", lw=1.5, label="mixture peak")
    lattice, channel = Lattice((size,)), Gaussian("linear")
    speciation = [CurieWeiss(lattice, beta).transition(channel) for beta in ordered]
    left.plot([s.time for s in speciation if s], ordered[: len(speciation)], "k:", lw=1.5, label=r"$g N m_0^2 = 1$")
    left.axhline(1.0, color="k", lw=1, ls="--")
    left.set(
        xlabel="time t", ylabel="β", xlim=(times[0], times[-1]), title=f"Curie-Weiss, N = {size}, |A| = 1, |B| = N/4"
    )
    left.legend(loc="lower left", fontsize=8)
    for k, name in enumerate(names):
        group, n = grids(result)[name], int(name.removeprefix("size-"))
        peak, error = group["peak_time"].values, group["peak_time_stderr"].values
        plots.curve(right, k, betas, peak, error, f"N = {n}")
        right.plot(ordered, [mixture_peak(n, beta) for beta in ordered], "k", lw=1)
    right.axvline(1.0, color="k", lw=1, ls="--")
    right.set(xlabel="β", ylabel="peak time", title="Peak of the CMI; black: mixture with m₀(β)")
    right.legend(frameon=False, fontsize=8)
    return fig


EXPERIMENT = NamedExperiment(NAME, "Curie-Weiss: CMI and speciation over (beta, t)", specs, analyse, figure)
