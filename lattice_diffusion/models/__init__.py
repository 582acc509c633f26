"""Distributions p_0 with known answers: each knows its parameters, sampler, solver and predicted transition.

A new model is a file here, a frozen dataclass with `lattice` first and then its numbers, and a line in `MODELS`;
or a file of the user's own, known to specs and the command line as `file.py:Class`.
"""

from typing import Any

from .. import registry
from .curie_weiss import CurieWeiss
from .domain_walls import DomainWalls, homology
from .gaussian_field import GaussianField
from .gaussian_mixture import GaussianMixture
from .ising import Ising
from .ising_chain import IsingChain
from .transition import Transition

__all__ = [
    "MODELS",
    "CurieWeiss",
    "DomainWalls",
    "GaussianField",
    "GaussianMixture",
    "Ising",
    "IsingChain",
    "Transition",
    "find",
    "homology",
]

MODELS: list[Any] = [CurieWeiss, DomainWalls, GaussianField, GaussianMixture, Ising, IsingChain]


def find(name: str) -> Any:
    """Return the class of a model by its name, as `file.py:Class`, or by an entry point; InputError if unknown."""
    return registry.find(name, MODELS, "model", "lattice_diffusion.models")
