"""Noise to T_f and back with learned local denoisers: the error of `recovery`, one network per radius for all T_f.

What networks make of a field has no closed form, but on a torus it is as translation invariant as they are, so that its
KL per site is a mean over modes of their power rho, in units of the clean one,

    KL / N = mean_k 1/2 (1/rho_k - 1 + log rho_k),

of the Gaussian law with this spectrum. The powers are measured; n samples of a complex mode have 2n degrees of freedom,
whose known E 1/rho and E log rho leave no bias: perfect recovery gives zero within its error, of either sign.
Loops are measured as in `recovery`, by their broken vertices.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from scipy.special import digamma

from ...channels import Channel
from ...denoisers import Denoiser, always, reverse
from ...errors import InputError
from ...models import GaussianField
from ...results import variable
from ..build import build_channel, build_model
from .base import Parameters, Quantity, radius_coordinate
from .local_training import TrainingSettings, trained
from .locality_gap import averages
from .recovery import check, columns, orders, return_times, sampled_errors


def _starts(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        raise InputError("must be a list of times, such as [0.3, 0.5, 0.7]")
    if not all(isinstance(t, int | float) and 0.0 < t <= 1.0 for t in value):
        raise InputError("must hold times with 0 < t <= 1")
    return value


class StartSettings(TrainingSettings):
    """starts: the times T_f."""

    starts: Annotated[tuple[float, ...], BeforeValidator(_starts)] = (0.3, 0.5, 0.7, 0.85)


class LearnedRecoverySettings(StartSettings):
    """n_steps: reverse steps from each start."""

    n_steps: Annotated[int, Field(ge=1)] = 40


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    settings, n_samples = parameters["settings"], parameters["n_samples"]
    nets: list[Any] = [trained(model, channel, radius, settings, rng) for radius in parameters["radii"]]
    errors_of, rows = field_sample_errors if isinstance(model, GaussianField) else sampled_errors, []
    for start in settings["starts"]:
        times = return_times(model, channel, start, settings["n_steps"])
        rows.append(errors_of(model, channel, model.sample(n_samples, rng), times, nets, rng))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def field_sample_errors(
    model: GaussianField,
    channel: Channel,
    x_0: NDArray,
    times: Sequence[float],
    denoisers: Sequence[Denoiser],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.float64]]:
    """Of fields; all denoisers start from the same noisy samples."""
    x_t = channel.corrupt(x_0[:, None], times[0], rng)
    recovered = [reverse(x_t, times, always(denoiser), channel, rng).reshape(x_0.shape) for denoiser in denoisers]
    stiffness = np.fft.fftn(model.solver.precision.toarray()[0].reshape(x_0.shape[1:])).real

    def powers(x: NDArray) -> NDArray[np.float64]:
        modes = np.fft.fftn(x, axes=range(1, x.ndim), norm="ortho")
        return np.asarray(stiffness * np.abs(modes) ** 2)

    pairs = [spectrum_error(powers(x)) for x in recovered]
    clean = powers(x_0).reshape(len(x_0), -1).mean(axis=1)
    changes = {
        "energy_change": np.stack([powers(x).reshape(len(x), -1).mean(axis=1) - clean for x in recovered], axis=1),
        "order_change": np.stack([orders(model, x) - orders(model, x_0) for x in recovered], axis=1),
    }
    return {
        "error": np.array([value for value, _ in pairs]),
        "error_stderr": np.array([stderr for _, stderr in pairs]),
        **averages(changes),
    }


def spectrum_error(powers: NDArray[np.float64]) -> tuple[float, float]:
    """KL per site and its standard error from the powers (n, *lattice) of modes in units of the clean ones."""
    n, lattice = len(powers), powers.shape[1:]
    partner = np.ix_(*(-np.arange(side) % side for side in lattice))
    site = np.arange(np.prod(lattice)).reshape(lattice)
    real = site == site[partner]
    freedom = np.where(real, n, 2 * n)
    rho = powers.mean(axis=0)
    value = 0.5 * ((1 - 2 / freedom) / rho - 1 + np.log(rho) - digamma(freedom / 2) + np.log(freedom / 2))
    slope, curvature, spread = 0.5 * (rho - 1) / rho, 0.5 * (2 / rho - 1), 2 / freedom  # in log rho, nearly
    twice = np.where(real, 1, 2)  # modes k and -k are one: what is counted twice errs twice
    chance = twice * (curvature * spread) ** 2  # of the slope itself, which is zero on average for perfect recovery
    variance = max((twice * slope**2 * spread - chance).sum(), 0.0) + 0.5 * chance.sum()
    return float(value.mean()), float(np.sqrt(variance) / site.size)


def coordinates(table: Parameters) -> dict[str, xr.Variable]:
    starts = np.array(table["settings"]["starts"])
    return {
        **radius_coordinate(table),
        "start": variable(("start",), starts, "1", "time T_f up to which noise is added"),
    }


def check_learned(parameters: Parameters) -> None:
    check({**parameters, "t": 0.5})
    model = build_model(parameters["model"])
    if isinstance(model, GaussianField) and not (model.lattice.ndim == 2 and all(model.lattice.periodic)):
        raise InputError(
            "learned recovery of fields is measured mode by mode and needs a 2D torus; use periodic = true"
        )


LEARNED_RECOVERY = Quantity(
    "learned_recovery",
    "the learned recovery error",
    columns(("start", "radius")),
    evaluate,
    coordinates,
    settings=LearnedRecoverySettings,
    reads=("radii",),
    models=("ising", "gaussian-field", "domain-walls"),
    check=check_learned,
)
