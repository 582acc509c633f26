"""Conditional mutual information as a gain in likelihood: I(A;C|B) = E log q(a|b,c) - E log q(a|b).

Both laws are learned, the second first; the first starts as the second, so that where C says nothing the difference
stays 0. Each is a linear law, fitted to the end, plus a network that starts at 0 and is stopped early: Gaussian fields
are met by the former, and only what it leaves open has to be learned by the latter. Several columns of A are taken one
after the other, I(A;C|B) = sum_j I(A_j;C|B,A_<j).
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..channels import Gaussian
from .base import FloatArray
from .heads import Categorical, Head, Mixture, NoisySpin
from .law import Law
from .networks import by_chunks, split, tensor, train_if_better
from .neural import Learned, Neural, middle
from .sample import FEW_VALUES, Sample

VALIDATION = 0.15


class ConditionalLikelihood(Neural):
    """log q(a|b,c) - log q(a|b), nested and cross-fitted: the default estimator.

    What a is decides the law: spins (their noise deconvolved where channel and t are given: only the law of the clean
    spin is learned), a few values, or real numbers (mixtures of Gaussians, no narrower than the noise where it is
    known).

    Args:
        folds: K of the cross-fitting.
        clean: "spins" or "real", what noisy values were before Gaussian noise; None: told from the second and fourth
            moments of the data.
        corrected: average of held-out and in-sample log ratios, free of bias to first order (see `neural`); False:
            the held-out ones, too low by about (number of columns)/2n.
        width, depth: of the networks' hidden layers; depth 0: linear laws only.
        steps, batch_size, learning_rate, weight_decay: of their training, at most; it stops early.
        components: Gaussians of a mixture.
        device: of torch.
    """

    def __init__(
        self,
        folds: int = 4,
        *,
        clean: str | None = None,
        corrected: bool = True,
        width: int = 32,
        depth: int = 1,
        steps: int = 1000,
        batch_size: int = 512,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.1,
        components: int = 3,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__(folds)
        self.clean = clean
        self.corrected = corrected
        self.width = width
        self.depth = depth
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.components = components
        self.device = device

    def _combine(self, held_out: FloatArray, in_sample: FloatArray) -> FloatArray:
        return middle(held_out, in_sample) if self.corrected else held_out

    def _learn(self, train: Sample, rng: np.random.Generator) -> Learned:
        if self.clean not in (None, "spins", "real"):
            raise ValueError(f"clean must be 'spins', 'real' or None, got {self.clean!r}")
        if self.clean == "spins" and (train.channel is None or train.t is None) and not _spins(train):
            raise ValueError("clean='spins' needs the noise, or values of +-1; give channel and t")
        spins = self.clean == "spins" or (self.clean is None and _spins(train))
        fit, valid = split(len(train), VALIDATION, rng)

        def columns(sample: Sample, j: int) -> tuple[FloatArray, FloatArray]:
            """What q(a_j|b) and q(a_j|b,c) see."""
            b = _seen(np.hstack([sample.b, sample.a[:, :j]]), train, spins)
            return b, np.hstack([b, _seen(sample.c, train, spins)])

        pairs = []
        for j in range(train.a.shape[1]):
            head = self._head(train.a[fit, j], train, spins)
            b, bc = columns(train, j)
            y = head.target(train.a[:, j])
            start = np.tile(head.start(), (len(train), 1))
            small = self._law(head, b, y, start, fit, valid, rng)
            large = self._law(head, bc, y, small.outputs(b, start), fit, valid, rng)
            pairs.append((head, small, large))

        def log_ratio(sample: Sample) -> FloatArray:
            total = np.zeros(len(sample))
            for j, (head, small, large) in enumerate(pairs):
                b, bc = columns(sample, j)
                y = tensor(head.target(sample.a[:, j]), self.device)
                near = small.outputs(b, np.tile(head.start(), (len(sample), 1)))
                far = large.outputs(bc, near)
                nats = [by_chunks(head.nats, tensor(theta, self.device), y) for theta in (near, far)]
                total += (nats[0] - nats[1]).cpu().double().numpy()
            return total

        return Learned(log_ratio, fit)

    def _head(self, a: FloatArray, sample: Sample, spins: bool) -> Head:
        values = np.unique(a[: 50 * FEW_VALUES])
        if spins:
            return NoisySpin(sample.channel, sample.t)
        if len(values) <= FEW_VALUES:
            return Categorical(np.unique(a))
        return Mixture(a, sample.channel, sample.t, self.components)

    def _law(
        self,
        head: Head,
        x: FloatArray,
        y: FloatArray,
        start: FloatArray,
        fit: NDArray[np.intp],
        valid: NDArray[np.intp],
        rng: np.random.Generator,
    ) -> Law:
        """A linear law, then a network that bends it, then one that sees all, each kept if it helps."""
        law = Law(head, x[fit], self.width, self.depth, rng, self.device)
        law.fit_linear(x, y, start, fit, valid)
        if x.shape[1] and self.depth:
            z, offset, target = (tensor(array, self.device) for array in (x, start, y))
            law.standardise_index(z[fit], offset[fit])
            for net, seen, speed, decay in (
                (law.bend, law.index(z, offset), 2.0, 0.0),
                (law.net, law.seen(z, offset), 1.0, self.weight_decay),
            ):
                arrays = (seen, by_chunks(law, z, offset), target)

                def nats(net: nn.Module, seen: Tensor, theta: Tensor, y: Tensor) -> Tensor:
                    return head.nats(theta + law.gain * net(seen), y)

                train_if_better(
                    net,
                    nats,
                    [array[fit] for array in arrays],
                    [array[valid] for array in arrays],
                    rng,
                    steps=self.steps,
                    batch_size=self.batch_size,
                    learning_rate=speed * self.learning_rate,
                    weight_decay=decay,
                )
        return law


def _seen(x: FloatArray, sample: Sample, spins: bool) -> FloatArray:
    """Inputs: what noise has left of spins, tanh h, or the values as they are."""
    if spins and sample.channel is not None and sample.t is not None:
        return np.tanh(NoisySpin(sample.channel, sample.t).field(x))
    return x


def _spins(sample: Sample) -> bool:
    """Whether the clean values of the sample are +-1, as far as can be told from their noisy ones."""
    few = np.unique(np.concatenate([x[:200].ravel() for x in (sample.a, sample.b, sample.c)]))
    if len(few) <= 3:
        known = sample.channel is not None and sample.t is not None
        return bool(np.isin(few, (-1.0, 1.0)).all()) or (known and bool(np.isin(few, (-1.0, 0.0, 1.0)).all()))
    if not isinstance(sample.channel, Gaussian) or sample.t is None:
        return False
    alpha, sigma = sample.channel.alpha(sample.t), sample.channel.sigma(sample.t)
    rows = [np.concatenate([x**power for x in (sample.a, sample.b, sample.c)], axis=1).mean(axis=1) for power in (2, 4)]
    expected = (alpha**2 + sigma**2, alpha**4 + 6 * alpha**2 * sigma**2 + 3 * sigma**4)
    z = [(row.mean() - moment) / (row.std() / math.sqrt(len(row))) for row, moment in zip(rows, expected, strict=True)]
    return bool(max(map(abs, z)) < 5)
