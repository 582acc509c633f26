"""A probe of images: a user's images as the amortised estimator reads them."""

import numpy as np
from numpy.typing import NDArray

from ..estimators.amortised import ProbePlan, reach
from ..estimators.amortised_data import LEVEL_SAMPLE, MAX_LEVELS, Field, Pixel, field_of_array, pixels_of
from ..estimators.amortised_estimates import measure, pilot
from .images import Images

HELD_BYTES = 2**30  # images up to this size are read once and kept
__all__ = ["Field", "ProbePlan", "field_of_array", "field_of_images", "measure", "pilot", "reach"]


def field_of_images(images: Images, pixel: Pixel | None = None) -> Field:
    """Images, held in memory where they are small, read by slices otherwise; levels are those of `pixel`."""
    n, _, rows, columns = images.shape
    levels = images.levels if images.levels is not None and len(images.levels) <= MAX_LEVELS else None
    first = images.read(np.arange(0, n, max(1, n // LEVEL_SAMPLE)))
    grey = levels if images.shape[1] == 1 else None
    pixels = pixels_of(first, pixel, images.mean, images.variance, grey)
    labels = images.labels if len(images.classes) > 1 else None
    read = images.read
    if 4 * n * images.mean.size <= HELD_BYTES:
        held: NDArray[np.float32] = np.concatenate(list(images.batches(4096)))
        read = held.__getitem__  # type: ignore[assignment]
    return Field(read, n, (rows, columns), pixels, labels)
