"""The amortised likelihood on lattices of known information: channels, colours, labels, its protocol, bad input."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr

import lattice_diffusion as ld
from lattice_diffusion import exact
from lattice_diffusion.channels import BitFlip, Erasure, Gaussian, Uniform
from lattice_diffusion.estimators import AmortisedLikelihood, clone
from lattice_diffusion.estimators.amortised import ProbePlan
from lattice_diffusion.estimators.amortised_data import field_of_array
from lattice_diffusion.estimators.amortised_estimates import measure
from lattice_diffusion.estimators.amortised_noise import log_likelihood, noise_of
from lattice_diffusion.phases import unmasking_cost, unmasking_schedule

judged_once = pytest.mark.usefixtures("judged_once")
LATTICE, CENTRE, RADII = ld.Lattice((7, 6)), (3, 3), (1, 2)
MODEL = ld.models.Ising(LATTICE, beta=0.6)
SMALL = {"width": 32, "batch_size": 256, "steps": 250}


def truth(channel, t: float, n_samples: int = 1500, model=MODEL, centre=CENTRE):
    """I(A;C|B) at the radii and, last, I(A;BC)."""
    parts = [model.lattice.tripartition(centre, r) for r in (*RADII, 0)]
    return exact.cmi_curve(model, channel, t, parts, n_samples, np.random.default_rng(1))


@judged_once
@pytest.mark.parametrize(
    ("channel", "times"),
    [
        pytest.param(Gaussian("vp"), (0.5, 0.65), marks=pytest.mark.slow),
        (BitFlip(), (0.3, 0.5)),
        pytest.param(Gaussian("ve"), (0.65, 0.75), marks=pytest.mark.slow),
        pytest.param(Erasure(), (0.5, 0.7), marks=pytest.mark.slow),
    ],
)
def test_every_channel_gives_the_exact_information(channel, times):
    x_0 = MODEL.sample(3000, np.random.default_rng(3))
    found = AmortisedLikelihood(**SMALL).fit(x_0, radii=RADII, times=times, channel=channel, rng=0).estimate()
    for k, t in enumerate(times):
        known, one = truth(channel, t), found.sel(t=t)
        values = [*one.cmi.values, float(one.total_information)]
        errors = [*one.cmi_stderr.values, float(one.total_information_stderr)]
        for value, stderr, exactly, error in zip(values, errors, known.values, known.stderr, strict=True):
            assert abs(value - exactly) < 4 * np.hypot(stderr, error), (t, value, exactly)
        assert values[-1] > 20 * errors[-1]
        assert values[0] > 2 * errors[0]
        assert np.sqrt(np.diag(found.cmi_covariance[k])) == pytest.approx(errors[:-1])


CHAIN = ld.models.PottsChain(ld.Lattice((9,)), coupling=1.2, q=3)
TREE = ld.models.RandomHierarchy(3, 2, vocabulary=3, synonyms=2, rules=1)


@judged_once
@pytest.mark.parametrize(
    ("model", "site", "channel", "times", "steps"),
    [
        (CHAIN, 4, Uniform(3), (0.3, 0.5), 250),
        pytest.param(CHAIN, 4, Erasure(3), (0.65, 0.8), 1000, marks=pytest.mark.slow),
        pytest.param(TREE, 3, Uniform(3), (0.3, 0.5), 1000, marks=pytest.mark.slow),
        pytest.param(TREE, 3, Erasure(3), (0.5, 0.7), 1500, marks=pytest.mark.slow),
    ],
)
def test_sequences_of_tokens_give_the_exact_information(model, site, channel, times, steps):
    x_0 = model.sample(5000 if steps < 1000 else 10_000, np.random.default_rng(0))
    options = {"radii": RADII, "times": times, "pixel": (0, site), "channel": channel, "rng": 0}
    found = AmortisedLikelihood(**SMALL | {"steps": steps}).fit(x_0, **options).estimate()
    for t in times:
        known, one = truth(channel, t, model=model, centre=(site,)), found.sel(t=t)
        values = np.append(one.cmi, one.total_information)
        errors = np.hypot([*one.cmi_stderr, one.total_information_stderr], known.stderr)
        assert np.abs((values - known.values) / errors).max() < 4, (t, values, known.values)
        assert values[-1] > 15 * errors[-1]


def ring_entropy(coupling: float, q: int, n: int, t: float) -> float:
    """H(x_0 | what is seen) of a Potts ring, each other site masked with probability t, by transfer matrices."""
    step = np.ones((q, q)) + np.expm1(coupling) * np.eye(q)
    power = [np.linalg.matrix_power(step, k) for k in range(n + 1)]
    total = t ** (n - 1) * np.log(q)
    for seen in itertools.product((False, True), repeat=n - 1):
        if any(seen):
            a, b = 1 + seen.index(True), 1 + seen[::-1].index(True)  # the nearest ones on either side
            law = power[a][:, :, None] * power[b][None]  # left, x_0, right
            law = law * (power[n - a - b].T[:, None] if a + b < n else np.eye(q)[:, None])
            law /= law.sum()
            given = law / law.sum(axis=1, keepdims=True).clip(1e-300)
            entropy = -(law * np.log(np.where(law > 0, given, 1))).sum()
            total += t ** (n - 1 - sum(seen)) * (1 - t) ** sum(seen) * entropy
    return total


@judged_once
def test_entropy_of_masked_tokens_and_the_schedule_that_follows():
    """Against the exact curve of a ring, whose cost the learned schedule must bring below that of equal steps."""
    ring, times = ld.models.PottsChain(ld.Lattice((8,), periodic=True), coupling=1.5, q=3), (0.1, 0.35, 0.6, 0.85)
    options = {"radii": (1,), "times": times, "pixel": (0, 4), "channel": Erasure(3), "rng": 0}
    found = AmortisedLikelihood(**SMALL).fit(ring.sample(4000, np.random.default_rng(1)), **options).estimate()
    exactly = np.array([ring_entropy(1.5, 3, 8, t) for t in found.masked.values])
    assert np.abs((found.entropy.values - exactly) / found.entropy_stderr.values).max() < 4
    assert found.entropy_stderr.max() < 0.02
    grid = np.linspace(0, 1, 41)
    curve = grid, [ring_entropy(1.5, 3, 8, t) for t in grid]
    for k in (2, 5):
        learned, best = unmasking_schedule((found.masked, found.entropy), k), unmasking_schedule(curve, k)
        cost = unmasking_cost(curve, learned.times)
        assert best.cost <= cost < best.cost + 0.6 * (unmasking_cost(curve, np.linspace(1, 0, k + 1)) - best.cost)


@pytest.mark.parametrize("channel", [Erasure(3), Uniform(3)], ids=lambda channel: channel.name)
def test_tokens_have_no_order(channel):
    """The codes of all symbols are equally far from one another; the noise and A's likelihood are the channel's."""
    t, n, rng = 0.35, 40_000, torch.Generator().manual_seed(5)
    x_0 = np.arange(n).reshape(-1, 2, 1) % 3
    field = field_of_array(x_0, tokens=3)
    noise, k = noise_of(channel, np.array([0.8, t]), field.pixels, "cpu"), torch.ones(n // 2, dtype=torch.long)
    x_t = noise.corrupt(torch.as_tensor(field.read(np.arange(n // 2))), k, rng)
    outcomes = x_t.numpy().ravel().astype(int) % (3 + noise.erased)
    law = channel.output_law(t)  # of every outcome given the symbol, the mask last
    share = np.array([[((outcomes == y) & (x_0.ravel() == s)).mean() for s in range(3)] for y in range(len(law))])
    assert 3 * share == pytest.approx(law, abs=0.02)
    codes = noise.shown(torch.arange(-noise.erased, 3).reshape(-1, 1, 1, 1), k[: 3 + noise.erased])[:, :, 0, 0].numpy()
    apart = np.linalg.norm(codes[:, None] - codes, axis=2)[noise.erased :, noise.erased :]
    assert apart[~np.eye(3, dtype=bool)] == pytest.approx(apart[0, 1], abs=1e-5)
    assert len(np.unique(codes, axis=0)) == 3 + noise.erased
    assert noise.shown(x_t, k).pow(2).mean() == pytest.approx(1, abs=0.02)
    q = np.array([0.5, 0.3, 0.2])
    log_p, weights = noise.observations(torch.arange(3.0)[:, None], 1, 40_000, rng)
    nats = log_likelihood(torch.tensor(q).log().float().expand(3, 1, -1), log_p, noise.levels)[0]
    assert (nats[:, 0] @ weights).numpy() == pytest.approx((law * np.log(law @ q)[:, None]).sum(axis=0), abs=3e-3)


@judged_once
def test_independent_colours_add_up():
    """Three independent lattices as the colours of one image: all informations are three times as large."""
    x_0 = MODEL.sample(4500, np.random.default_rng(4)).reshape(1500, 3, *LATTICE.shape)
    found = AmortisedLikelihood(**SMALL | {"steps": 150}).fit(x_0, radii=(1,), times=(0.6, 0.7), rng=0).estimate()
    for t in (0.6, 0.7):
        known, one = truth(Gaussian(), t), found.sel(t=t, radius=1)
        for name, j in (("cmi", 0), ("total_information", 2)):
            # what 32 features learn of 56 spins from 1,500 images in 150 steps is a little less than all
            missing = 3 * known.values[j] - float(one[name])
            error = np.hypot(float(one[f"{name}_stderr"]), 3 * known.stderr[j])
            assert abs(missing) < 4 * error + 0.05 * 3 * known.values[j]


def test_the_two_averages_enclose_what_is_reported_and_the_null_is_nothing():
    x_0, few = MODEL.sample(3000, np.random.default_rng(5)), {"radii": RADII, "times": (0.6,), "rng": 0}
    found = AmortisedLikelihood(null=True, **{**SMALL, "steps": 80, "near": 0}).fit(x_0, **few).estimate()
    half_way = 0.5 * (found.cmi_held_out + found.cmi_in_sample)
    assert found.cmi.values == pytest.approx(half_way.values, abs=1e-12)
    assert np.abs(found.cmi_null / np.hypot(found.cmi_null_stderr, found.cmi_stderr)).max() < 4
    held = AmortisedLikelihood(corrected=False, width=8, steps=5, near=0).fit(x_0, **few).estimate()
    assert held.cmi.values == pytest.approx(held.cmi_held_out.values, abs=1e-12)


def test_forward_backward_agreement_is_that_of_the_posterior():
    """Equal spins of either sign: P_FB = E[q^2 + (1 - q)^2] with q the posterior of the sign at snr m alpha^2/sigma^2.

    And log P_FB >= I(S;R) - H(S), where R is all 25 pixels.
    """
    labels = np.random.default_rng(6).integers(0, 2, 1500)
    x_0 = np.where(labels == 1, 1.0, -1.0)[:, None, None] * np.ones((1, 5, 5))
    times, channel = (0.75, 0.85, 0.95), Gaussian()
    plan = ProbePlan(times, (1,), (2, 2), null=False, **{**SMALL, "steps": 100})
    found = measure(field_of_array(x_0, labels=labels), plan)
    z = np.random.default_rng(7).standard_normal(100_000)
    for k, t in enumerate(times):
        snr = 25 * channel.snr(t)
        q = 1 / (1 + np.exp(-2 * (snr + np.sqrt(snr) * z)))
        assert (
            abs(found["forward_backward"][k] - (q**2 + (1 - q) ** 2).mean()) < 5 * found["forward_backward_stderr"][k]
        )
        bound = found["label_information"][k] - np.log(2)
        assert np.log(found["forward_backward"][k]) > bound - 3 * found["label_information_stderr"][k]


def test_an_array_on_disk_gives_the_numbers_of_the_one_in_memory(tmp_path):
    x_0 = MODEL.sample(300, np.random.default_rng(8))
    np.save(tmp_path / "x.npy", x_0)
    options = {"radii": (1,), "times": (0.5,), "rng": 0}
    one, two = (
        AmortisedLikelihood(width=8, steps=20, batch_size=32).fit(x, **options).estimate()
        for x in (x_0, np.load(tmp_path / "x.npy", mmap_mode="r"))
    )
    assert one.identical(two)


@pytest.mark.parametrize(
    "channel",
    [Gaussian("linear"), *(pytest.param(noise, marks=pytest.mark.slow) for noise in (BitFlip(), Erasure()))],
    ids=lambda channel: channel.name,
)
def test_the_default_dtype_and_threads_change_nothing(channel, capfd):
    x_0 = MODEL.sample(100, np.random.default_rng(8))
    options = {"radii": (1,), "times": (0.5,), "channel": channel, "rng": 0}
    one = AmortisedLikelihood(width=8, steps=20, batch_size=32, null=True).fit(x_0, **options).estimate()
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    try:
        two = AmortisedLikelihood(width=8, steps=20, batch_size=32, null=True).fit(x_0, verbose=True, **options)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)
    assert "AmortisedLikelihood: 80 of 80 training steps are done" in capfd.readouterr().err
    xr.testing.assert_identical(one, two.estimate())


def test_conventions():
    estimator = AmortisedLikelihood(folds=3, width=8, steps=5, batch_size=16)
    assert estimator.get_params()["folds"] == 3
    assert repr(clone(estimator)) == repr(estimator)
    with pytest.raises(ValueError, match="has not been fitted"):
        estimator.estimate()
    x_0 = MODEL.sample(100, np.random.default_rng(9))
    found = estimator.fit(x_0, radii=[1, 2], times=[0.4, 0.6], pixel="average").estimate()
    assert found.cmi.dims == ("t", "radius")
    assert found.cmi.sel(t=0.6, radius=1) == found.cmi[1, 0]
    assert found.cmi.attrs["units"] == "nat"
    assert "cmi_null" not in found


@pytest.mark.parametrize(
    ("x_0", "changed", "sentence"),
    [
        (np.ones((50, 4, 4)), {}, "samples must vary, got 1 at every place"),
        (np.ma.masked_less(np.arange(1600.0).reshape(100, 4, 4), 3), {}, "samples must have no masked entries"),
        (np.ones((50, 6, 5, 3)), {}, "must have their channels first, got (50, 6, 5, 3); use np.moveaxis(x, 3, 1)"),
        (np.arange(50.0), {}, "samples must be numbers (n, site), (n, row, column) or (n, channel, row, column), got"),
        (CHAIN.sample(50, 1) + 1, {"channel": Erasure(3)}, "samples must hold tokens, integers 0..2, got 3"),
        (CHAIN.sample(50, 1) + 0.5, {"channel": Uniform(3)}, "samples must hold tokens, integers 0..2, got 2.5"),
        (
            np.random.default_rng(1).integers(4, size=(50, 2, 4, 4)),
            {"channel": Uniform(4)},
            "images of tokens must have one channel",
        ),
        (CHAIN.sample(50, 1), {"channel": Uniform()}, "tokens = None under uniform noise"),
        (CHAIN.sample(50, 1), {"channel": Erasure()}, "or noise of q symbols for tokens"),
        (MODEL.sample(12, np.random.default_rng(1)), {}, "at least 20 images, and better 1,000, got 12"),
        (MODEL.sample(50, np.random.default_rng(1)), {"pixel": (9, 0)}, "in 7x6, got (9, 0)"),
        (MODEL.sample(50, np.random.default_rng(1)), {"radii": (3,)}, "radii must be below 3, where the box covers"),
        (MODEL.sample(50, np.random.default_rng(1)), {"times": (1.0,)}, "times must increase inside (0, 1), got [1.0]"),
        (
            np.random.default_rng(1).random((50, 4, 4)),
            {"channel": BitFlip()},
            "channel bitflip needs spins of -1 and 1, got 32 levels",
        ),
        (
            MODEL.sample(50, np.random.default_rng(1)),
            {"channel": "vp"},
            "channel must be Gaussian, BitFlip, Erasure or",
        ),
        (np.full((50, 4, 4), np.nan), {}, "samples must be finite"),
    ],
)
def test_bad_input_is_one_sentence(x_0, changed, sentence):
    with pytest.raises(ValueError) as caught:
        AmortisedLikelihood(steps=1).fit(x_0, **({"radii": (1,), "times": (0.5,)} | changed))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
