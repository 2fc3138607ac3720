"""Logs of Claude Code: what the agent saw beside the messages, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem
from tests.trajectories.claude_code_logs import (
    agent,
    attachment,
    call,
    queue,
    read,
    read_good,
    remarks,
    result,
    said,
    seen,
    text,
    user,
)


def test_what_the_user_wrote_while_a_tool_ran_stands_where_the_agent_saw_it(
    tmp_path: Path,
) -> None:
    [trajectory] = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", call("c1"), id="m1"),
        user("c", "b", [result("c1", "ok")]),
        attachment("q", "c", "queued_command", prompt="Stop.", commandMode="prompt"),
        agent("d", "q", text("I stop."), id="m2"),
    )
    assert seen(trajectory) == [["Go."], ["ok", "Stop."]]


def test_a_queued_message_without_an_attachment_stands_before_the_next_answer(
    tmp_path: Path,
) -> None:
    """`remove`: the agent read it; `popAll`: the user took it back; `dequeue`: it is a line."""
    [trajectory] = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", text("I look."), id="m1"),
        queue("enqueue", "never mind"),
        queue("popAll", "never mind"),
        queue("enqueue", "Stop."),
        queue("enqueue", "Now."),
        queue("remove"),
        queue("remove"),
        agent("b2", "b", call("c1"), id="m1"),
        user("c", "b2", [result("c1", "ok")]),
        agent("d", "c", text("I stop."), id="m2"),
        queue("enqueue", "Thanks."),
        queue("dequeue"),
        user("e", "d", "Thanks."),
        agent("f", "e", text("Bye."), id="m3"),
    )
    assert seen(trajectory) == [["Go."], ["ok", "Stop.", "Now."], ["Thanks."]]


def test_a_queued_message_that_nothing_answered_is_seen_last(tmp_path: Path) -> None:
    [trajectory] = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", text("I go."), id="m1"),
        queue("enqueue", "Stop."),
        queue("remove"),
    )
    assert [message.content for message in trajectory.final_observation] == ["Stop."]


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (
            "file",
            {
                "filename": "/w/a",
                "content": {"type": "text", "file": {"filePath": "/w/a", "content": "one\ntwo"}},
            },
            ["/w/a", "one\ntwo"],
        ),
        (
            "file",
            {
                "filename": "/w/n",
                "content": {
                    "type": "notebook",
                    "file": {"filePath": "/w/n", "cells": [{"source": "1 + 1"}]},
                },
            },
            ["/w/n", '"source": "1 + 1"'],
        ),
        ("edited_text_file", {"filename": "/w/a", "snippet": "1 one"}, ["/w/a", "1 one"]),
        (
            "hook_additional_context",
            {"content": ["first", "second"], "hookName": "PostToolUse"},
            ["first\nsecond"],
        ),
        (
            "nested_memory",
            {"path": "/w/M", "content": {"type": "memory", "path": "/w/M", "content": "Be kind."}},
            ["/w/M", "Be kind."],
        ),
        (
            "hook_blocking_error",
            {"hookName": "Stop", "blockingError": {"blockingError": "no", "command": "x"}},
            ["Stop", "no"],
        ),
        (
            "task_reminder",
            {"content": [{"id": "1", "subject": "knock"}], "itemCount": 1},
            ['"subject": "knock"'],
        ),
    ],
)
def test_attachments_stand_in_the_context_where_the_agent_saw_them(
    kind: str, fields: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    [trajectory] = read_good(
        tmp_path,
        user("a", None, "Go."),
        attachment("q", "a", kind, **fields),
        agent("d", "q", text("On.")),
    )
    [[first, shown]] = seen(trajectory)
    assert first == "Go."
    assert shown.startswith("<system-reminder>")
    assert all(words in shown for words in expected)
    assert remarks(tmp_path) == []


def test_the_exact_words_of_an_attachment_are_used_where_the_log_holds_them(
    tmp_path: Path,
) -> None:
    [trajectory] = read_good(
        tmp_path,
        user("a", None, "Go."),
        attachment("q", "a", "new_in_2_3", data="raw", rendered=[{"content": "A note."}]),
        agent("d", "q", text("On.")),
    )
    assert seen(trajectory) == [["Go.", "A note."]]


def test_a_snapshot_holds_the_system_prompt_and_the_tools(tmp_path: Path) -> None:
    tools = [{"name": "Look", "description": "looks", "input_schema": {"type": "object"}}]
    [trajectory] = read_good(
        tmp_path,
        attachment("p", "", "prompt_snapshot", systemPrompt=["Be", "kind."], tools=tools),
        user("a", "p", "Go."),
        agent("d", "a", text("On.")),
    )
    assert [(each.role, each.content) for each in trajectory.prompt] == [("system", "Be\n\nkind.")]
    assert trajectory.tools == tuple(tools)
    assert seen(trajectory) == [["Go."]]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("plan_mode", {"reminderType": "full"}), ("todo_reminder", {"content": []})],
)
def test_a_reminder_without_words_is_counted(
    kind: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    read_good(
        tmp_path,
        user("a", None, "Go."),
        attachment("q", "a", kind, **fields),
        agent("d", "q", text("On.")),
    )
    reason = f"the agent saw a reminder of type {kind}, of which the log holds no words"
    assert remarks(tmp_path) == [(0, reason)]


def test_words_in_lines_and_attachments_of_unknown_types_are_reported(tmp_path: Path) -> None:
    unknown = {"type": "whisper", "uuid": "w", "parentUuid": "a", "sessionId": "s"}
    good = (user("a", None, "Go."), agent("d", "a", text("On.")))
    [problem] = read(tmp_path, *good, {**unknown, "content": "Psst."})
    assert isinstance(problem, Problem)
    assert "'content' is not read" in problem.reason
    [problem] = read(tmp_path, *good, attachment("q", "a", "whisper", content="Psst."))
    assert isinstance(problem, Problem)
    [trajectory] = read_good(tmp_path, *good, {**unknown, "volume": "low"})
    assert said(trajectory) == ["On."]
