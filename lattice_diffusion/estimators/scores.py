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
    """One estimator on one task and track, over its seeds; numbers are None where all of them failed.

    Attributes:
        track: samples ("20000") or seconds ("60 s").
        n_samples: mean over the seeds.
        runs, failures: how many seeds, and how many of them gave no estimate.
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
    track: str
    n_samples: float
    runs: int
    failures: int
    truth: float
    error: float | None
    scatter: float | None
    rmse: float | None
    floor: float | None
    floors: float | None
    coverage: float | None
    seconds: float


def summary(rows: Iterable[Row]) -> list[Score]:
    """Return the scores of all (task, estimator, track) in the rows, in the order they come."""
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["task_id"], row["estimator_id"], row["track"]].append(row)
    floors = {(task, track): _rmse(group) for (task, name, track), group in groups.items() if name == "Oracle"}
    return [_score(group, floors.get((task, track))) for (task, _, track), group in groups.items()]


def _errors(rows: Sequence[Row]) -> np.ndarray:
    return np.array([row["mi_estimate"] - row["cmi_true"] for row in rows if row["success"]])


def _rmse(rows: Sequence[Row]) -> float | None:
    errors = _errors(rows)
    return float(np.sqrt((errors**2).mean())) if errors.size else None


def _score(rows: Sequence[Row], oracle_rmse: float | None) -> Score:
    good = [row for row in rows if row["success"]]
    errors, rmse = _errors(rows), _rmse(rows)
    known = [row["floor"] for row in good if row["floor"] is not None]
    floor = float(np.sqrt(np.mean(np.square(known)))) if known else oracle_rmse
    widths = np.array([np.hypot(row["cmi_stderr"], row["cmi_true_stderr"]) for row in good])
    first = rows[0]
    return Score(
        task=first["task_id"],
        estimator=first["estimator_id"],
        track=first["track"],
        n_samples=float(np.mean([row["n_samples"] for row in rows])),
        runs=len(rows),
        failures=len(rows) - len(good),
        truth=first["cmi_true"],
        error=float(errors.mean()) if errors.size else None,
        scatter=float(errors.std(ddof=1)) if errors.size > 1 else None,
        rmse=rmse,
        floor=floor,
        floors=rmse / floor if rmse is not None and floor else None,
        coverage=float((np.abs(errors) <= 1.96 * widths).mean()) if errors.size else None,
        seconds=float(np.mean([row["seconds"] for row in rows])),
    )


def table(scores: Sequence[Score]) -> str:
    """Return every score as a line of a Markdown table."""
    head = ["task", "estimator", "n", "truth", "error", "scatter", "RMSE", "RMSE/floor", "coverage", "failed"]
    lines = []
    for score in scores:
        numbers = [score.truth, score.error, score.scatter, score.rmse, score.floors]
        cells = [score.task, score.estimator, score.track, *map(_number, numbers)]
        lines.append([*cells, _percent(score.coverage), f"{score.failures}/{score.runs}", _number(score.seconds)])
    return _markdown([*head, "seconds"], lines)


def leaderboard(scores: Sequence[Score]) -> str:
    """Return one line per estimator and track: over the tasks it gave an estimate for, the best median first."""
    groups: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in scores:
        groups[score.track, score.estimator].append(score)
    ranked = []
    for (track, estimator), group in groups.items():
        floors = [score.floors for score in group if score.floors is not None]
        coverage = [score.coverage for score in group if score.coverage is not None]
        median = float(np.median(floors)) if floors else np.inf
        cells = [
            track,
            estimator,
            _number(median if floors else None),
            _number(max(floors, default=None)),
            _percent(float(np.mean(coverage)) if coverage else None),
            f"{sum(score.rmse is None for score in group)}/{len(group)}",
            _number(float(np.mean([score.seconds for score in group]))),
        ]
        ranked.append((len(track), track, median, cells))
    head = ["n", "estimator", "RMSE/floor, median", "worst", "coverage", "tasks failed", "seconds"]
    return _markdown(head, [cells for *_, cells in sorted(ranked)])


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.3g}"


def _percent(x: float | None) -> str:
    return "" if x is None else f"{100 * x:.0f}%"


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rows = [head, ["-" * width for width in widths], *lines]
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
