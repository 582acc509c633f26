"""Identities that any estimator of I(A;C|B) must fulfil, whatever the data: no truth is needed to fail them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..channels import Gaussian
from ..errors import InputError
from ..estimate import Estimate
from ..lattice import FloatArray, Lattice, Rng
from ..models import GaussianField
from .base import clone

Draw = Callable[[int, np.random.Generator], tuple[FloatArray, FloatArray, FloatArray]]


class Check(NamedTuple):
    """One identity: `estimate` is a difference that should be 0, or at least not below it."""

    name: str
    estimate: Estimate
    one_sided: bool = False

    @property
    def z(self) -> float:
        """Standard errors away from what is allowed."""
        z = self.estimate.z_score(0.0)
        return min(z, 0.0) if self.one_sided else z


def noisy_chain(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return a (n, 1), b (n, 2), c (n, 3) of a massive free field on an open chain of 6 sites, noisy."""
    lattice = Lattice((6,))
    parts = lattice.tripartition((2,), radius=1)
    x_t = Gaussian("linear").corrupt(GaussianField(lattice, 0.05).sample(n, rng), 0.5, rng)
    return x_t[:, parts.A], x_t[:, parts.B], x_t[:, parts.C]


def consistency(estimator: Any, rng: Rng = None, *, n: int = 2000, draw: Draw = noisy_chain) -> list[Check]:
    """Return four identities, measured on n fresh samples for every estimate but those of the last one.

        independent   C shuffled among the samples:  I(A;C|B) = 0
        chain rule    I(A;C1 C2|B) - I(A;C1|B) - I(A;C2|B C1) = 0
        monotone      I(A;C1 C2|B) - I(A;C1|B) >= 0
        sign          I(A;C|B) of x and of -x are the same

    Args:
        estimator: anything with `fit(a, c, b, rng=...)` and `estimate()`; it is cloned for every fit.
        draw: (n, rng) -> a, b, c, with at least two columns in c. Fields by default; bring spins for an estimator of
            discrete data.
    """
    rng = np.random.default_rng(rng)

    def fit(a: FloatArray, c: FloatArray, b: FloatArray) -> Estimate:
        return clone(estimator).fit(a, c, b, rng=rng).estimate()

    def split() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        a, b, c = draw(n, rng)
        half = c.shape[1] // 2
        if half == 0:
            raise InputError("draw must give at least two columns in c for the chain rule, got 1")
        return a, b, c[:, :half], c[:, half:]

    a, b, c = draw(n, rng)
    shuffled = fit(a, c[rng.permutation(n)], b)
    a, b, c1, c2 = split()
    whole = fit(a, np.hstack([c1, c2]), b)
    a, b, c1, _ = split()
    near = fit(a, c1, b)
    a, b, c1, c2 = split()
    far = fit(a, c2, np.hstack([b, c1]))
    a, b, c = draw(n, rng)
    plus, minus = fit(a, c, b), fit(-a, -c, -b)
    return [
        Check("independent", shuffled),
        Check("chain rule", _difference(whole, near, far)),
        Check("monotone", _difference(whole, near), one_sided=True),
        Check("sign", _difference(plus, minus)),
    ]


def _difference(first: Estimate, *others: Estimate) -> Estimate:
    """first - sum of others, errors added in quadrature."""
    value = first.value - sum(other.value for other in others)
    stderr = float(np.sqrt(sum(e.stderr**2 for e in (first, *others))))
    return Estimate(value, stderr, first.n_samples, first.method)
