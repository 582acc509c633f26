"""Likelihood of independent spins in a common field, for many samples and many values of the field."""

import math

import numpy as np
from numba import njit


@njit(cache=True)
def log_likelihood(fields, weights, out):  # type: ignore[no-untyped-def]
    """out[n, m] = sum_i log sum_s p(s|y_m) w_i(s), with p(s|y) = e^{s y} / 2 cosh y.

    fields: (m,) values y; weights: (n, N, 2) likelihoods of spin -1 and +1.
    """
    for m in range(fields.size):
        plus = 1.0 / (1.0 + math.exp(-2.0 * fields[m]))
        minus = 1.0 / (1.0 + math.exp(2.0 * fields[m]))
        for n in range(weights.shape[0]):
            total, product = 0.0, 1.0
            for i in range(weights.shape[1]):
                product *= minus * weights[n, i, 0] + plus * weights[n, i, 1]
                if product < 1e-200:
                    if product == 0.0:
                        break
                    total += math.log(product)
                    product = 1.0
            out[n, m] = total + math.log(product) if product > 0.0 else -np.inf
