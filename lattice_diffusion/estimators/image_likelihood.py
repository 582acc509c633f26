"""The law of one pixel of a noisy image given a box around it, for all times and radii at once.

A network tells the law of the clean pixel, q(k | x_B), of K levels v_k (of colour, vectors); the noise is known, so

    q(x_A | x_B) = sum_k q(k | x_B) p_t(x_A | v_k).

It is trained by the cross entropy of the clean level, which has the same minimum as -log q(x_A | x_B), the posterior,
and does not ask the network to average over A's noise.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, log_softmax, one_hot, silu

from ..errors import check_memory
from .image_views import Views
from .networks import torch_generator

N_WAVES = 4
N_CONDITION = 48


class PixelLaw(nn.Module):
    """Logits of the clean level of A for several views of one noisy image.

    A view says how much of the image is seen: `n_views` of them, told to the network by number; the pixels of each
    come as the first layer's value (`boxes`). Time and view bend the layers (Perez et al. 2018, arXiv:1709.07871), the
    place of A adds to the first. The last layer starts at 0, so that all views start as one law. Of a label instead of
    A's level, which A itself tells too, there is also `at_a`, what A adds to the first layer.
    """

    near: Tensor

    def __init__(
        self, views: Views, n_views: int, n_levels: int, width: int, rng: np.random.Generator, *, sees_a: bool = False
    ) -> None:
        super().__init__()
        self.views, self.n_views = views, n_views
        shapes = {
            "first": (width, len(views.distance)),
            "known": (N_CONDITION, 1 + 2 * N_WAVES + n_views),
            "modulation": (4 * width, N_CONDITION),
            "inner": (width, width),
            "outer": (width, width),
        }
        weights = sum(math.prod(shape) for shape in shapes.values())
        check_memory("width", 32 * weights, "take a smaller one")  # gradients, averages and moments beside them
        seed = torch_generator(rng)
        self.weights = nn.ParameterDict(
            {name: torch.randn(shape, generator=seed) / math.sqrt(shape[1]) for name, shape in shapes.items()}
        )
        zeros = {"place": (width, 6), "last": (n_levels, width), "first_bias": (width,), "inner_bias": (width,)}
        zeros |= {"last_bias": (n_levels,), "view_bias": (n_views, n_levels)}
        zeros |= {"own": (width, views.channels)} if sees_a else {}
        self.weights.update({name: nn.Parameter(torch.zeros(shape)) for name, shape in zeros.items()})
        # every ring of pixels starts with the same weight, and learns the more slowly the farther: near ones tell more
        ring = torch.as_tensor((8.0 * views.distance * views.channels) ** -0.5, dtype=torch.float32)
        self.register_buffer("near", ring / ring[0], persistent=False)
        with torch.no_grad():
            self.weights["first"] *= float(ring[0]) * math.sqrt(shapes["first"][1]) / 2
            self.weights["modulation"] *= 0.3
            self.weights["outer"] *= 0.3

    def boxes(self, x: Tensor) -> Tensor:
        """The first layer on growing boxes: nothing, every radius, all; (n, n_radii + 2, width)."""
        w = self.weights["first"] * self.near
        shells = [x[:, part] @ w[:, part].T for part in self.views.shells]
        return torch.stack([torch.zeros_like(shells[0]), *shells], dim=1).cumsum(dim=1)

    def at_a(self, x: Tensor) -> Tensor:
        """What A itself, (n, channel), adds to the first layer, (n, width)."""
        return x @ self.weights["own"].T

    def forward(self, hidden: Tensor, view: Tensor, k: Tensor, log_snr: Tensor, at: Tensor) -> Tensor:
        """Log q (n, m, K).

        Args:
            hidden: the first layer's values of the views `view` (n, m), (n, m, width).
            k: index of each image's time, (n,), in `log_snr`, all times' (n_times,).
            at: A, (n, 2).
        """
        w = self.weights
        bends = embedding(k[:, None] * self.n_views + view, self._bends(log_snr))
        a, b, c, d = bends.chunk(4, dim=2)
        z = silu((hidden + (self._place(at) @ w["place"].T)[:, None] + w["first_bias"]) * (1 + a) + b)
        inner = silu((z @ w["inner"].T + w["inner_bias"]) * (1 + c) + d)
        z = z + inner @ w["outer"].T
        return log_softmax(z @ w["last"].T + w["last_bias"] + embedding(view, w["view_bias"]), dim=2)

    def _bends(self, log_snr: Tensor) -> Tensor:
        """Of every time and view, (n_times * n_views, 4 width)."""
        phase = (math.pi / 12) * log_snr[:, None] * torch.arange(1, N_WAVES + 1, device=log_snr.device)
        level = torch.cat([log_snr[:, None] / 12, phase.sin(), phase.cos()], dim=1)
        view = one_hot(torch.arange(self.n_views, device=log_snr.device), self.n_views).float()
        n_times = len(log_snr)
        known = torch.cat([level.repeat_interleave(self.n_views, dim=0), view.repeat(n_times, 1)], dim=1)
        bends: Tensor = silu(known @ self.weights["known"].T) @ self.weights["modulation"].T
        return bends

    def _place(self, at: Tensor) -> Tensor:
        place = at / torch.tensor(self.views.shape, device=at.device) - 0.5
        return torch.cat([place, (2 * math.pi * place).sin(), place**2], dim=1)
