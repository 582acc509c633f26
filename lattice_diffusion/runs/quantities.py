"""What can be measured at a point of a grid, by name, and the quantities that several studies measure.

A quantity of one study stands in that study's module; `QUANTITIES` says where. A spec names a quantity by that name, or
as `file.py:QUANTITY`.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.special import expit

from .. import exact, registry
from ..denoisers import Bernoulli, ExactDenoiser
from ..errors import InputError
from ..results import variable

if TYPE_CHECKING:
    from .points import Point

HOMES = {  # of quantities
    "runs.quantities": ("cmi", "label_entropy", "denoising"),
    "studies.label_windows": ("label_information",),
    "studies.domain_walls": ("squared_correlation",),
    "studies.parallel_unmasking": ("parallel_unmasking",),
    "studies.memorisation": ("memorisation",),
    "studies.hierarchy": ("root_entropy",),
    "studies.area_law": ("unmasking", "masked_area", "generated_law"),
    "studies.receptive_field.measure": ("network_cost", "radius_schedule"),
    "studies.locality_gap.measure": ("locality_gap", "learned_gap"),
    "studies.recovery.measure": ("recovery", "learned_recovery", "learned_unmasking"),
    "studies.hybrid_generation": ("generation", "learned_generation"),
    "studies.phases": ("round_trip", "exact_round_trip"),
}
# A quantity, or "module:name" that is imported when it is asked for.
QUANTITIES: dict[str, Any] = {
    name: f"lattice_diffusion.{module}:{name}" for module, names in HOMES.items() for name in names
}
OPTIONAL = ("radii", "patch", "center", "method")  # keys of a grid that only some quantities read,
PLACES = ("bond", "block")  # and of its model
TARGETS = ("target_stderr", "target_relative_error")  # keys of a grid that ask for samples until an error is met
Values = dict[str, NDArray]


class Column(NamedTuple):
    """A measured variable: its dimensions besides the grid's axes, units and long name."""

    dims: tuple[str, ...]
    units: str
    long_name: str


class Settings(BaseModel):
    """How a quantity is measured, beyond what all grids have: the table `settings` of a grid."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    @classmethod
    def of(cls, table: dict[str, Any] | None) -> Self:
        """Return the settings in a plain table; as JSON, whose lists are tuples and whose text is no number."""
        return cls.model_validate_json(json.dumps(table or {}))


def check_solvable(point: "Point") -> None:
    """Build the model's solver and ask it about the channel; raises InputError where it has no exact answer."""
    point.model.solver.check_channel(point.channel)


@dataclass(frozen=True)
class Quantity:
    """What a grid can measure.

    Attributes:
        name: as specs write it; `what`: the same in words, with an article.
        columns: measured variables by name; errors are columns of their own, NAME_stderr.
        evaluate: point and generator to the value of every column, an array of its dims' lengths.
        coordinates: the grid's plain table to the coordinates of dimensions other than the radius.
        settings: what the grid's table `settings` may hold; None where it takes none.
        reads: which of the optional keys of a grid and of its model it reads; radii where a column has that dimension.
        models: names of the models that have it; () for all.
        check: raises InputError, in one sentence, for points that `evaluate` cannot measure, before any is measured.
        timed: whether it is measured at the times t that the grid lists; other grids have no t.
        averages: whether all columns are means over `n_samples` independent samples, so that rounds can be pooled.
    """

    name: str
    what: str
    columns: dict[str, Column]
    evaluate: Callable[["Point", np.random.Generator], Values]
    coordinates: Callable[[dict[str, Any]], dict[str, xr.Variable]] = lambda table: {}
    settings: type[Settings] | None = None
    reads: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    check: Callable[["Point"], None] = check_solvable
    timed: bool = True
    averages: bool = False

    def __post_init__(self) -> None:
        if any("radius" in column.dims for column in self.columns.values()):
            object.__setattr__(self, "reads", tuple({"radii": 0, **dict.fromkeys(self.reads)}))

    @property
    def leading(self) -> str:
        """The variable that a target error is asked of: the first."""
        return next(iter(self.columns))

    def all_coordinates(self, table: dict[str, Any]) -> dict[str, xr.Variable]:
        """Return the coordinate of every dimension in `columns` from the plain table of a grid."""
        radii = table.get("radii", [])
        known = {
            "radius": variable("radius", radii, "sites", "width r of the buffer B around A"),
            "radius_2": variable("radius_2", radii, "sites", "second radius of a covariance"),
            **self.coordinates(table),
        }
        return {dim: known[dim] for column in self.columns.values() for dim in column.dims}

    def resolve_settings(self, given: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return `settings` with defaults filled in, as plain JSON types; raises InputError with one sentence."""
        if self.settings is None:
            if given:
                raise InputError(f"has the key 'settings', which {self.what} has no use for; leave it out")
            return None
        try:
            return self.settings.of(given).model_dump(mode="json", exclude_none=True)
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "extra_forbidden":
                known = ", ".join(self.settings.model_fields)
                raise InputError(f"has the unknown key 'settings.{key}'; {self.what} knows {known}") from None
            message = problem["msg"].removeprefix("Value error, ")
            raise InputError(f"has settings.{key} = {problem['input']!r}: {message[:1].lower()}{message[1:]}") from None


def quantity(what: str, columns: dict[str, Column], *arguments: Any, **options: Any) -> Callable[[Any], Quantity]:
    """Return a decorator that makes a function (point, rng) the quantity of its name; see `Quantity` for the rest."""
    return lambda evaluate: Quantity(evaluate.__name__, what, columns, evaluate, *arguments, **options)


def find(name: str) -> Quantity:
    """Return a quantity by its name, or that of `file.py:QUANTITY`. Raises InputError for an unknown one."""
    return registry.load(name, QUANTITIES, "quantity", "lattice_diffusion.quantities")


def evaluate(point: "Point", rng: np.random.Generator) -> Values:
    """Return what the point's grid measures, by variable. Raises InputError where the model or the lattice lacks it."""
    quantity = find(point.parameters["quantity"])
    if any(key in point.parameters for key in TARGETS):
        return until_target(quantity.evaluate, quantity.leading, point, rng)
    return quantity.evaluate(point, rng)


# -- samples in rounds, until an error is small enough or a budget is spent --------------------------------------------
#
# Every round draws from a generator spawned from the point's own, and later rounds are as long as the earlier ones say
# is needed: the numbers are the same on any engine and after any interruption. Means over rounds are pooled to those
# over all samples, exactly: with n_k, m_k, s_k samples, mean and standard error of round k and N = sum_k n_k,
#
#     m = sum_k n_k m_k / N,    s^2 = sum_k [n_k (n_k - 1) s_k^2 + n_k (m_k - m)^2] / (N (N - 1)),
#
# and likewise for a covariance. As the rounds stop where the error looks small, s is low by O(1/N): a first round of
# a few hundred samples is enough.

MARGIN = 1.1  # beyond what the error so far asks for, so that one more round is mostly the last


class Round(NamedTuple):
    """The number of samples of one round, and the values found."""

    n: int
    values: Values


def until_target(
    evaluate: Callable[["Point", np.random.Generator], Values], name: str, point: "Point", rng: np.random.Generator
) -> Values:
    """Return `evaluate` with more and more samples, pooled, and their number as "n_samples".

    The first round has `point.n_samples`, later ones at most double the sum. They end when at every entry of the
    variable `name` the standard error is below `target_stderr` or `target_relative_error` times the value, where
    given, or at `max_samples`.
    """
    first, budget = point.n_samples, point.parameters["max_samples"]
    rounds = [Round(first, evaluate(point, rng))]
    while True:
        pooled, n = pool(rounds), sum(part.n for part in rounds)
        relative = point.parameters.get("target_relative_error", 0.0) * np.abs(pooled[name])
        allowed, stderr = np.maximum(point.parameters.get("target_stderr", 0.0), relative), pooled[f"{name}_stderr"]
        with np.errstate(divide="ignore", invalid="ignore"):  # infinite where the target is zero
            excess = float(np.max(np.where(stderr > 0.0, stderr / allowed, 0.0)))
        if excess <= 1.0 or budget - n < 2:
            return {**pooled, "n_samples": np.array(float(n))}
        wanted = min(MARGIN * n * excess**2 - n, n)
        more = min(max(math.ceil(wanted), first), budget - n)
        longer = replace(point, parameters={**point.parameters, "n_samples": more})
        rounds.append(Round(more, evaluate(longer, rng.spawn(1)[0])))


def pool(rounds: list[Round]) -> Values:
    """Return means over all samples, and their errors, from those of independent rounds."""
    if len(rounds) == 1:
        return rounds[0].values
    n = np.array([part.n for part in rounds], float)
    total, columns = n.sum(), {name: np.array([part.values[name] for part in rounds]) for name in rounds[0].values}
    answer = {}
    for name, values in columns.items():
        subject, _, kind = name.rpartition("_")
        if kind not in ("stderr", "covariance") or subject not in columns:
            answer[name] = np.tensordot(n, values, 1) / total
            continue
        away = columns[subject] - np.tensordot(n, columns[subject], 1) / total
        inside, between = (values**2, away**2) if kind == "stderr" else (values, away[:, :, None] * away[:, None])
        spread = (np.tensordot(n * (n - 1), inside, 1) + np.tensordot(n, between, 1)) / (total * (total - 1))
        answer[name] = np.sqrt(spread) if kind == "stderr" else spread
    return answer


# -- for quantities ----------------------------------------------------------------------------------------------------


def with_errors(name: str, dims: tuple[str, ...], units: str, long_name: str) -> dict[str, Column]:
    """Return the columns NAME and NAME_stderr."""
    return {name: Column(dims, units, long_name), f"{name}_stderr": Column(dims, units, f"standard error of {name}")}


def averages(samples: dict[str, NDArray], unit: float = 1.0) -> Values:
    """Return NAME and NAME_stderr over the first axis.

    Where all n samples are 0 the error is unit / n: other values, of about `unit`, may occur with a probability of
    about 1 / n. Give unit = 0 where 0 is known to be exact, and 1 / N for means over N sites. It is 0 where all have
    another value, a closed form.
    """
    answer = {}
    for name, values in samples.items():
        answer[name] = values.mean(axis=0)
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        error = np.where(np.ptp(values, axis=0) > 0.0, error, 0.0)
        answer[f"{name}_stderr"] = np.where(np.any(values, axis=0), error, unit / len(values))
    return answer


def stacked(rows: list[Values]) -> Values:
    """Return the values of several times or schedules, along a new first axis."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def sign_divergence(log_odds: NDArray, other: NDArray) -> NDArray[np.float64]:
    """Return KL of two laws of a sign, elementwise, in nats; inf where the other excludes what the first allows."""
    p = expit(log_odds)
    with np.errstate(invalid="ignore"):
        up = np.where(p > 0, p * (_log_plus(log_odds) - _log_plus(other)), 0.0)
        down = np.where(p < 1, expit(-log_odds) * (_log_plus(-log_odds) - _log_plus(-other)), 0.0)
    return np.maximum(up + down, 0.0)


def site_divergences(log_odds: NDArray, others: list[NDArray], sites: NDArray) -> NDArray[np.float64]:
    """Return the KL of laws of signs (n, *shape) to each of the others, averaged over sites, (n, len(others))."""
    return np.stack([sign_divergence(log_odds, other)[:, sites].mean(axis=1) for other in others], axis=1)


def _log_plus(log_odds: NDArray) -> NDArray[np.float64]:
    return -np.logaddexp(0.0, -np.asarray(log_odds, float))


def settings_axis(dim: str, key: str, units: str, long_name: str) -> Callable[[dict[str, Any]], dict[str, xr.Variable]]:
    """Return the `coordinates` of a quantity whose dimension `dim` is listed in the key `key` of its settings."""
    return lambda table: {dim: variable(dim, table["settings"][key], units, long_name)}


# -- conditional mutual information ------------------------------------------------------------------------------------


def check_parts(point: "Point") -> None:
    """Ask the solver about the channel, and build the partitions."""
    check_solvable(point)
    _ = point.parts


CMI_COLUMNS = {
    **with_errors("cmi", ("radius",), "nat", "conditional mutual information I(A;C|B)"),
    "cmi_covariance": Column(("radius", "radius_2"), "nat^2", "covariance of cmi between two radii"),
}


@quantity("the CMI", CMI_COLUMNS, reads=(*OPTIONAL, *PLACES), check=check_parts, averages=True)
def cmi(point: "Point", rng: np.random.Generator) -> Values:
    method = point.parameters["method"]
    curve = exact.cmi_curve(point.model, point.channel, point.t, point.parts, point.n_samples, rng, method)
    return {"cmi": curve.values, "cmi_stderr": curve.stderr, "cmi_covariance": curve.covariance}


# -- entropy of the label of closed loops ------------------------------------------------------------------------------


def _check_label(point: "Point") -> None:
    check_solvable(point)
    point.model.solver.check_label()


@quantity(
    "the label entropy",
    with_errors("label_entropy", (), "nat", "entropy of the label given the noisy data, E H(S|x)"),
    models=("domain-walls",),
    check=_check_label,
    averages=True,
)
def label_entropy(point: "Point", rng: np.random.Generator) -> Values:
    entropy = point.model.solver.label_entropy(point.channel, point.t, point.n_samples, rng)
    return {"label_entropy": np.array(entropy.value), "label_entropy_stderr": np.array(entropy.stderr)}


# -- what exact denoisers of radius r lose against the global one, averaged over all sites ----------------------------
#
#   excess(r)            mean_i E (E[x_0,i|box r] - E[x_0,i|x_t])^2 = MMSE_local - MMSE_global, orthogonal form
#   blind_divergence(r)  mean_i E KL( p(x_0,i | x_t without i) || p(x_0,i | box r without i) ), two-valued data
#
# snr' times half the first is the rate of the Girsanov bound under Gaussian noise; the second is I_t(A;C|B)/(1-t) of
# erasure, the integrand of the masked area law (A = site i, itself erased with probability t).

BATCH_SITES = 1 << 18


DENOISING_COLUMNS = {
    **with_errors("mmse_global", (), "1", "mean squared error of the exact global denoiser, per site"),
    **with_errors("mmse_local", ("radius",), "1", "mean squared error of the exact local denoiser, per site"),
    **with_errors("excess", ("radius",), "1", "mean squared difference of local and global denoiser, per site"),
    **with_errors("blind_divergence", ("radius",), "nat", "KL of a site's law given all others to given its box"),
}


@quantity("the loss of local denoisers", DENOISING_COLUMNS)
def denoising(point: "Point", rng: np.random.Generator) -> Values:
    model, channel, t, n_samples = point.model, point.channel, point.t, point.n_samples
    everything = ExactDenoiser(model, channel)
    locals_ = [ExactDenoiser(model, channel, radius) for radius in point.radii]
    sites = model.sites.reshape(everything.shape)
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
            rows["blind_divergence"].append(site_divergences(blind.log_odds, hidden, sites))
    nothing = np.full((2, len(locals_)), np.nan)
    exact_zero = channel.snr(t) in (0.0, np.inf)  # nothing is left to learn, or to be known
    samples = {name: np.concatenate(parts) if parts else nothing for name, parts in rows.items()}
    return averages(samples, unit=0.0 if exact_zero else 1.0 / sites.sum())
