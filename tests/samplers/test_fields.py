"""Gaussian fields against their exact covariance, and the kernel's normal numbers against the normal law."""

from fractions import Fraction

import numpy as np
import pytest
from chains import xoshiro
from refusals import refusals
from scipy import stats

import lattice_diffusion as ld
from lattice_diffusion.kernels import normals
from lattice_diffusion.kernels.normals import LANES
from lattice_diffusion.samplers import conditional_fields, fields
from lattice_diffusion.samplers.fields import precision_matrix, precision_spectrum, to_modes, to_sites


def covariance_scores(x, covariance):
    """z-scores of the measured second moments, i <= j, with the variance (C_ij^2 + C_ii C_jj)/n of Wishart's law."""
    n, flat = len(x), x.reshape(len(x), -1).astype(float)
    variance = np.diag(covariance)
    error = np.sqrt((covariance**2 + np.outer(variance, variance)) / n)
    return ((flat.T @ flat / n - covariance) / error)[np.triu_indices(len(covariance))]


def whitened_excess(x, precision):
    """Mean z^2 of the whitened second moments less 1, in its own standard errors."""
    n = len(x)
    white = x.reshape(n, -1).astype(float) @ np.linalg.cholesky(precision)
    deviation = np.sqrt(n) * (white.T @ white / n - np.eye(len(precision)))
    z = np.concatenate([deviation[np.triu_indices(len(precision), 1)], np.diag(deviation) / np.sqrt(2)])
    return (np.mean(z**2) - 1) / np.sqrt(2 / z.size)


LATTICES = {
    "ring": (ld.Lattice(7, True), "free"),
    "free chain": (ld.Lattice(6), "free"),
    "fixed chain": (ld.Lattice(6), "fixed"),
    "torus": (ld.Lattice((4, 5), True), "free"),
    "free square": (ld.Lattice((4, 5)), "free"),
    "fixed square": (ld.Lattice((4, 5)), "fixed"),
    "free strip": (ld.Lattice((4, 5), (True, False)), "free"),
    "fixed strip": (ld.Lattice((4, 5), (False, True)), "fixed"),
    "3-torus": (ld.Lattice((3, 4, 3), True), "free"),
    "free slab": (ld.Lattice((3, 2, 3), (True, False, False)), "free"),
    "fixed slab": (ld.Lattice((3, 1, 3), (True, False, False)), "fixed"),
}


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LATTICES)
def test_covariance_of_the_massive_field(name, dtype, device):
    (lattice, boundary), n = LATTICES[name], 40_000
    x = np.asarray(ld.samplers.gaussian_field(lattice, 0.6, n, 27, dtype, boundary, device=device))
    assert (x.dtype, x.shape) == (dtype, (n, *lattice.shape))
    precision = precision_matrix(lattice, 0.6, boundary).toarray()
    assert np.abs(covariance_scores(x, np.linalg.inv(precision))).max() < 5
    assert abs(whitened_excess(x, precision)) < 5
    assert abs(whitened_excess(x, precision_matrix(lattice, 0.72, boundary).toarray())) > 5


@pytest.mark.parametrize("name", LATTICES)
def test_transforms_diagonalise_the_precision_matrix(name):
    lattice, boundary = LATTICES[name]
    z = np.random.default_rng(1).standard_normal((3, *lattice.shape, 2)).view(complex)[..., 0]
    applied = (precision_matrix(lattice, 0.3, boundary) @ z.reshape(3, -1).T).T.reshape(z.shape)
    modes = to_modes(z.copy(), lattice, boundary) * precision_spectrum(lattice, 0.3, boundary)
    assert np.allclose(to_sites(modes, lattice, boundary), applied, atol=1e-12)


def test_a_fixed_boundary_is_a_frame_of_zeros():
    inner, outer = ld.Lattice((3, 4)), ld.Lattice((5, 6))
    frame = np.ones(outer.shape, bool)
    frame[1:-1, 1:-1] = False
    inside = np.flatnonzero(~frame)
    conditional = precision_matrix(outer, 0.2).toarray()[np.ix_(inside, inside)]
    assert np.array_equal(precision_matrix(inner, 0.2, "fixed").toarray(), conditional)


def test_the_massless_field_between_fixed_ends_is_a_brownian_bridge():
    """Cov(x_i, x_j) = i (L + 1 - j)/(L + 1), i <= j, counted from 1."""
    x = ld.samplers.gaussian_field(ld.Lattice(5), 0.0, 40_000, np.random.default_rng(2), boundary="fixed")
    i = np.arange(1, 6)
    exact = np.minimum.outer(i, i) * (6 - np.maximum.outer(i, i)) / 6
    assert np.abs(covariance_scores(x, exact)).max() < 5


def random_spectrum(shape, rng):
    """Symmetric under k -> -k and without other symmetry; no mean."""
    power = rng.random(shape) ** 2
    power += np.roll(np.flip(power), 1, axis=tuple(range(len(shape))))
    power[(0,) * len(shape)] = 0.0
    return power


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6,), (4, 5), (3, 4, 3)])
def test_any_spectrum(shape, dtype):
    """Against the plain sum over wave vectors."""
    rng, lattice, n = np.random.default_rng(4), ld.Lattice(shape, True), 40_000
    power = random_spectrum(shape, rng)
    k = ld.samplers.wave_vectors(lattice).reshape(len(shape), -1)
    phase = k.T @ np.indices(shape).reshape(len(shape), -1)
    waves = np.exp(1j * phase)
    exact = ((waves.conj().T * power.ravel()) @ waves).real / lattice.n_sites
    x = ld.samplers.spectral_field(lattice, power, n, rng, dtype)
    assert np.abs(covariance_scores(x, exact)).max() < 5
    assert np.abs(covariance_scores(x, 1.1 * exact)).max() > 5
    there = ld.samplers.spectral_field(lattice, power, n, rng, dtype, device="cpu")
    assert np.abs(covariance_scores(np.asarray(there), exact)).max() < 5
    assert np.abs(x.reshape(n, -1).mean(axis=1)).max() < (1e-6 if dtype == np.float32 else 1e-15)


def test_a_spectrum_may_be_a_function_of_the_wave_number():
    lattice = ld.Lattice((6, 5), True)
    k = np.sqrt((ld.samplers.wave_vectors(lattice) ** 2).sum(axis=0))
    first = ld.samplers.spectral_field(lattice, lambda k: np.exp(-(k**2)), 3, np.random.default_rng(3))
    assert np.array_equal(first, ld.samplers.spectral_field(lattice, np.exp(-(k**2)), 3, np.random.default_rng(3)))


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_two_fields_of_a_transform_are_independent(dtype, device, monkeypatch):
    monkeypatch.setattr(fields, "TENSOR_BYTES", 10**6)  # many batches
    lattice, n = ld.Lattice((4, 5), True), 40_000
    x = np.asarray(ld.samplers.gaussian_field(lattice, 0.6, 2 * n, 8, dtype, device=device)).reshape(n, 2, -1)
    variance = np.linalg.inv(precision_matrix(lattice, 0.6).toarray())[0, 0]
    real, imaginary = x[:, 0].astype(float), x[:, 1].astype(float)
    assert np.abs(real.T @ imaginary / np.sqrt(n)).max() / variance < 5
    squares = (real**2 - variance).T @ (imaginary**2 - variance) / np.sqrt(n)
    assert np.abs(squares).max() / (2 * variance**2) < 5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lattice", [ld.Lattice((9, 15), True), ld.Lattice((9, 8), (True, False))])
def test_fields_do_not_depend_on_how_many_are_drawn_at_a_time(lattice, dtype, monkeypatch):
    def draw(n):
        return ld.samplers.gaussian_field(lattice, 0.2, n, np.random.default_rng(5), dtype)

    whole = draw(9)
    assert np.array_equal(draw(9), whole)
    assert np.array_equal(draw(4), whole[:4])
    assert not np.array_equal(whole[0], whole[1])
    monkeypatch.setattr(fields, "BATCH_BYTES", 1)
    assert np.array_equal(draw(9), whole)


def words(state, rows, columns, per_number):
    """Lane j mod LANES for column j, row after row."""
    s, out = state.reshape(4, LANES).copy(), np.empty((per_number, rows, columns), np.uint64)
    for row in range(rows):
        for start in range(0, columns, LANES):
            for k in range(per_number):
                out[k, row, start : start + LANES] = xoshiro(s[:, : columns - start])
    return out


def fresh_state(seed):
    return np.random.default_rng(seed).integers(0, 2**64, 4 * LANES, dtype=np.uint64)


def uniforms_and_turns(state, rows, columns, real):
    if real == np.float32:
        (word,) = words(state, rows, columns, 1)
        u = ((word >> np.uint64(32)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)
        return u.astype(float), (word & np.uint64(2**32 - 1)).astype(float) / 2**32
    word, turn = words(state, rows, columns, 2)
    return ((word >> np.uint64(12)).astype(float) + 0.5) * 2.0**-52, turn.view(np.int64) / 2.0**64


REALS = pytest.mark.parametrize("real", [np.float32, np.float64], ids=["float32", "float64"])


def kernel(name, real):
    return getattr(normals, f"{name}_{real.__name__}")


@REALS
def test_kernel_against_its_numpy_twin_on_the_same_words(real):
    state, amplitude = fresh_state(6), np.linspace(0.5, 2.0, 3 * LANES + 5, dtype=real)
    u, turn = uniforms_and_turns(state, 40, len(amplitude), real)
    out = np.empty((40, 2 * len(amplitude)), real)
    kernel("complex_noise", real)(out, amplitude, state)
    radius = np.sqrt(-2 * np.log(u)) * amplitude
    z = radius * np.exp(2j * np.pi * turn)
    assert np.abs((out[:, 0::2] + 1j * out[:, 1::2] - z) / radius).max() < 4 * np.finfo(real).eps


@REALS
def test_kernel_at_the_ends_of_its_range(real):
    epsilon, bits, integer = (2.0**-24, 32, np.int32) if real == np.float32 else (2.0**-53, 64, np.int64)
    assert kernel("minus_two_log", real)(real(1.0)) == 0.0
    assert kernel("minus_two_log", real)(real(1.0 - epsilon)) == pytest.approx(2 * epsilon, rel=2 * epsilon)
    for power in (33, 53):
        assert kernel("minus_two_log", real)(real(2.0**-power)) == pytest.approx(2 * power * np.log(2), rel=4 * epsilon)
    for quarter, exact in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        turn = np.array(quarter << (bits - 2), f"u{bits // 8}").view(integer)[()]
        assert kernel("cos_sin", real)(turn) == exact
    eighth = kernel("cos_sin", real)(integer(1 << (bits - 3)))
    assert eighth == pytest.approx((np.sqrt(0.5), np.sqrt(0.5)), rel=4 * epsilon)


@REALS
def test_the_kernels_numbers_are_normal(real):
    n = 2_000_000
    out = np.empty((n // 1000, 2000), real)
    kernel("complex_noise", real)(out, np.ones(1000, real), fresh_state(7))
    x = out.ravel().astype(float)
    assert stats.kstest(x[:500_000], "norm").pvalue > 1e-4
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)]:
        assert abs((x**power).mean() - moment) / np.sqrt(variance / x.size) < 5
    for edge in (3.0, 4.0, 4.5):
        expected = 2 * stats.norm.sf(edge)
        count = (np.abs(x) > edge).sum()
        assert abs(count - x.size * expected) / np.sqrt(x.size * expected) < 5
    real_part, imaginary = x[0::2], x[1::2]
    pairs = [(real_part, imaginary), (x[:-2], x[2:]), (x[: -2 * LANES], x[2 * LANES :]), (x[:-2000], x[2000:])]
    for a, b in pairs:
        assert abs((a * b).mean()) * np.sqrt(a.size) < 5
        assert abs(((a**2 - 1) * (b**2 - 1)).mean()) / 2 * np.sqrt(a.size) < 5


CONDITIONS = {
    "ring": (ld.Lattice(9, True), "free", 0.3),
    "bridge": (ld.Lattice(9), "fixed", 0.0),
    "strip": (ld.Lattice((5, 4), (True, False)), "free", 0.2),
    "slab": (ld.Lattice((3, 4, 2), (True, False, False)), "fixed", 0.1),
}


def dense_posterior(lattice, mass_squared, boundary, observed, values, variance):
    """Mean and covariance by the joint normal law of the field and the observations."""
    prior = np.linalg.inv(precision_matrix(lattice, mass_squared, boundary).toarray())
    o = np.flatnonzero(observed)
    gain = np.linalg.solve(prior[np.ix_(o, o)] + np.diag(variance.ravel()[o]), prior[o]).T
    return values.reshape(-1, lattice.n_sites)[:, o] @ gain.T, prior - gain @ prior[o]


def observations(lattice, rng):
    """A mask, values that are nan outside it, and noise variances of which some are 0."""
    observed = rng.random(lattice.shape) < 0.5
    values = np.where(observed, rng.standard_normal(lattice.shape), np.nan)
    return observed, values, np.where(rng.random(lattice.shape) < 0.5, 0.0, rng.random(lattice.shape))


@pytest.mark.parametrize("method", ["factorise", "conjugate_gradients"])
@pytest.mark.parametrize("name", CONDITIONS)
def test_conditional_mean_against_dense_algebra(name, method):
    lattice, boundary, mass_squared = CONDITIONS[name]
    observed, values, variance = observations(lattice, np.random.default_rng(11))
    for noise in (variance, np.zeros(lattice.shape), np.full(lattice.shape, 0.7)):
        got = ld.samplers.conditional_mean(
            lattice, mass_squared, observed, values, noise_variance=noise, boundary=boundary, method=method
        )
        exact, _ = dense_posterior(lattice, mass_squared, boundary, observed, values, noise)
        assert got.shape == lattice.shape
        assert np.abs(got.ravel() - exact[0]).max() < 1e-10


@pytest.mark.parametrize("method", ["factorise", "conjugate_gradients"])
@pytest.mark.parametrize("name", CONDITIONS)
def test_conditional_samples_against_dense_algebra(name, method):
    (lattice, boundary, mass_squared), n, rng = CONDITIONS[name], 20_000, np.random.default_rng(12)
    observed, values, variance = observations(lattice, rng)
    x = ld.samplers.conditional_field(
        lattice, mass_squared, observed, values, n, rng, noise_variance=variance, boundary=boundary, method=method
    )
    exact = observed & (variance == 0)
    assert (x[:, exact] == values[exact]).all()
    mean, covariance = dense_posterior(lattice, mass_squared, boundary, observed, values, variance)
    free = np.flatnonzero(~exact)
    centered, covariance = x.reshape(n, -1)[:, free] - mean[0, free], covariance[np.ix_(free, free)]
    assert np.abs(centered.mean(axis=0) / np.sqrt(np.diag(covariance) / n)).max() < 5
    assert np.abs(covariance_scores(centered, covariance)).max() < 5
    assert np.abs(covariance_scores(centered, 1.1 * covariance)).max() > 5


def rational_mean(lattice, mass_squared, observed, values, variance):
    """The conditional mean by elimination in rational numbers, without any rounding."""
    laplacian, n = precision_matrix(lattice, 0.0).toarray().astype(int), lattice.n_sites
    rows = [[Fraction(int(k)) for k in row] + [Fraction(0)] for row in laplacian]
    for i in range(n):
        weight = 1 / Fraction(variance.flat[i]) if observed.flat[i] else Fraction(0)
        rows[i][i] += Fraction(mass_squared) + weight
        rows[i][n] = weight * Fraction(values.flat[i] if observed.flat[i] else 0.0)
    for i in range(n):
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for j in range(n):
            if j != i and rows[j][i]:
                rows[j] = [x - rows[j][i] * y for x, y in zip(rows[j], rows[i], strict=True)]
    return np.array([float(row[n]) for row in rows]).reshape(lattice.shape)


@pytest.mark.parametrize("method", ["factorise", "conjugate_gradients"])
@pytest.mark.parametrize("mass_squared", [1e-40, 1e-14, 0.2, 1e10])
@pytest.mark.parametrize("decades", [(-99, -95), (-30, -20), (-90, 90), (-40, 0), (8, 16), (90, 95)])
def test_conditional_mean_at_any_noise_against_rational_arithmetic(method, mass_squared, decades):
    lattice, rng = ld.Lattice((3, 4), (False, True)), np.random.default_rng(15)
    observed, values, _ = observations(lattice, rng)
    variance = 10.0 ** rng.uniform(*decades, lattice.shape)
    got = ld.samplers.conditional_mean(lattice, mass_squared, observed, values, noise_variance=variance, method=method)
    exact = rational_mean(lattice, mass_squared, observed, values, variance)
    assert np.abs(got - exact).max() < 1e-11 * np.abs(exact).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fields_beyond_the_range_of_their_type_are_refused(dtype):
    """1/m^2 = 1e80 has no root in float32; 1e-90 has none but 0."""
    lattice, rng = ld.Lattice((4, 4), True), np.random.default_rng(17)
    for mass_squared in (1e-80, 1e95):
        if dtype == np.float64:
            x = ld.samplers.gaussian_field(lattice, mass_squared, 4, rng, dtype) * np.sqrt(mass_squared)
            assert 0.1 < np.abs(x).max() < 10
        else:
            with pytest.raises(ValueError, match=r"must stay within the range of float32, .* use dtype=float64"):
                ld.samplers.gaussian_field(lattice, mass_squared, 4, rng, dtype)
    with pytest.raises(ValueError, match="must stay within the range"):
        ld.samplers.spectral_field(lattice, np.full((4, 4), 1e77), 4, rng, np.float32)


def test_every_sample_may_have_its_own_condition(monkeypatch):
    lattice, rng = ld.Lattice((4, 3)), np.random.default_rng(14)
    observed, n = rng.random(lattice.shape) < 0.5, 20_000
    x_0 = ld.samplers.gaussian_field(lattice, 0.3, n, rng)
    values = x_0 + np.sqrt(0.4) * rng.standard_normal(x_0.shape)
    monkeypatch.setattr(conditional_fields, "BATCH_BYTES", 8 * lattice.n_sites * 999)
    x = ld.samplers.conditional_field(lattice, 0.3, observed, values, n, rng, noise_variance=0.4)
    joint = np.concatenate([x.reshape(n, -1), values.reshape(n, -1)[:, observed.ravel()]], axis=1)
    prior, o = np.linalg.inv(precision_matrix(lattice, 0.3).toarray()), np.flatnonzero(observed)
    exact = np.block([[prior, prior[:, o]], [prior[o], prior[np.ix_(o, o)] + 0.4 * np.eye(len(o))]])
    assert np.abs(covariance_scores(joint, exact)).max() < 5


def test_limits_of_the_condition():
    lattice = ld.Lattice((4, 5))
    nothing, everything = np.zeros(lattice.shape, bool), np.ones(lattice.shape, bool)
    values = np.random.default_rng(16).standard_normal(lattice.shape)
    prior = ld.samplers.gaussian_field(lattice, 0.3, 3, np.random.default_rng(17))
    same = ld.samplers.conditional_field(lattice, 0.3, nothing, values, 3, np.random.default_rng(17))
    assert np.array_equal(same, prior)
    for method in ("factorise", "conjugate_gradients"):
        fixed = ld.samplers.conditional_mean(lattice, 0.3, everything, values, method=method)
        assert np.array_equal(fixed, values)
        nearly = ld.samplers.conditional_mean(lattice, 0.3, everything, values, noise_variance=1e-80, method=method)
        assert np.allclose(nearly, values, rtol=1e-14)


def field(**change):
    arguments = {"lattice": ld.Lattice((4, 4)), "mass_squared": 0.3, "n_samples": 2} | change
    return lambda rng: ld.samplers.gaussian_field(rng=rng, **arguments)


def spectral(spectrum, periodic=True):
    return lambda rng: ld.samplers.spectral_field(ld.Lattice((4, 4), periodic), spectrum, 2, rng)


def conditional(**change):
    arguments = {"observed": np.eye(4, dtype=bool), "values": np.zeros((4, 4)), "n_samples": 2} | change
    return lambda rng: ld.samplers.conditional_field(ld.Lattice((4, 4)), 0.3, rng=rng, **arguments)


LOPSIDED = np.ones((4, 4))
LOPSIDED[1, 0] = 2.0


test_refusals = refusals(
    (field(mass_squared=np.nan), "mass_squared must be finite and > 0, got nan"),
    (field(mass_squared=0.0), "mass_squared must be finite and > 0, got 0.0; a massless field"),
    (field(mass_squared=0.0, lattice=ld.Lattice(4, True), boundary="fixed"), "mass_squared must be finite and > 0"),
    (field(n_samples=0), "n_samples must be a positive integer, got 0"),
    (field(n_samples=10**14), r"n_samples is too large: it needs about .* GiB.*; draw smaller batches"),
    (field(dtype=np.int32), "dtype must be float32 or float64, got int32"),
    (field(device="tpu"), "device must be one of cpu, auto, got 'tpu'"),
    (field(boundary="open"), "boundary of open axes must be 'free' or 'fixed', got 'open'"),
    (spectral(np.ones((4, 4)), False), "needs all axes periodic.*gaussian_field takes"),
    (spectral(np.ones((4, 3))), r"spectrum must be a function of \|k\| or an array \(4, 4\), got shape"),
    (spectral(-np.ones((4, 4))), r"spectrum must be finite and >= 0, got -1.0 at index \(0, 0\)"),
    (spectral(lambda k: k**-2), r"got inf at index \(0, 0\); P\(0\) = 0 leaves out the mean"),
    (spectral(LOPSIDED), r"the same at k and -k for a real field, got 2.0 and 1.0 at index \(1, 0\); use"),
    (conditional(observed=np.eye(4)), r"observed must be a boolean mask of .* \(4, 4\), got an array of float"),
    (conditional(values=np.zeros((4, 3))), r"values must have shape \(4, 4\) or \(n_samples, \*shape\), got"),
    (conditional(values=np.zeros((3, 4, 4))), r"values must be one field or one per sample \(2\), got 3 fields"),
    (conditional(values=np.full((4, 4), np.nan)), "values must be finite on the mask, got nan; leave others out"),
    (conditional(noise_variance=-0.5), "noise_variance must be finite and >= 0, got -0.5; leave sites"),
    (conditional(noise_variance=np.ones(4)), r"noise_variance must be one number or of shape \(4, 4\), got"),
    (conditional(method="fft"), "method must be one of auto, factorise, conjugate_gradients, got 'fft'"),
    of=lambda call: call(np.random.default_rng(0)),
)


def test_conjugate_gradients_say_when_they_fail(monkeypatch):
    monkeypatch.setattr(conditional_fields, "MAX_ITERATIONS", 1)
    with pytest.raises(ld.samplers.NotConvergedError, match="could not be solved to 1e-12 in 1 steps; use method='fac"):
        conditional(method="conjugate_gradients", values=np.ones((4, 4)))(np.random.default_rng(0))
