"""Ising spins on a square lattice, and on a chain or ring."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel
from ..errors import InputError
from ..exact.ising import ChainSolver, SeamSolver, TransferMatrix
from ..lattice import Lattice, Rng
from ..samplers.chains import Schedule, check_beta, check_memory, check_n_samples, check_schedule
from ..samplers.ising import IsingMethod, ising, resolve, transfer_matrix
from .base import OnLattice, Transition

BETA_CRITICAL = math.log(1.0 + math.sqrt(2.0)) / 2.0


def onsager_magnetization(beta: float, anisotropy: float = 1.0) -> float:
    """Return the spontaneous magnetisation of the infinite square lattice with couplings beta and anisotropy * beta.

    (1 - k^2)^(1/8), 1/k = sinh(2 beta) sinh(2 anisotropy beta), 0 where k >= 1 (Yang 1952, Chang 1952).
    """
    inverse = math.sinh(2.0 * beta) * math.sinh(2.0 * anisotropy * beta)
    return (1.0 - inverse**-2) ** 0.125 if inverse > 1.0 else 0.0


@dataclass(frozen=True)
class Ising(OnLattice):
    """Ising spins on a lattice, p_0(s) ~ exp(sum_a beta_a sum_<ij>_a s_i s_j + field sum_i s_i), a the axes.

    Sampled on any lattice; solved exactly on open 2D lattices with a shorter side <= 14, on cylinders with a periodic
    side <= 14 or an open one <= 8, and on tori with a shorter side <= 8. Under its own noise it has no transition at
    finite t; for beta > beta_c and no field the global sign is a label that noise hides as t -> 1.

    Args:
        beta: coupling along all axes but the last, in units of the temperature.
        field: uniform field, in the same units.
        anisotropy: coupling along the last axis, in units of beta.
    """

    name: ClassVar[str] = "ising"
    sampling: ClassVar[Mapping[str, Any]] = {"method": "auto", "burn_in": None, "thin": None}
    lattice: Lattice
    beta: float
    field: float = 0.0
    anisotropy: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "beta", check_beta(self.beta))
        for name in ("field", "anisotropy"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not math.isfinite(self.field):
            raise InputError(f"field must be finite, got {self.field}")
        if not 0.0 <= self.anisotropy < math.inf:
            raise InputError(f"anisotropy must be finite and >= 0, got {self.anisotropy}; flip one sublattice instead")

    @classmethod
    def numbers(cls) -> dict[str, Any]:
        return {"beta": MISSING, "field": None, "anisotropy": None}

    @property
    def betas(self) -> tuple[float, ...]:
        """Couplings along each axis."""
        return (self.beta,) * (self.lattice.ndim - 1) + (self.beta * self.anisotropy,)

    def check_plain(self, what: str) -> None:
        """Raise InputError unless edges are open, the field is 0 and all axes couple alike, as `what` needs."""
        if any(self.lattice.periodic) or self.field != 0.0 or self.anisotropy != 1.0:
            raise InputError(f"{what} takes Ising models of open edges, no field and one coupling, got {self}")

    @cached_property
    def solver(self) -> TransferMatrix | SeamSolver:
        return transfer_matrix(self.lattice, self.betas, self.field)

    def sample(
        self,
        n_samples: int,
        rng: Rng = None,
        method: IsingMethod = "auto",
        burn_in: int | None = None,
        thin: int | None = None,
    ) -> NDArray[np.int8]:
        """Return samples, int8 (n_samples, *lattice.shape); see `samplers.ising` for the options."""
        return ising(self.lattice, self.betas, n_samples, rng, method, field=self.field, burn_in=burn_in, thin=thin)

    def sampling_options(
        self, method: IsingMethod = "auto", burn_in: int | None = None, thin: int | None = None
    ) -> dict[str, Any]:
        resolved, _ = resolve(self.lattice, self.betas, method, self.field)
        check_schedule(self.lattice, Schedule(burn_in, thin))
        return {"method": resolved, "burn_in": burn_in, "thin": thin}

    def transition(self, channel: Channel) -> Transition | None:
        """Return the speciation of the global sign, where the snr g reaches 1/(N m_0^2), on a square lattice.

        None where there is no order or no symmetry: for beta <= beta_c, on chains, in a field; and in three dimensions,
        where no formula is exact.
        """
        m_0 = onsager_magnetization(self.beta, self.anisotropy)
        if m_0 == 0.0 or self.field != 0.0 or self.lattice.ndim != 2 or min(self.lattice.shape) == 1:
            return None
        time = channel.time(1.0 / (self.lattice.n_sites * m_0**2))
        return Transition(time, "speciation", "g N m_0^2 = 1 with the Onsager-Yang magnetisation m_0")


@dataclass(frozen=True)
class IsingChain(OnLattice):
    """Ising chain or ring, p_0(s) ~ exp(beta sum s_i s_i+1): a hidden Markov model, of bounded Markov length."""

    name: ClassVar[str] = "ising-chain"
    dimension: ClassVar[int | None] = 1
    lattice: Lattice
    beta: float

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "beta", check_beta(self.beta))
        if self.lattice.ndim != 1:
            raise InputError(f"IsingChain takes a 1D lattice, got shape {self.lattice.shape}; use Ising for 2D")

    @cached_property
    def solver(self) -> ChainSolver:
        return ChainSolver(self.lattice.n_sites, self.beta, self.lattice.periodic[0])

    def sample(self, n_samples: int, rng: Rng = None) -> NDArray[np.int8]:
        check_memory(check_n_samples(n_samples) * self.lattice.n_sites)
        return self.solver.sample(n_samples, np.random.default_rng(rng))
