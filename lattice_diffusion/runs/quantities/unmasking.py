"""Masked generation with exact local posteriors: what it costs, KL against the area under the CMI curve.

`unmasking`: closed loops of any size, by the kernel that unmasks bond by bond. `masked_area`: small systems in full,
where p_local is a table over all states, and so is every I_t: the two sides of the area law to rounding.
"""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from ...channels import Erasure
from ...denoisers import unmask_loops, violated_vertices
from ...errors import InputError
from ...exact import enumeration
from ..build import build_channel, build_model
from .base import Parameters, Quantity, check_solvable, radius_coordinate, with_errors

MAX_ORDERS = 5040  # beyond, orders are drawn at random


def check_loops(parameters: Parameters) -> None:
    check_solvable(parameters)
    model = build_model(parameters["model"])
    if parameters["channel"]["name"] != "erasure" or model.beta != 0.0 or model.periodic:
        raise InputError("unmasking takes uniform loops, beta = 0 on an open grid, and the channel erasure")


def unmasking(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, n_samples = build_model(parameters["model"]), parameters["n_samples"]
    x_t = Erasure().corrupt(model.sample(n_samples, rng), parameters["t"], rng)
    runs = [unmask_loops(x_t, radius, rng) for radius in parameters["radii"]]
    values = {
        "divergence": np.stack([run.divergence for run in runs], axis=1),
        "violations": np.stack([violated_vertices(run.x) for run in runs], axis=1),
    }
    return {
        key: array
        for name, rows in values.items()
        for key, array in (
            (name, rows.mean(axis=0)),
            (f"{name}_stderr", rows.std(axis=0, ddof=1) / math.sqrt(n_samples)),
        )
    }


def masked_area(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, n_samples = build_model(parameters["model"]), parameters["n_samples"]
    clean = enumeration.clean_table(model)
    n = clean.ndim
    every = math.factorial(n) <= MAX_ORDERS
    orders = list(itertools.permutations(range(n))) if every else [rng.permutation(n) for _ in range(n_samples)]
    # sum_i I_t(A_i;C|B) / (1-t) is a polynomial of degree n - 1 in t: Gauss-Legendre is exact
    nodes, weights = np.polynomial.legendre.leggauss(n // 2 + 1)
    divergences, areas = [], []
    for radius in parameters["radii"]:
        around = enumeration.boxes(model, radius)
        laws = (enumeration.unmasked_law(clean, around, [int(i) for i in order]) for order in orders)
        divergences.append([enumeration.relative_entropy(clean, law) / n for law in laws])
        area = 0.0
        for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            noisy = enumeration.noisy_table(clean, build_channel({"name": "erasure"}), float(t))
            area += weight * sum(_information(noisy, i, around[i]) for i in range(n)) / (1 - t)
        areas.append(area / n)
    rows = np.array(divergences)
    error = np.zeros(len(rows)) if every else rows.std(axis=1, ddof=1) / math.sqrt(len(orders))
    return {
        "divergence": rows.mean(axis=1),
        "divergence_stderr": error,
        "area": np.array(areas),
        "area_stderr": np.zeros(len(areas)),
    }


def _information(noisy: NDArray, site: int, box: NDArray[np.bool_]) -> float:
    A = np.arange(noisy.ndim) == site
    return enumeration.conditional_information(noisy, A, box, ~(A | box))


def _check_enumerable(parameters: Parameters) -> None:
    model = build_model(parameters["model"])
    if parameters["channel"]["name"] != "erasure":
        raise InputError(f"the masked area takes the channel erasure, got {parameters['channel']['name']!r}")
    n = enumeration.clean_table(model).ndim
    if 3**n > enumeration.MAX_ENTRIES:
        raise InputError(f"the masked area lists all states of at most 12 sites or bonds, got {n}; take fewer")


DIVERGENCE = with_errors("divergence", ("radius",), "nat", "KL(p_0 || p_local) per site, mean over orders of unmasking")
UNMASKING = Quantity(
    "unmasking",
    "masked generation",
    {**DIVERGENCE, **with_errors("violations", ("radius",), "1", "fraction of vertices whose loops are broken")},
    unmasking,
    radius_coordinate,
    reads=("radii",),
    models=("domain-walls",),
    check=check_loops,
    averages=True,
)
MASKED_AREA = Quantity(
    "masked_area",
    "the masked area law in full",
    {**DIVERGENCE, **with_errors("area", ("radius",), "nat", "integral of mean_i I_t(A_i;C|B)/(1-t) over t")},
    masked_area,
    radius_coordinate,
    reads=("radii",),
    models=("ising", "ising-chain", "domain-walls"),
    check=_check_enumerable,
)
