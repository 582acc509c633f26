"""log Z of a planar Ising model as the determinant of a walk that never turns back: the check on free fermions.

    Z = 2^N prod_bonds cosh K  sqrt(det(1 - T)),   T_ee' = tanh(K_e) exp(i angle(e, e') / 2),

e, e' directed bonds, e' starting where e ends but not its reverse, angle the turn in (-pi, pi). Open L x W grid,
right[L, W-1] couples faces (i, j), (i, j+1), down[L-1, W] couples (i, j), (i+1, j); any finite couplings, but
1 - |tanh K| limits the accuracy beyond |K| of about 5. Sparse LU: 0.004, 0.03, 6 s at L = 16, 32, 64.
Source: Kac and Ward, Phys. Rev. 88, 1332 (1952); Kager, Lis and Meester, arXiv:1208.5325.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, identity
from scipy.sparse.linalg import splu

TURNS = (-1, 0, 1)  # in quarter turns; directions are right, down, left, up


def log_partition(right: NDArray[np.float64], down: NDArray[np.float64]) -> float:
    """log Z of right[L, W-1], down[L-1, W]."""
    rows, columns = right.shape[0], down.shape[1]
    faces = np.arange(rows * columns).reshape(rows, columns)
    couplings = np.concatenate([right.ravel(), down.ravel()] * 2)
    starts = [faces[:, :-1], faces[:-1, :], faces[:, 1:], faces[1:, :]]
    ends = [faces[:, 1:], faces[1:, :], faces[:, :-1], faces[:-1, :]]
    direction = np.repeat(np.arange(4), [start.size for start in starts])
    start, end = (np.concatenate([x.ravel() for x in side]) for side in (starts, ends))

    leaving = np.full((rows * columns, 4), -1)  # the directed bond that leaves a face in a direction
    leaving[start, direction] = np.arange(start.size)
    log_two_cosh = faces.size * np.log(2.0) + np.logaddexp(right, -right).sum() + np.logaddexp(down, -down).sum()
    log_z = log_two_cosh - (right.size + down.size) * np.log(2.0)
    if start.size == 0:
        return float(log_z)
    row, column, value = [], [], []
    for turn in TURNS:
        following = leaving[end, (direction + turn) % 4]
        bond = np.flatnonzero(following >= 0)
        row.append(bond)
        column.append(following[bond])
        value.append(np.tanh(couplings[bond]) * np.exp(0.25j * np.pi * turn))
    entries = (np.concatenate(value), (np.concatenate(row), np.concatenate(column)))
    walk = csc_array(entries, shape=(start.size, start.size))
    lu = splu(csc_array(identity(start.size, dtype=complex) - walk))
    return float(log_z + 0.5 * np.log(np.abs(lu.U.diagonal())).sum())
