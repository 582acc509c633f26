"""Distributions p_0 with known answers: each knows its parameters, sampler, solver and predicted transition."""

from .curie_weiss import CurieWeiss
from .domain_walls import DomainWalls, homology
from .gaussian_field import GaussianField
from .gaussian_mixture import GaussianMixture
from .ising import Ising
from .ising_chain import IsingChain
from .transition import Transition

__all__ = [
    "CurieWeiss",
    "DomainWalls",
    "GaussianField",
    "GaussianMixture",
    "Ising",
    "IsingChain",
    "Transition",
    "homology",
]
