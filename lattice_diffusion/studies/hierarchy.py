"""The random hierarchy model: where noise hides the root, and what a leaf tells of leaves far away.

Three processes. Erasure and uniform noise are noise on data, and their transition follows from the law of beliefs.
The epsilon process of Sclocchi, Favero and Wyart puts a belief of 1 - t + t/v on every clean leaf; its transition is
that of the mean belief, 0.7312 for v = 32, m = 8, s = 2, far later than that of any noise.

Far leaves are told from one another by the path up the tree: I_t(A;C|B) with B the subtree of height h around A falls
by a factor a level, which is a power of the distance s^h in leaves. A box around A is no subtree: it meets branches of
all heights, so that the curve over radii has steps, and is not monotonic in what is left to know.

Erased leaves that local posteriors of height h give back one by one, from t down to s, cost int_s^t I_u(h)/(1-u) du
nats a leaf (the chain rule): the same phases by local recovery. The tallest subtree is left out of fits, as it has one
sibling outside and nothing beyond.
"""

from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field
from scipy.special import entr

from .. import plots
from ..exact.hierarchy import density_transition, mean_belief_transition
from ..lattice import FloatArray
from ..models import RandomHierarchy
from ..noise_units import trapezoid
from ..phases import Crossing, finite_size_crossing, power_law
from ..results import grids
from ..runs.points import Point
from ..runs.quantities import Settings, Values, averages, quantity, with_errors
from .base import Analysis, Study, grid, row, rows_of, spec_of

NAME = "hierarchy"
TREE: dict[str, Any] = {"name": "random-hierarchy", "branching": 2, "vocabulary": 32, "synonyms": 8}
PROCESSES = {  # channel, leaves, times around the transition
    "erasure": ("erasure", "noisy", [0.24, 0.255, 0.27, 0.285, 0.30, 0.315]),
    "uniform": ("uniform", "noisy", [0.135, 0.145, 0.155, 0.165, 0.175, 0.185]),
    "epsilon": ("uniform", "believed", [0.70, 0.71, 0.72, 0.73, 0.74, 0.75]),
}
SEGMENTS = {"below t*": (0.05, 0.2), "across t*": (0.2, 0.35), "above t*": (0.35, 0.7)}  # of local recovery
MEAN = "unstable fixed point of F(p) (2402.16991), asymptotic in depth"
LAW = "law of beliefs from level to level, asymptotic in depth"


class RootSettings(Settings):
    """leaves: "noisy" through the channel, or "believed" to be what they were with 1 - t + t/v; rules: how many."""

    leaves: Literal["noisy", "believed"] = "noisy"
    rules: Annotated[int, Field(ge=1)] = 50


COLUMNS = {
    **with_errors("root_entropy", (), "1", "E H(root|x_t) / log v"),
    **with_errors("root_belief", (), "1", "belief in the root's true symbol"),
}


@quantity("the entropy of the root", COLUMNS, settings=RootSettings, models=("random-hierarchy",))
def root_entropy(point: Point, rng: np.random.Generator) -> Values:
    """Average over fresh rules, so that samples of one set of rules are one number of the average."""
    model, settings = point.model, point.settings
    sizes = (model.depth, model.branching, model.vocabulary, model.synonyms)
    n_each, rows = max(1, point.n_samples // settings.rules), []
    for _ in range(settings.rules):
        tree = RandomHierarchy(*sizes, rules=rng)
        channel = type(point.channel)(tree.q)
        x_0 = tree.sample(n_each, rng)
        seen = x_0 if settings.leaves == "believed" else channel.corrupt(x_0, point.t, rng)
        law = tree.solver.beliefs(channel.likelihoods(seen, point.t), 0)[:, 0]
        truth = tree.solver.beliefs(channel.likelihoods(x_0, 0.0), 0)[:, 0]
        entropy = entr(law).sum(axis=1)
        rows.append([entropy.mean() / np.log(tree.q), (law * truth).sum(axis=1).mean()])
    found = np.array(rows)
    return averages({"root_entropy": found[:, 0], "root_belief": found[:, 1]})


def wanted(full: bool) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, (channel, leaves, times) in PROCESSES.items():
        # beliefs fall at first in shallower ones, whatever becomes of them
        model = {**TREE, "depth": [8, 10, 12] if full else [7, 9, 11]}
        settings = {"leaves": leaves, "rules": 400 if full else 60}
        keys = {"t": times, "n_samples": 2000 if full else 200, "quantity": "root_entropy"}
        table[name] = grid(model, channel, settings=settings, **keys)
    depth = 9 if full else 7
    late = {
        "erasure": [0.05, 0.1, 0.15, 0.2, 0.24, 0.2715, 0.31, 0.35, 0.42, 0.5, 0.6, 0.7],
        "uniform": [0.04, 0.08, 0.12, 0.16, 0.22, 0.3, 0.4, 0.5],
    }
    for channel, t in late.items():
        model, n = {**TREE, "depth": depth, "rules": 1}, 4000 if full else 600
        trees, boxes = {**model, "subtree": True}, {**model, "subtree": False}
        radii, sides = list(range(1, depth)), [1, 2, 3, 4, 6, 8, 11, 16, 22, 32]
        table[f"{channel}-subtree"] = grid(trees, channel, t=t, radii=radii, n_samples=n, patch=1)
        table[f"{channel}-box"] = grid(boxes, channel, t=t[1::2], radii=sides, n_samples=n // 4)
    return table


def predicted(name: str) -> float:
    """Return the time at which a process hides the root."""
    v, m, s = (TREE[key] for key in ("vocabulary", "synonyms", "branching"))
    time = mean_belief_transition(v, m, s) if name == "epsilon" else density_transition(name, v, m, s)
    assert time is not None
    return time


def crossing(data: xr.Dataset, guess: float) -> Crossing:
    """Return where the root's entropy crosses for all depths; the size is the number of leaves."""
    size, t = np.meshgrid(2.0 ** data["depth"].values, data["t"].values, indexing="ij")
    stderr = np.maximum(data["root_entropy_stderr"].values, 1e-4)
    return finite_size_crossing(t, size, data["root_entropy"].values, stderr, (guess, 2.0), 3)


def analyse(result: xr.DataTree) -> Analysis:
    data, rows = grids(result), []
    for name in PROCESSES:
        t_star = predicted(name)
        found = crossing(data[name], t_star)
        source, label = MEAN if name == "epsilon" else LAW, f"t* ({name}): the root's entropy crosses over depths"
        rows.append(row(label, found.critical, t_star, source, "asymptotic"))
        rows.append(row(f"nu ({name}), in leaves", found.nu))
    for channel in ("erasure", "uniform"):
        curve = data[f"{channel}-subtree"]
        for t in curve["t"].values:
            one = curve.sel(t=t).isel(radius=slice(1, -1))
            seen = one["cmi"].values > 3 * one["cmi_stderr"].values
            if seen.sum() >= 3:
                distance = 2.0 ** one["radius"].values[seen]
                law = power_law(distance, one["cmi"].values[seen], one["cmi_stderr"].values[seen])
                label = f"exponent of I(A;C|B) in the distance in leaves, subtrees, {channel}, t = {t:g}"
                rows.append(row(label, law.exponent))
            label = f"Markov length in levels of the tree, {channel}, t = {{t:g}}"
            rows += rows_of(curve.sel(t=t), "markov_length", label)
    for name in SEGMENTS:
        height, cost, error = recovery(data["erasure-subtree"], name)
        if (cost > 3 * error).sum() >= 3:
            exponent = power_law(2.0**height, cost, error).exponent
            rows.append(row(f"exponent of the cost of local recovery in leaves, {name}", exponent))
    return Analysis({}, rows)


def recovery(curve: xr.Dataset, name: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return heights in between, the nats a leaf that local recovery of a segment costs by each, and their errors."""
    start, stop = SEGMENTS[name]
    one = curve.sel(t=(curve["t"] >= start) & (curve["t"] <= stop)).isel(radius=slice(1, -1))
    t = one["t"].values
    weights = trapezoid(t) / (1 - t)
    cost = weights @ one["cmi"].transpose("t", "radius").values
    error = np.sqrt(weights**2 @ one["cmi_stderr"].transpose("t", "radius").values ** 2)
    return one["radius"].values, cost, error


def figure(result: xr.DataTree) -> Any:
    data = grids(result)
    fig, rows = plots.new_figure(3, width=4.6, rows=2)
    axes = rows.ravel()
    for k, name in enumerate(PROCESSES):
        one = data[name]
        for j, depth in enumerate(one["depth"].values):
            shift = one["t"].values - predicted(name)
            label = f"{name}, depth {depth:g}" if j in (0, one.sizes["depth"] - 1) else None
            errors = one["root_entropy_stderr"].isel(depth=j)
            plots.curve(axes[0], k, shift, one["root_entropy"].isel(depth=j), errors, label, alpha=0.4 + 0.2 * j)
    axes[0].axvline(0.0, color="k", lw=1)
    axes[0].set(xlabel="t - t* (predicted)", ylabel="E H(root | x) / log v", title="The root is lost at t*")
    for ax, kind, title in ((axes[1], "subtree", "B a subtree"), (axes[2], "box", "B a box")):
        one = data[f"erasure-{kind}"]
        distance = 2.0 ** one["radius"].values if kind == "subtree" else one["radius"].values
        for k, t in enumerate(data["erasure-box"]["t"].values):
            at = one.sel(t=t)
            plots.curve(ax, k, distance, at["cmi"], at["cmi_stderr"], f"t = {t:g}")
        floor = max(1e-9, 0.3 * float(one["cmi"].where(one["cmi"] > 0).min()))
        xlabel = "leaves of B and A" if kind == "subtree" else "radius"
        ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="I(A;C|B) (nats)", title=title, ylim=(floor, 3))
        ax.set_xticks(distance, [f"{x:g}" for x in distance])
        ax.minorticks_off()
    one = data["erasure-box"]
    plots.heat_map(axes[3], one["t"], one["radius"], one["cmi"].transpose("radius", "t"), "I(A;C|B) (nats)", log=True)
    axes[3].axvline(predicted("erasure"), color="k", lw=1)
    depth = spec_of(result).grids["erasure-box"].model["depth"]
    axes[3].set(xlabel="erased fraction t", ylabel="radius", title=f"Boxes, depth {depth:g}")
    for k, channel in enumerate(("erasure", "uniform")):
        one = data[f"{channel}-subtree"]
        plots.curve(axes[4], k, one["t"], one["markov_length"], one["markov_length_stderr"], channel)
        axes[4].axvline(predicted(channel), color=plots.COLORS[k], lw=1, ls=":")
    axes[4].set(xlabel="time t", ylabel="Markov length (levels)", title="Longest around t* (dotted)")
    for k, name in enumerate(SEGMENTS):
        height, cost, error = recovery(data["erasure-subtree"], name)
        plots.curve(axes[5], k, 2.0**height, cost, error, f"{name}: {SEGMENTS[name][1]:g} to {SEGMENTS[name][0]:g}")
    axes[5].set(xscale="log", yscale="log", xlabel="leaves of B and A", ylabel="KL (nats a leaf)")
    axes[5].set_title("Local recovery of erased leaves")
    plots.plain_log(axes[5].xaxis)
    for ax in (*axes[:3], *axes[4:]):
        plots.legend(ax, 2)
    return fig


SHOWS = (
    "Noise hides the root of a random hierarchy at a finite time that beliefs predict; far leaves are told from one "
    "another by a power of their distance in leaves."
)
STUDY = Study(NAME, "Random hierarchy: a transition at finite time", SHOWS, wanted, analyse, figure)
