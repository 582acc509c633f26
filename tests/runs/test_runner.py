"""Runs: the same numbers for any executor, after any interruption; nothing lost, nothing overwritten."""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from lattice_diffusion import results
from lattice_diffusion.errors import InputError
from lattice_diffusion.runs import runner
from lattice_diffusion.runs.executors import process_pool
from lattice_diffusion.runs.quantities import evaluate
from lattice_diffusion.runs.runner import Interrupted, PointFailed, run
from lattice_diffusion.runs.spec import Spec
from lattice_diffusion.store import Journal, journal_path

ROOT = Path(__file__).parents[2]


def chain(**changes):
    model = {"name": "ising-chain", "length": 20, "beta": [0.5, 0.9]}
    times = {"t": [0.3, 0.6, 0.9], "radii": [1, 2, 12], "n_samples": 50}
    return {"model": model, "channel": {"name": "gaussian"}, **times, **changes}


@pytest.fixture(scope="module")
def spec():
    square = {"name": "ising", "shape": [5, 4], "beta": [0.3, 0.5]}
    cw = {"name": "curie-weiss", "regions": [[1, 3, 8], [2, 5, 20]], "beta": 1.2}
    mixture = {"name": "gaussian-mixture", "length": [5, 7], "mean": 1.0, "std": 0.7}
    field = {"name": "gaussian-field", "length": 9, "dimension": 1, "mass_squared": [0.1, 1.0]}
    vp = {"name": "gaussian", "schedule": "vp"}
    grids = {
        "chain": chain(),
        "square": chain(model=square, channel={"name": "bitflip"}, t=[0.4], radii=[0, 1, 4]),
        "cw": {"model": cw, "channel": {"name": "erasure"}, "t": [0.0, 0.5, 1.0]},
        "mixture": chain(model=mixture, channel=vp, t=[0.5, 0.8], radii=[1], method="sampled"),
        "field": {"model": field, "channel": {"name": "gaussian"}, "t": [0.5], "radii": [1, 2]},
    }
    return Spec(name="all", seed=11, grids=grids)


@pytest.fixture(scope="module")
def unbroken(spec, tmp_path_factory):
    path = tmp_path_factory.mktemp("unbroken") / "a.h5"
    run(spec, path, progress=False)
    return results.load(path)


def assert_same_datasets(one, other):
    assert results.grids(one).keys() == results.grids(other).keys()
    for grid, data in results.grids(one).items():
        xr.testing.assert_identical(data, results.grids(other)[grid])
        assert all(x.values.tobytes() == other[grid][name].values.tobytes() for name, x in data.variables.items())


class LastFirst(ThreadPoolExecutor):
    """Of every three points handed over together, the last one ends first."""

    def __init__(self):
        super().__init__(3)
        self.count = itertools.count()

    def submit(self, fn, /, *args, **kwargs):
        delay = 0.03 * (2 - next(self.count) % 3)
        return super().submit(lambda: (time.sleep(delay), fn(*args, **kwargs))[1])


def test_the_result_holds_every_point_with_its_coordinates(spec, unbroken):
    assert unbroken.attrs["complete"]
    assert json.loads(str(unbroken.attrs["parameters"])) == json.loads(spec.to_json())
    assert unbroken.attrs["seed"] == "11"
    grid = unbroken["chain"]
    assert grid["cmi"].dims == ("beta", "t", "radius")
    assert grid["cmi_covariance"].dims == ("beta", "t", "radius", "radius_2")
    assert grid["beta"].values.tolist() == [0.5, 0.9]
    assert unbroken["cw"]["cmi"].dims == ("size", "t", "radius")
    for variables in results.grids(unbroken).values():
        assert variables["done"].values.all()
        assert np.isfinite(variables["cmi"].values).all()
        assert (variables["cmi"].values >= -1e-15).all()
        variance = np.diagonal(variables["cmi_covariance"].values, axis1=-2, axis2=-1)
        assert variables["cmi_stderr"].values == pytest.approx(np.sqrt(variance))
    assert (grid["cmi"].values[..., :2] > 0).all()


def test_an_empty_c_gives_exactly_zero(unbroken):
    assert not unbroken["chain"]["cmi"].values[..., 2].any()
    assert not unbroken["square"]["cmi_stderr"].values[..., 2].any()


def test_any_executor_gives_the_same_numbers(spec, unbroken, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        assert_same_datasets(run(spec, tmp_path / "a.h5", executor=pool, workers=2, progress=False), unbroken)
        assert pool.submit(int, 3).result() == 3  # still the caller's
    one = Spec(name="all", seed=11, grids={"chain": chain()})
    with LastFirst() as pool:
        result = run(one, tmp_path / "b.h5", executor=pool, progress=False)
    assert_same_datasets(result, results.tree({}, {"chain": unbroken["chain"].variables}))


def test_extending_a_grid_keeps_its_numbers(unbroken, tmp_path):
    model = {"name": "ising-chain", "length": 20, "beta": [0.9, 0.7, 0.5]}
    longer = Spec(name="longer", seed=11, grids={"new": chain(model=model, t=[0.9, 0.5, 0.3])})
    grid = run(longer, tmp_path / "a.h5", progress=False)["new"]
    before, after = unbroken["chain"]["cmi"].values, grid["cmi"].values
    assert after[2, 0].tobytes() == before[0, 2].tobytes()
    assert after[0, 2].tobytes() == before[1, 0].tobytes()


@contextlib.contextmanager
def stops_after(monkeypatch, n_points, error):
    """`error` is raised in place of measuring a point more than `n_points`."""
    calls = iter(range(10**6))

    def stumble(*args):
        if next(calls) >= n_points:
            raise error
        return evaluate(*args)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "evaluate", stumble)
        yield


def interrupt(spec, path, monkeypatch, n_points, **how):
    message = r"^stopped after .* points; run again with --resume to go on$"
    with stops_after(monkeypatch, n_points, KeyboardInterrupt()), pytest.raises(Interrupted, match=message):
        run(spec, path, progress=False, **how)


def test_an_interrupted_run_keeps_its_points(spec, unbroken, tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    interrupt(spec, path, monkeypatch, 5)
    half = results.load(path)
    assert not half.attrs["complete"]
    done = {name: variables["done"].values.astype(bool) for name, variables in results.grids(half).items()}
    assert sum(int(x.sum()) for x in done.values()) == 5
    for name, variables in results.grids(half).items():
        assert np.isnan(variables["cmi"].values[~done[name]]).all()
    with stops_after(monkeypatch, 15, AssertionError("measured again what was there")):
        again = run(spec, path, resume=True, progress=False)
    assert_same_datasets(again, unbroken)
    assert again.attrs["created"] == half.attrs["created"]
    assert [item.name for item in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("damage", ["no journal", "no result", -1, -30, -400, 20])
def test_half_a_record_is_enough_to_resume(spec, unbroken, tmp_path, monkeypatch, damage):
    """Without journal or result nothing is measured again; a line of the journal that is torn is, without result."""
    path, journal = tmp_path / "a.h5", journal_path(tmp_path / "a.h5")
    interrupt(spec, path, monkeypatch, 5)
    (journal if damage == "no journal" else path).unlink()
    if isinstance(damage, int):  # 20: in the header
        journal.write_bytes(journal.read_bytes()[:damage])
    with stops_after(monkeypatch, 20 if isinstance(damage, int) else 15, AssertionError("measured again")):
        assert_same_datasets(run(spec, path, resume=True, progress=False), unbroken)


def test_a_damaged_journal_is_refused(spec, tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    interrupt(spec, path, monkeypatch, 5)
    lines = journal_path(path).read_bytes().splitlines(keepends=True)
    for journal, sentence in {
        b"".join([*lines[:2], b"garbage\n", *lines[3:]]): r"a\.h5\.journal is damaged or of another kind: line 3",
        b'{"schema": "diary"}\n': "is not a journal of this version",
    }.items():
        journal_path(path).write_bytes(journal)
        with pytest.raises(InputError, match=sentence):
            run(spec, path, resume=True, progress=False)


def test_a_finished_file_is_returned_at_once(tmp_path, monkeypatch):
    spec = Spec(name="one", grids={"chain": chain()})
    result = run(spec, tmp_path / "a.h5", progress=False)
    journal_path(tmp_path / "a.h5").touch()  # killed just before it was removed
    with stops_after(monkeypatch, 0, AssertionError("measured again what was there")):
        assert_same_datasets(run(spec, tmp_path / "a.h5", resume=True, progress=False), result)
    assert [item.name for item in tmp_path.iterdir()] == ["a.h5"]


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / "a.h5"
    spec = Spec(name="one", grids={"chain": chain()})
    first = run(spec, path, progress=False)
    with pytest.raises(FileExistsError, match=r"a\.h5 exists; use --resume to go on with it, --force to overwrite"):
        run(spec, path, progress=False)
    other = Spec(name="one", seed=1, grids={"chain": chain()})
    with pytest.raises(InputError, match=r"a\.h5 holds another experiment: seed is 0 there and 1 here; use --force"):
        run(other, path, resume=True, progress=False)
    other = Spec(name="one", grids={"chain": chain(t=[0.3, 0.6])})
    with pytest.raises(InputError, match=r"grids\.chain\.t is \[0\.3, 0\.6, 0\.9\] there and \[0\.3, 0\.6\] here"):
        run(other, path, resume=True, progress=False)
    assert_same_datasets(results.load(path), first)
    assert run(other, path, force=True, progress=False)["chain"]["cmi"].values.shape == (2, 2, 3)
    with pytest.raises(ValueError, match="give one of the two"):
        run(other, path, force=True, resume=True, progress=False)
    with pytest.raises(ValueError, match="workers must be >= 1, got 0"):
        run(other, path, workers=0, progress=False)


def test_another_version_is_not_mixed_in(tmp_path, monkeypatch):
    spec = Spec(name="one", grids={"chain": chain()})
    interrupt(spec, tmp_path / "a.h5", monkeypatch, 3)
    monkeypatch.setattr("lattice_diffusion.store.__version__", "99.0")
    with pytest.raises(
        InputError, match=r"a\.h5 was begun by lattice_diffusion .*; finish it with that, or use --force"
    ):
        run(spec, tmp_path / "a.h5", resume=True, progress=False)


def test_two_runs_on_one_file_are_refused(tmp_path):
    spec = Spec(name="one", grids={"chain": chain()})
    with Journal(journal_path(tmp_path / "a.h5")), pytest.raises(InputError, match="is being written by another run"):
        run(spec, tmp_path / "a.h5", force=True, progress=False)


def test_parameters_are_refused_before_anything_is_computed(tmp_path):
    field = {"name": "gaussian-field", "length": 4, "mass_squared": 1.0}
    for name, grid, sentence in [
        ("wide", {"model": {"name": "ising", "length": [4, 15], "beta": 0.4}}, r"length = 15, t = 0\.\d: .*side <= 14"),
        (
            "cold",
            {"model": {"name": "ising", "length": 4, "beta": [0.4, -0.3]}},
            r"beta = -0\.3, t = 0\.3: beta must",
        ),
        ("field", {"model": field, "channel": {"name": "bitflip"}}, r"t = 0\.3: real-valued data take the gaussian"),
        ("off", {"center": [20]}, r"beta = 0\.5, t = 0\.3: center must be a site of the 20"),
    ]:
        with pytest.raises(InputError, match=rf"^grids\.{name} at {sentence}"):
            run(Spec(name="one", grids={"chain": chain(), name: chain(**grid)}), tmp_path / "a.h5", progress=False)
    assert not list(tmp_path.iterdir())


def test_a_refusal_while_measuring_leaves_an_old_file_alone(tmp_path):
    path = tmp_path / "a.h5"
    old = run(Spec(name="one", grids={"chain": chain()}), path, progress=False)
    no_closed_form = Spec(name="one", grids={"chain": chain(method="closed")})
    with pytest.raises(InputError, match=r"^grids\.chain at beta = 0\.\d, t = 0\.\d: no closed form is known"):
        run(no_closed_form, path, force=True, progress=False)
    assert_same_datasets(results.load(path), old)
    assert [item.name for item in tmp_path.iterdir()] == ["a.h5"]


def test_a_defect_names_its_point(tmp_path, monkeypatch):
    spec = Spec(name="one", grids={"chain": chain()})
    error = ZeroDivisionError("division by zero")
    message = r"^grids\.chain at beta = 0\.\d, t = 0\.\d: ZeroDivisionError: division by zero$"
    with stops_after(monkeypatch, 4, error), pytest.raises(PointFailed, match=message) as caught:
        run(spec, tmp_path / "a.h5", progress=False)
    assert caught.value.__cause__ is error
    run(spec, tmp_path / "a.h5", resume=True, progress=False)


def test_a_dead_worker_is_reported():
    message = r"^a worker process died.*: run again with --resume and fewer --workers$"
    with pytest.raises(ChildProcessError, match=message), process_pool(2) as pool:
        pool.submit(os._exit, 1).result()


def test_the_cost_is_said_before_it_is_paid(tmp_path, capfd):
    run(Spec(name="one", grids={"chain": chain(t=[0.1, 0.2, 0.3, 0.4], radii=[1, 2])}), tmp_path / "a.h5")
    out, err = capfd.readouterr()
    assert out == ""
    first = "one: 8 points, 2 of them first, which tell the cost\n"
    assert re.fullmatch(first + r"one: the other 6 points take about \d+ s on 1 worker\n", err)
    run(Spec(name="few", grids={"chain": chain(t=[0.1], radii=[1])}), tmp_path / "few.h5")
    assert capfd.readouterr() == ("", "few: 2 points, too few to tell the cost\n")
    run(Spec(name="one", grids={"chain": chain(radii=[1])}), tmp_path / "b.h5", progress=False)
    assert capfd.readouterr() == ("", "")


def test_the_cost_is_said_once_whatever_ends_first(spec, tmp_path, capfd):
    with LastFirst() as pool:
        run(spec, tmp_path / "a.h5", executor=pool, workers=3)
    *_, first, rest = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"all: 20 points, \d+ of them first, which tell the cost", first)
    assert re.fullmatch(r"all: the other \d+ points take about \d+ s on 3 workers", rest)


WAITS = """
import time
from dataclasses import dataclass
from pathlib import Path

import lattice_diffusion as ld


@dataclass(frozen=True)
class Waits(ld.models.IsingChain):
    name = "waits"

    def sample(self, *args, **how):
        while Path("hold").exists() and Path("a.h5.journal").read_bytes().count(b"\\n") > 3:
            time.sleep(0.01)
        return super().sample(*args, **how)
"""


def wait_until(happened):
    deadline = time.monotonic() + 300  # a machine may be busy
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_kill_9_then_resume_equals_an_unbroken_run(tmp_path, monkeypatch):
    """A run of two workers, killed while its points wait for a file to go away."""
    monkeypatch.chdir(tmp_path)
    Path("waits.py").write_text(WAITS)
    Path("hold").touch()
    model = {"name": "waits.py:Waits", "length": 20, "beta": [0.3, 0.5, 0.7, 0.9]}
    spec = Spec(name="waits", grids={"chain": chain(model=model)})
    Path("run.py").write_text(
        "from lattice_diffusion.runs.runner import run; from lattice_diffusion.runs.spec import Spec\n"
        f"if __name__ == '__main__': run(Spec.model_validate_json({spec.to_json()!r}), 'a.h5', workers=2)"
    )
    process = subprocess.Popen([sys.executable, "run.py"], env={**os.environ, "PYTHONPATH": str(ROOT)})
    journal = journal_path(Path("a.h5"))
    wait_until(lambda: process.poll() is not None or (journal.exists() and journal.read_bytes().count(b"\n") > 3))
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: not any(map(is_alive, workers)))  # workers do not outlive a killed run
    Path("hold").unlink()
    n_left = 12 - journal.read_bytes().count(b"\n") + 1
    with stops_after(monkeypatch, n_left, AssertionError("measured again what was there")):
        again = run(spec, "a.h5", resume=True, progress=False)
    assert_same_datasets(again, run(spec, "b.h5", progress=False))
    assert sorted(item.name for item in tmp_path.glob("*.h5*")) == ["a.h5", "b.h5"]
