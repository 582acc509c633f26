"""Whether known answers come out: values whose exact ones are known by other means.

Enumeration, a determinant, Onsager's integral, a symmetry of percolation: compared to rounding where both are exact, in
standard errors where one is sampled.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import exact, models, samplers
from .channels import BitFlip, Erasure, Gaussian
from .estimate import Estimate
from .exact.spins import block_states
from .lattice import Lattice

MAX_Z = 5.0
ROUNDING = 1e-10
SEED = 20_240


@dataclass(frozen=True)
class Check:
    """A value beside its exact one.

    Attributes:
        stderr: of a sampled value, which may be off by MAX_Z of it; None: off by ROUNDING, relative to 1.
        problem: what broke, where there is no value.
    """

    name: str
    value: float | None
    exact: float
    stderr: float | None
    seconds: float
    problem: str = ""

    @property
    def deviation(self) -> float | None:
        """In standard errors (z) where the value is sampled, else the difference."""
        if self.value is None:
            return None
        return (self.value - self.exact) / (self.stderr or 1.0)

    @property
    def passed(self) -> bool:
        limit = ROUNDING if self.stderr is None else MAX_Z
        return self.deviation is not None and abs(self.deviation) <= limit


def transfer_matrix() -> tuple[Estimate, float]:
    """E[s | x] of a spin on 4 x 3 sites under bit flips, by transfer matrix and by all 4096 states."""
    lattice, beta, channel, t = Lattice((4, 3)), 0.44, BitFlip(), 0.3
    x_t = np.where(np.arange(12).reshape(1, 4, 3) % 5 < 2, -1.0, 1.0)
    everywhere = np.ones(lattice.shape, bool)
    found = exact.posterior_mean(models.Ising(lattice, beta), channel, t, x_t, everywhere)[0, 1, 1]
    s = block_states(12).astype(float)
    i, j = lattice.bonds.T
    weight = np.exp(beta * (s[:, i] * s[:, j]).sum(axis=1) + s @ channel.likelihood_field(x_t, t).ravel())
    return Estimate(float(found), 0.0, 0, ""), float(weight @ s[:, 4] / weight.sum())


def determinants() -> tuple[Estimate, float]:
    """I(A;C|B) of the noisy massive field on 6 x 5 sites, by sparse solves and by four determinants."""
    lattice, channel, t = Lattice((6, 5)), Gaussian("linear"), 0.6
    model, parts = models.GaussianField(lattice, 0.3), lattice.tripartition((2, 2), radius=1)
    covariance = model.solver.covariance(channel, t, np.ones(lattice.shape, bool))

    def log_det(region: Any) -> float:
        keep = np.flatnonzero(region)
        return float(np.linalg.slogdet(covariance[np.ix_(keep, keep)])[1])

    known = 0.5 * (log_det(parts.AB) + log_det(parts.BC) - log_det(parts.B) - log_det(parts.ABC))
    return exact.cmi(model, channel, t, parts), known


def onsager() -> tuple[Estimate, float]:
    """Energy per site of the Ising model at beta = 0.3 by Swendsen-Wang, and by Onsager's integral (1944)."""
    from scipy.special import ellipk

    beta, rng = 0.3, np.random.default_rng(SEED)
    lattice = Lattice((48, 40), periodic=True)  # 25 correlation lengths: the infinite lattice but for e^-25
    spins = samplers.ising(lattice, beta, 1500, rng, method="swendsen_wang", thin=2)
    m = (2 * np.sinh(2 * beta) / np.cosh(2 * beta) ** 2) ** 2
    known = -(1 + (2 * np.tanh(2 * beta) ** 2 - 1) * 2 / np.pi * ellipk(m)) / np.tanh(2 * beta)
    return samplers.energy(spins, lattice), float(known)


def percolation() -> tuple[Estimate, float]:
    """Entropy of the label of erased loops on 12 x 13 faces at t = 1/2: log 2 / 2, since the shape is self-dual."""
    model, rng = models.DomainWalls((12, 13)), np.random.default_rng(SEED)
    return model.solver.label_entropy(Erasure(), 0.5, 10_000, rng), 0.5 * float(np.log(2))


def chain() -> tuple[Estimate, float]:
    """I(A;C|B) of the erased Ising chain, averaged over exact posteriors, and in closed form."""
    lattice, channel, t, rng = Lattice((20,)), Erasure(), 0.6, np.random.default_rng(SEED)
    model, parts = models.IsingChain(lattice, 0.9), lattice.tripartition((9,), radius=1)
    known = exact.cmi(model, channel, t, parts, method="closed").value
    return exact.cmi(model, channel, t, parts, 20_000, rng, method="sampled"), known


def network() -> tuple[Estimate, float]:
    """What a site's own observation adds to the log-odds of a local network: twice its likelihood field."""
    from .denoisers import LocalNet

    net, t = LocalNet(1, width=8, depth=1).double(), 0.4
    x_t = np.random.default_rng(SEED).standard_normal((1, 1, 5, 4))
    seen: Any = net(x_t, t)
    blind: Any = net.blind(x_t, t)
    known = 2 * Gaussian("linear").likelihood_field(x_t, t)
    return Estimate(float((seen.log_odds - blind.log_odds)[0, 0, 2, 1]), 0.0, 0, ""), float(known[0, 0, 2, 1])


CHECKS: dict[str, Callable[[], tuple[Estimate, float]]] = {
    "Ising posterior: transfer matrix, enumeration": transfer_matrix,
    "Gaussian field: CMI, determinants": determinants,
    "Ising energy: Swendsen-Wang, Onsager": onsager,
    "Loops: label entropy, self-duality": percolation,
    "Ising chain: CMI sampled, closed form": chain,
    "Network: own observation, Bayes' rule": network,
}


def measure(name: str) -> Check:
    """One check; whatever it raises makes it fail."""
    start = time.perf_counter()
    try:
        found, known = CHECKS[name]()
    except Exception as error:
        return Check(name, None, np.nan, None, time.perf_counter() - start, f"{type(error).__name__}: {error}")
    stderr = float(found.stderr) or None
    return Check(name, float(found.value), float(known), stderr, time.perf_counter() - start)


def measure_all() -> list[Check]:
    return [measure(name) for name in CHECKS]
