"""Images as the networks see them: grey, of a few levels; some to train on, some to compare with, some to stand in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .images import Images

ROLES = ("split", "training", "measuring", "classifier")
LEAST = 400  # for 40 images on either side of a comparison
HELD_OUT = 0.2
MOST_HELD_OUT = 4000


def seed_of(seed: int, role: str) -> np.random.SeedSequence:
    """Random numbers of one of ROLES, independent of those of the others."""
    return np.random.SeedSequence(seed).spawn(len(ROLES))[ROLES.index(role)]


@dataclass(frozen=True)
class Split:
    """Images (n, 1, row, column) whose values are `levels`, in three parts that share no image.

    Attributes:
        train: for networks and classifier; reference: what generated images are compared with; real: as many real
            ones, which give the value that cannot be told from zero.
        labels: codes of the three parts, or None; classes: their names.
    """

    levels: NDArray[np.float64]
    train: NDArray[np.float64]
    reference: NDArray[np.float64]
    real: NDArray[np.float64]
    labels: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None
    classes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(row, column)."""
        return self.train.shape[2:]

    @property
    def prior(self) -> NDArray[np.float64]:
        """Frequencies of the levels at every pixel of the training images, one added to each count, (level, ...)."""
        counts = np.stack([(self.train[:, 0] == level).sum(axis=0) for level in self.levels])
        return (counts + 1.0) / (len(self.train) + len(self.levels))


def split(images: Images, n_levels: int, shrink: int, rng: np.random.Generator) -> Split:
    """Grey images or spins, averaged over blocks of `shrink` x `shrink`, rounded to `n_levels` unless they have fewer.

    A fifth is held out, one half of it for each comparison.

    Raises:
        InputError: colour, too few images, blocks larger than half an image.
        ValueError: fewer than two levels.
    """
    n, channels, rows, columns = images.shape
    if channels != 1:
        raise InputError(f"a hybrid takes grey images or spins, {images.source.name} has {channels} channels")
    if n < LEAST:
        raise InputError(f"a hybrid needs at least {LEAST} images, and better 5,000, got {n}")
    if shrink < 1 or min(rows, columns) // shrink < 4:
        raise InputError(f"shrink must leave images of at least 4x4, got {shrink} for {rows}x{columns}")
    if n_levels < 2:
        raise InputError(f"levels must be >= 2, got {n_levels}")
    x = np.concatenate([_shrunk(batch, shrink) for batch in images.batches(4096)])
    levels = np.unique(x[:4096]) if images.levels is None or shrink > 1 else np.asarray(images.levels, float)
    if len(levels) > n_levels:
        levels = np.linspace(levels[0], levels[-1], n_levels)
    levels = np.round(levels, 6)
    x = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, x)]
    order = rng.permutation(n)
    held = min(MOST_HELD_OUT, int(HELD_OUT * n)) // 2
    rows_of = order[2 * held :], order[:held], order[held : 2 * held]
    train, reference, real = (x[part] for part in rows_of)
    codes = None
    if images.labels is not None and len(images.classes) > 1:
        codes = images.labels[rows_of[0]], images.labels[rows_of[1]], images.labels[rows_of[2]]
    return Split(levels, train, reference, real, codes, images.classes)


def _shrunk(batch: NDArray, shrink: int) -> NDArray[np.float64]:
    n, channels, rows, columns = batch.shape
    kept = batch[:, :, : rows - rows % shrink, : columns - columns % shrink].astype(float)
    blocks = kept.reshape(n, channels, rows // shrink, shrink, columns // shrink, shrink)
    return np.asarray(blocks.mean(axis=(3, 5)))
