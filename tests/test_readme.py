"""What the README shows works as shown."""

import re
import shlex
from pathlib import Path

import pytest

from lattice_diffusion.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_first_block_prints_estimates(capsys):
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    assert capsys.readouterr().out.count("Estimate(value=") == 2


def test_spec_and_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = re.search(r'    name = "square"\n(?:    .*\n)+', README).group()
    Path("my_spec.toml").write_text(spec.replace("n_samples = 2000", "n_samples = 20"))
    commands = [line.strip() for line in README.splitlines() if line.startswith("    lattice-diffusion ")]
    for minutes_or_cluster in (" reproduce ", " probe", " hybrid ", "--scheduler"):
        commands = [command for command in commands if minutes_or_cluster not in command]
    assert len(commands) == 7
    for command in commands:
        assert main(shlex.split(command, comments=True)[1:]) == 0, command
