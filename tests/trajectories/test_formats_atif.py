from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from tests.source_files import detect_format, matches, read_file

REAL = Path(__file__).parents[3] / "shared" / "data" / "atif"

SYSTEM = {"source": "system", "message": "Rules."}
USER = {"source": "user", "message": "Go."}
AGENT = {"source": "agent", "message": "I go."}
CALLING = {
    "source": "agent",
    "message": "Both.",
    "reasoning_content": "hm",
    "tool_calls": [
        {"tool_call_id": "c1", "function_name": "look", "arguments": {"at": "door"}},
        {"tool_call_id": "c2", "function_name": "wait", "arguments": {}, "extra": {"x": 1}},
    ],
    "observation": {
        "results": [
            {"source_call_id": "c2", "content": "waited"},
            {"source_call_id": "c1", "content": "a door"},
        ]
    },
}


def document(*steps: Any, **fields: Any) -> dict[str, Any]:
    numbered = [{"step_id": index + 1, **step} for index, step in enumerate(steps)]
    return {
        "schema_version": "ATIF-v1.7",
        "session_id": "s1",
        "agent": {"name": "a", "version": "1"},
        "steps": numbered,
        **fields,
    }


def read(tmp_path: Path, value: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "trajectory.json"
    path.write_text(json.dumps(value))
    return read_file("atif", path)


def read_good(tmp_path: Path, value: Any) -> Trajectory:
    [item] = read(tmp_path, value)
    assert isinstance(item, Trajectory), item
    return item


def test_agent_steps_are_steps_and_results_stand_in_the_order_of_the_calls(tmp_path: Path) -> None:
    trajectory = read_good(tmp_path, document(SYSTEM, USER, CALLING, AGENT))
    assert [message.content for message in trajectory.prompt] == ["Rules."]
    assert [step.response.content for step in trajectory.steps] == ["Both.", "I go."]
    assert trajectory.steps[0].response.reasoning == "hm"
    assert [
        (call.id, call.name, call.arguments) for call in trajectory.steps[0].response.tool_calls
    ] == [
        ("c1", "look", '{"at": "door"}'),
        ("c2", "wait", "{}"),
    ]
    assert [(m.role, m.tool_call_id, m.content) for m in trajectory.steps[1].observation] == [
        ("tool", "c1", "a door"),
        ("tool", "c2", "waited"),
    ]
    assert (trajectory.task.id, trajectory.outcome.status) == ("s1", "unknown")
    assert trajectory.steps[0].annotation is None


@pytest.mark.parametrize("version", [f"ATIF-v1.{minor}" for minor in range(9)])
def test_every_version_is_read_and_unknown_fields_are_passed_over(
    tmp_path: Path, version: str
) -> None:
    value = document(
        {**USER, "novel": [1]},
        {**AGENT, "metrics": {"cost_usd": 1.0}},
        schema_version=version,
        novel={"a": 1},
    )
    assert matches("atif", value)
    assert len(read_good(tmp_path, value).steps) == 1


def test_extra_and_final_metrics_are_kept_in_the_details(tmp_path: Path) -> None:
    value = document(
        USER,
        {**AGENT, "extra": {"k": 1}},
        extra={"run": 7},
        final_metrics={"total_cost_usd": 0.5},
        notes="n",
    )
    details = read_good(tmp_path, value).source.details
    assert (details["extra"], details["final_metrics"], details["notes"]) == (
        {"run": 7},
        {"total_cost_usd": 0.5},
        "n",
    )
    assert details["step_extra"] == {"2": {"k": 1}}
    assert details["agent"] == {"name": "a", "version": "1"}


def test_copied_context_that_leads_is_prompt(tmp_path: Path) -> None:
    copied = [{**step, "is_copied_context": True} for step in (SYSTEM, USER, CALLING)]
    trajectory = read_good(tmp_path, document(*copied, USER, AGENT))
    assert [message.role for message in trajectory.prompt] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
    ]
    assert [[message.content for message in step.observation] for step in trajectory.steps] == [
        ["Go."]
    ]


def test_a_copied_agent_step_after_own_steps_is_a_problem_and_a_copied_notice_is_not(
    tmp_path: Path,
) -> None:
    [problem] = read(tmp_path, document(USER, AGENT, {**AGENT, "is_copied_context": True}))
    assert isinstance(problem, Problem)
    assert problem.where.endswith("message 2")
    assert "is_copied_context" in problem.reason
    assert (
        len(
            read_good(
                tmp_path, document(USER, AGENT, {**SYSTEM, "is_copied_context": True}, AGENT)
            ).steps
        )
        == 2
    )


def test_steps_that_no_model_wrote_are_left_unmarked(tmp_path: Path) -> None:
    trajectory = read_good(
        tmp_path,
        document(USER, {**AGENT, "llm_call_count": 0}, {**AGENT, "llm_call_count": 1}, AGENT),
    )
    assert [
        step.annotation is not None and step.annotation.is_marked for step in trajectory.steps
    ] == [False, True, True]


def test_results_without_a_call_answer_the_text_or_the_calls_of_the_turn(tmp_path: Path) -> None:
    loose = {"observation": {"results": [{"content": "done"}]}}
    trajectory = read_good(
        tmp_path, document(USER, {**AGENT, **loose}, {**CALLING, **loose}, AGENT)
    )
    assert [step.observation[0].role for step in trajectory.steps] == ["user", "user", "tool"]


def test_parts_that_are_no_text_leave_a_mark(tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": "Look: "},
        {"type": "image", "source": {"media_type": "image/png", "path": "a.png"}},
    ]
    assert (
        read_good(tmp_path, document({**USER, "message": parts}, AGENT))
        .steps[0]
        .observation[0]
        .content
        == "Look: [image]"
    )


def test_embedded_sub_agents_are_trajectories_that_name_their_parent(tmp_path: Path) -> None:
    inner = {**document(USER, AGENT), "trajectory_id": "inner"}
    outer = {**document(USER, AGENT), "trajectory_id": "outer", "subagent_trajectories": [inner]}
    call = {
        **CALLING,
        "observation": {
            "results": [
                {"source_call_id": "c1", "subagent_trajectory_ref": [{"trajectory_id": "outer"}]}
            ]
        },
    }
    items = read(
        tmp_path, document(USER, call, AGENT, trajectory_id="main", subagent_trajectories=[outer])
    )
    trajectories = [item for item in items if isinstance(item, Trajectory)]
    assert [trajectory.task.id for trajectory in trajectories] == ["main", "outer", "inner"]
    assert trajectories[0].steps[1].observation[0].content == "[sub-agent outer]"
    assert "parent" not in trajectories[0].source.details
    assert [t.source.details["parent"] for t in trajectories[1:]] == [
        t.id for t in trajectories[:2]
    ]
    assert len({trajectory.id for trajectory in trajectories}) == 3


@pytest.mark.parametrize(
    ("bad", "where", "reason"),
    [
        ({"steps": []}, "row 0", "no 'schema_version'"),
        (
            document(schema_version="ATIF-v2.0"),
            "row 0",
            "'ATIF-v2.0', expected ATIF-v1.0 to ATIF-v1.8",
        ),
        (document(), "row 0", "no step"),
        (document(USER), "row 0", "no step"),
        (document({"source": "robot", "message": "x"}), "message 0", "source is 'robot'"),
        (document(USER, {**AGENT, "message": 7}), "message 1", "content is 7"),
        (
            document(USER, {**AGENT, "tool_calls": [{"function_name": None}]}),
            "message 1",
            "no function name",
        ),
        (
            document({**USER, "tool_calls": CALLING["tool_calls"]}, AGENT),
            "message 0",
            "only stand on agent steps",
        ),
        (
            document(USER, {**AGENT, "observation": {"results": 7}}),
            "message 1",
            "expected a list of objects",
        ),
    ],
)
def test_a_bad_document_is_a_problem_that_says_why(
    tmp_path: Path, bad: Any, where: str, reason: str
) -> None:
    [problem] = read(tmp_path, bad)
    assert isinstance(problem, Problem)
    assert problem.where.endswith(where)
    assert reason in problem.reason


@pytest.mark.skipif(not REAL.exists(), reason="the real ATIF documents are not here")
def test_real_files_import_with_all_their_steps_and_tool_calls() -> None:
    counts = {}
    for path in sorted(REAL.glob("*.json")):
        assert detect_format(path) == "atif"
        [trajectory] = read_file("atif", path)
        assert isinstance(trajectory, Trajectory)
        told = [step for step in json.loads(path.read_text())["steps"] if step["source"] == "agent"]
        assert [step.response.content for step in trajectory.steps] == [
            step["message"] for step in told
        ]
        calls = sum(len(step.response.tool_calls) for step in trajectory.steps)
        assert calls == sum(len(step.get("tool_calls", [])) for step in told)
        counts[path.name] = (
            len(trajectory.steps),
            calls,
            len(trajectory.tools),
            len(trajectory.messages) + len(trajectory.final_observation),
        )
    assert counts == {
        "openhands_hello-world.trajectory.json": (2, 2, 6, 7),
        "openhands_hello-world.trajectory.no_function_calling.json": (2, 0, 0, 5),
    }
