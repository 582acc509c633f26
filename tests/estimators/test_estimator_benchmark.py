"""The benchmark of estimators: independent rows, resuming, failures, scores, and mutants it must catch."""

import csv
import io
import itertools
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_estimators import LinearRegression

import lattice_diffusion as ld
from lattice_diffusion import estimators as est
from lattice_diffusion.estimators import benchmark
from lattice_diffusion.store import Journal

LASTING = {"time_in_seconds", "seconds"}


def numbers(rows):
    """Rows less their times."""
    return [{key: value for key, value in row.items() if key not in LASTING} for row in rows]


class Broken(est.Estimator):
    def _estimate(self, sample, groups, rng):
        raise RuntimeError("no idea")


class NotANumber(est.Estimator):
    def _estimate(self, sample, groups, rng):
        return ld.exact.Estimate(float("nan"), 1.0, len(sample))


def test_rows_have_the_columns_of_bmi_and_ours(tmp_path):
    runs = benchmark.plan(["charges-chain"], ["Oracle"], [400], [3])
    (row,) = benchmark.run(runs, tmp_path / "rows.jsonl")
    bmi = {"task_id", "estimator_id", "seed", "n_samples", "mi_estimate", "estimator_params", "time_in_seconds"}
    ours = {"cmi_true", "cmi_stderr", "dims", "truth_method", "device", "seconds"}
    assert bmi | {"success", "additional_information"} | ours <= set(row)
    assert (row["task_id"], row["estimator_id"], row["seed"], row["n_samples"]) == ("charges-chain", "Oracle", 3, 400)
    assert row["dims"] == [1, 2, 3]
    assert row["success"]
    assert row["floor"] == pytest.approx(est.tasks.find("charges-chain").spread / 20)
    assert benchmark.read(tmp_path / "rows.jsonl") == [row]


def test_a_row_depends_on_no_other(tmp_path):
    names = {"Oracle": est.Oracle(), "Regression": LinearRegression(3)}
    runs = benchmark.plan(["charges-chain", "field-critical"], names, [300, 500], range(2))
    forwards = list(benchmark.run(runs, tmp_path / "one.jsonl"))
    backwards = list(benchmark.run(runs[::-1], tmp_path / "other.jsonl"))
    assert len(forwards) == 16
    assert numbers(forwards) == numbers(backwards[::-1])
    assert len({row["mi_estimate"] for row in forwards}) == 16


def test_a_killed_benchmark_goes_on_to_the_same_rows(tmp_path):
    runs = benchmark.plan(["charges-chain"], {"Regression": LinearRegression()}, [300, 500], range(3))
    whole = list(benchmark.run(runs, tmp_path / "whole.jsonl"))
    path = tmp_path / "killed.jsonl"
    list(itertools.islice(benchmark.run(runs, path), 2))  # the generator is dropped after two rows
    path.write_bytes(path.read_bytes() + b'{"task_id": "charges-ch')  # and the third was half written
    assert len(benchmark.read(path)) == 2
    assert len(list(benchmark.run(runs, path))) == 4
    assert numbers(benchmark.read(path)) == numbers(whole)
    assert list(benchmark.run(runs, path)) == []


def test_a_file_of_other_parameters_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    list(benchmark.run(benchmark.plan(["charges-chain"], {"R": LinearRegression(3)}, [300], [0]), path))
    with pytest.raises(ValueError, match=r"holds R with \{.*'folds': 3.* name it differently, or use another file"):
        list(benchmark.run(benchmark.plan(["charges-chain"], {"R": LinearRegression(4)}, [300], [0]), path))
    path.write_text("{}\n")
    with pytest.raises(ValueError, match="holds other records than rows of a benchmark"):
        benchmark.read(path)


def test_two_benchmarks_do_not_share_a_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    with Journal(path), pytest.raises(ValueError, match="being written by another run"):
        list(benchmark.run(benchmark.plan(["charges-chain"], ["Oracle"], [300], [0]), path))


def test_failures_are_rows(tmp_path):
    names = {"Broken": Broken(), "NotANumber": NotANumber(), "FrenzelPompe": est.FrenzelPompe()}
    rows = list(benchmark.run(benchmark.plan(["ising-bitflip"], names, [300], [0]), tmp_path / "rows.jsonl"))
    assert [row["success"] for row in rows] == [False] * 3
    assert all(row["mi_estimate"] is None and row["cmi_stderr"] is None for row in rows)
    errors = [row["additional_information"]["error"] for row in rows]
    assert errors[0] == "RuntimeError: no idea"
    assert errors[1] == "ArithmeticError: the estimate is nan ± 1.0"
    assert "needs continuous data" in errors[2]
    scores = est.summary(rows)
    assert [(score.failures, score.rmse, score.coverage) for score in scores] == [(1, None, None)] * 3
    assert "1/1" in est.table(scores)
    assert est.leaderboard(scores).count("1/1") == 3


def test_any_object_with_fit_and_estimate_takes_part(tmp_path):
    class Foreign:
        def fit(self, x_t, parts, *, channel, t, rng):
            self.n = len(x_t)
            warnings.warn("only a guess", stacklevel=1)
            warnings.warn("only a guess", stacklevel=1)
            return self

        def estimate(self):
            return ld.exact.Estimate(0.25, 0.01, self.n, "a guess")

    (row,) = benchmark.run(benchmark.plan(["charges-chain"], {"Guess": Foreign()}, [300], [0]), tmp_path / "r.jsonl")
    assert (row["mi_estimate"], row["estimator_params"]) == (0.25, {})
    assert row["additional_information"] == {"method": "a guess", "warnings": ["only a guess"]}


def test_mutants_are_caught_in_units_of_the_floor(tmp_path):
    """Dropping the conditioning, or a 10% error, stands out; the sound estimator is within twice the floor."""

    class TenPercent(LinearRegression):
        def _log_ratios(self, train, test, rng):
            return 1.1 * super()._log_ratios(train, test, rng)

    names = {"sound": LinearRegression(), "none": LinearRegression(drop_conditioning=True), "10% off": TenPercent()}
    rows = list(benchmark.run(benchmark.plan(["charges-1"], names, [10_000], range(4)), tmp_path / "rows.jsonl"))
    sound, dropped, off = est.summary(rows)
    assert sound.floors < 2
    assert dropped.floors > 40
    assert off.floors > 5
    assert sound.coverage >= 0.75
    assert dropped.coverage == 0


def test_scores_are_what_they_are_called():
    truth, floor = 0.5, 0.02
    base = {"task_id": "x", "estimator_id": "e", "n_samples": 100, "success": True, "seconds": 2.0}
    base |= {"cmi_true": truth, "cmi_true_stderr": 0.03, "cmi_stderr": 0.04, "floor": floor}
    rows = [{**base, "mi_estimate": truth + error} for error in (0.1, -0.05, 0.09)]
    why = {"additional_information": {"error": "InputError: no | idea"}}
    (score,) = est.summary([*rows, {**base, "success": False, "mi_estimate": None, "cmi_stderr": None, **why}])
    errors = np.array([0.1, -0.05, 0.09])
    assert (score.runs, score.failures, score.reason) == (4, 1, "InputError: no | idea")
    assert "| 1/4    | 2       | InputError: no / idea |" in est.table([score])
    assert score.error == pytest.approx(errors.mean())
    assert score.scatter == pytest.approx(errors.std(ddof=1))
    assert score.rmse == pytest.approx(np.sqrt((errors**2).mean()))
    assert score.floors == pytest.approx(score.rmse / floor)
    assert score.coverage == pytest.approx(2 / 3)  # 1.96 hypot(0.03, 0.04) = 0.098
    # a task that does not know its floor takes that of the oracle's rows
    blind = [{**row, "floor": None} for row in rows]
    apart = zip(blind, (0.03, 0.04, 0.05), strict=True)
    oracle = [{**row, "estimator_id": "Oracle", "mi_estimate": truth + error} for row, error in apart]
    score, exact = est.summary([*blind, *oracle])
    assert exact.floors == pytest.approx(1.0)
    assert score.floors == pytest.approx(np.sqrt((errors**2).sum() / 0.005))
    assert est.summary(blind)[0].floors is None


def test_plans_are_checked():
    for arguments, sentence in (
        ((["charges-chain"], ["Orcale"], [300]), "did you mean 'Oracle'?"),
        ((["chain"], ["Oracle"], [300]), "unknown task 'chain'; "),
        ((["charges-chain"], ["Oracle"], [1]), "sizes must be at least 2 samples, got 1"),
        ((["charges-chain"], ["Oracle"], []), "there is nothing to measure"),
    ):
        with pytest.raises(ValueError, match=sentence):
            benchmark.plan(*arguments)


def test_tasks_of_your_own(tmp_path):
    task = replace(est.tasks.find("charges-chain"), name="mine", t=0.4, spread=None)
    truth = ld.exact.cmi(task.model, task.channel, task.t, task.parts)
    plan = benchmark.plan([replace(task, truth=truth)], ["Oracle"], [4000], [0])
    (row,) = benchmark.run(plan, tmp_path / "rows.jsonl")
    assert abs(row["mi_estimate"] - truth.value) < 5 * row["cmi_stderr"]
    assert row["floor"] is None


def test_the_command_measures_resumes_and_draws(shell, tmp_path):
    line = "benchmark estimators --tasks charges-chain,ising-bitflip --estimators Oracle,Gaussian "
    line += "--n-samples 300,500 --seeds 2 --out e.csv --figure e.png"
    code, out, err = shell(line)
    assert code == 0
    assert "16 runs, 0 rows" in err
    assert "| n   | estimator |" in out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "e.csv").read_text())))
    assert len(rows) == 16
    assert rows[0]["dims"] == "1|2|3"
    assert json.loads(rows[0]["estimator_params"]) == {"model": None}
    assert [row["mi_estimate"] for row in rows].count("") == 4  # Gaussian refuses spins
    assert (tmp_path / "e.png").stat().st_size > 1000
    before = (tmp_path / "e.jsonl").read_text()
    assert "0 rows measured" in shell(f"{line} --resume")[2]
    assert (tmp_path / "e.jsonl").read_text() == before
    for options, sentence in (
        ("", " exists"),
        ("--n-samples 3e3", "--n-samples must look like 5000,20000, got '3e3'"),
        ("--out e.h5", "--out must end in .jsonl or .csv, got 'e.h5'"),
        ("--figure e.gif", "--figure must end in .png, .pdf or .svg, got 'e.gif'"),
        ("--estimators Orcale", "unknown estimator 'Orcale'"),
    ):
        code, _, err = shell(f"{line} {options}")
        assert code == 2
        assert sentence in err


def test_an_estimator_that_breaks_is_named_with_its_reason(shell, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from lattice_diffusion.estimators import Estimator\n\n\nclass Mine(Estimator):\n"
        "    def _log_ratios(self, train, test, rng):\n        return 1 / 0\n"
    )
    line = "benchmark estimators --tasks charges-chain --n-samples 300 --seeds 1 --out e.jsonl"
    code, out, err = shell(f"{line} --estimators Oracle,mine.py:Mine --workers 2")
    assert code == 0
    assert "mine.py:Mine failed with ZeroDivisionError: division by zero" in err
    assert "ZeroDivisionError: division by zero |" in out
    assert shell("report e.jsonl --out e.html")[0] == 0
    page = (tmp_path / "e.html").read_text()
    assert "mine.py:Mine failed: ZeroDivisionError" in page
    assert "data:image/png;base64" in page
    code, _, err = shell(f"{line} --estimators mine.py:Mine --workers 1 --force")
    assert code == 2
    assert "no estimate was made: " in err


def test_the_heat_table_shows_numbers_and_failures():
    floors = [[1.0, 23.4, np.inf], [np.nan, 456.0, 1.0]]
    ax = ld.plots.plot_scores(floors, ["Oracle", "kNN"], ["a", "b", "c"], ax=Figure().add_subplot())
    assert [text.get_text() for text in ax.texts] == ["1", "23", "", "failed", "456", "1"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Oracle", "kNN"]
    with pytest.raises(ValueError, match=r"floors must have shape \(1, 2\), got \(2, 3\)"):
        ld.plots.plot_scores(floors, ["Oracle"], ["a", "b"])
