"""Observables against closed forms on large tori and all states of small ones; errors against their own spread."""

import enumeration
import kaufman
import numpy as np
import pytest
from chains import ar1

import lattice_diffusion as ld
from lattice_diffusion.models.ising import BETA_CRITICAL
from lattice_diffusion.samplers import (
    binder_cumulant,
    correlation,
    correlation_length,
    energies,
    energy,
    ising,
    jackknife,
    magnetization,
    specific_heat,
    susceptibility,
)

SMALL = ld.Lattice((4, 3), periodic=True)
BETA = 0.35


# -- large lattices ------------------------------------------------------------------------------------------------


def test_closed_form_gives_the_known_energies():
    known = {(32, 0.4): -1.10729166098, (64, 0.4): -1.10608299247}
    known |= {(32, BETA_CRITICAL): -1.4336584661462, (64, BETA_CRITICAL): -1.423938389833}
    for (L, beta), value in known.items():
        assert kaufman.energy(L, beta) == pytest.approx(value, abs=1e-10)


def test_closed_form_against_all_states():
    """L = 4: energy, and specific heat as its variance."""
    law = enumeration.ising_law((4, 4), (True, True), BETA).ravel()
    states = enumeration.all_states(16).reshape(-1, 4, 4)
    bonds = -sum((states * np.roll(states, 1, axis)).sum(axis=(1, 2)) for axis in (1, 2))
    mean = law @ bonds
    assert kaufman.energy(4, BETA) == pytest.approx(mean / 16, rel=1e-12)
    assert kaufman.specific_heat(4, BETA) == pytest.approx(BETA**2 * law @ (bonds - mean) ** 2 / 16, rel=1e-8)


@pytest.mark.parametrize(
    ("method", "beta"), [("swendsen_wang", 0.4), ("swendsen_wang", BETA_CRITICAL), ("multispin", 0.4)]
)
@pytest.mark.parametrize("L", [32, pytest.param(64, marks=pytest.mark.slow)])
def test_energy_and_specific_heat_of_large_tori(method, beta, L):
    """Within 5 standard errors, which would show a tenth too much heat and a fiftieth too much energy."""
    lattice, rng = ld.Lattice((L, L), periodic=True), np.random.default_rng(31)
    how = {"burn_in": 2000, "thin": 60} if method == "multispin" else {"thin": 4}
    spins = ising(lattice, beta, 20_000, rng, method, **how)
    for estimate, exact, mutant in (
        (energy(spins, lattice), kaufman.energy(L, beta), 1.02),
        (specific_heat(spins, lattice, beta), kaufman.specific_heat(L, beta), 1.1),
    ):
        assert abs(estimate.z_score(exact)) < 5
        assert abs(estimate.z_score(mutant * exact)) > 5


def test_correlations_by_transfer_matrix():
    """Along the longer axis of a 9 x 6 torus, all distances at once."""
    lattice = ld.Lattice((9, 6), periodic=True)
    spins = ising(lattice, 0.4, 20_000, np.random.default_rng(33))
    exact = kaufman.torus_correlations(9, 6, 0.4)
    measured = correlation(spins, lattice, axis=0)
    assert measured.values[0] == exact[0] == 1.0
    difference = (measured.values - exact)[1:]
    chi_square = difference @ np.linalg.solve(measured.covariance[1:, 1:], difference)
    assert chi_square < 4 + 5 * np.sqrt(8)
    wrong = (measured.values - kaufman.torus_correlations(9, 6, 0.41))[1:]
    assert wrong @ np.linalg.solve(measured.covariance[1:, 1:], wrong) > 4 + 5 * np.sqrt(8)
    other = correlation(spins, lattice, [1, 2, 3], axis=1)
    assert np.all(np.abs(other.values - kaufman.torus_correlations(6, 9, 0.4)[1:]) < 5 * other.stderr)
    both = correlation(spins, lattice, [1])
    assert both.values[0] == pytest.approx((measured.values[1] + other.values[0]) / 2)


# -- all states ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """Samples of a 4 x 3 torus, and the mean of any function of the states."""
    spins = ising(SMALL, BETA, 60_000, np.random.default_rng(34))
    law = enumeration.ising_law((4, 3), (True, True), BETA).ravel()
    states = enumeration.all_states(12).reshape(-1, 4, 3)
    return spins, states, law


def test_every_observable_against_all_states(small):
    spins, states, law = small
    m = states.mean(axis=(1, 2))
    bonds = -sum((states * np.roll(states, 1, axis)).sum(axis=(1, 2)) for axis in (1, 2))
    m2, m4, absolute = law @ m**2, law @ m**4, law @ np.abs(m)
    wave = states.sum(axis=2) @ np.exp(2j * np.pi * np.arange(4) / 4)
    xi = np.sqrt(144 * m2 / (law @ np.abs(wave) ** 2) - 1) / (2 * np.sin(np.pi / 4))
    exact = {
        energy(spins, SMALL): law @ bonds / 12,
        magnetization(spins): absolute,
        magnetization(spins, 2): m2,
        binder_cumulant(spins): 1 - m4 / (3 * m2**2),
        susceptibility(spins, BETA): BETA * 12 * m2,
        susceptibility(spins, BETA, connected=True): BETA * 12 * (m2 - absolute**2),
        specific_heat(spins, SMALL, BETA): BETA**2 * (law @ bonds**2 - (law @ bonds) ** 2) / 12,
        correlation_length(spins, SMALL): xi,
    }
    for estimate, truth in exact.items():
        assert abs(estimate.z_score(truth)) < 5, (estimate, truth)
        assert 0 < 5 * estimate.stderr < 0.1 * abs(truth)  # a tenth would be seen


def test_energies_and_correlations_of_single_states_on_open_lattices():
    rng = np.random.default_rng(35)
    lattice = ld.Lattice((5, 4, 3), (True, False, False))
    spins = (2 * rng.integers(0, 2, (30, 5, 4, 3)) - 1).astype(np.int8)
    flat = spins.reshape(30, -1).astype(int)
    plain = -(flat[:, lattice.bonds[:, 0]] * flat[:, lattice.bonds[:, 1]]).sum(axis=1) / 60
    np.testing.assert_allclose(energies(spins, lattice), plain, atol=1e-15)
    c = correlation(spins, lattice, [0, 1, 2], axis=1, n_blocks=10).values
    wide = spins.astype(int)
    np.testing.assert_allclose(c[1], np.mean(wide[:, :, 1:] * wide[:, :, :-1]), atol=1e-14)
    np.testing.assert_allclose(c[2], np.mean(wide[:, :, 2:] * wide[:, :, :-2]), atol=1e-14)


def test_correlations_along_a_lattice_of_one_row():
    """<s_i s_(i + r)> = tanh(beta)^r on an open chain, of any shape (1, L) or (L, 1)."""
    for shape in ((1, 12), (12, 1)):
        c = correlation(ising(ld.Lattice(shape), 0.4, 20_000, np.random.default_rng(39)), ld.Lattice(shape))
        assert np.all(np.abs(c.values - np.tanh(0.4) ** np.arange(12))[1:] < 5 * c.stderr[1:])
        assert np.all(c.stderr[1:] < 0.01)


def test_magnetisation_of_large_int8_lattices_does_not_overflow():
    lattice = ld.Lattice((20, 30), periodic=True)
    up = np.ones((1, 20, 30), np.int8)
    assert energies(up, lattice).tolist() == [-2.0]
    assert ld.samplers.magnetizations(up).tolist() == [1.0]


# -- jackknife -----------------------------------------------------------------------------------------------------


def test_errors_of_correlated_series_are_right():
    """500 chains with tau = 5.7: the spread of the estimates is their stated error, a naive one would be 2.4 short."""
    rng = np.random.default_rng(36)
    x = 1.0 + ar1(0.7, (500, 8000), rng)
    means = [jackknife(series, lambda mean: mean[0]) for series in x]
    z = np.array([estimate.z_score(1.0) for estimate in means])
    assert abs(np.mean(z**2) - 1.05) < 5 * np.sqrt(2 / 500) + 0.05  # blocks of 10 tau: 1/20 short
    tau = 1.7 / 0.3
    assert np.mean([estimate.n_samples for estimate in means]) == pytest.approx(8000 / tau, rel=0.05)
    assert "blocks, tau = " in means[0].method


def test_bias_of_first_order_is_removed():
    """<x>^2 of 100 unit normals has bias 1/100; over 4000 series the jackknife has none."""
    x = np.random.default_rng(37).normal(size=(4000, 100))
    values = np.array([jackknife(series, lambda mean: mean[0] ** 2, 20).value for series in x])
    assert abs(values.mean()) < 5 * values.std() / np.sqrt(4000)
    plain = x.mean(axis=1) ** 2
    assert abs(plain.mean()) > 5 * plain.std() / np.sqrt(4000)


def test_blocks_that_do_not_divide_the_series_use_all_of_it():
    x = np.random.default_rng(38).normal(size=1003)
    assert jackknife(x, lambda mean: mean[0], 10).value == pytest.approx(x.mean(), abs=1e-4)
    blocks = ld.samplers.jackknife(np.arange(1.0, 1001.0) % 7, lambda mean: mean[0], 2)
    assert blocks.method.startswith("jackknife over 2 blocks")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda s: energy(s[:90], SMALL), r"must hold 10 blocks of 10 autocorrelation times, got tau = .* draw at"),
        (lambda s: energy(s[:5], SMALL), "must span at least 20 autocorrelation times"),
        (lambda s: magnetization(np.ones((500, 4, 3), np.int8)), "samples must vary .* all 500 give 1;"),
        (lambda s: energy(np.ones((50, 4, 3), np.int8), SMALL, n_blocks=5), "must vary .* all 50 give -2; that is"),
        (lambda s: energy(s, SMALL, n_blocks=1), "n_blocks must be between 2 and the 2000 samples, got 1"),
        (lambda s: specific_heat(s, SMALL, -1.0), "beta must be finite and >= 0, got -1.0"),
        (lambda s: correlation(s, SMALL, [3], axis=0), "distances must be integers between 0 and 2 on this lattice"),
        (lambda s: correlation(s, SMALL, [0.5]), "distances must be integers"),
        (lambda s: correlation_length(s, ld.Lattice((4, 3))), "needs a lattice periodic along all axes; use"),
    ],
)
def test_refusals(small, call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(small[0][:2000])


def test_a_correlation_length_below_resolution_is_refused():
    checkerboard = np.indices((6, 4)).sum(axis=0) % 2 * 2 - 1
    stripes = np.where(np.arange(6) < 3, 1, -1)[:, None] * np.ones((1, 4))
    spins = np.array([checkerboard, stripes] * 100).astype(np.int8)
    with pytest.raises(ValueError, match="too few samples for so short a correlation"):
        correlation_length(spins, ld.Lattice((6, 4), periodic=True), n_blocks=10)
