"""The command `benchmark estimators`: measure all rows, write them, and return scores and leaderboard; its page."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..estimators import benchmark, leaderboard, names, summary, table, tasks
from ..estimators.scores import Row, Score, csv_table
from ..plots import new_figure, plot_scores
from ..progress import asks_to_stop, duration, progress_bar, say
from ..store import atomic_write, check_output
from .cmi import integers
from .executors import completed, open_engine

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def trial(
    out: Path,
    *,
    task_names: str | None = None,
    estimators: str | None = None,
    n: str | None = None,
    seeds: int = 10,
    workers: int = 1,
    device: str | None = None,
    figure: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> str:
    """Measure all rows into `out`, and return the scores and the leaderboard as Markdown.

    Lists are as typed, with commas; see `benchmark.plan`. A .csv is written at the end from the rows, which are kept
    as they come in a .jsonl beside it. Estimators that fail are said on stderr with the reason.

    Raises InputError for options that cannot be used, or no estimate at all.
    """
    if out.suffix not in (".jsonl", ".csv"):
        raise InputError(f"--out must end in .jsonl or .csv, got '{out}'")
    if figure is not None and figure.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"--figure must end in .png, .pdf or .svg, got '{figure}'")
    sizes = integers(n, "n-samples", "5000,20000", ",") if n else tasks.SIZES
    chosen = task_names.split(",") if task_names else list(tasks.TASKS)
    methods = estimators.split(",") if estimators else names()
    runs = benchmark.plan(chosen, methods, sizes, range(seeds), device)
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
    with asks_to_stop() as stop, open_engine(None, None, workers) as engine:

        def measured(todo: Iterator[benchmark.Run]) -> Iterator[Row]:
            work = partial(benchmark.measure_named, device=device)
            return (row for _, row in completed(engine, (one.key for one in todo), work, stop))

        with progress_bar("estimators", max(0, len(runs) - present), shown=True) as advance:
            for row in benchmark.run(runs, rows_file, measured):
                advance()
                new, cpu = new + 1, cpu + row["seconds"]
        if stop.asked:
            raise KeyboardInterrupt(f"stopped after {present + new} of {len(runs)} rows; --resume goes on")
    say(f"{new} rows measured in {duration(time.monotonic() - start)}, {duration(cpu)} of them on the processor")

    known = {benchmark.key_of(row): row for row in benchmark.read(rows_file)}
    rows = [known[one.key] for one in runs if one.key in known]
    warned = sum("warnings" in row["additional_information"] for row in rows)
    if warned:
        say(f"estimators warned in {warned} of {len(rows)} rows, see their additional_information")
    if out.suffix == ".csv":
        with atomic_write(out) as unfinished:
            unfinished.write_text(csv_table(rows))
    scores = summary(rows)
    failed = [f"{name} failed with {reason}" for name, reason in reasons(scores).items()]
    if failed and all(score.rmse is None for score in scores):
        raise InputError(f"no estimate was made: {'; '.join(failed)}; all rows are in {rows_file}")
    for sentence in failed:
        say(sentence)
    if figure is not None:
        heat_table(scores).savefig(figure, dpi=150)
    return table(scores) + "\n" + leaderboard(scores)


def reasons(scores: Sequence[Score]) -> dict[str, str]:
    """Return why estimators gave no estimate, the first reason of each, by name."""
    return {score.estimator: score.reason for score in reversed(scores) if score.reason}


def heat_table(scores: Sequence[Score]) -> "Figure":
    """Draw one heat table for each number of samples, side by side."""
    sizes = sorted({score.n_samples for score in scores})
    methods = list(dict.fromkeys(score.estimator for score in scores))
    problems = list(dict.fromkeys(score.task for score in scores))
    figure, axes = new_figure(len(sizes), 2.5 + 0.62 * len(problems), 2.0 + 0.45 * len(methods))
    for ax, n in zip(np.atleast_1d(axes), sizes, strict=True):
        found = {(s.estimator, s.task): s.floors or np.nan for s in scores if s.n_samples == n}
        floors = [[found.get((method, task), np.inf) for task in problems] for method in methods]
        plot_scores(floors, [method.rpartition("/")[2] for method in methods], problems, ax=ax)
        ax.set_title(f"n = {n:,}")
    return figure
