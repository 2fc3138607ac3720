"""Every convention in every container tells the same conversation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from tests.format_examples.otel_containers import CONTAINERS, console
from tests.format_examples.otel_conventions import ARGUMENTS, CONVENTIONS, RESULT
from tests.source_files import detect_format, read_file

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "import_cases" / "refused"


def read(tmp_path: Path, rows: list[Any]) -> list[Trajectory | Problem]:
    path = tmp_path / "spans.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert detect_format(path) == "otel"
    return read_file("otel", path)


def read_one(tmp_path: Path, rows: list[Any]) -> Trajectory:
    [item] = read(tmp_path, rows)
    assert isinstance(item, Trajectory), item
    return item


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_conversation_is_the_same_in_every_convention_and_container(
    convention: str, container: str, tmp_path: Path
) -> None:
    first, second, run = CONVENTIONS[convention]()
    trajectory = read_one(tmp_path, CONTAINERS[container]([first, run, second]))
    assert [(m.role, m.content) for m in trajectory.prompt] == [("system", "Rules.")]
    calling, done = trajectory.steps
    assert [(m.role, m.content) for m in calling.observation] == [("user", "Go on.")]
    assert (calling.response.content, calling.response.reasoning) == ("I look.", "Where?")
    [call] = calling.response.tool_calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("c1", "look", ARGUMENTS)
    [seen] = done.observation
    assert (seen.role, seen.tool_call_id, json.loads(seen.content)) == ("tool", "c1", RESULT)
    assert (done.response.content, done.response.tool_calls) == ("A cat.", ())
    assert trajectory.final_observation == ()
    assert "Looks somewhere." in json.dumps(trajectory.tools)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_last_result_stands_only_in_the_run_of_its_tool(
    convention: str, tmp_path: Path
) -> None:
    first, _, run = CONVENTIONS[convention]()
    trajectory = read_one(tmp_path, console([first, run]))
    assert len(trajectory.steps) == 1
    [seen] = trajectory.final_observation
    assert (seen.role, seen.tool_call_id, json.loads(seen.content)) == ("tool", "c1", RESULT)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_later_call_holds_the_whole_conversation(convention: str, tmp_path: Path) -> None:
    _, second, _ = CONVENTIONS[convention]()
    assert len(read_one(tmp_path, console([second])).steps) == 2


def test_an_agent_of_pydantic_ai_tells_its_whole_work(tmp_path: Path) -> None:
    told = [
        {"role": "user", "parts": [{"type": "text", "content": "Go."}]},
        {"role": "assistant", "parts": [{"type": "thinking", "content": "hm"}]},
        {"role": "user", "parts": [{"type": "text", "content": "And?"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Done."}]},
    ]
    attributes = {"agent_name": "doors", "pydantic_ai.all_messages": json.dumps(told)}
    trajectory = read_one(tmp_path, console([attributes]))
    assert [step.response.content for step in trajectory.steps] == ["", "Done."]
    assert trajectory.steps[0].response.reasoning == "hm"
    assert trajectory.task.environment == "doors"


def test_of_model_calls_within_one_another_the_innermost_is_read(tmp_path: Path) -> None:
    _, second, _ = CONVENTIONS["openinference"]()
    inner, outer = console([second, {**second, "llm.output_messages.0.message.content": "A cat."}])
    inner["parent_id"] = outer["context"]["span_id"]
    assert len(read_one(tmp_path, [outer, inner]).steps) == 2
    outer["attributes"]["llm.output_messages.0.message.content"] = "A dog, says the wrapper."
    [problem] = read(tmp_path, [outer, inner])
    assert isinstance(problem, Problem)
    assert "output.message.content" in problem.reason


def test_log_records_are_events_of_their_span(tmp_path: Path) -> None:
    def record(name: str, body: Any) -> Any:
        pairs = [{"key": key, "value": {"stringValue": value}} for key, value in body.items()]
        return {
            "traceId": "t1",
            "spanId": "s1",
            "eventName": name,
            "body": {"kvlistValue": {"values": pairs}},
        }

    records = [
        record("gen_ai.user.message", {"content": "Go."}),
        record("gen_ai.choice", {"content": "Done.", "finish_reason": "stop"}),
    ]
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    trajectory = read_one(tmp_path, [logs])
    assert trajectory.steps[0].observation[0].content == "Go."
    assert trajectory.steps[0].response.content == "Done."


def test_where_messages_are_missing_the_raw_request_is_read(tmp_path: Path) -> None:
    attributes = {
        "openinference.span.kind": "LLM",
        "input.value": json.dumps({"messages": [{"role": "user", "content": "Go."}]}),
        "output.value": json.dumps(
            {"choices": [{"message": {"role": "assistant", "content": "Done."}}]}
        ),
    }
    assert read_one(tmp_path, console([attributes])).steps[0].response.content == "Done."


def test_messages_under_an_unknown_name_are_a_problem(tmp_path: Path) -> None:
    attributes = {"my.prompt": json.dumps([{"role": "user", "content": "Go."}])}
    [problem] = read(tmp_path, console([attributes]))
    assert isinstance(problem, Problem)
    assert "my.prompt" in problem.reason


def test_a_shortened_history_begins_a_trajectory_that_says_so(tmp_path: Path) -> None:
    first, second, _ = CONVENTIONS["genai"]()
    third = dict(second)
    history = json.loads(third["gen_ai.input.messages"])
    history[0] = {"role": "user", "parts": [{"type": "text", "content": "(what was before)"}]}
    third["gen_ai.input.messages"] = json.dumps(history)
    before, after = read(tmp_path, console([first, third]))
    assert isinstance(before, Trajectory)
    assert isinstance(after, Trajectory)
    assert [len(before.steps), len(after.steps)] == [1, 1]
    assert [message.role for message in after.prompt] == ["system", "user", "assistant"]


@pytest.mark.skipif(not CASES.exists(), reason="the logs of ../shared/data are not here")
@pytest.mark.parametrize(
    ("name", "answer", "calls"),
    [
        ("otel_aisdk.json", "hello", []),
        ("otel_openinference.json", "hello", []),
        ("otel_traceloop.json", "hello", []),
        ("t14_otel_nested_call.json", "", [("f", '{"x":1}')]),
    ],
)
def test_small_logs_are_read(name: str, answer: str, calls: list[tuple[str, str]]) -> None:
    assert detect_format(CASES / name) == "otel"
    [trajectory] = read_file("otel", CASES / name)
    assert isinstance(trajectory, Trajectory)
    [step] = trajectory.steps
    assert step.response.content == answer
    assert [(call.name, call.arguments) for call in step.response.tool_calls] == calls
    assert [message.content for message in step.observation] in (["hi"], ["q"])
