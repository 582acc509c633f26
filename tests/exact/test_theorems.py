"""The theorems of PHYSICS.md section 1, on systems small enough to list every state.

Each inequality comes with a case in which it would fail if the recovery were another one, and each identity with its
two sides computed apart.
"""

import itertools

import enumeration
import numpy as np
import pytest
from refusals import refusals
from scipy.integrate import trapezoid

import lattice_diffusion as ld
from lattice_diffusion.denoisers import ExactDenoiser
from lattice_diffusion.exact import enumeration as full

CHANNELS = {"bitflip": ld.channels.BitFlip(), "erasure": ld.channels.Erasure()}
GAUSSIAN = ld.channels.Gaussian()
ISING = ld.models.Ising(ld.Lattice((3, 3)), 0.47)
LOOPS = ld.models.DomainWalls((2, 3))


def division(site, box):
    A = np.arange(len(box)) == site
    return A, box, ~(A | box)


# -- tables ---------------------------------------------------------------------------------------------------


def test_tables_against_independent_enumeration():
    for model in (ISING, ld.models.IsingChain(ld.Lattice((6,), periodic=True), 0.8)):
        expected = enumeration.ising_law(model.lattice.shape, model.lattice.periodic, model.beta)
        clean = full.clean_table(model)
        np.testing.assert_allclose(clean, expected, rtol=1e-11)
        for name, channel in CHANNELS.items():
            matrix, _ = enumeration.channel_matrix(name, 0.3)
            noisy = full.noisy_table(clean, channel, 0.3)
            np.testing.assert_allclose(noisy, enumeration.noisy_law(expected, matrix), rtol=1e-10)
            A, B, C = division(0, full.boxes(model, 1)[0])
            value = full.conditional_information(noisy, A, B, C)
            assert value == pytest.approx(enumeration.cmi(noisy, A, B, C), abs=1e-13)
            twice = noisy
            for site in range(clean.ndim):
                twice = full.apply(twice, full.noise_matrix(channel, 0.3, 0.6), site)
            np.testing.assert_allclose(twice, full.noisy_table(clean, channel, 0.6), rtol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_the_law_of_domain_walls(beta):
    states, probabilities = full.law(ld.models.DomainWalls((2, 3), beta))
    assert states.shape == (32, 2, 2, 3)
    assert len(np.unique(states, axis=0)) == 32
    plaquettes = states[:, 0, 0, :-1] * states[:, 0, 1, :-1] * states[:, 1, 0, :-1] * states[:, 1, 0, 1:]
    assert np.all(plaquettes == 1)
    spins = enumeration.ising_law((2, 3), (False, False), beta)
    assert probabilities.max() == pytest.approx(2 * spins.max(), rel=1e-12)
    assert full.clean_table(ld.models.DomainWalls((2, 3), beta)).shape == (2,) * 7


test_what_has_no_table = refusals(
    (lambda: full.law(ld.models.GaussianField(ld.Lattice((3, 3)), 0.1)), "only spins and tokens have finitely many"),
    (lambda: full.law(ld.models.Ising(ld.Lattice((5, 5)), 0.1)), r"tables hold at most 2\^20 states, got 2\^25"),
    (lambda: full.law(ld.models.DomainWalls((3, 3), periodic=True)), "are listed on open grids, got a torus"),
    (lambda: full.noise_matrix(GAUSSIAN, 0.1, 0.2), "bitflip or erasure noise, got gaussian"),
)


# -- noise and recovery -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("start", [0.0, 0.3])
@pytest.mark.parametrize("model", [ISING, LOOPS], ids=["ising", "loops"])
def test_one_recovered_site_errs_by_less_than_its_information_drop(name, start, model):
    """KL(p || p-hat) <= I(A;C|B) - I(A~;C|B) <= I(A;C|B) and 2 TV^2 <= I(A;C|B), A every site in turn."""
    channel = CHANNELS[name]
    p, around = full.noisy_table(full.clean_table(model), channel, start), full.boxes(model, 1)
    violations = 0
    for stop in (0.35, 0.8, 1.0):
        matrix = full.noise_matrix(channel, start, stop)
        for site in range(p.ndim):
            A, B, C = division(site, around[site])
            noisy = full.apply(p, matrix, site)
            information = full.conditional_information(p, A, B, C)
            drop = information - full.conditional_information(noisy, A, B, C)
            error = full.relative_entropy(p, full.recover(noisy, p, matrix, site, B))
            assert -1e-14 <= error <= drop + 1e-14
            assert drop <= information + 1e-14
            distance = full.total_variation(p, full.recover(noisy, p, matrix, site, B))
            assert 2 * distance**2 <= information + 1e-14
            # mutant: a recovery that does not look at B
            blind = full.relative_entropy(p, full.recover(noisy, p, matrix, site, np.zeros_like(B)))
            violations += blind > information + 1e-6
            if stop == 1.0:  # all is lost, the recovered law is p(x_BC) p(x_A|x_B): equality
                assert error == pytest.approx(information, abs=1e-12)
    assert violations > 0


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("segment", [(0.0, 0.2), (0.3, 0.6)])
def test_a_lattice_there_and_back_errs_by_less_than_the_sum(name, segment):
    """Noise on all sites in turn, recovery in reverse order: KL(p || p-hat) <= the sum of the drops."""
    channel, order = CHANNELS[name], [4, 0, 8, 2, 6, 1, 3, 5, 7]
    p, matrix = full.noisy_table(full.clean_table(ISING), channel, segment[0]), full.noise_matrix(channel, *segment)
    errors = []
    for radius in (0, 1, 2):
        back = full.there_and_back(p, matrix, full.boxes(ISING, radius), order)
        errors.append(full.relative_entropy(p, back.law))
        assert back.law.sum() == pytest.approx(1.0, abs=1e-12)
        assert errors[-1] <= back.drop.sum() + 1e-13
        assert np.all(back.drop <= back.cmi + 1e-14)
    assert errors[0] > errors[1] > 1e-6  # a smaller box errs more
    assert errors[2] == pytest.approx(0.0, abs=1e-13)  # the box covers the lattice


# -- masked generation ------------------------------------------------------------------------------------------

UNMASKED = {
    "chain 6, r = 1": (ld.models.IsingChain(ld.Lattice((6,)), 0.8), 1),
    "ring 5, r = 1": (ld.models.IsingChain(ld.Lattice((5,), periodic=True), 0.6), 1),
    "ising 2x3, r = 0": (ld.models.Ising(ld.Lattice((2, 3)), 0.5), 0),
    "ising 2x3, r = 1": (ld.models.Ising(ld.Lattice((2, 3)), 0.5), 1),
    "loops 2x3, r = 0": (ld.models.DomainWalls((2, 3)), 0),
    "loops 2x3, r = 1": (ld.models.DomainWalls((2, 3)), 1),
}


@pytest.mark.parametrize("key", UNMASKED)
def test_area_law_of_masked_generation(key):
    """KL(p_0 || p_local), averaged over all orders, is sum_i int d eps I_eps(A_i;C|B) / (1 - eps), to rounding."""
    model, radius = UNMASKED[key]
    clean, around = full.clean_table(model), full.boxes(model, radius)
    n = clean.ndim
    orders = list(itertools.permutations(range(n)))
    average = np.mean([full.relative_entropy(clean, full.unmasked_law(clean, around, order)) for order in orders])
    nodes, weights = np.polynomial.legendre.leggauss(8)  # I_eps is a polynomial of degree n in eps
    area = 0.0
    for eps, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        noisy = full.noisy_table(clean, ld.channels.Erasure(), eps)
        for site in range(n):
            area += weight * full.conditional_information(noisy, *division(site, around[site])) / (1 - eps)
    assert area > 0.0
    assert average == pytest.approx(area, rel=1e-11)


@pytest.mark.parametrize("key", UNMASKED)
def test_the_exact_denoiser_generates_the_unmasked_law(key):
    """Probability of one clean state, from the denoiser's answers while its sites are unmasked one by one."""
    model, radius = UNMASKED[key]
    clean, rng = full.clean_table(model), np.random.default_rng(3)
    denoiser = ExactDenoiser(model, ld.channels.Erasure(), radius)
    x_0 = model.sample(1, rng).reshape(1, *denoiser.shape).astype(float)
    used = np.flatnonzero(denoiser.used)
    order = rng.permutation(clean.ndim)
    x_t, probability = np.zeros(x_0.shape), 1.0
    for site in order:
        plus = denoiser(x_t, 0.5).probability.ravel()[used[site]]
        value = x_0.ravel()[used[site]]
        probability *= plus if value > 0 else 1 - plus
        x_t.ravel()[used[site]] = value
    state = tuple((x_0.ravel()[used] > 0).astype(int))
    expected = full.unmasked_law(clean, full.boxes(model, radius), order)[state]
    assert probability == pytest.approx(expected, rel=1e-12)


# -- Gaussian noise: three spins A - B - C -----------------------------------------------------------------------


class ThreeSpins:
    """Densities of noisy spins s_A, s_B, s_C on a grid that resolves them, A with extra noise of variance u."""

    def __init__(self, t, u=0.0, n=91):
        s = np.array([-1.0, 1.0])
        self.law = np.exp(0.9 * s[:, None, None] * s[:, None] + 0.7 * s[:, None] * s + 0.3 * s[:, None, None] * s)
        self.law /= self.law.sum()
        self.alpha, self.variance = 1 - t, np.array([t**2 + u, t**2, t**2])
        self.x = [np.linspace(-self.alpha - 9 * v**0.5, self.alpha + 9 * v**0.5, n) for v in self.variance]
        steps = [x[1] - x[0] for x in self.x]
        off = [x - self.alpha * s[:, None] for x in self.x]
        like = [
            h * np.exp(-0.5 * o**2 / v) / np.sqrt(2 * np.pi * v)
            for o, v, h in zip(off, self.variance, steps, strict=True)
        ]
        slope = [like[0] * (-off[0] / self.variance[0]), *like[1:]]
        clean = [like[0] * s[:, None], *like[1:]]
        self.p, derivative, spin = (np.einsum("ijk,ia,jb,kc->abc", self.law, *w) for w in (like, slope, clean))
        self.p_ab = self.p.sum(axis=2, keepdims=True)
        self.score, self.local_score = derivative / self.p, derivative.sum(axis=2, keepdims=True) / self.p_ab
        self.mean, self.local_mean = spin / self.p, spin.sum(axis=2, keepdims=True) / self.p_ab

    @property
    def gap(self):
        """D^2."""
        return (self.p * (self.score - self.local_score) ** 2).sum()

    @property
    def information(self):
        """I(A;C|B)."""
        p_bc = self.p.sum(axis=0, keepdims=True)
        p_b = p_bc.sum(axis=2, keepdims=True)
        return (self.p * np.log(self.p * p_b / (self.p_ab * p_bc))).sum()


@pytest.mark.parametrize("t", [0.35, 0.5, 0.7])
class TestGaussianNoise:
    def test_the_gap_is_bounded_by_the_information(self, t):
        """D^2 <= (2 sqrt(m (m+3)) / sigma^2) sqrt(I), m = 1."""
        state = ThreeSpins(t)
        assert 0.0 < state.gap <= 4.0 / t**2 * np.sqrt(state.information)

    def test_de_bruijn(self, t):
        """d/du I(A + sqrt(u) Z; C|B) = -D^2/2 at u = 0, by central differences extrapolated once."""
        h = 0.02 * t**2
        slopes = [(ThreeSpins(t, k).information - ThreeSpins(t, -k).information) / (2 * k) for k in (h, 2 * h)]
        assert (4 * slopes[0] - slopes[1]) / 3 == pytest.approx(-ThreeSpins(t).gap / 2, rel=1e-5)

    def test_the_information_is_the_integral_of_the_gap(self, t):
        """I = 1/2 int_0^inf D(u)^2 du, with w = sigma^2 / (sigma^2 + u) as the variable."""
        nodes, weights = np.polynomial.legendre.leggauss(18)
        w = (nodes + 1) / 2
        gaps = np.array([ThreeSpins(t, t**2 * (1 / v - 1), 81).gap for v in w])
        integral = 0.5 * (weights / 2 * gaps * t**2 / w**2).sum()
        assert integral == pytest.approx(ThreeSpins(t).information, rel=1e-7)

    def test_tweedie(self, t):
        """MSE of the local less that of the global denoiser = (sigma^4 / alpha^2) D^2."""
        state = ThreeSpins(t)
        errors = [1 - (state.p * mean**2).sum() for mean in (state.local_mean, state.mean)]
        assert errors[0] - errors[1] == pytest.approx(t**4 / (1 - t) ** 2 * state.gap, rel=1e-10)


def test_the_gap_of_the_exact_denoiser_is_the_gap_of_the_densities():
    """E (mean - local mean)^2 of a chain of three, sampled, against quadrature of an independent density."""
    t, n, rng = 0.45, 40000, np.random.default_rng(14)
    model = ld.models.IsingChain(ld.Lattice((3,)), 0.8)
    x_t = GAUSSIAN.corrupt(model.sample(n, rng), t, rng)[:, None]
    difference = (ExactDenoiser(model, GAUSSIAN)(x_t, t).mean - ExactDenoiser(model, GAUSSIAN, 1)(x_t, t).mean)[:, 0, 0]
    x = np.linspace(-5, 5, 161)
    s = np.array([-1.0, 1.0])
    link = np.exp(0.8 * s[:, None] * s)
    like = np.exp(-0.5 * ((x - (1 - t) * s[:, None]) / t) ** 2) / np.sqrt(2 * np.pi) / t
    joint = np.einsum("ij,jk,ia,jb,kc->iabc", link, link, like, like, like)
    joint /= link.sum() ** 2 / 2
    p = joint.sum(axis=0)
    local = joint.sum(axis=3)
    gap = p * ((joint[1] - joint[0]) / p - ((local[1] - local[0]) / local.sum(axis=0))[:, :, None]) ** 2
    expected = trapezoid(trapezoid(trapezoid(gap, x), x), x)
    z = ((difference**2).mean() - expected) / ((difference**2).std() / np.sqrt(n))
    assert abs(z) < 5
    assert expected > 1e-4


def test_the_information_of_a_field_from_its_local_denoisers():
    """For Gaussians the integral over u is done: I = 1/2 log (noisy variance given B / given all others)."""
    model, t = ld.models.GaussianField(ld.Lattice((6, 7)), 0.15), 0.4
    x_t = np.zeros((1, 1, 6, 7))
    alpha, sigma = GAUSSIAN.alpha(t), GAUSSIAN.sigma(t)
    whole = alpha**2 * ExactDenoiser(model, GAUSSIAN).blind(x_t, t).variance + sigma**2
    for radius in (1, 2):
        local = alpha**2 * ExactDenoiser(model, GAUSSIAN, radius).blind(x_t, t).variance + sigma**2
        gap = (alpha / sigma**2) ** 2 * (
            ExactDenoiser(model, GAUSSIAN, radius)(x_t, t).variance - ExactDenoiser(model, GAUSSIAN)(x_t, t).variance
        )
        for center in ((3, 3), (0, 1)):
            exact = ld.exact.cmi(model, GAUSSIAN, t, model.lattice.tripartition(center, radius))
            at = (0, 0, *center)
            assert 0.5 * np.log(local[at] / whole[at]) == pytest.approx(exact.value, abs=1e-14)
            assert gap[at] <= 4.0 / sigma**2 * np.sqrt(exact.value)
