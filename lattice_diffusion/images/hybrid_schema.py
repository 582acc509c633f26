"""What a hybrid of images writes: quality against cost of every schedule, recovery over (T_f, r), errors over time.

Groups, with NAME_stderr beside every estimate; `radius` counts -1 for the global network:

    denoising    mse, excess_mse (t, radius)      E|x_0 - E[x_0|x_t]|^2 a pixel, and how far above the global network's
    recovery     mse, excess_mse, patch_divergence, agreement (start, radius)      of images noised to T_f and returned
    generation   patch_divergence, frechet_distance, class_entropy, kl, cost, seconds (schedule); real_NAME of real
                 images in their place; window_start, window_stop, local_radius
    images       pixels (source, example, row, column), real ones first

Distances are to the reference images, which nothing was trained on. Without labels there is no classifier, so no
frechet_distance, class_entropy and agreement.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..results import Row, provenance, tree, variable
from .hybrid_data import Split
from .hybrid_distances import Distance, frechet_distance, patch_divergence
from .hybrid_generation import Radii, area
from .hybrid_measurements import ERROR_TIMES, Measured
from .hybrid_training import GLOBAL

if TYPE_CHECKING:
    from .hybrid_classifier import Classifier

NAME = "image-hybrid"
PATCH = 3
EXAMPLES = 12
Variables = dict[str, xr.Variable]
LONG_NAMES = {
    "patch_divergence": f"Jensen-Shannon divergence of {PATCH}x{PATCH} patches from real ones",
    "frechet_distance": "Frechet distance of classifier features to those of real images",
    "class_entropy": "entropy of the class that a classifier sees in an image",
    "kl": "KL per image beyond the global network's, by the area law",
    "mse": "mean squared error of a pixel",
    "excess_mse": "mean squared error of a pixel beyond the global network's",
    "agreement": "share of images whose class is the same before and after",
}
UNITS = {"patch_divergence": "nat", "class_entropy": "nat", "kl": "nat"}


@dataclass(frozen=True)
class Judge:
    """Real images to compare with, and a classifier that has seen neither them nor what it judges."""

    data: Split
    classifier: "Classifier | None"

    def distances(self, images: NDArray) -> dict[str, Distance]:
        """All that is known of a set of images, by name; the class entropy as one block per image."""
        middle = float(self.data.levels[[0, -1]].mean())
        found = {"patch_divergence": patch_divergence(images, self.data.reference, middle, PATCH)}
        if self.classifier is not None:
            features, logs = self.classifier.see(images)
            found["frechet_distance"] = frechet_distance(features, self.classifier.see(self.data.reference)[0])
            found["class_entropy"] = Distance(-(np.exp(logs) * logs).sum(axis=1))
        return found

    def classes(self, images: NDArray) -> NDArray[np.int64] | None:
        return None if self.classifier is None else self.classifier.see(images)[1].argmax(axis=1)


def hybrid_groups(
    data: Split,
    kinds: tuple[int, ...],
    judge: Judge,
    schedules: Mapping[str, Radii],
    starts: tuple[float, ...],
    radius: int,
    window: tuple[float, float],
    measured: Measured,
) -> tuple[dict[str, Variables], list[Row]]:
    """All groups of the file, and the table."""
    generation, rows = _generation(data, kinds, judge, schedules, measured)
    ends = {"window_start": window[0], "window_stop": window[1]}
    for name, value in ends.items():
        generation[name] = variable((), np.array(value), "1", f"{name.removeprefix('window_')} of the window")
    generation["local_radius"] = variable((), np.array(radius), "sites", "radius of the local network of schedules")
    groups = {
        "denoising": _denoising(kinds, measured.errors),
        "recovery": _recovery(data, kinds, judge, starts, measured.back),
        "generation": generation,
        "images": _images(data, measured),
    }
    return groups, rows


def hybrid_result(
    parameters: Mapping[str, Any], seed: int, groups: dict[str, Variables], rows: list[Row]
) -> xr.DataTree:
    return tree(provenance(NAME, json.dumps(parameters), seed, complete=True), groups, rows)


def _denoising(kinds: tuple[int, ...], errors: NDArray) -> Variables:
    dims = ("t", "radius")
    return {
        "t": variable(("t",), ERROR_TIMES, "1", "diffusion time t"),
        "radius": _radius(kinds),
        **_average("mse", dims, errors),
        **_average("excess_mse", dims, errors - errors[:, :, -1:]),
    }


def _recovery(data: Split, kinds: tuple[int, ...], judge: Judge, starts: tuple[float, ...], back: NDArray) -> Variables:
    dims = ("start", "radius")
    clean = data.real[: back.shape[2]]
    errors = np.moveaxis(((back - clean) ** 2).mean(axis=(3, 4, 5)), 2, 0)
    found = {
        "start": variable(("start",), np.array(starts), "1", "time T_f up to which noise is added"),
        "radius": _radius(kinds),
        **_average("mse", dims, errors),
        **_average("excess_mse", dims, errors - errors[:, :, -1:]),
    }
    before = judge.classes(clean)
    apart = np.empty((2, len(starts), len(kinds)))
    same = np.empty((len(clean), len(starts), len(kinds)))
    for k in np.ndindex(len(starts), len(kinds)):
        distance = judge.distances(back[k])["patch_divergence"]
        apart[(slice(None), *k)] = distance.value, distance.stderr
        if before is not None:
            same[(slice(None), *k)] = judge.classes(back[k]) == before
    found |= _with_error("patch_divergence", dims, apart)
    return found | (_average("agreement", dims, same) if before is not None else {})


def _generation(
    data: Split, kinds: tuple[int, ...], judge: Judge, schedules: Mapping[str, Radii], measured: Measured
) -> tuple[Variables, list[Row]]:
    dims, names = ("schedule",), list(schedules)
    real = judge.distances(data.real)
    judged = {name: judge.distances(one.images) for name, one in measured.generated.items()}
    found = {"schedule": variable(dims, np.array(names, object), "1", "before, inside and after the window")}
    for quantity, value in real.items():
        numbers = np.array([(judged[name][quantity].value, judged[name][quantity].stderr) for name in names]).T
        found |= _with_error(quantity, dims, numbers)
        found |= {
            f"real_{key}": variable((), v.values, v.attrs["units"], f"{v.attrs['long_name']}, of real images")
            for key, v in _with_error(quantity, (), np.array([value.value, value.stderr])).items()
        }
    n_pixels = data.shape[0] * data.shape[1]
    areas = [area(measured.errors, kinds, ERROR_TIMES, schedules[name], n_pixels) for name in names]
    found |= _average("kl", dims, np.stack(areas, axis=1))
    made = [measured.generated[name] for name in names]
    cost, seconds = (np.array([getattr(one, key) for one in made]) for key in ("multiply_adds", "seconds"))
    found["cost"] = variable(dims, cost, "1", "multiply-adds for one image")
    found["seconds"] = variable(dims, seconds, "s", "seconds for all images")
    return found, _rows(names, real, judged, found)


def _rows(
    names: list[str], real: dict[str, Distance], judged: dict[str, dict[str, Distance]], found: Variables
) -> list[Row]:
    rows = []
    for quantity, value in real.items():
        zero = None if quantity == "class_entropy" else 0.0
        rows.append(Row(NAME, f"{quantity}, real images", zero, value.value, value.stderr, "two real sets"))
        for name in names:
            rows.append(_row(f"{quantity}, {name}", judged[name][quantity]))
        rows.append(_row(f"{quantity}, LGL - GGG", judged["LGL"][quantity] - judged["GGG"][quantity]))
        rows.append(_row(f"{quantity}, GLG - LGL", judged["GLG"][quantity] - judged["LGL"][quantity]))
    for k, name in enumerate(names):
        value, error = found["kl"].values[k], found["kl_stderr"].values[k]
        rows.append(Row(NAME, f"KL beyond GGG, {name}", None, float(value), float(error), "area law"))
    whole = found["cost"].values[names.index("GGG")]
    for k, name in enumerate(names):
        rows.append(
            Row(NAME, f"cost, {name} / GGG", None, float(found["cost"].values[k] / whole), 0.0, "multiply-adds")
        )
    return rows


def _row(quantity: str, distance: Distance) -> Row:
    return Row(NAME, quantity, None, distance.value, distance.stderr, "")


def _images(data: Split, measured: Measured) -> Variables:
    sets = {"real": data.real, **{name: one.images for name, one in measured.generated.items()}}
    pixels = np.stack([images[:EXAMPLES, 0] for images in sets.values()]).astype(np.float32)
    return {
        "source": variable(("source",), np.array(list(sets), object), "1", "real, or the schedule"),
        "pixels": variable(("source", "example", "row", "column"), pixels, "1", "values of pixels"),
    }


def _radius(kinds: tuple[int, ...]) -> xr.Variable:
    return variable(("radius",), np.array(kinds), "sites", f"radius of the network; {GLOBAL} is the global one")


def _average(name: str, dims: tuple[str, ...], samples: NDArray) -> Variables:
    """Mean over axis 0 and its error."""
    return _with_error(name, dims, np.stack([samples.mean(axis=0), samples.std(axis=0, ddof=1) / len(samples) ** 0.5]))


def _with_error(name: str, dims: tuple[str, ...], numbers: NDArray) -> Variables:
    units = UNITS.get(name, "1")
    return {
        name: variable(dims, numbers[0], units, LONG_NAMES[name]),
        f"{name}_stderr": variable(dims, numbers[1], units, f"standard error of {name}"),
    }
