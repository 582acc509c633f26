"""How many independent samples a Markov chain is worth."""

from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check_finite, shown

MIN_LENGTH = 20  # autocorrelation times that a series must span


class AutocorrelationTime(NamedTuple):
    tau: float
    error: float


def autocorrelation(series: ArrayLike) -> NDArray[np.float64]:
    """rho(k) = C(k)/C(0) for lags k = 0, 1, ... of a series (n,), or of chains (m, n) around their common mean.

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
    """tau = 1 + 2 sum_k rho(k) in steps of the series, and its standard error.

    The variance of the mean is tau C(0)/n: independent samples have tau = 1, and AR(1) with coefficient a has
    (1 + a)/(1 - a). The sum stops at the smallest M >= c max(tau(M), 1), where truncation costs about exp(-2 c)
    and more lags would only add noise; error = tau sqrt(2 (2 M + 1)/n) (Madras and Sokal 1988, Sokal 1997
    eq. 3.19), and the bias (2 M + 1)/n of subtracting the measured mean is removed (Wolff 2004, eq. 49,
    hep-lat/0306017).

    Args:
        series: (n,), or (chains, n) of independent chains of one law.
        c: window in units of tau; 5 by default.

    Raises:
        ValueError: the series is constant, or shorter than 20 tau, where no estimate can be trusted.
    """
    if not c > 0.0:
        raise InputError(f"c must be > 0, got {c}; 4 to 10 is usual")
    rho = autocorrelation(series)
    n_total = np.asarray(series).size
    sums = 2.0 * np.cumsum(rho) - 1.0
    window = int(np.argmax(np.arange(len(rho)) >= c * np.maximum(sums, 1.0)))
    bias = (2 * window + 1) / n_total
    tau = float(sums[window] * (1.0 + bias))
    longest = float(sums[: window + 1 if window else None].max())
    if window == 0 or n_total < MIN_LENGTH * max(tau, longest):
        raise InputError(
            f"series of {n_total} steps must span at least {MIN_LENGTH} autocorrelation times, got tau of about "
            f"{max(tau, longest):.3g} steps; run the chain longer"
        )
    return AutocorrelationTime(tau, tau * float(np.sqrt(2.0 * (2 * window + 1) / n_total)))


def effective_samples(series: ArrayLike, c: float = 5.0) -> float:
    """n / tau: the number of independent samples with the same error of the mean."""
    return float(np.asarray(series).size / integrated_autocorrelation_time(series, c).tau)


def mser(series: ArrayLike, batch: int = 5) -> int:
    """Steps at the start of a series that are better left out of its mean: the burn-in.

    They minimise sum_(i > d) (x_i - mean)^2 / (n - d)^2, the squared standard error of the mean of what is left,
    over means x_i of `batch` steps: MSER-5 (White 1997, Simulation 69, 323). Looked for in the first half only;
    a minimum at its end means that the chain is too short to tell.

    Args:
        series: (n,), or (chains, n), which are averaged.
    """
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
