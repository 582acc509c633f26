"""The law that a schedule of exact denoisers generates from a Gaussian field, in closed form.

The denoisers of a field are linear, E[x_0|box] = W x_t with variances v, and so is a reverse step: with the bridge
x_s ~ N(a x_t + b x_0, c) and x_0 drawn site by site,

    Cov(x_s) = (a + b W) Cov(x_t) (a + b W)' + b^2 diag(v) + c,

from Cov(x_1) = sigma^2 at pure noise, or from noisy data, down to what is generated. No sample is drawn.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..channels import Gaussian, check_gaussian, check_time
from ..errors import InputError, check_finite, check_memory
from ..models import GaussianField
from .reverse_process import Schedule


def generated_covariance(
    model: GaussianField,
    channel: Gaussian,
    times: Sequence[float],
    schedule: Schedule,
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """(N, N), covariance at times[-1] of reverse steps from times[0].

    Args:
        times: strictly falling.
        schedule: linear denoisers for the field: `ExactDenoiser(model, channel, radius)` at each time.
        start: (N, N), covariance at times[0]; pure noise, sigma^2, if not given.
    """
    gaussian, n = check_gaussian(channel), model.lattice.n_sites
    if not isinstance(model, GaussianField):
        raise InputError(f"model must be a GaussianField, whose denoisers are linear, got {type(model).__name__}")
    check_memory("model", 48 * n**2, "take a smaller lattice")
    if len(times) < 2 or any(check_time(t) <= check_time(s) for t, s in itertools.pairwise(times)):
        raise InputError(f"times must be two or more and fall strictly, such as [0.9, 0.5, 0.1], got {list(times)}")
    if start is not None:
        _check_covariance("start", start, n)
    units = np.eye(n).reshape(n, 1, *model.lattice.shape)
    covariance = gaussian.sigma(times[0]) ** 2 * np.eye(n) if start is None else start
    for t, s in itertools.pairwise(times):
        law = schedule(t)(units, t)
        keep, pull, variance = gaussian.bridge_moments(t, s)
        step = keep * np.eye(n) + pull * law.mean.reshape(n, n).T  # row j of the means is column j of W
        own = pull**2 * law.variance.reshape(n, n)[0] + variance
        covariance = step @ covariance @ step.T + np.diag(own)
    return covariance


def gaussian_divergence(model: GaussianField, covariance: NDArray[np.float64]) -> float:
    """KL( p_0 || N(0, covariance) ) of the field, in nats."""
    n = model.lattice.n_sites
    _check_covariance("covariance", covariance, n)
    precision = model.solver.precision.toarray()
    root = np.linalg.cholesky(precision)  # p_0 white is root.T x; its covariance under the other law:
    other = root.T @ covariance @ root
    sign, log_det = np.linalg.slogdet(other)
    if sign <= 0:
        raise InputError("covariance must be positive definite, got one that is not")
    return 0.5 * float(np.trace(np.linalg.inv(other)) - len(other) + log_det) if math.isfinite(log_det) else math.inf


def _check_covariance(name: str, covariance: NDArray, n: int) -> None:
    if covariance.shape != (n, n):
        raise InputError(f"{name} must have shape ({n}, {n}), got {covariance.shape}")
    check_finite(**{name: covariance})
