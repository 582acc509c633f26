"""What all samplers share: checks of arguments, couplings and fields on a lattice, and a chain that is sampled.

Spin models are p(s) ~ exp(sum J_ij s_i s_j + sum h_i s_i); temperature is part of J and h. J is one number or one per
row of `lattice.bonds`; h is one number or an array of `lattice.shape`, and h_i = +-inf clamps spin i, which is what
`channel.likelihood_field` gives for a certain spin.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import errors
from ..errors import InputError
from ..lattice import Lattice, check_lattice

Spins = NDArray[np.int8]
Betas = float | Sequence[float]  # for all axes, or one by one
MAX_UPDATES = 10**9  # in one go, during which nothing can interrupt


class Schedule(NamedTuple):
    """Updates before and between samples, None for the default; free spins start at random (0) or all alike (1, -1)."""

    burn_in: int | None = None
    thin: int | None = None
    start: int = 0


# -- arguments ----------------------------------------------------------------------------------------------------


def check_beta(beta: float) -> float:
    """Return beta as a float. Raise InputError if it is negative or not finite."""
    if not 0.0 <= beta < np.inf:
        raise InputError(f"beta must be finite and >= 0, got {beta}; for an antiferromagnet flip one sublattice")
    return float(beta)


def check_coupling(coupling: float) -> float:
    """Return the coupling of a Potts model as a float. Raise InputError if it is negative or not finite."""
    if not 0.0 <= coupling < np.inf:
        raise InputError(f"coupling must be finite and >= 0, got {coupling}")
    return float(coupling)


def check_betas(lattice: Lattice, beta: Betas) -> tuple[float, ...]:
    """Return beta along each axis, given for all or one by one. Raise InputError if it does not fit."""
    if np.ndim(beta) == 0:
        return (check_beta(beta),) * lattice.ndim  # type: ignore[arg-type]
    betas = tuple(check_beta(b) for b in beta)  # type: ignore[union-attr]
    if len(betas) != lattice.ndim:
        raise InputError(f"beta must be one number or one for each of {lattice.ndim} axes, got {len(betas)}")
    return betas


def axis_couplings(lattice: Lattice, betas: Sequence[float]) -> NDArray[np.float64]:
    """Return the coupling of each row of `lattice.bonds` from one for each axis."""
    lengths = zip(lattice.shape, lattice.periodic, strict=True)
    return np.repeat(betas, [lattice.n_sites // n * (n if flag else n - 1) for n, flag in lengths])


def check_n_samples(n_samples: int, sample_bytes: float = 0.0, name: str = "n_samples") -> int:
    """Return n_samples. Raise InputError unless it is a positive integer and so many samples fit into memory."""
    if not isinstance(n_samples, int | np.integer) or n_samples < 1:
        raise InputError(f"{name} must be a positive integer, got {errors.shown(n_samples)}")
    check_memory(int(n_samples) * sample_bytes)
    return int(n_samples)


def check_memory(n_bytes: float) -> None:
    """Raise InputError for an output larger than the memory that this machine has available."""
    errors.check_memory("n_samples", n_bytes, "draw smaller batches, one after the other")


def relaxation_sweeps(lattice: Lattice, exponent: float = 0.5) -> int:
    """Return L^exponent sweeps, L the longest side: the order of the critical relaxation time."""
    return math.ceil(max(lattice.shape) ** exponent)


def check_schedule(lattice: Lattice, schedule: Schedule, exponent: float = 0.5) -> tuple[int, int]:
    """Return burn_in and thin, by default 20 L^exponent and L^exponent. Raise InputError if they are out of range."""
    relaxation = relaxation_sweeps(lattice, exponent)
    burn_in = 20 * relaxation if schedule.burn_in is None else schedule.burn_in
    thin = relaxation if schedule.thin is None else schedule.thin
    integers = isinstance(burn_in, int | np.integer) and isinstance(thin, int | np.integer)
    if not integers or not 0 <= burn_in <= MAX_UPDATES or not 1 <= thin <= MAX_UPDATES:
        raise InputError(f"burn_in must be >= 0 and thin >= 1, integers <= {MAX_UPDATES:,}, got {burn_in} and {thin}")
    return int(burn_in), int(thin)


def block_rng(seed: int, block: int) -> np.random.Generator:
    """Return the generator of one block of a long series: the block-th that `SeedSequence(seed)` spawns."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(block,)))


def generator_state(rng: np.random.Generator) -> NDArray[np.uint64]:
    """Return 256 fresh bits for the kernels' own xoshiro256++."""
    return rng.integers(0, 2**64, 4, dtype=np.uint64)


# -- couplings ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Couplings:
    """Validated J (n_bonds,) and h (n_sites,), and the neighbour tables that kernels read."""

    lattice: Lattice
    J: NDArray[np.float64]
    h: NDArray[np.float64]

    @classmethod
    def on(cls, lattice: Lattice, couplings: ArrayLike, field: ArrayLike = 0.0) -> "Couplings":
        """Return the couplings; raise InputError for wrong shapes, infinite couplings and fields that are NaN."""
        check_lattice(lattice)
        J, h = np.asarray(couplings, float), np.asarray(field, float)
        n_bonds = len(lattice.bonds)
        if J.shape not in ((), (n_bonds,)):
            raise InputError(
                f"couplings must be a number or one for each of {n_bonds} lattice.bonds, got shape {J.shape}"
            )
        if not np.isfinite(J).all():
            raise InputError(f"couplings must be finite, got {J[~np.isfinite(J)].flat[0]}; clamp spins by fields +-inf")
        if h.shape not in ((), lattice.shape):
            raise InputError(f"field must be one number or an array of shape {lattice.shape}, got shape {h.shape}")
        if np.isnan(h).any():
            raise InputError("field must hold numbers, or +-inf to clamp a spin, got nan")
        J, h = np.broadcast_to(J, (n_bonds,)), np.broadcast_to(h, lattice.shape).ravel()
        return cls(lattice, J, h)

    @cached_property
    def _tables(self) -> NDArray[np.int64]:
        return neighbor_tables(self.lattice)

    @property
    def neighbors(self) -> NDArray[np.uint32]:
        """Flat indices of neighbours (N, 2 d), i itself beyond an open edge."""
        table = self._tables[0]
        return np.where(table >= 0, table, np.arange(len(table))[:, None]).astype(np.uint32)

    @property
    def neighbor_J(self) -> NDArray[np.float64]:
        """Couplings to the neighbours (N, 2 d), 0 beyond an open edge."""
        return np.append(self.J, 0.0)[self._tables[1]]

    @property
    def clamped(self) -> NDArray[np.bool_]:
        return np.isinf(self.h)

    @property
    def heat_bath_tables(self) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Sites that are not clamped, even ones first, neighbours, couplings to them, and fields of free sites."""
        order = checkerboard_order(self.lattice)
        free_order = order[~self.clamped[order]].astype(np.uint32)
        return free_order, self.neighbors, self.neighbor_J, np.where(self.clamped, 0.0, self.h)

    def start(self, rng: np.random.Generator, shape: tuple[int, ...] = (), sign: int = 0) -> NDArray[np.int8]:
        """Return fair coins on free sites, or `sign` where it is not 0, (*shape, N) int8."""
        coins = rng.random((*shape, self.lattice.n_sites)) < 0.5 * (1 + sign)
        return np.where(self.clamped, self.h > 0, coins).astype(np.int8) * 2 - 1


def neighbor_tables(lattice: Lattice) -> NDArray[np.int64]:
    """Return flat neighbour indices and the rows of `lattice.bonds` to them, (2, N, 2 d), -1 beyond an open edge."""
    bonds, n_bonds = lattice.bonds, len(lattice.bonds)
    first, second = np.concatenate([bonds, bonds[:, ::-1]]).T
    order, degree = np.argsort(first, kind="stable"), np.bincount(first, minlength=lattice.n_sites)
    slot = np.arange(2 * n_bonds) - np.repeat(np.cumsum(degree) - degree, degree)
    tables = np.full((2, lattice.n_sites, 2 * lattice.ndim), -1)
    tables[:, first[order], slot] = second[order], order % max(1, n_bonds)
    return tables


def checkerboard_order(lattice: Lattice) -> NDArray[np.int64]:
    """Return even sites, then odd ones; any fixed order of single-site heat baths leaves p invariant."""
    parity = np.indices(lattice.shape).sum(axis=0).ravel() % 2
    return np.argsort(parity, kind="stable")


# -- chains -------------------------------------------------------------------------------------------------------


class Source(Protocol):
    """Something that samples are drawn from: `draw(n)` returns the next n, int8 (n, *lattice.shape)."""

    def draw(self, n: int) -> Spins: ...


class Perfect:
    """Independent samples of the law itself, by `draw`."""

    def __init__(self, draw: Callable[[int], Spins]) -> None:
        self.draw = draw


class Chain:
    """A chain, or `n_replicas` side by side, that has burnt in, sampled every `thin` updates.

    Samples come time after time, the replicas of one time in a row: sample k is of replica k mod n_replicas.

    Args:
        shape: of the lattice.
        advance: makes so many updates of the state, in place.
        spins: returns the present configurations, (n_replicas, *shape).
        burn_in, thin: updates made so far, and those between samples.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        advance: Callable[[int], object],
        spins: Callable[[], Spins],
        burn_in: int,
        thin: int,
        n_replicas: int = 1,
    ) -> None:
        self.shape, self.burn_in, self.thin, self.n_replicas = shape, burn_in, thin, n_replicas
        self._advance, self._spins = advance, spins
        self._left = np.empty((0, *shape), np.int8)  # replicas of the latest time that are still to be given

    def draw(self, n: int) -> Spins:
        out = np.empty((n, *self.shape), np.int8)
        filled = 0
        while filled < n:
            if not len(self._left):
                self._advance(self.thin)
                self._left = self._spins()
            taken = self._left[: n - filled]
            out[filled : filled + len(taken)] = taken
            self._left = self._left[len(taken) :]
            filled += len(taken)
        return out
