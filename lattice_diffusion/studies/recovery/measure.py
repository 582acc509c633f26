"""Noise to T_f = t and back with denoisers of one radius: how far the recovered law lies from the data's.

The return starts from true noisy data and takes `n_steps` reverse steps, so that only the radius (and the steps) err.
`error` is zero for perfect recovery, whatever is recovered:

    fields         KL(p_0 || recovered law) per site, in closed form
    spins          1/2 sum_k (P_k - Q_k)^2 / Q_k over the 16 patterns of a 2x2 patch (or 2 sites of a chain), clean law
                   Q: their KL to leading order. From the pairs of clean and recovered samples without bias, so
                   that perfect recovery gives zero within its error, of either sign
    domain walls   fraction of vertices around which the loops are broken

`energy_change` and `order_change` are <e> and <m^2> of the recovered less the clean data, e the energy per site (per
bond for walls, per mode for fields), m the mean of all values.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import digamma

from ...channels import Channel, Gaussian, is_gaussian
from ...denoisers import (
    Denoiser,
    ExactDenoiser,
    always,
    gaussian_divergence,
    generated_covariance,
    reverse,
    violated_vertices,
)
from ...errors import InputError
from ...exact.magnetisation import patch_counts
from ...lattice import FloatArray
from ...models import DomainWalls, GaussianField
from ...runs.points import Point
from ...runs.quantities import (
    Column,
    Settings,
    Values,
    averages,
    check_solvable,
    quantity,
    settings_axis,
    site_divergences,
    stacked,
    with_errors,
)
from ..base import Times, TrainingSettings, check_loops, trained

CERTAIN_SNR = 50.0  # of spins: the last step goes from here to t = 0 at once, and errs by exp(-25) a site


# -- exact denoisers ---------------------------------------------------------------------------------------------------


class RecoverySettings(Settings):
    """n_steps: reverse steps, even in t."""

    n_steps: Annotated[int, Field(ge=1)] = 40


def return_times(model: Any, channel: Channel, start: float, n_steps: int) -> list[float]:
    """Return times from start to 0, for two-valued data under Gaussian noise straight from where they are certain."""
    last = channel.time(CERTAIN_SNR) if is_gaussian(channel) and not isinstance(model, GaussianField) else 0.0
    if last == 0.0 or start <= last or n_steps == 1:
        return [float(t) for t in np.linspace(start, 0.0, n_steps + 1)]
    return [*(float(t) for t in np.linspace(start, last, n_steps)), 0.0]


def exact_denoiser(model: Any, channel: Channel, radius: int) -> ExactDenoiser:
    """Return the denoiser of this radius; the global one where its boxes cover the lattice."""
    return ExactDenoiser(model, channel, None if radius >= max(model.lattice.shape[-2:]) - 1 else radius)


def field_errors(
    model: GaussianField, channel: Gaussian, times: Sequence[float], denoisers: Sequence[Denoiser]
) -> dict[str, FloatArray]:
    """Return the errors of fields, exact, without samples."""
    n, K = model.lattice.n_sites, model.solver.precision.toarray()
    clean, start = (model.solver.covariance(channel, t, model.sites) for t in (0.0, times[0]))
    rows = []
    for denoiser in denoisers:
        law = generated_covariance(model, channel, times, always(denoiser), start)
        rows.append((gaussian_divergence(model, law) / n, np.trace(K @ law) / n - 1.0, (law - clean).mean()))
    names, nothing = ("error", "energy_change", "order_change"), np.zeros(len(rows))
    values = dict(zip(names, np.array(rows).T, strict=True))
    return {**values, **{f"{name}_stderr": nothing for name in names}}


def sampled_errors(model: Any, x_0: NDArray, returned: list[NDArray]) -> dict[str, FloatArray]:
    """Return the errors of two-valued data."""
    found = averages(_changes(model, x_0, returned, {"energy_change": energies, "order_change": orders}))
    if isinstance(model, DomainWalls):
        broken = [violated_vertices(np.where(model.sites, x, 0.0)) for x in returned]
        return averages({"error": np.stack(broken, axis=1)}, unit=1 / model.sites.sum()) | found
    clean = patch_frequencies(model, x_0)
    pairs = [half_chi_square(patch_frequencies(model, x) - clean, clean.mean(axis=0)) for x in returned]
    error, stderr = np.array(pairs).T
    return {"error": error, "error_stderr": stderr, **found}


def recovered(
    model: Any,
    channel: Channel,
    x_0: NDArray,
    times: Sequence[float],
    denoisers: Sequence[Denoiser],
    rng: np.random.Generator,
) -> list[NDArray]:
    """Return what every denoiser makes of the same noisy samples."""
    x_t = channel.corrupt(x_0.reshape(len(x_0), *model.image_shape), times[0], rng)
    return [reverse(x_t, times, always(denoiser), channel, rng).reshape(x_0.shape) for denoiser in denoisers]


def _changes(
    model: Any, x_0: NDArray, returned: list[NDArray], measures: dict[str, Callable[[Any, NDArray], FloatArray]]
) -> dict[str, FloatArray]:
    return {name: np.stack([of(model, x) - of(model, x_0) for x in returned], axis=1) for name, of in measures.items()}


def energies(model: Any, x: NDArray) -> FloatArray:
    """Return -sum s_i s_j per site (n,), or -sum x_e per bond of domain walls."""
    if isinstance(model, DomainWalls):
        return -x[:, model.sites].mean(axis=1)
    flat, (i, j) = x.reshape(len(x), -1), model.lattice.bonds.T
    return np.asarray(-(flat[:, i] * flat[:, j]).sum(axis=1) / model.lattice.n_sites)


def orders(model: Any, x: NDArray) -> FloatArray:
    """Return m^2 (n,)."""
    return np.asarray(x[:, model.sites].mean(axis=1) ** 2)


def patch_frequencies(model: Any, x: NDArray, side: int = 2) -> FloatArray:
    """Return how often each pattern of a patch of this side occurs in a sample (n, patterns)."""
    counts = patch_counts(x > 0, side)
    return np.asarray(counts / counts[:1].sum())


def half_chi_square(differences: FloatArray, clean: FloatArray) -> tuple[float, float]:
    """Return 1/2 sum_k E[d_k]^2 / Q_k without bias, and its error, on the safe side where the value is near zero.

    Args:
        differences: d, (n, patterns), recovered less clean frequencies of each sample.
        clean: Q, (patterns,). Patterns that no sample shows are left out.
    """
    n, seen = len(differences), (clean > 0) | (differences != 0).any(axis=0)
    d = differences[:, seen] / np.sqrt(np.maximum(clean[seen], 1.0 / n))
    mean, covariance = d.mean(axis=0), np.cov(d, rowvar=False)
    value = 0.5 * (mean @ mean - np.trace(covariance) / n)
    noise = float((covariance**2).sum()) / n**2  # of the two terms of the variance of a U statistic, at E d = 0
    variance = max(float(mean @ covariance @ mean) / n - 0.5 * noise, 0.5 * noise)
    return float(value), float(np.sqrt(variance))


def _check_model(point: Point) -> None:
    check_solvable(point)
    if isinstance(point.model, DomainWalls) and point.channel.name == "erasure":
        raise InputError("erased loops are recovered bond by bond; use quantity = 'unmasking'")


def check(point: Point) -> None:
    _check_model(point)
    if point.t == 0.0:
        raise InputError("recovery starts at t > 0, noisy data, got t = 0")


def _columns(dims: tuple[str, ...]) -> dict[str, Column]:
    return {
        **with_errors("error", dims, "1", "recovery error: KL per site, half chi^2 of patches, or broken vertices"),
        **with_errors("energy_change", dims, "1", "energy per site (bond, mode) of recovered less clean data"),
        **with_errors("order_change", dims, "1", "squared mean value of recovered less clean data"),
    }


@quantity(
    "the recovery error",
    _columns(("radius",)),
    settings=RecoverySettings,
    models=("gaussian-field", "ising", "ising-chain", "domain-walls"),
    check=check,
)
def recovery(point: Point, rng: np.random.Generator) -> Values:
    model, channel = point.model, point.channel
    times = return_times(model, channel, point.t, point.settings.n_steps)
    denoisers = [exact_denoiser(model, channel, radius) for radius in point.radii]
    if isinstance(model, GaussianField):
        return field_errors(model, channel, times, denoisers)
    x_0 = model.sample(point.n_samples, rng)
    return sampled_errors(model, x_0, recovered(model, channel, x_0, times, denoisers, rng))


# -- learned denoisers, one network per radius for all T_f ------------------------------------------------------------
#
# What networks make of a field has no closed form, but on a torus it is as translation invariant as they are, so that
# its KL per site is a mean over modes of their power rho, in units of the clean one,
#
#     KL / N = mean_k 1/2 (1/rho_k - 1 + log rho_k),
#
# of the Gaussian law with this spectrum. The powers are measured; n samples of a complex mode have 2n degrees of
# freedom, whose known E 1/rho and E log rho leave no bias: perfect recovery gives zero within its error.


class StartSettings(TrainingSettings):
    """starts: the times T_f."""

    starts: Times = (0.3, 0.5, 0.7, 0.85)


class LearnedRecoverySettings(StartSettings):
    """n_steps: reverse steps from each start."""

    n_steps: Annotated[int, Field(ge=1)] = 40


def field_sample_errors(model: GaussianField, x_0: NDArray, returned: list[NDArray]) -> dict[str, FloatArray]:
    """Return the errors of fields from samples."""
    stiffness = np.fft.fftn(model.solver.precision.toarray()[0].reshape(x_0.shape[1:])).real

    def powers(x: NDArray) -> FloatArray:
        modes = np.fft.fftn(x, axes=range(1, x.ndim), norm="ortho")
        return np.asarray(stiffness * np.abs(modes) ** 2)

    def mode_energies(model: GaussianField, x: NDArray) -> FloatArray:
        return np.asarray(powers(x).reshape(len(x), -1).mean(axis=1))

    error, stderr = np.array([spectrum_error(powers(x)) for x in returned]).T
    changes = _changes(model, x_0, returned, {"energy_change": mode_energies, "order_change": orders})
    return {"error": error, "error_stderr": stderr, **averages(changes)}


def spectrum_error(powers: FloatArray) -> tuple[float, float]:
    """Return KL per site and its error from the powers (n, *lattice) of modes in units of the clean ones."""
    n, lattice = len(powers), powers.shape[1:]
    partner = np.ix_(*(-np.arange(side) % side for side in lattice))
    site = np.arange(np.prod(lattice)).reshape(lattice)
    real = site == site[partner]
    freedom = np.where(real, n, 2 * n)
    rho = powers.mean(axis=0)
    value = 0.5 * ((1 - 2 / freedom) / rho - 1 + np.log(rho) - digamma(freedom / 2) + np.log(freedom / 2))
    slope, curvature, spread = 0.5 * (rho - 1) / rho, 0.5 * (2 / rho - 1), 2 / freedom  # in log rho, nearly
    twice = np.where(real, 1, 2)  # modes k and -k are one: what is counted twice errs twice
    chance = twice * (curvature * spread) ** 2  # of the slope itself, which is zero on average for perfect recovery
    variance = max((twice * slope**2 * spread - chance).sum(), 0.0) + 0.5 * chance.sum()
    return float(value.mean()), float(np.sqrt(variance) / site.size)


STARTS = settings_axis("start", "starts", "1", "time T_f up to which noise is added")


def _check_learned(point: Point) -> None:
    _check_model(point)
    lattice = point.model.lattice
    if isinstance(point.model, GaussianField) and not (lattice.ndim == 2 and all(lattice.periodic)):
        raise InputError("learned recovery of fields goes mode by mode and needs a 2D torus; use periodic = true")


@quantity(
    "the learned recovery error",
    _columns(("start", "radius")),
    STARTS,
    LearnedRecoverySettings,
    models=("ising", "gaussian-field", "domain-walls"),
    check=_check_learned,
    timed=False,
)
def learned_recovery(point: Point, rng: np.random.Generator) -> Values:
    model, channel, settings = point.model, point.channel, point.settings
    nets = [trained(model, channel, radius, settings, rng) for radius in point.radii]
    errors_of, rows = field_sample_errors if isinstance(model, GaussianField) else sampled_errors, []
    for start in settings.starts:
        times, x_0 = return_times(model, channel, start, settings.n_steps), model.sample(point.n_samples, rng)
        rows.append(errors_of(model, x_0, recovered(model, channel, x_0, times, nets, rng)))
    return stacked(rows)


# -- erased loops: KL per bond from T_f --------------------------------------------------------------------------------
#
# Whatever law unmasks, a bond is revealed at the rate 1/t while it is masked, which it is with probability t, so that
#
#     KL(p_0 || p_net) / N = int_0^T_f dt mean_i E KL( p(x_0,i | x_t without i) || p_net(x_0,i | box r without i) ),
#
# on average over orders. The laws are blind ones, at times spread evenly up to T_f. With exact local laws it is the KL
# of `unmasking`; as networks see no more than the box, they lie above it by `excess`, the same integral of the KL of
# exact local law and network.


DIMS = ("start", "radius")
COLUMNS = {
    **with_errors("divergence", DIMS, "nat", "KL(p_0 || p_net) per bond, mean over orders of unmasking"),
    **with_errors("excess", DIMS, "nat", "how much of it is learning: KL(p_local || p_net) per bond"),
}


@quantity(
    "learned masked generation",
    COLUMNS,
    STARTS,
    StartSettings,
    models=("domain-walls",),
    check=check_loops,
    timed=False,
)
def learned_unmasking(point: Point, rng: np.random.Generator) -> Values:
    model, channel, radii, n_samples = point.model, point.channel, point.radii, point.n_samples
    nets = [trained(model, channel, radius, point.settings, rng) for radius in radii]
    whole, exact = ExactDenoiser(model, channel), [exact_denoiser(model, channel, radius) for radius in radii]
    rows = []
    for start in point.settings.starts:
        t = start * (np.arange(n_samples) + rng.random(n_samples)) / n_samples
        x_0 = model.sample(n_samples, rng)
        x_t = np.concatenate([channel.corrupt(x_0[i : i + 1], t[i], rng) for i in range(n_samples)])
        p, *p_local = [law.blind(x_t, t).log_odds for law in (whole, *exact)]  # type: ignore[attr-defined]
        p_net = [net.blind(x_t, t).log_odds for net in nets]  # type: ignore[attr-defined]
        excess = [site_divergences(*pair, model.sites) for pair in zip(p_local, ([q] for q in p_net), strict=True)]
        gaps = {"divergence": site_divergences(p, p_net, model.sites), "excess": np.concatenate(excess, axis=1)}
        rows.append(averages({name: start * gap for name, gap in gaps.items()}))
    return stacked(rows)
