"""Everything that a grid can measure: names of quantities and where each is kept, as module:NAME."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import registry
from .base import TARGETS, Column, Parameters, Quantity, Settings
from .rounds import until_target

_HERE = "lattice_diffusion.runs.quantities"
QUANTITIES: dict[str, Any] = {  # a quantity, or "module:NAME" that is imported when it is asked for
    "cmi": f"{_HERE}.cmi:CMI",
    "label_entropy": f"{_HERE}.domain_walls:LABEL_ENTROPY",
    "label_information": f"{_HERE}.label_information:LABEL_INFORMATION",
    "squared_correlation": f"{_HERE}.domain_walls:SQUARED_CORRELATION",
    "denoising": f"{_HERE}.denoising:DENOISING",
    "unmasking": f"{_HERE}.unmasking:UNMASKING",
    "learned_unmasking": f"{_HERE}.unmasking_learned:LEARNED_UNMASKING",
    "masked_area": f"{_HERE}.unmasking:MASKED_AREA",
    "generated_law": f"{_HERE}.generated_law:GENERATED_LAW",
    "network_cost": f"{_HERE}.network_cost:NETWORK_COST",
    "radius_schedule": f"{_HERE}.radius_schedule:RADIUS_SCHEDULE",
    "locality_gap": f"{_HERE}.locality_gap:LOCALITY_GAP",
    "learned_gap": f"{_HERE}.locality_gap_learned:LEARNED_GAP",
    "recovery": f"{_HERE}.recovery:RECOVERY",
    "learned_recovery": f"{_HERE}.recovery_learned:LEARNED_RECOVERY",
    "generation": f"{_HERE}.generation:GENERATION",
    "learned_generation": f"{_HERE}.generation:LEARNED_GENERATION",
    "round_trip": f"{_HERE}.round_trip:ROUND_TRIP",
    "exact_round_trip": f"{_HERE}.round_trip:EXACT_ROUND_TRIP",
}

__all__ = ["QUANTITIES", "Column", "Quantity", "Settings", "evaluate", "find"]


def find(name: str) -> Quantity:
    """Return a quantity by its name, or that of `file.py:QUANTITY`. Raises InputError for an unknown one."""
    return registry.load(name, QUANTITIES, "quantity", "lattice_diffusion.quantities")


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    """What is asked for at one point, by variable; `parameters` as `grid.resolve` gives them.

    Raises InputError where the model or the lattice refuses them.
    """
    quantity = find(parameters.get("quantity", "cmi"))
    if any(key in parameters for key in TARGETS):
        return until_target(quantity.evaluate, quantity.leading, parameters, rng)
    return quantity.evaluate(parameters, rng)
