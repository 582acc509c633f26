"""Noise to T_f, return with denoisers of radius r: the recovery error over (T_f, r), where locality suffices and fails.

Fields: KL per site, exact. Ising below, at and above beta_c: distance of the law of 2x2 patches. Loops under erasure,
unmasked bond by bond: KL per bond, which must equal the area under the rate mean_i I_t(A_i;C|B)/(1-t) up to T_f; its
steepest rise marches to t* = 1/2. Loops under Gaussian noise: broken vertices. Each by exact denoisers, and by networks
of the same radii beside them, for loops on a smaller grid.
"""

from typing import Any

import numpy as np
import xarray as xr

from ... import plots
from ...models.domain_walls import SIGMA_STAR
from ...results import Row, grids
from ...runs.points import peak_times
from ..base import Analysis, Study, Variables, grid, pooled_z, row, rows_of

NAME = "recovery"
T_STAR = SIGMA_STAR / (1 + SIGMA_STAR)
AREA_STOP = 0.6  # T_f at which the area law is checked
STARTS = (0.3, 0.5, 0.7, 0.9)  # T_f of learned denoisers
DATA_PHASE_AND_BEYOND = (0.5, 0.9)  # of them


def _area_nodes(n: int) -> tuple[list[float], np.ndarray]:
    """Gauss-Legendre times and weights on [0, AREA_STOP]; the rate of a finite grid is a polynomial in t."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return [round(float(0.5 * AREA_STOP * (x + 1)), 12) for x in nodes], 0.5 * AREA_STOP * weights


def wanted(full: bool) -> dict[str, Any]:
    spins, faces, side = (10, 12, 16) if full else (6, 7, 10)
    field = {"name": "gaussian-field", "length": side, "periodic": True, "mass_squared": 0.04}
    ising = {"name": "ising", "length": spins, "beta": [0.3, 0.44, 0.6]}
    loops = {"name": "domain-walls", "beta": 0.0}
    large, small, noisy = {**loops, "length": 64}, {**loops, "length": 6}, {**loops, "length": faces}
    t = [*((0.1, 0.2, 0.4, 0.6, 0.8) if full else ()), *STARTS, 0.97]
    late = sorted({*STARTS, *((0.2, 0.4, 0.6, 0.8, 0.95) if full else ())})
    near = [0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8] if full else [0.3, 0.4, 0.5, 0.6, 0.75]
    erased = {"radii": [1, 2, 4, 8, 16] if full else [1, 2, 4, 8], "n_samples": 200 if full else 20}
    stops = {"start": 0.2, "stop": 0.8, "num": 31 if full else 13}
    nodes = _area_nodes(16 if full else 10)[0]
    few, many, starts = (500, 2000, list(STARTS)) if full else (30, 200, list(STARTS))

    def steps(n: int) -> dict[str, Any]:
        return {"quantity": "recovery", "settings": {"n_steps": n}}

    widths = [1, 2, 3, spins] if full else [1, 2, spins]
    n = 60 if full else 30
    exact = {
        "field": grid(field, "gaussian", t=sorted(t), radii=[1, 2, 3, 4, side], **steps(200 if full else 40)),
        "ising": grid(
            ising, "gaussian", t=late, radii=widths, n_samples=2000 if full else 100, **steps(60 if full else 30)
        ),
        "erased": grid(large, "erasure", t=stops, quantity="unmasking", **erased),
        "erased-rate": grid(large, "erasure", t=nodes, quantity="denoising", **erased),
        "erased-small": grid(
            small, "erasure", t=starts, radii=[1], n_samples=10000 if full else 1000, quantity="unmasking"
        ),
        "loops-gaussian": grid(noisy, "gaussian", t=near, radii=[1, 2, 3, faces], n_samples=few, **steps(n)),
        "loops-small": grid(small, "gaussian", t=starts, radii=[1], n_samples=many, **steps(n)),
    }

    def learned(name: str, radii: list[int], training: dict[str, int], **changes: Any) -> dict[str, Any]:
        """Networks on an exact grid, whose radii begin with the learned ones and whose t have all STARTS."""
        settings = {**exact[name].get("settings", {}), "starts": starts, **training}
        asked = {**exact[name], "radii": radii, "quantity": "learned_recovery", "settings": settings, **changes}
        return {key: value for key, value in asked.items() if key != "t"}

    long, short = {"train_steps": 3000, "width": 48}, {"train_steps": 150, "width": 24}
    of_loops = {"train_steps": 6000, "width": 48} if full else {"train_steps": 150, "batch_size": 48, "width": 24}
    return {
        **exact,
        "learned": learned("ising", [1, 2, 3] if full else [1], {**long, "batch_size": 96} if full else short),
        "learned-field": learned("field", [1, 2] if full else [1], long if full else short, n_samples=many),
        "learned-loops": learned("loops-small", [1], of_loops),
        "learned-erased": learned("erased-small", [1], of_loops, quantity="learned_unmasking"),
    }


# -- what follows ------------------------------------------------------------------------------------------------------


def analyse(result: xr.DataTree) -> Analysis:
    data = grids(result)
    steepest = steepest_times(data["erased"])
    erased = data["erased"].assign(steepest)
    rows = [*_field(data["field"]), *_ising(data["ising"]), *_erased(erased, data["erased-rate"])]
    return Analysis({"erased": steepest}, [*rows, *_loops(data["loops-gaussian"]), *learned_rows(result)])


def steepest_times(data: xr.Dataset) -> Variables:
    """Return the peak of the slope of KL(T_f) between neighbouring T_f, per radius."""
    t, kl, stderr = (data[key].values for key in ("t", "divergence", "divergence_stderr"))
    slope, error = np.diff(kl, axis=0), np.hypot(stderr[1:], stderr[:-1])
    slopes = xr.Dataset(
        {"slope": (("t", "radius"), slope), "slope_stderr": (("t", "radius"), error), "t": 0.5 * (t[1:] + t[:-1])}
    )
    name = "time at which the KL of the recovered loops rises fastest"
    return peak_times(slopes, name, "slope", "steepest_time")


def _field(data: xr.Dataset) -> list[Row]:
    last, source = data.isel(t=-1), "closed form; the global denoiser's 0 but for the finite steps"
    label, everything = "field, KL per site, T_f = {t:g}, ", last.isel(radius=-1)
    rows = rows_of(last.isel(radius=slice(-1)), "error", label + "r = {radius}", source=source)
    return [*rows, *rows_of(everything, "error", label + "global", 0.0, source, "asymptotic")]


def _ising(data: xr.Dataset) -> list[Row]:
    rows, everything = [], data.isel(radius=-1)
    source = "the global denoiser recovers the law: 0, but for the finite steps"
    for key, what in (("error", "patch error"), ("energy_change", "energy change"), ("order_change", "m^2 change")):
        z = abs(everything[key] / everything[f"{key}_stderr"])
        worst = everything.isel(z.argmax(...))
        label = f"Ising, global, {what}, farthest from 0 of {z.size} (beta = {{beta:g}}, T_f = {{t:g}})"
        rows += rows_of(worst, key, label, 0.0, source, "asymptotic")
    ends, source = data.isel(radius=0, t=[0, -1]), "small in the data phase, large across the transition"
    label = "Ising beta = {beta:g}, r = 1, patch error, T_f = {t:g}"
    return [*rows, *rows_of(ends, "error", label, source=source)]


def _erased(data: xr.Dataset, rate: xr.Dataset) -> list[Row]:
    times, weights = _area_nodes(rate["t"].size)
    assert np.allclose(times, rate["t"].values)
    stop = data.sel(t=AREA_STOP, method="nearest")
    area = [weights @ curve for curve in rate["blind_divergence"].values.T]
    spread = [np.linalg.norm(weights * curve) for curve in rate["blind_divergence_stderr"].values.T]
    stop["divergence_stderr"] = np.hypot(stop["divergence_stderr"], np.array(spread))
    label = f"erased loops, KL per bond, T_f = {AREA_STOP:g}, r = {{radius}}"
    rows = rows_of(stop, "divergence", label, area, "area under mean_i I_t/(1-t)", "exact")
    label, source = "erased loops, T_f of the steepest error, r = {radius}", "t* = 1/2, Kesten (1980); large r"
    return [*rows, *rows_of(data, "steepest_time", label, 0.5, source, "asymptotic")]


def _loops(data: xr.Dataset) -> list[Row]:
    broken, everything = "loops, Gaussian noise, broken vertices", data.isel(radius=-1)
    worst, source = float(everything["error"].max()), "the global denoiser knows every vertex: 0"
    rows = [row(f"{broken}, global, all T_f", worst, 0.0, source, "exact")]
    ends, source = data.isel(radius=0, t=[0, -1]), f"rises across t* = {T_STAR:.3f}"
    rows += rows_of(ends, "error", f"{broken}, r = 1, T_f = {{t:g}}", source=source)
    z2 = pooled_z(everything["energy_change"], everything["energy_change_stderr"], 0.0)
    label = "loops, global, bond change: mean of z^2"
    return [*rows, row(label, z2, 1.0, "the law is recovered, but for the finite steps: 1", "asymptotic")]


KL = "divergence"
BESIDE = (  # exact and learned grid, label of their rows, variable, starts
    ("field", "learned-field", "field, learned r = {radius}, KL per site", "error", DATA_PHASE_AND_BEYOND),
    ("ising", "learned", "Ising beta = {beta:g}, learned r = {radius}, patch error", "error", DATA_PHASE_AND_BEYOND),
    ("erased-small", "learned-erased", "erased loops, 6x6 faces, learned r = {radius}, KL per bond", KL, STARTS),
    ("loops-small", "learned-loops", "loops, 6x6 faces, learned r = {radius}, broken vertices", "error", STARTS),
)


def learned_rows(result: xr.DataTree) -> list[Row]:
    """Return learned beside exact: independent samples, so that errors add. Of loops, some is left to be learned."""
    data, rows = grids(result), []
    for one, other, label, name, starts in BESIDE:
        exact, learned = data[one], data[other].sel(start=list(starts), method="nearest")
        label = f"{label}, T_f = {{start:g}}"
        axes = {dim: learned[dim] for dim in ("beta", "radius") if dim in exact.dims}
        truth, key = exact.sel({"t": learned["start"], **axes}, method="nearest"), f"{name}_stderr"
        pair = truth.assign({name: learned[name], key: np.hypot(truth[key], learned[key])})
        rows += rows_of(pair, name, label, truth[name], "the exact denoiser of that radius", "learned")
        if "excess" in learned:
            left, label = pair.assign({name: learned[name] - learned["excess"]}), f"{label}, less what learning costs"
            rows += rows_of(left, name, label, truth[name], "KL(p_0 || p_net) - KL(p_local || p_net)", "exact")
    return rows


# -- what is drawn -----------------------------------------------------------------------------------------------------


def figure(result: xr.DataTree) -> Any:
    fig, (upper, (field, erased, loops)) = plots.new_figure(3, rows=2, width=4.6)
    data = grids(result)
    for k, (ax, beta) in enumerate(zip(upper, data["ising"]["beta"].values, strict=True)):
        _radii(ax, data["ising"].isel(beta=k), "error", data["learned"].isel(beta=k), join=False)
        ax.set(ylabel=r"patch error $\frac{1}{2}\chi^2$ (nats)", title=f"Ising, β = {beta:g}")
        ax.set_yscale("symlog", linthresh=1e-2)
        ax.set_ylim(-2e-2, 0.6)
    _radii(field, data["field"], "error", data["learned-field"])
    field.set(ylabel="KL per site (nats)", title="Gaussian field, m² = 0.04")
    field.set_yscale("symlog", linthresh=1e-5)  # learned errors are below zero by chance
    field.set_ylim(-3e-4, 0.1)
    for ax in (*upper, field):
        ax.axhline(0.0, color="k", lw=1, zorder=1)
    _radii(erased, data["erased"], "divergence", data["learned-erased"], data["erased-small"])
    _radii(loops, data["loops-gaussian"], "error", data["learned-loops"], data["loops-small"])
    erased.set(ylabel="KL per bond (nats)", yscale="log", title="Erased loops; black: t* = 1/2")
    loops.set(ylabel="fraction of broken vertices", title=f"Loops, Gaussian noise; black: t* = {T_STAR:.3f}")
    erased.axvline(0.5, color="k", lw=1.5)
    loops.axvline(T_STAR, color="k", lw=1.5)
    for ax in (*upper, field, erased, loops):
        ax.set(xlabel="noise up to $T_f$")
        plots.legend(ax)
    return fig


def _radii(
    ax: Any, data: xr.Dataset, name: str, learned: xr.Dataset, small: xr.Dataset | None = None, join: bool = True
) -> None:
    """Draw every radius against T_f, the global denoiser in black, and learned ones with open markers."""
    whole = name != "divergence"
    plots.curves(ax, data.isel(radius=slice(None, -1)) if whole else data, name, by="radius", log=False, join=join)
    if whole:
        plots.curves(ax, data.isel(radius=-1), name, k=6, log=False, join=join, color="k", label="global")
    if small is not None:
        plots.curves(ax, small.isel(radius=0), name, log=False, join=False, ls="--", lw=1, ms=0, label="r = 1, 6×6")
    for k in range(learned["radius"].size):
        one, text = learned.isel(radius=k), "learned" if small is None else "learned, 6×6"
        look: dict[str, Any] = {"mfc": "white", "ms": 7, "label": text if k == 0 else None}
        plots.curve(ax, k, one["start"] + 0.008, one[name], one[f"{name}_stderr"], **look)


SHOWS = "Local denoisers recover data from noise short of the transition; beyond, their error rises, less for large r."
STUDY = Study(NAME, "Recovery: noise to T_f and back with radius r", SHOWS, wanted, analyse, figure)
