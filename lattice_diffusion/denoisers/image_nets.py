"""Local and global networks for images whose pixels take one of a few values, such as grey levels.

A pixel's own observation enters by Bayes' rule alone, for any law of its clean value,

    log p(l | x) = log q(l | x without i) + alpha l x_i / sigma^2 - alpha^2 l^2 / 2 sigma^2,    l one of the levels,

so that a `LocalImageNet` learns the cavity law q only, p(x_A | x_B) of the box. At t = 1 both networks answer with
the frequencies of the levels at that pixel, `prior`; images are not alike at all pixels, so each has learned values.
In colour every value of a pixel is a site of its own, and the other colours of the pixel are in its box.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ..channels import Gaussian
from ..errors import InputError
from ..lattice import Rng
from .global_net import GlobalNet
from .local_net import LocalNet
from .network import Modulation, Neighbours, NoiseLevel, given_arguments, initialise, layer, per_sample
from .posterior import Categorical


class LocalImageNet(LocalNet):
    """The local denoiser of images or spins at radius r, under Gaussian noise; `blind` is p(x_A | x_B).

    Args:
        radius: Chebyshev radius of the box.
        levels: the values of a clean pixel, increasing; prior: their frequencies at every pixel, (level, *lattice),
            of several values (level, in_channels, *lattice).
        in_channels: values of a pixel, 3 of colours.
        channel, width, depth, rng: as for `LocalNet`.

    Raises InputError for levels that do not increase, or a prior that is not positive or of another shape.
    """

    def __init__(
        self,
        radius: int,
        levels: ArrayLike,
        prior: ArrayLike,
        *,
        in_channels: int = 1,
        channel: Gaussian = Gaussian("linear"),  # noqa: B008  frozen
        width: int = 32,
        depth: int = 2,
        rng: Rng = None,
    ) -> None:
        arguments = given_arguments(locals())
        width, n = arguments["width"], arguments["in_channels"]
        log_prior, kind = _image_kind(levels, prior, n)
        super().__init__(radius, n, channel=channel, width=width, depth=depth, apart=True, **kind)
        self.first_modulation = PlacedModulation(n * width, width, log_prior.shape[-kind["ndim"] :])
        _answer_with_levels(self, arguments, log_prior, rng, groups=n)

    def _cavity(self, x_t: Tensor, level: NoiseLevel) -> Categorical:
        return _law(self, self._outputs(x_t, level), level)

    def _posterior(self, x_t: Tensor, t: Any) -> Categorical:
        level = self._level(x_t, t)
        return _observe(self._cavity(x_t, level), x_t, level)


class GlobalImageNet(GlobalNet):
    """The global denoiser of images or spins under Gaussian noise.

    Args:
        levels, prior, in_channels: as for `LocalImageNet`.
        channel, width, halvings (`levels` there), depth, rng: as for `GlobalNet`.
    """

    def __init__(
        self,
        levels: ArrayLike,
        prior: ArrayLike,
        *,
        in_channels: int = 1,
        channel: Gaussian = Gaussian("linear"),  # noqa: B008  frozen
        width: int = 32,
        halvings: int = 2,
        depth: int = 2,
        rng: Rng = None,
    ) -> None:
        arguments = given_arguments(locals())
        width, n = arguments["width"], arguments["in_channels"]
        log_prior, kind = _image_kind(levels, prior, n)
        super().__init__(n, channel=channel, width=width, levels=halvings, depth=depth, **kind)
        self.first = PlacedNeighbours(n * (self.n_features + 1), width, log_prior.shape[-kind["ndim"] :])
        _answer_with_levels(self, arguments, log_prior, rng)

    def _posterior(self, x_t: Tensor, t: Any) -> Categorical:
        level = self._level(x_t, t)
        features = torch.cat([self._features(x_t, level), torch.ones_like(x_t)], dim=1)
        cavity = _law(self, self._outputs(features, self.noise(level.log_snr)), level)
        return _observe(cavity, x_t, level)


class PlacedModulation(Modulation):
    """A modulation of values to which each site adds its own, learned."""

    def __init__(self, width: int, n_noise: int, lattice: tuple[int, ...]) -> None:
        super().__init__(width, n_noise)
        self.places = nn.Parameter(torch.zeros(1, width, int(np.prod(lattice)), dtype=torch.float32, device="cpu"))

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        return super().forward(z + self.places, noise)


class PlacedNeighbours(Neighbours):
    """A 3^d convolution to which each site adds values of its own, learned."""

    def __init__(self, n_in: int, n_out: int, lattice: tuple[int, ...]) -> None:
        super().__init__(n_in, n_out, len(lattice), periodic=False)
        self.places = nn.Parameter(torch.zeros(1, n_out, *lattice, dtype=torch.float32, device="cpu"))

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z) + self.places


def _image_kind(levels: ArrayLike, prior: ArrayLike, in_channels: int) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Return the log prior, ([channel,] level, *lattice), and the arguments of networks for such images."""
    values, frequencies = np.asarray(levels, float), np.asarray(prior, float)
    if values.ndim != 1 or len(values) < 2 or not (np.diff(values) > 0).all():
        raise InputError(f"levels must be two or more increasing numbers, got {values.tolist()}")
    colours = (in_channels,) if in_channels > 1 else ()
    ndim = frequencies.ndim - 1 - len(colours)
    if ndim < 1 or frequencies.shape[: 1 + len(colours)] != (len(values), *colours):
        wanted = ", ".join(map(str, (len(values), *colours)))
        raise InputError(f"prior must have shape ({wanted}, *lattice), got {frequencies.shape}")
    if not (frequencies > 0).all() or not np.isfinite(frequencies).all():
        raise InputError("prior must be positive everywhere; add one to the counts of each level")
    law = frequencies / frequencies.sum(axis=0)
    square = np.tensordot(values**2, law, axes=1).mean()
    log_prior = np.moveaxis(np.log(law), 0, len(colours))
    return log_prior, {"head": "gaussian", "ndim": ndim, "variance": float(square)}


def _answer_with_levels(net: Any, arguments: dict[str, Any], log_prior: NDArray, rng: Rng, groups: int = 1) -> None:
    """Give the network a readout of one output per level and value of a pixel, and its prior; draw its weights."""
    net.arguments = arguments
    net.levels = tuple(np.asarray(arguments["levels"], float).tolist())
    net.n_outputs, width = len(net.levels), arguments["width"]
    net.register_buffer("prior", torch.as_tensor(log_prior, dtype=torch.float32, device="cpu"))
    net.readout = layer(groups * width, net.in_channels * net.n_outputs, groups=groups, gain=0.3)
    initialise(net, rng)


def _law(net: Any, out: Tensor, level: NoiseLevel) -> Categorical:
    """Return the prior, changed by the network as far as there is signal; out (batch, channel, level, *lattice)."""
    signal = per_sample(level.signal, out)
    return Categorical(net.prior + signal * out, net.levels)


def _observe(cavity: Categorical, x_t: Tensor, level: NoiseLevel) -> Categorical:
    """Add the pixel's own observation by Bayes' rule; at t = 0 all weight is on the nearest level."""
    snr = per_sample(level.snr.clamp(max=1e8), x_t)
    strength = per_sample(level.strength.clamp(max=1e8), x_t)
    levels = cavity.column
    likelihood = levels * (strength * x_t)[:, :, None] - 0.5 * levels**2 * snr[:, :, None]
    return Categorical(cavity.log_weights + likelihood, cavity.levels)
