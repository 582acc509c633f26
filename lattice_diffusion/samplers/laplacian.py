"""K = m^2 - Laplacian as a matrix, by its eigenvalues, and the transforms between its modes and the sites.

Plane waves along periodic axes. Along open ones, boundary "free": sites at the edge have fewer neighbours, K is
diagonal in cosines (DCT-II), k = pi n/L; "fixed": the field is zero just beyond the edge, every site keeps 2 d in
K, which is diagonal in sines (DST-I), k = pi (n + 1)/(L + 1).
"""

from typing import Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import sparse

from ..errors import InputError, check_memory
from ..lattice import Lattice

Boundary = Literal["free", "fixed"]


def check_boundary(boundary: str) -> None:
    if boundary not in ("free", "fixed"):
        raise InputError(f"boundary of open axes must be 'free' or 'fixed', got {boundary!r}")


def along(axis: int, values: NDArray[np.float64], ndim: int) -> NDArray[np.float64]:
    """Values that depend on one axis, ready to broadcast."""
    return values.reshape([-1 if a == axis else 1 for a in range(ndim)])


def precision_spectrum(lattice: Lattice, mass_squared: float, boundary: Boundary = "free") -> NDArray[np.float64]:
    """Eigenvalues m^2 + sum (2 - 2 cos k) of K, lattice.shape."""
    check_memory("lattice", 24 * lattice.n_sites, "take a smaller one")
    total = np.full(lattice.shape, float(mass_squared))
    for axis, (n, flag) in enumerate(zip(lattice.shape, lattice.periodic, strict=True)):
        if flag:
            k = 2 * np.pi * np.arange(n) / n
        else:
            k = np.pi * np.arange(n) / n if boundary == "free" else np.pi * np.arange(1, n + 1) / (n + 1)
        total += along(axis, 4 * np.sin(k / 2) ** 2, lattice.ndim)
    return total


def precision_matrix(lattice: Lattice, mass_squared: float, boundary: Boundary = "free") -> sparse.csc_array:
    """K, (N, N) sparse, sites in row-major order."""
    n, bonds = lattice.n_sites, lattice.bonds
    hop = sparse.coo_array((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), shape=(n, n))
    adjacency = (hop + hop.T).tocsc()
    degree: NDArray[np.float64] = np.asarray(adjacency.sum(axis=0)).ravel()
    if boundary == "fixed":
        degree = np.full(n, 2.0 * lattice.ndim)
    return (sparse.diags_array(mass_squared + degree, format="csc") - adjacency).tocsc()


def wave_vectors(lattice: Lattice) -> NDArray[np.float64]:
    """k of a periodic lattice, (d, *lattice.shape), components in [-pi, pi), in the order of numpy.fft."""
    check_memory("lattice", 16 * lattice.ndim * lattice.n_sites, "take a smaller one")
    axes = [2 * np.pi * np.fft.fftfreq(n) for n in lattice.shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def _periodic_axes(lattice: Lattice) -> list[int]:
    return [axis + 1 for axis, flag in enumerate(lattice.periodic) if flag]


def _open_axes(
    z: NDArray[np.complexfloating], lattice: Lattice, boundary: Boundary, inverse: bool
) -> NDArray[np.complexfloating]:
    axes = [axis + 1 for axis, flag in enumerate(lattice.periodic) if not flag]
    if not axes:
        return z
    if boundary == "free":
        transform, kind = (scipy.fft.idctn if inverse else scipy.fft.dctn), 2
    else:
        transform, kind = (scipy.fft.idstn if inverse else scipy.fft.dstn), 1
    parts = z.view(z.real.dtype).reshape(*z.shape, 2)
    parts = transform(parts, type=kind, axes=axes, norm="ortho", overwrite_x=True)
    return np.ascontiguousarray(parts).view(z.dtype)[..., 0]


def to_sites(z: NDArray[np.complexfloating], lattice: Lattice, boundary: Boundary) -> NDArray[np.complexfloating]:
    """Unitary, modes to sites, of complex (n, *lattice.shape): two real fields each. May overwrite z."""
    z = _open_axes(z, lattice, boundary, inverse=True)
    axes = _periodic_axes(lattice)
    return scipy.fft.ifftn(z, axes=axes, norm="ortho", overwrite_x=True) if axes else z


def to_modes(z: NDArray[np.complexfloating], lattice: Lattice, boundary: Boundary) -> NDArray[np.complexfloating]:
    """The inverse of `to_sites`. May overwrite z."""
    axes = _periodic_axes(lattice)
    z = scipy.fft.fftn(z, axes=axes, norm="ortho", overwrite_x=True) if axes else z
    return _open_axes(z, lattice, boundary, inverse=False)
