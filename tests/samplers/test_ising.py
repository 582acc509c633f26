"""Samplers against exact laws and exact moments; statistics as z-scores with the measured autocorrelation."""

import enumeration
import numpy as np
import pytest
from chains import z_score
from enumeration import p_value
from refusals import refusals

import lattice_diffusion as ld
from lattice_diffusion.models.ising import onsager_magnetization

PERFECT = {
    "open 3x3": (ld.models.Ising(ld.Lattice((3, 3)), 0.5), (3, 3), (False, False)),
    "open 2x4": (ld.models.Ising(ld.Lattice((2, 4)), 0.7), (2, 4), (False, False)),
    "open 4x2": (ld.models.Ising(ld.Lattice((4, 2)), 0.3), (4, 2), (False, False)),
    "cylinder in a field": (ld.models.Ising(ld.Lattice((2, 4), (False, True)), 0.3, 0.4, 1.5), (2, 4), (False, True)),
    "long cylinder": (ld.models.Ising(ld.Lattice((2, 5), (False, True)), 0.5, 0.2, 0.7), (2, 5), (False, True)),
    "torus": (ld.models.Ising(ld.Lattice((3, 3), True), 0.35, 0.1, 1.2), (3, 3), (True, True)),
    "chain": (ld.models.IsingChain(ld.Lattice((8,)), 0.6), (8,), (False,)),
    "ring": (ld.models.IsingChain(ld.Lattice((7,), periodic=True), 0.6), (7,), (True,)),
}


@pytest.mark.parametrize("name", PERFECT)
def test_perfect_samples_follow_the_law_of_all_states(name):
    model, shape, periodic = PERFECT[name]
    samples = model.sample(100_000, np.random.default_rng(21))
    assert samples.dtype == np.int8
    others = (model.field, model.anisotropy) if isinstance(model, ld.models.Ising) else ()
    assert p_value(samples, enumeration.ising_law(shape, periodic, model.beta, *others)) > 1e-4
    assert p_value(samples, enumeration.ising_law(shape, periodic, 1.1 * model.beta, *others)) < 1e-4


def test_curie_weiss_samples():
    model = ld.models.CurieWeiss(ld.Lattice((8,)), 1.1)
    samples = model.sample(100_000, np.random.default_rng(22))
    assert p_value(samples, enumeration.curie_weiss_law(8, 1.1)) > 1e-4
    assert p_value(samples, enumeration.curie_weiss_law(8, 1.2)) < 1e-4


@pytest.mark.parametrize("method", ["swendsen_wang", "wolff", "heat_bath", "coupling_from_the_past"])
def test_two_couplings_give_the_law_of_all_states(method):
    """Streams of one coupling are tested with the diagnostics."""
    lattice = ld.Lattice((3, 3), periodic=(True, False))
    options = {} if method == "coupling_from_the_past" else {"burn_in": 100, "thin": 12}
    samples = ld.samplers.ising(lattice, (0.4, 0.6), 20_000, np.random.default_rng(29), method, **options)
    assert p_value(samples, enumeration.ising_law((3, 3), lattice.periodic, 0.4, 0.0, 1.5)) > 1e-4
    assert p_value(samples, enumeration.ising_law((3, 3), lattice.periodic, 0.6, 0.0, 1 / 1.5)) < 1e-4


def test_independence_of_samples_in_a_field_with_two_couplings():
    """Cluster updates against the exact solution of a lattice with a coupling for each axis, in a field."""
    lattice, betas, field = ld.Lattice((6, 5), (False, True)), (0.6, 0.3), 0.05
    spins = ld.samplers.ising(lattice, betas, 4000, 3, "swendsen_wang", field=field, thin=10, independent=True)
    solver = ld.models.Ising(lattice, 0.6, field, 0.5).solver
    right = solver.probabilities(np.zeros((1, 6, 5))) @ [-1.0, 1.0]
    m = spins.reshape(4000, -1).mean(axis=1)
    assert abs(m.mean() - right.mean()) < 5 * m.std() / np.sqrt(4000)
    assert right.mean() > 0.1


def test_ordered_magnetisation_and_its_sign():
    """Onsager-Yang at beta = 0.5 (finite-size corrections are below 1e-4 at L = 32); both signs equally often."""
    lattice = ld.Lattice((32, 32), periodic=True)
    spins = ld.samplers.ising(lattice, 0.5, 400, np.random.default_rng(25), "heat_bath", burn_in=20000, thin=20)
    magnetisation = spins.reshape(400, -1).mean(axis=1)
    assert onsager_magnetization(0.5) == pytest.approx(0.911319377877, rel=1e-11)
    assert abs(z_score(np.abs(magnetisation), 0.911319377877)) < 5
    assert abs((magnetisation > 0).sum() - 200) < 5 * 10


test_refusals = refusals(
    (lambda rng: ld.samplers.ising(ld.Lattice((4, 4)), (0.4,), 3, rng), "one for each of 2 axes, got 1"),
    (lambda rng: ld.samplers.ising(ld.Lattice((4, 4)), (0.4, 1), 3, rng, "multispin"), "takes one beta for all"),
    (lambda rng: ld.samplers.ising(ld.Lattice((3, 3, 3)), 0.4, 1, rng, "transfer_matrix"), "needs a 2D lattice"),
    (lambda rng: ld.samplers.ising(ld.Lattice((3, 3)), 0.3, 1, rng, field=np.nan), "field must hold numbers"),
    of=lambda call: call(np.random.default_rng(0)),
)
