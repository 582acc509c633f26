"""What a network has to know of the noise: one level per sample, as tensors, all taken from the channel itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..channels import Channel, is_gaussian
from ..errors import InputError, array_of

LOG_SNR_RANGE = 12.0  # networks see log snr cut to +- this; beyond it nothing changes to float32 accuracy


@dataclass(frozen=True)
class NoiseLevel:
    """The noise of every sample of a batch, for data of a given variance per site.

    Attributes, all (batch,):
        snr: signal-to-noise ratio of a site of variance 1; inf at t = 0.
        strength: of the likelihood field, h = strength * x_t; inf where an observation is certain.
        log_snr: log(snr), cut to +-12.
        signal: correlation of x_t with x_0 at a site; 1 at t = 0, 0 at t = 1.
        scale: root mean square of x_t at a site.
        nonlinear: the likelihood field where it is no multiple of x_t, in place of `strength`.
    """

    snr: Tensor
    strength: Tensor
    log_snr: Tensor
    signal: Tensor
    scale: Tensor
    nonlinear: Callable[[Tensor], Tensor] | None = None

    def field(self, x_t: Tensor) -> Tensor:
        """h with p(x_t|s) ~ exp(h s) for s = +-1; +-inf where certain, 0 where nothing is seen. x_t (batch, ...)."""
        if self.nonlinear is not None:
            return self.nonlinear(x_t)
        strength = per_sample(self.strength, x_t)
        certain = torch.where(x_t == 0, x_t, torch.copysign(torch.full_like(x_t, torch.inf), x_t))
        finite = torch.where(strength.isinf(), torch.zeros_like(strength), strength) * x_t
        return torch.where(strength.isinf(), certain, finite)


def noise_level(channel: Channel, t: Any, like: Tensor, variance: float = 1.0) -> NoiseLevel:
    """The levels at t, one time or (batch,), in the dtype and on the device of `like` (batch, ...).

    Raises ValueError where t is neither, or outside [0, 1].
    """
    unique, where = np.unique(check_times(t, len(like)), return_inverse=True)
    snr = np.array([channel.snr(u) for u in unique])
    probes = np.array([1.0, -1.0, 2.0])
    fields = np.array([channel.likelihood_field(probes, u) for u in unique])
    strength = fields[:, 0]
    linear = np.array_equal(fields, np.where(fields[:, :1] == 0.0, 0.0, fields[:, :1] * probes))
    if is_gaussian(channel):
        scale = np.array([np.hypot(channel.alpha(u) * variance**0.5, channel.sigma(u)) for u in unique])
    else:
        scale = np.ones(len(unique))
    with np.errstate(divide="ignore"):
        log_snr = np.log(snr).clip(-LOG_SNR_RANGE, LOG_SNR_RANGE)
        signal = 1.0 / np.sqrt(1.0 + 1.0 / (snr * variance))

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values[where.ravel()], dtype=like.dtype, device=like.device).expand(len(like))

    def nonlinear(x_t: Tensor) -> Tensor:
        x = x_t.detach().cpu().numpy().astype(float)
        times = np.broadcast_to(unique[where.ravel()], len(x))
        h = np.array([channel.likelihood_field(row, u) for row, u in zip(x, times, strict=True)])
        return torch.as_tensor(h, dtype=x_t.dtype, device=x_t.device)

    levels = (tensor(snr), tensor(strength), tensor(log_snr), tensor(signal), tensor(scale))
    return NoiseLevel(*levels, None if linear else nonlinear)


def check_times(t: Any, n_samples: int) -> NDArray[np.float64]:
    """t as an array, () or (n_samples,). Raises ValueError for any other shape."""
    times = array_of("t", t.detach().cpu() if isinstance(t, Tensor) else t)
    if times.shape not in ((), (n_samples,)):
        raise InputError(f"t must be one time or one per sample ({n_samples}), got shape {times.shape}")
    return np.asarray(times, float)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(batch,) values as (batch, 1, ...), to be multiplied with `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))
