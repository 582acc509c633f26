"""Decay length of the conditional mutual information with the width of the buffer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from ..errors import InputError, check_finite
from ..estimate import Estimate

MIN_POINTS = 3
RESOLUTION = 1e-24  # nats; sampled values below are the square of rounding errors of probabilities
SIGNIFICANCE = 3.0  # standard errors above zero that a point needs to have a logarithm worth fitting
MIN_P_VALUE = 0.01
MAX_SPREAD = 0.2  # relative error or spread of local slopes up to which a decay is called one exponential
FINE_SPREAD = 0.005


@dataclass(frozen=True)
class MarkovLength:
    """Result of fitting I ~ gamma r^-p exp(-r/xi).

    Attributes:
        xi: the decay length in sites with its error, or None where no exponential window was found.
        window: first and last radius of the fit.
        chi2, dof: goodness of fit (sampled data; dof = 0 for exact data).
        reason: why there is no xi, or how its error was obtained.
    """

    xi: Estimate | None
    window: tuple[int, int] | None
    chi2: float
    dof: int
    reason: str

    @property
    def p_value(self) -> float:
        """Probability of a larger chi2 if the decay is exponential (errors taken as independent)."""
        return float(chi2.sf(self.chi2, self.dof)) if self.dof else 1.0


def markov_length(
    radii: Sequence[int],
    cmi: ArrayLike,
    covariance: ArrayLike | None = None,
    prefactor_exponent: float = 0.0,
) -> MarkovLength:
    """Fit the Markov length xi of I(r) ~ r^-p exp(-r/xi), from the largest window of large r that is one exponential.

    With errors: least squares on log I weighted by them, on points more than 3 standard errors above zero; the
    window starts at the smallest radius from which the fit has a p-value above 0.01; the error of xi uses the
    full covariance (radii share noise samples). Where errors are so small that no window passes, the last three
    radii count if their slopes agree to 20%, and half the spread of the slopes is added to the error.

    Without errors: the window of last radii whose local slopes agree to 0.5%, or if none does the last three
    radii; the error is half the spread of the slopes, or how far they would drift to r = infinity if they
    approached it as 1/r, whichever is larger.

    Args:
        radii: increasing buffer widths r.
        cmi: I(A;C|B_r) in nats, (n,).
        covariance: (n, n) of `cmi`, or None or zeros for exact values.
        prefactor_exponent: p, 0 in one dimension; 1/2 for a two-dimensional Gaussian field.

    Returns:
        xi = None with the reason where there is no exponential window: too few points, no decay, or a decay
        that is not exponential.
    """
    r, values = np.asarray(radii, float), np.asarray(cmi, float)
    cov = np.zeros((r.size, r.size)) if covariance is None else np.asarray(covariance, float)
    if values.shape != r.shape or cov.shape != (r.size, r.size):
        raise InputError(
            f"radii, cmi, covariance must be (n,), (n,), (n, n), got {r.shape}, {values.shape}, {cov.shape}"
        )
    check_finite(radii=r, cmi=values, covariance=cov, prefactor_exponent=prefactor_exponent)
    if np.diag(cov).min() < 0:
        raise InputError(f"covariance must have variances >= 0 on its diagonal, got {np.diag(cov).min():g}")
    if np.any(np.diff(r) <= 0):
        raise InputError(f"radii must increase, got {list(radii)}")
    stderr = np.sqrt(np.diag(cov))
    floor = RESOLUTION if stderr.any() else 1e-300
    usable = (values > floor) & (values > SIGNIFICANCE * stderr) & (r > 0)
    first = int(np.argmax(usable)) if usable.any() else 0
    count = int(np.argmin(np.append(usable[first:], False)))
    keep = slice(first, first + count)
    if count < MIN_POINTS:
        return _none(f"only {count} radii with a significant value, {MIN_POINTS} are needed")
    r, log_i = r[keep], np.log(values[keep]) + prefactor_exponent * np.log(r[keep])
    if not stderr[keep].any():
        return _exact_fit(r, log_i)
    relative = cov[keep, keep] / np.outer(values[keep], values[keep])
    return _weighted_fit(r, log_i, relative)


def _none(reason: str) -> MarkovLength:
    return MarkovLength(None, None, 0.0, 0, reason)


def _exact_fit(r: NDArray, log_i: NDArray) -> MarkovLength:
    slopes = -np.diff(log_i) / np.diff(r)
    last = len(slopes) - (MIN_POINTS - 1)
    for start in range(last + 1):
        tail = slopes[start:]
        if tail.min() <= 0:
            continue
        spread = (tail.max() - tail.min()) / tail.mean()
        # slopes that still drift like 1/r have as far to go as they move when r doubles
        drift = abs(tail[-1] - tail[-2]) / (r[-1] - r[-2]) * r[-1] / tail.mean()
        error = max(0.5 * spread, drift)
        if spread <= FINE_SPREAD or (start == last and error <= MAX_SPREAD):
            slope = -np.polyfit(r[start:], log_i[start:], 1)[0]
            xi = Estimate(1.0 / slope, error / slope, 0, "fit of exact values")
            return MarkovLength(xi, (int(r[start]), int(r[-1])), 0.0, 0, "error: spread and drift of local slopes")
    return _none("no exponential window: the local slopes of the last radii drift by more than 20% or do not decay")


def _weighted_fit(r: NDArray, log_i: NDArray, cov: NDArray) -> MarkovLength:
    last = len(r) - MIN_POINTS
    for start in range(last + 1):
        x, y, c = r[start:], log_i[start:], cov[start:, start:]
        weight = 1.0 / np.diag(c)
        center = (weight @ x) / weight.sum()
        leverage = weight * (x - center) / (weight @ (x - center) ** 2)  # slope = leverage @ y
        slope = float(leverage @ y)
        slope_error = float(np.sqrt(leverage @ c @ leverage))
        residual = y - (weight @ y) / weight.sum() - slope * (x - center)
        misfit, dof = float(weight @ residual**2), len(x) - 2
        spread = abs(np.ptp(np.diff(y) / np.diff(x)) / slope)
        if slope > -2 * slope_error or (chi2.sf(misfit, dof) < MIN_P_VALUE and (start < last or spread > MAX_SPREAD)):
            continue
        if chi2.sf(misfit, dof) < MIN_P_VALUE:
            slope_error = float(np.hypot(slope_error, 0.5 * spread * slope))
        xi = Estimate(-1.0 / slope, slope_error / slope**2, 0, "weighted fit of log I against r")
        return MarkovLength(
            xi, (int(x[0]), int(x[-1])), misfit, dof, "error: covariance, and spread of slopes if p < 0.01"
        )
    return _none("no exponential window: no range of radii fits one decaying exponential, nor slopes within 20%")
