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
from tests.source_files import detect_format, matches, read_file

Row = dict[str, Any]
HEADER = {
    "sessionId": "s",
    "projectHash": "h",
    "startTime": "2026-01-01T00:00:00Z",
    "lastUpdated": "2026-01-01T00:00:00Z",
}


def read(tmp_path: Path, *rows: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert detect_format(path) == "gemini"
    return read_file("gemini", path)


def one(tmp_path: Path, *rows: Any) -> Trajectory:
    [trajectory] = read(tmp_path, *rows)
    assert isinstance(trajectory, Trajectory), trajectory
    return trajectory


def remarks(tmp_path: Path) -> list[tuple[int, str]]:
    with SourceFile(tmp_path / "chat.jsonl") as source:
        items = list(FORMAT.make(Choice("gemini")).read(source))
    return [each for item in items if isinstance(item, TrajectoryLine) for each in item.remarks]


def content(role: str, *parts: Any) -> Row:
    return {"role": role, "parts": list(parts)}


def told(trajectory: Trajectory) -> list[tuple[list[str], str]]:
    return [
        ([each.content for each in step.observation], step.response.content)
        for step in trajectory.steps
    ]


CHAT = [
    content("user", {"text": "Look."}),
    content("model", {"text": "I should look.", "thought": True, "thoughtSignature": "x"}),
    content("model", {"text": "I look."}, {"functionCall": {"name": "look", "args": {"at": 1}}}),
    content("user", {"functionResponse": {"name": "look", "response": {"output": "a door"}}}),
    content("model", {"text": "A door."}),
]


@pytest.mark.parametrize(
    "row",
    [CHAT, {"contents": CHAT}, {"history": CHAT}, {"messages": CHAT}, {"clientHistory": CHAT}],
)
def test_contents_are_a_chat_under_every_key(row: Any, tmp_path: Path) -> None:
    trajectory = one(tmp_path, row)
    assert told(trajectory) == [(["Look."], "I look."), (["a door"], "A door.")]
    first = trajectory.steps[0].response
    assert first.reasoning == "I should look."
    assert [(each.name, each.arguments) for each in first.tool_calls] == [("look", '{"at": 1}')]


def test_a_checkpoint_is_read_from_what_the_model_saw(tmp_path: Path) -> None:
    shown = [{"type": "user", "text": "Look."}, {"type": "tool_group", "tools": [{"name": "x"}]}]
    call = {"name": "write", "args": {"at": "w"}}
    trajectory = one(
        tmp_path,
        {"history": shown, "clientHistory": CHAT, "toolCall": call, "commitHash": "c"},
    )
    assert told(trajectory)[-1] == (["a door"], "A door.")


def test_messages_of_other_dialects_with_parts_are_not_contents() -> None:
    for part in (
        {"type": "text", "text": "x"},
        {"part_kind": "user-prompt", "content": "x"},
        {"content": "x"},
    ):
        assert not matches("gemini", [{"role": "user", "parts": [part]}])


def test_snake_case_is_the_same(tmp_path: Path) -> None:
    call = {"function_call": {"id": "c", "name": "look", "args": {"at": 1}}, "text": None}
    response = {"function_response": {"id": "c", "name": "look", "response": {"result": "a door"}}}
    trajectory = one(
        tmp_path,
        {
            "contents": [
                content("user", {"text": "Look."}),
                content("model", call, {"thought_signature": "x"}),
                content("function", response),
                content("model", {"text": "A door."}),
            ],
            "system_instruction": {"parts": [{"text": "Be kind."}]},
        },
    )
    assert [each.content for each in trajectory.prompt] == ["Be kind."]
    assert told(trajectory) == [(["Look."], ""), (["a door"], "A door.")]
    [seen] = trajectory.steps[1].observation
    assert (seen.role, seen.tool_call_id, seen.name) == ("tool", "c", "look")


def test_the_answer_beside_the_contents_is_the_last_step(tmp_path: Path) -> None:
    declaration = {"name": "look", "parameters": {"type": "object"}}
    trajectory = one(
        tmp_path,
        {
            "contents": CHAT[:1],
            "tools": [{"functionDeclarations": [declaration]}],
            "candidates": [{"content": CHAT[2], "finishReason": "STOP"}],
        },
    )
    assert told(trajectory) == [(["Look."], "I look.")]
    assert remarks(tmp_path) == []
    assert trajectory.tools == ({"type": "function", "function": declaration},)


def test_a_system_instruction_and_tools_may_stand_in_the_config(tmp_path: Path) -> None:
    config = {"systemInstruction": "Be kind.", "tools": [{"googleSearch": {}}], "topK": 3}
    trajectory = one(tmp_path, {"contents": CHAT, "config": config})
    assert [each.content for each in trajectory.prompt] == ["Be kind."]
    assert trajectory.tools == ({"googleSearch": {}},)


def test_code_that_the_service_ran_is_a_call_with_an_observation(tmp_path: Path) -> None:
    trajectory = one(
        tmp_path,
        [
            content("user", {"text": "Add."}),
            content(
                "model",
                {"executableCode": {"language": "PYTHON", "code": "1 + 1"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
                {"text": "Two."},
            ),
        ],
    )
    assert told(trajectory) == [(["Add."], ""), (["2"], "Two.")]
    [call] = trajectory.steps[0].response.tool_calls
    assert json.loads(call.arguments) == {"language": "PYTHON", "code": "1 + 1"}


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"whisper": "psst"}, "a part has the keys whisper"),
        ({"functionCall": {"name": "look", "arguments_": {"at": 1}}}, "no args"),
        ({"functionCall": {"name": "look", "args": [1]}}, "expected an object"),
        ({"functionCall": {"args": {}}}, "no name"),
        ({"inlineData": {"mimeType": "image/png", "data": "x"}}, "has a file"),
    ],
)
def test_what_cannot_be_carried_over_is_a_problem(part: Row, reason: str, tmp_path: Path) -> None:
    [problem] = read(tmp_path, [content("user", {"text": "Go."}), content("model", part)])
    assert isinstance(problem, Problem)
    assert reason in problem.reason


def message(id: str, kind: str, content: Any, **fields: Any) -> Row:
    return {"id": id, "timestamp": "t", "type": kind, "content": content, **fields}


def tool(id: str, output: str, **fields: Any) -> Row:
    response = {"functionResponse": {"id": id, "name": "look", "response": {"output": output}}}
    return {
        "id": id,
        "name": "look",
        "args": {"at": id},
        "result": [response],
        "status": "success",
        "displayName": "Look",
        "description": "Looks.",
        "resultDisplay": "shown",
        **fields,
    }


SAVED = [
    message("1", "user", "Look."),
    message(
        "2",
        "gemini",
        "I look.",
        thoughts=[{"subject": "Looking", "description": "I should look.", "timestamp": "t"}],
        toolCalls=[tool("c1", "a door"), tool("c2", "a window")],
        model="gemini-x",
        tokens={"input": 1},
    ),
    message("3", "gemini", "A door."),
    message("4", "info", "Saved."),
]


@pytest.mark.parametrize("lines", [False, True])
def test_a_saved_chat_has_thoughts_calls_and_results(lines: bool, tmp_path: Path) -> None:
    changed = {"$set": {"lastUpdated": "2026-01-02T00:00:00Z"}}
    rows = [HEADER, *SAVED, changed] if lines else [{**HEADER, "messages": SAVED}]
    trajectory = one(tmp_path, *rows)
    assert told(trajectory) == [(["Look."], "I look."), (["a door", "a window"], "A door.")]
    first = trajectory.steps[0].response
    assert first.reasoning == "**Looking**\nI should look."
    assert [each.id for each in first.tool_calls] == ["c1", "c2"]
    assert (trajectory.task.id, trajectory.source.details["model"]) == ("s", "gemini-x")
    assert remarks(tmp_path) == [(-1, "1 notices and commands of the program are not read")]


def test_calls_and_thoughts_in_the_content_are_not_read_twice(tmp_path: Path) -> None:
    parts = [
        {"text": "I should look.", "thought": True},
        {"functionCall": {"id": "c1", "name": "look", "args": {"at": "c1"}}},
    ]
    answer = message(
        "2",
        "gemini",
        parts,
        thoughts=[{"subject": "", "description": "I should look."}],
        toolCalls=[tool("c1", "a door")],
    )
    trajectory = one(tmp_path, {**HEADER, "messages": [SAVED[0], answer, SAVED[2]]})
    first = trajectory.steps[0].response
    assert (first.reasoning, len(first.tool_calls)) == ("I should look.", 1)
    assert told(trajectory)[1] == (["a door"], "A door.")


def test_a_line_that_other_logs_have_too_is_not_claimed(tmp_path: Path) -> None:
    assert not matches("gemini", message("1", "user", "Look."))
    trajectory = one(tmp_path, message("1", "user", "Look."), message("2", "gemini", "A door."))
    assert told(trajectory) == [(["Look."], "A door.")]
    assert trajectory.task.id.startswith("chat-")


def test_a_rewind_and_a_new_list_of_messages_are_followed_and_counted(tmp_path: Path) -> None:
    trajectory = one(
        tmp_path,
        HEADER,
        message("1", "user", "Look."),
        message("2", "gemini", "No."),
        message("3", "user", "Please."),
        {"$rewindTo": "2"},
        message("4", "gemini", "Yes."),
        message("4", "gemini", "Yes!"),
    )
    assert told(trajectory) == [(["Look."], "Yes!")]
    assert remarks(tmp_path) == [(-1, "2 messages that a rewind left are not read")]


def test_commands_of_the_user_are_not_seen_by_the_model(tmp_path: Path) -> None:
    trajectory = one(
        tmp_path,
        {
            **HEADER,
            "messages": [
                message("0", "user", "/help"),
                message("1", "user", [{"text": "Look."}]),
                message("2", "gemini", "A door."),
            ],
        },
    )
    assert told(trajectory) == [(["Look."], "A door.")]
    assert remarks(tmp_path) == [(-1, "1 notices and commands of the program are not read")]


def _stream(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"timestamp": "2026-01-01T00:00:00Z", **event} for event in events]


def _result(id_: str, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_id": id_, "status": "success", **fields}


def test_a_stream_is_read_event_by_event(tmp_path: Path) -> None:
    path = tmp_path / "stream.jsonl"
    call = {"type": "tool_use", "tool_name": "look"}
    said = {"type": "message", "role": "assistant", "delta": True}
    lines = _stream(
        {"type": "init", "session_id": "s", "model": "gemini-3"},
        {"type": "message", "role": "user", "content": "Go."},
        {**said, "content": "Loo"},
        {**said, "content": "king."},
        {**call, "tool_id": "a", "parameters": {"at": 1}},
        {**call, "tool_id": "b", "parameters": {"at": 2}},
        _result("b", output="A wall."),
        _result("a", output="", error={"type": "x", "message": "No door."}),
        {"type": "error", "severity": "warning", "message": "Loop detected."},
        {**said, "content": "Done."},
        {"type": "result", "status": "success", "stats": {"total_tokens": 3}},
        {"type": "message", "role": "user", "content": "Again."},
        {"type": "init", "session_id": "t", "model": "gemini-3"},
        {**call, "tool_id": "c", "parameters": {}},
        _result("c"),
        {"type": "result", "status": "error", "error": {"type": "Error", "message": "Broken."}},
    )
    path.write_text("\n".join(map(json.dumps, lines)))
    assert detect_format(path) == "gemini"
    first, second = read_file("gemini", path)
    assert isinstance(first, Trajectory)
    assert isinstance(second, Trajectory)
    assert [step.response.content for step in first.steps] == ["Looking.", "Done."]
    assert [call.arguments for call in first.steps[0].response.tool_calls] == [
        '{"at": 1}',
        '{"at": 2}',
    ]
    assert [each.content for each in first.steps[1].observation] == ["No door.", "A wall."]
    assert (first.task.id, first.outcome.status) == ("s", "unknown")
    assert [each.content for each in second.steps[0].observation] == ["Again."]
    assert (second.outcome.status, second.task.id) == ("error", "t")
    assert "Broken." in str(second.outcome.reason)


def test_an_unknown_event_of_a_stream_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "stream.jsonl"
    lines = _stream(
        {"type": "init", "session_id": "s", "model": "gemini-3"},
        {"type": "message", "role": "assistant", "content": "Done."},
        {"type": "later", "words": "Lost."},
    )
    path.write_text("\n".join(map(json.dumps, lines)))
    [problem] = read_file("gemini", path)
    assert isinstance(problem, Problem)
    assert "an event of type 'later' is not known" in problem.reason
