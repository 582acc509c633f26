"""Models describe themselves: built from plain parameters, they say what their data are and where A is."""

from dataclasses import MISSING
from typing import Any

import numpy as np
import pytest

import lattice_diffusion as ld
from lattice_diffusion.errors import InputError

# plain parameters of the geometry, own numbers, placement
PLAIN: dict[str, tuple[dict[str, Any], dict[str, float], dict[str, Any]]] = {
    "ising": ({"shape": [4, 3], "periodic": [False, False]}, {"beta": 0.4}, {"center": [1, 1], "patch": 2}),
    "ising-chain": ({"shape": [5], "periodic": [True]}, {"beta": 0.4}, {"center": [4]}),
    "gaussian-field": ({"shape": [4, 3], "periodic": [False, True]}, {"mass_squared": 0.3}, {}),
    "gaussian-mixture": ({"shape": [4, 3]}, {"mean": 0.5, "std": 0.7}, {"center": [0, 0]}),
    "curie-weiss": ({"regions": [1, 4, 6]}, {"beta": 1.2}, {"regions": [1, 4, 6]}),
    "domain-walls": ({"shape": [4, 3], "periodic": [False, False]}, {"beta": 0.2}, {"block": [1, 0]}),
    "potts": ({"shape": [4, 3], "periodic": [False, True]}, {"coupling": 0.9, "q": 3}, {"center": [1, 1]}),
    "random-hierarchy": (
        {},
        {"depth": 3, "branching": 2, "vocabulary": 3, "synonyms": 2, "rules": 5},
        {"center": [7], "subtree": True},
    ),
    "potts-chain": ({"shape": [5], "periodic": [True]}, {"coupling": 0.9, "q": 3}, {"center": [4]}),
}


@pytest.mark.parametrize("kind", ld.models.MODELS)
def test_a_model_describes_itself(kind: Any) -> None:
    geometry, numbers, placement = PLAIN[kind.name]
    model = kind.from_parameters(**geometry, **numbers)
    shape = model.lattice.shape
    assert set(geometry) <= {*kind.geometry}
    assert set(placement) <= {*kind.placement_keys}
    needed = {name for name, default in kind.numbers().items() if default is MISSING}
    assert needed <= set(numbers) <= set(kind.numbers())
    x = model.sample(3, 7)
    assert x.shape == (3, *shape)
    assert np.array_equal(x, model.sample(3, np.random.default_rng(7)))
    assert kind.data == "tokens" or (set(np.unique(x[:, model.sites])) <= {-1, 1}) == (kind.data == "spins")
    assert kind.data != "tokens" or (x.dtype.kind == "u" and x.max() < model.q)
    assert not x[:, ~model.sites].any()
    assert np.prod(model.image_shape) == model.lattice.n_sites == np.prod(shape)
    assert len(model.axes) == len(shape)
    parts = model.tripartition(1, **placement)
    assert parts.shape == shape
    assert not (parts.ABC & ~model.sites).any()
    resolved = model.placement(**placement)
    assert np.array_equal(model.tripartition(1, **resolved).A, parts.A)
    options = model.sampling_options()
    assert set(options) == set(kind.sampling)
    assert model.sample(2, 7, **options).shape == (2, *shape)


def test_placement_has_defaults() -> None:
    assert ld.models.Ising(ld.Lattice((5, 4)), 0.3).placement() == {"center": [2, 2], "patch": 1}
    assert ld.models.DomainWalls((5, 4)).placement() == {"bond": [[2, 1], [2, 2]]}
    walls = ld.models.DomainWalls((5, 4))
    assert np.argwhere(walls.tripartition(0).A).tolist() == [[0, 2, 1]]


def test_options_of_sampling_are_resolved() -> None:
    small, large = (ld.models.Ising(ld.Lattice((n, n)), 0.3) for n in (4, 40))
    assert small.sampling_options()["method"] == "transfer_matrix"
    assert large.sampling_options(thin=3) == {"method": "swendsen_wang", "burn_in": None, "thin": 3}
    field = ld.models.GaussianField(ld.Lattice((3, 3)), 1.0)
    assert field.sample(2, 0, dtype="float32").dtype == np.float32
    with pytest.raises(InputError, match="dtype must be float32 or float64, got 'int8'"):
        field.sampling_options(dtype="int8")


def test_the_markov_length_of_erased_loops_is_self_dual() -> None:
    """xi(t) = xi(1 - t) of bond percolation, with r^(-3/2) above 1/2 and no prefactor below; a mutant has none."""
    model, channel, radii = ld.models.DomainWalls((96, 96)), ld.channels.Erasure(), [4, 6, 8, 11, 16, 22, 32]
    parts = [model.tripartition(radius) for radius in radii]
    curves = {t: ld.exact.cmi_curve(model, channel, t, parts, 300000, 1) for t in (0.44, 0.56)}

    def length(t: float, p: Any) -> Any:
        return ld.phases.markov_length(radii, curves[t].values, curves[t].covariance, p).xi

    below, above = (length(t, model.prefactor_exponent(channel, t)) for t in curves)
    assert abs(below.value - above.value) < 3 * np.hypot(below.stderr, above.stderr)
    assert abs(below.value - 4.21) < 4 * below.stderr  # 4.21(3) from 800,000 samples
    mutant = length(0.56, 0.0)
    assert below.value - mutant.value > 8 * np.hypot(below.stderr, mutant.stderr)


@pytest.mark.parametrize(("side", "dimension", "mass_squared"), [(101, 1, 0.5), (41, 2, 1.0), (15, 3, 2.0)])
def test_prefactors_of_fields_in_every_dimension(side: int, dimension: int, mass_squared: float) -> None:
    """I exp(r/xi) with xi = 1/(2 kappa) falls as a power of r + 1, the distance from A to C."""
    model, channel = ld.models.GaussianField(ld.Lattice((side,) * dimension), mass_squared), ld.channels.Gaussian()
    radii = np.arange(2, min(14, side // 2 - 2))
    curve = ld.exact.cmi_curve(model, channel, 0.6, [model.tripartition(int(radius)) for radius in radii])
    falls = -np.diff(np.log(curve.values)) - 1.0 / model.markov_length(channel, 0.6)
    low, high = model.prefactor_exponent(channel, 0.6)
    assert low == high == (dimension - 1) / 2
    assert (falls / np.diff(np.log(radii + 1.0)))[-1] == pytest.approx(low, abs=0.1)


def test_prefactors_of_walls_follow_the_transition() -> None:
    loops, walls = ld.models.DomainWalls((4, 4)), ld.models.DomainWalls((4, 4), 0.3)
    flips, erasure, gaussian = ld.channels.BitFlip(), ld.channels.Erasure(), ld.channels.Gaussian("vp")
    cases = [(flips, 0.2), (flips, 0.24), (erasure, 0.4), (erasure, 0.5), (erasure, 0.6), (gaussian, 0.1)]
    found = [loops.prefactor_exponent(channel, t) for channel, t in cases]
    assert found == [(0.0, 0.0), (1.5, 1.5), (0.0, 0.0), (1.25, 1.25), (1.5, 1.5), (0.0, 0.0)]
    assert walls.prefactor_exponent(gaussian, 0.1) == (0.0, 1.5)


def test_a_curie_weiss_model_is_built_from_regions_or_a_shape() -> None:
    kind = ld.models.CurieWeiss
    assert kind.from_parameters(regions=(1, 2, 4), beta=0.5) == kind.from_parameters(7, beta=0.5)
    with pytest.raises(InputError, match=r"either regions = .* or shape; give one of them"):
        kind.from_parameters(beta=0.5)
