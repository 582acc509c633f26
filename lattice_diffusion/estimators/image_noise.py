"""Noise at a few times on images held by torch: drawn, shown to a network, and divided out of what A shows."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..channels import BitFlip, Channel, Erasure, Gaussian
from ..errors import InputError
from .image_field import Pixels


class Noise:
    """Gaussian noise at a few times, and what a network is shown of noisy images: numbers of order 1."""

    def __init__(self, channel: Channel, times: NDArray[np.float64], pixels: Pixels, device: str) -> None:
        self.times, self.device, self.spins = times, device, pixels.spins
        self.levels, self.spread = self.tensor(pixels.levels), self.tensor(pixels.spread)
        self.mean, self.variance = self.tensor(pixels.mean), self.tensor(pixels.variance)
        self.log_snr = self.tensor([math.log(channel.snr(t)) for t in times])
        if isinstance(channel, Gaussian):
            self.alpha, self.sigma = (self.tensor([f(t) for t in times]) for f in (channel.alpha, channel.sigma))
            self.middle, self.half = float(pixels.levels.mean()), float(np.ptp(pixels.levels)) / 2
            nodes, weights = np.polynomial.hermite_e.hermegauss(61)
            snr = self.half**2 * np.array([channel.snr(t) for t in times])[:, None]
            squares = np.tanh((snr + np.sqrt(snr) * nodes) / 2) ** 2 @ weights / weights.sum()
            self.tanh_scale = self.tensor(squares**0.5)

    def tensor(self, values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=self.device)

    def corrupt(self, x_0: Tensor, k: Tensor, rng: torch.Generator) -> Tensor:
        """x_t of images (n, channel, row, column) at times of indices k (n,)."""
        z = torch.randn(x_0.shape, generator=rng, device=x_0.device)
        return _each(self.alpha[k]) * x_0 + _each(self.sigma[k]) * z

    def shown(self, x_t: Tensor, k: Tensor) -> Tensor:
        """Spins: tanh of half the likelihood's field. Else standardised, less of entries that hardly change."""
        alpha, sigma = _each(self.alpha[k]), _each(self.sigma[k])
        if self.spins:
            field = self.half * alpha / sigma**2 * (x_t - alpha * self.middle)
            return torch.tanh(field / 2) / _each(self.tanh_scale[k])
        weight = (self.variance / self.variance.max()).sqrt()
        return weight * (x_t - alpha * self.mean) / (alpha**2 * self.variance + sigma**2).sqrt()

    def level(self, a_0: Tensor) -> Tensor:
        """Index of the nearest clean level of a_0 (n, channel), (n,)."""
        return ((a_0[:, None] - self.levels) ** 2).sum(dim=2).argmin(dim=1)

    def observations(self, a_0: Tensor, k: int, n_draws: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """log p(x_A | v) of every level for noisy values x_A of a_0, (n, m, K), and their weights, (m,)."""
        z = torch.randn((len(a_0), n_draws, a_0.shape[1]), generator=rng, device=a_0.device)
        a_t = self.alpha[k] * a_0[:, None] + self.sigma[k] * z
        variance = self.sigma[k] ** 2 + self.alpha[k] ** 2 * self.spread
        square = (a_t[:, :, None] - self.alpha[k] * self.levels) ** 2 / variance
        log_p = -0.5 * (square + (2 * math.pi * variance).log()).sum(dim=3)
        return log_p, torch.full((n_draws,), 1 / n_draws, device=a_0.device)


class SpinNoise(Noise):
    """Bit flips and erasures of +-1: few outcomes, all of them counted."""

    def __init__(self, channel: BitFlip | Erasure, times: NDArray[np.float64], pixels: Pixels, device: str) -> None:
        if not (pixels.spins and np.array_equal(pixels.levels[:, 0], (-1.0, 1.0))):
            raise InputError(
                f"channel {channel.name} needs spins of -1 and 1, got {len(pixels.levels)} levels "
                f"from {pixels.levels.min():g} to {pixels.levels.max():g}; use gaussian"
            )
        super().__init__(channel, times, pixels, device)
        self.erased = isinstance(channel, Erasure)
        self.rate = self.tensor([t if self.erased else t / 2 for t in times])

    def corrupt(self, x_0: Tensor, k: Tensor, rng: torch.Generator) -> Tensor:
        hit = torch.rand(x_0.shape, generator=rng, device=x_0.device) < _each(self.rate[k])
        return torch.where(hit, 0.0 if self.erased else -x_0, x_0)

    def shown(self, x_t: Tensor, k: Tensor) -> Tensor:
        return x_t / _each(1 - self.rate[k]).sqrt() if self.erased else x_t

    def observations(self, a_0: Tensor, k: int, n_draws: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """As it is, or erased (flipped)."""
        rate = float(self.rate[k])
        right = self.levels[:, 0] == a_0
        kept = torch.where(right, math.log1p(-rate), -math.inf if self.erased else math.log(rate))
        hit = (
            torch.full_like(kept, math.log(rate))
            if self.erased
            else torch.where(right, math.log(rate), math.log1p(-rate))
        )
        return torch.stack([kept, hit], dim=1), self.tensor([1 - rate, rate])


def noise_of(channel: Channel, times: NDArray[np.float64], pixels: Pixels, device: str) -> Noise:
    """Raises ValueError for bit flips or erasures of other values than -1 and 1."""
    kind = Noise if isinstance(channel, Gaussian) else SpinNoise
    return kind(channel, times, pixels, device)  # type: ignore[arg-type]


def log_likelihood(log_q: Tensor, log_p: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """log q(x_A | view), (n, n_views, m), and E[A | x_A, view], (..., channel), of log q (n, n_views, K)."""
    joint = log_q[:, :, None, :] + log_p[:, None]
    nats = torch.logsumexp(joint, dim=3)
    return nats, (joint - nats[..., None]).exp() @ levels


def _each(values: Tensor) -> Tensor:
    """(n,) beside images."""
    return values[:, None, None, None]
