"""Networks on disk: weights, what they are weights of, and all that training needs to go on.

Files hold tensors, numbers and text only and are read with torch's `weights_only`, so that opening one runs no code.
They are written beside their final name and moved there, so that a name always belongs to a whole file.
"""

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__, channels
from ..errors import InputError
from ..store import replacing
from .categorical import GlobalImageNet, LocalImageNet
from .global_net import GlobalNet
from .local import LocalNet
from .network import Network

FORMAT = 1
KINDS: tuple[type[Network], ...] = (LocalNet, GlobalNet, LocalImageNet, GlobalImageNet)
CLASSES = {kind.__name__: kind for kind in KINDS}
CHANNELS = tuple(kind.__name__ for kind in channels.CHANNELS)


class CheckpointError(InputError):
    """A file that is not a checkpoint, or one of another network; the message is one sentence."""


def describe(net: Network) -> dict[str, Any]:
    """The network's class and arguments as plain numbers, text and lists."""
    channel = net.channel
    named = {**net.arguments, "channel": [type(channel).__name__, dataclasses.asdict(channel)]}  # type: ignore[call-overload]
    arguments: dict[str, Any] = json.loads(json.dumps(named, default=lambda value: value.tolist()))  # NumPy's own types
    return {"class": type(net).__name__, "arguments": arguments}


def build(description: dict[str, Any]) -> Network:
    """A network as described, with fresh weights."""
    arguments = dict(description["arguments"])
    name, fields = arguments["channel"]
    if description["class"] not in CLASSES or name not in CHANNELS:
        raise CheckpointError(
            f"no network {description['class']} with channel {name} is known to version {__version__}"
        )
    arguments["channel"] = getattr(channels, name)(**fields)
    if arguments.get("stencil") is not None:
        arguments["stencil"] = np.array(arguments["stencil"], bool)
    return CLASSES[description["class"]](**arguments)


def save(path: str | Path, net: Network) -> None:
    """Write the network alone, for use."""
    _write(path, {**describe(net), "average": [p.detach().cpu() for p in net.parameters()]})


def load(path: str | Path, device: str | torch.device | None = None) -> Network:
    """The network in a file, trained or in training, with its averaged weights. Raises CheckpointError."""
    state = _read(path)
    net = build(state)
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), state["average"], strict=True):
            parameter.copy_(value)
    return net.to(device)


def save_training(
    path: str | Path,
    net: Network,
    average: list[Tensor],
    optimiser: torch.optim.Optimizer,
    step: int,
    rng: np.random.Generator,
) -> None:
    """Write the network in training: its weights, their average, the optimiser, and the state of `rng`."""
    state = {
        **describe(net),
        "step": step,
        "weights": net.state_dict(),
        "average": average,
        "optimiser": optimiser.state_dict(),
        "rng": json.dumps(rng.bit_generator.state, default=np.ndarray.tolist),
    }
    _write(path, state)


def load_training(
    path: str | Path, net: Network, average: list[Tensor], optimiser: torch.optim.Optimizer, rng: np.random.Generator
) -> int:
    """Put everything back in place and return the number of steps done. Raises CheckpointError."""
    state = _read(path)
    ours, theirs = describe(net), {name: state.get(name) for name in ("class", "arguments")}
    if ours != theirs:
        raise CheckpointError(f"{path} is a checkpoint of another network: {_difference(ours, theirs)}")
    if "optimiser" not in state:
        raise CheckpointError(f"{path} holds a finished network only; load it with checkpoints.load")
    bit_generator = json.loads(state["rng"])
    if bit_generator["bit_generator"] != rng.bit_generator.state["bit_generator"]:
        raise CheckpointError(
            f"{path} was trained with {bit_generator['bit_generator']}; pass a generator of that kind"
        )
    if set(state["optimiser"]["param_groups"][0]) != set(optimiser.state_dict()["param_groups"][0]):
        raise CheckpointError(f"{path} was trained with another optimiser; pass the same one to go on")
    net.load_state_dict(state["weights"])
    for mine, saved in zip(average, state["average"], strict=True):
        mine.copy_(saved)
    optimiser.load_state_dict(state["optimiser"])
    rng.bit_generator.state = bit_generator
    return int(state["step"])


def _difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    if ours["class"] != theirs["class"]:
        return f"it is a {theirs['class']}, not a {ours['class']}"
    mine, other = ours["arguments"], theirs["arguments"]
    names = [name for name in mine if mine[name] != other.get(name)]
    return ", ".join(f"{name} is {other.get(name)} there and {mine[name]} here" for name in names)


def _write(path: str | Path, state: dict[str, Any]) -> None:
    with replacing(Path(path)) as partial:
        torch.save({"format": FORMAT, "package_version": __version__, **state}, partial)


def _read(path: str | Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is not a checkpoint of this package ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this package in format {FORMAT}")
    return state
