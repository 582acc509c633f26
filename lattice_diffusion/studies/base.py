"""What a study is, and what several share: grids, crossings, rows, trained networks."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy.optimize import minimize_scalar

from .. import exact
from ..channels import Channel
from ..denoisers import unmask_loops, violated_vertices
from ..errors import InputError
from ..estimate import Estimate
from ..exact.gaussian import label_cmi
from ..models import DomainWalls, GaussianField
from ..noise_units import NoiseLevel
from ..phases import Crossing, finite_size_crossing
from ..results import Row, grids, variable
from ..runs.points import Point, grid_points
from ..runs.quantities import Settings, Values, averages, check_solvable, find
from ..runs.spec import Spec

if TYPE_CHECKING:
    from ..denoisers import LocalNet

Variables = dict[str, xr.Variable]
Kind = Literal["exact", "asymptotic", "literature", "learned", "none"]  # `results.KINDS`
Times = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)]  # in settings


@dataclass(frozen=True)
class Analysis:
    """What follows from a result: variables to add to its grids, and rows of measured beside analytic values."""

    variables: dict[str, Variables] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Study:
    """A phase diagram that `reproduce` makes.

    Attributes:
        shows: what the figure shows, in one sentence.
        wanted: whether in full to the grids of its spec; analyse: finished result to what is derived from it;
        figure: analysed result to a matplotlib Figure.
    """

    name: str
    title: str
    shows: str
    wanted: Callable[[bool], dict[str, Any]]
    analyse: Callable[[xr.DataTree], Analysis]
    figure: Callable[[xr.DataTree], Any]

    def spec(self, preset: str) -> Spec:
        """Return the spec of a preset, "quick" or "full"."""
        return Spec(name=self.name, grids=self.wanted(preset == "full"))


# -- what is measured --------------------------------------------------------------------------------------------------


def grid(model: dict[str, Any], channel: str, **keys: Any) -> dict[str, Any]:
    """Return one grid of a spec."""
    return {"model": model, "channel": {"name": channel}, **keys}


def grid_times(start: float, stop: float, num: int) -> list[float]:
    """Return times whose distance from 1 falls geometrically from 1 - start to 1 - stop, rounded to 6 digits."""
    return [round(float(1 - u), 6) for u in np.geomspace(1 - start, 1 - stop, num)]


def spec_of(result: xr.DataTree) -> Spec:
    """Return the spec that a result was measured by."""
    return Spec(**json.loads(result.attrs["parameters"]))


def check_gaussian(point: Point, what: str) -> None:
    """Check that the noise is Gaussian."""
    if point.channel.name != "gaussian":
        raise InputError(f"{what} takes the gaussian channel, got {point.channel.name!r}")


def check_loops(point: Point) -> None:
    """Check that loops are uniform, on an open grid, and erased, so that they are unmasked bond by bond."""
    check_solvable(point)
    if point.channel.name != "erasure" or point.model.beta != 0.0 or point.model.periodic:
        what = find(point.parameters["quantity"]).what
        raise InputError(f"{what} of domain walls takes uniform loops, beta = 0 on an open grid, and channel erasure")


def by_size(result: xr.DataTree, prefix: str) -> dict[int, xr.Dataset]:
    """Return the grids named by the prefix and a size, by that size; at their radius where they have one only."""
    found = {int(n.removeprefix(prefix)): g for n, g in grids(result).items() if n.startswith(prefix)}
    return {n: g.isel(radius=0) if g.sizes["radius"] == 1 else g for n, g in found.items()}


# -- what is derived ---------------------------------------------------------------------------------------------------


def measured(place: xr.Dataset, name: str) -> Estimate:
    """Return a variable and its error at one place of a grid."""
    return Estimate(float(place[name]), float(place[f"{name}_stderr"]), 0)


def ratio(value: Estimate, other: Estimate) -> Estimate:
    """Return value / other of independent estimates."""
    q = value.value / other.value
    error = math.hypot(value.stderr / other.value, q * other.stderr / other.value)
    return Estimate(q, error, 0)


def row(
    quantity: str,
    found: Estimate | float,
    analytic: float | None = None,
    source: str = "",
    kind: Kind = "none",
    t: float | None = None,
) -> Row:
    """Return the row of an estimate, or of a number without an error; `reproduce` adds the name of the study.

    `t` is the time under Gaussian noise of linear schedule at which it was measured, or which it is.
    """
    found = found if isinstance(found, Estimate) else Estimate(float(found), 0.0, 0)
    analytic = None if analytic is None else float(analytic)
    log_snr = None if t is None else float(NoiseLevel.of(t, "linear").log_snr)
    return Row("", quantity, analytic, found.value, found.stderr, source, kind, log_snr)


def rows_of(
    data: xr.Dataset, name: str, label: str, known: ArrayLike | None = None, source: str = "", kind: Kind = "none"
) -> list[Row]:
    """Return the rows of a variable at all places of its axes, in order, beside `known`; none where it is NaN.

    `label` is formatted with the coordinates, as "xi (beta = {beta:.2f})". Under Gaussian noise the time of a row is
    that of its place, `t` or `time`, or the variable itself where that is a time.
    """
    array, rows = data[name], []
    beside: Any = None if known is None else np.broadcast_to(np.asarray(known), array.shape)
    for index in np.ndindex(*array.shape):
        place = data.isel(dict(zip(array.dims, index, strict=True)))
        found = measured(place, name)
        if np.isfinite(found.value):
            at = {str(key): x.item() for key, x in place.coords.items() if x.ndim == 0}
            noisy = "log_snr" in data or "time_log_snr" in data
            t = None if not noisy else found.value if name.endswith("_time") else at.get("t", at.get("time"))
            rows.append(row(label.format(**at), found, None if beside is None else beside[index], source, kind, t))
    return rows


def beside_closed_form(analysis: Analysis, result: xr.DataTree, name: str, label: str, source: str) -> None:
    """Add the closed form of the sampled CMI of a grid, and the row of the mean z^2 of all of its points."""
    data = grids(result)[name]
    points = grid_points(name, spec_of(result).grids[name])
    curves = [exact.cmi_curve(one.model, one.channel, one.t, one.parts).values for one in points]
    truth = variable(data["cmi"].dims, np.reshape(curves, data["cmi"].shape), "nat", "closed form")
    analysis.variables[name] = {"cmi_closed": truth}
    analysis.rows.append(row(label, pooled_z(data["cmi"], data["cmi_stderr"], truth), 1.0, source, "exact"))


def label_crossing(data: xr.Dataset, control: ArrayLike, guess: tuple[float, float], degree: int = 3) -> Crossing:
    """Return where E H(S|x) / log 2 over (length, t) crosses for all sizes, `control` the noise at each t."""
    size, noise = np.meshgrid(data["length"].values, np.asarray(control), indexing="ij")
    entropy, stderr = (data[name].values / math.log(2) for name in ("label_entropy", "label_entropy_stderr"))
    return finite_size_crossing(noise, size, entropy, stderr, guess, degree)


def pooled_z(values: ArrayLike, stderr: ArrayLike, truth: ArrayLike) -> Estimate:
    """Return the mean square z-score over all points with an error: 1 +- sqrt(2/n) if errors and truth are right."""
    values, stderr, truth = np.broadcast_arrays(values, stderr, truth)
    seen = stderr > 0
    z2 = ((values[seen] - truth[seen]) / stderr[seen]) ** 2
    return Estimate(float(z2.mean()), float(np.sqrt(2.0 / z2.size)), int(z2.size), "mean of z^2")


def maximum(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-8) -> float:
    """Return where the function of time is largest between low and high."""
    options = {"xatol": tolerance}
    best = minimize_scalar(lambda t: -function(t), bounds=(low, high), method="bounded", options=options)
    return float(best.x)


@dataclass(frozen=True)
class WhiteMixture:
    """Values that are independent given a label S = +-1, of mean S `mean` and this variance, under Gaussian noise.

    Attributes:
        sizes: numbers of values in B, AB, BC and ABC.
    """

    mean: float
    variance: float
    sizes: tuple[int, int, int, int]

    def gammas(self, t: float) -> list[float]:
        """Return n alpha^2 mean^2 / (alpha^2 variance + sigma^2) of every size n."""
        alpha, sigma = 1.0 - t, t
        return [n * (alpha * self.mean) ** 2 / (alpha**2 * self.variance + sigma**2) for n in self.sizes]

    def cmi(self, t: float) -> float:
        return label_cmi(*self.gammas(t))

    def peak(self, low: float, high: float = 0.999) -> float:
        """Return the time between low and high at which the CMI is largest."""
        return maximum(lambda t: math.log(self.cmi(t)), low, high)


# -- shared measurements -----------------------------------------------------------------------------------------------


def unmasking_errors(
    model: DomainWalls, x_t: NDArray, radii: list[int], rng: np.random.Generator, left: float = 0.0
) -> Values:
    """Return the KL of unmasking loops with every radius, and the broken vertices, as means over the samples."""
    runs = [unmask_loops(x_t, radius, rng, left=left) for radius in radii]
    divergence = np.stack([run.divergence for run in runs], axis=1)
    violations = np.stack([violated_vertices(run.x) for run in runs], axis=1)
    return averages({"divergence": divergence, "violations": violations}, unit=1 / model.sites.sum())


# -- networks trained inside a point, from the point's own random numbers ----------------------------------------------

VERTEX = 3  # the other bonds of a bond's vertex, whose product is its sign


class TrainingSettings(Settings):
    """train_steps of Adam (of loops: of Muon) on batch_size fresh samples each; width and depth of the networks."""

    train_steps: Annotated[int, Field(ge=1)] = 1000
    batch_size: Annotated[int, Field(ge=1)] = 64
    width: Annotated[int, Field(ge=1)] = 32
    depth: Annotated[int, Field(ge=0)] = 2


def trained(
    model: Any, channel: Channel, radius: int, settings: TrainingSettings, rng: np.random.Generator
) -> "LocalNet":
    """Return a network of this radius for spins, fields or loops of two dimensions, after `train_steps` steps."""
    from ..denoisers import LocalNet, fit, network_arguments

    kind = network_arguments(model)
    training: dict[str, Any] = {"steps": settings.train_steps, "batch_size": settings.batch_size}
    if kind["bonds"]:
        kind["order"] = VERTEX
        training |= {"optimiser": "muon", "learning_rate": 0.01}
    elif isinstance(model, GaussianField):
        variance = model.solver.covariance(channel, 0.0, model.sites).diagonal().mean()
        kind["variance"] = float(variance)
    net = LocalNet(radius, channel=channel, width=settings.width, depth=settings.depth, rng=rng, **kind)
    fit(net, model.sample, progress=False, rng=rng, **training)
    return net
