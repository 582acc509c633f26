"""Global only inside the window: as good as global everywhere, at a fraction of the cost?

Four schedules generate from pure noise, the window taken from the exact CMI at the local radius,

    LLL   local at all times                     LGL   global inside the window, local outside
    GLG   local inside the window only           GGG   global at all times

Loops have a transition; Ising spins have none at finite t, only a label (beta > beta_c) that is decided late. Quality
is that of small patches (or closed loops) and of the law of the magnetisation, which knows of the label.

GLG fails wherever its local window leaves what cannot be undone. Under erasure a bond stays as it was drawn; under
Gaussian noise the global end closes all loops again, and what closes is uniform, as all denoisers respect flips of
single faces and every loop is such an image of every other: GLG of uniform loops is exact there.
"""

import math
import textwrap
import time
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from .. import exact, plots
from ..channels import Channel
from ..denoisers import Denoiser, ExactDenoiser, Switch, pure_noise, unmask_loops, violated_vertices
from ..denoisers.reverse_process import four_schedules, generated
from ..errors import InputError
from ..exact.magnetisation import magnetisation_law, patch_law
from ..images.conclusions import SCHEDULES as SCHEDULE_WORDS
from ..models import DomainWalls, Ising
from ..noise_units import NoiseLevel, level
from ..phases import nonlocality_window
from ..results import grids, variable
from ..runs.points import Point
from ..runs.quantities import Column, Settings, Values, averages, check_solvable, quantity, with_errors
from .base import Analysis, Kind, Study, TrainingSettings, grid, measured, row, trained
from .recovery.measure import energies, half_chi_square, orders, patch_frequencies, return_times

NAME = "hybrid-generation"
SCHEDULES = ("LLL", "GLG", "LGL", "GGG")
TITLES = {
    "loops-erasure": "Loops under erasure",
    "loops-gaussian": "Loops, Gaussian noise",
    "ising": "Ising, β = 0.44",
    "ising-ordered": "Ising, β = 0.6",
    "learned": "Ising, β = 0.6, learned",
}
# variable, its name in rows of walls and of spins, and what it is compared with
WALLS = (
    ("error", "broken vertices", "closed loops"),
    ("mean_distance", "W_1 of mean bond", "as many true samples, less their null"),
)
SPINS = (
    ("error", "patch error", "exact law of 3x3 patches"),
    ("mean_distance", "W_1 of magnetisation", "exact law of m, less its null"),
)
# How global denoisers compare with perfect generation; reverse steps of finite length leave something of it.
PERFECT: dict[str, Kind] = {"loops-erasure": "exact", "learned": "learned"}
N_DRAWS = 200  # of the null of a distance


def wanted(full: bool) -> dict[str, Any]:
    walls, quantity = {"name": "domain-walls", "beta": 0.0}, {"quantity": "generation"}
    spins = {"name": "ising", "length": 10 if full else 8}
    n, radii = 20000 if full else 400, [1]
    settings = {"n_steps": 150 if full else 30, "tolerance": 2e-3, "n_noise": 2000 if full else 100}
    training = {"train_steps": 4000, "global_steps": 6000, "width": 48}
    short = {"train_steps": 150, "global_steps": 200, "width": 24}
    erased = {"radii": [4], "n_samples": 1000 if full else 50, "settings": {"tolerance": 3e-4}, **quantity}
    noisy = {"n_samples": 4000 if full else 200, "settings": {**settings, "tolerance": 1e-2}, **quantity}
    learned = {"quantity": "learned_generation", "settings": {**settings, **(training if full else short)}}
    exact_ = {"radii": radii, "n_samples": n, "settings": settings, **quantity}
    return {
        "loops-erasure": grid({**walls, "length": 64}, "erasure", **erased),
        "loops-gaussian": grid({**walls, "length": 12 if full else 8}, "gaussian", radii=radii, **noisy),
        "learned": grid({**spins, "beta": 0.6}, "gaussian", radii=radii, n_samples=8000 if full else 400, **learned),
        "ising": grid({**spins, "beta": 0.44}, "gaussian", **exact_),
        "ising-ordered": grid({**spins, "beta": 0.6}, "gaussian", **exact_),
    }


# -- schedules and their window ----------------------------------------------------------------------------------------


class GenerationSettings(Settings):
    """n_steps: reverse steps; tolerance (nats), n_times and n_noise (samples each) of the window's CMI curve."""

    n_steps: Annotated[int, Field(ge=2)] = 40
    tolerance: Annotated[float, Field(gt=0)] = 1e-3
    n_times: Annotated[int, Field(ge=3)] = 19
    n_noise: Annotated[int, Field(ge=2)] = 400


class LearnedGenerationSettings(GenerationSettings, TrainingSettings):
    """Both, and global_steps of training for the global network."""

    global_steps: Annotated[int, Field(ge=1)] = 1000


def window(
    model: Any, channel: Channel, radius: int, settings: GenerationSettings, rng: np.random.Generator
) -> tuple[float, float]:
    """Return start and stop of the nonlocality window at the middle of the lattice; 0 and 1 for ends not bracketed."""
    part = model.tripartition(radius)
    times = np.linspace(0.0, 1.0, settings.n_times + 2)[1:-1]
    n = settings.n_noise * (100 if _unmasked(model, channel) else 1)  # percolation is that much cheaper
    curve = [exact.cmi(model, channel, float(t), part, n, rng) for t in times]
    found = nonlocality_window(times, [c.value for c in curve], settings.tolerance, [c.stderr for c in curve])
    if found is None:
        raise InputError(
            f"tolerance must be below the largest CMI, {max(c.value for c in curve):.3g} nats at r = {radius}, "
            f"got {settings.tolerance}"
        )
    return 0.0 if found.start is None else found.start.value, 1.0 if found.stop is None else found.stop.value


def _unmasked(model: Any, channel: Channel) -> bool:
    """Whether data are generated bond by bond, in place of reverse steps."""
    return isinstance(model, DomainWalls) and channel.name == "erasure"


# -- at a point --------------------------------------------------------------------------------------------------------


def _generate(
    point: Point, local: Denoiser, everything: Denoiser, between: tuple[float, float], rng: np.random.Generator
) -> Values:
    model, channel, n = point.model, point.channel, point.n_samples
    times = return_times(model, channel, 1.0, point.settings.n_steps)
    true = truth(model, model.sample(n, rng))
    rows: dict[str, list[float]] = {}
    for schedule in four_schedules(local, everything, between).values():
        begin = time.perf_counter()
        x, cost = _run(model, (n, *model.image_shape), times, schedule, channel, rng)
        seconds = time.perf_counter() - begin
        found = quality(model, x.reshape(true.samples.shape), true, rng)
        for name, value in {**found, "cost": cost / model.sites.sum(), "seconds": seconds / n}.items():
            rows.setdefault(name, []).append(float(value))
    return {**{name: np.array(values) for name, values in rows.items()}, "window": np.array(between)}


def _run(
    model: Any, shape: tuple[int, ...], times: list[float], schedule: Switch, channel: Channel, rng: np.random.Generator
) -> tuple[NDArray, float]:
    """Return generated data and what all denoising of one sample cost."""
    if _unmasked(model, channel):
        costs = [schedule(float(t)).multiply_adds(shape[1:]) for t in np.linspace(0.0, 1.0, 201)]
        noise = pure_noise(shape, channel, 1.0, rng)
        return unmask_loops(noise, lambda t: schedule(t).radius, rng).x, float(np.mean(costs))
    return generated(shape, times, schedule, channel, rng, size=shape[0])[:2]


# -- quality of what is generated --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeanLaw:
    """True probabilities of the mean values -1, .., 1 of two-valued data, even in steps.

        W_1 = int |F(m) - F_true(m)| dm      (Wasserstein, in units of m)

    of the histogram of n samples. Even true samples are some way off, so their own expected distance is subtracted:
    zero within its error for perfect generation.

    Attributes:
        law: (N+1,), exact, or as frequencies of n_drawn samples (0: exact).
    """

    law: NDArray[np.float64]
    n_drawn: int = 0

    def distance(self, means: NDArray, rng: np.random.Generator) -> tuple[float, float]:
        """Return W_1 of samples' means to the true law, less what true samples would have, and its standard error."""
        n, found = len(means), frequencies(means, len(self.law))
        true = rng.multinomial(n, self.law, N_DRAWS) / n
        reference = rng.multinomial(self.n_drawn, self.law, N_DRAWS) / self.n_drawn if self.n_drawn else self.law
        null = self._apart(true, reference)
        again = self._apart(rng.multinomial(n, found, N_DRAWS) / n, reference)
        value = self._apart(found, self.law) - null.mean()
        return float(value), float(max(null.std(ddof=1), again.std(ddof=1)))

    def _apart(self, p: NDArray, q: NDArray) -> NDArray[np.float64]:
        step = 2.0 / (len(self.law) - 1)
        return np.asarray(step * np.abs(np.cumsum(p - q, axis=-1)).sum(axis=-1))


def frequencies(means: NDArray, size: int) -> NDArray[np.float64]:
    """Return the shares (size,) of means at -1, .., 1 in even steps."""
    index = np.rint((means + 1.0) / 2.0 * (size - 1)).astype(np.int64)
    return np.asarray(np.bincount(index, minlength=size) / len(means))


@dataclass(frozen=True)
class Truth:
    """What generated samples are compared with.

    Attributes:
        samples: as many, drawn from p_0.
        patches: (512,), exact probabilities of 3 x 3 patches of spins; None for domain walls.
        means: the law of a sample's mean value, exact for spins, that of the true samples for domain walls.
    """

    samples: NDArray
    patches: NDArray[np.float64] | None
    means: MeanLaw


def truth(model: Any, samples: NDArray) -> Truth:
    if isinstance(model, DomainWalls):
        found = frequencies(means(model, samples), int(model.sites.sum()) + 1)
        return Truth(samples, None, MeanLaw(found, len(samples)))
    shape = model.lattice.shape
    return Truth(samples, patch_law(shape, model.beta, 3), MeanLaw(magnetisation_law(shape, model.beta)[1]))


def quality(model: Any, x: NDArray, true: Truth, rng: np.random.Generator) -> dict[str, float]:
    """Return how far generated samples are from the truth, 0 for perfect generation; each value with its error."""
    found: dict[str, Any] = {}
    measures = {"energy_change": energies, "order_change": orders, "correlation_change": half_way_correlations}
    for name, of in measures.items():
        one, other = of(model, x), of(model, true.samples)
        found[name] = one.mean() - other.mean()
        found[f"{name}_stderr"] = math.sqrt((one.var(ddof=1) + other.var(ddof=1)) / len(x))
    found["mean_distance"], found["mean_distance_stderr"] = true.means.distance(means(model, x), rng)
    if true.patches is None:
        broken = violated_vertices(np.where(model.sites, x, 0))
        return averages({"error": broken}, unit=1 / model.sites.sum()) | found
    error, stderr = half_chi_square(patch_frequencies(model, x, side=3) - true.patches, true.patches)
    return {"error": error, "error_stderr": stderr, **found}


def means(model: Any, x: NDArray) -> NDArray[np.float64]:
    """Return the mean of all values (n,), the magnetisation of spins."""
    return np.asarray(x[:, model.sites].mean(axis=1, dtype=float))


def half_way_correlations(model: Any, x: NDArray) -> NDArray[np.float64]:
    """Return the mean product of values half the lattice apart (n,), over rows and columns; of walls, right bonds."""
    plane = x[:, 0, :, :-1] if isinstance(model, DomainWalls) else x
    products = []
    for axis in (1, 2):
        half = plane.shape[axis] // 2
        along = np.moveaxis(plane, axis, 1)
        products.append((along[:, :-half] * along[:, half:]).mean(axis=(1, 2), dtype=float))
    return np.asarray(0.5 * (products[0] + products[1]))


# -- the quantities ----------------------------------------------------------------------------------------------------


def _coordinates(table: dict[str, Any]) -> dict[str, xr.Variable]:
    letters = "L local, G global: before, inside and after the window"
    schedule = variable("schedule", SCHEDULES, "1", letters)
    return {"schedule": schedule, "end": variable("end", ["start", "stop"], "1", "end of the window")}


def _check(point: Point) -> None:
    check_solvable(point)
    if len(point.radii) != 1:
        raise InputError(f"radii must hold the one radius of the local denoiser, got {point.radii}")
    model = point.model
    if isinstance(model, Ising):
        model.check_plain("the quality of generated spins")
    if _unmasked(model, point.channel) and (model.beta > 0.0 or model.periodic):
        raise InputError("erased domain walls are generated for uniform loops only, beta = 0 on an open grid")


DIMS = ("schedule",)
COLUMNS = {
    **with_errors("error", DIMS, "1", "half chi^2 of 3 x 3 patches, or fraction of broken vertices"),
    **with_errors("mean_distance", DIMS, "1", "W_1 of the law of the mean value to the true one, less its null"),
    **with_errors("energy_change", DIMS, "1", "energy per site (bond), generated less true"),
    **with_errors("order_change", DIMS, "1", "squared mean value, generated less true"),
    **with_errors("correlation_change", DIMS, "1", "correlation at half the lattice, generated less true"),
    "cost": Column(DIMS, "1", "multiply-adds (exact denoisers: entries read) per value, all steps"),
    "seconds": Column(DIMS, "s", "measured time per sample, all steps"),
    "window": Column(("end",), "1", "nonlocality window of the exact CMI"),
}


HOW: dict[str, Any] = {"reads": ("radii",), "check": _check, "timed": False}


@quantity("generation", COLUMNS, _coordinates, GenerationSettings, models=("ising", "domain-walls"), **HOW)
def generation(point: Point, rng: np.random.Generator) -> Values:
    model, channel, radius = point.model, point.channel, point.radii[0]
    between = window(model, channel, radius, point.settings, rng)
    return _generate(point, ExactDenoiser(model, channel, radius), ExactDenoiser(model, channel), between, rng)


@quantity("learned generation", COLUMNS, _coordinates, LearnedGenerationSettings, models=("ising",), **HOW)
def learned_generation(point: Point, rng: np.random.Generator) -> Values:
    from ..denoisers import GlobalNet, fit

    model, channel, settings, radius = point.model, point.channel, point.settings, point.radii[0]
    between = window(model, channel, radius, settings, rng)
    local = trained(model, channel, radius, settings, rng)
    everything = GlobalNet(channel=channel, width=settings.width, rng=rng)
    steps, batch_size = settings.global_steps, settings.batch_size
    fit(everything, model.sample, progress=False, rng=rng, steps=steps, batch_size=batch_size)
    return _generate(point, local, everything, between, rng)


# -- what follows ------------------------------------------------------------------------------------------------------


def _noise(name: str, t: float) -> str:
    """Return a time in words, of Gaussian noise in all units."""
    return f"t = {t:.3f}" if name == "loops-erasure" else level(round(t, 3), float(NoiseLevel.of(t, "linear").log_snr))


def analyse(result: xr.DataTree) -> Analysis:
    rows = []
    for name, title in TITLES.items():
        data = grids(result)[name]
        start, stop = data["window"].values
        width, ends = stop - start, " to ".join(_noise(name, t) for t in (start, stop))
        rows.append(row(f"window, start to stop, {title}", width, source=ends))
        for column, what, source in WALLS if name.startswith("loops") else SPINS:
            for kind in SCHEDULES:
                found = measured(data.sel(schedule=kind), column)
                known = (0.0, source, PERFECT.get(name, "asymptotic")) if kind == "GGG" else (None, source)
                rows.append(row(f"{kind} {what}, {title}", found, *known))
        saving = float(data["cost"].sel(schedule="LGL") / data["cost"].sel(schedule="GGG"))
        rows.append(row(f"LGL cost / GGG cost, {title}", saving, source="multiply-adds or entries read"))
    return Analysis(rows=rows)


def figure(result: xr.DataTree) -> Any:
    """Draw error, law of the mean value and cost of the four schedules, a column for each system and its window."""
    fig, (left, middle, right) = plots.new_figure(3, height=4.6)
    data, place = [grids(result)[name] for name in TITLES], np.arange(len(TITLES))
    for k, kind in enumerate(SCHEDULES):
        chosen, x = [one.sel(schedule=kind) for one in data], place + 0.16 * (k - 1.5)
        for ax, key in ((left, "error"), (middle, "mean_distance")):
            found = [measured(one, key) for one in chosen]
            plots.curve(ax, k, x, [e.value for e in found], [e.stderr for e in found], SCHEDULE_WORDS[kind], ms=7)
        cost = [float(one["cost"].sel(schedule=kind) / one["cost"].sel(schedule="GGG")) for one in data]
        plots.curve(right, k, x, cost, None, ms=7)
    left.set(title="Small scale: vertices of loops, patches of spins")
    left.set(ylabel=r"broken vertices; patch error $\frac{1}{2}\chi^2$ (nats)")
    left.set_yscale("symlog", linthresh=1e-3, linscale=0.5)
    middle.set(title="Large scale: the law of the mean value", ylabel=r"$W_1$ to the true law, less its null")
    middle.set_yscale("symlog", linthresh=1e-2)
    right.set(title="What it costs", ylabel="cost / cost of global at all times", yscale="log")
    systems = [_system(name, *one["window"].values) for name, one in zip(TITLES, data, strict=True)]
    for ax in (left, middle, right):
        ax.axhline(1.0 if ax is right else 0.0, color="k", lw=1, zorder=1)
        for k in place[1:]:
            ax.axvline(k - 0.5, color="0.85", lw=1)
        ax.set_xticks(place, systems, fontsize="x-small")
        ax.set_xlabel("system and its window", fontsize="small")
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


def _system(name: str, low: float, high: float) -> str:
    """Return the lines of a tick: a system and its window in t, and in σ/α and log snr under Gaussian noise."""
    lines = [line for part in TITLES[name].split(", ") for line in textwrap.wrap(part, 14)]
    lines.append(f"t {low:.2f} to {high:.2f}")
    if name != "loops-erasure":
        noise = NoiseLevel.of([low, high], "linear")
        lines.append("σ/α {:.2g} to {:.2g}".format(*noise.to("sigma")))
        lines.append("log snr\n{:+z.1f} to {:+z.1f}".format(*noise.log_snr))
    return "\n".join(lines)


SHOWS = "Denoisers global only inside the window of large CMI (LGL) generate nearly as well as global ones (GGG)."
STUDY = Study(NAME, "Hybrid generation: global only inside the window", SHOWS, wanted, analyse, figure)
