"""The methods of `ising` and `stream` by name, and which of them takes which lattice and field."""

from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check_memory
from ..exact.chain import ChainSolver
from ..exact.transfer_matrix import MAX_WIDTH, TransferMatrix
from ..lattice import Lattice
from .chains import Chain, Perfect, Source, Spins, check_schedule
from .checks import check_beta
from .clusters import swendsen_wang_chain, wolff_chain
from .heat_bath import heat_bath_chain
from .multispin import Strips, multispin_chain
from .perfect import PastCoupling
from .posterior import posterior_chain

IsingMethod = Literal[
    "auto", "transfer_matrix", "swendsen_wang", "wolff", "heat_bath", "multispin", "coupling_from_the_past"
]
TAKES_FIELD = ("swendsen_wang", "heat_bath", "coupling_from_the_past")
PERFECT = ("transfer_matrix", "coupling_from_the_past")


@lru_cache(maxsize=4)
def uniform_transfer_matrix(shape: tuple[int, int], beta: float) -> TransferMatrix:
    """The solution of the open L x W ferromagnet; kept, since models and samplers share it."""
    L, W = shape
    vectors = 16.0 * max(shape) * 2 ** min(*shape, MAX_WIDTH)
    check_memory("lattice", 100.0 * L * W + vectors, "take a smaller one")
    return TransferMatrix(np.full((L, W - 1), beta), np.full((L - 1, W), beta))


def resolve(lattice: Lattice, beta: float, method: IsingMethod, field: ArrayLike) -> tuple[IsingMethod, bool]:
    """The method that "auto" stands for, and whether there is a field; raises ValueError for what does not fit."""
    check_beta(beta)
    if method not in get_args(IsingMethod):
        raise InputError(f"method must be one of {', '.join(get_args(IsingMethod))}, got {method!r}")
    in_field = bool(np.any(field))
    if in_field and method not in ("auto", *TAKES_FIELD):
        raise InputError(f"method {method!r} takes no field; in a field use auto or one of {', '.join(TAKES_FIELD)}")
    open_planar = lattice.ndim == 2 and not any(lattice.periodic)
    if method == "auto" and in_field:
        return ("swendsen_wang" if np.ndim(field) == 0 else "heat_bath"), True
    if method == "auto":
        perfect = lattice.ndim == 1 or (open_planar and min(lattice.shape) <= MAX_WIDTH)
        return ("transfer_matrix" if perfect else "swendsen_wang"), False
    if method == "transfer_matrix" and not (lattice.ndim == 1 or open_planar):
        raise InputError("the transfer matrix needs an open 2D lattice or a chain; use method='swendsen_wang'")
    return method, in_field


def open_source(
    lattice: Lattice,
    beta: float,
    rng: np.random.Generator,
    method: IsingMethod,
    field: ArrayLike = 0.0,
    burn_in: int | None = None,
    thin: int | None = None,
) -> Source:
    """What `method` draws from: a chain that has burnt in, or perfect samples, which need no burn_in and thin."""
    method, in_field = resolve(lattice, beta, method, field)
    if method == "transfer_matrix":
        solver = (
            ChainSolver(lattice.n_sites, beta, lattice.periodic[0])
            if lattice.ndim == 1
            else uniform_transfer_matrix((lattice.shape[0], lattice.shape[1]), beta)
        )
        return Perfect(lambda n: solver.sample(n, rng))
    if method == "coupling_from_the_past":
        return PastCoupling(lattice, beta, rng, field)
    if method == "heat_bath" and in_field:
        return posterior_chain(lattice, beta, rng, field, burn_in, thin)
    if method == "heat_bath":
        return heat_bath_chain(lattice, beta, rng, burn_in, thin)
    if method == "multispin":
        return _multispin(lattice, beta, rng, burn_in, thin)
    if method == "wolff":
        return wolff_chain(lattice, beta, rng, burn_in, thin)
    return swendsen_wang_chain(lattice, beta, rng, field, burn_in, thin)


def _multispin(lattice: Lattice, beta: float, rng: np.random.Generator, burn_in: int | None, thin: int | None) -> Chain:
    """Heat bath in 64 strips where the lattice allows it, else 64 replicas; each sample with a fair overall sign."""
    burn_in, thin = check_schedule(lattice, burn_in, thin, exponent=2.0)
    n_replicas = 1 if Strips.takes(lattice) else 64
    chain = multispin_chain(lattice, beta, burn_in, rng, "heat_bath", n_replicas=n_replicas)
    signs = (n_replicas, *(1,) * lattice.ndim)

    def spins() -> Spins:
        sign: NDArray[np.int8] = rng.integers(0, 2, signs, np.int8) * np.int8(2) - np.int8(1)
        return chain.spins() * sign

    return Chain(lattice.shape, chain.sweep, spins, burn_in, thin, n_replicas)
