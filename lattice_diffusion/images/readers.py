"""Readers of images: NumPy, IDX and HDF5 files, folders of pictures, arrays and datasets in memory.

Every reader returns a `Source`, whose images are read when asked for. No file is unpickled or executed, and what would
unpack to more than the memory of the machine is refused before it is read.
"""

import contextlib
import gzip
import json
import math
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .. import hdf5
from ..errors import InputError, check_memory

FORMATS = ".npy, .npz, .h5, .hdf5, an IDX file such as train-images-idx3-ubyte[.gz], or a folder of images"
IMAGE_KEYS = ("images", "x_train", "train_images")
IMAGE_WORDS = ("images", "image", "imgs", "img", "x", "data")
LABEL_WORDS = ("labels", "label", "y", "targets", "target")  # x_test and y_test, test_images and test_labels
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "extra"}
SAVE_PLAIN = "save its images as .npy, which is read by slices, or give fewer"
# what damaged archives raise while they are read; RuntimeError: encrypted
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError)


@dataclass(frozen=True)
class Source:
    """Images as they are stored.

    Attributes:
        name: of the file, for messages.
        shape: (n, site), (n, row, column), (n, row, column, channel) or (n, channel, row, column).
        dtype: of the numbers.
        take: function from strictly increasing indices (m,) to raw values (m, *shape[1:]).
        labels: (n,) of any type, or None.
        labels_from: where they were found.
        array: name of the array of the file, if it has names.
        held_bytes: memory that the images take while the source is open, 0 where they are read by slices.
        as_stored: True for samples of a model, which are not scaled.
        tokens: number of symbols of a model of tokens.
        channel_first: True where axis 1 counts channels.
        unused: value of entries that are not there, such as bonds beyond the edge of a lattice; None: there are none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    take: Callable[[NDArray[np.int64]], NDArray] = field(repr=False)
    labels: NDArray | None = field(default=None, repr=False)
    held_bytes: int = 0
    labels_from: str | None = None
    array: str | None = None
    as_stored: bool = False
    tokens: int | None = None
    channel_first: bool = False
    unused: int | None = None


def open_source(images: Any, key: str | None = None) -> Source:
    """Return the source of a file, a folder, an array or a dataset of images."""
    if not isinstance(images, str | Path):
        return _in_memory(images)
    path = Path(images)
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    opener = {".npz": _open_npz, ".h5": _open_hdf5, ".hdf5": _open_hdf5}.get(path.suffix.lower())
    if opener is not None and not path.is_dir():
        return opener(path, key)
    if key is not None:
        raise InputError(f"key must be left out for {path.name}, which holds one array or is a folder, got {key!r}")
    if path.is_dir():
        return _open_folder(path)
    if _is_idx(path):
        return _open_idx(path)
    if path.suffix.lower() == ".npy":
        return _array_source(path.name, _read_npy(path))
    raise InputError(f"{path.name} must be {FORMATS}; its name does not end like any of them")


def read_labels(path: Path) -> NDArray:
    """Return the array of a .npy or IDX file of labels."""
    if not path.exists():
        raise FileNotFoundError(f"no such file of labels: {path}")
    return _read_idx(path)[0] if _is_idx(path) else _read_npy(path)


def unmasked(array: Any, name: str) -> NDArray:
    """Return an array. Raises InputError for masked entries, whose mask would be lost."""
    if np.ma.is_masked(array):
        n = np.ma.count_masked(array)
        raise InputError(f"{name} must have no masked entries, got {n}; fill them in or leave those images out")
    return np.asarray(array)


def _array_source(name: str, array: Any, labels: NDArray | None = None, held_bytes: int = 0, *found: Any) -> Source:
    """Return the source of an array in memory or mapped from disk, or of a dataset of HDF5."""
    rest = labels, held_bytes, *found
    return Source(name, array.shape, array.dtype, lambda index: np.asarray(array[_span(index)]), *rest)


def _span(index: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return a slice where the indices are neighbours, which is far cheaper to read."""
    if index.size and index[-1] - index[0] + 1 == index.size:
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def _in_memory(images: Any) -> Source:
    """Return the source of an array, or of a dataset, whose items are images, pairs (image, label) or dicts."""
    if hasattr(images, "shape"):
        return _array_source("array", images if hasattr(images, "chunks") else unmasked(images, "images"))
    try:
        items = [images[i] for i in range(len(images))]
    except (TypeError, KeyError):
        raise InputError(f"images must be an array, a dataset or {FORMATS}, got a {type(images).__name__}") from None
    if items and isinstance(items[0], Mapping):
        picture, label = (next((k for k in items[0] if k in kind), None) for kind in (IMAGE_WORDS, LABEL_WORDS))
        if picture is None:
            raise InputError(f"items of a dataset must have an image, got {', '.join(map(str, items[0])) or 'nothing'}")
        items = [(item[picture], item.get(label)) for item in items]
    paired = bool(items) and isinstance(items[0], tuple)
    given = [item[0] if paired else item for item in items]
    given = [_upright(x, f"image {i}") if hasattr(x, "getexif") else x for i, x in enumerate(given)]  # of Pillow
    pictures = [unmasked(picture, "images") for picture in given]
    labels = np.array([item[1] for item in items]) if paired and items[0][1] is not None else None
    if len({picture.shape for picture in pictures}) != 1:
        raise InputError("images must be at least one and of one size; scale or crop them first")
    array = np.stack(pictures)
    return _array_source(type(images).__name__, array, labels, array.nbytes, "the data set")


def labels_beside(array: str, names: Collection[str]) -> str | None:
    """Return the name of the labels of the images `array` among the arrays of a file, None where there are none.

    They are called as the images are (y_test of x_test, test_labels of test_images), or simply labels or y, unless
    the file has another split as well: labels of another split are never those of these images.
    """

    def split(name: str, kind: tuple[str, ...]) -> tuple[set[str], str]:
        words = re.split(r"[^a-z0-9]+", name.lower().rpartition("/")[2])
        return {word for word in words if word not in kind}, next((word for word in kind if word in words), "")

    own, folder = split(array, IMAGE_WORDS)[0], array.rpartition("/")[0]
    near = [name for name in names if name != array and name.rpartition("/")[0] == folder]
    others = {word for name in near for word in split(name, ())[0]} & SPLITS - own
    labels = {name: split(name, LABEL_WORDS) for name in near}
    for wanted in (own, set()) if not (others and own & SPLITS) else (own,):
        found = [name for name, (rest, word) in labels.items() if word and rest == wanted]
        if found:
            return min(found, key=lambda name: LABEL_WORDS.index(labels[name][1]))
    return None


# -- NumPy --------------------------------------------------------------------------------------------------


def _read_npy(path: Path) -> NDArray:
    """Return the array of a .npy file, mapped from disk."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except _BROKEN as error:
        raise _not_plain(path.name, str(error)) from error


def _not_plain(name: str, error: str) -> InputError:
    """Return what is wrong with an array, from NumPy's words."""
    if "Python objects" in error:
        return InputError(f"{name} holds Python objects, which are never unpickled; save a plain array of numbers")
    if "mmap length" in error:
        return InputError(f"{name} is truncated: it has fewer bytes than its header says; save it again")
    return InputError(f"{name} is not an array in NumPy's format: it is damaged or of another kind")


def _open_npz(path: Path, key: str | None) -> Source:
    """Open the array `key`, "images" or "x_train", or the only one of three or four axes, and labels beside it."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path.name} is not a readable .npz file: it is truncated or of another kind") from error
    with archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
        wanted = [array for array in members if key in (None, array)]
        headers = {array: _header(archive, members[array], path) for array in wanted}
        chosen = _chosen(path.name, key, {array: header[0] for array, header in headers.items()}, list(members))
        images, held = _member(archive, path, members[chosen], headers[chosen])
        labels, beside = None, labels_beside(chosen, members)
        if beside is not None:
            labels, _ = _member(archive, path, members[beside], _header(archive, members[beside], path))
    return _array_source(path.name, images, labels, held, beside, chosen)


Header = tuple[tuple[int, ...], bool, np.dtype, int]  # shape, whether in Fortran's order, dtype, bytes before the data


def _header(archive: zipfile.ZipFile, member: str, path: Path) -> Header:
    """Return what a member of an archive says of itself."""
    name = f"{path.name}[{member.removesuffix('.npy')}]"
    try:
        with archive.open(member) as file:
            first = np.lib.format.read_magic(file) == (1, 0)
            read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
            header: Header = (*read(file), file.tell())
    except _BROKEN as error:
        raise _not_plain(name, str(error)) from error
    if header[2].hasobject:
        raise _not_plain(name, "Python objects")
    return header


def _member(archive: zipfile.ZipFile, path: Path, member: str, header: Header) -> tuple[NDArray, int]:
    """Return an array of an archive and the memory that it takes: none where it is stored as it is, and mapped."""
    shape, fortran, dtype, size = header
    name, info = f"{path.name}[{member.removesuffix('.npy')}]", archive.getinfo(member)
    n_bytes = math.prod(shape) * dtype.itemsize
    try:
        if info.compress_type == zipfile.ZIP_STORED and n_bytes:
            with open(path, "rb") as file:
                file.seek(info.header_offset + 26)
                lengths = struct.unpack("<HH", file.read(4))  # of the member's name and extra field, after 30 bytes
            offset = info.header_offset + 30 + sum(lengths) + size
            return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C"), 0
        check_memory(f"{name}, which is compressed,", n_bytes, SAVE_PLAIN)
        with archive.open(member) as packed:
            return np.lib.format.read_array(packed, allow_pickle=False), n_bytes
    except InputError:
        raise
    except _BROKEN as error:
        raise InputError(f"{name} is damaged: it starts well but cannot be read on; save it again") from error


def _chosen(name: str, key: str | None, shapes: dict[str, tuple[int, ...]], known: list[str]) -> str:
    """Return which array of a file holds the images. Raises InputError with the names where it is not clear."""
    if key is not None:
        if key not in shapes:
            raise InputError(f"key must be an array of {name}, got {key!r}; it has {', '.join(known) or 'none'}")
        return key
    named = [array for array in IMAGE_KEYS if array in shapes]
    fitting = [array for array, shape in shapes.items() if len(shape) in (3, 4)]
    fitting = fitting or [array for array, shape in shapes.items() if len(shape) == 2]
    if named or len(fitting) == 1:
        return (named or fitting)[0]
    listing = ", ".join(f"{array} {shape}" for array, shape in shapes.items()) or "no array"
    raise InputError(f"{name} must have one array of images (n, row, column), it has {listing}; give its name as key")


# -- IDX ----------------------------------------------------------------------------------------------------

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def _is_idx(path: Path) -> bool:
    """Return whether the name is as train-images-idx3-ubyte or train-images.idx3-ubyte, with or without .gz."""
    return any(word in path.name.lower() for word in ("-idx", ".idx"))


def _open_idx(path: Path) -> Source:
    """Open images, with the labels of the file beside it (train-labels-idx1-ubyte of train-images-idx3-ubyte)."""
    images, held = _read_idx(path)
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = _read_idx(beside)[0] if beside != path and beside.exists() else None
    return _array_source(path.name, images, labels, held, beside.name)


def _read_idx(path: Path) -> tuple[NDArray, int]:
    """Return the array of a file in MNIST's format and the memory it takes (LeCun, Cortes, Burges 1998).

    The header is big-endian: two zero bytes, one of number type, one that counts the axes, and the axes' lengths as
    four bytes each. Plain files are mapped from disk; gzip has no random access and is decompressed into memory.
    """
    name, packed, data = path.name, path.suffix == ".gz", b""
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            start = file.read(4)
            if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX_TYPES or not 1 <= start[3] <= 4:
                begins = start.hex(" ") or "nothing"
                raise InputError(f"{name} is not an IDX file: it starts with {begins}, not 00 00 08 03")
            lengths = file.read(4 * start[3])
            if len(lengths) < 4 * start[3]:
                raise InputError(f"{name} is truncated: it ends inside its header; download it again")
            shape, dtype = tuple(np.frombuffer(lengths, ">u4").tolist()), np.dtype(IDX_TYPES[start[2]])
            offset, n_bytes = file.tell(), math.prod(shape) * dtype.itemsize
            if packed:
                check_memory(f"{name}, which is compressed,", n_bytes, SAVE_PLAIN)
                data = file.read(n_bytes + 1)  # reading to the end compares the checksum
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{name} is a corrupt gzip file ({error}); download it again") from error
    found = len(data) if packed else path.stat().st_size - offset
    if found != n_bytes or not n_bytes:
        state = "empty" if not n_bytes else "truncated" if found < n_bytes else "too long"
        raise InputError(f"{name} is {state}: {shape} needs {n_bytes} bytes after the header; download it again")
    if packed:
        return np.frombuffer(data, dtype).reshape(shape), n_bytes
    return np.memmap(path, dtype, "r", offset, shape), 0


# -- HDF5 ---------------------------------------------------------------------------------------------------

SAMPLES = "samples/samples"  # where `lattice-diffusion sample` writes


def _open_hdf5(path: Path, key: str | None) -> Source:
    """Open the dataset `key`, "images", or the only one of three or four axes, and labels beside it."""
    try:
        file = h5py.File(path, "r")
    except PermissionError:
        raise
    except OSError as error:
        raise InputError(f"{path.name} is not a readable HDF5 file: it is truncated or of another kind") from error
    try:
        return _hdf5_source(path.name, file, key)
    except hdf5.UntrustedError as error:
        raise InputError(f"{path.name} is not read: {error}") from None
    except (OSError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{path.name} is damaged: it starts like an HDF5 file but cannot be read on") from error


def _hdf5_source(name: str, file: h5py.File, key: str | None) -> Source:
    found: list[str] = []
    file.visititems(lambda place, item: found.append(place) if isinstance(item, h5py.Dataset) else None)  # no links
    datasets: dict[str, h5py.Dataset] = {place: file[place] for place in found}
    if key is None and SAMPLES in datasets and "schema" in file.attrs:
        return _samples(name, file, datasets[SAMPLES])
    if key is not None and key not in datasets and file.get(key, getlink=True) is not None:
        _checked(file, key)
    chosen = _chosen(name, key, {place: d.shape for place, d in datasets.items()}, list(datasets))
    images, label = _checked(file, chosen), labels_beside(chosen, datasets)
    labels = None if label is None else hdf5.values(_checked(file, label), hdf5.Room())
    return _array_source(name, images, labels, 0, label, chosen)


def _checked(file: h5py.File, key: str) -> h5py.Dataset:
    """Return a dataset by its path, no step of which is a link to elsewhere."""
    item = file
    for name in key.strip("/").split("/"):
        item = hdf5.member(item, name)
    return item


def _samples(name: str, file: h5py.File, samples: h5py.Dataset) -> Source:
    """Open samples of a model, which are not scaled; bonds are two channels, 0 where a bond would leave the lattice."""
    hdf5.check(samples)
    if not file.attrs.get("complete", False):
        raise InputError(f"{name} is not finished; go on with lattice-diffusion sample ... --resume")
    try:
        bonds = json.loads(str(hdf5.attribute(file, "parameters"))).get("model") == "domain-walls"
    except ValueError as error:
        raise InputError(f"{name} does not say of which model its samples are; it is damaged") from error
    if samples.ndim - bonds > 3:
        raise InputError(f"{name} holds samples of shape {samples.shape[1:]}, images have at most two axes")
    options: dict[str, Any] = {"as_stored": True, "channel_first": bonds, "unused": 0 if bonds else None}
    if "symbols" in samples.attrs:
        options["tokens"] = int(hdf5.attribute(samples, "symbols"))
    return Source(name, samples.shape, samples.dtype, lambda index: samples[_span(index)], **options)


# -- folders ------------------------------------------------------------------------------------------------

MODES = {"1": "L", "L": "L", "I;16": "I;16", "RGB": "RGB", "P": "RGB", "RGBA": "RGB", "LA": "L", "PA": "RGB"}


def _open_folder(folder: Path) -> Source:
    """Open the pictures of a folder, sorted by name, of one size, grey or colour; subfolders are labels.

    Pictures are turned upright as EXIF says. What is hidden, such as .ipynb_checkpoints, is left out.

    Raises InputError for an empty folder, mixed sizes, subfolders that are splits, a file that is no picture, or one
    with transparent pixels.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError("a folder of images needs Pillow; pip install 'lattice-diffusion[images]'") from error
    endings = Image.registered_extensions()
    paths = sorted(path for path in _files(folder) if path.suffix.lower() in endings)
    names = [str(path.relative_to(folder)) for path in paths]
    if not paths:
        raise InputError(f"the folder {folder} has no images (.png, .jpg, ...); give another folder")
    parts = [path.relative_to(folder).parts for path in paths]
    classes = {part[0] for part in parts if len(part) > 1}
    if classes and {name.lower() for name in classes} <= SPLITS:
        raise InputError(f"the folder {folder} has no classes but {', '.join(sorted(classes))}; give one of these")
    headers = []
    for path, name in zip(paths, names, strict=True):
        with _picture(path, name) as image:
            headers.append((image.size[::-1], image.mode))
    for name, (shape, _) in zip(names, headers, strict=True):
        if shape != headers[0][0]:
            (a, b), (c, d) = headers[0][0], shape
            sizes = f"{names[0]} has {a}x{b} and {name} {c}x{d}"
            raise InputError(f"images must have one size, {sizes}; scale or crop them first")
    modes = {mode for _, mode in headers}
    if "I;16" in modes and len(modes) > 1:
        raise InputError(f"images must have one depth, {folder} has 8 and 16 bit; convert them to grey (L) or RGB")
    common = "RGB" if "RGB" in modes else modes.pop()

    def read(index: int) -> NDArray:
        with _picture(paths[index], names[index]) as image:
            return np.asarray(image if image.mode == common else image.convert(common))

    shape = (len(paths), *headers[0][0], *((3,) if common == "RGB" else ()))
    dtype = np.dtype(np.uint16 if common == "I;16" else np.uint8)
    labels = np.array([part[0] for part in parts]) if len(classes) > 1 and min(map(len, parts)) > 1 else None
    rest = labels, 0, "subfolders"
    return Source(folder.name, shape, dtype, lambda index: np.stack([read(int(i)) for i in index]), *rest)


def _files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files below a folder, behind links, too, but none that is hidden."""
    here = folder.resolve()
    for path in folder.iterdir() if here not in above else ():
        if path.name.startswith(".") or path.name == "__MACOSX":
            continue
        if path.is_dir():
            yield from _files(path, (*above, here))
        elif path.is_file():
            yield path


def _upright(image: Any, name: str) -> Any:
    """Return a picture turned as EXIF says, grey, of 16 bits or coloured.

    Raises InputError for other modes, for transparent pixels and for several frames.
    """
    from PIL import ImageOps

    if image.mode not in MODES:
        raise InputError(f"{name} has mode {image.mode}, not {', '.join(MODES)}; convert it to grey (L) or RGB")
    if (frames := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":  # of a camera, with its previews
        raise InputError(f"{name} has {frames} frames, not one; save each as a picture, or all as one .npy")
    upright, mode = ImageOps.exif_transpose(image), MODES[image.mode]
    if upright.has_transparency_data and np.asarray(upright.convert("RGBA"))[..., 3].min() < 255:
        raise InputError(f"{name} has transparent pixels; paste it on a background and save it as grey (L) or RGB")
    return upright if upright.mode == mode else upright.convert(mode)


@contextlib.contextmanager
def _picture(path: Path, name: str) -> Iterator[Any]:
    """Yield an upright picture; raise InputError, with its name, for all that Pillow's many decoders raise."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Not by its name: Pillow would map a turned TIFF that is not compressed with rows and columns exchanged.
            with open(path, "rb") as file, Image.open(file) as image:
                yield _upright(image, name)
    except (InputError, PermissionError, FileNotFoundError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = Image.MAX_IMAGE_PIXELS
        raise InputError(f"{name} has more than {limit} pixels; cut it into smaller images") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not a readable image; repair or remove it") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name} is damaged, or Pillow cannot read it ({reason}); repair or remove it") from error
