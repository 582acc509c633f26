"""From measured curves to phases: Markov lengths, peak times, windows, crossings, exponents, radius schedules.

What is not there (no exponential decay, no peak between the times, no time above the tolerance) is None; a
`MarkovLength` says why. InputError is for data that cannot be fitted, or a budget that no schedule keeps.
"""

from .finite_size import Crossing, PowerLaw, finite_size_crossing, power_law
from .markov_length import MarkovLength, markov_length
from .memorisation import memorisation_time, patch_information
from .schedules import Allocation, evaluate_schedule, log_rule, optimal_schedule, schedule_frontier, two_level_schedule
from .unmasking import (
    UnmaskingSchedule,
    equal_batches,
    parallel_divergence,
    unmasking_cost,
    unmasking_entropies,
    unmasking_schedule,
)
from .windows import Window, nonlocality_window, peak_time, speciation_window

__all__ = ["Crossing", "PowerLaw", "finite_size_crossing", "power_law"]
__all__ += ["MarkovLength", "markov_length", "memorisation_time", "patch_information"]
__all__ += ["Allocation", "evaluate_schedule", "log_rule", "optimal_schedule"]
__all__ += ["schedule_frontier", "two_level_schedule"]
__all__ += ["UnmaskingSchedule", "equal_batches", "parallel_divergence"]
__all__ += ["unmasking_cost", "unmasking_entropies", "unmasking_schedule"]
__all__ += ["Window", "nonlocality_window", "peak_time", "speciation_window"]
