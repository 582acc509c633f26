"""The conditional mutual information of one tripartition per radius, on common noise samples."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ... import exact
from ...results import variable
from ..build import build_channel, build_model, build_parts
from .base import OPTIONAL, PLACES, Column, Parameters, Quantity, check_solvable, radius_coordinate, with_errors


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    n_samples, method = parameters["n_samples"], parameters["method"]
    curve = exact.cmi_curve(model, channel, parameters["t"], build_parts(parameters), n_samples, rng, method)
    return {"cmi": curve.values, "cmi_stderr": curve.stderr, "cmi_covariance": curve.covariance}


def coordinates(table: Parameters) -> dict[str, xr.Variable]:
    second = variable(("radius_2",), np.array(table["radii"]), "sites", "second radius of a covariance")
    return {**radius_coordinate(table), "radius_2": second}


def check(parameters: Parameters) -> None:
    check_solvable(parameters)
    build_parts(parameters)


CMI = Quantity(
    "cmi",
    "the CMI",
    {
        **with_errors("cmi", ("radius",), "nat", "conditional mutual information I(A;C|B)"),
        "cmi_covariance": Column(("radius", "radius_2"), "nat^2", "covariance of cmi between two radii"),
    },
    evaluate,
    coordinates,
    reads=(*OPTIONAL, *PLACES),
    check=check,
    averages=True,
)
