from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats import base
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.source_files import detect_format, read_file

CASES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "import_cases"
Row = dict[str, Any]


def text(words: str, **fields: Any) -> Row:
    return {"type": "text", "text": words, **fields}


def request(id: str, **call: Any) -> Row:
    value = {"name": "developer__shell", "arguments": {"command": "ls"}} | call
    return {"type": "toolRequest", "id": id, "toolCall": {"status": "success", "value": value}}


def response(id: str, *content: Row) -> Row:
    value = {"content": list(content), "isError": False}
    return {"type": "toolResponse", "id": id, "toolResult": {"status": "success", "value": value}}


def message(role: str, *parts: Row, user: bool = True, agent: bool = True) -> Row:
    marks = {"userVisible": user, "agentVisible": agent}
    return {"role": role, "created": 1, "content": list(parts), "metadata": marks}


def session(*messages: Row, **fields: Any) -> Row:
    return {"id": "20260101_1", "working_dir": "/w", "conversation": list(messages), **fields}


def save(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "session.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def read(tmp_path: Path, *rows: Any) -> list[Trajectory | Problem]:
    path = save(tmp_path, *rows)
    assert detect_format(path) == "goose"
    return read_file("goose", path)


def read_one(tmp_path: Path, *rows: Any) -> Trajectory:
    (item,) = read(tmp_path, *rows)
    assert isinstance(item, Trajectory), item
    return item


def line_of(tmp_path: Path, *rows: Any) -> TrajectoryLine:
    with SourceFile(save(tmp_path, *rows)) as source:
        (item,) = base.FORMAT.make(Choice("goose")).read(source)
    assert isinstance(item, TrajectoryLine), item
    return item


def told(trajectory: Trajectory) -> list[tuple[list[str], str, list[str]]]:
    return [
        (
            [each.content for each in step.observation],
            step.response.content,
            [call.arguments for call in step.response.tool_calls],
        )
        for step in trajectory.steps
    ]


MESSAGES = [
    message("user", text("list")),
    message("assistant", text("let me"), request("t")),
    message("user", response("t", text("a"))),
    message("assistant", text("one file")),
]
EXPECTED = [(["list"], "let me", ['{"command": "ls"}']), (["a"], "one file", [])]


def test_an_export_is_read_and_no_mark_stands_in_a_response(tmp_path: Path) -> None:
    row = session(*MESSAGES, name="n", message_count=4, extension_data={"a": {"b": "c"}})
    trajectory = read_one(tmp_path, row)
    assert told(trajectory) == EXPECTED
    assert trajectory.steps[0].response.tool_calls[0].name == "developer__shell"
    assert trajectory.steps[1].observation[0].tool_call_id == "t"
    assert trajectory.source.details == {"name": "n", "working_dir": "/w"}
    assert line_of(tmp_path, row).unread == ()


def test_a_session_file_and_rows_of_the_table_are_read(tmp_path: Path) -> None:
    head = {"working_dir": "/w", "description": "d", "message_count": 4, "total_tokens": 5}
    bare = [{key: each[key] for key in ("role", "created", "content")} for each in MESSAGES]
    assert told(read_one(tmp_path, head, *bare)) == EXPECTED
    assert told(read_one(tmp_path, *bare)) == EXPECTED
    stored = [
        {
            "session_id": name,
            "role": each["role"],
            "content_json": json.dumps(each["content"]),
            "created_timestamp": 1,
            "metadata_json": json.dumps(each["metadata"]),
        }
        for name in ("a", "b")
        for each in MESSAGES
    ]
    items = read(tmp_path, *stored)
    assert [told(item) for item in items if isinstance(item, Trajectory)] == [EXPECTED, EXPECTED]


@pytest.mark.parametrize(
    "call",
    [
        {"toolCall": {"Ok": {"name": "f", "arguments": {"a": 1}}}},
        {"toolCall": {"name": "f", "arguments": {"a": 1}}},
        {"tool_call": {"value": {"name": "f", "arguments": {"a": 1}}}},
        {"toolCall": {"status": "success", "value": {"name": "f", "args": {"a": 1}}}},
    ],
)
@pytest.mark.parametrize("kind", ["toolRequest", "frontendToolRequest"])
def test_a_request_is_a_call_in_every_form(tmp_path: Path, kind: str, call: Row) -> None:
    row = session(MESSAGES[0], message("assistant", {"type": kind, "id": "t", **call}))
    (found,) = read_one(tmp_path, row).steps[0].response.tool_calls
    assert (found.id, found.name, found.arguments) == ("t", "f", '{"a": 1}')


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"status": "success", "value": [text("a"), text("b")]}, "a\nb"),
        ({"status": "error", "error": "denied"}, "denied"),
        ({"Err": "denied"}, "denied"),
        ({"status": "success", "value": {"content": [{"type": "image", "data": "x"}]}}, "[image]"),
        (
            {"value": {"content": [{"type": "resource", "resource": {"uri": "u", "text": "r"}}]}},
            "r",
        ),
        ({"value": {"content": [], "structuredContent": {"a": "b"}}}, '{"a": "b"}'),
        ({"value": {"content": [text("a")], "structuredContent": {"a": "other"}}}, "a"),
    ],
)
def test_a_response_is_a_result_in_every_form(tmp_path: Path, result: Row, expected: str) -> None:
    part = {"type": "toolResponse", "id": "t", "toolResult": result}
    row = session(*MESSAGES[:2], message("user", part), MESSAGES[3])
    assert told(read_one(tmp_path, row))[1] == ([expected], "one file", [])


def test_thinking_is_reasoning_and_redacted_thinking_a_remark(tmp_path: Path) -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "x"}
    redacted = {"type": "redactedThinking", "data": "x"}
    row = session(MESSAGES[0], message("assistant", thinking, redacted, text("yes")))
    (step,) = read_one(tmp_path, row).steps
    assert (step.response.reasoning, step.response.content) == ("hm", "yes")
    assert line_of(tmp_path, row).remarks == [(0, "redacted thinking is not carried over")]


def test_what_only_the_user_saw_is_not_in_the_context(tmp_path: Path) -> None:
    to_user = text("for people", annotations={"audience": ["user"]})
    notice = {"type": "systemNotification", "notificationType": "inlineMessage", "msg": "hi"}
    asked = {"type": "toolConfirmationRequest", "id": "t", "toolName": "f", "arguments": {"q": 1}}
    row = session(
        message("user", text("/help"), agent=False),
        MESSAGES[0],
        message("assistant", notice, agent=False),
        MESSAGES[1],
        message("user", asked, {"type": "actionRequired", "data": {"message": "ok?"}}),
        message("user", response("t", to_user, text("a"))),
        message("assistant", {"type": "contextLengthExceeded", "msg": "full"}, text("one file")),
    )
    assert [each for each in told(read_one(tmp_path, row)) if each[1]] == EXPECTED
    remarks = [words for _, words in line_of(tmp_path, row).remarks]
    assert "2 messages that the agent did not see are left out" in remarks
    assert "2 parts that the agent did not see are left out" in remarks


def test_after_a_compaction_the_context_is_the_summary(tmp_path: Path) -> None:
    row = session(
        *({**each, "metadata": {"userVisible": True, "agentVisible": False}} for each in MESSAGES),
        message("user", text("Summary."), user=False),
        message("assistant", text("I go on."), user=False),
        message("user", text("next")),
        message("assistant", text("done")),
    )
    first, second = read(tmp_path, row)
    assert isinstance(first, Trajectory)
    assert isinstance(second, Trajectory)
    assert told(first) == EXPECTED
    assert [each.content for each in second.prompt] == ["Summary.", "I go on."]
    assert told(second) == [(["next"], "done", [])]
    assert first.id != second.id


def test_a_session_that_ends_with_a_compaction_is_read_and_says_so(tmp_path: Path) -> None:
    row = session(
        *({**each, "metadata": {"userVisible": True, "agentVisible": False}} for each in MESSAGES),
        message("user", text("Summary."), user=False),
    )
    assert told(read_one(tmp_path, row)) == EXPECTED
    assert [words for _, words in line_of(tmp_path, row).remarks] == [
        "1 messages of a context in which the agent did not act are left out"
    ]


def test_a_hidden_message_without_a_compaction_stays_where_it_is(tmp_path: Path) -> None:
    row = session(*MESSAGES[:3], message("user", text("mind the time"), user=False), MESSAGES[3])
    assert told(read_one(tmp_path, row))[1] == (["a", "mind the time"], "one file", [])


def test_a_call_without_arguments_is_told_from_one_whose_arguments_are_not_found(
    tmp_path: Path,
) -> None:
    none: Any = {"type": "toolRequest", "id": "t", "toolCall": {"value": {"name": "f"}}}
    (call,) = (
        read_one(tmp_path, session(MESSAGES[0], message("assistant", none)))
        .steps[0]
        .response.tool_calls
    )
    assert call.arguments == "{}"
    none["toolCall"]["value"]["inputs"] = {"a": 1}
    (problem,) = read(tmp_path, session(MESSAGES[0], message("assistant", none)))
    assert isinstance(problem, Problem)
    assert "no 'arguments'" in problem.reason


@pytest.mark.parametrize(
    "part",
    [
        {"type": "future", "words": "x"},
        {"type": "toolRequest", "id": "t"},
        {"type": "toolResponse", "id": "t", "toolResult": {"status": "success"}},
        {"type": "text", "words": "x"},
    ],
)
def test_a_part_that_is_not_known_is_a_problem(tmp_path: Path, part: Row) -> None:
    (problem,) = read(tmp_path, session(*MESSAGES, message("assistant", part)))
    assert isinstance(problem, Problem)
    assert "message 4" in problem.where


def test_messages_in_a_row_are_one_generation(tmp_path: Path) -> None:
    parts = [message("assistant", part) for part in (text("let me"), request("t"))]
    assert told(read_one(tmp_path, session(MESSAGES[0], *parts, *MESSAGES[2:]))) == EXPECTED


@pytest.mark.skipif(not CASES.exists(), reason="the folder of import cases is not here")
def test_the_import_case_is_read() -> None:
    path = CASES / "wrong" / "02_goose_export.json"
    (trajectory,) = read_file(detect_format(path), path)
    assert isinstance(trajectory, Trajectory)
    assert told(trajectory) == EXPECTED
