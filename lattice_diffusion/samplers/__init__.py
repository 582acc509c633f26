"""How clean data are drawn.

ising           perfect samples by transfer matrix, heat bath on any lattice
gaussian_field  spectral samples of the massive free field
"""

from .fields import gaussian_field
from .ising import ising

__all__ = ["gaussian_field", "ising"]
