"""Curie-Weiss model: independent spins in one random common field.

p_0(s) ~ exp(beta (sum s)^2 / 2N) = int dy exp(-N y^2 / 2 beta) prod_i exp(y s_i). The integrand is entire, so the
trapezoidal rule on a grid finer than its Gaussian factor is exact to rounding.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp
from scipy.stats import binom

from ..channels import BitFlip, Channel
from ..errors import check_memory
from ..kernels import mixtures
from ..lattice import FloatArray, Tripartition
from .spins import SpinSolver, block_states, spin_weights

_term = np.vectorize(mixtures.relative_entropy_term, otypes=[float])


class MeanFieldSolver(SpinSolver):
    """Sums over N fully connected spins as sums over the common field y, of order N sqrt(N) per sample."""

    def __init__(self, shape: tuple[int, ...], beta: float) -> None:
        self.shape, beta = shape, float(beta)
        n_sites = math.prod(shape)
        width = math.sqrt(beta / n_sites)
        n_half = math.ceil((beta + 9 * width) / (0.7 * width)) if width > 0 else 0
        check_memory("lattice", 64.0 * n_half, "take fewer sites")
        self.fields = 0.7 * width * np.arange(-n_half, n_half + 1)  # (m,)
        log_rho = n_sites * np.logaddexp(self.fields, -self.fields)
        if width > 0:
            log_rho -= 0.5 * (self.fields / width) ** 2
        self.log_rho = log_rho - logsumexp(log_rho)  # law of the common field, (m,)

    def _log_joint(self, h: FloatArray) -> FloatArray:
        """Return (n, m), log of rho(y) prod_i sum_s p(s|y) w_i(s)."""
        weights = spin_weights(h.reshape(len(h), -1))
        out = np.empty((len(h), self.fields.size))
        mixtures.log_likelihood(self.fields, weights, out)
        return out + self.log_rho

    def _field_posterior(self, h: FloatArray) -> FloatArray:
        log = self._log_joint(h)
        return np.exp(log - logsumexp(log, axis=1, keepdims=True))

    def log_evidence(self, h: FloatArray) -> FloatArray:
        return logsumexp(self._log_joint(h), axis=1)

    def block_posterior(self, h: FloatArray, sites: NDArray[np.int64]) -> FloatArray:
        states = block_states(len(sites))
        given_field = expit(2.0 * states * self.fields[:, None, None]).prod(axis=2)  # (m, 2^k)
        return self._field_posterior(h) @ given_field

    def probabilities(self, h: FloatArray) -> FloatArray:
        # s_i is independent of the other noise given y, so y's posterior and w_i give its law
        rho = self._field_posterior(h)
        weights = spin_weights(h.reshape(len(h), -1))
        out = np.zeros_like(weights)
        for m, y in enumerate(self.fields):
            joint = weights * expit(2.0 * y * np.array([-1.0, 1.0]))
            out += rho[:, m, None, None] * joint / joint.sum(axis=-1, keepdims=True)
        return out.reshape(len(h), *self.shape, 2)

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.int8]:
        """Return independent samples (n_samples, *shape) of +-1: first the number of up spins, then which."""
        n_sites = math.prod(self.shape)
        law = np.exp(self.log_rho) @ binom.pmf(np.arange(n_sites + 1), n_sites, expit(2 * self.fields)[:, None])
        n_up = rng.choice(n_sites + 1, size=n_samples, p=law / law.sum())
        ranks = rng.permuted(np.tile(np.arange(n_sites), (n_samples, 1)), axis=1)
        return np.where(ranks < n_up[:, None], 1, -1).astype(np.int8).reshape(n_samples, *self.shape)

    def closed_cmi(self, channel: Channel, t: float, parts: Tripartition) -> float | None:
        """Return the CMI under bit flips, where only the numbers of up spins in A, B and C matter: a finite sum."""
        if not isinstance(channel, BitFlip):
            return None
        p = channel.flip_probability(t)
        up = p + (1 - 2 * p) * expit(2 * self.fields)  # (m,)
        A, B, C = (
            np.asarray(binom.pmf(np.arange(region.sum() + 1)[:, None], region.sum(), up))  # (n+1, m)
            for region in (parts.A, parts.B, parts.C)
        )
        joint_b = B * np.exp(self.log_rho)
        p_b = joint_b.sum(axis=1)
        prior = (joint_b / np.maximum(p_b, 1e-300)[:, None]) @ A.T  # p(k_A | k_B)
        total = 0.0
        for k_b in np.flatnonzero(p_b > 1e-300):
            joint_bc = C * joint_b[k_b]
            p_bc = joint_bc.sum(axis=1)
            seen = p_bc > 1e-300
            posterior = (joint_bc[seen] / p_bc[seen, None]) @ A.T  # p(k_A | k_B, k_C)
            possible = prior[k_b] > 1e-300
            u = posterior[:, possible] / prior[k_b, possible] - 1.0
            total += float(p_bc[seen] @ _term(u) @ prior[k_b, possible])
        return total
