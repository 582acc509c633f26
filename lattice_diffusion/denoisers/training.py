"""Fitting a network to clean data, as a generator that yields a record per step.

    for step in train(net, model.sample, steps=4000, rng=rng):
        print(step.number, step.loss)

What a step minimises is -log p(x_0,i) per site under the network's law of x_0,i: for a LocalNet the blind one, without
the site's own observation, which is known exactly and would only blur what is to be learned. Its minimum is the exact
local posterior. Noise is drawn by the channel itself; all randomness comes from `rng`, which checkpoints carry along.
"""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from ..channels import Channel
from ..errors import InputError, Limits, check_device, check_limits, check_memory
from .categorical import Categorical
from .checkpoints import load_training, save_training
from .local import LocalNet
from .muon import Muon
from .network import Network
from .posterior import Bernoulli, Denoiser, Posterior

Draw = Callable[[int, np.random.Generator], NDArray]
Times = Callable[[int, np.random.Generator], NDArray[np.float64]]
SAMPLES_PER_TIME = 4
OPTIMISERS: dict[str, Any] = {"adam": torch.optim.Adam, "muon": Muon}
GRADIENT_NORM = 1.0  # longer gradients are cut to this
LIMITS: Limits = {
    "steps": (0, None),
    "batch_size": (1, None),
    "validate_every": (1, None),
    "checkpoint_every": (1, None),
    "learning_rate": (0.0, 1e3),
}
VALIDATION_TIMES = (0.3, 0.5, 0.7, 0.85)


class BlindDenoiser(Protocol):
    """A denoiser that can leave out each site's own observation."""

    def blind(self, x_t: NDArray, t: float) -> Posterior: ...


class TrainingError(RuntimeError):
    """Training that cannot go on; the network and its checkpoint are those of the last good step."""


@dataclass(frozen=True)
class TrainingStep:
    """One step of training.

    Attributes:
        number: 1 for the first.
        loss: nats per site, averaged over the batch and its times.
        seconds: since training began, earlier sittings not counted.
        learning_rate: of this step.
        excess: mean over VALIDATION_TIMES of E|net - exact|^2 / MMSE, how far the mean squared error lies above the
            exact minimum; None at steps where it is not measured.
    """

    number: int
    loss: float
    seconds: float
    learning_rate: float
    excess: float | None = None


def uniform_times(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """n times in (0, 1), one in each of n equal intervals."""
    return (np.arange(n) + rng.random(n)) / n


def log_snr_times(channel: Channel, lowest: float = -6.0, highest: float = 6.0) -> Times:
    """Times whose log snr is uniform between the two, one in each of n equal intervals."""

    def times(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        log_snr = lowest + (highest - lowest) * uniform_times(n, rng)
        return np.array([channel.time(math.exp(value)) for value in log_snr])

    return times


def train(
    net: Network,
    data: NDArray | Draw,
    *,
    rng: np.random.Generator,
    steps: int | None = None,
    budget_seconds: float = math.inf,
    batch_size: int = 128,
    times: Times = uniform_times,
    optimiser: Literal["adam", "muon"] = "adam",
    learning_rate: float = 3e-3,
    ema: float = 0.998,
    teacher: BlindDenoiser | None = None,
    exact: Denoiser | None = None,
    validate_every: int = 500,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 500,
    resume: bool = False,
    device: str | torch.device | None = None,
) -> Iterator[TrainingStep]:
    """Fit `net` in place; at the end, and whenever the loop is left, it holds the averaged weights.

    Args:
        data: clean values (n, channel, *lattice), or (n, *lattice) for one channel; or draw(n, rng) -> such an array,
            for instance `model.sample`, asked anew at every step.
        rng: of batches, times and noise.
        steps, budget_seconds: stop at whichever comes first; at least one must be given. The learning rate falls to 0
            as a cosine over that span. Only `steps` alone gives the same numbers again.
        times: draws the times of a batch, uniform in (0, 1) unless given; every four samples share one.
        optimiser: "adam", or "muon", which needs fewer steps, most of all small batches told by a teacher.
        learning_rate: of Adam at the start; see `Muon` for what it makes of it.
        ema: weight of the past in the running average of the weights, once there is a past.
        teacher: for a LocalNet, a denoiser with a blind form that sees more, such as the exact global one or a network
            that covers the lattice: what it expects takes the place of the clean values. The minimum is the same,
            E[E[x_0,i | x without i] | x_B] = E[x_0,i | x_B], and the noise about it only the locality gap.
        exact: the denoiser to compare with, every `validate_every` steps, on 16 samples.
        checkpoint: file for all that is needed to go on, written every `checkpoint_every` steps and at the end.
        resume: go on from `checkpoint` if it is there; gives the numbers of an uninterrupted run.
        device: moves the network there.

    Raises:
        ValueError: data that do not fit the network, a checkpoint of another one, numbers out of their range.
        TypeError: another kind of argument than named here.
        TrainingError: a loss or gradient that is not finite, with its step and noise level.
    """
    if steps is None and budget_seconds == math.inf:
        raise InputError("steps or budget_seconds must be given, got neither")
    check_limits(LIMITS, locals())
    if not budget_seconds > 0:
        raise InputError(f"budget_seconds must be > 0, got {budget_seconds}")
    if not 0 <= ema < 1:
        raise InputError(f"ema must be in [0, 1), got {ema}")
    check_memory("batch_size", 64 * batch_size, "take smaller batches")
    if checkpoint is not None and (Path(checkpoint).is_dir() or not Path(checkpoint).absolute().parent.is_dir()):
        raise InputError(f"checkpoint must be a file in a folder that is there, got {str(checkpoint)!r}")
    if resume and checkpoint is None:
        raise InputError("resume needs the checkpoint to go on from, got checkpoint=None")
    if teacher is not None and not isinstance(net, LocalNet):
        raise InputError(f"teacher needs a LocalNet, which has a blind form, got a {type(net).__name__}")
    check_device(device)
    net.to(device)
    draw = as_draw(net, data)
    average = [p.detach().clone() for p in net.parameters()]
    moves: torch.optim.Optimizer = OPTIMISERS[optimiser](net.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    validation = None if exact is None else _Validation(net, exact, draw, rng)
    done = 0
    if resume and Path(checkpoint).exists():  # type: ignore[arg-type]
        done = load_training(checkpoint, net, average, moves, rng)  # type: ignore[arg-type]

    def run() -> Iterator[TrainingStep]:
        start, number = time.perf_counter(), done
        try:
            while (steps is None or number < steps) and (elapsed := time.perf_counter() - start) < budget_seconds:
                number += 1
                spent = max((number - 1) / steps if steps else 0.0, elapsed / budget_seconds)
                rate = learning_rate * min(1.0, number / 50) * 0.5 * (1 + math.cos(math.pi * spent))
                for group in moves.param_groups:
                    group["lr"] = rate
                loss = _step(net, moves, draw, times, batch_size, number, rng, teacher)
                keep = min(ema, number / (number + 10))
                with torch.no_grad():
                    torch._foreach_lerp_(average, list(net.parameters()), 1 - keep)
                last = number == steps
                excess = None
                if validation and (last or number % validate_every == 0):
                    excess = validation.excess(average)
                if checkpoint is not None and (last or number % checkpoint_every == 0):
                    save_training(checkpoint, net, average, moves, number, rng)
                yield TrainingStep(number, loss, time.perf_counter() - start, rate, excess)
            if checkpoint is not None and number > done and number != steps:
                save_training(checkpoint, net, average, moves, number, rng)
        finally:
            _set_weights(net, average)

    return run()


def fit(net: Network, data: NDArray | Draw, *, progress: bool = True, **options: Any) -> list[TrainingStep]:
    """`train` to the end, with a bar on a terminal (loss, and excess where `exact` is known), and all its records."""
    records = []
    with _bar(options, shown=progress) as advance:
        for step in train(net, data, **options):
            records.append(step)
            advance(step)
    return records


def as_draw(net: Network, data: NDArray | Draw) -> Draw:
    """data as draw(n, rng) -> float (n, channel, *lattice), checked to fit the network."""
    if callable(data):
        return lambda n, rng: check_data(net, data(n, rng))
    clean = check_data(net, data)
    return lambda n, rng: clean[rng.integers(len(clean), size=n)]


def check_data(net: Network, x_0: NDArray) -> NDArray[np.float64]:
    """Clean data as floats (n, channel, *lattice). Raises ValueError or TypeError where they do not fit the network."""
    x_0 = np.asarray(x_0)
    if x_0.dtype.kind not in "iufb":
        raise InputError(f"data must be real numbers, got dtype {x_0.dtype}")
    if x_0.ndim == net.ndim + 1 and net.in_channels == 1:
        x_0 = x_0[:, None]
    if x_0.ndim != net.ndim + 2 or x_0.shape[1] != net.in_channels or 0 in x_0.shape:
        raise InputError(f"data must have shape (n, {net.in_channels}, {net.ndim} lattice axes), got {x_0.shape}")
    x_0 = x_0.astype(float)
    if not np.isfinite(x_0).all():
        raise InputError("data must be finite, got NaN or infinity")
    if net.head == "bernoulli":
        used = net.sites(x_0.shape[2:], torch.zeros(())).numpy() > 0
        if np.any((np.abs(x_0) != 1) & used):
            raise InputError("data must be +-1 for the bernoulli head; take head='gaussian' for real values")
    return x_0


def nats(law: Posterior, mean: Tensor, variance: Tensor | float = 0.0) -> Tensor:
    """-log p(x_0,i) of each value under the law, averaged over values of this mean and variance (0: known values)."""
    if isinstance(law, Categorical):
        return law.nats(mean)
    if isinstance(law, Bernoulli):
        log_odds = law.log_odds.clamp(-1e4, 1e4)  # finite, for 0 times infinity below
        return (1 + mean) / 2 * softplus(-log_odds) + (1 - mean) / 2 * softplus(log_odds)
    return 0.5 * (((mean - law.mean) ** 2 + variance) / law.variance + (2 * math.pi * law.variance).log())


def _step(
    net: Network,
    optimiser: torch.optim.Optimizer,
    draw: Draw,
    times: Times,
    batch_size: int,
    number: int,
    rng: np.random.Generator,
    teacher: BlindDenoiser | None,
) -> float:
    weight = next(net.parameters())
    clean = np.array_split(draw(batch_size, rng), -(-batch_size // SAMPLES_PER_TIME))
    levels = times(len(clean), rng)
    noisy = [net.channel.corrupt(part, t, rng) for part, t in zip(clean, levels, strict=True)]
    t = np.repeat(levels, [len(part) for part in clean])
    x_0, x_t = (torch.as_tensor(np.concatenate(a), dtype=weight.dtype, device=weight.device) for a in (clean, noisy))
    law = net.blind(x_t, t) if isinstance(net, LocalNet) else net(x_t, t)
    sites = net.sites(x_0.shape[2:], x_0)
    if teacher is None:
        target, spread = x_0, torch.zeros_like(x_0)
    else:
        told = [teacher.blind(part, u) for part, u in zip(noisy, levels, strict=True)]
        moments = (np.concatenate([getattr(one, name) for one in told]) for name in ("mean", "variance"))
        target, spread = (torch.as_tensor(m, dtype=weight.dtype, device=weight.device) for m in moments)
    loss = (nats(law, target, spread) * sites).flatten(1).sum(dim=1) / sites.sum()
    optimiser.zero_grad(set_to_none=True)
    loss.mean().backward()
    norm = torch.nn.utils.clip_grad_norm_(net.parameters(), GRADIENT_NORM)
    if not bool(norm.isfinite()) or not bool(loss.isfinite().all()):
        worst = int(torch.nan_to_num(loss.detach(), nan=math.inf).argmax())
        value, log_snr = loss[worst].item(), math.log(max(net.channel.snr(t[worst]), 1e-300))
        raise TrainingError(
            f"training stopped at step {number}: loss {value:.3g} at t = {t[worst]:.4g} (log snr {log_snr:.3g}), "
            f"gradient norm {norm.item():.3g}; the weights are those of step {number - 1}; lower learning_rate, "
            "or look at the data"
        )
    optimiser.step()
    return loss.mean().item()


class _Validation:
    """How far the mean squared error lies above its exact minimum, on samples drawn once.

    E|x_0 - net|^2 - E|x_0 - exact|^2 = E|net - exact|^2: the two are compared, not their noisy errors.
    """

    def __init__(self, net: Network, exact: Denoiser, draw: Draw, rng: np.random.Generator) -> None:
        self.net, clean = net, draw(16, rng)
        self.noisy = [net.channel.corrupt(clean, t, rng) for t in VALIDATION_TIMES]
        laws = [exact(x_t, t) for x_t, t in zip(self.noisy, VALIDATION_TIMES, strict=True)]
        self.exact = [(law.mean, float(law.variance.mean())) for law in laws]

    def excess(self, weights: list[Tensor]) -> float:
        kept = [p.detach().clone() for p in self.net.parameters()]
        _set_weights(self.net, weights)
        ratios = []
        for x_t, t, (mean, mmse) in zip(self.noisy, VALIDATION_TIMES, self.exact, strict=True):
            ratios.append(((self.net(x_t, t).mean - mean) ** 2).mean() / mmse)
        _set_weights(self.net, kept)
        return float(np.mean(ratios))


def _set_weights(net: Network, values: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), values, strict=True):
            parameter.copy_(value)


@contextlib.contextmanager
def _bar(options: dict[str, Any], *, shown: bool) -> Iterator[Callable[[TrainingStep], None]]:
    if not (shown and options.get("steps") and sys.stderr.isatty()):
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, excess = bar.add_task("", total=options["steps"]), ""

        def advance(step: TrainingStep) -> None:
            nonlocal excess
            if step.excess is not None:
                excess = f", MSE {100 * step.excess:.2f}% above the exact minimum"
            bar.update(task, completed=step.number, description=f"loss {step.loss:.4f}{excess}")

        yield advance
