"""The protocol of every estimator of I(A;C|B) from samples: samples, parameters, cross-fitting, errors.

The conditional mutual information is the mean of the pointwise log ratio,
    I(A;C|B) = E log [ p(a|b,c) / p(a|b) ],
so an estimator that learns the ratio need only say what it is on samples it has not seen: K-fold cross-fitting
makes every sample a held-out one once, and the average has an error that can be read off. Nothing is ever clipped:
an estimate below 0 is what an unbiased estimator must give half of the time where the truth is 0.

Estimators are scikit-learn's: the constructor stores its arguments under their names, `get_params` and `set_params`
read and change them, and fitted attributes end in an underscore.
"""

import contextlib
import copy
import itertools
import time
import warnings
from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata
from sklearn.base import BaseEstimator

from ..channels import MASK, Channel, check_symbols, check_tokens, symbols_of
from ..errors import InputError, Limits, array_of, check_limits, device_of, gpu_memory, shown
from ..estimate import Estimate
from ..lattice import FloatArray, Rng, Tripartition
from ..progress import duration, say
from ..threads import one_thread

HEAVY = 6.0  # kurtosis of a Laplace law
FEW_VALUES = 8  # columns with so few values are spins or categories, not continuous
COLUMNS_LOOKED_AT = 64  # for copies of samples


# -- samples -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sample:
    """n joint samples of A, B and C as flat arrays, with the lattice they came from where there is one.

    Attributes:
        a, b, c: float64 (n, d_A), (n, d_B), (n, d_C); d_B may be 0. Lattice sites come in C order of the masks.
            Tokens in b and c are one-hot, a column for each of `symbols`; those in a are not, see `coded_a`.
        x_t: the lattice samples as they were given, (n, *lattice) or (n, channel, *lattice); None for flat data.
        parts, channel, t: A | B | C on the lattice and the noise, None where not given.
        tokens: number of symbols, where it was declared.
        symbols: increasing values of tokens, the mask's among them; None where there are none.
        tokens_a: which columns of a are tokens, (d_A,).
        tokens_in: the names of those of a, b and c that have columns of tokens.
    """

    a: FloatArray
    b: FloatArray
    c: FloatArray
    x_t: NDArray | None = None
    parts: Tripartition | None = None
    channel: Channel | None = None
    t: float | None = None
    tokens: int | None = None
    symbols: FloatArray | None = None
    tokens_a: NDArray[np.bool_] | None = None
    tokens_in: str = ""

    def __len__(self) -> int:
        return len(self.a)

    @property
    def bc(self) -> FloatArray:
        """(n, d_B + d_C), the columns of B followed by those of C."""
        return np.hstack([self.b, self.c])

    def coded_a(self, n: int | None = None) -> FloatArray:
        """Return the first n columns of a, those of tokens one-hot."""
        a = self.a[:, :n]
        return a if self.symbols is None or self.tokens_a is None else _one_hot(a, self.tokens_a[:n], self.symbols)

    def take(self, rows: NDArray[np.intp]) -> "Sample":
        """Return the samples of these indices."""
        x_t = None if self.x_t is None else self.x_t[rows]
        return replace(self, a=self.a[rows], b=self.b[rows], c=self.c[rows], x_t=x_t)

    def standardised(self) -> "Sample":
        """Return the samples with columns of mean 0 and variance 1; those that do not vary are 0."""
        a, b, c = (standardising(x)(x) for x in (self.coded_a(), self.b, self.c))
        return replace(self, a=a, b=b, c=c, symbols=None)

    def check(self) -> None:
        """Raise InputError for unequal lengths, fewer than 2 samples, values that are not finite, a or c constant."""
        if not len(self.a) == len(self.b) == len(self.c):
            lengths = f"{len(self.a)}, {len(self.b)} and {len(self.c)}"
            raise InputError(f"a, b and c must hold the same samples, got {lengths}")
        if len(self) < 2:
            raise InputError(f"at least 2 samples are needed to give an error, got {len(self)}")
        for name, x in (("a", self.a), ("b", self.b), ("c", self.c)):
            if name != "b" and x.shape[1] == 0:
                raise InputError(f"{name.upper()} must hold at least one column or site, got none; only B may be empty")
            if not np.isfinite(x).all():
                row, column = np.argwhere(~np.isfinite(x))[0]
                raise InputError(f"{name} must be finite, got {x[row, column]} in sample {row}, column {column}")
            constant = (x == x[0]).all(axis=0)
            for column in np.flatnonzero(constant) if name == "a" or (name == "c" and constant.all()) else ():
                value = f"{x[0, column]:g} throughout column {column}"
                raise InputError(f"{name} must vary, got {value}; leave that column out")

    def check_continuous(self, who: str, names: str = "abc") -> None:
        """Raise InputError for tokens, and for columns with a handful of values, such as spins."""
        for name in names:
            if name in self.tokens_in:
                kind = (
                    "tokens" if self.tokens else f"a column of 3 to {FEW_VALUES} integers, which are taken for tokens,"
                )
                raise InputError(f"{who} needs continuous data, got {kind} in {name}; use ConditionalLikelihood")
            for column, values in enumerate(getattr(self, name).T):
                distinct = len(np.unique(values))
                if 1 < distinct <= min(FEW_VALUES, len(values) - 1):
                    raise InputError(
                        f"{who} needs continuous data, got {distinct} distinct values in column {column} of {name}; "
                        "for spins use an estimator of discrete data such as ConditionalLikelihood"
                    )


def standardising(x: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return the map that gives these columns mean 0 and variance 1, and 0 to those that do not vary."""
    unit = np.abs(x - x[:1]).max(axis=0, initial=0.0)
    unit[unit == 0] = 1.0
    moved = (x - x[:1]) / unit  # first of all, so that no offset or unit costs digits
    mean, scale = moved.mean(axis=0), moved.std(axis=0)
    scale[scale == 0] = 1.0
    return lambda y: ((y - x[:1]) / unit - mean) / scale


def sample_of(
    a: ArrayLike,
    c: ArrayLike | None,
    b: ArrayLike | None = None,
    parts: Tripartition | None = None,
    channel: Channel | None = None,
    t: float | None = None,
    tokens: int | None = None,
) -> Sample:
    """Return the `Sample` of flat arrays a, c, b, or of lattice samples `a` divided by `parts`; see `Estimator.fit`."""
    tokens = symbols_of(channel) if tokens is None else check_symbols(tokens, "tokens")
    if parts is not None:
        if c is not None or b is not None:
            raise InputError("parts divide x_t into A, B and C; give either parts or the flat arrays c and b, not both")
        x_t = array_of("x_t", a)
        a_t, b_t, c_t = (_region(x_t, mask) for mask in (parts.A, parts.B, parts.C))
        sample = Sample(a_t, b_t, c_t, x_t, parts, channel, t)
    else:
        if c is None:
            raise InputError("C is missing; call fit(a, c, b) with flat arrays, or fit(x_t, parts) with a Tripartition")
        flat = _columns("a", a)
        sample = Sample(flat, flat[:, :0] if b is None else _columns("b", b), _columns("c", c), channel=channel, t=t)
    sample.check()
    return _coded(sample, tokens)


def light_tailed(sample: Sample) -> Sample:
    """Return the samples with normal scores for values of heavy tails, where the Gaussian law of a is likelier then.

    An invertible map of a column changes no information, while no law is learned from a column that a few outliers
    rule. Whether those of a, and of (b, c), are mapped is told by the likelihood of a in the Gaussian law linear in
    (b, c), in one unit by the mean log slope of the map, as of Vasicek's entropies (1976), which atoms have no part in.
    Values of known noise stay as they are.
    """
    heavy = {name: _heavy(getattr(sample, name)) for name in "abc"}
    if not (sample.channel is None and sample.tokens is None and any(some.any() for some in heavy.values())):
        return sample
    a, b, c = (_normal_scores(getattr(sample, name), some) for name, some in heavy.items())
    mapped = replace(sample, a=a, b=b, c=c)
    ways = [standardising(x)(x) for x in (sample.a, mapped.a)]
    d, slope = a.shape[1], sum(_log_slope(ways[0][:, j], ways[1][:, j]) for j in np.flatnonzero(heavy["a"]))
    choices: dict[float, Sample] = {}
    for other in (sample, mapped) if heavy["b"].any() or heavy["c"].any() else (sample,):
        x, y = standardising(other.bc)(other.bc), np.hstack(ways)
        left = y - x @ np.linalg.lstsq(x, y)[0]
        for values, part, gained in ((sample.a, left[:, :d], 0.0), (mapped.a, left[:, d:], slope)):
            fit = gained - 0.5 * np.linalg.slogdet(part.T @ part / len(part))[1]
            choices.setdefault(fit, replace(other, a=values))  # as it was, where both are as likely
    return choices[max(choices)]


def _log_slope(x: FloatArray, y: FloatArray) -> float:
    """Return E log dy/dx of a rising map of values x to y, from spacings of their order statistics."""
    m = max(1, round(0.5 * len(x) ** 0.5))
    dx, dy = (np.sort(values)[m:] - np.sort(values)[:-m] for values in (x, y))
    return float(np.log(dy[dx > 0] / dx[dx > 0]).mean())


def _heavy(x: FloatArray) -> NDArray[np.bool_]:
    """Return which columns take more than a few values, of a kurtosis above that of a Laplace law."""
    heavy: NDArray[np.bool_] = (standardising(x)(x) ** 4).mean(axis=0) > HEAVY
    heavy[heavy] = [len(np.unique(column)) > FEW_VALUES for column in x.T[heavy]]
    return heavy


def _normal_scores(x: FloatArray, columns: NDArray[np.bool_]) -> FloatArray:
    x = x.copy()
    x[:, columns] = norm.ppf((rankdata(x[:, columns], axis=0) - 0.5) / len(x))
    return x


def _coded(sample: Sample, q: int | None) -> Sample:
    """Return the sample with tokens of b and c one-hot; without q columns of 3 to FEW_VALUES integers are tokens."""
    arrays = {"a": sample.a, "b": sample.b, "c": sample.c}
    if q is None:
        flags = {name: np.array([_few_integers(column) for column in x.T], bool) for name, x in arrays.items()}
        if not any(flag.any() for flag in flags.values()):
            return sample
        symbols = np.unique(np.concatenate([np.unique(x[:, flags[name]]) for name, x in arrays.items()]))
    else:
        for name, x in arrays.items():
            check_tokens(name, x, q, int(MASK))
        flags = {name: np.ones(x.shape[1], bool) for name, x in arrays.items()}
        masked = any((x == MASK).any() for x in arrays.values())
        symbols = np.arange(MASK if masked else 0.0, q)
    b, c = (_one_hot(arrays[name], flags[name], symbols) for name in "bc")
    found = "".join(name for name, flag in flags.items() if flag.any())
    return replace(sample, b=b, c=c, tokens=q, symbols=symbols, tokens_a=flags["a"], tokens_in=found)


def _few_integers(column: FloatArray) -> bool:
    """Return whether a column holds 3 to FEW_VALUES integers; -1, 0 and 1 are spins and erased ones."""
    values = np.unique(column) if (column == np.floor(column)).all() else column[:0]
    return 2 < len(values) <= FEW_VALUES and set(values) != {-1, 0, 1}


def _one_hot(x: FloatArray, tokens: NDArray[np.bool_], symbols: FloatArray) -> FloatArray:
    """Return the columns of x (n, d), those of tokens as one for each of the symbols."""
    if tokens.all():
        return (x[:, :, None] == symbols).reshape(len(x), x.shape[1] * len(symbols)).astype(float)
    columns = [x[:, [i]] == symbols if token else x[:, [i]] for i, token in enumerate(tokens)]
    return np.hstack(columns).astype(float)


def _region(x_t: NDArray, mask: NDArray[np.bool_]) -> FloatArray:
    """Return (n, d), the values on a mask, of all channels where x_t has them."""
    if x_t.shape[1:] == mask.shape:
        return x_t[:, mask].astype(float)
    if x_t.ndim == mask.ndim + 2 and x_t.shape[2:] == mask.shape:
        return x_t[:, :, mask].reshape(len(x_t), -1).astype(float)
    sites = ", ".join(map(str, mask.shape))
    raise InputError(f"x_t must have shape (n, {sites}) or (n, channel, {sites}), as parts have, got {x_t.shape}")


def _columns(name: str, x: ArrayLike) -> FloatArray:
    array = np.asarray(array_of(name, x), float)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise InputError(f"{name} must have shape (n, d) or (n,), got {array.shape}; lattices go with a Tripartition")
    return array


def group_index(groups: ArrayLike | None, n: int) -> NDArray[np.intp]:
    """Return (n,), the groups numbered 0, 1, ...; every sample is its own group where none are given."""
    if groups is None:
        return np.arange(n)
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise InputError(f"groups must hold one label per sample, shape ({n},), got {labels.shape}")
    if missing := int((labels != labels).sum()):
        raise InputError(f"groups must hold a label for every sample, got nan for {missing}; leave those samples out")
    return np.unique(labels, return_inverse=True)[1].astype(np.intp)


def warn_of_copies(sample: Sample) -> None:
    """Warn of samples that are copies of others: where a value of a column of many values repeats, so does all else."""
    parts, n = (sample.a, sample.c, sample.b), len(sample)
    for column in itertools.islice((column for x in parts for column in x.T), COLUMNS_LOOKED_AT):
        values, first, index, count = np.unique(column, return_index=True, return_inverse=True, return_counts=True)
        if len(first) == n:
            return
        if len(first) <= max(FEW_VALUES, 0.1 * n) or (count > 1).mean() < 0.05:
            continue  # few values, or one alone repeats, such as 0
        steps = np.diff(values) / np.diff(values).min()  # of rounded values and counts, whole
        if np.abs(steps - np.rint(steps)).max() > 0.01 and all((x == x[first[index]]).all() for x in parts):
            text = f"{n - len(first)} of {n} samples are copies of others, which are not independent"
            warnings.warn(f"{text}; leave them out, or give groups, a label for each original", stacklevel=3)
            return


# -- estimators --------------------------------------------------------------------------------------------


class Parameters(BaseEstimator):
    """Parameters by scikit-learn's conventions: the constructor's arguments, stored under their names.

    A subclass is a dataclass, or its constructor stores the arguments and calls that of the class above.

    Class attributes:
        limits: lowest and highest value of numbers among the parameters; integers where the lowest is one.
        choices: the values allowed for parameters that are words.
    """

    limits: ClassVar[Limits] = {}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __post_init__(self) -> None:
        """Raise InputError for parameters that are not allowed, and for a `device` that is not there."""
        check_limits(self.limits, vars(self))
        for name, allowed in self.choices.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {shown(value)}")
        device_of(vars(self).get("device"))

    @property
    def _where(self) -> str:
        """The device that is computed on."""
        return device_of(vars(self).get("device"))

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments. Raises InputError for unknown names and values that are not allowed."""
        known = self.get_params()
        for name in params:
            if name not in known:
                raise InputError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}")
        type(self)(**{**known, **params})
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"


class Estimator(Parameters, ABC):
    """Base of all estimators; a subclass writes `_log_ratios`, or `_estimate` where it is not cross-fitted.

    Args:
        folds: K of the cross-fitting.

    Class attributes:
        continuous_only: whether columns with a handful of values are refused.
        tails_mapped: whether heavy tails may be mapped to normal scores.
    """

    continuous_only: ClassVar[bool] = False
    tails_mapped: ClassVar[bool] = True
    limits: ClassVar[Limits] = {"folds": (2, None)}
    folds: int
    estimate_: Estimate
    log_ratios_: FloatArray
    _verbose: bool = False

    def __init__(self, folds: int = 5) -> None:
        self.folds = folds
        self.__post_init__()

    def fit(
        self,
        a: ArrayLike,
        c: ArrayLike | Tripartition | None = None,
        b: ArrayLike | None = None,
        *,
        parts: Tripartition | None = None,
        channel: Channel | None = None,
        t: float | None = None,
        tokens: int | None = None,
        groups: ArrayLike | None = None,
        rng: Rng = None,
        verbose: bool = False,
        threads: int | None = 1,
    ) -> Self:
        """Learn from samples, either flat arrays or noisy lattices.

            fit(a, c, b)          a (n, d_A), c (n, d_C) and b (n, d_B), or (n,) for one column; b None: I(A;C)
            fit(x_t, parts, ...)  x_t (n, *lattice) or (n, channel, *lattice), `parts` a Tripartition of the lattice

        Args:
            channel, t: the noise of x_t, for estimators that make use of knowing it.
            tokens: number q of symbols where the values are tokens 0..q-1, or -1 for a masked one, which have no order;
                None: what `channel` says, and columns of 3 to 8 different integers are tokens, too.
            groups: (n,) labels; samples that share one are correlated, as neighbours in a Markov chain are. They
                stay in one fold, and the error is that of independent groups.
            rng: Generator, seed or None; draws the folds and whatever the estimator needs.
            verbose: print on stderr what was fitted, a line for every fold and network.
            threads: 1, which is fastest for networks this small and gives the same numbers on every machine, or None
                to leave torch and BLAS as they are set.

        Raises InputError for lengths that differ, NaN, masked entries, a constant column of a, values that are no
        tokens, fewer samples (or groups) than folds, a two-valued column given to an estimator of continuous data.
        Warns where samples are copies of others, as those of a bootstrap, and no groups are given. Constant columns of
        b and c tell nothing; heavy tails may be mapped to normal scores (`light_tailed`).
        """
        if isinstance(c, Tripartition):
            parts, c = c, None
        sample = sample_of(a, c, b, parts, channel, t, tokens)
        sample = light_tailed(sample) if self.tails_mapped else sample
        if self.continuous_only:
            sample.check_continuous(type(self).__name__)
        if groups is None:
            warn_of_copies(sample)
        self._verbose, self._start = verbose, time.monotonic()
        with threads_of(threads), gpu_memory("take fewer samples or a smaller network, or device='cpu'"):
            self.estimate_ = self._estimate(sample, group_index(groups, len(sample)), np.random.default_rng(rng))
        return self

    def _tell(self, text: str) -> None:
        """Print a line about the fit, where it is wanted."""
        if self._verbose:
            say(f"{type(self).__name__}, {duration(time.monotonic() - self._start)}: {text}")

    def estimate(self) -> Estimate:
        """Return I(A;C|B) in nats with its standard error; it may be negative."""
        if not hasattr(self, "estimate_"):
            raise InputError(f"{type(self).__name__} has not been fitted; call fit(a, c, b) or fit(x_t, parts) first")
        return self.estimate_

    def _log_ratios(self, train: Sample, test: Sample, rng: np.random.Generator) -> FloatArray:
        """Return (len(test),), log p(a|b,c) - log p(a|b) at `test` as learned from `train` alone."""
        raise NotImplementedError(f"{type(self).__name__} must define _log_ratios(train, test, rng)")

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        """Average the held-out log ratios over K folds; `groups` numbers the group of every sample, 0, 1, ..."""
        fold = self._fold(sample, groups, rng)
        self.log_ratios_ = np.empty(len(sample))
        for k in range(self.folds):
            held_out, others = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
            self.log_ratios_[held_out] = self._log_ratios(sample.take(others), sample.take(held_out), rng)
            self._tell(f"fold {k + 1} of {self.folds} is fitted")
        return mean_estimate(self.log_ratios_, groups, f"{type(self).__name__}, {self.folds}-fold cross-fitted")

    def _fold(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
        """Return (n,), the fold of every sample: groups in random order, dealt out in turn, class by class of a."""
        n_groups = int(groups.max()) + 1
        if n_groups < self.folds:
            what = "samples" if n_groups == len(groups) else "groups"
            raise InputError(f"{self.folds} folds need at least as many {what}, got {n_groups}; lower folds")
        order = rng.permutation(n_groups)
        values, which = np.unique(sample.a[:, 0], return_inverse=True)
        if len(values) <= FEW_VALUES:
            order = order[np.argsort(which[np.unique(groups, return_index=True)[1]][order], kind="stable")]
        fold = np.empty(n_groups, np.intp)
        fold[order] = np.arange(n_groups) % self.folds
        return fold[groups]


def threads_of(number: int | None) -> contextlib.AbstractContextManager[None]:
    """Return what computes on one thread inside a block and restores the caller's setting, or leaves it as it is."""
    if number not in (1, None):
        raise InputError(f"threads must be 1, or None for those that torch and BLAS are set to, got {shown(number)}")
    return one_thread() if number else contextlib.nullcontext()


def clone(estimator: Any) -> Any:
    """Return an unfitted copy with the same parameters; a deep copy of objects without `get_params`."""
    if hasattr(estimator, "get_params"):
        return type(estimator)(**estimator.get_params())
    return copy.deepcopy(estimator)


class CapWarning(UserWarning):
    """An estimate is near the largest value that its method can give."""


def warn_at_cap(who: str, most: str, remedy: str) -> None:
    """Warn that an estimate may be too low because its method gives at most so many nats."""
    text = f"{who} gives at most {most} nats here and is near it; the truth may be larger; {remedy}"
    warnings.warn(text, CapWarning, stacklevel=4)


def mean_estimate(values: FloatArray, groups: NDArray[np.intp], method: str) -> Estimate:
    """Return the mean of `values` (n,) with the error of independent groups.

    With S_g the sum and n_g the size of group g among G, var = G/(G-1) sum_g (S_g - n_g mean)^2 / n^2, which is the
    usual variance of a mean where every sample is a group of its own.
    """
    infinite = np.count_nonzero(~np.isfinite(values))
    if infinite:
        raise InputError(f"log ratios must be finite, {method} gave {infinite} that are not")
    mean, n = float(values.mean()), len(values)
    residual = np.bincount(groups, weights=values - mean)
    n_groups = len(residual)
    if n_groups < 2:
        raise InputError("at least 2 independent samples or groups are needed to give an error, got 1")
    return Estimate(mean, float(np.sqrt(n_groups / (n_groups - 1) * (residual**2).sum()) / n), n, method)
