"""The code and the commands of the README work as shown."""

import re
import shlex
from pathlib import Path

from lattice_diffusion.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_block_runs(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    assert "Estimate(value=" in capsys.readouterr().out


def test_the_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "specs").mkdir(parents=True)
    for spec in (ROOT / "docs" / "specs").iterdir():
        few = spec.read_text().replace("n_samples = 2000", "n_samples = 50")
        (tmp_path / "docs" / "specs" / spec.name).write_text(few)
    commands = [line.strip() for line in README.splitlines() if line.startswith("    lattice-diffusion ")]
    # probes take minutes, see tests/images, and networks to compare are the reader's
    commands = [command for command in commands if not re.search(" (probe|compare)", command)]
    assert len(commands) == 4
    for command in commands:
        command = command.replace("--n-samples 1000", "--n-samples 100").replace("--workers 2", "--workers 1")
        assert main(shlex.split(command, comments=True)[1:]) == 0, command
