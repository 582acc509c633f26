"""Which toy is most like an image: digits, colours and photographs beside exact models, natural and shuffled.

    python benchmarks/image_kinds.py DATA --folder FOLDER [--sets cifar mnist ..] [--toys photos ..]
                                     [--figure FILE.png] [--json FILE]

DATA holds mnist10k.npz and cifar10k.npz; photographs are patches of 16 x 16 from the two of scikit-learn, every 10
pixels. Shuffled images have their pixels, all colours of each together, moved by one permutation that leaves the middle
one, A, where it is: I(A;BC) stays, and the box is no nearer to A than the rest. Every set is probed by `ld.probe`;
results are kept in FOLDER, where a killed run resumes. With --toys the toys of PROBED are drawn as often as there are
images of that set and probed with its settings, too, at the noise at which they are compared.

Compared is the share of information beyond r, I(A;C|B_r) / I(A;BC). A toy is taken at the noise at which its A has the
signal-to-noise ratio of the image's A: Gaussian fields have the covariance of its colours, toys without colours the
variance of its first principal colour. The distance of two is the r.m.s. difference of the logarithm of the share over
t = 0.3, 0.5, 0.7 and r = 1 to 4, where a share below FLOOR counts as FLOOR; its error comes from draws of the measured
values within their errors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from report import parser, report

import lattice_diffusion as ld
from lattice_diffusion.images import Images, open_images
from lattice_diffusion.images.lattice_images import grey_image, loop_image

CHANNEL = ld.channels.Gaussian("linear")
KINDS = {"mnist": "MNIST", "cifar": "CIFAR-10", "photos": "photographs"}
TIMES, RADII, FLOOR = (0.3, 0.5, 0.7), (1, 2, 3, 4), 0.005
SMALL: dict[str, Any] = {"times": TIMES, "radii": RADII, "batch_size": 128}
PROBE: dict[str, Any] = {"body": "mlp", "calibrate": False}
OPTIONS: dict[str, dict[str, Any]] = {
    "mnist": {"times": 9, "steps": 2000},
    "mnist-shuffled": {"times": (0.1, 0.3, 0.5, 0.7, 0.9), "radii": RADII, "steps": 600},
    "cifar": {"times": 9, "steps": 2000},
    "cifar-shuffled": {**SMALL, "steps": 500},
    "photos": {**SMALL, "steps": 1500},
    "photos-shuffled": {**SMALL, "steps": 1500},
}
PROBED = {"field": "field, 1/k²", "smooth": "field, 1/k⁴", "ising": "Ising, β = 0.44"}
PATCH, STRIDE, N_EXACT, N_DRAWS = 16, 10, 300, 400


@dataclass(frozen=True)
class Toy:
    """A model with `sample(n, rng)`, the variance of its A over that of the image's, and its exact answer.

    `exact` takes the time to I(A;BC) and I(A;C|B_r) of every r.
    """

    model: Any
    variance: float
    exact: Callable[[float], NDArray[np.float64]]

    def time(self, snr: float) -> float:
        """Return the time at which the toy's A has the signal-to-noise ratio of the image's."""
        return CHANNEL.time(snr / self.variance)


def images(name: str, data: Path) -> Images:
    """Return the images of a set."""
    kind, _, shuffled = name.partition("-")
    if kind == "photos":
        from sklearn.datasets import load_sample_images

        slide = np.lib.stride_tricks.sliding_window_view
        windows = [slide(image, (PATCH, PATCH), (0, 1))[::STRIDE, ::STRIDE] for image in load_sample_images().images]
        x, labels = np.concatenate([np.moveaxis(w, 2, 4).reshape(-1, PATCH, PATCH, 3) for w in windows]), None
    else:
        with np.load(data / f"{kind}10k.npz") as file:
            x, labels = file["images"], file["labels"]
    if shuffled:
        rows, columns = x.shape[1:3]
        order = np.arange(rows * columns)
        others = np.delete(order, rows // 2 * columns + columns // 2)
        order[others] = np.random.default_rng(0).permutation(others)
        x, labels = x.reshape(len(x), rows * columns, -1)[:, order].reshape(x.shape), None
    return open_images(x, labels=labels)


def toys(images: Images) -> dict[str, Toy]:
    """Return the exact toys of such images."""
    lattice, loops = ld.Lattice(images.shape[2:]), loop_image((28, 28))
    radii, centre, rng = (0, *RADII), lattice.center, np.random.default_rng(0)
    a = np.concatenate([x[:, :, centre[0], centre[1]] for x in images.batches(4096)])
    variances, vectors = np.linalg.eigh(np.atleast_2d(np.cov(a.T)))
    first = float(variances[-1])

    def variance(solver: Any) -> float:
        return float(solver.covariance(CHANNEL, 0.0, lattice.box(centre, 0))[0, 0])

    def field(smooth: bool) -> Toy:
        toy = grey_image(lattice.shape, smooth=smooth, colours=vectors * np.sqrt(variances))
        own = toy.unit**2 * variance(toy.solver)
        return Toy(toy, own, lambda t: toy.cmi_curve(CHANNEL, t, radii, 0, rng).values)

    def model(exact: Any, own: float) -> Toy:
        parts = [exact.lattice.tripartition(exact.lattice.center, r) for r in radii]
        return Toy(exact, own / first, lambda t: ld.exact.cmi_curve(exact, CHANNEL, t, parts, N_EXACT, rng).values)

    common = ld.models.GaussianMixture(lattice, mean=1.0, mass_squared=0.3)
    return {
        "field, 1/k²": field(False),
        "field, 1/k⁴": field(True),
        "Ising, β = 0.44": model(ld.models.Ising(ld.Lattice((13, 13)), 0.44), 1.0),
        "loops": Toy(loops, 1 / first, lambda t: loops.cmi_curve(CHANNEL, t, radii, N_EXACT, rng).values),
        "two white classes": model(ld.models.GaussianMixture(lattice, mean=1.0, std=0.6), 1 + 0.6**2),
        "two classes, common field": model(common, 1 + variance(common.solver.field)),
    }


def probe_toy(toy: Toy, n: int, name: str, folder: Path) -> xr.Dataset:
    """Return the probe of `n` samples of a toy with the settings of a set, at the noise of TIMES there."""
    x = toy.model.sample(n, np.random.default_rng(1))
    options = OPTIONS[name.partition("+")[0]] | {"times": [toy.time(CHANNEL.snr(t)) for t in TIMES]}
    x = np.moveaxis(x, 1, 3) if x.ndim == 4 else x
    result = ld.probe(x, out=folder / f"{name}.h5", resume=True, **PROBE, **options)
    return result["probe"].to_dataset().assign_coords(t=list(TIMES))


def shares(found: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return I(A;C|B_r) / I(A;BC) of a probe, (t, RADII), and its error."""
    names = ("cmi_above_null", "cmi_above_null_stderr", "total_information", "total_information_stderr")
    cmi, cmi_error, total, error = (found.sel(radius=list(RADII))[name] for name in names)
    return cmi / total, np.hypot(cmi_error, cmi / total * error) / total


def apart(share: NDArray, toy: NDArray) -> NDArray[np.float64]:
    """Return the log of one share less that of the other, none counted below FLOOR."""
    return np.log(np.maximum(share, FLOOR) / np.maximum(toy, FLOOR))


Shares = tuple[NDArray, NDArray | float, NDArray]  # share (TIMES, RADII) with its error, I(A;BC) (TIMES,)


def measured_shares(found: xr.Dataset) -> Shares:
    """Return the shares of a probe at the times that are compared."""
    share, error = (x.sel(t=list(TIMES), method="nearest").transpose("t", "radius").values for x in shares(found))
    return share, error, found["total_information"].sel(t=list(TIMES), method="nearest").values


def exact_shares(values: xr.DataArray) -> Shares:
    """Return the shares of a toy from I(A;BC) and I(A;C|B)."""
    at = values.sel(t=list(TIMES), method="nearest").values
    return at[:, 1:] / at[:, :1], 0.0, at[:, 0]


def compared(name: str, measured: Shares, others: dict[str, Shares]) -> dict[str, float]:
    """Return the numbers of one set."""
    numbers: dict[str, float] = {}
    share, error, information = measured
    for (k, j), x in np.ndenumerate(share):
        where = f"{name}, t = {TIMES[k]:g}: share beyond r = {RADII[j]}"
        numbers |= {where: x, f"{where}: its error": float(error[k, j])}
    shape, rng = (N_DRAWS, *share.shape), np.random.default_rng(0)
    drawn = rng.normal(share, error, shape)
    for toy, (other, other_error, total) in others.items():
        gap, gaps = apart(share, other), apart(drawn, rng.normal(other, other_error, shape))
        k, j = np.unravel_index(np.abs(gap).argmax(), gap.shape)
        numbers[f"{name}: distance from {toy}"] = float(np.sqrt((gap**2).mean()))
        numbers[f"{name}: distance from {toy}: its error"] = float(np.sqrt((gaps**2).mean(axis=(1, 2))).std())
        numbers[f"{name} / {toy} where most apart, t = {TIMES[k]:g}, r = {RADII[j]}"] = float(np.exp(gap[k, j]))
        of = zip(TIMES, information / total, strict=True)
        numbers |= {f"{name} / {toy}: I(A;BC), t = {t:g}": float(x) for t, x in of}
    return numbers


def lengths(cmi: xr.DataArray, error: xr.DataArray) -> NDArray[np.float64]:
    """Return Markov lengths and their errors, (2, t), of I(A;C|B) (t, RADII); NaN where there is no decay to fit."""
    rows = zip(cmi.values, error.values, strict=True)
    fits = [ld.phases.markov_length(RADII, x, np.diag(e**2), (0, 0.5)).xi for x, e in rows]
    return np.array([(np.nan, np.nan) if xi is None else (xi.value, xi.stderr) for xi in fits]).T


def draw(probes: dict[str, xr.Dataset], exact: dict[str, dict[str, xr.DataArray]], path: str) -> None:
    """Draw the share against r at t = 0.5 and against t at r = 2, and the Markov length, beside the exact toys."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from lattice_diffusion.plots import COLORS, noise_axis

    kinds = [kind for kind in KINDS if kind in exact]
    figure, axes = plt.subplots(3, len(kinds), figsize=(4.2 * len(kinds), 11.5), layout="constrained", squeeze=False)
    for column, kind in zip(axes.T, kinds, strict=True):
        whole = probes[kind].sel(radius=list(RADII))
        errors = whole["cmi_above_null_stderr"]
        for color, (name, values) in zip(COLORS, exact[kind].items(), strict=False):
            share, style = values[:, 1:] / values[:, 0], {"color": color, "lw": 1.3, "label": name}
            column[0].plot(RADII, share.sel(t=0.5, method="nearest"), **style)
            column[1].plot(share["t"], share.sel(radius=2), **style)
            column[2].plot(share["t"], lengths(values[:, 1:], errors)[0], **style)
        for name, marker, face, label in (
            (kind, "o", "k", "images"),
            (f"{kind}-shuffled", "s", "w", "pixels shuffled"),
        ):
            if (found := probes.get(name)) is None:
                continue
            style = {
                "color": "k",
                "mfc": face,
                "marker": marker,
                "ls": "none",
                "capsize": 2,
                "zorder": 5,
                "label": label,
            }
            share, error = (
                x.where(found["total_information"] > 3 * found["total_information_stderr"]) for x in shares(found)
            )
            column[0].errorbar(RADII, *(x.sel(t=0.5, method="nearest") for x in (share, error)), **style)
            column[1].errorbar(found["t"], share.sel(radius=2), error.sel(radius=2), **style)
            if name == kind:
                column[2].errorbar(found["t"], *lengths(whole["cmi_above_null"], errors), **style)
        title = KINDS[kind] if whole["converged"] else f"{KINDS[kind]}, not converged"
        column[0].set(title=title, xlabel="radius r, at t = 0.5 (σ/α = 1, log snr = 0)", xticks=RADII)
        column[2].set_ylim(0, 3)
        for ax in column[:2]:
            ax.set(yscale="log", ylim=(FLOOR / 5, 1.3))
            ax.axhline(FLOOR, color="0.6", ls=":", lw=1)
        for ax in column[1:]:
            noise_axis(ax, whole)
    names = ("share beyond r, I(A;C|B) / I(A;BC)", "share beyond r = 2", "Markov length ξ of r = 1 to 4 (pixels)")
    for ax, text in zip(axes[:, 0], names, strict=True):
        ax.set_ylabel(text)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=75)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("data", type=Path)
    made.add_argument("--folder", type=Path, required=True)
    made.add_argument("--sets", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    made.add_argument("--toys", nargs="+", choices=OPTIONS, default=[], help="sets whose toys are probed, too")
    made.add_argument("--figure", help="draw the figure to this PNG")
    asked = made.parse_args()
    probes, exact, numbers = {}, {}, {}
    for name in asked.sets:
        opened = images(name, asked.data)
        out = asked.folder / f"{name}.h5"
        result = ld.probe(opened, out=out, resume=True, **PROBE, **OPTIONS[name])
        found = probes[name] = result["probe"].to_dataset()
        coords = {"t": found["t"].values, "radius": [0, *RADII]}
        snr = np.exp(found["log_snr"].values)
        known = toys(opened)
        of = {
            k: xr.DataArray([toy.exact(toy.time(x)) for x in snr], coords, ("t", "radius")) for k, toy in known.items()
        }
        exact[name] = of
        others = {toy: exact_shares(values) for toy, values in of.items()}
        for short, toy in PROBED.items() if name in asked.toys else ():
            own = measured_shares(probe_toy(known[toy], opened.shape[0], f"{name}+{short}", asked.folder))
            numbers |= compared(f"{toy}, probed as {name}", own, {toy: others[toy]})
            others[f"{toy}, probed"] = own
        numbers[f"{name}: converged"] = int(found["converged"])
        numbers |= compared(name, measured_shares(found), others)
    report(numbers, asked.json)
    if asked.figure:
        draw(probes, exact, asked.figure)


if __name__ == "__main__":
    main()
