"""The toy phase diagrams that `reproduce` makes, by name, in the order of the table."""

from . import (
    area_law,
    concurrence,
    curie_weiss,
    domain_walls,
    gaussian_field,
    gaussian_mixture,
    hybrid_generation,
    ising,
    ising_chain,
    locality_gap,
    loops_erasure,
    loops_noise,
    phases,
    receptive_field,
    recovery,
)
from .base import Analysis, NamedExperiment

_ALL = (
    gaussian_field.EXPERIMENT,
    gaussian_mixture.EXPERIMENT,
    ising_chain.EXPERIMENT,
    ising.EXPERIMENT,
    curie_weiss.EXPERIMENT,
    loops_erasure.EXPERIMENT,
    loops_noise.experiment(loops_noise.BIT_FLIP),
    loops_noise.experiment(loops_noise.GAUSSIAN),
    domain_walls.EXPERIMENT,
    locality_gap.EXPERIMENT,
    recovery.EXPERIMENT,
    phases.EXPERIMENT,
    hybrid_generation.EXPERIMENT,
    area_law.EXPERIMENT,
    receptive_field.EXPERIMENT,
    concurrence.EXPERIMENT,
)
REGISTRY: dict[str, NamedExperiment] = {experiment.name: experiment for experiment in _ALL}

__all__ = ["REGISTRY", "Analysis", "NamedExperiment"]
