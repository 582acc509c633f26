"""Estimators on tables: rows against columns, and how far each estimate is from the truth.

    python benchmarks/tables.py --n 200 500 2000 --columns 1 10 100 200 400 --seeds 20 --out tables.json

A run is right if the estimate is within five of its own errors of the truth or within 0.1 nats, whichever is larger;
it may be refused (InputError), as where there are fewer rows than the columns need. Anything else is listed.

Kinds: correlated, constants and duplicates (Gaussian columns), one-hot (contexts of a four-valued A), rare (a class in
one row of a hundred), t=1 (spins under bit flips, of which nothing is left).
"""

import argparse
import json
import sys
import time
import warnings

import numpy as np

from lattice_diffusion import estimators
from lattice_diffusion.channels import BitFlip
from lattice_diffusion.errors import InputError
from lattice_diffusion.estimators import tables
from lattice_diffusion.threads import one_thread


def draw(kind, n, columns, rng):
    """Return a, c, b, keywords of `fit`, and the truth."""
    if kind == "t=1":
        spins = rng.choice([-1.0, 1.0], (n, columns + 1))
        spins[:, 1] = spins[:, 0]
        x = BitFlip().corrupt(spins, 1.0, rng)
        return x[:, 0], x[:, 1:], None, {"channel": BitFlip(), "t": 1.0}, 0.0
    law = {
        "correlated": lambda: tables.Numbers(columns),
        "constants": lambda: tables.Numbers(max(columns // 2, 1), constants=max(columns // 4, 1)),
        "duplicates": lambda: tables.Numbers(max(columns // 2, 1), copies=2),
        "one-hot": lambda: tables.Categories(max(columns, 2)),
        "rare": lambda: tables.RareClass(columns),
    }[kind]()
    x = law.sample(n, rng)
    return x[:, 0], x[:, 1 + law.n_b :], x[:, 1 : 1 + law.n_b], {}, law.information


KINDS = ("correlated", "constants", "duplicates", "one-hot", "rare", "t=1")


def rounded(x):
    return float(f"{x:.6g}")


def measure(name, kind, n, columns, seed):
    """Return one run: estimate, error, truth, CPU seconds; or the reason of a refusal."""
    rng = np.random.default_rng([seed, n, columns, KINDS.index(kind)])
    a, c, b, noise, truth = draw(kind, n, columns, rng)
    row = {"estimator": name, "kind": kind, "n": n, "columns": columns, "seed": seed, "truth": rounded(truth)}
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = estimators.find(name)().fit(a, c, b, **noise, rng=rng).estimate()
        except InputError as error:
            return {**row, "refused": str(error)}
    error = found.value - truth
    row |= {"value": rounded(found.value), "stderr": rounded(found.stderr), "error": rounded(error)}
    right = bool(abs(error) <= max(5 * found.stderr, 0.1))
    return {**row, "right": right, "seconds": round(time.process_time() - start, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--estimators", nargs="+", default=["ConditionalLikelihood"])
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--n", nargs="+", type=int, default=[200, 500, 2000])
    parser.add_argument("--columns", nargs="+", type=int, default=[1, 10, 100, 200, 400])
    parser.add_argument("--seeds", type=int, default=2, help="seeds 0, 1, ... of every point")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", default="tables.json")
    asked = parser.parse_args()
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    grid = [(e, k, n, d) for e in asked.estimators for k in asked.kinds for n in asked.n for d in asked.columns]
    rows, start = [], time.process_time()
    with one_thread(torch=True):
        for point in grid:
            new = [measure(*point, seed) for seed in seeds]
            rows += new
            told = [row for row in new if "right" in row]
            worst = max((abs(row["error"]) for row in told), default=0.0)
            z = max((abs(row["error"]) / max(row["stderr"], 1e-12) for row in told), default=0.0)
            cpu = np.mean([row["seconds"] for row in told]) if told else 0.0
            right = sum(row["right"] for row in told)
            text = f"{right}/{len(told)} right, worst error {worst:.3g} nats, {z:.1f} errors, {cpu:.1f} s"
            print(*point, text if told else new[0]["refused"], flush=True)
            with open(asked.out, "w", encoding="utf-8") as file:
                json.dump({"command": sys.argv, "seeds": list(seeds), "rows": rows}, file, indent=1)
    told = [row for row in rows if "right" in row]
    wrong = [row for row in told if not row["right"]]
    print(f"{len(rows)} runs: {len(told) - len(wrong)} right, {len(wrong)} wrong, {len(rows) - len(told)} refused; ")
    print(f"{time.process_time() - start:.0f} CPU s; written to {asked.out}")
    return len(wrong) > 0


if __name__ == "__main__":
    sys.exit(main())
