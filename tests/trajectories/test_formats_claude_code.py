"""Logs of Claude Code: turns, side chains, sessions and damaged lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from tests.source_files import detect_format
from tests.trajectories.claude_code_logs import (
    agent,
    call,
    read,
    read_good,
    remarks,
    result,
    said,
    seen,
    text,
    user,
)


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
