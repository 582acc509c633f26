"""One conditional mutual information from plain options: what the command `cmi` does."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from typing import Any

from .. import channels, exact, models
from ..errors import InputError, shown
from .points import Point, build_model
from .spec import ON_GRIDS

# Options that are typed as lists: an example, what is between the numbers, and how many there are (None: any number).
_LISTS = {
    "shape": ("11x11", "x", None),
    "center": ("5,5", ",", None),
    "regions": ("1,20,40", ",", 3),
    "bond": ("4,4,4,5", ",", 4),
    "block": ("4,4", ",", 2),
}
_WITH_OPTIONS = (*_LISTS, "periodic", "radius", "patch", "method", "dtype", "burn_in", "thin")


def options(model: str, given: Mapping[str, Any], channel: str, schedule: str | None) -> dict[str, Any]:
    """Return the parameters of a point, less t and n_samples, from options as typed (None: not given).

    Raises InputError with one sentence for an unknown name, a missing or meaningless option, a malformed list.
    """
    kind = models.find(model)
    noise: dict[str, Any] = {"name": channel}
    if channels.find(channel) is channels.Gaussian:
        noise["schedule"] = schedule or "linear"
    elif schedule is not None:
        raise InputError(f"--schedule has no meaning for {channel}; leave it out")
    numbers = kind.numbers()
    shape = [key for key in kind.geometry if key != "periodic"]
    needed = [*shape, *(key for key, default in numbers.items() if default is MISSING)]
    if "regions" not in kind.geometry:
        needed.append("radius")
    more = [*(key for key in numbers if key not in needed), *(key for key in kind.geometry if key not in needed)]
    given = only(model, given, needed, (*more, *kind.placement_keys))
    given = {key: _list(key, value) if key in _LISTS else value for key, value in given.items()}
    table = {"name": model, **{key: given[key] for key in (*numbers, *kind.geometry) if key in given}}
    if "periodic" in kind.geometry:
        table["periodic"] = periodic_axes(given.get("periodic"), len(given["shape"]))
    where = build_model(table).placement(**{key: given[key] for key in kind.placement_keys if key in given})
    table |= {key: value for key, value in where.items() if key not in ON_GRIDS}
    radii = {"radii": [given["radius"]]} if "radius" in given else {}
    defaults = {key: default for key, default in numbers.items() if default not in (None, MISSING)}
    return {
        "model": {**defaults, **table},
        "channel": noise,
        **radii,
        **{key: value for key, value in where.items() if key in ON_GRIDS},
    }


def measure_one(parameters: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the CMI at one point: value, stderr, unit, n_samples, method, parameters, as plain JSON types."""
    point = Point(parameters)
    answer = exact.cmi(point.model, point.channel, point.t, point.parts[0], point.n_samples, rng=seed)
    told = {key: value for key, value in parameters.items() if key not in ("n_samples", "radii")}
    radius = {"radius": parameters["radii"][0]} if "radii" in parameters else {}
    return {
        "value": answer.value,
        "stderr": answer.stderr,
        "unit": "nat",
        "n_samples": answer.n_samples,
        "method": answer.method,
        "parameters": {**told, **radius, "samples": parameters["n_samples"], "seed": seed},
    }


def only(model: str, given: Mapping[str, Any], needed: Sequence[str], more: Sequence[str]) -> dict[str, Any]:
    """Return what was given of the options of a model; raise InputError for one that it does not take, or needs."""
    found = {key: value for key, value in given.items() if value is not None}
    for key in found:
        if key not in (*needed, *more):
            takes = ", ".join(_flag(name) for name in dict.fromkeys((*needed, *more)))
            raise InputError(f"{_flag(key)} has no meaning for {model}, which takes {takes}; leave it out")
    for key in needed:
        if key not in found:
            raise InputError(f"{model} needs {_flag(key)}; add it")
    return found


def integers(text: str, option: str, example: str, separator: str) -> list[int]:
    """Return a list of integers as typed; raise InputError, naming the option and an example, for anything else."""
    number = r"\d{1,18}"
    if not re.fullmatch(f"{number}({separator}{number})*", text):
        raise InputError(f"--{option} must look like {example}, got {shown(text)}; integers with {separator} between")
    return [int(word) for word in text.split(separator)]


def periodic_axes(given: str | bool | None, n_axes: int) -> list[bool]:
    """Return which axes are periodic: all, none, or those of a list as typed; raise InputError for anything else."""
    if isinstance(given, bool | None) or given == "all":
        return [bool(given)] * n_axes
    axes = integers(given, "periodic", "0,2", ",")
    if max(axes) >= n_axes:
        raise InputError(f"--periodic must list axes from 0 to {n_axes - 1}, got {given}")
    return [axis in axes for axis in range(n_axes)]


def assigned(words: list[str]) -> dict[str, float]:
    """Return numbers of a model by name, from words such as field=0.3; raise InputError for anything else."""
    found = {}
    for word in words:
        left, _, value = word.partition("=")
        name = left.strip().replace("-", "_")
        if name in _WITH_OPTIONS:
            raise InputError(f"--set takes numbers of the model, such as field=0.3, got {word!r}; use {_flag(name)}")
        try:
            found[name] = float(value)
        except ValueError:
            raise InputError(f"--set must look like field=0.3, got {word!r}; a name and a number") from None
    return found


def _list(key: str, value: Any) -> Any:
    example, separator, length = _LISTS[key]
    found = integers(value, key, example, separator)
    if length not in (None, len(found)):
        raise InputError(f"--{key} must look like {example}, got {value!r}; {length} whole numbers")
    return [found[:2], found[2:]] if key == "bond" else found


def _flag(key: str) -> str:
    own = key in (*_WITH_OPTIONS, "beta", "mass_squared", "mean", "std")
    return "--" + key.replace("_", "-") if own else f"--set {key}=.."
