"""Windows of time in which denoising is nonlocal, or in which a label is being decided."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check_finite
from ..estimate import Estimate


@dataclass(frozen=True)
class Window:
    """From `start` to `stop`, times in [0, 1]; None for an end that the times measured do not bracket."""

    start: Estimate | None
    stop: Estimate | None

    @property
    def width(self) -> Estimate | None:
        if self.start is None or self.stop is None:
            return None
        stderr = float(np.hypot(self.start.stderr, self.stop.stderr))
        return Estimate(self.stop.value - self.start.value, stderr, 0, "difference of window ends")


def nonlocality_window(
    times: ArrayLike, cmi: ArrayLike, tolerance: float, stderr: ArrayLike | None = None
) -> Window | None:
    """From inf to sup of {t : I_t(A;C|B) > tolerance}, or None where the set is empty.

    Between the times measured log I is interpolated linearly, or I where it has fallen into its error; errors of the
    ends propagate `stderr`.

    Args:
        times, cmi, stderr: (n,); tolerance: in nats.
    """
    t, values, sigma = _checked(times, cmi, tolerance, stderr)
    above = np.flatnonzero(values > tolerance)
    if not above.size:
        return None
    return Window(
        _crossing(t, values, sigma, tolerance, above[0], -1), _crossing(t, values, sigma, tolerance, above[-1], 1)
    )


def speciation_window(
    times: ArrayLike,
    label_ab_clean: float,
    label_b: ArrayLike,
    label_abc: ArrayLike,
    tolerance: float,
    *,
    lost_stderr: ArrayLike | None = None,
    label_abc_stderr: ArrayLike | None = None,
) -> Window | None:
    """Window in which the label S is decided: from inf {t : I_0(S;AB) - I_t(S;B) >= d} to sup {t : I_t(S;ABC) >= d}.

    Args:
        times: (n,); label_ab_clean: I_0(S;AB); label_b, label_abc: I_t(S;B), I_t(S;ABC), (n,), in nats.
        tolerance: d in nats; lost_stderr: of I_0(S;AB) - I_t(S;B), (n,), and label_abc_stderr, for errors of the ends.
    """
    t, lost, lost_sigma = _checked(times, label_ab_clean - np.asarray(label_b, float), tolerance, lost_stderr)
    _, known, known_sigma = _checked(times, label_abc, tolerance, label_abc_stderr)
    starts, stops = np.flatnonzero(lost >= tolerance), np.flatnonzero(known >= tolerance)
    if not starts.size or not stops.size or stops[-1] < starts[0]:
        return None
    return Window(
        _crossing(t, lost, lost_sigma, tolerance, starts[0], -1),
        _crossing(t, known, known_sigma, tolerance, stops[-1], 1),
    )


def _checked(
    times: ArrayLike, values: ArrayLike, tolerance: float, stderr: ArrayLike | None
) -> tuple[NDArray, NDArray, NDArray]:
    t, y = np.asarray(times, float), np.asarray(values, float)
    sigma = np.zeros_like(y) if stderr is None else np.asarray(stderr, float)
    if not t.shape == y.shape == sigma.shape or t.ndim != 1:
        raise InputError(f"times, values, stderr must be (n,) each, got {t.shape}, {y.shape}, {sigma.shape}")
    if not 0 < tolerance < np.inf:
        raise InputError(f"tolerance must be > 0 nats and finite, got {tolerance}")
    check_finite(times=t, values=y, stderr=sigma)
    if np.any(np.diff(t) <= 0) or sigma.min() < 0:
        raise InputError("times must increase and stderr be >= 0")
    return t, y, sigma


def _crossing(t: NDArray, y: NDArray, sigma: NDArray, level: float, inside: int, step: int) -> Estimate | None:
    """Where y passes `level` between the point `inside` the window and its neighbour in direction `step`."""
    outside = inside + step
    if not 0 <= outside < len(t):
        return None
    if y[outside] <= sigma[outside] and sigma[outside] > 0:  # noise around zero has no logarithm worth following
        fall = y[inside] - y[outside]
        fraction = (y[inside] - level) / fall
        spread = np.hypot((1 - fraction) * sigma[inside], fraction * sigma[outside]) / fall
        gap = t[outside] - t[inside]
        return Estimate(float(t[inside] + fraction * gap), float(spread * abs(gap)), 0, "linear crossing")
    floor = 1e-300
    log_in, log_out = np.log(max(y[inside], floor)), np.log(max(y[outside], floor))
    fraction = (log_in - np.log(level)) / max(log_in - log_out, 1e-12)
    slope = (log_out - log_in) / (t[outside] - t[inside])
    spread = np.hypot(
        (1 - fraction) * sigma[inside] / max(y[inside], floor), fraction * sigma[outside] / max(y[outside], floor)
    )
    time = t[inside] + fraction * (t[outside] - t[inside])
    return Estimate(float(time), float(spread / abs(slope)) if slope else 0.0, 0, "log-linear crossing")
