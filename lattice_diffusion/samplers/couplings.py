"""Couplings and fields on a lattice, as samplers take them: p(s) ~ exp(sum J_ij s_i s_j + sum h_i s_i).

Temperature is part of J and h. J is one number or one per row of `lattice.bonds`; h is one number or an array of
`lattice.shape`, and h_i = +-inf clamps spin i, which is what `channel.likelihood_field` gives for a certain spin.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..lattice import Lattice
from .heat_bath import checkerboard_order


@dataclass(frozen=True, eq=False)
class Couplings:
    """Validated J (n_bonds,) and h (n_sites,), and the neighbour tables that kernels read."""

    lattice: Lattice
    J: NDArray[np.float64]
    h: NDArray[np.float64]

    @classmethod
    def on(cls, lattice: Lattice, couplings: ArrayLike, fields: ArrayLike = 0.0) -> "Couplings":
        """Raises ValueError for wrong shapes, couplings that are not finite and fields that are NaN."""
        J, h = np.asarray(couplings, float), np.asarray(fields, float)
        n_bonds = len(lattice.bonds)
        if J.shape not in ((), (n_bonds,)):
            raise InputError(
                f"couplings must be one number or one per bond, ({n_bonds},) in the order of lattice.bonds, "
                f"got shape {J.shape}"
            )
        if not np.isfinite(J).all():
            raise InputError(f"couplings must be finite, got {J[~np.isfinite(J)].flat[0]}; clamp spins by fields +-inf")
        if h.shape not in ((), lattice.shape):
            raise InputError(f"fields must be one number or an array of shape {lattice.shape}, got shape {h.shape}")
        if np.isnan(h).any():
            raise InputError("fields must be numbers, or +-inf to clamp a spin, got nan")
        J, h = np.broadcast_to(J, (n_bonds,)), np.broadcast_to(h, lattice.shape).ravel()
        return cls(lattice, J, h)

    @cached_property
    def _tables(self) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
        bonds = self.lattice.bonds
        own = np.arange(self.lattice.n_sites, dtype=np.uint32)[:, None]
        neighbors = np.repeat(own, 2 * self.lattice.ndim, axis=1)
        strength = np.zeros(neighbors.shape)
        ends = np.concatenate([bonds, bonds[:, ::-1]])
        order = np.argsort(ends[:, 0], kind="stable")
        i, j = ends[order].T
        slot = np.arange(len(i)) - np.searchsorted(i, i)
        neighbors[i, slot] = j
        strength[i, slot] = np.tile(self.J, 2)[order]
        return neighbors, strength

    @property
    def neighbors(self) -> NDArray[np.uint32]:
        """(N, 2 d) flat neighbour indices, i itself beyond an open edge."""
        return self._tables[0]

    @property
    def neighbor_J(self) -> NDArray[np.float64]:
        """(N, 2 d) couplings to them, 0 beyond an open edge."""
        return self._tables[1]

    @property
    def clamped(self) -> NDArray[np.bool_]:
        return np.isinf(self.h)

    @property
    def free_order(self) -> NDArray[np.uint32]:
        """Sites that are not clamped, even ones first."""
        order = checkerboard_order(self.lattice)
        return order[~self.clamped[order]].astype(np.uint32)

    @property
    def finite_h(self) -> NDArray[np.float64]:
        return np.where(self.clamped, 0.0, self.h)

    def start(self, rng: np.random.Generator, shape: tuple[int, ...] = ()) -> NDArray[np.int8]:
        """Fair coins on free sites, (*shape, N) int8."""
        coins = rng.random((*shape, self.lattice.n_sites)) < 0.5
        return np.where(self.clamped, self.h > 0, coins).astype(np.int8) * 2 - 1


def bond_thresholds(J: NDArray[np.float64]) -> NDArray[np.uint64]:
    """(1 - exp(-2 |J|)) 2^64, the probability of a cluster bond as a 64-bit integer."""
    p = -np.expm1(-2.0 * np.abs(J))
    # 2^64 - 2048 is the largest float below 2^64
    threshold = np.minimum(p * 2.0**64, 2.0**64 - 2048).astype(np.uint64)
    threshold[p == 1.0] = 2**64 - 1
    return threshold


def generator_state(rng: np.random.Generator) -> NDArray[np.uint64]:
    """256 fresh bits for the kernels' own xoshiro256++."""
    return rng.integers(0, 2**64, 4, dtype=np.uint64)
