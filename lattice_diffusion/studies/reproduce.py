"""Studies from spec to figure, and the table of measured beside analytic values."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from .. import results
from ..errors import InputError
from ..registry import hint
from ..report import csv_table, text_table
from ..results import Row
from ..runs.runner import run
from ..store import check_output
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
    """Run, analyse and draw: NAME.h5 and NAME.png in the folder `out` for each, table.txt and table.csv for all.

    Every output is checked before anything is computed. The table has the rows of all studies finished in `out`, in
    the order of the registry. Raises as `runner.run` does.
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
    for study in studies:
        path = out / f"{study.name}.h5"
        measured = run(study.specs(preset), path, workers=workers, resume=resume, force=force, progress=progress)
        result = analysed(study, measured)
        if result is not measured:
            results.write(path, result)
        save_figure(study.figure(result), path.with_suffix(".png"))
    rows = finished_rows(out)
    (out / "table.txt").write_text(text_table(rows, source=True), encoding="utf-8")
    (out / "table.csv").write_text(csv_table(rows), encoding="utf-8")
    return rows


def analysed(study: Study, result: xr.DataTree) -> xr.DataTree:
    """Return `result` with the study's analysis merged in; as it is where that was done before."""
    if results.rows(result):
        return result
    analysis = study.analyse(result)
    groups: dict[str, Any] = {str(name): dict(grid.variables) for name, grid in results.grids(result).items()}
    for name, variables in analysis.variables.items():
        groups[name] = {**groups.get(name, {}), **variables}
    return results.tree({str(key): x for key, x in result.attrs.items()}, groups, analysis.rows)


def finished_rows(folder: Path) -> list[Row]:
    """Return the rows of every finished study in `folder`."""
    found = [results.load(path) for name in STUDIES if (path := folder / f"{name}.h5").exists()]
    return [row for result in found if result.attrs["complete"] for row in results.rows(result)]


def save_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure and release it."""
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=200, bbox_inches="tight")
    plt.close(figure)


def draw(file: Path, out: Path) -> None:
    """Draw the result file `file`: the figure of its study, probe or hybrid, a plain one for any other."""
    import matplotlib

    matplotlib.use("Agg")
    result = results.load(file)
    with results.reading(file):
        figure = figure_of(result)
    save_figure(figure, out)


def figure_of(result: xr.DataTree) -> Any:
    """Return the figure of the study, probe or hybrid that a result is of, or else a map of its CMI."""
    from .. import plots
    from ..images.figures import plot_hybrid, plot_probe

    name = str(result.attrs["name"])
    if name in STUDIES:
        return find(name).figure(result)
    figures = {"probe": plot_probe, "image-hybrid": plot_hybrid}
    return figures[name](result) if name in figures else plots.plot_cmi(result).figure
