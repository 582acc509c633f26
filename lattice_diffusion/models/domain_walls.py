"""Domain walls of Ising spins: closed loops, whose noisy versions have a transition at a finite time."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..channels import BitFlip, Channel, Erasure, is_gaussian
from ..errors import InputError
from ..exact.bonds import Patch, block_patch, bond_mask, bond_patch, bond_radii
from ..exact.domain_walls import DomainWallSolver, walls
from ..lattice import Lattice, Rng, Tripartition
from ..samplers.chains import check_beta, check_memory, check_n_samples
from ..samplers.ising import ising
from .base import OnLattice, Transition, axis_names
from .ising import BETA_CRITICAL

P_STAR = 0.10919  # bit-flip probability, +- 7e-5
SIGMA_STAR = 0.978694  # Gaussian sigma/alpha


def homology(x: NDArray) -> NDArray[np.int8]:
    """Return the homology class (n, 2) of closed loops x (n, 2, L, W) on the torus: two signs.

    The products of x along row 0 (right bonds, once round) and along column 0 (down bonds); for closed loops all
    rows and all columns give the same. -1: an odd number of walls is crossed.
    """
    if x.ndim != 4 or x.shape[1] != 2 or 0 in x.shape:
        raise InputError(f"x must be loops of shape (n, 2, L, W), got {x.shape}")
    return np.stack([x[:, 0, 0, :].prod(axis=1), x[:, 1, :, 0].prod(axis=1)], axis=1).astype(np.int8)


@dataclass(frozen=True)
class DomainWalls(OnLattice):
    """Domain walls x_e = s s' between neighbouring faces of an L x W grid, p_0(x) ~ exp(beta sum_e x_e).

    Data are 2-channel images (2, L, W): [0] right bonds, between faces (i, j) and (i, j+1), [1] down bonds,
    between (i, j) and (i+1, j); entries beyond an open edge are unused and 0. beta = 0 is the uniform ensemble of
    closed loops: walls close around every vertex, and nothing else is asked. On a torus (periodic=True) loops
    of all four homology classes then occur alike, only a quarter of which bound a set of faces; see `homology`.

    Args:
        faces: (L, W), at least two in all; at least 3 along each axis of a torus.
        beta: inverse temperature of the spins; 0 on a torus.
    """

    name: ClassVar[str] = "domain-walls"
    placement_keys: ClassVar[tuple[str, ...]] = ("bond", "block")
    dimension: ClassVar[int | None] = 2
    faces: tuple[int, int]
    beta: float = 0.0
    periodic: bool = False

    def __post_init__(self) -> None:
        faces = tuple(self.faces) if isinstance(self.faces, Sequence | np.ndarray) else (self.faces,)
        if len(faces) != 2 or any(not isinstance(n, int | np.integer) or n < 1 for n in faces) or faces == (1, 1):
            raise InputError(f"faces must be two positive integers such as (8, 8), more than one face, got {faces}")
        object.__setattr__(self, "faces", (int(faces[0]), int(faces[1])))
        object.__setattr__(self, "beta", check_beta(self.beta))
        object.__setattr__(self, "periodic", bool(self.periodic))
        if self.periodic and min(self.faces) < 3:
            raise InputError(f"a periodic grid needs at least 3x3 faces, got {faces[0]}x{faces[1]}; open it or enlarge")
        if self.periodic and self.beta > 0.0:
            raise InputError(f"beta must be 0 on a periodic grid, got {self.beta}; take periodic=False for beta > 0")

    @classmethod
    def from_parameters(
        cls, shape: int | Sequence[int], periodic: bool | Sequence[bool] = False, **numbers: Any
    ) -> Self:
        """Build the model of the faces `shape` = (L, W), open, or a torus where both axes are `periodic`."""
        if np.any(periodic) and not np.all(periodic):
            raise InputError(f"domain walls are periodic along both axes or none, got periodic = {periodic}")
        given = {name: value for name, value in numbers.items() if value is not None}
        return cls(tuple(shape), periodic=bool(np.all(periodic)), **given)  # type: ignore[arg-type]

    @classmethod
    def numbers(cls) -> dict[str, Any]:
        return {field.name: field.default for field in fields(cls) if field.name == "beta"}

    @property
    def lattice(self) -> Lattice:  # type: ignore[override]
        """Shape of the data, (2, L, W)."""
        return Lattice((2, *self.faces))

    @cached_property
    def sites(self) -> NDArray[np.bool_]:
        """Mask (2, L, W), True at the grid's bonds."""
        return bond_mask(self.faces, self.periodic)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.lattice.shape

    @property
    def axes(self) -> tuple[str, ...]:
        return ("direction", *axis_names(2))

    @cached_property
    def solver(self) -> DomainWallSolver:
        return DomainWallSolver(self.faces, self.beta, self.periodic)

    def sample(self, n_samples: int, rng: Rng = None) -> NDArray[np.int8]:
        """Return walls, int8 (n_samples, 2, L, W): perfect and independent for beta = 0 or a shorter side <= 14,
        otherwise from a thinned Markov chain (`samplers.ising`)."""
        check_memory(3 * check_n_samples(n_samples) * self.lattice.n_sites)
        rng = np.random.default_rng(rng)
        if self.beta > 0.0:
            return walls(ising(Lattice(self.faces), self.beta, n_samples, rng))
        spins = _signs((n_samples, *self.faces), rng)
        x = walls(spins)
        if self.periodic:
            label = _signs((n_samples, 2), rng)
            x[:, 0, :, -1] = spins[:, :, -1] * spins[:, :, 0] * label[:, :1]
            x[:, 1, -1, :] = spins[:, -1, :] * spins[:, 0, :] * label[:, 1:]
        return x

    def tripartition(self, radius: int, *, bond: object = None, block: object = None) -> Tripartition:  # type: ignore[override]
        """Return A one bond, or the four of a 2x2 block of faces; B the others in a box around it; C all the rest.

        Args:
            radius: B holds the bonds whose two faces are within this Chebyshev distance of A's faces; the box is
                cut at open edges and wraps around a torus.
            bond: the two neighbouring faces ((i, j), (k, l)); by default the right bond of the central face.
            block: the top left face (i, j) of the block, in place of `bond`.
        """
        if not isinstance(radius, int | np.integer) or radius < 0:
            raise InputError(f"radius must be an integer >= 0, got {radius}")
        where = self.placement(bond=bond, block=block)
        patch = (
            bond_patch(self.faces, self.periodic, where["bond"])
            if block is None
            else block_patch(self.faces, self.periodic, block)
        )
        distance = bond_radii(self.faces, self.periodic, patch)
        A = self.sites & (distance == 0)
        box = self.sites & (distance <= radius)
        return Tripartition(A, box & ~A, self.sites & ~box)

    def box(self, site: Sequence[int], radius: int) -> NDArray[np.bool_]:
        """Return the bonds whose two faces are within `radius` of those of the bond (channel, i, j)."""
        channel, i, j = (int(x) for x in site)
        patch = Patch(i, j, 1 + channel, 2 - channel)
        return self.sites & (bond_radii(self.faces, self.periodic, patch) <= radius)

    def placement(self, *, bond: object = None, block: object = None) -> dict[str, Any]:  # type: ignore[override]
        if bond is not None and block is not None:
            raise InputError("A is set by bond=((i, j), (k, l)) or by block=(i, j), got both; give one of them")
        if block is not None:
            return {"block": block}
        i, j = ((n - 1) // 2 for n in self.faces)
        return {"bond": [[i, j], [i, j + 1]] if bond is None else bond}

    def transition(self, channel: Channel) -> Transition | None:
        """Return where the loops' long-range order is lost; None for a beta > 0 at which no value is known exactly."""
        if self.beta == 0.0 and isinstance(channel, Erasure):
            return Transition(0.5, "critical", "bond percolation, Kesten (1980): exact")
        if self.beta == 0.0 and isinstance(channel, BitFlip):
            return Transition(2 * P_STAR, "critical", "p* = 0.10919(7), Hasenbusch et al. (2008), arXiv:0803.0444")
        if self.beta == 0.0 and is_gaussian(channel):
            time = channel.time(SIGMA_STAR**-2)
            return Transition(time, "critical", "sigma/alpha = 0.978694, duality (a conjecture); numerically 0.979")
        if is_gaussian(channel) and abs(self.beta - BETA_CRITICAL) < 1e-6:
            time = channel.time(self.beta)
            return Transition(time, "critical", "sigma/alpha = beta_c^(-1/2), Puetz et al. (2025), arXiv:2504.12385")
        return None

    def prefactor_exponent(self, channel: Channel, t: float) -> tuple[float, float]:
        """Return between which values p lies in I(r) ~ r^-p exp(-r/xi), equal where it is known.

        Before the transition a line of errors must cross the box through A: two independent arms, each with its end
        anywhere on the face, p = 0. Beyond it what C knows of A comes in along one line and goes out along another
        that it must not meet, p = 3/2 (two vicious walkers that part and meet again). Under erasure both are paths of
        percolation, and self-duality gives both sides one xi(t) = xi(1 - t); for other noise it is the leading order
        of the expansions in weak and in strong noise. At t* of erasure I ~ r^(-5/4). For beta > 0, and where the
        transition is not known, p is between the two.
        """
        transition = self.transition(channel) if self.beta == 0.0 else None
        if transition is None:
            return 0.0, 1.5
        if t == transition.time:
            return (1.25, 1.25) if isinstance(channel, Erasure) else (0.0, 1.5)
        return (0.0, 0.0) if t < transition.time else (1.5, 1.5)


def _signs(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int8]:
    return (2 * rng.integers(0, 2, size=shape, dtype=np.int8) - 1).astype(np.int8)
