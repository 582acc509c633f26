"""From measured curves to phases: Markov lengths, peak times, windows, crossings and exponents."""

from .finite_size import Crossing, finite_size_crossing
from .markov_length import MarkovLength, markov_length
from .peak import peak_time
from .scaling import PowerLaw, power_law
from .windows import Window, nonlocality_window, speciation_window

__all__ = [
    "Crossing",
    "MarkovLength",
    "PowerLaw",
    "Window",
    "finite_size_crossing",
    "markov_length",
    "nonlocality_window",
    "peak_time",
    "power_law",
    "speciation_window",
]
