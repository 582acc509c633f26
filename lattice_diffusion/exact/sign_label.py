"""The sign S of the magnetisation as a label of Ising spins: its exact law given any noisy region.

A transfer matrix goes over the sites one by one and counts the spins that are up, so that

    P(S = +-1, x_R) ~ sum over s with sum_i s_i > 0 or < 0 of exp(beta sum_<ij> s_i s_j + sum_{i in R} h_i s_i)

comes out for both signs at once. The number of sites is odd, so that S is never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import mixtures
from ..lattice import Tripartition
from .noisy_samples import NoisySamples
from .spins import spin_weights

BATCH_STATES = 1 << 24  # numbers held at a time
TERMS = ("cmi", "cmi_given_label", "b", "ab", "bc", "abc", "lost")


@dataclass(frozen=True)
class LabelTerms:
    """Samples of informations about a label and a site A, (n, tripartition) each, whose means are in nats.

    Attributes:
        cmi: I(A;C|B); cmi_given_label: I(A;C|B,S); b, ab, bc, abc: I(S;B), I(S;AB), I(S;BC), I(S;ABC).
        lost: I_0(S;AB) - I_t(S;B), clean and noisy data of the same samples.
    """

    cmi: NDArray[np.float64]
    cmi_given_label: NDArray[np.float64]
    b: NDArray[np.float64]
    ab: NDArray[np.float64]
    bc: NDArray[np.float64]
    abc: NDArray[np.float64]
    lost: NDArray[np.float64]


def sign_log_weights(beta: float, h: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log weights (n, 2) of S = -1 and +1 under the fields h (n, L, W), which may be +-inf.

    Likelihoods count as in `spin_weights`, the larger one of a site as 1, and so do those of pairs.

    Cost per sample of order L W 2^min(L, W) N/2. Raises ValueError where the number of sites N is even.
    """
    if h[0].size % 2 == 0:
        raise InputError(f"the sign of the magnetisation needs an odd number of spins, got {h.shape[1]}x{h.shape[2]}")
    if h.shape[2] > h.shape[1]:
        h = np.swapaxes(h, 1, 2)
    n, n_rows, width = h.shape
    batch = max(1, BATCH_STATES // ((1 << width) * (n_rows * width + 1)))
    return np.concatenate([_log_weights(beta, spin_weights(h[i : i + batch])) for i in range(0, n, batch)])


def _log_weights(beta: float, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """weights: likelihoods (n, L, W, 2). State: (n, spins of the columns, count of spins up)."""
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
    counts = state.sum(axis=1)[:, : n_rows * width + 1]
    half = (n_rows * width + 1) // 2
    with np.errstate(divide="ignore"):
        return np.log(np.stack([counts[:, :half].sum(axis=1), counts[:, half:].sum(axis=1)], axis=1)) + log_scale


def label_terms(beta: float, noisy: NoisySamples, parts: Sequence[Tripartition]) -> LabelTerms:
    """Informations about S and about one spin A on the same noisy samples, for tripartitions with one A.

    Conditional mutual informations are averaged in their Rao-Blackwell form, as divergences of exact posteriors.
    """
    A = parts[0].A
    if A.sum() != 1 or any((part.A != A).any() for part in parts):
        raise InputError(f"A must be one spin, the same for all, got {A.sum()} spins")
    channel, t, rng = noisy.channel, noisy.t, noisy.rng
    law = channel.output_law(t)
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
        found["lost"].append(_known(_label_law(beta, np.where(part.AB, clean, 0.0))) - found["b"][-1])
    return LabelTerms(**{name: np.stack(columns, axis=1) for name, columns in found.items()})


def _divergence_given_label(
    label: NDArray, q: NDArray, p: NDArray, law: NDArray, rng: np.random.Generator
) -> NDArray[np.float64]:
    """sum_S P(S) KL(q(x_A|S) || p(x_A|S)), P(S) from `label`; all (n, 2, 2)."""
    given = np.stack([_divergence(q[:, s], p[:, s], law, rng) for s in (0, 1)], axis=1)
    return np.asarray((label.sum(axis=2) * given).sum(axis=1))


def _joint(beta: float, h: NDArray[np.float64], A: NDArray[np.bool_]) -> NDArray[np.float64]:
    """P(S, s_A | x) with A itself unseen, (n, 2, 2), both in the order -1, +1."""
    clamped = [sign_log_weights(beta, np.where(A, spin, h)) for spin in (-np.inf, np.inf)]
    logs = np.stack(clamped, axis=2)
    joint = np.exp(logs - logs.max(axis=(1, 2), keepdims=True))
    return np.asarray(joint / joint.sum(axis=(1, 2), keepdims=True))


def _divergence(q: NDArray, p: NDArray, law: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    out = np.empty(len(q))
    mixtures.block_divergence(_normalised(q), _normalised(p), law, rng, out)
    return out


def _normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Laws (n, 2); where a label is impossible nothing depends on the law given it, and it is uniform."""
    total = weights.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(np.where(total > 0, weights, 0.5) / np.where(total > 0, total, 1.0))


def _label_law(beta: float, h: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(S | x), (n, 2)."""
    logs = sign_log_weights(beta, h)
    return _normalised(np.exp(logs - logs.max(axis=1, keepdims=True)))


def _known(law: NDArray[np.float64]) -> NDArray[np.float64]:
    """log 2 - H(S), for laws (n, 2)."""
    return np.asarray(np.log(2.0) + (law * np.log(np.maximum(law, 1e-300))).sum(axis=1))
