"""The law of one value given others: a linear term, one that bends it, and a network that sees everything."""

import itertools

import torch
from torch import Tensor, nn

from .base import FloatArray
from .heads import Head
from .networks import by_chunks, tensor
from .terms import Term, Whitening, information, maximised

DEGREE = 3  # of the bend
SQUASH = 2.0  # standard deviations at which its powers level off
STEP = 0.4  # and its step from one level of the collective variable to another


class Law:
    """Outputs of a law: those it starts from, a linear term, a bend, and a network.

    The bend is a polynomial in three variables: the linear predictors, of the law it starts from and its own, and the
    first principal component of the inputs, which is the magnetisation of mean-field laws and tells the classes of a
    mixture. All that is linear in them is left to the linear term.

    Args:
        x, y, start: (n, d), (n,) targets and (n, n_outputs), what the terms are fitted to; `net` comes later.
        bent: False leaves the bend out.
    """

    def __init__(
        self,
        head: Head,
        x: FloatArray,
        y: FloatArray,
        start: FloatArray,
        device: str | torch.device | None,
        *,
        bent: bool,
    ) -> None:
        self.head, self.device = head, device
        self.net: nn.Module | None = None
        z, offset, target = (tensor(array, device) for array in (x, start, y))
        known = information(head, offset, target) if head.shrinks else None
        self.white = Whitening(z, known)
        white = self.white(z)
        first = _least_squares(Term.none(head, white.shape[1], z.new_ones(head.n_linear)), head, white, offset, target)
        f = 0.0 if known is None else float(known.mean())
        self.linear = maximised(first, head, white, offset, target, f)
        linear = self.linear(white, offset)
        self.gain = head.gain(linear, target)
        self.principal = _principal(self.white.standardised(z))
        self.scales = Whitening(self._variables(z, white, offset))
        variables = self.scales.standardised(self._variables(z, white, offset))
        self.straight = torch.linalg.pinv(variables.double()).to(z) @ _powers(variables, head)
        self.curves = Whitening(self._curves(variables))
        self.bend = Term.none(head, self.straight.shape[1], self.gain[: head.n_bent])
        if bent:
            self.bend = maximised(self.bend, head, self.curves(self._curves(variables)), linear, target)

    def _variables(self, x: Tensor, white: Tensor, start: Tensor) -> Tensor:
        """(n, 2 n_linear + 1), what is bent."""
        collective = self.white.standardised(x) @ self.principal
        return torch.cat([start[:, : self.head.n_linear], white @ self.linear.weights, collective], dim=1)

    def _curves(self, variables: Tensor) -> Tensor:
        return _powers(variables, self.head) - variables @ self.straight

    def seen(self, x: Tensor, start: Tensor) -> Tensor:
        """What the network sees: standardised inputs and the linear predictors."""
        variables = self.scales.standardised(self._variables(x, self.white(x), start))
        return torch.cat([self.white.standardised(x), variables[:, :-1]], dim=1)

    def __call__(self, x: Tensor, start: Tensor) -> Tensor:
        white = self.white(x)
        variables = self.scales.standardised(self._variables(x, white, start))
        theta = self.bend(self.curves(self._curves(variables)), self.linear(white, start))
        return theta if self.net is None else theta + self.gain * self.net(self.seen(x, start))

    def outputs(self, x: FloatArray, start: FloatArray) -> FloatArray:
        """(n, n_outputs)."""
        return by_chunks(self, tensor(x, self.device), tensor(start, self.device)).cpu().double().numpy()

    def linear_outputs(self, x: FloatArray, start: FloatArray) -> FloatArray:
        """(n, n_outputs), those of the linear term alone."""

        def linear(x: Tensor, start: Tensor) -> Tensor:
            return self.linear(self.white(x), start)

        return by_chunks(linear, tensor(x, self.device), tensor(start, self.device)).cpu().double().numpy()


def _principal(z: Tensor) -> Tensor:
    """(d, 1), the direction in which standardised columns vary most."""
    if z.shape[1] == 0:
        return z.new_zeros(0, 1)
    return torch.linalg.eigh((z.T @ z).double())[1][:, -1:].to(z)


def _powers(variables: Tensor, head: Head) -> Tensor:
    """A step, and products of 2 to DEGREE squashed variables; where there are many of them, powers of each."""
    squashed, step = torch.tanh(variables / SQUASH), torch.tanh(variables[:, -1:] / STEP)
    columns, degrees = range(variables.shape[1]), range(2, DEGREE + 1)
    if head.n_linear == 1:
        chosen = [c for k in degrees for c in itertools.combinations_with_replacement(columns, k)]
    else:
        chosen = [(i,) * k for k in degrees for i in columns]
    return torch.cat([step, *(squashed[:, list(c)].prod(dim=1, keepdim=True) for c in chosen)], dim=1)


def _least_squares(term: Term, head: Head, white: Tensor, start: Tensor, y: Tensor) -> Term:
    """Where there are residuals, a term to begin with."""
    residual = head.residual(start, y)
    if residual is None:
        return term
    weights = white.T @ (residual - residual.mean()) / len(white)
    left = residual - white @ weights
    term.weights[:, 0], term.constant[0] = weights, residual.mean()
    term.constant[-(head.n_outputs // 3) :] = 2 * torch.log(left.std() / residual.std())
    return term
