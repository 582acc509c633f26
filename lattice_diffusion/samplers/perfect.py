"""Perfect samples of ferromagnets by coupling from the past: independent, with no burn-in to guess."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..kernels import heat_bath as kernel
from ..lattice import Lattice
from .chains import MAX_UPDATES, Spins
from .checks import check_memory, check_n_samples
from .couplings import Couplings, generator_state

MAX_SWEEPS = 1 << 16


class NotCoalescedError(InputError):
    """Coupling from the past ran out of its budget; no sample was drawn."""


def coupling_from_the_past(
    lattice: Lattice,
    couplings: ArrayLike,
    n_samples: int,
    rng: np.random.Generator,
    fields: ArrayLike = 0.0,
    *,
    max_sweeps: int = MAX_SWEEPS,
) -> NDArray[np.int8]:
    """Independent exact samples of p(s) ~ exp(sum J_ij s_i s_j + sum h_i s_i), J >= 0; int8 (n_samples, *shape).

    Heat baths driven by the same random numbers keep the order of states, so when the chains from all-up and
    all-down at time -T have met at time 0, so have those from every state, and the common state is exact. T is
    doubled, with the old random numbers kept, until they meet (Propp and Wilson 1996). Below T_c without a field
    this takes exponentially long in L; a posterior's fields or clamped spins shorten it.

    Args:
        couplings: J >= 0, one number or one per row of `lattice.bonds`.
        fields: h of any sign, one number or an array of lattice.shape; +-inf clamps a spin.
        max_sweeps: the furthest start T in the past that is tried; a sample costs at most 4 T sweeps of two chains.

    Raises:
        NotCoalescedError: the chains have not met from max_sweeps in the past. Calling again until it succeeds
            would favour states that coalesce fast.
        ValueError: negative couplings, and couplings, fields or n_samples of a wrong shape or value.
    """
    check_memory(check_n_samples(n_samples) * lattice.n_sites)
    return PastCoupling(lattice, couplings, rng, fields, max_sweeps).draw(n_samples)


class PastCoupling:
    """Draws one perfect sample after the other; `n_drawn` of them coalesced from `total_past` sweeps in all."""

    def __init__(
        self,
        lattice: Lattice,
        couplings: ArrayLike,
        rng: np.random.Generator,
        fields: ArrayLike = 0.0,
        max_sweeps: int = MAX_SWEEPS,
    ) -> None:
        model = Couplings.on(lattice, couplings, fields)
        if model.J.size and model.J.min() < 0.0:
            raise InputError(
                f"couplings must be >= 0, since only a ferromagnet keeps states in order, got {model.J.min()}; "
                "use posterior or replica_exchange"
            )
        if not 1 <= max_sweeps <= MAX_UPDATES:
            raise InputError(f"max_sweeps must be between 1 and {MAX_UPDATES:,}, got {max_sweeps}")
        self._shape, self._rng, self._max_sweeps = lattice.shape, rng, max_sweeps
        self._arguments = model.free_order, model.neighbors, model.neighbor_J, model.finite_h
        self._ends = [np.where(model.clamped, np.sign(model.h), end).astype(np.int8) for end in (1, -1)]
        self.n_drawn = self.total_past = 0

    def draw(self, n: int) -> Spins:
        return np.stack([self._sample(k, n) for k in range(n)])

    def _sample(self, k: int, n: int) -> Spins:
        stretches = [(1, generator_state(self._rng))]  # sweeps and generator, from the latest stretch to the earliest
        while True:
            upper, lower = (end.copy() for end in self._ends)
            for length, state in reversed(stretches):
                kernel.coupled_sweeps(upper, lower, *self._arguments, length, state.copy())
            past = sum(length for length, _ in stretches)
            if np.array_equal(upper, lower):
                self.n_drawn += 1
                self.total_past += past
                return upper.reshape(self._shape)
            if past >= self._max_sweeps:
                raise NotCoalescedError(
                    f"coupling from the past has not coalesced within max_sweeps = {self._max_sweeps} for sample {k} "
                    f"of {n}; raise max_sweeps, or use swendsen_wang (posterior with fields)"
                )
            stretches.append((min(past, self._max_sweeps - past), generator_state(self._rng)))
