"""What local and global networks share: how data and times come in, how posteriors go out."""

import inspect
from dataclasses import fields
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..channels import Channel, is_gaussian
from ..errors import InputError
from ..exact.bonds import bond_mask
from .noise import NoiseLevel, check_times, noise_level, per_sample
from .posterior import Array, Posterior

Head = Literal["bernoulli", "gaussian"]
CHUNK_SITES = 1 << 17  # NumPy arrays are worked through in chunks, so that memory stays bounded


class Network(nn.Module):
    """A learned denoiser: net(x_t, t) -> Bernoulli or Normal, arrays (batch, channel, *lattice).

    Tensors are answered by tensors on their device, with gradients; NumPy arrays by NumPy arrays, without.

    Attributes:
        radius: of the box it sees; None: everything.
        arguments: that build the same network again, weights aside.
    """

    radius: int | None
    arguments: dict[str, Any]

    def __init__(
        self,
        in_channels: int,
        channel: Channel,
        head: Head,
        ndim: int,
        periodic: bool,
        variance: float,
        bonds: bool,
    ) -> None:
        super().__init__()
        if head not in get_args(Head):
            raise InputError(f"head must be bernoulli (two-valued data) or gaussian (real values), got {head!r}")
        if head == "gaussian" and not is_gaussian(channel):
            raise InputError(f"head gaussian takes the gaussian channel, got {channel.name}; spins take all three")
        if not isinstance(in_channels, int | np.integer) or in_channels < 1:
            raise InputError(f"in_channels must be an integer >= 1, got {in_channels!r}")
        if ndim not in (1, 2, 3):
            raise InputError(f"ndim must be 1, 2 or 3, got {ndim!r}")
        if not 0.0 < variance < np.inf or (head == "bernoulli" and variance != 1.0):
            raise InputError(f"variance must be that of a site, > 0, and 1 for two-valued data, got {variance}")
        if bonds and (in_channels != 2 or ndim != 2 or head != "bernoulli"):
            raise InputError("bonds=True takes 2-channel images (2, L, W) of +-1; use in_channels=2, ndim=2, bernoulli")
        self.in_channels, self.channel, self.head = int(in_channels), channel, head
        self.ndim, self.periodic, self.variance, self.bonds = ndim, bool(periodic), float(variance), bool(bonds)
        self.n_features = 2 if head == "bernoulli" else 1
        self.n_outputs = 1 if head == "bernoulli" else 2

    def forward(self, x_t: Array, t: Any) -> Posterior:
        """The law of every clean value given what the network sees, the site's own observation included.

        Raises:
            TypeError: x_t is neither a floating tensor nor a NumPy array.
            ValueError: shapes do not fit, or a time is outside [0, 1].
        """
        return self._in_kind(self._posterior, x_t, t)

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        """What denoising one sample (channel, *lattice) costs: the products in its convolutions."""
        weight = next(self.parameters())
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self(torch.zeros((1, *shape), dtype=weight.dtype, device=weight.device), 0.5)
        return int(counter.get_total_flops()) // 2

    def _posterior(self, x_t: Tensor, t: Any) -> Posterior:
        raise NotImplementedError

    def _in_kind(self, law: Any, x_t: Array, t: Any) -> Posterior:
        if isinstance(x_t, Tensor):
            self._check_shape(tuple(x_t.shape))
            return law(x_t, t)
        if not isinstance(x_t, np.ndarray):
            raise InputError(f"x_t must be a NumPy array or a torch tensor, got {type(x_t).__name__}")
        self._check_shape(x_t.shape)
        weight = next(self.parameters())
        times = check_times(t, len(x_t))
        step = max(1, CHUNK_SITES // max(1, x_t[0].size)) if len(x_t) else 1
        parts = []
        with torch.no_grad():
            for start in range(0, max(1, len(x_t)), step):
                rows = slice(start, start + step)
                x = torch.as_tensor(np.ascontiguousarray(x_t[rows]), dtype=weight.dtype, device=weight.device)
                parts.append(law(x, times[rows] if times.ndim else times))

        def join(values: list[Any]) -> Any:
            """Per-sample tensors end to end; what is common to all samples as it is."""
            return torch.cat(values).cpu().double().numpy() if isinstance(values[0], Tensor) else values[0]

        names = [field.name for field in fields(parts[0])]
        answer: Posterior = type(parts[0])(*(join([getattr(part, name) for part in parts]) for name in names))
        return answer

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) != self.ndim + 2 or shape[1] != self.in_channels:
            wanted = f"(batch, {self.in_channels}, {self.ndim} lattice axes)"
            raise InputError(f"x_t must have shape {wanted}, got {shape}; add the channel axis with x_t[:, None]")

    def _level(self, x_t: Tensor, t: Any) -> NoiseLevel:
        return noise_level(self.channel, t, x_t, self.variance)

    def _features(self, x_t: Tensor, level: NoiseLevel) -> Tensor:
        """(batch, n_features * channel, *lattice), of order 1 at every noise level; features of a channel together."""
        features = [x_t / per_sample(level.scale, x_t)]
        if self.head == "bernoulli":
            signal = per_sample(level.signal, x_t).clamp(min=1e-4)
            features.append(level.field(x_t).tanh() / signal)
        return torch.stack(features, dim=2).flatten(1, 2)

    def sites(self, lattice: tuple[int, ...], like: Tensor) -> Tensor:
        """(1, channel, *lattice), 1 where there is a site: everywhere, but for the unused entries of open bonds."""
        if not self.bonds:
            return torch.ones((1, self.in_channels, *lattice), dtype=like.dtype, device=like.device)
        mask = bond_mask((lattice[0], lattice[1]), self.periodic)[None]
        return torch.as_tensor(mask, dtype=like.dtype, device=like.device)


def given_arguments(frame_locals: dict[str, Any], cls: type) -> dict[str, Any]:
    """The constructor's arguments by name, the generator of the weights aside."""
    names = inspect.signature(cls).parameters
    return {name: frame_locals[name] for name in names if name != "rng"}
