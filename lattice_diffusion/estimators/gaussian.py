"""Conditional mutual information of Gaussian data, from the determinants of its covariance.

    I(A;C|B) = 1/2 log [ det S_AB det S_BC / (det S_B det S_ABC) ].

The determinant of a sample covariance is biased, by a known amount: nu S is Wishart with nu = n - 1, and
    E log det S = log det Sigma + sum_{i=1..d} psi((nu - i + 1)/2) - d log(nu/2),
so that subtracting the digamma terms makes the estimate unbiased at every n (Goodman 1963; Cai, Liang, Zhou 2015,
J. Multivariate Anal. 137, 161, arXiv:1309.0482).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import digamma

from ..errors import InputError
from ..estimate import Estimate
from .base import Estimator, mean_estimate
from .sample import Sample


class Gaussian(Estimator):
    """log det with bias correction; exact for Gaussian data, otherwise the information of the Gaussian fitted to it.

    The error is by the delta method: to first order the estimate is the mean of the fitted log ratio
    1/2 (q_AB + q_BC - q_B - q_ABC), q the squared Mahalanobis norms, whose scatter by group is the error.
    The bias correction counts all samples as independent, whatever the groups.
    """

    continuous_only = True

    def __init__(self) -> None:
        """No parameters."""

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        a, b, c = (x - x.mean(axis=0) for x in (sample.a, sample.b, sample.c))
        n, d = len(sample), a.shape[1] + b.shape[1] + c.shape[1]
        if n < d + 2:
            raise InputError(
                f"Gaussian needs more samples than the {d} columns of a, b and c, at least {d + 2}, got {n}"
            )
        log_ratios = np.zeros(n)
        for sign, region in ((1, (b, c, a)), (1, (b,)), (-1, (b, a)), (-1, (b, c))):
            log_ratios += sign * _log_density(np.concatenate(region, axis=1))
        self.log_ratios_ = log_ratios
        return mean_estimate(log_ratios, groups, "log det of the covariance, digamma bias correction")


def _log_density(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,), log N(x_i; 0, S) up to terms that cancel, S the sample covariance, its mean free of bias.

    The squared norms average to d (n - 1)/n exactly, whatever the data, so that they cancel in the mean.
    """
    nu, d = len(x) - 1, x.shape[1]
    if d == 0:
        return np.zeros(len(x))
    try:
        root = np.linalg.cholesky(x.T @ x / nu)
    except np.linalg.LinAlgError:
        raise InputError(
            "Gaussian needs columns that are not multiples of one another, got a singular covariance"
        ) from None
    log_det = 2 * np.log(np.diag(root)).sum() - digamma((nu - np.arange(d)) / 2).sum() + d * np.log(nu / 2)
    return -0.5 * ((solve_triangular(root, x.T, lower=True) ** 2).sum(axis=0) + log_det)
