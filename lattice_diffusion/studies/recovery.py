"""Noise to T_f, return with denoisers of radius r: the recovery error over (T_f, r), where locality suffices and fails.

Fields: KL per site, exact. Ising below, at and above beta_c: distance of the law of 2x2 patches. Loops under erasure,
unmasked bond by bond: KL per bond, which must equal the area under the rate mean_i I_t(A_i;C|B)/(1-t) up to T_f; its
steepest rise marches to t* = 1/2. Loops under Gaussian noise: broken vertices. Each by exact denoisers, and by networks
that `recovery_learned` puts beside them, for loops on a smaller grid.
"""

from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..estimate import Estimate
from ..models.domain_walls import SIGMA_STAR
from ..phases import peak_time
from ..results import Row, grids
from ..runs.spec import Spec
from . import recovery_learned
from .base import Analysis, NamedExperiment, estimates, pooled_z
from .recovery_learned import STARTS, mark, mark_small

NAME = "recovery"
T_STAR = SIGMA_STAR / (1 + SIGMA_STAR)
AREA_STOP = 0.6  # T_f at which the area law is checked


def _area_nodes(n: int) -> tuple[list[float], np.ndarray]:
    """Gauss-Legendre times and weights on [0, AREA_STOP]; the rate of a finite grid is a polynomial in t."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return [round(float(0.5 * AREA_STOP * (x + 1)), 12) for x in nodes], 0.5 * AREA_STOP * weights


def specs(preset: str) -> Spec:
    full = preset == "full"
    gaussian, erasure = {"name": "gaussian"}, {"name": "erasure"}
    length, faces = (10, 12) if full else (7, 10)
    side = 16 if full else 10
    loops = {"name": "domain-walls", "length": 64, "beta": 0.0}
    radii = [1, 2, 4, 8, 16] if full else [1, 2, 4, 8]
    exact: dict[str, dict[str, Any]] = {
        "field": {
            "model": {"name": "gaussian-field", "length": side, "periodic": True, "mass_squared": 0.04},
            "channel": gaussian,
            "t": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97],
            "radii": [1, 2, 3, 4, side],
            "quantity": "recovery",
            "settings": {"n_steps": 200 if full else 100},
        },
        "ising": {
            "model": {"name": "ising", "length": length, "beta": [0.3, 0.44, 0.6]},
            "channel": gaussian,
            "t": sorted({*STARTS, *((0.2, 0.4, 0.6, 0.8, 0.95) if full else ())}),
            "radii": [1, 2, 3, length] if full else [1, 2, length],
            "n_samples": 2000 if full else 300,
            "quantity": "recovery",
            "settings": {"n_steps": 60},
        },
        "erased": {
            "model": loops,
            "channel": erasure,
            "t": {"start": 0.2, "stop": 0.8, "num": 31 if full else 13},
            "radii": radii,
            "n_samples": 200 if full else 20,
            "quantity": "unmasking",
        },
        "erased-rate": {
            "model": loops,
            "channel": erasure,
            "t": _area_nodes(16 if full else 10)[0],
            "radii": radii,
            "n_samples": 200 if full else 20,
            "quantity": "denoising",
        },
        "erased-small": {
            "model": {**loops, "length": 6},
            "channel": erasure,
            "t": list(STARTS),
            "radii": [1],
            "n_samples": 10000 if full else 2000,
            "quantity": "unmasking",
        },
        "loops-gaussian": {
            "model": {**loops, "length": faces},
            "channel": gaussian,
            "t": [0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8] if full else [0.3, 0.4, 0.5, 0.6, 0.75],
            "radii": [1, 2, 3, faces],
            "n_samples": 500 if full else 100,
            "quantity": "recovery",
            "settings": {"n_steps": 60 if full else 30},
        },
        "loops-small": {
            "model": {**loops, "length": 6},
            "channel": gaussian,
            "t": list(STARTS),
            "radii": [1],
            "n_samples": 2000 if full else 400,
            "quantity": "recovery",
            "settings": {"n_steps": 60 if full else 30},
        },
    }
    return Spec(name=NAME, grids={**exact, **recovery_learned.learned_grids(exact, full=full)})


def analyse(result: xr.DataTree) -> Analysis:
    found = steepest(grids(result)["erased"])
    name = "time at which the KL of the recovered loops rises fastest"
    analysis = Analysis({"erased": estimates(("radius",), "steepest_time", found, "1", name)})
    analysis.rows.extend([*_field(result), *_ising(result), *_erased(result, found), *_loops(result)])
    analysis.rows.extend(recovery_learned.learned_rows(NAME, result))
    return analysis


def steepest(grid: dict[str, xr.Variable]) -> list[Estimate | None]:
    """Peak of the slope of KL(T_f) between neighbouring T_f, per radius."""
    t, kl, stderr = grid["t"].values, grid["divergence"].values, grid["divergence_stderr"].values
    slope, error = np.diff(kl, axis=0), np.hypot(stderr[1:], stderr[:-1])
    return [peak_time(0.5 * (t[1:] + t[:-1]), slope[:, k], error[:, k]) for k in range(kl.shape[1])]


def _field(result: xr.DataTree) -> list[Row]:
    grid = grids(result)["field"]
    error, t, radii = grid["error"].values, grid["t"].values, grid["radius"].values
    source = "closed form; the global denoiser's 0 but for the finite steps"
    rows = [
        Row(NAME, f"field, KL per site, T_f = {t[-1]:g}, r = {r}", None, float(error[-1, k]), 0.0, source)
        for k, r in enumerate(radii[:-1])
    ]
    rows.append(Row(NAME, f"field, KL per site, T_f = {t[-1]:g}, global", 0.0, float(error[-1, -1]), 0.0, source))
    return rows


def _ising(result: xr.DataTree) -> list[Row]:
    grid, rows = grids(result)["ising"], []
    source = "the global denoiser recovers the law: 0, but for the finite steps"
    for key, what in (("error", "patch error"), ("energy_change", "energy change"), ("order_change", "m^2 change")):
        values, stderr = grid[key].values[..., -1], grid[f"{key}_stderr"].values[..., -1]
        worst = np.unravel_index(int(np.argmax(np.abs(values / stderr))), values.shape)
        place = f"beta = {grid['beta'].values[worst[0]]:g}, T_f = {grid['t'].values[worst[1]]:g}"
        label = f"Ising, global, {what}, farthest from 0 of {values.size} ({place})"
        rows.append(Row(NAME, label, 0.0, float(values[worst]), float(stderr[worst]), source))
    for k, beta in enumerate(grid["beta"].values):
        for j in (0, -1):
            label = f"Ising beta = {beta:g}, r = 1, patch error, T_f = {grid['t'].values[j]:g}"
            value, spread = float(grid["error"].values[k, j, 0]), float(grid["error_stderr"].values[k, j, 0])
            rows.append(Row(NAME, label, None, value, spread, "small in the data phase, large across the transition"))
    return rows


def _erased(result: xr.DataTree, found: list[Estimate | None]) -> list[Row]:
    grid, rate = grids(result)["erased"], grids(result)["erased-rate"]
    times, weights = _area_nodes(rate["t"].values.size)
    assert np.allclose(times, rate["t"].values)
    j = int(np.argmin(np.abs(grid["t"].values - AREA_STOP)))
    rows = []
    for k, r in enumerate(grid["radius"].values):
        area = float(weights @ rate["blind_divergence"].values[:, k])
        spread = float(np.linalg.norm(weights * rate["blind_divergence_stderr"].values[:, k]))
        value, stderr = float(grid["divergence"].values[j, k]), float(grid["divergence_stderr"].values[j, k])
        label = f"erased loops, KL per bond, T_f = {AREA_STOP:g}, r = {r}"
        rows.append(Row(NAME, label, area, value, float(np.hypot(stderr, spread)), "area under mean_i I_t/(1-t)"))
    for r, peak in zip(grid["radius"].values, found, strict=True):
        if peak is not None:
            label = f"erased loops, T_f of the steepest error, r = {r}"
            rows.append(Row(NAME, label, 0.5, peak.value, peak.stderr, "t* = 1/2, Kesten (1980); asymptotic in r"))
    return rows


def _loops(result: xr.DataTree) -> list[Row]:
    grid = grids(result)["loops-gaussian"]
    t, broken, stderr = grid["t"].values, grid["error"].values, grid["error_stderr"].values
    label = "loops, Gaussian noise, broken vertices, global, all T_f"
    rows = [Row(NAME, label, 0.0, float(broken[:, -1].max()), 0.0, "the global denoiser knows every vertex: 0")]
    rows += [
        Row(
            NAME,
            f"loops, Gaussian noise, broken vertices, r = 1, T_f = {t[j]:g}",
            None,
            float(broken[j, 0]),
            float(stderr[j, 0]),
            f"rises across t* = {T_STAR:.3f}",
        )
        for j in (0, -1)
    ]
    bonds, error = grid["energy_change"].values[:, -1], grid["energy_change_stderr"].values[:, -1]
    z2 = pooled_z(bonds, error, np.zeros_like(bonds))
    rows.append(
        Row(NAME, "loops, global, bond change: mean of z^2", 1.0, z2.value, z2.stderr, "the law is recovered: 1")
    )
    return rows


def figure(result: xr.DataTree) -> Any:
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(2, 3, figsize=(14.4, 7.8), layout="constrained")
    groups = grids(result)
    for k, (ax, beta) in enumerate(zip(axes[0], groups["ising"]["beta"].values, strict=True)):
        _curves(ax, groups["ising"], "error", k)
        mark(ax, groups["learned"], k)
        ax.axhline(0.0, color="k", lw=1)
        ax.set(ylabel=r"patch error $\frac{1}{2}\chi^2$ (nats)", title=f"Ising, β = {beta:g}")
        ax.set_yscale("symlog", linthresh=2e-3)
        ax.set_ylim(-2e-3, 0.6)
    _curves(axes[1, 0], groups["field"], "error")
    mark(axes[1, 0], groups["learned-field"])
    axes[1, 0].axhline(0.0, color="k", lw=1)
    axes[1, 0].set(ylabel="KL per site (nats)", title="Gaussian field, m² = 0.04")
    axes[1, 0].set_yscale("symlog", linthresh=1e-5)  # learned errors are below zero by chance
    axes[1, 0].set_ylim(-3e-4, 0.1)
    _curves(axes[1, 1], groups["erased"], "divergence", last_global=False)
    mark_small(axes[1, 1], groups["erased-small"], groups["learned-erased"], "divergence")
    _curves(axes[1, 2], groups["loops-gaussian"], "error")
    mark_small(axes[1, 2], groups["loops-small"], groups["learned-loops"], "error")
    axes[1, 1].set(ylabel="KL per bond (nats)", yscale="log", title="Erased loops, L = 64; black: t* = 1/2")
    axes[1, 2].set(ylabel="fraction of broken vertices", title=f"Loops, Gaussian noise; black: t* = {T_STAR:.3f}")
    axes[1, 1].axvline(0.5, color="k", lw=1.5)
    axes[1, 2].axvline(T_STAR, color="k", lw=1.5)
    for ax in axes.flat:
        ax.set_xlabel("noise up to $T_f$")
        ax.legend(frameon=False, fontsize=8, loc="upper left" if ax is axes[1, 2] else "best")
    return fig


def _curves(
    ax: Any, grid: dict[str, xr.Variable], name: str, first: int | None = None, *, last_global: bool = True
) -> None:
    """Every radius against T_f; the last one is the global denoiser, in black."""
    values, stderr = (grid[key].values for key in (name, f"{name}_stderr"))
    if first is not None:
        values, stderr = values[first], stderr[first]
    radii = grid["radius"].values
    for k, r in enumerate(radii):
        black = last_global and k == len(radii) - 1
        color, label = ("k", "global") if black else (plots.COLORS[k], f"r = {r}")
        ax.errorbar(
            *(grid["t"].values, values[:, k], stderr[:, k]),
            **{"color": color, "marker": plots.MARKERS[k], "ms": 4, "lw": 1, "elinewidth": 1, "capsize": 1.5},
            label=label,
        )


EXPERIMENT = NamedExperiment(NAME, "Recovery: noise to T_f and back with radius r", specs, analyse, figure)
