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

Row = dict[str, Any]


def part(kind: str, **fields: Any) -> Row:
    return {"id": "p", "sessionID": "ses_1", "messageID": "m", "type": kind, **fields}


def text(words: str, **fields: Any) -> Row:
    return part("text", text=words, **fields)


def tool(id: str = "t", **state: Any) -> Row:
    done = {
        "status": "completed",
        "input": {"command": "ls"},
        "output": "a",
        "title": "ls",
        "metadata": {"exit": 0},
        "time": {"start": 1, "end": 2},
    }
    return part("tool", callID=id, tool="bash", state=done | state)


def message(id: str, role: str, *parts: Row, **info: Any) -> Row:
    fields = {"id": id, "sessionID": "ses_1", "role": role, "time": {"created": 1}, **info}
    return {"info": fields, "parts": list(parts)}


def session(*messages: Row, **info: Any) -> Row:
    fields = {"id": "ses_1", "directory": "/w", "version": "1.2", "time": {"created": 1}}
    return {"info": fields | info, "messages": list(messages)}


def save(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "session.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def read(tmp_path: Path, *rows: Any) -> list[Trajectory | Problem]:
    path = save(tmp_path, *rows)
    assert detect_format(path) == "opencode"
    return read_file("opencode", path)


def read_one(tmp_path: Path, *rows: Any) -> Trajectory:
    (item,) = read(tmp_path, *rows)
    assert isinstance(item, Trajectory), item
    return item


def line_of(tmp_path: Path, *rows: Any) -> TrajectoryLine:
    with SourceFile(save(tmp_path, *rows)) as source:
        (item,) = base.FORMAT.make(Choice("opencode")).read(source)
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


ASK = message("m1", "user", text("list"), agent="build", model={"modelID": "m"})
STEP = message(
    "m2",
    "assistant",
    part("step-start", snapshot="s"),
    part("reasoning", text="look"),
    text("let me"),
    tool(),
    part("step-finish", reason="tool-calls", cost=0.1, tokens={"input": 1}),
    part("patch", hash="h", files=["/w/a"]),
    modelID="m",
    cost=0.1,
    path={"cwd": "/w", "root": "/w"},
)
END = message("m3", "assistant", part("step-start"), text("one file"), part("step-finish"))
EXPECTED = [(["list"], "let me", ['{"command": "ls"}']), (["a"], "one file", [])]


def test_an_export_is_read(tmp_path: Path) -> None:
    row = session(ASK, STEP, END, title="t", parentID="ses_0")
    trajectory = read_one(tmp_path, row)
    assert told(trajectory) == EXPECTED
    assert trajectory.steps[0].response.reasoning == "look"
    assert trajectory.steps[0].response.tool_calls[0].name == "bash"
    assert trajectory.steps[1].observation[0].tool_call_id == "t"
    assert trajectory.source.details == {
        "directory": "/w",
        "title": "t",
        "version": "1.2",
        "model": "m",
        "parent": "ses_0",
    }
    found = line_of(tmp_path, row)
    assert (found.unread, found.remarks) == ((), [])


def test_messages_in_a_list_or_in_lines_are_a_session(tmp_path: Path) -> None:
    assert told(read_one(tmp_path, [ASK, STEP, END])) == EXPECTED
    assert told(read_one(tmp_path, ASK, STEP, END)) == EXPECTED
    path = tmp_path / "list.json"
    path.write_text(json.dumps([ASK, STEP, END], indent=1))
    assert detect_format(path) == "opencode"
    (trajectory,) = read_file("opencode", path)
    assert isinstance(trajectory, Trajectory)
    assert told(trajectory) == EXPECTED


def test_steps_of_one_message_are_apart_with_and_without_marks(tmp_path: Path) -> None:
    marked = message("m2", "assistant", *STEP["parts"], *END["parts"])
    assert told(read_one(tmp_path, session(ASK, marked))) == EXPECTED
    bare = message("m2", "assistant", text("let me"), tool(), text("one file"))
    assert told(read_one(tmp_path, session(ASK, bare))) == EXPECTED
    parallel = message("m2", "assistant", tool("a"), tool("b", output="b"), text("Done."))
    assert told(read_one(tmp_path, session(ASK, parallel)))[1] == (["a", "b"], "Done.", [])


def test_the_stream_of_run_is_read_and_says_that_it_has_no_prompt(tmp_path: Path) -> None:
    kinds = {"step-start": "step_start", "step-finish": "step_finish", "tool": "tool_use"}
    rows = [
        {
            "type": kinds.get(each["type"], each["type"]),
            "timestamp": 1,
            "sessionID": "ses_1",
            "part": each,
        }
        for each in (*STEP["parts"][:-1], *END["parts"])
    ]
    trajectory = read_one(tmp_path, *rows)
    assert [step.response.content for step in trajectory.steps] == ["let me", "one file"]
    found = line_of(tmp_path, *rows)
    assert found.unread == ()
    assert (0, "the stream of 'opencode run' does not hold the prompt") in found.remarks
    failed = {"name": "APIError", "data": {"message": "no quota"}}
    end = {"type": "error", "timestamp": 1, "sessionID": "ses_1", "error": failed}
    assert read_one(tmp_path, *rows, end).outcome.reason == "APIError: no quota"
    assert line_of(tmp_path, *rows, end).unread == ()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"status": "error", "output": None, "error": "denied"}, ["denied"]),
        ({"status": "running", "output": None}, []),
        ({"status": "completed", "output": ""}, [""]),
    ],
)
def test_a_tool_that_failed_or_did_not_end(tmp_path: Path, state: Row, expected: list[str]) -> None:
    row = session(ASK, message("m2", "assistant", tool(**state)), END)
    row["messages"][1]["parts"][0]["state"] = {
        key: value
        for key, value in row["messages"][1]["parts"][0]["state"].items()
        if value is not None
    }
    assert told(read_one(tmp_path, row))[1][0] == expected


def test_after_a_compaction_the_context_is_the_summary_and_the_kept_tail(tmp_path: Path) -> None:
    compact = message("m4", "user", part("compaction", auto=True, tail_start_id="m3"))
    summary = message("m5", "assistant", text("Summary."), summary=True)
    more = [
        message("m6", "user", text("next", synthetic=True)),
        message("m7", "assistant", text("done")),
    ]
    row = session(ASK, STEP, END, compact, summary, *more)
    first, second = read(tmp_path, row)
    assert isinstance(first, Trajectory)
    assert isinstance(second, Trajectory)
    assert told(first) == EXPECTED
    assert [each.content for each in second.prompt] == ["[compaction]", "Summary.", "one file"]
    assert told(second) == [(["next"], "done", [])]


def test_a_session_that_ends_with_a_compaction_is_read_and_says_so(tmp_path: Path) -> None:
    compact = message("m4", "user", part("compaction", auto=False))
    row = session(ASK, STEP, END, compact, message("m5", "assistant", text("S"), summary=True))
    assert told(read_one(tmp_path, row)) == EXPECTED
    assert told(read_one(tmp_path, *row["messages"])) == EXPECTED
    assert [words for _, words in line_of(tmp_path, row).remarks] == [
        "2 messages of a context in which the agent did not act are left out"
    ]


def test_what_was_reverted_or_not_seen_is_left_out_and_counted(tmp_path: Path) -> None:
    hidden = message("m0", "user", text("aside", ignored=True), text("hello"))
    row = session(hidden, ASK, STEP, END, revert={"messageID": "m3"})
    trajectory = read_one(tmp_path, row)
    assert [step.response.content for step in trajectory.steps] == ["let me"]
    remarks = [words for _, words in line_of(tmp_path, row).remarks]
    assert "1 messages that were reverted are left out" in remarks
    assert "a text that the agent did not see is left out" in remarks
    assert "aside" not in trajectory.model_dump_json()


def test_files_are_marks_and_the_system_prompt_of_a_request_is_read(tmp_path: Path) -> None:
    image = part("file", mime="image/png", url="data:", filename="a.png")
    code = part("file", mime="text/plain", url="file:///w/a", filename="a")
    ask = message(
        "m1", "user", text("look"), image, code, part("agent", name="x"), system="Be kind."
    )
    trajectory = read_one(tmp_path, session(ask, END))
    assert trajectory.prompt[0].content == "Be kind."
    assert told(trajectory) == [(["look\n\n[image]"], "one file", [])]


@pytest.mark.parametrize(
    "wrong",
    [
        part("future", words="x"),
        part("text", words="x"),
        part("tool", callID="t", tool="bash", state={"status": "completed", "output": "a"}),
        part("tool", callID="t", tool="bash", state={"status": "completed", "input": {"a": 1}}),
        part("tool", callID="t", state={"status": "completed", "input": {}, "output": "a"}),
    ],
)
def test_a_part_that_is_not_known_is_a_problem(tmp_path: Path, wrong: Row) -> None:
    (problem,) = read(tmp_path, session(ASK, STEP, message("m3", "assistant", wrong)))
    assert isinstance(problem, Problem)
    assert "message 2" in problem.where


def test_an_unknown_field_with_words_is_reported(tmp_path: Path) -> None:
    row = session(ASK, message("m2", "assistant", text("yes", more="words")))
    (problem,) = read(tmp_path, row)
    assert isinstance(problem, Problem)
    assert "messages.parts.more" in problem.reason


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"name": "MessageAbortedError", "data": {"message": "x"}}, "unknown"),
        ({"name": "MessageOutputLengthError", "data": {}}, "truncated"),
        ({"name": "APIError", "data": {"message": "no quota"}}, "error"),
    ],
)
def test_the_error_of_the_last_answer_is_the_outcome(
    tmp_path: Path, error: Row, status: str
) -> None:
    row = session(ASK, message("m2", "assistant", text("yes"), error=error))
    assert read_one(tmp_path, row).outcome.status == status
