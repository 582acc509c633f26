"""Squared errors of several denoisers on one noise, sample by sample, with the seconds of every call.

What is measured is kept batch by batch in a folder of parts, each with random numbers of its own, so that a killed run
goes on to the same errors.
"""

import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..channels import check_gaussian
from ..errors import InputError, array_of, check_finite, check_limits, shown
from ..lattice import FloatArray, Rng
from ..noise_units import NoiseLevel, trapezoid
from ..results import variable, with_stderr
from ..store import Parts, atomic_write
from .posterior import check_posterior

Draw = Callable[[int, np.random.Generator], NDArray]
Networks = Mapping[str, Any] | Iterable[tuple[str, Any]]


@dataclass(frozen=True)
class Samples:
    """The data in batches, each with a generator of its own."""

    data: NDArray | Draw
    condition: NDArray | None
    n: int
    size: int
    seed: int

    @classmethod
    def of(
        cls, data: NDArray | Draw, n_samples: int | None, condition: ArrayLike | None, batch_size: int, rng: Rng
    ) -> "Samples":
        check_limits({"n_samples": (2, None)}, {"n_samples": n_samples})
        check_limits({"batch_size": (1, None)}, {"batch_size": batch_size})
        seed = rng if isinstance(rng, int) else int(np.random.default_rng(rng).integers(2**32))
        if callable(data):
            if condition is not None:
                raise InputError("condition needs data in an array, one value per sample, got a function that draws it")
            return cls(data, None, n_samples or 1024, int(batch_size), seed)
        data = array_of("data", data)
        if data.ndim < 3 or len(data) < 2 or not data.size:
            raise InputError(f"data must have shape (n >= 2, channel, *lattice), got {data.shape}; use data[:, None]")
        given = None if condition is None else np.asarray(condition)
        if given is not None and len(given) != len(data):
            raise InputError(f"condition must have one value per sample ({len(data)}), got shape {given.shape}")
        n = min(n_samples or len(data), len(data))
        rows = slice(None) if n == len(data) else np.arange(n) * len(data) // n  # data may be sorted
        return cls(data[rows], given if given is None else given[rows], n, int(batch_size), seed)

    @property
    def n_batches(self) -> int:
        return -(-self.n // self.size)

    def describe(self) -> dict[str, Any]:
        """Return what the samples are as plain JSON types."""
        about: dict[str, Any] = {"n_samples": self.n, "batch_size": self.size, "seed": self.seed}
        if callable(self.data):
            return {**about, "data": getattr(self.data, "__qualname__", type(self.data).__name__)}
        ends = np.ascontiguousarray(self.data[[0, self.n // 2, self.n - 1]])
        return {**about, "data": {"shape": list(self.data.shape[1:]), "checksum": zlib.crc32(ends.tobytes())}}

    def batch(self, k: int) -> tuple[FloatArray, NDArray | None, np.random.Generator]:
        """Return clean values, conditions, and the generator of their noise."""
        start, stop = k * self.size, min((k + 1) * self.size, self.n)
        fresh, noise = (np.random.default_rng(s) for s in np.random.SeedSequence(self.seed, spawn_key=(k,)).spawn(2))
        x_0 = self.data(stop - start, fresh) if callable(self.data) else self.data[start:stop]
        x_0 = array_of("data", x_0).astype(float)
        if len(x_0) != stop - start or x_0.ndim < 3:
            raise InputError(f"data must be drawn as ({stop - start}, channel, *lattice), got {x_0.shape}")
        check_finite(data=x_0)
        return x_0, None if self.condition is None else self.condition[start:stop], noise


def named_networks(networks: Networks) -> dict[str, Any]:
    pairs = list(networks.items() if isinstance(networks, Mapping) else networks)
    names = [name for name, _ in pairs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"networks must have names of their own, got {', '.join(sorted(twice))} twice")
    if not pairs:
        raise InputError("networks must hold at least one denoiser by name, got none")
    for name, net in pairs:
        if not callable(net) or not hasattr(net, "channel"):
            raise InputError(f"network {name} must be a denoiser, got {shown(net)}; make one by denoisers.wrap")
        check_gaussian(net.channel)
    return dict(pairs)


def log_snr_of(levels: ArrayLike | int, unit: Any, networks: Mapping[str, Any]) -> FloatArray:
    """Return log snr of the levels, falling."""
    if isinstance(levels, int | np.integer):
        check_limits({"levels": (2, 10**6)}, {"levels": levels})
        log_snr = np.linspace(6.0, -6.0, int(levels))
    else:
        log_snr = np.unique(NoiseLevel.of(levels, unit).log_snr)[::-1]
    if log_snr.ndim != 1 or len(log_snr) < 2 or not np.isfinite(log_snr).all():
        raise InputError(f"levels must be two or more noise levels with some signal and noise, got {shown(levels)}")
    for name, net in networks.items():
        if hasattr(net, "unit"):
            try:
                NoiseLevel(log_snr).to(net.unit)
            except InputError as error:
                raise InputError(f"network {name}: {error}") from None
    return log_snr


def module_of(net: Any) -> Any:
    """Return the module with the weights, None where there is none."""
    net = getattr(net, "net", net)
    return net if hasattr(net, "parameters") else None


def moved(net: Any, device: str) -> None:
    """Move the weights of a denoiser to a device."""
    if (module := module_of(net)) is not None:
        module.to(device)


def gpu_of(networks: Mapping[Any, Any]) -> str | None:
    """Return the device of the networks' weights, None where all of them are on the CPU, and data are arrays."""
    modules = filter(None, map(module_of, networks.values()))
    devices = (str(weight.device) for module in modules for weight in module.parameters())
    return next((device for device in devices if device != "cpu"), None)


def fingerprint(net: Any) -> int:
    """Return a number that differs for other weights; 0 without weights."""
    module, found = module_of(net), 0
    for weight in module.parameters() if module is not None else ():
        found = zlib.crc32(weight.detach().cpu().float().numpy().tobytes(), found)
    return found


def measured(
    networks: Mapping[str, Any], samples: Samples, log_snr: FloatArray, parts: Parts, advance: Callable[[], None]
) -> tuple[FloatArray, FloatArray]:
    """Return squared errors (n, level, network) and seconds of a call per sample (batch, level, network)."""
    errors, seconds = [], []
    warm: set[str] = set()
    for k in range(samples.n_batches):
        path = parts.folder / f"batch-{k}.npz"
        if not path.exists():
            both = _errors(networks, *samples.batch(k), log_snr, warm)
            with atomic_write(path) as partial:
                np.savez(partial, errors=both[0], seconds=both[1])
        with np.load(path) as stored:
            errors.append(stored["errors"])
            seconds.append(stored["seconds"])
        advance()
    return np.concatenate(errors), np.stack(seconds)


def _errors(
    networks: Mapping[str, Any],
    x_0: FloatArray,
    condition: NDArray | None,
    rng: np.random.Generator,
    log_snr: FloatArray,
    warm: set[str],
) -> tuple[FloatArray, FloatArray]:
    nets = {
        name: net.on(condition) if condition is not None and getattr(net, "condition", None) is not None else net
        for name, net in networks.items()
    }
    for name, net in nets.items():
        limits = getattr(net, "value_range", None)
        if limits is not None and not (limits[0] <= x_0.min() and x_0.max() <= limits[1]):
            raise InputError(
                f"data must be from {limits[0]:g} to {limits[1]:g}, as network {name} was told, got values from "
                f"{x_0.min():g} to {x_0.max():g}; scale them"
            )
    errors, seconds = (np.empty((len(x_0) if k == 0 else 1, len(log_snr), len(nets))) for k in (0, 1))
    for level, snr in enumerate(np.exp(log_snr)):
        z = rng.standard_normal(x_0.shape)
        noisy: dict[tuple[float, float], FloatArray] = {}
        for j, (name, net) in enumerate(nets.items()):
            t = net.channel.time(snr)
            alpha, sigma = net.channel.alpha(t), net.channel.sigma(t)
            if (alpha, sigma) not in noisy:
                noisy[alpha, sigma] = alpha * x_0 + sigma * z
            x_t = noisy[alpha, sigma]
            try:
                if name not in warm:  # the first call takes longer
                    net(x_t, t)
                    warm.add(name)
                start = time.perf_counter()
                law = net(x_t, t)
                seconds[0, level, j] = (time.perf_counter() - start) / len(x_0)
                if np.shape(law.mean) == x_t.shape:
                    difference = (law.mean - x_0).reshape(len(x_0), -1)
                    errors[:, level, j] = np.einsum("ni,ni->n", difference, difference)
                if np.shape(law.mean) != x_t.shape or not np.isfinite(errors[:, level, j]).all():
                    check_posterior(law, x_t, t)
            except InputError as error:
                raise InputError(f"network {name}: {error}") from None
    return errors, seconds[0]


def groups_of(
    networks: Mapping[str, Any], errors: FloatArray, seconds: FloatArray, log_snr: FloatArray, samples: Samples
) -> dict[str, dict[str, xr.Variable]]:
    x_0 = samples.batch(0)[0]
    n_values, shape, dims = x_0[0].size, x_0.shape[1:], ("level", "network")
    names = {"network": variable("network", list(networks), "1", "name of the network")}
    best = errors.mean(axis=0).argmin(axis=1)
    gaps = errors - errors[:, np.arange(len(log_snr)), best][:, :, None]
    weight = 0.5 * (np.exp(log_snr) * trapezoid(log_snr))[:, None]

    mse = "mean squared error of a value"
    kl = "KL per sample beyond the best network's, of the interval of the level"
    table = {
        **names,
        "log_snr": variable("level", log_snr, "1", "log of the signal-to-noise ratio"),
        "t": variable("level", NoiseLevel(log_snr).to("linear"), "1", "time t of the linear schedule"),
        **with_stderr("mse", dims, *mean_and_error(errors / n_values), "1", mse),
        **with_stderr("gap", dims, *mean_and_error(gaps / n_values), "1", f"{mse} beyond the best network's"),
        **with_stderr("kl", dims, *mean_and_error(gaps * weight), "nat", kl),
    }
    modules = [module_of(net) for net in networks.values()]
    counts = [sum(p.numel() for p in module.parameters()) if module is not None else 0 for module in modules]
    adds = [int(net.multiply_adds(tuple(shape))) for net in networks.values()]
    costs = {
        **names,
        "seconds": variable("network", np.median(seconds, axis=(0, 1)), "s", "seconds of a call per sample"),
        "multiply_adds": variable("network", np.array(adds, float), "1", "multiply-adds of a call per sample"),
        "parameters": variable("network", np.array(counts, float), "1", "number of parameters"),
    }
    images = {**names, "squared_error": variable(("image", *dims), errors, "1", "squared error summed over a sample")}
    return {"gaps": table, "costs": costs, "images": images}


def mean_and_error(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean over samples, axis 0, and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / len(values) ** 0.5
