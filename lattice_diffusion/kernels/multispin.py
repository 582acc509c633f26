"""Local updates of the two-dimensional Ising ferromagnet, 64 spins per word.

With d_k = s XOR s_k for the four neighbours, a full adder counts the unlike ones, m = sum_k d_k, in all 64 places at
once. The spin flips with probability f(h), h = 4 - 2 m the local field along it (J = 1):

    Metropolis f = (1 - epsilon) min(1, e^(-2 beta h)),    heat bath f = 1 / (1 + e^(2 beta h)).

m = 0, 1, 2 are the three classes of `random_bits`; for m >= 3 Metropolis takes class 2 too, and heat bath the
complement, f(-h) = 1 - f(h), for m >= 3. The proposals that Metropolis leaves out, epsilon, make it ergodic: in a
fixed order with epsilon = 0, diagonal stripes of period 4 (h = 0 everywhere) would flip for ever, and so would every
state at beta = 0. At open edges a missing neighbour counts as like (d = 0), and sites of odd degree have h = 3 - 2 m:
the same classes with other probabilities. A second missing neighbour counts as unlike, which cancels.

Method: Block, Virnau, Preis, Comp. Phys. Comm. 181, 1549 (2010), with the acceptance bits of `random_bits`.
"""

import math

import numpy as np
from numba import njit

from .random_bits import B4, B5, B6, LANES, U1, U63, bernoulli_words, geometric_gap, repair

U0, LANES_U = np.uint64(0), np.uint64(LANES)


@njit(cache=True)
def flip_words(spins, work, lane, n, place, up, down, level, left, right, side, unlike, odd, glauber):
    """Update words place .. place + n - 1 of the flat array `spins` with the random words of lanes lane, lane + 1 ..

    up, down, level, left, right: where the neighbours' words start; the fourth neighbour is the right one for the
    bits of `side`, else the left one. unlike: bits whose fourth neighbour is complemented; odd: bits of sites with
    an odd number of neighbours; glauber: all ones for heat bath, 0 for Metropolis.
    """
    w0, w1, w2 = lane + B4, lane + B5, lane + B6
    for j in range(n):
        s = spins[place + j]
        a, b, c = s ^ spins[up + j], s ^ spins[down + j], s ^ spins[level + j]
        d = s ^ unlike ^ ((spins[right + j] & side) | (spins[left + j] & ~side))
        ab, cd, both_ab, both_cd = a ^ b, c ^ d, a & b, c & d
        m0, m1, m2 = ab ^ cd, both_ab ^ both_cd ^ (ab & cd), both_ab & both_cd
        weak = m0 ^ (m1 & odd)
        bit = (work[w1 + j] & weak) | (work[w0 + j] & ~weak)
        against = m2 | (m1 & (m0 | odd))
        balanced = m1 & ~m0 & ~odd
        heat_bath = (work[w2 + j] & balanced) | ((against ^ bit) & ~balanced)
        metropolis = (work[w2 + j] & (m1 | m2)) | (bit & ~(m1 | m2))
        work[w0 + j] = (heat_bath & glauber) | (metropolis & ~glauber)
    for j in range(n):  # apart, so that reading a neighbour at `place` itself does not stop vectorisation
        spins[place + j] ^= work[w0 + j]


@njit(cache=True)
def refresh_halo(spins, color, height, width, edges, periodic):
    """Copy into the frame of the other colour what the sites of `color` see beyond their strip or row.

    spins: (2, height + 2, width + 2); edges: (height,) bits of the rows at an end of an open axis 0.
    """
    own, other = spins[color], spins[1 - color]
    first = U0 if periodic[0] else U1
    last = U0 if periodic[0] else U1 << U63
    for j in range(1, width + 1):
        above, below = other[height, j], other[1, j]
        other[0, j] = (((above << U1) | (above >> U63)) & ~first) | (own[1, j] & first)
        other[height + 1, j] = (((below >> U1) | (below << U63)) & ~last) | (own[height, j] & last)
    for i in range(1, height + 1):
        other[i, 0] = other[i, width] if periodic[1] else own[i, 1] ^ edges[i - 1]
        other[i, width + 1] = other[i, 1] if periodic[1] else own[i, width] ^ edges[i - 1]


@njit(cache=True, nogil=True)
def sweep_strips(spins, work, n_sweeps, periodic, side, edges, segments, kinds, odd, digits, rates, values, glauber):
    """Make checkerboard sweeps of one lattice cut into 64 strips of `height` rows, bit b of a word in strip b.

    spins: (2, height + 2, width + 2) uint64, [colour, row, pair of columns], with a frame. The site of strip b is in
    row b height + i, column 2 j + q, where q = (b height + i + colour) mod 2 is bit b of side[colour, i].
    segments: (n, 2) ranges of j with one table of digits each, kinds: (2, height, n) which one; odd: (kinds,) words.
    """
    height, width = spins.shape[1] - 2, spins.shape[2] - 2
    pitch = np.uint64(width + 2)
    flat = spins.reshape(spins.size)
    log_miss = math.log1p(-rates.max())
    gap = geometric_gap(work, log_miss)
    for _ in range(n_sweeps):
        for color in range(2):
            refresh_halo(spins, color, height, width, edges, periodic)
            for i in range(height):
                own_row = np.uint64(color * (height + 2) + i + 1) * pitch + U1
                row = np.uint64((1 - color) * (height + 2) + i + 1) * pitch + U1
                for k in range(segments.shape[0]):
                    kind = kinds[color, i, k]
                    j, stop = np.uint64(segments[k, 0]), np.uint64(segments[k, 1])
                    while j < stop:
                        n = min(stop - j, LANES_U)
                        bernoulli_words(work, n, digits, kind)
                        gap = repair(work, n, odd[kind], rates, values, log_miss, gap)
                        here = row + j
                        flip_words(
                            flat, work, U0, n, own_row + j, here - pitch, here + pitch, here, here - U1, here + U1,
                            side[color, i], U0, odd[kind], glauber,
                        )  # fmt: skip
                        j += n


@njit(cache=True, nogil=True)
def sweep_replicas(spins, work, n_sweeps, order, blocks, kinds, neighbors, unlike, odd, digits, rates, values, glauber):
    """Make sweeps of 64 G independent lattices, site after site; bit b of word g is replica 64 g + b.

    spins: (N, G) uint64; order: (N,) sites; blocks: (n, 2) ranges of `order` whose words are drawn at once (several
    sites only if their words fit LANES), kinds: (n,) the table of digits of each; neighbors: (N, 4), the site itself
    where there is none; unlike: (N,) all ones where two or three are missing; odd: (kinds,) words.
    """
    pitch = np.uint64(spins.shape[1])
    flat = spins.reshape(spins.size)
    log_miss = math.log1p(-rates.max())
    gap = geometric_gap(work, log_miss)
    for _ in range(n_sweeps):
        for block in range(blocks.shape[0]):
            start, stop, kind = blocks[block, 0], blocks[block, 1], kinds[block]
            j = U0
            while j < pitch:
                n = min(pitch - j, LANES_U)
                n_lanes = n * np.uint64(stop - start)
                bernoulli_words(work, n_lanes, digits, kind)
                gap = repair(work, n_lanes, odd[kind], rates, values, log_miss, gap)
                for k in range(start, stop):
                    i = order[k]
                    last = neighbors[i, 3] * pitch + j
                    flip_words(
                        flat, work, np.uint64(k - start) * n, n, i * pitch + j, neighbors[i, 0] * pitch + j,
                        neighbors[i, 1] * pitch + j, neighbors[i, 2] * pitch + j, last, last, U0, unlike[i], odd[kind],
                        glauber,
                    )  # fmt: skip
                j += n
