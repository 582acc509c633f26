"""Heat-bath sampling: one chain for any couplings, fields and clamped spins, a ladder of temperatures, perfect samples.

The posterior p(s | x_t) of an Ising model has random fields, and certain observations clamp spins; see `Couplings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..kernels import heat_bath as kernel
from ..lattice import Lattice, Rng
from .chains import (
    MAX_UPDATES,
    Chain,
    Couplings,
    Perfect,
    Schedule,
    Spins,
    check_n_samples,
    check_schedule,
    generator_state,
)

MAX_SWEEPS = 1 << 16


# -- one chain ----------------------------------------------------------------------------------------------------


def heat_bath(
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

    With J = beta and h = `channel.likelihood_field(x_t, t)` this is p(s | x_t) of the Ising model. Neighbouring
    samples are correlated: see `integrated_autocorrelation_time`, and `replica_exchange` where the chain is trapped.

    Args:
        couplings, field: J of either sign and h, as in `swendsen_wang`.
        burn_in, thin: sweeps before the first and between samples; by default 20 L and L, L the longest side.
    """
    n_samples = check_n_samples(n_samples, lattice.n_sites)
    chain = heat_bath_chain(lattice, couplings, np.random.default_rng(rng), field, Schedule(burn_in, thin))
    return chain.draw(n_samples)


def heat_bath_chain(
    lattice: Lattice,
    couplings: ArrayLike,
    rng: np.random.Generator,
    field: ArrayLike,
    schedule: Schedule,
    *,
    critical: bool = False,
) -> Chain:
    """Return the chain of `heat_bath`, for `critical` with 20 L^2 and L^2 sweeps and a fair sign of every sample."""
    model = Couplings.on(lattice, couplings, field)
    burn_in, thin = check_schedule(lattice, schedule, exponent=2.0 if critical else 1.0)
    tables, spins, state = model.heat_bath_tables, model.start(rng, sign=schedule.start), generator_state(rng)

    def advance(n_sweeps: int) -> None:
        kernel.sweeps(spins, *tables, n_sweeps, state)

    def sample() -> Spins:
        return (-spins if critical and rng.random() < 0.5 else spins).reshape(1, *lattice.shape)

    advance(burn_in)
    return Chain(lattice.shape, advance, sample, burn_in, thin)


# -- a ladder of temperatures -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ladder:
    """Samples at every temperature of a replica exchange, and how often neighbours swapped."""

    betas: NDArray[np.float64]  # (K,)
    samples: NDArray[np.int8]  # (n_samples, K, *lattice.shape), [:, k] at betas[k]
    swap_rate: NDArray[np.float64]  # (K-1,), accepted fraction between betas[k] and betas[k+1]


def replica_exchange(
    lattice: Lattice,
    couplings: ArrayLike,
    betas: Sequence[float],
    n_samples: int,
    rng: Rng = None,
    *,
    field: ArrayLike = 0.0,
    burn_in: int | None = None,
    thin: int | None = None,
) -> Ladder:
    """Return samples of p_k(s) ~ exp(beta_k (sum J_ij s_i s_j + sum h_i s_i)) by replicas that exchange temperatures.

    A round is one heat-bath sweep of each replica and a swap of neighbouring ones, accepted with probability
    min(1, exp((beta_k - beta_k+1) (E_k - E_k+1))) (Hukushima and Nemoto 1996): the joint law stays the product of
    the p_k. The target is beta_k = 1; a small beta_k is where states move freely. Clamped spins are clamped in all.

    Args:
        couplings, field: as in `heat_bath`.
        betas: K factors >= 0 in order; swap rates of 0.2 or more need neighbours closer than about 1/sqrt(N).
        burn_in, thin: rounds before the first and between samples; by default 20 L and L, L the longest side.
    """
    ladder = np.asarray(betas, float)
    rising = ladder.ndim == 1 and len(ladder) > 0 and (np.all(np.diff(ladder) > 0) or np.all(np.diff(ladder) < 0))
    if not (rising and np.isfinite(ladder).all() and ladder.min() >= 0.0):
        raise InputError(f"betas must be finite, >= 0 and strictly monotone such as (1.0, 0.8, 0.6), got {betas}")
    model, rng = Couplings.on(lattice, couplings, field), np.random.default_rng(rng)
    n_samples = check_n_samples(n_samples, len(ladder) * lattice.n_sites)
    burn_in, thin = check_schedule(lattice, Schedule(burn_in, thin), exponent=1.0)
    tables, rung = model.heat_bath_tables, np.arange(len(ladder))
    accepted = np.zeros(len(ladder) - 1, np.int64)
    spins, state = model.start(rng, (len(ladder),)), generator_state(rng)
    out = np.empty((n_samples, len(ladder), lattice.n_sites), np.int8)
    kernel.exchange(spins, rung, ladder, *tables, burn_in, accepted, state)
    accepted[:] = 0
    for sample in out:
        kernel.exchange(spins, rung, ladder, *tables, thin, accepted, state)
        sample[:] = spins[rung]
    return Ladder(ladder, out.reshape(n_samples, len(ladder), *lattice.shape), accepted / (n_samples * thin))


# -- perfect samples ----------------------------------------------------------------------------------------------


class NotCoalescedError(InputError):
    """Coupling from the past ran out of its budget; no sample was drawn."""


def coupling_from_the_past(
    lattice: Lattice,
    couplings: ArrayLike,
    n_samples: int,
    rng: Rng = None,
    *,
    field: ArrayLike = 0.0,
    max_sweeps: int = MAX_SWEEPS,
) -> NDArray[np.int8]:
    """Return independent exact samples of p(s) ~ exp(sum J_ij s_i s_j + sum h_i s_i), J >= 0; int8 (n_samples, *shape).

    Heat baths driven by the same random numbers keep the order of states, so when the chains from all-up and
    all-down at time -T have met at time 0, so have those from every state, and the common state is exact. T is
    doubled, with the old random numbers kept, until they meet (Propp and Wilson 1996). Below T_c without a field
    this takes exponentially long in L; a posterior's fields or clamped spins shorten it.

    Args:
        couplings, field: J >= 0 and h of any sign, as in `swendsen_wang`.
        max_sweeps: the furthest start T in the past that is tried; a sample costs at most 4 T sweeps of two chains.

    Raises NotCoalescedError where the chains have not met from max_sweeps in the past. Calling again until it succeeds
    would favour states that coalesce fast.
    """
    n_samples = check_n_samples(n_samples, lattice.n_sites)
    return past_coupling(lattice, couplings, np.random.default_rng(rng), field, max_sweeps).draw(n_samples)


def past_coupling(
    lattice: Lattice, couplings: ArrayLike, rng: np.random.Generator, field: ArrayLike, max_sweeps: int = MAX_SWEEPS
) -> Perfect:
    """Return the source of one perfect sample after the other."""
    model = Couplings.on(lattice, couplings, field)
    if model.J.size and model.J.min() < 0.0:
        raise InputError(
            f"couplings must be >= 0, since only a ferromagnet keeps states in order, got {model.J.min()}; "
            "use heat_bath or replica_exchange"
        )
    if not 1 <= max_sweeps <= MAX_UPDATES:
        raise InputError(f"max_sweeps must be between 1 and {MAX_UPDATES:,}, got {max_sweeps}")
    tables = model.heat_bath_tables
    ends = [np.where(model.clamped, np.sign(model.h), end).astype(np.int8) for end in (1, -1)]

    def sample(k: int, n: int) -> Spins:
        stretches = [(1, generator_state(rng))]  # sweeps and generator, from the latest stretch to the earliest
        while True:
            upper, lower = (end.copy() for end in ends)
            for length, state in reversed(stretches):
                kernel.coupled_sweeps(upper, lower, *tables, length, state.copy())
            if np.array_equal(upper, lower):
                return upper.reshape(lattice.shape)
            past = sum(length for length, _ in stretches)
            if past >= max_sweeps:
                raise NotCoalescedError(
                    f"coupling from the past has not coalesced within max_sweeps = {max_sweeps} for sample {k} of {n}; "
                    "raise max_sweeps, or use swendsen_wang (heat_bath with fields)"
                )
            stretches.append((min(past, int(max_sweeps) - past), generator_state(rng)))

    return Perfect(lambda n: np.stack([sample(k, n) for k in range(n)]))
