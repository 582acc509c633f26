"""The networks of a hybrid: images to train on, local denoisers of several radii, a global one, a classifier.

Everything is trained by the one loop of `denoisers.training`; checkpoints and finished networks are kept in the folder
of parts, so that a killed run goes on to the same numbers.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import silu

from ..channels import Gaussian
from ..denoisers import GlobalImageNet, LocalImageNet, TrainingConfig, minimise, train
from ..denoisers.checkpoints import read_checkpoint, understood, write_checkpoint
from ..denoisers.network import Network, initialise, layer
from ..denoisers.on_device import on, to_device
from ..errors import InputError
from .decisions import GLOBAL
from .images import Images

ROLES = ("split", "training", "measuring", "classifier")
LEAST = 400  # images, which leave 40 on either side of a comparison
HELD_OUT, MOST_HELD_OUT = 0.2, 4000
CHANNEL = Gaussian("linear")
GLOBAL_SHARE = 0.4  # of the time that training may take
CHECKPOINT_EVERY = 100


def stream(seed: int, role: str) -> np.random.SeedSequence:
    """Return the seed of one of ROLES, independent of those of the others."""
    return np.random.SeedSequence(seed).spawn(len(ROLES))[ROLES.index(role)]


# -- images ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """Images (n, channel, row, column) whose values are `levels`, in three parts that share no image.

    Attributes:
        train: for networks and classifier; reference: images that generated ones are compared with; real: as many
            real ones, whose distance from the reference cannot be told from zero.
        labels: codes of the three parts, or None; classes: their names.
    """

    levels: NDArray[np.float64]
    train: NDArray[np.float64]
    reference: NDArray[np.float64]
    real: NDArray[np.float64]
    labels: tuple[NDArray[np.int64], ...] | None
    classes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(row, column)."""
        return self.train.shape[2:]

    @property
    def channels(self) -> int:
        """Values of a pixel."""
        return self.train.shape[1]

    @property
    def prior(self) -> NDArray[np.float64]:
        """Frequencies of the levels in the training images, one added to each count, (level, ...) as for networks."""
        counts = np.stack([(self.train == level).sum(axis=0) for level in self.levels])
        frequencies = (counts + 1.0) / (len(self.train) + len(self.levels))
        return frequencies if self.channels > 1 else frequencies[:, 0]


def split(images: Images, n_levels: int, shrink: int, rng: np.random.Generator) -> Split:
    """Return images or spins, averaged over blocks of `shrink` x `shrink`, every value rounded to one of `n_levels`.

    A fifth is held out, one half of it for each comparison. Raises InputError for tokens, for too few images, and for
    blocks larger than half an image.
    """
    n, _, rows, columns = images.shape
    if images.symbols is not None:
        raise InputError(f"a hybrid takes grey images, colours or spins, {images.source.name} is of tokens")
    if n < LEAST:
        raise InputError(f"a hybrid needs at least {LEAST} images, and better 5,000, got {n}")
    if min(rows, columns) // shrink < 4:
        raise InputError(f"shrink must leave images of at least 4x4, got {shrink} for {rows}x{columns}")
    x = np.concatenate([_shrunk(batch, shrink) for batch in images.batches(4096)])
    levels = np.unique(x[:4096]) if images.levels is None or shrink > 1 else np.asarray(images.levels, float)
    if len(levels) > n_levels:
        levels = np.linspace(levels[0], levels[-1], n_levels)
    levels = np.round(levels, 6)
    x = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, x)]
    order = rng.permutation(n)
    held = min(MOST_HELD_OUT, int(HELD_OUT * n)) // 2
    parts = order[2 * held :], order[:held], order[held : 2 * held]
    codes = None
    if images.labels is not None and len(images.classes) > 1:
        codes = tuple(images.labels[part] for part in parts)
    fitted, reference, real = (x[part] for part in parts)
    return Split(levels, fitted, reference, real, codes, images.classes)


def _shrunk(batch: NDArray, shrink: int) -> NDArray[np.float64]:
    n, channels, rows, columns = batch.shape
    kept = batch[:, :, : rows - rows % shrink, : columns - columns % shrink].astype(float)
    blocks = kept.reshape(n, channels, rows // shrink, shrink, columns // shrink, shrink)
    return np.asarray(blocks.mean(axis=(3, 5)))


# -- denoisers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """What is trained; together with the images it decides the weights.

    Attributes:
        radii: of the local networks, increasing.
        steps, global_steps: of training every local network, the global one.
    """

    radii: tuple[int, ...]
    steps: int
    global_steps: int
    width: int = 32
    batch_size: int = 32
    seed: int = 0

    @property
    def kinds(self) -> tuple[int, ...]:
        """Radii of all networks, -1 for the global one, which comes last."""
        return (*self.radii, GLOBAL)

    def steps_of(self, kind: int) -> int:
        """Return the training steps of one network."""
        return self.global_steps if kind == GLOBAL else self.steps


def untrained(data: Split, training: Training, kind: int, rng: np.random.Generator, device: str = "cpu") -> Network:
    """Return the network of a radius with random weights, that of -1 global."""
    options: dict[str, Any] = {"in_channels": data.channels, "channel": CHANNEL, "rng": rng}
    if kind == GLOBAL:
        return GlobalImageNet(data.levels, data.prior, width=training.width, **options).to(device)
    width = max(1, training.width // data.channels)  # of each colour, which has outputs of its own
    return LocalImageNet(kind, data.levels, data.prior, width=width, **options).to(device)


def trained(
    data: Split, training: Training, parts: Path, on_steps: Callable[[int], None], device: str = "cpu"
) -> dict[int, Network]:
    """Return all networks by radius, -1 for the global one; checkpoints in `parts` are used and written."""
    nets = {}
    seeds = stream(training.seed, "training").spawn(len(training.kinds))
    for kind, seed in zip(training.kinds, seeds, strict=True):
        weights, batches = (np.random.default_rng(s) for s in seed.spawn(2))
        nets[kind] = untrained(data, training, kind, weights, device)
        options: dict[str, Any] = {"checkpoint": parts / f"{name_of(kind)}.pt", "checkpoint_every": CHECKPOINT_EVERY}
        options |= {"steps": training.steps_of(kind), "batch_size": training.batch_size, "resume": True}
        done = 0
        for step in train(nets[kind], data.train, rng=batches, **options):
            on_steps(step.number - done)
            done = step.number
        on_steps(training.steps_of(kind) - done)
    return nets


def seconds_per_step(data: Split, training: Training, device: str = "cpu") -> dict[int, float]:
    """Return the seconds of a training step of every network, from four of them."""
    found = {}
    for kind in training.kinds:
        rng = np.random.default_rng(0)
        net = untrained(data, training, kind, rng, device)
        ends = [time.perf_counter()]
        for step in train(net, data.train[:1000], rng=rng, steps=5, batch_size=training.batch_size):
            assert math.isfinite(step.loss)  # which waits for the device
            ends.append(time.perf_counter())
        found[kind] = float(np.median(np.diff(ends)[1:]))
    return found


def steps_within(budget: float, seconds: dict[int, float]) -> tuple[int, int]:
    """Return the steps of every local network and of the global one that take `budget` seconds together."""
    local = sum(value for kind, value in seconds.items() if kind != GLOBAL)
    return int((1 - GLOBAL_SHARE) * budget / local), int(GLOBAL_SHARE * budget / seconds[GLOBAL])


def name_of(kind: int) -> str:
    """Return the name of a network in the folder of parts."""
    return "global" if kind == GLOBAL else f"local-{kind}"


# -- classifier -----------------------------------------------------------------------------------------------

N_FEATURES = 32
SIDE = 7  # of the last map
EPOCHS = 8
BATCH = 64


class Classifier(nn.Module):
    """A small convolutional classifier, whose features tell real images from generated ones.

    Images (n, *shape), of shape (channel, row, column) -> features (n, N_FEATURES) -> log probabilities (n, class).
    """

    def __init__(self, shape: tuple[int, ...], n_classes: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.side = (min(SIDE, shape[1] // 2), min(SIDE, shape[2] // 2))
        self.first, self.second = layer(shape[0], 16, ndim=2, size=3), layer(16, 32, ndim=2, size=3)
        self.third = layer(32 * self.side[0] * self.side[1], N_FEATURES)
        self.last = layer(N_FEATURES, n_classes)
        initialise(self, rng)

    def features(self, x: Tensor) -> Tensor:
        """Return the features of images."""
        z = functional.avg_pool2d(silu(self.first(functional.pad(x, (1, 1, 1, 1)))), 2, ceil_mode=True)
        z = functional.adaptive_avg_pool2d(silu(self.second(functional.pad(z, (1, 1, 1, 1)))), self.side)
        out: Tensor = silu(self.third(z.flatten(1)[:, :, None]))[:, :, 0]
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.features(x)[:, :, None])[:, :, 0].log_softmax(dim=1)
        return out

    def see(self, images: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return features and log probabilities of images, without gradients."""
        like = next(self.parameters())
        parts = [on(like, part) for part in np.array_split(images, -(-len(images) // 512))]
        with torch.no_grad():
            features, logs = (torch.cat([f(x) for x in parts]).cpu().double().numpy() for f in (self.features, self))
        return features, logs


def classifier_of(data: Split, seed: int, parts: Path, device: str = "cpu") -> Classifier | None:
    """Return a classifier of the training images, that in `parts` where there is one; None without labels."""
    if data.labels is None:
        return None
    path, rng = parts / "classifier.pt", np.random.default_rng(stream(seed, "classifier"))
    net = Classifier(data.train.shape[1:], len(data.classes), rng).to(device)
    if path.exists():
        with understood(path, "of this classifier"):
            net.load_state_dict(read_checkpoint(path)["average"])
        return net
    fit_classifier(net, data.train, data.labels[0], rng)
    write_checkpoint(path, {"average": net.state_dict()})
    return net


def classifier_seconds(data: Split, device: str = "cpu") -> float:
    """Return the seconds that the training of a classifier takes, from one pass through a few images."""
    if data.labels is None:
        return 0.0
    start, few, rng = time.perf_counter(), 4 * BATCH, np.random.default_rng(0)
    net = Classifier(data.train.shape[1:], len(data.classes), rng).to(device)
    fit_classifier(net, data.train[:few], data.labels[0][:few], rng, epochs=1)
    net.see(data.train[:1])  # which waits for the device
    return (time.perf_counter() - start) * EPOCHS * len(data.train) / min(few, len(data.train))


def fit_classifier(
    net: Classifier, images: NDArray, labels: NDArray, rng: np.random.Generator, epochs: int = EPOCHS
) -> None:
    """Train over some passes through the images, each moved by up to one pixel."""
    like = next(net.parameters())
    x, y = on(like, images), to_device(labels, like.device)
    background = float(np.median(images))
    n_batches = -(-len(x) // BATCH)

    def losses() -> Iterator[Tensor]:
        for _ in range(epochs):
            for rows in to_device(rng.permutation(len(x)), like.device).tensor_split(n_batches):
                down, right = (int(step) for step in rng.integers(3, size=2))
                moved = functional.pad(x[rows], (1, 1, 1, 1), value=background)
                moved = moved[:, :, down : down + x.shape[2], right : right + x.shape[3]]
                yield functional.nll_loss(net(moved), y[rows])

    adam: dict[str, Any] = {"learning_rate": 2e-3, "warmup": 1, "betas": (0.9, 0.999), "ema": 0.0}
    batches = losses()
    for _ in minimise(net, lambda: next(batches), TrainingConfig(epochs * n_batches, gradient_norm=None, **adam)):
        pass
