"""Studies from spec to figure, and the table of measured beside analytic values."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import xarray as xr

from .. import plots, results
from ..errors import InputError
from ..plots.grids import plot_grids
from ..registry import hint
from ..report import csv_table, table_cells, text_table, words
from ..results import Row
from ..runs.executors import process_pool
from ..runs.points import n_points
from ..runs.runner import run
from ..store import atomic_write, check_output
from . import STUDIES, find
from .base import Study

PRESETS = ("quick", "full")


def select(names: Sequence[str]) -> list[Study]:
    """Return the studies of these names, all for none. Raises InputError with the nearest name for an unknown one."""
    return [find(name) for name in dict.fromkeys(names or STUDIES)]


def reproduce(
    names: Sequence[str],
    preset: str,
    out: str | os.PathLike[str],
    *,
    workers: int = 1,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> list[Row]:
    """Run, analyse and draw studies, all for no `names`, into `out`: NAME.h5, NAME.png, index.html and table.*

    Every output is checked before anything is computed. The page and the tables have all studies finished in `out`, in
    the order of the registry, and are written again after every study. Returns the rows. Raises as `runner.run` does.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; {hint(preset, PRESETS)}")
    import matplotlib

    matplotlib.use("Agg")
    studies, out = select(names), Path(out)
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file; give a folder")
    out.mkdir(parents=True, exist_ok=True)
    for study in studies:
        for suffix in ("h5", "png"):
            check_output(out / f"{study.name}.{suffix}", resume=resume, force=force)
    with process_pool(workers) as pool:
        for study in studies:
            path = out / f"{study.name}.h5"
            spec = study.spec(preset)
            wide = min(workers, n_points(spec))
            measured = run(spec, path, executor=pool, workers=wide, resume=resume, force=force, progress=progress)
            result = analysed(study, measured)
            if result is not measured:
                results.write(path, result)
            with plots.style():
                save_figure(study.figure(result), path.with_suffix(".png"))
            rows = write_summary(out)
    return rows


def analysed(study: Study, result: xr.DataTree) -> xr.DataTree:
    """Return `result` with the study's analysis merged in; as it is where that was done before."""
    if results.rows(result):
        return result
    analysis = study.analyse(result)
    groups: dict[str, Any] = {str(name): dict(grid.variables) for name, grid in results.grids(result).items()}
    for name, variables in analysis.variables.items():
        groups[name] = {**groups.get(name, {}), **variables}
    rows = [replace(row, experiment=study.name) for row in analysis.rows]
    return results.tree({str(key): x for key, x in result.attrs.items()}, groups, rows)


def write_summary(folder: Path) -> list[Row]:
    """Write index.html, table.txt and table.csv of every finished study in `folder`, and return their rows."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("lattice_diffusion", "studies")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("index.html")
    paths = {name: path for name in STUDIES if (path := folder / f"{name}.h5").exists()}
    found = {name: finished_rows(path, path.stat().st_mtime_ns) for name, path in paths.items()}
    tables = {name: table for name, table in found.items() if table is not None}
    rows = [row for table in tables.values() for row in table]
    header, *_ = table_cells([])
    page = template.render(
        studies=[(find(name), [line[1:] for line in table_cells(table)[1:]]) for name, table in tables.items()],
        header=header[1:],
        kinds=results.KINDS,
        summary=summary(rows),
    )
    texts = {"index.html": page, "table.txt": text_table(rows, source=True), "table.csv": csv_table(rows)}
    for name, text in texts.items():
        with atomic_write(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return rows


@cache
def finished_rows(path: Path, changed: int) -> list[Row] | None:
    """Return the rows of a result file as of its last change, None of one that is not complete; read once."""
    result = results.load(path)
    return results.rows(result) if result.attrs["complete"] else None


def summary(rows: Sequence[Row]) -> str:
    """Return in words how the rows that must agree do agree, and how many others there are of every kind."""
    counts = Counter(row.kind for row in rows)
    exact = [row for row in rows if row.kind == "exact" and row.analytic is not None]
    scores = {row: row.z for row in exact if row.z is not None}
    closed = [abs(row.value - row.analytic) for row in exact if row.z is None and row.analytic is not None]
    sentences = [f"{len(exact)} comparisons are exact."]
    if scores:
        worst = max(scores, key=lambda row: abs(scores[row]))
        mean = math.fsum(z**2 for z in scores.values()) / len(scores)
        sentences.append(
            f"For the {len(scores)} with an error mean z² = {mean:.2f}, largest |z| = {abs(scores[worst]):.1f} "
            f"({worst.experiment}: {words(worst)})."
        )
    if closed:
        sentences.append(f"The {len(closed)} without an error differ by at most {max(closed):.1g}.")
    names = {**{kind: kind for kind in results.KINDS if kind != "exact"}, "none": "without an analytic value"}
    others = [f"{counts[kind]} {name}" for kind, name in names.items() if counts[kind]]
    if others:
        sentences.append(f"Not counted: {', '.join(others)}.")
    return " ".join(sentences)


def save_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure and release it; a PNG of true colours, as small as it gets."""
    import matplotlib.pyplot as plt

    options = {"pil_kwargs": {"optimize": True}} if path.suffix == ".png" else {}
    figure.savefig(path, dpi=min(150, 20_000 / figure.get_figheight()), bbox_inches="tight", **options)
    plt.close(figure)


def draw(file: Path, out: Path, style: plots.Style = "paper", **choice: Any) -> None:
    """Draw the result file `file`: the figure of its study, probe or hybrid, all its grids for any other.

    A `choice` is that of `plot_grids`, which then draws the grids of any result.
    """
    import matplotlib

    matplotlib.use("Agg")
    result = results.load(file)
    with results.reading(file), plots.style(style):
        figure = plot_grids(result, **choice) if any(choice.values()) else figure_of(result)
        save_figure(figure, out)


def figure_of(result: xr.DataTree) -> Any:
    """Return the figure of the study, probe or hybrid that a result is of, or else one of all its grids."""
    from ..images.figures import plot_hybrid, plot_probe
    from ..plots.comparison import plot_result

    name = str(result.attrs["name"])
    figures: dict[str, Any] = {"probe": plot_probe, "image-hybrid": plot_hybrid, "compare": plot_result}
    if name in STUDIES and results.rows(result):
        figures[name] = find(name).figure
    return figures.get(name, plot_grids)(result)
