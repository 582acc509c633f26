"""The massive free field given values on a mask, exact or noisy: posterior samples and means.

A sample of the prior, x, with its own noisy values y, becomes one of the posterior given v (Matheron's rule,
"conditioning by kriging"; Hoffman and Ribak, ApJ 380, L5 (1991)):

    x + A (v - y),   A (v - y) = (K_ff + D)^-1 [D (v - y) - K_fe (v - y)_e] on the sites f that are not known exactly,

e the sites known exactly (A copies their values), D = 1/noise_variance on noisy sites and 0 elsewhere. The posterior
mean is A v. Gaussian diffusion, x_t = alpha x_0 + sigma z: values x_t/alpha, noise_variance (sigma/alpha)^2.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from ..errors import InputError, check_mask
from ..lattice import Lattice, Rng
from .chains import check_n_samples
from .fields import Boundary, check_field, gaussian_field, precision_matrix, precision_spectrum, to_modes, to_sites

Method = Literal["auto", "factorise", "conjugate_gradients"]
Solve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

TOLERANCE = 1e-12  # energy of the residual (root), relative to that of the solution
ROUNDING = 1e-15  # the same in the norm of diag(M), below which nothing can be resolved
CHECK = 1e-12  # largest difference in that norm between the residual in the end and that of the recursion
MAX_ITERATIONS = 10_000
FACTORISE_UP_TO = {1: 2**24, 2: 2**18, 3: 2**14}  # sites: factors of at most about a GiB, made in seconds
BATCH_BYTES = 2**25


class NotConvergedError(InputError):
    """The residual in the end is not small: the answer would be wrong."""


def conditional_field(
    lattice: Lattice,
    mass_squared: float,
    observed: ArrayLike,
    values: ArrayLike,
    n_samples: int,
    rng: Rng = None,
    *,
    noise_variance: ArrayLike = 0.0,
    boundary: Boundary = "free",
    method: Method = "auto",
) -> NDArray[np.float64]:
    """Return independent samples of x ~ N(0, K^-1) given x + sqrt(noise_variance) z = values on the mask.

    They are float64, (n_samples, *lattice.shape).

    Args:
        lattice, mass_squared, boundary: the prior, as in `gaussian_field`.
        observed: boolean mask of lattice.shape; an empty one gives the prior.
        values: lattice.shape, or (n_samples, *lattice.shape) for a condition of its own for every sample; what
            stands outside the mask is not read.
        noise_variance: one number >= 0 or one per site; 0 fixes the field to the values.
        method: "factorise" (sparse LU, then cheap for every sample), "conjugate_gradients" (preconditioned by fast
            transforms; little memory), or "auto", by the number of sites.
    """
    n_samples, rng = check_n_samples(n_samples, 8 * lattice.n_sites), np.random.default_rng(rng)
    given = _Conditioning(lattice, mass_squared, observed, noise_variance, boundary, method)
    v = given.check_values(values)
    if v.shape[0] not in (1, n_samples):
        raise InputError(f"values must be one field or one per sample ({n_samples}), got {v.shape[0]} fields")
    x = np.empty((n_samples, lattice.n_sites))
    batch = _batch(lattice)
    for start in range(0, n_samples, batch):
        rows = slice(start, start + batch)
        prior = gaussian_field(lattice, mass_squared, len(x[rows]), rng, boundary=boundary).reshape(-1, lattice.n_sites)
        noise = given.noise_std * rng.standard_normal((len(prior), len(given.noise_std)))
        difference = (v if len(v) == 1 else v[rows]) - prior
        difference[:, given.noisy] -= noise
        x[rows] = prior + given.respond(difference)
        x[rows, given.exact] = v[:, given.exact] if len(v) == 1 else v[rows, given.exact]
    return x.reshape(n_samples, *lattice.shape)


def conditional_mean(
    lattice: Lattice,
    mass_squared: float,
    observed: ArrayLike,
    values: ArrayLike,
    *,
    noise_variance: ArrayLike = 0.0,
    boundary: Boundary = "free",
    method: Method = "auto",
) -> NDArray[np.float64]:
    """Return E[x | values on the mask], of the shape of values: (*lattice.shape) or (n, *lattice.shape).

    Arguments as for `conditional_field`. The minimum-mean-square-error denoiser and interpolation of this prior.
    """
    given = _Conditioning(lattice, mass_squared, observed, noise_variance, boundary, method)
    v = given.check_values(values)
    batch = _batch(lattice)
    mean = np.concatenate([given.respond(v[start : start + batch]) for start in range(0, len(v), batch)])
    return mean.reshape(np.shape(values))


def _batch(lattice: Lattice) -> int:
    return max(1, BATCH_BYTES // (8 * lattice.n_sites))


class _Conditioning:
    """Flat indices of the sites known exactly, of the noisy and of those to solve for, and a solver for K_ff + D."""

    def __init__(
        self,
        lattice: Lattice,
        mass_squared: float,
        observed: ArrayLike,
        noise_variance: ArrayLike,
        boundary: Boundary,
        method: Method,
    ) -> None:
        mass_squared = check_field(lattice, mass_squared, boundary)
        mask, variance = np.asarray(observed), np.asarray(noise_variance, float)
        check_mask("observed", mask, lattice.shape)
        if variance.shape not in ((), lattice.shape):
            raise InputError(f"noise_variance must be one number or of shape {lattice.shape}, got {variance.shape}")
        seen = np.broadcast_to(variance, lattice.shape)[mask]
        if not ((seen >= 0) & (seen < np.inf)).all():
            raise InputError(
                f"noise_variance must be finite and >= 0, got {seen[~((seen >= 0) & (seen < np.inf))][0]}; "
                "leave sites that tell nothing out of the mask"
            )
        if method not in ("auto", "factorise", "conjugate_gradients"):
            raise InputError(f"method must be one of auto, factorise, conjugate_gradients, got {method!r}")
        sharp = seen < 1e-100  # no double tells such a noise from none
        sites, weight = np.flatnonzero(mask), np.zeros(lattice.n_sites)
        self.lattice, self.noise_std = lattice, np.sqrt(seen[~sharp])
        self.exact, self.noisy = sites[sharp], sites[~sharp]
        weight[self.noisy] = 1.0 / seen[~sharp]
        self.free = free = np.setdiff1d(np.arange(lattice.n_sites), self.exact)
        rows = precision_matrix(lattice, 0.0, boundary).tocsr()[free]
        if method == "auto":
            small = len(free) <= FACTORISE_UP_TO.get(lattice.ndim, 2**12)
            method = "factorise" if small else "conjugate_gradients"
        neighbours = (sparse.diags_array(rows[:, free].diagonal()) - rows[:, free]).tocsr()
        excess = mass_squared + weight[free] + (rows[:, free].diagonal() - neighbours.sum(axis=1))
        self.coupling: sparse.csr_array = rows[:, self.exact]
        self.solve: Solve = np.copy
        if len(free):
            # factors of a nearly singular matrix have no digits left
            transforms = method == "conjugate_gradients" or excess.mean() < 1e-10 * neighbours.sum() / len(free)
            args = lattice, mass_squared, boundary, free, weight
            invert = _transforms(*args) if transforms else _factors(neighbours, excess)
            self.solve = _solver(neighbours, excess, invert)

    def check_values(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return the values as (n, N), n = 1 for a single field, 0 outside the mask."""
        v = np.asarray(values, float)
        if not v.size or (v.shape != self.lattice.shape and v.shape[1:] != self.lattice.shape):
            raise InputError(f"values must have shape {self.lattice.shape} or (n_samples, *shape), got {v.shape}")
        flat = v.reshape(-1, self.lattice.n_sites)
        read = np.zeros(flat.shape)
        sites = np.concatenate([self.exact, self.noisy])
        read[:, sites] = flat[:, sites]
        if not np.isfinite(read).all():
            raise InputError(f"values must be finite on the mask, got {read[~np.isfinite(read)][0]}; leave others out")
        return read

    def respond(self, difference: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply A to rows of (n, N), of which only the observed sites are read."""
        x = np.zeros(difference.shape)
        x[:, self.exact] = difference[:, self.exact]
        source = np.zeros(difference.shape)
        source[:, self.noisy] = difference[:, self.noisy] / self.noise_std**2
        x[:, self.free] = self.solve(source[:, self.free] - (self.coupling @ x[:, self.exact].T).T)
        return x


def _solver(neighbours: sparse.csr_array, excess: NDArray[np.float64], invert: Solve) -> Solve:
    """Return a solver of M x = b for rows b, by conjugate gradients with `invert`, M^-1 or nearly so.

    M = G^T G + diag(excess), G the differences along bonds, which the adjacency matrix `neighbours` tells, so that no
    product cancels however small the excess is. Weights of 1e60 next to couplings of 1 must not hide the residual of
    other sites: the first guess is x_0 = b/diag(M), whose residual holds no weights, and the energy r M^-1 r of a
    residual bounds the square of every error in units of the standard deviation of its site.
    """
    upper = sparse.triu(neighbours).tocoo()
    ends, n_bonds = np.stack(upper.coords, axis=1).ravel(), upper.nnz
    G = sparse.csr_array((np.tile([1.0, -1], n_bonds), ends, np.arange(0, 2 * n_bonds + 1, 2)), (n_bonds, len(excess)))
    back, diagonal = G.T.tocsr(), neighbours.sum(axis=1) + excess

    def product(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (back @ (G @ x.T)).T + excess * x

    def energy(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x * y).sum(axis=1, keepdims=True)

    def solve(b: NDArray[np.float64]) -> NDArray[np.float64]:
        guess = b / diagonal
        rest = (neighbours @ guess.T).T
        x, r = np.zeros(b.shape), rest.copy()
        p, last = np.zeros(b.shape), np.ones((len(b), 1))
        for _ in range(MAX_ITERATIONS):
            z = invert(r)
            rz = energy(r, z)
            going = rz > TOLERANCE**2 * energy(x, rest) + ROUNDING**2 * energy(x, diagonal * x)
            if not going.any():
                break
            p = z + rz / last * p
            q = product(p)
            step = np.divide(rz, energy(p, q), out=np.zeros(rz.shape), where=going)
            x += step * p
            r -= step * q
            last = np.where(going, rz, 1.0)
        drift = rest - product(x) - r
        lost = energy(drift, drift / diagonal) > CHECK**2 * (energy(x, diagonal * x) + energy(rest, rest / diagonal))
        if going.any() or lost.any() or not np.isfinite(x).all():
            raise NotConvergedError(
                f"the equations of the field could not be solved to {TOLERANCE} in {MAX_ITERATIONS} steps; use "
                "method='factorise', a larger mass_squared, or noise variances that differ less"
            )
        return guess + x

    return solve


def _factors(neighbours: sparse.csr_array, excess: NDArray[np.float64]) -> Solve:
    matrix = sparse.diags_array(neighbours.sum(axis=1) + excess) - neighbours
    factors = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return lambda b: factors.solve(np.ascontiguousarray(b.T)).T


def _transforms(
    lattice: Lattice, mass_squared: float, boundary: Boundary, free: NDArray[np.intp], weight: NDArray[np.float64]
) -> Solve:
    """Return s (K + c)^-1 s, nearly (K_ff + D)^-1, for rows.

    c stands for the mean effect of the observations, s for their unevenness: s = 1, and one step is enough, where
    all sites are equally noisy. Sites known exactly count as infinite weight.
    """
    k = mass_squared + 2 * lattice.ndim
    n_exact = lattice.n_sites - len(free)
    shift = ((weight / (weight + k)).sum() + n_exact) / (1 / (weight[free] + k)).sum()
    scale = np.sqrt((k + shift) / (k + weight[free]))
    inverse = 1.0 / (precision_spectrum(lattice, mass_squared, boundary) + shift)

    def invert(r: NDArray[np.float64]) -> NDArray[np.float64]:
        z = np.zeros(((len(r) + 1) // 2, lattice.n_sites), complex)
        z.real[:, free] = scale * r[0::2]
        z.imag[: len(r) // 2, free] = scale * r[1::2]
        z = to_sites(to_modes(z.reshape(-1, *lattice.shape), lattice, boundary) * inverse, lattice, boundary)
        flat = z.reshape(len(z), -1)[:, free]
        return scale * np.stack([flat.real, flat.imag], axis=1).reshape(-1, len(free))[: len(r)]

    return invert
