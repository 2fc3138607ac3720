"""Logs of Claude Code: where a compaction, a clear or a rewind begins another conversation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trajectories.claude_code_logs import (
    agent,
    boundary,
    call,
    read_good,
    remarks,
    result,
    said,
    seen,
    summary,
    text,
    user,
)


def test_a_compaction_begins_a_trajectory_whose_prompt_is_the_summary(tmp_path: Path) -> None:
    boundary = {
        "type": "system",
        "subtype": "compact_boundary",
        "uuid": "x",
        "parentUuid": None,
        "logicalParentUuid": "b",
        "sessionId": "s",
    }
    first, second = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", text("Left.")),
        boundary,
        user(
            "c",
            "x",
            "This session is being continued …",
            isCompactSummary=True,
            isVisibleInTranscriptOnly=True,
        ),
        user("d", "c", "Go on."),
        agent("e", "d", text("On.")),
    )
    assert said(first) == ["Left."]
    assert [message.content for message in second.prompt] == ["This session is being continued …"]
    assert (seen(second), said(second)) == ([["Go on."]], ["On."])


def test_what_a_rewind_left_is_counted(tmp_path: Path) -> None:
    [trajectory] = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", text("Left."), id="m1"),
        user("c", "b", "No."),
        agent("d", "c", text("Hm."), id="m2"),
        user("e", "b", "Go on."),
        agent("f", "e", text("On."), id="m3"),
    )
    assert said(trajectory) == ["Left.", "On."]
    assert remarks(tmp_path) == [
        (-1, "2 messages of abandoned branches are not read, such as those that a rewind left"),
    ]


@pytest.mark.parametrize("parent", [None, "b"])
def test_a_compaction_begins_a_conversation_also_where_it_names_a_parent(
    parent: str | None, tmp_path: Path
) -> None:
    first, second = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", text("Left.")),
        boundary(parent=parent),
        summary("c", "x"),
        user("d", "c", "Go on."),
        agent("e", "d", text("On.")),
    )
    assert (said(first), said(second)) == (["Left."], ["On."])
    assert [message.content for message in second.prompt] == ["Earlier: much."]
    assert seen(second) == [["Go on."]]


def test_a_summary_without_a_boundary_begins_a_conversation(tmp_path: Path) -> None:
    first, second = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", text("Left.")),
        summary("c", "b"),
        agent("e", "c", text("On.")),
    )
    assert (said(first), said(second)) == (["Left."], ["On."])


@pytest.mark.parametrize(
    "metadata",
    [
        {"preservedSegment": {"headUuid": "c", "anchorUuid": "y", "tailUuid": "d"}},
        {"preservedMessages": {"anchorUuid": "y", "uuids": ["c", "d"]}},
    ],
)
def test_what_a_compaction_preserved_stands_in_the_prompt_behind_the_summary(
    metadata: dict[str, Any], tmp_path: Path
) -> None:
    """Lines after the compaction name the last preserved line as their parent."""
    first, second = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", text("Left.")),
        user("c", "b", "And?"),
        agent("d", "c", text("Right.")),
        boundary(logicalParentUuid="d", **metadata),
        summary("y", "x"),
        user("e", "d", "Go on."),
        agent("f", "e", text("On.")),
    )
    assert said(first) == ["Left.", "Right."]
    assert [(message.role, message.content) for message in second.prompt] == [
        ("user", "Earlier: much."),
        ("user", "And?"),
        ("assistant", "Right."),
    ]
    assert (seen(second), said(second)) == ([["Go on."]], ["On."])
    assert remarks(tmp_path) == []


def test_an_answer_logged_behind_the_boundary_that_preserved_it_belongs_before_it(
    tmp_path: Path,
) -> None:
    first, second = read_good(
        tmp_path,
        user("a", None, "Go."),
        boundary(preservedMessages={"uuids": ["a", "b"]}),
        summary("y", "x"),
        agent("b", "y", text("Left."), id="m1"),
        user("e", "b", "Go on."),
        agent("f", "e", text("On."), id="m2"),
    )
    assert (said(first), said(second)) == (["Left."], ["On."])
    assert [message.content for message in second.prompt] == ["Earlier: much.", "Go.", "Left."]


def test_preserved_lines_that_were_logged_again_are_context(tmp_path: Path) -> None:
    first, second = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", text("Left."), id="m1"),
        boundary(),
        summary("y", "x"),
        user("a2", "y", "Go."),
        agent("b2", "a2", text("Left."), id="m1"),
        user("e", "b2", "Go on."),
        agent("f", "e", text("On."), id="m2"),
    )
    assert (said(first), said(second)) == (["Left."], ["On."])
    assert [message.content for message in second.prompt] == ["Earlier: much.", "Go.", "Left."]


def test_preserved_lines_that_are_not_there_are_reported(tmp_path: Path) -> None:
    read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", text("Left.")),
        boundary(preservedSegment={"headUuid": "lost", "tailUuid": "b"}),
        summary("y", "x"),
        agent("f", "y", text("On.")),
    )
    assert remarks(tmp_path) == [(-1, "what the compaction preserved is not in the log")]


def test_cleared_results_are_cleared_in_the_prompt_of_what_follows(tmp_path: Path) -> None:
    micro = {
        "type": "system",
        "subtype": "microcompact_boundary",
        "uuid": "x",
        "parentUuid": "d",
        "sessionId": "s",
        "content": "Context microcompacted",
        "microcompactMetadata": {"trigger": "auto", "compactedToolIds": ["c1"]},
    }
    first, second = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", call("c1"), id="m1"),
        user("c", "b", [result("c1", "a door")]),
        agent("d", "c", text("A door."), id="m2"),
        micro,
        user("e", "x", "Go on."),
        agent("f", "e", text("On."), id="m3"),
    )
    assert (said(first), said(second)) == (["", "A door."], ["On."])
    assert seen(first) == [["Go."], ["a door"]]
    assert [message.content for message in second.prompt] == [
        "Go.",
        "",
        "[Old tool result content cleared]",
        "A door.",
    ]
    assert first.id != second.id


@pytest.mark.parametrize(
    "content",
    [
        "<command-name>/clear</command-name>\n<command-args></command-args>",
        [{"type": "text", "text": "<command-name>/clear</command-name>"}],
        "<command-message>new</command-message>\n<command-name>/new</command-name>",
    ],
)
def test_clear_begins_a_conversation_also_on_a_line_with_a_parent(
    content: Any, tmp_path: Path
) -> None:
    first, second = read_good(
        tmp_path,
        user("a", None, "One."),
        agent("b", "a", text("Left.")),
        user("c", "b", content),
        user("d", "c", "Two."),
        agent("e", "d", text("On.")),
    )
    assert (said(first), said(second)) == (["Left."], ["On."])
    assert seen(second)[0][-1] == "Two."
