"""The training loop of every network in the package.

    for step in minimise(net, loss, TrainingConfig(steps=2000), rng=rng):
        print(step.number, step.loss)

`loss()` draws a batch and returns its losses, whose mean is minimised; it takes all randomness from `rng`, whose state
the checkpoints carry, so that a resumed run gives the numbers of an uninterrupted one. An exponential moving average of
the weights is what is scored, and what the network holds in the end. Denoisers (`fitting.train`) keep the defaults of
`TrainingConfig`; critics and conditional laws stop early and keep their best weights; the amortised likelihood keeps
its best weights and resumes, with a torch generator; a plain Adam is warmup=1, ema=0.0, gradient_norm=None.

On a GPU no step waits for another: losses are read when they are asked for, and one that is not finite is noticed at
the next score or checkpoint, or after CHECK_EVERY steps, in which the weights have stood still.
"""

import contextlib
import copy
import math
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError, Limits, check_limits, out_of_memory, shown
from ..progress import say
from .checkpoints import Rng, resumed, set_state, stamp_of, state_of, understood, write_checkpoint
from .muon import Muon

CHECK_EVERY = 50  # steps between two looks at what a GPU has found
NEVER_WAITS = ("cuda",)  # devices whose Adam is one kernel, which takes no step where there is trouble
LIMITS: Limits = {
    "steps": (0, None),
    "learning_rate": (0.0, 1e3),
    "warmup": (1, None),
    "weight_decay": (0.0, None),
    "gradient_norm": (0.0, None),
    "ema": (0.0, 1.0),
    "ema_delay": (0, None),
    "validate_every": (1, None),
    "checkpoint_every": (1, None),
    "patience": (1, None),
}


class TrainingError(RuntimeError):
    """A loss or gradient that is not finite; the network and its checkpoint are those of the last good step."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    Attributes:
        steps: after which training stops; the learning rate reaches 0 there.
        optimiser: "adam" (AdamW, which is Adam where `weight_decay` is 0), or "muon", which needs fewer steps, most of
            all on small batches with a teacher.
        learning_rate: of Adam after `warmup` steps; see `Muon` for its own use of it.
        betas: decay rates of Adam's two moments.
        gradient_norm: longer gradients are cut to this length, and a loss or gradient that is not finite raises
            TrainingError; None: neither.
        ema: decay of the moving average of the weights; at step n it is at most n / (n + ema_delay), so that the
            initial weights are soon forgotten. 0: no average.
        validate_every: steps between two scores of the averaged weights; the last step is scored, too.
        keep: the weights that stay, "last" or those of the lowest score, "best".
        score_first: whether the initial weights are scored, too, and stay if training never does better.
        patience: training stops after this many scores without improvement; None: it does not.
        checkpoint: file that holds all that is needed to go on, written every `checkpoint_every` steps, and when the
            loop is left, by Ctrl-C as well.
        resume: whether to go on from `checkpoint` where it exists.

    Raises InputError for values outside these ranges.
    """

    steps: int
    optimiser: Literal["adam", "muon"] = "adam"
    learning_rate: float = 3e-3
    warmup: int = 50
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    gradient_norm: float | None = 1.0
    ema: float = 0.998
    ema_delay: int = 10
    validate_every: int = 500
    keep: Literal["last", "best"] = "last"
    score_first: bool = False
    patience: int | None = None
    checkpoint: str | Path | None = None
    checkpoint_every: int = 500
    resume: bool = False

    def __post_init__(self) -> None:
        check_limits(LIMITS, vars(self))
        for name, (low, _) in LIMITS.items():
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, type(low)(value))
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        if self.ema == 1:
            raise InputError("ema must be below 1, which would keep the initial weights for ever, got 1")
        if self.optimiser not in ("adam", "muon"):
            raise InputError(f"optimiser must be adam or muon, got {shown(self.optimiser)}")
        path = None if self.checkpoint is None else Path(self.checkpoint).absolute()
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise InputError(f"checkpoint must be a file in an existing folder, got {str(self.checkpoint)!r}")
        if self.resume and path is None:
            raise InputError("resume needs the checkpoint to go on from, got checkpoint=None")

    def rate(self, number: int) -> float:
        """Return the learning rate of step `number`, 1 for the first."""
        cosine = math.cos(math.pi * (number - 1) / self.steps)
        return self.learning_rate * min(1.0, number / self.warmup) * 0.5 * (1 + cosine)


@dataclass(frozen=True)
class TrainingStep:
    """One step of training.

    Attributes:
        number: 1 for the first.
        value: the loss as a tensor on its device.
        learning_rate: of this step.
        score: of the averaged weights (denoisers: E|net - exact|^2 / MMSE, how far the mean squared error lies above
            its exact minimum); None at steps that are not scored.
    """

    number: int
    value: Tensor
    learning_rate: float
    score: float | None = None

    @property
    def loss(self) -> float:
        """The mean over the batch (denoisers: nats per site); reading it waits for the device."""
        return float(self.value)


def minimise(
    net: nn.Module,
    loss: Callable[[], Tensor],
    config: TrainingConfig,
    *,
    rng: Rng | None = None,
    score: Callable[[nn.Module], float] | None = None,
    scores: dict[int, float] | None = None,
    description: Mapping[str, Any] | None = None,
    halve: Callable[[], int] = lambda: 0,
) -> Generator[TrainingStep, None, None]:
    """Train `net` in place, one step per item; whenever the loop is left, it holds the weights that stay.

    An interrupt (Ctrl-C) and a loop that is left early write the checkpoint of the last whole step, unless another
    training has written it since.

    Args:
        loss: draws a batch and returns the losses of the network in training, of any shape; their mean is minimised.
        rng: the generator that `loss` draws from, stored in checkpoints.
        score: of a network with the averaged weights, the lower the better.
        scores: receives the score of every step that was scored, those before an interruption, too.
        description: of the network as JSON, stored in checkpoints and compared on resuming.
        halve: halves the batches where the GPU's memory does not hold them, and returns their size; 0: it cannot.

    Raises TrainingError for a loss or gradient that is not finite (with `gradient_norm`); CheckpointError for a
    checkpoint of another network or training; InputError for a GPU without memory for a batch of one.
    """
    optimiser = _optimiser(net, config)
    generator = type(rng.bit_generator).__name__ if isinstance(rng, np.random.Generator) else type(rng).__name__
    about = {**(description or {}), "optimiser": config.optimiser, "rng": generator}
    number, scores = 0, {} if scores is None else scores

    average = copy.deepcopy(net)
    weights: list[Tensor] = [*net.parameters()]
    averaged: list[Tensor] = [*average.parameters()]
    buffers = [*zip(average.buffers(), net.buffers(), strict=True)]

    @torch.no_grad()
    def follow() -> None:
        """Move the average towards the weights of step `number`."""
        share = 1 - min(config.ema, number / (number + config.ema_delay))
        torch._foreach_lerp_(averaged, weights, share)
        for own, new in buffers:
            own.copy_(new)

    trouble = next(net.parameters()).new_zeros(3, dtype=torch.float64) if _never_waits(net) else None
    best = _Best(copy.deepcopy(net.state_dict()), _scored(score, net) if config.score_first else math.inf)

    def check() -> None:
        """Raise TrainingError if a step so far had a loss or gradient that is not finite."""
        if trouble is not None:
            _raise_if_bad(*trouble.tolist())

    def judge() -> float | None:
        """Score the averaged weights of step `number`, where it is one that is scored."""
        if score is None or (number != config.steps and number % config.validate_every):
            return None
        check()
        scored = _scored(score, average)
        with _uninterrupted():
            best.compare(scored, average, number)
            scores[number] = scored
        return scored

    def save() -> tuple[int, Any]:
        """Write the checkpoint of step `number`, with the state that rng had after it; return both marks of it."""
        check()
        state = {"description": about, "step": number, "rng": drawn, "optimiser": optimiser.state_dict()}
        state |= {"weights": net.state_dict(), "average": average.state_dict()}
        state |= {"scores": dict(scores)}
        state |= {"best": vars(best)} if config.keep == "best" else {}
        write_checkpoint(config.checkpoint, state)  # type: ignore[arg-type]
        return number, stamp_of(config.checkpoint)

    if config.resume and Path(config.checkpoint).exists():  # type: ignore[arg-type]
        with understood(config.checkpoint, "of this network and training"):  # type: ignore[arg-type]
            state = resumed(config.checkpoint, about)  # type: ignore[arg-type]
            number = int(state["step"])
            net.load_state_dict(state["weights"])
            average.load_state_dict(state["average"])
            for group in state["optimiser"]["param_groups"]:
                group |= {"fused": _never_waits(net)} if "fused" in group else {}  # it may come from another device
            optimiser.load_state_dict(state["optimiser"])
            scores.update(state["scores"])
            best = _Best(**state["best"]) if config.keep == "best" else best
            set_state(rng, state["rng"])
        if config.keep == "best" and number > best.number:  # interrupted while it was scored
            judge()
    kept = None if config.checkpoint is None else rng
    (saved, stamp), drawn = (number, stamp_of(config.checkpoint)), state_of(kept)

    try:
        while number < config.steps and best.waited != config.patience:
            rate = config.rate(number + 1)
            for group in optimiser.param_groups:
                group["lr"] = rate
            value = _gradient(weights, optimiser, loss, config.gradient_norm, number + 1, trouble, halve)
            if trouble is not None:  # then the weights stand still
                optimiser.found_inf = (trouble[0] > 0).float()  # type: ignore[attr-defined]
            with _uninterrupted():
                with contextlib.nullcontext() if optimiser.state else torch.device("cpu"):  # the first makes counters
                    optimiser.step()
                number += 1
                follow()
                drawn = state_of(kept)
            if number % CHECK_EVERY == 0:
                check()
            scored = judge()
            drawn = state_of(kept) if scored is not None else drawn
            if config.checkpoint is not None and (number == config.steps or number % config.checkpoint_every == 0):
                saved, stamp = save()
            yield TrainingStep(number, value, rate, scored)
        check()
        if config.checkpoint is not None and number != saved:
            saved, stamp = save()
    except (KeyboardInterrupt, GeneratorExit):  # the latter may come late, when the loop's traceback is forgotten
        if config.checkpoint is not None and number != saved and stamp_of(config.checkpoint) == stamp:
            save()
        raise
    finally:
        net.load_state_dict(best.weights if config.keep == "best" else average.state_dict())


def _gradient(
    weights: list[Tensor],
    optimiser: torch.optim.Optimizer,
    loss: Callable[[], Tensor],
    gradient_norm: float | None,
    n: int,
    trouble: Tensor | None,
    halve: Callable[[], int],
) -> Tensor:
    """Compute the gradient of step n and return its loss.

    The first step whose loss or gradient is not finite is written into `trouble` as (n, loss, norm), or raised at once.
    """
    while True:
        optimiser.zero_grad(set_to_none=True)
        try:
            value = loss().mean()
            value.backward()
            break
        except torch.cuda.OutOfMemoryError as error:
            if not (size := halve()):
                raise InputError(f"{out_of_memory(error)}; take a smaller network or smaller batches") from None
        say(f"warning: the GPU has too little memory for a batch; training goes on with batches of {size}")
    value = value.detach()
    if gradient_norm is not None:
        norm = torch.nn.utils.clip_grad_norm_(weights, gradient_norm)
        good = norm.isfinite() & value.isfinite()
        if trouble is None:
            _raise_if_bad(0 if good else n, float(value), float(norm))
        else:
            seen = torch.stack([value.new_full((), n), value, norm]).double()
            trouble.copy_(torch.where(good | (trouble[0] > 0), trouble, seen))
    return value


def _raise_if_bad(n: float, loss: float, norm: float) -> None:
    """Raise TrainingError for the step n > 0."""
    if n:
        raise TrainingError(
            f"training stopped at step {n:.0f}: loss {loss:.3g}, gradient norm {norm:.3g}; the weights are those of "
            f"step {n - 1:.0f}; lower learning_rate, or check the data"
        )


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back to the end of the block, so that a checkpoint never finds half a step."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield  # no interrupt can come here
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


@dataclass
class _Best:
    """The weights of the lowest score, the number of scores since then, and the last step that was scored."""

    weights: dict[str, Tensor]
    score: float
    waited: int = 0
    number: int = 0

    def compare(self, score: float, net: nn.Module, number: int) -> None:
        self.waited, self.number = self.waited + 1, number
        if score < self.score:
            self.weights, self.score, self.waited = copy.deepcopy(net.state_dict()), score, 0


def _scored(score: Callable[[nn.Module], float] | None, net: nn.Module) -> float:
    if score is None:
        return math.inf
    with torch.no_grad():
        return float(score(net))


def _optimiser(net: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    lr, betas = config.learning_rate, config.betas
    if config.optimiser == "muon":
        return Muon(net.parameters(), lr=lr, betas=betas)
    options: dict[str, Any] = {"weight_decay": config.weight_decay, "fused": _never_waits(net)}
    return torch.optim.AdamW(net.parameters(), lr=lr, betas=betas, **options)


def _never_waits(net: nn.Module) -> bool:
    return next(net.parameters()).device.type in NEVER_WAITS
