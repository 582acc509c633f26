"""From measured curves to phases: Markov lengths, peak times, windows, crossings, exponents, radius schedules.

What is not there (no exponential decay, no peak between the times, no time above the tolerance) is None; a
`MarkovLength` says why. InputError is for data that cannot be fitted, or a budget that no schedule keeps.
"""

from .finite_size import Crossing, PowerLaw, finite_size_crossing, power_law
from .markov_length import MarkovLength, markov_length
from .memorisation import memorisation_time, patch_information
from .schedules import (
    Allocation,
    evaluate_schedule,
    log_rule,
    optimal_schedule,
    schedule_frontier,
    two_level_schedule,
)
from .unmasking import (
    UnmaskingSchedule,
    equal_batches,
    parallel_divergence,
    unmasking_cost,
    unmasking_entropies,
    unmasking_schedule,
)
from .windows import Window, nonlocality_window, peak_time, speciation_window

__all__ = [
    "Allocation",
    "Crossing",
    "MarkovLength",
    "PowerLaw",
    "UnmaskingSchedule",
    "Window",
    "equal_batches",
    "evaluate_schedule",
    "finite_size_crossing",
    "log_rule",
    "markov_length",
    "memorisation_time",
    "nonlocality_window",
    "optimal_schedule",
    "parallel_divergence",
    "patch_information",
    "peak_time",
    "power_law",
    "schedule_frontier",
    "speciation_window",
    "two_level_schedule",
    "unmasking_cost",
    "unmasking_entropies",
    "unmasking_schedule",
]
