"""Gaussian field with sparse precision K under Gaussian noise: everything in closed form.

In units where a site is observed as y = x + z / sqrt(snr), the noisy precision between different sites is
-snr^2 [(K + snr)^-1]_ij. K is an M-matrix, so this is a solve without cancellation, and
    I(A;C|B) = -1/2 log det(1 - V_A P_AC V_C P_CA),   V_A = Var(y_A | y_BC),  V_C = Var(y_C | y_AB),
keeps its digits at 1e-20 and below, where differences of log-determinants lose them all.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from ..channels import Channel, check_gaussian
from ..lattice import Tripartition


@dataclass(frozen=True)
class GaussianPosterior:
    """Clean values at some sites given a noisy region: mean (n, k) and covariance (k, k)."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def variance(self) -> NDArray[np.float64]:
        """(n, k), the same for every sample."""
        return np.broadcast_to(np.diag(self.covariance), self.mean.shape)


class GaussianSolver:
    """Exact answers for x_0 ~ N(0, K^-1).

    Args:
        precision: K, sparse (N, N), positive definite.
        shape: lattice shape, N = prod(shape).
    """

    def __init__(self, precision: sparse.csc_array, shape: tuple[int, ...]) -> None:
        self.precision = precision
        self.shape = shape

    def check_channel(self, channel: Channel) -> None:
        check_gaussian(channel)

    def _solve(self, snr: float, region: NDArray[np.bool_], rhs: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K + snr on the region)^-1 rhs, rhs (N, n): the posterior covariance given the region, applied."""
        posterior = self.precision + sparse.diags_array(snr * region.ravel().astype(float), format="csc")
        return splu(posterior.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(rhs)

    def closed_cmi(self, channel: Channel, t: float, parts: Tripartition) -> float:
        a, c = np.flatnonzero(parts.A), np.flatnonzero(parts.C)
        snr = channel.snr(t)
        if snr == math.inf:
            return self._clean_cmi(parts)
        unit = np.zeros((self.precision.shape[0], len(a)))
        unit[a, np.arange(len(a))] = 1.0
        p_ca = snr**2 * self._solve(snr, parts.ABC, unit)[c]  # sign drops out of the product below
        v_a = np.eye(len(a)) / snr + self._solve(snr, parts.BC, unit)[a]
        rhs = np.zeros_like(unit)
        rhs[c] = p_ca
        v_c_p = p_ca / snr + self._solve(snr, parts.AB, rhs)[c]
        return _information(v_a, p_ca.T @ v_c_p)

    def _clean_cmi(self, parts: Tripartition) -> float:
        """At t = 0 the precision of A + B + C is K with the unobserved sites summed out."""
        a, c = np.flatnonzero(parts.A), np.flatnonzero(parts.C)
        seen, hidden = np.flatnonzero(parts.ABC), np.flatnonzero(~parts.ABC)
        dense = self.precision.toarray()
        precision = dense[np.ix_(seen, seen)]
        if len(hidden):
            cross = dense[np.ix_(hidden, seen)]
            precision -= cross.T @ np.linalg.solve(dense[np.ix_(hidden, hidden)], cross)
        in_a, in_c = np.searchsorted(seen, a), np.searchsorted(seen, c)
        p_ca = precision[np.ix_(in_c, in_a)]
        v_a = np.linalg.inv(precision[np.ix_(in_a, in_a)])
        return _information(v_a, p_ca.T @ np.linalg.solve(precision[np.ix_(in_c, in_c)], p_ca))

    def covariance(self, channel: Channel, t: float, region: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(|R|, |R|), covariance of the noisy values on the region."""
        gaussian = check_gaussian(channel)
        r = np.flatnonzero(region)
        unit = np.zeros((self.precision.shape[0], len(r)))
        unit[r, np.arange(len(r))] = 1.0
        clean = self._solve(0.0, region, unit)[r]
        return gaussian.alpha(t) ** 2 * clean + gaussian.sigma(t) ** 2 * np.eye(len(r))

    def log_marginal(self, channel: Channel, t: float, x_t: NDArray, region: NDArray[np.bool_]) -> NDArray[np.float64]:
        x_r = x_t.reshape(len(x_t), -1)[:, np.flatnonzero(region)]
        return log_normal_density(x_r, self.covariance(channel, t, region))

    def posterior(
        self, channel: Channel, t: float, x_t: NDArray, sites: NDArray[np.bool_], observed: NDArray[np.bool_]
    ) -> GaussianPosterior:
        flat = np.flatnonzero(sites)
        mean = self.posterior_mean(channel, t, x_t, observed).reshape(len(x_t), -1)[:, flat]
        snr = channel.snr(t)
        if snr == math.inf:
            covariance = np.zeros((len(flat), len(flat)))
            free = np.flatnonzero(~observed)
            both = np.isin(flat, free)
            conditional = np.linalg.inv(self.precision.toarray()[np.ix_(free, free)])
            at = np.searchsorted(free, flat[both])
            covariance[np.ix_(both, both)] = conditional[np.ix_(at, at)]
            return GaussianPosterior(mean, covariance)
        unit = np.zeros((self.precision.shape[0], len(flat)))
        unit[flat, np.arange(len(flat))] = 1.0
        return GaussianPosterior(mean, self._solve(snr, observed, unit)[flat])

    def posterior_mean(
        self, channel: Channel, t: float, x_t: NDArray, observed: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        gaussian = check_gaussian(channel)
        alpha, sigma = gaussian.alpha(t), gaussian.sigma(t)
        x_seen = np.where(observed, x_t, 0.0).reshape(len(x_t), -1).T
        if sigma == 0.0:
            seen, free = np.flatnonzero(observed), np.flatnonzero(~observed)
            mean = x_seen / alpha
            if len(free):
                block = self.precision[free]
                mean[free] = -splu(block[:, free].tocsc()).solve(block[:, seen] @ mean[seen])
        else:
            mean = self._solve((alpha / sigma) ** 2, observed, alpha / sigma**2 * x_seen)
        return mean.T.reshape(x_t.shape)


def _information(v_a: NDArray[np.float64], gain: NDArray[np.float64]) -> float:
    """-1/2 log det(1 - V_A gain), from the eigenvalues of the symmetric product."""
    root = np.linalg.cholesky(v_a)
    squared_correlations = np.linalg.eigvalsh(root.T @ gain @ root)
    return float(-0.5 * np.log1p(-squared_correlations.clip(0.0)).sum())


def log_normal_density(x: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,), log N(x; 0, covariance) of the rows of x (n, k)."""
    root = scipy.linalg.cholesky(covariance, lower=True)
    white = scipy.linalg.solve_triangular(root, x.T, lower=True)
    return -0.5 * (white**2).sum(axis=0) - np.log(np.diag(root)).sum() - 0.5 * x.shape[1] * math.log(2 * math.pi)
