"""Generation by four schedules: what is exact at their limits, what the window and the measures of quality are."""

import numpy as np
import pytest
import study_points
from refusals import refusals
from study_points import ising, loops

import lattice_diffusion as ld
from lattice_diffusion.denoisers import ExactDenoiser, always, hybrid, pure_noise, reverse, violated_vertices
from lattice_diffusion.denoisers.reverse_process import four_schedules
from lattice_diffusion.runs.points import build_model
from lattice_diffusion.runs.quantities import evaluate, find
from lattice_diffusion.studies.hybrid_generation import (
    SCHEDULES,
    half_way_correlations,
    means,
    quality,
    truth,
    window,
)
from lattice_diffusion.studies.recovery.measure import return_times

RNG = np.random.default_rng


def point(model, channel, radii, n_samples, quantity="generation", **settings):
    return study_points.point(model, channel, quantity, np.ravel(radii).tolist(), n_samples, **settings)


# -- window and schedules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "tolerance"), [(loops(16, 16), 0.01), (ising(5, 5), 0.003)])
def test_the_window_is_where_the_exact_cmi_exceeds_the_tolerance(model, tolerance):
    channel = "erasure" if model["name"] == "domain-walls" else "gaussian"
    place = point(model, channel, 1, 2, tolerance=tolerance, n_times=19, n_noise=600)
    built, noise = place.model, place.channel
    start, stop = window(built, noise, 1, place.settings, RNG(0))
    if model["name"] == "domain-walls":
        part = built.tripartition(radius=1, bond=((7, 7), (7, 8)))
    else:
        part = built.lattice.tripartition(built.lattice.center, 1)
    n = 60_000 if model["name"] == "domain-walls" else 600
    assert 0 < start < stop < 1
    for t in (start, stop):
        below, above = (ld.exact.cmi(built, noise, t + s, part, n, RNG(1)) for s in (-0.05, 0.05))
        outside, inside = (below, above) if t == start else (above, below)
        assert outside.value + 2 * outside.stderr < tolerance < inside.value - 2 * inside.stderr


def test_schedules_are_what_their_letters_say():
    local, everything = (ExactDenoiser(build_model(ising(4, 4)), ld.channels.BitFlip(), r) for r in (1, None))
    found = four_schedules(local, everything, (0.3, 0.6))
    assert tuple(found) == SCHEDULES
    for name, schedule in found.items():
        letters = {"L": local, "G": everything}
        assert [schedule(t) for t in (0.9, 0.5, 0.1)] == [letters[letter] for letter in name]


# -- generation -----------------------------------------------------------------------------------------------------


def test_unmasked_loops():
    """Global everywhere is exact; what LGL breaks is what its window leaves out; costs are those of the schedule."""
    tight = evaluate(point(loops(20, 20), "erasure", 2, 60, tolerance=1e-4, n_noise=500), RNG(2))
    loose = evaluate(point(loops(20, 20), "erasure", 2, 60, tolerance=3e-2, n_noise=500), RNG(2))
    lll, glg, lgl, ggg = tight["error"]
    assert ggg == 0.0
    n_bonds = ld.models.DomainWalls((20, 20)).sites.sum()
    assert tight["error_stderr"][3] == pytest.approx(1 / (60 * n_bonds))  # none of 60 is broken
    assert min(lll, glg) > 20 * max(lgl, 1e-4)
    assert lgl < loose["error"][2] < lll
    model, channel = ld.models.DomainWalls((20, 20)), ld.channels.Erasure()
    local, everything = (ExactDenoiser(model, channel, r).multiply_adds((2, 20, 20)) / 760 for r in (2, None))
    share = tight["window"][1] - tight["window"][0]
    expected = [local, share * local + (1 - share) * everything, share * everything + (1 - share) * local, everything]
    assert tight["cost"] == pytest.approx(expected, rel=0.02)
    assert (tight["seconds"] > 0).all()


def test_a_global_end_repairs_uniform_loops_under_gaussian_noise():
    """Denoisers respect flips of single faces, of which all loops are images of one: what closes is uniform.

    So GLG, whose global end closes every loop, gives the true law although its window is local.
    """
    model, channel, n, rng = ld.models.DomainWalls((3, 3)), ld.channels.Gaussian(), 6_000, RNG(3)
    local, everything = (ExactDenoiser(model, channel, r, strict=False) for r in (0, None))
    times, laws = return_times(model, channel, 1.0, 30), {}
    for name, schedule in (("LLL", always(local)), ("GLG", hybrid(everything, local, 0.34, 0.54))):
        x = reverse(pure_noise((n, 2, 3, 3), channel, 1.0, rng), times, schedule, channel, rng)
        laws[name] = np.unique((x[:, model.sites] > 0) @ (1 << np.arange(12)), return_counts=True)[1]
        assert (violated_vertices(np.where(model.sites, x, 0)).mean() > 0.1) == (name == "LLL")
    assert len(laws["LLL"]) > 1000
    assert len(laws["GLG"]) == 256
    z = ((laws["GLG"] - n / 256) ** 2).sum() / (n / 256)  # chi^2 of 255 degrees of freedom
    assert abs(z - 255) < 5 * np.sqrt(2 * 255)


def test_ordered_spins_need_the_window():
    values = evaluate(point(ising(4, 5, beta=0.7), "gaussian", 1, 800, n_steps=40, n_noise=200), RNG(4))
    lll, glg, lgl, ggg = values["error"]
    assert abs(ggg) < 5 * values["error_stderr"][3] + 0.01
    assert lgl < 0.2 * lll
    assert glg > 0.2 * lll
    assert values["order_change"][0] < -20 * values["order_change_stderr"][0]
    assert abs(values["order_change"][3]) < 5 * values["order_change_stderr"][3] + 0.02
    assert values["cost"].argmin() == 0
    assert values["cost"].argmax() == 3


def test_learned_schedules_run_and_cost_what_their_networks_cost():
    few = {"train_steps": 3, "global_steps": 2, "width": 8, "depth": 1, "batch_size": 4, "n_steps": 8, "n_noise": 50}
    place = point(ising(4, 4), "gaussian", 1, 40, "learned_generation", tolerance=1e-3, **few)
    values, again = evaluate(place, RNG(5)), evaluate(place, RNG(5))
    lll, glg, lgl, ggg = values["cost"]
    assert lll < min(glg, lgl)
    assert max(glg, lgl) < ggg
    assert glg + lgl == pytest.approx(lll + ggg)  # between them every step is once local and once global
    assert np.array_equal(values["error"], again["error"])
    assert np.isfinite(values["error"]).all()


# -- quality --------------------------------------------------------------------------------------------------------


def test_true_samples_have_no_error():
    model, rng = build_model(ising(5, 6, beta=0.5)), RNG(6)
    true = truth(model, model.sample(3000, rng))
    values = quality(model, model.sample(3000, rng), true, rng)
    for name in ("error", "mean_distance", "energy_change", "order_change", "correlation_change"):
        assert abs(values[name]) < 5 * values[f"{name}_stderr"]
    warmer = quality(model, build_model(ising(5, 6, beta=0.45)).sample(3000, rng), true, rng)
    for name in ("error", "mean_distance", "energy_change"):
        assert warmer[name] > 5 * warmer[f"{name}_stderr"]
    assert warmer["correlation_change"] < -5 * warmer["correlation_change_stderr"]


@pytest.mark.parametrize("table", [ising(4, 5, beta=0.6), loops(4, 4)])
def test_the_distance_of_mean_values_has_no_bias_and_the_errors_it_says(table):
    """Of true samples, a hundred times: z-scores of mean 0 and variance 1."""
    model, rng, z = build_model(table), RNG(9), []
    for _ in range(100):
        true = truth(model, model.sample(300, rng)).means
        value, stderr = true.distance(means(model, model.sample(300, rng)), rng)
        z.append(value / stderr)
    assert abs(np.mean(z)) < 5 * np.std(z) / 10
    assert 0.6 < np.std(z) < 1.3


def test_the_distance_of_mean_values_is_how_far_they_are_moved():
    """All up, to the exact law: E |1 - m|. Of one sign only, to two: 2 E |m; m < 0|."""
    model, rng = build_model(ising(3, 4, beta=0.7)), RNG(10)
    true = truth(model, model.sample(10, rng)).means
    m = np.linspace(-1.0, 1.0, 13)
    assert true.distance(np.ones(50_000), rng)[0] == pytest.approx(true.law @ (1 - m), rel=0.01)
    positive = np.abs(means(model, model.sample(50_000, rng)))
    assert true.distance(positive, rng)[0] == pytest.approx(2 * true.law @ np.abs(m) / 2, rel=0.02)


def test_correlations_half_the_lattice_apart():
    x = RNG(7).choice([-1, 1], size=(3, 4, 6))
    expected = [
        0.5 * np.mean([s[i, j] * s[i + 2, j] for i in range(2) for j in range(6)])
        + 0.5 * np.mean([s[i, j] * s[i, j + 3] for i in range(4) for j in range(3)])
        for s in x
    ]
    assert half_way_correlations(build_model(ising(4, 6)), x) == pytest.approx(expected)


test_points_are_refused = refusals(
    (point(loops(8, 8), "erasure", [1, 2], 5), r"radii must hold the one radius .*, got \[1, 2\]"),
    (point(loops(8, 8, beta=0.3), "erasure", 1, 5), "generated for uniform loops only, beta = 0"),
    of=lambda point: find(point.parameters["quantity"]).check(point),
)


def test_a_tolerance_above_the_cmi_is_refused():
    with pytest.raises(ValueError, match=r"tolerance must be below the largest CMI, .* nats at r = 1, got 2.0"):
        evaluate(point(loops(8, 8), "erasure", 1, 5, tolerance=2.0), RNG(8))
