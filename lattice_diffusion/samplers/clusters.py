"""Cluster Monte Carlo: Swendsen-Wang for any couplings and fields, and for Potts models, and Wolff."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..channels import check_symbols
from ..errors import InputError
from ..exact.tokens import token_type
from ..kernels import clusters as kernel
from ..kernels import heat_bath
from ..kernels import potts as potts_kernel
from ..lattice import Lattice, Rng, check_lattice
from .chains import (
    Chain,
    Couplings,
    Schedule,
    Spins,
    check_coupling,
    check_n_samples,
    check_schedule,
    generator_state,
    relaxation_sweeps,
)


def swendsen_wang(
    lattice: Lattice,
    couplings: ArrayLike,
    n_samples: int,
    rng: Rng = None,
    *,
    field: ArrayLike = 0.0,
    burn_in: int | None = None,
    thin: int | None = None,
) -> NDArray[np.int8]:
    """Return samples of p(s) ~ exp(sum J_ij s_i s_j + sum h_i s_i) from one chain, int8 (n_samples, *lattice.shape).

    Satisfied bonds are kept with probability 1 - exp(-2 |J_ij|), and every cluster they form gets a fair sign
    (Swendsen and Wang 1987); a field is a bond to a ghost spin. A uniform square ferromagnet without field runs
    64 spins per word. Fields of both signs, which lock clusters, get a heat-bath sweep after each of these; frustration
    and strong random couplings slow it down: `heat_bath` and `replica_exchange` take those.

    Args:
        couplings: J, one number (beta of a ferromagnet) or one per row of `lattice.bonds`.
        field: h, one number or an array of lattice.shape; +-inf clamps a spin.
        burn_in, thin: sweeps before the first and between samples; by default 20 sqrt(L) and sqrt(L), L the
            longest side: the Li-Sokal bound on the critical relaxation of ferromagnets in 2D and 3D.
    """
    n_samples = check_n_samples(n_samples, lattice.n_sites)
    chain = swendsen_wang_chain(lattice, couplings, np.random.default_rng(rng), field, Schedule(burn_in, thin))
    return chain.draw(n_samples)


def swendsen_wang_chain(
    lattice: Lattice, couplings: ArrayLike, rng: np.random.Generator, field: ArrayLike, schedule: Schedule
) -> Chain:
    model = Couplings.on(lattice, couplings, field)
    burn_in, thin = check_schedule(lattice, schedule)
    uniform = len(model.J) > 0 and model.J[0] >= 0.0 and bool(np.ptp(model.J) == 0.0)
    if lattice.ndim == 2 and uniform and not model.h.any():
        return _square(lattice, float(model.J[0]), rng, schedule)
    sites = np.arange(1, lattice.n_sites + 1)
    bonds = np.concatenate([lattice.bonds + 1, np.stack([np.zeros_like(sites), sites], axis=1)])
    strength = np.concatenate([model.J, model.h])
    bonds, strength = bonds[strength != 0.0], strength[strength != 0.0]
    spins = np.concatenate([np.ones(1, np.int8), model.start(rng, sign=schedule.start)])
    arguments = bonds, strength, bond_thresholds(strength)
    tables, state = model.heat_bath_tables, generator_state(rng)
    two_signs = bool((model.h > 0.0).any() and (model.h < 0.0).any())

    def advance(n_sweeps: int) -> None:
        if not two_signs:
            kernel.swendsen_wang_bonds(spins, *arguments, n_sweeps, state)
            return
        for _ in range(n_sweeps):
            kernel.swendsen_wang_bonds(spins, *arguments, 1, state)
            heat_bath.sweeps(spins[1:], *tables, 1, state)

    advance(burn_in)
    return Chain(lattice.shape, advance, lambda: spins[1:].reshape(1, *lattice.shape), burn_in, thin)


def _square(lattice: Lattice, beta: float, rng: np.random.Generator, schedule: Schedule) -> Chain:
    (burn_in, thin), (n_rows, width) = check_schedule(lattice, schedule), lattice.shape
    coins = rng.integers(0, 2, (n_rows, 64 * -(-width // 64)), dtype=np.uint8)
    if schedule.start:
        coins[:] = schedule.start > 0
    coins[:, width:] = 0
    words = np.packbits(coins, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    wrap_rows, wrap_columns = lattice.periodic
    arguments = width, wrap_rows, wrap_columns, bond_thresholds(np.array([beta]))[0]
    state = generator_state(rng)

    def advance(n_sweeps: int) -> None:
        kernel.swendsen_wang_square(words, *arguments, n_sweeps, state)

    def spins() -> Spins:
        up = np.unpackbits(words.astype("<u8").view(np.uint8), axis=1, count=width, bitorder="little")
        return 2 * up.view(np.int8)[None] - np.int8(1)

    advance(burn_in)
    return Chain(lattice.shape, advance, spins, burn_in, thin)


def wolff(
    lattice: Lattice,
    couplings: ArrayLike,
    n_samples: int,
    rng: Rng = None,
    *,
    burn_in: int | None = None,
    thin: int | None = None,
) -> NDArray[np.int8]:
    """Return samples of p(s) ~ exp(sum J_ij s_i s_j) from one chain that flips one cluster at a time, int8.

    A cluster grown from a random site over satisfied bonds, each taken with probability 1 - exp(-2 |J_ij|), is
    flipped (Wolff 1989). Every sample gets a fair overall sign, which clusters as large as the lattice would freeze.
    The number of clusters between samples is fixed: stopping once enough spins have flipped would favour the states
    after large clusters.

    Args:
        couplings: as in `swendsen_wang`.
        burn_in: clusters before the first sample; by default until each spin has flipped 20 sqrt(L) times on
            average, L the longest side.
        thin: clusters between samples; by default as many as flipped sqrt(L) spins per site on average during
            the burn-in, which must then not be 0.
    """
    n_samples = check_n_samples(n_samples, lattice.n_sites)
    return wolff_chain(lattice, couplings, np.random.default_rng(rng), Schedule(burn_in, thin)).draw(n_samples)


def wolff_chain(lattice: Lattice, couplings: ArrayLike, rng: np.random.Generator, schedule: Schedule) -> Chain:
    model = Couplings.on(lattice, couplings)
    check_schedule(lattice, schedule)
    burn_in, thin = (None if n is None else int(n) for n in (schedule.burn_in, schedule.thin))
    if thin is None and burn_in == 0:
        raise InputError("thin is measured during the burn-in, which was 0; give thin")
    tables = model.neighbors, model.neighbor_J, bond_thresholds(model.neighbor_J)
    spins, state = model.start(rng, sign=schedule.start), generator_state(rng)

    def advance(n_clusters: int) -> int:
        return int(kernel.wolff(spins, *tables, n_clusters, state))

    if burn_in is None:
        n_flipped, burn_in = 0, 0
        while n_flipped < 20 * relaxation_sweeps(lattice) * lattice.n_sites:
            burn_in += 64
            n_flipped += advance(64)
    else:
        n_flipped = advance(burn_in)
    if thin is None:
        thin = math.ceil(relaxation_sweeps(lattice) * lattice.n_sites * burn_in / n_flipped)

    def sample() -> Spins:
        return (spins if rng.random() < 0.5 else -spins).reshape(1, *lattice.shape)

    return Chain(lattice.shape, advance, sample, burn_in, thin)


def bond_thresholds(J: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return (1 - exp(-2 |J|)) 2^64, the probability of a cluster bond as a 64-bit integer."""
    p = -np.expm1(-2.0 * np.abs(J))
    # 2^64 - 2048 is the largest float below 2^64
    threshold = np.minimum(p * 2.0**64, 2.0**64 - 2048).astype(np.uint64)
    threshold[p == 1.0] = 2**64 - 1
    return threshold


def potts(
    lattice: Lattice,
    coupling: float,
    q: int,
    n_samples: int,
    rng: Rng = None,
    *,
    burn_in: int | None = None,
    thin: int | None = None,
) -> NDArray[np.unsignedinteger]:
    """Return samples of p(s) ~ exp(J sum_<ij> delta(s_i, s_j)), (n_samples, *lattice.shape), from one chain.

    Equal neighbours are joined with probability 1 - exp(-J), and every cluster takes a uniform symbol (Swendsen and
    Wang 1987). At the critical point of q > 4, where the transition is of first order, chains stay in one phase for
    times that grow exponentially with the side.

    Args:
        coupling: J >= 0.
        burn_in, thin: sweeps before the first sample and between samples; by default 20 and 1 times sqrt(L).

    Raises InputError for another coupling, or q that is no integer from 2 to 65,536.
    """
    check_lattice(lattice)
    coupling, q, rng = check_coupling(coupling), check_symbols(q), np.random.default_rng(rng)
    burn_in, thin = check_schedule(lattice, Schedule(burn_in, thin))
    out = np.empty((check_n_samples(n_samples, 2 * lattice.n_sites), lattice.n_sites), token_type(q))
    tokens = rng.integers(0, q, lattice.n_sites)
    for n in range(n_samples):
        sweeps = thin if n else burn_in + thin
        potts_kernel.swendsen_wang(tokens, lattice.bonds, -np.expm1(-coupling), q, sweeps, rng)
        out[n] = tokens
    return out.reshape(n_samples, *lattice.shape)
