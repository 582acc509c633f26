"""How many tokens may be unmasked at once: what parallel unmasking costs, and where to place its steps.

A batch of tokens drawn from the product of their posteriors loses what they tell about one another, so that along an
order of batches

    KL(p_0 || p_parallel) = sum over batches of [sum_i H(x_i | seen) - H(batch | seen)].

On average over random masks it follows from one curve, h(t) = H(x_i | what is seen where each token is masked with
probability t): since the entropy of p_0 is N int h dt, steps 1 = t_0 > t_1 > .. > t_k = 0 cost, per token,

    sum_j (t_j - t_(j+1)) h(t_j) - int_0^1 h dt,

the error of the left Riemann sum in the direction of unmasking (Chen, Cong and Li 2511.04647). k equal steps cost
about (h(1) - h(0)) / 2k; the best ones have a density proportional to sqrt(dh/dt) and cost (int sqrt(h') dt)^2 / 2k.
Denoisers of radius r have a curve h_r >= h of their own in the sum, and the same integral is subtracted.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.special import entr

from ..channels import Erasure, for_model
from ..denoisers.exact import ExactDenoiser
from ..denoisers.posterior import LEVEL_AXIS, Bernoulli, Posterior
from ..errors import InputError, check_limits, shown
from ..estimate import Curve, Estimate
from ..exact import log_marginal
from ..exact.domain_walls import binary_entropy
from ..lattice import FloatArray, Rng

MeasuredCurve = tuple[ArrayLike, ArrayLike]  # times and values
N_GRID = 401  # times between which the steps of a schedule are chosen


class UnmaskingSchedule(NamedTuple):
    """Steps of parallel unmasking.

    Attributes:
        times: (k + 1,) masked fractions from 1 to 0.
        cost: nats per token.
    """

    times: FloatArray
    cost: float


def unmasking_schedule(h: MeasuredCurve, k: int, floor: MeasuredCurve | None = None) -> UnmaskingSchedule:
    """Return the k steps of the smallest cost, by dynamic programming over 401 masked fractions.

    Args:
        h: times (n,) that increase to 1, and h (n,) at them, in nats, from any measurement, such as `masked` and
            `entropy` of `AmortisedLikelihood` and `probe`; it is made monotonic by isotonic regression, linear between
            the times, and goes on to 0 as between the first two.
        k: number of steps, 1 to 400.
        floor: the curve of the denoiser that sees everything, where h is a local one's.

    Raises InputError for times or values that are no such curve, or k out of range.
    """
    check_limits({"k": (1, N_GRID - 1)}, {"k": k})
    grid = np.linspace(0.0, 1.0, N_GRID)
    values = np.interp(grid, *_curve("h", h))
    step = np.where(grid[:, None] >= grid, (grid[:, None] - grid) * values[:, None], np.inf)  # from row to column
    best, moves = step[:, 0], []
    for _ in range(k - 1):  # best[i]: from time i to 0
        total = step + best
        moves.append(total.argmin(axis=1))
        best = total.min(axis=1)
    place, times = N_GRID - 1, [1.0]
    for move in reversed(moves):
        place = int(move[place])
        times.append(float(grid[place]))
    return UnmaskingSchedule(np.array([*times, 0.0]), unmasking_cost(h, [*times, 0.0], floor))


def unmasking_cost(h: MeasuredCurve, steps: ArrayLike, floor: MeasuredCurve | None = None) -> float:
    """Return the cost, in nats per token, of unmasking at the masked fractions `steps`, which fall from 1 to 0."""
    t = np.asarray(steps, float)
    if t.ndim != 1 or len(t) < 2 or t[0] != 1.0 or t[-1] != 0.0 or (np.diff(t) > 0.0).any():
        raise InputError(f"steps must fall from 1 to 0, such as [1, 0.5, 0], got {shown(steps)}")
    known = _curve("h", h)
    whole = known if floor is None else _curve("floor", floor)
    return float((np.interp(t[:-1], *known) * -np.diff(t)).sum() - np.trapezoid(whole[1], whole[0]))


def unmasking_entropies(
    model: Any, times: ArrayLike, n_samples: int = 100, rng: Rng = None, *, radius: int | None = None
) -> Curve:
    """Return h(t), in nats, of the exact denoiser of a radius, averaged over sites and samples, with errors.

    Args:
        model: of spins, bonds or tokens, with an exact solution.
        radius: of the box in which a site is seen from; None: everything.
    """
    channel, rng = for_model(model, Erasure()), np.random.default_rng(rng)
    denoiser, times = ExactDenoiser(model, channel, radius), np.atleast_1d(np.asarray(times, float))
    rows, used = np.empty((n_samples, len(times))), denoiser.used
    for k, t in enumerate(times):
        x_t = channel.corrupt(model.sample(n_samples, rng), float(t), rng).reshape(-1, *denoiser.shape)
        rows[:, k] = _entropy(denoiser.blind(x_t, float(t)))[:, used].mean(axis=1)
    return Curve.from_samples(rows, "entropies of exact posteriors")


def parallel_divergence(
    model: Any, batches: Sequence[int], n_samples: int = 100, rng: Rng = None, *, radius: int | None = None
) -> Estimate:
    """Return KL(p_0 || p_parallel) of unmasking batches of these sizes in random order, in nats for the whole system.

    Every token is drawn from its exact posterior given the tokens known before its batch, within `radius`. The average
    of log p_0(x) - sum_i log p(x_i | seen) over data and orders is the divergence.

    Raises InputError for batches that are larger than what is masked, or leave tokens masked.
    """
    channel, rng = for_model(model, Erasure()), np.random.default_rng(rng)
    denoiser, n_sites = ExactDenoiser(model, channel, radius), int(model.sites.sum())
    left = n_sites
    for size in batches:
        if not 1 <= size <= left:
            raise InputError(f"batches must hold at least 1 and at most the {left} tokens still masked, got {size}")
        left -= size
    if left:
        raise InputError(f"batches must unmask all {n_sites} tokens, got {sum(batches)}")
    x_0 = np.asarray(model.sample(n_samples, rng), float)
    log_law = log_marginal(model, channel, 0.0, x_0, model.sites)
    x_t, total = np.where(model.sites, channel.mask, x_0), np.zeros(n_samples)
    orders = np.stack([rng.permutation(np.flatnonzero(model.sites)) for _ in range(n_samples)])
    rows = np.arange(n_samples)[:, None]
    for start, stop in itertools.pairwise([0, *np.cumsum(batches)]):
        law = denoiser(x_t.reshape(-1, *denoiser.shape), 0.5)
        now = orders[:, start:stop]
        total += _log_probability(law, x_0.reshape(-1, *denoiser.shape)).reshape(n_samples, -1)[rows, now].sum(axis=1)
        x_t.reshape(n_samples, -1)[rows, now] = x_0.reshape(n_samples, -1)[rows, now]
    return Curve.from_samples(log_law - total, "parallel unmasking")[0]


def equal_batches(n_sites: int, steps: ArrayLike) -> list[int]:
    """Return the sizes of batches that unmask n_sites tokens at the masked fractions `steps`, empty ones left out."""
    left = np.rint(n_sites * np.asarray(steps, float)).astype(int)
    return [int(n) for n in -np.diff(left) if n > 0]


def _curve(name: str, given: MeasuredCurve) -> tuple[FloatArray, FloatArray]:
    times, values = (np.asarray(part, float) for part in given)
    good = times.ndim == 1 and times.shape == values.shape and len(times) >= 2 and np.isfinite(values).all()
    if not good or (np.diff(times) <= 0.0).any() or times[0] < 0.0 or times[-1] != 1.0 or values.min() < 0.0:
        raise InputError(
            f"{name} must be times >= 0 that increase to 1, two or more, and as many values >= 0, got {shown(given)}"
        )
    values = np.asarray(isotonic_regression(values).x)
    if times[0] > 0.0:
        first = values[0] - times[0] * (values[1] - values[0]) / (times[1] - times[0])
        times, values = np.append(0.0, times), np.append(max(first, 0.0), values)
    return times, values


def _entropy(law: Posterior) -> FloatArray:
    """Return the entropy of every site's law."""
    if isinstance(law, Bernoulli):
        return binary_entropy(law.log_odds)
    p: NDArray = law.probabilities  # type: ignore[attr-defined]
    return np.asarray(entr(p).sum(axis=LEVEL_AXIS))


def _log_probability(law: Posterior, x_0: FloatArray) -> FloatArray:
    """Return the log probability of the values x_0 under every site's law."""
    if isinstance(law, Bernoulli):
        return -np.logaddexp(0.0, -np.clip(law.log_odds, -700.0, 700.0) * x_0)
    p: NDArray = law.probabilities  # type: ignore[attr-defined]
    picked = np.take_along_axis(p, np.where(x_0 < 0, 0, x_0).astype(int)[:, :, None], axis=LEVEL_AXIS)
    return np.log(np.squeeze(picked, LEVEL_AXIS))
