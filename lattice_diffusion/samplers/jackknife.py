"""Errors of functions of mean values over a Markov chain: the jackknife over blocks longer than its memory."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check_finite
from ..estimate import Estimate
from .autocorrelation import integrated_autocorrelation_time

TAU_PER_BLOCK = 10  # blocks of 10 tau underestimate the variance by about tau/20 tau = 1/20
MIN_BLOCKS, MAX_BLOCKS = 10, 100


def jackknife(
    series: ArrayLike, function: Callable[[NDArray[np.float64]], float], n_blocks: int | None = None
) -> Estimate:
    """function(<x_1>, <x_2>, ...) of the means of correlated series, its bias of order 1/n removed.

    theta_b is the value with block b left out: theta = B theta(all) - (B - 1) mean theta_b, and its variance is
    (B - 1)/B sum_b (theta_b - mean)^2 (Efron 1982). `n_samples` of the answer is n/tau, or n with n_blocks given.

    Args:
        series: (n,) or (n, k), in the order of the chain.
        function: of the k means, to a number.
        n_blocks: B; by default as many blocks of 10 tau as there are, up to 100, tau the longest autocorrelation
            time of the k series.

    Raises:
        ValueError: all series are constant, or too short: for their autocorrelation time to be measured, or for 10
            blocks of 10 tau; n_blocks below 2 or above n.
    """
    blocks = blocked(series, n_blocks)
    theta = np.array([function(mean) for mean in blocks.left_out])
    value = len(theta) * function(blocks.mean) - (len(theta) - 1) * theta.mean()
    stderr = np.sqrt(blocks.covariance(theta[:, None])[0, 0])
    return Estimate(float(value), float(stderr), blocks.n_effective, blocks.method)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Means (k,) over all samples and (B, k) with each block left out."""

    mean: NDArray[np.float64]
    left_out: NDArray[np.float64]
    n_effective: int
    method: str

    @staticmethod
    def covariance(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Jackknife covariance of (B, k) values."""
        return np.atleast_2d(np.cov(theta, rowvar=False, bias=True)) * (len(theta) - 1)


def blocked(series: ArrayLike, n_blocks: int | None = None) -> Blocks:
    """Cuts series (n,) or (n, k) into consecutive blocks, see `jackknife`."""
    x = np.asarray(series, float)
    if x.ndim not in (1, 2):
        raise InputError(f"series must be (n,) or (n, k), got shape {x.shape}")
    check_finite(series=x)
    x = x[:, None] if x.ndim == 1 else x
    n = len(x)
    if n_blocks is None:
        moving = [column for column in x.T if np.ptp(column) > 0.0] or [x[:, 0]]
        tau = max(1.0, *(integrated_autocorrelation_time(column).tau for column in moving))
        n_blocks, n_effective = min(MAX_BLOCKS, int(n / (TAU_PER_BLOCK * tau))), int(n / tau)
        if n_blocks < MIN_BLOCKS:
            raise InputError(
                f"series of {n} samples must hold {MIN_BLOCKS} blocks of {TAU_PER_BLOCK} autocorrelation times, got "
                f"tau = {tau:.3g} samples; draw at least {int(np.ceil(MIN_BLOCKS * TAU_PER_BLOCK * tau))}"
            )
        method = f"jackknife over {n_blocks} blocks, tau = {tau:.3g} samples"
    elif 2 <= n_blocks <= n:
        method, n_effective = f"jackknife over {n_blocks} blocks", n
    else:
        raise InputError(f"n_blocks must be between 2 and the {n} samples, got {n_blocks}")
    starts = np.arange(n_blocks) * n // n_blocks
    sums, sizes = np.add.reduceat(x, starts, axis=0), np.diff(starts, append=n)[:, None]
    left_out = (x.sum(axis=0) - sums) / (n - sizes)
    return Blocks(x.mean(axis=0), left_out, n_effective, method)
