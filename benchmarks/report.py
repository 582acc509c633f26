"""What all benchmarks share: the command line and how numbers come out."""

import argparse
import json


def parser(description: str | None) -> argparse.ArgumentParser:
    """With --json; a benchmark adds its own options."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", help="also write the numbers to this file")
    return made


def report(numbers: dict[str, float], path: str | None) -> None:
    """Print one number a line, and write all as JSON if there is a path."""
    for name, value in numbers.items():
        print(f"{value:12.4g}  {name}")
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(numbers, file, indent=1)
