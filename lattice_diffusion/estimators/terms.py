"""Linear terms of a law by maximal likelihood, and what is left of them where the data are too few for it.

With w^ the weights of maximal likelihood, and f the information in one sample, a Gaussian prior of that shape gives
s w^, 0 < s < 1, in the quadratic regime. In units of their errors w^ = w + e, and with d of them the averages of the
log likelihood ratio over the samples of the fit and over others are
    in sample   (2s - s^2) (|w|^2 + d) / 2n,        held out   [(2s - s^2) |w|^2 - s^2 d] / 2n,
so that half of in sample / (2 - s) + held out / s is the truth |w|^2/2n, whatever w: nothing is lost to the shrinkage,
and nothing is clipped. It is needed where maximal likelihood would leave the quadratic regime; s follows from the prior
and the information at the fit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from .heads import Head

RIDGE = 1e-6  # of unit variance: columns that repeat others do no harm
LARGEST_NOISE = 0.3  # of log odds, from the errors of the weights: beyond it they are shrunk


class Whitening:
    """Columns -> uncorrelated ones of unit variance, weighted by `weights` (n,)."""

    def __init__(self, x: Tensor, weights: Tensor | None = None) -> None:
        d = x.shape[1]
        self.mean = x.mean(dim=0)
        scale = ((x - self.mean) ** 2).mean(dim=0).sqrt()
        self.scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        z = self.standardised(x).double()
        weighted = z if weights is None else z * (weights / weights.mean())[:, None]
        values, vectors = torch.linalg.eigh(weighted.T @ z / len(x) + RIDGE * torch.eye(d, dtype=z.dtype).to(z))
        self.matrix = (vectors / values.sqrt()).to(x.dtype)

    def standardised(self, x: Tensor) -> Tensor:
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
        return cls(scale.new_zeros(head.n_outputs), scale.new_zeros(n_features, len(scale)), scale)

    def __call__(self, features: Tensor, outputs: Tensor) -> Tensor:
        n_rest = outputs.shape[1] - len(self.scale)
        return outputs + self.constant + pad(features @ self.weights * self.scale, (0, n_rest))


def information(head: Head, outputs: Tensor, y: Tensor) -> Tensor:
    """(n,), squares of the slope of the log likelihood in the first output."""
    theta = outputs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(head.nats(theta, y).sum(), theta)
    return slope[:, 0] ** 2


def maximised(term: Term, head: Head, features: Tensor, outputs: Tensor, y: Tensor, f: float = 0.0) -> Term:
    """The term of maximal likelihood, by L-BFGS from `term`; with `f`, shrunk where too little is known.

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

    climb([found.weights, found.constant], loss)
    if kept < 1.0:
        here = float(information(head, found(features, outputs), y).mean())
        found.kept = here / (here + f * (1 / kept - 1))
    return found


def climb(parameters: list[Tensor], loss: Callable[[], Tensor]) -> None:
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
