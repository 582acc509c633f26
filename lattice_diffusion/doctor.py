"""`lattice-diffusion doctor`: what is installed, what the machine has, and whether known answers come out.

The checks compare values with exact ones that are known by other means (enumeration, a determinant, Onsager's integral,
a symmetry of percolation): to rounding where both are exact, in standard errors where one is sampled.
"""

import importlib
import importlib.metadata
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, exact, kernels, models, samplers
from .channels import BitFlip, Erasure, Gaussian
from .errors import available_memory, gibibytes
from .estimate import Estimate
from .exact.spins import block_states
from .lattice import Lattice
from .results import git_commit
from .threads import cores

LIBRARIES = ("numpy", "scipy", "numba", "torch", "h5py", "xarray", "pydantic", "typer", "rich", "matplotlib")


def versions() -> dict[str, str]:
    """Return the versions of the package, of Python and of the libraries."""
    import h5py

    found = {"lattice_diffusion": __version__, "commit": git_commit(), "python": platform.python_version()}
    found |= {name: _version(name) for name in LIBRARIES}
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {**found, "HDF5": h5py.version.hdf5_version, "BLAS": f"{blas.get('name')} {blas.get('version', '')}".strip()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def machine() -> dict[str, str]:
    """Return system, cores and threads, memory, disk, devices, and whether compiled kernels are kept."""
    import torch

    jit = importlib.import_module("numba")  # here to be asked, not used
    devices = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    disk = shutil.disk_usage(Path.cwd())
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "threads": f"{cores()} cores, numba {jit.get_num_threads()}, torch {torch.get_num_threads()}",
        "memory": f"{gibibytes(available_memory())} available",
        "disk": f"{gibibytes(disk.free)} free here",
        "devices": ", ".join(["cpu", *devices]),
        "compiled kernels": "kept"
        if kernels.KEPT
        else "compiled anew every time; set NUMBA_CACHE_DIR to a folder of yours",
    }


def extras() -> dict[str, str]:
    """Return the optional parts of the package: "there", or what they lack."""
    try:
        about = importlib.metadata.metadata("lattice-diffusion")
    except importlib.metadata.PackageNotFoundError:
        return {}
    found, requirements = {}, about.get_all("Requires-Dist") or []
    for extra in sorted(about.get_all("Provides-Extra") or []):
        wanted = re.compile(rf"([\w.-]+).*;.*extra\s*==\s*['\"]{re.escape(extra)}['\"]")
        packages = [match[1] for match in map(wanted.match, requirements) if match]
        lacking = [package for package in packages if _version(package) == "missing"]
        found[extra] = f"lacks {', '.join(lacking)}" if lacking else "there"
    return found


# -- known answers -------------------------------------------------------------------------------------------

MAX_Z = 5.0
ROUNDING = 1e-10
SEED = 20_240


@dataclass(frozen=True)
class Check:
    """A value beside its exact one.

    Attributes:
        stderr: of a sampled value, which may be off by MAX_Z of it; None: off by ROUNDING, relative to 1.
        problem: what broke, where there is no value.
    """

    name: str
    value: float | None
    exact: float | None
    stderr: float | None
    seconds: float
    problem: str = ""

    @property
    def deviation(self) -> float | None:
        """Return the difference, in standard errors (z) where the value is sampled."""
        if self.value is None or self.exact is None:
            return None
        return (self.value - self.exact) / (self.stderr or 1.0)

    @property
    def passed(self) -> bool:
        limit = ROUNDING if self.stderr is None else MAX_Z
        return self.deviation is not None and abs(self.deviation) <= limit


def transfer_matrix() -> tuple[Estimate, float]:
    """Return E[s | x] of a spin on 4 x 3 sites under bit flips, by transfer matrix and by all 4096 states."""
    lattice, beta, channel, t = Lattice((4, 3)), 0.44, BitFlip(), 0.3
    x_t = np.where(np.arange(12).reshape(1, 4, 3) % 5 < 2, -1.0, 1.0)
    everywhere = np.ones(lattice.shape, bool)
    found = exact.posterior_mean(models.Ising(lattice, beta), channel, t, x_t, everywhere)[0, 1, 1]
    s = block_states(12).astype(float)
    i, j = lattice.bonds.T
    weight = np.exp(beta * (s[:, i] * s[:, j]).sum(axis=1) + s @ channel.likelihood_field(x_t, t).ravel())
    return Estimate(float(found), 0.0, 0, ""), float(weight @ s[:, 4] / weight.sum())


def determinants() -> tuple[Estimate, float]:
    """Return I(A;C|B) of the noisy massive field on 6 x 5 sites, by sparse solves and by four determinants."""
    lattice, channel, t = Lattice((6, 5)), Gaussian("linear"), 0.6
    model, parts = models.GaussianField(lattice, 0.3), lattice.tripartition((2, 2), radius=1)
    covariance = model.solver.covariance(channel, t, np.ones(lattice.shape, bool))

    def log_det(region: Any) -> float:
        keep = np.flatnonzero(region)
        return float(np.linalg.slogdet(covariance[np.ix_(keep, keep)])[1])

    known = 0.5 * (log_det(parts.AB) + log_det(parts.BC) - log_det(parts.B) - log_det(parts.ABC))
    return exact.cmi(model, channel, t, parts), known


def onsager() -> tuple[Estimate, float]:
    """Return the energy per site of the Ising model at beta = 0.3, sampled and by Onsager's integral (1944)."""
    from scipy.special import ellipk

    beta, rng = 0.3, np.random.default_rng(SEED)
    lattice = Lattice((48, 40), periodic=True)  # 25 correlation lengths: the infinite lattice but for e^-25
    spins = samplers.ising(lattice, beta, 1500, rng, method="swendsen_wang", thin=2)
    m = (2 * np.sinh(2 * beta) / np.cosh(2 * beta) ** 2) ** 2
    known = -(1 + (2 * np.tanh(2 * beta) ** 2 - 1) * 2 / np.pi * ellipk(m)) / np.tanh(2 * beta)
    return samplers.energy(spins, lattice), float(known)


def percolation() -> tuple[Estimate, float]:
    """Return the entropy of the label of erased loops on 12 x 13 faces at t = 1/2: log 2 / 2 by self-duality."""
    model, rng = models.DomainWalls((12, 13)), np.random.default_rng(SEED)
    return model.solver.label_entropy(Erasure(), 0.5, 10_000, rng), 0.5 * float(np.log(2))


def chain() -> tuple[Estimate, float]:
    """Return I(A;C|B) of the erased Ising chain, averaged over exact posteriors, and in closed form."""
    lattice, channel, t, rng = Lattice((20,)), Erasure(), 0.6, np.random.default_rng(SEED)
    model, parts = models.IsingChain(lattice, 0.9), lattice.tripartition((9,), radius=1)
    known = exact.cmi(model, channel, t, parts, method="closed").value
    return exact.cmi(model, channel, t, parts, 20_000, rng, method="sampled"), known


def network() -> tuple[Estimate, float]:
    """Return what a site's own observation adds to the log-odds of a local network: twice its likelihood field."""
    from .denoisers import LocalNet

    net, t = LocalNet(1, width=8, depth=1).double(), 0.4
    x_t = np.random.default_rng(SEED).standard_normal((1, 1, 5, 4))
    seen: Any = net(x_t, t)
    blind: Any = net.blind(x_t, t)
    known = 2 * Gaussian("linear").likelihood_field(x_t, t)
    return Estimate(float((seen.log_odds - blind.log_odds)[0, 0, 2, 1]), 0.0, 0, ""), float(known[0, 0, 2, 1])


CHECKS: dict[str, Callable[[], tuple[Estimate, float]]] = {
    "Ising posterior: transfer matrix, enumeration": transfer_matrix,
    "Gaussian field: CMI, determinants": determinants,
    "Ising energy: Swendsen-Wang, Onsager": onsager,
    "Loops: label entropy, self-duality": percolation,
    "Ising chain: CMI sampled, closed form": chain,
    "Network: own observation, Bayes' rule": network,
}


def measure(name: str) -> Check:
    """Return one check; whatever it raises makes it fail."""
    start = time.perf_counter()
    try:
        found, known = CHECKS[name]()
    except Exception as error:
        return Check(name, None, None, None, time.perf_counter() - start, f"{type(error).__name__}: {error}")
    stderr = float(found.stderr) or None
    return Check(name, float(found.value), float(known), stderr, time.perf_counter() - start)


# -- the report ----------------------------------------------------------------------------------------------


def examine() -> dict[str, Any]:
    """Return all that the doctor finds, as plain JSON types; ten seconds, more where kernels are compiled first."""
    start = time.perf_counter()
    checks = [measure(name) for name in CHECKS]
    return {
        "versions": versions(),
        "machine": machine(),
        "extras": extras(),
        "checks": [{**asdict(one), "deviation": one.deviation, "passed": one.passed} for one in checks],
        "seconds": time.perf_counter() - start,
        "healthy": all(one.passed for one in checks),
    }


def show(found: dict[str, Any]) -> None:
    """Print the tables of `examine` on stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 110)
    place = Table(box=None, show_header=False)
    extras = {f"extra {name}": state for name, state in found["extras"].items()}
    for line in {**found["versions"], **found["machine"], **extras}.items():
        place.add_row(*line)
    console.print(place)
    table, checks = Table("check", "value", "exact", "deviation", ""), found["checks"]
    for check in checks:
        if check["problem"]:
            table.add_row(check["name"], "", "", check["problem"], "FAILED")
            continue
        sampled = check["stderr"] is not None
        deviation = "z = {deviation:+.1f}" if sampled else "{deviation:+.1e}"
        value = "{value:.5f} ± {stderr:.5f}" if sampled else "{value:.10f}"
        words = [text.format(**check) for text in ("{name}", value, "{exact:.10f}", deviation)]
        table.add_row(*words, "ok" if check["passed"] else "FAILED")
    console.print(table)
    n_failed = sum(not check["passed"] for check in checks)
    verdict = "all well" if found["healthy"] else f"{n_failed} of {len(checks)} checks failed"
    console.print(f"{verdict}; took {found['seconds']:.1f} s", highlight=False)
