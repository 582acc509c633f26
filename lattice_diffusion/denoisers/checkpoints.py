"""Checkpoints of training and networks on disk: whole or not there, checked as they are read, and of one training.

A generator's state is part of a checkpoint, so that a resumed run gives the numbers of an uninterrupted one.
"""

import contextlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..errors import InputError
from ..store import atomic_write

Rng = np.random.Generator | torch.Generator
FORMAT = 2


class CheckpointError(InputError):
    """A file that is not a checkpoint, or that belongs to another network or training."""


def write_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers and text to a file that is there whole or not at all."""
    with atomic_write(Path(path)) as partial:
        torch.save({"format": FORMAT, "package_version": __version__, **state}, partial)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return what `write_checkpoint` wrote; it runs no code from the file.

    Raises CheckpointError for a file that is missing, damaged (torch does not look at checksums) or another one.
    """
    if not Path(path).exists():
        raise CheckpointError(f"{path} does not exist")
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere in zipfile, pickle and torch
        raise CheckpointError(
            f"{path} is not a checkpoint of this package, or a damaged one ({type(error).__name__})"
        ) from None
    if damaged:
        raise CheckpointError(f"{path} is damaged: the checksum of {damaged} is another; train again")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this package in format {FORMAT}; train again")
    return state


@contextlib.contextmanager
def understood(path: str | Path, what: str) -> Iterator[None]:
    """Turn what goes wrong with the contents of a checkpoint into one sentence with its name."""
    try:
        yield
    except CheckpointError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path} is not a checkpoint {what}: {reason.rstrip(':')}") from None


def resumed(path: str | Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state in a checkpoint of the training that `about` describes."""
    state = read_checkpoint(path)
    if "optimiser" not in state:
        raise CheckpointError(f"{path} holds a finished network only, which cannot be trained further")
    theirs = state["description"]
    differing = [
        f"{name} is {theirs.get(name)} there and {about[name]} here"
        for name in about
        if about[name] != theirs.get(name)
    ]
    if differing:
        raise CheckpointError(f"{path} is a checkpoint of another network or training: {', '.join(differing)}")
    return state


def stamp_of(path: str | Path | None) -> Any:
    """Return what changes when a file is written again; None where there is none, False where its folder is gone."""
    if path is None or not Path(path).exists():
        return None if path is None or Path(path).absolute().parent.is_dir() else False
    found = Path(path).stat()
    return found.st_ino, found.st_mtime_ns


def state_of(rng: Rng | None) -> Tensor | str | None:
    if isinstance(rng, np.random.Generator):
        return json.dumps(rng.bit_generator.state, default=np.ndarray.tolist)
    return None if rng is None else rng.get_state()


def set_state(rng: Rng | None, state: Any) -> None:
    if isinstance(rng, np.random.Generator):
        rng.bit_generator.state = json.loads(state)
    elif rng is not None and len(state) == len(rng.get_state()):
        rng.set_state(state)
    elif rng is not None:  # that of another kind of device, which draws other numbers
        rng.manual_seed(zlib.crc32(state.numpy().tobytes()))
