"""Conditional mutual information as a difference of two, I(A;BC) - I(A;B), each from a critic T(a, z).

A critic tells pairs (a_i, z_i) from pairs (a_j, z_i) of different samples; at its best T = log p(a|z)/p(a) up to a
constant, which each method fixes in its own way. The difference needs no samples of p(a|b), but both terms are as large
as I(A;B) or larger, and so are their errors, which need not cancel.

    ClassifierRatio  cross-entropy of the two classes; I = E T
    MINE             Donsker and Varadhan: I = max E T - log E' e^T, E' over the different pairs, gradients corrected
                     by a moving average (Belghazi et al. 2018, arXiv:1801.04062)
    InfoNCE          one right pair among a batch of K (van den Oord et al. 2018, arXiv:1807.03748); never above log K
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from ..estimate import Estimate
from .base import FloatArray, mean_estimate
from .bodies import Body, Places, network, places_for
from .networks import CHUNK, MLP, Loss, split, tensor, train
from .neural import Learned, Neural
from .sample import Sample

VALIDATION = 0.15
MOVING_AVERAGE = 0.99


class _Difference(Neural):
    """Base of the three: two critics, and where they are evaluated.

    Args:
        folds: K of the cross-fitting.
        evaluate: "held_out", cross-fitted with early stopping; "in_sample", on the very samples the critics were
            trained on for all `steps`, as in arXiv:2508.06614, which overfitting makes larger.
        body: of the critics: "mlp", or "conv", one stencil for all sites of B and C, which a reaches everywhere
            (InfoNCE: in the embedding of b and c alone; see `bodies`).
        radius: of the stencil, a box; it sees what sites on both sides of A tell together only if it reaches across.
        width, depth, steps, batch_size, learning_rate: of the critics and their training.
        device: of torch.
    """

    def __init__(
        self,
        folds: int = 2,
        *,
        evaluate: Literal["held_out", "in_sample"] = "held_out",
        body: Body = "mlp",
        radius: int = 1,
        width: int = 64,
        depth: int = 2,
        steps: int = 2000,
        batch_size: int = 512,
        learning_rate: float = 1e-3,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__(folds)
        self.evaluate = evaluate
        self.body = body
        self.radius = radius
        self.width = width
        self.depth = depth
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.device = device

    @property
    def _size(self) -> dict[str, Any]:
        return {"width": self.width, "depth": self.depth, "radius": self.radius}

    @abstractmethod
    def _critic(self, d_a: int, d_z: int, where: Places | None, rng: np.random.Generator) -> nn.Module: ...

    @abstractmethod
    def _score(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        """What is minimised in exact terms, a number."""

    @abstractmethod
    def _values(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        """(n,), whose mean is I(A;Z)."""

    def _loss(self) -> Loss:
        """What a training step minimises; may keep a state of its own."""
        return self._score

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        if self.evaluate == "held_out":
            return super()._estimate(sample, groups, rng)
        self.log_ratios_ = self._learn(sample, rng).log_ratio(sample, True)
        self.in_sample_ = mean_estimate(self.log_ratios_, groups, f"{type(self).__name__}, in sample")
        return self.in_sample_

    def _learn(self, train: Sample, rng: np.random.Generator) -> Learned:
        where = places_for(self.body, train)
        everything = np.arange(len(train))
        held_out = self.evaluate == "held_out"
        fit, valid = split(len(train), VALIDATION, rng) if held_out else (everything, everything[:0])
        a = _standardised(train.a[fit])
        terms = []
        for sign, region in ((1, _bc), (-1, _b)):
            if region(train).shape[1]:
                z = _standardised(region(train)[fit])
                terms.append((sign, region, z, self._trained(a(train.a), z(region(train)), fit, valid, where, rng)))

        def log_ratio(sample: Sample, inside: bool) -> FloatArray:
            total = np.zeros(len(sample))
            for sign, region, z, net in terms:
                with torch.no_grad():
                    pairs = tensor(a(sample.a), self.device), tensor(z(region(sample)), self.device)
                    total += sign * self._values(net, *pairs).cpu().double().numpy()
            return total

        return Learned(log_ratio, fit)

    def _trained(
        self,
        a: FloatArray,
        z: FloatArray,
        fit: NDArray[np.intp],
        valid: NDArray[np.intp],
        where: Places | None,
        rng: np.random.Generator,
    ) -> nn.Module:
        net = self._critic(a.shape[1], z.shape[1], where, rng).to(self.device)
        fitted, validated = ([tensor(x[rows], self.device) for x in (a, z)] for rows in (fit, valid))
        train(
            net,
            self._loss(),
            fitted,
            validated,
            rng,
            score=self._score,
            steps=self.steps,
            batch_size=min(self.batch_size, len(fit)),
            learning_rate=self.learning_rate,
            early_stopping=len(valid) > 0,
        )
        return net


class ClassifierRatio(_Difference):
    """The log odds of a classifier between matched and mismatched pairs, averaged over the matched ones."""

    def _critic(self, d_a: int, d_z: int, where: Places | None, rng: np.random.Generator) -> nn.Module:
        return network(where, d_z, d_a + d_z, 1, rng, first=d_a, **self._size)

    def _score(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        return softplus(-_pairs(net, a, z)).mean() + softplus(_pairs(net, _other(a), z)).mean()

    def _values(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        return _pairs(net, a, z)


class MINE(_Difference):
    """Mutual information neural estimation: the bound of Donsker and Varadhan."""

    def _critic(self, d_a: int, d_z: int, where: Places | None, rng: np.random.Generator) -> nn.Module:
        return network(where, d_z, d_a + d_z, 1, rng, first=d_a, **self._size)

    def _score(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        return _log_mean_exp(_pairs(net, _other(a), z)) - _pairs(net, a, z).mean()

    def _loss(self) -> Loss:
        """E' e^T divided by its moving average, in place of its own value in the batch, which would bias gradients."""
        log_average: list[Tensor] = []

        def loss(net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
            others = _pairs(net, _other(a), z)
            now = _log_mean_exp(others).detach()
            old = log_average[0] if log_average else now
            log_average[:] = [torch.logaddexp(old + math.log(MOVING_AVERAGE), now + math.log1p(-MOVING_AVERAGE))]
            return (others - log_average[0]).exp().mean() - _pairs(net, a, z).mean()

        return loss

    def _values(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        """T_i - log M - (e^T'_i / M - 1): the bound as a mean, the scatter of M = mean e^T' to first order in it."""
        others = _pairs(net, _other(a), z)
        log_mean = _log_mean_exp(others)
        return _pairs(net, a, z) - log_mean - ((others - log_mean).exp() - 1)


class InfoNCE(_Difference):
    """Which of K values of z belongs to a value of a: E [ T_ii - log (1/K) sum_j e^T_ij ], K the batch size."""

    def _critic(self, d_a: int, d_z: int, where: Places | None, rng: np.random.Generator) -> nn.Module:
        embed_a = MLP(d_a, self.width, self.width, self.depth, rng)
        return nn.ModuleList([embed_a, network(where, d_z, d_z, self.width, rng, zero=False, **self._size)])

    def _score(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        return -self._values(net, a, z).mean()

    def _values(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        batches = zip(a.split(self.batch_size), z.split(self.batch_size), strict=True)
        return torch.cat([self._of_batch(net, *batch) for batch in batches])

    def _of_batch(self, net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
        embed_a, embed_z = net.children()
        scores = embed_a(a) @ embed_z(z).T / math.sqrt(self.width)
        right = torch.arange(len(a), device=a.device)
        return math.log(len(a)) - cross_entropy(scores, right, reduction="none")


def _b(sample: Sample) -> FloatArray:
    return sample.b


def _bc(sample: Sample) -> FloatArray:
    return np.hstack([sample.b, sample.c])


def _standardised(x: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """The map that gives these columns mean 0 and variance 1."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1.0
    return lambda y: (y - mean) / scale


def _pairs(net: nn.Module, a: Tensor, z: Tensor) -> Tensor:
    x = torch.cat([a, z], dim=1)
    return torch.cat([net(part) for part in x.split(CHUNK)])[:, 0]


def _other(a: Tensor) -> Tensor:
    """Values of other samples, far away in the order."""
    return a.roll(max(1, len(a) // 2), dims=0)


def _log_mean_exp(x: Tensor) -> Tensor:
    return torch.logsumexp(x, dim=0) - math.log(len(x))
