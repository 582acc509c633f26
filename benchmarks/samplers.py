"""Speed of the samplers beside whichever peers are installed, in one run and on one core.

    pip install ".[peers]"          # mcising, dwave-samplers, peapods, rfgen, powerbox: each only if it is there
    python benchmarks/samplers.py [--json FILE]

Every figure is followed by its ratio to the first of its kind: the plain numba heat bath, our Swendsen-Wang, plain
NumPy fields (standard_normal and one FFT pair each). Independent samples are updates over tau(|m|).
"""

import os
import time
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import peers
from report import parser, report

import lattice_diffusion as ld
from lattice_diffusion.kernels import heat_bath
from lattice_diffusion.models.ising import BETA_CRITICAL
from lattice_diffusion.samplers.chains import Couplings, generator_state

Action = Callable[[], object]


def seconds(action: Action, repeats: int = 5) -> float:
    """The best of a few runs after one to compile or to warm up."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def torus(length: int) -> ld.Lattice:
    return ld.Lattice((length, length), periodic=True)


def plain(length: int, n_sweeps: int) -> Action:
    lattice, rng = torus(length), np.random.default_rng(0)
    model = Couplings.on(lattice, BETA_CRITICAL)
    spins, tables, state = model.start(rng), model.heat_bath_tables, generator_state(rng)
    return lambda: heat_bath.sweeps(spins, *tables, n_sweeps, state)


def multispin(length: int, n_replicas: int, update: str, n_sweeps: int) -> Action:
    rng = np.random.default_rng(0)
    chain = ld.samplers.multispin_chain(torus(length), BETA_CRITICAL, 1, rng, update=update, n_replicas=n_replicas)
    return lambda: chain.sweep(n_sweeps)


def swendsen_wang(length: int, n_sweeps: int) -> Action:
    lattice, rng = torus(length), np.random.default_rng(0)
    return lambda: ld.samplers.swendsen_wang(lattice, BETA_CRITICAL, 1, rng, burn_in=0, thin=n_sweeps)


def flips_per_ns(length: int = 128) -> dict[str, float]:
    """Attempted flips per ns, one core, by workload."""
    n_sites = length**2
    actions = {
        f"plain numba heat bath, L = {length}": (plain(length, 50), 50 * n_sites),
        f"multi-spin Metropolis, one lattice L = {length}": (multispin(length, 1, "metropolis", 2000), 2000 * n_sites),
        f"multi-spin heat bath, one lattice L = {length}": (multispin(length, 1, "heat_bath", 2000), 2000 * n_sites),
        "multi-spin heat bath, 512 replicas of L = 32": (multispin(32, 512, "heat_bath", 50), 50 * 512 * 32**2),
    }
    if peers.installed("mcising"):
        actions[f"mcising Metropolis, L = {length}"] = peers.mcising_sweeps(length, 50, "metropolis"), 50 * n_sites
    if peers.installed("peapods"):
        actions[f"peapods Metropolis, L = {length}"] = peers.peapods_sweeps(length, 50), 50 * n_sites
    if peers.installed("dwave.samplers"):
        # the cost of one sweep is the difference, since setting the problem up takes longer than a few sweeps
        few, many = seconds(peers.dwave_sweeps(length, 1)), seconds(peers.dwave_sweeps(length, 101))
        actions[f"dwave-samplers Metropolis, L = {length}"] = None, 100 * n_sites / (many - few)
    return {name: (n / seconds(action) if action else n) / 1e9 for name, (action, n) in actions.items()}


def cluster_sites_per_ns(length: int = 128) -> dict[str, float]:
    """Sites updated per ns by one Swendsen-Wang sweep at beta_c."""
    actions = {f"Swendsen-Wang, L = {length}": swendsen_wang(length, 50)}
    if peers.installed("mcising"):
        actions[f"mcising Swendsen-Wang, L = {length}"] = peers.mcising_sweeps(length, 50, "swendsen_wang")
    rates = {name: 50 * length**2 / seconds(action) / 1e9 for name, action in actions.items()}
    if peers.installed("peapods"):  # it adds cluster updates to Metropolis sweeps
        both, sweeps = (
            seconds(peers.peapods_sweeps(length, 50, cluster=True)),
            seconds(peers.peapods_sweeps(length, 50)),
        )
        rates[f"peapods Swendsen-Wang, L = {length}"] = 50 * length**2 / (both - sweeps) / 1e9
    return rates


def independent_per_second(length: int = 128, n_updates: int = 10_000) -> dict[str, float]:
    """Independent samples of |m| per second at beta_c: updates, each stored as a configuration, over tau(|m|)."""

    def ours(update: Callable, *, thin: int) -> np.ndarray:
        spins = update(torus(length), BETA_CRITICAL, n_updates, np.random.default_rng(2), burn_in=1000, thin=thin)
        return np.abs(spins.mean(axis=(1, 2), dtype=float))

    chains = {
        "Swendsen-Wang": lambda: ours(ld.samplers.swendsen_wang, thin=1),
        "Wolff, 4 clusters a step": lambda: ours(ld.samplers.wolff, thin=4),
    }
    if peers.installed("mcising"):
        chains["mcising Swendsen-Wang"] = lambda: peers.mcising_series(length, n_updates, "swendsen_wang")
        chains["mcising Wolff"] = lambda: peers.mcising_series(length, n_updates, "wolff")
    rates = {}
    for name, chain in chains.items():
        start = time.perf_counter()
        series = chain()
        rates[f"{name}, L = {length}"] = ld.samplers.effective_samples(series) / (time.perf_counter() - start)
    return rates


def fields_per_second(length: int) -> dict[str, float]:
    """Periodic Gaussian fields per second, float32 where a package can."""
    lattice, rng, batch = torus(length), np.random.default_rng(0), 64

    def numpy_only() -> object:
        noise = np.fft.rfft2(rng.standard_normal((length, length), dtype=np.float32))
        return np.fft.irfft2(noise * amplitude)

    amplitude = np.ones((length, length // 2 + 1), np.float32)
    actions = {
        "plain NumPy": (numpy_only, 1),
        "gaussian_field": (lambda: ld.samplers.gaussian_field(lattice, 0.04, batch, rng, dtype=np.float32), batch),
    }
    if peers.installed("rfgen"):
        actions["rfgen"] = peers.rfgen_fields(length), 1
    if peers.installed("powerbox"):
        actions["powerbox"] = peers.powerbox_fields(length), 1
    return {name: n / seconds(action, 10) for name, (action, n) in actions.items()}


def main() -> None:
    options = parser(__doc__).parse_args()
    numbers: dict[str, float] = {}
    sections = {
        "flips/ns": flips_per_ns(),
        "sites/ns": cluster_sites_per_ns(),
        "independent samples/s at beta_c": independent_per_second(),
        "256 x 256 fields/s": fields_per_second(256),
        "512 x 512 fields/s": fields_per_second(512),
    }
    for unit, rates in sections.items():
        reference = next(iter(rates.values()))
        for name, rate in rates.items():
            numbers[f"{name} ({unit})"] = rate
            numbers[f"{name} (ratio, {unit})"] = rate / reference
    report(numbers, options.json)


if __name__ == "__main__":
    main()
