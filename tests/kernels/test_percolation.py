"""Erased loops: first connections, block CMI and spanning against GF(2) elimination over every erasure pattern."""

import functools

import numpy as np
import pytest

from lattice_diffusion.exact.bonds import excess_merges
from lattice_diffusion.kernels import percolation

SAMPLES = 200_000


def lattice_bonds(rows, columns):
    """Bonds as pairs of faces (i, j), (i', j')."""
    right = [((i, j), (i, j + 1)) for i in range(rows) for j in range(columns - 1)]
    return right + [((i, j), (i + 1, j)) for i in range(rows - 1) for j in range(columns)]


def inside(bond, patch, radius):
    (low_i, low_j), (high_i, high_j) = patch[0], patch[-1]
    return all(low_i - radius <= i <= high_i + radius and low_j - radius <= j <= high_j + radius for i, j in bond)


def rank(columns, bonds, kept):
    """GF(2) rank of the kept rows s_f + s_f', for every pattern at once; kept (patterns, bonds) bool."""
    basis = np.zeros((len(kept), 12), np.int64)
    total = np.zeros(len(kept), np.int64)
    for number, bond in enumerate(bonds):
        row = np.where(kept[:, number], sum(1 << (i * columns + j) for i, j in bond), 0)
        for bit in range(12):
            has = (row >> bit) & 1 == 1
            new = has & (basis[:, bit] == 0)
            basis[new, bit] = row[new]
            total[new] += 1
            row = np.where(new, 0, np.where(has, row ^ basis[:, bit], row))
            if not row.any():
                break
    return total


@functools.cache
def excess_ranks(shape, patch, n_radii):
    """rank AB + rank BC - rank B - rank ABC of all 2^bonds patterns, summed by the number of bonds kept."""
    bonds = lattice_bonds(*shape)
    kept = (np.arange(2 ** len(bonds))[:, None] >> np.arange(len(bonds))) & 1 == 1
    a = np.array([inside(bond, patch, 0) for bond in bonds])
    outer = rank(shape[1], bonds, kept & ~a) - rank(shape[1], bonds, kept)
    out = np.zeros((n_radii, len(bonds) + 1))
    for r in range(n_radii):
        ab = np.array([inside(bond, patch, r) for bond in bonds])
        excess = outer if ab.all() else rank(shape[1], bonds, kept & ab & ~a) - rank(shape[1], bonds, kept & ab)
        out[r] = np.bincount(kept.sum(1), weights=outer - excess, minlength=len(bonds) + 1)
    return out


def exact_cmi(shape, patch, keep, n_radii):
    """I(A;C|B_r) / log 2 at r = 0, 1, .."""
    table = excess_ranks(shape, patch, n_radii)
    n = np.arange(table.shape[1])
    return table @ (keep**n * (1 - keep) ** (n[-1] - n))


def bond_radii(rng, keep, rows, columns, axis, i, j, n):
    """How many samples connect the faces of a bond first at radius r (0: never), and the bonds drawn."""
    joined = np.empty((n, 2, 2), np.int16)
    drawn = percolation.joined_radii(rng, keep, rows, columns, i, j, 1 + axis, 2 - axis, joined)
    first = np.where(joined[:, 0, 1] == percolation.FAR, 0, joined[:, 0, 1])
    return np.bincount(first, minlength=max(rows, columns) + 1), drawn


def bond_cmi(seed, keep, shape, bond, n=SAMPLES):
    """I(A;C|B_r) / log 2 at r = 0, 1, .. and its error."""
    histogram, _ = bond_radii(np.random.default_rng(seed), keep, *shape, *bond, n)
    assert histogram.sum() == n
    p = (n - histogram[0] - np.concatenate([[0], np.cumsum(histogram[1:])])) / n
    return keep * p, keep * np.sqrt(p * (1 - p) / n)


def patch_of(axis, i, j):
    return (i, j), (i + axis, j + 1 - axis)


@pytest.mark.parametrize("keep", [0.35, 0.5, 0.8])
@pytest.mark.parametrize(
    ("shape", "bond"),
    [((3, 3), (0, 1, 0)), ((3, 3), (1, 0, 2)), ((4, 3), (0, 0, 1)), ((3, 4), (1, 1, 0)), ((2, 4), (1, 0, 0))],
)
def test_bond_cmi_at_every_radius(shape, bond, keep):
    exact = exact_cmi(shape, patch_of(*bond), keep, max(shape) + 1)
    estimate, error = bond_cmi(1, keep, shape, bond)
    assert exact[0] > 0.01
    assert exact[-1] == 0
    np.testing.assert_array_equal(estimate[exact < 1e-14], 0)
    z = (estimate - exact)[exact > 1e-14] / error[exact > 1e-14]
    assert np.all(np.abs(z) < 5), f"seed 1, z = {z}"


def test_mutants_of_the_bond_cmi_fail():
    shape, bond, keep = (4, 3), (0, 0, 1), 0.6
    exact = exact_cmi(shape, patch_of(*bond), keep, 5)[:3]
    assert np.all(exact > 0.001)
    estimate, error = (x[:4] for x in bond_cmi(2, keep, shape, bond))
    assert np.all(np.abs(estimate[:3] - exact) < 5 * error[:3])
    assert np.any(np.abs(estimate[:3] / keep - exact) > 5 * error[:3])  # A never erased
    assert np.any(np.abs(estimate[1:] - exact) > 5 * error[:3])  # radius off by one
    for wrong in (1 - keep, 1.03 * keep):
        mutant, error = bond_cmi(3, wrong, shape, bond)
        assert np.any(np.abs(mutant[:3] - exact) > 5 * error[:3])


def block_cmi(seed, keep, shape, corner, n=SAMPLES):
    joined = np.empty((n, 4, 4), np.int16)
    percolation.joined_radii(np.random.default_rng(seed), keep, *shape, *corner, 2, 2, joined)
    merges = excess_merges(joined, np.arange(max(shape) + 1), keep)
    return merges.mean(axis=0), merges.std(axis=0) / np.sqrt(n)


@pytest.mark.parametrize(
    ("shape", "corner", "keep"),
    [((3, 3), (0, 0), 0.5), ((4, 3), (0, 1), 0.35), ((4, 3), (1, 0), 0.5), ((3, 4), (1, 0), 0.8)],
)
def test_block_cmi_at_every_radius(shape, corner, keep):
    i, j = corner
    exact = exact_cmi(shape, (corner, (i + 1, j + 1)), keep, max(shape) + 1)
    estimate, error = block_cmi(4, keep, shape, corner)
    assert exact[0] > 0.01
    np.testing.assert_array_equal(estimate[exact < 1e-14], 0)
    z = (estimate - exact)[exact > 1e-14] / error[exact > 1e-14]
    assert np.all(np.abs(z) < 5), f"seed 4, z = {z}"
    mutant, error = block_cmi(5, 1.03 * keep, shape, corner)
    assert np.any(np.abs(mutant - exact)[:2] > 5 * error[:2])


def test_limits_and_symmetries():
    for keep, never in ((0.0, 100), (1.0, 0)):
        histogram, _ = bond_radii(np.random.default_rng(8), keep, 9, 7, 1, 4, 3, 100)
        assert histogram[0] == never
        assert histogram[1] == 100 - never
    chain, drawn = bond_radii(np.random.default_rng(8), 0.9, 1, 9, 0, 0, 4, 100)
    assert chain[0] == 100  # a bond of a chain is known only from itself
    assert drawn < 100 * 8
    right, error = bond_cmi(9, 0.5, (6, 9), (0, 2, 3))
    down, _ = bond_cmi(10, 0.5, (9, 6), (1, 3, 2))
    assert np.all(np.abs(right - down) < 5 * np.sqrt(2) * error + 1e-15)


def test_the_stream_is_that_of_the_generator():
    runs = [bond_radii(np.random.default_rng(11), 0.5, 20, 20, 0, 9, 9, 1000) for _ in range(2)]
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    rng = np.random.default_rng(11)
    drawn = bond_radii(rng, 0.5, 20, 20, 0, 9, 9, 1000)[1]
    twin = np.random.default_rng(11)
    twin.random(drawn)
    assert rng.random() == twin.random()


def test_spanning_by_enumeration():
    rows, columns, keep = 3, 4, 0.55
    bonds = [b for b in lattice_bonds(rows, columns) if b[0][1] != b[1][1] or 0 < b[0][1] < columns - 1]
    kept = (np.arange(2 ** len(bonds))[:, None] >> np.arange(len(bonds))) & 1 == 1
    weight = np.prod(np.where(kept, keep, 1 - keep), axis=1)
    ties = [((i, j), (i + 1, j)) for j in (0, columns - 1) for i in range(rows - 1)]
    label = ((0, 0), (0, columns - 1))
    tied = np.concatenate([kept, np.ones((len(kept), len(ties)), bool)], axis=1)
    with_label = np.concatenate([tied, np.ones((len(kept), 1), bool)], axis=1)
    known = rank(columns, [*bonds, *ties, label], with_label) == rank(columns, [*bonds, *ties], tied)
    exact = weight @ known
    for factor, agrees in ((1.0, True), (1.02, False)):
        rng = np.random.default_rng(12)
        count, drawn = percolation.spanning(rng, factor * keep, rows, columns, SAMPLES)
        z = (count - SAMPLES * exact) / np.sqrt(SAMPLES * exact * (1 - exact))
        assert (abs(z) < 5) == agrees, f"seed 12, z = {z}"
        assert drawn <= SAMPLES * len(bonds)


@pytest.mark.parametrize("rows", [1, 8, 30])
def test_half_of_the_self_dual_rectangles_are_spanned(rows):
    n = 20_000
    count, _ = percolation.spanning(np.random.default_rng(13), 0.5, rows, rows + 1, n)
    assert abs(count - n / 2) < 5 * np.sqrt(n / 4), f"seed 13, {count} of {n}"
