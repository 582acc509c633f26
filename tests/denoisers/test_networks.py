"""Networks see exactly their box and obey Bayes' rule on their own site, whatever their weights are."""

import numpy as np
import pytest
import torch
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.channels import BitFlip, Erasure, Gaussian
from lattice_diffusion.denoisers import GlobalNet, LocalNet, network_arguments
from lattice_diffusion.denoisers.network import channels_last, initialise, layer, noise_level
from lattice_diffusion.exact.bonds import bond_mask

CHANNELS = [Gaussian("linear"), Gaussian("vp"), Gaussian("ve"), BitFlip(), Erasure()]
SMALL = {"width": 8, "depth": 1}


def network(*args, **options):
    return LocalNet(*args, **SMALL, rng=np.random.default_rng(3), **options)


def seen(law, shape, output, in_channels=1, t=0.6):
    """|d law(x)[output] / dx| on the data, from a generic x."""
    x = torch.as_tensor(np.random.default_rng(4).normal(size=(1, in_channels, *shape)), dtype=torch.float32)
    x.requires_grad_(True)
    law(x, t).mean[(0, *output)].backward()
    return x.grad[0].abs().numpy()


# -- receptive fields -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["bernoulli", "gaussian"])
@pytest.mark.parametrize(
    ("shape", "radius", "periodic"),
    [((9,), 2, False), ((9,), 3, True), ((7, 8), 1, False), ((8, 7), 2, True), ((6, 5), 3, True), ((4, 6), 9, False)],
)
def test_an_output_depends_on_exactly_its_box(shape, radius, periodic, head):
    """All of the box, rim and corners included, nothing beyond it, and in the blind form not the site itself."""
    net, lattice = network(radius, head=head, ndim=len(shape), periodic=periodic), ld.Lattice(shape, periodic)
    for site in {(0,) * len(shape), lattice.center, tuple(n - 1 for n in shape)}:
        box = lattice.box(site, radius)
        assert np.array_equal(seen(net, shape, (0, *site))[0] > 0, box)
        box[site] = False
        assert np.array_equal(seen(net.blind, shape, (0, *site))[0] > 0, box)


def test_a_colour_pixel_is_one_site():
    net, lattice = network(1, 3, head="gaussian"), ld.Lattice((5, 5))
    box = lattice.box((2, 2), 1)
    box[2, 2] = False
    grad = seen(net.blind, (5, 5), (1, 2, 2), in_channels=3)
    assert np.array_equal(grad > 0, np.broadcast_to(box, (3, 5, 5)))
    own = seen(net, (5, 5), (1, 2, 2), in_channels=3)[:, 2, 2]
    assert np.array_equal(own > 0, [False, True, False])


@pytest.mark.parametrize(
    ("faces", "radius", "periodic", "order"),
    [((6, 7), 1, False, 1), ((6, 7), 2, True, 1), ((4, 3), 1, True, 1), ((3, 5), 0, False, 1), ((5, 6), 1, False, 3)],
)
def test_bonds_see_the_bonds_of_their_box_of_faces(faces, radius, periodic, order):
    model = ld.models.DomainWalls(faces, periodic=periodic)
    net = network(radius, 2, bonds=True, periodic=periodic, order=order)
    for channel, i, j in np.argwhere(model.sites)[::9]:
        other = ((i + channel) % faces[0], (j + 1 - channel) % faces[1])
        parts = model.tripartition(bond=((i, j), other), radius=radius)
        assert np.array_equal(seen(net.blind, faces, (channel, i, j), in_channels=2) > 0, parts.B)
        assert np.array_equal(seen(net, faces, (channel, i, j), in_channels=2) > 0, parts.AB)


def test_unused_entries_of_bond_images_are_not_read():
    net, rng = network(1, 2, bonds=True), np.random.default_rng(5)
    x_t = rng.normal(size=(2, 2, 4, 5))
    noisier = np.where(bond_mask((4, 5), False), x_t, x_t + 10)
    law = net(x_t, 0.5)
    assert np.array_equal(law.log_odds, net(noisier, 0.5).log_odds)
    assert not law.mean[:, ~bond_mask((4, 5), False)].any()


@pytest.mark.parametrize(("shape", "periodic"), [((11, 11), False), ((9, 5), True), ((3, 4), True), ((13,), False)])
def test_the_global_network_sees_everything(shape, periodic):
    net = GlobalNet(ndim=len(shape), periodic=periodic, width=8, depth=1, rng=np.random.default_rng(3))
    assert (seen(net, shape, (0, *(0 for _ in shape)))[0] > 0).all()


def test_networks_know_translations_and_edges():
    rng = np.random.default_rng(6)
    x_t = rng.normal(size=(1, 1, 7, 6))
    net = network(2, periodic=True)
    moved = net(np.roll(x_t, (2, 3), axis=(2, 3)), 0.5).log_odds
    assert moved == pytest.approx(np.roll(net(x_t, 0.5).log_odds, (2, 3), axis=(2, 3)), abs=1e-5)
    zeros = np.zeros((1, 1, 9, 9))
    f = network(2)(zeros, 0.5).log_odds[0, 0]
    assert np.ptp(f[2:-2, 2:-2]) == pytest.approx(0.0, abs=1e-6)
    assert abs(f[0, 0] - f[4, 4]) > 1e-3


# -- the site's own observation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", CHANNELS, ids=repr)
def test_noise_levels_are_the_channels_own(channel):
    rng, times = np.random.default_rng(7), np.array([0.0, 0.2, 0.2, 0.9, 1.0 - 1e-9])
    x_t = np.stack([channel.corrupt(np.ones(6), t, rng) for t in times])
    level = noise_level(channel, times, torch.as_tensor(x_t))
    fields = np.stack([channel.likelihood_field(x, t) for x, t in zip(x_t, times, strict=True)])
    assert level.field(torch.as_tensor(x_t)).numpy() == pytest.approx(fields)
    assert level.snr.numpy() == pytest.approx([channel.snr(t) for t in times])
    assert level.signal.numpy() ** -2.0 == pytest.approx([1 + 1 / channel.snr(t) for t in times])


@pytest.mark.parametrize("channel", CHANNELS, ids=repr)
def test_own_observation_enters_by_bayes_rule(channel):
    """Adding one observation to the blind law with the channel's own likelihoods gives the posterior."""
    rng, net = np.random.default_rng(8), network(1, channel=channel)
    times = np.array([0.15, 0.6, 0.9])
    x_0 = np.where(rng.random((3, 1, 5, 5)) < 0.5, 1.0, -1.0)
    x_t = np.stack([channel.corrupt(x, t, rng) for x, t in zip(x_0, times, strict=True)])
    prior = net.blind(x_t, times).probability
    if channel.name == "gaussian":
        alpha, sigma = (np.array([f(t) for t in times]).reshape(3, 1, 1, 1) for f in (channel.alpha, channel.sigma))
        up, down = (np.exp(-0.5 * ((x_t - s * alpha) / sigma) ** 2) for s in (1, -1))
    else:
        outcomes = np.array([1, -1] if channel.name == "bitflip" else [1, -1, 0])
        which = (x_t[..., None] == outcomes).argmax(axis=-1)
        likelihoods = np.stack([channel.output_law(t)[w] for t, w in zip(times, which, strict=True)])
        up, down = np.moveaxis(likelihoods, -1, 0)
    exact = prior * up / (prior * up + (1 - prior) * down)
    assert net(x_t, times).probability == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "vp", "ve"])
def test_own_observation_of_a_field(schedule):
    """The posterior of one Gaussian variable seen through x = alpha x_0 + sigma z, by completing the square."""
    channel, rng = Gaussian(schedule), np.random.default_rng(9)
    net, x_t = network(1, head="gaussian", channel=channel, variance=0.6), rng.normal(size=(2, 1, 4, 4))
    blind, law = net.blind(x_t, 0.4), net(x_t, 0.4)
    alpha, sigma = channel.alpha(0.4), channel.sigma(0.4)
    precision = 1 / blind.variance + alpha**2 / sigma**2
    assert law.variance == pytest.approx(1 / precision, rel=1e-5)
    assert law.mean == pytest.approx((blind.mean / blind.variance + alpha * x_t / sigma**2) / precision, abs=1e-5)


@pytest.mark.parametrize("make", [network, lambda radius, **o: GlobalNet(**o, width=8, rng=np.random.default_rng(1))])
@pytest.mark.parametrize("head", ["bernoulli", "gaussian"])
def test_limits_of_no_noise_and_no_signal(make, head):
    rng = np.random.default_rng(10)
    x_0 = np.where(rng.random((2, 1, 5, 6)) < 0.5, 1.0, -1.0)
    net = make(1, head=head)
    assert net(x_0, 0.0).mean == pytest.approx(x_0, abs=1e-6)
    for t in (1e-7, 1 - 1e-7, 1.0):
        law = net(x_0 + rng.normal(size=x_0.shape), t)
        assert np.isfinite(law.mean).all()
        assert np.isfinite(law.variance).all()
    if head == "bernoulli":
        assert np.abs(net(x_0, 1.0).log_odds).max() < 1e-3


# -- interface ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["bernoulli", "gaussian"])
def test_numpy_and_torch_are_answered_in_kind(head):
    net, rng = network(1, head=head), np.random.default_rng(11)
    x_t, t = rng.normal(size=(5, 1, 6, 6)), rng.random(5)
    array, tensor = net(x_t, t), net(torch.as_tensor(x_t, dtype=torch.float32), torch.as_tensor(t))
    assert isinstance(array.mean, np.ndarray)
    assert tensor.mean.requires_grad
    assert array.mean == pytest.approx(tensor.mean.detach().numpy(), abs=1e-6)
    alone = np.concatenate([net(x_t[k : k + 1], t[k]).mean for k in range(5)])
    assert array.mean == pytest.approx(alone, abs=1e-6)


INTEGERS = [np.uint8, np.int8, np.int64]
REALS = [np.float16, np.float32, np.longdouble]


@pytest.mark.parametrize("integer", INTEGERS)
@pytest.mark.parametrize("real", REALS)
def test_numpy_numbers_give_the_network_of_python_numbers(integer, real):
    """70 features wrap in uint8 and 120 wide layers in int8."""
    x_t = np.random.default_rng(1).normal(size=(2, 100, 3, 3)).round(1)
    for make, numbers, variance in (
        (LocalNet, {"radius": 1, "in_channels": 100, "ndim": 2, "width": 2, "depth": 1, "order": 2}, 0.3),
        (LocalNet, {"radius": 0, "in_channels": 1, "width": 120, "depth": 2}, 2.0),
        (GlobalNet, {"in_channels": 100, "ndim": 2, "width": 120, "levels": 1, "depth": 1}, 0.3),
    ):
        options = {"head": "gaussian", "rng": 3}
        given = make(**{name: integer(n) for name, n in numbers.items()}, variance=real(variance), **options)
        same = make(**numbers, variance=float(real(variance)), **options)
        x = x_t[:, : numbers["in_channels"]]
        assert np.array_equal(given(x, real(0.3)).mean, same(x, float(real(0.3))).mean)
        assert given.arguments == same.arguments
        assert {type(n) for n in given.arguments.values()} <= {int, float, bool, str, type(None), Gaussian}


@pytest.mark.parametrize("dtype", [*INTEGERS, *REALS, ">f4"])
def test_data_of_every_dtype_are_read_as_float64(dtype):
    x_t = np.abs(np.random.default_rng(2).normal(size=(2, 1, 3, 4))).astype(dtype)
    exact = ld.denoisers.ExactDenoiser(ld.models.Ising(ld.Lattice((3, 4)), 0.4), Gaussian(), np.uint8(1))
    for denoiser in (network(1), exact):
        assert np.array_equal(denoiser(x_t, 0.6).log_odds, denoiser(x_t.astype(float), 0.6).log_odds)


def test_networks_for_the_data_of_a_model():
    field = ld.models.GaussianField(ld.Lattice((4, 5), periodic=True), 0.1)
    for model in (ld.models.IsingChain(ld.Lattice(6), 0.4), ld.models.DomainWalls((4, 5)), field):
        net = LocalNet(1, **SMALL, **network_arguments(model))
        assert net(np.ones((2, *model.image_shape)), 0.5).mean.shape == (2, *model.image_shape)


def test_long_arrays_are_worked_through_in_chunks(monkeypatch):
    net, x_t = network(1), np.random.default_rng(12).normal(size=(7, 1, 4, 4))
    t = np.linspace(0.1, 0.9, 7)
    whole = net(x_t, t).log_odds
    monkeypatch.setattr("lattice_diffusion.denoisers.network.CHUNK_SITES", 33)
    assert net(x_t, t).log_odds == pytest.approx(whole, abs=1e-5)


def test_weights_come_from_rng_alone():
    state = torch.get_rng_state()
    one, same, other = (LocalNet(1, **SMALL, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.readout.weight, other.readout.weight)


def test_layouts_that_are_fast_change_no_values():
    z, made = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(3)), layer(3, 7)
    initialise(made, 4)
    torch.nn.init.constant_(made.bias, 0.3)
    expected = torch.nn.functional.conv1d(z.flatten(2), made.weight, made.bias)
    torch.testing.assert_close(made(z.flatten(2)), expected)
    torch.testing.assert_close(made(channels_last(z).flatten(2)), expected)
    assert torch.equal(channels_last(z), z)
    assert channels_last(z).stride(1) == 1


def test_multiply_adds_by_hand():
    """Kernel 3x3 on 1 channel: everything is counted per site, but for the embedding of the noise level."""
    net, width, n_sites = LocalNet(1, width=8, depth=2), 8, 30
    per_site = 2 * 14 + 9 * (16 + 1) * width + 2 * 2 * width**2 + width
    modulations = 2 * width * (14 + 4 * width)
    assert net.multiply_adds((1, 5, 6)) == n_sites * per_site + (9 * width + width**2) + modulations
    cubic = LocalNet(1, width=8, depth=2, order=3).multiply_adds((1, 5, 6))
    assert cubic - net.multiply_adds((1, 5, 6)) == n_sites * 2 * 9 * 16 * width


def test_products_of_up_to_order_values():
    """Without the layers that follow, every output is a polynomial of that degree in what the embedding gives."""
    for order in (1, 3):
        net = network(1, order=order, periodic=True).double()
        for block in net.blocks:
            torch.nn.init.zeros_(block.second.weight)
        torch.nn.init.zeros_(net.embed.weight)
        x = torch.as_tensor(np.random.default_rng(6).normal(size=(1, 1, 4, 4)))
        sizes = torch.linspace(0, 1, 6, dtype=torch.float64)[:, None, None, None]
        level = noise_level(Gaussian(), 1.0, x.expand(6, 1, 4, 4))  # no likelihood field: features are linear in x_t
        values = net._outputs(sizes * x, level)[:, 0, 0, 1, 2].detach().numpy()
        differences = [np.abs(np.diff(values, n)).max() for n in (order, order + 1)]
        assert differences[1] < 1e-9 < 1e-6 < differences[0]


test_refusals = refusals(
    (lambda: LocalNet(-1), "radius must be an integer >= 0, got -1"),
    (lambda: LocalNet(1, head="poisson"), "head must be bernoulli .* or gaussian .*, got 'poisson'"),
    (lambda: LocalNet(1, head="gaussian", channel=Erasure()), "takes the gaussian channel"),
    (lambda: LocalNet(1, order=0), "order must be an integer from 1 to 4096, got 0"),
    (lambda: LocalNet(1, 3, bonds=True), "bonds=True takes 2-channel images"),
    (lambda: LocalNet(1, variance=2.0), "variance must be"),
    (lambda: network(1)(np.ones((3, 5, 5)), 0.5), r"add a channel by x_t\[:, None\]"),
    (lambda: network(1)([[1.0]], 0.5), "x_t must be a NumPy array or a torch tensor, got list"),
    (lambda: network(1)(np.ones((3, 1, 5, 5)), np.full(2, 0.5)), "one per sample"),
    (lambda: network(1)(np.full((3, 1, 5, 5), np.nan), 0.5), "x_t must be finite, got nan"),
    (lambda: GlobalNet(levels=-1), "levels must be an integer from 0 to 32, got -1"),
)
