"""Sums over the faces of open planar grids with couplings of their own for every sample, and the law of every bond.

Two independent ways to sum:

    FreeFermions    any size, cost of order L^3 W with L the shorter side
    RowTransfer     shorter side <= 14, cost of order L W 2^L, sums of positive terms only

Both take right (n, L, W-1) and down (n, L-1, W), couplings of any sign; +-inf are ties of weight 1 if kept. NaN
marks what could not be computed to 1e-8; the caller raises.

Sums over rows (`kernels.rows`) tell the law of every bond without its own coupling, given all others, from two sweeps,
or given a small box around it, a grid of its own.
"""

from collections.abc import Callable

import numpy as np

from ..kernels import free_fermions, rows, transfer_matrix
from ..lattice import BoolArray, FloatArray
from .ising import link_factors

CERTAIN = 40.0  # a coupling beyond which exp(-2|K|) may be dropped beside 1
UNDERFLOW = 350.0  # a coupling whose exp(-2|K|) is no normal number
SWEEP_WIDTH = 16  # rows of 2^16 states, 8 MiB per vector and 16 of them
BOX_RADIUS = 5  # boxes of 11 columns; beyond, free fermions take over


def _each(function: Callable[..., float], right: FloatArray, down: FloatArray, *bond: int) -> FloatArray:
    """Return (n,), the values of every sample."""
    return np.array([function(r, d, *bond) for r, d in zip(right, down, strict=True)])


def _tied(bonds: FloatArray) -> FloatArray:
    return np.where(np.abs(bonds) > CERTAIN, np.copysign(np.inf, bonds), bonds)


def _beyond(right: FloatArray, down: FloatArray) -> BoolArray:
    """Return (n,), True for samples with finite couplings too strong for numbers."""
    sizes = [np.where(np.isfinite(k), np.abs(k), 0.0).max(axis=(1, 2), initial=0.0) for k in (right, down)]
    return np.asarray(np.maximum(*sizes) > UNDERFLOW)


class FreeFermions:
    """Gaussian states of domain walls (`kernels.free_fermions`), which lose relative weights below exp(-745).

    What that leaves open is done with ties in place of couplings beyond 40, right to exp(-80).
    """

    def log_sums(self, right: FloatArray, down: FloatArray, *, rare: bool = True) -> FloatArray:
        """Return (n,), log sum_s prod exp(K s s' - |K|); -inf where ties conflict, and below exp(-80) if not `rare`."""
        out = self._with_ties(self._log_sums, right, down)
        lost = np.isneginf(out) & (_beyond(right, down) if rare else False)
        if lost.any():
            out[lost] = self._log_sums(right[lost], down[lost])
        return out

    def bond_log_odds(self, right: FloatArray, down: FloatArray, bond: tuple[int, int, int]) -> FloatArray:
        """Return (n,), log P(s s' = +1)/P(s s' = -1) of the bond (channel, i, j) without its own coupling."""
        return self._with_ties(lambda r, d: _each(free_fermions.bond_log_odds, r, d, *bond), right, down)

    def label_log_odds(self, right: FloatArray, down: FloatArray) -> FloatArray:
        """Return (n,), the same of left and right edge column, each tied to one sign; their own `down` is unread."""
        return self._with_ties(lambda r, d: _each(free_fermions.label_log_odds, r, d), right, down)

    @staticmethod
    def _log_sums(right: FloatArray, down: FloatArray) -> FloatArray:
        sizes = [np.where(np.isfinite(bonds), np.abs(bonds), 0.0).sum(axis=(1, 2)) for bonds in (right, down)]
        return _each(free_fermions.log_partition, right, down) - (sizes[0] + sizes[1])

    @staticmethod
    def _with_ties(
        solve: Callable[[FloatArray, FloatArray], FloatArray], right: FloatArray, down: FloatArray
    ) -> FloatArray:
        """Call `solve` with ties for the couplings of samples beyond the range of numbers, at once or after a NaN."""
        tied = _beyond(right, down)
        out = np.full(len(right), np.nan)
        if not tied.all():
            out[~tied] = solve(right[~tied], down[~tied])
        again = np.isnan(out)
        if again.any():
            out[again] = solve(_tied(right[again]), _tied(down[again]))
        return out


class RowTransfer:
    """The same by the transfer matrix along the longer side (`kernels.transfer_matrix`)."""

    def log_sums(self, right: FloatArray, down: FloatArray, *, rare: bool = True) -> FloatArray:
        return self._log_sums(right, down, np.ones((right.shape[1], down.shape[2], 2)))

    def bond_log_odds(self, right: FloatArray, down: FloatArray, bond: tuple[int, int, int]) -> FloatArray:
        channel, *face = bond
        logs = []
        for sign in (1.0, -1.0):
            bonds = [right.copy(), down.copy()]
            bonds[channel][:, face[0], face[1]] = sign * np.inf
            logs.append(self.log_sums(*bonds))
        with np.errstate(invalid="ignore"):  # -inf - -inf: the other ties conflict
            return logs[0] - logs[1]

    def label_log_odds(self, right: FloatArray, down: FloatArray) -> FloatArray:
        down = down.copy()
        down[:, :, [0, -1]] = np.inf
        logs = []
        for sign in (1, 0):
            weights = np.ones((right.shape[1], down.shape[2], 2))
            weights[0, 0, 0], weights[0, -1, 1 - sign] = 0.0, 0.0
            logs.append(self._log_sums(right, down, weights))
        with np.errstate(invalid="ignore"):
            return logs[0] - logs[1]

    def _log_sums(self, right: FloatArray, down: FloatArray, weights: FloatArray) -> FloatArray:
        """Return log sums with `weights` (L, W, 2) of spin -1 and +1 at every face."""
        if right.shape[1] < down.shape[2]:  # columns of the kernel along the shorter side
            right, down = np.swapaxes(down, 1, 2), np.swapaxes(right, 1, 2)
            weights = np.swapaxes(weights, 0, 1)
        out, weights = np.empty((len(right), 1)), np.ascontiguousarray(weights)[None]
        for links, falls, total in zip(*_links(right, down), out, strict=True):
            transfer_matrix.log_evidence(links, falls, weights, total)
        return out[:, 0]


def _log_ratio(odds: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(odds[..., 0]) - np.log(odds[..., 1])


def _links(right: FloatArray, down: FloatArray, margin: int = 0) -> tuple[FloatArray, FloatArray]:
    """Return the kernels' factors of couplings right (n, L, W-1) and down (n, L-1, W), padded by free faces."""
    n, length, width = len(right), right.shape[1], down.shape[2]
    inner = slice(margin, margin + length), slice(margin, margin + width)
    links = np.ones((n, length + 2 * margin, width + 2 * margin, 2))
    falls = np.ones((n, length + 1 + 2 * margin, width + 2 * margin, 2))
    links[:, inner[0], margin + 1 : margin + width] = link_factors(right)
    falls[:, margin + 1 : margin + length, inner[1]] = link_factors(down)
    return links, falls


def all_seen(K: FloatArray) -> FloatArray:
    """Return (n, 2, L, W), log P(x_e = +1)/P(x_e = -1) of every bond given the couplings K of all others."""
    right, down = K[:, 0, :, :-1], K[:, 1, :-1, :]
    turned = right.shape[1] < down.shape[2]  # rows of the kernel along the shorter side
    if turned:
        right, down = np.swapaxes(down, 1, 2), np.swapaxes(right, 1, 2)
    n, length, width = len(K), right.shape[1], down.shape[2]
    out = np.ones((n, 2, length, width, 2))
    rows.bond_odds(*_links(right, down), out)
    log_odds = _log_ratio(out)
    return np.ascontiguousarray(np.swapaxes(log_odds, 2, 3)[:, ::-1]) if turned else log_odds


def boxes(h: FloatArray, radius: int) -> FloatArray:
    """Return the same given the couplings in the box of `radius` around each bond."""
    out = np.zeros(h.shape)
    right, down = h[:, 0, :, :-1], h[:, 1, :-1, :]
    for channel, pair in ((1, (right, down)), (0, (np.swapaxes(down, 1, 2), np.swapaxes(right, 1, 2)))):
        odds = np.empty((len(h), *pair[1].shape[1:], 2))
        rows.local_down_bond_odds(*_links(*pair, margin=radius), radius, odds)
        log_odds = _log_ratio(odds)
        if channel == 1:
            out[:, 1, :-1, :] = log_odds
        else:
            out[:, 0, :, :-1] = np.swapaxes(log_odds, 1, 2)
    return out
