"""Samples until a target error: rounds pool to what all samples at once give, and stop where they should."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_runner import assert_same_datasets

from lattice_diffusion import channels, exact, models, results
from lattice_diffusion.estimate import Curve
from lattice_diffusion.runs.points import Point, points
from lattice_diffusion.runs.quantities import Round, averages, evaluate, pool, until_target
from lattice_diffusion.runs.runner import run
from lattice_diffusion.runs.spec import Spec

SIGMA = np.array([1.0, 0.5, 2.0])


def cmi(samples):
    curve = Curve.from_samples(samples)
    return {"cmi": curve.values, "cmi_stderr": curve.stderr, "cmi_covariance": curve.covariance, "exact": np.array(3.0)}


def draw(point, rng):
    return cmi(1.0 + SIGMA * rng.standard_normal((point.n_samples, 3)))


def drawn(seed, **parameters):
    return until_target(draw, "cmi", Point(parameters), np.random.default_rng(seed))


def test_rounds_pool_to_all_samples_at_once():
    samples = np.random.default_rng(5).standard_normal((60, 3)) @ np.array([[1, 0.4, 0], [0, 2, 0.1], [0, 0, 0.3]])
    pooled = pool([Round(len(part), cmi(part)) for part in np.split(samples, [7, 9, 30])])
    for name, values in cmi(samples).items():
        assert pooled[name] == pytest.approx(values, rel=1e-12, abs=1e-15), name


@pytest.mark.parametrize(
    ("target", "worst"), [({"target_stderr": 0.03}, 0.03), ({"target_relative_error": 0.04}, 0.04)]
)
def test_the_target_is_met_at_about_the_cost_it_needs(target, worst):
    """The widest column has sigma = 2 and mean 1: both targets ask for (2 / worst)^2 samples."""
    answer = drawn(1, n_samples=200, max_samples=10**6, **target)
    assert (answer["cmi_stderr"] <= worst * (np.abs(answer["cmi"]) if "target_relative_error" in target else 1)).all()
    assert (2 / worst) ** 2 < 1.1 * answer["n_samples"] < 1.5 * (2 / worst) ** 2
    assert answer["cmi_stderr"] == pytest.approx(SIGMA / np.sqrt(answer["n_samples"]), rel=0.1)
    assert np.abs((answer["cmi"] - 1.0) / answer["cmi_stderr"]).max() < 5


def test_either_target_and_the_budget_end_the_rounds():
    base = {"n_samples": 100, "max_samples": 10**6, "target_stderr": 0.1}
    absolute = drawn(1, **base)
    loose = drawn(1, **base, target_relative_error=1e-9)
    assert loose["n_samples"] == absolute["n_samples"]
    for budget in (100, 101, 733):  # one sample has no error: 101 is out of reach
        spent = drawn(1, **{**base, "max_samples": budget, "target_stderr": 1e-9})
        assert spent["n_samples"] == (100 if budget == 101 else budget)


def test_a_target_met_at_once_gives_the_numbers_of_a_plain_run():
    plain = draw(Point({"n_samples": 50}), np.random.default_rng(3))
    answer = drawn(3, n_samples=50, max_samples=60, target_stderr=9.0)
    assert answer.pop("n_samples") == 50
    assert {name: x.tobytes() for name, x in answer.items()} == {name: x.tobytes() for name, x in plain.items()}


def test_a_run_records_how_many_samples_each_point_took(tmp_path):
    model = {"name": "ising-chain", "length": 20, "beta": [0.5, 0.9]}
    grid = {"model": model, "channel": {"name": "gaussian"}, "t": [0.6, 0.9, 1.0], "radii": [1, 2], "n_samples": 100}
    grid |= {"target_relative_error": 0.04, "max_samples": 1500}
    field = {**grid, "model": {"name": "gaussian-field", "length": 5, "mass_squared": 0.3}}
    spec = Spec(name="adaptive", seed=2, grids={"chain": grid, "field": field})
    result = run(spec, tmp_path / "a.h5", progress=False)
    chain = results.grids(result)["chain"]
    n, met = chain["n_samples"].values, (chain["cmi_stderr"].values <= 0.04 * chain["cmi"].values).all(axis=-1)
    assert (met | (n == 1500)).all()
    assert met.any()
    assert (n == 1500).any()
    assert n[:, 2].tolist() == [100, 100]  # t = 1: exactly zero
    assert (results.grids(result)["field"]["n_samples"].values == 100).all()
    with ThreadPoolExecutor(2) as pool_of_two:
        again = run(spec, tmp_path / "b.h5", executor=pool_of_two, workers=2, progress=False)
    assert_same_datasets(again, result)


def test_a_target_does_not_change_the_random_numbers_of_a_point():
    model = {"name": "ising-chain", "length": 20, "beta": 0.5}
    grid = {"model": model, "channel": {"name": "gaussian"}, "t": [0.6], "radii": [1], "n_samples": 100}
    plain = points(Spec(name="one", grids={"a": grid}))[0]
    asked = points(Spec(name="one", grids={"a": {**grid, "target_stderr": 1.0, "max_samples": 100}}))[0]
    assert asked.digest == plain.digest
    one, other = (evaluate(point, point.rng(4)) for point in (plain, asked))
    assert one["cmi"].tobytes() == other["cmi"].tobytes()


def test_nothing_seen_has_the_error_of_one_event():
    """Zeros are counted as rare, unless they are known; other constants are closed forms."""
    found = averages({"rare": np.zeros((50, 2)), "closed": np.full(50, 0.3), "both": np.eye(50)[:, :1] + [0.0, 1.0]})
    assert found["rare_stderr"].tolist() == [1 / 50, 1 / 50]
    assert (found["closed"], found["closed_stderr"]) == (pytest.approx(0.3), 0.0)
    assert found["both_stderr"] == pytest.approx([1 / 50, 1 / 50])  # one event in 50 gives the same
    assert averages({"known": np.zeros(50)}, unit=0.0)["known_stderr"] == 0.0


def test_no_connection_seen_is_not_an_error_of_zero():
    """I(A;C|B) of erased loops is 1.11(3)e-4 here, a connection that 400 samples most often do not hold."""
    grid = {"model": {"name": "domain-walls", "length": 64}, "channel": {"name": "erasure"}, "t": [0.6]}
    grid |= {"radii": [6, 64], "n_samples": 400, "target_relative_error": 0.2, "max_samples": 2_000_000}
    point = points(Spec(name="rare", grids={"a": grid}))[0]
    found = [evaluate(point, np.random.default_rng(seed)) for seed in range(3)]
    assert min(answer["n_samples"] for answer in found) > 50_000
    assert all(abs(answer["cmi"][0] - 1.11e-4) < 5 * answer["cmi_stderr"][0] < 1.2e-4 for answer in found)
    assert all(answer["cmi"][1] == answer["cmi_stderr"][1] == 0.0 for answer in found)  # C is empty: exact


@pytest.mark.parametrize("channel", ["erasure", "bitflip"])
def test_samples_that_are_all_equal_have_the_error_of_one_that_is_not(channel):
    model = models.DomainWalls((6, 6))
    curve = exact.cmi_curve(model, channels.find(channel)(), 1e-9, [model.tripartition(r) for r in (1, 2, 6)], 50)
    assert curve.stderr == pytest.approx([np.log(2) / 50, np.log(2) / 50, 0.0])
    label = model.solver.label_entropy(channels.Erasure(), 1e-9, 50)
    assert (label.value, label.stderr) == pytest.approx((0.0, np.log(2) / 50))
    assert not exact.cmi_curve(model, channels.Erasure(), 0.0, [model.tripartition(1)], 50).stderr.any()
