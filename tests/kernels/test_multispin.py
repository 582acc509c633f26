"""Multi-spin coding: bit by bit against a plain twin, exact transition matrices, exact energies, honest random bits."""

import dataclasses
import itertools

import kaufman
import numpy as np
import pytest
from chains import energies, xoshiro, z_score
from enumeration import all_states, codes, ising_law, p_value
from scipy.stats import chi2

import lattice_diffusion as ld
from lattice_diffusion.kernels import multispin, random_bits
from lattice_diffusion.kernels.random_bits import LANES, K
from lattice_diffusion.models.ising import BETA_CRITICAL
from lattice_diffusion.samplers.multispin import (
    ONES,
    digit_words,
    expansion,
    flip_probabilities,
    multispin_chain,
    unpack_bits,
)

UPDATES = ("metropolis", "heat_bath")


def sweep(chain, n_sweeps, n_digits=K, repaired=True):
    """Sweeps with fewer binary digits (more repairs), or with the repair left out (the mutant)."""
    table = expansion(flip_probabilities(chain.beta, chain.update), n_digits)
    if not repaired:
        table = dataclasses.replace(table, rate=np.zeros_like(table.rate))
    digits = digit_words(table.threshold, chain.layout.odd)
    glauber = ONES if chain.update == "heat_bath" else np.uint64(0)
    chain.layout.sweep(chain.packed, chain.work, n_sweeps, digits, table.rate, table.value, glauber)
    return chain


# --- random words -------------------------------------------------------------------------------------------------


class Twin:
    """The Bernoulli bits in plain NumPy and Python integers, from a copy of `work`."""

    def __init__(self, work, table):
        self.lanes, self.scalar = work[: 4 * LANES].reshape(4, LANES).copy(), work[7 * LANES :].reshape(4, 1).copy()
        self.table = table
        self.gap = self.draw_gap()

    def uniform(self):
        return (int(xoshiro(self.scalar)[0] >> np.uint64(11)) + 1) * 2.0**-53

    def draw_gap(self):
        top = self.table.rate.max()
        return 2**62 if top == 0 else int(np.log(self.uniform()) / np.log1p(-top))

    def draw(self, n, odd):
        """Booleans (n, 64), one for each class; odd: (n, 64) parity of the degree."""
        u = np.zeros((n, 64), int)
        state = self.lanes[:, :n]
        for k in range(K):
            u += (unpack_bits(~xoshiro(state)) > 0) * 2**k
        odd = odd.astype(int)
        bits = [u < self.table.threshold[odd, c] for c in range(3)]
        while self.gap < 64 * n:
            at = divmod(self.gap, 64)
            v = self.uniform() * self.table.rate.max()
            for c in range(3):
                if v <= self.table.rate[odd[at], c]:
                    bits[c][at] = self.table.value[odd[at], c]
            self.gap += 1 + self.draw_gap()
        self.gap -= 64 * n
        return bits


def local_fields(spins, periodic):
    """s_i sum_j s_j and the number of neighbours, by padding; spins (..., rows, columns)."""
    rows, columns = spins.shape[-2:]
    total, degree = np.zeros(spins.shape, int), np.zeros((rows, columns), int)
    for axis, shift in itertools.product((0, 1), (1, -1)):
        present = np.ones((rows, columns), bool)
        if not periodic[axis]:
            edge = 0 if shift == 1 else -1
            np.moveaxis(present, axis, 0)[edge] = False
        total += np.roll(spins, shift, axis - 2) * present
        degree += present
    return spins * total, degree


def flips(field, degree, bits, update):
    """What the physics says, case by case, given the bits of the three classes."""
    strong, weak, level = bits
    chosen = np.where(np.abs(field) >= 3, strong, weak)
    chosen = np.where((degree <= 2) & (np.abs(field) == 2), weak, chosen)
    if update == "metropolis":
        return np.where(field <= 0, level, chosen)
    return np.where(field == 0, level, chosen ^ (field < 0))


def twin_strips(spins, periodic, twin, update, n_sweeps):
    """The checkerboard in the kernel's order of words, on an ordinary (rows, columns) array of spins."""
    rows, columns = spins.shape
    height, width = rows // 64, columns // 2
    segments = [(0, width)] if periodic[1] else [(0, 1), (1, width - 1), (width - 1, width)]
    spins = spins.copy()
    for _, color, i in itertools.product(range(n_sweeps), range(2), range(height)):
        for start, stop in segments:
            for first in range(start, stop, LANES):
                j = np.arange(first, min(first + LANES, stop))[:, None]
                if j.size == 0:
                    continue
                row = np.arange(64) * height + i
                column = 2 * j + (row + color) % 2
                field, degree = local_fields(spins, periodic)
                field, degree = field[row, column], degree[row, column]
                change = flips(field, degree, twin.draw(len(j), degree % 2), update)
                spins[row, column] *= np.where(change, -1, 1)
    return spins


def twin_replicas(spins, periodic, twin, update, n_sweeps):
    """Sites of even degree, then the odd ones; as many at once as have words in the lanes."""
    spins = spins.copy()
    n = len(spins) // 64
    at_once = max(1, LANES // n)
    for _, parity in itertools.product(range(n_sweeps), range(2)):
        sites = np.argwhere(local_fields(spins, periodic)[1] % 2 == parity)
        for block in range(0, len(sites), at_once):
            some = sites[block : block + at_once]
            for first in range(0, n, LANES):
                words = min(n - first, LANES)
                here = slice(64 * first, 64 * (first + words))
                drawn = twin.draw(words * len(some), np.full((words * len(some), 64), parity))
                for k, (i, j) in enumerate(some):
                    field, degree = local_fields(spins, periodic)
                    bits = [b[k * words : (k + 1) * words].ravel() for b in drawn]
                    spins[here, i, j] *= np.where(flips(field[here, i, j], degree[i, j], bits, update), -1, 1)
    return spins


def test_generator_follows_the_published_sequence():
    """State (1, 2, 3, 4); first outputs of the reference implementation of Blackman and Vigna."""
    state = np.array([[1], [2], [3], [4]], np.uint64)
    outputs = [int(xoshiro(state)[0]) for _ in range(4)]
    assert outputs == [41943041, 58720359, 3588806011781223, 3591011842654386]


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("n_digits", [3, K])
@pytest.mark.parametrize("periodic", list(itertools.product((True, False), repeat=2)))
@pytest.mark.parametrize("shape", [(64, 6), (128, 8), (64, 134), (192, 4)])
def test_strips_agree_with_the_twin_bit_by_bit(shape, periodic, n_digits, update):
    chain = multispin_chain(ld.Lattice(shape, periodic), 0.37, 0, np.random.default_rng(41), update)
    twin = Twin(chain.work, expansion(flip_probabilities(0.37, update), n_digits))
    expected = twin_strips(chain.spins()[0].astype(int), periodic, twin, update, 2)
    assert np.array_equal(sweep(chain, 2, n_digits).spins()[0], expected)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize(
    ("shape", "periodic", "n_replicas"),
    [
        ((3, 3), (True, True), 192),
        ((5, 4), (True, False), 64),
        ((9, 9), (False, True), 64),
        ((4, 5), (False, False), 20 * 64),
        ((2, 3), (False, False), 64),
        ((1, 4), (False, False), 64),
        ((2, 2), (False, False), 66 * 64),
    ],
)
def test_replicas_agree_with_the_twin_bit_by_bit(shape, periodic, n_replicas, update):
    lattice = ld.Lattice(shape, periodic)
    chain = multispin_chain(lattice, 0.37, 0, np.random.default_rng(42), update, n_replicas=n_replicas)
    twin = Twin(chain.work, expansion(flip_probabilities(0.37, update), 5))
    expected = twin_replicas(chain.spins().astype(int), periodic, twin, update, 3)
    assert np.array_equal(sweep(chain, 3, 5).spins(), expected)


def test_the_transposed_layout_is_the_same_chain():
    start = 2 * np.random.default_rng(43).integers(0, 2, (64, 6)) - 1
    chains = [
        multispin_chain(ld.Lattice(shape, periodic), 0.4, 5, np.random.default_rng(44), state=state)
        for shape, periodic, state in [((64, 6), (True, False), start), ((6, 64), (False, True), start.T)]
    ]
    assert np.array_equal(chains[0].spins()[0], chains[1].spins()[0].T)


def test_expansion_is_exact():
    p = np.concatenate([[0.0, 1e-300, 1e-9, 0.5, 1 - 2**-K, 1 - 1e-12, 1.0], np.random.default_rng(45).random(1000)])
    for n_digits in (1, 4, K):
        e = expansion(p, n_digits)
        realised = (1 - e.rate) * e.threshold / 2**K + e.rate * e.value.astype(int)
        assert np.allclose(realised, p, rtol=1e-15, atol=0)
        assert e.rate.max() <= 2.0**-n_digits
        assert np.any(np.abs(e.threshold / 2**K - p) > 0.1 * 2.0**-n_digits)


def word_frequencies(p, n_digits, n_draws, repaired=True):
    """Ones among the Bernoulli bits of each probability in p (2, 3), parity and class, as z-scores."""
    table = expansion(p, n_digits)
    rate = table.rate if repaired else np.zeros((2, 3))
    odd = np.array([0x5555555555555555], np.uint64)
    digits = digit_words(table.threshold, odd)
    work = np.random.default_rng(46).integers(0, 2**64, random_bits.WORK, np.uint64)
    log_miss = float(np.log1p(-rate.max()))
    gap, ones = random_bits.geometric_gap(work, log_miss), np.zeros((2, 3))
    for _ in range(n_draws):
        random_bits.bernoulli_words(work, np.uint64(LANES), digits, 0)
        gap = random_bits.repair(work, np.uint64(LANES), odd[0], rate, table.value, log_miss, gap)
        words = work[4 * LANES : 7 * LANES].reshape(3, LANES)
        ones += [np.bitwise_count(words & mask).sum(axis=1) for mask in (~odd[0], odd[0])]
    n = n_draws * LANES * 32
    return (ones - n * p) / np.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("n_digits", [2, 5, K])
def test_frequencies_of_the_bernoulli_words(n_digits):
    p = np.array([[np.exp(-3.52), np.exp(-1.76), 0.31], [0.9993, 3e-5, 0.5]])
    assert np.abs(word_frequencies(p, n_digits, 3000)).max() < 5
    assert np.abs(word_frequencies(p, n_digits, 3000, repaired=False)).max() > 5


def test_random_words_are_uncorrelated_between_lanes_and_in_time():
    """z = (agreements - N / 2) / (sqrt(N) / 2) over all pairs of lanes, lags and bit positions; mean z^2 = 1."""
    work = np.random.default_rng(47).integers(0, 2**64, random_bits.WORK, np.uint64)
    digits = digit_words(np.full((2, 3), 2 ** (K - 1)), np.zeros(1, np.uint64))
    words = np.empty((4000, LANES), np.uint64)
    for row in words:
        random_bits.bernoulli_words(work, np.uint64(LANES), digits, 0)
        row[:] = work[6 * LANES : 7 * LANES]

    def excess(first, second):
        count = np.bitwise_count(first ^ second).sum(axis=0, dtype=int)
        z = (count - 32 * len(first)) / (4 * np.sqrt(len(first)))
        return (np.mean(z**2) - 1) / np.sqrt(2 / z.size), np.abs(z).max()

    for shift in range(1, 32):
        mean, largest = excess(words, np.roll(words, shift, axis=1))
        assert abs(mean) < 5
        assert largest < 6
    for lag in range(1, 32):
        mean, largest = excess(words[lag:], words[:-lag])
        assert abs(mean) < 5
        assert largest < 6
    signs = unpack_bits(words).reshape(-1, 64).astype(float)
    z = (signs.T @ signs)[np.triu_indices(64, 1)] / np.sqrt(len(signs))
    assert abs(np.mean(z**2) - 1) / np.sqrt(2 / z.size) < 5


# --- exact laws on small lattices ---------------------------------------------------------------------------------


SMALL = {"2x2": ((2, 2), False), "2x3": ((2, 3), False), "torus": ((3, 3), True), "tube": ((3, 2), (True, False))}


def sweep_matrix(lattice, beta, update, n_digits=K):
    """T[s, s'] of one replica sweep, from the flip probabilities that the words realise."""
    e = expansion(flip_probabilities(beta, update), n_digits)
    realised = (1 - e.rate) * e.threshold / 2**K + e.rate * e.value.astype(int)
    states = all_states(lattice.n_sites).reshape(-1, *lattice.shape)
    field, degree = local_fields(states, lattice.periodic)
    strong = np.abs(field) > np.where(degree % 2 == 1, 1, 2)
    up_hill = realised[np.broadcast_to(degree % 2, field.shape), np.where(strong, 0, 1)]
    if update == "metropolis":
        flip = np.where(field <= 0, realised[0, 2], up_hill)
    else:
        flip = np.where(field == 0, 0.5, np.where(field > 0, up_hill, 1 - up_hill))
    n = lattice.n_sites
    flip = flip.reshape(-1, n)
    matrix, index = np.eye(2**n), np.arange(2**n)
    for i in np.argsort(degree.ravel() % 2, kind="stable"):
        step = np.diag(1 - flip[:, i])
        step[index, index ^ (1 << (n - 1 - i))] = flip[:, i]
        matrix = matrix @ step
    return matrix


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("name", SMALL)
def test_the_law_is_stationary_and_unique(name, update):
    shape, periodic = SMALL[name]
    lattice = ld.Lattice(shape, periodic)
    law = ising_law(shape, lattice.periodic, 0.43).ravel()
    matrix = sweep_matrix(lattice, 0.43, update)
    assert np.abs(law @ matrix - law).max() < 1e-15
    assert np.abs(law @ sweep_matrix(lattice, 0.43 * 1.01, update) - law).max() > 1e-5
    assert matrix.min() > 0


def test_metropolis_that_leaves_no_proposal_out_is_not_ergodic(monkeypatch):
    """The reason for EPSILON: in a fixed order, certain flips keep some states apart for ever."""
    lattice = ld.Lattice((2, 2))
    moduli = [np.sort(np.abs(np.linalg.eigvals(sweep_matrix(lattice, 0.43, "metropolis"))))]
    monkeypatch.setattr("lattice_diffusion.samplers.multispin.EPSILON", 0.0)
    moduli.append(np.sort(np.abs(np.linalg.eigvals(sweep_matrix(lattice, 0.43, "metropolis")))))
    assert moduli[0][-2] < 0.99
    assert moduli[1][-2] == pytest.approx(1, abs=1e-12)


def transition_p_value(name, update, n, **how):
    """Chi-square of one sweep from every state, n replicas each, against the transition matrix."""
    shape, periodic = SMALL[name]
    lattice = ld.Lattice(shape, periodic)
    states = all_states(lattice.n_sites)
    start = np.repeat(states, n, axis=0).reshape(-1, *shape)
    rng = np.random.default_rng(48)
    chain = multispin_chain(lattice, 0.43, 0, rng, update, n_replicas=len(start), state=start)
    end = codes(sweep(chain, 1, **how).spins()).reshape(len(states), n)
    expected = n * sweep_matrix(lattice, 0.43, update)
    statistic, freedom = 0.0, 0
    for row, reached in zip(expected, end, strict=True):
        counts = np.bincount(reached, minlength=len(states))
        assert counts[row == 0].sum() == 0
        rare = (row < 10) & (row > 0)
        counts = np.append(counts[row >= 10], counts[rare].sum())
        means = np.append(row[row >= 10], row[rare].sum())
        used = means > 1
        statistic += ((counts - means)[used] ** 2 / means[used]).sum()
        freedom += used.sum() - 1
    return chi2.sf(statistic, freedom)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("name", SMALL)
def test_one_sweep_from_every_state_follows_the_transition_matrix(name, update):
    n = {"torus": 2000, "2x2": 60_000}.get(name, 20_000)
    assert transition_p_value(name, update, n) > 1e-4
    assert transition_p_value(name, update, n, n_digits=4) > 1e-4
    assert transition_p_value(name, update, n, n_digits=4, repaired=False) < 1e-4


# --- large lattices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("beta", [0.4, BETA_CRITICAL])
def test_energy_of_strips_on_the_64_torus(beta, update):
    lattice = ld.Lattice((64, 64), periodic=True)
    chain = multispin_chain(lattice, beta, 20_000, np.random.default_rng(51), update)
    series = np.concatenate([energies(chain.sweep(50).spins(), lattice) for _ in range(3000)])
    exact = kaufman.energy(64, beta)
    assert abs(z_score(series, exact)) < 5
    assert abs(z_score(series, 1.02 * exact)) > 5


def test_magnetisations_of_replicas_are_uncorrelated():
    """All pairs of 256 replicas, samples thinned to independence: T r^2 averages to 1 (T - 1 with the mean removed)."""
    chain = multispin_chain(ld.Lattice((5, 5), periodic=True), 0.3, 100, np.random.default_rng(52), n_replicas=256)
    m = np.array([chain.sweep(15).spins().sum(axis=(1, 2)) for _ in range(2000)], float)
    m = (m - m.mean(axis=0)) / m.std(axis=0)
    z = (m.T @ m)[np.triu_indices(256, 1)] / np.sqrt(len(m) + 1)
    assert abs(np.mean(z**2) - 1) / np.sqrt(2 / z.size) < 5
    assert np.abs(z).max() < 6


# --- the chain as an object ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "n_replicas"), [((64, 6), 1), ((10, 128), 1), ((5, 3), 70), ((7,), 64)])
def test_packing_keeps_every_spin(shape, n_replicas):
    rng = np.random.default_rng(53)
    start = (2 * rng.integers(0, 2, (n_replicas, *shape)) - 1).astype(np.int8)
    chain = multispin_chain(ld.Lattice(shape), 0.4, 0, rng, n_replicas=n_replicas, state=start)
    spins = chain.spins()
    assert spins.dtype == np.int8
    assert np.array_equal(spins, start)


def test_memory_is_a_bit_per_spin():
    rng = np.random.default_rng(61)
    assert multispin_chain(ld.Lattice((1024, 512)), 0.4, 0, rng).packed.nbytes < 1.2 * 1024 * 512 / 8
    assert multispin_chain(ld.Lattice((7, 9)), 0.4, 0, rng, n_replicas=640).packed.nbytes == 7 * 9 * 640 / 8


def test_chain_of_spins_in_one_dimension():
    chain = multispin_chain(ld.Lattice((6,)), 0.6, 200, np.random.default_rng(54), "heat_bath", n_replicas=50_000)
    assert p_value(chain.spins(), ising_law((6,), (False,), 0.6)) > 1e-4


def test_beta_is_data_and_seeds_decide():
    lattice = ld.Lattice((64, 4), periodic=True)
    chains = [multispin_chain(lattice, 0.3, 3, np.random.default_rng(55)) for _ in range(2)]
    compiled = len(multispin.sweep_strips.signatures)
    for chain in chains:
        chain.beta = 0.6
        chain.sweep(4)
    assert np.array_equal(chains[0].spins(), chains[1].spins())
    assert not np.array_equal(chains[0].spins(), multispin_chain(lattice, 0.3, 7, np.random.default_rng(55)).spins())
    assert len(multispin.sweep_strips.signatures) == compiled


def test_strong_coupling_freezes_and_probability_zero_never_happens():
    lattice = ld.Lattice((64, 64), periodic=True)
    chain = multispin_chain(lattice, 80.0, 50, np.random.default_rng(56), state=np.ones((64, 64)))
    assert np.all(chain.spins() == 1)
    free = multispin_chain(lattice, 0.0, 3, np.random.default_rng(57), "heat_bath", state=np.ones((64, 64))).spins()
    assert abs(free.sum()) < 5 * 64


@pytest.mark.parametrize(
    ("shape", "options", "sentence"),
    [
        ((64, 64), {"beta": -0.1}, "beta must be finite and >= 0, got -0.1"),
        ((64, 64), {"update": "glauber"}, "update must be metropolis or heat_bath, got 'glauber'"),
        ((64, 64), {"n_sweeps": -1}, "n_sweeps must be an integer between 0 and 1,000,000,000, got -1"),
        ((64, 63), {}, "needs even sides, one a multiple of 64, got .*; use n_replicas=64"),
        ((4, 4, 4), {"n_replicas": 64}, "takes 2D lattices of 2 or more sites, got shape"),
        ((64, 64), {"state": np.zeros((64, 64))}, "state must hold spins -1, \\+1 of shape"),
    ],
)
def test_refusals(shape, options, sentence):
    arguments = {"beta": 0.4, "n_sweeps": 1, **options}
    with pytest.raises(ValueError, match=sentence):
        multispin_chain(ld.Lattice(shape), rng=np.random.default_rng(0), **arguments)
