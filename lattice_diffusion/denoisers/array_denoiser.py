"""Denoisers computed with NumPy at one time, given the interface of all: torch answered in torch, a time per sample."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel, check_time
from ..errors import InputError, array_of
from .posterior import Array, Bernoulli, Normal, Posterior

ArrayLaw = Bernoulli | Normal
Law = Callable[[NDArray[np.float64], float], ArrayLaw]


def check_radius(radius: object) -> int | None:
    """radius itself if it is None or an integer >= 0; a ValueError otherwise."""
    if radius is None:
        return None
    if isinstance(radius, bool) or not isinstance(radius, int | np.integer) or radius < 0:
        raise InputError(f"radius must be an integer >= 0, or None for a global denoiser, got {radius!r}")
    return int(radius)


class ArrayDenoiser(ABC):
    """A denoiser of one lattice and channel.

    Args:
        channel: the noise that x_t went through.
        shape: of one sample, (channel, *lattice).
        radius: Chebyshev radius of the box it looks at around every site; None, or one that covers: everything.
    """

    def __init__(self, channel: Channel, shape: tuple[int, ...], radius: int | None) -> None:
        self.channel = channel
        self.shape = shape
        self.radius = check_radius(radius)

    def __call__(self, x_t: Array, t: float | Array) -> Posterior:
        """The law of every clean value.

        Args:
            x_t: (batch, channel, *lattice), NumPy or torch.
            t: one time in [0, 1], or one per sample.

        Raises:
            TypeError: x_t does not hold real numbers.
            ValueError: shapes, values or times that do not fit.
        """
        return self._in_kind(self._posterior, x_t, t)

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        """Entries read for one sample, those of the boxes of all its sites."""
        reach = max(shape) if self.radius is None else self.radius
        boxes = [sum(min(i, reach) + min(n - 1 - i, reach) + 1 for i in range(n)) for n in shape[1:]]
        return int(np.prod(boxes)) * shape[0] ** 2

    @abstractmethod
    def _posterior(self, x_t: NDArray[np.float64], t: float) -> ArrayLaw:
        """Laws at one time."""

    def _used(self) -> NDArray[np.bool_]:
        """Entries that hold data, which alone are read; of `shape`."""
        return np.ones(self.shape, bool)

    def _check(self, x_t: NDArray) -> NDArray[np.float64]:
        if x_t.dtype.kind not in "iuf":
            raise InputError(f"x_t must hold real numbers, got dtype {x_t.dtype}")
        if x_t.shape[1:] != self.shape:
            shape = ", ".join(map(str, self.shape))
            raise InputError(f"x_t must have shape (batch, {shape}), channel axis included, got {x_t.shape}")
        x_t = np.where(self._used(), x_t, 0.0)
        if not np.isfinite(x_t).all():
            raise InputError("x_t must be finite, got NaN or infinity")
        allowed = {"bitflip": (-1.0, 1.0), "erasure": (-1.0, 0.0, 1.0)}.get(self.channel.name)
        if allowed is not None:
            wrong = ~np.isin(x_t, allowed) & self._used()
            if wrong.any():
                values = "+-1" if len(allowed) == 2 else "+-1 where kept and 0 where erased"
                raise InputError(f"x_t must be {values} under {self.channel.name} noise, got {x_t[wrong][0]:g}")
        return x_t

    def _in_kind(self, law: Law, x_t: Array, t: float | Array) -> Posterior:
        if isinstance(x_t, np.ndarray):
            return _at_each_time(law, self._check(x_t), t)
        import torch

        if not isinstance(x_t, torch.Tensor):
            raise InputError(f"x_t must be a NumPy array or a torch tensor, got {type(x_t).__name__}")
        answer = _at_each_time(law, self._check(x_t.detach().cpu().numpy()), t)
        dtype = x_t.dtype if x_t.is_floating_point() else torch.float64
        arrays = (getattr(answer, field.name) for field in fields(answer))
        return type(answer)(*(torch.tensor(array, dtype=dtype, device=x_t.device) for array in arrays))


def _at_each_time(law: Law, x_t: NDArray[np.float64], t: Any) -> ArrayLaw:
    """Samples of equal time are done together."""
    times = array_of("t", t.detach().cpu() if hasattr(t, "detach") else t)
    if times.shape not in ((), (1,), (len(x_t),)):
        raise InputError(f"t must be one time or one per sample ({len(x_t)}), got shape {times.shape}")
    if times.size == 1:
        return law(x_t, check_time(times.item()))
    answers = [(times == u, law(x_t[times == u], check_time(u))) for u in np.unique(times)]
    kind = type(answers[0][1])
    out = [np.empty(x_t.shape) for _ in fields(kind)]
    for rows, answer in answers:
        for array, field in zip(out, fields(kind), strict=True):
            array[rows] = getattr(answer, field.name)
    return kind(*out)
