"""Ising configurations by whichever method fits: perfect where possible, cluster updates beyond; arrays or streams."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check_memory
from ..exact.ising import MAX_SEAM, MAX_WIDTH, ChainSolver, SeamSolver, TransferMatrix, seam_length
from ..lattice import Lattice, Rng, check_lattice
from .chains import Betas, Couplings, Perfect, Schedule, Source, Spins, axis_couplings, check_betas, check_n_samples
from .clusters import swendsen_wang_chain, wolff_chain
from .diagnostics import CorrelatedError, Diagnostics, diagnose
from .heat_bath import heat_bath_chain, past_coupling
from .multispin import heat_bath_replicas, sampling_device

IsingMethod = Literal[
    "auto", "transfer_matrix", "swendsen_wang", "wolff", "heat_bath", "multispin", "coupling_from_the_past"
]
TAKES_FIELD = ("transfer_matrix", "swendsen_wang", "heat_bath", "coupling_from_the_past")


def ising(
    lattice: Lattice,
    beta: Betas,
    n_samples: int,
    rng: Rng = None,
    method: IsingMethod = "auto",
    *,
    field: ArrayLike = 0.0,
    burn_in: int | None = None,
    thin: int | None = None,
    chains: int = 1,
    workers: int = 1,
    independent: bool = False,
    device: str = "cpu",
) -> NDArray[np.int8]:
    """Return samples of p(s) ~ exp(beta sum_<ij> s_i s_j + sum_i h_i s_i), int8 (n_samples, *lattice.shape).

    Args:
        beta: one number, or one for each axis of the lattice.
        method: "transfer_matrix" (perfect, independent; chains without field, open 2D lattices with a shorter side
            <= 14, cylinders with a periodic side <= 14 or an open one <= 8, tori with a shorter side <= 8);
            "coupling_from_the_past" (perfect, independent, slow towards and below the critical temperature);
            "swendsen_wang", "wolff" (cluster updates, Markov chains), "multispin" (local updates, 64 spins per word:
            one lattice in strips if a side is a multiple of 64 and the other even, else 64 replicas) or "heat_bath"
            (single-site updates, the slow reference); "auto" is the first where it applies and "swendsen_wang"
            beyond.
        field: h, one number or an array of lattice.shape; "transfer_matrix", "swendsen_wang", whose clusters mix in
            the ordered phase too, "coupling_from_the_past" and "heat_bath" take it.
        burn_in, thin: updates before the first and between samples of a Markov chain, by default enough for its
            relaxation at the critical point.
        chains: independent chains, each with its own burn-in and a generator spawned from `rng`, whose samples
            follow each other; one chain runs on `rng` itself.
        workers: threads that run them, at most one per chain; they do not change the samples.
        independent: raise an error unless the samples can be certified: the autocorrelation times of all modes that
            `Diagnostics` names are those of independent samples, and no mean depends on where a chain starts.
        device: "cuda" runs "multispin", which "auto" then stands for, on the GPU, many replicas at once; "auto" does
            so where the method is "multispin" and there is a GPU.

    Raises CorrelatedError where samples that had to be independent are not, or are too few to tell; says which thin to
    use; InputError for bad beta, n_samples, method, chains, workers or device, or a lattice or field that the method
    does not take.
    """
    options: dict[str, Any] = {"field": field, "burn_in": burn_in, "thin": thin, "chains": chains, "workers": workers}
    parts, found = _run(lattice, beta, n_samples, rng, method, independent, device=device, **options)
    if found is not None and not found.independent:
        raise CorrelatedError(found.advice)
    return parts[0] if chains == 1 else np.concatenate(parts)


def ising_with_diagnostics(
    lattice: Lattice, beta: Betas, n_samples: int, rng: Rng = None, method: IsingMethod = "auto", **options: Any
) -> tuple[NDArray[np.int8], Diagnostics]:
    """Return the samples that `ising` draws, and what they are worth: see `Diagnostics`.

    The options are those of `ising`: field, burn_in, thin, chains, workers and device.
    """
    parts, found = _run(lattice, beta, n_samples, rng, method, measured=True, **options)
    assert found is not None
    return np.concatenate(parts), found


def stream(
    lattice: Lattice,
    beta: Betas,
    batch_size: int,
    rng: Rng = None,
    method: IsingMethod = "auto",
    *,
    field: ArrayLike = 0.0,
    burn_in: int | None = None,
    thin: int | None = None,
    device: str = "cpu",
) -> Iterator[NDArray[np.int8]]:
    """Return an endless iterator over batches (batch_size, *lattice.shape) of what `ising` draws.

        for spins in itertools.islice(stream(lattice, beta, 256, rng), 1000): ...

    A Markov chain burns in once, when `stream` is called, and goes on from batch to batch: the first n samples are
    those of `ising` with n_samples = n and a generator in the same state. (The transfer matrix draws batch by batch,
    so that there the numbers depend on batch_size.) The arguments are those of `ising`.

    Raises InputError as `ising` does, at the call.
    """
    check_lattice(lattice)
    batch_size = check_n_samples(batch_size, lattice.n_sites, "batch_size")
    method, device = resolve(lattice, beta, method, field, device)
    source = open_source(lattice, beta, np.random.default_rng(rng), method, field, Schedule(burn_in, thin), device)

    def batches() -> Iterator[Spins]:
        while True:
            yield source.draw(batch_size)

    return batches()


def _run(
    lattice: Lattice,
    beta: Betas,
    n_samples: int,
    rng: Rng,
    method: IsingMethod,
    measured: bool,
    field: ArrayLike = 0.0,
    burn_in: int | None = None,
    thin: int | None = None,
    chains: int = 1,
    workers: int = 1,
    device: str = "cpu",
) -> tuple[list[Spins], Diagnostics | None]:
    """Return the samples of each chain and, if `measured`, their diagnostics."""
    check_lattice(lattice)
    chains, workers = int(chains), int(workers)
    n_samples, rng = check_n_samples(n_samples, lattice.n_sites), np.random.default_rng(rng)
    method, device = resolve(lattice, beta, method, field, device)
    if not 1 <= chains <= n_samples:
        raise InputError(f"chains must be between 1 and n_samples = {n_samples}, got {chains}")
    if workers < 1:
        raise InputError(f"workers must be >= 1, got {workers}")
    generators = [rng] if chains == 1 else rng.spawn(chains)
    cuts = [n_samples * k // chains for k in range(chains + 1)]

    def run(k: int) -> tuple[Source, Spins]:
        source = open_source(lattice, beta, generators[k], method, field, Schedule(burn_in, thin), device)
        return source, source.draw(cuts[k + 1] - cuts[k])

    start = time.perf_counter()
    if min(workers, chains) == 1:
        runs = [run(k) for k in range(chains)]
    else:
        with ThreadPoolExecutor(min(workers, chains)) as pool:
            runs = list(pool.map(run, range(chains)))
    parts, seconds = [part for _, part in runs], time.perf_counter() - start
    if not measured:
        return parts, None

    def anew(start: int, n: int) -> Spins:
        schedule = Schedule(burn_in, thin, start)
        return open_source(lattice, beta, np.random.default_rng(n), method, field, schedule, device).draw(n)

    couplings = axis_couplings(lattice, check_betas(lattice, beta))
    return parts, diagnose(lattice, couplings, field, method, [source for source, _ in runs], parts, seconds, anew)


# -- methods ------------------------------------------------------------------------------------------------------


def transfer_matrix(lattice: Lattice, beta: Betas, field: ArrayLike = 0.0) -> TransferMatrix | SeamSolver:
    """Return the exact solution of a 2D lattice; raise InputError for others, or too wide ones.

    Those of a uniform field are kept, since models and samplers share them.
    """
    betas = check_betas(lattice, beta)
    if np.ndim(field) == 0 and not np.isnan(field):
        return _kept(lattice, betas, float(field))  # type: ignore[arg-type]
    return _solve(lattice, betas, Couplings.on(lattice, 0.0, field).h.reshape(lattice.shape))


def _solve(lattice: Lattice, betas: tuple[float, ...], field: ArrayLike) -> TransferMatrix | SeamSolver:
    if lattice.ndim != 2:
        remedy = "use IsingChain" if lattice.ndim == 1 else "sample it"
        raise InputError(f"the exact Ising solution needs a 2D lattice, got {lattice.shape}; {remedy}")
    (L, W), (around_rows, around_columns) = lattice.shape, lattice.periodic
    width = L if around_rows else W if around_columns else min(L, W)
    vectors = 16.0 * L * W / width * 2 ** min(width, MAX_WIDTH)
    check_memory("lattice", 100.0 * L * W + vectors, "take a smaller one")
    solver = TransferMatrix if seam_length(lattice.shape, lattice.periodic) is None else SeamSolver
    right, down = (L, W - (not around_columns)), (L - (not around_rows), W)
    return solver(np.full(right, betas[1]), np.full(down, betas[0]), field)


_kept = lru_cache(maxsize=4)(_solve)


def resolve(
    lattice: Lattice, beta: Betas, method: IsingMethod, field: ArrayLike = 0.0, device: str = "cpu"
) -> tuple[IsingMethod, str]:
    """Return the method and the device that "auto" stands for.

    Raises InputError if beta, method, lattice, field and device do not fit.
    """
    there = sampling_device(device)
    method = "multispin" if (device, method) == ("cuda", "auto") else method
    if device == "cuda" and method != "multispin":
        raise InputError(f"device cuda runs the method multispin, got {method!r}; take device='cpu'")
    device = there if method == "multispin" else "cpu"
    betas = check_betas(lattice, beta)
    if method not in get_args(IsingMethod):
        raise InputError(f"method must be one of {', '.join(get_args(IsingMethod))}, got {method!r}")
    in_field, chain = bool(np.any(field)), lattice.ndim == 1
    exact = not in_field if chain else lattice.ndim == 2
    if method == "auto":
        return ("transfer_matrix" if exact and (chain or _narrow(lattice)) else "swendsen_wang"), device
    if in_field and method not in TAKES_FIELD:
        raise InputError(f"method {method!r} takes no field; in a field use auto or one of {', '.join(TAKES_FIELD)}")
    if method == "transfer_matrix" and not exact:
        need = "a 2D lattice, or a chain without field"
        raise InputError(f"the transfer matrix needs {need}; use method='swendsen_wang'")
    if method == "multispin" and len(set(betas)) > 1:
        raise InputError(f"method {method!r} takes one beta for all axes, got {betas}; use swendsen_wang or heat_bath")
    return method, device


def _narrow(lattice: Lattice) -> bool:
    """Return whether the exact solution of a 2D lattice sums over few enough states."""
    if (seam := seam_length(lattice.shape, lattice.periodic)) is not None:
        return seam <= MAX_SEAM
    around = [n for n, flag in zip(lattice.shape, lattice.periodic, strict=True) if flag]
    return min(around or lattice.shape) <= MAX_WIDTH


def open_source(
    lattice: Lattice,
    beta: Betas,
    rng: np.random.Generator,
    method: IsingMethod,
    field: ArrayLike,
    schedule: Schedule,
    device: str = "cpu",
) -> Source:
    """Return what a resolved method draws from: a chain that has burnt in, or perfect samples."""
    betas = check_betas(lattice, beta)
    uniform = len(set(betas)) == 1
    couplings = betas[0] if uniform else axis_couplings(lattice, betas)
    if method == "transfer_matrix":
        solver = (
            ChainSolver(lattice.n_sites, betas[0], lattice.periodic[0])
            if lattice.ndim == 1
            else transfer_matrix(lattice, betas, field)
        )
        return Perfect(lambda n: solver.sample(n, rng))
    if method == "coupling_from_the_past":
        return past_coupling(lattice, couplings, rng, field)
    if method == "heat_bath":
        return heat_bath_chain(lattice, couplings, rng, field, schedule, critical=uniform and not np.any(field))
    if method == "multispin":
        return heat_bath_replicas(lattice, betas[0], rng, schedule, device)
    if method == "wolff":
        return wolff_chain(lattice, couplings, rng, schedule)
    return swendsen_wang_chain(lattice, couplings, rng, field, schedule)
