"""Fitting a denoiser to clean data, and saving and loading it.

    for step in train(net, model.sample, steps=4000, rng=rng):
        print(step.number, step.loss)

A step minimises -log p(x_0,i) per site under the network's law of x_0,i: for a LocalNet the blind law, without the
site's own observation, which enters exactly. The minimum is the exact local posterior.
"""

import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from .. import __version__
from ..channels import CHANNELS, Channel
from ..errors import InputError, array_of, check_finite, check_limits, check_memory, device_of, shown
from ..lattice import Rng
from .checkpoints import read_checkpoint, understood, write_checkpoint
from .global_net import GlobalNet
from .image_nets import GlobalImageNet, LocalImageNet
from .local_net import LocalNet
from .message_net import MessageNet
from .network import Network
from .on_device import corrupt, generator_on, on, to_device
from .posterior import Bernoulli, Categorical, Denoiser, Posterior, check_channel, check_posterior
from .training import TrainingConfig, TrainingError, TrainingStep, minimise

Draw = Callable[[int, np.random.Generator], NDArray]
Times = Callable[[int, np.random.Generator], NDArray[np.float64]]
SAMPLES_PER_TIME = 4
HOST = ("cpu",)  # where batches are drawn by NumPy
VALIDATION_TIMES = (0.3, 0.5, 0.7, 0.85)
NETWORKS: tuple[type[Network], ...] = (LocalNet, GlobalNet, MessageNet, LocalImageNet, GlobalImageNet)


@runtime_checkable
class BlindDenoiser(Protocol):
    """A denoiser that can leave out each site's own observation."""

    def blind(self, x_t: Any, t: Any) -> Posterior: ...


def uniform_times(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return n times in (0, 1), one in each of n equal intervals."""
    return (np.arange(n) + rng.random(n)) / n


def train(
    net: Network,
    data: NDArray | Draw,
    *,
    rng: Rng = None,
    batch_size: int = 128,
    times: Times = uniform_times,
    teacher: BlindDenoiser | None = None,
    exact: Denoiser | None = None,
    device: str | torch.device | None = None,
    **options: Any,
) -> Generator[TrainingStep, None, None]:
    """Fit `net` in place, one step per item; whenever the loop is left, it holds the averaged weights.

    Args:
        data: clean values (n, channel, *lattice), or (n, *lattice) for one channel; or draw(n, rng) -> such an array,
            for instance `model.sample`, called at every step.
        rng: generator of batches, times and noise, or its seed.
        times: draws the times of a batch, uniform in (0, 1) by default; every four samples share one.
        teacher: for a LocalNet, a denoiser with a blind form that sees more, such as the exact global one: its
            expectations take the place of the clean values. The minimum is the same, E[E[x_0,i | x without i] | x_B] =
            E[x_0,i | x_B], and the noise about it is only the locality gap.
        exact: the denoiser to compare with, every `validate_every` steps, on 16 samples.
        device: of torch, or "auto"; the network moves there. On a GPU an array of data is copied there once, batches
            and noise are drawn there, by other random numbers, and a batch too large for its memory is halved.
        options: of `TrainingConfig`: steps, learning_rate, optimiser, ema, checkpoint, resume, ...

    Raises InputError for data that do not fit the network, a checkpoint of another one, a teacher or exact denoiser of
    another channel, values out of their range; TrainingError for a loss or gradient that is not finite, with its step
    and noise level.
    """
    config, rng = TrainingConfig(**options), np.random.default_rng(rng)
    check_limits({"batch_size": (1, None)}, {"batch_size": batch_size})
    batch_size = int(batch_size)
    check_memory("batch_size", 64 * batch_size, "take smaller batches")
    for other in (teacher, exact):
        check_channel(other, net.channel)
    if teacher is not None and not isinstance(net, BlindDenoiser):
        raise InputError(f"teacher needs a network with a blind form, such as LocalNet, got a {type(net).__name__}")
    if device is not None:
        net.to(device_of(device))
    draw, like = as_draw(net, data), next(net.parameters())
    if like.device.type in HOST:
        batches = _Batches(net, draw, batch_size, times, teacher, rng)
    else:
        held = None if callable(data) else on(like, check_data(net, data))
        batches = _DeviceBatches(net, draw, batch_size, times, teacher, rng, held=held)
    score = None if exact is None else _excess(net.channel, exact, draw, rng)
    steps = minimise(net, batches.losses, config, rng=rng, score=score, description=describe(net), halve=batches.halve)

    def run() -> Generator[TrainingStep, None, None]:
        try:
            yield from steps
        except TrainingError as error:
            raise TrainingError(f"{error}; {batches.worst()}") from None

    return run()


def fit(net: Network, data: NDArray | Draw, *, progress: bool = True, **options: Any) -> list[TrainingStep]:
    """Call `train` to the end and return its steps; on a terminal a bar shows the loss, and the score with `exact`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    hidden = not (progress and sys.stderr.isatty())
    records, score = [], ""
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=options.get("steps"))
        with contextlib.closing(train(net, data, **options)) as steps:  # an interrupt writes the checkpoint
            for step in steps:
                records.append(step)
                if hidden:
                    continue
                if step.score is not None:
                    score = f", MSE {100 * step.score:.2f}% above the exact minimum"
                bar.update(task, completed=step.number, description=f"loss {step.loss:.4f}{score}")
    return records


def as_draw(net: Network, data: NDArray | Draw) -> Draw:
    """Return data as draw(n, rng) -> float (n, channel, *lattice), checked to fit the network."""
    if callable(data):
        return lambda n, rng: check_data(net, data(n, rng))
    clean = check_data(net, data)
    return lambda n, rng: clean[rng.integers(len(clean), size=n)]


def check_data(net: Network, x_0: NDArray) -> NDArray[np.float64]:
    """Return clean data as floats (n, channel, *lattice). Raises InputError where they do not fit the network."""
    x_0 = array_of("data", x_0).astype(float)
    if x_0.ndim == net.ndim + 1 and net.in_channels == 1:
        x_0 = x_0[:, None]
    if x_0.ndim != net.ndim + 2 or x_0.shape[1] != net.in_channels or 0 in x_0.shape:
        raise InputError(f"data must have shape (n, {net.in_channels}, {net.ndim} lattice axes), got {x_0.shape}")
    check_finite(data=x_0)
    if net.head == "bernoulli":
        used = net.sites(x_0.shape[2:], torch.zeros((), device="cpu")).numpy() > 0
        if np.any((np.abs(x_0) != 1) & used):
            raise InputError("data must be +-1 for the bernoulli head; take head='gaussian' for real values")
    if net.head == "categorical" and not np.isin(x_0, range(net.n_outputs)).all():
        raise InputError(f"data must be tokens 0..{net.n_outputs - 1} for the channel {shown(net.channel)}")
    return x_0


def nats(law: Posterior, mean: Tensor, variance: Tensor | float = 0.0) -> Tensor:
    """Return -log p(x_0,i) under the law, averaged over values of this mean and variance (0: known values)."""
    if isinstance(law, Categorical):
        return law.nats(mean)
    if isinstance(law, Bernoulli):
        log_odds = law.log_odds.clamp(-1e4, 1e4)  # finite, for 0 times infinity below
        return (1 + mean) / 2 * softplus(-log_odds) + (1 - mean) / 2 * softplus(log_odds)
    return 0.5 * (((mean - law.mean) ** 2 + variance) / law.variance + (2 * math.pi * law.variance).log())


@dataclasses.dataclass
class _Batches:
    """Noisy batches of the data, and the loss of the network on them."""

    net: Network
    draw: Draw
    batch_size: int
    times: Times
    teacher: BlindDenoiser | None
    rng: np.random.Generator
    last: tuple[NDArray, Tensor] | None = None

    def losses(self) -> Tensor:
        """Return the nats per site of every sample of a new batch."""
        net, like = self.net, next(self.net.parameters())
        levels = self.times(-(-self.batch_size // SAMPLES_PER_TIME), self.rng)
        clean, noisy = self.parts(levels)
        t = np.repeat(levels, [len(part) for part in clean])

        def whole(parts: list[Any]) -> Tensor:
            return torch.cat(parts) if isinstance(parts[0], Tensor) else on(like, np.concatenate(parts))

        target, x_t = whole(clean), whole(noisy)
        spread: Tensor | float = 0.0
        law = net.blind(x_t, t) if isinstance(net, BlindDenoiser) else net(x_t, t)
        sites = net.sites(x_t.shape[2:], x_t)
        if self.teacher is not None:
            told = [self.teacher.blind(part, u) for part, u in zip(noisy, levels, strict=True)]
            target = whole([check_posterior(*case) for case in zip(told, noisy, levels, strict=True)])
            spread = whole([law.variance for law in told])
        losses = (nats(law, target, spread) * sites).flatten(1).sum(dim=1) / sites.sum()
        self.last = t, losses.detach()
        return losses

    def parts(self, levels: NDArray[np.float64]) -> tuple[list[Any], list[Any]]:
        """Return clean and noisy values of a batch, level by level."""
        clean = np.array_split(self.draw(self.batch_size, self.rng), len(levels))
        noisy = [self.net.channel.corrupt(part, t, self.rng) for part, t in zip(clean, levels, strict=True)]
        return clean, noisy

    def halve(self) -> int:
        """Halve the batch where memory is short; return its size, 0 where it was 1."""
        self.batch_size //= 2
        return self.batch_size

    def worst(self) -> str:
        """Return the noise level of the largest loss in the last batch, in words."""
        assert self.last is not None
        t, losses = self.last
        worst = t[int(torch.nan_to_num(losses, nan=math.inf).argmax())]
        log_snr = math.log(max(self.net.channel.snr(worst), 1e-300))
        return f"the largest loss is at t = {worst:.4g} (log snr {log_snr:.3g})"


@dataclasses.dataclass
class _DeviceBatches(_Batches):
    """Batches drawn on the network's device from `held`, data that are there, where they are an array."""

    held: Tensor | None = None

    def parts(self, levels: NDArray[np.float64]) -> tuple[list[Any], list[Any]]:
        rng, like = self.rng, next(self.net.parameters())
        if self.held is None:
            x_0 = on(like, self.draw(self.batch_size, rng))
        else:
            x_0 = self.held[to_device(rng.integers(len(self.held), size=self.batch_size), like.device)]
        sizes = [len(part) for part in np.array_split(np.empty(self.batch_size), len(levels))]
        x_t = corrupt(self.net.channel, x_0, np.repeat(levels, sizes), generator_on(like.device, rng))
        return list(x_0.split(sizes)), list(x_t.split(sizes))


def _excess(channel: Channel, exact: Denoiser, draw: Draw, rng: np.random.Generator) -> Callable[[Any], float]:
    """Return how to measure E|net - exact|^2 / MMSE, the mean over VALIDATION_TIMES, on samples drawn once.

    E|x_0 - net|^2 - E|x_0 - exact|^2 = E|net - exact|^2: the two are compared, not their noisy errors.
    """
    clean = draw(16, rng)
    noisy = [channel.corrupt(clean, t, rng) for t in VALIDATION_TIMES]
    laws = [exact(x_t, t) for x_t, t in zip(noisy, VALIDATION_TIMES, strict=True)]
    means = [check_posterior(*case) for case in zip(laws, noisy, VALIDATION_TIMES, strict=True)]
    known = [(mean, float(law.variance.mean())) for mean, law in zip(means, laws, strict=True)]

    def excess(net: Denoiser) -> float:
        cases = zip(noisy, VALIDATION_TIMES, known, strict=True)
        return float(np.mean([((net(x_t, t).mean - mean) ** 2).mean() / mmse for x_t, t, (mean, mmse) in cases]))

    return excess


# -- files ----------------------------------------------------------------------------------------------------------


def describe(net: Network) -> dict[str, Any]:
    """Return the network's class and arguments as plain numbers, text and lists."""
    channel = [net.channel.name, dataclasses.asdict(net.channel)]  # type: ignore[call-overload]
    arguments = {"network": type(net).__name__, **net.arguments, "channel": channel}
    described: dict[str, Any] = json.loads(json.dumps(arguments, default=lambda value: value.tolist()))  # NumPy's types
    return described


def save(path: str | Path, net: Network) -> None:
    """Write a network to a file, from which `load` builds it again."""
    state = {name: value.cpu() for name, value in net.state_dict().items()}
    write_checkpoint(path, {"description": describe(net), "average": state})


def load(path: str | Path, device: str | torch.device | None = None, *, channel: Channel | None = None) -> Network:
    """Return the network in a file of `save` or `train`, with its averaged weights; raise CheckpointError.

    One that was trained under a channel of your own needs that `channel`.
    """
    state = read_checkpoint(path)
    with understood(path, "of a network of this package"):
        arguments = {name: value for name, value in state["description"].items() if name not in ("optimiser", "rng")}
        network, (name, fields) = arguments.pop("network"), arguments.pop("channel")
        networks = {kind.__name__: kind for kind in NETWORKS}
        known = {kind.name: kind for kind in CHANNELS}
        if network not in networks or (channel is None and name not in known):
            raise ValueError(f"no network {network} with channel {name} is known to version {__version__}")
        net = networks[network](**arguments, channel=channel or known[name](**fields))
        net.load_state_dict(state["average"])
    return net.to(device_of(device))
