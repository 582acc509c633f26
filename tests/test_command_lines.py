"""Command lines that nobody should type: every command and option, one sentence and exit code 2, or an answer.

Options are read from the commands themselves, so that a new one is tried as soon as it exists.
"""

import contextlib
import io
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import typer.main
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lattice_diffusion import cli, errors, hdf5, results
from lattice_diffusion.runs import runner
from lattice_diffusion.studies import reproduce

GIB = 2**30
SECONDS = 60  # for one command line, compilation and worker processes included


def commands_of(group: Any, before: str = "") -> Iterator[str]:
    """All commands of the app, as they are typed."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{before}{name} ")
        else:
            yield before + name


APP: Any = typer.main.get_command(cli.app)
COMMANDS = tuple(commands_of(APP))

WORDS = ["", "x", "-", "--", "0", "-1", "1", "2", "3", "1e-320", "1e400", "nan", "inf", "-inf", "0.5", "1.5", "2,1"]
WORDS += ["4x3", "5x4", "0x3", "3x", "1,2,3", "1,2,3,4", "0.2,0.4", "1..3", "99999999999999999999", "1" * 5000, "é ☃"]
WORDS += ["30x30", "1000000x1000000", "1000000,1000000,1000000", "ising", "gaussian-field", "gaussian-mixture"]
WORDS += ["ising-chain", "curie-weiss", "domain-walls", "bitflip", "erasure", "gaussian", "vp", "ve", "cpu", "cuda:7"]
WORDS += ["auto", "wolff", "float32", "quick", "loops-erasure", "Oracle", "field-massive", "average", "tcp://x:1"]
WORDS += ["shape=3", "field=0.3", "mean=nan", "beta=", "=1", "method=2"]
FILES = ["none.h5", "a.h5", "b.h5", "text.h5", "empty.h5", "odd.h5", "a.toml", "bad.toml", "empty.toml", "huge.toml"]
FILES += ["images.npy", "few.npz", "cut.npz", "objects.npy", "folder", "none/out.h5", ".", "/", "a.png", "out.jsonl"]
SPEC = """
t = [0.2, 0.5]
radii = [1]
model = { name = "ising-chain", length = 6, beta = [0.5, 0.9] }
channel = { name = "erasure" }
"""


class TooLong(BaseException):
    """No exception of Python's own, which the command line might take for a refusal (TimeoutError is an OSError)."""


class Reached(Exception):
    """All input was accepted and the computing would begin."""


def reached(*args: object, **options: object) -> None:
    raise Reached


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of good and bad files, a machine that says it has one GiB, and commands that stop where they begin."""
    monkeypatch.chdir(tmp_path)
    for module in (errors, hdf5):
        monkeypatch.setattr(module, "available_memory", lambda: GIB)
    monkeypatch.setattr("lattice_diffusion.estimators.amortised_estimates.pilot", reached)
    monkeypatch.setattr(reproduce, "run", reached)
    monkeypatch.setattr("lattice_diffusion.estimators.benchmark.run", reached)
    monkeypatch.setattr("lattice_diffusion.doctor.examine", reached)
    hybrid = "lattice_diffusion.images.hybrid"
    monkeypatch.setattr(f"{hybrid}.seconds_per_step", lambda data, training: dict.fromkeys(training.kinds, 0.01))
    monkeypatch.setattr(f"{hybrid}._measured", reached)
    monkeypatch.setattr(runner, "check_points", _accept_small(runner.check_points))
    t = np.array([0.25, 0.5])
    grid = {"t": results.variable(("t",), t, "1", "time"), "cmi": results.variable(("t",), t, "nat", "information")}
    for name, title in (("a", "chain"), ("odd", "ising")):
        attributes = results.provenance(title, "{}", 7, complete=name == "a")
        results.write(f"{name}.h5", results.tree(attributes, {"grid": grid}, []))
    with h5py.File("b.h5", "w") as file:
        file["images"] = np.zeros((3, 8, 8), np.uint8)
    Path("text.h5").write_text("text")
    Path("empty.h5").touch()
    Path("a.toml").write_text(SPEC)
    Path("bad.toml").write_bytes(b"\xff[t = {")
    Path("empty.toml").touch()
    Path("huge.toml").write_text(SPEC.replace("length = 6", "length = 1000000000000"))
    images = np.random.default_rng(1).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    np.save("images.npy", images)
    np.save("many.npy", np.tile(images, (10, 1, 1)))
    np.savez("few.npz", images=images[:1])
    Path("cut.npz").write_bytes(Path("few.npz").read_bytes()[:100])
    np.save("objects.npy", np.array([None]), allow_pickle=True)
    Path("folder").mkdir()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * GIB, before[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_AS, before)


def _accept_small(check: Callable[[Any], None]) -> Callable[[Any], None]:
    def checked(spec: Any) -> None:
        check(spec)
        if spec.name != "a":
            raise Reached

    return checked


def options_of(command: str) -> tuple[list[str], list[str]]:
    """Arguments and options of a command, as they are typed; flags without a value end in a space."""
    found = APP
    for name in command.split():
        found = found.commands[name]
    arguments_, options = [], []
    for parameter in found.params:
        if parameter.param_type_name == "argument":
            arguments_.append(parameter.name)
        elif parameter.name != "help":
            options.append(parameter.opts[-1] + (" " if parameter.is_flag else ""))
    return arguments_, options


# what makes a command go further, so that the other options are looked at
SENSIBLE = {
    "cmi": [
        "--model ising --shape 4x3 --beta 0.4 --t 0.3 --radius 1 --samples 4",
        "--model gaussian-mixture --shape 5 --mean 1 --std 0.5 --t 0.5 --radius 1",
        "--model domain-walls --shape 4x3 --channel bitflip --t 0.2 --radius 0 --samples 4",
        "--model curie-weiss --regions 1,2,3 --beta 1 --t 0.5 --samples 4",
    ],
    "sample": ["--model ising --shape 4x3 --beta 0.4 --n 3 --out s.h5 --force"],
    "run": ["a.toml --out r.h5 --force --workers 1"],
    "probe": ["images.npy --out p.h5"],
    "hybrid": ["many.npy --out h.h5 --window 0.3,0.6 --radii 1,2 --force", "images.npy --probe a.h5"],
    "benchmark estimators": ["--out e.jsonl --tasks field-massive --estimators Oracle --n 100"],
    "reproduce": ["loops-erasure --out folder --force"],
}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    command = draw(st.sampled_from(COMMANDS))
    names, options = options_of(command)
    words = command.split()
    if command in SENSIBLE and draw(st.integers(0, 4)):
        words += draw(st.sampled_from(SENSIBLE[command])).split()
    else:
        words += [draw(st.sampled_from(FILES)) for _ in names]
    number = st.one_of(st.integers(-3, 40), st.integers(), st.floats()).map(str)
    value = st.one_of(st.sampled_from(WORDS), st.sampled_from(FILES), number, st.text(max_size=5))
    for option in draw(st.lists(st.sampled_from(options), max_size=3)) if options else []:
        words.append(option.strip())
        if not option.endswith(" "):
            words.append(draw(value))
    return words


def tried(words: list[str]) -> tuple[int | None, str]:
    """Exit code (None where the computing would begin) and what was said on stderr."""

    def too_long(*_: object) -> None:
        raise TooLong(f"{words} takes longer than {SECONDS} s")

    said = io.StringIO()
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            return cli.main(words), said.getvalue()
    except Reached:
        return None, said.getvalue()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


fuzzed = settings(
    max_examples=int(os.environ.get("EXAMPLES", "200")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@given(words=command_lines())
@fuzzed
def test_any_command_line_is_answered_or_refused_in_one_sentence(place: Path, words: list[str]) -> None:
    code, said = tried(words)
    assert code in (0, 2, None), (words, code)
    if code == 2:
        sentence = said.splitlines()[-1]
        assert sentence.startswith("error: "), words
        assert said.count("error: ") == 1, words
        assert len(sentence) > 12, words


@st.composite
def spoiled_specs(draw: st.DrawFn) -> str:
    """SPEC with keys that are gone, renamed, or hold something else."""
    keys = {
        "t": "[0.2, 0.5]",
        "radii": "[1]",
        "model.name": '"ising-chain"',
        "model.length": "6",
        "model.beta": "[0.5, 0.9]",
        "channel.name": '"erasure"',
        "n_samples": "4",
        "seed": "1",
    }
    values = ["nan", "inf", "-1", "0", "1e300", "9223372036854775807", "1" + "0" * 40, '""', '"x"', "true", "[]", "{}"]
    values += ["[[1]]", "[nan]", "[-1]", "{ a = { b = 1 } }", "1979-05-27", '"gaussian"', '"ising"', "[0.1, 0.1]"]
    values += ["{ start = 0, stop = 1, count = 3 }", "{ start = 0.1, stop = 0.2, num = 1000000000000 }", "[1e-320]"]
    for key in draw(st.lists(st.sampled_from(list(keys)), min_size=1, max_size=3, unique=True)):
        value = keys.pop(key)
        fate = draw(st.sampled_from(["gone", "renamed", "another", "another", "another"]))
        if fate == "renamed":
            keys[draw(st.sampled_from(["name", "model.mean", "x", "channel.t", "quantity", "settings"]))] = value
        elif fate == "another":
            keys[key] = draw(st.sampled_from(values))
    return "\n".join(f"{key} = {value}" for key, value in keys.items())


@given(text=spoiled_specs())
@fuzzed
def test_any_spec_is_accepted_or_refused_in_one_sentence(place: Path, text: str) -> None:
    Path("spoiled.toml").write_text(text)
    code, said = tried(["run", "spoiled.toml", "--out", "r.h5", "--force", "--workers", "1"])
    assert code in (2, None), text
    assert code is None or (said.count("error: ") == 1 and len(said.splitlines()[-1]) > 12), text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_tried(place: Path, command: str) -> None:
    names, options = options_of(command)
    start = SENSIBLE[command][0].split() if command in SENSIBLE else ["a.h5"] * len(names)
    for option in options:
        for value in ("", "-1", "1" * 5000) if not option.endswith(" ") else (None,):
            words = [*command.split(), *start, option.strip(), *([] if value is None else [value])]
            code, said = tried(words)
            assert code in (0, 2, None), (words, code)
            assert code != 2 or said.count("error: ") == 1, words
