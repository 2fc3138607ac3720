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

Part = dict[str, Any]


def text(role: str, content: str) -> Part:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


SYSTEM, USER = text("system", "Rules."), text("user", "Go.")
CALLING = {
    "role": "assistant",
    "parts": [
        {"type": "reasoning", "content": "hm"},
        {"type": "text", "content": "Both."},
        {"type": "tool_call", "id": "c1", "name": "look", "arguments": {"at": "door"}},
        {"type": "tool_call", "id": "c2", "name": "wait", "arguments": None},
    ],
    "finish_reason": "tool_call",
}
RESULTS = {
    "role": "tool",
    "parts": [
        {"type": "tool_call_response", "id": "c2", "response": "waited"},
        {"type": "tool_call_response", "id": "c1", "response": {"seen": "a door"}},
    ],
}
DONE = {**text("assistant", "Done."), "finish_reason": "stop"}


def wrap(value: Any) -> Part:
    """A value as OTLP's JSON types it."""
    if isinstance(value, list):
        return {"arrayValue": {"values": [wrap(each) for each in value]}}
    if isinstance(value, dict):
        return {
            "kvlistValue": {
                "values": [{"key": key, "value": wrap(each)} for key, each in value.items()]
            }
        }
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def span(
    sent: Any,
    answered: Any,
    *,
    start: int = 0,
    trace: str = "t1",
    typed: bool = False,
    **fields: Any,
) -> Part:
    attributes = {"gen_ai.operation.name": "chat", **fields.pop("attributes", {})}
    for key, value in (("gen_ai.input.messages", sent), ("gen_ai.output.messages", answered)):
        if value is not None:
            attributes[key] = value if typed else json.dumps(value)
    pairs = [{"key": key, "value": wrap(value)} for key, value in attributes.items()]
    return {
        "traceId": trace,
        "spanId": f"s{start}",
        "startTimeUnixNano": str(start),
        "attributes": pairs,
        **fields,
    }


def export(*spans: Part) -> Part:
    return {
        "resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]
    }


def read(tmp_path: Path, *exports: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(map(json.dumps, exports)))
    return read_file("otel", path)


def read_good(tmp_path: Path, *exports: Any) -> list[Trajectory]:
    items = read(tmp_path, *exports)
    trajectories = [item for item in items if isinstance(item, Trajectory)]
    assert len(trajectories) == len(items), items
    return trajectories


def said(trajectory: Trajectory) -> list[str]:
    return [step.response.content for step in trajectory.steps]


@pytest.mark.parametrize("typed", [False, True])
def test_cumulative_histories_are_one_trajectory_whatever_the_order_and_lines_of_the_spans(
    tmp_path: Path, typed: bool
) -> None:
    # What is sent again lacks its reasoning.
    repeated = {**CALLING, "parts": CALLING["parts"][1:]}
    second = span([SYSTEM, USER, repeated, RESULTS], [DONE], start=2, typed=typed)
    first = span(
        [SYSTEM, USER],
        [CALLING],
        start=1,
        typed=typed,
        attributes={"gen_ai.tool.definitions": json.dumps([{"name": "look"}])},
    )
    [trajectory] = read_good(tmp_path, export(second), export(first))
    assert [message.content for message in trajectory.prompt] == ["Rules."]
    assert said(trajectory) == ["Both.", "Done."]
    assert trajectory.steps[0].response.reasoning == "hm"
    assert [each.id for each in trajectory.steps[0].response.tool_calls] == ["c1", "c2"]
    assert [(m.tool_call_id, m.content) for m in trajectory.steps[1].observation] == [
        ("c1", '{"seen": "a door"}'),
        ("c2", "waited"),
    ]
    assert trajectory.tools == ({"name": "look"},)
    assert (trajectory.task.id, trajectory.outcome.status) == ("t1", "unknown")
    assert detect_format(tmp_path / "traces.jsonl") == "otel"


def test_the_last_span_alone_holds_the_whole_conversation(tmp_path: Path) -> None:
    [trajectory] = read_good(tmp_path, export(span([SYSTEM, USER, CALLING, RESULTS], [DONE])))
    assert said(trajectory) == ["Both.", "Done."]


def test_system_instructions_open_the_prompt(tmp_path: Path) -> None:
    attributes = {"gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Rules."}])}
    [trajectory] = read_good(tmp_path, export(span([USER], [DONE], attributes=attributes)))
    assert [(message.role, message.content) for message in trajectory.prompt] == [
        ("system", "Rules.")
    ]


def test_the_older_form_tells_messages_in_events(tmp_path: Path) -> None:
    def event(name: str, **attributes: Any) -> Part:
        return {
            "name": name,
            "attributes": [{"key": key, "value": wrap(value)} for key, value in attributes.items()],
        }

    calls = json.dumps(
        [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
    )
    events = [
        event("gen_ai.system.message", content="Rules."),
        event("gen_ai.user.message", content="Go."),
        event("gen_ai.assistant.message", tool_calls=calls),
        event("gen_ai.tool.message", id="c1", content="a door"),
        event(
            "gen_ai.choice",
            index=0,
            finish_reason="length",
            message=json.dumps({"role": "assistant", "content": "Done."}),
        ),
    ]
    [trajectory] = read_good(tmp_path, export(span(None, None, events=events)))
    assert [message.content for message in trajectory.prompt] == ["Rules."]
    assert said(trajectory) == ["", "Done."]
    assert trajectory.steps[0].response.tool_calls[0].name == "look"
    assert trajectory.steps[1].observation[0].tool_call_id == "c1"
    assert trajectory.outcome.status == "truncated"


def test_a_call_that_begins_anew_is_a_trajectory_of_its_own(tmp_path: Path) -> None:
    helper = span(
        [text("system", "Help."), text("user", "Find.")], [text("assistant", "Found.")], start=2
    )
    main = [
        span([SYSTEM, USER], [CALLING], start=1),
        span([SYSTEM, USER, CALLING, RESULTS], [DONE], start=3),
    ]
    trajectories = read_good(tmp_path, export(main[0], helper, main[1]))
    assert [said(trajectory) for trajectory in trajectories] == [["Both.", "Done."], ["Found."]]


def test_a_history_that_was_cut_is_prompt_where_its_answers_are_steps_elsewhere(
    tmp_path: Path,
) -> None:
    cut = span([SYSTEM, text("user", "(shortened)"), CALLING, RESULTS], [DONE], start=2)
    first, second = read_good(tmp_path, export(span([SYSTEM, USER], [CALLING], start=1), cut))
    assert (said(first), said(second)) == (["Both."], ["Done."])
    assert [message.role for message in second.prompt] == ["system", "user", "assistant"]


def test_a_named_conversation_may_send_only_what_is_new(tmp_path: Path) -> None:
    named = {"attributes": {"gen_ai.conversation.id": "chat-7"}}
    first = span([SYSTEM, USER], [CALLING], start=1, trace="t1", **named)
    second = span([RESULTS], [DONE], start=2, trace="t2", **named)
    [trajectory] = read_good(tmp_path, export(first, second))
    assert (trajectory.task.id, said(trajectory)) == ("chat-7", ["Both.", "Done."])


def test_the_span_of_an_agent_is_read_only_where_its_calls_are_not(tmp_path: Path) -> None:
    whole = {"attributes": {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "doors"}}
    agent = span([USER], [DONE], start=0, **whole)
    assert [t.task.environment for t in read_good(tmp_path, export(agent))] == ["doors"]
    [trajectory] = read_good(
        tmp_path, export(agent), export(span([SYSTEM, USER], [CALLING], start=1))
    )
    assert said(trajectory) == ["Both."]


def test_a_failed_last_call_is_an_error(tmp_path: Path) -> None:
    failed = span(
        [SYSTEM, USER, CALLING, RESULTS], None, start=2, status={"code": 2, "message": "overloaded"}
    )
    [trajectory] = read_good(tmp_path, export(span([SYSTEM, USER], [CALLING], start=1), failed))
    assert (trajectory.outcome.status, trajectory.outcome.reason) == ("error", "overloaded")
    assert [message.role for message in trajectory.final_observation] == ["tool", "tool"]


def test_parts_that_are_no_text_leave_a_mark(tmp_path: Path) -> None:
    shown = {
        "role": "user",
        "parts": [
            {"type": "blob", "modality": "image", "content": "AA=="},
            {"type": "text", "content": " what?"},
        ],
    }
    [trajectory] = read_good(tmp_path, export(span([shown], [DONE])))
    assert trajectory.steps[0].observation[0].content == "[image] what?"


@pytest.mark.parametrize(
    ("bad", "where", "reason"),
    [
        ({"x": 1}, "row 0", "not an export of spans"),
        (
            export({"traceId": "t", "spanId": "s", "attributes": []}),
            "traces.jsonl",
            "no span holds messages",
        ),
        (export(span([USER], None)), "span s0", "no answer of the model"),
        (export(span(7, [DONE])), "span s0", "messages are 7"),
        (
            export(span([{"role": "robot", "parts": []}], [DONE])),
            "span s0, message 0",
            "role is 'robot'",
        ),
        (export(span([{"role": "user", "parts": [7]}], [DONE])), "span s0, message 0", "a part 7"),
    ],
)
def test_a_bad_export_is_a_problem_that_says_why(
    tmp_path: Path, bad: Any, where: str, reason: str
) -> None:
    [problem] = read(tmp_path, bad)
    assert isinstance(problem, Problem)
    assert where in problem.where
    assert reason in problem.reason


@pytest.mark.parametrize("cut", ["gen_ai.input.messages", "gen_ai.output.messages"])
def test_messages_that_an_exporter_cut_are_a_problem_and_no_response(
    cut: str, tmp_path: Path
) -> None:
    given = span([USER], [DONE])
    [attribute] = [each for each in given["attributes"] if each["key"] == cut]
    attribute["value"]["stringValue"] = attribute["value"]["stringValue"][:50]
    [problem] = [each for each in read(tmp_path, export(given)) if isinstance(each, Problem)]
    assert "the text was cut or damaged" in problem.reason


def test_instructions_and_choices_that_an_exporter_cut_are_a_problem(tmp_path: Path) -> None:
    cut = '[{"type": "text", "content": "You are'
    [problem] = read(
        tmp_path, export(span([USER], [DONE], attributes={"gen_ai.system_instructions": cut}))
    )
    assert isinstance(problem, Problem)
    choice = {"key": "message", "value": {"stringValue": '{"role": "assistant", "content": "I g'}}
    [problem] = read(
        tmp_path,
        export(span(None, None, events=[{"name": "gen_ai.choice", "attributes": [choice]}])),
    )
    assert isinstance(problem, Problem)


def test_of_several_choices_the_first_is_the_answer_and_the_others_are_counted(
    tmp_path: Path,
) -> None:
    other = {**text("assistant", "No."), "finish_reason": "stop"}
    as_events = [
        {
            "name": "gen_ai.choice",
            "attributes": [
                {"key": "message", "value": {"stringValue": json.dumps({"content": content})}}
            ],
        }
        for content in ("Done.", "No.")
    ]
    for given in (span([USER], [DONE, other]), span(None, None, events=as_events)):
        path = tmp_path / "x.jsonl"
        path.write_text(json.dumps(export(given)))
        [trajectory] = read_file("otel", path)
        assert isinstance(trajectory, Trajectory)
        assert said(trajectory) == ["Done."]
        with SourceFile(path) as source:
            [item] = base.FORMAT.make(Choice("otel")).read(source)
        assert isinstance(item, TrajectoryLine)
        assert (-1, "1 further answers to the same request") in item.remarks
    # A text and a call are one answer.
    call = {**CALLING, "parts": CALLING["parts"][2:]}
    [trajectory] = read_good(tmp_path, export(span([USER], [DONE, call])))
    assert said(trajectory) == ["Done."]
    assert len(trajectory.steps[0].response.tool_calls) == 2


def test_parts_that_traceloop_writes_as_a_text_are_parts(tmp_path: Path) -> None:
    def attributes(content: str) -> Part:
        return {
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": content,
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": content,
        }

    parts = json.dumps([{"type": "text", "text": "One "}, {"type": "text", "text": "two."}])
    given = span(None, None, typed=True, attributes=attributes(parts))
    [trajectory] = read_good(tmp_path, export(given))
    assert said(trajectory) == [trajectory.steps[0].observation[0].content] == ["One two."]
    [problem] = read(tmp_path, export(span(None, None, attributes=attributes(parts[:40]))))
    assert isinstance(problem, Problem)
    data = '[{"type": "bug"}]'
    [trajectory] = read_good(tmp_path, export(span(None, None, attributes=attributes(data))))
    assert said(trajectory) == [data]
