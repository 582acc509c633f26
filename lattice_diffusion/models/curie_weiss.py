"""Ising spins that all couple to one another."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from ..channels import Channel
from ..exact.mean_field import MeanFieldSolver
from ..lattice import Lattice
from ..samplers.checks import check_beta, check_memory, check_n_samples
from .transition import Transition


def mean_field_magnetization(beta: float) -> float:
    """The positive solution of m = tanh(beta m); 0 for beta <= 1."""
    if beta <= 1.0:
        return 0.0
    # m > sqrt(3 (beta - 1) / beta^3) / 2 brackets the solution away from m = 0
    low = 0.5 * min(1.0, np.sqrt(3 * (beta - 1) / beta**3))
    return float(brentq(lambda m: np.tanh(beta * m) - m, low, 1.0, xtol=1e-15))


@dataclass(frozen=True)
class CurieWeiss:
    """p_0(s) ~ exp(beta (sum s)^2 / 2N), the mean-field ferromagnet, critical at beta = 1.

    Geometry does not matter: use `Lattice((N,))` with `Tripartition.from_sizes(a, b, c)`.
    """

    name: ClassVar[str] = "curie-weiss"
    lattice: Lattice
    beta: float

    def __post_init__(self) -> None:
        check_beta(self.beta)

    @cached_property
    def solver(self) -> MeanFieldSolver:
        return MeanFieldSolver(self.lattice.shape, self.beta)

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.int8]:
        check_memory(24 * check_n_samples(n_samples) * self.lattice.n_sites)
        return self.solver.sample(n_samples, rng)

    def transition(self, channel: Channel) -> Transition | None:
        """Speciation of the global sign, where the snr g reaches 1/(N m_0^2); None for beta <= 1."""
        m_0 = mean_field_magnetization(self.beta)
        if m_0 == 0.0:
            return None
        time = channel.time(1.0 / (self.lattice.n_sites * m_0**2))
        return Transition(time, "speciation", "g N m_0^2 = 1 with m_0 = tanh(beta m_0)")
