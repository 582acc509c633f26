"""Massive Gaussian fields by fast transforms: FFT along periodic axes, cosine transform along open ones."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ..lattice import Lattice
from .checks import check_n_samples


def check_mass_squared(mass_squared: float) -> float:
    if not 0.0 < mass_squared < np.inf:
        raise ValueError(
            f"mass_squared must be finite and > 0, got {mass_squared}; a massless field has no normalisable zero mode"
        )
    return float(mass_squared)


def precision_spectrum(lattice: Lattice, mass_squared: float) -> NDArray[np.float64]:
    """Eigenvalues of K = m^2 - Laplacian, lattice.shape: m^2 + sum (2 - 2 cos k), k = 2 pi n/L or pi n/L (open)."""
    total = np.full(lattice.shape, mass_squared)
    for axis, (n, flag) in enumerate(zip(lattice.shape, lattice.periodic, strict=True)):
        k = np.arange(n) * (2 * np.pi if flag else np.pi) / n
        total += (2 - 2 * np.cos(k)).reshape([-1 if a == axis else 1 for a in range(lattice.ndim)])
    return total


def gaussian_field(
    lattice: Lattice, mass_squared: float, n_samples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Independent samples of N(0, K^-1), float64 (n_samples, *lattice.shape): x = K^(-1/2) z, z white noise.

    K = m^2 - Laplacian; on open axes the Laplacian of the graph, whose edge sites have fewer neighbours
    (free boundary), diagonal in the cosine transform DCT-II.
    """
    check_mass_squared(mass_squared)
    check_n_samples(n_samples)
    x = rng.standard_normal((n_samples, *lattice.shape))
    periodic = [axis + 1 for axis, flag in enumerate(lattice.periodic) if flag]
    open_axes = [axis + 1 for axis, flag in enumerate(lattice.periodic) if not flag]
    filtering = 1.0 / np.sqrt(precision_spectrum(lattice, mass_squared))
    if open_axes:
        x = scipy.fft.dctn(x, axes=open_axes, norm="ortho", overwrite_x=True)
    if periodic:
        x = scipy.fft.ifftn(scipy.fft.fftn(x, axes=periodic) * filtering, axes=periodic).real
    else:
        x *= filtering
    if open_axes:
        x = scipy.fft.idctn(x, axes=open_axes, norm="ortho", overwrite_x=True)
    return x
