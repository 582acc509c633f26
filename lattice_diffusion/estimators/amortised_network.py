"""The network q(x_A | x_B, t) of the amortised likelihood, its views of an image, and the noise.

The network gives the law of the clean pixel, q(k | x_B), of K levels v_k (of colour, vectors); the noise is known, so

    q(x_A | x_B) = sum_k q(k | x_B) p_t(x_A | v_k).

It is trained by the cross entropy of the clean level, which has the same minimum as -log q(x_A | x_B), the posterior,
and does not ask the network to average over A's noise. Its first layer is linear, so its value for every box comes
from sums over shells of pixels between growing box radii: all radii cost one pass.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding, log_softmax, one_hot, pad, silu

from ..channels import MASK, Channel, Erasure, Gaussian, TokenNoise, symbols_of
from ..denoisers.on_device import to_device
from ..errors import InputError, check_memory
from .amortised_data import Pixels
from .amortised_gate import Gate
from .networks import torch_generator

N_WAVES = 4
N_CONDITION = 48


# -- views -------------------------------------------------------------------------------------------------


class Views:
    """The pixels around A, nearest first, without A itself, in shells between growing boxes.

    A is one pixel of every image, or another one in each ("average"). A law of one pixel is learned from those near it
    too, which tells a network far more where images look alike everywhere: it is told where A is. Pixels over the edge
    count as not there.

    Args:
        shape: of the images; radii: of the boxes, increasing; pixel: A, or None where it varies.
        near: while training, A is any pixel within this distance of `pixel` (in the maximum norm).
        channels: values of a pixel.

    Attributes:
        distance: from A in the maximum norm, increasing, (n_pixels * channels,), the channels of a pixel together.
        shells: slices of those values: up to the first radius, between radii, beyond the last.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        radii: Sequence[int],
        pixel: tuple[int, int] | None,
        near: int = 0,
        channels: int = 1,
    ) -> None:
        self.shape, self.radii, self.pixel, self.channels = shape, tuple(radii), pixel, channels
        if pixel is None:
            pixel, near = (0, 0), max(shape)
        self.start = tuple(max(x - near, 0) for x in pixel)
        self.stop = tuple(min(x + near, n - 1) for x, n in zip(pixel, shape, strict=True))
        ends = [(-high, n - low) for low, high, n in zip(self.start, self.stop, shape, strict=True)]
        rows, columns = (grid.ravel() for grid in np.mgrid[slice(*ends[0]), slice(*ends[1])])
        distance = np.maximum(abs(rows), abs(columns))
        order = np.argsort(distance, kind="stable")[1:]  # A itself comes first
        self.rows, self.columns = rows[order], columns[order]
        self.distance: NDArray[np.int64] = np.repeat(distance[order], channels)
        inside = np.searchsorted(self.distance, self.radii, side="right").tolist()
        self.shells = [slice(*pair) for pair in itertools.pairwise([0, *inside, self.distance.size])]

    def draw(self, n: int, rng: torch.Generator, *, near: bool = False) -> Tensor:
        """Return A of n images, (n, 2): the pixel itself, or one near it."""
        if self.pixel is not None and not near:
            return to_device(self.pixel, rng.device).expand(n, 2)
        start = to_device(self.start, rng.device)
        width = to_device(self.stop, rng.device) - start + 1
        return start + (torch.rand((n, 2), generator=rng, dtype=torch.float32, device=rng.device) * width).long()

    def centre(self, x: Tensor, at: Tensor) -> Tensor:
        """Return x (n, channel, row, column) at A, (n, channel)."""
        return x[torch.arange(len(x), device=x.device), :, at[:, 0], at[:, 1]]

    def around(self, x: Tensor, at: Tensor) -> Tensor:
        """Return x (n, channel, row, column) around A, (n, n_pixels * channels); 0 over the edge."""
        alike = at.stride(0) == 0  # one pixel for all images, as `draw` gives it
        place = at[:1] if alike else at
        row, column = place[:, :1] + to_device(self.rows, x.device), place[:, 1:] + to_device(self.columns, x.device)
        there = (row >= 0) & (row < self.shape[0]) & (column >= 0) & (column < self.shape[1])
        flat = torch.where(there, row * self.shape[1] + column, 0)
        found = x.flatten(2)
        found = found[:, :, flat[0]] if alike else found.gather(2, flat[:, None].expand(-1, self.channels, -1))
        return (found * there[:, None]).transpose(1, 2).flatten(1)


# -- noise -------------------------------------------------------------------------------------------------


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

    def level(self, a_0: Tensor) -> Tensor:
        """Return the index of the nearest clean level of a_0 (n, channel), (n,)."""
        return ((a_0[:, None] - self.levels) ** 2).sum(dim=2).argmin(dim=1)

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


# -- the network -------------------------------------------------------------------------------------------


class PixelLaw(nn.Module):
    """Logits of the clean level of A for several views of one noisy image.

    A view says how much of the image is seen: `n_views` of them, told to the network by number; the pixels of each
    come as the first layer's value (`boxes`). Time and view bend the layers (Perez et al. 2018, arXiv:1709.07871), the
    place of A adds to the first. The last layer starts at 0, so that all views start as one law. Of a label instead of
    A's level, which A itself tells too, there is also `at_a`, what A adds to the first layer.

    With n_times, the number of times, a `Gate` opens and shuts units of the first layer by the local spectrum of each
    view; with levels, the first layer also tilts the law along them, which of Gaussian data is all there is.
    """

    near: Tensor
    levels: Tensor

    def __init__(
        self,
        views: Views,
        n_views: int,
        n_levels: int,
        width: int,
        rng: np.random.Generator,
        *,
        sees_a: bool = False,
        n_times: int | None = None,
        levels: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        self.views, self.n_views = views, n_views
        shapes = {
            "first": (width, len(views.distance)),
            "known": (N_CONDITION, 1 + 2 * N_WAVES + n_views),
            "modulation": (4 * width, N_CONDITION),
            "inner": (width, width),
            "outer": (width, width),
        }
        weights = sum(math.prod(shape) for shape in shapes.values())
        check_memory("width", 32 * weights, "take a smaller one")  # gradients, averages and moments beside them
        seed = torch_generator(rng)
        self.weights = nn.ParameterDict(
            {
                name: torch.randn(shape, generator=seed, dtype=torch.float32, device="cpu") / math.sqrt(shape[1])
                for name, shape in shapes.items()
            }
        )
        zeros = {"place": (width, 6), "last": (n_levels, width), "first_bias": (width,), "inner_bias": (width,)}
        zeros |= {"last_bias": (n_levels,), "view_bias": (n_views, n_levels)}
        zeros |= {"own": (width, views.channels)} if sees_a else {}
        if levels is not None:
            zeros["tilt"] = (levels.shape[1], width)
            standard = (levels - levels.mean(axis=0)) / levels.std(axis=0)
            self.register_buffer("levels", to_device(standard, "cpu", torch.float32), persistent=False)
        self.weights.update(
            {name: nn.Parameter(torch.zeros(shape, dtype=torch.float32, device="cpu")) for name, shape in zeros.items()}
        )
        # every ring of pixels starts with the same weight, and learns the more slowly the farther: near ones tell more
        ring = to_device((8.0 * views.distance * views.channels) ** -0.5, "cpu", torch.float32)
        self.register_buffer("near", ring / ring[0], persistent=False)
        with torch.no_grad():
            self.weights["first"] *= float(ring[0]) * math.sqrt(shapes["first"][1]) / 2
            self.weights["modulation"] *= 0.3
            self.weights["outer"] *= 0.3
        self.gate = None if n_times is None else Gate(views, n_times, n_views, N_CONDITION, width, seed)

    def seen(self, shown: Tensor, at: Tensor, k: Tensor) -> Tensor:
        """Return the first layer on growing boxes and, with a gate, beside it their spectra, (n, n_radii + 2, ..)."""
        hidden = self.boxes(self.views.around(shown, at))
        return hidden if self.gate is None else torch.cat([hidden, self.gate.spectrum(shown, at, k)], dim=2)

    def boxes(self, x: Tensor) -> Tensor:
        """Return the first layer on growing boxes: nothing, every radius, all; (n, n_radii + 2, width)."""
        w = self.weights["first"] * self.near
        shells = [x[:, part] @ w[:, part].T for part in self.views.shells]
        return torch.stack([torch.zeros_like(shells[0]), *shells], dim=1).cumsum(dim=1)

    def at_a(self, x: Tensor) -> Tensor:
        """Return what A itself, (n, channel), adds to the first layer, (n, width), and 0 for the spectrum."""
        return pad(x @ self.weights["own"].T, (0, 0 if self.gate is None else len(self.gate.lags)))

    def forward(self, hidden: Tensor, view: Tensor, k: Tensor, log_snr: Tensor, at: Tensor) -> Tensor:
        """Return log q (n, m, K).

        Args:
            hidden: of `seen`, of the views `view` (n, m), (n, m, ..).
            k: index of each image's time, (n,), in `log_snr`, all times' (n_times,).
            at: A, (n, 2).
        """
        w, index, known = self.weights, k[:, None] * self.n_views + view, self._known(log_snr)
        a, b, c, d = embedding(index, known @ w["modulation"].T).chunk(4, dim=2)
        if self.gate is not None:
            width = len(w["first"])
            a = a + self.gate(hidden[:, :, width:], index, known)
            hidden = hidden[:, :, :width]
        first = (hidden + (self._place(at) @ w["place"].T)[:, None] + w["first_bias"]) * (1 + a) + b
        z = silu(first)
        inner = silu((z @ w["inner"].T + w["inner_bias"]) * (1 + c) + d)
        z = z + inner @ w["outer"].T
        logits = z @ w["last"].T + w["last_bias"] + embedding(view, w["view_bias"])
        if "tilt" in w:
            logits = logits + first @ w["tilt"].T @ self.levels.T
        return log_softmax(logits, dim=2)

    def _known(self, log_snr: Tensor) -> Tensor:
        """Return what is known of every time and view, (n_times * n_views, N_CONDITION)."""
        phase = (math.pi / 12) * log_snr[:, None] * torch.arange(1, N_WAVES + 1, device=log_snr.device)
        level = torch.cat([log_snr[:, None] / 12, phase.sin(), phase.cos()], dim=1)
        view = one_hot(torch.arange(self.n_views, device=log_snr.device), self.n_views).float()
        n_times = len(log_snr)
        known = torch.cat([level.repeat_interleave(self.n_views, dim=0), view.repeat(n_times, 1)], dim=1)
        return silu(known @ self.weights["known"].T)

    def _place(self, at: Tensor) -> Tensor:
        place = at / to_device(self.views.shape, at.device, torch.float32) - 0.5
        return torch.cat([place, (2 * math.pi * place).sin(), place**2], dim=1)
