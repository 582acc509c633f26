"""`benchmarks/published.py`: what is written there has its right value, and which published estimators equal ours."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lattice_diffusion import estimators as est
from lattice_diffusion.channels import Erasure

PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "published.py"


def find(name, **params):
    return est.find(f"{PUBLISHED}:{name}")(**params)


def gaussian(n, seed):
    """a = b + c + noise, so that I(A;C|B) = log(2) / 2."""
    b, c, noise = np.random.default_rng(seed).standard_normal((3, n))
    return b + c + noise, c, b


def test_nearest_neighbours_of_infomeasure_are_ours():
    a, c, b = gaussian(400, 1)
    for condition in (b, None):
        ours, theirs = est.FrenzelPompe(k=5), find("Infomeasure")
        assert theirs.fit(a, c, condition, rng=2).estimate().value == pytest.approx(
            ours.fit(a, c, condition, rng=2).estimate().value, abs=1e-9
        )


def absorbing_divergence(p, q, times, weights):
    """INFO-SEDD's integral: the rate at which the reverse processes of two absorbing ones part, over all noise times.

    With scores s(v) = p_t(v) / p_t(mask), the rate is P(masked) times that of masking times
    sum_v [s_q - s_p + s_p log(s_p / s_q)] (Lou, Meng and Ermon, arXiv:2310.16834).
    """
    total = 0.0
    for t, weight in zip(times, weights, strict=True):
        (*s_p, masked), (*s_q, _) = (Erasure(len(p)).output_law(t) @ law for law in (p, q))
        s_p, s_q = np.array(s_p) / masked, np.array(s_q) / masked
        total += weight * masked / (1 - t) * (s_q - s_p + s_p * np.log(s_p / s_q)).sum()
    return total


def test_infosedd_of_one_token_is_the_conditional_likelihood():
    """Over random laws p(a,b,c) the integral of p(a|b,c) against p(a|b) averages to I(A;C|B)."""
    joint = np.random.default_rng(3).dirichlet(np.ones(4 * 2 * 3)).reshape(4, 2, 3)  # a, b, c
    nodes, weights = np.polynomial.legendre.leggauss(6)
    times, weights = 0.5 * (nodes + 1), 0.5 * weights
    given_b = joint.sum(axis=2) / joint.sum(axis=(0, 2))
    infosedd = log_ratio = 0.0
    for b, c in np.ndindex(2, 3):
        share, p, q = joint[:, b, c].sum(), joint[:, b, c] / joint[:, b, c].sum(), given_b[:, b]
        infosedd += share * absorbing_divergence(p, q, times, weights)
        log_ratio += share * (p * np.log(p / q)).sum()
    p_ab, p_bc, p_b = joint.sum(axis=2), joint.sum(axis=0), joint.sum(axis=(0, 2))
    entropies = [-(law * np.log(law)).sum() for law in (p_ab, p_bc, p_b, joint)]
    assert infosedd == pytest.approx(log_ratio, rel=1e-12)
    assert infosedd == pytest.approx(entropies[0] + entropies[1] - entropies[2] - entropies[3], rel=1e-12)


def test_flow_of_gaussians_has_the_divergence_of_the_information():
    """a = z + noise: v(x,z,t) = z + k(t) (x - t z), k = d log sigma_t/dt, sigma_t the width of x_t given z."""
    flow = find("FMMI")
    flow.times = 256

    def velocity(scale):
        def v(x):
            a_t, z, t = x.T
            rate = (t - 2 * (1 - t)) / (t**2 + 2 * (1 - t) ** 2)
            return (z + scale * rate * (a_t - t * z))[:, None]

        return v

    z, noise = torch.from_numpy(np.random.default_rng(4).standard_normal((2, 20_000))).unsqueeze(-1)
    a = z + noise
    with torch.no_grad():
        information = flow._values(velocity(1.0), a, z).mean()
        losses = [float(flow._score(velocity(scale), a, z)) for scale in (0.9, 1.0, 1.1)]
    assert float(information) == pytest.approx(0.5 * math.log(2), abs=1e-4)
    assert losses[1] == min(losses)


def test_dine_finds_the_information_of_gaussians():
    a, c, b = gaussian(1500, 5)
    for seen, condition, truth in ((c, b, 0.5 * math.log(2)), (b, None, 0.5 * math.log(1.5))):
        answer = find("DINE", width=16, steps=300, learning_rate=1e-2).fit(a, seen, condition, rng=6).estimate()
        assert answer.stderr < 0.07
        assert abs(answer.z_score(truth)) < 5
