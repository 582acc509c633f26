"""Noise to T_f = t and back with denoisers of one radius: how far the recovered law lies from the data's.

The return starts from true noisy data and takes `n_steps` reverse steps, so that only the radius (and the steps) err.
`error` is zero for perfect recovery, whatever is recovered:

    fields         KL(p_0 || recovered law) per site, in closed form
    spins          1/2 sum_k (P_k - Q_k)^2 / Q_k over the 16 patterns of a 2x2 patch (or 2 sites of a chain), clean law
                   Q: their KL to leading order. From the pairs of clean and recovered samples without bias, so
                   that perfect recovery gives zero within its error, of either sign
    domain walls   fraction of vertices around which the loops are broken

`energy_change` and `order_change` are <e> and <m^2> of the recovered less the clean data, e the energy per site (per
bond for walls, per mode for fields), m the mean of all values.
"""

import itertools
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ...channels import Channel, Gaussian
from ...denoisers import (
    Denoiser,
    ExactDenoiser,
    always,
    gaussian_divergence,
    generated_covariance,
    reverse,
    violated_vertices,
)
from ...errors import InputError
from ...models import DomainWalls, GaussianField
from ..build import build_channel, build_model
from .base import Parameters, Quantity, Settings, check_solvable, radius_coordinate, with_errors
from .locality_gap import averages

FloatArray = NDArray[np.float64]
CERTAIN_SNR = 50.0  # of spins: the last step goes from here to t = 0 at once, and errs by exp(-25) a site


class RecoverySettings(Settings):
    """n_steps: reverse steps, even in t."""

    n_steps: Annotated[int, Field(ge=1)] = 40


def return_times(model: Any, channel: Channel, start: float, n_steps: int) -> list[float]:
    """From start to 0; for two-valued data under Gaussian noise straight to 0 from where they are certain."""
    last = channel.time(CERTAIN_SNR) if isinstance(channel, Gaussian) and not isinstance(model, GaussianField) else 0.0
    if last == 0.0 or start <= last or n_steps == 1:
        return [float(t) for t in np.linspace(start, 0.0, n_steps + 1)]
    return [*(float(t) for t in np.linspace(start, last, n_steps)), 0.0]


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    check(parameters)
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    times = return_times(model, channel, parameters["t"], parameters["settings"]["n_steps"])
    denoisers = [exact_denoiser(model, channel, radius) for radius in parameters["radii"]]
    if isinstance(model, GaussianField):
        assert isinstance(channel, Gaussian)
        return field_errors(model, channel, times, denoisers)
    x_0 = model.sample(parameters["n_samples"], rng)
    return sampled_errors(model, channel, x_0, times, denoisers, rng)


def exact_denoiser(model: Any, channel: Channel, radius: int) -> ExactDenoiser:
    """Of this radius; the global one where its boxes cover the lattice."""
    return ExactDenoiser(model, channel, None if radius >= max(model.lattice.shape[-2:]) - 1 else radius)


def field_errors(
    model: GaussianField, channel: Gaussian, times: Sequence[float], denoisers: Sequence[Denoiser]
) -> dict[str, FloatArray]:
    """Exact, without samples."""
    n, everywhere = model.lattice.n_sites, np.ones(model.lattice.shape, bool)
    K = model.solver.precision.toarray()
    clean, start = (model.solver.covariance(channel, t, everywhere) for t in (0.0, times[0]))
    rows = []
    for denoiser in denoisers:
        law = generated_covariance(model, channel, times, always(denoiser), start)
        rows.append((gaussian_divergence(model, law) / n, np.trace(K @ law) / n - 1.0, (law - clean).mean()))
    names, nothing = ("error", "energy_change", "order_change"), np.zeros(len(rows))
    values = dict(zip(names, np.array(rows).T, strict=True))
    return {**values, **{f"{name}_stderr": nothing for name in names}}


def sampled_errors(
    model: Any,
    channel: Channel,
    x_0: NDArray,
    times: Sequence[float],
    denoisers: Sequence[Denoiser],
    rng: np.random.Generator,
) -> dict[str, FloatArray]:
    """Of two-valued data; all denoisers start from the same noisy samples."""
    walls = isinstance(model, DomainWalls)
    x_t = channel.corrupt(x_0 if walls else x_0[:, None], times[0], rng)
    recovered = [reverse(x_t, times, always(denoiser), channel, rng).reshape(x_0.shape) for denoiser in denoisers]
    changes = averages(
        {
            name: np.stack([of(model, x) - of(model, x_0) for x in recovered], axis=1)
            for name, of in (("energy_change", energies), ("order_change", orders))
        }
    )
    if walls:
        broken = [violated_vertices(np.where(model.bonds, x, 0.0)) for x in recovered]
        return {**averages({"error": np.stack(broken, axis=1)}), **changes}
    clean = patch_frequencies(model, x_0)
    pairs = [half_chi_square(patch_frequencies(model, x) - clean, clean.mean(axis=0)) for x in recovered]
    return {"error": np.array([p[0] for p in pairs]), "error_stderr": np.array([p[1] for p in pairs]), **changes}


def energies(model: Any, x: NDArray) -> FloatArray:
    """(n,): -sum s_i s_j per site, or -sum x_e per bond of domain walls."""
    if isinstance(model, DomainWalls):
        return -x[:, model.bonds].mean(axis=1)
    flat, (i, j) = x.reshape(len(x), -1), model.lattice.bonds.T
    return np.asarray(-(flat[:, i] * flat[:, j]).sum(axis=1) / model.lattice.n_sites)


def orders(model: Any, x: NDArray) -> FloatArray:
    """(n,): m^2."""
    used = model.bonds if isinstance(model, DomainWalls) else np.ones(model.lattice.shape, bool)
    return np.asarray(x[:, used].mean(axis=1) ** 2)


def patch_frequencies(model: Any, x: NDArray, side: int = 2) -> FloatArray:
    """(n, patterns): how often each pattern of a patch of this side occurs in a sample."""
    up = (x > 0).astype(np.int64)
    code: NDArray[np.int64] = np.zeros(1, np.int64)
    for corner in itertools.product(range(side), repeat=model.lattice.ndim):
        cut = tuple(slice(k, n - side + 1 + k) for k, n in zip(corner, model.lattice.shape, strict=True))
        code = 2 * code + up[(slice(None), *cut)]
    n_patterns = 1 << side**model.lattice.ndim
    code = code.reshape(len(x), -1) + n_patterns * np.arange(len(x))[:, None]
    counts = np.bincount(code.ravel(), minlength=n_patterns * len(x)).reshape(len(x), n_patterns)
    return np.asarray(counts / (code.size / len(x)))


def half_chi_square(differences: FloatArray, clean: FloatArray) -> tuple[float, float]:
    """1/2 sum_k E[d_k]^2 / Q_k without bias, and its standard error, on the safe side where the value is near zero.

    Args:
        differences: d, (n, patterns), recovered less clean frequencies of each sample.
        clean: Q, (patterns,). Patterns that no sample shows are left out.
    """
    n, seen = len(differences), (clean > 0) | (differences != 0).any(axis=0)
    d = differences[:, seen] / np.sqrt(np.maximum(clean[seen], 1.0 / n))
    mean, covariance = d.mean(axis=0), np.cov(d, rowvar=False)
    value = 0.5 * (mean @ mean - np.trace(covariance) / n)
    noise = float((covariance**2).sum()) / n**2  # of the two terms of the variance of a U statistic, at E d = 0
    variance = max(float(mean @ covariance @ mean) / n - 0.5 * noise, 0.5 * noise)
    return float(value), float(np.sqrt(variance))


def check(parameters: Parameters) -> None:
    check_solvable(parameters)
    model, channel = build_model(parameters["model"]), parameters["channel"]["name"]
    if isinstance(model, DomainWalls) and channel == "erasure":
        raise InputError("erased loops are recovered bond by bond; use quantity = 'unmasking'")
    if parameters["t"] == 0.0:
        raise InputError("recovery starts at t > 0, noisy data, got t = 0")


def columns(dims: tuple[str, ...]) -> dict[str, Any]:
    return {
        **with_errors("error", dims, "1", "recovery error: KL per site, half chi^2 of patches, or broken vertices"),
        **with_errors("energy_change", dims, "1", "energy per site (bond, mode) of recovered less clean data"),
        **with_errors("order_change", dims, "1", "squared mean value of recovered less clean data"),
    }


RECOVERY = Quantity(
    "recovery",
    "the recovery error",
    columns(("radius",)),
    evaluate,
    radius_coordinate,
    settings=RecoverySettings,
    reads=("radii",),
    models=("gaussian-field", "ising", "ising-chain", "domain-walls"),
    check=check,
)
