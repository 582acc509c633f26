"""Domain walls of Ising spins: closed loops, whose noisy versions have a transition at a finite time."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel
from ..errors import InputError
from ..exact.bonds import Patch, block_patch, bond_mask, bond_patch, bond_radii
from ..exact.domain_walls import DomainWallSolver, walls
from ..lattice import Lattice, Tripartition
from ..samplers.checks import check_beta, check_memory, check_n_samples
from ..samplers.ising import ising
from .ising import BETA_CRITICAL
from .transition import Transition

P_STAR = 0.10919  # bit-flip probability, +- 7e-5
SIGMA_STAR = 0.978694  # Gaussian sigma/alpha


def homology(x: NDArray) -> NDArray[np.int8]:
    """Homology class (n, 2) of closed loops x (n, 2, L, W) on the torus: two signs.

    The products of x along row 0 (right bonds, once round) and along column 0 (down bonds); for closed loops all
    rows and all columns give the same. -1: an odd number of walls is crossed.
    """
    if x.ndim != 4 or x.shape[1] != 2 or 0 in x.shape:
        raise InputError(f"x must be loops of shape (n, 2, L, W), got {x.shape}")
    return np.stack([x[:, 0, 0, :].prod(axis=1), x[:, 1, :, 0].prod(axis=1)], axis=1).astype(np.int8)


@dataclass(frozen=True)
class DomainWalls:
    """x_e = s s' on the bonds between neighbouring faces of an L x W grid, p_0(x) ~ exp(beta sum_e x_e).

    Data are 2-channel images (2, L, W): [0] right bonds, between faces (i, j) and (i, j+1), [1] down bonds,
    between (i, j) and (i+1, j); entries beyond an open edge are unused and 0. beta = 0 is the uniform ensemble of
    closed loops: walls close around every vertex, and nothing else is asked. On a torus (periodic=True) loops
    of all four homology classes then occur alike, only a quarter of which bound a set of faces; see `homology`.

    Args:
        faces: (L, W), at least two in all; at least 3 along each axis of a torus.
        beta: inverse temperature of the spins; 0 on a torus.
    """

    name: ClassVar[str] = "domain-walls"
    faces: tuple[int, int]
    beta: float = 0.0
    periodic: bool = False

    def __post_init__(self) -> None:
        faces = tuple(self.faces)
        if len(faces) != 2 or any(not isinstance(n, int | np.integer) or n < 1 for n in faces) or faces == (1, 1):
            raise InputError(f"faces must be two positive integers such as (8, 8), more than one face, got {faces}")
        object.__setattr__(self, "faces", (int(faces[0]), int(faces[1])))
        check_beta(self.beta)
        if self.periodic and min(self.faces) < 3:
            raise InputError(f"a periodic grid needs at least 3x3 faces, got {faces[0]}x{faces[1]}; open it or enlarge")
        if self.periodic and self.beta > 0.0:
            raise InputError(
                f"beta must be 0 on a periodic grid, got {self.beta}; open the edges (periodic=False) for beta > 0"
            )

    @property
    def lattice(self) -> Lattice:
        """Of the data, (2, L, W)."""
        return Lattice((2, *self.faces))

    @cached_property
    def bonds(self) -> NDArray[np.bool_]:
        """(2, L, W), True at the grid's bonds."""
        return bond_mask(self.faces, self.periodic)

    @cached_property
    def solver(self) -> DomainWallSolver:
        return DomainWallSolver(self.faces, self.beta, self.periodic)

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.int8]:
        """Walls, int8 (n_samples, 2, L, W): perfect and independent for beta = 0 or a shorter side <= 14,
        otherwise from a thinned Markov chain (`samplers.ising`)."""
        check_memory(3 * check_n_samples(n_samples) * self.lattice.n_sites)
        if self.beta > 0.0:
            return walls(ising(Lattice(self.faces), self.beta, n_samples, rng))
        spins = _signs((n_samples, *self.faces), rng)
        x = walls(spins)
        if self.periodic:
            label = _signs((n_samples, 2), rng)
            x[:, 0, :, -1] = spins[:, :, -1] * spins[:, :, 0] * label[:, :1]
            x[:, 1, -1, :] = spins[:, -1, :] * spins[:, 0, :] * label[:, 1:]
        return x

    def tripartition(self, *, radius: int, bond: object = None, block: object = None) -> Tripartition:
        """A one bond, or the four of a 2x2 block of faces; B the others in a box around it; C all the rest.

        Args:
            radius: B holds the bonds whose two faces are within this Chebyshev distance of A's faces; the box is
                cut at open edges and wraps around a torus.
            bond: the two neighbouring faces ((i, j), (k, l)).
            block: the top left face (i, j) of the block. One of `bond` and `block` must be given.
        """
        if (bond is None) == (block is None):
            raise InputError("A needs either bond=((i, j), (k, l)) or block=(i, j); give one of them")
        if not isinstance(radius, int | np.integer) or radius < 0:
            raise InputError(f"radius must be an integer >= 0, got {radius}")
        patch: Patch = (bond_patch if block is None else block_patch)(
            self.faces, self.periodic, bond if block is None else block
        )
        distance = bond_radii(self.faces, self.periodic, patch)
        A = self.bonds & (distance == 0)
        box = self.bonds & (distance <= radius)
        return Tripartition(A, box & ~A, self.bonds & ~box)

    def transition(self, channel: Channel) -> Transition | None:
        """Where the loops' long-range order is lost; None for a beta > 0 at which no value is known exactly."""
        if self.beta == 0.0:
            if channel.name == "erasure":
                return Transition(0.5, "critical", "bond percolation, Kesten (1980): exact")
            if channel.name == "bitflip":
                return Transition(2 * P_STAR, "critical", "p* = 0.10919(7), Hasenbusch et al. (2008), arXiv:0803.0444")
            if channel.name != "gaussian":
                return None
            time = channel.time(SIGMA_STAR**-2)
            return Transition(time, "critical", "sigma/alpha = 0.978694, duality (a conjecture); numerically 0.979")
        if channel.name == "gaussian" and abs(self.beta - BETA_CRITICAL) < 1e-6:
            time = channel.time(self.beta)
            return Transition(time, "critical", "sigma/alpha = beta_c^(-1/2), Puetz et al. (2025), arXiv:2504.12385")
        return None


def _signs(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int8]:
    return (2 * rng.integers(0, 2, size=shape, dtype=np.int8) - 1).astype(np.int8)
