"""From measured curves to phases: Markov lengths, peak times, windows, crossings, exponents, radius schedules.

What is not there (no exponential decay, no peak between the times, no time above the tolerance) is None; a
`MarkovLength` says why. InputError is for data that cannot be fitted, or a budget that no schedule keeps.
"""

from .finite_size import Crossing, PowerLaw, finite_size_crossing, power_law
from .markov_length import MarkovLength, markov_length
from .schedules import (
    Allocation,
    evaluate_schedule,
    log_rule,
    optimal_schedule,
    schedule_frontier,
    two_level_schedule,
)
from .windows import Window, nonlocality_window, peak_time, speciation_window

__all__ = [
    "Allocation",
    "Crossing",
    "MarkovLength",
    "PowerLaw",
    "Window",
    "evaluate_schedule",
    "finite_size_crossing",
    "log_rule",
    "markov_length",
    "nonlocality_window",
    "optimal_schedule",
    "peak_time",
    "power_law",
    "schedule_frontier",
    "speciation_window",
    "two_level_schedule",
]
