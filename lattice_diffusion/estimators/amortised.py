"""I_t(A;C|B_r) over a whole grid of times and radii from clean samples: one network for all of them.

A network q(a | view, t) that is told the noise level and how much of the sample it sees is trained on fresh noise at
every step, so that one training answers for all t and r, and every estimate is a gain in likelihood as in
`ConditionalLikelihood`: nested, cross-fitted, half-way between held-out and in-sample averages, never clipped.

    amortised = AmortisedLikelihood().fit(x_0, radii=(1, 2, 3), times=(0.5, 0.7, 0.9), rng=rng)
    amortised.estimate().at(0.7, 2)                  # Estimate(value, stderr, ...)
    amortised.estimate().value                       # (T, R)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..channels import BitFlip, Channel, Erasure, Gaussian
from ..errors import InputError, Limits
from ..estimate import Estimate
from .amortised_measure import measure
from .amortised_plan import LIMITS, ProbePlan
from .base import FloatArray, Parameters
from .image_field import Pixel, field_of_array


@dataclass(frozen=True)
class Grid:
    """Estimates over times and radii.

    Attributes:
        times: (T,); radii: (R,); value, stderr: (T, R), in nats.
        n_samples, method: as of an `Estimate`.
    """

    times: tuple[float, ...]
    radii: tuple[int, ...]
    value: FloatArray
    stderr: FloatArray
    n_samples: int
    method: str = ""

    def __getitem__(self, place: tuple[int, int]) -> Estimate:
        """By indices of time and radius."""
        return Estimate(float(self.value[place]), float(self.stderr[place]), self.n_samples, self.method)

    def at(self, t: float, radius: int) -> Estimate:
        """By the time and radius themselves, of those measured."""
        for name, value, known in (("t", t, self.times), ("radius", radius, self.radii)):
            if value not in known:
                raise InputError(f"{name} must be one of those fitted, {', '.join(map(str, known))}, got {value}")
        return self[self.times.index(t), self.radii.index(radius)]

    def __iter__(self) -> Iterator[tuple[float, int, Estimate]]:
        """Time, radius and estimate of all."""
        for k, t in enumerate(self.times):
            for j, radius in enumerate(self.radii):
                yield t, radius, self[k, j]


class AmortisedLikelihood(Parameters):
    """log q(a|b,c) - log q(a|b) for one pixel A, every box B around it and every time, by one network a fold.

    Args:
        folds: K of the cross-fitting.
        corrected: average of held-out and in-sample log ratios, free of bias to first order (see `neural`); False:
            the held-out ones, too low.
        null: also measure what is found where C comes from another sample, and nothing is to be found; doubles the
            time.
        near: pixels up to so far from A may stand for it while a network is trained, if that is not clearly worse for
            A; 0: A alone. Where samples look alike everywhere, it is most of the accuracy.
        width, steps, batch_size: of a network and its training.
        device: of torch.

    Attributes:
        estimate_: `Grid` of I(A;C|B); null_: the same of the null, or None.
        held_out_, in_sample_: (T, R), the two averages; their difference is the overfitting.
        total_: Estimates of I(A;BC), one for every time.
    """

    limits: ClassVar[Limits] = LIMITS
    estimate_: Grid
    null_: Grid | None
    held_out_: FloatArray
    in_sample_: FloatArray
    total_: tuple[Estimate, ...]

    def __init__(
        self,
        folds: int = 2,
        *,
        corrected: bool = True,
        null: bool = False,
        near: int = 3,
        width: int = 64,
        steps: int = 3000,
        batch_size: int = 512,
        device: str = "cpu",
    ) -> None:
        self.folds = folds
        self.corrected = corrected
        self.null = null
        self.near = near
        self.width = width
        self.steps = steps
        self.batch_size = batch_size
        self.device = device

    def fit(
        self,
        x_0: NDArray,
        *,
        radii: Sequence[int],
        times: Sequence[float],
        pixel: Pixel | Literal["center", "average"] = "center",
        channel: Channel | None = None,
        rng: np.random.Generator | None = None,
    ) -> Self:
        """Learn from clean samples; noise is drawn as it is needed.

        Args:
            x_0: (n, row, column), or (n, channel, row, column), where A is the vector of a pixel. An array on disk
                (`np.memmap`, HDF5) is read by slices.
            radii, times: increasing, of the boxes B and in (0, 1).
            pixel: A; "average": another pixel in every sample.
            channel: None: `Gaussian("linear")`; bit flips and erasures need spins of -1 and 1.
            rng: for folds, weights and noise; None: the same ones every time.

        Raises:
            ValueError: too few samples, values that do not vary or do not fit the channel, a pixel outside, a box that
                covers everything.
        """
        channel = Gaussian("linear") if channel is None else channel
        if not isinstance(channel, Gaussian | BitFlip | Erasure):
            raise InputError(f"channel must be Gaussian, BitFlip or Erasure, got {channel!r}")
        place = _place(pixel, x_0)
        rng = np.random.default_rng(0) if rng is None else rng
        plan = ProbePlan(
            tuple(map(float, times)),
            tuple(map(int, radii)),
            place,
            steps=self.steps,
            seed=int(rng.integers(1 << 63)),
            folds=self.folds,
            width=self.width,
            batch_size=self.batch_size,
            channel=channel.name,
            schedule=channel.schedule if isinstance(channel, Gaussian) else "linear",
            near=self.near,
            corrected=self.corrected,
            null=self.null,
        )
        found = measure(field_of_array(x_0, place), plan, device=self.device)

        def grid(value: ArrayLike, stderr: ArrayLike, what: str) -> Grid:
            method = f"AmortisedLikelihood, {self.folds}-fold cross-fitted{what}"
            return Grid(plan.times, plan.radii, np.asarray(value), np.asarray(stderr), len(x_0), method)

        self.estimate_ = grid(found["cmi"], found["cmi_stderr"], "")
        self.null_ = grid(found["cmi_null"], found["cmi_null_stderr"], ", C permuted") if self.null else None
        self.held_out_, self.in_sample_ = found["cmi_held_out"], found["cmi_in_sample"]
        pairs = zip(found["total_information"], found["total_information_stderr"], strict=True)
        self.total_ = tuple(Estimate(float(v), float(e), len(x_0), self.estimate_.method) for v, e in pairs)
        return self

    def estimate(self) -> Grid:
        """I(A;C|B) in nats with standard errors, for every time and radius; may be negative."""
        if not hasattr(self, "estimate_"):
            raise InputError("AmortisedLikelihood has not been fitted; call fit(x_0, radii=..., times=...) first")
        return self.estimate_


def _place(pixel: Pixel | str, x_0: NDArray) -> Pixel | None:
    rows, columns = np.shape(x_0)[-2:]
    if pixel == "average":
        return None
    if pixel == "center":
        return rows // 2, columns // 2
    if isinstance(pixel, str) or not (0 <= pixel[0] < rows and 0 <= pixel[1] < columns):
        raise InputError(f"pixel must be center, average or a place (row, column) in {rows}x{columns}, got {pixel!r}")
    return int(pixel[0]), int(pixel[1])
