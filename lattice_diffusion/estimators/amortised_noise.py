"""The noise of the amortised likelihood: drawn, shown to a network in numbers of order 1, and divided out of A.

A network gives the law of the clean pixel, q(k | x_B), of K levels v_k (of colour, vectors); the noise is known, so

    q(x_A | x_B) = sum_k q(k | x_B) p_t(x_A | v_k).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from ..channels import MASK, Channel, Erasure, Gaussian, TokenNoise, symbols_of
from ..denoisers.on_device import to_device
from ..errors import InputError
from .amortised_data import Pixels


class Noise:
    """Gaussian noise at a few times: drawn, shown to a network in numbers of order 1, and divided out of A.

    Attributes:
        channels: number of values that a network is shown of a pixel.
    """

    def __init__(self, channel: Channel | TokenNoise, times: NDArray[np.float64], pixels: Pixels, device: str) -> None:
        self.times, self.device, self.spins, self.channels = times, device, pixels.spins, len(pixels.mean)
        self.levels, self.spread = self.tensor(pixels.levels), self.tensor(pixels.spread)
        self.mean, self.variance = self.tensor(pixels.mean), self.tensor(pixels.variance)
        snr = np.array([channel.snr(t) for t in times])
        self.log_snr = self.tensor([math.log(s) for s in snr])
        if isinstance(channel, Gaussian):
            self.alpha, self.sigma = (self.tensor([f(t) for t in times]) for f in (channel.alpha, channel.sigma))
            self.middle, self.half = float(pixels.levels.mean()), float(np.ptp(pixels.levels)) / 2
            nodes, weights = np.polynomial.hermite_e.hermegauss(61)
            field = self.half**2 * snr[:, None]
            squares = np.tanh((field + np.sqrt(field) * nodes) / 2) ** 2 @ weights / weights.sum()
            self.tanh_scale = self.tensor(squares**0.5)

    def tensor(self, values: object) -> Tensor:
        """Return values in single precision on the device."""
        return to_device(np.asarray(values), self.device, torch.float32)

    def corrupt(self, x_0: Tensor, k: Tensor, rng: torch.Generator) -> Tensor:
        """Return x_t of images (n, channel, row, column) at times of indices k (n,)."""
        z = torch.randn(x_0.shape, generator=rng, dtype=x_0.dtype, device=x_0.device)
        return _each(self.alpha[k]) * x_0 + _each(self.sigma[k]) * z

    def shown(self, x_t: Tensor, k: Tensor) -> Tensor:
        """Return tanh of half the likelihood's field of spins; other values standardised."""
        # entries that hardly vary count for less
        alpha, sigma = _each(self.alpha[k]), _each(self.sigma[k])
        if self.spins:
            field = self.half * alpha / sigma**2 * (x_t - alpha * self.middle)
            return torch.tanh(field / 2) / _each(self.tanh_scale[k])
        weight = (self.variance / self.variance.max()).sqrt()
        return weight * (x_t - alpha * self.mean) / (alpha**2 * self.variance + sigma**2).sqrt()

    def level(self, x_0: Tensor) -> Tensor:
        """Return the index of the nearest clean level, (n, ..), of values x_0 (n, channel, ..)."""
        each, square = [1] * (x_0.ndim - 2), torch.zeros((), device=x_0.device)
        for c in range(x_0.shape[1]):
            square = square + (x_0[:, c, None] - self.levels[:, c].view(-1, *each)) ** 2
        return square.argmin(dim=1)

    def observations(self, a_0: Tensor, k: int, n_draws: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return log p(x_A | v) of every level for noisy values x_A of a_0, (n, m, K), and their weights, (m,)."""
        a_t, weights = self.outcomes(a_0, k, n_draws, rng)
        return self.log_p(a_t, torch.full((len(a_0),), k, device=a_0.device)).transpose(1, 2), weights

    def outcomes(self, a_0: Tensor, k: int, n_draws: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return noisy values of a_0 (n, channel), (n, channel, m), and their weights, (m,)."""
        z = torch.randn((len(a_0), n_draws, a_0.shape[1]), generator=rng, dtype=a_0.dtype, device=a_0.device)
        a_t = self.alpha[k] * a_0[:, None] + self.sigma[k] * z
        return a_t.transpose(1, 2), a_0.new_full((n_draws,), 1 / n_draws)

    def log_p(self, x_t: Tensor, k: Tensor) -> Tensor:
        """Return log p(x_t | v) of every level, (n, K, ..), for values (n, channel, ..) at times of indices k (n,)."""
        each, total = [1] * (x_t.ndim - 2), torch.zeros((), device=x_t.device)
        alpha = self.alpha[k].view(-1, 1, *each)
        for c in range(x_t.shape[1]):
            levels, spread = (values[:, c].view(-1, *each) for values in (self.levels, self.spread))
            variance = self.sigma[k].view(-1, 1, *each) ** 2 + alpha**2 * spread
            total = total - 0.5 * ((x_t[:, c, None] - alpha * levels) ** 2 / variance + (2 * math.pi * variance).log())
        return total


class DiscreteNoise(Noise):
    """Noise that leaves a value, or erases it, or puts any of the values in its place: few outcomes, all counted.

    Attributes:
        rate: chance of noise at every time; mask: what stands for an erased value, None where none is erased.
    """

    def __init__(self, channel: Channel | TokenNoise, times: NDArray[np.float64], pixels: Pixels, device: str) -> None:
        super().__init__(channel, times, pixels, device)
        self.rate, self.erased = self.tensor(times), isinstance(channel, Erasure)
        self.mask = channel.mask if isinstance(channel, Erasure) else None

    def log_p(self, x_t: Tensor, k: Tensor) -> Tensor:
        each = [1] * (x_t.ndim - 2)
        rate, same = self.rate[k].view(-1, 1, *each), x_t == self.levels.view(-1, *each)
        if self.mask is None:
            other = rate / len(self.levels)
            return torch.where(same, (1 - rate + other).log(), other.log())
        kept = torch.where(same, torch.log1p(-rate), -math.inf)
        return torch.where(x_t == self.mask, rate.log(), kept)


class SpinNoise(DiscreteNoise):
    """Bit flips and erasures of +-1."""

    def __init__(self, channel: Channel | TokenNoise, times: NDArray[np.float64], pixels: Pixels, device: str) -> None:
        if not (pixels.spins and np.array_equal(pixels.levels[:, 0], (-1.0, 1.0))):
            raise InputError(
                f"channel {channel.name} needs spins of -1 and 1, got {len(pixels.levels)} levels from "
                f"{pixels.levels.min():g} to {pixels.levels.max():g}; use gaussian, or noise of q symbols for tokens"
            )
        super().__init__(channel, times, pixels, device)
        self.hit = self.rate if self.erased else self.rate / 2

    def corrupt(self, x_0: Tensor, k: Tensor, rng: torch.Generator) -> Tensor:
        hit = torch.rand(x_0.shape, generator=rng, dtype=x_0.dtype, device=x_0.device) < _each(self.hit[k])
        return torch.where(hit, 0.0 if self.erased else -x_0, x_0)

    def shown(self, x_t: Tensor, k: Tensor) -> Tensor:
        return x_t / _each(1 - self.hit[k]).sqrt() if self.erased else x_t

    def outcomes(self, a_0: Tensor, k: int, n_draws: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return both: as it is, and erased (flipped)."""
        hit = torch.zeros_like(a_0) if self.erased else -a_0
        return torch.stack([a_0, hit], dim=2), torch.stack([1 - self.hit[k], self.hit[k]])


class SymbolNoise(DiscreteNoise):
    """Erasure and uniform noise of tokens, which a network is shown one-hot: symbols have no order and no distance.

    The codes are standardised as if symbols were equally likely, and a masked token has a code of its own.
    """

    def __init__(self, channel: Channel | TokenNoise, times: NDArray[np.float64], pixels: Pixels, device: str) -> None:
        super().__init__(channel, times, pixels, device)
        self.q = len(pixels.levels)
        self.channels = self.q + self.erased
        share = np.tile((1 - times[:, None] * self.erased) / self.q, self.q)
        share = np.hstack([share, times[:, None]]) if self.erased else share
        self.share, self.scale = self.tensor(share), self.tensor(np.sqrt(share * (1 - share)))

    def corrupt(self, x_0: Tensor, k: Tensor, rng: torch.Generator) -> Tensor:
        hit = torch.rand(x_0.shape, generator=rng, dtype=x_0.dtype, device=x_0.device) < _each(self.rate[k])
        return torch.where(hit, MASK if self.erased else self._drawn(x_0.shape, rng).to(x_0), x_0)

    def _drawn(self, shape: Sequence[int], rng: torch.Generator) -> Tensor:
        return torch.randint(self.q, tuple(shape), generator=rng, device=rng.device)

    def shown(self, x_t: Tensor, k: Tensor) -> Tensor:
        """Return (n, channels, row, column)."""
        codes = one_hot(x_t[:, 0].long() % (self.q + 1), self.q + 1)[..., : self.channels]
        return ((codes - self.share[k, None, None]) / self.scale[k, None, None]).movedim(3, 1)

    def outcomes(self, a_0: Tensor, k: int, n_draws: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return those of A as it is, and masked; or replaced by some of the symbols."""
        others = [torch.full_like(a_0, MASK)] if self.erased else [self._drawn((len(a_0), n_draws), rng).to(a_0)]
        outcomes, rate = torch.cat([a_0, *others], dim=1), self.rate[k]
        share = rate / (outcomes.shape[1] - 1)
        return outcomes[:, None], torch.stack([1 - rate, *[share] * (outcomes.shape[1] - 1)])


def noise_of(channel: Channel | TokenNoise, times: NDArray[np.float64], pixels: Pixels, device: str) -> Noise:
    """Return the noise of a channel. Raises InputError for bit flips or erasures of other values than -1 and 1."""
    kind = Noise if isinstance(channel, Gaussian) else SpinNoise if symbols_of(channel) is None else SymbolNoise
    return kind(channel, times, pixels, device)


def log_likelihood(log_q: Tensor, log_p: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Return log q(x_A | view), (n, n_views, m), and E[A | x_A, view], (..., channel), of log q (n, n_views, K)."""
    joint = log_q[:, :, None, :] + log_p[:, None]
    nats = torch.logsumexp(joint, dim=3)
    return nats, (joint - nats[..., None]).exp() @ levels


def _each(values: Tensor) -> Tensor:
    """Return (n,) as (n, 1, 1, 1), to multiply images."""
    return values[:, None, None, None]
