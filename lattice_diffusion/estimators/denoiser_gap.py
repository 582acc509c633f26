"""Conditional mutual information from two denoisers, one that sees C and one that does not (I-MMSE, de Bruijn).

Extra Gaussian noise of variance u on A alone, a_u = a + sqrt(u) z, takes information away at the rate
    - dI(A_u;C|B)/du = D(u)^2 / 2,   D(u)^2 = E |m_bc - m_b|^2 / u^2,   m_R = E[a | a_u, x_R],
so that with gamma = 1/u (Guo, Shamai, Verdu 2005)
    I(A;C|B) = 1/2 int_0^inf d gamma E |m_bc - m_b|^2                      orthogonal form
             = 1/2 int_0^inf d gamma { E |a - m_b|^2 - E |a - m_bc|^2 }    gap of the mean squared errors.
For the exact denoisers the two are one. Learned ones err by e_b and e_bc: the first is too large by about
e_b^2 + e_bc^2, the second off by e_b^2 - e_bc^2, so that their distance says how well the denoisers were learned.
"""

import math
import warnings
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import InputError, Limits, check_memory
from ..estimate import Estimate
from ..lattice import FloatArray
from .base import Sample, mean_estimate
from .networks import MLP, Rows, by_chunks, tensor
from .neural import Neural, split

FEWEST, MOST = 1e-2, 1e3  # range of gamma, in units of 1/variance of a and 1/variance left by least squares
PER_COLUMN, FEWEST_COLUMNS = 10, 5  # samples that the fits need: with 100 columns and 1,000 the answer is 6 errors off
DISAGREEMENT = 4.0  # standard errors
RIDGE = 1e-6
COPIES = 8  # noise levels drawn for each sample


class DenoiserGapWarning(UserWarning):
    """The two forms differ by more than their errors: the denoisers were not learned well enough."""


@dataclass(eq=False)
class DenoiserGap(Neural):
    """1/2 int of the gap between two denoisers over the noise on A; real a only.

    Each denoiser is the linear one plus a network that starts at 0, one for all u. Both forms are cross-fitted on
    held-out samples; `estimate()` is the gap of the mean squared errors. The parameters that are not listed here are
    those of `Neural`.

    Args:
        levels: points of the integral over log gamma.

    Attributes:
        mse_gap_, orthogonal_: the two forms.
        u_, decay_, decay_stderr_: variances of the extra noise, (levels,), in units of those of `a`, with -dI/du by
            the orthogonal form and its error, which takes in how far the other form is, or may be, from it.
        decay_sound_: (levels,), False where that error is more than half of the value, mostly at small u: there
            `decay_` is what the denoisers err, not what they tell, and reading it warns.
    """

    limits: ClassVar[Limits] = {**Neural.limits, "levels": (3, None)}
    _: KW_ONLY
    levels: int = 24

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: Generator) -> Estimate:
        check_memory("levels", 32 * len(sample) * self.levels, "take fewer levels")
        sample.check_continuous("DenoiserGap", "a")
        n_columns = sample.bc.shape[1]
        if len(sample) < (need := PER_COLUMN * (n_columns + FEWEST_COLUMNS)):
            raise InputError(
                f"DenoiserGap needs at least {need:,} samples for {n_columns} columns of b and c, got {len(sample):,}; "
                "draw more, or leave columns out"
            )
        fold = self._fold(sample, groups, rng)
        scale = sample.a.std(axis=0).mean()
        moved = sample.standardised()
        sample = replace(moved, a=moved.a * (sample.a.std(axis=0) / scale))
        left = sample.a - sample.bc @ _slope(sample.a, sample.bc)
        highest = MOST / float(left.var(axis=0).min())
        log_gamma = np.linspace(math.log(FEWEST), math.log(highest), self.levels)
        squares, gaps = np.empty((2, len(sample), self.levels))
        for k in range(self.folds):
            rows = np.flatnonzero(fold == k)
            part, rest = sample.take(rows), sample.take(np.flatnonzero(fold != k))
            chosen = split(len(rest), rng)
            near, far = (self._denoiser(rest.a, x, log_gamma, chosen, rng) for x in (rest.b, rest.bc))
            a = part.a
            for i, level in enumerate(log_gamma):
                noisy = a + math.exp(-0.5 * level) * rng.standard_normal(a.shape)
                m_b, m_bc = near.mean(noisy, part.b, level), far.mean(noisy, part.bc, level)
                squares[rows, i] = ((m_bc - m_b) ** 2).sum(axis=1)
                gaps[rows, i] = ((a - m_b) ** 2 - (a - m_bc) ** 2).sum(axis=1)
        gamma = np.exp(log_gamma)
        weights = 0.5 * gamma * np.gradient(log_gamma)
        weights[[0, -1]] += 0.5 * gamma[[0, -1]] - 0.25 * gamma[[0, -1]] * np.diff(log_gamma)[0]  # tails of 1 and u^2
        orthogonal, self.log_ratios_ = squares @ weights, gaps @ weights
        self.u_ = scale**2 / gamma
        rates = 0.5 * (gamma / scale) ** 2
        decays, distances = (
            [mean_estimate(column, groups, "rate") for column in (rates * x).T] for x in (squares, squares - gaps)
        )
        self._decay = np.array([one.value for one in decays])
        apart = np.hypot([one.value for one in distances], [one.stderr for one in distances])
        self.decay_stderr_ = np.hypot([one.stderr for one in decays], apart)
        self.decay_sound_ = self.decay_stderr_ <= 0.5 * self._decay
        self.orthogonal_ = mean_estimate(orthogonal, groups, "orthogonal form, held out")
        self.mse_gap_ = mean_estimate(self.log_ratios_, groups, "gap of the mean squared errors, held out")
        difference = mean_estimate(orthogonal - self.log_ratios_, groups, "difference")
        if abs(difference.z_score(0.0)) > DISAGREEMENT:
            warnings.warn(
                f"the two forms of DenoiserGap disagree, {self.orthogonal_.value:.4g} (orthogonal) and "
                f"{self.mse_gap_.value:.4g} (mean squared errors), by {difference.z_score(0.0):.1f} errors; "
                "draw more samples or train longer",
                DenoiserGapWarning,
                stacklevel=3,
            )
        return self.mse_gap_

    @property
    def decay_(self) -> FloatArray:
        """-dI/du, (levels,), with a `DenoiserGapWarning` where it is not sound."""
        if not self.decay_sound_.all():
            lost = self.u_[~self.decay_sound_]
            warnings.warn(
                f"decay_ cannot be trusted at {len(lost)} of {self.levels} noise levels, u from {lost.min():.2g} to "
                f"{lost.max():.2g}, where the denoisers err as much as they tell; leave those out by decay_sound_",
                DenoiserGapWarning,
                stacklevel=2,
            )
        return self._decay

    def _denoiser(self, a: FloatArray, x: FloatArray, log_gamma: FloatArray, rows: Rows, rng: Generator) -> "_Denoiser":
        """Train a denoiser of a (n, d_A) that sees x (n, d_x)."""
        n_x, d_a = x.shape[1], a.shape[1]
        net = MLP(n_x + 2 * d_a + 1, d_a, self.width, self.depth, rng, zero=True).to(self._where)
        made = _Denoiser(net, a[rows[0]], x[rows[0]], log_gamma, self._where)

        def copies(part: NDArray[np.intp]) -> list[Tensor]:
            many = np.tile(part, COPIES)
            level = rng.uniform(log_gamma[0], log_gamma[-1], (len(many), 1))
            return [tensor(v, self._where) for v in (a[many], x[many], level, rng.standard_normal((len(many), d_a)))]

        def loss(net: nn.Module, a: Tensor, x: Tensor, level: Tensor, z: Tensor) -> Tensor:
            noisy = a + (-0.5 * level).exp() * z
            return (level.exp() * (a - made(net, noisy, x, level)) ** 2).sum(dim=1).mean()

        fitted, validated = map(copies, rows)
        self._train(net, loss, fitted, validated, rng)
        return made


class _Denoiser:
    """E[a | a_u, x]: the linear answer, (lin + gamma v a_u)/(1 + gamma v), plus sqrt(v/(1 + gamma v)) net."""

    def __init__(
        self, net: nn.Module, a: FloatArray, x: FloatArray, log_gamma: FloatArray, device: str | torch.device | None
    ) -> None:
        self.net, self.device, self.middle = net, device, float(log_gamma.mean())
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale[scale == 0] = 1.0
        slope = _slope(a, (x - mean) / scale)
        left = a - a.mean(axis=0) - (x - mean) / scale @ slope
        self.x_mean, self.x_scale, self.slope = (tensor(array, device) for array in (mean, scale, slope))
        self.constant, self.variance = (tensor(array, device) for array in (a.mean(axis=0), left.var(axis=0)))

    def __call__(self, net: nn.Module, noisy: Tensor, x: Tensor, level: Tensor) -> Tensor:
        z, gamma, v = (x - self.x_mean) / self.x_scale, level.exp(), self.variance
        linear = self.constant + z @ self.slope
        innovation = (noisy - linear) / (v + 1 / gamma).sqrt()
        spread = (1 - v).clamp(min=1e-2).sqrt()
        seen = torch.cat([z, linear / spread, innovation, (level - self.middle) / 3], dim=1)
        return linear + gamma * v / (1 + gamma * v) * (noisy - linear) + (v / (1 + gamma * v)).sqrt() * net(seen)

    def mean(self, noisy: FloatArray, x: FloatArray, level: float) -> FloatArray:
        """Return E[a | a_u, x] at one level, log gamma."""

        def function(noisy: Tensor, x: Tensor) -> Tensor:
            return self(self.net, noisy, x, x.new_full((len(x), 1), level))

        return by_chunks(function, tensor(noisy, self.device), tensor(x, self.device)).cpu().double().numpy()


def _slope(a: FloatArray, z: FloatArray) -> FloatArray:
    """Return the slopes of least squares with a trace of ridge, (d_x, d_a)."""
    return np.linalg.solve(z.T @ z + RIDGE * len(z) * np.eye(z.shape[1]), z.T @ (a - a.mean(axis=0)))
