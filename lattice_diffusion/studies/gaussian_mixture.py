"""Two classes of white Gaussian images: CMI, peak time and windows against the size of the image.

A is a patch of side L/5 and B reaches L/5 beyond it, so that all regions grow with the image and every
characteristic time approaches 1 as 1/L.
"""

from typing import Any

import numpy as np
import xarray as xr

from .. import plots
from ..estimate import Estimate
from ..exact.gaussian import label_information
from ..noise_units import NoiseLevel
from ..phases import nonlocality_window, peak_time, power_law, speciation_window
from ..results import estimates, grids, variable
from .base import Analysis, Study, WhiteMixture, by_size, grid, grid_times, pooled_z, row, rows_of

NAME = "gaussian-mixture"
TOLERANCE = 0.01  # nats, of both windows
ENDS = ("nonlocality_start", "nonlocality_stop", "speciation_start", "speciation_stop", "peak")
CLOSED = "F(K_B) - F(K_AB) - F(K_BC) + F(K_ABC)"


def wanted(full: bool) -> dict[str, Any]:
    common = {
        "t": grid_times(0.5, 0.9993 if full else 0.9985, 55 if full else 37),
        "n_samples": 10000 if full else 1500,
        "method": "sampled",
    }
    grids = {}
    for length in [20, 30, 40, 60, 80, 120, 160] if full else [20, 30, 40, 80]:
        model = {"name": NAME, "length": length, "mean": 1.0, "std": 1.0}
        grids[f"length-{length}"] = grid(model, "gaussian", radii=[length // 5], patch=length // 5, **common)
    return grids


def mixture(length: int) -> WhiteMixture:
    a, ab, abc = (length // 5) ** 2, (3 * (length // 5)) ** 2, length**2
    return WhiteMixture(1.0, 1.0, (ab - a, ab, abc - a, abc))


def signal_per_site(t: float) -> float:
    """Return K_R / sqrt(|R|) at mu = std = 1, linear schedule: 1 - t near t = 1."""
    return float((1 - t) / np.hypot(1 - t, t))


def analyse(result: xr.DataTree) -> Analysis:
    analysis, measured, exact_peaks = Analysis(), [], []
    ends: dict[str, list[Estimate | None]] = {key: [] for key in ENDS}
    systems = by_size(result, "length-")
    for length, data in systems.items():
        times, sampled, stderr = (data[key].values for key in ("t", "cmi", "cmi_stderr"))
        exact = mixture(length)
        truth = np.array([exact.cmi(t) for t in times])
        analysis.variables[f"length-{length}"] = {"cmi_closed": variable(("t",), truth, "nat", f"closed form {CLOSED}")}
        measured.append((sampled, stderr, truth))
        exact_peaks.append(exact.peak(times[0], times[-1]))
        gammas = [exact.gammas(t) for t in times]
        known_b, known_abc = ([label_information(gamma[k]) for gamma in gammas] for k in (0, 3))
        windows = (
            nonlocality_window(times, sampled, TOLERANCE, stderr),
            speciation_window(times, label_information(exact.gammas(0.0)[1]), known_b, known_abc, TOLERANCE),
        )
        found = [end for window in windows for end in ((window.start, window.stop) if window else (None, None))]
        for key, end in zip(ENDS, (*found, peak_time(times, sampled, stderr)), strict=True):
            ends[key].append(end)
    sampled, stderr, truth = (np.concatenate(column) for column in zip(*measured, strict=True))
    seen = truth > TOLERANCE  # below, rare samples dominate the Monte Carlo average and its error
    label = f"mean z^2 of sampled CMI > {TOLERANCE} over (t, L)"
    analysis.rows.append(row(label, pooled_z(sampled[seen], stderr[seen], truth[seen]), 1.0, CLOSED, "exact"))
    lengths = np.array([*systems])
    sizes = {"length": variable(("length",), lengths, "sites", "side L of the image")}
    sizes |= {name: next(iter(systems.values()))[name].variable for name in ("t", "log_snr")}
    analysis.variables["sizes"] = sizes
    for key, found in ends.items():
        what = key.replace("_", " ")
        sizes |= estimates(("length",), f"{key}_time", found, "1", f"time of the {what}")
        times_of = [e for e in found if e is not None]
        if len(times_of) == len(found):
            signal = np.array([signal_per_site(e.value) for e in times_of])
            slope = np.array([(signal_per_site(e.value + 1e-6) - signal_per_site(e.value)) / 1e-6 for e in times_of])
            error = np.abs(slope) * np.array([e.stderr for e in times_of])
            law = power_law(lengths, signal, error if np.all(error > 0) else None)
            source = "K_R = signal sqrt(|R|); signal ~ 1 - t near t = 1"
            analysis.rows.append(row(f"exponent x of signal ~ L^x, {what}", law.exponent, -1.0, source, "exact"))
    label, source = "peak time (L = {length})", f"maximum of {CLOSED}"
    analysis.rows.extend(rows_of(xr.Dataset(sizes), "peak_time", label, exact_peaks, source, "exact"))
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.4)
    lengths, curves = zip(*by_size(result, "length-").items(), strict=True)
    sizes = grids(result)["sizes"]
    u, length = 1 - curves[0]["t"].values, sizes["length"]
    stacked = xr.concat([data[["cmi", "cmi_stderr"]] for data in curves], length).assign_coords(t=np.log10(u))
    plots.cells(left, stacked, "cmi", y="length", log=False, vmin=0.0)
    side = plots.places(length)
    peaks = [mixture(n).peak(1 - u[0], 1 - u[-1]) for n in lengths]
    left.plot(np.log10(1 - np.array(peaks)), side, "k", label="peak, closed form")
    left.plot(np.log10(1 - sizes["peak_time"]), side, "o", color="k", mfc="white", label="peak, sampled")
    left.set(title="The window moves to pure noise")
    middle.set_xscale("log")
    for k, (n, data) in enumerate(zip(lengths, curves, strict=True)):
        plots.curves(middle, data, "cmi", k=k, at=u, log=False, label=f"L = {n}")
    middle.set(title="CMI by sampling; black: closed form")
    for ax, places in ((left, np.log10(u)), (middle, u)):
        ax.invert_xaxis()
        plots.noise_axis(ax, curves[0], at=places)
    for k, key in enumerate(ENDS):
        signal = np.array([signal_per_site(t) for t in sizes[f"{key}_time"].values])
        error = np.abs(signal / (1 - sizes[f"{key}_time"])) * sizes[f"{key}_time_stderr"]
        plots.curve(right, k, length, signal, error, key.replace("_", " "))
        right.plot(length, signal[0] * float(length[0]) / length, "k", lw=1, zorder=1)
    right.set(xscale="log", yscale="log", xlabel="side L", title="Signal per site at all times scales as 1/L (black)")
    right.set_xticks(length.values, [str(n) for n in length.values], minor=False)
    right.minorticks_off()
    ticks = np.array([0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998])
    log_snr = NoiseLevel.of(ticks, "linear").log_snr
    plots.noise_rows(right, np.vectorize(signal_per_site)(ticks), ticks, log_snr, upright=True)
    for ax in (left, middle, right):
        plots.legend(ax, 2 if ax is right else 3)
    return fig


SHOWS = "The times at which two classes of images are nonlocal, and decide their class, approach t = 1 as 1/L."
STUDY = Study(NAME, "Gaussian mixture: CMI, peak and windows against size", SHOWS, wanted, analyse, figure)
