"""One protocol for every estimator of I(A;C|B) from samples.

The conditional mutual information is the mean of the pointwise log ratio,
    I(A;C|B) = E log [ p(a|b,c) / p(a|b) ],
so an estimator that learns the ratio need only say what it is on samples it has not seen: K-fold cross-fitting
makes every sample a held-out one once, and the average has an error that can be read off. Nothing is ever clipped:
an estimate below 0 is what an unbiased estimator must give half of the time where the truth is 0.

Parameters follow scikit-learn (the constructor only stores them; get_params, set_params; fitted attributes end in
an underscore), so that its `clone` and pipelines work, without depending on it.
"""

import copy
import functools
import inspect
from abc import ABC
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..channels import Channel
from ..errors import InputError, Limits, check_device, check_limits, shown
from ..estimate import Estimate
from ..lattice import Tripartition
from .sample import Sample, check_continuous, group_index, sample_of

FloatArray = NDArray[np.float64]


class Parameters:
    """scikit-learn's conventions: parameters are the constructor's arguments, stored under their names.

    Every constructor refuses what its annotations do not allow, numbers outside `limits`, and a `device` that
    is not there.
    """

    limits: ClassVar[Limits] = {}

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "__init__" in vars(cls):
            cls.__init__ = _refusing(cls.__init__)  # type: ignore[method-assign]

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments; `deep` is there for scikit-learn, parameters are not nested."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; unknown names are refused."""
        for name in params:
            if name not in self._names():
                raise InputError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(self._names())}")
        type(self)(**{**self.get_params(), **params})  # refuses what may not be
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"


def _refusing(constructor: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(constructor)
    def wrapper(self: Parameters, *args: Any, **kwargs: Any) -> None:
        constructor(self, *args, **kwargs)
        check_limits(self.limits, vars(self))
        check_device(vars(self).get("device"))

    return wrapper


class Estimator(Parameters, ABC):
    """Base of all estimators; a subclass writes `_log_ratios`, or `_estimate` where it is not cross-fitted.

    Args:
        folds: K of the cross-fitting.

    Class attributes:
        continuous_only: refuses two-valued columns in one sentence.
        limits: lowest and highest value of numbers among the parameters; integers where the lowest is one.
    """

    continuous_only: ClassVar[bool] = False
    limits: ClassVar[Limits] = {"folds": (2, None)}
    estimate_: Estimate
    log_ratios_: FloatArray

    def __init__(self, folds: int = 5) -> None:
        self.folds = folds

    def fit(
        self,
        a: ArrayLike,
        c: ArrayLike | Tripartition | None = None,
        b: ArrayLike | None = None,
        *,
        parts: Tripartition | None = None,
        channel: Channel | None = None,
        t: float | None = None,
        groups: ArrayLike | None = None,
        rng: np.random.Generator | None = None,
    ) -> Self:
        """Learn from samples, either flat arrays or noisy lattices.

            fit(a, c, b)          a (n, d_A), c (n, d_C) and b (n, d_B), or (n,) for one column; b None: I(A;C)
            fit(x_t, parts, ...)  x_t (n, *lattice) or (n, channel, *lattice), `parts` a Tripartition of the lattice

        Args:
            channel, t: the noise of x_t, for estimators that make use of knowing it.
            groups: (n,) labels; samples that share one are correlated, as neighbours in a Markov chain are. They
                stay in one fold, and the error is that of independent groups.
            rng: for the folds, and for whatever the estimator draws; None: the same ones every time.

        Raises:
            ValueError: lengths that differ, NaN, a constant column, fewer samples (or groups) than folds, a
                two-valued column given to an estimator of continuous data.
        """
        if isinstance(c, Tripartition):
            parts, c = c, None
        sample = sample_of(a, c, b, parts, channel, t)
        if self.continuous_only:
            check_continuous(sample, type(self).__name__)
        rng = np.random.default_rng(0) if rng is None else rng
        if not isinstance(rng, np.random.Generator):
            raise InputError(f"rng must be a Generator, got {shown(rng)}; pass numpy.random.default_rng(seed)")
        self.estimate_ = self._estimate(sample, group_index(groups, len(sample)), rng)
        return self

    def estimate(self) -> Estimate:
        """I(A;C|B) in nats with its standard error; may be negative."""
        if not hasattr(self, "estimate_"):
            raise InputError(f"{type(self).__name__} has not been fitted; call fit(a, c, b) or fit(x_t, parts) first")
        return self.estimate_

    def _log_ratios(self, train: Sample, test: Sample, rng: np.random.Generator) -> FloatArray:
        """(len(test),), estimates of log p(a|b,c) - log p(a|b) at `test`, learned from `train` alone."""
        raise NotImplementedError(f"{type(self).__name__} must define _log_ratios(train, test, rng)")

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        """Average of the held-out log ratios over K folds; `groups` numbers the group of every sample, 0, 1, ..."""
        fold = self._fold(groups, rng)
        log_ratios = np.empty(len(sample))
        for k in range(self.folds):
            held_out = np.flatnonzero(fold == k)
            train, test = sample.take(np.flatnonzero(fold != k)), sample.take(held_out)
            log_ratios[held_out] = self._log_ratios(train, test, rng)
        self.log_ratios_ = log_ratios
        return mean_estimate(log_ratios, groups, f"{type(self).__name__}, {self.folds}-fold cross-fitted")

    def _fold(self, groups: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
        """(n,), the fold of every sample: groups in random order, dealt out in turn."""
        n_groups = int(groups.max()) + 1
        if n_groups < self.folds:
            what = "samples" if n_groups == len(groups) else "groups"
            raise InputError(f"{self.folds} folds need at least as many {what}, got {n_groups}; lower folds")
        return (rng.permutation(n_groups) % self.folds)[groups]


def clone(estimator: Any) -> Any:
    """An unfitted copy with the same parameters; a deep copy of objects that do not follow the conventions."""
    if hasattr(estimator, "get_params"):
        return type(estimator)(**estimator.get_params())
    return copy.deepcopy(estimator)


def mean_estimate(values: FloatArray, groups: NDArray[np.intp], method: str) -> Estimate:
    """The mean of `values` (n,) with the error of independent groups.

    With S_g the sum and n_g the size of group g among G, var = G/(G-1) sum_g (S_g - n_g mean)^2 / n^2, which is the
    usual variance of a mean where every sample is a group of its own.
    """
    if not np.isfinite(values).all():
        raise InputError(
            f"log ratios must be finite, {method} gave {np.count_nonzero(~np.isfinite(values))} that are not"
        )
    mean, n = float(values.mean()), len(values)
    residual = np.bincount(groups, weights=values - mean)
    n_groups = len(residual)
    if n_groups < 2:
        raise InputError("at least 2 independent samples or groups are needed to give an error, got 1")
    stderr = float(np.sqrt(n_groups / (n_groups - 1) * (residual**2).sum()) / n)
    return Estimate(mean, stderr, n, method)
