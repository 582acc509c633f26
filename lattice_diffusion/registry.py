"""Find a model, channel, estimator or study by its name, in a file of the user's own, or in an installed package.

Every registry of the package is a plain list of classes (or objects) with a `name`. Where a name is asked for, one
may also give

    path/to/file.py:Class       what a user keeps in a file of his own
    the name of an entry point  what an installed package offers, for instance in the group lattice_diffusion.models

The string alone travels in specs, files and to worker processes.
"""

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import InputError, shown

_LOADED: dict[Path, tuple[int, ModuleType]] = {}  # by path: time of the last change, module


def find(name: str, known: Sequence[Any], what: str, group: str | None = None, *, listed: Iterable[str] = ()) -> Any:
    """Return the entry of `known` called `name`, the class of `file.py:Class`, or an entry point of `group`.

    Errors are of a `what`, such as "model", and name those of `known` and the further names `listed`.

    Raises InputError for an unknown name (with the nearest known one), no such file, or a file without that class.
    """
    for entry in known:
        if entry.name == name:
            return entry
    if is_file(name):
        return _from_file(name)
    points = list(entry_points(group=group)) if group else []
    for point in points:
        if point.name == name:
            return point.load()
    remedy = hint(name, [*names(known), *listed, *(point.name for point in points)])
    remedy += "" if remedy.endswith("?") else "; or give your own as file.py:Class"
    raise InputError(f"unknown {what} {shown(name)}; {remedy}")


def load(name: str, known: Mapping[str, Any], what: str, group: str | None = None) -> Any:
    """Return the entry `name` of a registry that maps names to objects, or to "module:NAME", imported when asked for.

    Other names are looked for as `find` does, and refused likewise.
    """
    entry = known[name] if name in known else find(name, (), what, group, listed=known)
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        return getattr(importlib.import_module(module), attribute)
    return entry


def names(known: Iterable[Any]) -> list[str]:
    """Return the names of a registry, in its order."""
    return [entry.name for entry in known]


def hint(word: str, known: Iterable[str]) -> str:
    """Return "did you mean 'beta'?" if one of `known` is near `word`, else the list of them."""
    known = list(known)
    near = difflib.get_close_matches(str(word), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def is_file(name: str) -> bool:
    """Return whether `name` has the form file.py:Class."""
    path, colon, kind = str(name).rpartition(":")
    return bool(colon) and path.endswith(".py") and kind.isidentifier()


def _from_file(name: str) -> Any:
    text, _, kind = name.rpartition(":")
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise InputError(f"no such file: {path}, named in {name!r}; give file.py:Class")
    module = _load(path)
    if not hasattr(module, kind):
        there = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise InputError(f"{path} has no {kind}; {hint(kind, there)}")
    return getattr(module, kind)


def _load(path: Path) -> ModuleType:
    """Return the file as a module, once for every version of it."""
    changed = path.stat().st_mtime_ns
    if path in _LOADED and _LOADED[path][0] == changed:
        return _LOADED[path][1]
    name = f"{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=6).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    _LOADED[path] = changed, module
    return module
