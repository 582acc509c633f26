"""What a named experiment is, and the analysis steps that several share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..estimate import Estimate
from ..phases import markov_length
from ..results import Row, variable
from ..runs.spec import Spec


@dataclass(frozen=True)
class Analysis:
    """Derived variables by grid, and the rows of the table of measured beside analytic values."""

    variables: dict[str, dict[str, xr.Variable]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class NamedExperiment:
    """A phase diagram that `reproduce` makes.

    Attributes:
        specs: preset ("quick" or "full") to spec; analyse: finished result to what is derived from it;
        figure: analysed result to a matplotlib Figure.
    """

    name: str
    title: str
    specs: Callable[[str], Spec]
    analyse: Callable[[xr.DataTree], Analysis]
    figure: Callable[[xr.DataTree], Any]


def markov_lengths(
    grid: dict[str, xr.Variable], prefactor_exponent: float = 0.0, max_radius: int | None = None
) -> dict[str, xr.Variable]:
    """Markov length of every CMI curve of a grid, from radii up to `max_radius`; NaN where there is none."""
    n = grid["radius"].values.size if max_radius is None else int((grid["radius"].values <= max_radius).sum())
    radii, cmi = [int(r) for r in grid["radius"].values[:n]], grid["cmi"].values[..., :n]
    covariance = grid["cmi_covariance"].values[..., :n, :n]
    dims, shape = grid["cmi"].dims[:-1], cmi.shape[:-1]
    xi, stderr, p_value = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    for index in np.ndindex(*shape):
        fit = markov_length(radii, cmi[index], covariance[index], prefactor_exponent)
        if fit.xi is not None:
            xi[index], stderr[index], p_value[index] = fit.xi.value, fit.xi.stderr, fit.p_value
    name = "Markov length (NaN: no exponential window)"
    return {
        "markov_length": variable(dims, xi, "sites", name),
        "markov_length_stderr": variable(dims, stderr, "sites", "standard error of the Markov length"),
        "markov_length_p_value": variable(dims, p_value, "1", "p-value of the exponential fit"),
    }


def estimates(
    dims: Sequence[str], name: str, values: Sequence[Estimate | None], units: str, long_name: str
) -> dict[str, xr.Variable]:
    """One-dimensional `name` and `name_stderr` from estimates; NaN for None."""
    numbers = np.array([(np.nan, np.nan) if e is None else (e.value, e.stderr) for e in values])
    return {
        name: variable(tuple(dims), numbers[:, 0], units, long_name),
        f"{name}_stderr": variable(tuple(dims), numbers[:, 1], units, f"standard error of {name}"),
    }


def pooled_z(values: NDArray, stderr: NDArray, truth: NDArray) -> Estimate:
    """Mean square z-score over all points with an error: 1 +- sqrt(2/n) if errors and truth are right."""
    seen = stderr > 0
    z2 = ((values[seen] - truth[seen]) / stderr[seen]) ** 2
    return Estimate(float(z2.mean()), float(np.sqrt(2.0 / z2.size)), int(z2.size), "mean of z^2")


def grid_times(start: float, stop: float, num: int) -> list[float]:
    """Times whose distance from 1 falls geometrically from 1 - start to 1 - stop, rounded to 6 digits."""
    return [round(float(1 - u), 6) for u in np.geomspace(1 - start, 1 - stop, num)]
