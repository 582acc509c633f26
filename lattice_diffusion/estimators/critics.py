"""Conditional mutual information as a difference of two, I(A;BC) - I(A;B), each from a critic T(a, z).

A critic tells pairs (a_i, z_i) from pairs (a_j, z_i) of different samples; at its best T = log p(a|z)/p(a) up to a
constant, which each method fixes in its own way. The difference needs no samples of p(a|b), but both terms are as large
as I(A;B) or larger, and so are their errors, which need not cancel. Critics trained on n samples are bounded by
-log n < T < log n, since n samples tell no more.

    ClassifierRatio  cross-entropy of the two classes; I = E T
    MINE             Donsker and Varadhan: I = max E T - log E' e^T, E' over the different pairs, gradients corrected
                     by a moving average (Belghazi et al. 2018, arXiv:1801.04062)
    InfoNCE          one right pair among a batch of K (van den Oord et al. 2018, arXiv:1807.03748); never above log K
"""

import math
from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from ..estimate import Estimate
from ..lattice import FloatArray
from .base import Sample, mean_estimate, standardising, warn_at_cap
from .networks import CHUNK, MLP, tensor
from .neural import VALIDATION, Learned, Loss, Neural, independent_columns, split

MOVING_AVERAGE = 0.99  # decay of MINE's average of e^T


@dataclass(eq=False)
class Difference(Neural):
    """Base of the three: two critics, and where they are evaluated.

    The parameters that are not listed here are those of `Neural`.

    Where d columns of B and C are independent, m validation samples cannot tell a gain of d/2m nats from chance (Wilks
    1938). Held out, it is part of the error: critics of many columns are stopped before they have learned all there is.

    Args:
        evaluate: "held_out", cross-fitted with early stopping; "in_sample", on the very samples the critics were
            trained on for all `steps`, as in arXiv:2508.06614, which overfitting makes larger.
    """

    choices: ClassVar = {"evaluate": ("held_out", "in_sample")}
    _: KW_ONLY
    evaluate: Literal["held_out", "in_sample"] = "held_out"
    steps: int = 2000

    @abstractmethod
    def _critic(self, d_a: int, d_z: int, n: int, rng: Generator) -> nn.Module:
        """Return T of a (n, d_a) and z (n, d_z), for n samples of its training."""

    @abstractmethod
    def _score(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        """Return the loss of all pairs, a number."""

    @abstractmethod
    def _values(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        """Return (n,), whose mean is I(A;Z)."""

    def _loss(self) -> Loss:
        """Return the loss of a batch, which may keep a state of its own."""
        return self._score

    def _other(self, a: Tensor) -> Tensor:
        """Return the values of other samples, far away in the order."""
        return a.roll(max(1, len(a) // 2), dims=0)

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: Generator) -> Estimate:
        if self.evaluate == "held_out":
            answer, n_valid = super()._estimate(sample, groups, rng), VALIDATION * (1 - 1 / self.folds) * len(sample)
            d = math.prod(independent_columns(standardising(x)(x)) for x in (sample.coded_a(), sample.bc))
            return replace(answer, stderr=math.hypot(answer.stderr, 0.5 * d / n_valid))
        self.log_ratios_ = self._learn(sample, rng).log_ratio(sample, True)
        self.in_sample_ = mean_estimate(self.log_ratios_, groups, f"{type(self).__name__}, in sample")
        return self.in_sample_

    def _learn(self, train: Sample, rng: Generator) -> Learned:
        rows = split(len(train), rng) if self.evaluate == "held_out" else (np.arange(len(train)), np.arange(0))
        a = train.coded_a()
        scaled_a, terms = standardising(a[rows[0]]), []
        for sign, region in ((1, "bc"), (-1, "b")):
            z = getattr(train, region)
            if z.shape[1]:
                scaled_z = standardising(z[rows[0]])
                net = self._critic(a.shape[1], z.shape[1], len(rows[0]), rng).to(self._where)
                pairs = scaled_a(a), scaled_z(z)
                fitted, validated = ([tensor(x[part], self._where) for x in pairs] for part in rows)
                self._train(net, self._loss(), fitted, validated, rng, score=self._score)
                terms.append((sign, region, scaled_z, net))

        def log_ratio(sample: Sample, inside: bool) -> FloatArray:
            total = np.zeros(len(sample))
            for sign, region, scaled_z, net in terms:
                pair = scaled_a(sample.coded_a()), scaled_z(getattr(sample, region))
                with torch.no_grad():
                    total += sign * self._values(net, *(tensor(x, self._where) for x in pair)).cpu().double().numpy()
            return total

        return Learned(log_ratio, rows[0])


class Bound(nn.Module):
    """T -> log (e^T + 1/n)/(1 + e^T/n): T itself where it is small, never beyond -log n and log n."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.most = math.log(n)

    def forward(self, x: Tensor) -> Tensor:
        return torch.logaddexp(x, torch.full_like(x, -self.most)) - softplus(x - self.most)


class _OfPairs(Difference):
    """A critic of a and z together, one number for a pair."""

    def _critic(self, d_a: int, d_z: int, n: int, rng: Generator) -> nn.Module:
        return nn.Sequential(MLP(d_a + d_z, 1, self.width, self.depth, rng, zero=True), Bound(n))


class ClassifierRatio(_OfPairs):
    """The log odds of a classifier between matched and mismatched pairs, averaged over the matched ones."""

    def _score(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        return softplus(-_pairs(net, a, z)).mean() + softplus(_pairs(net, self._other(a), z)).mean()

    def _values(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        return _pairs(net, a, z)


class MINE(_OfPairs):
    """Mutual information neural estimation: the bound of Donsker and Varadhan."""

    def _score(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        return _log_mean_exp(_pairs(net, self._other(a), z)) - _pairs(net, a, z).mean()

    def _loss(self) -> Loss:
        """Divide E' e^T by its moving average, in place of its own value in the batch, which would bias gradients."""
        log_average: list[Tensor] = []

        def loss(net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
            others = _pairs(net, self._other(a), z)
            now = _log_mean_exp(others).detach()
            old = log_average[0] if log_average else now
            log_average[:] = [torch.logaddexp(old + math.log(MOVING_AVERAGE), now + math.log1p(-MOVING_AVERAGE))]
            return (others - log_average[0]).exp().mean() - _pairs(net, a, z).mean()

        return loss

    def _values(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        """Return T_i - log M - (e^T'_i / M - 1): the bound as a mean, M = mean e^T' to first order."""
        others = _pairs(net, self._other(a), z)
        log_mean = _log_mean_exp(others)
        return _pairs(net, a, z) - log_mean - ((others - log_mean).exp() - 1)


class InfoNCE(Difference):
    """Which of K values of z belongs to a value of a: E [ T_ii - log (1/K) sum_j e^T_ij ], K the batch size."""

    def _critic(self, d_a: int, d_z: int, n: int, rng: Generator) -> nn.Module:
        embed_a, embed_z = (MLP(d, self.width, self.width, self.depth, rng) for d in (d_a, d_z))
        return nn.ModuleList([embed_a, embed_z, Bound(n)])

    def _score(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        return -self._values(net, a, z).mean()

    def _values(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        (embed_a, embed_z, bound), values = net.children(), []
        for one, other in zip(a.split(self.batch_size), z.split(self.batch_size), strict=True):
            scores = bound(embed_a(one) @ embed_z(other).T / math.sqrt(self.width))
            right = torch.arange(len(one), device=a.device)
            values.append(math.log(len(one)) - cross_entropy(scores, right, reduction="none"))
        return torch.cat(values)

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: Generator) -> Estimate:
        answer, most = super()._estimate(sample, groups, rng), math.log(self.batch_size)
        if answer.value > 0.8 * most:
            warn_at_cap("InfoNCE", f"log(batch_size) = {most:.3g}", "take a larger batch_size")
        return answer


def _pairs(net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
    x = torch.cat([a, z], dim=1)
    return torch.cat([net(part) for part in x.split(CHUNK)])[:, 0]


def _log_mean_exp(x: Tensor) -> Tensor:
    return torch.logsumexp(x, dim=0) - math.log(len(x))
