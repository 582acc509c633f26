"""Ising spins that all couple to one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from ..channels import Channel
from ..errors import InputError
from ..exact.mean_field import MeanFieldSolver
from ..lattice import Lattice, Rng, Tripartition
from ..samplers.chains import check_beta, check_memory, check_n_samples
from .base import OnLattice, Transition


def mean_field_magnetization(beta: float) -> float:
    """Return the positive solution of m = tanh(beta m); 0 for beta <= 1."""
    if beta <= 1.0:
        return 0.0
    # m > sqrt(3 (beta - 1) / beta^3) / 2 brackets the solution away from m = 0
    low = 0.5 * min(1.0, np.sqrt(3 * (beta - 1) / beta**3))
    return float(brentq(lambda m: np.tanh(beta * m) - m, low, 1.0, xtol=1e-15))


@dataclass(frozen=True)
class CurieWeiss(OnLattice):
    """Mean-field ferromagnet, p_0(s) ~ exp(beta (sum s)^2 / 2N), critical at beta = 1.

    Geometry does not matter: only the numbers of spins in A, B and C do, which `regions` = (a, b, c) gives.
    """

    name: ClassVar[str] = "curie-weiss"
    geometry: ClassVar[tuple[str, ...]] = ("regions",)
    placement_keys: ClassVar[tuple[str, ...]] = ("regions",)
    lattice: Lattice
    beta: float

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "beta", check_beta(self.beta))

    @classmethod
    def from_parameters(
        cls,
        shape: int | Sequence[int] | None = None,
        periodic: bool | Sequence[bool] = False,
        *,
        regions: Sequence[int] | None = None,
        **numbers: Any,
    ) -> Self:
        """Build the model of a + b + c spins in a row, or of a lattice of `shape`."""
        if (shape is None) == (regions is None):
            raise InputError("the number of spins comes from either regions = (a, b, c) or shape; give one of them")
        return super().from_parameters(sum(map(int, regions)) if shape is None else shape, periodic, **numbers)  # type: ignore[arg-type]

    @cached_property
    def solver(self) -> MeanFieldSolver:
        return MeanFieldSolver(self.lattice.shape, self.beta)

    def sample(self, n_samples: int, rng: Rng = None) -> NDArray[np.int8]:
        check_memory(24 * check_n_samples(n_samples) * self.lattice.n_sites)
        return self.solver.sample(n_samples, np.random.default_rng(rng))

    def tripartition(self, radius: int = 0, *, regions: Sequence[int]) -> Tripartition:  # type: ignore[override]
        """Return A, B and C of the numbers of spins `regions` = (a, b, c); a radius has no meaning here."""
        return Tripartition.from_sizes(*regions)

    def placement(self, *, regions: Sequence[int]) -> dict[str, Any]:  # type: ignore[override]
        return {"regions": list(regions)}

    def transition(self, channel: Channel) -> Transition | None:
        """Return the speciation of the global sign, where the snr g reaches 1/(N m_0^2); None for beta <= 1."""
        m_0 = mean_field_magnetization(self.beta)
        if m_0 == 0.0:
            return None
        time = channel.time(1.0 / (self.lattice.n_sites * m_0**2))
        return Transition(time, "speciation", "g N m_0^2 = 1 with m_0 = tanh(beta m_0)")
