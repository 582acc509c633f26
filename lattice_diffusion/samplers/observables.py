"""Energies, magnetisations and correlations of Ising samples, with errors that know how correlated the samples are.

Samples are int8 (n, *lattice.shape) in the order in which a sampler drew them. Every quantity is a function of mean
values, estimated with its error by the jackknife over blocks that are much longer than the autocorrelation time;
`n_samples` of the `Estimate` is the number of independent samples that they are worth.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, shown
from ..estimate import Curve, Estimate
from ..lattice import Lattice
from .autocorrelation import blocked, jackknife
from .chains import check_beta


def energies(samples: NDArray[np.int8], lattice: Lattice) -> NDArray[np.float64]:
    """Return -sum_<ij> s_i s_j per site of each sample, (n,)."""
    _check(samples, lattice)
    bonds = np.sum([_pair_sums(samples, lattice, axis, 1) for axis in range(lattice.ndim)], axis=0)
    return np.asarray(-bonds / lattice.n_sites)


def magnetizations(samples: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return the mean spin of each sample, (n,)."""
    _check(samples)
    return samples.reshape(len(samples), -1).mean(axis=1)


def energy(samples: NDArray[np.int8], lattice: Lattice, *, n_blocks: int | None = None) -> Estimate:
    """Return the mean energy per site, <e>."""
    return jackknife(energies(samples, lattice), lambda e: e[0], n_blocks)


def magnetization(samples: NDArray[np.int8], power: int = 1, *, n_blocks: int | None = None) -> Estimate:
    """Return <|m|^power>, m the mean spin of a sample."""
    if power < 1:
        raise InputError(f"power must be >= 1, got {power}")
    return jackknife(np.abs(magnetizations(samples)) ** power, lambda m: m[0], n_blocks)


def binder_cumulant(samples: NDArray[np.int8], *, n_blocks: int | None = None) -> Estimate:
    """Return U = 1 - <m^4>/(3 <m^2>^2): 2/3 in the ordered phase, 0 in the disordered one (Binder 1981)."""
    m = magnetizations(samples)
    return jackknife(np.stack([m**2, m**4], axis=1), lambda x: 1.0 - x[1] / (3.0 * x[0] ** 2), n_blocks)


def susceptibility(
    samples: NDArray[np.int8], beta: float, *, connected: bool = False, n_blocks: int | None = None
) -> Estimate:
    """Return beta N <m^2>, the response to a field of the finite lattice; connected: beta N (<m^2> - <|m|>^2)."""
    m = np.abs(magnetizations(samples))
    scale = check_beta(beta) * samples[0].size
    series = np.stack([m, m**2], axis=1)
    return _scaled(scale, jackknife(series, lambda x: x[1] - (x[0] ** 2 if connected else 0.0), n_blocks))


def specific_heat(samples: NDArray[np.int8], lattice: Lattice, beta: float, *, n_blocks: int | None = None) -> Estimate:
    """Return d<e>/dT per site, beta^2 N (<e^2> - <e>^2)."""
    e = energies(samples, lattice)
    scale = check_beta(beta) ** 2 * lattice.n_sites
    shift = e.mean()  # the variance is a small difference of squares
    series = np.stack([e - shift, (e - shift) ** 2], axis=1)
    return _scaled(scale, jackknife(series, lambda x: x[1] - x[0] ** 2, n_blocks))


def correlation(
    samples: NDArray[np.int8],
    lattice: Lattice,
    distances: ArrayLike | None = None,
    *,
    axis: int | None = None,
    n_blocks: int | None = None,
) -> Curve:
    """Return C(r) = <s_i s_(i + r)> along `axis`, or the mean over all axes of more than one site, over all pairs.

    distances: r, by default 0 up to half the shortest periodic axis, or the whole open one. The errors at different
    r come with their covariance.
    """
    _check(samples, lattice)
    if axis is not None and not 0 <= axis < lattice.ndim:
        raise InputError(f"axis must be between 0 and {lattice.ndim - 1}, got {axis}")
    axes = [a for a, n in enumerate(lattice.shape) if n > 1] or [0] if axis is None else [axis]
    reach = min(lattice.shape[a] // 2 if lattice.periodic[a] else lattice.shape[a] - 1 for a in axes)
    r = np.arange(reach + 1) if distances is None else np.atleast_1d(np.asarray(distances))
    if r.dtype.kind not in "iu" or r.ndim != 1 or not r.size or r.min() < 0 or r.max() > reach:
        raise InputError(f"distances must be integers between 0 and {reach} on this lattice, got {shown(distances)}")
    series = np.empty((len(samples), len(r)))
    for k, step in enumerate(r):
        n_pairs = [lattice.n_sites * (1.0 if lattice.periodic[a] else 1.0 - step / lattice.shape[a]) for a in axes]
        sums = [_pair_sums(samples, lattice, a, int(step)) / n for a, n in zip(axes, n_pairs, strict=True)]
        series[:, k] = np.mean(sums, axis=0)
    blocks = blocked(series, n_blocks)
    return Curve(blocks.mean, blocks.covariance(blocks.left_out), blocks.n_effective, blocks.method)


def correlation_length(samples: NDArray[np.int8], lattice: Lattice, *, n_blocks: int | None = None) -> Estimate:
    """Return the second-moment xi = sqrt(chi/F - 1) / (2 sin(pi/L)) of a periodic lattice, in sites.

    chi = <|s(0)|^2> and F = <|s(k)|^2>, s(k) = sum_x s_x e^(ikx), at the smallest k = 2 pi/L, averaged over the
    axes of the longest side L. Below T_c it measures the size of the lattice, since chi contains the magnetisation.
    """
    if not all(lattice.periodic):
        raise InputError("the second-moment length needs a lattice periodic along all axes; use correlation")
    _check(samples, lattice)
    length = max(lattice.shape)
    wave = np.exp(2j * np.pi * np.arange(length) / length)
    power = np.zeros(len(samples))
    longest = [axis for axis, n in enumerate(lattice.shape) if n == length]
    for axis in longest:
        others = tuple(a + 1 for a in range(lattice.ndim) if a != axis)
        power += np.abs(samples.sum(axis=others, dtype=np.int64) @ wave) ** 2 / len(longest)
    total = (magnetizations(samples) * lattice.n_sites) ** 2

    def xi(x: NDArray[np.float64]) -> float:
        if x[0] < x[1]:
            raise InputError(f"chi/F must be >= 1, got {x[0] / x[1]:.3g}: too few samples for so short a correlation")
        return math.sqrt(x[0] / x[1] - 1.0) / (2.0 * math.sin(math.pi / length))

    return jackknife(np.stack([total, power], axis=1), xi, n_blocks)


def _scaled(scale: float, estimate: Estimate) -> Estimate:
    return replace(estimate, value=scale * estimate.value, stderr=scale * estimate.stderr)


def _check(samples: NDArray[np.int8], lattice: Lattice | None = None) -> None:
    """Raise InputError unless samples are spins, (n, *lattice.shape)."""
    fits = samples.ndim > 1 if lattice is None else samples.shape[1:] == lattice.shape
    if not fits or not samples.size or samples.dtype.kind not in "if" or not (np.abs(samples) == 1).all():
        shape = "..." if lattice is None else ", ".join(map(str, lattice.shape))
        raise InputError(f"samples must be spins -1 and +1 of shape (n, {shape}), got {shown(samples)}")


def _pair_sums(samples: NDArray[np.int8], lattice: Lattice, axis: int, r: int) -> NDArray[np.int64]:
    """Return sum s_i s_(i + r) over the pairs along `axis`, (n,)."""
    x = np.moveaxis(samples, axis + 1, 1)
    first, second = (x, np.roll(x, -r, axis=1)) if lattice.periodic[axis] else (x[:, : x.shape[1] - r], x[:, r:])
    return (first * second).reshape(len(x), -1).sum(axis=1, dtype=np.int64)
