"""The interface of every denoiser, exact or learned, and the laws of clean values that they return.

    denoiser(x_t, t) -> Posterior          x_t (batch, channel, *lattice), t one time or (batch,)

NumPy arrays are answered by NumPy arrays and torch tensors by torch tensors on their device, so that exact and learned
denoisers can replace one another.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel
from ..errors import InputError, array_of, shown
from ..exact.local_fields import like
from ..lattice import Rng

Array = Any  # numpy.ndarray or torch.Tensor
LEVEL_AXIS = 2


class Posterior(Protocol):
    """The law of every clean value on its own; arrays have x_t's shape."""

    @property
    def mean(self) -> Array:
        """E[x_0,i | what the denoiser sees], the least-squares estimate."""

    @property
    def variance(self) -> Array:
        """Var[x_0,i | what the denoiser sees], whose average is the denoiser's own estimate of its squared error."""

    def sample(self, rng: Rng = None) -> NDArray[np.float64]:
        """Draw clean values site by site (NumPy answers only)."""


class Denoiser(Protocol):
    """A map from noisy data to the posterior of the clean data."""

    @property
    def radius(self) -> int | None:
        """Chebyshev radius of the box it sees around every site; None: it sees everything."""

    def __call__(self, x_t: Array, t: float | Array) -> Posterior: ...

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        """Return the cost of denoising one sample (channel, *lattice); for exact laws, the entries that they read."""


@dataclass(frozen=True)
class Bernoulli:
    """Two-valued sites, s = +-1: `log_odds` = log P(s=+1)/P(s=-1), so that near certainty keeps its digits."""

    log_odds: Array

    @property
    def mean(self) -> Array:
        return namespace(self.log_odds).tanh(self.log_odds / 2)

    @property
    def probability(self) -> Array:
        """P(s = +1)."""
        return (1 + self.mean) / 2

    @property
    def variance(self) -> Array:
        """1 - mean^2 = sech^2(log_odds / 2)."""
        decay = namespace(self.log_odds).exp(-abs(self.log_odds))
        return 4 * decay / (1 + decay) ** 2

    def sample(self, rng: Rng = None) -> NDArray[np.float64]:
        return np.where(np.random.default_rng(rng).random(self.log_odds.shape) < self.probability, 1.0, -1.0)


@dataclass(frozen=True)
class Normal:
    """Real-valued sites: mean and variance of each, all that least squares and Gaussian steps need.

    Raises InputError for a mean and a variance of different shapes.
    """

    mean: Array
    variance: Array

    def __post_init__(self) -> None:
        if self.mean.shape != self.variance.shape:
            shapes = f"{tuple(self.mean.shape)} and {tuple(self.variance.shape)}"
            raise InputError(f"mean and variance of every site must have one shape, got {shapes}")

    def sample(self, rng: Rng = None) -> NDArray[np.float64]:
        noise = np.random.default_rng(rng).standard_normal(self.mean.shape)
        return np.asarray(self.mean + np.sqrt(self.variance) * noise)


@dataclass(frozen=True)
class Dirac:
    """All that is known of a network that gives the mean alone; a reverse step takes it for x_0, as DDPM does."""

    mean: Array

    @property
    def variance(self) -> Array:
        """0, for want of an estimate."""
        return 0 * self.mean

    def sample(self, rng: Rng = None) -> NDArray[np.float64]:
        return np.asarray(self.mean, float)


@dataclass(frozen=True)
class Categorical:
    """One of `levels` at every site, such as grey levels.

    `log_weights` (batch, channel, level, *lattice) are log-probabilities up to a constant; the levels increase.
    """

    log_weights: Array
    levels: tuple[float, ...]

    @property
    def probabilities(self) -> Array:
        """(batch, channel, level, *lattice)."""
        if not isinstance(self.log_weights, np.ndarray):
            return self.log_weights.softmax(dim=LEVEL_AXIS)
        weights = np.exp(self.log_weights - self.log_weights.max(axis=LEVEL_AXIS, keepdims=True))
        return weights / weights.sum(axis=LEVEL_AXIS, keepdims=True)

    @property
    def mean(self) -> Array:
        return (self.probabilities * self.column).sum(LEVEL_AXIS)

    @property
    def variance(self) -> Array:
        probabilities, column = self.probabilities, self.column
        mean = (probabilities * column).sum(LEVEL_AXIS)
        return (probabilities * (column - mean[:, :, None]) ** 2).sum(LEVEL_AXIS)

    @property
    def column(self) -> Array:
        """The levels along their axis, to be multiplied with `probabilities`."""
        column = np.reshape(self.levels, (-1, *[1] * (self.log_weights.ndim - LEVEL_AXIS - 1)))
        return like(self.log_weights, column)

    def sample(self, rng: Rng = None) -> NDArray[np.float64]:
        cumulative = np.cumsum(self.probabilities, axis=LEVEL_AXIS)
        uniform = np.random.default_rng(rng).random(self.log_weights[:, :, :1].shape)
        below = uniform * cumulative[:, :, -1:] >= cumulative[:, :, :-1]
        return np.asarray(self.levels)[below.sum(axis=LEVEL_AXIS)]

    def nats(self, x_0: Array) -> Array:
        """Return -log p(x_0,i) of a tensor x_0 (batch, channel, *lattice), each value taken as the nearest level."""
        import torch

        levels = like(x_0, np.array(self.levels))
        nearest = torch.bucketize(x_0, (levels[1:] + levels[:-1]) / 2)
        log_law = self.log_weights.log_softmax(dim=LEVEL_AXIS)
        return -log_law.gather(LEVEL_AXIS, nearest[:, :, None]).squeeze(LEVEL_AXIS)


def check_times(t: Any, n_samples: int) -> NDArray[np.float64]:
    """Return t, a tensor, array or number, as an array of shape () or (n_samples,); raise InputError for others."""
    times = array_of("t", t.detach().cpu() if hasattr(t, "detach") else t)
    if times.shape not in ((), (1,), (n_samples,)):
        raise InputError(f"t must be one time or one per sample ({n_samples}), got shape {times.shape}")
    return np.asarray(times.reshape(()) if times.size == 1 else times, float)


def check_channel(denoiser: Any, channel: Channel) -> None:
    """Raise InputError for a denoiser of another noise than `channel`; one without the attribute fits any."""
    own = getattr(denoiser, "channel", channel)
    same = own == channel or (
        own.name == channel.name and getattr(own, "__dict__", 0) == getattr(channel, "__dict__", 1)
    )
    if not same:  # classes without __eq__ are compared by their attributes
        raise InputError(f"denoiser must be made for the noise of the data, {shown(channel)}, got one for {shown(own)}")


def check_posterior(law: Posterior, x_t: Array, t: float) -> Array:
    """Return the mean of a denoiser's answer to x_t; raise InputError unless it is finite and has x_t's shape."""
    mean = np.asarray(law.mean, float) if isinstance(x_t, np.ndarray) else law.mean
    if mean.shape != x_t.shape:
        shapes = f"{tuple(x_t.shape)}, got {tuple(mean.shape)}"
        raise InputError(f"the denoiser must answer with one value per entry of x_t, {shapes}")
    if not namespace(mean).isfinite(mean).all():
        raise InputError(f"the denoiser must answer with finite values, got NaN or infinity at t = {t:.4g}")
    return mean


def as_array(x: Any) -> NDArray[np.float64]:
    """Return data that may be a tensor as an array."""
    return x if isinstance(x, np.ndarray) else x.cpu().double().numpy()


def namespace(x: Array) -> Any:
    """Return numpy for an array, torch for a tensor."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch
