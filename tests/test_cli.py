"""The command line: what it answers, that it answers at once, and one sentence for every bad input."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lattice_diffusion import __version__, results
from lattice_diffusion.channels import BitFlip
from lattice_diffusion.estimate import Estimate
from lattice_diffusion.exact import cmi
from lattice_diffusion.lattice import Lattice
from lattice_diffusion.models import Ising
from lattice_diffusion.report import with_error
from lattice_diffusion.results import Row
from lattice_diffusion.runs.quantities import evaluate
from lattice_diffusion.studies import STUDIES
from lattice_diffusion.studies.base import Analysis, Study, row

ROOT = Path(__file__).parents[1]
SPEC = """
t = [0.2, 0.5, 0.8]
radii = [1, 2]
model = { name = "ising-chain", length = 20, beta = [0.5, 0.9] }
channel = { name = "erasure" }
"""


def refused(shell, line):
    """The one sentence that a refused command line says."""
    code, out, err = shell(line)
    assert (code, out) == (2, ""), (code, out, err)
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err[len("error: ") : -1]


# -- help ----------------------------------------------------------------------------------------------------


def subprocess_python(code):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_help_imports_nothing_heavy():
    heavy = ["numpy", "numba", "torch", "matplotlib", "h5py", "pydantic", "scipy"]
    code = (
        "import sys; from lattice_diffusion import cli; assert cli.main(['--help']) == 0; "
        f"print('loaded:', [name for name in {heavy} if name in sys.modules])"
    )
    out = subprocess_python(code)
    assert out.endswith("loaded: []\n")
    for command in ("reproduce", "run", "cmi", "plot", "show"):
        assert f"\n│ {command} " in out


def test_no_arguments_show_the_help(shell):
    code, out, _ = shell("")
    assert code == 0
    assert "Usage: lattice-diffusion" in out
    assert shell("--version") == (0, f"lattice_diffusion {__version__}\n", "")


# -- cmi -----------------------------------------------------------------------------------------------------

SMALL = "cmi --model ising --shape 5x4 --beta 0.4 --t 0.3"
ISING = "cmi --model ising --shape 5x4 --beta 0.38 --channel bitflip --t 0.3 --center 2,1 --radius 1"


def test_cmi_prints_one_json_object(shell):
    code, out, err = shell(ISING + " --samples 60 --seed 5 --json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    lattice = Lattice((5, 4))
    parts = lattice.tripartition((2, 1), 1)
    expected = cmi(Ising(lattice, 0.38), BitFlip(), 0.3, parts, n_samples=60, rng=np.random.default_rng(5))
    assert (answer["value"], answer["stderr"]) == (expected.value, expected.stderr)
    assert (answer["unit"], answer["n_samples"], answer["method"]) == ("nat", 60, expected.method)
    assert answer["parameters"] == {
        "model": {"name": "ising", "beta": 0.38, "shape": [5, 4], "periodic": [False, False]},
        "channel": {"name": "bitflip"},
        "t": 0.3,
        "center": [2, 1],
        "radius": 1,
        "patch": 1,
        "samples": 60,
        "seed": 5,
    }


def test_cmi_prints_a_line_to_read(shell):
    code, out, _ = shell(ISING + " --samples 60")
    assert code == 0
    assert re.fullmatch(r"I\(A;C\|B\) = 0\.00\d+ ± 0\.0\d+ nat  \(.*; 60 samples\)\n", out)
    assert re.fullmatch(r"I\(A;C\|B\) = 0 nat  \(.*C is empty.*\)\n", shell(f"{SMALL} --radius 9")[1])


@pytest.mark.parametrize(
    "line",
    [
        "--model gaussian-field --shape 12 --mass-squared 0.1 --periodic --radius 2",
        "--model gaussian-field --shape 5x4 --mass-squared 0.1 --schedule vp --radius 1",
        "--model gaussian-mixture --shape 6x6 --mean 1 --std 0.5 --patch 2 --radius 1",
        "--model gaussian-mixture --shape 4x5 --mean 1 --mass-squared 0.5 --radius 1",
        "--model ising-chain --shape 12 --beta 0.5 --channel erasure --radius 1",
        "--model ising --shape 4x5 --beta 0.3 --set field=0.2 --set anisotropy=0.5 --periodic 1 --radius 1 --samples 9",
        "--model curie-weiss --beta 1.2 --regions 1,3,20",
    ],
)
def test_cmi_knows_every_model(shell, line):
    code, out, err = shell(f"cmi --t 0.6 --samples 20 --json {line}")
    assert (code, err) == (0, "")
    assert json.loads(out)["value"] > 0


def test_a_defect_is_not_passed_off_as_bad_input(shell, monkeypatch):
    def broken(*args):
        return int("three")

    monkeypatch.setattr("lattice_diffusion.runs.cmi.measure_one", broken)
    with pytest.raises(ValueError, match="invalid literal"):
        shell(ISING)


# -- run, show, plot -----------------------------------------------------------------------------------------


COST = "{0}: 6 points, 2 of them first, which tell the cost\n{0}: the other 4 points take about \\d+ s on 1 worker\n"


def test_run_show_plot(shell, tmp_path):
    (tmp_path / "chain.toml").write_text(SPEC)
    code, out, err = shell("run chain.toml --out a.h5 --workers 1")
    assert (code, out) == (0, "")
    assert re.fullmatch(COST.format("chain") + "See a.h5.\n", err)
    assert shell("run chain.toml --out a.h5 --resume") == (0, "", "See a.h5.\n")
    code, out, err = shell("show a.h5")
    assert (code, err) == (0, "")
    assert "grid grid (6 of 6 points measured)" in out
    assert "beta: 2, t: 3, radius: 2" in out
    code, out, err = shell("plot a.h5")
    assert (code, out, err) == (0, "", "See a.png.\n")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    chosen = "plot a.h5 --grid grid --quantity cmi --at beta=0.5 --over t,radius --style talk --out"
    assert shell(f"{chosen} b.svg")[0] == 0
    assert "<svg" in (tmp_path / "b.svg").read_text()
    sentence = refused(shell, f"{chosen} c.svg --at beta")
    assert sentence.startswith("Invalid value for --at: must look like beta=0.5, got 'beta'; see")
    assert refused(shell, "plot a.h5 --out c.svg --at beta=0.7") == "beta must be one of 0.5, 0.9, got 0.7"
    assert refused(shell, "plot a.h5").startswith("a.png exists; use --force to overwrite it, or another name")
    assert shell("plot a.h5 --force")[0] == 0


FOLDER = ["broken.toml", "chain.toml", "folder", "old.h5", "typo.toml"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (f"{SMALL} --radius 1".replace("5x4", "5x"), "--shape must look like 11x11, got '5x'; integers with x between"),
        (f"{SMALL} --radius 1".replace("5x4", "1000000x1000000"), "shape is too large: it needs about "),
        (f"{SMALL} --radius 1".replace("0.3", "1.3"), "t must be in [0, 1], 0 clean and 1 pure noise, got 1.3"),
        (f"{SMALL} --radius 1 --samples 1000000000000", "n_samples is too large: it needs about "),
        (SMALL, "ising needs --radius; add it"),
        ("cmi --model random-hierarchy --set depth=2 --t 0.5", "random-hierarchy needs --set branching=..; add it"),
        (f"{SMALL} --mass-squared 1", "--mass-squared has no meaning for ising, which takes --shape, --beta, --radius"),
        (f"{SMALL} --radius 1 --schedule vp --channel erasure", "--schedule has no meaning for erasure; leave it out"),
        (f"{SMALL} --radius 1 --channel bitflop", "unknown channel 'bitflop'; did you mean 'bitflip'?"),
        (f"{SMALL} --radius 1 --betta 3", "No such option: --betta"),
        ("cmi --model quux --t 0.3", "unknown model 'quux'; known: curie-weiss, domain-walls, gaussian-field"),
        ("cmi --model gaussian-mixture --shape 9 --mean 1 --t 0.3 --radius 1", "needs either std (white) or"),
        ("cmi --model domain-walls --shape 4x3 --t 0.3 --radius 1 --bond 0,0,0,1 --block 0,0", "A is set by bond="),
        ("cmi --model ising", "Missing option '--t'; see lattice-diffusion cmi --help"),
        ("run missing.toml --out a.h5", "no such file: missing.toml"),
        ("run typo.toml --out a.h5", "grids.grid.model has the unknown key 'betta'; did you mean 'beta'?"),
        ("run broken.toml --out a.h5", "broken.toml is not TOML: "),
        ("run chain.toml", "Missing option '--out'"),
        ("run chain.toml --out folder", "folder is a folder; give a file name"),
        ("run chain.toml --out none/a.h5", "there is no folder none for a.h5; make it first"),
        ("run chain.toml --out old.h5", "old.h5 exists; use --resume to go on with it, --force to overwrite"),
        ("run chain.toml --out old.h5 --resume", "old.h5 is not a readable HDF5 file: it is truncated"),
        ("run chain.toml --out a.h5 --resume --force", "resume goes on with a file and force overwrites it"),
        ("run chain.toml --out a.h5 --workers 0", "Invalid value for '--workers'"),
        ("show", "Missing argument 'FILE.h5'; see lattice-diffusion show --help"),
        ("show missing.h5", "no such file: missing.h5"),
        ("plot old.h5", "old.h5 is not a readable HDF5 file"),
        ("plot old.h5 --out old.gif", "Invalid value for --out: must end in .png, .pdf or .svg, got 'old.gif'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(shell, tmp_path, line, sentence):
    (tmp_path / "chain.toml").write_text(SPEC)
    (tmp_path / "typo.toml").write_text(SPEC.replace("beta", "betta"))
    (tmp_path / "broken.toml").write_text("t = [0.1\n")
    (tmp_path / "old.h5").write_bytes(b"\x89HDF\r\n\x1a\n and then nothing")
    (tmp_path / "folder").mkdir()
    assert refused(shell, line).startswith(sentence)
    assert sorted(item.name for item in tmp_path.iterdir()) == FOLDER


def test_an_unwritable_folder_is_refused(shell, tmp_path, monkeypatch):
    (tmp_path / "chain.toml").write_text(SPEC)
    monkeypatch.setattr(os, "access", lambda path, mode, **others: mode != os.W_OK)
    assert refused(shell, "run chain.toml --out a.h5") == "the folder . cannot be written to; choose another"


def test_stopping_says_how_to_go_on(shell, tmp_path, monkeypatch):
    (tmp_path / "chain.toml").write_text(SPEC)
    calls = iter(range(100))

    def stopped(*args):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(*args)

    monkeypatch.setattr("lattice_diffusion.runs.runner.evaluate", stopped)
    code, out, err = shell("run chain.toml --out a.h5 --workers 1")
    assert (code, out) == (130, "")
    assert err.endswith("stopped after 4 of 6 points; run again with --resume to go on\n")
    assert "4 of 6 points measured" in shell("show a.h5")[1]


# -- reproduce -----------------------------------------------------------------------------------------------


def toy(name):
    """An experiment of six points whose analysis and figure are as small as can be."""

    def wanted(full):
        model = {"name": "ising-chain", "length": 20, "beta": [0.5, 0.9]}
        times = [0.2, 0.3, 0.5, 0.8] if full else [0.2, 0.5, 0.8]
        return {"chain": {"model": model, "channel": {"name": "erasure"}, "t": times, "radii": [1, 2]}}

    def analyse(result):
        grid = results.grids(result)["chain"]
        peak = results.variable(("beta",), grid["cmi"].values[..., 0].max(axis=1), "nat", "largest CMI")
        return Analysis({"chain": {"peak": peak}}, [row("peak", Estimate(0.26, 0.01, 0), 0.25, "here", "exact", t=0.2)])

    def figure(result):
        import matplotlib.pyplot as plt

        fig, ax = plt.subplots()
        ax.plot(results.grids(result)["chain"]["peak"].values)
        return fig

    return Study(name, "Toy", f"{name} shows < and >.", wanted, analyse, figure)


@pytest.fixture
def toys(monkeypatch):
    for name in list(reversed(STUDIES)):  # undone from the last to the first, which keeps their order
        monkeypatch.delitem(STUDIES, name)
    for name in ("toy-one", "toy-two"):
        monkeypatch.setitem(STUDIES, name, toy(name))


@pytest.mark.usefixtures("toys")
def test_reproduce_makes_files_figures_and_one_table(shell, tmp_path):
    code, out, err = shell("reproduce --out here/now --workers 1")
    assert code == 0
    assert re.fullmatch(COST.format("toy-one") + COST.format("toy-two"), err)
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["experiment", "quantity", "analytic", "measured", "z", "kind"]
    peak = "peak [t = 0.2, σ/α = 0.25, log snr = +2.8]"
    assert lines[2] == ["toy-one", *peak.split(), "0.25", "0.260", "±", "0.010", "+1.0", "exact"]
    assert lines[3][0] == "toy-two"
    said = f"2 comparisons are exact. For the 2 with an error mean z² = 1.00, largest |z| = 1.0 (toy-one: {peak})."
    assert out.endswith(f"\n{said}\nSee here/now/index.html.\n")
    folder = tmp_path / "here" / "now"
    names = {f"toy-{n}.{suffix}" for n in ("one", "two") for suffix in ("h5", "png")}
    assert {item.name for item in folder.iterdir()} == names | {"index.html", "table.txt", "table.csv"}
    page = (folder / "index.html").read_text()
    assert said in page
    for name in ("toy-one", "toy-two"):
        assert f'<img alt="{name} shows &lt; and &gt;." src="{name}.png">' in page
    assert page.count('<td class="number">0.260 ± 0.010</td>') == 2
    assert page.count("<td>exact</td>") == 3  # in two tables and in the list of kinds
    result = results.load(folder / "toy-one.h5")
    assert result.attrs["complete"]
    assert page.count(f"<td>{peak}</td>") == 2
    log_snr = 2 * math.log(4)
    assert results.rows(result) == [Row("toy-one", "peak", 0.25, 0.26, 0.01, "here", "exact", log_snr)]
    assert results.grids(result)["chain"]["peak"].values.shape == (2,)
    with open(folder / "table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["experiment"] for row in table] == ["toy-one", "toy-two"]
    assert float(table[0]["z"]) == pytest.approx(1.0)
    assert float(table[0]["log_snr"]) == log_snr
    assert "source" in (folder / "table.txt").read_text().splitlines()[0]


@pytest.mark.usefixtures("toys")
def test_reproduce_resumes_forces_or_refuses(shell, tmp_path):
    assert shell("reproduce toy-two --out now --workers 1")[0] == 0
    before = (tmp_path / "now" / "toy-two.h5").read_bytes()
    assert refused(shell, "reproduce --out now").startswith("now/toy-two.h5 exists; use --resume to go on with it")
    assert not (tmp_path / "now" / "toy-one.h5").exists()
    code, out, err = shell("reproduce --out now --resume --workers 1")
    assert code == 0
    assert err.startswith("toy-one: 6 points")
    assert "toy-two" not in err
    assert "toy-two" in out
    assert (tmp_path / "now" / "toy-two.h5").read_bytes() == before
    sentence = refused(shell, "reproduce toy-two --out now --resume --preset full")
    assert sentence.startswith("now/toy-two.h5 holds another experiment: grids.chain.t is [0.2, 0.5, 0.8] there")
    assert shell("reproduce toy-two --out now --force --preset full --workers 1")[0] == 0
    assert results.load(tmp_path / "now" / "toy-two.h5")["chain"]["t"].values.size == 4
    assert shell("plot now/toy-two.h5 --out b.pdf")[0] == 0
    assert (tmp_path / "b.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.usefixtures("toys")
def test_reproduce_refuses_in_one_sentence(shell, tmp_path):
    (tmp_path / "file").touch()
    for line, sentence in [
        ("reproduce toy-on --out now", "unknown study 'toy-on'; did you mean 'toy-one'?"),
        ("reproduce potts --out now", "unknown study 'potts'; known: toy-one, toy-two"),
        ("reproduce --preset fast --out now", "Invalid value for '--preset': 'fast' is not one of 'quick', 'full'"),
        ("reproduce --out file", "file is a file; give a folder"),
        ("reproduce --out file/inside", "file/inside: Not a directory"),
        ("reproduce --out now --resume --force", "resume goes on with a file and force overwrites it"),
    ]:
        assert refused(shell, line).startswith(sentence)


def test_errors_are_printed_to_two_digits():
    assert with_error(1.23456, 0.0123) == "1.235 ± 0.012"
    assert with_error(1.23456, 0.0) == "1.23456"
    assert with_error(3.2e-12, 4.4e-14) == "3.2e-12 ± 4.4e-14"
    assert with_error(1234.5, 67.0) == "1234 ± 67"
    assert with_error(float("nan"), float("nan")) == "nan"
