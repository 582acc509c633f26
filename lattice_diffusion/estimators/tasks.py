"""Problems whose answer is known: a model, its noise, a division into A, B and C, and the true I(A;C|B).

The truth is exact where that is known, and otherwise a Rao-Blackwell average over exact posteriors, kept with its error
in truths.json, which `python -m lattice_diffusion.estimators.tasks` makes. So is `spread`, the standard
deviation of the exact log ratio log p(a|b,c)/p(a|b) of single samples: spread/sqrt(n) is the statistical floor.

TASKS are noisy lattices. GROUPS are further tasks, flat rows without noise, that are measured where they are asked for:
"tables" (many columns, copies, categories, a rare class), "atoms" (values of positive probability in A) and "functions"
(waves, products, heavy tails).
"""

import json
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .. import __version__
from ..channels import BitFlip, Channel, Erasure, Gaussian, for_model
from ..errors import InputError
from ..estimate import Estimate
from ..exact import cmi
from ..exact.gaussian import GaussianSolver
from ..lattice import Lattice, Rng, Tripartition
from ..models import CurieWeiss, DomainWalls, GaussianField, GaussianMixture, Ising, OnLattice, PottsChain
from ..models.base import DataKind
from ..registry import hint
from . import tables
from .classical import exact_log_ratios
from .tables import Categories, EightBit, Numbers, RareClass, Rectified, Table

TRUTHS = Path(__file__).with_name("truths.json")
SIZES = (5_000, 20_000, 60_000)  # samples, unless told otherwise


@dataclass(frozen=True, eq=False)
class Task:
    """One problem; make your own with any model that `exact` knows, or any truth you trust.

    Attributes:
        name: as in the tables; it also seeds the samples.
        model, channel, t: the law of the noisy lattice x_t; channel and t are None where there is no noise.
        parts: A | B | C.
        truth: I(A;C|B) in nats, with its error and its method.
        spread: standard deviation of the exact log ratio of one sample, None where it is not known.
    """

    name: str
    model: Any
    channel: Channel | None
    t: float | None
    parts: Tripartition
    truth: Estimate
    spread: float | None = None

    def __post_init__(self) -> None:
        if self.channel is not None:
            object.__setattr__(self, "channel", for_model(self.model, self.channel))

    @property
    def dims(self) -> tuple[int, int, int]:
        """Dimensions of A, B and C."""
        return (int(self.parts.A.sum()), int(self.parts.B.sum()), int(self.parts.C.sum()))

    def floor(self, n: int) -> float | None:
        """Return the root mean square error of the exact log ratio averaged over n samples."""
        return None if self.spread is None else self.spread / n**0.5

    def sample(self, n_samples: int, rng: Rng = None) -> NDArray:
        """Return noisy samples x_t, (n_samples, *lattice)."""
        rng = np.random.default_rng(rng)
        x_0 = self.model.sample(n_samples, rng)
        return x_0 if self.channel is None or self.t is None else self.channel.corrupt(x_0, self.t, rng)


@dataclass(frozen=True)
class Charges(OnLattice):
    """Charges that almost add up to zero: a Gaussian field in which far sites tell much about a near one.

        x = (div E + m phi) / sqrt(2 d + m^2),   E white on the bonds, phi white on the sites,
        Cov(x_0) = (m^2 - Laplacian) / (2 d + m^2),

    the inverse of the massive free field's covariance. For m -> 0 the total charge is conserved on the whole lattice,
    so that C fixes what A + B must hold (Gauss's law seen from outside), and I(A;C|B) grows like log(1/m) at t = 0
    although only neighbours are correlated. Noise cuts it off, and time alone spans 10^-5 to 3 nats in the same few
    dimensions: one knob for the benchmark, closed form throughout. Gaussian noise only.

    Args:
        mass_squared: m^2 > 0; the smaller, the better conserved.
    """

    data: ClassVar[DataKind] = "real"
    lattice: Lattice
    mass_squared: float

    def __post_init__(self) -> None:
        if not 0.0 < self.mass_squared < np.inf:
            raise InputError(f"mass_squared must be finite and > 0, got {self.mass_squared}")

    @property
    def _scale(self) -> float:
        return 1.0 / (2 * self.lattice.ndim + self.mass_squared)

    @cached_property
    def _divergence(self) -> sparse.csr_array:
        """(N, n_bonds), +1 and -1 at the two ends of every bond."""
        bonds = self.lattice.bonds
        signs, column = np.repeat([1.0, -1.0], len(bonds)), np.tile(np.arange(len(bonds)), 2)
        return sparse.csr_array((signs, (bonds.T.ravel(), column)), shape=(self.lattice.n_sites, len(bonds)))

    @cached_property
    def solver(self) -> GaussianSolver:
        """The solver of `exact`."""
        laplacian = (self._divergence @ self._divergence.T).toarray()
        covariance = self._scale * (laplacian + self.mass_squared * np.eye(self.lattice.n_sites))
        return GaussianSolver(sparse.csc_array(np.linalg.inv(covariance)), self.lattice.shape)

    def sample(self, n_samples: int, rng: Rng = None) -> NDArray[np.float64]:
        """Return (n_samples, *lattice.shape), from the fluxes E and the sources phi."""
        rng = np.random.default_rng(rng)
        flux = rng.standard_normal((n_samples, self._divergence.shape[1]))
        source = rng.standard_normal((n_samples, self.lattice.n_sites))
        x = (self._divergence @ flux.T).T + np.sqrt(self.mass_squared) * source
        return np.sqrt(self._scale) * x.reshape(n_samples, *self.lattice.shape)


# -- the tasks ---------------------------------------------------------------------------------------------

Problem = tuple[Any, Channel, float, Tripartition]
LINEAR = Gaussian("linear")


def charges(t: float) -> Problem:
    lattice = Lattice((9, 9), periodic=True)
    return Charges(lattice, 1e-5), LINEAR, t, lattice.tripartition(lattice.center, radius=2)


def charges_chain() -> Problem:
    lattice = Lattice((6,))
    return Charges(lattice, 0.1), LINEAR, 0.2, lattice.tripartition((2,), radius=1)


def field(mass_squared: float, t: float, radius: int = 2, patch: int = 1) -> Problem:
    lattice = Lattice((9, 9))
    return GaussianField(lattice, mass_squared), LINEAR, t, lattice.tripartition(lattice.center, radius, patch)


def mixture(mass_squared: float | None, t: float, patch: int) -> Problem:
    lattice = Lattice((8, 8))
    parts = lattice.tripartition((3, 3), radius=1, patch=patch)
    return GaussianMixture(lattice, mass_squared=mass_squared), LINEAR, t, parts


def ising(channel: Channel, t: float) -> Problem:
    lattice = Lattice((11, 11))
    return Ising(lattice, beta=0.44), channel, t, lattice.tripartition(lattice.center, radius=1)


def curie_weiss(channel: Channel, t: float) -> Problem:
    return CurieWeiss(Lattice((121,)), beta=1.2), channel, t, Tripartition.from_sizes(1, 20, 100)


def loops(channel: Channel, t: float, radius: int) -> Problem:
    model = DomainWalls((7, 6))
    return model, channel, t, model.tripartition(bond=((3, 2), (3, 3)), radius=radius)


def potts(channel: Channel, t: float) -> Problem:
    lattice = Lattice((16,))
    return PottsChain(lattice, coupling=3.0, q=3), channel, t, lattice.tripartition((7,), radius=2)


TASKS: dict[str, Problem] = {
    "charges-3": charges(0.003837),
    "charges-1": charges(0.03179),
    "charges-0.5": charges(0.05879),
    "charges-0.05": charges(0.1724),
    "charges-0.001": charges(0.3595),
    "charges-1e-5": charges(0.5209),
    "charges-chain": charges_chain(),
    "field-critical": field(0.01, 0.7),
    "field-massive": field(1.0, 0.5),
    "mixture-white": mixture(None, 0.8, patch=2),
    "mixture-field": mixture(0.5, 0.6, patch=1),
    "ising-gaussian": ising(LINEAR, 0.7),
    "ising-bitflip": ising(BitFlip(), 0.5),
    "ising-erasure": ising(Erasure(), 0.7),
    "curie-weiss-gaussian": curie_weiss(LINEAR, 0.9),
    "curie-weiss-bitflip": curie_weiss(BitFlip(), 0.5),
    "loops-gaussian": loops(LINEAR, 0.45, radius=0),
    "loops-bitflip": loops(BitFlip(), 0.1, radius=1),
    "loops-erasure": loops(Erasure(), 0.3, radius=1),
    "field-patch": field(0.01, 0.5, radius=1, patch=3),
    "potts-erasure": potts(Erasure(), 0.6),
}


GROUPS: dict[str, dict[str, Table]] = {
    "tables": {
        "table-numbers": Numbers(20),
        "table-wide": Numbers(100),
        "table-copies": Numbers(10, copies=2, constants=3),
        "table-categories": Categories(20),
        "table-rare-class": RareClass(10),
    },
    "atoms": {"atoms-rectified": Rectified(), "atoms-8-bit": EightBit()},
    "functions": {
        "function-wave": tables.WAVE,
        "function-signs": tables.SIGNS,
        "function-product": tables.PRODUCT,
        "function-two-of-six": tables.TWO_OF_SIX,
        "function-repeated": tables.REPEATED,
        "function-lognormal": tables.Lognormal(),
        "function-student": tables.Student(),
    },
}


def names() -> list[str]:
    """Return the names of all tasks, those of the groups last."""
    return [*TASKS, *(name for group in GROUPS.values() for name in group)]


@cache
def find(name: str) -> Task:
    """Return the task of that name, with its truth. Raises InputError for an unknown name."""
    if name not in TASKS:
        for group in GROUPS.values():
            if law := group.get(name):
                spread = float(law.log_ratios(law.sample(50_000, 0)).std())
                return Task(name, law, None, None, law.parts, Estimate(law.information, 0.0, 0, "quadrature"), spread)
        raise InputError(f"unknown task {name!r}; {hint(name, [*GROUPS, *names()])}")
    known = json.loads(TRUTHS.read_text())["tasks"][name]
    if known["method"] == "closed form":
        truth = cmi(*TASKS[name], method="closed")
    else:
        truth = Estimate(known["value"], known["stderr"], known["n_samples"], known["method"])
    return Task(name, *TASKS[name], truth, known["spread"])


# -- their truths ------------------------------------------------------------------------------------------

# k log 2 times the probability that the two faces of A are connected without it, on all bonds less on those of B
EXACT = {"loops-erasure": Estimate(0.09219083519245472, 0.0, 0, "transfer matrix of bond percolation")}


def measure(name: str, rng: Rng, n_samples: int, n_spread: int, batch: int = 5_000) -> dict[str, Any]:
    """Return the truth of a task, with its error, and the spread of its log ratio, from `n_spread` noisy samples."""
    rng = np.random.default_rng(rng)
    model, channel, t, parts = TASKS[name]
    truth = cmi(model, channel, t, parts, n_samples, rng)
    log_ratios = []
    for _ in range(0, n_spread, batch):
        x_t = channel.corrupt(model.sample(batch, rng), t, rng)
        log_ratios.append(exact_log_ratios(model, channel, t, x_t, parts))
    return {**asdict(truth), "spread": float(np.concatenate(log_ratios).std(ddof=1))}


def main(seed: int = 20260823) -> None:
    """Write truths.json."""
    known = {}
    for name, stream in zip(TASKS, np.random.SeedSequence(seed).spawn(len(TASKS)), strict=True):
        known[name] = measure(name, np.random.default_rng(stream), n_samples=1_000_000, n_spread=50_000)
        known[name] |= asdict(EXACT[name]) if name in EXACT else {}
        print(f"{name:22} {known[name]['value']:.6g} ± {known[name]['stderr']:.1e}, spread {known[name]['spread']:.4g}")
    source = {"command": "python -m lattice_diffusion.estimators.tasks", "seed": seed, "package_version": __version__}
    TRUTHS.write_text(json.dumps({"source": source, "tasks": known}, indent=1) + "\n")


if __name__ == "__main__":
    main()
