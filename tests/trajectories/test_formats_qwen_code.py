from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import FORMAT
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.source_files import detect_format, read_file

Line = dict[str, Any]
ROLES = {"user": "user", "assistant": "model", "tool_result": "user"}


def line(uuid: str, parent: str | None, kind: str, *parts: Any, **fields: Any) -> Line:
    message = {"role": ROLES[kind], "parts": list(parts)} if kind in ROLES else None
    return {
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s",
        "type": kind,
        "cwd": "/w",
        "version": "0.21.0",
        **({"message": message} if message else {}),
        **fields,
    }


def text(value: str) -> Line:
    return {"text": value}


def read(tmp_path: Path, *lines: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert detect_format(path) == "qwen_code"
    return read_file("qwen_code", path)


def read_good(tmp_path: Path, *lines: Any) -> list[Trajectory]:
    items = read(tmp_path, *lines)
    trajectories = [item for item in items if isinstance(item, Trajectory)]
    assert len(trajectories) == len(items), items
    return trajectories


def told(trajectory: Trajectory) -> list[tuple[list[str], str]]:
    return [
        ([each.content for each in step.observation], step.response.content)
        for step in trajectory.steps
    ]


def test_text_thought_call_and_response_are_read(tmp_path: Path) -> None:
    telemetry = line("t", "b", "system", subtype="ui_telemetry", systemPayload={"uiEvent": {}})
    [trajectory] = read_good(
        tmp_path,
        line("a", None, "user", text("Look.")),
        line(
            "b",
            "a",
            "assistant",
            {"text": "I should look", "thought": True},
            {"functionCall": {"id": "c1", "name": "look", "args": {"at": "door"}}},
            model="qwen",
        ),
        telemetry,
        line(
            "c",
            "t",
            "tool_result",
            {"functionResponse": {"id": "c1", "name": "look", "response": {"output": "a door"}}},
            toolCallResult={"callId": "c1", "resultDisplay": "a door"},
        ),
        line("d", "c", "assistant", text("A door.")),
    )
    assert told(trajectory) == [(["Look."], ""), (["a door"], "A door.")]
    first = trajectory.steps[0].response
    assert first.reasoning == "I should look"
    [call] = first.tool_calls
    assert (call.id, call.name, call.arguments) == ("c1", "look", '{"at": "door"}')
    assert trajectory.source.details["model"] == "qwen"


def test_a_rewind_is_counted_and_records_with_one_uuid_are_one(tmp_path: Path) -> None:
    [trajectory] = read_good(
        tmp_path,
        line("a", None, "user", text("Look.")),
        line("b", "a", "assistant", text("No.")),
        line("r", "a", "system", subtype="rewind", systemPayload={"targetUuid": "a"}),
        line("c", "r", "user", text("Please.")),
        line("d", "c", "assistant", {"text": "I should", "thought": True}),
        line("d", "c", "assistant", text("Yes.")),
    )
    assert told(trajectory) == [(["Look.", "Please."], "Yes.")]
    assert trajectory.steps[0].response.reasoning == "I should"
    with SourceFile(tmp_path / "chat.jsonl") as source:
        [item] = FORMAT.make(Choice("qwen_code")).read(source)
    assert isinstance(item, TrajectoryLine)
    assert item.remarks == [(-1, "1 messages of branches that a rewind left are not read")]


def test_a_compression_begins_a_conversation_with_what_it_left(tmp_path: Path) -> None:
    left = [
        {"role": "user", "parts": [text("Earlier: much.")]},
        {"role": "model", "parts": [text("Got it.")]},
    ]
    first, second = read_good(
        tmp_path,
        line("a", None, "user", text("Look.")),
        line("b", "a", "assistant", text("A door.")),
        line(
            "x",
            "b",
            "system",
            subtype="chat_compression",
            systemPayload={"compressedHistory": left},
        ),
        line("c", "x", "user", text("Go on.")),
        line("d", "c", "assistant", text("On.")),
    )
    assert told(first) == [(["Look."], "A door.")]
    assert [each.content for each in second.prompt] == ["Earlier: much.", "Got it."]
    assert told(second) == [(["Go on."], "On.")]


def test_a_part_that_is_not_known_is_a_problem(tmp_path: Path) -> None:
    [problem] = read(
        tmp_path,
        line("a", None, "user", text("Look.")),
        line("b", "a", "assistant", {"whisper": "psst"}),
    )
    assert isinstance(problem, Problem)
    assert problem.where.endswith("row 1 (line 2)")
    assert "a part has the keys whisper" in problem.reason
