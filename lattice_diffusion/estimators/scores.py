"""The scores of a benchmark: errors in nats and in units of the statistical floor, tables and a leaderboard."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = dict[str, Any]


@dataclass(frozen=True)
class Score:
    """One estimator on one task with so many samples, over its seeds; numbers are None where all of them failed.

    Attributes:
        runs, failures: how many seeds, and how many of them gave no estimate; reason: of the first that did not.
        truth: I(A;C|B), in nats like the next four.
        error: mean of estimate - truth.
        scatter: standard deviation among the seeds, None for a single one.
        rmse: root mean square of estimate - truth.
        floor: root mean square error of the exact log ratio averaged over as many samples; where the task does not
            know it, that of the rows of Oracle, or None.
        floors: rmse / floor.
        coverage: fraction of the seeds whose 95% interval holds the truth, the truth's own error allowed for.
        seconds: CPU seconds, mean.
    """

    task: str
    estimator: str
    n_samples: int
    runs: int
    failures: int
    reason: str | None
    truth: float
    error: float | None
    scatter: float | None
    rmse: float | None
    floor: float | None
    floors: float | None
    coverage: float | None
    seconds: float


def summary(rows: Iterable[Row]) -> list[Score]:
    """Return the scores of all (task, estimator, samples) in the rows, in the order they come."""
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["task_id"], row["estimator_id"], row["n_samples"]].append(row)
    oracle = {(task, n): _score(group, None).rmse for (task, name, n), group in groups.items() if name == "Oracle"}
    return [_score(group, oracle.get((task, n))) for (task, _, n), group in groups.items()]


def _score(rows: Sequence[Row], oracle_rmse: float | None) -> Score:
    good = [row for row in rows if row["success"]]
    errors = np.array([row["mi_estimate"] - row["cmi_true"] for row in good])
    rmse = float(np.sqrt((errors**2).mean())) if good else None
    known = [row["floor"] for row in good if row["floor"] is not None]
    floor = float(np.sqrt(np.mean(np.square(known)))) if known else oracle_rmse
    widths = np.array([np.hypot(row["cmi_stderr"], row["cmi_true_stderr"]) for row in good])
    first = rows[0]
    return Score(
        task=first["task_id"],
        estimator=first["estimator_id"],
        n_samples=first["n_samples"],
        runs=len(rows),
        failures=len(rows) - len(good),
        reason=next((row["additional_information"]["error"] for row in rows if not row["success"]), None),
        truth=first["cmi_true"],
        error=float(errors.mean()) if good else None,
        scatter=float(errors.std(ddof=1)) if errors.size > 1 else None,
        rmse=rmse,
        floor=floor,
        floors=rmse / floor if rmse is not None and floor else None,
        coverage=float((np.abs(errors) <= 1.96 * widths).mean()) if good else None,
        seconds=float(np.mean([row["seconds"] for row in rows])),
    )


def table(scores: Sequence[Score]) -> str:
    """Return every score as a line of a Markdown table, with why an estimator failed."""
    return _markdown(table_cells(scores))


def table_cells(scores: Sequence[Score]) -> list[list[str]]:
    """Return the lines of `table` as text, the first one a header; `seconds` are those of the processor."""
    head = ["task", "estimator", "n", "truth", "error", "scatter", "RMSE", "RMSE/floor", "coverage", "failed"]
    lines = [[*head, "seconds", *(["reason"] if any(score.reason for score in scores) else [])]]
    for score in scores:
        numbers = [score.truth, score.error, score.scatter, score.rmse, score.floors]
        cells = [score.task, score.estimator, str(score.n_samples), *map(_number, numbers)]
        cells += [_percent(score.coverage), f"{score.failures}/{score.runs}", _number(score.seconds)]
        lines.append(cells if len(lines[0]) == len(cells) else [*cells, " ".join((score.reason or "").split())])
    return lines


def leaderboard(scores: Sequence[Score]) -> str:
    """Return one line per estimator and number of samples: over the tasks it has estimates for, best median first."""
    return _markdown(leaderboard_cells(scores))


def leaderboard_cells(scores: Sequence[Score]) -> list[list[str]]:
    """Return the lines of `leaderboard` as text, the first one a header."""
    groups: dict[tuple[int, str], list[Score]] = defaultdict(list)
    for score in scores:
        groups[score.n_samples, score.estimator].append(score)
    ranked = []
    for (n, estimator), group in groups.items():
        floors = [score.floors for score in group if score.floors is not None]
        coverage = [score.coverage for score in group if score.coverage is not None]
        median = float(np.median(floors)) if floors else np.inf
        cells = [
            str(n),
            estimator,
            _number(median if floors else None),
            _number(max(floors, default=None)),
            _percent(float(np.mean(coverage)) if coverage else None),
            f"{sum(score.rmse is None for score in group)}/{len(group)}",
            _number(float(np.mean([score.seconds for score in group]))),
        ]
        ranked.append((n, median, cells))
    head = ["n", "estimator", "RMSE/floor, median", "worst", "coverage", "tasks failed", "seconds"]
    return [head, *(cells for *_, cells in sorted(ranked))]


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.3g}"


def _percent(x: float | None) -> str:
    return "" if x is None else f"{100 * x:.0f}%"


def _markdown(lines: list[list[str]]) -> str:
    lines = [[cell.replace("|", "/") for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "".join(f"| {' | '.join(x.ljust(w) for x, w in zip(row, widths, strict=True))} |\n" for row in rows)


def csv_table(rows: Sequence[Row]) -> str:
    """Return all rows at full precision; dims as "1|24|56", dictionaries as JSON, nothing where a number is missing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        nested = {key: json.dumps(value) for key, value in row.items() if isinstance(value, dict)}
        writer.writerow({**row, **nested, "dims": "|".join(map(str, row["dims"]))})
    return text.getvalue()
