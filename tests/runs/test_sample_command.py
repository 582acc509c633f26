"""Files of samples: the numbers depend on the seed alone, and a kill at any moment leaves a file to go on with."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numba.core.event import trigger_event

import lattice_diffusion as ld
from lattice_diffusion import results
from lattice_diffusion.errors import InputError
from lattice_diffusion.runs import sampling
from lattice_diffusion.runs.sampling import recipe, sample_to_file
from lattice_diffusion.store import Journal, journal_path

METHOD = "swendsen_wang"
ISING = {"shape": [8, 6], "beta": 0.3, "periodic": True, "burn_in": 10, "thin": 2, "method": METHOD}
LINE = (
    "sample --model ising --shape 8x6 --beta 0.3 --periodic --burn-in 10 --thin 2 --n-samples 50 --batch 8 --seed 4 "
    f"--method {METHOD}"
)


def samples_in(path):
    return results.load(path)["samples"]["samples"].values


def expected(n=50, batch=8, seed=4):
    """Block k is what the k-th spawned generator draws."""
    children = np.random.SeedSequence(seed).spawn(-(-n // batch))
    lattice = ld.Lattice((8, 6), periodic=True)
    blocks = [
        ld.samplers.ising(
            lattice, 0.3, min(batch, n - k * batch), np.random.default_rng(child), METHOD, burn_in=10, thin=2
        )
        for k, child in enumerate(children)
    ]
    return np.concatenate(blocks)


def test_the_file_holds_what_the_sampler_draws(shell, tmp_path):
    code, out, err = shell(f"{LINE} --out a.h5")
    assert (code, out) == (0, "")
    assert err.startswith("ising 8x6: 50 samples, 0.00229 MiB, about ")
    result = results.load(tmp_path / "a.h5")
    variable = results.grids(result)["samples"]["samples"]
    assert result.attrs["complete"]
    assert json.loads(result.attrs["parameters"])["method"] == "swendsen_wang"
    assert (variable.dims, variable.values.dtype) == (("sample", "row", "column"), np.int8)
    assert np.array_equal(variable.values, expected())
    code, out, _ = shell("show a.h5")
    assert code == 0
    assert "(7 of 7 points measured)" in out
    assert "sample: 50, row: 8, column: 6" in out
    assert shell(f"{LINE} --out a.h5 --resume") == (0, "", "See a.h5.\n")


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_do_not_change_the_samples(tmp_path, workers):
    sample_to_file(recipe("ising", ISING), 50, 4, tmp_path / "a.h5", batch=8, workers=workers, progress=False)
    assert np.array_equal(samples_in(tmp_path / "a.h5"), expected())


def test_precision_and_axes_of_other_models(shell, tmp_path):
    line = "sample --model gaussian-field --shape 7 --mass-squared 1 --dtype float32 --n-samples 9 --out g.h5"
    assert shell(line)[0] == 0
    assert samples_in(tmp_path / "g.h5").dtype == np.float32
    assert shell("sample --model domain-walls --shape 3x4 --n-samples 9 --out w.h5 --seed 2")[0] == 0
    assert results.load(tmp_path / "w.h5")["samples"]["samples"].dims == ("sample", "direction", "row", "column")


NUMBERS = {  # as typed, and as the model takes them
    "curie-weiss": ("--beta 1.3", {"beta": 1.3}),
    "domain-walls": ("--beta 0.4", {"beta": 0.4}),
    "gaussian-field": ("--set mass_squared=0.7", {"mass_squared": 0.7}),
    "gaussian-mixture": ("--mean -0.6 --mass-squared 0.5", {"mean": -0.6, "mass_squared": 0.5}),
    "ising": ("--beta 0.4 --set field=0.3 --set anisotropy=2", {"beta": 0.4, "field": 0.3, "anisotropy": 2.0}),
    "ising-chain": ("--beta 0.9", {"beta": 0.9}),
    "potts": ("--set coupling=0.9 --set q=3", {"coupling": 0.9, "q": 3}),
    "potts-chain": ("--set coupling=0.9 --set q=3", {"coupling": 0.9, "q": 3}),
    "random-hierarchy": (
        "--set depth=3 --set branching=2 --set vocabulary=4 --set synonyms=2 --set rules=5",
        {"depth": 3, "branching": 2, "vocabulary": 4, "synonyms": 2, "rules": 5},
    ),
}


@pytest.mark.parametrize("name", [kind.name for kind in ld.models.MODELS])
def test_every_model_is_drawn_from_and_a_stopped_run_goes_on(shell, tmp_path, name, monkeypatch):
    words, numbers = NUMBERS[name]
    shape = (7,) if name.endswith("chain") else (3, 4)
    kind = ld.models.find(name)
    place = (shape,) if kind.geometry else ()
    model = kind.from_parameters(*place, **numbers)
    typed = f"--shape {'x'.join(map(str, shape))}" if place else ""
    line = f"sample --model {name} {typed} {words} --n-samples 10 --batch 4 --seed 2 --out a.h5"
    put, stopped = sampling.SampleFile.put, iter((False, True, False, False))

    def stopping(*arguments):
        if next(stopped):
            raise KeyboardInterrupt
        put(*arguments)

    monkeypatch.setattr(sampling.SampleFile, "put", stopping)
    code, _, err = shell(line)
    assert code == 130
    assert err.endswith("stopped after 4 of 10 samples; run again with --resume to go on\n")
    assert results.load(tmp_path / "a.h5")["samples"]["done"].values.tolist() == [1, 0, 0]
    assert shell(f"{line} --resume")[0] == 0
    found = results.load(tmp_path / "a.h5")
    blocks = [model.sample(n, sampling.block_rng(2, k)) for k, n in enumerate((4, 4, 2))]
    assert np.array_equal(results.grids(found)["samples"]["samples"].values, np.concatenate(blocks))
    assert results.grids(found)["samples"]["samples"].values.dtype == blocks[0].dtype
    assert numbers.items() <= json.loads(found.attrs["parameters"]).items()


# -- stopping and going on -----------------------------------------------------------------------------------------


def test_killed_in_the_middle_of_a_block_the_file_opens_and_goes_on(tmp_path, monkeypatch):
    """SIGKILL between a block's samples and the byte that makes it count."""
    code = (
        "import os, signal; from pathlib import Path; from lattice_diffusion.runs.sampling import *\n"
        "blocks, sync = iter(range(9)), os.fdatasync\n"
        "os.fdatasync = lambda file: sync(file) if next(blocks) < 2 else os.kill(os.getpid(), signal.SIGKILL)\n"
        f"sample_to_file(recipe('ising', {ISING}), 50, 4, Path('a.h5'), batch=8, progress=False)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ld.__file__).parents[1])}
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    assert ended.returncode == -signal.SIGKILL
    path = tmp_path / "a.h5"
    found = results.load(path)["samples"]
    assert found["done"].values.tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert np.array_equal(found["samples"].values[:16], expected()[:16])
    put, blocks = sampling.SampleFile.put, []
    monkeypatch.setattr(sampling.SampleFile, "put", lambda self, k, *rest: (blocks.append(k), put(self, k, *rest)))
    sample_to_file(recipe("ising", ISING), 50, 4, path, batch=8, resume=True, progress=False)
    assert blocks == [2, 3, 4, 5, 6]
    assert results.load(path).attrs["complete"]
    assert np.array_equal(samples_in(path), expected())


@pytest.mark.parametrize(("bad", "dtype"), [(np.inf, np.float64), (np.nan, np.float32), (1e39, np.float32)])
def test_blocks_that_are_not_finite_never_count_as_done(tmp_path, bad, dtype):
    """1e39 is finite in float64 and not in the float32 of the file; the good block before it stays."""

    def draw(n, rng):
        return np.full((n, 3), 1.0 if next(drawn) == 0 else bad)

    drawn = iter(range(9))
    how = sampling.Recipe({"model": "mine", "shape": [3]}, draw, (3,), ("site",), np.dtype(dtype))
    with pytest.raises(InputError, match=r"samples must be finite numbers of float.*, got .* in block 1, which was"):
        sample_to_file(how, 20, 4, tmp_path / "a.h5", batch=5, progress=False)
    result = results.load(tmp_path / "a.h5")
    assert not result.attrs["complete"]
    assert result["samples"]["done"].values.tolist() == [1, 0, 0, 0]


def test_a_second_run_is_kept_out(tmp_path):
    path = tmp_path / "a.h5"
    sample_to_file(recipe("ising", ISING), 8, 4, path, progress=False)
    with Journal(journal_path(path)):
        for how in ({"resume": True}, {"force": True}):
            with pytest.raises(InputError, match=r"a.h5 is being written by another run; wait for it"):
                sample_to_file(recipe("ising", ISING), 8, 4, path, progress=False, **how)
        assert samples_in(path).shape == (8, 8, 6)  # readers are welcome


@pytest.mark.parametrize("force", [False, True])
def test_of_runs_started_at_once_one_wins(tmp_path, monkeypatch, force):
    path, both, plan = tmp_path / "a.h5", threading.Barrier(2), recipe("ising", ISING)
    checked = sampling.check_output
    monkeypatch.setattr(sampling, "check_output", lambda *given, **how: (checked(*given, **how), both.wait(30)))

    def begin(seed):
        sample_to_file(plan, 50, seed, path, batch=8, force=force, progress=False)

    with ThreadPoolExecutor(2) as pool:
        failed = [future.exception() for future in [pool.submit(begin, 4), pool.submit(begin, 4)]]
    refused = [error for error in failed if error is not None]
    assert len(refused) == 1 or (force and not refused)  # the second may begin when the first has ended
    assert all("by another run" in str(error) for error in refused)
    assert np.array_equal(samples_in(path), expected())
    assert [item.name for item in tmp_path.iterdir()] == ["a.h5"]


def test_an_unfinished_run_of_a_spec_is_not_taken_for_samples(tmp_path):
    with Journal(journal_path(tmp_path / "a.h5")) as journal:
        journal.append([{"spec": 1}])
    with pytest.raises(InputError, match=r"a.h5.journal is of a run of another kind; use --force"):
        sample_to_file(recipe("ising", ISING), 8, 4, tmp_path / "a.h5", resume=True, progress=False)
    assert journal_path(tmp_path / "a.h5").stat().st_size > 0


def test_a_reader_that_holds_the_file_open_does_not_spoil_the_end(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    sampling.create(path, replace(plan := recipe("ising", ISING), parameters={}), 8, 4, 8)
    code = f"import h5py, sys; file = h5py.File({str(path)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout.readline() == b"open\n"
        with sampling.SampleFile(path) as file:
            file.put(0, 0, plan.draw(8, np.random.default_rng(0)))
        reader.stdin.close()
    assert results.load(path).attrs["complete"]


def test_a_reader_in_the_same_process_does_not_spoil_the_end(tmp_path, monkeypatch):
    path, readers, put = tmp_path / "a.h5", [], sampling.SampleFile.put

    def reading(*arguments):
        readers.append(h5py.File(path, "r"))
        put(*arguments)

    monkeypatch.setattr(sampling.SampleFile, "put", reading)
    sample_to_file(recipe("ising", ISING), 50, 4, path, batch=8, progress=False)
    for reader in readers:
        reader.close()
    assert results.load(path).attrs["complete"]
    assert np.array_equal(samples_in(path), expected())


@pytest.mark.slow
def test_the_estimate_leaves_out_the_time_of_compiling(tmp_path, capfd):
    def draw(n, rng):
        with trigger_event("numba:compile"):
            time.sleep(0.3)
        return np.ones((n, 8, 6), np.int8)

    sample_to_file(replace(recipe("ising", ISING), draw=draw), 60, 4, tmp_path / "a.h5", batch=1)
    assert re.search(r"about \d+ s on 1 worker", capfd.readouterr().err)


def test_large_arrays_stay_on_disk_until_they_are_looked_at(tmp_path, monkeypatch):
    sample_to_file(recipe("ising", ISING), 50, 4, tmp_path / "a.h5", batch=8, progress=False)
    monkeypatch.setattr(results, "LAZY_BYTES", 1000)
    with results.load(tmp_path / "a.h5") as tree:
        samples = tree["samples"]["samples"]
        assert not samples.variable._in_memory
        assert np.array_equal(samples[3:9].values, expected()[3:9])


def test_a_disk_that_is_too_small_is_refused_before_anything_is_drawn(shell, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling.shutil, "disk_usage", lambda folder: type("", (), {"free": 2**20}))
    code, out, err = shell("sample --model ising --shape 8x6 --beta 0.3 --n-samples 100000 --out a.h5")
    assert (code, out) == (2, "")
    assert err.startswith("error: 100000 samples need 0.00522 GiB, and the disk of ")
    assert err.endswith(" has 0.000977 GiB free; take fewer samples or another folder\n")
    assert not list(tmp_path.iterdir())


# -- refusals ------------------------------------------------------------------------------------------------------


def test_bad_input_is_refused_in_one_sentence(shell, tmp_path):
    assert shell(f"{LINE} --out a.h5")[0] == 0
    with h5py.File(tmp_path / "foreign.h5", "w"):
        pass
    base = "sample --model ising --shape 8x6 --beta 0.3 --out b.h5 --n-samples"
    for line, sentence in [
        (f"{base} 0", "Invalid value for '--n-samples'"),
        (f"{base} 1000000000000000", "n_samples is too large: it needs about "),
        (f"{base} 5 --set std=3", "--std has no meaning for ising, which takes --shape, --beta, --set field=..,"),
        (f"{base} 5 --periodic 2", "--periodic must list axes from 0 to 1, got 2"),
        (f"{base} 5 --set field", "--set must look like field=0.3, got 'field'; a name and a number"),
        (f"{base} 5".replace("8x6", "0x6"), "shape must be positive integers"),
        (f"{LINE} --out a.h5", "a.h5 exists; use --resume to go on with it, --force to overwrite it, or another name"),
        (f"{LINE} --out none/a.h5", "there is no folder none for a.h5; make it first"),
        (f"{LINE} --out a.h5 --resume --seed 5", "a.h5 holds another experiment: seed is 4 there and 5 here"),
        (f"{LINE} --out foreign.h5 --resume", "foreign.h5 is an HDF5 file, but not written by lattice_diffusion"),
    ]:
        code, out, err = shell(line)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"error: {sentence}"), (line, err)
    assert np.array_equal(samples_in(tmp_path / "a.h5"), expected())
    assert {item.name for item in tmp_path.iterdir()} == {"a.h5", "foreign.h5"}
