"""Ising spins on a chain or ring."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel
from ..errors import InputError
from ..exact.chain import ChainSolver
from ..lattice import Lattice
from ..samplers.checks import check_beta, check_memory, check_n_samples


@dataclass(frozen=True)
class IsingChain:
    """p_0(s) ~ exp(beta sum s_i s_i+1): under noise a hidden Markov model, of bounded Markov length for all t."""

    name: ClassVar[str] = "ising-chain"
    lattice: Lattice
    beta: float

    def __post_init__(self) -> None:
        check_beta(self.beta)
        if self.lattice.ndim != 1:
            raise InputError(f"IsingChain takes a 1D lattice, got shape {self.lattice.shape}; use Ising for 2D")

    @cached_property
    def solver(self) -> ChainSolver:
        return ChainSolver(self.lattice.n_sites, self.beta, self.lattice.periodic[0])

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.int8]:
        check_memory(check_n_samples(n_samples) * self.lattice.n_sites)
        return self.solver.sample(n_samples, rng)

    def transition(self, channel: Channel) -> None:
        """None: one dimension orders at no finite beta."""
