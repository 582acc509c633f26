"""One point of a grid: build model, channel and partitions from plain parameters, and measure the CMI."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import channels, exact, models
from ..lattice import Lattice, Tripartition
from .grid import resolve
from .spec import GridSpec


def measure(grid: GridSpec, coordinates: dict[str, float], rng: np.random.Generator) -> dict[str, NDArray]:
    """CMI at one point: "cmi" and "cmi_stderr" (n_radii,), "cmi_covariance" (n_radii, n_radii).

    For the quantities of domain walls scalars: "label_entropy" or "squared_correlation", with "_stderr", and
    "clean_correlation" beside the latter.

    Raises ValueError where the model or the lattice refuses its parameters.
    """
    return evaluate(resolve(grid, coordinates), rng)


def evaluate(parameters: dict[str, Any], rng: np.random.Generator) -> dict[str, NDArray]:
    """`measure` on parameters already resolved to one point (`grid.resolve`)."""
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    quantity, t, n_samples = parameters.get("quantity", "cmi"), parameters["t"], parameters["n_samples"]
    if quantity == "label_entropy":
        entropy = model.solver.label_entropy(channel, t, n_samples, rng)
        return {"label_entropy": np.array(entropy.value), "label_entropy_stderr": np.array(entropy.stderr)}
    if quantity == "squared_correlation":
        bond = parameters["model"]["bond"]
        squares = model.solver.squared_correlations(channel, t, bond, model.sample, n_samples, rng)
        return {
            "squared_correlation": squares.mean(),
            "squared_correlation_stderr": squares.std(ddof=1) / np.sqrt(n_samples),
            "clean_correlation": np.array(model.solver.clean_correlation(bond)),
        }
    parts = build_parts(parameters)
    curve = exact.cmi_curve(
        model,
        channel,
        t,
        parts,
        n_samples=n_samples,
        rng=rng,
        method=parameters["method"],
    )
    return {"cmi": curve.values, "cmi_stderr": curve.stderr, "cmi_covariance": curve.covariance}


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
    kinds = {"ising": models.Ising, "ising-chain": models.IsingChain, "curie-weiss": models.CurieWeiss}
    return kinds[name](lattice, table["beta"])


def build_channel(table: dict[str, Any]) -> channels.Channel:
    """The channel named `table["name"]`; `schedule` counts for the Gaussian one."""
    if table["name"] == "gaussian":
        return channels.Gaussian(table.get("schedule", "linear"))
    return channels.BitFlip() if table["name"] == "bitflip" else channels.Erasure()


def build_parts(parameters: dict[str, Any]) -> list[Tripartition]:
    """One partition per radius, or the one that `regions` sets; none for other quantities than the CMI."""
    model = parameters["model"]
    if parameters.get("quantity", "cmi") != "cmi":
        return []
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
