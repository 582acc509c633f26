"""The locality gap D(t, r): what local scores miss, beside the CMI that bounds it and that it integrates to.

D^2 <= (4/sigma^2) sqrt(I) for one site; Tweedie: MSE_local - MSE_global = (sigma^4/alpha^2) D^2; de Bruijn: extra noise
of variance u on A alone changes I at the rate -D^2/2, so that I = 1/2 int D(u)^2 du. Learned denoisers of radius r
stand on the exact curves, but for their own errors.
"""

from typing import Any

import numpy as np
import xarray as xr

from ... import plots
from ...estimate import Estimate
from ...models.domain_walls import SIGMA_STAR
from ...results import Row, grids, variable
from ...runs.points import peak_times
from ..base import Analysis, Study, Variables, grid, measured, pooled_z, row, rows_of

NAME = "locality-gap"
T_STAR = SIGMA_STAR / (1 + SIGMA_STAR)
CRITICAL = 0.44  # beta of the curves that are drawn
LARGE = 1e-3  # a gap worth comparing
IDENTITIES = (
    ("tweedie", "gap", "D^2 from squared errors (Tweedie)", "exact D^2, one site integrated"),
    ("de_bruijn", "slope", "D^2 from squared errors (de Bruijn)", "-2 dI/du of the exact CMI, finite differences"),
    ("integral", "cmi", "1/2 int D(u)^2 du from squared errors", "exact CMI"),
)


def wanted(full: bool) -> dict[str, Any]:
    t = [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.94, 0.97]
    near = [round(T_STAR + x, 4) for x in (-0.24, -0.18, -0.14, -0.1, -0.07, -0.035, 0.0, 0.04, 0.08, 0.14, 0.22, 0.32)]
    betas, gap = [0.3, CRITICAL, 0.6], {"quantity": "locality_gap"}
    ising = {"name": "ising", "length": 11 if full else 9}
    field = {"name": "gaussian-field", "length": 24 if full else 16, "periodic": True, "mass_squared": 0.04}
    loops = {"name": "domain-walls", "length": 24 if full else 16, "beta": 0.0}
    exact = {"t": t, "radii": [1, 2, 3, 4] if full else [1, 2, 3], "n_samples": 40000 if full else 2000, **gap}
    broken = {"t": near, "radii": [1, 2, 3, 5], "n_samples": 4000 if full else 250, **gap}
    training = {"train_steps": 3000, "batch_size": 96, "width": 48} if full else {"train_steps": 120, "width": 24}
    learned = {
        "quantity": "learned_gap",
        "radii": [1, 2, 3] if full else [1, 2],
        "n_samples": 20000 if full else 500,
        "settings": {"times": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], **training},
    }
    return {
        "ising": grid({**ising, "beta": betas}, "gaussian", **exact),
        "field": grid(field, "gaussian", t=t, radii=[1, 2, 3, 4], n_samples=40000 if full else 5000, **gap),
        "loops": grid(loops, "gaussian", **broken),
        "learned": grid({**ising, "beta": betas if full else [CRITICAL]}, "gaussian", **learned),
    }


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for name in ("ising", "field", "loops"):
        data = grids(result)[name]
        analysis.variables[name] = derived(data)
        analysis.rows.extend(_rows(name, data.assign(analysis.variables[name])))
    analysis.rows.extend(_learned(grids(result)["learned"]))
    return analysis


def derived(data: xr.Dataset) -> Variables:
    """Return D^2 in units of its bound, and the times at which it is largest; NaN if not bracketed."""
    cmi, gap, sigma = data["cmi"].values, data["gap"].values, data["t"].values[:, None]  # linear schedule
    bound = 4.0 / sigma**2 * np.sqrt(cmi)
    share = np.divide(gap, bound, out=np.zeros_like(bound), where=bound > 0.0)
    relative = np.divide(data["gap_stderr"].values, gap, out=np.zeros_like(bound), where=gap > 0.0)
    what, dims = "standard error of bound_ratio, from D^2", data["gap"].dims
    return {
        "bound_ratio": variable(dims, share, "1", "D^2 / (4 sqrt(I) / sigma^2), at most 1"),
        "bound_ratio_stderr": variable(dims, share * relative, "1", what),
        **peak_times(data, "time at which D^2 is largest", "gap", "gap_peak_time"),
    }


def curves(name: str, data: xr.Dataset) -> dict[str, xr.Dataset]:
    """Return the curves of a grid over (t, radius) by their names, one for each beta."""
    if "beta" not in data.dims:
        return {name: data}
    return {f"{name} beta = {beta:g}": data.isel(beta=k) for k, beta in enumerate(data["beta"].values)}


def _rows(name: str, data: xr.Dataset) -> list[Row]:
    rows, narrow = [], data.isel(radius=0)
    top = narrow.isel(t=narrow["gap"].argmax("t"))
    where = f"{name} beta = {{beta:g}}" if "beta" in data.dims else name
    for residual, exact, label, source in IDENTITIES:
        key, label = f"{residual}_stderr", f"{label}, {where}, t = {{t:g}}, r = 1"
        found = top.assign({residual: top[exact] + top[residual], key: top[key]})
        rows += rows_of(found, residual, label, top[exact], source, "exact")
    for what, curve in curves(name, data).items():
        for r in (0, 1):
            of_gap, of_cmi = (measured(curve.isel(radius=r), f"{key}peak_time") for key in ("gap_", ""))
            shift = Estimate(of_gap.value - of_cmi.value, float(np.hypot(of_gap.stderr, of_cmi.stderr)), 0)
            if np.isfinite(shift.value):
                label = f"peak of D^2 (t = {of_gap.value:.3f}) less peak of I, {what}, r = {curve['radius'].values[r]}"
                rows.append(row(label, shift, source="same samples; errors as if independent", t=of_gap.value))
    worst = data.isel(data["bound_ratio"].argmax(...))
    label, source = f"largest D^2 / bound, {name}", "at most 1: D^2 <= 4 sqrt(I)/sigma^2"
    rows.append(row(label, measured(worst, "bound_ratio"), source=source, t=float(worst["t"])))
    seen = data["gap"].values > LARGE
    slope = data["slope"].values[seen] / data["gap"].values[seen]
    odd = float(slope[np.argmax(np.abs(slope - 1.0))])
    label = f"-2 (dI/du) / D^2, farthest from 1, {name}"
    return [*rows, row(label, odd, 1.0, "de Bruijn, sample by sample, to finite differences", "exact")]


def _learned(data: xr.Dataset) -> list[Row]:
    narrow, gap = data.isel(radius=0), data["gap"]
    z2 = pooled_z(narrow["excess"], narrow["excess_stderr"], 0.0)
    source = "a function of the box is orthogonal to what the box lacks"
    rows = [row("D_learned^2 = D^2 + error, r = 1: mean of z^2", z2, 1.0, source, "exact")]
    top = data.isel(time=gap.argmax("time"))
    for name, what in (("learned_gap", "exact"), ("network_gap", "learned")):
        share = top.assign(share=top[name] / top["gap"], share_stderr=top[f"{name}_stderr"] / top["gap"])
        label = f"learned D^2 / exact, beta = {{beta:g}}, t = {{time:g}}, r = {{radius}} to {what} global"
        rows += rows_of(share, "share", label, 1.0, "1 for perfect learning", "learned")
        for r, off in zip(
            data["radius"].values, abs(data[name] / gap - 1.0).where(gap > LARGE).max(["beta", "time"]), strict=True
        ):
            label = f"largest |learned D^2 / exact - 1| where D^2 > {LARGE:g}, r = {r} to {what} global"
            rows.append(row(label, float(off), 0.0, "0 for perfect learning; largest at small t", "learned"))
    return rows


def figure(result: xr.DataTree) -> Any:
    fig, ((left, middle), (third, right)) = plots.new_figure(2, rows=2)
    data = grids(result)
    ising, learned = (data[name].sel(beta=CRITICAL, method="nearest") for name in ("ising", "learned"))
    for ax, name, ylabel in ((left, "gap", r"$D^2$"), (middle, "cmi", plots.CMI)):
        plots.curves(ax, ising, name, by="radius", log=True)
        for k in range(ising["radius"].size):
            curve = ising.isel(radius=k)
            peak = measured(curve, "peak_time" if name == "cmi" else "gap_peak_time")
            height = np.interp(peak.value, curve["t"], curve[name])
            plots.curve(ax, k, [peak.value], [height], None, marker="*", ms=12, mec="k", zorder=5)
        ax.set(ylabel=ylabel, ylim=(1e-6, None))
    for k in range(learned["radius"].size):
        one = learned.isel(radius=k)
        found = one["time"], one["learned_gap"], one["learned_gap_stderr"]
        plots.curve(left, k, *found, f"learned, r = {one['radius']:d}", mfc="white", ms=7)
    left.set(title=f"Locality gap, Ising, β = {float(ising['beta']):g}; stars: peaks")
    middle.set(title="Its CMI")
    shown = {
        label: curve.isel(radius=0)
        for name, title in (("ising", "Ising"), ("field", "field"), ("loops", "loops"))
        for label, curve in curves(title, data[name]).items()
    }
    for k, (name, curve) in enumerate(shown.items()):
        label = name.replace("beta", "β")
        plots.curves(third, curve, "bound_ratio", k=k, log=True, label=label)
        plots.curve(right, k, curve["cmi"], curve["cmi"] + curve["integral"], curve["integral_stderr"], label)
    third.axhline(1.0, color="k", lw=1.5)
    third.set(ylabel=r"$D^2 \sigma^2 / 4\sqrt{I}$", ylim=(1e-4, 2), title="The bound (black) at r = 1")
    ends = np.array([1e-4, 0.3])
    right.plot(ends, ends, "k", zorder=1)
    right.set(xlabel="exact CMI, r = 1 (nats)", ylabel=r"$\frac{1}{2}\int D(u)^2\,du$ (nats)")
    right.set(xscale="log", yscale="log", xlim=ends, ylim=ends, title="CMI from squared errors; black: equal")
    for ax in (left, middle, third, right):
        plots.legend(ax)
    return fig


SHOWS = "The squared gap between local and global scores peaks with the CMI, obeys its bound and integrates to it."
STUDY = Study(NAME, "Locality gap: local against global scores", SHOWS, wanted, analyse, figure)
