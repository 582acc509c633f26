"""The estimator that knows the law: nothing learned from samples alone can be expected to scatter less."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel
from ..errors import InputError
from ..estimate import Estimate
from ..exact import log_marginal
from ..lattice import Tripartition
from .base import Estimator, mean_estimate
from .sample import Sample


def exact_log_ratios(model: Any, channel: Channel, t: float, x_t: NDArray, parts: Tripartition) -> NDArray[np.float64]:
    """(n,), log p(a|b,c) - log p(a|b) = log p(abc) + log p(b) - log p(ab) - log p(bc) of noisy samples."""
    terms = [(1, parts.ABC), (-1, parts.AB), (-1, parts.BC), (1, parts.B)]
    return np.sum([sign * log_marginal(model, channel, t, x_t, R) for sign, R in terms if R.any()], axis=0)


class Oracle(Estimator):
    """Mean of the exact pointwise log ratio: unbiased, and its error is the statistical floor at n samples.

    Args:
        model: p_0, of `lattice_diffusion.models`; the benchmark fills in the task's.
    """

    def __init__(self, model: Any = None) -> None:
        self.model = model

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: np.random.Generator) -> Estimate:
        if self.model is None:
            raise InputError(
                "Oracle needs the law of the data; pass a model, such as Oracle(models.Ising(lattice, 0.4))"
            )
        if sample.x_t is None or sample.parts is None or sample.channel is None or sample.t is None:
            raise InputError("Oracle needs lattice samples and their noise; call fit(x_t, parts, channel=..., t=...)")
        self.log_ratios_ = exact_log_ratios(self.model, sample.channel, sample.t, sample.x_t, sample.parts)
        return mean_estimate(self.log_ratios_, groups, "mean of the exact log ratio")
