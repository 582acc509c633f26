"""Complex white noise with a spectrum, by Box and Muller's transform (Ann. Math. Stat. 29, 610 (1958)).

    z = sqrt(-2 log u) e^(2 pi i v)
    float32    u = (hi + 1/2) 2^-32, v = lo 2^-32, from the two halves of one word of xoshiro256++
    float64    u = (w >> 12 + 1/2) 2^-52, v = w' 2^-64, from two words

Real and imaginary parts are two independent normal numbers of at most sqrt(66 log 2) = 6.76 sigma in float32, beyond
which lies a probability of 1.4e-11, and of at most sqrt(106 log 2) = 8.57 sigma in float64 (probability 1e-17); in a
field, which sums over all wave vectors, no such edge is left. Logarithm and sine are polynomials (float32: Cephes,
S. L. Moshier; float64: fdlibm, Sun Microsystems, 1993) without branches, so that LLVM computes several of them per
instruction (not so with numba's own check for division by zero, hence the error model); they err by a few units in
the last place.

Numba's cache does not follow imports: after an edit in random_bits.py, touch this file.
"""

import numpy as np
from numba import njit

from .random_bits import advance

LANES = 64

ONE_U, TWO, U12, U32, LOW = (np.uint64(k) for k in (1, 2, 12, 32, 2**32 - 1))
L1, L2, L3 = (np.uint64(k * LANES) for k in (1, 2, 3))


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def horner(c, x):
    """Return c[0] + c[1] x + c[2] x^2 + ..."""
    p = c[-1]
    for k in range(2, len(c) + 1):
        p = p * x + c[-k]
    return p


# -- float32 ------------------------------------------------------------------------------------------------------

I1, I2, I23, I30 = (np.int32(k) for k in (1, 2, 23, 30))
EIGHTH, MANTISSA, SQRT_HALF = np.int32(2**29), np.int32(0x7FFFFF), np.int32(0x3F3504F3)
UNIT, HALF, ONE, MINUS_TWO = np.float32(2.0**-32), np.float32(0.5), np.float32(1.0), np.float32(-2.0)
TO_RADIANS, LN2 = np.float32(np.pi * 2.0**-31), np.float32(np.log(2.0))
# fmt: off
LOG = tuple(np.float32(c) for c in (
    3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1, 1.4249322787e-1,
    -1.2420140846e-1, 1.1676998740e-1, -1.1514610310e-1, 7.0376836292e-2,
))
# fmt: on
SIN = tuple(np.float32(c) for c in (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4))
COS = tuple(np.float32(c) for c in (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5))


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def minus_two_log_float32(u):
    """Return -2 log u of a normal float32 u <= 1: u = 2^e (1 + f), 1 + f between sqrt(1/2) and sqrt(2)."""
    bits = np.int32(np.float32(u).view(np.int32) - SQRT_HALF)
    e = np.float32(bits >> I23)
    f = np.int32((bits & MANTISSA) + SQRT_HALF).view(np.float32) - ONE
    return MINUS_TWO * (e * LN2 + (f - HALF * f * f + f * f * f * horner(LOG, f)))


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def cos_sin_float32(turn):
    """Return cos and sin of 2 pi turn / 2^32, int32: whole quarter turns and the rest, |rest| <= pi/4."""
    quarter = np.int32(np.int32(turn + EIGHTH) >> I30)
    x = np.float32(np.int32(turn - np.int32(quarter << I30))) * TO_RADIANS
    y = x * x
    sin = x + x * y * horner(SIN, y)
    cos = ONE - HALF * y + y * y * horner(COS, y)
    odd = (quarter & I1) != 0
    a, b = (sin, cos) if odd else (cos, sin)
    return (-a if ((quarter + I1) & I2) != 0 else a), (-b if (quarter & I2) != 0 else b)


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def complex_noise_float32(out, amplitude, state):
    """Write amplitude[j] z into out[row, j], z of independent standard normal real and imaginary part.

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
                radius = np.sqrt(minus_two_log_float32(u)) * a[j]
                cos, sin = cos_sin_float32(np.int32(np.uint32(words[j] & LOW)))
                z[TWO * j] = radius * cos
                z[TWO * j + ONE_U] = radius * sin


# -- float64 ------------------------------------------------------------------------------------------------------

J1, J2, J52, J62 = (np.int64(k) for k in (1, 2, 52, 62))
EIGHTH_64, MANTISSA_64, SQRT_HALF_64 = np.int64(2**61), np.int64(2**52 - 1), np.int64(0x3FE6A09E667F3BCD)
UNIT_64, TO_RADIANS_64, LN2_64 = 2.0**-52, np.pi * 2.0**-63, np.log(2.0)
# fmt: off
LOG_64 = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)
SIN_64 = (
    -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04,
    2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10,
)
COS_64 = (
    4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
    -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11,
)
# fmt: on


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def minus_two_log_float64(u):
    """Return -2 log u of a normal float64 u <= 1: u = 2^e (1 + f), 1 + f between sqrt(1/2) and sqrt(2)."""
    bits = np.float64(u).view(np.int64) - SQRT_HALF_64
    f = np.int64((bits & MANTISSA_64) + SQRT_HALF_64).view(np.float64) - 1.0
    s, half = f / (2.0 + f), 0.5 * f * f
    y = s * s
    return -2.0 * (np.float64(bits >> J52) * LN2_64 + (f - (half - s * (half + y * horner(LOG_64, y)))))


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def cos_sin_float64(turn):
    """Return cos and sin of 2 pi turn / 2^64, int64, as `cos_sin_float32` does."""
    quarter = (turn + EIGHTH_64) >> J62
    x = np.float64(turn - (quarter << J62)) * TO_RADIANS_64
    y = x * x
    sin = x + x * y * horner(SIN_64, y)
    cos = 1.0 - 0.5 * y + y * y * horner(COS_64, y)
    odd = (quarter & J1) != 0
    a, b = (sin, cos) if odd else (cos, sin)
    return (-a if ((quarter + J1) & J2) != 0 else a), (-b if (quarter & J2) != 0 else b)


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def complex_noise_float64(out, amplitude, state):
    """Write the same as `complex_noise_float32` in float64; a lane gives the word of the radius, then of the angle."""
    words = np.empty(2 * LANES, np.uint64)
    for row in range(out.shape[0]):
        line = out[row]
        for start in range(0, amplitude.size, LANES):
            n = min(LANES, amplitude.size - start)
            for i in range(n):
                j = np.uint64(i)
                words[j], s0, s1, s2, s3 = advance(state[j], state[j + L1], state[j + L2], state[j + L3])
                words[j + L1], state[j], state[j + L1], state[j + L2], state[j + L3] = advance(s0, s1, s2, s3)
            a, z = amplitude[start : start + n], line[2 * start : 2 * (start + n)]
            for i in range(n):
                j = np.uint64(i)
                u = (np.float64(np.int64(words[j] >> U12)) + 0.5) * UNIT_64
                radius = np.sqrt(minus_two_log_float64(u)) * a[j]
                cos, sin = cos_sin_float64(np.int64(words[j + L1]))
                z[TWO * j] = radius * cos
                z[TWO * j + ONE_U] = radius * sin
