"""Model, channel and partitions of one point of a grid, from its plain parameters."""

from collections.abc import Sequence
from typing import Any

from .. import channels, models
from ..lattice import Lattice, Tripartition


def build_model(table: dict[str, Any]) -> Any:
    """The model named `table["name"]`, from `shape` (or `regions`), `periodic` and its own numbers."""
    name = table["name"]
    if name == "domain-walls":
        faces = (table["shape"][0], table["shape"][1])
        return models.DomainWalls(faces, table.get("beta", 0.0), any(table["periodic"]))
    lattice = Lattice(tuple(_shape(table)), _flags(table.get("periodic", False)))
    if name == "gaussian-field":
        return models.GaussianField(lattice, table["mass_squared"])
    if name == "gaussian-mixture" and "mass_squared" in table:
        return models.GaussianMixture(lattice, table["mean"], mass_squared=table["mass_squared"])
    if name == "gaussian-mixture":
        return models.GaussianMixture(lattice, table["mean"], table["std"])
    numbers = {key: value for key, value in table.items() if key not in ("name", "shape", "periodic", "regions")}
    return models.find(name)(lattice, **numbers)


def build_channel(table: dict[str, Any]) -> channels.Channel:
    """The channel named `table["name"]`, with its fields."""
    kind: Any = channels.find(table["name"])
    return kind(**{key: value for key, value in table.items() if key != "name"})


def build_parts(parameters: dict[str, Any]) -> list[Tripartition]:
    """One partition per radius, or the one that `regions` sets."""
    model = parameters["model"]
    if model["name"] == "domain-walls":
        where = {key: model[key] for key in ("bond", "block") if key in model}
        return [build_model(model).tripartition(radius=radius, **where) for radius in parameters["radii"]]
    if "regions" in model:
        return [Tripartition.from_sizes(*model["regions"])]
    lattice = Lattice(tuple(model["shape"]), _flags(model["periodic"]))
    center, patch = parameters["center"], parameters["patch"]
    return [lattice.tripartition(center, radius, patch) for radius in parameters["radii"]]


def _shape(table: dict[str, Any]) -> Sequence[int]:
    return [sum(table["regions"])] if "regions" in table else table["shape"]


def _flags(periodic: bool | Sequence[bool]) -> bool | tuple[bool, ...]:
    return periodic if isinstance(periodic, bool) else tuple(periodic)
