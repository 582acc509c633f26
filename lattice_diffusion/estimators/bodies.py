"""Bodies of the networks on lattices: one stencil for all sites, and a weight for what it finds at each of them.

A body sees columns of a flat array, some of which are sites of a lattice. Columns that are missing are missing from
its image too, so that the receptive field of a law of B is exactly B, whatever the stencil.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import silu

from ..errors import InputError, check_memory
from .networks import MLP, torch_generator
from .sample import Sample

Body = Literal["mlp", "conv"]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Convolution(nn.Module):
    """(n, n_in) -> (n, n_out): d columns are put on the lattice, the others go to every site.

        f_1 = W_1 * x,   f_k = (W_k * x) f_{k-1}        products of up to `depth` values within reach of one another
        out = sum over sites i of R_ik . silu f_k(i)      0 before training

    Args:
        places: (d,), flat indices into the image (channel, *lattice) of the columns first, ..., first + d - 1.
        shape: of the image, up to 3 lattice axes.
        n_rest: other columns.
        rng: draws the weights.
        radius: of the stencil, a box.
    """

    places: Tensor

    def __init__(
        self,
        places: NDArray[np.intp],
        shape: tuple[int, ...],
        n_rest: int,
        n_out: int,
        rng: np.random.Generator,
        *,
        width: int,
        depth: int,
        radius: int,
        first: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.n_rest, self.first = shape, n_rest, first
        self.register_buffer("places", torch.as_tensor(places))
        make = CONVOLUTIONS[len(shape) - 2]
        n_in, seed = shape[0] + n_rest, torch_generator(rng)
        kernel, sites = n_in * (2 * radius + 1) ** (len(shape) - 1), math.prod(shape[1:])
        check_memory("width", 32 * depth * width * (kernel + sites * n_out), "take a smaller width, depth or radius")
        self.layers = nn.ModuleList(
            nn.utils.skip_init(make, n_in, width, 2 * radius + 1, padding=radius) for _ in range(depth)
        )
        for layer in self.layers:
            weight, bias = layer.parameters()
            nn.init.normal_(weight, 0.0, 1 / math.sqrt(weight[0].numel()), generator=seed)
            nn.init.zeros_(bias)
        self.readout = nn.Linear(depth * width * sites, n_out)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(self, x: Tensor) -> Tensor:
        before, on, after = x.tensor_split((self.first, self.first + len(self.places)), dim=1)
        image = x.new_zeros(len(x), math.prod(self.shape))
        image[:, self.places] = on
        rest = (
            torch.cat([before, after], dim=1)
            .reshape(len(x), self.n_rest, *[1] * (len(self.shape) - 1))
            .expand(-1, -1, *self.shape[1:])
        )
        seen = torch.cat([image.unflatten(1, self.shape), rest], dim=1)
        found, features = x.new_ones(1), []
        for layer in self.layers:
            found = layer(seen) * found
            features.append(silu(found).flatten(1))
        out: Tensor = self.readout(torch.cat(features, dim=1))
        return out


@dataclass(frozen=True)
class Places:
    """Where columns are in the image of `shape`, (channel, *lattice): flat indices of those of a, b and c."""

    shape: tuple[int, ...]
    a: NDArray[np.intp]
    b: NDArray[np.intp]
    c: NDArray[np.intp]


def places(sample: Sample) -> Places | None:
    """None for flat arrays. The first axis of a mask with three, such as that of bonds, is taken for channels."""
    if sample.x_t is None or sample.parts is None:
        return None
    image, parts = sample.x_t.shape[1:], sample.parts
    index = np.arange(math.prod(image)).reshape(image)

    def columns(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        return index[mask] if image == mask.shape else index[:, mask].ravel()

    shape = image if len(image) > 2 or image != parts.shape else (1, *image)
    return Places(shape, columns(parts.A), columns(parts.B), columns(parts.C))


def places_for(body: Body, sample: Sample) -> Places | None:
    """Where a convolution finds its columns; None for the multilayer perceptron.

    Raises ValueError for a convolution of flat arrays.
    """
    if body == "mlp":
        return None
    where = places(sample)
    if where is None:
        raise InputError("body='conv' needs lattice samples; call fit(x_t, parts), or use body='mlp'")
    return where


def network(
    where: Places | None,
    n_columns: int,
    n_in: int,
    n_out: int,
    rng: np.random.Generator,
    *,
    width: int,
    depth: int,
    radius: int,
    first: int = 0,
    n_a: int = 0,
    zero: bool = True,
) -> nn.Module:
    """An MLP, or a `Convolution` where the places are known.

    Args:
        n_columns: b, the first `n_a` columns of a, and c are those from `first` on, as far as there are so many.
        zero: whether an MLP is 0 before training; a convolution always is.
    """
    if where is None:
        return MLP(n_in, n_out, width, depth, rng, zero=zero)
    if depth < 1:
        raise InputError(f"depth must be an integer >= 1 with body='conv', got {depth!r}; use body='mlp'")
    sites = np.concatenate([where.b, where.a[:n_a], where.c])[:n_columns]
    options = {"width": width, "depth": depth, "radius": radius, "first": first}
    return Convolution(sites, where.shape, n_in - len(sites), n_out, rng, **options)
