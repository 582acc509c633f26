"""Several denoisers of one data set: what each costs in likelihood and in time, and where which of them may work.

    found = ld.compare({"global": g, "small": s, "r3": l}, images, levels=20, unit="log_snr")
    found.window(0.1, "small")                where the small network must not be used
    plan = found.schedule(budget=1.0)         the cheapest network at every noise level, for 1 nat per image
    plan.bounds("sigma"), plan.saving

By Girsanov's theorem a denoiser m in place of the best one m* adds to the Kullback-Leibler divergence of the generated
data at most

    KL = 1/2 int d(snr) sum_i [mse_i(m) - mse_i(m*)],

which is taken by the trapezoidal rule in log snr between the levels; nothing is added outside them. All networks see
one noise, so that errors are subtracted image by image; the best is, at every level, the one of least error there.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, array_of, device_of, gpu_memory, shown
from ..lattice import FloatArray, Rng
from ..noise_units import NoiseLevel, level, trapezoid, unit_of
from ..phases import Allocation, Window, evaluate_schedule, nonlocality_window, optimal_schedule, schedule_frontier
from ..progress import progress_bar
from ..registry import find, is_file
from ..results import Row, load, provenance, tree, write
from ..store import unfinished
from .paired_errors import (
    Draw,
    Networks,
    Samples,
    fingerprint,
    gpu_of,
    groups_of,
    log_snr_of,
    mean_and_error,
    measured,
    moved,
    named_networks,
)
from .posterior import Denoiser
from .reverse_process import generated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "compare"
Cost = Literal["seconds", "multiply_adds"]


def compare(
    networks: Networks,
    data: NDArray | Draw,
    levels: ArrayLike | int = 16,
    *,
    unit: Any = "linear",
    n_samples: int | None = None,
    condition: ArrayLike | None = None,
    budget: float | None = None,
    batch_size: int = 64,
    rng: Rng = 0,
    device: str | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = False,
) -> "Comparison":
    """Return the errors and costs of denoisers at noise levels, and what follows from them.

    A run that was killed goes on with `resume`, to the same errors.

    Args:
        networks: denoisers by name, of Gaussian noise on any schedule: `wrap` makes them of anyone's networks.
        data: clean values (n, channel, *lattice) that the networks were not trained on, or draw(n, rng) -> such an
            array, for fresh ones.
        levels: noise levels in `unit`, two or more; or how many, at equal steps of log snr from 6 to -6.
        unit: see `noise_units`.
        n_samples: how many are taken, evenly spaced in an array, by default all of it, and 1,024 fresh ones.
        condition: one value per sample, (n, ...), for the networks that take one (see `wrap`).
        budget: KL in nats per sample of the schedule that the result file, figure and report show.
        batch_size: samples denoised at a time.
        rng: decides noise and fresh data.
        device: of torch, or "auto", that all networks move to; None: each works where its weights are.
        out: result file; resume: go on with an interrupted run; force: overwrite what is there.
        progress: whether a bar shows the progress on a terminal.

    Raises InputError for networks, levels or data that do not fit, each in one sentence.
    """
    named = named_networks(networks)
    if device is not None:
        device = device_of(device)
        for net in named.values():
            moved(net, device)
    log_snr = log_snr_of(levels, unit, named)
    samples = Samples.of(data, n_samples, condition, batch_size, rng)
    plan = {
        "networks": {name: fingerprint(net) for name, net in named.items()},
        "log_snr": log_snr.tolist(),
        "unit": unit_of(unit).name,
        **samples.describe(),
    }
    with unfinished(out, NAME, load, resume=resume, force=force) as parts:
        parts.begin(plan, **({} if budget is None else {"budget": budget}))
        if parts.finished:
            return Comparison(load(parts.out), named)
        remedy = "take a smaller batch_size"
        with progress_bar("comparing", samples.n_batches, shown=progress) as advance, gpu_memory(remedy):
            errors, seconds = measured(named, samples, log_snr, parts, advance)
        groups = groups_of(named, errors, seconds, log_snr, samples)
        attributes = provenance(NAME, json.dumps({**plan, "budget": budget}), samples.seed, complete=True)
        found = Comparison(tree(attributes, groups), named)
        found = Comparison(tree(attributes, groups, found.rows(budget)), named)
        if out is not None:
            write(out, found.result)
        parts.remove()
    return found


def denoisers_in(texts: Iterable[str]) -> list[tuple[str, Any]]:
    """Return denoisers by name from NAME=file.py:FUNCTION, each the function's answer, or what stands in its place.

    Raises InputError for text of another form.
    """
    found = []
    for text in texts:
        name, equals, place = text.partition("=")
        if not (name and equals and is_file(place)):
            raise InputError(f"a denoiser must be given as NAME=file.py:FUNCTION, got {shown(text)}")
        made = find(place, (), "denoiser")
        found.append((name, made if hasattr(made, "channel") else made()))
    return found


def levels_in(text: str) -> int | list[float]:
    """Return the number of noise levels, or their list, from text such as 16 or 0.2,0.5,0.8."""
    try:
        return int(text) if text.strip().isdigit() else [float(word) for word in text.split(",")]
    except ValueError:
        raise InputError(f"levels must be a number such as 16 or a list such as 0.2,0.5, got {shown(text)}") from None


# -- what follows ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SwitchingSchedule:
    """Which network works at which noise level.

    schedule(t) is the network at the time t of the networks' channel, as `reverse` asks for it.

    Attributes:
        log_snr: of the levels, falling; names: of the network at each.
        kl, kl_stderr: predicted KL beyond the best networks, in nats per sample.
        cost: of all steps, in seconds or multiply-adds per sample; dearest: with the dearest network throughout.
    """

    log_snr: FloatArray
    names: tuple[str, ...]
    kl: float
    kl_stderr: float
    cost: float
    dearest: float
    networks: Mapping[str, Any]

    @property
    def saving(self) -> float:
        """How many times cheaper it is than the dearest network throughout."""
        return self.dearest / self.cost if self.cost else np.inf

    def bounds(self, unit: Any = "linear") -> list[tuple[str, float, float]]:
        """Return (network, first, last) from noise to data, switching half-way between levels in log snr."""
        switches = [k for k in range(1, len(self.names)) if self.names[k] != self.names[k - 1]]
        cuts = [self.log_snr[0], *(self.log_snr[[k - 1, k]].mean() for k in switches), self.log_snr[-1]]
        values = np.atleast_1d(NoiseLevel(np.array(cuts)).to(unit))
        parts = zip([0, *switches], values[:-1], values[1:], strict=True)
        return [(self.names[k], float(stop), float(start)) for k, start, stop in parts][::-1]

    @property
    def channel(self) -> Any:
        """The noise of its networks."""
        if not self.networks:
            raise InputError("the schedule has no networks to generate with; give them to Comparison(result, networks)")
        return next(iter(self.networks.values())).channel

    def __call__(self, t: float) -> Denoiser:
        with np.errstate(divide="ignore"):
            level = np.log(self.channel.snr(t))
        cuts = -(self.log_snr[1:] + self.log_snr[:-1]) / 2
        found: Denoiser = self.networks[self.names[int(np.searchsorted(cuts, -level, side="right"))]]
        return found


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    Attributes:
        result: groups `gaps` (level, network), `costs` (network) and `images`, the squared error of every sample.
        networks: denoisers by name, for generating; empty where only the file is there.
    """

    result: xr.DataTree
    networks: Mapping[str, Any]

    @classmethod
    def load(cls, path: str | os.PathLike[str], networks: Networks = ()) -> "Comparison":
        """Return the comparison in a result file."""
        result = load(path)
        if result.attrs.get("name") != NAME:
            raise InputError(f"{path} must be the result of compare, got one of {result.attrs.get('name')!r}")
        return cls(result, dict(networks))

    @property
    def table(self) -> xr.Dataset:
        """The gaps: mse, gap, kl (level, network) with errors NAME_stderr, on coordinates level and network."""
        return self._group("gaps")

    def _group(self, name: str) -> xr.Dataset:
        return self.result[name].to_dataset()

    @property
    def names(self) -> list[str]:
        """The names of the networks."""
        return [str(name) for name in self.table["network"].values]

    @property
    def log_snr(self) -> FloatArray:
        """The noise levels, falling."""
        return np.asarray(self.table["log_snr"].values)

    @property
    def _per_level(self) -> FloatArray:
        """Nats of every sample, level and network: 1/2 snr times the squared error, per unit of log snr."""
        return np.asarray(self._group("images")["squared_error"].values * (0.5 * np.exp(self.log_snr))[:, None])

    def density(self, network: str, beyond: str | None = None) -> tuple[FloatArray, FloatArray]:
        """Return KL per unit of log snr in nats per sample at every level, with its errors.

        It is beyond the best network, or beyond that called `beyond`.
        """
        other = self._best if beyond is None else self._index(beyond)
        nats = self._per_level
        return mean_and_error(nats[:, :, self._index(network)] - nats[:, np.arange(len(self.log_snr)), other])

    def window(
        self, tolerance: float, network: str | None = None, *, beyond: str | None = None, unit: Any = "linear"
    ) -> Window | None:
        """Return where a network must not be used: its KL per unit of log snr exceeds `tolerance` nats per sample.

        Args:
            network: which, by default the cheapest.
            beyond: the network it is compared with, by default the best at every level; the unconditional beyond the
                conditional one gives the interval in which the condition matters.
            unit: of the ends, from the clean one (`start`) to the noisy one; an end that the levels do not bracket is
                None.

        Returns None for a network that may be used everywhere.
        """
        network = network or self.names[int(self._costs("seconds").argmin())]
        density, stderr = self.density(network, beyond)
        seen = nonlocality_window(-self.log_snr, density, tolerance, stderr)
        ends = (end and replace(end, value=-end.value) for end in (seen.start, seen.stop)) if seen else ()
        return Window(*ends).to(unit, "log_snr") if seen else None

    def schedule(
        self, budget: float, *, cost: Cost = "seconds", steps: ArrayLike | None = None, unit: Any = "linear"
    ) -> SwitchingSchedule:
        """Return the cheapest choice of a network at every level whose KL beyond the best ones is at most `budget`.

        Args:
            budget: nats per sample.
            cost: what is to be small.
            steps: noise levels in `unit` at which networks are called; by default once at every level.

        Raises InputError where none keeps the budget.
        """
        area, costs = self._tables(cost, steps, unit)
        return self._switching(optimal_schedule(area, costs, budget), costs)

    def frontier(self, **pricing: Any) -> list[SwitchingSchedule]:
        """Return the schedules than which none is cheaper at its error, from the cheapest to the most exact.

        Options are cost, steps and unit, as for `schedule`.
        """
        area, costs = self._tables(**pricing)
        return [self._switching(one, costs) for one in schedule_frontier(area, costs)]

    def throughout(self, network: str, **pricing: Any) -> SwitchingSchedule:
        """Return the schedule of one network at all levels; options are cost, steps and unit, as for `schedule`."""
        area, costs = self._tables(**pricing)
        return self._switching(evaluate_schedule(np.full(len(area), self._index(network)), area, costs), costs)

    def validate(
        self,
        n: int,
        real: NDArray,
        *,
        budget: float,
        features: Callable[[NDArray], NDArray] | None = None,
        labels: ArrayLike | None = None,
        statistics: Mapping[str, Callable[[NDArray], NDArray]] | None = None,
        deterministic: bool = False,
        batch_size: int = 64,
        rng: Rng = 0,
        **pricing: Any,
    ) -> xr.Dataset:
        """Generate with the cheapest network, the dearest one and the schedule for a budget, and return their quality.

        Args:
            n: samples generated by each, 40 or more.
            real: real ones (m, channel, *lattice); distances are to the first half, and `real` is the second half.
            features: images -> (n, feature), in which Frechet distances are measured; or labels: codes (m,) of `real`,
                by which a small classifier is trained on the first half, whose features are taken.
            statistics: other measures of every sample by name, such as an energy: samples -> (n,).
            deterministic: follow the probability flow.
            budget, pricing: as for `schedule`; without steps, one step from level to level and then to t = 0.

        Returns:
            kl (predicted), patch_divergence (single-channel images), frechet_distance and statistics with NAME_stderr,
            seconds and multiply_adds per sample, on the coordinate `schedule`: real, cheapest, schedule, dearest.
        """
        from ..images.hybrid_networks import Classifier, fit_classifier
        from ..images.hybrid_quality import frechet_distance, patch_divergence

        order = [self.names[k] for k in np.argsort(self._costs(pricing.get("cost", "seconds")))]
        plan = self.schedule(budget, **pricing)
        plans = {"cheapest": self.throughout(order[0], **pricing), "schedule": plan}
        plans["dearest"] = self.throughout(order[-1], **pricing)
        real, rng = array_of("real", real).astype(float), np.random.default_rng(rng)
        reference, others = np.array_split(real, 2)
        if labels is not None:
            codes = np.asarray(labels)[: len(reference)]
            net = Classifier(real.shape[1:], int(codes.max()) + 1, rng)
            fit_classifier(net, reference, codes, rng)
            features = lambda x: net.see(x)[0]  # noqa: E731
        steps = pricing.get("steps")
        log_snr = self.log_snr if steps is None else NoiseLevel.of(steps, pricing.get("unit", "linear")).log_snr
        times = [*(plan.channel.time(float(snr)) for snr in np.exp(np.sort(log_snr))), 0.0]
        sets, spent = {"real": others}, {"real": (0.0, 0.0)}
        how: dict[str, Any] = {"size": batch_size, "device": gpu_of(self.networks), "deterministic": deterministic}
        for name, one in plans.items():
            made = generated((n, *real.shape[1:]), times, one, plan.channel, rng, **how)
            sets[name], spent[name] = made.samples, (made.seconds / n, made.multiply_adds)
        found: dict[str, list[float]] = {}

        def note(name: str, value: float, stderr: float) -> None:
            found.setdefault(name, []).append(value)
            found.setdefault(f"{name}_stderr", []).append(stderr)

        for kind, samples in sets.items():
            note("kl", *((plans[kind].kl, plans[kind].kl_stderr) if kind in plans else (0.0, 0.0)))
            if real.ndim == 4 and real.shape[1] == 1:
                apart = patch_divergence(samples, reference, float(real.min() + real.max()) / 2)
                note("patch_divergence", apart.value, apart.stderr)
            if features is not None:
                apart = frechet_distance(features(samples), features(reference))
                note("frechet_distance", apart.value, apart.stderr)
            for name, measure in (statistics or {}).items():
                note(name, *map(float, mean_and_error(np.asarray(measure(samples), float))))
        found["seconds"], found["multiply_adds"] = ([spent[kind][k] for kind in sets] for k in (0, 1))
        table = {name: ("schedule", values) for name, values in found.items()}
        return xr.Dataset(table, coords={"schedule": list(sets)})

    def rows(self, budget: float | None = None) -> list[Row]:
        """Return the table of a result: KL and cost of every network, and of the schedule for a budget."""
        found = []
        for name in self.names:
            one = self.throughout(name)
            found.append(Row(NAME, f"KL beyond the best, {name} (nat)", None, one.kl, one.kl_stderr, "Girsanov"))
        for key, variable in self._group("costs").data_vars.items():
            for name, value in zip(self.names, variable.values, strict=True):
                if value:  # what a function does is not counted
                    found.append(Row(NAME, f"{variable.attrs['long_name']}, {name}", None, float(value), 0.0, str(key)))
        if budget is not None:
            plan = self.schedule(budget)
            found_at = zip(plan.bounds(), plan.bounds("log_snr"), strict=True)
            where = "; ".join(
                f"{name} from {level(round(start, 3), first)} to {level(round(stop, 3), last)}"
                for (name, start, stop), (_, first, last) in found_at
            )
            found.append(Row(NAME, f"KL, schedule for {budget:g} nat", None, plan.kl, plan.kl_stderr, where))
            found.append(Row(NAME, "cost, dearest / schedule", None, plan.saving, 0.0, "measured seconds"))
        return found

    def plot(self, *, unit: Any = "linear", budget: float | None = None) -> "Figure":
        """Return a figure: KL per unit of log snr over the noise level, and predicted error against cost."""
        from ..plots.comparison import plot_comparison

        return plot_comparison(self, unit=unit, budget=budget)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one static HTML page with the figure, table and parameters."""
        from ..images.page import write_page

        write_page(self.result, path)

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f"network must be one of {', '.join(self.names)}, got {shown(name)}")
        return self.names.index(name)

    @property
    def _best(self) -> NDArray[np.int64]:
        return np.asarray(self.table["mse"].values.argmin(axis=1))

    def _costs(self, cost: Cost) -> FloatArray:
        if cost not in ("seconds", "multiply_adds"):
            raise InputError(f"cost must be seconds or multiply_adds, got {shown(cost)}")
        costs = np.asarray(self._group("costs")[cost].values, float)
        if not costs.all():
            name = self.names[int(costs.argmin())]
            raise InputError(f"{cost} are known of networks in torch only, not of {name}; use cost='seconds'")
        return costs

    def _tables(
        self, cost: Cost = "seconds", steps: ArrayLike | None = None, unit: Any = "linear"
    ) -> tuple[FloatArray, FloatArray]:
        """Return KL and cost, (level, network), of one sample."""
        calls: NDArray[Any] = np.ones(len(self.log_snr))
        if steps is not None:
            called = np.atleast_1d(NoiseLevel.of(steps, unit).log_snr)
            if not called.size:
                raise InputError("steps must hold at least one noise level, got none")
            cuts = -(self.log_snr[1:] + self.log_snr[:-1]) / 2
            calls = np.bincount(np.searchsorted(cuts, -called, side="right"), minlength=len(calls))
        return np.asarray(self.table["kl"].values), calls[:, None] * self._costs(cost)

    def _switching(self, found: Allocation, costs: FloatArray) -> SwitchingSchedule:
        rows = np.arange(len(found.choice))
        nats = self._per_level
        excess = (nats[:, rows, found.choice] - nats[:, rows, self._best]) @ trapezoid(self.log_snr)
        return SwitchingSchedule(
            self.log_snr,
            tuple(self.names[k] for k in found.choice),
            found.error,
            float(mean_and_error(excess)[1]),
            found.cost,
            float(costs.sum(axis=0).max()),
            self.networks,
        )
