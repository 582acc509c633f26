"""Complex white noise with a spectrum, float64: as in `normals`, from two words of xoshiro256++ a number.

    z = sqrt(-2 log u) e^(2 pi i v),   u = (w >> 12 + 1/2) 2^-52,   v = w' 2^-64.

No number exceeds sqrt(106 log 2) = 8.57 sigma (probability 1e-17). Polynomials of fdlibm (Sun Microsystems, 1993).

Numba's cache does not follow imports: after an edit in random_bits.py or normals.py, touch this file.
"""

import numpy as np
from numba import njit

from .normals import L1, L2, L3, LANES, ONE_U, TWO, horner
from .random_bits import advance

U12, NEXT = np.uint64(12), np.uint64(LANES)
I1, I2, I52, I62 = (np.int64(k) for k in (1, 2, 52, 62))
EIGHTH, MANTISSA, SQRT_HALF = np.int64(2**61), np.int64(2**52 - 1), np.int64(0x3FE6A09E667F3BCD)
UNIT, TO_RADIANS, LN2 = 2.0**-52, np.pi * 2.0**-63, np.log(2.0)
LOG = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
SIN = (
    -1.66666666666666324348e-01,
    8.33333333332248946124e-03,
    -1.98412698298579493134e-04,
    2.75573137070700676789e-06,
    -2.50507602534068634195e-08,
    1.58969099521155010221e-10,
)
COS = (
    4.16666666666666019037e-02,
    -1.38888888888741095749e-03,
    2.48015872894767294178e-05,
    -2.75573143513906633035e-07,
    2.08757232129817482790e-09,
    -1.13596475577881948265e-11,
)


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def minus_two_log(u):  # type: ignore[no-untyped-def]
    """-2 log u of a normal float64 u <= 1: u = 2^e (1 + f), 1 + f between sqrt(1/2) and sqrt(2)."""
    bits = np.float64(u).view(np.int64) - SQRT_HALF
    f = np.int64((bits & MANTISSA) + SQRT_HALF).view(np.float64) - 1.0
    s, half = f / (2.0 + f), 0.5 * f * f
    y = s * s
    return -2.0 * (np.float64(bits >> I52) * LN2 + (f - (half - s * (half + y * horner(LOG, y)))))


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def cos_sin(turn):  # type: ignore[no-untyped-def]
    """cos and sin of 2 pi turn / 2^64, int64: a whole number of quarter turns and the rest, |rest| <= pi/4."""
    quarter = (turn + EIGHTH) >> I62
    x = np.float64(turn - (quarter << I62)) * TO_RADIANS
    y = x * x
    sin = x + x * y * horner(SIN, y)
    cos = 1.0 - 0.5 * y + y * y * horner(COS, y)
    odd = (quarter & I1) != 0
    a, b = (sin, cos) if odd else (cos, sin)
    return (-a if ((quarter + I1) & I2) != 0 else a), (-b if (quarter & I2) != 0 else b)


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def complex_noise(out, amplitude, state):  # type: ignore[no-untyped-def]
    """As `normals.complex_noise`, all float64; a lane gives the word of the radius, then that of the angle."""
    words = np.empty(2 * LANES, np.uint64)
    for row in range(out.shape[0]):
        line = out[row]
        for start in range(0, amplitude.size, LANES):
            n = min(LANES, amplitude.size - start)
            for i in range(n):
                j = np.uint64(i)
                words[j], s0, s1, s2, s3 = advance(state[j], state[j + L1], state[j + L2], state[j + L3])
                words[j + NEXT], state[j], state[j + L1], state[j + L2], state[j + L3] = advance(s0, s1, s2, s3)
            a, z = amplitude[start : start + n], line[2 * start : 2 * (start + n)]
            for i in range(n):
                j = np.uint64(i)
                u = (np.float64(np.int64(words[j] >> U12)) + 0.5) * UNIT
                radius = np.sqrt(minus_two_log(u)) * a[j]
                cos, sin = cos_sin(np.int64(words[j + NEXT]))
                z[TWO * j] = radius * cos
                z[TWO * j + ONE_U] = radius * sin
