"""Ising spins on a square lattice, and on a chain or ring."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel
from ..errors import InputError
from ..exact.ising import ChainSolver, TransferMatrix
from ..lattice import Lattice, Rng
from ..samplers.chains import Schedule, check_beta, check_memory, check_n_samples, check_schedule
from ..samplers.ising import IsingMethod, ising, resolve, uniform_transfer_matrix
from .base import OnLattice, Transition

BETA_CRITICAL = math.log(1.0 + math.sqrt(2.0)) / 2.0


def onsager_magnetization(beta: float) -> float:
    """Return the spontaneous magnetisation of the infinite square lattice, (1 - sinh(2 beta)^-4)^(1/8) (Yang 1952)."""
    return (1.0 - math.sinh(2.0 * beta) ** -4) ** 0.125 if beta > BETA_CRITICAL else 0.0


@dataclass(frozen=True)
class Ising(OnLattice):
    """p_0(s) ~ exp(beta sum_<ij> s_i s_j).

    Sampled on any lattice; solved exactly on open 2D lattices with a shorter side <= 14. Under its own noise it
    has no transition at finite t; for beta > beta_c the global sign is a label that noise hides as t -> 1.
    """

    name: ClassVar[str] = "ising"
    sampling: ClassVar[Mapping[str, Any]] = {"method": "auto", "burn_in": None, "thin": None}
    lattice: Lattice
    beta: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", check_beta(self.beta))

    @cached_property
    def solver(self) -> TransferMatrix:
        if self.lattice.ndim != 2 or any(self.lattice.periodic):
            raise InputError(
                f"the exact Ising solution needs an open 2D lattice, got shape {self.lattice.shape} with periodic = "
                f"{self.lattice.periodic}; open its edges, or use IsingChain in one dimension"
            )
        return uniform_transfer_matrix((self.lattice.shape[0], self.lattice.shape[1]), self.beta)

    def sample(
        self,
        n_samples: int,
        rng: Rng = None,
        method: IsingMethod = "auto",
        burn_in: int | None = None,
        thin: int | None = None,
    ) -> NDArray[np.int8]:
        """Return samples, int8 (n_samples, *lattice.shape); see `samplers.ising` for the options."""
        rng = np.random.default_rng(rng)
        return ising(self.lattice, self.beta, n_samples, rng, method, burn_in=burn_in, thin=thin)

    def sampling_options(
        self, method: IsingMethod = "auto", burn_in: int | None = None, thin: int | None = None
    ) -> dict[str, Any]:
        resolved = resolve(self.lattice, self.beta, method)
        check_schedule(self.lattice, Schedule(burn_in, thin))
        return {"method": resolved, "burn_in": burn_in, "thin": thin}

    def transition(self, channel: Channel) -> Transition | None:
        """Return the speciation of the global sign, where the snr g reaches 1/(N m_0^2), on a square lattice.

        None for beta <= beta_c, on chains, which have no order, and in three dimensions, where no formula is exact.
        """
        m_0 = onsager_magnetization(self.beta)
        if m_0 == 0.0 or self.lattice.ndim != 2 or min(self.lattice.shape) == 1:
            return None
        time = channel.time(1.0 / (self.lattice.n_sites * m_0**2))
        return Transition(time, "speciation", "g N m_0^2 = 1 with the Onsager-Yang magnetisation m_0")


@dataclass(frozen=True)
class IsingChain(OnLattice):
    """p_0(s) ~ exp(beta sum s_i s_i+1): under noise a hidden Markov model, of bounded Markov length for all t."""

    name: ClassVar[str] = "ising-chain"
    dimension: ClassVar[int | None] = 1
    lattice: Lattice
    beta: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", check_beta(self.beta))
        if self.lattice.ndim != 1:
            raise InputError(f"IsingChain takes a 1D lattice, got shape {self.lattice.shape}; use Ising for 2D")

    @cached_property
    def solver(self) -> ChainSolver:
        return ChainSolver(self.lattice.n_sites, self.beta, self.lattice.periodic[0])

    def sample(self, n_samples: int, rng: Rng = None) -> NDArray[np.int8]:
        check_memory(check_n_samples(n_samples) * self.lattice.n_sites)
        return self.solver.sample(n_samples, np.random.default_rng(rng))
