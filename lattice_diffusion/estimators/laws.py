"""Laws q(a|x) of one value: what the outputs mean, a linear term, one that bends it, and a network that sees all.

Linear terms are found by maximal likelihood, and shrunk where the data are too few for it. With w^ the weights of
maximal likelihood, and f the information in one sample, a Gaussian prior of that shape gives s w^, 0 < s < 1, in the
quadratic regime. In units of their errors w^ = w + e, and with d of them the averages of the log likelihood ratio over
the samples of the fit and over others are
    in sample   (2s - s^2) (|w|^2 + d) / 2n,        held out   [(2s - s^2) |w|^2 - s^2 d] / 2n,
so that half of in sample / (2 - s) + held out / s is the truth |w|^2/2n, whatever w: nothing is lost to the shrinkage,
and nothing is clipped. It is needed where maximal likelihood would leave the quadratic regime; s follows from the prior
and the information at the fit.

Variances do not change by little where p columns are many among n samples, gamma = p/n: with the residual variance free
of bias, RSS/(n - p), in sample is too high by gamma/2 and held out too low by gamma/2(1 - gamma), and it is these
weights that cancel both, 1/(2 - gamma) of the former and the rest of the latter.

All of it is in double precision, and combinations of columns that do not vary, as of one-hot codes, are left out.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, pad, softplus

from ..channels import MASK, Channel, Erasure, is_gaussian
from ..denoisers.on_device import on
from ..errors import check_memory
from ..lattice import FloatArray
from .base import FEW_VALUES
from .networks import Rows, by_chunks

ATOM = 0.01  # share of the samples at one value from which on it is an atom, if above five times that of others
FEWEST = 30  # samples of a density
LOG_VARIANCE = (-14.0, 4.0)  # of a component, in units of the variance of a: none collapses on one sample
FIELD_CERTAIN = 15.0  # stands for an infinite field: exp(-30) is 0 in single precision
FLAT = 1e-9  # columns that vary less, and combinations of less variance, are taken for constant
UNTOLD = -1  # index of values that tell nothing
PRIOR = 3.0  # standard deviation of log odds by whitened column: they stay finite where classes are separate
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
    samples_per_column = 8  # of a fit; with fewer the biases of maximal likelihood do not cancel
    shrinks = False

    prior = 0.0  # inverse variance of weights and constants

    def capped(self, theta: Tensor) -> bool:
        """Return whether the law is as sharp as it can be for most samples."""
        return False

    @abstractmethod
    def target(self, a: FloatArray) -> FloatArray:
        """Return y (n,), what `nats` takes for the values a."""

    def start(self) -> FloatArray:
        """Return (n_outputs,), the parameters before anything is learned."""
        return np.zeros(self.n_outputs)

    def residual(self, theta: Tensor, y: Tensor) -> Tensor | None:
        """Return (n,), what the law leaves of y; None where there is no such thing."""
        return None

    def apart(self, theta: Tensor) -> Tensor | None:
        """Return (n_outputs,), what makes different components of equal ones; None where there are none."""
        return None

    def gain(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return (n_outputs,), the units in which the parameters move."""
        return y.new_ones(self.n_outputs)

    @abstractmethod
    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return (n,), -log q(a)."""


class NoisySpin(Head):
    """A spin s = +-1 seen through known noise: p(a) ~ sum_s q(s) e^{s h(a)}, with log odds theta of q."""

    samples_per_column = 6
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
    """One of a few values: log odds against the last of them; `counts` says how often each was seen.

    Other values, as those of a mask whose noise is known, tell nothing.
    """

    prior = PRIOR**-2

    def __init__(self, values: FloatArray, counts: NDArray[np.intp]) -> None:
        self.values, self.counts = values, counts
        self.n_outputs = self.n_linear = self.n_bent = len(values) - 1

    def target(self, a: FloatArray) -> FloatArray:
        away = np.abs(a[:, None] - self.values)
        return np.where(away.min(axis=1) == 0, away.argmin(axis=1), UNTOLD).astype(float)

    def start(self) -> FloatArray:
        return _log_odds(self.counts)

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(pad(theta, (0, 1)), y.long(), reduction="none", ignore_index=UNTOLD)


def _log_odds(counts: NDArray[np.intp]) -> FloatArray:
    return np.log((counts[:-1] + 0.5) / (counts[-1] + 0.5))


class Mixture(Head):
    """A real value: sum_k w_k N(m + d_k, floor + e^{v_k}), the floor being the variance of known noise.

    theta = (m, d_1..K, log w_1..K, v_1..K), in units of the standard deviation of a.
    """

    samples_per_column = 3

    def __init__(self, a: FloatArray, channel: Channel | None, t: float | None, components: int) -> None:
        check_memory("components", 64 * len(a) * components, "take fewer components")
        self.mean, self.scale, self.components = float(a.mean()), float(a.std()), components
        noise = channel.sigma(t) if channel is not None and is_gaussian(channel) and t is not None else 0.0
        self.floor = 0.9 * (noise / self.scale) ** 2  # a little below, where all of the variance may be noise
        self.n_outputs = 1 + 3 * components

    def target(self, a: FloatArray) -> FloatArray:
        return (a - self.mean) / self.scale

    def start(self) -> FloatArray:
        k = self.components  # of one Gaussian
        return np.concatenate([np.zeros(1 + 2 * k), np.full(k, math.log(max(1 - self.floor, 0.05)))])

    def apart(self, theta: Tensor) -> Tensor | None:
        d = theta[:, 1 : 1 + self.components]
        if self.components == 1 or bool((d.amax(dim=1) - d.amin(dim=1) > FLAT).any()):
            return None
        shift = 0.5 * torch.linspace(-1, 1, self.components, dtype=theta.dtype, device=theta.device)
        shift = shift * self._parts(theta)[2].mean().sqrt()
        return torch.cat([shift.new_zeros(1), shift, 0 * shift, 0 * shift + math.log(0.9)])

    def _parts(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        m, d, w, v = theta.split([1, *[self.components] * 3], dim=1)
        return m + d, log_softmax(w, dim=1), self.floor + v.clamp(*LOG_VARIANCE).exp()

    def residual(self, theta: Tensor, y: Tensor) -> Tensor:
        mean, log_w, _ = self._parts(theta)
        return y - (log_w.exp() * mean).sum(dim=1)

    def gain(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return 1, for means the standard deviation of what the law leaves open."""
        gain = y.new_ones(self.n_outputs)
        gain[: 1 + self.components] = self.residual(theta, y).std()
        return gain

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        mean, log_w, variance = self._parts(theta)
        square = (y[:, None] - mean) ** 2 / variance
        return -torch.logsumexp(log_w - 0.5 * (square + (2 * math.pi * variance).log()), dim=1)

    def capped(self, theta: Tensor) -> bool:
        _, log_w, variance = self._parts(theta)
        sharpest = variance.gather(1, log_w.argmax(dim=1, keepdim=True))
        return bool((sharpest < 2 * math.exp(LOG_VARIANCE[0])).double().mean() > 0.5)


class Atoms(Head):
    """Values of positive probability, and a mixture of Gaussians for all others.

    theta = (log odds of the atoms against the rest, those of the mixture), y in units of the rest.
    """

    prior = PRIOR**-2

    def __init__(self, atoms: FloatArray, counts: NDArray[np.intp], rest: Mixture, n_rest: int) -> None:
        self.rest, self.atoms, self.counts = rest, rest.target(atoms), np.append(counts, n_rest)
        self.n_linear = self.n_bent = len(atoms) + 1
        self.n_outputs = len(atoms) + rest.n_outputs

    def target(self, a: FloatArray) -> FloatArray:
        return self.rest.target(a)

    def start(self) -> FloatArray:
        return np.concatenate([_log_odds(self.counts), self.rest.start()])

    def apart(self, theta: Tensor) -> Tensor | None:
        moved = self.rest.apart(theta[:, len(self.atoms) :])
        return None if moved is None else pad(moved, (len(self.atoms), 0))

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        odds, mixture = theta.tensor_split([len(self.atoms)], dim=1)
        same = y[:, None] == on(y, self.atoms)
        which = torch.where(same.any(dim=1), same.double().argmax(dim=1), len(self.atoms))
        density = torch.where(same.any(dim=1), 0.0, self.rest.nats(mixture, y))
        return cross_entropy(pad(odds, (0, 1)), which, reduction="none") + density


def head_of(
    a: FloatArray, known: FloatArray, channel: Channel | None, t: float | None, components: int, token: bool = False
) -> Head:
    """Return the law that fits the values a: tokens or a few others, real ones, or both; `known` are all samples'."""
    if token or len(known) <= FEW_VALUES:  # one of them may be missing in a
        if token and isinstance(channel, Erasure) and (symbols := known[known != MASK]).size > 1:
            known = symbols
        return Categorical(known, (a[:, None] == known).sum(axis=0))
    values, counts = np.unique(a, return_counts=True)
    at = counts > max(ATOM * len(a), 5 * float(np.median(counts)))
    rest = a[~np.isin(a, values[at])]
    if not at.any() or len(rest) < FEWEST or len(values) - at.sum() < 2:
        return Mixture(a, channel, t, components)
    return Atoms(values[at], counts[at], Mixture(rest, channel, t, components), len(rest))


# -- linear terms ------------------------------------------------------------------------------------------


class Whitening:
    """Columns -> uncorrelated ones of unit variance, weighted by `weights` (n,), as many as there are independent."""

    def __init__(self, x: Tensor, weights: Tensor | None = None) -> None:
        self.mean = x.mean(dim=0)
        scale = ((x - self.mean) ** 2).mean(dim=0).sqrt()
        varies = scale > FLAT * x.abs().amax(dim=0).clamp(min=1.0)
        self.scale = torch.where(varies, scale, torch.inf)
        z = self.standardised(x)
        weighted = z if weights is None else z * (weights / weights.mean())[:, None]
        values, vectors = torch.linalg.eigh(weighted.T @ z / len(x))
        kept = values > FLAT
        self.matrix = vectors[:, kept] / values[kept].sqrt()

    def standardised(self, x: Tensor) -> Tensor:
        """Return the columns with mean 0 and variance 1; those that do not vary are 0."""
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
        return self.moved(features @ self.weights, outputs)

    def moved(self, predictors: Tensor, outputs: Tensor) -> Tensor:
        """Return the outputs moved by the predictors, features @ weights."""
        return outputs + self.constant + pad(predictors * self.scale, (0, outputs.shape[1] - len(self.scale)))


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


def maximised(
    term: Term, head: Head, features: Tensor, outputs: Tensor, y: Tensor, f: float = 0.0, *, weights: bool = True
) -> Term:
    """Return the term of maximal likelihood, by L-BFGS from `term`; with `f`, shrunk where too little is known.

    Args:
        features: (n, p), uncorrelated, of unit variance in the weights of the information.
        f: information in one sample.
        weights: False: of the constant alone.
    """
    n, p = features.shape
    kept = min(1.0, LARGEST_NOISE * (n * f / p) ** 0.5) if f and p else 1.0
    found = Term(term.constant.clone(), term.weights.clone(), term.scale, kept)

    def loss() -> Tensor:
        penalty = 0.5 * (f * (1 / kept - 1) + head.prior / n) * (found.weights**2).sum()
        penalty = penalty + 0.5 * head.prior / n * (found.constant**2).sum()
        return head.nats(found(features, outputs), y).mean() + penalty

    _climb([found.weights, found.constant] if weights else [found.constant], loss)
    if kept < 1.0:
        here = float(information(head, found(features, outputs), y).mean())
        found.kept = here / (here + f * (1 / kept - 1))
    return found


def _climb(parameters: list[Tensor], loss: Callable[[], Tensor]) -> None:
    """Minimise by L-BFGS, in place; back to the start where a line search does not end in numbers."""
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
        x, y, start: (n, d), (n,) targets and (n, n_outputs); `net` comes later.
        rows: what the terms are fitted to, and what they are judged by.
        bent: False leaves the bend out.
    """

    def __init__(self, head: Head, x: Tensor, y: Tensor, start: Tensor, rows: Rows, *, bent: bool) -> None:
        self.head = head
        self.net: nn.Module | None = None
        held_out = tuple(array[rows[1]] for array in (x, start, y))
        x, start, y = (array[rows[0]] for array in (x, start, y))
        known = information(head, start, y) if head.shrinks else None
        known = known if known is not None and bool(known.mean() > 0) else None  # no signal left at t = 1
        self.white = Whitening(x, known)
        white = self.white(x)
        f = 0.0 if known is None else float(known.mean())
        self.used = min(white.shape[1] / len(x), 0.9) if isinstance(head, Mixture) else 0.0  # gamma
        self.linear = maximised(least_squares(head, white, start, y), head, white, start, y, f)
        self._separate(white, start, y, held_out)
        linear = self.linear(white, start)
        self.gain = head.gain(linear, y)
        self.principal, standard = x.new_zeros(x.shape[1], 1), self.white.standardised(x)
        if x.shape[1]:
            self.principal = torch.linalg.eigh(standard.T @ standard)[1][:, -1:]
        variables = self._variables(standard, white @ self.linear.weights, start)
        self.scales = Whitening(variables)
        variables = self.scales.standardised(variables)
        self.straight = torch.linalg.pinv(variables, rtol=FLAT) @ self._powers(variables)
        self.curves = Whitening(self._curves(variables))
        self.bend = Term.none(head, self.curves.matrix.shape[1], self.gain[: head.n_bent])
        if bent:
            self._bend(self.curves(self._curves(variables)), linear, y, held_out)

    def _separate(self, white: Tensor, start: Tensor, y: Tensor, held_out: tuple[Tensor, ...]) -> None:
        """Let the components of a mixture differ where that tells more than noise would, and others, too."""
        equal = self.linear(white, start)
        apart = self.head.apart(equal)
        if apart is None:
            return
        before = self.linear
        moved = Term(before.constant + apart, before.weights, before.scale)
        moved = maximised(moved, self.head, white, start, y, weights=False)
        if not _beyond_chance(self.head.nats(equal, y) - self.head.nats(moved(white, start), y), len(apart) - 1):
            return
        one = self._straight_nats(*held_out)
        self.linear = maximised(moved, self.head, white, start, y)
        if not self._straight_nats(*held_out) < one:
            self.linear = before

    def _bend(self, curves: Tensor, linear: Tensor, y: Tensor, held_out: tuple[Tensor, ...]) -> None:
        """Bend the law where that tells more than noise would, and costs other samples no more than noise does."""
        straight, flat = self._straight_nats(*held_out), self.bend
        self.bend = maximised(flat, self.head, curves, linear, y)
        n, d, (x, start, y_out) = len(y), self.bend.weights.numel(), held_out
        told = self.head.nats(linear, y) - self.head.nats(self.bend(curves, linear), y)
        gain = straight - float(self.head.nats(by_chunks(self, x, start), y_out).mean())
        if not (_beyond_chance(told, d) and gain > -d / n - 2 * math.sqrt(d / n / len(x))):
            self.bend = flat

    def _straight_nats(self, x: Tensor, start: Tensor, y: Tensor) -> float:
        return float(self.head.nats(by_chunks(self.straight_part, x, start), y).mean())

    def _predictors(self, standard: Tensor) -> Tensor:
        """Return (n, n_linear), the whitened columns times the weights of the linear term."""
        return standard @ (self.white.matrix @ self.linear.weights)

    def _variables(self, standard: Tensor, predictors: Tensor, start: Tensor) -> Tensor:
        """Return (n, 2 n_linear + 1), the variables of the bend: linear predictors and first principal component."""
        return torch.cat([start[:, : self.head.n_linear], predictors, standard @ self.principal], dim=1)

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
        standard = self.white.standardised(x)
        variables = self.scales.standardised(self._variables(standard, self._predictors(standard), start))
        return torch.cat([standard, variables[:, :-1]], dim=1)

    def __call__(self, x: Tensor, start: Tensor) -> Tensor:
        standard = self.white.standardised(x)
        predictors = self._predictors(standard)
        variables = self.scales.standardised(self._variables(standard, predictors, start))
        theta = self._widened(self.bend(self.curves(self._curves(variables)), self.linear.moved(predictors, start)))
        if self.net is None:
            return theta
        return theta + self.gain * self.net(torch.cat([standard, variables[:, :-1]], dim=1).float())

    def straight_part(self, x: Tensor, start: Tensor) -> Tensor:
        """Return (n, n_outputs), those of the linear term alone."""
        return self._widened(self.linear.moved(self._predictors(self.white.standardised(x)), start))

    def _widened(self, theta: Tensor) -> Tensor:
        """Return outputs with the variances that RSS/(n - p) has in place of RSS/n."""
        n_variances = (self.head.n_outputs - 1) // 3 if self.used else 0
        wider = theta.new_full((n_variances,), -math.log1p(-self.used))
        return theta + pad(wider, (theta.shape[1] - n_variances, 0))

    def weight(self, *, inside: bool) -> float:
        """Return the weight of the linear term's gain in half of in sample + held out that takes away their biases."""
        if self.linear.kept < 1.0:
            return 1 / (2 - self.linear.kept if inside else self.linear.kept)
        return (2.0 if inside else 2 - 2 * self.used) / (2 - self.used)


def _beyond_chance(gain: Tensor, d: int) -> bool:
    """Return whether log likelihood ratios (n,) of d more parameters exceed chi-squared by two of its deviations."""
    return bool(2 * gain.sum() > d + 2 * math.sqrt(2 * d))
