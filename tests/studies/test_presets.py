"""Every study, quick and as small as can be: every row beside its analytic value, every figure drawn."""

import csv

import numpy as np
import pytest
from matplotlib import image

from lattice_diffusion import results
from lattice_diffusion.cli import main
from lattice_diffusion.runs.runner import run
from lattice_diffusion.runs.spec import Spec
from lattice_diffusion.studies import STUDIES, find
from lattice_diffusion.studies.reproduce import analysed, save_figure

ASYMPTOTIC = ("asymptotic", "large N")  # sources that finite sizes need not meet
FINITE_STEPS = 1e-3  # what steps of finite length leave of zero
FEW = {"train_steps": 3, "batch_size": 8, "width": 8, "depth": 1, "global_steps": 3, "n_steps": 20}
# What is changed of the quick preset, by study and grid ("": all grids); None leaves a grid as it is.
SMALLEST = {
    "gaussian-field": {
        "": {"t": {"start": 0.2, "stop": 0.8, "num": 4}},
        "square": {"length": 41, "mass_squared": [0.25, 1.0]},
    },
    "gaussian-mixture": {"": {"n_samples": 300}, **{f"length-{n}": {} for n in (60, 80)}},
    "ising-chain": {"": {"n_samples": 500}, "erasure": {"beta": [0.4, 0.7, 1.0]}},
    "ising": {"": {"n_samples": 100, "beta": [0.3, 0.6]}},
    "curie-weiss": {"": {"n_samples": 300}},
    "loops-erasure": {
        "map": {"n_samples": 5000},
        "near": {"n_samples": 5000, "length": 256},
        "critical": {"n_samples": 100000, "length": 256},
        "label": {"n_samples": 1000},
    },
    "loops-bitflip": {"map": {"n_samples": 100}, "label": {"n_samples": 200, "length": [8, 12, 16]}},
    "loops-gaussian": {"map": {"n_samples": 100}, "label": {"n_samples": 200, "length": [8, 12, 16]}},
    "domain-walls": {"": {"n_samples": 500}, "cut": {"n_samples": 50}},
    "locality-gap": {"": {"n_samples": 400}, "learned": {"settings": FEW}},
    "recovery": {"": {"n_samples": 30, "settings": FEW}},
    "phases": {"": {"n_samples": 5}},
    "hybrid-generation": {"": {"n_samples": 40, "settings": {**FEW, "n_noise": 30}}},
    "area-law": {"": {"n_samples": 10}},
    "receptive-field": {"": {"n_samples": 10}},
    "label-windows": {"": {"n_samples": 100}},
}


def smallest(name: str) -> Spec:
    """The quick preset with fewer samples, times and steps: enough for the rows to meet their truth."""
    spec, changes = find(name).specs("quick"), SMALLEST[name]
    grids = {}
    for key, grid in spec.grids.items():
        table = grid.model_dump(exclude_unset=True, exclude_none=True)
        for change, value in {**changes.get("", {}), **changes.get(key, {})}.items():
            if change == "settings":
                table["settings"] = (
                    {k: min(v, value[k]) if k in value else v for k, v in table["settings"].items()}
                    if "settings" in table
                    else {}
                )
            elif change in table:
                table[change] = value
            elif change in table["model"]:
                table["model"] = {**table["model"], change: value}
        grids[key] = table
    return Spec(name=name, grids=grids)


def check(row: results.Row) -> None:
    assert np.isfinite([row.value, row.stderr]).all(), row
    if "at most 1" in row.source and "cost" not in row.quantity:
        assert row.value <= 1 + 5 * row.stderr + 1e-9, row
    if row.analytic is None or any(word in row.source for word in ASYMPTOTIC):
        return
    if row.stderr > 0:
        assert abs(row.z) < 5, row
    else:
        assert abs(row.value - row.analytic) < (FINITE_STEPS if "finite steps" in row.source else 1e-6), row


@pytest.mark.parametrize("name", STUDIES)
def test_smallest_version(name, tmp_path):
    study = find(name)
    result = analysed(study, run(smallest(name), tmp_path / "x.h5", progress=False))
    assert results.rows(result)
    for row in results.rows(result):
        check(row)
    save_figure(study.figure(result), tmp_path / "x.png")
    assert image.imread(tmp_path / "x.png")[..., :3].std() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_quick_preset(name, tmp_path):
    assert main(["reproduce", name, "--out", str(tmp_path), "--workers", "2"]) == 0
    result = results.load(tmp_path / f"{name}.h5")
    assert result.attrs["complete"]
    assert results.rows(result)
    for row in results.rows(result):
        check(row)
    picture = image.imread(tmp_path / f"{name}.png")
    assert picture.shape[0] > 400
    assert picture[..., :3].std() > 0.05
    drawn = tmp_path / "again.png"
    assert main(["plot", str(tmp_path / f"{name}.h5"), "--out", str(drawn)]) == 0
    assert np.array_equal(image.imread(drawn), picture)
    with open(tmp_path / "table.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(results.rows(result))


def test_presets_differ_in_cost_only():
    for study in map(find, STUDIES):
        quick, full = study.specs("quick"), study.specs("full")
        assert quick.name == full.name == study.name
        assert set(quick.grids) <= set(full.grids)
