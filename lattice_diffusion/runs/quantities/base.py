"""What can be measured at a point of a grid: a quantity names its variables, its settings and how it is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import InputError
from ...results import variable
from ..build import build_channel, build_model

Parameters = dict[str, Any]  # of one point, resolved by `grid.resolve` to plain JSON types
# Keys of a grid, and of its model, that only some quantities read.
OPTIONAL = ("radii", "patch", "center", "method")
PLACES = ("bond", "block")
# Keys of a grid that ask for samples until an error is met.
TARGETS = ("target_stderr", "target_relative_error")


class Column(NamedTuple):
    """A measured variable: its dimensions besides the grid's axes, units and long name."""

    dims: tuple[str, ...]
    units: str
    long_name: str


class Settings(BaseModel):
    """How a quantity is measured, beyond what all grids have: the table `settings` of a grid."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def no_coordinates(table: Parameters) -> dict[str, xr.Variable]:
    return {}


def check_solvable(parameters: Parameters) -> None:
    """Build the model's solver and ask it about the channel."""
    build_model(parameters["model"]).solver.check_channel(build_channel(parameters["channel"]))


@dataclass(frozen=True)
class Quantity:
    """One entry of the registry.

    Attributes:
        name: as specs write it; `what`: the same in words, with an article.
        columns: measured variables by name; errors are columns of their own, NAME_stderr.
        evaluate: parameters and generator to the value of every column, an array of its dims' lengths.
        coordinates: the grid's plain table (radii, settings, ..) to the coordinate of every dimension in `columns`.
        settings: what the grid's table `settings` may hold; None where it takes none.
        reads: which of the optional keys of a grid and of its model it has a use for.
        models: names of the models that have it; () for all.
        check: refuses parameters that `evaluate` would, in one sentence, before anything is computed.
        timed: whether it is measured at the times t that the grid lists; other grids have no t.
        averages: whether all columns are means over `n_samples` independent samples, so that rounds can be pooled.
    """

    name: str
    what: str
    columns: dict[str, Column]
    evaluate: Callable[[Parameters, np.random.Generator], dict[str, NDArray]]
    coordinates: Callable[[Parameters], dict[str, xr.Variable]] = no_coordinates
    settings: type[Settings] | None = None
    reads: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    check: Callable[[Parameters], None] = check_solvable
    timed: bool = True
    averages: bool = False

    @property
    def leading(self) -> str:
        """The variable that an error is asked of: the first."""
        return next(iter(self.columns))

    def resolve_settings(self, given: dict[str, Any] | None) -> dict[str, Any] | None:
        """`settings` with defaults filled in, as plain JSON types; ValueError with one sentence."""
        if self.settings is None:
            if given:
                raise InputError(f"has the key 'settings', which {self.what} has no use for; leave it out")
            return None
        try:
            return self.settings(**(given or {})).model_dump(mode="json", exclude_none=True)
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(part) for part in problem["loc"])
            known = ", ".join(self.settings.model_fields)
            if problem["type"] == "extra_forbidden":
                raise InputError(f"has the unknown key 'settings.{key}'; {self.what} knows {known}") from None
            message = problem["msg"].removeprefix("Value error, ")
            raise InputError(f"has settings.{key} = {problem['input']!r}: {message[:1].lower()}{message[1:]}") from None


def radius_coordinate(table: Parameters) -> dict[str, xr.Variable]:
    radii = np.array(table["radii"])
    return {"radius": variable(("radius",), radii, "sites", "width r of the buffer B around A")}


def with_errors(name: str, dims: tuple[str, ...], units: str, long_name: str) -> dict[str, Column]:
    """The columns NAME and NAME_stderr."""
    error = Column(dims, units, f"standard error of {name}")
    return {name: Column(dims, units, long_name), f"{name}_stderr": error}
