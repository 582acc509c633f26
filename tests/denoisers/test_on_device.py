"""What is drawn by torch follows the laws of the NumPy channels; training and generation stay on one device."""

import itertools

import numpy as np
import pytest
import torch

import lattice_diffusion as ld
from lattice_diffusion.channels import BitFlip, Erasure, Gaussian, Uniform
from lattice_diffusion.denoisers import (
    Bernoulli,
    Categorical,
    ExactDenoiser,
    GlobalImageNet,
    GlobalNet,
    LocalImageNet,
    LocalNet,
    Normal,
    WienerFilter,
    always,
    fitting,
    on_device,
    pure_noise,
    reverse,
    reverse_steps,
    train,
)
from lattice_diffusion.errors import InputError

N = 60_000
TINY = {"width": 4, "depth": 1, "levels": 1}
CHANNELS = [Gaussian("vp"), BitFlip(), Erasure(), Erasure(3), Uniform(3)]


def values(channel, rng):
    """Clean values, (N, 1), as the channel takes them."""
    return rng.integers(0, 3, (N, 1)) * 1.0 if getattr(channel, "q", None) else rng.choice([-1.0, 1.0], (N, 1))


def z_scores(first, second):
    """Differences of the mean of x and x^2 between two sets, in standard errors."""
    both = [np.stack([x.ravel(), x.ravel() ** 2]).astype(float) for x in (first, second)]
    error = np.sqrt(sum(x.var(axis=1) for x in both) / N)
    return (both[0].mean(axis=1) - both[1].mean(axis=1)) / np.maximum(error, 1e-12)


@pytest.mark.parametrize("channel", CHANNELS, ids=repr)
def test_noise_and_bridge_are_those_of_the_channel(channel):
    """For every clean value, and for every noisy one of few; a wrong time fails."""
    rng, there = np.random.default_rng(1), torch.Generator().manual_seed(2)
    x_0, t, s = values(channel, rng), 0.7, 0.4
    noisy = on_device.corrupt(channel, torch.as_tensor(x_0), np.full(N, t), there)
    theirs = channel.corrupt(x_0, t, rng)
    back = on_device.bridge(channel, torch.as_tensor(theirs), torch.as_tensor(x_0), t, s, there).numpy()
    early = on_device.bridge(channel, torch.as_tensor(theirs), torch.as_tensor(x_0), t, 0.3, there).numpy()
    expected, worst = channel.bridge(theirs, x_0, t, s, rng), 0.0
    for clean in np.unique(x_0):
        here = x_0 == clean
        assert np.abs(z_scores(noisy.numpy()[here], theirs[here])).max() < 5
        assert np.abs(z_scores(back[here], expected[here])).max() < 5
        assert np.abs(z_scores(back[here] * theirs[here], expected[here] * theirs[here])).max() < 5
        worst = max(worst, np.abs(z_scores(early[here], expected[here])).max())
    assert worst > 5
    assert torch.equal(on_device.corrupt(channel, noisy, np.zeros(N), there), noisy)


def test_every_sample_has_its_own_time():
    noisy = on_device.corrupt(BitFlip(), torch.ones(2, 50_000), [0.0, 1.0], torch.Generator().manual_seed(3))
    assert noisy.mean(1).tolist() == [1.0, pytest.approx(0.0, abs=0.03)]


class Own:
    name = "own"

    def corrupt(self, x_0, t, rng=None):
        assert isinstance(x_0, np.ndarray)
        return x_0 + t


def test_a_channel_of_ones_own_goes_through_numpy():
    noisy = on_device.corrupt(Own(), torch.zeros(2, 3), [0.25, 0.5], torch.Generator())
    assert noisy.tolist() == [[0.25] * 3, [0.5] * 3]


@pytest.mark.parametrize(
    "law",
    [
        Bernoulli(np.full((N, 1), 0.8)),
        Normal(np.full((N, 1), 0.3), np.full((N, 1), 2.0)),
        Categorical(np.tile([0.1, 1.0, -0.5], (N, 1, 1)), (0.0, 1.0, 4.0)),
    ],
    ids=lambda law: type(law).__name__,
)
def test_clean_values_are_drawn_from_the_law(law):
    tensors = {k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in vars(law).items()}
    drawn = on_device.draw(type(law)(**tensors), torch.Generator().manual_seed(4)).numpy()
    assert np.abs(z_scores(drawn, law.sample(5))).max() < 5
    assert drawn.mean() == pytest.approx(law.mean.mean(), abs=5 * law.variance.mean() ** 0.5 / N**0.5)


@pytest.mark.parametrize("radius", [None, 1])
@pytest.mark.parametrize("kind", ["field", "mixture", "wiener"])
def test_laws_of_gaussian_data_are_computed_in_torch(kind, radius, monkeypatch):
    """The same laws as NumPy's; nothing of x_t is turned into an array on the way."""
    lattice, channel, rng = ld.Lattice((4, 5), (True, False)), Gaussian("linear"), np.random.default_rng(6)
    model = ld.models.GaussianField(lattice, 0.4)
    if kind == "mixture":
        model = ld.models.GaussianMixture(lattice, 0.7, 1.0)
    x_0 = model.sample(40, rng)[:, None]
    denoiser = WienerFilter(x_0, channel, radius) if kind == "wiener" else ExactDenoiser(model, channel, radius)
    x_t, t = channel.corrupt(x_0, 0.5, rng), np.array([0.5, 0.2] * 20)
    expected = denoiser(x_t, t)
    monkeypatch.setattr(torch.Tensor, "numpy", lambda x: pytest.fail("the tensor leaves its device"))
    found = denoiser(torch.as_tensor(x_t), t)
    for name in ("mean", "variance"):
        assert np.asarray(getattr(found, name).tolist()) == pytest.approx(getattr(expected, name), abs=1e-12)
    assert denoiser(torch.as_tensor(x_t).float(), 0.5).mean.dtype == torch.float32


def test_the_way_back_stays_in_tensors(monkeypatch):
    """A Gaussian field from noise: the law of the steps is known in closed form, and the tensors follow it."""
    lattice, channel, times = ld.Lattice((2, 3)), Gaussian("linear"), [1.0, 0.7, 0.4, 0.0]
    model = ld.models.GaussianField(lattice, 0.5)
    plan = always(ExactDenoiser(model, channel))
    monkeypatch.setattr(torch.Tensor, "numpy", lambda x: pytest.fail("the tensor leaves its device"))
    x = pure_noise((N, 1, 2, 3), channel, 1.0, 7, device="cpu").double()
    monkeypatch.setattr(torch.Tensor, "numpy", np.asarray)
    x = np.asarray(reverse(x, times, plan, channel, 8).tolist()).reshape(N, 6)
    for model_of, low, high in ((model, 0, 5), (ld.models.GaussianField(lattice, 0.55), 5, np.inf)):
        exact = ld.denoisers.generated_covariance(model_of, channel, times, always(ExactDenoiser(model_of, channel)))
        variance = np.diag(exact)
        z = (x.T @ x / N - exact) / np.sqrt((exact**2 + np.outer(variance, variance)) / N)
        assert low <= np.abs(z).max() < high


@pytest.mark.parametrize("channel", [BitFlip(), Erasure()], ids=repr)
def test_spins_come_back_as_tensors(channel):
    """E s_1 s_2 of a pair of spins after many steps; a beta 15% off fails."""
    model, times = ld.models.IsingChain(ld.Lattice(2), 0.6), np.linspace(1, 0, 40).tolist()
    start = pure_noise((20_000, 1, 2), channel, 1.0, 9, device="cpu")
    s = reverse(start, times, always(ExactDenoiser(model, channel, strict=False)), channel, 10)
    assert isinstance(s, torch.Tensor)
    product = (s[:, 0, 0] * s[:, 0, 1]).double()
    error = float(product.std()) / 20_000**0.5
    assert abs(float(product.mean()) - np.tanh(0.6)) < 5 * error
    assert abs(float(product.mean()) - np.tanh(0.69)) > 5 * error


@pytest.mark.parametrize("kind", ["chain", "field", "tokens"])
def test_training_neither_reads_nor_moves_anything_on_its_device(kind, monkeypatch):
    """On the meta device, which holds no numbers, any such step would fail; it has no generator and no fused Adam."""
    monkeypatch.setattr(fitting, "generator_on", lambda device, rng: torch.Generator())
    if kind == "tokens":
        net = GlobalNet(channel=Uniform(3), head="categorical", **TINY, ndim=1)
        data = np.random.default_rng(11).integers(0, 3, (50, 6))
    elif kind == "field":
        net = GlobalNet(channel=Gaussian("linear"), head="gaussian", **TINY, ndim=1)
        data = np.random.default_rng(11).standard_normal((50, 6))
    else:
        net = LocalNet(1, channel=BitFlip(), width=4, depth=1, ndim=1)
        data = np.random.default_rng(11).choice([-1, 1], (50, 6))
    steps = train(net.to("meta"), data, steps=5, batch_size=10, gradient_norm=None, rng=0)
    assert [step.number for step in itertools.islice(steps, 3)] == [1, 2, 3]


def test_training_on_a_device_learns_the_same(monkeypatch):
    """The batches of a GPU, drawn on the CPU: E|net - exact|^2 / MMSE as in the tests of training, below 0.003."""
    monkeypatch.setattr(fitting, "HOST", ())
    model, channel = ld.models.IsingChain(ld.Lattice(12), 0.8), Gaussian("linear")
    net = LocalNet(1, channel=channel, ndim=1, width=16, depth=1, rng=20)
    exact = ExactDenoiser(model, channel, 1)
    options = {"steps": 250, "learning_rate": 1e-2, "validate_every": 250, "rng": 21}
    *_, last = train(net, model.sample(40_000, 22), exact=exact, **options)
    assert last.score < 0.003


def test_a_batch_too_large_for_the_gpu_is_halved(monkeypatch, capsys):
    net = LocalNet(1, channel=BitFlip(), width=4, depth=1, ndim=1)
    room, sizes, blind = 20, [], net.blind

    def held(x_t, t):
        sizes.append(len(x_t))
        if len(x_t) > room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..")
        return blind(x_t, t)

    monkeypatch.setattr(net, "blind", held)
    data = np.random.default_rng(12).choice([-1, 1], (50, 6))
    assert len(list(train(net, data, steps=3, batch_size=64, rng=0))) == 3
    assert sizes == [64, 32, 16, 16, 16]
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "warning: the GPU has too little memory for a batch; training goes on with batches of 16"
    room = 0
    with pytest.raises(InputError, match=r"too little memory \(tried to allocate 2.00 GiB\); take a smaller network"):
        list(train(net, data, steps=3, batch_size=2, rng=0))


def test_a_way_back_too_large_for_the_gpu():
    def net(x, t):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    with pytest.raises(InputError, match=r"GPU has too little memory \(tried to allocate 20.00 MiB\); take fewer"):
        list(reverse_steps(torch.zeros(2, 1, 3), [1.0, 0.0], always(net), Gaussian("linear")))


def test_pure_noise_needs_a_device_that_is_there():
    with pytest.raises(InputError, match="device must be one of cpu, auto"):
        pure_noise((2, 1, 3), Gaussian("linear"), 1.0, device="cuda:7")


LEVELS = {"levels": (-1.0, 1.0), "prior": np.full((2, 4, 5), 0.5), "channel": Gaussian("linear")}
NETWORKS = {
    "local": lambda: LocalNet(1, channel=BitFlip(), width=4, depth=1, ndim=1, rng=1),
    "global": lambda: GlobalNet(channel=Gaussian("vp"), head="gaussian", **TINY, ndim=1, rng=1),
    "tokens": lambda: GlobalNet(channel=Erasure(3), head="categorical", **TINY, ndim=1, rng=1),
    "image": lambda: LocalImageNet(1, **LEVELS, width=4, depth=1, rng=1),
    "global image": lambda: GlobalImageNet(**LEVELS, width=4, depth=1, halvings=1, rng=1),
    "bonds": lambda: LocalNet(1, channel=BitFlip(), width=4, depth=1, bonds=True, in_channels=2, rng=1),
}


@pytest.mark.parametrize(("kind", "optimiser"), [*((kind, "adam") for kind in NETWORKS), ("global image", "muon")])
def test_the_default_device_changes_nothing(kind, optimiser, tmp_path):
    """With the default device "meta", which holds no numbers, any tensor that is made there by accident fails."""
    shape = {"image": (4, 5), "global image": (4, 5), "bonds": (2, 4, 4)}.get(kind, (6,))
    rng = np.random.default_rng(13)
    data = rng.integers(0, 3, (30, *shape)) if kind == "tokens" else rng.choice([-1.0, 1.0], (30, *shape))

    def run(path):
        net = NETWORKS[kind]()
        options = {"optimiser": optimiser, "rng": 14, "batch_size": 8, "checkpoint": path, "resume": True}
        list(train(net, data, steps=2, **options))
        *_, last = train(net, data, steps=4, **options)
        law = ld.denoisers.load(path)(data[:2].reshape(2, net.in_channels, *shape[-net.ndim :]).astype(float), 0.5)
        return last.loss, law.mean.tolist(), net.multiply_adds((net.in_channels, *shape[-net.ndim :]))

    expected = run(tmp_path / "one.pt")
    torch.set_default_device("meta")
    try:
        assert run(tmp_path / "two.pt") == expected
    finally:
        torch.set_default_device(None)
