"""Geometry: boxes and divisions counted by hand, and every refusal."""

import numpy as np
from refusals import refusals

import lattice_diffusion as ld


def test_bonds_of_an_uneven_lattice():
    assert len(ld.Lattice((3, 5)).bonds) == 2 * 5 + 3 * 4
    assert len(ld.Lattice((3, 5), periodic=True).bonds) == 2 * 15
    assert len(ld.Lattice((3, 5), periodic=(True, False)).bonds) == 3 * 5 + 3 * 4
    assert ld.Lattice(4).bonds.tolist() == [[0, 1], [1, 2], [2, 3]]


def test_tripartition_of_the_open_lattice_is_cut_at_the_edge():
    lattice = ld.Lattice((7, 9))
    parts = lattice.tripartition((0, 4), radius=2)
    assert (parts.A.sum(), parts.B.sum(), parts.C.sum()) == (1, 3 * 5 - 1, 63 - 15)
    assert not np.any(parts.A & parts.B)
    assert parts.ABC.all()


def test_tripartition_wraps_on_periodic_axes():
    parts = ld.Lattice((7, 9), periodic=(True, False)).tripartition((0, 4), radius=2)
    assert parts.AB.sum() == 25
    assert parts.B[5, 4]
    assert parts.B[6, 4]


def test_patch_is_centred_and_an_even_one_reaches_up():
    lattice = ld.Lattice((20, 20))
    rows = np.flatnonzero(lattice.box((10, 10), 0, patch=4).any(axis=1))
    assert rows.tolist() == [9, 10, 11, 12]
    assert lattice.tripartition((10, 10), 2, patch=4).AB.sum() == 64


def test_radius_beyond_the_lattice_leaves_c_empty():
    assert not ld.Lattice((4, 4)).tripartition((1, 1), radius=3).C.any()


def test_sizes_alone():
    parts = ld.Tripartition.from_sizes(2, 3, 4)
    assert (parts.A.sum(), parts.B.sum(), parts.C.sum(), parts.shape) == (2, 3, 4, (9,))


test_refusals = refusals(
    (lambda: ld.Lattice((3, 0)), "shape must be positive integers"),
    (lambda: ld.Lattice(5.0), r"shape must be positive integers such as \(11, 11\), got \(5.0,\)"),
    (lambda: ld.Lattice((3, 3), periodic=(True,)), "periodic must be True, False, or one of these per axis"),
    (lambda: ld.Lattice((3, 3), periodic="no"), "periodic must be True, .*, got 'no'"),
    (lambda: ld.models.Ising((5, 5), 0.4), r"lattice must be one such as Lattice\(.*, got \(5, 5\)"),
    (lambda: ld.models.Potts((5, 5), 0.4, 3), "lattice must be one such as"),
    (lambda: ld.samplers.ising((5, 5), 0.4, 10), "lattice must be one such as"),
    (lambda: ld.samplers.gaussian_field((5, 5), 0.4, 10), "lattice must be one such as"),
    (lambda: ld.models.DomainWalls(5), "faces must be two positive integers"),
    (lambda: ld.Lattice((2, 3), periodic=True), "a periodic axis needs at least 3 sites, got 2"),
    (lambda: ld.Lattice((3, 3)).tripartition((3, 0), 1), "center must be a site of the 3x3 lattice"),
    (lambda: ld.Lattice((3, 3)).tripartition((1.7, 1), 1), r"center must be a site .*, got \(1.7, 1.0\)"),
    (lambda: ld.Lattice((3, 3)).tripartition(1, 1), "center must be a site of the 3x3 lattice"),
    (lambda: ld.Lattice((3, 3)).tripartition((0, 0), -1), "radius must be >= 0, got -1"),
    (lambda: ld.Lattice((3, 3)).tripartition((0, 0), 1, patch=0), "patch must be >= 1, got 0"),
    (lambda: ld.Lattice((3, 3)).tripartition((2, 2), 1, patch=2), "2-site patch around"),
    (lambda: ld.Tripartition.from_sizes(0, 1, 1), "sizes must be a >= 1"),
    (lambda: ld.Tripartition(*np.ones((3, 2), bool)), "must be disjoint"),
    (lambda: ld.Tripartition(*np.zeros((3, 2), bool)), "A must hold at least one site"),
    (lambda: ld.Tripartition(*np.ones((3, 2))), "must be boolean masks"),
    (lambda: ld.Tripartition(np.ones(2, bool), np.zeros(3, bool), np.zeros(2, bool)), "must have one shape"),
    error=(ValueError, TypeError),
)
