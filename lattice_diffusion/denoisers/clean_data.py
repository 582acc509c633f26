"""Clean data sets that baselines are made from."""

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError


def check_clean(x_0: NDArray, least: int = 1) -> NDArray[np.float64]:
    """Data (n, channel, *lattice) as floats. Raises TypeError or ValueError where they are none."""
    x_0 = np.asarray(x_0)
    if x_0.dtype.kind not in "iuf":
        raise InputError(f"x_0 must hold real numbers, got dtype {x_0.dtype}")
    if x_0.ndim < 3 or 0 in x_0.shape:
        raise InputError(f"x_0 must have shape (n, channel, *lattice), got {x_0.shape}; add a channel by x_0[:, None]")
    if len(x_0) < least:
        raise InputError(f"x_0 must hold at least {least} samples, got {len(x_0)}")
    if not np.isfinite(x_0).all():
        raise InputError("x_0 must be finite, got NaN or infinity")
    return x_0.astype(float)
