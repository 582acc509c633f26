"""A network that sees exactly the box of radius r around every site, and its own site exactly.

A site's own observation enters its posterior through Bayes' rule alone,
    log P(s_i=+1|x)/P(s_i=-1|x) = 2 h_i + f_i(x without i)                  s = +-1, h the channel's likelihood field;
    log P(s_i=a|x) = log p(x_i|a) + f_a,i(x without i) + const                       tokens a = 0..q-1;
    1/V = 1/v_i + snr,   mean = V (mu_i/v_i + h_i)                          fields, cavity mean mu_i and variance v_i,
so only the cavity law, f or (mu, v), is learned. It comes from one convolution over the box that leaves out its centre,
then pointwise layers, and is p(x_A | x_B) with A the site and B the box around it: one network is both the local
denoiser and a conditional law. For real data that are not Gaussian the second line is the Gaussian approximation.

What outputs see is a boolean stencil (groups, in_channels, *kernel): entry [g, c, R + a, R + b] says whether outputs of
group g at (i, j) see channel c at (i + a, j + b); kernels have odd sides 2R + 1. With one group, all channels of a
pixel are one site; with one group a channel, each is its own, as of bonds and of colours.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import silu

from ..channels import Channel, Gaussian
from ..errors import check_limits, check_memory
from ..exact.bonds import Patch, bond_radii
from ..lattice import Rng
from .network import (
    Head,
    Modulation,
    Network,
    NoiseEmbedding,
    NoiseLevel,
    PointwiseBlock,
    channels_last,
    given_arguments,
    initialise,
    layer,
    per_sample,
)
from .on_device import on
from .posterior import Array, Bernoulli, Categorical, Normal, Posterior

Stencil = NDArray[np.bool_]
LARGEST = 4096  # of a network's width and depth
N_SEEN = 16  # inputs of the kernels for each noisy value, its features and 8 or more learned functions of it
CONVOLVE = (functional.conv1d, functional.conv2d, functional.conv3d)


class LocalNet(Network):
    """The local denoiser of radius r: net(x_t, t) -> Posterior, and net.blind(x_t, t) without own observations.

    Args:
        radius: Chebyshev radius of the box; one that exceeds the lattice sees all of it.
        in_channels: values at a pixel; together they are one site, left out of their own box as a whole, unless
            `apart`: then each is a site of its own, and the others are in its box.
        channel: the noise; one network serves all its times.
        head: "bernoulli" for two-valued data +-1, "gaussian" for real values, "categorical" for tokens, whose channel
            is `Uniform(q)` or `Erasure(q)`.
        ndim: number of lattice axes.
        periodic: whether the box wraps around; at open edges it is cut.
        variance: of a real value, E x_0^2, to within a factor of a few.
        bonds: the data are bonds (2, L, W) as in `models.DomainWalls`: every entry a site, boxes made of faces.
        width, depth: hidden values and blocks of two layers, for each group of outputs.
        order: of the polynomial w_1 (1 + w_2 (1 + ...)) in convolutions w_k over the box that comes before the blocks.
            Parities of up to so many values are then products, found in fewer steps than by sums.
        rng: draws the weights.
    """

    radius: int

    def __init__(
        self,
        radius: int,
        in_channels: int = 1,
        *,
        channel: Channel = Gaussian("linear"),  # noqa: B008  frozen
        head: Head = "bernoulli",
        ndim: int = 2,
        periodic: bool = False,
        variance: float = 1.0,
        bonds: bool = False,
        apart: bool = False,
        width: int = 64,
        depth: int = 3,
        order: int = 1,
        rng: Rng = None,
    ) -> None:
        arguments = given_arguments(locals())
        radius, in_channels, ndim = (arguments[name] for name in ("radius", "in_channels", "ndim"))
        width, depth, order = (arguments[name] for name in ("width", "depth", "order"))
        super().__init__(in_channels, channel, head, ndim, periodic, variance, bonds)
        limits = {"radius": (0, None), **dict.fromkeys(("width", "depth", "order"), (1, LARGEST))}
        check_limits(limits, arguments)
        n_embedded = max(N_SEEN - self.n_features, 8)
        n_inputs = in_channels * (self.n_features + n_embedded)
        weights = (2 * radius + 3) ** ndim * n_inputs * order * width
        check_memory("radius", 8 * weights + 16 * depth * width**2, "take a smaller network")
        self.arguments, self.radius = arguments, radius
        self.stencil = bond_stencil(radius) if bonds else box_stencil(radius, in_channels, ndim, apart)
        groups, size = len(self.stencil), self.stencil.shape[2:]
        self.embed = layer(in_channels * self.n_features, in_channels * n_embedded, groups=in_channels)
        self.embed_modulation = Modulation(in_channels * n_embedded, width)
        self.kernel = layer(n_inputs, groups * width, ndim=ndim, size=size)
        self.edges = layer(self.in_channels if bonds else 1, groups * width, ndim=ndim, size=size)
        self.factors = nn.ModuleList(layer(n_inputs, groups * width, ndim=ndim, size=size) for _ in range(order - 1))
        self.noise = NoiseEmbedding(width)
        self.first_modulation = Modulation(groups * width, width)
        self.blocks = nn.ModuleList(PointwiseBlock(width, groups, width) for _ in range(depth))
        self.last_modulation = Modulation(groups * width, width)
        self.readout = layer(groups * width, in_channels * self.n_outputs, groups=groups, gain=0.3)
        initialise(self, rng)

    def blind(self, x_t: Array, t: Any) -> Posterior:
        """Return the law of every clean value given its box alone, its own observation left out: p(x_A | x_B)."""
        return self._in_kind(lambda x, t: self._cavity(x, self._level(x, t)), x_t, t)

    def _posterior(self, x_t: Tensor, t: Any) -> Posterior:
        level, x_t = self._level(x_t, t), x_t * self.sites(x_t.shape[2:], x_t)
        cavity, h = self._cavity(x_t, level), level.field(x_t)
        if isinstance(cavity, Bernoulli):
            return Bernoulli(2 * h + cavity.log_odds)
        if isinstance(cavity, Categorical):
            return Categorical(h + cavity.log_weights, cavity.levels)
        snr = per_sample(level.snr, x_t)
        variance = 1 / (1 / cavity.variance + snr)
        mean = variance * (cavity.mean / cavity.variance + h)
        return Normal(torch.where(snr.isinf(), x_t, mean), variance)  # every schedule has alpha = 1 at t = 0

    def _cavity(self, x_t: Tensor, level: NoiseLevel) -> Bernoulli | Categorical | Normal:
        signal = per_sample(level.signal, x_t)
        out = self._outputs(x_t, level)
        if self.head == "bernoulli":
            return Bernoulli(signal * out[:, :, 0] * self.sites(x_t.shape[2:], x_t))
        if self.head == "categorical":
            return Categorical(out, tuple(map(float, range(self.n_outputs))))
        mean = self.variance**0.5 * signal * out[:, :, 0]
        return Normal(mean, self.variance * out[:, :, 1].exp())

    def _outputs(self, x_t: Tensor, level: NoiseLevel) -> Tensor:
        """Return (batch, channel, n_outputs, *lattice), functions of what the stencil shows."""
        lattice, sites = x_t.shape[2:], self.sites(x_t.shape[2:], x_t)
        features = self._features(x_t * sites, level).flatten(2)
        noise = self.noise(level.log_snr)
        embedded = silu(self.embed_modulation(self.embed(features), noise))
        by_channel = [part.unflatten(1, (self.in_channels, -1)) for part in (features, embedded)]
        values = (torch.cat(by_channel, dim=2).unflatten(3, lattice) * sites[:, :, None]).flatten(1, 2)
        where, seen = sites if self.bonds else sites[:, :1], self._seen(lattice)
        z = product = self._look(values, self.kernel, seen) + self._look(where, self.edges, None)
        for factor in self.factors:
            product = product * self._look(values, factor, seen)
            z = z + product
        z = self.first_modulation(z.flatten(2), noise)
        for block in self.blocks:
            z = block(z, noise)
        out: Tensor = self.readout(self.last_modulation(z, noise))
        return out.unflatten(1, (self.in_channels, self.n_outputs)).unflatten(3, lattice)

    def _look(self, values: Tensor, kernel: nn.Module, seen: Tensor | None) -> Tensor:
        """Return one convolution over all that is within reach, every site once: kernels are cut to the lattice."""
        cut: list[slice] = []
        padding: list[int] = []
        for n, side in zip(values.shape[2:], self.stencil.shape[2:], strict=True):
            reach = side // 2
            before, after = (n // 2, (n - 1) // 2) if self.periodic else (n - 1, n - 1)
            before, after = min(reach, before), min(reach, after)
            cut.append(slice(reach - before, reach + after + 1))
            padding = [before, after, *padding]
        weight: Tensor = kernel.weight if seen is None else kernel.weight * seen  # type: ignore[assignment, operator]
        padded = channels_last(functional.pad(values, padding, mode="circular" if self.periodic else "constant"))
        return CONVOLVE[self.ndim - 1](padded, weight[(slice(None), slice(None), *cut)], kernel.bias)  # type: ignore

    def _seen(self, lattice: tuple[int, ...]) -> Tensor:
        """Return the stencil, one entry for every weight of the kernel."""
        stencil, small = self.stencil, any(n < side for n, side in zip(lattice, self.stencil.shape[2:], strict=True))
        if self.periodic and small and self.bonds:
            stencil = bond_stencil(self.radius, (lattice[0], lattice[1]))
        weight: Tensor = self.kernel.weight  # type: ignore[assignment]
        seen = on(weight, stencil)
        seen = seen.repeat_interleave(weight.shape[0] // seen.shape[0], dim=0)
        return seen.repeat_interleave(weight.shape[1] // seen.shape[1], dim=1)


def box_stencil(radius: int, in_channels: int, ndim: int, apart: bool) -> Stencil:
    """Return the box of Chebyshev radius `radius` without its centre, (1 or in_channels, in_channels, 2r+1, ...)."""
    seen = np.ones((in_channels if apart else 1, in_channels, *[2 * radius + 1] * ndim), bool)
    own = np.eye(in_channels, dtype=bool) if apart else np.ones((1, in_channels), bool)
    seen.reshape(*own.shape, -1)[..., seen[0, 0].size // 2] = ~own
    return seen


def bond_stencil(radius: int, faces: tuple[int, int] | None = None) -> Stencil:
    """Return for each bond the others whose two faces are within `radius` of its own two: (2, 2, 2r+3, 2r+3).

    It is B of `models.DomainWalls.tripartition(bond=..., radius=radius)`; `faces` are of a torus, where boxes may meet
    themselves.
    """
    reach = radius + 1
    faces = faces or (2 * reach + 2,) * 2
    offsets = np.ix_(*(np.arange(-reach, reach + 1) % n for n in faces))
    seen = np.empty((2, 2, 2 * reach + 1, 2 * reach + 1), bool)
    for bond in (0, 1):
        distance = bond_radii(faces, True, Patch(0, 0, 1 + bond, 2 - bond))
        distance[bond, 0, 0] = reach  # not itself
        seen[bond] = [distance[c][offsets] <= radius for c in (0, 1)]
    return seen
