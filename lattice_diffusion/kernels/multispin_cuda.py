"""Local updates of the Ising ferromagnet on a GPU, 64 spins per word: the chain of `multispin`, other random numbers.

Word w of sweep n draws from Philox-4x32-10 (Salmon et al., SC 2011) at the counter (w, digit, n), so that the numbers
do not depend on how many threads share the work. A spin flips if U < P: its random binary digits of U are compared with
those of P, most significant first, until all 64 places of a word have met a digit that differs, after about eight.
Probabilities have 64 digits; nothing is left to repair.

The functions of words are compiled for both, CPU and GPU; those of arrays are device functions of numba.cuda, which
NUMBA_ENABLE_CUDASIM=1 runs without a GPU.
"""

from typing import Any

import numpy as np
from numba import config, cuda, njit

U0, U1, U8, U32, U63 = (np.uint64(k) for k in (0, 1, 8, 32, 63))
LOW, ONES = np.uint64(2**32 - 1), np.uint64(2**64 - 1)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # multipliers and key increments of Philox
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
THREADS = 128  # of a block


@njit(cache=True)
def philox(c0, c1, c2, c3, key):
    """Return two random words of a counter of four numbers below 2^32, and a key of 64 bits."""
    k0, k1 = key & LOW, key >> U32
    for _ in range(10):
        p0, p1 = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (p1 >> U32) ^ c1 ^ k0, p1 & LOW, (p0 >> U32) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0 | (c1 << U32), c2 | (c3 << U32)


@njit(cache=True)
def digit(random, open_, below, p0, p1, p2, weak, level):
    """Compare one digit of U with one of P in the places `open_`; return those left open, and those where U < P."""
    d0, d1, d2 = U0 - (p0 >> U63), U0 - (p1 >> U63), U0 - (p2 >> U63)
    d = (d0 & ~(weak | level)) | (d1 & weak) | (d2 & level)
    return open_ & ~(random ^ d), below | (open_ & d & ~random)


@njit(cache=True)
def bernoulli(places, p0, p1, p2, weak, level, word, sweep, key):
    """Return bits that are 1 with probability p / 2^64 in `places`, p2 at those of `level`, p1 of `weak`, else p0."""
    open_, below, k = places, U0, (word >> U32) << U8
    for _ in range(32):
        if open_ == U0:
            break
        first, second = philox(word & LOW, k, sweep & LOW, sweep >> U32, key)
        open_, below = digit(first, open_, below, p0, p1, p2, weak, level)
        open_, below = digit(second, open_, below, p0 << U1, p1 << U1, p2 << U1, weak, level)
        p0, p1, p2, k = p0 << np.uint64(2), p1 << np.uint64(2), p2 << np.uint64(2), k + U1
    return below


@njit(cache=True)
def flips(a, b, c, d, odd, p0, p1, p2, q0, q1, q2, glauber, word, sweep, key):
    """Return which spins of a word flip; see `multispin` for the classes.

    a, b, c, d: unlike neighbours; odd: sites of odd degree, whose probabilities are q, those of the others p.
    """
    ab, cd, both_ab, both_cd = a ^ b, c ^ d, a & b, c & d
    m0, m1, m2 = ab ^ cd, both_ab ^ both_cd ^ (ab & cd), both_ab & both_cd
    balanced = m1 & ~m0 & ~odd
    level = (balanced & glauber) | ((m1 | m2) & ~glauber)
    weak = (m0 ^ (m1 & odd)) & ~level
    below = U0
    if odd != ONES:
        below = bernoulli(~odd, p0, p1, p2, weak, level, word, sweep, key)
    if odd != U0:
        below |= bernoulli(odd, q0, q1, q2, weak, level, word, sweep, key)
    against = m2 | (m1 & (m0 | odd))
    return below ^ (against & ~balanced & glauber)


@cuda.jit(device=True)
def update_strips(spins, color, sweep, key, law, glauber, first, step, periodic, side, edges, segments, kinds, odd):
    """Update words first, first + step, .. of one colour; the arrays are those of `multispin.sweep_strips`.

    law: (2, 3) uint64, probabilities in units of 2^-64, by parity of the degree and class. The frame is not read.
    """
    height, width = spins.shape[1] - 2, spins.shape[2] - 2
    for word in range(first, height * width, step):
        i, j = word // width, word % width
        s = spins[color, i + 1, j + 1]
        if i > 0:
            up = spins[1 - color, i, j + 1]
        else:
            up = spins[1 - color, height, j + 1]
            up = (up << U1) | ((up >> U63) if periodic[0] else (s & U1))
        if i < height - 1:
            down = spins[1 - color, i + 2, j + 1]
        else:
            down = spins[1 - color, 1, j + 1]
            down = (down >> U1) | ((down << U63) if periodic[0] else (s & (U1 << U63)))
        left = right = s ^ edges[i]
        if j > 0 or periodic[1]:
            left = spins[1 - color, i + 1, j if j > 0 else width]
        if j < width - 1 or periodic[1]:
            right = spins[1 - color, i + 1, j + 2 if j < width - 1 else 1]
        k = 0
        while j >= segments[k, 1]:
            k += 1
        here = side[color, i]
        spins[color, i + 1, j + 1] = s ^ flips(
            s ^ up, s ^ down, s ^ spins[1 - color, i + 1, j + 1], s ^ ((right & here) | (left & ~here)),
            odd[kinds[color, i, k]], law[0, 0], law[0, 1], law[0, 2], law[1, 0], law[1, 1], law[1, 2], glauber,
            np.uint64(color * height * width + word), sweep, key,
        )  # fmt: skip


@cuda.jit(device=True)
def update_replicas(spins, color, sweep, key, law, glauber, first, step, order, cuts, neighbors, unlike, odd):
    """Update words first, first + step, .. of the sites order[cuts[color] : cuts[color + 1]], none of them neighbours.

    spins: (N, G); order: (N,); neighbors, unlike: as for `multispin.sweep_replicas`; odd: (N,) all ones where the
    degree is odd; law: as for `update_strips`.
    """
    n_words = spins.shape[1]
    for place in range(first, (cuts[color + 1] - cuts[color]) * n_words, step):
        i, g = order[cuts[color] + place // n_words], place % n_words
        s = spins[i, g]
        spins[i, g] = s ^ flips(
            s ^ spins[neighbors[i, 0], g], s ^ spins[neighbors[i, 1], g], s ^ spins[neighbors[i, 2], g],
            s ^ spins[neighbors[i, 3], g] ^ unlike[i], odd[i],
            law[0, 0], law[0, 1], law[0, 2], law[1, 0], law[1, 1], law[1, 2], glauber,
            np.uint64(i * n_words + g), sweep, key,
        )  # fmt: skip


@cuda.jit
def sweep_strips(spins, start, n_sweeps, key, law, glauber, periodic, side, edges, segments, kinds, odd):
    """Make sweeps start, start + 1, .. of one lattice in strips, all threads in step."""
    grid = cuda.cg.this_grid()
    for n in range(n_sweeps):
        for color in range(2):
            update_strips(
                spins, color, start + np.uint64(n), key, law, glauber, cuda.grid(1), cuda.gridsize(1),
                periodic, side, edges, segments, kinds, odd,
            )  # fmt: skip
            grid.sync()


@cuda.jit
def sweep_replicas(spins, start, n_sweeps, key, law, glauber, order, cuts, neighbors, unlike, odd):
    """Make sweeps start, start + 1, .. of 64 G replicas, all threads in step."""
    grid = cuda.cg.this_grid()
    for n in range(n_sweeps):
        for color in range(cuts.size - 1):
            update_replicas(
                spins, color, start + np.uint64(n), key, law, glauber, cuda.grid(1), cuda.gridsize(1),
                order, cuts, neighbors, unlike, odd,
            )  # fmt: skip
            grid.sync()


def available() -> bool:
    """Return whether numba finds a GPU, or simulates one."""
    return bool(cuda.is_available())


def free_bytes() -> float:
    """Return the memory that the GPU has left."""
    return float(cuda.current_context().get_memory_info()[0])


def to_device(array: Any) -> Any:
    """Return a copy on the GPU, read back by its copy_to_host()."""
    return cuda.to_device(np.ascontiguousarray(array))


def launch(kernel, *arguments):
    """Run a sweeping kernel on as many threads as the device holds at once, which can then wait for each other."""
    if config.ENABLE_CUDASIM:
        kernel[1, 4](*arguments)
        return
    kernel = kernel.specialize(*arguments)
    (compiled,) = kernel.overloads.values()
    kernel[compiled.max_cooperative_grid_blocks(THREADS), THREADS](*arguments)
