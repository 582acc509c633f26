"""Samples in rounds, until an error is small enough or a budget is spent.

Every round draws from a generator spawned from the point's own, and later rounds are as long as the earlier ones say
is needed: the numbers are the same on any engine and after any interruption. Means over rounds are pooled to those
over all samples, exactly: with n_k, m_k, s_k samples, mean and standard error of round k and N = sum_k n_k,

    m = sum_k n_k m_k / N,    s^2 = sum_k [n_k (n_k - 1) s_k^2 + n_k (m_k - m)^2] / (N (N - 1)),

and likewise for a covariance. As the rounds stop where the error looks small, s is low by O(1/N): a first round of
a few hundred samples is enough.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .base import Parameters

Values = dict[str, NDArray]
MARGIN = 1.1  # beyond what the error so far asks for, so that one more round is mostly the last


class Round(NamedTuple):
    n: int
    values: Values


def until_target(
    evaluate: Callable[[Parameters, np.random.Generator], Values],
    variable: str,
    parameters: Parameters,
    rng: np.random.Generator,
) -> Values:
    """`evaluate` with more and more samples, pooled, and their number as "n_samples".

    The first round has `parameters["n_samples"]`, later ones at most double the sum. They end when at every entry
    of `variable` the standard error is below `target_stderr` or `target_relative_error` times the value, where
    given, or at `max_samples`.
    """
    first, budget = parameters["n_samples"], parameters["max_samples"]
    rounds = [Round(first, evaluate(parameters, rng))]
    while True:
        pooled, n = pool(rounds), sum(part.n for part in rounds)
        excess = _excess(pooled[variable], pooled[f"{variable}_stderr"], parameters)
        if excess <= 1.0 or budget - n < 2:
            return {**pooled, "n_samples": np.array(float(n))}
        wanted = min(MARGIN * n * excess**2 - n, n)
        more = min(max(math.ceil(wanted), first), budget - n)
        rounds.append(Round(more, evaluate({**parameters, "n_samples": more}, rng.spawn(1)[0])))


def pool(rounds: list[Round]) -> Values:
    """Means over all samples, and their errors, from those of independent rounds."""
    if len(rounds) == 1:
        return rounds[0].values
    n = np.array([part.n for part in rounds], float)
    total = n.sum()

    def mean(name: str) -> NDArray:
        return np.tensordot(n, [part.values[name] for part in rounds], 1) / total

    def spread(squared_errors: list[NDArray], squares: list[NDArray]) -> NDArray:
        return np.tensordot(n * (n - 1), squared_errors, 1) + np.tensordot(n, squares, 1)

    answer = {}
    for name, values in rounds[0].values.items():
        subject, _, kind = name.rpartition("_")
        if kind not in ("stderr", "covariance") or subject not in rounds[0].values:
            answer[name] = mean(name)
            continue
        away = [part.values[subject] - mean(subject) for part in rounds]
        if kind == "stderr":
            squares = spread([part.values[name] ** 2 for part in rounds], [x**2 for x in away])
            answer[name] = np.sqrt(squares / (total * (total - 1)))
        else:
            products = spread([part.values[name] for part in rounds], [np.multiply.outer(x, x) for x in away])
            answer[name] = products / (total * (total - 1))
        assert answer[name].shape == np.shape(values)
    return answer


def _excess(value: NDArray, stderr: NDArray, parameters: Parameters) -> float:
    """The largest ratio of error to target; infinite where the target is zero."""
    allowed = np.maximum(
        parameters.get("target_stderr", 0.0), parameters.get("target_relative_error", 0.0) * np.abs(value)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.max(np.where(stderr > 0.0, stderr / allowed, 0.0)))
