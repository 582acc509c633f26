"""Laws of one value a given a network's outputs, up to terms in a alone, which cancel from the log ratio."""

import math
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, softplus

from ..channels import Channel, is_gaussian
from ..errors import check_memory

LOG_VARIANCE = (-14.0, 4.0)  # of a component, in units of the variance of a: none collapses on one sample
FIELD_CERTAIN = 15.0  # stands for an infinite field: exp(-30) is 0 in single precision


class Head(Protocol):
    """n_outputs parameters of a law; the first n_linear may depend linearly on the inputs, the first n_bent be bent.

    Where `shrinks` is True there may be too little information for maximal likelihood, see `terms`.
    """

    n_outputs: int
    n_linear: int
    n_bent: int
    shrinks: bool

    def target(self, a: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def start(self) -> NDArray[np.float64]: ...
    def residual(self, theta: Tensor, y: Tensor) -> Tensor | None: ...
    def gain(self, theta: Tensor, y: Tensor) -> Tensor: ...
    def nats(self, theta: Tensor, y: Tensor) -> Tensor: ...


class NoisySpin:
    """A spin s = +-1 seen through known noise: p(a) ~ sum_s q(s) e^{s h(a)}, with log odds theta of q."""

    n_outputs = n_linear = n_bent = 1
    shrinks = True  # much noise tells next to nothing of large log odds

    def __init__(self, channel: Channel | None = None, t: float | None = None) -> None:
        self.channel, self.t = channel, t

    def field(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """h of noisy values; +-15 where it is infinite."""
        if self.channel is None or self.t is None:
            return FIELD_CERTAIN * np.sign(x)
        return np.clip(self.channel.likelihood_field(x, self.t), -FIELD_CERTAIN, FIELD_CERTAIN)

    def target(self, a: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.field(a)

    def start(self) -> NDArray[np.float64]:
        return np.zeros(1)

    def residual(self, theta: Tensor, y: Tensor) -> Tensor | None:
        return None

    def gain(self, theta: Tensor, y: Tensor) -> Tensor:
        return torch.ones(1, device=y.device)

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        f = theta[:, 0]
        return softplus(f) - softplus(f + 2 * y) + softplus(2 * y) - math.log(2)


class Categorical:
    """One of a few values: log odds against the last of them."""

    shrinks = False

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.values = values
        self.n_outputs = self.n_linear = self.n_bent = len(values) - 1

    def target(self, a: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(a[:, None] - self.values).argmin(axis=1).astype(float)

    def start(self) -> NDArray[np.float64]:
        return np.zeros(self.n_outputs)

    def residual(self, theta: Tensor, y: Tensor) -> Tensor | None:
        return None

    def gain(self, theta: Tensor, y: Tensor) -> Tensor:
        return torch.ones(self.n_outputs, device=y.device)

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        logits = torch.cat([theta, torch.zeros_like(theta[:, :1])], dim=1)
        return cross_entropy(logits, y.long(), reduction="none")


class Mixture:
    """A real value: sum_k w_k N(m + d_k, floor + e^{v_k}), the floor being the variance of known noise.

    theta = (m, d_1..K, log w_1..K, v_1..K), in units of the standard deviation of a.
    """

    n_linear = 1
    shrinks = False

    def __init__(self, a: NDArray[np.float64], channel: Channel | None, t: float | None, components: int) -> None:
        check_memory("components", 64 * len(a) * components, "take fewer components")
        self.mean, self.scale, self.components = float(a.mean()), float(a.std()), components
        noise = channel.sigma(t) if channel is not None and is_gaussian(channel) and t is not None else 0.0
        self.floor = 0.9 * (noise / self.scale) ** 2  # a little below, where all of the variance may be noise
        self.n_outputs, self.n_bent = 1 + 3 * components, 1

    def target(self, a: NDArray[np.float64]) -> NDArray[np.float64]:
        return (a - self.mean) / self.scale

    def start(self) -> NDArray[np.float64]:
        k = self.components
        shift = 0.5 * (np.linspace(-1, 1, k) if k > 1 else np.zeros(1))
        return np.concatenate([[0.0], shift, np.zeros(k), np.full(k, math.log(max(0.9 - self.floor, 0.05)))])

    def _parts(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        m, d, w, v = theta.split([1, *[self.components] * 3], dim=1)
        return m + d, log_softmax(w, dim=1), self.floor + v.clamp(*LOG_VARIANCE).exp()

    def residual(self, theta: Tensor, y: Tensor) -> Tensor | None:
        mean, log_w, _ = self._parts(theta)
        return y - (log_w.exp() * mean).sum(dim=1)

    def gain(self, theta: Tensor, y: Tensor) -> Tensor:
        """Means move in units of what the linear law leaves open."""
        residual = self.residual(theta, y)
        gain = torch.ones(self.n_outputs, device=y.device)
        gain[: 1 + self.components] = residual.std()  # type: ignore[union-attr]
        return gain

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        mean, log_w, variance = self._parts(theta)
        square = (y[:, None] - mean) ** 2 / variance
        return -torch.logsumexp(log_w - 0.5 * (square + (2 * math.pi * variance).log()), dim=1)
