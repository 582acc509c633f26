"""Domain walls of Ising spins under Gaussian noise: the (beta, noise) phase diagram.

Inference of the walls has a line of transitions from (beta = 0, s = sigma/alpha = 0.979) to the tricritical point
(beta_c, 1/sqrt(beta_c)). On s^2 = 1/beta noise and prior are equally strong, and the posterior correlation squared
averages to the clean correlation exactly, E <s s'>_x^2 = <s s'>: a sharp test at every beta.
"""

import math
from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..estimate import Estimate
from ..models.ising import BETA_CRITICAL
from ..phases import finite_size_crossing
from ..results import Row, grids, variable
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment, estimates, markov_lengths

NAME = "domain-walls"
DUALITY = "duality conjecture at beta = 0"
TRICRITICAL = "1/sqrt(beta_c), Puetz et al. (2025), arXiv:2504.12385"
IDENTITY = "E <s s'>_x^2 = <s s'> on sigma^2/alpha^2 = 1/beta, exact"
# where the crossing is sought: (beta, lowest and highest sigma/alpha)
LINE = (
    (0.0, 0.9, 1.06),
    (0.1, 0.93, 1.1),
    (0.2, 0.97, 1.17),
    (0.3, 0.96, 1.16),
    (0.38, 1.02, 1.32),
    (BETA_CRITICAL, 1.3, 1.75),
)
IDENTITY_BETAS = (0.2, 0.3, 0.4, BETA_CRITICAL, 0.5, 0.6)
CUT_BETA = 0.3


def _time(s: float) -> float:
    return round(float(s / (1 + s)), 6)


def specs(preset: str) -> Spec:
    full = preset == "full"
    channel = {"name": "gaussian", "schedule": "linear"}
    grids: dict[str, Any] = {}
    for beta, low, high in LINE:
        grids[_line_name(beta)] = {
            "model": {"name": NAME, "length": [8, 10, 12, 14] if full else [6, 8, 10, 12], "beta": beta},
            "channel": channel,
            "t": [_time(s) for s in np.linspace(low, high, 9 if full else 7)],
            "quantity": "label_entropy",
            "n_samples": 100000 if full else 5000,
        }
    for beta in IDENTITY_BETAS:
        grids[_identity_name(beta)] = {
            "model": {"name": NAME, "length": 14 if full else 10, "beta": beta},
            "channel": channel,
            "t": [_time(1 / math.sqrt(beta))],
            "quantity": "squared_correlation",
            "n_samples": 100000 if full else 10000,
        }
    grids["cut"] = {
        "model": {"name": NAME, "length": 14, "beta": [CUT_BETA]},
        "channel": channel,
        "t": [_time(s) for s in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0)],
        "radii": [1, 2, 3, 4],
        "n_samples": 20000 if full else 1000,
    }
    return Spec(name=NAME, grids=grids)


def _line_name(beta: float) -> str:
    return f"line-{1000 * beta:03.0f}"


def _identity_name(beta: float) -> str:
    return f"identity-{1000 * beta:03.0f}"


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis({"cut": markov_lengths(grids(result)["cut"])})
    found: list[Estimate | None] = []
    for beta, low, high in LINE:
        grid = grids(result)[_line_name(beta)]
        s = grid["t"].values / (1 - grid["t"].values)
        size, control = np.meshgrid(grid["length"].values, s, indexing="ij")
        entropy, stderr = grid["label_entropy"].values / math.log(2), grid["label_entropy_stderr"].values / math.log(2)
        fit = finite_size_crossing(control, size, entropy, stderr, ((low + high) / 2, 1.5))
        found.append(fit.critical if low < fit.critical.value < high else None)
    analysis.variables["line"] = {
        "line_beta": variable(("line_beta",), np.array([beta for beta, *_ in LINE]), "1", "coupling of the faces"),
        **estimates(("line_beta",), "critical_noise", found, "1", "sigma/alpha at which the label entropies cross"),
    }
    for value, source, end in ((0.978694, DUALITY, found[0]), (BETA_CRITICAL**-0.5, TRICRITICAL, found[-1])):
        if end is not None:
            beta = 0.0 if source == DUALITY else BETA_CRITICAL
            label = f"sigma/alpha* (beta = {beta:.3f}) from crossing label entropies"
            analysis.rows.append(Row(NAME, label, value, end.value, end.stderr, f"{source}; asymptotic, L <= 14"))
    for beta in IDENTITY_BETAS:
        grid = grids(result)[_identity_name(beta)]
        value = float(grid["squared_correlation"].values.ravel()[0])
        error = float(grid["squared_correlation_stderr"].values.ravel()[0])
        clean = float(grid["clean_correlation"].values.ravel()[0])
        analysis.rows.append(
            Row(NAME, f"E <s s'>_x^2 at sigma^2/alpha^2 = 1/beta, beta = {beta:.3f}", clean, value, error, IDENTITY)
        )
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.7)
    line = grids(result)["line"]
    plots.curve(
        left,
        0,
        line["line_beta"].values,
        line["critical_noise"].values,
        line["critical_noise_stderr"].values,
        "crossing",
    )
    beta = np.linspace(0.35, 0.7, 100)
    left.plot(beta, beta**-0.5, "k--", lw=1, label=r"$\sigma^2/\alpha^2 = 1/\beta$")
    left.plot([0, BETA_CRITICAL], [0.978694, BETA_CRITICAL**-0.5], "k*", ms=10, label="duality; tricritical")
    left.axvline(BETA_CRITICAL, color="k", lw=1, ls=":")
    left.set(
        xlabel="β", ylabel="noise σ/α", xlim=(-0.03, 0.62), ylim=(0.85, 1.75), title="Line of learning transitions"
    )
    left.text(0.1, 1.35, "walls lost", fontsize=9)
    left.text(0.25, 0.92, "walls known", fontsize=9)
    left.legend(frameon=False, fontsize=8, loc="upper left")
    cut = grids(result)["cut"]
    s = cut["t"].values / (1 - cut["t"].values)
    for k, r in enumerate(cut["radius"].values):
        plots.curve(middle, k, s, cut["cmi"].values[0, :, k], cut["cmi_stderr"].values[0, :, k], f"r = {r}")
    middle.set(
        xlabel="noise σ/α",
        ylabel=r"$I(A;C|B)$ (nats)",
        yscale="log",
        ylim=(1e-9, 1),
        title=f"Cut at β = {CUT_BETA}: CMI of a bond",
    )
    middle.legend(frameon=False, fontsize=8)
    plots.curve(right, 0, s, cut["markov_length"].values[0], cut["markov_length_stderr"].values[0])
    right.set(xlabel="noise σ/α", ylabel=r"Markov length $\xi$ (sites)", title="and its Markov length")
    critical = np.interp(CUT_BETA, line["line_beta"].values, line["critical_noise"].values)
    for ax in (middle, right):
        ax.axvline(critical, color="k", lw=1, ls="--")
    return fig


EXPERIMENT = NamedExperiment(NAME, "Domain walls: the (beta, noise) phase diagram", specs, analyse, figure)
