"""Images in HDF5, read by slices: any file of arrays, and the samples that `lattice-diffusion sample` draws."""

import json
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

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
    datasets: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: datasets.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    if key is None and SAMPLES in datasets and "schema" in file.attrs:
        return _samples(path, file, datasets[SAMPLES])
    chosen = choose_key(path.name, key, {name: d.shape for name, d in datasets.items()}, list(datasets))
    images, folder = datasets[chosen], chosen.rpartition("/")[0]
    if images.dtype.hasobject:
        raise ImageError(f"{path.name}[{chosen}] holds text or objects; give a dataset of numbers as key")
    beside = [f"{folder}/{name}".lstrip("/") for name in LABEL_KEYS]
    label = next((name for name in beside if name in datasets and name != chosen), None)
    labels = None if label is None else _values(datasets[label])
    return Source(path.name, images.shape, images.dtype, lambda index: images[span(index)], labels)


def _values(dataset: h5py.Dataset) -> NDArray:
    return np.asarray(dataset.asstr()[...] if h5py.check_string_dtype(dataset.dtype) else dataset[...])


def _samples(path: Path, file: h5py.File, samples: h5py.Dataset) -> Source:
    """Samples of a model: values as they are; bonds are two channels, with 0 where a bond would leave the lattice."""
    if not file.attrs.get("complete", False):
        raise ImageError(f"{path.name} is not finished; go on with lattice-diffusion sample ... --resume")
    bonds = json.loads(file.attrs["parameters"]).get("model") == "domain-walls"
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
