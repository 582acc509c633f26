"""Who screens whom among the values that erasure leaves: on chains exactly, and what the default finds by it."""

import numpy as np
import pytest

import lattice_diffusion as ld
from lattice_diffusion import estimators as est
from lattice_diffusion.estimators.screening import CONVERGED, gates_of, selected

DECAY = 0.8  # of correlations on a chain, by site


def chain(sites):
    return DECAY ** np.abs(np.subtract.outer(sites, sites))


def test_gates_of_a_chain_are_those_of_the_nearest_kept_sites():
    """a at 0, sites at -3 to 4: every other kept site is screened, whatever else is kept."""
    sites = np.array([-3, -2, -1, 1, 2, 3, 4])
    kept = np.random.default_rng(0).random((300, 7)) < 0.4
    m = DECAY ** np.abs(sites)
    gates = gates_of(kept, chain(sites) - np.outer(m, m), m)
    side = np.sign(sites)
    nearer = (side[:, None] == side) & (np.abs(sites)[:, None] > np.abs(sites))  # [i, j]: j is nearer than i
    assert gates == pytest.approx(1.0 * (kept & ~(kept @ nearer.T)), abs=1e-12)
    mutant = gates_of(kept, chain(sites), m)  # of correlations that are not given a
    assert np.abs(mutant - gates).max() > 0.3


def test_correlations_that_the_others_explain_are_set_to_that():
    """Those of a chain and of a site beside it, all but those of neighbours measured with noise."""
    error, rng = 0.02, np.random.default_rng(1)
    exact = np.zeros((10, 10))
    exact[:9, :9], exact[9, 9] = chain(np.arange(9)), 1.0
    noise = np.triu(rng.uniform(-error, error, (10, 10)), 2)
    found = selected(exact + noise + noise.T, np.full((10, 10), 9 * error**2))
    assert np.abs(noise).max() > 0.8 * error
    assert found == pytest.approx(exact, abs=2 * CONVERGED)


@pytest.mark.parametrize(
    ("model", "channel"),
    [
        (ld.models.PottsChain(ld.Lattice((16,)), coupling=3.0, q=3), ld.channels.Erasure(3)),
        (ld.models.IsingChain(ld.Lattice((16,)), 1.2), ld.channels.Erasure()),
    ],
    ids=["tokens", "spins"],
)
def test_far_values_that_tell_where_near_ones_are_masked(model, channel):
    """The linear law of plain values finds two thirds, five errors below; laws of half the samples are in the error."""
    t, parts = 0.6, model.lattice.tripartition((7,), radius=2)
    truth = ld.exact.cmi(model, channel, t, parts, n_samples=3000, rng=1)
    x_t = channel.corrupt(model.sample(12_000, np.random.default_rng(0)), t, np.random.default_rng(1))
    one = est.ConditionalLikelihood(folds=2, steps=0)
    found = one.fit(x_t, parts, channel=channel, t=t, rng=2).estimate()
    assert abs(found.value - truth.value) < 3 * np.hypot(found.stderr, truth.stderr)
    assert found.value > 8 * found.stderr
    statistical = est.base.mean_estimate(one.log_ratios_, np.arange(12_000), "").stderr
    assert found.stderr >= np.hypot(statistical, one.gain_to_come_) > statistical


def test_nothing_is_learned_twice_where_no_noise_masks():
    a, c, b = np.random.default_rng(3).standard_normal((3, 300))
    one = est.ConditionalLikelihood(folds=2, steps=0).fit(a + c, c, b, rng=0)
    assert one.gain_to_come_ == 0.0
