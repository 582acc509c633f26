"""Problems whose answer is known: a model, its noise, a division into A, B and C, and the true I(A;C|B).

The truth is a closed form where one is known, and otherwise a Rao-Blackwell average over exact posteriors, kept with
its error in truths.json, which `python -m lattice_diffusion.estimators.truths` makes. So is `spread`, the standard
deviation of the exact log ratio log p(a|b,c)/p(a|b) of single samples: spread/sqrt(n) is the statistical floor.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..channels import BitFlip, Channel, Erasure, Gaussian
from ..errors import InputError
from ..estimate import Estimate
from ..exact import cmi
from ..lattice import Lattice, Tripartition
from ..models import CurieWeiss, DomainWalls, GaussianField, GaussianMixture, Ising
from .charges import Charges

TRUTHS = Path(__file__).with_name("truths.json")
SIZES = (5_000, 20_000, 60_000)  # samples of the fixed track


@dataclass(frozen=True, eq=False)
class Task:
    """One problem; make your own with any model that `exact` knows, or any truth you trust.

    Attributes:
        name: as in the tables; it also seeds the samples.
        model, channel, t: the law of the noisy lattice x_t.
        parts: A | B | C.
        truth: I(A;C|B) in nats, with its error and its method.
        spread: standard deviation of the exact log ratio of one sample, None where it is not known.
    """

    name: str
    model: Any
    channel: Channel
    t: float
    parts: Tripartition
    truth: Estimate
    spread: float | None = None

    @property
    def truth_method(self) -> str:
        return self.truth.method

    @property
    def dims(self) -> tuple[int, int, int]:
        """Dimensions of A, B and C."""
        return (int(self.parts.A.sum()), int(self.parts.B.sum()), int(self.parts.C.sum()))

    def floor(self, n: int) -> float | None:
        """Root mean square error of the exact log ratio averaged over n samples."""
        return None if self.spread is None else self.spread / n**0.5

    def sample(self, n: int, rng: np.random.Generator) -> NDArray:
        """Noisy samples x_t, (n, *lattice)."""
        return self.channel.corrupt(self.model.sample(n, rng), self.t, rng)

    def stream(self, batch: int, rng: np.random.Generator) -> Iterator[NDArray]:
        """Fresh batches without end."""
        while True:
            yield self.sample(batch, rng)


Problem = tuple[Any, Channel, float, Tripartition]
_LINEAR = Gaussian("linear")


def _charges(t: float) -> Problem:
    lattice = Lattice((9, 9), periodic=True)
    return Charges(lattice, 1e-5), _LINEAR, t, lattice.tripartition(lattice.center, radius=2)


def _chain() -> Problem:
    lattice = Lattice((6,))
    return Charges(lattice, 0.1), _LINEAR, 0.2, lattice.tripartition((2,), radius=1)


def _field(mass_squared: float, t: float, radius: int = 2, patch: int = 1) -> Problem:
    lattice = Lattice((9, 9))
    return GaussianField(lattice, mass_squared), _LINEAR, t, lattice.tripartition(lattice.center, radius, patch)


def _mixture(mass_squared: float | None, t: float, patch: int) -> Problem:
    lattice = Lattice((8, 8))
    parts = lattice.tripartition((3, 3), radius=1, patch=patch)
    return GaussianMixture(lattice, mass_squared=mass_squared), _LINEAR, t, parts


def _ising(channel: Channel, t: float) -> Problem:
    lattice = Lattice((11, 11))
    return Ising(lattice, beta=0.44), channel, t, lattice.tripartition(lattice.center, radius=1)


def _curie_weiss(channel: Channel, t: float) -> Problem:
    return CurieWeiss(Lattice((121,)), beta=1.2), channel, t, Tripartition.from_sizes(1, 20, 100)


def _loops(channel: Channel, t: float, radius: int) -> Problem:
    model = DomainWalls((7, 6))
    return model, channel, t, model.tripartition(bond=((3, 2), (3, 3)), radius=radius)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "charges-3": lambda: _charges(0.003837),
    "charges-1": lambda: _charges(0.03179),
    "charges-0.5": lambda: _charges(0.05879),
    "charges-0.05": lambda: _charges(0.1724),
    "charges-0.001": lambda: _charges(0.3595),
    "charges-1e-5": lambda: _charges(0.5209),
    "charges-chain": _chain,
    "field-critical": lambda: _field(0.01, 0.7),
    "field-massive": lambda: _field(1.0, 0.5),
    "mixture-white": lambda: _mixture(None, 0.8, 2),
    "mixture-field": lambda: _mixture(0.5, 0.6, 1),
    "ising-gaussian": lambda: _ising(_LINEAR, 0.7),
    "ising-bitflip": lambda: _ising(BitFlip(), 0.5),
    "ising-erasure": lambda: _ising(Erasure(), 0.7),
    "curie-weiss-gaussian": lambda: _curie_weiss(_LINEAR, 0.9),
    "curie-weiss-bitflip": lambda: _curie_weiss(BitFlip(), 0.5),
    "loops-gaussian": lambda: _loops(_LINEAR, 0.45, 0),
    "loops-bitflip": lambda: _loops(BitFlip(), 0.1, 1),
    "loops-erasure": lambda: _loops(Erasure(), 0.3, 1),
    "field-patch": lambda: _field(0.01, 0.5, radius=1, patch=3),
}


def names() -> list[str]:
    """All registered tasks."""
    return list(PROBLEMS)


@cache
def get(name: str) -> Task:
    """The task of that name, with its truth.

    Raises:
        ValueError: no such task.
    """
    model, channel, t, parts = problem(name)
    known = json.loads(TRUTHS.read_text())["tasks"][name]
    if known["stderr"] == 0.0:
        truth = cmi(model, channel, t, parts, method="closed")
    else:
        truth = Estimate(known["value"], known["stderr"], known["n_samples"], known["method"])
    return Task(name, model, channel, t, parts, truth, known["spread"])


def problem(name: str) -> Problem:
    """Model, channel, time and division of a registered task, without its truth."""
    if name not in PROBLEMS:
        raise InputError(f"no task is named {name!r}; known are {', '.join(PROBLEMS)}")
    return PROBLEMS[name]()
