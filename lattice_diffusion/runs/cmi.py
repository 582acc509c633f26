"""One number from plain options: what the command `cmi` does."""

import re
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from .. import channels, exact, models
from ..errors import InputError, shown
from ..registry import hint
from .build import build_channel, build_model, build_parts

_GEOMETRY = ("periodic", "center", "radius", "patch")
_PLACES = (*_GEOMETRY, "bond", "block")
_NOT_NUMBERS = ("shape", "regions", *_PLACES, "method", "dtype", "burn_in", "thin")
# What each model needs, and what else it takes.
_TAKES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "gaussian-field": (("shape", "mass_squared", "radius"), _GEOMETRY),
    "gaussian-mixture": (("shape", "mean", "radius"), ("std", "mass_squared", *_GEOMETRY)),
    "ising": (("shape", "beta", "radius"), _GEOMETRY),
    "ising-chain": (("shape", "beta", "radius"), _GEOMETRY),
    "curie-weiss": (("regions", "beta"), ()),
    "domain-walls": (("shape", "radius"), ("beta", "bond", "block", "periodic")),
}
_TAKES |= {
    kind.name: (
        ("shape", *(field.name for field in fields(kind)[1:] if field.default is MISSING), "radius"),
        (*(field.name for field in fields(kind)[1:] if field.default is not MISSING), *_GEOMETRY),
    )
    for kind in models.MODELS
    if kind.name not in _TAKES
}
_CHANNELS = tuple(kind.name for kind in channels.CHANNELS)


def options(model: str, given: dict[str, Any], channel: str, schedule: str | None) -> dict[str, Any]:
    """Parameters for `measure_one`, less t and n_samples, from options as typed (None: not given).

    Raises ValueError with one sentence for an unknown name, a missing or meaningless option, a malformed list.
    """
    if model not in _TAKES:
        raise InputError(f"unknown model {model!r}; {hint(model, _TAKES)}")
    if channel not in _CHANNELS:
        raise InputError(f"unknown channel {channel!r}; {hint(channel, _CHANNELS)}")
    if schedule is not None and channel != "gaussian":
        raise InputError(f"--schedule has no meaning for {channel}; leave it out")
    needed, more = _TAKES[model]
    given = only(model, given, needed, more)
    if model == "gaussian-mixture" and ("std" in given) == ("mass_squared" in given):
        raise InputError("gaussian-mixture needs either --std (white) or --mass-squared (correlated); give one")
    if model.startswith("gaussian") and channel != "gaussian":
        raise InputError(f"{model} takes the gaussian channel only, got {channel!r}; spins take all three")
    if model == "domain-walls" and "bond" in given and "block" in given:
        raise InputError("domain-walls takes A from --bond or from --block, got both; give one")
    noise = {"name": channel} | ({"schedule": schedule or "linear"} if channel == "gaussian" else {})
    if model == "domain-walls":
        return {"model": {"name": model, **_walls(given)}, "channel": noise, "radii": [given["radius"]]}
    return {"model": {"name": model, **_numbers(given)}, "channel": noise, **_placement(given)}


def only(model: str, given: dict[str, Any], needed: Sequence[str], more: Sequence[str]) -> dict[str, Any]:
    """What was given of the options of a model; ValueError for one that it does not take, or needs."""
    given = {key: value for key, value in given.items() if value is not None}
    for key in given:
        if key not in (*needed, *more):
            takes = ", ".join(_flag(name) for name in dict.fromkeys((*needed, *more)))
            raise InputError(f"{_flag(key)} has no meaning for {model}, which takes {takes}; leave it out")
    for key in needed:
        if key not in given:
            raise InputError(f"{model} needs {_flag(key)}; add it")
    return given


def measure_one(parameters: dict[str, Any], seed: int) -> dict[str, Any]:
    """The CMI at one point: value, stderr, unit, n_samples, method, parameters, as plain JSON types."""
    model, parts = build_model(parameters["model"]), build_parts(parameters)
    channel = build_channel(parameters["channel"])
    rng = np.random.default_rng(seed)
    answer = exact.cmi(model, channel, parameters["t"], parts[0], parameters["n_samples"], rng)
    shown = {key: value for key, value in parameters.items() if key not in ("n_samples", "radii")}
    radius = {"radius": parameters["radii"][0]} if "radii" in parameters else {}
    return {
        "value": answer.value,
        "stderr": answer.stderr,
        "unit": "nat",
        "n_samples": answer.n_samples,
        "method": answer.method,
        "parameters": {**shown, **radius, "samples": parameters["n_samples"], "seed": seed},
    }


def integers(text: str, option: str, example: str, separator: str) -> list[int]:
    """A list of integers as typed; ValueError naming the option and an example."""
    number = r"\d{1,18}"
    if not re.fullmatch(f"{number}({separator}{number})*", text):
        raise InputError(
            f"--{option} must look like {example}, got {shown(text)}; whole numbers with {separator} between"
        )
    return [int(word) for word in text.split(separator)]


def assigned(words: list[str]) -> dict[str, float]:
    """Numbers of a model by name, from words such as field=0.3; ValueError for anything else."""
    found = {}
    for word in words:
        left, _, value = word.partition("=")
        name = left.strip().replace("-", "_")
        if name in _NOT_NUMBERS:
            raise InputError(f"--set takes numbers of the model, such as field=0.3, got {word!r}; use {_flag(name)}")
        try:
            found[name] = float(value)
        except ValueError:
            raise InputError(f"--set must look like field=0.3, got {word!r}; a name and a number") from None
    return found


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _numbers(given: dict[str, Any]) -> dict[str, Any]:
    model = {key: value for key, value in given.items() if key not in ("shape", "regions", *_PLACES)}
    if "regions" in given:
        regions = integers(given["regions"], "regions", "1,20,40", ",")
        if len(regions) != 3:
            raise InputError(f"--regions must look like 1,20,40, got {given['regions']!r}; three sizes a,b,c")
        return {**model, "regions": regions}
    shape = integers(given["shape"], "shape", "11x11", "x")
    return {**model, "shape": shape, "periodic": [bool(given.get("periodic", False))] * len(shape)}


def _walls(given: dict[str, Any]) -> dict[str, Any]:
    shape = integers(given["shape"], "shape", "32x32", "x")
    if len(shape) != 2:
        raise InputError(f"--shape must look like 32x32, got {given['shape']!r}; domain-walls live on L x W faces")
    model = {"shape": shape, "periodic": [bool(given.get("periodic", False))] * 2, "beta": given.get("beta", 0.0)}
    if "block" in given:
        face = integers(given["block"], "block", "4,4", ",")
        if len(face) != 2:
            raise InputError(f"--block must look like 4,4, got {given['block']!r}; the top left face of a 2x2 block")
        return {**model, "block": face}
    i, j = ((n - 1) // 2 for n in shape)
    ends = integers(given.get("bond", f"{i},{j},{i},{j + 1}"), "bond", f"{i},{j},{i},{j + 1}", ",")
    if len(ends) != 4:
        raise InputError(f"--bond must look like 4,4,4,5, got {given['bond']!r}; its two faces i,j,k,l")
    return {**model, "bond": [ends[:2], ends[2:]]}


def _placement(given: dict[str, Any]) -> dict[str, Any]:
    if "regions" in given:
        return {}
    shape = integers(given["shape"], "shape", "11x11", "x")
    center = [n // 2 for n in shape]
    if "center" in given:
        center = integers(given["center"], "center", ",".join(str(x) for x in center), ",")
    return {"center": center, "radii": [given["radius"]], "patch": given.get("patch", 1)}
