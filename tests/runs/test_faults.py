"""What a run survives: the short form of the benchmark of faults, and those that need the parts themselves."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_runner import assert_same_datasets, interrupt

from lattice_diffusion import results, store
from lattice_diffusion.progress import asks_to_stop
from lattice_diffusion.runs import runner
from lattice_diffusion.runs.quantities import evaluate
from lattice_diffusion.runs.runner import Interrupted, run
from lattice_diffusion.runs.spec import Spec
from lattice_diffusion.store import Journal, journal_path, read_records

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spec():
    model = {"name": "ising-chain", "length": 20, "beta": [0.5, 0.9]}
    grid = {"model": model, "channel": {"name": "gaussian"}, "t": [0.3, 0.6, 0.9], "radii": [1, 2], "n_samples": 50}
    return Spec(name="one", grids={"chain": grid})


@pytest.mark.slow
def test_every_kind_of_fault(tmp_path):
    command = [sys.executable, "faults.py", "--quick", "--json", str(tmp_path / "faults.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=ROOT / "benchmarks", env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    table = json.loads((tmp_path / "faults.json").read_text())
    assert sum(row["trials"] for row in table.values()) >= 18
    assert sum(row["failed"] for row in table.values()) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_a_point_end_and_the_second_does_not(spec, tmp_path, monkeypatch, capfd, number):
    path = tmp_path / "a.h5"
    calls = {"begun": 0, "ended": 0}

    def measure(*args, signals):
        calls["begun"] += 1
        if calls["begun"] == 3:
            for _ in range(signals):
                os.kill(os.getpid(), number)
        answer = evaluate(*args)
        calls["ended"] += 1
        return answer

    monkeypatch.setattr(runner, "evaluate", lambda *args: measure(*args, signals=1))
    with pytest.raises(Interrupted, match=r"^stopped after 3 of 6 points"):
        run(spec, path, progress=False)
    assert calls == {"begun": 3, "ended": 3}
    assert results.load(path)["chain"]["done"].values.sum() == 3
    assert capfd.readouterr().err == "stopping when the points under way have ended; once more to stop at once\n"
    monkeypatch.setattr(runner, "evaluate", lambda *args: measure(*args, signals=2))
    calls.update(begun=2, ended=2)
    with pytest.raises(Interrupted, match=r"^stopped after 3 of 6 points"):
        run(spec, path, resume=True, progress=False)
    assert calls == {"begun": 3, "ended": 2}
    monkeypatch.undo()
    assert run(spec, path, resume=True, progress=False).attrs["complete"]


def test_signals_are_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with asks_to_stop() as stop:
        assert signal.getsignal(signal.SIGTERM) is stop
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_line_that_the_disk_takes_half_of_is_taken_back(tmp_path, monkeypatch):
    left, write = iter((10, 0)), os.write

    def full(number, text):
        taken = next(left)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(number, text[:taken])

    with Journal(tmp_path / "a.h5.journal") as journal:
        journal.append([{"x": 0.1}])
        whole = journal.path.read_bytes()
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match=r"No space left on device: .*a\.h5\.journal"):
            journal.append([{"x": 0.2, "y": [1.0, 2.0]}])
        monkeypatch.undo()
        assert journal.path.read_bytes() == whole
        assert list(journal.records()) == [{"x": 0.1}]


def test_a_disk_that_is_full_for_the_result_file_leaves_the_old_one(spec, tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    checkpoints = iter(range(100))
    replace = os.replace

    def full(source, target):
        if os.fspath(target) == os.fspath(path) and next(checkpoints) == 1:  # numba replaces its files, too
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(runner, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(runner, "CHECKPOINT_SHARE", 1e9)
    monkeypatch.setattr(os, "replace", full)
    message = r"a\.h5 cannot be written: No space left on device; the points done are kept: make room and run again"
    with pytest.raises(OSError, match=message):
        run(spec, path, progress=False)
    assert results.load(path)["chain"]["done"].values.sum() == 2  # the last attempt had room again
    assert run(spec, path, resume=True, progress=False).attrs["complete"]
    assert [item.name for item in tmp_path.iterdir()] == ["a.h5"]


def test_a_journal_begun_late_has_the_points_of_the_file(spec, tmp_path, monkeypatch):
    """File alone, then journal alone: both have everything each time."""
    path = tmp_path / "a.h5"
    unbroken = run(spec, tmp_path / "b.h5", progress=False)

    interrupt(spec, path, monkeypatch, 3, resume=True)
    journal_path(path).unlink()
    interrupt(spec, path, monkeypatch, 1, resume=True)
    path.unlink()
    interrupt(spec, path, monkeypatch, 1, resume=True)
    path.write_bytes(path.read_bytes()[:2000])  # torn
    measured = []
    monkeypatch.setattr(runner, "evaluate", lambda *args: measured.append(0) or evaluate(*args))
    again = run(spec, path, resume=True, progress=False)
    assert len(measured) == 1
    assert_same_datasets(again, unbroken)


def test_a_file_system_without_locks_is_written_to_and_said(tmp_path, monkeypatch, capsys):
    def no_locks(number, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(store.fcntl, "flock", no_locks)
    with Journal(tmp_path / "a.journal") as journal:
        journal.append([{"x": 1}])
    assert [*read_records(tmp_path / "a.journal")] == [{"x": 1}]
    said = capsys.readouterr().err
    assert said.startswith("warning: ")
    assert said.count("has no file locks (No locks available)") == said.count("\n") == 1
