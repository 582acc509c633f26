"""Spin models under all channels against enumeration of all states.

Posteriors and marginals are compared to 1e-10, closed forms to 1e-12, sampled CMI by z-score; a mutant with
another temperature must fail the same comparison.
"""

import itertools

import enumeration
import numpy as np
import pytest
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.errors import InputError
from lattice_diffusion.exact.spins import block_states

CHANNELS = {"bitflip": ld.channels.BitFlip(), "erasure": ld.channels.Erasure(), "gaussian": ld.channels.Gaussian()}
SYSTEMS = {
    "ising 3x4": (ld.Lattice((3, 4)), ld.models.Ising, 0.43),
    "ising 4x3": (ld.Lattice((4, 3)), ld.models.Ising, 0.61),
    "ising 2x5": (ld.Lattice((2, 5)), ld.models.Ising, 0.2),
    "ising 1x6": (ld.Lattice((1, 6)), ld.models.Ising, 0.9),
    "chain 9": (ld.Lattice((9,)), ld.models.IsingChain, 0.7),
    "ring 8": (ld.Lattice((8,), periodic=True), ld.models.IsingChain, 0.55),
    "curie-weiss 9": (ld.Lattice((9,)), ld.models.CurieWeiss, 1.3),
    "curie-weiss 7": (ld.Lattice((7,)), ld.models.CurieWeiss, 0.4),
    "free spins": (ld.Lattice((3, 3)), ld.models.Ising, 0.0),
    "in a field": (ld.Lattice((3, 4)), ld.models.Ising, 0.4, -0.3),
    "anisotropic": (ld.Lattice((4, 3)), ld.models.Ising, 0.4, 0.0, 1.7),
    "cylinder along 0": (ld.Lattice((3, 4), (True, False)), ld.models.Ising, 0.5),
    "cylinder along 1": (ld.Lattice((2, 5), (False, True)), ld.models.Ising, 0.3, 0.2, 0.6),
    "long cylinder": (ld.Lattice((2, 6), (False, True)), ld.models.Ising, 0.4, 0.2, 0.7),
    "torus": (ld.Lattice((3, 4), True), ld.models.Ising, 0.35, -0.2, 1.3),
    "torus, turned": (ld.Lattice((4, 3), True), ld.models.Ising, 0.4, 0.0, 0.6),
}


def clean_law(lattice, kind, beta, *others):
    if kind is ld.models.CurieWeiss:
        return enumeration.curie_weiss_law(lattice.n_sites, beta)
    return enumeration.ising_law(lattice.shape, lattice.periodic, beta, *others)


@pytest.fixture(params=SYSTEMS, scope="module")
def system(request):
    lattice, kind, *numbers = SYSTEMS[request.param]
    return lattice, kind(lattice, *numbers), clean_law(lattice, kind, *numbers)


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("t", [0.15, 0.6, 0.95])
def test_posteriors_and_marginals_by_enumeration(system, name, t):
    lattice, model, law = system
    channel, rng, n = CHANNELS[name], np.random.default_rng(5), lattice.n_sites
    x_t = channel.corrupt(model.sample(3, rng), t, rng)
    region = rng.random(lattice.shape) < 0.6
    sites = np.zeros(n, bool)
    sites[rng.choice(n, size=min(3, n), replace=False)] = True
    marginal = ld.exact.log_marginal(model, channel, t, x_t, region)
    mean = ld.exact.posterior_mean(model, channel, t, x_t, region)
    block = ld.exact.posterior(model, channel, t, x_t, sites.reshape(lattice.shape), region)
    states = enumeration.all_states(n)
    for k in range(3):
        weight = law.ravel().copy()
        for i in np.flatnonzero(region):
            weight *= enumeration.likelihood(name, x_t[k].ravel(), t)[i][(states[:, i] > 0).astype(int)]
        assert marginal[k] == pytest.approx(np.log(weight.sum()), abs=1e-10)
        posterior = weight / weight.sum()
        assert mean[k].ravel() == pytest.approx(posterior @ states, abs=1e-10)
        truth = [posterior[(states[:, sites] == state).all(axis=1)].sum() for state in block_states(int(sites.sum()))]
        assert block.probabilities[k] == pytest.approx(truth, abs=1e-10)
        assert block.mean[k] == pytest.approx((posterior @ states)[sites], abs=1e-10)
        assert block.variance[k] == pytest.approx(1 - (posterior @ states)[sites] ** 2, abs=1e-10)


@pytest.mark.parametrize("numbers", [(0.5, 0.0, 1.0), (0.3, 0.4, 0.6)])
@pytest.mark.parametrize("radius", [None, 0, 1])
def test_blind_log_odds_on_a_cylinder_and_in_a_field(numbers, radius):
    """Each site's law given the fields in its box, which wraps around; none of them is its own."""
    lattice, rng = ld.Lattice((4, 3), (True, False)), np.random.default_rng(9)
    law, states = enumeration.ising_law((4, 3), (True, False), *numbers).ravel(), enumeration.all_states(12)
    h = rng.normal(size=(1, 4, 3))
    found = ld.models.Ising(lattice, *numbers).solver.blind_log_odds(h, lattice.box, radius, np.ones(h.shape, bool))
    for site in np.ndindex(4, 3):
        seen = np.ones((4, 3), bool) if radius is None else lattice.box(site, radius)
        seen[site] = False
        weight, up = law * np.exp(states @ np.where(seen, h[0], 0.0).ravel()), states[:, 3 * site[0] + site[1]] > 0
        assert found[(0, *site)] == pytest.approx(np.log(weight[up].sum() / weight[~up].sum()), abs=1e-10)


def divisions(lattice):
    """Corner, edge and middle; one site and patches."""
    if lattice.ndim == 1:
        yield lattice.tripartition((lattice.n_sites // 2,), 1)
        yield lattice.tripartition((0,), 2)
        yield lattice.tripartition((3,), 1, patch=2)
    else:
        yield lattice.tripartition((0, 0), 1)
        yield lattice.tripartition((lattice.shape[0] - 1, 1), 1)
        if min(lattice.shape) > 1:
            yield lattice.tripartition((0, 1), 0, patch=2)


@pytest.mark.parametrize("name", ["bitflip", "erasure"])
def test_cmi_by_enumeration(system, name):
    lattice, model, law = system
    z_scores = []
    noisy = {t: enumeration.noisy_law(law, enumeration.channel_matrix(name, t)[0]) for t in (0.2, 0.7)}
    for t, parts in itertools.product(noisy, divisions(lattice)):
        truth = enumeration.cmi(noisy[t], parts.A, parts.B, parts.C)
        rng = np.random.default_rng(7)
        estimate = ld.exact.cmi(model, CHANNELS[name], t, parts, n_samples=800, rng=rng, method="sampled")
        if truth < 1e-13:
            assert estimate.value == pytest.approx(0.0, abs=1e-13)
            continue
        z_scores.append(estimate.z_score(truth))
        assert abs(z_scores[-1]) < 5, f"t = {t}, A = {np.flatnonzero(parts.A)}, seed 7"
        closed = ld.exact.cmi(model, CHANNELS[name], t, parts, n_samples=2, rng=rng)
        if closed.n_samples == 0:
            assert closed.value == pytest.approx(truth, abs=1e-12)
    assert not z_scores or np.mean(np.square(z_scores)) < 4


def true_cmi(law, name, t, parts, **options):
    noisy = enumeration.noisy_law(law, enumeration.channel_matrix(name, t, **options)[0])
    return enumeration.cmi(noisy, parts.A, parts.B, parts.C)


def test_a_wrong_temperature_fails_the_comparison():
    lattice = ld.Lattice((3, 4))
    parts, mutant = lattice.tripartition((0, 0), 1), ld.models.Ising(lattice, 1.1 * 0.43)
    truth = true_cmi(enumeration.ising_law((3, 4), (False, False), 0.43), "bitflip", 0.4, parts)
    estimate = ld.exact.cmi(mutant, CHANNELS["bitflip"], 0.4, parts, 4000, np.random.default_rng(7))
    assert abs(estimate.z_score(truth)) > 5


@pytest.mark.parametrize(
    ("lattice", "kind", "beta"),
    [(ld.Lattice((2, 2)), ld.models.Ising, 0.5), (ld.Lattice((4,)), ld.models.IsingChain, 0.8)],
    ids=["square", "chain"],
)
def test_gaussian_noise_by_quadrature(lattice, kind, beta):
    """Four spins: each observation on 40 values, all 40^4 noisy states."""
    t, parts = 0.55, lattice.tripartition((0,) * lattice.ndim, 0)
    parts = ld.Tripartition(parts.A, np.roll(parts.A, 1, axis=-1), ~parts.A & ~np.roll(parts.A, 1, axis=-1))
    truth = true_cmi(clean_law(lattice, kind, beta), "gaussian", t, parts, n_nodes=40)
    estimate = ld.exact.cmi(kind(lattice, beta), CHANNELS["gaussian"], t, parts, 20000, np.random.default_rng(8))
    assert abs(estimate.z_score(truth)) < 5
    assert estimate.stderr < 0.03 * truth


@pytest.mark.parametrize("t", [0.05, 0.3, 0.8, 0.99])
@pytest.mark.parametrize("beta", [0.2, 0.8, 1.7])
def test_chain_under_erasure_in_closed_form(t, beta):
    lattice, law = ld.Lattice((9,)), enumeration.ising_law((9,), (False,), beta)
    for center, radius in ((4, 1), (4, 2), (0, 2), (7, 1)):
        parts = lattice.tripartition((center,), radius)
        estimate = ld.exact.cmi(ld.models.IsingChain(lattice, beta), CHANNELS["erasure"], t, parts)
        assert estimate.stderr == 0.0
        assert estimate.value == pytest.approx(true_cmi(law, "erasure", t, parts), abs=2e-13)


@pytest.mark.parametrize("name", CHANNELS)
def test_limits_of_the_noise(name):
    lattice = ld.Lattice((5, 4))
    model, parts, rng = ld.models.Ising(lattice, 0.5), lattice.tripartition((2, 2), 1), np.random.default_rng(1)
    assert ld.exact.cmi(model, CHANNELS[name], 1.0, parts, 10, rng).value == 0.0
    clean = ld.exact.cmi(model, CHANNELS[name], 0.0, parts, 10, rng)
    assert (clean.value, clean.stderr, clean.n_samples) == (0.0, 0.0, 0)  # B parts A from C: known, not sampled
    touching = ld.exact.cmi(model, CHANNELS[name], 0.0, lattice.tripartition((2, 2), 0), 200, rng)
    assert touching.value > 5 * touching.stderr > 0.0
    free = ld.exact.cmi(ld.models.Ising(lattice, 0.0), CHANNELS[name], 0.4, parts, 10, rng)
    assert (free.value, free.stderr) == (0.0, 0.0)
    assert ld.exact.cmi(model, CHANNELS[name], 1 - 1e-4, parts, 200, rng).value < 1e-7


def test_schedules_agree_at_equal_snr():
    lattice = ld.Lattice((5, 4))
    model, parts = ld.models.Ising(lattice, 0.44), lattice.tripartition((2, 2), 1)
    values = []
    for channel in map(ld.channels.Gaussian, ("linear", "vp", "ve")):
        values.append(ld.exact.cmi(model, channel, channel.time(0.8), parts, 200, 3).value)
    assert values == pytest.approx([values[0]] * 3, rel=1e-10)


def test_chain_rule_and_order_in_the_radius():
    """I(A;C|B) + I(A;B) = I(A;BC) on samples shared by all three, and a wider buffer leaves less."""
    lattice, rng = ld.Lattice((6, 5)), np.random.default_rng(4)
    model, channel = ld.models.Ising(lattice, 0.44), CHANNELS["gaussian"]
    wide = [lattice.tripartition((3, 2), r) for r in (0, 1, 2)]
    curve = ld.exact.cmi_curve(model, channel, 0.5, wide, 4000, rng)
    assert np.all(np.diff(curve.values) < 0)
    total, conditional = curve[0], curve[1]  # radius 0: I(A;BC)
    inner = ld.Tripartition(wide[1].A, np.zeros_like(wide[1].A), wide[1].B)
    mutual = ld.exact.cmi(model, channel, 0.5, inner, 4000, np.random.default_rng(5))
    error = np.sqrt(total.stderr**2 + conditional.stderr**2 + mutual.stderr**2)
    assert abs(mutual.value + conditional.value - total.value) < 5 * error


def test_tiny_values_keep_their_digits():
    """A strongly magnetised pair far below rounding of entropies: I = KL of two nearly equal laws."""
    lattice, channel, beta, t = ld.Lattice((41,)), CHANNELS["erasure"], 0.35, 0.3
    model = ld.models.IsingChain(lattice, beta)
    radii = (8, 12)
    closed = [ld.exact.cmi(model, channel, t, lattice.tripartition((20,), r)).value for r in radii]
    assert closed[1] / closed[0] == pytest.approx((t * np.tanh(beta) ** 2) ** 4, rel=1e-3)
    assert closed[1] < 1e-18


def test_reference_point_of_the_11x11_lattice():
    """Open L = 11, beta = 0.44, linear Gaussian, t = 0.7: 1.0e-2, 2.5e-3, 5.4e-4, 1.2e-4 seen at 15% error."""
    lattice = ld.Lattice((11, 11))
    parts = [lattice.tripartition((5, 5), r) for r in (1, 2, 3, 4)]
    curve = ld.exact.cmi_curve(ld.models.Ising(lattice, 0.44), CHANNELS["gaussian"], 0.7, parts, 1500, 2)
    sketch = np.array([1.0e-2, 2.5e-3, 5.4e-4, 1.2e-4])
    assert np.all(np.abs(curve.values - sketch) < 3 * np.hypot(curve.stderr, 0.15 * sketch))


test_refusals = refusals(
    (lambda: ld.models.Ising(ld.Lattice((3, 3)), -0.3), "beta must be finite and >= 0, got -0.3; for an antiferro"),
    (lambda: ld.models.Ising(ld.Lattice((20, 20)), 0.4).solver, "shorter side <= 14, got 20x20; 14x20 is feasible"),
    (lambda: ld.models.Ising(ld.Lattice((9, 9), periodic=True), 0.4).solver, "needs a shorter side <= 8 on a"),
    (lambda: ld.models.Ising(ld.Lattice((3, 3, 3)), 0.4).solver, "needs a 2D lattice, got"),
    (lambda: ld.models.Ising(ld.Lattice((9, 15), (False, True)), 0.4).solver, "needs a periodic side <= 14, got 9"),
    (lambda: ld.models.Ising(ld.Lattice((3, 3)), 0.4, np.inf), "field must be finite, got inf"),
    (lambda: ld.models.Ising(ld.Lattice((3, 3)), 0.4, 0.0, -1), "anisotropy must be finite and >= 0, got -1"),
    (lambda: ld.models.IsingChain(ld.Lattice((5, 5)), 0.4), "takes a 1D lattice"),
    (lambda: ask(t=1.5), r"t must be in \[0, 1\]"),
    (lambda: ask(n_samples=1), "n_samples must be >= 2"),
    (lambda: ask(method="closed"), "no closed form is known for this model under gaussian noise"),
    (lambda: ask(method="fast"), "method must be one of auto, closed, sampled, got 'fast'"),
    (lambda: ask(parts=ld.Lattice((4, 4)).tripartition((1, 1), 1)), "must have the lattice's shape"),
    (lambda: ask(parts=ld.Lattice((5, 5)).tripartition((1, 1), 1, patch=3)), "A must hold 1 to 4 spins"),
    (lambda: data(np.zeros((2, 4, 5))), "x_t must have shape"),
    (lambda: data(np.full((2, 5, 5), np.nan)), "x_t must be finite"),
    (lambda: data(np.zeros((2, 5, 5)), region=np.ones((5, 5))), "region must be a boolean mask"),
    (lambda: data(np.ma.masked_equal(np.eye(5)[None], 1)), "x_t must not have masked entries, got 5"),
    (lambda: data(1j * np.ones((2, 5, 5))), "x_t must be an array of real numbers"),
)


def ask(parts=None, t=0.5, **options):
    lattice = ld.Lattice((5, 5))
    options = {"n_samples": 10, "rng": np.random.default_rng(0), **options}
    parts = lattice.tripartition((2, 2), 1) if parts is None else parts
    return ld.exact.cmi(ld.models.Ising(lattice, 0.4), CHANNELS["gaussian"], t, parts, **options)


def data(x_t, region=None):
    region = np.ones((5, 5), bool) if region is None else region
    return ld.exact.log_marginal(ld.models.Ising(ld.Lattice((5, 5)), 0.4), CHANNELS["gaussian"], 0.5, x_t, region)


def test_curve_needs_a_common_a():
    lattice = ld.Lattice((5, 5))
    parts = [lattice.tripartition(c, 1) for c in ((2, 2), (2, 3))]
    with pytest.raises(ValueError, match="must share A and A"):
        ld.exact.cmi_curve(ld.models.Ising(lattice, 0.4), CHANNELS["gaussian"], 0.5, parts)


def test_a_map_holds_the_curves_of_all_times():
    model = ld.models.Ising(ld.Lattice((5, 4)), 0.4)
    times, radii, channel = (0.2, 0.6, 1.0), (0, 1, 2, 4), CHANNELS["bitflip"]
    found = ld.exact.cmi_map(model, channel, times, radii, n_samples=60, rng=11, center=(1, 2))
    again = ld.exact.cmi_map(model, channel, times, radii, 60, np.random.default_rng(11), center=(1, 2))
    assert found.identical(again)
    parts = [model.tripartition(r, center=(1, 2)) for r in radii]
    for t, rng in zip(times, np.random.default_rng(11).spawn(3), strict=True):
        curve = ld.exact.cmi_curve(model, channel, t, parts, 60, rng)
        assert np.array_equal(found.cmi.sel(t=t), curve.values)
        assert np.array_equal(found.cmi_stderr.sel(t=t), curve.stderr)
        assert np.array_equal(found.cmi_covariance.sel(t=t), curve.covariance)
    assert float(found.cmi.sel(t=0.6, radius=4)) == 0.0  # C is empty
    assert found.n_samples.values.tolist() == [60, 60, 0]
    assert {found[name].attrs["units"] for name in ("cmi", "cmi_stderr")} == {"nat"}
    assert all(variable.attrs["long_name"] for variable in found.variables.values())


def test_a_map_takes_whole_radii_and_one_time_or_more():
    field, channel = ld.models.GaussianField(ld.Lattice((6, 6)), 0.3), CHANNELS["gaussian"]
    assert ld.exact.cmi_map(field, channel, 0.3, 1).cmi.shape == (1, 1)
    with pytest.raises(TypeError):  # not that of radius 1
        ld.exact.cmi_map(field, channel, [0.3], [1.5])
    for times in ([], [[0.3]]):
        with pytest.raises(InputError, match="times must be one or more times"):
            ld.exact.cmi_map(field, channel, times, [1])


def test_a_map_of_closed_forms_has_no_errors():
    field = ld.models.GaussianField(ld.Lattice((6, 6)), 0.3)
    found = ld.exact.cmi_map(field, CHANNELS["gaussian"], [0.3, 0.5], [1, 2])
    assert not found.cmi_stderr.any()
    assert found.cmi[1, 0] == ld.exact.cmi(field, CHANNELS["gaussian"], 0.5, field.tripartition(1)).value
