"""When a denoiser trained on n samples begins to copy them: I(X_0,R ; X_t,R) = log n.

The empirical denoiser of a region R weighs its n training patches by p(x_t,R | patch). For an x_t made from patch 1
the weight of that patch is p(x_t | x_0) against the sum over the n - 1 others, which is close to n p_t(x_t) as long as
many of them matter, so that the two are equal where E log p(x_t | x_0) / p_t(x_t) = I(X_0,R; X_t,R) = log n (the
condensation of a random-energy model). Below that time the denoiser returns its own training patch. For R everything
it is the collapse of Biroli, Bonnaire, de Bortoli and Mezard (2402.18491): for isotropic Gaussian data in d dimensions
d/2 log(1 + g) = log n, and with g = 1/(e^(2 tau) - 1) the time of their process is tau = 1/2 log(1 + 1/(n^(2/d) - 1)).
Where patches of all positions are compared, n counts every one of them.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from ..channels import Channel, check_time, for_model, is_gaussian
from ..errors import InputError, check_mask, shown
from ..estimate import Curve, Estimate
from ..exact import log_marginal
from ..lattice import BoolArray, FloatArray, Rng

TIMES = tuple(float(t) for t in np.linspace(0.02, 0.98, 49))


def patch_information(
    model: Any, channel: Channel, t: float, region: BoolArray, n_samples: int = 200, rng: Rng = None
) -> Estimate:
    """Return I(X_0,R ; X_t,R) in nats: 1/2 log det(1 + g Sigma_R) of Gaussian fields, else from sampled evidence.

    Raises InputError for real values without noise, which tell infinitely much.
    """
    t, channel = check_time(t), for_model(model, channel)
    check_mask("region", region, model.lattice.shape)
    region = region & model.sites
    snr, size = channel.snr(t), int(region.sum())
    if snr == 0.0 or not size:
        return Estimate(0.0, 0.0, 0, "nothing is seen")
    if model.data == "real" and snr == math.inf:
        raise InputError("t must be > 0, as real values without noise tell infinitely much of themselves, got 0")
    if model.data == "real" and hasattr(model.solver, "precision"):
        clean = model.solver.covariance(channel, 0.0, region)
        return Estimate(0.5 * float(np.linalg.slogdet(np.eye(size) + snr * clean)[1]), 0.0, 0, "closed form")
    rng = np.random.default_rng(rng)
    x_t = channel.corrupt(model.sample(n_samples, rng), t, rng)
    surprise = -log_marginal(model, channel, t, x_t, region)
    if is_gaussian(channel):
        noise = 0.5 * math.log(2 * math.pi * math.e * channel.sigma(t) ** 2)
    else:
        noise = float(entr(channel.output_law(t)[:, 0]).sum())
    return Curve.from_samples(surprise - size * noise, "evidence of samples")[0]


def memorisation_time(
    source: Any,
    n: int,
    radius: int | None = None,
    *,
    channel: Channel | None = None,
    center: Sequence[int] | None = None,
    positions: int = 1,
    n_samples: int = 200,
    rng: Rng = None,
) -> Estimate | None:
    """Return the largest time at which I(X_0,R ; X_t,R) >= log(n positions); None where it never is.

    Its error is that of the information over its slope in time, 0 where the information is known exactly.

    Args:
        source: a model, or a curve (times, information in nats), or (times, information, its errors), of a region.
        n: number of training samples.
        radius: of the box R around `center`, of a model; None: everything.
        channel: the noise, of a model.
        positions: how many patches every training sample gives: that of all shifts for translation invariant patches.
        n_samples: noisy samples at every time, where there is no closed form.

    Raises InputError for n or positions below 1, no channel, or a curve that is none.
    """
    if not n >= 1 or not positions >= 1:
        raise InputError(f"n and positions must be >= 1, the number of training patches, got {n} and {positions}")
    target = math.log(n) + math.log(positions)
    if not hasattr(source, "sample"):
        times, values, errors = _curve(source)
    elif channel is None:
        raise InputError("channel must be given with a model, such as channels.Gaussian()")
    else:
        center = source.lattice.center if center is None else center
        region = source.sites if radius is None else source.box(center, radius) & source.sites
        times, rng = np.array(TIMES), np.random.default_rng(rng)
        seeds = rng.spawn(len(times))
        cases = zip(times, seeds, strict=True)
        told = [patch_information(source, channel, t, region, n_samples, g) for t, g in cases]
        values, errors = (np.array([getattr(one, name) for one in told]) for name in ("value", "stderr"))
    above = np.flatnonzero(values >= target)
    if not len(above):
        return None
    i = int(above[-1])
    if i == len(times) - 1:
        return Estimate(float(times[-1]), 0.0, 0, "last time")
    slope = (values[i] - values[i + 1]) / (times[i + 1] - times[i])
    share = (values[i] - target) / (values[i] - values[i + 1])
    low, high = max(i - 2, 0), min(i + 3, len(times) - 1)  # for the error, a slope that noise changes less
    wide = (times[high] - times[low]) / (values[low] - values[high])
    error = math.hypot((1 - share) * errors[i], share * errors[i + 1]) * max(wide, 1 / slope)
    return Estimate(float(times[i] + (values[i] - target) / slope), float(error), 0, "I = log n")


def _curve(given: tuple[ArrayLike, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    times, values, *rest = (np.asarray(part, float) for part in given)
    errors = rest[0] if rest else np.zeros_like(values)
    shapes = times.shape == values.shape == errors.shape
    if times.ndim != 1 or not shapes or len(times) < 2 or (np.diff(times) <= 0.0).any():
        raise InputError(f"source must be a model or a curve of rising times and as many values, got {shown(given)}")
    return times, values, errors
