"""The toy phase diagrams that `reproduce` makes, by name, in the order of the table."""

from . import curie_weiss, gaussian_field, gaussian_mixture, ising, ising_chain
from .base import Analysis, NamedExperiment

REGISTRY: dict[str, NamedExperiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (gaussian_field, gaussian_mixture, ising_chain, ising, curie_weiss)
}

__all__ = ["REGISTRY", "Analysis", "NamedExperiment"]
