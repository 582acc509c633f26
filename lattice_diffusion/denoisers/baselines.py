"""Denoisers made from a data set alone: the best linear one, and the posterior of the data's own patches."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from ..channels import Channel, check_gaussian, check_tokens, symbols_of
from ..errors import InputError, array_of, check_finite
from ..exact.local_fields import like
from ..lattice import FloatArray, Lattice
from .exact import ArrayDenoiser
from .posterior import LEVEL_AXIS, Bernoulli, Categorical, Normal, namespace

CERTAIN = 40.0  # the field of a kept spin: where no patch fits, those with the fewest mismatches do
CHUNK = 1 << 22  # numbers of one array, 32 MiB
BATCH = 256


class WienerFilter(ArrayDenoiser):
    """The best linear denoiser: E[x_0,i] + w (x_t - alpha E[x_0]) over the box R around i.

    w = alpha C_iR (alpha^2 C_RR + sigma^2)^-1, with mean and covariance C of the data; for Gaussian data it is the
    exact local denoiser of a covariance known to 1/sqrt(n). All channels of a pixel are seen together. Answers are
    `Normal`: the variance is the filter's own squared error, C_ii - alpha w C_Ri, on average over the data.

    Args:
        x_0: clean data (n, channel, *lattice), n >= 2.
        channel: Gaussian noise.
        radius: Chebyshev radius of the box, cut at the edges; None: everything.

    Raises InputError for data or a radius that do not fit, or another channel.
    """

    in_torch = True

    def __init__(self, x_0: NDArray, channel: Channel, radius: int | None = None) -> None:
        clean = _clean(x_0, least=2)
        check_gaussian(channel)
        super().__init__(channel, clean.shape[1:], radius)
        x = clean.reshape(len(clean), -1)
        self.mean = x.mean(axis=0)
        centred = x - self.mean
        self.covariance = centred.T @ centred / len(x)
        self._filters = lru_cache(maxsize=32)(self._box_filters)

    def _posterior(self, x_t: FloatArray, t: float) -> Normal:
        gaussian = check_gaussian(self.channel)
        alpha, sigma = gaussian.alpha(t), gaussian.sigma(t)
        if sigma == math.inf:
            alpha, sigma = 0.0, 1.0
        weights, variance = (like(x_t, values) for values in self._filters(alpha, sigma))
        average = like(x_t, self.mean)
        mean = average + (x_t.reshape(len(x_t), -1) - alpha * average) @ weights.T
        variance = namespace(x_t).broadcast_to(variance.reshape(self.shape), x_t.shape)
        return Normal(mean.reshape(x_t.shape), variance)

    def _box_filters(self, alpha: float, sigma: float) -> tuple[FloatArray, FloatArray]:
        """Return the filters (N, N), one row per value, and what they leave of the variance (N,)."""
        C, lattice = self.covariance, Lattice(self.shape[1:])
        weights, left = np.zeros_like(C), np.zeros(len(C))
        sites = np.arange(len(C)).reshape(self.shape[0], -1)
        boxes = [] if self.radius is None else [lattice.box(site, self.radius) for site in np.ndindex(lattice.shape)]
        views = [(sites[:, box.ravel()].ravel(), sites[:, pixel]) for pixel, box in enumerate(boxes)]
        for R, targets in views or [(sites.ravel(), sites.ravel())]:
            noisy = alpha**2 * C[np.ix_(R, R)] + sigma**2 * np.eye(len(R))
            rhs = alpha * C[np.ix_(R, targets)]
            # at t = 0 the covariance of few data is singular: the shortest filter then
            w = (np.linalg.solve(noisy, rhs) if sigma > 0.0 else np.linalg.lstsq(noisy, rhs)[0]).T
            weights[np.ix_(targets, R)] = w
            left[targets] = C[targets, targets] - (w * rhs.T).sum(axis=1)
        return weights, left.clip(0.0)


class NearestPatch(ArrayDenoiser):
    """The posterior of a data set's own patches, which a local denoiser that has memorised its training set returns.

        p(n | x_R) ~ p(x_R | patch n) ~ exp(-|x_R - alpha patch_n|^2 / 2 sigma^2),      R the box of radius r around i,

    and x_0,i is the centre of patch n. Patches come from the same position of every training item (LS), or from all
    positions (ELS, translation equivariant): Kamb and Ganguli, arXiv:2412.20292, section 3. For two-valued data the
    likelihood is exp(sum h s) of any channel's fields h, for tokens the product of p(x_i | symbol of the patch).

    Args:
        x_0: training data (n, channel, *lattice); +-1 (0 in entries that hold no data) are answered by `Bernoulli`,
            tokens by `Categorical`, others by `Normal`.
        channel: the noise; Gaussian for real data, `Erasure(q)` or `Uniform(q)` for tokens.
        radius: Chebyshev radius of the patches; None: whole items.
        translation_invariant: compare with patches from all positions. At open edges boxes are cut, and only those
            positions count at which the training item has every pixel of the cut box.
        periodic: boxes wrap around.

    Raises InputError for data, radius or channel that do not fit; on use, for real data at t = 0, where no patch but an
    identical one is possible.
    """

    def __init__(
        self,
        x_0: NDArray,
        channel: Channel,
        radius: int | None = None,
        *,
        translation_invariant: bool = False,
        periodic: bool = False,
    ) -> None:
        clean = _clean(x_0)
        super().__init__(channel, clean.shape[1:], radius)
        used, q = (clean != 0.0).any(axis=0), symbols_of(channel)
        self.symbols: tuple[float, ...] | None = None  # that values are told apart by; None: real ones
        if q is not None:
            check_tokens("x_0", clean, q)
            self.data, self.symbols = "tokens", tuple(map(float, range(q)))
        elif bool(np.all(np.abs(clean[:, used]) == 1.0)):
            self.used, self.symbols = used, (-1.0, 1.0)
        else:
            check_gaussian(channel)
        self.lattice = Lattice(clean.shape[2:], periodic)
        self.translation_invariant = translation_invariant
        self._clean = clean.reshape(len(clean), clean.shape[1], -1)

    def _posterior(self, x_t: FloatArray, t: float) -> Bernoulli | Categorical | Normal:
        field, quadratic = self._evidence(x_t, t)
        field = field.reshape(*x_t.shape[:2], self.lattice.n_sites, -1)
        joined = _moments if self.symbols is None else np.logaddexp.reduce
        out = np.empty((len(self.symbols or "mv"), *field.shape[:3]))  # of real data mean and variance
        radius = max(self.lattice.shape) if self.radius is None else self.radius
        for i, site in enumerate(np.ndindex(*self.lattice.shape)):
            box = np.argwhere(self.lattice.box(site, radius))
            h = field[:, :, np.ravel_multi_index(tuple(box.T), self.lattice.shape)].reshape(len(x_t), -1)
            for start in range(0, len(x_t), BATCH):
                rows = slice(start, start + BATCH)
                parts = [
                    self._summary(h[rows] @ patches.T - 0.5 * quadratic * (patches**2).sum(axis=1), centres)
                    for centres, patches in self._patches(box, np.array(site))
                ]
                out[:, rows, :, i] = joined(np.stack(parts))
        shaped = out.reshape(len(out), *x_t.shape)
        if self.symbols is None:
            return Normal(*shaped)
        if self.data == "tokens":
            return Categorical(np.moveaxis(shaped, 0, LEVEL_AXIS), self.symbols)
        empty = np.isneginf(shaped).all(axis=0)  # entries that hold no data
        return Bernoulli(np.where(empty, 0.0, shaped[1] - np.where(empty, 0.0, shaped[0])))

    def _evidence(self, x_t: FloatArray, t: float) -> tuple[FloatArray, float]:
        """Return h and q with log p(x_R | patch) = h patch - q patch^2 / 2 up to a constant.

        The patches of tokens are one-hot, and h has an axis of symbols, the last.
        """
        if self.data == "tokens":
            with np.errstate(divide="ignore"):
                log_law = np.log(self.channel.likelihoods(x_t, t))  # type: ignore[attr-defined]
            return log_law.clip(-2 * CERTAIN), 0.0
        if self.symbols is not None:
            return self.channel.likelihood_field(x_t, t).clip(-CERTAIN, CERTAIN), 0.0
        gaussian = check_gaussian(self.channel)
        alpha, sigma = gaussian.alpha(t), gaussian.sigma(t)
        if sigma == 0.0:
            raise InputError("t must be > 0 for patches of real data: at t = 0 only an identical patch is possible")
        return alpha / sigma**2 * x_t, (alpha / sigma) ** 2

    def _summary(self, log_weights: FloatArray, centres: FloatArray) -> FloatArray:
        """Return what (batch, m) log-weights of patches say of their centres (m, channel): (.., batch, channel).

        Spins and tokens: logarithms of the total weights of every symbol. Real values: of the total weight, then mean
        and variance.
        """
        if self.symbols is not None:
            sums = ([_log_sum(log_weights[:, c == s]) for c in centres.T] for s in self.symbols)
            return np.stack([np.stack(of_symbol, axis=1) for of_symbol in sums])
        total = _log_sum(log_weights)
        weights = np.exp(log_weights - total[:, None])
        mean = weights @ centres
        variance = np.stack(
            [(weights * (c - m[:, None]) ** 2).sum(axis=1) for c, m in zip(centres.T, mean.T, strict=True)], axis=1
        )
        return np.stack([np.broadcast_to(total[:, None], mean.shape), mean, variance])

    def _patches(self, box: NDArray[np.int64], site: NDArray[np.int64]) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Yield centres (m, channel) and patches (m, channel * pixels) of the training data, some at a time."""
        shape, n = self.lattice.shape, len(self._clean)
        moves = np.zeros((1, len(shape)), int)
        if self.translation_invariant:
            moves = np.argwhere(np.ones(shape, bool)) - site
        pixels = box + moves[:, None]  # (moves, pixels, axes)
        if any(self.lattice.periodic):
            pixels %= shape
        inside = ((pixels >= 0) & (pixels < shape)).all(axis=(1, 2))
        here = np.ravel_multi_index(tuple(((site + moves[inside]) % shape).T), shape)
        there = np.ravel_multi_index(tuple(np.moveaxis(pixels[inside], 2, 0)), shape)
        items = max(1, CHUNK // max(BATCH, self.shape[0] * len(box)))
        at_once, step = min(n, items), max(1, items // n)
        for first in range(0, n, at_once):
            clean = self._clean[first : first + at_once]
            for start in range(0, len(here), step):
                k = slice(start, start + step)
                patches = np.moveaxis(clean[:, :, there[k]], 2, 1)  # (items, moves, channel, pixels)
                centres = np.moveaxis(clean[:, :, here[k]], 2, 1)
                if self.data == "tokens":
                    patches = (patches[..., None] == self.symbols).astype(float)
                yield centres.reshape(-1, self.shape[0]), patches.reshape(len(clean) * centres.shape[1], -1)


def _clean(x_0: NDArray, least: int = 1) -> FloatArray:
    """Return data (n, channel, *lattice) as floats; raise InputError where they are none."""
    x_0 = array_of("x_0", x_0).astype(float)
    if x_0.ndim < 3 or 0 in x_0.shape:
        raise InputError(f"x_0 must have shape (n, channel, *lattice), got {x_0.shape}; add a channel by x_0[:, None]")
    if len(x_0) < least:
        raise InputError(f"x_0 must hold at least {least} samples, got {len(x_0)}")
    check_finite(x_0=x_0)
    return x_0


def _log_sum(log_weights: FloatArray) -> FloatArray:
    """Return the log of the sum over items, (batch,); -inf for no items."""
    if not log_weights.shape[1]:
        return np.full(len(log_weights), -np.inf)
    largest = log_weights.max(axis=1)
    return np.asarray(largest + np.log(np.exp(log_weights - largest[:, None]).sum(axis=1)))


def _moments(parts: FloatArray) -> FloatArray:
    """Return mean and variance over all parts, (2, batch, channel)."""
    weights = np.exp(parts[:, 0] - logsumexp(parts[:, 0], axis=0))
    mean = (weights * parts[:, 1]).sum(axis=0)
    return np.stack([mean, (weights * (parts[:, 2] + (parts[:, 1] - mean) ** 2)).sum(axis=0)])
