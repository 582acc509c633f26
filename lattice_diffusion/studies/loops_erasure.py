"""Closed loops under erasure: masked diffusion with a phase transition at t* = 1/2, exactly.

A is one bond. I = (1-eps) log 2 times the probability that kept bonds connect its two faces, but not within the
buffer: bond percolation, critical at 1/2 (Kesten 1980), nu = 4/3, I ~ r^(-5/4) at t* (alternating four arms).
"""

import math
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..phases import finite_size_crossing, peak_time, power_law
from ..results import Row, grids
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment, estimates, markov_lengths

NAME = "loops-erasure"
KESTEN = "bond percolation on the square lattice, Kesten (1980), exact"
NU = "nu = 4/3 of percolation, exact"
FOUR_ARMS = "alternating four-arm exponent 5/4"
NU_EXACT, ARMS = 4 / 3, 1.25
COLLAPSE = 0.4  # largest |t - 1/2| r^(3/4) at which log r^(5/4) I is fitted by a cubic
FIRST_RADIUS = 8  # of the fit at t*: smaller boxes feel the lattice


def specs(preset: str) -> Spec:
    full = preset == "full"
    channel = {"name": "erasure"}
    loops = {"name": "domain-walls", "beta": 0.0}
    large = {**loops, "length": 1024 if full else 512}
    return Spec(
        name=NAME,
        grids={
            "map": {
                "model": {**loops, "length": 64},
                "channel": channel,
                "t": {"start": 0.05, "stop": 0.95, "num": 37},
                "radii": [1, 2, 3, 4, 6, 8, 11, 16, 22, 30],
                "n_samples": 1000000 if full else 100000,
            },
            "near": {
                "model": large,
                "channel": channel,
                "t": {"start": 0.3, "stop": 0.7, "num": 41 if full else 21},
                "radii": [4, 6, 8, 11, 16, 22, 32, 45, 64],
                "n_samples": 2000000 if full else 200000,
            },
            "critical": {
                "model": large,
                "channel": channel,
                "t": [0.5],
                "radii": [1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 64, 90, *([128] if full else [])],
                "n_samples": 10000000 if full else 1000000,
            },
            "label": {
                "model": {**loops, "length": [32, 64, 128, 256, 512] if full else [32, 64, 128]},
                "channel": channel,
                "t": {"start": 0.47, "stop": 0.53, "num": 13 if full else 7},
                "quantity": "label_entropy",
                "n_samples": 20000 if full else 5000,
            },
        },
    )


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    near = grids(result)["near"]
    analysis.variables["near"] = markov_lengths(near)
    analysis.variables["map"] = _peaks(grids(result)["map"])
    analysis.rows.extend([*_crossing(result), *_critical_law(result), *_divergence(near, analysis.variables["near"])])
    return analysis


def _peaks(grid: dict[str, xr.Variable]) -> dict[str, xr.Variable]:
    found = [
        peak_time(grid["t"].values, grid["cmi"].values[:, k], grid["cmi_stderr"].values[:, k])
        for k in range(grid["radius"].values.size)
    ]
    return estimates(("radius",), "peak_time", found, "1", "time at which the CMI at radius r is largest")


def _crossing(result: xr.DataTree) -> list[Row]:
    grid = grids(result)["label"]
    size, control = np.meshgrid(grid["length"].values, grid["t"].values, indexing="ij")
    entropy, stderr = grid["label_entropy"].values / math.log(2), grid["label_entropy_stderr"].values / math.log(2)
    fit = finite_size_crossing(control, size, entropy, stderr, (0.5, NU_EXACT), degree=5)
    near = grids(result)["near"]
    radius, t = np.meshgrid(near["radius"].values, near["t"].values)
    cmi, error = near["cmi"].values, near["cmi_stderr"].values
    keep = (np.abs(t - 0.5) * radius ** (1 / NU_EXACT) < COLLAPSE) & (cmi > 5 * error)
    log_scaled = np.log(radius[keep] ** ARMS * cmi[keep])
    second = finite_size_crossing(t[keep], radius[keep], log_scaled, error[keep] / cmi[keep], (0.5, NU_EXACT))
    return [
        Row(NAME, "t* from crossing r^(5/4) I", 0.5, second.critical.value, second.critical.stderr, KESTEN),
        Row(NAME, "t* from crossing label entropies", 0.5, fit.critical.value, fit.critical.stderr, KESTEN),
        Row(NAME, "nu from their collapse", NU_EXACT, fit.nu.value, fit.nu.stderr, NU),
    ]


def _critical_law(result: xr.DataTree) -> list[Row]:
    grid = grids(result)["critical"]
    keep = grid["radius"].values >= FIRST_RADIUS
    covariance = grid["cmi_covariance"].values[0][np.ix_(keep, keep)]
    law = power_law(grid["radius"].values[keep], grid["cmi"].values[0, keep], covariance=covariance)
    last = grid["radius"].values[-1]
    label = f"exponent of I(r) at t = 1/2, r = {FIRST_RADIUS}..{last}"
    return [Row(NAME, label, -ARMS, law.exponent.value, law.exponent.stderr, FOUR_ARMS)]


def _divergence(grid: dict[str, xr.Variable], derived: dict[str, xr.Variable]) -> list[Row]:
    """xi ~ |t - 1/2|^(-nu) on both sides, where radii reach beyond 4 xi."""
    rows, t = [], grid["t"].values
    reach = grid["radius"].values[-1] / 4
    xi, stderr = derived["markov_length"].values, derived["markov_length_stderr"].values
    for side, name in ((t < 0.5, "t < 1/2"), (t > 0.5, "t > 1/2")):
        keep = side & (xi < reach) & (np.abs(t - 0.5) < 0.17)  # False where xi is NaN
        if keep.sum() >= 3:
            law = power_law(np.abs(t[keep] - 0.5), xi[keep], stderr[keep])
            rows.append(Row(NAME, f"exponent of xi, {name}", -NU_EXACT, law.exponent.value, law.exponent.stderr, NU))
    return rows


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.8)
    grid = grids(result)["map"]
    t, radii = grid["t"].values, grid["radius"].values
    for k, i in enumerate(range(0, len(radii), 2)):
        plots.curve(left, k, t, grid["cmi"].values[:, i], grid["cmi_stderr"].values[:, i], f"r = {radii[i]}")
        left.plot(t, grid["cmi"].values[:, i], color=plots.COLORS[k], lw=1)
    left.set(xlabel="masked fraction t", ylabel=r"$I_t(A;C|B)$ (nats)", title="Masked loops; black: t* = 1/2")
    left.set(yscale="log", ylim=(1e-4, 0.7))
    left.legend(frameon=False, fontsize=8)
    plots.heat_map(middle, t, np.arange(len(radii)), grid["cmi"].values.T, r"$I_t(A;C|B)$ (nats)", log=True, vmin=1e-5)
    middle.plot(grid["peak_time"].values, np.arange(len(radii)), "wo", ms=4, mec="k")
    middle.set(xlabel="masked fraction t", ylabel="radius r", title="The peak marches to 1/2")
    middle.set_yticks(np.arange(len(radii)), [str(r) for r in radii])
    for ax in (left, middle):
        ax.axvline(0.5, color="k", lw=1.5)
    near = grids(result)["near"]
    for k, i in enumerate(range(2, near["radius"].values.size, 2)):
        r = near["radius"].values[i]
        x = (near["t"].values - 0.5) * r ** (1 / NU_EXACT)
        scale = r**ARMS
        plots.curve(right, k, x, scale * near["cmi"].values[:, i], scale * near["cmi_stderr"].values[:, i], f"r = {r}")
    right.set(
        xlabel=r"$(t - 1/2)\, r^{3/4}$", ylabel=r"$r^{5/4} I$ (nats)", title="Collapse with ν = 4/3", xlim=(-1.3, 0.9)
    )
    right.set(yscale="log", ylim=(1e-3, 3))
    right.locator_params(axis="x", nbins=6)
    right.legend(frameon=False, fontsize=8)
    return fig


EXPERIMENT = NamedExperiment(NAME, "Loops under erasure: transition at t* = 1/2", specs, analyse, figure)
