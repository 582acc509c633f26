"""Erased domain walls: a bond is known from the others once they connect its two faces.

Uniform loops (beta = 0) under erasure: each bond of an open L x W grid of faces is kept with probability k = 1 - eps,
and the kept ones fix s_f s_f' wherever they connect f and f'. With A the bonds inside a patch of faces, B_r the
other bonds with both faces in the box of radius r around the patch, C the rest,

    I(A;C|B_r) / log 2 = E[ merges(A | B_r) - merges(A | B_r + C) ],
    one bond:    k P(r < r* < inf),   r* = the radius at which its faces are first connected without it,
    2x2 block:   A is a 4-cycle; its merges, averaged over A's own erasures, depend on which faces meet outside it.

Bonds are drawn when first looked at. The clusters of the patch faces grow to their end in box after box, and the
sample ends when no two of them can meet any more; one pass gives every r and most of the lattice is never drawn.
Which bonds are decided already follows from the order of growth (box after box, in each cluster 0, 1, ..), so only
the visited faces are remembered: 14 bytes a face, 15 MB at L = 1024.

Source: Kesten, Commun. Math. Phys. 74, 41 (1980): t* = 1/2; Smirnov and Werner, math/0109120: four arms, r^(-5/4).
"""

import numpy as np
from numba import njit

FAR = 32767  # distance of the border around the lattice


@njit(cache=True)
def _distances(rows, columns, i, j, height, width):
    """Return the Chebyshev distance of each face to the patch at (i, j), flat, with a border of FAR one face wide."""
    out = np.full((rows + 2, columns + 2), FAR, np.int16)
    for a in range(rows):
        for b in range(columns):
            out[a + 1, b + 1] = max(i - a, a - (i + height - 1), j - b, b - (j + width - 1), 0)
    return out.ravel()


@njit(cache=True)
def _workspace(rows, columns, i, j, height, width):
    """Return the arrays that `_draw` needs for the patch of height x width faces at (i, j), and a row's stride."""
    stride, n = columns + 2, height * width
    distance = _distances(rows, columns, i, j, height, width)
    seeds = np.empty(n, np.int64)
    for k in range(n):
        seeds[k] = (i + 1 + k // width) * stride + j + 1 + k % width
    stamp, stack = np.zeros(distance.size, np.int64), np.empty(distance.size, np.int32)
    pending, joined = np.empty((2, n, 4 * (rows + columns)), np.int32), np.empty((n, n), np.int64)
    return distance, seeds, stamp, stack, pending, joined, stride


@njit(cache=True)
def _draw(rng, keep, base, workspace):
    """Draw one sample: joined[a, b] is the first radius at which patch faces a and b are connected, FAR if never.

    stamp[face] - base is the cluster that visited it (negative: none). pending[parity, cluster] lists the faces just
    outside the box beyond a bond not drawn yet. Returns the number of bonds drawn.
    """
    distance, seeds, stamp, stack, pending, joined, stride = workspace
    clusters, drawn, r = seeds.size, 0, 0
    steps = (-stride, -1, 1, stride)
    size = np.zeros((2, clusters), np.int64)
    root = np.arange(clusters)
    joined[:] = FAR
    for c in range(clusters):
        stamp[seeds[c]] = base + c
    while True:
        r += 1
        here, after = r % 2, 1 - r % 2
        for c in range(clusters):
            top, size[after, c] = 0, 0
            if r == 1:
                stack[0], top = seeds[c], 1
            for k in range(size[here, c]):
                face = pending[here, c, k]
                if stamp[face] < base:  # else its visitor has drawn this bond
                    drawn += 1
                    if rng.random() < keep:
                        stamp[face] = base + c
                        stack[top] = face
                        top += 1
            while top > 0:
                top -= 1
                face = stack[top]
                for step in steps:
                    other = face + step
                    if distance[other] > r:
                        if distance[other] == r + 1:
                            pending[after, c, size[after, c]] = other
                            size[after, c] += 1
                        continue
                    visitor = stamp[other] - base
                    if visitor < 0:
                        drawn += 1
                        if rng.random() < keep:
                            stamp[other] = base + c
                            stack[top] = other
                            top += 1
                    elif visitor > c and distance[face] == r and root[visitor] != root[c]:
                        # only a face new to the box can share an undrawn bond with a cluster that grows later
                        drawn += 1
                        if rng.random() < keep:
                            mine, theirs = root[c], root[visitor]
                            for a in range(clusters):
                                for b in range(clusters):
                                    if root[a] == mine and root[b] == theirs:
                                        joined[a, b] = joined[b, a] = r
                            for b in range(clusters):
                                if root[b] == theirs:
                                    root[b] = mine
                            if np.all(root == mine):
                                return drawn
        growing = -1  # a cluster that can still grow, and whether another one can
        alone = True
        for c in range(clusters):
            if size[after, c] > 0:
                alone = alone and (growing < 0 or growing == root[c])
                growing = root[c]
        if alone:
            return drawn


@njit(cache=True)
def joined_radii(rng, keep, rows, columns, i, j, height, width, out):
    """Write the first radius at which faces a and b of a patch are connected into out[n, a, b], FAR if never.

    One entry per sample, faces of the height x width patch at (i, j) in C order. Returns the number of bonds drawn.
    """
    workspace = _workspace(rows, columns, i, j, height, width)
    joined, drawn = workspace[5], 0
    for n in range(out.shape[0]):
        drawn += _draw(rng, keep, height * width * n + 1, workspace)
        out[n] = joined
    return drawn


@njit(cache=True)
def spanning(rng, keep, rows, columns, n_samples):
    """Return the number of samples whose kept bonds connect left and right edge column, and the bonds drawn.

    Each edge column is tied to one sign, its own bonds are not drawn. The label S is known exactly there and free
    otherwise: E H(S|x) = log 2 (1 - P). On L x (L + 1) faces P = 1/2 at keep = 1/2, by duality.
    """
    stride = columns + 2
    grid = np.full((rows + 2, stride), n_samples)  # the border counts as visited
    grid[1:-1, 1:-1] = -1
    stamp = grid.ravel()
    stack = np.empty(stamp.size, np.int32)
    count, drawn = 0, 0
    for n in range(n_samples):
        for a in range(rows):
            stack[a] = (a + 1) * stride + 1
            stamp[stack[a]] = n
        top, reached = rows, columns == 1
        while top > 0 and not reached:
            top -= 1
            face = stack[top]
            for step in (-1, -stride, stride, 1):  # right comes off the stack first
                other = face + step
                if stamp[other] < n:
                    drawn += 1
                    if rng.random() < keep:
                        stamp[other] = n
                        stack[top] = other
                        top += 1
                        reached = reached or other % stride == columns
        count += reached
    return count, drawn
