"""Cluster updates of Ising spins: Swendsen-Wang on packed square lattices and on any bonds, and Wolff.

Packed rows hold 64 spins per word. A word's bonds are drawn at once, sites joined along a row form runs, and the
union-find works on runs instead of sites: about half as many at the critical point. Indices are unsigned, since
Numba tests the sign of a signed one at every access.
"""

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from .random_bits import advance

_0, _1, _63, _64 = (np.uint64(n) for n in (0, 1, 63, 64))
_ALL = np.uint64(2**64 - 1)


@intrinsic
def _count_ones(typing_context, word):
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.ctpop(args[0])


@intrinsic
def _lowest_one(typing_context, word):
    """Return the position of the lowest set bit of a word that is not 0."""

    def code(context, builder, signature, args):
        return builder.cttz(args[0], context.get_constant(types.boolean, True))

    return types.uint64(types.uint64), code


@njit(cache=True, inline="always")
def next_word(s):
    """Return one word of xoshiro256++ and the next state, both kept in registers."""
    word, s0, s1, s2, s3 = advance(s[0], s[1], s[2], s[3])
    return word, (s0, s1, s2, s3)


@njit(cache=True, inline="always")
def _bernoulli(wanted, threshold, s):
    """Draw one bit in each `wanted` place, 1 with probability threshold / 2^64.

    64 uniform numbers are compared with the threshold bit by bit from the highest, until every place is decided:
    about log2(64) + 1 random words.
    """
    accepted = _0
    open_places = wanted
    bit = _63
    while open_places != _0:
        word, s = next_word(s)
        if (threshold >> bit) & _1:
            accepted |= open_places & ~word
            open_places &= word
        else:
            open_places &= ~word
        if bit == _0:
            break
        bit -= _1
    return accepted, s


@njit(cache=True, inline="always")
def merge(parent, a, b):
    """Join two trees by Rem's splicing (Patwary, Blair and Manne 2010); a parent never exceeds its child."""
    while parent[a] != parent[b]:
        if parent[a] < parent[b]:
            a, b = b, a
        above = parent[a]
        parent[a] = parent[b]
        if above == a:
            break
        a = above


@njit(cache=True, inline="always")
def _merge_runs(parent, links, upper, upper_base, lower, lower_base):
    while links != _0:
        below = links ^ (links - _1)
        a = upper_base + _count_ones(upper & below) - _1
        b = lower_base + _count_ones(lower & below) - _1
        merge(parent, a, b)
        links &= links - _1


@njit(cache=True, nogil=True)
def swendsen_wang_square(words, width, wrap_rows, wrap_columns, threshold, n_sweeps, state):
    """Make `n_sweeps` Swendsen-Wang sweeps of a uniform square ferromagnet, in place.

    words: (L, ceil(width / 64)) uint64, bit b of word w the spin in column 64 w + b, unused bits 0;
    wrap_rows, wrap_columns: whether row L-1 meets row 0, the last column the first;
    threshold: bond probability 1 - exp(-2 beta) times 2^64; state: (4,) uint64 of xoshiro256++.
    """
    n_rows, n_words = words.shape
    joined = np.empty((n_rows, n_words), np.uint64)  # bit b: columns b and b+1 are bonded
    starts = np.empty((n_rows, n_words), np.uint64)  # bit b: a run starts in column b
    base = np.empty((n_rows, n_words + 1), np.uint64)
    parent = np.empty(n_rows * width, np.uint32)
    flipped = np.empty(n_rows * width, np.uint8)
    last_bit = np.uint64((width - 1) % 64)
    s = (state[0], state[1], state[2], state[3])
    for _ in range(n_sweeps):
        n_runs = _0
        for i in range(n_rows):
            for w in range(n_words):
                edge = w == n_words - 1
                top = last_bit if edge else _63
                used = _ALL >> (_63 - top)
                right = (words[i, w] >> _1) | ((words[i, 0 if edge else w + 1] & _1) << top)
                wanted = ~(words[i, w] ^ right) & used
                if edge and not wrap_columns:
                    wanted &= used >> _1
                joined[i, w], s = _bernoulli(wanted, threshold, s)
                starts[i, w] = ~(joined[i, w] << _1) & used
                base[i, w] = n_runs
                stop = n_runs + _count_ones(starts[i, w])
                for k in range(n_runs, stop):
                    parent[k] = k
                n_runs = stop
            base[i, n_words] = n_runs
            for w in range(n_words):
                edge = w == n_words - 1
                if (joined[i, w] >> (last_bit if edge else _63)) & _1:
                    merge(parent, base[i, w + 1] - _1, base[i, 0 if edge else w + 1])
            if i > 0:
                s = _join_rows(words, joined, starts, base, parent, i - 1, i, threshold, last_bit, s)
        if wrap_rows:
            s = _join_rows(words, joined, starts, base, parent, n_rows - 1, 0, threshold, last_bit, s)
        s = _flip(words, starts, base, parent, flipped, last_bit, s)
    state[0], state[1], state[2], state[3] = s


@njit(cache=True, inline="always")
def _join_rows(words, joined, starts, base, parent, i, j, threshold, last_bit, s):
    n_words = words.shape[1]
    for w in range(n_words):
        used = _ALL >> (_63 - (last_bit if w == n_words - 1 else _63))
        links, s = _bernoulli(~(words[i, w] ^ words[j, w]) & used, threshold, s)
        links &= ~((links & joined[i, w] & joined[j, w]) << _1)  # the same two runs again
        _merge_runs(parent, links, starts[i, w], base[i, w], starts[j, w], base[j, w])
    return s


@njit(cache=True, inline="always")
def _flip(words, starts, base, parent, flipped, last_bit, s):
    """Flip every run by the fair coin of its root; parents precede children, so that one pass settles all."""
    n_rows, n_words = words.shape
    for i in range(n_rows):
        for w in range(n_words):
            coins, s = next_word(s)
            left = starts[i, w]
            changes = _0
            before = _0
            for k in range(base[i, w], base[i, w + 1]):
                above = parent[k]
                now = coins & _1 if above == k else np.uint64(flipped[above])
                coins >>= _1
                flipped[k] = now
                changes ^= (now ^ before) << _lowest_one(left)
                left &= left - _1
                before = now
            for shift in (1, 2, 4, 8, 16, 32):  # parity of the changes up to each column
                changes ^= changes << np.uint64(shift)
            words[i, w] ^= changes & (_ALL >> (_63 - (last_bit if w == n_words - 1 else _63)))
    return s


@njit(cache=True, nogil=True)
def swendsen_wang_bonds(spins, bonds, couplings, thresholds, n_sweeps, state):
    """Make `n_sweeps` Swendsen-Wang sweeps for any couplings and fields, in place.

    spins: (N+1,) int8, spins[0] = +1 the ghost spin that never flips; bonds: (M, 2), a field h_i is the bond (0, i)
    of coupling h_i (Coniglio et al. 1989); couplings: (M,), only their sign matters here;
    thresholds: (M,) uint64, (1 - exp(-2 |J|)) 2^64, all ones for certainty; state: (4,) uint64.
    """
    parent = np.empty(len(spins), np.uint32)
    flipped = np.zeros(len(spins), np.bool_)
    s = (state[0], state[1], state[2], state[3])
    for _ in range(n_sweeps):
        for i in range(len(spins)):
            parent[i] = i
        for b in range(len(bonds)):
            i, j = bonds[b]
            word, s = next_word(s)
            if word <= thresholds[b] and (spins[i] == spins[j]) == (couplings[b] > 0.0):
                merge(parent, np.uint64(i), np.uint64(j))
        for i in range(1, len(spins)):
            word, s = next_word(s)
            flipped[i] = word >> _63 == _1 if parent[i] == i else flipped[parent[i]]
            if flipped[i]:
                spins[i] = -spins[i]
    state[0], state[1], state[2], state[3] = s


@njit(cache=True, nogil=True)
def wolff(spins, neighbors, couplings, thresholds, n_clusters, state):
    """Flip `n_clusters` Wolff clusters in place, and return the number of spins flipped.

    spins: (N,) int8; neighbors: (N, z), i itself where there is none, with threshold 0; couplings and
    thresholds: (N, z) as in `swendsen_wang_bonds`; state: (4,) uint64.
    """
    stack = np.empty(len(spins), np.uint32)
    cluster_of = np.full(len(spins), -1)  # the latest cluster that took the spin
    n_flipped = 0
    s = (state[0], state[1], state[2], state[3])
    for cluster in range(n_clusters):
        word, s = next_word(s)
        i = np.uint32((np.float64(word >> np.uint64(11)) * 2.0**-53) * len(spins))
        spins[i] = -spins[i]
        cluster_of[i] = cluster
        stack[0] = i
        height = 1
        while height > 0:
            height -= 1
            i = stack[height]
            n_flipped += 1
            for k in range(neighbors.shape[1]):
                j = neighbors[i, k]
                # spin i has flipped and j has not: their bond was satisfied if it no longer is
                if cluster_of[j] != cluster and (spins[i] != spins[j]) == (couplings[i, k] > 0.0):
                    word, s = next_word(s)
                    if word < thresholds[i, k]:
                        spins[j] = -spins[j]
                        cluster_of[j] = cluster
                        stack[height] = j
                        height += 1
    state[0], state[1], state[2], state[3] = s
    return n_flipped
