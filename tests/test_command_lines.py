"""Command lines that nobody should type: one sentence and exit code 2, never a traceback."""

from pathlib import Path

import numpy as np
import pytest

from lattice_diffusion import cli, errors, results
from lattice_diffusion.runs import runner

GIB = 2**30
SPEC = """
t = [0.2, 0.5]
radii = [1]
model = { name = "ising-chain", length = 6, beta = [0.5, 0.9] }
channel = { name = "erasure" }
"""
ISING = "--model ising --shape 4x3 --beta 0.4"


class Reached(Exception):
    """All input was accepted and the computing would begin."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of good and bad files, a machine that says it has one GiB, and runs that stop where they begin."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(errors, "available_memory", lambda: GIB)

    def reached(*args):
        raise Reached

    monkeypatch.setattr(runner, "open_engine", reached)
    t = np.array([0.25, 0.5])
    grid = {"t": results.variable(("t",), t, "1", "time"), "cmi": results.variable(("t",), t, "nat", "information")}
    results.write("a.h5", results.tree(results.provenance("ising", "{}", 7, complete=False), {"grid": grid}))
    Path("text.h5").write_text("text")
    Path("a.toml").write_text(SPEC)
    Path("huge.toml").write_text(SPEC.replace("length = 6", "length = 1000000000000"))
    np.save("images.npy", np.random.default_rng(1).integers(0, 256, (40, 8, 8)).astype(np.uint8))
    np.save("objects.npy", np.array([None]), allow_pickle=True)
    return tmp_path


@pytest.fixture
def answer(place, capfd):
    def tried(line):
        capfd.readouterr()
        try:
            code = cli.main(line.split())
        except Reached:
            return None, ""
        return code, capfd.readouterr().err

    return tried


@pytest.mark.parametrize(
    "line",
    [
        f"cmi {ISING} --t 1e400 --radius 1",
        f"cmi {ISING} --t 0.3 --radius 1 --samples 1000000000000",
        f"cmi {ISING} --t 0.3 --radius 1 --channel none.py:Noise",
        "cmi --model none.py:Model --shape 4x3 --t 0.3 --radius 1",
        "cmi --model gaussian-field --shape 1000000x1000000 --mass-squared 1 --t 0.3 --radius 1",
        "cmi --model domain-walls --shape 4x3 --t 0.3 --radius 1 --bond 0,0,0,1 --block 0,0",
        f"sample {ISING} --n-samples 99999999999999999999 --out s.h5",
        "sample --model ising --shape 1000000x1000000 --beta 0.4 --n-samples 10 --out s.h5",
        "run huge.toml --out r.h5",
        "run text.h5 --out r.h5",
        "plot text.h5",
        "plot a.h5 --grid none",
        "plot a.h5 --at t",
        "plot a.h5 --at t=0.3",
        "plot a.h5 --over beta",
        "plot a.h5 --style poster",
        "show images.npy",
        "probe objects.npy",
        "probe images.npy --pixel 99,99",
        "probe images.npy --device cuda:7",
        "hybrid images.npy",
        "hybrid images.npy --probe a.h5",
        "compare images.npy",
        "compare images.npy --denoiser a=b",
        "compare images.npy --denoiser a=none.py:net",
        "benchmark estimators --out rows.txt",
    ],
)
def test_a_bad_line_is_answered_by_one_sentence(line, answer):
    code, said = answer(line)
    assert code == 2
    assert said.splitlines()[-1].startswith("error: ")
    assert said.count("error: ") == 1
