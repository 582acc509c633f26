"""What handing out, recording and writing add to a run: 10^5 points of a known cost, engines, and costs to plan with.

    python benchmarks/scale.py [--points N] [--milliseconds X] [--workers N] [--json FILE]

The quantity is simulated: a point sleeps for a set time and gives 32 numbers, about 650 bytes in the journal. What is
not sleep is overhead. With more sleeping workers than cores the run ends sooner; the runner, one process, is loaded
as it would be by as many busy ones. Points that cost nothing show the most that each engine can hand out. The costs of
real points, seconds per sample against the side L, are fitted for docs/scale.md.
"""

import contextlib
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

import numpy as np
from report import parser, report

import lattice_diffusion as ld
from lattice_diffusion.runs import quantities, runner
from lattice_diffusion.runs.points import Point
from lattice_diffusion.runs.quantities import Quantity, with_errors
from lattice_diffusion.runs.spec import Spec
from lattice_diffusion.store import Journal

N_RADII = 16


def simulated(seconds: float, point: Point, rng: np.random.Generator) -> dict[str, np.ndarray]:
    if seconds:
        time.sleep(seconds)
    return {"simulated": rng.standard_normal(N_RADII), "simulated_stderr": rng.random(N_RADII)}


def register(seconds: float) -> None:
    """Make the simulated quantity known, here and in every worker."""
    columns = with_errors("simulated", ("radius",), "1", "a number that took a set time")
    made = Quantity("simulated", "a simulated point", columns, partial(simulated, seconds), reads=("radii",))
    quantities.QUANTITIES["simulated"] = made


def spec_of(n_points: int) -> Spec:
    """A grid of `n_points` (a multiple of 1000) over ten sides, inverse temperatures and 100 times."""
    betas = {"start": 0.1, "stop": 0.9, "num": n_points // 1000} if n_points >= 2000 else [0.4]
    return Spec(
        name="scale",
        grids={
            "grid": {
                "model": {"name": "ising-chain", "length": list(range(20, 30)), "beta": betas},
                "channel": {"name": "gaussian"},
                "t": {"start": 0.01, "stop": 0.99, "num": 100},
                "radii": list(range(N_RADII)),
                "quantity": "simulated",
            }
        },
    )


@contextlib.contextmanager
def sleepers(workers: int, seconds: float) -> Iterator[Executor]:
    with ProcessPoolExecutor(workers, get_context("spawn"), register, (seconds,)) as pool:
        for future in [pool.submit(time.sleep, 1.0) for _ in range(workers)]:  # all of them started
            future.result()
        yield pool


def timed(spec: Spec, workers: int, pool: Executor | None = None) -> dict[str, float]:
    """One run: seconds by the clock, in points and of this process's CPU, bytes of journal and file."""
    size, in_points = 0, 0.0
    removed, recorded = Journal.remove, runner._Task._record

    def weigh_and_remove(journal: Journal) -> None:
        nonlocal size
        size = journal.path.stat().st_size
        removed(journal)

    def add_and_record(task, chunk, measured) -> None:
        nonlocal in_points
        in_points += sum(one.seconds for one in measured)
        recorded(task, chunk, measured)

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(Journal, "remove", weigh_and_remove),
        patch.object(runner._Task, "_record", add_and_record),
    ):
        path = Path(folder) / "a.h5"
        start, cpu = time.perf_counter(), time.process_time()
        runner.run(spec, path, executor=pool, workers=workers, progress=False)
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
        return {"seconds": took, "in points": in_points, "cpu": cpu, "journal": size, "file": path.stat().st_size}


def overhead(n_points: int, seconds: float, workers: int) -> dict[str, float]:
    """What a large run adds to the time its points take."""
    register(seconds)
    with sleepers(workers, seconds) as pool:
        run = timed(spec_of(n_points), workers, pool)
    kind = f"{n_points} points of {1000 * seconds:g} ms on {workers} sleeping workers"
    return {
        f"{kind}: seconds": run["seconds"],
        f"{kind}: points per second": n_points / run["seconds"],
        f"{kind}: percent added to the run (target 5)": 100 * (run["seconds"] * workers / run["in points"] - 1),
        f"{kind}: microseconds of the writing process per point": 1e6 * run["cpu"] / n_points,
        f"{kind}: percent of a core that the writing process takes": 100 * run["cpu"] / run["seconds"],
        f"{kind}: journal, bytes per point": run["journal"] / n_points,
        f"{kind}: result file, bytes per point": run["file"] / n_points,
        f"{kind}: peak memory of the writing process, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def engines() -> dict[str, float]:
    """Points per second where points cost nothing."""
    register(0.0)
    numbers = {"empty points per second, this process": 20_000 / timed(spec_of(20_000), 1)["seconds"]}
    with sleepers(2, 0.0) as pool:
        numbers["empty points per second, 2 processes"] = 20_000 / timed(spec_of(20_000), 2, pool)["seconds"]
    with contextlib.suppress(ImportError), dask_cluster(2) as client:
        client.run(register, 0.0)
        with contextlib.closing(client):
            took = timed(spec_of(20_000), 2, client.get_executor(pure=False))["seconds"]
            numbers["empty points per second, Dask, 2 workers"] = 20_000 / took
            start = time.perf_counter()
            client.gather([client.submit(float, k, pure=False) for k in range(2000)])
            numbers["tasks per second of the Dask scheduler"] = 2000 / (time.perf_counter() - start)
    return numbers | mpi_job()


def mpi_job() -> dict[str, float]:
    """`mpi_rates` in a job of three ranks; nothing where there is no MPI."""
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if mpiexec is None or importlib.util.find_spec("mpi4py") is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rates.json"
        job = [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", __file__, "--mpi", "--json", str(path)]
        subprocess.run(job, check=True, stdout=subprocess.DEVNULL)
        return dict(json.loads(path.read_text()))


def mpi_rates() -> dict[str, float]:
    from mpi4py.futures import MPIPoolExecutor

    register(0.0)
    with MPIPoolExecutor(2, initializer=register, initargs=(0.0,)) as pool:
        pool.bootup()
        took = timed(spec_of(20_000), 2, pool)["seconds"]
        start = time.perf_counter()
        for future in [pool.submit(float, k) for k in range(2000)]:
            future.result()
        tasks = 2000 / (time.perf_counter() - start)
    return {"empty points per second, MPI, 2 workers": 20_000 / took, "tasks per second of MPI's rank 0": tasks}


@contextlib.contextmanager
def dask_cluster(workers: int) -> Iterator[object]:
    from distributed import Client

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "scheduler.json"
        dask, quiet = [sys.executable, "-m", "dask"], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        here = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(place)]
        path = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        started = [
            subprocess.Popen([*dask, "scheduler", "--port", "0", *here], **quiet),
            subprocess.Popen(
                [*dask, "worker", "--nworkers", str(workers), "--nthreads", "1", *here], env=path, **quiet
            ),
        ]
        try:
            while not (place.exists() and place.read_text().endswith("}")):
                time.sleep(0.05)
            client = Client(json.loads(place.read_text())["address"])
            client.wait_for_workers(workers, timeout=60)
            yield client
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(timeout=60)


def efficiency() -> dict[str, float]:
    """T(1) / (2 T(2)) for sleeping and for computing points, and the share of their time that workers are in points.

    Where other programs load the cores, only the shares tell what the engine adds.
    """
    computing = Spec(
        name="computing",
        grids={
            "grid": {
                "model": {"name": "ising", "length": 8, "beta": {"start": 0.3, "stop": 0.5, "num": 20}},
                "channel": {"name": "gaussian"},
                "t": [0.5, 0.6, 0.7, 0.8, 0.9],
                "radii": [1, 2],
                "n_samples": 1000,
            }
        },
    )
    register(0.015)
    numbers = {}
    for name, spec in (("sleeping", spec_of(2000)), ("computing", computing)):
        seconds = {}
        for workers in (1, 2):
            with sleepers(workers, 0.015) as pool:
                timed(computing, workers, pool)  # compiled and loaded
                run = timed(spec, workers, pool)
            seconds[workers] = run["seconds"]
            share = 100 * run["in points"] / (workers * run["seconds"])
            numbers[f"{name} points, {workers} workers, percent of the workers' time in points"] = share
        numbers[f"{name} points, scaling efficiency 1 to 2 workers, percent"] = 100 * seconds[1] / (2 * seconds[2])
    return numbers


def cost_model() -> dict[str, float]:
    """CPU seconds per noise sample against the side L, and the fitted power or base."""
    numbers = {}
    channel, rng = ld.channels.Gaussian("linear"), np.random.default_rng(0)
    sides, times = [8, 16, 24, 32, 48, 64], []
    for side in sides:
        model, middle = ld.models.DomainWalls((side, side), 0.3), (side - 1) // 2
        parts = [model.tripartition(bond=((middle, middle), (middle, middle + 1)), radius=r) for r in (1, 2)]
        times.append(per_sample(lambda n, m=model, p=parts: ld.exact.cmi_curve(m, channel, 0.5, p, n, rng), 0.4))
        numbers[f"free fermions, L = {side}, milliseconds per sample"] = 1e3 * times[-1]
    power, factor = np.polyfit(np.log(sides[1:]), np.log(times[1:]), 1)
    numbers["free fermions, power of L (fit for L >= 16)"] = power
    numbers["free fermions, microseconds per sample at L = 1 (fit)"] = 1e6 * np.exp(factor)
    sides, times = [10, 11, 12, 13, 14], []
    for side in sides:
        model = ld.models.Ising(ld.Lattice((side, side)), 0.4)
        parts = [model.lattice.tripartition((side // 2, side // 2), r) for r in (1, 2)]
        times.append(per_sample(lambda n, m=model, p=parts: ld.exact.cmi_curve(m, channel, 0.5, p, n, rng), 0.3))
        numbers[f"transfer matrix, L = {side}, milliseconds per sample"] = 1e3 * times[-1]
    slope, _ = np.polyfit(sides, np.log2(np.array(times) / np.square(sides)), 1)
    numbers["transfer matrix, doublings per unit of L beyond L^2 (fit)"] = slope
    return numbers


def per_sample(measure, seconds: float) -> float:
    """CPU seconds per sample, from enough of them to fill `seconds`."""
    measure(2)
    n = 2
    while True:
        start = time.process_time()
        measure(n)
        took = time.process_time() - start
        if took > seconds / 2:
            return took / n
        n = 2 * n if took < seconds / 20 else int(n * seconds / took)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--points", type=int, default=100_000, help="a multiple of 1000")
    options.add_argument("--milliseconds", type=float, default=15.0, help="that every point sleeps")
    options.add_argument("--workers", type=int, default=4, help="that sleep")
    options.add_argument("--mpi", action="store_true", help="as rank 0 of an MPI job: its rates alone")
    given = options.parse_args()
    if given.mpi:
        report(mpi_rates(), given.json)
        return
    numbers = {**engines(), **efficiency(), **cost_model()}
    numbers |= overhead(given.points, given.milliseconds / 1000, given.workers)
    report(numbers, given.json)


if __name__ == "__main__":
    main()
