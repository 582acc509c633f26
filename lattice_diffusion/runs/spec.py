"""What to measure: a TOML file or a dict becomes a frozen, resolved `Spec`, or one sentence says why not.

    name = "square"
    seed = 7
    [grids.square]
    model = { name = "ising", length = [6, 8], beta = { start = 0.3, stop = 0.5, num = 5 } }
    channel = { name = "gaussian", schedule = "linear" }
    t = [0.3, 0.5, 0.7]
    radii = [1, 2, 3]

The keys of a model and of a channel are those that its class says it has (see `models` and `channels`): every number of
a model may be one value, a list, or {start, stop, num}; the last two make an axis of the grid. `name` may also be
`file.py:Class`. A file with one grid may give `model`, `channel`, `t`, ... at the top level; its grid is called "grid".
"""

import json
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .. import channels, models, registry
from ..errors import InputError
from ..registry import hint
from .quantities import OPTIONAL, PLACES, QUANTITIES, TARGETS, Quantity, find

MOST = 100_000  # values of a range
MOST_POINTS = 1_000_000  # of all grids, which are lists in memory
ON_GRIDS = ("center", "patch")  # placements of A that are keys of a grid; others are keys of the model


class SpecError(InputError):
    """A spec that cannot be run; the message is one sentence: what, received, allowed, remedy."""


class _KeyError(InputError):
    """A problem at one key of a model."""

    def __init__(self, key: str, error: InputError) -> None:
        super().__init__(str(error))
        self.key = key


# -- values --------------------------------------------------------------------------------------------------


def axis(kind: type, low: float = -math.inf, high: float = math.inf, *, scalar: bool = True) -> Callable[[Any], Any]:
    """Return the check of one number, or of distinct numbers as a list or range, each in [low, high].

    One number stays one if `scalar`, and becomes a list of one otherwise.
    """
    article = "an integer" if kind is int else "a finite number"
    allowed = article if math.isinf(low) else f"{article} >= {low:g}"
    allowed = allowed if math.isinf(high) else f"{article} in [{low:g}, {high:g}]"

    def number(value: Any) -> Any:
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or (kind is int and value != int(value)) or not low <= value <= high:
            raise InputError(f"must be {allowed}, got {value!r}")
        return kind(value)

    def check(value: Any) -> Any:
        if isinstance(value, Mapping):
            value = _range(value)
        if isinstance(value, list | tuple):
            values = tuple(number(x) for x in value)
            if not values:
                raise InputError("must hold at least one value, got an empty list")
            if len(set(values)) < len(values):
                repeated = next(x for i, x in enumerate(values) if x in values[:i])
                raise InputError(f"must hold distinct values, got {repeated} twice")
            return values
        return number(value) if scalar else (number(value),)

    return check


def _range(table: Mapping[str, Any]) -> list[float]:
    if set(table) != {"start", "stop", "num"}:
        raise InputError(f"needs the keys start, stop and num for a range, got {', '.join(sorted(table))}")
    start, stop, num = table["start"], table["stop"], table["num"]
    if not (isinstance(num, int) and 2 <= num <= MOST and all(type(x) in (int, float) for x in (start, stop))):
        needed = f"numbers start and stop and an integer num from 2 to {MOST:,}"
        raise InputError(f"needs {needed} for a range, got {dict(table)}")
    return [start + (stop - start) * i / (num - 1) for i in range(num - 1)] + [stop]


def _integers(example: str, count: int | None = None) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        value = [value] if type(value) is int else value
        good = isinstance(value, list | tuple) and all(type(x) is int for x in value)
        if not good or count not in (None, len(value)):
            raise InputError(f"must be {example}, got {value!r}")
        return tuple(value)

    return check


def _dimension(value: Any) -> Any:
    if value not in (1, 2):
        raise InputError(f"must be 1 or 2, got {value!r}")
    return value


def _periodic(value: Any) -> Any:
    if not all(isinstance(flag, bool) for flag in (value if isinstance(value, list | tuple) else [value])):
        raise InputError(f"must be true, false or a list of them, one for each axis, got {value!r}")
    return value


def _regions(value: Any) -> Any:
    many = isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(x, list | tuple) for x in value)
    for sizes in value if many else [value]:
        good = isinstance(sizes, list | tuple) and [type(x) for x in sizes] == [int] * 3
        if not (good and sizes[0] >= 1 and min(sizes) >= 0):
            raise InputError(f"must be three integers a >= 1, b >= 0, c >= 0, or a list of such, got {sizes!r}")
    totals = [sum(sizes) for sizes in value] if many else []
    if len(set(totals)) < len(totals):
        raise InputError(f"must differ in a + b + c, which names the size axis, got the sizes {totals}")
    return tuple(map(tuple, value)) if many else tuple(value)


# -- models and channels -------------------------------------------------------------------------------------


def own_placement(kind: Any) -> tuple[str, ...]:
    """Return the keys of a model's table that say where A is, besides its geometry."""
    return tuple(key for key in kind.placement_keys if key not in (*ON_GRIDS, *kind.geometry))


def model_keys(kind: Any) -> dict[str, tuple[Callable[[Any], Any], Any]]:
    """Return the keys of the table of a model class, besides `name`, each with its check and its default.

    The default is MISSING where the key must be given, None where it may be left out.
    """
    keys: dict[str, tuple[Callable[[Any], Any], Any]] = {}
    if "shape" in kind.geometry:
        faces = any(field.name == "faces" for field in fields(kind))  # what the user may call the shape
        examples = {1: "the number of sites such as [8]", 2: "two positive integers such as [32, 32]"}
        example = examples.get(kind.dimension, "positive integers such as [8, 6]")
        keys = {
            "faces" if faces else "shape": (_integers(example, kind.dimension), None),
            "length": (axis(int, 2), None),
        }
        if kind.dimension is None:
            keys["dimension"] = (_dimension, 2)
    if "periodic" in kind.geometry:
        keys["periodic"] = (_periodic, False)
    if "regions" in kind.geometry:
        keys["regions"] = (_regions, MISSING)
    keys |= {name: (axis(float), default) for name, default in kind.numbers().items()}
    return keys | dict.fromkeys(own_placement(kind), (lambda value: value, None))


def _model(table: Any) -> dict[str, Any]:
    """Return the table of a model, its defaults filled in and ranges resolved."""
    kind = _named(table, models.find, models.MODELS)
    keys = model_keys(kind)
    _check_keys(table, keys)
    found: dict[str, Any] = {"name": table["name"]}
    for key, (check, default) in keys.items():
        try:
            if table.get(key) is not None:
                found[key] = check(table[key])
            elif default is MISSING:
                raise InputError(f"lacks the key {key!r}; its keys are {', '.join(('name', *keys))}")
            elif default is not None:
                found[key] = default
        except InputError as error:
            raise error if default is MISSING and key not in table else _KeyError(key, error) from None
    if "length" in keys:
        shape = next(iter(keys))
        if (shape in found) == ("length" in found):
            example = "faces = [L, W]" if shape == "faces" else "shape = [Lx, Ly]"
            given = "both" if shape in found else "neither"
            raise InputError(f"needs either {example} or length = L, got {given}")
    check_numbers = getattr(kind, "check_numbers", None)
    if check_numbers is not None:
        check_numbers({name: found[name] for name in kind.numbers() if name in found})
    return found


def _channel(table: Any) -> dict[str, Any]:
    """Return the table of a channel, its defaults filled in."""
    kind = _named(table, channels.find, channels.CHANNELS)
    known = [field.name for field in fields(kind) if field.init] if is_dataclass(kind) else [*table]
    _check_keys(table, known)
    try:
        made = kind(**{key: value for key, value in table.items() if key != "name"})
    except InputError as error:
        raise InputError(f"cannot be made: {error}") from None
    given = {key: getattr(made, key) for key in known if key != "name"}
    return {"name": table["name"], **{key: value for key, value in given.items() if value is not None}}


def _named(table: Any, find: Callable[[str], Any], known: Iterable[Any]) -> Any:
    if not isinstance(table, Mapping):
        raise InputError(f"must be a table of keys, got {table!r}")
    if "name" not in table:
        raise InputError(f"lacks the key 'name'; known: {', '.join(registry.names(known))}")
    try:
        return find(table["name"])
    except InputError as error:
        raise InputError(f"has an {error}" if str(error).startswith("unknown") else f"names a file: {error}") from None


def _check_keys(table: Mapping[str, Any], known: Iterable[str]) -> None:
    known = ["name", *known]
    for key in table:
        if key not in known:
            raise InputError(f"has the unknown key {key!r}; {hint(key, known)}")


# -- grids ---------------------------------------------------------------------------------------------------


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _quantity(value: str) -> str:
    if value not in QUANTITIES and not registry.is_file(value):
        raise InputError(f"must be one of {', '.join(QUANTITIES)}, got {value!r}")
    return value


class GridSpec(Table):
    """Every combination of the model's listed parameters and of `t`, where the quantity is measured at times.

    All `radii` of one combination are measured together, on one set of noise samples. `quantity` is what is
    measured, an entry of `quantities`, and `settings` how, where it has a choice. Label entropies are measured on
    L x (L+1) faces for `length` = L.

    `target_stderr` and `target_relative_error` ask for samples in rounds, the first of `n_samples`, until either is
    met at every radius or `max_samples` are drawn.
    """

    model: Annotated[dict[str, Any], BeforeValidator(_model)]
    channel: Annotated[dict[str, Any], BeforeValidator(_channel)]
    t: Annotated[tuple[float, ...], BeforeValidator(axis(float, 0.0, 1.0, scalar=False))] | None = None
    radii: Annotated[tuple[int, ...], BeforeValidator(axis(int, 0, scalar=False))] = (0,)
    patch: Annotated[int, Field(ge=1, strict=True)] = 1
    center: Annotated[tuple[int, ...], BeforeValidator(_integers("a site such as [5, 5]"))] | None = None
    n_samples: Annotated[int, Field(ge=2, strict=True)] = 1000
    method: Literal["auto", "closed", "sampled"] = "auto"
    quantity: Annotated[str, AfterValidator(_quantity)] = "cmi"
    settings: dict[str, Any] | None = None
    target_stderr: Annotated[float | None, Field(gt=0, strict=True)] = None
    target_relative_error: Annotated[float | None, Field(gt=0, strict=True)] = None
    max_samples: Annotated[int | None, Field(strict=True)] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        name, kind, quantity = self.model["name"], models.find(self.model["name"]), find(self.quantity)
        if quantity.models and name not in quantity.models:
            raise InputError(f"asks for {quantity.what} of {name}; only {' and '.join(quantity.models)} has it")
        if quantity.timed != (self.t is not None):
            remedy = "lacks the key 't', such as t = [0.3, 0.5, 0.7]"
            raise InputError(remedy if quantity.timed else f"has the key 't', which {quantity.what} has no use for")
        useless = [key for key in OPTIONAL if key not in quantity.reads]
        self._no_use(quantity.what, "it has no A, B and C", useless)
        for key in own_placement(kind):
            if key in self.model and not reads(quantity, key):
                raise InputError(f"has the key 'model.{key}', which {quantity.what} has no use for")
        object.__setattr__(self, "settings", quantity.resolve_settings(self.settings))
        self._check_target(quantity)
        if "regions" in kind.geometry:
            self._no_use(name, "its regions set A, B and C", ("radii", "patch", "center"))
            return self
        if "radii" in quantity.reads and "radii" not in self.model_fields_set:
            raise InputError("lacks the key 'radii', such as radii = [1, 2, 3]")
        why = f"its {' or '.join(kind.placement_keys)} sets A"
        self._no_use(name, why, [key for key in ON_GRIDS if key not in kind.placement_keys])
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
            raise InputError(f"needs max_samples >= n_samples = {self.n_samples}, the budget of a target, got {got}")

    def _no_use(self, what: str, why: str, keys: Iterable[str]) -> None:
        for key in keys:
            if key in self.model_fields_set and getattr(self, key) != type(self).model_fields[key].default:
                raise InputError(f"has the key {key!r}, which {what} has no use for: {why}")


def axes(grid: GridSpec) -> dict[str, list[float]]:
    """Return the values of every axis: the listed parameters of the model in its order, then `t` if it has times.

    Several Curie-Weiss regions make the axis "size", the number of spins a + b + c.
    """
    model, kind = grid.model, models.find(grid.model["name"])
    listed = {key: list(model[key]) for key in ("length", *kind.numbers()) if isinstance(model.get(key), tuple)}
    regions = model.get("regions")
    if regions is not None and isinstance(regions[0], tuple):
        listed = {"size": [sum(sizes) for sizes in regions], **listed}
    return listed if grid.t is None else {**listed, "t": list(grid.t)}


def reads(quantity: Quantity, key: str) -> bool:
    """Return whether a quantity depends on a model's own key of where A is; those of users' models go with `center`."""
    return key in quantity.reads or (key not in PLACES and "center" in quantity.reads)


def _printable(name: str) -> str:
    if not name.isprintable():  # HDF5 ends a name at a NUL
        raise InputError(f"must hold printable characters only, got {name!r}")
    return name


class Spec(Table):
    """One experiment: named grids of independent points and the seed of all its random numbers."""

    name: Annotated[str, Field(min_length=1), AfterValidator(_printable)]
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
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
        total = sum(math.prod(map(len, axes(grid).values())) for grid in self.grids.values())
        if total > MOST_POINTS:
            raise InputError(f"asks for {total:,} points, and at most {MOST_POINTS:,} are measured in one run")
        return self

    def to_json(self) -> str:
        """Return canonical JSON, defaults and ranges resolved; `Spec(**json.loads(text))` gives the spec back."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True)


def load(path: str | os.PathLike[str]) -> Spec:
    """Read a TOML spec. Raises SpecError with one sentence for bad content, OSError for no readable file."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a spec file (.toml)")
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not TOML, which is text in UTF-8; save it in that encoding") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is not TOML: {error}") from None
    if "grids" not in table:
        grid = {key: value for key, value in table.items() if key not in Spec.model_fields}
        table = {key: value for key, value in table.items() if key in Spec.model_fields} | {"grids": {"grid": grid}}
    return Spec(**{"name": path.stem, **table})


def _sentence(error: ValidationError) -> str:
    """Return the first problem of a validation error, unknown keys before all others, in one sentence."""
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    place = [str(part) for part in problem["loc"] if not str(part).startswith(("function-", "tuple["))]
    keys = Spec.model_fields if len(place) < 3 else GridSpec.model_fields
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, _KeyError):
        place.append(cause.key)
    where = ".".join(place) or "the spec"
    if cause is not None:
        return f"{where} {cause}"
    if problem["type"] in ("extra_forbidden", "missing"):
        *outer, key = place
        table = ".".join(outer) or "the spec"
        if problem["type"] == "missing":
            return f"{table} lacks the key {key!r}; its keys are {', '.join(keys)}"
        return f"{table} has the unknown key {key!r}; {hint(key, keys)}"
    if problem["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return f"{where} must be a table of keys, got {problem['input']!r}"
    return f"{where} {problem['msg'].replace('Input should', 'must')}, got {problem['input']!r}"
