"""Networks of diffusers compared: does masking attention measure locality, and what does switching networks save?

    python benchmarks/own_networks.py [--only attention digits] [--train NAME] [--digits mnist60k.npz] [--out FOLDER]
                                      [--quick] [--json FILE]

attention   A DiT of the library diffusers, two layers, trained for minutes on Ising samples (6 x 6, beta = 0.44) with
            full attention; its attention cut to windows of radius r afterwards, as arXiv:2605.04830 does; DiTs trained
            with these windows; and the exact denoisers of the box that two such layers see, radius 2r. What local
            costs is the KL beyond the same kind of network without windows.
digits      14 x 14 digits of 8 grey levels: three U-Nets of diffusers and three local networks; the table, the
            schedule for a budget, predicted against achieved quality, and measured seconds.

Both write NAME.h5 and NAME.png into the folder, and NETWORK.pt for every network that is trained, which is used again;
--train trains one of them and stops, so that several can be trained at a time. Seconds of training are CPU seconds.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from diffusers import DDPMScheduler, DiTTransformer2DModel, UNet2DModel
from report import parser, report

import lattice_diffusion as ld
from lattice_diffusion.denoisers import ExactDenoiser, LocalImageNet, TrainingConfig, fit, from_diffusers, minimise
from lattice_diffusion.denoisers.comparison import Comparison
from lattice_diffusion.denoisers.wrapped import WrappedDenoiser
from lattice_diffusion.images import open_images
from lattice_diffusion.images.hybrid_networks import split

CHANNEL = ld.channels.Gaussian("linear")
LATTICE, BETA, RADII = ld.Lattice((6, 6)), 0.44, (1, 2)
TOLERANCE = 0.05  # nats per unit of log snr
Numbers = Iterator[tuple[str, float]]


class WindowedAttention:
    """Attention of a block of a DiT within windows: every token sees those within Chebyshev radius r."""

    def __init__(self, side: int, radius: int) -> None:
        at = np.stack(np.unravel_index(np.arange(side**2), (side, side)), axis=1)
        self.seen = torch.as_tensor(np.abs(at[:, None] - at).max(axis=2) <= radius)

    def __call__(self, attn: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        q, k, v = (
            part(hidden_states).unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for part in (attn.to_q, attn.to_k, attn.to_v)
        )
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=self.seen)
        return attn.to_out[0](out.transpose(1, 2).flatten(2))


def dit(seed: int) -> DiTTransformer2DModel:
    torch.manual_seed(seed)  # the library draws weights from global state
    return DiTTransformer2DModel(
        sample_size=6, patch_size=1, in_channels=1, out_channels=1, num_layers=2, num_attention_heads=4,
        attention_head_dim=16, num_embeds_ada_norm=1, dropout=0.0,
    )  # fmt: skip


def cut(model: DiTTransformer2DModel, radius: int) -> DiTTransformer2DModel:
    """Cut the attention of all blocks to windows."""
    for block in model.transformer_blocks:
        block.attn1.set_processor(WindowedAttention(6, radius))
    return model


def wrapped_dit(model: DiTTransformer2DModel, radius: int | None = None) -> WrappedDenoiser:
    scheduler = DDPMScheduler(prediction_type="v_prediction")
    one_class = {"class_labels": torch.zeros(1, dtype=torch.int64)}
    return from_diffusers(model, scheduler, arguments=one_class, radius=radius)


def train(
    model: torch.nn.Module, net: WrappedDenoiser, data: np.ndarray, steps: int, batch: int, rng: np.random.Generator
) -> float:
    """Minimise the squared error of the mean, weighted by min(1 + snr, 5), and return the CPU seconds it took."""

    def losses() -> torch.Tensor:
        x_0 = data[rng.integers(len(data), size=batch)]
        log_snr = rng.uniform(-5, 6, size=8).repeat(batch // 8)
        t = 1 / (1 + np.exp(log_snr / 2))
        x_t = (1 - t)[:, None, None, None] * x_0 + t[:, None, None, None] * rng.standard_normal(x_0.shape)
        mean = net(torch.as_tensor(x_t, dtype=torch.float32), t).mean
        weight = torch.as_tensor(np.minimum(1 + np.exp(log_snr), 5.0), dtype=torch.float32)
        return weight * ((mean - torch.as_tensor(x_0, dtype=torch.float32)) ** 2).flatten(1).mean(dim=1)

    start = time.process_time()
    model.train()
    for step in minimise(model, losses, TrainingConfig(steps, learning_rate=2e-3), rng=rng):
        if step.number % 100 == 0:
            print(f"{type(model).__name__}: step {step.number}, loss {step.loss:.4f}", flush=True)
    model.eval()
    return time.process_time() - start


def kept(folder: Path, name: str, model: torch.nn.Module, fitted: Callable[[], float]) -> float:
    """Train a network, or take it from the folder; return its CPU seconds of training."""
    path = folder / f"{name.replace(' ', '-')}.pt"
    if not path.exists():
        seconds = fitted()
        torch.save({"weights": model.state_dict(), "seconds": seconds}, path)
    stored = torch.load(path)
    model.load_state_dict(stored["weights"])
    model.eval()
    return stored["seconds"]


def attention(folder: Path, quick: bool, only: str | None) -> Numbers:
    """Yield KL and windows of local denoisers by three definitions of local."""
    rng = np.random.default_rng(1)
    model = ld.models.Ising(LATTICE, BETA)
    steps, n_train, n_test = (3, 200, 32) if quick else (3000, 20_000, 384)
    data, fresh = (model.sample(n, rng)[:, None].astype(float) for n in (n_train, n_test))
    nets: dict[str, Any] = {"exact": ExactDenoiser(model, CHANNEL)}
    for radius in RADII:
        nets[f"exact, radius {2 * radius}"] = ExactDenoiser(model, CHANNEL, 2 * radius)
    for seed, radius in enumerate((None, *RADII)):
        name = "DiT" if radius is None else f"DiT trained at {radius}"
        if only not in (None, name):
            continue
        one = dit(seed) if radius is None else cut(dit(seed), radius)
        nets[name] = wrapped_dit(one, None if radius is None else 2 * radius)
        batches = np.random.default_rng([seed, 1])
        seconds = kept(folder, name, one, lambda: train(one, nets[name], data, steps, 48, batches))  # noqa: B023
        yield f"{name}: CPU seconds of training", seconds
        if radius is None:
            for r in RADII:
                masked = dit(seed)
                masked.load_state_dict(one.state_dict())
                nets[f"DiT cut to {r}"] = wrapped_dit(cut(masked, r).eval(), 2 * r)
    if only:
        return
    found = ld.compare(
        nets, fresh, np.linspace(4, -5, 13), unit="log_snr", rng=2, out=folder / "attention.h5", force=True
    )
    for radius in RADII:
        pairs = {
            f"exact, radius {2 * radius}": "exact",
            f"DiT trained at {radius}": "DiT",
            f"DiT cut to {radius}": "DiT",
        }
        for local_name, other in pairs.items():
            density, stderr = found.density(local_name, beyond=other)
            weights = ld.denoisers.paired_errors.trapezoid(found.log_snr)
            yield f"{local_name}: KL beyond {other} (nat)", float(density @ weights)
            yield f"{local_name}: largest error of a level (nat)", float(stderr.max())
            window = found.window(TOLERANCE, local_name, beyond=other, unit="sigma")
            for name in ("start", "stop"):
                end = getattr(window, name, None)
                yield f"{local_name}: sigma at the {name} of the window", end.value if end else float("nan")
    density, stderr = found.density("DiT", beyond="exact")
    yield "DiT: KL beyond exact (nat)", float(density @ ld.denoisers.paired_errors.trapezoid(found.log_snr))
    draw_attention(found, folder / "attention.png")


def draw_attention(found: Comparison, path: Path) -> None:
    from lattice_diffusion.plots import COLORS, MARKERS, new_figure, noise_axis

    figure, axes = new_figure(len(RADII))
    noise = ld.NoiseLevel(found.log_snr)
    sigma = noise.to("sigma")
    data = xr.Dataset({"log_snr": ("t", found.log_snr)}, {"t": noise.to("linear")})
    for ax, radius in zip(axes, RADII, strict=True):
        density, _ = found.density(f"exact, radius {2 * radius}", beyond="exact")
        ax.plot(sigma, density, "k-", label=f"exact, radius {2 * radius}")
        for k, name in enumerate((f"DiT trained at {radius}", f"DiT cut to {radius}")):
            density, stderr = found.density(name, beyond="DiT")
            label = ("trained with", "cut afterwards to")[k] + f" windows of radius {radius}"
            ax.errorbar(sigma, density, stderr, color=COLORS[k], marker=MARKERS[k], ms=4, lw=0.7, label=label)
        ax.set(xscale="log", ylabel="KL beyond global per unit of log snr (nats)")
        noise_axis(ax, data, at=sigma)
        ax.legend(fontsize=8, loc="upper left")
        ax.set_ylim(top=1.35 * ax.get_ylim()[1])  # room for the legend
    figure.savefig(path, dpi=150, bbox_inches="tight")


def digits(file: str, folder: Path, quick: bool, only: str | None) -> Numbers:
    """Yield costs, errors, the schedule, and predicted against achieved quality of digits."""
    data = split(open_images(file), 8, 2, np.random.default_rng(3))
    steps, n_test, n_made = (3, 80, 80) if quick else (1500, 256, 400)
    nets: dict[str, Any] = {}
    for width in (4, 8, 16):
        name = f"U-Net {width}"
        if only not in (None, name):
            continue
        torch.manual_seed(width)
        unet = UNet2DModel(
            sample_size=14, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(width, 2 * width),
            norm_num_groups=4, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"), add_attention=False, attention_head_dim=4,
        )  # fmt: skip
        nets[name] = from_diffusers(unet, DDPMScheduler(prediction_type="v_prediction"))
        batches = np.random.default_rng(width)
        seconds = kept(folder, name, unet, lambda: train(unet, nets[name], data.train, steps, 32, batches))  # noqa: B023
        yield f"{name}: CPU seconds of training", seconds
    for radius in (1, 2, 4):
        name = f"local {radius}"
        if only not in (None, name):
            continue
        rng = np.random.default_rng(radius)
        nets[name] = LocalImageNet(radius, data.levels, data.prior, width=24, rng=rng)

        def fitted(net: LocalImageNet = nets[name], rng: np.random.Generator = rng) -> float:
            start = time.process_time()
            fit(net, data.train, rng=rng, steps=steps, batch_size=32)
            return time.process_time() - start

        yield f"{name}: CPU seconds of training", kept(folder, name, nets[name], fitted)
    if only:
        return
    budget = 0.5
    found = ld.compare(nets, data.real[:n_test], 16, rng=4, budget=budget, out=folder / "digits.h5", force=True)
    found.plot(budget=budget).savefig(folder / "digits.png", dpi=150, bbox_inches="tight")
    for row in found.rows(budget):
        yield row.quantity, row.value
    for name, first, last in found.schedule(budget).bounds("ddpm"):
        yield f"{name}: first step", first
        yield f"{name}: last step", last
    real, labels = data.reference, data.labels[1] if data.labels else None
    made = found.validate(n_made, real, budget=budget, labels=labels, rng=5)
    for name in made.data_vars:
        for kind in made["schedule"].values:
            yield f"{name}, {kind}", float(made[name].sel(schedule=kind))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", default=["attention", "digits"], choices=["attention", "digits"])
    options.add_argument("--quick", action="store_true", help="few steps, to see that it runs")
    options.add_argument("--train", metavar="NAME", help="train this network only, such as 'U-Net 8'")
    options.add_argument("--digits", default="mnist60k.npz", help="images of digits, see ld.probe")
    options.add_argument("--out", type=Path, default=Path("."))
    given: argparse.Namespace = options.parse_args()
    numbers: dict[str, float] = {}
    parts = {
        "attention": lambda: attention(given.out, given.quick, given.train),
        "digits": lambda: digits(given.digits, given.out, given.quick, given.train),
    }
    for name in given.only:
        for quantity, value in parts[name]():
            numbers[f"{name}: {quantity}"] = value
            print(f"{value:12.4g}  {name}: {quantity}", flush=True)
    report({} if not given.json else numbers, given.json)


if __name__ == "__main__":
    main()
