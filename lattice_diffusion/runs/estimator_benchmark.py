"""The command `benchmark estimators`: measure all rows, write them, and return scores and leaderboard."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..estimators import benchmark, leaderboard, names, summary, table, tasks
from ..estimators.scores import Score, csv_table
from ..plots import new_figure, plot_scores
from ..progress import duration, progress_bar, say
from ..store import atomic_write, check_output
from .cmi import integers


def trial(
    out: Path,
    *,
    task_names: str | None = None,
    estimators: str | None = None,
    n: str | None = None,
    seconds: str | None = None,
    seeds: int = 10,
    figure: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> str:
    """Measure all rows into `out`, and return the scores and the leaderboard as Markdown.

    Lists are as typed, with commas; see `benchmark.plan`. A .csv is written at the end from the rows, which are kept
    as they come in a .jsonl beside it.
    """
    if out.suffix not in (".jsonl", ".csv"):
        raise InputError(f"--out must end in .jsonl or .csv, got '{out}'")
    if figure is not None and figure.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"--figure must end in .png, .pdf or .svg, got '{figure}'")
    sizes = integers(n, "n-samples", "5000,20000", ",") if n else ([] if seconds else tasks.SIZES)
    budgets = integers(seconds, "seconds", "10,60", ",") if seconds else []
    chosen = task_names.split(",") if task_names else list(tasks.TASKS)
    methods = estimators.split(",") if estimators else names()
    runs = benchmark.plan(chosen, methods, sizes, range(seeds), budgets)
    rows_file = out.with_suffix(".jsonl")
    for path in {out, rows_file}:
        check_output(path, resume=resume, force=force)
    if figure is not None:
        check_output(figure, force=force or resume, resumable=False)
    if force:
        rows_file.unlink(missing_ok=True)

    present = len(benchmark.read(rows_file)) if rows_file.exists() else 0
    say(f"{len(runs)} runs, {present} rows are in {rows_file}")
    start, new, cpu = time.monotonic(), 0, 0.0
    with progress_bar("estimators", max(0, len(runs) - present), shown=True) as advance:
        for row in benchmark.run(runs, rows_file):
            advance()
            new, cpu = new + 1, cpu + row["seconds"]
    say(f"{new} rows measured in {duration(time.monotonic() - start)}, {duration(cpu)} of them on the processor")

    wanted = {one.key for one in runs}
    rows = [row for row in benchmark.read(rows_file) if benchmark.key_of(row) in wanted]
    warned = sum("warnings" in row["additional_information"] for row in rows)
    if warned:
        say(f"estimators warned in {warned} of {len(rows)} rows, see their additional_information")
    reasons = {
        row["estimator_id"]: row["additional_information"]["error"]
        for row in rows
        if "error" in row["additional_information"] and not is_refusal(row)
    }
    if out.suffix == ".csv":
        with atomic_write(out) as partial:
            partial.write_text(csv_table(rows))
    scores = summary(rows)
    if figure is not None:
        draw(scores, figure)
    tables = table(scores) + "\n" + leaderboard(scores)
    if reasons:
        say(tables)
        failed = "; ".join(f"{name} failed with {reason}" for name, reason in reasons.items())
        raise InputError(f"{failed}; all rows are in {rows_file}")
    return tables


def is_refusal(row: dict[str, Any]) -> bool:
    """Return whether an estimator declined the data of a row, which is no failure of the program."""
    return row["additional_information"]["error"].startswith("InputError: ")


def draw(scores: Sequence[Score], path: Path) -> None:
    """Draw one heat table for each track, side by side."""
    tracks = list(dict.fromkeys(score.track for score in scores))
    methods = list(dict.fromkeys(score.estimator for score in scores))
    problems = list(dict.fromkeys(score.task for score in scores))
    figure, axes = new_figure(len(tracks), 2.5 + 0.62 * len(problems), 2.0 + 0.45 * len(methods))
    for ax, track in zip([axes] if len(tracks) == 1 else axes, tracks, strict=True):
        found = {(s.estimator, s.task): s.floors for s in scores if s.track == track and s.floors}
        floors = [[found.get((method, task), np.nan) for task in problems] for method in methods]
        plot_scores(floors, methods, problems, ax=ax)
        ax.set_title(track if track.endswith(" s") else f"n = {track}")
    figure.savefig(path, dpi=150)
