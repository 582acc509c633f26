"""Arguments that all samplers share."""

import os

import numpy as np


def check_beta(beta: float) -> float:
    if not 0.0 <= beta < np.inf:
        raise ValueError(f"beta must be finite and >= 0, got {beta}; for an antiferromagnet flip one sublattice")
    return float(beta)


def check_n_samples(n_samples: int) -> int:
    if not isinstance(n_samples, int | np.integer) or n_samples < 1:
        raise ValueError(f"n_samples must be a positive integer, got {n_samples}")
    return int(n_samples)


def check_memory(n_bytes: int) -> None:
    """Refuses an output larger than this machine's memory before anything is drawn.

    Against all physical memory, not the free part: what the system counts as free leaves out the cache that it
    would give up. Where the system does not tell (Windows), nothing is refused here.
    """
    try:
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return
    if n_bytes > limit:
        raise ValueError(
            f"n_samples is too large: the output needs {n_bytes / 2**30:.3g} GiB, this machine has "
            f"{limit / 2**30:.3g} GiB; draw smaller batches, one after the other"
        )
