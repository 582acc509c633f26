"""Ising configurations by whichever method fits: perfect where possible, cluster updates beyond."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..lattice import Lattice
from .chains import Source, Spins
from .checks import check_memory, check_n_samples
from .diagnostics import CorrelatedError, Diagnostics, diagnose
from .methods import IsingMethod, open_source, resolve


@overload
def ising(
    lattice: Lattice,
    beta: float,
    n_samples: int,
    rng: np.random.Generator,
    method: IsingMethod = "auto",
    *,
    field: ArrayLike = 0.0,
    burn_in: int | None = None,
    thin: int | None = None,
    chains: int = 1,
    workers: int = 1,
    independent: bool = False,
    diagnostics: Literal[False] = False,
) -> NDArray[np.int8]: ...
@overload
def ising(
    lattice: Lattice,
    beta: float,
    n_samples: int,
    rng: np.random.Generator,
    method: IsingMethod = "auto",
    *,
    field: ArrayLike = 0.0,
    burn_in: int | None = None,
    thin: int | None = None,
    chains: int = 1,
    workers: int = 1,
    independent: bool = False,
    diagnostics: Literal[True],
) -> tuple[NDArray[np.int8], Diagnostics]: ...
def ising(
    lattice: Lattice,
    beta: float,
    n_samples: int,
    rng: np.random.Generator,
    method: IsingMethod = "auto",
    *,
    field: ArrayLike = 0.0,
    burn_in: int | None = None,
    thin: int | None = None,
    chains: int = 1,
    workers: int = 1,
    independent: bool = False,
    diagnostics: bool = False,
) -> NDArray[np.int8] | tuple[NDArray[np.int8], Diagnostics]:
    """Samples of p(s) ~ exp(beta sum_<ij> s_i s_j + sum_i h_i s_i), int8 (n_samples, *lattice.shape).

    Args:
        method: "transfer_matrix" (perfect, independent; chains, and open lattices with a shorter side <= 14);
            "coupling_from_the_past" (perfect, independent, slow towards and below the critical temperature);
            "swendsen_wang", "wolff" (cluster updates, Markov chains), "multispin" (local updates, 64 spins per word:
            one lattice in strips if a side is a multiple of 64 and the other even, else 64 replicas) or "heat_bath"
            (single-site updates, the slow reference); "auto" is the first where it applies and "swendsen_wang"
            beyond.
        field: h, one number or an array of lattice.shape; "swendsen_wang" and "coupling_from_the_past" take it, and
            "heat_bath", which is "auto" for an array.
        burn_in, thin: updates before the first and between samples of a Markov chain, by default enough for its
            relaxation at the critical point.
        chains: independent chains, each with its own burn-in and a generator spawned from `rng`, whose samples
            follow each other; one chain runs on `rng` itself.
        workers: threads that run them, at most one per chain; they do not change the samples.
        independent: refuse samples whose measured autocorrelation time is not that of independent ones.
        diagnostics: return (samples, Diagnostics), see there.

    Raises:
        CorrelatedError: samples that had to be independent are not, or are too few to tell; says which thin is due.
        ValueError: bad beta, n_samples, method, chains or workers, or a lattice or field that the method does not
            take.
    """
    n_samples = check_n_samples(n_samples)
    check_memory(n_samples * lattice.n_sites)
    resolved, _ = resolve(lattice, beta, method, field)
    if not 1 <= chains <= n_samples:
        raise InputError(f"chains must be between 1 and n_samples = {n_samples}, got {chains}")
    if workers < 1:
        raise InputError(f"workers must be >= 1, got {workers}")
    generators = [rng] if chains == 1 else rng.spawn(chains)
    cuts = [n_samples * k // chains for k in range(chains + 1)]

    def run(k: int) -> tuple[Source, Spins]:
        source = open_source(lattice, beta, generators[k], resolved, field, burn_in, thin)
        return source, source.draw(cuts[k + 1] - cuts[k])

    start = time.perf_counter()
    if min(workers, chains) == 1:
        runs = [run(k) for k in range(chains)]
    else:
        with ThreadPoolExecutor(min(workers, chains)) as pool:
            runs = list(pool.map(run, range(chains)))
    parts = [part for _, part in runs]
    samples = parts[0] if chains == 1 else np.concatenate(parts)
    if not (diagnostics or independent):
        return samples
    seconds = time.perf_counter() - start
    found = diagnose(lattice, beta, field, resolved, [source for source, _ in runs], parts, seconds)
    if independent and not found.independent:
        raise CorrelatedError(found.advice)
    return (samples, found) if diagnostics else samples
