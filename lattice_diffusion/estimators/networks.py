"""The small network inside the neural estimators and its training: seeded, early stopped, best weights kept."""

import copy
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import silu

from ..errors import check_memory

CHECK_EVERY = 25  # steps between looks at the validation samples
PATIENCE = 8  # looks without improvement before training ends
AVERAGE = 0.97  # weight of the past in the running average of the weights, which is what is validated
CHUNK = 8192  # rows evaluated at a time

Loss = Callable[..., Tensor]


class MLP(nn.Module):
    """(n, n_in) -> (n, n_out), `depth` hidden layers; with `zero` it is 0 before training.

    Args:
        rng: draws the weights.
    """

    def __init__(
        self, n_in: int, n_out: int, width: int, depth: int, rng: np.random.Generator, *, zero: bool = False
    ) -> None:
        super().__init__()
        weights = n_in * width + max(depth - 1, 0) * width**2 + width * n_out
        check_memory("width", 32 * weights + 10_000 * depth, "take a smaller width or depth")
        sizes = [n_in, *[width] * depth, n_out]
        layers = [nn.utils.skip_init(nn.Linear, i, j) for i, j in pairwise(sizes)]
        seed = torch_generator(rng)
        for made in layers:
            nn.init.normal_(made.weight, 0.0, 1 / math.sqrt(max(made.in_features, 1)), generator=seed)
            nn.init.zeros_(made.bias)
        if zero:
            nn.init.zeros_(layers[-1].weight)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = silu(layer(x))
        out: Tensor = last(x)
        return out


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """A torch generator of its own, seeded by the NumPy one."""
    return torch.Generator().manual_seed(int(rng.integers(1 << 63)))


def tensor(x: ArrayLike, device: str | torch.device | None) -> Tensor:
    return torch.as_tensor(np.asarray(x), dtype=torch.float32, device=device)


def split(n: int, share: float, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows to fit and rows to validate on, the latter a `share` of all, at least one each."""
    order = rng.permutation(n)
    n_valid = min(max(1, round(share * n)), n - 1)
    return np.sort(order[n_valid:]), np.sort(order[:n_valid])


def train(
    net: nn.Module,
    loss: Loss,
    fit: Sequence[Tensor],
    valid: Sequence[Tensor],
    rng: np.random.Generator,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float = 0.0,
    early_stopping: bool = True,
    score: Loss | None = None,
) -> None:
    """Minimise loss(net, *batch) over batches of rows of `fit`; the averaged weights of least score(net, *valid) stay.

    Those before the first step count too: a network that starts at 0 stays there unless it can do better. Without
    early stopping, the averaged weights of the last step. The learning rate falls to 0 as a cosine.

    Args:
        score: the loss itself, unless given.
    """
    n, device = len(fit[0]), fit[0].device
    optimiser = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99))
    average = copy.deepcopy(net).requires_grad_(False)
    score = loss if score is None else score
    batch_size, waited = min(batch_size, n), 0
    best, least = copy.deepcopy(net.state_dict()), _value(score, net, valid) if early_stopping else math.inf
    seed = torch_generator(rng)
    order, at = torch.randperm(n, generator=seed), 0
    for step in range(steps):
        if at + batch_size > n:
            order, at = torch.randperm(n, generator=seed), 0
        rows = order[at : at + batch_size].to(device)
        at += batch_size
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.zero_grad(set_to_none=True)
        loss(net, *(x[rows] for x in fit)).backward()
        optimiser.step()
        with torch.no_grad():
            keep = min(AVERAGE, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - keep)
        if early_stopping and ((step + 1) % CHECK_EVERY == 0 or step + 1 == steps):
            value = _value(score, average, valid)
            waited += 1
            if value < least:
                best, least, waited = copy.deepcopy(average.state_dict()), value, 0
            if waited >= PATIENCE:
                break
    net.load_state_dict(best if early_stopping else average.state_dict())
    net.requires_grad_(False)


def _value(loss: Loss, net: nn.Module, valid: Sequence[Tensor]) -> float:
    with torch.no_grad():
        return float(loss(net, *valid))


def by_chunks(function: Callable[..., Tensor], *arrays: Tensor) -> Tensor:
    """function(*arrays) without gradients, a bounded number of rows at a time."""
    with torch.no_grad():
        parts = [function(*(x[start : start + CHUNK] for x in arrays)) for start in range(0, len(arrays[0]), CHUNK)]
    return torch.cat(parts)


def train_if_better(
    net: nn.Module,
    nats: Loss,
    fit: Sequence[Tensor],
    valid: Sequence[Tensor],
    rng: np.random.Generator,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> None:
    """`train` with nats(net, *batch) per row; the initial weights come back unless the gain is above its error."""
    before, initial = copy.deepcopy(net.state_dict()), nats(net, *valid).detach()

    def loss(net: nn.Module, *batch: Tensor) -> Tensor:
        return nats(net, *batch).mean()

    options = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    train(net, loss, fit, valid, rng, steps=steps, batch_size=batch_size, **options)  # type: ignore[arg-type]
    if not is_better(nats(net, *valid).detach(), initial):
        net.load_state_dict(before)


def is_better(new: Tensor, old: Tensor) -> bool:
    """Whether nats (n,) of the same samples have become fewer by more than the error of their mean."""
    gain = old - new
    return len(gain) > 1 and bool(gain.mean() > gain.std() / math.sqrt(len(gain)))
