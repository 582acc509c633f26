"""Estimators by name: ours, and those that installed packages offer.

A package registers its own in its pyproject.toml,

    [project.entry-points."lattice_diffusion.estimators"]
    MyEstimator = "my_package:MyEstimator"

where the object is a class (or a function) that makes an estimator: anything with `fit` and `estimate` as
`estimators.Estimator` has them.
"""

import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..arguments import checked

GROUP = "lattice_diffusion.estimators"
OURS = {
    "ClassifierRatio": "critics",
    "ConditionalLikelihood": "conditional_likelihood",
    "DenoiserGap": "denoiser_gap",
    "FrenzelPompe": "frenzel_pompe",
    "Gaussian": "gaussian",
    "InfoNCE": "critics",
    "MINE": "critics",
    "Oracle": "oracle",
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "InfoNCE-in-sample": ("InfoNCE", {"evaluate": "in_sample"}),
    "MINE-in-sample": ("MINE", {"evaluate": "in_sample"}),
}


def _theirs() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in {*OURS, *VARIANTS}}


def names() -> list[str]:
    """All known names, in alphabetical order."""
    return sorted({*OURS, *VARIANTS, *_theirs()})


@checked
def get(name: str, **params: Any) -> Any:
    """A new estimator of that name with these parameters.

    Raises:
        ValueError: no such name, or an entry point that cannot be imported.
    """
    if name in VARIANTS:
        name, fixed = VARIANTS[name]
        params = {**fixed, **params}
    if name in OURS:
        return getattr(importlib.import_module(f".{OURS[name]}", __package__), name)(**params)
    entry = _theirs().get(name)
    if entry is None:
        raise ValueError(f"no estimator is named {name!r}; known are {', '.join(names())}")
    try:
        make = entry.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the estimator {name!r} of entry point {entry.value!r} cannot be loaded: {error}") from error
    return make(**params)
