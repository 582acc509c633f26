"""What other packages do in the same units, where they are installed (extra `peers`); each entry is one workload.

Ising: sweeps of the periodic L x L square lattice at beta_c. A workload maps the number of sweeps to an action, so
that the caller times it; `series` gives |m| after every update of one chain, for autocorrelation times.
"""

import importlib.util
from collections.abc import Callable

import numpy as np

Action = Callable[[], object]
TEMPERATURE = 2.0 / np.log1p(np.sqrt(2.0))


def installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False


def _mcising(length: int, algorithm: str):  # type: ignore[no-untyped-def]
    from mcising import IsingSimulation

    names = {"lattice_size": length, "j1": 1.0, "j2": 0.0, "j3": 0.0, "h": 0.0, "seed": 1}
    return IsingSimulation(**names, algorithm=algorithm, lattice_type="square")


def mcising_sweeps(length: int, n_sweeps: int, algorithm: str) -> Action:
    simulation = _mcising(length, algorithm)
    return lambda: simulation.sweep(n_sweeps, temperature=TEMPERATURE)


def mcising_series(length: int, n_updates: int, algorithm: str) -> np.ndarray:
    simulation = _mcising(length, algorithm)
    simulation.sweep(n_updates // 10, temperature=TEMPERATURE)
    run = simulation.production_sweeps(n_updates, 1, temperature=TEMPERATURE, store_configs=True)
    return np.abs(np.asarray(run["magnetizations"]))


def peapods_sweeps(length: int, n_sweeps: int, cluster: bool = False) -> Action:
    from peapods import Ising

    model = Ising((length, length), temperatures=np.array([TEMPERATURE]))
    every = 1 if cluster else None
    return lambda: model.sample(n_sweeps, sweep_mode="metropolis", cluster_update_interval=every, sequential=True)


def dwave_sweeps(length: int, n_sweeps: int) -> Action:
    from dimod import BinaryQuadraticModel
    from dwave.samplers import SimulatedAnnealingSampler

    site = np.arange(length**2).reshape(length, length)
    pairs = {(int(i), int(j)): -1.0 for a in (0, 1) for i, j in zip(site.flat, np.roll(site, -1, a).flat, strict=True)}
    model, sampler = BinaryQuadraticModel.from_ising({}, pairs), SimulatedAnnealingSampler()
    schedule = {"beta_schedule_type": "custom", "beta_schedule": np.full(n_sweeps, 1 / TEMPERATURE)}
    return lambda: sampler.sample(model, num_reads=1, seed=1, proposal_acceptance_criteria="Metropolis", **schedule)


def rfgen_fields(length: int) -> Action:
    from rfgen import selfaffine_field

    rng = np.random.default_rng(1)
    keys = {"dim": 2, "N": length, "Hurst": 0.5, "k_low": 0.03, "k_high": 0.3, "dtype": np.float32}
    return lambda: selfaffine_field(**keys, rng=rng)


def powerbox_fields(length: int) -> Action:
    from powerbox import PowerBox

    return lambda: PowerBox(N=length, dim=2, pk=lambda k: 1 / (0.04 + k**2), boxlength=length, nthreads=1).delta_x()
