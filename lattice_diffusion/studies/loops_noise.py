"""Closed loops under bit flips and Gaussian noise: a transition at finite t, located by the label entropy.

The posterior of the noisy loops is a random-bond Ising model on its Nishimori line. The relative sign S of two
opposite edges is a label; E H(S|x) crosses for all sizes at the noise where locality is lost too.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..phases import Crossing, finite_size_crossing
from ..results import Row, grids
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment, markov_lengths


@dataclass(frozen=True)
class Noise:
    """One kind of noise and what is known of its transition.

    Attributes:
        control, time: the noise parameter from t, and back; critical: its known critical values with sources;
        nu: exponent with source; window: controls between which the crossing is sought.
    """

    name: str
    channel: str
    symbol: str
    control: Callable[[float], float]
    time: Callable[[float], float]
    critical: tuple[tuple[float, str], ...]
    window: tuple[float, float]
    nu: tuple[float, str]


NISHIMORI_NU = (1.53, "nu = 1.53(4), Hasenbusch et al. (2008), arXiv:0803.0444")
BIT_FLIP = Noise(
    "loops-bitflip",
    "bitflip",
    "p",
    lambda t: t / 2,
    lambda p: 2 * p,
    ((0.10919, "p* = 0.10919(7), Hasenbusch et al. (2008), arXiv:0803.0444"),),
    (0.100, 0.118),
    NISHIMORI_NU,
)
GAUSSIAN = Noise(
    "loops-gaussian",
    "gaussian",
    "σ/α",
    lambda t: t / (1 - t),
    lambda s: s / (1 + s),
    ((0.978694, "duality conjecture, snr = 1.044013"), (0.979, "numerical, about 0.979")),
    (0.93, 1.03),
    NISHIMORI_NU,
)


def experiment(noise: Noise) -> NamedExperiment:
    """The named experiment of one kind of noise."""

    def specs(preset: str) -> Spec:
        full = preset == "full"
        channel = {"name": noise.channel}
        star = noise.critical[0][0]
        ratios = (0.4, 0.5, 0.6, 0.7, 0.78, 0.85, 0.92, 1.0, 1.08, 1.16, 1.25, 1.35, 1.5, 1.7, 2.0)
        controls = np.linspace(*noise.window, 9 if full else 7)
        return Spec(
            name=noise.name,
            grids={
                "map": {
                    "model": {"name": "domain-walls", "length": 48 if full else 24, "beta": 0.0},
                    "channel": channel,
                    "t": [round(float(noise.time(star * x)), 6) for x in ratios],
                    "radii": [1, 2, 3, 4, 6, 8, 10, *([14, 18, 22] if full else [])],
                    "n_samples": 5000 if full else 1000,
                },
                "label": {
                    "model": {
                        "name": "domain-walls",
                        "length": [12, 16, 24, 32, 48, 64] if full else [12, 16, 24, 32],
                        "beta": 0.0,
                    },
                    "channel": channel,
                    "t": [round(float(noise.time(c)), 6) for c in controls],
                    "quantity": "label_entropy",
                    "n_samples": 20000 if full else 2000,
                },
            },
        )

    def analyse(result: xr.DataTree) -> Analysis:
        analysis = Analysis({"map": markov_lengths(grids(result)["map"])})
        fit = crossing(result, noise)
        for value, source in noise.critical:
            label = f"{noise.symbol}* from crossing label entropies ({source.split(',')[0]})"
            analysis.rows.append(Row(noise.name, label, value, fit.critical.value, fit.critical.stderr, source))
        analysis.rows.append(
            Row(noise.name, "nu from their collapse", noise.nu[0], fit.nu.value, fit.nu.stderr, noise.nu[1])
        )
        return analysis

    def figure(result: xr.DataTree) -> Any:
        return _figure(result, noise)

    return NamedExperiment(noise.name, f"Loops under {noise.channel} noise", specs, analyse, figure)


def crossing(result: xr.DataTree, noise: Noise) -> Crossing:
    """Crossing of E H(S|x) / log 2 over all sizes of the label grid, against the noise parameter."""
    grid = grids(result)["label"]
    control = np.array([noise.control(t) for t in grid["t"].values])
    size, control = np.meshgrid(grid["length"].values, control, indexing="ij")
    entropy, stderr = grid["label_entropy"].values / math.log(2), grid["label_entropy_stderr"].values / math.log(2)
    return finite_size_crossing(control, size, entropy, stderr, (noise.critical[0][0], noise.nu[0]))


def _figure(result: xr.DataTree, noise: Noise) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.8)
    grid: dict[str, xr.Variable] = grids(result)["map"]
    critical = noise.critical[0][0]
    control, radii = np.array([noise.control(t) for t in grid["t"].values]), grid["radius"].values
    plots.heat_map(
        left, control, np.arange(len(radii)), grid["cmi"].values.T, r"$I_t(A;C|B)$ (nats)", log=True, vmin=1e-7
    )
    left.set_yticks(np.arange(len(radii)), [str(r) for r in radii])
    left.set(
        xlabel=f"noise {noise.symbol}", ylabel="radius r", title=f"L = {grid_length(result)}; black: known transition"
    )
    plots.curve(middle, 0, control, grid["markov_length"].values, grid["markov_length_stderr"].values)
    middle.set(
        xlabel=f"noise {noise.symbol}", ylabel=r"Markov length $\xi$ (sites)", title="Markov length", yscale="log"
    )
    fit, label = crossing(result, noise), grids(result)["label"]
    x = np.array([noise.control(t) for t in label["t"].values])
    fine = np.linspace(x[0], x[-1], 100)
    for k, length in enumerate(label["length"].values):
        value, stderr = label["label_entropy"].values[k], label["label_entropy_stderr"].values[k]
        plots.curve(right, k, x, value / math.log(2), stderr / math.log(2), f"L = {length}")
        scaled = fit.scaled(fine, length)
        right.plot(fine, np.polynomial.polynomial.polyval(scaled, fit.coefficients), color=plots.COLORS[k % 7], lw=1)
    right.set(
        xlabel=f"noise {noise.symbol}",
        ylabel=r"$E\,H(S|x)\,/\,\log 2$",
        title="Label entropy crosses at the transition",
    )
    right.legend(frameon=False, fontsize=8)
    for ax in (left, middle, right):
        ax.axvline(critical, color="k", lw=1.5)
        ax.locator_params(axis="x", nbins=6)
    return fig


def grid_length(result: xr.DataTree) -> int:
    """Side of the lattice of the map, from the spec kept in the file."""
    import json

    return int(json.loads(str(result.attrs["parameters"]))["grids"]["map"]["model"]["length"])
