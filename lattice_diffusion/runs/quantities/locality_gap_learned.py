"""The locality gap as learned local denoisers have it, beside the exact one, on common noise samples.

A network of radius r is trained in the point, and one whose box around the centre covers the lattice stands for a
global one. Its blind law p(x_A|x_B) is taken at the centre A, so that A's own observation is integrated exactly, as in
`locality_gap`. Whatever was learned is a function of the box, so that against the exact global denoiser

    D_learned^2 = D^2 + error,    error = (alpha/sigma^2)^2 E (learned - exact local)^2 >= 0,

and `excess` is the residual D_learned^2 - D^2 - error, of expectation zero. `network_gap` knows no exact law at all:
the learned local network against the learned global one.
"""

from typing import TYPE_CHECKING, Annotated

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import BeforeValidator
from scipy.special import expit

from ...channels import Gaussian, gaussian_output_law
from ...errors import InputError
from ...results import variable
from ..build import build_channel, build_model, build_parts
from .base import Parameters, Quantity, radius_coordinate, with_errors
from .local_training import TrainingSettings, trained
from .locality_gap import FloatArray, averages, check, expected_gap

if TYPE_CHECKING:
    from ...denoisers import LocalNet


def _inside(value: object) -> object:
    times = value if isinstance(value, list | tuple) else [value]
    if not times or not all(isinstance(t, int | float) and 0.0 < t < 1.0 for t in times):
        raise InputError("must be a list of times with 0 < t < 1, such as [0.3, 0.5, 0.7]")
    return value


class LearnedGapSettings(TrainingSettings):
    """times at which the trained networks are compared."""

    times: Annotated[tuple[float, ...], BeforeValidator(_inside)] = (0.3, 0.5, 0.7, 0.85)


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    settings = parameters["settings"]
    assert isinstance(channel, Gaussian)
    radii, center = parameters["radii"], tuple(parameters["center"])
    covering = max(max(i, n - 1 - i) for i, n in zip(center, model.lattice.shape, strict=True))
    *nets, everywhere = [trained(model, channel, radius, settings, rng) for radius in (*radii, covering)]
    parts = build_parts({"patch": 1, **parameters})
    site, n_samples = np.flatnonzero(parts[0].A), parameters["n_samples"]
    rows: dict[str, list[FloatArray]] = {}
    for t in settings["times"]:
        alpha, sigma = channel.alpha(t), channel.sigma(t)
        scale, law = (alpha / sigma**2) ** 2, gaussian_output_law(channel.snr(t))
        x_t = channel.corrupt(model.sample(n_samples, rng), t, rng)
        h = channel.likelihood_field(x_t, t)
        whole = model.solver.block_posterior(np.where(parts[0].BC, h, 0.0), site)
        local = [model.solver.block_posterior(np.where(part.B, h, 0.0), site) for part in parts]
        learned = [blind_law(net, x_t, t, center) for net in nets]
        learned_whole = blind_law(everywhere, x_t, t, center)
        gaps = [
            (expected_gap(whole, p, law), learned_gap(whole, p, f, law)) for p, f in zip(local, learned, strict=True)
        ]
        samples = {
            "gap": np.stack([gap for gap, _ in gaps], axis=1),
            "learned_gap": np.stack([total for _, (total, _) in gaps], axis=1),
            "error": np.stack([error for _, (_, error) in gaps], axis=1),
            "network_gap": np.stack([expected_gap(learned_whole, f, law) for f in learned], axis=1),
        }
        samples["excess"] = samples["learned_gap"] - samples["gap"] - samples["error"]
        for name, values in averages({name: scale * values for name, values in samples.items()}).items():
            rows.setdefault(name, []).append(values)
    return {name: np.stack(values) for name, values in rows.items()}


def blind_law(net: "LocalNet", x_t: NDArray, t: float, center: tuple[int, ...]) -> FloatArray:
    """(n, 2), the network's P(-1) and P(+1) of the centre given its box."""
    log_odds = net.blind(x_t[:, None], t).log_odds[(slice(None), 0, *center)]  # type: ignore[attr-defined]
    return np.stack([expit(-log_odds), expit(log_odds)], axis=1)


def learned_gap(q: FloatArray, p: FloatArray, f: FloatArray, law: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means over outcomes under q of (E_q - E_f)^2 and (E_p - E_f)^2, E the posterior mean given the outcome."""
    means = []
    for laws in (p, f):
        joint = laws[:, None, ::-1] * law
        means.append((joint[..., 0] - joint[..., 1]) / joint.sum(axis=2).clip(np.finfo(float).tiny))
    weight = q @ law[:, ::-1].T
    return expected_gap(q, f, law), np.asarray((weight * (means[0] - means[1]) ** 2).sum(axis=1))


def coordinates(table: Parameters) -> dict[str, xr.Variable]:
    times = np.array(table["settings"]["times"])
    return {**radius_coordinate(table), "time": variable(("time",), times, "1", "diffusion time of the comparison")}


def check_learned(parameters: Parameters) -> None:
    check({**parameters, "t": 0.5})


TIME_RADIUS = ("time", "radius")
LEARNED_GAP = Quantity(
    "learned_gap",
    "the learned locality gap",
    {
        **with_errors("gap", TIME_RADIUS, "1", "squared locality gap D^2 at A, exact"),
        **with_errors("learned_gap", TIME_RADIUS, "1", "D^2 of the learned local denoiser to the exact global one"),
        **with_errors("error", TIME_RADIUS, "1", "squared distance of learned and exact local denoiser, as D^2"),
        **with_errors("excess", TIME_RADIUS, "1", "learned_gap - gap - error"),
        **with_errors("network_gap", TIME_RADIUS, "1", "D^2 of the learned local to the learned global denoiser"),
    },
    evaluate,
    coordinates,
    settings=LearnedGapSettings,
    reads=("radii", "center"),
    models=("ising",),
    check=check_learned,
)
