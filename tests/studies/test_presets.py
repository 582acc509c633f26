"""The named experiments as a user runs them, quick preset: every row beside its analytic value, every figure drawn."""

import csv

import numpy as np
import pytest
from matplotlib import image

from lattice_diffusion import results
from lattice_diffusion.cli import main
from lattice_diffusion.studies import REGISTRY

SLOW = (
    "gaussian-field",
    "gaussian-mixture",
    "ising",
    "ising-chain",
    "curie-weiss",
    "loops-erasure",
    "loops-bitflip",
    "loops-gaussian",
    "domain-walls",
    "locality-gap",
    "recovery",
    "area-law",
    "receptive-field",
    "phases",
    "hybrid-generation",
    "concurrence",
)
ASYMPTOTIC = ("asymptotic", "large N")  # sources that finite sizes need not meet


def names():
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in REGISTRY]


@pytest.mark.parametrize("name", names())
def test_quick_preset(name, tmp_path):
    assert main(["reproduce", name, "--out", str(tmp_path), "--workers", "2"]) == 0
    result = results.load(tmp_path / f"{name}.h5")
    assert result.attrs["complete"]
    assert results.rows(result)
    for row in results.rows(result):
        assert np.isfinite([row.value, row.stderr]).all(), row
        if row.z is not None and not any(word in row.source for word in ASYMPTOTIC):
            assert abs(row.z) < 5, row
    picture = image.imread(tmp_path / f"{name}.png")
    assert picture.shape[0] > 400
    assert picture[..., :3].std() > 0.05
    drawn = tmp_path / "again.png"
    assert main(["plot", str(tmp_path / f"{name}.h5"), "--out", str(drawn)]) == 0
    assert np.array_equal(image.imread(drawn), picture)
    with open(tmp_path / "table.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(results.rows(result))


def test_presets_differ_in_cost_only():
    for experiment in REGISTRY.values():
        quick, full = experiment.specs("quick"), experiment.specs("full")
        assert quick.name == full.name == experiment.name
        assert set(quick.grids) <= set(full.grids)
