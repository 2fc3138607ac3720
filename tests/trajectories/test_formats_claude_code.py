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


def user(uuid: str, parent: str | None, content: Any, **fields: Any) -> Line:
    message = {"role": "user", "content": content}
    return {
        "type": "user",
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s",
        "isSidechain": False,
        "message": message,
        **fields,
    }


def agent(
    uuid: str,
    parent: str | None,
    *blocks: Any,
    id: str | None = None,
    model: str = "claude",
    **fields: Any,
) -> Line:
    message = {
        "role": "assistant",
        "model": model,
        "content": list(blocks),
        **({"id": id} if id else {}),
    }
    return {
        "type": "assistant",
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s",
        "isSidechain": False,
        "message": message,
        **fields,
    }


def text(value: str) -> Line:
    return {"type": "text", "text": value}


def call(id: Any, **arguments: Any) -> Line:
    return {"type": "tool_use", "id": id, "name": "Look", "input": arguments}


def result(id: str, content: Any) -> Line:
    return {"type": "tool_result", "tool_use_id": id, "content": content}


def read(tmp_path: Path, *lines: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "session.jsonl"
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n"
    )
    return read_file("claude_code", path)


def read_good(tmp_path: Path, *lines: Any) -> list[Trajectory]:
    items = read(tmp_path, *lines)
    trajectories = [item for item in items if isinstance(item, Trajectory)]
    assert len(trajectories) == len(items), items
    return trajectories


def seen(trajectory: Trajectory) -> list[list[str]]:
    return [[message.content for message in step.observation] for step in trajectory.steps]


def said(trajectory: Trajectory) -> list[str]:
    return [step.response.content for step in trajectory.steps]


def test_lines_with_one_message_id_are_one_turn_and_parallel_results_stay_with_it(
    tmp_path: Path,
) -> None:
    """Parallel calls branch the chain of parents: no path to the last leaf has the first result."""
    [trajectory] = read_good(
        tmp_path,
        {"type": "summary", "summary": "Doors", "leafUuid": "g"},
        {"type": "file-history-snapshot", "messageId": "a", "snapshot": {}},
        user("a", None, "Go."),
        agent("b", "a", {"type": "thinking", "thinking": "hm", "signature": "x"}, id="m1"),
        agent("c", "b", text("Both."), id="m1"),
        agent("d", "c", call("c1", at="door"), id="m1"),
        agent("e", "d", call("c2"), id="m1"),
        user("g", "e", [result("c2", "waited")]),
        user("f", "d", [result("c1", [text("a door"), {"type": "image", "source": {}}])]),
        agent("h", "g", text("Done."), id="m2"),
    )
    assert said(trajectory) == ["Both.", "Done."]
    response = trajectory.steps[0].response
    assert response.reasoning == "hm"
    assert [(each.id, each.name, each.arguments) for each in response.tool_calls] == [
        ("c1", "Look", '{"at": "door"}'),
        ("c2", "Look", "{}"),
    ]
    assert seen(trajectory) == [["Go."], ["a door[image]", "waited"]]
    assert (trajectory.task.id, trajectory.outcome.status, trajectory.source.details["model"]) == (
        "s",
        "unknown",
        "claude",
    )
    assert (trajectory.source.row, trajectory.source.line) == (2, 3)
    assert detect_format(tmp_path / "session.jsonl") == "claude_code"


def test_the_conversation_is_the_way_to_the_last_leaf(tmp_path: Path) -> None:
    [trajectory] = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", text("Left."), id="m1"),
        user("c", "b", "No."),
        agent("d", "c", text("Hm."), id="m2"),
        user("e", "b", "Go on."),
        agent("f", "e", text("On."), id="m3"),
        user("g", "f", "Thanks."),
    )
    assert said(trajectory) == ["Left.", "On."]
    assert [message.content for message in trajectory.final_observation] == ["Thanks."]


def test_what_no_model_wrote_or_saw_is_passed_over(tmp_path: Path) -> None:
    [trajectory] = read_good(
        tmp_path,
        user("a", None, "Go."),
        {
            "type": "system",
            "subtype": "informational",
            "uuid": "n",
            "parentUuid": "a",
            "sessionId": "s",
            "content": "note",
        },
        agent("b", "n", text("API Error"), model="<synthetic>", isApiErrorMessage=True),
        user("c", "b", "Shown.", isVisibleInTranscriptOnly=True),
        agent("d", "c", {"type": "redacted_thinking", "data": "x"}, text("On.")),
    )
    assert (seen(trajectory), said(trajectory)) == ([["Go."]], ["On."])


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


def test_a_side_chain_is_a_trajectory_that_names_its_parent(tmp_path: Path) -> None:
    side = {"isSidechain": True}
    main, helper = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", call("c1", prompt="Find it."), id="m1"),
        user("p", None, "Find it.", **side),
        agent("q", "p", text("Found."), id="m9", **side),
        user("c", "b", [result("c1", "Found.")]),
        agent("d", "c", text("Done."), id="m2"),
    )
    assert (said(main), said(helper)) == (["", "Done."], ["Found."])
    assert helper.source.details["parent"] == main.id
    assert main.id != helper.id


def test_a_side_chain_in_a_file_of_its_own_names_the_session(tmp_path: Path) -> None:
    side = {"isSidechain": True, "agentId": "a7"}
    [helper] = read_good(
        tmp_path, user("p", None, "Find it.", **side), agent("q", "p", text("Found."), **side)
    )
    assert (helper.task.id, helper.source.details["parent"]) == ("s-a7", "s")


def test_sessions_in_one_file_are_kept_apart(tmp_path: Path) -> None:
    other = {"sessionId": "t"}
    first, second = read_good(
        tmp_path,
        user("a", None, "Go."),
        user("p", None, "Stay.", **other),
        agent("b", "a", text("I go.")),
        agent("q", "p", text("I stay."), **other),
    )
    assert ((first.task.id, said(first)), (second.task.id, said(second))) == (
        ("s", ["I go."]),
        ("t", ["I stay."]),
    )


def test_a_damaged_line_is_a_problem_and_the_conversation_goes_on_behind_it(tmp_path: Path) -> None:
    problem, trajectory = read(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", text("One.")),
        '{"type": "user", "uuid": "c',
        agent("d", "c", text("Two.")),
    )
    assert isinstance(problem, Problem)
    assert "line 3" in problem.where
    assert isinstance(trajectory, Trajectory)
    assert said(trajectory) == ["One.", "Two."]


@pytest.mark.parametrize(
    ("lines", "where", "reason"),
    [
        ([user("a", None, "Go.")], "row 0", "no step"),
        ([user("a", None, "Go."), agent("b", "a", call([7], x=1))], "row 1 (line 2)", "id is [7]"),
        (
            [{**user("a", None, "Go."), "message": None}],
            "row 0",
            "without 'uuid', 'sessionId' or 'message'",
        ),
        (["[1]"], "row 0", "not an event"),
        (
            [{"type": "summary", "summary": "x", "leafUuid": "y"}],
            "session.jsonl",
            "no conversation",
        ),
    ],
)
def test_a_bad_log_is_a_problem_that_says_why(
    tmp_path: Path, lines: list[Any], where: str, reason: str
) -> None:
    problem = read(tmp_path, *lines)[0]
    assert isinstance(problem, Problem)
    assert reason in problem.reason
    assert problem.where.endswith(where)


def test_lines_that_go_round_in_a_circle_are_read(tmp_path: Path) -> None:
    [trajectory] = read_good(tmp_path, user("a", "b", "Go."), agent("b", "a", text("On.")))
    assert said(trajectory) == ["On."]


def remarks(tmp_path: Path) -> list[tuple[int, str]]:
    """The remarks on all trajectories of the log that was read last."""
    with SourceFile(tmp_path / "session.jsonl") as source:
        items = list(FORMAT.make(Choice("claude_code")).read(source))
    return [each for item in items if isinstance(item, TrajectoryLine) for each in item.remarks]


def boundary(uuid: str = "x", parent: str | None = None, **metadata: Any) -> Line:
    return {
        "type": "system",
        "subtype": "compact_boundary",
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s",
        "content": "Conversation compacted",
        "compactMetadata": {"trigger": "auto", **metadata},
    }


def summary(uuid: str, parent: str) -> Line:
    return user(uuid, parent, "Earlier: much.", isCompactSummary=True)


def attachment(uuid: str, parent: str, kind: str, **fields: Any) -> Line:
    extra = {key: fields.pop(key) for key in ("rendered", "renderedRole") if key in fields}
    return {
        "type": "attachment",
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s",
        "isSidechain": False,
        "attachment": {"type": kind, **fields},
        **extra,
    }


def queue(operation: str, content: str | None = None) -> Line:
    line = {"type": "queue-operation", "operation": operation, "sessionId": "s"}
    return line if content is None else {**line, "content": content}


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


def test_a_block_of_an_unknown_type_in_an_answer_is_a_problem(tmp_path: Path) -> None:
    [problem] = read(
        tmp_path, user("a", None, "Go."), agent("b", "a", {"type": "gesture", "gesture": "nod"})
    )
    assert isinstance(problem, Problem)
    assert "a block of type 'gesture'" in problem.reason


def test_tools_of_the_service_are_calls_and_their_results_are_observed(tmp_path: Path) -> None:
    [trajectory] = read_good(
        tmp_path,
        user("a", None, "News?"),
        agent("b", "a", text("I search."), id="m1"),
        agent(
            "c",
            "b",
            {"type": "server_tool_use", "id": "v1", "name": "web_search", "input": {"q": "x"}},
            id="m1",
        ),
        agent(
            "d",
            "c",
            {
                "type": "web_search_tool_result",
                "tool_use_id": "v1",
                "content": [{"type": "web_search_result", "title": "T", "url": "u"}],
            },
            id="m1",
        ),
        agent("e", "d", text("None."), id="m1"),
    )
    assert said(trajectory) == ["I search.", "None."]
    assert [each.name for each in trajectory.steps[0].response.tool_calls] == ["web_search"]
    [found] = trajectory.steps[1].observation
    assert (found.role, found.tool_call_id) == ("tool", "v1")
    assert '"title": "T"' in found.content


def test_what_is_left_out_of_an_answer_is_said_at_its_step(tmp_path: Path) -> None:
    cut = agent("e", "c", text("And"), id="m3")
    cut["message"]["stop_reason"] = "max_tokens"
    read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", {"type": "redacted_thinking", "data": "x"}, text("On."), id="m1"),
        agent("r", "b", text("API Error"), model="<synthetic>"),
        user("c", "r", "More."),
        cut,
    )
    assert remarks(tmp_path) == [
        (-1, "1 answers of the harness itself are not read, such as errors of the service"),
        (0, "redacted reasoning is left out"),
        (1, "the answer was cut at the limit of tokens"),
    ]


def test_a_line_that_stands_twice_is_read_once(tmp_path: Path) -> None:
    lines = (user("a", None, "Go."), agent("b", "a", text("On.")))
    [trajectory] = read_good(tmp_path, *lines, lines[1])
    assert said(trajectory) == ["On."]
    assert remarks(tmp_path) == [(-1, "1 lines that stand twice in the log are read once")]


def test_progress_of_sub_agents_is_counted(tmp_path: Path) -> None:
    progress = {
        "type": "progress",
        "uuid": "p",
        "parentUuid": "b",
        "sessionId": "s",
        "parentToolUseID": "c1",
        "data": {"type": "agent_progress", "agentId": "g", "message": {"type": "user"}},
    }
    [trajectory] = read_good(
        tmp_path,
        user("a", None, "Go."),
        agent("b", "a", call("c1", prompt="Find it."), id="m1"),
        progress,
        user("c", "p", [result("c1", "Found.")]),
        agent("d", "c", text("Done."), id="m2"),
    )
    assert said(trajectory) == ["", "Done."]
    [(place, remark)] = remarks(tmp_path)
    assert place == -1
    assert remark.startswith("1 progress messages of sub-agents are not read")


def test_results_without_a_call_keep_their_place(tmp_path: Path) -> None:
    [trajectory] = read_good(
        tmp_path,
        user("a", None, "Two reads."),
        agent("b", "a", call("c1"), id="m1"),
        user("c", "b", [result("c1", "one")]),
        user("d", "lost", [result("c2", "two")]),
        agent("e", "d", text("Done."), id="m2"),
    )
    assert seen(trajectory) == [["Two reads."], ["one", "two"]]
