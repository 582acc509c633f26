"""Arguments that all samplers share."""

import numpy as np

from .. import errors as arguments
from ..errors import InputError


def check_beta(beta: float) -> float:
    if not 0.0 <= beta < np.inf:
        raise InputError(f"beta must be finite and >= 0, got {beta}; for an antiferromagnet flip one sublattice")
    return float(beta)


def check_n_samples(n_samples: int) -> int:
    if not isinstance(n_samples, int | np.integer) or n_samples < 1:
        raise InputError(f"n_samples must be a positive integer, got {n_samples}")
    return int(n_samples)


def check_memory(n_bytes: float) -> None:
    """Refuses an output larger than the memory that this machine has available, before anything is drawn."""
    arguments.check_memory("n_samples", n_bytes, "draw smaller batches, one after the other")
