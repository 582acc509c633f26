"""Potts models: tokens of q symbols on a square lattice, and on a chain or ring."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..channels import check_symbols
from ..errors import InputError
from ..exact.tokens import PottsSolver, solvable
from ..lattice import Lattice, Rng
from ..samplers.chains import check_coupling, check_memory, check_n_samples
from ..samplers.clusters import potts
from .base import DataKind, OnLattice


def critical_coupling(q: int) -> float:
    """Return J_c = log(1 + sqrt q) of the square lattice, its self-dual point; first order for q > 4."""
    return math.log(1.0 + math.sqrt(q))


@dataclass(frozen=True)
class Potts(OnLattice):
    """Potts model, p_0(s) ~ exp(J sum_<ij> delta(s_i, s_j)), s_i = 0..q-1; for q = 2 the Ising model of beta = J/2.

    Sampled on any lattice: perfectly where it is solved exactly, which is on open 2D lattices with q^W up to 16384, W
    the shorter side, and by Swendsen-Wang updates elsewhere.
    """

    name: ClassVar[str] = "potts"
    data: ClassVar[DataKind] = "tokens"
    lattice: Lattice
    coupling: float
    q: int

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "coupling", check_coupling(self.coupling))
        object.__setattr__(self, "q", check_symbols(self.q))

    @cached_property
    def solver(self) -> PottsSolver:
        return PottsSolver(self.lattice, self.coupling, self.q)

    def sample(self, n_samples: int, rng: Rng = None) -> NDArray[np.unsignedinteger]:
        """Return samples (n_samples, *lattice.shape) of unsigned integers; see `samplers.potts`."""
        rng = np.random.default_rng(rng)
        if not solvable(self.lattice, self.q):
            return potts(self.lattice, self.coupling, self.q, n_samples, rng)
        check_memory(2 * check_n_samples(n_samples) * self.lattice.n_sites)
        return self.solver.sample(n_samples, rng)


@dataclass(frozen=True)
class PottsChain(Potts):
    """Potts chain or ring, p_0(s) ~ exp(J sum delta(s_i, s_i+1)): a hidden Markov model, of bounded Markov length."""

    name: ClassVar[str] = "potts-chain"
    dimension: ClassVar[int | None] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lattice.ndim != 1:
            raise InputError(f"PottsChain takes a 1D lattice, got shape {self.lattice.shape}; use Potts for 2D")
