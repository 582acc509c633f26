"""Compiled loops (numba) on plain arrays; callers allocate and check.

transfer_matrix, rows           spins: sums from row to row
potts, chain                    tokens, and spins of a chain
free_fermions                   planar Ising models without field
mixtures                        likelihoods of, and divergences between, mixtures
percolation, erasure_paths      loops under erasure
heat_bath, clusters, multispin  Monte Carlo updates
multispin_cuda                  those of multispin on a GPU
random_bits, normals            random words and normal numbers
"""

import atexit
import multiprocessing
import shutil
import sys
import tempfile

import numba
from numba.core import event

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


class _Compilation(event.TimingListener):
    """Measures the seconds spent compiling; says so once, on a terminal and in one process of a run."""

    said = False

    @property
    def seconds(self) -> float:
        """Seconds that this process has spent compiling."""
        return float(self.duration) if self.done else 0.0

    def on_start(self, event: event.Event) -> None:
        super().on_start(event)
        if not self.said and multiprocessing.current_process().name.endswith(("MainProcess", "-1")):
            self.said = True
            if sys.stderr.isatty():
                say(f"compiling the kernels that are needed{', once for this installation' if KEPT else ''} ..")


KEPT = _keeps_code()
compilation = _Compilation()
event.register("numba:compile", compilation)
