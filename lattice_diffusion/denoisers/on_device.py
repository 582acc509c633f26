"""Draw noise, bridges and clean values as tensors on their device, and copy arrays there without waiting.

The channels and laws of this package draw with NumPy; the same, by torch, keeps training and generation on a GPU. A
channel of a user's own that is not Gaussian noise goes through NumPy, and its values to the CPU and back.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..channels import BitFlip, Channel, Erasure, Uniform, check_order, is_gaussian
from .posterior import LEVEL_AXIS, Bernoulli, Categorical, Normal, Posterior


def to_device(values: ArrayLike | Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """Return an array as a tensor on the device; nothing waits for the copy. A tensor only changes place and type."""
    if not isinstance(values, Tensor):
        values = torch.as_tensor(np.asarray(values), device="cpu")
    return values.to(device, dtype, non_blocking=True)


def on(like: Tensor, values: ArrayLike) -> Tensor:
    """Return an array as a tensor in the type and on the device of `like`."""
    return to_device(values, like.device, like.dtype)


def generator_on(device: torch.device | str, rng: np.random.Generator) -> torch.Generator:
    """Return a generator on the device, seeded by the NumPy one."""
    return torch.Generator(device).manual_seed(int(rng.integers(1 << 63)))


def corrupt(channel: Channel, x_0: Tensor, t: ArrayLike, rng: torch.Generator) -> Tensor:
    """Return noisy values of x_0 (n, ...) at the times t, (n,)."""
    times = np.zeros(len(x_0)) + np.asarray(t, float)

    def each(values: ArrayLike) -> Tensor:
        return on(x_0, values).view(-1, *[1] * (x_0.ndim - 1))

    if is_gaussian(channel):
        known, which = np.unique(times, return_inverse=True)
        alpha, sigma = (np.array([f(u) for u in known])[which] for f in (channel.alpha, channel.sigma))
        return each(alpha) * x_0 + each(sigma) * _normal(x_0, rng)
    if not isinstance(channel, BitFlip | Erasure | Uniform):
        parts = [channel.corrupt(x.cpu().numpy(), u, _numpy(rng)) for x, u in zip(x_0, times, strict=True)]
        return on(x_0, np.stack(parts))
    if isinstance(channel, BitFlip):
        return torch.where(_uniform(x_0, rng) < each(times / 2), -x_0, x_0)
    drawn: Any = channel.mask if isinstance(channel, Erasure) else _symbol(x_0, channel, rng)
    return torch.where(_uniform(x_0, rng) < each(times), drawn, x_0)


def bridge(channel: Channel, x_t: Tensor, x_0: Tensor, t: float, s: float, rng: torch.Generator) -> Tensor:
    """Draw x_s given x_t and x_0, s <= t, as `channel.bridge` does."""
    if is_gaussian(channel):
        keep, pull, variance = channel.bridge_moments(t, s)
        return keep * x_t + pull * x_0 + variance**0.5 * _normal(x_t, rng)
    if not isinstance(channel, BitFlip | Erasure | Uniform):
        return on(x_t, channel.bridge(x_t.cpu().numpy(), x_0.cpu().numpy(), t, s, _numpy(rng)))
    s, t = check_order(s, t)
    u, late = _uniform(x_t, rng), (t - s) / (1.0 - s) if s < t else 0.0
    if isinstance(channel, Erasure):
        return torch.where((x_t == channel.mask) & (u * t >= s), x_0, x_t)
    alike = (x_t == x_0).to(x_t)
    if isinstance(channel, BitFlip):
        flipped = (alike * (s / 2) + (1 - alike) * (1 - s / 2)) * (late / 2)
        as_noisy = (alike * (1 - s / 2) + (1 - alike) * (s / 2)) * (1 - late / 2)
        return torch.where(u * (as_noisy + flipped) < flipped, -x_t, x_t)
    q = len(channel.alphabet)
    neither, first, second = alike * ((1 - late) * (1 - s)), (1 - late) * s / q, late * (1 - s) / q
    u = u * (neither + first + second + late * s / q)
    kept = torch.where(u < neither + first + second, x_0, _symbol(x_t, channel, rng))
    return torch.where(u < neither + first, x_t, kept)


def draw(law: Posterior, rng: torch.Generator) -> Tensor:
    """Draw clean values site by site from a law in tensors."""
    mean: Tensor = law.mean
    if isinstance(law, Bernoulli):
        return torch.where(_uniform(mean, rng) < law.probability, 1.0, -1.0).to(mean)
    if isinstance(law, Categorical):
        cumulative = law.probabilities.cumsum(LEVEL_AXIS)
        edges = _uniform(mean, rng)[:, :, None] * cumulative[:, :, -1:]
        return on(mean, law.levels)[(edges >= cumulative[:, :, :-1]).sum(LEVEL_AXIS)]
    return mean + law.variance.sqrt() * _normal(mean, rng) if isinstance(law, Normal) else mean


def _uniform(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=rng, dtype=like.dtype, device=like.device)


def _normal(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=rng, dtype=like.dtype, device=like.device)


def _symbol(like: Tensor, channel: Uniform, rng: torch.Generator) -> Tensor:
    return torch.randint(len(channel.alphabet), like.shape, generator=rng, device=like.device).to(like)


def _numpy(rng: torch.Generator) -> np.random.Generator:
    """Return a NumPy generator seeded by torch's."""
    return np.random.default_rng(int(torch.randint(1 << 62, (), generator=rng, device=rng.device)))
