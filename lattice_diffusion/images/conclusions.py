"""The conclusions of a probe or hybrid in words: rows of its table, findings, and what makes them doubtful."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..channels import Gaussian
from ..noise_units import level, units
from ..report import with_error as number
from ..results import Result, Row, provenance, tree
from .decisions import GLOBAL, SIGNIFICANT, Group, Variables

FEW_STEPS = 500  # of training a network; from fewer a hybrid concludes nothing
PROBE, HYBRID = "probe", "image-hybrid"
SCHEDULES = {  # what the networks are before, inside and after the window
    "LLL": "local everywhere (LLL)",
    "GLG": "local in the window (GLG)",
    "LGL": "global in the window (LGL)",
    "GGG": "global everywhere (GGG)",
    "r(t)": "as wide as the probe recommends",
}


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
    attributes = provenance(PROBE, json.dumps({"data": dict(data), **parameters}), seed, complete=True)
    return tree(attributes, {PROBE: variables, **(calibrations or {})}, [*_rows(variables), *(rows or [])])


def _rows(found: Variables) -> Iterator[Row]:
    """Yield the table: where and how large the CMI is at the smallest radius, the windows, the schedule."""
    times, r = found["t"].values, int(found["radius"].values[0])
    cmi, stderr = found["cmi_above_null"].values[:, 0], found["cmi_above_null_stderr"].values[:, 0]
    top = int(np.argmax(cmi))
    doubt = "" if converged(found) else "not converged: "
    largest = f"{doubt}I(A;C|B) at {level(times[top], found['log_snr'].values[top])}, its largest, r = {r}"
    yield Row(PROBE, largest, None, float(cmi[top]), float(stderr[top]), "")
    for name in ("peak_time", "window_start", "window_stop", "speciation_start", "speciation_stop"):
        if name in found and np.isfinite(value := float(found[name].values.flat[0])):
            log_snr = float(found[f"{name}_log_snr"].values.flat[0])
            where = f", r = {r}" if found[name].dims else ""
            quantity = f"{found[name].attrs['long_name']}{where} ({units(log_snr)})"
            yield Row(PROBE, quantity, None, value, float(found[f"{name}_stderr"].values.flat[0]), "")
    if "schedule" in found:
        columns = (found[key].values.tolist() for key in ("schedule", "schedule_bits", "schedule_bits_stderr"))
        for name, bits, error in zip(*columns, strict=True):
            yield Row(PROBE, f"bits per dimension lost by {name}", None, bits, error, "")


def check_value(value: float) -> str:
    """Return the value of a check in words; what is not known yet is infinite."""
    return f"{value:.2g}" if np.isfinite(value) else "unknown"


def converged(probe: Group) -> bool:
    """Return whether anything may be concluded: all checks have passed, or there were none to pass."""
    return "converged" not in probe or bool(probe["converged"].values)


def time_in_words(t: float) -> str:
    """Return `level` of a time of the linear schedule, which hybrids have; both ends are t alone."""
    return level(round(t, 3), np.log(Gaussian("linear").snr(t))) if 0 < t < 1 else f"t = {t:g}"


def probe_findings(probe: Group) -> Iterator[str]:
    """Yield the answer to the user's question, a sentence each; nothing where training has not converged."""
    if not converged(probe):
        return
    tolerance, r = float(probe["tolerance"].values), int(probe["radius"].values[0])
    if probe["n_nonlocal_times"].values[0]:
        window = interval(probe, "window", 0)
        yield f"Networks must see beyond r = {r} {window}: there I(A;C|B) exceeds {tolerance:g} nats."
    else:
        yield (
            f"I(A;C|B) was nowhere found above {tolerance:g} nats beyond r = {r}: as far as the probe can see, a local "
            "network suffices at every time."
        )
    if "speciation_seen" in probe:
        seen = bool(probe["speciation_seen"].values)
        yield f"The label is decided {interval(probe, 'speciation') if seen else 'nowhere at this tolerance'}."
    if "recommended_radius" in probe:
        lost, error, saved = (float(probe[f"schedule_{name}"].values[0]) for name in ("bits", "bits_stderr", "saving"))
        yield (
            f"Recommended receptive field: {_runs(probe)}. It reads {saved:.0%} fewer pixels than a global network and "
            f"loses {number(lost, error)} bits per dimension (budget: {float(probe['budget'].values):g})."
        )
    yield (
        "All of this is what the probe's network has learned. A larger one may learn more of the whole image, so that "
        "windows and radii grow: of 60,000 digits --body conv finds twice the loss at r = 2 that --body mlp does."
    )


def probe_doubts(probe: Group) -> Iterator[str]:
    """Yield what makes the conclusions of a probe impossible, or uncertain."""
    if not converged(probe):
        columns = (probe[key].values.tolist() for key in ("check", "check_value", "check_limit"))
        checks = zip(*columns, strict=True)
        failed = "; ".join(f"{name}: {check_value(x)}, limit {y:.2g} nats" for name, x, y in checks if x > y)
        yield (
            f"NOT CONVERGED: nothing is recommended. The information that is shown may be too large or too small "
            f"by any amount ({failed}). Train longer (--steps, --budget), or take more images."
        )
    tolerance, typical = float(probe["tolerance"].values), float(np.median(probe["cmi_above_null_stderr"].values))
    if converged(probe) and tolerance < SIGNIFICANT * typical:
        yield (
            f"The tolerance of {tolerance:g} nats is below three standard errors of the information (typically "
            f"{typical:.2g} nats): ends of windows may be noise."
        )


def interval(probe: Group, name: str, index: Any = ()) -> str:
    """Return a window in words; an end that the times measured do not bracket is said to be outside."""
    words = []
    for end, k, outside in (("start", 0, "before"), ("stop", -1, "after")):
        key = f"{name}_{end}"
        value, error, log_snr = (float(probe[f"{key}{part}"].values[index]) for part in ("", "_stderr", "_log_snr"))
        if np.isnan(value):
            words.append(f"{outside} {level(probe['t'].values[k], probe['log_snr'].values[k])}")
        else:
            words.append(f"t = {number(value, error)} ({units(log_snr)})")
    return f"from {words[0]} to {words[1]}"


def _runs(probe: Group) -> str:
    """Return runs of one radius in order of time, as in "r = 2 for t = 0.1 to 0.4"."""
    t, chosen, log_snr = (probe[key].values for key in ("t", "recommended_radius", "log_snr"))
    cuts = [0, *(np.flatnonzero(np.diff(chosen)) + 1), len(chosen)]
    runs = []
    for a, b in itertools.pairwise(cuts):
        upto = "" if b == a + 1 else f" to {level(t[b - 1], log_snr[b - 1])}"
        runs.append(f"{radius_words(int(chosen[a]))} for {level(t[a], log_snr[a])}{upto}")
    return "; ".join(runs)


def radius_words(r: int) -> str:
    """Return a radius in words."""
    return "the whole image" if r == GLOBAL else f"r = {r}"


# -- hybrid ---------------------------------------------------------------------------------------------------


def hybrid_doubts(groups: Mapping[str, Group]) -> Iterator[str]:
    """Yield why nothing can be concluded: the global network must have learned more than every local one."""
    made, errors = groups["generation"], groups["denoising"]
    steps = int(made.get("training_steps", FEW_STEPS))
    if steps < FEW_STEPS:
        yield (
            f"NOT CONVERGED: a network was trained for {steps} steps; nothing follows from fewer than {FEW_STEPS}. "
            "Train longer (--budget)."
        )
    bits, stderr = (float(made[name].sel(schedule="LLL").values) for name in ("bits", "bits_stderr"))
    if bits < SIGNIFICANT * stderr:
        yield (
            f"NOT CONVERGED: local networks everywhere lose {number(bits, stderr)} bits per dimension against the "
            "global one, which has not learned more than they have: nothing follows. Train longer (--budget)."
        )
    excess, error = errors["excess_mse"].values[:, :-1], errors["excess_mse_stderr"].values[:, :-1]
    k, j = np.unravel_index(int((excess + (SIGNIFICANT + 1) * error).argmin()), excess.shape)
    if excess[k, j] < -(SIGNIFICANT + 1) * error[k, j]:
        yield (
            f"At {level(errors['t'].values[k], errors['log_snr'].values[k])} the local network of r = "
            f"{errors['radius'].values[j]} denoises better than the global one, which sees more: the latter needs more "
            "training, and is underestimated here."
        )


def hybrid_findings(groups: Mapping[str, Group]) -> Iterator[str]:
    """Yield the answer to whether global networks in the window suffice, a sentence each; nothing where in doubt."""
    if any("NOT CONVERGED" in doubt for doubt in hybrid_doubts(groups)):
        return
    made = groups["generation"]
    start, stop = (float(made[f"window_{end}"].values) for end in ("start", "stop"))
    ends = [time_in_words(t) for t in (start, stop)]
    r, cost = int(made["local_radius"].values), made["cost"]
    share = float(cost.sel(schedule="LGL") / cost.sel(schedule="GGG"))

    def value(name: str, schedule: str) -> str:
        return number(*(float(made[key].sel(schedule=schedule).values) for key in (name, f"{name}_stderr")))

    yield (
        f"Networks that are global in the window alone, from {ends[0]} to {ends[1]}, and see r = {r} elsewhere, save "
        f"{1 - share:.0%} of the {cost.attrs['long_name'].split()[0]} of global networks everywhere, and lose "
        f"{value('bits', 'LGL')} bits per dimension; local networks everywhere lose {value('bits', 'LLL')}."
    )
    name = "frechet_distance" if "frechet_distance" in made else "patch_divergence"
    kind = "Fréchet distance" if name == "frechet_distance" else "divergence of patches"
    real = number(*(float(made[f"real_{name}{end}"].values) for end in ("", "_stderr")))
    yield (
        f"The {kind} of their images from real ones is {value(name, 'LGL')}, against {value(name, 'GGG')} for global "
        f"networks everywhere, {value(name, 'LLL')} for local ones everywhere and {real} for other real images."
    )
