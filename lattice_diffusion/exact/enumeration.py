"""Laws of small systems as tables over all states, and what noise, recovery and unmasking make of them.

A table is an array with one axis per site, in C order of the lattice: two values, -1 and +1, or under erasure three,
-1, 0 (erased) and +1. Everything is exact; sizes are limited by 2^20 states or entries.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..channels import BitFlip, Channel, Erasure, check_order
from ..errors import InputError
from ..lattice import BoolArray, FloatArray
from . import ExactModel
from .spins import DiscreteSolver

MAX_ENTRIES = 1 << 20


def law(model: ExactModel) -> tuple[NDArray[np.integer], FloatArray]:
    """Return all clean states (S, *lattice.shape) of a model of spins or tokens and their probabilities (S,).

    Raises InputError for real-valued data, a torus of domain walls, or more than 2^20 states.
    """
    solver = model.solver
    if not isinstance(solver, DiscreteSolver):
        raise InputError(f"only spins and tokens have finitely many states, got {type(model).__name__}")
    _check_size(solver.q, solver.n_free)
    return solver.law()


def clean_table(model: ExactModel) -> FloatArray:
    """Return p_0 as a table, (2,) * N or (q,) * N; for domain walls N counts the bonds of the grid, in C order."""
    states, probabilities = law(model)
    q, digits = model.solver.q, np.searchsorted(model.solver.values, states[:, model.sites])
    _check_size(q, digits.shape[1])
    table = np.zeros((q,) * digits.shape[1])
    np.add.at(table, tuple(digits.T), probabilities)
    return table


def boxes(model: ExactModel, radius: int) -> BoolArray:
    """Return (N, N): the sites in the box of `radius` around each site of the data, itself left out."""
    if radius < 0:
        raise InputError(f"radius must be >= 0, got {radius}")
    out = np.array([model.box(tuple(site), radius)[model.sites] for site in np.argwhere(model.sites)])
    np.fill_diagonal(out, False)
    return out


# -- noise --------------------------------------------------------------------------------------------------


def noise_matrix(channel: Channel, s: float, t: float) -> FloatArray:
    """Return p(x_t | x_s) of one site, (values of x_t, values of x_s): 2 x 2 for bit flips, 3 x 3 for erasure."""
    s, t = check_order(s, t)
    if isinstance(channel, BitFlip):
        flip = 0.5 * (t - s) / (1.0 - s) if s < t else 0.0
        return np.array([[1.0 - flip, flip], [flip, 1.0 - flip]])
    if isinstance(channel, Erasure):
        keep = (1.0 - t) / (1.0 - s) if s < t else 1.0
        return np.array([[keep, 0.0, 0.0], [1.0 - keep, 1.0, 1.0 - keep], [0.0, 0.0, keep]])
    raise InputError(f"tables hold discrete values, bitflip or erasure noise, got {channel.name}")


def apply(table: FloatArray, matrix: FloatArray, site: int) -> FloatArray:
    """Return the table after one site went through p(out | in) = matrix[out, in]."""
    return np.moveaxis(np.tensordot(table, matrix, axes=(site, 1)), -1, site)


def noisy_table(clean: FloatArray, channel: Channel, t: float) -> FloatArray:
    """Return p_t as a table; under erasure with three values a site."""
    matrix = noise_matrix(channel, 0.0, t)
    matrix = matrix[:, [0, -1]]
    if clean.shape != (2,) * clean.ndim or not clean.ndim:
        raise InputError(f"clean must be a table of two values a site, (2,) * N, got shape {clean.shape}")
    _check_size(len(matrix), clean.ndim)
    for site in range(clean.ndim):
        clean = apply(clean, matrix, site)
    return clean


# -- recovery -----------------------------------------------------------------------------------------------


def recover(table: FloatArray, prior: FloatArray, matrix: FloatArray, site: int, box: BoolArray) -> FloatArray:
    """Return the table after Bayes recovery of one site: x_site drawn from p(x_site | its noisy value, x_box).

    Args:
        table: the law of the noisy state.
        prior: the law before the noise, of which only the marginal of the site and the box is used.
        matrix: the noise, p(out | in).
        box: (N,), without the site. What is seen but impossible under the prior gives all values alike.
    """
    hidden = tuple(i for i in range(prior.ndim) if i != site and not box[i])
    marginal = np.moveaxis(prior.sum(axis=hidden, keepdims=True), site, -1)
    joint = marginal[..., None, :] * matrix
    seen = joint.sum(axis=-1, keepdims=True)
    kernel = np.where(seen > 0.0, joint / np.where(seen > 0.0, seen, 1.0), 1.0 / matrix.shape[1])
    noisy = np.moveaxis(table, site, -1)
    return np.moveaxis((noisy[..., None] * kernel).sum(axis=-2), -1, site)


@dataclass(frozen=True)
class Return:
    """Noise on the sites one after the other, then local recovery in reverse order.

    Attributes:
        law: the table after the return.
        cmi: (N,), I(A;C|B) of each site just before its noise, B its box and C all other sites, in nats.
        drop: (N,), the same less what is left after the noise; KL(p || law) <= sum(drop) <= sum(cmi).
    """

    law: FloatArray
    cmi: FloatArray
    drop: FloatArray


def there_and_back(table: FloatArray, matrix: FloatArray, around: BoolArray, order: Sequence[int]) -> Return:
    """Add noise to every site of `order` in turn, and recover them backwards, each from its box at that moment.

    Args:
        table: p, say p_t at the start of a segment; matrix: the noise up to its end, `noise_matrix(channel, s, t)`.
        around: (N, N), `boxes(model, radius)`.
    """
    before, cmi, drop = [], [], []
    for site in order:
        A, B = np.arange(table.ndim) == site, around[site]
        C = ~(A | B)
        before.append(table)
        cmi.append(conditional_information(table, A, B, C))
        table = apply(table, matrix, site)
        drop.append(cmi[-1] - conditional_information(table, A, B, C))
    for site, prior in zip(reversed(order), reversed(before), strict=True):
        table = recover(table, prior, matrix, site, around[site])
    return Return(table, np.array(cmi), np.array(drop))


def unmasked_law(clean: FloatArray, around: BoolArray, order: Sequence[int | Sequence[int]]) -> FloatArray:
    """Return the law of masked generation in one order, each site given the sites of its box known by then.

    Entries of the order that are several sites are unmasked at once, from the product of their posteriors.
    What is known but impossible under p_0 gives all values alike.
    """
    out = np.ones_like(clean)
    known = np.zeros(clean.ndim, bool)
    for batch in map(np.atleast_1d, order):
        for site in map(int, batch):
            hidden = tuple(i for i in range(clean.ndim) if i != site and not (known[i] and around[site, i]))
            joint = clean.sum(axis=hidden, keepdims=True)
            given = joint.sum(axis=site, keepdims=True)
            out = out * np.where(given > 0.0, joint / np.where(given > 0.0, given, 1.0), 1.0 / clean.shape[site])
        known[batch] = True
    return out


# -- distances and informations, in nats ----------------------------------------------------------------------


def relative_entropy(p: FloatArray, q: FloatArray) -> float:
    """Return KL(p || q); inf where q misses a state of p."""
    if np.any((q == 0.0) & (p > 0.0)):
        return float(np.inf)
    support = p > 0.0
    ratio = q[support] / p[support] - 1.0
    return float((p[support] * (ratio - np.log1p(ratio))).sum() + (p.sum() - q[support].sum()))


def total_variation(p: FloatArray, q: FloatArray) -> float:
    """Return sum |p - q| / 2."""
    return float(0.5 * np.abs(p - q).sum())


def conditional_information(table: FloatArray, A: BoolArray, B: BoolArray, C: BoolArray) -> float:
    """Return I(A;C|B) of three masks (N,), as the relative entropy of p(A, B, C) to p(A, B) p(B, C) / p(B)."""
    p = table.sum(axis=tuple(np.flatnonzero(~(A | B | C))), keepdims=True)
    in_a, in_c = tuple(np.flatnonzero(A)), tuple(np.flatnonzero(C))
    p_ab, p_bc = p.sum(axis=in_c, keepdims=True), p.sum(axis=in_a, keepdims=True)
    p_b = p_ab.sum(axis=in_a, keepdims=True)
    return relative_entropy(p, p_ab * p_bc / np.where(p_b > 0.0, p_b, 1.0))


def _check_size(n_values: int, n_sites: int) -> None:
    if n_sites * math.log2(n_values) > math.log2(MAX_ENTRIES):
        raise InputError(f"tables hold at most 2^20 states, got {n_values}^{n_sites}; take a smaller system")
