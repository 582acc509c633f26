"""The probe on data of known truth, its views, its resumption, its command line and every bad input."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lattice_diffusion import Lattice, cli, exact, results
from lattice_diffusion.channels import Gaussian
from lattice_diffusion.estimators.image_likelihood import Noise, PixelLaw, Pixels
from lattice_diffusion.estimators.image_views import Views
from lattice_diffusion.experiments.probe import ProbePlan, field_of_array, measure
from lattice_diffusion.experiments.probe_calibration import calibrate
from lattice_diffusion.experiments.renderings import Rendering
from lattice_diffusion.models import Ising

SMALL = {"width": 32, "batch_size": 128}


# -- views ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pixel", [(2, 1), (0, 4), None])
def test_boxes_are_the_lattice_s_boxes(pixel):
    """The first layer on a box is the first layer on an image that is 0 outside the box and at A."""
    shape, radii = (6, 5), (1, 2)
    rng = np.random.default_rng(3)
    views = Views(shape, radii, pixel)
    law = PixelLaw(views, 4, 2, 8, rng)
    x = rng.standard_normal((7, *shape))
    at = views.draw(7, torch.Generator().manual_seed(1))
    boxes = law.boxes(views.around(torch.as_tensor(x, dtype=torch.float32), at)).detach().numpy()
    for i, centre in enumerate(at.tolist()):
        for j, radius in enumerate((0, *radii, 9)):
            seen = Lattice(shape).box(centre, radius) & ~Lattice(shape).box(centre, 0)
            alone = torch.as_tensor(np.where(seen, x[i], 0.0)[None], dtype=torch.float32)
            expected = law.boxes(views.around(alone, at[i : i + 1]))[0, -1].detach().numpy()
            assert boxes[i, j] == pytest.approx(expected, abs=1e-5)


def test_every_other_pixel_is_around_once():
    views = Views((5, 4), (1,), (3, 1))
    image = torch.arange(20.0).reshape(1, 5, 4)
    around = views.around(image, torch.tensor([[3, 1]]))[0].tolist()
    assert sorted(around) == [k for k in range(20) if k != 13]
    assert set(around[:8]) == {8, 9, 10, 12, 14, 16, 17, 18}


def test_law_of_the_noisy_value_is_the_known_mixture():
    """log q and E[A|x_A] against a sum over levels in double precision."""
    levels = np.array([-1.0, 0.1, 0.7])
    noise = Noise(Gaussian("linear"), np.array([0.3, 0.6]), Pixels(levels, np.zeros((2, 2)), np.ones((2, 2))), "cpu")
    q, a = np.array([0.2, 0.5, 0.3]), np.array([-0.4, 0.9])
    nats, mean = noise.log_likelihood(torch.tensor(q).log().float()[None, None], torch.tensor(a).float()[None], 1)
    joint = q * np.exp(-0.5 * ((a[:, None] - 0.4 * levels) / 0.6) ** 2) / (0.6 * np.sqrt(2 * np.pi))
    assert nats[0, 0].numpy() == pytest.approx(np.log(joint.sum(axis=1)), abs=1e-5)
    assert mean[0, 0].numpy() == pytest.approx(joint @ levels / joint.sum(axis=1), abs=1e-5)
    assert [Views.reach((28, 28), (14, 14)), Views.reach((5, 9), (0, 2))] == [14, 6]


# -- known truth ---------------------------------------------------------------------------------------------
def test_ising_samples_give_the_exact_information():
    """I(A;C|B) above its null, within errors of the exact one, and far from zero."""
    model, times = Ising(Lattice((7, 6)), beta=0.6), (0.6, 0.7, 0.8)
    plan = ProbePlan(times, (1, 2), (3, 3), steps=300, seed=2, **SMALL)
    found = calibrate(Rendering(model, np.arange(42).reshape(7, 6), (3, 3)), 4000, plan, n_exact=1000)
    truth = found["cmi_exact"].values
    stderr = np.hypot(found["cmi_above_null_stderr"].values, 0.0022 * (truth > 0.005))  # of 1000 exact samples
    z = (found["cmi_above_null"].values - truth) / stderr
    assert np.abs(z).max() < 5
    assert found["cmi_above_null"].values[1, 0] > 5 * stderr[1, 0]
    total = exact.cmi(
        model, Gaussian("linear"), 0.7, Lattice((7, 6)).tripartition((3, 3), 0), 1000, np.random.default_rng(1)
    )
    assert abs(found["total_information"].values[1] - total.value) < 5 * np.hypot(
        found["total_information_stderr"].values[1], total.stderr
    )


def test_independent_pixels_tell_nothing():
    x = np.random.default_rng(8).choice([-1.0, 1.0], (4000, 5, 5))
    found = measure(field_of_array(x), ProbePlan((0.5, 0.8), (1,), None, steps=200, **SMALL))
    error = np.hypot(found["cmi_stderr"], found["cmi_null_stderr"])
    assert np.abs((found["cmi"] - found["cmi_null"]) / error).max() < 5
    assert found["cmi_stderr"].min() >= 0.5 / (0.15 * 4000)
    assert max(np.abs(found[name]).max() for name in ("cmi", "cmi_null", "total_information")) < 0.005


def test_labels_are_known_as_well_as_bayes_knows_them():
    """The sign of all spins at once, hidden by noise: I(S;X) of m equal spins is that of one spin of snr m/sigma^2.

    The network sees 24 of 25 pixels, all but A, or the 8 of the smallest box.
    """
    labels = np.random.default_rng(6).integers(0, 2, 3000)
    spins = np.where(labels == 1, 1.0, -1.0)[:, None, None] * np.ones((3000, 5, 5))
    times = (0.7, 0.85)
    plan = ProbePlan(times, (1,), (2, 2), steps=200, **SMALL)
    found = measure(replace(field_of_array(spins), labels=labels), plan)
    single, line = Ising(Lattice((1, 1)), beta=0.0), np.ones((1, 1), bool)
    for name, m in (("label_information", 24), ("label_information_b", 8)):
        for k, t in enumerate(times):
            channel, rng = Gaussian("linear"), np.random.default_rng(7)
            time = channel.time(m * channel.snr(t))
            x = channel.corrupt(single.sample(20_000, rng), time, rng)
            of_noise = 0.5 + np.log(channel.sigma(time) * np.sqrt(2 * np.pi))
            nats = -exact.log_marginal(single, channel, time, x, line) - of_noise
            error = np.hypot(found[f"{name}_stderr"][k], nats.std() / np.sqrt(nats.size))
            assert abs(found[name][k] - nats.mean()) < 5 * error, (name, t)
    assert found["label_information_clean"] == pytest.approx(np.log(2), abs=0.01)


# -- the command ---------------------------------------------------------------------------------------------
def spins(tmp_path: Path, n: int = 1000) -> Path:
    path = tmp_path / "spins.npy"
    np.save(path, Ising(Lattice((6, 6)), beta=0.4).sample(n, np.random.default_rng(4)).astype(np.int8))
    return path


def run(path: Path, out: Path, *options: str) -> int:
    return cli.main(["probe", str(path), "--out", str(out), "--times", "0.4,0.7", "--budget", "1", *options])


class Killed(BaseException):
    pass


def test_a_killed_probe_goes_on_to_the_same_numbers(tmp_path):
    """Killed in the middle of the second network, between two checkpoints."""
    field = field_of_array(np.load(spins(tmp_path)))
    plan = ProbePlan((0.4, 0.7), (1, 2), (3, 3), steps=250, seed=5, width=16, batch_size=32)
    whole, parts, count = measure(field, plan), tmp_path / "parts", 0
    parts.mkdir()

    def stop() -> None:
        nonlocal count
        count += 1
        if count == 470:
            raise Killed

    with pytest.raises(Killed):
        measure(field, plan, parts=parts, on_step=stop)
    assert {p.name for p in parts.iterdir()} == {"fold0-boxes.npz", "fold0-null.pt"}
    done = []
    resumed = measure(field, plan, parts=parts, on_step=lambda: done.append(1))
    assert len(done) == 2 * plan.folds * plan.steps
    for name in ("cmi", "cmi_stderr", "cmi_null", "total_information", "excess_mse"):
        np.testing.assert_array_equal(resumed[name], whole[name])


def test_probe_writes_a_result_and_states_its_cost(tmp_path, capsys):
    out = tmp_path / "probe.h5"
    assert run(spins(tmp_path), out) == 0
    captured = capsys.readouterr()
    assert "probe: 1000 images of 6x6, 2 times x 2 radii, 2 folds" in captured.err
    assert "I(A;C|B) at t = " in captured.out
    result = results.read(out)
    assert result.groups["probe"]["cmi"].values.shape == (2, 2)
    assert json.loads(str(result.attributes["parameters"]))["plan"]["pixel"] == [3, 3]
    assert not (tmp_path / "probe.h5.parts").exists()
    assert run(spins(tmp_path), out) == 2
    assert "exists" in capsys.readouterr().err
    assert run(spins(tmp_path), out, "--resume") == 0
    assert "is finished" in capsys.readouterr().err
    assert cli.main(["report", str(out)]) == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--times", "soon"), "times must be how many or a list, at least two, such as 0.2,0.3,0.4, got 'soon'"),
        (("--times", "0.5"), "times must be how many or a list, at least two, such as 0.2,0.3,0.4, got '0.5'"),
        (("--times", "0.5,0.2"), "times must increase inside (0, 1), got [0.5, 0.2]"),
        (("--radii", "1..3"), "radii must be below 3, where the box covers the image, got 3"),
        (("--radii", "3..1"), "radii must be a range such as 1..12 or a list such as 1,2,4, got '3..1'"),
        (("--pixel", "corner"), "pixel must be center, average or a place such as 14,14, got 'corner'"),
        (("--pixel", "9,0"), "the pixel must be in a 6x6 image, got 9,0"),
        (("--channel", "erasure"), "channel must be gaussian for a probe, got 'erasure'"),
        (("--budget", "0"), "budget must be > 0 seconds, got 0"),
        (("--kl", "-1"), "kl must be > 0 nats, got -1"),
        (("--device", "tpu"), "device must be one of cpu"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, capsys, options, sentence):
    assert run(spins(tmp_path), tmp_path / "p.h5", *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert sentence in lines[0]
    assert [p.name for p in tmp_path.iterdir()] == ["spins.npy"]


def test_going_on_with_another_probe_is_refused(tmp_path, capsys):
    out = tmp_path / "p.h5"
    parts = tmp_path / "p.h5.parts"
    assert run(spins(tmp_path), out) == 0
    asked = json.loads(str(results.read(out).attributes["parameters"]))
    plan, data = asked.pop("plan"), asked.pop("data")
    out.unlink()
    parts.mkdir()
    (parts / "plan.json").write_text(json.dumps({"data": data, "asked": asked, "plan": {**plan, "seed": 7}}))
    capsys.readouterr()
    assert run(spins(tmp_path), out, "--resume") == 2
    assert "holds another probe: seed is 7 there and 0 here; use --force" in capsys.readouterr().err


def test_few_images_are_warned_of_with_the_expected_error(tmp_path, capsys):
    assert run(spins(tmp_path, 400), tmp_path / "p.h5", "--seed", "1") == 0
    assert "warning: spins.npy has only 400 images; expect errors of about 0.025 nats" in capsys.readouterr().err


def test_colour_and_too_few_images_are_refused(tmp_path, capsys):
    path = tmp_path / "colour.npy"
    np.save(path, np.random.default_rng(1).integers(0, 256, (1500, 6, 6, 3), dtype=np.uint8))
    assert run(path, tmp_path / "p.h5") == 2
    assert "takes grey images or spins, colour.npy has 3 channels" in capsys.readouterr().err
    with pytest.raises(ValueError, match="at least 20 images, and better 1,000, got 12"):
        field_of_array(np.random.default_rng(1).choice([-1.0, 1.0], (12, 4, 4)))
