"""The law of a sample's mean value, generated beside true: how far it has to be moved.

    W_1 = int |F(m) - F_true(m)| dm      (Wasserstein, in units of m)

of the histogram of n samples. Even true samples are some way off, so that their own expected distance is subtracted:
zero within its error for perfect generation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...exact.magnetisation import magnetisation_law
from ...models import Ising

FloatArray = NDArray[np.float64]
N_DRAWS = 200


@dataclass(frozen=True)
class MeanLaw:
    """True probabilities of the means -1, .., 1 of two-valued data, even in steps.

    Attributes:
        law: (N+1,), exact, or as frequencies of n_drawn samples (0: exact).
    """

    law: FloatArray
    n_drawn: int = 0

    def distance(self, means: FloatArray, rng: np.random.Generator) -> tuple[float, float]:
        """W_1 of samples' means to the true law, less what true samples would have, and its standard error."""
        n = len(means)
        found = self._frequencies(means)
        true = rng.multinomial(n, self.law, N_DRAWS) / n
        reference = rng.multinomial(self.n_drawn, self.law, N_DRAWS) / self.n_drawn if self.n_drawn else self.law
        null = self._apart(true, reference)
        again = self._apart(rng.multinomial(n, found, N_DRAWS) / n, reference)
        value = self._apart(found, self.law) - null.mean()
        return float(value), float(max(null.std(ddof=1), again.std(ddof=1)))

    def _apart(self, p: FloatArray, q: FloatArray) -> FloatArray:
        step = 2.0 / (len(self.law) - 1)
        return np.asarray(step * np.abs(np.cumsum(p - q, axis=-1)).sum(axis=-1))

    def _frequencies(self, means: FloatArray) -> FloatArray:
        return frequencies(means, len(self.law))


def mean_law(model: Any, means: FloatArray, n_values: int) -> MeanLaw:
    """Exact for spins; otherwise that of true samples, whose means (n,) of n_values entries are given."""
    if isinstance(model, Ising):
        shape = model.lattice.shape
        return MeanLaw(magnetisation_law((shape[0], shape[1]), model.beta)[1])
    return MeanLaw(frequencies(means, n_values + 1), len(means))


def frequencies(means: FloatArray, size: int) -> FloatArray:
    """(size,), shares of means at -1, .., 1 in even steps."""
    index = np.rint((means + 1.0) / 2.0 * (size - 1)).astype(np.int64)
    return np.asarray(np.bincount(index, minlength=size) / len(means))
