"""Complex white noise with a spectrum, by Box and Muller's transform (Ann. Math. Stat. 29, 610 (1958)), float32.

    z = sqrt(-2 log u) e^(2 pi i v),   u = (hi + 1/2) 2^-32,   v = lo 2^-32,

hi and lo the two halves of one word of xoshiro256++. Real and imaginary parts are two independent normal numbers of
at most sqrt(66 log 2) = 6.76 sigma, beyond which lies a probability of 1.4e-11; in a field, which sums over all
wave vectors, no such edge is left. Logarithm and sine are polynomials (Cephes, S. L. Moshier) without branches, so
that LLVM computes 8 or 16 of them per instruction (not so with numba's own check for division by zero, hence the
error model); they err by a few units in the last place.

Numba's cache does not follow imports: after an edit in random_bits.py, touch this file.
"""

import numpy as np
from numba import njit

from .random_bits import advance

LANES = 64

U32, LOW, ONE_U, TWO = np.uint64(32), np.uint64(2**32 - 1), np.uint64(1), np.uint64(2)
L1, L2, L3 = (np.uint64(k * LANES) for k in (1, 2, 3))
I1, I2, I23, I30 = (np.int32(k) for k in (1, 2, 23, 30))
EIGHTH, MANTISSA, SQRT_HALF = np.int32(2**29), np.int32(0x7FFFFF), np.int32(0x3F3504F3)
UNIT, HALF, ONE, MINUS_TWO = np.float32(2.0**-32), np.float32(0.5), np.float32(1.0), np.float32(-2.0)
TO_RADIANS, LN2 = np.float32(np.pi * 2.0**-31), np.float32(np.log(2.0))
LOG = tuple(
    np.float32(c)
    for c in (
        3.3333331174e-1,
        -2.4999993993e-1,
        2.0000714765e-1,
        -1.6668057665e-1,
        1.4249322787e-1,
        -1.2420140846e-1,
        1.1676998740e-1,
        -1.1514610310e-1,
        7.0376836292e-2,
    )
)
SIN = tuple(np.float32(c) for c in (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4))
COS = tuple(np.float32(c) for c in (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5))


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def horner(c, x):  # type: ignore[no-untyped-def]
    """c[0] + c[1] x + c[2] x^2 + ..."""
    p = c[-1]
    for k in range(2, len(c) + 1):
        p = p * x + c[-k]
    return p


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def minus_two_log(u):  # type: ignore[no-untyped-def]
    """-2 log u of a normal float32 u <= 1: u = 2^e (1 + f), 1 + f between sqrt(1/2) and sqrt(2)."""
    bits = np.int32(np.float32(u).view(np.int32) - SQRT_HALF)
    e = np.float32(bits >> I23)
    f = np.int32((bits & MANTISSA) + SQRT_HALF).view(np.float32) - ONE
    return MINUS_TWO * (e * LN2 + (f - HALF * f * f + f * f * f * horner(LOG, f)))


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def cos_sin(turn):  # type: ignore[no-untyped-def]
    """cos and sin of 2 pi turn / 2^32, int32: a whole number of quarter turns and the rest, |rest| <= pi/4."""
    quarter = np.int32(np.int32(turn + EIGHTH) >> I30)
    x = np.float32(np.int32(turn - np.int32(quarter << I30))) * TO_RADIANS
    y = x * x
    sin = x + x * y * horner(SIN, y)
    cos = ONE - HALF * y + y * y * horner(COS, y)
    odd = (quarter & I1) != 0
    a, b = (sin, cos) if odd else (cos, sin)
    return (-a if ((quarter + I1) & I2) != 0 else a), (-b if (quarter & I2) != 0 else b)


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def complex_noise(out, amplitude, state):  # type: ignore[no-untyped-def]
    """out[row, j] = amplitude[j] z, z with independent standard normal real and imaginary part.

    Args:
        out: (rows, 2 N) float32, real and imaginary parts in turn.
        amplitude: (N,) float32.
        state: (4 LANES,) uint64, one generator per lane, advanced in place; element j of a row takes lane j mod LANES,
            so that the numbers do not depend on how many rows are filled at a time.
    """
    words = np.empty(LANES, np.uint64)
    for row in range(out.shape[0]):
        line = out[row]
        for start in range(0, amplitude.size, LANES):
            n = min(LANES, amplitude.size - start)
            for i in range(n):
                j = np.uint64(i)
                words[j], state[j], state[j + L1], state[j + L2], state[j + L3] = advance(
                    state[j], state[j + L1], state[j + L2], state[j + L3]
                )
            a, z = amplitude[start : start + n], line[2 * start : 2 * (start + n)]
            for i in range(n):
                j = np.uint64(i)
                u = (np.float32(np.uint32(words[j] >> U32)) + HALF) * UNIT
                radius = np.sqrt(minus_two_log(u)) * a[j]
                cos, sin = cos_sin(np.int32(np.uint32(words[j] & LOW)))
                z[TWO * j] = radius * cos
                z[TWO * j + ONE_U] = radius * sin
