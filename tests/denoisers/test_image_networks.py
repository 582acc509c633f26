"""Laws over a few levels, and the networks that answer with them: Bayes' rule, what they see, what they learn."""

import numpy as np
import pytest
import torch
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.denoisers import (
    Categorical,
    ExactDenoiser,
    GlobalImageNet,
    LocalImageNet,
    LocalNet,
    fit,
    load,
    save,
)

CHANNEL = ld.channels.Gaussian("linear")
LEVELS = (-1.0, 0.2, 1.0)
SHAPE = (5, 4)


def rng():
    return np.random.default_rng(7)


def nets(radius=1, n=1):
    prior = rng().random((3, *([n] if n > 1 else []), *SHAPE)) + 0.1
    options = {"in_channels": n, "width": 8, "rng": rng()}
    return LocalImageNet(radius, LEVELS, prior, **options), GlobalImageNet(LEVELS, prior, **options), prior


@pytest.mark.parametrize("n", [1, 3])
def test_own_observation_enters_by_bayes_rule(n):
    net, _, _ = nets(n=n)
    x, t = rng().standard_normal((6, n, *SHAPE)), 0.4
    alpha, sigma = CHANNEL.alpha(t), CHANNEL.sigma(t)
    likelihood = np.exp(-((x[:, :, None] - alpha * np.reshape(LEVELS, (3, 1, 1))) ** 2) / (2 * sigma**2))
    expected = net.blind(x, t).probabilities * likelihood
    expected /= expected.sum(axis=2, keepdims=True)
    assert net(x, t).probabilities == pytest.approx(expected, abs=1e-5)
    assert net(x, t).mean == pytest.approx((expected * np.reshape(LEVELS, (3, 1, 1))).sum(axis=2), abs=1e-5)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("which", [0, 1])
def test_pure_noise_gives_the_prior_and_no_noise_the_nearest_level(which, n):
    *made, prior = nets(n=n)
    net, law = made[which], (prior / prior.sum(axis=0)).reshape(3, n, *SHAPE)
    x = rng().standard_normal((3, n, *SHAPE))
    assert net(x, 1.0).probabilities == pytest.approx(np.stack([np.swapaxes(law, 0, 1)] * 3), abs=1e-6)
    nearest = np.asarray(LEVELS)[np.abs(x[..., None] - LEVELS).argmin(axis=-1)]
    assert net(x, 0.0).mean == pytest.approx(nearest, abs=1e-5)


@pytest.mark.parametrize(("radius", "n"), [(1, 1), (2, 1), (0, 3), (1, 3)])
def test_it_sees_its_box_and_nothing_else(radius, n):
    """The other colours of its pixel, too."""
    net = nets(radius, n)[0]
    x = torch.as_tensor(rng().standard_normal((1, n, *SHAPE)), dtype=torch.float32).requires_grad_()
    for site in ((0, 0), (2, 2), (4, 1)):
        for law, own in ((net.blind(x, 0.5), False), (net(x, 0.5), True)):
            (seen,) = torch.autograd.grad(law.log_weights[0, n - 1, 0, *site], x)
            expected = np.repeat(ld.Lattice(SHAPE).box(site, radius)[None], n, axis=0)
            expected[n - 1, *site] = own
            assert np.array_equal(seen[0].numpy() != 0, expected)


@pytest.mark.parametrize("n", [1, 3])
def test_a_global_network_sees_everything(n):
    net = nets(n=n)[1]
    x = torch.as_tensor(rng().standard_normal((1, n, *SHAPE)), dtype=torch.float32).requires_grad_()
    (seen,) = torch.autograd.grad(net(x, 0.5).log_weights[0, 0, 0, 0, 0], x)
    assert (seen != 0).all()


def test_law_samples_and_nats():
    weights = rng().standard_normal((2, 1, 3, 2, 2))
    law = Categorical(weights, LEVELS)
    draws = np.stack([law.sample(np.random.default_rng(seed)) for seed in range(3000)])
    assert set(np.unique(draws)) <= set(LEVELS)
    assert np.abs((draws.mean(axis=0) - law.mean) / np.sqrt(law.variance / 3000)).max() < 5
    assert draws.var(axis=0) == pytest.approx(law.variance, rel=0.2)
    tensors = Categorical(torch.as_tensor(weights), LEVELS)
    for k, level in enumerate(LEVELS):
        nats = tensors.nats(torch.full((2, 1, 2, 2), level, dtype=torch.float64))
        assert nats.numpy() == pytest.approx(-np.log(law.probabilities[:, :, k]))
    assert tensors.mean.numpy() == pytest.approx(law.mean)


def test_it_learns_the_exact_local_posterior_of_spins():
    model = ld.models.Ising(ld.Lattice((5, 5)), 0.5)
    net = LocalImageNet(1, [-1, 1], np.ones((2, 5, 5)), width=16, rng=rng())
    assert isinstance(net, LocalNet)
    fit(net, model.sample, steps=150, batch_size=64, learning_rate=1e-2, optimiser="muon", progress=False, rng=rng())
    exact, x_0 = ExactDenoiser(model, CHANNEL, 1), model.sample(200, rng())[:, None].astype(float)
    for t in (0.4, 0.6, 0.8):
        x_t = CHANNEL.corrupt(x_0, t, rng())
        law = exact(x_t, t)
        assert np.mean((net(x_t, t).mean - law.mean) ** 2) < 0.05 * law.variance.mean()


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("which", [0, 1])
def test_it_comes_back_from_a_file(which, n, tmp_path):
    net, x = nets(n=n)[which], rng().standard_normal((2, n, *SHAPE))
    save(tmp_path / "net.pt", net)
    again = load(tmp_path / "net.pt")
    assert type(again) is type(net)
    assert np.array_equal(again(x, 0.5).mean, net(x, 0.5).mean)


test_refusals = refusals(
    (lambda: LocalImageNet(1, [1.0], np.ones((1, 4, 4))), r"levels must be two or more increasing numbers, got \[1"),
    (lambda: LocalImageNet(1, [1.0, 0.0], np.ones((2, 4, 4))), "levels must be two or more increasing"),
    (lambda: LocalImageNet(1, [0.0, 1.0], np.ones((3, 4, 4))), r"prior must have shape \(2, \*lattice\), got \(3, 4"),
    (
        lambda: GlobalImageNet([0.0, 1.0], np.ones((2, 4, 4)), in_channels=3),
        r"prior must have shape \(2, 3, \*lattice\), got \(2, 4, 4\)",
    ),
    (lambda: LocalImageNet(1, [0.0, 1.0], np.zeros((2, 4, 4))), "prior must be positive everywhere; add one"),
)
