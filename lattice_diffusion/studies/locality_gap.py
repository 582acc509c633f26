"""The locality gap D(t, r): what local scores miss, beside the CMI that bounds it and that it integrates to.

D^2 <= (4/sigma^2) sqrt(I) for one site; Tweedie: MSE_local - MSE_global = (sigma^4/alpha^2) D^2; de Bruijn: extra noise
of variance u on A alone changes I at the rate -D^2/2, so that I = 1/2 int D(u)^2 du. Learned denoisers of radius r
stand on the exact curves, but for their own errors.
"""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .. import plots
from ..models.domain_walls import SIGMA_STAR
from ..phases import peak_time
from ..results import Row, grids, variable
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment, pooled_z

NAME = "locality-gap"
T_STAR = SIGMA_STAR / (1 + SIGMA_STAR)
CRITICAL = 1  # index of beta = 0.44, the curves that are drawn
LARGE = 1e-3  # a gap worth comparing
IDENTITIES = (
    ("tweedie", "gap", "D^2 from squared errors (Tweedie)", "exact D^2, one site integrated"),
    ("de_bruijn", "slope", "D^2 from squared errors (de Bruijn)", "-2 dI/du of the exact CMI, finite differences"),
    ("integral", "cmi", "1/2 int D(u)^2 du from squared errors", "exact CMI"),
)


def specs(preset: str) -> Spec:
    full = preset == "full"
    channel = {"name": "gaussian"}
    t = [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.94, 0.97]
    near = [round(T_STAR + x, 4) for x in (-0.24, -0.18, -0.14, -0.1, -0.07, -0.035, 0.0, 0.04, 0.08, 0.14, 0.22, 0.32)]
    gap = {"channel": channel, "quantity": "locality_gap", "t": t}
    ising = {"name": "ising", "length": 11 if full else 9}
    return Spec(
        name=NAME,
        grids={
            "ising": {
                **gap,
                "model": {**ising, "beta": [0.3, 0.44, 0.6]},
                "radii": [1, 2, 3, 4] if full else [1, 2, 3],
                "n_samples": 40000 if full else 8000,
            },
            "field": {
                **gap,
                "model": {
                    "name": "gaussian-field",
                    "length": 24 if full else 16,
                    "periodic": True,
                    "mass_squared": 0.04,
                },
                "radii": [1, 2, 3, 4],
                "n_samples": 40000,
            },
            "loops": {
                **gap,
                "t": near,
                "model": {"name": "domain-walls", "length": 24 if full else 16, "beta": 0.0},
                "radii": [1, 2, 3, 5],
                "n_samples": 4000 if full else 800,
            },
            "learned": {
                "model": {**ising, "beta": [0.3, 0.44, 0.6] if full else [0.44, 0.6]},
                "channel": channel,
                "t": [1.0],
                "quantity": "learned_gap",
                "radii": [1, 2, 3] if full else [1, 2],
                "n_samples": 20000 if full else 2000,
                "settings": {
                    "times": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
                    **({"train_steps": 3000, "batch_size": 96, "width": 48} if full else {"train_steps": 450}),
                },
            },
        },
    )


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for name in ("ising", "field", "loops"):
        grid = grids(result)[name]
        analysis.variables[name] = derived(grid)
        analysis.rows.extend(_rows(name, grid.assign(analysis.variables[name])))
    analysis.rows.extend(_learned(grids(result)["learned"]))
    return analysis


def derived(grid: dict[str, xr.Variable]) -> dict[str, xr.Variable]:
    """D^2 in units of its bound, and the times at which I and D^2 are largest; NaN where a peak is not bracketed."""
    cmi, gap, t = grid["cmi"], grid["gap"], grid["t"].values
    sigma = t[:, None]  # linear schedule
    bound = 4.0 / sigma**2 * np.sqrt(cmi.values)
    ratio = np.divide(gap.values, bound, out=np.zeros_like(bound), where=bound > 0.0)
    relative = np.divide(grid["gap_stderr"].values, gap.values, out=np.zeros_like(bound), where=gap.values > 0.0)
    variables = {
        "bound_ratio": variable(gap.dims, ratio, "1", "D^2 / (4 sqrt(I) / sigma^2), at most 1"),
        "bound_ratio_stderr": variable(gap.dims, ratio * relative, "1", "standard error of bound_ratio, from D^2"),
    }
    dims = tuple(dim for dim in gap.dims if dim != "t")
    for name, what in (("cmi", "I"), ("gap", "D^2")):
        values, stderr = (np.moveaxis(grid[key].values, -2, -1) for key in (name, f"{name}_stderr"))
        peak, error = np.full(values.shape[:-1], np.nan), np.full(values.shape[:-1], np.nan)
        for index in np.ndindex(*peak.shape):
            found = peak_time(t, values[index], stderr[index] if stderr[index].any() else None)
            if found is not None:
                peak[index], error[index] = found.value, found.stderr
        variables[f"{name}_peak"] = variable(dims, peak, "1", f"time at which {what} is largest")
        variables[f"{name}_peak_stderr"] = variable(dims, error, "1", f"standard error of {name}_peak")
    return variables


def _rows(name: str, grid: dict[str, xr.Variable]) -> list[Row]:
    betas = grid["beta"].values if "beta" in grid else [None]
    rows = []
    for k, beta in enumerate(betas):
        at = {
            key: v.values[k] if beta is not None and v.dims[:1] == ("beta",) else v.values
            for key, v in grid.variables.items()
        }
        what = name if beta is None else f"{name} beta = {beta:g}"
        top = int(np.argmax(at["gap"][:, 0]))
        for residual, exact, label, source in IDENTITIES:
            truth, left, error = (at[key][top, 0] for key in (exact, residual, f"{residual}_stderr"))
            place = f"{what}, t = {grid['t'].values[top]:g}, r = 1"
            rows.append(Row(NAME, f"{label}, {place}", float(truth), float(truth + left), float(error), source))
        for r in (0, 1):
            shift = at["gap_peak"][r] - at["cmi_peak"][r]
            if np.isfinite(shift):
                error = float(np.hypot(at["gap_peak_stderr"][r], at["cmi_peak_stderr"][r]))
                label = (
                    f"peak of D^2 (t = {at['gap_peak'][r]:.3f}) less peak of I, {what}, r = {grid['radius'].values[r]}"
                )
                rows.append(Row(NAME, label, None, float(shift), error, "same samples; errors as if independent"))
    worst = np.unravel_index(int(np.argmax(grid["bound_ratio"].values)), grid["bound_ratio"].values.shape)
    largest, error = (float(grid[key].values[worst]) for key in ("bound_ratio", "bound_ratio_stderr"))
    rows.append(Row(NAME, f"largest D^2 / bound, {name}", None, largest, error, "at most 1: D^2 <= 4 sqrt(I)/sigma^2"))
    seen = grid["gap"].values > LARGE
    slope = grid["slope"].values[seen] / grid["gap"].values[seen]
    odd = float(slope[np.argmax(np.abs(slope - 1.0))])
    rows.append(Row(NAME, f"-2 (dI/du) / D^2, farthest from 1, {name}", 1.0, odd, 0.0, "de Bruijn, sample by sample"))
    return rows


def _learned(grid: dict[str, xr.Variable]) -> list[Row]:
    gap, excess = grid["gap"].values[:, 0], grid["excess"].values[:, 0]
    z2 = pooled_z(excess[..., 0], grid["excess_stderr"].values[:, 0, :, 0], np.zeros_like(excess[..., 0]))
    source = "a function of the box is orthogonal to what the box lacks"
    rows = [Row(NAME, "D_learned^2 = D^2 + error, r = 1: mean of z^2", 1.0, z2.value, z2.stderr, source)]
    for name, what in (("learned_gap", "exact"), ("network_gap", "learned")):
        learned, stderr = grid[name].values[:, 0], grid[f"{name}_stderr"].values[:, 0]
        for k, r in enumerate(grid["radius"].values):
            for b, beta in enumerate(grid["beta"].values):
                top = int(np.argmax(gap[b, :, k]))
                ratio, error = (float(values[b, top, k] / gap[b, top, k]) for values in (learned, stderr))
                label = (
                    f"learned D^2 / exact, beta = {beta:g}, t = {grid['time'].values[top]:g}, r = {r} to {what} global"
                )
                rows.append(Row(NAME, label, None, ratio, error, "1 for perfect learning"))
            seen = gap[..., k] > LARGE
            off = float(np.abs(learned[..., k][seen] / gap[..., k][seen] - 1.0).max())
            label = f"largest |learned D^2 / exact - 1| where D^2 > {LARGE:g}, r = {r} to {what} global"
            rows.append(Row(NAME, label, None, off, 0.0, "0 for perfect learning; largest at small t"))
    return rows


def figure(result: xr.DataTree) -> Any:
    import matplotlib.pyplot as plt

    fig, ((left, middle), (third, right)) = plt.subplots(2, 2, figsize=(11.0, 8.2), layout="constrained")
    grid, learned = grids(result)["ising"], grids(result)["learned"]
    t, radii = grid["t"].values, grid["radius"].values
    at = int(np.flatnonzero(np.isclose(learned["beta"].values, grid["beta"].values[CRITICAL]))[0])
    for ax, name, label in ((left, "gap", r"$D^2$"), (middle, "cmi", r"$I_t(A;C|B)$ (nats)")):
        for k, r in enumerate(radii):
            values, stderr = grid[name].values[CRITICAL, :, k], grid[f"{name}_stderr"].values[CRITICAL, :, k]
            ax.plot(t, values, color=plots.COLORS[k], lw=1.5, label=f"r = {r}")
            ax.fill_between(t, (values - stderr).clip(1e-300), values + stderr, color=plots.COLORS[k], alpha=0.3, lw=0)
            _mark_peaks(ax, grid, k, np.interp(grid[f"{name}_peak"].values[CRITICAL, k], t, values), name)
        ax.set(xlabel="time t", ylabel=label, yscale="log", ylim=(1e-6, 3 * grid[name].values[CRITICAL].max()))
    for k in range(learned["radius"].values.size):
        values, stderr = (learned[key].values[at, 0, :, k] for key in ("learned_gap", "learned_gap_stderr"))
        plots.curve(left, k, learned["time"].values, values, stderr, "learned" if k == 0 else None)
    left.set(title=f"Ising, β = {grid['beta'].values[CRITICAL]:g}")
    middle.set(title="Its CMI; stars: peaks of either")
    left.legend(frameon=False, fontsize=8, loc="lower center")
    middle.legend(frameon=False, fontsize=8)
    for k, (name, index, label) in enumerate(_curves(result)):
        group = grids(result)[name]
        x, y, stderr = (_pick(group[key], index) for key in ("t", "bound_ratio", "bound_ratio_stderr"))
        plots.curve(third, k, x, y, stderr, label)
        x, dx, left_over = (_pick(group[key], index) for key in ("cmi", "integral_stderr", "integral"))
        right.errorbar(
            *(x, x + left_over, dx),
            **{"color": plots.COLORS[k], "marker": plots.MARKERS[k], "ms": 4, "lw": 0, "elinewidth": 1, "label": label},
        )
    third.axhline(1.0, color="k", lw=1.5)
    third.set(xlabel="time t", ylabel=r"$D^2 \sigma^2 / 4\sqrt{I}$", yscale="log", ylim=(1e-4, 40))
    third.set(title="The bound (black), r = 1")
    third.legend(frameon=False, fontsize=8, loc="upper center", ncols=3)
    ends = np.array([1e-4, 0.3])
    right.plot(ends, ends, "k", lw=1.5)
    right.set(
        xlabel="exact CMI, r = 1 (nats)", ylabel=r"$\frac{1}{2}\int D(u)^2\,du$ (nats)", xscale="log", yscale="log"
    )
    right.set(xlim=ends, ylim=ends, title="CMI from squared errors; black: equal")
    right.legend(frameon=False, fontsize=8)
    return fig


def _mark_peaks(ax: Any, grid: dict[str, xr.Variable], k: int, height: float, name: str) -> None:
    x, error = (grid[f"{name}_peak{suffix}"].values[CRITICAL, k] for suffix in ("", "_stderr"))
    ax.errorbar(x, height, xerr=error, color=plots.COLORS[k], marker="*", ms=10, mec="k", mew=0.6, zorder=5)


def _curves(result: xr.DataTree) -> list[tuple[str, int | None, str]]:
    betas = grids(result)["ising"]["beta"].values
    return [
        *(("ising", k, f"Ising β = {beta:g}") for k, beta in enumerate(betas)),
        ("field", None, "field"),
        ("loops", None, "loops"),
    ]


def _pick(variable: xr.Variable, index: int | None) -> NDArray[np.float64]:
    """At one beta, if there are several, and at the first radius."""
    values = variable.values[index] if index is not None and variable.dims[:1] == ("beta",) else variable.values
    return values[..., 0] if "radius" in variable.dims else values


EXPERIMENT = NamedExperiment(NAME, "Locality gap: local against global scores", specs, analyse, figure)
