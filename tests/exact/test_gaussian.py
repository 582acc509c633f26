"""Fields and mixtures against dense linear algebra, quadrature and the reference numbers of the literature."""

import itertools

import mpmath
import numpy as np
import pytest
from refusals import refusals
from scipy.integrate import quad
from scipy.stats import multivariate_normal

import lattice_diffusion as ld
from lattice_diffusion.exact.gaussian import label_cmi, label_information, label_mmse
from lattice_diffusion.models.gaussian_field import precision_matrix

LINEAR = ld.channels.Gaussian("linear")
LATTICES = [
    ld.Lattice((12,)),
    ld.Lattice((12,), periodic=True),
    ld.Lattice((4, 5)),
    ld.Lattice((4, 5), periodic=True),
    ld.Lattice((3, 4, 3), periodic=(True, False, True)),
]


def dense_covariance(lattice, mass_squared, t):
    clean = np.linalg.inv(precision_matrix(lattice, mass_squared).toarray())
    return (1 - t) ** 2 * clean + t**2 * np.eye(lattice.n_sites)


def log_det(covariance, mask):
    keep = np.flatnonzero(mask)
    return np.linalg.slogdet(covariance[np.ix_(keep, keep)])[1]


def dense_cmi(covariance, parts):
    regions = (parts.AB, parts.BC, parts.B, parts.ABC)
    return 0.5 * sum(sign * log_det(covariance, r) for sign, r in zip((1, 1, -1, -1), regions, strict=True) if r.any())


@pytest.mark.parametrize("lattice", LATTICES, ids=lambda x: f"{x.shape} {x.periodic}")
def test_cmi_is_the_ratio_of_determinants(lattice):
    """One model is asked about all times and divisions, of which it shares what is common to radii alone."""
    model = ld.models.GaussianField(lattice, 0.31)
    for t, patch, radius in itertools.product((0.0, 1e-3, 0.3, 0.9), (1, 2), (0, 1)):
        parts = lattice.tripartition(lattice.center, radius, patch if lattice.ndim < 3 else 1)
        truth = dense_cmi(dense_covariance(lattice, 0.31, t), parts)
        estimate = ld.exact.cmi(model, LINEAR, t, parts)
        assert estimate.stderr == 0
        assert estimate.value == pytest.approx(truth, rel=1e-8, abs=1e-13)


def test_unobserved_sites_are_summed_out():
    lattice, rng = ld.Lattice((4, 5)), np.random.default_rng(3)
    label = rng.integers(0, 4, size=(4, 5))
    label[0, 0] = 0
    model = ld.models.GaussianField(lattice, 0.5)
    for t, last in itertools.product((0.0, 0.4), (2, 3)):
        parts = ld.Tripartition(label == 0, label == 1, (label >= 2) & (label <= last))
        truth = dense_cmi(dense_covariance(lattice, 0.5, t), parts)
        assert ld.exact.cmi(model, LINEAR, t, parts).value == pytest.approx(truth)


def test_marginals_and_posteriors_by_dense_algebra():
    lattice, t, rng = ld.Lattice((4, 3)), 0.45, np.random.default_rng(4)
    model = ld.models.GaussianField(lattice, 0.2)
    x_t = LINEAR.corrupt(model.sample(5, rng), t, rng)
    region = rng.random((4, 3)) < 0.6
    keep = np.flatnonzero(region)
    noisy = dense_covariance(lattice, 0.2, t)[np.ix_(keep, keep)]
    flat = x_t.reshape(5, -1)[:, keep]
    expected = multivariate_normal(cov=noisy).logpdf(flat)
    assert ld.exact.log_marginal(model, LINEAR, t, x_t, region) == pytest.approx(expected, rel=1e-10)
    clean = np.linalg.inv(precision_matrix(lattice, 0.2).toarray())
    gain = (1 - t) * clean[:, keep] @ np.linalg.inv(noisy)
    mean = ld.exact.posterior_mean(model, LINEAR, t, x_t, region).reshape(5, -1)
    assert mean == pytest.approx(flat @ gain.T, abs=1e-10)
    sites = np.zeros((4, 3), bool)
    sites[1, 1] = sites[3, 2] = True
    posterior = ld.exact.posterior(model, LINEAR, t, x_t, sites, region)
    covariance = clean - (1 - t) * gain @ clean[keep]
    at = np.flatnonzero(sites)
    assert posterior.covariance == pytest.approx(covariance[np.ix_(at, at)], abs=1e-10)
    assert posterior.mean == pytest.approx(mean[:, at])


def test_clean_field_is_interpolated_where_unseen():
    lattice, rng = ld.Lattice((5, 4)), np.random.default_rng(5)
    model = ld.models.GaussianField(lattice, 0.3)
    x_0, seen = model.sample(3, rng), rng.random((5, 4)) < 0.5
    late = ld.exact.posterior_mean(model, LINEAR, 1e-6, (1 - 1e-6) * x_0, seen)
    assert ld.exact.posterior_mean(model, LINEAR, 0.0, x_0, seen) == pytest.approx(late, abs=1e-8)
    exact = ld.exact.posterior(model, LINEAR, 0.0, x_0, ~seen, seen)
    nearly = ld.exact.posterior(model, LINEAR, 1e-6, x_0, ~seen, seen)
    assert exact.covariance == pytest.approx(nearly.covariance, abs=1e-8)


@pytest.mark.parametrize(("t", "slope"), [(0.7, 0.8732), (0.5, 1.9335), (0.3, 3.9807)])
def test_reference_slopes_in_one_dimension(t, slope):
    """Slopes of log I at m^2 = 0.01 quoted to four digits, seen where the asymptotics has set in."""
    lattice = ld.Lattice((101,))
    model = ld.models.GaussianField(lattice, 0.01)
    values = [ld.exact.cmi(model, LINEAR, t, lattice.tripartition((50,), r)).value for r in (8, 9)]
    assert np.log(values[0] / values[1]) == pytest.approx(slope, abs=4e-4)
    assert np.log(values[0] / values[1]) == pytest.approx(1 / model.markov_length(LINEAR, t), rel=1e-3)


@pytest.mark.parametrize(("t", "radius"), [(0.2, 3), (0.2, 13), (0.02, 4), (0.9, 9)])
def test_tiny_values_keep_their_digits(t, radius):
    """Against the same determinants in 80-digit arithmetic: down to 1e-33, 13 digits survive."""
    with mpmath.workdps(80):
        n, lattice = 31, ld.Lattice((31,))
        clean = mpmath.matrix(precision_matrix(lattice, 0.01).toarray().tolist()) ** -1
        noisy = mpmath.mpf(1 - t) ** 2 * clean + mpmath.mpf(t) ** 2 * mpmath.eye(n)

        def variance(given):
            block = mpmath.matrix([[noisy[i, j] for j in given] for i in given])
            cross = mpmath.matrix([noisy[i, 15] for i in given])
            return noisy[15, 15] - (cross.T * mpmath.lu_solve(block, cross))[0]

        inner = [i for i in range(n) if 0 < abs(i - 15) <= radius]
        truth = mpmath.log(variance(inner) / variance([i for i in range(n) if i != 15])) / 2
        estimate = ld.exact.cmi(ld.models.GaussianField(lattice, 0.01), LINEAR, t, lattice.tripartition((15,), radius))
        assert float(abs(estimate.value / truth - 1)) < 1e-12


def planted(f, gamma):
    """E f(y), y ~ N(gamma, gamma), by adaptive quadrature."""
    root = np.sqrt(gamma)
    value, _ = quad(lambda z: f(gamma + root * z) * np.exp(-z * z / 2), -12, 12, epsabs=1e-14, epsrel=1e-12, limit=400)
    return value / np.sqrt(2 * np.pi)


def label_entropy(gamma):
    return planted(lambda y: np.log1p(np.exp(-2 * y)), gamma) if gamma else np.log(2)


@pytest.mark.parametrize("gamma", [1e-6, 0.03, 1.0, 7.0, 40.0])
def test_label_functions_by_quadrature(gamma):
    assert label_mmse(gamma) == pytest.approx(1 - planted(lambda y: np.tanh(y) ** 2, gamma), abs=1e-10)
    assert label_information(gamma) == pytest.approx(np.log(2) - label_entropy(gamma), rel=1e-8, abs=1e-13)


def test_reference_numbers_of_the_mixture():
    """|A|, |B|, |C| = 16, 80, 304, mu = sd = 1, linear."""
    sizes = ld.Tripartition.from_sizes(16, 80, 304)
    model = ld.models.GaussianMixture(ld.Lattice((400,)))

    def peak(f):
        coarse = max(np.linspace(0.86, 0.95, 46), key=f)
        time = max(np.linspace(coarse - 0.002, coarse + 0.002, 41), key=f)
        return time, f(time)

    def label(t, region):
        return model.label_information(LINEAR, t, region)

    time, value = peak(lambda t: ld.exact.cmi(model, LINEAR, t, sizes).value)
    assert (time, value) == (pytest.approx(0.87703, abs=1e-4), pytest.approx(0.041994, abs=1e-6))
    time, value = peak(lambda t: label(t, sizes.AB) - label(t, sizes.B))
    assert (time, value) == (pytest.approx(0.88319, abs=1e-4), pytest.approx(0.043661, abs=1e-6))
    time, value = peak(lambda t: label(t, sizes.ABC) - label(t, sizes.BC))
    assert (time, value) == (pytest.approx(0.94148, abs=1e-4), pytest.approx(0.0097868, abs=1e-7))


@pytest.mark.parametrize("gammas", [(0.5, 0.6, 2.0, 2.1), (0.0, 1.0, 3.0, 4.0), (5.0, 5.5, 30.0, 30.5)])
def test_label_cmi_is_the_second_difference_of_the_entropy(gammas):
    b, ab, bc, abc = (float(label_entropy(g)) for g in gammas)
    assert label_cmi(*gammas) == pytest.approx(b - ab - bc + abc, abs=1e-12)


def test_label_cmi_of_tiny_regions_keeps_its_digits():
    """For gamma -> 0, I = gamma_A gamma_C / 2."""
    assert label_cmi(0.0, 1e-9, 2e-9, 3e-9) == pytest.approx(1e-18, rel=1e-7)


@pytest.mark.parametrize("t", [0.5, 0.8, 0.9])
def test_sampled_mixture_agrees_with_the_closed_form(t):
    lattice = ld.Lattice((12, 12))
    model, parts = ld.models.GaussianMixture(lattice, 0.8, 1.3), lattice.tripartition((6, 6), 1, patch=2)
    closed = ld.exact.cmi(model, LINEAR, t, parts)
    sampled = ld.exact.cmi(model, LINEAR, t, parts, 4000, np.random.default_rng(9), method="sampled")
    assert closed.stderr == 0
    assert abs(sampled.z_score(closed.value)) < 5
    mutant = ld.models.GaussianMixture(lattice, 0.8 * 1.1, 1.3)
    assert t > 0.6 or abs(sampled.z_score(ld.exact.cmi(mutant, LINEAR, t, parts).value)) > 3


@pytest.mark.parametrize("mass_squared", [None, 0.4])
def test_mixture_marginals_posteriors_and_cmi_by_dense_algebra(mass_squared):
    """Densities by two dense Gaussians; the CMI as the mean log ratio of four such densities."""
    lattice, t, mu = ld.Lattice((3, 4)), 0.5, 0.7
    std = 1.0 if mass_squared is not None else 0.6
    model = ld.models.GaussianMixture(lattice, mu, std, mass_squared)
    clean = np.eye(12) * std**2
    if mass_squared is not None:
        clean = np.linalg.inv(precision_matrix(lattice, mass_squared).toarray())
    noisy = (1 - t) ** 2 * clean + t**2 * np.eye(12)
    rng = np.random.default_rng(10)
    x_t = LINEAR.corrupt(model.sample(20000, rng), t, rng)

    def log_p(mask):
        keep = np.flatnonzero(mask)
        if not keep.size:
            return 0.0
        flat, cov = x_t.reshape(len(x_t), -1)[:, keep], noisy[np.ix_(keep, keep)]
        sides = [multivariate_normal(np.full(keep.size, s * mu * (1 - t)), cov).logpdf(flat) for s in (-1, 1)]
        return np.logaddexp(*sides) - np.log(2)

    parts = lattice.tripartition((1, 1), 1)
    region = parts.BC
    assert ld.exact.log_marginal(model, LINEAR, t, x_t, region) == pytest.approx(log_p(region), rel=1e-9)
    ratio = log_p(parts.ABC) + log_p(parts.B) - log_p(parts.AB) - log_p(parts.BC)
    z = (ratio.mean() - ld.exact.cmi(model, LINEAR, t, parts).value) / (ratio.std() / np.sqrt(len(ratio)))
    assert abs(z) < 5
    keep = np.flatnonzero(region)
    gain = (1 - t) * clean[:, keep] @ np.linalg.inv(noisy[np.ix_(keep, keep)])
    flat = x_t.reshape(len(x_t), -1)[:, keep]
    weight = [
        multivariate_normal(np.full(keep.size, s * mu * (1 - t)), noisy[np.ix_(keep, keep)]).pdf(flat) for s in (-1, 1)
    ]
    means = [s * mu + (flat - s * mu * (1 - t)) @ gain.T for s in (-1, 1)]
    expected = (weight[0][:, None] * means[0] + weight[1][:, None] * means[1]) / (weight[0] + weight[1])[:, None]
    mean = ld.exact.posterior_mean(model, LINEAR, t, x_t, region).reshape(len(x_t), -1)
    assert mean == pytest.approx(expected, abs=1e-9)
    posterior = ld.exact.posterior(model, LINEAR, t, x_t[:4], parts.A, region)
    assert posterior.mean[:, 0] == pytest.approx(expected[:4, np.flatnonzero(parts.A)[0]], abs=1e-9)
    assert np.all(posterior.variance > 0)


test_refusals = refusals(
    (lambda: ld.models.GaussianField(ld.Lattice(5), 0.0), "mass_squared must be finite and > 0, got 0.0; a"),
    (lambda: ld.models.GaussianMixture(ld.Lattice(5), std=0.0), "std must be from "),
    (lambda: ld.models.GaussianMixture(ld.Lattice(5), mean=np.inf), "mean must be from "),
    (lambda: ld.models.GaussianMixture(ld.Lattice(5), std=2.0, mass_squared=1.0), "std is for white classes"),
    (lambda: ask(ld.channels.BitFlip()), "real-valued data take the gaussian channel, got bitflip"),
    (lambda: ask(LINEAR, method="sampled"), "has a closed form only"),
)


def ask(channel, **options):
    lattice = ld.Lattice((9,))
    return ld.exact.cmi(ld.models.GaussianField(lattice, 1.0), channel, 0.5, lattice.tripartition((4,), 1), **options)
