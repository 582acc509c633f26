"""Lattice samples as images: the law of a pixel and its information against sums over all clean and noisy pictures."""

import itertools

import numpy as np
import pytest
from scipy.special import rel_entr, softmax
from scipy.stats import norm

from lattice_diffusion import Lattice, exact
from lattice_diffusion.channels import BitFlip, Gaussian
from lattice_diffusion.exact.gaussian import log_normal_density
from lattice_diffusion.images.lattice_images import (
    Rendering,
    calibration_shape,
    grey_image,
    ising_image,
    loop_image,
    spectrum,
    texture_image,
)
from lattice_diffusion.models import DomainWalls, Ising

LINEAR = Gaussian("linear")


def all_pictures(rendering: Rendering, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Every clean picture of spins or walls and its probability, by enumeration of the spins."""
    model = rendering.model
    spins = np.array(list(itertools.product((-1, 1), repeat=int(np.prod(model.lattice.shape[-2:])))))
    spins = spins.reshape(-1, *model.lattice.shape[-2:])
    walls = np.zeros((len(spins), 2, *spins.shape[1:]))
    walls[:, 0, :, :-1] = spins[:, :, :-1] * spins[:, :, 1:]
    walls[:, 1, :-1, :] = spins[:, :-1, :] * spins[:, 1:, :]
    weight = np.exp(beta * walls.sum(axis=(1, 2, 3)))
    shown = (walls if isinstance(model, DomainWalls) else spins).reshape(len(spins), -1)
    return np.where(rendering.site >= 0, shown[:, rendering.site], 0.0), weight / weight.sum()


@pytest.mark.parametrize(
    ("rendering", "beta"),
    [
        (ising_image((6, 6), beta=0.5), 0.5),
        (ising_image((5, 7), beta=0.3), 0.3),
        (loop_image((5, 5)), 0.0),
        (loop_image((6, 6), beta=0.4), 0.4),
        (Rendering(Ising(Lattice((2, 3)), 0.7), np.array([[0, 4, -1], [3, 1, 5], [4, 2, 0]]), (1, 1)), 0.7),
    ],
)
def test_law_of_a_pixel_is_a_sum_over_all_clean_pictures(rendering, beta):
    """P(s_A | any pixels), with the likelihood of every noisy pixel by itself."""
    clean, prior = all_pictures(rendering, beta)
    rng, t = np.random.default_rng(3), 0.55
    x_t = LINEAR.corrupt(rendering.sample(4, rng), t, rng)
    for _ in range(3):
        seen = rng.random(rendering.site.shape) < 0.6
        law = rendering.law(LINEAR.likelihood_field(x_t, t), seen)
        others = seen.copy()
        others[rendering.pixel] = False
        for x, found in zip(x_t, law, strict=True):
            log = -0.5 * (((x - 0.45 * clean) / 0.55) ** 2)[:, others].sum(axis=1)
            joint = prior * np.exp(log - log.max())
            plus = joint[clean[:, *rendering.pixel] > 0].sum() / joint.sum()
            assert found == pytest.approx([1 - plus, plus], abs=1e-12)


@pytest.mark.parametrize(
    "rendering",
    [
        Rendering(Ising(Lattice((2, 2)), 0.6), np.array([[0, 0, 1, 1], [2, 2, 3, 3]]), (0, 1)),
        Rendering(DomainWalls((3, 2)), np.array([[0, -1, 6], [2, 7, 8], [4, 9, 2]]), (1, 0)),
    ],
)
def test_information_is_that_of_all_noisy_pictures(rendering):
    """Averaged over all 2^8 flips of every picture, against entropies of regions of the noisy pixels."""
    channel, t, beta = BitFlip(), 0.3, getattr(rendering.model, "beta", 0.0)
    clean, prior = all_pictures(rendering, beta)
    shown = rendering.site >= 0
    noisy = np.zeros((2 ** shown.sum(), *rendering.site.shape))
    noisy[:, shown] = list(itertools.product((-1, 1), repeat=int(shown.sum())))
    flips = (noisy[:, None] != clean)[:, :, shown].sum(axis=2)
    law = (0.15**flips * 0.85 ** (shown.sum() - flips)) @ prior

    def entropy(region: np.ndarray) -> float:
        _, group = np.unique(noisy[:, region & shown], axis=0, return_inverse=True)
        p = np.bincount(group.ravel(), weights=law)
        return float(-(p * np.log(p)).sum())

    rng = np.random.default_rng(0)
    found = law @ rendering.divergences(channel, t, noisy, (0, 1), rng)
    everything, lattice = np.ones(rendering.site.shape, bool), Lattice(rendering.site.shape)
    A = lattice.box(rendering.pixel, 0)
    for radius, information in zip((0, 1), found, strict=True):
        AB = lattice.box(rendering.pixel, radius)
        wanted = entropy(AB) + entropy(everything & ~A) - entropy(everything)
        wanted -= entropy(AB & ~A) if radius else 0.0
        assert information == pytest.approx(wanted, abs=1e-10)
    assert found[0] > 0.05


def test_one_pixel_a_spin_is_the_lattice_itself():
    lattice = Lattice((5, 4))
    model = Ising(lattice, 0.6)
    same = Rendering(model, np.arange(20).reshape(5, 4), (2, 1))
    found = same.cmi_curve(LINEAR, 0.6, (1, 2), 300, np.random.default_rng(2))
    divisions = [lattice.tripartition((2, 1), r) for r in (1, 2)]
    wanted = exact.cmi_curve(model, LINEAR, 0.6, divisions, 300, np.random.default_rng(2))
    np.testing.assert_allclose(found.values, wanted.values, rtol=1e-10)
    np.testing.assert_allclose(found.covariance, wanted.covariance, rtol=1e-10)


def test_siblings_tell_of_their_spin_as_one_stronger_observation():
    """Four pixels of a free spin: the other three are one observation of three times the signal-to-noise ratio."""
    free, t = ising_image((8, 8), beta=0.0), 0.7
    found = free.cmi_curve(LINEAR, t, (0, 1), 20_000, np.random.default_rng(4))
    assert found.values[1] == 0.0  # the box holds all siblings
    pair = Rendering(Ising(Lattice((1, 1)), 0.0), np.array([[0, 0]]), (0, 0))
    h = np.zeros((1, 1, 2))
    snr = LINEAR.snr(t)
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    total = 0.0
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        h[0, 0, 1] = 3 * snr + np.sqrt(3 * snr) * node
        y = LINEAR.sigma(t) ** 2 / LINEAR.alpha(t) * h
        total += weight * float(pair.divergences(LINEAR, t, y, (0,), np.random.default_rng(0))[0, 0])
    assert abs(found[0].z_score(total)) < 5


def test_pictures_are_what_they_say():
    rng = np.random.default_rng(1)
    spins = ising_image().sample(3, rng)
    assert spins.shape == (3, 28, 28)
    np.testing.assert_array_equal(spins[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2), spins)
    walls = loop_image().sample(50, rng)
    assert walls.shape == (50, 28, 28)
    assert (walls[:, ::2, ::2] == 0).all()
    assert (walls[:, 1::2, 1::2] == 0).all()
    corners = walls[:, :-2:2, 1:-2:2] * walls[:, 2::2, 1:-2:2] * walls[:, 1:-2:2, :-2:2] * walls[:, 1:-2:2, 2::2]
    assert (corners == 1).all()
    assert set(np.unique(walls[:, *loop_image().pixel])) == {-1, 1}
    assert (ising_image((9, 8)).sample(2, rng)[:, -1] == 0).all()
    assert calibration_shape((28, 64)) == (28, 28)
    assert calibration_shape((8, 5)) == (8, 8)
    for shape in ((8, 8), (8, 28), (27, 10)):
        assert loop_image(shape).sample(1, rng).shape == ising_image(shape).sample(1, rng).shape == (1, *shape)
    with pytest.raises(ValueError, match=r"pixel must show a spin or a bond, got \(0, 0\), which is always 0"):
        Rendering(loop_image().model, loop_image().site, (0, 0))


def test_the_smallest_box_of_a_bond_tells_nothing_and_the_next_one_most():
    curve = loop_image((12, 12)).cmi_curve(LINEAR, 0.4, (0, 1, 2, 4), 200, np.random.default_rng(5))
    assert curve.values[0] == pytest.approx(curve.values[1], abs=1e-12)
    assert curve.values[2] < 0.5 * curve.values[1]
    assert np.diff(curve.values).max() <= 1e-12


COLOURS = np.array([[0.9, 0.2, 0.05], [1.0, 0.0, -0.1], [0.8, -0.3, 0.1]])


@pytest.mark.parametrize(("smooth", "colours"), [(False, None), (True, None), (False, COLOURS[:2, :2])])
def test_grey_images_have_the_information_of_their_field(smooth: bool, colours) -> None:
    """Partial correlations of noisy images, where the field's rounding shows least, against log-determinants."""
    drawn, t, n = grey_image((8, 9), smooth=smooth, colours=colours), 0.4, 40_000
    rng, channel = np.random.default_rng(5), Gaussian("linear")
    x_0 = drawn.sample(n, rng)
    assert len(np.unique(x_0)) <= 256
    assert np.abs(x_0).max() <= 1
    assert 0.2 < x_0.std() < 0.4
    covariance = np.cov(channel.corrupt(x_0, t, rng).reshape(n, -1).T)
    curve = drawn.cmi_curve(channel, t, (0, 1, 2), 1, rng)
    for radius, value in zip((0, 1, 2), curve.values, strict=True):
        parts = drawn.model.lattice.tripartition(drawn.pixel, radius)
        channels = 1 if colours is None else len(colours)
        columns = [np.flatnonzero(np.tile(region.ravel(), channels)) for region in regions(parts)]
        logs = [np.linalg.slogdet(covariance[np.ix_(where, where)])[1] for where in columns]
        found = 0.5 * (logs[0] + logs[1] - logs[2] - logs[3]) - channels**2 * (72 - parts.AB.sum()) / (2 * n)
        assert abs(found - value) < 5 * np.sqrt(2 * value / n) + 0.002
        assert value > 0.001


def test_images_of_two_textures_have_the_information_of_their_mixture() -> None:
    """Against the divergence of the laws of noisy A, mixtures of two normal ones, by dense algebra and quadrature."""
    drawn, t, n, rng = texture_image((8, 9)), 0.2, 20_000, np.random.default_rng(5)
    x_0 = drawn.sample(n, rng)
    assert len(np.unique(x_0)) <= 256
    steps = [np.abs(np.diff(x_0, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    assert abs((steps[0] > steps[1]).mean() - 0.5) < 5 * 0.5 / np.sqrt(n)  # as many of either
    noisy = LINEAR.corrupt(x_0, t, rng).reshape(n, -1)
    covariances = [LINEAR.alpha(t) ** 2 * drawn.unit**2 * root @ root.T + t**2 * np.eye(72) for root in drawn.roots]
    a, values = int(np.ravel_multi_index(drawn.pixel, (8, 9))), np.linspace(-2, 2, 201)

    def law(region):
        """p(x_A | x_R) on the grid of values, (n, values)."""
        seen, laws = np.flatnonzero(region), []
        weights = softmax([log_normal_density(noisy[:, seen], of[np.ix_(seen, seen)]) for of in covariances], axis=0)
        for weight, of in zip(weights, covariances, strict=True):
            filtered = np.linalg.solve(of[np.ix_(seen, seen)], of[seen, a])
            mean, variance = noisy[:, seen] @ filtered, of[a, a] - of[a, seen] @ filtered
            laws.append(weight[:, None] * norm.pdf(values, mean[:, None], np.sqrt(variance)))
        return laws[0] + laws[1]

    curve = drawn.cmi_curve(LINEAR, t, (1, 2), 40_000, rng)
    everything = law(drawn.model.lattice.tripartition(drawn.pixel, 1).BC)
    for radius, found in zip((1, 2), curve, strict=True):
        near = law(drawn.model.lattice.tripartition(drawn.pixel, radius).B)
        divergence = rel_entr(everything, near).sum(axis=1) * (values[1] - values[0])
        error = np.hypot(found.stderr, divergence.std() / np.sqrt(n))
        assert abs(found.value - divergence.mean()) < 3 * error
        assert 3 * error < 0.1 * found.value  # a tenth too much would be seen


def regions(parts):
    """A + B, B + C, B and A + B + C."""
    return parts.AB, parts.BC, parts.B, parts.ABC


def test_spectrum_of_white_noise_is_flat_and_of_one_wave_a_line() -> None:
    white = np.random.default_rng(1).standard_normal((500, 12, 16))
    assert spectrum(white) == pytest.approx(np.full(6, np.log(1 / 6)), abs=0.05)
    wave = np.cos(2 * np.pi * 0.25 * np.arange(16))[None, None] * np.random.default_rng(2).standard_normal((50, 1, 1))
    assert np.argmax(spectrum(np.broadcast_to(wave, (50, 12, 16)))) == 2  # k / k_max = 0.5 / sqrt(2)
