"""From measured curves to phases: Markov lengths, peak times, windows and scaling exponents."""

from .markov_length import MarkovLength, markov_length
from .peak import peak_time
from .scaling import PowerLaw, power_law
from .windows import Window, nonlocality_window, speciation_window

__all__ = [
    "MarkovLength",
    "PowerLaw",
    "Window",
    "markov_length",
    "nonlocality_window",
    "peak_time",
    "power_law",
    "speciation_window",
]
