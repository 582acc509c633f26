"""Random words, energies and scores of Markov chains, written out apart from the package."""

import numpy as np
from scipy.signal import lfilter


def xoshiro(s):
    """Return the words of one step of xoshiro256++ (Blackman and Vigna's published C) of states s (4, n), in place."""

    def rotate(x, k):
        return (x << np.uint64(k)) | (x >> np.uint64(64 - k))

    words = rotate(s[0] + s[3], 23) + s[0]
    t = s[1] << np.uint64(17)
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = rotate(s[3], 45)
    return words


def ar1(a, shape, rng):
    """Stationary x_k = a x_k-1 + noise of unit variance; tau = (1 + a)/(1 - a), the variance of a mean tau/n."""
    noise = rng.standard_normal(shape)
    noise[..., 1:] *= np.sqrt(1 - a * a)
    return lfilter([1.0], [1.0, -a], noise, axis=-1)


def energies(spins, lattice):
    """Per site."""
    flat = spins.reshape(len(spins), -1)
    i, j = lattice.bonds.T
    return -(flat[:, i] * flat[:, j]).sum(axis=1, dtype=int) / lattice.n_sites


def z_score(series, truth):
    """Mean against truth, with the autocorrelation time measured in Sokal's self-consistent window."""
    centred, tau = series - series.mean(), 1.0
    for k in range(1, len(series) // 10):
        tau += 2 * np.mean(centred[k:] * centred[:-k]) / np.mean(centred**2)
        if k > 5 * tau:
            break
    return (series.mean() - truth) / (series.std() * np.sqrt(tau / len(series)))
