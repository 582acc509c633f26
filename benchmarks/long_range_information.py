"""How much long-range information do N images show, and how much of it does an estimator make up?

    python benchmarks/long_range_information.py IMAGES [--range 0 1] [--journal FILE] [--only NAME ...]
                                                [--figure FILE.png] [--json FILE] [--quick]

I(A;C|B) = I(A;BC) - I(A;B), A the middle pixel of 27x27, B the box of radius 1 around it, C the rest, under linear
Gaussian noise, from N = 1,000 to 10,000 images, by

    likelihood       the amortised conditional likelihood of a probe, cross-fitted
    MINE held out    two critics, cross-fitted with early stopping
    MINE in sample   the same critics after 500 epochs on one noisy copy of every image, read off those very copies;
                     of pictures of known truth also 60,000

for IMAGES and for two kinds of pictures with an exact answer: "near", Ising spins as blocks of 2x2 pixels, whose
information is nearly all in the box, as the first sketch says of digits; "far", Ising rows drawn four pixels apart,
with a quarter of it outside. Every finished number goes to the journal, from which a killed run resumes.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from report import parser, report

from lattice_diffusion import Lattice
from lattice_diffusion.channels import Gaussian
from lattice_diffusion.estimators import MINE
from lattice_diffusion.estimators.amortised import ProbePlan
from lattice_diffusion.estimators.amortised_data import field_of_array
from lattice_diffusion.estimators.amortised_estimates import measure
from lattice_diffusion.images import open_images
from lattice_diffusion.images.lattice_images import Rendering, ising_image
from lattice_diffusion.models import Ising
from lattice_diffusion.store import Journal

CHANNEL = Gaussian("linear")
SIDE, RADIUS, EPOCHS, BATCH = 27, 1, 500, 256
GREYS = 32  # levels that images are rounded to
SIZES = (1000, 2500, 5000, 10_000)
PUBLISHED = 60_000  # images of arXiv:2508.06614; as many pictures of known truth can be drawn
PAPER = {0.2: 0.12, 0.3: 0.12, 0.4: 0.13}  # arXiv:2508.06614, I(A;BC) - I(A;B), in sample, linear schedule
STAR = "MINE in sample, arXiv:2508.06614"
METHODS = ("likelihood", "MINE held out", "MINE in sample")
Entry = dict[str, Any]


@dataclass(frozen=True)
class Pictures:
    """What is measured: images by `sample(n)`, A, three times of which the middle one has a curve in N."""

    name: str
    sample: Callable[[int], NDArray]
    pixel: tuple[int, int]
    times: tuple[float, float, float]
    rendering: Rendering | None = None


def far_apart(gap: int = 4, rows: int = 7, beta: float = 0.44) -> Rendering:
    """Ising rows drawn `gap` pixels apart: neighbours above and below A lie outside the smallest boxes."""
    site = np.full((SIDE, SIDE), -1)
    site[SIDE // 2 - gap * (rows // 2) :: gap][:rows] = np.arange(rows * SIDE).reshape(rows, SIDE)
    return Rendering(Ising(Lattice((rows, SIDE)), beta), site, (SIDE // 2, SIDE // 2))


def all_pictures(path: Path, low: float, high: float) -> Iterator[Pictures]:
    images = open_images(path, n_max=SIZES[-1])
    cut = tuple(slice((n - SIDE) // 2, (n - SIDE) // 2 + SIDE) for n in images.shape[2:])
    held = np.concatenate(list(images.batches(4096)))[:, 0, *cut]
    grey = np.round((GREYS - 1) * (held - held.min()) / np.ptp(held)) / (GREYS - 1)
    held = low + (high - low) * grey
    held = held[np.random.default_rng(1).permutation(len(held))]
    yield Pictures("images", lambda n: held[:n], (SIDE // 2, SIDE // 2), (0.2, 0.3, 0.4))
    near = ising_image((SIDE, SIDE))
    for name, rendering, times in (("near", near, (0.4, 0.5, 0.6)), ("far", far_apart(), (0.3, 0.4, 0.5))):
        yield Pictures(name, sampler(rendering), rendering.pixel, times, rendering)


def sampler(rendering: Rendering) -> Callable[[int], NDArray]:
    """Nested samples: the smaller ones are the first of the larger ones, up to the number of images."""
    held = rendering.sample(SIZES[-1], np.random.default_rng(2))

    def sample(n: int) -> NDArray:
        return held[:n] if n <= len(held) else rendering.sample(n, np.random.default_rng(4))

    return sample


def exact(pictures: Pictures, n_samples: int) -> Iterator[Entry]:
    rng = np.random.default_rng(3)
    for t in pictures.times if pictures.rendering else ():
        curve = pictures.rendering.cmi_curve(CHANNEL, t, (0, RADIUS), n_samples, rng)  # type: ignore[union-attr]
        yield entry("exact", 0, t, curve.values, curve.stderr)


def likelihood(pictures: Pictures, n: int, steps: int) -> Iterator[Entry]:
    plan = ProbePlan(pictures.times, (1, 2, 3, 6), pictures.pixel, steps=steps, batch_size=128)
    found = measure(field_of_array(pictures.sample(n)), plan)
    for k, t in enumerate(pictures.times):
        total, cmi, null = (found[name][k].flat[0] for name in ("total_information", "cmi", "cmi_null"))
        errors = [found[f"{name}_stderr"][k].flat[0] for name in ("total_information", "cmi", "cmi_null")]
        yield entry("likelihood", n, t, (total, cmi - null), (errors[0], np.hypot(*errors[1:])))


def mine(pictures: Pictures, n: int, t: float, method: str, epochs: int) -> Iterator[Entry]:
    """Both informations from critics of their own, on the same noisy images."""
    rng = np.random.default_rng([n, round(100 * t)])
    x_t = CHANNEL.corrupt(pictures.sample(n), t, rng)
    box = Lattice((SIDE, SIDE)).box(pictures.pixel, RADIUS)
    A = Lattice((SIDE, SIDE)).box(pictures.pixel, 0)
    inside = method == "MINE in sample"
    batch = min(BATCH, n // 4)
    steps = epochs * n // batch if inside else 2000
    ratios = []
    for region in (~A, box & ~A):
        critic = MINE(evaluate="in_sample" if inside else "held_out", steps=steps, batch_size=batch)
        critic.fit(x_t[:, A], x_t[:, region], rng=rng)
        ratios.append(critic.log_ratios_)
    total, cmi = ratios[0], ratios[0] - ratios[1]
    yield entry(method, n, t, (total.mean(), cmi.mean()), [v.std() / n**0.5 for v in (total, cmi)])


def entry(method: str, n: int, t: float, values: Any, errors: Any) -> Entry:
    """One measurement of I(A;BC) and I(A;C|B), and their errors."""
    numbers = {"total": values[0], "total_stderr": errors[0], "cmi": values[1], "cmi_stderr": errors[1]}
    return {"method": method, "n": n, "t": t} | {name: float(value) for name, value in numbers.items()}


def tasks(pictures: Pictures, options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Iterator[Entry]]]]:
    """Name of every piece of work, and the work; the longest last."""
    quick = options.quick
    sizes = SIZES[:1] if quick else SIZES
    yield "exact", lambda: exact(pictures, 100 if quick else 4000)
    for n in sizes:
        yield f"likelihood {n}", lambda n=n: likelihood(pictures, n, 20 if quick else 1000)  # type: ignore[misc]
    for method in METHODS[1:]:
        as_published = not quick and method == "MINE in sample" and pictures.rendering is not None
        for n in (*sizes, PUBLISHED) if as_published else sizes:
            times = pictures.times if n == sizes[-1] and pictures.rendering is None else pictures.times[1:2]
            for t in times:
                work = lambda n=n, t=t, m=method: mine(pictures, n, t, m, 2 if quick else EPOCHS)  # noqa: E731
                yield f"{method} {n} {t}", work  # type: ignore[misc]


def measured(options: argparse.Namespace) -> dict[str, list[Entry]]:
    """Return the measurements of every kind of picture; what is in the journal is not done again."""
    found: dict[str, list[Entry]] = {}
    with Journal(Path(options.journal)) as journal:
        known = {record["task"]: record["entries"] for record in journal.records()}
        for pictures in all_pictures(Path(options.images), *options.range):
            for name, work in tasks(pictures, options):
                task = f"{pictures.name}: {name}"
                if task not in known and any(word in task for word in options.only or [""]):
                    known[task] = list(work())
                    journal.append([{"task": task, "entries": known[task]}])
                found.setdefault(pictures.name, []).extend(known.get(task, []))
    return found


def draw(found: dict[str, list[Entry]], path: str) -> None:
    """I(A;C|B) against N at the middle time, a panel for each kind of picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from lattice_diffusion.plots import COLORS

    titles = {"images": "the images", "near": "Ising, nearly all in the box", "far": "Ising, a quarter outside"}
    figure, axes = plt.subplots(1, len(found), figsize=(11.0, 4.2), layout="constrained", sharey=True, squeeze=False)
    for ax, (name, entries) in zip(axes[0], found.items(), strict=True):
        t = sorted({e["t"] for e in entries})[1]
        for color, marker, method in zip(COLORS, "osD", METHODS, strict=False):
            points = [(e["n"], e["cmi"], e["cmi_stderr"]) for e in entries if (e["method"], e["t"]) == (method, t)]
            n, cmi, error = zip(*sorted(points), strict=True) if points else ((), (), ())
            ax.errorbar(n, cmi, error, color=color, marker=marker, ms=5, lw=1, capsize=2, label=method)
        truth = [e for e in entries if (e["method"], e["t"]) == ("exact", t)]
        for e in truth:
            ax.axhspan(e["cmi"] - e["cmi_stderr"], e["cmi"] + e["cmi_stderr"], color="k", alpha=0.15, lw=0)
        ax.axhline(truth[0]["cmi"] if truth else np.nan, color="k", lw=1.2, label="exact")
        ax.plot(
            *((60_000, PAPER[t]) if name == "images" and t in PAPER else ((), ())), "k*", ms=11, mfc="w", label=STAR
        )
        ax.axhline(0, color="0.7", lw=0.8)
        ax.set(xscale="log", xlim=(800, 80_000), xlabel="images N", title=f"{titles[name]}, t = {t:g}")
        ax.set_yscale("symlog", linthresh=0.01)
    axes[0, 0].set_ylabel(r"$I(A;C|B)$ beyond r = 1 (nats)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=110)


def table(found: dict[str, list[Entry]]) -> dict[str, float]:
    numbers = {}
    for name, entries in found.items():
        for e in sorted(entries, key=lambda e: (e["t"], e["method"], e["n"])):
            where = f"{name}, t = {e['t']:g}: {e['method']}" + (f", N = {e['n']}" if e["n"] else "")
            for quantity, key in (("I(A;BC)", "total"), ("I(A;C|B)", "cmi")):
                numbers[f"{where}, {quantity}"] = e[key]
                numbers[f"{where}, {quantity}: its error"] = e[f"{key}_stderr"]
            numbers[f"{where}, I(A;B)"] = e["total"] - e["cmi"]
    return numbers


if __name__ == "__main__":
    made = parser(__doc__)
    made.add_argument("images", help="file of images of at least 27x27 pixels, of any kind that a probe reads")
    made.add_argument(
        "--range", type=float, nargs=2, default=(0.0, 1.0), help="values of black and white (default 0 1)"
    )
    made.add_argument("--journal", default="long-range-information.jsonl", help="file of finished measurements")
    made.add_argument("--only", nargs="+", help="measure only names with one of these words, such as 'near: MINE'")
    made.add_argument("--figure", help="draw the figure to this PNG")
    made.add_argument("--quick", action="store_true", help="a short run with few steps")
    given = made.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    result = measured(given)
    report(table(result), given.json)
    if given.figure:
        draw(result, given.figure)
