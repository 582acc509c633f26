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
from .networks import MLP, by_chunks, is_better, split, tensor, train_if_better
from .neural import Learned, Neural, middle
from .sample import FEW_VALUES, Sample

RIDGE = 1e-6  # of unit variance: columns that repeat others do no harm
VALIDATION = 0.15
BEND_WIDTH = 16


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
    ) -> "Law":
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


class Law:
    """Outputs of a law: those it starts from, a constant, a linear term and a network."""

    def __init__(
        self,
        head: Head,
        x: FloatArray,
        width: int,
        depth: int,
        rng: np.random.Generator,
        device: str | torch.device | None,
    ) -> None:
        self.head, self.device = head, device
        mean, d = x.mean(axis=0), x.shape[1]
        scale = x.std(axis=0)
        scale[scale == 0] = 1.0
        covariance = np.cov((x - mean) / scale, rowvar=False, ddof=0).reshape(d, d) + RIDGE * np.eye(d)
        values, vectors = np.linalg.eigh(covariance)
        self.mean, self.scale = tensor(mean, device), tensor(scale, device)
        self.whiten = tensor(vectors / np.sqrt(values), device)
        self.constant = torch.zeros(head.n_outputs, device=device)
        self.slope = torch.zeros(d, head.n_linear, device=device)
        self.gain = torch.ones(head.n_outputs, device=device)
        n_index = 2 * head.n_linear
        self.index_mean, self.index_scale = torch.zeros(n_index, device=device), torch.ones(n_index, device=device)
        self.bend = MLP(n_index, head.n_outputs, BEND_WIDTH, 2, rng, zero=True).to(device)
        self.net = MLP(d + n_index, head.n_outputs, width, depth, rng, zero=True).to(device)

    def linear_outputs(self, x: Tensor, start: Tensor) -> Tensor:
        rest = torch.zeros(len(x), self.head.n_outputs - self.head.n_linear, device=x.device)
        return start + self.constant + torch.cat([self.white(x) @ self.slope, rest], dim=1)

    def white(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale @ self.whiten

    def index(self, x: Tensor, start: Tensor) -> Tensor:
        """The linear predictors, of the law it starts from and its own, standardised."""
        both = torch.cat([start[:, : self.head.n_linear], self.white(x) @ self.slope], dim=1)
        return (both - self.index_mean) / self.index_scale

    def standardise_index(self, x: Tensor, start: Tensor) -> None:
        index = self.index(x, start)
        self.index_mean, scale = index.mean(dim=0), index.std(dim=0)
        self.index_scale = torch.where(scale > 0, scale, torch.ones_like(scale))

    def seen(self, x: Tensor, start: Tensor) -> Tensor:
        """What the network sees: standardised inputs and the linear predictors."""
        return torch.cat([(x - self.mean) / self.scale, self.index(x, start)], dim=1)

    def __call__(self, x: Tensor, start: Tensor) -> Tensor:
        bent = self.bend(self.index(x, start)) + self.net(self.seen(x, start))
        return self.linear_outputs(x, start) + self.gain * bent

    def outputs(self, x: FloatArray, start: FloatArray) -> FloatArray:
        """(n, n_outputs)."""
        return by_chunks(self, tensor(x, self.device), tensor(start, self.device)).cpu().double().numpy()

    def fit_linear(
        self, x: FloatArray, y: FloatArray, start: FloatArray, fit: NDArray[np.intp], valid: NDArray[np.intp]
    ) -> None:
        """Constant and slope of maximal likelihood; a Gaussian prior on the slope where that clearly does better."""
        z, target, offset = (tensor(array[fit], self.device) for array in (x, y, start))
        others = [tensor(array[valid], self.device) for array in (x, start, y)]
        self._start(z, target, offset)
        self._maximise(z, target, offset, 0.0)
        best, least = (self.constant, self.slope), self.head.nats(self.linear_outputs(*others[:2]), others[2])
        for variance in self.head.priors if x.shape[1] else ():
            self._maximise(z, target, offset, x.shape[1] / (variance * len(fit)))
            nats = self.head.nats(self.linear_outputs(*others[:2]), others[2])
            if is_better(nats, least):
                best, least = (self.constant, self.slope), nats
        self.constant, self.slope = best
        self.gain = self.head.gain(self.linear_outputs(z, offset), target)

    def _start(self, x: Tensor, y: Tensor, start: Tensor) -> None:
        """Least squares, where there are residuals."""
        residual = self.head.residual(start, y)
        if residual is not None:
            white = self.white(x)
            self.slope[:, 0] = white.T @ (residual - residual.mean()) / len(x)
            left = residual - white @ self.slope[:, 0]
            self.constant[0] = residual.mean()
            self.constant[-(self.head.n_outputs // 3) :] = 2 * torch.log(left.std() / residual.std())

    def _maximise(self, x: Tensor, y: Tensor, start: Tensor, penalty: float) -> None:
        """L-BFGS from where constant and slope are; `penalty` is the inverse variance of a slope, per sample."""
        before = self.constant, self.slope
        self.constant, self.slope = (p.clone().requires_grad_() for p in before)
        optimiser = torch.optim.LBFGS(
            [self.constant, self.slope], max_iter=60, history_size=20, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = self.head.nats(self.linear_outputs(x, start), y).mean() + 0.5 * penalty * (self.slope**2).sum()
            loss.backward()
            return loss

        optimiser.step(closure)
        self.constant, self.slope = self.constant.detach(), self.slope.detach()
        if not bool(self.constant.isfinite().all() and self.slope.isfinite().all()):
            self.constant, self.slope = before  # a line search that left single precision


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
