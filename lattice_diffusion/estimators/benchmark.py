"""The benchmark of estimators: every (task, estimator, samples, seed) is one row, independent of all others.

Rows have the columns of benchmark-mi's RunResult (Czyż et al. 2023, arXiv:2306.11078), and what it lacks: the truth
with its error, the estimate's error, dimensions, the floor, CPU seconds. Every row is a line of JSON, written as soon
as it is measured; a run that was stopped resumes. Failures are rows too, with the message of the error.
"""

import hashlib
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..channels import Gaussian
from ..errors import InputError
from ..estimate import Estimate
from ..lattice import FloatArray, Lattice, Rng
from ..models import GaussianField
from ..store import Journal, read_records
from . import find, tasks
from .base import clone
from .tasks import Task

Row = dict[str, Any]
Draw = Callable[[int, np.random.Generator], tuple[FloatArray, FloatArray, FloatArray]]
MAX_RUNS = 1_000_000


def read(path: Path) -> list[Row]:
    """Return the finished rows of a benchmark. Raises InputError for a file of something else."""
    return _checked(path, read_records(Path(path)))


def _checked(path: Path, records: Iterable[Row]) -> list[Row]:
    rows = list(records)
    if not all("task_id" in row for row in rows):
        raise InputError(f"{path} holds other records than rows of a benchmark; use another file")
    return rows


@dataclass(frozen=True, eq=False)
class Run:
    """One row to be measured, with `size` samples."""

    task: Task
    estimator_id: str
    estimator: Any
    seed: int
    size: int

    @property
    def key(self) -> tuple[str, str, int, int]:
        """Task, estimator, samples and seed: rows that agree in them are the same."""
        return (self.task.name, self.estimator_id, self.size, self.seed)

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the estimator, as JSON holds them."""
        get_params = getattr(self.estimator, "get_params", dict)
        return json.loads(json.dumps(get_params(), default=repr))


def key_of(row: Row) -> tuple[str, str, int, int]:
    """Return `Run.key` of a finished row."""
    return (row["task_id"], row["estimator_id"], row["n_samples"], row["seed"])


def plan(
    task_list: Sequence[str | Task],
    estimators: Sequence[str] | Mapping[str, Any],
    sizes: Sequence[int],
    seeds: Sequence[int] = range(10),
    device: str | None = None,
) -> list[Run]:
    """Return all runs, cheapest first within a task; samples are the same for all estimators.

    Args:
        task_list: names of tasks or of groups ("tables", "atoms", "functions"), or tasks of your own.
        estimators: names that `estimators.find` knows, or names with objects.
        sizes: numbers of samples.
        seeds: which repetitions.
        device: of torch, for the estimators that have such a parameter; None: as they are.

    Raises InputError for unknown names, sizes below 2, nothing to do.
    """
    named = estimators if isinstance(estimators, Mapping) else {name: find(name)() for name in estimators}
    for one in named.values() if device else ():
        if hasattr(one, "get_params") and "device" in one.get_params():
            one.set_params(device=device)
    each = [
        name for task in task_list for name in (tasks.GROUPS.get(task, [task]) if isinstance(task, str) else [task])
    ]
    found = [task if isinstance(task, Task) else tasks.find(task) for task in each]
    if any(size < 2 for size in sizes):
        raise InputError(f"sizes must be at least 2 samples, got {min(sizes)}")
    n_runs = len(found) * len(sizes) * len(seeds) * len(named)
    if n_runs > MAX_RUNS:
        raise InputError(f"at most {MAX_RUNS:,} rows are measured at a time, got {n_runs:,}; take fewer seeds")
    if n_runs == 0:
        raise InputError("there is nothing to measure; give at least one task, estimator, size and seed")
    return [
        Run(task, name, estimator, seed, size)
        for task in found
        for size in sorted(sizes)
        for seed in seeds
        for name, estimator in named.items()
    ]


def run(
    runs: Sequence[Run], path: Path, measured: Callable[[Iterator[Run]], Iterator[Row]] | None = None
) -> Iterator[Row]:
    """Measure what is not yet in the file, yielding each row after it was written.

    `measured` gives the rows of runs, in any order, as those of several processes; None: `measure` of one by one.

    Raises InputError where the file holds an estimator of that name with other parameters, or is being written by
    another run.
    """
    with Journal(path) as journal:
        done = {key_of(row): row["estimator_params"] for row in _checked(path, journal.records())}
        for one in runs:
            if done.get(one.key, one.parameters) != one.parameters:
                raise InputError(
                    f"{path} holds {one.estimator_id} with {done[one.key]}, this one has {one.parameters}; "
                    "name it differently, or use another file"
                )
        todo = (one for one in runs if one.key not in done)
        for row in map(measure, todo) if measured is None else measured(todo):
            journal.append([row])
            journal.sync()
            yield row


def generator(*names: object) -> np.random.Generator:
    """Return a stream of its own for these names: what one row draws depends on no other row."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence(int.from_bytes(digest, "big")))


def measure_named(key: tuple[str, str, int, int], device: str | None = None) -> Row:
    """Return the row of `Run.key` of a task and an estimator that are known by name, as a worker process finds them."""
    task, estimator, size, seed = key
    return measure(*plan([task], [estimator], [size], [seed], device))


def measure(one: Run) -> Row:
    """Return the row of one run; an error makes it a failure, with its message; warnings are kept, too.

    `cmi_stderr` is the estimate's own error, `cmi_true_stderr` the truth's, `time_in_seconds` wall time and `seconds`
    that of the processor.
    """
    task, rng = one.task, generator("estimate", *one.key)
    x_t = task.sample(one.size, generator("samples", task.name, one.size, one.seed))
    answer: Estimate | None = None
    words: dict[str, str | list[str]] = {}
    wall, cpu = time.perf_counter(), time.process_time()
    estimator = clone(one.estimator)
    if hasattr(estimator, "get_params") and estimator.get_params().get("model", 0) is None:
        estimator.set_params(model=task.model)  # Oracle is told the law
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = estimator.fit(x_t, task.parts, channel=task.channel, t=task.t, rng=rng).estimate()
            if not np.isfinite([answer.value, answer.stderr]).all():
                raise ArithmeticError(f"the estimate is {answer.value} ± {answer.stderr}")
            words["method"] = answer.method
        except Exception as error:
            answer, words["error"] = None, f"{type(error).__name__}: {error}"
    if caught:
        words["warnings"] = list(dict.fromkeys(str(one.message) for one in caught))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "task_id": task.name,
        "estimator_id": one.estimator_id,
        "seed": one.seed,
        "n_samples": one.size,
        "mi_estimate": float(answer.value) if answer else None,
        "estimator_params": one.parameters,
        "time_in_seconds": wall,
        "success": answer is not None,
        "additional_information": words,
        "cmi_true": task.truth.value,
        "cmi_true_stderr": task.truth.stderr,
        "cmi_stderr": float(answer.stderr) if answer else None,
        "floor": task.floor(one.size),
        "dims": list(task.dims),
        "truth_method": task.truth.method,
        "device": str(getattr(estimator, "device", None) or f"cpu ({platform.machine()})"),
        "seconds": cpu,
    }


# -- identities that any estimator must fulfil, whatever the data: no truth is needed to fail them ------------


class Check(NamedTuple):
    """One identity: `estimate` is a difference that should be 0, or at least not below it."""

    name: str
    estimate: Estimate
    one_sided: bool = False

    @property
    def z(self) -> float:
        """Standard errors away from what is allowed."""
        z = self.estimate.z_score(0.0)
        return min(z, 0.0) if self.one_sided else z


def noisy_chain(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return a (n, 1), b (n, 2), c (n, 3) of a massive free field on an open chain of 6 sites, noisy."""
    lattice = Lattice((6,))
    parts = lattice.tripartition((2,), radius=1)
    x_t = Gaussian("linear").corrupt(GaussianField(lattice, 0.05).sample(n, rng), 0.5, rng)
    return x_t[:, parts.A], x_t[:, parts.B], x_t[:, parts.C]


def consistency(estimator: Any, rng: Rng = None, *, n: int = 2000, draw: Draw = noisy_chain) -> list[Check]:
    """Return four identities, measured on n fresh samples for every estimate but those of the last one.

        independent   C shuffled among the samples:  I(A;C|B) = 0
        chain rule    I(A;C1 C2|B) - I(A;C1|B) - I(A;C2|B C1) = 0
        monotone      I(A;C1 C2|B) - I(A;C1|B) >= 0
        sign          I(A;C|B) of x and of -x are the same

    Args:
        estimator: anything with `fit(a, c, b, rng=...)` and `estimate()`; it is cloned for every fit.
        draw: (n, rng) -> a, b, c, with at least two columns in c. Fields by default; bring spins for an estimator of
            discrete data.
    """
    rng = np.random.default_rng(rng)

    def fit(a: FloatArray, c: FloatArray, b: FloatArray) -> Estimate:
        return clone(estimator).fit(a, c, b, rng=rng).estimate()

    def split() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        a, b, c = draw(n, rng)
        half = c.shape[1] // 2
        if half == 0:
            raise InputError("draw must give at least two columns in c for the chain rule, got 1")
        return a, b, c[:, :half], c[:, half:]

    a, b, c = draw(n, rng)
    shuffled = fit(a, c[rng.permutation(n)], b)
    a, b, c1, c2 = split()
    whole = fit(a, np.hstack([c1, c2]), b)
    a, b, c1, _ = split()
    near = fit(a, c1, b)
    a, b, c1, c2 = split()
    far = fit(a, c2, np.hstack([b, c1]))
    a, b, c = draw(n, rng)
    plus, minus = fit(a, c, b), fit(-a, -c, -b)
    return [
        Check("independent", shuffled),
        Check("chain rule", _difference(whole, near, far)),
        Check("monotone", _difference(whole, near), one_sided=True),
        Check("sign", _difference(plus, minus)),
    ]


def _difference(first: Estimate, *others: Estimate) -> Estimate:
    """first - sum of others, errors added in quadrature."""
    value = first.value - sum(other.value for other in others)
    stderr = float(np.sqrt(sum(e.stderr**2 for e in (first, *others))))
    return Estimate(value, stderr, first.n_samples, first.method)
