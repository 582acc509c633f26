"""How wide a denoiser must be, when: the cheapest radius r(t) for a stated error.

By the area laws the Kullback-Leibler divergence of a local generator from its data adds up over times,

    masked diffusion      KL = sum_i int dt I_t(A_i;C|B_r(t)) / (1 - t)
    Gaussian diffusion    KL <= 1/2 sum_i int d(snr) [mmse_i local(r(t)) - mmse_i global]      (Girsanov)

so that r(t) is an allocation: minimise the sum of cost[k, r_k] over times k with the sum of area[k, r_k] <= budget.
With one Lagrange multiplier it is solved time by time: r_k minimises cost + multiplier * area, and the multipliers'
solutions are the lower convex hull of all schedules in (error, cost). Everything is in terms of two tables (times,
radii); a column of zero area is the global denoiser.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, shown


class Allocation(NamedTuple):
    """One schedule.

    Attributes:
        choice: (n_times,) index of the radius at each time; error, cost: their sums over times.
    """

    choice: NDArray[np.int64]
    error: float
    cost: float


def _tables(area: ArrayLike, cost: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    area = np.asarray(area, float)
    if area.ndim != 2 or area.size == 0:
        raise InputError(f"area must be a table (times, radii), got shape {area.shape}")
    if np.shape(cost) not in (area.shape, area.shape[1:]):
        raise InputError(f"cost must have shape {area.shape} or {area.shape[1:]}, got {np.shape(cost)}")
    cost = np.broadcast_to(np.asarray(cost, float), area.shape)
    if not (np.isfinite(area).all() and np.isfinite(cost).all() and cost.min() >= 0.0):
        raise InputError("area and cost must be finite and cost >= 0, got inf, nan or a negative cost")
    return area, cost


def _allocation(choice: NDArray[np.int64], area: NDArray[np.float64], cost: NDArray[np.float64]) -> Allocation:
    rows = np.arange(len(choice))
    return Allocation(choice, float(area[rows, choice].sum()), float(cost[rows, choice].sum()))


def evaluate_schedule(choice: ArrayLike, area: ArrayLike, cost: ArrayLike) -> Allocation:
    """Return error and cost of a given schedule, (n_times,) indices of radii."""
    area, cost = _tables(area, cost)
    if np.asarray(choice).dtype.kind not in "iu":
        raise InputError(f"choice must hold indices of radii, got {shown(choice)}")
    picked = np.asarray(choice, np.int64)
    if picked.shape != area.shape[:1] or picked.min() < 0 or picked.max() >= area.shape[1]:
        raise InputError(f"choice must hold {len(area)} indices below {area.shape[1]}, got {np.ravel(choice).tolist()}")
    return _allocation(picked, area, cost)


def schedule_frontier(area: ArrayLike, cost: ArrayLike) -> list[Allocation]:
    """Return all schedules of the frontier, from the cheapest to the most exact: none is cheaper at its error.

    Args:
        area: (n_times, n_radii), the error that a radius adds at a time, its width included.
        cost: (n_radii,), or (n_times, n_radii), in any unit.
    """
    area, cost = _tables(area, cost)
    hulls = [_hull(a, c) for a, c in zip(area, cost, strict=True)]
    choice = np.array([hull[0] for hull in hulls])
    schedules = [_allocation(choice, area, cost)]
    moves = [
        ((area[k, i] - area[k, j]) / (cost[k, j] - cost[k, i]), k, j)
        for k, hull in enumerate(hulls)
        for i, j in itertools.pairwise(hull)
    ]
    for _, k, j in sorted(moves, key=lambda move: -move[0]):  # the most error saved per cost first
        choice = choice.copy()
        choice[k] = j
        schedules.append(_allocation(choice, area, cost))
    return schedules


def _hull(area: NDArray[np.float64], cost: NDArray[np.float64]) -> list[int]:
    """Return indices on the lower convex hull of (cost, area), costs rising and areas falling."""
    hull: list[int] = []
    for j in sorted(range(len(cost)), key=lambda j: (cost[j], area[j])):
        if hull and area[j] >= area[hull[-1]]:
            continue
        while len(hull) >= 2:
            i, h = hull[-1], hull[-2]
            if (area[h] - area[i]) * (cost[j] - cost[i]) > (area[i] - area[j]) * (cost[i] - cost[h]):
                break
            hull.pop()
        hull.append(j)
    return hull


def optimal_schedule(area: ArrayLike, cost: ArrayLike, budget: float) -> Allocation:
    """Return the cheapest schedule of the frontier whose error is at most `budget`, in nats.

    Raises InputError where even the most exact schedule exceeds it.
    """
    schedules = schedule_frontier(area, cost)
    for schedule in schedules:
        if schedule.error <= budget:
            return schedule
    raise InputError(
        f"no schedule keeps the error within {budget:g}, the most exact one has {schedules[-1].error:.3g}; "
        "raise the budget, or add larger radii or the global denoiser (area 0)"
    )


def two_level_schedule(area: ArrayLike, cost: ArrayLike, budget: float) -> Allocation:
    """Return the cheapest hybrid: one local radius but for one interval of times, where the last radius takes over.

    Raises InputError where none keeps the error within `budget`.
    """
    area, cost = _tables(area, cost)
    n_times, n_radii = area.shape
    best: Allocation | None = None
    for j in range(n_radii):
        for start in range(n_times + 1):
            for stop in range(start, n_times + 1):
                choice = np.full(n_times, j)
                choice[start:stop] = n_radii - 1
                found = _allocation(choice, area, cost)
                if found.error <= budget and (best is None or found.cost < best.cost):
                    best = found
                    break  # a longer interval from here costs no less
    if best is None:
        raise InputError(
            f"no hybrid keeps the error within {budget:g}; raise the budget or make the last radius global"
        )
    return best


def log_rule(
    xi: ArrayLike, gamma: ArrayLike, radii: ArrayLike, n_sites: int, n_steps: int, error: float
) -> NDArray[np.int64]:
    """Return the smallest radii with r >= xi(t) log(N K sqrt(gamma(t)) / error), as indices; the last where none is.

    The sufficient receptive field of arXiv:2508.06614 for I_t ~ gamma e^(-r/xi), K steps and N sites; NaN in xi
    (no exponential decay) gives the last radius.
    """
    if not 1e-300 < error < np.inf:
        raise InputError(f"error must be > 0 and finite, got {error}")
    n_sites, n_steps, error = int(n_sites), int(n_steps), float(error)
    if n_sites < 1 or n_steps < 1:
        raise InputError(f"n_sites and n_steps must be >= 1, got {n_sites} and {n_steps}")
    xi, gamma, radii = (np.asarray(x, float) for x in (xi, gamma, radii))
    if xi.ndim != 1 or gamma.shape not in ((), xi.shape) or radii.ndim != 1 or not radii.size:
        raise InputError(
            f"xi must be (n_times,), gamma of that shape or one number and radii (n,), got shapes {xi.shape}, "
            f"{gamma.shape} and {radii.shape}"
        )
    if (gamma <= 0.0).any():
        raise InputError(f"gamma must be > 0, got {gamma.min():g}")
    need = xi * np.log(n_sites * n_steps * np.sqrt(gamma) / error)
    enough = np.where(np.isnan(need), math.inf, need)[:, None] <= radii
    enough[:, -1] = True
    return np.argmax(enough, axis=1)
