"""Closed loops under erasure, bit flips and Gaussian noise: a transition at finite t, at which locality is lost.

A is one bond. Under erasure I = (1-eps) log 2 times the probability that kept bonds connect its two faces, but not
within the buffer: bond percolation, critical at 1/2 (Kesten 1980), nu = 4/3, I ~ r^(-5/4) at t* (four arms).
Off t*, I ~ r^-p exp(-r/xi) with one xi(t) = xi(1 - t), p = 0 below and 3/2 above (`DomainWalls.prefactor_exponent`).
Under bit flips and Gaussian noise the posterior is a random-bond Ising model on its Nishimori line. The relative sign S
of two opposite edges is a label; E H(S|x) crosses for all sizes at the noise where locality is lost too.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..phases import Crossing, finite_size_crossing, power_law
from ..results import Row, grids
from .base import Analysis, Study, grid, label_crossing, row, spec_of

ERASURE = "loops-erasure"
KESTEN = "bond percolation on the square lattice, Kesten (1980), exact"
NU = "nu = 4/3 of percolation, exact"
FOUR_ARMS = "alternating four-arm exponent 5/4"
NU_EXACT, ARMS = 4 / 3, 1.25
COLLAPSE = 0.4  # largest |t - 1/2| r^(3/4) at which log r^(5/4) I is fitted by a cubic
FIRST_CROSSING = 11  # radius of the crossing: smaller boxes feel the lattice
FIRST_RADIUS = 8  # of the fit at t*: smaller boxes feel the lattice


def loops(length: int | list[int]) -> dict[str, Any]:
    return {"name": "domain-walls", "beta": 0.0, "length": length}


# -- erasure: everything is known exactly ------------------------------------------------------------------------------


def erasure_wanted(full: bool) -> dict[str, Any]:
    t, near = {"start": 0.05, "stop": 0.95, "num": 37}, {"start": 0.3, "stop": 0.7, "num": 41 if full else 21}
    radii = [1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 64, 90, *([128] if full else [])]
    large, sizes = loops(1024 if full else 512), [32, 64, 128, 256, 512] if full else [32, 64, 128]
    label = {"t": {"start": 0.47, "stop": 0.53, "num": 13 if full else 7}, "quantity": "label_entropy"}
    return {
        "map": grid(loops(64), "erasure", t=t, radii=[*radii[:9], 30], n_samples=1_000_000 if full else 100_000),
        "near": grid(large, "erasure", t=near, radii=radii[3:12], n_samples=2_000_000 if full else 100_000),
        "critical": grid(large, "erasure", t=[0.5], radii=radii, n_samples=10_000_000 if full else 500_000),
        "label": grid(loops(sizes), "erasure", n_samples=20000 if full else 5000, **label),
    }


def analyse_erasure(result: xr.DataTree) -> Analysis:
    data = grids(result)
    return Analysis(rows=[*_erasure_crossings(data), _critical_law(data["critical"]), *_divergence(data["near"])])


def _erasure_crossings(data: dict[str, xr.Dataset]) -> list[Row]:
    label, near = data["label"], data["near"]
    fit = label_crossing(label, label["t"], (0.5, NU_EXACT), degree=5)
    radius, t = np.meshgrid(near["radius"].values, near["t"].values)
    cmi, error = near["cmi"].values, near["cmi_stderr"].values
    keep = (np.abs(t - 0.5) * radius ** (1 / NU_EXACT) < COLLAPSE) & (cmi > 5 * error) & (radius >= FIRST_CROSSING)
    log_scaled = np.log(radius[keep] ** ARMS * cmi[keep])
    second = finite_size_crossing(t[keep], radius[keep], log_scaled, error[keep] / cmi[keep], (0.5, NU_EXACT))
    return [
        row("t* from crossing r^(5/4) I", second.critical, 0.5, KESTEN, "asymptotic"),
        row("t* from crossing label entropies", fit.critical, 0.5, f"{KESTEN}; by duality at every L", "exact"),
        row("nu from their collapse", fit.nu, NU_EXACT, NU, "asymptotic"),
    ]


def _critical_law(data: xr.Dataset) -> Row:
    large = data.isel(t=0, radius=data["radius"].values >= FIRST_RADIUS, radius_2=data["radius"].values >= FIRST_RADIUS)
    law = power_law(large["radius"], large["cmi"], covariance=large["cmi_covariance"])
    label = f"exponent of I(r) at t = 1/2, r = {FIRST_RADIUS}..{large['radius'].values[-1]}"
    return row(label, law.exponent, -ARMS, FOUR_ARMS, "asymptotic")


def _divergence(data: xr.Dataset) -> list[Row]:
    """xi ~ |t - 1/2|^(-nu) on both sides, where radii reach beyond 5 xi."""
    rows, t = [], data["t"].values
    xi, stderr = data["markov_length"].values, data["markov_length_stderr"].values
    for side, name in ((t < 0.5, "t < 1/2"), (t > 0.5, "t > 1/2")):
        keep = side & (xi < data["radius"].values[-1] / 5) & (np.abs(t - 0.5) < 0.17)  # False where xi is NaN
        if keep.sum() >= 3:
            law = power_law(np.abs(t[keep] - 0.5), xi[keep], stderr[keep])
            rows.append(row(f"exponent of xi, {name}", law.exponent, -NU_EXACT, NU, "asymptotic"))
    return rows


def draw_erasure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.4)
    data, near = grids(result)["map"], grids(result)["near"]
    plots.curves(left, data, "cmi", by="radius", most=6)
    left.set(ylim=(1e-5, None), title="The CMI of masked loops peaks ..")
    plots.cells(middle, data, "cmi", vmin=1e-5)
    middle.set(title=".. at times that move to t* = 1/2 (line)")
    for ax in (left, middle):
        ax.axvline(0.5, color="k", lw=1.5)
        ax.set(xlabel="masked fraction t")
    far = near.isel(radius=near["radius"].values >= FIRST_RADIUS)
    seen = plots.trusted(far, "cmi")
    for k, r in enumerate(far["radius"].values[:7]):
        one, power = far.sel(radius=r).where(seen.sel(radius=r), drop=True), float(r) ** ARMS
        x, y, error = (one["t"] - 0.5) * r ** (1 / NU_EXACT), power * one["cmi"], power * one["cmi_stderr"]
        plots.curve(right, k, x, y, error, f"r = {r}")
    labels = {"xlabel": r"$(t - 1/2)\, r^{3/4}$", "ylabel": r"$r^{5/4} I$ (nats)"}
    right.set(xlim=(-1.3, 0.9), yscale="log", title="All radii collapse with ν = 4/3", **labels)
    for ax in (left, right):
        plots.legend(ax)
    return fig


# -- bit flips and Gaussian noise --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """One kind of noise and what is known of its transition.

    Attributes:
        control, time: the noise parameter from t, and back; critical: its known critical values with sources;
        window: controls between which the crossing is sought; nu: exponent with source.
    """

    name: str
    channel: str
    symbol: str
    control: Callable[[Any], Any]
    time: Callable[[float], float]
    critical: tuple[tuple[float, str], ...]
    window: tuple[float, float]
    nu: tuple[float, str] = (1.53, "nu = 1.53(4), Hasenbusch et al. (2008), arXiv:0803.0444")


HASENBUSCH = (0.10919, "p* = 0.10919(7), Hasenbusch et al. (2008), arXiv:0803.0444")
DUALITY = (0.978694, "duality conjecture, snr = 1.044013")
NUMERICAL = (0.979, "numerical, about 0.979")
BIT_FLIP = Noise("loops-bitflip", "bitflip", "p", lambda t: t / 2, lambda p: 2 * p, (HASENBUSCH,), (0.100, 0.118))
GAUSSIAN = Noise(
    *("loops-gaussian", "gaussian", "σ/α", lambda t: t / (1 - t), lambda s: s / (1 + s)),
    *((DUALITY, NUMERICAL), (0.93, 1.03)),
)


def noise_wanted(noise: Noise, full: bool) -> dict[str, Any]:
    ratios = (0.4, 0.5, 0.6, 0.7, 0.78, 0.85, 0.92, 1.0, 1.08, 1.16, 1.25, 1.35, 1.5, 1.7, 2.0)
    t = [round(float(noise.time(noise.critical[0][0] * x)), 6) for x in (ratios if full else ratios[::2])]
    near = [round(float(noise.time(c)), 6) for c in np.linspace(*noise.window, 9 if full else 7)]
    radii, n_samples = [1, 2, 3, 4, 6, 8, 10, *([14, 18, 22] if full else [])], 5000 if full else 250
    sizes = loops([12, 16, 24, 32, 48, 64] if full else [12, 16, 24])
    label = {"t": near, "quantity": "label_entropy", "n_samples": 20000 if full else 1500}
    return {
        "map": grid(loops(48 if full else 24), noise.channel, t=t, radii=radii, n_samples=n_samples),
        "label": grid(sizes, noise.channel, **label),
    }


def crossing(label: xr.Dataset, noise: Noise) -> Crossing:
    """Return the crossing of E H(S|x) / log 2 over all sizes of the label grid, against the noise parameter."""
    return label_crossing(label, noise.control(label["t"].values), (noise.critical[0][0], noise.nu[0]))


def analyse_noise(noise: Noise, result: xr.DataTree) -> Analysis:
    fit, what = crossing(grids(result)["label"], noise), f"{noise.symbol}* from crossing label entropies"
    t = None if noise is BIT_FLIP else noise.time(fit.critical.value)
    rows = [
        row(f"{what} ({source.split(',')[0]})", fit.critical, value, source, "literature", t)
        for value, source in noise.critical
    ]
    return Analysis(rows=[*rows, row("nu from their collapse", fit.nu, *noise.nu, "literature")])


def draw_noise(noise: Noise, result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.4)
    data, label = grids(result)["map"], grids(result)["label"]
    along = noise.control if noise is BIT_FLIP else lambda t: t  # Gaussian noise is drawn over t, in three units
    control, x = (along(g["t"].values) for g in (data, label))
    side = spec_of(result).grids["map"].model["length"]
    peak, error = data["peak_time"], data["peak_time_stderr"]
    peaks = {"peak_time": along(peak), "peak_time_stderr": along(error)}
    plots.cells(left, data.assign(peaks).assign_coords(t=control), "cmi", vmin=1e-7)
    left.set(title=f"CMI, L = {side}; hatched: rare samples")
    plots.curves(middle, data, "markov_length", at=control, log=False)
    middle.set(title="Markov length; black: known transition", ylim=(0, None))
    fit, fine = crossing(label, noise), np.linspace(float(label["t"][0]), float(label["t"][-1]), 100)
    bits = label.assign({name: label[name] / math.log(2) for name in ("label_entropy", "label_entropy_stderr")})
    plots.curves(right, bits, "label_entropy", by="length", at=x, log=False, join=False)
    for k, length in enumerate(label["length"].values[:7]):
        values = np.polynomial.polynomial.polyval(fit.scaled(noise.control(fine), length), fit.coefficients)
        right.plot(along(fine), values, color=plots.COLORS[k], lw=1)
    right.set(ylabel=r"$E\,H(S|x)\,/\,\log 2$", title="Label entropies cross at the transition")
    plots.legend(right)
    for ax in (left, middle, right):
        ax.axvline(along(noise.time(noise.critical[0][0])), color="k", lw=1.5)
        if noise is BIT_FLIP:
            ax.set(xlabel=f"noise {noise.symbol}")
            ax.locator_params(axis="x", nbins=6)
    return fig


def _study(noise: Noise) -> Study:
    wanted, analyse, figure = (functools.partial(f, noise) for f in (noise_wanted, analyse_noise, draw_noise))
    shows = "Loops lose locality at a transition at finite t, where the label entropies of all sizes cross."
    title = f"Loops under {noise.channel.replace('gaussian', 'Gaussian').replace('bitflip', 'bit-flip')} noise"
    return Study(noise.name, title, shows, wanted, analyse, figure)  # type: ignore[arg-type]


SHOWS = "The CMI of masked loops peaks at a fraction that moves to t* = 1/2 with r, where it falls as r^(-5/4) only."
ERASED = Study(
    *(ERASURE, "Loops under erasure: transition at t* = 1/2", SHOWS), erasure_wanted, analyse_erasure, draw_erasure
)
FLIPPED, NOISY = _study(BIT_FLIP), _study(GAUSSIAN)
