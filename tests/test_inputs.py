"""What others hand us: files, command lines, arguments. Refused in one sentence, never followed, run or unpacked."""

import gzip
import resource
import zipfile
from operator import delitem, setitem
from pathlib import Path

import h5py
import numpy as np
import pytest

from lattice_diffusion import errors, hdf5, results
from lattice_diffusion.errors import InputError
from lattice_diffusion.images import open_images
from lattice_diffusion.results import ResultError

GIB = 2**30


@pytest.fixture
def one_gib(monkeypatch):
    """The machine says that it has one GiB, and an allocation of three more ends in MemoryError."""
    monkeypatch.setattr(errors, "available_memory", lambda: GIB)
    monkeypatch.setattr(hdf5, "available_memory", lambda: GIB)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * GIB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# -- HDF5 ----------------------------------------------------------------------------------------------------


@pytest.fixture
def result_file(tmp_path):
    t = np.array([0.25, 0.5])
    grid = {"t": results.variable(("t",), t, "1", "time"), "cmi": results.variable(("t",), t**2, "nat", "information")}
    row = results.Row("chain", "p", None, 0.3, 0.1, "exact")
    path = tmp_path / "a.h5"
    results.write(path, results.tree(results.provenance("chain", "{}", 7, complete=True), {"grid": grid}, [row]))
    return path


def dataset(file, data=None, **options):
    """Puts something else in the place of the values of `cmi`."""
    del file["grid/cmi"]
    made = file["grid"].create_dataset("cmi", data=data, **options)
    made.attrs["units"], made.attrs["long_name"] = "nat", "information"
    made.dims[0].attach_scale(file["grid/t"])


def virtual(file):
    layout = h5py.VirtualLayout((2,), float)
    layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
    del file["grid/cmi"]
    file["grid"].create_virtual_dataset("cmi", layout)


def many_bombs(file):
    for k in range(3):
        made = file["grid"].create_dataset(f"b{k}", (2**26,), float, chunks=(2**16,), compression="gzip")
        made.attrs["units"], made.attrs["long_name"] = "1", "half a GiB"
        made.make_scale(f"b{k}")


def no_scale(file):
    del file["grid/cmi"]
    file["grid"].create_dataset("cmi", data=np.zeros(2)).attrs.update({"units": "1", "long_name": ""})


PACKED, TEXT = {"chunks": (2**16,), "compression": "gzip"}, h5py.string_dtype()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda file: setitem(file, "grid/a", h5py.ExternalLink("other.h5", "/x")),
            "a is a link into another file, .*",
        ),
        (lambda file: setitem(file, "grid/a", h5py.SoftLink("/grid/cmi")), "a is a link, and is not followed"),
        (virtual, "grid/cmi lies in other files, which are not opened"),
        (lambda file: dataset(file, shape=(2,), dtype=h5py.ref_dtype), "holds object; only numbers and text are read"),
        (
            lambda file: dataset(file, shape=(10**15,), dtype=float, chunks=(1024,)),
            r"cmi unpacks to 7.45e\+06 GiB, with 1",
        ),
        (lambda file: dataset(file, shape=(10**15,), dtype=TEXT, chunks=(1024,)), "grid/cmi unpacks to .* GiB"),
        (lambda file: dataset(file, shape=(2**28,), dtype=float, fillvalue=1.0, **PACKED), "grid/cmi unpacks to 2 GiB"),
        (
            lambda file: dataset(file, shape=(2**28,), chunks=(2**28,), dtype=float),
            "a chunk of grid/cmi unpacks to 2 GiB",
        ),
        (many_bombs, "grid/b1 unpacks to 0.5 GiB, with 0.5 GiB of memory left|grid/b2 unpacks to 0.5 GiB"),
        (lambda file: setitem(file.attrs, "name", np.zeros(1000)), "the attribute name is not one text or number"),
        (lambda file: setitem(file.attrs, "parameters", "__import__('os')"), "is damaged"),
        (lambda file: delitem(file.attrs, "name"), "does not say name, as every result file does"),
        (no_scale, "is damaged"),
        (lambda file: delitem(file, "table/source"), "is damaged"),
        (lambda file: setitem(file, "stray", np.zeros(3)), "lies outside any group"),
    ],
)
def test_a_spoilt_result_file_is_refused(spoil, sentence, result_file, tmp_path, one_gib):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.array([1.0, 2.0])
    with h5py.File(result_file, "r+") as file:
        spoil(file)
    with pytest.raises(ResultError, match=sentence) as refused:
        results.load(result_file)
    assert "\n" not in str(refused.value)


def test_one_large_text_many_times_over_is_bounded(result_file, one_gib):
    """A text of 8 MiB that 1000 entries share would unpack to 8 GiB."""
    with h5py.File(result_file, "r+") as file:
        dataset(file, shape=(2,), dtype=h5py.string_dtype())
        del file["grid/cmi"]
        made = file["grid"].create_dataset("cmi", (1,), h5py.string_dtype())
        made[0] = "x" * 2**23
        place = made.id.get_offset()
        many = file["grid"].create_dataset("many", (1000,), h5py.string_dtype())
        many[:] = "y"
        target = many.id.get_offset()
        for item in (made, many):
            item.attrs["units"], item.attrs["long_name"] = "1", "text"
            item.make_scale(item.name.split("/")[-1])
    content = bytearray(result_file.read_bytes())
    for k in range(1000):  # every entry points to the one large text
        content[target + 16 * k : target + 16 * (k + 1)] = content[place : place + 16]
    result_file.write_bytes(content)
    with pytest.raises(ResultError, match="grid/many unpacks to"):
        results.load(result_file)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes_and_cut_ends_give_a_result_or_one_sentence(seed, result_file, one_gib):
    whole, rng = result_file.read_bytes(), np.random.default_rng(seed)
    said = []
    for k in range(40):
        content = bytearray(whole)
        if k % 4 == 0:
            content = content[: int(rng.integers(len(whole)))]
        else:
            for place in rng.integers(0, len(whole), 3):
                content[place] = rng.integers(256)
        result_file.write_bytes(content)
        try:
            results.load(result_file)
        except ResultError as error:
            said.append(str(error))
    assert len(said) >= 10  # every cut file at least
    assert not any("\n" in sentence for sentence in said)


# -- images --------------------------------------------------------------------------------------------------


class Burglar:
    """Its unpickling would leave a trace."""

    def __reduce__(self):
        return Path.touch, (Path("/tmp/never"),)


def test_images_elsewhere_are_not_opened(tmp_path, one_gib):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.zeros((3, 4, 4), np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "/x")
        file["folder"] = h5py.ExternalLink("other.h5", "/")
        file.create_dataset("raw", (3, 4, 4), np.uint8, external=[(str(tmp_path / "other.h5"), 0, 48)])
        file.create_dataset("vast", (10**9, 64, 64), np.uint8, chunks=(2**20, 64, 64))
        file.create_dataset("objects", (3, 4, 4), h5py.ref_dtype)
    for key, sentence in {
        "link": "link is a link into another file, 'other.h5', and is not followed",
        "folder/x": "folder is a link into another file",
        "raw": "raw lies in other files, which are not opened",
        "vast": "a chunk of vast unpacks to 4 GiB",
        "objects": "only numbers and text are read",
        "nothing": "key must be an array of a.h5, got 'nothing'",
    }.items():
        with pytest.raises(InputError, match=sentence):
            open_images(tmp_path / "a.h5", key=key)


def test_pickles_are_never_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([Burglar()], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", images=np.array([Burglar()], object), allow_pickle=True)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InputError, match="holds Python objects, which are never unpickled"):
            open_images(tmp_path / name)


def test_what_unpacks_to_more_than_fits_is_refused_before_it_is_unpacked(tmp_path, one_gib, monkeypatch):
    monkeypatch.setattr(errors, "available_memory", lambda: GIB)
    header = bytes([0, 0, 8, 3]) + np.array([2**20, 64, 64], ">u4").tobytes()
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as packed:
        packed.write(header + bytes(2**20))
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (2**20, 64, 64)})
        member.write(bytes(2**20))
    for name in ("train-images-idx3-ubyte.gz", "a.npz"):
        with pytest.raises(InputError, match=r"needs about 4 GiB of memory, this machine has 1 GiB available"):
            open_images(tmp_path / name)


def test_a_picture_that_is_a_bomb_is_refused(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for k in range(2):
        image.new("1", (20_000, 20_000)).save(tmp_path / f"{k}.png")
    with pytest.raises(InputError, match=r"0.png has more than \d+ pixels; cut it"):
        open_images(tmp_path)
