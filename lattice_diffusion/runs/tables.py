"""The arrays of a running experiment: filled point by point in any order, NaN where not yet measured."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..results import variable
from .journal import Entry
from .points import Point, axes, shape
from .quantities import Column, find
from .spec import GridSpec, Spec

_AXES = {
    "length": ("sites", "side of the lattice"),
    "size": ("sites", "number of spins a + b + c"),
    "beta": ("1", "inverse temperature beta"),
    "mean": ("1", "class mean"),
    "std": ("1", "standard deviation within a class"),
    "mass_squared": ("1", "mass squared m^2"),
    "t": ("1", "diffusion time t, 0 clean and 1 pure noise"),
}
_N_SAMPLES = Column((), "1", "samples drawn for the target error, at most max_samples; a closed form needs none")


class Tables:
    """One table of measured values per grid of a spec."""

    def __init__(self, spec: Spec) -> None:
        self._grids = spec.grids
        self._coordinates = {name: _coordinates(grid) for name, grid in spec.grids.items()}
        self._values = {name: dict(self._empty(name, grid)) for name, grid in spec.grids.items()}
        self._done = {name: np.zeros(shape(grid), np.uint8) for name, grid in spec.grids.items()}

    def _empty(self, name: str, grid: GridSpec) -> Iterator[tuple[str, NDArray]]:
        for column_name, column in _columns(grid).items():
            lengths = tuple(self._coordinates[name][dim].values.size for dim in column.dims)
            yield column_name, np.full(shape(grid) + lengths, np.nan)

    def record(self, grid: str, index: tuple[int, ...], values: dict[str, NDArray]) -> None:
        """Fill in one point: `values` as `measure` returns them."""
        for name, table in self._values[grid].items():
            table[index] = values[name]
        self._done[grid][index] = 1

    def restore(self, groups: dict[str, xr.Dataset]) -> Iterator[Entry]:
        """Take over the points that an unfinished result file holds and this does not, one by one."""
        for grid, tables in self._values.items():
            missing = groups[grid]["done"].values.astype(bool) & (self._done[grid] == 0)
            for index in map(tuple, np.argwhere(missing).tolist()):
                values = {name: groups[grid][name].values[index] for name in tables}
                self.record(grid, index, values)
                yield grid, index, values

    def has(self, point: Point) -> bool:
        """Whether a point is measured."""
        return bool(self._done[point.grid][point.index])

    @property
    def n_done(self) -> int:
        return sum(int(done.sum()) for done in self._done.values())

    def groups(self) -> dict[str, dict[str, xr.Variable]]:
        """Everything as variables with coordinates, for `results.write`."""
        return {name: dict(self._variables(name, grid)) for name, grid in self._grids.items()}

    def _variables(self, name: str, grid: GridSpec) -> Iterator[tuple[str, xr.Variable]]:
        listed = axes(grid)
        for axis, values in listed.items():
            yield axis, variable((axis,), np.array(values), *_AXES.get(axis, ("1", f"{axis} of the model")))
        yield from self._coordinates[name].items()
        for column_name, (dims, units, long_name) in _columns(grid).items():
            yield column_name, variable((*listed, *dims), self._values[name][column_name], units, long_name)
        yield "done", variable(tuple(listed), self._done[name], "1", "1 where the point is measured")


def _columns(grid: GridSpec) -> dict[str, Column]:
    columns = find(grid.quantity).columns
    return {**columns, "n_samples": _N_SAMPLES} if grid.has_target else columns


def _coordinates(grid: GridSpec) -> dict[str, xr.Variable]:
    return find(grid.quantity).coordinates(grid.model_dump(mode="json", exclude_none=True))
