"""The site of docs/: complete, without dangling links, its code and specs run, and it builds without a warning."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lattice_diffusion
from lattice_diffusion import models, results
from lattice_diffusion.cli import app
from lattice_diffusion.runs import runner, spec
from lattice_diffusion.runs.points import n_points

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "generated" not in path.parts)
SPECS = sorted((DOCS / "specs").glob("*.toml"))
POINTS = {  # independent points, counted by hand
    "adaptive": 2 * 2,
    "curie-weiss": 2 * 2 * 6,
    "domain-walls": 3 * 7 + 3 * 3,
    "gaussian-field": 3 * 18,
    "ising-square": 2 * 7 * 3,
    "loops-erasure": 3 * 21 + 3 * 7,
}
CODE = [
    pytest.param("\n".join(re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)), id=page.stem)
    for page in PAGES
    if "```python" in page.read_text("utf-8")
]


def public_names():
    """Room and name of everything that a room offers: its __all__, or what it defines that is no check or helper."""
    for room in ("estimate", *lattice_diffusion.__all__):
        if room in ("runs", "studies", "images", "plots") or callable(getattr(lattice_diffusion, room, None)):
            continue
        module = importlib.import_module(f"lattice_diffusion.{room}")
        defined = [name for name, x in vars(module).items() if getattr(x, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", [name for name in defined if not name.startswith(("_", "check_"))]):
            if not inspect.ismodule(getattr(module, name)):
                yield room, name
    yield from (("", "Lattice"), ("", "Tripartition"))


def documented_names():
    """Room and name of every autodoc directive of the API pages."""
    for page in (DOCS / "api").glob("*.md"):
        room = None
        for line in page.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"\.\. currentmodule:: lattice_diffusion\.?([\w.]*)", line):
                room = match[1]
            if match := re.match(r"\.\. auto\w+:: (\w+)", line):
                yield room, match[1]


def test_every_public_name_is_in_the_api():
    documented = set(documented_names())
    aliases = {("exact", "Curve"): ("estimate", "Curve"), ("exact", "Estimate"): ("estimate", "Estimate")}
    aliases |= {("estimators", "Task"): ("estimators.tasks", "Task")}
    missing = [name for name in public_names() if name not in documented and aliases.get(name) not in documented]
    assert not missing
    for room, name in documented:
        assert hasattr(importlib.import_module(f"lattice_diffusion.{room}".rstrip(".")), name), (room, name)


def test_every_model_has_a_page_with_its_figure():
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (DOCS / "models").glob("*.md")}
    for name in (kind.__name__ for kind in models.MODELS):
        (stem,) = (stem for stem, text in pages.items() if f"`models.{name}(" in text)
        text = pages[stem]
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert set(headings) >= {"The physics", "The exact solution", "The transition"}
        assert f"../generated/{stem}.png" in text
        assert f"def {stem.replace('-', '_')}()" in (DOCS / "figures.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target and "generated/" not in target:
            assert (page.parent / target).exists(), target
    for module, test in re.findall(r"`(test_\w+)::(\w+)`", text):
        files = (ROOT / "tests").rglob(f"{module}.py")  # two rooms may have one of the name
        made = re.compile(rf"^ *(def {test}\(|{test} = refusals\()", re.M)
        assert any(made.search(path.read_text(encoding="utf-8")) for path in files), f"{module}::{test}"
    for notebook in re.findall(r"`(notebooks/[\w-]+\.ipynb)`", text):
        assert (ROOT / notebook).exists(), notebook


def test_commands_on_the_pages_exist():
    from typer.main import get_command

    known = get_command(app).commands
    for page in PAGES:
        for line in re.findall(r"^    lattice-diffusion (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            words = line.split()
            command = known[words[0]]
            for word in words[1:]:
                command = getattr(command, "commands", {}).get(word, command)
            options = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
            assert {word for word in words if word.startswith("--")} <= options, line


@pytest.mark.parametrize("code", CODE)
def test_python_of_the_pages_runs(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(DOCS)
    exec(compile(code, "page", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out


def test_the_examples_of_specs():
    assert {path.stem: n_points(spec.load(path)) for path in SPECS} == POINTS
    page = (DOCS / "specs.md").read_text(encoding="utf-8")
    assert all(f"specs/{path.name}" in page for path in SPECS)


def test_an_adaptive_example_reaches_its_target(tmp_path):
    plan = spec.load(DOCS / "specs" / "adaptive.toml")
    (grid,) = results.grids(runner.run(plan, tmp_path / "adaptive.h5", progress=False)).values()
    value, error, drawn = (grid[name].values for name in ("cmi", "cmi_stderr", "n_samples"))
    reached = (error <= plan.grids["grid"].target_relative_error * value).all(axis=-1)
    assert (reached | (drawn == plan.grids["grid"].max_samples)).all()
    assert drawn.max() > plan.grids["grid"].n_samples


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("index", "api/samplers", "models/ising", "command-line"):
        assert (tmp_path / f"{name}.html").stat().st_size > 5000
    assert "benchmark estimators" in (tmp_path / "command-line.html").read_text(encoding="utf-8")
    assert "lattice_diffusion.samplers.ising" in (tmp_path / "api/samplers.html").read_text(encoding="utf-8")
