"""What models share: defaults for models on a lattice, predicted transition times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel
from ..lattice import Lattice, Tripartition, check_lattice

DataKind = Literal["real", "spins", "tokens"]


@dataclass(frozen=True)
class Transition:
    """Where a model is predicted to change its phase along the diffusion.

    Attributes:
        time: t* in [0, 1] on the channel's schedule.
        kind: "speciation" for a finite-size crossover, t* -> 1 for large systems, at which noise hides the
            global label; "critical" for a transition at finite t.
        source: formula and where it comes from.
    """

    time: float
    kind: Literal["speciation", "critical"]
    source: str


class OnLattice:
    """Defaults for a model with one value at every site of its field `lattice`.

    A model inherits them, or defines the same names itself. The defaults are those of spins without a transition,
    drawn without options.
    """

    data: ClassVar[DataKind] = "spins"
    geometry: ClassVar[tuple[str, ...]] = ("shape", "periodic")
    placement_keys: ClassVar[tuple[str, ...]] = ("center", "patch")
    dimension: ClassVar[int | None] = None
    sampling: ClassVar[Mapping[str, Any]] = {}
    lattice: Lattice

    def __post_init__(self) -> None:
        check_lattice(self.lattice)

    @classmethod
    def from_parameters(
        cls, shape: int | Sequence[int], periodic: bool | Sequence[bool] = False, **numbers: Any
    ) -> Self:
        """Return the model; numbers that are None take their defaults."""
        given = {name: value for name, value in numbers.items() if value is not None}
        return cls(Lattice(shape, periodic), **given)  # type: ignore[call-arg]

    @classmethod
    def numbers(cls) -> dict[str, Any]:
        return {field.name: field.default for field in fields(cls) if field.name != "lattice"}  # type: ignore[arg-type]

    @property
    def sites(self) -> NDArray[np.bool_]:
        return np.ones(self.lattice.shape, bool)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return (1, *self.lattice.shape)

    @property
    def axes(self) -> tuple[str, ...]:
        return axis_names(self.lattice.ndim)

    def box(self, site: Sequence[int], radius: int) -> NDArray[np.bool_]:
        return self.lattice.box(site, radius)

    def sampling_options(self) -> dict[str, Any]:
        return {}

    def tripartition(self, radius: int, center: Sequence[int] | None = None, patch: int = 1) -> Tripartition:
        """Return A the patch around `center` (the middle site), B the box of `radius` around it less A, C the rest."""
        return self.lattice.tripartition(self.lattice.center if center is None else center, radius, patch)

    def placement(self, center: Sequence[int] | None = None, patch: int = 1) -> dict[str, Any]:
        return {"center": list(self.lattice.center if center is None else center), "patch": patch}

    def transition(self, channel: Channel) -> Transition | None:
        return None

    def prefactor_exponent(self, channel: Channel, t: float) -> tuple[float, float]:
        """Return between which values p lies in I(r) ~ r^-p exp(-r/xi), equal where it is known.

        The default is for sites that single lines of correlation connect with the face of a box, d - 1 dimensional.
        I is the square of a correlation, averaged over the noise and summed over the face: r^-(d-1)/2 where the two
        lines of the square are free (Ornstein-Zernike), r^0 where what they share of the noise binds them.
        """
        return 0.0, (self.lattice.ndim - 1) / 2


def axis_names(ndim: int) -> tuple[str, ...]:
    """Return the names of the axes of data on a lattice: site, (row, column), or axis0, axis1, ..."""
    return {1: ("site",), 2: ("row", "column")}.get(ndim, tuple(f"axis{k}" for k in range(ndim)))
