"""A network that sees everything, a small U-Net with the same interface as the local one.

    log odds = 2 h_i + f_i(x)                                                    for s = +-1
    mean = alpha K/(alpha^2 K + sigma^2) x_i + sd f_i(x),  sd^2 = K/(1 + snr K)  for fields of variance K per site

so that noisy data pass through exactly where they are sharp, and the network answers in the units of what is unknown
(the preconditioning of Karras et al. 2022, arXiv:2206.00364, table 1, with Bernoulli sites added).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import silu

from ..channels import Channel, Gaussian
from ..errors import check_limits, check_memory
from ..lattice import Rng
from .network import (
    Head,
    Modulation,
    Neighbours,
    Network,
    NoiseEmbedding,
    given_arguments,
    initialise,
    layer,
    per_sample,
)
from .posterior import Bernoulli, Categorical, Normal, Posterior

POOL = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


class GlobalNet(Network):
    """The global denoiser: net(x_t, t) -> Posterior, on lattices of any size.

    Args:
        in_channels, channel, head, ndim, periodic, variance, bonds, rng: as for `LocalNet`.
        width: hidden values at the finest level.
        levels: halvings of the lattice; beyond the coarsest all sites are averaged, so that every output sees every
            input on any lattice.
        depth: residual blocks at each level on the way down, one on the way up.
    """

    radius: None = None

    def __init__(
        self,
        in_channels: int = 1,
        *,
        channel: Channel = Gaussian("linear"),  # noqa: B008  frozen
        head: Head = "bernoulli",
        ndim: int = 2,
        periodic: bool = False,
        variance: float = 1.0,
        bonds: bool = False,
        width: int = 48,
        levels: int = 2,
        depth: int = 2,
        rng: Rng = None,
    ) -> None:
        arguments = given_arguments(locals())
        in_channels, ndim = arguments["in_channels"], arguments["ndim"]
        width, levels, depth = (arguments[name] for name in ("width", "levels", "depth"))
        super().__init__(in_channels, channel, head, ndim, periodic, variance, bonds)
        check_limits({"width": (1, 4096), "depth": (1, 4096), "levels": (0, 32)}, arguments)
        check_memory("width", 4 * 9 * width**2 * depth * (levels + 2) * 2, "take a smaller network")
        self.arguments = arguments
        n_noise, n_inputs = 64, in_channels * (self.n_features + 1)
        self.noise = NoiseEmbedding(n_noise)
        self.first = Neighbours(n_inputs, width, ndim, self.periodic)
        add_u_net(self, width, levels, depth, n_noise, ndim, periodic=self.periodic)
        self.last_modulation = Modulation(width, n_noise)
        self.readout = layer(width, in_channels * self.n_outputs, gain=0.3)
        initialise(self, rng)

    def _posterior(self, x_t: Tensor, t: Any) -> Posterior:
        level, sites = self._level(x_t, t), self.sites(x_t.shape[2:], x_t)
        x_t = x_t * sites
        features = torch.cat([self._features(x_t, level), sites.expand_as(x_t)], dim=1)
        out = self._outputs(features, self.noise(level.log_snr))
        if self.head == "bernoulli":
            f = per_sample(level.signal, x_t) * out[:, :, 0] * sites
            return Bernoulli(2 * level.field(x_t) + f)
        if self.head == "categorical":
            return Categorical(level.field(x_t) + out, tuple(map(float, range(self.n_outputs))))
        signal, scale, snr = (per_sample(v, x_t) for v in (level.signal, level.scale, level.snr))
        alone = self.variance / (1 + snr * self.variance)
        mean = self.variance**0.5 * signal * x_t / scale + alone.sqrt() * out[:, :, 0]
        return Normal(mean, alone * out[:, :, 1].exp())

    def _outputs(self, features: Tensor, noise: Tensor) -> Tensor:
        z = through_u_net(self, self.first(features), noise)
        out: Tensor = self.readout(self.last_modulation(z.flatten(2), noise))
        return out.unflatten(1, (self.in_channels, self.n_outputs)).unflatten(3, features.shape[2:])


def add_u_net(net: Any, width: int, levels: int, depth: int, n_noise: int, ndim: int, *, periodic: bool) -> None:
    """Give a network the layers of a U-Net (see `GlobalNet`)."""
    net.down = nn.ModuleList(Stack(width, depth, n_noise, ndim, periodic) for _ in range(levels + 1))
    net.everything = layer(2 * width, width)
    net.up = nn.ModuleList(Stack(width, 1, n_noise, ndim, periodic) for _ in range(levels))
    net.merge = nn.ModuleList(layer(2 * width, width) for _ in range(levels))


def through_u_net(net: Any, z: Tensor, noise: Tensor) -> Tensor:
    """Return what the layers of `add_u_net` make of z (batch, width, *lattice), in its shape."""
    skips = []
    for stack in net.down[:-1]:
        z = stack(z, noise)
        skips.append(z)
        z = POOL[z.ndim - 3](z, 2, ceil_mode=True)
    z = net.down[-1](z, noise)
    mean = z.flatten(2).mean(dim=2, keepdim=True).expand_as(z.flatten(2))
    z = (z.flatten(2) + silu(net.everything(torch.cat([z.flatten(2), mean], dim=1)))).view_as(z)
    for stack, merge in zip(net.up, net.merge, strict=True):
        skip = skips.pop()
        z = functional.interpolate(z, size=skip.shape[2:], mode="nearest")
        z = stack(merge(torch.cat([z, skip], dim=1).flatten(2)).view_as(skip), noise)
    return z


class Stack(nn.Module):
    """Residual blocks of two 3^d convolutions with the noise level between them."""

    def __init__(self, width: int, depth: int, n_noise: int, ndim: int, periodic: bool) -> None:
        super().__init__()
        self.first = nn.ModuleList(Neighbours(width, width, ndim, periodic) for _ in range(depth))
        self.second = nn.ModuleList(Neighbours(width, width, ndim, periodic, gain=0.3) for _ in range(depth))
        self.modulation = nn.ModuleList(Modulation(width, n_noise) for _ in range(depth))

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        for first, modulation, second in zip(self.first, self.modulation, self.second, strict=True):
            z = z + second(silu(modulation(first(silu(z)).flatten(2), noise).view_as(z)))
        return z
