"""Laws of all sites of a noisy Gaussian field, or mixture of two, each given the noisy values in a box around it.

    x_0 = S mu + field,  x_t = alpha x_0 + sigma z,  S = +-1 (mu = 0: no label)

Without its own observation the law of a site given the label is Gaussian, with a mean linear in what is seen,
    E[x_0,i | x_R, S] = S mu + w (x_R - alpha S mu),   w = alpha C_iR (alpha^2 C_RR + sigma^2)^-1,   C = K^-1,
    log P(+|x_R)/P(-|x_R) = 2 alpha mu 1 (alpha^2 C_RR + sigma^2)^-1 x_R,
and its own observation enters exactly, by Bayes' rule. Where all is seen, everything is diagonal in the modes of K.
Noisy data are NumPy arrays, or torch tensors, whose laws are tensors on their device.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from ..errors import InputError
from ..lattice import FloatArray, Lattice
from .gaussian import GaussianSolver, MixtureSolver

MAX_SITES = 8192  # of a dense covariance, 512 MiB


@dataclass(frozen=True)
class LocalLaw:
    """Mixture of two Gaussians of one variance, one for either label; arrays broadcast to (n, *shape)."""

    minus: FloatArray
    plus: FloatArray
    within: FloatArray
    label_log_odds: FloatArray

    @property
    def mean(self) -> FloatArray:
        p = _expit(self.label_log_odds)
        return p * self.plus + (1.0 - p) * self.minus

    @property
    def variance(self) -> FloatArray:
        between = _expit(self.label_log_odds) * _expit(-self.label_log_odds) * (self.plus - self.minus) ** 2
        return self.within + between

    def observe(self, x_t: FloatArray, alpha: float, sigma: float) -> "LocalLaw":
        """Return the law given x_t = alpha x_0 + sigma z at the site itself as well."""
        if sigma == math.inf:
            return self
        if sigma == 0.0:
            return LocalLaw(x_t / alpha, x_t / alpha, 0.0 * self.within, self.label_log_odds)
        total = alpha**2 * self.within + sigma**2
        gain = alpha * self.within / total
        minus, plus = (m + gain * (x_t - alpha * m) for m in (self.minus, self.plus))
        evidence = alpha * (self.plus - self.minus) * (x_t - 0.5 * alpha * (self.plus + self.minus)) / total
        return LocalLaw(minus, plus, self.within * sigma**2 / total, self.label_log_odds + evidence)


@dataclass(frozen=True)
class _View:
    """Prediction of every site from a view of x_t without the site itself; rows are samples, columns sites.

    Attributes:
        prediction: w x_R.
        constant: alpha w 1, the share of the label's mean that is seen.
        variance: Var[x_0,i | x_R, S].
        label: 1 (alpha^2 C_RR + sigma^2)^-1 x_R.
    """

    prediction: FloatArray
    constant: FloatArray
    variance: FloatArray
    label: FloatArray


class LocalFields:
    """Exact local laws of a field, with a cache of filters for the latest boxes and noise levels.

    Args:
        lattice: where the field lives.
        solver: of the field, or of the mixture.
    """

    def __init__(self, lattice: Lattice, solver: GaussianSolver | MixtureSolver) -> None:
        self.lattice = lattice
        field = solver.field if isinstance(solver, MixtureSolver) else solver
        self.mean = solver.mean if isinstance(solver, MixtureSolver) else 0.0
        self.white = isinstance(solver, MixtureSolver) and solver.white
        self.precision = field.precision
        self._filters = lru_cache(maxsize=32)(self._box_filters)

    def blind(self, x_t: FloatArray, alpha: float, sigma: float, radius: int | None) -> LocalLaw:
        """Return the law of every x_0,i given x_t within `radius` of i but for i itself; x_t (n, *shape)."""
        x = x_t.reshape(len(x_t), -1)
        if sigma == math.inf:
            alpha, sigma = 0.0, 1.0
        axes = zip(self.lattice.shape, self.lattice.periodic, strict=True)
        if radius is None or all(radius >= (n // 2 if flag else n - 1) for n, flag in axes):
            view = self._modes.view(x, alpha, sigma)
        else:
            view = self._filters(radius, alpha, sigma).view(x)
        offset = like(x, self.mean * (1.0 - view.constant))
        means = view.prediction - offset, view.prediction + offset
        law = *means, like(x, view.variance), 2.0 * alpha * self.mean * view.label
        return LocalLaw(*(values.reshape(-1, *self.lattice.shape) for values in law))

    @cached_property
    def _modes(self) -> "_Modes":
        return _Modes(self.lattice, self.precision)

    @cached_property
    def _covariance(self) -> FloatArray:
        n = self.lattice.n_sites
        if n > MAX_SITES:
            raise InputError(
                f"exact filters of a box need the dense covariance, for at most {MAX_SITES} sites, got {n}; "
                "use radius=None or a smaller lattice"
            )
        return np.linalg.inv(self.precision.toarray())

    def _box_filters(self, radius: int, alpha: float, sigma: float) -> "_BoxFilters":
        n, C = self.lattice.n_sites, self._covariance
        rows: dict[int, tuple[NDArray[np.int64], FloatArray]] = {}  # of a site: the columns, and both solutions
        variance, constant = np.empty(n), np.empty(n)
        for site, images in _distinct_sites(self.lattice):
            box = self.lattice.box([int(k) for k in np.unravel_index(site, self.lattice.shape)], radius).ravel()
            box[site] = False
            R = np.flatnonzero(box)
            noisy = alpha**2 * C[np.ix_(R, R)] + sigma**2 * np.eye(len(R))
            solved = np.linalg.solve(noisy, np.stack([alpha * C[R, site], np.ones(len(R))], axis=1))
            for image in images:
                at = int(image[site])
                rows[at] = image[R], solved
                variance[at] = C[site, site] - alpha * C[R, site] @ solved[:, 0]
                constant[at] = alpha * solved[:, 0].sum()
        columns, solutions = (np.concatenate(parts) for parts in zip(*rows.values(), strict=True))
        index = np.repeat(list(rows), [len(found) for found, _ in rows.values()]), columns
        weights, labels = (sparse.csr_array((values, index), shape=(n, n)) for values in solutions.T)
        return _BoxFilters(weights, labels, variance, constant)


@dataclass(frozen=True)
class _BoxFilters:
    """Rows of w and of 1 (alpha^2 C_RR + sigma^2)^-1, one per site."""

    weights: sparse.csr_array
    labels: sparse.csr_array
    variance: FloatArray
    constant: FloatArray

    def view(self, x: FloatArray) -> _View:
        weights, labels = (_sparse(x, matrix) for matrix in (self.weights, self.labels))
        return _View((weights @ x.T).T, self.constant, self.variance, (labels @ x.T).T)


def like(x: Any, values: FloatArray) -> Any:
    """Return an array as it is for an array x; for a tensor as one of its type, on its device."""
    if isinstance(x, np.ndarray):
        return values
    import torch

    return torch.as_tensor(values, dtype=x.dtype, device="cpu").to(x.device, non_blocking=True)


def _expit(x: Any) -> Any:
    return expit(x) if isinstance(x, np.ndarray) else x.sigmoid()


def _sparse(x: Any, matrix: sparse.csr_array) -> Any:
    """Return a sparse matrix that multiplies x."""
    if isinstance(x, np.ndarray):
        return matrix
    import torch

    entries = matrix.tocoo()
    index = torch.as_tensor(np.stack([entries.row, entries.col]), device="cpu")
    values = torch.as_tensor(entries.data, dtype=x.dtype, device="cpu")
    return torch.sparse_coo_tensor(index, values, matrix.shape, is_coalesced=True, check_invariants=False).to(x.device)


def translations(lattice: Lattice) -> NDArray[np.int64]:
    """Return where every translation of a torus takes each flat index, (N, N); index 0 goes to all of them in turn."""
    sites, axes = np.arange(lattice.n_sites).reshape(lattice.shape), range(lattice.ndim)
    return np.array([np.roll(sites, [-k for k in shift], axes).ravel() for shift in np.ndindex(*lattice.shape)])


def _distinct_sites(lattice: Lattice) -> Iterator[tuple[int, Iterable[NDArray[np.int64]]]]:
    """Yield sites that no symmetry maps to one another, each with the maps (N,) of flat indices to all its images."""
    if all(lattice.periodic):
        yield 0, translations(lattice)
        return
    sites = np.arange(lattice.n_sites).reshape(lattice.shape)
    flips = itertools.product((False, True), repeat=lattice.ndim)
    images = [np.flip(sites, tuple(np.flatnonzero(flip))).ravel() for flip in flips]
    for site in itertools.product(*(range((n + 1) // 2) for n in lattice.shape)):
        yield int(sites[site]), images


class _Modes:
    """Eigenvalues and vectors of K = V lambda V', V a product of one matrix per axis."""

    def __init__(self, lattice: Lattice, precision: sparse.csc_array) -> None:
        self.shape = lattice.shape
        mass_squared = float(precision[[0]].sum())
        hop = (float(precision[0, 0]) - mass_squared) / max(1, int((lattice.bonds == 0).sum()))  # 0 where white
        values = np.full(lattice.shape, mass_squared)
        self.vectors = []
        for axis, n in enumerate(lattice.shape):
            laplacian = np.zeros((n, n))
            for a, b in Lattice(n, lattice.periodic[axis]).bonds:
                laplacian[[a, b], [a, b]] += hop
                laplacian[[a, b], [b, a]] -= hop
            eigenvalues, vectors = np.linalg.eigh(laplacian)
            values = values + eigenvalues.clip(0.0).reshape([-1 if a == axis else 1 for a in range(lattice.ndim)])
            self.vectors.append(vectors)
        self.values = values

    def _turn(self, x: FloatArray, matrices: list[FloatArray]) -> FloatArray:
        for axis, matrix in enumerate(matrices, start=1):
            x = (x.swapaxes(axis, -1) @ like(x, matrix.T)).swapaxes(axis, -1)
        return x

    def apply(self, f: FloatArray, x: FloatArray) -> FloatArray:
        """Return V f V' x for the rows of x (n, N)."""
        modes = self._turn(x.reshape(-1, *self.shape), [V.T for V in self.vectors])
        return self._turn(like(x, f) * modes, self.vectors).reshape(len(x), -1)

    def diagonal(self, f: FloatArray) -> FloatArray:
        """Return the diagonal (N,) of V f V'."""
        return self._turn(f[None], [V**2 for V in self.vectors]).ravel()

    def view(self, x: FloatArray, alpha: float, sigma: float) -> _View:
        """Return the view of all sites but one, for every one, which a row of the precision of x_t predicts."""
        noisy = alpha**2 / self.values + sigma**2
        shares = self.diagonal(1.0 / noisy)

        def prediction(rows: FloatArray, Q_rows: FloatArray) -> FloatArray:
            if sigma**2 > alpha**2 / self.values.mean():  # the same number twice; each keeps its digits on its side
                cross = 1.0 / (self.values * noisy)
                left = self.apply(cross, rows) - like(rows, self.diagonal(cross)) * rows
                return like(rows, alpha / (sigma**2 * shares)) * left
            return (rows - Q_rows / like(rows, shares)) / alpha

        ones = np.ones((1, self.values.size))
        Q_x, Q_1 = self.apply(1.0 / noisy, x), self.apply(1.0 / noisy, ones)
        label = Q_x.sum(axis=1)[:, None] - like(x, Q_1[0] / shares) * Q_x
        variance = self.diagonal(1.0 / (self.values * noisy)) / shares
        return _View(prediction(x, Q_x), alpha * prediction(ones, Q_1)[0], variance, label)
