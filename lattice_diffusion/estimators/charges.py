"""Charges that almost add up to zero: a Gaussian field in which far sites tell much about a near one.

    x = (div E + m phi) / sqrt(2 d + m^2),   E white on the bonds, phi white on the sites,
    Cov(x_0) = (m^2 - Laplacian) / (2 d + m^2),

the inverse of the massive free field's covariance. For m -> 0 the total charge is conserved on the whole lattice,
so that C fixes what A + B must hold (Gauss's law seen from outside), and I(A;C|B) grows like log(1/m) at t = 0
although only neighbours are correlated. Noise cuts it off, and time alone spans 10^-5 to 3 nats in the same few
dimensions: one knob for the benchmark, closed form throughout.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..errors import InputError
from ..exact.gaussian import GaussianSolver
from ..lattice import Lattice


@dataclass(frozen=True)
class Charges:
    """Nearly conserved charges on a lattice; real values, Gaussian noise only.

    Args:
        mass_squared: m^2 > 0; the smaller, the better conserved.
    """

    lattice: Lattice
    mass_squared: float

    def __post_init__(self) -> None:
        if not 0.0 < self.mass_squared < np.inf:
            raise InputError(f"mass_squared must be finite and > 0, got {self.mass_squared}")

    @property
    def _scale(self) -> float:
        return 1.0 / (2 * self.lattice.ndim + self.mass_squared)

    @cached_property
    def _divergence(self) -> sparse.csr_array:
        """(N, n_bonds), +1 and -1 at the two ends of every bond."""
        bonds = self.lattice.bonds
        column = np.arange(len(bonds))
        ends = np.concatenate([bonds[:, 0], bonds[:, 1]])
        signs = np.repeat([1.0, -1.0], len(bonds))
        return sparse.csr_array((signs, (ends, np.tile(column, 2))), shape=(self.lattice.n_sites, len(bonds)))

    @cached_property
    def solver(self) -> GaussianSolver:
        laplacian = (self._divergence @ self._divergence.T).toarray()
        covariance = self._scale * (laplacian + self.mass_squared * np.eye(self.lattice.n_sites))
        return GaussianSolver(sparse.csc_array(np.linalg.inv(covariance)), self.lattice.shape)

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """(n_samples, *lattice.shape), from the fluxes E and the sources phi."""
        flux = rng.standard_normal((n_samples, self._divergence.shape[1]))
        source = rng.standard_normal((n_samples, self.lattice.n_sites))
        x = (self._divergence @ flux.T).T + np.sqrt(self.mass_squared) * source
        return np.sqrt(self._scale) * x.reshape(n_samples, *self.lattice.shape)
