"""Conditional mutual information from samples alone: estimators behind one protocol, tasks of known truth, a benchmark.

    get(name), names()    estimators by name, ours and those of installed packages
    Estimator, Sample     what an estimator is: write `_log_ratios`, or `_estimate`
    tasks, benchmark      problems whose answer is known, and how far each estimator is from it
    summary, leaderboard  its scores
    AmortisedLikelihood   from clean samples, all times and radii at once
    consistency           identities that any estimator must fulfil, on samples of your own

torch is imported only by the estimators that need it, when they are first used.
"""

from typing import TYPE_CHECKING

from ..lazy import attach
from .registry import OURS

if TYPE_CHECKING:
    from . import benchmark, tasks
    from .amortised import AmortisedLikelihood, Grid
    from .base import Estimator, clone
    from .conditional_likelihood import ConditionalLikelihood
    from .critics import MINE, ClassifierRatio, InfoNCE
    from .denoiser_gap import DenoiserGap
    from .frenzel_pompe import FrenzelPompe
    from .gaussian import Gaussian
    from .identities import Check, consistency
    from .oracle import Oracle
    from .registry import get, names
    from .sample import Sample
    from .scores import Score, leaderboard, summary, table
    from .tasks import Task

_HOMES = {
    **OURS,
    "AmortisedLikelihood": "amortised",
    "Check": "identities",
    "Estimator": "base",
    "Grid": "amortised",
    "Sample": "sample",
    "Score": "scores",
    "Task": "tasks",
    "clone": "base",
    "consistency": "identities",
    "get": "registry",
    "leaderboard": "scores",
    "names": "registry",
    "summary": "scores",
    "table": "scores",
}
__all__ = [
    "MINE",
    "AmortisedLikelihood",
    "Check",
    "ClassifierRatio",
    "ConditionalLikelihood",
    "DenoiserGap",
    "Estimator",
    "FrenzelPompe",
    "Gaussian",
    "Grid",
    "InfoNCE",
    "Oracle",
    "Sample",
    "Score",
    "Task",
    "benchmark",
    "clone",
    "consistency",
    "get",
    "leaderboard",
    "names",
    "summary",
    "table",
    "tasks",
]

__getattr__, __dir__ = attach(__name__, _HOMES, __all__)
