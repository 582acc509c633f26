"""The loss of the amortised likelihood, and its training, which resumes from a checkpoint.

Three kinds of views:

    boxes   nothing, every radius, the whole image: for the probe itself
    null    every radius alone, and every radius with all that lies beyond taken from another image, of its own noise.
            Every image keeps one such partner, so that there is as much to be misled by as in the images themselves,
            while the information is 0: its estimate is the zero of the others.
    labels  nothing, the smallest box, the same with A, the whole image with A: of a label, not of A

Networks of one pixel are trained on those near it too, where that does not harm.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray
from torch import Tensor

from ..denoisers.on_device import to_device
from ..denoisers.training import TrainingConfig, minimise
from .amortised_data import SLICE, Field, Read
from .amortised_gate import Gate
from .amortised_network import PixelLaw
from .amortised_noise import Noise

VIEWS_PER_IMAGE = 4
EVALUATED, ON_GPU = 512, 8192  # images at a time
CHECK_EVERY = 200
VALIDATION = 0.15
SCALED = 1000  # images that the scales of a gate are taken from
MOST_GROWTH = 4.0  # of the gain from one doubling of the steps to the next
Indices = NDArray[np.int64]
Rows = Any  # indices, or a tensor of them beside the images
Law = Any  # a PixelLaw, or the network of an objective of its own


@dataclass(frozen=True)
class Tensors:
    """Images that are held on a device, read by indices like a field's."""

    images: Tensor

    def __call__(self, rows: Rows) -> Tensor:
        return self.images[rows]


def held_on(device: str, field: Field) -> Read | Tensors:
    """Return how images are read: from a GPU, where all of them fit into half of its free memory, else as the field's.

    They are copied there once.
    """
    if not device.startswith("cuda") or 8.0 * field.n * field.pixels.mean.size > torch.cuda.mem_get_info(device)[0]:
        return field.read
    return held(device, field)


def held(device: str, field: Field) -> Tensors:
    """Return all images on a device."""
    parts = (np.arange(start, min(start + SLICE, field.n)) for start in range(0, field.n, SLICE))
    return Tensors(torch.cat([to_device(field.read(part), device, torch.float32) for part in parts]))


@dataclass(frozen=True)
class Objective:
    """The training data of one network: images by `read`, their noise, and the kind of views.

    Attributes:
        read: gives an array of images, or, of images that are held on a GPU, a tensor there (`held_on`).
        partner: index of another image for every image, which C comes from (null); None for boxes.
        labels: code of every image, predicted in place of the clean level of A.
        near: whether training takes pixels near A for A.
        n_validated: images that losses are compared on; rows that are more are all of them.
        n_weighed, repeats: images at most, and noises of each, from which the weights of views are taken.
    """

    read: Read | Tensors
    noise: Noise
    partner: Rows | None = None
    labels: Rows | None = None
    near: bool = False
    n_validated: ClassVar[int] = 2000
    repeats: ClassVar[int] = 4
    n_weighed: ClassVar[float] = math.inf

    def at_once(self, rng: torch.Generator) -> int:
        """Return how many images are evaluated at a time."""
        return ON_GPU if rng.device.type == "cuda" else EVALUATED

    def smaller(self, n_radii: int) -> list[int]:
        """Return the next smaller view of every view, which comes before it; -1 for the smallest."""
        if self.labels is not None:
            return [-1, 0, 1, 2]
        if self.partner is None:
            return list(range(-1, n_radii + 1))
        return [*range(-1, n_radii - 1), *range(n_radii)]

    def target(self, law: PixelLaw, rows: Rows, at: Tensor) -> Tensor:
        """Return which of the law's values is the right one, (n,)."""
        if self.labels is not None:
            return to_device(self.labels[rows], at.device)
        return self.noise.level(law.views.centre(self.clean(rows, at.device), at))

    def hidden(self, law: PixelLaw, rows: Rows, k: Tensor, at: Tensor, rng: torch.Generator) -> Tensor:
        """Return `PixelLaw.seen` for all views, (n, n_views, ..)."""
        shown = self._shown(rows, k, rng)
        own = law.seen(shown, at, k)
        if self.labels is not None:
            with_a = own[:, [1, -1]] + law.at_a(law.views.centre(shown, at))[:, None]
            return torch.cat([own[:, :2], with_a], dim=1)
        if self.partner is None:
            return own
        other = law.seen(self._shown(self.partner[rows], k, rng), at, k)
        near = own[:, 1:-1]
        return torch.cat([near, near + other[:, -1:] - other[:, 1:-1]], dim=1)

    @torch.no_grad()
    def laws(self, law: PixelLaw, rows: Indices, t: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return log q (n, n_views, K) at time number t, and A, (n, 2)."""
        n, device = len(rows), rng.device
        k, at = torch.full((n,), t, device=device), law.views.draw(n, rng)
        view = torch.arange(law.n_views, device=device).expand(n, -1)
        return law(self.hidden(law, rows, k, at, rng), view, k, self.noise.log_snr, at), at

    def clean(self, rows: Rows, device: torch.device) -> Tensor:
        """Return the images, (n, channel, row, column)."""
        return to_device(self.read(rows), device, torch.float32)

    def _shown(self, rows: Rows, k: Tensor, rng: torch.Generator) -> Tensor:
        return self.noise.shown(self.noise.corrupt(self.clean(rows, rng.device), k, rng), k)

    @torch.no_grad()
    def scale_gate(self, gate: Gate, law: PixelLaw, rows: Rows, rng: torch.Generator) -> None:
        """Set the mean and scale of the spectra of the gate of `law`, from images `rows`."""
        scales, n_lags = [], len(gate.lags)
        pairs = gate.products(torch.ones_like(self.noise.mean)[None, :1]).sum(dim=(0, 2, 3))
        for t in range(len(self.noise.times)):
            k, at = torch.full((len(rows),), t, device=rng.device), law.views.draw(len(rows), rng, near=self.near)
            gate.mean[t] = gate.products(self._shown(rows, k, rng)).sum(dim=(0, 3)).mean(dim=1) / pairs
            scale = self.hidden(law, rows, k, at, rng)[:, :, -n_lags:].std(dim=0)
            scales.append(torch.where(scale > 0, scale, 1.0))
        gate.scale.copy_(torch.cat(scales))

    def loss(self, law: Law, rows: Rows, rng: torch.Generator, *, near: bool = False) -> Tensor:
        """Return the cross entropy of images (n,), each with a time and a few views of its own."""
        n, device = len(rows), rng.device
        k = torch.randint(len(self.noise.times), (n,), generator=rng, device=device)
        at = law.views.draw(n, rng, near=near)
        view = torch.randint(law.n_views, (n, VIEWS_PER_IMAGE), generator=rng, device=device)
        hidden = self.hidden(law, rows, k, at, rng)
        chosen = hidden.gather(1, view[:, :, None].expand(-1, -1, hidden.shape[2]))
        log_q = law(chosen, view, k, self.noise.log_snr, at)
        target = self.target(law, rows, at)[:, None, None].expand(-1, VIEWS_PER_IMAGE, 1)
        return -log_q.gather(2, target).mean(dim=(1, 2))

    def validate(self, law: Law, rows: Indices, seed: int, n: int | None = None) -> Tensor:
        """Return the loss of every image on the same noise every time, repeated to about n (n_validated)."""
        rng = torch.Generator(self.noise.levels.device).manual_seed(seed)
        repeated = np.tile(rows, max(1, (n or self.n_validated) // len(rows)))
        with torch.no_grad():
            return torch.cat([self.loss(law, part, rng) for part in np.array_split(repeated, 4) if len(part)])


def fit_law(
    law: Law,
    objective: Objective,
    rows: Indices,
    seed: SeedSequence,
    *,
    steps: int,
    batch_size: int,
    checkpoint: Path | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> tuple[Indices, Indices, float]:
    """Train `law` on images `rows`; return those it was fitted to, the share that judged it, and `gain_to_come`.

    The averaged weights that did best on that share stay. With a `checkpoint` there, training goes on from it.
    """
    device = objective.noise.levels.device
    first, second, third = (number(s) for s in seed.spawn(3))
    order = np.random.default_rng(first).permutation(rows)
    n_valid = max(1, round(VALIDATION * len(rows)))
    valid, fit = np.sort(order[:n_valid]), np.sort(order[n_valid:])
    rng = torch.Generator(device).manual_seed(second)
    if law.gate is not None:
        objective.scale_gate(law.gate, law, order[n_valid:][:SCALED], torch.Generator(device).manual_seed(third))
    config = TrainingConfig(
        steps=steps,
        learning_rate=4e-3,
        weight_decay=0.1,
        gradient_norm=None,
        ema=0.995,
        ema_delay=9,
        validate_every=max(1, min(CHECK_EVERY, steps // 4)),
        keep="best",
        checkpoint=checkpoint,
        checkpoint_every=CHECK_EVERY,
        resume=checkpoint is not None,
    )

    size, there = min(batch_size, len(fit)), to_device(fit, device)

    def loss() -> Tensor:
        chosen = there[torch.randint(len(fit), (size,), generator=rng, device=device)]
        rows = chosen if isinstance(objective.read, Tensors) else chosen.cpu().numpy()
        return objective.loss(law, rows, rng, near=objective.near)

    def halve() -> int:
        nonlocal size
        size //= 2
        return size

    def score(averaged: torch.nn.Module) -> float:
        return float(objective.validate(averaged, valid, third).mean())

    done, scores = 0, dict[int, float]()
    for step in minimise(law, loss, config, rng=rng, score=score, scores=scores, halve=halve):
        for _ in range(done, step.number):  # those of an earlier sitting, too
            on_step()
        done = step.number
    for _ in range(done, steps):
        on_step()
    law.requires_grad_(False)
    return fit, valid, gain_to_come(scores, steps)


def gain_to_come(scores: Mapping[int, float], steps: int) -> float:
    """Return by how much twice as many steps are expected to lower the validation loss, in nats; inf where unknown.

    The best losses after a quarter, half and all of the steps give the gains of two doublings, g_1 and g_2; the next
    one is expected to gain g_2^2 / g_1 (a power law), at most MOST_GROWTH g_2. A quarter of the steps must lie beyond
    the warm-up of the learning rate, before which losses hardly fall and tell nothing.
    """
    best = [min((x for n, x in scores.items() if n <= steps * part), default=math.inf) for part in (0.25, 0.5, 1.0)]
    if steps < 4 * TrainingConfig.warmup or not math.isfinite(best[0]):
        return math.inf
    first, second = best[0] - best[1], best[1] - best[2]
    return second * min(second / first, MOST_GROWTH) if first > 0 else second * MOST_GROWTH


def number(seed: SeedSequence) -> int:
    """Return the seed as an integer of 63 bits, for torch."""
    return int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1))
