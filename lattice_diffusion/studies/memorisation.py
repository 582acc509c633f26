"""When a denoiser trained on n samples copies them: I(X_0,R ; X_t,R) = log n, patch by patch.

The denoiser made of n training patches (`NearestPatch`) is asked about noisy versions of its own training data. Where
it copies, its error is far below that of the exact local denoiser, which no honest denoiser beats; the time at which
it is half of it is the measured boundary. The error is squared, of tokens that of the indicators of all symbols.
"""

import math
from typing import Annotated, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from .. import plots
from ..channels import for_model
from ..denoisers import NearestPatch
from ..denoisers.posterior import LEVEL_AXIS
from ..errors import InputError
from ..estimate import Estimate
from ..exact import posterior_mean
from ..phases import memorisation_time, patch_information
from ..results import estimates, grids
from ..runs.points import Point
from ..runs.quantities import Settings, Values, check_solvable, quantity, settings_axis, with_errors
from .base import Analysis, Study, grid, row

NAME = "memorisation"
SOURCE = "I(X_0,R; X_t,R) = log n, asymptotic in n"
TITLES = {
    "field": "Gaussian field",
    "chain": "Ising chain, flips",
    "masked": "Ising chain, masks",
    "tokens": "Potts chain, uniform",
    "masked-tokens": "Potts chain, masks",
}


class MemorySettings(Settings):
    """sizes: numbers n of training samples; asked: how many of them are asked about, of `repeats` training sets."""

    sizes: tuple[Annotated[int, Field(ge=1)], ...] = (30, 300, 3000)
    asked: Annotated[int, Field(ge=2)] = 30
    repeats: Annotated[int, Field(ge=2)] = 4


def _patch(model: Any, radius: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = model.lattice.box(model.lattice.center, radius)
    return found


def _check(point: Point) -> None:
    check_solvable(point)
    if len(point.model.image_shape) - 1 != point.model.lattice.ndim:
        raise InputError(f"memorisation is measured for data of one channel, got {point.model.name}")
    inside = min(min(c, n - 1 - c) for c, n in zip(point.model.lattice.center, point.model.lattice.shape, strict=True))
    if max(point.radii) > inside:
        raise InputError(f"memorisation takes boxes in the lattice, radius at most {inside}, got {max(point.radii)}")


COLUMNS = {
    **with_errors("copy_error", ("radius", "size"), "1", "error on own training data over the exact local error"),
    **with_errors("information", ("radius",), "nat", "I(X_0,R; X_t,R) of the box R"),
}


@quantity(
    "memorisation",
    COLUMNS,
    settings_axis("size", "sizes", "1", "number n of training samples"),
    MemorySettings,
    check=_check,
)
def memorisation(point: Point, rng: np.random.Generator) -> Values:
    model, t, settings = point.model, point.t, point.settings
    channel, tokens = for_model(model, point.channel), model.data == "tokens"
    n_sizes, n_radii = len(settings.sizes), len(point.radii)
    errors = np.empty((settings.repeats, n_radii, n_sizes, 2))  # own and exact
    told = [patch_information(model, channel, t, _patch(model, r), point.n_samples, rng) for r in point.radii]
    for repeat in range(settings.repeats):
        clean = np.asarray(model.sample(max(settings.sizes), rng), float)
        for i, r in enumerate(point.radii):
            region, center = _patch(model, r), tuple(model.lattice.center)
            box = (slice(None), None, *(slice(c - r, c + r + 1) for c in center))
            for j, n in enumerate(settings.sizes):
                own = rng.permutation(n)[: settings.asked]
                x_t = channel.corrupt(clean[own], t, rng)
                law: Any = NearestPatch(clean[:n][box], channel)(x_t[box], t)
                memory = np.moveaxis(law.probabilities, LEVEL_AXIS, -1) if tokens else law.mean
                memory = memory[(slice(None), 0, *[r] * len(center))]
                exact = posterior_mean(model, channel, t, x_t, region)[(slice(None), *center)]
                truth = clean[own][(slice(None), *center)]
                truth = truth[:, None] == np.arange(model.q) if tokens else truth
                errors[repeat, i, j] = ((memory - truth) ** 2).mean(), ((exact - truth) ** 2).mean()
    mean, error = errors.mean(axis=0), errors.std(axis=0, ddof=1) / math.sqrt(settings.repeats)
    share = mean[..., 0] / mean[..., 1].mean(axis=1, keepdims=True)
    return {
        "copy_error": share,
        "copy_error_stderr": error[..., 0] / mean[..., 1].mean(axis=1, keepdims=True),
        "information": np.array([e.value for e in told]),
        "information_stderr": np.array([e.stderr for e in told]),
    }


def wanted(full: bool) -> dict[str, Any]:
    settings = {"sizes": [30, 300, 3000, 30000] if full else [30, 300, 3000], "asked": 100 if full else 30}
    settings["repeats"] = 10 if full else 4
    field = {"name": "gaussian-field", "length": 9, "mass_squared": 0.5}
    chain = {"name": "ising-chain", "length": 31, "beta": 0.5}
    potts = {"name": "potts-chain", "length": 31, "coupling": 1.0, "q": 4}
    keys = {"quantity": "memorisation", "settings": settings, "n_samples": 2000 if full else 400}
    late = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7]
    times = [0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6]
    return {
        "field": grid(field, "gaussian", t=late, radii=[1, 2], **keys),
        "chain": grid(chain, "bitflip", t=times, radii=[5, 8, 12], **keys),
        "masked": grid(chain, "erasure", t=[0.1, 0.2, 0.3, *late[5:]], radii=[5, 8, 12], **keys),
        "tokens": grid(potts, "uniform", t=[*times, 0.7], radii=[3, 5], **keys),
        "masked-tokens": grid(potts, "erasure", t=[0.1, 0.2, 0.3, *late[5:], 0.8], radii=[3, 5], **keys),
    }


def departure(data: xr.Dataset) -> Estimate | None:
    """Return the time at which the error on training data is half the exact one; None where it is not bracketed."""
    t, share, error = data["t"].values, data["copy_error"].values, data["copy_error_stderr"].values
    below = np.flatnonzero((share[:-1] < 0.5) & (share[1:] >= 0.5))
    if not len(below):
        return None
    i = int(below[-1])
    slope = (share[i + 1] - share[i]) / (t[i + 1] - t[i])
    return Estimate(float(t[i] + (0.5 - share[i]) / slope), float(max(error[i], error[i + 1]) / slope), 0)


def analyse(result: xr.DataTree) -> Analysis:
    analysis = Analysis()
    for name, data in grids(result).items():
        sizes, radii = data["size"].values, data["radius"].values
        shape = len(radii), len(sizes)
        known: list[Estimate | None] = []
        found: list[Estimate | None] = []
        for i, j in np.ndindex(shape):
            place = data.isel(radius=i, size=j)
            curve = data["t"].values, place["information"].values, place["information_stderr"].values
            predicted = memorisation_time(curve, int(sizes[j]))
            seen = departure(place)
            known.append(predicted)
            found.append(seen)
            if predicted is not None and seen is not None and i == len(radii) - 1:
                label = f"memorisation time, {TITLES[name]}, r = {radii[i]}, n = {sizes[j]}"
                t = seen.value if "log_snr" in data else None
                both = Estimate(seen.value, math.hypot(seen.stderr, predicted.stderr), 0)
                analysis.rows.append(row(label, both, predicted.value, SOURCE, "asymptotic", t))
        dims, words = ("radius", "size"), "memorisation time, training error half the exact one"
        analysis.variables[name] = {
            **estimates(dims, "memorisation_predicted", known, "1", "memorisation time, I = log n", shape),
            **estimates(dims, "memorisation_measured", found, "1", words, shape),
        }
    return analysis


def figure(result: xr.DataTree) -> Any:
    data = grids(result)
    fig, axes = plots.new_figure(len(data), width=4.4, rows=2)
    for (name, one), top, bottom in zip(data.items(), *axes, strict=True):
        widest = one.isel(radius=-1)
        for k, n in enumerate(one["size"].values):
            at = widest.isel(size=k)
            plots.curve(top, k, one["t"], at["copy_error"], at["copy_error_stderr"], f"n = {n}")
            top.axvline(float(at["memorisation_predicted"]), color=plots.COLORS[k], lw=1, ls=":")
        top.axhline(1.0, color="k", lw=1)
        top.set(xlabel="time t", ylabel="error on training data / exact")
        top.set_title(f"{TITLES[name]}, r = {int(widest['radius'])}")
        if "log_snr" in one:
            plots.noise_axis(top, one)
        for k, r in enumerate(one["radius"].values):
            at = one.isel(radius=k)
            bottom.plot(one["size"], at["memorisation_predicted"], color="k", lw=1)
            measured, error = at["memorisation_measured"], at["memorisation_measured_stderr"]
            plots.curve(bottom, k, one["size"], measured, error, f"r = {r}")
        bottom.set(xscale="log", xlabel="training samples n", ylabel="memorisation time", title="Black: I = log n")
        if "log_snr" in one:
            plots.noise_axis(bottom, one, upright=True, label="memorisation")
        plots.legend(top)
        plots.legend(bottom)
    return fig


SHOWS = "A denoiser made of n training patches copies them below the time at which their information is log n."
STUDY = Study(NAME, "Memorisation: when patches are copied", SHOWS, wanted, analyse, figure)
