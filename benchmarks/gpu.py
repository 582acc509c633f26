"""One GPU: everything that takes a device against the CPU, resumption, and speed; ends after about six minutes.

    pip install ".[cuda]"           # numba-cuda, with a CUDA toolkit: numba-cuda[cu12] or [cu13] brings one
    python benchmarks/gpu.py [--json FILE] [--only samplers fields ..] [--device cpu --small]

It needs no network. Every check prints the largest deviation in units of what is allowed: five standard errors, or the
tolerance of single precision; the exit code is 1 if one is above 1. `--device cpu --small` runs the same lines on the
CPU at small sizes, the samplers in numba's simulator with NUMBA_ENABLE_CUDASIM=1; its speeds mean nothing.
"""

import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import kaufman
import numpy as np
import torch
from report import parser

import lattice_diffusion as ld
from lattice_diffusion import estimators
from lattice_diffusion.channels import BitFlip, Erasure, Gaussian
from lattice_diffusion.denoisers import ExactDenoiser, GlobalNet, LocalNet, always, pure_noise, reverse, train
from lattice_diffusion.estimators import AmortisedLikelihood
from lattice_diffusion.kernels import multispin_cuda
from lattice_diffusion.models.ising import BETA_CRITICAL

Numbers = Iterator[tuple[str, float]]
LINEAR = Gaussian("linear")
LIMIT = 330.0  # seconds after which nothing new is begun


class Bench:
    """Where it runs and how large it is; what waits for the device and reads the clock."""

    def __init__(self, device: str, small: bool) -> None:
        self.device, self.small, self.both = device, small, (device, "cpu")

    def size(self, full: int, small: int) -> int:
        return small if self.small else full

    def seconds(self, action: Callable[[], object], repeats: int = 3) -> float:
        """Return the seconds of a call, the best of a few after one to compile or to warm up."""
        times = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            action()
            if self.device.startswith("cuda"):
                torch.cuda.synchronize(self.device)
            times.append(time.perf_counter() - start)
        return min(times[1:])


def five_errors(first: np.ndarray, second: np.ndarray | float, error: np.ndarray | float) -> float:
    """Return the largest deviation in units of five standard errors."""
    return float(np.max(np.abs(first - second) / (5 * error)))


# -- samplers -------------------------------------------------------------------------------------------------------


def samplers(bench: Bench) -> Numbers:
    """Ising chains: Kaufman's energy, all states of a small lattice, flips per ns."""
    where: dict[str, Any] = {"device": "cuda" if multispin_cuda.available() else "cpu"}
    length, n = bench.size(64, 4), bench.size(4096, 64)
    lattice = ld.Lattice((length, length), periodic=True)
    start = ld.samplers.ising(lattice, 0.4, n, 1, method="swendsen_wang", thin=20)
    for update in ("metropolis", "heat_bath"):
        options: dict[str, Any] = {"n_replicas": n, "state": start, **where}
        chain = ld.samplers.multispin_chain(lattice, 0.4, bench.size(300, 3), 2, update, **options)
        energy = ld.samplers.energies(chain.spins(), lattice)
        error = energy.std() / n**0.5
        yield f"{update}, energy of L = {length}", five_errors(energy.mean(), kaufman.energy(length, 0.4), error)
    if not bench.small:
        big = ld.Lattice((4096, 4096), periodic=True)
        chain = ld.samplers.multispin_chain(big, 0.4, 2000, 3, **where)
        energy = np.array([ld.samplers.energies(chain.sweep(100).spins(), big)[0] for _ in range(4)])
        error = (kaufman.specific_heat(128, 0.4) / 0.4**2 / big.n_sites / len(energy)) ** 0.5
        yield "energy of one lattice, L = 4096", five_errors(energy.mean(), kaufman.energy(128, 0.4), error)
        small, n = ld.Lattice((2, 3)), 65_536
        spins = ld.samplers.multispin_chain(small, 0.43, 100, 4, n_replicas=n, **where).spins().reshape(n, 6)
        counts = np.bincount((spins > 0) @ (1 << np.arange(6)), minlength=64)
        states = 2 * ((np.arange(64)[:, None] >> np.arange(6)) & 1) - 1
        i, j = small.bonds.T
        law = np.exp(0.43 * (states[:, i] * states[:, j]).sum(axis=1))
        expected = n * law / law.sum()
        square = ((counts - expected) ** 2 / expected).sum()
        yield "chi-square of all states of 2 x 3", (square - 63) / (5 * (2 * 63) ** 0.5)
    for length, n_replicas in ((bench.size(4096, 64), 1), (bench.size(128, 4), bench.size(65_536, 64))):
        lattice = ld.Lattice((length, length), periodic=True)
        for update in ("metropolis", "heat_bath"):
            chain = ld.samplers.multispin_chain(lattice, BETA_CRITICAL, 0, 5, update, n_replicas=n_replicas, **where)
            n_sweeps = bench.size(500, 1)
            spent = bench.seconds(lambda c=chain, n=n_sweeps: c.sweep(n))
            flips = n_sweeps * n_replicas * lattice.n_sites / spent / 1e9
            yield f"speed: {update} flips per ns, {n_replicas} of L = {length}", flips


def fields(bench: Bench) -> Numbers:
    """Gaussian fields: the covariance, fields per second."""
    lattice, n = ld.Lattice((6, 5), (True, False)), bench.size(200_000, 20_000)
    x = ld.samplers.gaussian_field(lattice, 0.4, n, 1, np.float32, device=bench.device)
    flat = x.reshape(n, -1).double()
    exact = np.linalg.inv(ld.models.GaussianField(lattice, 0.4).solver.precision.toarray())
    variance = np.diag(exact)
    error = np.sqrt((exact**2 + np.outer(variance, variance)) / n)
    yield "covariance of fields", five_errors((flat.T @ flat / n).cpu().numpy(), exact, error)
    side, many = bench.size(512, 64), bench.size(2000, 8)
    lattice = ld.Lattice((side, side), periodic=True)
    for device in dict.fromkeys((bench.device, None)):
        few = many if device else max(2, many // 20)
        draw = lambda d=device, m=few: ld.samplers.gaussian_field(lattice, 0.1, m, 2, np.float32, device=d)  # noqa: E731
        name = device or "NumPy, one core"
        yield f"speed: fields per s, {side} x {side}, float32, {name}", few / bench.seconds(draw)


# -- networks -------------------------------------------------------------------------------------------------------


def denoisers(bench: Bench) -> Numbers:
    """Exact laws of fields, networks, training that resumes, the way back; steps of a U-Net per second."""
    rng = np.random.default_rng(1)
    model = ld.models.GaussianField(ld.Lattice((8, 8), True), 0.3)
    x_t = LINEAR.corrupt(model.sample(64, rng), 0.5, rng)[:, None]
    tensor = torch.as_tensor(x_t, device=bench.device)
    for radius in (None, 2):
        exact = ExactDenoiser(model, LINEAR, radius)
        there, here = exact(tensor, 0.5).mean.cpu().numpy(), exact(x_t, 0.5).mean
        yield f"exact field, radius {radius}, double precision", float(np.abs(there - here).max() / 1e-10)
    for channel in (LINEAR, BitFlip(), Erasure()):
        net = LocalNet(2, channel=channel, width=16, rng=2)
        seen = channel.corrupt(rng.choice([-1.0, 1.0], (32, 1, 8, 8)), 0.5, rng)
        here = net(seen, 0.5).mean
        there = net.to(bench.device)(seen, 0.5).mean
        yield f"network under {channel.name}, single precision", float(np.abs(there - here).max() / 1e-4)
    chain = ld.models.IsingChain(ld.Lattice(12), 0.8)
    data, steps = chain.sample(20_000, 3), bench.size(400, 60)
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"steps": steps, "learning_rate": 1e-2, "checkpoint": Path(folder) / "net.pt"}
        options |= {"exact": ExactDenoiser(chain, LINEAR, 1), "resume": True, "rng": 4, "device": bench.device}

        def net() -> LocalNet:
            return LocalNet(1, channel=LINEAR, ndim=1, width=16, depth=1, rng=5)

        *_, whole = train(net(), data, **options)
        yield (
            "training, E|net - exact|^2 / MMSE above 0.01 (0.05 if small)",
            whole.score / (0.05 if bench.small else 0.01),
        )
        Path(folder, "net.pt").unlink()
        cut = train(net(), data, **options)
        list(islice(cut, steps // 2))
        cut.close()
        *_, again = train(net(), data, **options)
        yield "resumed training, relative difference of the score", abs(again.score / whole.score - 1) / 1e-3
        moved = ld.denoisers.load(Path(folder) / "net.pt", "cpu")
        noisy = LINEAR.corrupt(data[:64, None].astype(float), 0.5, 6)
        there = ld.denoisers.load(Path(folder) / "net.pt", bench.device)(noisy, 0.5).mean
        yield "a checkpoint on both devices", float(np.abs(there - moved(noisy, 0.5).mean).max() / 1e-4)
    small = ld.models.GaussianField(ld.Lattice((2, 3)), 0.5)
    n, times, plan = bench.size(200_000, 20_000), [1.0, 0.7, 0.4, 0.0], always(ExactDenoiser(small, LINEAR))
    start = pure_noise((n, 1, 2, 3), LINEAR, 1.0, 7, device=bench.device)
    x = reverse(start, times, plan, LINEAR, 8).reshape(n, 6).double()
    exact_law = ld.denoisers.generated_covariance(small, LINEAR, times, plan)
    variance = np.diag(exact_law)
    error = np.sqrt((exact_law**2 + np.outer(variance, variance)) / n)
    yield "covariance of the way back", five_errors((x.T @ x / n).cpu().numpy(), exact_law, error)
    unet = GlobalNet(3, channel=LINEAR, head="gaussian", width=bench.size(64, 8), levels=2, rng=9)
    images = np.random.default_rng(10).standard_normal((bench.size(10_000, 64), 3, 32, 32)).astype(np.float32)
    size, n_steps = bench.size(128, 4), bench.size(200, 2)

    def some_steps() -> None:
        *_, last = train(unet, images, batch_size=size, steps=n_steps, device=bench.device, rng=11)
        assert np.isfinite(last.loss)

    yield f"speed: U-Net steps per s, {size} images of 3 x 32 x 32", n_steps / bench.seconds(some_steps, 1)


def information(bench: Bench) -> Numbers:
    """Every estimator and the amortised likelihood, on the device and on the CPU, which draw other numbers."""
    n, steps = bench.size(2000, 400), bench.size(300, 20)
    b, c, noise = np.random.default_rng(12).standard_normal((3, n, 1))
    for name in ("ConditionalLikelihood", "DenoiserGap", "ClassifierRatio", "MINE", "InfoNCE"):
        make = estimators.find(name)
        there, here = (make(device=d, steps=steps).fit(b + c + noise, c, b, rng=13).estimate() for d in bench.both)
        yield name, five_errors(there.value, here.value, np.hypot(there.stderr, here.stderr))
    x = ld.models.Ising(ld.Lattice((5, 5)), 0.5).sample(bench.size(4000, 200), 14)
    options: dict[str, Any] = {"radii": (1,), "times": (0.5,), "channel": BitFlip(), "rng": 15}
    learners = (AmortisedLikelihood(device=d, width=32, batch_size=256, steps=steps) for d in bench.both)
    there, here = (learner.fit(x, **options).estimate() for learner in learners)
    error = np.hypot(there.cmi_stderr.values, here.cmi_stderr.values)
    yield "AmortisedLikelihood", five_errors(there.cmi.values, here.cmi.values, error)


def images(bench: Bench) -> Numbers:
    """Probes, a hybrid and a comparison: to their ends, and their seconds."""
    rng = np.random.default_rng(17)
    smooth = ld.samplers.gaussian_field(ld.Lattice((28, 28)), 0.02, bench.size(60_000, 400), rng, np.float32)
    digits = np.clip(np.round(4 * smooth / smooth.std()) + 8, 0, 15).astype(
        np.uint8
    )  # as many grey levels as probes see
    labels = (smooth.mean(axis=(1, 2)) > 0).astype(int)
    colour = ld.samplers.gaussian_field(ld.Lattice((32, 32)), 0.02, bench.size(30_000, 600), rng, np.float32)
    colour = np.clip(128 + 60 * colour.reshape(-1, 3, 32, 32), 0, 255).astype(np.uint8)
    steps = {"steps": 4} if bench.small else {}
    how: dict[str, Any] = {"device": bench.device, "progress": False, "calibrate": False, "body": "mlp", **steps}
    radii, times = ("1..3", 2) if bench.small else ("1..12", 11)
    for name, x, more in (("grey", digits, {"labels": labels, "value_range": "0,15"}), ("colour", colour, {})):
        start = time.perf_counter()
        found = ld.probe(x, radii=radii, times=times, **how, **more)
        yield (
            f"speed: seconds of a probe of {len(x):,} {name} images, {times} times x {radii}",
            time.perf_counter() - start,
        )
        assert np.isfinite(found["probe"]["cmi"].values).all()
    some = digits[: bench.size(6000, 400)]
    training = {"steps": bench.size(300, 2), "global_steps": bench.size(300, 2)}
    start = time.perf_counter()
    ld.hybrid(
        some,
        value_range="0,15",
        window=(0.3, 0.7),
        radius=1,
        radii="1",
        shrink=2,
        n_samples=bench.size(1000, 100),
        steps=bench.size(40, 3),
        device=bench.device,
        progress=False,
        training=training,
        effort={"n_returned": 40, "n_errors": 40, "starts": (0.5,)},
    )
    yield "speed: seconds of a small hybrid", time.perf_counter() - start
    model = ld.models.GaussianField(ld.Lattice((6, 6)), 0.3)
    nets = {
        "local": LocalNet(1, head="gaussian", channel=LINEAR, width=8, rng=18),
        "exact": ExactDenoiser(model, LINEAR),
    }
    data = model.sample(64, 19)[:, None]
    there, here = (ld.compare(nets, data, 4, device=d).table["mse"].values for d in (bench.device, "cpu"))
    yield "a comparison on both devices, single precision", float(np.abs(there - here).max() / 1e-4)


PARTS = (samplers, fields, denoisers, information, images)


def main() -> int:
    made = parser(__doc__)
    made.add_argument("--device", default="cuda", help="of torch (default cuda)")
    made.add_argument("--small", action="store_true", help="small sizes, to try the script")
    made.add_argument("--only", nargs="+", choices=[part.__name__ for part in PARTS], help="some of the parts")
    asked = made.parse_args()
    bench, numbers, failed = Bench(asked.device, asked.small), dict[str, Any](), []
    numbers["device"] = torch.cuda.get_device_name() if asked.device.startswith("cuda") else asked.device
    numbers["torch"], started = torch.__version__, time.perf_counter()
    for part in PARTS:
        if asked.only and part.__name__ not in asked.only:
            continue
        try:
            for name, value in part(bench):
                numbers[f"{part.__name__}: {name}"] = value
                print(f"{time.perf_counter() - started:6.0f} s {value:12.4g}  {part.__name__}: {name}", flush=True)
                if not name.startswith("speed: ") and not value <= 1:
                    failed.append(name)
                if time.perf_counter() - started > LIMIT:
                    failed.append(f"what follows {name}, for want of time")
                    break
        except Exception:  # the other parts are still worth having
            traceback.print_exc()
            failed.append(part.__name__)
    numbers["seconds"] = time.perf_counter() - started
    numbers["failed"] = failed
    if asked.json:
        Path(asked.json).write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    print(f"{len(failed)} of the checks failed{': ' + ', '.join(failed) if failed else ''}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
