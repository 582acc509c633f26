"""The law of one pixel of a noisy image given a box around it, for all times and radii at once.

A network tells the law of the clean level, q(k | x_B), of K levels v_k; the noise is known, so that

    q(x_A | x_B) = sum_k q(k | x_B) N(x_A; alpha v_k, sigma^2).

It is trained by the cross entropy of the clean level, which has the same minimum as -log q(x_A | x_B), the posterior,
and does not ask the network to average over A's noise.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import log_softmax, silu

from ..channels import Gaussian
from .image_views import Views
from .networks import torch_generator

N_WAVES = 4
N_CONDITION = 48


@dataclass(frozen=True)
class Pixels:
    """What is known of the images before training: clean levels of a pixel, mean and variance of every pixel.

    Attributes:
        levels: (K,), increasing; values in between count as the nearest.
        mean, variance: (row, column).
    """

    levels: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @property
    def spins(self) -> bool:
        return len(self.levels) == 2


class Noise:
    """Gaussian noise at a few times, and what a network is shown of noisy images: numbers of order 1."""

    def __init__(self, channel: Gaussian, times: NDArray[np.float64], pixels: Pixels, device: str) -> None:
        def tensor(values: object) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=device)

        self.times = times
        self.alpha, self.sigma = tensor([channel.alpha(t) for t in times]), tensor([channel.sigma(t) for t in times])
        self.log_snr = 2 * (self.alpha.log() - self.sigma.log())
        self.levels, self.mean, self.variance = map(tensor, (pixels.levels, pixels.mean, pixels.variance))
        self.spins = pixels.spins
        self.middle, self.half = float(pixels.levels[[0, -1]].mean()), float(np.ptp(pixels.levels)) / 2
        nodes, weights = np.polynomial.hermite_e.hermegauss(61)
        snr = self.half**2 * np.array([channel.snr(t) for t in times])[:, None]
        squares = np.tanh(snr + np.sqrt(snr) * nodes) ** 2 @ weights / weights.sum()
        self.tanh_scale = tensor(squares**0.5)

    def corrupt(self, x_0: Tensor, k: Tensor, noise: torch.Generator) -> Tensor:
        """x_t of images (n, row, column) at times of indices k (n,)."""
        z = torch.randn(x_0.shape, generator=noise, device=x_0.device)
        return self.alpha[k][:, None, None] * x_0 + self.sigma[k][:, None, None] * z

    def shown(self, x_t: Tensor, k: Tensor) -> Tensor:
        """Spins: tanh of the likelihood's field. Else standardised values, less of pixels that hardly change."""
        alpha, sigma = (a[k][:, None, None] for a in (self.alpha, self.sigma))
        if self.spins:
            field = self.half * alpha / sigma**2 * (x_t - alpha * self.middle)
            return torch.tanh(field) / self.tanh_scale[k][:, None, None]
        weight = (self.variance / self.variance.max()).sqrt()
        return weight * (x_t - alpha * self.mean) / (alpha**2 * self.variance + sigma**2).sqrt()

    def level(self, a_0: Tensor) -> Tensor:
        """Index of the nearest clean level, (n,)."""
        return (a_0[:, None] - self.levels).abs().argmin(dim=1)

    def log_likelihood(self, log_q: Tensor, a_t: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """log q(x_A | view) and E[A | x_A, view], (n, n_views, m), of log q (n, n_views, K) and x_A (n, m)."""
        alpha, sigma = float(self.alpha[k]), float(self.sigma[k])
        z = (a_t[:, :, None] - alpha * self.levels) / sigma
        joint = log_q[:, :, None, :] - 0.5 * z[:, None] ** 2 - math.log(sigma * math.sqrt(2 * math.pi))
        nats = torch.logsumexp(joint, dim=3)
        return nats, (joint - nats[..., None]).exp() @ self.levels


class PixelLaw(nn.Module):
    """Logits of the clean level of A for several views of one noisy image.

    A view says how much of the image is seen: `n_views` of them, told to the network by number; the pixels of each
    come as the first layer's value (`hidden`). The last layer starts at 0, so that all views start as one law.
    """

    def __init__(self, views: Views, n_views: int, n_levels: int, width: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.views, self.n_views = views, n_views
        n_pixels, n_known = len(views.distance), 1 + 2 * N_WAVES + n_views + 6
        shapes = {
            "first": (width, n_pixels),
            "known": (N_CONDITION, n_known),
            "modulation": (4 * width, N_CONDITION),
            "inner": (width, width),
            "outer": (width, width),
            "last": (n_levels, width),
        }
        seed = torch_generator(rng)
        self.weights = nn.ParameterDict(
            {name: torch.randn(shape, generator=seed) / math.sqrt(shape[1]) for name, shape in shapes.items()}
        )
        with torch.no_grad():
            # every ring of pixels starts with the same weight, as near ones tell more
            rings = 1 / np.sqrt(8.0 * views.distance)
            self.weights["first"] *= torch.as_tensor(rings * math.sqrt(n_pixels) / 2, dtype=torch.float32)
            self.weights["modulation"] *= 0.3
            self.weights["outer"] *= 0.3
            self.weights["last"].zero_()
        self.first_bias, self.inner_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.last_bias = nn.Parameter(torch.zeros(n_levels))
        self.view_bias = nn.Parameter(torch.zeros(n_views, n_levels))

    def boxes(self, x: Tensor) -> Tensor:
        """The first layer on growing boxes: nothing, every radius, all; (n, n_radii + 2, width)."""
        w = self.weights["first"]
        shells = [x[:, part] @ w[:, part].T for part in self.views.shells]
        return torch.stack([torch.zeros_like(shells[0]), *shells], dim=1).cumsum(dim=1)

    def forward(self, hidden: Tensor, view: Tensor, log_snr: Tensor, at: Tensor) -> Tensor:
        """Log q (n, m, K) for the first layer's values (n, m, width) of views (n, m), log snr (n,), A (n, 2)."""
        c = silu(self._known(view, log_snr, at) @ self.weights["known"].T)
        a, b, d, e = (c @ self.weights["modulation"].T).chunk(4, dim=2)
        z = silu((hidden + self.first_bias) * (1 + a) + b)
        inner = silu((z @ self.weights["inner"].T + self.inner_bias) * (1 + d) + e)
        z = z + inner @ self.weights["outer"].T
        return log_softmax(z @ self.weights["last"].T + self.last_bias + self.view_bias[view], dim=2)

    def _known(self, view: Tensor, log_snr: Tensor, at: Tensor) -> Tensor:
        """Noise level, number of the view, place of A, (n, m, ...)."""
        phase = (math.pi / 12) * log_snr[:, None] * torch.arange(1, N_WAVES + 1, device=view.device)
        place = at / torch.tensor(self.views.shape, device=view.device) - 0.5
        once = [log_snr[:, None] / 12, phase.sin(), phase.cos(), place, (2 * math.pi * place).sin(), place**2]
        both = torch.cat(once, dim=1)[:, None].expand(-1, view.shape[1], -1)
        return torch.cat([both, nn.functional.one_hot(view, self.n_views)], dim=2)
