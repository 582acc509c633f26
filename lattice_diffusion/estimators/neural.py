"""What the neural estimators share: cross-fitting, and what held-out and in-sample averages say together.

A law with d parameters fitted to n samples is too good on them by d/2n nats and too bad on others by as much (Akaike
1974), so the held-out average is too low, the in-sample one too high, and to first order their mean is neither. The
same holds for a parameter shrunk by a factor s towards 0, which early stopping does: with theta its true value in units
of its error, the mean of the two is off by (1 - s) [s - (1 - s) theta^2] / 2n, which is 0 at the best s,
theta^2 / (1 + theta^2), and never above 1/8n, where the held-out average alone is off by -1/2n at s = 1.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import Limits
from ..estimate import Estimate
from .base import Estimator, FloatArray, mean_estimate
from .sample import Sample

# of what networks and their training are made of
LIMITS: Limits = {
    "radius": (0, None),
    "width": (1, None),
    "depth": (0, None),
    "steps": (0, None),
    "batch_size": (1, None),
    "learning_rate": (0.0, 1e3),
    "weight_decay": (0.0, 1e3),
}
LogRatio = Callable[[Sample, bool], FloatArray]


class Learned(NamedTuple):
    """The log ratio as a function of samples, and which rows of the training samples its weights were fitted to.

    The function is also told whether the samples are those of the fit, for corrections that differ, as in `terms`.
    """

    log_ratio: LogRatio
    fitted: NDArray[np.intp]


class Neural(Estimator):
    """Base of the neural estimators; a subclass writes `_learn`.

    Attributes:
        held_out_, in_sample_: averages of the log ratio over samples that were held out of its training, and over
            those it was fitted to; their difference is the overfitting.
    """

    limits: ClassVar[Limits] = {**Estimator.limits, **LIMITS}
    held_out_: Estimate
    in_sample_: Estimate

    def _learn(self, train: Sample, rng: np.random.Generator) -> Learned:
        raise NotImplementedError(f"{type(self).__name__} must define _learn(train, rng)")

    def _combine(self, held_out: FloatArray, in_sample: FloatArray) -> FloatArray:
        """What is averaged, of (n,) held-out and in-sample log ratios, the latter NaN where there are none."""
        return held_out

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        fold = self._fold(groups, rng)
        held_out, total, times = np.empty(len(sample)), np.zeros(len(sample)), np.zeros(len(sample))
        for k in range(self.folds):
            rows, others = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
            learned = self._learn(sample.take(others), rng)
            fitted = others[learned.fitted]
            held_out[rows] = learned.log_ratio(sample.take(rows), False)
            total[fitted] += learned.log_ratio(sample.take(fitted), True)
            times[fitted] += 1
        used = times > 0
        in_sample = np.full(len(sample), np.nan)
        in_sample[used] = total[used] / times[used]
        name = f"{type(self).__name__}, {self.folds}-fold cross-fitted"
        self.held_out_ = mean_estimate(held_out, groups, f"{name}, held out")
        _, inside = np.unique(groups[used], return_inverse=True)
        self.in_sample_ = mean_estimate(in_sample[used], inside, f"{name}, in sample")
        self.log_ratios_ = self._combine(held_out, in_sample)
        return mean_estimate(self.log_ratios_, groups, name)


def middle(held_out: FloatArray, in_sample: FloatArray) -> FloatArray:
    """(n,) values whose mean is half-way between the held-out and the in-sample average, paired sample by sample."""
    used = np.isfinite(in_sample)
    values = held_out.copy()
    values[used] += 0.5 / used.mean() * (in_sample[used] - held_out[used])
    return values
