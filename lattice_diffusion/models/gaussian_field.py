"""Massive free field on the lattice."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel
from ..exact.gaussian import GaussianSolver, check_gaussian
from ..lattice import Lattice
from ..samplers.fields import check_mass_squared, gaussian_field
from ..samplers.laplacian import precision_matrix


@dataclass(frozen=True)
class GaussianField:
    """p_0(x) ~ exp(-x K x / 2), K = m^2 - Laplacian: Markov at t = 0, exponential at all t.

    Real values, Gaussian noise only. The score kernel decays as exp(-kappa r) along an axis,
    cosh kappa = 1 + (m^2 + g)/2 at signal-to-noise ratio g, and the Markov length is 1/(2 kappa).
    """

    name: ClassVar[str] = "gaussian-field"
    lattice: Lattice
    mass_squared: float

    def __post_init__(self) -> None:
        check_mass_squared(self.mass_squared)

    @cached_property
    def solver(self) -> GaussianSolver:
        return GaussianSolver(precision_matrix(self.lattice, self.mass_squared), self.lattice.shape)

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return gaussian_field(self.lattice, self.mass_squared, n_samples, rng)

    def markov_length(self, channel: Channel, t: float) -> float:
        """1/(2 kappa) of the infinite lattice, in sites; 0 at t = 0, where the field is Markov."""
        snr = check_gaussian(channel).snr(t)
        return 0.5 / math.acosh(1.0 + (self.mass_squared + snr) / 2.0) if snr < math.inf else 0.0

    def transition(self, channel: Channel) -> None:
        """None: the Markov length stays finite for every t while m > 0."""
        check_gaussian(channel)
