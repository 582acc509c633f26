"""Swendsen-Wang samples of Potts models on any lattice."""

import numpy as np
from numpy.typing import NDArray

from ..exact.tokens import token_type
from ..kernels import potts as kernel
from ..lattice import Lattice, Rng
from .chains import Schedule, check_n_samples, check_schedule


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
    """
    rng = np.random.default_rng(rng)
    burn_in, thin = check_schedule(lattice, Schedule(burn_in, thin))
    out = np.empty((check_n_samples(n_samples, 2 * lattice.n_sites), lattice.n_sites), token_type(q))
    tokens = rng.integers(0, q, lattice.n_sites)
    for n in range(n_samples):
        sweeps = thin if n else burn_in + thin
        kernel.swendsen_wang(tokens, lattice.bonds, -np.expm1(-coupling), q, sweeps, rng)
        out[n] = tokens
    return out.reshape(n_samples, *lattice.shape)
