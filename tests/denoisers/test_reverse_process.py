"""The way back: single steps against the forward joint law, whole paths against p_0, schedules and refusals."""

import math

import numpy as np
import pytest
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.channels import BitFlip, Erasure, Gaussian
from lattice_diffusion.denoisers import (
    Bernoulli,
    Categorical,
    ExactDenoiser,
    LocalNet,
    Normal,
    Switch,
    always,
    fit,
    generated_covariance,
    hybrid,
    pure_noise,
    reverse,
    reverse_steps,
)
from lattice_diffusion.errors import InputError

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
    rng, n = np.random.default_rng(4), 10_000
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
    steps = list(reverse_steps(np.ones((5, 1, 2, 3)), [1.0, 0.6, 0.2, 0.0], schedule, BitFlip(), 0))
    assert [step.t for step in steps] == [0.6, 0.2, 0.0]
    assert all(step.multiply_adds == 36 and step.seconds > 0 for step in steps)


ERASED = always(Exact(MODEL, Erasure()))


test_refusals = refusals(
    (lambda x: reverse(x, [0.2, 0.4], ERASED, Erasure()), "times must be two or more and fall"),
    (lambda x: reverse(x, [0.4, 0.2], ERASED, Erasure(), deterministic=True), "needs the gaussian channel, got"),
    (lambda x: pure_noise((2, 1, 3), BitFlip(), 0.9), "starts at t = 1, where no signal"),
    (lambda x: Switch((0.4, 0.3), (Exact(MODEL, BitFlip()),) * 3), "bounds must increase, one fewer"),
    of=lambda call: call(np.ones((2, 1, 3))),
)


class Answer:
    """A denoiser that gives one answer, whatever it is asked."""

    radius = None

    def __init__(self, law):
        self.law = law

    def __call__(self, x_t, t):
        return self.law

    blind = __call__

    def multiply_adds(self, shape):
        return 1


HALF = np.full((3, 1, 2, 3), 0.5)
NAN = np.where(np.arange(6).reshape(2, 3) == 4, np.nan, HALF)
WRONG_ANSWERS = {
    "NaN, normal": (Normal(NAN, HALF), "must answer with finite values, got NaN or infinity at t = 0.5"),
    "NaN, spins": (Bernoulli(NAN), "must answer with finite values"),  # of which no draw would be NaN
    "NaN, levels": (Categorical(np.stack([NAN, HALF], axis=2), (-1.0, 1.0)), "must answer with finite values"),
    "one for all": (Normal(HALF[:1], HALF[:1]), r"one value per entry of x_t, \(3, 1, 2, 3\), got \(1, 1, 2, 3\)"),
    "no channel": (Bernoulli(HALF[:, 0]), r"one value per entry of x_t, \(3, 1, 2, 3\), got \(3, 2, 3\)"),
}


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("case", WRONG_ANSWERS)
def test_a_wrong_answer_is_never_taken_for_data(case, deterministic):
    law, sentence = WRONG_ANSWERS[case]
    options = {"rng": 0, "deterministic": deterministic}
    with pytest.raises(InputError, match=sentence):
        reverse(HALF, [0.5, 0.2], always(Answer(law)), Gaussian(), **options)
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match=f"x_t must be finite, got {bad}"):
            reverse(np.where(np.isnan(NAN), bad, HALF), [0.5, 0.2], always(Answer(law)), Gaussian(), **options)


def test_wrong_answers_of_teachers_and_of_linear_denoisers():
    with pytest.raises(InputError, match="mean and variance of every site must have one shape"):
        Normal(HALF[:1], HALF)
    net, data = LocalNet(1, width=4, depth=1, rng=0), np.sign(HALF)
    for role in ("teacher", "exact"):
        with pytest.raises(InputError, match="one value per entry of x_t"):
            fit(net, data, steps=1, batch_size=4, rng=0, **{role: Answer(Normal(HALF[:1], HALF[:1]))})
    with pytest.raises(InputError, match="one value per entry of x_t"):
        generated_covariance(FIELD, Gaussian(), [0.5, 0.2], always(Answer(Normal(HALF, HALF))))


@pytest.mark.parametrize(
    ("own", "noise"), [(Gaussian("vp"), Gaussian()), (BitFlip(), Erasure()), (Gaussian(), BitFlip())]
)
def test_a_denoiser_of_another_noise_is_refused(own, noise):
    """Wherever a denoiser meets a channel: on the way back, as teacher, as what a score compares with."""
    exact, net = ExactDenoiser(MODEL, own), LocalNet(1, width=4, depth=1, channel=own, rng=0)
    other, data = LocalNet(1, width=4, depth=1, channel=noise, rng=0), np.ones((4, 2, 3))
    calls = [lambda d=d: reverse(data[:, None], [0.5, 0.2], hybrid(other, d, 0.3, 0.6), noise, 0) for d in (exact, net)]
    calls += [lambda role=role: fit(other, data, steps=1, rng=0, **{role: exact}) for role in ("teacher", "exact")]
    if isinstance(noise, Gaussian):
        calls += [lambda: generated_covariance(FIELD, noise, [0.5, 0.2], always(ExactDenoiser(FIELD, own)))]
    for call in calls:
        with pytest.raises(InputError, match=r"denoiser must be made for the noise of the data, .*, got one for "):
            call()


def test_channels_of_a_users_own_are_compared_by_what_they_hold():
    class Weak:
        name = "weak"

        def __init__(self, share):
            self.share = share

        def bridge(self, x_t, x_0, t, s, rng=None):
            return x_0

    denoiser = Answer(Normal(HALF, HALF))
    denoiser.channel = Weak(0.3)
    assert reverse(HALF, [0.5, 0.2], always(denoiser), Weak(0.3), 0).shape == HALF.shape
    with pytest.raises(InputError, match="must be made for the noise of the data"):
        reverse(HALF, [0.5, 0.2], always(denoiser), Weak(0.4), 0)
