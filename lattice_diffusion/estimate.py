"""Values with standard errors, as exact answers and estimators return them."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error.

    Attributes:
        value: the quantity, in nats where it is an information.
        stderr: one standard error of `value`; 0 when the value is exact.
        n_samples: samples the value is averaged over; 0 when the value is exact.
        method: how it was obtained, in words.
    """

    value: float
    stderr: float
    n_samples: int
    method: str = ""

    def z_score(self, truth: float) -> float:
        """Return (value - truth) / stderr; for an exact value 0 or infinity."""
        if self.stderr == 0.0:
            return 0.0 if self.value == truth else math.copysign(math.inf, self.value - truth)
        return (self.value - truth) / self.stderr


@dataclass(frozen=True)
class Curve:
    """Several quantities measured on one set of samples, with their joint errors.

    Attributes:
        values: (n,).
        covariance: (n, n), covariance of the values themselves (not of single samples); 0 when exact.
        n_samples: samples averaged over; 0 when exact.
        method: how they were obtained.
    """

    values: NDArray[np.float64]
    covariance: NDArray[np.float64]
    n_samples: int
    method: str = ""

    @classmethod
    def from_samples(cls, samples: NDArray[np.float64], method: str = "") -> "Curve":
        """Return means over axis 0 of `samples` (n_samples, n) or (n_samples,), with their covariance.

        Raises InputError for fewer than 2 samples.
        """
        n_samples, samples = len(samples), samples.reshape(len(samples), -1)
        if n_samples < 2:
            raise InputError(f"n_samples must be >= 2 to give an error, got {n_samples}")
        covariance = np.atleast_2d(np.cov(samples, rowvar=False)) / n_samples
        return cls(samples.mean(axis=0), covariance, n_samples, method)

    @classmethod
    def exact(cls, values: NDArray[np.float64], method: str) -> "Curve":
        return cls(values, np.zeros((values.size, values.size)), 0, method)

    def where_nothing_varied(self, unit: float, possible: ArrayLike = True) -> "Curve":
        """Return the curve with an error of unit / n_samples at `possible` entries where all samples were equal.

        That says only that others have a probability of about 1 / n_samples at most, each of which would move a sample
        by about `unit`; one such sample seen gives the same error.
        """
        spread = np.sqrt(np.diag(self.covariance) * self.n_samples)
        equal = (spread <= 1e-10 * np.abs(self.values)) & np.asarray(possible, bool)
        return replace(self, covariance=self.covariance + np.diag(np.where(equal, unit / self.n_samples, 0.0) ** 2))

    @property
    def stderr(self) -> NDArray[np.float64]:
        return np.sqrt(np.diag(self.covariance))

    def __getitem__(self, i: int) -> Estimate:
        return Estimate(float(self.values[i]), float(self.stderr[i]), self.n_samples, self.method)
