"""Peaks and windows in time: where a quantity is largest, where denoising is nonlocal, where a label is decided."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check_finite
from ..estimate import Estimate
from ..noise_units import NoiseLevel

FRACTION = 0.7  # of the peak, above which values tell where it is
SURE = 2.0  # errors by which one point of a window must exceed the tolerance, where any does
DRAWS = 50  # of the noise, from which ends have their errors
Ends = tuple[Estimate | None, Estimate | None] | None


def peak_time(times: ArrayLike, values: ArrayLike, stderr: ArrayLike | None = None) -> Estimate | None:
    """Return the time at which `values` is largest, by a weighted polynomial through the points near the maximum.

    The points are those around the largest value above 0.7 of it (at least two on each side where there
    are any). The error adds the propagated `stderr` and the change when the polynomial's degree is lowered by
    one, in quadrature. None where the largest value is the first or the last one, so that no peak is bracketed.

    Args:
        times: increasing, (n,); values: (n,); stderr: (n,) or None for exact values.
    """
    t, y, sigma = _checked(times, values, stderr)
    top = int(np.argmax(y))
    if top in (0, len(t) - 1):
        return None
    low, high = max(top - 2, 0), min(top + 2, len(t) - 1)
    while low > 0 and y[low - 1] > FRACTION * y[top]:
        low -= 1
    while high < len(t) - 1 and y[high + 1] > FRACTION * y[top]:
        high += 1
    x, y, sigma = t[low : high + 1], y[low : high + 1], sigma[low : high + 1]
    degree = min(4, len(x) - 1)
    weight = 1.0 / np.maximum(sigma, 1e-3 * sigma.max()) if sigma.any() else np.ones_like(x)
    peak = _polynomial_peak(x, y, weight, degree)
    systematic = abs(peak - _polynomial_peak(x, y, weight, degree - 1)) if degree > 2 else 0.0
    shifts = []
    for k in np.flatnonzero(sigma):
        moved = y.copy()
        moved[k] += 0.1 * sigma[k]  # small, so that the response is linear
        shifts.append(10 * (_polynomial_peak(x, moved, weight, degree) - peak))
    return Estimate(peak, float(np.hypot(np.linalg.norm(shifts), systematic)), 0, "polynomial through the maximum")


def _polynomial_peak(x: NDArray, y: NDArray, weight: NDArray, degree: int) -> float:
    """Return where the least-squares polynomial is largest between the first and the last point."""
    fit = np.polynomial.Polynomial.fit(x, y, degree, w=weight)
    roots = fit.deriv().roots()
    inside = [float(z.real) for z in np.atleast_1d(roots) if abs(z.imag) < 1e-9 and x[0] <= z.real <= x[-1]]
    return max([*inside, float(x[0]), float(x[-1])], key=lambda z: float(fit(z)))


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

    def to(self, unit: Any, given: Any = "linear") -> "Window":
        """Return the window in another unit for noise levels (see `noise_units`), errors carried along.

        `given` is the unit that the ends are in, for instance the channel of the times.
        """

        def moved(end: Estimate | None) -> Estimate | None:
            if end is None:
                return None
            log_snr = np.asarray(NoiseLevel.of(end.value, given).log_snr)
            step = 1e-4  # of log snr; the slopes are smooth functions of it
            value, there = NoiseLevel(log_snr).to(unit), NoiseLevel(log_snr + step).to(unit)
            slope = (there - value) / (NoiseLevel(log_snr + step).to(given) - end.value)
            return replace(end, value=value, stderr=abs(slope) * end.stderr)

        return Window(moved(self.start), moved(self.stop))


def nonlocality_window(
    times: ArrayLike, cmi: ArrayLike, tolerance: float, stderr: ArrayLike | None = None
) -> Window | None:
    """Return the window from inf to sup of {t : I_t(A;C|B) > tolerance}, or None where it is empty.

    Times at which I exceeds the tolerance by chance do not count: of the runs of such times those are taken that hold
    one at which it does by 2 errors, or all where none does. Between the times measured a cubic goes through log I of
    the four nearest. The error of an end is its scatter where noise of `stderr` is added to `cmi` once more, and the
    change when one point fewer is used. Where I has fallen into its error, an end lies between a line through I and
    one through log I, and half their distance is in its error. Over synthetic curves (value - truth)/error has a
    standard deviation of 0.6 to 1.3; it is more where a steep end lies between two times, unresolved.

    Args:
        times, cmi, stderr: (n,); tolerance: in nats.
    """
    t, values, sigma = _checked(times, cmi, stderr, tolerance)

    def ends(cmi: NDArray) -> Ends:
        first, last = _ends(cmi > tolerance, cmi - SURE * sigma > tolerance)
        if first is None or last is None:
            return None
        return _crossing(t, cmi, sigma, tolerance, first, -1), _crossing(t, cmi, sigma, tolerance, last, 1)

    found = ends(values)
    if found is None:
        return None
    start, stop = zip(*[found, *(ends(values + noise) or (None, None) for noise in _noise(sigma))], strict=True)
    return Window(_scattered(start), _scattered(stop))


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
    """Return the window in which the label S is decided, or None where it is empty.

    It goes from inf {t : I_0(S;AB) - I_t(S;B) >= d} to sup {t : I_t(S;ABC) >= d}.

    Args:
        times: (n,); label_ab_clean: I_0(S;AB); label_b, label_abc: I_t(S;B), I_t(S;ABC), (n,), in nats.
        tolerance: d in nats; lost_stderr: of I_0(S;AB) - I_t(S;B), (n,), and label_abc_stderr, for errors of the ends.
    """
    t, lost, lost_sigma = _checked(times, label_ab_clean - np.asarray(label_b, float), lost_stderr, tolerance)
    _, known, known_sigma = _checked(times, label_abc, label_abc_stderr, tolerance)

    def ends(lost: NDArray, known: NDArray) -> Ends:
        start, _ = _ends(lost >= tolerance, lost - SURE * lost_sigma >= tolerance)
        _, stop = _ends(known >= tolerance, known - SURE * known_sigma >= tolerance)
        if start is None or stop is None or stop < start:
            return None
        first = _crossing(t, lost, lost_sigma, tolerance, start, -1)
        return first, _crossing(t, known, known_sigma, tolerance, stop, 1)

    found, moved = ends(lost, known), zip(_noise(lost_sigma), _noise(known_sigma, 1), strict=True)
    if found is None:
        return None
    start, stop = zip(*[found, *(ends(lost + x, known + y) or (None, None) for x, y in moved)], strict=True)
    return Window(_scattered(start), _scattered(stop))


def _noise(sigma: NDArray, seed: int = 0) -> NDArray:
    """Return (DRAWS, n), always the same noise of this size; none where there is none."""
    return sigma * np.random.default_rng(seed).standard_normal((DRAWS if sigma.any() else 0, len(sigma)))


def _scattered(ends: Sequence[Estimate | None]) -> Estimate | None:
    """Return the first end, with the scatter of the others about it in its error."""
    found, *others = ends
    if found is None or not (moved := [end.value - found.value for end in others if end is not None]):
        return found
    return replace(found, stderr=float(np.hypot(found.stderr, np.sqrt(np.mean(np.square(moved))))))


def _ends(above: NDArray, sure: NDArray) -> tuple[int, int] | tuple[None, None]:
    """Return the first and the last index of the runs of `above` that hold a `sure` one, or of all where none is."""
    starts = np.flatnonzero(np.diff(above, prepend=False) & above)
    stops = np.flatnonzero(np.diff(above, append=False) & above)
    if not starts.size:
        return None, None
    good = [k for k, (i, j) in enumerate(zip(starts, stops, strict=True)) if sure[i : j + 1].any()] or [0, -1]
    return int(starts[good[0]]), int(stops[good[-1]])


def _checked(
    times: ArrayLike, values: ArrayLike, stderr: ArrayLike | None, tolerance: float = 1.0
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
    """Return where y passes `level` between the point `inside` the window and its neighbour in direction `step`.

    The error is that of the interpolation alone.
    """
    outside = inside + step
    if not 0 <= outside < len(t):
        return None
    if y[outside] <= sigma[outside] and sigma[outside] > 0:  # noise around zero has no logarithm worth following
        line = (y[inside] - level) / (y[inside] - y[outside])
        decay = np.log(y[inside] / level) / np.log(y[inside] / min(sigma[outside], level))
        gap = t[outside] - t[inside]
        time, error = t[inside] + gap * (line + decay) / 2, abs(gap * (line - decay)) / 2
        return Estimate(float(time), float(error), 0, "between a linear and a log crossing")
    height = np.log(np.maximum(y, 1e-300) / level)
    around = [inside, outside]
    for k in (inside - step, outside + step):  # curvature, from neighbours that have a logarithm
        if 0 <= k < len(t) and y[k] > max(3 * sigma[k], 1e-300) and y[outside] > 3 * sigma[outside]:
            around.append(k)
    time = _root(t, height, around)
    error = abs(time - _root(t, height, around[:-1])) if len(around) > 2 else 0.0
    return Estimate(time, error, 0, f"crossing of log values, through {len(around)} points")


def _root(t: NDArray, height: NDArray, around: list[int]) -> float:
    """Return where the polynomial through the points `around` is zero between the first two, nearest to their chord."""
    start, gap = t[around[0]], t[around[1]] - t[around[0]]
    high, low = height[around[:2]]
    chord = high / max(high - low, 1e-12)
    if len(around) > 2:
        roots = np.roots(np.linalg.solve(np.vander((t[around] - start) / gap), height[around]))
        real = [float(z.real) for z in roots if abs(z.imag) < 1e-9 and 0 <= z.real <= 1]
        chord = min(real, key=lambda z: abs(z - chord), default=chord)
    return float(start + gap * chord)
