"""The gated law of a pixel: local spectra of views by hand, its field of view, and a texture that only C tells."""

import json

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import lattice_diffusion as ld
from lattice_diffusion import Lattice
from lattice_diffusion.channels import Gaussian
from lattice_diffusion.errors import InputError
from lattice_diffusion.estimators import AmortisedLikelihood
from lattice_diffusion.estimators.amortised import ProbePlan
from lattice_diffusion.estimators.amortised_data import field_of_array
from lattice_diffusion.estimators.amortised_estimates import Networks
from lattice_diffusion.estimators.amortised_gate import LAGS
from lattice_diffusion.estimators.amortised_network import PixelLaw, Views
from lattice_diffusion.estimators.amortised_noise import noise_of
from lattice_diffusion.estimators.amortised_training import Objective, fit_law

pytestmark = pytest.mark.usefixtures("judged_once")
SHAPE, RADII, LEVELS = (6, 5), (1, 2), np.array([[-1.0], [0.0], [1.0]])


def law_of(views: Views, channels: int = 1) -> PixelLaw:
    law = PixelLaw(views, 4, 3, 8, np.random.default_rng(0), n_times=2, levels=LEVELS)
    with torch.no_grad():
        for name in ("last", "tilt"):
            law.weights[name].normal_(generator=torch.Generator().manual_seed(4))
        law.gate.mean.normal_(generator=torch.Generator().manual_seed(5))
    return law


@pytest.mark.parametrize(("pixel", "near", "channels"), [((2, 1), 0, 1), (None, 0, 2), ((3, 3), 2, 1)])
def test_spectra_are_sums_over_pairs_in_the_view(pixel, near, channels):
    views = Views(SHAPE, RADII, pixel, near, channels)
    gate, rng = law_of(views).gate, np.random.default_rng(3)
    assert len(gate.lags) == len(LAGS)
    x, k = rng.standard_normal((5, channels, *SHAPE)), torch.tensor([0, 1, 1, 0, 1])
    at = views.draw(5, torch.Generator().manual_seed(1), near=near > 0)
    found = gate.spectrum(torch.as_tensor(x, dtype=torch.float32), at, k)
    for i, centre in enumerate(at.tolist()):
        image = np.where(Lattice(SHAPE).box(centre, 0), 0.0, x[i])
        for j, radius in enumerate((-1, *RADII, 9)):
            inside = Lattice(SHAPE).box(centre, radius) if radius > 0 else np.zeros(SHAPE, bool)
            for lag, (down, right) in enumerate(gate.lags):
                pairs = [
                    ((a, b), (a + down, b + right))
                    for a, b in np.argwhere(inside)
                    if 0 <= a + down < SHAPE[0] and 0 <= b + right < SHAPE[1] and inside[a + down, b + right]
                ]
                products = [image[:, *p] @ image[:, *q] - float(gate.mean[k[i], lag]) for p, q in pairs]
                assert float(found[i, j, lag]) == pytest.approx(sum(products), abs=1e-4)


def test_a_view_is_all_that_the_law_sees():
    """The gradient is 0 at A and outside the box, and nowhere else in it."""
    views = Views(SHAPE, RADII, (3, 2))
    law, at = law_of(views), torch.tensor([[3, 2]])
    for view, radius in enumerate((0, *RADII, 9)):
        x = torch.randn((1, 1, *SHAPE), generator=torch.Generator().manual_seed(2)).requires_grad_()
        k = torch.zeros(1, dtype=torch.long)
        hidden = law.seen(x, at, k)[:, view : view + 1]
        spectrum = hidden[:, :, 8:]
        law(hidden, torch.tensor([[view]]), k, torch.zeros(2), at)[0, 0, 0].backward(retain_graph=True)
        seen = Lattice(SHAPE).box((3, 2), radius) & ~Lattice(SHAPE).box((3, 2), 0)
        assert np.array_equal(x.grad[0, 0].numpy() != 0, seen)
        if radius:
            assert torch.autograd.grad(spectrum.sum(), x)[0].abs().sum() > 0


def test_scales_are_those_of_the_images():
    x = np.random.default_rng(1).standard_normal((300, 6, 5)) @ np.tri(5)
    field, plan = field_of_array(x, (3, 2)), ProbePlan((0.3, 0.6), RADII, (3, 2), width=8, body="gated")
    noise = noise_of(Gaussian("linear"), np.array(plan.times), field.pixels, "cpu")
    for partner in (None, np.roll(np.arange(300), 1)):
        objective, rng = Objective(field.read, noise, partner), torch.Generator().manual_seed(6)
        law = Networks(field, plan, "cpu").law(objective, np.arange(300), np.random.SeedSequence(2))
        fit_law(law, objective, np.arange(300), np.random.SeedSequence(3), steps=1, batch_size=8)
        rows, at = np.tile(np.arange(300), 4), torch.tensor([[3, 2]]).expand(1200, 2)
        for t in range(2):
            spectra = objective.hidden(law, rows, torch.full((1200,), t), at, rng)[:, -1, 8:].numpy()
            scale = law.gate.scale.reshape(2, law.n_views, -1)[t, -1].numpy()
            assert spectra.mean(axis=0) / scale == pytest.approx(np.zeros(len(LAGS)), abs=0.3)
            assert spectra.std(axis=0) / scale == pytest.approx(np.ones(len(LAGS)), abs=0.25)


def test_a_texture_that_only_c_tells():
    """Rows x_{i+1} = +-rho x_i + noise: the neighbours of A do not tell the sign of the row, all others together do."""
    n, rho, t, a = 31, 0.6, 0.2, 15
    ahead = rho ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    covariances = [ahead, ahead * (-1.0) ** np.add.outer(np.arange(n), np.arange(n))]
    rng = np.random.default_rng(0)
    draws = [rng.multivariate_normal(np.zeros(n), c, 2000) for c in covariances]
    x_0 = np.concatenate(draws)
    x_t = Gaussian("linear").corrupt(x_0, t, rng)

    def log_p(sites: list[int]) -> np.ndarray:
        noisy = [(1 - t) ** 2 * c[np.ix_(sites, sites)] + t**2 * np.eye(len(sites)) for c in covariances]
        return logsumexp([multivariate_normal(cov=c).logpdf(x_t[:, sites]) for c in noisy], axis=0)

    b, others = [a - 1, a + 1], [i for i in range(n) if i != a]
    exact = log_p(list(range(n))) - log_p(others) - log_p([a, *b]) + log_p(b)
    options = {"width": 32, "batch_size": 128, "steps": 200, "near": 0, "corrected": False, "body": "gated"}
    fitted = AmortisedLikelihood(**options).fit(x_0, radii=(1,), times=(t,), pixel=(0, a), rng=0)
    found, error = float(fitted.estimate().cmi[0, 0]), exact.std() / len(exact) ** 0.5
    assert 0.6 * exact.mean() < found < exact.mean() + 4 * error  # the perceptron has 0.34 of it


@pytest.mark.filterwarnings("ignore::lattice_diffusion.images.ImageWarning")
def test_a_probe_by_gated_networks():
    rng = np.random.default_rng(2)
    colours = rng.random((60, 5, 6, 3)).astype(np.float32)
    options = {"times": 2, "radii": (1,), "steps": 3, "calibrate": False, "progress": False}
    result = ld.probe(colours, labels=rng.integers(2, size=60), body="gated", **options)
    assert json.loads(result.parameters)["plan"]["body"] == "gated"
    assert np.isfinite(result["probe"]["label_information"]).all()
    sentences = rng.integers(3, size=(60, 7))
    tokens = ld.probe(sentences, tokens=3, channel="erasure", body="gated", **options)
    assert np.isfinite(tokens["probe"]["cmi_null"]).all()


def test_bodies_that_are_not_there():
    with pytest.raises(InputError, match="body must be one of mlp, gated, conv, got 'attention'"):
        ProbePlan((0.5,), (1,), (2, 2), body="attention")
    with pytest.raises(InputError, match="body must be"):
        AmortisedLikelihood(body="attention")
