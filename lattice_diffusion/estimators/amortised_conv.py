"""A U-Net as the law of a pixel, from the whole noisy image or from the box around A, with A hidden.

A perceptron on the flattened image learns whole images slowly. Here every view is an image of its own: a box is cut
out, the whole image stays as it is, and one network, which is told the view, gives the law of the clean level of every
pixel that is hidden. While training some more pixels than A are hidden, and of those that are not, the network's law
times the likelihood of their noisy values (Bayes) is to be their posterior, so that a pass has something to learn at
every pixel; for an estimate A alone is hidden. What a view does not show is not in the input, so that the law of a box
cannot depend on anything beyond it.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaln
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from ..denoisers.global_net import add_u_net, through_u_net
from ..denoisers.network import LOG_SNR_RANGE, Modulation, Neighbours, NoiseEmbedding, initialise, layer
from ..denoisers.on_device import to_device
from ..errors import check_memory
from .amortised_data import SLICE
from .amortised_network import Views
from .amortised_training import Indices, Objective, Rows

N_NOISE = 64
HALVINGS, DEPTH = 2, 2  # of `GlobalNet`
HIDDEN = 0.1  # at most this share of the pixels of a view beside A, while training
PIXELS, PIXELS_ON_GPU = 1 << 17, 1 << 22  # evaluated at a time
BOXES = 2  # passes of a training step through boxes, beside one through whole images
PASSES = BOXES + 1
MORE_OF_A = 20.0  # pixels that A counts as; all others count alike, else those of small boxes are most of the noise


class ConvLaw(nn.Module):
    """Logits of the clean level of every pixel of a view, (n, K, row, column).

    Args:
        views: of the images; n_views: of the network.
        prior: log frequencies of the levels at every pixel, (K, row, column).
        width: hidden values of every pixel.
    """

    gate = None
    prior: Tensor

    def __init__(self, views: Views, n_views: int, prior: NDArray, width: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.views, self.n_views = views, n_views
        weights = width * (18 * width * (DEPTH * (HALVINGS + 1) + HALVINGS) + prior[0].size)
        check_memory("width", 32 * weights, "take a smaller one")  # gradients, averages and moments beside them
        self.noise = NoiseEmbedding(N_NOISE)
        self.view = nn.Parameter(torch.zeros((n_views, N_NOISE, 1), dtype=torch.float32, device="cpu"))
        self.places = nn.Parameter(torch.zeros((1, width, *views.shape), dtype=torch.float32, device="cpu"))
        self.first = Neighbours(views.channels + 1, width, 2, periodic=False)
        add_u_net(self, width, HALVINGS, DEPTH, N_NOISE, 2, periodic=False)
        self.last_modulation = Modulation(width, N_NOISE)
        self.readout = layer(width, len(prior), gain=0.3)
        self.register_buffer("prior", to_device(prior, "cpu", torch.float32), persistent=False)
        initialise(self, rng)

    def forward(self, scene: "Scene", view: Tensor, log_snr: Tensor) -> Tensor:
        """Return the logits at every pixel of scenes of the views `view` (n,) and noise `log_snr` (n,)."""
        places, prior = (scene.cut(values.expand(len(view), -1, -1, -1)) for values in (self.places, self.prior[None]))
        known = self.noise(log_snr) + self.view[view]
        z = self.first(torch.cat([scene.shown * scene.keep, scene.keep], dim=1)) + places
        z = through_u_net(self, z, known)
        out: Tensor = self.readout(self.last_modulation(z.flatten(2), known)).unflatten(2, z.shape[2:])
        return prior + log_snr.sigmoid().sqrt().view(-1, 1, 1, 1) * out


@dataclass(frozen=True)
class Scene:
    """Images, or what a box cuts out of them, (n, .., row, column), 0 beyond their edges.

    Attributes:
        clean, noisy, shown: values, their noisy ones, and those that a network is shown.
        there: 1 where there is a pixel, (n, 1, row, column); keep: 1 where it is seen.
        at: A in these images, (n, 2); index: of the image's pixel at every place, (n, row, column), None: all of it.
    """

    clean: Tensor
    noisy: Tensor
    shown: Tensor
    there: Tensor
    keep: Tensor
    at: Tensor
    index: Tensor | None = None

    def box(self, radius: int) -> "Scene":
        """Return the box of this radius around A alone."""
        shape, device = self.clean.shape[2:], self.clean.device
        reach = [min(radius, n - 1) for n in shape]
        row, column = (self.at[:, i, None] + torch.arange(-r, r + 1, device=device) for i, r in enumerate(reach))
        there = ((row >= 0) & (row < shape[0]))[:, :, None] & ((column >= 0) & (column < shape[1]))[:, None]
        index = row.clamp(0, shape[0] - 1)[:, :, None] * shape[1] + column.clamp(0, shape[1] - 1)[:, None]
        at = to_device(reach, device).expand(len(row), 2)
        box = replace(self, there=there[:, None].to(self.clean), at=at, index=index)
        clean, noisy, shown, keep = (box.cut(x) for x in (self.clean, self.noisy, self.shown, self.keep))
        return replace(box, clean=clean, noisy=noisy, shown=shown, keep=keep)

    def cut(self, x: Tensor) -> Tensor:
        """Return the part of x (n, channel, row, column) of whole images that is seen here."""
        if self.index is None:
            return x
        found = x.flatten(2).gather(2, self.index.flatten(1)[:, None].expand(-1, x.shape[1], -1))
        return found.unflatten(2, self.index.shape[1:]) * self.there

    def beside(self, other: "Scene", radius: Tensor) -> "Scene":
        """Return the box of radius (n,) around A, and beyond it another image."""
        inside = torch.ones_like(self.there, dtype=torch.bool)
        for i, n in enumerate(self.there.shape[2:]):
            near = (torch.arange(n, device=radius.device) - self.at[:, i, None]).abs() <= radius[:, None]
            inside = inside & near.view(len(near), 1, *((n, 1) if i == 0 else (1, n)))
        names = ("clean", "noisy", "shown")
        return replace(self, **{x: torch.where(inside, getattr(self, x), getattr(other, x)) for x in names})

    def without_a(self) -> "Scene":
        """Return the same with A hidden."""
        keep = self.keep.clone()
        keep[torch.arange(len(keep), device=keep.device), :, self.at[:, 0], self.at[:, 1]] = 0
        return replace(self, keep=keep)


@dataclass(frozen=True)
class ConvObjective(Objective):
    """The training data and the loss of a `ConvLaw`; of its views, "nothing" is the prior, which is not learned."""

    n_validated: ClassVar[int] = 500
    repeats: ClassVar[int] = 1
    n_weighed: ClassVar[float] = 500

    def at_once(self, rng: torch.Generator) -> int:
        pixels = self.noise.mean[0].numel()
        return math.ceil((PIXELS_ON_GPU if rng.device.type == "cuda" else PIXELS) / pixels)

    def prior(self, rows: Indices, device: str) -> NDArray[np.float64]:
        """Return log frequencies of the levels at every pixel of images `rows`, (K, row, column).

        Frequencies of all places together are added, as often as makes the counts most likely (a Dirichlet prior).
        """
        n_levels = len(self.noise.levels)
        count = np.zeros((n_levels, *self.noise.mean.shape[1:]))
        for part in np.array_split(rows, math.ceil(len(rows) / SLICE)):
            level = self.noise.level(self.clean(part, torch.device(device)))
            count += np.stack([(level == k).sum(dim=0).cpu().numpy() for k in range(n_levels)])
        everywhere = count.mean(axis=(1, 2), keepdims=True) + 1 / n_levels
        everywhere = everywhere / everywhere.sum()

        def log_evidence(strength: float) -> float:
            added = strength * everywhere
            of_levels = (gammaln(count + added) - gammaln(added)).sum(axis=0)
            return float((of_levels - gammaln(strength + len(rows)) + gammaln(strength)).sum())

        count += max(4.0 ** np.arange(12), key=log_evidence) * everywhere
        found: NDArray[np.float64] = np.log(count / count.sum(axis=0))
        return found

    def loss(self, law: Any, rows: Rows, rng: torch.Generator, *, near: bool = False) -> Tensor:
        """Return the mean cross entropy of images (n,) by a pass through whole images and some through boxes.

        near: while training, where every pass takes a part of the images, more than A is hidden, and what is seen is
        denoised.
        """
        radii = torch.randint(len(law.views.radii), (BOXES,), generator=rng, device=rng.device).tolist()
        if near:
            parts = np.array_split(rows, PASSES) if isinstance(rows, np.ndarray) else rows.tensor_split(PASSES)
            passes = [
                self._nats(law, part, j, rng, training=True) for part, j in zip(parts, (None, *radii), strict=True)
            ]
            return torch.cat(passes)
        return torch.stack([self._nats(law, rows, j, rng, training=False) for j in (None, *radii)]).mean(dim=0)

    def _nats(self, law: Any, rows: Rows, j: int | None, rng: torch.Generator, *, training: bool) -> Tensor:
        """Return the cross entropy of A in one view, the box of radius number j or, None, the whole image.

        training: the sum over all pixels of the view instead, by the number of pixels of an image.
        """
        n, device, radii = len(rows), rng.device, law.views.radii
        k = torch.randint(len(self.noise.times), (n,), generator=rng, device=device)
        at = law.views.draw(n, rng, near=training and j is not None)  # whole images tell of all their pixels anyhow
        scene = self._scene(rows, k, at, rng)
        view = torch.full((n,), law.n_views - 1 if j is None else j + (self.partner is None), device=device)
        if j is not None:
            scene = scene.box(radii[j])
        elif self.partner is not None:
            far = torch.randint(len(radii), (n,), generator=rng, device=device)
            scene = scene.beside(self._scene(self.partner[rows], k, scene.at, rng), to_device(radii, device)[far])
            view = len(radii) + far
        scene = scene.without_a()
        if training:
            draws = torch.rand((n, 1, *scene.keep.shape[1:]), generator=rng, dtype=torch.float32, device=device)
            share = torch.rand((n, 1, 1, 1), generator=rng, dtype=torch.float32, device=device)
            scene = replace(scene, keep=scene.keep * (draws[:, 0] >= HIDDEN * share))
        logits, level = law(scene, view, self._log_snr(k)), self.noise.level(scene.clean)[:, None]
        nats = -log_softmax(logits, dim=1).gather(1, level)
        at_a = law.views.centre(nats, scene.at)[:, 0]
        if not training:
            return at_a
        denoised = -log_softmax(logits + self.noise.log_p(scene.noisy, k), dim=1).gather(1, level)
        of_pixels = torch.where(scene.keep > 0, denoised, nats) * scene.there
        return (of_pixels.sum(dim=(1, 2, 3)) + MORE_OF_A * at_a) / law.prior[0].numel()

    @torch.no_grad()
    def laws(self, law: Any, rows: Indices, t: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        n, device = len(rows), rng.device
        k = torch.full((n,), t, device=device)
        scene = self._scene(rows, k, law.views.draw(n, rng), rng)
        views = [scene.box(radius) for radius in law.views.radii]
        if self.partner is None:
            views.append(scene)
        else:
            other = self._scene(self.partner[rows], k, scene.at, rng)
            views += [scene.beside(other, torch.full((n,), r, device=device)) for r in law.views.radii]
        first = law.n_views - len(views)
        logits = [law.views.centre(law.prior.expand(n, -1, -1, -1), scene.at)] * first
        for view, one in enumerate(views, start=first):
            found = law(one.without_a(), torch.full((n,), view, device=device), self._log_snr(k))
            logits.append(law.views.centre(found, one.at))
        return log_softmax(torch.stack(logits, dim=1), dim=2), scene.at

    def _scene(self, rows: Rows, k: Tensor, at: Tensor, rng: torch.Generator) -> Scene:
        clean = self.clean(rows, rng.device)
        noisy, there = self.noise.corrupt(clean, k, rng), torch.ones_like(clean[:, :1])
        return Scene(clean, noisy, self.noise.shown(noisy, k), there, there, at)

    def _log_snr(self, k: Tensor) -> Tensor:
        """Return those of the pixel that varies most, (n,), as far as a network tells them apart."""
        found = self.noise.log_snr[k] + self.noise.variance.max().log()
        return found.clamp(-LOG_SNR_RANGE, LOG_SNR_RANGE)
