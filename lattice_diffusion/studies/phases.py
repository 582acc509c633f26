"""Two-way local connection: noise from t_a on to t_b and local recovery back, for every segment of the path.

Two laws p_s and p_t are in one phase when such round trips are harmless. Closed loops under erasure have two phases, on
either side of t* = 1/2. A segment inside a phase is harmless to local recovery: its error falls exponentially with the
radius. One that straddles t* costs the area under the CMI's peak, r^(-2). Small systems show the same in full, with the
bound KL <= sum of CMI drops <= sum of CMIs on the way.
"""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import AfterValidator

from .. import plots
from ..channels import Erasure
from ..errors import InputError
from ..estimate import Estimate
from ..exact import enumeration
from ..phases import power_law
from ..results import grids
from ..runs.points import Point
from ..runs.quantities import Settings, Values, check_solvable, quantity, settings_axis, with_errors
from .base import Analysis, Study, Times, check_loops, grid, measured, row, unmasking_errors

NAME = "phases"
WINDOW = "peak r^(-5/4) times width r^(-3/4) (expected), asymptotic"
BOUND = "KL <= sum of CMI drops <= sum of CMI: at most 1"
FLOOR = 1e-6  # of colours, nats per bond
MAX_STATES = 1 << 16  # of a table, as there and back visits every site twice
SEGMENTS = {"data-phase": (0.1, 0.3), "trivial-phase": (0.7, 0.9), "across": (0.3, 0.7)}  # grids


def wanted(full: bool) -> dict[str, Any]:
    edges = [round(0.05 * k, 2) for k in range(1, 20)] if full else [round(0.1 * k, 1) for k in range(1, 10)]
    loops = {"name": "domain-walls", "length": 128 if full else 64}
    large = {**loops, "length": 512 if full else 192}
    flipped, erased = [round(0.1 * k, 1) for k in range(1, 10)], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]

    def trips(model: dict[str, Any], channel: str, t: Any, stops: Any, radii: list[int], **keys: Any) -> Any:
        return grid(model, channel, t=list(t), radii=radii, settings={"stops": list(stops)}, **keys)

    trip, exact = {"quantity": "round_trip"}, {"quantity": "exact_round_trip"}
    small, radii = {"name": "domain-walls", "faces": [3, 3]}, [1, 2, 3, 4, 6, 8, 11, 16]
    ising = {"name": "ising", "shape": [3, 3], "beta": 0.44}
    decay = {
        name: trips(large, "erasure", [start], [stop], radii, n_samples=100 if full else 12, **trip)
        for name, (start, stop) in SEGMENTS.items()
    }
    return {
        "map": trips(loops, "erasure", edges, edges, [2, 8], n_samples=400 if full else 16, **trip),
        **decay,
        "small": trips(small, "bitflip", flipped[:-1], flipped, [0, 1], **exact),
        "small-ising": trips(ising, "erasure", erased[:-1], erased[1:], [0, 1], **exact),
    }


# -- at a point --------------------------------------------------------------------------------------------------------


def _rising(stops: tuple[float, ...]) -> tuple[float, ...]:
    if list(stops) != sorted(set(stops)):
        raise InputError("stops must increase")
    return stops


class RoundTripSettings(Settings):
    """stops: the times t_b up to which the noise goes; those before t have no segment and are NaN."""

    stops: Annotated[Times, AfterValidator(_rising)] = (0.25, 0.5, 0.75, 1.0)


def _every_stop(point: Point, names: dict[str, Any], trip: Callable[[float], Values]) -> Values:
    """Return the values over the radii that `trip` gives for every stop after t, NaN at the others."""
    answer = {name: np.full((len(point.settings.stops), len(point.radii)), np.nan) for name in names}
    for b, stop in enumerate(point.settings.stops):
        if stop > point.t:
            for name, values in trip(stop).items():
                answer[name][b] = values
    return answer


def _check_exactly(point: Point) -> None:
    check_solvable(point)
    name, n = point.channel.name, int(point.model.sites.sum())
    if name == "gaussian":
        raise InputError("exact round trips take discrete noise, bitflip or erasure, got 'gaussian'")
    states = (3 if name == "erasure" else 2) ** n
    if states > MAX_STATES:
        raise InputError(
            f"exact round trips list all noisy states, at most {MAX_STATES}, got {states} of {n} sites or bonds under "
            f"{name}; take a smaller system"
        )


STOPS = settings_axis("stop", "stops", "1", "time t_b up to which the noise goes")
DIMS = ("stop", "radius")
DIVERGENCE = with_errors("divergence", DIMS, "nat", "KL of the law at t to that after the round trip, per site")
ROUND_TRIP_COLUMNS = {
    **DIVERGENCE,
    **with_errors("violations", DIMS, "1", "broken vertices with four visible bonds, over all vertices"),
}


@quantity("the round trip", ROUND_TRIP_COLUMNS, STOPS, RoundTripSettings, models=("domain-walls",), check=check_loops)
def round_trip(point: Point, rng: np.random.Generator) -> Values:
    """Loops of any size, bond by bond: KL given what was masked when (it bounds that of p_t), and broken vertices."""
    start = point.t
    x_s = Erasure().corrupt(point.model.sample(point.n_samples, rng), start, rng)

    def trip(stop: float) -> Values:
        x_t = Erasure().add_noise(x_s, start, stop, rng)
        return unmasking_errors(point.model, x_t, point.radii, rng, left=start / stop)

    return _every_stop(point, ROUND_TRIP_COLUMNS, trip)


EXACT_ROUND_TRIP_COLUMNS = {
    **DIVERGENCE,
    **with_errors("total_variation", DIMS, "1", "total variation between the law at t and after the round trip"),
    **with_errors("drop", DIMS, "nat", "sum of CMI drops on the way, per site: bounds the divergence"),
    **with_errors("cmi", DIMS, "nat", "sum of CMIs on the way, per site: bounds the drops"),
}


@quantity(
    "the exact round trip",
    EXACT_ROUND_TRIP_COLUMNS,
    STOPS,
    RoundTripSettings,
    models=("ising", "ising-chain", "domain-walls"),
    check=_check_exactly,
)
def exact_round_trip(point: Point, rng: np.random.Generator) -> Values:
    """Small systems as tables over all states, site by site, with the sums of CMIs on the way."""
    clean = enumeration.clean_table(point.model)
    before, n = enumeration.noisy_table(clean, point.channel, point.t), clean.ndim
    boxes = [enumeration.boxes(point.model, radius) for radius in point.radii]

    def trip(stop: float) -> Values:
        matrix = enumeration.noise_matrix(point.channel, point.t, stop)
        backs = [enumeration.there_and_back(before, matrix, around, range(n)) for around in boxes]
        found = {
            "divergence": [enumeration.relative_entropy(before, back.law) / n for back in backs],
            "total_variation": [enumeration.total_variation(before, back.law) for back in backs],
            "drop": [back.drop.sum() / n for back in backs],
            "cmi": [back.cmi.sum() / n for back in backs],
        }
        errors = {f"{name}_stderr": np.zeros(len(boxes)) for name in found}
        return {name: np.asarray(values) for name, values in {**found, **errors}.items()}

    return _every_stop(point, EXACT_ROUND_TRIP_COLUMNS, trip)


# -- what follows ------------------------------------------------------------------------------------------------------


def segments(result: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the three segments by name, over the radius."""
    return {name: grids(result)[name].isel(t=0, stop=0) for name in SEGMENTS}


def analyse(result: xr.DataTree) -> Analysis:
    analysis, found = Analysis(), segments(result)
    last = found["across"].isel(radius=slice(-3, None))
    radii = last["radius"].values
    law = power_law(radii, last["divergence"], last["divergence_stderr"])
    label = f"exponent of the error across t*, r = {radii[0]}..{radii[-1]}"
    analysis.rows.append(row(label, law.exponent, -2.0, WINDOW, "asymptotic"))
    across = measured(found["across"].sel(radius=8), "divergence").value
    for name in ("data-phase", "trivial-phase"):
        inside = measured(found[name].sel(radius=8), "divergence")
        ends = f"{list(SEGMENTS[name])} ({name}) over {list(SEGMENTS['across'])}"
        share = Estimate(inside.value / across, inside.stderr / across, 0)
        label = f"error of segment {ends}, r = 8"
        analysis.rows.append(row(label, share, 0.0, "0 for large r: harmless inside a phase", "asymptotic"))
    for name, title in (("small", "loops 3 x 3, bit flips"), ("small-ising", "Ising 3 x 3, erasure")):
        kl, drop, cmi = (grids(result)[name][key].values for key in ("divergence", "drop", "cmi"))
        seen = np.isfinite(kl) & (drop > 1e-12)
        for what, above, below in (("KL / sum of CMI drops", kl, drop), ("drops / sum of CMI", drop, cmi)):
            worst = float((above[seen] / below[seen]).max())
            analysis.rows.append(row(f"largest {what}, {title}", worst, source=BOUND))
    return analysis


def figure(result: xr.DataTree) -> Any:
    fig, ((left, middle), (third, right)) = plots.new_figure(2, rows=2)
    data, small = grids(result)["map"], grids(result)["small"]
    for ax, r in zip((left, middle), data["radius"].values, strict=False):
        _map(ax, data.sel(radius=r), "divergence", FLOOR, "KL (nats per bond)", 0.5)
        ax.set_title(f"Erased loops, r = {r}; black: t*")
    _map(third, small.isel(radius=1), "total_variation", 1e-3, "total variation", 2 * 0.10919)
    third.set_title("Loops 3 x 3, bit flips, r = 1: all states")
    for k, (name, curve) in enumerate(segments(result).items()):
        start, stop = SEGMENTS[name]
        plots.curves(right, curve, "divergence", "radius", k=k, log=True, label=f"{start} to {stop}: {name}")
    across = curve.isel(radius=slice(3, None))
    kl, radii = across["divergence"], across["radius"]
    right.plot(radii, 0.5 * kl[0] * (radii / radii[0]) ** -2.0, "k--", label=r"$r^{-2}$")
    right.set(ylabel="KL (nats per bond)", title="Error of three segments")
    plots.legend(right, 2)
    return fig


def _map(ax: Any, data: xr.Dataset, name: str, floor: float, label: str, t_star: float) -> None:
    plots.cells(ax, data, name, "t", "stop", label=label, log=True, vmin=floor)
    ax.axvline(t_star, color="k")
    ax.axhline(t_star, color="k")
    ax.set(xlabel=r"start $t_a$", ylabel=r"stop $t_b$")


SHOWS = "Local recovery undoes noise within a phase of masked loops; across t* = 1/2 its error falls only as r^(-2)."
STUDY = Study(NAME, "Phases: which segments local recovery undoes", SHOWS, wanted, analyse, figure)
