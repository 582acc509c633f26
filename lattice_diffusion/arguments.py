"""What every public function asks of its arguments: the kinds that its annotations name, and memory that there is.

`checked` reads the annotations once and refuses, at the call, what they do not allow: a string for a number, a seed
for a generator, a list for a lattice. Ranges and shapes are physics and stay with the function; kernels are free of
all this. `check_memory` refuses an array before it is made.
"""

import functools
import inspect
import os
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

F = TypeVar("F", bound=Callable[..., Any])
Limits = Mapping[str, tuple[float, float | None]]  # lowest and highest value by name; None: no highest
Kind = Callable[[Any], Any]  # gives back the value, arrays as NumPy's; raises _Refused, which says what is allowed

_MISSING = object()
LARGEST = 2**63 - 1  # of an integer
REMEDIES = {"rng": "; pass numpy.random.default_rng(seed)", "lattice": "; make one, such as Lattice((8, 8))"}


class _Refused(Exception):
    """Another kind of object than allowed; never leaves this module."""


class _Mistaken(_Refused):
    """The right kind, another value than allowed."""


def checked(function: F) -> F:
    """The same function that first checks its arguments against its annotations; of a class, its public methods.

    Raises TypeError for another kind of object and ValueError for another number or word, with one sentence: the
    argument, what is allowed, what it was. Arrays may be given as lists; they reach the function as arrays.
    """
    if inspect.isclass(function):
        for name, method in list(vars(function).items()):
            if isinstance(method, classmethod):
                setattr(function, name, classmethod(checked(method.__func__)))
            elif inspect.isfunction(method) and (name == "__init__" or not name.startswith("_")):
                setattr(function, name, checked(method))
        return function
    parameters = list(inspect.signature(function).parameters.values())
    kinds = {p.name: _kind(p.annotation) for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    names, defaults = list(kinds), {p.name: p.default for p in parameters}

    def check(name: str, value: Any) -> Any:
        if name not in kinds or value is defaults[name]:
            return value
        try:
            return kinds[name](value)
        except _Refused as refused:
            sentence = f"{name} must be {refused}, got {shown(value)}{REMEDIES.get(name, '')}"
            error = ValueError if isinstance(refused, _Mistaken) else TypeError
        raise error(sentence)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        given = [check(name, value) for name, value in zip(names, args, strict=False)]
        named = {name: check(name, value) for name, value in kwargs.items()}
        return function(*given, *args[len(given) :], **named)

    return wrapper  # type: ignore[return-value]


def shown(value: Any) -> str:
    """A value in a message: short, on one line; arrays by their shape."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # such as an integer of more than 4300 digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


# -- kinds --------------------------------------------------------------------------------------------------


def _kind(annotation: Any) -> Kind:
    """What an annotation allows; all, where it says nothing that can be checked."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, str) and annotation.startswith("Axes"):  # of matplotlib, which is not imported for this
        return _axes
    if annotation is ArrayLike or origin is np.ndarray or annotation is np.ndarray:
        return _array
    if annotation is DTypeLike:
        return _dtype
    if origin in (Union, types.UnionType):
        arrays = all(part in inner for part in get_args(ArrayLike))
        rest = [part for part in inner if not (arrays and part in get_args(ArrayLike))]
        return _one_of([*([(_array, ArrayLike)] if arrays else []), *((_kind(part), part) for part in rest)])
    if os.PathLike in (annotation, origin) or annotation is Path:
        return _path
    if origin is Literal:
        return _word(inner)
    if origin is type or annotation is inspect.Parameter.empty or annotation is Any:
        return _anything
    if isinstance(origin, type) and issubclass(origin, Mapping | Callable):
        return _instance(origin)
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return _sequence(_kind(inner[0])) if inner and origin is not Iterable else _anything
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    if getattr(annotation, "_is_protocol", False):
        return _protocol(annotation)
    return _instance(annotation) if isinstance(annotation, type) else _anything


def _anything(value: Any) -> Any:
    return value


def _bool(value: Any) -> Any:
    if not isinstance(value, bool | np.bool_):
        raise _Refused("True or False")
    return value


def _int(value: Any) -> Any:
    _float(value)
    if not isinstance(value, int | np.integer):
        raise _Mistaken("an integer")
    return int(value)  # NumPy's small integers overflow


def _float(value: Any) -> Any:
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise _Refused("a number")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise _Mistaken("an integer of at most 64 bits")
    return value


def _str(value: Any) -> Any:
    if not isinstance(value, str):
        raise _Refused("text")
    return value


def _none(value: Any) -> Any:
    if value is not None:
        raise _Refused("None")
    return value


def _path(value: Any) -> Any:
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise _Refused("a path")
    return value


def _array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        array = value
    else:
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, OverflowError):
            raise _Refused("an array of numbers, all rows of one length") from None
    if array.dtype.kind not in "buif":
        raise _Refused("an array of real numbers")
    return array


def _axes(value: Any) -> Any:
    if isinstance(value, type) or not hasattr(value, "pcolormesh"):
        raise _Refused("Axes of matplotlib")
    return value


def _dtype(value: Any) -> Any:
    try:
        return np.dtype(value)
    except (TypeError, ValueError):
        raise _Refused("a number type of NumPy such as numpy.float32") from None


def _instance(cls: type) -> Kind:
    article = "an" if cls.__name__[0] in "AEIOU" else "a"

    def kind(value: Any) -> Any:
        if not isinstance(value, cls):
            raise _Refused("a function" if cls is Callable else f"{article} {cls.__name__}")
        return value

    return kind


def _protocol(cls: type) -> Kind:
    members = [name for name in vars(cls) if not name.startswith("_")]

    def kind(value: Any) -> Any:
        missing = [name for name in members if inspect.getattr_static(value, name, _MISSING) is _MISSING]
        if missing or isinstance(value, type):
            raise _Refused(f"a {cls.__name__.removeprefix('Exact')}, with {', '.join(missing or members)}")
        return value

    return kind


def _word(words: tuple[Any, ...]) -> Kind:
    def kind(value: Any) -> Any:
        if not isinstance(value, str | bool) or value not in words:
            error = _Mistaken if isinstance(value, str) else _Refused
            raise error(f"one of {', '.join(str(word) for word in words)}")
        return value

    return kind


def _sequence(item: Kind) -> Kind:
    def kind(value: Any) -> Any:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise _Refused("a sequence")
        if isinstance(value, np.ndarray):
            if value.ndim == 0:
                raise _Refused("a sequence")
            value = value.tolist()
        for x in value if isinstance(value, list | tuple) else ():
            try:
                item(x)
            except _Refused as refused:
                raise type(refused)(f"a sequence, each of it {refused}") from None
        return value

    return kind


def _one_of(parts: list[tuple[Kind, Any]]) -> Kind:
    def kind(value: Any) -> Any:
        refusals = []
        for part, annotation in parts:
            try:
                return part(value)
            except _Refused as refused:
                if annotation is not type(None):
                    refusals.append(refused)
        error = _Mistaken if any(isinstance(refused, _Mistaken) for refused in refusals) else _Refused
        raise error(" or ".join(dict.fromkeys(str(refused) for refused in refusals)))

    return kind


_SIMPLE: dict[Any, Kind] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    type(None): _none,
    None: _none,
}


def array_of(name: str, value: Any) -> Any:
    """`value` as an array of real numbers; TypeError, naming it, for anything else."""
    try:
        return _array(value)
    except _Refused as refused:
        raise TypeError(f"{name} must be {refused}, got {shown(value)}") from None


def check_finite(**arrays: Any) -> None:
    """Raises ValueError, naming the array, for one that is empty or holds NaN or infinity."""
    for name, array in arrays.items():
        if not np.size(array):
            raise ValueError(f"{name} must hold at least one value, got none")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got {np.ravel(array)[~np.isfinite(np.ravel(array))][0]}")


def check_limits(limits: Limits, given: Mapping[str, Any]) -> None:
    """Raises ValueError, naming it, for a number among `given` outside its limits; an integer where the lower one is.

    Numbers that are None, or not given, are left out.
    """
    for name, (low, high) in limits.items():
        value = given.get(name)
        if value is None:
            continue
        kind, fits = ("an integer", isinstance(value, int | np.integer)) if isinstance(low, int) else ("a number", True)
        if not (fits and low <= value <= (LARGEST if high is None else high)):
            allowed = f">= {low:g}" if high is None else f"from {low:g} to {high:g}"
            raise ValueError(f"{name} must be {kind} {allowed}, got {shown(value)}")


def check_device(device: Any) -> None:
    """Raises ValueError for a device of torch that this machine does not have; None and "cpu" are always there."""
    if device is None or device == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError):
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise ValueError(f"device must be one of {there}, got {shown(device)}") from None


# -- memory -------------------------------------------------------------------------------------------------


def available_memory() -> int:
    """Bytes that can be had without swapping, where the system tells; all of its memory otherwise."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return LARGEST


def check_memory(what: str, n_bytes: float, remedy: str) -> None:
    """Refuse, before it is made, what takes more bytes than this machine has available.

    Raises ValueError: `what` is too large, the bytes it needs, those that there are, `remedy`.
    """
    available = available_memory()
    if n_bytes > available:
        raise ValueError(
            f"{what} is too large: it needs about {gibibytes(n_bytes)} of memory, this machine has "
            f"{gibibytes(available)} available; {remedy}"
        )


def gibibytes(n_bytes: float) -> str:
    """A number of bytes in words."""
    return f"{float(min(n_bytes, 2**1000)) / 2**30:.3g} GiB"
