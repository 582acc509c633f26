"""The base of all networks: how data and noise levels come in and posteriors go out, and the layers they are made of.

Weights are drawn from a NumPy generator, never from global state.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.nn.utils import skip_init
from torch.utils.flop_counter import FlopCounterMode

from ..channels import MASK, Channel, Erasure, Uniform, is_gaussian, symbols_of
from ..errors import InputError, array_of, check_finite, check_limits, shown
from ..exact.bonds import bond_mask
from ..lattice import Rng
from ..models import DomainWalls
from .on_device import generator_on, on
from .posterior import LEVEL_AXIS, Array, Posterior, check_times

Head = Literal["bernoulli", "gaussian", "categorical"]
CHUNK_SITES = 1 << 17  # NumPy arrays are worked through in chunks, so that memory stays bounded
LOG_SNR_RANGE = 12.0  # networks see log snr cut to +- this; beyond it nothing changes to float32 accuracy
N_WAVES = 4
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Network(nn.Module):
    """A learned denoiser: net(x_t, t) -> Posterior, arrays (batch, channel, *lattice).

    Tensors are answered by tensors on their device, with gradients; NumPy arrays by NumPy arrays, without.

    Attributes:
        radius: of the box it sees; None: everything.
        arguments: that build the same network again, weights aside.
    """

    radius: int | None
    arguments: dict[str, Any]

    def __init__(
        self, in_channels: int, channel: Channel, head: Head, ndim: int, periodic: bool, variance: float, bonds: bool
    ) -> None:
        super().__init__()
        if head not in get_args(Head):
            raise InputError(f"head must be bernoulli (spins), categorical (tokens) or gaussian (reals), got {head!r}")
        if head == "gaussian" and not is_gaussian(channel):
            raise InputError(f"head gaussian takes the gaussian channel, got {channel.name}; spins take all channels")
        check_limits({"in_channels": (1, 4096), "ndim": (1, 3)}, {"in_channels": in_channels, "ndim": ndim})
        symbols: Any = symbols_of(channel)
        if (head == "categorical") != (symbols is not None):
            raise InputError(f"head categorical takes noise of symbols, Uniform(q) or Erasure(q), got {shown(channel)}")
        if not 0.0 < variance < np.inf or (head != "gaussian" and variance != 1.0):
            raise InputError(f"variance must be that of a site, > 0, and 1 for two-valued data, got {variance}")
        if bonds and (in_channels != 2 or ndim != 2 or head != "bernoulli"):
            raise InputError("bonds=True takes 2-channel images (2, L, W) of +-1; use in_channels=2, ndim=2, bernoulli")
        self.in_channels, self.channel, self.head = in_channels, channel, head
        self.ndim, self.periodic, self.variance, self.bonds = ndim, bool(periodic), float(variance), bool(bonds)
        self.n_features: int = {"bernoulli": 2, "gaussian": 1}.get(head) or symbols
        self.n_outputs: int = {"bernoulli": 1, "gaussian": 2}.get(head) or symbols
        self._multiply_adds: dict[tuple[int, ...], int] = {}

    def forward(self, x_t: Array, t: Any) -> Posterior:
        """Return the law of every clean value given what the network sees, the site's own observation included.

        Raises InputError for shapes that do not fit, or a time outside [0, 1].
        """
        return self._in_kind(self._posterior, x_t, t)

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        """Return the cost of denoising one sample (channel, *lattice), the products in its convolutions."""
        if shape not in self._multiply_adds:
            weight = next(self.parameters())
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                self(torch.zeros((1, *shape), dtype=weight.dtype, device=weight.device), 0.5)
            self._multiply_adds[shape] = int(counter.get_total_flops()) // 2
        return self._multiply_adds[shape]

    def sites(self, lattice: tuple[int, ...], like: Tensor) -> Tensor:
        """Return (1, channel, *lattice), 1 where there is a site: not at the unused entries of open bonds."""
        if not self.bonds:
            return torch.ones((1, self.in_channels, *lattice), dtype=like.dtype, device=like.device)
        return on(like, bond_mask((lattice[0], lattice[1]), self.periodic)[None])

    def _posterior(self, x_t: Tensor, t: Any) -> Posterior:
        raise NotImplementedError

    def _in_kind(self, law: Callable[[Tensor, Any], Posterior], x_t: Array, t: Any) -> Posterior:
        if not isinstance(x_t, Tensor | np.ndarray):
            raise InputError(f"x_t must be a NumPy array or a torch tensor, got {type(x_t).__name__}")
        if x_t.ndim != self.ndim + 2 or x_t.shape[1] != self.in_channels:
            wanted = f"(batch, {self.in_channels}, {self.ndim} lattice axes)"
            raise InputError(f"x_t must have shape {wanted}, got {tuple(x_t.shape)}; add a channel by x_t[:, None]")
        if isinstance(x_t, Tensor):
            return law(x_t, t)
        return in_chunks(law, x_t, t, next(self.parameters()))

    def _level(self, x_t: Tensor, t: Any) -> "NoiseLevel":
        return noise_level(self.channel, t, x_t, self.variance)

    def _features(self, x_t: Tensor, level: "NoiseLevel") -> Tensor:
        """Return (batch, n_features * channel, *lattice), of order 1 at every noise level, by channel."""
        if self.head == "categorical":  # a masked token is none of the symbols
            return torch.stack([(x_t == s).to(x_t) for s in range(self.n_features)], dim=2).flatten(1, 2)
        features = [x_t / per_sample(level.scale, x_t)]
        if self.head == "bernoulli":
            signal = per_sample(level.signal, x_t).clamp(min=1e-4)
            features.append(level.field(x_t).tanh() / signal)
        return torch.stack(features, dim=2).flatten(1, 2)


def in_chunks(
    law: Callable[..., Posterior], x_t: NDArray, t: Any, like: Tensor, given: Mapping[str, Any] | None = None
) -> Posterior:
    """Return the law of NumPy arrays in NumPy arrays, without gradients, in chunks of bounded memory.

    law(x_t, t) is of tensors in the type and on the device of `like`; law(x_t, t, given) with `given`, whose values
    have one entry per sample, or a single one for all.
    """
    times, x_t = check_times(t, len(x_t)), array_of("x_t", x_t)
    if x_t.size:
        check_finite(x_t=x_t)
    step = max(1, CHUNK_SITES // max(1, x_t[0].size)) if len(x_t) else 1
    parts: list[Any] = []
    with torch.no_grad():
        for start in range(0, max(1, len(x_t)), step):
            rows = slice(start, start + step)
            x = on(like, x_t[rows].astype(float, copy=False))
            more = () if given is None else ({k: v if len(v) == 1 else v[rows] for k, v in given.items()},)
            parts.append(law(x, times[rows] if times.ndim else times, *more))

    def join(values: list[Any]) -> Any:
        """Return per-sample tensors end to end, and what is common to all samples as it is."""
        return torch.cat(values).cpu().double().numpy() if isinstance(values[0], Tensor) else values[0]

    names = [field.name for field in fields(parts[0])]
    answer: Posterior = type(parts[0])(*(join([getattr(part, name) for part in parts]) for name in names))
    return answer


def network_arguments(model: Any) -> dict[str, Any]:
    """Return the arguments of `LocalNet` and `GlobalNet` that data of a model ask for."""
    bonds = isinstance(model, DomainWalls)
    return {
        "in_channels": model.image_shape[0],
        "ndim": len(model.image_shape) - 1,
        "periodic": model.periodic if bonds else any(model.lattice.periodic),
        "head": {"real": "gaussian", "tokens": "categorical"}.get(model.data, "bernoulli"),
        "bonds": bonds,
    }


def given_arguments(frame_locals: dict[str, Any]) -> dict[str, Any]:
    """Return a constructor's arguments from its `locals()`, without the generator of the weights.

    NumPy's scalars become Python's numbers, which neither overflow nor lose digits.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, np.floating):
            return float(value)
        return value.item() if isinstance(value, np.generic) else value

    return {name: plain(value) for name, value in frame_locals.items() if name not in ("self", "__class__", "rng")}


# -- noise levels ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseLevel:
    """The noise of every sample of a batch, for data of a given variance per site.

    Attributes, tensors of shape (batch,):
        snr: signal-to-noise ratio of a site of variance 1; inf at t = 0.
        strength: of the likelihood field, h = strength * x_t; inf where an observation is certain.
        log_snr: log(snr), cut to +-12.
        signal: correlation of x_t with x_0 at a site; 1 at t = 0, 0 at t = 1.
        scale: root mean square of x_t at a site.
    and, for a channel whose likelihood field is not of that form, `channel_field`: x_t -> h.
    """

    snr: Tensor
    strength: Tensor
    log_snr: Tensor
    signal: Tensor
    scale: Tensor
    channel_field: Callable[[Tensor], Tensor] | None = None

    def field(self, x_t: Tensor) -> Tensor:
        """Return h with p(x_t|s) ~ exp(h s) for s = +-1; +-inf where certain, 0 where nothing is seen.

        For tokens it is log p(x_t|s) up to a constant, (batch, channel, q, *lattice).
        """
        if self.channel_field is not None:
            return self.channel_field(x_t)
        strength = per_sample(self.strength, x_t)
        certain = torch.where(x_t == 0, x_t, torch.copysign(torch.full_like(x_t, torch.inf), x_t))
        finite = torch.where(strength.isinf(), torch.zeros_like(strength), strength) * x_t
        return torch.where(strength.isinf(), certain, finite)


def noise_level(channel: Channel, t: Any, like: Tensor, variance: float = 1.0) -> NoiseLevel:
    """Return the levels at t, one time or (batch,), in the dtype and on the device of `like` (batch, ...).

    Raises InputError for a t of another shape, or outside [0, 1].
    """
    unique, where = np.unique(check_times(t, len(like)), return_inverse=True)
    where = np.broadcast_to(where.ravel(), len(like))
    snr = np.array([channel.snr(u) for u in unique])
    probes = np.array([1.0, -1.0, 2.0])
    tokens = symbols_of(channel) is not None
    seen = np.array([0 * probes if tokens else channel.likelihood_field(probes, u) for u in unique])
    strength = seen[:, 0]
    linear = np.array_equal(seen, np.where(seen[:, :1] == 0.0, 0.0, seen[:, :1] * probes))
    if is_gaussian(channel):
        scale = np.array([np.hypot(channel.alpha(u) * variance**0.5, channel.sigma(u)) for u in unique])
    elif linear:
        scale = np.ones(len(unique))
    else:
        noisy = [channel.corrupt(np.repeat([1.0, -1.0], 500), u, np.random.default_rng(0)) for u in unique]
        scale = np.sqrt([(x**2).mean() for x in noisy]).clip(1e-3)
    with np.errstate(divide="ignore"):
        log_snr = np.log(snr).clip(-LOG_SNR_RANGE, LOG_SNR_RANGE)
        signal = 1.0 / np.sqrt(1.0 + 1.0 / (snr * variance))

    def field(x_t: Tensor) -> Tensor:
        x = x_t.detach().cpu().double().numpy()
        h = np.zeros((*x.shape, channel.q) if tokens else x.shape)  # type: ignore[attr-defined]
        for k, u in enumerate(unique):
            rows = where == k
            with np.errstate(divide="ignore"):
                h[rows] = np.log(channel.likelihoods(x[rows], u)) if tokens else channel.likelihood_field(x[rows], u)  # type: ignore[attr-defined]
        h = np.moveaxis(h, -1, LEVEL_AXIS) if tokens else h
        return on(x_t, h)

    def known(x_t: Tensor) -> Tensor:
        """Return `field` for the noise of tokens of this package, where all other symbols are alike."""
        same, other, hidden = (values.view(-1, *[1] * x_t.ndim) for values in on(x_t, log_likelihoods[where].T))
        x, symbols = x_t[..., None], torch.arange(channel.q, device=x_t.device)  # type: ignore[attr-defined]
        return torch.where(x == MASK, hidden, torch.where(x == symbols, same, other)).movedim(-1, LEVEL_AXIS)

    levels = [on(like, values[where]) for values in (snr, strength, log_snr, signal, scale)]
    if isinstance(channel, Erasure | Uniform) and tokens:
        with np.errstate(divide="ignore"):
            pairs = [channel.likelihoods(np.array([0.0, MASK]), u) for u in unique]
            log_likelihoods = np.log([[own[0], own[1], masked[0]] for own, masked in pairs])
        return NoiseLevel(*levels, channel_field=known)  # type: ignore[misc, arg-type]
    return NoiseLevel(*levels, channel_field=None if linear and not tokens else field)  # type: ignore[misc, arg-type]


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Return (batch,) values as (batch, 1, ...), to be multiplied with `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


# -- layers ---------------------------------------------------------------------------------------------------------


def layer(
    n_in: int,
    n_out: int,
    *,
    groups: int = 1,
    ndim: int = 1,
    size: int | tuple[int, ...] = 1,
    gain: float = 1.0,
    padding: int = 0,
) -> nn.Module:
    """Return a convolution, pointwise and without padding by default; `gain` scales its initial weights.

    Weights are float32 whatever torch's default is, so that a seed gives the same network.
    """
    kind = Pointwise if ndim == size == groups == 1 else CONVOLUTIONS[ndim - 1]
    made = skip_init(kind, n_in, n_out, size, groups=groups, padding=padding, dtype=torch.float32)
    made.gain = gain
    return made


class Pointwise(nn.Conv1d):
    """One linear map at every site of z (batch, channel, sites): on a CPU, a product is faster than a convolution."""

    def forward(self, z: Tensor) -> Tensor:
        return nn.functional.linear(z.transpose(1, 2), self.weight[:, :, 0], self.bias).transpose(1, 2)


def channels_last(z: Tensor) -> Tensor:
    """Return z (batch, channel, *lattice) with its channels as neighbours in memory, where convolutions are fastest."""
    return z.movedim(1, -1).contiguous().movedim(-1, 1)


def initialise(net: nn.Module, rng: Rng) -> None:
    """Draw the weights from N(0, gain^2/fan in), and set biases to 0."""
    generator = generator_on("cpu", np.random.default_rng(rng))
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


class Neighbours(nn.Module):
    """A 3^d convolution, around the lattice or zero beyond its edges."""

    def __init__(self, n_in: int, n_out: int, ndim: int, periodic: bool, gain: float = 1.0) -> None:
        super().__init__()
        self.around = [1, 1] * ndim if periodic else None
        self.layer = layer(n_in, n_out, ndim=ndim, size=3, gain=gain, padding=0 if periodic else 1)

    def forward(self, z: Tensor) -> Tensor:
        z = z if self.around is None else nn.functional.pad(z, self.around, mode="circular")
        out: Tensor = self.layer(channels_last(z))
        return out
