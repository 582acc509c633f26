"""Estimators by name: ours, and those that installed packages offer.

One of ours is a class in a module of this folder that descends from `Estimator`.

A package registers its own in its pyproject.toml,

    [project.entry-points."lattice_diffusion.estimators"]
    MyEstimator = "my_package:MyEstimator"

where the object is a class (or a function) that makes an estimator: anything with `fit` and `estimate` as
`estimators.Estimator` has them.
"""

import importlib
import re
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from ..errors import InputError

GROUP = "lattice_diffusion.estimators"


def _ours() -> dict[str, str]:
    """Public classes of this folder that descend from Estimator and have no descendants, with their modules.

    Read from the text, since importing them loads torch.
    """
    homes: dict[str, str] = {}
    bases: dict[str, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for name, above in re.findall(r"^class (\w+)\(([\w, ]+)\)", path.read_text(encoding="utf-8"), re.MULTILINE):
            homes[name], bases[name] = path.stem, above.replace(" ", "").split(",")

    def descends(name: str) -> bool:
        return any(above == "Estimator" or descends(above) for above in bases.get(name, ()))

    inherited = {above for names in bases.values() for above in names}
    leaves = (name for name in sorted(homes) if name not in inherited and not name.startswith("_"))
    return {name: homes[name] for name in leaves if descends(name)}


OURS = _ours()
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "InfoNCE-in-sample": ("InfoNCE", {"evaluate": "in_sample"}),
    "MINE-in-sample": ("MINE", {"evaluate": "in_sample"}),
}


def _theirs() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in {*OURS, *VARIANTS}}


def names() -> list[str]:
    """All known names, in alphabetical order."""
    return sorted({*OURS, *VARIANTS, *_theirs()})


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
        raise InputError(f"no estimator is named {name!r}; known are {', '.join(names())}")
    try:
        make = entry.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"the estimator {name!r} of entry point {entry.value!r} cannot be loaded: {error}") from error
    return make(**params)
