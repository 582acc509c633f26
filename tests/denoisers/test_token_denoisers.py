"""Denoisers of tokens: exact ones against sums over all states, a trained softmax head, the way back."""

import numpy as np
import pytest
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.channels import MASK, BitFlip, Erasure, Uniform
from lattice_diffusion.denoisers import (
    ExactDenoiser,
    LocalNet,
    NearestPatch,
    always,
    network_arguments,
    pure_noise,
    reverse,
)
from lattice_diffusion.denoisers.posterior import Categorical

CHAIN = ld.models.PottsChain(ld.Lattice(6, periodic=True), 1.2, 3)


@pytest.mark.parametrize("channel", [Uniform(3), Erasure(3)], ids=["uniform", "erasure"])
@pytest.mark.parametrize("radius", [None, 1, 2])
def test_exact_laws_of_every_token(channel, radius):
    t, rng = 0.5, np.random.default_rng(3)
    x_t = channel.corrupt(CHAIN.sample(30, rng), t, rng)
    states, p = CHAIN.solver.law()
    denoiser = ExactDenoiser(CHAIN, Erasure() if channel.name == "erasure" else Uniform(), radius)
    answer, blind = denoiser(x_t[:, None], t), denoiser.blind(x_t[:, None], t)
    assert isinstance(answer, Categorical)
    weights = channel.likelihoods(x_t, t)
    seen = weights[:, np.arange(6), states]  # (n, S, site)
    for site in range(6):
        box = np.ones(6, bool) if radius is None else CHAIN.lattice.box((site,), radius)
        for law, read in ((answer, box), (blind, box & (np.arange(6) != site))):
            joint = p * np.where(read, seen, 1.0).prod(axis=2)
            wanted = np.stack([joint[:, states[:, site] == a].sum(axis=1) for a in range(3)], axis=1)
            wanted /= wanted.sum(axis=1, keepdims=True)
            assert law.probabilities[:, 0, :, site] == pytest.approx(wanted, abs=1e-10)
    times = np.where(np.arange(30) % 2, 0.5, 0.3)
    mixed = denoiser(x_t[:, None], times).probabilities
    assert mixed[1::2] == pytest.approx(answer.probabilities[1::2])


@pytest.mark.parametrize("channel", [Uniform(3), Erasure(3)], ids=["uniform", "erasure"])
def test_the_way_back_generates_the_data(channel):
    """Neighbours agree as often as in p_0 after small steps with the exact denoiser; a mutant's do not."""
    n, times = 1500, np.linspace(1.0, 0.0, 25)
    start = pure_noise((n, 1, 6), channel, 1.0, 5)
    assert np.all(start == MASK) == (channel.name == "erasure")

    def agreement(model):
        x = reverse(start, times, always(ExactDenoiser(model, channel)), channel, 6)[:, 0]
        return (x == np.roll(x, 1, axis=1)).mean(axis=1)

    states, p = CHAIN.solver.law()
    truth = p @ (states == np.roll(states, 1, axis=1)).mean(axis=1)
    found = agreement(CHAIN)
    error = found.std() / np.sqrt(n)
    bias = 0.03  # of finite steps, which draw tokens independently
    assert abs(found.mean() - truth) < 5 * error + bias
    assert abs(agreement(ld.models.PottsChain(CHAIN.lattice, 0.8, 3)).mean() - truth) > 5 * error + bias


@pytest.mark.parametrize(
    "channel", [pytest.param(Uniform(3), marks=pytest.mark.slow), Erasure(3)], ids=lambda c: c.name
)
def test_a_trained_softmax_head_is_near_the_exact_law(channel):
    model, rng = ld.models.PottsChain(ld.Lattice(12, periodic=True), 1.5, 3), np.random.default_rng(4)
    net = LocalNet(1, channel=channel, width=24, depth=1, rng=rng, **network_arguments(model))
    t = 0.5
    x_t = channel.corrupt(model.sample(200, rng), t, rng)[:, None]
    exact = ExactDenoiser(model, channel, 1)

    def distance():
        p, q = exact.blind(x_t, t).probabilities, net.blind(x_t, t).probabilities
        return float((p * np.log(p / q)).sum(axis=2).mean())

    before = distance()
    ld.denoisers.fit(net, model.sample, steps=150, batch_size=64, learning_rate=0.01, progress=False, rng=rng)
    assert distance() < 0.02 < 0.1 * before + 0.02
    assert net(x_t, t).probabilities == pytest.approx(exact(x_t, t).probabilities, abs=0.15)
    if channel.name == "erasure":
        kept = x_t != MASK
        assert np.array_equal(net(x_t, t).mean[kept], x_t[kept])


@pytest.mark.parametrize("channel", [Uniform(3), Erasure(3)], ids=["uniform", "erasure"])
def test_nearest_patches_of_tokens(channel):
    """By a loop over patches and sites; those of two symbols are the ones of spins."""
    t, rng = 0.4, np.random.default_rng(7)
    x_0 = CHAIN.sample(40, rng)
    x_t = channel.corrupt(x_0[:15], t, rng)
    answer = NearestPatch(x_0[:, None], channel, 1)(x_t[:, None], t)
    law = channel.output_law(t)
    for n, i in np.ndindex(15, 6):
        box, wanted = range(max(0, i - 1), min(6, i + 2)), np.zeros(3)
        for patch in x_0:
            wanted[patch[i]] += np.prod([law[int(x_t[n, j]), patch[j]] for j in box])
        assert answer.probabilities[n, 0, :, i] == pytest.approx(wanted / wanted.sum(), abs=1e-10)
    spins, tokens = (BitFlip(), Uniform(2)) if channel.name == "uniform" else (Erasure(), Erasure(2))
    x_0 = x_0.clip(max=1)[:, None].astype(float)
    x_t = tokens.corrupt(x_0, t, rng)
    as_spins = np.where(x_t == MASK, 0.0, 2 * x_t - 1)
    one, two = NearestPatch(x_0, tokens, 2)(x_t, t), NearestPatch(2 * x_0 - 1, spins, 2)(as_spins, t)
    assert 2 * one.mean - 1 == pytest.approx(two.mean, abs=1e-12)


test_refusals = refusals(
    (lambda: NearestPatch(CHAIN.sample(5, 1)[:, None] + 1, Uniform(3)), "x_0 must hold tokens, integers 0..2, got"),
    (lambda: LocalNet(1, ndim=1, head="categorical"), "head categorical takes noise of symbols"),
    (lambda: LocalNet(1, ndim=1, channel=Uniform(3)), "head categorical takes noise of symbols"),
    (lambda: ExactDenoiser(CHAIN, Erasure())(np.full((1, 1, 6), 3.0), 0.5), "x_t must hold only -1, 0, 1, 2 under"),
    (lambda: ExactDenoiser(CHAIN, ld.channels.BitFlip()), "tokens take erasure or uniform noise, got bitflip"),
    (
        lambda: ld.denoisers.fit(
            LocalNet(1, ndim=1, channel=Uniform(3), head="categorical"), np.full((5, 4), 3), steps=1, progress=False
        ),
        r"data must be tokens 0..2 for the channel Uniform",
    ),
)
