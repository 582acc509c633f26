"""The base of the neural estimators: parameters, cross-fitting, training, and the mean of two averages.

A law with d parameters fitted to n samples is too good on them by d/2n nats and too bad on others by as much (Akaike
1974), so the held-out average is too low, the in-sample one too high, and to first order their mean is neither. The
same holds for a parameter shrunk by a factor s towards 0, which early stopping does: with theta its true value in units
of its error, the mean of the two is off by (1 - s) [s - (1 - s) theta^2] / 2n, which is 0 at the best s,
theta^2 / (1 + theta^2), and never above 1/8n, where the held-out average alone is off by -1/2n at s = 1.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from ..denoisers.training import TrainingConfig, minimise
from ..errors import Limits
from ..estimate import Estimate
from ..lattice import FloatArray
from .base import Estimator, Sample, mean_estimate
from .heads import FLAT
from .networks import Rows, torch_generator

BETWEEN = 12**-0.5  # error of half-way, in units of the gap: the truth may be anywhere between
VALIDATION = 0.15  # share of the samples of a fit that training is stopped by
Loss = Callable[..., Tensor]


class Learned(NamedTuple):
    """The log ratio as a function of samples, and which rows of the training samples its weights were fitted to.

    The function is also told whether the samples are those of the fit, for corrections that differ, as in `laws`.
    `half` is what half of those rows teach, its own rows numbered among them, where more samples may tell more.
    """

    log_ratio: Callable[[Sample, bool], FloatArray]
    fitted: NDArray[np.intp]
    half: "Learned | None" = None


@dataclass(eq=False)
class Neural(Estimator):
    """Base of the neural estimators; a subclass writes `_learn`.

    Args:
        folds: K of the cross-fitting.
        width, depth: of the networks' hidden layers.
        steps, batch_size, learning_rate: of their training, at most; it stops early.
        device: of torch, such as "cuda"; "auto" is the GPU where there is one; None the CPU.

    Attributes:
        held_out_, in_sample_: averages of the log ratio over samples that were held out of its training, and over
            those it was fitted to; their difference is the overfitting.
        gain_to_come_: what all of the samples tell beyond half of them, the lower median of the folds where it is
            measured; it is part of the error, and 0 where it is not measured.
    """

    limits: ClassVar[Limits] = {
        **Estimator.limits,
        "width": (1, None),
        "depth": (0, None),
        "steps": (0, None),
        "batch_size": (1, None),
        "learning_rate": (0.0, 1e3),
    }
    folds: int = 2
    _: KW_ONLY
    width: int = 64
    depth: int = 2
    steps: int = 1000
    batch_size: int = 512
    learning_rate: float = 1e-3
    device: str | torch.device | None = None

    def _train(
        self,
        net: nn.Module,
        loss: Loss,
        fit: Sequence[Tensor],
        valid: Sequence[Tensor],
        rng: Generator,
        *,
        score: Loss | None = None,
        weight_decay: float = 0.0,
    ) -> float:
        """Minimise loss(net, *batch) over batches of rows of `fit`; averaged weights of least score(net, *valid) stay.

        Those before the first step count too: a network that starts at 0 stays there unless it can do better. Where
        `valid` is empty, the averaged weights of the last step stay. The score is the loss itself, unless given.

        Returns by how much the score fell in the second half of the steps where they ran out, else 0.
        """
        n, size, stop = len(fit[0]), min(self.batch_size, len(fit[0])), len(valid[0]) > 0
        seed, judge = torch_generator(rng), score or loss

        def batches() -> Iterator[Tensor]:
            while True:
                order = torch.randperm(n, generator=seed, device="cpu")
                yield from order[: n - n % size].to(fit[0].device, non_blocking=True).split(size)

        rows = batches()

        def batch_loss() -> Tensor:
            chosen = next(rows)
            return loss(net, *(x[chosen] for x in fit))

        def halve() -> int:
            nonlocal size, rows
            size //= 2
            rows = batches() if size else rows
            return size

        config = TrainingConfig(
            steps=self.steps,
            learning_rate=self.learning_rate,
            weight_decay=weight_decay,
            warmup=20,
            gradient_norm=None,
            ema=0.97,
            ema_delay=9,
            validate_every=25,
            keep="best" if stop else "last",
            score_first=stop,
            patience=8 if stop else None,
        )
        steps, scores = 0, dict[int, float]()
        judged: Any = (lambda one: float(judge(one, *valid))) if stop else None
        for step in minimise(net, batch_loss, config, score=judged, scores=scores, halve=halve):
            steps = step.number
        net.requires_grad_(False)
        least = f", least loss {min(scores.values()):.4g}" if scores else ""
        self._tell(f"a network is trained, {steps} steps{least}")
        early = [value for step, value in scores.items() if step <= steps / 2]
        return min(early) - min(scores.values()) if early and steps == self.steps else 0.0

    def _learn(self, train: Sample, rng: Generator) -> Learned:
        raise NotImplementedError(f"{type(self).__name__} must define _learn(train, rng)")

    def _combine(self, held_out: FloatArray, in_sample: FloatArray) -> FloatArray:
        """Return the values to average, from (n,) held-out and in-sample log ratios, the latter NaN where none."""
        return held_out

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: Generator) -> Estimate:
        fold, n = self._fold(sample, groups, rng), len(sample)
        gains = []
        held_out, total, times = np.empty(n), np.zeros(n), np.zeros(n)
        for k in range(self.folds):
            rows, others = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
            train, test = sample.take(others), sample.take(rows)
            learned = self._learn(train, rng)
            fitted = others[learned.fitted]
            held_out[rows] = outside = learned.log_ratio(test, False)
            within = learned.log_ratio(train.take(learned.fitted), True)
            total[fitted] += within
            times[fitted] += 1
            if learned.half is not None:
                less, seen, _ = learned.half
                gain = (within[seen] - less(train.take(learned.fitted[seen]), True)).mean()
                gains.append(0.5 * float(gain + (outside - less(test, False)).mean()))
            self._tell(f"fold {k + 1} of {self.folds} is fitted")
        self.gain_to_come_ = sorted(gains or [0.0], key=abs)[max(len(gains) - 1, 0) // 2]
        used = times > 0
        in_sample = np.full(n, np.nan)
        in_sample[used] = total[used] / times[used]
        name = f"{type(self).__name__}, {self.folds}-fold cross-fitted"
        self.held_out_ = mean_estimate(held_out, groups, f"{name}, held out")
        _, inside = np.unique(groups[used], return_inverse=True)
        self.in_sample_ = mean_estimate(in_sample[used], inside, f"{name}, in sample")
        self.log_ratios_ = self._combine(held_out, in_sample)
        return mean_estimate(self.log_ratios_, groups, name)


def middle(held_out: FloatArray, in_sample: FloatArray) -> FloatArray:
    """Return (n, ...) values whose mean is half-way between the two averages, paired sample by sample.

    In-sample values are NaN for samples that no law was fitted to.
    """
    used = np.isfinite(in_sample)
    values = held_out.copy()
    values[used] += 0.5 / used.mean() * (in_sample[used] - held_out[used])
    return values


def independent_columns(x: FloatArray) -> int:
    """Return how many of these columns, of mean 0 and variance 1, are independent, as far as their samples show."""
    rank = int((np.linalg.eigvalsh(x.T @ x / len(x)) > FLAT).sum())
    if rank >= len(x) - 1:  # more samples would show more
        rank = np.unique(x[:, np.ptp(x, axis=0) > 0], axis=1).shape[1]
    return rank


def split(n: int, rng: Generator) -> Rows:
    """Return the rows to fit and those to validate on, the latter a share VALIDATION of all, at least one each."""
    order = rng.permutation(n)
    n_valid = min(max(1, round(VALIDATION * n)), n - 1)
    return np.sort(order[n_valid:]), np.sort(order[:n_valid])
