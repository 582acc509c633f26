"""Gaussian fields by fast transforms: white noise in mode space, times the root of the spectrum, to the sites.

The precision matrix of the massive free field, K = m^2 - Laplacian, is diagonal in plane waves along periodic axes.
Along open ones, boundary "free": sites at the edge have fewer neighbours, K is diagonal in cosines (DCT-II),
k = pi n/L; "fixed": the field is zero just beyond the edge, every site keeps 2 d in K, which is diagonal in sines
(DST-I), k = pi (n + 1)/(L + 1).

Complex noise gives two independent real fields per transform, its real and its imaginary part. A field depends on
the generator and on its place among the samples, not on how many are drawn at a time.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import sparse

from ..errors import InputError, check_memory, device_of
from ..kernels import normals
from ..lattice import Lattice, Rng, check_lattice
from .chains import check_n_samples

Boundary = Literal["free", "fixed"]
# Noise and transform of one batch stay in the second-level cache; a single pair of fields may be larger.
BATCH_BYTES = 2**20
TENSOR_BYTES = 2**28  # of one batch on a device of torch


def check_mass_squared(mass_squared: float) -> float:
    if not 1e-300 < mass_squared < np.inf:  # its inverse, the largest variance, must be a number too
        raise InputError(f"mass_squared must be finite and > 0, got {mass_squared}; a massless field has no law")
    return float(mass_squared)


def check_field(lattice: Lattice, mass_squared: float, boundary: str) -> float:
    """Return mass_squared; raise InputError unless it is > 0, or 0 where an open axis is fixed at both ends."""
    check_lattice(lattice)
    if boundary not in ("free", "fixed"):
        raise InputError(f"boundary of open axes must be 'free' or 'fixed', got {boundary!r}")
    if mass_squared == 0.0 and boundary == "fixed" and not all(lattice.periodic):
        return 0.0
    return check_mass_squared(mass_squared)


def gaussian_field(
    lattice: Lattice,
    mass_squared: float,
    n_samples: int,
    rng: Rng = None,
    dtype: DTypeLike = np.float64,
    boundary: Boundary = "free",
    *,
    device: str | None = None,
) -> Any:
    """Return samples of the massive free field N(0, K^-1), K = m^2 - Laplacian, (n_samples, *lattice.shape).

    Args:
        lattice: periodic axes, open ones, or both.
        mass_squared: m^2 > 0; 0 (the Gaussian free field) with boundary "fixed" and an open axis.
        dtype: float64 or float32; float32 is about twice as fast.
        boundary: of open axes, "free" (the Laplacian of the graph: edge sites have fewer neighbours) or "fixed"
            (zero beyond the edge; fastest for sides L with L + 1 a product of small primes).
        device: of torch, such as "cuda" or "auto": fields are drawn there, and are a tensor that stays there; their
            random numbers are others. None: they are a NumPy array.

    Raises InputError for values out of range, a device that is not there, or an output larger than the memory.
    """
    mass_squared = check_field(lattice, mass_squared, boundary)
    power = 1.0 / precision_spectrum(lattice, mass_squared, boundary)
    return _draw(lattice, power, boundary, n_samples, rng, dtype, device)


def spectral_field(
    lattice: Lattice,
    spectrum: Callable[[NDArray[np.float64]], ArrayLike] | ArrayLike,
    n_samples: int,
    rng: Rng = None,
    dtype: DTypeLike = np.float64,
    *,
    device: str | None = None,
) -> Any:
    """Return samples (n_samples, *lattice.shape) of the stationary Gaussian field of any power spectrum.

        Cov(x_i, x_j) = (1/N) sum_k P(k) e^(i k (i - j)),

    so that P = 1/(m^2 + 2 d - 2 sum cos k) is the massive free field, P = 1 white noise, and P(0) is N times the
    variance of the field's mean (0: every field averages to zero).

    Args:
        lattice: periodic along all axes.
        spectrum: a function of |k|, or an array of lattice.shape in the order of numpy.fft, such as a function of
            `wave_vectors(lattice)`. Finite, P(k) >= 0, and P(k) = P(-k) since the field is real.
        dtype, device: as for `gaussian_field`.
    """
    if not all(lattice.periodic):
        raise InputError(f"spectral_field needs all axes periodic, got {lattice.periodic}; gaussian_field takes any")
    return _draw(lattice, _check_spectrum(lattice, spectrum), "free", n_samples, rng, dtype, device)


def _check_spectrum(
    lattice: Lattice, spectrum: Callable[[NDArray[np.float64]], ArrayLike] | ArrayLike
) -> NDArray[np.float64]:
    if callable(spectrum):
        with np.errstate(divide="ignore", invalid="ignore"):  # k^-n at k = 0 is refused below, with the remedy
            spectrum = spectrum(np.sqrt((wave_vectors(lattice) ** 2).sum(axis=0)))
    power = np.asarray(spectrum, float)
    if power.shape != lattice.shape:
        raise InputError(f"spectrum must be a function of |k| or an array {lattice.shape}, got shape {power.shape}")
    bad = ~((power >= 0) & (power < np.inf))
    if bad.any():
        k = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"spectrum must be finite and >= 0, got {power[k]} at index {k}; "
            "P(0) = 0 leaves out the mean where it is not defined"
        )
    mirrored = np.roll(np.flip(power), 1, axis=tuple(range(lattice.ndim)))
    if not np.allclose(power, mirrored, rtol=1e-8, atol=1e-12 * power.max()):
        k = tuple(int(i) for i in np.argwhere(~np.isclose(power, mirrored, rtol=1e-8, atol=1e-12 * power.max()))[0])
        raise InputError(
            f"spectrum must be the same at k and -k for a real field, got {power[k]} and {mirrored[k]} at index {k}; "
            "use (P(k) + P(-k))/2"
        )
    return power


def _draw(
    lattice: Lattice,
    power: NDArray[np.float64],
    boundary: Boundary,
    n_samples: int,
    rng: Rng,
    dtype: DTypeLike,
    device: str | None,
) -> Any:
    """Return sqrt(power) times white noise in the modes, transformed to the sites."""
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise InputError(f"dtype must be float32 or float64, got {dtype}")
    device = None if device is None else device_of(device)
    on_host = 0 if device and device.startswith("cuda") else lattice.n_sites * dtype.itemsize
    n_samples, rng = check_n_samples(n_samples, on_host), np.random.default_rng(rng)
    amplitude = np.sqrt(power).ravel()
    limit, largest = np.finfo(dtype), float(10.0 * amplitude.sum())  # no mode is drawn beyond 9 standard deviations
    if largest > 0.0 and not float(limit.tiny) <= largest <= float(limit.max):
        raise InputError(
            f"fields must stay within the range of {dtype}, but their modes have standard deviations of up to "
            f"{amplitude.max():.3g}; use dtype=float64, or fields in other units"
        )
    if device is not None:
        return _draw_tensor(lattice, amplitude.reshape(lattice.shape), boundary, n_samples, rng, dtype, device)
    amplitude = amplitude.astype(dtype)
    x = np.empty((n_samples, *lattice.shape), dtype)
    pairs = max(1, BATCH_BYTES // (2 * dtype.itemsize * lattice.n_sites))
    work = np.empty((min(pairs, (n_samples + 1) // 2), *lattice.shape), np.result_type(dtype, np.complex64))
    fill = normals.complex_noise_float32 if dtype == np.float32 else normals.complex_noise_float64
    state = rng.integers(0, 2**64, 4 * normals.LANES, dtype=np.uint64)
    for start in range(0, n_samples, 2 * pairs):
        batch = x[start : start + 2 * pairs]
        z = work[: (len(batch) + 1) // 2]
        fill(z.view(dtype).reshape(len(z), -1), amplitude, state)
        z = to_sites(z, lattice, boundary)
        batch[0::2] = z.real
        batch[1::2] = z.imag[: len(batch) // 2]
    return x


def _draw_tensor(
    lattice: Lattice,
    amplitude: NDArray[np.float64],
    boundary: Boundary,
    n_samples: int,
    rng: np.random.Generator,
    dtype: np.dtype[Any],
    device: str,
) -> Any:
    """Return the fields of `_draw` as a tensor on the device; open axes are transformed by a matrix product."""
    import torch

    real = torch.float32 if dtype == np.float32 else torch.float64
    pairs = max(1, min(TENSOR_BYTES // (2 * dtype.itemsize * lattice.n_sites), (n_samples + 1) // 2))
    if device.startswith("cuda"):
        n_bytes = dtype.itemsize * lattice.n_sites * (n_samples + 8 * pairs)
        check_memory("n_samples", n_bytes, "draw smaller batches", torch.cuda.mem_get_info(device)[0])
    generator = torch.Generator(device).manual_seed(int(rng.integers(1 << 63)))
    scale = torch.as_tensor(amplitude, dtype=real, device=device)
    transform, kind = (scipy.fft.idct, 2) if boundary == "free" else (scipy.fft.idst, 1)
    waves = {
        axis + 2: torch.as_tensor(transform(np.eye(n), kind, axis=0, norm="ortho"), dtype=real, device=device)
        for axis, (n, flag) in enumerate(zip(lattice.shape, lattice.periodic, strict=True))
        if not flag
    }
    x = torch.empty((n_samples, *lattice.shape), dtype=real, device=device)
    for start in range(0, n_samples, 2 * pairs):
        batch = x[start : start + 2 * pairs]
        shape = ((len(batch) + 1) // 2, 2, *lattice.shape)
        z = torch.randn(shape, generator=generator, dtype=real, device=device) * scale
        for axis, wave in waves.items():
            z = torch.tensordot(z, wave, ([axis], [1])).movedim(-1, axis)
        if axes := _periodic_axes(lattice):
            z = torch.view_as_real(torch.fft.ifftn(torch.complex(z[:, 0], z[:, 1]), dim=axes, norm="ortho"))
            z = z.movedim(-1, 1)
        batch[0::2] = z[:, 0]
        batch[1::2] = z[: len(batch) // 2, 1]
    return x


# -- the precision matrix and its modes --------------------------------------------------------------------------


def precision_spectrum(lattice: Lattice, mass_squared: float, boundary: Boundary = "free") -> NDArray[np.float64]:
    """Return the eigenvalues m^2 + sum (2 - 2 cos k) of K, lattice.shape."""
    check_memory("lattice", 24 * lattice.n_sites, "take a smaller one")
    total = np.full(lattice.shape, float(mass_squared))
    for axis, (n, flag) in enumerate(zip(lattice.shape, lattice.periodic, strict=True)):
        if flag:
            k = 2 * np.pi * np.arange(n) / n
        else:
            k = np.pi * np.arange(n) / n if boundary == "free" else np.pi * np.arange(1, n + 1) / (n + 1)
        total += (4 * np.sin(k / 2) ** 2).reshape([-1 if a == axis else 1 for a in range(lattice.ndim)])
    return total


def precision_matrix(lattice: Lattice, mass_squared: float, boundary: Boundary = "free") -> sparse.csc_array:
    """Return K, (N, N) sparse, sites in row-major order."""
    n, bonds = lattice.n_sites, lattice.bonds
    hop = sparse.coo_array((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), shape=(n, n))
    adjacency = (hop + hop.T).tocsc()
    degree: NDArray[np.float64] = np.asarray(adjacency.sum(axis=0)).ravel()
    if boundary == "fixed":
        degree = np.full(n, 2.0 * lattice.ndim)
    return (sparse.diags_array(mass_squared + degree, format="csc") - adjacency).tocsc()


def wave_vectors(lattice: Lattice) -> NDArray[np.float64]:
    """Return k of a periodic lattice, (d, *lattice.shape), components in [-pi, pi), in the order of numpy.fft."""
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
    """Transform modes to sites (unitary), complex (n, *lattice.shape): two real fields each. May overwrite z."""
    z = _open_axes(z, lattice, boundary, inverse=True)
    axes = _periodic_axes(lattice)
    return scipy.fft.ifftn(z, axes=axes, norm="ortho", overwrite_x=True) if axes else z


def to_modes(z: NDArray[np.complexfloating], lattice: Lattice, boundary: Boundary) -> NDArray[np.complexfloating]:
    """Apply the inverse of `to_sites`. May overwrite z."""
    axes = _periodic_axes(lattice)
    z = scipy.fft.fftn(z, axes=axes, norm="ortho", overwrite_x=True) if axes else z
    return _open_axes(z, lattice, boundary, inverse=False)
