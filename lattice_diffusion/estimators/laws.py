"""Laws q(a|x) of one value: a head, a linear term, one that bends it, and a network that sees all.

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
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.stats import norm
from torch import Tensor, nn
from torch.nn.functional import pad

from .heads import FLAT, Head, Mixture
from .networks import Rows, by_chunks

LARGEST_NOISE = 0.3  # of log odds, from the errors of the weights: beyond it they are shrunk
DEGREE = 3  # of the bend
SQUASH = 2.0  # standard deviations at which its powers level off
STEP = 0.4  # and its step from one level of the collective variable to another
WAVES, MOST_WAVES = 16, 64  # highest frequency of one column, and number of waves, that a network is given
CHANCE = 1e-3  # that it is given any where none tells anything


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
    """Return the term to begin with: that of least squares where there are residuals and it is likelier, else none."""
    none, term = (Term.none(head, features.shape[1], features.new_ones(head.n_linear)) for _ in range(2))
    residual = head.residual(outputs, y)
    if residual is None:
        return none
    weights = features.T @ (residual - residual.mean()) / len(features)
    left = residual - features @ weights
    term.weights[:, 0], term.constant[0] = weights, residual.mean()
    term.constant[-(head.n_outputs // 3) :] = 2 * torch.log(left.std() / residual.std())
    begun, plain = (float(head.nats(one(features, outputs), y).mean()) for one in (term, none))
    return term if begun < plain else none


def slopes(head: Head, outputs: Tensor, y: Tensor) -> Tensor:
    """Return (n, n_outputs), those of -log q(a) in the outputs."""
    theta = outputs.clone().requires_grad_()
    return torch.autograd.grad(head.nats(theta, y).sum(), theta)[0]


def information(head: Head, outputs: Tensor, y: Tensor) -> Tensor:
    """Return (n,), squares of the slope in the first output."""
    return slopes(head, outputs, y)[:, 0] ** 2


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


@dataclass
class Waves:
    """Waves sin(kx + phase) of columns x: networks, which are stopped early, learn few periods of a function alone."""

    frequencies: Tensor
    phases: Tensor
    columns: Tensor

    @classmethod
    def none(cls, x: Tensor) -> "Waves":
        """Return no waves."""
        return cls(x[0, :0], x[0, :0], x[0, :0].long())

    @classmethod
    def beyond_chance(cls, standard: Tensor, *left: Tensor) -> "Waves":
        """Return the waves of `standard` columns (n, d) that are correlated beyond chance with all of `left` (n, m)."""
        x, units = standard.float(), [_unit(one.float()) for one in left]
        waves = (_unit(wave(k * x)) for k in range(1, WAVES + 1) for wave in (torch.sin, torch.cos))
        each = [torch.stack([(wave.T @ unit).abs().amax(dim=1) for unit in units]) for wave in waves]
        z = torch.stack(each).amin(dim=1) / len(x) ** 0.5
        bound = norm.isf(CHANCE / (2 * max(z.numel() * left[0].shape[1], 1)))
        largest, at = z.flatten().topk(min(MOST_WAVES, z.numel()))
        at = at[largest > bound]
        which, columns = at // x.shape[1], at % x.shape[1]
        return cls((which // 2 + 1).to(standard), (which % 2).to(standard) * (math.pi / 2), columns)

    def __call__(self, standard: Tensor) -> Tensor:
        """Return (n, number of waves)."""
        return torch.sin(standard[:, self.columns] * self.frequencies + self.phases)


def _unit(x: Tensor) -> Tensor:
    """Return columns of mean 0 and variance 1, those that do not vary 0."""
    x = x - x.mean(dim=0)
    return x / (x**2).mean(dim=0).sqrt().clamp(min=FLAT)


# -- the law -----------------------------------------------------------------------------------------------


class Law:
    """Outputs of a law: those it starts from, a linear term, a bend, and a network.

    The bend is a polynomial in three variables: the linear predictors, of the law it starts from and its own, and the
    first principal component of the inputs, which is the magnetisation of mean-field laws and tells the classes of a
    mixture. All that is linear in them is left to the linear term.

    Args:
        x, y, start: (n, d), (n,) targets and (n, n_outputs); `net` comes later.
        rows: what the terms are fitted to, and what they are judged by.
        bent: False leaves bend and waves out.
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
        self.waves = Waves.none(x)
        if bent:
            self._bend(self.curves(self._curves(variables)), linear, y, held_out)
            bend = by_chunks(self, x, start)
            self.waves = Waves.beyond_chance(standard, slopes(head, linear, y), slopes(head, bend, y))

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
        """Return what the network sees: standardised inputs, the linear predictors, and waves."""
        standard = self.white.standardised(x)
        variables = self.scales.standardised(self._variables(standard, self._predictors(standard), start))
        return self._inputs(standard, variables)

    def _inputs(self, standard: Tensor, variables: Tensor) -> Tensor:
        return torch.cat([standard, variables[:, :-1], self.waves(standard)], dim=1)

    def __call__(self, x: Tensor, start: Tensor) -> Tensor:
        standard = self.white.standardised(x)
        predictors = self._predictors(standard)
        variables = self.scales.standardised(self._variables(standard, predictors, start))
        theta = self._widened(self.bend(self.curves(self._curves(variables)), self.linear.moved(predictors, start)))
        if self.net is None:
            return theta
        return theta + self.gain * self.net(self._inputs(standard, variables).float())

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
