"""Random couplings and fields, clamped spins: posteriors p(s | x_t) on any lattice, and tempering where they trap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..kernels import heat_bath as kernel
from ..lattice import Lattice
from .chains import Chain, check_schedule
from .checks import check_memory, check_n_samples
from .couplings import Couplings, generator_state


def posterior(
    lattice: Lattice,
    couplings: ArrayLike,
    fields: ArrayLike,
    n_samples: int,
    rng: np.random.Generator,
    *,
    burn_in: int | None = None,
    thin: int | None = None,
) -> NDArray[np.int8]:
    """One heat-bath chain for p(s) ~ exp(sum J_ij s_i s_j + sum h_i s_i), int8 (n_samples, *lattice.shape).

    With J = beta and h = `channel.likelihood_field(x_t, t)` this is p(s | x_t) of the Ising model. Neighbouring
    samples are correlated: see `integrated_autocorrelation_time`, and `replica_exchange` where the chain is trapped.

    Args:
        couplings: J of either sign, one number or one per row of `lattice.bonds`.
        fields: h, one number or an array of lattice.shape; +-inf clamps a spin.
        burn_in, thin: sweeps before the first and between samples; by default 20 L and L, L the longest side.

    Raises:
        ValueError: couplings or fields of a wrong shape or value, bad n_samples, burn_in or thin.
    """
    check_memory(check_n_samples(n_samples) * lattice.n_sites)
    return posterior_chain(lattice, couplings, rng, fields, burn_in, thin).draw(n_samples)


def posterior_chain(
    lattice: Lattice,
    couplings: ArrayLike,
    rng: np.random.Generator,
    fields: ArrayLike,
    burn_in: int | None,
    thin: int | None,
) -> Chain:
    model = Couplings.on(lattice, couplings, fields)
    burn_in, thin = check_schedule(lattice, burn_in, thin, exponent=1.0)
    arguments = model.free_order, model.neighbors, model.neighbor_J, model.finite_h
    spins, state = model.start(rng), generator_state(rng)

    def advance(n_sweeps: int) -> None:
        kernel.sweeps(spins, *arguments, n_sweeps, state)

    advance(burn_in)
    return Chain(lattice.shape, advance, lambda: spins.reshape(1, *lattice.shape), burn_in, thin)


@dataclass(frozen=True, eq=False)
class Ladder:
    """Samples at every temperature of a replica exchange, and how often neighbours swapped."""

    betas: NDArray[np.float64]  # (K,)
    samples: NDArray[np.int8]  # (n_samples, K, *lattice.shape), [:, k] at betas[k]
    swap_rate: NDArray[np.float64]  # (K-1,), accepted fraction between betas[k] and betas[k+1]


def replica_exchange(
    lattice: Lattice,
    couplings: ArrayLike,
    fields: ArrayLike,
    betas: Sequence[float],
    n_samples: int,
    rng: np.random.Generator,
    *,
    burn_in: int | None = None,
    thin: int | None = None,
) -> Ladder:
    """Replicas of p_k(s) ~ exp(beta_k (sum J_ij s_i s_j + sum h_i s_i)) that exchange temperatures.

    A round is one heat-bath sweep of each replica and a swap of neighbouring ones, accepted with probability
    min(1, exp((beta_k - beta_k+1) (E_k - E_k+1))) (Hukushima and Nemoto 1996): the joint law stays the product of
    the p_k. The target is beta_k = 1; a small beta_k is where states move freely. Clamped spins are clamped in all.

    Args:
        couplings, fields: as in `posterior`.
        betas: K factors >= 0 in order; swap rates of 0.2 or more need neighbours closer than about 1/sqrt(N).
        burn_in, thin: rounds before the first and between samples; by default 20 L and L, L the longest side.

    Raises:
        ValueError: betas that are not a monotone list of finite numbers >= 0, and what `posterior` refuses.
    """
    ladder = np.asarray(betas, float)
    rising = ladder.ndim == 1 and len(ladder) > 0 and (np.all(np.diff(ladder) > 0) or np.all(np.diff(ladder) < 0))
    if not (rising and np.isfinite(ladder).all() and ladder.min() >= 0.0):
        raise InputError(f"betas must be finite, >= 0 and strictly monotone such as (1.0, 0.8, 0.6), got {betas}")
    model = Couplings.on(lattice, couplings, fields)
    check_memory(check_n_samples(n_samples) * len(ladder) * lattice.n_sites)
    burn_in, thin = check_schedule(lattice, burn_in, thin, exponent=1.0)
    arguments = ladder, model.free_order, model.neighbors, model.neighbor_J, model.finite_h
    rung = np.arange(len(ladder))
    accepted = np.zeros(len(ladder) - 1, np.int64)
    spins, state = model.start(rng, (len(ladder),)), generator_state(rng)
    out = np.empty((n_samples, len(ladder), lattice.n_sites), np.int8)
    kernel.exchange(spins, rung, *arguments, burn_in, 1, accepted, state)
    accepted[:] = 0
    for sample in out:
        kernel.exchange(spins, rung, *arguments, thin, 1, accepted, state)
        sample[:] = spins[rung]
    return Ladder(ladder, out.reshape(n_samples, len(ladder), *lattice.shape), accepted / (n_samples * thin))
