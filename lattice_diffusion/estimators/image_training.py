"""Fitting the law of a pixel to images, so that a killed run goes on to the same numbers.

Three sets of views:

    boxes   nothing, every radius, the whole image: what a probe measures
    null    every radius alone, and every radius with all that lies beyond taken from another image, of its own noise.
            Every image keeps one such partner, so that there is as much to be misled by as in the images themselves,
            while the information is 0: what such a network finds is what counts as zero.
    labels  nothing, the smallest box, the same with A, the whole image with A: of a label, not of A

Networks of one pixel are trained on those near it too, where that does not harm (`near_helps`).
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..store import atomic_write
from .image_field import Read
from .image_likelihood import PixelLaw
from .image_noise import Noise

VIEWS_PER_IMAGE = 4
CHECK_EVERY = 200
AVERAGE = 0.995
VALIDATION = 0.15
TRIAL = 0.1  # of the steps, to tell whether pixels near A help
CLEARLY = 2.0  # errors


@dataclass(frozen=True)
class Task:
    """What one network learns: images by `read`, their noise, and whether C comes from a partner (`null`).

    Attributes:
        partner: index of another image for every image; None for boxes.
        labels: code of every image, told in place of the clean level of A.
        near: whether training takes pixels near A for A.
    """

    read: Read
    noise: Noise
    partner: NDArray[np.int64] | None = None
    labels: NDArray[np.int64] | None = None
    near: bool = False

    def target(self, law: PixelLaw, rows: NDArray[np.int64], at: Tensor) -> Tensor:
        """Which of the law's values is the right one, (n,)."""
        if self.labels is not None:
            return torch.as_tensor(self.labels[rows], device=at.device)
        return self.noise.level(law.views.centre(self.clean(rows, at.device), at))

    def n_views(self, n_radii: int) -> int:
        return len(self.smaller(n_radii))

    def smaller(self, n_radii: int) -> list[int]:
        """The next smaller view of every view, which comes before it; -1 for the smallest."""
        if self.labels is not None:
            return [-1, 0, 1, 2]
        if self.partner is None:
            return list(range(-1, n_radii + 1))
        return [*range(-1, n_radii - 1), *range(n_radii)]

    def hidden(self, law: PixelLaw, rows: NDArray[np.int64], k: Tensor, at: Tensor, rng: torch.Generator) -> Tensor:
        """The first layer's values for all views, (n, n_views, width)."""
        shown = self._shown(rows, k, rng)
        own = law.boxes(law.views.around(shown, at))
        if self.labels is not None:
            with_a = own[:, [1, -1]] + law.at_a(law.views.centre(shown, at))[:, None]
            return torch.cat([own[:, :2], with_a], dim=1)
        if self.partner is None:
            return own
        other = law.boxes(law.views.around(self._shown(self.partner[rows], k, rng), at))
        near = own[:, 1:-1]
        return torch.cat([near, near + other[:, -1:] - other[:, 1:-1]], dim=1)

    def clean(self, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        return torch.as_tensor(self.read(rows), dtype=torch.float32, device=device)

    def _shown(self, rows: NDArray[np.int64], k: Tensor, rng: torch.Generator) -> Tensor:
        return self.noise.shown(self.noise.corrupt(self.clean(rows, rng.device), k, rng), k)

    def loss(self, law: PixelLaw, rows: NDArray[np.int64], rng: torch.Generator, *, near: bool = False) -> Tensor:
        """Cross entropy of the clean level of images (n,), each with a time and a few views of its own."""
        n, device = len(rows), rng.device
        k = torch.randint(len(self.noise.times), (n,), generator=rng, device=device)
        at = law.views.draw(n, rng, near=near)
        view = torch.randint(law.n_views, (n, VIEWS_PER_IMAGE), generator=rng, device=device)
        hidden = self.hidden(law, rows, k, at, rng)
        chosen = hidden.gather(1, view[:, :, None].expand(-1, -1, hidden.shape[2]))
        log_q = law(chosen, view, k, self.noise.log_snr, at)
        target = self.target(law, rows, at)[:, None, None].expand(-1, VIEWS_PER_IMAGE, 1)
        return -log_q.gather(2, target).mean(dim=(1, 2))


def fit_law(
    law: PixelLaw,
    task: Task,
    rows: NDArray[np.int64],
    seed: np.random.SeedSequence,
    *,
    steps: int,
    batch_size: int = 512,
    learning_rate: float = 4e-3,
    weight_decay: float = 0.1,
    checkpoint: Path | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Train `law` on images `rows`; the averaged weights that did best on a share of them stay.

    Returns the images it was fitted to, and that share.

    The learning rate falls to 0 as a cosine over `steps`. With a `checkpoint` there, training goes on from it.
    """
    device = task.noise.levels.device
    first, second, third = (int(s.generate_state(1, np.uint64)[0] >> np.uint64(1)) for s in seed.spawn(3))
    order = np.random.default_rng(first).permutation(rows)
    n_valid = max(1, round(VALIDATION * len(rows)))
    valid, fit = np.sort(order[:n_valid]), np.sort(order[n_valid:])
    rng = torch.Generator(device).manual_seed(second)
    optimiser = torch.optim.AdamW(law.parameters(), lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99))
    average = copy.deepcopy(law).requires_grad_(False)
    state: dict[str, Any] = {"step": 0, "least": math.inf, "best": copy.deepcopy(law.state_dict())}
    if checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        law.load_state_dict(state["law"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        rng.set_state(state["rng"].cpu())
        for _ in range(state["step"]):
            on_step()
    for step in range(state["step"], steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        chosen = torch.randint(len(fit), (min(batch_size, len(fit)),), generator=rng, device=device).cpu().numpy()
        optimiser.zero_grad(set_to_none=True)
        task.loss(law, fit[chosen], rng, near=task.near).mean().backward()
        optimiser.step()
        with torch.no_grad():
            keep = min(AVERAGE, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), list(law.parameters()), 1 - keep)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps:
            value = float(_validate(average, task, valid, third).mean())
            if value < state["least"]:
                state |= {"least": value, "best": copy.deepcopy(average.state_dict())}
            if checkpoint is not None:
                now = {"step": step + 1, "law": law.state_dict(), "average": average.state_dict()}
                with atomic_write(checkpoint) as partial:
                    both = {"optimiser": optimiser.state_dict(), "rng": rng.get_state()}
                    torch.save({**state, **now, **both}, partial)
        on_step()
    law.load_state_dict(state["best"])
    law.requires_grad_(False)
    return fit, valid


def _validate(law: PixelLaw, task: Task, rows: NDArray[np.int64], seed: int, n: int = 2000) -> Tensor:
    """The loss of every image on the same noise every time, repeated to about n."""
    rng = torch.Generator(task.noise.levels.device).manual_seed(seed)
    repeated = np.tile(rows, max(1, n // len(rows)))
    with torch.no_grad():
        return torch.cat([task.loss(law, part, rng) for part in np.array_split(repeated, 4) if len(part)])


def near_helps(
    make: Callable[[], PixelLaw], task: Task, rows: NDArray[np.int64], seed: np.random.SeedSequence, **training: int
) -> bool:
    """Whether pixels near A may stand for it: a short training with them is not clearly worse for A itself.

    Where images look alike everywhere they tell a network far more than A alone can, which only shows later, as less
    overfitting; so the doubt is theirs.
    """
    losses = []
    for near in (False, True):
        law, tried = make(), replace(task, near=near)
        state = np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
        _, valid = fit_law(law, tried, rows, state, **training)  # type: ignore[arg-type]
        losses.append(_validate(law, tried, valid, 0, 8000))
    worse = losses[1] - losses[0]
    return bool(worse.mean() <= CLEARLY * worse.std() / math.sqrt(min(len(worse), len(valid))))
