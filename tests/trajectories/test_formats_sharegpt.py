from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import formats_of
from tests.source_files import read_file

HUMAN = {"from": "human", "value": "Go."}
AGENT = {"from": "gpt", "value": "Action: go"}
CALL = {"from": "function_call", "value": '{"name": "look", "arguments": {"at": "door"}}'}
SEEN = {"from": "observation", "value": "a door"}
SCHEMA = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}


def read_one(tmp_path: Path, value: Any) -> Trajectory | Problem:
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(value) + "\n\n")
    [item] = read_file("sharegpt", path)
    return item


def read_good(tmp_path: Path, *turns: dict[str, Any], **fields: Any) -> Trajectory:
    item = read_one(tmp_path, {"conversations": turns, **fields})
    assert isinstance(item, Trajectory), item
    return item


def test_turns_of_calls_are_steps_and_their_results_observations(tmp_path: Path) -> None:
    trajectory = read_good(
        tmp_path, HUMAN, CALL, SEEN, AGENT, system="Rules.", tools=json.dumps([SCHEMA]), id="x_1"
    )
    assert [(message.role, message.content) for message in trajectory.prompt] == [
        ("system", "Rules.")
    ]
    assert trajectory.tools == (SCHEMA,)
    [calling, going] = trajectory.steps
    assert [(call.name, call.arguments) for call in calling.response.tool_calls] == [
        ("look", '{"at": "door"}')
    ]
    assert calling.response.content == ""
    assert [(message.role, message.content) for message in going.observation] == [
        ("tool", "a door")
    ]
    assert (going.response.content, going.action) == ("Action: go", "go")
    assert (trajectory.task.id, trajectory.source.name, trajectory.source.row) == (
        "x_1",
        "sharegpt",
        0,
    )
    assert trajectory.source.details == {}


def test_several_calls_in_one_turn_are_one_step(tmp_path: Path) -> None:
    calls = {
        "from": "function_call",
        "value": json.dumps([{"name": "look", "arguments": "{}"}, {"name": "go"}]),
    }
    [step] = read_good(tmp_path, HUMAN, calls).steps
    assert [(call.name, call.arguments) for call in step.response.tool_calls] == [
        ("look", "{}"),
        ("go", "{}"),
    ]


@pytest.mark.parametrize(
    "value", ["look at door", "[]", '{"at": "door"}', "7", "<think>hm</think>{"]
)
def test_calls_that_cannot_be_read_stay_the_verbatim_text(tmp_path: Path, value: str) -> None:
    [step] = read_good(tmp_path, HUMAN, {"from": "function_call", "value": value}).steps
    assert (step.response.content, step.response.tool_calls) == (value, ())


@pytest.mark.parametrize(
    ("who", "role"),
    [
        ("human", "user"),
        ("user", "user"),
        ("system", "system"),
        ("observation", "tool"),
        ("tool", "tool"),
        ("function_response", "tool"),
    ],
)
def test_everyone_who_is_not_the_agent_is_observed(tmp_path: Path, who: str, role: str) -> None:
    trajectory = read_good(tmp_path, HUMAN, AGENT, {"from": who, "value": "x"}, AGENT)
    assert [message.role for message in trajectory.steps[1].observation] == [role]


@pytest.mark.parametrize("who", ["gpt", "assistant", "chatgpt", "Assistant"])
def test_the_agent_has_several_names(tmp_path: Path, who: str) -> None:
    assert len(read_good(tmp_path, HUMAN, {**AGENT, "from": who}).steps) == 1


@pytest.mark.parametrize("key", ["weight", "train", "loss"])
def test_a_training_flag_becomes_an_annotation(tmp_path: Path, key: str) -> None:
    steps = read_good(tmp_path, HUMAN, {**AGENT, key: True}, HUMAN, {**CALL, key: False}).steps
    assert [step.annotation and step.annotation.is_marked for step in steps] == [True, False]


def test_a_canned_acknowledgement_is_prompt(tmp_path: Path) -> None:
    trajectory = read_good(tmp_path, HUMAN, {"from": "gpt", "value": "OK."}, HUMAN, AGENT)
    assert (len(trajectory.prompt), len(trajectory.steps)) == (2, 1)


@pytest.mark.parametrize(
    ("turns", "name"),
    [
        ([HUMAN, AGENT], "sharegpt"),
        ([{**HUMAN, "loss": None}, {**AGENT, "loss": True}], "agenttraj"),
        ([{**HUMAN, "loss": None}, AGENT], "sharegpt"),
        ([{**HUMAN, "loss": None}, {**AGENT, "loss": True}, {**AGENT, "loss": True}], "sharegpt"),
        ([{**HUMAN, "loss": None}, {**CALL, "loss": True}], "sharegpt"),
        (
            [
                {"from": "system", "value": "Rules.", "loss": None},
                {**HUMAN, "loss": None},
                {**AGENT, "loss": True},
            ],
            "sharegpt",
        ),
        ([{"role": "user", "content": "Go."}, {"role": "gpt", "content": "x"}], "openai"),
    ],
)
def test_a_row_is_of_one_format(turns: list[Any], name: str) -> None:
    assert formats_of({"conversations": turns, "item_id": "x_1"}) == [name]


@pytest.mark.parametrize(
    ("bad", "where", "reason"),
    [
        ({"conversations": []}, "row 0", "no turns"),
        ({"conversations": "hello"}, "row 0", "no turns"),
        ({"text": "hi"}, "row 0", "no turns"),
        ({"conversations": [{"role": "user", "content": "Go."}]}, "message 0", "role is None"),
        ({"conversations": [HUMAN]}, "row 0", "no assistant message"),
        (
            {"conversations": [HUMAN, {"from": "narrator", "value": ""}]},
            "message 1",
            "role is 'narrator'",
        ),
        ({"conversations": [HUMAN, {"from": "gpt", "value": 7}]}, "message 1", "content is 7"),
        ({"conversations": [HUMAN, "hi"]}, "message 1", "'hi' is not a message"),
        ({"conversations": [HUMAN, AGENT], "reward": "high"}, "row 0", "reward is 'high'"),
    ],
)
def test_a_bad_row_is_a_problem_that_names_row_and_message(
    tmp_path: Path, bad: Any, where: str, reason: str
) -> None:
    problem = read_one(tmp_path, bad)
    assert isinstance(problem, Problem)
    assert where in problem.where
    assert reason in problem.reason
