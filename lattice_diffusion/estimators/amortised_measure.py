"""I_t(A;C|B_r) over times and radii from clean samples: folds of networks, each of which knows all times and radii.

Samples are split into folds; every sample is measured by networks that were trained on the others,

    I(A;C|B_r) = E[log q(x_A | all others) - log q(x_A | B_r)],    I(A;BC) = E[log q(x_A | all others) - log q(x_A)],

and with labels S, I(S;B) and I(S;AB) of the smallest box and I(S;ABC) likewise, and the forward-backward agreement
P_FB = E sum_s q(s|x_t)^2, the chance that an image noised to t and denoised by its posterior comes back with its label.

Held-out averages are too low by what the networks overfit, averages over the samples they were fitted to too high by
as much to first order, so half-way between is `corrected` (see `neural`); labels are held out. The null is the same
difference of networks trained alike on samples whose C comes from another one. Errors are over samples, and of
half-way: the truth may be anywhere between the two averages. Everything measured is kept in a folder, if there is one,
so that a killed run goes on.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .amortised_folds import Part, folds
from .amortised_plan import ProbePlan, reach
from .image_field import Field

BETWEEN = 12**-0.5  # error of half-way, in units of the gap: the truth may be anywhere between


def measure(
    field: Field,
    plan: ProbePlan,
    *,
    device: str = "cpu",
    parts: Path | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Arguments of `experiments.probe_schema.probe_variables`, all that is measured.

    Args:
        parts: folder of what is finished and of training in progress; what is there is used.
        on_step: called `plan.steps` times for every network, `plan.folds` of each of `plan.kinds`.

    Raises:
        ValueError: a radius that leaves nothing outside the box, a channel that is not for such values.
    """
    limit = reach(field.shape, plan.pixel)
    if plan.radii[-1] >= limit:
        raise InputError(f"radii must be below {limit}, where the box covers the image, got {plan.radii[-1]}")
    found: dict[str, list[Part]] = {}
    for kind, part in folds(field, plan, device, parts, on_step):
        found.setdefault(kind, []).append(part)
    n_radii, n = len(plan.radii), field.n
    values: dict[str, Any] = {"t": plan.times, "radius": plan.radii}

    def add(name: str, kind: str, difference: Callable[[NDArray], NDArray], *, errors: bool = False) -> None:
        held, inside, used = _both(found[kind], n, difference, errors=errors)
        nothing = np.zeros(held.shape[1:])
        samples, apart, gap = _half_way(held, inside, used) if plan.corrected else (held, nothing, nothing)
        values.update(_averages(name, samples))
        if name == "cmi":
            values["cmi_held_out"], values["cmi_in_sample"] = held.mean(axis=0), held.mean(axis=0) + apart
            values["cmi_covariance"] = _covariance(samples, gap, plan)
            values["cmi_stderr"] = np.sqrt(np.diagonal(values["cmi_covariance"], axis1=1, axis2=2))
        else:
            values[f"{name}_stderr"] = np.hypot(values[f"{name}_stderr"], gap * BETWEEN)

    add("cmi", "boxes", lambda v: v[:, :, -1:] - v[:, :, 1:-1])
    if plan.null:
        add("cmi_null", "null", lambda v: v[:, :, n_radii:] - v[:, :, :n_radii])
    add("total_information", "boxes", lambda v: v[:, :, -1] - v[:, :, 0])
    if plan.channel == "gaussian":
        add("excess_mse", "boxes", lambda v: v[:, :, 1:-1] - v[:, :, -1:], errors=True)
    if "labels" in found:
        values.update(_labels(_both(found["labels"], n, lambda v: v)[0]))
    return {**values, "image_shape": field.shape, "channel": plan.noise()}


def _both(
    parts: list[Part], n: int, difference: Callable[[NDArray], NDArray], *, errors: bool = False
) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
    """Of all n samples: held out, averaged over networks fitted to them (0 where there are none), where there are."""
    shape = (n, *difference(parts[0].errors if errors else parts[0].nats).shape[1:])
    held, inside, times = np.empty(shape), np.zeros(shape), np.zeros(n)
    for part in parts:
        held[part.rows] = difference(part.errors if errors else part.nats)
        inside[part.fitted] += difference(part.fitted_errors if errors else part.fitted_nats)
        times[part.fitted] += 1
    return held, inside / np.maximum(times, 1).reshape(-1, *[1] * (len(shape) - 1)), times > 0


def _half_way(held: NDArray, inside: NDArray, used: NDArray[np.bool_]) -> tuple[NDArray, NDArray, NDArray]:
    """Values whose mean is half-way between the two averages, paired sample by sample, and how far these are apart.

    The latter as it is, and less what chance puts between them, 0 where that is all.
    """
    values, n_used = held.copy(), int(used.sum())
    difference = inside[used] - held[used]
    values[used] += 0.5 / used.mean() * difference
    apart = difference.mean(axis=0)
    return values, apart, np.sqrt(np.maximum(apart**2 - difference.var(axis=0) / n_used, 0.0))


def _labels(nats: NDArray) -> dict[str, Any]:
    """What the image and its smallest box know of the label; the first time is that of almost clean images."""
    b, ab, whole = np.moveaxis(nats[:, :, 1:] - nats[:, :, :1], 2, 0)
    samples = {
        "label_information": whole[:, 1:],
        "label_information_b": b[:, 1:],
        "label_information_lost": ab[:, :1] - b[:, 1:],
        "forward_backward": np.exp(nats[:, 1:, -1].astype(float)),
    }
    return {key: value for name, of in samples.items() for key, value in _averages(name, of).items()}


def _covariance(samples: NDArray, gap: NDArray, plan: ProbePlan) -> NDArray:
    """Of the CMI at one time between radii, (T, R, R): of samples, of the correction, of what is too small to be seen.

    Whether a larger view is believed is one weight, fitted on m samples that training leaves out; a gain below 1/2m
    nats is what chance gives (Wilks 1938). Without this, views that are not believed would be 0 with no error.
    """
    from .image_training import VALIDATION

    n = len(samples)
    floor = 0.5 / (VALIDATION * (plan.folds - 1) * n)
    centred = samples - samples.mean(axis=0)
    apart = BETWEEN * gap
    between: NDArray = np.einsum("ntr,nts->trs", centred, centred) / (n * (n - 1)) + apart[:, :, None] * apart[:, None]
    return between + floor**2 * np.eye(len(plan.radii))


def _averages(name: str, samples: NDArray) -> dict[str, NDArray]:
    """Mean over samples and its error."""
    samples = samples.astype(float)
    return {name: samples.mean(axis=0), f"{name}_stderr": samples.std(axis=0, ddof=1) / np.sqrt(len(samples))}
