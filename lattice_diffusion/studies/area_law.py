"""What locality costs a generator, exactly: the two area laws as measured equalities.

    masked diffusion    KL(p_0 || p_local) = sum_i int dt I_t(A_i;C|B) / (1 - t), mean over orders of unmasking
    Gaussian diffusion  KL(p_0 || p_local) <= 1/2 int d(snr) sum_i [mmse_i local - mmse_i global]

Small systems are done in full, loops of any size by counting. For loops the area falls as r^(-2): the peak of the CMI,
r^(-5/4), times the width of the window, r^(-3/4).
"""

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from .. import plots
from ..channels import Channel, Erasure
from ..denoisers import ExactDenoiser, always, gaussian_divergence, generated_covariance, pure_noise, reverse
from ..errors import InputError
from ..exact import enumeration
from ..models import GaussianField
from ..phases import power_law
from ..results import grids, with_stderr
from ..runs.points import Point
from ..runs.quantities import Settings, Values, check_solvable, quantity, with_errors
from .base import Analysis, Study, check_gaussian, check_loops, grid, measured, ratio, row, spec_of, unmasking_errors

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
MAX_ORDERS = 5040  # of unmasking; beyond, orders are drawn at random
LOG_SNR = 14.0  # beyond +- this the integrand of the Girsanov bound is below 1e-6 of the area


def wanted(full: bool) -> dict[str, Any]:
    loops = {"name": "domain-walls", "beta": 0.0, "length": 64}
    large = {**loops, "length": 1024 if full else 320}
    masses = [0.03, 0.1, 0.3] if full else [0.03, 0.3]
    field = {"name": "gaussian-field", "length": 16 if full else 10, "mass_squared": masses}
    spins = {"name": "ising", "shape": [3, 3], "beta": 0.25}
    nodes = [float(t) for t in (np.polynomial.legendre.leggauss(32 if full else 24)[0] + 1) / 2]
    radii, wide = [1, 2, 3, 4, 6, 8, 11, 16], [2, 4, 8, 11, 16, 22, *([32, 45, 64] if full else [])]
    unmasked = {"t": [1.0], "quantity": "unmasking"}
    law = {"t": [1.0], "quantity": "generated_law"}
    few = {"radii": [1, 2, 3, 4] if full else [1, 2, 3], "settings": {"n_steps": 600 if full else 100}, **law}
    steps, n_spins = {"n_steps": 200 if full else 40}, 1000000 if full else 30000
    grids = {
        "loops-area": grid(loops, "erasure", t=nodes, radii=radii, n_samples=400 if full else 5, quantity="denoising"),
        "loops-unmasked": grid(loops, "erasure", radii=radii, n_samples=4000 if full else 80, **unmasked),
        "large-loops": grid(large, "erasure", radii=wide, n_samples=40 if full else 4, **unmasked),
        "field": grid(field, "gaussian", **few),
        "spins": grid(spins, "gaussian", radii=[0, 1], n_samples=n_spins, settings=steps, **law),
    }
    for name, (_, model) in SMALL.items():
        keys = {"radii": [0, 1, 2], "n_samples": 4000 if full else 100, "quantity": "masked_area"}
        grids[name] = grid(model, "erasure", **keys)
    return grids


# -- masked generation: loops of any size, bond by bond, and small systems as tables over all states -------------------


def _information(noisy: NDArray, site: int, box: NDArray[np.bool_]) -> float:
    A = np.arange(noisy.ndim) == site
    return enumeration.conditional_information(noisy, A, box, ~(A | box))


def _check_enumerable(point: Point) -> None:
    if point.channel.name != "erasure":
        raise InputError(f"the masked area takes the channel erasure, got {point.channel.name!r}")
    n = int(point.model.sites.sum())
    if 3**n > enumeration.MAX_ENTRIES:
        raise InputError(f"the masked area lists all states of at most 12 sites or bonds, got {n}; take fewer")


DIVERGENCE = with_errors("divergence", ("radius",), "nat", "KL(p_0 || p_local) per site, mean over orders of unmasking")


@quantity(
    "masked generation",
    {**DIVERGENCE, **with_errors("violations", ("radius",), "1", "fraction of vertices whose loops are broken")},
    models=("domain-walls",),
    check=check_loops,
    averages=True,
)
def unmasking(point: Point, rng: np.random.Generator) -> Values:
    x_t = Erasure().corrupt(point.model.sample(point.n_samples, rng), point.t, rng)
    return unmasking_errors(point.model, x_t, point.radii, rng)


@quantity(
    "the masked area law in full",
    {**DIVERGENCE, **with_errors("area", ("radius",), "nat", "integral of mean_i I_t(A_i;C|B)/(1-t) over t")},
    models=("ising", "ising-chain", "domain-walls"),
    check=_check_enumerable,
    timed=False,
)
def masked_area(point: Point, rng: np.random.Generator) -> Values:
    """Both sides of the area law to rounding."""
    clean = enumeration.clean_table(point.model)
    n = clean.ndim
    every = math.factorial(n) <= MAX_ORDERS
    orders: Any = itertools.permutations(range(n)) if every else (rng.permutation(n) for _ in range(point.n_samples))
    orders = list(orders)
    # sum_i I_t(A_i;C|B) / (1-t) is a polynomial of degree n - 1 in t: Gauss-Legendre is exact
    nodes, weights = np.polynomial.legendre.leggauss(n // 2 + 1)
    divergences, areas = [], []
    for radius in point.radii:
        around = enumeration.boxes(point.model, radius)
        laws = (enumeration.unmasked_law(clean, around, [int(i) for i in order]) for order in orders)
        divergences.append([enumeration.relative_entropy(clean, law) / n for law in laws])
        area = 0.0
        for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            noisy = enumeration.noisy_table(clean, Erasure(), float(t))
            area += weight * sum(_information(noisy, i, around[i]) for i in range(n)) / (1 - t)
        areas.append(area / n)
    rows = np.array(divergences)
    error = np.zeros(len(rows)) if every else rows.std(axis=1, ddof=1) / math.sqrt(len(orders))
    return {
        "divergence": rows.mean(axis=1),
        "divergence_stderr": error,
        "area": np.array(areas),
        "area_stderr": np.zeros(len(areas)),
    }


# -- Gaussian generation: the generated law beside the Girsanov bound --------------------------------------------------
#
# For fields both sides are in closed form; for small spin systems the bound is a mean over noise samples, and the
# generated law is counted over all states, with the bias (states - 1)/2n of counting taken off.


class LawSettings(Settings):
    """n_steps: reverse steps, even in t; n_nodes: of the integral over log snr."""

    n_steps: Annotated[int, Field(ge=2)] = 200
    n_nodes: Annotated[int, Field(ge=2)] = 48


def field_excess(model: GaussianField, channel: Channel, t: float, radii: Sequence[int]) -> NDArray[np.float64]:
    """Return mmse_local(r) - mmse_global per site; what a field's denoisers see does not change their variances."""
    nothing = np.zeros((1, 1, *model.lattice.shape))
    everything = ExactDenoiser(model, channel)(nothing, t).variance.mean()
    return np.array([ExactDenoiser(model, channel, r)(nothing, t).variance.mean() - everything for r in radii])


def _field_law(point: Point, times: list[float], t: NDArray, weights: NDArray) -> dict[str, Any]:
    model, channel, radii = point.model, point.channel, point.radii
    excess = np.array([field_excess(model, channel, u, radii) for u in t])
    laws = [generated_covariance(model, channel, times, always(ExactDenoiser(model, channel, r))) for r in radii]
    return {
        "divergence": [gaussian_divergence(model, law) for law in laws],
        "divergence_stderr": np.zeros(len(radii)),
        "bound": 0.5 * model.lattice.n_sites * weights @ excess,
        "bound_stderr": np.zeros(len(radii)),
    }


def _spin_law(
    point: Point, times: list[float], t: NDArray, weights: NDArray, rng: np.random.Generator
) -> dict[str, Any]:
    model, channel, n_samples = point.model, point.channel, point.n_samples
    locals_, everything = [ExactDenoiser(model, channel, r) for r in point.radii], ExactDenoiser(model, channel)
    n_noise = max(2, n_samples // len(t))
    bound, variance = np.zeros(len(locals_)), np.zeros(len(locals_))
    for u, weight in zip(t, weights, strict=True):
        x_t = channel.corrupt(model.sample(n_noise, rng), u, rng)[:, None]
        whole = everything(x_t, u).mean
        squares = np.array([((d(x_t, u).mean - whole) ** 2).reshape(n_noise, -1).sum(axis=1) for d in locals_])
        bound += 0.5 * weight * squares.mean(axis=1)
        variance += (0.5 * weight) ** 2 * squares.var(axis=1, ddof=1) / n_noise
    _, p = enumeration.law(model)
    divergence, error = [], []
    for denoiser in locals_:
        noise = pure_noise((n_samples, *everything.shape), channel, times[0], rng)
        x = reverse(noise, times, always(denoiser), channel, rng).reshape(n_samples, -1)
        index = (x > 0) @ (1 << np.arange(x.shape[1])[::-1])
        q = np.bincount(index, minlength=len(p)) / n_samples
        if not q.all():
            raise InputError(f"n_samples must reach all {len(p)} states, got {n_samples}; draw more")
        odds = p / q
        divergence.append(float((p * np.log(odds)).sum() - (odds * (1 - q)).sum() / (2 * n_samples)))
        error.append(float(np.sqrt(((odds - (q * odds).sum()) ** 2 * q).sum() / n_samples)))
    return {"divergence": divergence, "divergence_stderr": error, "bound": bound, "bound_stderr": np.sqrt(variance)}


def _check_law(point: Point) -> None:
    check_solvable(point)
    check_gaussian(point, "the Girsanov bound")
    if point.t == 0.0:
        raise InputError("generation starts at t > 0, pure noise, got t = 0")


COLUMNS = {
    **with_errors("divergence", ("radius",), "nat", "KL(p_0 || generated law) per site"),
    **with_errors("bound", ("radius",), "nat", "Girsanov bound on it per site, 1/2 int d(snr) excess"),
}


@quantity("the generated law", COLUMNS, settings=LawSettings, models=("gaussian-field", "ising"), check=_check_law)
def generated_law(point: Point, rng: np.random.Generator) -> Values:
    times = [float(t) for t in np.linspace(point.t, 0.0, point.settings.n_steps + 1)]
    nodes, weights = np.polynomial.legendre.leggauss(point.settings.n_nodes)
    snr = np.exp(LOG_SNR * nodes)
    levels = np.array([point.channel.time(float(g)) for g in snr]), LOG_SNR * weights * snr  # of int d(snr)
    if isinstance(point.model, GaussianField):
        rows = _field_law(point, times, *levels)
    else:
        rows = _spin_law(point, times, *levels, rng)
    return {name: np.asarray(values) / point.model.lattice.n_sites for name, values in rows.items()}


# -- what follows ------------------------------------------------------------------------------------------------------


def loop_area(data: xr.Dataset) -> xr.Dataset:
    """Return int dt E KL(global || local) of a masked bond for every radius, and its error, by Gauss and Legendre."""
    weights = np.polynomial.legendre.leggauss(data["t"].size)[1] / 2
    area = weights @ data["blind_divergence"].values
    error = np.sqrt(weights**2 @ data["blind_divergence_stderr"].values ** 2)
    what = "integral of I_t(A;C|B)/(1-t) over t, mean over bonds"
    return xr.Dataset(with_stderr("area", ["radius"], area, error, "nat", what), {"radius": data["radius"]})


def analyse(result: xr.DataTree) -> Analysis:
    data = grids(result)
    area = loop_area(data["loops-area"])
    rows = []
    loops, large = data["loops-unmasked"].isel(t=0), data["large-loops"].isel(t=0)
    for r in (1, 4, 16):
        found = ratio(measured(loops.sel(radius=r), "divergence"), measured(area.sel(radius=r), "area"))
        rows.append(row(f"KL / area, loops L = 64, r = {r}", found, 1.0, LAW, "exact"))
    tail = large.sel(radius=slice(FIRST_RADIUS, None))
    law = power_law(tail["radius"], tail["divergence"], tail["divergence_stderr"])
    label = f"exponent of KL(r), loops, r = {FIRST_RADIUS}..{tail['radius'].values[-1]}"
    rows.append(row(label, law.exponent, -2.0, WINDOW, "asymptotic"))
    for name, (title, _) in SMALL.items():
        kl, whole = (measured(data[name].sel(radius=1), key) for key in ("divergence", "area"))
        rows.append(row(f"KL / area, {title}, r = 1", ratio(kl, whole), 1.0, LAW, "exact"))
    worst = float((data["field"]["divergence"] / data["field"]["bound"]).max())
    rows.append(row("largest KL / Girsanov bound, field", worst, source=GIRSANOV))
    for r in data["spins"]["radius"].values:
        kl, bound = (measured(data["spins"].isel(t=0).sel(radius=r), key) for key in ("divergence", "bound"))
        rows.append(row(f"KL / Girsanov bound, Ising 3 x 3, r = {r}", ratio(kl, bound), source=GIRSANOV))
    names = ("area", "area_stderr")
    return Analysis({"loops-unmasked": {name: area[name].variable for name in names}}, rows)


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.4)
    data = grids(result)
    loops, large = data["loops-unmasked"].isel(t=0), data["large-loops"].isel(t=0)
    sides = [spec_of(result).grids[key].model["length"] for key in ("loops-unmasked", "large-loops")]
    left.plot(loops["radius"], loops["area"], color="k", label=f"area under the CMI, L = {sides[0]}")
    for k, (side, one) in enumerate(zip(sides, (loops, large), strict=True)):
        plots.curves(left, one, "divergence", "radius", k=k, log=True, join=False, label=f"KL as generated, L = {side}")
    plots.curves(left, loops, "violations", "radius", k=2, log=True, join=False, label="broken loops per vertex")
    guide, height = large["radius"].values[2:], 0.4 * large["divergence"].values[2]
    left.plot(guide, height * (guide / guide[0]) ** -2.0, "k--", label=r"$r^{-2}$")
    left.set(ylabel="nats per bond", title="Loops, unmasked bond by bond")
    left.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    for k, (name, (title, _)) in enumerate(SMALL.items()):
        seen = data[name].isel(radius=data[name]["divergence"].values > 0)
        plots.curve(middle, k, seen["area"], seen["divergence"], seen["divergence_stderr"], title)
    field, spins = data["field"].isel(t=0), data["spins"].isel(t=0)
    for k, mass in enumerate(field["mass_squared"].values):
        one = field.isel(mass_squared=k)
        plots.curve(right, k, one["bound"], one["divergence"], one["divergence_stderr"], f"field, m² = {mass:g}")
    plots.curve(right, 3, spins["bound"], spins["divergence"], spins["divergence_stderr"], "Ising 3 x 3")
    for ax, known, title in (
        (middle, "area under the CMI", "Masked, all states, r = 0, 1, 2: equal"),
        (right, "Girsanov bound", "Gaussian noise: below the bound"),
    ):
        ax.axline((1e-3, 1e-3), (1e-2, 1e-2), color="k", lw=1)
        ylabel = r"KL$(p_0\,\|\,p_{local})$ (nats per site)"
        ax.set(xscale="log", yscale="log", xlabel=f"{known} (nats per site)", ylabel=ylabel, title=title)
    for ax in (left, middle, right):
        plots.legend(ax, 2 if ax is right else 1)
    return fig


SHOWS = "A local masked generator loses the area under the CMI, exactly; under Gaussian noise the area bounds it."
STUDY = Study(NAME, "Area laws: what a local generator costs", SHOWS, wanted, analyse, figure)
