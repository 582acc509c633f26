"""Speed, scaling and memory of the loop solvers: free fermions and percolation.

    python benchmarks/loops.py [--json FILE] [--largest 256]

One core. Every time is the best of a few runs in this process; compare ratios, not seconds, across machines.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
from report import parser, report

from lattice_diffusion.kernels import free_fermions, percolation

FLIP = 0.109
MEMORY = """
import resource, numpy as np
from lattice_diffusion.kernels import percolation
percolation.joined_radii(np.random.default_rng(0), 0.5, 1024, 1024, 512, 511, 1, 2, np.empty((1000, 2, 2), np.int16))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def best(action: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def fermions(largest: int) -> dict[str, float]:
    """Seconds for log Z, the posterior of one bond and the label, on the Nishimori line at p = 0.109."""
    numbers, rng, size = {}, np.random.default_rng(0), 8
    strength = 0.5 * np.log((1 - FLIP) / FLIP)
    while size <= largest:
        right = np.where(rng.random((size, size - 1)) < FLIP, -strength, strength)
        down = np.where(rng.random((size - 1, size)) < FLIP, -strength, strength)
        middle = size // 2
        repeats = max(1, min(200, 400_000 // size**3)) if size < 256 else 1
        free_fermions.log_partition(right[:4, :3].copy(), down[:3, :4].copy())  # compile
        free_fermions.bond_log_odds(right[:4, :3].copy(), down[:3, :4].copy(), 0, 1, 1)
        free_fermions.label_log_odds(right[:4, :3].copy(), down[:3, :4].copy())
        log_z = best(lambda r=right, d=down: free_fermions.log_partition(r, d), repeats)
        numbers[f"log Z, L = {size} (s)"] = log_z
        bond = best(lambda r=right, d=down, m=middle: free_fermions.bond_log_odds(r, d, 0, m, m), repeats)
        numbers[f"bond posterior / log Z, L = {size} (target 2)"] = bond / log_z
        if size <= 128:
            label = best(lambda r=right, d=down: free_fermions.label_log_odds(r, d), repeats)
            numbers[f"label / log Z, L = {size}"] = label / log_z
        size *= 2
    return numbers


def erasure() -> dict[str, float]:
    """Bonds drawn per second by the percolation kernels, and peak memory at L = 1024."""
    numbers, rng = {}, np.random.default_rng(1)
    for size, n_samples in ((64, 200_000), (512, 100_000), (1024, 100_000)):
        joined, where = np.empty((n_samples, 2, 2), np.int16), (0.5, size, size, size // 2, size // 2, 1, 2)
        percolation.joined_radii(rng, *where, joined[:10])
        start = time.perf_counter()
        drawn = percolation.joined_radii(rng, *where, joined)
        seconds = time.perf_counter() - start
        numbers[f"first-connection radius, L = {size}: million bonds drawn per s (target 20)"] = drawn / seconds / 1e6
        numbers[f"first-connection radius, L = {size}: samples per s"] = n_samples / seconds
    numbers["peak memory of a process at L = 1024, Python and numba included (MiB, target 200)"] = float(
        subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout
    )
    return numbers


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--largest", type=int, default=256, help="largest lattice for log Z")
    options = command.parse_args()
    numbers = {**fermions(options.largest), **erasure()}
    report(numbers, options.json)


if __name__ == "__main__":
    main()
