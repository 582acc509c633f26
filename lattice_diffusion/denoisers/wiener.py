"""The best linear denoiser of a data set: what second moments alone give, whatever the data."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel, check_gaussian
from ..lattice import Lattice
from .array_denoiser import ArrayDenoiser
from .clean_data import check_clean
from .posterior import Normal

FloatArray = NDArray[np.float64]


class WienerFilter(ArrayDenoiser):
    """E[x_0,i] + w (x_t - alpha E[x_0]) over the box around i, w = alpha C_iR (alpha^2 C_RR + sigma^2)^-1.

    Mean and covariance C are those of the data; for Gaussian data it is the exact local denoiser of a covariance known
    to 1/sqrt(n). All channels of a pixel are seen together. Answers are `Normal`: the variance is the filter's own
    squared error, C_ii - alpha w C_Ri, on average over the data.

    Args:
        x_0: clean data (n, channel, *lattice), n >= 2.
        channel: Gaussian noise.
        radius: Chebyshev radius of the box, cut at open edges; None: everything.
        periodic: the lattice is a torus and its data translation invariant: means and covariances are averaged over
            all shifts, boxes wrap around.

    Raises:
        TypeError, ValueError: data or a radius that do not fit, another channel.
    """

    def __init__(self, x_0: NDArray, channel: Channel, radius: int | None = None, *, periodic: bool = False) -> None:
        clean = check_clean(x_0, least=2)
        super().__init__(check_gaussian(channel), clean.shape[1:], radius)
        self.lattice = Lattice(clean.shape[2:], periodic)
        self._shifts = _shifts(self.lattice, clean.shape[1]) if periodic else np.arange(clean[0].size)[None]
        x = clean.reshape(len(clean), -1)
        self.mean = _average_over(self._shifts, x.mean(axis=0))
        centred = x - self.mean
        covariance = centred.T @ centred / len(x)
        self.covariance = _average_over(self._shifts, covariance)
        self._filters = lru_cache(maxsize=32)(self._box_filters)

    def _posterior(self, x_t: FloatArray, t: float) -> Normal:
        gaussian = check_gaussian(self.channel)
        alpha, sigma = gaussian.alpha(t), gaussian.sigma(t)
        if sigma == math.inf:
            alpha, sigma = 0.0, 1.0
        weights, variance = self._filters(alpha, sigma)
        mean = self.mean + (x_t.reshape(len(x_t), -1) - alpha * self.mean) @ weights.T
        return Normal(mean.reshape(x_t.shape), np.broadcast_to(variance.reshape(self.shape), x_t.shape))

    def _box_filters(self, alpha: float, sigma: float) -> tuple[FloatArray, FloatArray]:
        """Filters (N, N), one row per value, and what they leave of the variance (N,)."""
        C = self.covariance
        weights, left = np.zeros_like(C), np.zeros(len(C))
        for R, targets in self._views():
            noisy = alpha**2 * C[np.ix_(R, R)] + sigma**2 * np.eye(len(R))
            rhs = alpha * C[np.ix_(R, targets)]
            # at t = 0 the covariance of few data is singular: the shortest filter then
            w = (np.linalg.solve(noisy, rhs) if sigma > 0.0 else np.linalg.lstsq(noisy, rhs)[0]).T
            error = C[targets, targets] - (w * rhs.T).sum(axis=1)
            for shift in self._shifts:
                weights[np.ix_(shift[targets], shift[R])] = w
                left[shift[targets]] = error
        return weights, left.clip(0.0)

    def _views(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Flat indices of what is seen, and of the values that see just this; one pixel's where shifts do the rest."""
        sites = np.arange(len(self.covariance)).reshape(self.shape[0], -1)
        targets = sites[:, :1] if len(self._shifts) > 1 else sites
        if self.radius is None:
            yield sites.ravel(), targets.ravel()
            return
        for pixel in range(targets.shape[1]):
            box = self.lattice.box([int(k) for k in np.unravel_index(pixel, self.lattice.shape)], self.radius)
            yield sites[:, box.ravel()].ravel(), targets[:, pixel]


def _shifts(lattice: Lattice, n_channels: int) -> NDArray[np.int64]:
    """(n_pixels, N), where every shift of the torus takes each value; the pixel 0 visits all others."""
    pixels = np.arange(lattice.n_sites).reshape(lattice.shape)
    axes = tuple(range(lattice.ndim))
    moved = [np.roll(pixels, [-k for k in shift], axes).ravel() for shift in np.ndindex(*lattice.shape)]
    return np.concatenate([np.array(moved) + c * lattice.n_sites for c in range(n_channels)], axis=1)


def _average_over(shifts: NDArray[np.int64], values: FloatArray) -> FloatArray:
    """The mean over shifts of a vector or a square matrix."""
    if len(shifts) == 1:
        return values
    total = np.zeros_like(values)
    for shift in shifts:
        total += values[shift] if values.ndim == 1 else values[np.ix_(shift, shift)]
    return total / len(shifts)
