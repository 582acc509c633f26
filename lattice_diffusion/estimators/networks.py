"""Networks of the neural estimators: a perceptron for flat arrays, one stencil for all sites of a lattice.

A stencil sees columns of a flat array, the first of which are sites of a lattice. Columns that are missing are missing
from its image too, so that the receptive field of a law of B is exactly B, whatever the stencil.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import silu

from ..denoisers.on_device import generator_on
from ..errors import InputError, check_memory
from .base import Sample

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


class Convolution(nn.Module):
    """(n, n_in) -> (n, n_out): d columns are put on the lattice, the others go to every site.

        f_1 = W_1 * x,   f_k = (W_k * x) f_{k-1}        products of up to `depth` values within reach of one another
        out = sum over sites i of R_ik . silu f_k(i)      0 before training

    Args:
        places: (d,), flat indices into the image (channel, *lattice) of the first d columns.
        shape: of the image, up to 3 lattice axes.
        rng: draws the weights.
        radius: of the stencil, a box.
    """

    places: Tensor

    def __init__(
        self,
        places: NDArray[np.intp],
        shape: tuple[int, ...],
        n_in: int,
        n_out: int,
        rng: np.random.Generator,
        *,
        width: int,
        depth: int,
        radius: int,
    ) -> None:
        super().__init__()
        self.shape, self.n_rest = shape, n_in - len(places)
        self.register_buffer("places", torch.as_tensor(places, device="cpu"))
        make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(shape) - 2]
        n_seen, kernel, sites = shape[0] + self.n_rest, 2 * radius + 1, math.prod(shape[1:])
        weights = n_seen * kernel ** (len(shape) - 1) + sites * n_out
        check_memory("width", 32 * depth * width * weights, "take a smaller width, depth or radius")
        layers = (
            nn.utils.skip_init(make, n_seen, width, kernel, padding=radius, dtype=torch.float32) for _ in range(depth)
        )
        self.layers = nn.ModuleList(layers)
        draw_weights(self.layers, rng)
        self.readout = nn.utils.skip_init(nn.Linear, depth * width * sites, n_out, dtype=torch.float32)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(self, x: Tensor) -> Tensor:
        on, rest = x.tensor_split((len(self.places),), dim=1)
        image = x.new_zeros(len(x), math.prod(self.shape))
        image[:, self.places] = on
        rest = rest.reshape(len(x), self.n_rest, *[1] * (len(self.shape) - 1))
        seen = torch.cat([image.unflatten(1, self.shape), rest.expand(-1, -1, *self.shape[1:])], dim=1)
        found, features = x.new_ones(1), []
        for layer in self.layers:
            found = layer(seen) * found
            features.append(silu(found).flatten(1))
        out: Tensor = self.readout(torch.cat(features, dim=1))
        return out


@dataclass(frozen=True)
class Places:
    """Flat indices of the columns of a, b and c in the image of `shape`, (channel, *lattice).

    codes: number of columns, and channels, of a site: 1, or that of the symbols of tokens.
    """

    shape: tuple[int, ...]
    codes: int
    a: NDArray[np.intp]
    b: NDArray[np.intp]
    c: NDArray[np.intp]


def places_of(sample: Sample, body: str = "conv") -> Places:
    """Return where a convolution, or messages, find the columns of lattice samples.

    The first axis of a mask with three, such as that of bonds, is taken for channels. InputError for flat arrays.
    """
    if sample.x_t is None or sample.parts is None:
        raise InputError(f"body={body!r} needs lattice samples; call fit(x_t, parts), or use body='mlp'")
    image, parts = sample.x_t.shape[1:], sample.parts
    if body == "messages" and (image != parts.shape or len(image) != 3 or image[0] != 2):
        raise InputError(f"body='messages' needs bonds (n, 2, L, W) as of DomainWalls, got {sample.x_t.shape}")
    if body == "messages" and (parts.ABC[0, :, -1].any() or parts.ABC[1, -1].any()):
        raise InputError(
            "body='messages' needs an open grid, got bonds beyond its last column or row; leave them out of A, B and "
            "C, and take body='mlp' on a torus"
        )
    index = np.arange(math.prod(image)).reshape(image)

    def columns(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        return index[mask] if image == mask.shape else index[:, mask].ravel()

    shape = image if len(image) > 2 or image != parts.shape else (1, *image)
    codes = 1 if sample.symbols is None else len(sample.symbols)
    if codes > 1 and (shape[0] > 1 or sample.tokens is None):
        raise InputError("body='conv' needs tokens that are declared, of one channel; give tokens=q, or use body='mlp'")
    each = np.arange(codes) * index.size
    a, b, c = ((columns(mask)[:, None] + each).ravel() for mask in (parts.A, parts.B, parts.C))
    return Places((shape[0] * codes, *shape[1:]), codes, a, b, c)


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
