"""Ising spins on the square lattice."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel
from ..errors import InputError
from ..exact.transfer_matrix import TransferMatrix
from ..lattice import Lattice
from ..samplers.checks import check_beta
from ..samplers.ising import ising
from ..samplers.methods import uniform_transfer_matrix
from .transition import Transition

BETA_CRITICAL = math.log(1.0 + math.sqrt(2.0)) / 2.0


def onsager_magnetization(beta: float) -> float:
    """Spontaneous magnetisation of the infinite square lattice, (1 - sinh(2 beta)^-4)^(1/8) (Yang 1952)."""
    return (1.0 - math.sinh(2.0 * beta) ** -4) ** 0.125 if beta > BETA_CRITICAL else 0.0


@dataclass(frozen=True)
class Ising:
    """p_0(s) ~ exp(beta sum_<ij> s_i s_j).

    Sampled on any lattice; solved exactly on open 2D lattices with a shorter side <= 14. Under its own noise it
    has no transition at finite t; for beta > beta_c the global sign is a label that noise hides as t -> 1.
    """

    name: ClassVar[str] = "ising"
    lattice: Lattice
    beta: float

    def __post_init__(self) -> None:
        check_beta(self.beta)

    @cached_property
    def solver(self) -> TransferMatrix:
        if self.lattice.ndim != 2 or any(self.lattice.periodic):
            raise InputError(
                f"the exact Ising solution needs an open 2D lattice, got shape {self.lattice.shape} with periodic = "
                f"{self.lattice.periodic}; open its edges, or use IsingChain in one dimension"
            )
        return uniform_transfer_matrix((self.lattice.shape[0], self.lattice.shape[1]), self.beta)

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.int8]:
        return ising(self.lattice, self.beta, n_samples, rng)

    def transition(self, channel: Channel) -> Transition | None:
        """Speciation of the global sign, where the snr g reaches 1/(N m_0^2); None for beta <= beta_c."""
        m_0 = onsager_magnetization(self.beta)
        if m_0 == 0.0:
            return None
        time = channel.time(1.0 / (self.lattice.n_sites * m_0**2))
        return Transition(time, "speciation", "g N m_0^2 = 1 with the Onsager-Yang magnetisation m_0")
