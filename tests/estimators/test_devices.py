"""torch's default device changes nothing, training waits for no step, and images are held where networks are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import lattice_diffusion as ld
from lattice_diffusion import estimators
from lattice_diffusion.channels import Erasure, Gaussian, Uniform
from lattice_diffusion.denoisers.training import TrainingConfig, minimise
from lattice_diffusion.errors import InputError
from lattice_diffusion.estimators import AmortisedLikelihood, amortised_training, neural
from lattice_diffusion.estimators.amortised import ProbePlan
from lattice_diffusion.estimators.amortised_data import field_of_array
from lattice_diffusion.estimators.amortised_estimates import Networks, _beside, measure
from lattice_diffusion.estimators.amortised_noise import noise_of
from lattice_diffusion.estimators.amortised_training import Objective, held

pytestmark = pytest.mark.usefixtures("judged_once")
FEW = {"folds": 2, "steps": 4, "batch_size": 50}
PLAN = ProbePlan((0.4,), (1,), (2, 2), seed=3, steps=12, width=8, batch_size=16, folds=2)


@pytest.fixture
def images():
    return ld.models.Ising(ld.Lattice((5, 5)), 0.5).sample(60, 1)


def known(name):
    """Return what makes an estimator, by few steps where it is trained."""
    make = estimators.find(name)
    return make(**{k: v for k, v in FEW.items() if k in make().get_params()})


@pytest.mark.parametrize("name", [n for n in estimators.names() if n != "Oracle"])
def test_the_default_device_and_dtype_change_nothing(name):
    """With the default device "meta", which holds no numbers, any tensor that is made there by accident fails."""
    a, b, c = np.random.default_rng(2).standard_normal((3, 400, 1))
    expected = known(name).fit(a + b + c, c, b, rng=4).estimate().value
    torch.set_default_device("meta")
    torch.set_default_dtype(torch.float64)
    try:
        assert known(name).fit(a + b + c, c, b, rng=4).estimate().value == expected
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


def test_it_does_not_for_spins_on_a_lattice_and_the_amortised_likelihood(images):
    lattice = ld.Lattice((5, 5))
    parts = lattice.tripartition((2, 2), 1)
    many = ld.models.Ising(lattice, 0.5).sample(1500, 2)

    def values():
        likelihood = estimators.ConditionalLikelihood(**FEW)
        amortised = AmortisedLikelihood(steps=12, width=8, batch_size=16)
        first = likelihood.fit(many, parts, channel=Gaussian("linear"), t=0.0, rng=5).estimate().value
        found = amortised.fit(images, radii=(1,), times=(0.4,), channel=Gaussian("linear"), rng=6).estimate()
        return first, found.cmi.values.tolist()

    expected = values()
    torch.set_default_device("meta")
    try:
        assert values() == expected
    finally:
        torch.set_default_device(None)


class Elsewhere(torch.Generator):
    """A generator that says it is on the meta device, which has none."""

    device = torch.device("meta")


@pytest.mark.parametrize("kind", ["boxes", "null", "labels", "tokens", "gated"])
def test_no_step_of_the_amortised_likelihood_waits_for_the_device(kind, images, monkeypatch):
    """Nothing can be read from the meta device."""
    plan, tokens = replace(PLAN, body="gated" if kind == "gated" else "mlp"), kind == "tokens"
    channel = Uniform(2) if tokens else Gaussian("linear")
    field = field_of_array((images > 0).astype(float) if tokens else images, (2, 2), tokens=2 if tokens else None)
    objective = Objective(held("meta", field), noise_of(channel, np.array([0.3, 0.5]), field.pixels, "meta"))
    if kind == "null":
        objective = replace(objective, partner=_beside(objective.read, np.roll(np.arange(60), 1)))
    if kind == "labels":
        objective = replace(objective, labels=_beside(objective.read, np.arange(60) % 3))
    near = kind == "boxes"
    labels = np.arange(60) % 3
    law = Networks(field, plan, "meta").law(
        replace(objective, labels=labels) if kind == "labels" else objective, np.arange(60), np.random.SeedSequence(1)
    )
    rng, rows = Elsewhere(), torch.zeros(16, dtype=torch.int64, device="meta")
    steps = minimise(law, lambda: objective.loss(law, rows, rng, near=near), TrainingConfig(9, gradient_norm=None))
    assert [next(steps).number for _ in range(3)] == [1, 2, 3]


def test_images_held_on_a_device_give_the_numbers_of_those_read(images, monkeypatch):
    field = field_of_array(images, (2, 2), labels=np.arange(60) % 2)
    expected = measure(field, PLAN)
    monkeypatch.setattr("lattice_diffusion.estimators.amortised_estimates.held_on", held)
    found = measure(field, PLAN)
    for name in ("cmi", "label_information", "cmi_null"):
        assert np.array_equal(found[name], expected[name])


def test_images_are_held_on_a_gpu_whose_memory_has_room(images, monkeypatch):
    field = field_of_array(images, (2, 2))
    monkeypatch.setattr(amortised_training, "held", lambda device, field: (device, field))
    for free, taken in ((8 * 60 * 25, True), (8 * 60 * 25 - 1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        assert (amortised_training.held_on("cuda", field) == ("cuda", field)) == taken
    assert amortised_training.held_on("cpu", field) is field.read


def full(function, room):
    """Return the function on a GPU that has memory for `room` rows."""

    def called(self, x, *more, **how):
        if len(x) > room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..")
        return function(self, x, *more, **how)

    return called


def test_batches_too_large_for_a_gpu_are_halved(images, monkeypatch, capsys):
    law = amortised_training.PixelLaw
    monkeypatch.setattr(law, "boxes", full(law.boxes, 12))
    field, said = field_of_array(images, (2, 2)), "training goes on with batches of 8"
    objective = Objective(field.read, noise_of(Gaussian("linear"), np.array([0.4]), field.pixels, "cpu"))
    net = Networks(field, PLAN, "cpu").law(objective, np.arange(60), np.random.SeedSequence(1))
    monkeypatch.setattr(Objective, "validate", lambda *a: torch.zeros(1))
    how = {"steps": 4, "batch_size": 16}
    amortised_training.fit_law(net, objective, np.arange(60), np.random.SeedSequence(2), **how)
    assert said in capsys.readouterr().err
    monkeypatch.setattr(law, "boxes", full(law.boxes, 0))
    with pytest.raises(
        InputError, match=r"^the GPU has too little memory \(tried to allocate 2.00 GiB\); take a small"
    ):
        amortised_training.fit_law(net, objective, np.arange(60), np.random.SeedSequence(2), **how)


def test_a_gpu_without_memory_for_an_estimator(monkeypatch):
    mlp = neural.torch.nn.Linear
    monkeypatch.setattr(mlp, "forward", full(mlp.forward, 0))
    a, c = np.random.default_rng(2).standard_normal((2, 100, 1))
    with pytest.raises(InputError, match=r"too little memory \(tried to allocate 2.00 GiB\); take "):
        known("MINE").fit(a, c, rng=4)


def test_devices_that_are_not_there():
    for make in (lambda: estimators.MINE(device="cuda:7"), lambda: estimators.MINE().set_params(device="tpu")):
        with pytest.raises(InputError, match="device must be one of cpu, auto"):
            make()
    x = np.random.default_rng(3).choice([-1, 1], (30, 4, 4))
    with pytest.raises(InputError, match="device must be one of cpu, auto"):
        AmortisedLikelihood(device="cuda:7", steps=1).fit(x, radii=(1,), times=(0.5,), channel=Erasure())
    assert estimators.MINE(device="auto")._where in ("cpu", "cuda")
