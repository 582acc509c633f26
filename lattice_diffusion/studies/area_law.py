"""What locality costs a generator, exactly: the two area laws as measured equalities.

    masked diffusion    KL(p_0 || p_local) = sum_i int dt I_t(A_i;C|B) / (1 - t), mean over orders of unmasking
    Gaussian diffusion  KL(p_0 || p_local) <= 1/2 int d(snr) sum_i [mmse_i local - mmse_i global]

Small systems are done in full, loops of any size by counting. For loops the area falls as r^(-2): the peak of the CMI,
r^(-5/4), times the width of the window, r^(-3/4).
"""

import math
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .. import plots
from ..phases import power_law
from ..results import Row, grids, variable
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment

NAME = "area-law"
LAW = "masked area law, exact by the chain rule"
GIRSANOV = "Girsanov: at most 1"
WINDOW = "peak r^(-5/4) times width r^(-3/4) (expected)"
SMALL = {
    "chain": ("chain of 6, beta = 0.7", {"name": "ising-chain", "length": 6, "beta": 0.7}),
    "ising": ("Ising 2 x 3, beta = 0.44", {"name": "ising", "shape": [2, 3], "beta": 0.44}),
    "walls": ("walls on 2 x 3 faces, beta = 0.3", {"name": "domain-walls", "faces": [2, 3], "beta": 0.3}),
}
FIRST_RADIUS = 11  # of the power law; smaller boxes feel the lattice, those beyond L/12 the edges


def specs(preset: str) -> Spec:
    full = preset == "full"
    erasure, loops = {"name": "erasure"}, {"name": "domain-walls", "beta": 0.0}
    nodes = (np.polynomial.legendre.leggauss(32 if full else 24)[0] + 1) / 2
    radii = [1, 2, 3, 4, 6, 8, 11, 16]
    grids: dict[str, Any] = {
        "loops-area": {
            "model": {**loops, "length": 64},
            "channel": erasure,
            "t": [float(t) for t in nodes],
            "radii": radii,
            "n_samples": 400 if full else 16,
            "quantity": "denoising",
        },
        "loops-unmasked": {
            "model": {**loops, "length": 64},
            "channel": erasure,
            "t": [1.0],
            "radii": radii,
            "n_samples": 4000 if full else 200,
            "quantity": "unmasking",
        },
        "large-loops": {
            "model": {**loops, "length": 1024 if full else 320},
            "channel": erasure,
            "t": [1.0],
            "radii": [2, 4, 8, 11, 16, 22, *([32, 45, 64] if full else [])],
            "n_samples": 40 if full else 8,
            "quantity": "unmasking",
        },
        "field": {
            "model": {"name": "gaussian-field", "length": 16 if full else 12, "mass_squared": [0.03, 0.1, 0.3]},
            "channel": {"name": "gaussian"},
            "t": [1.0],
            "radii": [1, 2, 3, 4],
            "quantity": "generated_law",
            "settings": {"n_steps": 600 if full else 200},
        },
        "spins": {
            "model": {"name": "ising", "shape": [3, 3], "beta": 0.25},
            "channel": {"name": "gaussian"},
            "t": [1.0],
            "radii": [0, 1],
            "n_samples": 1000000 if full else 50000,
            "quantity": "generated_law",
            "settings": {"n_steps": 200 if full else 40},
        },
    }
    for name, (_, model) in SMALL.items():
        small = {"model": model, "channel": erasure, "t": [1.0], "radii": [0, 1, 2]}
        grids[name] = {**small, "n_samples": 4000 if full else 400, "quantity": "masked_area"}
    return Spec(name=NAME, grids=grids)


def loop_area(result: xr.DataTree) -> tuple[NDArray, NDArray]:
    """int dt E KL(global || local) of a masked bond for every radius, and its error, by Gauss and Legendre."""
    grid = grids(result)["loops-area"]
    weights = np.polynomial.legendre.leggauss(grid["t"].values.size)[1] / 2
    area = weights @ grid["blind_divergence"].values
    return area, np.sqrt(weights**2 @ grid["blind_divergence_stderr"].values ** 2)


def analyse(result: xr.DataTree) -> Analysis:
    area, error = loop_area(result)
    analysis = Analysis(
        {
            "loops-unmasked": {
                "area": variable(("radius",), area, "nat", "integral of I_t(A;C|B)/(1-t) over t, mean over bonds"),
                "area_stderr": variable(("radius",), error, "nat", "standard error of area"),
            }
        }
    )
    loops, large = grids(result)["loops-unmasked"], grids(result)["large-loops"]
    for k, radius in enumerate(loops["radius"].values):
        if radius in (1, 4, 16):
            kl, kl_error = loops["divergence"].values[0, k], loops["divergence_stderr"].values[0, k]
            ratio = kl / area[k]
            spread = ratio * math.hypot(kl_error / kl, error[k] / area[k])
            analysis.rows.append(Row(NAME, f"KL / area, loops L = 64, r = {radius}", 1.0, ratio, spread, LAW))
    keep = large["radius"].values >= FIRST_RADIUS
    law = power_law(
        large["radius"].values[keep], large["divergence"].values[0, keep], large["divergence_stderr"].values[0, keep]
    )
    label = f"exponent of KL(r), loops, r = {FIRST_RADIUS}..{large['radius'].values[-1]}"
    analysis.rows.append(Row(NAME, label, -2.0, law.exponent.value, law.exponent.stderr, WINDOW))
    for name, (title, _) in SMALL.items():
        grid = grids(result)[name]
        kl, stderr, area = (grid[key].values[0, 1] for key in ("divergence", "divergence_stderr", "area"))
        analysis.rows.append(Row(NAME, f"KL / area, {title}, r = 1", 1.0, kl / area, stderr / area, LAW))
    field, spins = grids(result)["field"], grids(result)["spins"]
    worst = (field["divergence"].values / field["bound"].values).max()
    analysis.rows.append(Row(NAME, "largest KL / Girsanov bound, field", None, worst, 0.0, GIRSANOV))
    for k, radius in enumerate(spins["radius"].values):
        kl, bound = spins["divergence"].values[0, k], spins["bound"].values[0, k]
        errors = spins["divergence_stderr"].values[0, k] / kl, spins["bound_stderr"].values[0, k] / bound
        label = f"KL / Girsanov bound, Ising 3 x 3, r = {radius}"
        analysis.rows.append(Row(NAME, label, None, kl / bound, kl / bound * math.hypot(*errors), GIRSANOV))
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.8)
    loops, large = grids(result)["loops-unmasked"], grids(result)["large-loops"]
    radii = loops["radius"].values
    left.plot(radii, loops["area"].values, color="k", lw=1.5, label="area under the CMI, L = 64")
    named = ((0, loops, "KL as generated, L = 64"), (1, large, f"L = {_side(result)}"))
    for k, grid, label in named:
        plots.curve(
            left, k, grid["radius"].values, grid["divergence"].values[0], grid["divergence_stderr"].values[0], label
        )
    broken = loops["violations"].values[0], loops["violations_stderr"].values[0]
    plots.curve(left, 2, radii, *broken, "broken loops per vertex")
    guide = large["radius"].values[2:]
    left.plot(
        guide, 0.4 * large["divergence"].values[0, 2] * (guide / guide[0]) ** -2.0, "k--", lw=1, label=r"$r^{-2}$"
    )
    left.set(
        xscale="log", yscale="log", xlabel="radius r", ylabel="nats per bond", title="Loops, unmasked bond by bond"
    )
    left.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    left.minorticks_off()
    left.legend(frameon=False, fontsize=8)

    for k, (name, (title, _)) in enumerate(SMALL.items()):
        grid = grids(result)[name]
        area, kl, error = (grid[key].values[0] for key in ("area", "divergence", "divergence_stderr"))
        seen = kl > 0
        plots.curve(middle, k, area[seen], kl[seen], error[seen], title)
    low, high = middle.get_xlim()
    line = np.geomspace(max(low, 1e-5), max(high, 0.5), 2)
    middle.plot(line, line, "k", lw=1)
    middle.set(xscale="log", yscale="log", xlabel="area under the CMI (nats per site)")
    middle.set(ylabel=r"KL$(p_0\,\|\,p_{local})$ (nats per site)", title="Masked, over all states; r = 0, 1, 2")
    middle.legend(frameon=False, fontsize=8)

    field, spins = grids(result)["field"], grids(result)["spins"]
    for k, mass in enumerate(field["mass_squared"].values):
        kl = field["divergence"].values[k, 0]
        plots.curve(right, k, field["bound"].values[k, 0], kl, np.zeros_like(kl), f"field, m² = {mass:g}")
    plots.curve(
        right,
        3,
        spins["bound"].values[0],
        spins["divergence"].values[0],
        spins["divergence_stderr"].values[0],
        "Ising 3 x 3",
    )
    line = np.geomspace(1e-5, 1.0, 2)
    right.plot(line, line, "k", lw=1)
    right.set(xscale="log", yscale="log", xlabel="Girsanov bound (nats per site)")
    right.set(ylabel=r"KL$(p_0\,\|\,p_{local})$ (nats per site)", title="Gaussian noise: below the line")
    right.legend(frameon=False, fontsize=8)
    return fig


def _side(result: xr.DataTree) -> int:
    import json

    spec = json.loads(str(result.attrs["parameters"]))
    return int(spec["grids"]["large-loops"]["model"]["length"])


EXPERIMENT = NamedExperiment(NAME, "Area laws: what a local generator costs", specs, analyse, figure)
