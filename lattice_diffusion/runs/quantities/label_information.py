"""What a region knows of the label, beside the CMI with and without the label given.

The label is the component of a mixture (closed forms) or the sign of the magnetisation of Ising spins (sampled, exact
posteriors). `chain_rule` is 0 for exact answers and within errors for sampled ones:

    I(A;C|B) - I(A;C|B,S) - [I(S;AB) - I(S;B)] + [I(S;ABC) - I(S;BC)].
"""

import numpy as np
from numpy.typing import NDArray

from ...channels import Channel
from ...errors import InputError
from ...exact.magnetisation import TERMS, label_terms
from ...exact.spins import NoisySamples
from ...lattice import Tripartition
from ..build import build_channel, build_model, build_parts
from .base import Parameters, Quantity, check_solvable, radius_coordinate, with_errors

MAX_WIDTH = 9


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    t, parts = parameters["t"], build_parts(parameters)
    if parameters["model"]["name"] == "gaussian-mixture":
        values = np.array([_closed(model, channel, t, part) for part in parts]).T
        found = dict(zip(TERMS, values, strict=True))
        return {**_with_error("chain_rule", _chain_rule(found)), **_columns(found)}
    n_samples = parameters["n_samples"]
    terms = label_terms(model.beta, NoisySamples(channel, t, model.sample, n_samples, rng), parts)
    samples = {name: getattr(terms, name) for name in TERMS}
    samples["chain_rule"] = _chain_rule(samples)
    means = {name: x.mean(axis=0) for name, x in samples.items()}
    errors = {name: x.std(axis=0, ddof=1) / np.sqrt(n_samples) for name, x in samples.items()}
    return {**_with_error("chain_rule", means.pop("chain_rule"), errors.pop("chain_rule")), **_columns(means, errors)}


def _closed(model: object, channel: Channel, t: float, part: Tripartition) -> list[float]:
    solver = model.solver  # type: ignore[attr-defined]
    given = 0.0 if solver.white or channel.snr(t) == 0.0 else solver.field.closed_cmi(channel, t, part)
    known = [model.label_information(channel, t, region) for region in (part.B, part.AB, part.BC, part.ABC)]  # type: ignore[attr-defined]
    lost = model.label_information(channel, 0.0, part.AB) - known[0]  # type: ignore[attr-defined]
    return [solver.closed_cmi(channel, t, part), given, *known, lost]


def _chain_rule(x: dict[str, NDArray]) -> NDArray[np.float64]:
    return np.asarray(x["cmi"] - x["cmi_given_label"] - (x["ab"] - x["b"]) + (x["abc"] - x["bc"]))


def _columns(values: dict[str, NDArray], errors: dict[str, NDArray] | None = None) -> dict[str, NDArray]:
    columns: dict[str, NDArray] = {}
    for name, value in values.items():
        key = name if name.startswith("cmi") else f"label_information_{name}"
        columns |= _with_error(key, value, None if errors is None else errors[name])
    return columns


def _with_error(name: str, value: NDArray, stderr: NDArray | None = None) -> dict[str, NDArray]:
    return {name: value, f"{name}_stderr": np.zeros_like(value) if stderr is None else stderr}


def check(parameters: Parameters) -> None:
    check_solvable(parameters)
    parts, model = build_parts(parameters), parameters["model"]
    if model["name"] == "gaussian-mixture":
        return
    n_sites, width = int(np.prod(model["shape"])), min(model["shape"])
    if n_sites % 2 == 0 or width > MAX_WIDTH or parts[0].A.sum() != 1:
        raise InputError(
            f"the sign of the magnetisation needs an odd number of spins, a shorter side <= {MAX_WIDTH} and A of one "
            f"spin, got {n_sites} spins, side {width} and A of {parts[0].A.sum()}"
        )


REGIONS = {
    "b": "I(S;B)",
    "ab": "I(S;AB)",
    "bc": "I(S;BC)",
    "abc": "I(S;ABC)",
    "lost": "I_0(S;AB) - I_t(S;B)",
}
DIMS = ("radius",)
COLUMNS = {
    **with_errors("chain_rule", DIMS, "nat", "what the chain rule of informations leaves, 0 in theory"),
    **with_errors("cmi", DIMS, "nat", "conditional mutual information I(A;C|B)"),
    **with_errors("cmi_given_label", DIMS, "nat", "the same with the label given, I(A;C|B,S)"),
}
for _region, _symbol in REGIONS.items():
    COLUMNS |= with_errors(f"label_information_{_region}", DIMS, "nat", f"information about the label, {_symbol}")

LABEL_INFORMATION = Quantity(
    "label_information",
    "the information about the label",
    COLUMNS,
    evaluate,
    radius_coordinate,
    reads=("radii", "patch", "center"),
    models=("gaussian-mixture", "ising"),
    check=check,
    averages=True,
)
