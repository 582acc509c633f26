"""Masked generation with learned local denoisers: KL per bond from T_f, one network per radius for all T_f.

Whatever law unmasks, a bond is revealed at the rate 1/t while it is masked, which it is with probability t, so that

    KL(p_0 || p_net) / N = int_0^T_f dt mean_i E KL( p(x_0,i | x_t without i) || p_net(x_0,i | box r without i) ),

on average over orders. The laws are blind ones, at times spread evenly up to T_f. With exact local laws it is the KL of
`unmasking`; as networks see no more than the box, they lie above it by `excess`, the same integral of the KL of exact
local law and network.
"""

import numpy as np
from numpy.typing import NDArray

from ...denoisers import ExactDenoiser
from ..build import build_channel, build_model
from .base import Parameters, Quantity, with_errors
from .denoising import divergence
from .local_training import trained
from .locality_gap import averages
from .recovery import exact_denoiser
from .recovery_learned import StartSettings, coordinates
from .unmasking import check_loops


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    settings, radii, n_samples = parameters["settings"], parameters["radii"], parameters["n_samples"]
    nets = [trained(model, channel, radius, settings, rng) for radius in radii]
    whole, exact = ExactDenoiser(model, channel), [exact_denoiser(model, channel, radius) for radius in radii]
    rows = []
    for start in settings["starts"]:
        t = start * (np.arange(n_samples) + rng.random(n_samples)) / n_samples
        x_0 = model.sample(n_samples, rng)
        x_t = np.concatenate([channel.corrupt(x_0[i : i + 1], t[i], rng) for i in range(n_samples)])
        p, *p_local = [law.blind(x_t, t).log_odds for law in (whole, *exact)]  # type: ignore[attr-defined]
        p_net = [net.blind(x_t, t).log_odds for net in nets]  # type: ignore[attr-defined]
        gaps = {
            "divergence": np.stack([divergence(p, q) for q in p_net], axis=1),
            "excess": np.stack([divergence(*pair) for pair in zip(p_local, p_net, strict=True)], axis=1),
        }
        rows.append(averages({name: start * gap[..., model.bonds].mean(axis=-1) for name, gap in gaps.items()}))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


START_RADIUS = ("start", "radius")
LEARNED_UNMASKING = Quantity(
    "learned_unmasking",
    "learned masked generation",
    {
        **with_errors("divergence", START_RADIUS, "nat", "KL(p_0 || p_net) per bond, mean over orders of unmasking"),
        **with_errors("excess", START_RADIUS, "nat", "how much of it is learning: KL(p_local || p_net) per bond"),
    },
    evaluate,
    coordinates,
    settings=StartSettings,
    reads=("radii",),
    models=("domain-walls",),
    check=check_loops,
)
