"""Specs: what is accepted and how it resolves, every sentence of refusal, and the random numbers of points."""

import copy
import json
import pickle

import numpy as np
import pytest
from refusals import refusals

from lattice_diffusion.runs.points import Tables, axes, n_points, points, shape
from lattice_diffusion.runs.quantities import QUANTITIES, find
from lattice_diffusion.runs.spec import Spec, SpecError, load

SQUARE = {
    "model": {"name": "ising", "length": [4, 5], "beta": {"start": 0.0, "stop": 0.6, "num": 3}},
    "channel": {"name": "gaussian"},
    "t": [0.25, 0.5],
    "radii": [1, 2],
}
BASE = {"name": "test", "grids": {"sq": SQUARE}}


def spec(**changes):
    """BASE with `changes` to its grid; a dict changes the table of that name."""
    grid = copy.deepcopy(SQUARE)
    for key, value in changes.items():
        grid[key] = {**grid[key], **value} if key in ("model", "channel") else value
    return Spec(name="test", grids={"sq": grid})


def test_ranges_and_defaults_are_resolved():
    grid = spec(t={"start": 0.1, "stop": 0.9, "num": 5}).grids["sq"]
    assert grid.t == (0.1, 0.30000000000000004, 0.5, 0.7000000000000001, 0.9)
    assert grid.model["beta"] == (0.0, 0.3, 0.6)
    assert (grid.patch, grid.n_samples, grid.method, grid.center) == (1, 1000, "auto", None)
    assert grid.channel == {"name": "gaussian", "schedule": "linear"}


def test_values_of_a_range_are_found_as_they_are_written():
    """0.3 + 0.4 * 5 / 20 is 0.39999999999999997, which seeds its point as it is and is called 0.4 in the result."""
    made = spec(t={"start": 0.3, "stop": 0.7, "num": 21})
    assert Tables(made).groups()["sq"]["t"].values.tolist() == [k / 100 for k in range(30, 71, 2)]
    assert made.grids["sq"].t[5] == 0.3 + (0.7 - 0.3) * 5 / 20 != 0.4


def test_one_number_is_a_list_of_one():
    assert spec(t=0.5, radii=1) == spec(t=[0.5], radii=[1])


def test_json_and_pickle_give_the_spec_back():
    original = spec(center=[1, 2])
    assert Spec(**json.loads(original.to_json())) == original
    assert pickle.loads(pickle.dumps(original)) == original
    assert spec(t=[0.25, 0.5]).to_json() == spec(t={"start": 0.25, "stop": 0.5, "num": 2}).to_json()


def test_axes_are_model_lists_then_t():
    grid = spec().grids["sq"]
    assert axes(grid) == {"length": [4, 5], "beta": [0.0, 0.3, 0.6], "t": [0.25, 0.5]}
    assert shape(grid) == (2, 3, 2)
    assert n_points(spec()) == len(points(spec())) == 12
    last = points(spec())[-1]
    assert last.index == (1, 2, 1)
    assert last.coordinates == {"length": 5, "beta": 0.6, "t": 0.5}
    assert last.parameters["model"] == {"name": "ising", "shape": [5, 5], "periodic": [False, False], "beta": 0.6}
    assert last.parameters["center"] == [2, 2]
    assert str(last) == "grids.sq at length = 5, beta = 0.6, t = 0.5"


def test_several_regions_make_a_size_axis():
    model = {"name": "curie-weiss", "regions": [[1, 2, 5], [1, 4, 9]], "beta": 1.2}
    grid = {"model": model, "channel": {"name": "erasure"}, "t": [0.5]}
    made = Spec(name="cw", grids={"cw": grid})
    assert axes(made.grids["cw"]) == {"size": [8, 14], "t": [0.5]}
    assert [point.parameters["model"]["regions"] for point in points(made)] == [[1, 2, 5], [1, 4, 9]]
    one = Spec(name="cw", grids={"cw": {**grid, "model": {**model, "regions": [1, 2, 5]}}})
    assert axes(one.grids["cw"]) == {"t": [0.5]}
    assert points(one)[0].digest == points(made)[0].digest


def by_coordinates(made):
    """Points by (*shape, beta, t)."""
    tables = [(point, point.parameters["model"]) for point in points(made)]
    return {(*model["shape"], model["beta"], point.parameters["t"]): point for point, model in tables}


@pytest.mark.parametrize(
    "changes",
    [
        {"t": [0.75, 0.5, 0.25]},
        {"model": {"beta": [0.6, 0.1, 0.3, 0.0]}},
        {"model": {"length": 4}},
        {"model": {"beta": 0.3}},
        {"radii": [0, 1, 2, 3]},
        {"n_samples": 17},
        {"model": {"periodic": [False, False]}, "patch": 1},
    ],
)
def test_a_points_random_numbers_do_not_depend_on_its_grid(changes):
    before, after = by_coordinates(spec()), by_coordinates(spec(**changes))
    shared = before.keys() & after.keys()
    assert shared
    for key in shared:
        assert np.array_equal(before[key].rng(7).random(4), after[key].rng(7).random(4))


def test_moving_the_file_of_a_model_keeps_its_random_numbers(tmp_path):
    source = "from lattice_diffusion.models import Ising\n\n\nclass Mine(Ising):\n    name = 'mine'\n"
    digests = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.py").write_text(source)
        model = {"name": f"{tmp_path / folder / 'm.py'}:Mine", "shape": [4, 4], "beta": 0.3}
        grid = {"model": model, "channel": {"name": "bitflip"}, "t": [0.5], "radii": [1]}
        digests.append(points(Spec(name="mine", grids={"mine": grid}))[0].digest)
    assert digests[0] == digests[1]
    assert points(Spec(name="m", grids={"m": {**grid, "channel": {"name": "erasure"}}}))[0].digest != digests[0]


def test_shape_and_length_are_one_point():
    grid = copy.deepcopy(SQUARE)
    grid["model"] = {"name": "ising", "shape": [4, 4], "beta": 0.3}
    square = by_coordinates(Spec(name="other", grids={"another": grid}))
    assert square[4, 4, 0.3, 0.5].digest == by_coordinates(spec())[4, 4, 0.3, 0.5].digest


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"periodic": True}},
        {"channel": {"schedule": "vp"}},
        {"channel": {"name": "bitflip"}},
        {"patch": 2},
        {"center": [1, 1]},
    ],
)
def test_what_is_measured_decides_the_random_numbers(changes):
    before, after = by_coordinates(spec()), by_coordinates(spec(**changes))
    if changes.get("channel", {}).get("name"):
        assert "schedule" not in next(iter(after.values())).parameters["channel"]
    for key in before:
        assert before[key].digest != after[key].digest


def test_points_and_seeds_have_distinct_random_numbers():
    first = [point.rng(seed).random() for point in points(spec()) for seed in (0, 1)]
    assert len(set(first)) == len(first)


AVERAGES = ", ".join(name for name in QUANTITIES if find(name).averages)
RECOVERY = {"quantity": "recovery"}
HOT = {"start": 0, "stop": 1, "num": 10**5}
test_bad_values_are_refused = refusals(
    ({"model": {"betta": 1}}, "^grids.sq.model has the unknown key 'betta'; did you mean 'beta'[?]$"),
    ({"tt": [0.5]}, "^grids.sq has the unknown key 'tt'; did you mean 't'[?]$"),
    ({"quux": 1}, "^grids.sq has the unknown key 'quux'; known: model, channel, t, radii, .*, max_samples$"),
    (
        {"model": {"name": "quux"}},
        "^grids.sq.model has an unknown model 'quux'; known: curie-weiss, .*:Class$",
    ),
    ({"model": {"beta": [0.1, float("nan")]}}, "^grids.sq.model.beta must be a finite number, got nan$"),
    ({"model": {"beta": "hot"}}, "^grids.sq.model.beta must be a finite number, got 'hot'$"),
    ({"model": {"beta": []}}, "^grids.sq.model.beta must hold at least one value, got an empty list$"),
    ({"model": {"beta": [0.1, 0.1]}}, "^grids.sq.model.beta must hold distinct values, got 0.1 twice$"),
    ({"model": {"length": 4.5}}, "^grids.sq.model.length must be an integer >= 2, got 4.5$"),
    ({"model": {"shape": [4, 4]}}, r"^grids.sq.model needs either shape = \[Lx, Ly\] or length = L, got both$"),
    ({"model": {"periodic": "yes"}}, "^grids.sq.model.periodic must be true, false or a list of them, .*, got 'yes'$"),
    ({"model": {"dimension": 3}}, "^grids.sq.model.dimension must be 1 or 2, got 3$"),
    ({"channel": {"schedule": "cos"}}, "^grids.sq.channel cannot be made: schedule must be one of .*, got 'cos'$"),
    ({"target_stderr": 0.1, "max_samples": 999}, "^grids.sq needs max_samples >= n_samples = 1000, .*, got 999$"),
    ({"max_samples": 2000}, "^grids.sq has max_samples without a target to reach; add target_stderr or target_rel"),
    (
        {"target_stderr": 0.1, "max_samples": 2000, "quantity": "locality_gap"},
        f"^grids.sq asks for a target error of the locality gap, which only {AVERAGES} can draw samples for$",
    ),
    ({"t": [1.5]}, r"^grids.sq.t must be a finite number in \[0, 1\], got 1.5$"),
    (
        {"t": {"start": 0.0, "stop": 1.0}},
        "^grids.sq.t needs the keys start, stop and num for a range, got",
    ),
    (
        {"t": {**HOT, "num": 1}},
        "^grids.sq.t needs numbers start and stop and an integer num from 2 to 100,000 for",
    ),
    ({"n_samples": "100"}, "^grids.sq.n_samples must be a valid integer, got '100'$"),
    ({"n_samples": 1}, "^grids.sq.n_samples must be greater than or equal to 2, got 1$"),
    ({"radii": [-1]}, "^grids.sq.radii must be an integer >= 0, got -1$"),
    ({"center": "middle"}, r"^grids.sq.center must be a site such as \[5, 5\], got 'middle'$"),
    ({"method": "magic"}, "^grids.sq.method must be 'auto', 'closed' or 'sampled', got 'magic'$"),
    ({"settings": {"n": 1}}, "^grids.sq has the key 'settings', which the CMI has no use for; leave it out$"),
    ({"quantity": "label_entropy"}, "^grids.sq asks for the label entropy of ising; only domain-walls has it$"),
    ({"quantity": "learned_recovery"}, "^grids.sq has the key 't', which the learned recovery error has no use for$"),
    ({**RECOVERY, "settings": {"n_steps": 0}}, "settings.n_steps = 0: input should be greater than or equal to 1$"),
    ({**RECOVERY, "settings": {"n_steps": "40"}}, "settings.n_steps = '40': input should be a valid integer$"),
    ({**RECOVERY, "settings": {"starts": [0.5]}}, "unknown key 'settings.starts'; the recovery error knows n_steps$"),
    of=lambda changes: spec(**changes),
    error=SpecError,
)


def changed(change):
    table = copy.deepcopy(BASE)
    change(table, table["grids"]["sq"])
    return Spec(**table)


def model(**table):
    return lambda _, grid: grid.update(model=table)


CURIE_WEISS = {"name": "curie-weiss", "beta": 1.0}
test_bad_tables_are_refused = refusals(
    (
        lambda _, grid: grid["model"].pop("beta"),
        "^grids.sq.model lacks the key 'beta'; its keys are name, shape",
    ),
    (
        lambda _, grid: grid["model"].pop("name"),
        "^grids.sq.model lacks the key 'name'; known: curie-weiss, ",
    ),
    (lambda _, grid: grid.pop("t"), r"^grids.sq lacks the key 't', such as t = \[0.3, 0.5, 0.7\]$"),
    (lambda _, grid: grid.pop("radii"), r"^grids.sq lacks the key 'radii', such as radii = \[1, 2, 3\]$"),
    (lambda _, grid: grid.update(model=3), "^grids.sq.model must be a table of keys, got 3$"),
    (model(name="gaussian-mixture", length=4, mean=1.0), "^grids.sq.model needs either std .*, got neither$"),
    (model(**CURIE_WEISS, regions=[1, 2]), r"^grids.sq.model.regions must be three integers a .*, got \[1, 2\]$"),
    (
        model(**CURIE_WEISS, regions=[[1, 2, 3], [2, 1, 3]]),
        "^grids.sq.model.regions must differ in a [+] b [+] c",
    ),
    (
        model(**CURIE_WEISS, regions=[1, 2, 3]),
        "^grids.sq has the key 'radii', which curie-weiss has no use for: its",
    ),
    (lambda table, _: table.update(seed=-1), "^seed must be greater than or equal to 0, got -1$"),
    (lambda table, _: table.update(name="a\0b"), "^name must hold printable characters only, got "),
    (
        lambda _, grid: grid.update(model={**grid["model"], "beta": HOT}, t=HOT),
        "^the spec asks for 20,000,000,000 points, and at most 1,000,000 are measured in one run$",
    ),
    (lambda table, _: table.update(sed=1), "^the spec has the unknown key 'sed'; did you mean 'seed'[?]$"),
    (
        lambda table, _: table.update(grids={}),
        r"^the spec needs at least one grid, such as \[grids.square\], got none$",
    ),
    (
        lambda table, grid: table.update(grids={"a/b": grid}),
        "^the spec has a grid named 'a/b'; use letters, digits",
    ),
    of=changed,
    error=SpecError,
)


TOML = """
seed = 7
t = [0.3, 0.5]
radii = [1]
model = { name = "ising-chain", length = 20, beta = 0.5 }
channel = { name = "erasure" }
"""


def test_a_file_with_one_grid_needs_no_grid_table(tmp_path):
    (tmp_path / "chain.toml").write_text(TOML)
    made = load(tmp_path / "chain.toml")
    assert (made.name, made.seed, list(made.grids)) == ("chain", 7, ["grid"])


def test_unreadable_files_are_refused_in_one_sentence(tmp_path):
    file = tmp_path / "bad.toml"
    with pytest.raises(FileNotFoundError, match=r"^no such file: .*bad\.toml$"):
        load(file)
    with pytest.raises(IsADirectoryError, match="is a folder; give a spec file"):
        load(tmp_path)
    file.write_text("seed = 3\nt = [1, \n")
    with pytest.raises(SpecError, match=r"bad\.toml is not TOML: .*\(at (end of document|line 3.*)\)$"):
        load(file)
    file.write_text(TOML, encoding="utf-16")
    with pytest.raises(SpecError, match=r"bad\.toml is not TOML, which is text in UTF-8; save it in that encoding$"):
        load(file)
    file.write_text(TOML, encoding="utf-8-sig")
    assert load(file).seed == 7
