"""The law of every bond of noisy domain walls given the noisy bonds in a box around it, all bonds at once.

Each bond is answered without its own observation. What is done depends on what is seen:

    loops under erasure      signs along kept paths within the box (`kernels.erasure_paths`); log-odds 0 or +-inf
    loops in small boxes     the box is a grid of its own: rows of spins (`kernels.rows`)
    all bonds seen           two sweeps over the rows answer every bond, for a shorter side <= 16
    else                     bond by bond, by the solver's own method
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import erasure_paths, rows
from .bonds import Patch, bond_radii
from .transfer_matrix import link_factors

if TYPE_CHECKING:
    from .domain_walls import DomainWallSolver

FloatArray = NDArray[np.float64]
SWEEP_WIDTH = 16  # rows of 2^16 states, 8 MiB per vector and 16 of them
BOX_RADIUS = 5  # boxes of 11 columns; beyond, free fermions take over


def blind_log_odds(
    solver: "DomainWallSolver", h: FloatArray, radius: int | None, wanted: NDArray[np.bool_]
) -> FloatArray:
    """(n, 2, L, W), log P(x_e = +1)/P(x_e = -1) given h in the box of `radius` around each bond, less its own.

    0 at unused entries; NaN where what is seen contradicts itself. Only entries of `wanted` are promised.
    """
    faces = solver.faces
    if radius is not None and radius >= max(faces) - 1 and not solver.periodic:
        radius = None
    if solver.beta == 0.0 and np.all((h == 0.0) | np.isinf(h)):
        return _erased(solver, h, radius, wanted)
    if radius is None and min(faces) <= SWEEP_WIDTH:
        return np.where(solver.bonds, _all_seen(h + solver.beta) + 2.0 * solver.beta, 0.0)
    if radius is not None and radius <= BOX_RADIUS and solver.beta == 0.0:
        return _boxes(h, radius)
    return _one_by_one(solver, h, radius, wanted)


def _erased(solver: "DomainWallSolver", h: FloatArray, radius: int | None, wanted: NDArray[np.bool_]) -> FloatArray:
    faces = solver.faces
    if solver.periodic and (radius is None or 2 * radius + 2 >= min(faces)):
        raise InputError(
            f"radius must be < {min(faces) / 2 - 1:g} on this torus of {faces[0]}x{faces[1]} faces, whose larger boxes "
            f"close round it, got {radius}; open the edges (periodic=False)"
        )
    x = np.sign(h).astype(np.int8)
    signs = np.empty_like(x)
    erasure_paths.signs(x, wanted & solver.bonds, max(faces) if radius is None else radius, signs)
    return np.where(signs == 0, 0.0, np.copysign(np.inf, signs))


def _log_ratio(odds: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(odds[..., 0]) - np.log(odds[..., 1])


def _links(right: FloatArray, down: FloatArray, margin: int = 0) -> tuple[FloatArray, FloatArray]:
    """Factors for the kernels, of couplings right (n, L, W-1) and down (n, L-1, W), padded by faces without any."""
    n, length, width = len(right), right.shape[1], down.shape[2]
    inner = slice(margin, margin + length), slice(margin, margin + width)
    links = np.ones((n, length + 2 * margin, width + 2 * margin, 2))
    falls = np.ones((n, length + 1 + 2 * margin, width + 2 * margin, 2))
    links[:, inner[0], margin + 1 : margin + width] = link_factors(right)
    falls[:, margin + 1 : margin + length, inner[1]] = link_factors(down)
    return links, falls


def _all_seen(K: FloatArray) -> FloatArray:
    right, down = K[:, 0, :, :-1], K[:, 1, :-1, :]
    turned = right.shape[1] < down.shape[2]  # rows of the kernel along the shorter side
    if turned:
        right, down = np.swapaxes(down, 1, 2), np.swapaxes(right, 1, 2)
    n, length, width = len(K), right.shape[1], down.shape[2]
    out = np.ones((n, 2, length, width, 2))
    rows.bond_odds(*_links(right, down), out)
    log_odds = _log_ratio(out)
    return np.ascontiguousarray(np.swapaxes(log_odds, 2, 3)[:, ::-1]) if turned else log_odds


def _boxes(h: FloatArray, radius: int) -> FloatArray:
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


def _one_by_one(solver: "DomainWallSolver", h: FloatArray, radius: int | None, wanted: NDArray[np.bool_]) -> FloatArray:
    out = np.zeros(h.shape)
    for channel, i, j in np.argwhere(solver.bonds):
        todo = wanted[:, channel, i, j]
        if not todo.any():
            continue
        seen = solver.bonds.copy()
        if radius is not None:
            distance = bond_radii(solver.faces, solver.periodic, Patch(int(i), int(j), 1 + channel, 2 - channel))
            seen &= distance <= radius
        seen[channel, i, j] = False
        site = int(np.ravel_multi_index((channel, i, j), solver.shape))
        out[todo, channel, i, j] = solver.log_odds(np.where(seen, h[todo], 0.0), site)
    return out
