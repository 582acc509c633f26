"""The reverse process, from noise back to data with one denoiser a step: local, global, or each where it is needed.

A step draws x_0 site by site from the denoiser's posterior and x_s from the channel's bridge p(x_s | x_t, x_0). For
the true posterior of each site this is exact as the steps grow small, for all three channels: ancestral sampling
(Ho et al. 2020) under Gaussian noise, discrete diffusion (Austin et al. 2021) under bit flips, unmasking under
erasure. The deterministic form follows the probability flow (DDIM, Song et al. 2021), Gaussian noise only.

Two cases have more: the law that steps generate from a Gaussian field is known in closed form, and closed loops are
unmasked one bond after the other.
"""

import itertools
import math
import operator
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel, Gaussian, check_gaussian, check_time, is_gaussian
from ..errors import InputError, array_of, check_finite, check_memory, device_of, gpu_memory, shown
from ..exact.bonds import LOG_2, bond_mask, ranks
from ..kernels import erasure_paths
from ..lattice import Rng
from ..models import GaussianField
from .posterior import Array, Denoiser, Posterior, as_array, check_channel, check_posterior

Schedule = Callable[[float], Denoiser]


@dataclass(frozen=True)
class Switch:
    """A schedule of denoisers: denoisers[k] from bounds[k-1] up to, and without, bounds[k], which increase."""

    bounds: tuple[float, ...]
    denoisers: tuple[Any, ...]

    def __post_init__(self) -> None:
        bounds = tuple(check_time(t) for t in self.bounds)
        if list(bounds) != sorted(set(bounds)) or len(self.denoisers) != len(bounds) + 1:
            n = len(self.denoisers)
            raise InputError(f"bounds must increase, one fewer than the {n} denoisers, got {shown(self.bounds)}")
        object.__setattr__(self, "bounds", bounds)

    def __call__(self, t: float) -> Any:
        return self.denoisers[int(np.searchsorted(self.bounds, t, side="right"))]


def always(denoiser: Denoiser) -> Switch:
    """Return the schedule of one denoiser at all times."""
    return Switch((), (denoiser,))


def hybrid(local: Denoiser, other: Denoiser, start: float, stop: float) -> Switch:
    """Return the schedule of `local`, but for start <= t < stop of `other`, usually the global denoiser."""
    return Switch((start, stop), (local, other, local))


def four_schedules(local: Any, other: Any, window: tuple[float, float]) -> dict[str, Switch]:
    """Return local (L) or global (G) denoisers, or their names, before, inside and after the window."""
    switches = {"GLG": Switch(window, (other, local, other)), "LGL": Switch(window, (local, other, local))}
    return {"LLL": always(local), **switches, "GGG": always(other)}


@dataclass(frozen=True)
class Step:
    """One reverse step: where it arrived and what it cost.

    Attributes:
        t: the time of `x`, (n, channel, *lattice), an array or a tensor as the noisy data were.
        radius: of the denoiser that led there, None for a global one.
        seconds: measured, for all n; multiply_adds: of the denoiser, for one sample.
    """

    t: float
    x: Array
    radius: int | None
    seconds: float
    multiply_adds: int


def reverse_steps(
    x_t: Array,
    times: Sequence[float],
    schedule: Schedule,
    channel: Channel,
    rng: Rng = None,
    *,
    deterministic: bool = False,
) -> Iterator[Step]:
    """Yield the path from `times[0]` down to `times[-1]`, step by step.

    Args:
        x_t: noisy data at times[0], (n, channel, *lattice): a NumPy array, or a tensor, which stays on its device from
            here to the data and takes other random numbers.
        times: strictly falling, in [0, 1], such as numpy.linspace(0.9, 0.0, 41).
        schedule: the denoiser of every time but the last, `always(denoiser)` or `hybrid(..)`.
        deterministic: follow the probability flow instead of drawing; Gaussian channel only.

    Raises InputError for times that do not fall, a deterministic path of another channel, noisy data that are not
    finite, and a denoiser of another channel or whose answers are not finite or have another shape than the data.
    """
    levels = _falling(times)
    if deterministic and not is_gaussian(channel):
        raise InputError(f"a deterministic path needs the gaussian channel, got {channel.name}; leave it stochastic")
    rng = np.random.default_rng(rng)
    x, drawn, quiet = _on_tensors(x_t, channel, rng) if hasattr(x_t, "detach") else _on_arrays(x_t, channel, rng)
    for t, s in itertools.pairwise(levels):
        denoiser, start = schedule(t), time.perf_counter()
        check_channel(denoiser, channel)
        with quiet(), gpu_memory("take fewer samples at a time"):
            posterior = denoiser(x, t)
            mean = check_posterior(posterior, x, t)  # waits for the device
            if deterministic:
                gaussian = check_gaussian(channel)
                noise = (x - gaussian.alpha(t) * mean) / gaussian.sigma(t)
                x = gaussian.alpha(s) * mean + gaussian.sigma(s) * noise
            else:
                x = drawn(x, posterior, t, s)
        cost = denoiser.multiply_adds(tuple(x.shape[1:]))
        yield Step(s, x, denoiser.radius, time.perf_counter() - start, cost)


Drawn = Callable[[Any, Posterior, float, float], Any]  # x_s from x_t, the law of x_0, and both times
Path = tuple[Any, Drawn, Callable[[], AbstractContextManager[Any]]]


def _on_arrays(x_t: NDArray, channel: Channel, rng: np.random.Generator) -> Path:
    x = array_of("x_t", x_t).astype(float)
    check_finite(x_t=x)
    return x, lambda x, law, t, s: channel.bridge(x, law.sample(rng), t, s, rng), nullcontext


def _on_tensors(x_t: Any, channel: Channel, rng: np.random.Generator) -> Path:
    from torch import no_grad

    from .on_device import bridge, draw, generator_on

    there = generator_on(x_t.device, rng)
    return x_t.detach(), lambda x, law, t, s: bridge(channel, x, draw(law, there), t, s, there), no_grad


def reverse(
    x_t: Array,
    times: Sequence[float],
    schedule: Schedule,
    channel: Channel,
    rng: Rng = None,
    *,
    deterministic: bool = False,
) -> Array:
    """Return the data at times[-1]; the arguments are those of `reverse_steps`."""
    *_, last = reverse_steps(x_t, times, schedule, channel, rng, deterministic=deterministic)
    return last.x


class Generated(NamedTuple):
    """Samples (n, channel, *lattice), multiply-adds of the denoisers for one of them, and seconds for all."""

    samples: NDArray[np.float64]
    multiply_adds: float
    seconds: float


def generated(
    shape: Sequence[int],
    times: Sequence[float],
    schedule: Schedule,
    channel: Channel,
    rng: np.random.Generator,
    *,
    size: int,
    device: str | None = None,
    deterministic: bool = False,
) -> Generated:
    """Return samples of this shape from pure noise, `size` at a time; others are of `reverse_steps`, `pure_noise`."""
    samples, cost, seconds = [], 0.0, 0.0
    for start in range(0, shape[0], size):
        cost, x = 0.0, pure_noise((min(size, shape[0] - start), *shape[1:]), channel, times[0], rng, device=device)
        for step in reverse_steps(x, times, schedule, channel, rng, deterministic=deterministic):
            cost, seconds, x = cost + step.multiply_adds, seconds + step.seconds, step.x
        samples.append(as_array(x))
    return Generated(np.concatenate(samples), cost, seconds)


def pure_noise(
    shape: Sequence[int], channel: Channel, t: float, rng: Rng = None, *, device: str | None = None
) -> Array:
    """Return noise without data at time t, from which generation starts, where hardly any signal is left.

    Gaussian noise is N(0, sigma(t)^2), and under erasure all is masked; under other channels t must be 1. With a device
    of torch the noise is a tensor of single precision there, from which `reverse` stays there.
    """
    shape = tuple(map(operator.index, shape))
    if any(n < 1 for n in shape) or not 1 <= len(shape) <= 18:
        raise InputError(f"shape must be positive integers such as (100, 1, 16, 16), got {shown(shape)}")
    check_memory("shape", 24 * math.prod(shape), "draw smaller batches")
    mask = getattr(channel, "mask", 0.0)
    silent = is_gaussian(channel) or channel.name == "erasure"  # this x_0 gives noise without data at any time
    if not silent and t < 1.0:
        raise InputError(f"generation under {channel.name} noise starts at t = 1, where no signal is left, got t = {t}")
    rng, clean = np.random.default_rng(rng), mask if silent else 1.0
    if device is None:
        return channel.corrupt(np.full(shape, clean), t, rng)
    import torch

    from .on_device import corrupt, generator_on

    x_0 = torch.full(shape, clean, dtype=torch.float32, device=device_of(device))
    return corrupt(channel, x_0, t, generator_on(x_0.device, rng))


def _falling(times: Sequence[float]) -> list[float]:
    levels = [check_time(float(t)) for t in times]
    if len(levels) < 2 or any(t <= s for t, s in itertools.pairwise(levels)):
        raise InputError(f"times must be two or more and fall strictly, such as [0.9, 0.5, 0], got {list(times)}")
    return levels


# -- Gaussian fields ------------------------------------------------------------------------------------------------


def generated_covariance(
    model: GaussianField,
    channel: Gaussian,
    times: Sequence[float],
    schedule: Schedule,
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the covariance (N, N) at times[-1] of reverse steps from times[0], for a Gaussian field.

    The denoisers of a field are linear, E[x_0|box] = W x_t with variances v, and so is a reverse step: with the bridge
    x_s ~ N(a x_t + b x_0, c) and x_0 drawn site by site,

        Cov(x_s) = (a + b W) Cov(x_t) (a + b W)' + b^2 diag(v) + c.

    Args:
        times: strictly falling.
        schedule: linear denoisers for the field: `ExactDenoiser(model, channel, radius)` at each time.
        start: (N, N), covariance at times[0]; pure noise, sigma^2, if not given.
    """
    gaussian, n = check_gaussian(channel), model.lattice.n_sites
    if not isinstance(model, GaussianField):
        raise InputError(f"model must be a GaussianField, whose denoisers are linear, got {type(model).__name__}")
    check_memory("model", 48 * n**2, "take a smaller lattice")
    levels = _falling(times)
    units = np.eye(n).reshape(n, 1, *model.lattice.shape)
    covariance = gaussian.sigma(levels[0]) ** 2 * np.eye(n) if start is None else _covariance("start", start, n)
    for t, s in itertools.pairwise(levels):
        denoiser = schedule(t)
        check_channel(denoiser, channel)
        law = denoiser(units, t)
        mean = check_posterior(law, units, t).reshape(n, n)
        keep, pull, variance = gaussian.bridge_moments(t, s)
        step = keep * np.eye(n) + pull * mean.T  # row j of the means is column j of W
        own = pull**2 * law.variance.reshape(n, n)[0] + variance
        covariance = step @ covariance @ step.T + np.diag(own)
    return covariance


def gaussian_divergence(model: GaussianField, covariance: NDArray[np.float64]) -> float:
    """Return KL( p_0 || N(0, covariance) ) of the field, in nats."""
    n = model.lattice.n_sites
    covariance = _covariance("covariance", covariance, n)
    precision = model.solver.precision.toarray()
    root = np.linalg.cholesky(precision)  # p_0 white is root.T x; its covariance under the other law:
    other = root.T @ covariance @ root
    sign, log_det = np.linalg.slogdet(other)
    if sign <= 0:
        raise InputError("covariance must be positive definite, got one that is not")
    return 0.5 * float(np.trace(np.linalg.inv(other)) - len(other) + log_det) if math.isfinite(log_det) else math.inf


def _covariance(name: str, given: NDArray, n: int) -> NDArray[np.float64]:
    covariance = array_of(name, given).astype(float)
    if covariance.shape != (n, n):
        raise InputError(f"{name} must have shape ({n}, {n}), got {covariance.shape}")
    check_finite(**{name: covariance})
    return covariance


# -- closed loops ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unmasked:
    """The result of unmasking.

    Attributes:
        x: (n, 2, L, W) of +-1, 0 at unused entries.
        divergence: (n,), KL(p_0 || p_local) of each sample's order, in nats per bond of the grid.
    """

    x: NDArray[np.int8]
    divergence: NDArray[np.float64]


def unmask_loops(
    x_t: NDArray, radius: int | Callable[[float], int | None] | None, rng: Rng = None, *, left: float = 0.0
) -> Unmasked:
    """Reveal the masked bonds of an open grid in random order, each from the known bonds in a box around it.

    A bond whose box holds a path of known bonds between its faces takes the sign that the path carries, any other a
    fair coin. A bond that others outside the box decide then costs log 2, so that for an order of unmasking

        KL(p_0 || p_local) = log 2 (bonds that their box leaves open - bonds that all others leave open),

    whatever values were drawn; its mean over random orders is the masked area law.

    Args:
        x_t: (n, 2, L, W), +-1 where kept and 0 where masked; all 0 to generate from nothing.
        radius: of the box, or a function of the masked fraction t of the whole grid; None for all known bonds.
        left: probability of a masked bond to stay masked: s/t on the way from t to s.

    Raises InputError for x_t of another shape or with other values, or left outside [0, 1].
    """
    start, rng = np.asarray(x_t), np.random.default_rng(rng)
    if start.ndim != 4 or start.shape[1] != 2 or 0 in start.shape:
        raise InputError(f"x_t must be bond images (n, 2, L, W), got shape {start.shape}")
    if not np.isin(start, (-1, 0, 1)).all():
        raise InputError("x_t must hold -1 and +1 where kept and 0 where masked, got other values")
    if not 0.0 <= left <= 1.0:
        raise InputError(f"left must be a probability in [0, 1], got {left}")
    faces = (start.shape[2], start.shape[3])
    bonds = bond_mask(faces, periodic=False)
    x = np.where(bonds, start, 0).astype(np.int8)
    known_before = ranks(x != 0, periodic=False)
    n_bonds, far = int(bonds.sum()), max(faces)
    divergence = np.empty(len(x))
    radii = [radius(k / n_bonds) if callable(radius) else radius for k in range(1, n_bonds + 1)]
    reach = np.array([far, *(far if r is None else min(r, far) for r in radii)], np.int64)  # by the number masked
    for n in range(len(x)):
        masked = rng.permutation(np.flatnonzero(bonds & (x[n] == 0)))
        n_masked = len(masked)
        masked = masked[: n_masked - rng.binomial(n_masked, left)]
        coins = 2 * rng.integers(0, 2, len(masked)) - 1
        number = np.arange(n_masked, n_masked - len(masked), -1)
        unknown = np.empty((1, len(masked)), bool)
        erasure_paths.unmask(x[n : n + 1], (coins * (1 + masked))[None], reach[number], unknown)
        divergence[n] = unknown.sum()
    divergence -= ranks(x != 0, periodic=False) - known_before  # what all known bonds would have left open
    return Unmasked(x, LOG_2 * divergence / n_bonds)


def violated_vertices(x: NDArray) -> NDArray[np.float64]:
    """Return the fraction (n,) of vertices inside an open grid whose four bonds, all visible, have product -1."""
    if x.ndim != 4 or x.shape[1] != 2 or min(x.shape[2:]) < 2:
        raise InputError(f"x must be bond images (n, 2, L, W) of at least 2x2 faces, got shape {x.shape}")
    right, down = x[:, 0], x[:, 1]
    around = right[:, :-1, :-1] * right[:, 1:, :-1] * down[:, :-1, :-1] * down[:, :-1, 1:]
    return np.asarray((around < 0).mean(axis=(1, 2)))
