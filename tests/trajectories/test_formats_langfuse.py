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
from tests.format_examples.langfuse import langfuse_row
from tests.source_files import detect_format, read_file

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "import_cases" / "refused"
Part = dict[str, Any]
SYSTEM: Part = {"role": "system", "content": "Rules."}
USER: Part = {"role": "user", "content": "Go on."}
TOOL: Part = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALLING: Part = {
    "role": "assistant",
    "content": None,
    "reasoning_content": "Where?",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}
    ],
}
RESULT: Part = {"role": "tool", "tool_call_id": "c1", "content": "a cat"}
DONE: Part = {"role": "assistant", "content": "A cat."}


def observation(number: int, sent: Any, answered: Any, **fields: Any) -> Part:
    return {
        "id": f"o{number}",
        "traceId": "t1",
        "type": "GENERATION",
        "name": "chat",
        "startTime": f"2026-01-01T00:00:0{number}.000Z",
        "input": sent,
        "output": answered,
        "model": "small",
        "metadata": {"attributes": {"input.value": "(a copy)"}},
        **fields,
    }


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read(tmp_path: Path, *rows: Any, as_list: bool = False) -> list[Trajectory | Problem]:
    path = tmp_path / "observations.json"
    path.write_text(json.dumps(rows) if as_list else "\n".join(map(json.dumps, rows)))
    assert detect_format(path) == "langfuse"
    return read_file("langfuse", path)


def read_one(tmp_path: Path, *rows: Any, as_list: bool = False) -> Trajectory:
    [item] = read(tmp_path, *rows, as_list=as_list)
    assert isinstance(item, Trajectory), item
    return item


def check_door(trajectory: Trajectory) -> None:
    calling, done = trajectory.steps
    assert [(m.role, m.content) for m in trajectory.prompt] == [("system", "Rules.")]
    assert calling.observation[0].content == "Go on."
    assert calling.response.reasoning == "Where?"
    assert calling.response.tool_calls[0].arguments == '{"at": "it"}'
    assert (done.observation[0].tool_call_id, done.observation[0].content) == ("c1", "a cat")
    assert done.response.content == "A cat."
    assert trajectory.tools == (TOOL,)


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("is_table", [False, True])
def test_generations_of_a_trace_are_one_trajectory(
    tmp_path: Path, as_list: bool, is_table: bool
) -> None:
    sent = [SYSTEM, USER]
    rows = [
        observation(3, {"messages": [*sent, CALLING, RESULT], "tools": [TOOL]}, DONE),
        observation(2, {"at": "it"}, "a cat", type="TOOL", name="look"),
        observation(1, {"messages": sent, "tools": [TOOL]}, {"choices": [{"message": CALLING}]}),
    ]
    if is_table:
        rows = [{key: as_text(value) for key, value in row.items()} for row in rows]
    check_door(read_one(tmp_path, *rows, as_list=as_list))


def test_names_in_snake_case_and_pages_of_the_api_are_read(tmp_path: Path) -> None:
    rows = [
        {"trace_id" if key == "traceId" else key: value for key, value in row.items()}
        for row in (
            observation(1, {"tools": [TOOL], "messages": [SYSTEM, USER]}, CALLING),
            observation(2, [SYSTEM, USER, CALLING, RESULT], DONE),
        )
    ]
    for row in rows:
        row["start_time"] = row.pop("startTime")
    check_door(read_one(tmp_path, *rows))
    check_door(read_one(tmp_path, {"data": rows, "meta": {"page": 1}}))


def test_a_last_call_gets_its_result_from_the_run_of_the_tool(tmp_path: Path) -> None:
    trajectory = read_one(
        tmp_path,
        observation(1, [USER], CALLING),
        observation(2, {"at": "it"}, {"seen": 1}, type="TOOL", name="execute_tool look"),
    )
    [seen] = trajectory.final_observation
    assert (seen.tool_call_id, seen.content) == ("c1", '{"seen": 1}')


def test_parallel_results_find_their_calls_by_their_arguments(tmp_path: Path) -> None:
    calls = [
        {"id": f"c{at}", "type": "function", "function": {"name": "look", "arguments": at}}
        for at in ('{"at": "door"}', '{"at": "wall"}')
    ]
    trajectory = read_one(
        tmp_path,
        observation(1, [USER], {"role": "assistant", "content": "", "tool_calls": calls}),
        observation(3, {"at": "wall"}, "bricks", type="TOOL", name="look"),
        observation(4, {"input": {"at": "door"}}, "open", type="TOOL", name="look"),
    )
    assert [message.content for message in trajectory.final_observation] == ["open", "bricks"]


def test_a_result_that_no_model_saw_is_said(tmp_path: Path) -> None:
    path = tmp_path / "observations.jsonl"
    rows = [
        observation(1, [USER], DONE),
        observation(2, {}, "lost words", type="TOOL", name="other"),
        observation(3, {}, None, type="TOOL", name="other"),
        observation(4, {"a": 1}, {"b": 1}, type="SPAN", parentObservationId="o1"),
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    with SourceFile(path) as source:
        [line] = FORMAT.make(Choice("langfuse")).read(source)
    assert isinstance(line, TrajectoryLine)
    assert [text for _, text in line.remarks] == [
        "spans without model calls were not read: 1 SPAN, 1 tool without a result",
        "1 results of tools stand in no request",
    ]


def test_the_innermost_of_nested_generations_is_read(tmp_path: Path) -> None:
    outer = observation(1, {"prompt": "Go on."}, "A cat.", name="ai.generateText")
    inner = observation(2, [SYSTEM, USER], DONE, parentObservationId="o1")
    trajectory = read_one(tmp_path, outer, inner)
    assert [message.role for message in trajectory.prompt] == ["system"]


def test_agents_are_read_where_a_trace_has_no_generation(tmp_path: Path) -> None:
    root = observation(1, {"messages": [USER]}, {"messages": [USER, CALLING, RESULT, DONE]})
    trajectory = read_one(tmp_path, {**root, "type": "SPAN"})
    assert len(trajectory.steps) == 2


def test_a_trace_without_observations_is_its_input_and_output(tmp_path: Path) -> None:
    trace = {
        "id": "t1",
        "timestamp": "2026-01-01T00:00:00Z",
        "projectId": "p",
        "input": "Go on.",
        "output": "A cat.",
    }
    trajectory = read_one(tmp_path, trace)
    assert trajectory.steps[0].observation[0].content == "Go on."
    assert trajectory.steps[0].response.content == "A cat."


@pytest.mark.parametrize(
    ("score", "status"),
    [
        ({"name": "resolved", "value": 1, "dataType": "BOOLEAN"}, "success"),
        ({"name": "success", "value": 0, "dataType": "BOOLEAN"}, "failure"),
        ({"name": "resolved", "value": 1, "dataType": "NUMERIC"}, "unknown"),
        ({"name": "toxicity", "value": 1, "dataType": "BOOLEAN"}, "unknown"),
    ],
)
def test_only_a_boolean_score_of_success_is_an_outcome(
    tmp_path: Path, score: Part, status: str
) -> None:
    row = langfuse_row([("Go.", "Done.")], 0)
    trajectory = read_one(tmp_path, {**row, "scores": [score]})
    assert trajectory.outcome.status == status
    assert trajectory.source.details[f"score.{score['name']}"] == score["value"]


def test_an_error_is_the_outcome(tmp_path: Path) -> None:
    history = [USER, DONE, {"role": "user", "content": "More."}]
    failed = observation(2, history, None, level="ERROR", statusMessage="overloaded")
    trajectory = read_one(tmp_path, observation(1, [USER], DONE), failed)
    assert (trajectory.outcome.status, trajectory.outcome.reason) == ("error", "overloaded")
    assert [message.content for message in trajectory.final_observation] == ["More."]


@pytest.mark.parametrize(
    ("sent", "answered", "reason"),
    [
        ([USER], None, "no answer of the model"),
        (["role='user' content='Go.'"], DONE, "an object of Python"),
        ([{"role": "robot", "content": "x"}], DONE, "role is 'robot'"),
        ([USER], [{"type": "zz", "zz": "x"}], "'output.zz' is not read"),
        ([{**USER, "zz": "words"}], DONE, "'input.zz' is not read"),
    ],
)
def test_what_cannot_be_read_is_a_problem(
    tmp_path: Path, sent: Any, answered: Any, reason: str
) -> None:
    items = read(tmp_path, observation(1, sent, answered))
    if reason.startswith("'output.zz'"):
        # Data in place of a message is written as JSON, so nothing is lost.
        assert isinstance(items[0], Trajectory)
        assert items[0].steps[0].response.content == json.dumps(answered)
        return
    [problem] = items
    assert isinstance(problem, Problem)
    assert reason in problem.reason


def test_messages_of_any_framework_are_read(tmp_path: Path) -> None:
    """Gemini, Anthropic, Responses items and LangChain, as their integrations record them."""
    gemini = observation(
        1,
        {"contents": [{"role": "user", "parts": [{"text": "Go on."}]}], "config": {}},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "A cat."}]}}]},
        traceId="g",
    )
    anthropic = observation(
        2,
        {"system": "Rules.", "messages": [{"role": "user", "content": "Go on."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
        traceId="a",
    )
    responses = observation(
        3,
        [{"role": "user", "content": "Go on."}],
        {
            "object": "response",
            "instructions": "Rules.",
            "output": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "A cat."}],
                },
            ],
        },
        traceId="r",
    )
    langchain = observation(
        4, {"messages": [{"type": "human", "content": "Go on."}]}, DONE, traceId="l"
    )
    items = read(tmp_path, gemini, anthropic, responses, langchain)
    steps = [item.steps[0] for item in items if isinstance(item, Trajectory)]
    assert [step.response.content for step in steps] == ["A cat."] * 4
    assert [step.observation[-1].content for step in steps] == ["Go on."] * 4
    assert steps[2].response.reasoning == "Hm."


@pytest.mark.skipif(not CASES.exists(), reason="the logs of ../shared/data are not here")
def test_a_small_log_is_read() -> None:
    assert detect_format(CASES / "langfuse.jsonl") == "langfuse"
    [trajectory] = read_file("langfuse", CASES / "langfuse.jsonl")
    assert isinstance(trajectory, Trajectory)
    assert [(step.observation[0].content, step.response.content) for step in trajectory.steps] == [
        ("hi", "hello"),
        ("more", "more hello"),
    ]


@pytest.mark.parametrize("as_list", [True, False])
def test_calls_in_the_place_of_a_content_are_calls(as_list: bool, tmp_path: Path) -> None:
    function = {"name": "look", "arguments": '{"at": "it"}'}
    calls = [{"id": "c1", "type": "function", "function": function}]
    calling = {"role": "assistant", "content": calls if as_list else json.dumps(calls)}
    result = {"role": "tool", "tool_call_id": "c1", "content": "a cat"}
    trajectory = read_one(
        tmp_path,
        observation(1, [SYSTEM, USER], calling),
        observation(2, [SYSTEM, USER, calling, result], DONE),
    )
    [call] = trajectory.steps[0].response.tool_calls
    assert (call.id, call.name, call.arguments) == ("c1", "look", '{"at": "it"}')
