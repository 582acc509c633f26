"""Arguments that make no sense, for every public function: ValueError or TypeError of ours, nothing else.

One argument of a call that works is replaced by something drawn at random. What comes back is an answer, or a refusal
that this package raised itself; constructors name the argument.
"""

import contextlib
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lattice_diffusion as ld
from lattice_diffusion import arguments
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
REAL = np.random.default_rng(4).standard_normal((6, 4, 3))
SERIES, MASK = np.random.default_rng(5).standard_normal(60), PARTS.B
TIMES, CURVE = np.array([0.2, 0.4, 0.6, 0.8, 0.9]), np.array([0.1, 0.3, 0.5, 0.3, 0.1])
AREA, COST = [[1.0, 0.5], [1.0, 0.2]], [1.0, 2.0]
Calls = dict[str, tuple[Callable[..., Any], dict[str, Any]]]

RNG = object()  # stands for a fresh generator


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
def small_machine() -> Iterator[None]:
    """It says that it has one GiB, and an allocation of three more ends in MemoryError, which is no refusal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arguments, "available_memory", lambda: GIB)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + 3 * GIB, before[1]))
        yield
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def watched(what: str) -> Iterator[None]:
    def too_long(*_: object) -> None:
        raise TimeoutError(f"{what} takes longer than {SECONDS} s")

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
    ready = {key: np.random.default_rng(7) if x is RNG else x for key, x in given.items()}
    with watched(f"{name}({argument}={arguments.shown(value)})"):
        try:
            function(**ready)
        except (ValueError, TypeError, OSError) as error:
            ours = is_refusal(error) or isinstance(error, FileNotFoundError)
            if not ours:
                raise AssertionError(f"{name}({argument}={arguments.shown(value)}) broke") from error
            return str(error)
    return None


def places(calls: Calls) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from([(name, key) for name, (_, keywords) in calls.items() for key in keywords])


def fixed(examples: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("name", [*CONSTRUCTORS, *FUNCTIONS])
def test_the_calls_work_as_they_stand(name: str) -> None:
    calls = {**CONSTRUCTORS, **FUNCTIONS}
    argument, value = next(iter(calls[name][1].items()))
    assert called(calls, name, argument, value) is None or name == "open_images"


@given(place=places(CONSTRUCTORS), value=junk)
@fixed(600)
def test_constructors_name_the_argument_that_they_refuse(place: tuple[str, str], value: Any) -> None:
    name, argument = place
    sentence = called(CONSTRUCTORS, name, argument, value)
    if sentence is not None:
        related = {"shape": ("axis", "periodic"), "A": ("A, B and C",), "B": ("A, B and C",), "C": ("A, B and C",)}
        related |= {"periodic": ("axis", "grid"), "lattice": ("1D lattice",), "faces": ("grid",)}
        assert any(word in sentence for word in (argument, *related.get(argument, ()))), (name, argument, sentence)
        assert "\n" not in sentence


@given(place=places(FUNCTIONS), value=junk)
@fixed(2500)
def test_functions_answer_or_refuse(place: tuple[str, str], value: Any) -> None:
    name, argument = place
    sentence = called(FUNCTIONS, name, argument, value)
    assert sentence is None or (len(sentence) > 12 and "\n" not in sentence)


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
