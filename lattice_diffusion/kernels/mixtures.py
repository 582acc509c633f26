"""Likelihoods of mixtures of independent spins, and divergences between mixtures over the states of a few sites."""

import math

import numpy as np
from numba import njit


@njit(cache=True)
def relative_entropy_term(u):
    """Return (1+u) log(1+u) - u >= 0, about u^2/2 for small u, to full relative accuracy for u >= -1."""
    if abs(u) < 0.02:
        total = 0.0
        for n in range(10, 1, -1):
            total = total * (-u) + 1.0 / (n * (n - 1))
        return u * u * total
    if u <= -1.0:
        return 1.0
    return (1.0 + u) * math.log1p(u) - u


@njit(cache=True)
def _mean(law, weights):
    total = 0.0
    for s in range(law.size):
        total += law[s] * weights[s]
    return total


@njit(cache=True)
def block_divergence(r, p, law, rng, out):
    """Write values of mean KL(r_n || p_n) into out (n,), between the laws of observations of a block of k sites.

    r, p: (n, q^k) laws of the clean block, first site highest digit; law: (n_outcomes, q), p(outcome | symbol).
    Chain rule over the sites: each site's divergence given the observations of the sites before it, which are drawn
    from r, non-negative term by term. For k = 1 nothing is drawn and out is exact. The most probable symbol's share is
    not subtracted from the others', so that small differences keep their digits.
    """
    n_outcomes, q = law.shape
    n_states = r.shape[1]
    r_now, p_now = np.empty(n_states), np.empty(n_states)
    r_site, p_site, gain = np.empty(q), np.empty(q), np.empty(q)
    for n in range(r.shape[0]):
        r_now[:] = r[n]
        p_now[:] = p[n]
        out[n] = 0.0
        stride = n_states // q
        while stride > 0:
            for s in range(q):
                r_sum, p_sum = 0.0, 0.0
                for start in range(s * stride, n_states, q * stride):
                    for state in range(start, start + stride):
                        r_sum += r_now[state]
                        p_sum += p_now[state]
                r_site[s], p_site[s], gain[s] = r_sum, p_sum, r_sum - p_sum
            top = p_site.argmax()
            for y in range(n_outcomes):
                expected, difference = 0.0, 0.0
                for s in range(q):
                    expected += p_site[s] * law[y, s]
                    difference += gain[s] * (law[y, s] - law[y, top])
                if expected > 0.0:
                    out[n] += expected * relative_entropy_term(difference / expected)
            if stride > 1:
                level = rng.random()
                y = -1
                while level >= 0.0 and y < n_outcomes - 1:
                    y += 1
                    level -= _mean(law[y], r_site)
                r_total, p_total = _mean(law[y], r_site), _mean(law[y], p_site)
                for s in range(q):
                    for start in range(s * stride, n_states, q * stride):
                        r_now[start : start + stride] *= law[y, s] / r_total
                        p_now[start : start + stride] *= law[y, s] / p_total
            stride //= q


@njit(cache=True)
def log_likelihood(fields, weights, out):
    """Write sum_i log sum_s p(s|y_m) w_i(s) into out (n, m), with p(s|y) = e^{s y} / 2 cosh y.

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
