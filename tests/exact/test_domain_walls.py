"""Noisy domain walls under all channels against enumeration of the face spins.

Posteriors and marginals to 1e-10, transfer matrix against free fermions to 1e-9, sampled CMI and label entropies by
z-score against sums over all noisy patterns; a mutant with another temperature must fail the same comparison.
"""

import itertools
import json

import enumeration
import numpy as np
import pytest
from refusals import refusals
from scipy.special import logsumexp

import lattice_diffusion as ld
from lattice_diffusion import results
from lattice_diffusion.exact import bonds as erased_loops
from lattice_diffusion.exact.domain_walls import DomainWallSolver, binary_entropy
from lattice_diffusion.exact.spins import NoisySamples, block_states
from lattice_diffusion.models import DomainWalls, homology
from lattice_diffusion.models.ising import BETA_CRITICAL
from lattice_diffusion.runs.points import axes, points
from lattice_diffusion.runs.quantities import evaluate
from lattice_diffusion.runs.runner import run
from lattice_diffusion.runs.spec import Spec

CHANNELS = {"bitflip": ld.channels.BitFlip(), "erasure": ld.channels.Erasure(), "gaussian": ld.channels.Gaussian()}
METHODS = ("free_fermions", "transfer_matrix")


def all_walls(faces, tied_edges=False):
    """Face spins (2^N, L, W) and bonds (2^N, n_bonds) in C order of the images, for every state."""
    s = enumeration.all_states(faces[0] * faces[1]).reshape(-1, *faces)
    if tied_edges:
        s = s[np.all(s[:, :, [0, -1]] == s[:, :1, [0, -1]], axis=(1, 2))]
    right, down = s[:, :, 1:] * s[:, :, :-1], s[:, 1:] * s[:, :-1]
    return s, np.concatenate([right.reshape(len(s), -1), down.reshape(len(s), -1)], axis=1)


def walls_law(faces, beta):
    """p_0 of the bonds, (2,) * n_bonds, index 1 for +1."""
    _, x = all_walls(faces)
    law = np.zeros((2,) * x.shape[1])
    np.add.at(law, tuple(((x + 1) // 2).T), np.exp(beta * x.sum(axis=1)))
    return law / law.sum()


def with_method(model, method):
    """The model with a given solver."""
    model.__dict__["solver"] = DomainWallSolver(model.faces, model.beta, method=method)
    return model


# -- posteriors and marginals --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("t", [0.15, 0.7])
@pytest.mark.parametrize(
    ("faces", "beta"), [((4, 4), 0.0), ((3, 4), 0.35), ((2, 3), 0.9), ((4, 3), 0.0), ((1, 5), 0.4)]
)
def test_posteriors_and_marginals_by_enumeration(faces, beta, name, t, method):
    model, channel, rng = with_method(DomainWalls(faces, beta), method), CHANNELS[name], np.random.default_rng(5)
    x_t = channel.corrupt(model.sample(2, rng), t, rng)
    region = (rng.random(model.sites.shape) < 0.6) | ~model.sites  # unused entries may be marked: nothing is there
    marked = np.flatnonzero(model.sites)[rng.choice(model.sites.sum(), size=3, replace=False)]
    blocks = [np.isin(np.arange(model.sites.size), marked).reshape(model.sites.shape)]
    if min(faces) > 1:
        blocks.append(model.tripartition(block=(0, 1), radius=0).A)
    blocks.append(model.tripartition(bond=((0, 1), (0, 2)), radius=0).A)
    marginal = ld.exact.log_marginal(model, channel, t, x_t, region)
    mean = ld.exact.posterior_mean(model, channel, t, x_t, region)
    laws = [ld.exact.posterior(model, channel, t, x_t, sites, region) for sites in blocks]
    assert np.all(mean[:, ~model.sites] == 0)
    _, x = all_walls(faces)
    prior = np.exp(beta * x.sum(axis=1))
    for k in range(2):
        weight = prior / prior.sum()
        for e in np.flatnonzero(region[model.sites]):
            weight = weight * enumeration.likelihood(name, x_t[k][model.sites], t)[e][(x[:, e] > 0).astype(int)]
        assert marginal[k] == pytest.approx(np.log(weight.sum()), abs=1e-10)
        posterior = weight / weight.sum()
        assert mean[k][model.sites] == pytest.approx(posterior @ x, abs=1e-10)
        for sites, law in zip(blocks, laws, strict=True):
            at = sites[model.sites]
            truth = [posterior[(x[:, at] == state).all(axis=1)].sum() for state in block_states(int(at.sum()))]
            assert law.probabilities[k] == pytest.approx(truth, abs=1e-10)
            assert law.mean[k] == pytest.approx((posterior @ x)[at], abs=1e-10)


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("name", CHANNELS)
def test_free_fermions_agree_with_the_transfer_matrix(name, beta):
    channel, faces = CHANNELS[name], (11, 8)
    model, narrow = DomainWalls(faces, beta), with_method(DomainWalls(faces, beta), "transfer_matrix")
    parts = [model.tripartition(bond=((5, 3), (6, 3)), radius=r) for r in (1, 2)]
    for t in (0.02, 0.3, 0.6, 0.9):
        x_t = channel.corrupt(model.sample(4, np.random.default_rng(1)), t, np.random.default_rng(2))
        for ask, arguments in (
            (ld.exact.log_marginal, (parts[0].BC,)),
            (ld.exact.posterior, (parts[0].A, parts[1].B)),
            (ld.exact.posterior, (model.tripartition(block=(4, 2), radius=0).A, parts[1].ABC)),
        ):
            one, other = ask(model, channel, t, x_t, *arguments), ask(narrow, channel, t, x_t, *arguments)
            if hasattr(one, "probabilities"):
                one, other = one.probabilities, other.probabilities
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-300)
        if name != "erasure":
            cmi = [ld.exact.cmi_curve(m, channel, t, parts, 5, rng=3).values for m in (model, narrow)]
            np.testing.assert_allclose(cmi[0], cmi[1], rtol=1e-9, atol=1e-9 * cmi[0].max())
        entropy = [m.solver.label_entropy(channel, t, 6, np.random.default_rng(4)).value for m in (model, narrow)]
        assert entropy[0] == pytest.approx(entropy[1], rel=1e-9, abs=1e-100)


# -- conditional mutual information --------------------------------------------------------------------------


def divisions(model):
    """Corner, centre and edge bonds, and blocks."""
    L, W = model.faces
    yield model.tripartition(bond=((0, 0), (0, 1)), radius=1)
    yield model.tripartition(bond=((L - 1, W - 1), (L - 2, W - 1)), radius=0)
    if L * W >= 9:
        yield model.tripartition(bond=((1, 1), (1, 0)), radius=1)
        yield model.tripartition(block=(0, 0), radius=0)
        part = model.tripartition(block=(1, W - 2), radius=0)  # a buffer that is no box
        half = part.C & (np.indices(part.shape)[2] > 0)
        yield ld.Tripartition(part.A, half, part.C & ~half)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["bitflip", "erasure"])
@pytest.mark.parametrize(("faces", "beta"), [((3, 3), 0.0), ((3, 3), 0.4), ((2, 3), 0.7)])
def test_cmi_by_enumeration_of_noisy_patterns(faces, beta, name, method):
    if name == "erasure" and beta == 0.0 and method == "transfer_matrix":
        return  # no couplings there
    model, law = with_method(DomainWalls(faces, beta), method), walls_law(faces, beta)
    z_scores = []
    for t in (0.2, 0.6):
        noisy = enumeration.noisy_law(law, enumeration.channel_matrix(name, t)[0])
        for parts in divisions(model):
            truth = enumeration.cmi(noisy, *(mask[model.sites] for mask in (parts.A, parts.B, parts.C)))
            n = 10000 if name == "erasure" and beta == 0 else 400 if method == "transfer_matrix" else 2000
            estimate = ld.exact.cmi(model, CHANNELS[name], t, parts, n, np.random.default_rng(7))
            if truth < 1e-13:
                assert estimate.value == pytest.approx(0.0, abs=1e-13)
                continue
            z_scores.append(estimate.z_score(truth))
            assert abs(z_scores[-1]) < 5, f"t = {t}, A = {np.argwhere(parts.A).tolist()}, seed 7"
    assert np.mean(np.square(z_scores)) < 4


def test_a_wrong_temperature_fails_the_comparison():
    parts = DomainWalls((3, 3)).tripartition(bond=((1, 1), (1, 0)), radius=0)
    bonds = DomainWalls((3, 3)).sites
    noisy = enumeration.noisy_law(walls_law((3, 3), 0.4), enumeration.channel_matrix("bitflip", 0.4)[0])
    truth = enumeration.cmi(noisy, *(mask[bonds] for mask in (parts.A, parts.B, parts.C)))
    for beta, agrees in ((0.4, True), (1.1 * 0.4, False)):
        estimate = ld.exact.cmi(DomainWalls((3, 3), beta), CHANNELS["bitflip"], 0.4, parts, 10000, rng=8)
        assert (abs(estimate.z_score(truth)) < 5) == agrees


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_gaussian_noise_by_quadrature(beta):
    """Four bonds round 2x2 faces, each observation on 40 values."""
    model, t = DomainWalls((2, 2), beta), 0.55
    noisy = enumeration.noisy_law(walls_law((2, 2), beta), enumeration.channel_matrix("gaussian", t, n_nodes=40)[0])
    order = np.cumsum(model.sites).reshape(model.sites.shape) * model.sites  # bonds 1..4
    for a, b, c in ((1, (2,), (3, 4)), (1, (), (2, 3, 4)), (3, (1, 2), (4,))):
        parts = ld.Tripartition(order == a, np.isin(order, b), np.isin(order, c))
        truth = enumeration.cmi(noisy, *(mask[model.sites] for mask in (parts.A, parts.B, parts.C)))
        estimate = ld.exact.cmi(model, CHANNELS["gaussian"], t, parts, 10000, np.random.default_rng(9))
        assert abs(estimate.z_score(truth)) < 5, f"bonds {a} | {b} | {c}, seed 9"
        assert estimate.stderr < 0.03 * truth


@pytest.mark.parametrize("name", CHANNELS)
def test_limits_of_the_noise(name):
    model, rng = DomainWalls((7, 6)), np.random.default_rng(12)
    parts = [model.tripartition(bond=((3, 2), (3, 3)), radius=r) for r in (0, 1, 9)]
    values = {t: ld.exact.cmi_curve(model, CHANNELS[name], t, parts, 20, rng).values for t in (0.0, 1e-4, 1.0)}
    # clean loops: with B empty the rest tells the bond's one bit; a box with a path round it tells it already
    assert values[0.0] == pytest.approx([np.log(2), 0.0, 0.0], abs=1e-12)
    assert values[1e-4] == pytest.approx([np.log(2), 0.0, 0.0], abs=1e-2)
    assert np.all(values[1.0] == 0)
    entropy = [model.solver.label_entropy(CHANNELS[name], t, 20, rng).value for t in (0.0, 1e-4, 1.0)]
    assert entropy == pytest.approx([0.0, 0.0, np.log(2)], abs=1e-12)


@pytest.mark.parametrize("snr", [90.0, 150.0, 399.0, 1e3, 1e6])
def test_certain_data_of_any_strength(snr):
    """Log-odds beyond exp(-745), where single precision of the weights ends: no error, no NaN, a certain answer."""
    model, channel = DomainWalls((9, 9)), CHANNELS["gaussian"]
    x_0, t = model.sample(3, np.random.default_rng(13)), channel.time(snr)
    x_t = channel.corrupt(x_0, t, np.random.default_rng(14))
    sites = model.tripartition(block=(4, 4), radius=0).A
    law = ld.exact.posterior(model, channel, t, x_t, sites, model.sites & ~sites)
    np.testing.assert_array_equal(law.mean, x_0[:, sites])
    bond = model.tripartition(bond=((4, 4), (4, 5)), radius=2)
    assert ld.exact.cmi(model, channel, t, bond, 4, np.random.default_rng(15)).value < 1e-30


# -- erasure -------------------------------------------------------------------------------------------------


def test_erased_loops_at_the_transition():
    """L = 64, 2x2 block, eps = 1/2: two independent programs, 0.2254(9), 0.1355(7), 0.0692(5), 0.0353(4)."""
    model, radii = DomainWalls((64, 64)), (1, 2, 4, 7)
    parts = [model.tripartition(block=(31, 31), radius=r) for r in radii]
    curve = ld.exact.cmi_curve(model, CHANNELS["erasure"], 0.5, parts, 20000, np.random.default_rng(16))
    error = np.hypot(curve.stderr, [9e-4, 7e-4, 5e-4, 4e-4])
    assert np.all(np.abs(curve.values - [0.2254, 0.1355, 0.0692, 0.0353]) < 4 * error)
    assert np.all(np.linalg.eigvalsh(curve.covariance) > 0)
    assert np.all(curve.covariance > 0)


@pytest.mark.parametrize("where", [{"bond": ((4, 4), (5, 4))}, {"block": (3, 4)}])
def test_percolation_and_ranks_agree(where):
    model, keep, n = DomainWalls((9, 10)), 0.55, 4000
    parts = [model.tripartition(radius=r, **where) for r in (0, 1, 3, 20)]
    found = erased_loops.box_radii(parts, False)
    assert found is not None
    assert found[1] == [0, 1, 3, 5 if "bond" in where else 4]
    fast = erased_loops.box_curve(model.faces, *found, keep, n, np.random.default_rng(17))
    slow = erased_loops.rank_curve(parts, False, keep, n, np.random.default_rng(18))
    assert np.all(np.abs(fast.values - slow.values) <= 5 * np.hypot(fast.stderr, slow.stderr))
    assert np.all(fast.stderr[:3] < slow.stderr[:3])  # percolation has averaged over A's own erasure
    rng, runs = np.random.default_rng(18), 400
    repeats = [erased_loops.box_curve(model.faces, *found, keep, 100, rng) for _ in range(runs)]
    seen, told = np.cov([c.values for c in repeats], rowvar=False), np.mean([c.covariance for c in repeats], axis=0)
    error = np.sqrt((np.outer(np.diag(told), np.diag(told)) + told**2) / runs)
    assert np.all(np.abs(seen - told) <= 5 * error)
    assert fast.values[-1] == slow.values[-1] == 0
    cut = ld.Tripartition(parts[1].A, parts[1].B, parts[1].C & (np.indices(parts[1].shape)[1] > 0))
    assert erased_loops.box_radii([cut], False) is None


def gf2_rank(rows):
    rank, rows = 0, [int("".join(map(str, row)), 2) if row.size else 0 for row in rows.astype(int)]
    while rows:
        pivot = rows.pop()
        if pivot:
            rank += 1
            low = pivot & -pivot
            rows = [row ^ pivot if row & low else row for row in rows]
    return rank


def generators(faces):
    """Flips of every face and the two classes of loops round the torus, (n, n_bonds) of 0 and 1."""
    flips = []
    for i, j in np.ndindex(*faces):
        x = np.zeros((2, *faces), int)
        for at in ((0, i, j), (0, i, j - 1), (1, i, j), (1, i - 1, j)):
            x[at] ^= 1
        flips.append(x.ravel())
    for axis in (0, 1):
        x = np.zeros((2, *faces), int)
        x[(0, slice(None), -1) if axis == 0 else (1, -1)] = 1
        flips.append(x.ravel())
    return np.array(flips)


@pytest.mark.parametrize("faces", [(3, 3), (3, 5), (4, 3)])
def test_ranks_on_the_torus_against_elimination(faces):
    rng, g = np.random.default_rng(19), generators(faces)
    kept = rng.random((150, 2, *faces)) < rng.choice([0.3, 0.5, 0.7, 1.0], size=(150, 1, 1, 1))
    truth = [gf2_rank(g[:, pattern.ravel()]) for pattern in kept]
    np.testing.assert_array_equal(erased_loops.ranks(kept, True), truth)
    assert max(truth) == faces[0] * faces[1] + 1  # all faces but one, and the two classes
    without_windings = erased_loops.ranks(kept, True) - (faces[0] * faces[1] - erased_loops._clusters(kept, 1))
    assert set(without_windings) == {0, 1, 2}


def test_loops_on_the_torus():
    model, rng = DomainWalls((4, 5), periodic=True), np.random.default_rng(20)
    x, n = model.sample(4000, rng), 4000
    vertex = x[:, 0] * x[:, 1] * np.roll(x[:, 0], -1, axis=1) * np.roll(x[:, 1], -1, axis=2)
    assert np.all(vertex == 1)  # closed: an even number of walls meet at every vertex
    assert np.array_equal(homology(x), homology(np.roll(x, (1, 2), axis=(2, 3))))
    classes = np.bincount((homology(x) @ np.array([2, 1]) + 3) // 2, minlength=4)
    assert np.all(np.abs(classes - n / 4) < 5 * np.sqrt(3 * n / 16)), f"seed 20, {classes}"
    # far from its seams a torus is an open grid: the box of radius 1 of a bond, C the next ring only
    torus, grid = DomainWalls((9, 9), periodic=True), DomainWalls((9, 9))
    values = []
    for loops, bond in ((torus, ((0, 8), (0, 0))), (grid, ((4, 3), (4, 4)))):
        near, far = (loops.tripartition(bond=bond, radius=r) for r in (1, 2))
        parts = ld.Tripartition(near.A, near.B, far.B & ~near.B)
        values.append(ld.exact.cmi(loops, CHANNELS["erasure"], 0.45, parts, 20000, rng))
    assert abs(values[0].value - values[1].value) < 5 * np.hypot(values[0].stderr, values[1].stderr)
    assert values[0].value > 0.03


# -- Nishimori identities, transition, label -----------------------------------------------------------------


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_equal_first_and_second_moments(name, beta):
    """E[<x_e>_x x_e] = E[<x_e>_x^2]: the planted walls are as good as any drawn from the posterior."""
    model, channel, rng, n = DomainWalls((5, 4), beta), CHANNELS[name], np.random.default_rng(21), 400
    for t, agrees in ((0.4, True), (0.25, False)):  # the posterior is told t = 0.4 both times
        x_0 = model.sample(n, rng)
        x_t = channel.corrupt(x_0, t, rng)
        mean = ld.exact.posterior_mean(model, channel, 0.4, x_t, model.sites)
        difference = (mean * x_0 - mean**2).sum(axis=(1, 2, 3))
        z = difference.mean() / max(difference.std() / np.sqrt(n), 1e-12)  # 0 / 0: erased loops leave +-1 or 0
        if agrees or name == "gaussian":  # wrong kept fractions are no contradiction; a wrong p needs more samples
            assert (abs(z) < 5) == agrees, f"seed 21, z = {z}"


def test_energy_on_the_nishimori_line():
    """Bit flip at beta = 0: E sum_e <s s'> sign(h_e) = (number of bonds) tanh h."""
    model, channel, rng, n = DomainWalls((6, 5)), CHANNELS["bitflip"], np.random.default_rng(22), 400
    for factor, agrees in ((1.0, True), (1.2, False)):
        x_t = channel.corrupt(model.sample(n, rng), 0.3, rng)
        mean = ld.exact.posterior_mean(model, channel, 0.3 * factor, x_t, model.sites)
        energy = (mean * np.sign(x_t)).sum(axis=(1, 2, 3))
        z = (energy.mean() - model.sites.sum() * 0.7) / (energy.std() / np.sqrt(n))
        assert (abs(z) < 5) == agrees, f"seed 22, z = {z}"


@pytest.mark.parametrize(("faces", "beta"), [((6, 5), 0.3), ((5, 7), BETA_CRITICAL), ((4, 4), 0.8)])
def test_the_replica_identity_at_equal_temperature(faces, beta):
    """snr = beta: E <s s'>_x^2 = <s s'>; another snr breaks it."""
    model, channel, n = DomainWalls(faces, beta), CHANNELS["gaussian"], 3000
    bond = ((2, 1), (2, 2))
    clean = model.solver.clean_correlation(bond)
    s, x = all_walls((4, 4)) if faces == (4, 4) else (None, None)
    if s is not None:
        weight = np.exp(beta * x.sum(axis=1))
        assert clean == pytest.approx(weight @ (s[:, 2, 1] * s[:, 2, 2]) / weight.sum(), abs=1e-12)
    for factor, agrees in ((1.0, True), (1.4, False)):
        rng = np.random.default_rng(23)
        noisy = NoisySamples(channel, channel.time(factor * beta), model.sample, n, rng)
        q = model.solver.squared_correlations(noisy, bond)
        z = (q.mean() - clean) / (q.std() / np.sqrt(n))
        assert (abs(z) < 4.5) == agrees, f"seed 23, z = {z}"


@pytest.mark.parametrize(("faces", "beta"), [((3, 3), 0.0), ((2, 4), 0.6), ((3, 4), 0.3), ((4, 3), 0.0), ((3, 2), 0.2)])
def test_label_entropy_by_enumeration(faces, beta):
    """Edge columns tied and known; every pattern of the other noisy bonds."""
    s, x = all_walls(faces, tied_edges=True)
    j = np.argwhere(DomainWalls(faces).sites)
    seen = (j[:, 0] == 0) | ((j[:, 2] > 0) & (j[:, 2] < faces[1] - 1))
    x, weight = x[:, seen], np.exp(beta * x.sum(axis=1))
    label = s[:, 0, 0] * s[:, 0, -1]
    for name, t in (("bitflip", 0.2), ("bitflip", 0.7), ("erasure", 0.5)):
        joint = []
        for sign in (1, -1):
            law = np.zeros((2,) * x.shape[1])
            np.add.at(law, tuple(((x[label == sign] + 1) // 2).T), weight[label == sign] / weight.sum())
            joint.append(enumeration.noisy_law(law, enumeration.channel_matrix(name, t)[0]).ravel())
        both = np.array(joint)
        with np.errstate(divide="ignore", invalid="ignore"):
            truth = -np.nansum(both * np.log(both / both.sum(axis=0)))
        for method in METHODS:
            solver = DomainWallSolver(faces, beta, method=method)
            n = 100_000 if name == "erasure" and beta == 0 else 2000
            estimate = solver.label_entropy(CHANNELS[name], t, n, np.random.default_rng(24))
            assert abs(estimate.z_score(truth)) < 5, f"{name}, seed 24"
        mutant = DomainWallSolver(faces, beta).label_entropy(CHANNELS[name], 1.2 * t, 2000, np.random.default_rng(24))
        assert abs(mutant.z_score(truth)) > 5
    prior = [logsumexp(np.log(weight[label == sign])) for sign in (1, -1)]
    silent = DomainWallSolver(faces, beta).label_entropy(CHANNELS["gaussian"], 1.0)
    assert silent.value == pytest.approx(float(binary_entropy(np.array(prior[0] - prior[1]))), abs=1e-12)


def test_transitions():
    times = {name: DomainWalls((8, 8)).transition(channel).time for name, channel in CHANNELS.items()}
    assert times == pytest.approx({"erasure": 0.5, "bitflip": 0.21838, "gaussian": 0.4946164}, abs=1e-6)
    tricritical = DomainWalls((8, 8), BETA_CRITICAL).transition(CHANNELS["gaussian"])
    assert 1 / (1 / tricritical.time - 1) == pytest.approx(1.50638, abs=1e-5)
    assert DomainWalls((8, 8), 0.3).transition(CHANNELS["gaussian"]) is None
    assert DomainWalls((8, 8), BETA_CRITICAL).transition(CHANNELS["bitflip"]) is None


def test_samples_have_the_energy_of_the_spins():
    for faces, beta, n in (((3, 4), 0.0, 4000), ((3, 4), 0.5, 4000), ((16, 15), 0.2, 300)):
        x = DomainWalls(faces, beta).sample(n, np.random.default_rng(25))
        assert (x.dtype, x.shape) == (np.int8, (n, 2, *faces))
        bonds = DomainWalls(faces).sites
        assert np.all(np.abs(x[:, bonds]) == 1)
        assert np.all(x[:, ~bonds] == 0)
        assert np.all(x[:, 0, :-1, :-1] * x[:, 1, :-1, 1:] * x[:, 0, 1:, :-1] * x[:, 1, :-1, :-1] == 1)
        solver = DomainWallSolver(faces, beta)
        truth = sum(solver.clean_correlation(((i, j), (i + c, j + 1 - c))) for c, i, j in np.argwhere(bonds).tolist())
        energy = x.sum(axis=(1, 2, 3), dtype=float)
        assert abs(energy.mean() - truth) < 5 * energy.std() / np.sqrt(n / (1 if faces == (3, 4) else 2))


def test_tripartitions_are_boxes_of_bonds():
    model = DomainWalls((6, 7))
    parts = model.tripartition(bond=((2, 3), (2, 2)), radius=1)  # either order of the faces
    box = np.zeros((2, 6, 7), bool)
    box[0, 1:4, 1:4], box[1, 1:3, 1:5] = True, True
    assert np.array_equal(parts.AB, box)
    assert np.argwhere(parts.A).tolist() == [[0, 2, 2]]
    assert np.array_equal(parts.ABC, model.sites)
    block = model.tripartition(block=(4, 5), radius=0)
    assert np.argwhere(block.A).tolist() == [[0, 4, 5], [0, 5, 5], [1, 4, 5], [1, 4, 6]]
    torus = DomainWalls((6, 7), periodic=True)
    around = torus.tripartition(block=(5, 6), radius=1)
    assert (around.A.sum(), around.AB.sum()) == (4, 24)
    shifted = torus.tripartition(block=(2, 2), radius=1)
    assert np.array_equal(around.B, np.roll(shifted.B, (3, 4), axis=(1, 2)))
    assert model.lattice.shape == (2, 6, 7)


# -- refusals ------------------------------------------------------------------------------------------------


def bad_posterior(sites):
    model, x_t = DomainWalls((4, 4)), np.ones((1, 2, 4, 4))
    x_t[0, 0, 0, 0] = -1
    return ld.exact.posterior(model, CHANNELS["erasure"], 0.3, x_t, sites, model.sites)


def torus(ask, channel="erasure"):
    model = DomainWalls((4, 4), periodic=True)
    if ask == "cmi":
        parts = model.tripartition(bond=((0, 3), (0, 0)), radius=1)
        return ld.exact.cmi(model, CHANNELS[channel], 0.3, parts, 10, np.random.default_rng(0))
    if ask == "label":
        return model.solver.label_entropy(CHANNELS[channel], 0.3, 10, np.random.default_rng(0))
    return getattr(ld.exact, ask)(model, CHANNELS[channel], 0.3, np.ones((1, 2, 4, 4)), model.sites)


def frustrated():
    model, x_t = DomainWalls((16, 16)), np.random.default_rng(6).choice([-1.0, 1.0], size=(60, 2, 16, 16))
    parts = model.tripartition(bond=((7, 7), (7, 8)), radius=0)
    return ld.exact.posterior(model, CHANNELS["bitflip"], 1e-13, x_t, parts.A, parts.C)


def cmi_of(parts, **options):
    return ld.exact.cmi(DomainWalls((5, 5)), CHANNELS["gaussian"], 0.4, parts, rng=0, **options)


def corner(*entries):
    mask = np.zeros((2, 5, 5), bool)
    for entry in entries:
        mask[entry] = True
    return mask


INSIDE = DomainWalls((5, 5)).tripartition(bond=((2, 2), (2, 3)), radius=1)
UNUSED = ld.Tripartition(corner((0, 0, 4)), corner(), corner((0, 0, 0)))
FIVE = ld.Tripartition(corner(np.s_[0, 0, :4], (1, 0, 0)), corner(), corner((1, 1, 1)))


test_refusals = refusals(
    (lambda: DomainWalls((1, 1)), r"faces must be two positive integers such as \(8, 8\), more than one face"),
    (lambda: DomainWalls((4, 4), -0.1), "beta must be finite and >= 0, got -0.1"),
    (lambda: DomainWalls((2, 4), periodic=True), "a periodic grid needs at least 3x3 faces, got 2x4"),
    (lambda: DomainWalls((4, 4), 0.3, periodic=True), r"beta must be 0 on a periodic grid, got 0.3; take peri"),
    (lambda: DomainWalls((4, 5)).tripartition(bond=((1, 1), (2, 2)), radius=1), r"bond must join two neighbouring"),
    (lambda: DomainWalls((4, 5)).tripartition(bond=((0, 4), (0, 5)), radius=1), "bond must join two neighbouring"),
    (lambda: DomainWalls((4, 5)).tripartition(bond=((0, 1.5), (0, 2)), radius=1), "bond must join two neighbouring"),
    (lambda: DomainWalls((4, 5)).tripartition(block=(1.2, 1), radius=1), "block must be the top left face"),
    (lambda: DomainWalls((4, 5)).tripartition(bond=(0, 1), radius=1), r"neighbouring faces .*, got \(0, 1\)"),
    (lambda: DomainWalls((4, 5)).tripartition(block=(3, 1), radius=1), r"in the 4x5 grid, got \(3, 1\)"),
    (lambda: DomainWalls((4, 5)).tripartition(block=7, radius=1), "block must be the top left face .*, got 7"),
    (lambda: DomainWalls((4, 5)).tripartition(1, bond=((0, 0), (0, 1)), block=(0, 0)), "got both; give one of"),
    (lambda: DomainWalls((4, 5)).tripartition(block=(1, 1), radius=-1), "radius must be an integer >= 0, got -1"),
    (lambda: DomainWallSolver((4, 4), method="fast"), "method must be auto, free_fermions or transfer_matrix, got"),
    (lambda: DomainWallSolver((15, 16), method="transfer_matrix"), "shorter side <= 14, got 15x16 faces; use"),
    (lambda: torus("cmi", "gaussian"), "gaussian noise on a periodic grid is beyond the planar solvers; open the"),
    (lambda: torus("log_marginal"), "a marginal needs a planar solver, which a periodic grid has not"),
    (lambda: torus("posterior_mean"), "a posterior mean needs a planar solver.*under erasure"),
    (lambda: torus("label"), "the label of two opposite edges needs a planar solver"),
    (
        lambda: bad_posterior(DomainWalls((4, 4)).tripartition(0).A),
        "x_t cannot come from domain walls: bonds known for certain contradict each other",
    ),
    (lambda: bad_posterior(corner((0, 0, 4))[:, :4, 1:]), r"got the unused entry \(0, 0, 3\) beyond an open"),
    (lambda: bad_posterior(DomainWalls((4, 4)).sites), "sites must hold 1 to 4 bonds .*, got 24"),
    (frustrated, r"couplings as strong and frustrated as here \(up to \|h\| = 15.*in \d+ of 60 samples; use a"),
    (lambda: cmi_of(INSIDE, method="closed"), "no closed form is known for this model under gaussian noise"),
    (lambda: cmi_of(ld.Lattice((5, 5)).tripartition((1, 1), 1)), r"must have the lattice's shape \(2, 5"),
    (lambda: cmi_of(UNUSED), "A must hold at least one bond of the grid, got unused entries"),
    (lambda: cmi_of(FIVE), "A must hold 1 to 4 bonds for a joint law, got 5"),
    (lambda: DomainWallSolver((4, 1)).label_entropy(CHANNELS["bitflip"], 0.2), "needs two edge columns, got 4x1"),
    (lambda: DomainWallSolver((15, 15), 0.4).label_entropy(CHANNELS["bitflip"], 0.2), "label_entropy at beta > 0"),
    (lambda: DomainWalls((10**5, 10**5)).tripartition(bond=((1, 1), (1, 2)), radius=1), "faces is too large: it"),
    (lambda: DomainWallSolver((4, 4)).label_entropy(CHANNELS["bitflip"], 0.2, 1), "n_samples must be >= 2"),
)


# -- experiments and command line ----------------------------------------------------------------------------


def loops_grid(**changes):
    """A spec of one grid with `changes` to it; None takes a key away."""
    model = {"name": "domain-walls", "length": [4, 6]} | changes.pop("model", {})
    model = {key: value for key, value in model.items() if value is not None}
    grid = {"model": model, "channel": {"name": "bitflip"}, "t": [0.2, 0.3], "radii": [0, 1], "n_samples": 20}
    grid = {key: value for key, value in (grid | changes).items() if value is not None}
    return Spec(name="test", grids={"loops": grid})


LABEL = {"quantity": "label_entropy", "radii": None}


def test_cmi_and_label_entropy_in_a_result_file(tmp_path):
    spec = loops_grid(model={"beta": [0.0, 0.4]}, n_samples=20)
    assert list(axes(spec.grids["loops"])) == ["length", "beta", "t"]
    first = points(spec)[0]
    assert first.parameters["model"] == {
        "name": "domain-walls", "shape": [4, 4], "periodic": [False, False], "beta": 0.0, "bond": [[1, 1], [1, 2]]
    }  # fmt: skip
    result = run(spec, tmp_path / "cmi.h5", progress=False)
    cmi = results.grids(result)["loops"]["cmi"]
    assert (cmi.dims, cmi.values.shape) == (("length", "beta", "t", "radius"), (2, 2, 2, 2))
    assert np.all(cmi.values > 0)
    model = DomainWalls((4, 4))
    parts = [model.tripartition(bond=((1, 1), (1, 2)), radius=r) for r in (0, 1)]
    again = ld.exact.cmi_curve(model, CHANNELS["bitflip"], 0.2, parts, 20, first.rng(0))
    np.testing.assert_array_equal(cmi.values[0, 0, 0], again.values)
    spec = loops_grid(**LABEL)
    loops = run(spec, tmp_path / "label.h5", progress=False)["loops"]
    entropy = loops["label_entropy"]
    assert (entropy.dims, entropy.attrs["units"]) == (("length", "t"), "nat")
    assert np.all((entropy.values > 0) & (entropy.values < np.log(2)))
    assert np.all(loops["label_entropy_stderr"].values > 0)
    assert not {"cmi", "radius"} & set(loops.variables)
    reread = ld.results.load(tmp_path / "label.h5")["loops"]["label_entropy"]
    assert np.array_equal(reread.values, entropy.values)
    assert run(spec, tmp_path / "label.h5", progress=False, resume=True).complete


def test_ways_to_write_one_point():
    here = points(loops_grid(model={"length": 4}))[0]
    faces = points(loops_grid(model={"length": None, "faces": [4, 4], "bond": [[1, 1], [1, 2]]}))[0]
    assert here.digest == faces.digest
    block = points(loops_grid(model={"length": 4, "block": [1, 1]}))[0]
    assert "bond" not in block.parameters["model"]
    assert evaluate(block, block.rng(0))["cmi"].shape == (2,)


def test_cmi_on_the_command_line(shell):
    line = "--shape 5x6 --beta 0.2 --bond 2,2,2,3 --radius 1 --channel bitflip --t 0.3 --samples 30 --seed 4 --json"
    code, out, err = shell(f"cmi --model domain-walls {line}")
    assert (code, err) == (0, "")
    answer, model = json.loads(out), DomainWalls((5, 6), 0.2)
    parts = model.tripartition(bond=((2, 2), (2, 3)), radius=1)
    expected = ld.exact.cmi(model, CHANNELS["bitflip"], 0.3, parts, 30, np.random.default_rng(4))
    assert (answer["value"], answer["stderr"], answer["method"]) == (expected.value, expected.stderr, expected.method)
    assert answer["parameters"]["model"] == {
        "name": "domain-walls", "shape": [5, 6], "periodic": [False, False], "beta": 0.2, "bond": [[2, 2], [2, 3]]
    }  # fmt: skip
    assert answer["parameters"]["radius"] == 1
    for rest in ("--channel erasure --periodic", "--channel erasure --block 1,2", ""):
        code, out, err = shell(f"cmi --model domain-walls --shape 4x4 --radius 0 --t 0.4 --samples 30 --json {rest}")
        assert (code, err) == (0, "")
        assert json.loads(out)["value"] > 0


def test_a_bond_and_a_block_of_every_grid_are_recognised():
    for faces, periodic in (((3, 4), False), ((4, 4), True), ((1, 3), False)):
        model = DomainWalls(faces, periodic=periodic)
        for channel, i, j in np.argwhere(model.sites).tolist():
            other = ((i + channel) % faces[0], (j + 1 - channel) % faces[1])
            assert erased_loops.box_radii([model.tripartition(bond=((i, j), other), radius=1)], periodic) is not None
        reach = 0 if periodic else 1
        for block in itertools.product(range(faces[0] - reach), range(faces[1] - reach)):
            parts = [model.tripartition(block=block, radius=r) for r in (0, 1)]
            found = erased_loops.box_radii(parts, periodic)
            assert found is not None
            assert found[0][:2] == block
