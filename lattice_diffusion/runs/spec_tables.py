"""The models and channels of a spec: which keys each has, and which values they may take.

Every number of a model may be one value, a list, or {start, stop, num}; the last two make an axis of the grid. Models
and channels without a table here get one from their fields.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, create_model, model_validator

from .. import channels, models
from ..errors import InputError

MOST = 100_000  # values of a range


def _range(table: Mapping[str, Any]) -> list[float]:
    if set(table) != {"start", "stop", "num"}:
        raise InputError(f"needs the keys start, stop and num for a range, got {', '.join(sorted(table))}")
    start, stop, num = table["start"], table["stop"], table["num"]
    if not (isinstance(num, int) and 2 <= num <= MOST and all(isinstance(x, int | float) for x in (start, stop))):
        needed = f"numbers start and stop and an integer num from 2 to {MOST:,}"
        raise InputError(f"needs {needed} for a range, got {dict(table)}")
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
        raise InputError(f"must be {allowed}, got {value!r}")
    return kind(value)


def axis(kind: type, low: float = -math.inf, high: float = math.inf, *, scalar: bool = True) -> BeforeValidator:
    """One number (if `scalar`), or distinct numbers as a list or range, each in [low, high]."""

    def validate(value: Any) -> Any:
        if isinstance(value, Mapping):
            value = _range(value)
        if isinstance(value, list | tuple):
            values = tuple(_check(x, kind, low, high) for x in value)
            if not values:
                raise InputError("must hold at least one value, got an empty list")
            if len(set(values)) < len(values):
                repeated = next(x for i, x in enumerate(values) if x in values[:i])
                raise InputError(f"must hold distinct values, got {repeated} twice")
            return values
        if scalar:
            return _check(value, kind, low, high)
        raise InputError(f"must be a list or {{start, stop, num}}, got {value!r}")

    return BeforeValidator(validate)


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
    return value


def _is_face(value: Any) -> bool:
    return isinstance(value, list | tuple) and [type(x) for x in value] == [int, int]


def _faces(value: Any) -> Any:
    if value is not None and not (_is_face(value) and min(value) >= 1):
        raise InputError(f"must be two positive integers such as [32, 32], got {value!r}")
    return value


def _bond(value: Any) -> Any:
    if value is not None and not (isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_face, value))):
        raise InputError(f"must be two neighbouring faces such as [[4, 4], [4, 5]], got {value!r}")
    return value


def _block(value: Any) -> Any:
    if value is not None and not _is_face(value):
        raise InputError(f"must be the top left face of a 2x2 block such as [4, 4], got {value!r}")
    return value


Real = Annotated[float | tuple[float, ...], axis(float)]
NotNegative = Annotated[float | tuple[float, ...], axis(float, 0.0)]
Length = Annotated[int | tuple[int, ...], axis(int, 2)]
Sizes = tuple[int, int, int]
Face = tuple[int, int]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _OnLattice(Table):
    shape: tuple[int, ...] | None = None
    length: Length | None = None
    dimension: Literal[1, 2] = 2
    periodic: Annotated[bool | tuple[bool, ...], BeforeValidator(_periodic)] = False

    @model_validator(mode="after")
    def _one_geometry(self) -> Self:
        if (self.shape is None) == (self.length is None):
            given = "neither" if self.shape is None else "both"
            raise InputError(f"needs either shape = [Lx, Ly] or length = L, got {given}")
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
            raise InputError(f"needs either std (white) or mass_squared (correlated), got {given}")
        return self


class IsingSpec(_OnLattice):
    name: Literal["ising"]
    beta: NotNegative


class IsingChainSpec(Table):
    name: Literal["ising-chain"]
    length: Length
    periodic: bool = False
    beta: NotNegative


class DomainWallsSpec(Table):
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
            raise InputError(f"needs either faces = [L, W] or length = L, got {given}")
        if self.bond is not None and self.block is not None:
            raise InputError("sets A by bond or by block, got both")
        return self


class CurieWeissSpec(Table):
    name: Literal["curie-weiss"]
    regions: Annotated[Sizes | tuple[Sizes, ...], BeforeValidator(_regions)]
    beta: NotNegative


class GaussianSpec(Table):
    name: Literal["gaussian"]
    schedule: Literal["linear", "vp", "ve"] = "linear"


class BitFlipSpec(Table):
    name: Literal["bitflip"]


class ErasureSpec(Table):
    name: Literal["erasure"]


ModelSpec = GaussianFieldSpec | GaussianMixtureSpec | IsingSpec | IsingChainSpec | CurieWeissSpec | DomainWallsSpec
ChannelSpec = GaussianSpec | BitFlipSpec | ErasureSpec


def _others(known: Any, kinds: Mapping[str, type], base: type[BaseModel]) -> Any:
    """The union with models or channels that have no table of their own above: one key for every field."""
    tables: list[Any] = []
    for name, kind in kinds.items():
        if name not in members(known):
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


def members(union: Any) -> dict[str, type[BaseModel]]:
    return {get_args(member.model_fields["name"].annotation)[0]: member for member in get_args(union)}


if not TYPE_CHECKING:
    ModelSpec = _others(ModelSpec, {kind.name: kind for kind in models.MODELS}, _OnLattice)
    ChannelSpec = _others(ChannelSpec, {kind.name: kind for kind in channels.CHANNELS}, Table)
