"""Brute force over all states of small systems: the independent truth that exact answers are tested against.

A noisy law is the clean one with each site's axis multiplied by the channel's matrix p(outcome | s), so entropies
of all regions follow by summing axes. Nothing here shares code with the package.
"""

import itertools
import math

import numpy as np
from scipy.stats import chi2


def bonds(shape, periodic):
    """Yield (i, j, axis) of all pairs of neighbouring sites."""
    sites = np.arange(math.prod(shape)).reshape(shape)
    for axis, n in enumerate(shape):
        first = range(n if periodic[axis] else n - 1)
        for i, j in zip(sites.take(first, axis).flat, np.roll(sites, -1, axis).take(first, axis).flat, strict=True):
            yield i, j, axis


def ising_law(shape, periodic, beta, field=0.0, anisotropy=1.0):
    """p_0 of nearest-neighbour spins as an array of shape (2,) * N, index 1 for spin +1."""
    states, strength = all_states(math.prod(shape)), [1.0] * (len(shape) - 1) + [anisotropy]
    energy = sum(strength[axis] * states[:, i] * states[:, j] for i, j, axis in bonds(shape, periodic))
    law = np.exp(beta * energy + field * states.sum(axis=1)).reshape((2,) * states.shape[1])
    return law / law.sum()


def potts_law(shape, periodic, coupling, q):
    """p_0 of nearest-neighbour tokens as an array of shape (q,) * N."""
    states = np.array(list(itertools.product(range(q), repeat=math.prod(shape))))
    energy = sum((states[:, i] == states[:, j]).astype(float) for i, j, _ in bonds(shape, periodic))
    law = np.exp(coupling * energy).reshape((q,) * states.shape[1])
    return law / law.sum()


def curie_weiss_law(n, beta):
    states = all_states(n)
    law = np.exp(beta * states.sum(axis=1) ** 2 / (2 * n)).reshape((2,) * n)
    return law / law.sum()


def all_states(n):
    return 2 * np.array(list(itertools.product((0, 1), repeat=n))) - 1


def channel_matrix(name, t, n_nodes=24):
    """(outcomes, 2): p(outcome | s = -1), p(outcome | s = +1), and the outcomes' values."""
    if name == "bitflip":
        return np.array([[1 - t / 2, t / 2], [t / 2, 1 - t / 2]]), np.array([-1.0, 1.0])
    if name == "erasure":
        return np.array([[1 - t, 0], [t, t], [0, 1 - t]]), np.array([-1.0, 0.0, 1.0])
    # Gaussian, linear schedule: a fine histogram of x that both components resolve
    x = np.linspace(-(1 - t) - 7 * t, (1 - t) + 7 * t, n_nodes)
    density = np.exp(-0.5 * ((x[:, None] - (1 - t) * np.array([-1, 1])) / t) ** 2)
    return density / density.sum(axis=0), x


def token_matrix(name, t, q):
    """(outcomes, q), and the outcomes' values; the last is the mask, -1."""
    if name == "uniform":
        return (1 - t) * np.eye(q) + t / q, np.arange(q)
    return np.vstack([(1 - t) * np.eye(q), np.full(q, t)]), np.append(np.arange(q), -1)


def likelihood(name, x, t):
    """p(x | s) for s = -1, +1, (n_sites, 2), written out from the definitions."""
    s = np.array([-1.0, 1.0])
    if name == "gaussian":
        return np.exp(-0.5 * ((x[:, None] - (1 - t) * s) / t) ** 2) / (t * np.sqrt(2 * np.pi))
    if name == "bitflip":
        return np.where(x[:, None] == s, 1 - t / 2, t / 2)
    return np.where(x[:, None] == 0, t, np.where(x[:, None] == s, 1 - t, 0.0))


def noisy_law(law, matrix):
    for axis in range(law.ndim):
        law = np.moveaxis(np.tensordot(matrix, law, axes=(1, axis)), 0, axis)
    return law


def entropy(law, keep):
    drop = tuple(k for k in range(law.ndim) if not keep[k])
    p = law.sum(axis=drop).ravel()
    p = p[p > 0]
    return -math.fsum(p * np.log(p))


def cmi(noisy, A, B, C):
    A, B, C = (np.ravel(mask) for mask in (A, B, C))
    return entropy(noisy, A | B) + entropy(noisy, B | C) - entropy(noisy, B) - entropy(noisy, A | B | C)


def codes(samples, q=2):
    """Number of each state of spins or of q symbols, the first site the highest digit."""
    flat = samples.reshape(len(samples), -1)
    return (flat > 0 if q == 2 else flat.astype(int)) @ q ** np.arange(flat.shape[1])[::-1]


def p_value(samples, law, q=2):
    """Chi-square p-value of samples of spins or of q symbols; states expected less than five times are pooled."""
    law = law.ravel()
    counts = np.bincount(codes(samples, q), minlength=law.size)
    if counts[law == 0].any():
        return 0.0
    counts, expected = counts[law > 0], law[law > 0] * len(samples)
    rare = expected < 5
    counts, expected = (np.append(a[~rare], a[rare].sum()) for a in (counts, expected))
    counts, expected = counts[expected > 0], expected[expected > 0]
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), counts.size - 1)
