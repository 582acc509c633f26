"""Perfect samples of an Ising chain or ring."""

from numba import njit


@njit(cache=True, nogil=True)
def sample(correlation, closing, rng, out):
    """Draw perfect samples of +-1 into out (n, N); neighbours are equal with probability (1 + correlation) / 2.

    closing: correlation carried by the ring's closing bond, 0 for an open chain. The rest of the ring, bond i
    to the closing one, is a chain between the present spin and the first one.
    """
    n_sites = out.shape[1]
    for n in range(out.shape[0]):
        first = 1 if rng.random() < 0.5 else -1
        out[n, 0] = first
        for i in range(1, n_sites):
            rest = closing * correlation ** (n_sites - 1 - i)
            plus = (1.0 + correlation * out[n, i - 1]) * (1.0 + rest * first)
            minus = (1.0 - correlation * out[n, i - 1]) * (1.0 - rest * first)
            out[n, i] = 1 if rng.random() * (plus + minus) < plus else -1
