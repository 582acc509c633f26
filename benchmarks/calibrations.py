"""How much of known information does a probe's network find, on every kind of picture whose truth is known?

    python benchmarks/calibrations.py [--n 5000] [--steps 400 2000] [--only ising loops ...] [--body gated]
                                      [--journal FILE] [--figure FILE.png] [--json FILE]

Pictures of 16 x 16 pixels, of 27 x 27 for "far" (Ising rows four pixels apart), and tokens of 4 symbols, 1 x 64, under
erasure. For every kind and every number of training steps: I(A;C|B) found above its null over exact, at every time and
radius; as one number, the share of what there is beyond all radii and at all times. Finished runs stay in the journal.
"""

import time
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from long_range_information import far_apart
from report import parser, report

from lattice_diffusion.estimators.amortised import BODIES, ProbePlan
from lattice_diffusion.images.calibration import TITLES, Pictures, calibrate, distance_error, pictures, plan_for
from lattice_diffusion.images.lattice_images import token_rows
from lattice_diffusion.noise_units import NoiseLevel
from lattice_diffusion.plots import COLORS, noise_rows
from lattice_diffusion.store import Journal

COLOURS = np.array([[0.9, 0.2, 0.05], [1.0, 0.0, -0.1], [0.8, -0.3, 0.1]])
TIMES, RADII = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7), (1, 2, 3, 4)
TITLE = {**TITLES, "far": "Ising rows four pixels apart"}
TOKENS = ("chains", "hierarchy")
VISIBLE = 0.005  # nats; ratios of less are not drawn


def known() -> dict[str, Pictures]:
    """All pictures of known truth."""
    coloured = pictures((16, 16), COLOURS)
    images = {**pictures((16, 16)), "far": far_apart()}
    images |= {name: coloured[name] for name in ("colours", "smooth-colours")}
    return {**images, **token_rows((1, 64), 4, 0.6)}


def measured(name: str, one: Pictures, n: int, steps: int, body: str) -> dict[str, Any]:
    """Return found and exact I(A;C|B) and the error of their difference, each (t, radius), and CPU seconds."""
    tokens = {"tokens": 4, "channel": "erasure"} if name in TOKENS else {}
    start = time.process_time()
    found = calibrate(one, n, plan_for(ProbePlan(TIMES, RADII, None, steps=steps, body=body, **tokens), one))
    arrays = {"found": found["cmi_above_null"].values, "exact": found["cmi_exact"].values}
    arrays["error"] = distance_error(found, "cmi")
    seconds = time.process_time() - start
    about = {"name": name, "n": n, "steps": steps, "body": body, "seconds": seconds}
    return about | {k: v.tolist() for k, v in arrays.items()}


def share(run: dict[str, Any]) -> tuple[float, float]:
    """Return the share found, summed over times and radii, and its error: those of radii are one, of times are not."""
    found, exact, error = (np.array(run[key]) for key in ("found", "exact", "error"))
    return float(found.sum() / exact.sum()), float(np.linalg.norm(error.sum(axis=1)) / exact.sum())


def draw(runs: list[dict[str, Any]], path: str) -> None:
    """Draw found over exact against time, a panel for each kind, a colour for each radius; hollow: fewest steps."""
    names = list(dict.fromkeys(run["name"] for run in runs))
    figure, axes = plt.subplots(2, -(-len(names) // 2), figsize=(13, 7), sharey=True, layout="constrained")
    most = max(run["steps"] for run in runs)
    for ax, name in zip(axes.flat, names, strict=False):
        ax.axhline(1, color="k", lw=0.8)
        for run in (run for run in runs if run["name"] == name):
            exact = np.array(run["exact"])
            for j, color in zip(range(3), COLORS, strict=False):
                seen = exact[:, j] > VISIBLE
                ratio, error = (np.array(run[key])[seen, j] / exact[seen, j] for key in ("found", "error"))
                style = {"color": color, "marker": "o", "ms": 5, "mfc": color if run["steps"] == most else "w"}
                label = f"r = {RADII[j]}, {run['steps']:,} steps"
                ax.errorbar(np.array(TIMES)[seen], ratio, error, capsize=2, lw=1, label=label, **style)
        ax.set_title(fill(TITLE[name], 36), fontsize=9)
        ax.set(ylim=(-0.1, 1.4), xlim=(0.15, 0.75))
        if name in TOKENS:
            ax.set_xlabel("share of erased tokens t")
        else:
            shown = np.array(TIMES[::2])
            noise_rows(ax, shown, shown, NoiseLevel.of(shown, "linear").log_snr)
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    figure.supylabel("I(A;C|B) found / exact")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, dpi=100)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--n", type=int, default=5000, help="pictures of each kind")
    made.add_argument("--steps", type=int, nargs="+", default=[400, 2000], help="of training a network")
    made.add_argument("--only", nargs="+", choices=known(), default=list(known()))
    made.add_argument("--body", default="mlp", choices=BODIES, help="of the networks")
    made.add_argument("--journal", default="calibrations.jsonl", help="file of finished runs")
    made.add_argument("--figure", help="draw the figure to this PNG")
    asked = made.parse_args()
    wanted = [(name, asked.n, steps, asked.body) for steps in asked.steps for name in asked.only]
    with Journal(Path(asked.journal)) as journal:
        runs = {(run["name"], run["n"], run["steps"], run["body"]): run for run in journal.records()}
        for key in wanted:
            if key not in runs:
                runs[key] = measured(key[0], known()[key[0]], *key[1:])
                journal.append([runs[key]])
    numbers: dict[str, float] = {}
    for steps in asked.steps:
        shares = {name: share(runs[name, asked.n, steps, asked.body]) for name in asked.only}
        for name, (value, error) in shares.items():
            numbers |= {f"{name}, {steps} steps: share found": value, f"{name}, {steps} steps: its error": error}
            numbers[f"{name}, {steps} steps: CPU seconds"] = runs[name, asked.n, steps, asked.body]["seconds"]
        numbers[f"all, {steps} steps: share found, median"] = float(np.median([v for v, _ in shares.values()]))
    report(numbers, asked.json)
    if asked.figure:
        draw([runs[key] for key in wanted], asked.figure)


if __name__ == "__main__":
    main()
