"""From measured curves to phases: Markov lengths, peak times, windows, crossings, exponents, radius schedules."""

from .finite_size import Crossing, finite_size_crossing
from .markov_length import MarkovLength, markov_length
from .peak import peak_time
from .receptive_field import (
    Allocation,
    evaluate_schedule,
    log_rule,
    optimal_schedule,
    schedule_frontier,
    two_level_schedule,
)
from .scaling import PowerLaw, power_law
from .windows import Window, nonlocality_window, speciation_window

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
