"""Exponents from several sizes: curves that cross at a critical point, and power laws."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares
from scipy.stats import chi2

from ..errors import InputError, check_finite
from ..estimate import Estimate

HOPELESS = 1e100  # a relative error; squares of larger ones are no numbers, and its inverse is none at all


@dataclass(frozen=True)
class Crossing:
    """Fit of y(c, L) = f((c - c*) L^(1/nu)), f a polynomial.

    Attributes:
        critical: c*; nu: exponent of the correlation length; level: y at c*.
        chi2, dof: goodness of fit; coefficients: of f, constant first.
    """

    critical: Estimate
    nu: Estimate
    level: Estimate
    chi2: float
    dof: int
    coefficients: NDArray[np.float64]

    @property
    def p_value(self) -> float:
        return float(chi2.sf(self.chi2, self.dof))

    def scaled(self, control: ArrayLike, size: ArrayLike) -> NDArray[np.float64]:
        """Return (c - c*) L^(1/nu), on which all sizes collapse."""
        return (np.asarray(control, float) - self.critical.value) * np.asarray(size, float) ** (1.0 / self.nu.value)


def finite_size_crossing(
    control: ArrayLike,
    size: ArrayLike,
    values: ArrayLike,
    stderr: ArrayLike,
    guess: tuple[float, float],
    degree: int = 3,
) -> Crossing:
    """Return where curves of a dimensionless quantity against a control parameter cross for all sizes.

    Weighted least squares of all points at once. Errors are those of the fit, scaled up by sqrt(chi2/dof) where
    that is above 1. Corrections to scaling are not fitted: leave out small sizes until the result stands still.

    Args:
        control, size, values, stderr: (n,), one entry a point; stderr > 0.
        guess: starting values of c* and nu.
        degree: of the polynomial f.

    Raises InputError for fewer points than parameters, fewer than two sizes, or errors that are not positive.
    """
    c, length, y, sigma = (np.asarray(x, float).ravel() for x in (control, size, values, stderr))
    if not c.shape == length.shape == y.shape == sigma.shape:
        raise InputError(
            f"control, size, values, stderr must be (n,) each, got {c.size}, {length.size}, {y.size}, {sigma.size}"
        )
    check_finite(control=c, size=length, values=y, stderr=sigma, guess=guess)
    if len(guess) != 2 or not guess[1] > 0:
        raise InputError(f"guess must be c* and nu > 0, got {guess}")
    if not (length > 0).all() or not 1 <= degree <= 12:
        raise InputError(f"size must be > 0 and degree between 1 and 12, got {length.min():g} and {degree}")
    if c.size <= degree + 3 or np.unique(length).size < 2 or np.ptp(c) == 0.0:
        raise InputError(f"degree {degree} needs two sizes, two values of control, {degree + 4} points, got {c.size}")
    if not np.all(sigma > 0):
        raise InputError("stderr must be > 0 at every point; leave exact points out")

    def design(parameters: NDArray) -> NDArray:
        x = (c - parameters[0]) * length ** np.exp(-parameters[1])
        return np.vander(x, degree + 1, increasing=True)

    def coefficients(parameters: NDArray) -> NDArray:
        return np.linalg.lstsq(design(parameters) / sigma[:, None], y / sigma, rcond=None)[0]

    def residual(parameters: NDArray) -> NDArray:
        return (design(parameters) @ parameters[2:] - y) / sigma

    # f is linear in its coefficients: first the two nonlinear parameters alone, then all together for the errors
    start = np.array([guess[0], np.log(guess[1])])
    spread = np.ptp(c)
    outer = least_squares(
        lambda p: (design(p) @ coefficients(p) - y) / sigma, start, x_scale=[spread, 0.3], xtol=1e-12, ftol=1e-12
    )
    full = np.concatenate([outer.x, coefficients(outer.x)])
    fit = least_squares(residual, full, x_scale="jac", xtol=1e-12, ftol=1e-12)
    misfit, dof = float(2 * fit.cost), c.size - fit.x.size
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac) * max(1.0, misfit / dof)
    if (np.diag(covariance) < 0).any():
        raise InputError(f"the fit from guess = {guess} finds no crossing; start nearer to it, or lower the degree")
    error = np.sqrt(np.diag(covariance))
    nu = float(np.exp(fit.x[1]))
    return Crossing(
        Estimate(float(fit.x[0]), float(error[0]), 0, "finite-size crossing"),
        Estimate(nu, float(nu * error[1]), 0, "finite-size crossing"),
        Estimate(float(fit.x[2]), float(error[2]), 0, "finite-size crossing"),
        misfit,
        dof,
        fit.x[2:],
    )


@dataclass(frozen=True)
class PowerLaw:
    """Power law y = amplitude x^exponent, with errors and chi2 over dof of the fit of log y."""

    exponent: Estimate
    amplitude: float
    chi2: float
    dof: int


def power_law(
    x: ArrayLike, y: ArrayLike, stderr: ArrayLike | None = None, covariance: ArrayLike | None = None
) -> PowerLaw:
    """Return the weighted straight line through log y against log x, as a power law.

    With `stderr` (n,), or the `covariance` (n, n) of values that share samples, the exponent's error propagates
    it; without, it is the scatter of the points about the line.

    Raises InputError for fewer than three points, or values that are not positive.
    """
    log_x, log_y = np.asarray(x, float), np.asarray(y, float)
    if log_x.shape != log_y.shape or log_x.size < 3:
        raise InputError(f"a power law needs three points or more, got x {log_x.shape} and y {log_y.shape}")
    errors = np.zeros(log_y.shape) if stderr is None else np.asarray(stderr, float)
    shared = np.zeros((log_y.size, log_y.size)) if covariance is None else np.asarray(covariance, float)
    if errors.shape not in ((), log_y.shape) or shared.shape != (log_y.size, log_y.size) or log_x.ndim != 1:
        shapes = [values.shape for values in (log_x, log_y, errors, shared)]
        raise InputError(f"x, y, stderr must be (n,) and covariance (n, n), got {shapes}")
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
