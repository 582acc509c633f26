"""Massive free field on the lattice."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel, check_gaussian
from ..errors import InputError
from ..exact.gaussian import GaussianSolver
from ..lattice import Lattice, Rng
from ..samplers.fields import check_mass_squared, gaussian_field, precision_matrix
from .base import DataKind, OnLattice


@dataclass(frozen=True)
class GaussianField(OnLattice):
    """Massive free field, p_0(x) ~ exp(-x K x / 2), K = m^2 - Laplacian: Markov at t = 0, exponential at all t.

    Real values, Gaussian noise only. The score kernel decays as exp(-kappa r) along an axis,
    cosh kappa = 1 + (m^2 + g)/2 at signal-to-noise ratio g, and the Markov length is 1/(2 kappa).
    """

    name: ClassVar[str] = "gaussian-field"
    data: ClassVar[DataKind] = "real"
    sampling: ClassVar[Mapping[str, Any]] = {"dtype": "float64"}
    lattice: Lattice
    mass_squared: float

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "mass_squared", check_mass_squared(self.mass_squared))

    @cached_property
    def solver(self) -> GaussianSolver:
        return GaussianSolver(precision_matrix(self.lattice, self.mass_squared), self.lattice.shape)

    def sample(self, n_samples: int, rng: Rng = None, dtype: Literal["float64", "float32"] = "float64") -> NDArray[Any]:
        """Return independent samples (n_samples, *lattice.shape)."""
        return gaussian_field(self.lattice, self.mass_squared, n_samples, np.random.default_rng(rng), np.dtype(dtype))

    def sampling_options(self, dtype: str = "float64") -> dict[str, Any]:
        if dtype not in ("float32", "float64"):
            raise InputError(f"dtype must be float32 or float64, got {dtype!r}")
        return {"dtype": dtype}

    def markov_length(self, channel: Channel, t: float) -> float:
        """Return 1/(2 kappa) of the infinite lattice, in sites; 0 at t = 0, where the field is Markov."""
        snr = check_gaussian(channel).snr(t)
        return 0.5 / math.acosh(1.0 + (self.mass_squared + snr) / 2.0) if snr < math.inf else 0.0

    def prefactor_exponent(self, channel: Channel, t: float) -> tuple[float, float]:
        """Return (d - 1)/2 twice: the lines are free, since the covariance does not depend on the noise drawn."""
        return (self.lattice.ndim - 1) / 2, (self.lattice.ndim - 1) / 2

    def transition(self, channel: Channel) -> None:
        """Return None: the Markov length stays finite for every t while m > 0."""
        check_gaussian(channel)
