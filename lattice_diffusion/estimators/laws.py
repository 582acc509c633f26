"""Laws q(a|x) of one value: what the outputs mean, a linear term, one that bends it, and a network that sees all.

Linear terms are found by maximal likelihood, and shrunk where the data are too few for it. With w^ the weights of
maximal likelihood, and f the information in one sample, a Gaussian prior of that shape gives s w^, 0 < s < 1, in the
quadratic regime. In units of their errors w^ = w + e, and with d of them the averages of the log likelihood ratio over
the samples of the fit and over others are
    in sample   (2s - s^2) (|w|^2 + d) / 2n,        held out   [(2s - s^2) |w|^2 - s^2 d] / 2n,
so that half of in sample / (2 - s) + held out / s is the truth |w|^2/2n, whatever w: nothing is lost to the shrinkage,
and nothing is clipped. It is needed where maximal likelihood would leave the quadratic regime; s follows from the prior
and the information at the fit.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, pad, softplus

from ..channels import Channel, is_gaussian
from ..errors import check_memory
from .base import FloatArray

LOG_VARIANCE = (-14.0, 4.0)  # of a component, in units of the variance of a: none collapses on one sample
FIELD_CERTAIN = 15.0  # stands for an infinite field: exp(-30) is 0 in single precision
RIDGE = 1e-6  # of unit variance: columns that repeat others do no harm
LARGEST_NOISE = 0.3  # of log odds, from the errors of the weights: beyond it they are shrunk
DEGREE = 3  # of the bend
SQUASH = 2.0  # standard deviations at which its powers level off
STEP = 0.4  # and its step from one level of the collective variable to another


# -- heads: what the outputs mean --------------------------------------------------------------------------


class Head(ABC):
    """A law of a with `n_outputs` parameters theta, up to terms in a alone, which cancel from the log ratio.

    The first `n_linear` may depend linearly on the inputs, the first `n_bent` be bent. Where `shrinks` is True there
    may be too little information for maximal likelihood.
    """

    n_outputs = n_linear = n_bent = 1
    shrinks = False

    @abstractmethod
    def target(self, a: FloatArray) -> FloatArray:
        """Return y (n,), what `nats` takes for the values a."""

    def start(self) -> FloatArray:
        """Return (n_outputs,), the parameters before anything is learned."""
        return np.zeros(self.n_outputs)

    def residual(self, theta: Tensor, y: Tensor) -> Tensor | None:
        """Return (n,), what the law leaves of y; None where there is no such thing."""
        return None

    def gain(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return (n_outputs,), the units in which the parameters move."""
        return torch.ones(self.n_outputs, device=y.device)

    @abstractmethod
    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return (n,), -log q(a)."""


class NoisySpin(Head):
    """A spin s = +-1 seen through known noise: p(a) ~ sum_s q(s) e^{s h(a)}, with log odds theta of q."""

    shrinks = True  # much noise tells next to nothing of large log odds

    def __init__(self, channel: Channel | None = None, t: float | None = None) -> None:
        self.channel, self.t = channel, t

    def target(self, a: FloatArray) -> FloatArray:
        """Return h of noisy values; +-15 where it is infinite."""
        if self.channel is None or self.t is None:
            return FIELD_CERTAIN * np.sign(a)
        return np.clip(self.channel.likelihood_field(a, self.t), -FIELD_CERTAIN, FIELD_CERTAIN)

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        f = theta[:, 0]
        return softplus(f) - softplus(f + 2 * y) + softplus(2 * y) - math.log(2)


class Categorical(Head):
    """One of a few values: log odds against the last of them."""

    def __init__(self, values: FloatArray) -> None:
        self.values = values
        self.n_outputs = self.n_linear = self.n_bent = len(values) - 1

    def target(self, a: FloatArray) -> FloatArray:
        return np.abs(a[:, None] - self.values).argmin(axis=1).astype(float)

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        logits = torch.cat([theta, torch.zeros_like(theta[:, :1])], dim=1)
        return cross_entropy(logits, y.long(), reduction="none")


class Mixture(Head):
    """A real value: sum_k w_k N(m + d_k, floor + e^{v_k}), the floor being the variance of known noise.

    theta = (m, d_1..K, log w_1..K, v_1..K), in units of the standard deviation of a.
    """

    def __init__(self, a: FloatArray, channel: Channel | None, t: float | None, components: int) -> None:
        check_memory("components", 64 * len(a) * components, "take fewer components")
        self.mean, self.scale, self.components = float(a.mean()), float(a.std()), components
        noise = channel.sigma(t) if channel is not None and is_gaussian(channel) and t is not None else 0.0
        self.floor = 0.9 * (noise / self.scale) ** 2  # a little below, where all of the variance may be noise
        self.n_outputs = 1 + 3 * components

    def target(self, a: FloatArray) -> FloatArray:
        return (a - self.mean) / self.scale

    def start(self) -> FloatArray:
        k = self.components
        shift = 0.5 * (np.linspace(-1, 1, k) if k > 1 else np.zeros(1))
        return np.concatenate([[0.0], shift, np.zeros(k), np.full(k, math.log(max(0.9 - self.floor, 0.05)))])

    def _parts(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        m, d, w, v = theta.split([1, *[self.components] * 3], dim=1)
        return m + d, log_softmax(w, dim=1), self.floor + v.clamp(*LOG_VARIANCE).exp()

    def residual(self, theta: Tensor, y: Tensor) -> Tensor:
        mean, log_w, _ = self._parts(theta)
        return y - (log_w.exp() * mean).sum(dim=1)

    def gain(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return 1, for means the standard deviation of what the law leaves open."""
        gain = torch.ones(self.n_outputs, device=y.device)
        gain[: 1 + self.components] = self.residual(theta, y).std()
        return gain

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        mean, log_w, variance = self._parts(theta)
        square = (y[:, None] - mean) ** 2 / variance
        return -torch.logsumexp(log_w - 0.5 * (square + (2 * math.pi * variance).log()), dim=1)


# -- linear terms ------------------------------------------------------------------------------------------


class Whitening:
    """Columns -> uncorrelated ones of unit variance, weighted by `weights` (n,)."""

    def __init__(self, x: Tensor, weights: Tensor | None = None) -> None:
        self.mean = x.mean(dim=0)
        scale = ((x - self.mean) ** 2).mean(dim=0).sqrt()
        self.scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        z = self.standardised(x).double()
        weighted = z if weights is None else z * (weights / weights.mean())[:, None]
        ridge = RIDGE * torch.eye(x.shape[1], dtype=z.dtype, device=z.device)
        values, vectors = torch.linalg.eigh(weighted.T @ z / len(x) + ridge)
        self.matrix = (vectors / values.sqrt()).to(x.dtype)

    def standardised(self, x: Tensor) -> Tensor:
        """Return the columns with mean 0 and variance 1."""
        return (x - self.mean) / self.scale

    def __call__(self, x: Tensor) -> Tensor:
        return self.standardised(x) @ self.matrix


@dataclass
class Term:
    """Outputs + constant + scale * (features @ weights), the latter for the first outputs alone, as many as `scale`.

    `kept` is s, 1 unless the weights are shrunk.
    """

    constant: Tensor
    weights: Tensor
    scale: Tensor
    kept: float = 1.0

    @classmethod
    def none(cls, head: Head, n_features: int, scale: Tensor) -> "Term":
        """Return the term that changes nothing."""
        return cls(scale.new_zeros(head.n_outputs), scale.new_zeros(n_features, len(scale)), scale)

    def __call__(self, features: Tensor, outputs: Tensor) -> Tensor:
        n_rest = outputs.shape[1] - len(self.scale)
        return outputs + self.constant + pad(features @ self.weights * self.scale, (0, n_rest))


def least_squares(head: Head, features: Tensor, outputs: Tensor, y: Tensor) -> Term:
    """Return the term to begin with: that of least squares where there are residuals, else none."""
    term = Term.none(head, features.shape[1], features.new_ones(head.n_linear))
    residual = head.residual(outputs, y)
    if residual is not None:
        weights = features.T @ (residual - residual.mean()) / len(features)
        left = residual - features @ weights
        term.weights[:, 0], term.constant[0] = weights, residual.mean()
        term.constant[-(head.n_outputs // 3) :] = 2 * torch.log(left.std() / residual.std())
    return term


def information(head: Head, outputs: Tensor, y: Tensor) -> Tensor:
    """Return (n,), squares of the slope of the log likelihood in the first output."""
    theta = outputs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(head.nats(theta, y).sum(), theta)
    return slope[:, 0] ** 2


def maximised(term: Term, head: Head, features: Tensor, outputs: Tensor, y: Tensor, f: float = 0.0) -> Term:
    """Return the term of maximal likelihood, by L-BFGS from `term`; with `f`, shrunk where too little is known.

    Args:
        features: (n, p), uncorrelated, of unit variance in the weights of the information.
        f: information in one sample.
    """
    n, p = features.shape
    kept = min(1.0, LARGEST_NOISE * (n * f / p) ** 0.5) if f and p else 1.0
    found = Term(term.constant.clone(), term.weights.clone(), term.scale, kept)

    def loss() -> Tensor:
        penalty = 0.5 * f * (1 / kept - 1) * (found.weights**2).sum()
        return head.nats(found(features, outputs), y).mean() + penalty

    _climb([found.weights, found.constant], loss)
    if kept < 1.0:
        here = float(information(head, found(features, outputs), y).mean())
        found.kept = here / (here + f * (1 / kept - 1))
    return found


def _climb(parameters: list[Tensor], loss: Callable[[], Tensor]) -> None:
    """Minimise by L-BFGS, in place; back to the start where a line search leaves single precision."""
    before = [x.clone() for x in parameters]
    for x in parameters:
        x.requires_grad_()
    optimiser = torch.optim.LBFGS(parameters, max_iter=60, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)
    finite = all(bool(x.isfinite().all()) for x in parameters)
    for x, old in zip(parameters, before, strict=True):
        x.requires_grad_(False)
        x.grad = None
        if not finite:
            x.copy_(old)


# -- the law -----------------------------------------------------------------------------------------------


class Law:
    """Outputs of a law: those it starts from, a linear term, a bend, and a network.

    The bend is a polynomial in three variables: the linear predictors, of the law it starts from and its own, and the
    first principal component of the inputs, which is the magnetisation of mean-field laws and tells the classes of a
    mixture. All that is linear in them is left to the linear term.

    Args:
        x, y, start: (n, d), (n,) targets and (n, n_outputs), what the terms are fitted to; `net` comes later.
        bent: False leaves the bend out.
    """

    def __init__(self, head: Head, x: Tensor, y: Tensor, start: Tensor, *, bent: bool) -> None:
        self.head = head
        self.net: nn.Module | None = None
        known = information(head, start, y) if head.shrinks else None
        self.white = Whitening(x, known)
        white = self.white(x)
        f = 0.0 if known is None else float(known.mean())
        self.linear = maximised(least_squares(head, white, start, y), head, white, start, y, f)
        linear = self.linear(white, start)
        self.gain = head.gain(linear, y)
        self.principal = x.new_zeros(x.shape[1], 1)
        if x.shape[1]:
            standard = self.white.standardised(x)
            self.principal = torch.linalg.eigh((standard.T @ standard).double())[1][:, -1:].to(x)
        variables = self._variables(x, white, start)
        self.scales = Whitening(variables)
        variables = self.scales.standardised(variables)
        self.straight = torch.linalg.pinv(variables.double()).to(x) @ self._powers(variables)
        self.curves = Whitening(self._curves(variables))
        self.bend = Term.none(head, self.straight.shape[1], self.gain[: head.n_bent])
        if bent:
            self.bend = maximised(self.bend, head, self.curves(self._curves(variables)), linear, y)

    def _variables(self, x: Tensor, white: Tensor, start: Tensor) -> Tensor:
        """Return (n, 2 n_linear + 1), the variables of the bend: linear predictors and first principal component."""
        collective = self.white.standardised(x) @ self.principal
        return torch.cat([start[:, : self.head.n_linear], white @ self.linear.weights, collective], dim=1)

    def _powers(self, variables: Tensor) -> Tensor:
        """Return a step and products of 2 to DEGREE squashed variables; where there are many, powers of each."""
        squashed, step = torch.tanh(variables / SQUASH), torch.tanh(variables[:, -1:] / STEP)
        columns, degrees = range(variables.shape[1]), range(2, DEGREE + 1)
        if self.head.n_linear == 1:
            chosen = [c for k in degrees for c in itertools.combinations_with_replacement(columns, k)]
        else:
            chosen = [(i,) * k for k in degrees for i in columns]
        return torch.cat([step, *(squashed[:, list(c)].prod(dim=1, keepdim=True) for c in chosen)], dim=1)

    def _curves(self, variables: Tensor) -> Tensor:
        return self._powers(variables) - variables @ self.straight

    def seen(self, x: Tensor, start: Tensor) -> Tensor:
        """Return what the network sees: standardised inputs and the linear predictors."""
        variables = self.scales.standardised(self._variables(x, self.white(x), start))
        return torch.cat([self.white.standardised(x), variables[:, :-1]], dim=1)

    def __call__(self, x: Tensor, start: Tensor) -> Tensor:
        white = self.white(x)
        variables = self.scales.standardised(self._variables(x, white, start))
        theta = self.bend(self.curves(self._curves(variables)), self.linear(white, start))
        return theta if self.net is None else theta + self.gain * self.net(self.seen(x, start))

    def straight_part(self, x: Tensor, start: Tensor) -> Tensor:
        """Return (n, n_outputs), those of the linear term alone."""
        return self.linear(self.white(x), start)
