"""Belief propagation on a tree of rules, exact and linear in the leaves.

A node of symbol a at level l is written as the tuple rules[l, a, r] of symbols of its children, r uniform; the root, at
level 0, is uniform. Nodes are numbered level by level, the root first, so that the children of node i of a level are
s i .. s i + s - 1 of the next. Messages are arrays (nodes, v):

    up(a)    likelihood of what is seen below a node:  up(a) = 1/m sum_r prod_j up_j(rules[a, r, j])
    down(b)  law of a node given what is seen elsewhere:  down_j(b) = sum_{a, r: r_j = b} down(a)/m prod_{k != j} up_k

`rules` (depth, v, m, s) integers; `weights` (n, s^depth, v) likelihoods of the leaves' symbols.
"""

import math

import numpy as np
from numba import njit


@njit(cache=True)
def first_nodes(depth, branching):
    """Return the number of the first node of every level, and that of all nodes."""
    out = np.zeros(depth + 2, np.int64)
    for level in range(depth + 1):
        out[level + 1] = out[level] + branching**level
    return out


@njit(cache=True)
def upward(rules, first, weights, up, seen):
    """Fill `up`, every message scaled to sum 1, from the weights (leaves, v); return the log evidence.

    seen: (nodes,), whether anything below a node is observed; messages of the others are constant and not summed.
    """
    depth, v, m, s = rules.shape
    scale = 0.0
    for leaf in range(weights.shape[0]):
        node = first[depth] + leaf
        total = 0.0
        seen[node] = False
        for a in range(v):
            total += weights[leaf, a]
            seen[node] |= weights[leaf, a] != weights[leaf, 0]
        if total == 0.0:
            return -np.inf
        for a in range(v):
            up[node, a] = weights[leaf, a] / total
        scale += math.log(total)
    for level in range(depth - 1, -1, -1):
        for i in range(first[level + 1] - first[level]):
            node, child = first[level] + i, first[level + 1] + s * i
            seen[node] = False
            for j in range(s):
                seen[node] |= seen[child + j]
            if not seen[node]:
                up[node] = 1.0 / v
                scale += (1 - s) * math.log(v)
                continue
            total = 0.0
            for a in range(v):
                likelihood = 0.0
                for r in range(m):
                    product = 1.0
                    for j in range(s):
                        product *= up[child + j, rules[level, a, r, j]]
                    likelihood += product
                up[node, a] = likelihood
                total += likelihood
            if total == 0.0:
                return -np.inf
            scale += math.log(total / m)
            for a in range(v):
                up[node, a] /= total
    return scale - math.log(v)


@njit(cache=True)
def downward(rules, level, child, down, up, out):
    """Add to out (s, v) what a node whose message from elsewhere is `down` (v,) tells its children, each scaled."""
    v, m, s = rules.shape[1:]
    out[:] = 0.0
    for a in range(v):
        if down[a] == 0.0:
            continue
        for r in range(m):
            for j in range(s):
                product = down[a]
                for k in range(s):
                    if k != j:
                        product *= up[child + k, rules[level, a, r, k]]
                out[j, rules[level, a, r, j]] += product
    for j in range(s):
        total = out[j].sum()
        if total > 0.0:
            out[j] /= total


@njit(cache=True, nogil=True)
def log_evidence(rules, weights, out):
    depth, v, _, s = rules.shape
    first = first_nodes(depth, s)
    up, seen = np.empty((first[-1], v)), np.empty(first[-1], np.bool_)
    for n in range(weights.shape[0]):
        out[n] = upward(rules, first, weights[n], up, seen)


@njit(cache=True, nogil=True)
def beliefs(rules, weights, level, out):
    """Write the laws of all nodes of a level into out (n, s^level, v); 0 where the weights allow nothing."""
    depth, v, _, s = rules.shape
    first = first_nodes(depth, s)
    up, seen, down = np.empty((first[-1], v)), np.empty(first[-1], np.bool_), np.empty((first[level + 1], v))
    for n in range(weights.shape[0]):
        out[n] = 0.0
        if upward(rules, first, weights[n], up, seen) == -np.inf:
            continue
        down[0] = 1.0 / v
        for above in range(level):
            for i in range(first[above + 1] - first[above]):
                child = first[above + 1] + s * i
                downward(rules, above, child, down[first[above] + i], up, down[child : child + s])
        for i in range(first[level + 1] - first[level]):
            node = first[level] + i
            total = 0.0
            for a in range(v):
                out[n, i, a] = up[node, a] * down[node, a]
                total += out[n, i, a]
            out[n, i] /= total


@njit(cache=True, nogil=True)
def leaf_law(rules, weights, leaf, out):
    """Write the law of one leaf given the weights of all others into out (n, v), from the messages down its path."""
    depth, v, _, s = rules.shape
    first = first_nodes(depth, s)
    up, seen = np.empty((first[-1], v)), np.empty(first[-1], np.bool_)
    down, told, one = np.empty(v), np.empty((s, v)), weights[0].copy()
    for n in range(weights.shape[0]):
        one[:] = weights[n]
        one[leaf] = 1.0
        out[n] = 0.0
        if upward(rules, first, one, up, seen) == -np.inf:
            continue
        down[:] = 1.0 / v
        for level in range(depth):
            i, j = leaf // s ** (depth - level), leaf // s ** (depth - level - 1) % s
            downward(rules, level, first[level + 1] + s * i, down, up, told)
            down[:] = told[j]
        out[n] = down


@njit(cache=True, nogil=True)
def sample(rules, rng, out):
    """Write perfect samples into out (n, s^depth); a level is replaced by the next, from the right."""
    depth, v, m, s = rules.shape
    for n in range(out.shape[0]):
        out[n, 0] = rng.integers(0, v)
        for level in range(depth):
            for i in range(s**level - 1, -1, -1):
                a, r = out[n, i], rng.integers(0, m)
                for j in range(s):
                    out[n, s * i + j] = rules[level, a, r, j]
