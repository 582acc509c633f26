"""Fits on curves whose answer is known, with noise of known size; and the honest 'none'."""

import numpy as np
import pytest
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.models.curie_weiss import mean_field_magnetization
from lattice_diffusion.phases import (
    finite_size_crossing,
    markov_length,
    nonlocality_window,
    peak_time,
    power_law,
    speciation_window,
)

R = np.arange(1, 9)


def test_exact_exponential():
    fit = markov_length(R, 0.3 * np.exp(-R / 1.7))
    assert fit.xi.value == pytest.approx(1.7, rel=1e-12)
    assert fit.window == (1, 8)


def test_prefactor_and_transient():
    fit = markov_length(R, np.exp(-R / 1.7) / np.sqrt(R), prefactor_exponent=0.5)
    assert fit.xi.value == pytest.approx(1.7, rel=1e-12)
    fit = markov_length(np.arange(1, 25), np.exp(-np.arange(1, 25) / 1.7) * (1 + 5 * np.exp(-np.arange(1, 25))))
    assert fit.xi.value == pytest.approx(1.7, rel=1e-3)
    assert abs(fit.xi.value - 1.7) < 3 * fit.xi.stderr


def test_a_prefactor_between_two_values_is_in_the_error():
    curve = np.exp(-R / 1.7) / np.sqrt(R)
    low, high = (markov_length(R[4:], curve[4:], prefactor_exponent=p).xi for p in (0.0, 1.0))
    both = markov_length(R[4:], curve[4:], prefactor_exponent=(0.0, 1.0)).xi
    assert 1 / both.value == pytest.approx(0.5 / low.value + 0.5 / high.value)
    half = 0.5 * both.value**2 * (1 / low.value - 1 / high.value)
    own = both.value * max(low.stderr / low.value, high.stderr / high.value)
    assert both.stderr == pytest.approx(np.hypot(half, own))
    assert abs(both.value - 1.7) < both.stderr
    assert markov_length(R[4:], curve[4:], prefactor_exponent=(0.5, 0.5)).xi.value == pytest.approx(1.7, rel=1e-12)
    power_law = markov_length(R, R**-1.25 * (1 + 1e-3 * R), prefactor_exponent=(0.0, 1.25))  # one end has no decay
    assert power_law.xi is None


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        (R**-1.25, "no exponential window"),
        (np.full(8, 0.1), "no exponential window"),
        (np.exp(R / 2.0), "no exponential window"),
        (np.where(R < 3, 0.1 * np.exp(-R), 0.0), "only 2 radii"),
        (np.zeros(8), "only 0 radii"),
    ],
)
def test_no_exponential_window(curve, reason):
    fit = markov_length(R[:8], curve)
    assert fit.xi is None
    assert fit.reason.startswith(reason)


def test_errors_of_sampled_fits_are_calibrated():
    """Correlated relative noise of 5%: (xi - truth)/stderr has unit variance, p-values are not all small."""
    rng, truth = np.random.default_rng(31), 0.3 * np.exp(-R / 1.7)
    covariance = np.outer(truth, truth) * 0.05**2 * (0.5 + 0.5 * np.eye(8))
    root = np.linalg.cholesky(covariance)
    z, short = [], 0
    for _ in range(300):
        fit = markov_length(R, truth + root @ rng.normal(size=8), covariance)
        short += fit.window != (2, 8)  # one radius after the first that fits
        z.append((fit.xi.value - 1.7) / fit.xi.stderr)
    assert abs(np.mean(z)) < 5 / np.sqrt(300)
    assert 0.7 < np.std(z) < 1.3
    assert short < 30


@pytest.mark.parametrize(("length", "stderr"), [(3.0, 4e-3), (1.2, 2e-3), (0.8, 1e-3)])
def test_weak_points_do_not_lengthen_the_decay(length, stderr):
    """Constant errors: a point that is high by chance is kept, and must not count for more (0.2 to 0.3 errors)."""
    rng, truth, z = np.random.default_rng(3), 0.3 * np.exp(-R / length), []
    for _ in range(400):
        fit = markov_length(R, truth + stderr * rng.normal(size=8), np.diag(np.full(8, stderr**2)))
        if fit.xi is not None:
            z.append((fit.xi.value - length) / fit.xi.stderr)
    assert len(z) > 360
    assert abs(np.mean(z)) < 0.2
    assert 0.9 < np.std(z) < 1.1


def test_a_transient_hidden_by_common_noise_moves_the_window():
    """One factor is common to all radii, so that residuals are small, but slopes are known well enough to see it."""
    truth = np.exp(-R / 2.0) * (1 + 0.5 * np.exp(-2 * R))
    covariance = np.outer(truth, truth) * (0.1**2 + 0.01**2 * np.eye(8))
    fit = markov_length(R, truth, covariance)
    assert fit.window[0] > 1
    assert abs(fit.xi.value - 2.0) < 2 * fit.xi.stderr


def test_points_that_noise_hides_stay_in_the_fit():
    """About three points are above 3 errors: to leave out those that are not would favour long xi, by half an error."""
    rng, truth, z = np.random.default_rng(5), np.exp(-R / 2.0), []
    for _ in range(400):
        fit = markov_length(R, truth + 0.06 * rng.normal(size=8), np.diag(np.full(8, 0.06**2)))
        if fit.xi is not None:
            assert fit.window[1] == 8
            z.append((fit.xi.value - 2.0) / fit.xi.stderr)
    assert len(z) > 390
    assert abs(np.median(z)) < 0.2
    assert 0.8 < np.std(z) < 1.2


@pytest.mark.parametrize(("relative", "n_times"), [(0.5, 17), (0.2, 17), (0.2, 30), (0.15, 9)])
def test_ends_of_windows_are_calibrated(relative, n_times):
    """Errors of half the tolerance put times far outside above it by chance; interpolation is in the error."""
    rng, z, level = np.random.default_rng(7), [], 0.005
    half, stderr = 0.16 * np.sqrt(np.log(6)), np.full(n_times, relative * level)
    for _ in range(50):
        t = np.linspace(0, 1, n_times + 2)[1:-1] + rng.uniform(-0.5, 0.5) / (n_times + 1)
        curve = 0.03 * np.exp(-(((t - 0.62) / 0.16) ** 2)) + stderr * rng.normal(size=n_times)
        window = nonlocality_window(t, curve, level, stderr)
        z += [e.z_score(x) for e, x in ((window.start, 0.62 - half), (window.stop, 0.62 + half)) if e is not None]
    assert len(z) > 90
    assert abs(np.mean(z)) < 0.5
    assert 0.6 < np.std(z) < 1.25


def test_rare_events_are_calibrated():
    """Radii r* of first connection, P(r* > r) = exp(-r)/2 of 300 samples, whose errors follow their values."""
    rng, z = np.random.default_rng(6), []
    tail = 0.5 * np.exp(-np.arange(40.0))
    for _ in range(300):
        counts = rng.multinomial(300, np.append(1 - tail[0], -np.diff(np.append(tail, 0.0))))[1:]
        p = np.cumsum(counts[::-1])[::-1][R] / 300
        covariance = (p[np.maximum(R[:, None], R) - 1] - np.outer(p, p)) / 299
        covariance += np.diag(np.where(p == 0.0, np.log(2) / 300, 0.0) ** 2)
        fit = markov_length(R, p, covariance)
        if fit.xi is not None:
            z.append((fit.xi.value - 1.0) / fit.xi.stderr)
    assert len(z) > 280
    assert abs(np.median(z)) < 0.5
    assert np.mean(np.abs(z) < 2) > 0.88


def test_power_law_decay_with_small_errors_is_refused():
    curve = R**-1.25
    assert markov_length(R[:5], curve[:5], np.diag((0.001 * curve[:5]) ** 2)).xi is None


def test_peak_of_a_parabola_and_of_the_mixture():
    t = np.linspace(0, 1, 21)
    assert peak_time(t, 1 - (t - 0.613) ** 2).value == pytest.approx(0.613, abs=1e-9)
    lattice, channel = ld.Lattice((400,)), ld.channels.Gaussian()
    times = np.linspace(0.7, 0.97, 28)
    parts = ld.Tripartition.from_sizes(16, 80, 304)
    curve = [ld.exact.cmi(ld.models.GaussianMixture(lattice), channel, t, parts).value for t in times]
    peak = peak_time(times, curve)
    assert abs(peak.value - 0.87703) < max(3 * peak.stderr, 1e-4)
    assert peak.stderr < 5e-3


def test_peak_error_is_calibrated():
    rng, t = np.random.default_rng(32), np.linspace(0, 1, 21)
    truth, sigma = np.exp(-(((t - 0.61) / 0.2) ** 2)), np.full(21, 0.02)
    found = [peak_time(t, truth + sigma * rng.normal(size=21), sigma) for _ in range(200)]
    z = np.array([(e.value - 0.61) / e.stderr for e in found])
    assert abs(z.mean()) < 0.6
    assert z.std() < 1.6


def test_a_peak_at_the_edge_is_not_one():
    assert peak_time([0.1, 0.2, 0.3], [3, 2, 1]) is None
    assert peak_time([0.1, 0.2, 0.3], [1, 2, 3]) is None


def test_nonlocality_window_of_an_exponential_tent():
    t = np.linspace(0, 1, 41)
    curve = np.exp(-np.abs(t - 0.6) / 0.05)
    window = nonlocality_window(t, curve, 0.01, 0.1 * curve)
    reach = 0.05 * np.log(100)
    assert window.start.value == pytest.approx(0.6 - reach)
    assert window.stop.value == pytest.approx(0.6 + reach)
    assert window.stop.stderr == pytest.approx(0.005, rel=0.5)
    assert window.width.value == pytest.approx(2 * reach)
    assert nonlocality_window(t, curve, 2.0) is None
    edge = nonlocality_window(t, np.exp(-t), 0.5)
    assert edge.start is None
    assert edge.width is None


@pytest.mark.parametrize(("n_times", "relative"), [(13, 0.03), (20, 0.005), (20, 0.0)])
def test_ends_of_a_rounded_window_do_not_lean_inward(n_times, relative):
    """A curve bends between the times, so that chords lie below it (1.1 to 6 errors inward with straight ones)."""
    rng, level, z = np.random.default_rng(0), 0.003, []
    edges = 0.62 + 0.09 * np.sqrt(2 * np.log(0.05 / level)) * np.array([-1.0, 1.0])
    for _ in range(80):
        t = np.linspace(0.05, 0.95, n_times) + rng.uniform(-0.02, 0.02)
        curve = 0.05 * np.exp(-(((t - 0.62) / 0.09) ** 2) / 2)
        window = nonlocality_window(t, curve * (1 + relative * rng.normal(size=n_times)), level, relative * curve)
        ends = window.start, window.stop
        z.append([(end.value - edge) / max(end.stderr, 1e-12) for end, edge in zip(ends, edges, strict=True)])
        if relative == 0.0:
            assert max(abs(end.value - edge) for end, edge in zip(ends, edges, strict=True)) < 1e-9
    if relative > 0.0:
        assert np.abs(np.mean(z, axis=0)).max() < 0.25
        assert 0.7 < np.std(z) < 1.2


def test_containment_of_the_nonlocality_window():
    """White mixture: I(A;C|B,S) = 0, so the nonlocality window at d lies inside the speciation window at d."""
    lattice, channel, times = ld.Lattice((400,)), ld.channels.Gaussian(), 1 - np.geomspace(0.5, 0.0005, 200)
    parts, model = ld.Tripartition.from_sizes(16, 80, 304), ld.models.GaussianMixture(lattice)
    cmi = [ld.exact.cmi(model, channel, t, parts).value for t in times]
    label_b = [model.label_information(channel, t, parts.B) for t in times]
    label_abc = [model.label_information(channel, t, parts.ABC) for t in times]
    for tolerance in (0.001, 0.01, 0.03):
        inner = nonlocality_window(times, cmi, tolerance)
        outer = speciation_window(times, model.label_information(channel, 0.0, parts.AB), label_b, label_abc, tolerance)
        assert outer.start.value < inner.start.value < inner.stop.value < outer.stop.value


def test_power_law_and_its_error():
    x = np.array([10.0, 20, 40, 80])
    law = power_law(x, 3 * x**-1.25)
    assert law.exponent.value == pytest.approx(-1.25)
    assert law.amplitude == pytest.approx(3)
    assert law.exponent.stderr == pytest.approx(0, abs=1e-9)
    rng, z = np.random.default_rng(33), []
    for _ in range(300):
        y = 3 * x**-1.25 * (1 + 0.02 * rng.normal(size=4))
        law = power_law(x, y, 0.02 * y)
        z.append((law.exponent.value + 1.25) / law.exponent.stderr)
    assert 0.8 < np.std(z) < 1.2


def test_crossing_recovers_the_critical_point_with_calibrated_errors():
    rng, z = np.random.default_rng(34), []
    control, size = (x.ravel() for x in np.meshgrid(np.linspace(0.45, 0.55, 9), [16, 32, 64]))
    truth = 0.5 - 0.4 * np.tanh((control - 0.503) * size**0.75 / 2)
    for _ in range(60):
        sigma = np.full(truth.size, 0.01)
        fit = finite_size_crossing(control, size, truth + sigma * rng.normal(size=truth.size), sigma, (0.49, 1.0), 5)
        z.append(((fit.critical.value - 0.503) / fit.critical.stderr, (fit.nu.value - 4 / 3) / fit.nu.stderr))
        assert fit.p_value > 1e-4
    assert np.all(np.abs(np.mean(z, axis=0)) < 0.65)
    assert np.all(np.std(z, axis=0) < 1.4)
    assert fit.scaled(0.503 + 0.01, 16) > 0


def test_predicted_transitions():
    linear = ld.channels.Gaussian()
    mixture = ld.models.GaussianMixture(ld.Lattice((20, 20))).transition(linear)
    assert mixture.time == pytest.approx(1 / (1 + 1 / 20))  # Lambda = N + 1, snr = 1/N
    assert mixture.kind == "speciation"
    assert ld.models.Ising(ld.Lattice((9, 9)), 0.4).transition(linear) is None
    ordered = ld.models.Ising(ld.Lattice((9, 9)), 0.5).transition(linear)
    assert linear.snr(ordered.time) == pytest.approx(1 / (81 * 0.911319377877**2))
    m_0 = mean_field_magnetization(1.3)
    assert m_0 == pytest.approx(np.tanh(1.3 * m_0), abs=1e-12)
    assert m_0 > 0.5
    assert mean_field_magnetization(1.0 + 1e-9) < 1e-3
    flips = ld.channels.BitFlip()
    ordered = ld.models.CurieWeiss(ld.Lattice((50,)), 1.3).transition(flips)
    assert flips.snr(ordered.time) == pytest.approx(1 / (50 * m_0**2))
    assert ld.models.CurieWeiss(ld.Lattice((50,)), 0.9).transition(linear) is None
    assert ld.models.GaussianField(ld.Lattice((5, 5)), 0.1).transition(linear) is None
    assert ld.models.IsingChain(ld.Lattice(5), 0.1).transition(linear) is None


test_refusals = refusals(
    (lambda: markov_length([1, 2, 3], [1.0, 0.5]), r"need \(n,\), \(n,\), \(n, n\)"),
    (lambda: markov_length([1, 3, 2], [1.0, 0.5, 0.2]), "radii must increase"),
    (lambda: nonlocality_window([0.1, 0.2], [1.0, 2.0], 0.0), "tolerance must be > 0 nats"),
    (lambda: nonlocality_window([0.1, 0.2], [1.0], 0.1), r"must be \(n,\) each"),
    (lambda: finite_size_crossing([0.1] * 4, [8, 16] * 2, [1] * 4, [1] * 4, (0, 1)), "needs two sizes, two values"),
    (lambda: finite_size_crossing(range(9), [8, 16, 32] * 3, range(9), [0] * 9, (0, 1)), "stderr must be > 0"),
    (lambda: finite_size_crossing([1, 2], [8], [1], [1], (0, 1)), r"must be \(n,\) each"),
    (lambda: power_law([1, 2], [1, 2]), "needs three points or more"),
    (lambda: power_law([1, 2, 3], [1, 2, -3]), "needs positive x and y"),
)
