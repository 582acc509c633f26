"""What to measure: a TOML file or a dict becomes a frozen, resolved `Spec`, or one sentence says why not.

    name = "square"
    seed = 7
    [grids.square]
    model = { name = "ising", length = [6, 8], beta = { start = 0.3, stop = 0.5, num = 5 } }
    channel = { name = "gaussian", schedule = "linear" }
    t = [0.3, 0.5, 0.7]
    radii = [1, 2, 3]

Every number of a model may be one value, a list, or {start, stop, num}; the last two make an axis of the
grid. A file with one grid may give `model`, `channel`, `t`, ... at the top level; that grid is called "grid".
"""

import difflib
import json
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, Union, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from .. import channels, models
from .quantities import QUANTITIES
from .quantities.base import OPTIONAL, PLACES, TARGETS, Quantity


class SpecError(ValueError):
    """A spec that cannot be run; the message is one sentence: what, received, allowed, remedy."""


def _range(table: Mapping[str, Any]) -> list[float]:
    if set(table) != {"start", "stop", "num"}:
        raise ValueError(f"needs the keys start, stop and num for a range, got {', '.join(sorted(table))}")
    start, stop, num = table["start"], table["stop"], table["num"]
    if not (isinstance(num, int) and num >= 2 and all(isinstance(x, int | float) for x in (start, stop))):
        raise ValueError(f"needs numbers start and stop and an integer num >= 2 for a range, got {dict(table)}")
    return [start + (stop - start) * i / (num - 1) for i in range(num - 1)] + [stop]


def _check(value: Any, kind: type, low: float, high: float) -> float:
    article = "an integer" if kind is int else "a finite number"
    allowed = {
        (True, True): article,
        (False, True): f"{article} >= {low:g}",
        (False, False): f"{article} in [{low:g}, {high:g}]",
    }[math.isinf(low), math.isinf(high)]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or (kind is int and value != int(value)) or not low <= value <= high:
        raise ValueError(f"must be {allowed}, got {value!r}")
    return kind(value)


def _axis(kind: type, low: float = -math.inf, high: float = math.inf, *, scalar: bool = True) -> BeforeValidator:
    """One number (if `scalar`), or distinct numbers as a list or range, each in [low, high]."""

    def validate(value: Any) -> Any:
        if isinstance(value, Mapping):
            value = _range(value)
        if isinstance(value, list | tuple):
            values = tuple(_check(x, kind, low, high) for x in value)
            if not values:
                raise ValueError("must hold at least one value, got an empty list")
            if len(set(values)) < len(values):
                repeated = next(x for i, x in enumerate(values) if x in values[:i])
                raise ValueError(f"must hold distinct values, got {repeated} twice")
            return values
        if scalar:
            return _check(value, kind, low, high)
        raise ValueError(f"must be a list or {{start, stop, num}}, got {value!r}")

    return BeforeValidator(validate)


def _periodic(value: Any) -> Any:
    if not all(isinstance(flag, bool) for flag in (value if isinstance(value, list | tuple) else [value])):
        raise ValueError(f"must be true, false or a list of them, one for each axis, got {value!r}")
    return value


def _center(value: Any) -> Any:
    value = [value] if isinstance(value, int) else value
    if value is not None and not (isinstance(value, list | tuple) and all(type(x) is int for x in value)):
        raise ValueError(f"must be a site such as [5, 5], got {value!r}")
    return value


def _regions(value: Any) -> Any:
    many = isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(x, list | tuple) for x in value)
    for sizes in value if many else [value]:
        good = isinstance(sizes, list | tuple) and [type(x) for x in sizes] == [int] * 3
        if not (good and sizes[0] >= 1 and min(sizes) >= 0):
            raise ValueError(f"must be three integers a >= 1, b >= 0, c >= 0, or a list of such, got {sizes!r}")
    totals = [sum(sizes) for sizes in value] if many else []
    if len(set(totals)) < len(totals):
        raise ValueError(f"must differ in a + b + c, which names the size axis, got the sizes {totals}")
    return value


def _is_face(value: Any) -> bool:
    return isinstance(value, list | tuple) and [type(x) for x in value] == [int, int]


def _faces(value: Any) -> Any:
    if value is not None and not (_is_face(value) and min(value) >= 1):
        raise ValueError(f"must be two positive integers such as [32, 32], got {value!r}")
    return value


def _bond(value: Any) -> Any:
    if value is not None and not (isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_face, value))):
        raise ValueError(f"must be two neighbouring faces such as [[4, 4], [4, 5]], got {value!r}")
    return value


def _block(value: Any) -> Any:
    if value is not None and not _is_face(value):
        raise ValueError(f"must be the top left face of a 2x2 block such as [4, 4], got {value!r}")
    return value


def _quantity(value: str) -> str:
    if value not in QUANTITIES:
        raise ValueError(f"must be one of {', '.join(QUANTITIES)}, got {value!r}")
    return value


Real = Annotated[float | tuple[float, ...], _axis(float)]
NotNegative = Annotated[float | tuple[float, ...], _axis(float, 0.0)]
Length = Annotated[int | tuple[int, ...], _axis(int, 2)]
Times = Annotated[tuple[float, ...], _axis(float, 0.0, 1.0, scalar=False)]
Radii = Annotated[tuple[int, ...], _axis(int, 0, scalar=False)]
Sizes = tuple[int, int, int]
Face = tuple[int, int]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _OnLattice(_Table):
    shape: tuple[int, ...] | None = None
    length: Length | None = None
    dimension: Literal[1, 2] = 2
    periodic: Annotated[bool | tuple[bool, ...], BeforeValidator(_periodic)] = False

    @model_validator(mode="after")
    def _one_geometry(self) -> Self:
        if (self.shape is None) == (self.length is None):
            given = "neither" if self.shape is None else "both"
            raise ValueError(f"needs either shape = [Lx, Ly] or length = L, got {given}")
        return self


class GaussianFieldSpec(_OnLattice):
    name: Literal["gaussian-field"]
    mass_squared: NotNegative


class GaussianMixtureSpec(_OnLattice):
    name: Literal["gaussian-mixture"]
    mean: Real
    std: NotNegative | None = None
    mass_squared: NotNegative | None = None

    @model_validator(mode="after")
    def _one_covariance(self) -> Self:
        if (self.std is None) == (self.mass_squared is None):
            given = "neither" if self.std is None else "both"
            raise ValueError(f"needs either std (white) or mass_squared (correlated), got {given}")
        return self


class IsingSpec(_OnLattice):
    name: Literal["ising"]
    beta: NotNegative


class IsingChainSpec(_Table):
    name: Literal["ising-chain"]
    length: Length
    periodic: bool = False
    beta: NotNegative


class DomainWallsSpec(_Table):
    """A is `bond`, the central right bond if not given, or the 2x2 `block` of faces at its top left face."""

    name: Literal["domain-walls"]
    faces: Annotated[tuple[int, int] | None, BeforeValidator(_faces)] = None
    length: Length | None = None
    periodic: bool = False
    beta: NotNegative = 0.0
    bond: Annotated[tuple[Face, Face] | None, BeforeValidator(_bond)] = None
    block: Annotated[Face | None, BeforeValidator(_block)] = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.faces is None) == (self.length is None):
            given = "neither" if self.faces is None else "both"
            raise ValueError(f"needs either faces = [L, W] or length = L, got {given}")
        if self.bond is not None and self.block is not None:
            raise ValueError("sets A by bond or by block, got both")
        return self


class CurieWeissSpec(_Table):
    name: Literal["curie-weiss"]
    regions: Annotated[Sizes | tuple[Sizes, ...], BeforeValidator(_regions)]
    beta: NotNegative


class GaussianSpec(_Table):
    name: Literal["gaussian"]
    schedule: Literal["linear", "vp", "ve"] = "linear"


class BitFlipSpec(_Table):
    name: Literal["bitflip"]


class ErasureSpec(_Table):
    name: Literal["erasure"]


ModelSpec = GaussianFieldSpec | GaussianMixtureSpec | IsingSpec | IsingChainSpec | CurieWeissSpec | DomainWallsSpec
ChannelSpec = GaussianSpec | BitFlipSpec | ErasureSpec


def _others(known: Any, kinds: Mapping[str, type], base: type[BaseModel]) -> Any:
    """The union with models or channels that have no table of their own above: one key for every field."""
    tables: list[Any] = []
    for name, kind in kinds.items():
        if name not in _members(known):
            keys: dict[str, Any] = {
                field.name: (Real if field.type is float else field.type, _default(field))
                for field in fields(kind)
                if field.name != "lattice"
            }
            keys["name"] = (Literal[name], ...)
            tables.append(create_model(f"{kind.__name__}Spec", __base__=base, **keys))
    return Union[known, *tables]


def _default(field: Any) -> Any:
    return ... if field.default is MISSING else field.default


def _members(union: Any) -> dict[str, type[BaseModel]]:
    return {get_args(member.model_fields["name"].annotation)[0]: member for member in get_args(union)}


if not TYPE_CHECKING:
    ModelSpec = _others(ModelSpec, models.by_name(), _OnLattice)
    ChannelSpec = _others(ChannelSpec, channels.by_name(), _Table)


class GridSpec(_Table):
    """Every combination of the model's listed parameters and of `t`.

    All `radii` of one combination are measured together, on one set of noise samples. `quantity` is what is
    measured, an entry of `quantities`, and `settings` how, where it has a choice. Label entropies are measured on
    L x (L+1) faces for `length` = L.

    `target_stderr` and `target_relative_error` ask for samples in rounds, the first of `n_samples`, until either is
    met at every radius or `max_samples` are drawn.
    """

    model: Annotated[ModelSpec, Field(discriminator="name")]
    channel: Annotated[ChannelSpec, Field(discriminator="name")]
    t: Times
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
            raise ValueError(f"pairs {model} with the channel {channel!r}; it takes the gaussian channel only")
        quantity = QUANTITIES[self.quantity]
        if quantity.models and model not in quantity.models:
            raise ValueError(f"asks for {quantity.what} of {model}; only {' and '.join(quantity.models)} has it")
        useless = [key for key in OPTIONAL if key not in quantity.reads]
        self._no_use(quantity.what, "it has no A, B and C", useless)
        for key in PLACES:
            if key not in quantity.reads and getattr(self.model, key, None) is not None:
                raise ValueError(f"has the key 'model.{key}', which {quantity.what} has no use for")
        object.__setattr__(self, "settings", quantity.resolve_settings(self.settings))
        self._check_target(quantity)
        if "radii" in quantity.reads and model != "curie-weiss" and "radii" not in self.model_fields_set:
            raise ValueError("lacks the key 'radii', such as radii = [1, 2, 3]")
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
                raise ValueError(f"has max_samples without a target to reach; add {' or '.join(TARGETS)}")
            return
        if not quantity.averages:
            can = ", ".join(name for name, other in QUANTITIES.items() if other.averages)
            raise ValueError(f"asks for a target error of {quantity.what}, which only {can} can draw samples for")
        if self.max_samples is None or self.max_samples < self.n_samples:
            got = "none" if self.max_samples is None else str(self.max_samples)
            raise ValueError(
                f"needs max_samples >= n_samples = {self.n_samples}, the budget of a target error, got {got}"
            )

    def _no_use(self, what: str, why: str, keys: Iterable[str]) -> None:
        for key in keys:
            if key in self.model_fields_set and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"has the key {key!r}, which {what} has no use for: {why}")


class Spec(_Table):
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
            raise ValueError("needs at least one grid, such as [grids.square], got none")
        for name in self.grids:
            if name == "table" or not name.replace("-", "_").isidentifier():
                raise ValueError(f"has a grid named {name!r}; use letters, digits, - and _, and not 'table'")
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


class _Union(NamedTuple):
    what: str
    members: dict[str, type[BaseModel]]


_UNIONS = {"model": _Union("model", _members(ModelSpec)), "channel": _Union("channel", _members(ChannelSpec))}


def hint(word: str, known: Iterable[str]) -> str:
    """ "did you mean 'beta'?" if one of `known` is near, else the list of them."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _sentence(error: ValidationError) -> str:
    """The first problem of a validation error, unknown keys before all others, in one sentence."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    place = [str(part) for part in problem["loc"]]
    table: type[BaseModel] = Spec
    if len(place) > 2:
        table = GridSpec
    if len(place) > 3 and place[2] in _UNIONS and place[3] in _UNIONS[place[2]].members:
        table = _UNIONS[place[2]].members[place.pop(3)]  # pydantic names the union's member; the user did not
    return _PHRASES.get(problem["type"], _other)(problem, place, table)


def _unknown_key(problem: Any, place: list[str], table: type[BaseModel]) -> str:
    key, where = place[-1], ".".join(place[:-1]) or "the spec"
    return f"unknown key {key!r} in {where}; {hint(key, table.model_fields)}"


def _missing(problem: Any, place: list[str], table: type[BaseModel]) -> str:
    where = ".".join(place[:-1]) or "the spec"
    return f"{where} lacks the key {place[-1]!r}; its keys are {', '.join(table.model_fields)}"


def _bad_tag(problem: Any, place: list[str], table: type[BaseModel]) -> str:
    union = _UNIONS[place[-1]]
    word, where = problem["ctx"]["tag"], ".".join(place)
    known = ", ".join(union.members)
    near = difflib.get_close_matches(word, union.members, n=1)
    remedy = f"; did you mean {near[0]!r}?" if near else ";"
    return f"unknown {union.what} {word!r} in {where}{remedy} known: {known}"


def _no_tag(problem: Any, place: list[str], table: type[BaseModel]) -> str:
    return f"{'.'.join(place)} lacks the key 'name'; known: {', '.join(_UNIONS[place[-1]].members)}"


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
