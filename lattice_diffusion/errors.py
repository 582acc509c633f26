"""What the package raises on purpose, and the checks at its doors: finite arrays, ranges, devices, memory.

Constructors, the command line, specs and readers of files raise `InputError` with one sentence: the argument, the
value received, what is allowed, the remedy. Anything else that is raised is a bug.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Limits = Mapping[str, tuple[float, float | None]]  # lowest and highest value by name; None: no highest
LARGEST = 2**63 - 1  # of an integer


class InputError(ValueError):
    """An argument, option, spec or file that cannot be used; the message is one sentence."""


def shown(value: Any) -> str:
    """Return a value as messages show it: short, on one line; arrays by their shape."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # such as an integer of more than 4300 digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def array_of(name: str, value: Any) -> NDArray:
    """Return `value` as an array of real numbers; raise InputError, naming it, for anything else or masked entries."""
    if np.ma.is_masked(value):
        raise InputError(
            f"{name} must not have masked entries, got {np.ma.count_masked(value)}; leave those samples out"
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{name} must be an array of numbers, all rows of one length, got {shown(value)}") from None
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} must be an array of real numbers, got {shown(value)}")
    return array


def check_mask(name: str, mask: Any, shape: tuple[int, ...]) -> None:
    """Raise InputError, naming it, for what is no boolean mask of the lattice's shape."""
    if getattr(mask, "dtype", None) != np.bool_ or mask.shape != shape:
        raise InputError(f"{name} must be a boolean mask of the lattice's shape {shape}, got {shown(mask)}")


def check_finite(**arrays: Any) -> None:
    """Raise InputError, naming the array, for one that is empty or holds NaN or infinity."""
    for name, array in arrays.items():
        if not np.size(array):
            raise InputError(f"{name} must hold at least one value, got none")
        if not np.isfinite(array).all():
            raise InputError(f"{name} must be finite, got {np.ravel(array)[~np.isfinite(np.ravel(array))][0]}")


def check_limits(limits: Limits, given: Mapping[str, Any]) -> None:
    """Raise InputError, naming it, for a number among `given` outside its limits; an integer where the lower one is.

    Numbers that are None, or not given, are left out.
    """
    for name, (low, high) in limits.items():
        value = given.get(name)
        if value is None:
            continue
        value = float(value) if isinstance(value, np.floating) else value  # float16 cannot be compared with LARGEST
        kind, fits = ("an integer", isinstance(value, int | np.integer)) if isinstance(low, int) else ("a number", True)
        if not (fits and low <= value <= (LARGEST if high is None else high)):
            allowed = f">= {low:g}" if high is None else f"from {low:g} to {high:g}"
            raise InputError(f"{name} must be {kind} {allowed}, got {shown(value)}")


def device_of(device: Any) -> str:
    """Return the device that is asked for: "auto" is the GPU where there is one, else "cpu", and so is None.

    Raises InputError for a device that torch does not find on this machine.
    """
    if device is None or device == "cpu":
        return "cpu"
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError):
        there = ", ".join(["cpu", "auto", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        why = "" if torch.cuda.is_available() else "; torch finds no GPU here"
        raise InputError(f"device must be one of {there}, got {shown(device)}{why}") from None
    return str(device)


# -- memory -------------------------------------------------------------------------------------------------


def available_memory() -> int:
    """Return the bytes that can be had without swapping, where the system tells; all of its memory otherwise."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return LARGEST


def check_memory(what: str, n_bytes: float, remedy: str, available: float | None = None) -> None:
    """Raise InputError for what takes more bytes than there are, before it is made.

    It says that `what` is too large, the bytes it needs and those `available` (on a GPU, else here), and the `remedy`.
    """
    where, available = ("this machine", available_memory()) if available is None else ("the GPU", available)
    if n_bytes > available:
        raise InputError(
            f"{what} is too large: it needs about {gibibytes(n_bytes)} of memory, {where} has "
            f"{gibibytes(available)} available; {remedy}"
        )


def out_of_memory(error: BaseException) -> str:
    """Return in one sentence, without a remedy, what torch says of a GPU whose memory is full."""
    found = re.search(r"Tried to allocate [\d.]+ \w+", str(error))
    return f"the GPU has too little memory{f' ({found[0][0].lower()}{found[0][1:]})' if found else ''}"


@contextlib.contextmanager
def gpu_memory(remedy: str) -> Iterator[None]:
    """Turn torch's error about a GPU whose memory is full into an InputError of one sentence, with the remedy."""
    try:
        yield
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        raise InputError(f"{out_of_memory(error)}; {remedy}") from None


def gibibytes(n_bytes: float) -> str:
    """Return a number of bytes in words."""
    return f"{float(min(n_bytes, 2**1000)) / 2**30:.3g} GiB"
