from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import formats_of
from tests.source_files import detect_format, read_file

REAL = Path(__file__).parents[3] / "shared" / "data" / "swe_agent"

SYSTEM = {"role": "system", "content": "Rules.", "agent": "main", "message_type": "system_prompt"}
ISSUE = {"role": "user", "content": "Mend it.", "agent": "main", "message_type": "observation"}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "bash", "arguments": '{"command":"ls"}'},
}
CALLING = {
    "role": "assistant",
    "content": "Look.",
    "thought": "Look.",
    "action": "ls",
    "agent": "main",
    "tool_calls": [CALL],
}
SEEN = {
    "role": "tool",
    "content": "a.py",
    "agent": "main",
    "tool_call_ids": ["c1"],
    "message_type": "observation",
}
SUBMITTING = {
    "role": "assistant",
    "content": "Done.\n```\nsubmit\n```",
    "action": "submit\n",
    "agent": "main",
}


def read_one(tmp_path: Path, value: Any, name: str = "repo__1.traj") -> Trajectory | Problem:
    path = tmp_path / name
    path.write_text(json.dumps(value))
    [item] = read_file("swe_agent", path)
    return item


def read_good(tmp_path: Path, value: Any, name: str = "repo__1.traj") -> Trajectory:
    item = read_one(tmp_path, value, name)
    assert isinstance(item, Trajectory), item
    return item


def test_tool_calls_are_steps_with_their_actions_and_results(tmp_path: Path) -> None:
    trajectory = read_good(
        tmp_path,
        {
            "history": [SYSTEM, ISSUE, CALLING, SEEN, SUBMITTING],
            "info": {"exit_status": "submitted"},
        },
    )
    assert [message.role for message in trajectory.prompt] == ["system"]
    assert [step.response.content for step in trajectory.steps] == [
        "Look.",
        "Done.\n```\nsubmit\n```",
    ]
    assert [step.action for step in trajectory.steps] == ["ls", "submit\n"]
    assert trajectory.steps[0].response.tool_calls[0].arguments == '{"command":"ls"}'
    assert [(m.role, m.tool_call_id, m.content) for m in trajectory.steps[1].observation] == [
        ("tool", "c1", "a.py")
    ]
    assert (trajectory.task.id, trajectory.outcome.status) == ("repo__1", "unknown")


def test_the_observation_after_the_last_action_is_taken_from_the_executed_steps(
    tmp_path: Path,
) -> None:
    executed = [{"action": "submit\n", "observation": "diff", "response": "Done.", "thought": ""}]
    trajectory = read_good(
        tmp_path, {"history": [SYSTEM, ISSUE, SUBMITTING], "trajectory": executed}
    )
    assert [message.content for message in trajectory.final_observation] == ["diff"]


def test_demonstrations_are_prompt(tmp_path: Path) -> None:
    demonstration = [{**ISSUE, "is_demo": True}, {**SUBMITTING, "is_demo": True}]
    trajectory = read_good(tmp_path, {"history": [SYSTEM, *demonstration, ISSUE, CALLING]})
    assert (len(trajectory.prompt), len(trajectory.steps)) == (3, 1)


def test_thinking_is_reasoning(tmp_path: Path) -> None:
    trajectory = read_good(
        tmp_path,
        {
            "history": [
                SYSTEM,
                ISSUE,
                {**CALLING, "thinking_blocks": [{"type": "thinking", "thinking": "hm"}]},
            ]
        },
    )
    assert trajectory.steps[0].response.reasoning == "hm"


def test_without_a_history_what_was_seen_is_the_query_or_the_observation_before(
    tmp_path: Path,
) -> None:
    plain = [
        {"action": "ls", "observation": "a.py", "response": "Look."},
        {"action": "submit", "observation": "diff", "response": "Done."},
    ]
    trajectory = read_good(tmp_path, {"trajectory": plain})
    assert [[message.content for message in step.observation] for step in trajectory.steps] == [
        [],
        ["a.py"],
    ]
    assert [message.content for message in trajectory.final_observation] == ["diff"]
    first = [{"role": "system", "content": "Rules."}, {"role": "user", "content": "Mend it."}]
    second = [
        *first,
        {"role": "assistant", "content": "Look."},
        {"role": "user", "content": "OBSERVATION: a.py"},
    ]
    trajectory = read_good(
        tmp_path, {"trajectory": [{**plain[0], "query": first}, {**plain[1], "query": second}]}
    )
    assert [message.content for message in trajectory.prompt] == ["Rules."]
    assert [[message.content for message in step.observation] for step in trajectory.steps] == [
        ["Mend it."],
        ["OBSERVATION: a.py"],
    ]
    assert [step.action for step in trajectory.steps] == ["ls", "submit"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("submitted", "unknown"),
        ("Submitted", "unknown"),
        ("submitted (exit_cost)", "truncated"),
        ("exit_context", "truncated"),
        ("LimitsExceeded", "truncated"),
        ("exit_environment_error", "error"),
        ("submitted (exit_error)", "error"),
        ("ContextWindowExceededError", "error"),
        ("exit_forfeit", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_exit_status_tells_of_limits_and_errors_and_never_of_success(
    tmp_path: Path, status: str | None, expected: str
) -> None:
    assert (
        read_good(
            tmp_path, {"history": [SYSTEM, ISSUE, CALLING], "info": {"exit_status": status}}
        ).outcome.status
        == expected
    )


@pytest.mark.parametrize("written", [str, lambda text: json.loads(text)])
def test_the_task_is_the_instance_that_the_replay_config_names(
    tmp_path: Path, written: Any
) -> None:
    config = written(json.dumps({"problem_statement": {"id": "django__7"}}))
    assert (
        read_good(tmp_path, {"history": [SYSTEM, ISSUE, CALLING], "replay_config": config}).task.id
        == "django__7"
    )


def test_a_run_of_mini_swe_agent_is_read_and_is_no_openai_chat(tmp_path: Path) -> None:
    run = {
        "info": {"exit_status": "Submitted", "submission": "diff", "mini_version": "2.0.0"},
        "messages": [
            {"role": "system", "content": "Rules."},
            {"role": "user", "content": "Mend it."},
            {"role": "assistant", "content": "Look.", "extra": {"actions": [{"command": "ls"}]}},
            {"role": "user", "content": "a.py", "extra": {"returncode": 0}},
            {
                "role": "assistant",
                "content": "Done.",
                "extra": {"actions": [{"command": "echo COMPLETE"}]},
            },
            {"role": "exit", "content": "diff", "extra": {"exit_status": "Submitted"}},
        ],
        "trajectory_format": "mini-swe-agent-1.1",
        "instance_id": "django__8",
    }
    trajectory = read_good(tmp_path, run, "django__8.traj.json")
    assert [step.action for step in trajectory.steps] == ["ls", "echo COMPLETE"]
    assert [(message.role, message.content) for message in trajectory.final_observation] == [
        ("user", "diff")
    ]
    assert (trajectory.task.id, trajectory.source.details["trajectory_format"]) == (
        "django__8",
        "mini-swe-agent-1.1",
    )
    assert detect_format(tmp_path / "django__8.traj.json") == "swe_agent"
    assert formats_of(run) == ["swe_agent"]


def test_answers_of_the_responses_api_are_read_in_a_run_of_mini_swe_agent(tmp_path: Path) -> None:
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Look."}],
        },
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "bash",
            "arguments": '{"command": "ls"}',
        },
    ]
    messages = [
        {"role": "user", "content": "Mend it."},
        {
            "object": "response",
            "output": output,
            "extra": {"actions": [{"command": "ls", "tool_call_id": "c1"}]},
        },
        {"type": "function_call_output", "call_id": "c1", "output": "a.py"},
    ]
    trajectory = read_good(
        tmp_path, {"messages": messages, "trajectory_format": "mini-swe-agent-1.1"}
    )
    [step] = trajectory.steps
    assert (step.response.content, step.response.reasoning, step.action) == ("Look.", "hm", "ls")
    assert (step.response.tool_calls[0].id, step.response.tool_calls[0].name) == ("c1", "bash")
    assert [
        (message.tool_call_id, message.content) for message in trajectory.final_observation
    ] == [("c1", "a.py")]


@pytest.mark.parametrize(
    ("bad", "where", "reason"),
    [
        ([1], "row 0", "not a run"),
        ({"history": []}, "row 0", "no step"),
        ({"history": [SYSTEM, ISSUE]}, "row 0", "no step"),
        (
            {"history": [SYSTEM, {**ISSUE, "role": "robot"}, CALLING]},
            "message 1",
            "role is 'robot'",
        ),
        ({"history": [SYSTEM, {**ISSUE, "content": 7}, CALLING]}, "message 1", "content is 7"),
        ({"history": [SYSTEM, "x"]}, "row 0", "expected a list of objects"),
        ({"trajectory": [{"action": "a", "response": None}]}, "message 0", "response is None"),
    ],
)
def test_a_bad_run_is_a_problem_that_says_why(
    tmp_path: Path, bad: Any, where: str, reason: str
) -> None:
    problem = read_one(tmp_path, [bad] if not isinstance(bad, list) else bad)
    assert isinstance(problem, Problem)
    assert problem.where.endswith(where)
    assert reason in problem.reason


@pytest.mark.skipif(not REAL.exists(), reason="the real trajectories of SWE-agent are not here")
def test_real_files_import_with_all_their_steps_and_tool_calls() -> None:
    counts = {}
    for path in sorted(REAL.glob("*.traj")):
        assert detect_format(path) == "swe_agent"
        [trajectory] = read_file("swe_agent", path)
        assert isinstance(trajectory, Trajectory)
        told = [
            message
            for message in json.loads(path.read_text())["history"]
            if message["role"] == "assistant"
        ]
        assert [step.response.content for step in trajectory.steps] == [
            message["content"] for message in told
        ]
        assert [step.action for step in trajectory.steps] == [message["action"] for message in told]
        assert len(trajectory.final_observation) == 1
        counts[path.name] = (
            len(trajectory.steps),
            sum(len(step.response.tool_calls) for step in trajectory.steps),
        )
    assert counts == {
        "function_calling_simple.traj": (5, 5),
        "marshmallow-1867.function_calling.traj": (11, 11),
        "marshmallow-1867.thought_action.traj": (14, 0),
    }


def test_a_last_step_that_the_history_lacks_is_taken_from_the_executed_steps(
    tmp_path: Path,
) -> None:
    history = [
        {"role": "system", "content": "Rules.", "agent": "main", "message_type": "system_prompt"},
        {"role": "user", "content": "Fix it.", "agent": "main", "message_type": "observation"},
        {"role": "assistant", "content": "I look.", "agent": "main", "action": "ls"},
        {"role": "user", "content": "a.py", "agent": "main", "message_type": "observation"},
    ]
    executed = [
        # The same step, spelled otherwise.
        {"action": "ls", "response": "I look. ", "observation": "a.py", "thought": "I look"},
        {"action": "submit", "response": "I submit it.", "observation": "diff --git"},
    ]
    path = tmp_path / "run.traj"
    path.write_text(json.dumps({"history": history, "trajectory": executed, "info": {}}))
    [trajectory] = read_file("swe_agent", path)
    assert isinstance(trajectory, Trajectory)
    assert [step.response.content for step in trajectory.steps] == ["I look.", "I submit it."]
    assert trajectory.steps[1].action == "submit"
    assert [message.content for message in trajectory.final_observation] == ["diff --git"]


@pytest.mark.parametrize("is_text", [False, True])
def test_a_row_of_swe_smith_holds_a_history_and_says_whether_it_is_resolved(
    tmp_path: Path, is_text: bool
) -> None:
    answer = {
        "role": "assistant",
        "content": "I look.",
        "thought": "I look.",
        "action": "ls",
        "agent": "main",
        "message_type": "action",
        "tool_calls": [CALL],
    }
    result = {
        "role": "tool",
        "content": [{"type": "text", "text": "a.py"}],
        "agent": "main",
        "message_type": "observation",
        "tool_call_ids": ["c1"],
    }
    messages: Any = [SYSTEM, ISSUE, answer, result, {**answer, "tool_calls": None}]
    row = {
        "instance_id": "a__b-1",
        "traj_id": "t1",
        "messages": json.dumps(messages) if is_text else messages,
        "resolved": False,
        "model": "m",
        "patch": "diff",
    }
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row]))
    assert detect_format(path) == "swe_agent"
    [trajectory] = read_file("swe_agent", path)
    assert isinstance(trajectory, Trajectory)
    assert [len(step.response.tool_calls) for step in trajectory.steps] == [1, 0]
    [seen] = trajectory.steps[1].observation
    assert (seen.tool_call_id, seen.content) == ("c1", "a.py")
    assert (trajectory.task.id, trajectory.outcome.status) == ("a__b-1", "failure")
    assert "tests of the issue" in (trajectory.outcome.reason or "")
    assert trajectory.source.details["patch"] == "diff"


def test_reasoning_that_only_the_kept_answer_of_mini_has_is_read(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "I look.", "reasoning_content": "I wonder."}
    kept = {"response": {"choices": [{"message": answer}]}, "actions": [{"command": "ls"}]}
    messages = [
        {"role": "system", "content": "Rules."},
        {"role": "user", "content": "Fix it."},
        {"role": "assistant", "content": "I look.", "extra": kept},
    ]
    path = tmp_path / "run.traj.json"
    row = {"messages": messages, "trajectory_format": "mini-swe-agent-1", "info": {}}
    path.write_text(json.dumps(row))
    [trajectory] = read_file("swe_agent", path)
    assert isinstance(trajectory, Trajectory)
    assert trajectory.steps[0].response.reasoning == "I wonder."
    assert trajectory.steps[0].action == "ls"


@pytest.mark.parametrize(
    ("fields", "status", "score"),
    [
        ({"info": {"exit_status": "submitted", "resolved": True}}, "success", None),
        ({"info": {"exit_status": "exit_cost"}, "resolved": "False"}, "failure", None),
        ({"instance_id": "a__b-1", "report": {"a__b-1": {"resolved": 1}}}, "success", None),
        ({"info": {"exit_status": "submitted", "reward": 0.5}}, "unknown", 0.5),
        ({"info": {"exit_status": "submitted"}, "resolved": 1, "reward": 0}, "unknown", 0.0),
        ({"info": {"exit_status": "exit_cost"}, "reward": 1}, "truncated", 1.0),
    ],
)
def test_what_an_evaluation_wrote_into_the_document_is_the_outcome(
    fields: dict[str, Any], status: str, score: float | None, tmp_path: Path
) -> None:
    history = [
        {"role": "system", "content": "Be brief.", "agent": "main"},
        {"role": "user", "content": "Fix it.", "agent": "main"},
        {"role": "assistant", "content": "Done.", "agent": "main", "action": "submit"},
    ]
    path = tmp_path / "run.traj"
    path.write_text(json.dumps({"history": history, "trajectory": [], **fields}))
    (made,) = read_file("swe_agent", path)
    assert isinstance(made, Trajectory)
    assert (made.outcome.status, made.outcome.score) == (status, score)
    assert made.outcome.reason
