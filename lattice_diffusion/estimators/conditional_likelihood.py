"""Conditional mutual information as a gain in likelihood: I(A;C|B) = E log q(a|b,c) - E log q(a|b).

Both laws are learned, the second first; the first starts as the second, so that where C says nothing the difference
stays 0. Each is a linear law and a bend of it, fitted to the end, plus a network that starts at 0 and is stopped early:
Gaussian fields and mean-field laws are met by the former, and only what they leave open has to be learned by the
latter. Networks are given waves of single columns, too, where those tell something. Where noise masks, inputs are those
values that no other one screens, if such laws say more about further samples (`screening`). Several columns of A are
taken one after the other, I(A;C|B) = sum_j I(A_j;C|B,A_<j).
"""

import math
import warnings
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from ..channels import MASK, Erasure, is_gaussian
from ..errors import InputError, Limits
from ..estimate import Estimate
from ..lattice import FloatArray
from .base import Sample, sample_of, standardising, warn_at_cap
from .heads import FEWEST, Categorical, Head, NoisySpin, categorical, head_of
from .laws import Law
from .messages import Bonds, MessageLaw, bonds_of, taught
from .networks import MLP, Rows, by_chunks, tensor
from .neural import BETWEEN, VALIDATION, Learned, Neural, independent_columns, middle, split
from .screening import Screening, codes_of

CLASSES = 64  # more values that repeat have an order, unless they are declared to be tokens
NUDGE = 0.1  # by which a network starts with components apart, in units of what would tell them apart


@dataclass(eq=False)
class ConditionalLikelihood(Neural):
    """log q(a|b,c) - log q(a|b), nested and cross-fitted: the default estimator.

    What a is decides the law: spins (their noise deconvolved where channel and t are given: only the law of the clean
    spin is learned), tokens or a few other values (their cross entropy), or real numbers (mixtures of Gaussians, no
    narrower than the noise where it is known). The parameters that are not listed here are those of `Neural`; with
    depth 0 all laws are linear.

    Args:
        body: of the networks: "mlp", or, of noisy bonds on an open grid of faces, as of `models.DomainWalls`,
            "messages", which find parities of any length, and nothing else (`messages`).
        share_positions: learn from, and average over, so many translations of every sample beside itself, wrapped
            around: only right on periodic lattices where law and noise are the same at all sites.
        clean: "spins" or "real", what noisy values were before Gaussian noise; None: told from the second and fourth
            moments of the data.
        weight_decay: of the networks' training.
        components: Gaussians of a mixture.

    The estimate is half-way between held-out and in-sample log ratios, free of bias to first order (see `neural`; where
    noise leaves so little information that weights are shrunk, both are corrected for that first, see `laws`). The
    second order, of which little is known, is in the error: for categories the square of the distance of the two
    averages, for networks, which are stopped early, 12^-1/2 of it; of these, and under known erasure, also what laws of
    half the samples find less, `gain_to_come_`.

    Warns (scikit-learn's ConvergenceWarning) where a network still learns when its steps end.
    """

    limits: ClassVar[Limits] = {
        **Neural.limits,
        "share_positions": (0, None),
        "weight_decay": (0.0, 1e3),
        "components": (1, None),
    }
    choices: ClassVar = {"body": ("mlp", "messages"), "clean": ("spins", "real")}
    folds: int = 4
    _: KW_ONLY
    body: Literal["mlp", "messages"] = "mlp"
    share_positions: int = 0
    clean: Literal["spins", "real"] | None = None
    width: int = 32
    learning_rate: float = 5e-3
    weight_decay: float = 0.1
    components: int = 3

    _combine = staticmethod(middle)

    def _estimate(self, sample: Sample, groups: NDArray[np.intp], rng: Generator) -> Estimate:
        self._fell = 0.0
        self._by_networks: dict[bool, list[float]] = {True: [], False: []}
        self._values = [np.unique(column) for column in sample.a.T]
        moved = translated(sample, self.share_positions, rng) if self.share_positions else sample
        answer = super()._estimate(moved, np.tile(groups, 1 + self.share_positions), rng)
        gap = self.in_sample_.value - self.held_out_.value if self._categorical else 0.0
        inside, outside = (float(np.mean(self._by_networks[key])) for key in (True, False))
        stderr = math.hypot(answer.stderr, gap**2, BETWEEN * (inside - outside))
        if self._fell > stderr:
            text = f"the loss still fell by {self._fell:.2g} nats in the second half of {self.steps} steps; raise steps"
            warnings.warn(f"ConditionalLikelihood has not converged: {text}", ConvergenceWarning, stacklevel=3)
        return replace(answer, stderr=math.hypot(stderr, self.gain_to_come_), n_samples=len(sample))

    def _learn(self, train: Sample, rng: Generator, *, half: bool = False) -> Learned:
        known = train.channel is not None and train.t is not None
        spins = self.clean != "real" and train.symbols is None and _spins(train)
        if self.clean == "spins" and not known and not spins:
            raise InputError("clean='spins' needs the noise, or values of +-1; give channel and t")
        spins = spins or self.clean == "spins"
        where = bonds_of(train) if self.body == "messages" else None
        if where is not None and not (spins and known):
            raise InputError(
                "body='messages' needs noisy values of bonds of +-1; give channel and t, or use body='mlp'"
            )
        rows, noise = split(len(train), rng), NoisySpin(train.channel, train.t)

        def seen(x: FloatArray) -> FloatArray:
            """Return tanh h of noisy spins, or the values as they are."""
            return np.tanh(noise.target(x)) if spins and known else x

        columns = {"a": train.coded_a(), "b": train.b, "c": train.c}
        scaled = {name: standardising(seen(x)) if where is None else np.asarray for name, x in columns.items()}

        def arrays(
            sample: Sample, head: Head, j: int, screen: Screening | None
        ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            """Return the inputs of q(a_j|b) and q(a_j|b,c), the targets, and the outputs to start from."""
            b, c = (scaled[name](seen(getattr(sample, name))) for name in "bc")
            before = scaled["a"](seen(sample.coded_a()))[:, : sample.coded_a(j).shape[1]]
            b, start = np.hstack([b, before]), np.tile(head.start(), (len(sample), 1))
            bc = np.hstack([b, c])
            if screen is not None:
                near = np.hstack([sample.b, sample.coded_a(j)])
                b, bc = (screen(codes_of(x, symbols)) for x in (near, np.hstack([near, sample.c])))
            made = (b, bc, head.target(sample.a[:, j]), start)
            return tuple(tensor(x, self._where, torch.float64) for x in made)  # type: ignore[return-value]

        symbols = None if spins else train.symbols
        masked = (
            where is None
            and isinstance(train.channel, Erasure)
            and ((spins and known) or (train.tokens is not None and symbols is not None and symbols[0] == MASK))
        )
        laws = []
        for j in range(train.a.shape[1]):
            token = train.tokens_a is not None and bool(train.tokens_a[j])
            law = train.a[:, j], self._values[j], train.channel, train.t, self.components, token
            head = noise if spins and known else head_of(*law)
            screen, (b, bc, y, start) = None, arrays(train, head, j, None)
            n_values = len(law[1])
            if head.discrete and n_values <= CLASSES and n_values * bc.shape[1] * head.samples_per_column <= len(train):
                other = categorical(*law[:2])  # values may have no order
                taken = arrays(train, other, j, None)
                if self._validated(other, *taken[1:], rows) < self._validated(head, bc, y, start, rows):
                    head, (b, bc, y, start) = other, taken
            if not half:
                self._check_size(train, bc.cpu().numpy(), head)
            if masked:
                seen_b, with_a = np.hstack([train.b, before := train.coded_a(j)]), train.coded_a(j + 1)
                sites = codes_of(np.hstack([seen_b, train.c, with_a[:, before.shape[1] :]])[rows[0]], symbols)
                screen = Screening(sites, codes_of(seen_b, symbols).shape[1])
                screened = arrays(train, head, j, screen)
                if self._validated(head, screened[1], y, start, rows) < self._validated(head, bc, y, start, rows):
                    b, bc, y, start = screened
                else:
                    screen = None
            marginal = Law(head, b[:, :0], y, start, rows, bent=False)
            small, large, far, near = self._laws(head, b, bc, y, start, rows, where, j, rng)
            laws.append((marginal, small, large, screen))
            if isinstance(large, Law) and head.capped(by_chunks(large, far, near)):
                warn_at_cap("ConditionalLikelihood", "about 7.5", "add noise to a")

        self._categorical = any(isinstance(small.head, Categorical) for _, small, *_ in laws)

        def log_ratio(sample: Sample, inside: bool) -> FloatArray:
            total, by_networks = torch.zeros(len(sample), dtype=torch.float64, device="cpu"), 0.0
            for j, (marginal, small, large, screen) in enumerate(laws):
                b, bc, y, start = arrays(sample, small.head, j, screen)
                far, near = self._nested(small, b, bc, start)
                bare = small.head.nats(by_chunks(marginal, b[:, :0], start), y)

                def gain(theta: Tensor, head: Head = small.head, y: Tensor = y, bare: Tensor = bare) -> Tensor:
                    """Return log [(1 - e) q + e p] / p of the law q and the marginal one p, e one sample's share."""
                    return torch.logaddexp(bare - head.nats(theta, y), bare.new_tensor(-math.log(len(rows[0]))))

                steps = (
                    (small.straight_part, b, start),
                    (small, b, start),
                    (large.straight_part, far, near),
                    (large, far, near),
                )
                straight_b, full_b, straight_bc, full_bc = (gain(by_chunks(*step)) for step in steps)
                if isinstance(large, Law) and large.net is not None:  # that of the smaller law is in all but straight_b
                    by_networks += float((full_bc - straight_bc).mean())
                weights = [law.weight(inside=inside) for law in (small, large)]
                if large.linear.kept < 1.0:  # shrunk towards the smaller law
                    total += (weights[1] * (straight_bc - full_b) + full_bc - straight_bc).cpu()
                else:
                    total += (weights[1] * straight_bc + full_bc - straight_bc).cpu()
                    total -= (weights[0] * straight_b + full_b - straight_b).cpu()
            if not half:
                self._by_networks[inside].append(by_networks)
            return total.numpy()

        networks = any(isinstance(law, Law) and law.net is not None for _, *pair, _ in laws for law in pair)
        second = len(self._by_networks[True]) % 2 == 1  # of two folds one will do
        if half or not (masked or (networks and not second)):
            return Learned(log_ratio, rows[0])
        rng = rng.spawn(1)[0]  # what is learned from all of them stays the same
        some = rng.permutation(len(rows[0]))[: len(train) // 2]
        less = self._learn(train.take(rows[0][some]), rng, half=True)
        return Learned(log_ratio, rows[0], Learned(less.log_ratio, some[less.fitted]))

    def _validated(self, head: Head, x: Tensor, y: Tensor, start: Tensor, rows: Rows) -> float:
        """Return the mean -log q(a|x) of a law without a network, over the samples it is not fitted to."""
        law = Law(head, x, y, start, rows, bent=self.depth > 0)
        return float(head.nats(by_chunks(law, x[rows[1]], start[rows[1]]), y[rows[1]]).mean())

    def _check_size(self, sample: Sample, columns: FloatArray, head: Head) -> None:
        """Raise InputError for fewer samples than the columns of b and c need."""
        rank = independent_columns(columns)
        rest = 1 - 1 / self.folds
        need = math.ceil((head.samples_per_column * rank + FEWEST) / ((1 - VALIDATION) * rest))
        if len(sample) < math.floor(need * rest):  # folds differ by one
            raise InputError(
                f"ConditionalLikelihood needs at least {need:,} samples where b and c have {rank} independent columns, "
                f"got {round(len(sample) / rest):,}; draw more, or leave columns out"
            )

    def _laws(
        self,
        head: Head,
        b: Tensor,
        bc: Tensor,
        y: Tensor,
        start: Tensor,
        rows: Rows,
        where: Bonds | None,
        j: int,
        rng: Generator,
    ) -> tuple[Law | MessageLaw, Law | MessageLaw, Tensor, Tensor]:
        """Return the laws q(a_j|b) and q(a_j|b,c), and inputs and initial outputs of the latter."""
        if where is not None:
            sites = np.concatenate([where.b, where.a[:j], where.c])
            small, large = taught(head, bc, y, start, rows, sites, where.shape, int(where.a[j]), b.shape[1], rng)
            self._tell(f"cosine of a full turn of messages {float(large.net.weights[0]):.3f}")
            return small, large, bc, start
        near_law = self._law(head, b, y, start, rows, rng)
        far, near = self._nested(near_law, b, bc, start)
        return near_law, self._law(head, far, y, near, rows, rng), far, near

    def _nested(self, small: Law | MessageLaw, b: Tensor, bc: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and initial outputs of the larger law, which sees the smaller one's bend, too, to undo it."""
        if isinstance(small, MessageLaw):
            return bc, start
        near = by_chunks(small, b, start)
        if not self.depth:
            return bc, near
        bend = near - by_chunks(small.straight_part, b, start)
        return torch.cat([bc, bend[:, : small.head.n_linear]], dim=1), near

    def _law(self, head: Head, x: Tensor, y: Tensor, start: Tensor, rows: Rows, rng: Generator) -> Law:
        """Fit a linear law and its bend, then a network of all inputs, kept if its gain is above the gain's error."""
        law = Law(head, x, y, start, rows, bent=self.depth > 0)
        if not (x.shape[1] and self.depth and law.linear.kept == 1.0):  # a network would undo the shrinkage
            return law
        seen, theta = law.seen(x, start).float(), by_chunks(law, x, start)
        net = MLP(seen.shape[1], head.n_outputs, self.width, self.depth, rng, zero=True).to(self._where)
        if (apart := head.apart(theta)) is not None:  # equal components would stay so
            net.layers[-1].bias.data += NUDGE * apart / law.gain  # type: ignore[operator]

        def nats(net: nn.Module, seen: Tensor, theta: Tensor, y: Tensor) -> Tensor:
            return head.nats(theta + law.gain * net(seen), y)

        def loss(net: nn.Module, *batch: Tensor) -> Tensor:
            return nats(net, *batch).mean()

        fitted, validated = ([array[part] for array in (seen, theta, y)] for part in rows)
        initial = nats(net, *validated).detach()
        fell = self._train(net, loss, fitted, validated, rng, weight_decay=self.weight_decay)
        self._fell = max(self._fell, fell)
        gain = initial - nats(net, *validated).detach()
        if len(gain) > 1 and bool(gain.mean() > gain.std() / math.sqrt(len(gain))):
            law.net = net
        return law


def translated(sample: Sample, copies: int, rng: Generator) -> Sample:
    """Return the samples, followed by `copies` random translations of all of them, wrapped around the lattice.

    The first axis of a mask with three, such as that of bonds, is not moved along.
    """
    if sample.x_t is None or sample.parts is None:
        raise InputError("share_positions needs lattice samples; call fit(x_t, parts), or leave it at 0 for flat ones")
    lattice = sample.parts.shape[-2:]
    shifts = list(np.ndindex(*lattice))[1:]
    if copies > len(shifts):
        raise InputError(f"share_positions must be an integer from 0 to {len(shifts)} on this lattice, got {copies!r}")
    axes = tuple(range(-len(lattice), 0))
    moved = [np.roll(sample.x_t, shifts[i], axes) for i in rng.choice(len(shifts), copies, replace=False)]
    rest = sample.parts, sample.channel, sample.t, sample.tokens
    return sample_of(np.concatenate([sample.x_t, *moved]), None, None, *rest)


def _spins(sample: Sample) -> bool:
    """Return whether the clean values of the sample are +-1, as judged from the noisy ones."""
    arrays = sample.a, sample.b, sample.c
    if all(np.isin(x, (-1.0, 0.0, 1.0)).all() for x in arrays):
        return (sample.channel is not None and sample.t is not None) or all(x.all() for x in arrays)
    if sample.channel is None or not is_gaussian(sample.channel) or sample.t is None:
        return False
    alpha, sigma = sample.channel.alpha(sample.t), sample.channel.sigma(sample.t)
    rows = [np.concatenate([x**power for x in arrays], axis=1).mean(axis=1) for power in (2, 4)]
    expected = (alpha**2 + sigma**2, alpha**4 + 6 * alpha**2 * sigma**2 + 3 * sigma**4)
    z = [(row.mean() - moment) / (row.std() / math.sqrt(len(row))) for row, moment in zip(rows, expected, strict=True)]
    return bool(max(map(abs, z)) < 5)
