"""The U-Net as the law of a pixel: what it sees, boxes and collages by hand, and what only the whole image tells."""

import json

import numpy as np
import pytest
import torch

import lattice_diffusion as ld
from lattice_diffusion import Lattice
from lattice_diffusion.channels import BitFlip, Erasure, Gaussian, Uniform
from lattice_diffusion.estimators import AmortisedLikelihood, amortised_estimates
from lattice_diffusion.estimators.amortised import ProbePlan
from lattice_diffusion.estimators.amortised_conv import MORE_OF_A, ConvLaw, ConvObjective, Scene
from lattice_diffusion.estimators.amortised_data import field_of_array
from lattice_diffusion.estimators.amortised_estimates import folds, measure
from lattice_diffusion.estimators.amortised_network import Views
from lattice_diffusion.estimators.amortised_noise import noise_of

SHAPE, RADII = (6, 5), (1, 3)
pytestmark = pytest.mark.usefixtures("judged_once")


def scene_of(images: torch.Tensor, at: list[tuple[int, int]]) -> Scene:
    ones = torch.ones_like(images[:, :1])
    return Scene(images, 2 * images, 3 * images, ones, ones, torch.tensor(at))


def test_boxes_are_cut_out_with_nothing_beyond_the_edge():
    images = torch.randn((3, 2, *SHAPE), generator=torch.Generator().manual_seed(0))
    scene = scene_of(images, [(0, 4), (3, 2), (5, 1)])
    for radius in RADII:
        padded = np.pad(images.numpy(), [(0, 0), (0, 0), (radius, radius), (radius, radius)])
        box = scene.box(radius)
        for i, (row, column) in enumerate(scene.at.tolist()):
            wanted = padded[i, :, row : row + 2 * radius + 1, column : column + 2 * radius + 1]
            assert np.array_equal(box.clean[i], wanted)
            assert np.array_equal(box.shown[i], 3 * wanted)
            assert np.array_equal(box.there[i, 0], wanted[0] != 0)
            assert np.array_equal(box.clean[i, :, *box.at[i]], images[i, :, row, column])


def test_boxes_of_a_row_have_one_row():
    box = scene_of(torch.arange(7.0).view(1, 1, 1, 7), [(0, 5)]).box(2)
    assert box.clean.tolist() == [[[[3.0, 4.0, 5.0, 6.0, 0.0]]]]
    assert box.at.tolist() == [[0, 2]]


def test_collages_are_one_image_in_the_box_and_another_beyond():
    own, other = torch.randn((2, 2, 1, *SHAPE), generator=torch.Generator().manual_seed(1))
    at = [(0, 4), (3, 2)]
    found = scene_of(own, at).beside(scene_of(other, at), torch.tensor([1, 2]))
    for i, (centre, radius) in enumerate(zip(at, (1, 2), strict=True)):
        wanted = np.where(Lattice(SHAPE).box(centre, radius), own[i, 0], other[i, 0])
        assert np.array_equal(found.clean[i, 0], wanted)
        assert np.array_equal(found.noisy[i, 0], 2 * wanted)


def test_a_view_is_all_that_the_law_sees():
    """The gradient is 0 at A and outside the box, and nowhere else in it."""
    views = Views(SHAPE, RADII, (3, 2))
    law = ConvLaw(views, 4, np.zeros((3, *SHAPE)), 4, np.random.default_rng(0))
    x = torch.randn((1, 1, *SHAPE), generator=torch.Generator().manual_seed(2)).requires_grad_()
    for view, radius in enumerate((*RADII, 9), start=1):
        whole = scene_of(x, [(3, 2)])
        scene = (whole if radius == 9 else whole.box(radius)).without_a()
        logits = law(scene, torch.tensor([view]), torch.zeros(1))
        (gradient,) = torch.autograd.grad(views.centre(logits, scene.at)[0, 1], x)
        seen = Lattice(SHAPE).box((3, 2), radius) & ~Lattice(SHAPE).box((3, 2), 0)
        assert np.array_equal(gradient[0, 0].numpy() != 0, seen)


@pytest.mark.parametrize("channel", [Gaussian("linear"), BitFlip(), Erasure(), Erasure(3), Uniform(3)], ids=repr)
def test_likelihoods_of_all_pixels_are_those_of_the_channel(channel):
    rng, times = np.random.default_rng(0), np.array([0.3, 0.6])
    tokens = getattr(channel, "q", None)
    x_0 = rng.integers(3, size=(40, 1, 4, 5)) if tokens else rng.choice([-1.0, 1.0], size=(40, 1, 4, 5))
    noise = noise_of(channel, times, field_of_array(x_0, None, tokens=tokens).pixels, "cpu")
    k = rng.integers(2, size=40)
    x_t = noise.corrupt(torch.as_tensor(x_0, dtype=torch.float32), torch.as_tensor(k), torch.Generator().manual_seed(1))
    found = noise.log_p(x_t, torch.as_tensor(k)).exp().numpy()
    for i, t in enumerate(times[k]):
        values = x_t[i, 0].double().numpy()
        if isinstance(channel, Gaussian):
            levels = np.array([-1.0, 1.0])[:, None, None]
            wanted = np.exp(-0.5 * ((values - (1 - t) * levels) / t) ** 2) / np.sqrt(2 * np.pi) / t
        else:
            levels = [-1, 1] if tokens is None else range(3)
            masked = isinstance(channel, Erasure) & (values == getattr(channel, "mask", None))
            outcome = np.where(masked, len(levels), np.searchsorted(levels, values))
            wanted = np.moveaxis(channel.output_law(t)[outcome], -1, 0)
        assert found[i] == pytest.approx(wanted, rel=1e-5)


def test_the_prior_is_the_frequency_of_levels_of_places_as_far_as_they_differ():
    x_0 = np.random.default_rng(0).integers(3, size=(3000, *SHAPE)).astype(float)
    noise = noise_of(Gaussian("linear"), np.array([0.5]), field_of_array(x_0, None).pixels, "cpu")
    alike = np.exp(ConvObjective(x_0[:, None].__getitem__, noise).prior(np.arange(3000), "cpu"))
    each = (x_0 == np.arange(3).reshape(3, 1, 1, 1)).mean(axis=1)
    assert alike.sum(axis=0) == pytest.approx(np.ones(SHAPE))
    assert np.abs(alike - 1 / 3).max() < 0.3 * np.abs(each - 1 / 3).max()
    x_0[:, 0, 0] = 2.0
    apart = np.exp(ConvObjective(x_0[:, None].__getitem__, noise).prior(np.arange(3000), "cpu"))
    assert apart[2, 0, 0] > 0.99


def test_all_pixels_of_all_views_count_alike_in_training_and_a_for_more():
    """Of what is all but erased a law without weights knows nothing, log 3 at every pixel."""
    tokens = np.random.default_rng(0).integers(3, size=(20, *SHAPE))
    pixels = field_of_array(tokens, None, tokens=3).pixels
    noise = noise_of(Erasure(3), np.array([1 - 1e-9]), pixels, "cpu")
    law = ConvLaw(Views(SHAPE, (1,), (0, 2), 0, noise.channels), 3, np.zeros((3, *SHAPE)), 4, np.random.default_rng(0))
    torch.nn.init.zeros_(law.readout.weight)
    objective = ConvObjective(tokens[:, None].astype(float).__getitem__, noise)
    loss = objective.loss(law, np.arange(9), torch.Generator().manual_seed(0), near=True)
    wanted = (np.repeat([30, 6, 6], 3) + MORE_OF_A) / 30 * np.log(3)  # a box at the edge has six pixels
    assert loss.detach().numpy() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_a_far_pixel_that_alone_tells():
    """A repeats one pixel beyond the box; where each is seen with probability 1 - t they share (1 - t)^2 log 2."""
    rng, t = np.random.default_rng(0), 0.3
    x_0 = rng.choice([-1.0, 1.0], size=(600, 5, 5))
    x_0[:, 2, 2] = x_0[:, 0, 4]
    options = {"radii": (1,), "times": (t,), "channel": Erasure(), "rng": 0}
    found = AmortisedLikelihood(body="conv", width=12, steps=200, near=0).fit(x_0, **options).estimate()
    exact = (1 - t) ** 2 * np.log(2)
    assert 0.85 * exact < float(found.cmi[0, 0]) < exact + 4 * float(found.cmi_stderr[0, 0])


PLAN = ProbePlan((0.5,), (1, 2), None, steps=2, width=4, batch_size=24, body="conv")


@pytest.mark.filterwarnings("ignore::lattice_diffusion.images.ImageWarning")
def test_a_probe_by_conv_networks_tells_labels_by_perceptrons():
    rng = np.random.default_rng(2)
    colours = rng.random((60, 5, 6, 3)).astype(np.float32)
    options = {"times": 2, "radii": (1,), "steps": 2, "width": 4, "calibrate": False, "progress": False}
    result = ld.probe(colours, labels=rng.integers(2, size=60), body="conv", **options)
    plan = json.loads(result.parameters)["plan"]
    assert (plan["body"], plan["width"], plan["batch_size"]) == ("conv", 4, 96)
    assert PLAN.by_perceptrons().width == 64
    assert np.isfinite(result["probe"]["label_information"]).all()
    sentences = rng.integers(3, size=(60, 7))
    tokens = ld.probe(sentences, tokens=3, channel="erasure", body="conv", **options)
    assert np.isfinite(tokens["probe"]["cmi_null"]).all()


@pytest.mark.filterwarnings("ignore::lattice_diffusion.images.ImageWarning")
def test_many_large_images_are_told_by_conv_networks_where_the_budget_allows(tmp_path, monkeypatch):
    monkeypatch.setattr("lattice_diffusion.estimators.amortised.MANY", 60)
    monkeypatch.setattr("lattice_diffusion.estimators.amortised.LARGE", 5)
    x = np.random.default_rng(2).random((60, 5, 6))
    options = {"times": 2, "radii": (1,), "width": 4, "calibrate": False, "progress": False}

    def body(images, **more):
        return json.loads(ld.probe(images, **options, **more).parameters)["plan"]["body"]

    seconds, tried = {"conv": 1.0, "mlp": 0.05}, []

    def pilot(field, plan, device):
        tried.append(plan.body)
        return seconds[plan.body], 0.0

    monkeypatch.setattr(amortised_estimates, "pilot", pilot)
    assert body(x, steps=2) == "mlp"
    out = tmp_path / "probe.h5"
    assert body(x, budget=5, out=out) == body(x, budget=5, out=out, resume=True) == "mlp"
    assert body(x[:59], budget=3) == body(x[:, :4], budget=3) == "mlp"
    assert "conv" not in tried  # whose pilot takes longer
    monkeypatch.setattr("lattice_diffusion.images.probe.FEW_STEPS", 2)
    seconds |= {"conv": 0.02, "mlp": 0.001}
    assert body(x, budget=5) == "conv"


def test_a_killed_measurement_goes_on_to_the_same_numbers(tmp_path):
    field = field_of_array(np.random.default_rng(3).standard_normal((60, *SHAPE)))
    expected = measure(field, PLAN)
    assert np.isfinite(expected["cmi_covariance"]).all()  # the unmeasured are left out
    steps = iter(range(6))

    def on_step() -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(field, PLAN, parts=tmp_path, on_step=on_step)
    found = measure(field, PLAN, parts=tmp_path)
    for name in ("cmi", "cmi_covariance", "cmi_null", "total_information"):
        assert np.array_equal(found[name], expected[name])


def test_averages_are_over_some_of_the_samples(monkeypatch):
    field = field_of_array(np.random.default_rng(4).standard_normal((80, *SHAPE)))
    some = dict(folds(field, PLAN, "cpu", None, lambda: None))
    assert [len(some[kind].rows) for kind in ("boxes", "null")] == [
        24,
        16,
    ]  # all boxes are 1.13 of an image: half of 48, and of 48 * 2.13 / 3.13
    monkeypatch.setattr(amortised_estimates, "n_measured", lambda plan, kind, n, shape: n)
    every = dict(folds(field, PLAN, "cpu", None, lambda: None))
    assert [len(every[kind].rows) for kind in ("boxes", "null")] == [40, 40]
    assert set(some["null"].rows) < set(some["boxes"].rows) < set(every["boxes"].rows)
