"""I_t(A;C|B_r) over times and radii from clean samples: folds of networks, each of which knows all times and radii.

Samples are split into folds; every sample is measured by networks that were trained on the others,

    I(A;C|B_r) = E[log q(x_A | all others) - log q(x_A | B_r)],    I(A;BC) = E[log q(x_A | all others) - log q(x_A)],

and with labels S, I(S;B) and I(S;AB) of the smallest box and I(S;ABC) likewise, and the forward-backward agreement
P_FB = E sum_s q(s|x_t)^2, the chance that an image noised to t and denoised by its posterior comes back with its label.

A view of more pixels is easier to overfit, which would look like negative information. So its law is drawn towards that
of the next smaller view, p_v ~ p_u^(1-w) q_v^w, as far as serves images that the weights were not fitted to.

Held-out averages are too low by what the networks overfit, averages over the samples they were fitted to too high by
as much to first order, so half-way between is `corrected` (see `neural`); labels are held out. The null is the same
difference of networks trained alike on samples whose C comes from another one. Errors are over samples, and of
half-way: the truth may be anywhere between the two averages. Everything measured is kept in a folder, if there is one,
so that a killed run goes on.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax

from ..denoisers.on_device import to_device
from ..errors import InputError, device_of, gpu_memory
from ..store import atomic_write
from .amortised import ProbePlan, reach
from .amortised_conv import BOXES, PASSES, ConvLaw, ConvObjective
from .amortised_data import LEAST, Field
from .amortised_network import PixelLaw, Views
from .amortised_noise import log_likelihood, noise_of
from .amortised_training import VALIDATION, Indices, Law, Objective, Tensors, fit_law, held_on, number
from .neural import BETWEEN, middle

WEIGHTS = np.linspace(0, 1, 21, dtype=np.float32).tolist()
ALMOST_CLEAN = 0.01  # time at which images tell as much about labels as clean ones do
TRIAL = 0.1  # of the steps, to tell whether pixels near A help
CLEARLY = 2.0  # errors


# -- values by one network ---------------------------------------------------------------------------------


def view_weights(
    law: Law, objective: Objective, rows: Indices, seed: SeedSequence, repeats: int = 4
) -> NDArray[np.float32]:
    """Return w of every time and view, (n_times, n_views), from images that were not fitted.

    That of least cross entropy, and less where the gain g is within its error e: the weight that is fitted is 2g/e of
    its own errors, z, and is multiplied by 1 - 1/z^2, or 0 (James and Stein 1961), so that noise is not believed.
    """
    rng = torch.Generator(objective.noise.levels.device).manual_seed(number(seed))
    found = np.ones((len(objective.noise.times), law.n_views), np.float32)
    repeated, n_parts = np.tile(rows, repeats), math.ceil(len(rows) * repeats / objective.at_once(rng))
    for t in range(len(found)):
        laws, levels = [], []
        for part in np.array_split(repeated, n_parts):
            log_q, at = objective.laws(law, part, t, rng)
            laws.append(log_q)
            levels.append(objective.target(law, part, at))
        log_q, level = torch.cat(laws), torch.cat(levels)
        for view, smaller in enumerate(objective.smaller(len(law.views.radii))):
            if smaller >= 0:
                mixed = [_mix(log_q[:, smaller], log_q[:, view], w) for w in WEIGHTS]
                nats = torch.stack([m.gather(1, level[:, None])[:, 0] for m in mixed])
                best = int(nats.mean(dim=1).argmax())
                gain = (nats[best] - nats[0]).reshape(repeats, -1).mean(dim=0)  # of every image
                z = 2 * gain.mean() / (gain.std() / math.sqrt(len(gain)) + 1e-12)
                weight = WEIGHTS[best] * float((1 - 1 / z**2).clamp(min=0)) if len(gain) > 1 and z > 0 else 0.0
                found[t, view], log_q[:, view] = weight, _mix(log_q[:, smaller], log_q[:, view], weight)
    return found


def _mix(smaller: Tensor, larger: Tensor, weight: float) -> Tensor:
    return smaller if weight == 0 else log_softmax(smaller + weight * (larger - smaller), dim=-1)


def evaluate(
    law: Law,
    objective: Objective,
    rows: Indices,
    weights: NDArray[np.float32],
    seed: SeedSequence,
    n_draws: int = 4,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return log q(x_A | view) and (A - E[A | x_A, view])^2 of images, both (n, n_times, n_views).

    One noisy image for every image and time, the same for all views; `n_draws` of A's own noise are averaged over.
    With labels, log q(label | view), and no errors.
    """
    noise = objective.noise
    rng = torch.Generator(noise.levels.device).manual_seed(number(seed))
    nats, errors = np.zeros((2, len(rows), len(noise.times), law.n_views), np.float32)
    at_once = objective.at_once(rng)
    for start in range(0, len(rows), at_once):
        here = slice(start, start + at_once)
        part = rows[here]
        for t in range(len(noise.times)):
            log_q, at = objective.laws(law, part, t, rng)
            for view, smaller in enumerate(objective.smaller(len(law.views.radii))):
                if smaller >= 0:
                    log_q[:, view] = _mix(log_q[:, smaller], log_q[:, view], float(weights[t, view]))
            if objective.labels is not None:
                target = objective.target(law, part, at)[:, None, None].expand(-1, law.n_views, 1)
                nats[here, t] = log_q.gather(2, target)[:, :, 0].cpu()
                continue
            a_0 = law.views.centre(objective.clean(part, rng.device), at)
            log_p, share = noise.observations(a_0, t, n_draws, rng)
            found, mean = log_likelihood(log_q, log_p, noise.levels)
            nats[here, t] = (found @ share).cpu().numpy()
            square = ((mean - a_0[:, None, None]) ** 2).sum(dim=3)
            errors[here, t] = (square @ share).cpu().numpy()
    return nats, errors


# -- folds of networks -------------------------------------------------------------------------------------


class Part(NamedTuple):
    """Values (n, n_times, n_views) by one network, of samples held out of training and of those in it (`fitted`)."""

    rows: Indices
    nats: NDArray[np.float32]
    errors: NDArray[np.float32]
    fitted: Indices
    fitted_nats: NDArray[np.float32]
    fitted_errors: NDArray[np.float32]
    gain_to_come: float  # of `fit_law`


@dataclass(frozen=True)
class Networks:
    """Build, train and evaluate the networks of all folds."""

    field: Field
    plan: ProbePlan
    device: str

    def law(self, objective: Objective, train: Indices, seed: SeedSequence) -> Law:
        """Return a network that is not trained yet, for images `train`."""
        field, plan, labels = self.field, self.plan, objective.labels
        views = Views(field.shape, plan.radii, plan.pixel, plan.near, objective.noise.channels)
        n_values = len(field.pixels.levels) if labels is None else int(labels.max()) + 1
        n_views, rng = len(objective.smaller(len(plan.radii))), np.random.default_rng(seed)
        if isinstance(objective, ConvObjective):
            prior = objective.prior(train, self.device)
            return ConvLaw(views, n_views, prior, plan.width, rng).to(self.device)
        gated: dict[str, Any] = {}
        if plan.body == "gated":
            ordered = labels is None and plan.tokens is None
            gated = {"n_times": len(objective.noise.times), "levels": field.pixels.levels if ordered else None}
        return PixelLaw(views, n_views, n_values, plan.width, rng, sees_a=labels is not None, **gated).to(self.device)

    def near_helps(self, boxes: Objective, train: Indices, seed: SeedSequence) -> bool:
        """Return whether pixels near A may stand for it: a short training with them is not clearly worse for A itself.

        Where images look alike everywhere they tell a network far more than A alone can, which only shows later, as
        less overfitting; so the doubt is theirs. Told from boxes, whatever views come first.
        """
        if isinstance(boxes, ConvObjective):
            return True  # it learns from all pixels anyhow
        if not self.plan.near or self.plan.pixel is None:
            return False
        start, training = seed.spawn(2)
        steps, losses = max(1, round(TRIAL * self.plan.steps)), []
        for near in (False, True):
            law, tried = self.law(boxes, train, start), replace(boxes, near=near)
            state = SeedSequence(training.entropy, spawn_key=training.spawn_key)
            _, valid, _ = fit_law(law, tried, train, state, steps=steps, batch_size=self.plan.batch_size)
            losses.append(tried.validate(law, valid, 0, 4 * tried.n_validated))
        worse = losses[1] - losses[0]
        return bool(worse.mean() <= CLEARLY * worse.std() / math.sqrt(min(len(worse), len(valid))))

    def part(
        self,
        objective: Objective,
        rows: Indices,
        train: Indices,
        measured: Indices,
        seed: SeedSequence,
        checkpoint: Path | None,
        on_step: Callable[[], None],
    ) -> Part:
        """Train one network on `train` and evaluate it on `rows` and on as many of its training among `measured`."""
        start, training, weighing, evaluation, again = seed.spawn(5)
        law, plan = self.law(objective, train, start), self.plan
        options: dict[str, Any] = {"steps": plan.steps, "batch_size": plan.batch_size, "checkpoint": checkpoint}
        fitted, unfitted, gain_to_come = fit_law(law, objective, train, training, on_step=on_step, **options)
        weighed = unfitted[:: max(1, math.ceil(len(unfitted) / objective.n_weighed))]
        weights = view_weights(law, objective, weighed, weighing, objective.repeats)
        some = np.zeros(0, np.int64)
        if plan.corrected and objective.labels is None:
            some = np.intersect1d(fitted, measured)
            some = some[np.sort(np.random.default_rng(again).permutation(len(some))[: len(rows)])]
        held_out = evaluate(law, objective, rows, weights, evaluation)
        return Part(rows, *held_out, some, *evaluate(law, objective, some, weights, again), gain_to_come)


def folds(
    field: Field, plan: ProbePlan, device: str, parts: Path | None, on_step: Callable[[], None]
) -> Iterator[tuple[str, Part]]:
    """Yield the kind of views and the values of one network, fold by fold."""
    kinds = plan.kinds(field)
    split, *seeds = SeedSequence(plan.seed).spawn(1 + plan.folds)
    order, read = np.random.default_rng(split).permutation(field.n), held_on(device, field)
    partner, fold_of = np.empty(field.n, np.int64), np.empty(field.n, np.int64)
    for fold in range(plan.folds):
        here = order[fold :: plan.folds]
        partner[here], fold_of[here] = np.roll(here, 1), fold
    for fold in range(plan.folds):
        rows, train = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        trial, *own = seeds[fold].spawn(1 + len(kinds))
        near: bool | None = None
        for kind, seed in zip(kinds, own, strict=True):
            done = None if parts is None else parts / f"fold{fold}-{kind}.npz"
            if done is not None and done.exists():
                for _ in range(plan.steps):
                    on_step()
                with np.load(done) as file:
                    yield kind, Part(**{name: file[name] for name in Part._fields})
                continue
            times = np.array([ALMOST_CLEAN, *plan.times] if kind == "labels" else plan.times)
            made = _objective(plan, kind)
            told = made is Objective and plan.body == "conv"
            networks = Networks(field, plan.by_perceptrons() if told else plan, device)
            objective = made(read, noise_of(plan.noise(), times, field.pixels, device))
            if kind == "labels":  # they come last, and are told from A alone
                objective = replace(objective, labels=_beside(read, field.labels))
            else:
                near = networks.near_helps(objective, train, trial) if near is None else near
                objective = replace(objective, near=near, partner=_beside(read, partner) if kind == "null" else None)
            checkpoint = None if done is None else done.with_suffix(".pt")
            measured = order[: n_measured(plan, kind, field.n, field.shape)]
            held_out = np.intersect1d(rows, measured)
            part = networks.part(objective, held_out, train, measured, seed, checkpoint, on_step)
            if done is not None:
                with atomic_write(done) as partial:
                    np.savez(partial, **part._asdict())
                done.with_suffix(".pt").unlink(missing_ok=True)
            yield kind, part


def n_measured(plan: ProbePlan, kind: str, n: int, shape: tuple[int, int]) -> int:
    """Return how many of n images are measured: of a U-Net, as many as take as long as its training."""
    if plan.body != "conv" or kind == "labels":
        return n
    boxes = [math.prod((2 * min(r, side - 1) + 1) / side for side in shape) for r in plan.radii]  # of a whole image
    # an image of a step passes forwards and backwards, as long as three forwards; one measured, held out and in sample
    trained = 3 * plan.steps * plan.batch_size / PASSES * (1 + BOXES * float(np.mean(boxes)))
    measured = len(plan.times) * (sum(boxes) + (len(boxes) if kind == "null" else 1))
    return min(n, max(LEAST, int(trained / measured)))


def _n_asked(plan: ProbePlan, kind: str, n: int, shape: tuple[int, int]) -> float:
    """Return how many noisy images of every time the network of a fold is asked about once it is trained."""
    weighed, objective = VALIDATION * n * (plan.folds - 1) / plan.folds, _objective(plan, kind)
    both = 2 if plan.corrected and kind != "labels" else 1
    return both * n_measured(plan, kind, n, shape) / plan.folds + objective.repeats * min(weighed, objective.n_weighed)


def _objective(plan: ProbePlan, kind: str) -> type[Objective]:
    return ConvObjective if plan.body == "conv" and kind != "labels" else Objective


def _beside(read: Any, indices: Any) -> Any:
    """Return indices where the images are."""
    return to_device(indices, read.images.device) if isinstance(read, Tensors) else indices


def pilot(field: Field, plan: ProbePlan, device: str) -> tuple[float, float]:
    """Return the seconds of a training step, its trials included, and of evaluating one network on all images."""
    few = replace(plan, steps=8, near=0)
    small = Field(field.read, min(field.n, max(LEAST, 4 * plan.batch_size)), field.shape, field.pixels)
    ends: list[float] = []
    asking: list[float] = []
    device = device_of(device)

    def on_step() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        ends.append(time.perf_counter())

    for _ in folds(small, few, device, None, on_step):
        asking.append(time.perf_counter() - ends[-1])
        if len(asking) == len(few.kinds(small)):
            break
    asked = ((_n_asked(p, kind, f.n, f.shape) for p, f in ((plan, field), (few, small))) for kind in plan.kinds(small))
    growth = [all_of_them / tried for all_of_them, tried in asked]
    laps = np.diff(ends)
    every_other = [laps[start + first : start + 7 : 2] for start in range(0, len(laps), 8) for first in (0, 1)]
    step = min(float(np.mean(every_other[first::2])) for first in (0, 1))  # the others end in a validation
    trials = 2 * TRIAL / len(plan.kinds(field)) if plan.near and plan.pixel is not None and plan.body != "conv" else 0
    return step * (1 + trials), float(np.mean([seconds * more for seconds, more in zip(asking, growth, strict=True)]))


# -- information from all of them --------------------------------------------------------------------------


def measure(
    field: Field,
    plan: ProbePlan,
    *,
    device: str = "cpu",
    parts: Path | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Return all that is measured, as arguments of `images.decisions.probe_variables`.

    Whether training has converged is measured, too: `gain_to_come` of every network (see there), and `cmi_folds`, the
    held-out CMI of every fold's network (fold, t, radius).

    Args:
        device: of torch, or "auto". Images that fit into half of a GPU's free memory are copied there once.
        parts: folder of what is finished and of training in progress; what is there is used.
        on_step: called `plan.steps` times for every network, `plan.folds` of each of `plan.kinds`.

    Raises:
        InputError: a radius that leaves nothing outside the box, a channel that is not for such values.
    """
    limit = reach(field.shape, plan.pixel)
    if plan.radii[-1] >= limit:
        raise InputError(f"radii must be below {limit}, where the box covers the image, got {plan.radii[-1]}")
    found: dict[str, list[Part]] = {}
    with gpu_memory("take fewer levels or a smaller width, or device='cpu'"):
        for kind, part in folds(field, plan, device_of(device), parts, on_step):
            found.setdefault(kind, []).append(part)
    n_radii, n = len(plan.radii), field.n
    n_weighed = VALIDATION * (plan.folds - 1) * n
    if plan.body == "conv":
        n_weighed = min(n_weighed, plan.folds * ConvObjective.n_weighed)
    values: dict[str, Any] = {"t": plan.times, "radius": plan.radii}
    values["gain_to_come"] = [float(part.gain_to_come) for parts_of_kind in found.values() for part in parts_of_kind]
    per_fold = n_weighed / (plan.folds - 1) / plan.folds
    each = [_averages("cmi", part.nats[:, :, -1:] - part.nats[:, :, 1:-1], per_fold) for part in found["boxes"]]
    values["cmi_folds"], values["cmi_folds_stderr"] = (
        np.stack([fold[name] for fold in each]) for name in ("cmi", "cmi_stderr")
    )

    def add(name: str, kind: str, difference: Callable[[NDArray], NDArray], *, errors: bool = False) -> None:
        samples, in_sample = _both(found[kind], n, difference, errors=errors)
        held_out, apart, gap = samples.mean(axis=0), 0.0, np.zeros(samples.shape[1:])
        if plan.corrected:
            both = (in_sample - samples)[np.isfinite(in_sample.reshape(len(samples), -1)[:, 0])]
            apart = both.mean(axis=0)
            gap = np.sqrt(np.maximum(apart**2 - both.var(axis=0) / len(both), 0.0))  # less what chance puts between
            samples = middle(samples, in_sample)
        values.update(_averages(name, samples, n_weighed / (plan.folds - 1)))
        if name == "cmi":
            values["cmi_held_out"], values["cmi_in_sample"] = held_out, held_out + apart
            values["cmi_covariance"] = _covariance(samples, gap, n_weighed)
            values["cmi_stderr"] = np.sqrt(np.diagonal(values["cmi_covariance"], axis1=1, axis2=2))
        else:
            values[f"{name}_stderr"] = np.hypot(values[f"{name}_stderr"], gap * BETWEEN)

    add("cmi", "boxes", lambda v: v[:, :, -1:] - v[:, :, 1:-1])
    if plan.null:
        add("cmi_null", "null", lambda v: v[:, :, n_radii:] - v[:, :, :n_radii])
    add("total_information", "boxes", lambda v: v[:, :, -1] - v[:, :, 0])
    if plan.channel == "erasure":
        add("entropy", "boxes", lambda v: _entropies(v, np.array(plan.times)))
    if plan.channel == "gaussian":
        add("excess_mse", "boxes", lambda v: v[:, :, 1:-1] - v[:, :, -1:], errors=True)
    if "labels" in found:
        values.update(_labels(_both(found["labels"], n, lambda v: v)[0]))
    return {**values, "image_shape": (field.channels, *field.shape), "channel": plan.noise()}


def _entropies(nats: NDArray, times: NDArray) -> NDArray:
    """Return -log q(a | all others that are seen), (n, n_times + 1), and last -log q(a), of A's clean value a.

    A's own noise is known: log q(x_A) averages to (1 - t) [log q(a) + log(1 - t)] + t log t.
    """
    own = ((1 - times) * np.log1p(-times) + times * np.log(times))[:, None]
    clean = (own - nats[:, :, [0, -1]]) / (1 - times)[:, None]
    return np.concatenate([clean[:, :, 1], clean[:, :, 0].mean(axis=1, keepdims=True)], axis=1)


def _both(
    parts: list[Part], n: int, difference: Callable[[NDArray], NDArray], *, errors: bool = False
) -> tuple[NDArray, NDArray]:
    """Return held-out values of samples, of n, and the in-sample ones averaged over networks, NaN where none."""
    shape = (n, *difference(parts[0].errors if errors else parts[0].nats).shape[1:])
    rows = np.sort(np.concatenate([part.rows for part in parts]))
    held_out, in_sample, times = np.empty(shape), np.zeros(shape), np.zeros((n, *[1] * (len(shape) - 1)))
    for part in parts:
        held_out[part.rows] = difference(part.errors if errors else part.nats)
        in_sample[part.fitted] += difference(part.fitted_errors if errors else part.fitted_nats)
        times[part.fitted] += 1
    return held_out[rows], np.divide(in_sample, times, out=np.full(shape, np.nan), where=times > 0)[rows]


def _labels(nats: NDArray) -> dict[str, Any]:
    """Return the information on the label in the image and its smallest box; the first time is almost clean."""
    b, ab, whole = np.moveaxis(nats[:, :, 1:] - nats[:, :, :1], 2, 0)
    samples = {
        "label_information": whole[:, 1:],
        "label_information_b": b[:, 1:],
        "label_information_lost": ab[:, :1] - b[:, 1:],
        "forward_backward": np.exp(nats[:, 1:, -1].astype(float)),
    }
    return {key: value for name, of in samples.items() for key, value in _averages(name, of).items()}


def _covariance(samples: NDArray, gap: NDArray, n_weighed: float) -> NDArray:
    """Return the covariance of the CMI between radii, (T, R, R): of samples, the correction, the smallest visible gain.

    Whether a larger view is believed is one weight, fitted on m samples that training leaves out; a gain below 1/2m
    nats is what chance gives (Wilks 1938). Without this, views that are not believed would be 0 with no error.
    """
    n, floor = len(samples), 0.5 / n_weighed
    centred = samples - samples.mean(axis=0)
    apart = BETWEEN * gap
    between: NDArray = np.einsum("ntr,nts->trs", centred, centred) / (n * (n - 1)) + apart[:, :, None] * apart[:, None]
    return between + floor**2 * np.eye(samples.shape[2])


def _averages(name: str, samples: NDArray, n_weighed: float | None = None) -> dict[str, NDArray]:
    """Return the mean over samples and its error: at least the smallest visible gain where all samples are equal."""
    samples, n_weighed = samples.astype(float), n_weighed or VALIDATION * len(samples)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return {
        name: samples.mean(axis=0),
        f"{name}_stderr": np.where(error > 0.0, error, 0.5 / n_weighed),
    }
