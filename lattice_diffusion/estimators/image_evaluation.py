"""What a fitted law says: how far its larger views are believed, and the likelihood of A in every view.

A view of more pixels is easier to overfit, which would look like negative information. So its law is drawn towards that
of the next smaller view, p_v ~ p_u^(1-w) q_v^w, as far as serves images that the weights were not fitted to.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax

from .image_likelihood import PixelLaw
from .image_noise import log_likelihood
from .image_training import Task

EVALUATED = 512  # images at a time
WEIGHTS = torch.linspace(0, 1, 21)


def view_weights(
    law: PixelLaw, task: Task, rows: NDArray[np.int64], seed: np.random.SeedSequence, repeats: int = 4
) -> Tensor:
    """w of every time and view, (n_times, n_views), from images that were not fitted.

    That of least cross entropy, and less where the gain g is within its error e: the weight that is fitted is 2g/e of
    its own errors, z, and is multiplied by 1 - 1/z^2, or 0 (James and Stein 1961), so that noise is not believed.
    """
    rng = torch.Generator(task.noise.levels.device).manual_seed(
        int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1))
    )
    found = torch.ones(len(task.noise.times), law.n_views, device=rng.device)
    repeated = np.tile(rows, repeats)
    for t in range(len(found)):
        laws, levels = [], []
        for part in np.array_split(repeated, math.ceil(len(repeated) / EVALUATED)):
            log_q, at = _laws(law, task, part, t, rng)
            laws.append(log_q)
            levels.append(task.target(law, part, at))
        log_q, level = torch.cat(laws), torch.cat(levels)
        for view, smaller in enumerate(task.smaller(len(law.views.radii))):
            if smaller >= 0:
                mixed = [_mix(log_q[:, smaller], log_q[:, view], w) for w in WEIGHTS.tolist()]
                nats = torch.stack([m.gather(1, level[:, None])[:, 0] for m in mixed])
                best = int(nats.mean(dim=1).argmax())
                gain = (nats[best] - nats[0]).reshape(repeats, -1).mean(dim=0)  # of every image
                z = 2 * gain.mean() / (gain.std() / math.sqrt(len(gain)) + 1e-12)
                weight = float(WEIGHTS[best] * (1 - 1 / z**2).clamp(min=0)) if len(gain) > 1 and z > 0 else 0.0
                found[t, view], log_q[:, view] = weight, _mix(log_q[:, smaller], log_q[:, view], weight)
    return found


def _laws(law: PixelLaw, task: Task, rows: NDArray[np.int64], t: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Log q (n, n_views, K) at one time, and A."""
    n, device = len(rows), rng.device
    k = torch.full((n,), t, device=device)
    with torch.no_grad():
        at = law.views.draw(n, rng)
        view = torch.arange(law.n_views, device=device).expand(n, -1)
        return law(task.hidden(law, rows, k, at, rng), view, k, task.noise.log_snr, at), at


def _mix(smaller: Tensor, larger: Tensor, weight: float) -> Tensor:
    return smaller if weight == 0 else log_softmax(smaller + weight * (larger - smaller), dim=-1)


def evaluate(
    law: PixelLaw,
    task: Task,
    rows: NDArray[np.int64],
    weights: Tensor,
    seed: np.random.SeedSequence,
    n_draws: int = 4,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """log q(x_A | view) and (A - E[A | x_A, view])^2 of images, both (n, n_times, n_views).

    One noisy image for every image and time, the same for all views; `n_draws` of A's own noise are averaged over.
    With labels, log q(label | view), and no errors.
    """
    device = task.noise.levels.device
    rng = torch.Generator(device).manual_seed(int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1)))
    shape = (len(rows), len(task.noise.times), law.n_views)
    nats, errors = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for start in range(0, len(rows), EVALUATED):
        part = rows[start : start + EVALUATED]
        n = len(part)
        for t in range(shape[1]):
            log_q, at = _laws(law, task, part, t, rng)
            for view, smaller in enumerate(task.smaller(len(law.views.radii))):
                if smaller >= 0:
                    log_q[:, view] = _mix(log_q[:, smaller], log_q[:, view], float(weights[t, view]))
            if task.labels is not None:
                target = task.target(law, part, at)[:, None, None].expand(-1, law.n_views, 1)
                nats[start : start + n, t], errors[start : start + n, t] = log_q.gather(2, target)[:, :, 0].cpu(), 0.0
                continue
            a_0 = law.views.centre(task.clean(part, device), at)
            log_p, share = task.noise.observations(a_0, t, n_draws, rng)
            found, mean = log_likelihood(log_q, log_p, task.noise.levels)
            nats[start : start + n, t] = (found @ share).cpu().numpy()
            square = ((mean - a_0[:, None, None]) ** 2).sum(dim=3)
            errors[start : start + n, t] = (square @ share).cpu().numpy()
    return nats, errors
