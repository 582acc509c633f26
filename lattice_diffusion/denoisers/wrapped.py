"""Anyone's network as a denoiser: whatever it predicts, on whatever noise schedule.

    wrap(net, "epsilon", "ddpm")                     net(x, step) -> noise, on DDPM's linear table
    wrap(net, "x0", "sigma")                         net(x, sigma) -> clean data, as EDM networks have it
    wrap(net, "flow", "flow", time=lambda t: 1000 * t)
    from_diffusers(model, scheduler), from_azula(denoiser)

A network sees x = alpha x_0 + sigma z of its own convention, a `noise_units.Unit`, which `wrap` makes from the noisy
data of a channel by one factor: what the network is asked depends on the signal-to-noise ratio alone. Its answer y is
turned into the mean of the clean data,

    x0       y                                          flow    (x - sigma y) / (alpha + sigma),    y = z - x_0
    epsilon  (x - sigma y) / alpha                      score   (x + sigma^2 y) / alpha
    v        (alpha x - sigma y) / (alpha^2 + sigma^2)      y = alpha z - sigma x_0
    edm      c_skip x + c_out y, and the network sees c_in x (Karras et al. 2022, arXiv:2206.00364, table 1)
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..channels import Gaussian, GaussianNoise, check_gaussian
from ..errors import InputError, check_limits, shown
from ..noise_units import NoiseLevel, Unit, flow, schedule, steps, unit_of
from .network import in_chunks
from .on_device import on, to_device
from .posterior import Array, Dirac, Normal, Posterior, check_times

Prediction = Literal["epsilon", "x0", "v", "flow", "score", "edm"]
LINEAR = Gaussian("linear")
MEANS: dict[str, Callable[..., tuple[NDArray, NDArray]]] = {  # the shares of x and y in the mean, given sigma_data d
    "x0": lambda a, s, d: (0 * a, 1 + 0 * a),
    "epsilon": lambda a, s, d: (1 / a, -s / a),
    "v": lambda a, s, d: (a / (a**2 + s**2), -s / (a**2 + s**2)),
    "flow": lambda a, s, d: (1 / (a + s), -s / (a + s)),
    "score": lambda a, s, d: (1 / a, s**2 / a),
    "edm": lambda a, s, d: (d**2 / (s**2 + d**2), s * d / (s**2 + d**2) ** 0.5),
}
LEAST_LOG_SNR = -12.0  # pure noise for every purpose, where a schedule ends without any signal


@dataclass(frozen=True)
class WrappedDenoiser:
    """The denoiser that `wrap` returns; see there for the attributes."""

    net: Callable[..., Any]
    prediction: Prediction
    unit: Unit
    channel: GaussianNoise
    radius: int | None
    time: Callable[[NDArray[np.float64]], NDArray] | None
    sigma_data: float
    arguments: Mapping[str, Any]
    condition: str | None
    value_range: tuple[float, float] | None
    arrays: Literal["numpy", "torch"]
    given: Mapping[str, Any] = field(default_factory=dict)  # one value per sample
    flops: dict[tuple[int, ...], int] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, x_t: Array, t: Any) -> Posterior:
        """Return the law of the clean values: their mean alone, or with a variance where the network gives one.

        Tensors are answered by tensors of their type on their device, with gradients; NumPy arrays by NumPy arrays,
        without. The network is asked in the precision of its weights.

        Raises InputError for a time outside the network's schedule, or an answer of another shape or not finite.
        """
        if isinstance(x_t, Tensor):
            weight = self._like()
            own = x_t.to(weight.dtype) if isinstance(weight, nn.Parameter) else x_t
            law: Any = self._posterior(own, check_times(t, len(x_t)), self.given)
            return replace(law, **{name: value.to(x_t.dtype) for name, value in vars(law).items()})
        if self.arrays == "numpy":
            return self._posterior(x_t, check_times(t, len(x_t)), self.given)
        return in_chunks(self._posterior, x_t, t, self._like(), self.given)

    @property
    def latest(self) -> float:
        """The latest time of the channel at which the network can be evaluated, where generation starts."""
        with np.errstate(divide="ignore"):
            end = float(self.unit.log_snr(np.array(self.unit.high if self.unit.name != "log_snr" else -np.inf)))
        return self.channel.time(float(np.exp(max(end, LEAST_LOG_SNR) + 1e-9)))

    def on(self, condition: Any) -> "WrappedDenoiser":
        """Return the denoiser under a condition, an array or tensor of one value per sample, or of one for all."""
        if self.condition is None:
            raise InputError("the network takes no condition; name its keyword, such as wrap(.., condition='labels')")
        if isinstance(condition, np.ndarray) and self.arrays == "torch":
            condition = torch.as_tensor(condition, device=self._like().device)
        return replace(self, given={**self.given, self.condition: condition})

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        """Return the cost of denoising one sample (channel, *lattice), counted by torch; 0 for a NumPy function."""
        if shape not in self.flops and self.arrays == "torch":
            like = self._like()
            given = {name: value[:1] for name, value in self.given.items()}
            level = self.channel.time(1.0)
            with torch.no_grad():
                self._posterior(torch.zeros((1, *shape), dtype=like.dtype, device=like.device), np.array(level), given)
        return self.flops.get(shape, 0)

    def _like(self) -> Tensor:
        """Return a tensor of the network's type and device; double precision on the CPU where it has no weights."""
        weights = self.net.parameters() if isinstance(self.net, nn.Module) else iter(())
        return next(weights, torch.zeros((), dtype=torch.float64, device="cpu"))

    def _posterior(self, x_t: Array, times: NDArray[np.float64], given: Mapping[str, Any]) -> Posterior:
        unique, where = np.unique(times, return_inverse=True)
        snr = np.array([self.channel.snr(u) for u in unique])
        if not snr.all():
            latest = f"{self.latest:.4g}"
            raise InputError(f"t must be at most {latest}, where generation starts (denoiser.latest), got pure noise")
        levels = NoiseLevel(np.log(snr))
        root = self.unit.alpha(levels.log_snr)
        noise = root * np.exp(-0.5 * levels.log_snr)
        scale = np.hypot(root, noise) / [np.hypot(self.channel.alpha(u), self.channel.sigma(u)) for u in unique]
        value = np.atleast_1d(levels.to(self.unit))

        def per_sample(values: NDArray) -> Any:
            if len(values) == 1:
                return float(values[0])
            column = values[where].reshape(-1, *[1] * (x_t.ndim - 1))
            return on(x_t, column) if isinstance(x_t, Tensor) else column

        x = x_t * per_sample(scale)
        shown_x = x * per_sample(1 / np.hypot(noise, self.sigma_data)) if self.prediction == "edm" else x
        argument = value if self.time is None else np.asarray(self.time(value))
        answer = self._ask(shown_x, np.broadcast_to(argument[where].ravel(), len(x_t)), given)
        variance = None
        if not callable(getattr(answer, "mean", len)):  # a posterior
            answer, variance = answer.mean, getattr(answer, "var", getattr(answer, "variance", None))
        self._check(answer, x_t, times)
        skip, out = map(per_sample, MEANS[self.prediction](root, noise, self.sigma_data))
        mean = skip * x + out * answer
        if variance is None:
            return Dirac(mean)
        return Normal(mean, variance + 0 * mean)  # one variance may stand for all values

    def _ask(self, x: Array, argument: NDArray, given: Mapping[str, Any]) -> Any:
        """Return the network's answer, with its multiply-adds counted at the first call with data of one shape."""
        arguments = {**self.arguments, **given}
        for name, value in arguments.items():
            if isinstance(value, Tensor) and value.ndim and len(value) == 1:  # one for all samples
                arguments[name] = value.expand(len(x), *value.shape[1:])
        if not isinstance(x, Tensor):
            return self.net(x, argument.copy(), **arguments)
        dtype = x.dtype if argument.dtype.kind == "f" else torch.int64
        time = to_device(argument.copy(), x.device, dtype)
        shape = tuple(x.shape[1:])
        if shape in self.flops or not len(x):
            return self.net(x, time, **arguments)
        with FlopCounterMode(display=False) as counter:
            answer = self.net(x, time, **arguments)
        self.flops[shape] = int(counter.get_total_flops()) // (2 * len(x))
        return answer

    def _check(self, answer: Any, x_t: Array, times: NDArray) -> None:
        if tuple(getattr(answer, "shape", ())) != tuple(x_t.shape):
            got = tuple(answer.shape) if hasattr(answer, "shape") else shown(answer)
            raise InputError(
                f"the network must answer with one value per entry of x_t, {tuple(x_t.shape)}, got {got}; give wrap a "
                "function that takes the prediction out of its answer"
            )
        if not bool((torch if isinstance(answer, Tensor) else np).isfinite(answer).all()):
            raise InputError(f"the network must answer with finite values, got NaN or inf at t = {times.flat[0]:.4g}")


def wrap(
    net: Callable[..., Any],
    prediction: Prediction = "epsilon",
    schedule: Any = "ddpm",
    *,
    time: Callable[[NDArray[np.float64]], NDArray] | None = None,
    sigma_data: float = 0.5,
    arguments: Mapping[str, Any] | None = None,
    condition: str | None = None,
    channel: Any = LINEAR,
    radius: int | None = None,
    value_range: tuple[float, float] | None = None,
    arrays: Literal["numpy", "torch"] | None = None,
) -> WrappedDenoiser:
    """Return a network as a denoiser: denoiser(x_t, t) -> posterior with the mean of the clean data.

    Args:
        net: net(x, time, **arguments), x (batch, channel, *lattice) and time (batch,): an `nn.Module`, or a function of
            tensors or NumPy arrays. It returns an array of x's shape, or a posterior with `.mean`.
        prediction: what it returns, see above.
        schedule: its noise schedule: a name ("ddpm", "linear", "flow:3", "vp", "sigma", ...), a channel, or a `Unit`
            such as `noise_units.steps(alphas_cumprod)` or `noise_units.schedule(alpha, sigma)`.
        time: turns the values of the schedule into the network's time argument; by default they are passed as they
            are (for edm: log(sigma)/4). Integers are passed as integers: numpy.rint(k).astype(int).
        sigma_data: standard deviation of the data, for edm.
        arguments: further keyword arguments; tensors with a first axis of length 1 are repeated for every sample.
        condition: the keyword under which `denoiser.on(values)` and `compare` pass a condition of every sample.
        channel: the noise of the data that the denoiser is asked about.
        radius: of the box it sees around every site, if it is local.
        value_range: of the clean data that it was trained on; `compare` refuses data outside.
        arrays: what it takes, by default tensors for an `nn.Module`, and NumPy arrays for a function.

    Raises InputError for an unknown prediction or schedule, or other arguments that do not fit.
    """
    if not callable(net):
        raise InputError(f"net must be a function or module net(x, time), got {shown(net)}")
    if prediction not in get_args(Prediction):
        raise InputError(f"prediction must be one of {', '.join(get_args(Prediction))}, got {shown(prediction)}")
    if arrays not in ("numpy", "torch", None):
        raise InputError(f"arrays must be numpy or torch, got {shown(arrays)}")
    check_limits({"radius": (0, None), "sigma_data": (1e-12, None)}, {"radius": radius, "sigma_data": sigma_data})
    unit = unit_of(schedule)
    if prediction == "edm":
        if unit.name != "sigma":
            raise InputError(f"prediction edm needs schedule='sigma', got {unit.name}; take x0, epsilon, v or flow")
        time = time or _quarter_log
    if value_range is not None and not value_range[0] < value_range[1]:
        raise InputError(f"value_range must be (low, high), low < high, got {shown(value_range)}")
    return WrappedDenoiser(
        net=net,
        prediction=prediction,
        unit=unit,
        channel=check_gaussian(channel),
        radius=None if radius is None else int(radius),
        time=time,
        sigma_data=float(sigma_data),
        arguments=dict(arguments or {}),
        condition=condition,
        value_range=None if value_range is None else (float(value_range[0]), float(value_range[1])),
        arrays=arrays or ("torch" if isinstance(net, nn.Module) else "numpy"),
    )


def _quarter_log(sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(sigma) / 4


# -- other libraries ------------------------------------------------------------------------------------------------


def from_diffusers(model: Any, scheduler: Any, **options: Any) -> WrappedDenoiser:
    """Return a model of the library diffusers as a denoiser.

    Args:
        model: called as model(x, timestep=.., **arguments).sample; of answers with twice the channels, as learned
            variances give, the first half is taken. Time steps may lie between those it was trained at.
        scheduler: what it was trained with: one with `alphas_cumprod` (DDPM, DDIM, Euler, DPM-Solver, ...), of flow
            matching, or of EDM. Only its configuration is read.
        options: of `wrap`, such as radius, condition="class_labels", arguments, value_range.

    Raises InputError for a scheduler that lacks what is needed, which the message names.
    """
    unit, kind = scheduler_unit(scheduler), _kind(scheduler)
    names = inspect.signature(getattr(model, "forward", model)).parameters
    if "timestep" not in names:
        raise InputError(f"model must take a keyword timestep, got one of {', '.join(names)}; use wrap")
    known = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v", "flow_prediction": "flow"}
    asked = "flow_prediction" if kind == "flow" else _setting(scheduler, "prediction_type")
    if asked not in known:
        raise InputError(f"the scheduler's prediction_type must be one of {', '.join(known)}, got {shown(asked)}")
    prediction, sign = known[asked], 1.0
    if kind == "edm":
        if prediction not in ("epsilon", "v"):
            raise InputError(f"an EDM scheduler must have prediction_type epsilon or v_prediction, got {asked}")
        sign = 1.0 if prediction == "epsilon" else -1.0
        options = {"sigma_data": float(_setting(scheduler, "sigma_data")), "time": _quarter_log, **options}
        prediction = "edm"

    def net(x: Tensor, time: Tensor, **arguments: Any) -> Tensor:
        answer = model(x, timestep=time, **arguments)
        answer = answer.sample if hasattr(answer, "sample") else answer[0]
        answer = answer[:, : x.shape[1]] if answer.shape[1] == 2 * x.shape[1] else answer
        return answer if sign > 0 else -answer

    return wrap(_Module(model, net), prediction, unit, **options)  # type: ignore[arg-type]


class _Module(nn.Module):
    """A function of a model, with the model's weights."""

    def __init__(self, model: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, x: Tensor, time: Tensor, **arguments: Any) -> Any:
        return self.call(x, time, **arguments)


def scheduler_unit(scheduler: Any) -> Unit:
    """Return the noise level of a diffusers scheduler as a unit: its training time steps; sigma for EDM.

    Raises InputError, naming the attribute, for a scheduler that lacks what is needed.
    """
    kind = _kind(scheduler)
    if kind == "edm":
        return unit_of("sigma")
    if kind == "steps":
        return steps(np.asarray(scheduler.alphas_cumprod, float), "steps")
    base, n = flow(), float(_setting(scheduler, "num_train_timesteps"))
    return replace(
        base,
        name="steps",
        label="time step",
        high=n,
        log_snr=lambda step: base.log_snr(step / n),
        value=lambda log_snr: n * base.value(log_snr),
    )


def _kind(scheduler: Any) -> Literal["edm", "flow", "steps"]:
    if hasattr(scheduler, "precondition_inputs"):
        return "edm"
    if hasattr(scheduler, "scale_noise") or getattr(getattr(scheduler, "config", None), "use_flow_sigmas", False):
        return "flow"
    if hasattr(scheduler, "alphas_cumprod"):
        return "steps"
    raise InputError(
        f"scheduler must have alphas_cumprod (DDPM and its kin), scale_noise (flow matching) or precondition_inputs "
        f"(EDM), got a {type(scheduler).__name__} with none of them; use wrap with the schedule of your own"
    )


def _setting(scheduler: Any, name: str) -> Any:
    config = getattr(scheduler, "config", None)
    if not hasattr(config, name):
        raise InputError(f"scheduler must have config.{name}, got a {type(scheduler).__name__} without it; use wrap")
    return getattr(config, name)


def from_azula(denoiser: Any, **options: Any) -> WrappedDenoiser:
    """Return a denoiser of the library azula, with its `schedule`; options are those of `wrap`.

    Raises InputError for an object without `schedule`.
    """
    if not hasattr(denoiser, "schedule"):
        raise InputError(f"denoiser must have a schedule, as those of azula, got a {type(denoiser).__name__}; use wrap")

    def part(index: int) -> Callable[[float], float]:
        return lambda t: float(denoiser.schedule(torch.tensor(t, dtype=torch.float64, device="cpu"))[index])

    def net(x: Tensor, time: Tensor, **arguments: Any) -> Any:  # some of azula's denoisers take one time only
        return denoiser(x, time[0] if bool((time == time[0]).all()) else time, **arguments)

    return wrap(_Module(denoiser, net), "x0", schedule(part(0), part(1), name="azula"), **options)
