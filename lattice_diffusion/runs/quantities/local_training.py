"""Local networks that are trained inside a point of a grid, from the point's own random numbers."""

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ...channels import Channel
from ...models import DomainWalls, GaussianField
from .base import Settings

if TYPE_CHECKING:
    from ...denoisers import GlobalNet, LocalNet

VERTEX = 3  # the other bonds of a bond's vertex, whose product is its sign


class TrainingSettings(Settings):
    """train_steps of Adam (of loops: of Muon) on batch_size fresh samples each; width and depth of the networks."""

    train_steps: Annotated[int, Field(ge=1)] = 1000
    batch_size: Annotated[int, Field(ge=1)] = 64
    width: Annotated[int, Field(ge=1)] = 32
    depth: Annotated[int, Field(ge=0)] = 2


def trained(
    model: Any, channel: Channel, radius: int, settings: dict[str, Any], rng: np.random.Generator
) -> "LocalNet":
    """A network of this radius for spins, fields or loops of two dimensions, after settings["train_steps"] steps."""
    from ...denoisers import LocalNet, fit

    kind: dict[str, Any] = {"periodic": any(model.lattice.periodic)}
    training: dict[str, Any] = {"steps": settings["train_steps"], "batch_size": settings["batch_size"]}
    if isinstance(model, DomainWalls):
        kind = {"periodic": model.periodic, "in_channels": 2, "bonds": True, "order": VERTEX}
        training |= {"optimiser": "muon", "learning_rate": 0.01}
    elif isinstance(model, GaussianField):
        everywhere = np.ones(model.lattice.shape, bool)
        kind |= {
            "head": "gaussian",
            "variance": float(model.solver.covariance(channel, 0.0, everywhere).diagonal().mean()),
        }
    net = LocalNet(radius, channel=channel, width=settings["width"], depth=settings["depth"], rng=rng, **kind)
    fit(net, model.sample, progress=False, rng=rng, **training)
    return net


def trained_globally(model: Any, channel: Channel, settings: dict[str, Any], rng: np.random.Generator) -> "GlobalNet":
    """A network that sees everything, after settings["global_steps"] steps."""
    from ...denoisers import GlobalNet, fit

    net = GlobalNet(channel=channel, width=settings["width"], rng=rng)
    steps, batch_size = settings["global_steps"], settings["batch_size"]
    fit(net, model.sample, progress=False, rng=rng, steps=steps, batch_size=batch_size)
    return net
