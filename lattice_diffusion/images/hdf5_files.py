"""Images in HDF5, read by slices: any file of arrays, and the samples that `lattice-diffusion sample` draws."""

import json
from pathlib import Path

import h5py

from .. import hdf5
from .numpy_files import LABEL_KEYS, choose_key
from .source import ImageError, Source, span

SAMPLES = "samples/samples"


def open_hdf5(path: Path, key: str | None) -> Source:
    """The dataset `key`, "images", or the only one of three or four axes; labels beside it."""
    try:
        file = h5py.File(path, "r")
    except PermissionError:
        raise
    except OSError as error:
        raise ImageError(f"{path.name} is not a readable HDF5 file: it is truncated or of another kind") from error
    try:
        return _source(path, file, key)
    except hdf5.UntrustedError as error:
        raise ImageError(f"{path.name} is not read: {error}") from None
    except (OSError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise ImageError(f"{path.name} is damaged: it starts like an HDF5 file but cannot be read on") from error


def _source(path: Path, file: h5py.File, key: str | None) -> Source:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)  # no links
    datasets: dict[str, h5py.Dataset] = {name: file[name] for name in found}
    if key is None and SAMPLES in datasets and "schema" in file.attrs:
        return _samples(path, file, datasets[SAMPLES])
    if key is not None and key not in datasets and file.get(key, getlink=True) is not None:
        _checked(file, key)
    chosen = choose_key(path.name, key, {name: d.shape for name, d in datasets.items()}, list(datasets))
    images, folder = _checked(file, chosen), chosen.rpartition("/")[0]
    if images.dtype.kind not in "buif":
        raise ImageError(f"{path.name}[{chosen}] holds text or objects; give a dataset of numbers as key")
    beside = [f"{folder}/{name}".lstrip("/") for name in LABEL_KEYS]
    label = next((name for name in beside if name in datasets and name != chosen), None)
    labels = None if label is None else hdf5.values(_checked(file, label), hdf5.Room())
    return Source(path.name, images.shape, images.dtype, lambda index: images[span(index)], labels)


def _checked(file: h5py.File, key: str) -> h5py.Dataset:
    """A dataset by its path, no step of which is a link to elsewhere."""
    item = file
    for name in key.strip("/").split("/"):
        item = hdf5.member(item, name)
    return item


def _samples(path: Path, file: h5py.File, samples: h5py.Dataset) -> Source:
    """Samples of a model: values as they are; bonds are two channels, with 0 where a bond would leave the lattice."""
    hdf5.check(samples)
    if not file.attrs.get("complete", False):
        raise ImageError(f"{path.name} is not finished; go on with lattice-diffusion sample ... --resume")
    try:
        bonds = json.loads(str(hdf5.attribute(file, "parameters"))).get("model") == "domain-walls"
    except ValueError as error:
        raise ImageError(f"{path.name} does not say of which model its samples are; it is damaged") from error
    if samples.ndim - bonds != 3:
        raise ImageError(f"{path.name} holds samples of shape {samples.shape[1:]}, images have two axes")
    return Source(
        path.name,
        samples.shape,
        samples.dtype,
        lambda index: samples[span(index)],
        as_stored=True,
        channel_first=bonds,
        unused=0 if bonds else None,
    )
