"""The massive free field given values on a mask, exact or noisy: posterior samples and means.

A sample of the prior, x, with its own noisy values y, becomes one of the posterior given v (Matheron's rule,
"conditioning by kriging"; Hoffman and Ribak, ApJ 380, L5 (1991)):

    x + A (v - y),   A (v - y) = (K_ff + D)^-1 [D (v - y) - K_fe (v - y)_e] on the sites f that are not known exactly,

e the sites known exactly (A copies their values), D = 1/noise_variance on noisy sites and 0 elsewhere. The posterior
mean is A v. Gaussian diffusion, x_t = alpha x_0 + sigma z: values x_t/alpha, noise_variance (sigma/alpha)^2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from ..errors import InputError
from ..lattice import Lattice, Rng
from .chains import check_n_samples
from .fields import (
    Boundary,
    check_field,
    gaussian_field,
    precision_matrix,
    precision_spectrum,
    to_modes,
    to_sites,
)

Method = Literal["auto", "factorise", "conjugate_gradients"]
Solve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

TOLERANCE = 1e-12  # of the conjugate gradients: residual, relative to the right-hand side
MAX_ITERATIONS = 10_000
FACTORISE_UP_TO = {1: 2**24, 2: 2**18, 3: 2**14}  # sites: factors of at most about a GiB, made in seconds
BATCH_BYTES = 2**25


class NotConvergedError(InputError):
    """Conjugate gradients did not reach TOLERANCE within MAX_ITERATIONS."""


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
    """Return independent samples of x ~ N(0, K^-1) given x + sqrt(noise_variance) z = values on the mask, float64.

    Args:
        lattice, mass_squared, boundary: the prior, as in `gaussian_field`.
        observed: boolean mask of lattice.shape; an empty one gives the prior.
        values: lattice.shape, or (n_samples, *lattice.shape) for a condition of its own for every sample; what
            stands outside the mask is not read.
        n_samples: number of fields.
        rng: source of all randomness.
        noise_variance: one number >= 0 or one per site; 0 fixes the field to the values.
        method: "factorise" (sparse LU, then cheap for every sample), "conjugate_gradients" (preconditioned by fast
            transforms; relative residual TOLERANCE; little memory), or "auto", by the number of sites.

    Returns:
        (n_samples, *lattice.shape).
    """
    n_samples, rng = check_n_samples(n_samples, 8 * lattice.n_sites), np.random.default_rng(rng)
    given = _Conditioning.on(lattice, mass_squared, observed, noise_variance, boundary, method)
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
    given = _Conditioning.on(lattice, mass_squared, observed, noise_variance, boundary, method)
    v = given.check_values(values)
    batch = _batch(lattice)
    mean = np.concatenate([given.respond(v[start : start + batch]) for start in range(0, len(v), batch)])
    return mean.reshape(np.shape(values))


def _batch(lattice: Lattice) -> int:
    return max(1, BATCH_BYTES // (8 * lattice.n_sites))


@dataclass(frozen=True, eq=False)
class _Conditioning:
    """Flat indices of the sites known exactly, of the noisy and of the unknown ones, and a solver for K_ff + D."""

    lattice: Lattice
    exact: NDArray[np.intp]
    noisy: NDArray[np.intp]
    free: NDArray[np.intp]
    noise_std: NDArray[np.float64]
    coupling: sparse.csr_array
    solve: Solve

    @classmethod
    def on(
        cls,
        lattice: Lattice,
        mass_squared: float,
        observed: ArrayLike,
        noise_variance: ArrayLike,
        boundary: Boundary,
        method: Method,
    ) -> "_Conditioning":
        check_field(lattice, mass_squared, boundary)
        mask, variance = np.asarray(observed), np.asarray(noise_variance, float)
        if mask.dtype != np.bool_ or mask.shape != lattice.shape:
            raise InputError(
                f"observed must be a boolean mask of shape {lattice.shape}, got {mask.dtype} of shape {mask.shape}"
            )
        if variance.shape not in ((), lattice.shape):
            raise InputError(
                f"noise_variance must be one number or an array of shape {lattice.shape}, got shape {variance.shape}"
            )
        seen = np.broadcast_to(variance, lattice.shape)[mask]
        if not ((seen >= 0) & (seen < np.inf)).all():
            raise InputError(
                f"noise_variance must be finite and >= 0, got {seen[~((seen >= 0) & (seen < np.inf))][0]}; "
                "leave sites that tell nothing out of the mask"
            )
        if method not in ("auto", "factorise", "conjugate_gradients"):
            raise InputError(f"method must be one of auto, factorise, conjugate_gradients, got {method!r}")
        sharp = seen < 1e-100  # no double tells such a noise from none
        sites = np.flatnonzero(mask)
        exact, noisy = sites[sharp], sites[~sharp]
        weight = np.zeros(lattice.n_sites)
        weight[noisy] = 1.0 / seen[~sharp]
        free = np.setdiff1d(np.arange(lattice.n_sites), exact)
        rows = precision_matrix(lattice, mass_squared, boundary).tocsr()[free]
        matrix = (rows[:, free] + sparse.diags_array(weight[free])).tocsr()
        if method == "auto":
            small = len(free) <= FACTORISE_UP_TO.get(lattice.ndim, 2**12)
            method = "factorise" if small else "conjugate_gradients"
        if len(free) == 0 or method == "factorise":
            solve = _factorised(matrix)
        else:
            solve = _conjugate_gradients(lattice, mass_squared, boundary, matrix, free, weight)
        return cls(lattice, exact, noisy, free, np.sqrt(seen[~sharp]), rows[:, exact], solve)

    def check_values(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return the values as (n, N), n = 1 for a single field, 0 outside the mask."""
        v = np.asarray(values, float)
        if not v.size or (v.shape != self.lattice.shape and v.shape[1:] != self.lattice.shape):
            raise InputError(
                f"values must have the shape of the lattice, {self.lattice.shape}, or one axis of samples before it, "
                f"got shape {v.shape}"
            )
        flat = v.reshape(-1, self.lattice.n_sites)
        read = np.zeros(flat.shape)
        sites = np.concatenate([self.exact, self.noisy])
        read[:, sites] = flat[:, sites]
        if not np.isfinite(read).all():
            raise InputError(
                f"values must be finite on the mask, got {read[~np.isfinite(read)][0]}; leave unknown sites out"
            )
        return read

    def respond(self, difference: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply A to rows of (n, N), of which only the observed sites are read."""
        x = np.zeros(difference.shape)
        x[:, self.exact] = difference[:, self.exact]
        source = np.zeros(difference.shape)
        source[:, self.noisy] = difference[:, self.noisy] / self.noise_std**2
        x[:, self.free] = self.solve(source[:, self.free] - (self.coupling @ x[:, self.exact].T).T)
        return x


def _factorised(matrix: sparse.csr_array) -> Solve:
    if matrix.shape[0] == 0:
        return lambda b: b
    factors = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return lambda b: factors.solve(np.ascontiguousarray(b.T)).T


def _conjugate_gradients(
    lattice: Lattice,
    mass_squared: float,
    boundary: Boundary,
    matrix: sparse.csr_array,
    free: NDArray[np.intp],
    weight: NDArray[np.float64],
) -> Solve:
    """Return a solver of (K_ff + D) x = b for rows b, preconditioned by s (K + c)^-1 s.

    c stands for the mean effect of the observations, s for their unevenness: s = 1, and one step is enough, where
    all sites are equally noisy. Sites known exactly count as infinite weight.
    """
    k = mass_squared + 2 * lattice.ndim
    n_exact = lattice.n_sites - len(free)
    shift = ((weight / (weight + k)).sum() + n_exact) / (1 / (weight[free] + k)).sum()
    scale = np.sqrt((k + shift) / (k + weight[free]))
    inverse = 1.0 / (precision_spectrum(lattice, mass_squared, boundary) + shift)

    def precondition(r: NDArray[np.float64]) -> NDArray[np.float64]:
        z = np.zeros(((len(r) + 1) // 2, lattice.n_sites), complex)
        z.real[:, free] = scale * r[0::2]
        z.imag[: len(r) // 2, free] = scale * r[1::2]
        z = to_sites(to_modes(z.reshape(-1, *lattice.shape), lattice, boundary) * inverse, lattice, boundary)
        flat = z.reshape(len(z), -1)[:, free]
        return scale * np.stack([flat.real, flat.imag], axis=1).reshape(-1, len(free))[: len(r)]

    def solve(b: NDArray[np.float64]) -> NDArray[np.float64]:
        x, r = np.zeros(b.shape), b.copy()
        z = precondition(r)
        p, rz = z, (r * z).sum(axis=1, keepdims=True)
        goal = TOLERANCE * np.linalg.norm(b, axis=1, keepdims=True)
        for _ in range(MAX_ITERATIONS):
            going = np.linalg.norm(r, axis=1, keepdims=True) > goal
            if not going.any():
                return x
            q = (matrix @ p.T).T
            step = np.divide(rz, (p * q).sum(axis=1, keepdims=True), out=np.zeros(rz.shape), where=going)
            x += step * p
            r -= step * q
            z = precondition(r)
            last, rz = rz, (r * z).sum(axis=1, keepdims=True)
            p = z + np.divide(rz, last, out=np.zeros(rz.shape), where=going) * p
        raise NotConvergedError(
            f"conjugate gradients did not reach {TOLERANCE} in {MAX_ITERATIONS} steps; "
            "use method='factorise', or noise variances that differ less"
        )

    return solve
