from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import formats_of
from tests.format_examples.selection_table import selection_row
from tests.source_files import detect_format, read_file

ROW = selection_row([("go", "a"), ("on", "b"), ("ok", "c")], 7)


def read(tmp_path: Path, row: Any) -> Trajectory | Problem:
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(row))
    [found] = read_file("selection_table", path)
    return found


def test_kinds_scores_reasons_task_and_outcome_come_back(tmp_path: Path) -> None:
    found = read(tmp_path, ROW)
    assert isinstance(found, Trajectory), found
    notes = [step.annotation for step in found.steps]
    assert [note and note.kinds for note in notes] == [
        ("critical_action",), (), ("critical_action",)
    ]  # fmt: skip
    assert [note and note.score for note in notes] == [0.5, 0.0, 0.5]
    assert found.source.details["reasons"] == {"0": "it decides", "2": "it decides"}
    assert (found.task.id, found.task.environment) == ("t7", "babyai")
    assert (found.outcome.status, found.outcome.score) == ("success", 1.0)


def test_a_critical_step_without_kind_and_score_is_marked(tmp_path: Path) -> None:
    num = len(ROW["messages"])
    found = read(tmp_path, {**ROW, "kinds": [[]] * num, "scores": [None] * num})
    assert isinstance(found, Trajectory), found
    assert [step.annotation and step.annotation.score for step in found.steps] == [1.0, 0.0, 1.0]


def test_turns_without_a_step_belong_to_the_prompt(tmp_path: Path) -> None:
    found = read(tmp_path, {**ROW, "step": [-1, -1, -1, -1, 0, -1, 1]})
    assert isinstance(found, Trajectory), found
    assert [message.content for message in found.prompt] == ["Rules.", "go", "a"]
    assert len(found.steps) == 2


def test_it_is_told_from_a_chat(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(ROW))
    assert detect_format(path) == "selection_table"
    assert formats_of(ROW) == ["selection_table"]
    assert formats_of({"messages": ROW["messages"]}) == ["openai"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"critical": [True]}, "critical is 1 entries, expected a list for 7 messages"),
        ({"kinds": [["great"]] * 7}, "not a trajectory"),
        ({"scores": ["x"] * 7}, "the score is 'x', expected a number"),
        ({"critical": [1] * 7}, "critical is 1, expected true or false"),
        ({"outcome": "won"}, "outcome is 'won', expected one of success"),
        ({"score": "1"}, "score is '1', expected a number"),
        ({"step": 3}, "not a row of 'atlas export --to parquet'"),
    ],
)
def test_what_does_not_fit_is_a_problem(tmp_path: Path, change: Any, reason: str) -> None:
    found = read(tmp_path, {**ROW, **change})
    assert isinstance(found, Problem)
    assert reason in found.reason
