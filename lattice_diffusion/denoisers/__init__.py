"""Denoisers, exact and learned, local and global, behind one interface: denoiser(x_t, t) -> posterior.

torch is imported only by the parts that need it, when they are first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .posterior import Bernoulli, Denoiser, Normal, Posterior
    from .reverse_process import Step, Switch, always, hybrid, pure_noise, reverse, reverse_steps

_HOMES = {
    "Bernoulli": "posterior",
    "Denoiser": "posterior",
    "Normal": "posterior",
    "Posterior": "posterior",
    "Step": "reverse_process",
    "Switch": "reverse_process",
    "always": "reverse_process",
    "hybrid": "reverse_process",
    "pure_noise": "reverse_process",
    "reverse": "reverse_process",
    "reverse_steps": "reverse_process",
}
__all__ = [
    "Bernoulli",
    "Denoiser",
    "Normal",
    "Posterior",
    "Step",
    "Switch",
    "always",
    "hybrid",
    "pure_noise",
    "reverse",
    "reverse_steps",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
