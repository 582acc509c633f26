"""Laws of one noisy bond given others by messages (`denoisers.message_net`): parities of any length, and nothing else.

Four weights hold for all bonds and boxes, so that boxes of radius 1 and 2 around A can teach them: first by Adam,
with a share of the bonds hidden, another of every sample, which leaves few walks at a time, from several starts of
which the best is kept; then by Fisher scoring, for answers in larger boxes need weights to a few parts in a thousand.
Log odds of samples whose bonds contradict each other have slopes of 1e3 and more, which no step is small enough for
at first: of the slopes that are not 0 the steepest third is left out, then the steepest ninth, and so on. A cosine
that is not yet at its bound, -1 or 1, is scored at the nearer one as well, and what fits the rows better is kept;
laws are told the bounds of a cosine, and no more.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ..denoisers.message_net import Messages, transposed
from ..denoisers.training import TrainingConfig, minimise
from ..errors import InputError
from ..exact.bonds import Patch, bond_radii, window
from .base import Sample
from .heads import Head
from .laws import Term
from .networks import Rows, by_chunks, torch_generator

STARTS, STEPS, RATE, BATCH = 3, 150, 0.03, 512  # of Adam
SCORED = ((1, 10_000, True), (1, 10_000, False), (2, 4000, False))  # radius of the box, samples, whether bonds hide
ITERATIONS, LEFT_OUT, DIFFERENCE = 8, 1 / 3, 1e-6  # of scoring; the first one's share; of weights, for slopes


class Bonds(NamedTuple):
    """Flat indices of the columns of a, b and c in the image of bonds `shape`, (2, L, W)."""

    shape: tuple[int, ...]
    a: NDArray[np.intp]
    b: NDArray[np.intp]
    c: NDArray[np.intp]


def bonds_of(sample: Sample) -> Bonds:
    """Return where the columns of lattice samples are. Raises InputError for anything but bonds of an open grid."""
    if sample.x_t is None or sample.parts is None:
        raise InputError("body='messages' needs lattice samples; call fit(x_t, parts), or use body='mlp'")
    image, parts = sample.x_t.shape[1:], sample.parts
    if image != parts.shape or len(image) != 3 or image[0] != 2:
        raise InputError(f"body='messages' needs bonds (n, 2, L, W) as of DomainWalls, got {sample.x_t.shape}")
    if parts.ABC[0, :, -1].any() or parts.ABC[1, -1].any():
        raise InputError(
            "body='messages' needs an open grid, got bonds beyond its last column or row; leave them out of A, B and "
            "C, and take body='mlp' on a torus"
        )
    return Bonds(image, *(np.flatnonzero(mask) for mask in (parts.A, parts.B, parts.C)))


class MessageLaw:
    """Log odds of one bond by messages, from the columns of x that are tanh h of bonds within `radius` of it.

    Args:
        sites: (d,), flat indices of the columns in the image of bonds `shape`, (2, L, W); a: that of the bond.
    """

    def __init__(
        self,
        head: Head,
        net: Messages,
        sites: NDArray[np.intp],
        shape: tuple[int, ...],
        a: int,
        radius: int | None = None,
    ) -> None:
        self.head, self.net, self.shape, self.linear = head, net, shape, Term.none(head, 0, torch.ones(1))
        channel, i, j = (int(k) for k in np.unravel_index(a, shape))
        distance = bond_radii((shape[1], shape[2]), False, Patch(i, j, 1 + channel, 2 - channel)).reshape(-1)
        used = np.flatnonzero(distance[sites] <= (max(shape) if radius is None else radius))
        self.columns, self.sites = torch.as_tensor(used), torch.as_tensor(sites[used])
        seen = np.zeros(shape, bool)
        seen.reshape(-1)[[*sites[used], a]] = True
        self.window = window(seen)
        self.bond, self.down = (i - self.window[0].start, j - self.window[1].start), channel == 1

    def __call__(self, x: Tensor, start: Tensor) -> Tensor:
        image = x.new_zeros(len(x), math.prod(self.shape))
        image[:, self.sites] = x[:, self.columns]
        bonds = image.unflatten(1, self.shape)[:, :, self.window[0], self.window[1]]
        odds: Tensor = self.net(transposed(bonds), self.bond[::-1]) if self.down else self.net(bonds, self.bond)
        return start + odds[:, None]

    def straight_part(self, x: Tensor, start: Tensor) -> Tensor:
        """Return what the law starts from: it has no linear term."""
        return start

    def weight(self, *, inside: bool) -> float:
        """Return 1: four weights leave next to no bias."""
        return 1.0


def taught(
    head: Head,
    x: Tensor,
    y: Tensor,
    start: Tensor,
    rows: Rows,
    sites: NDArray[np.intp],
    shape: tuple[int, ...],
    a: int,
    n_b: int,
    rng: Generator,
) -> list[MessageLaw]:
    """Return the laws of b, the first `n_b` columns of x, and of b and c, with the same weights.

    A law that is worse than the next smaller one for the rows that were left out is replaced by it.
    """
    fit, seed = torch.as_tensor(rows[0]), torch_generator(rng)

    def hiding(seen: Tensor) -> Tensor:
        drawn = torch.rand((len(seen), seen.shape[1] + 1), generator=seed, dtype=seen.dtype, device=seen.device)
        return seen * (drawn[:, 1:] < drawn[:, :1])

    def theta(net: Messages, radius: int, batch: Tensor, hide: bool) -> Callable[[], Tensor]:
        seen = hiding(x[batch]) if hide else x[batch]
        return partial(MessageLaw(head, net, sites, shape, a, radius), seen, start[batch])

    def nats(batch: Tensor, odds: Tensor, sign: int = 1) -> Tensor:
        return head.nats(odds, sign * y[batch])

    def loss() -> Tensor:
        batch = fit[torch.randint(len(fit), (BATCH,), generator=seed, device="cpu")]
        return nats(batch, theta(net, 1, batch, True)())

    def best(nets: list[Messages], radius: int) -> Messages:
        return min(nets, key=lambda one: float(nats(fit, theta(one, radius, fit, False)()).mean()))

    starts = []
    for _ in range(STARTS):
        net = Messages()
        for _ in minimise(net, loss, TrainingConfig(steps=STEPS, learning_rate=RATE, warmup=20, ema=0.9)):
            pass
        starts.append(net.requires_grad_(False))
    net = best(starts, 1)
    for radius, n, hide in SCORED:
        nets = [net] if abs(net.weights[0]) > 1 else [net, at_bound(net)]
        for one in nets:
            scoring(one.weights, theta(one, radius, fit[:n], hide), partial(nats, fit[:n]))
        net = best(nets, radius)
    law = partial(MessageLaw, head, net, shape=shape, a=a)
    laws = [law(part) for part in (sites[:0], sites[:n_b], sites)]
    losses = [float(head.nats(by_chunks(one, x[rows[1]], start[rows[1]]), y[rows[1]]).mean()) for one in laws]
    for k in (1, 2):
        if not losses[k] < losses[k - 1]:
            laws[k], losses[k] = laws[k - 1], losses[k - 1]
    return laws[1:]


def at_bound(net: Messages) -> Messages:
    """Return a copy whose cosine is beyond the nearer one of its bounds, -1 and 1, where scoring leaves it."""
    edge = deepcopy(net)
    edge.weights[0] = edge.weights[0].sign() * 2
    return edge


def scoring(weights: Tensor, theta: Callable[[], Tensor], nats: Callable[..., Tensor]) -> None:
    """Minimise the mean of nats(theta()) over a few weights, in place, by damped Fisher scoring (Marquardt 1963).

    The information is the mean over both signs of A's observation, nats(theta(), -1 and 1), as the law expects them:
    where a correlation is known to be 1 - d it is 1 / (2d), and the squared slope of what was seen only 1/4.
    """
    damping, here = 0.01, theta()
    loss, one = float(nats(here).mean()), torch.eye(len(weights)).to(weights)
    for k in range(ITERATIONS):
        now, slopes = weights.clone(), []
        for i in range(len(weights)):
            weights[i] += DIFFERENCE
            slopes.append((theta() - here)[:, 0] / DIFFERENCE)
            weights.copy_(now)
        each, moved = torch.stack(slopes, dim=1), here.clone().requires_grad_()
        expected = here.new_zeros(len(here))
        for sign in (-1, 1):
            lost = nats(moved, sign)
            (slope,) = torch.autograd.grad(lost.sum(), moved)
            expected += 0.5 * (-lost.detach()).exp() * slope[:, 0] ** 2
        steep = each.norm(dim=1)
        kept = steep <= steep.quantile(1 - LEFT_OUT ** (k + 1) * float((steep > 0).double().mean()))
        each, slope, expected = each[kept], slope[kept], expected[kept]
        gradient, information = (slope * each).mean(dim=0), each.T @ (expected[:, None] * each) / len(each)
        while True:
            damped = information + damping * information.diagonal().diag() + 1e-9 * one
            weights.copy_(now - torch.linalg.solve(damped, gradient))
            there = theta()
            if (found := float(nats(there).mean())) < loss:
                here, loss, damping = there, found, damping / 10
                break
            if (damping := 10 * damping) > 1e4:
                weights.copy_(now)
                damping = 1.0
                break
