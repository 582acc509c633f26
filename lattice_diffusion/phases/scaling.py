"""Power laws in the size of the system."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError, check_finite
from ..estimate import Estimate

HOPELESS = 1e100  # a relative error; squares of larger ones are no numbers, and its inverse is none at all


@dataclass(frozen=True)
class PowerLaw:
    """y = amplitude x^exponent, with errors and chi2 over dof of the fit of log y."""

    exponent: Estimate
    amplitude: float
    chi2: float
    dof: int


def power_law(
    x: ArrayLike, y: ArrayLike, stderr: ArrayLike | None = None, covariance: ArrayLike | None = None
) -> PowerLaw:
    """Weighted straight line through log y against log x.

    With `stderr` (n,), or the `covariance` (n, n) of values that share samples, the exponent's error propagates
    it; without, it is the scatter of the points about the line.

    Raises:
        ValueError: fewer than three points, or values that are not positive.
    """
    log_x, log_y = np.asarray(x, float), np.asarray(y, float)
    if log_x.shape != log_y.shape or log_x.size < 3:
        raise InputError(f"a power law needs three points or more, got x {log_x.shape} and y {log_y.shape}")
    errors = np.zeros(log_y.shape) if stderr is None else np.asarray(stderr, float)
    shared = np.zeros((log_y.size, log_y.size)) if covariance is None else np.asarray(covariance, float)
    if errors.shape not in ((), log_y.shape) or shared.shape != (log_y.size, log_y.size) or log_x.ndim != 1:
        raise InputError(
            f"x, y, stderr must be (n,) and covariance (n, n), got {log_x.shape}, {log_y.shape}, {errors.shape} and "
            f"{shared.shape}"
        )
    check_finite(x=log_x, y=log_y, stderr=errors, covariance=shared)
    if errors.min() < 0 or np.diag(shared).min() < 0:
        raise InputError("stderr and the diagonal of covariance must be >= 0, got a negative one")
    if np.any(log_x <= 0) or np.any(log_y <= 0):
        raise InputError("a power law needs positive x and y")
    relative = np.diag((errors / log_y) ** 2) if covariance is None else shared / np.outer(log_y, log_y)
    sigma = np.sqrt(np.diag(relative))
    if not (sigma < HOPELESS).all():
        raise InputError(f"stderr must be below {HOPELESS:g} of y, got {sigma.max():.3g}")
    log_x, log_y = np.log(log_x), np.log(log_y)
    known = bool(np.all(sigma > 1 / HOPELESS))
    weight = sigma**-2 if known else np.ones_like(log_y)
    center = (weight @ log_x) / weight.sum()
    curvature = weight @ (log_x - center) ** 2
    leverage = weight * (log_x - center) / curvature
    slope = float(leverage @ log_y)
    intercept = float((weight @ log_y) / weight.sum() - slope * center)
    misfit = float(weight @ (log_y - intercept - slope * log_x) ** 2)
    dof = log_x.size - 2
    variance = leverage @ relative @ leverage if known else misfit / dof / curvature
    exponent = Estimate(slope, float(np.sqrt(variance)), 0, "weighted fit" if known else "scatter about the line")
    return PowerLaw(exponent, float(np.exp(intercept)), misfit, dof)
