"""The quality of generated images: distances from real ones with errors, and the groups of a result of `hybrid`.

Groups, with NAME_stderr beside every estimate; `radius` is -1 for the global network:

    denoising    mse, excess_mse (t, radius)      E|x_0 - E[x_0|x_t]|^2 a pixel, and how far above the global network's
    recovery     mse, excess_mse, patch_divergence, agreement (start, radius)      of images noised to T_f and returned
    generation   patch_divergence, frechet_distance, class_entropy, bits, cost, seconds (schedule); real_NAME of real
                 images in their place; window_start, window_stop, local_radius
    images       pixels (source, example, row, column), real ones first; of colours also (.., channel)

Distances are to the reference images, which nothing was trained on: by the features of a classifier, and by the law of
small patches. Both sets are cut into blocks, and a distance is measured again without the k-th block of either
(jackknife): its mean pseudo-value is free of the bias that finite sets bring, so that two sets of one law are at 0
within errors. Without labels there is no classifier, so no frechet_distance, class_entropy and agreement.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from ..denoisers.paired_errors import mean_and_error
from ..errors import InputError
from ..exact.magnetisation import patch_counts
from ..results import Row, variable, with_stderr
from .conclusions import HYBRID
from .decisions import GLOBAL, Variables
from .hybrid_measurements import ERROR_TIMES, Measured, Radii, bits_lost
from .hybrid_networks import CHANNEL, Classifier, Split

BLOCKS = 20
PATCH = 3
EXAMPLES = 12
DESCRIBED = {  # units and long name
    "patch_divergence": ("nat", f"Jensen-Shannon divergence of {PATCH}x{PATCH} patches from real ones"),
    "frechet_distance": ("1", "Frechet distance of classifier features to those of real images"),
    "class_entropy": ("nat", "entropy of the class that a classifier sees in an image"),
    "bits": ("bit", "bits per dimension lost against the global network, by the area law"),
    "mse": ("1", "mean squared error of a pixel"),
    "excess_mse": ("1", "mean squared error of a pixel beyond the global network's"),
    "agreement": ("1", "share of images whose class is the same before and after"),
}


@dataclass(frozen=True)
class Distance:
    """Pseudo-values (block,), whose mean is the distance; those of two distances to one reference may be subtracted."""

    pseudo_values: NDArray[np.float64]

    @property
    def value(self) -> float:
        """The distance."""
        return float(self.pseudo_values.mean())

    @property
    def stderr(self) -> float:
        """Its standard error."""
        return float(self.pseudo_values.std(ddof=1) / np.sqrt(self.pseudo_values.size))

    def __sub__(self, other: "Distance") -> "Distance":
        return Distance(self.pseudo_values - other.pseudo_values)


def frechet_distance(features: NDArray, reference: NDArray) -> Distance:
    """Return |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of features, (n, feature) each (Heusel et al. 2017)."""
    m, n = len(features), len(reference)
    if min(m, n) < 2 * BLOCKS:
        raise InputError(f"a distance needs at least {2 * BLOCKS} images on either side, got {m} and {n}")
    blocks = zip(_blocks(m), _blocks(n), strict=True)
    without = [_frechet(np.delete(features, a, axis=0), np.delete(reference, b, axis=0)) for a, b in blocks]
    return _jackknife(_frechet(features, reference), without)


def _frechet(x: NDArray, y: NDArray) -> float:
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0.0))) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0.0)).sum()
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(first) + np.trace(second) - 2 * overlap)


def patch_divergence(images: NDArray, reference: NDArray, threshold: float, side: int = PATCH) -> Distance:
    """Return the Jensen-Shannon divergence of the laws of `side` x `side` patches cut to two values at `threshold`.

    It is in nats, over patches at all places of the images (n, channel, row, column), whose colours are averaged: 0 for
    equal laws only, log 2 for laws that share no patch.
    """
    if side > min(images.shape[2:]) or side > 4:
        raise InputError(f"side must be at most 4 and fit into the images, got {side} for {images.shape[2:]}")
    x, y = (patch_counts(set_.mean(axis=1) > threshold, side) for set_ in (images, reference))
    blocks = [np.stack([counts[block].sum(axis=0) for block in _blocks(len(counts))]) for counts in (x, y)]

    def divergence(kept: NDArray[np.bool_]) -> float:
        p, q = (counts[kept].sum(axis=0) / counts[kept].sum() for counts in blocks)
        return 0.5 * float(rel_entr(p, (p + q) / 2).sum() + rel_entr(q, (p + q) / 2).sum())

    everything = np.ones(BLOCKS, bool)
    return _jackknife(divergence(everything), [divergence(np.arange(BLOCKS) != k) for k in range(BLOCKS)])


def _blocks(n: int) -> list[NDArray[np.int64]]:
    return np.array_split(np.arange(n), BLOCKS)


def _jackknife(full: float, without: list[float]) -> Distance:
    return Distance(BLOCKS * full - (BLOCKS - 1) * np.array(without))


@dataclass(frozen=True)
class Judge:
    """Real images to compare with, and a classifier that has seen neither them nor what it judges."""

    data: Split
    classifier: Classifier | None

    def distances(self, images: NDArray) -> dict[str, Distance]:
        """Return all that is known of a set of images by name; the class entropy has one block per image."""
        middle = float(self.data.levels[[0, -1]].mean())
        found = {"patch_divergence": patch_divergence(images, self.data.reference, middle)}
        if self.classifier is not None:
            features, logs = self.classifier.see(images)
            found["frechet_distance"] = frechet_distance(features, self.classifier.see(self.data.reference)[0])
            found["class_entropy"] = Distance(-(np.exp(logs) * logs).sum(axis=1))
        return found


# -- groups ---------------------------------------------------------------------------------------------------


def hybrid_groups(
    judge: Judge, kinds: tuple[int, ...], schedules: Mapping[str, Radii], starts: tuple[float, ...], measured: Measured
) -> tuple[dict[str, Variables], list[Row]]:
    """Return all groups of the result and its table; `kinds` are the radii of the networks, the global one last."""
    radius = {
        "radius": variable("radius", np.array(kinds), "sites", f"radius of the network; {GLOBAL} is the global one")
    }
    generation, rows = _generation(judge, kinds, schedules, measured)
    denoising = {
        "t": variable("t", ERROR_TIMES, "1", "diffusion time t"),
        "log_snr": _log_snr("t", ERROR_TIMES),
        **radius,
        **_errors(("t", "radius"), measured.errors),
    }
    start = {"start": variable("start", np.array(starts), "1", "time T_f up to which noise is added")}
    start["log_snr"] = _log_snr("start", np.array(starts))
    recovery = {**start, **radius, **_recovery(judge, measured.back)}
    images = _images(judge.data, measured)
    return {"denoising": denoising, "recovery": recovery, "generation": generation, "images": images}, rows


def _log_snr(dim: str, times: NDArray) -> Any:
    return variable(dim, np.log([CHANNEL.snr(t) for t in times]), "1", "logarithm of the signal-to-noise ratio")


def _recovery(judge: Judge, back: NDArray) -> Variables:
    """Return what is left of images that were noised and returned, (start, network, n, channel, row, column)."""
    dims, clean, shape = ("start", "radius"), judge.data.real[: back.shape[2]], back.shape[:2]
    found = _errors(dims, np.moveaxis(((back - clean) ** 2).mean(axis=(3, 4, 5)), 2, 0))
    apart = [judge.distances(images)["patch_divergence"] for images in back.reshape(-1, *clean.shape)]
    numbers = np.array([(distance.value, distance.stderr) for distance in apart])
    found |= _described("patch_divergence", dims, numbers.T.reshape(2, *shape))
    if judge.classifier is not None:
        classes = judge.classifier.see(back.reshape(-1, *clean.shape[1:]))[1].argmax(axis=1).reshape(back.shape[:3])
        same = classes == judge.classifier.see(clean)[1].argmax(axis=1)
        found |= _average("agreement", dims, np.ascontiguousarray(np.moveaxis(same, 2, 0), float))
    return found


def _generation(
    judge: Judge, kinds: tuple[int, ...], schedules: Mapping[str, Radii], measured: Measured
) -> tuple[Variables, list[Row]]:
    dims, names = ("schedule",), list(schedules)
    real = judge.distances(judge.data.real)
    judged = {name: judge.distances(one.samples) for name, one in measured.generated.items()}
    found = {"schedule": variable(dims, np.array(names, object), "1", "before, inside and after the window")}
    for quantity, value in real.items():
        numbers = np.array([(judged[name][quantity].value, judged[name][quantity].stderr) for name in names]).T
        found |= _described(quantity, dims, numbers)
        found |= {
            f"real_{key}": variable((), v.values, v.attrs["units"], f"{v.attrs['long_name']}, of real images")
            for key, v in _described(quantity, (), np.array([value.value, value.stderr])).items()
        }
    lost = [bits_lost(measured.errors, kinds, ERROR_TIMES, schedules[name]) for name in names]
    found |= _average("bits", dims, np.stack(lost, axis=1))
    made = [measured.generated[name] for name in names]
    cost, seconds = (np.array([getattr(one, key) for one in made]) for key in ("multiply_adds", "seconds"))
    found["seconds"] = variable(dims, seconds, "s", "seconds for all images")
    counted = cost.all()  # multiply-adds of a user's NumPy function are not known
    found["cost"] = variable(dims, cost, "1", "multiply-adds for one image") if counted else found["seconds"]
    return found, _rows(names, real, judged, found)


def _rows(
    names: list[str], real: dict[str, Distance], judged: dict[str, dict[str, Distance]], found: Variables
) -> list[Row]:
    rows = []
    for quantity, value in real.items():
        null: tuple[float | None, str] = (None, "none") if quantity == "class_entropy" else (0.0, "exact")
        numbers = null[0], value.value, value.stderr
        rows.append(Row(HYBRID, f"{quantity}, real images", *numbers, "two real sets", null[1]))
        distances = {name: judged[name][quantity] for name in names}
        distances |= {
            f"{a} - {b}": judged[a][quantity] - judged[b][quantity] for a, b in (("LGL", "GGG"), ("GLG", "LGL"))
        }
        rows += [Row(HYBRID, f"{quantity}, {name}", None, d.value, d.stderr, "") for name, d in distances.items()]
    for k, name in enumerate(names):
        bits, error = (float(found[key].values[k]) for key in ("bits", "bits_stderr"))
        rows.append(Row(HYBRID, f"bits per dimension lost, {name}", None, bits, error, "area law"))
    share = found["cost"].values / found["cost"].values[names.index("GGG")]
    for k, name in enumerate(names):
        rows.append(Row(HYBRID, f"cost, {name} / GGG", None, float(share[k]), 0.0, found["cost"].attrs["long_name"]))
    return rows


def _images(data: Split, measured: Measured) -> Variables:
    sets = {"real": data.real, **{name: one.samples for name, one in measured.generated.items()}}
    pixels = np.moveaxis(np.stack([images[:EXAMPLES] for images in sets.values()]).astype(np.float32), 2, -1)
    dims = ["source", "example", "row", "column", "channel"]
    if data.channels == 1:
        pixels, dims = pixels[..., 0], dims[:-1]
    return {
        "source": variable("source", np.array(list(sets), object), "1", "real, or the schedule"),
        "pixels": variable(dims, pixels, "1", "values of pixels"),
    }


def _errors(dims: tuple[str, ...], errors: NDArray) -> Variables:
    """Return mse and excess_mse of errors (n, .., network), the global network's last."""
    return {**_average("mse", dims, errors), **_average("excess_mse", dims, errors - errors[:, :, -1:])}


def _average(name: str, dims: tuple[str, ...], samples: NDArray) -> Variables:
    """Return the mean over axis 0 and its error."""
    return _described(name, dims, mean_and_error(samples))


def _described(name: str, dims: tuple[str, ...], numbers: NDArray | tuple[NDArray, NDArray]) -> Variables:
    """Return NAME and NAME_stderr from (2, ..)."""
    return with_stderr(name, dims, numbers[0], numbers[1], *DESCRIBED[name])
