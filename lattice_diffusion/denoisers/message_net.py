"""Messages between the faces of a grid, multiplied by the noisy bonds that they cross: they tell parities, as of loops.

A message that has come to a face goes on through its other bonds, never back, is multiplied by every bond's tanh h_e, h
the likelihood field, and turns as it turns,

    m_e' = tanh(h_e') sum_e W(e -> e') m_e,     W = w_0 straight on, w_1 exp(+-i a/4) to the left and right.

The sum over all walks from one face of A round to the other, its own bond left out, times a factor, is the correlation
<s s'> that gives A's log odds. It is the fixed point of this recurrence, found row by row. The cosine of a full turn,
cos a, gains w_0, w_1 and factor are learned; they hold for all bonds, boxes and noise levels. What uniform loops teach
is cos a = -1 (a spin of 1/2), gains of 1 and the factor -1, at which the answer is exact (Kac and Ward 1952).

The cosine is cut at -1 and 1, and what is beyond stays: where loops have taught it to be less than -1 it is exactly -1.
Off by 1e-5, it costs 0.004 nats of a bond on 14 x 14 faces (Gaussian noise, t = 0.42), where walks no longer cancel.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..channels import Channel, Gaussian
from ..errors import check_limits
from .network import Network, given_arguments
from .posterior import Array, Bernoulli, Posterior

GAIN, COSINE = 0.7, -0.5  # before training: a spin of 1/3
LEAST = 1e-3  # what is left of 1 - |<s s'>|: log odds go up to 7.6
AT_ONCE = 1 << 20  # numbers in the equations of one batch
LEAVES = (0, 3, 2, 1)  # what arrives moving right, down, left, up has left its row moving right, up, left, down


def closed_walks(right: Tensor, down: Tensor, weights: Tensor, bond: tuple[int, int]) -> Tensor:
    """Return the sum over walks from one face of the right bond (i, j) to its other one, (n,), mean of both senses.

    Args:
        right, down: complex factors of the bonds, (n, L, M - 1) and (n, L - 1, M).
        weights: (4, 4), to and from the directions right, down, left, up.
    """
    (n, rows, _), columns, (i, j) = right.shape, down.shape[2], bond
    one, left = torch.eye(4 * columns).to(right), weights[list(LEAVES)]
    nothing = right.new_zeros(n, columns, columns)
    cut = torch.ones_like(right[0])
    cut[i, j] = 0
    right, at = right * cut, torch.arange(columns, device=right.device)

    def solved(row: int, above: Tensor, below: Tensor, sources: Tensor) -> Tensor:
        """Return the messages (n, column, direction, source) that arrive in a row."""
        through = torch.stack(
            [torch.diag_embed(right[:, row], -1), above, torch.diag_embed(right[:, row], 1), below], 1
        )
        back = torch.einsum("ndij,dc->nidjc", through, left).reshape(n, 4 * columns, 4 * columns)
        found = torch.linalg.solve_ex(one - back, sources.flatten(0, 1).expand(n, -1, -1)).result
        return found.unflatten(1, (columns, 4))

    def swept(order: range, into: int, out: int, step: int) -> Tensor:
        """Return what comes back, moving `out`, of the messages that move `into` the rows of `order` from the next."""
        came = nothing
        sources = right.new_zeros(columns, 4, columns)
        sources[at, into, at] = 1
        for row in order:
            found = solved(row, *((came, nothing) if step > 0 else (nothing, came)), sources)
            gate = down[:, min(row, row + step)]
            came = gate[:, :, None] * torch.einsum("c,nicj->nij", weights[out], found) * gate[:, None, :]
        return came

    sources = right.new_zeros(columns, 4, 2)
    sources[j + 1, 0, 0] = sources[j, 2, 1] = 1
    found = solved(i, swept(range(i), 3, 1, 1), swept(range(rows - 1, i, -1), 1, 3, -1), sources)
    return 0.5 * (found[:, j, :, 0] @ weights[0] + found[:, j + 1, :, 1] @ weights[2])


class Messages(nn.Module):
    """Log odds of a right bond from y = tanh h of others, 0 where nothing is seen, by cosine, gains and factor."""

    def __init__(self) -> None:
        super().__init__()
        start = (COSINE, GAIN, GAIN, COSINE)
        self.weights = nn.Parameter(torch.tensor(start, dtype=torch.float64, device="cpu"))

    def forward(self, y: Tensor, bond: tuple[int, int]) -> Tensor:
        """Return the log odds (n,) of the right bond (i, j), whose own value is not read, of y (n, 2, L, M)."""
        step = max(1, AT_ONCE // (80 * y.shape[3] ** 2))
        if len(y) > step and not torch.is_grad_enabled():
            return torch.cat([self(part, bond) for part in y.split(step)])
        cosine, straight, turn, factor = self.weights
        turned = torch.polar(turn, 0.25 * cosine.clamp(-1, 1).acos())
        by_turn = torch.stack([straight + 0 * turned, turned, 0 * turned, turned.conj()])
        steps = torch.arange(4, device=y.device)
        weights = by_turn[(steps[:, None] - steps) % 4]
        right, down = (part.to(weights.dtype) for part in (y[:, 0, :, :-1], y[:, 1, :-1]))
        found = factor * closed_walks(right, down, weights, bond).real
        return 0.5 * (((1 + found) ** 2 + LEAST**2) / ((1 - found) ** 2 + LEAST**2)).log()


def transposed(bonds: Tensor) -> Tensor:
    """Return bonds (n, 2, L, M) with rows and columns, and right and down, exchanged, (n, 2, M, L)."""
    return bonds.flip(1).transpose(2, 3)


class MessageNet(Network):
    """The denoiser of bonds on open grids, which learns parities: net(x_t, t), and net.blind without own observations.

    Args:
        radius: of the box, as in `models.DomainWalls`; None: everything, one solution of the grid for every bond.
        channel: the noise; one network serves all its times.
    """

    def __init__(
        self,
        radius: int | None = None,
        *,
        channel: Channel = Gaussian("linear"),  # noqa: B008  frozen
    ) -> None:
        arguments = given_arguments(locals())
        check_limits({"radius": (0, None)}, {} if radius is None else {"radius": radius})
        super().__init__(2, channel, "bernoulli", 2, False, 1.0, True)
        self.radius, self.arguments = arguments["radius"], arguments
        self.messages = Messages()

    def multiply_adds(self, shape: tuple[int, ...]) -> int:
        """Return the cost of denoising one sample: for every bond 4 equations per face, solved row by row."""
        _, rows, columns = shape
        box = (rows, columns) if self.radius is None else (2 * self.radius + 1, 2 * self.radius + 2)
        return (2 * rows * columns - rows - columns) * box[0] * 4 * (21 + 16) * box[1] ** 3

    def blind(self, x_t: Array, t: Any) -> Posterior:
        """Return the law of every clean bond given its box alone, its own observation left out: p(x_A | x_B)."""
        return self._in_kind(lambda x, t: Bernoulli(self._cavity(self._field(x, t))), x_t, t)

    def _posterior(self, x_t: Tensor, t: Any) -> Posterior:
        h = self._field(x_t, t)
        return Bernoulli(2 * h + self._cavity(h))

    def _field(self, x_t: Tensor, t: Any) -> Tensor:
        return self._level(x_t, t).field(x_t * self.sites(x_t.shape[2:], x_t))

    def _cavity(self, h: Tensor) -> Tensor:
        right, down = self._right(h.tanh()), self._right(transposed(h.tanh()))
        return torch.stack([pad(right, (0, 1)), pad(down, (0, 1)).transpose(1, 2)], dim=1)

    def _right(self, y: Tensor) -> Tensor:
        """Return the log odds (n, L, M - 1) of the right bonds."""
        (_, _, rows, columns), r = y.shape, self.radius
        if r is None or r >= max(rows, columns):
            found = [self.messages(y, (i, j)) for i in range(rows) for j in range(columns - 1)]
            return torch.stack(found, dim=1).reshape(-1, rows, columns - 1)
        boxes = pad(y, (r,) * 4).unfold(2, 2 * r + 1, 1).unfold(3, 2 * r + 2, 1)
        return self.messages(boxes.permute(0, 2, 3, 1, 4, 5).flatten(0, 2), (r, r)).reshape(-1, rows, columns - 1)
