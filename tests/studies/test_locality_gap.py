"""The locality gap: its identities sample by sample, against exact denoisers and the exact CMI, and as learned."""

import numpy as np
import pytest
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.channels import gaussian_output_law
from lattice_diffusion.denoisers import ExactDenoiser
from lattice_diffusion.runs.points import Point
from lattice_diffusion.runs.quantities import evaluate, find
from lattice_diffusion.runs.runner import run
from lattice_diffusion.runs.spec import Spec
from lattice_diffusion.studies.locality_gap.measure import (
    check,
    expected_gap,
    field_laws,
    gap_and_error,
    identities,
    spin_laws,
)

CHANNEL = ld.channels.Gaussian()
ISING = {"name": "ising", "shape": [5, 4], "periodic": [False, False], "beta": 0.47}
FIELD = {"name": "gaussian-field", "shape": [5, 6], "periodic": [False, True], "mass_squared": 0.13}
LOOPS = {"name": "domain-walls", "shape": [4, 5], "periodic": [False, False], "beta": 0.0, "bond": [[1, 2], [2, 2]]}


def point(model, t, n_samples, radii=(0, 1), **more):
    table = {"model": model, "channel": {"name": "gaussian"}, "t": t, "radii": list(radii), "n_samples": n_samples}
    return Point({**table, "quantity": "locality_gap", **more})


def laws_of(model, t, n_samples=300, radii=(0, 1), seed=1):
    parts = [model.lattice.tripartition((2, 1), r) for r in radii]
    build = field_laws if isinstance(model, ld.models.GaussianField) else spin_laws
    return build(model, CHANNEL, t, parts, n_samples, np.random.default_rng(seed)), parts


MODELS = {
    "ising": ld.models.Ising(ld.Lattice((5, 4)), 0.47),
    "field": ld.models.GaussianField(ld.Lattice((5, 6), (False, True)), 0.13),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("t", [0.3, 0.6, 0.9])
def test_de_bruijn_and_its_integral_sample_by_sample(name, t):
    """dI/du = -D^2/2 and I = 1/2 int D^2 du hold for the law of A given every single surrounding."""
    laws, _ = laws_of(MODELS[name], t)
    alpha, sigma = CHANNEL.alpha(t), CHANNEL.sigma(t)
    found = identities(laws, alpha, sigma, np.random.default_rng(2))
    assert found["gap"].max() > 1e-5
    np.testing.assert_allclose(found["slope"], found["gap"], rtol=1e-6, atol=1e-11 * found["gap"].max())
    snr = (alpha / sigma) ** 2
    nodes, weights = np.polynomial.legendre.leggauss(40)
    area = sum(0.25 * snr * w * laws.gap(0.5 * snr * (x + 1)) for x, w in zip(nodes, weights, strict=True))
    np.testing.assert_allclose(area, found["cmi"], rtol=1e-6, atol=1e-12 * found["cmi"].max())
    assert np.all(found["gap"].mean(axis=0) <= 4.0 / sigma**2 * np.sqrt(found["cmi"].mean(axis=0)))


@pytest.mark.parametrize("name", MODELS)
def test_squared_errors_measure_the_gap(name):
    laws, _ = laws_of(MODELS[name], 0.55, 20000)
    found = identities(laws, CHANNEL.alpha(0.55), CHANNEL.sigma(0.55), np.random.default_rng(3))
    for residual, exact in (("tweedie", "gap"), ("de_bruijn", "slope"), ("integral", "cmi")):
        z = found[residual].mean(axis=0) / (found[residual].std(axis=0) / np.sqrt(20000))
        assert np.all(np.abs(z) < 5), (residual, z)
        wrong = found[residual] + 0.1 * found[exact]  # the mutant: ten per cent more
        z = wrong.mean(axis=0) / (wrong.std(axis=0) / np.sqrt(20000))
        assert np.all(z[:1] > 3), (residual, z)


@pytest.mark.parametrize("name", MODELS)
def test_against_the_exact_denoisers_and_the_exact_information(name):
    model, t, n = MODELS[name], 0.5, 4000
    laws, parts = laws_of(model, t, n)
    rng = np.random.default_rng(4)
    x_t = CHANNEL.corrupt(model.sample(n, rng), t, rng)[:, None]
    whole = ExactDenoiser(model, CHANNEL)(x_t, t).mean[:, 0, 2, 1]
    snr = CHANNEL.snr(t)
    for k, radius in enumerate((0, 1)):
        squares = (ExactDenoiser(model, CHANNEL, radius)(x_t, t).mean[:, 0, 2, 1] - whole) ** 2
        mine = laws.gap(snr)[:, k]
        error = np.hypot(squares.std(), mine.std()) / np.sqrt(n)
        assert abs(squares.mean() - mine.mean()) < 5 * error
        cmi = ld.exact.cmi(model, CHANNEL, t, parts[k], n, rng)
        mine = laws.divergence(snr)[:, k]
        error = np.hypot(cmi.stderr, mine.std() / np.sqrt(n)) if name == "ising" else 1e-13 / 5
        assert abs(cmi.value - mine.mean()) < 5 * error


def test_gap_of_one_spin_by_direct_quadrature():
    law = gaussian_output_law(1.7)
    q, p, f = (np.array([[1 - x, x]]) for x in (0.31, 0.84, 0.5))
    joint = [(w[:, 1:] * law[:, 0], w[:, :1] * law[:, 1]) for w in (q, p)]
    y_mean = [(up - down) / (up + down) for up, down in joint]
    weight = q[:, 1:] * law[:, 0] + q[:, :1] * law[:, 1]
    direct = float((weight * (y_mean[0] - y_mean[1]) ** 2).sum())
    assert expected_gap(q, p, law)[0] == pytest.approx(direct, rel=1e-12)
    total, error = gap_and_error(q, p, p, law)
    assert total[0] == pytest.approx(direct, rel=1e-12)
    assert error[0] == pytest.approx(0.0, abs=1e-15)
    assert gap_and_error(q, q, f, law)[1][0] == pytest.approx(expected_gap(q, f, law)[0], rel=1e-12)


def test_the_quantity_on_all_models():
    for model in (ISING, FIELD, LOOPS):
        more = {} if "bond" in model else {"center": [2, 1]}
        found = evaluate(point(model, 0.5, 400, **more), np.random.default_rng(5))
        assert set(found) == set(find("locality_gap").columns)
        assert found["gap"][0] > found["gap"][1] > 0.0
        assert found["slope"] == pytest.approx(found["gap"], rel=1e-5)
    field = evaluate(point(FIELD, 0.5, 10, center=[2, 1]), np.random.default_rng(5))
    assert np.all(field["gap_stderr"] == 0.0)


def test_learned_gap_is_the_exact_one_and_its_error(tmp_path):
    settings = {"times": [0.5, 0.7], "train_steps": 150, "batch_size": 32, "width": 12, "depth": 1}
    grid = {"model": {"name": "ising", "length": 5, "beta": [0.4]}, "channel": {"name": "gaussian"}, "radii": [1]}
    grid |= {"n_samples": 2000, "quantity": "learned_gap", "settings": settings}
    found = run(Spec(name="learned", grids={"learned": grid}), tmp_path / "learned.h5", progress=False)["learned"]
    excess, stderr = found["excess"].values, found["excess_stderr"].values
    assert excess.shape == (1, 2, 1)
    assert np.all(np.abs(excess) < 5 * stderr)
    assert np.all(found["error"].values > 0)
    # trained, not guessed: a box that tells nothing would miss by E[s|y]-like amounts
    assert np.all(found["error"].values < 3 * found["gap"].values + 0.05)


test_refused_points = refusals(
    ({"channel": {"name": "erasure"}}, "the locality gap of scores takes the gaussian channel, got"),
    ({"t": 0.0}, "the locality gap needs a score and a signal, 0 < t < 1, got t = 0"),
    of=lambda changes: check(point(ISING, **{"t": 0.5, "n_samples": 10, "center": [2, 1], **changes})),
)
