"""A model, a channel and an estimator in a file of the user's own go everywhere that ours go, as file.py:Class."""

import json
import os
from pathlib import Path

import enumeration
import numpy as np
import pytest

import lattice_diffusion as ld

SOURCE = '''
"""Spins with a coupling of its own along each axis, and flips that prefer one sign."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import lattice_diffusion as ld
from lattice_diffusion.exact.ising import TransferMatrix


@dataclass(frozen=True)
class AnisotropicIsing(ld.models.OnLattice):
    """p_0(s) ~ exp(down sum s_ij s_i+1,j + right sum s_ij s_i,j+1) on an open grid."""

    name = "anisotropic-ising"
    dimension = 2
    lattice: ld.Lattice
    right: float
    down: float = 0.3

    @cached_property
    def solver(self):
        L, W = self.lattice.shape
        return TransferMatrix(np.full((L, W - 1), self.right), np.full((L - 1, W), self.down))

    def sample(self, n_samples, rng=None):
        return self.solver.sample(n_samples, np.random.default_rng(rng))


@dataclass(frozen=True)
class AsymmetricFlips:
    """With probability t a spin is drawn anew: -1 with probability `bias`."""

    name = "asymmetric-flips"
    bias: float = 0.7

    def law(self, t):
        """p(x_t|s), rows x = -1, +1 and columns s = -1, +1; between times it has the share of t that is new."""
        fresh = np.array([[self.bias], [1 - self.bias]])
        return (1 - t) * np.eye(2) + t * fresh

    def snr(self, t):
        return (1 - t) / t if t > 0 else np.inf

    def time(self, snr):
        return 1 / (1 + snr)

    def corrupt(self, x_0, t, rng):
        fresh = np.where(rng.random(x_0.shape) < self.bias, -1.0, 1.0)
        return np.where(rng.random(x_0.shape) < t, fresh, x_0)

    def add_noise(self, x_s, s, t, rng):
        return self.corrupt(x_s, (t - s) / (1 - s) if s < t else 0.0, rng)

    def bridge(self, x_t, x_0, t, s, rng):
        early, between = self.law(s), self.law((t - s) / (1 - s) if s < t else 0.0)
        now, clean = (np.asarray(x) > 0 for x in (x_t, x_0))
        weights = [early[k][clean.astype(int)] * between[:, k][now.astype(int)] for k in (0, 1)]
        return np.where(rng.random(now.shape) * (weights[0] + weights[1]) < weights[0], -1.0, 1.0)

    def likelihood_field(self, x_t, t):
        with np.errstate(divide="ignore"):
            log = np.log(self.law(t))
        return np.where(np.asarray(x_t) > 0, *(0.5 * (log[k, 1] - log[k, 0]) for k in (1, 0)))

    def peak_log_likelihood(self, x_t, t):
        return np.where(np.asarray(x_t) > 0, *(np.log(self.law(t)[k].max()) for k in (1, 0)))

    def output_law(self, t):
        return self.law(t)[:, ::-1]


class Nothing(ld.estimators.Estimator):
    """Nothing is to be known: the estimate that any other must beat."""

    name = "nothing"

    def _log_ratios(self, train, test, rng):
        return np.zeros(len(test)) + 1e-9 * rng.standard_normal(len(test))
'''
SPEC = """
t = [0.2, 0.5]
radii = [1]
n_samples = 20
model = { name = "theirs.py:AnisotropicIsing", shape = [4, 3], right = [0.2, 0.5] }
channel = { name = "theirs.py:AsymmetricFlips", bias = 0.6 }
"""
SHAPE = (4, 3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(SOURCE)
    (tmp_path / "spec.toml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(folder):
    return ld.models.find("theirs.py:AnisotropicIsing")(ld.Lattice(SHAPE), right=0.5, down=0.2)


@pytest.fixture
def channel(folder):
    return ld.channels.find("theirs.py:AsymmetricFlips")(bias=0.8)


def noisy_law(channel, t):
    """The law of all noisy spins, (2,) * 12, by enumeration."""
    states = enumeration.all_states(12).reshape(-1, *SHAPE)
    energy = 0.5 * (states[:, :, 1:] * states[:, :, :-1]).sum((1, 2))
    energy = energy + 0.2 * (states[:, 1:] * states[:, :-1]).sum((1, 2))
    law = np.exp(energy).reshape((2,) * 12)
    return enumeration.noisy_law(law / law.sum(), channel.law(t))


def test_exact_answers_are_those_of_enumeration(model, channel):
    law = noisy_law(channel, 0.3)
    parts = model.tripartition(1, center=(1, 1))
    found = ld.exact.cmi(model, channel, 0.3, parts, 4000, 1)
    assert abs(found.z_score(enumeration.cmi(law, parts.A, parts.B, parts.C))) < 5
    x = np.array([[[1, -1, 1], [1, 1, 1], [-1, -1, 1], [1, 1, -1]]])
    everything = np.ones(SHAPE, bool)
    at = tuple((x[0].ravel() > 0).astype(int))
    assert ld.exact.log_marginal(model, channel, 0.3, x, everything)[0] == pytest.approx(np.log(law[at]), abs=1e-10)
    denoised = ld.denoisers.ExactDenoiser(model, channel)(x[:, None], 0.3).mean
    assert denoised[:, 0] == pytest.approx(ld.exact.posterior_mean(model, channel, 0.3, x, everything), abs=1e-10)
    assert ld.exact.cmi_map(model, channel, [0.3, 1.0], [0, 1], 20, 2).cmi.shape == (2, 2)


def test_samples_have_the_noisy_law(model, channel):
    rng, n = np.random.default_rng(5), 20_000
    x_0 = model.sample(n, rng)
    x_s = channel.corrupt(x_0, 0.2, rng)
    x_t = channel.add_noise(x_s, 0.2, 0.6, rng)
    back = channel.bridge(x_t, x_0, 0.6, 0.2, rng)
    for x, t in ((x_0, 0.0), (x_s, 0.2), (x_t, 0.6), (back, 0.2)):
        pair = noisy_law(channel, t).sum(axis=tuple(range(2, 12)))
        hits = ((x[:, 0, 0] > 0) & (x[:, 0, 1] < 0)).mean()
        assert abs(hits - pair[1, 0]) < 5 * np.sqrt(pair[1, 0] * (1 - pair[1, 0]) / n)


def test_networks_learn_and_states_are_generated(model, channel):
    net = ld.denoisers.LocalNet(radius=1, channel=channel, width=8)
    exact = ld.denoisers.ExactDenoiser(model, channel, 1)
    records = ld.denoisers.fit(net, model.sample, rng=3, steps=120, batch_size=64, progress=False)
    assert np.mean([r.loss for r in records[-20:]]) < np.mean([r.loss for r in records[:5]])
    x_t = channel.corrupt(model.sample(500, 4), 0.4, np.random.default_rng(4))[:, None]
    gap = np.sqrt(np.mean((np.asarray(net(x_t, 0.4).mean) - exact(x_t, 0.4).mean) ** 2))
    field = np.tanh(channel.likelihood_field(x_t, 0.4))  # what is known of a spin alone
    assert gap < np.sqrt(np.mean((field - exact(x_t, 0.4).mean) ** 2))
    start = ld.denoisers.pure_noise((400, 1, *SHAPE), channel, 1.0, np.random.default_rng(6))
    schedule = ld.denoisers.always(ld.denoisers.ExactDenoiser(model, channel))
    x = ld.denoisers.reverse(start, np.linspace(1.0, 0.0, 21), schedule, channel, np.random.default_rng(7))
    pair = noisy_law(channel, 0.0).sum(axis=tuple(range(2, 12)))
    assert abs((x[:, 0, 0, 0] * x[:, 0, 0, 1]).mean() - 2 * np.trace(pair) + 1) < 5 / 20


def test_estimators_tell_the_information(model, channel):
    parts = model.tripartition(1, center=(1, 1))
    x_t = channel.corrupt(model.sample(1500, 8), 0.1, np.random.default_rng(8))
    estimator = ld.estimators.ConditionalLikelihood()
    found = estimator.fit(x_t, parts, channel=channel, t=0.1, rng=np.random.default_rng(9)).estimate()
    truth = ld.exact.cmi(model, channel, 0.1, parts, 4000, 10).value
    assert abs(found.value - truth) < 5 * found.stderr + 0.01


def test_the_command_line_measures_draws_and_plots_them(folder, shell):
    line = "--model theirs.py:AnisotropicIsing --shape 4x3 --set right=0.5 "
    noise = "--channel theirs.py:AsymmetricFlips --t 0.3"
    answer = json.loads(shell(f"cmi {line} {noise} --radius 1 --samples 50 --json")[1])
    kind, noise = ld.models.find("theirs.py:AnisotropicIsing"), ld.channels.find("theirs.py:AsymmetricFlips")
    theirs = kind(ld.Lattice(SHAPE), right=0.5)
    assert answer["value"] == ld.exact.cmi(theirs, noise(), 0.3, theirs.tripartition(1), 50, 0).value > 0
    assert answer["parameters"]["model"]["right"] == 0.5
    shell(f"sample {line} --n-samples 10 --out x.h5")
    assert ld.load("x.h5")["samples"]["samples"].shape == (10, *SHAPE)
    shell("run spec.toml --out a.h5 --workers 1")
    grid = ld.load("a.h5")["grid"]
    assert dict(grid.cmi.sizes) == {"right": 2, "t": 2, "radius": 1}
    assert (grid.cmi > 0).all()
    shell("plot a.h5 --out a.png")
    assert os.path.getsize("a.png") > 0


def test_an_estimator_of_their_own_goes_on_trial(folder, shell):
    line = "benchmark estimators --estimators theirs.py:Nothing --tasks field-massive --n-samples 200 --seeds 2"
    assert "othing" in shell(f"{line} --out rows.jsonl")[1]
    rows = [json.loads(row) for row in Path("rows.jsonl").read_text().splitlines()]
    assert [row["success"] for row in rows] == [True, True]
    assert all(abs(row["mi_estimate"]) < 1e-9 for row in rows)
