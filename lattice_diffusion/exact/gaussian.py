"""Gaussian fields under Gaussian noise, and mixtures of two of them: everything in closed form.

Field of sparse precision K: in units where a site is observed as y = x + z / sqrt(snr), the noisy precision between
different sites is -snr^2 [(K + snr)^-1]_ij. K is an M-matrix, so this is a solve without cancellation, and
    I(A;C|B) = -1/2 log det(1 - V_A P_AC V_C P_CA),   V_A = Var(y_A | y_BC),  V_C = Var(y_C | y_AB),
keeps its digits at 1e-20 and below, where differences of log-determinants lose them all.

Mixture of two components s = +-1 of mean +-mu: the label is a binary input seen through gamma = K_R^2. All
informations about it follow from the scalar channel y = gamma s + sqrt(gamma) z,
    H(S|R) = F(K_R) = E log(1 + exp(-2y)),  dH/dgamma = -mmse/2,  dmmse/dgamma = -E sech^4(y),
where E f(y) for an even weight f becomes e^{-gamma/2} / sqrt(2 pi gamma) int f(y) cosh(y) e^{-y^2/2gamma} dy:
positive integrands, so that nothing is lost to cancellation at small or large gamma.
Source of the formulas: Guo, Shamai, Verdu (2005) for the derivatives.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from ..channels import Channel, check_gaussian, gaussian_output_law
from ..errors import InputError
from ..estimate import Curve
from ..lattice import BoolArray, FloatArray, Tripartition
from .spins import NoisySamples

BATCH_VALUES = 2**22  # values of a batch of configurations, 32 MiB
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)


@dataclass(frozen=True)
class GaussianPosterior:
    """Clean values at some sites given a noisy region: mean (n, k) and covariance (k, k)."""

    mean: FloatArray
    covariance: FloatArray

    @property
    def variance(self) -> FloatArray:
        """Posterior variance (n, k), the same for every sample."""
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
        self._shared: tuple[Any, FloatArray, FloatArray] | None = None  # by the divisions of one curve

    def check_channel(self, channel: Channel) -> None:
        check_gaussian(channel)

    def _unit(self, sites: NDArray[np.int64]) -> FloatArray:
        """Return the columns (N, k) of the identity at `sites`."""
        unit = np.zeros((self.precision.shape[0], len(sites)))
        unit[sites, np.arange(len(sites))] = 1.0
        return unit

    def _solve(self, snr: float, region: BoolArray, rhs: FloatArray) -> FloatArray:
        """Return (K + snr on the region)^-1 rhs, the posterior covariance given the region times rhs (N, n)."""
        posterior = self.precision + sparse.diags_array(snr * region.ravel().astype(float), format="csc")
        return splu(posterior.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(rhs)

    def closed_cmi(self, channel: Channel, t: float, parts: Tripartition) -> float:
        a, c = np.flatnonzero(parts.A), np.flatnonzero(parts.C)
        snr = channel.snr(t)
        if snr == math.inf:
            return self._clean_cmi(parts)
        unit, shared, key = self._unit(a), self._shared, (snr, parts.A.tobytes(), parts.ABC.tobytes())
        if shared is None or shared[0] != key:
            shared = key, self._solve(snr, parts.ABC, unit), self._solve(snr, parts.BC, unit)[a]
            self._shared = shared
        p_ca = snr**2 * shared[1][c]  # sign drops out of the product below
        v_a = np.eye(len(a)) / snr + shared[2]
        rhs = np.zeros_like(unit)
        rhs[c] = p_ca
        v_c_p = p_ca / snr + self._solve(snr, parts.AB, rhs)[c]
        return _information(v_a, p_ca.T @ v_c_p)

    def _clean_cmi(self, parts: Tripartition) -> float:
        """Return the CMI at t = 0, where the precision of A + B + C is K without the unobserved sites."""
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

    def covariance(self, channel: Channel, t: float, region: BoolArray) -> FloatArray:
        """Return the covariance (|R|, |R|) of the noisy values on the region."""
        gaussian = check_gaussian(channel)
        r = np.flatnonzero(region)
        clean = self._solve(0.0, region, self._unit(r))[r]
        return gaussian.alpha(t) ** 2 * clean + gaussian.sigma(t) ** 2 * np.eye(len(r))

    def log_marginal(self, channel: Channel, t: float, x_t: NDArray, region: BoolArray) -> FloatArray:
        x_r = x_t.reshape(len(x_t), -1)[:, np.flatnonzero(region)]
        return log_normal_density(x_r, self.covariance(channel, t, region))

    def posterior(
        self, channel: Channel, t: float, x_t: NDArray, sites: BoolArray, observed: BoolArray
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
        return GaussianPosterior(mean, self._solve(snr, observed, self._unit(flat))[flat])

    def posterior_mean(self, channel: Channel, t: float, x_t: NDArray, observed: BoolArray) -> FloatArray:
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


def _information(v_a: FloatArray, gain: FloatArray) -> float:
    """Return -1/2 log det(1 - V_A gain), from the eigenvalues of the symmetric product."""
    root = np.linalg.cholesky(v_a)
    squared_correlations = np.linalg.eigvalsh(root.T @ gain @ root)
    return float(-0.5 * np.log1p(-squared_correlations.clip(0.0)).sum())


def log_normal_density(x: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return (n,), log N(x; 0, covariance) of the rows of x (n, k)."""
    root = scipy.linalg.cholesky(covariance, lower=True)
    white = scipy.linalg.solve_triangular(root, x.T, lower=True)
    return -0.5 * (white**2).sum(axis=0) - np.log(np.diag(root)).sum() - 0.5 * x.shape[1] * math.log(2 * math.pi)


def label_mmse(gamma: NDArray | float, power: int = 1) -> FloatArray:
    """Return E Var(S|R)^power = E sech(y)^(2 power), y = gamma + sqrt(gamma) z, gamma = K_R^2 (any shape).

    Half of power 1 is the slope of I(S;R) in gamma; power 2 is the slope of power 1, with the other sign.
    """
    gamma = np.asarray(gamma, float)[..., None]
    v = np.linspace(0.0, 40.0, 401)  # of an even integrand, which is 1 at v = 0
    sech = 1.0 / np.cosh(np.sqrt(gamma / (1.0 + gamma)) * v)
    half = (sech * (sech * sech) ** (power - 1) * np.exp(-0.5 * v**2 / (1.0 + gamma))).sum(axis=-1)
    total = (2.0 * half - 1.0) * v[1]
    return np.exp(-gamma[..., 0] / 2) / np.sqrt(2 * math.pi * (1.0 + gamma[..., 0])) * total


def _integrate(f: Callable[[NDArray], NDArray], start: float, stop: float) -> float:
    """Return the integral of a smooth f, taken over log(1 + x), which spans small and large gamma alike."""
    low, high = math.log1p(start), math.log1p(stop)
    if high <= low:
        return 0.0
    pieces = np.linspace(low, high, 1 + max(1, math.ceil((high - low) / 0.5)))
    x = 0.5 * (pieces[1:] + pieces[:-1])[:, None] + 0.5 * np.diff(pieces)[:, None] * _NODES
    return float((0.5 * np.diff(pieces)[:, None] * _WEIGHTS * f(np.expm1(x)) * np.exp(x)).sum())


def label_information(gamma: float, given: float = 0.0) -> float:
    """Return I(S; A | B) = F(K_B) - F(K_AB) in nats, with gamma = K_AB^2 >= given = K_B^2; I(S;R) for given = 0."""
    return 0.5 * _integrate(label_mmse, given, gamma)


def label_cmi(gamma_b: float, gamma_ab: float, gamma_bc: float, gamma_abc: float) -> float:
    """Return F(K_B) - F(K_AB) - F(K_BC) + F(K_ABC) in nats, to full accuracy where gammas add up over sites."""
    gain_a, gain_c = gamma_ab - gamma_b, gamma_bc - gamma_b
    if not math.isclose(gamma_abc - gamma_bc, gain_a, rel_tol=1e-9, abs_tol=0.0):
        return label_information(gamma_ab, gamma_b) - label_information(gamma_abc, gamma_bc)
    # the double integral of the curvature over [0, gain_a] x [0, gain_c], as one over the sum u of both
    total = 0.0
    corners = sorted((0.0, gain_a, gain_c, gain_a + gain_c))

    def integrand(gamma: NDArray) -> NDArray:
        u = gamma - gamma_b
        overlap = np.minimum(np.minimum(u, gain_a + gain_c - u), min(gain_a, gain_c)).clip(0.0)
        return 0.5 * overlap * label_mmse(gamma, 2)

    for start, stop in itertools.pairwise(corners):
        total += _integrate(integrand, gamma_b + start, gamma_b + stop)
    return total


@dataclass(frozen=True)
class MixturePosterior:
    """Clean values given a noisy region: one Gaussian per label.

    Attributes:
        label_probabilities: (n, 2), of label -1 and +1.
        components: posteriors given label -1 and +1.
    """

    label_probabilities: FloatArray
    components: tuple[GaussianPosterior, GaussianPosterior]

    @property
    def mean(self) -> FloatArray:
        """Posterior mean (n, k)."""
        minus, plus = self.components
        return self.label_probabilities[:, :1] * minus.mean + self.label_probabilities[:, 1:] * plus.mean

    @property
    def variance(self) -> FloatArray:
        """Posterior variance (n, k), within plus between the components."""
        minus, plus = self.components
        between = self.label_probabilities.prod(axis=1, keepdims=True) * (plus.mean - minus.mean) ** 2
        return plus.variance + between


class MixtureSolver:
    """Exact answers for x_0 = s mu + field of precision K, label s = +-1 with equal weights.

    Args:
        field: solver of the field within a component.
        mean: mu, the same at every site.
        white: K is a multiple of the identity, so that gamma is proportional to the number of sites.
    """

    def __init__(self, field: GaussianSolver, mean: float, white: bool) -> None:
        self.field = field
        self.mean = mean
        self.white = white

    def check_channel(self, channel: Channel) -> None:
        check_gaussian(channel)

    def gamma(self, channel: Channel, t: float, region: BoolArray) -> float:
        """Return K_R^2 = mu_R' Sigma_R^-1 mu_R of the noisy region."""
        mu, filtered = self._filtered(channel, t, region)
        return float(mu * filtered.sum())

    def _filtered(self, channel: Channel, t: float, region: BoolArray) -> tuple[float, FloatArray]:
        """Return the noisy mean mu of label +1 at a site, and Sigma_R^-1 mu_R (k,) of the noisy region."""
        gaussian, size = check_gaussian(channel), int(region.sum())
        mu = gaussian.alpha(t) * self.mean
        if self.white or not size:
            variance = float(gaussian.alpha(t) ** 2 / self.field.precision[0, 0] + gaussian.sigma(t) ** 2)
            return mu, np.full(size, mu / variance)
        return mu, np.linalg.solve(self.field.covariance(channel, t, region), np.full(size, mu))

    def closed_cmi(self, channel: Channel, t: float, parts: Tripartition) -> float:
        regions = (parts.B, parts.AB, parts.BC, parts.ABC)
        within = 0.0 if self.white else self.field.closed_cmi(channel, t, parts)
        return within + label_cmi(*(self.gamma(channel, t, region) for region in regions))

    def sampled_cmi(self, noisy: NoisySamples, parts: Sequence[Tripartition]) -> Curve:
        """Return the same from noisy samples, independently of the closed form (white classes only)."""
        if not self.white:
            raise InputError("sampled answers take the white mixture, got correlated fields; use the closed form")
        channel, t, A = noisy.channel, noisy.t, parts[0].A
        law = gaussian_output_law(self.gamma(channel, t, A))[:, ::-1].copy()  # of label -1, +1
        batch = max(1, BATCH_VALUES // A.size)
        divergences = noisy.divergences(parts, partial(self.label_probabilities, channel, t), law, batch)
        return Curve.from_samples(divergences, "Rao-Blackwell average over label posteriors")

    def label_probabilities(self, channel: Channel, t: float, x_t: NDArray, region: BoolArray) -> FloatArray:
        """Return (n, 2), P(s = -1 | x_R) and P(s = +1 | x_R)."""
        y = x_t.reshape(len(x_t), -1)[:, np.flatnonzero(region)] @ self._filtered(channel, t, region)[1]
        return 1.0 / (1.0 + np.exp(np.stack([2 * y, -2 * y], axis=1).clip(-700, 700)))

    def log_marginal(self, channel: Channel, t: float, x_t: NDArray, region: BoolArray) -> FloatArray:
        mu = check_gaussian(channel).alpha(t) * self.mean
        x_r = x_t.reshape(len(x_t), -1)[:, np.flatnonzero(region)]
        covariance = self.field.covariance(channel, t, region)
        densities = [log_normal_density(x_r - s * mu, covariance) for s in (-1, 1)]
        return np.logaddexp(*densities) - math.log(2.0)

    def posterior(
        self, channel: Channel, t: float, x_t: NDArray, sites: BoolArray, observed: BoolArray
    ) -> MixturePosterior:
        mu = check_gaussian(channel).alpha(t) * self.mean
        components = []
        for s in (-1, 1):
            centred = self.field.posterior(channel, t, x_t - s * mu, sites, observed)
            components.append(GaussianPosterior(centred.mean + s * self.mean, centred.covariance))
        labels = self.label_probabilities(channel, t, x_t, observed)
        return MixturePosterior(labels, (components[0], components[1]))

    def posterior_mean(self, channel: Channel, t: float, x_t: NDArray, observed: BoolArray) -> FloatArray:
        mu = check_gaussian(channel).alpha(t) * self.mean
        labels = self.label_probabilities(channel, t, x_t, observed).reshape(-1, 2, *(1,) * (x_t.ndim - 1))
        minus, plus = (self.field.posterior_mean(channel, t, x_t - s * mu, observed) + s * self.mean for s in (-1, 1))
        return labels[:, 0] * minus + labels[:, 1] * plus
