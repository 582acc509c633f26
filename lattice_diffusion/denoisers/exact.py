"""The true posterior of every site given the noisy data in a box around it: the denoiser that training aims at."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel, check_gaussian
from ..exact import ExactModel
from ..exact.domain_walls import DomainWallSolver
from ..exact.local_fields import LocalFields
from ..exact.spins import SpinSolver
from .array_denoiser import ArrayDenoiser
from .posterior import Array, Bernoulli, Normal, Posterior


class ExactDenoiser(ArrayDenoiser):
    """p(x_0,i | x_t in the box of `radius` around i), for every site i at once and without error.

    Data are (batch, channel, *lattice): one channel, or for domain walls the two of their images, whose box holds
    the bonds between faces within `radius` of the bond's own two, as in `DomainWalls.tripartition`. Their unused
    entries are not read and get log-odds 0. Spins and bonds are answered by `Bernoulli`, fields and mixtures by
    `Normal` (mean and variance of the true law).

    Args:
        model: any of `lattice_diffusion.models` with an exact solution.
        channel: the noise.
        radius: Chebyshev radius of the box; None, or one that covers the lattice: everything.
        strict: refuse domain walls under erasure that contradict themselves. False, for states that were generated
            rather than noised: a bond then takes the sign that a short kept path in its box gives it.

    Raises:
        ValueError: a radius that is no integer >= 0, a channel that does not fit, a model without exact solution.
    """

    def __init__(self, model: ExactModel, channel: Channel, radius: int | None = None, *, strict: bool = True) -> None:
        self.model, self.strict = model, strict
        self._solver: Any = model.solver
        self._solver.check_channel(channel)
        lattice = model.lattice.shape
        super().__init__(channel, lattice if isinstance(self._solver, DomainWallSolver) else (1, *lattice), radius)
        if not isinstance(self._solver, SpinSolver):
            self._fields = LocalFields(model.lattice, self._solver)

    def blind(self, x_t: Array, t: float | Array) -> Posterior:
        """The same without each site's own observation, p(x_0,i | x_B): B is the box less i.

        For spins, log-odds given everything are 2 h_i more, h the channel's likelihood field.
        """
        return self._in_kind(self._blind, x_t, t)

    def _posterior(self, x_t: NDArray[np.float64], t: float) -> Bernoulli | Normal:
        return self._laws(x_t, t, blind=False)

    def _blind(self, x_t: NDArray[np.float64], t: float) -> Bernoulli | Normal:
        return self._laws(x_t, t, blind=True)

    def _laws(self, x_t: NDArray[np.float64], t: float, blind: bool) -> Bernoulli | Normal:
        x = x_t.reshape(-1, *self.model.lattice.shape)
        if isinstance(self._solver, SpinSolver):
            return Bernoulli(self._log_odds(x, t, blind).reshape(x_t.shape))
        gaussian = check_gaussian(self.channel)
        alpha, sigma = gaussian.alpha(t), gaussian.sigma(t)
        law = self._fields.blind(x, alpha, sigma, self.radius)
        if not blind:
            law = law.observe(x, alpha, sigma)
        return Normal(law.mean.reshape(x_t.shape), np.broadcast_to(law.variance, x.shape).reshape(x_t.shape))

    def _log_odds(self, x: NDArray[np.float64], t: float, blind: bool) -> NDArray[np.float64]:
        h = np.where(self._used().reshape(x.shape[1:]), self.channel.likelihood_field(x, t), 0.0)
        if self.strict and isinstance(self._solver, DomainWallSolver):
            self._solver.check_possible(h)
        certain = np.isinf(h)
        wanted = np.ones(h.shape, bool) if blind else ~certain
        log_odds = self._solver.blind_log_odds(h, self.model.lattice, self.radius, wanted)
        return log_odds if blind else np.where(certain, h, 2.0 * np.where(certain, 0.0, h) + log_odds)

    def _used(self) -> NDArray[np.bool_]:
        return self._solver.bonds if isinstance(self._solver, DomainWallSolver) else super()._used()
