"""What exact denoisers of radius r lose against the global one, averaged over all sites.

    excess(r)            mean_i E (E[x_0,i|box r] - E[x_0,i|x_t])^2 = MMSE_local - MMSE_global, orthogonal form
    blind_divergence(r)  mean_i E KL( p(x_0,i | x_t without i) || p(x_0,i | box r without i) ), two-valued data

snr' times half the first is the rate of the Girsanov bound under Gaussian noise; the second is I_t(A;C|B)/(1-t) of
erasure, the integrand of the masked area law (A = site i, itself erased with probability t).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ...denoisers import Bernoulli, ExactDenoiser
from ..build import build_channel, build_model
from .base import Parameters, Quantity, radius_coordinate, with_errors

BATCH_SITES = 1 << 18


def evaluate(parameters: Parameters, rng: np.random.Generator) -> dict[str, NDArray]:
    model, channel = build_model(parameters["model"]), build_channel(parameters["channel"])
    t, radii, n_samples = parameters["t"], parameters["radii"], parameters["n_samples"]
    everything = ExactDenoiser(model, channel)
    locals_ = [ExactDenoiser(model, channel, radius) for radius in radii]
    sites = getattr(model, "bonds", np.ones(model.lattice.shape, bool)).reshape(everything.shape)
    rows: dict[str, list[NDArray]] = {"mmse_global": [], "mmse_local": [], "excess": [], "blind_divergence": []}
    batch = max(1, BATCH_SITES // sites.size)
    for start in range(0, n_samples, batch):
        n = min(batch, n_samples - start)
        x_t = channel.corrupt(model.sample(n, rng), t, rng).reshape(n, *everything.shape)

        def over_sites(values: NDArray) -> NDArray:
            return np.asarray(values[:, sites].mean(axis=1))

        whole, blind = everything(x_t, t), everything.blind(x_t, t)
        laws = [(denoiser(x_t, t), denoiser.blind(x_t, t)) for denoiser in locals_]
        rows["mmse_global"].append(over_sites(whole.variance))
        rows["mmse_local"].append(np.stack([over_sites(law.variance) for law, _ in laws], axis=1))
        rows["excess"].append(np.stack([over_sites((law.mean - whole.mean) ** 2) for law, _ in laws], axis=1))
        if isinstance(blind, Bernoulli):
            hidden = [local.log_odds for _, local in laws if isinstance(local, Bernoulli)]
            gaps = [over_sites(divergence(blind.log_odds, log_odds)) for log_odds in hidden]
            rows["blind_divergence"].append(np.stack(gaps, axis=1))
    answer = {}
    for name, parts in rows.items():
        values = np.concatenate(parts) if parts else np.full((2, len(radii)), np.nan)
        answer[name] = values.mean(axis=0)
        answer[f"{name}_stderr"] = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return answer


def divergence(log_odds: NDArray, other: NDArray) -> NDArray[np.float64]:
    """KL of two laws of a sign, elementwise, in nats; inf where the other excludes what the first allows."""
    p = expit(log_odds)
    with np.errstate(invalid="ignore"):
        up = np.where(p > 0, p * (log_plus(log_odds) - log_plus(other)), 0.0)
        down = np.where(p < 1, expit(-log_odds) * (log_plus(-log_odds) - log_plus(-other)), 0.0)
    return np.maximum(up + down, 0.0)


def log_plus(log_odds: NDArray) -> NDArray[np.float64]:
    """log P(+1)."""
    return -np.logaddexp(0.0, -np.asarray(log_odds, float))


SITE_RADIUS = ("radius",)
DENOISING = Quantity(
    "denoising",
    "the loss of local denoisers",
    {
        **with_errors("mmse_global", (), "1", "mean squared error of the exact global denoiser, per site"),
        **with_errors("mmse_local", SITE_RADIUS, "1", "mean squared error of the exact local denoiser, per site"),
        **with_errors("excess", SITE_RADIUS, "1", "mean squared difference of local and global denoiser, per site"),
        **with_errors("blind_divergence", SITE_RADIUS, "nat", "KL of a site's law given all others to given its box"),
    },
    evaluate,
    radius_coordinate,
    reads=("radii",),
)
