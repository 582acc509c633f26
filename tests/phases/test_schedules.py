"""Radius schedules against all schedules of small tables."""

import itertools
import math

import numpy as np
import pytest
from refusals import refusals

from lattice_diffusion.phases import (
    evaluate_schedule,
    log_rule,
    optimal_schedule,
    schedule_frontier,
    two_level_schedule,
)


def tables(seed, n_times=5, n_radii=4):
    rng = np.random.default_rng(seed)
    area = np.sort(rng.exponential(1.0, (n_times, n_radii)), axis=1)[:, ::-1] * rng.exponential(1.0, (n_times, 1))
    area[:, -1] = 0.0
    return area, np.sort(rng.uniform(1, 50, n_radii))


def every(area, cost):
    return [
        evaluate_schedule(choice, area, cost) for choice in itertools.product(range(area.shape[1]), repeat=len(area))
    ]


@pytest.mark.parametrize("seed", range(6))
def test_frontier_is_the_convex_hull_of_all_schedules(seed):
    area, cost = tables(seed)
    schedules, all_of_them = schedule_frontier(area, cost), every(area, cost)
    errors, costs = np.array([(s.error, s.cost) for s in schedules]).T
    assert costs[0] == pytest.approx(len(area) * cost[0])
    assert errors[-1] == 0.0
    for schedule in all_of_them:
        hull = np.interp(schedule.cost, costs, errors)
        assert schedule.error >= hull - 1e-12  # nothing below the hull
    for schedule in schedules:  # and nothing cheaper at its error
        assert min(s.cost for s in all_of_them if s.error <= schedule.error + 1e-12) == pytest.approx(schedule.cost)


@pytest.mark.parametrize("budget", [0.0, 0.3, 1.0, 4.0])
def test_schedules_keep_their_budget(budget):
    area, cost = tables(11)
    optimal, hybrid = optimal_schedule(area, cost, budget), two_level_schedule(area, cost, budget)
    assert max(optimal.error, hybrid.error) <= budget
    two_level = [
        s for s in every(area, cost) if s.error <= budget and _is_two_level(s.choice, area.shape[1] - 1)
    ]  # the reference
    assert hybrid.cost == pytest.approx(min(s.cost for s in two_level))


@pytest.mark.parametrize("seed", range(12))
def test_no_schedule_within_the_budget_is_cheaper(seed):
    """Against all schedules: tables that rise and fall, many ties, budgets that are just met."""
    rng = np.random.default_rng(seed)
    area, cost = rng.exponential(1.0, (5, 4)), rng.uniform(1, 9, (5, 4) if seed % 2 else 4)
    if seed % 3 == 0:
        area, cost = np.round(4 * area) / 4, np.round(cost)
    schedules = every(area, cost)
    for schedule in rng.choice(len(schedules), 8):
        budget = schedules[schedule].error
        found = optimal_schedule(area, cost, budget)
        assert found.error <= budget
        assert found.cost == pytest.approx(min(s.cost for s in schedules if s.error <= budget), rel=1e-12)
    between = optimal_schedule([[1, 0.4, 0]], [1, 4, 5], 0.5)  # off the hull of the others
    assert (between.choice.tolist(), between.cost) == ([1], 4.0)
    assert schedule_frontier([[1, 0.4, 0]], [1, 4, 5])[-1].cost == 5.0


def _is_two_level(choice, last):
    local = {c for c in choice if c != last}
    inside = np.flatnonzero(choice == last)
    return len(local) <= 1 and (len(inside) == 0 or len(inside) == inside[-1] - inside[0] + 1)


def test_cost_may_depend_on_time():
    area, cost = tables(12)
    per_time = cost * np.linspace(1, 2, len(area))[:, None]
    schedule = optimal_schedule(area, per_time, 0.5)
    assert schedule.error <= 0.5
    assert schedule.cost == pytest.approx(per_time[np.arange(len(area)), schedule.choice].sum())


def test_log_rule():
    xi, gamma = np.array([0.2, 1.0, np.nan, 0.5]), np.full(4, 0.25)
    need = xi * math.log(100 * 10 * 0.5 / 0.1)  # 1.7, 8.5, -, 4.3
    choice = log_rule(xi, gamma, [1, 2, 5, 9, np.inf], 100, 10, 0.1)
    assert choice.tolist() == [1, 3, 4, 2]
    assert need[3] == pytest.approx(4.26, abs=0.01)


test_refusals = refusals(
    (lambda: optimal_schedule([[1.0, 0.5]], [1, 2], 0.1), "no schedule keeps the error within 0.1, the most exact"),
    (lambda: two_level_schedule([[1.0, 0.5]], [1, 2], 0.1), "no hybrid keeps the error within 0.1"),
    (lambda: schedule_frontier([1.0], [1.0]), r"area must be a table \(times, radii\), got shape \(1,\)"),
    (lambda: schedule_frontier([[1.0, 0.0]], [1.0]), r"cost must have shape \(1, 2\) or \(2,\), got \(1,\)"),
    (lambda: schedule_frontier([[np.nan, 0.0]], [1.0, 2.0]), "area and cost must be finite"),
    (lambda: evaluate_schedule([3], [[1.0, 0.0]], [1, 2]), "choice must hold 1 indices below 2"),
    (lambda: log_rule([1.0], [1.0], [1], 10, 10, 0.0), "error must be > 0"),
)
