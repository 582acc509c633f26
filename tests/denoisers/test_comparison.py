"""Exact denoisers in the clothes of anyone's networks give the gaps, windows and schedules of the exact ones."""

import functools
import math

import numpy as np
import pytest
import torch
import xarray as xr
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion import cli
from lattice_diffusion.denoisers import ExactDenoiser, wrap
from lattice_diffusion.denoisers.comparison import Comparison
from lattice_diffusion.errors import InputError
from lattice_diffusion.noise_units import steps
from lattice_diffusion.phases import nonlocality_window, optimal_schedule

LINEAR = ld.channels.Gaussian("linear")
LATTICE = ld.Lattice((3, 4))
MODELS = {
    "ising": ld.models.Ising(LATTICE, 0.44),
    "mixture": ld.models.GaussianMixture(LATTICE, mean=0.8, std=0.7),
    "field": ld.models.GaussianField(LATTICE, mass_squared=0.3),
}
TABLE = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


# alpha and sigma of the time argument in four conventions, each by its own definition
def ddpm(step):
    log_snr = np.interp(step, np.arange(1000), np.log(TABLE / (1 - TABLE)))
    return math.sqrt(1 / (1 + math.exp(-log_snr))), math.sqrt(1 / (1 + math.exp(log_snr)))


def cosine(t):
    return math.cos(math.pi * t / 2), math.sin(math.pi * t / 2)


def edm(sigma):
    return 1.0, sigma


def shifted(t):
    t = 3 * t / (1 + 2 * t)
    return 1 - t, t


SCHEDULES = {"ddpm": (ddpm, steps(TABLE)), "vp": (cosine, "vp"), "edm": (edm, "sigma"), "flow": (shifted, "flow:3")}
PREDICTIONS = {
    "x0": lambda x, mean, a, s: mean,
    "epsilon": lambda x, mean, a, s: (x - a * mean) / s,
    "v": lambda x, mean, a, s: a * (x - a * mean) / s - s * mean,
    "flow": lambda x, mean, a, s: (x - a * mean) / s - mean,
    "score": lambda x, mean, a, s: -(x - a * mean) / s**2,
}


def disguised(exact, schedule, prediction, **options):
    """An exact denoiser as a network that predicts something else, in another convention."""
    convention, name = SCHEDULES[schedule]

    def net(x, time):
        a, s = convention(float(time[0]))
        mean = exact(x / (a + s), s / (a + s)).mean  # linear alpha and sigma add up to 1
        return PREDICTIONS[prediction](x, mean, a, s)

    def raw_edm(x_in, time):  # F of Karras et al., table 1
        s = math.exp(4 * float(time[0]))
        total = s**2 + 0.6**2
        x = x_in * math.sqrt(total)
        mean = exact(x / (1 + s), s / (1 + s)).mean
        return (mean - 0.6**2 / total * x) * math.sqrt(total) / (s * 0.6)

    if prediction == "edm":
        return wrap(raw_edm, "edm", "sigma", sigma_data=0.6, **options)
    return wrap(net, prediction, name, **options)


@functools.cache
def exact_nets(model):
    return {"global": ExactDenoiser(MODELS[model], LINEAR), "r1": ExactDenoiser(MODELS[model], LINEAR, 1)}


LEVELS = np.linspace(0.3, 0.93, 10)
N = 96


@functools.cache
def truth(model):
    """1/2 snr |x_0 - mean|^2 of every sample, level and network, on the noise of `compare` with rng=3."""
    x_0 = np.asarray(MODELS[model].sample(N, 5), float)[:, None]
    noise = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(0,)).spawn(2)[1])
    nats = []
    for t in LEVELS:
        x_t = (1 - t) * x_0 + t * noise.standard_normal(x_0.shape)
        errors = [((net(x_t, t).mean - x_0) ** 2).sum(axis=(1, 2, 3)) for net in exact_nets(model).values()]
        nats.append(0.5 * ((1 - t) / t) ** 2 * np.stack(errors, axis=1))
    return x_0, np.stack(nats, axis=1)


CASES = [("ising", schedule, prediction) for schedule in SCHEDULES for prediction in PREDICTIONS]
CASES += [("ising", "edm", "edm"), ("mixture", "ddpm", "epsilon"), ("field", "vp", "v")]


@pytest.mark.parametrize(("model", "schedule", "prediction"), CASES)
def test_gap_window_and_schedule_of_disguised_exact_denoisers(model, schedule, prediction):
    nets = {name: disguised(net, schedule, prediction, radius=net.radius) for name, net in exact_nets(model).items()}
    x_0, nats = truth(model)
    found = ld.compare(nets, x_0, LEVELS, batch_size=N, rng=3)
    beyond = nats.mean(axis=0) - nats.mean(axis=0).min(axis=1, keepdims=True)
    assert beyond[:, 1].max() > 0.01
    nat = 12 * 0.5 * ((1 - LEVELS) / LEVELS) ** 2  # of a squared error of 1 a site
    np.testing.assert_allclose(found.table["gap"].values * nat[:, None], beyond, rtol=1e-6, atol=1e-12)
    excess = nats[:, :, 1] - nats[:, :, 0]
    tolerance = 0.3 * excess.mean(axis=0).max()
    window = found.window(tolerance, "r1", beyond="global")
    depth = 2 * np.log(LEVELS / (1 - LEVELS))
    expected = nonlocality_window(depth, excess.mean(axis=0), tolerance, excess.std(axis=0, ddof=1) / N**0.5)
    for end, other in zip((window.start, window.stop), (expected.start, expected.stop), strict=True):
        assert (end is None) == (other is None)
        if end is not None:
            assert end.value == pytest.approx(1 / (1 + math.exp(-other.value / 2)), rel=1e-6)
    area = beyond * np.convolve(np.diff(depth), [0.5, 0.5])[:, None]
    budget = 0.4 * area[:, 1].sum()
    best = optimal_schedule(area, [2.0, 1.0], budget)
    costs = found.result["costs"].to_dataset().assign(multiply_adds=("network", [2.0, 1.0]))
    found.result["costs"] = xr.DataTree(costs)
    plan = found.schedule(budget, cost="multiply_adds")
    assert plan.names == tuple(("global", "r1")[k] for k in best.choice)
    assert plan.kl == pytest.approx(best.error, rel=1e-6)
    assert plan.saving == pytest.approx(20 / best.cost)


def test_a_network_told_the_wrong_schedule_is_seen():
    right, wrong = (disguised(exact_nets("field")["global"], "vp", "epsilon"), exact_nets("field")["global"])
    wrong = wrap(right.net, "epsilon", "ddpm", time=lambda step: step / 999)
    found = ld.compare({"right": right, "wrong": wrong}, truth("field")[0], np.linspace(0.2, 0.8, 4), rng=3)
    assert found.table["gap"].sel(network="wrong").values.min() > 1e-3


def test_gaps_are_the_closed_form_of_a_field():
    found = ld.compare(exact_nets("field"), lambda n, rng: MODELS["field"].sample(n, rng)[:, None], [0.3, 0.6, 0.8],
                       n_samples=4000, batch_size=500, rng=1)  # fmt: skip
    x, z = np.zeros((1, 1, 3, 4)), []
    for k, t in enumerate((0.3, 0.6, 0.8)):
        local, whole = (exact_nets("field")[name](x, t).variance.mean() for name in ("r1", "global"))
        gap = found.table.isel(level=k).sel(network="r1")
        z.append([float((gap["gap"] - scale * (local - whole)) / gap["gap_stderr"]) for scale in (1.0, 1.5)])
    assert np.abs(np.array(z)[:, 0]).max() < 5
    assert np.abs(np.array(z)[:, 1]).max() > 5  # another factor is seen


def test_bounds_are_said_in_any_unit_and_lead_generation():
    x_0, _ = truth("mixture")
    nets = exact_nets("mixture")
    found = ld.compare(nets, x_0, LEVELS, rng=3)
    plan = found.schedule(0.3 * found.throughout("r1").kl, cost="multiply_adds")
    assert set(plan.names) == {"global", "r1"}
    linear, sigma = plan.bounds(), plan.bounds("sigma")
    assert linear[0][1] == pytest.approx(LEVELS[-1])
    assert linear[-1][2] == pytest.approx(LEVELS[0])
    for (name, first, last), (same, *others) in zip(linear, sigma, strict=True):
        assert name == same
        assert others == pytest.approx([first / (1 - first), last / (1 - last)])
        assert plan(first - 1e-9) is nets[name]
        assert plan(last + 1e-9) is nets[name]
    costs = [one.cost for one in found.frontier(cost="multiply_adds")]
    assert costs == sorted(costs)
    assert costs[-1] <= plan.dearest
    steps_at = np.linspace(0.9, 0.02, 30)
    called = found.throughout("global", cost="multiply_adds", steps=steps_at).cost
    assert called == pytest.approx(30 * found.throughout("global", cost="multiply_adds").cost / len(LEVELS))


def test_a_killed_run_goes_on_to_the_same_errors(tmp_path):
    x_0, _ = truth("field")
    path = tmp_path / "c.h5"
    whole = ld.compare(exact_nets("field"), x_0, LEVELS, batch_size=20, rng=4, budget=0.1)
    calls = []

    class Stops:
        channel, radius = LINEAR, None

        def __call__(self, x_t, t):
            calls.append(t)
            if len(calls) == 35:
                raise KeyboardInterrupt
            return exact_nets("field")["global"](x_t, t)

        def multiply_adds(self, shape):
            return exact_nets("field")["global"].multiply_adds(shape)

    nets = {**exact_nets("field"), "global": Stops()}
    with pytest.raises(KeyboardInterrupt):
        ld.compare(nets, x_0, LEVELS, batch_size=20, rng=4, out=path)
    with pytest.raises(InputError, match=r"another experiment: batch_size is 20 there and 10 here"):
        ld.compare(nets, x_0, LEVELS, batch_size=10, rng=4, out=path, resume=True)
    ld.compare(nets, x_0, LEVELS, batch_size=20, rng=4, budget=0.1, out=path, resume=True)
    assert len(calls) < 35 + 10 * 3 + 5  # three batches were kept, and two measured again
    again = Comparison.load(path, nets)
    for name in ("mse", "gap", "gap_stderr", "kl"):
        np.testing.assert_array_equal(again.table[name], whole.table[name])
    assert again.window(0.05, "r1") == whole.window(0.05, "r1")
    assert ld.compare(nets, x_0, LEVELS, batch_size=20, rng=4, out=path, resume=True).names == ["global", "r1"]
    assert [row.quantity for row in ld.results.rows(again.result)][-1] == "cost, dearest / schedule"
    for other, difference in (({"rng": 5}, "seed is 4 there and 5"), ({"budget": 0.2}, "budget is 0.1 there and 0.2")):
        with pytest.raises(InputError, match=f"c.h5 holds another experiment: {difference}"):
            ld.compare(nets, x_0, LEVELS, **{"batch_size": 20, "rng": 4, **other}, out=path, resume=True)
    with pytest.raises(InputError, match=r"c.h5 holds a compare, no probe"):
        ld.probe(np.sign(x_0[:, 0]), out=path, resume=True, progress=False)


def test_fewer_samples_are_spread_over_the_data():
    """Data may be sorted, as by label."""
    net = wrap(lambda x, t: np.zeros_like(x), "x0", "linear")
    x_0 = np.repeat([0.0, 0.0, 1.0, 1.0], 5).reshape(-1, 1, 1)
    found = ld.compare({"zero": net}, x_0, [0.3, 0.5], n_samples=4)
    assert found.result["images"]["squared_error"].values[:, 0, 0].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_conditions_reach_the_networks_that_take_one():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 60) * 2.0 - 1
    x_0 = 3 * labels[:, None, None, None] + 0.1 * rng.standard_normal((60, 1, 2, 2))
    net = wrap(lambda x, t, label=0.0: np.broadcast_to(3 * np.reshape(label, (-1, 1, 1, 1)), x.shape), "x0", "linear")
    told = wrap(net.net, "x0", "linear", condition="label")
    found = ld.compare({"told": told, "not": net}, x_0, [0.3, 0.5], condition=labels, batch_size=16)
    assert found.table["mse"].sel(network="told").values == pytest.approx([0.01, 0.01], rel=0.3)
    assert found.table["gap"].sel(network="not").values == pytest.approx([9.0, 9.0], rel=0.1)
    assert found.window(1.0, "not", beyond="told", unit="sigma").start is None
    with pytest.raises(InputError, match="the network takes no condition"):
        net.on(labels)


def nan_net(x, time):
    return np.full(x.shape, np.nan)


ZERO = wrap(lambda x, t: 0 * x, "x0", "linear")
UNIT = wrap(lambda x, t: 0 * x, "x0", "linear", value_range=(0, 1))
IMAGES = np.zeros((4, 1, 3, 3))


test_refusals = refusals(
    (lambda: wrap(nan_net, "noise"), "prediction must be one of epsilon, x0, v, flow, score, edm, got 'noise'"),
    (lambda: wrap(3), r"net must be a function or module net\(x, time\), got 3"),
    (lambda: wrap(nan_net, "edm", "ddpm"), "prediction edm needs schedule='sigma', got ddpm"),
    (lambda: wrap(nan_net, arrays="jax"), "arrays must be numpy or torch, got 'jax'"),
    (lambda: wrap(nan_net, value_range=(1, -1)), r"value_range must be \(low, high\)"),
    (lambda: wrap(nan_net, channel=ld.channels.BitFlip()), "take the gaussian channel, got bitflip"),
    (lambda: wrap(nan_net, "x0", "linear")(IMAGES, 0.5), "finite values, got NaN or inf at t = 0.5"),
    (lambda: wrap(lambda x, t: x[:, 0], "x0")(IMAGES, 0.5), r"one value per entry of x_t, \(4, 1, 3, 3\), got"),
    (lambda: wrap(nan_net, "x0")(IMAGES, 0.999), "outside the schedule of ddpm"),
    (lambda: ld.compare({"a": ZERO, "b": wrap(nan_net, "x0")}, IMAGES, [0.1, 0.999]), "network b: .* outside the"),
    (lambda: ld.compare([("a", ZERO), ("a", ZERO)], IMAGES), "names of their own, got a twice"),
    (lambda: ld.compare({}, IMAGES), "at least one denoiser by name, got none"),
    (lambda: ld.compare({"a": nan_net}, IMAGES), "network a must be a denoiser, .* make one by denoisers.wrap"),
    (lambda: ld.compare({"a": ZERO}, IMAGES[:, 0, 0]), r"shape \(n >= 2, channel, \*lattice\), got \(4, 3\)"),
    (lambda: ld.compare({"a": ZERO}, IMAGES * np.nan), "data must be finite, got nan"),
    (lambda: ld.compare({"a": ZERO}, IMAGES, [0.5]), "levels must be two or more noise levels"),
    (lambda: ld.compare({"a": ZERO}, IMAGES, [0.0, 0.5]), "with some signal and noise"),
    (lambda: ld.compare({"a": ZERO}, IMAGES, condition=[1, 2]), r"one value per sample \(4\), got shape \(2,\)"),
    (lambda: ld.compare({"a": UNIT}, IMAGES - 1), "data must be from 0 to 1, as network a was told, got values"),
    (lambda: ld.compare({"a": ZERO}, IMAGES).window(0.1, "b"), "network must be one of a, got 'b'"),
    (lambda: ld.compare({"a": ZERO}, IMAGES).frontier(cost="joules"), "cost must be seconds or multiply_adds"),
    (
        lambda: ld.compare({"a": ZERO}, IMAGES).schedule(1, cost="multiply_adds"),
        "known of networks in torch only, not of a",
    ),
    (lambda: ld.compare({"a": ZERO}, IMAGES).schedule(1, steps=[]), "steps must hold at least one noise level"),
    (
        lambda: ld.compare({"a": ZERO}, lambda n, rng: IMAGES[:3]),
        r"drawn as \(64, channel, \*lattice\), got \(3, 1, 3, 3\)",
    ),
    (lambda: wrap(lambda x, t: x, "x0", "sigma")(IMAGES, 1.0), "t must be at most 0.9975, where generation starts"),
    (lambda: wrap(lambda x, t: x, channel="vp"), r"channel must be one such as channels.Gaussian\(\), got 'vp'"),
    (lambda: ld.compare({"a": ZERO}, IMAGES).schedule(-1.0), "no schedule keeps the error within -1"),
)


NETWORKS = """
from lattice_diffusion.denoisers import wrap

def half():
    return wrap(lambda x, t: x / 2, "x0", "sigma")

none = wrap(lambda x, t: 0 * x, "x0", "sigma")
"""


def test_the_command_writes_a_result_with_figure_and_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", np.where(np.random.default_rng(0).random((60, 6, 6)) < 0.5, -1.0, 1.0))
    (tmp_path / "nets.py").write_text(NETWORKS)
    line = "compare images.npy --denoiser half=nets.py:half --denoiser none=nets.py:none --unit sigma --budget 50"
    assert cli.main([*line.split(), "--levels", "0.5,1,2"]) == 0
    assert "KL, schedule for 50 nat" in capsys.readouterr().out
    assert (tmp_path / "compare.png").stat().st_size > 10_000
    found = Comparison.load("compare.h5")
    # |x/2 - x_0|^2 = 1/4 + sigma^2/4 beside |x_0|^2 = 1, of 36 values
    assert found.table["mse"].sel(network="half").values == pytest.approx([0.3125, 0.5, 1.25], rel=0.1)
    assert found.window(1.0, "none", beyond="half", unit="sigma").stop.value == pytest.approx(1.7, abs=0.2)
    found.report("compare.html")
    assert "none" in (tmp_path / "compare.html").read_text()
    assert cli.main([*line.split(), "--levels", "x", "--force"]) == 2
    assert "levels must be a number such as 16" in capsys.readouterr().err
    assert cli.main([*line.split(), "--denoiser", "half=nets.py:half", "--force"]) == 2
    assert "names of their own, got half twice" in capsys.readouterr().err


def test_validation_measures_what_the_schedules_generate():
    model = ld.models.GaussianField(ld.Lattice((4, 4)), mass_squared=0.5)
    precision = model.solver.precision.toarray()

    def energy_of(x):
        return np.einsum("ni,ij,nj->n", *[x.reshape(len(x), -1), precision, x.reshape(len(x), -1)]) / 2

    def corners(x):
        return x[:, 0, :2, :2].reshape(len(x), -1)

    nets = {"global": ExactDenoiser(model, LINEAR), "blind": ExactDenoiser(model, LINEAR, 0)}
    x_0 = model.sample(400, 3)[:, None]
    found = ld.compare(nets, x_0, 20, rng=1)
    options = {"cost": "multiply_adds", "statistics": {"energy": energy_of}, "features": corners}
    made = found.validate(400, x_0, budget=0.02, **options, rng=4)
    assert list(made.schedule.values) == ["real", "cheapest", "schedule", "dearest"]
    energy, stderr = made["energy"].values, made["energy_stderr"].values
    assert abs(energy[2] - energy[0]) < 5 * np.hypot(stderr[2], stderr[0])
    assert abs(energy[1] - energy[0]) > 5 * np.hypot(stderr[1], stderr[0])  # of a field without neighbours
    assert made["frechet_distance"].values[1] > made["frechet_distance"].values[3]
    assert made["multiply_adds"].values[1] < made["multiply_adds"].values[2] <= made["multiply_adds"].values[3]


def test_networks_move_to_the_device(monkeypatch):
    """The networks go where they are told; a device that is not there is refused in one sentence."""
    data, went = MODELS["field"].sample(4, 1)[:, None], []
    net = ld.denoisers.LocalNet(1, head="gaussian", channel=LINEAR, width=4, depth=1)
    monkeypatch.setattr(net, "to", went.append)
    found = ld.compare({"net": net, "exact": ExactDenoiser(MODELS["field"], LINEAR)}, data, 2, device="auto")
    assert (went, len(found.log_snr)) == (["cuda" if torch.cuda.is_available() else "cpu"], 2)
    with pytest.raises(InputError, match="device must be one of cpu, auto"):
        ld.compare({"net": net}, data, 2, device="cuda:7")


def test_a_gpu_without_memory_for_a_comparison():
    def net(x, t):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(InputError, match=r"too little memory \(.*2.00 GiB\); take a smaller batch_size"):
        ld.compare({"net": wrap(net, "x0", "linear")}, MODELS["field"].sample(4, 1)[:, None], 2)
