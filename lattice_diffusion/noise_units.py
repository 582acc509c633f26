"""Noise levels in the conventions of physicists and of diffusion libraries, converted both ways.

    level = NoiseLevel.of(520, "ddpm")        # step 520 of DDPM's table of 1,000
    level.to("sigma")                         # 3.85, the sigma of EDM
    level.to("linear")                        # 0.794, our t of the linear schedule

All that a denoiser can know of a Gaussian noise level is its signal-to-noise ratio g = alpha^2/sigma^2, so every
convention is a monotone function of log g, and a level in one is a level in all:

    name            value                                                   alpha of a network in that convention
    log_snr, snr    log g, g                                                sqrt(g/(1+g))
    linear, flow    t, x = (1-t) x_0 + t z                                  1 - t
    flow:S          t before a shift S: x has the flow time S t/(1+(S-1)t)  1 - flow time
    vp              t, x = cos(pi t/2) x_0 + sin(pi t/2) z                  cos(pi t/2)
    ve              t, sigma = t/(1-t)                                      1
    sigma           x = x_0 + sigma z (EDM, Karras et al. 2022)             1
    alpha_bar       g/(1+g), x = sqrt(alpha_bar) x_0 + ...                  sqrt(alpha_bar)
    ddpm            step 0 to 999, beta from 1e-4 to 0.02 (Ho et al. 2020)  sqrt(alpha_bar)

Others are made by `steps` (any table of alphas_cumprod), `schedule` (functions alpha and sigma of t), or are a channel.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logit

from .errors import InputError, array_of, shown
from .lattice import FloatArray

LEAST_ALPHA_BAR = 2.0**-24  # of a table that ends in pure noise, as diffusers has it
Curve = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Unit:
    """A convention for noise levels, by which a network takes them.

    Attributes:
        name: as given to `NoiseLevel`; label: of an axis.
        low, high: the smallest and the largest value.
        log_snr: value -> log snr, and value: log snr -> value, monotone functions of arrays.
        alpha: log snr -> alpha of x = alpha x_0 + sigma z as a network of this convention sees it.
    """

    name: str
    label: str
    low: float
    high: float
    log_snr: Curve
    value: Curve
    alpha: Curve


@dataclass(frozen=True)
class NoiseLevel:
    """One noise level, or an array of them, which `to` says in any convention.

    Attributes:
        log_snr: log alpha^2/sigma^2, inf without noise and -inf without signal.
    """

    log_snr: FloatArray

    @classmethod
    def of(cls, value: ArrayLike, unit: Any) -> "NoiseLevel":
        """Return the level whose value in `unit` (a name, a `Unit` or a channel) is `value`, a number or an array.

        Raises InputError for an unknown unit, or values outside its range.
        """
        unit, given = unit_of(unit), array_of("value", value).astype(float)
        bad = ~((given >= unit.low) & (given <= unit.high))
        if bad.any():
            raise InputError(
                f"a noise level in units of {unit.name} must be from {unit.low:g} to {unit.high:g}, got {given[bad][0]}"
            )
        with np.errstate(divide="ignore"):
            return cls(unit.log_snr(given))

    def to(self, unit: Any) -> Any:
        """Return the value in `unit`, a float for one level.

        Raises InputError where a table of steps or a schedule does not reach the level.
        """
        unit = unit_of(unit)
        with np.errstate(over="ignore", divide="ignore"):
            found = np.asarray(unit.value(np.asarray(self.log_snr, float)))
        if np.isnan(found).any():
            bad = np.asarray(self.log_snr)[np.isnan(found)].ravel()[0]
            least, most = sorted(float(unit.log_snr(np.array(end))) for end in (unit.low, unit.high))
            raise InputError(
                f"noise level log snr {bad:.4g} is outside the schedule of {unit.name}, which has log snr from "
                f"{least:.4g} to {most:.4g}; take levels within"
            )
        return found if found.ndim else float(found)


def unit_of(unit: Any) -> Unit:
    """Return a unit from its name ("sigma", "flow:3", ...), from a channel, or itself. Raises InputError for others."""
    if isinstance(unit, Unit):
        return unit
    if isinstance(unit, str):
        name, colon, shift = unit.partition(":")
        if name == "flow" and colon:
            try:
                return flow(float(shift))
            except ValueError:
                raise InputError(f"the shift of a flow must be a number > 0, such as flow:3, got {unit!r}") from None
        if unit == "ddpm":
            return steps(np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000)), "ddpm")
        if unit in UNITS:
            return UNITS[unit]
    elif hasattr(unit, "snr") and hasattr(unit, "time"):
        return _of_channel(unit)
    raise InputError(f"unit must be one of {', '.join(UNITS)}, flow:SHIFT, ddpm, a channel or Unit, got {shown(unit)}")


def flow(shift: float = 1.0) -> Unit:
    """Return the time t of a flow x = (1-t') x_0 + t' z with t' = shift t / (1 + (shift-1) t)."""
    if not 0.0 < shift < math.inf:
        raise InputError(f"the shift of a flow must be > 0 and finite, got {shift}")
    moved = 2.0 * math.log(shift)
    name, label = ("flow", "flow time") if shift == 1.0 else (f"flow:{shift:g}", f"flow time before a shift {shift:g}")
    return Unit(
        name,
        label,
        0.0,
        1.0,
        lambda t: 2.0 * (np.log1p(-t) - np.log(t)) - moved,
        lambda log_snr: expit(-0.5 * (log_snr + moved)),
        _linear_alpha,
    )


def steps(alphas_cumprod: ArrayLike, name: str = "steps") -> Unit:
    """Return the step index 0, 1, ... of a table of alpha_bar, log snr linear between steps.

    Raises InputError unless alpha_bar falls strictly from below 1 to 0 or above.
    """
    table = array_of("alphas_cumprod", alphas_cumprod).astype(float)
    if table.ndim != 1 or len(table) < 2 or not ((np.diff(table) < 0).all() and table[0] < 1.0 and table[-1] >= 0.0):
        raise InputError(f"alphas_cumprod must fall strictly between 1 and 0, two values or more, got {shown(table)}")
    x, y = np.arange(len(table), dtype=float), logit(table.clip(LEAST_ALPHA_BAR))
    return Unit(
        name,
        "step",
        0.0,
        float(x[-1]),
        lambda step: np.interp(step, x, y),
        lambda level: np.interp(level, y[::-1], x[::-1], left=np.nan, right=np.nan),
        _variance_preserving,
    )


def schedule(
    alpha: Callable[[float], float],
    sigma: Callable[[float], float],
    low: float = 0.0,
    high: float = 1.0,
    name: str = "schedule",
) -> Unit:
    """Return the time of any schedule x = alpha(t) x_0 + sigma(t) z whose noise grows from t = low to high."""

    def log_snr(t: float) -> float:
        a, s = float(alpha(t)), float(sigma(t))
        tiny = 1e-15  # rounding where a schedule ends, such as cos(pi/2)
        return -math.inf if a <= tiny * s else math.inf if s <= tiny * a else 2.0 * (math.log(a) - math.log(s))

    def time(level: float) -> float:
        if level >= log_snr(low):
            return low if level == log_snr(low) else math.nan
        if level <= log_snr(high):
            return high if level == log_snr(high) else math.nan
        cut = 1e6  # keeps infinite ends finite for the search
        return float(brentq(lambda t: min(max(log_snr(t), -cut), cut) - level, low, high, xtol=1e-15, rtol=1e-15))

    def of_level(level: FloatArray) -> FloatArray:
        return _each(lambda value: float(alpha(time(value))), level)

    return Unit(name, f"time of the {name}", low, high, lambda t: _each(log_snr, t), lambda x: _each(time, x), of_level)


def _of_channel(channel: Any) -> Unit:
    known = UNITS.get(getattr(channel, "schedule", ""))
    if known is not None:
        return known
    return Unit(
        channel.name,
        f"time of {channel.name} noise",
        0.0,
        1.0,
        lambda t: np.log(_each(channel.snr, t)),
        lambda log_snr: _each(channel.time, np.exp(log_snr)),
        (lambda level: _each(lambda g: channel.alpha(channel.time(g)), np.exp(level)))
        if hasattr(channel, "alpha")
        else _variance_preserving,
    )


def units(log_snr: float) -> str:
    """Return a noise level in other units than time, such as "σ/α = 0.67, log snr = +0.8"."""
    return f"σ/α = {np.exp(-log_snr / 2):.3g}, log snr = {log_snr:+z.1f}"


def level(t: float, log_snr: float) -> str:
    """Return a noise level in words, such as "t = 0.4 (σ/α = 0.67, log snr = +0.8)"."""
    return f"t = {t:g} ({units(log_snr)})"


def trapezoid(x: FloatArray) -> FloatArray:
    """Return the weights of the trapezoidal rule at levels or times in order."""
    half = 0.5 * np.abs(np.diff(x))
    return np.append(half, 0.0) + np.append(0.0, half)


def _each(function: Callable[[float], float], values: FloatArray) -> FloatArray:
    values = np.asarray(values, float)
    return np.array([function(float(value)) for value in values.ravel()]).reshape(values.shape)


def _variance_preserving(log_snr: FloatArray) -> FloatArray:
    return np.exp(0.5 * log_expit(log_snr))


def _linear_alpha(log_snr: FloatArray) -> FloatArray:
    return np.asarray(expit(0.5 * log_snr))


def _one(log_snr: FloatArray) -> FloatArray:
    return np.ones_like(log_snr)


def _named(name: str, label: str, high: float, log_snr: Curve, value: Curve, alpha: Curve) -> Unit:
    return Unit(name, label, -high if name == "log_snr" else 0.0, high, log_snr, value, alpha)


UNITS = {
    unit.name: unit
    for unit in (
        _named("log_snr", "log snr", math.inf, lambda x: x, lambda x: x, _variance_preserving),
        _named("snr", "snr", math.inf, np.log, np.exp, _variance_preserving),
        _named("linear", "time t", 1.0, flow().log_snr, flow().value, _linear_alpha),
        flow(),
        _named(
            "vp",
            "time t (vp)",
            1.0,
            lambda t: 2.0 * (np.log(np.sin(np.pi * (1.0 - t) / 2)) - np.log(np.sin(np.pi * t / 2))),
            lambda x: 2.0 / np.pi * np.arctan(np.exp(-0.5 * x)),
            _variance_preserving,
        ),
        _named("ve", "time t (ve)", 1.0, flow().log_snr, flow().value, _one),
        _named("sigma", "sigma", math.inf, lambda s: -2.0 * np.log(s), lambda x: np.exp(-0.5 * x), _one),
        _named("alpha_bar", "alpha bar", 1.0, logit, expit, _variance_preserving),
    )
}
