"""The random hierarchy model, solved by belief propagation on its tree, and recursions of belief from level to level.

Two predictions of where noise hides the root, from how well a parent is known given its children. Let p_j be the belief
in the right symbol of child j, x = prod_j p_j that in the right tuple. The v^s - 1 other tuples share 1 - x, m v - 1 of
them are rules, a fraction f = (m v - 1)/(v^s - 1), and m - 1 of these are of the right parent. Averaging numerator and
denominator over the rules,

    p_parent = g(x) = [x + c (1 - x)] / [x + f (1 - x)],    c = (m - 1)/(v^s - 1).

    mean_belief_transition  all p_j alike, p -> F(p) = g(p^s) (Sclocchi, Favero and Wyart 2402.16991): the belief of
        leaves is put on the *clean* symbol, 1 - t + t/v at every leaf (their epsilon process). No noisy data have such
        posteriors: a leaf is seen right or wrong, and g is concave, so that F overestimates what survives.
    density_transition      the law of p instead of its mean: leaves as the channel leaves them, p_j independent. Under
        erasure p is 1 with probability 1 - t, else 1/v; under uniform noise it is P = 1 - t + t/v with probability P,
        else t/v. That a wrong belief sits on one symbol is not followed: it gives 0.2715 under erasure and 0.1621
        under uniform noise (v = 32, m = 8), where following all v beliefs, fresh rules at every node, gives 0.158(1).

A language has rules of its own, and so a threshold of its own: of 100 drawn, under uniform noise, 0.157(1) on average
with a scatter of 0.014. The entropy of the root averaged over rules crosses there, at 0.156(1), and gets no steeper.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import entr

from ..channels import TokenNoise, for_tokens
from ..errors import check_memory
from ..estimate import Curve, Estimate
from ..kernels import hierarchy as kernel
from ..lattice import FloatArray, Rng
from .tokens import TokenSolver, token_type

BATCH_BYTES = 1 << 27
N_BINS = 400  # of the law of a belief
MOST_LEVELS = 400


class HierarchySolver(TokenSolver):
    """Upward and downward messages on the tree of `rules` (depth, v, m, s), of order v m s^2 per node and sample."""

    def __init__(self, rules: NDArray[np.integer]) -> None:
        self.rules = np.ascontiguousarray(rules, dtype=np.int64)
        self.depth, q, _, self.branching = self.rules.shape
        super().__init__(q)
        self.shape = (self.branching**self.depth,)
        check_memory("depth", 40.0 * q * self.shape[0], "take a shallower tree")
        self.batch = max(1, min(256, BATCH_BYTES // (8 * q * self.shape[0])))

    def log_evidence(self, weights: FloatArray) -> FloatArray:
        out = np.empty(len(weights))
        kernel.log_evidence(self.rules, np.ascontiguousarray(weights, dtype=float), out)
        return out

    def beliefs(self, weights: FloatArray, level: int) -> FloatArray:
        """Return the laws (n, s^level, q) of the nodes of a level, 0 the root and `depth` the leaves."""
        out = np.empty((len(weights), self.branching**level, self.q))
        kernel.beliefs(self.rules, np.ascontiguousarray(weights, dtype=float), level, out)
        return out

    def probabilities(self, weights: FloatArray) -> FloatArray:
        return self.beliefs(weights, self.depth)

    def block_posterior(self, weights: FloatArray, sites: NDArray[np.int64]) -> FloatArray:
        if len(sites) != 1:
            return super().block_posterior(weights, sites)
        out = np.empty((len(weights), self.q))
        kernel.leaf_law(self.rules, np.ascontiguousarray(weights, dtype=float), int(sites[0]), out)
        return self.possible(out)

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray[np.unsignedinteger]:
        """Return perfect samples (n_samples, leaves)."""
        out = np.empty((n_samples, *self.shape), token_type(self.q))
        kernel.sample(self.rules, rng, out)
        return out

    def root_entropy(self, channel: TokenNoise, t: float, n_samples: int = 1000, rng: Rng = None) -> Estimate:
        """Return E H(root | x_t), in nats, averaged over noisy samples."""
        channel, rng = for_tokens(channel, self.q), np.random.default_rng(rng)
        found = np.empty(n_samples)
        for start in range(0, n_samples, self.batch):
            rows = slice(start, min(start + self.batch, n_samples))
            x_t = channel.corrupt(self.sample(rows.stop - start, rng), t, rng)
            law = self.beliefs(channel.likelihoods(x_t, t), 0)[:, 0]
            found[rows] = entr(law).sum(axis=1)
        return Curve.from_samples(found, "entropy of the exact law of the root")[0]


def draw_rules(depth: int, branching: int, vocabulary: int, synonyms: int, rng: Rng = None) -> NDArray[np.int64]:
    """Return rules (depth, vocabulary, synonyms, branching), the tuples of a level drawn without repetition."""
    rng, out = np.random.default_rng(rng), np.empty((depth, vocabulary, synonyms, branching), np.int64)
    for level in range(depth):
        codes = rng.permutation(rng.choice(vocabulary**branching, vocabulary * synonyms, replace=False))
        out[level] = np.stack(np.unravel_index(codes, (vocabulary,) * branching), -1).reshape(out[level].shape)
    return out


def parent_belief(x: FloatArray, v: int, m: int, s: int) -> FloatArray:
    """Return g(x), the belief in the right parent where that in the right tuple of children is x."""
    f, c = (m * v - 1) / (v**s - 1), (m - 1) / (v**s - 1)
    return (x + c * (1 - x)) / (x + f * (1 - x))


def mean_belief_transition(v: int, m: int, s: int) -> float | None:
    """Return t with 1 - t + t/v the unstable fixed point of F(p) = g(p^s) between 1/v and 1; None where there is none.

    For v = 32, m = 8, s = 2 it is 0.7312.
    """

    def gain(p: float) -> float:
        return float(parent_belief(np.array(p**s), v, m, s)) - p

    low, high = (1 + 1e-6) / v, 1 - 1e-6
    if gain(low) >= 0.0 or gain(high) <= 0.0:
        return None
    return (1 - float(brentq(gain, low, high, xtol=1e-14))) / (1 - 1 / v)


@lru_cache(maxsize=64)
def density_transition(kind: str, v: int, m: int, s: int) -> float | None:
    """Return the t below which the law of beliefs of infinitely deep trees tends to certainty; None where none does.

    Args:
        kind: of the noise, "erasure" or "uniform".
    """
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        t = 0.5 * (low + high)
        low, high = (t, high) if _root_known(kind, t, v, m, s) else (low, t)
    return 0.5 * (low + high) if low > 0.0 else None


def _root_known(kind: str, t: float, v: int, m: int, s: int) -> bool:
    right = 1.0 - t + t / v
    p, weight = np.array([1.0, 1.0 / v]), np.array([1.0 - t, t])
    if kind == "uniform":
        p, weight = np.array([right, t / v]), np.array([right, 1.0 - right])
    mean = float(p @ weight)
    for _ in range(MOST_LEVELS):
        x, total = p, weight
        for _ in range(s - 1):
            x, total = _binned(np.outer(x, p).ravel(), np.outer(total, weight).ravel())
        p, weight = parent_belief(x, v, m, s), total
        last, mean = mean, float(p @ weight)
        if mean > 0.95 or mean < 1.5 / v or abs(mean - last) < 1e-9:
            break
    return mean > 0.95 or (mean > last and mean > 1.5 / v)


def _binned(x: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return values and weights of at most N_BINS bins, equal in log x, of the same mean in each."""
    place = np.log(x)
    low = float(place.min())
    bins = ((place - low) * (N_BINS / (1e-12 - low))).astype(np.int64).clip(0, N_BINS - 1)
    total = np.bincount(bins, weight, N_BINS)
    mean = np.bincount(bins, weight * x, N_BINS)
    held = total > 0.0
    return mean[held] / total[held], np.asarray(total[held], float)
