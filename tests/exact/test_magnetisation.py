"""Laws of the magnetisation and of patches against enumeration, symmetry and samples."""

import numpy as np
import pytest

import lattice_diffusion as ld
from lattice_diffusion.exact import enumeration
from lattice_diffusion.exact.magnetisation import magnetisation_law, patch_law
from lattice_diffusion.studies.recovery.measure import patch_frequencies

SHAPES = [(4, 4), (3, 5), (5, 3), (1, 6)]


@pytest.mark.parametrize("shape", SHAPES)
def test_magnetisation_by_enumeration(shape):
    states, p = enumeration.law(ld.models.Ising(ld.Lattice(shape), 0.37))
    n = states[0].size
    expected = np.bincount((states > 0).reshape(len(states), -1).sum(axis=1), p, n + 1)
    values, law = magnetisation_law(shape, 0.37)
    assert law == pytest.approx(expected, rel=1e-12)
    assert values == pytest.approx((2 * np.arange(n + 1) - n) / n)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [1, 2, 3])
def test_patches_by_enumeration(shape, side):
    model = ld.models.Ising(ld.Lattice(shape), 0.37)
    if side > min(shape):
        with pytest.raises(ValueError, match=f"side must be 1 to 3 and fit the lattice 1x6, got {side}"):
            patch_law(shape, 0.37, side)
        return
    states, p = enumeration.law(model)
    assert patch_law(shape, 0.37, side) == pytest.approx(p @ patch_frequencies(model, states, side), rel=1e-12)


def test_a_larger_lattice():
    """Drawn squares, symmetry under a flip of all spins, and free spins."""
    values, law = magnetisation_law((14, 9), 0.6)
    assert law.sum() == pytest.approx(1.0)
    assert law == pytest.approx(law[::-1])
    model, rng = ld.models.Ising(ld.Lattice((14, 9)), 0.6), np.random.default_rng(1)
    squares = model.sample(4000, rng).mean(axis=(1, 2)) ** 2
    assert abs(squares.mean() - law @ values**2) < 5 * squares.std() / 4000**0.5
    assert patch_law((9, 14), 0.6, 3) == pytest.approx(patch_law((9, 14), 0.6, 3)[::-1])
    assert patch_law((6, 4), 0.0, 3) == pytest.approx(np.full(512, 1 / 512))


def test_refusals():
    with pytest.raises(ValueError, match=r"the shorter one <= 14, got \(15, 16\)"):
        magnetisation_law((15, 16), 0.4)
    with pytest.raises(ValueError, match="side must be 1 to 3 and fit the lattice 8x8, got 4"):
        patch_law((8, 8), 0.4, 4)
