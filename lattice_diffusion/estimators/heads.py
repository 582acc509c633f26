"""Heads of laws q(a|x) of one value, what the outputs mean: spins seen through noise, categories, reals and atoms."""

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, pad, softplus
from torch.special import log_ndtr

from ..channels import MASK, Channel, Erasure, is_gaussian
from ..denoisers.on_device import on
from ..errors import check_memory
from ..lattice import FloatArray
from .base import FEW_VALUES

ATOM = 0.01  # share of the samples at one value from which on it is an atom, if above five times that of its neighbours
FEWEST = 30  # samples of a density
LOG_VARIANCE = (-14.0, 4.0)  # of a component, in units of the variance of a: none collapses on one sample
FIELD_CERTAIN = 15.0  # stands for an infinite field: exp(-30) is 0 in single precision
BEYOND = 10.0  # standard deviations from the outermost values to the ends of their cells
FLAT = 1e-9  # columns that vary less, and combinations of less variance, are taken for constant
UNTOLD = -1  # index of values that tell nothing
PRIOR = 3.0  # standard deviation of log odds by whitened column: they stay finite where classes are separate


class Head(ABC):
    """A law of a with `n_outputs` parameters theta, up to terms in a alone, which cancel from the log ratio.

    The first `n_linear` may depend linearly on the inputs, the first `n_bent` be bent. Where `shrinks` is True there
    may be too little information for maximal likelihood.
    """

    n_outputs = n_linear = n_bent = 1
    samples_per_column = 8  # of a fit; with fewer the biases of maximal likelihood do not cancel
    shrinks = False
    discrete = False  # whether `nats` are of probabilities, not of densities
    prior = 0.0  # inverse variance of weights and constants

    def capped(self, theta: Tensor) -> bool:
        """Return whether the law is as sharp as it can be for most samples."""
        return False

    @abstractmethod
    def target(self, a: FloatArray) -> FloatArray:
        """Return y (n,), what `nats` takes for the values a."""

    def start(self) -> FloatArray:
        """Return (n_outputs,), the parameters before anything is learned."""
        return np.zeros(self.n_outputs)

    def residual(self, theta: Tensor, y: Tensor) -> Tensor | None:
        """Return (n,), what the law leaves of y; None where there is no such thing."""
        return None

    def apart(self, theta: Tensor) -> Tensor | None:
        """Return (n_outputs,), what makes different components of equal ones; None where there are none."""
        return None

    def gain(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return (n_outputs,), the units in which the parameters move."""
        return y.new_ones(self.n_outputs)

    @abstractmethod
    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return (n,), -log q(a)."""


class NoisySpin(Head):
    """A spin s = +-1 seen through known noise: p(a) ~ sum_s q(s) e^{s h(a)}, with log odds theta of q."""

    samples_per_column = 6
    shrinks = True  # much noise tells next to nothing of large log odds

    def __init__(self, channel: Channel | None = None, t: float | None = None) -> None:
        self.channel, self.t = channel, t

    def target(self, a: FloatArray) -> FloatArray:
        """Return h of noisy values; +-15 where it is infinite."""
        if self.channel is None or self.t is None:
            return FIELD_CERTAIN * np.sign(a)
        return np.clip(self.channel.likelihood_field(a, self.t), -FIELD_CERTAIN, FIELD_CERTAIN)

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        f = theta[:, 0]
        return softplus(f) - softplus(f + 2 * y) + softplus(2 * y) - math.log(2)


class Categorical(Head):
    """One of a few values: log odds against the last of them; `counts` says how often each was seen.

    Other values, as those of a mask whose noise is known, tell nothing.
    """

    prior = PRIOR**-2

    def __init__(self, values: FloatArray, counts: NDArray[np.intp]) -> None:
        self.values, self.counts = values, counts
        self.n_outputs = self.n_linear = self.n_bent = len(values) - 1

    def target(self, a: FloatArray) -> FloatArray:
        away = np.abs(a[:, None] - self.values)
        return np.where(away.min(axis=1) == 0, away.argmin(axis=1), UNTOLD).astype(float)

    def start(self) -> FloatArray:
        return _log_odds(self.counts)

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(pad(theta, (0, 1)), y.long(), reduction="none", ignore_index=UNTOLD)


def _log_odds(counts: NDArray[np.intp]) -> FloatArray:
    return np.log((counts[:-1] + 0.5) / (counts[-1] + 0.5))


class Mixture(Head):
    """A real value: sum_k w_k N(m + d_k, floor + e^{v_k}), the floor being the variance of known noise.

    theta = (m, d_1..K, log w_1..K, v_1..K), in units of the standard deviation of a.
    """

    samples_per_column = 3

    def __init__(self, a: FloatArray, channel: Channel | None, t: float | None, components: int) -> None:
        check_memory("components", 64 * len(a) * components, "take fewer components")
        unit = float(np.abs(a - a[0]).max())  # squares of tiny or huge numbers are none
        self.mean, self.scale, self.components = float(a.mean()), unit * float((a / unit).std()), components
        noise = channel.sigma(t) if channel is not None and is_gaussian(channel) and t is not None else 0.0
        self.floor = 0.9 * (noise / self.scale) ** 2  # a little below, where all of the variance may be noise
        self.n_outputs = 1 + 3 * components

    def target(self, a: FloatArray) -> FloatArray:
        return (a - self.mean) / self.scale

    def start(self) -> FloatArray:
        k = self.components  # of one Gaussian
        return np.concatenate([np.zeros(1 + 2 * k), np.full(k, math.log(max(1 - self.floor, 0.05)))])

    def apart(self, theta: Tensor) -> Tensor | None:
        d = theta[:, 1 : 1 + self.components]
        if self.components == 1 or bool((d.amax(dim=1) - d.amin(dim=1) > FLAT).any()):
            return None
        shift = 0.5 * torch.linspace(-1, 1, self.components, dtype=theta.dtype, device=theta.device)
        shift = shift * self._parts(theta)[2].mean().sqrt()
        return torch.cat([shift.new_zeros(1), shift, 0 * shift, 0 * shift + math.log(0.9)])

    def _parts(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        m, d, w, v = theta.split([1, *[self.components] * 3], dim=1)
        return m + d, log_softmax(w, dim=1), self.floor + v.clamp(*LOG_VARIANCE).exp()

    def residual(self, theta: Tensor, y: Tensor) -> Tensor:
        mean, log_w, _ = self._parts(theta)
        return y - (log_w.exp() * mean).sum(dim=1)

    def gain(self, theta: Tensor, y: Tensor) -> Tensor:
        """Return 1, for means the standard deviation of what the law leaves open."""
        gain = y.new_ones(self.n_outputs)
        gain[: 1 + self.components] = self.residual(theta, y).std()
        return gain

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        mean, log_w, variance = self._parts(theta)
        square = (y[:, None] - mean) ** 2 / variance
        return -torch.logsumexp(log_w - 0.5 * (square + (2 * math.pi * variance).log()), dim=1)

    def capped(self, theta: Tensor) -> bool:
        _, log_w, variance = self._parts(theta)
        sharpest = variance.gather(1, log_w.argmax(dim=1, keepdim=True))
        return bool((sharpest < 2 * math.exp(LOG_VARIANCE[0])).double().mean() > 0.5)


class Cells(Mixture):
    """A value among many that repeat, such as rounded reals: what a mixture holds up to the midpoints beside it.

    `known` are all values that occur.
    """

    discrete = True

    def __init__(self, a: FloatArray, known: FloatArray, components: int) -> None:
        super().__init__(a, None, None, components)
        y = self.target(known)
        self.edges = np.concatenate([[y[0] - BEYOND], (y[1:] + y[:-1]) / 2, [y[-1] + BEYOND]])

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        mean, log_w, variance = self._parts(theta)
        edges = on(y, self.edges)
        upper = torch.searchsorted(edges[1:-1], y) + 1  # atoms may lie beyond the outermost cells
        low, high = ((edges[k][:, None] - mean) / variance.sqrt() for k in (upper - 1, upper))
        right = low + high > 0  # seen from the left, where tails are small numbers
        low, high = torch.where(right, -high, low), torch.where(right, -low, high)
        below = log_ndtr(high)
        return -torch.logsumexp(log_w + below + torch.log(-torch.expm1(log_ndtr(low) - below)), dim=1)

    def capped(self, theta: Tensor) -> bool:
        return False  # no value is more than certain


class Atoms(Head):
    """Values of positive probability, and a mixture of Gaussians for all others.

    theta = (log odds of the atoms against the rest, those of the mixture), y in units of the rest.
    """

    prior = PRIOR**-2

    def __init__(self, atoms: FloatArray, counts: NDArray[np.intp], rest: Mixture, n_rest: int) -> None:
        self.rest, self.atoms, self.counts = rest, rest.target(atoms), np.append(counts, n_rest)
        self.discrete = rest.discrete
        self.n_linear = self.n_bent = len(atoms) + 1
        self.n_outputs = len(atoms) + rest.n_outputs

    def target(self, a: FloatArray) -> FloatArray:
        return self.rest.target(a)

    def start(self) -> FloatArray:
        return np.concatenate([_log_odds(self.counts), self.rest.start()])

    def apart(self, theta: Tensor) -> Tensor | None:
        moved = self.rest.apart(theta[:, len(self.atoms) :])
        return None if moved is None else pad(moved, (len(self.atoms), 0))

    def nats(self, theta: Tensor, y: Tensor) -> Tensor:
        odds, mixture = theta.tensor_split([len(self.atoms)], dim=1)
        same = y[:, None] == on(y, self.atoms)
        which = torch.where(same.any(dim=1), same.double().argmax(dim=1), len(self.atoms))
        density = torch.where(same.any(dim=1), 0.0, self.rest.nats(mixture, y))
        return cross_entropy(pad(odds, (0, 1)), which, reduction="none") + density


def categorical(a: FloatArray, known: FloatArray) -> Categorical:
    """Return the law of values a among those `known`, without an order."""
    return Categorical(known, (a[:, None] == known).sum(axis=0))


def head_of(
    a: FloatArray, known: FloatArray, channel: Channel | None, t: float | None, components: int, token: bool = False
) -> Head:
    """Return the law of a: tokens or a few values, more that repeat, reals, or these with atoms; `known` are all."""
    if token or len(known) <= FEW_VALUES:  # one of them may be missing in a
        if token and isinstance(channel, Erasure) and (symbols := known[known != MASK]).size > 1:
            known = symbols
        return categorical(a, known)
    values, counts = np.unique(a, return_counts=True)
    beside = np.maximum(np.append(counts[1:], 0), np.append(0, counts[:-1]))
    at = counts > np.maximum(5 * beside, max(ATOM * len(a), 5 * float(np.median(counts))))
    rest = a[~np.isin(a, values[at])]
    if not at.any() or len(rest) < FEWEST or len(values) - at.sum() < 2:
        at[:], rest = False, a
    noisy = channel is not None and is_gaussian(channel)
    if noisy or np.median(counts[~at]) < 2:
        law = Mixture(rest, channel, t, components)
    else:
        law = Cells(rest, known[~np.isin(known, values[at])], components)
    return Atoms(values[at], counts[at], law, len(rest)) if at.any() else law
