"""log Z, bond posteriors and the edge label of planar Ising models, against enumeration and a transfer matrix."""

import numpy as np
import pytest
from scipy.special import logsumexp

from lattice_diffusion.kernels import free_fermions as ff

SHAPES = [(1, 1), (1, 4), (3, 1), (2, 2), (2, 5), (4, 3), (4, 4)]


def couplings(rng, rows, columns, scale):
    return scale * rng.normal(size=(rows, columns - 1)), scale * rng.normal(size=(rows - 1, columns))


def planted(rng, rows, columns, p):
    """Bit-flip fields of the all-up state: couplings on the Nishimori line."""
    field = 0.5 * np.log((1 - p) / p)
    return tuple(
        field * np.where(rng.random(shape) < p, -1.0, 1.0) for shape in ((rows, columns - 1), (rows - 1, columns))
    )


def enumerate_states(right, down):
    """All states (n, L, W) and the logarithms of their weights."""
    rows, columns = right.shape[0], down.shape[1]
    bits = (np.arange(2 ** (rows * columns))[:, None] >> np.arange(rows * columns)) & 1
    s = (1 - 2 * bits).reshape(-1, rows, columns)
    right_sum = np.einsum("ij,nij->n", right, s[:, :, 1:] * s[:, :, :-1])
    return s, right_sum + np.einsum("ij,nij->n", down, s[:, 1:] * s[:, :-1])


def row_transfer(right, down):
    """log Z over the 2^W states of a row, in logarithms: no subtraction anywhere."""
    rows, columns = right.shape[0], down.shape[1]
    bits = np.indices((2,) * columns)
    s = 1 - 2 * bits
    log_v = np.zeros((2,) * columns)
    for i in range(rows):
        log_v = log_v + np.tensordot(right[i], s[1:] * s[:-1], 1)
        for j in range(columns if i < rows - 1 else 0):
            up, low = np.take(log_v, 0, j), np.take(log_v, 1, j)
            k = down[i, j]
            log_v = np.stack([np.logaddexp(up + k, low - k), np.logaddexp(up - k, low + k)], j)
    return logsumexp(log_v)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 0.7, 20.0, 40.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_log_partition_is_the_sum_over_all_states(shape, scale):
    right, down = couplings(np.random.default_rng(1), *shape, scale)
    exact = logsumexp(enumerate_states(right, down)[1])
    assert ff.log_partition(right, down) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("scale", [1e-3, 0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("shape", [(8, 5), (5, 8), (3, 11), (9, 2), (16, 12)])
def test_uneven_grids_against_a_row_transfer_matrix(shape, scale):
    rng = np.random.default_rng(2)
    samples = [couplings(rng, *shape, scale) for _ in range(4)]
    exact = [row_transfer(right, down) for right, down in samples]
    log_z = np.array([ff.log_partition(*bonds) for bonds in samples])
    np.testing.assert_allclose(log_z, exact, rtol=1e-11)
    assert abs(ff.log_partition(1.001 * samples[0][0], samples[0][1]) - exact[0]) > 1e-11 * exact[0]


@pytest.mark.parametrize("p", [1e-17, 1e-6, 0.02, 0.109])
def test_planted_couplings_of_any_strength_look_the_same_from_every_side(p):
    right, down = planted(np.random.default_rng(4), 24, 31, p)
    views = [(right, down), (right[:, ::-1], down[:, ::-1]), (down.T, right.T), (right[::-1], down[::-1])]
    log_z = [ff.log_partition(*map(np.ascontiguousarray, view)) for view in views]
    np.testing.assert_allclose(log_z, log_z[0], rtol=1e-13)


def test_strong_ties_are_the_limit_of_strong_couplings():
    rng = np.random.default_rng(5)
    right, down = couplings(rng, 5, 6, 0.8)
    tied = right.copy(), down.copy()
    tied[0][2, 3], tied[1][1, 1], tied[1][3, 5] = -np.inf, np.inf, -np.inf
    for strength in (40.0, 400.0, 4000.0):
        right[2, 3], down[1, 1], down[3, 5] = -strength, strength, -strength
        expected = ff.log_partition(*tied) + 3 * strength
        assert ff.log_partition(right, down) == pytest.approx(expected, rel=1e-13)
        assert row_transfer(right, down) == pytest.approx(expected, rel=1e-13)
    conflict = np.full((2, 1), np.inf), np.array([[np.inf, -np.inf]])
    assert ff.log_partition(*conflict) == -np.inf


def test_strong_and_frustrated_is_right_or_refused():
    """A spin glass at T -> 0: digits may be lost, but the loss is noticed."""
    rng = np.random.default_rng(6)
    answers = 0
    for _ in range(60):
        right, down = (20.0 * rng.choice([-1.0, 1.0], size=shape) for shape in ((9, 8), (8, 9)))
        log_z = ff.log_partition(right, down)
        if np.isfinite(log_z):
            answers += 1
            assert log_z == pytest.approx(row_transfer(right, down), rel=1e-8)
        else:
            assert np.isnan(log_z)
    assert answers > 40


def bonds(rows, columns):
    shapes = ((rows, columns - 1), (rows - 1, columns))
    return [(axis, i, j) for axis in (0, 1) for i, j in np.ndindex(*shapes[axis])]


@pytest.mark.parametrize("scale", [1e-3, 0.8, 6.0, 20.0])
@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (4, 3), (1, 4)])
def test_bond_log_odds_of_every_bond(shape, scale):
    right, down = couplings(np.random.default_rng(7), *shape, scale)
    for axis, i, j in bonds(*shape):
        cavity = right.copy(), down.copy()
        cavity[axis][i, j] = 0.0
        s, log_weight = enumerate_states(*cavity)
        equal = s[:, i, j] == s[:, i + axis, j + 1 - axis]
        exact = logsumexp(log_weight[equal]) - logsumexp(log_weight[~equal])
        assert ff.bond_log_odds(right, down, axis, i, j) == pytest.approx(exact, rel=1e-11, abs=1e-13)


def test_both_probabilities_keep_their_digits_deep_in_the_ordered_phase():
    """1 - <ss'> = 1e-50 is as good as 1e-1: against logarithms of sums of positive terms."""
    right, down = planted(np.random.default_rng(9), 7, 8, 1e-8)
    for axis, i, j in [(0, 3, 3), (1, 2, 4)]:
        ties = []
        for sign in (1.0, -1.0):
            tied = right.copy(), down.copy()
            tied[axis][i, j] = 200.0 * sign
            ties.append(row_transfer(*tied))
        log_odds = ff.bond_log_odds(right, down, axis, i, j)
        assert log_odds > 50
        assert log_odds == pytest.approx(ties[0] - ties[1], rel=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 0.9, 12.0])
@pytest.mark.parametrize("shape", [(1, 2), (3, 2), (1, 5), (3, 4), (4, 4), (5, 3)])
def test_label_log_odds(shape, scale):
    right, down = couplings(np.random.default_rng(10), *shape, scale)
    down[:, [0, -1]] = 0.0
    s, log_weight = enumerate_states(right, down)
    tied = np.all(s[:, :, [0, -1]] == s[:, :1, [0, -1]], axis=(1, 2))
    label = s[:, 0, 0] * s[:, 0, -1]
    exact = logsumexp(log_weight[tied & (label == 1)]) - logsumexp(log_weight[tied & (label == -1)])
    down[:, [0, -1]] = 99.0  # not read
    assert ff.label_log_odds(right, down) == pytest.approx(exact, rel=1e-12, abs=1e-13)
    every_second = np.where(np.arange(shape[1]) % 2, -1.0, 1.0)  # flips whole columns: S -> S (-1)^(W-1)
    flipped = ff.label_log_odds(-right, down)
    assert flipped == pytest.approx(exact * every_second[-1], rel=1e-12, abs=1e-13)
