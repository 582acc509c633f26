"""The divergence that every sampled answer rests on: non-negative, and right to 13 digits however small."""

import mpmath
import numpy as np
import pytest

from lattice_diffusion.channels import BitFlip, Erasure, Gaussian
from lattice_diffusion.kernels.mixtures import block_divergence, relative_entropy_term


@pytest.mark.parametrize("u", [-1.0, -0.999, -0.3, -0.02, -0.0199, -1e-9, 0.0, 1e-12, 0.0199, 0.0201, 0.7, 30.0])
def test_relative_entropy_term(u):
    with mpmath.workdps(60):
        x = mpmath.mpf(u)
        truth = 1 if u == -1 else (1 + x) * mpmath.log1p(x) - x
    assert relative_entropy_term(u) == pytest.approx(float(truth), rel=2e-13)
    assert relative_entropy_term(u) >= 0


@pytest.mark.parametrize("channel", [BitFlip(), Erasure(), Gaussian()], ids=repr)
@pytest.mark.parametrize("shift", [0.3, 1e-3, 1e-9])
@pytest.mark.parametrize("rare", [0.4, 1e-7])
def test_divergence_in_high_precision(channel, shift, rare):
    law, out = channel.output_law(0.35)[:, ::-1].copy(), np.empty(1)
    p_plus, q_plus = rare, rare * (1 + shift)
    with mpmath.workdps(60):
        total = mpmath.mpf(0)
        for minus, plus in law:
            p = mpmath.mpf(p_plus) * plus + (1 - mpmath.mpf(p_plus)) * minus
            q = mpmath.mpf(q_plus) * plus + (1 - mpmath.mpf(q_plus)) * minus
            total += q * mpmath.log(q / p) if q > 0 else 0
    # the laws come normalised to rounding, which is what limits a divergence of 1e-25
    laws = (np.array([[1 - plus, plus]]) for plus in (q_plus, p_plus))
    block_divergence(*laws, law, np.random.default_rng(0), out)
    assert out[0] == pytest.approx(float(total), rel=1e-6)


def test_block_divergence_is_the_divergence_of_the_joint_observation():
    """Two spins seen through bit flips: the chain rule over sites, averaged, against the sum over four outcomes."""
    rng, law = np.random.default_rng(41), BitFlip().output_law(0.5)
    q, p = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4))
    seen_q, seen_p = np.kron(law, law) @ q, np.kron(law, law) @ p
    truth = float(seen_q @ np.log(seen_q / seen_p))
    out = np.empty(200_000)
    block_divergence(np.tile(q, (len(out), 1)), np.tile(p, (len(out), 1)), law, rng, out)
    assert out.min() >= 0
    assert abs(out.mean() - truth) < 5 * out.std() / np.sqrt(len(out))
