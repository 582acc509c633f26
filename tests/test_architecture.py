"""The house stays in order: imports point one way, and importing the package is cheap and silent."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lattice_diffusion

ROOT = Path(lattice_diffusion.__file__).parent
# what each room may import, besides itself and `errors`; rooms earlier in the flow never see later ones
ALLOWED = {
    "errors": set(),
    "lazy": set(),
    "store": set(),
    "estimate": set(),
    "threads": set(),
    "lattice": set(),
    "hdf5": set(),
    "images": {"lattice", "hdf5"},
    "channels": {"lattice"},
    "kernels": set(),
    "exact": {"estimate", "lattice", "channels", "kernels"},
    "samplers": {"lazy", "estimate", "lattice", "channels", "kernels", "exact"},
    "models": {"lattice", "channels", "samplers", "exact"},
    "denoisers": {"lazy", "store", "estimate", "lattice", "channels", "kernels", "models", "exact"},
    "estimators": {"lazy", "store", "estimate", "lattice", "channels", "models", "exact", "denoisers"},
    "phases": {"estimate"},
    "results": {"", "hdf5", "store"},
    "plots": {"results"},
}


def imports(path):
    """Top-level rooms that a module of the package imports at run time."""
    package = path.relative_to(ROOT.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level], *(node.module.split(".") if node.module else [])]
            names = [base] if len(base) > 1 else [[*base, alias.name] for alias in node.names]
            yield from (name[1] for name in names if not name[1].startswith("__"))


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_point_one_way(room):
    path = ROOT / room
    for module in path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
        assert set(imports(module)) <= ALLOWED[room] | {room, "errors", "registry"}, module.name


def test_numba_lives_in_kernels_only():
    users = {path.relative_to(ROOT).parts[0] for path in ROOT.rglob("*.py") if "import numba" in path.read_text()}
    users |= {path.relative_to(ROOT).parts[0] for path in ROOT.rglob("*.py") if "from numba" in path.read_text()}
    assert users <= {"kernels"}


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


def test_public_names():
    for name in lattice_diffusion.__all__:
        assert getattr(lattice_diffusion, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'modles'"):
        _ = lattice_diffusion.modles
