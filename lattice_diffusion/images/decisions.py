"""What follows from a measured CMI map: whether training has converged, and if so lengths, windows and r(t).

The group `probe` of a result, and those of calibrations, have the dimensions t, times in (0, 1], and radius, widths of
the buffer B. What is measured is listed in MEASURED, each with its standard error NAME_stderr; C is permuted for
`cmi_null`, which counts as zero. S is the label of an image, and P_FB the probability that noise to t and its reversal
keep it. `entropy` (masked) is H(a | what is seen) of clean values a of A under erasure, at the times and at 1, which
`phases.unmasking_schedule` takes. `excess_mse` is E|A - E[A|AB]|^2 - E|A - E[A|ABC]|^2 in scaled units. From it follow

    cmi_above_null (t, radius)       cmi - cmi_null, which lengths and windows are taken from
    check_value, check_limit (check) what tells whether training has converged, and the largest value that passes
    converged                        1 where all pass; where it is 0, nothing below is there
    markov_length (t)                xi in sites; where there is none it is NaN, and markov_length_note says why
    window_start, window_stop (radius)   nonlocality window at `tolerance`; NaN where `n_nonlocal_times` (radius) is 0
                                     or the times measured do not bracket that end; also NAME_log_snr
    peak_time (radius)               time of the largest CMI, NaN where it is the first or last time; also NAME_log_snr
    speciation_start, speciation_stop    window of the label at `tolerance`, valid where `speciation_seen` is 1
    bits_lost (t, radius)            bits per dimension that a local denoiser of that radius adds at that time
    recommended_radius (t)           the cheapest r(t) whose losses, none counted below zero, add up to at most
                                     `budget`; -1 is the whole image
    schedule_bits, schedule_saving (schedule)   bits per dimension lost and share of the pixels that need not be read,
                                     by r(t), first, by r(t) of other budgets, and by fixed radii

Markov lengths are of I(r) ~ r^-p exp(-r/xi); of images p is only known to lie in PREFACTOR, which is part of their
error. The area law is Girsanov's bound for Gaussian noise, KL <= 1/2 int d(snr) sum_i [mmse_i local - mmse_i global],
by the trapezoidal rule in log snr between the times measured; for erasures it is the chain rule over a random order of
the sites, KL = int dt sum_i I_t(A_i;C|B) / (1 - t). A stands for every pixel; times outside the measured ones add
nothing. A dimension is one value of a pixel.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..channels import Channel, Erasure, Gaussian
from ..errors import InputError, check_finite
from ..estimate import Estimate
from ..noise_units import trapezoid
from ..phases import markov_length, nonlocality_window, optimal_schedule, peak_time, speciation_window
from ..results import variable, with_stderr

GLOBAL = -1  # the radius of the whole image
TOLERANCE = 0.01  # nats
BITS_PER_DIM = 0.001
PREFACTOR = (0.0, 0.5)  # of data in two dimensions that single lines connect, see `models.base`
BUDGETS = (1.0, 0.1, 10.0)  # of the trade-offs, in units of the one that is asked for
SIGNIFICANT = 3.0  # standard errors
MAP, CURVE, MASKED = ("t", "radius"), ("t",), ("masked",)
MEASURED = {  # dimensions, units and long name
    "cmi": (MAP, "nat", "conditional mutual information I(A;C|B)"),
    "cmi_null": (MAP, "nat", "I(A;C|B) of permuted C"),
    "cmi_folds": (("fold", *MAP), "nat", "I(A;C|B) held out, by the network of every fold"),
    "total_information": (CURVE, "nat", "total information I(A;BC)"),
    "entropy": (MASKED, "nat", "entropy of a masked pixel given what is seen"),
    "label_information": (CURVE, "nat", "information of the image about its label, I(S;ABC)"),
    "label_information_b": (CURVE, "nat", "information of the buffer about the label, I(S;B)"),
    "label_information_lost": (CURVE, "nat", "what noise has hidden of it, I_0(S;AB) - I(S;B)"),
    "forward_backward": (CURVE, "1", "forward-backward agreement of the label, P_FB"),
    "excess_mse": (MAP, "1", "mean squared error of the local denoiser above that of the global one"),
}
WITHOUT_ERROR = {
    "cmi_held_out": (MAP, "I(A;C|B) held out"),
    "cmi_in_sample": (MAP, "I(A;C|B) in sample"),
    "gain_to_come": (("network",), "loss that twice the training is expected to save"),
}
Variables = dict[str, xr.Variable]
Group = Mapping[Any, Any]  # variables by name


def probe_variables(
    *,
    t: ArrayLike,
    radius: ArrayLike,
    image_shape: tuple[int, int, int],
    channel: Channel,
    cmi_covariance: ArrayLike | None = None,
    tolerance: float = TOLERANCE,
    bits_per_dim: float = BITS_PER_DIM,
    prefactor: ArrayLike = PREFACTOR,
    **measured: ArrayLike | None,
) -> Variables:
    """Return all variables of one probe from the measured ones (see the module).

    Args:
        image_shape: (channel, row, column).
        cmi_covariance: (t, radius, radius), of `cmi` between radii; without it their errors are independent.
        tolerance: of the windows, in nats; bits_per_dim: KL that r(t) may cost, in bits per dimension.
        prefactor: lowest and highest p of the Markov lengths, (2,) or (t, 2).
        measured: NAME and NAME_stderr of MEASURED, None for those that were not measured. Without `gain_to_come` they
            are exact, and everything follows.

    Raises InputError for values that are not finite, and for squared errors under another channel than the Gaussian.
    """
    times, radii = np.asarray(t, float), np.asarray(radius, np.int64)
    log_snr = np.log([channel.snr(x) for x in times])
    found: Variables = {
        "t": variable("t", times, "1", "diffusion time t, 0 clean and 1 pure noise"),
        "log_snr": variable("t", log_snr, "1", "logarithm of the signal-to-noise ratio"),
        "radius": variable("radius", radii, "sites", "width of the buffer B"),
        "tolerance": _scalar(tolerance, "nat", "tolerance of the windows"),
    }
    given = {name: np.asarray(values, float) for name, values in measured.items() if values is not None}
    check_finite(**{name: values for name, values in given.items() if name != "gain_to_come"})
    for name, (dims, units, long_name) in MEASURED.items():
        if name in given:
            found |= with_stderr(name, dims, given[name], given[f"{name}_stderr"], units, long_name)
    for name, (dims, long_name) in WITHOUT_ERROR.items():
        if name in given:
            found[name] = variable(dims, given[name], "nat", long_name)
    if "entropy" in given:
        found["masked"] = variable("masked", np.append(times, 1.0), "1", "probability that a pixel is masked")
    for name, dim in (("cmi_folds", "fold"), ("gain_to_come", "network")):
        if name in given:
            found[dim] = variable(dim, np.arange(len(given[name])), "1", f"number of the {dim}")
    found |= _above_null(found)
    if "gain_to_come" in given:
        found |= _checks(found, tolerance)
        if not found["converged"].values:
            return found
    found |= _markov_lengths(found, None if cmi_covariance is None else np.asarray(cmi_covariance, float), prefactor)
    found |= _windows(found, channel, tolerance)
    if "label_information" in found:
        found |= _speciation(found, channel, tolerance)
    if "excess_mse" in found:
        if not isinstance(channel, Gaussian):
            raise InputError(f"excess_mse must come with a Gaussian channel, got {channel.name}; leave it out")
        found |= _schedule(found, "excess_mse", 0.5 * snr_weights(channel, times), image_shape, bits_per_dim)
    elif isinstance(channel, Erasure) and times[-1] < 1:
        found |= _schedule(found, "cmi_above_null", trapezoid(times) / (1 - times), image_shape, bits_per_dim)
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
        weights[seen] = snr[seen] * trapezoid(-np.log(snr[seen]))
    if seen.any() and not seen[-1]:
        weights[-2:] += 0.5 * snr[-2]
    return weights


def _scalar(value: float, units: str, long_name: str) -> xr.Variable:
    return variable((), np.array(float(value)), units, long_name)


def _above_null(found: Variables) -> Variables:
    values, stderr = found["cmi"].values, found["cmi_stderr"].values
    if "cmi_null" in found:
        values = values - found["cmi_null"].values
        stderr = np.hypot(stderr, found["cmi_null_stderr"].values)
    return with_stderr("cmi_above_null", MAP, values, stderr, "nat", "I(A;C|B) above its null")


def _checks(found: Variables, tolerance: float) -> Variables:
    """Return the checks of convergence, each at the time and radius where it comes nearest to failing.

    The resolution is the tolerance, but not more than TOLERANCE, which windows and r(t) are made for.
    """
    resolution = min(tolerance, TOLERANCE)
    cmi, stderr = found["cmi"].values, found["cmi_stderr"].values
    gain = float(found["gain_to_come"].values.max())
    checks = {
        "training: loss that twice the steps would still save": (gain, resolution),
        "resolution: standard error of I(A;C|B), median": (float(np.median(stderr)), tolerance),
    }
    overfitted = found["cmi_in_sample"].values - found["cmi_held_out"].values
    compared = {"overfitting: I(A;C|B) held out against in sample": (overfitted, cmi / 2)}
    if "cmi_null" in found:
        chance = SIGNIFICANT * found["cmi_null_stderr"].values
        compared["null: I(A;C|B) found where C is of another image"] = (found["cmi_null"].values, chance)
    apart = found["cmi_folds"].values - found["cmi_folds"].values.mean(axis=0)
    by_chance = (SIGNIFICANT + 1) * found["cmi_folds_stderr"].values
    compared["folds: I(A;C|B) by one network against the others"] = (apart, by_chance)
    for name, (value, allowed) in compared.items():
        limit = np.maximum(resolution, allowed)
        worst = np.unravel_index((np.abs(value) / limit).argmax(), value.shape)
        checks[name] = (float(np.abs(value)[worst]), float(limit[worst]))
    values, limits = np.array(list(checks.values())).T
    return {
        "check": variable("check", np.array(list(checks), object), "1", "what tells whether training has converged"),
        "check_value": variable("check", values, "nat", "where it comes nearest to failing"),
        "check_limit": variable("check", limits, "nat", "the largest value that passes"),
        "converged": variable((), np.array(int((values <= limits).all())), "1", "1 where all checks pass"),
    }


def _markov_lengths(found: Variables, covariance: NDArray | None, prefactor: ArrayLike) -> Variables:
    radii = [int(r) for r in found["radius"].values]
    n = found["t"].values.size
    between = np.broadcast_to(prefactor, (n, 2)).tolist()
    numbers, notes = np.full((3, n), np.nan), np.empty(n, object)
    for k in range(n):
        cov = np.diag(found["cmi_stderr"].values[k] ** 2) if covariance is None else covariance[k]
        if "cmi_null" in found:
            cov = cov + np.diag(found["cmi_null_stderr"].values[k] ** 2)
        fit = markov_length(radii, found["cmi_above_null"].values[k], cov, tuple(between[k]))
        notes[k] = fit.reason
        if fit.xi is not None:
            numbers[:, k] = fit.xi.value, fit.xi.stderr, fit.p_value
    about = "Markov length (NaN: no exponential window)"
    return {
        **with_stderr("markov_length", CURVE, numbers[0], numbers[1], "sites", about),
        "markov_length_p_value": variable("t", numbers[2], "1", "p-value of the exponential fit"),
        "markov_length_note": variable("t", notes, "1", "why there is no Markov length, or where its error is from"),
    }


def _ends(name: str, dims: tuple[str, ...], windows: Sequence[Any], channel: Channel, long_name: str) -> Variables:
    """Return NAME_start and NAME_stop of windows with errors and log snr, NaN for open ends; scalars without dims."""
    start, stop = ([getattr(window, end) if window else None for window in windows] for end in ("start", "stop"))
    return {
        **_times(f"{name}_start", dims, start, channel, f"start of the {long_name}"),
        **_times(f"{name}_stop", dims, stop, channel, f"end of the {long_name}"),
    }


def _times(
    name: str, dims: tuple[str, ...], times: Sequence[Estimate | None], channel: Channel, long_name: str
) -> Variables:
    """Return times with their errors and log snr, NaN where there are none; scalars without dims."""
    numbers = [(np.nan,) * 3 if t is None else (t.value, t.stderr, np.log(channel.snr(t.value))) for t in times]
    value, error, log_snr = np.array(numbers).T if dims else np.array(numbers[0])
    return {
        **with_stderr(name, dims, value, error, "1", long_name),
        f"{name}_log_snr": variable(dims, log_snr, "1", f"log snr at the {long_name}"),
    }


def _windows(found: Variables, channel: Channel, tolerance: float) -> Variables:
    cmi, stderr = found["cmi_above_null"].values, found["cmi_above_null_stderr"].values
    t, columns = found["t"].values, range(cmi.shape[1])
    windows = [nonlocality_window(t, cmi[:, r], tolerance, stderr[:, r]) for r in columns]
    peaks = [peak_time(t, cmi[:, r], stderr[:, r]) for r in columns]
    count = (cmi > tolerance).sum(axis=0)
    return {
        **_ends("window", ("radius",), windows, channel, "nonlocality window"),
        **_times("peak_time", ("radius",), peaks, channel, "time at which I(A;C|B) is largest"),
        "n_nonlocal_times": variable("radius", count, "1", "times measured with I(A;C|B) above the tolerance"),
    }


def _speciation(found: Variables, channel: Channel, tolerance: float) -> Variables:
    known, lost = found["label_information"].values, found["label_information_lost"].values
    errors = {
        "lost_stderr": found["label_information_lost_stderr"].values,
        "label_abc_stderr": found["label_information_stderr"].values,
    }
    window = speciation_window(found["t"].values, 0.0, -lost, known, tolerance, **errors)
    return {
        "speciation_seen": variable((), np.array(int(window is not None)), "1", "1 where there is a speciation window"),
        **_ends("speciation", (), [window], channel, "speciation window"),
    }


def _schedule(
    found: Variables, local: str, scale: NDArray[np.float64], image_shape: tuple[int, int, int], budget: float
) -> Variables:
    """Return r(t) by the area law, scale (T,) * local (T, R) nats per pixel; the whole image is a radius of no loss."""
    times, radii = found["t"].values, found["radius"].values
    if times.size < 2:
        raise InputError(f"t must hold at least two times for an area law, got {times.tolist()}")
    n_channels, *sides = image_shape
    bits, stderr = (scale[:, None] * found[key].values / (n_channels * np.log(2)) for key in (local, f"{local}_stderr"))
    share = trapezoid(times) / (times[-1] - times[0])
    read = np.append(read_costs((sides[0], sides[1]), radii) / np.prod(sides), 1.0)
    # below zero by chance: it must not pay for what another time adds
    loss, error = (np.pad(x, ((0, 0), (0, 1))) for x in (np.maximum(bits, 0.0), stderr))
    choices = {
        f"r(t) for {factor * budget:g} bits": optimal_schedule(loss, share[:, None] * read, factor * budget).choice
        for factor in BUDGETS
    }
    best = next(iter(choices.values()))
    choices |= {f"r = {r} always": np.full(times.size, j) for j, r in enumerate(radii)}
    rows = np.arange(times.size)
    lost = [(loss[rows, choice].sum(), np.sqrt((error[rows, choice] ** 2).sum())) for choice in choices.values()]
    values, errors = np.array(lost).T
    saved = 1.0 - np.array([share @ read[choice] for choice in choices.values()])
    chosen = np.append(radii, GLOBAL)[best]
    return {
        **with_stderr("bits_lost", MAP, bits, stderr, "bit", "bits per dimension that a local denoiser adds at a time"),
        "recommended_radius": variable("t", chosen, "sites", "cheapest receptive field r(t); -1 is the whole image"),
        "budget": _scalar(budget, "bit", "bits per dimension that r(t) may lose"),
        "schedule": variable("schedule", np.array(list(choices), object), "1", "how the receptive field is chosen"),
        **with_stderr("schedule_bits", ["schedule"], values, errors, "bit", "bits per dimension lost, by the area law"),
        "schedule_saving": variable("schedule", saved, "1", "share of the pixels that need not be read"),
    }
