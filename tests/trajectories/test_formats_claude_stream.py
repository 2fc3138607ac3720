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

Event = dict[str, Any]
START = {
    "type": "system",
    "subtype": "init",
    "session_id": "s",
    "cwd": "/w",
    "model": "claude",
    "tools": ["Look"],
}


def event(kind: str, *blocks: Any, id: str | None = None, **fields: Any) -> Event:
    message = {"role": kind, "content": list(blocks), **({"id": id} if id else {})}
    return {
        "type": kind,
        "message": message,
        "parent_tool_use_id": None,
        "session_id": "s",
        **fields,
    }


def text(value: str) -> Event:
    return {"type": "text", "text": value}


def call(id: str, **arguments: Any) -> Event:
    return {"type": "tool_use", "id": id, "name": "Look", "input": arguments}


def result(id: str, content: Any) -> Event:
    return {"type": "tool_result", "tool_use_id": id, "content": content}


def end(subtype: str = "success", **fields: Any) -> Event:
    return {"type": "result", "subtype": subtype, "session_id": "s", "is_error": False, **fields}


def read(tmp_path: Path, *events: Any, as_list: bool = False) -> list[Trajectory | Problem]:
    path = tmp_path / "stream.jsonl"
    path.write_text(json.dumps(events) if as_list else "\n".join(map(json.dumps, events)))
    assert detect_format(path) == "claude_code"
    return read_file("claude_code", path)


def one(tmp_path: Path, *events: Any, as_list: bool = False) -> Trajectory:
    [trajectory] = read(tmp_path, *events, as_list=as_list)
    assert isinstance(trajectory, Trajectory), trajectory
    return trajectory


def remarks(tmp_path: Path) -> list[tuple[int, str]]:
    with SourceFile(tmp_path / "stream.jsonl") as source:
        items = list(FORMAT.make(Choice("claude_code")).read(source))
    return [each for item in items if isinstance(item, TrajectoryLine) for each in item.remarks]


@pytest.mark.parametrize("as_list", [False, True])
def test_events_of_a_stream_are_one_conversation(as_list: bool, tmp_path: Path) -> None:
    trajectory = one(
        tmp_path,
        START,
        event("assistant", {"type": "thinking", "thinking": "hm"}, id="m1"),
        event("assistant", text("I look."), id="m1"),
        event("assistant", call("c1", at="door"), id="m1"),
        {"type": "rate_limit_event", "session_id": "s", "uuid": "x", "rate_limit_info": {}},
        event("user", result("c1", "a door"), tool_use_result={"stdout": "a door"}),
        event("assistant", text("A door."), id="m2"),
        end(result="A door.", num_turns=2, total_cost_usd=0.1),
        as_list=as_list,
    )
    assert [step.response.content for step in trajectory.steps] == ["I look.", "A door."]
    assert trajectory.steps[0].response.reasoning == "hm"
    assert [each.content for each in trajectory.steps[1].observation] == ["a door"]
    assert trajectory.source.details["tool_names"] == ["Look"]
    assert (trajectory.task.id, trajectory.outcome.status) == ("s", "unknown")
    assert "not a success" in str(trajectory.outcome.reason)
    assert (0, "the log does not hold what the agent was asked") in remarks(tmp_path)


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (end("error_max_turns"), "truncated"),
        (end("error_during_execution", is_error=True), "error"),
        (end("success", is_error=True, result="API Error: 500"), "error"),
        (end("success", result="On."), "unknown"),
    ],
)
def test_the_last_event_says_how_the_session_ended(
    last: Event, status: str, tmp_path: Path
) -> None:
    trajectory = one(
        tmp_path, START, event("user", text("Go.")), event("assistant", text("On.")), last
    )
    assert trajectory.outcome.status == status
    assert last["subtype"] in str(trajectory.outcome.reason)
    assert remarks(tmp_path) == []


def test_a_sub_agent_is_a_trajectory_that_names_its_parent(tmp_path: Path) -> None:
    side = {"parent_tool_use_id": "c1"}
    main, helper = read(
        tmp_path,
        START,
        event("user", text("Go.")),
        event("assistant", call("c1", prompt="Find it."), id="m1"),
        event("user", text("Find it."), **side),
        event("assistant", text("Found."), id="m9", **side),
        event("user", result("c1", "Found.")),
        event("assistant", text("Done."), id="m2"),
        end(result="Done."),
    )
    assert isinstance(main, Trajectory)
    assert isinstance(helper, Trajectory)
    assert [step.response.content for step in helper.steps] == ["Found."]
    assert helper.source.details["parent"] == main.id
    assert [step.response.content for step in main.steps] == ["", "Done."]


def test_parts_of_answers_are_copies(tmp_path: Path) -> None:
    def part(**fields: Any) -> Event:
        return {"type": "stream_event", "session_id": "s", "uuid": "p", "event": fields}

    trajectory = one(
        tmp_path,
        START,
        event("user", text("Go.")),
        part(type="message_start", message={"id": "m1"}),
        part(type="content_block_delta", delta={"type": "text_delta", "text": "O"}),
        event("assistant", text("On."), id="m1"),
        part(type="message_start", message={"id": "m2"}),
        part(type="content_block_delta", delta={"type": "text_delta", "text": "An"}),
    )
    assert [step.response.content for step in trajectory.steps] == ["On."]
    assert remarks(tmp_path) == [
        (-1, "4 parts of answers are copies"),
        (-1, "1 answers are not read: the stream ends within them"),
    ]


def test_a_compaction_begins_a_conversation_and_the_end_belongs_to_the_last(
    tmp_path: Path,
) -> None:
    first, second = read(
        tmp_path,
        START,
        event("user", text("Go.")),
        event("assistant", text("Left."), id="m1"),
        {"type": "system", "subtype": "compact_boundary", "session_id": "s", "uuid": "x"},
        event("user", text("Earlier: much.")),
        event("assistant", text("On."), id="m2"),
        end("error_max_turns"),
    )
    assert isinstance(first, Trajectory)
    assert isinstance(second, Trajectory)
    assert [step.response.content for step in first.steps] == ["Left."]
    assert [step.response.content for step in second.steps] == ["On."]
    assert (first.outcome.status, second.outcome.status) == ("unknown", "truncated")


def test_a_result_that_no_answer_has_is_said(tmp_path: Path) -> None:
    one(
        tmp_path,
        START,
        event("user", text("Go.")),
        event("assistant", text("On."), id="m1"),
        end(result="Something else."),
    )
    assert remarks(tmp_path) == [
        (-1, "the result of the session is not read: no answer has its words"),
    ]


def test_events_without_a_session_belong_to_that_of_the_event_before(tmp_path: Path) -> None:
    trajectory = one(
        tmp_path,
        START,
        event("assistant", call("c1"), id="m1"),
        {"type": "user", "message": {"role": "user", "content": [result("c1", "ok")]}},
        event("assistant", text("On."), id="m2"),
    )
    assert [each.content for each in trajectory.steps[1].observation] == ["ok"]


def test_equal_ids_of_events_cost_nothing(tmp_path: Path) -> None:
    trajectory = one(
        tmp_path,
        event("user", text("Go."), uuid="same"),
        event("assistant", text("One."), id="m1", uuid="same"),
        event("assistant", text("Two."), id="m2", uuid="same"),
    )
    assert [step.response.content for step in trajectory.steps] == ["One.", "Two."]
