"""Tokens against sums over all states: evidence, posteriors, CMI, samples; two symbols against spins."""

import math

import numpy as np
import pytest
from enumeration import cmi, noisy_law, p_value, potts_law, token_matrix
from refusals import refusals
from scipy.stats import chi2

import lattice_diffusion as ld
from lattice_diffusion.channels import MASK, Erasure, Uniform
from lattice_diffusion.kernels import potts as kernel
from lattice_diffusion.kernels.mixtures import block_divergence

MODELS = {
    "chain q=2": (ld.models.PottsChain(ld.Lattice(6), 0.9, 2), 0),
    "chain q=3": (ld.models.PottsChain(ld.Lattice(5), 1.3, 3), 2),
    "ring q=3": (ld.models.PottsChain(ld.Lattice(5, periodic=True), 1.1, 3), 1),
    "ring q=4": (ld.models.PottsChain(ld.Lattice(4, periodic=True), 0.7, 4), 0),
    "grid q=2": (ld.models.Potts(ld.Lattice((2, 3)), 0.8, 2), 0),
    "grid q=3": (ld.models.Potts(ld.Lattice((2, 3)), 1.0, 3), 4),
    "tall grid q=3": (ld.models.Potts(ld.Lattice((3, 2)), 0.6, 3), 1),
    "grid q=4": (ld.models.Potts(ld.Lattice((2, 2)), 1.2, 4), 3),
}


def clean_law(model):
    return potts_law(model.lattice.shape, model.lattice.periodic, model.coupling, model.q)


@pytest.mark.parametrize("name", ["uniform", "erasure"])
@pytest.mark.parametrize("key", MODELS)
def test_against_all_states(key, name):
    (model, site), t = MODELS[key], 0.45
    q, shape, n = model.q, model.lattice.shape, model.lattice.n_sites
    channel = Uniform(q) if name == "uniform" else Erasure()
    matrix, values = token_matrix(name, t, q)
    clean = clean_law(model)
    noisy = noisy_law(clean, matrix)
    outcomes = np.array(list(np.ndindex(noisy.shape)))
    x_t = values[outcomes].reshape(-1, *shape)
    everything = np.ones(shape, bool)
    found = np.exp(ld.exact.log_marginal(model, channel, t, x_t, everything))
    assert found == pytest.approx(noisy.ravel(), rel=1e-10)

    region = np.ones(n, bool)
    region[[site, (site + 1) % n]] = False
    marginal = noisy.sum(axis=tuple(np.flatnonzero(~region)), keepdims=True)
    found = np.exp(ld.exact.log_marginal(model, channel, t, x_t, region.reshape(shape)))
    assert found == pytest.approx(np.broadcast_to(marginal, noisy.shape).ravel(), rel=1e-10)

    # laws of every token given all, and of two tokens given the region, by Bayes' rule on the table
    some = np.random.default_rng(3).permutation(len(x_t))[:40]
    joint = np.broadcast_to(clean, (len(some), *clean.shape))
    for i in range(n):
        joint = joint * matrix[outcomes[some, i]].reshape(-1, *np.eye(n, dtype=int)[i] * (q - 1) + 1)
    joint /= joint.sum(axis=tuple(range(1, n + 1)), keepdims=True)
    means = ld.exact.posterior_mean(model, channel, t, x_t[some], everything).reshape(-1, n, q)
    for i in range(n):
        law = joint.sum(axis=tuple(k + 1 for k in range(n) if k != i))
        assert means[:, i] == pytest.approx(law, abs=1e-10)
    sites = ~region
    post = ld.exact.posterior(model, channel, t, x_t[some], sites.reshape(shape), everything)
    law = joint.sum(axis=tuple(np.flatnonzero(region) + 1)).reshape(len(some), -1)
    assert post.probabilities == pytest.approx(law, abs=1e-10)


def exact_mean(model, channel, t, parts, mutant=False):
    """The Rao-Blackwell value of every observation of B and C, averaged with its probability: I(A;C|B) exactly."""
    name, solver, q = channel.name, model.solver, model.q
    matrix, values = token_matrix(name, t, q)
    noisy = noisy_law(clean_law(model), matrix)
    A = np.flatnonzero(parts.A)
    p = noisy.sum(axis=tuple(A), keepdims=True)
    outcomes = np.array(list(np.ndindex(p.shape)))
    x_t = values[outcomes].reshape(-1, *model.lattice.shape)
    channel = ld.channels.for_model(model, channel)
    r, s = (solver.block_posterior(solver.seen(channel, t, x_t, region), A) for region in (parts.BC, parts.B))
    law, out = channel.output_law(t), np.empty(len(x_t))
    if mutant:
        law = law[:, ::-1]
    block_divergence(r, s, law, np.random.default_rng(0), out)
    return out @ p.ravel()


@pytest.mark.parametrize("name", ["uniform", "erasure"])
@pytest.mark.parametrize("key", MODELS)
def test_information_against_all_states(key, name):
    (model, site), t = MODELS[key], 0.35
    channel = Uniform() if name == "uniform" else Erasure(model.q)
    parts = model.tripartition(1, center=np.unravel_index(site, model.lattice.shape))
    if not parts.C.any():
        parts = model.tripartition(0, center=np.unravel_index(site, model.lattice.shape))
    truth = cmi(noisy_law(clean_law(model), token_matrix(name, t, model.q)[0]), parts.A, parts.B, parts.C)
    assert exact_mean(model, channel, t, parts) == pytest.approx(truth, abs=1e-10)
    estimate = ld.exact.cmi(model, channel, t, parts, 400, 5)
    assert abs(estimate.z_score(truth)) < 5
    hotter = type(model)(model.lattice, 1.2 * model.coupling, model.q)
    assert abs(exact_mean(hotter, channel, t, parts) - truth) > 1e-4  # a mutant of the model fails


def test_blocks_of_tokens():
    """A of two tokens: the chain rule with drawn observations has the right mean."""
    model, t = ld.models.PottsChain(ld.Lattice(5), 1.3, 3), 0.4
    parts = ld.Tripartition(*(np.array(mask, bool) for mask in ([1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 1])))
    for name, channel in (("uniform", Uniform(3)), ("erasure", Erasure(3))):
        truth = cmi(noisy_law(clean_law(model), token_matrix(name, t, 3)[0]), parts.A, parts.B, parts.C)
        estimate = ld.exact.cmi(model, channel, t, parts, 20000, 8)
        assert abs(estimate.z_score(truth)) < 5


@pytest.mark.parametrize("name", ["uniform", "erasure"])
def test_two_symbols_are_spins(name):
    """J delta = (J/2) (1 + s s'), and uniform noise of t flips with p = t/2: the same numbers to machine precision."""
    coupling, t, rng = 1.1, 0.4, np.random.default_rng(9)
    cases = [
        (ld.models.PottsChain(ld.Lattice(30), coupling, 2), ld.models.IsingChain(ld.Lattice(30), coupling / 2)),
        (ld.models.Potts(ld.Lattice((4, 5)), coupling, 2), ld.models.Ising(ld.Lattice((4, 5)), coupling / 2)),
    ]
    tokens_channel = Uniform(2) if name == "uniform" else Erasure(2)
    spin_channel = ld.channels.BitFlip() if name == "uniform" else ld.channels.Erasure()
    assert [tokens_channel.snr(u) for u in (0.0, t, 1.0)] == [spin_channel.snr(u) for u in (0.0, t, 1.0)]
    assert tokens_channel.time(0.3) == spin_channel.time(0.3)
    assert tokens_channel.output_law(t) == pytest.approx(spin_channel.output_law(t), abs=1e-16)
    for potts, ising in cases:
        lattice, everything = potts.lattice, np.ones(potts.lattice.shape, bool)
        x_t = tokens_channel.corrupt(potts.sample(50, rng), t, rng)
        spins = np.where(x_t == MASK, 0.0, 2 * x_t - 1)
        pairs = [(f(potts, tokens_channel, t, x_t, everything), f(ising, spin_channel, t, spins, everything))
                 for f in (ld.exact.log_marginal, ld.exact.posterior_mean)]  # fmt: skip
        assert pairs[0][0] == pytest.approx(pairs[0][1], abs=1e-12)
        assert 2 * pairs[1][0][..., 1] - 1 == pytest.approx(pairs[1][1], abs=1e-13)
        parts = lattice.tripartition(lattice.center, 1)
        weights = [tokens_channel.likelihoods(x_t, t), spin_channel.likelihood_field(spins, t)]
        laws = [
            [potts.solver.block_posterior(np.where(R[..., None], weights[0], 1.0), np.flatnonzero(parts.A)),
             ising.solver.block_posterior(np.where(R, weights[1], 0.0), np.flatnonzero(parts.A))]
            for R in (parts.BC, parts.B)
        ]  # fmt: skip
        found = np.empty((2, len(x_t)))
        for k, (solver, channel) in enumerate(((potts.solver, tokens_channel), (ising.solver, spin_channel))):
            block_divergence(laws[0][k], laws[1][k], solver.outcomes(channel, t), rng, found[k])
        assert found[0] == pytest.approx(found[1], rel=1e-9, abs=1e-18)


@pytest.mark.parametrize("key", ["chain q=3", "ring q=3", "grid q=4"])
def test_samples_against_all_states(key):
    (model, _), n = MODELS[key], 20000
    samples, law = model.sample(n, 4), clean_law(model)
    assert samples.dtype == np.uint8
    assert p_value(samples, law, model.q) > 1e-4
    chain = ld.samplers.potts(model.lattice, model.coupling, model.q, n, 5, thin=8)
    assert p_value(chain, law, model.q) > 1e-4
    colder = type(model)(model.lattice, 1.15 * model.coupling, model.q)
    assert p_value(colder.sample(n, 4), law, model.q) < 1e-8


def test_states_of_the_law():
    model, _ = MODELS["grid q=3"]
    states, p = model.solver.law()
    assert p == pytest.approx(clean_law(model).ravel(), rel=1e-12)
    assert states.shape == (3**6, 2, 3)


def test_self_dual_energy():
    """On a self-dual graph half of the cluster bonds are open at J = log(1 + sqrt q): E delta = (1 + 1/sqrt q) / 2.

    The graph: rings of 12 sites around a centre, which is inside out its own dual, as wheels are.
    """
    r, c, n = 12, 6, 3000
    ring = 1 + np.arange(r * c).reshape(c, r)
    bonds = np.concatenate([
        np.stack([ring, np.roll(ring, -1, axis=1)], -1).reshape(-1, 2),
        np.stack([ring[:-1], ring[1:]], -1).reshape(-1, 2),
        np.stack([np.zeros(r, int), ring[0]], -1),
    ])  # fmt: skip
    for q, factor in ((3, 1.0), (4, 1.0), (3, 1.05)):
        rng, tokens, equal = np.random.default_rng(31), np.zeros(1 + r * c, np.int64), np.empty(n)
        coupling = factor * ld.models.potts.critical_coupling(q)
        for k in range(-100, n):
            kernel.swendsen_wang(tokens, bonds, -np.expm1(-coupling), q, 1, rng)
            equal[k] = (tokens[bonds[:, 0]] == tokens[bonds[:, 1]]).mean()
        tau = ld.samplers.integrated_autocorrelation_time(equal)
        z = (equal.mean() - (1 + q**-0.5) / 2) / (equal.std() * math.sqrt(tau.tau / n))
        assert (abs(z) < 5) == (factor == 1.0), (q, factor, z, tau)


def test_noise_and_its_bridge_on_tokens():
    """(x_0, x_s, x_t) by noise in two steps, and with x_s from the bridge, have one law, for both channels."""
    rng, n, s, t, q = np.random.default_rng(12), 200_000, 0.3, 0.7, 3
    x_0 = rng.choice(q, n, p=(0.5, 0.3, 0.2))
    for channel in (Uniform(q), Erasure(q)):
        x_s = channel.corrupt(x_0, s, rng)
        x_t = channel.add_noise(x_s, s, t, rng)
        again = channel.bridge(x_t, x_0, t, s, rng)
        tables = [np.histogramdd(np.stack([x_0, x, x_t], 1), bins=[np.arange(-1.5, q)] * 3)[0] for x in (x_s, again)]
        seen = sum(tables) > 10
        z2 = (tables[0] - tables[1])[seen] ** 2 / sum(tables)[seen]
        assert chi2.sf(z2.sum(), seen.sum()) > 1e-4
        direct = np.histogram2d(x_0, channel.corrupt(x_0, t, rng), bins=[np.arange(-1.5, q)] * 2)[0]
        law = np.bincount(x_0, minlength=q)[:, None] * token_matrix(channel.name, t, q)[0].T
        wanted = np.zeros_like(direct)
        wanted[1:, 1:] = law[:, :q]
        if channel.name == "erasure":
            wanted[1:, 0] = law[:, q]
        assert np.abs(direct - wanted).max() < 5 * math.sqrt(n)
        assert np.array_equal(channel.bridge(x_t, x_0, t, 0.0, rng), x_0)


ROW = ld.models.PottsChain(ld.Lattice(4), 0.5, 3)


def ask(x_t, channel=None, model=ROW):
    return ld.exact.posterior_mean(model, channel or Uniform(3), 0.3, np.array(x_t), np.ones(4, bool))


test_refusals = refusals(
    (lambda: ask([[0, 1, 3, 0]]), "x_t must hold only 0, 1, 2 under uniform noise at t = 0.3, got 3"),
    (lambda: ask([[0, -2, 1, 0]], Erasure()), "under erasure .* masked tokens as -1"),
    (lambda: ask([[0, 1, 1, 0]], ld.channels.Gaussian()), "tokens take erasure or uniform noise, got gaussian"),
    (lambda: ask([[0, 1, 1, 0]], Uniform(4)), "channel must be noise of the data's 3 symbols, got q = 4"),
    (lambda: ld.models.PottsChain(ld.Lattice(4), 0.5, 1), "q must be an integer >= 2 .* got 1"),
    (lambda: Uniform().corrupt(np.zeros(3), 0.5), "q must be given to draw symbols"),
    (lambda: Erasure().corrupt(np.array([0, 3, 1]), 0.5), r"x_0 holds 3, which no spin is; .* Erasure\(q\)"),
    (lambda: ld.models.Potts(ld.Lattice((4, 4)), -0.5, 3), "coupling must be finite and >= 0, got -0.5"),
    (lambda: ld.models.PottsChain(ld.Lattice((4, 4)), 0.5, 3), "PottsChain takes a 1D lattice"),
    (lambda: ld.models.Potts(ld.Lattice((9, 9)), 0.5, 3).solver, r"needs a chain, a ring or an open 2D lattice"),
    (lambda: ld.exact.cmi(ld.models.IsingChain(ld.Lattice(4), 0.5), Uniform(2), 0.3,
                          ROW.tripartition(0)), "noise of symbols is for tokens, got spins"),
    (lambda: ld.exact.posterior(ld.models.PottsChain(ld.Lattice(9), 0.5, 3), Uniform(), 0.3, np.zeros((1, 9)),
                                np.ones(9, bool), np.ones(9, bool)), "sites must hold 1 to 7 tokens of 3 symbols"),
)  # fmt: skip
