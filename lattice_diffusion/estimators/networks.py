"""The perceptron of the neural estimators, and what draws and evaluates networks."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import silu

from ..denoisers.on_device import generator_on
from ..errors import check_memory

CHUNK = 8192  # rows evaluated at a time
Rows = tuple[NDArray[np.intp], NDArray[np.intp]]  # those to fit and those to validate on


class MLP(nn.Module):
    """(n, n_in) -> (n, n_out), `depth` hidden layers; with `zero` it is 0 before training. `rng` draws the weights."""

    def __init__(
        self, n_in: int, n_out: int, width: int, depth: int, rng: np.random.Generator, *, zero: bool = False
    ) -> None:
        super().__init__()
        weights = n_in * width + max(depth - 1, 0) * width**2 + width * n_out
        check_memory("width", 32 * weights + 10_000 * depth, "take a smaller width or depth")
        sizes = [n_in, *[width] * depth, n_out]
        self.layers = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, i, j, dtype=torch.float32) for i, j in pairwise(sizes)
        )
        draw_weights(self.layers, rng)
        if zero:
            nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = silu(layer(x))
        out: Tensor = last(x)
        return out


def draw_weights(layers: nn.ModuleList, rng: np.random.Generator) -> None:
    """Draw normal weights of variance 1 over the number of inputs; biases start at 0."""
    seed = torch_generator(rng)
    for layer in layers:
        weight, bias = layer.parameters()
        nn.init.normal_(weight, 0.0, 1 / math.sqrt(max(weight[0].numel(), 1)), generator=seed)
        nn.init.zeros_(bias)


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """Return a torch generator of its own, seeded by the NumPy one."""
    return generator_on("cpu", rng)


def tensor(x: ArrayLike, device: str | torch.device | None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return `x` on the device, in single precision unless told otherwise."""
    return torch.as_tensor(np.asarray(x), dtype=dtype, device=device)


def by_chunks(function: Callable[..., Tensor], *arrays: Tensor) -> Tensor:
    """Return function(*arrays) without gradients, a bounded number of rows at a time."""
    with torch.no_grad():
        parts = [function(*(x[start : start + CHUNK] for x in arrays)) for start in range(0, len(arrays[0]), CHUNK)]
    return torch.cat(parts)
