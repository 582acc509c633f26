"""Hypercubic lattices, and their division into a patch A, a buffer B around it and the rest C."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, check_memory

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Rng = np.random.Generator | int | None  # what every public function takes: a generator, a seed, None for fresh entropy
MAX_AXES = 16  # so that there is room for samples, channels and times


@dataclass(frozen=True, eq=False)
class Tripartition:
    """Division of the sites into A, B and C: disjoint boolean masks of one shape, A not empty.

    B and C may be empty (then I(A;C|B) is I(A;C), or 0); sites in none of the three are unobserved.
    """

    A: BoolArray
    B: BoolArray
    C: BoolArray

    def __post_init__(self) -> None:
        masks = (self.A, self.B, self.C)
        if any(np.asarray(mask).dtype != np.bool_ for mask in masks):
            raise InputError("A, B and C must be boolean masks; use mask.astype(bool)")
        if not self.A.shape == self.B.shape == self.C.shape:
            raise InputError(f"A, B and C must have one shape, got {self.A.shape}, {self.B.shape}, {self.C.shape}")
        if not self.A.any():
            raise InputError("A must hold at least one site, got an empty mask")
        if np.any(self.A & self.B) or np.any(self.A & self.C) or np.any(self.B & self.C):
            raise InputError("A, B and C must be disjoint, got masks that share sites")

    @classmethod
    def from_sizes(cls, a: int, b: int, c: int) -> "Tripartition":
        """Return the first a, next b and last c of a + b + c sites, for models where only numbers matter."""
        a, b, c = index(a), index(b), index(c)
        if a < 1 or b < 0 or c < 0:
            raise InputError(f"sizes must be a >= 1, b >= 0, c >= 0, got {a}, {b}, {c}")
        check_memory("a + b + c", 11 * (a + b + c), "take fewer sites")
        label = np.repeat([0, 1, 2], [a, b, c])
        return cls(label == 0, label == 1, label == 2)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.A.shape

    @property
    def AB(self) -> BoolArray:
        return self.A | self.B

    @property
    def BC(self) -> BoolArray:
        return self.B | self.C

    @property
    def ABC(self) -> BoolArray:
        return self.A | self.B | self.C


@dataclass(frozen=True)
class Lattice:
    """A d-dimensional square lattice; arrays on it have `shape`, axis by axis periodic or open.

    Args:
        shape: sites along each axis.
        periodic: one flag for all axes, or one for each; a periodic axis needs at least 3 sites.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]

    def __init__(self, shape: int | Sequence[int], periodic: bool | Sequence[bool] = False) -> None:
        shape = tuple(shape) if isinstance(shape, Sequence | np.ndarray) else (shape,)
        if not shape or any(not isinstance(n, int | np.integer) or n < 1 for n in shape):
            raise InputError(f"shape must be positive integers such as (11, 11), got {shape}")
        if len(shape) > MAX_AXES:
            raise InputError(f"shape must have at most {MAX_AXES} axes, got {len(shape)}")
        flags = tuple(periodic) if isinstance(periodic, Sequence | np.ndarray) else (periodic,) * len(shape)
        if len(flags) != len(shape) or any(flag not in (False, True) for flag in flags):
            raise InputError(f"periodic must be True, False, or one of these per axis ({len(shape)}), got {periodic!r}")
        for n, flag in zip(shape, flags, strict=True):
            if flag and n < 3:
                raise InputError(f"a periodic axis needs at least 3 sites, got {n}; make it open or longer")
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        object.__setattr__(self, "periodic", tuple(bool(flag) for flag in flags))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def n_sites(self) -> int:
        return math.prod(self.shape)

    @property
    def center(self) -> tuple[int, ...]:
        """The middle site, L // 2 along each axis."""
        return tuple(n // 2 for n in self.shape)

    @cached_property
    def bonds(self) -> NDArray[np.int64]:
        """Pairs of flat indices of nearest neighbours, (n_bonds, 2), each once."""
        check_memory("shape", 64 * self.ndim * self.n_sites, "take a smaller lattice")  # and what is made of it
        sites = np.arange(self.n_sites).reshape(self.shape)
        pairs = []
        for axis, flag in enumerate(self.periodic):
            start = np.moveaxis(sites, axis, 0)
            stop = np.roll(start, -1, axis=0)
            last = None if flag else -1
            pairs.append(np.stack([start[:last].ravel(), stop[:last].ravel()], axis=1))
        return np.concatenate(pairs)

    def box(self, center: Sequence[int], radius: int, patch: int = 1) -> BoolArray:
        """Return the sites within Chebyshev distance `radius` of the patch of side `patch` around `center`.

        An even patch reaches one site further to larger coordinates. Boxes are cut at open edges and wrap
        around periodic ones.
        """
        center, radius, patch = tuple(np.atleast_1d(center).tolist()), index(radius), index(patch)
        if len(center) != self.ndim or any(x not in range(n) for x, n in zip(center, self.shape, strict=True)):
            raise InputError(f"center must be a site of the {self._name} lattice, 0-based, got {center}")
        if radius < 0:
            raise InputError(f"radius must be >= 0, got {radius}")
        if patch < 1:
            raise InputError(f"patch must be >= 1, got {patch}")
        check_memory("shape", 8 * self.n_sites, "take a smaller lattice")
        mask = np.ones(self.shape, bool)
        for axis, (x, n, flag) in enumerate(zip(center, self.shape, self.periodic, strict=True)):
            start = int(x) - (patch - 1) // 2
            if not flag and not 0 <= start <= n - patch:
                raise InputError(f"the {patch}-site patch around {center} leaves the open {self._name} lattice")
            inside = np.zeros(n, bool)
            if flag:
                inside[np.arange(start - radius, start - radius + min(n, patch + 2 * radius)) % n] = True
            else:
                inside[max(0, start - radius) : start + patch + radius] = True
            mask &= inside.reshape([-1 if a == axis else 1 for a in range(self.ndim)])
        return mask

    def tripartition(self, center: Sequence[int], radius: int, patch: int = 1) -> Tripartition:
        """Return A the patch around `center`, B the box of `radius` around it less A, C all other sites.

        C is empty when the box covers the lattice; the conditional mutual information is then 0.
        """
        A = self.box(center, 0, patch)
        box = self.box(center, radius, patch)
        return Tripartition(A, box & ~A, ~box)

    @property
    def _name(self) -> str:
        return "x".join(str(n) for n in self.shape)


def check_lattice(lattice: Lattice) -> None:
    """Raise InputError for what is no lattice, such as its shape alone."""
    if not isinstance(lattice, Lattice):
        raise InputError(f"lattice must be one such as Lattice((11, 11), periodic=False), got {lattice!r}")
