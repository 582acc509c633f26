"""Values that are one of a few, such as grey levels: their law, and networks that answer with it.

A pixel's own observation enters by Bayes' rule alone, for any law of its clean value,

    log p(l | x) = log q(l | x without i) + alpha l x_i / sigma^2 - alpha^2 l^2 / 2 sigma^2,    l one of the levels,

so that a `LocalImageNet` learns the cavity law q only, p(x_A | x_B) of the box. At t = 1 both networks answer with
the frequencies of the levels at that pixel, `prior`; images are not alike at all pixels, so each has learned values.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ..channels import Gaussian
from ..errors import InputError
from .global_net import GlobalNet, Neighbours
from .layers import Modulation, initialise, layer
from .local import LocalNet
from .network import given_arguments
from .noise import NoiseLevel, per_sample
from .posterior import Array

LEVEL_AXIS = 2


@dataclass(frozen=True)
class Categorical:
    """One of `levels` at every site, with `log_weights` (batch, channel, level, *lattice) up to a constant."""

    log_weights: Array
    levels: tuple[float, ...]

    @property
    def probabilities(self) -> Array:
        """(batch, channel, level, *lattice)."""
        if isinstance(self.log_weights, Tensor):
            return self.log_weights.softmax(dim=LEVEL_AXIS)
        weights = np.exp(self.log_weights - self.log_weights.max(axis=LEVEL_AXIS, keepdims=True))
        return weights / weights.sum(axis=LEVEL_AXIS, keepdims=True)

    @property
    def mean(self) -> Array:
        return (self.probabilities * self._column()).sum(LEVEL_AXIS)

    @property
    def variance(self) -> Array:
        probabilities, column = self.probabilities, self._column()
        mean = (probabilities * column).sum(LEVEL_AXIS)
        return (probabilities * (column - mean[:, :, None]) ** 2).sum(LEVEL_AXIS)

    def sample(self, rng: np.random.Generator) -> NDArray[np.float64]:
        cumulative = np.cumsum(self.probabilities, axis=LEVEL_AXIS)
        below = rng.random(self.log_weights[:, :, :1].shape) * cumulative[:, :, -1:] >= cumulative[:, :, :-1]
        return np.asarray(self.levels)[below.sum(axis=LEVEL_AXIS)]

    def nats(self, x_0: Tensor) -> Tensor:
        """-log p(x_0,i), with x_0 (batch, channel, *lattice) counted as the nearest level."""
        levels = torch.as_tensor(self.levels, dtype=x_0.dtype, device=x_0.device)
        nearest = torch.bucketize(x_0, (levels[1:] + levels[:-1]) / 2)
        log_law = self.log_weights.log_softmax(dim=LEVEL_AXIS)
        return -log_law.gather(LEVEL_AXIS, nearest[:, :, None]).squeeze(LEVEL_AXIS)

    def _column(self) -> Array:
        """The levels along their axis."""
        shape = (-1, *[1] * (self.log_weights.ndim - LEVEL_AXIS - 1))
        if isinstance(self.log_weights, Tensor):
            return torch.as_tensor(self.levels, dtype=self.log_weights.dtype, device=self.log_weights.device).view(
                shape
            )
        return np.reshape(self.levels, shape)


class LocalImageNet(LocalNet):
    """The local denoiser of grey images or spins at radius r, under Gaussian noise; `blind` is p(x_A | x_B).

    Args:
        radius: Chebyshev radius of the box.
        levels: the values of a clean pixel, increasing; prior: their frequencies at every pixel, (level, *lattice).
        channel, width, depth, rng: as for `LocalNet`.

    Raises:
        ValueError: levels that do not increase, or a prior that is not positive or of another shape.
    """

    def __init__(
        self,
        radius: int,
        levels: ArrayLike,
        prior: ArrayLike,
        *,
        channel: Gaussian = Gaussian("linear"),  # noqa: B008  frozen
        width: int = 32,
        depth: int = 2,
        rng: np.random.Generator | None = None,
    ) -> None:
        arguments = given_arguments(locals(), LocalImageNet)
        values, log_prior, variance = _checked(levels, prior)
        lattice = log_prior.shape[1:]
        super().__init__(
            radius, channel=channel, head="gaussian", ndim=len(lattice), variance=variance, width=width, depth=depth
        )
        self.arguments, self.levels, self.n_outputs = arguments, values, len(values)
        self.register_buffer("prior", torch.as_tensor(log_prior, dtype=torch.float32))
        self.first_modulation = PlacedModulation(width, width, lattice)
        self.readout = layer(width, self.n_outputs, gain=0.3)
        initialise(self, rng)

    def _cavity(self, x_t: Tensor, level: NoiseLevel) -> Categorical:  # type: ignore[override]
        return _law(self, self._outputs(x_t, level), level)

    def _posterior(self, x_t: Tensor, t: Any) -> Categorical:
        level = self._level(x_t, t)
        return _observe(self._cavity(x_t, level), x_t, level)


class GlobalImageNet(GlobalNet):
    """The global denoiser of grey images or spins under Gaussian noise.

    Args:
        levels, prior: as for `LocalImageNet`; channel, width, levels_down (halvings), depth, rng: as for `GlobalNet`.
    """

    def __init__(
        self,
        levels: ArrayLike,
        prior: ArrayLike,
        *,
        channel: Gaussian = Gaussian("linear"),  # noqa: B008  frozen
        width: int = 32,
        halvings: int = 2,
        depth: int = 2,
        rng: np.random.Generator | None = None,
    ) -> None:
        arguments = given_arguments(locals(), GlobalImageNet)
        values, log_prior, variance = _checked(levels, prior)
        lattice = log_prior.shape[1:]
        super().__init__(
            channel=channel,
            head="gaussian",
            ndim=len(lattice),
            variance=variance,
            width=width,
            levels=halvings,
            depth=depth,
        )
        self.arguments, self.levels, self.n_outputs = arguments, values, len(values)
        self.register_buffer("prior", torch.as_tensor(log_prior, dtype=torch.float32))
        self.first = PlacedNeighbours(self.n_features + 1, width, lattice)
        self.readout = layer(width, self.n_outputs, gain=0.3)
        initialise(self, rng)

    def _posterior(self, x_t: Tensor, t: Any) -> Categorical:
        level = self._level(x_t, t)
        features = torch.cat([self._features(x_t, level), torch.ones_like(x_t)], dim=1)
        cavity = _law(self, self._outputs(features, self.noise(level.log_snr)), level)
        return _observe(cavity, x_t, level)


class PlacedModulation(Modulation):
    """A modulation of values to which each site adds its own, learned."""

    def __init__(self, width: int, n_noise: int, lattice: tuple[int, ...]) -> None:
        super().__init__(width, n_noise)
        self.places = nn.Parameter(torch.zeros(1, width, int(np.prod(lattice))))

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        return super().forward(z + self.places, noise)


class PlacedNeighbours(Neighbours):
    """A 3^d convolution to which each site adds values of its own, learned."""

    def __init__(self, n_in: int, n_out: int, lattice: tuple[int, ...]) -> None:
        super().__init__(n_in, n_out, len(lattice), periodic=False)
        self.places = nn.Parameter(torch.zeros(1, n_out, *lattice))

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z) + self.places


def _checked(levels: ArrayLike, prior: ArrayLike) -> tuple[tuple[float, ...], NDArray[np.float64], float]:
    """Levels, log prior, and the mean square of a clean value."""
    values, frequencies = np.asarray(levels, float), np.asarray(prior, float)
    if values.ndim != 1 or len(values) < 2 or not (np.diff(values) > 0).all():
        raise InputError(f"levels must be two or more increasing numbers, got {values.tolist()}")
    if frequencies.ndim < 2 or len(frequencies) != len(values):
        raise InputError(f"prior must have shape ({len(values)}, *lattice), got {frequencies.shape}")
    if not (frequencies > 0).all() or not np.isfinite(frequencies).all():
        raise InputError("prior must be positive everywhere; add one to the counts of each level")
    law = frequencies / frequencies.sum(axis=0)
    square = np.tensordot(values**2, law, axes=1).mean()
    return tuple(values.tolist()), np.log(law), float(square)


def _law(net: Any, out: Tensor, level: NoiseLevel) -> Categorical:
    """Prior and, in so far as there is signal, what the network makes of it; out (batch, 1, level, *lattice)."""
    signal = per_sample(level.signal, out)
    return Categorical(net.prior + signal * out, net.levels)


def _observe(cavity: Categorical, x_t: Tensor, level: NoiseLevel) -> Categorical:
    """Bayes' rule with the pixel's own observation; at t = 0 all weight is on the nearest level."""
    snr = per_sample(level.snr.clamp(max=1e8), x_t)
    strength = per_sample(level.strength.clamp(max=1e8), x_t)
    levels = cavity._column()
    likelihood = levels * (strength * x_t)[:, :, None] - 0.5 * levels**2 * snr[:, :, None]
    return Categorical(cavity.log_weights + likelihood, cavity.levels)
