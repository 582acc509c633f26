"""What one pixel's neighbours show: the pixels around A, nearest first, in shells between growing box radii.

The network's first layer is linear, so its value for every box comes from sums over shells: all radii cost one pass.
A is one pixel of every image, or another one in each ("average"). A law of one pixel is learned from those near it
too, which tells a network far more where images look alike everywhere: it is told where A is. Pixels over the edge
count as not there.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Views:
    """The pixels that A may be asked to be told from, without A itself.

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
        first = last = (0, 0) if pixel is None else pixel
        self.start = tuple(0 if pixel is None else max(x - near, 0) for x in first)
        self.stop = tuple(n - 1 if pixel is None else min(x + near, n - 1) for x, n in zip(last, shape, strict=True))
        ends = [(-high, n - low) for low, high, n in zip(self.start, self.stop, shape, strict=True)]
        rows, columns = (grid.ravel() for grid in np.mgrid[slice(*ends[0]), slice(*ends[1])])
        distance = np.maximum(abs(rows), abs(columns))
        order = np.argsort(distance, kind="stable")[1:]  # A itself comes first
        self.rows, self.columns = torch.as_tensor(rows[order]), torch.as_tensor(columns[order])
        self.distance: NDArray[np.int64] = np.repeat(distance[order], channels)
        inside = np.searchsorted(self.distance, self.radii, side="right").tolist()
        self.shells = [slice(*pair) for pair in itertools.pairwise([0, *inside, self.distance.size])]

    @staticmethod
    def reach(shape: tuple[int, int], pixel: tuple[int, int] | None) -> int:
        """The radius from which on the box covers every image."""
        if pixel is None:
            return max(shape) - 1
        return max(max(x, n - 1 - x) for x, n in zip(pixel, shape, strict=True))

    def draw(self, n: int, rng: torch.Generator, *, near: bool = False) -> Tensor:
        """A of n images, (n, 2): the pixel itself, or one near it."""
        if self.pixel is not None and not near:
            return torch.tensor(self.pixel, device=rng.device).expand(n, 2)
        start = torch.tensor(self.start, device=rng.device)
        width = torch.tensor(self.stop, device=rng.device) - start + 1
        return start + (torch.rand((n, 2), generator=rng, device=rng.device) * width).long()

    def centre(self, x: Tensor, at: Tensor) -> Tensor:
        """x (n, channel, row, column) at A, (n, channel)."""
        return x[torch.arange(len(x), device=x.device), :, at[:, 0], at[:, 1]]

    def around(self, x: Tensor, at: Tensor) -> Tensor:
        """x (n, channel, row, column) around A, (n, n_pixels * channels); 0 over the edge."""
        alike = bool((at == at[:1]).all())
        place = at[:1] if alike else at
        row = place[:, :1] + self.rows.to(x.device)
        column = place[:, 1:] + self.columns.to(x.device)
        there = (row >= 0) & (row < self.shape[0]) & (column >= 0) & (column < self.shape[1])
        flat = torch.where(there, row * self.shape[1] + column, 0)
        found = x.flatten(2)
        found = found[:, :, flat[0]] if alike else found.gather(2, flat[:, None].expand(-1, self.channels, -1))
        return (found * there[:, None]).transpose(1, 2).flatten(1)
