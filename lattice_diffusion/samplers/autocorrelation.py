"""Autocorrelation times and burn-in of Markov chains, and jackknife errors of functions of their means."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check_finite, shown
from ..estimate import Estimate

MIN_LENGTH = 20  # autocorrelation times that a series must span
TAU_PER_BLOCK = 10  # blocks of 10 tau underestimate the variance by about tau/20 tau = 1/20
MIN_BLOCKS, MAX_BLOCKS = 10, 100


class AutocorrelationTime(NamedTuple):
    """Autocorrelation time tau and its standard error, in steps of the series."""

    tau: float
    error: float


def autocorrelation(series: ArrayLike) -> NDArray[np.float64]:
    """Return rho(k) = C(k)/C(0) for lags k = 0, 1, ... of a series (n,), or of chains (m, n) around their common mean.

    C(k) is the mean over the n - k pairs of each chain, by FFT.
    """
    x = np.asarray(series, float)
    if x.ndim not in (1, 2) or not x.size or x.shape[-1] < 2:
        raise InputError(f"series must be (n,) or (chains, n) with n >= 2, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise InputError("series must be finite, got inf or nan")
    x = np.atleast_2d(x) - x.mean()
    n = x.shape[1]
    power = np.abs(scipy.fft.rfft(x, scipy.fft.next_fast_len(2 * n, real=True))) ** 2
    covariance = scipy.fft.irfft(power.mean(axis=0), scipy.fft.next_fast_len(2 * n, real=True))[:n]
    covariance /= np.arange(n, 0, -1)
    # differences of rounding errors are no signal
    if covariance[0] <= (1e-13 * np.abs(np.asarray(series, float)).max()) ** 2:
        raise InputError("series must vary, got a constant, whose autocorrelation time is undefined")
    return np.asarray(covariance / covariance[0])


def integrated_autocorrelation_time(series: ArrayLike, c: float = 5.0) -> AutocorrelationTime:
    """Return tau = 1 + 2 sum_k rho(k) in steps of the series, and its standard error.

    The variance of the mean is tau C(0)/n: independent samples have tau = 1, and AR(1) with coefficient a has
    (1 + a)/(1 - a), which is below 1 for alternating series. The sum stops at the first lag
    M nearest to c max(tau(M), tau_2(M)), tau_2 = 1 + 2 sum_k rho(k)^2 the time that alternating series forget in, where
    truncation costs about exp(-2 c) and more lags would only add noise; rho(M) counts half, which cancels what a series
    of alternating sign would leave there. error = tau sqrt(2 (2 M + 1)/n) (Madras and Sokal 1988, Sokal 1997 eq. 3.19),
    and the bias (2 M + 1)/n of subtracting the measured mean is removed (Wolff 2004, eq. 49, hep-lat/0306017).

    Neither is taken smaller than the scatter of the sums up to lags from M to 2 M: where the window cannot resolve a
    small tau, tau and error are both that scatter, a bound from above.

    Args:
        series: (n,), or (chains, n) of independent chains of one law.
        c: window in units of tau; 5 by default.

    Raises InputError where the series is constant, or shorter than 20 tau or 20 tau_2, where no estimate can be
    trusted.
    """
    if not c > 0.0:
        raise InputError(f"c must be > 0, got {c}; 4 to 10 is usual")
    rho = autocorrelation(series)
    n_total = np.asarray(series).size
    sums = 2.0 * np.cumsum(rho) - 1.0 - rho
    slowest = np.maximum(sums, 2.0 * np.cumsum(rho**2) - 1.0)
    window = int(np.argmax(np.arange(len(rho)) >= float(c) * slowest - 0.5))
    longest = float(slowest[: window + 1 if window else None].max())
    if window == 0 or n_total < MIN_LENGTH * longest:
        raise InputError(
            f"series of {n_total} steps must span at least {MIN_LENGTH} autocorrelation times, got tau of about "
            f"{longest:.3g} steps; run the chain longer"
        )
    n_lags = 2 * window + 1
    tau, scatter = float(sums[window]) * (1.0 + n_lags / n_total), float(np.std(sums[window : 2 * window + 1]))
    return AutocorrelationTime(max(tau, scatter), max(tau * math.sqrt(2.0 * n_lags / n_total), scatter))


def effective_samples(series: ArrayLike, c: float = 5.0) -> float:
    """Return n / tau, the number of independent samples with the same error of the mean."""
    return float(np.asarray(series).size / integrated_autocorrelation_time(series, c).tau)


def mser(series: ArrayLike, batch: int = 5) -> int:
    """Return how many steps at the start of a series are better left out of its mean: the burn-in.

    They minimise sum_(i > d) (x_i - mean)^2 / (n - d)^2, the squared standard error of the mean of what is left,
    over means x_i of `batch` steps: MSER-5 (White 1997, Simulation 69, 323). Looked for in the first half only;
    a minimum at its end means that the chain is too short to tell. Of series (chains, n) the chains are averaged.
    """
    batch = int(batch)
    if batch < 1 or np.ndim(series) not in (1, 2):
        raise InputError(f"series must be (n,) or (chains, n) and batch >= 1, got {shown(series)} and {batch}")
    check_finite(series=series)
    x = np.atleast_2d(np.asarray(series, float)).mean(axis=0)
    n = len(x) // batch
    if n < 2:
        raise InputError(f"series must have at least {2 * batch} steps, got {len(x)}")
    means = x[: n * batch].reshape(n, batch).mean(axis=1)[::-1]
    count = np.arange(1, n + 1)
    squares = np.cumsum((means - means.mean()) ** 2) - np.cumsum(means - means.mean()) ** 2 / count
    error = (np.maximum(squares, 0.0) / count**2)[::-1]
    return batch * int(np.argmin(error[: n // 2 + 1]))


# -- jackknife ----------------------------------------------------------------------------------------------------


def jackknife(
    series: ArrayLike, function: Callable[[NDArray[np.float64]], float], n_blocks: int | None = None
) -> Estimate:
    """Return function(<x_1>, <x_2>, ...) of the means of correlated series, its bias of order 1/n removed.

    theta_b is the value with block b left out: theta = B theta(all) - (B - 1) mean theta_b, and its variance is
    (B - 1)/B sum_b (theta_b - mean)^2 (Efron 1982). `n_samples` of the answer is n/tau, or n with n_blocks given.

    Args:
        series: (n,) or (n, k), in the order of the chain.
        function: of the k means, to a number.
        n_blocks: B; by default as many blocks of 10 tau as there are, up to 100, tau the longest autocorrelation
            time of the k series.

    Raises InputError where all series are constant, or too short: for their autocorrelation time to be measured, or for
    10 blocks of 10 tau; n_blocks below 2 or above n.
    """
    blocks = blocked(series, n_blocks)
    theta = np.array([function(mean) for mean in blocks.left_out])
    value = len(theta) * function(blocks.mean) - (len(theta) - 1) * theta.mean()
    stderr = np.sqrt(blocks.covariance(theta[:, None])[0, 0])
    return Estimate(float(value), float(stderr), blocks.n_effective, blocks.method)


@dataclass(frozen=True, eq=False)
class Blocks:
    """The means (k,) over all samples and (B, k) with each block left out."""

    mean: NDArray[np.float64]
    left_out: NDArray[np.float64]
    n_effective: int
    method: str

    @staticmethod
    def covariance(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the jackknife covariance of (B, k) values."""
        return np.atleast_2d(np.cov(theta, rowvar=False, bias=True)) * (len(theta) - 1)


def blocked(series: ArrayLike, n_blocks: int | None = None) -> Blocks:
    """Cut series (n,) or (n, k) into consecutive blocks, see `jackknife`."""
    x = np.asarray(series, float)
    if x.ndim not in (1, 2):
        raise InputError(f"series must be (n,) or (n, k), got shape {x.shape}")
    check_finite(series=x)
    x = x[:, None] if x.ndim == 1 else x
    n = len(x)
    if not np.ptp(x, axis=0).any():
        raise InputError(
            f"samples must vary for an error to be measured, but all {n} give {x[0, 0]:.6g}; "
            "that is their mean, and how far it is from the truth takes samples that differ"
        )
    if n_blocks is None:
        tau = max(1.0, *(integrated_autocorrelation_time(column).tau for column in x.T if np.ptp(column) > 0.0))
        n_blocks, n_effective = min(MAX_BLOCKS, int(n / (TAU_PER_BLOCK * tau))), int(n / tau)
        if n_blocks < MIN_BLOCKS:
            raise InputError(
                f"series of {n} samples must hold {MIN_BLOCKS} blocks of {TAU_PER_BLOCK} autocorrelation times, got "
                f"tau = {tau:.3g} samples; draw at least {int(np.ceil(MIN_BLOCKS * TAU_PER_BLOCK * tau))}"
            )
        method = f"jackknife over {n_blocks} blocks, tau = {tau:.3g} samples"
    elif 2 <= (n_blocks := int(n_blocks)) <= n:
        method, n_effective = f"jackknife over {n_blocks} blocks", n
    else:
        raise InputError(f"n_blocks must be between 2 and the {n} samples, got {n_blocks}")
    starts = np.arange(n_blocks) * n // n_blocks
    sums, sizes = np.add.reduceat(x, starts, axis=0), np.diff(starts, append=n)[:, None]
    left_out = (x.sum(axis=0) - sums) / (n - sizes)
    return Blocks(x.mean(axis=0), left_out, n_effective, method)
