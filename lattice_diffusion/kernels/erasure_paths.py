"""Paths of kept bonds between the two faces of an erased bond: their sign is all that the other bonds reveal of it.

`x` (n, 2, L, W): right and down bonds of an open grid or a torus, +1 or -1 where kept, 0 where erased or unused.
"""

import numpy as np
from numba import njit

STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


@njit(cache=True)
def _kept(x, i, j, step):
    """Return the kept bond of face (i, j) towards STEPS[step], 0 if there is none."""
    rows, columns = x.shape[1:]
    if step == 0:
        return x[0, i, j]
    if step == 1:
        return x[1, i, j]
    if step == 2:
        return x[0, i, (j - 1) % columns]
    return x[1, (i - 1) % rows, j]


@njit(cache=True)
def first_contradiction(x):
    """Return the first sample whose kept bonds contradict each other round a closed path, -1 if none; open grids."""
    rows, columns = x.shape[2:]
    spin = np.empty(rows * columns, np.int8)
    stack = np.empty(rows * columns, np.int64)
    for n in range(x.shape[0]):
        spin[:] = 0
        for start in range(spin.size):
            if spin[start] != 0:
                continue
            spin[start], stack[0], top = 1, start, 1
            while top > 0:
                top -= 1
                i, j = divmod(stack[top], columns)
                for step in range(4):
                    bond = _kept(x[n], i, j, step)
                    if bond != 0:
                        other = (i + STEPS[step][0]) * columns + j + STEPS[step][1]
                        sign = bond * spin[i * columns + j]
                        if spin[other] == 0:
                            spin[other], stack[top] = sign, other
                            top += 1
                        elif spin[other] != sign:
                            return n
    return -1


@njit(cache=True)
def path_sign(x, c, i, j, radius, stamp, spin, queue, mark):
    """Return the product along a kept path around bond (c, i, j) of x (2, L, W), not over it; 0 if there is none.

    Only faces within Chebyshev distance `radius` of the bond's two are used; on a torus that box must not close
    round it. Paths grow from both faces in turn, so the search ends when the smaller cluster does.

    stamp, spin, queue: from `_workspace`; `mark` is even and grows by 2 at every call.
    """
    rows, columns = x.shape[1:]
    tail_0, tail_1, head_0, head_1 = 1, 1, 0, 0  # scalars: to swap them or to keep them in arrays costs a sixth
    for side in range(2):
        a, b = (i + side * c) % rows, (j + side * (1 - c)) % columns
        stamp[a, b], spin[a, b] = mark + side, 1
        queue[side, 0, 0], queue[side, 0, 1] = side * c, side * (1 - c)  # relative to face (i, j)
    side = 0
    while (head_0 if side == 0 else head_1) < (tail_0 if side == 0 else tail_1):
        di, dj = queue[side, head_0 if side == 0 else head_1]
        if side == 0:
            head_0 += 1
        else:
            head_1 += 1
        a, b = (i + di) % rows, (j + dj) % columns
        for step in range(4):
            ei, ej = di + STEPS[step][0], dj + STEPS[step][1]
            if ei < -radius or ei > radius + c or ej < -radius or ej > radius + 1 - c:
                continue
            if (di, dj, ei, ej) == (0, 0, c, 1 - c) or (ei, ej, di, dj) == (0, 0, c, 1 - c):
                continue
            bond = _kept(x, a, b, step)
            if bond == 0:
                continue
            e, f = (i + ei) % rows, (j + ej) % columns
            if stamp[e, f] == mark + 1 - side:
                return bond * spin[a, b] * spin[e, f]
            if stamp[e, f] < mark:
                stamp[e, f], spin[e, f] = mark + side, bond * spin[a, b]
                tail = tail_0 if side == 0 else tail_1
                queue[side, tail, 0], queue[side, tail, 1] = ei, ej
                if side == 0:
                    tail_0 += 1
                else:
                    tail_1 += 1
        side = 1 - side
    return 0


@njit(cache=True)
def _workspace(rows, columns):
    """Return the arrays stamp and spin (L, W) and queue (2, L W, 2) that `path_sign` works in."""
    n = rows * columns
    return np.zeros((rows, columns), np.int64), np.empty((rows, columns), np.int8), np.empty((2, n, 2), np.int64)


@njit(cache=True)
def signs(x, wanted, radius, out):
    """Write `path_sign` of every bond of `wanted` (n, 2, L, W) into out of that shape, 0 for the others."""
    rows, columns = x.shape[2:]
    stamp, spin, queue = _workspace(rows, columns)
    mark = 0
    for n in range(x.shape[0]):
        for c in range(2):
            for i in range(rows):
                for j in range(columns):
                    mark += 2
                    found = 0
                    if wanted[n, c, i, j]:
                        found = path_sign(x[n], c, i, j, radius, stamp, spin, queue, mark)
                    out[n, c, i, j] = found


@njit(cache=True)
def unmask(x, order, reach, unknown):
    """Reveal bonds one at a time: each takes the sign of a path of known bonds in its box, else keeps its coin.

    x: (n, 2, L, W), 0 where masked; revealed in place. order: (n, M) flat bond indices with a fair coin as their
    sign: +-(1 + index). reach: (M,) radius of each step. unknown: (n, M), out: where no path told.
    """
    rows, columns = x.shape[2:]
    stamp, spin, queue = _workspace(rows, columns)
    mark = 0
    for n in range(x.shape[0]):
        for m in range(order.shape[1]):
            c, face = divmod(abs(order[n, m]) - 1, rows * columns)
            i, j = divmod(face, columns)
            mark += 2
            sign = path_sign(x[n], c, i, j, reach[m], stamp, spin, queue, mark)
            unknown[n, m] = sign == 0
            x[n, c, i, j] = sign if sign != 0 else (1 if order[n, m] > 0 else -1)
