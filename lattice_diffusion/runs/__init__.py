"""From a spec to a result file: independent points, measured on any executor, resumable at any moment.

Spec                    what to measure, from a dict; `spec.load` reads a TOML file
run                     measure every point of a spec, here, in processes, or on a cluster
Quantity, Column        what is measured at a point; `quantities` has those that several studies share
recipe, sample_to_file  samples of a model in a file, in bounded memory
"""

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from . import cmi, executors, points, quantities, runner, sampling, spec
    from .quantities import Column, Quantity
    from .runner import run
    from .sampling import recipe, sample_to_file
    from .spec import Spec

_HOMES = {"Spec": "spec", "run": "runner"}
_HOMES |= {"Quantity": "quantities", "Column": "quantities", "recipe": "sampling", "sample_to_file": "sampling"}
__all__ = ["Column", "Quantity", "Spec", "recipe", "run", "sample_to_file"]
__all__ += ["cmi", "executors", "points", "quantities", "runner", "sampling", "spec"]

__getattr__, __dir__ = attach(__name__, _HOMES, __all__)
