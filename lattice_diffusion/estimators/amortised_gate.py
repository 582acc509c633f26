"""What a view tells of the kind of an image, by its local spectrum, and a gate that opens and shuts units by it.

The local spectrum of a view is the sum of x(p) x(p + lag) over pairs of pixels a lag of at most 4 apart: how strong an
image is, and how it varies along either axis. A pair counts where both pixels lie in the view; A counts as 0. Images of
several textures or contrasts have one law of a pixel in each, so that the spectrum must multiply what the pixels near A
tell, as in a mixture of experts (Jacobs et al. 1991): added to it, it changes nothing.
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..denoisers.on_device import to_device

if TYPE_CHECKING:
    from .amortised_network import Views

LAGS = ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (0, 4), (4, 0))
KINDS = 6  # numbers that tell kinds of images apart
OPEN = 1.5  # initial strength of the gate


class Gate(nn.Module):
    """Local spectra of views, and how far they open the units of a network's first layer.

    Args:
        views: of the images; n_times, n_views: of the network; n_known: of what it knows of time and view.
        width: of the first layer; seed: of the weights.

    Attributes:
        mean, scale: of the products at every time, (n_times, n_lags), and the standard deviation of their sums over
            images at every time and view, (n_times * n_views, n_lags), which `Objective.scale_gate` sets.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, views: "Views", n_times: int, n_views: int, n_known: int, width: int, seed: torch.Generator
    ) -> None:
        super().__init__()
        self.views = views
        self.lags = [lag for lag in LAGS if lag[0] < views.shape[0] and abs(lag[1]) < views.shape[1]]
        n_lags = len(self.lags)
        self.register_buffer("mean", torch.zeros((n_times, n_lags), dtype=torch.float32), persistent=False)
        self.register_buffer("scale", torch.ones((n_times * n_views, n_lags), dtype=torch.float32), persistent=False)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=seed, dtype=torch.float32, device="cpu")

        self.kinds = nn.Parameter(drawn(KINDS, n_lags) / math.sqrt(n_lags))
        self.modulation = nn.Parameter(0.3 * drawn(2 * KINDS, n_known) / math.sqrt(n_known))
        self.experts = nn.Parameter(OPEN / math.sqrt(KINDS) * drawn(width, KINDS).sign())

    def products(self, x: Tensor) -> Tensor:
        """Return x(p) x(p + lag), summed over channels, (row, n_lags, n, column); 0 where p + lag is over the edge."""
        rows, columns = self.views.shape
        x = x.permute(1, 2, 0, 3).contiguous()
        found = x.new_zeros((rows, len(self.lags), *x.shape[2:]))
        for i, (down, right) in enumerate(self.lags):
            first, last = max(-right, 0), columns - max(right, 0)
            pairs = x[:, : rows - down, :, first:last] * x[:, down:, :, first + right : last + right]
            found[: rows - down, i, :, first:last] = pairs.sum(dim=0)
        return found

    def spectrum(self, x: Tensor, at: Tensor, k: Tensor) -> Tensor:
        """Return the sums less their mean on growing boxes: nothing, every radius, all; (n, n_radii + 2, n_lags).

        Args:
            x: images (n, channel, row, column) as the network is shown them; at: A, (n, 2); k: indices of times, (n,).
        """
        (rows, columns), device = self.views.shape, x.device
        image, here = torch.arange(len(x), device=device), x.clone()
        here[image, :, at[:, 0], at[:, 1]] = 0
        before = [torch.ones((m + 1, m), dtype=x.dtype, device=device).tril(-1) for m in (rows, columns)]
        products = self.products(here)
        sums = (before[0] @ products.flatten(1)).view(rows + 1, *products.shape[1:]) @ before[1].T
        # first and last row and column of a pair's first pixel, (n, n_radii + 2, n_lags)
        radius = to_device([-1, *self.views.radii, max(rows, columns)], device)[:, None]
        row, column = at[:, :1, None], at[:, 1:, None]
        down, right = to_device(self.lags, device).T
        top = (row - radius).clamp(min=0).expand(-1, -1, len(down))
        bottom = (row + radius + 1 - down).minimum(rows - down).maximum(top)
        left = (column - radius - right.clamp(max=0)).maximum(-right.clamp(max=0)).clamp(max=columns)
        end = (column + radius + 1 - right.clamp(min=0)).minimum(columns - right.clamp(min=0)).maximum(left)
        start = torch.arange(len(down), device=device) * len(x) + image[:, None, None]

        def corner(i: Tensor, j: Tensor) -> Tensor:
            return sums.take((i * (len(down) * len(x)) + start) * (columns + 1) + j)

        inside = corner(bottom, end) - corner(top, end) - corner(bottom, left) + corner(top, left)
        return inside - (bottom - top) * (end - left) * self.mean[k][:, None]

    def forward(self, spectrum: Tensor, index: Tensor, known: Tensor) -> Tensor:
        """Return the gains (n, m, width) by spectra (n, m, n_lags) of the times and views `index` (n, m).

        Args:
            known: what the network knows of every time and view, (n_times * n_views, n_known).
        """
        gain, shift = nn.functional.embedding(index, known @ self.modulation.T).chunk(2, dim=2)
        kinds = (spectrum / nn.functional.embedding(index, self.scale)) @ self.kinds.T
        return torch.tanh(kinds * (1 + gain) + shift) @ self.experts.T
