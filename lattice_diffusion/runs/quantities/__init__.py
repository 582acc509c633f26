"""Everything that a grid can measure, by name; a new quantity is a module here and a line below."""

import numpy as np
from numpy.typing import NDArray

from .base import TARGETS, Column, Parameters, Quantity, Settings
from .cmi import CMI
from .denoising import DENOISING
from .domain_walls import LABEL_ENTROPY, SQUARED_CORRELATION
from .generated_law import GENERATED_LAW
from .generation import GENERATION, LEARNED_GENERATION
from .label_information import LABEL_INFORMATION
from .locality_gap import LOCALITY_GAP
from .locality_gap_learned import LEARNED_GAP
from .network_cost import NETWORK_COST
from .radius_schedule import RADIUS_SCHEDULE
from .recovery import RECOVERY
from .recovery_learned import LEARNED_RECOVERY
from .round_trip import EXACT_ROUND_TRIP, ROUND_TRIP
from .rounds import until_target
from .unmasking import MASKED_AREA, UNMASKING
from .unmasking_learned import LEARNED_UNMASKING

_ALL = (
    CMI,
    LABEL_ENTROPY,
    LABEL_INFORMATION,
    SQUARED_CORRELATION,
    DENOISING,
    UNMASKING,
    LEARNED_UNMASKING,
    MASKED_AREA,
    GENERATED_LAW,
    NETWORK_COST,
    RADIUS_SCHEDULE,
    LOCALITY_GAP,
    LEARNED_GAP,
    RECOVERY,
    LEARNED_RECOVERY,
    GENERATION,
    LEARNED_GENERATION,
    ROUND_TRIP,
    EXACT_ROUND_TRIP,
)
QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in _ALL}

__all__ = ["QUANTITIES", "Column", "Quantity", "Settings", "evaluate"]


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    """What is asked for at one point, by variable; `parameters` as `grid.resolve` gives them.

    Raises ValueError where the model or the lattice refuses them.
    """
    quantity = QUANTITIES[parameters.get("quantity", "cmi")]
    if any(key in parameters for key in TARGETS):
        return until_target(quantity.evaluate, quantity.leading, parameters, rng)
    return quantity.evaluate(parameters, rng)
