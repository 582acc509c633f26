"""Integrated autocorrelation times against processes that have exact ones."""

import numpy as np
import pytest
from chains import ar1

from lattice_diffusion.samplers.autocorrelation import (
    autocorrelation,
    effective_samples,
    integrated_autocorrelation_time,
)


@pytest.mark.parametrize("a", [0.0, 0.5, 0.9, 0.95, -0.3, -0.5, -0.7, -0.9, -0.95])
def test_autoregression_has_its_exact_time(a):
    exact = (1 + a) / (1 - a)
    estimate = integrated_autocorrelation_time(3.0 + ar1(a, 200_000, np.random.default_rng(51)))
    assert abs(estimate.tau - exact) < 5 * estimate.error
    assert 0 < estimate.error < 0.1 * exact
    longer = integrated_autocorrelation_time(ar1(0.5 * (1 + a), 200_000, np.random.default_rng(51)))
    assert abs(longer.tau - exact) > 5 * longer.error


def test_errors_cover_and_the_mean_is_unbiased():
    """Pulls over 300 short series: spread about 1 (the formula is an upper estimate), mean near 0."""
    rng = np.random.default_rng(52)
    estimates = [integrated_autocorrelation_time(ar1(0.8, 5000, rng)) for _ in range(300)]
    tau, error = np.array(estimates).T
    pulls = (tau - 9.0) / error
    assert 0.6 < pulls.std() < 1.3
    assert abs(tau.mean() - 9.0) < 5 * tau.std() / np.sqrt(300) + 9.0 * np.exp(-10.0)


@pytest.mark.parametrize("n", [500, 1000, 5000])
@pytest.mark.parametrize("a", [0.5, 0.0, -0.5, -0.8])
def test_times_are_positive_and_within_their_errors_at_every_length(a, n):
    rng, exact = np.random.default_rng(56), (1 + a) / (1 - a)
    tau, error = np.array([integrated_autocorrelation_time(ar1(a, n, rng)) for _ in range(100)]).T
    assert (tau > 0).all()
    assert (error > 0).all()
    assert np.mean(np.abs(tau - exact) < 5 * error) > 0.95
    assert abs(tau.mean() - exact) < 5 * tau.std() / 10 + 0.05 * exact


def test_a_time_of_zero_is_bounded_by_its_error():
    """The mean of differences of white noise is (e_n - e_0)/n: tau = 0."""
    found = integrated_autocorrelation_time(np.diff(np.random.default_rng(57).standard_normal(20_000)))
    assert 0 < found.tau < 0.02
    assert found.tau <= 2 * found.error
    with pytest.raises(ValueError, match="must span at least 20 autocorrelation times"):  # it never forgets its phase
        integrated_autocorrelation_time((-1.0) ** np.arange(1000))


def test_error_of_the_mean_from_effective_samples():
    rng = np.random.default_rng(53)
    series = ar1(0.7, (400, 4000), rng)
    z = [x.mean() / (x.std() / np.sqrt(effective_samples(x))) for x in series]
    assert abs(np.var(z) - 1) < 5 * np.sqrt(2 / 400)


def test_chains_count_together():
    rng = np.random.default_rng(54)
    chains = ar1(0.9, (400, 500), rng)
    estimate = integrated_autocorrelation_time(chains)
    assert abs(estimate.tau - 19.0) < 5 * estimate.error
    assert effective_samples(chains) == pytest.approx(200_000 / estimate.tau)


def test_autocorrelation_is_the_plain_sum():
    x = np.random.default_rng(55).normal(size=(3, 17))
    c = x - x.mean()
    plain = [np.mean(c[:, : 17 - k] * c[:, k:]) for k in range(17)]
    np.testing.assert_allclose(autocorrelation(x), np.array(plain) / plain[0], atol=1e-13)


@pytest.mark.parametrize(
    ("series", "sentence"),
    [
        (np.ones(1000) * 0.1, "series must vary, got a constant"),
        (np.cumsum(np.random.default_rng(0).normal(size=1000)), "must span at least 20 autocorrelation times.*run the"),
        (np.arange(5.0), "must span at least 20 autocorrelation times"),
        (np.full(100, np.nan), "series must be finite"),
        (np.zeros((2, 2, 2)), r"series must be \(n,\) or \(chains, n\)"),
    ],
)
def test_refusals(series, sentence):
    with pytest.raises(ValueError, match=sentence):
        integrated_autocorrelation_time(series)
    with pytest.raises(ValueError, match="c must be > 0, got 0"):
        integrated_autocorrelation_time(np.arange(5.0), c=0)
