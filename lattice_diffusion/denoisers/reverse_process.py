"""Back from noise to data, one denoiser a step: local, global, or each where it is needed.

A step draws x_0 site by site from the denoiser's posterior and x_s from the channel's bridge p(x_s | x_t, x_0). For
the true posterior of each site this is exact as the steps grow small, for all three channels: ancestral sampling
(Ho et al. 2020) under Gaussian noise, discrete diffusion (Austin et al. 2021) under bit flips, unmasking under
erasure. The deterministic form follows the probability flow (DDIM, Song et al. 2021), Gaussian noise only.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel, Erasure, GaussianNoise, check_time, is_gaussian
from ..errors import InputError, check_memory, shown
from .posterior import Denoiser

Schedule = Callable[[float], Denoiser]


@dataclass(frozen=True)
class Switch:
    """A schedule of denoisers: denoisers[k] from bounds[k-1] up to, and without, bounds[k].

    Args:
        bounds: increasing times, one fewer than denoisers.
    """

    bounds: tuple[float, ...]
    denoisers: tuple[Denoiser, ...]

    def __post_init__(self) -> None:
        bounds = tuple(check_time(t) for t in self.bounds)
        if list(bounds) != sorted(set(bounds)) or len(self.denoisers) != len(bounds) + 1:
            raise InputError(
                f"bounds must increase and be one fewer than the denoisers, got {shown(self.bounds)} and "
                f"{len(self.denoisers)} denoisers"
            )

    def __call__(self, t: float) -> Denoiser:
        return self.denoisers[int(np.searchsorted(self.bounds, t, side="right"))]


def always(denoiser: Denoiser) -> Switch:
    """The same denoiser at all times."""
    return Switch((), (denoiser,))


def hybrid(local: Denoiser, other: Denoiser, start: float, stop: float) -> Switch:
    """`local` but for start <= t < stop, where `other` (the global one, usually) takes over."""
    return Switch((start, stop), (local, other, local))


@dataclass(frozen=True)
class Step:
    """One reverse step: where it arrived and what it cost.

    Attributes:
        t: the time of `x`, (n, channel, *lattice).
        radius: of the denoiser that led there, None for a global one.
        seconds: measured, for all n; multiply_adds: of the denoiser, for one sample.
    """

    t: float
    x: NDArray[np.float64]
    radius: int | None
    seconds: float
    multiply_adds: int


def reverse_steps(
    x_t: NDArray,
    times: Sequence[float],
    schedule: Schedule,
    channel: Channel,
    rng: np.random.Generator,
    *,
    deterministic: bool = False,
) -> Iterator[Step]:
    """The path from `times[0]` down to `times[-1]`, step by step.

    Args:
        x_t: noisy data at times[0], (n, channel, *lattice).
        times: strictly falling, in [0, 1], such as numpy.linspace(0.9, 0.0, 41).
        schedule: the denoiser of every time but the last, `always(denoiser)` or `hybrid(..)`.
        deterministic: follow the probability flow instead of drawing; Gaussian channel only.

    Raises:
        ValueError: times that do not fall, or a deterministic path of another channel.
    """
    levels = [check_time(t) for t in times]
    if len(levels) < 2 or any(t <= s for t, s in itertools.pairwise(levels)):
        raise InputError(f"times must be two or more and fall strictly, such as [0.9, 0.5, 0], got {list(times)}")
    if deterministic and not is_gaussian(channel):
        raise InputError(f"a deterministic path needs the gaussian channel, got {channel.name}; leave it stochastic")
    x = np.asarray(x_t, float)
    for t, s in itertools.pairwise(levels):
        denoiser, start = schedule(t), time.perf_counter()
        posterior = denoiser(x, t)
        if deterministic:
            assert is_gaussian(channel)
            x = probability_flow(x, posterior.mean, channel, t, s)
        else:
            x = channel.bridge(x, posterior.sample(rng), t, s, rng)
        cost = denoiser.multiply_adds(x.shape[1:])
        yield Step(s, x, denoiser.radius, time.perf_counter() - start, cost)


def probability_flow(x_t: NDArray, mean: NDArray, channel: GaussianNoise, t: float, s: float) -> NDArray[np.float64]:
    """alpha_s E[x_0|x_t] + sigma_s (x_t - alpha_t E[x_0|x_t]) / sigma_t."""
    noise = (x_t - channel.alpha(t) * mean) / channel.sigma(t)
    return np.asarray(channel.alpha(s) * mean + channel.sigma(s) * noise)


def reverse(
    x_t: NDArray,
    times: Sequence[float],
    schedule: Schedule,
    channel: Channel,
    rng: np.random.Generator,
    *,
    deterministic: bool = False,
) -> NDArray[np.float64]:
    """The data at times[-1]; see `reverse_steps`."""
    *_, last = reverse_steps(x_t, times, schedule, channel, rng, deterministic=deterministic)
    return last.x


def pure_noise(shape: Sequence[int], channel: Channel, t: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise without data at time t: what generation starts from, where hardly any signal is left.

    Gaussian noise is N(0, sigma(t)^2); under erasure all is masked; other noise starts at t = 1.
    """
    if any(n < 1 for n in shape) or not 1 <= len(shape) <= 18:
        raise InputError(f"shape must be positive integers such as (100, 1, 16, 16), got {shown(shape)}")
    check_memory("shape", 24 * math.prod(shape), "draw smaller batches")
    empty = is_gaussian(channel) or isinstance(channel, Erasure)
    if not empty and t < 1.0:
        raise InputError(f"generation under {channel.name} noise starts at t = 1, where no signal is left, got {t}")
    return channel.corrupt(np.zeros(shape) if empty else np.ones(shape), t, rng)
