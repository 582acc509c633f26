"""Images of a user: the same numbers from every kind of file, by slices, and one sentence for every bad input."""

import gzip
import struct
import tracemalloc
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lattice_diffusion import cli, errors
from lattice_diffusion.errors import InputError
from lattice_diffusion.images import ImageWarning, open_images
from lattice_diffusion.images.readers import labels_beside

N = 1200
RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (N, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (N, 5, 4, 3), dtype=np.uint8)
LABELS = RNG.integers(3, 6, N)
SCALED = (GREY[:, None] / 255.0 * 2.0 - 1.0).astype(np.float32)


def write_idx(path: Path, array: np.ndarray) -> Path:
    kind = {np.dtype(np.uint8): 0x08, np.dtype(">f4"): 0x0D}[array.dtype]
    data = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_folder(path: Path, images: np.ndarray, classes: np.ndarray | None = None, suffix: str = "png") -> Path:
    image = pytest.importorskip("PIL.Image")
    for i, pixels in enumerate(images):
        inside = path if classes is None else path / str(classes[i])
        inside.mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels).save(inside / f"{i:05d}.{suffix}")
    return path


def write(kind: str, path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """The images in a file of one kind, with labels where the kind has room for them."""
    if kind == "npy":
        np.save(path / "a.npy", images)
    elif kind == "npy-fortran":
        np.save(path / "a.npy", np.asfortranarray(images))
    elif kind == "npz":
        np.savez(path / "a.npz", labels=labels, other=np.zeros(3), images=images)
    elif kind == "npz-compressed":
        np.savez_compressed(path / "a.npz", y=labels, x_train=images)
    elif kind == "h5":
        with h5py.File(path / "a.h5", "w") as file:
            file["set/pictures"], file["set/labels"], file["set/weights"] = images, labels, np.ones((3, 3))
    elif kind == "idx":
        write_idx(path / "train-labels-idx1-ubyte", labels.astype(np.uint8))
        return write_idx(path / "train-images-idx3-ubyte", images)
    elif kind == "idx.gz":
        write_idx(path / "t10k-labels.idx1-ubyte.gz", labels.astype(np.uint8))
        return write_idx(path / "t10k-images.idx3-ubyte.gz", images)
    return next(p for p in path.iterdir())


KINDS = ["npy", "npy-fortran", "npz", "npz-compressed", "h5", "idx", "idx.gz"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_images(kind: str, tmp_path: Path) -> None:
    path = write(kind, tmp_path, GREY, LABELS)
    images = open_images(path, labels=LABELS if kind.startswith("npy") else None)
    assert (len(images), images.shape, images.kind) == (N, (N, 1, 5, 4), "grey")
    assert images.labels is not None
    assert_array_equal(images.labels, LABELS - 3)
    assert images.classes == ("3", "4", "5")
    pixels = np.concatenate(list(images.batches(500)))
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, SCALED, atol=1.2e-7, rtol=0)
    index = [3, 4, 5, 900, 7, 7, 0]
    assert_array_equal(images.read(index), pixels[index])
    assert_array_equal(images.read([8, 9, 11]), pixels[[8, 9, 11]])
    assert images.read([]).shape == (0, 1, 5, 4)
    np.testing.assert_allclose(images.mean, SCALED.mean(axis=0, dtype=float), atol=1e-6)
    np.testing.assert_allclose(images.variance, SCALED.var(axis=0, dtype=float), atol=1e-6)
    assert images.levels is not None
    assert images.levels.size == 256
    assert np.isin(pixels, images.levels).all()
    assert (images.levels[0], images.levels[-1]) == (-1.0, 1.0)
    with pytest.raises(IndexError, match=r"in \[0, 1200\)"):
        images.read([N])


def test_arrays_and_datasets_are_images_too() -> None:
    wanted = open_images(GREY, labels=LABELS)
    pairs = [(picture, int(label)) for picture, label in zip(GREY, LABELS, strict=True)]
    dicts = [{"image": picture, "label": label} for picture, label in pairs]
    for dataset in (pairs, dicts):
        images = open_images(dataset)
        assert_array_equal(images.read(np.arange(N)), wanted.read(np.arange(N)))
        assert_array_equal(images.labels, wanted.labels)
    cifar = open_images([{"id": 1, "img": picture, "target": label} for picture, label in pairs])
    assert_array_equal(cifar.labels, wanted.labels)
    with pytest.raises(InputError, match="items of a dataset must have an image, got id"):
        open_images([{"id": 1}])
    assert open_images(list(GREY)).labels is None
    assert open_images(wanted) is wanted
    with pytest.raises(InputError, match="images must be an array, a dataset"):
        open_images(3)


def test_colour_is_three_channels_wherever_they_are_stored(tmp_path: Path) -> None:
    np.save(tmp_path / "last.npy", COLOUR)
    np.save(tmp_path / "first.npy", np.moveaxis(COLOUR, 3, 1))
    last, first = open_images(tmp_path / "last.npy"), open_images(tmp_path / "first.npy")
    assert last.kind == first.kind == "colour"
    assert last.shape == first.shape == (N, 3, 5, 4)
    assert_array_equal(last.read([0, 5]), first.read([0, 5]))
    assert last.read([2])[0, 1, 3, 2] == pytest.approx(COLOUR[2, 3, 2, 1] / 127.5 - 1, abs=1e-6)


@pytest.mark.parametrize(("low", "high", "dtype"), [(0, 1, bool), (-1, 1, np.int8), (0, 255, np.uint8), (2, 7, float)])
def test_two_values_are_spins(low: int, high: int, dtype: type, tmp_path: Path) -> None:
    up = RNG.random((N, 4, 3)) < 0.5
    np.save(tmp_path / "a.npy", np.where(up, high, low).astype(dtype))
    images = open_images(tmp_path / "a.npy")
    assert images.kind == "spins"
    assert_array_equal(images.levels, [-1.0, 1.0])
    assert_array_equal(images.read(np.arange(N))[:, 0], np.where(up, 1.0, -1.0))


def test_two_values_inside_a_declared_range_are_grey(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.where(RNG.random((N, 4, 3)) < 0.5, 51, 0).astype(np.uint8))
    images = open_images(tmp_path / "a.npy", value_range=(0, 255))
    assert images.kind == "grey"
    assert images.levels is not None
    assert images.levels.size == 256
    assert images.read(np.arange(N)).max() == np.float32(-0.6)


def test_floats_have_levels_only_where_values_repeat(tmp_path: Path) -> None:
    np.save(tmp_path / "smooth.npy", RNG.random((N, 4, 3)))
    np.save(tmp_path / "bytes.npy", GREY / 255.0)
    smooth, from_bytes = open_images(tmp_path / "smooth.npy"), open_images(tmp_path / "bytes.npy")
    assert (smooth.kind, smooth.levels, smooth.value_range) == ("real", None, (0.0, 1.0))
    assert from_bytes.kind == "grey"
    assert from_bytes.levels is not None
    assert from_bytes.levels.size == 256


@pytest.mark.parametrize("command", ["ising --shape 6x5 --beta 0.3", "domain-walls --shape 6x5 --beta 0.1"])
def test_spins_that_the_package_samples(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    assert cli.main(["sample", "--model", *command.split(), "--n-samples", "1000", "--out", str(path)]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)  # bonds over the edge are 0
        images = open_images(path)
    with h5py.File(path) as file:
        stored = file["samples/samples"][...].reshape(images.shape)
    assert images.kind == "spins"
    assert_array_equal(images.levels, [-1.0, 1.0])
    assert_array_equal(images.read(np.arange(1000)), stored)
    assert_array_equal(images.constant, (stored == stored[0]).all(axis=0))
    del images  # HDF5 does not write to a file that it reads
    with h5py.File(path, "r+") as file:
        file.attrs["complete"] = False
    with pytest.raises(InputError, match="is not finished; go on with lattice-diffusion sample"):
        open_images(path)


def test_fields_that_the_package_samples_are_not_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    line = "sample --model gaussian-field --shape 6x5 --mass-squared 0.1 --n-samples 1000"
    assert cli.main([*line.split(), "--out", str(path)]) == 0
    images = open_images(path)
    with h5py.File(path) as file:
        stored = file["samples/samples"][...]
    assert (images.kind, images.levels, images.value_range) == ("real", None, None)
    assert np.abs(stored).max() > 1
    assert_array_equal(images.read([4, 9])[:, 0], stored[[4, 9]].astype(np.float32))
    np.testing.assert_allclose(images.variance[0], stored.var(axis=0), rtol=1e-12)


def test_a_folder_of_images_with_classes(tmp_path: Path) -> None:
    classes = np.where(np.arange(30) < 12, "cat", "dog")
    write_folder(tmp_path / "a", COLOUR[:30], classes)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    with pytest.warns(ImageWarning, match="has only 30 images"):
        images = open_images(tmp_path / "a")
    assert images.classes == ("cat", "dog")
    assert_array_equal(images.labels, np.arange(30) >= 12)
    assert_array_equal(
        np.round((images.read([0, 29]) + 1) * 127.5), np.moveaxis(COLOUR[[0, 29]], 3, 1).astype(np.float32)
    )
    write_folder(tmp_path / "b", GREY[:30])
    with pytest.warns(ImageWarning, match="has only 30 images"):
        grey = open_images(tmp_path / "b")
    assert (grey.kind, grey.shape, grey.labels) == ("grey", (30, 1, 5, 4), None)


def test_fewer_images_are_taken_evenly_from_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=GREY, labels=np.sort(LABELS))
    images = open_images(tmp_path / "a.npz", n_max=1000)
    assert len(images) == 1000
    assert set(np.unique(images.labels)) == {0, 1, 2}
    np.testing.assert_allclose(images.read([999])[0], SCALED[1198], atol=1.2e-7)
    np.testing.assert_allclose(images.mean, SCALED[images.index].mean(axis=0, dtype=float), atol=1e-6)


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "idx"])
def test_large_files_are_read_by_slices(kind: str, tmp_path: Path) -> None:
    large = np.tile(GREY, (1, 8, 8))[:, :32, :32].repeat(20, axis=0)
    path = write(kind, tmp_path, large, np.zeros(len(large)))
    tracemalloc.start()
    images = open_images(path, labels=np.arange(len(large)) % 2)
    images.read([0, 20000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert images.source.held_bytes == 0
    assert large.nbytes > 20e6
    # one scan batch of 2 million entries as floats, and a few temporaries of it
    assert peak < 6 * 8 * 2**21
    assert peak < 6 * large.nbytes


@pytest.mark.parametrize("kind", ["npz-compressed", "idx.gz"])
def test_compressed_files_say_what_memory_they_take(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(kind, tmp_path, GREY, LABELS)
    assert open_images(path).describe()["memory_bytes"] == GREY.nbytes
    monkeypatch.setattr(errors, "available_memory", lambda: GREY.nbytes - 1)
    with pytest.raises(InputError, match=r"which is compressed, is too large: .* available; save its images as"):
        open_images(path)


def test_labels_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY)
    np.save(tmp_path / "names.npy", np.array(["dog", "cat"])[LABELS % 2])
    images = open_images(tmp_path / "a.npy", labels=tmp_path / "names.npy")
    assert images.classes == ("cat", "dog")
    assert_array_equal(images.labels, 1 - LABELS % 2)


def test_digits_of_scikit_learn(tmp_path: Path) -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    np.savez(tmp_path / "digits.npz", images=digits.images, labels=digits.target)
    with pytest.warns(ImageWarning, match=r"4\.7% of the pixels"):
        images = open_images(tmp_path / "digits.npz", value_range=(0, 16))
    assert images.shape == (1797, 1, 8, 8)
    assert images.levels is not None
    assert images.levels.size == 17
    assert images.constant.sum() == 3
    images.check_pixel(4, 4)
    with pytest.raises(InputError, match="the pixel 0,0 has one value in all images"):
        images.check_pixel(0, 0)
    with pytest.raises(InputError, match="must be in a 8x8 image, got 8,0"):
        images.check_pixel(8, 0)


# -- bad input -----------------------------------------------------------------------------------------------


def refused(path: Path, **options: object) -> str:
    with pytest.raises((InputError, OSError)) as caught:
        open_images(path, **options)  # type: ignore[arg-type]
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_few_images_warn_with_the_expected_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY[:400])
    with pytest.warns(ImageWarning) as caught:
        open_images(tmp_path / "a.npy")
    assert "only 400 images; expect errors of about 0.025 nats" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_constant_pixels_warn_with_their_fraction(tmp_path: Path) -> None:
    bordered = GREY.copy()
    bordered[:, 0] = 9
    np.save(tmp_path / "a.npy", bordered)
    with pytest.warns(ImageWarning, match=r"20\.0% of the pixels of a\.npy have one value in all images"):
        images = open_images(tmp_path / "a.npy")
    assert_array_equal(images.constant[0], np.arange(20).reshape(5, 4) < 4)
    np.save(tmp_path / "b.npy", np.full((N, 5, 4), 3, np.uint8))
    assert "all pixels of b.npy have the value 3" in refused(tmp_path / "b.npy")


def test_mixed_sizes_in_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, GREY[:3])
    write_folder(tmp_path / "more", GREY[:1, :4])
    sentence = refused(tmp_path)
    assert sentence == ("images must have one size, 00000.png has 5x4 and more/00000.png 4x4; scale or crop them first")


def test_folders_that_hold_no_images(tmp_path: Path) -> None:
    assert "has no images (.png, .jpg, ...)" in refused(tmp_path)
    (tmp_path / "a.png").write_bytes(b"hello")
    assert refused(tmp_path) == "a.png is not a readable image; repair or remove it"
    (tmp_path / "a.png").unlink()
    write_folder(tmp_path, RNG.integers(0, 256, (2, 40, 40), dtype=np.uint8))
    whole = (tmp_path / "00001.png").read_bytes()
    (tmp_path / "00001.png").write_bytes(whole[: len(whole) // 2])
    assert refused(tmp_path).startswith("00001.png is damaged, or Pillow cannot read it (image file is truncated)")
    for path in tmp_path.iterdir():
        path.unlink()
    image = pytest.importorskip("PIL.Image")
    image.new("CMYK", (4, 4)).save(tmp_path / "a.jpg")
    assert "a.jpg has mode CMYK, not 1, L, I;16, RGB, P, RGBA, LA, PA; convert it to grey" in refused(tmp_path)


DAMAGED = {  # formats whose decoders raised what is neither OSError nor SyntaxError
    "a.ppm": b"P6\n3 x\n255\n" + bytes(27),
    "a.dds": b"DDS " + struct.pack("<31I", 124, 0, 4, 4, *[4] * 27),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_a_decoder_raises_is_one_sentence_with_the_name(name: str, tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    (tmp_path / name).write_bytes(DAMAGED[name])
    sentence = refused(tmp_path)
    assert sentence.startswith(name)
    assert sentence.endswith("repair or remove it")


def test_pictures_with_transparent_pixels_are_refused_and_opaque_ones_read(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    colour = np.concatenate([COLOUR[:3], np.full((3, 5, 4, 1), 255, np.uint8)], axis=3)
    write_folder(tmp_path / "opaque", colour)
    with pytest.warns(ImageWarning, match="only 3 images"):
        opened = open_images(tmp_path / "opaque")
    assert_array_equal(np.round((opened.read([2])[0] + 1) * 127.5), np.moveaxis(COLOUR[2], 2, 0))
    colour[1, 2, 2, 3] = 254
    write_folder(tmp_path / "alpha", colour)
    (tmp_path / "key").mkdir()
    image.fromarray(np.arange(20, dtype=np.uint8).reshape(5, 4)).save(tmp_path / "key/a.png", transparency=7)
    for folder, name in (("alpha", "00001.png"), ("key", "a.png")):
        assert refused(tmp_path / folder).startswith(f"{name} has transparent pixels; paste it on a background")


@pytest.mark.parametrize("suffix", ["tif", "gif", "png"])
def test_of_several_frames_none_is_dropped(suffix: str, tmp_path: Path) -> None:
    first, *others = [pytest.importorskip("PIL.Image").fromarray(pixels) for pixels in GREY[:3]]
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others)
    assert refused(tmp_path) == f"a.{suffix} has 3 frames, not one; save each as a picture, or all as one .npy"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("shape", "suffix"), [((8, 8), "png"), ((8, 16), "jpg"), ((8, 16), "tif")])
def test_pictures_are_turned_upright(orientation: int, shape: tuple[int, int], suffix: str, tmp_path: Path) -> None:
    """The same picture whichever way the camera was held: rows and columns as EXIF defines its eight orientations."""
    image = pytest.importorskip("PIL.Image")
    upright = np.where(np.arange(shape[0] * shape[1]).reshape(shape) < 12, 255, 0).astype(np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),  # shown turned by 90 degrees clockwise
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = image.Exif()
    exif[0x0112] = orientation
    for name, pixels in (("a", stored), ("b", 255 - stored)):
        image.fromarray(pixels).save(tmp_path / f"{name}.{suffix}", exif=exif)
    with pytest.warns(ImageWarning, match="only 2 images"):
        images = open_images(tmp_path, value_range=(0, 255))
    assert images.shape == (2, 1, *shape)
    assert_array_equal(images.read([0])[0, 0] > 0, upright > 0)


def test_classes_are_the_folders_that_are_seen(tmp_path: Path) -> None:
    """Neither hidden ones nor splits; those behind links, too."""
    write_folder(tmp_path / "far", GREY[:3])
    write_folder(tmp_path / "a" / "cat", GREY[3:5])
    write_folder(tmp_path / "a" / ".ipynb_checkpoints", GREY[:2])
    write_folder(tmp_path / "a" / "__MACOSX", GREY[:2])
    write_folder(tmp_path / "a" / "cat" / ".hidden", GREY[:2])
    (tmp_path / "a" / "dog").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "circle").symlink_to(tmp_path / "a" / "dog")
    with pytest.warns(ImageWarning, match="only 5 images"):
        images = open_images(tmp_path / "a")
    assert images.classes == ("cat", "dog")
    assert_array_equal(images.labels, [0, 0, 1, 1, 1])
    assert str(images) == "a: 5 images of grey, 5x4, 0 .. 255 scaled to -1 .. 1, 2 classes by subfolders"
    write_folder(tmp_path / "split" / "train", GREY[:2])
    write_folder(tmp_path / "split" / "test", GREY[:2])
    assert "has no classes but test, train; give one of these" in refused(tmp_path / "split")


def test_equal_channels_are_one(tmp_path: Path) -> None:
    """A grey palette, and grey as RGB: one signal, not three."""
    np.save(tmp_path / "a.npy", np.repeat(GREY[..., None], 3, axis=3))
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "a").mkdir()
    for i, pixels in enumerate(GREY[:30]):
        palette = image.fromarray(255 - pixels)
        palette.putpalette(np.arange(255, -1, -1, dtype=np.uint8).repeat(3).tobytes())
        assert palette.mode == "P"
        palette.save(tmp_path / "a" / f"{i:02d}.png")
    held = [image.open(path) for path in sorted((tmp_path / "a").iterdir())]
    for name, given in {"a": tmp_path / "a", "a.npy": tmp_path / "a.npy", "list": held}.items():
        with pytest.warns(ImageWarning) as caught:
            images = open_images(given)
        assert str(caught[0].message) == f"the three channels of {name} are equal; read as one, grey"
        assert (images.kind, images.shape[1:]) == ("grey", (1, 5, 4))
        np.testing.assert_allclose(images.read([4, 7, 7]), SCALED[[4, 7, 7]], atol=1.2e-7)
        np.testing.assert_allclose(images.mean, SCALED[: len(images)].mean(axis=0, dtype=float), atol=1e-6)


NAMES = {  # images: their labels, those of others
    "x_test": ("y_test", ["y_train", "x_train", "labels"]),
    "test_images": ("test_labels", ["train_images", "train_labels", "val_labels", "y"]),
    "X": ("y", ["y_train", "X_test"]),
    "images": ("target", ["data", "train_labels"]),
    "set/data": ("set/labels", ["labels", "other/labels"]),
    "x_train": ("y", []),
    "pictures": ("labels", ["y"]),
    "x_val": (None, ["y_train", "y_test", "x_test", "labels"]),
}


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_never_those_of_another_split(name: str, tmp_path: Path) -> None:
    labels, others = NAMES[name]
    arrays = dict.fromkeys(others, 1 - LABELS % 2) | {name: GREY} | ({} if labels is None else {labels: LABELS % 2})
    assert labels_beside(name, list(arrays)) == labels
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for array, values in arrays.items():
            file[array] = values
    paths = [tmp_path / "a.h5"]
    if "/" not in name:
        np.savez(tmp_path / "a.npz", **arrays)
        paths.append(tmp_path / "a.npz")
    for path in paths:
        images = open_images(path, key=name)
        found = images.describe()
        assert (found["array"], found["labels"]) == (name, labels)
        assert_array_equal(images.labels, None if labels is None else LABELS % 2)


def test_labels_of_medmnist_and_one_hot(tmp_path: Path) -> None:
    column, one_hot = (LABELS - 3)[:, None], np.eye(3)[LABELS - 3]
    np.savez(tmp_path / "a.npz", train_images=GREY, train_labels=column, test_images=COLOUR, test_labels=one_hot)
    train, test = open_images(tmp_path / "a.npz"), open_images(tmp_path / "a.npz", key="test_images")
    for images, kind in ((train, "grey"), (test, "colour")):
        assert images.kind == kind
        assert images.classes == ("0", "1", "2")
        assert_array_equal(images.labels, LABELS - 3)
    several = np.ones((N, 3), int)
    assert "one per image, (1200,), or one-hot, got shape (1200, 3)" in refused(tmp_path / "a.npz", labels=several)


def test_masks_are_refused(tmp_path: Path) -> None:
    masked = np.ma.masked_equal(GREY, GREY[3, 2, 1])
    np.save(tmp_path / "a.npy", GREY)
    for images in (masked, list(masked), [(picture, 0) for picture in masked]):
        with pytest.raises(InputError, match=r"images must have no masked entries, got \d+; fill them in or leave"):
            open_images(images)
    assert "labels must have no masked" in refused(tmp_path / "a.npy", labels=np.ma.masked_equal(LABELS, 3))
    assert open_images(np.ma.array(GREY, mask=False)).shape == (N, 1, 5, 4)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "taken"),
    [
        (0, 255, np.uint8, (0, 255)),
        (3, 129, np.uint8, (0, 255)),
        (0, 16, np.uint8, None),  # digits of 17 levels, not a dark byte
        (0, 4095, np.uint16, None),  # twelve bits, not a sixteenth of sixteen
        (0, 16383, np.uint16, None),
        (0, 255, np.uint16, None),
        (17, 65535, np.uint16, (0, 65535)),
        (0.0, 1.0, np.float64, (0, 1)),
        (0.1, 0.7, np.float32, (0, 1)),
        (0.0, 4095 / 65535, np.float32, None),
        (-1e-4, 1.0, np.float64, None),  # rounding below 0, not a range twice as wide
        (-1.0, 1.0, np.float32, (-1, 1)),
        (-0.8, 0.6, np.float64, (-1, 1)),
        (-0.3, 0.6, np.float64, None),
        (0.0, 1.0001, np.float64, None),
        (-128, 127, np.int8, None),
    ],
)
def test_a_range_is_taken_only_where_the_values_fill_it(
    low: float, high: float, dtype: type, taken: tuple[float, float] | None, tmp_path: Path
) -> None:
    x = RNG.uniform(low, high, (N, 5, 4)).astype(dtype)
    x.flat[:2] = low, high
    np.save(tmp_path / "a.npy", x)
    if taken is None:
        sentence = refused(tmp_path / "a.npy")
        assert sentence.startswith(f"value_range must be given for {x.dtype} with values {x.min():g} .. {x.max():g}: ")
        images = open_images(tmp_path / "a.npy", value_range=(x.min(), x.max()))
        assert (images.read(np.arange(N)).min(), images.read(np.arange(N)).max()) == pytest.approx((-1, 1), abs=1e-6)
    else:
        assert open_images(tmp_path / "a.npy").value_range == taken


def test_values_and_their_range(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY.astype(float))
    assert "value_range must be given for float64 with values 0 .. 255" in refused(tmp_path / "a.npy")
    sentence = refused(tmp_path / "a.npy", value_range=(0, 200))
    assert sentence.startswith("values must be in the declared range 0 .. 200, a.npy has 0 .. 255;")
    assert "two numbers low < high" in refused(tmp_path / "a.npy", value_range=(1, 0))
    assert open_images(tmp_path / "a.npy", value_range=(0, 255)).value_range == (0.0, 255.0)
    broken = GREY / 255.0
    broken[3, 2, 1] = np.nan
    np.save(tmp_path / "b.npy", broken)
    assert "pixel values of b.npy must be finite" in refused(tmp_path / "b.npy")


def test_labels_of_another_length(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=GREY, labels=LABELS[1:])
    assert "labels must be one per image, (1200,), or one-hot, got shape (1199,)" in refused(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", GREY)
    assert "one per image" in refused(tmp_path / "a.npy", labels=np.eye(3))
    assert "no such file of labels" in refused(tmp_path / "a.npy", labels=tmp_path / "none.npy")


@pytest.mark.parametrize("damage", ["cut", "flip", "not gzip"])
def test_corrupt_gzip(damage: str, tmp_path: Path) -> None:
    path = write_idx(tmp_path / "images-idx3-ubyte.gz", GREY)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 0xFF
    path.write_bytes({"cut": data[:-500], "flip": data, "not gzip": b"hello" * 9}[damage])
    assert refused(path).startswith("images-idx3-ubyte.gz is a corrupt gzip file (")


def test_damaged_idx(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "images-idx3-ubyte", GREY)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert "is truncated: (1200, 5, 4) needs 24000 bytes after the header" in refused(path)
    path.write_bytes(data + b"x")
    assert "is too long" in refused(path)
    path.write_bytes(data[:9])
    assert "it ends inside its header" in refused(path)
    path.write_bytes(b"GIF89a")
    assert "is not an IDX file: it starts with 47 49 46 38" in refused(path)
    short = write_idx(tmp_path / "images-idx3-ubyte.gz", GREY)
    short.write_bytes(gzip.compress(data[:-1]))
    assert "is truncated" in refused(short)


def test_damaged_numpy_and_hdf5_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-5])
    assert "a.npy is truncated" in refused(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(b"\x80\x04N.")
    assert "b.npy is not an array in NumPy's format" in refused(tmp_path / "b.npy")
    np.savez_compressed(tmp_path / "a.npz", images=GREY)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(data)
    assert "a.npz[images] is damaged" in refused(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(data[:-300])
    assert "a.npz is not a readable .npz file" in refused(tmp_path / "a.npz")
    (tmp_path / "a.h5").write_bytes(b"hello")
    assert "a.h5 is not a readable HDF5 file" in refused(tmp_path / "a.h5")


def test_which_array_is_meant(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", left=GREY, right=COLOUR)
    sentence = refused(tmp_path / "a.npz")
    assert sentence == (
        "a.npz must have one array of images (n, row, column), it has left (1200, 5, 4), right (1200, 5, 4, 3); "
        "give its name as key"
    )
    assert open_images(tmp_path / "a.npz", key="right").kind == "colour"
    assert "got 'up'; it has left, right" in refused(tmp_path / "a.npz", key="up")
    np.save(tmp_path / "a.npy", GREY)
    assert "key must be left out" in refused(tmp_path / "a.npy", key="images")


def test_what_is_no_file_of_images(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    assert "a.txt must be .npy, .npz" in refused(tmp_path / "a.txt")
    assert "no such file or folder" in refused(tmp_path / "none.npy")
    for array in (np.zeros(7), np.zeros((3, 4, 5, 2)), np.zeros((3, 4, 5), complex), np.zeros((0, 4, 5))):
        np.save(tmp_path / "a.npy", array)
        assert refused(tmp_path / "a.npy").startswith("a.npy must h")
    np.save(tmp_path / "a.npy", GREY[:1])
    assert "has one image" in refused(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", GREY)
    assert "n_max must be an integer >= 2, got 1" in refused(tmp_path / "a.npy", n_max=1)
    assert "n_max must be an integer >= 2, got 2.5" in refused(tmp_path / "a.npy", n_max=2.5)
    labels = np.where(np.arange(len(GREY)) < 2, np.nan, 1.0)
    assert "labels must hold one for every image, got nan for 2" in refused(tmp_path / "a.npy", labels=labels)
    numbers = np.arange(len(LABELS)) / 7
    assert "labels must be classes of several images, got 1200 of 1200" in refused(tmp_path / "a.npy", labels=numbers)
    np.savez(tmp_path / "b.npz", images=np.load(tmp_path / "a.npy"), labels=numbers)
    assert open_images(tmp_path / "b.npz").labels is None
