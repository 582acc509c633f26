"""Samples of a model in a file: what the command `sample` does.

Block k of `batch` samples is drawn with the k-th generator spawned from the seed, a Markov chain of its own with its
own burn-in. So a run that was killed goes on to the same numbers, and so does any number of workers.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from .. import models, results
from ..errors import InputError
from ..lattice import Lattice
from ..registry import hint
from ..samplers import gaussian_field, ising
from ..samplers.chains import block_rng, check_memory, check_n_samples, check_schedule
from ..samplers.ising import IsingMethod, resolve
from .checks import check_output, check_same
from .cmi import taken
from .process_pool import InProcess
from .progress import duration, progress_bar, say
from .sample_file import GROUP, SampleFile, create, refuse_busy

# what else there is to say of how samples are drawn
_HOW = {"ising": ("method", "burn_in", "thin"), "gaussian-field": ("dtype",)}
Draw = Callable[[int, np.random.Generator], NDArray[Any]]
BATCH_BYTES, BATCH = 2**27, 1024  # a default batch: so many samples, in so many bytes


@dataclass(frozen=True)
class Recipe:
    """How samples are drawn: draw(n, rng) gives (n, *shape), axes `dims`; `parameters` as plain JSON types."""

    parameters: dict[str, Any]
    draw: Draw
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    dtype: Any

    def to_json(self) -> str:
        return json.dumps(self.parameters)

    @property
    def sample_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * np.dtype(self.dtype).itemsize


def recipe(model: str, given: dict[str, Any]) -> Recipe:
    """From options as typed (None: not given), the model's own numbers by their names.

    Raises ValueError with one sentence for what does not fit.
    """
    kind = models.find(model)
    own = {field.name: field.default for field in fields(kind) if field.name not in ("lattice", "faces", "periodic")}
    needed = ("shape", *(name for name, default in own.items() if default is MISSING))
    given = taken(model, given, needed, (*own, "periodic", *_HOW.get(model, ())))
    shape, periodic = tuple(given["shape"]), bool(given.get("periodic", False))
    numbers = {name: given.get(name, default) for name, default in own.items()}
    parameters = {"model": model, "shape": list(shape), "periodic": periodic, **numbers}
    axes = {1: ("site",), 2: ("row", "column")}.get(len(shape), tuple(f"axis{k}" for k in range(len(shape))))
    if model == "domain-walls":
        made = kind(shape, periodic=periodic, **numbers)
        return Recipe(parameters, made.sample, made.lattice.shape, ("direction", *axes), np.int8)
    lattice = Lattice(shape, periodic)
    made = kind(lattice, **numbers)
    if model == "gaussian-field":
        how, draw, dtype = _field(lattice, numbers["mass_squared"], given)
    elif model == "ising":
        how, draw, dtype = _ising(lattice, numbers["beta"], given)
    else:
        how, draw, dtype = {}, made.sample, made.sample(1, np.random.default_rng(0)).dtype
    return Recipe({**parameters, **how}, draw, shape, axes, dtype)


def _field(lattice: Lattice, mass_squared: float, given: dict[str, Any]) -> tuple[dict[str, Any], Draw, Any]:
    name = given.get("dtype", "float64")
    if name not in ("float32", "float64"):
        raise InputError(f"--dtype must be float32 or float64, got {name!r}")
    dtype = np.dtype(name)
    return {"dtype": name}, lambda n, rng: gaussian_field(lattice, mass_squared, n, rng, dtype), dtype


def _ising(lattice: Lattice, beta: float, given: dict[str, Any]) -> tuple[dict[str, Any], Draw, Any]:
    asked, burn_in, thin = given.get("method", "auto"), given.get("burn_in"), given.get("thin")
    if asked not in get_args(IsingMethod):
        raise InputError(f"unknown method {asked!r}; {hint(asked, get_args(IsingMethod))}")
    method = resolve(lattice, beta, asked)
    check_schedule(lattice, burn_in, thin)

    def draw(n: int, rng: np.random.Generator) -> NDArray[np.int8]:
        return ising(lattice, beta, n, rng, method, burn_in=burn_in, thin=thin)

    return {"method": method, "burn_in": burn_in, "thin": thin}, draw, np.int8


def sample_to_file(
    recipe: Recipe,
    n_samples: int,
    seed: int,
    path: Path,
    *,
    batch: int | None = None,
    workers: int = 1,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> None:
    """Draw `n_samples` by `recipe` into the HDF5 file `path`, a `batch` at a time; see the module.

    The first block tells the cost, which is said on stderr. At most `workers` + 1 blocks are held in memory.

    Raises:
        ValueError: bad numbers, a file of other parameters, a disk that is too small.
        OSError: a `path` that exists without `resume` or `force`, or that cannot be written.
        KeyboardInterrupt: on Ctrl-C, saying how to go on.
    """
    check_n_samples(n_samples)
    if resume and force:
        raise InputError("resume goes on with a file and force overwrites it; give one of the two")
    batch = min(BATCH, max(1, BATCH_BYTES // recipe.sample_bytes)) if batch is None else batch
    batch = min(batch, n_samples)
    if batch < 1 or workers < 1:
        raise InputError(f"batch and workers must be >= 1, got {batch} and {workers}")
    check_memory((workers + 1) * batch * recipe.sample_bytes + 8 * n_samples)
    path = Path(path)
    check_output(path, resume=resume, force=force)
    plan = Recipe(
        {**recipe.parameters, "n": n_samples, "batch": batch, "seed": seed},
        recipe.draw, recipe.shape, recipe.dims, recipe.dtype,
    )  # fmt: skip
    if resume and path.exists():
        _check_resumable(path, plan)
    else:
        if path.exists():
            refuse_busy(path)
        attributes = results.provenance("samples", plan.to_json(), seed, complete=False)
        create(path, attributes, (n_samples, *recipe.shape), ("sample", *recipe.dims), recipe.dtype, batch)
    with SampleFile(path) as file:
        try:
            _fill(file, plan, n_samples, seed, batch, workers, progress)
        except BaseException as error:
            if not file.done.any():
                path.unlink()
            if isinstance(error, KeyboardInterrupt):
                done = f"{min(n_samples, int(file.done.sum()) * batch)} of {n_samples}"
                raise KeyboardInterrupt(f"stopped after {done} samples; run again with --resume to go on") from None
            raise


def _fill(file: SampleFile, plan: Recipe, n_samples: int, seed: int, batch: int, workers: int, progress: bool) -> None:
    todo = [int(k) for k in np.flatnonzero(~file.done)]
    name = f"{plan.parameters['model']} {'x'.join(str(n) for n in plan.parameters['shape'])}"

    def draw(k: int) -> NDArray[Any]:
        return plan.draw(min(batch, n_samples - k * batch), block_rng(seed, k))

    start = time.perf_counter()
    for k in todo[:1]:
        file.put(k, k * batch, draw(k))
        cost = (time.perf_counter() - start) * len(todo) / min(workers, len(todo))
        if progress:
            size = n_samples * plan.sample_bytes / 2**20
            hands = "1 worker" if workers == 1 else f"{workers} workers"
            say(f"{name}: {n_samples} samples, {size:.3g} MiB, about {duration(cost)} on {hands}")
    with progress_bar(name, len(todo) - 1, shown=progress) as advance:
        for k, samples in _in_order(draw, todo[1:], workers):
            file.put(k, k * batch, samples)
            advance()


def _in_order(
    draw: Callable[[int], NDArray[Any]], blocks: list[int], workers: int
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Blocks as they are drawn, with at most `workers` ahead of the one that is written."""
    with InProcess() if workers == 1 else ThreadPoolExecutor(workers) as pool:
        pending: deque[tuple[int, Future[NDArray[Any]]]] = deque()
        for k in blocks:
            pending.append((k, pool.submit(draw, k)))
            if len(pending) >= workers:
                first, future = pending.popleft()
                yield first, future.result()
        for first, future in pending:
            yield first, future.result()


def _check_resumable(path: Path, plan: Recipe) -> None:
    found = results.load(path)
    if GROUP not in found.children:
        raise InputError(f"{path} holds no samples; use --force to overwrite it, or another name")
    check_same(path, found.attrs["parameters"], found.attrs["package_version"], plan)
