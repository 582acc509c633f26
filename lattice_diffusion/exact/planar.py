"""Two independent ways to sum over the faces of open planar grids with couplings of their own for every sample.

    FreeFermions    any size, cost of order L^3 W with L the shorter side
    RowTransfer     shorter side <= 14, cost of order L W 2^L, sums of positive terms only

Both take right (n, L, W-1) and down (n, L-1, W), couplings of any sign; +-inf are ties of weight 1 if kept. NaN
marks what could not be computed to 1e-8; the caller raises.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import free_fermions, transfer_matrix
from .transfer_matrix import MAX_WIDTH, link_factors

FloatArray = NDArray[np.float64]
CERTAIN = 40.0  # a coupling beyond which exp(-2|K|) may be dropped beside 1
UNDERFLOW = 350.0  # a coupling whose exp(-2|K|) is no normal number


class PlanarEngine(Protocol):
    """What the solution of the domain walls asks of a method."""

    def log_sums(self, right: FloatArray, down: FloatArray, *, rare: bool = True) -> FloatArray:
        """(n,), log sum_s prod exp(K s s' - |K|); -inf where ties conflict, and below exp(-80) if not `rare`."""

    def bond_log_odds(self, right: FloatArray, down: FloatArray, bond: tuple[int, int, int]) -> FloatArray:
        """(n,), log P(s s' = +1)/P(s s' = -1) of the bond (channel, i, j) without its own coupling."""

    def label_log_odds(self, right: FloatArray, down: FloatArray) -> FloatArray:
        """(n,), the same of left and right edge column, each tied to one sign; down[..., 0], [..., -1] unread."""


def magnitudes(right: FloatArray, down: FloatArray) -> FloatArray:
    """(n,), sum of |K| over the finite couplings."""
    sizes = [np.where(np.isfinite(bonds), np.abs(bonds), 0.0).sum(axis=(1, 2)) for bonds in (right, down)]
    return sizes[0] + sizes[1]


def _tied(bonds: FloatArray) -> FloatArray:
    return np.where(np.abs(bonds) > CERTAIN, np.copysign(np.inf, bonds), bonds)


def _beyond(right: FloatArray, down: FloatArray) -> NDArray[np.bool_]:
    """(n,), samples with finite couplings too strong for numbers."""
    sizes = [np.where(np.isfinite(k), np.abs(k), 0.0).max(axis=(1, 2), initial=0.0) for k in (right, down)]
    return np.asarray(np.maximum(*sizes) > UNDERFLOW)


class FreeFermions:
    """Gaussian states of domain walls (`kernels.free_fermions`), which lose relative weights below exp(-745).

    What that leaves open is done with ties in place of couplings beyond 40, right to exp(-80).
    """

    def log_sums(self, right: FloatArray, down: FloatArray, *, rare: bool = True) -> FloatArray:
        out = self._with_ties(self._log_sums, right, down)
        lost = np.isneginf(out) & (_beyond(right, down) if rare else False)
        if lost.any():
            out[lost] = self._log_sums(right[lost], down[lost])
        return out

    def bond_log_odds(self, right: FloatArray, down: FloatArray, bond: tuple[int, int, int]) -> FloatArray:
        return self._with_ties(lambda r, d: free_fermions.bonds_log_odds(r, d, *bond), right, down)

    def label_log_odds(self, right: FloatArray, down: FloatArray) -> FloatArray:
        return self._with_ties(free_fermions.labels_log_odds, right, down)

    @staticmethod
    def _log_sums(right: FloatArray, down: FloatArray) -> FloatArray:
        return free_fermions.log_partitions(right, down) - magnitudes(right, down)

    @staticmethod
    def _with_ties(
        solve: Callable[[FloatArray, FloatArray], FloatArray], right: FloatArray, down: FloatArray
    ) -> FloatArray:
        """`solve` with ties for the couplings of samples beyond the range of numbers, at once or after a NaN."""
        tied = _beyond(right, down)
        out = np.full(len(right), np.nan)
        if not tied.all():
            out[~tied] = solve(right[~tied], down[~tied])
        again = np.isnan(out)
        if again.any():
            out[again] = solve(_tied(right[again]), _tied(down[again]))
        return out


class RowTransfer:
    """Site-by-site transfer matrix along the longer side (`kernels.transfer_matrix`)."""

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
        """`weights` (L, W, 2): of spin -1 and +1 at every face."""
        if right.shape[1] < down.shape[2]:  # columns of the kernel along the shorter side
            right, down = np.swapaxes(down, 1, 2), np.swapaxes(right, 1, 2)
            weights = np.swapaxes(weights, 0, 1)
        n, rows, width = right.shape[0], right.shape[1], down.shape[2]
        if width > MAX_WIDTH:
            raise InputError(
                f"method='transfer_matrix' needs a shorter side <= {MAX_WIDTH}, got {width}x{rows} faces; "
                "use method='free_fermions'"
            )
        out = np.empty(n)
        links, falls = np.ones((rows, width, 2)), np.ones((rows + 1, width, 2))
        weights = np.ascontiguousarray(weights)[None]
        for k in range(n):
            links[:, 1:], falls[1:-1] = link_factors(right[k]), link_factors(down[k])
            transfer_matrix.log_evidence(links, falls, weights, out[k : k + 1])
        return out
