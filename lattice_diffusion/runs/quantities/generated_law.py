"""Gaussian generation with exact local denoisers: KL(p_0 || generated) beside the Girsanov bound, its area law.

    KL(p_0 || generated) <= 1/2 int d(snr) sum_i [mmse_i local(r) - mmse_i global]

For fields both sides are in closed form; for small spin systems the bound is a mean over noise samples, and the
generated law is counted over all states, with the bias (states - 1)/2n of counting taken off.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ...channels import Gaussian
from ...denoisers import ExactDenoiser, always, gaussian_divergence, generated_covariance, pure_noise, reverse
from ...errors import InputError
from ...exact import enumeration
from ...models import GaussianField
from ..build import build_channel, build_model
from .base import Parameters, Quantity, Settings, check_solvable, radius_coordinate, with_errors

LOG_SNR = 14.0  # beyond +- this the integrand is below 1e-6 of the area


class GenerationSettings(Settings):
    """n_steps: reverse steps, even in t; n_nodes: of the integral over log snr."""

    n_steps: Annotated[int, Field(ge=2)] = 200
    n_nodes: Annotated[int, Field(ge=2)] = 48


def log_snr_nodes(channel: Gaussian, n_nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and weights of int d(snr) by Gauss and Legendre in log snr."""
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    snr = np.exp(LOG_SNR * nodes)
    return np.array([channel.time(float(g)) for g in snr]), LOG_SNR * weights * snr


def field_excess(model: GaussianField, channel: Gaussian, t: float, radii: Sequence[int]) -> NDArray[np.float64]:
    """mmse_local(r) - mmse_global per site; what a field's denoisers see does not change their variances."""
    nothing = np.zeros((1, 1, *model.lattice.shape))
    everything = ExactDenoiser(model, channel)(nothing, t).variance.mean()
    return np.array([ExactDenoiser(model, channel, r)(nothing, t).variance.mean() - everything for r in radii])


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    assert isinstance(channel, Gaussian)
    settings, radii = parameters["settings"], parameters["radii"]
    measure = _field if isinstance(model, GaussianField) else _spins
    times = [float(t) for t in np.linspace(parameters["t"], 0.0, settings["n_steps"] + 1)]
    rows = measure(model, channel, radii, times, settings["n_nodes"], parameters["n_samples"], rng)
    n = model.lattice.n_sites
    return {name: np.asarray(values) / n for name, values in rows.items()}


def _field(
    model: GaussianField, channel: Gaussian, radii: list[int], times: list[float], n_nodes: int, *_: Any
) -> dict[str, Any]:
    n = model.lattice.n_sites
    t, weights = log_snr_nodes(channel, n_nodes)
    excess = np.array([field_excess(model, channel, u, radii) for u in t])
    laws = [generated_covariance(model, channel, times, always(ExactDenoiser(model, channel, r))) for r in radii]
    return {
        "divergence": [gaussian_divergence(model, law) for law in laws],
        "divergence_stderr": np.zeros(len(radii)),
        "bound": 0.5 * n * weights @ excess,
        "bound_stderr": np.zeros(len(radii)),
    }


def _spins(
    model: Any,
    channel: Gaussian,
    radii: list[int],
    times: list[float],
    n_nodes: int,
    n_samples: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    locals_, everything = [ExactDenoiser(model, channel, r) for r in radii], ExactDenoiser(model, channel)
    t, weights = log_snr_nodes(channel, n_nodes)
    n_noise = max(2, n_samples // n_nodes)
    bound, variance = np.zeros(len(radii)), np.zeros(len(radii))
    for u, weight in zip(t, weights, strict=True):
        x_t = channel.corrupt(model.sample(n_noise, rng), u, rng)[:, None]
        whole = everything(x_t, u).mean
        squares = np.array([((d(x_t, u).mean - whole) ** 2).reshape(n_noise, -1).sum(axis=1) for d in locals_])
        bound += 0.5 * weight * squares.mean(axis=1)
        variance += (0.5 * weight) ** 2 * squares.var(axis=1, ddof=1) / n_noise
    _, p = enumeration.law(model)
    divergence, error = [], []
    for denoiser in locals_:
        noise = pure_noise((n_samples, *everything.shape), channel, times[0], rng)
        x = reverse(noise, times, always(denoiser), channel, rng).reshape(n_samples, -1)
        index = (x > 0) @ (1 << np.arange(x.shape[1])[::-1])
        q = np.bincount(index, minlength=len(p)) / n_samples
        if not q.all():
            raise InputError(f"n_samples must reach all {len(p)} states, got {n_samples}; draw more")
        ratio = p / q
        divergence.append(float((p * np.log(ratio)).sum() - (ratio * (1 - q)).sum() / (2 * n_samples)))
        error.append(float(np.sqrt(((ratio - (q * ratio).sum()) ** 2 * q).sum() / n_samples)))
    return {
        "divergence": divergence,
        "divergence_stderr": error,
        "bound": bound,
        "bound_stderr": np.sqrt(variance),
    }


def _check(parameters: Parameters) -> None:
    check_solvable(parameters)
    if parameters["channel"]["name"] != "gaussian":
        raise InputError(f"the Girsanov bound takes the gaussian channel, got {parameters['channel']['name']!r}")
    if parameters["t"] == 0.0:
        raise InputError("generation starts at t > 0, pure noise, got t = 0")


GENERATED_LAW = Quantity(
    "generated_law",
    "the generated law",
    {
        **with_errors("divergence", ("radius",), "nat", "KL(p_0 || generated law) per site"),
        **with_errors("bound", ("radius",), "nat", "Girsanov bound on it per site, 1/2 int d(snr) excess"),
    },
    evaluate,
    radius_coordinate,
    settings=GenerationSettings,
    reads=("radii",),
    models=("gaussian-field", "ising"),
    check=_check,
)
