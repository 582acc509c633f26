"""Images out of noise by schedules of local and global networks, and back after noise, with what they cost."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .hybrid_training import CHANNEL, GLOBAL
from .probe_schema import snr_weights

if TYPE_CHECKING:
    from ..denoisers import Denoiser

CHUNK = 250  # images at a time
Nets = Mapping[int, "Denoiser"]
Radii = Callable[[float], int]  # time to the radius that a schedule uses there, -1 for the global network


@dataclass(frozen=True)
class Generated:
    """Images (n, 1, row, column) and what they cost: multiply-adds of the networks for one image, seconds for all."""

    images: NDArray[np.float64]
    multiply_adds: float
    seconds: float


def four_schedules(radius: int, window: tuple[float, float]) -> dict[str, Radii]:
    """Local (L) or global (G) before, inside and after the window, in the order of generation."""

    def switched(inside: int, outside: int) -> Radii:
        return lambda t: inside if window[0] <= t < window[1] else outside

    return {
        "LLL": switched(radius, radius),
        "GLG": switched(radius, GLOBAL),
        "LGL": switched(GLOBAL, radius),
        "GGG": switched(GLOBAL, GLOBAL),
    }


def stepwise(times: NDArray[np.float64], radii: NDArray[np.int64], trained: tuple[int, ...]) -> Radii:
    """The radius recommended at the nearest of `times`, or the next larger one that there is a network of."""

    def radius(t: float) -> int:
        wanted = int(radii[np.abs(times - t).argmin()])
        enough = [r for r in trained if r >= wanted]
        return GLOBAL if wanted == GLOBAL or not enough else min(enough)

    return radius


def generate(nets: Nets, radii: Radii, n: int, n_steps: int, rng: np.random.Generator) -> Generated:
    """n images from pure noise at t = 1 in `n_steps` equal steps of time."""
    from ..denoisers import pure_noise, reverse_steps

    shape = _shape(nets)
    images, cost, seconds = [], 0.0, 0.0
    for start in range(0, n, CHUNK):
        x = pure_noise((min(CHUNK, n - start), *shape), CHANNEL, 1.0, rng)
        cost = 0.0
        for step in reverse_steps(x, np.linspace(1, 0, n_steps + 1).tolist(), lambda t: nets[radii(t)], CHANNEL, rng):
            cost += step.multiply_adds
            seconds += step.seconds
            x = step.x
        images.append(x)
    return Generated(np.concatenate(images), cost, seconds)


def returned(
    net: "Denoiser", x_0: NDArray, start: float, n_steps: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """x_0 after noise up to the time `start` and back, at `n_steps` steps for a unit of time."""
    from ..denoisers import always, reverse

    times = np.linspace(start, 0, 1 + max(1, math.ceil(n_steps * start))).tolist()
    chunks = np.array_split(x_0, -(-len(x_0) // CHUNK))
    noisy = [CHANNEL.corrupt(chunk, start, rng) for chunk in chunks]
    return np.concatenate([reverse(x_t, times, always(net), CHANNEL, rng) for x_t in noisy])


def squared_errors(
    nets: Nets, x_0: NDArray, times: NDArray[np.float64], rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """E over pixels of |x_0 - E[x_0|x_t]|^2 for every image and network, (n, network), time by time, on one noise."""
    for t in times:
        x_t = CHANNEL.corrupt(x_0, float(t), rng)
        errors = [((x_0 - net(x_t, float(t)).mean) ** 2).mean(axis=(1, 2, 3)) for net in nets.values()]
        yield np.stack(errors, axis=1)


def area(errors: NDArray, kinds: tuple[int, ...], times: NDArray[np.float64], radii: Radii, n_pixels: int) -> NDArray:
    """Girsanov's KL of a schedule beyond that of the global network, from the errors of every image, (n,) in nats.

    1/2 int d(snr) sum_i [error_i - error_i global], by the trapezoidal rule in log snr.

    Args:
        errors: (n, t, network), of `kinds`.
    """
    used = [kinds.index(radii(float(t))) for t in times]
    excess = errors[:, np.arange(len(times)), used] - errors[:, :, kinds.index(GLOBAL)]
    return np.asarray(0.5 * n_pixels * excess @ snr_weights(CHANNEL, times))


def _shape(nets: Nets) -> tuple[int, ...]:
    """(1, row, column) of the images that the networks are made for."""
    return (1, *nets[GLOBAL].prior.shape[1:])  # type: ignore[attr-defined]
