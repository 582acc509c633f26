"""A new model or estimator is one file, a new channel one class: written into a copy of the package, all know them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lattice_diffusion

MODEL = '''
"""Independent spins in a field: nothing but their mean, and no information between them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit

from ..exact.spins import SpinSolver, spin_weights
from ..lattice import Lattice


class _Solver(SpinSolver):
    def __init__(self, shape, field):
        self.shape, self.field = shape, field

    def log_evidence(self, h):
        weights = spin_weights(h) * expit(2 * self.field * np.array([-1.0, 1.0]))
        return np.log(weights.sum(axis=-1)).reshape(len(h), -1).sum(axis=1)

    def probabilities(self, h):
        weights = spin_weights(h) * expit(2 * self.field * np.array([-1.0, 1.0]))
        return weights / weights.sum(axis=-1, keepdims=True)

    def closed_cmi(self, channel, t, parts):
        return 0.0


@dataclass(frozen=True)
class Paramagnet:
    """p_0(s) ~ exp(field sum s)."""

    lattice: Lattice
    field: float = 0.2

    @cached_property
    def solver(self):
        return _Solver(self.lattice.shape, self.field)

    def sample(self, n_samples, rng):
        return np.where(rng.random((n_samples, *self.lattice.shape)) < expit(2 * self.field), 1, -1).astype(np.int8)

    def transition(self, channel):
        return None
'''
CHANNEL = '''

@checked
@dataclass(frozen=True)
class Depolarising(BitFlip):
    """A spin becomes a fair coin with probability t: flips with probability t/2."""

    @property
    def name(self) -> str:
        return "depolarising"


def by_name'''
ESTIMATOR = '''
"""Nothing is to be known: the estimate that any other must beat."""

import numpy as np

from .base import Estimator


class Nothing(Estimator):
    """0 for every sample."""

    def _log_ratios(self, train, test, rng):
        return np.zeros(len(test)) + 1e-9 * rng.standard_normal(len(test))
'''
SPEC = """
t = [0.2, 0.5]
radii = [1]
model = { name = "paramagnet", length = 4, field = [0.1, 0.4] }
channel = { name = "depolarising" }
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with a model in one new file and a channel added to one."""
    folder = tmp_path_factory.mktemp("copy")
    package = folder / "lattice_diffusion"
    shutil.copytree(Path(lattice_diffusion.__file__).parent, package)  # compiled kernels too
    (package / "models" / "paramagnet.py").write_text(MODEL)
    (package / "estimators" / "nothing.py").write_text(ESTIMATOR)
    channels = package / "channels.py"
    channels.write_text(channels.read_text().replace("\n\ndef by_name", CHANNEL))
    (folder / "spec.toml").write_text(SPEC)
    return folder


def command(folder: Path, line: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    words = [sys.executable, "-m", "lattice_diffusion", *line.split()]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_in_one_file_is_known_to_specs_command_line_and_completion(extended: Path) -> None:
    line = "cmi --model paramagnet --shape 4x3 --set field=0.3 --channel bitflip --t 0.3 --radius 1 --json"
    answer = json.loads(command(extended, line))
    assert (answer["value"], answer["method"]) == (0.0, "closed form")
    assert answer["parameters"]["model"]["field"] == 0.3
    command(extended, "run spec.toml --out a.h5 --workers 1")
    shown = command(extended, "show a.h5")
    assert "(4 of 4 points measured)" in shown
    assert "field: 2, t: 2, radius: 1" in shown
    code = (
        "import lattice_diffusion as ld, numpy as np; from lattice_diffusion import completions;"
        "model = ld.models.Paramagnet(ld.Lattice((3, 2)), 0.3); x = np.ones((1, 3, 2));"
        "mean = ld.exact.posterior_mean(model, ld.channels.BitFlip(), 1.0, x, np.ones((3, 2), bool));"
        "print('paramagnet' in completions.models(), abs(mean - np.tanh(0.3)).max() < 1e-12)"
    )
    environment = {**os.environ, "PYTHONPATH": str(extended)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=extended, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True True\n"


def test_a_channel_in_one_file_gives_the_numbers_that_it_must(extended: Path) -> None:
    line = "cmi --model ising-chain --shape 6 --beta 1.1 --radius 1 --t 0.4 --samples 20 --json --channel "
    depolarising, flips = (json.loads(command(extended, line + name)) for name in ("depolarising", "bitflip"))
    assert depolarising["value"] == flips["value"] > 0
    assert depolarising["parameters"]["channel"] == {"name": "depolarising"}


def test_an_estimator_in_one_file_goes_on_trial(extended: Path) -> None:
    line = "benchmark estimators --estimators Nothing --tasks field-massive --n 200 --seeds 2 --out rows.jsonl"
    assert "Nothing" in command(extended, line)
    rows = [json.loads(row) for row in (extended / "rows.jsonl").read_text().splitlines()]
    assert [row["success"] for row in rows] == [True, True]
    assert all(abs(row["mi_estimate"]) < 1e-9 for row in rows)
