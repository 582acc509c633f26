"""A probe of images: a user's images as the amortised estimator reads them."""

import numpy as np
from numpy.typing import NDArray

from ..estimators.amortised_folds import (
    LEVEL_SAMPLE,
    MAX_LEVELS,
    Field,
    ProbePlan,
    field_of_array,
    measure,
    pilot,
    reach,
)
from ..images import ImageError, Images

HELD_BYTES = 2**30  # images up to this size are read once and kept
__all__ = ["Field", "ProbePlan", "field_of_array", "field_of_images", "measure", "pilot", "reach"]


def field_of_images(images: Images) -> Field:
    """Images, held in memory where they are small. Raises ImageError for colour."""
    from ..estimators.image_likelihood import Pixels

    n, channels, rows, columns = images.shape
    if channels != 1:
        raise ImageError(
            f"a probe takes grey images or spins, {images.source.name} has {channels} channels; average them"
        )
    first = images.read(np.arange(0, n, max(1, n // LEVEL_SAMPLE)))
    levels = np.array([first.min(), first.max()]) if images.levels is None else np.asarray(images.levels, float)
    if images.levels is None or len(levels) > MAX_LEVELS:
        levels = np.linspace(levels[0], levels[-1], MAX_LEVELS)
    labels = images.labels if len(images.classes) > 1 else None
    if n * rows * columns * 4 <= HELD_BYTES:
        held = np.concatenate(list(images.batches(4096)))[:, 0]
        return Field(held.__getitem__, n, (rows, columns), Pixels(levels, images.mean[0], images.variance[0]), labels)

    def read(indices: NDArray[np.int64]) -> NDArray:
        return images.read(indices)[:, 0]

    return Field(read, n, (rows, columns), Pixels(levels, images.mean[0], images.variance[0]), labels)
