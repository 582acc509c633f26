"""Cluster Monte Carlo: Swendsen-Wang for any couplings and fields, and Wolff; little critical slowing down."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..kernels import clusters as kernel
from ..lattice import Lattice
from .checks import check_n_samples
from .couplings import Couplings, bond_thresholds, check_schedule, generator_state, relaxation_sweeps


def swendsen_wang(
    lattice: Lattice,
    couplings: ArrayLike,
    n_samples: int,
    rng: np.random.Generator,
    fields: ArrayLike = 0.0,
    *,
    burn_in: int | None = None,
    thin: int | None = None,
) -> NDArray[np.int8]:
    """One Markov chain for p(s) ~ exp(sum J_ij s_i s_j + sum h_i s_i), int8 (n_samples, *lattice.shape).

    Satisfied bonds are kept with probability 1 - exp(-2 |J_ij|), and every cluster they form gets a fair sign
    (Swendsen and Wang 1987); a field is a bond to a ghost spin. A uniform square ferromagnet without field runs
    64 spins per word. Frustration and strong random fields slow it down: `posterior` takes those.

    Args:
        couplings: J, one number (beta of a ferromagnet) or one per row of `lattice.bonds`.
        fields: h, one number or an array of lattice.shape; +-inf clamps a spin.
        burn_in, thin: sweeps before the first and between samples; by default 20 sqrt(L) and sqrt(L), L the
            longest side: the Li-Sokal bound on the critical relaxation of ferromagnets in 2D and 3D.

    Raises:
        ValueError: couplings or fields of a wrong shape or value, bad n_samples, burn_in or thin.
    """
    model = Couplings.on(lattice, couplings, fields)
    check_n_samples(n_samples)
    burn_in, thin = check_schedule(lattice, burn_in, thin)
    uniform = len(model.J) > 0 and model.J[0] >= 0.0 and bool(np.ptp(model.J) == 0.0)
    if lattice.ndim == 2 and uniform and not model.h.any():
        return _square(lattice, float(model.J[0]), n_samples, rng, burn_in, thin)
    sites = np.arange(1, lattice.n_sites + 1)
    bonds = np.concatenate([lattice.bonds + 1, np.stack([np.zeros_like(sites), sites], axis=1)])
    strength = np.concatenate([model.J, model.h])
    bonds, strength = bonds[strength != 0.0], strength[strength != 0.0]
    spins = np.concatenate([np.ones(1, np.int8), model.start(rng)])
    arguments = bonds, strength, bond_thresholds(strength)
    state = generator_state(rng)
    out = np.empty((n_samples, lattice.n_sites), np.int8)
    kernel.swendsen_wang_bonds(spins, *arguments, burn_in, state)
    for sample in out:
        kernel.swendsen_wang_bonds(spins, *arguments, thin, state)
        sample[:] = spins[1:]
    return out.reshape(n_samples, *lattice.shape)


def _square(
    lattice: Lattice, beta: float, n_samples: int, rng: np.random.Generator, burn_in: int, thin: int
) -> NDArray[np.int8]:
    n_rows, width = lattice.shape
    coins = rng.integers(0, 2, (n_rows, 64 * -(-width // 64)), dtype=np.uint8)
    coins[:, width:] = 0
    words = np.packbits(coins, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    wrap_rows, wrap_columns = lattice.periodic
    arguments = width, wrap_rows, wrap_columns, bond_thresholds(np.array([beta]))[0]
    state = generator_state(rng)
    out = np.empty((n_samples, n_rows, width), np.int8)
    kernel.swendsen_wang_square(words, *arguments, burn_in, state)
    for sample in out:
        kernel.swendsen_wang_square(words, *arguments, thin, state)
        up = np.unpackbits(words.astype("<u8").view(np.uint8), axis=1, count=width, bitorder="little")
        np.subtract(2 * up.view(np.int8), 1, out=sample)
    return out


def wolff(
    lattice: Lattice,
    couplings: ArrayLike,
    n_samples: int,
    rng: np.random.Generator,
    *,
    burn_in: int | None = None,
    thin: int | None = None,
) -> NDArray[np.int8]:
    """One Markov chain for p(s) ~ exp(sum J_ij s_i s_j), int8 (n_samples, *lattice.shape), one cluster at a time.

    A cluster grown from a random site over satisfied bonds, each taken with probability 1 - exp(-2 |J_ij|), is
    flipped (Wolff 1989). The number of clusters between samples is fixed: stopping once enough spins have
    flipped would favour the states after large clusters.

    Args:
        couplings: J, one number (beta of a ferromagnet) or one per row of `lattice.bonds`.
        burn_in: clusters before the first sample; by default until each spin has flipped 20 sqrt(L) times on
            average, L the longest side.
        thin: clusters between samples; by default as many as flipped sqrt(L) spins per site on average during
            the burn-in.

    Raises:
        ValueError: couplings of a wrong shape or value, bad n_samples, burn_in or thin; thin is left out with
            burn_in = 0.
    """
    model = Couplings.on(lattice, couplings)
    check_n_samples(n_samples)
    check_schedule(lattice, burn_in, thin)
    if thin is None and burn_in == 0:
        raise ValueError("thin is measured during the burn-in, which was 0; give thin")
    thresholds = bond_thresholds(model.neighbor_J)
    spins, state = model.start(rng), generator_state(rng)

    def advance(n_clusters: int) -> int:
        return int(kernel.wolff(spins, model.neighbors, model.neighbor_J, thresholds, n_clusters, state))

    if burn_in is None:
        n_flipped, burn_in = 0, 0
        while n_flipped < 20 * relaxation_sweeps(lattice) * lattice.n_sites:
            burn_in += 64
            n_flipped += advance(64)
    else:
        n_flipped = advance(burn_in)
    if thin is None:
        thin = math.ceil(relaxation_sweeps(lattice) * lattice.n_sites * burn_in / n_flipped)
    out = np.empty((n_samples, lattice.n_sites), np.int8)
    for sample in out:
        advance(thin)
        sample[:] = spins
    return out.reshape(n_samples, *lattice.shape)
