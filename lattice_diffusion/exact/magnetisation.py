"""The magnetisation of Ising spins: its law, that of small patches, and its sign as a label that noise hides.

A transfer matrix goes over the sites one by one, along the longer side of the open lattice, and counts the spins that
are up, which gives the law of the magnetisation, and with its sign S as a label

    P(S = +-1, x_R) ~ sum over s with sum_i s_i > 0 or < 0 of exp(beta sum_<ij> s_i s_j + sum_{i in R} h_i s_i)

for both signs at once. The number of sites is odd, so that S is never 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import mixtures
from ..lattice import BoolArray, FloatArray, Tripartition
from .ising import MAX_WIDTH, TransferMatrix
from .spins import NoisySamples, spin_weights


def magnetisation_law(shape: tuple[int, int], beta: float) -> tuple[FloatArray, FloatArray]:
    """Return the values m = -1, .., 1 of the mean spin, (N+1,), and their probabilities.

    The law is exp(beta sum s s') with open edges. Raises InputError where the shorter side is longer than 14.
    """
    _check_shape(shape)
    counts = _counts(float(beta), np.ones((1, max(shape), min(shape), 2)))[0][0]
    return np.linspace(-1.0, 1.0, len(counts)), counts / counts.sum()


def patch_law(shape: tuple[int, int], beta: float, side: int) -> FloatArray:
    """Return (2^(side^2),), probabilities of the patterns of a square patch, the mean over all its places.

    Patterns are numbered by their spins in C order, the first one the highest bit, up 1.
    """
    _check_shape(shape)
    n_rows, width, beta, side = int(shape[0]), int(shape[1]), float(beta), int(side)
    if not 1 <= side <= min(shape) or side > 3:
        raise InputError(f"side must be 1 to 3 and fit the lattice {n_rows}x{width}, got {side}")
    solver = TransferMatrix(np.full((n_rows, width - 1), beta), np.full((n_rows - 1, width), beta))
    sites, nothing = np.arange(n_rows * width).reshape(n_rows, width), np.zeros((1, n_rows, width))
    patches = sliding_window_view(sites, (side, side)).reshape(-1, side**2)
    return np.mean([solver.block_posterior(nothing, patch)[0] for patch in patches], axis=0)


def patch_counts(up: BoolArray, side: int) -> NDArray[np.int64]:
    """Return how often every pattern of a patch occurs in every sample, (n, patterns), numbered as in `patch_law`.

    Args:
        up: (n, *lattice) of any dimension; side: of a patch.
    """
    axes = tuple(range(1, up.ndim))
    windows = sliding_window_view(up, (side,) * len(axes), axes).reshape(len(up), -1, side ** len(axes))
    n_patterns = 1 << windows.shape[2]
    codes = windows @ (1 << np.arange(windows.shape[2])[::-1]) + n_patterns * np.arange(len(up))[:, None]
    return np.bincount(codes.ravel(), minlength=len(up) * n_patterns).reshape(len(up), n_patterns)


def _check_shape(shape: tuple[int, int]) -> None:
    if len(shape) != 2 or min(shape) > MAX_WIDTH:
        raise InputError(f"shape must have two sides, the shorter one <= {MAX_WIDTH}, got {tuple(shape)}")


BATCH_STATES = 1 << 24  # numbers held at a time


class LabelTerms(NamedTuple):
    """Samples of informations about a label and a site A, (n, tripartition) each, whose means are in nats.

    Attributes:
        cmi: I(A;C|B); cmi_given_label: I(A;C|B,S); b, ab, bc, abc: I(S;B), I(S;AB), I(S;BC), I(S;ABC).
        lost: I_0(S;AB) - I_t(S;B), clean and noisy data of the same samples.
    """

    cmi: FloatArray
    cmi_given_label: FloatArray
    b: FloatArray
    ab: FloatArray
    bc: FloatArray
    abc: FloatArray
    lost: FloatArray


TERMS = LabelTerms._fields


def sign_log_weights(beta: float, h: FloatArray) -> FloatArray:
    """Return log weights (n, 2) of S = -1 and +1 under the fields h (n, L, W), which may be +-inf.

    Likelihoods count as in `spin_weights`, the larger one of a site as 1, and so do those of pairs.

    Cost per sample of order L W 2^min(L, W) N/2. Raises InputError where the number of sites N is even.
    """
    if h[0].size % 2 == 0:
        raise InputError(f"the sign of the magnetisation needs an odd number of spins, got {h.shape[1]}x{h.shape[2]}")
    if h.shape[2] > h.shape[1]:
        h = np.swapaxes(h, 1, 2)
    (n, n_rows, width), beta = h.shape, float(beta)
    batch = max(1, BATCH_STATES // ((1 << width) * (n_rows * width + 1)))
    found = [_counts(beta, spin_weights(h[i : i + batch])) for i in range(0, n, batch)]
    counts, log_scale = (np.concatenate(parts) for parts in zip(*found, strict=True))
    with np.errstate(divide="ignore"):
        return np.log(np.stack([half.sum(axis=1) for half in np.split(counts, 2, axis=1)], axis=1)) + log_scale


def _counts(beta: float, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the weights of every number of up spins (n, N+1), for likelihoods (n, L, W, 2), and log scales (n, 1).

    state: (n, spins of the columns, count of spins up).
    """
    n, n_rows, width, _ = weights.shape
    link = np.exp([[0.0, -2 * beta], [-2 * beta, 0.0]])
    state = np.zeros((n, 1 << width, 2))
    state[:, 0, 0] = 1.0  # above the first row there is nothing; only one configuration counts
    log_scale = np.zeros((n, 1))
    for i, j in np.ndindex(n_rows, width):
        old = state.reshape(n, 1 << j, 2, 1 << (width - 1 - j), -1)
        above = np.ones((2, 2)) if i == 0 else link
        mixed = np.einsum("st,nathc->nashc", above, old)
        if j > 0:
            mixed = mixed.reshape(n, 1 << (j - 1), 2, 2, *mixed.shape[3:]) * link[:, :, None, None]
            mixed = mixed.reshape(n, 1 << j, 2, *mixed.shape[4:])
        mixed *= weights[:, i, j, None, :, None, None]
        state = np.zeros((*mixed.shape[:4], mixed.shape[4] + 1))
        state[:, :, 0, :, :-1] = mixed[:, :, 0]
        state[:, :, 1, :, 1:] = mixed[:, :, 1]
        state = state.reshape(n, 1 << width, -1)
        largest = state.max(axis=(1, 2), keepdims=True)
        state /= largest
        log_scale += np.log(largest[:, :, 0])
    return state.sum(axis=1)[:, : n_rows * width + 1], log_scale


def label_terms(beta: float, noisy: NoisySamples, parts: Sequence[Tripartition]) -> LabelTerms:
    """Return informations about S and about one spin A on the same noisy samples, for tripartitions with one A.

    Conditional mutual informations are averaged in their Rao-Blackwell form, as divergences of exact posteriors.
    """
    A = parts[0].A
    if A.sum() != 1 or any((part.A != A).any() for part in parts):
        raise InputError(f"A must be one spin, the same for all, got {A.sum()} spins")
    channel, t, rng = noisy.channel, noisy.t, noisy.rng
    law = channel.output_law(t)[:, ::-1].copy()  # of -1, +1
    x_0 = noisy.sample(noisy.n, rng)
    h = channel.likelihood_field(channel.corrupt(x_0, t, rng), t)
    clean = np.where(x_0 > 0, np.inf, -np.inf)
    whole = _joint(beta, np.where(parts[0].ABC & ~A, h, 0.0), A)
    found: dict[str, list[NDArray]] = {name: [] for name in TERMS}
    for part in parts:
        box = _joint(beta, np.where(part.B, h, 0.0), A)
        found["cmi"].append(_divergence(whole.sum(axis=1), box.sum(axis=1), law, rng))
        found["cmi_given_label"].append(_divergence_given_label(whole, whole, box, law, rng))
        for joint, without, with_a in ((box, "b", "ab"), (whole, "bc", "abc")):
            known = _known(joint.sum(axis=2))
            found[without].append(known)
            alone = np.broadcast_to(joint.sum(axis=1, keepdims=True), joint.shape)
            found[with_a].append(known + _divergence_given_label(joint, joint, alone, law, rng))  # + I(S;A|rest)
        logs = sign_log_weights(beta, np.where(part.AB, clean, 0.0))
        law_clean = _normalised(np.exp(logs - logs.max(axis=1, keepdims=True)))
        found["lost"].append(_known(law_clean) - found["b"][-1])
    return LabelTerms(**{name: np.stack(columns, axis=1) for name, columns in found.items()})


def _divergence_given_label(
    label: NDArray, q: NDArray, p: NDArray, law: NDArray, rng: np.random.Generator
) -> FloatArray:
    """Return sum_S P(S) KL(q(x_A|S) || p(x_A|S)), P(S) from `label`; all (n, 2, 2)."""
    given = np.stack([_divergence(q[:, s], p[:, s], law, rng) for s in (0, 1)], axis=1)
    return np.asarray((label.sum(axis=2) * given).sum(axis=1))


def _joint(beta: float, h: FloatArray, A: BoolArray) -> FloatArray:
    """Return P(S, s_A | x) with A itself unseen, (n, 2, 2), both in the order -1, +1."""
    clamped = [sign_log_weights(beta, np.where(A, spin, h)) for spin in (-np.inf, np.inf)]
    logs = np.stack(clamped, axis=2)
    joint = np.exp(logs - logs.max(axis=(1, 2), keepdims=True))
    return np.asarray(joint / joint.sum(axis=(1, 2), keepdims=True))


def _divergence(q: NDArray, p: NDArray, law: NDArray, rng: np.random.Generator) -> FloatArray:
    out = np.empty(len(q))
    mixtures.block_divergence(_normalised(q), _normalised(p), law, rng, out)
    return out


def _normalised(weights: FloatArray) -> FloatArray:
    """Return laws (n, 2); where a label is impossible nothing depends on the law given it, and it is uniform."""
    total = weights.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(np.where(total > 0, weights, 0.5) / np.where(total > 0, total, 1.0))


def _known(law: FloatArray) -> FloatArray:
    """Return log 2 - H(S) of laws (n, 2)."""
    return np.asarray(np.log(2.0) + (law * np.log(np.maximum(law, 1e-300))).sum(axis=1))
