"""Two classes of white Gaussian images: CMI, peak time and windows against the size of the image.

A is a patch of side L/5 and B reaches L/5 beyond it, so that all regions grow with the image and every
characteristic time approaches 1 as 1/L.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .. import plots
from ..channels import Gaussian
from ..estimate import Estimate
from ..exact import cmi_curve
from ..lattice import Lattice, Tripartition
from ..models import GaussianMixture
from ..phases import nonlocality_window, peak_time, power_law, speciation_window
from ..results import estimates, grids, variable
from ..runs.spec import Spec
from .base import Analysis, Study, grid, grid_times, maximum, pooled_z, row

NAME = "gaussian-mixture"
TOLERANCE = 0.01  # nats, of both windows
ENDS = ("nonlocality_start", "nonlocality_stop", "speciation_start", "speciation_stop", "peak")
CLOSED = "F(K_B) - F(K_AB) - F(K_BC) + F(K_ABC)"
CHANNEL = Gaussian("linear")


def specs(preset: str) -> Spec:
    full = preset == "full"
    common = {
        "t": grid_times(0.5, 0.9993 if full else 0.9985, 55 if full else 37),
        "n_samples": 10000 if full else 3000,
        "method": "sampled",
    }
    grids = {}
    for length in [20, 30, 40, 60, 80, 120, 160] if full else [20, 30, 40, 80]:
        model = {"name": NAME, "length": length, "mean": 1.0, "std": 1.0}
        grids[f"length-{length}"] = grid(model, "gaussian", radii=[length // 5], patch=length // 5, **common)
    return Spec(name=NAME, grids=grids)


@dataclass(frozen=True)
class System:
    """The exact side of one grid."""

    length: int
    model: GaussianMixture
    parts: Tripartition

    @classmethod
    def of(cls, name: str) -> "System":
        length = int(name.removeprefix("length-"))
        lattice = Lattice((length, length))
        return cls(length, GaussianMixture(lattice), lattice.tripartition(lattice.center, length // 5, length // 5))

    def cmi(self, t: float) -> float:
        return float(cmi_curve(self.model, CHANNEL, t, [self.parts]).values[0])

    def peak(self, times: NDArray) -> float:
        return maximum(self.cmi, times[0], times[-1], 1e-9)

    def known(self, t: float, region: NDArray) -> float:
        """Return the information of a region about the label."""
        return self.model.label_information(CHANNEL, t, region)


def signal_per_site(t: float) -> float:
    """Return K_R / sqrt(|R|) at mu = std = 1, linear schedule: 1 - t near t = 1."""
    return float((1 - t) / np.hypot(1 - t, t))


def analyse(result: xr.DataTree) -> Analysis:
    analysis, measured, exact_peaks = Analysis(), [], []
    ends: dict[str, list[Estimate | None]] = {key: [] for key in ENDS}
    systems = [System.of(name) for name in grids(result) if name.startswith("length-")]
    for system in systems:
        name, parts = f"length-{system.length}", system.parts
        data = grids(result)[name].isel(radius=0)
        times, sampled, stderr = (data[key].values for key in ("t", "cmi", "cmi_stderr"))
        truth = np.array([system.cmi(t) for t in times])
        analysis.variables[name] = {"cmi_closed": variable(("t",), truth, "nat", f"closed form {CLOSED}")}
        measured.append((sampled, stderr, truth))
        exact_peaks.append(system.peak(times))
        known_b, known_abc = ([system.known(t, region) for t in times] for region in (parts.B, parts.ABC))
        windows = (
            nonlocality_window(times, sampled, TOLERANCE, stderr),
            speciation_window(times, system.known(0.0, parts.AB), known_b, known_abc, TOLERANCE),
        )
        found = [end for window in windows for end in ((window.start, window.stop) if window else (None, None))]
        for key, end in zip(ENDS, (*found, peak_time(times, sampled, stderr)), strict=True):
            ends[key].append(end)
    sampled, stderr, truth = (np.concatenate(column) for column in zip(*measured, strict=True))
    seen = truth > TOLERANCE  # below, rare samples dominate the Monte Carlo average and its error
    label = f"mean z^2 of sampled CMI > {TOLERANCE} over (t, L)"
    analysis.rows.append(row(label, pooled_z(sampled[seen], stderr[seen], truth[seen]), 1.0, CLOSED, "exact"))
    for system, peak, exact in zip(systems, ends["peak"], exact_peaks, strict=True):
        if peak is not None:
            label = f"peak time (L = {system.length})"
            analysis.rows.append(row(label, peak, exact, f"maximum of {CLOSED}", "exact"))
    lengths = np.array([system.length for system in systems])
    sizes = {"length": variable(("length",), lengths, "sites", "side L of the image")}
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
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, (left, middle, right) = plots.new_figure(3, width=4.4)
    systems = [System.of(name) for name in grids(result) if name.startswith("length-")]
    curves = [grids(result)[f"length-{system.length}"].isel(radius=0) for system in systems]
    sizes = grids(result)["sizes"]
    u, length = 1 - curves[0]["t"].values, sizes["length"]
    stacked = xr.concat([data[["cmi", "cmi_stderr"]] for data in curves], length).assign_coords(t=np.log10(u))
    plots.cells(left, stacked, "cmi", y="length", log=False, vmin=0.0)
    side = plots.places(length)
    left.plot(np.log10([1 - system.peak(1 - u) for system in systems]), side, "k", label="peak, closed form")
    left.plot(np.log10(1 - sizes["peak_time"]), side, "o", color="k", mfc="white", label="peak, sampled")
    left.set(xlabel=r"$\log_{10}(1 - t)$", title="The window moves to pure noise")
    for k, (system, data) in enumerate(zip(systems, curves, strict=True)):
        plots.curves(middle, data, "cmi", k=k, at=u, log=False, label=f"L = {system.length}")
    middle.set(xscale="log", xlabel="1 - t", title="CMI by sampling; black: closed form")
    for ax in (left, middle):
        ax.invert_xaxis()
    for k, key in enumerate(ENDS):
        signal = np.array([signal_per_site(t) for t in sizes[f"{key}_time"].values])
        error = np.abs(signal / (1 - sizes[f"{key}_time"])) * sizes[f"{key}_time_stderr"]
        plots.curve(right, k, length, signal, error, key.replace("_", " "))
        right.plot(length, signal[0] * float(length[0]) / length, "k", lw=1, zorder=1)
    right.set(
        xscale="log", yscale="log", xlabel="side L", ylabel="signal per site", title="All times scale as 1/L (black)"
    )
    right.set_xticks(length.values, [str(n) for n in length.values], minor=False)
    right.minorticks_off()
    for ax in (left, middle, right):
        plots.legend(ax, 2 if ax is right else 3)
    return fig


SHOWS = "The times at which two classes of images are nonlocal, and decide their class, approach t = 1 as 1/L."
STUDY = Study(NAME, "Gaussian mixture: CMI, peak and windows against size", SHOWS, specs, analyse, figure)
