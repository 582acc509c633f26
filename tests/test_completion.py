"""Shell completion: the names that there are, at once."""

import os
import subprocess
import sys
from typing import get_args

import pytest

from lattice_diffusion import channels, completions, estimators
from lattice_diffusion.estimators import tasks
from lattice_diffusion.runs import cmi as single
from lattice_diffusion.samplers.ising import IsingMethod
from lattice_diffusion.studies import STUDIES

HEAVY = ("torch", "numba", "matplotlib", "scipy", "h5py")


def completed(line: str, shell: str = "bash") -> list[str]:
    """What TAB gives at the end of a line, in a process of its own that says what it imported."""
    words = line.split(" ")
    code = (
        "import sys, atexit; from lattice_diffusion import cli;"
        f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr));"
        "cli.main([])"
    )
    environment = {
        "_LATTICE_DIFFUSION_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.endswith("[]\n"), done.stderr  # nothing heavy was imported
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("lattice-diffusion reproduce lo", ["locality-gap", "loops-erasure", "loops-bitflip", "loops-gaussian"]),
        ("lattice-diffusion cmi --model ising", ["ising", "ising-chain"]),
        ("lattice-diffusion cmi --channel ", ["gaussian", "bitflip", "erasure"]),
        ("lattice-diffusion benchmark estimators --estimators Oracle,MINE", ["Oracle,MINE", "Oracle,MINE-in-sample"]),
        ("lattice-diffusion benchmark estimators --tasks charges-0.", ["charges-0.5", "charges-0.05", "charges-0.001"]),
        ("lattice-diffusion sample --method w", ["wolff"]),
        ("lattice-diffusion do", ["doctor"]),
        ("lattice-diffusion doctor --js", ["--json"]),
    ],
)
def test_tab(line: str, names: list[str]) -> None:
    assert sorted(completed(line)) == sorted(names)


def test_other_shells_are_served() -> None:
    for shell in ("zsh", "fish"):
        assert "loops-erasure" in " ".join(completed("lattice-diffusion reproduce lo", shell))


def test_tab_answers_at_once() -> None:
    """In time on the processor, which other work on the machine does not lengthen."""

    def seconds() -> float:
        start = os.times()
        completed("lattice-diffusion reproduce lo")
        stop = os.times()
        return stop.children_user - start.children_user + stop.children_system - start.children_system

    assert min(seconds() for _ in range(5)) < 0.5  # the least disturbed of five


def test_names_are_those_that_exist() -> None:
    assert completions.experiments() == list(STUDIES)
    assert completions.models() == sorted(single._TAKES)
    kinds = (channels.Gaussian, channels.BitFlip, channels.Erasure)
    assert completions.channels() == [kind().name for kind in kinds]
    assert completions.schedules() == list(get_args(channels.Schedule))
    assert completions.tasks() == list(tasks.TASKS)
    assert completions.estimators() == estimators.names()
    assert completions.methods() == list(get_args(IsingMethod))
