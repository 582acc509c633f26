"""What one pixel's neighbours show: the pixels around A, nearest first, in shells between growing box radii.

The network's first layer is linear, so its value for every box comes from sums over shells: all radii cost one pass.
A is one pixel of every image, or another one in each ("average"); then pixels over the edge count as not there.
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

    Attributes:
        distance: from A in the maximum norm, increasing, (n_pixels,).
        shells: slices of the pixels: up to the first radius, between radii, beyond the last.
    """

    def __init__(self, shape: tuple[int, int], radii: Sequence[int], pixel: tuple[int, int] | None) -> None:
        self.shape, self.radii, self.pixel = shape, tuple(radii), pixel
        first = last = (shape[0] - 1, shape[1] - 1)
        if pixel is not None:
            first, last = pixel, (shape[0] - 1 - pixel[0], shape[1] - 1 - pixel[1])
        rows, columns = (grid.ravel() for grid in np.mgrid[-first[0] : last[0] + 1, -first[1] : last[1] + 1])
        distance = np.maximum(abs(rows), abs(columns))
        order = np.argsort(distance, kind="stable")[1:]  # A itself comes first
        self.rows, self.columns = torch.as_tensor(rows[order]), torch.as_tensor(columns[order])
        self.distance: NDArray[np.int64] = distance[order]
        ends = [0, *np.searchsorted(self.distance, self.radii, side="right").tolist(), order.size]
        self.shells = [slice(start, stop) for start, stop in itertools.pairwise(ends)]

    @staticmethod
    def reach(shape: tuple[int, int], pixel: tuple[int, int] | None) -> int:
        """The radius from which on the box covers every image."""
        if pixel is None:
            return max(shape) - 1
        return max(max(x, n - 1 - x) for x, n in zip(pixel, shape, strict=True))

    def draw(self, n: int, noise: torch.Generator) -> Tensor:
        """A of n images, (n, 2)."""
        if self.pixel is not None:
            return torch.tensor(self.pixel, device=noise.device).expand(n, 2)
        place = torch.rand((n, 2), generator=noise, device=noise.device)
        return (place * torch.tensor(self.shape, device=noise.device)).long()

    def centre(self, x: Tensor, at: Tensor) -> Tensor:
        """x (n, row, column) at A, (n,)."""
        return x[torch.arange(len(x), device=x.device), at[:, 0], at[:, 1]]

    def around(self, x: Tensor, at: Tensor) -> Tensor:
        """x (n, row, column) around A, (n, n_pixels); 0 over the edge."""
        row = at[:, :1] + self.rows.to(x.device)
        column = at[:, 1:] + self.columns.to(x.device)
        if self.pixel is not None:
            return x.flatten(1)[:, row[0] * self.shape[1] + column[0]]
        there = (row >= 0) & (row < self.shape[0]) & (column >= 0) & (column < self.shape[1])
        flat = torch.where(there, row * self.shape[1] + column, 0)
        return torch.where(there, x.flatten(1).gather(1, flat), 0.0)
