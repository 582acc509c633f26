"""How wide a denoiser must be, when: the cheapest radius r(t) for a stated error.

By the area laws the Kullback-Leibler divergence of a local generator from its data adds up over times,

    masked diffusion      KL = sum_i int dt I_t(A_i;C|B_r(t)) / (1 - t)
    Gaussian diffusion    KL <= 1/2 sum_i int d(snr) [mmse_i local(r(t)) - mmse_i global]      (Girsanov)

so that r(t) is an allocation: minimise the sum of cost[k, r_k] over times k with the sum of area[k, r_k] <= budget.
With one Lagrange multiplier it is solved time by time: r_k minimises cost + multiplier * area, and the multipliers'
solutions are the lower convex hull of all schedules in (error, cost), each the cheapest at its own error. Between
them dynamic programming finds the cheapest. Everything is in terms of two tables (times, radii); a column of zero
area is the global denoiser.
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


MAX_STATES = 1 << 16  # partial schedules kept at a time
ROUNDING = 1e-12


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
    rows = np.arange(len(choice))  # cumsum adds time after time, as the search for the optimal schedule does
    return Allocation(choice, float(area[rows, choice].cumsum()[-1]), float(cost[rows, choice].cumsum()[-1]))


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
    choice, moves = _moves(area, cost)
    schedules = [_allocation(choice, area, cost)]
    for k, j in moves:
        choice = choice.copy()
        choice[k] = j
        schedules.append(_allocation(choice, area, cost))
    return schedules


def _moves(area: NDArray[np.float64], cost: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cheapest choice, and the time and new choice (n, 2) of steps along the frontier to the most exact."""
    hulls = [_hull(a, c) for a, c in zip(area, cost, strict=True)]
    moves = [
        ((area[k, i] - area[k, j]) / (cost[k, j] - cost[k, i]), k, j)
        for k, hull in enumerate(hulls)
        for i, j in itertools.pairwise(hull)
    ]
    moves.sort(key=lambda move: -move[0])  # the most error saved per cost first
    return np.array([hull[0] for hull in hulls]), np.array([move[1:] for move in moves], np.int64).reshape(-1, 2)


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
    """Return a schedule whose error is at most `budget`, in nats, and than which none within the budget is cheaper.

    A multiple-choice knapsack, solved exactly by dynamic programming over times: of the partial schedules those remain
    that no other beats in error and cost, and that could still become cheaper than the best schedule known, however
    the frontier of the times to come is mixed. Of more than MAX_STATES those with the highest bounds are given up; then
    the schedule is within the budget and no dearer than the frontier's, but not proven to be the cheapest. Tables of
    300 times by 12 radii keep some hundred; it takes costs that are nearly linear in the errors to exceed it.

    Raises InputError where even the most exact schedule exceeds the budget.
    """
    area, cost = _tables(area, cost)
    budget = float(budget)
    frontier = schedule_frontier(area, cost)
    best = next((schedule for schedule in frontier if schedule.error <= budget), None)
    if best is None:
        raise InputError(
            f"no schedule keeps the error within {budget:g}, the most exact one has {frontier[-1].error:.3g}; "
            "raise the budget, or add larger radii or the global denoiser (area 0)"
        )
    choice, moves = _moves(area, cost)
    slack = ROUNDING * (abs(budget) + np.abs(area).max(axis=1).sum())
    errors, costs, choices = np.zeros(1), np.zeros(1), np.zeros((1, 0), np.int64)
    for k in range(len(area)):
        errors, costs = (errors[:, None] + area[k]).ravel(), (costs[:, None] + cost[k]).ravel()
        later = moves[moves[:, 0] > k]
        later_errors, later_costs = (_along(table, choice, later, k + 1)[::-1] for table in (area, cost))
        left = budget - errors + (slack if k + 1 < len(area) else 0.0)
        bounds = costs + np.interp(left, later_errors, later_costs, left=np.inf)
        # completed by the first schedule of the frontier that fits: the cheapest of these is a schedule to beat
        steps = len(later) + 1 - np.searchsorted(later_errors, left, side="right")
        totals = np.where(steps <= len(later), costs + later_costs[len(later) - steps], np.inf)
        first = int(np.argmin(totals))
        if totals[first] < best.cost:
            whole = np.concatenate([choices[first // area.shape[1]], [first % area.shape[1]], choice[k + 1 :]])
            for time, j in later[: steps[first]]:
                whole[time] = j
            found = _allocation(whole, area, cost)
            best = found if found.error <= budget and found.cost < best.cost else best
        order = np.lexsort((errors, costs))
        order = order[bounds[order] < best.cost * (1.0 - ROUNDING)]
        if not len(order):
            break
        lowest = np.minimum.accumulate(np.append(np.inf, errors[order]))
        order = order[errors[order] < lowest[:-1]]
        if len(order) > MAX_STATES:
            order = np.sort(order[np.argsort(bounds[order], kind="stable")[:MAX_STATES]])
        choices = np.column_stack([choices[order // area.shape[1]], order % area.shape[1]])
        errors, costs = errors[order], costs[order]
    return best


def _along(
    table: NDArray[np.float64], choice: NDArray[np.int64], moves: NDArray[np.int64], start: int
) -> NDArray[np.float64]:
    """Return the sum of `table` over the times from `start` on, before the first and after each of `moves`."""
    total, now = [float(table[np.arange(start, len(table)), choice[start:]].sum())], choice.copy()
    for k, j in moves:
        total.append(total[-1] + float(table[k, j] - table[k, now[k]]))
        now[k] = j
    return np.array(total)


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
    if best is None:
        raise InputError(f"no hybrid keeps the error within {budget:g}; raise it or make the last radius global")
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
        shapes = [values.shape for values in (xi, gamma, radii)]
        raise InputError(f"xi must be (n_times,), gamma of that shape or one number and radii (n,), got {shapes}")
    if (gamma <= 0.0).any():
        raise InputError(f"gamma must be > 0, got {gamma.min():g}")
    need = xi * np.log(n_sites * n_steps * np.sqrt(gamma) / error)
    enough = np.where(np.isnan(need), math.inf, need)[:, None] <= radii
    enough[:, -1] = True
    return np.argmax(enough, axis=1)
