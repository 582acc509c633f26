"""What every denoiser returns, exact or learned: the law of each clean value given the noisy ones it looks at.

    denoiser(x_t, t) -> Posterior          x_t (batch, channel, *lattice), t one time or (batch,)

NumPy arrays are answered by NumPy arrays, torch tensors by torch tensors on their device, so that exact and learned
denoisers swap freely.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = Any  # numpy.ndarray or torch.Tensor


class Posterior(Protocol):
    """Law of every clean value on its own; arrays of x_t's shape."""

    @property
    def mean(self) -> Array:
        """E[x_0,i | what the denoiser sees]: the least-squares estimate."""

    @property
    def variance(self) -> Array:
        """Var[x_0,i | what the denoiser sees]; its average is the denoiser's own estimate of its squared error."""

    def sample(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Clean values drawn site by site (NumPy answers only)."""


class Denoiser(Protocol):
    """A map from noisy data to the posterior of the clean data."""

    @property
    def radius(self) -> int | None:
        """It looks at the box of this Chebyshev radius around every site; None: at everything."""

    def __call__(self, x_t: Array, t: float | Array) -> Posterior: ...

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        """What denoising one sample (channel, *lattice) costs; for exact laws the entries that they read."""


@dataclass(frozen=True)
class Bernoulli:
    """Two-valued sites, s = +-1: `log_odds` = log P(s=+1)/P(s=-1), so that near certainty keeps its digits."""

    log_odds: Array

    @property
    def mean(self) -> Array:
        return _namespace(self.log_odds).tanh(self.log_odds / 2)

    @property
    def probability(self) -> Array:
        """P(s = +1)."""
        return (1 + self.mean) / 2

    @property
    def variance(self) -> Array:
        """1 - mean^2 = sech^2(log_odds / 2)."""
        decay = _namespace(self.log_odds).exp(-abs(self.log_odds))
        return 4 * decay / (1 + decay) ** 2

    def sample(self, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.where(rng.random(self.log_odds.shape) < self.probability, 1.0, -1.0)


@dataclass(frozen=True)
class Normal:
    """Real-valued sites: mean and variance of each (all that least squares and Gaussian steps ask for)."""

    mean: Array
    variance: Array

    def sample(self, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.asarray(self.mean + np.sqrt(self.variance) * rng.standard_normal(self.mean.shape))


def _namespace(x: Array) -> Any:
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch
