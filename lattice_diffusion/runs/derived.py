"""What follows from the CMI curves of a finished run, with errors, and is stored beside them: see `results`."""

from collections.abc import Iterable

import numpy as np
import xarray as xr

from ..estimate import Estimate
from ..phases import markov_length, peak_time
from ..phases.markov_length import MIN_POINTS
from ..results import estimates, variable
from .points import Point

Variables = dict[str, xr.Variable]


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
