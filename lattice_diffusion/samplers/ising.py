"""Clean Ising configurations by whichever method fits: perfect where possible, cluster updates beyond."""

from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..exact.chain import ChainSolver
from ..exact.transfer_matrix import MAX_WIDTH, TransferMatrix
from ..lattice import Lattice
from .checks import check_beta, check_n_samples
from .clusters import swendsen_wang, wolff
from .heat_bath import heat_bath_chain
from .perfect import coupling_from_the_past

IsingMethod = Literal["auto", "transfer_matrix", "swendsen_wang", "wolff", "heat_bath", "coupling_from_the_past"]


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
        method: "transfer_matrix" (perfect, independent; chains, and open lattices with a shorter side <= 14);
            "coupling_from_the_past" (perfect, independent, slow towards and below the critical temperature);
            "swendsen_wang", "wolff" (cluster updates, one Markov chain, thinned) or "heat_bath" (single-site
            updates, the slow reference); "auto" is the first where it applies and "swendsen_wang" beyond.
        burn_in, thin: updates before the first and between samples of a Markov chain, by default enough for its
            relaxation at the critical point; `integrated_autocorrelation_time` measures what is left.

    Raises:
        ValueError: bad beta, n_samples or method, or no transfer matrix for this lattice.
    """
    check_beta(beta)
    check_n_samples(n_samples)
    if method not in get_args(IsingMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(IsingMethod))}, got {method!r}")
    open_planar = lattice.ndim == 2 and not any(lattice.periodic)
    if method == "auto":
        perfect = lattice.ndim == 1 or (open_planar and min(lattice.shape) <= MAX_WIDTH)
        method = "transfer_matrix" if perfect else "swendsen_wang"
    if method == "transfer_matrix":
        if lattice.ndim == 1:
            return ChainSolver(lattice.n_sites, beta, lattice.periodic[0]).sample(n_samples, rng)
        if not open_planar:
            raise ValueError("the transfer matrix needs an open 2D lattice or a chain; use method='swendsen_wang'")
        return uniform_transfer_matrix((lattice.shape[0], lattice.shape[1]), beta).sample(n_samples, rng)
    if method == "coupling_from_the_past":
        return coupling_from_the_past(lattice, beta, n_samples, rng)
    if method == "heat_bath":
        return heat_bath_chain(lattice, beta, n_samples, rng, burn_in, thin)
    chain = swendsen_wang if method == "swendsen_wang" else wolff
    return chain(lattice, beta, n_samples, rng, burn_in=burn_in, thin=thin)
