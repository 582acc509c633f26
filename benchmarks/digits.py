"""How much long-range information do digits have: against the number of images, the radius and the time.

    python benchmarks/digits.py mnist60k.npz [--n 1000 10000 60000] [--seeds 3] [--body conv] [--journal FILE]
                                 [--figure FILE.png]

I(A;C|B) of the middle pixel A, B the box of radius r around it, under linear Gaussian noise, by the amortised
conditional likelihood, of perceptrons or U-Nets, from n images, spaced evenly over the file. Finished runs go to the
journal, from which a killed one resumes.
The stars are of the arrays that arXiv:2508.06614 released with its code (mnist/results_cmi): the largest of three runs
of MINE for I(A;BC), or their mean, less one run for I(A;B), all read in sample on one noisy copy of 60,000 digits. Its
digits go from 0 to 1 and ours from -1 to 1, so that its sigma/alpha is twice as large here.
"""

from pathlib import Path
from typing import Any

import numpy as np
from report import parser, report

from lattice_diffusion.estimators import AmortisedLikelihood
from lattice_diffusion.images import open_images
from lattice_diffusion.noise_units import NoiseLevel
from lattice_diffusion.store import Journal

TIMES, RADII = (0.083, 0.2, 0.3, 0.4, 0.5, 0.667), (1, 2, 3, 6)
SETTINGS: dict[str, dict[str, Any]] = {"mlp": {"steps": 4000, "batch_size": 256}, "conv": {}}
RELEASED_T = tuple(2 * t / (1 + t) for t in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
RELEASED_ABC = (
    (0.8401, 0.8260, 0.8487), (0.6221, 0.6358, 0.6356), (0.3351, 0.3798, 0.4224), (0.2527, 0.2195, 0.2117),
    (0.1074, 0.0879, 0.0815), (0.0159, 0.0409, 0.0249),
)  # fmt: skip
RELEASED_AB = (0.769, 0.499, 0.254, 0.106, 0.041, 0.014)  # r = 1; from t = 0.7 on MINE finds no I(A;BC)


def measure(path: Path, n: int, seed: int, body: str) -> dict[str, Any]:
    """Return one run."""
    x = np.concatenate(list(open_images(path, n_max=n).batches(4096)))
    estimator = AmortisedLikelihood(body=body, **SETTINGS[body])
    found = estimator.fit(x, radii=RADII, times=TIMES, rng=seed).estimate()
    names = ("cmi", "cmi_stderr", "total_information", "total_information_stderr")
    return {"n": n, "seed": seed, "body": body} | {name: found[name].values.tolist() for name in names}


def averaged(runs: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over seeds, and its error: that of the images, which seeds share, and of the seeds."""
    values = np.array([run[name] for run in runs])
    own = np.array([run[f"{name}_stderr"] for run in runs]).mean(axis=0)
    between = values.std(axis=0, ddof=1) / len(runs) ** 0.5 if len(runs) > 1 else 0.0
    return values.mean(axis=0), np.hypot(own, between)


def draw(found: dict[int, list[dict[str, Any]]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from lattice_diffusion.plots import COLORS, noise_rows

    figure, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.4), layout="constrained", sharey=True)
    k = TIMES.index(0.3)
    cmi = {n: averaged(runs, "cmi") for n, runs in found.items()}
    most = max(found)
    for j, (radius, color) in enumerate(zip(RADII, COLORS, strict=False)):
        style = {"color": color, "marker": "o", "ms": 5, "capsize": 2, "label": f"r = {radius}"}
        left.errorbar(list(cmi), *([cmi[n][i][k, j] for n in cmi] for i in (0, 1)), **style)
        right.errorbar(TIMES, cmi[most][0][:, j], cmi[most][1][:, j], **style)
    for values, marker, name in ((np.max, "*", "largest"), (np.mean, "P", "mean")):
        apart = values(RELEASED_ABC, axis=1) - RELEASED_AB
        label = f"arXiv:2508.06614, r = 1, {name} of three"
        right.plot(RELEASED_T, apart, f"k{marker}", ms=9, mfc="w", ls="none", label=label)
    left.set(xscale="log", xlabel="images N", title="t = 0.3 (σ/α = 0.43, log snr = 1.7)")
    left.set_ylabel("I(A;C|B) beyond r (nats)")
    right.set_title(f"N = {most:,}")
    noise_rows(right, np.array(TIMES), np.array(TIMES), NoiseLevel.of(TIMES, "linear").log_snr)
    for ax in (left, right):
        ax.set_yscale("symlog", linthresh=0.003, linscale=0.5)
        ax.set_ylim(-0.002, 0.3)
        ax.axhline(0, color="0.7", lw=0.8)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("images", type=Path, help="file of digits, as a probe reads it")
    made.add_argument("--n", type=int, nargs="+", default=[1000, 10_000, 60_000])
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--body", default="mlp", choices=SETTINGS, help="of the networks")
    made.add_argument("--journal", default="digits.jsonl", help="file of finished runs")
    made.add_argument("--figure", help="draw the figure to this PNG")
    asked = made.parse_args()
    with Journal(Path(asked.journal)) as journal:
        runs = [run for run in journal.records() if run.get("body", "mlp") == asked.body]
        for seed in range(asked.seeds):
            for n in asked.n:
                if not any((run["n"], run["seed"]) == (n, seed) for run in runs):
                    runs.append(measure(asked.images, n, seed, asked.body))
                    journal.append(runs[-1:])
    found = {n: [run for run in runs if run["n"] == n and run["seed"] < asked.seeds] for n in asked.n}
    numbers = {}
    for n, of in found.items():
        for name in ("total_information", "cmi"):
            mean, error = averaged(of, name)
            for at in np.ndindex(mean.shape):
                where = f"N = {n}, t = {TIMES[at[0]]:g}" + (f", beyond r = {RADII[at[1]]}" if name == "cmi" else "")
                numbers |= {f"{name}, {where}": float(mean[at]), f"{name}, {where}: its error": float(error[at])}
    report(numbers, asked.json)
    if asked.figure:
        draw(found, asked.figure)


if __name__ == "__main__":
    main()
