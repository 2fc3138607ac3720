"""Tables as results: who owns a row, groups of tasks, and numbers that follow from few of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.errors import DataError, RunError
from tests.reporting.foreign_results import write_lines
from tests.reporting.made_reports import compare, notes_of

FILE = "t.jsonl"
BOTH = ("--results", f"x={FILE}", "--results", f"y={FILE}")
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows_of(arm: str, successes: Sequence[bool], seed: int = 0) -> Iterator[Row]:
    for number, is_success in enumerate(successes):
        yield {"task": f"t{number}", "arm": arm, "seed": seed, "success": bool(is_success)}


def write(rows: Sequence[Row], name: str = FILE) -> None:
    write_lines(Path(name), rows)


def test_rows_that_name_no_arm_are_one_result_and_not_two() -> None:
    write([row | {"arm": ""} for row in rows_of("x", [True, False] * 8)])
    with pytest.raises(DataError, match="have the same log"):
        compare(*BOTH)


@pytest.mark.parametrize("place", [0, 5, 31])
def test_a_row_that_alone_names_an_arm_or_none_is_refused(place: int) -> None:
    rows = [*rows_of("x", [True, False] * 8), *rows_of("y", [True] * 16)]
    for arm in ("", None):
        write([row | {"arm": arm} if number == place else row for number, row in enumerate(rows)])
        with pytest.raises(DataError, match="expected all rows or none"):
            compare(*BOTH)


def test_a_task_has_one_group_in_all_arms_and_seeds() -> None:
    rows = [
        row | {"group": f"g{number % 3}"}
        for arm, period in (("x", 2), ("y", 3))
        for seed in (1, 2, 3)
        for number, row in enumerate(rows_of(arm, [k % period == 0 for k in range(12)], seed))
    ]
    write(rows)
    whole = compare(*BOTH, "results_are=trainings", "average=groups", out="whole")
    # A group that only some rows of a task name is that of the others.
    for name, without in (("some", {1, 40, 71}), ("arm", set(range(36))), ("seed", {*range(12)})):
        write([row | {"group": ""} if i in without else row for i, row in enumerate(rows)])
        found = compare(*BOTH, "results_are=trainings", "average=groups", out=name)
        assert found.comparisons == whole.comparisons
        assert [arm.results for arm in found.arms] == [arm.results for arm in whole.arms]
    write([row | {"group": "other"} if i == 40 else row for i, row in enumerate(rows)])
    with pytest.raises(RunError, match=r"task 't4' has the group 'g1' in .* and 'other' in"):
        compare(*BOTH, "results_are=trainings", out="two")


@pytest.mark.parametrize("num_tasks", [2, 4, 5])
@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_so_few_tasks_show_nothing_however_large(num_tasks: int, seeds: Sequence[int]) -> None:
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        rows += rows_of("x", rng.random(num_tasks) < 0.2, seed)
        rows += rows_of("y", rng.random(num_tasks) < 0.8, seed)
    write(rows)
    report = compare(*BOTH, *(["results_are=trainings"] if len(seeds) > 1 else []))
    [row] = report.comparisons
    if row.minimum_detectable is not None:
        assert row.minimum_detectable >= 1
        assert "no difference, however large" in report.headline
    low, high = row.success_difference.limits or (0.0, 0.0)
    assert low <= 0 <= high


def test_a_margin_and_an_assumed_sd_are_said_as_they_were_given() -> None:
    same = [number % 2 == 0 for number in range(400)]
    write([row for arm in ("x", "y") for seed in (1, 2, 3) for row in rows_of(arm, same, seed)])
    report = compare(*BOTH, "results_are=trainings", "margin=2.25", out="margin")
    assert "alike within 2.25 points" in report.headline
    write([*rows_of("x", same), *rows_of("y", [True] * 400)])
    report = compare(*BOTH, "seed_sd=3.125", out="sd")
    assert "if seeds vary by 3.125 points" in report.headline.lower()
    assert "if seeds vary by 3.125 points" in notes_of(report)


def test_each_average_names_the_method_of_its_own_interval() -> None:
    rng = np.random.default_rng(0)
    rows = [*rows_of("x", rng.random(60) < 0.4), *rows_of("y", rng.random(60) < 0.5)]
    write([row | {"group": f"g{number % 60 // 8}"} for number, row in enumerate(rows)])
    report = compare(*BOTH, "average=groups", "generalize_over=group")
    [row] = report.comparisons
    of_groups = {name: "groups" in one.method for name, one in row.averages.items()}
    assert of_groups == {"tasks": False, "groups": True}
