"""Two classes of Gaussian images, of mean +mu and -mu."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .. import errors as arguments
from ..channels import Channel, check_gaussian
from ..errors import InputError
from ..exact.gaussian import GaussianSolver, MixtureSolver, label_information
from ..lattice import Lattice, Rng
from ..samplers.chains import check_memory, check_n_samples
from ..samplers.fields import check_mass_squared, gaussian_field, precision_matrix
from .base import DataKind, OnLattice, Transition

TINY = 1e-70


@dataclass(frozen=True)
class GaussianMixture(OnLattice):
    """Mixture of two classes, x_0 = S mu + xi, S = +-1 with equal weights; Gaussian noise only.

    Args:
        lattice: only its number of sites matters while xi is white.
        mean: mu, at every site.
        std: standard deviation of white xi at every site.
        mass_squared: if given, xi is a massive free field instead, and std must stay 1.
    """

    name: ClassVar[str] = "gaussian-mixture"
    data: ClassVar[DataKind] = "real"
    lattice: Lattice
    mean: float = 1.0
    std: float = 1.0
    mass_squared: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mean", "std"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not abs(self.mean) <= 1.0 / TINY:  # squares of larger numbers, and their ratios, are no numbers
            raise InputError(f"mean must be from {-1 / TINY:g} to {1 / TINY:g}, got {self.mean}; choose another unit")
        if not TINY <= self.std <= 1.0 / TINY:
            raise InputError(f"std must be from {TINY:g} to {1 / TINY:g}, got {self.std}; choose another unit")
        if self.mass_squared is not None:
            object.__setattr__(self, "mass_squared", check_mass_squared(self.mass_squared))
            if self.std != 1.0:
                raise InputError(f"std is for white classes, got {self.std} with a mass_squared; leave one of them out")

    @classmethod
    def numbers(cls) -> dict[str, Any]:
        return {"mean": MISSING, "std": None, "mass_squared": None}

    @classmethod
    def check_numbers(cls, given: Mapping[str, Any]) -> None:
        """Raise InputError unless exactly one of std and mass_squared is given."""
        if (given.get("std") is None) == (given.get("mass_squared") is None):
            got = "neither" if given.get("std") is None else "both"
            raise InputError(f"needs either std (white) or mass_squared (correlated), got {got}")

    @classmethod
    def from_parameters(
        cls, shape: int | Sequence[int], periodic: bool | Sequence[bool] = False, **numbers: Any
    ) -> Self:
        cls.check_numbers(numbers)
        return super().from_parameters(shape, periodic, **numbers)

    @cached_property
    def solver(self) -> MixtureSolver:
        if self.mass_squared is None:
            arguments.check_memory("lattice", 80.0 * self.lattice.n_sites, "take a smaller one")
            precision = sparse.eye_array(self.lattice.n_sites, format="csc") / self.std**2
        else:
            precision = precision_matrix(self.lattice, self.mass_squared)
        field = GaussianSolver(precision.tocsc(), self.lattice.shape)
        return MixtureSolver(field, self.mean, white=self.mass_squared is None)

    def sample(self, n_samples: int, rng: Rng = None) -> NDArray[np.float64]:
        rng = np.random.default_rng(rng)
        check_memory(16 * check_n_samples(n_samples) * self.lattice.n_sites)
        label = np.where(rng.random(n_samples) < 0.5, 1, -1)
        if self.mass_squared is None:
            x_0 = self.std * rng.standard_normal((n_samples, *self.lattice.shape))
        else:
            x_0 = gaussian_field(self.lattice, self.mass_squared, n_samples, rng)
        x_0 += self.mean * label.reshape(-1, *(1,) * self.lattice.ndim)
        return x_0

    def label_information(self, channel: Channel, t: float, region: NDArray[np.bool_]) -> float:
        """Return I_t(S;R) of the label and a region, in nats, log 2 at most."""
        arguments.check_mask("region", region, self.lattice.shape)
        return label_information(self.solver.gamma(channel, t, region))

    def transition(self, channel: Channel) -> Transition | None:
        """Return the speciation at Ornstein-Uhlenbeck time log(Lambda)/2, Lambda the top eigenvalue of Cov(x_0).

        Lambda = N mu^2 + std^2 (or + 1/m^2), on the uniform mode; None where Lambda <= 1, or without a label (mu = 0).
        """
        variance = self.std**2 if self.mass_squared is None else 1.0 / self.mass_squared
        top = self.lattice.n_sites * self.mean**2 + variance
        if top <= 1.0 or self.mean == 0.0:
            return None
        time = check_gaussian(channel).time(1.0 / (top - 1.0))
        return Transition(time, "speciation", "tau = log(Lambda)/2, Biroli et al. (2024), arXiv:2402.18491")
