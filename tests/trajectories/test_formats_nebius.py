from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from tests.format_examples.nebius import nebius_row, turn
from tests.source_files import detect_format, matches, read_file

CASES = Path(__file__).parents[3] / "shared" / "data" / "import_cases"
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "execute_bash", "arguments": '{"command": "ls"}'},
}
OPENHANDS: dict[str, Any] = {
    "trajectory_id": "t1",
    "instance_id": "a__b-1",
    "repo": "a/b",
    "trajectory": [
        {"role": "system", "content": "Rules."},
        {"role": "user", "content": "Fix it."},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "a.py", "name": "execute_bash"},
        {"role": "assistant", "content": "Done.", "tool_calls": None},
    ],
    "tools": [{"type": "function", "function": {"name": "execute_bash"}}],
    "model_patch": "diff",
    "exit_status": "submit",
    "resolved": 1,
    "gen_tests_correct": None,
}


def read(tmp_path: Path, value: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(value))
    assert detect_format(path) == "nebius"
    return read_file("nebius", path)


def read_good(tmp_path: Path, value: Any) -> Trajectory:
    [item] = read(tmp_path, value)
    assert isinstance(item, Trajectory), item
    return item


@pytest.mark.parametrize("is_text", [False, True])
def test_a_run_of_openhands_is_a_chat_with_calls(tmp_path: Path, is_text: bool) -> None:
    row = dict(OPENHANDS)
    if is_text:
        row |= {key: json.dumps(row[key]) for key in ("trajectory", "tools")}
    trajectory = read_good(tmp_path, row)
    assert [message.content for message in trajectory.prompt] == ["Rules."]
    first, last = trajectory.steps
    assert [(call.id, call.name) for call in first.response.tool_calls] == [("c1", "execute_bash")]
    assert (last.observation[0].tool_call_id, last.observation[0].content) == ("c1", "a.py")
    assert last.response.content == "Done."
    assert trajectory.tools[0]["function"]["name"] == "execute_bash"
    assert (trajectory.task.id, trajectory.outcome.status) == ("a__b-1", "success")
    assert "tests of the issue" in (trajectory.outcome.reason or "")


def test_a_run_of_swe_agent_has_its_own_roles_and_keys(tmp_path: Path) -> None:
    trajectory = read_good(tmp_path, nebius_row([("Fix it.", "I look."), ("a.py", "Done.")], 0))
    assert [(message.role, message.content) for message in trajectory.messages] == [
        ("system", "Rules."),
        ("user", "Fix it."),
        ("assistant", "I look."),
        ("user", "a.py"),
        ("assistant", "Done."),
    ]
    assert trajectory.outcome.status == "failure"
    assert trajectory.source.details["exit_status"] == "submitted"


def test_a_turn_without_words_is_a_problem(tmp_path: Path) -> None:
    row = nebius_row([("Fix it.", "I look.")], 1)
    row["trajectory"].append({"mask": True, "role": "ai", "txt": "Lost?"})
    [problem] = read(tmp_path, row)
    assert isinstance(problem, Problem)
    assert problem.where.endswith("message 3")


def test_other_trajectories_are_not_claimed() -> None:
    rows: list[Any] = [
        {"trajectory": [{"action": "ls", "observation": "x", "response": "ls"}]},
        {"trajectory": [{"id": 0, "source": "user", "action": "message", "args": {}}]},
        {"trajectory": []},
        {"messages": [], "trajectory": [turn("user", "x")]},
        {"trajectory": [{"role": ["user"]}]},
        None,
    ]
    for row in rows:
        assert not matches("nebius", row)


@pytest.mark.skipif(not CASES.is_dir(), reason="the example files are not here")
def test_the_example_files_are_read() -> None:
    path = CASES / "refused" / "nebius_openhands.jsonl"
    assert detect_format(path) == "nebius"
    [trajectory] = read_file("nebius", path)
    assert isinstance(trajectory, Trajectory)
    assert [step.response.content for step in trajectory.steps] == ["", "end"]
    assert trajectory.steps[0].response.tool_calls[0].arguments == '{"command":"ls"}'
    assert trajectory.outcome.status == "success"
    path = CASES / "wrong" / "12_resolved.jsonl"
    found = [item for item in read_file("openai", path) if isinstance(item, Trajectory)]
    assert [(one.task.id, one.outcome.status) for one in found] == [
        ("a__b-1", "success"),
        ("a__b-2", "failure"),
    ]
