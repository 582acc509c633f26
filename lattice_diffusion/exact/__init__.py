"""What is known exactly of a noisy lattice: conditional mutual information, marginals, posteriors.

    cmi             I_t(A;C|B) of one tripartition, in nats
    cmi_curve       the same for several buffers on one set of noise samples, with their covariance
    cmi_map         the same over times and radii, as a labelled xarray Dataset
    log_marginal    log p_t(x_R) of any region R
    posterior       law of the clean values at some sites given any noisy region
    posterior_mean  E[x_0 | x_t on a mask]: the exact denoiser, local or global

Each takes any model of `lattice_diffusion.models` (anything with `lattice`, `solver` and `sample`).
"""

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..channels import Channel, check_time, for_model
from ..errors import InputError, array_of, check_mask, check_memory, shown
from ..estimate import Curve, Estimate
from ..lattice import BoolArray, FloatArray, Lattice, Rng, Tripartition
from .spins import NoisySamples

if TYPE_CHECKING:
    import xarray as xr

Method = Literal["auto", "closed", "sampled"]

__all__ = ["cmi", "cmi_curve", "cmi_map", "log_marginal", "posterior", "posterior_mean"]
__all__ += ["Curve", "Estimate", "ExactModel"]


class ExactModel(Protocol):
    """A distribution p_0 with an exact solution."""

    @property
    def data(self) -> str: ...

    @property
    def lattice(self) -> Lattice: ...

    @property
    def sites(self) -> BoolArray: ...

    @property
    def solver(self) -> Any: ...

    def sample(self, n_samples: int, rng: np.random.Generator) -> NDArray: ...

    def box(self, site: Sequence[int], radius: int) -> BoolArray: ...


def cmi(
    model: ExactModel,
    channel: Channel,
    t: float,
    parts: Tripartition,
    n_samples: int = 1000,
    rng: Rng = None,
    method: Method = "auto",
) -> Estimate:
    """Return the conditional mutual information I_t(A;C|B) of the noisy state, in nats.

    Args:
        model: p_0, for instance `models.Ising(lattice, beta=0.44)`.
        channel: the noise; t in [0, 1].
        parts: A, B and C; where C is empty the answer is 0.
        n_samples: noisy samples to average over, where there is no closed form.
        rng: generator or seed of the samples; a closed form needs none.
        method: "closed" or "sampled"; "auto" takes the closed form where there is one.

    Returns:
        value, stderr (0 for a closed form), n_samples and method.
    """
    return cmi_curve(model, channel, t, [parts], n_samples, rng, method)[0]


def cmi_curve(
    model: ExactModel,
    channel: Channel,
    t: float,
    parts: Sequence[Tripartition],
    n_samples: int = 1000,
    rng: Rng = None,
    method: Method = "auto",
) -> Curve:
    """Return I_t(A;C|B) for several divisions with the same A and the same A + B + C, for instance growing radii.

    They share the noise samples, whose costly part, the posterior given B + C, is common to all.
    """
    t = check_time(t)
    if method not in get_args(Method):
        raise InputError(f"method must be one of auto, closed, sampled, got {method!r}")
    parts = list(parts)
    if not parts:
        raise InputError("parts must hold at least one division into A, B and C, got none")
    solver, channel = model.solver, for_model(model, channel)
    solver.check_channel(channel)
    for part in parts:
        if part.shape != model.lattice.shape:
            raise InputError(f"A, B and C must have the lattice's shape {model.lattice.shape}, got {part.shape}")
        if np.any(part.A != parts[0].A) or np.any(part.ABC != parts[0].ABC):
            raise InputError("the divisions of one curve must share A and A + B + C; call cmi for each instead")
    if not any(part.C.any() for part in parts):
        return Curve.exact(np.zeros(len(parts)), "zero: A and B cover all observed sites, C is empty")
    if channel.snr(t) == 0.0:
        return Curve.exact(np.zeros(len(parts)), "zero: no signal at t = 1")
    if method != "sampled":
        closed = [solver.closed_cmi(channel, t, part) if part.C.any() else 0.0 for part in parts]
        if all(value is not None for value in closed):
            return Curve.exact(np.array(closed, float), "closed form")
        if method == "closed":
            raise InputError(f"no closed form is known for this model under {channel.name} noise; use method='sampled'")
    if not hasattr(solver, "sampled_cmi"):
        raise InputError("this model has a closed form only; use method='closed'")
    n_samples = index(n_samples)
    if n_samples < 2:
        raise InputError(f"n_samples must be >= 2 to give an error, got {n_samples}")
    check_memory("n_samples", 32 * n_samples * len(parts), "average fewer samples")
    curve = solver.sampled_cmi(NoisySamples(channel, t, model.sample, n_samples, np.random.default_rng(rng)), parts)
    if curve.n_samples == 0:
        return curve
    return curve.where_nothing_varied(float(np.log(getattr(solver, "q", 2))), [part.C.any() for part in parts])


def cmi_map(
    model: Any,
    channel: Channel,
    times: ArrayLike,
    radii: Sequence[int] | int,
    n_samples: int = 1000,
    rng: Rng = None,
    method: Method = "auto",
    **placement: Any,
) -> "xr.Dataset":
    """Return I_t(A;C|B_r) over times and buffer radii, with errors, as a labelled Dataset.

    Each time has a generator of its own, spawned from `rng`; the radii of one time share its noise samples.

    Args:
        model: p_0, with a method `tripartition`, as all of `lattice_diffusion.models` have.
        times, radii: (n_times,) in [0, 1], and integers (n_radii,), or one of either.
        n_samples, rng, method: as for `cmi`.
        **placement: where A is, passed to `model.tripartition`, for instance center=(5, 5), patch=1.

    Returns:
        `cmi` and `cmi_stderr` (t, radius) in nats, `cmi_covariance` (t, radius, radius_2) of the values of one time,
        `n_samples` (t), 0 where the values are exact. Select with `.sel(t=0.5, radius=2)`.
    """
    import xarray as xr

    from ..results import variable

    times, radii = np.atleast_1d(np.asarray(times, float)), [index(radius) for radius in np.atleast_1d(radii)]
    if times.ndim > 1 or not times.size:
        raise InputError(f"times must be one or more times in [0, 1], got {shown(times)}")
    parts = [model.tripartition(radius, **placement) for radius in radii]
    curves = [
        cmi_curve(model, channel, float(t), parts, n_samples, generator, method)
        for t, generator in zip(times, np.random.default_rng(rng).spawn(len(times)), strict=True)
    ]

    return xr.Dataset(
        {
            "cmi": variable(("t", "radius"), [c.values for c in curves], "nat", "I(A;C|B)"),
            "cmi_stderr": variable(("t", "radius"), [c.stderr for c in curves], "nat", "standard error of cmi"),
            "cmi_covariance": variable(
                ("t", "radius", "radius_2"), [c.covariance for c in curves], "nat^2", "covariance of cmi between radii"
            ),
            "n_samples": variable(("t",), [c.n_samples for c in curves], "1", "noise samples; 0 for exact values"),
        },
        coords={
            "t": variable(("t",), times, "1", "diffusion time, 0 clean and 1 pure noise"),
            "radius": variable(("radius",), radii, "sites", "buffer radius"),
            "radius_2": variable(("radius_2",), radii, "sites", "second radius of a covariance"),
        },
        attrs={"model": repr(model), "channel": repr(channel), "method": curves[0].method if curves else ""},
    )


def _checked(
    model: ExactModel, channel: Channel, t: float, x_t: NDArray, **masks: NDArray
) -> tuple[Channel, FloatArray]:
    """Return the channel for the model's data, and x_t as floats. The last mask is that of the sites that are read."""
    t, channel = check_time(t), for_model(model, channel)
    model.solver.check_channel(channel)
    x_t = np.asarray(array_of("x_t", x_t), float)
    shape = model.lattice.shape
    if x_t.shape[1:] != shape or x_t.ndim != len(shape) + 1 or not len(x_t):
        raise InputError(f"x_t must have shape (n, {', '.join(map(str, shape))}), got {x_t.shape}")
    for name, mask in masks.items():
        check_mask(name, mask, shape)
    if not np.isfinite(x_t).all():
        raise InputError("x_t must be finite, got NaN or infinity")
    check_values(model.data, channel, t, x_t[:, mask & model.sites])
    return channel, x_t


def check_values(data: str, channel: Channel, t: float, values: FloatArray) -> None:
    """Raise InputError unless noisy values are among those that the channel makes of spins or tokens at time t."""
    alphabet = getattr(channel, "alphabet", (-1.0, 1.0) if data == "spins" and channel.snr(t) == np.inf else None)
    if alphabet is not None and not (known := np.isin(values, alphabet)).all():
        remedy = ", masked tokens as -1" if data == "tokens" else "; convert 0/1 data by 2*x - 1"
        listed = ", ".join(f"{value:g}" for value in alphabet[:6]) + (", .." if len(alphabet) > 6 else "")
        raise InputError(
            f"x_t must hold only {listed} under {channel.name} noise at t = {t:g}, got {values[~known][0]:g}{remedy}"
        )


def log_marginal(model: ExactModel, channel: Channel, t: float, x_t: NDArray, region: BoolArray) -> FloatArray:
    """Return log p_t(x_R), shape (n,): a density for Gaussian noise, a probability for bit flip and erasure.

    Args:
        x_t: noisy configurations (n, *lattice.shape); values outside the region are not read.
        region: boolean mask R.
    """
    channel, x_t = _checked(model, channel, t, x_t, region=region)
    return model.solver.log_marginal(channel, t, x_t, region)


def posterior(
    model: ExactModel, channel: Channel, t: float, x_t: NDArray, sites: BoolArray, observed: BoolArray
) -> Any:
    """Return the law of the clean values on `sites` given the noisy values on `observed`.

    Returns:
        For spins the joint law over the 2^k states (k <= 4), for tokens over the q^k states (at most 4096), for
        fields a Gaussian, for mixtures two; all have `.mean` and `.variance` (n, k), sites in C order.
    """
    channel, x_t = _checked(model, channel, t, x_t, sites=sites, observed=observed)
    return model.solver.posterior(channel, t, x_t, sites, observed)


def posterior_mean(model: ExactModel, channel: Channel, t: float, x_t: NDArray, observed: BoolArray) -> FloatArray:
    """Return E[x_0 | x_t on `observed`] at every site, (n, *lattice.shape): the least-squares denoiser of that view.

    For tokens it is the law of each, (n, *lattice.shape, q), the mean of its indicators.
    """
    channel, x_t = _checked(model, channel, t, x_t, observed=observed)
    return model.solver.posterior_mean(channel, t, x_t, observed)
