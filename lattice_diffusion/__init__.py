"""Where along a diffusion can a denoiser be local, and where must it be global? Exact answers on the lattice.

Natural logarithms (nats) and J = k_B = 1 everywhere; arrays are (sample, *lattice); times t are in [0, 1],
0 clean and 1 pure noise. Submodules are imported when first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import channels, denoisers, estimators, exact, experiments, images, models, phases, plots, results, samplers
    from .lattice import Lattice, Tripartition

__version__ = "0.1.0"

_ROOMS = (
    "channels",
    "denoisers",
    "estimators",
    "exact",
    "experiments",
    "images",
    "models",
    "phases",
    "plots",
    "results",
    "samplers",
)
__all__ = [  # noqa: RUF022  rooms in the order data flow through them
    "Lattice",
    "Tripartition",
    "images",
    "channels",
    "models",
    "samplers",
    "exact",
    "denoisers",
    "estimators",
    "phases",
    "experiments",
    "results",
    "plots",
]


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return importlib.import_module(f".{name}", __name__)
    if name in ("Lattice", "Tripartition"):
        return getattr(importlib.import_module(".lattice", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
