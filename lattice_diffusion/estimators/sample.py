"""Samples of A, B and C as flat arrays, with the lattice they came from where there is one; what is refused of them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..channels import Channel
from ..errors import InputError, array_of, shown
from ..lattice import Tripartition

FEW_VALUES = 8  # columns with so few among PROBE samples are spins or categories, not continuous
PROBE = 200


@dataclass(frozen=True, eq=False)
class Sample:
    """n joint samples.

    Attributes:
        a, b, c: float64 (n, d_A), (n, d_B), (n, d_C); d_B may be 0. Lattice sites in C order of the masks.
        x_t: the lattice samples as they were given, (n, *lattice) or (n, channel, *lattice); None for flat data.
        parts, channel, t: A | B | C on the lattice and the noise, None where not given.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    c: NDArray[np.float64]
    x_t: NDArray | None = None
    parts: Tripartition | None = None
    channel: Channel | None = None
    t: float | None = None

    def __len__(self) -> int:
        return len(self.a)

    def take(self, rows: NDArray[np.intp]) -> "Sample":
        """The samples of these indices."""
        x_t = None if self.x_t is None else self.x_t[rows]
        return replace(self, a=self.a[rows], b=self.b[rows], c=self.c[rows], x_t=x_t)

    @property
    def columns(self) -> dict[str, NDArray[np.float64]]:
        return {"a": self.a, "b": self.b, "c": self.c}


def sample_of(
    a: ArrayLike,
    c: ArrayLike | None,
    b: ArrayLike | None = None,
    parts: Tripartition | None = None,
    channel: Channel | None = None,
    t: float | None = None,
) -> Sample:
    """The `Sample` of flat arrays a, c, b, or of lattice samples `a` divided by `parts`; see `Estimator.fit`."""
    if parts is not None:
        if not isinstance(parts, Tripartition):
            raise InputError(f"parts must be a Tripartition, got {shown(parts)}")
        if c is not None or b is not None:
            raise InputError("parts divide x_t into A, B and C; give either parts or the flat arrays c and b, not both")
        x_t = array_of("x_t", a)
        a_t, b_t, c_t = (_region(x_t, mask) for mask in (parts.A, parts.B, parts.C))
        sample = Sample(a_t, b_t, c_t, x_t, parts, channel, t)
    else:
        if c is None:
            raise InputError("C is missing; call fit(a, c, b) with flat arrays, or fit(x_t, parts) with a Tripartition")
        flat_a = _columns("a", a)
        flat_b = np.empty((len(flat_a), 0)) if b is None else _columns("b", b)
        sample = Sample(flat_a, flat_b, _columns("c", c), channel=channel, t=t)
    _check(sample)
    return sample


def translated(sample: Sample, copies: int, rng: np.random.Generator) -> Sample:
    """The samples, followed by `copies` random translations of all of them, wrapped around the lattice.

    The first axis of a mask with three, such as that of bonds, is not moved along.
    """
    if sample.x_t is None or sample.parts is None:
        raise InputError("share_positions needs lattice samples; call fit(x_t, parts), or leave it at 0 for flat ones")
    lattice = sample.parts.shape[-2:]
    shifts = list(np.ndindex(*lattice))[1:]
    if not isinstance(copies, int | np.integer) or not 0 < copies <= len(shifts):
        raise InputError(f"share_positions must be an integer from 0 to {len(shifts)} on this lattice, got {copies!r}")
    axes = tuple(range(-len(lattice), 0))
    chosen = rng.choice(len(shifts), copies, replace=False)
    moved = [np.roll(sample.x_t, shifts[i], axes) for i in chosen]
    return sample_of(np.concatenate([sample.x_t, *moved]), None, None, sample.parts, sample.channel, sample.t)


def group_index(groups: ArrayLike | None, n: int) -> NDArray[np.intp]:
    """(n,), groups numbered 0, 1, ...; every sample its own group where none are given."""
    if groups is None:
        return np.arange(n)
    try:
        labels = np.asarray(groups)
    except ValueError:
        raise InputError(f"groups must hold one label per sample, shape ({n},), got {shown(groups)}") from None
    if labels.shape != (n,):
        raise InputError(f"groups must hold one label per sample, shape ({n},), got {labels.shape}")
    return np.unique(labels, return_inverse=True)[1].astype(np.intp)


def _region(x_t: NDArray, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, d), the values on a mask, of all channels where x_t has them."""
    shape = mask.shape
    if x_t.shape[1:] == shape:
        return x_t[:, mask].astype(float)
    if x_t.ndim == len(shape) + 2 and x_t.shape[2:] == shape:
        return x_t[:, :, mask].reshape(len(x_t), -1).astype(float)
    sites = ", ".join(map(str, shape))
    raise InputError(f"x_t must have shape (n, {sites}) or (n, channel, {sites}), as parts have, got {x_t.shape}")


def _columns(name: str, x: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(array_of(name, x), float)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise InputError(f"{name} must have shape (n, d) or (n,), got {array.shape}; lattices go with a Tripartition")
    return array


def _check(sample: Sample) -> None:
    lengths = {name: len(x) for name, x in sample.columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            f"a, b and c must hold the same samples, got {lengths['a']}, {lengths['b']} and {lengths['c']}"
        )
    if len(sample) < 2:
        raise InputError(f"at least 2 samples are needed to give an error, got {len(sample)}")
    for name, x in sample.columns.items():
        if name != "b" and x.shape[1] == 0:
            raise InputError(f"{name.upper()} must hold at least one column or site, got none; only B may be empty")
        if not np.isfinite(x).all():
            row, column = (int(i) for i in np.argwhere(~np.isfinite(x))[0])
            raise InputError(f"{name} must be finite, got {x[row, column]} in sample {row}, column {column}")
        constant = np.flatnonzero((x == x[0]).all(axis=0))
        if len(constant):
            column = int(constant[0])
            raise InputError(
                f"{name} must vary, got {x[0, column]:g} throughout column {column}; leave that column out"
            )


def check_continuous(sample: Sample, who: str) -> None:
    """Refuse columns with a handful of values, such as spins."""
    for name, x in sample.columns.items():
        for column, values in enumerate(x[:PROBE].T):
            distinct = len(np.unique(values))
            if distinct <= min(FEW_VALUES, len(values) - 1):
                raise InputError(
                    f"{who} needs continuous data, got {distinct} distinct values in column {column} of {name}; "
                    "for spins use an estimator of discrete data such as ConditionalLikelihood"
                )
