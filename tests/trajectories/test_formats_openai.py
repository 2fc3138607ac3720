from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.openai import OpenAIFormat

USER = {"role": "user", "content": "Go."}
AGENT = {"role": "assistant", "content": "Thought: hm\nAction: go"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "door"}'}}
TOOL = {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "a door"}


def read_one(tmp_path: Path, value: Any) -> Trajectory | Problem:
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(value) + "\n\n")
    [item] = OpenAIFormat().read(path)
    return item


def read_good(tmp_path: Path, value: Any) -> Trajectory:
    item = read_one(tmp_path, value)
    assert isinstance(item, Trajectory), item
    return item


@pytest.mark.parametrize("wrap", [lambda chat: {"messages": chat}, lambda chat: {"conversations": chat}, lambda chat: chat])
def test_messages_may_stand_under_either_key_or_bare(tmp_path: Path, wrap: Any) -> None:
    value = wrap([{"role": "system", "content": "Rules."}, USER, AGENT, USER])
    assert OpenAIFormat().matches(value)
    trajectory = read_good(tmp_path, value)
    assert [message.role for message in trajectory.prompt] == ["system"]
    assert [(step.observation[0].content, step.action) for step in trajectory.steps] == [("Go.", "go")]
    assert [message.content for message in trajectory.final_observation] == ["Go."]
    assert trajectory.outcome.status == "unknown"
    assert trajectory.id == trajectory.task.id


def test_instructions_and_their_acknowledgement_are_prompt(tmp_path: Path) -> None:
    trajectory = read_good(tmp_path, [USER, {"role": "assistant", "content": "OK."}, USER, AGENT])
    assert (len(trajectory.prompt), len(trajectory.steps)) == (2, 1)


@pytest.mark.parametrize("first", ["OK, I open the door.", "ok computer"])
def test_a_real_first_answer_is_a_step(tmp_path: Path, first: str) -> None:
    assert len(read_good(tmp_path, [USER, {"role": "assistant", "content": first}, USER, AGENT]).steps) == 2


def test_a_conversation_of_an_acknowledgement_alone_is_a_step(tmp_path: Path) -> None:
    assert len(read_good(tmp_path, [USER, {"role": "assistant", "content": "OK."}]).steps) == 1


def test_parallel_tool_calls_are_one_step_and_their_answers_the_next_observation(tmp_path: Path) -> None:
    second = {"id": "c2", "function": {"name": "wait", "arguments": {"seconds": 1, "why": "é"}}}
    calling = {"role": "assistant", "content": None, "reasoning_content": "both at once", "tool_calls": [CALL, second]}
    trajectory = read_good(
        tmp_path, [USER, calling, TOOL, {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "ok"}]}, AGENT]
    )
    assert len(trajectory.steps) == 2
    response = trajectory.steps[0].response
    assert (response.content, response.reasoning) == ("", "both at once")
    assert [(call.id, call.name, call.arguments) for call in response.tool_calls] == [
        ("c1", "look", '{"at": "door"}'),
        ("c2", "wait", '{"seconds": 1, "why": "é"}'),
    ]
    assert [(message.role, message.tool_call_id, message.name, message.content) for message in trajectory.steps[1].observation] == [
        ("tool", "c1", "look", "a door"),
        ("tool", "c2", None, "ok"),
    ]


@pytest.mark.parametrize(
    ("fields", "status", "score"),
    [
        ({}, "unknown", None),
        ({"success": True}, "success", None),
        ({"success": 1, "reward": 1}, "success", 1.0),
        ({"success": 0, "reward": 0}, "failure", 0.0),
        ({"success": False, "reward": None}, "failure", None),
        ({"success": 0, "reward": 0.89}, "unknown", 0.89),
        ({"reward": 1.0}, "unknown", 1.0),
    ],
)
def test_success_decides_the_outcome_and_a_reward_alone_does_not(
    tmp_path: Path, fields: dict[str, Any], status: str, score: float | None
) -> None:
    outcome = read_good(tmp_path, {"messages": [USER, AGENT], **fields}).outcome
    assert (outcome.status, outcome.score) == (status, score)
    assert outcome.reason or status != "unknown"


def test_the_row_names_its_task_and_its_plain_fields_are_kept(tmp_path: Path) -> None:
    row = {
        "messages": [USER, AGENT],
        "task_id": 4,
        "task_name": "airline",
        "model": "m",
        "sample_idx": 2,
        "info": {},
    }
    trajectory = read_good(tmp_path, row)
    assert (trajectory.task.id, trajectory.task.environment) == ("4", "airline")
    assert trajectory.source.details == {"task_name": "airline", "model": "m", "sample_idx": 2}
    assert trajectory.model_dump_json()
    assert read_good(tmp_path, {"messages": [USER, AGENT], "item_id": "textcraft_3"}).task.environment == "textcraft"


@pytest.mark.parametrize(
    ("bad", "where", "reason"),
    [
        ({"messages": []}, "row 0", "no messages"),
        ({"messages": "hello"}, "row 0", "no messages"),
        ({"text": "hello"}, "row 0", "no messages"),
        (7, "row 0", "no messages"),
        ([USER], "row 0", "no assistant message"),
        ([USER, {"role": "gpt", "content": ""}], "message 1", "role is 'gpt', expected one of system"),
        ([USER, {"role": ["assistant"]}], "message 1", "role is ['assistant']"),
        ({"messages": [USER, "hi"]}, "message 1", "'hi' is no message"),
        ([USER, {"role": "assistant", "content": 7}], "message 1", "content is 7"),
        ([USER, {"role": "assistant", "content": [{"type": "image_url"}]}], "message 1", "part 'image_url'"),
        ([USER, {"role": "assistant", "content": "", "reasoning": 7}], "message 1", "reasoning is 7"),
        ([{**USER, "tool_calls": [CALL]}, AGENT], "message 0", "assistant messages alone"),
        ([USER, {**AGENT, "tool_calls": {"a": 1}}], "message 1", "tool_calls are a list"),
        ([USER, {**AGENT, "tool_calls": [{"id": "c"}]}], "message 1", "no function name"),
        (
            [USER, {**AGENT, "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}],
            "message 1",
            "arguments of tool call 'f' are [1]",
        ),
        ({"messages": [USER, AGENT], "reward": "high"}, "row 0", "reward is 'high'"),
        ({"messages": [USER, AGENT], "reward": 10**400}, "row 0", "reward is"),
        ({"messages": [USER, AGENT], "success": "yes"}, "row 0", "success is 'yes'"),
        ({"messages": [USER, AGENT], "item_id": {}}, "row 0", "item_id is {}"),
        ([USER, {"role": "assistant", "content": "\ud800"}], "row 0", "half of a surrogate pair"),
        ({"messages": [USER, AGENT], "\ud800": 1}, "row 0", "half of a surrogate pair"),
    ],
)
def test_a_bad_row_is_a_problem_that_names_row_and_message(tmp_path: Path, bad: Any, where: str, reason: str) -> None:
    problem = read_one(tmp_path, bad)
    assert isinstance(problem, Problem)
    assert where in problem.where
    assert reason in problem.reason
    assert problem.model_dump_json()
