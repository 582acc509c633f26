"""Streams, parallel chains and diagnostics: one machinery, the same samples however they are asked for."""

import functools
import itertools
import pickle
import types

import enumeration
import numpy as np
import pytest
import torch
from enumeration import p_value
from refusals import refusals
from scipy.signal import lfilter
from torch.utils.data import DataLoader

import lattice_diffusion as ld
from lattice_diffusion.samplers import (
    CorrelatedError,
    diagnostics,
    ising,
    ising_with_diagnostics,
    mser,
    stream,
    torch_dataset,
    training_data,
)

TORUS = ld.Lattice((3, 4), periodic=True)
CHAINS = ("swendsen_wang", "wolff", "heat_bath", "multispin")
METHODS = (*CHAINS, "coupling_from_the_past")


# -- streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_stream_is_one_chain_cut_into_batches(method):
    how = {} if method == "coupling_from_the_past" else {"burn_in": 7, "thin": 2}
    whole = ising(TORUS, 0.3, 210, np.random.default_rng(1), method, **how)
    for size in (1, 7, 70):
        batches = itertools.islice(stream(TORUS, 0.3, size, np.random.default_rng(1), method, **how), 210 // size)
        assert np.array_equal(np.concatenate(list(batches)), whole)


@pytest.mark.parametrize("method", [*METHODS, "transfer_matrix"])
def test_streams_follow_the_law_of_all_states(method):
    lattice = ld.Lattice((3, 3)) if method == "transfer_matrix" else ld.Lattice((3, 3), (True, False))
    how = {} if method in ("coupling_from_the_past", "transfer_matrix") else {"burn_in": 50, "thin": 12}
    batches = stream(lattice, 0.4, 1000, np.random.default_rng(2), method, **how)
    samples = np.concatenate(list(itertools.islice(batches, 20)))
    assert p_value(samples, enumeration.ising_law((3, 3), lattice.periodic, 0.4)) > 1e-4
    assert p_value(samples, enumeration.ising_law((3, 3), lattice.periodic, 0.44)) < 1e-4


def in_field(law, h):
    states = enumeration.all_states(law.ndim)
    tilted = law.ravel() * np.exp(states @ np.broadcast_to(h, (3, 3)).ravel())
    return (tilted / tilted.sum()).reshape(law.shape)


@pytest.mark.parametrize("method", ["auto", "swendsen_wang", "heat_bath", "coupling_from_the_past"])
@pytest.mark.parametrize("h", [0.2, np.linspace(-0.6, 0.7, 9).reshape(3, 3)], ids=["uniform", "by site"])
def test_fields_reach_the_methods_that_take_them(method, h):
    lattice = ld.Lattice((3, 3), (True, False))
    how = {} if method == "coupling_from_the_past" else {"burn_in": 50, "thin": 8}
    samples = ising(lattice, 0.4, 20_000, np.random.default_rng(3), method, field=h, **how)
    law = enumeration.ising_law((3, 3), lattice.periodic, 0.4)
    assert p_value(samples, in_field(law, h)) > 1e-4
    assert p_value(samples, in_field(law, 1.3 * h)) < 1e-4


# -- parallel chains -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_workers_do_not_change_the_samples(method):
    draws = [
        ising(TORUS, 0.3, 101, np.random.default_rng(4), method, chains=5, workers=workers) for workers in (1, 2, 5)
    ]
    assert draws[0].shape == (101, 3, 4)
    assert np.array_equal(draws[0], draws[1])
    assert np.array_equal(draws[0], draws[2])
    assert len(np.unique(draws[0][::20].reshape(-1, 12), axis=0)) > 1


def test_chains_are_the_spawned_ones_one_after_the_other():
    whole = ising(TORUS, 0.3, 20, np.random.default_rng(5), chains=2)
    first, second = (ising(TORUS, 0.3, 10, rng) for rng in np.random.default_rng(5).spawn(2))
    assert np.array_equal(whole, np.concatenate([first, second]))


# -- diagnostics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", CHAINS)
def test_diagnostics_tell_correlated_from_independent(method):
    lattice = ld.Lattice((8, 8), periodic=True)
    n = 25_600 if method == "multispin" else 4096  # shared by 64 replicas
    run = functools.partial(ising_with_diagnostics, lattice, 0.4, n, method=method, chains=2)
    spins, tight = run(rng=np.random.default_rng(6), burn_in=400, thin=1)
    assert spins.shape == (n, 8, 8)
    assert (tight.method, tight.thin, tight.burn_in, tight.perfect) == (method, 1, 400, False)
    assert tight.n_chains == (128 if method == "multispin" else 2)
    assert not tight.independent
    assert tight.tau.tau > 1 + 3 * tight.tau.error
    assert tight.effective_samples == pytest.approx(n / tight.tau.tau)
    # the thin that it advises is enough
    due = int(tight.advice.rsplit("use thin = ", 1)[1])
    _, loose = run(rng=np.random.default_rng(7), burn_in=400, thin=due)
    assert loose.independent, loose
    assert loose.advice == "the samples are independent"


def test_independent_samples_or_none():
    lattice, rng = ld.Lattice((8, 8), periodic=True), np.random.default_rng(8)
    with pytest.raises(CorrelatedError, match=r"heat_bath with thin = 1 are correlated, tau = .* use thin = \d+"):
        ising(lattice, 0.4, 3000, rng, "heat_bath", burn_in=100, thin=1, independent=True)
    with pytest.raises(CorrelatedError, match=r"100 samples of wolff are too few to tell.* use a perfect method: tran"):
        ising(lattice, 0.4, 100, rng, "wolff", independent=True)
    with pytest.raises(CorrelatedError, match=r"too few to tell: the mode energy never changes"):
        ising(lattice, 3.0, 1000, rng, "heat_bath", burn_in=1000, thin=1, independent=True)
    assert ising(lattice, 0.4, 1000, rng, "wolff", thin=200, independent=True).shape == (1000, 8, 8)
    assert ising(ld.Lattice((8, 8)), 0.4, 5, rng, independent=True).shape == (5, 8, 8)


COLD, WEAK = ld.Lattice((8, 8), periodic=True), ld.Lattice((4, 4), periodic=True)
STRIPES = np.repeat([0.05, -0.05], 8).reshape(4, 4)


def weak_law(field):
    law = enumeration.ising_law((4, 4), (True, True), 0.8).ravel()
    tilted = law * np.exp(enumeration.all_states(16) @ np.broadcast_to(field, (4, 4)).ravel())
    return tilted / tilted.sum()


@pytest.mark.parametrize("thin", [1, 2, 3, 4])
def test_wolff_gives_a_fair_sign_near_saturation(thin):
    """Every cluster is the lattice: without a coin an even thin freezes the sign and an odd one alternates it."""
    signs = np.sign(ising(COLD, 1.0, 2000, np.random.default_rng(2), "wolff", thin=thin).mean(axis=(1, 2)))
    assert abs(signs.mean()) < 5 / np.sqrt(2000)
    assert abs((signs[1:] * signs[:-1]).mean()) < 5 / np.sqrt(2000)


@pytest.mark.parametrize("field", [0.01, np.full((4, 4), 0.01), STRIPES], ids=["number", "array", "two signs"])
def test_a_field_in_an_ordered_ferromagnet_goes_to_a_method_that_mixes(field):
    law, states = weak_law(field), enumeration.all_states(16)
    spins, found = ising_with_diagnostics(WEAK, 0.8, 4000, np.random.default_rng(15), field=field, thin=20)
    m = spins.reshape(4000, -1).mean(axis=1)
    assert found.independent, found.advice
    exact = law @ states.mean(axis=1)
    assert abs(m.mean() - exact) < 5 / np.sqrt(4000)
    overlap = spins[:, :2].mean(axis=(1, 2)) - spins[:, 2:].mean(axis=(1, 2))
    exact = law @ (states[:, :8].mean(axis=1) - states[:, 8:].mean(axis=1))
    assert abs(overlap.mean() - exact) < 5 * max(overlap.std(), 0.05) / np.sqrt(4000)


@pytest.mark.parametrize(
    ("lattice", "beta", "n", "method", "how"),
    [
        (WEAK, 0.8, 2000, "heat_bath", {"field": np.full((4, 4), 0.01)}),  # one sign of the whole lattice
        (WEAK, 0.8, 2000, "heat_bath", {"field": STRIPES}),
        (COLD, 0.8, 2000, "heat_bath", {"field": 0.05, "thin": 50}),
        (ld.Lattice((16, 16), True), 2.0, 1000, "heat_bath", {"burn_in": 300, "thin": 20, "seed": 5}),  # a stripe
    ],
)
def test_a_frozen_mode_is_never_called_independent(lattice, beta, n, method, how):
    how = dict(how)
    rng = np.random.default_rng(how.pop("seed", 16))
    with pytest.raises(CorrelatedError, match=r"not those of a chain that mixes|too few to tell|are correlated"):
        ising(lattice, beta, n, rng, method, **how, independent=True)


def test_alternating_samples_are_not_independent():
    """An AR(1) of coefficient -0.9 has tau = 0.05: fine means, but each sample tells the next."""
    x = lfilter([1.0], [1.0, 0.9], np.random.default_rng(18).normal(size=5000))
    assert not diagnostics._is_one(ld.samplers.integrated_autocorrelation_time(x))
    assert diagnostics._is_one(ld.samplers.integrated_autocorrelation_time(np.random.default_rng(19).normal(size=5000)))


def test_advice_does_not_contradict_its_numbers():
    _, found = ising_with_diagnostics(COLD, 2.0, 1500, np.random.default_rng(20), "wolff")
    assert not found.independent
    assert "1500 samples of wolff are too few to tell: the mode energy never changes" in found.advice
    assert "400" not in found.advice


def test_perfect_samples_are_independent_by_construction():
    _, found = ising_with_diagnostics(ld.Lattice((5, 4)), 0.4, 50, np.random.default_rng(9))
    assert (found.method, found.independent, found.effective_samples) == ("transfer_matrix", True, 50)
    assert (found.burn_in, found.acceptance) == (None, None)


def test_acceptance_is_the_exact_flip_rate():
    """E 1/(1 + exp(2 s_i (beta sum_j s_j + h))) over all states; mean square magnetisation for clusters."""
    lattice, beta, h = ld.Lattice((3, 3), (True, False)), 0.4, 0.3
    law = enumeration.ising_law((3, 3), lattice.periodic, beta).ravel()
    states = enumeration.all_states(9)
    adjacency = np.zeros((9, 9))
    for i, j in lattice.bonds:
        adjacency[i, j] += 1
        adjacency[j, i] += 1

    def rate(law, field):
        return law @ (1 / (1 + np.exp(2 * states * (beta * states @ adjacency + field)))).mean(axis=1)

    rng = np.random.default_rng(10)
    for method in ("heat_bath", "multispin"):
        _, found = ising_with_diagnostics(lattice, beta, 20_000, rng, method, thin=10)
        assert found.acceptance == pytest.approx(rate(law, 0.0), abs=5 * 0.15 / np.sqrt(20_000))
    _, found = ising_with_diagnostics(lattice, beta, 20_000, rng, "heat_bath", field=h, thin=10)
    tilted = law * np.exp(h * states.sum(axis=1))
    assert found.acceptance == pytest.approx(rate(tilted / tilted.sum(), h), abs=5 * 0.15 / np.sqrt(20_000))
    for method in ("swendsen_wang", "wolff"):
        _, found = ising_with_diagnostics(lattice, beta, 20_000, rng, method, thin=10)
        assert found.acceptance == pytest.approx(law @ states.mean(axis=1) ** 2, abs=5 * 0.35 / np.sqrt(20_000))


def test_mser_finds_where_a_transient_ends():
    rng = np.random.default_rng(11)
    noise = lfilter([1.0], [1.0, -0.5], rng.normal(size=(50, 2000)), axis=1)
    transient = 20.0 * np.exp(-np.arange(2000) / 60.0)
    cuts = np.array([mser(x + transient) for x in noise])
    assert 120 < np.median(cuts) < 500
    assert np.median([mser(x) for x in noise]) < 300
    assert mser(np.r_[np.full(15, 9.0), np.zeros(85)]) == 15
    assert mser(np.stack([np.r_[np.full(15, 9.0), np.zeros(85)]] * 2)) == 15


def test_mser_is_the_plain_minimum():
    x = np.random.default_rng(12).normal(size=103) + np.r_[np.full(20, 2.0), np.zeros(83)]
    means = x[:100].reshape(20, 5).mean(axis=1)
    plain = [np.sum((means[d:] - means[d:].mean()) ** 2) / (20 - d) ** 2 for d in range(11)]
    assert mser(x) == 5 * int(np.argmin(plain))


def test_burn_in_advised_from_a_cold_quench():
    """From random spins a heat bath at beta = 0.7 first grows domains: MSER leaves that out."""
    lattice = ld.Lattice((24, 24), periodic=True)
    _, found = ising_with_diagnostics(lattice, 0.7, 2000, np.random.default_rng(13), "heat_bath", burn_in=0, thin=1)
    assert found.burn_in_mser >= 10


# -- torch ---------------------------------------------------------------------------------------------------------


def test_batches_are_the_same_for_any_number_of_workers(monkeypatch):
    """The workers are played in this process: how a loader's own processes end is not what is tested."""
    model = ld.models.Ising(ld.Lattice((4, 3)), 0.4)
    data = torch_dataset(model, 16, rng=3)

    def first(n_workers):
        batches = []
        for worker in range(n_workers):
            info = types.SimpleNamespace(id=worker, num_workers=n_workers)
            monkeypatch.setattr(training_data, "get_worker_info", lambda info=info: info)
            batches.append(list(itertools.islice(pickle.loads(pickle.dumps(data)), 6 // n_workers)))
        return torch.stack([batch for turn in zip(*batches, strict=True) for batch in turn])

    alone = torch.stack(list(itertools.islice(DataLoader(data, batch_size=None), 6)))
    assert alone.shape == (6, 16, 1, 4, 3)
    assert alone.dtype == torch.float32
    assert torch.equal(alone, first(2))
    assert torch.equal(alone, first(3))
    assert not torch.equal(alone[0], alone[1])
    child = np.random.default_rng(np.random.SeedSequence(3).spawn(5)[4])
    assert np.array_equal(alone[4, :, 0].numpy(), model.sample(16, child))


def test_data_sets_take_functions_and_data_with_channels():
    walls = next(iter(torch_dataset(ld.models.DomainWalls((3, 4)), 6, rng=1, add_channel=False)))
    assert walls.shape == (6, 2, 3, 4)
    fields = next(iter(torch_dataset(lambda n, rng: ld.samplers.gaussian_field(ld.Lattice(7), 1.0, n, rng), 6, rng=1)))
    assert fields.shape == (6, 1, 7)
    with pytest.raises(ValueError, match=r"source must be a model with .sample or a function draw"):
        torch_dataset(3.0, 6, rng=1)
    with pytest.raises(ValueError, match="batch_size must be a positive integer, got 0"):
        torch_dataset(ld.models.DomainWalls((3, 4)), 0, rng=1)


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((TORUS, 0.3, 5), {"method": "multispn"}, "method must be one of auto, transfer_matrix, swendsen_wang, wolff"),
        ((TORUS, 0.3, 5), {"method": "multispin", "field": 0.1}, "'multispin' takes no field; in a field use auto or"),
        ((ld.Lattice(5), 0.3, 5), {"method": "transfer_matrix", "field": 0.1}, "the transfer matrix needs a 2D"),
        ((TORUS, 0.3, 5), {"field": np.ones(3)}, r"field must be one number or an array of shape \(3, 4\)"),
        ((TORUS, np.inf, 5), {"method": "multispin"}, "beta must be finite and >= 0, got inf"),
        ((ld.Lattice((4, 4, 4)), 0.3, 5), {"method": "multispin"}, "multi-spin coding takes 2D lattices"),
        ((TORUS, 0.3, 5), {"method": "multispin", "thin": 0}, "burn_in must be >= 0 and thin >= 1"),
        ((TORUS, 0.3, 10**15), {}, "n_samples is too large: it needs about"),
        ((TORUS, 0.3, 5), {"chains": 0}, "chains must be between 1 and n_samples = 5, got 0"),
        ((TORUS, 0.3, 5), {"workers": 0}, "workers must be >= 1, got 0"),
    ],
)
def test_refusals(arguments, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        ising(*arguments, np.random.default_rng(0), **options)
    if not {"chains", "workers"} & set(options) and arguments[2] == 5:
        with pytest.raises(ValueError, match=sentence):  # at the call, not at the first batch
            stream(*arguments, np.random.default_rng(0), **options)


test_other_refusals = refusals(
    (lambda: stream(TORUS, 0.3, 0, np.random.default_rng(0)), "batch_size must be a positive integer, got 0"),
    (lambda: ld.samplers.multispin_chain(TORUS, 0.3, 0, np.random.default_rng(0), n_replicas=10**13), "too large"),
    (lambda: mser(np.arange(9.0)), "at least 10 steps, got 9"),
    (lambda: ld.samplers.isnig, "no attribute 'isnig'"),
    error=(ValueError, AttributeError),
)


def test_one_site_lattices_are_fair_coins():
    spins = ising(ld.Lattice((1, 1)), 0.3, 10_000, np.random.default_rng(14))
    assert abs(spins.sum(dtype=int)) < 5 * 100
