"""Denoisers that compute the posterior without a network: their common base, and the true posterior of a model."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel, check_gaussian, check_time, for_model
from ..errors import InputError, array_of, check_limits
from ..exact import check_values
from ..exact.local_fields import LocalFields
from ..exact.spins import DiscreteSolver, SpinSolver
from ..exact.tokens import TokenSolver
from ..lattice import FloatArray
from .posterior import LEVEL_AXIS, Array, Bernoulli, Categorical, Normal, Posterior, check_times, namespace

ArrayLaw = Bernoulli | Normal | Categorical


class ArrayDenoiser(ABC):
    """A denoiser of one lattice and channel, computed at one time.

    Tensors are answered in their type, by arithmetic in double precision. Linear laws are computed on their device
    (`in_torch`), others with NumPy on the CPU.

    Args:
        channel: the noise that x_t went through.
        shape: of one sample, (channel, *lattice).
        radius: Chebyshev radius of the box it sees around every site; None, or one that covers the lattice: everything.
    """

    in_torch = False

    def __init__(self, channel: Channel, shape: tuple[int, ...], radius: int | None) -> None:
        check_limits({"radius": (0, None)}, {"radius": radius})
        self.channel, self.shape, self.radius = channel, shape, None if radius is None else int(radius)
        self.used, self.data = np.ones(shape, bool), "real"  # entries that hold data, the others are not read; its kind

    def __call__(self, x_t: Array, t: float | Array) -> Posterior:
        """Return the law of every clean value.

        Args:
            x_t: (batch, channel, *lattice), NumPy or torch.
            t: one time in [0, 1], or one per sample.

        Raises InputError for shapes, values or times that do not fit.
        """
        return self._in_kind(self._posterior, x_t, t)

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        """Return the number of entries read for one sample, those of the boxes of all its sites."""
        reach = max(shape) if self.radius is None else self.radius
        boxes = [sum(min(i, reach) + min(n - 1 - i, reach) + 1 for i in range(n)) for n in shape[1:]]
        return int(np.prod(boxes)) * shape[0] ** 2

    @abstractmethod
    def _posterior(self, x_t: FloatArray, t: float) -> ArrayLaw:
        """Return the laws at one time."""

    def _in_kind(self, law: Callable[[FloatArray, float], ArrayLaw], x_t: Array, t: float | Array) -> Posterior:
        """Return the law of arrays in arrays, of tensors in tensors; samples of equal time are computed together."""
        tensor = None if isinstance(x_t, np.ndarray) else x_t
        if tensor is not None and not hasattr(tensor, "detach"):
            raise InputError(f"x_t must be a NumPy array or a torch tensor, got {type(x_t).__name__}")
        if tensor is not None:
            x_t = tensor.detach().double() if self.in_torch else tensor.detach().cpu().numpy()
        x = self._check(x_t)
        times = check_times(t, len(x))

        def at(x: FloatArray, t: float) -> ArrayLaw:
            if isinstance(x, np.ndarray):
                check_values(self.data, self.channel, t, x[:, self.used])
            return law(x, check_time(t))

        if times.ndim == 0:
            answer: Any = at(x, times.item())
        else:
            parts = [at(x[times == u], u) for u in np.unique(times)]
            back, together = np.argsort(np.argsort(times, kind="stable")), namespace(x).concatenate
            each = [_arrays(part) for part in parts]
            answer = replace(parts[0], **{name: together([one[name] for one in each])[back] for name in each[0]})
        if tensor is None:
            return answer
        import torch

        dtype = tensor.dtype if tensor.is_floating_point() else torch.float64
        make: Any = torch.Tensor.to if self.in_torch else partial(torch.tensor, device=tensor.device)
        return replace(answer, **{name: make(value, dtype=dtype) for name, value in _arrays(answer).items()})

    def _check(self, x_t: Array) -> FloatArray:
        x = array_of("x_t", x_t).astype(float) if isinstance(x_t, np.ndarray) else x_t
        if x.shape[1:] != self.shape:
            shape = ", ".join(map(str, self.shape))
            raise InputError(f"x_t must have shape (batch, {shape}), channel axis included, got {tuple(x.shape)}")
        x = np.where(self.used, x, 0.0) if isinstance(x, np.ndarray) else x
        if not namespace(x).isfinite(x).all():
            raise InputError("x_t must be finite, got NaN or infinity")
        return x


class ExactDenoiser(ArrayDenoiser):
    """The true posterior p(x_0,i | x_t in the box of `radius` around i) of every site: what training aims at.

    Data are (batch, *model.image_shape): one channel, or for domain walls two, whose box holds the bonds between faces
    within `radius` of the bond's own two, as in `DomainWalls.tripartition`. Entries that are no sites are not read and
    get log-odds 0. Spins and bonds are answered by `Bernoulli`, tokens by `Categorical`, fields and mixtures by
    `Normal` (mean and variance of the true law).

    Args:
        model: any of `lattice_diffusion.models` with an exact solution.
        channel: the noise.
        radius: Chebyshev radius of the box; None, or one that covers the lattice: everything.
        strict: refuse domain walls under erasure that contradict themselves. False, for states that were generated
            rather than noised: a bond then takes the sign that a short kept path in its box gives it.

    Raises InputError for a radius that is no integer >= 0, a channel that does not fit, or a model without solution.
    """

    def __init__(self, model: Any, channel: Channel, radius: int | None = None, *, strict: bool = True) -> None:
        self.model, self.strict, self._solver = model, strict, model.solver
        channel = for_model(model, channel)
        self._solver.check_channel(channel)
        super().__init__(channel, model.image_shape, radius)
        self.used, self.data = model.sites.reshape(self.shape), model.data
        if not isinstance(self._solver, DiscreteSolver):
            self._fields, self.in_torch = LocalFields(model.lattice, self._solver), True

    def blind(self, x_t: Array, t: float | Array) -> Posterior:
        """Return the law without each site's own observation, p(x_0,i | x_B), where B is the box less i.

        For spins, log-odds given everything are 2 h_i more, h the channel's likelihood field.
        """
        return self._in_kind(lambda x, t: self._laws(x, t, blind=True), x_t, t)

    def _posterior(self, x_t: FloatArray, t: float) -> ArrayLaw:
        return self._laws(x_t, t, blind=False)

    def _laws(self, x_t: FloatArray, t: float, blind: bool) -> ArrayLaw:
        x = x_t.reshape(-1, *self.model.lattice.shape)
        if isinstance(self._solver, SpinSolver):
            return Bernoulli(self._log_odds(x, t, blind).reshape(x_t.shape))
        if isinstance(self._solver, TokenSolver):
            weights = self.channel.likelihoods(x, t)  # type: ignore[attr-defined]
            with np.errstate(divide="ignore"):
                log_laws = np.log(self._solver.local_laws(weights, self.model.box, self.radius, blind))
            return Categorical(np.moveaxis(log_laws[:, None], -1, LEVEL_AXIS), tuple(map(float, range(self._solver.q))))
        gaussian = check_gaussian(self.channel)
        alpha, sigma = gaussian.alpha(t), gaussian.sigma(t)
        law = self._fields.blind(x, alpha, sigma, self.radius)
        if not blind:
            law = law.observe(x, alpha, sigma)
        variance = namespace(x).broadcast_to(law.variance, x.shape)
        return Normal(law.mean.reshape(x_t.shape), variance.reshape(x_t.shape))

    def _log_odds(self, x: FloatArray, t: float, blind: bool) -> FloatArray:
        h = np.where(self.model.sites, self.channel.likelihood_field(x, t), 0.0)
        if self.strict:
            self._solver.check_possible(h)
        certain = np.isinf(h)
        wanted = np.ones(h.shape, bool) if blind else ~certain
        log_odds = self._solver.blind_log_odds(h, self.model.box, self.radius, wanted)
        return log_odds if blind else np.where(certain, h, 2.0 * np.where(certain, 0.0, h) + log_odds)


def _arrays(law: ArrayLaw) -> dict[str, NDArray]:
    return {name: value for name, value in vars(law).items() if hasattr(value, "ndim")}
