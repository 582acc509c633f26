"""Likelihoods of mixtures of independent spins, and divergences between mixtures over the states of a few spins."""

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
def binary_divergence(q_minus, q_plus, p_minus, p_plus, law):
    """Return KL(q || p) between the laws of an observation of one spin, in nats, non-negative term by term.

    q, p: laws of the spin; law (n_outcomes, 2): p(outcome | +1), p(outcome | -1).
    """
    # the rarer state carries the digits of the difference
    delta = q_plus - p_plus if p_plus < p_minus else p_minus - q_minus
    if delta == 0.0:
        return 0.0
    total = 0.0
    for y in range(law.shape[0]):
        expected = p_plus * law[y, 0] + p_minus * law[y, 1]
        if expected > 0.0:
            total += expected * relative_entropy_term(delta * (law[y, 0] - law[y, 1]) / expected)
    return total


@njit(cache=True)
def block_divergence(q, p, law, rng, out):
    """Write values of mean KL(q_n || p_n) into out (n,), between the laws of observations of a block of k spins.

    q, p: (n, 2^k) laws of the clean block, first site highest bit; law: as in `binary_divergence`.
    Chain rule over the sites: each site's divergence given the observations of the sites before it, which are
    drawn from q. For k = 1 nothing is drawn and out is exact.
    """
    n_states = q.shape[1]
    q_now, p_now = np.empty(n_states), np.empty(n_states)
    for n in range(q.shape[0]):
        q_now[:] = q[n]
        p_now[:] = p[n]
        out[n] = 0.0
        stride = n_states >> 1
        while stride > 0:
            q_minus, q_plus, p_minus, p_plus = 0.0, 0.0, 0.0, 0.0
            for state in range(n_states):
                if state & stride:
                    q_plus += q_now[state]
                    p_plus += p_now[state]
                else:
                    q_minus += q_now[state]
                    p_minus += p_now[state]
            out[n] += binary_divergence(q_minus, q_plus, p_minus, p_plus, law)
            if stride > 1:
                level = rng.random()
                y = -1
                while level >= 0.0 and y < law.shape[0] - 1:
                    y += 1
                    level -= q_plus * law[y, 0] + q_minus * law[y, 1]
                q_total = q_plus * law[y, 0] + q_minus * law[y, 1]
                p_total = p_plus * law[y, 0] + p_minus * law[y, 1]
                for state in range(n_states):
                    factor = law[y, 0] if state & stride else law[y, 1]
                    q_now[state] *= factor / q_total
                    p_now[state] *= factor / p_total
            stride >>= 1


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
