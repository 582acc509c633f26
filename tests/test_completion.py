"""Shell completion: the names of the registries and of the choices of an option."""

import os
import subprocess
import sys

import pytest

from lattice_diffusion import channels, cli, models, registry
from lattice_diffusion.estimators import names, tasks
from lattice_diffusion.studies import STUDIES


def completed(line, shell="bash"):
    """Return what TAB gives at the end of a line, in a process of its own."""
    environment = {
        **os.environ,
        "_LATTICE_DIFFUSION_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    code = "from lattice_diffusion import cli; cli.main([])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "shell", "name"),
    [
        ("cmi --model ising-", "bash", "ising-chain"),
        ("sample --method w", "bash", "wolff"),
        ("do", "bash", "doctor"),
        ("reproduce loops-e", "zsh", "loops-erasure"),
        ("reproduce loops-e", "fish", "loops-erasure"),
    ],
)
def test_tab(line, shell, name):
    assert name in " ".join(completed(f"lattice-diffusion {line}", shell))


@pytest.mark.parametrize(
    ("option", "known"),
    [
        (cli.MODELS, registry.names(models.MODELS)),
        (cli.CHANNELS, registry.names(channels.CHANNELS)),
        (cli.STUDIES, list(STUDIES)),
        (cli.TASKS, tasks.names()),
        (cli.ESTIMATORS, names()),
    ],
)
def test_names_are_those_of_the_registries(option, known):
    assert option["autocompletion"]("") == known


def test_the_last_name_of_a_list_is_completed():
    complete = cli.ESTIMATORS["autocompletion"]
    assert complete("Oracle,MI") == ["Oracle,MINE", "Oracle,MINE-in-sample"]
    assert complete("MINE,MI") == ["MINE,MINE-in-sample"]
