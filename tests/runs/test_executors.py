"""One process, two, a Dask cluster and MPI ranks give the same bits; what is missing or away is said."""

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
from test_runner import assert_same_datasets

from lattice_diffusion import results
from lattice_diffusion.cli import main
from lattice_diffusion.errors import InputError
from lattice_diffusion.runs import executors
from lattice_diffusion.runs.executors import InProcess, open_engine, pilots
from lattice_diffusion.runs.points import points
from lattice_diffusion.runs.runner import measure_points, run
from lattice_diffusion.runs.spec import Spec, load
from lattice_diffusion.store import journal_path

ROOT = Path(__file__).parents[2]
SPEC = """
name = "every kind of point"
seed = 3
[grids.adaptive]
model = { name = "ising-chain", length = 20, beta = { start = 0.2, stop = 1.0, num = 5 } }
channel = { name = "gaussian" }
t = [0.5, 0.8, 0.9]
radii = [1, 2]
n_samples = 50
target_relative_error = 0.1
max_samples = 400
[grids.square]
model = { name = "ising", shape = [5, 4], beta = [0.3, 0.5] }
channel = { name = "bitflip" }
t = [0.2, 0.4]
radii = [0, 1]
n_samples = 50
[grids.loops]
model = { name = "domain-walls", length = 5, beta = 0.3 }
channel = { name = "gaussian" }
t = [0.4, 0.6]
radii = [1]
n_samples = 50
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    (folder / "spec.toml").write_text(SPEC)
    return folder


@pytest.fixture(scope="module")
def alone(folder):
    run(load(folder / "spec.toml"), folder / "alone.h5", progress=False)
    return results.load(folder / "alone.h5")


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def cluster():
    """A Dask scheduler on loopback with two worker processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=logging.CRITICAL
    ) as cluster:
        yield cluster


def assert_same_bits(one, other):
    assert one.attrs["complete"]
    assert other.attrs["complete"]
    assert_same_datasets(one, other)


def test_two_processes(folder, alone):
    before = dict(os.environ)
    assert_same_bits(run(load(folder / "spec.toml"), folder / "two.h5", workers=2, progress=False), alone)
    assert dict(os.environ) == before
    assert not [item for item in folder.iterdir() if item.name.startswith("two.h5.")]


def test_a_cluster(folder, alone, cluster):
    address = cluster.scheduler_address
    assert main(["run", str(folder / "spec.toml"), "--out", str(folder / "dask.h5"), "--scheduler", address]) == 0
    assert_same_bits(results.load(folder / "dask.h5"), alone)


def test_a_cluster_from_a_running_event_loop_loses_a_worker(folder, alone, cluster):
    """The points of a worker that is killed are measured by another one."""
    path, worker, killed = folder / "loop.h5", next(iter(cluster.workers.values())), []

    def kill():
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if journal_path(path).exists() and journal_path(path).read_bytes().count(b"\n") > 2:
                os.kill(worker.pid, signal.SIGKILL)
                killed.append(time.monotonic())
                return
            time.sleep(0.002)

    async def notebook():
        return run(load(folder / "spec.toml"), path, scheduler=cluster.scheduler_address, progress=False)

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        result = asyncio.run(notebook())
        ended = time.monotonic()
        killing.result()
    assert killed[0] < ended
    assert_same_bits(result, alone)


def test_a_scheduler_that_goes_away_is_said_in_one_sentence(folder, capsys, monkeypatch):
    pytest.importorskip("distributed")
    place, quiet = folder / "lonely.json", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    with subprocess.Popen([*command, "--scheduler-file", str(place)], **quiet) as scheduler:
        while not (place.exists() and place.read_text().endswith("}")):
            assert scheduler.poll() is None
            time.sleep(0.05)
        address = json.loads(place.read_text())["address"]
        said = mock.Mock(side_effect=lambda sentence: scheduler.kill())
        monkeypatch.setattr(executors, "say", said)
        assert main(["run", str(folder / "spec.toml"), "--out", str(folder / "gone.h5"), "--scheduler", address]) == 2
    said.assert_called_once_with(f"the scheduler at {address} has no workers yet; waiting for them")
    gone = f"the scheduler at {address} went away; the points done are kept: run again with --resume"
    assert capsys.readouterr().err == f"error: {gone}\n"


def test_mpi_ranks(folder, alone):
    pytest.importorskip("mpi4py")
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if mpiexec is None:
        pytest.skip("no mpiexec")
    program = [sys.executable, "-m", "mpi4py.futures", "-m", "lattice_diffusion"]
    command = [mpiexec, "-n", "3", *program, "run", "spec.toml", "--out", "mpi.h5", "--scheduler", "mpi"]
    ended = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert_same_bits(results.load(folder / "mpi.h5"), alone)
    lonely = [sys.executable, "-m", "lattice_diffusion", "run", "spec.toml", "--out", "no.h5", "--scheduler", "mpi"]
    ended = subprocess.run(lonely, cwd=folder, env=environment(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "--scheduler mpi needs N >= 2 ranks, one of which writes, got 1; start as mpiexec -n N" in ended.stderr


@pytest.fixture
def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def refused(folder, scheduler, capsys):
    start = time.monotonic()
    assert main(["run", str(folder / "spec.toml"), "--out", str(folder / "no.h5"), "--scheduler", scheduler]) == 2
    assert time.monotonic() - start < 120  # seconds, on a busy machine
    assert not (folder / "no.h5.journal").exists()
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    return sentence


def test_no_scheduler_is_said_at_once(folder, capsys, closed_port):
    pytest.importorskip("distributed")
    address = f"tcp://127.0.0.1:{closed_port}"
    wanted = f"error: no scheduler at {address}: Connection refused; start one with `dask scheduler`, or check the"
    assert refused(folder, address, capsys).startswith(wanted)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        assert f"no Dask scheduler answers at {address}, though" in refused(folder, address, capsys)
    for address in ("tcp://nowhere", "tcp://:1", "tcp://127.0.0.1:99999"):
        assert f"scheduler must look like tcp://10.0.0.1:8786, got '{address}'" in refused(folder, address, capsys)
    assert "must be tcp://HOST:PORT of a Dask scheduler, tls://.. or mpi, got 'ray'" in refused(folder, "ray", capsys)


def test_a_missing_extra_is_named(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    wanted = "needs Dask, which is not installed; pip install 'lattice-diffusion[cluster]'\n"
    assert wanted in refused(folder, "tcp://a:1", capsys)
    wanted = "error: --scheduler mpi needs mpi4py and MPI itself; pip install 'lattice-diffusion[mpi]'\n"
    assert refused(folder, "mpi", capsys) == wanted


def test_options_that_exclude_each_other(folder, capsys):
    both = ["--scheduler", "mpi", "--workers", "2"]
    assert main(["run", str(folder / "spec.toml"), "--out", str(folder / "no.h5"), *both]) == 2
    assert "give --workers or --scheduler, which has workers of its own" in capsys.readouterr().err
    with pytest.raises(InputError, match="got both; give one"), open_engine(InProcess(), "mpi", 1):
        pass


def test_a_worker_of_another_version_does_not_measure():
    with pytest.raises(InputError, match=r"^workers must have lattice_diffusion 99\.0, got .*; install the same"):
        measure_points([], 0, "99.0")


def test_pilots_of_several_kinds_take_turns():
    table = {"channel": {"name": "erasure"}, "t": [0.1, 0.3, 0.5, 0.7, 0.9], "radii": [1]}
    grids = {name: {**table, "model": {"name": "ising-chain", "length": 9, "beta": 0.5}} for name in ("a", "b")}
    todo = points(Spec(name="two", grids=grids))
    first, rest = pilots(todo, 3)
    assert [point.grid for point in first] == ["a", "b"] * 3  # workers that start together compile different kernels
    assert sorted(map(str, [*first, *rest])) == sorted(map(str, todo))
