"""The network q(k | x_B, t) of the amortised likelihood, the law of the clean level of A, and its views of an image.

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

from ..denoisers.on_device import to_device
from ..errors import check_memory
from .amortised_gate import Gate
from .networks import torch_generator

N_WAVES = 4
N_CONDITION = 48


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
