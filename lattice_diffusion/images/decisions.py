"""What follows from a measured CMI map: Markov lengths, windows, and the cheapest receptive field r(t).

The group `probe` of a result, and those of calibrations, have the dimensions t, times in (0, 1], and radius, widths of
the buffer B. What is measured is listed in MEASURED, each with its standard error NAME_stderr; C is permuted for
`cmi_null`, which counts as zero. S is the label of an image, and P_FB the probability that noise to t and its reversal
keep it. `excess_mse` is E|A - E[A|AB]|^2 - E|A - E[A|ABC]|^2 in scaled units. Here follow from it

    cmi_above_null (t, radius)       cmi - cmi_null, which lengths and windows are taken from
    markov_length (t)                xi in sites; where there is none it is NaN, and markov_length_note says why
    window_start, window_stop (radius)   nonlocality window at `tolerance`; NaN where `n_nonlocal_times` (radius) is 0
                                     or the times measured do not bracket that end
    speciation_start, speciation_stop    window of the label at `tolerance`, valid where `speciation_seen` is 1
    area (t, radius)                 KL in nats per image that a local denoiser of that radius adds at that time
    recommended_radius (t)           the cheapest r(t) whose areas, none counted below zero, add up to at most `budget`;
                                     -1 is the whole image; with schedule_kl, schedule_cost, global_cost, cost_saving

The area law is Girsanov's bound for Gaussian noise, KL <= 1/2 int d(snr) sum_i [mmse_i local - mmse_i global], by the
trapezoidal rule in log snr between the times measured; for erasures it is the chain rule over a random order of the
sites, KL = int dt sum_i I_t(A_i;C|B) / (1 - t). A stands for every pixel; times outside the measured ones add nothing.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..channels import Channel, Erasure, Gaussian
from ..errors import InputError, check_finite
from ..phases import markov_length, nonlocality_window, optimal_schedule, peak_time, speciation_window
from ..results import Result, Row, provenance, tree, variable

NAME = "probe"
GLOBAL = -1  # the radius of the whole image
TOLERANCE = 0.01  # nats
MAP, CURVE = ("t", "radius"), ("t",)
MEASURED = {  # dimensions, units and long name
    "cmi": (MAP, "nat", "conditional mutual information I(A;C|B)"),
    "cmi_null": (MAP, "nat", "I(A;C|B) of permuted C"),
    "total_information": (CURVE, "nat", "total information I(A;BC)"),
    "label_information": (CURVE, "nat", "information of the image about its label, I(S;ABC)"),
    "label_information_b": (CURVE, "nat", "information of the buffer about the label, I(S;B)"),
    "label_information_lost": (CURVE, "nat", "what noise has hidden of it, I_0(S;AB) - I(S;B)"),
    "forward_backward": (CURVE, "1", "forward-backward agreement of the label, P_FB"),
    "excess_mse": (MAP, "1", "mean squared error of the local denoiser above that of the global one"),
}
WITHOUT_ERROR = {"cmi_held_out": "I(A;C|B) held out", "cmi_in_sample": "I(A;C|B) in sample"}
Variables = dict[str, xr.Variable]


def probe_result(
    variables: Variables,
    data: Mapping[str, object],
    parameters: Mapping[str, Any],
    seed: int,
    *,
    calibrations: Mapping[str, Variables] | None = None,
    rows: list[Row] | None = None,
) -> Result:
    """Return the result of a probe from its `probe_variables`.

    Args:
        data: `Images.describe()`; parameters: everything else that was asked for, plain JSON types.
        calibrations: `probe_variables` of data whose truth is known, by name; rows: of theirs in the table.
    """
    attributes = provenance(NAME, json.dumps({"data": dict(data), **parameters}), seed, complete=True)
    return tree(attributes, {NAME: variables, **(calibrations or {})}, [*_rows(variables), *(rows or [])])


def probe_variables(
    *,
    t: ArrayLike,
    radius: ArrayLike,
    image_shape: tuple[int, int],
    channel: Channel,
    cmi_covariance: ArrayLike | None = None,
    tolerance: float = TOLERANCE,
    budget: float = 1.0,
    **measured: ArrayLike | None,
) -> Variables:
    """Return all variables of one probe from the measured ones (see the module).

    Args:
        cmi_covariance: (t, radius, radius), of `cmi` between radii; without it their errors are independent.
        tolerance: of the windows, in nats; budget: KL per image that r(t) may cost, in nats.
        measured: NAME and NAME_stderr of MEASURED, None for those that were not measured.

    Raises InputError for values that are not finite, and for squared errors under another channel than the Gaussian.
    """
    times, radii = np.asarray(t, float), np.asarray(radius, np.int64)
    found: Variables = {
        "t": variable("t", times, "1", "diffusion time t, 0 clean and 1 pure noise"),
        "radius": variable("radius", radii, "sites", "width of the buffer B"),
        "tolerance": _scalar(tolerance, "nat", "tolerance of the windows"),
    }
    given = {name: np.asarray(values, float) for name, values in measured.items() if values is not None}
    check_finite(**given)
    for name, (dims, units, long_name) in MEASURED.items():
        if name in given:
            found |= with_error(name, dims, given[name], given[f"{name}_stderr"], units, long_name)
    for name, long_name in WITHOUT_ERROR.items():
        if name in given:
            found[name] = variable(MAP, given[name], "nat", long_name)
    found |= _above_null(found)
    found |= _markov_lengths(found, None if cmi_covariance is None else np.asarray(cmi_covariance, float))
    found |= _windows(found, tolerance)
    if "label_information" in found:
        found |= _speciation(found, tolerance)
    if "excess_mse" in found:
        if not isinstance(channel, Gaussian):
            raise InputError(f"excess_mse must come with a Gaussian channel, got {channel.name}; leave it out")
        found |= _schedule(found, "excess_mse", 0.5 * snr_weights(channel, times), image_shape, budget)
    elif isinstance(channel, Erasure) and times[-1] < 1:
        found |= _schedule(found, "cmi_above_null", _widths(times) / (1 - times), image_shape, budget)
    return found


def read_costs(image_shape: tuple[int, int], radius: ArrayLike) -> NDArray[np.float64]:
    """Return the pixels in the box of each radius around a pixel, cut at the edges, averaged over pixels, (R,)."""

    def along(n: int, r: int) -> float:
        i = np.arange(n)
        return float((np.minimum(i + r, n - 1) - np.maximum(i - r, 0) + 1).mean())

    return np.array([along(image_shape[0], int(r)) * along(image_shape[1], int(r)) for r in np.asarray(radius)])


def snr_weights(channel: Channel, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights (T,) of int d(snr) f between the times: trapezoidal in log snr, and in snr from snr = 0 on."""
    snr = np.array([channel.snr(float(t)) for t in times])
    weights = np.zeros(snr.size)
    seen = snr > 0
    if seen.sum() > 1:
        weights[seen] = snr[seen] * _widths(-np.log(snr[seen]))
    if seen.any() and not seen[-1]:
        weights[-2:] += 0.5 * snr[-2]
    return weights


def with_error(
    name: str, dims: tuple[str, ...], values: NDArray, stderr: NDArray, units: str, long_name: str
) -> Variables:
    """Return NAME and NAME_stderr."""
    return {
        name: variable(dims, values, units, long_name),
        f"{name}_stderr": variable(dims, stderr, units, f"standard error of {name}"),
    }


def _widths(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return trapezoidal weights of increasing points."""
    half = 0.5 * np.diff(x)
    return np.append(half, 0.0) + np.append(0.0, half)


def _scalar(value: float, units: str, long_name: str) -> xr.Variable:
    return variable((), np.array(float(value)), units, long_name)


def _above_null(found: Variables) -> Variables:
    values, stderr = found["cmi"].values, found["cmi_stderr"].values
    if "cmi_null" in found:
        values = values - found["cmi_null"].values
        stderr = np.hypot(stderr, found["cmi_null_stderr"].values)
    return with_error("cmi_above_null", MAP, values, stderr, "nat", "I(A;C|B) above its null")


def _markov_lengths(found: Variables, covariance: NDArray | None) -> Variables:
    radii = [int(r) for r in found["radius"].values]
    n = found["t"].values.size
    numbers, notes = np.full((3, n), np.nan), np.empty(n, object)
    for k in range(n):
        cov = np.diag(found["cmi_stderr"].values[k] ** 2) if covariance is None else covariance[k]
        if "cmi_null" in found:
            cov = cov + np.diag(found["cmi_null_stderr"].values[k] ** 2)
        fit = markov_length(radii, found["cmi_above_null"].values[k], cov)
        notes[k] = fit.reason
        if fit.xi is not None:
            numbers[:, k] = fit.xi.value, fit.xi.stderr, fit.p_value
    about = "Markov length (NaN: no exponential window)"
    return {
        **with_error("markov_length", CURVE, numbers[0], numbers[1], "sites", about),
        "markov_length_p_value": variable("t", numbers[2], "1", "p-value of the exponential fit"),
        "markov_length_note": variable("t", notes, "1", "why there is no Markov length, or where its error is from"),
    }


def _ends(name: str, dims: tuple[str, ...], windows: Sequence[Any], long_name: str) -> Variables:
    """Return NAME_start and NAME_stop of windows with their errors, NaN for open ends; scalars without dims."""
    found: Variables = {}
    for end, words in (("start", "start"), ("stop", "end")):
        ends = [getattr(window, end) if window else None for window in windows]
        numbers = np.array([(np.nan, np.nan) if e is None else (e.value, e.stderr) for e in ends])
        numbers = numbers if dims else numbers[0]
        found |= with_error(f"{name}_{end}", dims, numbers[..., 0], numbers[..., 1], "1", f"{words} of the {long_name}")
    return found


def _windows(found: Variables, tolerance: float) -> Variables:
    cmi, stderr = found["cmi_above_null"].values, found["cmi_above_null_stderr"].values
    windows = [nonlocality_window(found["t"].values, cmi[:, r], tolerance, stderr[:, r]) for r in range(cmi.shape[1])]
    count = (cmi > tolerance).sum(axis=0)
    return {
        **_ends("window", ("radius",), windows, "nonlocality window"),
        "n_nonlocal_times": variable("radius", count, "1", "times measured with I(A;C|B) above the tolerance"),
    }


def _speciation(found: Variables, tolerance: float) -> Variables:
    known, lost = found["label_information"].values, found["label_information_lost"].values
    errors = {
        "lost_stderr": found["label_information_lost_stderr"].values,
        "label_abc_stderr": found["label_information_stderr"].values,
    }
    window = speciation_window(found["t"].values, 0.0, -lost, known, tolerance, **errors)
    return {
        "speciation_seen": variable((), np.array(int(window is not None)), "1", "1 where there is a speciation window"),
        **_ends("speciation", (), [window], "speciation window"),
    }


def _schedule(
    found: Variables, local: str, scale: NDArray[np.float64], image_shape: tuple[int, int], budget: float
) -> Variables:
    """Return r(t) by the area law, n_sites * scale (T,) * local (T, R); the whole image is a radius of area 0."""
    times, radii = found["t"].values, found["radius"].values
    if times.size < 2:
        raise InputError(f"t must hold at least two times for an area law, got {times.tolist()}")
    n_sites = image_shape[0] * image_shape[1]
    area, stderr = (n_sites * scale[:, None] * found[name].values for name in (local, f"{local}_stderr"))
    share = _widths(times) / (times[-1] - times[0])
    cost = share[:, None] * np.append(read_costs(image_shape, radii), n_sites)
    adds = np.maximum(area, 0.0)  # below zero by chance: it must not pay for what another time adds
    best = optimal_schedule(np.pad(adds, ((0, 0), (0, 1))), cost, budget)
    error = float(np.sqrt((np.pad(stderr, ((0, 0), (0, 1)))[np.arange(times.size), best.choice] ** 2).sum()))
    chosen = np.append(radii, GLOBAL)[best.choice]
    return {
        **with_error("area", MAP, area, stderr, "nat", "KL per image that a local denoiser adds at a time"),
        "recommended_radius": variable("t", chosen, "sites", "cheapest receptive field r(t); -1 is the whole image"),
        "budget": _scalar(budget, "nat", "KL per image that r(t) may cost"),
        "schedule_kl": _scalar(best.error, "nat", "KL per image of r(t), by the area law"),
        "schedule_kl_stderr": _scalar(error, "nat", "standard error of schedule_kl"),
        "schedule_cost": _scalar(best.cost, "pixels", "pixels that r(t) reads per pixel, averaged over times"),
        "global_cost": _scalar(n_sites, "pixels", "pixels that a global denoiser reads per pixel"),
        "cost_saving": _scalar(1.0 - best.cost / n_sites, "1", "cost saved by r(t) against all global"),
    }


def _rows(found: Variables) -> list[Row]:
    """Return the table: where and how large the CMI is at the smallest radius, the windows, the schedule."""
    times, r = found["t"].values, int(found["radius"].values[0])
    cmi, stderr = found["cmi_above_null"].values[:, 0], found["cmi_above_null_stderr"].values[:, 0]
    top = int(np.argmax(cmi))
    numbers = [(f"I(A;C|B) at t = {times[top]:g}, its largest, r = {r}", float(cmi[top]), float(stderr[top]))]
    peak = peak_time(times, cmi, stderr)
    if peak is not None:
        numbers.append((f"time of the largest I(A;C|B), r = {r}", peak.value, peak.stderr))
    for name in ("window_start", "window_stop", "speciation_start", "speciation_stop", "schedule_kl"):
        if name in found:
            value, error = (float(found[key].values.flat[0]) for key in (name, f"{name}_stderr"))
            where = f", r = {r}" if found[name].dims else ""
            if np.isfinite(value):
                numbers.append((found[name].attrs["long_name"] + where, value, error))
    return [Row(NAME, quantity, None, value, error, "") for quantity, value, error in numbers]
