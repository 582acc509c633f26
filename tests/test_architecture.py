"""The house stays in order: imports point one way, and importing the package is cheap and silent."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lattice_diffusion

ROOT = Path(lattice_diffusion.__file__).parent
# Rooms in the order data flow through them: each imports from those on lines before it only.
ORDER = [
    ("errors", "lazy", "threads", "progress"),
    ("registry", "store", "hdf5", "estimate"),
    ("lattice", "kernels", "results"),
    ("channels", "noise_units"),
    ("exact",),
    ("samplers",),
    ("models",),
    ("denoisers",),
    ("estimators", "phases"),
    ("report",),
    ("plots",),
    ("runs",),
    ("images",),
    ("studies",),
    ("doctor",),
    ("cli",),
    ("__main__",),
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
LATER = {
    ("results", "studies"),
    ("results", "images"),
    ("images", "studies"),
    ("denoisers", "images"),
    ("denoisers", "phases"),  # a comparison finds windows and schedules
    ("denoisers", "plots"),
}  # a result draws itself, when asked to
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imports(path):
    """Yield the rooms of the package that a module imports."""
    package = path.relative_to(ROOT.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level], *(node.module.split(".") if node.module else [])]
            names = [base] if len(base) > 1 else [[*base, alias.name] for alias in node.names]
            yield from (name[1] for name in names if not name[1].startswith("__"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    wrong = {other for other in imports(path) if other != room and LEVEL[other] >= LEVEL[room]}
    assert not {(room, other) for other in wrong} - LATER


def test_numba_lives_in_kernels_only():
    users = (path for path in ROOT.rglob("*.py") if re.search("(import|from) numba", path.read_text()))
    assert {path.relative_to(ROOT).parts[0] for path in users} == {"kernels"}


def test_import_is_silent_and_light():
    code = "import sys, lattice_diffusion; print(sorted({'torch', 'matplotlib', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_using_exact_answers_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys, lattice_diffusion as ld; ld.models.Ising(ld.Lattice((3, 3)), 0.4).solver; ld.phases; ld.samplers;"
        "print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
