"""Recovery: errors that vanish for perfect recovery, closed forms against drawn ones, and a small experiment."""

import functools
import re

import numpy as np
import pytest
from refusals import refusals
from study_points import field, ising, loops, point

import lattice_diffusion as ld
from lattice_diffusion import results
from lattice_diffusion.denoisers import (
    ExactDenoiser,
    always,
    gaussian_divergence,
    generated_covariance,
    pure_noise,
    reverse,
)
from lattice_diffusion.runs.points import Point
from lattice_diffusion.runs.quantities import evaluate, find
from lattice_diffusion.runs.runner import run
from lattice_diffusion.runs.spec import Spec
from lattice_diffusion.samplers import observables
from lattice_diffusion.studies import recovery
from lattice_diffusion.studies.recovery.measure import (
    check,
    energies,
    field_sample_errors,
    half_chi_square,
    patch_frequencies,
    recovered,
    return_times,
    spectrum_error,
)

GAUSSIAN = ld.channels.Gaussian()
ISING, LOOPS = ising(4, 5), loops(5, 5)
FIELD = field(5, 6, mass_squared=0.2, periodic=(False, True))


def measured(model, t, radii, n_samples=2000, n_steps=40, channel="gaussian", seed=1):
    here = point(model, channel, "recovery", radii, n_samples, t, n_steps=n_steps)
    check(here)
    return evaluate(here, np.random.default_rng(seed))


def test_covariance_from_a_given_start():
    """Noise is where it always started; the field's own law at t comes back exactly in one global step from s ~ t."""
    model = ld.models.GaussianField(ld.Lattice((4, 5)), 0.3)
    everywhere, schedule = np.ones((4, 5), bool), always(ExactDenoiser(model, GAUSSIAN))
    noise = GAUSSIAN.sigma(0.9) ** 2 * np.eye(20)
    laws = [generated_covariance(model, GAUSSIAN, [0.9, 0.6, 0.3], schedule, *start) for start in ((), (noise,))]
    np.testing.assert_array_equal(*laws)
    errors = []
    for n_steps in (20, 40):
        start = model.solver.covariance(GAUSSIAN, 0.6, everywhere)
        steps = [float(t) for t in np.linspace(0.6, 0.0, n_steps + 1)]
        errors.append(gaussian_divergence(model, generated_covariance(model, GAUSSIAN, steps, schedule, start)))
    assert 3.0 < errors[0] / errors[1] < 5.0  # the sitewise draw errs by 1/n_steps^2 in KL
    assert errors[1] < 1e-3


def test_recovered_fields_in_closed_form_and_drawn():
    model, n, times = ld.models.GaussianField(ld.Lattice((5, 6), (False, True)), 0.2), 4000, np.linspace(0.7, 0.0, 11)
    found, rng = measured(FIELD, 0.7, [1], n_steps=10), np.random.default_rng(2)
    x_t = GAUSSIAN.corrupt(model.sample(n, rng), 0.7, rng)[:, None]
    x = reverse(x_t, [float(t) for t in times], always(ExactDenoiser(model, GAUSSIAN, 1)), GAUSSIAN, rng).reshape(n, -1)
    K = model.solver.precision.toarray()
    drawn = np.einsum("ni,ij,nj->n", x, K, x) / 30 - 1.0
    assert abs(drawn.mean() - found["energy_change"][0]) < 5 * drawn.std() / np.sqrt(n)
    assert found["energy_change"][0] > 10 * drawn.std() / np.sqrt(n)  # and it is no zero
    order = x.mean(axis=1) ** 2 - model.solver.covariance(GAUSSIAN, 0.0, np.ones((5, 6), bool)).mean()
    assert abs(order.mean() - found["order_change"][0]) < 5 * order.std() / np.sqrt(n)


def test_field_error_falls_with_the_radius_and_grows_with_the_noise():
    early, late = (measured(FIELD, t, [0, 1, 2, 6], n_steps=60)["error"] for t in (0.2, 0.8))
    assert np.all(np.diff(late) < 0)
    assert np.all(late > early)
    assert late[-1] < 1e-3 < late[0]


@pytest.mark.parametrize("channel", ["gaussian", "bitflip"])
def test_spins_are_recovered_by_the_global_denoiser_and_not_by_a_blind_one(channel):
    found = measured(ISING, 0.8, [0, 1, 5], 600, channel=channel, n_steps=20)
    for name in ("error", "energy_change", "order_change"):
        assert abs(found[name][-1]) < 5 * found[f"{name}_stderr"][-1], (name, found[name])
        assert abs(found[name][0]) > 10 * found[f"{name}_stderr"][0], (name, found[name])
    assert found["error"][0] > found["error"][1] > found["error"][2]


def test_a_wrong_temperature_is_seen():
    """The mutant: data recovered with the exact denoiser of 1.1 beta."""
    model, wrong = (ld.models.Ising(ld.Lattice((4, 5)), beta) for beta in (0.5, 0.55))
    rng, times = np.random.default_rng(3), [float(t) for t in np.linspace(0.9, 0.0, 41)]
    x_0 = model.sample(6000, rng)
    x_t = GAUSSIAN.corrupt(x_0[:, None], 0.9, rng)
    clean = patch_frequencies(model, x_0)
    values = []
    for other in (model, wrong):
        x = reverse(x_t, times, always(ExactDenoiser(other, GAUSSIAN)), GAUSSIAN, rng)[:, 0]
        value, stderr = half_chi_square(patch_frequencies(model, x) - clean, clean.mean(axis=0))
        values.append(value / stderr)
    assert abs(values[0]) < 5
    assert values[1] > 5


def test_half_chi_square_is_unbiased_with_the_error_it_states():
    rng, Q = np.random.default_rng(4), np.array([0.5, 0.3, 0.2])
    for shift, low, high in ((0.0, 1.0, 1.4), (0.1, 0.9, 1.1)):  # at zero the stated error is on the safe side
        mean = shift * np.array([1.0, -1.0, 0.0])
        draws = [half_chi_square(mean + 0.3 * rng.standard_normal((50, 3)), Q) for _ in range(2000)]
        values, errors = np.array(draws).T
        truth = 0.5 * (mean**2 / Q).sum()
        assert abs(values.mean() - truth) < 5 * values.std() / np.sqrt(2000)
        assert low < np.sqrt((errors**2).mean()) / values.std() < high


def test_patch_frequencies_and_energies():
    model = ld.models.Ising(ld.Lattice((3, 4)), 0.4)
    x = model.sample(50, np.random.default_rng(5))
    table = patch_frequencies(model, x)
    assert table.sum(axis=1) == pytest.approx(1.0)
    count = sum(np.array_equal(x[7, i : i + 2, j : j + 2], [[1, -1], [1, 1]]) for i in range(2) for j in range(3))
    assert table[7, 0b1011] == pytest.approx(count / 6)
    assert energies(model, x) == pytest.approx(observables.energies(x, model.lattice))
    chain = ld.models.IsingChain(ld.Lattice((6,)), 0.4)
    assert patch_frequencies(chain, chain.sample(4, np.random.default_rng(6))).shape == (4, 4)


def test_loops_are_whole_again_only_with_enough_around_them():
    found = measured(LOOPS, 0.7, [0, 1, 5], n_samples=200, n_steps=30)
    assert found["error"][-1] == 0.0
    assert found["error"][0] > found["error"][1] > 5 * found["error_stderr"][1] > 0.0
    assert abs(found["energy_change"][-1]) < 5 * found["energy_change_stderr"][-1]


def test_times_of_the_return():
    spins, field = (ld.models.Ising(ld.Lattice((3, 3)), 0.4), ld.models.GaussianField(ld.Lattice((3, 3)), 0.4))
    times = return_times(spins, GAUSSIAN, 0.8, 10)
    assert len(times) == 11
    assert GAUSSIAN.snr(times[-2]) == pytest.approx(50.0)
    assert times[-1] == 0.0
    assert return_times(field, GAUSSIAN, 0.8, 4) == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    assert return_times(spins, ld.channels.BitFlip(), 0.8, 4) == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    assert return_times(spins, GAUSSIAN, 0.05, 2) == pytest.approx([0.05, 0.025, 0.0])
    assert pure_noise((2, 1), GAUSSIAN, 1.0, np.random.default_rng(0)).shape == (2, 1)


def test_learned_recovery_beside_exact(tmp_path):
    model = {"name": "ising", "length": 5, "beta": [0.5]}
    common = {"channel": {"name": "gaussian"}, "radii": [1], "n_samples": 500}
    training = {"starts": [0.4, 0.9], "n_steps": 20, "train_steps": 150, "batch_size": 32, "width": 12, "depth": 1}
    grids = {
        "exact": {**common, "model": model, "t": [0.4, 0.9], "quantity": "recovery", "settings": {"n_steps": 20}},
        "learned": {**common, "model": model, "quantity": "learned_recovery", "settings": training},
    }
    result = run(Spec(name="both", grids=grids), tmp_path / "both.h5", progress=False)
    exact, learned = results.grids(result)["exact"], results.grids(result)["learned"]
    assert set(exact) >= set(find("recovery").columns)
    values, errors = learned["error"].values[0, :, 0], learned["error_stderr"].values[0, :, 0]
    truth, spread = exact["error"].values[0, :, 0], exact["error_stderr"].values[0, :, 0]
    assert np.all(np.abs(values - truth) < 5 * np.hypot(errors, spread))
    assert values[1] > 5 * errors[1]


def test_recovered_fields_are_measured_as_they_are():
    """Drawn with exact denoisers: KL and energy of the law that these generate, known in closed form."""
    model, rng = ld.models.GaussianField(ld.Lattice((5, 6), periodic=True), 0.1), np.random.default_rng(31)
    times, n = return_times(model, GAUSSIAN, 0.9, 25), model.lattice.n_sites
    denoisers = [ExactDenoiser(model, GAUSSIAN, r) for r in (0, 1, None)]
    start = model.solver.covariance(GAUSSIAN, times[0], np.ones((5, 6), bool))
    K = model.solver.precision.toarray()
    x_0 = model.sample(2000, rng)
    found = field_sample_errors(model, x_0, recovered(model, GAUSSIAN, x_0, times, denoisers, rng))
    for k, denoiser in enumerate(denoisers):
        law = generated_covariance(model, GAUSSIAN, times, always(denoiser), start)
        assert abs(found["error"][k] - gaussian_divergence(model, law) / n) < 5 * found["error_stderr"][k]
        assert abs(found["energy_change"][k] - (np.trace(K @ law) / n - 1)) < 5 * found["energy_change_stderr"][k]
    assert (found["error"][:2] > 20 * found["error_stderr"][:2]).all()


@pytest.mark.parametrize("rho", [1.0, 1.3])
def test_spectra_are_compared_without_bias_and_with_the_errors_they_say(rho):
    """White noise in units of its own power, or of a smaller one: 1/2 (1/rho - 1 + log rho), with few samples."""
    rng, truth = np.random.default_rng(32), 0.5 * (1 / rho - 1 + np.log(rho))
    noises = (np.fft.fftn(rng.standard_normal((30, 4, 5)), axes=(1, 2), norm="ortho") for _ in range(400))
    values, stderr = np.array([spectrum_error(rho * np.abs(noise) ** 2) for noise in noises]).T
    assert abs(values.mean() - truth) < 5 * values.std() / 20
    assert stderr.mean() == pytest.approx(values.std(), rel=0.25)


@pytest.mark.slow
def test_learned_recovery_of_fields():
    """Beside the closed form of exact denoisers: within the data phase hardly any error, across the noise as much."""
    torus = field(6, 6, mass_squared=0.1, periodic=(True, True))
    training = {"starts": [0.4, 0.9], "n_steps": 40, "train_steps": 400, "batch_size": 32, "width": 16, "depth": 1}
    learned = evaluate(point(torus, "gaussian", "learned_recovery", [1], 1000, **training), np.random.default_rng(33))
    exact = [measured(torus, t, [1], n_steps=40) for t in (0.4, 0.9)]
    for k in (0, 1):
        assert abs(learned["error"][k, 0] - exact[k]["error"][0]) < 5 * learned["error_stderr"][k, 0]
    assert learned["error"][1, 0] > 5 * learned["error_stderr"][1, 0]


def learned_unmasking(starts, n_samples, radii=(0, 1), **training):
    here = point(loops(4, 5), "erasure", "learned_unmasking", radii, n_samples, 0.7, starts=starts, **training)
    return evaluate(here, np.random.default_rng(51))


@functools.cache
def unmasked_exactly(t):
    return evaluate(point(loops(4, 5), "erasure", "unmasking", [0, 1], 2000, t), np.random.default_rng(52))


def test_unmasking_by_exact_laws_in_place_of_networks(monkeypatch):
    """The integral of blind divergences is the KL of unmasking bond by bond, and nothing is lost to learning."""
    monkeypatch.setattr(
        "lattice_diffusion.studies.recovery.measure.trained",
        lambda model, channel, radius, settings, rng: ExactDenoiser(model, channel, radius),
    )
    found = learned_unmasking([0.3, 0.7], 1000)
    for k, t in enumerate((0.3, 0.7)):
        exact = unmasked_exactly(t)
        error = np.hypot(found["divergence_stderr"][k], exact["divergence_stderr"])
        assert (np.abs(found["divergence"][k] - exact["divergence"]) < 5 * error).all()
        assert (exact["divergence"] > 10 * error).all()
    assert not found["excess"].any()


def test_learned_unmasking_is_exact_unmasking_and_what_learning_costs():
    """A short training finds what vertices say, most of what a box of r = 1 can know."""
    found, exact = learned_unmasking([0.7], 1000, [1], train_steps=100, batch_size=24, width=16), unmasked_exactly(0.7)
    divergence, excess = found["divergence"][0, 0], found["excess"][0, 0]
    error = np.hypot(found["divergence_stderr"][0, 0], exact["divergence_stderr"][1])
    assert abs(divergence - excess - exact["divergence"][1]) < 5 * error
    assert 0.0 < excess < 0.5 * (exact["divergence"][0] - exact["divergence"][1])


@pytest.mark.slow
def test_learned_recovery_of_loops():
    """Above the exact denoiser of its radius, below r = 0: its own bonds alone, all a net that learned nothing has."""
    training = {"starts": [0.4], "n_steps": 20, "train_steps": 250, "batch_size": 48, "width": 24, "depth": 2}
    here = point(loops(4, 4), "gaussian", "learned_recovery", [1], 1000, **training)
    learned = evaluate(here, np.random.default_rng(41))
    exact = measured(loops(4, 4), 0.4, [0, 1], n_samples=1000, n_steps=20)
    value, stderr = learned["error"][0, 0], learned["error_stderr"][0, 0]
    assert value - exact["error"][1] > -5 * np.hypot(stderr, exact["error_stderr"][1])
    assert exact["error"][0] - value > 5 * np.hypot(stderr, exact["error_stderr"][0])


def filled(betas, learned, column="error"):
    """A grid of a result whose errors are 100 beta + 10 T_f + r, learned ones the negative."""
    times, radii = np.array([0.3, 0.5, 0.7, 0.9]), np.array([1, 2])
    if not learned:
        times, radii = np.append(0.2, times), np.append(radii, 5)
    value = 100 * np.reshape(betas, (-1, 1, 1)) + 10 * times[:, None] + radii
    value = -value if learned else value
    value = value if len(betas) > 1 else value[0]
    time = "start" if learned else "t"
    dims = ("beta", time, "radius")[-value.ndim :]
    values = {column: value, f"{column}_stderr": np.full(value.shape, 3.0 if learned else 4.0)}
    found = {name: results.variable(dims, v, "1", name) for name, v in values.items()}
    axes = {"beta": betas, "radius": radii, time: times}
    return found | {dim: results.variable(dim, axes[dim], "1", dim) for dim in dims}


def test_learned_rows_stand_beside_the_exact_ones():
    groups = {"ising": filled([0.3, 0.6], False), "learned": filled([0.3, 0.6], True)}
    for exact, learned in (("field", "learned-field"), ("loops-small", "learned-loops")):
        groups |= {exact: filled([0.0], False), learned: filled([0.0], True)}
    groups |= {name: filled([0.0], "learned" in name, "divergence") for name in ("erased-small", "learned-erased")}
    found = recovery.learned_rows(results.tree({}, groups))
    assert len(found) == len({row.quantity for row in found}) == 4 + 2 * 4 + 8 + 8
    for row in found:
        place = {key: float(x) for key, x in re.findall(r"(beta|r|T_f) = ([\d.]+)", row.quantity)}
        assert row.analytic == pytest.approx(100 * place.get("beta", 0.0) + 10 * place["T_f"] + place["r"])
        assert row.value == -row.analytic
        assert row.stderr == 5.0


test_refused_points = refusals(
    (Point({"model": LOOPS, "channel": {"name": "erasure"}, "t": 0.5}), "recovered bond by bond; use quantity = 'unm"),
    (Point({"model": ISING, "channel": {"name": "gaussian"}, "t": 0.0}), "recovery starts at t > 0, noisy data, got"),
    of=check,
)


def test_learned_recovery_of_fields_needs_a_torus():
    with pytest.raises(ValueError, match="needs a 2D torus; use periodic = true"):
        find("learned_recovery").check(Point({"model": FIELD, "channel": {"name": "gaussian"}}))
