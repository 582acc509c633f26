"""What an amortised measurement of I_t(A;C|B_r) is to be: times, radii, A, noise, networks."""

import itertools
import json
from dataclasses import asdict, dataclass

from ..channels import BitFlip, Channel, Erasure, Gaussian
from ..errors import InputError, Limits, check_limits
from .image_field import Field, Pixel

LIMITS: Limits = {
    "steps": (1, None),
    "folds": (2, None),
    "width": (1, None),
    "batch_size": (1, None),
    "near": (0, None),
}
CHANNELS = ("gaussian", "bitflip", "erasure")


@dataclass(frozen=True)
class ProbePlan:
    """What is measured and how; together with the samples it decides every number.

    Attributes:
        times: in (0, 1), increasing; radii: increasing; pixel: A, None for a random one in every sample.
        steps, batch_size, width: of every network's training; folds: of the cross-fitting.
        channel: gaussian, bitflip or erasure; schedule: of gaussian noise.
        near: pixels this near A may stand for it while a network is trained.
        corrected: half-way between held-out and in-sample averages; False: held out, too low.
        null: whether that is measured.
    """

    times: tuple[float, ...]
    radii: tuple[int, ...]
    pixel: Pixel | None
    steps: int = 3000
    seed: int = 0
    folds: int = 2
    width: int = 64
    batch_size: int = 512
    channel: str = "gaussian"
    schedule: str = "linear"
    near: int = 3
    corrected: bool = True
    null: bool = True

    def __post_init__(self) -> None:
        increasing = all(a < b for a, b in itertools.pairwise(self.times))
        if not self.times or not increasing or not 0 < self.times[0] <= self.times[-1] < 1:
            raise InputError(f"times must increase inside (0, 1), got {list(self.times)}")
        increasing = all(a < b for a, b in itertools.pairwise(self.radii))
        if not self.radii or not increasing or self.radii[0] < 1:
            raise InputError(f"radii must be increasing integers >= 1, got {list(self.radii)}")
        check_limits(LIMITS, vars(self))
        if self.channel not in CHANNELS:
            raise InputError(f"channel must be one of {', '.join(CHANNELS)}, got {self.channel!r}")
        if self.channel != "gaussian" and self.schedule != "linear":
            raise InputError(
                f"schedule is of gaussian noise only, got {self.schedule!r} for {self.channel}; leave it out"
            )
        self.noise()

    def noise(self) -> Channel:
        if self.channel == "gaussian":
            return Gaussian(self.schedule)  # type: ignore[arg-type]
        return BitFlip() if self.channel == "bitflip" else Erasure()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def kinds(self, field: Field) -> tuple[str, ...]:
        """Networks of every fold."""
        return ("boxes", *(("null",) if self.null else ()), *(("labels",) if field.labels is not None else ()))


def reach(shape: tuple[int, int], pixel: Pixel | None) -> int:
    """The radius from which on nothing is left outside the box."""
    from .image_views import Views

    return Views.reach(shape, pixel)
