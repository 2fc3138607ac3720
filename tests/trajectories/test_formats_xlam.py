from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import formats_of
from tests.source_files import read_file

CALL = {"name": "weather", "arguments": {"city": "Oslo"}}
TOOL = {"name": "weather", "description": "d", "parameters": {"city": {"type": "str"}}}


def read_one(tmp_path: Path, row: Any) -> Trajectory | Problem:
    path = tmp_path / "file.json"
    path.write_text(json.dumps([row]))
    [item] = read_file("xlam", path)
    return item


@pytest.mark.parametrize("write", [json.dumps, lambda value: value])
def test_the_answers_are_the_calls_of_one_step(tmp_path: Path, write: Any) -> None:
    row = {"id": 0, "query": "How is Oslo?", "answers": write([CALL, CALL]), "tools": write([TOOL])}
    assert formats_of(row) == ["xlam"]
    trajectory = read_one(tmp_path, row)
    assert isinstance(trajectory, Trajectory)
    [step] = trajectory.steps
    assert [message.content for message in step.observation] == ["How is Oslo?"]
    assert [(call.name, call.arguments) for call in step.response.tool_calls] == [
        ("weather", '{"city": "Oslo"}')
    ] * 2
    assert (trajectory.tools, trajectory.task.id) == ((TOOL,), "0")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ("[]", "answers is [], expected a list of calls"),
        ("none", "answers is 'none'"),
        ([{"name": "f", "where": {"x": 1}}], "no arguments, but 'where'"),
    ],
)
def test_answers_that_are_no_calls_are_a_problem(tmp_path: Path, answers: Any, reason: str) -> None:
    problem = read_one(tmp_path, {"query": "q", "answers": answers, "tools": [TOOL]})
    assert isinstance(problem, Problem)
    assert reason in problem.reason
