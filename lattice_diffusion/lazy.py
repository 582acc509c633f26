"""Packages whose parts are imported when they are first used, so that using one does not load torch for all."""

import importlib
from collections.abc import Callable, Mapping


def attach(
    package: str, homes: Mapping[str, str], public: list[str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package.

    `homes` holds the module of every name; the names among `public` that are not there are modules themselves.
    """

    def get(name: str) -> object:
        if name in homes:
            return getattr(importlib.import_module(f".{homes[name]}", package), name)
        if name in public:
            return importlib.import_module(f".{name}", package)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted(public)
