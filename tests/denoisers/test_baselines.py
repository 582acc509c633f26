"""Baselines from data alone: Wiener filters against exact Gaussian laws, patch posteriors against plain loops."""

import numpy as np
import pytest

import lattice_diffusion as ld
from lattice_diffusion.denoisers import ExactDenoiser, NearestPatch, WienerFilter

CHANNELS = {"bitflip": ld.channels.BitFlip(), "erasure": ld.channels.Erasure(), "gaussian": ld.channels.Gaussian()}


def data_with_covariance(C, shape):
    """Few samples whose mean is 0 and whose covariance is C, to rounding."""
    root = np.linalg.cholesky(C) * np.sqrt(len(C))
    return np.concatenate([root.T, -root.T]).reshape(-1, 1, *shape)


@pytest.mark.parametrize("radius", [0, 1, 2, None])
def test_the_wiener_filter_of_gaussian_data_is_exact(radius):
    model = ld.models.GaussianField(ld.Lattice((5, 4)), 0.3)
    channel, rng = CHANNELS["gaussian"], np.random.default_rng(0)
    x_0 = data_with_covariance(np.linalg.inv(model.solver.precision.toarray()), (5, 4))
    wiener, exact = WienerFilter(x_0, channel, radius), ExactDenoiser(model, channel, radius)
    for t in (0.0, 0.1, 0.6, 1.0):
        x_t = channel.corrupt(model.sample(3, rng), t, rng)[:, None]
        np.testing.assert_allclose(wiener(x_t, t).mean, exact(x_t, t).mean, rtol=0, atol=1e-10)
        np.testing.assert_allclose(wiener(x_t, t).variance, exact(x_t, t).variance, rtol=0, atol=1e-10)


def test_the_wiener_filter_knows_its_error_and_is_not_the_best_for_spins():
    model, channel, t = ld.models.Ising(ld.Lattice((6, 6)), 0.5), CHANNELS["gaussian"], 0.6
    rng = np.random.default_rng(1)
    wiener = WienerFilter(model.sample(2500, rng)[:, None], channel, 1)
    x_0 = model.sample(2500, rng)[:, None]
    x_t = channel.corrupt(x_0, t, rng)
    errors = [((d(x_t, t).mean - x_0) ** 2).mean(axis=(1, 2, 3)) for d in (wiener, ExactDenoiser(model, channel, 1))]
    excess = errors[0] - wiener(x_t, t).variance.mean(axis=(1, 2, 3))
    assert abs(excess.mean()) < 5 * np.sqrt(2) * excess.std() / np.sqrt(2500)  # both samples are finite
    gap = errors[0] - errors[1]
    assert gap.mean() > 5 * gap.std() / np.sqrt(2500)


def test_the_wiener_filter_of_two_channels_sees_both():
    channel, rng = CHANNELS["gaussian"], np.random.default_rng(2)
    x_0 = rng.standard_normal((400, 2, 4, 3))
    x_0[:, 1] = 0.8 * x_0[:, 0] + 0.6 * x_0[:, 1] + 0.4
    x_t = channel.corrupt(x_0[:3], 0.5, rng)
    answer = WienerFilter(x_0, channel, 1)(x_t, 0.5)
    alone = WienerFilter(x_0[:, 1:], channel, 1)(x_t[:, 1:], 0.5)
    assert np.all(answer.variance[0, 1] < alone.variance[0, 0])


def slow_patch_law(x_0, name, x, t, radius, periodic, everywhere, site):
    """Weights of all candidate centres (batch, m) and the centres (m, channel), one pixel and patch at a time."""
    shape = x_0.shape[2:]
    offsets = np.indices([2 * radius + 1] * len(shape)).reshape(len(shape), -1).T - radius

    def pixel(at):
        if periodic:
            return tuple(np.mod(at, shape))
        return tuple(at) if all(0 <= a < n for a, n in zip(at, shape, strict=True)) else None

    here = {tuple(o): pixel(np.add(site, o)) for o in offsets}
    logs, centres = [], []
    for item in x_0:
        for position in np.ndindex(*shape) if everywhere else [site]:
            there = {o: pixel(np.add(position, o)) for o in here}
            if any(here[o] is not None and there[o] is None for o in here):
                continue
            log = np.zeros(len(x))
            for c in range(x_0.shape[1]):
                for o in here:
                    if here[o] is None:
                        continue
                    seen, clean = x[(slice(None), c, *here[o])], item[(c, *there[o])]
                    if name == "gaussian":
                        log = log - 0.5 * ((seen - (1 - t) * clean) / t) ** 2
                    elif name == "bitflip":
                        log = log + np.log(np.where(seen == clean, 1 - t / 2, t / 2))
                    else:
                        log = log - 80.0 * ((seen != 0) & (seen != clean))
            logs.append(log)
            centres.append([item[(c, *position)] for c in range(x_0.shape[1])])
    weights = np.exp(np.array(logs) - np.max(logs, axis=0))
    return (weights / weights.sum(axis=0)).T, np.array(centres)


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("everywhere", [False, True])
def test_patch_posteriors_of_spins_by_plain_loops(name, periodic, everywhere):
    channel, t, rng = CHANNELS[name], 0.6, np.random.default_rng(3)
    x_0 = rng.choice([-1.0, 1.0], (7, 1, 4, 3))
    x_t = channel.corrupt(rng.choice([-1.0, 1.0], (5, 1, 4, 3)), t, rng)
    denoiser = NearestPatch(x_0, channel, 1, translation_invariant=everywhere, periodic=periodic)
    mean = denoiser(x_t, t).mean
    for site in np.ndindex(4, 3):
        weights, centres = slow_patch_law(x_0, name, x_t, t, 1, periodic, everywhere, site)
        np.testing.assert_allclose(mean[(slice(None), slice(None), *site)], weights @ centres, atol=1e-12)


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("chunk", [1 << 22, 300])
def test_patch_posteriors_of_real_data_by_plain_loops(everywhere, chunk, monkeypatch):
    """Mean and variance, whole or merged from pieces of the training set."""
    monkeypatch.setattr("lattice_diffusion.denoisers.baselines.CHUNK", chunk)
    monkeypatch.setattr("lattice_diffusion.denoisers.baselines.BATCH", 3)
    channel, t, rng = CHANNELS["gaussian"], 0.5, np.random.default_rng(4)
    x_0 = rng.standard_normal((9, 2, 3, 4))
    x_t = channel.corrupt(x_0[:5], t, rng)
    answer = NearestPatch(x_0, channel, 1, translation_invariant=everywhere)(x_t, t)
    for site in np.ndindex(3, 4):
        weights, centres = slow_patch_law(x_0, "gaussian", x_t, t, 1, False, everywhere, site)
        mean = weights @ centres
        np.testing.assert_allclose(answer.mean[(slice(None), slice(None), *site)], mean, atol=1e-12)
        variance = np.einsum("nm,nmc->nc", weights, (centres[None] - mean[:, None]) ** 2)
        np.testing.assert_allclose(answer.variance[(slice(None), slice(None), *site)], variance, atol=1e-12)


@pytest.mark.parametrize("name", CHANNELS)
def test_a_training_set_of_all_states_gives_the_exact_posterior(name):
    """Loops of 3x3 faces, each of the 256 states once; entries beyond the open edges hold nothing."""
    model, channel, rng = ld.models.DomainWalls((3, 3)), CHANNELS[name], np.random.default_rng(5)
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    faces = np.concatenate([np.ones((256, 1)), 1.0 - 2.0 * bits], axis=1).reshape(-1, 3, 3)
    x_0 = np.zeros((256, 2, 3, 3))
    x_0[:, 0, :, :-1] = faces[:, :, :-1] * faces[:, :, 1:]
    x_0[:, 1, :-1] = faces[:, :-1] * faces[:, 1:]
    x_t = channel.corrupt(model.sample(6, rng), 0.5, rng)
    answer, exact = NearestPatch(x_0, channel)(x_t, 0.5), ExactDenoiser(model, channel)(x_t, 0.5)
    np.testing.assert_allclose(answer.mean, exact.mean, atol=1e-12)


def test_what_does_not_fit():
    channel, x_0 = CHANNELS["gaussian"], np.random.default_rng(6).standard_normal((4, 1, 3, 3))
    for make in (WienerFilter, NearestPatch):
        with pytest.raises(ValueError, match=r"x_0 must have shape \(n, channel, \*lattice\), got \(4, 3\)"):
            make(x_0[:, 0, 0], channel)
        with pytest.raises(ValueError, match="x_0 must be finite, got nan"):
            make(x_0 * np.nan, channel)
        with pytest.raises(ValueError, match="real-valued data take the gaussian channel, got bitflip"):
            make(x_0, CHANNELS["bitflip"])
        with pytest.raises(ValueError, match="radius must be an integer >= 0"):
            make(x_0, channel, -2)
    with pytest.raises(ValueError, match="x_0 must hold at least 2 samples, got 1"):
        WienerFilter(x_0[:1], channel)
    with pytest.raises(ValueError, match="t must be > 0 for patches of real data"):
        NearestPatch(x_0, channel, 1)(x_0, 0.0)
