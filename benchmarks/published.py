"""Published estimators of mutual information on the tasks of the benchmark, by the package diffusion-mi.

    pip install diffusion-mi
    lattice-diffusion benchmark estimators --tasks mixture-white --seeds 1 --estimators benchmarks/published.py:MINDE

They know mutual information alone, so that I(A;C|B) = I(A;BC) - I(A;B), each learned on one part of the samples and
read on the other, `folds` times; the error is that of the folds. Everything else is as the package has it.

    MINDE    Franzese, Bounoua and Michiardi (arXiv:2310.09031): difference of scores with and without the condition
    MMG      Yu and others (arXiv:2509.20609): gap of denoising errors, integrated over the signal-to-noise ratio
    DIME     Letizia, Novello and Tonello (arXiv:2305.20025): discriminator of joint and deranged pairs
    SMILE    Song and Ermon (arXiv:1910.06222): MINE's bound with a clipped ratio
"""

import contextlib
import math
import os
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lattice_diffusion.estimate import Estimate
from lattice_diffusion.estimators.base import Estimator, Sample


class Published(Estimator):
    """One of the package's estimators, trained for `steps` batches.

    Args:
        steps: of training, for each of the two informations of a fold.
    """

    method: ClassVar[str]
    batch_size: ClassVar[int] = 256

    def __init__(self, folds: int = 2, steps: int = 3000) -> None:
        super().__init__(folds)
        self.steps = steps

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        standard, fold = sample.standardised(), self._fold(sample, groups, rng)
        found = [self._difference(standard.take(fold != k), standard.take(fold == k)) for k in range(self.folds)]
        stderr = float(np.std(found, ddof=1) / math.sqrt(self.folds))
        return Estimate(float(np.mean(found)), stderr, len(sample), f"{self.method}, I(A;BC) - I(A;B)")

    def _difference(self, train: Sample, test: Sample) -> float:
        everything = self._information(train.a, train.bc, test.a, test.bc)
        return everything - (self._information(train.a, train.b, test.a, test.b) if train.b.shape[1] else 0.0)

    def _information(self, a: NDArray, y: NDArray, held_a: NDArray, held_y: NDArray) -> float:
        import dmi

        with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
            one = getattr(dmi.estimators, f"{self.method}Estimator")(batch_size=self.batch_size, **self._length(len(a)))
            one.fit(a, y, held_a, held_y)
            return float(one.estimate(held_a, held_y))

    def _length(self, n: int) -> dict[str, Any]:
        return {"max_n_steps": self.steps}


class _ByEpochs(Published):
    def _length(self, n: int) -> dict[str, Any]:
        return {"max_epochs": -(-self.steps * self.batch_size // n)}


class MINDE(_ByEpochs):
    method = "MINDE"


class MMG(_ByEpochs):
    method = "MMG"


class DIME(_ByEpochs):
    method = "DIME"


class SMILE(Published):
    method = "SMILE"
