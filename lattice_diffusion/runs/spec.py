"""What to measure: a TOML file or a dict becomes a frozen, resolved `Spec`, or one sentence says why not.

    name = "square"
    seed = 7
    [grids.square]
    model = { name = "ising", length = [6, 8], beta = { start = 0.3, stop = 0.5, num = 5 } }
    channel = { name = "gaussian", schedule = "linear" }
    t = [0.3, 0.5, 0.7]
    radii = [1, 2, 3]

`spec_tables` has the keys of every model and channel. A file with one grid may give `model`, `channel`, `t`, ... at the
top level; that grid is called "grid".
"""

import difflib
import json
import os
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, model_validator

from .. import registry
from ..errors import InputError
from ..registry import hint
from .quantities import OPTIONAL, PLACES, QUANTITIES, TARGETS, Quantity, find
from .spec_tables import ChannelSpec, ModelSpec, Table, axis, members


class SpecError(InputError):
    """A spec that cannot be run; the message is one sentence: what, received, allowed, remedy."""


def _center(value: Any) -> Any:
    value = [value] if isinstance(value, int) else value
    if value is not None and not (isinstance(value, list | tuple) and all(type(x) is int for x in value)):
        raise InputError(f"must be a site such as [5, 5], got {value!r}")
    return value


def _quantity(value: str) -> str:
    if value not in QUANTITIES and not registry.is_file(value):
        raise InputError(f"must be one of {', '.join(QUANTITIES)}, got {value!r}")
    return value


Times = Annotated[tuple[float, ...], axis(float, 0.0, 1.0, scalar=False)]
Radii = Annotated[tuple[int, ...], axis(int, 0, scalar=False)]


class GridSpec(Table):
    """Every combination of the model's listed parameters and of `t`, where the quantity is measured at times.

    All `radii` of one combination are measured together, on one set of noise samples. `quantity` is what is
    measured, an entry of `quantities`, and `settings` how, where it has a choice. Label entropies are measured on
    L x (L+1) faces for `length` = L.

    `target_stderr` and `target_relative_error` ask for samples in rounds, the first of `n_samples`, until either is
    met at every radius or `max_samples` are drawn.
    """

    model: Annotated[ModelSpec, Field(discriminator="name")]
    channel: Annotated[ChannelSpec, Field(discriminator="name")]
    t: Times | None = None
    radii: Radii = (0,)
    patch: Annotated[int, Field(ge=1)] = 1
    center: Annotated[tuple[int, ...] | None, BeforeValidator(_center)] = None
    n_samples: Annotated[int, Field(ge=2)] = 1000
    method: Literal["auto", "closed", "sampled"] = "auto"
    quantity: Annotated[str, AfterValidator(_quantity)] = "cmi"
    settings: dict[str, Any] | None = None
    target_stderr: Annotated[float | None, Field(gt=0)] = None
    target_relative_error: Annotated[float | None, Field(gt=0)] = None
    max_samples: int | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        model, channel = self.model.name, self.channel.name
        if model.startswith("gaussian") and channel != "gaussian":
            raise InputError(f"pairs {model} with the channel {channel!r}; it takes the gaussian channel only")
        quantity = find(self.quantity)
        if quantity.models and model not in quantity.models:
            raise InputError(f"asks for {quantity.what} of {model}; only {' and '.join(quantity.models)} has it")
        if quantity.timed != (self.t is not None):
            remedy = "lacks the key 't', such as t = [0.3, 0.5, 0.7]"
            raise InputError(remedy if quantity.timed else f"has the key 't', which {quantity.what} has no use for")
        useless = [key for key in OPTIONAL if key not in quantity.reads]
        self._no_use(quantity.what, "it has no A, B and C", useless)
        for key in PLACES:
            if key not in quantity.reads and getattr(self.model, key, None) is not None:
                raise InputError(f"has the key 'model.{key}', which {quantity.what} has no use for")
        object.__setattr__(self, "settings", quantity.resolve_settings(self.settings))
        self._check_target(quantity)
        if "radii" in quantity.reads and model != "curie-weiss" and "radii" not in self.model_fields_set:
            raise InputError("lacks the key 'radii', such as radii = [1, 2, 3]")
        if model == "curie-weiss":
            self._no_use("curie-weiss", "its regions set A, B and C", ("radii", "patch", "center"))
        if model == "domain-walls":
            self._no_use("domain-walls", "its bond or block sets A", ("patch", "center"))
        return self

    @property
    def has_target(self) -> bool:
        """Whether every point draws samples until its error is small enough."""
        return any(getattr(self, key) is not None for key in TARGETS)

    def _check_target(self, quantity: Quantity) -> None:
        if not self.has_target:
            if self.max_samples is not None:
                raise InputError(f"has max_samples without a target to reach; add {' or '.join(TARGETS)}")
            return
        if not quantity.averages:
            can = ", ".join(name for name in QUANTITIES if find(name).averages)
            raise InputError(f"asks for a target error of {quantity.what}, which only {can} can draw samples for")
        if self.max_samples is None or self.max_samples < self.n_samples:
            got = "none" if self.max_samples is None else str(self.max_samples)
            raise InputError(
                f"needs max_samples >= n_samples = {self.n_samples}, the budget of a target error, got {got}"
            )

    def _no_use(self, what: str, why: str, keys: Iterable[str]) -> None:
        for key in keys:
            if key in self.model_fields_set and getattr(self, key) != type(self).model_fields[key].default:
                raise InputError(f"has the key {key!r}, which {what} has no use for: {why}")


class Spec(Table):
    """One experiment: named grids of independent points and the seed of all its random numbers."""

    name: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    grids: dict[str, GridSpec]

    def __init__(self, **table: Any) -> None:
        try:
            super().__init__(**table)
        except ValidationError as error:
            raise SpecError(_sentence(error)) from None

    @model_validator(mode="after")
    def _group_names(self) -> Self:
        if not self.grids:
            raise InputError("needs at least one grid, such as [grids.square], got none")
        for name in self.grids:
            if name == "table" or not name.replace("-", "_").isidentifier():
                raise InputError(f"has a grid named {name!r}; use letters, digits, - and _, and not 'table'")
        return self

    def to_json(self) -> str:
        """Canonical JSON, defaults and ranges resolved; `Spec(**json.loads(text))` gives the spec back."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True)


def load(path: str | os.PathLike[str]) -> Spec:
    """Read a TOML spec. Raises SpecError with one sentence for bad content, OSError for no readable file."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a spec file (.toml)")
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not TOML: {error}") from None
    if "grids" not in table:
        grid = {key: value for key, value in table.items() if key not in Spec.model_fields}
        table = {key: value for key, value in table.items() if key in Spec.model_fields} | {"grids": {"grid": grid}}
    return Spec(**{"name": path.stem, **table})


_UNIONS = {"model": members(ModelSpec), "channel": members(ChannelSpec)}


def _sentence(error: ValidationError) -> str:
    """The first problem of a validation error, unknown keys before all others, in one sentence."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    place = [str(part) for part in problem["loc"]]
    table: type[BaseModel] = Spec
    if len(place) > 2:
        table = GridSpec
    if len(place) > 3 and place[2] in _UNIONS and place[3] in _UNIONS[place[2]]:
        table = _UNIONS[place[2]][place.pop(3)]  # pydantic names the union's member; the user did not
    return _PHRASES.get(problem["type"], _other)(problem, place, table)


def _unknown_key(problem: Any, place: list[str], table: type[BaseModel]) -> str:
    key, where = place[-1], ".".join(place[:-1]) or "the spec"
    return f"unknown key {key!r} in {where}; {hint(key, table.model_fields)}"


def _missing(problem: Any, place: list[str], table: type[BaseModel]) -> str:
    where = ".".join(place[:-1]) or "the spec"
    return f"{where} lacks the key {place[-1]!r}; its keys are {', '.join(table.model_fields)}"


def _bad_tag(problem: Any, place: list[str], table: type[BaseModel]) -> str:
    what, known = place[-1], _UNIONS[place[-1]]
    word, where = problem["ctx"]["tag"], ".".join(place)
    near = difflib.get_close_matches(word, known, n=1)
    remedy = f"; did you mean {near[0]!r}?" if near else ";"
    return f"unknown {what} {word!r} in {where}{remedy} known: {', '.join(known)}"


def _no_tag(problem: Any, place: list[str], table: type[BaseModel]) -> str:
    return f"{'.'.join(place)} lacks the key 'name'; known: {', '.join(_UNIONS[place[-1]])}"


def _other(problem: Any, place: list[str], table: type[BaseModel]) -> str:
    where = ".".join(place) or "the spec"
    if problem["type"] == "value_error":
        return f"{where} {problem['ctx']['error']}"
    if problem["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return f"{where} must be a table of keys, got {problem['input']!r}"
    what = problem["msg"].replace("Input should", "must")
    return f"{where} {what}, got {problem['input']!r}"


_PHRASES: dict[str, Callable[[Any, list[str], type[BaseModel]], str]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "union_tag_invalid": _bad_tag,
    "union_tag_not_found": _no_tag,
}
