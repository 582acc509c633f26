"""The doctor: healthy here, and able to tell when something is wrong."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lattice_diffusion import doctor, samplers


def test_it_is_healthy_and_says_so_as_json(shell):
    code, out, _ = shell("doctor --json")
    found = json.loads(out)
    assert (code, found["healthy"]) == (0, True)
    assert [check["name"] for check in found["checks"]] == list(doctor.CHECKS)
    for check in found["checks"]:
        limit = doctor.ROUNDING if check["stderr"] is None else doctor.MAX_Z
        assert check["passed"]
        assert abs(check["deviation"]) <= limit
        assert math.isfinite(check["value"])
    assert {"lattice_diffusion", "python", "numpy", "numba", "torch", "h5py", "HDF5", "BLAS"} <= set(found["versions"])
    assert "missing" not in found["versions"].values()
    assert {"threads", "memory", "disk", "devices"} <= set(found["machine"])
    assert found["seconds"] > 0


@pytest.mark.parametrize("name", doctor.CHECKS)
def test_a_tenth_would_be_seen(name):
    check = doctor.measure(name)
    assert abs(0.1 * check.exact) > (1e6 * doctor.ROUNDING if check.stderr is None else doctor.MAX_Z * check.stderr)


def test_a_wrong_sampler_is_found(shell, monkeypatch):
    true = samplers.ising
    monkeypatch.setattr(samplers, "ising", lambda lattice, beta, *args, **how: true(lattice, 1.1 * beta, *args, **how))
    check = doctor.measure("Ising energy: Swendsen-Wang, Onsager")
    assert not check.passed
    assert check.deviation is not None
    assert abs(check.deviation) > 10
    monkeypatch.setattr(doctor, "CHECKS", {check.name: doctor.onsager})
    code, out, _ = shell("doctor")
    assert code == 1
    assert "1 of 1 checks failed" in out


def test_what_breaks_fails_with_its_reason(shell, monkeypatch):
    def broken():
        raise RuntimeError("no compiler")

    monkeypatch.setattr(doctor, "CHECKS", {"compiler": broken})
    assert "RuntimeError: no compiler" in shell("doctor")[1]
    assert json.loads(shell("doctor --json")[1])["checks"][0]["exact"] is None


def test_kernels_run_where_compiled_code_cannot_be_kept(tmp_path):
    """A copy of the package with a file in the place of the cache, and no home."""
    package = Path(doctor.__file__).parent
    shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / package.name / "kernels" / "__pycache__").touch()
    code = "import numpy as np; from lattice_diffusion.kernels.potts import normalise; print(normalise(np.ones(1)))"
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache", "PYTHONPATH": str(tmp_path), "PATH": ""}
    nowhere |= {"TMPDIR": str(tmp_path), "IPYTHONDIR": "/dev/null"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=nowhere, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "0.0\n"), done.stderr
    assert done.stderr.startswith("warning: no folder for compiled kernels can be written to: ")
    assert done.stderr.count("\n") == 1
    assert [item.name for item in tmp_path.iterdir()] == [package.name]
