"""Noise: the ratio of signal to noise both ways, likelihoods against the definition, empirical moments."""

import itertools
import math

import numpy as np
import pytest
from refusals import refusals

from lattice_diffusion.channels import BitFlip, Erasure, Gaussian, gaussian_output_law

ALL = [Gaussian("linear"), Gaussian("vp"), Gaussian("ve"), BitFlip(), Erasure()]
TIMES = [0.0, 1e-6, 0.13, 0.5, 0.87, 1 - 1e-6, 1.0]


@pytest.mark.parametrize("channel", ALL, ids=repr)
@pytest.mark.parametrize("t", TIMES)
def test_time_inverts_snr(channel, t):
    assert channel.time(channel.snr(t)) == pytest.approx(t, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("channel", ALL, ids=repr)
def test_snr_falls_from_infinity_to_zero(channel):
    snr = [channel.snr(t) for t in TIMES]
    assert snr[0] == math.inf
    assert snr[-1] == pytest.approx(0.0, abs=1e-30)
    assert all(a > b for a, b in itertools.pairwise(snr))


def test_reference_ratios():
    assert Gaussian("linear").snr(0.25) == pytest.approx(9.0)
    assert Gaussian("ve").snr(0.25) == pytest.approx(9.0)
    assert Gaussian("vp").snr(0.5) == pytest.approx(1.0)
    # Ornstein-Uhlenbeck: snr = 1/(e^{2 tau} - 1), tau = -log alpha
    alpha = Gaussian("vp").alpha(0.3)
    assert Gaussian("vp").snr(0.3) == pytest.approx(1 / (math.exp(-2 * math.log(alpha)) - 1))
    assert BitFlip().flip_probability(0.3) == 0.15


@pytest.mark.parametrize("channel", ALL, ids=repr)
def test_snr_is_squared_mean_over_variance(channel):
    rng, t, n = np.random.default_rng(11), 0.6, 400_000
    x_t = channel.corrupt(np.ones(n), t, rng)
    mean, variance = x_t.mean(), x_t.var()
    assert mean**2 / variance == pytest.approx(channel.snr(t), rel=0.02)


@pytest.mark.parametrize("channel", ALL, ids=repr)
def test_field_is_half_the_log_likelihood_ratio(channel):
    """P(s = +1 | x) = 1/(1 + exp(-2h)): calibrated on samples with both spins equally likely."""
    rng, t, n = np.random.default_rng(12), 0.7, 200_000
    s = np.where(rng.random(n) < 0.5, 1, -1)
    h = channel.likelihood_field(channel.corrupt(s, t, rng), t)
    plus = 1 / (1 + np.exp(np.clip(-2 * h, -700, 700)))
    sure = np.isinf(h)
    assert np.all(np.sign(h[sure]) == s[sure])
    z = ((s > 0) - plus).sum() / math.sqrt((plus * (1 - plus)).sum())
    calibration = (((s > 0) - plus) * plus).sum() / math.sqrt((plus**3 * (1 - plus)).sum())
    assert abs(z) < 5
    assert abs(calibration) < 5


@pytest.mark.parametrize("snr", [1e-4, 0.3, 1.0, 20.0, 390.0])
def test_gaussian_law_integrates_exactly(snr):
    law = gaussian_output_law(snr)
    y = np.linspace(-(snr + 9 * snr**0.5), snr + 9 * snr**0.5, len(law))
    assert law.sum(axis=0) == pytest.approx([1, 1])
    assert law[:, 0] @ y == pytest.approx(snr, rel=1e-12)
    assert law[:, 0] @ (y - snr) ** 2 == pytest.approx(snr, rel=1e-10)
    seen = (law > 1e-290).all(axis=1)
    assert np.log(law[seen, 0] / law[seen, 1]) == pytest.approx(2 * y[seen], abs=1e-8 * max(1, snr))


@pytest.mark.parametrize("channel", [BitFlip(), Erasure()], ids=repr)
def test_discrete_laws_match_corrupt(channel):
    rng, t, n = np.random.default_rng(13), 0.4, 100_000
    values = channel.corrupt(np.ones(n), t, rng)
    law = channel.output_law(t)
    assert law.sum(axis=0) == pytest.approx([1, 1])
    assert (values == 1).mean() == pytest.approx(law[0, 0], abs=5 * math.sqrt(0.25 / n))
    assert np.exp(channel.peak_log_likelihood(np.array([1.0]), t))[0] == pytest.approx(law[0, 0])


PATHS = [(0.0, 0.4), (0.3, 0.3), (0.3, 0.7), (0.6, 0.95), (0.2, 1.0), (0.0, 1.0)]


@pytest.mark.parametrize("channel", ALL, ids=repr)
@pytest.mark.parametrize(("s", "t"), PATHS)
def test_noise_composes_and_its_bridge_leads_back(channel, s, t):
    """(x_0, x_s, x_t) from noise in two steps, and (x_0, x'_s, x_t) with x'_s from the bridge, have one joint law."""
    if channel == Gaussian("ve") and t == 1.0:
        pytest.skip("infinite noise")
    rng, n = np.random.default_rng(21), 200_000
    x_0 = np.where(rng.random(n) < 0.3, -1.0, 1.0)
    x_s = channel.corrupt(x_0, s, rng)
    x_t = channel.add_noise(x_s, s, t, rng)
    direct = channel.corrupt(x_0, t, rng)
    again = channel.bridge(x_t, x_0, t, s, rng)
    scale = max(1.0, np.abs(x_t).max())

    def moments(x, y):
        x, y = x / scale, y / scale
        return np.stack([x, x**2, x * x_0, x * y, x * y * x_0, x**2 * y * x_0], axis=1)

    one_step = moments(direct, x_0 * scale) - moments(x_t, x_0 * scale)
    bridged = moments(again, x_t) - moments(x_s, x_t)
    for difference in (one_step, bridged):
        error = difference.std(axis=0) / math.sqrt(n)
        assert np.all(np.abs(difference.mean(axis=0)) <= 5 * error + 1e-12)


@pytest.mark.parametrize("channel", ALL, ids=repr)
def test_bridge_ends(channel):
    rng = np.random.default_rng(22)
    x_0 = np.where(rng.random(50) < 0.5, -1.0, 1.0)
    x_t = channel.corrupt(x_0, 0.8, rng)
    assert channel.bridge(x_t, x_0, 0.8, 0.0, rng) == pytest.approx(x_0)
    assert np.array_equal(channel.bridge(x_t, x_0, 0.8, 0.8, rng), x_t)


test_refusals = refusals(
    (lambda: Gaussian("cosine"), "schedule must be one of linear, vp, ve, got 'cosine'"),
    (lambda: BitFlip().snr(1.2), r"t must be in \[0, 1\], 0 clean and 1 pure noise, got 1.2"),
    (lambda: Gaussian().time(-1.0), "snr must be >= 0"),
    (lambda: Gaussian("ve").corrupt(np.ones(2), 1.0, np.random.default_rng(0)), "t must be < 1 for the ve"),
    (lambda: Erasure().add_noise(np.ones(2), 0.5, 0.4, np.random.default_rng(0)), "s must be the cleaner time"),
    (lambda: Gaussian("ve").bridge(np.ones(2), np.ones(2), 1, 0, np.random.default_rng(0)), "t must be < 1 for"),
    (lambda: Gaussian().peak_log_likelihood(np.ones(2), 0.0), "t must leave a density"),
)
