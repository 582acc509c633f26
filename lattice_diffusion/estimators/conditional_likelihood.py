"""Conditional mutual information as a gain in likelihood: I(A;C|B) = E log q(a|b,c) - E log q(a|b).

Both laws are learned, the second first; the first starts as the second, so that where C says nothing the difference
stays 0. Each is a linear law and a bend of it, fitted to the end, plus a network that starts at 0 and is stopped early:
Gaussian fields and mean-field laws are met by the former, and only what they leave open has to be learned by the
latter. Several columns of A are taken one after the other, I(A;C|B) = sum_j I(A_j;C|B,A_<j).
"""

import math
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..channels import is_gaussian
from ..errors import InputError, Limits
from ..estimate import Estimate
from .base import FloatArray
from .bodies import Body, Places, network, places_for
from .heads import Categorical, Head, Mixture, NoisySpin
from .law import Law
from .networks import by_chunks, split, tensor, train_if_better
from .neural import Learned, Neural, middle
from .sample import FEW_VALUES, Sample, translated

VALIDATION = 0.15


class ConditionalLikelihood(Neural):
    """log q(a|b,c) - log q(a|b), nested and cross-fitted: the default estimator.

    What a is decides the law: spins (their noise deconvolved where channel and t are given: only the law of the clean
    spin is learned), a few values, or real numbers (mixtures of Gaussians, no narrower than the noise where it is
    known).

    Args:
        folds: K of the cross-fitting.
        share_positions: learn from, and average over, so many translations of every sample beside itself, wrapped
            around: only right on periodic lattices where law and noise are the same at all sites.
        clean: "spins" or "real", what noisy values were before Gaussian noise; None: told from the second and fourth
            moments of the data.
        corrected: average of held-out and in-sample log ratios, free of bias to first order (see `neural`; where noise
            leaves so little information that weights are shrunk, both are corrected for that first, see `terms`);
            False: the held-out ones, too low by about (number of columns)/2n.
        body: of the networks: "mlp", or "conv", one stencil for all sites of the lattice (see `bodies`), whose
            products find parities of `depth` values at a learning rate near 0.01 and a weight decay near 1.
        radius: of the stencil, a box.
        width, depth: of the networks' hidden layers; depth 0: linear laws only.
        steps, batch_size, learning_rate, weight_decay: of their training, at most; it stops early.
        components: Gaussians of a mixture.
        device: of torch.
    """

    limits: ClassVar[Limits] = {**Neural.limits, "share_positions": (0, None), "components": (1, None)}

    def __init__(
        self,
        folds: int = 4,
        *,
        share_positions: int = 0,
        clean: Literal["spins", "real"] | None = None,
        corrected: bool = True,
        body: Body = "mlp",
        radius: int = 1,
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
        self.share_positions = share_positions
        self.clean = clean
        self.corrected = corrected
        self.body = body
        self.radius = radius
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

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        if not self.share_positions:
            return super()._estimate(sample, groups, rng)
        moved = translated(sample, self.share_positions, rng)
        answer = super()._estimate(moved, np.tile(groups, 1 + self.share_positions), rng)
        return replace(answer, n_samples=len(sample))

    def _learn(self, train: Sample, rng: np.random.Generator) -> Learned:
        if self.clean == "spins" and (train.channel is None or train.t is None) and not _spins(train):
            raise InputError("clean='spins' needs the noise, or values of +-1; give channel and t")
        where = places_for(self.body, train)
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
            small = self._law(head, b, y, start, fit, valid, where, j, rng)
            far, near = self._nested(small, b, bc, start)
            large = self._law(head, far, y, near, fit, valid, where, j, rng)
            pairs.append((head, small, large))

        def log_ratio(sample: Sample, inside: bool) -> FloatArray:
            total = np.zeros(len(sample))
            for j, (head, small, large) in enumerate(pairs):
                b, bc = columns(sample, j)
                y = tensor(head.target(sample.a[:, j]), self.device)
                far, near = self._nested(small, b, bc, np.tile(head.start(), (len(sample), 1)))
                steps = near, large.linear_outputs(far, near), large.outputs(far, near)
                nats = [by_chunks(head.nats, tensor(theta, self.device), y).cpu().double().numpy() for theta in steps]
                kept = large.linear.kept if self.corrected else 1.0
                total += (nats[0] - nats[1]) / (2 - kept if inside else kept) + nats[1] - nats[2]
            return total

        return Learned(log_ratio, fit)

    def _nested(self, small: Law, b: FloatArray, bc: FloatArray, start: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What the larger law sees, and what it starts from; it sees the smaller one's bend too, so as to undo it."""
        near = small.outputs(b, start)
        if not self.depth:
            return bc, near
        bend = near - small.linear_outputs(b, start)
        return np.hstack([bc, bend[:, : small.head.n_linear]]), near

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
        where: Places | None,
        j: int,
        rng: np.random.Generator,
    ) -> Law:
        """A linear law and its bend, then a network that sees all, if it helps."""
        law = Law(head, x[fit], y[fit], start[fit], self.device, bent=self.depth > 0)
        if x.shape[1] and self.depth and law.linear.kept == 1.0:  # else it would undo the shrinkage
            z, offset, target = (tensor(array, self.device) for array in (x, start, y))
            seen, theta = law.seen(z, offset), by_chunks(law, z, offset)
            options: dict[str, Any] = {"width": self.width, "depth": self.depth, "radius": self.radius, "n_a": j}
            law.net = network(where, x.shape[1], seen.shape[1], head.n_outputs, rng, **options).to(self.device)

            def nats(net: nn.Module, seen: Tensor, theta: Tensor, y: Tensor) -> Tensor:
                return head.nats(theta + law.gain * net(seen), y)

            arrays = (seen, theta, target)
            train_if_better(
                law.net,
                nats,
                [array[fit] for array in arrays],
                [array[valid] for array in arrays],
                rng,
                steps=self.steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
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
    if sample.channel is None or not is_gaussian(sample.channel) or sample.t is None:
        return False
    alpha, sigma = sample.channel.alpha(sample.t), sample.channel.sigma(sample.t)
    rows = [np.concatenate([x**power for x in (sample.a, sample.b, sample.c)], axis=1).mean(axis=1) for power in (2, 4)]
    expected = (alpha**2 + sigma**2, alpha**4 + 6 * alpha**2 * sigma**2 + 3 * sigma**4)
    z = [(row.mean() - moment) / (row.std() / math.sqrt(len(row))) for row, moment in zip(rows, expected, strict=True)]
    return bool(max(map(abs, z)) < 5)
