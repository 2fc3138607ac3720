from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import FORMAT
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.source_files import detect_format, read_file

Line = dict[str, Any]


def text(value: str) -> Line:
    return {"type": "text", "text": value}


def said(role: str, *blocks: Any, **fields: Any) -> Line:
    return {"role": role, "content": list(blocks), "ts": 1, **fields}


def read(tmp_path: Path, value: Any) -> list[Trajectory]:
    path = tmp_path / "api_conversation_history.json"
    path.write_text(json.dumps(value))
    assert detect_format(path) == "cline"
    items = read_file("cline", path)
    trajectories = [item for item in items if isinstance(item, Trajectory)]
    assert len(trajectories) == len(items), items
    return trajectories


def remarks(tmp_path: Path) -> list[tuple[int, str]]:
    with SourceFile(tmp_path / "api_conversation_history.json") as source:
        items = list(FORMAT.make(Choice("cline")).read(source))
    return [each for item in items if isinstance(item, TrajectoryLine) for each in item.remarks]


def told(trajectory: Trajectory) -> list[tuple[list[str], str]]:
    return [
        ([each.content for each in step.observation], step.response.content)
        for step in trajectory.steps
    ]


def item(**fields: Any) -> Line:
    return {"type": "reasoning", "role": "assistant", "ts": 2, **fields}


def test_an_item_of_reasoning_belongs_to_the_answer_after_it(tmp_path: Path) -> None:
    summary = [{"type": "summary_text", "text": "I fix it."}]
    [trajectory] = read(
        tmp_path,
        [
            said("user", text("Fix.")),
            item(summary=summary, encrypted_content="x"),
            said("assistant", text("Done.")),
        ],
    )
    assert told(trajectory) == [(["Fix."], "Done.")]
    assert trajectory.steps[0].response.reasoning == "I fix it."


def test_encrypted_reasoning_is_said_at_its_step(tmp_path: Path) -> None:
    [trajectory] = read(
        tmp_path,
        [
            said("user", text("Fix.")),
            item(summary=[], encrypted_content="x"),
            said("assistant", text("Done.")),
        ],
    )
    assert told(trajectory) == [(["Fix."], "Done.")]
    assert remarks(tmp_path) == [(0, "encrypted reasoning is left out")]


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
    ],
)
def test_reasoning_beside_the_content_is_read(fields: Line, tmp_path: Path) -> None:
    [trajectory] = read(
        tmp_path, [said("user", text("Fix.")), said("assistant", text("Done."), **fields)]
    )
    assert trajectory.steps[0].response.reasoning == "hm"


def test_results_of_any_shape_and_files_are_read(tmp_path: Path) -> None:
    found = [{"query": "a", "success": True}]
    [trajectory] = read(
        tmp_path,
        {
            "version": 1,
            "updated_at": "t",
            "agent": "lead",
            "sessionId": "s",
            "system_prompt": "Be kind.",
            "messages": [
                said("user", text("Fix "), {"type": "file", "path": "/w/a", "content": "one"}),
                said("assistant", {"type": "tool_use", "id": "c", "name": "f", "input": {"q": 1}}),
                said("user", {"type": "tool_result", "tool_use_id": "c", "content": found}),
                said("assistant", text("Done."), modelInfo={"id": "m"}, metrics={"cost": 1}),
            ],
        },
    )
    assert [each.content for each in trajectory.prompt] == ["Be kind."]
    assert told(trajectory) == [(["Fix /w/a\none"], ""), ([json.dumps(found)], "Done.")]
    assert (trajectory.task.id, trajectory.source.details["model"]) == ("s", "m")


@pytest.mark.parametrize(
    ("parent", "mark"),
    [
        ("condenseParent", {"isSummary": True, "condenseId": "k"}),
        ("truncationParent", {"isTruncationMarker": True, "truncationId": "k"}),
    ],
)
def test_what_was_hidden_is_not_in_the_context_of_what_follows(
    parent: str, mark: Line, tmp_path: Path
) -> None:
    first, second = read(
        tmp_path,
        [
            said("user", text("Fix.")),
            said("assistant", text("I look."), **{parent: "k"}),
            said("user", text("Well?"), **{parent: "k"}),
            said("assistant", text("A door."), **{parent: "k"}),
            said("user", text("Earlier: a door."), **mark),
            said("assistant", text("Done.")),
        ],
    )
    assert told(first) == [(["Fix."], "I look."), (["Well?"], "A door.")]
    assert [each.content for each in second.prompt] == ["Fix.", "Earlier: a door."]
    assert told(second) == [([], "Done.")]
    assert first.id != second.id


def test_a_block_of_an_unknown_type_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps([said("user", text("Fix.")), said("assistant", {"type": "nod", "nod": "yes"})])
    )
    [problem] = read_file("cline", path)
    assert isinstance(problem, Problem)
