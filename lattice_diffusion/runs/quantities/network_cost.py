"""What a pass of a network costs by its radius: multiply-adds, counted, and seconds, measured side by side.

Networks are of the default size, `LocalNet(radius)` and `GlobalNet()`, untrained, as weights cost nothing. In every
round each is timed in turn, so that whatever else the machine does disturbs all alike; a round's time is the best of
its passes, the value the mean over rounds. Seconds are those of the machine: they alone differ from run to run.
"""

import time
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from ...channels import Channel
from ...models import DomainWalls, GaussianField
from ...results import variable
from ..build import build_channel, build_model
from .base import Column, Parameters, Quantity, Settings, check_solvable, with_errors

if TYPE_CHECKING:
    from ...denoisers import GlobalNet, LocalNet

N_SITES = 1 << 14  # of a pass, so that it takes milliseconds


class NetworkCostSettings(Settings):
    """rounds: of timing; passes: of every network in a round, of which the best counts."""

    rounds: Annotated[int, Field(ge=2)] = 4
    passes: Annotated[int, Field(ge=1)] = 3


def networks(model: Any, channel: Channel, radii: list[int]) -> "list[LocalNet | GlobalNet]":
    """One of every radius and the global one, for data of the model."""
    from ...denoisers import GlobalNet, LocalNet

    if isinstance(model, DomainWalls):
        kind: dict[str, Any] = {"in_channels": 2, "bonds": True, "periodic": model.periodic}
    else:
        ndim, periodic = model.lattice.ndim, any(model.lattice.periodic)
        head = "gaussian" if isinstance(model, GaussianField) else "bernoulli"
        kind = {"head": head, "ndim": ndim, "periodic": periodic}
    return [*(LocalNet(r, channel=channel, **kind) for r in radii), GlobalNet(channel=channel, **kind)]


def network_costs(
    model: Any, channel: Channel, radii: list[int], rounds: int, passes: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Multiply-adds (radii + 1,) and seconds (rounds, radii + 1) of denoising one sample; the global one last."""
    shape = model.lattice.shape if isinstance(model, DomainWalls) else (1, *model.lattice.shape)
    nets = networks(model, channel, radii)
    x_t = np.zeros((max(1, N_SITES // model.lattice.n_sites), *shape))
    for net in nets:
        net(x_t, 0.5)
    seconds = np.full((rounds, len(nets)), np.inf)
    for row in seconds:
        for _ in range(passes):
            for k, net in enumerate(nets):
                start = time.perf_counter()
                net(x_t, 0.5)
                row[k] = min(row[k], time.perf_counter() - start)
    return np.array([net.multiply_adds(shape) for net in nets]), seconds / len(x_t)


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    multiply_adds, seconds = network_costs(model, channel, parameters["radii"], **parameters["settings"])
    return {
        "seconds": seconds.mean(axis=0),
        "seconds_stderr": seconds.std(axis=0, ddof=1) / np.sqrt(len(seconds)),
        "multiply_adds": multiply_adds,
    }


def radii_and_global(table: Parameters) -> dict[str, xr.Variable]:
    radii = np.array([*table["radii"], -1])
    return {"radius": variable(("radius",), radii, "sites", "radius of the denoiser, -1 for the global one")}


NETWORK_COST = Quantity(
    "network_cost",
    "the cost of networks",
    {
        **with_errors("seconds", ("radius",), "s", "measured time of denoising one sample"),
        "multiply_adds": Column(("radius",), "1", "multiply-adds of denoising one sample"),
    },
    evaluate,
    radii_and_global,
    settings=NetworkCostSettings,
    reads=("radii",),
    models=("domain-walls", "gaussian-field", "ising"),
    check=check_solvable,
)
