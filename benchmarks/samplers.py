"""Speed of the Ising samplers beside the plain heat bath, in one run and on one core.

    python benchmarks/samplers.py [--json FILE]

Figures are ratios to the plain numba heat bath of the same run; the first line gives its own speed.
"""

import os
import time
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
from report import parser, report

import lattice_diffusion as ld
from lattice_diffusion.kernels import heat_bath
from lattice_diffusion.models.ising import BETA_CRITICAL
from lattice_diffusion.samplers.heat_bath import checkerboard_order, neighbor_table


def rate(action: Callable[[], object], updates: float, repeats: int = 5) -> float:
    """Updates per ns, best of a few runs after one to compile."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return updates / min(times) / 1e9


def plain(length: int) -> float:
    lattice, rng = ld.Lattice((length, length), periodic=True), np.random.default_rng(0)
    spins = np.ones(lattice.n_sites, np.int8)
    table, order = neighbor_table(lattice), checkerboard_order(lattice)
    return rate(lambda: heat_bath.sweeps(spins, table, order, BETA_CRITICAL, 20, rng), 20 * lattice.n_sites)


def multispin(length: int, n_replicas: int, update: str) -> float:
    lattice = ld.Lattice((length, length), periodic=True)
    chain = ld.samplers.multispin_chain(
        lattice, BETA_CRITICAL, 1, np.random.default_rng(0), update=update, n_replicas=n_replicas
    )
    n_sweeps = max(1, 20_000_000 // (lattice.n_sites * n_replicas))
    return rate(lambda: chain.sweep(n_sweeps), n_sweeps * lattice.n_sites * n_replicas)


def swendsen_wang(length: int) -> float:
    lattice, rng = ld.Lattice((length, length), periodic=True), np.random.default_rng(0)
    return rate(
        lambda: ld.samplers.swendsen_wang(lattice, BETA_CRITICAL, 1, rng, burn_in=0, thin=50), 50 * lattice.n_sites
    )


def main() -> None:
    options = parser(__doc__).parse_args()
    reference = plain(128)
    numbers = {
        "plain heat bath, L = 128 (flips/ns)": reference,
        "multi-spin Metropolis, one lattice L = 128 (ratio)": multispin(128, 1, "metropolis") / reference,
        "multi-spin heat bath, one lattice L = 128 (ratio)": multispin(128, 1, "heat_bath") / reference,
        "multi-spin heat bath, 512 replicas of L = 32 (ratio)": multispin(32, 512, "heat_bath") / reference,
        "Swendsen-Wang at beta_c, L = 128, sites per flip (ratio)": swendsen_wang(128) / reference,
    }
    report(numbers, options.json)


if __name__ == "__main__":
    main()
