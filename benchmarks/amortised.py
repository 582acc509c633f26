"""Accuracy of the amortised likelihood: one network for 8 times x 6 radii against the exact information.

    python benchmarks/amortised.py [--samples 20000] [--steps 3000] [--seeds 1] [--null] [--json FILE]

Open 14 x 16 Ising lattice at beta = 0.44, linear Gaussian noise, A the central pixel; one core. Errors of the exact
values (of 1,500 noisy samples, by the posterior weights of both laws) are part of z.
"""

import os
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
from report import parser, report

import lattice_diffusion as ld

TIMES, RADII, CENTRE = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9), (1, 2, 3, 4, 5, 6), (7, 8)
N_EXACT = 1500


def exact(model: ld.models.Ising) -> tuple[np.ndarray, np.ndarray]:
    """Values and errors, (T, R)."""
    parts = [model.lattice.tripartition(CENTRE, r) for r in RADII]
    rng = np.random.default_rng(0)
    curves = [ld.exact.cmi_curve(model, ld.channels.Gaussian(), t, parts, N_EXACT, rng) for t in TIMES]
    return np.array([c.values for c in curves]), np.array([c.stderr for c in curves])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--samples", type=int, default=20_000)
    options.add_argument("--steps", type=int, default=3000)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--null", action="store_true", help="also where C is permuted, and nothing is to be found")
    asked = options.parse_args()
    model = ld.models.Ising(ld.Lattice((14, 16)), beta=0.44)
    truth, truth_stderr = exact(model)
    errors, scores, nulls, seconds = [], [], [], []
    print("     t  r     exact   learned  held out   error      z")
    for seed in range(asked.seeds):
        rng = np.random.default_rng([seed, 1])
        x_0 = model.sample(asked.samples, rng)
        start = time.process_time()
        estimator = ld.estimators.AmortisedLikelihood(steps=asked.steps, null=asked.null)
        found = estimator.fit(x_0, radii=RADII, times=TIMES, rng=rng).estimate()
        seconds.append(time.process_time() - start)
        cmi, stderr = found.cmi.values, found.cmi_stderr.values
        errors.append(cmi - truth)
        scores.append(errors[-1] / np.hypot(stderr, truth_stderr))
        if asked.null:
            nulls.append(found.cmi_null.values / np.hypot(found.cmi_null_stderr.values, stderr))
        for (k, j), value in np.ndenumerate(cmi):
            held, error, z = float(found.cmi_held_out[k, j]), errors[-1][k, j], scores[-1][k, j]
            line = f"{truth[k, j]:9.5f} {value:9.5f} {held:9.5f} {error:9.5f} {z:6.1f}"
            print(f"{TIMES[k]:6.2f} {RADII[j]:2d} {line}", flush=True)
    error, z, small = np.array(errors), np.array(scores), truth <= 0.001
    numbers = {
        "CPU seconds of a grid of 8 x 6 (target 600)": float(np.mean(seconds)),
        "largest |error|, CMI above 0.001 (target 0.004)": float(np.abs(error[:, ~small]).max()),
        "largest |error|, CMI up to 0.001 (target 0.003)": float(np.abs(error[:, small]).max()),
        "RMSE": float(np.sqrt((error**2).mean())),
        "error summed over times / exact, r = 1": float(error.sum(axis=1)[:, 0].mean() / truth.sum(axis=0)[0]),
        "RMS of z": float(np.sqrt((z**2).mean())),
        "share of |z| < 2": float((np.abs(z) < 2).mean()),
    }
    if nulls:
        numbers["largest |z| of the null"] = float(np.abs(nulls).max())
    report(numbers, asked.json)


if __name__ == "__main__":
    main()
