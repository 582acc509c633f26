"""Entropy of the label and correlations of the faces, which only domain walls have."""

import numpy as np
from numpy.typing import NDArray

from ...exact.spins import NoisySamples
from ..build import build_channel, build_model
from .base import Column, Parameters, Quantity, check_solvable, with_errors


def label_entropy(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    entropy = model.solver.label_entropy(channel, parameters["t"], parameters["n_samples"], rng)
    return {"label_entropy": np.array(entropy.value), "label_entropy_stderr": np.array(entropy.stderr)}


def check_label(parameters: Parameters) -> None:
    check_solvable(parameters)
    build_model(parameters["model"]).solver.check_label()


def squared_correlation(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    bond, n_samples = parameters["model"]["bond"], parameters["n_samples"]
    noisy = NoisySamples(channel, parameters["t"], model.sample, n_samples, rng)
    squares = model.solver.squared_correlations(noisy, bond)
    return {
        "squared_correlation": squares.mean(),
        "squared_correlation_stderr": squares.std(ddof=1) / np.sqrt(n_samples),
        "clean_correlation": np.array(model.solver.clean_correlation(bond)),
    }


LABEL_ENTROPY = Quantity(
    "label_entropy",
    "the label entropy",
    with_errors("label_entropy", (), "nat", "entropy of the label given the noisy data, E H(S|x)"),
    label_entropy,
    models=("domain-walls",),
    check=check_label,
    averages=True,
)
SQUARED_CORRELATION = Quantity(
    "squared_correlation",
    "the squared correlation",
    {
        **with_errors("squared_correlation", (), "1", "squared posterior correlation of two faces, E <s s'>_x^2"),
        "clean_correlation": Column((), "1", "correlation of the two faces before noise, <s s'>"),
    },
    squared_correlation,
    reads=("bond",),
    models=("domain-walls",),
    averages=True,
)
