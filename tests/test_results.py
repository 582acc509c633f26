"""xr.DataTree files: what is written is read back, by us and by xarray; what is not ours is refused."""

import re
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import xarray as xr

from lattice_diffusion import results
from lattice_diffusion.errors import InputError
from lattice_diffusion.results import ResultError, Row


@pytest.fixture
def result():
    t, radius = np.array([0.1, 0.2]), np.array([1, 2, 4])
    cmi = np.array([[1e-17, np.nan, 2 / 3], [0.5, -0.0, 1e300]])
    grid = {
        "t": results.variable(("t",), t, "1", "time"),
        "radius": results.variable(("radius",), radius, "sites", "radius"),
        "cmi": results.variable(("t", "radius"), cmi, "nat", "conditional mutual information"),
        "done": results.variable(("t",), np.array([1, 0], np.uint8), "1", "1 where measured"),
    }
    rows = [
        Row("chain", "ξ at β = 1", 1.0, 1.1, 0.05, "here", "exact"),
        Row("chain", "p", None, 0.3, 0.1, "", log_snr=1),
    ]
    return results.tree(results.provenance("chain", '{"a": 1}', 2**70, complete=True), {"square": grid}, rows)


def test_reading_gives_back_what_was_written(result, tmp_path):
    results.write(tmp_path / "a.h5", result)
    again = results.load(tmp_path / "a.h5")
    assert again.attrs == result.attrs
    assert results.rows(again) == results.rows(result)
    assert again.attrs["complete"]
    for name, variable in results.grids(result)["square"].variables.items():
        read = again["square"][name]
        assert (read.dims, read.attrs) == (variable.dims, variable.attrs)
        assert read.values.dtype == variable.values.dtype
        assert read.values.tobytes() == variable.values.tobytes()


def test_tables_without_kinds_and_noise_are_read(result):
    result["table"] = result["table"].to_dataset().drop_vars(["kind", "log_snr"])
    assert [(row.kind, row.log_snr) for row in results.rows(result)] == [("none", None)] * 2
    assert results.rows(result)[0].source == "here"


def test_xarray_opens_the_file_as_a_tree(result, tmp_path):
    results.write(tmp_path / "a.h5", result)
    with xr.open_datatree(tmp_path / "a.h5", engine="h5netcdf") as tree:
        assert set(tree.children) == {"square", "table"}
        assert tree.attrs["schema"] == "lattice_diffusion"
        assert tree.attrs["seed"] == str(2**70)
        assert bool(tree.attrs["complete"])
        cmi = tree["square"]["cmi"]
        assert cmi.dims == ("t", "radius")
        assert cmi.attrs == {"units": "nat", "long_name": "conditional mutual information"}
        assert float(cmi.sel(t=0.1, radius=4)) == 2 / 3
        assert [str(x) for x in tree["table"]["quantity"].values] == ["ξ at β = 1", "p"]
        assert np.isnan(tree["table"]["analytic"].values[1])


def test_provenance_says_what_was_run_by_which_code(result):
    names = ["schema", "schema_version", "name", "package_version", "git_commit", "created", "parameters", "seed"]
    assert list(result.attrs) == [*names, "complete"]
    assert str(result.attrs["created"]).endswith("+00:00")


def test_git_commit_never_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "__file__", str(tmp_path / "site-packages" / "lattice_diffusion" / "results.py"))
    assert results.git_commit() == "unknown"
    (tmp_path / "site-packages" / ".git").mkdir(parents=True)
    assert results.git_commit() == "unknown"
    monkeypatch.setenv("PATH", "")
    assert results.git_commit() == "unknown"


def test_z_is_in_units_of_the_error():
    assert Row("e", "q", 1.0, 1.5, 0.25, "").z == 2.0
    assert Row("e", "q", None, 1.5, 0.25, "").z is None
    assert Row("e", "q", 1.0, 1.5, 0.0, "").z is None
    assert Row("e", "q", 1.0, 1.5, float("nan"), "").z is None


def test_a_failed_write_leaves_the_old_file(result, tmp_path):
    path = tmp_path / "a.h5"
    results.write(path, result)
    before = path.read_bytes()
    text = results.variable(("t",), np.array([object(), object()]), "1", "no text")
    with pytest.raises(TypeError, match="string"):
        results.write(path, results.tree(result.attrs, {"square": {"x": text}}))
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.h5"]


def test_other_files_are_refused_in_one_sentence(result, tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(FileNotFoundError, match=r"^no such file: .*a\.h5$"):
        results.load(path)
    with pytest.raises(IsADirectoryError, match="is a folder; give"):
        results.load(tmp_path)
    path.write_text("t,cmi\n0.5,0.1\n")
    with pytest.raises(ResultError, match=r"is not a readable HDF5 file: it is truncated or of another kind$"):
        results.load(path)
    for attributes, sentence in [
        ({}, "is an HDF5 file, but not written by lattice_diffusion"),
        ({**result.attrs, "schema_version": 99}, "has schema version 99, this lattice_diffusion reads 1 to 1"),
        (result.attrs, "is damaged: square/x has no units"),
    ]:
        with h5py.File(path, "w") as file:
            file.attrs.update(attributes)
            file["square/x"] = np.zeros(3)
        with pytest.raises(ResultError, match=sentence):
            results.load(path)


def test_threads_write_files_of_one_name_at_once(result, tmp_path):
    def write(k):
        (tmp_path / str(k)).mkdir()
        for _ in range(20):
            results.write(tmp_path / str(k) / "a.h5", result)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert all(results.rows(results.load(tmp_path / str(k) / "a.h5")) == results.rows(result) for k in range(4))


@pytest.mark.parametrize("values", [np.array(["a", "bc"]), np.array(["ä", ""], object), np.array([True, False])])
def test_text_and_flags_are_read_again(values, tmp_path):
    column = xr.Variable(("i",), values, {"units": "1", "long_name": "x"})
    made = results.tree(results.provenance("a", "{}", 0, complete=True), {"g": {"x": column}})
    results.write(tmp_path / "a.h5", made)
    assert results.load(tmp_path / "a.h5")["g"]["x"].values.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("x", np.array([1j]), "x must hold real numbers or text, got complex128"),
        ("x", np.array(["2020"], "M8[s]"), "x must hold real numbers or text, got datetime64"),
        ("a\0b", np.zeros(1), "variables and axes must have names of printable characters without '/', got 'a"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(name, values, sentence, tmp_path):
    grid = {name: results.variable(("i",), values, "1", "x")}
    with pytest.raises(InputError, match=re.escape(sentence)):
        results.write(tmp_path / "a.h5", results.tree(results.provenance("a", "{}", 0, complete=True), {"g": grid}))
    for groups in ({"g": {"x": results.variable(("i/j",), [1], "1", "x")}}, {"g/h": {}}):
        with pytest.raises(InputError, match=r"without '/', got '(i/j|g/h)'"):
            results.write(tmp_path / "a.h5", results.tree({}, groups))
    assert not list(tmp_path.iterdir())
