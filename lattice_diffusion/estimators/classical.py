"""Estimators without a network: the exact law itself, Gaussian log determinants, nearest neighbours."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import digamma

from ..channels import Channel
from ..errors import InputError, Limits
from ..estimate import Estimate
from ..exact import log_marginal
from ..lattice import FloatArray, Tripartition
from .base import Estimator, Sample, mean_estimate, warn_at_cap
from .tables import Table

TREE_DIMENSIONS = 10  # beyond that a tree visits almost every point, and plain distances are faster
BLOCK_BYTES = 2**25  # of one block of distances
SINGULAR = 1e-11  # share of a column's variance that others must leave; standardised columns carry 16 digits
TIE = 1e-9  # relative difference of distances that count as equal
REPEATED = 0.02  # share of samples that may repeat a value of another one where ties are not allowed


def exact_log_ratios(model: Any, channel: Channel, t: float, x_t: NDArray, parts: Tripartition) -> FloatArray:
    """Return (n,), log p(a|b,c) - log p(a|b) = log p(abc) + log p(b) - log p(ab) - log p(bc) of noisy samples."""
    terms = [(1, parts.ABC), (-1, parts.AB), (-1, parts.BC), (1, parts.B)]
    return np.sum([sign * log_marginal(model, channel, t, x_t, R) for sign, R in terms if R.any()], axis=0)


@dataclass(eq=False)
class Oracle(Estimator):
    """Mean of the exact pointwise log ratio: unbiased, and its error is the statistical floor at n samples.

    Args:
        model: p_0, one of `lattice_diffusion.models`; the benchmark fills in the task's.
    """

    tails_mapped: ClassVar[bool] = False
    model: Any = None

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        if self.model is None:
            raise InputError("Oracle needs the law of the data; pass a model, as Oracle(models.Ising(lattice, 0.4))")
        if isinstance(self.model, Table):
            self.log_ratios_ = self.model.log_ratios(np.hstack([sample.a, sample.b, sample.c]))
        elif sample.x_t is None or sample.parts is None or sample.channel is None or sample.t is None:
            raise InputError("Oracle needs lattice samples and their noise; call fit(x_t, parts, channel=..., t=...)")
        else:
            self.log_ratios_ = exact_log_ratios(self.model, sample.channel, sample.t, sample.x_t, sample.parts)
        return mean_estimate(self.log_ratios_, groups, "mean of the exact log ratio")


@dataclass(eq=False)
class Gaussian(Estimator):
    """Log determinants of the sample covariance, bias-corrected; exact for Gaussian data.

        I(A;C|B) = 1/2 log [ det S_AB det S_BC / (det S_B det S_ABC) ]

    nu S is Wishart with nu = n - 1, and E log det S = log det Sigma + sum_{i=1..d} psi((nu - i + 1)/2) - d log(nu/2),
    so that subtracting the digamma terms makes the estimate unbiased at every n (Goodman 1963; Cai, Liang, Zhou 2015,
    J. Multivariate Anal. 137, 161, arXiv:1309.0482). Of other data it is the information of the Gaussian fitted to it.

    The error is by the delta method: to first order the estimate is the mean of the fitted log ratio
    1/2 (q_AB + q_BC - q_B - q_ABC), q the squared Mahalanobis norms, whose scatter by group is the error.
    Columns of B and C that are constant, or combinations of those before them, are left out.
    The bias correction counts all samples as independent, whatever the groups.
    """

    continuous_only = True

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        sample = sample.standardised()
        n, widths = len(sample), [x.shape[1] for x in (sample.b, sample.c, sample.a)]
        columns = np.hstack([sample.b, sample.c, sample.a])
        constant = np.asarray(~columns.any(axis=0))
        if n < (d := int((~constant).sum())) + 2:
            raise InputError(f"Gaussian needs more samples than the {d} columns that vary, at least {d + 2}, got {n}")
        pivots = np.zeros(len(constant))
        pivots[~constant] = np.diag(np.linalg.qr(columns[:, ~constant], mode="r")) ** 2 / n
        b, c, a = np.split(np.arange(len(constant)), np.cumsum(widths)[:-1])
        new = pivots > SINGULAR
        if not new[c].any():
            raise InputError("c must tell something beyond b, got columns that are linear combinations of those of b")
        if not new[a].all():
            raise InputError("columns of a must be independent of one another, b and c, got a singular covariance")
        b, c = b[new[b]], c[new[c]]
        log_ratios = np.zeros(n)
        for sign, region in ((1, (b, c, a)), (1, (b,)), (-1, (b, a)), (-1, (b, c))):
            log_ratios += sign * _log_density(columns[:, np.concatenate(region)])
        self.log_ratios_ = log_ratios
        return mean_estimate(log_ratios, groups, "log det of the covariance, digamma bias correction")


def _log_density(x: FloatArray) -> FloatArray:
    """Return (n,), log N(x_i; 0, S) up to terms that cancel, S the sample covariance, its mean free of bias.

    The squared norms average to d (n - 1)/n exactly, whatever the data, so that they cancel in the mean.
    """
    nu, d = len(x) - 1, x.shape[1]
    root = np.asarray(np.linalg.qr(x / np.sqrt(nu), mode="r")).T
    log_det = 2 * np.log(np.abs(np.diag(root))).sum() - digamma((nu - np.arange(d)) / 2).sum() + d * np.log(nu / 2)
    return -0.5 * ((solve_triangular(root, x.T, lower=True) ** 2).sum(axis=0) + log_det)


@dataclass(eq=False)
class FrenzelPompe(Estimator):
    """Nearest neighbours: I(A;C|B) = psi(k) - < psi(n_AB + 1) + psi(n_BC + 1) - psi(n_B + 1) >.

    n_R counts the other samples nearer than the k-th neighbour in A + B + C, in maximum norm over the columns of
    R, each scaled to unit variance; where B is empty psi(n_B + 1) is psi(n), the estimator of Kraskov et al. (2004).
    Local distances cancel only where the density is flat across them: fine in a few dimensions, far too low in tens.
    Source: Frenzel and Pompe, Phys. Rev. Lett. 99, 204101 (2007).

    The error is by subsampling (Holmes and Nemenman 2019, arXiv:1903.09280): the variance falls as 1/n, so that of
    the mean over `blocks` disjoint parts of the data is that of the whole. The bias has no error bar.

    Args:
        k: which neighbour; larger k scatters less and is biased more.
        blocks: parts of the data for the error, whole groups each.
    """

    limits: ClassVar[Limits] = {"k": (1, None), "blocks": (2, None)}
    ties: ClassVar[bool] = False
    k: int = 5
    blocks: int = 10

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        n_groups = int(groups.max()) + 1
        block = (rng.permutation(n_groups) * self.blocks // n_groups)[groups]
        smallest = int(np.bincount(block, minlength=self.blocks).min())
        if smallest <= self.k:
            raise InputError(
                f"{self.blocks} blocks with k = {self.k} need more than {self.k} samples in every block, got "
                f"{smallest}; lower blocks or k, or draw more"
            )
        if not self.ties:
            self._refuse_ties(sample)
        moved = sample.standardised()
        a, b, c = (x[:, x.any(axis=0)] for x in (moved.a, moved.b, moved.c))
        value = self._information(a, b, c)
        parts = [self._information(a[rows], b[rows], c[rows]) for rows in (block == i for i in range(self.blocks))]
        stderr = float(np.std(parts, ddof=1) / np.sqrt(self.blocks))
        if value == stderr == 0.0:
            raise InputError(
                f"{type(self).__name__} needs columns of a and c that decide which samples are near, got "
                f"{a.shape[1] + b.shape[1] + c.shape[1]} columns in which they never do; leave columns of b and c out"
            )
        if value > 0.8 * (most := float(digamma(len(sample)) - digamma(self.k))):
            warn_at_cap(type(self).__name__, f"about {most:.3g}", "draw more samples")
        return Estimate(value, stderr, len(sample), f"k = {self.k} nearest neighbours, error from {self.blocks} blocks")

    def _refuse_ties(self, sample: Sample) -> None:
        sample.check_continuous(type(self).__name__)
        for name in "abc":
            for column, values in enumerate(getattr(sample, name).T):
                repeated = len(values) - len(np.unique(values))
                if REPEATED * len(values) < repeated < len(values) - 1:
                    raise InputError(
                        f"{type(self).__name__} needs values without ties, got {repeated} repeated ones among "
                        f"{len(values)} in column {column} of {name}; use MesnerShalizi"
                    )

    def _information(self, a: FloatArray, b: FloatArray, c: FloatArray) -> float:
        few = a.shape[1] + b.shape[1] + c.shape[1] <= TREE_DIMENSIONS
        counts = counts_by_tree if few else counts_by_distances
        n_ab, n_bc, n_b, n_abc = (digamma(n + (not self.ties)) for n in counts(a, b, c, self.k, self.ties))
        near = n_abc if self.ties else digamma(self.k)
        return float((near - n_ab - n_bc + n_b).mean())


class MesnerShalizi(FrenzelPompe):
    """Nearest neighbours where values may repeat: mixtures of atoms and continua, categories, rounded numbers.

        I(A;C|B) = < psi(k_i) - psi(n_AB) - psi(n_BC) + psi(n_B) >

    n_R counts the other samples no farther than the k-th neighbour in A + B + C, and k_i those in A + B + C itself,
    more than k where distances tie. Parameters and error are those of `FrenzelPompe`; unlike in the paper, nothing is
    clipped at 0. Source: Mesner and Shalizi, IEEE Trans. Inf. Theory 67, 464 (2021), arXiv:1912.03387.
    """

    ties = True


def _reach(distance: FloatArray, closed: bool) -> FloatArray:
    """Return how far others may be: equal distances differ by rounding once columns are scaled."""
    return distance * (1 + TIE) if closed else np.nextafter(distance, -1.0)


def counts_by_tree(a: FloatArray, b: FloatArray, c: FloatArray, k: int, closed: bool = False) -> list[NDArray]:
    """Return n_AB, n_BC, n_B and n_ABC of every sample, (n,) each, by trees: others nearer than the k-th neighbour.

    Those at its very distance count, too, if `closed`.
    """
    ab, bc, abc = np.hstack([a, b]), np.hstack([b, c]), np.hstack([a, b, c])
    radius = _reach(cKDTree(abc).query(abc, k + 1, p=np.inf)[0][:, k], closed)

    def count(x: FloatArray) -> NDArray:
        if x.shape[1] == 0:
            return np.full(len(x), len(x) - 1)
        return cKDTree(x).query_ball_point(x, radius, p=np.inf, return_length=True) - 1

    return [count(x) for x in (ab, bc, b, abc)]


def counts_by_distances(a: FloatArray, b: FloatArray, c: FloatArray, k: int, closed: bool = False) -> list[NDArray]:
    """Return what `counts_by_tree` does, by blocks of all distances."""
    n, out = len(a), np.empty((4, len(a)), int)
    step = max(1, BLOCK_BYTES // (8 * n))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        d_b = cdist(b[rows], b, "chebyshev") if b.shape[1] else np.full((len(a[rows]), n), -1.0)
        d_ab = np.maximum(cdist(a[rows], a, "chebyshev"), d_b)
        d_bc = np.maximum(cdist(c[rows], c, "chebyshev"), d_b)
        d_abc = np.maximum(d_ab, d_bc)
        radius = _reach(np.partition(d_abc, k, axis=1)[:, k, None], closed)  # entry 0 is the sample itself
        out[:, rows] = [(distance <= radius).sum(axis=1) - 1 for distance in (d_ab, d_bc, d_b, d_abc)]
    return list(out)
