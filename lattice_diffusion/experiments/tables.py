"""The arrays of a running experiment: filled point by point in any order, NaN where not yet measured."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..results import Variable
from .grid import Point, axes, shape
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
_CMI: dict[str, tuple[tuple[str, ...], str, str]] = {
    "cmi": (("radius",), "nat", "conditional mutual information I(A;C|B)"),
    "cmi_stderr": (("radius",), "nat", "standard error of cmi"),
    "cmi_covariance": (("radius", "radius_2"), "nat^2", "covariance of cmi between two radii"),
}
_SCALARS: dict[str, dict[str, tuple[tuple[str, ...], str, str]]] = {
    "label_entropy": {
        "label_entropy": ((), "nat", "entropy of the label given the noisy data, E H(S|x)"),
        "label_entropy_stderr": ((), "nat", "standard error of label_entropy"),
    },
    "squared_correlation": {
        "squared_correlation": ((), "1", "squared posterior correlation of two faces, E <s s'>_x^2"),
        "squared_correlation_stderr": ((), "1", "standard error of squared_correlation"),
        "clean_correlation": ((), "1", "correlation of the two faces before noise, <s s'>"),
    },
}


def _measured(grid: GridSpec) -> dict[str, tuple[tuple[str, ...], str, str]]:
    """Name to (dimensions besides the grid's axes, units, long name)."""
    return _SCALARS.get(grid.quantity, _CMI)


class Tables:
    """One table of measured values per grid of a spec."""

    def __init__(self, spec: Spec) -> None:
        self._grids = spec.grids
        self._values = {
            name: {
                variable: np.full(shape(grid) + (len(grid.radii),) * len(dims), np.nan)
                for variable, (dims, _, _) in _measured(grid).items()
            }
            for name, grid in spec.grids.items()
        }
        self._done = {name: np.zeros(shape(grid), np.uint8) for name, grid in spec.grids.items()}

    def record(self, grid: str, index: tuple[int, ...], values: dict[str, NDArray]) -> None:
        """Fill in one point: `values` as `measure` returns them."""
        for name, table in self._values[grid].items():
            table[index] = values[name]
        self._done[grid][index] = 1

    def restore(self, groups: dict[str, dict[str, Variable]]) -> None:
        """Take over the points that an unfinished result file holds."""
        for grid, tables in self._values.items():
            done = groups[grid]["done"].values.astype(bool)
            for name, table in tables.items():
                table[done] = groups[grid][name].values[done]
            self._done[grid][done] = 1

    def has(self, point: Point) -> bool:
        """Whether a point is measured."""
        return bool(self._done[point.grid][point.index])

    @property
    def n_done(self) -> int:
        return sum(int(done.sum()) for done in self._done.values())

    def groups(self) -> dict[str, dict[str, Variable]]:
        """Everything as variables with coordinates, for `results.write`."""
        return {name: dict(self._variables(name, grid)) for name, grid in self._grids.items()}

    def _variables(self, name: str, grid: GridSpec) -> Iterator[tuple[str, Variable]]:
        listed = axes(grid)
        for axis, values in listed.items():
            yield axis, Variable((axis,), np.array(values), *_AXES[axis])
        if grid.quantity == "cmi":
            radii = np.array(grid.radii)
            yield "radius", Variable(("radius",), radii, "sites", "width r of the buffer B around A")
            yield "radius_2", Variable(("radius_2",), radii, "sites", "second radius of a covariance")
        for variable, (dims, units, long_name) in _measured(grid).items():
            yield variable, Variable((*listed, *dims), self._values[name][variable], units, long_name)
        yield "done", Variable(tuple(listed), self._done[name], "1", "1 where the point is measured")
