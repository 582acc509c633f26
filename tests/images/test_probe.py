"""The probe on data of known truth, its views, its resumption, its command line and every bad input."""

import json
import math
import re
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import lattice_diffusion as ld
from lattice_diffusion import Lattice, cli, exact, results
from lattice_diffusion.channels import BitFlip, Erasure, Gaussian
from lattice_diffusion.errors import InputError
from lattice_diffusion.estimators import amortised_estimates
from lattice_diffusion.estimators.amortised import ProbePlan, reach
from lattice_diffusion.estimators.amortised_data import Pixels, field_of_array
from lattice_diffusion.estimators.amortised_estimates import measure, pilot
from lattice_diffusion.estimators.amortised_network import PixelLaw, Views
from lattice_diffusion.estimators.amortised_noise import log_likelihood, noise_of
from lattice_diffusion.estimators.amortised_training import gain_to_come
from lattice_diffusion.images import open_images
from lattice_diffusion.images.calibration import calibrate, distance, pictures_for
from lattice_diffusion.images.decisions import probe_variables
from lattice_diffusion.images.hybrid import grid_of_probe
from lattice_diffusion.images.lattice_images import Rendering
from lattice_diffusion.images.probe import OVERHEAD_STEPS, _costed, field_of_images
from lattice_diffusion.models import Ising

pytestmark = pytest.mark.usefixtures("judged_once")
SMALL = {"width": 32, "batch_size": 128}


# -- views ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("pixel", "near", "channels"), [((2, 1), 0, 1), ((0, 4), 2, 1), (None, 0, 1), ((3, 3), 1, 3)])
def test_boxes_are_the_lattice_s_boxes(pixel, near, channels):
    """The first layer on a box is the first layer on an image that is 0 outside the box and at A."""
    shape, radii = (6, 5), (1, 2)
    rng = np.random.default_rng(3)
    views = Views(shape, radii, pixel, near, channels)
    law = PixelLaw(views, 4, 2, 8, rng)
    x = rng.standard_normal((7, channels, *shape))
    at = views.draw(7, torch.Generator().manual_seed(1), near=near > 0)
    assert (near == 0 and pixel is not None) == bool((at == at[0]).all())
    boxes = law.boxes(views.around(torch.as_tensor(x, dtype=torch.float32), at)).detach().numpy()
    for i, centre in enumerate(at.tolist()):
        for j, radius in enumerate((0, *radii, 9)):
            seen = Lattice(shape).box(centre, radius) & ~Lattice(shape).box(centre, 0)
            alone = torch.as_tensor(np.where(seen, x[i], 0.0)[None], dtype=torch.float32)
            expected = law.boxes(views.around(alone, at[i : i + 1]))[0, -1].detach().numpy()
            assert boxes[i, j] == pytest.approx(expected, abs=1e-5)


def test_every_other_pixel_is_around_once():
    views = Views((5, 4), (1,), (3, 1))
    image = torch.arange(20.0).reshape(1, 1, 5, 4)
    around = views.around(image, torch.tensor([[3, 1]]))[0].tolist()
    assert sorted(around) == [k for k in range(20) if k != 13]
    assert set(around[:8]) == {8, 9, 10, 12, 14, 16, 17, 18}
    assert [reach((28, 28), (14, 14)), reach((5, 9), (0, 2))] == [14, 6]


# -- noise ---------------------------------------------------------------------------------------------------
def pixels(levels: np.ndarray, spread: np.ndarray | None = None) -> Pixels:
    shape = (levels.shape[1], 2, 2)
    return Pixels(levels, np.zeros_like(levels) if spread is None else spread, 0.0, np.zeros(shape), np.ones(shape))


SPINS = np.array([[-1.0], [1.0]])


@pytest.mark.parametrize(
    ("channel", "levels", "spread"),
    [
        (Gaussian("linear"), np.array([[-1.0], [0.1], [0.7]]), None),
        (Gaussian("vp"), np.array([[-1.0, 0.3], [0.1, -0.2], [0.7, 0.9]]), np.full((3, 2), 0.04)),
        (Gaussian("ve"), SPINS, None),
        (BitFlip(), SPINS, None),
        (Erasure(), SPINS, None),
    ],
)
def test_law_of_the_noisy_value_is_the_known_mixture(channel, levels, spread):
    """The average over A's noise of log q against the integral in double precision, and E E[A|x_A] = E[A]."""
    t, q = 0.6, np.arange(1.0, len(levels) + 1) / np.arange(1.0, len(levels) + 1).sum()
    noise = noise_of(channel, np.array([0.3, t]), pixels(levels, spread), "cpu")
    rng, n_draws = torch.Generator().manual_seed(2), 40_000
    a_0 = torch.as_tensor(levels, dtype=torch.float32)
    log_p, share = noise.observations(a_0, 1, n_draws, rng)
    nats, mean = log_likelihood(torch.tensor(q).log().float().expand(len(q), 1, -1), log_p, noise.levels)
    assert float(share.sum()) == pytest.approx(1, abs=1e-4)
    if isinstance(channel, Gaussian):
        alpha, sigma = channel.alpha(t), channel.sigma(t)
        x = alpha * levels[:, None] + sigma * np.random.default_rng(1).standard_normal(
            (len(q), 20_000, levels.shape[1])
        )
        variance = sigma**2 + alpha**2 * (0 if spread is None else spread)
        law = np.exp(-0.5 * (x[:, :, None] - alpha * levels) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
        samples = np.log(law.prod(axis=3) @ q)
        error = samples.std(axis=1) / np.sqrt(20_000) + nats[:, 0].std(dim=1).numpy() / np.sqrt(n_draws)
        assert np.abs((nats[:, 0].mean(dim=1).numpy() - samples.mean(axis=1)) / error).max() < 4
    else:
        law = channel.output_law(t)[:, ::-1]  # of -1, then of +1
        expected = (law * np.log(law @ q)[:, None]).sum(axis=0)
        assert (nats[:, 0] @ share).numpy() == pytest.approx(expected, abs=1e-5)
    if spread is None:
        again = q @ (mean[:, 0] * share[:, None]).sum(dim=1).numpy()
        assert again == pytest.approx(q @ levels, abs=0.02 if isinstance(channel, Gaussian) else 1e-5)


@pytest.mark.parametrize("channel", [Gaussian("linear"), Gaussian("vp"), Gaussian("ve"), BitFlip(), Erasure()])
def test_noise_is_the_channel_s(channel):
    """Moments of x_t, and what a network is shown: of unit size, and tanh h/2 or its like."""
    t, n = 0.35, 40_000
    noise = noise_of(channel, np.array([t]), pixels(SPINS), "cpu")
    k, rng = torch.zeros(n, dtype=torch.long), torch.Generator().manual_seed(5)
    x_t = noise.corrupt(torch.ones((n, 1, 1, 1)), k, rng)
    exact = channel.corrupt(np.ones(n), t, np.random.default_rng(6))
    for power in (1, 2, 4):
        mine, theirs = (x_t.numpy().ravel().astype(float)) ** power, exact**power
        error = np.hypot(mine.std(), theirs.std()) / np.sqrt(n) + 1e-6
        assert abs(mine.mean() - theirs.mean()) < 5 * error
    shown = noise.shown(x_t, k).numpy().ravel()
    assert (shown**2).mean() == pytest.approx(1, abs=0.03)
    half = np.tanh(channel.likelihood_field(x_t.numpy().ravel(), t) / 2)
    assert np.corrcoef(shown, half)[0, 1] > 1 - 1e-5


def test_levels_of_colours_are_exact_where_few_and_cells_otherwise():
    rng = np.random.default_rng(2)
    few = rng.choice([-1.0, 0.2, 1.0], (500, 3, 4, 4))
    exact = field_of_array(few, (1, 2)).pixels
    assert np.allclose(exact.levels, np.unique(few[:, :, 1, 2], axis=0), atol=1e-6)
    assert (exact.unresolved, exact.spread.max()) == (0.0, 0.0)
    many = rng.random((2000, 3, 4, 4))
    cells = field_of_array(many, (1, 2)).pixels
    nearest = ((many[:, None, :, 1, 2] - cells.levels) ** 2).sum(axis=2).min(axis=1)
    assert cells.levels.shape == (64, 3)
    assert cells.unresolved == pytest.approx(nearest.mean() / many[:, :, 1, 2].var(axis=0).sum(), rel=1e-6)
    assert cells.unresolved < 2 * 64 ** (-2 / 3)
    grey = field_of_array(many[:, 0], (1, 2)).pixels
    assert grey.spread.mean() == pytest.approx((1 / 31) ** 2 / 12, rel=0.2)


# -- known truth ---------------------------------------------------------------------------------------------
def test_ising_samples_give_the_exact_information():
    """I(A;C|B) above its null, within errors of the exact one, and far from zero."""
    model, times = Ising(Lattice((7, 6)), beta=0.6), (0.6, 0.7)
    plan = ProbePlan(times, (1, 2), (3, 3), steps=100, seed=2, **SMALL)
    found = calibrate(Rendering(model, np.arange(42).reshape(7, 6), (3, 3)), 3000, plan, n_exact=500)
    for name in ("cmi", "total_information"):
        assert np.abs(distance(found, name)).max() < 5
    assert found["cmi_above_null"].values[1, 0] > 5 * found["cmi_above_null_stderr"].values[1, 0]


def test_independent_pixels_tell_nothing():
    x = np.random.default_rng(8).choice([-1.0, 1.0], (2000, 5, 5))
    found = measure(field_of_array(x), ProbePlan((0.5, 0.8), (1,), None, steps=100, **SMALL))
    error = np.hypot(found["cmi_stderr"], found["cmi_null_stderr"])
    assert np.abs((found["cmi"] - found["cmi_null"]) / error).max() < 5
    assert found["cmi_stderr"].min() >= 0.5 / (0.15 * 2000)
    assert max(np.abs(found[name]).max() for name in ("cmi", "cmi_null", "total_information")) < 0.005


def test_labels_are_known_as_well_as_bayes_knows_them():
    """The sign of all spins at once, hidden by noise: I(S;X) of m equal spins is that of one spin of snr m/sigma^2.

    The network sees all 25 pixels, or the 8 of the smallest box.
    """
    labels = np.random.default_rng(6).integers(0, 2, 2000)
    spins = np.where(labels == 1, 1.0, -1.0)[:, None, None] * np.ones((2000, 5, 5))
    times = (0.7, 0.85)
    plan = ProbePlan(times, (1,), (2, 2), steps=120, null=False, **SMALL)
    found = measure(replace(field_of_array(spins), labels=labels), plan)
    single, line = Ising(Lattice((1, 1)), beta=0.0), np.ones((1, 1), bool)
    for name, m in (("label_information", 25), ("label_information_b", 8)):
        for k, t in enumerate(times):
            channel, rng = Gaussian("linear"), np.random.default_rng(7)
            time = channel.time(m * channel.snr(t))
            x = channel.corrupt(single.sample(20_000, rng), time, rng)
            of_noise = 0.5 + np.log(channel.sigma(time) * np.sqrt(2 * np.pi))
            nats = -exact.log_marginal(single, channel, time, x, line) - of_noise
            error = np.hypot(found[f"{name}_stderr"][k], nats.std() / np.sqrt(nats.size))
            assert abs(found[name][k] - nats.mean()) < 5 * error, (name, t)
    clean = found["label_information_b"] + found["label_information_lost"]
    assert clean == pytest.approx(np.log(2) * np.ones(2), abs=0.01)
    errors = found["label_information_lost_stderr"], found["label_information_b_stderr"]
    np.testing.assert_allclose(*errors, rtol=0.02)  # clean spins leave no doubt of the label


@pytest.mark.slow
def test_labels_are_told_from_a_too():
    """Signs of A and of a neighbour, among independent spins: B tells one of them, AB both."""
    spins = np.random.default_rng(6).choice([-1.0, 1.0], (3000, 5, 5))
    labels, t = 2 * (spins[:, 2, 2] > 0) + (spins[:, 2, 3] > 0), 0.4
    found = measure(field_of_array(spins, labels=labels), ProbePlan((t,), (1,), (2, 2), steps=300, **SMALL))
    law = Gaussian("linear").output_law(t)
    one_spin = (law / 2 * np.log(2 * law / law.sum(axis=1, keepdims=True))).sum()
    for name, exact_value in (
        ("label_information", 2 * one_spin),
        ("label_information_b", one_spin),
        ("label_information_lost", 2 * np.log(2) - one_spin),
    ):
        assert abs(found[name][0] - exact_value) < 5 * found[f"{name}_stderr"][0], name


# -- the command ---------------------------------------------------------------------------------------------
def spins(tmp_path: Path, n: int = 1000) -> Path:
    path = tmp_path / "spins.npy"
    np.save(path, Ising(Lattice((6, 6)), beta=0.4).sample(n, np.random.default_rng(4)).astype(np.int8))
    return path


def run(path: Path, out: Path, *options: str) -> int:
    words = ["--times", "0.4,0.7", "--steps", "5", "--no-calibrate", *options]
    return cli.main(["probe", str(path), "--out", str(out), *words])


def test_asking_costs_what_all_images_take(monkeypatch):
    """Every one of them is asked about, of which the pilot tries few."""
    evaluate = amortised_estimates.evaluate

    def slow(*args, **options):
        time.sleep(0.1)
        return evaluate(*args, **options)

    monkeypatch.setattr(amortised_estimates, "evaluate", slow)
    field = field_of_array(Ising(Lattice((5, 5)), beta=0.4).sample(400, np.random.default_rng(3)))
    _, asking = pilot(field, ProbePlan((0.5,), (1,), (2, 2), batch_size=25, width=8), "cpu")  # tries 100
    assert asking >= 400 / 100 * 2 * 0.1  # those held out and those fitted


class Killed(BaseException):
    pass


def test_a_killed_probe_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    """Killed in the middle of the second network, between two checkpoints."""
    monkeypatch.setattr("lattice_diffusion.estimators.amortised_training.CHECK_EVERY", 20)
    field = field_of_array(np.load(spins(tmp_path)))
    plan = ProbePlan((0.4, 0.7), (1, 2), (3, 3), steps=25, seed=5, width=16, batch_size=32)
    whole, parts, count = measure(field, plan), tmp_path / "parts", 0
    parts.mkdir()

    def stop() -> None:
        nonlocal count
        count += 1
        if count == 47:
            raise Killed

    with pytest.raises(Killed):
        measure(field, plan, parts=parts, on_step=stop)
    assert {p.name for p in parts.iterdir()} == {"fold0-boxes.npz", "fold0-null.pt"}
    done = []
    resumed = measure(field, plan, parts=parts, on_step=lambda: done.append(1))
    assert len(done) == 2 * plan.folds * plan.steps
    for name in ("cmi", "cmi_stderr", "cmi_null", "total_information", "excess_mse"):
        np.testing.assert_array_equal(resumed[name], whole[name])


def test_probe_writes_a_result_and_states_its_cost(tmp_path, capsys, undrawn):
    """Of 5 steps: the banner on page and terminal, no window, schedule or saving anywhere."""
    out = tmp_path / "probe.h5"
    assert run(spins(tmp_path), out) == 0
    captured = capsys.readouterr()
    assert "spins.npy: 1000 images of spins, 6x6, -1 .. 1 scaled to -1 .. 1, no labels\n" in captured.err
    assert "probe: 1000 images of 6x6, 2 times x 2 radii, 2 folds" in captured.err
    assert "steps of training a network are few; 2000 are usual" in captured.err
    assert "I(A;C|B) at t = " in captured.out
    result = results.load(out)
    assert results.grids(result)["probe"]["cmi"].values.shape == (2, 2)
    assert json.loads(str(result.attrs["parameters"]))["plan"]["pixel"] == [3, 3]
    assert not (tmp_path / "probe.h5.parts").exists()
    assert run(spins(tmp_path), out) == 2
    assert "exists" in capsys.readouterr().err
    assert run(spins(tmp_path), out, "--resume") == 0
    assert "is finished" in capsys.readouterr().err
    for option, difference in (("--seed=9", "seed is"), ("--steps=9", "steps is"), ("--tolerance=0.3", "tolerance is")):
        assert run(spins(tmp_path), out, "--resume", option) == 2
        assert re.search(f"probe.h5 holds another experiment: .*{difference}", capsys.readouterr().err)
    with pytest.raises(InputError, match="probe has not converged, so it recommends nothing"):
        grid_of_probe(result, open_images(tmp_path / "spins.npy"), 1)
    np.save(tmp_path / "spins.npy", -np.load(spins(tmp_path)))
    assert run(tmp_path / "spins.npy", out, "--resume") == 2
    assert "data.checksum is" in capsys.readouterr().err
    assert cli.main(["report", str(out)]) == 0
    page = (tmp_path / "probe.html").read_text()
    assert "! NOT CONVERGED: nothing is recommended. The information that is shown may be too large or" in captured.out
    assert '<p class="warn">NOT CONVERGED' in page
    for text in (page, captured.out):
        assert not any(word in text for word in ("Recommended", "fewer pixels", "must see", "suffices", "window"))
    assert int(result["probe"]["converged"]) == 0
    assert not [name for name in result["probe"].variables if re.search("window|recommended|schedule", name)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--times", "soon"), "times must be how many, 2 to 1000, or a list, at least two, such as 0.2,0.3,0.4, got"),
        (("--steps", "9", "--budget", "1"), "budget and steps must not both be given, got 1 and 9"),
        (("--times", "0.5,0.2"), "times must increase inside (0, 1), got [0.5, 0.2]"),
        (("--radii", "1..3"), "radii must be below 3, where the box covers the image, got [1, 2, 3]"),
        (("--radii", "3..1"), "radii must be a range such as 1..12 or a list such as 1,2,4, got '3..1'"),
        (("--pixel", "corner"), "pixel must be center, average or a place such as 14,14, got 'corner'"),
        (("--channel", "poisson"), "channel must be one of gaussian, bitflip, erasure, uniform, got 'poisson'"),
        (("--channel", "erasure", "--schedule", "vp"), "schedule is of gaussian noise, got 'vp' for erasure"),
        (("--budget", "0"), "budget must be > 0 seconds, got 0"),
        (("--device", "tpu"), "device must be one of cpu"),
        (("--tokens", "3", "--channel", "uniform"), "spins.npy must hold tokens, integers 0..2, got -1"),
        (("--tokens", "3", "--value-range", "0,2"), "value_range must be left out for tokens"),
        (("--channel", "uniform"), "tokens = None under uniform noise"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, capsys, options, sentence):
    assert run(spins(tmp_path), tmp_path / "p.h5", *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert sentence in lines[0]
    assert [p.name for p in tmp_path.iterdir()] == ["spins.npy"]


def test_tokens_from_a_file_of_integers_and_from_samples_of_a_model(tmp_path, capsys):
    """Sequences, declared, and images of a model, whose file says what they are: the numbers are those of the array."""
    chain = ld.models.PottsChain(Lattice((9,)), coupling=1.2, q=3).sample(1000, np.random.default_rng(3))
    np.savez(tmp_path / "chain.npz", tokens=chain)
    assert run(tmp_path / "chain.npz", tmp_path / "a.h5", "--tokens", "3", "--channel", "uniform") == 0
    assert "chain.npz[tokens]: 1000 images of tokens, 1x9, as they are" in capsys.readouterr().err
    line = "sample --model potts --shape 6x5 --set coupling=0.9 --set q=3 --n-samples 1000 --seed 4 --out"
    assert cli.main([*line.split(), str(tmp_path / "potts.h5")]) == 0
    assert run(tmp_path / "potts.h5", tmp_path / "b.h5", "--channel", "erasure") == 0
    with h5py.File(tmp_path / "potts.h5") as file:
        x = file["samples/samples"][...]
    options = {"times": (0.4, 0.7), "radii": (1, 2), "tokens": 3, "steps": 5, "progress": False, "calibrate": False}
    one, two = ld.load(tmp_path / "b.h5")["probe"], ld.probe(x, channel="erasure", **options)["probe"]
    np.testing.assert_array_equal(one["entropy"], two["entropy"])
    np.testing.assert_array_equal(one["masked"], [0.4, 0.7, 1.0])
    assert cli.main(f"hybrid {tmp_path / 'potts.h5'} --out {tmp_path / 'c.h5'}".split()) == 2
    assert "a hybrid takes grey images, colours or spins, potts.h5 is of tokens" in capsys.readouterr().err
    with pytest.raises(ValueError, match="tokens take erasure or uniform noise"):
        ld.probe(x, **options)


def test_a_probe_from_python_goes_on_and_refuses_to_go_on_as_another(tmp_path, monkeypatch, capsys):
    """From an array; a killed one ends as if it had not been killed, and is not gone on with by another seed."""
    x, out = np.load(spins(tmp_path)), tmp_path / "p.h5"
    options = {"times": (0.4, 0.7), "radii": (1, 2), "calibrate": False, "steps": 5, "width": 8, "progress": False}
    whole = ld.probe(x, **options)
    fold, calls = amortised_estimates.evaluate, []

    def killed(*arguments, **others):
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return fold(*arguments, **others)

    monkeypatch.setattr(amortised_estimates, "evaluate", killed)
    with pytest.raises(Killed):
        ld.probe(x, out=out, **options)
    with pytest.raises(FileExistsError, match=r"p\.h5\.parts holds an unfinished run; use --resume or --force"):
        ld.probe(x, out=out, **options)
    with pytest.raises(ValueError, match=r"plan\.seed is 0 there and 7 here; use --force"):
        ld.probe(x, out=out, resume=True, rng=7, **options)
    cut = ld.probe(x, out=out, resume=True, **options)
    assert cut["probe"].to_dataset().equals(whole["probe"].to_dataset())
    assert ld.load(out)["probe"].to_dataset().equals(whole["probe"].to_dataset())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("times", [[0.5], (), np.array([0.5]), "0.5,"])
def test_one_time_is_refused_before_training(times, tmp_path):
    with pytest.raises(InputError, match="times must be how many, 2 to 1000, or a list, at least two"):
        ld.probe(np.load(spins(tmp_path)), times=times)


def test_colour_says_what_its_levels_leave_open_and_needs_gaussian_noise(tmp_path, capsys):
    path = tmp_path / "colour.npy"
    np.save(path, np.random.default_rng(1).integers(0, 256, (1000, 6, 6, 3)).astype(np.float32))
    assert run(path, tmp_path / "p.h5", "--value-range", "0,300") == 0
    err = capsys.readouterr().err
    assert "A is told apart by 64 colours, which leave 0.05" in err
    assert "at t = 0.4 (σ/α = 0.667, log snr = +0.8), where I(A;C|B) and r(t) may be too small." in err
    parameters = json.loads(str(results.load(tmp_path / "p.h5").attrs["parameters"]))
    assert parameters["data"]["value_range"] == [0, 300]
    levels = parameters["pixel_levels"]
    assert levels["levels"] == 64
    assert 0.04 < levels["unresolved"] < 2 * 64 ** (-2 / 3)
    assert run(path, tmp_path / "q.h5", "--value-range", "0,300", "--channel", "bitflip") == 2
    assert "channel bitflip needs images of two values, colour.npy is colour; use gaussian" in capsys.readouterr().err


def test_erasures_have_the_area_law_of_a_random_order():
    """KL = int dt sum_i I_t / (1 - t), by the trapezoidal rule between 0.4 and 0.7, in bits per dimension."""
    times, cmi, zero = (0.4, 0.7), np.array([[0.02, 0.01], [0.04, 0.01]]), np.zeros((2, 2))
    known = {"t": times, "radius": (1, 2), "image_shape": (1, 6, 6), "cmi": cmi, "cmi_stderr": zero}
    known |= {"total_information": (1, 1), "total_information_stderr": (0, 0)}
    found = probe_variables(channel=Erasure(), **known)
    expected = 0.15 * cmi / (1 - np.array([[0.4], [0.7]])) / np.log(2)
    np.testing.assert_allclose(found["bits_lost"].values, expected, rtol=1e-12)
    assert "recommended_radius" not in probe_variables(channel=BitFlip(), **known)


def test_erasures_and_flips_are_measured(tmp_path, undrawn):
    out = tmp_path / "p.h5"
    for noise in (Erasure(), BitFlip()):
        assert run(spins(tmp_path), out, "--channel", noise.name, "--force") == 0
        found = results.load(out)["probe"]
        assert "excess_mse" not in found
        assert found["log_snr"].values[0] == pytest.approx(np.log(noise.snr(0.4)))
    assert cli.main(["report", str(out)]) == 0


@pytest.mark.parametrize("calibrated", [False, True])
def test_budget_covers_reading_measuring_and_calibration(monkeypatch, calibrated):
    """Of seconds that are known: training has what all else leaves."""
    field = field_of_array(Ising(Lattice((8, 8)), beta=0.4).sample(100, np.random.default_rng(3)))
    plan = ProbePlan((0.5, 0.7), (1, 2), (4, 4))
    monkeypatch.setattr("lattice_diffusion.estimators.amortised_estimates.pilot", lambda *_: (0.01, 3.0))
    monkeypatch.setattr("lattice_diffusion.images.probe.exact_seconds", lambda *_: 20.0)
    known = pictures_for(field.read(np.arange(100)), plan) if calibrated else {}
    n_networks, exact = (4, 0) if not calibrated else (12, 40)
    spent = 25.0
    made = _costed(field, [plan], known, 200.0, "cpu", False, time.perf_counter() - spent)
    beside = spent + exact + n_networks * (3.0 + 0.01 * OVERHEAD_STEPS)
    assert made.steps == pytest.approx((0.95 * 200 - beside) / (0.01 * n_networks), rel=0.01)
    assert beside + 0.01 * n_networks * made.steps < 200
    least = math.ceil((beside + 0.01 * n_networks) / 0.95)
    remedy = f"got 1; raise it, or take {'--no-calibrate or ' * calibrated}fewer times"
    with pytest.raises(InputError, match=f"^budget must be at least {least} s, as .* pass beside training, {remedy}$"):
        _costed(field, [plan], known, 1.0, "cpu", False, time.perf_counter() - spent)
    assert _costed(field, [plan], known, least + 0.01, "cpu", False, time.perf_counter() - spent).steps >= 1


def test_gain_of_more_training_follows_from_two_doublings():
    """Of a loss a + b n^-c, exactly; of one that falls ever faster, more than it fell by; inf where it is unknown."""
    for power in (0.5, 1.5):
        loss = {n: 2 + 30 * n**-power for n in (100, 200, 400, 800)}
        assert gain_to_come({n: loss[n] for n in (100, 200, 400)}, 400) == pytest.approx(loss[400] - loss[800])
    assert gain_to_come({100: 4.10, 200: 4.09, 400: 4.05}, 400) == pytest.approx(4 * 0.04)
    assert gain_to_come({100: 1.0, 200: 0.9, 300: 0.95, 400: 0.91}, 400) == 0.0
    assert gain_to_come({4: 4.10, 8: 4.09, 17: 4.089}, 17) == np.inf  # the learning rate still rises


def test_images_that_do_not_fit_into_memory_are_read_by_slices(tmp_path, monkeypatch):
    """The same field whether held or read from the file when asked for."""
    path = tmp_path / "grey.npy"
    np.save(path, np.random.default_rng(1).integers(0, 256, (1100, 5, 4), dtype=np.uint8))
    images = open_images(path)
    held = field_of_images(images, (2, 2))
    monkeypatch.setattr("lattice_diffusion.images.probe.HELD_BYTES", 0)
    sliced = field_of_images(images, (2, 2))
    assert sliced.read.__func__ is type(images).read
    assert held.read.__name__ == "__getitem__"
    rows = np.array([3, 900, 17])
    np.testing.assert_array_equal(held.read(rows), sliced.read(rows))
    plan = ProbePlan((0.5,), (1,), (2, 2), steps=5, width=8, batch_size=32, null=False)
    np.testing.assert_array_equal(measure(held, plan)["cmi"], measure(sliced, plan)["cmi"])
