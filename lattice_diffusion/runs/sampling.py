"""Samples of a model in an HDF5 file: what the command `sample` does.

Block k of `batch` samples is drawn with the k-th generator spawned from the seed, a Markov chain of its own with its
own burn-in. So a run that was killed goes on to the same numbers, and so does any number of workers.

HDF5 does not survive a kill while it changes its own structure. So the file is made whole at first, of its final size
but empty (sparse), and samples are then put in place block by block, straight into the bytes of the array; a block
counts once its byte in `done` is set, after its samples are on disk. The file opens with `results.load`, h5py and
xarray at any time.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from .. import models, results
from ..errors import InputError
from ..exact.tokens import token_type
from ..kernels import compilation
from ..progress import Stop, duration, progress_bar, say
from ..samplers.chains import block_rng, check_memory, check_n_samples
from ..store import Journal, atomic_write, check_output, check_same, journal_path
from .cmi import only, periodic_axes
from .executors import Engine, InProcess, completed

GROUP = "samples"
BATCH_BYTES, BATCH = 2**27, 1024  # a default batch: so many samples, in so many bytes


@dataclass(frozen=True)
class Recipe:
    """How samples are drawn: draw(n, rng) gives (n, *shape), axes `dims`; `parameters` as plain JSON types.

    symbols: number of those of tokens.
    """

    parameters: dict[str, Any]
    draw: Callable[[int, np.random.Generator], NDArray[Any]]
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    dtype: np.dtype[Any]
    symbols: int | None = None

    @property
    def sample_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def recipe(model: str, given: Mapping[str, Any]) -> Recipe:
    """Return how a model is drawn, from options as typed (None: not given), its own numbers by their names.

    Raises InputError for an unknown model, and for options that it does not take.
    """
    kind = models.find(model)
    own = kind.numbers()
    grown = not kind.geometry  # a lattice that follows from the model's numbers
    needed = (*(() if grown else ("shape",)), *(name for name, default in own.items() if default is MISSING))
    given = only(model, given, needed, (*own, *(() if grown else ("periodic",)), *kind.sampling))
    numbers = {name: given.get(name, default) for name, default in own.items()}
    place: dict[str, Any] = {}
    if not grown:
        shape = tuple(given["shape"])
        periodic = periodic_axes(given.get("periodic"), len(shape))
        place = {"shape": list(shape), "periodic": periodic[0] if len(set(periodic)) == 1 else periodic}
        made = kind.from_parameters(shape, periodic, **numbers)
    else:
        made = kind.from_parameters(**numbers)
    how = made.sampling_options(**{key: given[key] for key in kind.sampling if key in given})
    given_numbers = {name: value for name, value in numbers.items() if value is not None}
    parameters = {"model": model, **place, **given_numbers, **how}

    def draw(n: int, rng: np.random.Generator) -> NDArray[Any]:
        return np.asarray(made.sample(n, rng, **how))

    symbols = made.q if made.data == "tokens" else None
    own_type = {"real": float, "spins": np.int8}.get(made.data) or token_type(made.q)
    dtype = how.get("dtype", own_type)
    return Recipe(parameters, draw, made.lattice.shape, made.axes, np.dtype(dtype), symbols)


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
    """Draw `n_samples` by `recipe` into the HDF5 file `path`, a `batch` at a time.

    The first block tells the cost, which is said on stderr. At most `workers` + 3 blocks are held in memory.

    Raises InputError for bad numbers, a file of other parameters, a disk that is too small, a run that goes on already;
    OSError for a `path` that exists without `resume` or `force`, or that cannot be written; KeyboardInterrupt on
    Ctrl-C, saying how to go on.
    """
    check_n_samples(n_samples)
    batch = min(BATCH, max(1, BATCH_BYTES // recipe.sample_bytes)) if batch is None else batch
    batch = min(batch, n_samples)
    if batch < 1 or workers < 1:
        raise InputError(f"batch and workers must be >= 1, got {batch} and {workers}")
    check_memory((workers + 3) * batch * recipe.sample_bytes + 8 * n_samples)
    path = Path(path)
    check_output(path, resume=resume, force=force)
    plan = replace(recipe, parameters={**recipe.parameters, "n": n_samples, "batch": batch, "seed": seed})
    with Journal(journal_path(path)) as lock, contextlib.ExitStack() as last:  # it stays empty: the file has `done`
        if not force and next(lock.records(), None) is not None:
            raise InputError(f"{lock.path} is of a run of another kind; use --force to overwrite it, or another name")
        last.callback(lock.remove)
        if resume and path.exists():
            found = results.load(path)
            if GROUP not in found.children:
                raise InputError(f"{path} holds no samples; use --force to overwrite it, or another name")
            check_same(path, json.loads(found.attrs["parameters"]), found.attrs["package_version"], plan.parameters)
        else:
            if path.exists() and not force:
                raise FileExistsError(f"{path} was written by another run meanwhile; choose another name")
            create(path, plan, n_samples, seed, batch)
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


def _fill(file: "SampleFile", plan: Recipe, n_samples: int, seed: int, batch: int, workers: int, shown: bool) -> None:
    todo = [int(k) for k in np.flatnonzero(~file.done)]
    name = f"{plan.parameters['model']} {'x'.join(str(n) for n in plan.shape)}"

    def draw(k: int) -> NDArray[Any]:
        return plan.draw(min(batch, n_samples - k * batch), block_rng(seed, k))

    start, compiled = time.perf_counter(), compilation.seconds
    for k in todo[:1]:
        file.put(k, k * batch, draw(k))
        seconds = time.perf_counter() - start - (compilation.seconds - compiled)
        cost = seconds * len(todo) / min(workers, len(todo))
        if shown:
            size = n_samples * plan.sample_bytes / 2**20
            hands = "1 worker" if workers == 1 else f"{workers} workers"
            say(f"{name}: {n_samples} samples, {size:.3g} MiB, about {duration(cost)} on {hands}")
    with (
        InProcess() if workers == 1 else ThreadPoolExecutor(workers) as pool,
        progress_bar(name, len(todo) - 1, shown=shown) as advance,
    ):
        for k, samples in completed(Engine(pool, lambda: workers), iter(todo[1:]), draw, Stop()):
            file.put(k, k * batch, samples)
            advance()


# -- the file ------------------------------------------------------------------------------------------------


def create(path: Path, plan: Recipe, n_samples: int, seed: int, batch: int) -> None:
    """Write the file with no sample drawn: the array `samples`, and `done` for every `batch` samples.

    Raises InputError where the disk has not enough room, OSError where the folder cannot be written to.
    """
    n_bytes = n_samples * (plan.sample_bytes + 8)
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise InputError(
            f"{n_samples} samples need {n_bytes / 2**30:.3g} GiB, and the disk of {path.parent.absolute()} has "
            f"{free / 2**30:.3g} GiB free; take fewer samples or another folder"
        )
    whole = atomic_write(path, path.with_name(path.name + ".part"))
    with whole as part, h5py.File(part, "w", track_order=True) as file:
        file.attrs.update(results.provenance("samples", json.dumps(plan.parameters), seed, complete=False))
        group = file.create_group(GROUP, track_order=True)
        at_once = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        at_once.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        at_once.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        group.create_dataset("samples", (n_samples, *plan.shape), plan.dtype, dcpl=at_once)
        if plan.symbols is not None:
            group["samples"].attrs["symbols"] = plan.symbols
        group.create_dataset("done", data=np.zeros(-(-n_samples // batch), np.uint8))
        for name, axes, long_name in (
            ("samples", ("sample", *plan.dims), "samples; unset where their block is not done"),
            ("done", ("block",), f"1 where a block of {batch} samples has been drawn"),
        ):
            group[name].attrs.update({"units": "1", "long_name": long_name})
            for axis, dim in enumerate(axes):
                scale = group.create_dataset(dim, data=np.arange(group[name].shape[axis]))
                scale.attrs.update({"units": "1", "long_name": f"index along {dim}"})
                scale.make_scale(dim)
                group[name].dims[axis].attach_scale(scale)


class SampleFile:
    """An existing file to put blocks into; a context manager that closes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with h5py.File(path, "r") as file:
            samples, done = file[GROUP]["samples"], file[GROUP]["done"]
            self._place, self._done_place = samples.id.get_offset(), done.id.get_offset()
            self.done: NDArray[np.bool_] = done[...] == 1
            self._sample_bytes, self._dtype = samples.nbytes // samples.shape[0], samples.dtype
        self._file = os.open(path, os.O_RDWR)

    def put(self, block: int, first: int, samples: NDArray[Any]) -> None:
        """Write one block, samples first, first + 1, ...; it survives a power cut from here on.

        Raises InputError for samples that are not finite in the type of the file; the block is not done then.
        """
        place = self._place + first * self._sample_bytes
        with np.errstate(over="ignore"):
            numbers = np.ascontiguousarray(samples, self._dtype)
        if not np.isfinite(numbers).all():
            raise InputError(
                f"samples must be finite numbers of {self._dtype}, got {numbers[~np.isfinite(numbers)][0]} in block "
                f"{block}, which was not written; take another dtype, or parameters that give smaller values"
            )
        left = numbers.data.cast("B")
        while left:
            written = os.pwrite(self._file, left, place)
            left, place = left[written:], place + written
        os.fdatasync(self._file)
        os.pwrite(self._file, b"\x01", self._done_place + block)
        self.done[block] = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file, marked complete where every block is there (one byte of an attribute, in place)."""
        os.fsync(self._file)
        os.close(self._file)
        if self.done.all():
            # readers may have it open, in this process too, in which HDF5 opens a path in one mode only
            with open(self.path, "r+b") as plain, h5py.File(plain, "r+") as file:
                file.attrs.modify("complete", True)
