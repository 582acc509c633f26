"""A probe of pictures whose I(A;C|B) is known, by the same code and from as many of them as there are images.

Two kinds, of the images' shape: Ising spins near criticality, whose information is carried by pairs, and uniform
loops, whose information is carried by products of bonds alone, which networks learn only from enough of them.
What the probe misses there it may miss in images, too.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..channels import Gaussian
from ..errors import InputError
from ..estimate import Curve
from ..estimators.amortised import ProbePlan, reach
from ..estimators.amortised_data import field_of_array
from ..results import Row, variable
from .decisions import TOLERANCE, Variables, probe_variables
from .lattice_images import Rendering, calibration_shape, ising_image, loop_image

CHANNEL = Gaussian("linear")
PREFIX = "calibration_"
TITLES = {"ising": "Ising spins as blocks of 2x2 pixels", "loops": "uniform loops"}
N_EXACT = 1000


def pictures(shape: tuple[int, int]) -> dict[str, Rendering]:
    """Return what a probe of images of this shape is calibrated on."""
    shape = calibration_shape(shape)
    return {"ising": ising_image(shape), "loops": loop_image(shape)}


def plan_for(plan: ProbePlan, rendering: Rendering) -> ProbePlan:
    """Return the same plan for A of the pictures, with the radii that leave something outside the box."""
    limit = reach(rendering.site.shape, rendering.pixel)
    return replace(plan, pixel=rendering.pixel, radii=tuple(r for r in plan.radii if r < limit) or (1,))


def exact_seconds(rendering: Rendering, plan: ProbePlan, n_exact: int = N_EXACT, n: int = 16) -> float:
    """Return the seconds that the exact answers of `calibrate` take, from a trial with n noisy pictures."""
    laps = []
    for _ in range(2):  # the first compiles
        start = time.perf_counter()
        rendering.cmi_curve(CHANNEL, 0.5, (0, *plan.radii), n, np.random.default_rng(0))
        laps.append(time.perf_counter() - start)
    return laps[-1] * len(plan.times) * n_exact / n


def calibrate_all(
    known: Mapping[str, Rendering], n_images: int, plan: ProbePlan, *, parts: Path, **options: Any
) -> tuple[dict[str, Variables], list[Row]]:
    """Return the calibrations of a probe by name, and their rows of its table.

    Args:
        plan: of the images; options: of `calibrate`, whose `parts` are folders inside `parts`.
    """
    found, rows = {}, []
    for name, rendering in known.items():
        (parts / name).mkdir(exist_ok=True)
        one = calibrate(rendering, n_images, plan_for(plan, rendering), parts=parts / name, **options)
        found[PREFIX + name] = one
        rows += comparison(PREFIX + name, one)
    return found, rows


def calibrate(
    rendering: Rendering,
    n_images: int,
    plan: ProbePlan,
    *,
    n_exact: int = N_EXACT,
    device: str = "cpu",
    parts: Path | None = None,
    on_step: Callable[[], None] = lambda: None,
    tolerance: float = TOLERANCE,
    budget: float = 1.0,
) -> Variables:
    """Return `beside_exact` of a probe of `n_images` pictures.

    Args:
        plan: of `plan_for`; n_exact: number of noisy pictures that the exact answers are averaged over.
        tolerance, budget: of `probe_variables`.
    """
    from ..estimators.amortised_estimates import measure

    if plan.pixel != rendering.pixel:
        raise InputError(f"pixel must be that of the pictures, {rendering.pixel}, got {plan.pixel}; use plan_for")
    samples, truth = (np.random.default_rng(s) for s in np.random.SeedSequence([plan.seed, 1]).spawn(2))
    field = field_of_array(rendering.sample(n_images, samples))
    measured = measure(field, plan, device=device, parts=parts, on_step=on_step)
    curves = [rendering.cmi_curve(CHANNEL, t, (0, *plan.radii), n_exact, truth) for t in plan.times]
    return beside_exact(measured, curves, tolerance=tolerance, budget=budget)


def beside_exact(measured: dict[str, Any], curves: Sequence[Curve], **options: Any) -> Variables:
    """Return `probe_variables` of what was measured, and NAME_exact with NAME_exact_stderr where the truth is known.

    These are I(A;C|B), I(A;BC), the Markov length and the window's ends. The exact Markov length is what the same fit,
    weighted by the measured errors, makes of the exact I(A;C|B): a fit of other radii has another length.

    Args:
        curves: for every time, exact values at radius 0, which is I(A;BC), and at the measured radii.
    """
    found = probe_variables(**measured, **options)
    values, stderr = np.array([c.values for c in curves]), np.array([c.stderr for c in curves])
    known: dict[str, Any] = {name: measured[name] for name in ("t", "radius", "image_shape", "channel")} | {
        "cmi": values[:, 1:],
        "total_information": values[:, 0],
        "total_information_stderr": stderr[:, 0],
        "tolerance": options.get("tolerance", TOLERANCE),
    }
    exact = probe_variables(**known, cmi_stderr=stderr[:, 1:])
    errors = found["cmi_above_null_stderr"].values
    covariance = errors[:, :, None] ** 2 * np.eye(errors.shape[1])
    if "cmi_covariance" in measured:
        covariance += measured["cmi_covariance"] - found["cmi_stderr"].values[:, :, None] ** 2 * np.eye(errors.shape[1])
    fitted = probe_variables(**known, cmi_stderr=errors, cmi_covariance=covariance)
    exact |= {name: fitted[name] for name in ("markov_length", "markov_length_stderr")}
    for name in ("cmi", "total_information", "markov_length", "window_start", "window_stop"):
        for key, of in ((f"{name}_exact", name), (f"{name}_exact_stderr", f"{name}_stderr")):
            found[key] = variable(
                exact[of].dims, exact[of].values, exact[of].attrs["units"], f"exact: {exact[of].attrs['long_name']}"
            )
    found["n_nonlocal_times_exact"] = exact["n_nonlocal_times"]
    return found


def distance(variables: Mapping[Any, Any], name: str) -> np.ndarray:
    """Return z of a measured variable ("cmi" above its null) against the exact one; NaN where one is missing."""
    measured = "cmi_above_null" if name == "cmi" else name
    gap = variables[measured].values - variables[f"{name}_exact"].values
    error = distance_error(variables, name)
    return np.divide(gap, error, out=np.full(gap.shape, np.nan), where=error > 0)


def distance_error(variables: Mapping[Any, Any], name: str) -> np.ndarray:
    """Return the error of measured less exact; that of Markov lengths is in the exact one, too, and counts once."""
    own = variables[f"{'cmi_above_null' if name == 'cmi' else name}_stderr"].values
    return own if name == "markov_length" else np.hypot(own, variables[f"{name}_exact_stderr"].values)


def comparison(name: str, variables: Mapping[Any, Any]) -> list[Row]:
    """Return rows of measured beside exact: I(A;BC), I(A;C|B) and its window, and every Markov length."""
    t, r = variables["t"].values, variables["radius"].values
    top = int(np.argmax(variables["cmi_exact"].values[:, 0]))
    wanted: list[tuple[str, str, tuple[int, ...]]] = [
        (f"I(A;BC) at t = {t[top]:g}", "total_information", (top,)),
        (f"I(A;C|B) at t = {t[top]:g}, r = {r[0]}", "cmi", (top, 0)),
    ]
    for word, end in (("start", "start"), ("end", "stop")):
        wanted.append((f"{word} of the nonlocality window, r = {r[0]}", f"window_{end}", (0,)))
    wanted += [(f"Markov length at t = {x:g}", "markov_length", (k,)) for k, x in enumerate(t)]
    rows = []
    for quantity, key, at in wanted:
        value = float(variables["cmi_above_null" if key == "cmi" else key].values[at])
        truth = float(variables[f"{key}_exact"].values[at])
        if np.isfinite(value) and np.isfinite(truth):
            error = float(distance_error(variables, key)[at])
            rows.append(Row(name, quantity, truth, value, error, "exact solution", "learned"))
    return rows


def share_found(variables: Mapping[Any, Any]) -> float:
    """Return which part of all exact I(A;C|B) beyond the smallest radius, summed over times, the probe finds."""
    found, exact = (variables[name].values[:, 0].sum() for name in ("cmi_above_null", "cmi_exact"))
    return float(found / exact)
