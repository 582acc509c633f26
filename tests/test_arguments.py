"""Arguments that make no sense, for every public function: ValueError or TypeError of ours, nothing else.

One argument of a call that works is replaced by something drawn at random. What comes back is an answer, or a refusal
that this package raised itself; constructors name the argument. Public is what the pages of the API list; what is not
tried here is on a list with the reason.
"""

import contextlib
import importlib
import inspect
import itertools
import os
import re
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_docs import documented_names

import lattice_diffusion as ld
from lattice_diffusion import arguments
from lattice_diffusion.denoisers import training
from lattice_diffusion.estimators.registry import OURS
from lattice_diffusion.exact import enumeration
from lattice_diffusion.experiments.refusal import is_refusal

GIB = 2**30
SECONDS = 10  # for one call, compilation included
OPEN, RING, CHAIN = ld.Lattice((4, 3)), ld.Lattice((4, 4), periodic=True), ld.Lattice((5,))
PARTS = OPEN.tripartition((1, 1), 1)
GAUSSIAN, BIT_FLIP, ERASURE = ld.channels.Gaussian(), ld.channels.BitFlip(), ld.channels.Erasure()
FIELD, ISING = ld.models.GaussianField(OPEN, 0.7), ld.models.Ising(OPEN, 0.4)
MIXTURE, WALLS = ld.models.GaussianMixture(OPEN, 0.8, 0.6), ld.models.DomainWalls((3, 4))
RINGED, MEAN_FIELD = ld.models.IsingChain(CHAIN, 0.5), ld.models.CurieWeiss(ld.Lattice((9,)), 1.2)
SPINS = np.where(np.random.default_rng(3).random((40, 4, 3)) < 0.5, -1, 1).astype(np.int8)
ORDERED = ld.samplers.ising(RING, 0.3, 40, np.random.default_rng(8))
REAL = np.random.default_rng(4).standard_normal((6, 4, 3))
SERIES, MASK = np.random.default_rng(5).standard_normal(60), PARTS.B
TIMES, CURVE = np.array([0.2, 0.4, 0.6, 0.8, 0.9]), np.array([0.1, 0.3, 0.5, 0.3, 0.1])
AREA, COST = [[1.0, 0.5], [1.0, 0.2]], [1.0, 2.0]
IMAGES, LEVELS = REAL[:, None], {"levels": [-1.0, 1.0], "prior": np.full((2, 4, 3), 0.5)}
EXACT, STEPS = ld.denoisers.ExactDenoiser(FIELD, GAUSSIAN, 1), [0.9, 0.5, 0.1]
ALWAYS = ld.denoisers.always(EXACT)
SIZES, FLAT = [4.0] * 5 + [8.0] * 5, np.random.default_rng(6).standard_normal((5, 40))
Calls = dict[str, tuple[Callable[..., Any], dict[str, Any]]]


@dataclass(frozen=True)
class Fresh:
    """Stands for what a call would change, and is made anew for every call."""

    make: Callable[[], Any]


RNG = Fresh(lambda: np.random.default_rng(7))
NET = Fresh(lambda: ld.denoisers.LocalNet(1, width=4, depth=1))


def of(**keywords: Any) -> dict[str, Any]:
    return keywords


CONSTRUCTORS: Calls = {
    "Lattice": (ld.Lattice, of(shape=(4, 3), periodic=(True, False))),
    "Tripartition": (ld.Tripartition, of(A=PARTS.A, B=PARTS.B, C=PARTS.C)),
    "Ising": (ld.models.Ising, of(lattice=OPEN, beta=0.4)),
    "IsingChain": (ld.models.IsingChain, of(lattice=CHAIN, beta=0.4)),
    "CurieWeiss": (ld.models.CurieWeiss, of(lattice=CHAIN, beta=0.4)),
    "GaussianField": (ld.models.GaussianField, of(lattice=OPEN, mass_squared=0.4)),
    "GaussianMixture": (ld.models.GaussianMixture, of(lattice=OPEN, mean=1.0, std=0.4)),
    "correlated mixture": (ld.models.GaussianMixture, of(lattice=OPEN, mean=1.0, mass_squared=0.4)),
    "DomainWalls": (ld.models.DomainWalls, of(faces=(3, 4), beta=0.0, periodic=False)),
    "Gaussian": (ld.channels.Gaussian, of(schedule="vp")),
    "Variable": (ld.results.Variable, of(dims=("t",), values=TIMES, units="1", long_name="time")),
    "Switch": (ld.denoisers.Switch, of(bounds=(0.5,), denoisers=(EXACT, EXACT))),
}
FUNCTIONS: Calls = {
    "box": (OPEN.box, of(center=(1, 1), radius=1, patch=1)),
    "box on a torus": (RING.box, of(center=(1, 1), radius=1, patch=1)),
    "tripartition": (OPEN.tripartition, of(center=(1, 1), radius=1, patch=1)),
    "from_sizes": (ld.Tripartition.from_sizes, of(a=1, b=2, c=3)),
    "walls.tripartition": (WALLS.tripartition, of(radius=1, bond=((1, 1), (1, 2)))),
    "homology": (ld.models.homology, of(x=np.ones((2, 2, 3, 3)))),
    "markov_length of the field": (FIELD.markov_length, of(channel=GAUSSIAN, t=0.5)),
    "label_information": (MIXTURE.label_information, of(channel=GAUSSIAN, t=0.5, region=MASK)),
    "swendsen_wang": (
        ld.samplers.swendsen_wang,
        of(lattice=OPEN, couplings=0.3, n_samples=2, rng=RNG, fields=0.1, burn_in=2, thin=1),
    ),
    "wolff": (ld.samplers.wolff, of(lattice=OPEN, couplings=0.3, n_samples=2, rng=RNG, burn_in=2, thin=1)),
    "posterior": (ld.samplers.posterior, of(lattice=OPEN, couplings=0.3, fields=0.1, n_samples=2, rng=RNG, thin=1)),
    "replica_exchange": (
        ld.samplers.replica_exchange,
        of(lattice=OPEN, couplings=0.3, fields=0.1, betas=(1.0, 0.5), n_samples=2, rng=RNG, burn_in=2, thin=1),
    ),
    "coupling_from_the_past": (
        ld.samplers.coupling_from_the_past,
        of(lattice=OPEN, couplings=0.3, n_samples=2, rng=RNG, fields=0.1, max_sweeps=1024),
    ),
    "multispin_chain": (
        ld.samplers.multispin_chain,
        of(lattice=OPEN, beta=0.3, n_sweeps=2, rng=RNG, update="metropolis", n_replicas=64, state=np.ones((4, 3))),
    ),
    "gaussian_field": (
        ld.samplers.gaussian_field,
        of(lattice=OPEN, mass_squared=0.3, n_samples=2, rng=RNG, dtype=float, boundary="free"),
    ),
    "spectral_field": (ld.samplers.spectral_field, of(lattice=RING, spectrum=np.ones((4, 4)), n_samples=2, rng=RNG)),
    "conditional_field": (
        ld.samplers.conditional_field,
        of(lattice=OPEN, mass_squared=0.3, observed=MASK, values=REAL[0], n_samples=2, rng=RNG, noise_variance=0.1),
    ),
    "conditional_mean": (
        ld.samplers.conditional_mean,
        of(lattice=OPEN, mass_squared=0.3, observed=MASK, values=REAL[0], noise_variance=0.1, method="auto"),
    ),
    "wave_vectors": (ld.samplers.wave_vectors, of(lattice=RING)),
    "autocorrelation": (ld.samplers.autocorrelation, of(series=SERIES)),
    "autocorrelation time": (ld.samplers.integrated_autocorrelation_time, of(series=SERIES, c=5.0)),
    "mser": (ld.samplers.mser, of(series=SERIES, batch=5)),
    "jackknife": (ld.samplers.jackknife, of(series=SERIES, function=lambda m: float(np.mean(m)), n_blocks=5)),
    "energies": (ld.samplers.energies, of(samples=SPINS, lattice=OPEN)),
    "magnetization": (ld.samplers.magnetization, of(samples=SPINS, power=2, n_blocks=10)),
    "correlation": (ld.samplers.correlation, of(samples=SPINS, lattice=OPEN, distances=[1], axis=0, n_blocks=10)),
    "binder_cumulant": (ld.samplers.binder_cumulant, of(samples=SPINS, n_blocks=10)),
    "evaluate_schedule": (ld.phases.evaluate_schedule, of(choice=[0, 1], area=AREA, cost=COST)),
    "optimal_schedule": (ld.phases.optimal_schedule, of(area=AREA, cost=COST, budget=1.5)),
    "two_level_schedule": (ld.phases.two_level_schedule, of(area=AREA, cost=COST, budget=1.5)),
    "log_rule": (
        ld.phases.log_rule,
        of(xi=[1.0, 2.0], gamma=[1.0, 1.0], radii=[1, 2, 3], n_sites=10, n_steps=10, error=0.1),
    ),
    "peak_time": (ld.phases.peak_time, of(times=TIMES, values=CURVE, stderr=np.full(5, 0.01), fraction=0.7)),
    "power_law": (ld.phases.power_law, of(x=[1.0, 2.0, 3.0], y=[1.0, 2.1, 2.9], stderr=[0.1, 0.1, 0.1])),
    "nonlocality_window": (ld.phases.nonlocality_window, of(times=TIMES, cmi=CURVE, tolerance=0.2)),
    "speciation_window": (
        ld.phases.speciation_window,
        of(times=TIMES, label_ab_clean=0.6, label_b=CURVE, label_abc=CURVE, tolerance=0.2),
    ),
    "markov_length": (
        ld.phases.markov_length,
        of(radii=[1, 2, 3, 4], cmi=np.exp(-np.arange(1, 5.0)), covariance=1e-6 * np.eye(4), prefactor_exponent=0.5),
    ),
    "ExactDenoiser": (ld.denoisers.ExactDenoiser, of(model=ISING, channel=GAUSSIAN, radius=1, strict=True)),
    "WienerFilter": (ld.denoisers.WienerFilter, of(x_0=REAL[:, None], channel=GAUSSIAN, radius=1, periodic=False)),
    "NearestPatch": (ld.denoisers.NearestPatch, of(x_0=REAL[:, None], channel=GAUSSIAN, radius=1)),
    "LocalNet": (
        ld.denoisers.LocalNet,
        of(radius=1, in_channels=1, channel=GAUSSIAN, head="bernoulli", ndim=2, periodic=False, width=8, depth=1),
    ),
    "GlobalNet": (
        ld.denoisers.GlobalNet,
        of(in_channels=1, channel=GAUSSIAN, head="bernoulli", ndim=2, periodic=False, width=8, levels=1, depth=1),
    ),
    "pure_noise": (ld.denoisers.pure_noise, of(shape=(2, 1, 4, 3), channel=GAUSSIAN, t=0.9, rng=RNG)),
    "unmask_loops": (ld.denoisers.unmask_loops, of(x_t=np.zeros((2, 2, 3, 4)), radius=1, rng=RNG, left=0.0)),
    "violated_vertices": (ld.denoisers.violated_vertices, of(x=np.ones((2, 2, 3, 4)))),
    "gaussian_divergence": (ld.denoisers.gaussian_divergence, of(model=FIELD, covariance=np.eye(12))),
    "LocalImageNet": (ld.denoisers.LocalImageNet, of(radius=1, **LEVELS, channel=GAUSSIAN, width=4, depth=1, rng=RNG)),
    "GlobalImageNet": (
        ld.denoisers.GlobalImageNet,
        of(**LEVELS, channel=GAUSSIAN, width=4, halvings=1, depth=1, rng=RNG),
    ),
    "law": (enumeration.law, of(model=RINGED)),
    "clean_table": (enumeration.clean_table, of(model=WALLS)),
    "boxes": (enumeration.boxes, of(model=RINGED, radius=1)),
    "noise_matrix": (enumeration.noise_matrix, of(channel=BIT_FLIP, s=0.2, t=0.5)),
    "noisy_table": (enumeration.noisy_table, of(clean=np.full((2, 2), 0.25), channel=ERASURE, t=0.5)),
    "always": (ld.denoisers.always, of(denoiser=EXACT)),
    "hybrid": (ld.denoisers.hybrid, of(local=EXACT, other=EXACT, start=0.3, stop=0.6)),
    "reverse": (
        ld.denoisers.reverse,
        of(x_t=IMAGES, times=STEPS, schedule=ALWAYS, channel=GAUSSIAN, rng=RNG, deterministic=True),
    ),
    "reverse_steps": (
        ld.denoisers.reverse_steps,
        of(x_t=IMAGES, times=STEPS, schedule=ALWAYS, channel=GAUSSIAN, rng=RNG, deterministic=False),
    ),
    "generated_covariance": (
        ld.denoisers.generated_covariance,
        of(model=FIELD, channel=GAUSSIAN, times=STEPS, schedule=ALWAYS, start=np.eye(12)),
    ),
    "finite_size_crossing": (
        ld.phases.finite_size_crossing,
        of(
            control=[0.1, 0.2, 0.3, 0.4, 0.5] * 2,
            size=SIZES,
            values=SERIES[:10],
            stderr=[0.1] * 10,
            guess=(0.3, 1.0),
            degree=2,
        ),
    ),
    "schedule_frontier": (ld.phases.schedule_frontier, of(area=AREA, cost=COST)),
    "gaussian_output_law": (ld.channels.gaussian_output_law, of(snr=0.5)),
    "correlation_length": (
        ld.samplers.correlation_length,
        of(samples=ORDERED, lattice=RING, n_blocks=10),
    ),
    "energy": (ld.samplers.energy, of(samples=SPINS, lattice=OPEN, n_blocks=10)),
    "specific_heat": (ld.samplers.specific_heat, of(samples=SPINS, lattice=OPEN, beta=0.4, n_blocks=10)),
    "susceptibility": (ld.samplers.susceptibility, of(samples=SPINS, beta=0.4, connected=True, n_blocks=10)),
    "magnetizations": (ld.samplers.magnetizations, of(samples=SPINS)),
    "effective_samples": (ld.samplers.effective_samples, of(series=SERIES, c=5.0)),
    "stream": (
        ld.samplers.stream,
        of(lattice=OPEN, beta=0.4, batch_size=2, rng=RNG, method="heat_bath", field=0.0, burn_in=2, thin=1),
    ),
    "torch_dataset": (
        ld.samplers.torch_dataset,
        of(source=ISING, batch_size=2, seed=1, add_channel=True),
    ),
    "results.provenance": (ld.results.provenance, of(name="x", parameters="{}", seed=1, complete=True)),
    "results.read": (ld.results.read, of(path="nowhere.h5")),
    "results.write": (
        ld.results.write,
        of(path="a.h5", result=ld.results.Result(ld.results.provenance("x", "{}", 1, complete=True), {}, [])),
    ),
    "tasks.problem": (ld.estimators.tasks.problem, of(name="charges-3")),
    "benchmark.read": (ld.estimators.benchmark.read, of(path="nowhere.jsonl")),
    "estimators.clone": (ld.estimators.clone, of(estimator=ld.estimators.Gaussian())),
    "consistency": (ld.estimators.consistency, of(estimator=ld.estimators.Gaussian(), rng=RNG, n=50)),
    "estimators.get": (ld.estimators.get, of(name="Gaussian")),
    "tasks.get": (ld.estimators.tasks.get, of(name="charges-3")),
    "benchmark.plan": (
        ld.estimators.benchmark.plan,
        of(tasks=["charges-3"], estimators=["Oracle"], sizes=[100], seeds=[0], budgets=[1.0]),
    ),
    "open_images": (ld.images.open_images, of(path="nowhere.npy", key=None, n_max=5)),
}
for _method in ("transfer_matrix", "swendsen_wang", "heat_bath", "multispin", "wolff"):
    FUNCTIONS[f"ising by {_method}"] = (
        ld.samplers.ising,
        of(lattice=OPEN, beta=0.4, n_samples=2, rng=RNG, method=_method, burn_in=2, thin=1, chains=1, workers=1),
    )
for _name, _model, _parts, _channel, _x in (
    ("ising", ISING, PARTS, ERASURE, SPINS[:2]),
    ("field", FIELD, PARTS, GAUSSIAN, REAL[:2]),
    ("mixture", MIXTURE, PARTS, GAUSSIAN, REAL[:2]),
    ("chain", RINGED, CHAIN.tripartition((2,), 1), BIT_FLIP, np.ones((2, 5))),
    ("mean field", MEAN_FIELD, ld.Tripartition.from_sizes(1, 3, 5), ERASURE, np.ones((2, 9))),
    ("walls", WALLS, WALLS.tripartition(radius=0, block=(1, 1)), GAUSSIAN, np.ones((2, 2, 3, 4))),
):
    _known: dict[str, Any] = of(model=_model, channel=_channel, t=0.4)
    FUNCTIONS |= {
        f"sample of {_name}": (_model.sample, of(n_samples=3, rng=RNG)),
        f"cmi of {_name}": (ld.exact.cmi, of(**_known, parts=_parts, n_samples=8, rng=RNG, method="auto")),
        f"cmi_curve of {_name}": (ld.exact.cmi_curve, of(**_known, parts=[_parts], n_samples=8, rng=RNG)),
        f"log_marginal of {_name}": (ld.exact.log_marginal, of(**_known, x_t=_x, region=_parts.AB)),
        f"posterior of {_name}": (ld.exact.posterior, of(**_known, x_t=_x, sites=_parts.A, observed=_parts.AB)),
        f"posterior_mean of {_name}": (ld.exact.posterior_mean, of(**_known, x_t=_x, observed=_parts.AB)),
    }
for _channel in (GAUSSIAN, ld.channels.Gaussian("ve"), BIT_FLIP, ERASURE):
    FUNCTIONS |= {
        f"{_channel}.snr": (_channel.snr, of(t=0.5)),
        f"{_channel}.time": (_channel.time, of(snr=0.5)),
        f"{_channel}.corrupt": (_channel.corrupt, of(x_0=SPINS, t=0.5, rng=RNG)),
        f"{_channel}.add_noise": (_channel.add_noise, of(x_s=SPINS, s=0.2, t=0.5, rng=RNG)),
        f"{_channel}.bridge": (_channel.bridge, of(x_t=SPINS, x_0=SPINS, t=0.5, s=0.2, rng=RNG)),
        f"{_channel}.likelihood_field": (_channel.likelihood_field, of(x_t=SPINS, t=0.5)),
        f"{_channel}.output_law": (_channel.output_law, of(t=0.5)),
    }


def fitted(name: str) -> Callable[..., Any]:
    """Makes the estimator from its parameters, and fits it."""

    def call(**parameters: Any) -> Any:
        estimator = getattr(ld.estimators, name)(**parameters)
        if name == "AmortisedLikelihood":
            return estimator.fit(REAL[np.arange(24) % 6] + SPINS[:24], radii=(1,), times=(0.5,))
        if name == "Oracle":
            return estimator.fit(SPINS, PARTS, channel=BIT_FLIP, t=0.4)
        return estimator.fit(FLAT[0], FLAT[1:3].T, FLAT[3:].T)

    return call


SMALL = {"folds": 2, "steps": 2, "width": 4, "depth": 1, "batch_size": 16, "levels": 3, "near": 1, "blocks": 2, "k": 2}
ESTIMATORS: Calls = {}
for _name in (*(name for name in OURS if name != "Gaussian"), "AmortisedLikelihood"):  # it has no parameters
    _known = {key: p.default for key, p in inspect.signature(getattr(ld.estimators, _name)).parameters.items()}
    _known |= {key: value for key, value in SMALL.items() if key in _known} | (
        {"model": ISING} if "model" in _known else {}
    )
    ESTIMATORS[f"estimators.{_name}"] = (fitted(_name), _known)
for _name in ("Gaussian", "FrenzelPompe", "ConditionalLikelihood"):
    ESTIMATORS[f"{_name}.fit"] = (
        getattr(ld.estimators, _name)(
            **{"Gaussian": {}, "FrenzelPompe": {"k": 2}, "ConditionalLikelihood": {"steps": 2}}[_name]
        ).fit,
        of(
            a=FLAT[0],
            c=FLAT[1:3].T,
            b=FLAT[3:].T,
            parts=None,
            channel=GAUSSIAN,
            t=0.5,
            groups=np.arange(40) // 2,
            rng=RNG,
        ),
    )


LEARNING = of(
    net=NET, data=SPINS, steps=2, budget_seconds=0.5, batch_size=4, optimiser="adam", learning_rate=1e-3, ema=0.9
)
LEARNING |= of(rng=RNG, times=lambda n, rng: rng.random(n), teacher=None, exact=None, validate_every=1)
LEARNING |= of(checkpoint=None, checkpoint_every=1, resume=False, device=None)
GROUP = {
    "cmi": ld.results.Variable(("beta", "radius", "t"), np.full((2, 3, 5), 0.1), "nat", "information"),
    "radius": ld.results.Variable(("radius",), np.arange(3), "sites", "width"),
    "beta": ld.results.Variable(("beta",), np.arange(2), "1", "coupling"),
    "markov_length": ld.results.Variable(("beta", "t"), np.ones((2, 5)), "sites", "length"),
    "t": ld.results.Variable(("t",), TIMES, "1", "time"),
}
AXES = Fresh(lambda: ld.plots.new_figure()[1])
PLOTS: Calls = {
    "new_figure": (ld.plots.new_figure, of(n_panels=2, width=5.0, height=4.0)),
    "heat_map": (
        ld.plots.heat_map,
        of(ax=AXES, x=TIMES, y=[1, 2], values=np.ones((2, 5)), label="x", log=True, vmin=0.1),
    ),
    "curve": (ld.plots.curve, of(ax=AXES, k=1, x=TIMES, y=CURVE, stderr=CURVE, label="x")),
    "plot_cmi": (ld.plots.plot_cmi, of(result=ld.results.Result({}, {"a": GROUP}), grid="a", at={"beta": 1}, ax=None)),
    "plot_markov_length": (ld.plots.plot_markov_length, of(variables=GROUP, control="beta", ax=None)),
    "plot_scores": (ld.plots.plot_scores, of(floors=[[1.0, 2.0]], estimators=["x"], tasks=["a", "b"], ax=None)),
}
TRAINING: Calls = {
    "train": (ld.denoisers.train, LEARNING),
    "fit": (ld.denoisers.fit, of(**LEARNING, progress=False)),
}

NOT_TRIED = {  # a room or a part of one, and why
    "estimators.Estimator": "a base, whose parameter all that descend from it have",
    "estimators.benchmark.": "takes runs of `plan`, which is tried, or rows that were read",
    "estimators.summary": "takes rows that were read",
    "estimators.leaderboard": "takes what `summary` gave",
    "estimators.table": "takes what `summary` gave",
    "exact.enumeration.": "takes tables, matrices, masks of `noisy_table`, `noise_matrix`, `boxes`, which are tried",
    "experiments.": "specs, files and command lines as a whole are tried in test_command_lines",
    "plots.probe.": "takes the group of a probe; what a file lacks is told by experiments.checks",
}

# small counts make little work and vast ones are refused; those between are the user's to wait for
numbers = st.one_of(
    st.integers(-4, 8), st.sampled_from([10**12, 2**62, 2**63, 2**64, -(10**30), 10**400]), st.floats(), st.booleans()
)
sides = st.lists(st.one_of(st.integers(-1, 5), st.just(2**40)), max_size=3).map(tuple)
arrays = st.builds(
    lambda shape, value, kind: np.full(shape, value).astype(kind),
    st.lists(st.integers(0, 4), max_size=4).map(tuple),
    st.sampled_from([0.0, 1.0, -1.0, 0.5]),
    st.sampled_from([float, int, bool, np.int8, np.float32, complex, "U4", object]),
)
bad_arrays = st.sampled_from([np.full((4, 3), np.nan), np.full((2, 4, 3), np.inf), SPINS, REAL, MASK, SERIES])
others = [None, "", "x", "auto", b"\0", {}, object(), 1j, int, ld.Lattice((2**20, 2**20)), np.int8(3), np.float64(0.5)]
ours = [
    OPEN,
    RING,
    ld.Lattice(1),
    PARTS,
    [PARTS, PARTS],
    GAUSSIAN,
    ERASURE,
    ISING,
    FIELD,
    WALLS,
    np.random.default_rng(1),
]
things = st.sampled_from([*others, *ours])
junk = st.one_of(numbers, sides, arrays, bad_arrays, things, st.text(max_size=4), st.lists(numbers, max_size=3))


@pytest.fixture(scope="module", autouse=True)
def small_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """It says that it has one GiB, and an allocation of three more ends in MemoryError, which is no refusal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arguments, "available_memory", lambda: GIB)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + 3 * GIB, before[1]))
        patch.chdir(tmp_path_factory.mktemp("here"))
        yield
        resource.setrlimit(resource.RLIMIT_AS, before)


class TooLong(BaseException):
    """No refusal, whatever else is taken for one."""


@contextlib.contextmanager
def watched(what: str) -> Iterator[None]:
    def too_long(*_: object) -> None:
        raise TooLong(f"{what} takes longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "overflow encountered", RuntimeWarning)  # squares of 1e300 and the like
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def called(calls: Calls, name: str, argument: str, value: Any) -> str | None:
    """What a refusal says, None for an answer; anything else is raised."""
    function, keywords = calls[name]
    given = {**keywords, argument: value}
    ready = {key: x.make() if isinstance(x, Fresh) else x for key, x in given.items()}
    with watched(f"{name}({argument}={arguments.shown(value)})"):
        try:
            answer = function(**ready)
            if hasattr(answer, "__iter__") and not hasattr(answer, "__len__"):  # perhaps without end
                list(itertools.islice(answer, 3))
        except (ValueError, TypeError, OSError) as error:
            ours = is_refusal(error) or isinstance(error, OSError) or value is int  # called as a function
            if not ours:
                raise AssertionError(f"{name}({argument}={arguments.shown(value)}) broke") from error
            return str(error)
    return None


def places(calls: Calls) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from([(name, key) for name, (_, keywords) in calls.items() for key in keywords])


def fixed(examples: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=examples * int(os.environ.get("TIMES", "1")),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


ALL: Calls = {**CONSTRUCTORS, **FUNCTIONS, **ESTIMATORS, **TRAINING, **PLOTS}
ABSENT = ("open_images", "results.read", "benchmark.read")  # have no file to read


@pytest.mark.parametrize("name", ALL)
def test_the_calls_work_as_they_stand(name: str) -> None:
    argument, value = next(iter(ALL[name][1].items()))
    assert called(ALL, name, argument, value) is None or name in ABSENT


@given(place=places(CONSTRUCTORS), value=junk)
@fixed(600)
def test_constructors_name_the_argument_that_they_refuse(place: tuple[str, str], value: Any) -> None:
    name, argument = place
    sentence = called(CONSTRUCTORS, name, argument, value)
    if sentence is not None:
        related = {"shape": ("axis", "periodic"), "A": ("A, B and C",), "B": ("A, B and C",), "C": ("A, B and C",)}
        related |= {"periodic": ("axis", "grid"), "lattice": ("1D lattice",), "faces": ("grid",), "bounds": ("t must",)}
        assert any(word in sentence for word in (argument, *related.get(argument, ()))), (name, argument, sentence)
        assert "\n" not in sentence


@given(place=places(FUNCTIONS), value=junk)
@fixed(2500)
def test_functions_answer_or_refuse(place: tuple[str, str], value: Any) -> None:
    name, argument = place
    sentence = called(FUNCTIONS, name, argument, value)
    assert sentence is None or (len(sentence) > 12 and "\n" not in sentence)


@given(place=places({**ESTIMATORS, **TRAINING}), value=junk)
@fixed(120)
def test_estimators_and_training_answer_or_refuse(place: tuple[str, str], value: Any) -> None:
    name, argument = place
    sentence = called(ALL, name, argument, value)
    assert sentence is None or (len(sentence) > 12 and "\n" not in sentence)


def test_numbers_below_their_limits_are_refused_by_name() -> None:
    limited = {f"estimators.{name}": getattr(ld.estimators, name).limits for name in (*OURS, "AmortisedLikelihood")}
    for name, limits in {**limited, "train": training.LIMITS, "fit": training.LIMITS}.items():
        for argument in limits.keys() & ALL.get(name, (None, {}))[1].keys():
            low = limits[argument][0]
            sentence = str(called(ALL, name, argument, low - 1))
            assert re.match(rf"{argument} must be (an integer|a number) .*{low:g}.*, got {low - 1}", sentence), sentence
    for argument, value in (("ema", 1.0), ("ema", -0.1), ("budget_seconds", 0.0), ("checkpoint", "none/a.pt")):
        assert argument in str(called(ALL, "fit", argument, value))


@given(place=places(PLOTS), value=junk)
@fixed(100)
def test_plots_draw_or_refuse(place: tuple[str, str], value: Any) -> None:
    name, argument = place
    sentence = called(ALL, name, argument, value)
    plt.close("all")
    assert sentence is None or (len(sentence) > 12 and "\n" not in sentence)


def only_stores(x: Any) -> bool:
    """Exceptions, protocols, and records whose constructor looks at nothing."""
    is_class = inspect.isclass(x)
    return is_class and (
        issubclass(x, BaseException | tuple)
        or getattr(x, "_is_protocol", False)
        or (is_dataclass(x) and not hasattr(x, "__post_init__"))
    )


def test_every_public_name_is_tried_or_is_not_for_a_reason() -> None:
    tried = {getattr(function, "__func__", function) for function, _ in ALL.values()}
    tried |= {getattr(ld.estimators, name.split(".")[1]) for name in ESTIMATORS if name.startswith("estimators.")}
    left = set()
    for room, name in documented_names():
        x = getattr(importlib.import_module(f"lattice_diffusion.{room}".rstrip(".")), name)
        if callable(x) and x not in tried and not only_stores(x) and inspect.signature(x).parameters:
            left.add(f"{room}.{name}")
    reasons = {name: next((key for key in NOT_TRIED if name.startswith(key)), None) for name in left}
    assert None not in reasons.values(), reasons
    assert set(reasons.values()) == set(NOT_TRIED)


def test_a_seed_is_no_generator_and_a_list_no_lattice() -> None:
    with pytest.raises(TypeError, match=r"rng must be a Generator, got 42; pass numpy.random.default_rng\(seed\)"):
        ISING.sample(3, 42)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"lattice must be a Lattice, got \(4, 3\); make one, such as Lattice\(\(8, 8\)\)"
    ):
        ld.models.Ising((4, 3), 0.4)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"t must be a number, got '0\.5'"):
        GAUSSIAN.snr("0.5")  # type: ignore[arg-type]


def test_sizes_are_refused_with_what_they_would_need() -> None:
    for call in (
        lambda: ld.samplers.ising(OPEN, 0.4, 10**12, np.random.default_rng(1)),
        lambda: ld.Lattice((2**20, 2**20)).tripartition((5, 5), 1),
        lambda: ld.models.GaussianField(ld.Lattice((2**20, 2**20)), 1.0).solver,
        lambda: ld.exact.cmi(ISING, GAUSSIAN, 0.5, PARTS, n_samples=10**12, rng=np.random.default_rng(1)),
    ):
        with pytest.raises(ValueError, match=r"is too large: it needs about .* GiB of memory, this machine has 1 GiB"):
            call()


@pytest.mark.parametrize("n", [10**9, 2**62, 2**63 - 1])
def test_exact_solutions_of_vast_lattices_are_refused_before_they_are_made(n: int) -> None:
    line, strip = ld.Lattice((n,)), ld.Lattice((3, n))
    for model in (
        ld.models.Ising(strip, 0.4),
        ld.models.IsingChain(line, 0.4),
        ld.models.GaussianField(line, 0.4),
        ld.models.GaussianMixture(line),
        ld.models.GaussianMixture(line, mass_squared=0.5),
        *([ld.models.CurieWeiss(line, 1.2)] if n > 10**9 else []),  # its sums are of order sqrt(n)
    ):
        with pytest.raises(ValueError, match="is too large: it needs about"):
            _ = model.solver
