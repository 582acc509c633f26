"""I_t(A;C|B_r) over a whole grid of times and radii from clean samples: one network for all of them.

A network q(a | view, t) that is told the noise level and how much of the sample it sees is trained on fresh noise at
every step, so that one training answers for all t and r, and every estimate is a gain in likelihood as in
`ConditionalLikelihood`: nested, cross-fitted, half-way between held-out and in-sample averages, never clipped.

    found = AmortisedLikelihood().fit(x_0, radii=(1, 2, 3), times=(0.5, 0.7, 0.9), rng=rng).estimate()
    found.cmi.sel(t=0.7, radius=2), found.cmi_stderr         # as of `exact.cmi_map`

The parts: `amortised_data`, clean samples and the levels of a pixel; `amortised_noise`; `amortised_network`, views and
the network; `amortised_gate`, how a view opens and shuts its units; `amortised_conv`, a U-Net in its place;
`amortised_training`, what it minimises; `amortised_estimates`, folds of networks and what they say.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import KW_ONLY, asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..channels import BitFlip, Channel, Erasure, Gaussian, TokenNoise, Uniform, symbols_of
from ..errors import InputError, Limits, check_limits, device_of
from ..lattice import Rng
from ..progress import say
from .amortised_data import Field, Pixel, field_of_array
from .base import Parameters, threads_of

if TYPE_CHECKING:
    import xarray as xr

LIMITS: Limits = {
    "steps": (1, None),
    "folds": (2, None),
    "width": (1, None),
    "batch_size": (1, None),
    "near": (0, None),
}
CHANNELS = ("gaussian", "bitflip", "erasure", "uniform")
TOKEN_CHANNELS = ("erasure", "uniform")
BODIES = {"mlp": (64, 512, 2000), "gated": (64, 512, 2000), "conv": (32, 96, 1000)}  # width, batch size and steps
SIZES = ("width", "batch_size", "steps")
LARGE, MANY = 24, 5000  # pixels along both sides, and samples, from which on a U-Net finds more than a perceptron


@dataclass(frozen=True)
class ProbePlan:
    """The settings of an amortised measurement; together with the samples they decide every number.

    Attributes:
        times: in (0, 1), increasing; radii: of the boxes B, increasing.
        pixel: A, None for a random one in every sample.
        steps, batch_size, width: of every network's training, None as usual for the body; folds: of the cross-fitting.
        channel: gaussian, bitflip, erasure or uniform; schedule: of gaussian noise.
        tokens: number of symbols where pixels are tokens, under erasure or uniform noise.
        near: also train on pixels within this distance of A, unless a short trial shows that it hurts.
        corrected: half-way between held-out and in-sample averages; False: held out, too low.
        null: whether to measure what is found where C comes from another sample.
        body: of the networks, mlp, the same gated by the local spectrum of what is seen (see `amortised_gate`), or conv
            (see `amortised_conv`).
    """

    times: tuple[float, ...]
    radii: tuple[int, ...]
    pixel: Pixel | None
    steps: int = None  # type: ignore[assignment]
    seed: int = 0
    folds: int = 2
    width: int = None  # type: ignore[assignment]
    batch_size: int = None  # type: ignore[assignment]
    channel: str = "gaussian"
    schedule: str = "linear"
    near: int = 3
    corrected: bool = True
    null: bool = True
    tokens: int | None = None
    body: str = "mlp"

    def __post_init__(self) -> None:
        if not (_increasing(self.times) and 0 < self.times[0] <= self.times[-1] < 1):
            raise InputError(f"times must increase inside (0, 1), got {list(self.times)}")
        if not (_increasing(self.radii) and self.radii[0] >= 1):
            raise InputError(f"radii must be increasing integers >= 1, got {list(self.radii)}")
        check_limits(LIMITS, vars(self))
        for name, allowed in (("channel", CHANNELS), ("body", BODIES)):
            if (value := getattr(self, name)) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        for name, default in zip(SIZES, BODIES[self.body], strict=True):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        if self.channel != "gaussian" and self.schedule != "linear":
            raise InputError(
                f"schedule is of gaussian noise only, got {self.schedule!r} for {self.channel}; leave it out"
            )
        if (self.tokens is not None and self.channel not in TOKEN_CHANNELS) or (
            self.tokens is None and self.channel == "uniform"
        ):
            raise InputError(
                f"tokens take {' or '.join(TOKEN_CHANNELS)} noise, and uniform noise is of tokens, got "
                f"tokens = {self.tokens} under {self.channel} noise"
            )
        self.noise()

    def by_perceptrons(self) -> Self:
        """Return the same plan for perceptrons of the usual size."""
        return replace(self, body="mlp", **dict.fromkeys(SIZES[:2]))  # type: ignore[arg-type]

    def noise(self) -> Channel | TokenNoise:
        """Return the channel."""
        if self.channel == "gaussian":
            return Gaussian(self.schedule)  # type: ignore[arg-type]
        if self.channel == "bitflip":
            return BitFlip()
        return Erasure(self.tokens) if self.channel == "erasure" else Uniform(self.tokens)

    def to_json(self) -> str:
        """Return all fields as JSON."""
        return json.dumps(asdict(self))

    def kinds(self, field: Field) -> tuple[str, ...]:
        """Return which networks are trained in every fold: "boxes", "null", "labels" (see `amortised_training`)."""
        return ("boxes", *(("null",) if self.null else ()), *(("labels",) if field.labels is not None else ()))


def _increasing(values: Sequence[float]) -> bool:
    return len(values) > 0 and all(a < b for a, b in itertools.pairwise(values))


def needs_whole(n: int, shape: tuple[int, ...], tokens: int | None) -> bool:
    """Return whether n samples of this shape are many large images, of which a U-Net finds more than a perceptron."""
    return tokens is None and n >= MANY and min(shape[-2:]) >= LARGE


def reach(shape: tuple[int, int], pixel: Pixel | None) -> int:
    """Return the radius from which on nothing of images of this shape is left outside the box around `pixel`."""
    if pixel is None:
        return max(shape) - 1
    return max(max(x, n - 1 - x) for x, n in zip(pixel, shape, strict=True))


@dataclass(eq=False)
class AmortisedLikelihood(Parameters):
    """log q(a|b,c) - log q(a|b) for one pixel A, every box B around it and every time, by one network a fold.

    Args:
        folds: K of the cross-fitting.
        corrected: average of held-out and in-sample log ratios, free of bias to first order (see `neural`); False:
            the held-out ones, too low.
        null: also measure what is found where C comes from another sample, and nothing is to be found; it doubles
            the time.
        near: also train on pixels within this distance of A, unless a short trial shows that it hurts; 0: A alone.
            Where samples look alike everywhere, it is most of the accuracy.
        body: of the networks: "mlp"; "gated", whose units open and shut by the local spectrum of what is seen, for
            images whose texture or contrast varies; "conv", a U-Net, which learns more of whole images and is slower.
            Averages are then over as many samples as take as long as the training. "auto": "conv" on a
            GPU of 5000 images or more whose sides have 24 pixels or more, else "mlp".
        width, steps, batch_size: of a network and its training; None: 64, 2000 and 512, of "conv" 32, 1000 and 96.
        device: of torch, such as "cuda"; "auto" is the GPU where there is one.

    Attributes:
        estimate_: the Dataset that `estimate` returns.
    """

    limits: ClassVar[Limits] = LIMITS
    choices: ClassVar = {"body": ("auto", *BODIES)}
    folds: int = 2
    _: KW_ONLY
    corrected: bool = True
    null: bool = False
    near: int = 3
    body: Literal["auto", "mlp", "gated", "conv"] = "auto"
    width: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    device: str = "cpu"

    def fit(
        self,
        x_0: NDArray,
        *,
        radii: Sequence[int],
        times: Sequence[float],
        pixel: Pixel | Literal["center", "average"] = "center",
        channel: Channel | TokenNoise | None = None,
        rng: Rng = None,
        verbose: bool = False,
        threads: int | None = 1,
    ) -> Self:
        """Learn from clean samples; noise is drawn as it is needed.

        Args:
            x_0: (n, site), (n, row, column) or (n, channel, row, column), where A is the vector of a pixel. An array
                on disk (`np.memmap`, HDF5) is read by slices.
            radii, times: increasing, of the boxes B and in (0, 1).
            pixel: A, (0, i) in a sequence of sites; "average": another pixel in every sample.
            channel: None: `Gaussian("linear")`; bit flips and `Erasure()` need spins of -1 and 1, `Erasure(q)` and
                `Uniform(q)` tokens 0..q-1, whose symbols have no order.
            rng: Generator, seed or None, for folds, weights and noise.
            verbose, threads: as of `Estimator.fit`.

        Raises:
            InputError: too few samples, values that do not vary or do not fit the channel, a pixel outside, a box that
                covers everything.
        """
        from .amortised_estimates import measure

        channel = Gaussian("linear") if channel is None else channel
        if getattr(channel, "name", None) not in CHANNELS:
            raise InputError(f"channel must be Gaussian, BitFlip, Erasure or Uniform, got {channel!r}")
        place, symbols = _place(pixel, x_0), symbols_of(channel)
        settings = {name: value for name, value in self.get_params().items() if name != "device"}
        if self.body == "auto":
            many = needs_whole(len(x_0), (1, *np.shape(x_0)[1:]), symbols)
            settings["body"] = "conv" if many and device_of(self.device) != "cpu" else "mlp"
        plan = ProbePlan(
            tuple(map(float, times)),
            tuple(map(int, radii)),
            place,
            seed=int(np.random.default_rng(rng).integers(1 << 63)),
            channel=channel.name,
            schedule=channel.schedule if isinstance(channel, Gaussian) else "linear",
            tokens=symbols,
            **settings,
        )
        field, steps = field_of_array(x_0, place, tokens=plan.tokens), itertools.count(1)
        n_steps = plan.steps * plan.folds * len(plan.kinds(field))

        def on_step() -> None:
            if verbose and (done := next(steps)) % max(1, n_steps // 10) == 0:
                say(f"AmortisedLikelihood: {done} of {n_steps} training steps are done")

        with threads_of(threads):
            found = measure(field, plan, device=self.device, on_step=on_step)
        self.estimate_ = _dataset(found, plan, len(x_0), f"AmortisedLikelihood, {self.folds}-fold cross-fitted")
        return self

    def estimate(self) -> "xr.Dataset":
        """Return I(A;C|B) over times and radii in nats, with errors; it may be negative.

        Returns:
            `cmi` and `cmi_stderr` (t, radius) and `cmi_covariance` (t, radius, radius_2), as of `exact.cmi_map`;
            `cmi_held_out` and `cmi_in_sample`, the two averages, whose difference is the overfitting; with `null`,
            `cmi_null` and `cmi_null_stderr`; `total_information`, I(A;BC), and its error (t). Under erasure
            also `entropy` and `entropy_stderr` (masked), H(a | what is seen) of the clean value a where each site is
            masked with that probability, the times and 1: the curve that `phases.unmasking_schedule` takes.
        """
        if not hasattr(self, "estimate_"):
            raise InputError("AmortisedLikelihood has not been fitted; call fit(x_0, radii=..., times=...) first")
        return self.estimate_


def _dataset(found: dict[str, Any], plan: ProbePlan, n_samples: int, method: str) -> "xr.Dataset":
    """Return the results of `measure` with names and units."""
    import xarray as xr

    known = {
        "cmi": "I(A;C|B)",
        "cmi_stderr": "standard error of cmi",
        "cmi_covariance": "covariance of cmi between radii",
        "cmi_held_out": "I(A;C|B), average over samples held out of training",
        "cmi_in_sample": "I(A;C|B), average over samples of the training",
        "cmi_null": "I(A;C|B) where C comes from another sample",
        "cmi_null_stderr": "standard error of cmi_null",
        "total_information": "I(A;BC)",
        "total_information_stderr": "standard error of total_information",
        "entropy": "H(a | what is seen)",
        "entropy_stderr": "standard error of entropy",
    }
    variables = {}
    for name, long_name in known.items():
        if name in found:
            units = "nat^2" if name == "cmi_covariance" else "nat"
            dims = ("masked",) if name.startswith("entropy") else ("t", "radius", "radius_2")[: np.ndim(found[name])]
            variables[name] = xr.Variable(dims, found[name], {"units": units, "long_name": long_name})
    coordinates = {"t": list(plan.times), "radius": list(plan.radii), "radius_2": list(plan.radii)}
    if "entropy" in variables:
        coordinates["masked"] = [*plan.times, 1.0]
    attributes = {"channel": repr(plan.noise()), "method": method, "n_samples": n_samples}
    return xr.Dataset(variables, coordinates, attributes)


def _place(pixel: Pixel | str, x_0: NDArray) -> Pixel | None:
    rows, columns = (1, 1, *np.shape(x_0)[1:])[-2:]
    if pixel == "average":
        return None
    if pixel == "center":
        return rows // 2, columns // 2
    if isinstance(pixel, str) or not (0 <= pixel[0] < rows and 0 <= pixel[1] < columns):
        raise InputError(f"pixel must be center, average or a place (row, column) in {rows}x{columns}, got {pixel!r}")
    return int(pixel[0]), int(pixel[1])
