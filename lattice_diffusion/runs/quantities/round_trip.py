"""Segments of the path: noise p_t on to a later time and back by local recovery, and how far the law has moved.

Two laws p_s and p_t are in one phase when such round trips are harmless. `round_trip`: loops under erasure of any
size, bond by bond, with the KL of the recovered law (given what was masked when, an upper bound on that of p_t) and
the visible loops that are broken. `exact_round_trip`: small systems as tables over all states, site by site, with
the bound KL <= sum of CMI drops <= sum of CMIs on the way.
"""

import math
from typing import Annotated

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from ...channels import Erasure
from ...denoisers import unmask_loops, violated_vertices
from ...errors import InputError
from ...exact import enumeration
from ...results import variable
from ..build import build_channel, build_model
from .base import Parameters, Quantity, Settings, check_solvable, radius_coordinate, with_errors

MAX_STATES = 1 << 16  # of a table, as there and back visits every site twice


def _rising(stops: tuple[float, ...]) -> tuple[float, ...]:
    if list(stops) != sorted(set(stops)):
        raise InputError("stops must increase")
    return stops


class RoundTripSettings(Settings):
    """stops: the times t_b up to which the noise goes; those before t have no segment and are NaN."""

    stops: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1), AfterValidator(_rising)] = (
        0.25,
        0.5,
        0.75,
        1.0,
    )


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, start, n = build_model(parameters["model"]), parameters["t"], parameters["n_samples"]
    stops, radii = parameters["settings"]["stops"], parameters["radii"]
    answer = {name: np.full((len(stops), len(radii)), np.nan) for name in ROUND_TRIP_COLUMNS}
    x_s = Erasure().corrupt(model.sample(n, rng), start, rng)
    for b, stop in enumerate(stops):
        if stop <= start:
            continue
        x_t = Erasure().add_noise(x_s, start, stop, rng)
        for r, radius in enumerate(radii):
            back = unmask_loops(x_t, radius, rng, left=start / stop)
            rows = {"divergence": back.divergence, "violations": violated_vertices(back.x)}
            for name, values in rows.items():
                answer[name][b, r] = values.mean()
                answer[f"{name}_stderr"][b, r] = values.std(ddof=1) / math.sqrt(n)
    return answer


def evaluate_exactly(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel, start = build_model(parameters["model"]), build_channel(parameters["channel"]), parameters["t"]
    stops, radii = parameters["settings"]["stops"], parameters["radii"]
    clean = enumeration.clean_table(model)
    before = enumeration.noisy_table(clean, channel, start)
    answer = {name: np.full((len(stops), len(radii)), np.nan) for name in EXACT_COLUMNS}
    for b, stop in enumerate(stops):
        if stop <= start:
            continue
        matrix = enumeration.noise_matrix(channel, start, stop)
        for r, radius in enumerate(radii):
            around = enumeration.boxes(model, radius)
            back = enumeration.there_and_back(before, matrix, around, range(clean.ndim))
            answer["divergence"][b, r] = enumeration.relative_entropy(before, back.law) / clean.ndim
            answer["total_variation"][b, r] = enumeration.total_variation(before, back.law)
            answer["drop"][b, r], answer["cmi"][b, r] = back.drop.sum() / clean.ndim, back.cmi.sum() / clean.ndim
            for name in ("divergence", "total_variation", "drop", "cmi"):
                answer[f"{name}_stderr"][b, r] = 0.0
    return answer


def coordinates(table: Parameters) -> dict[str, xr.Variable]:
    stops = np.array(table["settings"]["stops"])
    return {
        "stop": variable(("stop",), stops, "1", "time t_b up to which the noise goes"),
        **radius_coordinate(table),
    }


def _check(parameters: Parameters) -> None:
    check_solvable(parameters)
    model = build_model(parameters["model"])
    if parameters["channel"]["name"] != "erasure" or model.beta > 0.0 or model.periodic:
        raise InputError(
            "round trips of any size take uniform loops, beta = 0 on an open grid, and the channel erasure"
        )


def _check_exactly(parameters: Parameters) -> None:
    check_solvable(parameters)
    name = parameters["channel"]["name"]
    if name == "gaussian":
        raise InputError("exact round trips take discrete noise, bitflip or erasure, got 'gaussian'")
    n = enumeration.clean_table(build_model(parameters["model"])).ndim
    states = (3 if name == "erasure" else 2) ** n
    if states > MAX_STATES:
        raise InputError(
            f"exact round trips list all noisy states, at most {MAX_STATES}, got {states} of {n} sites or bonds under "
            f"{name}; take a smaller system"
        )


DIMS = ("stop", "radius")
DIVERGENCE = with_errors("divergence", DIMS, "nat", "KL of the law at t to that after the round trip, per site")
ROUND_TRIP_COLUMNS = {
    **DIVERGENCE,
    **with_errors("violations", DIMS, "1", "broken vertices with four visible bonds, over all vertices"),
}
EXACT_COLUMNS = {
    **DIVERGENCE,
    **with_errors("total_variation", DIMS, "1", "total variation between the law at t and after the round trip"),
    **with_errors("drop", DIMS, "nat", "sum of CMI drops on the way, per site: bounds the divergence"),
    **with_errors("cmi", DIMS, "nat", "sum of CMIs on the way, per site: bounds the drops"),
}
ROUND_TRIP = Quantity(
    "round_trip",
    "the round trip",
    ROUND_TRIP_COLUMNS,
    evaluate,
    coordinates,
    settings=RoundTripSettings,
    reads=("radii",),
    models=("domain-walls",),
    check=_check,
)
EXACT_ROUND_TRIP = Quantity(
    "exact_round_trip",
    "the exact round trip",
    EXACT_COLUMNS,
    evaluate_exactly,
    coordinates,
    settings=RoundTripSettings,
    reads=("radii",),
    models=("ising", "ising-chain", "domain-walls"),
    check=_check_exactly,
)
