"""Clean Ising configurations: perfect samples where a transfer matrix fits, heat bath beyond."""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..exact.chain import ChainSolver
from ..exact.transfer_matrix import MAX_WIDTH, TransferMatrix
from ..kernels import heat_bath
from ..lattice import Lattice

IsingMethod = Literal["auto", "transfer_matrix", "heat_bath"]


def check_beta(beta: float) -> float:
    if not 0.0 <= beta < np.inf:
        raise ValueError(f"beta must be finite and >= 0, got {beta}; for an antiferromagnet flip one sublattice")
    return float(beta)


def check_n_samples(n_samples: int) -> int:
    if not isinstance(n_samples, int | np.integer) or n_samples < 1:
        raise ValueError(f"n_samples must be a positive integer, got {n_samples}")
    return int(n_samples)


@lru_cache(maxsize=4)
def uniform_transfer_matrix(shape: tuple[int, int], beta: float) -> TransferMatrix:
    """The solution of the open L x W ferromagnet; kept, since models and samplers share it."""
    L, W = shape
    return TransferMatrix(np.full((L, W - 1), beta), np.full((L - 1, W), beta))


def ising(
    lattice: Lattice,
    beta: float,
    n_samples: int,
    rng: np.random.Generator,
    method: IsingMethod = "auto",
    *,
    burn_in: int | None = None,
    thin: int | None = None,
) -> NDArray[np.int8]:
    """Samples of p(s) ~ exp(beta sum_<ij> s_i s_j), int8 (n_samples, *lattice.shape).

    Args:
        method: "transfer_matrix" (perfect, independent; chains, and open lattices with a shorter side <= 14),
            "heat_bath" (one Markov chain, thinned; neighbouring samples are correlated near and below the
            critical temperature) or "auto", the first where it applies.
        burn_in, thin: heat-bath sweeps before the first and between samples; by default 20 L^2 and L^2 with L
            the longest side, the order of the critical relaxation time. Each sample is flipped with
            probability 1/2, an exact symmetry that local moves restore slowly.

    Raises:
        ValueError: bad beta, n_samples or method, or no transfer matrix for this lattice.
    """
    check_beta(beta)
    check_n_samples(n_samples)
    open_planar = lattice.ndim == 2 and not any(lattice.periodic)
    perfect = lattice.ndim == 1 or (open_planar and min(lattice.shape) <= MAX_WIDTH)
    if method == "auto":
        method = "transfer_matrix" if perfect else "heat_bath"
    if method == "transfer_matrix":
        if lattice.ndim == 1:
            return ChainSolver(lattice.n_sites, beta, lattice.periodic[0]).sample(n_samples, rng)
        if not open_planar:
            raise ValueError("the transfer matrix needs an open 2D lattice or a chain; use method='heat_bath'")
        return uniform_transfer_matrix((lattice.shape[0], lattice.shape[1]), beta).sample(n_samples, rng)
    if method != "heat_bath":
        raise ValueError(f"method must be auto, transfer_matrix or heat_bath, got {method!r}")
    return _heat_bath_chain(lattice, beta, n_samples, rng, burn_in, thin)


def _heat_bath_chain(
    lattice: Lattice,
    beta: float,
    n_samples: int,
    rng: np.random.Generator,
    burn_in: int | None,
    thin: int | None,
) -> NDArray[np.int8]:
    longest = max(lattice.shape)
    burn_in = 20 * longest**2 if burn_in is None else burn_in
    thin = longest**2 if thin is None else thin
    if burn_in < 0 or thin < 1:
        raise ValueError(f"burn_in must be >= 0 and thin >= 1, got {burn_in} and {thin}")
    neighbors = neighbor_table(lattice)
    order = checkerboard_order(lattice)
    spins = np.where(rng.random(lattice.n_sites) < 0.5, 1, -1).astype(np.int8)
    out = np.empty((n_samples, lattice.n_sites), np.int8)
    heat_bath.sweeps(spins, neighbors, order, beta, burn_in, rng)
    for n in range(n_samples):
        heat_bath.sweeps(spins, neighbors, order, beta, thin, rng)
        out[n] = spins if rng.random() < 0.5 else -spins
    return out.reshape(n_samples, *lattice.shape)


def neighbor_table(lattice: Lattice) -> NDArray[np.int64]:
    """(N, 2 d) flat neighbour indices, -1 beyond an open edge."""
    table = np.full((lattice.n_sites, 2 * lattice.ndim), -1)
    filled = np.zeros(lattice.n_sites, int)
    for i, j in lattice.bonds:
        table[i, filled[i]] = j
        table[j, filled[j]] = i
        filled[i] += 1
        filled[j] += 1
    return table


def checkerboard_order(lattice: Lattice) -> NDArray[np.int64]:
    """Even sites, then odd ones; any fixed order of single-site heat baths leaves p invariant."""
    parity = np.indices(lattice.shape).sum(axis=0).ravel() % 2
    return np.argsort(parity, kind="stable")
