"""The layers both networks are made of; weights are drawn from a NumPy generator, never from global state."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.nn.utils import skip_init

from ..errors import InputError
from .noise import LOG_SNR_RANGE

N_WAVES = 4
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def check_size(**sizes: int) -> None:
    """Raises ValueError for `in_channels`, `width` or `depth` outside 1 .. 4096, or `levels` outside 0 .. 32."""
    for name, size in sizes.items():
        low, high = (0, 32) if name == "levels" else (1, 4096)
        if not low <= size <= high:
            raise InputError(f"{name} must be between {low} and {high}, got {size}")


def layer(
    n_in: int, n_out: int, *, groups: int = 1, ndim: int = 1, size: int | tuple[int, ...] = 1, gain: float = 1.0
) -> nn.Module:
    """A convolution without padding, pointwise by default; `gain` scales its initial weights."""
    made = skip_init(CONVOLUTIONS[ndim - 1], n_in, n_out, size, groups=groups)
    made.gain = gain
    return made


def initialise(net: nn.Module, rng: np.random.Generator | None) -> None:
    """Weights N(0, gain^2/fan in), no biases. None: the same weights every time."""
    seed = 0 if rng is None else int(rng.integers(1 << 63))
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, CONVOLUTIONS):
            std = float(module.gain) / math.sqrt(module.weight[0].numel())  # type: ignore[arg-type]
            nn.init.normal_(module.weight, 0.0, std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class NoiseEmbedding(nn.Module):
    """log snr (batch,) -> (batch, width, 1), through waves of period 24, 12, 8, 6 in log snr."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = layer(1 + 2 * N_WAVES, width), layer(width, width)

    def forward(self, log_snr: Tensor) -> Tensor:
        phase = (math.pi / LOG_SNR_RANGE) * log_snr[:, None] * torch.arange(1, N_WAVES + 1, device=log_snr.device)
        waves = torch.cat([log_snr[:, None] / LOG_SNR_RANGE, phase.sin(), phase.cos()], dim=1)
        out: Tensor = silu(self.second(silu(self.first(waves[:, :, None]))))
        return out


class Modulation(nn.Module):
    """z (batch, width, sites) -> z (1 + a) + b, with a and b (batch, width, 1) functions of the noise level."""

    def __init__(self, width: int, n_noise: int) -> None:
        super().__init__()
        self.layer = layer(n_noise, 2 * width, gain=0.3)

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        a, b = self.layer(noise).chunk(2, dim=1)
        return torch.addcmul(b, z, 1 + a)


class PointwiseBlock(nn.Module):
    """z + W_2 silu(modulated W_1 z), every site and every group on its own."""

    def __init__(self, width: int, groups: int, n_noise: int) -> None:
        super().__init__()
        self.first = layer(width * groups, width * groups, groups=groups)
        self.second = layer(width * groups, width * groups, groups=groups, gain=0.3)
        self.modulation = Modulation(width * groups, n_noise)

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        out: Tensor = z + self.second(silu(self.modulation(self.first(z), noise)))
        return out
