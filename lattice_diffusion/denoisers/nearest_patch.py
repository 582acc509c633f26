"""The posterior of a data set's own patches: what a local denoiser that has memorised its training set returns.

    p(n | x_R) ~ p(x_R | patch n) ~ exp(-|x_R - alpha patch_n|^2 / 2 sigma^2),      R the box of radius r around i,

and x_0,i is the centre of patch n. Patches come from the same position of every training item (LS), or from all
positions (ELS, translation equivariant): Kamb and Ganguli, arXiv:2412.20292, section 3. For two-valued data the
likelihood is exp(sum h s) of any channel's fields h.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from ..channels import Channel, check_gaussian
from ..errors import InputError
from ..lattice import Lattice
from .array_denoiser import ArrayDenoiser
from .clean_data import check_clean
from .posterior import Bernoulli, Normal

FloatArray = NDArray[np.float64]
CERTAIN = 40.0  # the field of a kept spin: where no patch fits, those with the fewest mismatches do
CHUNK = 1 << 22  # numbers of one array, 32 MiB
BATCH = 256


class NearestPatch(ArrayDenoiser):
    """The local denoiser that is optimal for the training set itself.

    Args:
        x_0: training data (n, channel, *lattice); +-1 (0 in entries that hold no data) are answered by `Bernoulli`,
            others by `Normal`.
        channel: the noise; Gaussian for real data.
        radius: Chebyshev radius of the patches; None: whole items.
        translation_invariant: compare with patches from all positions. At open edges boxes are cut, and only those
            positions count at which the training item has every pixel of the cut box.
        periodic: boxes wrap around.

    Raises:
        TypeError, ValueError: data, radius or channel that do not fit; on use, Gaussian noise at t = 0, where no item
            but an identical one is possible.
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
        clean = check_clean(x_0)
        super().__init__(channel, clean.shape[1:], radius)
        used = (clean != 0.0).any(axis=0)
        self.spins = bool(np.all(np.abs(clean[:, used]) == 1.0))
        self._entries = used if self.spins else np.ones_like(used)
        if not self.spins:
            check_gaussian(channel)
        self.lattice = Lattice(clean.shape[2:], periodic)
        self.translation_invariant = translation_invariant
        self._clean = clean.reshape(len(clean), clean.shape[1], -1)

    def _used(self) -> NDArray[np.bool_]:
        return self._entries

    def _posterior(self, x_t: FloatArray, t: float) -> Bernoulli | Normal:
        field, quadratic = self._evidence(x_t, t)
        field = field.reshape(len(x_t), self.shape[0], -1)
        out = np.empty((1 if self.spins else 2, *field.shape))
        for i, site in enumerate(np.ndindex(*self.lattice.shape)):
            box = np.argwhere(self.lattice.box(site, max(self.lattice.shape) if self.radius is None else self.radius))
            h = field[:, :, np.ravel_multi_index(tuple(box.T), self.lattice.shape)].reshape(len(x_t), -1)
            for start in range(0, len(x_t), BATCH):
                rows = slice(start, start + BATCH)
                parts = [
                    self._summary(h[rows] @ patches.T - 0.5 * quadratic * (patches**2).sum(axis=1), centres)
                    for centres, patches in self._patches(box, np.array(site))
                ]
                out[:, rows, :, i] = (_log_odds if self.spins else _moments)(np.stack(parts))
        shaped = out.reshape(len(out), *x_t.shape)
        return Bernoulli(shaped[0]) if self.spins else Normal(shaped[0], shaped[1])

    def _evidence(self, x_t: FloatArray, t: float) -> tuple[FloatArray, float]:
        """h and q with log p(x_R | patch) = h patch - q patch^2 / 2 but for a constant."""
        if self.spins:
            return self.channel.likelihood_field(x_t, t).clip(-CERTAIN, CERTAIN), 0.0
        gaussian = check_gaussian(self.channel)
        alpha, sigma = gaussian.alpha(t), gaussian.sigma(t)
        if sigma == 0.0:
            raise InputError(
                "t must be > 0 for patches of real data: at t = 0 nothing but an identical patch is possible"
            )
        return alpha / sigma**2 * x_t, (alpha / sigma) ** 2

    def _summary(self, log_weights: FloatArray, centres: FloatArray) -> FloatArray:
        """What (batch, m) log-weights of some patches say of their centres (m, channel): (.., batch, channel).

        Spins: logarithms of the total weights of -1 and +1. Real values: of the total weight, then mean and variance.
        """
        if self.spins:
            return np.stack(
                [np.stack([_log_sum(log_weights[:, c == s]) for c in centres.T], axis=1) for s in (-1.0, 1.0)]
            )
        total = _log_sum(log_weights)
        weights = np.exp(log_weights - total[:, None])
        mean = weights @ centres
        variance = np.stack(
            [(weights * (c - m[:, None]) ** 2).sum(axis=1) for c, m in zip(centres.T, mean.T, strict=True)], axis=1
        )
        return np.stack([np.broadcast_to(total[:, None], mean.shape), mean, variance])

    def _patches(self, box: NDArray[np.int64], site: NDArray[np.int64]) -> Iterator[tuple[FloatArray, FloatArray]]:
        """What the training data show: centres (m, channel) and patches (m, channel * pixels), some at a time."""
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
                yield centres.reshape(-1, self.shape[0]), patches.reshape(len(clean) * centres.shape[1], -1)


def _log_sum(log_weights: FloatArray) -> FloatArray:
    """(batch,), log of the sum over items; -inf for none."""
    if not log_weights.shape[1]:
        return np.full(len(log_weights), -np.inf)
    largest = log_weights.max(axis=1)
    return np.asarray(largest + np.log(np.exp(log_weights - largest[:, None]).sum(axis=1)))


def _log_odds(parts: FloatArray) -> FloatArray:
    """(1, batch, channel); 0 at entries that hold no data."""
    minus, plus = np.logaddexp.reduce(parts[:, 0]), np.logaddexp.reduce(parts[:, 1])
    empty = np.isneginf(minus) & np.isneginf(plus)
    return np.where(empty, 0.0, plus - np.where(empty, 0.0, minus))[None]


def _moments(parts: FloatArray) -> FloatArray:
    """(2, batch, channel), mean and variance over all parts."""
    weights = np.exp(parts[:, 0] - logsumexp(parts[:, 0], axis=0))
    mean = (weights * parts[:, 1]).sum(axis=0)
    return np.stack([mean, (weights * (parts[:, 2] + (parts[:, 1] - mean) ** 2)).sum(axis=0)])
