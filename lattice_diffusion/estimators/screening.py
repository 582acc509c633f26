"""Which of the values that erasure has left tell something about a, beside the others that it has left.

A far value matters when, and mostly only when, the nearer ones are masked: its weight in the law of a depends on what
else was kept, which no law does that is linear in the values. Where sites i are correlated by r_ij, and with a by m_i,
the log odds of a are linear in the kept values S, with weights (the linear discriminant)

    w(S) = W_SS^-1 m_S,   W = r - m m^T, what is left of the correlations once a is given,

so that the *gate* w_i(S) / w_i({i}) is 1 where nothing screens x_i, and 0 where a is independent of it, given the rest
of S. Who screens whom is all that is taken from this: the laws of a learn what gated values tell. On a chain gates are
0 and 1, and the law that is linear in gated values is the exact one.

The correlation of two sites is the root mean square of those of their symbols. Of d^2/2 measured ones only those are
kept that the others do not explain, within noise, as those of a Gaussian on a graph are by its edges.
"""

import numpy as np
from numpy.typing import NDArray

from ..lattice import FloatArray
from .heads import FEWEST, FLAT

SIGNIFICANT = 3.0  # standard errors by which a correlation differs from what the others make it
CONDITION = 1e-2  # least eigenvalue of W, in units of their mean
SWEEPS = 50  # of a fit, at most
CONVERGED = 1e-3
BATCH = 1 << 23  # numbers in the matrices that are solved at a time


def codes_of(x: FloatArray, symbols: FloatArray | None) -> FloatArray:
    """Return (n, d, k): columns of spins as they are, k = 1, or those of one-hot tokens without that of their mask."""
    return x[:, :, None] if symbols is None else x.reshape(len(x), -1, len(symbols))[:, :, 1:]


class Screening:
    """The gates of sites, as learned from samples.

    Args:
        codes: (n, d + 1, k), spins +-1 (k = 1) or tokens one-hot, 0 where masked; those of a are the last.
        n_near: sites of B, which are the first.
    """

    def __init__(self, codes: FloatArray, n_near: int) -> None:
        _, sites, k = codes.shape
        kept, rank = codes.any(axis=2).astype(float), max(k - 1, 1)
        pairs = np.maximum(kept.T @ kept, 1.0)
        self.mean = codes.sum(axis=0) / np.diag(pairs)[:, None]
        z = self._centred(codes)
        values, vectors = np.linalg.eigh(np.einsum("nik,nil->ikl", z, z) / np.diag(pairs)[:, None, None])
        whitening = vectors * np.where(values > FLAT, np.maximum(values, FLAT) ** -0.5, 0.0)[:, None, :]
        flat = np.einsum("nik,ikl->nil", z, whitening).reshape(len(z), -1)
        moments = (flat.T @ flat).reshape(sites, k, sites, k) / pairs[:, None, :, None]
        square = ((moments**2).sum(axis=(1, 3)) - rank**2 / pairs) / rank
        r = np.clip(square, 0.0, 1 - FLAT) ** 0.5 * (np.sign(moments[:, 0, :, 0]) if k == 1 else 1.0)
        np.fill_diagonal(r, 1.0)
        self.noise = 1 / (rank * pairs)  # variances
        self.r = selected(r, SIGNIFICANT**2 * self.noise)
        with_a = codes[codes[:, -1].any(axis=1), :-1]
        self.rare = {j: (self._gates(with_a[:, :j]) ** 2).sum(axis=0) < FEWEST for j in {n_near, sites - 1}}

    def _centred(self, codes: FloatArray) -> FloatArray:
        centred: FloatArray = (codes - self.mean[: codes.shape[1]]) * codes.any(axis=2, keepdims=True)
        return centred

    def _gates(self, codes: FloatArray) -> FloatArray:
        j = codes.shape[1]
        m = self.r[-1, :j]
        kept = np.asarray(codes.any(axis=2))
        told, gates = m**2 > self.noise[-1, :j], kept.astype(float)
        if told.any():
            w = positive(self.r[:j, :j] - np.outer(m, m))
            gates[:, told] = gates_of(kept[:, told], w[np.ix_(told, told)], m[told])
        return gates

    def __call__(self, codes: FloatArray) -> FloatArray:
        """Return (n, columns), the codes (n, j, k) of the first j sites, less their means, times gates among them.

        Sites that are too seldom open to learn what each tells are added up.
        """
        gated = self._gates(codes)[:, :, None] * self._centred(codes)
        if (rare := self.rare[codes.shape[1]]).any():
            pooled = gated[:, rare] * np.sign(self.r[-1, : len(rare)][rare])[:, None]
            gated = np.concatenate([gated[:, ~rare], pooled.sum(axis=1, keepdims=True)], axis=1)
        return gated.reshape(len(codes), -1)


def selected(r: FloatArray, noise: FloatArray) -> FloatArray:
    """Return correlations (d, d) that are r at the edges of a graph, and whose inverse is 0 elsewhere (Dempster 1972).

    Edges join sites that are correlated by more than the best path of stronger edges makes them, and sites that the
    graph does not explain. It is fitted site by site (Hastie, Tibshirani and Friedman, 2009, algorithm 17.1).

    Args:
        noise: (d, d), squares of the differences that are left out of account.
    """
    edges, strength, paths = np.zeros(r.shape, bool), np.abs(r), np.eye(len(r))
    pairs = np.argwhere(np.triu(strength**2 > noise, 1))
    for i, j in pairs[np.argsort(-strength[tuple(pairs.T)])]:
        if strength[i, j] > paths[i, j] + noise[i, j] ** 0.5:
            edges[i, j] = edges[j, i] = True
            through = strength[i, j] * np.outer(paths[i], paths[j])
            paths = np.maximum(paths, np.maximum(through, through.T))
    found = r = positive(r)
    for _ in range(SWEEPS):
        before, found = found, found.copy()
        for i, row in enumerate(edges):
            near = np.flatnonzero(row)
            found[i] = found[:, i] = np.linalg.solve(found[near[:, None], near], r[near, i]) @ found[near]
            found[i, i] = 1.0
        if np.abs(found - before).max() < CONVERGED:
            more = ((r - found) ** 2 > noise) & ~edges & ~np.eye(len(r), dtype=bool)
            if not more.any():
                break
            edges |= more
    return found


def positive(r: FloatArray) -> FloatArray:
    """Return the matrix with no eigenvalue below CONDITION times their mean, and its diagonal as it was."""
    values, vectors = np.linalg.eigh(r)
    raised = (vectors * np.maximum(values, CONDITION * values.mean())) @ vectors.T
    scale = np.sqrt(np.diag(r) / np.diag(raised))
    scaled: FloatArray = raised * scale * scale[:, None]
    return scaled


def gates_of(kept: NDArray[np.bool_], w: FloatArray, m: FloatArray) -> FloatArray:
    """Return (n, d), w_i(S) / w_i({i}) for the sets S of sites that are `kept` (n, d), 0 for the others."""
    gates, most = np.zeros(kept.shape), max(1, int(kept.sum(axis=1).max()))
    order = np.argsort(~kept, axis=1, kind="stable")[:, :most]
    for rows in np.array_split(np.arange(len(kept)), 1 + len(kept) * most**2 // BATCH):
        at = order[rows]
        here = np.take_along_axis(kept[rows], at, axis=1)
        matrix = np.where(here[:, :, None] & here[:, None, :], w[at[:, :, None], at[:, None, :]], np.eye(most))
        weights = np.linalg.solve(matrix, np.where(here, m[at], 0.0)[:, :, None])[:, :, 0]
        gates[rows[:, None], at] = np.clip(weights * np.diag(w)[at] / m[at], -1.0, 1.0)
    return gates
