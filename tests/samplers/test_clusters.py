"""Cluster, local-field and perfect samplers against the law of all states and a plain twin."""

import enumeration
import numpy as np
import pytest
from chains import xoshiro
from enumeration import codes, p_value
from refusals import refusals
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2

import lattice_diffusion as ld
from lattice_diffusion.kernels import clusters
from lattice_diffusion.kernels import heat_bath as heat_bath_kernel
from lattice_diffusion.samplers.chains import Couplings, generator_state
from lattice_diffusion.samplers.clusters import bond_thresholds, potts, swendsen_wang, wolff
from lattice_diffusion.samplers.heat_bath import NotCoalescedError, coupling_from_the_past, heat_bath, replica_exchange


def random_model(lattice, seed, ferromagnet=False, fields=True):
    """Generic couplings and fields, the first spin clamped up and the last down."""
    rng = np.random.default_rng(seed)
    J = rng.normal(0.1, 0.5, len(lattice.bonds))
    h = rng.normal(0.0, 0.4, lattice.shape)
    h.flat[0], h.flat[-1] = np.inf, -np.inf
    return (np.abs(J) if ferromagnet else J), (h if fields else np.zeros(lattice.shape))


def law_of(lattice, J, h):
    """p(s) ~ exp(sum J s s + sum h s) on all states, first site the highest bit; clamped spins by exclusion."""
    states = enumeration.all_states(lattice.n_sites)
    h = np.ravel(np.broadcast_to(h, lattice.shape))
    clamped = np.isinf(h)
    log_weight = (J * states[:, lattice.bonds[:, 0]] * states[:, lattice.bonds[:, 1]]).sum(axis=1)
    log_weight = log_weight + states @ np.where(clamped, 0.0, h)
    weight = np.exp(log_weight) * np.all(states[:, clamped] == np.sign(h[clamped]), axis=1)
    return weight / weight.sum()


def draw(method, lattice, J, h, n, rng):
    if method == "swendsen_wang":
        return swendsen_wang(lattice, J, n, rng, field=h, burn_in=50, thin=8)
    if method == "wolff":
        return wolff(lattice, J, n, rng, burn_in=100, thin=25)
    if method == "coupling_from_the_past":
        return coupling_from_the_past(lattice, J, n, rng, field=h)
    return heat_bath(lattice, J, n, rng, field=h, burn_in=100, thin=30)


METHODS = ["swendsen_wang", "wolff", "heat_bath", "coupling_from_the_past"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("shape", "periodic"), [((3, 3), (True, False)), ((2, 4), False), ((8,), True), ((2, 2, 2), False)]
)
def test_random_couplings_fields_and_clamps_follow_the_law_of_all_states(method, shape, periodic):
    lattice, rng = ld.Lattice(shape, periodic), np.random.default_rng(32)
    J, h = random_model(lattice, 33, method == "coupling_from_the_past", method != "wolff")
    n = 10_000 if method == "coupling_from_the_past" else 30_000
    samples = draw(method, lattice, J, h, n, rng)
    assert p_value(samples, law_of(lattice, J, h)) > 1e-4
    assert p_value(samples, law_of(lattice, 1.2 * J, h)) < 1e-4
    if method != "wolff":
        assert p_value(samples, law_of(lattice, J, 1.3 * h)) < 1e-4


def test_replica_exchange_keeps_every_temperature_at_its_law():
    lattice = ld.Lattice((3, 3), (False, True))
    J, h = random_model(lattice, 34)
    ladder = replica_exchange(lattice, 3 * J, (1.0, 0.7, 0.4), 30_000, np.random.default_rng(35), field=h, thin=12)
    assert ladder.samples.shape == (30_000, 3, 3, 3)
    for k, beta in enumerate(ladder.betas):
        assert p_value(ladder.samples[:, k], law_of(lattice, beta * 3 * J, beta * h)) > 1e-4
        assert p_value(ladder.samples[:, k], law_of(lattice, 1.1 * beta * 3 * J, 1.1 * beta * h)) < 1e-4
    assert np.all((ladder.swap_rate > 0.2) & (ladder.swap_rate < 1))


def test_swap_rate_is_that_of_independent_replicas():
    """At beta = 0 and at beta = 1 with many sweeps in between, swaps accept with E min(1, exp(dbeta dE))."""
    lattice = ld.Lattice((2, 3))
    J, h = random_model(lattice, 36)
    ladder = replica_exchange(lattice, J, (1.0, 0.0), 20_000, np.random.default_rng(37), field=h, thin=1)
    states, finite = enumeration.all_states(6), np.where(np.isinf(h), 0.0, h).ravel()
    energy = -(J * states[:, lattice.bonds[:, 0]] * states[:, lattice.bonds[:, 1]]).sum(axis=1) - states @ finite
    hot, cold = law_of(lattice, 0 * J, np.where(np.isinf(h), h, 0.0)), law_of(lattice, J, h)
    rate = cold @ np.minimum(1.0, np.exp(energy[:, None] - energy[None, :])) @ hot
    assert abs(ladder.swap_rate[0] - rate) < 5 * np.sqrt(4 * rate * (1 - rate) / 20_000)


def square_step(lattice, beta, n_sweeps=1):
    rng = np.random.default_rng(38)
    words = np.zeros((lattice.shape[0], 1), np.uint64)
    weights = np.uint64(1) << np.arange(lattice.shape[1], dtype=np.uint64)
    threshold, state = bond_thresholds(np.array([beta]))[0], generator_state(rng)

    def step(spins):
        words[:, 0] = (spins.reshape(lattice.shape) > 0) @ weights
        clusters.swendsen_wang_square(words, lattice.shape[1], *lattice.periodic, threshold, n_sweeps, state)
        return np.where(words & weights, 1, -1).ravel()

    return step


def local_step(kind, lattice, J, h):
    rng = np.random.default_rng(39)
    model, state = Couplings.on(lattice, J, h), generator_state(rng)
    sites = np.arange(1, lattice.n_sites + 1)
    bonds = np.concatenate([lattice.bonds + 1, np.stack([0 * sites, sites], axis=1)])
    strength = np.concatenate([model.J, model.h])
    thresholds, around = bond_thresholds(strength), bond_thresholds(model.neighbor_J)
    tables = model.heat_bath_tables
    ghosted = np.ones(lattice.n_sites + 1, np.int8)

    def step(spins):
        if kind == "swendsen_wang":
            ghosted[1:] = spins
            clusters.swendsen_wang_bonds(ghosted, bonds, strength, thresholds, 1, state)
            return ghosted[1:].copy()
        out = spins.astype(np.int8)
        if kind == "wolff":
            clusters.wolff(out, model.neighbors, model.neighbor_J, around, 1, state)
        else:
            heat_bath_kernel.sweeps(out, *tables, 1, state)
        return out

    return step


def one_step(step, law, n_sites, n):
    """n pairs (x, y): x from the law, y one step later."""
    states = enumeration.all_states(n_sites)
    before = states[np.random.default_rng(40).choice(law.size, n, p=law)]
    return before, np.array([step(x) for x in before])


@pytest.mark.parametrize("kind", ["square", "swendsen_wang", "wolff", "heat_bath"])
def test_one_step_leaves_the_law_invariant(kind):
    """Six spins, drawn exactly and moved once; cluster moves are reversible: (x, y) is as likely as (y, x)."""
    lattice, n = ld.Lattice((2, 3), (False, True)), 60_000
    J, h = random_model(lattice, 41)
    h[0, 0], h[-1, -1] = 0.6, -0.3
    J, h = (0.4, 0.0) if kind == "square" else (J, 0.0 if kind == "wolff" else h)

    def build(factor):
        return square_step(lattice, factor * J) if kind == "square" else local_step(kind, lattice, factor * J, h)

    law = law_of(lattice, J, h)
    before, after = one_step(build(1.0), law, 6, n)
    assert p_value(after, law) > 1e-4
    assert p_value(one_step(build(1.3), law, 6, n)[1], law) < 1e-4
    if kind != "heat_bath":
        pairs = np.bincount(64 * codes(before) + codes(after), minlength=4096).reshape(64, 64)
        there, back = pairs[np.triu_indices(64, 1)], pairs.T[np.triu_indices(64, 1)]
        enough = there + back >= 10
        statistic = ((there - back)[enough] ** 2 / (there + back)[enough]).sum()
        assert enough.sum() > 100
        assert chi2.sf(statistic, enough.sum()) > 1e-4


class Twin:
    """The packed Swendsen-Wang sweep in plain Python: the same random words, clusters from a site graph."""

    def __init__(self, state):
        self.state = state.reshape(4, 1).copy()

    def word(self):
        return int(xoshiro(self.state)[0])

    def bonds(self, wanted, threshold):
        """wanted: booleans of one word; bit b compares its own 64-bit number, one bit per word, to the threshold."""
        numbers = np.zeros(len(wanted), object)
        undecided = np.array(wanted)
        for bit in range(63, -1, -1):
            if not undecided.any():
                break
            word = self.word()
            for b in range(len(wanted)):
                numbers[b] |= (word >> b & 1) << bit
            undecided &= (numbers >> bit) == (threshold >> bit)
        return np.array(wanted) & ~undecided & (numbers < threshold)

    def sweep(self, spins, periodic, threshold):
        n_rows, width = spins.shape
        chunks = [slice(a, min(a + 64, width)) for a in range(0, width, 64)]
        right, down = np.zeros((2, *spins.shape), bool)

        def join(i, j):
            for chunk in chunks:
                down[i, chunk] = self.bonds(spins[i, chunk] == spins[j, chunk], threshold)

        for i in range(n_rows):
            wanted = spins[i] == np.roll(spins[i], -1)
            wanted[-1] &= periodic[1]
            for chunk in chunks:
                right[i, chunk] = self.bonds(wanted[chunk], threshold)
            if i > 0:
                join(i - 1, i)
        if periodic[0]:
            join(n_rows - 1, 0)
        sites = np.arange(spins.size).reshape(spins.shape)
        ends = [np.stack([sites, np.roll(sites, -1, axis)], 2)[on] for axis, on in ((1, right), (0, down))]
        ends = np.concatenate(ends)
        graph = coo_array((np.ones(len(ends)), ends.T), shape=(spins.size, spins.size))
        label = connected_components(graph, directed=False)[1].reshape(spins.shape)
        coin = {}
        for i in range(n_rows):
            for chunk in chunks:
                word = self.word()
                for j in range(chunk.start, chunk.stop):
                    if j == chunk.start or not right[i, j - 1]:  # the cluster's first run has the say
                        coin.setdefault(label[i, j], word & 1)
                        word >>= 1
        return spins * np.vectorize(lambda k: 1 - 2 * coin[k])(label)


@pytest.mark.parametrize("shape", [(5, 7), (4, 64), (5, 65), (3, 130)])
@pytest.mark.parametrize("periodic", [(False, True), (True, False)])
def test_packed_sweeps_agree_bit_for_bit_with_a_plain_twin(shape, periodic):
    lattice = ld.Lattice(shape, periodic)
    spins = swendsen_wang(lattice, 0.45, 6, np.random.default_rng(42), burn_in=0, thin=1)
    rng = np.random.default_rng(42)
    padded = 64 * -(-shape[1] // 64)
    state = rng.integers(0, 2, (shape[0], padded), dtype=np.uint8)[:, : shape[1]].astype(int) * 2 - 1
    twin = Twin(generator_state(rng))
    threshold = int(bond_thresholds(np.array([0.45]))[0])
    for sample in spins:
        state = twin.sweep(state, periodic, threshold)
        assert np.array_equal(sample, state)


def test_logistic_comparison_is_exact():
    rng = np.random.default_rng(43)
    x = np.concatenate([rng.normal(0, 5, 20_000), rng.integers(-1280, 1281, 5000) / 32.0, [-800.0, -40.0, 40.0, 800.0]])
    with np.errstate(over="ignore"):
        p = 1.0 / (1.0 + np.exp(-x))
    near = np.clip(p + rng.normal(0, 1e-3, x.size), 0.0, 1.0 - 2.0**-53)
    assert all(heat_bath_kernel._below_logistic(u, y) == (u < q) for u, y, q in zip(near, x, p, strict=True))


def test_coupling_from_the_past_says_when_its_budget_is_spent():
    cold = ld.Lattice((8, 8), periodic=True)
    with pytest.raises(NotCoalescedError, match=r"has not coalesced within max_sweeps = 64 .*use swendsen_wang"):
        coupling_from_the_past(cold, 0.8, 1, np.random.default_rng(46), max_sweeps=64)
    # a field as from noisy data breaks the symmetry and brings it back
    h = np.random.default_rng(47).normal(1.5, 1.0, cold.shape)
    assert coupling_from_the_past(cold, 0.8, 2, np.random.default_rng(46), field=h, max_sweeps=64).shape == (2, 8, 8)


def test_samplers_are_reproducible_and_leave_their_input_alone():
    lattice = ld.Lattice((6, 70), (True, False))
    J, h = random_model(lattice, 48, ferromagnet=True)
    J *= 0.2
    copies = J.copy(), h.copy()
    for method in METHODS:
        fields = 0.0 if method == "wolff" else h
        first, second = (draw(method, lattice, J, fields, 2, np.random.default_rng(3)) for _ in range(2))
        assert np.array_equal(first, second)
        if method != "wolff":
            assert np.all(first[:, 0, 0] == 1)
            assert np.all(first[:, -1, -1] == -1)
    assert np.array_equal(J, copies[0])
    assert np.array_equal(h, copies[1])


test_refusals = refusals(
    (lambda a, g: swendsen_wang(a, np.inf, 1, g), "couplings must be finite, got inf; clamp spins by fields"),
    (lambda a, g: swendsen_wang(a, np.ones(5), 1, g), "one for each of 24 lattice.bonds, got shape"),
    (lambda a, g: heat_bath(a, 0.4, 1, g, field=np.ones(4)), r"field must be one number or an array of shape \(4"),
    (lambda a, g: potts(a, -1.0, 3, 1, g), "coupling must be finite and >= 0, got -1.0"),
    (lambda a, g: potts(a, 1.0, 2.5, 1, g), "q must be an integer >= 2"),
    (lambda a, g: heat_bath(a, 0.4, 1, g, field=np.nan), "field must hold numbers, or .-inf to clamp a spin"),
    (lambda a, g: heat_bath(a, 0.4, 1, g, thin=0), "burn_in must be >= 0 and thin >= 1, integers <= 1,000"),
    (lambda a, g: swendsen_wang(a, 0.4, 1, g, burn_in=1e3), "burn_in must be >= 0 and thin >= 1, integers <= 1"),
    (lambda a, g: wolff(a, 0.4, 0, g), "n_samples must be a positive integer, got 0"),
    (lambda a, g: wolff(a, 0.4, 1, g, burn_in=0), "thin is measured during the burn-in, which was 0; give thin"),
    (lambda a, g: coupling_from_the_past(a, -0.4, 1, g), "only a ferromagnet keeps states in order, got -0.4"),
    (lambda a, g: coupling_from_the_past(a, 0.4, 1, g, max_sweeps=0), "max_sweeps must be between 1 and"),
    (lambda a, g: replica_exchange(a, 0.4, (1.0, 1.0), 1, g), "betas must be finite, >= 0 and strictly monot"),
    of=lambda call: call(ld.Lattice((4, 4)), np.random.default_rng(0)),
)
