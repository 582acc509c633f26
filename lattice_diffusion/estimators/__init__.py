"""Conditional mutual information from samples alone: estimators behind one protocol, tasks of known truth, a benchmark.

    ESTIMATORS, find(name)  estimators by name; also `file.py:Class`, and those of installed packages
    Estimator, Sample       what an estimator is: write `_log_ratios`, or `_estimate`
    tasks, benchmark        problems whose answer is known, and how far each estimator is from it
    summary, leaderboard    its scores
    AmortisedLikelihood     from clean samples, all times and radii at once
    consistency             identities that any estimator must fulfil, on samples of your own

torch is imported only by the estimators that need it, when they are first used.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from .. import registry
from ..lazy import attach

if TYPE_CHECKING:
    from . import benchmark, tasks
    from .amortised import AmortisedLikelihood
    from .base import Estimator, Sample, clone
    from .benchmark import Check, consistency
    from .classical import FrenzelPompe, Gaussian, MesnerShalizi, Oracle
    from .conditional_likelihood import ConditionalLikelihood
    from .critics import MINE, ClassifierRatio, InfoNCE
    from .denoiser_gap import DenoiserGap
    from .scores import Score, leaderboard, summary, table
    from .tasks import Task

GROUP = "lattice_diffusion.estimators"  # entry points of installed packages


@dataclass(frozen=True)
class Entry:
    """An estimator of this package by name; calling it imports its module and makes one.

    Attributes:
        where: "module:Class".
        fixed: parameters that make it a variant.
    """

    name: str
    where: str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, **params: Any) -> Any:
        module, _, kind = self.where.partition(":")
        return getattr(importlib.import_module(f".{module}", __package__), kind)(**{**self.fixed, **params})


ESTIMATORS = [
    Entry("ClassifierRatio", "critics:ClassifierRatio"),
    Entry("ConditionalLikelihood", "conditional_likelihood:ConditionalLikelihood"),
    Entry("DenoiserGap", "denoiser_gap:DenoiserGap"),
    Entry("FrenzelPompe", "classical:FrenzelPompe"),
    Entry("Gaussian", "classical:Gaussian"),
    Entry("MesnerShalizi", "classical:MesnerShalizi"),
    Entry("InfoNCE", "critics:InfoNCE"),
    Entry("InfoNCE-in-sample", "critics:InfoNCE", {"evaluate": "in_sample"}),
    Entry("MINE", "critics:MINE"),
    Entry("MINE-in-sample", "critics:MINE", {"evaluate": "in_sample"}),
    Entry("Oracle", "classical:Oracle"),
]
"""The estimators of this package; a new one is a class and a line here."""


def find(name: str) -> Any:
    """Return what makes an estimator, called with its parameters, by its name, as `file.py:Class`, or by entry point.

    Raises InputError for an unknown name.
    """
    return registry.find(name, ESTIMATORS, "estimator", GROUP)


def names() -> list[str]:
    """Return the names of all estimators, those of installed packages included."""
    return sorted({*registry.names(ESTIMATORS), *(point.name for point in entry_points(group=GROUP))})


_HOMES = {
    **{entry.name: entry.where.partition(":")[0] for entry in ESTIMATORS if not entry.fixed},
    **dict.fromkeys(["Estimator", "Sample", "clone"], "base"),
    **dict.fromkeys(["Score", "leaderboard", "summary", "table"], "scores"),
    **dict.fromkeys(["Check", "consistency"], "benchmark"),
    **{"AmortisedLikelihood": "amortised", "Task": "tasks"},
}
__all__ = ["ClassifierRatio", "ConditionalLikelihood", "DenoiserGap", "FrenzelPompe", "Gaussian", "InfoNCE"]
__all__ += ["MINE", "AmortisedLikelihood", "MesnerShalizi", "Oracle"]
__all__ += ["ESTIMATORS", "Estimator", "Sample", "clone", "find", "names"]
__all__ += ["Check", "Score", "Task", "benchmark", "consistency", "leaderboard", "summary", "table", "tasks"]

__getattr__, __dir__ = attach(__name__, _HOMES, __all__)
