"""Markov lengths and peak times that every finished run stores beside its CMI curves."""

import math

import numpy as np
import pytest

import lattice_diffusion as ld
from lattice_diffusion import results
from lattice_diffusion.phases import peak_time
from lattice_diffusion.runs import runner
from lattice_diffusion.runs.points import Tables
from lattice_diffusion.runs.spec import Spec


def chain(**keys):
    model = {"name": "ising-chain", "length": 81, "beta": {"start": 0.2, "stop": 0.8, "num": 7}}
    table = {"model": model, "channel": {"name": "erasure"}, "t": {"start": 0.1, "stop": 0.9, "num": 9}, **keys}
    return Spec(name="chain", grids={"grid": table})


def test_markov_lengths_are_those_of_the_closed_form(tmp_path):
    result = runner.run(chain(radii=[3, 1, 2, 4, 5, 6]), tmp_path / "a.h5", progress=False)
    for data in (results.grids(result)["grid"], ld.load(tmp_path / "a.h5")["grid"]):
        place = data.sel(beta=0.5, t=0.3)  # ranges are rounded, so that decimals find their place
        exact = -1 / math.log(0.3 * math.tanh(0.5) ** 2)
        assert float(place["markov_length"]) == pytest.approx(exact, rel=5e-3)
        assert abs(float(place["markov_length"]) - exact) < 5 * float(place["markov_length_stderr"])
        assert abs(float(place["markov_length"]) / exact - 1.1) > 0.05  # mutant: one tenth longer
        assert 0.0 <= float(place["markov_length_p_value"]) <= 1.0
        assert data["markov_length"].attrs["units"] == "sites"
        peak = peak_time(data["t"].values, data["cmi"].sel(beta=0.5, radius=2).values)
        assert float(data["peak_time"].sel(beta=0.5, radius=2)) == peak.value
        assert data["peak_time_stderr"].dims == ("beta", "radius")


def test_gaussian_noise_is_stored_in_other_units_too(tmp_path):
    model, t = {"name": "gaussian-field", "shape": [9], "mass_squared": 0.3}, [0.0, 0.25, 0.5, 1.0]
    grid = {"model": model, "channel": {"name": "gaussian"}, "t": t, "radii": [1]}
    result = runner.run(Spec(name="field", grids={"grid": grid}), tmp_path / "a.h5", progress=False)
    found = results.grids(result)["grid"]["log_snr"]
    assert found.values == pytest.approx([math.inf, 2 * math.log(3), 0.0, -math.inf])
    erased = runner.run(chain(radii=[1], t=[0.2]), tmp_path / "b.h5", progress=False)
    assert "log_snr" not in results.grids(erased)["grid"]  # sigma has no meaning there
    returned = {**grid, "t": None, "quantity": "learned_recovery", "settings": {"starts": [0.25, 0.5]}, "n_samples": 2}
    axis = Tables(Spec(name="field", grids={"grid": returned})).groups()["grid"]["start_log_snr"]
    assert axis.values == pytest.approx([2 * math.log(3), 0.0])


def test_times_in_any_order_have_the_same_peaks(tmp_path):
    ordered = runner.run(chain(radii=[1, 2, 3]), tmp_path / "a.h5", progress=False)["grid"]
    any_order = chain(radii=[1, 2, 3], t=[0.5, 0.1, 0.3, 0.9, 0.8, 0.2, 0.7, 0.4, 0.6])
    shuffled = runner.run(any_order, tmp_path / "b.h5", progress=False)["grid"]
    assert np.isfinite(ordered["peak_time"].values).any()
    assert np.allclose(ordered["peak_time"], shuffled["peak_time"], equal_nan=True)
    assert np.allclose(ordered["markov_length"], shuffled["markov_length"].sel(t=ordered["t"].values), equal_nan=True)


def test_what_is_too_short_has_none(tmp_path):
    few = runner.run(chain(radii=[1, 2], t=[0.2, 0.5]), tmp_path / "a.h5", progress=False)["grid"]
    assert not {"markov_length", "peak_time"} & {*few.variables}
    table = {"model": {"name": "curie-weiss", "regions": [1, 4, 11], "beta": 1.5}, "channel": {"name": "gaussian"}}
    grid = {**table, "t": [0.1, 0.4, 0.6, 0.8, 0.95], "n_samples": 400}
    flat = runner.run(Spec(name="cw", grids={"cw": grid}), tmp_path / "b.h5", progress=False)["cw"]
    assert "markov_length" not in flat
    assert flat["peak_time"].dims == ("radius",)
    assert flat["peak_time"].attrs["long_name"]
