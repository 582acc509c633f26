"""Laws of tables, whose information is known: numbers, categories, rare classes, atoms, heavy tails, functions.

A row holds A, one column, then B, then C. The pointwise log ratio log p(a|b,c)/p(a|b) of every law is a formula, and so
is its mean I(A;C|B), up to quadratures.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr, log_ndtr, logsumexp, ndtr, xlogy
from scipy.stats import multivariate_t, norm, t

from ..lattice import FloatArray, Rng, Tripartition

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(200)
WEIGHTS = WEIGHTS / WEIGHTS.sum()  # of averages over one standard normal variable


class Table(ABC):
    """A law of rows: `draw` them, compute their `log_ratios` and the mean of those, `information`."""

    data: ClassVar[str] = "real"
    n_b: int = 0
    n_c: int = 1

    @property
    def parts(self) -> Tripartition:
        """Which columns are A, B and C."""
        return Tripartition.from_sizes(1, self.n_b, self.n_c)

    def sample(self, n_samples: int, rng: Rng = None) -> FloatArray:
        """Return (n_samples, 1 + n_b + n_c)."""
        return self.draw(n_samples, np.random.default_rng(rng))

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Return n rows."""

    @abstractmethod
    def log_ratios(self, x: FloatArray) -> FloatArray:
        """Return log p(a|b,c) - log p(a|b) of rows, (n,)."""

    @cached_property
    @abstractmethod
    def information(self) -> float:
        """I(A;C|B) in nats."""


@dataclass(frozen=True)
class Numbers(Table):
    """Gaussian columns with one common factor, half of them in B, half in C; A is their sum and noise.

    Args:
        n_columns: of B and C together, correlated by 1/2 with one another.
        information: I(A;C|B), which decides the noise.
        copies: how often every column is there.
        constants: number of columns of 1/10 beside those of B, and of C.
    """

    n_columns: int
    information: float = 0.3
    copies: int = 1
    constants: int = 0

    @property
    def n_b(self) -> int:  # type: ignore[override]
        return self.copies * (self.n_columns // 2) + self.constants

    @property
    def n_c(self) -> int:  # type: ignore[override]
        return self.copies * (self.n_columns - self.n_columns // 2) + self.constants

    @property
    def _given_b(self) -> tuple[float, float]:
        """Slope of sum(c) on sum(b), and the variance of the former given B."""
        p, q = self.n_columns // 2, self.n_columns - self.n_columns // 2
        slope = q / (1 + p)  # the common factor's mean given B is sum(b) sqrt(2)/(1 + p)
        return slope, 0.5 * q + 0.5 * q**2 / (1 + p)

    @property
    def _noise(self) -> float:
        return float(self._given_b[1] / np.expm1(2 * self.information))

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        x = np.sqrt(0.5) * (rng.standard_normal((n, self.n_columns)) + rng.standard_normal((n, 1)))
        a = x.sum(axis=1, keepdims=True) + np.sqrt(self._noise) * rng.standard_normal((n, 1))
        constant = np.full((n, self.constants), 0.1)
        b, c = np.split(x, [self.n_columns // 2], axis=1)
        return np.hstack([a, *[b] * self.copies, constant, *[c] * self.copies, constant])

    def log_ratios(self, x: FloatArray) -> FloatArray:
        b, c = x[:, 1 : 1 + self.n_columns // 2].sum(axis=1), x[:, 1 + self.n_b :]
        c = c[:, : self.n_columns - self.n_columns // 2].sum(axis=1)
        slope, variance = self._given_b
        near = (x[:, 0] - b - c) ** 2 / self._noise
        far = (x[:, 0] - (1 + slope) * b) ** 2 / (variance + self._noise)
        return self.information + 0.5 * (far - near)


@dataclass(frozen=True)
class Categories(Table):
    """A of four values in one of many contexts, whose one-hot codes are C.

    Args:
        n_c: number of contexts, equally likely.
        seed: of the laws p(a|context), drawn from a Dirichlet distribution.
    """

    n_c: int
    seed: int = 5

    @cached_property
    def laws(self) -> FloatArray:
        """p(a|context), (n_c, 4)."""
        return np.random.default_rng(self.seed).dirichlet(np.full(4, 0.3), self.n_c)

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        z = rng.integers(self.n_c, size=n)
        a = (self.laws[z].cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
        return np.c_[np.minimum(a, 3), np.eye(self.n_c)[z]]

    def log_ratios(self, x: FloatArray) -> FloatArray:
        a = x[:, 0].astype(int)
        return np.log(self.laws[x[:, 1:].argmax(axis=1), a] / self.laws.mean(axis=0)[a])

    @cached_property
    def information(self) -> float:
        return float(entr(self.laws.mean(axis=0)).sum() - entr(self.laws).sum(axis=1).mean())


@dataclass(frozen=True)
class RareClass(Table):
    """A is 1 in few rows, where the first column of C is larger by `shift`; the others are noise.

    Args:
        n_c: Gaussian columns.
        share: P(A = 1).
    """

    n_c: int
    share: float = 0.01
    shift: float = 2.0

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        a = (rng.random((n, 1)) < self.share).astype(float)
        c = rng.standard_normal((n, self.n_c))
        c[:, :1] += self.shift * a
        return np.hstack([a, c])

    def log_ratios(self, x: FloatArray) -> FloatArray:
        return self._ratio(x[:, 0], x[:, 1])

    def _ratio(self, a: FloatArray, c: FloatArray) -> FloatArray:
        """Return log p(c|a)/p(c)."""
        p = self.share
        likelihood = self.shift * (c - self.shift / 2)
        return a * likelihood - np.logaddexp(np.log1p(-p), np.log(p) + likelihood)

    @cached_property
    def information(self) -> float:
        rare, common = self._ratio(np.ones(200), NODES + self.shift), self._ratio(np.zeros(200), NODES)
        return float(WEIGHTS @ (self.share * rare + (1 - self.share) * common))


@dataclass(frozen=True)
class Pair(Table):
    """A Gaussian pair of this correlation, of whose first variable A is what `seen` leaves."""

    correlation: float = 0.7

    def seen(self, a: FloatArray) -> FloatArray:
        """Return the values A of standard normal ones."""
        return a

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        a, z = rng.standard_normal((2, n))
        return np.c_[self.seen(a), self.correlation * a + np.sqrt(1 - self.correlation**2) * z]

    def gaussian(self, a: FloatArray, c: FloatArray) -> FloatArray:
        """Return log p(a|c)/p(a) of the Gaussian pair."""
        left = 1 - self.correlation**2
        ratios: FloatArray = 0.5 * (a**2 - (a - self.correlation * c) ** 2 / left - np.log(left))
        return ratios


class Rectified(Pair):
    """max(a, 0): half of A is an atom at 0."""

    def seen(self, a: FloatArray) -> FloatArray:
        return np.maximum(a, 0.0)

    def log_ratios(self, x: FloatArray) -> FloatArray:
        a, c = x.T
        below = log_ndtr(-self.correlation * c / np.sqrt(1 - self.correlation**2))
        return np.where(a > 0, self.gaussian(a, c), np.log(2) + below)

    @cached_property
    def information(self) -> float:
        p = ndtr(-self.correlation * NODES / np.sqrt(1 - self.correlation**2))
        return float(-0.25 * np.log1p(-(self.correlation**2)) + WEIGHTS @ xlogy(p, 2 * p))


class EightBit(Pair):
    """128 + 64 a, rounded and clipped to 0..255, so that a few samples in a hundred are at the ends."""

    def seen(self, a: FloatArray) -> FloatArray:
        return np.clip(np.round(128 + 64 * a), 0, 255)

    def log_ratios(self, x: FloatArray) -> FloatArray:
        level = x[:, 0].astype(int)
        return np.log(self._given(x[:, 1])[np.arange(len(x)), level] / self._marginal[level])

    def _given(self, c: FloatArray, correlation: float | None = None) -> FloatArray:
        """Return P(level | c), (n, 256)."""
        rho = self.correlation if correlation is None else correlation
        edges = (np.arange(0.5, 255) - 128) / 64
        below = ndtr((edges - rho * c[:, None]) / np.sqrt(1 - rho**2))
        return np.diff(below, axis=1, prepend=0.0, append=1.0)

    @cached_property
    def _marginal(self) -> FloatArray:
        return self._given(np.zeros(1), 0.0)[0]

    @cached_property
    def information(self) -> float:
        return float(entr(self._marginal).sum() - WEIGHTS @ entr(self._given(NODES)).sum(axis=1))


class Lognormal(Pair):
    """Both variables are exponentials of twice the Gaussian ones."""

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        return np.exp(2 * super().draw(n, rng))

    def log_ratios(self, x: FloatArray) -> FloatArray:
        return self.gaussian(*np.log(x.T) / 2)

    @cached_property
    def information(self) -> float:
        return float(-0.5 * np.log1p(-(self.correlation**2)))


@dataclass(frozen=True)
class Student(Pair):
    """Both variables are the Gaussian ones over the same random scale, which makes them Student's t.

    Args:
        freedom: degrees of freedom.
    """

    freedom: float = 2.0

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        return super().draw(n, rng) / np.sqrt(rng.chisquare(self.freedom, (n, 1)) / self.freedom)

    @property
    def _joint(self) -> Any:
        return multivariate_t(shape=[[1.0, self.correlation], [self.correlation, 1.0]], df=self.freedom)

    def log_ratios(self, x: FloatArray) -> FloatArray:
        ratios: FloatArray = self._joint.logpdf(x) - t.logpdf(x, self.freedom).sum(axis=1)
        return ratios

    @cached_property
    def information(self) -> float:
        return float(2 * t.entropy(self.freedom) - self._joint.entropy())


@dataclass(frozen=True, kw_only=True)
class Function(Table):
    """A is a function of B and C, whose columns are independent and standard normal, plus `noise` times such a column.

    Given B, A is a mixture of Gaussians. I(A;C|B) = h(A|B) - h(noise), an integral over a and the first column of B.

    Args:
        mean: E(a|b,c), (n,), of b (n_b, n) and c (n_c, n).
        given_b: of b, means, and variances beside the noise, of the Gaussians: shapes that broadcast to (n, k).
        weights: of the Gaussians, (k,).
    """

    n_b: int = 0
    n_c: int = 1
    mean: Callable[[FloatArray, FloatArray], FloatArray]
    given_b: Callable[[FloatArray], tuple[ArrayLike, ArrayLike]]
    weights: ArrayLike = (1.0,)
    noise: float = 0.5

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        x = rng.standard_normal((1 + self.n_b + self.n_c, n))
        x[0] = self.mean(x[1 : 1 + self.n_b], x[1 + self.n_b :]) + self.noise * x[0]
        return x.T

    def log_ratios(self, x: FloatArray) -> FloatArray:
        a, b, c = np.split(x.T, [1, 1 + self.n_b])
        near = norm.logpdf(a[0], self.mean(b, c), self.noise)
        return near - self._log_density(a.T, *self._mixture(b))[:, 0]

    def _mixture(self, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return means and variances of p(a|b), (n or 1, k or 1)."""
        means, variances = map(np.atleast_2d, self.given_b(b))
        return means, variances + self.noise**2

    def _log_density(self, a: FloatArray, means: FloatArray, variances: FloatArray) -> FloatArray:
        """Return log p(a|b) of values (n, m)."""
        log_p = norm.logpdf(a[:, :, None], means[:, None], variances[:, None] ** 0.5)
        return logsumexp(log_p, axis=2, b=np.asarray(self.weights))

    @cached_property
    def information(self) -> float:
        means, variances = self._mixture(np.tile(NODES, (self.n_b, 1)))
        width = (np.asarray(self.weights) * (variances + means**2)).sum(axis=1, keepdims=True) ** 0.5
        a = width * np.linspace(-40, 40, 8001)
        log_p = self._log_density(a, means, variances)
        entropy = np.trapezoid(-np.exp(log_p) * log_p, a, axis=1)
        return float(WEIGHTS @ np.broadcast_to(entropy, NODES.shape) - norm.entropy(scale=self.noise))


class Repeated(Function):
    """A function of one column of B alone; C is that column and half as much noise, and tells nothing more."""

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        x = super().draw(n, rng)
        x[:, 2] = x[:, 1] + x[:, 2] / 2
        return x


WAVE = Function(mean=lambda b, c: np.cos(4 * c[0]), given_b=lambda b: (np.cos(4 * NODES), 0.0), weights=WEIGHTS)
SIGNS = Function(
    n_b=1, mean=lambda b, c: np.sign(b[0] * c[0]), given_b=lambda b: ([-1.0, 1.0], 0.0), weights=(0.5, 0.5)
)
PRODUCT = Function(n_b=1, mean=lambda b, c: b[0] * c[0], given_b=lambda b: (0.0, b[0][:, None] ** 2), noise=1.0)
TWO_OF_SIX = Function(n_b=6, n_c=6, mean=lambda b, c: c[0] * c[1], given_b=lambda b: (0.0, NODES**2), weights=WEIGHTS)
REPEATED = Repeated(n_b=1, mean=lambda b, c: np.cos(4 * b[0]), given_b=lambda b: (np.cos(4 * b[0])[:, None], 0.0))
