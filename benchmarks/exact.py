"""Speed of the exact answers: time to 5% error of the Ising CMI, and memory of the transfer matrix.

    python benchmarks/exact.py [--json FILE]

One core. Every number is the best of three runs in this process; compare ratios, not seconds, across machines.
"""

import os
import subprocess
import sys
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
from report import parser, report

import lattice_diffusion as ld

MEMORY = """
import resource, sys, numpy as np, lattice_diffusion as ld
lattice = ld.Lattice((14, int(sys.argv[1])))
parts = [lattice.tripartition((7, int(sys.argv[1]) // 2), r) for r in (1, 2)]
ask = lambda m: ld.exact.cmi_curve(m, ld.channels.Gaussian(), 0.7, parts, 64, np.random.default_rng(0))
ask(ld.models.Ising(ld.Lattice((14, int(sys.argv[1]))), 0.44))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def seconds_to_five_percent() -> dict[str, float]:
    """Ising L = 11, beta = 0.44, t = 0.7, A the central site, r = 1..4 from one set of noise samples."""
    lattice = ld.Lattice((11, 11))
    model, channel = ld.models.Ising(lattice, 0.44), ld.channels.Gaussian("linear")
    parts = [lattice.tripartition((5, 5), r) for r in (1, 2, 3, 4)]
    ld.exact.cmi_curve(model, channel, 0.7, parts, 2, np.random.default_rng(0))  # compile
    n_samples, best = 10_000, np.inf
    for _ in range(3):
        start = time.perf_counter()
        curve = ld.exact.cmi_curve(model, channel, 0.7, parts, n_samples, np.random.default_rng(1))
        best = min(best, time.perf_counter() - start)
    relative = float((curve.stderr / curve.values).max())
    return {
        "samples per second": n_samples / best,
        "largest relative error at 10,000 samples": relative,
        "seconds to 5% at every radius (target 1)": best * (relative / 0.05) ** 2,
    }


def transfer_matrix_memory() -> dict[str, float]:
    """Peak memory of a process that solves 14 x 14, beyond one that solves 14 x 2."""
    peaks = [
        float(subprocess.run([sys.executable, "-c", MEMORY, width], capture_output=True, text=True, check=True).stdout)
        for width in ("2", "14")
    ]
    return {"MiB at W = 14 beyond W = 2 (target 100)": peaks[1] - peaks[0]}


def main() -> None:
    options = parser(__doc__).parse_args()
    numbers = {**seconds_to_five_percent(), **transfer_matrix_memory()}
    report(numbers, options.json)


if __name__ == "__main__":
    main()
