"""Predicted transition times."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Transition:
    """Where a model is predicted to change its phase along the diffusion.

    Attributes:
        time: t* in [0, 1] on the channel's schedule.
        kind: "speciation" for a finite-size crossover, t* -> 1 for large systems, at which noise hides the
            global label; "critical" for a transition at finite t.
        source: formula and where it comes from.
    """

    time: float
    kind: Literal["speciation", "critical"]
    source: str
