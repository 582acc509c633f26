"""Parallel unmasking against sums over all states and masks, schedules against formulas, memorisation times."""

import itertools
import math

import numpy as np
import pytest
from enumeration import entropy
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.channels import BitFlip, Erasure, Gaussian, Uniform
from lattice_diffusion.exact import enumeration
from lattice_diffusion.phases import (
    equal_batches,
    memorisation_time,
    parallel_divergence,
    patch_information,
    unmasking_cost,
    unmasking_entropies,
    unmasking_schedule,
)

MODELS = {
    "ising": ld.models.Ising(ld.Lattice((2, 2)), 0.6),
    "ising-chain": ld.models.IsingChain(ld.Lattice(4), 0.8),
    "walls": ld.models.DomainWalls((2, 2), 0.4),
    "potts": ld.models.Potts(ld.Lattice((2, 2)), 0.9, 3),
    "ring": ld.models.PottsChain(ld.Lattice(4, periodic=True), 1.1, 3),
    "hierarchy": ld.models.RandomHierarchy(2, 2, 3, 2, rules=1),
}
FIELD = ld.models.GaussianField(ld.Lattice(5), 0.5)


def conditional(table, sites, seen):
    """H(sites | seen) from entropies of marginals."""
    n = table.ndim
    both = [i in sites or i in seen for i in range(n)]
    return entropy(table, both) - entropy(table, [i in seen for i in range(n)])


def exact_h(table, t):
    """h(t), from every mask."""
    n, total = table.ndim, 0.0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for kept in itertools.product((False, True), repeat=n - 1):
            seen = [j for j, keep in zip(others, kept, strict=True) if keep]
            total += t ** (n - 1 - len(seen)) * (1 - t) ** len(seen) * conditional(table, [i], seen) / n
    return total


@pytest.mark.parametrize("key", MODELS)
def test_cost_of_batches_is_the_riemann_error(key):
    model = MODELS[key]
    table, steps = enumeration.clean_table(model), [1.0, 0.45, 0.0]
    n, everything = table.ndim, ~np.eye(table.ndim, dtype=bool)
    mean = 0.0
    for step_of in itertools.product((0, 1), repeat=n):  # the batch of every token
        batches = [[i for i in range(n) if step_of[i] == b] for b in (0, 1)]
        order = [batch for batch in batches if batch]
        divergence = enumeration.relative_entropy(table, enumeration.unmasked_law(table, everything, order))
        seen, entropies = [], 0.0
        for batch in order:
            entropies += sum(conditional(table, [i], seen) for i in batch) - conditional(table, batch, seen)
            seen = seen + batch
        assert divergence == pytest.approx(entropies, abs=1e-10)
        mean += 0.55 ** len(batches[0]) * 0.45 ** len(batches[1]) * divergence
    # Gauss-Legendre and trapezoids: h is a polynomial of degree n - 1
    nodes, weights = np.polynomial.legendre.leggauss(n)
    whole = sum(w / 2 * exact_h(table, (x + 1) / 2) for x, w in zip(nodes, weights, strict=True))
    assert n * whole == pytest.approx(entropy(table, [True] * n), abs=1e-10)
    cost = sum((a - b) * exact_h(table, a) for a, b in itertools.pairwise(steps)) - whole
    assert mean == pytest.approx(n * cost, abs=1e-10)
    assert abs(mean - n * (cost + whole - exact_h(table, 0.45))) > 1e-3 or key == "none"  # a mutant: the other end


def test_sampled_curves_and_divergences():
    for key in ("ising-chain", "walls", "ring"):
        model = MODELS[key]
        table = enumeration.clean_table(model)
        n, times = table.ndim, [0.3, 0.8, 1.0]
        curve = unmasking_entropies(model, times, 400, 3)
        truth = [exact_h(table, t) for t in times]
        assert np.all(np.abs(curve.values - truth) < 5 * curve.stderr + 1e-12)
        sizes, around = [n - 2, 2], enumeration.boxes(model, 1)
        for radius, seen in ((None, ~np.eye(n, dtype=bool)), (1, around)):
            orders = ([order[: n - 2], order[n - 2 :]] for order in itertools.permutations(range(n)))
            laws = [enumeration.unmasked_law(table, seen, order) for order in orders]
            exact = np.mean([enumeration.relative_entropy(table, law) for law in laws])
            found = parallel_divergence(model, sizes, 1500, 4, radius=radius)
            assert abs(found.z_score(exact)) < 5
            assert abs(parallel_divergence(model, [1] * n, 300, 4).value) < 1e-9


def test_schedules():
    t = np.linspace(0, 1, 401)
    for h in (t, t**4, np.clip(20 * (t - 0.7), 0, 1)):
        found = unmasking_schedule((t, h), 8)
        equal = unmasking_cost((t, h), np.linspace(1, 0, 9))
        bound = np.trapezoid(np.sqrt(np.gradient(h, t)), t) ** 2 / 16  # of many steps
        assert found.cost <= equal + 1e-12
        assert found.cost == pytest.approx(bound, rel=0.2)
        assert found.cost == pytest.approx(unmasking_cost((t, h), found.times))
        assert len(found.times) == 9
    assert unmasking_cost((t, t), np.linspace(1, 0, 9)) == pytest.approx(1 / 16)
    assert ((found.times > 0.65) & (found.times < 0.8)).sum() >= 6  # they crowd where h falls
    pairs = itertools.combinations(t[10:400:10], 2)
    every = min(unmasking_cost((t, t**4), [1.0, high, low, 0.0]) for low, high in pairs)
    assert unmasking_schedule((t, t**4), 3).cost <= every
    assert sum(equal_batches(37, found.times)) == 37


def test_loops_of_any_size_from_percolation():
    """KL per bond -> log 2 / 2k for k equal steps: the area between h's steps, with h(1) = log 2 and h(0) = 0."""
    model, times = ld.models.DomainWalls((20, 20)), np.linspace(0, 1, 21)
    curve = unmasking_entropies(model, times, 20, 5)
    assert curve.values[[0, -1]] == pytest.approx([0.0, math.log(2)], abs=1e-9)
    n_bonds = int(model.sites.sum())
    whole = math.log(2) * (20 * 20 - 1) / n_bonds  # the entropy of loops per bond
    assert np.trapezoid(curve.values, times) == pytest.approx(whole, abs=0.01)
    assert unmasking_cost((times, curve.values), np.linspace(1, 0, 11)) == pytest.approx(math.log(2) / 20, abs=0.003)
    found = parallel_divergence(model, equal_batches(n_bonds, np.linspace(1, 0, 11)), 12, 6)
    assert found.value / n_bonds == pytest.approx(math.log(2) / 20, abs=0.005)


# -- memorisation --------------------------------------------------------------------------------------------------


def test_memorisation_of_independent_spins():
    """log 2 - H2(p) = log(n) / N."""
    model, n = ld.models.IsingChain(ld.Lattice(12), 0.0), 300
    time = memorisation_time(model, n, channel=BitFlip(), n_samples=4)
    assert time.stderr < 1e-9  # the evidence of independent spins does not vary
    p = time.value / 2
    assert math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p) == pytest.approx(math.log(n) / 12, abs=2e-3)
    masked = memorisation_time(ld.models.PottsChain(ld.Lattice(12), 0.0, 3), n, channel=Erasure(), n_samples=300, rng=0)
    assert abs(masked.z_score(1 - math.log(n) / (12 * math.log(3)))) < 4
    assert 1e-3 < masked.stderr < 0.02


def test_collapse_time_of_biroli():
    """tau = log(1 + 1/(n^(2/d) - 1)) / 2 for white Gaussian data, tau = -log alpha of the vp schedule."""
    n, d, channel = 500, 25, Gaussian("vp")
    curve = [0.5 * d * math.log1p(channel.snr(t)) for t in np.linspace(0.01, 0.99, 981)]
    time = memorisation_time((np.linspace(0.01, 0.99, 981), curve), n)
    assert -math.log(channel.alpha(time.value)) == pytest.approx(0.5 * math.log1p(1 / (n ** (2 / d) - 1)), rel=1e-4)
    more = memorisation_time((np.linspace(0.01, 0.99, 981), curve), n, positions=9)
    assert more.value < time.value
    times, known = np.array([0.2, 0.4]), np.array([8.0, 6.0])
    found = memorisation_time((times, known, np.array([0.1, 0.1])), math.exp(7))
    assert (found.value, found.stderr) == pytest.approx((0.3, 0.1 * math.sqrt(0.5) * 0.1))


def test_information_by_sums_over_all_states():
    model, t = MODELS["ring"], 0.5
    region = np.array([1, 1, 0, 1], bool)
    matrices = 0.5 * np.eye(3) + 0.5 / 3, np.vstack([0.5 * np.eye(3), [0.5] * 3])
    for channel, matrix in zip((Uniform(3), Erasure(3)), matrices, strict=True):
        table = enumeration.clean_table(model).sum(axis=2)
        noisy = table
        for axis in range(3):
            noisy = np.moveaxis(np.tensordot(matrix, noisy, axes=(1, axis)), 0, axis)
        law = matrix[:, 0]
        truth = entropy(noisy, [True] * 3) + 3 * (law[law > 0] @ np.log(law[law > 0]))
        found = patch_information(model, channel, t, region, 4000, 7)
        assert abs(found.z_score(truth)) < 5
    field = ld.models.GaussianField(ld.Lattice((3, 3)), 0.4)
    exact = patch_information(field, Gaussian(), t, field.sites)
    clean = field.solver.covariance(Gaussian(), 0.0, field.sites)
    assert exact.value == pytest.approx(0.5 * np.log(np.linalg.eigvalsh(np.eye(9) + clean)).sum(), rel=1e-9)


def test_unused_bonds_tell_nothing_and_have_no_noise():
    """Two independent bonds between three faces in a row."""
    walls, channel = ld.models.DomainWalls((1, 3), 0.4), BitFlip()
    p = 1 / (1 + math.exp(-0.8))
    flipped = p * 0.85 + (1 - p) * 0.15
    truth = 2 * (entropy(np.array([flipped, 1 - flipped]), [True]) - entropy(np.array([0.15, 0.85]), [True]))
    found = patch_information(walls, channel, 0.3, np.ones((2, 1, 3), bool), 4000, 3)
    assert abs(found.z_score(truth)) < 5
    assert found == patch_information(walls, channel, 0.3, walls.sites, 4000, 3)


RAMP = ([0.0, 0.5, 1.0], [0.0, 0.4, 1.0])


test_refusals = refusals(
    (lambda: parallel_divergence(MODELS["ring"], [3, 2]), "at most the 1 tokens still masked, got 2"),
    (lambda: parallel_divergence(MODELS["ring"], [3]), "batches must unmask all 4 tokens, got 3"),
    (lambda: unmasking_schedule(RAMP, 0), "k must be an integer from 1"),
    (lambda: unmasking_schedule(([0.1, 0.9], [0.0, 1.0]), 3), "h must be times >= 0 that increase to 1"),
    (lambda: unmasking_cost(RAMP, [1.0, 0.5]), "steps must fall from 1 to 0"),
    (lambda: memorisation_time(MODELS["ring"], 0, channel=Erasure()), "n and positions must be >= 1, .* got 0"),
    (lambda: memorisation_time(MODELS["ring"], 10), "channel must be given with a model"),
    (lambda: parallel_divergence(MODELS["ring"], [4], 1), "n_samples must be >= 2 to give an error, got 1"),
    (lambda: unmasking_entropies(MODELS["ring"], [0.5], 1), "n_samples must be >= 2 to give an error, got 1"),
    (lambda: memorisation_time(MODELS["ring"], 10, channel=Erasure(), n_samples=1), "n_samples must be >= 2 to give"),
    (lambda: patch_information(FIELD, Gaussian(), 0.0, FIELD.sites), "t must be > 0, as real values without noise"),
    (lambda: patch_information(FIELD, Gaussian(), 0.5, [True] * 5), "region must be a boolean mask"),
    (lambda: memorisation_time(([0.5, 0.2], [1.0, 2.0]), 10), "source must be a model or a curve"),
)
