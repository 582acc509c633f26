"""What a shell completes: names, read from where they are defined without importing it, so that TAB answers at once."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).parent
Completer = Callable[[str], list[str]]


def one_of(names: Callable[[], list[str]]) -> Completer:
    """Completes one name."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return complete


def some_of(names: Callable[[], list[str]]) -> Completer:
    """Completes the last name of a list a,b,..., to those that are not in it yet."""

    def complete(incomplete: str) -> list[str]:
        given, comma, last = incomplete.rpartition(",")
        return [given + comma + name for name in names() if name.startswith(last) and name not in given.split(",")]

    return complete


def words(*known: str) -> Completer:
    """Completes one of these."""
    return one_of(lambda: list(known))


def models() -> list[str]:
    return _class_names(*sorted((ROOT / "models").glob("*.py")))


def channels() -> list[str]:
    return _class_names(ROOT / "channels.py")


def _class_names(*paths: Path) -> list[str]:
    pattern = re.compile(r'^    name: ClassVar\[str\] = "([\w-]+)"$', re.MULTILINE)
    return [name for path in paths for name in pattern.findall(path.read_text(encoding="utf-8"))]


def schedules() -> list[str]:
    from .channels import Schedule

    return list(get_args(Schedule))


def experiments() -> list[str]:
    from .studies import STUDIES

    return list(STUDIES)


def tasks() -> list[str]:
    return list(json.loads((ROOT / "estimators" / "truths.json").read_text(encoding="utf-8"))["tasks"])


def estimators() -> list[str]:
    from .estimators import names

    return names()


def methods() -> list[str]:
    """Of `samplers.ising`."""
    source = (ROOT / "samplers" / "ising.py").read_text(encoding="utf-8")
    return re.findall(r'"(\w+)"', source.partition("IsingMethod = Literal[")[2].partition("]")[0])
