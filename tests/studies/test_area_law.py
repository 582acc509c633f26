"""Area laws, unmasking and radius schedules as measured, against each other and against tables over all states."""

import itertools
import math

import numpy as np
import pytest
from refusals import refusals
from study_points import field, ising, loops, point

import lattice_diffusion as ld
from lattice_diffusion.denoisers import (
    ExactDenoiser,
    GlobalNet,
    LocalNet,
    always,
    gaussian_divergence,
    generated_covariance,
    reverse,
    unmask_loops,
    violated_vertices,
)
from lattice_diffusion.exact import enumeration
from lattice_diffusion.exact.bonds import bond_mask
from lattice_diffusion.runs.quantities import evaluate, find, sign_divergence

LOOPS, WALLS = loops(16, 14), loops(16, 14, beta=0.3)


def test_unmasking_everything_global_makes_loops():
    x = unmask_loops(np.zeros((20, 2, 9, 7)), None, np.random.default_rng(1))
    assert np.abs(x.divergence).max() == 0.0
    assert violated_vertices(x.x).max() == 0.0
    assert np.array_equal(x.x != 0, np.broadcast_to(bond_mask((9, 7), False), x.x.shape))


@pytest.mark.parametrize("radius", [0, 1])
def test_divergence_of_an_order_is_that_of_its_table(radius):
    """KL(p_0 || p_local) by counting open bonds, averaged over orders, is that of tables over all states."""
    model = ld.models.DomainWalls((2, 3))
    clean, around = enumeration.clean_table(model), enumeration.boxes(model, radius)
    laws = (enumeration.unmasked_law(clean, around, order) for order in itertools.permutations(range(clean.ndim)))
    tables = [enumeration.relative_entropy(clean, law) / clean.ndim for law in laws]
    counted = unmask_loops(np.zeros((8_000, 2, 2, 3)), radius, np.random.default_rng(2)).divergence
    error = counted.std() / math.sqrt(len(counted))
    assert abs(counted.mean() - np.mean(tables)) < 5 * error + 1e-14
    assert np.mean(tables) > 10 * error  # a difference of 10% would be seen
    assert set(np.unique(counted.round(12))) <= set(np.unique(np.round(tables, 12)))


def test_unmasking_goes_on_from_what_is_kept():
    """From x_t: kept bonds stay, and where all but the masked ones of a tree are kept nothing is lost."""
    model, rng = ld.models.DomainWalls((8, 8)), np.random.default_rng(3)
    x_t = ld.channels.Erasure().corrupt(model.sample(40, rng), 0.15, rng)
    out = unmask_loops(x_t, 2, rng)
    kept = x_t != 0
    assert np.array_equal(out.x[kept], x_t[kept])
    assert (out.divergence >= 0).all()
    assert out.divergence.mean() < unmask_loops(np.zeros_like(x_t), 2, rng).divergence.mean() / 3


@pytest.mark.parametrize(
    "model",
    [
        {"name": "ising-chain", "shape": [5], "periodic": [False], "beta": 0.7},
        ising(2, 3, beta=0.44),
        loops(2, 3, beta=0.3),
    ],
    ids=lambda model: model["name"],
)
def test_masked_area_law_over_all_orders(model):
    values = evaluate(point(model, "erasure", "masked_area", [0, 1]), np.random.default_rng(5))
    assert values["divergence"] == pytest.approx(values["area"], rel=1e-10)
    assert (values["area"] > 1e-5).all()
    assert not values["divergence_stderr"].any()


def test_divergence_of_signs():
    log_odds = np.array([0.3, math.inf, -math.inf, 0.0, math.inf])
    other = np.array([-0.4, 0.0, 0.0, 0.0, math.inf])
    p, q = 1 / (1 + math.exp(-0.3)), 1 / (1 + math.exp(0.4))
    kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert sign_divergence(log_odds, other) == pytest.approx([kl, math.log(2), math.log(2), 0.0, 0.0])
    assert sign_divergence(np.array([math.inf]), np.array([-math.inf])) == math.inf


def test_generated_covariance_is_that_of_samples():
    model, channel = ld.models.GaussianField(ld.Lattice((3, 4)), 0.4), ld.channels.Gaussian("vp")
    schedule = always(ExactDenoiser(model, channel, 1))
    times, rng, n = np.linspace(1, 0, 9), np.random.default_rng(6), 100_000
    law = generated_covariance(model, channel, times, schedule)
    x = reverse(rng.standard_normal((n, 1, 3, 4)), times, schedule, channel, rng).reshape(n, -1)
    error = np.sqrt((np.outer(np.diag(law), np.diag(law)) + law**2) / n)
    assert np.abs((x.T @ x / n - law) / error).max() < 5


def test_generation_with_the_global_denoiser_ends_in_the_field():
    model, channel = ld.models.GaussianField(ld.Lattice((3, 3)), 0.4), ld.channels.Gaussian("linear")
    everywhere, times = always(ExactDenoiser(model, channel)), (np.linspace(1, 0, n + 1) for n in (50, 100))
    errors = [gaussian_divergence(model, generated_covariance(model, channel, t, everywhere)) for t in times]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)  # the step's error enters KL squared
    exact = np.linalg.inv(model.solver.precision.toarray())
    assert gaussian_divergence(model, exact) == pytest.approx(0.0, abs=1e-12)
    assert gaussian_divergence(model, 1.1 * exact) == pytest.approx(4.5 * (1 / 1.1 - 1 + math.log(1.1)))


@pytest.mark.slow
def test_girsanov_bounds_the_generated_law():
    rng = np.random.default_rng(7)
    values = evaluate(point(field(4, 5, mass_squared=0.2), "gaussian", "generated_law", [0, 1, 2]), rng)
    # without neighbours the paths of sites are independent, as are their ends: nothing is lost in the bound
    assert values["divergence"][0] == pytest.approx(values["bound"][0], rel=1e-5)
    assert (values["divergence"] < values["bound"])[1:].all()
    assert (values["divergence"] > 0.3 * values["bound"])[1:].all()
    spins = point(ising(2, 3, beta=0.4), "gaussian", "generated_law", [0], 40_000, n_steps=60)
    low = evaluate(spins, np.random.default_rng(8))
    assert low["divergence"][0] < low["bound"][0] + 5 * low["divergence_stderr"][0]
    assert low["divergence"][0] > 20 * low["divergence_stderr"][0]


FIELD = field(6, 6, mass_squared=0.1)


@pytest.mark.slow
def test_schedules_by_the_cost_of_networks():
    """Multiply-adds are those of the networks, and the same every time; seconds alone are measured."""
    few, by = {"budgets": [0.003], "n_slices": 20, "rounds": 2, "passes": 1}, {}
    for cost in ("entries", "multiply-adds", "seconds"):
        place = point(FIELD, "gaussian", "radius_schedule", [1, 2, 3], cost=cost, **few)
        by[cost] = evaluate(place, np.random.default_rng(11))
    nets = [LocalNet(r, head="gaussian") for r in (1, 2, 3)] + [GlobalNet(head="gaussian")]
    counted = [net.multiply_adds((1, 6, 6)) / (36 * 20) for net in nets]
    assert by["multiply-adds"]["radius_cost"] == pytest.approx(counted)
    for name, values in by.items():
        slices = [np.searchsorted([1, 2, 3], r) if r > 0 else 3 for r in values["chosen_radius"][0, 0]]
        assert values["cost"][0, 0] == pytest.approx(values["radius_cost"][slices].sum())
        assert values["predicted"][0, 0] <= 0.003
        assert np.array_equal(values["area"], by["entries"]["area"])
        assert (values["radius_cost_stderr"] > 0).all() == (name == "seconds")
    assert (by["seconds"]["radius_cost"] > 0).all()


@pytest.mark.parametrize(("model", "channel"), [(LOOPS, "erasure"), (ising(5, 6, beta=0.4), "bitflip")])
def test_networks_are_timed_side_by_side(model, channel):
    values = evaluate(point(model, channel, "network_cost", [1, 4], rounds=3, passes=1), np.random.default_rng(12))
    assert values["seconds"].shape == (3,)
    assert (values["seconds"] > 0).all()
    assert (values["seconds_stderr"] > 0).all()
    assert values["multiply_adds"][0] < values["multiply_adds"][1]


test_points_are_refused = refusals(
    (point(WALLS, "erasure", "unmasking", [1]), "masked generation of domain walls takes uniform"),
    (point(WALLS, "erasure", "radius_schedule", [1]), "the radius schedule of domain walls takes"),
    (point(LOOPS, "erasure", "radius_schedule", [2, 1]), r"radii must increase, got \[2, 1\]"),
    (point(LOOPS, "bitflip", "masked_area", [1]), "the masked area takes the channel erasure, got 'bitflip'"),
    (point(ising(4, 4), "erasure", "masked_area", [1]), "lists all states of at most 12 sites or bonds, got 16"),
    (point(ising(3, 3), "gaussian", "generated_law", [1], t=0.0), "generation starts at t > 0"),
    of=lambda point: find(point.parameters["quantity"]).check(point),
)


def test_bond_images_are_refused():
    with pytest.raises(ValueError, match="x_t must be bond images"):
        unmask_loops(np.zeros((2, 8, 8)), 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="x_t must hold -1 and"):
        unmask_loops(np.full((2, 2, 4, 4), 0.5), 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="model must be a GaussianField"):
        generated_covariance(ld.models.Ising(ld.Lattice((3, 3)), 0.4), ld.channels.Gaussian(), [1, 0], None)
