"""Neural estimators: each on a task where it must be right, mutants, seeds, what is refused."""

import contextlib
import functools
import re
import warnings

import numpy as np
import pytest
from refusals import refusals
from scipy.special import entr, expit, log_softmax, xlogy
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning

import lattice_diffusion as ld
from lattice_diffusion import estimators as est
from lattice_diffusion.estimators import messages, tables
from lattice_diffusion.estimators.base import CapWarning, light_tailed, sample_of
from lattice_diffusion.estimators.critics import Bound
from lattice_diffusion.estimators.denoiser_gap import DenoiserGapWarning
from lattice_diffusion.estimators.heads import Mixture, NoisySpin, head_of
from lattice_diffusion.estimators.laws import Waves
from lattice_diffusion.estimators.neural import middle

torch = pytest.importorskip("torch")


def triple(n, rng):
    """a, c, b of one column each, the partial correlation of a and c given b equal to 0.6."""
    b = rng.standard_normal(n)
    z = rng.standard_normal((2, n))
    return b + z[0], 0.5 * b + 0.6 * z[0] + 0.8 * z[1], b


TRIPLE = -0.5 * np.log(1 - 0.6**2)


def spins(n, rng):
    """a, c, b: a chain b - a - c of spins, bonds broken with probability 0.15 and 0.2."""
    b = rng.choice([-1, 1], n)
    a = b * np.where(rng.random(n) < 0.15, -1, 1)
    return a, a * np.where(rng.random(n) < 0.2, -1, 1), b


def binary_entropy(p):
    return -p * np.log(p) - (1 - p) * np.log1p(-p)


SPINS = binary_entropy(0.15 * 0.8 + 0.85 * 0.2) - binary_entropy(0.2)  # H(c|b) - H(c|a)


def fitted(estimator, data, seed=0):
    return estimator.fit(*data, rng=np.random.default_rng(seed))


# -- conditional likelihood --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["charges-0.5", *(pytest.param(name, marks=pytest.mark.slow) for name in ("charges-3", "charges-0.001"))]
)
def test_the_default_reaches_the_floor_on_fields(name):
    """The very samples' exact log ratios are known: what is learned may add to their scatter, not replace it."""
    task, n = est.tasks.find(name), 3000
    x_t = task.sample(n, np.random.default_rng(1))
    one = est.ConditionalLikelihood(folds=2)
    answer = one.fit(x_t, task.parts, channel=task.channel, t=task.t, rng=np.random.default_rng(0)).estimate()
    assert abs(answer.z_score(task.truth.value)) < 5
    assert answer.stderr < 2 * task.floor(n) + 80 / n / 8
    assert one.held_out_.value < answer.value < one.in_sample_.value


def test_the_correction_takes_away_the_first_order_of_overfitting():
    """Independent data, linear laws: held-out and in-sample averages are off by -+ d/2n, their middle is not."""
    n, d, middles, held_out = 600, 20, [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        data = [rng.standard_normal((n, k)) for k in (1, d, 1)]
        one = fitted(est.ConditionalLikelihood(folds=2, depth=0, components=1), data, seed)
        middles.append(one.estimate().value)
        held_out.append(one.held_out_.value)
    error = np.std(middles, ddof=1) / np.sqrt(12)
    assert abs(np.mean(middles)) < 5 * error
    assert error < 0.005
    assert np.mean(held_out) < -0.5 * d / (0.85 * n)  # twice d/2n, for half of the samples


def test_the_middle_is_half_way_whatever_is_missing():
    held_out, in_sample = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, np.nan, 5.0, 4.5])
    used = np.isfinite(in_sample)
    expected = held_out.mean() + 0.5 * (in_sample[used].mean() - held_out[used].mean())
    assert middle(held_out, in_sample).mean() == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(
    ("draw", "truth"), [(triple, TRIPLE), pytest.param(spins, SPINS, marks=pytest.mark.slow)], ids=["real", "spins"]
)  # fmt: skip
def test_the_default_is_right_on_flat_data_and_conditions(draw, truth):
    a, c, b = draw(2000, np.random.default_rng(3))
    assert abs(fitted(est.ConditionalLikelihood(folds=2), (a, c, b)).estimate().z_score(truth)) < 5
    unconditional = fitted(est.ConditionalLikelihood(folds=2, steps=0), (a, c)).estimate()
    assert unconditional.z_score(truth) > 5  # the mutant: I(A;C) in place of I(A;C|B)


def test_nothing_is_found_where_c_says_nothing():
    a, c, b = triple(2000, np.random.default_rng(4))
    answer = fitted(est.ConditionalLikelihood(folds=2), (a, np.random.default_rng(5).permutation(c), b)).estimate()
    assert abs(answer.z_score(0.0)) < 5
    assert answer.stderr < np.sqrt(2 + 17) / (0.85 * 1000)  # the errors of 2 linear weights and 17 of the bend


def test_the_default_is_consistent():
    """Independence, the chain rule, more C tells more, and x -> -x; of a field one component knows all."""
    one = est.ConditionalLikelihood(folds=2, steps=1, components=1)
    checks = est.consistency(one, np.random.default_rng(11), n=600)
    assert all(abs(check.z) < 5 for check in checks)


@pytest.mark.parametrize(
    "channel",
    [
        ld.channels.BitFlip(),
        pytest.param(ld.channels.Gaussian("linear"), marks=pytest.mark.slow),
        pytest.param(ld.channels.Erasure(), marks=pytest.mark.slow),
    ],
)
def test_known_noise_is_deconvolved(channel):
    """A corner of a small Ising model, its neighbours in C; what is learned is the law of the clean spin."""
    lattice, t = ld.Lattice((2, 3)), 0.4
    site = np.arange(6).reshape(2, 3)
    parts = ld.Tripartition(site == 0, site == 4, (site != 0) & (site != 4))
    model = ld.models.Ising(lattice, 0.5)
    truth = ld.exact.cmi(model, channel, t, parts, n_samples=4000, rng=np.random.default_rng(0))
    x_t = channel.corrupt(model.sample(8000, np.random.default_rng(1)), t, np.random.default_rng(2))
    one = est.ConditionalLikelihood(folds=2)
    answer = one.fit(x_t, parts, channel=channel, t=t, rng=np.random.default_rng(3)).estimate()
    assert abs(answer.value - truth.value) < 5 * np.hypot(answer.stderr, truth.stderr)
    assert answer.value > 5 * answer.stderr


@pytest.mark.parametrize(
    ("channel", "t"), [(ld.channels.Erasure(3), 0.4), pytest.param(ld.channels.Uniform(3), 0.2, marks=pytest.mark.slow)]
)
def test_tokens_have_no_order(channel, t):
    """Symbols of a Potts chain, also in another order; flat columns of few integers are tokens without being declared.

    Taken for numbers, those under erasure would tell 0.07 nats of 0.19.
    """
    chain = ld.models.PottsChain(ld.Lattice((5,)), coupling=1.5, q=3)
    parts = chain.lattice.tripartition((1,), 0)
    truth = ld.exact.cmi(chain, channel, t, parts, n_samples=4000, rng=1)
    x_t = channel.corrupt(chain.sample(1500, np.random.default_rng(0)), t, np.random.default_rng(1))
    one, known = est.ConditionalLikelihood(folds=2, steps=25), {"channel": channel, "t": t, "rng": 0}
    blind = one.fit(x_t, parts, rng=0).estimate()  # to the noise: a mask in A is a symbol
    found = one.fit(x_t, parts, **known).estimate()
    for answer in (found, blind):
        assert abs(answer.value - truth.value) < 4 * np.hypot(answer.stderr, truth.stderr)
    moved = np.where(x_t < 0, x_t, np.array([1, 2, 0])[x_t.astype(int)])
    assert one.fit(moved, parts, **known).estimate().value == pytest.approx(found.value, abs=found.stderr)
    flat = x_t[:, parts.A], x_t[:, parts.C].astype(np.int8)
    assert one.fit(*flat, rng=0).estimate().value == pytest.approx(blind.value, abs=1e-9)
    assert one.fit(*flat, tokens=3, rng=0).estimate().value == pytest.approx(blind.value, abs=1e-9)


@pytest.mark.parametrize(("channel", "told"), [(ld.channels.Erasure(3), 0.0), (None, np.log(4))])
def test_a_mask_tells_nothing_where_it_is_known_to_be_noise(channel, told):
    """Its likelihood is 1, and those of the symbols sum to 1 without it."""
    values = np.array([-1.0, 0.0, 1.0, 2.0])
    head = head_of(values, values, channel, 0.5, components=3, token=True)
    nats = head.nats(torch.zeros(4, head.n_outputs), torch.from_numpy(head.target(values)))
    assert float(nats[0]) == pytest.approx(told)
    assert float(torch.exp(-nats[1:]).sum()) == pytest.approx(1.0 if channel else 0.75)


@pytest.mark.slow
def test_rules_of_a_hierarchy_are_learned():
    """What two leaves together tell of a third is no sum of what each tells; it takes two layers."""
    tree, channel, t = ld.models.RandomHierarchy(3, 2, vocabulary=3, synonyms=2, rules=1), ld.channels.Uniform(3), 0.2
    parts = tree.tripartition(1, center=(3,))
    truth = ld.exact.cmi(tree, channel, t, parts, n_samples=4000, rng=1)
    x_t = channel.corrupt(tree.sample(5000, np.random.default_rng(0)), t, np.random.default_rng(1))
    found = est.ConditionalLikelihood().fit(x_t, parts, channel=channel, t=t, rng=0).estimate()
    assert found.value == pytest.approx(truth.value, rel=0.1)
    assert truth.value > 6 * found.stderr


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ConditionalLikelihood", {"steps": 25, "folds": 2}),
        ("MesnerShalizi", {}),
        pytest.param("ClassifierRatio", {}, marks=pytest.mark.slow),
        pytest.param("InfoNCE", {}, marks=pytest.mark.slow),
    ],
)
def test_blocks_of_tokens(name, options):
    """A of two sites, one of them beside B and one beside C, with a mask and without, by estimators of every kind.

    Critics need more samples: their errors hold what 36 pairs of columns hide, 0.12 nats of 2,000 samples.
    """
    n = 12_000 if name in ("ClassifierRatio", "InfoNCE") else 2000
    chain, channel, t = ld.models.PottsChain(ld.Lattice((4,)), coupling=2.5, q=3), ld.channels.Erasure(3), 0.1
    site = np.arange(4)
    parts = ld.Tripartition((site == 1) | (site == 2), site == 0, site == 3)
    truth = ld.exact.cmi(chain, channel, t, parts, n_samples=4000, rng=1)
    x_t = channel.corrupt(chain.sample(n, np.random.default_rng(3)), t, np.random.default_rng(4))
    found = est.find(name)(**options).fit(x_t, parts, channel=channel, t=t, rng=0).estimate()
    assert abs(found.value - truth.value) < 5 * np.hypot(found.stderr, truth.stderr)
    assert found.value > 5 * found.stderr


def test_several_columns_of_a_add_up():
    rng = np.random.default_rng(6)
    c = rng.standard_normal((1000, 2))
    a = 0.6 * c + 0.8 * rng.standard_normal((1000, 2))
    answer = fitted(est.ConditionalLikelihood(folds=2, steps=25), (a, c)).estimate()
    assert abs(answer.z_score(2 * TRIPLE)) < 5


def test_curved_laws_are_learned():
    """A spin with log odds 2 (c^2 - 1), of which no linear law sees any; the truth by quadrature over c."""
    rng = np.random.default_rng(7)
    c = rng.standard_normal(5000)
    a = np.where(rng.random(5000) < expit(2 * (c**2 - 1)), 1, -1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(150)
    p, weights = expit(2 * (nodes**2 - 1)), weights / weights.sum()
    truth = binary_entropy(weights @ p) - weights @ (entr(p) + entr(1 - p))
    linear = fitted(est.ConditionalLikelihood(folds=2, depth=0), (a, c)).estimate()
    curved = fitted(est.ConditionalLikelihood(folds=2), (a, c)).estimate()
    assert abs(linear.value) < 0.01
    assert abs(curved.z_score(truth)) < 5
    assert truth > 0.1


@pytest.mark.parametrize(
    ("of_a", "of_c"),
    [
        (lambda a: a**3, lambda c: c),
        (lambda a: np.exp(3 * a), lambda c: np.exp(3 * c)),
        (lambda a: a, lambda c: c**5),
    ],
    ids=["cube", "exponential", "fifth-power"],
)
def test_heavy_tails_hide_nothing(of_a, of_c):
    rng = np.random.default_rng(0)
    c = rng.normal(size=(4000, 1))
    a = 0.7 * c + rng.normal(size=(4000, 1))
    plain, mapped = (fitted(est.Gaussian(), pair).estimate() for pair in ((a, c), (of_a(a), of_c(c))))
    assert abs(plain.z_score(0.5 * np.log(1.49))) < 3
    assert mapped.value == pytest.approx(plain.value, abs=0.2 * plain.stderr)


def test_tails_that_c_explains_stay():
    rng = np.random.default_rng(0)
    c = rng.standard_t(3, size=(3000, 1))
    sample = sample_of(c + 0.5 * rng.normal(size=c.shape), c)
    kept = light_tailed(sample)
    assert np.array_equal(kept.a, sample.a)
    assert np.array_equal(kept.c, sample.c)


def test_waves_are_learned_in_few_columns():
    rng = np.random.default_rng(0)
    c, e = rng.normal(size=(2, 3000, 1))
    levels, y = np.cos(4 * np.linspace(-6, 6, 2001)), np.linspace(-4, 4, 2001)
    p = norm.pdf(y[:, None], levels, 0.5) @ norm.pdf(np.linspace(-6, 6, 2001)) * 0.006
    truth = entr(p).sum() * 0.004 - norm.entropy(scale=0.5)
    one = fitted(est.ConditionalLikelihood(folds=2), (np.cos(4 * c) + 0.5 * e, c))
    found, statistical = one.estimate(), est.base.mean_estimate(one.log_ratios_, np.arange(3000), "")
    assert abs(found.value - truth) < 4 * statistical.stderr
    overfit = (one.in_sample_.value - one.held_out_.value) / 12**0.5  # both are in the error
    assert one.gain_to_come_ != 0
    assert found.stderr == pytest.approx(np.hypot(statistical.stderr, np.hypot(overfit, one.gain_to_come_)), rel=0.03)


def test_waves_of_one_column_are_found_among_many():
    """Which a network alone would not begin to learn; nothing is taken for a wave where there is none."""
    levels = np.cos(8 * tables.NODES)
    law = tables.Function(
        n_c=10, mean=lambda b, c: np.cos(8 * c[6]), given_b=lambda b: (levels, 0.0), weights=tables.WEIGHTS
    )
    x = law.sample(3000, 0)
    found = fitted(est.ConditionalLikelihood(folds=2), (x[:, :1], x[:, 1:])).estimate()
    assert abs(found.value - law.information) < 4 * law.log_ratios(x).std() / len(x) ** 0.5
    standard, left = (torch.as_tensor(y) for y in (x[:, 1:], x[:, :1]))
    waves = Waves.beyond_chance(standard, left, left)
    assert (waves.columns == 6).all()
    assert 8 in waves.frequencies
    assert not len(Waves.beyond_chance(standard, left, left.flip(0)).columns)


def test_components_part_where_networks_need_them():
    """A's width is a wave: its normal scores, which are learned, are not Gaussian given c (one finds two thirds)."""
    c, z = np.random.default_rng(5).normal(size=(2, 5000))
    a, levels = np.exp(np.cos(4 * c)) * z, np.exp(np.cos(4 * tables.NODES))
    marginal = norm.pdf(a[:, None], scale=levels) @ tables.WEIGHTS
    exact = norm.logpdf(a, scale=np.exp(np.cos(4 * c))) - np.log(marginal)
    one = fitted(est.ConditionalLikelihood(folds=2), (a, c)).estimate()
    assert abs(one.value - exact.mean()) < 4 * exact.std() / len(a) ** 0.5


def test_networks_that_still_learn_say_so():
    x = tables.SIGNS.sample(1000, 0)
    with pytest.warns(
        ConvergenceWarning, match=r"still fell by 0\.\d+ nats in the second half of 100 steps; raise steps"
    ):
        fitted(est.ConditionalLikelihood(folds=2, steps=100), (x[:, :1], x[:, 1:]))


@pytest.mark.parametrize(
    ("name", "folds"), [pytest.param("curie-weiss-gaussian", 4, marks=pytest.mark.slow), ("mixture-white", 2)]
)
def test_mean_field_laws_are_learned(name, folds):
    """What C tells is in its mean, under noise that leaves next to nothing of every one of its columns."""
    task, n = est.tasks.find(name), 2500
    x_t = task.sample(n, np.random.default_rng(1))
    oracle = est.Oracle(task.model).fit(x_t, task.parts, channel=task.channel, t=task.t).estimate()
    one = est.ConditionalLikelihood(folds=folds, steps=0)
    answer = one.fit(x_t, task.parts, channel=task.channel, t=task.t, rng=np.random.default_rng(0)).estimate()
    assert abs(answer.value - oracle.value) < 5 * task.floor(n)  # 15 and more without correction
    assert abs(answer.z_score(task.truth.value)) < 5


@pytest.mark.parametrize("signal", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_nothing_is_lost_to_shrinkage(signal):
    """Spins under so much noise that 60 columns hold little more information than weights: shrunk, and unbiased."""
    channel, t, n, d, values = ld.channels.BitFlip(), 0.7, 1000, 60, []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        s = rng.choice([-1, 1], (n, 1 + d))
        s[:, 0] *= np.where(rng.random(n) < signal, s[:, 0] * s[:, 1], 1)
        c = s[:, 1:]
        a = channel.corrupt(s[:, :1], t, rng)
        one = est.ConditionalLikelihood(folds=2, depth=0, clean="spins")
        values.append(one.fit(a, c, channel=channel, t=t, rng=rng).estimate().value)
    half = 0.5 * (1 + 0.3 * signal)  # P(a = s_1): the spin copied, then flipped with probability 0.35
    truth = np.log(2) + half * np.log(half) + (1 - half) * np.log(1 - half)
    error = np.std(values, ddof=1) / np.sqrt(20)
    kept, fit = 0.24, 0.85 * n / 2
    assert abs(np.mean(values) - truth) < 5 * error < kept * (1 - kept) * d / (2 * fit)  # the bias of the plain middle


# -- tables ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [200, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("d", [1, pytest.param(10, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.slow)])
def test_tables_are_right_or_refused(n, d):
    """`benchmarks/tables.py` measures the same laws with more rows, columns and seeds."""
    laws = [tables.Numbers(d, copies=2, constants=1), tables.Categories(max(d // 2, 2)), tables.RareClass(d, 0.02)]
    for law in laws:
        x = law.sample(n, 1)
        one = est.ConditionalLikelihood(folds=2, steps=50)
        few = n == 200 and (d == 60 or (d == 10 and law is laws[2]))  # 8 a column of the fit, for a law of two values
        with pytest.raises(ValueError, match="needs at least") if few else contextlib.nullcontext():
            answer = one.fit(x, law.parts, rng=0).estimate()
            assert abs(answer.value - law.information) < max(5 * answer.stderr, 0.1)


def test_the_error_of_categories_holds_what_the_correction_leaves_out():
    """One-hot columns, twenty rows each: three estimates are too low by more than their samples explain."""
    law, found, rng = tables.Categories(50), [], np.random.default_rng(3)
    for _ in range(3):
        x = law.sample(1000, rng)
        found.append(est.ConditionalLikelihood(folds=2).fit(x, law.parts, rng=rng).estimate())
    error = np.mean([one.value for one in found]) - law.information
    assert abs(error) < np.mean([one.stderr for one in found])


@pytest.mark.parametrize(("n", "d"), [(12, 1), (300, 100), (500, 200)])
def test_tables_of_too_many_columns_are_refused_with_what_would_do(n, d):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 2 * d + 1))
    a, b, c = x[:, 0], x[:, 1 : d + 1], x[:, d + 1 :]
    one = est.ConditionalLikelihood(folds=2, steps=0)
    with pytest.raises(ValueError, match=r"needs at least .* samples where b and c have .*, got") as refused:
        fitted(one, (a[:n], b[:n], c[:n]))
    need = int(str(refused.value).split("at least ")[1].split()[0].replace(",", ""))
    with pytest.raises(ValueError, match=f"needs at least {need:,} samples"):
        fitted(one, (a[: need - 3], b[: need - 3], c[: need - 3]))
    if d == 1:
        for k in range(2):
            fitted(one, (a[: need + k], b[: need + k], c[: need + k]))
    with pytest.raises(ValueError, match="DenoiserGap needs at least"):
        fitted(est.DenoiserGap(), (a[:n], b[:n], c[:n]))


def test_a_class_of_one_sample_is_missing_in_a_fold():
    c = np.random.default_rng(0).standard_normal(100)
    answer = fitted(est.ConditionalLikelihood(folds=2, steps=1), (np.arange(100) == 7, c)).estimate()
    assert abs(answer.value) < max(5 * answer.stderr, 0.1)


def test_no_signal_is_left_at_the_last_time():
    s = np.random.default_rng(0).choice([-1, 1], (200, 2))
    noise = {"channel": ld.channels.BitFlip(), "t": 1.0}
    assert est.ConditionalLikelihood(folds=2).fit(s[:, 0], s[:, 0] * s[:, 1], **noise, rng=0).estimate().value == 0


def test_values_that_repeat_have_what_lies_between_midpoints():
    """Of one Gaussian, whose probabilities sum to 1; a law that is far off tells so by finite numbers."""
    values = np.array([-3.0, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 4.0, 7.0])
    a = np.repeat(values, [3, 9, 20, 30, 30, 25, 9, 4, 3])
    head = head_of(a, values, None, None, components=2)
    theta = torch.from_numpy(head.start()).repeat(len(values), 1).requires_grad_()
    y = torch.from_numpy(head.target(values))
    edges = norm.cdf(((values[1:] + values[:-1]) / 2 - a.mean()) / a.std())
    probability = torch.exp(-head.nats(theta, y))
    assert probability.detach().numpy() == pytest.approx(np.diff([0, *edges, 1]), rel=1e-6)
    head.nats(theta + 50 * (theta == 0), y).sum().backward()
    assert torch.isfinite(theta.grad).all()


def test_classes_need_no_order():
    """Twelve of them, whose log odds are linear in b and c; taken for numbers they tell a fifth of it."""
    rng, slopes = np.random.default_rng(1), np.random.default_rng(6).normal(size=(12, 2))
    (b, c), (z, w) = rng.normal(size=(2, 3000)), np.polynomial.hermite_e.hermegauss(40)

    def law(c):
        return log_softmax(slopes[:, :1] * b + slopes[:, 1:] * c, axis=0)

    a = (law(c) + rng.gumbel(size=(12, 3000))).argmax(axis=0)
    given_b = sum(share * np.exp(law(x)) for x, share in zip(z, w / w.sum(), strict=True))
    told = np.take_along_axis(law(c) - np.log(given_b), a[None], axis=0)
    found = est.ConditionalLikelihood(depth=0).fit(a[:, None], c[:, None], b[:, None], rng=0).estimate()
    assert abs(found.value - told.mean()) < 3 * told.std() / 3000**0.5
    assert found.stderr < 0.02


@pytest.mark.parametrize(("atom", "place"), [(0.0, 0), (0.4, 10), (0.4, 999)])
def test_rounded_values_have_their_information(atom, place):
    """Of rounded Gaussians, of which two fifths may be 10 or far away: that of their table, from 2 10^6 samples."""
    covariance = [[1, 0.6, 0.7], [0.6, 1, 0.5], [0.7, 0.5, 1]]

    def drawn(n, seed):
        rng = np.random.default_rng(seed)
        x = np.round(rng.multivariate_normal(np.zeros(3), covariance, n))
        x[rng.random(n) < atom, 0] = place
        return x

    a, b, c = np.clip(drawn(2 * 10**6, 1).astype(int).T, -20, 20) + 20
    counts = [np.bincount(index) for index in (a + 99 * b, b + 99 * c, b, a + 99 * (b + 99 * c))]
    ab, bc, only_b, abc = (float(xlogy(x / len(a), x / len(a)).sum()) for x in counts)
    truth = abc + only_b - ab - bc
    a, b, c = drawn(2000, 0).T[:, :, None]
    found = est.ConditionalLikelihood(depth=0).fit(a, c, b, rng=0).estimate()
    assert found.stderr < 0.02
    assert abs(found.value - truth) < 4 * found.stderr


@pytest.mark.slow
def test_atoms_and_a_continuum_are_learned_in_any_order():
    """Rectified and eight-bit data, within three floors."""
    for law in tables.Rectified(), tables.EightBit():
        x = law.sample(4000, 1)
        for rows in (x, x[x[:, 0].argsort()]):
            answer = est.ConditionalLikelihood().fit(rows, law.parts, rng=0).estimate()
            assert abs(answer.value - law.information) < 3 * law.log_ratios(x).std() / 4000**0.5
            assert abs(answer.z_score(law.information)) < 4


def test_a_capped_law_says_so():
    a, c = np.random.default_rng(0).standard_normal((2, 1000))
    with pytest.warns(CapWarning, match="gives at most about 7.5 nats"):
        fitted(est.ConditionalLikelihood(folds=2, steps=1), (c, c + 1e-5 * a))


# -- bonds and translations -------------------------------------------------------------------------------


def test_scoring_at_the_bound_of_the_cosine_arrives():
    """Erased loops of 4 x 4 faces, from where scoring by the squared slopes of what was seen does not move on."""
    model, channel, t, rng = ld.models.DomainWalls((4, 4)), ld.channels.Erasure(), 0.4, np.random.default_rng(5)
    x_t, parts = channel.corrupt(model.sample(400, rng), t, rng).reshape(400, -1), model.tripartition(0)
    a, sites = int(np.flatnonzero(parts.A)[0]), np.flatnonzero(model.sites.reshape(-1) & ~parts.A.reshape(-1))
    head, net = NoisySpin(channel, t), messages.Messages().requires_grad_(False)
    net.weights.copy_(torch.tensor([-0.93, 1, 1.03, -0.9]))
    net = messages.at_bound(net)
    law = messages.MessageLaw(head, net, sites, model.sites.shape, a, 1)
    x, y = torch.as_tensor(x_t[:, sites]).double(), torch.as_tensor(head.target(x_t[:, a]))
    messages.scoring(
        net.weights, lambda: law(x, torch.zeros(400, 1).double()), lambda odds, sign=1: head.nats(odds, sign * y)
    )
    assert (net.weights - torch.tensor([-2, 1, 1, -1])).abs().max() < 0.005


@pytest.mark.slow
def test_messages_find_all_that_parities_tell():
    """Loops of 5 x 6 faces beyond r = 1: of the samples the learned laws say what the exact ones do."""
    model, channel, t = ld.models.DomainWalls((5, 6)), ld.channels.Gaussian("linear"), 0.45
    parts = model.tripartition(1, bond=((2, 2), (3, 2)))
    x_t = channel.corrupt(model.sample(4000, 1), t, np.random.default_rng(2))
    one = est.ConditionalLikelihood(body="messages", folds=2)
    found = one.fit(x_t, parts, channel=channel, t=t, rng=3).estimate()
    h, a = channel.likelihood_field(x_t, t), int(np.flatnonzero(parts.A)[0])
    box, everything = (model.solver.log_odds(np.where(seen, h, 0.0), a) for seen in (parts.B, parts.B | parts.C))
    own = 2 * h.reshape(len(h), -1)[:, a]
    small, large = (np.logaddexp(0, odds + own) - np.logaddexp(0, odds) for odds in (box, everything))
    exact = (large - small).mean()
    assert 0.9 < found.value / exact < 1.1
    assert exact > 5 * found.stderr


def test_translations_tell_more_than_one_place():
    """A periodic field, the same at all sites: twelve places of A in every sample, an error below the floor."""
    task, n = est.tasks.find("charges-0.5"), 1500
    x_t = task.sample(n, np.random.default_rng(3))
    one = est.ConditionalLikelihood(folds=2, depth=0, share_positions=11)
    answer = one.fit(x_t, task.parts, channel=task.channel, t=task.t, rng=np.random.default_rng(0)).estimate()
    assert abs(answer.z_score(task.truth.value)) < 5
    assert answer.stderr < 0.7 * task.floor(n)
    assert answer.n_samples == n


# -- denoisers and critics ---------------------------------------------------------------------------------


def test_both_forms_of_the_denoiser_gap_are_the_information():
    task = est.tasks.find("charges-chain")
    x_t = task.sample(8000, np.random.default_rng(0))
    one = est.DenoiserGap().fit(x_t, task.parts, rng=np.random.default_rng(1))
    assert abs(one.estimate().z_score(task.truth.value)) < 5
    assert abs(one.orthogonal_.z_score(task.truth.value)) < 5


def test_the_decay_of_a_gaussian_pair_is_right_or_warned_of():
    """-dI/du = rho^2 / 2 (1 + u)(1 + u - rho^2); at small u the denoisers err by more, here by a factor of 2 to 3."""
    rng, rho = np.random.default_rng(1), 0.6
    c = rng.standard_normal(2000)
    a = 3 * (rho * c + 0.8 * rng.standard_normal(2000))
    one = fitted(est.DenoiserGap(steps=200, levels=12), (a, c), 1)
    with pytest.warns(DenoiserGapWarning, match=r"decay_ cannot be trusted at \d of 12 noise levels, u from"):
        decay = one.decay_
    u, sound = one.u_ / 9, one.decay_sound_
    truth = 0.5 * rho**2 / ((1 + u) * (1 + u - rho**2)) / 9
    assert (np.abs(decay - truth) < 4 * one.decay_stderr_).all()
    assert np.abs(decay / truth - 1)[sound].max() < 0.25
    assert 6 <= sound.sum() < 12
    assert decay[-1] > 1.5 * truth[-1]


def test_denoisers_of_too_many_columns_disagree():
    rng = np.random.default_rng(8)
    a, c, b = triple(3000, rng)
    one = est.DenoiserGap(steps=50)
    noise = rng.standard_normal((3000, 200))
    with pytest.warns(DenoiserGapWarning, match=r"orthogonal.* and .*draw more samples or train longer"):
        fitted(one, (a, np.hstack([c[:, None], noise]), b))


@pytest.mark.parametrize(
    "name", ["ClassifierRatio", *(pytest.param(name, marks=pytest.mark.slow) for name in ("MINE", "InfoNCE"))]
)
def test_critics_are_right_in_few_dimensions(name):
    """Given b, and without it: the mutant that drops the conditioning finds I(A;C), which is another number."""
    data, quick = triple(4000, np.random.default_rng(9)), {"steps": 250, "batch_size": 256}
    given = fitted(est.find(name)(**quick), data)
    assert abs(given.estimate().value - TRIPLE) < 0.05
    assert given.held_out_.value == given.estimate().value
    pair = -0.5 * np.log(1 - 1.1**2 / (2 * 1.25))  # Cov(a, c) = 1.1
    assert abs(fitted(est.find(name)(**quick), data[:2]).estimate().value - pair) < 0.05
    assert pair - TRIPLE > 0.1


@pytest.mark.parametrize(
    "name", ["ClassifierRatio", *(pytest.param(name, marks=pytest.mark.slow) for name in ("MINE", "InfoNCE"))]
)
def test_critics_of_wide_tables_do_not_claim_to_know(name):
    """20 columns, of which 15 validation samples tell nothing, and 50 categories: d/2m nats, whatever was learned."""
    for law, n, d in ((tables.RareClass(20), 200, 20), (tables.Categories(50), 1000, 50)):
        answer = est.find(name)(steps=150).fit(law.sample(n, 0), law.parts, rng=0).estimate()
        assert answer.stderr >= 0.5 * (d - (n == 1000)) / (0.15 * n / 2)  # codes of categories add up to 1
        assert abs(answer.z_score(law.information)) < 5


def test_critics_are_bounded_by_what_their_samples_tell():
    """|T| < log n however far training goes, and T itself where it is small."""
    x = torch.tensor([-1e9, -1.0, 0.0, 1e-3, 1.0, 1e9], dtype=torch.float64)
    expected = ((x.exp() + 0.01) / (1 + 0.01 * x.exp())).log()
    expected[[0, -1]] = torch.tensor([-np.log(100), np.log(100)], dtype=torch.float64)
    torch.testing.assert_close(Bound(100)(x), expected)
    a, b = np.random.default_rng(0).standard_normal((2, 100))
    one = fitted(est.ClassifierRatio(evaluate="in_sample", steps=400, learning_rate=0.05), (a, np.c_[a, b]))
    assert 0.7 * np.log(100) < one.log_ratios_.max() < np.log(100)


@pytest.mark.parametrize("name", ["MINE", pytest.param("InfoNCE", marks=pytest.mark.slow)])
def test_in_sample_values_are_too_large(name):
    """60 columns of nothing and 500 samples: on its own training samples a critic finds what is not there."""
    rng = np.random.default_rng(10)
    a, c = rng.standard_normal((500, 1)), rng.standard_normal((500, 60))
    inside = fitted(est.find(f"{name}-in-sample")(steps=400), (a, c)).estimate()
    outside = fitted(est.find(name)(steps=400), (a, c)).estimate()
    assert inside.value > 0.2
    assert inside.z_score(0.0) > 5
    assert abs(outside.value) < 0.1


# -- conventions -------------------------------------------------------------------------------------------

QUICK = {
    "ConditionalLikelihood": {"folds": 2, "steps": 10},
    "ClassifierRatio": {"steps": 10},
    "DenoiserGap": {"steps": 10, "levels": 5},
    "InfoNCE": {"steps": 10},
    "MINE": {"steps": 10},
}


FLAT = triple(400, np.random.default_rng(11))


def quick(name, data=FLAT, seed=0, **changes):
    torch.manual_seed(int(np.random.default_rng().integers(1 << 31)))
    return fitted(est.find(name)(**QUICK.get(name, {}) | changes), data, seed).estimate()


plain = functools.cache(quick)


@pytest.mark.parametrize("name", QUICK)
def test_seeds_decide_everything(name):
    assert plain(name) == quick(name)
    assert plain(name) != quick(name, seed=2)
    one = est.find(name)(**QUICK[name])
    assert est.clone(one).get_params() == one.get_params()


@pytest.mark.parametrize("name", ["Gaussian", "FrenzelPompe", "MesnerShalizi", *QUICK])
def test_constants_and_copies_among_columns_change_nothing(name):
    """Or next to it where weights are drawn."""
    (a, c, b), few = triple(300, np.random.default_rng(12)), {"steps": 2} if name in QUICK else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        wide = quick(name, (a, np.c_[c, np.ones(300), c], np.c_[np.zeros(300), b, b]), **few)
        one = quick(name, (a, c, b), **few)
    assert abs(wide.value - one.value) < (0.1 if name in QUICK else 1e-9)


def test_a_fit_takes_one_thread_and_gives_the_others_back():
    class Spy(est.Estimator):
        def _log_ratios(self, train, test, rng):
            seen.append(set(re.findall(r"get_max_threads\(\) : (\d+)", torch.__config__.parallel_info())))
            return test.a[:, 0]

    seen, before = [], torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        Spy(folds=2).fit(X[:, 0], X[:, 1])
        Spy(folds=2).fit(X[:, 0], X[:, 1], threads=None)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [{"1"}, {"1"}, {"3"}, {"3"}]


@pytest.mark.parametrize("name", QUICK)
def test_units_offsets_and_the_default_dtype_change_nothing(name):
    a, c, b = FLAT
    torch.set_default_dtype(torch.float64)
    try:
        moved = quick(name, (1e-9 * a + 5, 1e3 * c + 1.7e9, 1e30 * b))
    finally:
        torch.set_default_dtype(torch.float32)
    assert moved.value == pytest.approx(plain(name).value, abs=2e-4)


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_a_mixture_of_tiny_or_huge_values_has_their_scale(unit):
    a = np.random.default_rng(0).standard_normal(50)
    law = Mixture(unit * a, None, None, 2)
    np.testing.assert_allclose(law.target(unit * a), (a - a.mean()) / a.std(), rtol=1e-12)


X = np.random.default_rng(0).standard_normal((60, 3))
PARTS = ld.Lattice((2, 3)).tripartition((0, 0), 1)
NINE = np.arange(60) % 9
TORUS = ld.models.DomainWalls((3, 3), periodic=True)
WALLS = TORUS.sample(60, 1).astype(float), TORUS.tripartition(0)


test_bad_input_is_refused_in_one_sentence = refusals(
    (lambda: fitted(est.ConditionalLikelihood(clean="bits"), (X, X)), "clean must be one of spins, real"),
    (lambda: fitted(est.ConditionalLikelihood(clean="spins"), (X, X)), "clean='spins' needs the noise, or values"),
    (lambda: fitted(est.ConditionalLikelihood(body="cnn"), (X, X)), "body must be one of mlp, messages, got"),
    (lambda: fitted(est.ConditionalLikelihood(body="messages"), (X, X)), "body='messages' needs lattice samples"),
    (lambda: est.ConditionalLikelihood(body="messages").fit(*WALLS), "body='messages' needs an open grid, got bonds"),
    (lambda: fitted(est.ConditionalLikelihood(share_positions=2), (X, X)), "share_positions needs lattice samples"),
    (lambda: est.ConditionalLikelihood(share_positions=6).fit(X.reshape(30, 2, 3), PARTS), "from 0 to 5 on this"),
    (lambda: est.Gaussian().fit(NINE, X, tokens=9), "c must hold tokens, integers 0..8, masked ones -1, got"),
    (lambda: est.Gaussian().fit(NINE, NINE % 3, tokens=9), "Gaussian needs continuous data, got tokens in a"),
    (lambda: est.Gaussian().fit(X, NINE % 5), "needs continuous data, got a column of 3 to 8 integers, .*, in c; use"),
    (lambda: est.ConditionalLikelihood().fit(X, X, tokens=1), "tokens must be an integer >= 2"),
    (lambda: fitted(est.MINE(evaluate="twice"), (X, X)), "evaluate must be one of held_out, in_sample, got"),
    (lambda: fitted(est.DenoiserGap(), (np.sign(X), X)), "DenoiserGap needs continuous data, got 2 distinct"),
    (lambda: fitted(est.DenoiserGap(levels=2), (X, X)), "levels must be an integer >= 3, got 2"),
    (lambda: fitted(est.InfoNCE(folds=70), (X, X)), "70 folds need at least as many samples, got 60"),
)  # fmt: skip
