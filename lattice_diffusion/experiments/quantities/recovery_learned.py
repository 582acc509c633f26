"""Noise to T_f and back with learned local denoisers: the error of `recovery`, one network per radius for all T_f."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from ...results import Variable
from ..build import build_channel, build_model
from .base import Parameters, Quantity, radius_coordinate
from .local_training import TrainingSettings, trained
from .recovery import check, columns, return_times, sampled_errors


def _starts(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list of times, such as [0.3, 0.5, 0.7]")
    if not all(isinstance(t, int | float) and 0.0 < t <= 1.0 for t in value):
        raise ValueError("must hold times with 0 < t <= 1")
    return value


class LearnedRecoverySettings(TrainingSettings):
    """starts: the times T_f; n_steps: reverse steps from each."""

    starts: Annotated[tuple[float, ...], BeforeValidator(_starts)] = (0.3, 0.5, 0.7, 0.85)
    n_steps: Annotated[int, Field(ge=1)] = 40


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    settings, n_samples = parameters["settings"], parameters["n_samples"]
    nets: list[Any] = [trained(model, channel, radius, settings, rng) for radius in parameters["radii"]]
    rows = []
    for start in settings["starts"]:
        times = return_times(model, channel, start, settings["n_steps"])
        rows.append(sampled_errors(model, channel, model.sample(n_samples, rng), times, nets, rng))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def coordinates(table: Parameters) -> dict[str, Variable]:
    starts = np.array(table["settings"]["starts"])
    return {
        **radius_coordinate(table),
        "start": Variable(("start",), starts, "1", "time T_f up to which noise is added"),
    }


LEARNED_RECOVERY = Quantity(
    "learned_recovery",
    "the learned recovery error",
    columns(("start", "radius")),
    evaluate,
    coordinates,
    settings=LearnedRecoverySettings,
    reads=("radii",),
    models=("ising",),
    check=lambda parameters: check({**parameters, "t": 0.5}),
)
