"""Words of 64 independent Bernoulli bits, any probability, exact to double precision.

A bit with P(1) = N / 2^K compares K random bits with the binary digits of N, least significant first (Horner):

    a <- maj(r, a, digit) = (r AND a) if digit = 0, (r OR a) if digit = 1.

One set of K random words r serves several probabilities at once (their bits are then correlated with each other,
never from site to site). What the truncation to K digits leaves out is a rare event of probability <= 2^-K per
bit; it is placed exactly, by geometric gaps, and overrides the bit with a fixed value.

The words come from xoshiro256++ (Blackman, Vigna, ACM Trans. Math. Softw. 47, 36 (2021)), one generator per lane,
so that LLVM advances 4 or 8 of them per instruction. A last, scalar one draws the gaps.

`work`, uint64 (WORK,): blocks of LANES words. 0-3 generator states; 4, 5, 6 the Bernoulli words of three classes;
then 4 words of the scalar generator. Offsets are unsigned and multiples of a constant: with signed ones, or several
arrays, the loop does not vectorise. Numba's cache does not follow imports: after an edit here, touch those that do.
"""

import math

import numpy as np
from numba import njit

K = 12
LANES = 64
WORK = 7 * LANES + 4

B1, B2, B3, B4, B5, B6, B7 = (np.uint64(k * LANES) for k in range(1, 8))
U1, U2, U3, U6, U63 = (np.uint64(k) for k in (1, 2, 3, 6, 63))
U11, U17, U19, U23, U41, U45 = (np.uint64(k) for k in (11, 17, 19, 23, 41, 45))
NEVER = np.int64(2**62)


@njit(cache=True)
def advance(s0, s1, s2, s3):
    """Return the random word and the new state of one step of xoshiro256++."""
    r = s0 + s3
    r = ((r << U23) | (r >> U41)) + s0
    t = s1 << U17
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= t
    s3 = (s3 << U45) | (s3 >> U19)
    return r, s0, s1, s2, s3


@njit(cache=True)
def horner(s0, s1, s2, s3, a0, a1, a2, d0, d1, d2):
    """Take in one binary digit of each class, d0, d1, d2, with one random word."""
    r, s0, s1, s2, s3 = advance(s0, s1, s2, s3)
    return s0, s1, s2, s3, (r & a0) | (d0 & (r | a0)), (r & a1) | (d1 & (r | a1)), (r & a2) | (d2 & (r | a2))


@njit(cache=True)
def bernoulli_words(work, n, digits, kind):
    """Draw truncated Bernoulli words of the three classes, lanes 0 .. n - 1 <= LANES of blocks 4, 5 and 6.

    digits: (kinds, 3, K + 1) uint64, a word per class and binary digit, least significant first; [..., K] is the
    word that Horner starts from.
    """
    d0, d1, d2 = digits[kind, 0], digits[kind, 1], digits[kind, 2]
    for j in range(n):
        s0, s1, s2, s3 = work[j], work[j + B1], work[j + B2], work[j + B3]
        a0, a1, a2 = d0[K], d1[K], d2[K]
        for k in range(K // 2):  # two loops: LLVM must unroll them to vectorise over j, and stops at 300 instructions
            s0, s1, s2, s3, a0, a1, a2 = horner(s0, s1, s2, s3, a0, a1, a2, d0[k], d1[k], d2[k])
        for k in range(K // 2, K):
            s0, s1, s2, s3, a0, a1, a2 = horner(s0, s1, s2, s3, a0, a1, a2, d0[k], d1[k], d2[k])
        work[j], work[j + B1], work[j + B2], work[j + B3] = s0, s1, s2, s3
        work[j + B4], work[j + B5], work[j + B6] = a0, a1, a2


@njit(cache=True)
def uniform(work):
    """Draw a uniform number in (0, 1], 53 bits, from the scalar generator."""
    r, work[B7], work[B7 + U1], work[B7 + U2], work[B7 + U3] = advance(
        work[B7], work[B7 + U1], work[B7 + U2], work[B7 + U3]
    )
    return (np.float64(r >> U11) + 1.0) * 2.0**-53


@njit(cache=True)
def geometric_gap(work, log_miss):
    """Draw the number of bits before the next rare event; log_miss = log(1 - rate), 0 where there is none."""
    if log_miss == 0.0:
        return NEVER
    gap = math.floor(math.log(uniform(work)) / log_miss)
    return NEVER if gap >= 2.0**62 else np.int64(gap)


@njit(cache=True)
def repair(work, n, odd, rates, values, log_miss, gap):
    """Override the bits of blocks 4, 5 and 6 where the truncated expansion errs, and return the gap that remains.

    rates, values: (2, 3) by parity of the site's degree (`odd`: a word, 1 for odd) and class: the probability that
    a bit is overridden, and by what. Events come at the largest rate and are thinned, since a site uses one class.
    """
    n_bits = np.int64(n << U6)
    if gap >= n_bits:
        return gap - n_bits
    top = rates.max()
    while gap < n_bits:
        word, bit = np.uint64(gap) >> U6, np.uint64(gap) & U63
        parity = (odd >> bit) & U1
        u = uniform(work) * top
        for k in range(3):
            if u <= rates[parity, k]:
                i = word + B4 + np.uint64(k) * B1
                work[i] = (work[i] & ~(U1 << bit)) | (values[parity, k] << bit)
        gap += 1 + geometric_gap(work, log_miss)
    return gap - n_bits
