"""Two classes of white Gaussian images: CMI, peak time and windows against the size of the image.

A is a patch of side L/5 and B reaches L/5 beyond it, so that all regions grow with the image and every
characteristic time approaches 1 as 1/L.
"""

from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..channels import Gaussian
from ..estimate import Estimate
from ..exact import cmi_curve
from ..lattice import Lattice
from ..models import GaussianMixture
from ..phases import nonlocality_window, peak_time, power_law, speciation_window
from ..results import Row, grids, variable
from ..runs.spec import Spec
from .base import Analysis, NamedExperiment, estimates, grid_times, pooled_z

NAME = "gaussian-mixture"
TOLERANCE = 0.01  # nats, of both windows
ENDS = ("nonlocality_start", "nonlocality_stop", "speciation_start", "speciation_stop", "peak")
CLOSED = "F(K_B) - F(K_AB) - F(K_BC) + F(K_ABC)"


def specs(preset: str) -> Spec:
    full = preset == "full"
    lengths = [20, 30, 40, 60, 80, 120, 160] if full else [20, 30, 40, 60, 80]
    grids = {}
    for length in lengths:
        grids[f"length-{length}"] = {
            "model": {"name": NAME, "length": length, "mean": 1.0, "std": 1.0},
            "channel": {"name": "gaussian", "schedule": "linear"},
            "t": grid_times(0.5, 0.9993 if full else 0.9985, 55 if full else 37),
            "radii": [length // 5],
            "patch": length // 5,
            "n_samples": 10000 if full else 3000,
            "method": "sampled",
        }
    return Spec(name=NAME, grids=grids)


def _setting(name: str) -> tuple[GaussianMixture, Any, int]:
    length = int(name.removeprefix("length-"))
    lattice = Lattice((length, length))
    return GaussianMixture(lattice), lattice.tripartition(lattice.center, length // 5, length // 5), length


def signal_per_site(t: float) -> float:
    """K_R / sqrt(|R|) at mu = std = 1, linear schedule: 1 - t near t = 1."""
    return float((1 - t) / np.hypot(1 - t, t))


def analyse(result: xr.DataTree) -> Analysis:
    channel = Gaussian("linear")
    analysis = Analysis()
    lengths, peaks, exact_peaks, windows, label_windows = [], [], [], [], []
    values, errors, truths = [], [], []
    for name, grid in grids(result).items():
        if not name.startswith("length-"):
            continue
        model, parts, length = _setting(name)
        times = grid["t"].values
        sampled, stderr = grid["cmi"].values[:, 0], grid["cmi_stderr"].values[:, 0]
        truth = np.array([cmi_curve(model, channel, t, [parts]).values[0] for t in times])
        analysis.variables[name] = {"cmi_closed": variable(("t",), truth, "nat", f"closed form {CLOSED}")}
        values.append(sampled)
        errors.append(stderr)
        truths.append(truth)
        lengths.append(length)
        peaks.append(peak_time(times, sampled, stderr))
        exact_peaks.append(_exact_peak(model, channel, parts, times))
        windows.append(nonlocality_window(times, sampled, TOLERANCE, stderr))
        label_windows.append(
            speciation_window(
                times,
                model.label_information(channel, 0.0, parts.AB),
                [model.label_information(channel, t, parts.B) for t in times],
                [model.label_information(channel, t, parts.ABC) for t in times],
                TOLERANCE,
            )
        )
    sampled, stderr, truth = np.concatenate(values), np.concatenate(errors), np.concatenate(truths)
    seen = truth > TOLERANCE  # below, rare samples dominate the Monte Carlo average and its error
    pooled = pooled_z(sampled[seen], stderr[seen], truth[seen])
    analysis.rows.append(
        Row(NAME, f"mean z^2 of sampled CMI > {TOLERANCE} over (t, L)", 1.0, pooled.value, pooled.stderr, CLOSED)
    )
    for length, peak, exact in zip(lengths, peaks, exact_peaks, strict=True):
        if peak is None:
            continue
        analysis.rows.append(
            Row(NAME, f"peak time (L = {length})", exact, peak.value, peak.stderr, f"maximum of {CLOSED}")
        )
    found_ends = (
        [w.start if w else None for w in windows],
        [w.stop if w else None for w in windows],
        [w.start if w else None for w in label_windows],
        [w.stop if w else None for w in label_windows],
        peaks,
    )
    sizes = {"length": variable(("length",), np.array(lengths), "sites", "side L of the image")}
    analysis.variables["sizes"] = sizes
    for key, found in zip(ENDS, found_ends, strict=True):
        what = key.replace("_", " ")
        sizes |= estimates(("length",), f"{key}_time", found, "1", f"time of the {what}")
        if all(e is not None for e in found):
            times_of = [e for e in found if isinstance(e, Estimate)]
            signal = np.array([signal_per_site(e.value) for e in times_of])
            slope = np.array([(signal_per_site(e.value + 1e-6) - signal_per_site(e.value)) / 1e-6 for e in times_of])
            error = np.abs(slope) * np.array([e.stderr for e in times_of])
            law = power_law(lengths, signal, error if np.all(error > 0) else None)
            analysis.rows.append(
                Row(
                    NAME,
                    f"exponent x of signal ~ L^x, {what}",
                    -1.0,
                    law.exponent.value,
                    law.exponent.stderr,
                    "K_R = signal sqrt(|R|); signal ~ 1 - t near t = 1",
                )
            )
    return analysis


def _exact_peak(model: GaussianMixture, channel: Gaussian, parts: Any, times: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar

    best = minimize_scalar(
        lambda t: -cmi_curve(model, channel, t, [parts]).values[0],
        bounds=(times[0], times[-1]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(best.x)


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.8)
    names = [name for name in grids(result) if name.startswith("length-")]
    sizes = grids(result)["sizes"]
    length = sizes["length"].values
    u = 1 - grids(result)[names[0]]["t"].values
    heat = [grids(result)[name]["cmi"].values[:, 0] for name in names]
    plots.heat_map(left, np.log10(u), np.arange(len(names)), heat, r"$I_t(A;C|B)$ (nats)")
    peaks = [_exact_peak(model, Gaussian("linear"), parts, 1 - u) for model, parts, _ in map(_setting, names)]
    left.plot(np.log10(1 - np.array(peaks)), np.arange(len(names)), "k", lw=1.5)
    left.errorbar(np.log10(1 - sizes["peak_time"].values), np.arange(len(names)), fmt="wo", ms=4, mec="k")
    left.set(xlabel=r"$\log_{10}(1 - t)$", ylabel="side L", title="CMI and its peak; black: closed form")
    left.set_yticks(np.arange(len(names)), [str(n) for n in length])
    left.invert_xaxis()
    fine = np.geomspace(u[0], u[-1], 120)
    for k, name in enumerate(names[:: max(1, len(names) // 3)]):
        grid, (model, parts, size) = grids(result)[name], _setting(name)
        plots.curve(middle, k, u, grid["cmi"].values[:, 0], grid["cmi_stderr"].values[:, 0], f"L = {size}")
        closed = [cmi_curve(model, Gaussian("linear"), 1 - x, [parts]).values[0] for x in fine]
        middle.plot(fine, closed, "k", lw=1)
    middle.set(xscale="log", xlabel="1 - t", ylabel=r"$I_t(A;C|B)$ (nats)", title="Monte Carlo; black: closed form")
    middle.invert_xaxis()
    middle.legend(frameon=False, fontsize=8)
    for k, key in enumerate(ENDS):
        time, stderr = sizes[f"{key}_time"].values, sizes[f"{key}_time_stderr"].values
        signal = np.array([signal_per_site(t) for t in time])
        plots.curve(right, k, length, signal, stderr, key.replace("_", " "))
        right.plot(length, signal[0] * length[0] / length, "k", lw=1)
    right.set(xscale="log", yscale="log", xlabel="side L", ylabel="signal per site", title="Windows; black: 1/L")
    right.set_xticks(length, [str(n) for n in length])
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8)
    return fig


EXPERIMENT = NamedExperiment(NAME, "Gaussian mixture: CMI, peak and windows against size", specs, analyse, figure)
