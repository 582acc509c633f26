"""Measures what tasks.py knows of its tasks: `python -m lattice_diffusion.estimators.truths` writes truths.json."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from .. import __version__
from ..exact import cmi
from .oracle import exact_log_ratios
from .tasks import TRUTHS, names, problem

N_SAMPLES = 1_000_000  # of the truth, where it is an average
N_SPREAD = 50_000
BATCH = 5_000
SEED = 20260823


def measure(name: str, rng: np.random.Generator, n_samples: int, n_spread: int) -> dict[str, Any]:
    """The truth of a task, with its error, and the spread of its log ratio, from `n_spread` noisy samples."""
    model, channel, t, parts = problem(name)
    truth = cmi(model, channel, t, parts, n_samples, rng)
    log_ratios = []
    for _ in range(0, n_spread, BATCH):
        x_t = channel.corrupt(model.sample(BATCH, rng), t, rng)
        log_ratios.append(exact_log_ratios(model, channel, t, x_t, parts))
    return {**asdict(truth), "spread": float(np.concatenate(log_ratios).std(ddof=1))}


def main() -> None:
    streams = np.random.SeedSequence(SEED).spawn(len(names()))
    tasks = {}
    for name, stream in zip(names(), streams, strict=True):
        tasks[name] = measure(name, np.random.default_rng(stream), N_SAMPLES, N_SPREAD)
        print(f"{name:22} {tasks[name]['value']:.6g} ± {tasks[name]['stderr']:.1e}, spread {tasks[name]['spread']:.4g}")
    source = {"command": "python -m lattice_diffusion.estimators.truths", "seed": SEED, "package_version": __version__}
    TRUTHS.write_text(json.dumps({"source": source, "tasks": tasks}, indent=1) + "\n")


if __name__ == "__main__":
    main()
