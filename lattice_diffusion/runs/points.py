"""From a spec to independent points, from their values back to the arrays of its grids, and what follows from these.

A point's random numbers depend on what is measured there (model, channel, time, partition) and on the
experiment's seed, on nothing else: extending or reordering a grid, changing the number of workers or the
order of execution leaves every other point's numbers as they were.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from .. import channels, models
from ..channels import is_gaussian
from ..errors import InputError
from ..estimate import Estimate
from ..lattice import Tripartition
from ..phases import markov_length, peak_time
from ..phases.markov_length import MIN_POINTS
from ..registry import is_file
from ..results import estimates, variable
from .quantities import OPTIONAL, TARGETS, Column, find
from .spec import ON_GRIDS, GridSpec, Spec, axes, own_placement, reads

Variables = dict[str, xr.Variable]

# How a point is measured, as opposed to what: two of these on one point share their random numbers.
_NOT_SEEDING = ("radii", "n_samples", "method", "quantity", "max_samples", *TARGETS)


def shape(grid: GridSpec) -> tuple[int, ...]:
    """Return the number of values along each axis."""
    return tuple(len(values) for values in axes(grid).values())


def build_model(table: Mapping[str, Any]) -> Any:
    """Return the model named `table["name"]`, of the geometry and the numbers in the table."""
    kind = models.find(table["name"])
    return kind.from_parameters(**{key: table[key] for key in (*kind.geometry, *kind.numbers()) if key in table})


def build_channel(table: Mapping[str, Any]) -> Any:
    """Return the channel named `table["name"]`, with the parameters in the table."""
    return channels.find(table["name"])(**{key: value for key, value in table.items() if key != "name"})


@dataclass(frozen=True)
class Point:
    """One combination of axis values, with the objects that are measured: model, channel, t, parts, ...

    Attributes:
        parameters: everything that defines the measurement, ranges and defaults resolved.
        grid: name of its grid.
        index: position along each axis.
        coordinates: axis name to value.
    """

    parameters: dict[str, Any]
    grid: str = ""
    index: tuple[int, ...] = ()
    coordinates: dict[str, float] = field(default_factory=dict)

    @cached_property
    def model(self) -> Any:
        return build_model(self.parameters["model"])

    @cached_property
    def channel(self) -> Any:
        return build_channel(self.parameters["channel"])

    @cached_property
    def parts(self) -> list[Tripartition]:
        """One partition for each radius; a model whose regions set A, B and C has one."""
        table = {**self.parameters, **self.parameters["model"]}
        where = {key: table[key] for key in self.model.placement_keys if key in table}
        return [self.model.tripartition(radius, **where) for radius in self.parameters.get("radii", (0,))]

    @cached_property
    def settings(self) -> Any:
        """The `Settings` of its quantity, defaults filled in."""
        settings = find(self.parameters["quantity"]).settings
        return settings and settings.of(self.parameters.get("settings"))

    @property
    def t(self) -> float:
        return float(self.parameters["t"])

    @property
    def radii(self) -> list[int]:
        return list(self.parameters["radii"])

    @property
    def n_samples(self) -> int:
        return int(self.parameters["n_samples"])

    @cached_property
    def digest(self) -> bytes:
        """Return 16 bytes that name what is measured here, whatever grid it is part of."""
        what = {key: value for key, value in self.parameters.items() if key not in _NOT_SEEDING}
        for key in ("model", "channel"):  # a file of the user's may move to another folder
            if is_file(what[key]["name"]):
                what[key] = {**what[key], "name": what[key]["name"].replace("\\", "/").rpartition("/")[2]}
        text = json.dumps(what, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    def rng(self, seed: int) -> np.random.Generator:
        """Return this point's own generator under the experiment's `seed`."""
        words = np.frombuffer(self.digest, dtype="<u4")
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(int(word) for word in words)))

    def __str__(self) -> str:
        place = ", ".join(f"{name} = {x:g}" for name, x in self.coordinates.items())
        return f"grids.{self.grid} at {place}" if place else f"grids.{self.grid}"


def _resolve(table: dict[str, Any], coordinates: dict[str, float]) -> dict[str, Any]:
    """Return the parameters of a grid's table at one combination of axis values, as plain JSON types.

    Ways to write one thing become one: `length` a shape, no `center` the middle site.
    """
    model, quantity = dict(table["model"]), find(table["quantity"])
    kind = models.find(model["name"])
    for name, value in coordinates.items():
        if name == "size":
            model["regions"] = next(sizes for sizes in model["regions"] if sum(sizes) == value)
        elif name != "t":
            model[name] = value
    unused = {key for key in OPTIONAL if key not in quantity.reads} | set(ON_GRIDS) - set(kind.placement_keys)
    table = {key: value for key, value in {**table, "model": model}.items() if key not in unused}
    if "t" in coordinates:
        table["t"] = coordinates["t"]
    if "shape" not in kind.geometry:
        return table
    dimension = kind.dimension or model.pop("dimension", 2)
    if "faces" in model:
        model["shape"] = model.pop("faces")
    if "length" in model:
        model["shape"] = [model.pop("length")] * dimension
        if quantity.name == "label_entropy":
            model["shape"][1] += 1  # L bonds between the edge columns, L rows: the self-dual shape
    if isinstance(model.get("periodic"), bool):
        model["periodic"] = [model["periodic"]] * len(model["shape"])
    if "center" not in unused:
        table.setdefault("center", [n // 2 for n in model["shape"]])
    own = own_placement(kind)
    if any(reads(quantity, key) for key in own):
        model |= build_model(model).placement(**{key: model[key] for key in own if key in model})
    return table


def grid_points(name: str, grid: GridSpec) -> Iterator[Point]:
    """Yield all points of one grid, the last axis (t) fastest; raise InputError where A has no place."""
    listed = axes(grid)
    table = grid.model_dump(mode="json", exclude_none=True)
    for index in np.ndindex(*shape(grid)):
        coordinates = {axis: values[i] for (axis, values), i in zip(listed.items(), index, strict=True)}
        try:
            yield Point(_resolve(table, coordinates), name, index, coordinates)
        except InputError as error:
            raise InputError(f"grids.{name}: {error}") from None


def points(spec: Spec) -> list[Point]:
    """Return all points of all grids, in the order of the spec."""
    return list(itertools.chain.from_iterable(grid_points(name, grid) for name, grid in spec.grids.items()))


def n_points(spec: Spec) -> int:
    """Return the number of points of all grids."""
    return sum(math.prod(shape(grid)) for grid in spec.grids.values())


_AXES = {
    "length": ("sites", "side of the lattice"),
    "size": ("sites", "number of spins a + b + c"),
    "beta": ("1", "inverse temperature beta"),
    "mean": ("1", "class mean"),
    "std": ("1", "standard deviation within a class"),
    "coupling": ("1", "coupling J"),
    "q": ("1", "number of symbols"),
    "mass_squared": ("1", "mass squared m^2"),
    "t": ("1", "diffusion time t, 0 clean and 1 pure noise"),
}
_TIMES = ("t", "time", "start", "stop")  # axes of noise
_N_SAMPLES = Column((), "1", "samples drawn for the target error, at most max_samples; a closed form needs none")


def _variables(grid: GridSpec) -> Iterator[tuple[str, xr.Variable]]:
    """Yield the variables of a grid of which nothing is measured, its coordinates first."""
    table, quantity, channel = grid.model_dump(mode="json", exclude_none=True), find(grid.quantity), grid.channel
    inner, axis_values = quantity.all_coordinates(table), axes(grid)
    for axis, values in axis_values.items():
        shown = [float(f"{x:.15g}") if isinstance(x, float) else x for x in values]  # 0.5 of a range, for `.sel`
        yield axis, variable((axis,), np.array(shown), *_AXES.get(axis, ("1", f"{axis} of the model")))
    yield from inner.items()
    noise, along = build_channel(channel), {**axis_values, **inner}
    for axis in [axis for axis in _TIMES if axis in along] if is_gaussian(noise) else ():
        with np.errstate(divide="ignore"):
            log_snr = np.log([noise.snr(float(t)) for t in np.asarray(along[axis])])
        key = "log_snr" if axis == "t" else f"{axis}_log_snr"
        yield key, variable((axis,), log_snr, "1", "logarithm of the signal-to-noise ratio")
    for name, (dims, units, long_name) in _columns(grid).items():
        unknown = np.full(shape(grid) + tuple(inner[dim].size for dim in dims), np.nan)
        yield name, variable((*axis_values, *dims), unknown, units, long_name)
    yield "done", variable(tuple(axis_values), np.zeros(shape(grid), np.uint8), "1", "1 where the point is measured")


class Tables:
    """The variables of a running experiment: filled point by point in any order, NaN where not yet measured."""

    def __init__(self, spec: Spec) -> None:
        self._grids = {name: dict(_variables(grid)) for name, grid in spec.grids.items()}
        self._columns = {name: tuple(_columns(grid)) for name, grid in spec.grids.items()}

    def record(self, grid: str, index: tuple[int, ...], values: Mapping[str, Any]) -> None:
        """Fill in the values of one point, arrays or lists by the name of their column."""
        for name in self._columns[grid]:
            self._grids[grid][name].values[index] = values[name]
        self._grids[grid]["done"].values[index] = 1

    def restore(self, groups: dict[str, xr.Dataset]) -> Iterator[dict[str, Any]]:
        """Take over the points that an unfinished result file holds and this does not; yield their journal entries."""
        for grid, columns in self._columns.items():
            missing = (groups[grid]["done"].values == 1) & (self._grids[grid]["done"].values == 0)
            for index in map(tuple, np.argwhere(missing).tolist()):
                values = {name: groups[grid][name].values[index].tolist() for name in columns}
                self.record(grid, index, values)
                yield {"grid": grid, "index": index, "values": values}

    def has(self, point: Point) -> bool:
        """Return whether a point is measured."""
        return bool(self._grids[point.grid]["done"].values[point.index])

    @property
    def n_done(self) -> int:
        return sum(int(variables["done"].values.sum()) for variables in self._grids.values())

    def groups(self) -> dict[str, dict[str, xr.Variable]]:
        """Return everything as variables with coordinates, for `results.tree`."""
        return {name: dict(variables) for name, variables in self._grids.items()}


def _columns(grid: GridSpec) -> dict[str, Column]:
    columns = find(grid.quantity).columns
    return {**columns, "n_samples": _N_SAMPLES} if grid.has_target else columns


# -- what follows from all points of a grid -----------------------------------------------------------------


def derived(data: xr.Dataset, points: Iterable[Point]) -> Variables:
    """Return the Markov lengths and peak times of a grid; nothing for one without CMI curves over radii or times."""
    found: Variables = {}
    if {"cmi", "t"} <= data.variables.keys() and data.sizes["t"] >= MIN_POINTS:
        found |= peak_times(data, "time at which the CMI is largest")
    if {"cmi_covariance", "t"} <= data.variables.keys() and data.sizes["radius"] >= MIN_POINTS:
        found |= markov_lengths(data, points)
    return found


def markov_lengths(data: xr.Dataset, points: Iterable[Point], max_radius: int | None = None) -> Variables:
    """Return the Markov length of every CMI curve of a grid, from radii up to `max_radius`; NaN where there is none."""
    data = data.sortby(["radius", "radius_2"])
    radii = [int(r) for r in data["radius"].values if max_radius is None or r <= max_radius]
    n, (*dims, _), (*shape, _) = len(radii), data["cmi"].dims, data["cmi"].shape
    xi: list[Estimate | None] = []
    p_value = np.full(shape, np.nan)
    for point in points:
        cmi, covariance = data["cmi"].values[point.index][:n], data["cmi_covariance"].values[point.index][:n, :n]
        exponent = getattr(point.model, "prefactor_exponent", None)
        prefactor = exponent(point.channel, point.t) if exponent else 0.0
        fit = markov_length(radii, cmi, covariance, prefactor) if np.isfinite(cmi).all() else None
        xi.append(None if fit is None else fit.xi)
        p_value[point.index] = np.nan if fit is None or fit.xi is None else fit.p_value
    name = "Markov length (NaN: no exponential window)"
    return {
        **estimates(dims, "markov_length", xi, "sites", name, tuple(shape)),
        "markov_length_p_value": variable(tuple(dims), p_value, "1", "p-value of the exponential fit"),
    }


def peak_times(data: xr.Dataset, long_name: str, name: str = "cmi", key: str = "peak_time") -> Variables:
    """Return the time at which the variable `name` is largest, along all its other axes; NaN if not bracketed."""
    values, stderr = (data.sortby("t")[n].transpose(..., "t") for n in (name, f"{name}_stderr"))
    (*dims, _), (*shape, _) = values.dims, values.shape
    found = [
        peak_time(values["t"].values, values.values[i], stderr.values[i])
        if np.isfinite(values.values[i]).all()
        else None
        for i in np.ndindex(*shape)
    ]
    return estimates(dims, key, found, "1", long_name, tuple(shape))
