"""A probe of pictures whose I(A;C|B) is known, by the same code and from as many of them as there are images.

Of the images' shape, of two kinds: uniform loops, whose information is carried by products of bonds alone, which
networks learn only from enough of them, and pictures whose information is carried by pairs, those of three whose
spectrum is nearest to that of the images: Ising spins near criticality, grey levels of a spectrum 1/k^2 (in two
textures where images have labels), and smooth ones of 1/k^4, both in the correlated colours of the images where these
have colours. Tokens have Potts chains and hierarchies. What the probe misses there it may miss in images, too.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..estimate import Curve
from ..estimators.amortised import ProbePlan, reach
from ..estimators.amortised_data import field_of_array
from ..noise_units import level, units
from ..report import with_error as number
from ..results import Row, variable
from .decisions import TOLERANCE, Group, Variables, probe_variables
from .lattice_images import (
    GreyField,
    Rendering,
    TokenRows,
    calibration_shape,
    grey_image,
    ising_image,
    loop_image,
    spectrum,
    texture_image,
    token_rows,
)

PREFIX = "calibration_"
TITLES = {
    "ising": "Ising spins as blocks of 2x2 pixels",
    "grey": "grey fields of spectrum 1/k²",
    "smooth": "grey fields of spectrum 1/k⁴",
    "textures": "grey fields of spectrum 1/k² in two textures",
    "colours": "fields of spectrum 1/k² in the colours of the images",
    "smooth-colours": "fields of spectrum 1/k⁴ in the colours of the images",
    "loops": "uniform loops",
    "chains": "Potts chains along rows",
    "hierarchy": "random hierarchies along rows",
}
Pictures = Rendering | GreyField | TokenRows
COMPARED = ("cmi", "total_information", "markov_length", "window_start", "window_stop")
N_EXACT = 1000
N_SPECTRUM = 500  # images that spectra are averages of
MISSED = 5.0  # errors by which a measured CMI lies below the exact one


def pictures(shape: tuple[int, int], colours: NDArray[np.float64] | None = None) -> dict[str, Pictures]:
    """Return what a probe of images of this shape, and of these colours (see `GreyField`), may be calibrated on."""
    shape = calibration_shape(shape)
    names = ("grey", "smooth") if colours is None else ("colours", "smooth-colours")
    fields = {name: grey_image(shape, smooth=k == 1, colours=colours) for k, name in enumerate(names)}
    return {"ising": ising_image(shape), **fields, "textures": texture_image(shape), "loops": loop_image(shape)}


def pictures_for(images: NDArray, plan: ProbePlan, labelled: bool = False) -> dict[str, Pictures]:
    """Return what a probe of images (n, channel, row, column) is calibrated on.

    Of tokens these are Potts chains whose neighbours are equal as often as those of the images, and hierarchies; of
    others uniform loops and the pictures whose spectrum is nearest to that of the images, Ising spins or fields, or
    Ising spins under noise of spins. Grey fields of labelled images have two textures.
    """
    if plan.tokens is not None:
        axis = 3 if images.shape[3] > 1 else 2
        alike = float((np.diff(images.astype(float), axis=axis) == 0).mean())
        return dict(token_rows((images.shape[2], images.shape[3]), plan.tokens, alike))
    colours = None
    if images.shape[1] > 1:
        values, vectors = np.linalg.eigh(np.cov(np.moveaxis(images, 1, 0).reshape(images.shape[1], -1)))
        colours = vectors * np.sqrt(np.maximum(values, 0.0))
    known, rng = pictures((images.shape[2], images.shape[3]), colours), np.random.default_rng(0)
    loops, ising = known.pop("loops"), known["ising"]
    if plan.channel != "gaussian":
        return {"ising": ising, "loops": loops}
    textures = known.pop("textures")
    if labelled and colours is None:
        known["textures"] = textures
        del known["grey"]

    def grey_spectrum(x: NDArray) -> NDArray[np.float64]:
        return spectrum(x.mean(axis=1) if x.ndim == 4 else x)

    own = grey_spectrum(images[:N_SPECTRUM])
    drawn = {name: grey_spectrum(one.sample(N_SPECTRUM, rng)) for name, one in known.items()}
    nearest = min(drawn, key=lambda name: float(((drawn[name] - own) ** 2).sum()))
    return {nearest: known[nearest], "loops": loops}


def plan_for(plan: ProbePlan, rendering: Pictures) -> ProbePlan:
    """Return the same plan for A of the pictures and their symbols, with radii that leave something outside the box."""
    limit, tokens = reach(rendering.shape, rendering.pixel), plan.tokens
    if isinstance(rendering, TokenRows):
        tokens = rendering.model.q
    return replace(plan, pixel=rendering.pixel, radii=tuple(r for r in plan.radii if r < limit) or (1,), tokens=tokens)


def exact_seconds(rendering: Pictures, plan: ProbePlan, n_exact: int = N_EXACT, n: int = 16) -> float:
    """Return the seconds that the exact answers of `calibrate` take, from a trial with n noisy pictures."""
    laps = []
    for _ in range(2):  # the first compiles
        start = time.perf_counter()
        rendering.cmi_curve(plan.noise(), 0.5, (0, *plan.radii), n, np.random.default_rng(0))  # type: ignore[arg-type]
        laps.append(time.perf_counter() - start)
    return laps[-1] * len(plan.times) * n_exact / n


def calibrate(
    rendering: Pictures,
    n_images: int,
    plan: ProbePlan,
    tolerance: float = TOLERANCE,
    *,
    n_exact: int = N_EXACT,
    **options: Any,
) -> Variables:
    """Return `beside_exact` of a probe of `n_images` pictures.

    Args:
        plan: of `plan_for`; tolerance: of `probe_variables`.
        n_exact: number of noisy pictures that the exact answers are averaged over.
        options: of `measure`.
    """
    from ..estimators.amortised_estimates import measure

    if plan.pixel != rendering.pixel:
        raise InputError(f"pixel must be that of the pictures, {rendering.pixel}, got {plan.pixel}; use plan_for")
    samples, truth = (np.random.default_rng(s) for s in np.random.SeedSequence([plan.seed, 1]).spawn(2))
    field = field_of_array(rendering.sample(n_images, samples), rendering.pixel, tokens=plan.tokens)
    measured, channel = measure(field, plan, **options), plan.noise()
    curves = [
        rendering.cmi_curve(channel, t, (0, *plan.radii), n_exact, truth)  # type: ignore[arg-type]
        for t in plan.times
    ]
    prefactor = [rendering.model.prefactor_exponent(channel, t) for t in plan.times]  # type: ignore[arg-type]
    return beside_exact(measured, curves, tolerance=tolerance, prefactor=prefactor)


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
        **options,
    }
    exact = probe_variables(**known, cmi_stderr=stderr[:, 1:])
    errors = found["cmi_above_null_stderr"].values
    covariance = errors[:, :, None] ** 2 * np.eye(errors.shape[1])
    if "cmi_covariance" in measured:
        covariance += measured["cmi_covariance"] - found["cmi_stderr"].values[:, :, None] ** 2 * np.eye(errors.shape[1])
    fitted = probe_variables(**known, cmi_stderr=errors, cmi_covariance=covariance)
    exact |= {name: fitted[name] for name in ("markov_length", "markov_length_stderr")}
    for name in (name for name in COMPARED if name in found):
        for end in ("", "_stderr"):
            of = exact[name + end]
            about = f"exact: {of.attrs['long_name']}"
            found[f"{name}_exact{end}"] = variable(of.dims, of.values, of.attrs["units"], about)
    if "n_nonlocal_times" in found:
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


def comparison(name: str, variables: Mapping[Any, Any]) -> Iterator[Row]:
    """Yield rows of measured beside exact: I(A;BC), I(A;C|B) and its window, and every Markov length."""
    r, top = variables["radius"].values, int(np.argmax(variables["cmi_exact"].values[:, 0]))
    noise = [level(*at) for at in zip(variables["t"].values, variables["log_snr"].values, strict=True)]
    wanted: list[tuple[str, str, tuple[int, ...]]] = [
        (f"I(A;BC) at {noise[top]}", "total_information", (top,)),
        (f"I(A;C|B) at {noise[top]}, r = {r[0]}", "cmi", (top, 0)),
    ]
    if "markov_length" in variables:
        for word, end in (("start", "start"), ("end", "stop")):
            where = units(float(variables[f"window_{end}_log_snr"].values[0]))
            wanted.append((f"{word} of the nonlocality window, r = {r[0]} ({where})", f"window_{end}", (0,)))
        wanted += [(f"Markov length at {x}", "markov_length", (k,)) for k, x in enumerate(noise)]
    for quantity, key, at in wanted:
        value = float(variables["cmi_above_null" if key == "cmi" else key].values[at])
        truth = float(variables[f"{key}_exact"].values[at])
        if np.isfinite(value) and np.isfinite(truth):
            error = float(distance_error(variables, key)[at])
            yield Row(name, quantity, truth, value, error, "exact solution", "learned")


def share_found(variables: Mapping[Any, Any]) -> float:
    """Return which part of all exact I(A;C|B) beyond the smallest radius, summed over times, the probe finds."""
    found, exact = (variables[name].values[:, 0].sum() for name in ("cmi_above_null", "cmi_exact"))
    return float(found / exact)


def calibration_verdict(group: Group) -> tuple[str, bool]:
    """Return how far the probe lies from what is exact, in words, and whether it misses what is there."""
    radius = group["radius"].values
    gap, error = group["cmi_above_null"].values - group["cmi_exact"].values, distance_error(group, "cmi")
    k, j = np.unravel_index(int(np.abs(gap).argmax()), gap.shape)
    found, exact = (
        number(*(round(float(group[f"{name}{end}"].values[k, j]), 9) for end in ("", "_stderr")))
        for name in ("cmi_above_null", "cmi_exact")
    )
    where = level(group["t"].values[k], group["log_snr"].values[k])
    sentences = [
        f"The probe finds {round(share_found(group), 2) + 0.0:.0%} of I(A;C|B) beyond r = {radius[0]}, summed over "
        f"times. It is furthest from exact at {where}, r = {radius[j]}: {found} for {exact} nats."
    ]
    for quantity, keys in (("ξ(t)", ("markov_length",)), ("Ends of windows", ("window_start", "window_stop"))):
        if keys[0] not in group:
            continue
        z = np.concatenate([np.atleast_1d(distance(group, key)) for key in keys])
        z = z[np.isfinite(z)]
        if z.size:
            rms, most = float(np.sqrt((z**2).mean())), float(np.abs(z).max())
            sentences.append(f"{quantity}: {z.size} compared, r.m.s. z = {rms:.1f}, largest |z| = {most:.1f}.")
        else:
            sentences.append(f"{quantity}: none in both to compare.")
    return " ".join(sentences), bool(-gap[k, j] > max(MISSED * error[k, j], float(group["tolerance"].values)))


def calibration_doubts(result: Mapping[str, Group]) -> Iterator[str]:
    """Yield a warning where the probe misses known information, from the groups of a result."""
    missed = [
        TITLES.get(name.removeprefix(PREFIX), name)
        for name, group in result.items()
        if "cmi_exact" in group and calibration_verdict(group)[1]
    ]
    if missed:
        yield (
            f"From as many pictures of known truth ({' and '.join(missed)}) the probe misses what is there: "
            "what it does not find in the images may be there too, above all where it is carried by parities of many "
            "pixels, as in closed loops."
        )
