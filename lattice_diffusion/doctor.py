"""`lattice-diffusion doctor`: what is installed, what the machine has, and whether known answers come out."""

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .errors import available_memory, gibibytes
from .results import git_commit
from .self_checks import Check, measure_all

LIBRARIES = ("numpy", "scipy", "numba", "torch", "h5py", "pydantic", "typer", "rich", "matplotlib")


def versions() -> dict[str, str]:
    """Of the package, of Python and of what it stands on."""
    import h5py

    found = {"lattice_diffusion": __version__, "commit": git_commit(), "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {**found, "HDF5": h5py.version.hdf5_version, "BLAS": f"{blas.get('name')} {blas.get('version', '')}".strip()}


def machine() -> dict[str, str]:
    """System, cores and threads, memory, disk, devices, and whether compiled kernels are kept."""
    import torch

    jit = importlib.import_module("numba")  # here to be asked, not used
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    devices = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    disk = shutil.disk_usage(Path.cwd())
    kept = os.access(Path(__file__).parents[1] / "kernels", os.W_OK) or "NUMBA_CACHE_DIR" in os.environ
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "threads": f"{cores} cores, numba {jit.get_num_threads()}, torch {torch.get_num_threads()}",
        "memory": f"{gibibytes(available_memory())} available",
        "disk": f"{gibibytes(disk.free)} free here",
        "devices": ", ".join(["cpu", *devices]),
        "compiled kernels": "kept" if kept else "compiled anew every time; set NUMBA_CACHE_DIR to a folder of yours",
    }


def extras() -> dict[str, str]:
    """Optional parts of the package: "there", or what they lack."""
    try:
        about = importlib.metadata.metadata("lattice-diffusion")
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = {}
    for extra in sorted(about.get_all("Provides-Extra") or []):
        lacking = []
        for requirement in about.get_all("Requires-Dist") or []:
            name, _, condition = requirement.partition(";")
            if re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", condition):
                package = re.split(r"[\s<>=!~\[(]", name.strip())[0]
                try:
                    importlib.metadata.version(package)
                except importlib.metadata.PackageNotFoundError:
                    lacking.append(package)
        found[extra] = f"lacks {', '.join(lacking)}" if lacking else "there"
    return found


@dataclass(frozen=True)
class Report:
    """All that the doctor found."""

    versions: dict[str, str]
    machine: dict[str, str]
    extras: dict[str, str]
    checks: list[Check]
    seconds: float

    @property
    def healthy(self) -> bool:
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        checks = [{**asdict(check), "deviation": check.deviation, "passed": check.passed} for check in self.checks]
        for check in checks:
            check["exact"] = None if np.isnan(check["exact"]) else check["exact"]
        return {**asdict(self), "checks": checks, "healthy": self.healthy}


def examine() -> Report:
    """Look at everything; takes about ten seconds, more where kernels are compiled first."""
    start = time.perf_counter()
    checks = measure_all()
    return Report(versions(), machine(), extras(), checks, time.perf_counter() - start)


def show(report: Report) -> None:
    """Tables on stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 110)
    place = Table(box=None, show_header=False)
    for key, value in {**report.versions, **report.machine}.items():
        place.add_row(key, value)
    for key, value in report.extras.items():
        place.add_row(f"extra {key}", value)
    console.print(place)
    table = Table("check", "value", "exact", "deviation", "")
    for check in report.checks:
        if check.value is None or check.deviation is None:
            table.add_row(check.name, "", "", check.problem, "FAILED")
            continue
        deviation = f"{check.deviation:+.1e}" if check.stderr is None else f"z = {check.deviation:+.1f}"
        value = f"{check.value:.10f}" if check.stderr is None else f"{check.value:.5f} ± {check.stderr:.5f}"
        table.add_row(check.name, value, f"{check.exact:.10f}", deviation, "ok" if check.passed else "FAILED")
    console.print(table)
    n_failed = sum(not check.passed for check in report.checks)
    verdict = "all well" if report.healthy else f"{n_failed} of {len(report.checks)} checks failed"
    console.print(f"{verdict}; took {report.seconds:.1f} s", highlight=False)
