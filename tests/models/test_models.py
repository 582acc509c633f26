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
    assert (np.unique(x[:, model.sites]).tolist() in ([-1, 1], [-1], [1])) == (kind.data == "spins")
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


def test_a_curie_weiss_model_is_built_from_regions_or_a_shape() -> None:
    kind = ld.models.CurieWeiss
    assert kind.from_parameters(regions=(1, 2, 4), beta=0.5) == kind.from_parameters(7, beta=0.5)
    with pytest.raises(InputError, match=r"either regions = .* or shape; give one of them"):
        kind.from_parameters(beta=0.5)
