"""Compiled loops (numba) on plain arrays; callers allocate and check.

chain, transfer_matrix, rows    spins: forward-backward and transfer-matrix recursions
free_fermions                   planar Ising models without field
mixtures                        likelihoods of, and divergences between, mixtures
percolation, erasure_paths      loops under erasure
heat_bath, clusters, multispin  Monte Carlo updates
random_bits, normals            random words and normal numbers
"""

import atexit
import multiprocessing
import shutil
import tempfile

import numba

from ..progress import say


def _keeps_code() -> bool:
    """Return whether numba finds a folder to keep compiled kernels in; else give it one until this process ends."""
    try:
        numba.njit(cache=True)(_keeps_code)
    except RuntimeError:  # neither the package's folder, nor the user's, nor NUMBA_CACHE_DIR can be written to
        numba.config.CACHE_DIR = folder = tempfile.mkdtemp()  # type: ignore[attr-defined]
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        if multiprocessing.parent_process() is None:
            say(
                "warning: no folder for compiled kernels can be written to: they are compiled anew every time; set "
                "NUMBA_CACHE_DIR to a folder of yours"
            )
        return False
    return True


KEPT = _keeps_code()
