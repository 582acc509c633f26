"""Every study, quick and as small as can be: every row beside its analytic value, every figure drawn."""

import csv
import math
import re

import numpy as np
import pytest
import xarray as xr
from matplotlib import image

from lattice_diffusion import results
from lattice_diffusion.cli import main
from lattice_diffusion.runs.quantities import find as find_quantity
from lattice_diffusion.runs.runner import run
from lattice_diffusion.runs.spec import Spec
from lattice_diffusion.studies import STUDIES, find
from lattice_diffusion.studies.hierarchy import recovery
from lattice_diffusion.studies.reproduce import analysed

FINITE_SIZE = ("large N", "asymptotic", "large r", "peak r^(-5/4)", "speciation")  # sources that small systems may miss
FINITE_STEPS = 1e-3  # what steps of finite length leave of zero
GAUSSIAN = (  # studies of Gaussian noise alone
    *("gaussian-field", "gaussian-mixture", "ising", "curie-weiss", "loops-gaussian", "domain-walls"),
    *("locality-gap", "label-windows"),
)
FEW = {"train_steps": 3, "batch_size": 8, "width": 8, "depth": 1, "global_steps": 3, "n_steps": 10}
# What is changed of the quick preset, by study and grid ("": all of its grids); None leaves a grid out.
SMALLEST = {
    "gaussian-field": {
        "": {"t": {"start": 0.2, "stop": 0.8, "num": 4}},
        "chain": {"length": 121, "mass_squared": [0.04, 0.25, 1.0]},
        "square": {"length": 41, "mass_squared": [0.25, 1.0]},
    },
    "gaussian-mixture": {"": {"n_samples": 300, "t": {"start": 0.86, "stop": 0.99, "num": 14}}, "length-80": None},
    "ising-chain": {
        "": {"n_samples": 100},
        "erasure-sampled": {"n_samples": 200},
        "erasure": {"length": 81, "beta": [0.4, 0.7, 1.0], "t": {"start": 0.1, "stop": 0.9, "num": 9}},
    },
    "ising": {"": {"n_samples": 50, "beta": [0.3, 0.6]}, "length-8": None},
    "curie-weiss": {"": {"n_samples": 50, "beta": [0.8, 1.2, 1.6]}, "bitflip": {"n_samples": 400}},
    "loops-erasure": {
        "map": {"n_samples": 5000},
        "near": {"n_samples": 4000, "length": 256},
        "critical": {"n_samples": 50000, "length": 256},
        "label": {"n_samples": 1000},
    },
    "loops-bitflip": {"map": {"n_samples": 40}, "label": {"n_samples": 200, "length": [8, 12, 16]}},
    "loops-gaussian": {"map": {"n_samples": 40}, "label": {"n_samples": 200, "length": [8, 12, 16]}},
    "domain-walls": {"": {"n_samples": 250}, "cut": {"n_samples": 20}},
    "locality-gap": {
        "": {"n_samples": 300},
        "ising": {"length": 7, "t": [0.3, 0.5, 0.6, 0.7, 0.8, 0.94]},
        "loops": {"n_samples": 100, "length": 12},
        "learned": {"settings": {**FEW, "times": [0.4, 0.6, 0.8]}},
    },
    "recovery": {
        "": {"n_samples": 30, "settings": FEW},
        "field": {"length": 7, "radii": [1, 2, 7], "settings": {"n_steps": 20}},
        "ising": {"length": 5, "radii": [1, 5]},
        "erased": {"length": 16},
        "erased-rate": {"length": 16},
        "loops-gaussian": {"length": 6, "radii": [1, 2, 6]},
        "learned": {"length": 5, "settings": {**FEW, "n_steps": 5}},
        "learned-field": {"length": 7},
    },
    "phases": {
        "": {"n_samples": 10},
        "map": {"length": 16},
        **{name: {"length": 48} for name in ("data-phase", "trivial-phase", "across")},
        "small": {"t": [0.3, 0.6], "settings": {"stops": [0.5, 0.9]}},
        "small-ising": {"t": [0.0, 0.4], "settings": {"stops": [0.4, 0.8]}},
    },
    "hybrid-generation": {
        "": {"n_samples": 20, "settings": {**FEW, "n_noise": 10}},
        "loops-erasure": {"length": 20, "radii": [2], "settings": {"n_noise": 10}},
        "loops-gaussian": {"length": 6},
    },
    "area-law": {
        "": {"n_samples": 10},
        "loops-area": {"length": 32, "radii": [1, 4, 16], "n_samples": 5},
        "loops-unmasked": {"length": 32, "radii": [1, 4, 16], "n_samples": 50},
        "large-loops": {"length": 128, "n_samples": 4},
        "field": {"length": 5, "radii": [1], "mass_squared": [0.1], "settings": {"n_steps": 100}},
        "spins": {"shape": [2, 3], "n_samples": 4000, "settings": {"n_steps": 20, "n_nodes": 12}},
        "walls": {"radii": [1]},
    },
    "receptive-field": {
        "": {"n_samples": 30, "settings": {"rounds": 2, "passes": 1, "n_slices": 30, "n_noise": 3}},
        "loops": {"length": 16},
        "loop-networks": {"length": 12, "radii": [1, 2]},
        "field": {"length": 5, "radii": [1, 2]},
        "field-seconds": {"length": 4, "radii": [1, 2]},
    },
    "label-windows": {"": {"n_samples": 100}, "ising": {"shape": [5, 3]}},
    "potts": {
        "": {"n_samples": 200, "length": 21, "t": [0.6, 0.9, 0.99]},
        "square-erasure": {"shape": [3, 3], "n_samples": 20, "t": [0.5]},
        "square-uniform": {"shape": [3, 3], "n_samples": 20, "t": [0.5]},
    },
    "hierarchy": {
        "": {"n_samples": 60, "settings": {"rules": 30}},
        **{name: {"depth": [4, 6, 8]} for name in ("erasure", "uniform", "epsilon")},
        **{f"{name}-subtree": {"depth": 4, "radii": [1, 2, 3]} for name in ("erasure", "uniform")},
        **{f"{name}-box": {"depth": 4, "radii": [1, 2, 3]} for name in ("erasure", "uniform")},
    },
    "parallel-unmasking": {
        "": {"n_samples": 4, "radii": [1, 99], "settings": {"n_times": 9, "steps": [4, 8]}},
        "loops": {"length": 8},
        "chain": {"length": 8},
        "ising": {"shape": [3, 3]},
        "hierarchy": {"depth": 3},
    },
    "memorisation": {
        "": {"n_samples": 50, "settings": {"sizes": [10, 60], "asked": 10, "repeats": 2}},
        "chain": {"radii": [5]},
        "masked": {"radii": [5]},
        "tokens": {"radii": [3]},
        "masked-tokens": {"radii": [3]},
        "field": {"radii": [1]},
    },
}


def smallest(name: str) -> Spec:
    """The quick preset with smaller systems, fewer samples and steps: enough for the rows to meet their truth."""
    spec, changes = find(name).spec("quick"), SMALLEST[name]
    grids = {}
    for key, grid in spec.grids.items():
        if changes.get(key, ()) is None:
            continue
        table = grid.model_dump(exclude_unset=True, exclude_none=True)
        known = getattr(find_quantity(grid.quantity).settings, "model_fields", ())
        for change, value in {**changes.get("", {}), **changes.get(key, {})}.items():
            if change == "settings":
                table["settings"] = {**(grid.settings or {}), **{k: v for k, v in value.items() if k in known}}
            elif change in table["model"]:
                table["model"] = {**table["model"], change: value}
            elif change in table:
                table[change] = value
        grids[key] = table
    return Spec(name=name, grids=grids)


def check_noise(row: results.Row) -> None:
    """A row that names a time of Gaussian noise, or is one, carries its log snr."""
    named = re.search(r"\b(?:t|T_f) = ([\d.]+)", row.quantity)
    is_time = not row.quantity.startswith("exponent") and re.search(r"\btime\b|\bstart\b|\bstop\b", row.quantity)
    if row.log_snr is None:
        assert not (row.experiment in GAUSSIAN and (named or is_time or "* from" in row.quantity)), row
        return
    ratio = math.exp(-row.log_snr / 2)
    t = ratio / (1 + ratio)
    if named:
        assert abs(t - float(named[1])) <= 0.005, row  # names have two digits at least
    elif is_time:
        assert t == pytest.approx(row.value), row
    elif "* " in row.quantity:
        assert ratio == pytest.approx(row.value, abs=1e-5), row


def check(row: results.Row) -> None:
    assert np.isfinite([row.value, row.stderr]).all(), row
    check_noise(row)
    assert (row.kind == "none") == (row.analytic is None), row
    if "at most 1" in row.source and "cost" not in row.quantity:
        assert row.value <= 1 + 5 * row.stderr + 1e-9, row
    finite_size = row.kind == "asymptotic" and any(word in row.source for word in FINITE_SIZE)
    if row.kind in ("none", "learned") or finite_size:
        return
    if row.stderr > 0:
        assert abs(row.z) < 5, row
    else:
        assert abs(row.value - row.analytic) < (FINITE_STEPS if "finite steps" in row.source else 1e-6), row


@pytest.mark.parametrize("name", STUDIES)
def test_smallest_version(name, tmp_path, monkeypatch):
    monkeypatch.setattr("lattice_diffusion.studies.receptive_field.measure.N_SITES", 1 << 10)
    study = find(name)
    result = analysed(study, run(smallest(name), tmp_path / "x.h5", progress=False))
    assert results.rows(result)
    for row in results.rows(result):
        assert row.experiment == name
        if "exponent of xi" not in row.quantity:  # which few samples do not reach
            check(row)
    figure = study.figure(result)
    figure.set_dpi(40)
    figure.canvas.draw()
    assert np.asarray(figure.canvas.buffer_rgba())[..., :3].std() > 0.05 * 255


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
        quick, full = study.spec("quick"), study.spec("full")
        assert quick.name == full.name == study.name
        assert set(quick.grids) <= set(full.grids)


def test_cost_of_local_recovery_is_the_area_under_its_rate():
    """I(A;C|B) = (1 - t) c_h at height h costs c_h times the length of the segment; errors of times are independent."""
    t, height = np.array([0.05, 0.1, 0.2, 0.3]), np.arange(1, 6)
    rate = (1 - t)[:, None] / height
    grid = {"cmi": (("t", "radius"), rate), "cmi_stderr": (("t", "radius"), 0.01 * rate)}
    found, cost, error = recovery(xr.Dataset(grid, {"t": t, "radius": height}), "below t*")
    assert found.tolist() == [2, 3, 4]
    assert cost == pytest.approx(0.15 / found)
    assert error == pytest.approx(0.01 * np.linalg.norm([0.025, 0.075, 0.05]) / found)
