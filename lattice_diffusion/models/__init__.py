"""Distributions p_0 with known answers: each knows its parameters, sampler, solver and predicted transition.

A new model is a file here: a frozen dataclass with `lattice` first and then its numbers, `solver`, `sample` and
`transition`. Specs, the command line and completion find it under the name of the file.
"""

import importlib
import pkgutil
from functools import cache

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
    "by_name",
    "homology",
]


@cache
def by_name() -> dict[str, type]:
    """Every model in this folder by the name of its file, with dashes for underscores."""
    found = {}
    for _, module, _ in pkgutil.iter_modules(__path__):
        for kind in vars(importlib.import_module(f".{module}", __name__)).values():
            if isinstance(kind, type) and kind.__module__ == f"{__name__}.{module}" and hasattr(kind, "solver"):
                found[module.replace("_", "-")] = kind
    return found


def __getattr__(name: str) -> object:
    for kind in by_name().values():
        if kind.__name__ == name:
            return kind
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
