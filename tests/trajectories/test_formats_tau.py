from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import formats_of
from tests.source_files import detect_format, read_file

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"
real_data = pytest.mark.skipif(
    not SHARED.is_dir(),
    reason="the folder shared/data with real trajectories is not beside the repository",
)

POLICY = {"role": "system", "content": "# Airline Agent Policy\n\nBe kind."}
USER = {"role": "user", "content": "Book."}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "function": {"name": "book", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "book", "content": "done"}
BYE = {"role": "assistant", "content": "Booked."}


def tau(**fields: Any) -> dict[str, Any]:
    info = {"task": {"instruction": "You want to fly."}}
    return {
        "task_id": 3,
        "reward": 1.0,
        "info": info,
        "traj": [POLICY, USER, CALL, RESULT, BYE],
        "trial": 0,
        **fields,
    }


GREETING = {
    "role": "assistant",
    "content": "Hi! How can I help you today?",
    "tool_calls": None,
    "turn_idx": 0,
    "cost": 0.0,
}
SAID = {
    "role": "assistant",
    "content": "Restart it.",
    "tool_calls": None,
    "turn_idx": 2,
    "cost": 0.1,
    "raw_data": {"model": "m"},
}
USERS_CALL = {
    "role": "user",
    "content": None,
    "tool_calls": [
        {"id": "u1", "name": "restart", "arguments": {"now": True}, "requestor": "user"}
    ],
}
USERS_RESULT = {
    "id": "u1",
    "role": "tool",
    "content": "restarted",
    "requestor": "user",
    "error": False,
}
TWO_CALLS = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": id_, "name": "check", "arguments": {"line": 1}, "requestor": "assistant"}
        for id_ in ("a1", "a2")
    ],
}
TWO_RESULTS = {
    "role": "tool",
    "tool_messages": [
        {"id": id_, "role": "tool", "content": f"result {id_}", "requestor": "assistant"}
        for id_ in ("a2", "a1")
    ],
}


def simulation(**fields: Any) -> dict[str, Any]:
    return {
        "id": "s-1",
        "task_id": "[mobile]slow",
        "termination_reason": "user_stop",
        "reward_info": {"reward": 1.0},
        "messages": [
            GREETING,
            USER,
            SAID,
            USERS_CALL,
            USERS_RESULT,
            USER,
            TWO_CALLS,
            TWO_RESULTS,
            SAID,
            USER,
        ],
        "trial": 2,
        "seed": 7,
        **fields,
    }


def results(*simulations: Any) -> dict[str, Any]:
    return {
        "timestamp": "2026-01-01",
        "info": {
            "agent_info": {"llm": "m"},
            "user_info": {"llm": "u"},
            "environment_info": {
                "domain_name": "telecom",
                "policy": "Be kind.",
                "tool_defs": {"check": {"name": "check"}},
            },
        },
        "tasks": [
            {
                "id": "[mobile]slow",
                "user_scenario": {"instructions": {"reason_for_call": "It is slow."}},
            }
        ],
        "simulations": list(simulations),
    }


def read(tmp_path: Path, value: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(value))
    return read_file("tau", path)


def read_good(tmp_path: Path, value: Any) -> Trajectory:
    [item] = read(tmp_path, value)
    assert isinstance(item, Trajectory), item
    return item


def test_a_result_of_tau_bench_is_a_trajectory(tmp_path: Path) -> None:
    trajectory = read_good(tmp_path, [tau()])
    assert (trajectory.task.environment, trajectory.task.group, trajectory.task.id) == (
        "tau_bench",
        "airline",
        "airline-3",
    )
    assert (trajectory.task.goal, trajectory.source.details) == ("You want to fly.", {"trial": 0})
    assert [message.role for message in trajectory.prompt] == ["system"]
    assert [[message.content for message in step.observation] for step in trajectory.steps] == [
        ["Book."],
        ["done"],
    ]
    assert [call.name for call in trajectory.steps[0].response.tool_calls] == ["book"]


@pytest.mark.parametrize(
    ("fields", "status", "score"),
    [
        ({"reward": 1.0}, "success", 1.0),
        ({"reward": 0}, "failure", 0.0),
        ({"reward": None}, "unknown", None),
        ({"reward": 0.0, "info": {"error": "rate limit", "traceback": "…"}}, "error", 0.0),
    ],
)
def test_a_reward_of_one_is_success_unless_the_run_broke(
    tmp_path: Path, fields: Any, status: str, score: float | None
) -> None:
    outcome = read_good(tmp_path, [tau(**fields)]).outcome
    assert (outcome.status, outcome.score) == (status, score)
    assert outcome.reason


def test_a_document_of_tau2_holds_a_trajectory_for_each_simulation(tmp_path: Path) -> None:
    document = results(
        simulation(), {"task_id": "x", "messages": []}, simulation(id="s-2", trial=3), 7
    )
    assert formats_of(document) == ["tau"]
    first, bad, second, worse = read(tmp_path, document)
    assert isinstance(first, Trajectory)
    assert isinstance(second, Trajectory)
    assert first.id != second.id
    assert (first.task.id, first.task.environment, first.task.group) == (
        "telecom-[mobile]slow",
        "tau2_bench",
        "telecom",
    )
    assert (first.task.goal, first.task.seed, first.tools) == (
        "It is slow.",
        7,
        ({"name": "check"},),
    )
    assert first.source.details == {
        "id": "s-1",
        "termination_reason": "user_stop",
        "trial": 2,
        "seed": 7,
        "model": "m",
        "user_model": "u",
    }
    assert isinstance(bad, Problem)
    assert isinstance(worse, Problem)
    assert (bad.where, bad.item) == ("file.json row 0, simulation 1", "x")
    assert "no 'messages'" in bad.reason


def test_the_policy_and_the_canned_greeting_are_prompt_and_the_users_own_tools_are_observed_as_text(
    tmp_path: Path,
) -> None:
    trajectory = read_good(tmp_path, results(simulation()))
    assert [(message.role, message.content) for message in trajectory.prompt] == [
        ("system", "Be kind."),
        ("assistant", "Hi! How can I help you today?"),
    ]
    assert [
        [(message.role, message.content) for message in step.observation]
        for step in trajectory.steps
    ] == [
        [("user", "Book.")],
        [
            ("user", '[tool call] restart {"now": true}'),
            ("user", "[tool result] restarted"),
            ("user", "Book."),
        ],
        [("tool", "result a1"), ("tool", "result a2")],
    ]
    assert [len(step.response.tool_calls) for step in trajectory.steps] == [0, 2, 0]
    assert [message.content for message in trajectory.final_observation] == ["Book."]


def test_a_generated_opening_is_a_step(tmp_path: Path) -> None:
    assert len(read_good(tmp_path, results(simulation(messages=[SAID, USER, SAID]))).steps) == 2


@pytest.mark.parametrize(
    ("reason", "reward", "status"),
    [
        ("agent_stop", 0.0, "failure"),
        ("max_steps", 0.0, "truncated"),
        ("context_window_exceeded", 0.0, "truncated"),
        ("too_many_errors", 0.0, "truncated"),
        ("agent_error", 0.0, "error"),
        ("infrastructure_error", None, "error"),
        ("user_stop", None, "unknown"),
    ],
)
def test_how_a_simulation_was_ended_comes_before_its_reward(
    tmp_path: Path, reason: str, reward: float | None, status: str
) -> None:
    info = None if reward is None else {"reward": reward}
    outcome = read_good(
        tmp_path, results(simulation(termination_reason=reason, reward_info=info))
    ).outcome
    assert (outcome.status, outcome.score) == (status, reward)


def test_a_simulation_may_be_a_file_of_its_own(tmp_path: Path) -> None:
    value = simulation(policy="Be kind.")
    assert formats_of(value) == ["tau"]
    trajectory = read_good(tmp_path, value)
    assert (trajectory.task.id, len(trajectory.steps), trajectory.prompt[0].content) == (
        "[mobile]slow",
        3,
        "Be kind.",
    )


@pytest.mark.parametrize(
    ("bad", "where", "reason"),
    [
        ([tau(traj=[])], "row 0", "holds no messages"),
        ([tau(traj=[], info={"error": "rate limit"})], "row 0", "the run broke: rate limit"),
        ([tau(traj=[USER])], "row 0", "no assistant message"),
        ([tau(traj=[USER, 7])], "message 1", "7 is not a message"),
        ([tau(reward="high")], "row 0", "reward is 'high'"),
        ([tau(task_id=None)], "row 0", "task_id is None"),
        (results(), "row 0", "'simulations' is empty"),
        (results(simulation(messages=None, ticks=[])), "simulation 0", "not read"),
        (
            results(simulation(messages=[USER, {**USERS_CALL, "tool_calls": [7]}])),
            "simulation 0, message 1",
            "no function name",
        ),
        ({"text": "hi"}, "row 0", "neither 'traj'"),
    ],
)
def test_a_bad_row_is_a_problem_that_says_where_and_why(
    tmp_path: Path, bad: Any, where: str, reason: str
) -> None:
    [problem] = read(tmp_path, bad)
    assert isinstance(problem, Problem)
    assert where in problem.where
    assert reason in problem.reason


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
@pytest.mark.parametrize("is_choice", [True, False])
def test_reasoning_is_read_from_the_models_own_answer(
    key: str, is_choice: bool, tmp_path: Path
) -> None:
    answer = {"message": {"role": "assistant", "content": "Restart it.", key: "It may help."}}
    raw = answer if is_choice else {"model": "m", "choices": [answer]}
    messages = [GREETING, USER, {**SAID, "raw_data": raw}]
    [step] = read_good(tmp_path, results(simulation(messages=messages))).steps
    assert step.response.reasoning == "It may help."


def test_the_rule_of_success_is_stored(tmp_path: Path) -> None:
    outcome = read_good(tmp_path, results(simulation())).outcome
    assert outcome.reason == "the benchmark counts a reward of 1 as success"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"timestamp": "t", "info": {"environment_info": {}}, "tasks": []}, "separate files"),
        ({"task_id": "1", "termination_reason": "user_stop", "ticks": []}, "only 'ticks'"),
    ],
)
def test_results_without_messages_are_known_and_say_what_is_missing(
    value: Any, reason: str, tmp_path: Path
) -> None:
    assert formats_of(value) == ["tau"]
    [problem] = read(tmp_path, value)
    assert isinstance(problem, Problem)
    assert reason in problem.reason


def test_words_that_results_share_and_no_reader_knows_are_a_problem(tmp_path: Path) -> None:
    document = results(simulation())
    document["info"]["environment_info"]["tools"] = [{"description": "looks around"}]
    [problem] = read(tmp_path, document)
    assert isinstance(problem, Problem)
    assert "info.environment_info.tools.description" in problem.reason
    document = results(simulation(messages=[USER, {**SAID, "aside": "psst"}]))
    [problem] = read(tmp_path, document)
    assert isinstance(problem, Problem)
    assert problem.where.endswith("simulation 0, messages[1].aside")


@real_data
def test_real_results_are_read_with_all_their_steps_and_calls() -> None:
    path = SHARED / "tau_bench/gpt-4o-airline.20.json"
    assert detect_format(path) == "tau"
    items = read_file("tau", path)
    read = [item for item in items if isinstance(item, Trajectory)]
    raw = json.loads(path.read_bytes())
    assert len(read) == len(items) == len(raw) == 20
    assert Counter(trajectory.outcome.status for trajectory in read) == {
        "failure": 16,
        "success": 4,
    }
    assert sum(len(trajectory.steps) for trajectory in read) == 285
    assert (
        sum(len(step.response.tool_calls) for trajectory in read for step in trajectory.steps)
        == 123
    )
    assert {trajectory.task.group for trajectory in read} == {"airline"}
    for trajectory, row in zip(read, raw, strict=True):
        messages = [*trajectory.messages, *trajectory.final_observation]
        assert [(message.role, message.content) for message in messages] == [
            (message["role"], message["content"] or "") for message in row["traj"]
        ]
        assert [
            (call.id, call.name, call.arguments)
            for message in messages
            for call in message.tool_calls
        ] == [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for message in row["traj"]
            for call in message.get("tool_calls") or ()
        ]
