"""The random hierarchy model against the sum over all trees, and the recursions of belief against sampled rules."""

import itertools
import math

import numpy as np
import pytest
from enumeration import cmi, noisy_law, p_value, token_matrix
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.channels import Erasure, Uniform
from lattice_diffusion.exact.hierarchy import draw_rules, parent_belief
from lattice_diffusion.kernels.mixtures import block_divergence
from lattice_diffusion.models import RandomHierarchy

MODELS = {
    "v=2 s=3": (RandomHierarchy(2, 3, 2, 2, rules=4), 0),
    "v=3 s=2": (RandomHierarchy(2, 2, 3, 2, rules=1), 3),
    "v=4 s=2": (RandomHierarchy(2, 2, 4, 2, rules=2), 1),
    "v=2 d=3": (RandomHierarchy(3, 2, 2, 1, rules=3), 7),
}


def all_trees(model):
    """Yield (symbols of every level, probability) of every way to write the root down to the leaves."""
    v, m = model.vocabulary, model.synonyms
    trees = [([[a]], 1 / v) for a in range(v)]
    for level in range(model.depth):
        grown = []
        for levels, p in trees:
            for choice in itertools.product(range(m), repeat=len(levels[-1])):
                below = [b for a, r in zip(levels[-1], choice, strict=True) for b in model.rules[level, a, r]]
                grown.append(([*levels, below], p / m ** len(choice)))
        trees = grown
    return trees


def clean_law(model):
    law = np.zeros((model.q,) * model.lattice.n_sites)
    for levels, p in all_trees(model):
        law[tuple(levels[-1])] += p
    return law


@pytest.mark.parametrize("kind", [Uniform, Erasure])
@pytest.mark.parametrize("key", MODELS)
def test_against_all_trees(key, kind):
    (model, site), t, rng = MODELS[key], 0.4, np.random.default_rng(8)
    channel, q, n = kind(), model.q, model.lattice.n_sites
    x_t = kind(q).corrupt(model.sample(60, rng), t, rng)
    region = np.arange(n) != (site + 1) % n
    likelihood = token_matrix(channel.name, t, q)[0][x_t.astype(int)]  # a mask, -1, is the last row
    likelihood[:, ~region] = 1.0
    joint = [np.zeros((60, model.branching**level, q)) for level in range(model.depth + 1)]
    evidence = np.zeros(60)
    for levels, p in all_trees(model):
        weight = p * likelihood[:, np.arange(n), levels[-1]].prod(axis=1)
        evidence += weight
        for level, symbols in enumerate(levels):
            joint[level][:, np.arange(len(symbols)), symbols] += weight[:, None]
    found = ld.exact.log_marginal(model, channel, t, x_t, region)
    assert found == pytest.approx(np.log(evidence), abs=1e-10)
    weights = np.where(region[:, None], kind(q).likelihoods(x_t, t), 1.0)
    for level, law in enumerate(joint):
        assert model.solver.beliefs(weights, level) == pytest.approx(law / evidence[:, None, None], abs=1e-10)
    means = ld.exact.posterior_mean(model, channel, t, x_t, region)
    assert means == pytest.approx(joint[-1] / evidence[:, None, None], abs=1e-10)
    other = model.rules.copy()
    other[0] = np.roll(other[0], 1, axis=0)
    mutant = RandomHierarchy(model.depth, model.branching, q, model.synonyms, other)
    assert np.abs(mutant.solver.beliefs(weights, 0) - joint[0] / evidence[:, None, None]).max() > 1e-3


@pytest.mark.parametrize("subtree", [False, True])
@pytest.mark.parametrize("kind", [Uniform, Erasure])
@pytest.mark.parametrize("key", MODELS)
def test_information_against_all_states(key, kind, subtree):
    (model, site), t = MODELS[key], 0.3
    channel, solver, q = kind(model.q), model.solver, model.q
    parts = model.tripartition(1, center=(site,), subtree=subtree)
    matrix, values = token_matrix(channel.name, t, q)
    noisy = noisy_law(clean_law(model), matrix)
    truth = cmi(noisy, parts.A, parts.B, parts.C)
    p = noisy.sum(axis=site, keepdims=True)
    outcomes = np.argwhere(p > 0)
    x_t = values[outcomes]
    laws = [solver.block_posterior(solver.seen(channel, t, x_t, R), np.array([site])) for R in (parts.BC, parts.B)]
    out = np.empty(len(x_t))
    block_divergence(*laws, channel.output_law(t), np.random.default_rng(0), out)
    assert out @ p[p > 0] == pytest.approx(truth, abs=1e-10)
    estimate = ld.exact.cmi(model, channel, t, parts, 300, 6)
    assert abs(estimate.z_score(truth)) < 5


def test_a_pair_of_leaves_and_boxes():
    model, channel, t = MODELS["v=3 s=2"][0], Erasure(3), 0.3
    parts = ld.lattice.Tripartition(*np.array([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], bool))
    truth = cmi(noisy_law(clean_law(model), token_matrix("erasure", t, 3)[0]), parts.A, parts.B, parts.C)
    assert abs(ld.exact.cmi(model, channel, t, parts, 4000, 7).z_score(truth)) < 5


def test_samples_are_perfect():
    for key in ("v=3 s=2", "v=2 s=3"):
        model, _ = MODELS[key]
        assert p_value(model.sample(20000, 5), clean_law(model), model.q) > 1e-4


def test_belief_recursion_against_sampled_rules():
    """Numerator and denominator of g, averaged over rules, from the definition; a mutant of f fails."""
    v, m, s, p, n = 4, 3, 2, 0.6, 4000
    rng, found = np.random.default_rng(17), np.empty((n, 2))
    for k in range(n):
        rules = draw_rules(1, s, v, m, rng)[0]
        weights = np.ones((v, m))
        for j in range(s):
            told = np.full(v, (1 - p) / (v - 1))
            told[rules[0, 0, j]] = p
            weights = weights * told[rules[:, :, j]]
        found[k] = weights[0].sum(), weights.sum()
    x = p**s
    f, c = (m * v - 1) / (v**s - 1), (m - 1) / (v**s - 1)
    error = found.std(axis=0) / math.sqrt(n)
    assert np.all(np.abs(found.mean(axis=0) - [x + c * (1 - x), x + f * (1 - x)]) < 5 * error)
    assert abs(found[:, 1].mean() - (x + m / v ** (s - 1) * (1 - x))) > 5 * error[1]  # f = m v / v^s
    assert parent_belief(x, v, m, s) == pytest.approx((x + c * (1 - x)) / (x + f * (1 - x)))
    assert parent_belief(1.0, v, m, s) == 1.0
    assert parent_belief(v**-s, v, m, s) == pytest.approx(1 / v)  # knowing nothing of the children


def test_transitions():
    model = RandomHierarchy(3, 2, 32, 8)
    found = model.mean_belief_transition()
    assert found.time == pytest.approx(0.7312, abs=5e-5)
    p = 1 - found.time + found.time / 32
    f = (8 * 32 - 1) / (32**2 - 1)
    assert (p**2 + f * 7 * (1 - p**2) / 255) / (p**2 + f * (1 - p**2)) == pytest.approx(p, abs=1e-12)
    assert RandomHierarchy(3, 2, 4, 4).mean_belief_transition() is None  # every tuple is a rule: p = 1 is not stable


@pytest.mark.slow
def test_transition_of_noise_against_belief_propagation():
    """The root's entropy falls with depth below the predicted time, and grows above it; 0.7312 is far off."""
    for channel, t_star in ((Erasure(32), 0.2715), (Uniform(32), 0.162)):
        assert RandomHierarchy(3, 2, 32, 8).transition(channel).time == pytest.approx(t_star, abs=2e-3)
        for t, sign in ((0.75 * t_star, -1), (1.3 * t_star, 1), (0.7312, 1)):
            entropies = [
                [RandomHierarchy(d, 2, 32, 8, rules=k).solver.root_entropy(channel, t, 40, k) for k in range(8)]
                for d in (5, 9)
            ]
            means = [np.mean([e.value for e in row]) for row in entropies]
            errors = [np.std([e.value for e in row]) / math.sqrt(8) for row in entropies]
            lost = t > 0.7 and means[0] > 0.99 * math.log(32)
            assert lost or sign * (means[1] - means[0]) > 3 * math.hypot(*errors)


TREE = RandomHierarchy(2, 2, 3, 2)
IMPOSSIBLE = np.argwhere(clean_law(TREE) == 0)[:1]
ALL = np.ones(4, bool)


test_refusals = refusals(
    (lambda: RandomHierarchy(2, 2, 3, 4), r"at most vocabulary\^branching = 9, got 12: there are not that many"),
    (lambda: RandomHierarchy(0, 2, 3, 1), "depth must be an integer from 1"),
    (lambda: RandomHierarchy(2, 2, 3, 2, TREE.rules[:1]), r"rules must be integers .* = \(2, 3, 2, 2\)"),
    (lambda: RandomHierarchy(2, 2, 3, 2, TREE.rules + 1), r"rules must hold symbols 0..2, got 1..3"),
    (lambda: RandomHierarchy(2, 2, 3, 2, 0 * TREE.rules), "distinct tuples within a level, got one twice at level"),
    (lambda: RandomHierarchy(2, 2, 3, 2, -4), "rules must be an array or a seed >= 0, got -4"),
    (lambda: TREE.tripartition(5, subtree=True), "radius must be the height of a subtree, 0 to 2, got 5"),
    (lambda: ld.exact.posterior_mean(TREE, Erasure(), 0.5, IMPOSSIBLE, ALL), "x_t must be possible under the"),
)
