"""Messages that turn with a spin of 1/2 are exact for uniform loops, and that is what loops teach them."""

import numpy as np
import pytest
import torch

import lattice_diffusion as ld
from lattice_diffusion.channels import BitFlip, Erasure, Gaussian
from lattice_diffusion.denoisers import ExactDenoiser, MessageNet, fit, load, save
from lattice_diffusion.denoisers.message_net import LEAST

MODEL = ld.models.DomainWalls((4, 5))


def exact_net(radius, channel, cosine=-1.0):
    net = MessageNet(radius, channel=channel)
    net.messages.weights.data = torch.tensor([cosine, 1.0, 1.0, -1.0], dtype=torch.float64)
    return net


def apart(net, radius, t=0.45):
    """Return how far E[x_A | box], with and without A, of a network is from the exact one, at most."""
    x_t, exact = (
        net.channel.corrupt(MODEL.sample(20, 1), t, np.random.default_rng(2)),
        ExactDenoiser(MODEL, net.channel, radius),
    )
    pairs = (net.blind(x_t, t).mean, exact.blind(x_t, t).mean), (net(x_t, t).mean, exact(x_t, t).mean)
    return max(np.abs(one - other)[:, MODEL.sites].max() for one, other in pairs)


@pytest.mark.parametrize("radius", [0, 1, 2, None])
@pytest.mark.parametrize("channel", [Gaussian("linear"), BitFlip(), Erasure()])
def test_spin_one_half_is_exact_in_every_box(channel, radius):
    assert apart(exact_net(radius, channel), radius) < LEAST
    assert apart(exact_net(radius, channel, cosine=-1.3), radius) < LEAST  # it is cut at -1
    if radius != 0:
        assert apart(exact_net(radius, channel, cosine=-0.95), radius) > 10 * LEAST


def test_the_law_of_a_bond_sees_its_box_alone():
    net, x = exact_net(1, Gaussian("linear")), torch.as_tensor(MODEL.sample(1, 1) * 0.6)
    x.requires_grad_()
    net.blind(x, 0.4).mean[0, 1, 1, 2].backward()
    box = MODEL.box((1, 1, 2), 1)
    box[1, 1, 2] = False
    assert net(x.detach() + 1, 0.4).mean[:, ~torch.as_tensor(MODEL.sites)].abs().max() == 0
    assert np.array_equal(x.grad[0].numpy() != 0, box)


def test_loops_teach_it_the_spin(tmp_path):
    """Erased loops of 3 x 4 faces; a file holds what is learned."""
    model, net = ld.models.DomainWalls((3, 4)), MessageNet(1, channel=Erasure())
    fit(net, model.sample(500, 3), steps=150, batch_size=16, learning_rate=0.1, ema=0.9, rng=4, progress=False)
    assert net.messages.weights[0].item() < -0.99  # from -0.5
    save(tmp_path / "net.pt", net)
    assert apart(load(tmp_path / "net.pt"), 1) == apart(net, 1) < 0.2
