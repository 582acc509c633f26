"""Round trips of the law: exact ones against tables made another way, those of large loops against the small ones."""

import math

import numpy as np
import pytest
import study_points
from refusals import refusals
from study_points import loops

import lattice_diffusion as ld
from lattice_diffusion.denoisers import violated_vertices
from lattice_diffusion.exact import enumeration
from lattice_diffusion.runs.points import build_model
from lattice_diffusion.runs.quantities import evaluate, find
from lattice_diffusion.studies.phases import RoundTripSettings


def point(model, channel, quantity, radii, stops, t, n_samples=100):
    return study_points.point(model, channel, quantity, radii, n_samples, t, stops=stops)


ISING = study_points.ising(2, 3, beta=0.53)
RNG = np.random.default_rng


# -- all states -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["bitflip", "erasure"])
@pytest.mark.parametrize("model", [ISING, loops(2, 3), loops(2, 3, beta=0.4)], ids=["ising", "loops", "walls"])
def test_errors_stay_below_their_bounds_and_vanish_with_a_box_that_covers(model, channel):
    values = evaluate(point(model, channel, "exact_round_trip", [0, 1, 2], [0.3, 0.6, 1.0], 0.3), RNG(0))
    kl, drop, cmi, tv = (values[name] for name in ("divergence", "drop", "cmi", "total_variation"))
    assert np.isnan(kl[0]).all()  # 0.3 to 0.3 is no segment
    kl, drop, cmi, tv = kl[1:], drop[1:], cmi[1:], tv[1:]
    assert (kl <= drop + 1e-14).all()
    assert (drop <= cmi + 1e-14).all()
    n = enumeration.clean_table(build_model(model)).ndim
    assert (2 * tv**2 <= n * kl + 1e-14).all()  # Pinsker
    assert (kl[:, 1] < 0.9 * kl[:, 0]).all()
    assert (kl[:, 0] > 1e-4).all()
    assert np.abs(kl[:, 2]).max() < 1e-14
    assert tv[:, 2].max() < 1e-13


@pytest.mark.parametrize("model", [ISING, loops(2, 3)], ids=["ising", "loops"])
def test_erasing_everything_and_back_is_masked_generation(model):
    """The whole path, t = 0 to 1: sites come back in the reverse order, each from what is known of its box."""
    values = evaluate(point(model, "erasure", "exact_round_trip", [0, 1], [1.0], 0.0), RNG(0))
    built = build_model(model)
    clean = enumeration.clean_table(built)
    for k, radius in enumerate((0, 1)):
        law = enumeration.unmasked_law(clean, enumeration.boxes(built, radius), range(clean.ndim)[::-1])
        assert values["divergence"][0, k] * clean.ndim == pytest.approx(enumeration.relative_entropy(clean, law))
        assert values["total_variation"][0, k] == pytest.approx(enumeration.total_variation(clean, law))
        # nothing is left after erasure: the drops are the informations, and their sum the whole error
        assert values["drop"][0, k] == pytest.approx(values["cmi"][0, k])
        assert values["divergence"][0, k] == pytest.approx(values["cmi"][0, k])


# -- loops of any size ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "segment", [(0.2, 0.6), *(pytest.param(ends, marks=pytest.mark.slow) for ends in ((0.0, 0.45), (0.5, 1.0)))]
)
def test_divergence_is_the_area_of_the_segment(segment):
    """sum_i int_{t_a}^{t_b} I_t(A_i;C|B) / (1-t) dt from tables over all states; at r = 0 a tenth more is seen."""
    model, (start, stop) = ld.models.DomainWalls((2, 3)), segment
    clean, n = enumeration.clean_table(model), 20_000
    values = evaluate(point(loops(2, 3), "erasure", "round_trip", [0, 1, 2], [stop], start, n), RNG(1))
    nodes, weights = np.polynomial.legendre.leggauss(6)  # a polynomial of degree 6 in t
    for k, radius in enumerate((0, 1)):
        around, area = enumeration.boxes(model, radius), 0.0
        for node, weight in zip(nodes, weights, strict=True):
            t = start + (stop - start) * (node + 1) / 2
            noisy = enumeration.noisy_table(clean, ld.channels.Erasure(), float(t))
            for i, box in enumerate(around):
                A = np.arange(clean.ndim) == i
                information = enumeration.conditional_information(noisy, A, box, ~(A | box))
                area += (stop - start) * weight / 2 * information / (1 - t) / clean.ndim
        value, stderr = values["divergence"][0, k], values["divergence_stderr"][0, k]
        assert abs(value - area) < 5 * stderr
        assert area > (50 if radius == 0 else 5) * stderr
    assert values["divergence"][0, 2] == 0.0  # the box covers the grid
    assert values["violations"][0, 2] == 0.0


def test_segments_add_up():
    """Loops of one size: what two successive segments cost is what the segment over both costs."""
    stops, n = [0.5, 0.8], 4_000
    first = evaluate(point(loops(7, 6), "erasure", "round_trip", [1], stops, 0.2, n), RNG(2))
    second = evaluate(point(loops(7, 6), "erasure", "round_trip", [1], stops, 0.5, n), RNG(3))
    parts = [(first, 0), (second, 1), (first, 1)]
    (a, b, c), (e, f, g) = ([v[name][k, 0] for v, k in parts] for name in ("divergence", "divergence_stderr"))
    assert abs(a + b - c) < 5 * math.hypot(e, f, g)
    assert b > 20 * f
    assert np.isnan(second["divergence"][0, 0])


@pytest.mark.parametrize(("start", "stop"), [(0.3, 0.7), (0.0, 0.5)])
def test_broken_vertices_of_blind_bonds(start, stop):
    """2 x 2 faces, r = 0: a bond visible at t_a was redrawn with probability q = (t_b - t_a)/(1 - t_a), by a coin."""
    values = evaluate(point(loops(2, 2), "erasure", "round_trip", [0, 1], [stop], start, 20_000), RNG(4))
    q = (stop - start) / (1 - start)
    expected = (1 - start) ** 4 * (1 - (1 - q) ** 4) / 2
    assert abs(values["violations"][0, 0] - expected) < 5 * values["violations_stderr"][0, 0]
    assert 0.1 * expected > 5 * values["violations_stderr"][0, 0]
    assert values["violations"][0, 1] == 0.0


def test_vertices_with_masked_bonds_are_not_judged():
    x = ld.models.DomainWalls((3, 3)).sample(1, RNG(5))
    assert violated_vertices(x) == [0.0]
    x[0, 0, 1, 0] *= -1  # the bond between the two left vertices
    assert violated_vertices(x) == [0.5]
    x[0, 0, 0, 0] = 0
    assert violated_vertices(x) == [0.25]


def test_stops_must_increase():
    with pytest.raises(ValueError, match="stops must increase"):
        RoundTripSettings.of({"stops": [0.8, 0.4]})


test_points_are_refused = refusals(
    (point(loops(4, 4), "bitflip", "round_trip", [1], [0.5], 0.1), "uniform loops, beta = 0 .* channel erasure"),
    (point(loops(4, 4, beta=0.3), "erasure", "round_trip", [1], [0.5], 0.1), "takes uniform loops, beta = 0"),
    (point(ISING, "gaussian", "exact_round_trip", [1], [0.5], 0.1), "take discrete noise, bitflip or erasure, got"),
    (point(loops(3, 3), "erasure", "exact_round_trip", [1], [0.5], 0.1), "at most 65536, got 531441 of 12 sites"),
    of=lambda point: find(point.parameters["quantity"]).check(point),
)
