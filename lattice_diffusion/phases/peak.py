"""Position of a maximum in time."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check_finite
from ..estimate import Estimate


def peak_time(
    times: ArrayLike, values: ArrayLike, stderr: ArrayLike | None = None, fraction: float = 0.7
) -> Estimate | None:
    """The time at which `values` is largest, by a weighted polynomial through the points near the maximum.

    The points are those around the largest value above `fraction` of it (at least two on each side where there
    are any). The error adds the propagated `stderr` and the change when the polynomial's degree is lowered by
    one, in quadrature.

    Args:
        times: increasing, (n,).
        values: (n,), stderr: (n,) or None for exact values.

    Returns:
        None where the largest value is the first or the last one, so that no peak is bracketed.
    """
    t, y = np.asarray(times, float), np.asarray(values, float)
    sigma = np.zeros_like(y) if stderr is None else np.asarray(stderr, float)
    if not t.shape == y.shape == sigma.shape or t.ndim != 1 or not 0 < fraction < 1:
        raise InputError(
            f"times, values and stderr must be (n,) each and fraction in (0, 1), got {t.shape}, {y.shape}, "
            f"{sigma.shape} and {fraction}"
        )
    check_finite(times=t, values=y, stderr=sigma)
    if np.any(np.diff(t) <= 0) or sigma.min() < 0:
        raise InputError("times must increase and stderr be >= 0")
    top = int(np.argmax(y))
    if top in (0, len(t) - 1):
        return None
    low, high = max(top - 2, 0), min(top + 2, len(t) - 1)
    while low > 0 and y[low - 1] > fraction * y[top]:
        low -= 1
    while high < len(t) - 1 and y[high + 1] > fraction * y[top]:
        high += 1
    x, y, sigma = t[low : high + 1], y[low : high + 1], sigma[low : high + 1]
    degree = min(4, len(x) - 1)
    weight = 1.0 / np.maximum(sigma, 1e-3 * sigma.max()) if sigma.any() else np.ones_like(x)
    peak = _polynomial_peak(x, y, weight, degree)
    systematic = abs(peak - _polynomial_peak(x, y, weight, degree - 1)) if degree > 2 else 0.0
    shifts = []
    for k in np.flatnonzero(sigma):
        moved = y.copy()
        moved[k] += 0.1 * sigma[k]  # small, so that the response is linear
        shifts.append(10 * (_polynomial_peak(x, moved, weight, degree) - peak))
    return Estimate(peak, float(np.hypot(np.linalg.norm(shifts), systematic)), 0, "polynomial through the maximum")


def _polynomial_peak(x: NDArray, y: NDArray, weight: NDArray, degree: int) -> float:
    """Where the least-squares polynomial is largest between the first and the last point."""
    fit = np.polynomial.Polynomial.fit(x, y, degree, w=weight)
    roots = fit.deriv().roots()
    inside = [float(z.real) for z in np.atleast_1d(roots) if abs(z.imag) < 1e-9 and x[0] <= z.real <= x[-1]]
    return max([*inside, float(x[0]), float(x[-1])], key=lambda z: float(fit(z)))
