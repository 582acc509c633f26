"""The way back: single steps against the forward joint law, whole paths against p_0, schedules and refusals."""

import math

import numpy as np
import pytest

import lattice_diffusion as ld
from lattice_diffusion.channels import BitFlip, Erasure, Gaussian
from lattice_diffusion.denoisers import Bernoulli, Normal, Switch, always, hybrid, pure_noise, reverse, reverse_steps

LATTICE = ld.Lattice((2, 3))
MODEL = ld.models.Ising(LATTICE, 0.37)
FIELD = ld.models.GaussianField(ld.Lattice((3, 4)), 0.3)
SPIN_CHANNELS = [Gaussian("linear"), Gaussian("vp"), BitFlip(), Erasure()]


class Exact:
    """The global posterior, from solvers that other tests hold against enumeration."""

    radius = None

    def __init__(self, model, channel):
        self.model, self.channel = model, channel

    def __call__(self, x_t, t):
        everything = np.ones(self.model.lattice.shape, bool)
        if isinstance(self.model, ld.models.GaussianField):
            law = ld.exact.posterior(self.model, self.channel, t, x_t[:, 0], everything, everything)
            return Normal(law.mean.reshape(x_t.shape), law.variance.reshape(x_t.shape))
        mean = ld.exact.posterior_mean(self.model, self.channel, t, x_t[:, 0], everything)[:, None]
        with np.errstate(divide="ignore"):
            return Bernoulli(2 * np.arctanh(mean.clip(-1, 1)))

    def multiply_adds(self, shape):
        return math.prod(shape) ** 2


def same_means(one, other):
    """z-scores of the difference of means of two independent sets of rows."""
    difference = one.mean(axis=0) - other.mean(axis=0)
    error = np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other))
    assert np.all(np.abs(difference) <= 5 * error + 1e-12)


@pytest.mark.parametrize("channel", SPIN_CHANNELS, ids=repr)
@pytest.mark.parametrize("model", [MODEL, FIELD], ids=["ising", "field"])
def test_one_step_keeps_the_joint_law_of_each_site_with_the_noisy_data(channel, model):
    """(x_t, x_s,i) is exact for any step, so all moments x_s,i f(x_t) are those of the forward noise."""
    if model is FIELD and not isinstance(channel, Gaussian):
        pytest.skip("fields take Gaussian noise")
    rng, n, s, t = np.random.default_rng(3), 40_000, 0.35, 0.7
    x_s = channel.corrupt(model.sample(n, rng), s, rng).reshape(n, -1)
    x_t = channel.add_noise(x_s, s, t, rng)
    shape = (n, 1, *model.lattice.shape)
    back = reverse(x_t.reshape(shape), [t, s], always(Exact(model, channel)), channel, rng).reshape(n, -1)
    fresh_s = channel.corrupt(model.sample(n, rng), s, rng).reshape(n, -1)
    fresh_t = channel.add_noise(fresh_s, s, t, rng)

    def moments(y, x):
        products = (y[:, :, None] * x[:, None, :]).reshape(n, -1)
        return np.concatenate([y, y**2, products, y * x.prod(axis=1, keepdims=True)], axis=1)

    same_means(moments(back, x_t), moments(fresh_s, fresh_t))


@pytest.mark.parametrize("channel", SPIN_CHANNELS, ids=repr)
def test_a_path_of_many_steps_ends_in_the_data(channel):
    """The energy after K and 2K steps, extrapolated to infinitely many, is the exact one; 2K is closer than K."""
    rng, n = np.random.default_rng(4), 40_000
    bonds = LATTICE.bonds

    def energy(n_steps):
        noise = pure_noise((n, 1, *LATTICE.shape), channel, 1.0, rng)
        x = reverse(noise, np.linspace(1, 0, n_steps + 1), always(Exact(MODEL, channel)), channel, rng).reshape(n, -1)
        assert set(np.unique(x)) == {-1.0, 1.0}
        values = -(x[:, bonds[:, 0]] * x[:, bonds[:, 1]]).sum(axis=1)
        return values.mean(), values.std() / math.sqrt(n)

    states = 2 * ((np.arange(64)[:, None] >> np.arange(6)) & 1) - 1
    energies = -(states[:, bonds[:, 0]] * states[:, bonds[:, 1]]).sum(axis=1)
    weights = np.exp(-MODEL.beta * energies)
    exact = (weights * energies).sum() / weights.sum()
    (coarse, e_1), (fine, e_2) = energy(16), energy(32)
    assert abs(2 * fine - coarse - exact) < 5 * math.hypot(2 * e_2, e_1)
    assert abs(fine - exact) < abs(coarse - exact) + 5 * e_1


def test_probability_flow_of_a_gaussian_field_carries_its_variance():
    """The flow maps x_1 = z to x_0 = K^(-1/2) z exactly as the steps grow small."""
    rng, n = np.random.default_rng(5), 20_000
    channel = Gaussian("vp")
    noise = pure_noise((n, 1, 3, 4), channel, 1.0, rng)
    covariance = np.linalg.inv(FIELD.solver.precision.toarray())

    def deviation(n_steps):
        times = np.linspace(1, 0, n_steps + 1)
        x = reverse(noise, times, always(Exact(FIELD, channel)), channel, rng, deterministic=True).reshape(n, -1)
        root = x.T @ noise.reshape(n, -1) @ np.linalg.inv(noise.reshape(n, -1).T @ noise.reshape(n, -1))
        return np.abs(root @ root.T - covariance).max()

    coarse, fine = deviation(40), deviation(80)
    assert fine < 0.05 * covariance.max()
    assert coarse / fine == pytest.approx(2.0, rel=0.1)  # first order in the step


def test_hybrid_switches_where_it_says():
    local, other = Exact(MODEL, BitFlip()), Exact(MODEL, BitFlip())
    schedule = hybrid(local, other, 0.3, 0.6)
    assert [schedule(t) is other for t in (0.1, 0.3, 0.59, 0.6, 0.9)] == [False, True, True, False, False]
    steps = list(
        reverse_steps(np.ones((5, 1, 2, 3)), [1.0, 0.6, 0.2, 0.0], schedule, BitFlip(), np.random.default_rng(0))
    )
    assert [step.t for step in steps] == [0.6, 0.2, 0.0]
    assert all(step.multiply_adds == 36 and step.seconds > 0 for step in steps)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda x, rng: reverse(x, [0.2, 0.4], always(Exact(MODEL, BitFlip())), BitFlip(), rng),
            "times must be two or more and fall",
        ),
        (
            lambda x, rng: reverse(x, [0.2], always(Exact(MODEL, BitFlip())), BitFlip(), rng),
            "times must be two or more and fall",
        ),
        (
            lambda x, rng: reverse(x, [0.4, 0.2], always(Exact(MODEL, Erasure())), Erasure(), rng, deterministic=True),
            "a deterministic path needs the gaussian channel, got erasure",
        ),
        (lambda x, rng: pure_noise((2, 1, 3), BitFlip(), 0.9, rng), "starts at t = 1, where no signal"),
        (lambda x, rng: Switch((0.4, 0.3), (Exact(MODEL, BitFlip()),) * 3), "bounds must increase and be one fewer"),
    ],
)
def test_refusals(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(np.ones((2, 1, 3)), np.random.default_rng(0))
