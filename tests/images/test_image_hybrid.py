"""Hybrids of images: distances with known values, schedules, and the command from a file of images to a figure."""

import json
import re

import numpy as np
import pytest
import torch
from matplotlib import image

import lattice_diffusion as ld
from lattice_diffusion import results
from lattice_diffusion.channels import Gaussian
from lattice_diffusion.cli import main
from lattice_diffusion.denoisers import ExactDenoiser
from lattice_diffusion.denoisers.reverse_process import four_schedules
from lattice_diffusion.errors import InputError
from lattice_diffusion.images import hybrid_measurements, open_images
from lattice_diffusion.images.conclusions import probe_result
from lattice_diffusion.images.decisions import GLOBAL, probe_variables, snr_weights
from lattice_diffusion.images.hybrid import grid_of_probe, window_of
from lattice_diffusion.images.hybrid_measurements import bits_lost, generate, stepwise
from lattice_diffusion.images.hybrid_networks import Training, split, untrained
from lattice_diffusion.images.hybrid_quality import frechet_distance, patch_divergence

CHANNEL = Gaussian("linear")
pytestmark = pytest.mark.filterwarnings("ignore::lattice_diffusion.images.ImageWarning")


def z(distance, truth):
    return (distance.value - truth) / distance.stderr


def test_frechet_distance_of_gaussians():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((800, 3)), np.array([0.3, 0.0, -0.2]) + 1.5 * rng.standard_normal((600, 3))
    assert abs(z(frechet_distance(x, y), 0.3**2 + 0.2**2 + 3 * 0.5**2)) < 5
    assert abs(z(frechet_distance(x, rng.standard_normal((600, 3))), 0.0)) < 5
    assert z(frechet_distance(x, y), 0.0) > 8


def test_patch_divergence_of_single_pixels():
    rng = np.random.default_rng(3)
    p, q = 0.3, 0.5
    x, y = (np.where(rng.random((n, 1, 6, 5)) < share, 1.0, -1.0) for n, share in ((400, p), (300, q)))

    def entropy(u):
        return -u * np.log(u) - (1 - u) * np.log(1 - u)

    found = patch_divergence(x, y, 0.0, side=1)
    assert abs(z(found, entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2)) < 5
    assert z(found, 0.0) > 8
    assert (found - found).value == 0
    assert patch_divergence(np.ones_like(x), -np.ones_like(y), 0.0).value == pytest.approx(np.log(2))


def test_patches_tell_a_shuffle_of_pixels_from_another_sample():
    rng = np.random.default_rng(4)
    model = ld.models.Ising(ld.Lattice((6, 6)), 0.4)
    x, y = (model.sample(300, rng)[:, None].astype(float) for _ in range(2))
    shuffled = rng.permuted(y.reshape(len(y), -1), axis=1).reshape(y.shape)
    assert z(patch_divergence(shuffled, x, 0.0), 0.0) > 8
    assert abs(z(patch_divergence(y, x, 0.0), 0.0)) < 5


def test_schedules_and_their_areas():
    schedules = four_schedules(2, GLOBAL, (0.3, 0.6))
    assert list(schedules) == ["LLL", "GLG", "LGL", "GGG"]
    used = {name: [radii(t) for t in (0.1, 0.3, 0.5, 0.6, 1.0)] for name, radii in schedules.items()}
    assert used["LGL"] == [2, GLOBAL, GLOBAL, 2, 2]
    assert used["GLG"] == [GLOBAL, 2, 2, GLOBAL, GLOBAL]
    recommended = stepwise(np.array([0.2, 0.5, 0.8]), np.array([1, 4, -1]), (1, 2, 5))
    assert [recommended(t) for t in (0.0, 0.3, 0.4, 0.7, 1.0)] == [1, 1, 5, GLOBAL, GLOBAL]
    assert stepwise(np.array([0.5]), np.array([9]), (1, 2, 5))(0.5) == GLOBAL
    times = np.array([0.2, 0.4, 0.5, 0.8])
    errors = np.random.default_rng(1).random((5, 4, 2))
    areas = {name: bits_lost(errors, (2, GLOBAL), times, radii) for name, radii in schedules.items()}
    weight = snr_weights(CHANNEL, times)
    assert areas["LLL"] == pytest.approx(0.5 / np.log(2) * ((errors[:, :, 0] - errors[:, :, 1]) * weight).sum(axis=1))
    assert areas["LGL"] + areas["GLG"] == pytest.approx(areas["LLL"])
    assert np.all(areas["GGG"] == 0)


def spins(tmp_path, n=400, shape=(9, 7)):
    """Ordered spins, labelled by their sign."""
    rng = np.random.default_rng(1)
    x = ld.models.Ising(ld.Lattice(shape), 0.5).sample(n, rng)
    np.savez(tmp_path / "spins.npz", images=(x > 0).astype(np.uint8), labels=x.sum(axis=(1, 2)) > 0)
    return tmp_path / "spins.npz"


def test_split_keeps_parts_apart_and_values_on_levels(tmp_path):
    rng = np.random.default_rng(1)
    grey = rng.permuted(np.tile(np.arange(256, dtype=np.uint8), 120)).reshape(480, 8, 8)
    np.save(tmp_path / "grey.npy", grey)
    data = split(open_images(tmp_path / "grey.npy"), 4, 1, rng)
    assert [len(part) for part in (data.train, data.reference, data.real)] == [384, 48, 48]
    assert data.levels == pytest.approx([-1, -1 / 3, 1 / 3, 1], abs=1e-6)
    everything = np.concatenate([data.train, data.reference, data.real])
    assert set(np.unique(everything)) == set(data.levels)
    assert len(np.unique(everything.reshape(480, -1), axis=0)) == 480
    assert data.prior.sum(axis=0) == pytest.approx(np.ones((8, 8)))
    assert split(open_images(tmp_path / "grey.npy"), 4, 2, rng).shape == (4, 4)
    assert split(open_images(spins(tmp_path)), 8, 1, rng).levels.tolist() == [-1, 1]


def test_images_stay_on_the_device_of_the_networks(tmp_path, monkeypatch):
    """Nothing comes back to the CPU before the images do; they follow the law of those made on the CPU."""
    data = split(open_images(spins(tmp_path)), 8, 1, np.random.default_rng(1))
    training, back = Training((1,), 1, 1, width=8), []
    nets = {kind: untrained(data, training, kind, np.random.default_rng(0)) for kind in training.kinds}
    plan, size = four_schedules(1, GLOBAL, (0.25, 0.75))["LGL"], (400, 1, 9, 7)
    expected = generate(nets, plan, size, 6, np.random.default_rng(0)).samples
    cpu = torch.Tensor.cpu
    monkeypatch.setattr(hybrid_measurements, "gpu_of", lambda networks: "cpu")
    monkeypatch.setattr(torch.Tensor, "cpu", lambda x: back.append(x.shape) or cpu(x))
    found = generate(nets, plan, size, 6, np.random.default_rng(0)).samples
    assert back == [(250, 1, 9, 7), (150, 1, 9, 7)]
    returned = hybrid_measurements.returned(nets[1], data.real, 0.3, 8, np.random.default_rng(0))
    assert returned.shape == data.real.shape
    means = [x.reshape(400, -1) for x in (found, expected)]
    error = np.sqrt(sum(x.var(axis=0) for x in means) / 400)
    assert np.abs((means[0].mean(axis=0) - means[1].mean(axis=0)) / error).max() < 5
    assert set(np.unique(found)) == {-1.0, 1.0}


def test_a_hybrid_on_a_device_comes_to_its_end(tmp_path, monkeypatch):
    """With batches and images as on a GPU, and the networks on the CPU."""
    monkeypatch.setattr("lattice_diffusion.denoisers.fitting.HOST", ())
    monkeypatch.setattr(hybrid_measurements, "gpu_of", lambda networks: "cpu")
    few = {"effort": {"n_returned": 40, "n_errors": 40, "starts": (0.4,)}, "training": {"steps": 2, "global_steps": 2}}
    options = {"window": (0.2, 0.6), "radius": 1, "radii": "1", "n_samples": 100, "steps": 3, "progress": False}
    found = ld.hybrid(spins(tmp_path), device="auto", **few, **options)
    assert np.isfinite(found["generation"]["patch_divergence"].values).all()
    with pytest.raises(InputError, match="device must be one of cpu, auto"):
        ld.hybrid(spins(tmp_path), device="cuda:7", **options)


def test_cost_is_that_of_the_networks_used(tmp_path):
    data = split(open_images(spins(tmp_path)), 8, 1, np.random.default_rng(1))
    training = Training((1,), 1, 1, width=8)
    nets = {kind: untrained(data, training, kind, np.random.default_rng(0)) for kind in training.kinds}
    local, everywhere = (nets[kind].multiply_adds((1, 9, 7)) for kind in (1, GLOBAL))
    made = generate(nets, four_schedules(1, GLOBAL, (0.25, 0.75))["LGL"], (5, 1, 9, 7), 8, np.random.default_rng(0))
    assert made.samples.shape == (5, 1, 9, 7)
    assert made.multiply_adds == 4 * local + 4 * everywhere
    assert set(np.unique(made.samples)) <= {-1, 1}


EFFORT = {"n_returned": 40, "n_errors": 20, "starts": (0.4, 0.8)}
SMALL = {"steps": 15, "global_steps": 20, "width": 8}
ASKED = {"window": (0.3, 0.8), "radii": (1, 2), "radius": 1, "n_samples": 100, "steps": 6, "effort": EFFORT}
ASKED["training"] = SMALL


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path, monkeypatch, capsys):
    path, out = spins(tmp_path), tmp_path / "cut.h5"
    whole = ld.hybrid(path, **ASKED)
    err = capsys.readouterr().err
    assert "about" in err.split("hybrid: 320 images of 9x7")[1]
    calls = []

    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(*arguments, **options)

    monkeypatch.setattr(hybrid_measurements, "generate", killed)
    with pytest.raises(KeyboardInterrupt):
        ld.hybrid(path, out=out, **ASKED)
    with pytest.raises(ValueError, match=r"holds another experiment: .*window is"):
        ld.hybrid(path, out=out, resume=True, **{**ASKED, "window": "0.2,0.8"})
    cut = ld.hybrid(path, out=out, resume=True, **ASKED)
    assert len(calls) == 5  # two schedules were there already
    assert not (tmp_path / "cut.h5.parts").exists()
    for name, group in results.grids(whole).items():
        same = [key for key in group.variables if key != "seconds"]
        assert cut[name].to_dataset()[same].equals(group[same])
    with pytest.raises(ValueError, match=r"cut.h5 holds another experiment: .*window is"):
        ld.hybrid(path, out=out, resume=True, **{**ASKED, "window": "0.2,0.8"})
    back = ld.load(out)
    assert results.rows(back) == results.rows(cut)
    assert results.rows(ld.hybrid(path, out=out, resume=True, **ASKED)) == results.rows(cut)
    assert json.loads(back.attrs["parameters"])["plan"]["window"] == [0.3, 0.8]
    for group in results.grids(back).values():
        assert all((group[key] >= 0).all() for key in group if key.endswith("_stderr"))
    assert back["recovery"]["radius"].values.tolist() == [1, 2, GLOBAL]
    assert (back["recovery"]["excess_mse"].sel(radius=GLOBAL) == 0).all()
    assert main(["show", str(out)]) == 0


def test_colours_of_a_pixel_tell_of_each_other(tmp_path):
    """Red, green and blue are one random field and noise of their own: what a box of r = 0 knows is more than one."""
    rng = np.random.default_rng(3)
    x = np.clip(128 + 60 * rng.standard_normal((400, 6, 5, 1)) + 15 * rng.standard_normal((400, 6, 5, 3)), 0, 255)
    data = split(open_images(x.astype(np.uint8), labels=np.arange(400) % 2), 4, 1, np.random.default_rng(1))
    assert data.prior[:, 1, 2, 3] == pytest.approx(
        [((data.train[:, 1, 2, 3] == v).sum() + 1) / 324 for v in data.levels]
    )
    few = {"effort": EFFORT, "training": {"steps": 150, "global_steps": 5, "width": 24}}
    options = {"window": (0.3, 0.8), "radii": "0", "radius": 0, "levels": 4, "n_samples": 100, "steps": 4}
    found = ld.hybrid(x.astype(np.uint8), labels=np.arange(400) % 2, progress=False, **few, **options)
    at = found["denoising"].sel(t=0.52, radius=0)
    alone = squared_error_of_one(data, 0.52)
    assert float(at["mse"]) + 5 * float(at["mse_stderr"]) < alone
    assert found["images"]["pixels"].shape == (5, 12, 6, 5, 3)
    assert set(np.unique(found["images"]["pixels"].values.round(5))) <= set(data.levels.round(5).astype(np.float32))
    assert found.plot() is not None


def squared_error_of_one(data, t, nodes=401):
    """The least squared error of a value of a pixel from its own noisy value, its law being that of the training."""
    p, v = np.array([(data.train == level).mean() for level in data.levels]), data.levels
    x = np.linspace(-4, 4, nodes)
    weight = p * np.exp(-0.5 * ((x[:, None] - CHANNEL.alpha(t) * v) / CHANNEL.sigma(t)) ** 2)
    mean = weight @ v / weight.sum(axis=1)
    density = weight / np.trapezoid(weight.sum(axis=1), x)
    return np.trapezoid((density * (mean[:, None] - v) ** 2).sum(axis=1), x)


def test_without_labels_patches_judge_alone(tmp_path, capsys, monkeypatch, undrawn):
    x = ld.models.Ising(ld.Lattice((6, 5)), 0.5).sample(400, np.random.default_rng(2))
    np.save(tmp_path / "spins.npy", (x > 0).astype(np.uint8))
    monkeypatch.setattr("lattice_diffusion.images.hybrid.steps_within", lambda *_: (1, 1))
    options = "--window 0.3,0.8 --radii 1 --radius 1 --n-samples 100 --steps 2"
    line = ["hybrid", str(tmp_path / "spins.npy"), "--out", str(tmp_path / "h.h5"), *options.split()]
    assert main([*line, "--budget", "0.01"]) == 2
    refusal = r"budget must be at least \d+ s, as .* pass beside training, got 0.01; raise it, or take fewer samples,"
    assert re.search(refusal, capsys.readouterr().err)
    assert not (tmp_path / "h.h5.parts").exists()
    assert main(line) == 0
    captured = capsys.readouterr()
    assert "patch_divergence, LGL - GGG" in captured.out
    assert "warning: spins.npy has only 400 images" in captured.err
    assert "! NOT CONVERGED: a network was trained for 1 steps; nothing follows from fewer than 500. " in captured.out
    assert "! NOT CONVERGED: local networks everywhere lose" in captured.out
    assert "There are no labels, so no classifier: the quality of images is measured by their patches" in captured.out
    assert "save" not in captured.out.partition("!")[2]
    result = ld.load(tmp_path / "h.h5")
    assert "patch_divergence" in result["generation"]
    assert "frechet_distance" not in result["generation"]
    assert "agreement" not in result["recovery"]
    assert image.imread(tmp_path / "h.png").shape[0] > 400
    assert main(["report", str(tmp_path / "h.h5")]) == 0
    table = (tmp_path / "h.html").read_text().partition("All numbers")[2].partition("</table>")[0]
    assert "divergence of patches (nats), local everywhere (LLL)" in table
    assert "patch_divergence" not in table


def variables_of_probe(cmi=0.1):
    t = [0.2, 0.4, 0.6, 0.8]
    zero = np.zeros((4, 2))
    return probe_variables(
        t=t,
        radius=[1, 2],
        cmi=zero + cmi,
        cmi_stderr=zero + 1e-6,
        total_information=np.ones(4),
        total_information_stderr=np.zeros(4),
        image_shape=(1, 9, 7),
        channel=CHANNEL,
        excess_mse=np.array([[0.001], [0.02], [0.04], [0.002]]) * [2, 1],
        excess_mse_stderr=zero,
    )


def test_window_of_a_probe():
    variables = variables_of_probe([[0.1, 1e-4], [0.1, 0.04], [0.1, 0.04], [1e-3, 1e-4]])
    probed = probe_result(variables, {"file": "x"}, {}, 0)["probe"].to_dataset()
    start, stop = window_of(None, probed)
    assert 0.2 < start < 0.4 < 0.6 < stop < 0.8
    wider = window_of(None, probed, tolerance=1e-3)
    assert wider[0] < start < stop < wider[1]
    assert window_of(None, probed, radius=1)[0] == 0.0  # open towards clean data
    assert window_of("0.1, 0.5", probed) == (0.1, 0.5)
    by_error = window_of(None, probed, by="error")
    assert 0.2 < by_error[0] < 0.4 < 0.6 < by_error[1] < 0.8
    # At a quarter of the peak, of the parabola through the logarithms at the window's first time and its neighbours.
    roots = np.roots(np.polyfit([0.2, 0.4, 0.6], np.log([0.001, 0.02, 0.04]) - np.log(0.01), 2))
    assert np.abs(roots - by_error[0]).min() < 1e-6
    with pytest.raises(ValueError, match=r"found I.* <= 0.5 at all times for r = 2: local networks suffice"):
        window_of(None, probed, tolerance=0.5)
    with pytest.raises(ValueError, match="radius must be one of the probe's radii \\[1, 2\\], got 3"):
        window_of(None, probed, radius=3)


def test_a_probe_of_other_images_or_noise_is_refused(tmp_path):
    """Whatever tells two sets of images apart: a probe of others knows nothing of these."""
    x = np.random.default_rng(3).integers(256, size=(1000, 9, 7)).astype(np.uint8)
    darker = x.copy()
    darker[1:500] //= 2
    other = {
        "images is 999 there and 1000 here": x[:999],
        r"shape is \[1, 9, 6\] there and \[1, 9, 7\] here": x[:, :, :6],
        "value range is": x / 255.0,
        "mean variance is": darker,
        "checksum is": x[:, ::-1],
    }
    for words, images in other.items():
        result = probe_result(variables_of_probe(), open_images(images).describe(), {}, 0)
        with pytest.raises(InputError, match=f"probe must be of the same images: {words}.*; probe these images"):
            ld.hybrid(x, probe=result, progress=False, **ASKED)
    np.savez(tmp_path / "copy.npz", images=x)
    copied = open_images(tmp_path / "copy.npz").describe()
    same = probe_result(variables_of_probe(), copied, {}, 0)
    assert grid_of_probe(same, open_images(x), 1)["radius"].values.tolist() == [1, 2]
    with pytest.raises(InputError, match="other distances; give --window alone, or no --shrink"):
        ld.hybrid(x, probe=same, shrink=2, progress=False, **ASKED)
    cosine = probe_result(variables_of_probe(), copied, {"channel": "gaussian", "schedule": "vp"}, 0)
    with pytest.raises(InputError, match="must be of gaussian noise of linear schedule, got gaussian and vp"):
        ld.hybrid(x, probe=cosine, progress=False, **ASKED)


def test_networks_of_a_user_are_taken_instead_of_trained_ones(tmp_path, capsys):
    """Exact denoisers of an Ising model, one of them disguised as a network that predicts the noise."""
    (tmp_path / "nets.py").write_text(
        "import numpy as np\nimport lattice_diffusion as ld\n"
        "MODEL, NOISE = ld.models.Ising(ld.Lattice((4, 4)), 0.44), ld.channels.Gaussian('linear')\n"
        "exact = ld.denoisers.ExactDenoiser(MODEL, NOISE)\n"
        "def local():\n    return ld.denoisers.ExactDenoiser(MODEL, NOISE, 1)\n"
        "def noise(x, step):\n"
        "    t = ld.NoiseLevel.of(step[0], 'ddpm').to('linear')\n"
        "    a = ld.NoiseLevel.of(step[0], 'ddpm').to('alpha_bar') ** 0.5\n"
        "    return (x - a * exact(x * (1 - t) / a, t).mean) / (1 - a * a) ** 0.5\n"
        "def everywhere():\n    return ld.denoisers.wrap(noise, 'epsilon', 'ddpm')\n"
    )
    model = ld.models.Ising(ld.Lattice((4, 4)), 0.44)
    x = model.sample(400, np.random.default_rng(1))
    np.save(tmp_path / "spins.npy", (x > 0).astype(np.uint8))
    options = f"--window 0.3,0.8 --radius 1 --n-samples 100 --steps 4 --out {tmp_path / 'h.h5'}"
    nets = [f"--denoiser={name}={tmp_path / 'nets.py'}:{f}" for name, f in (("1", "local"), ("global", "everywhere"))]
    assert main(["hybrid", str(tmp_path / "spins.npy"), *options.split(), *nets]) == 0
    captured = capsys.readouterr()
    assert "no network to train; then 100 images" in captured.err
    assert "training steps" not in captured.out
    exact = {1: ExactDenoiser(model, CHANNEL, 1), "global": ExactDenoiser(model, CHANNEL)}
    open_ones = ld.hybrid(x, networks=exact, window=(0.3, 0.8), radius=1, n_samples=100, steps=4, progress=False)
    found, known = ld.load(tmp_path / "h.h5")["denoising"], open_ones["denoising"]
    assert found["radius"].values.tolist() == [1, GLOBAL]
    np.testing.assert_allclose(found["mse"], known["mse"], rtol=1e-9, atol=1e-12)
    last = ld.NoiseLevel.of(999, "ddpm").to("linear")
    assert 0.9 < ld.denoisers.wrap(lambda x, t: x, "flow", "ddpm").latest == pytest.approx(last)
    with pytest.raises(InputError, match='radii and one "global", such as'):
        ld.hybrid(x, networks={1: None, 2: None}, window=(0.3, 0.8))


def test_refusals(tmp_path, capsys):
    path = spins(tmp_path)
    messages = {
        (): "window or probe must be given, got neither; take --window 0.2,0.7 or --probe FILE.h5",
        ("--window", "0.7,0.2"): "window must be two times 0 <= t1 < t2 <= 1, such as 0.2,0.7, got '0.7,0.2'",
        ("--window", "a"): "window must be two times",
        ("--window", "0.2,0.7", "--radii", "1,2", "--radius", "3"): "radius must be one of the radii [1, 2], got 3",
        ("--window", "0.2,0.7", "--by", "eye"): "'eye' is not one of 'cmi', 'error'",
        ("--window", "0.2,0.7", "--levels", "1"): "levels must be >= 2, got 1",
        ("--window", "0.2,0.7", "--shrink", "3"): "shrink must leave images of at least 4x4, got 3 for 9x7",
        ("--window", "0.2,0.7", "--budget", "0"): "budget must be > 0, got 0",
        ("--probe", str(tmp_path / "none.h5")): "no such file",
    }
    for options, message in messages.items():
        assert main(["hybrid", str(path), "--out", str(tmp_path / "x.h5"), *options]) == 2
        assert message in capsys.readouterr().err
    tokens = open_images(np.random.default_rng(1).integers(3, size=(400, 8, 8)), tokens=3)
    with pytest.raises(InputError, match="takes grey images, colours or spins, array is of tokens"):
        split(tokens, 8, 1, np.random.default_rng(1))
    with pytest.raises(InputError, match="at least 400 images, and better 5,000, got 399"):
        ld.hybrid(path, n_max=399, **ASKED)
