"""What chats of all origins have in common: calls, parts, reasoning, answers, tools, remarks."""

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
from tests.format_examples.chat_spellings import (
    ARGUMENTS,
    CALL_PARTS,
    CALLS,
    CHOICE,
    END,
    MESSAGE,
    RESULT_PARTS,
    SCHEMA,
    USER,
    call,
    calling,
    format_of,
    result,
)

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "import_cases"


def read(tmp_path: Path, row: Any) -> TrajectoryLine | Problem:
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with SourceFile(path) as source:
        [item] = base.FORMAT.make(Choice(format_of(row))).read(source)
    assert not isinstance(item, Trajectory)
    return item


def read_good(tmp_path: Path, row: Any) -> tuple[Trajectory, list[tuple[int, str]]]:
    line = read(tmp_path, row)
    assert isinstance(line, TrajectoryLine), line
    trajectory = Trajectory.model_validate_json(line.line)
    for step in trajectory.steps:
        assert "[" not in step.response.content
    return trajectory, line.remarks


def refused(tmp_path: Path, row: Any) -> Problem:
    problem = read(tmp_path, row)
    assert isinstance(problem, Problem), problem
    return problem


def told(trajectory: Trajectory) -> list[Any]:
    """Each step as what was seen, said, thought and called."""
    return [
        (
            [message.content for message in step.observation],
            step.response.content,
            step.response.reasoning,
            [(each.name, json.loads(each.arguments)) for each in step.response.tool_calls],
        )
        for step in trajectory.steps
    ]


@pytest.mark.parametrize("given", CALLS)
def test_a_call_keeps_its_arguments_wherever_they_stand(tmp_path: Path, given: Any) -> None:
    trajectory, remarks = read_good(tmp_path, [USER, calling(given), result("c"), END])
    assert told(trajectory)[0] == (["Go."], "", None, [("f", ARGUMENTS)])
    assert trajectory.steps[0].response.tool_calls[0].id == "c"
    assert remarks == []


@pytest.mark.parametrize("key", ["args", "params", "kwargs", "parameters", "input", "arguments"])
def test_the_text_of_a_call_keeps_its_arguments(tmp_path: Path, key: str) -> None:
    said = json.dumps({"name": "f", key: ARGUMENTS})
    turns = [{"from": "human", "value": "Go."}, {"from": "function_call", "value": said}]
    trajectory, _ = read_good(tmp_path, {"conversations": turns})
    assert told(trajectory)[0][3] == [("f", ARGUMENTS)]


@pytest.mark.parametrize(
    "given",
    [
        {"id": "c", "name": "f", "where": {"x": 1}},
        {"id": "c", "name": "f", "x": 1},
        {"id": "c", "function": {"name": "f", "payload": "x"}},
        {"id": "c", "name": "f", "state": {"input": {"x": 1}}},
        {"type": "tool_use", "id": "c", "name": "f", "data": {"x": 1}},
    ],
)
def test_a_call_whose_arguments_are_not_found_is_a_problem(tmp_path: Path, given: Any) -> None:
    turn = {"role": "assistant", "content": [given]} if "type" in given else calling(given)
    problem = refused(tmp_path, [USER, turn, result("c"), END])
    assert "message 1" in problem.where
    assert "tool call 'f' has no arguments" in problem.reason


@pytest.mark.parametrize("given", [{"id": "c", "name": "f"}, {"id": "c", "name": "f", "index": 0}])
def test_a_call_without_anything_else_has_no_arguments(tmp_path: Path, given: Any) -> None:
    trajectory, _ = read_good(tmp_path, [USER, calling(given), result("c"), END])
    assert trajectory.steps[0].response.tool_calls[0].arguments == "{}"


def test_arguments_may_be_a_list(tmp_path: Path) -> None:
    trajectory, _ = read_good(tmp_path, [USER, calling({"name": "f", "arguments": ["a", 1]}), END])
    assert trajectory.steps[0].response.tool_calls[0].arguments == '["a", 1]'


@pytest.mark.parametrize("role", ["tool", "user", "function"])
@pytest.mark.parametrize("part", RESULT_PARTS)
def test_a_part_that_is_a_result_is_a_message_of_the_tool(
    tmp_path: Path, part: Any, role: str
) -> None:
    turn = {"role": role, "content": [part]}
    trajectory, remarks = read_good(tmp_path, [USER, calling(call("c")), turn, END])
    [seen] = trajectory.steps[1].observation
    assert (seen.role, seen.tool_call_id, seen.content) == ("tool", "c", "seven")
    assert remarks == []


@pytest.mark.parametrize("part", CALL_PARTS)
def test_a_part_that_is_a_call_is_a_call(tmp_path: Path, part: Any) -> None:
    turn = {"role": "assistant", "content": [{"type": "text", "text": "so"}, part]}
    trajectory, remarks = read_good(tmp_path, [USER, turn, result("c"), END])
    [made] = trajectory.steps[0].response.tool_calls
    assert (made.id, made.name, trajectory.steps[0].response.content) == ("c", "f", "so")
    assert json.loads(made.arguments) == (ARGUMENTS if "deep" in json.dumps(part) else {})
    assert remarks == []


@pytest.mark.parametrize(
    "part",
    [
        {"type": "toolWish", "id": "c"},
        {"type": "hologram", "text": "so"},
        {"type": "data-weather", "data": {"x": 1}},
        {"wish": {"x": 1}},
        {"type": ["text"], "text": "so"},
    ],
)
@pytest.mark.parametrize("role", ["assistant", "user", "system"])
def test_a_part_of_unknown_type_is_a_problem(tmp_path: Path, part: Any, role: str) -> None:
    problem = refused(tmp_path, [USER, {"role": role, "content": [part]}, END])
    assert "message 1" in problem.where
    assert "which is not known" in problem.reason


@pytest.mark.parametrize("role", ["user", "system"])
@pytest.mark.parametrize("part", [CALL_PARTS[0], {"type": "thinking", "thinking": "hm"}])
def test_only_an_assistant_calls_and_thinks(tmp_path: Path, part: Any, role: str) -> None:
    problem = refused(tmp_path, [USER, {"role": role, "content": [part]}, END])
    assert f"role '{role}', expected 'assistant'" in problem.reason


def test_parts_of_a_page_hold_calls_with_their_results(tmp_path: Path) -> None:
    """Messages of a web page keep a call and its result in one part."""
    parts = [
        {"type": "step-start"},
        {"type": "text", "text": "I look."},
        {
            "type": "tool-look",
            "toolCallId": "c",
            "state": "output-available",
            "input": {"at": "door"},
            "output": {"seen": "a key"},
        },
        {
            "type": "dynamic-tool",
            "toolName": "wait",
            "toolCallId": "d",
            "state": "output-error",
            "input": {},
            "errorText": "no time",
        },
        {"type": "step-start"},
        {"type": "text", "text": "A key."},
    ]
    asked = {"role": "user", "parts": [{"type": "text", "text": "Go."}]}
    row = {"messages": [asked, {"role": "assistant", "parts": parts}]}
    trajectory, _ = read_good(tmp_path, row)
    assert told(trajectory) == [
        (["Go."], "I look.", None, [("look", {"at": "door"}), ("wait", {})]),
        (['{"seen": "a key"}', "no time"], "A key.", None, []),
    ]


def test_server_tools_and_hidden_reasoning_are_not_words_of_the_answer(tmp_path: Path) -> None:
    parts = [
        {"type": "thinking", "thinking": "I need the web.", "signature": "x"},
        {"type": "redacted_thinking", "data": "EoAB"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "news"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s",
            "content": [{"type": "web_search_result", "title": "T", "url": "https://example.org"}],
        },
        {"type": "text", "text": "Nothing new."},
    ]
    trajectory, remarks = read_good(tmp_path, [USER, {"role": "assistant", "content": parts}])
    first, second = told(trajectory)
    assert first == (["Go."], "", "I need the web.", [("web_search", {"query": "news"})])
    assert json.loads(second[0][0])[0]["title"] == "T"
    assert second[1:] == ("Nothing new.", None, [])
    assert {text for _, text in remarks} == {
        "one message held a call, its result and what came after: it became several turns",
        "reasoning that only the service can read is left out",
    }


@pytest.mark.parametrize(
    "fields",
    [
        *({key: "why"} for key in ("reasoning", "reasoning_content", "reasoning_text", "thinking")),
        {"thought": "why"},
        {"reasoning_content": "", "reasoning": "why"},
        {"reasoning": "", "thinking_blocks": [{"type": "thinking", "thinking": "why"}]},
        {"reasoning": None, "reasoning_details": [{"type": "reasoning.text", "text": "why"}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "why", "format": "x"}]},
        {"reasoning": {"content": "why"}},
        {"reasoning": {"text": "why"}},
        {"reasoning": {"summary": [{"type": "summary_text", "text": "why"}]}},
        {"reasoning": "why", "reasoning_details": [{"type": "reasoning.text", "text": "why"}]},
        {"content": [{"reasoningContent": {"reasoningText": {"text": "why"}}}, {"text": "42"}]},
        {"content": [{"text": "why", "thought": True}, {"text": "42"}]},
        {"content": [{"type": "reasoning", "value": "why"}, {"type": "text", "value": "42"}]},
        {"content": [{"type": "thinking", "thinking": ""}, {"text": "42"}], "reasoning": "why"},
    ],
)
def test_reasoning_is_found_under_every_spelling(tmp_path: Path, fields: Any) -> None:
    trajectory, remarks = read_good(
        tmp_path, [USER, {"role": "assistant", "content": "42", **fields}]
    )
    assert told(trajectory) == [(["Go."], "42", "why", [])]
    assert remarks == []


def test_a_thought_that_stands_in_the_text_is_no_field_of_its_own(tmp_path: Path) -> None:
    turn = {"role": "assistant", "content": "why\nls", "thought": "why"}
    trajectory, _ = read_good(tmp_path, [USER, turn])
    assert told(trajectory) == [(["Go."], "why\nls", None, [])]


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "AB"}]},
        {"thinking_blocks": [{"type": "redacted_thinking", "data": "AB"}]},
        {"content": [{"reasoningContent": {"redactedContent": "AB"}}, {"text": "42"}]},
    ],
)
def test_encrypted_reasoning_is_left_out_with_a_remark(tmp_path: Path, fields: Any) -> None:
    trajectory, remarks = read_good(
        tmp_path, [USER, {"role": "assistant", "content": "42", **fields}]
    )
    assert told(trajectory)[0][1] == "42"
    assert remarks == [(0, "reasoning that only the service can read is left out")]


@pytest.mark.parametrize(
    "fields",
    [
        {"response": MESSAGE},
        {"response": {"object": "chat.completion", "choices": [CHOICE], "usage": {}}},
        {"choices": [CHOICE]},
        {"completion": [MESSAGE]},
        {"completion": json.dumps([MESSAGE])},
        {"output": MESSAGE},
        {"output": [MESSAGE]},
        {"chosen": [MESSAGE], "rejected": [END]},
        {"chosen": [USER, MESSAGE], "rejected": [USER, END]},
        {
            "response": {
                "type": "message",
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "d", "name": "f", "input": {"at": "door"}},
                ],
                "stop_reason": "tool_use",
            }
        },
    ],
)
def test_the_answer_beside_the_messages_is_the_last_step(tmp_path: Path, fields: Any) -> None:
    trajectory, remarks = read_good(tmp_path, {"messages": [USER], **fields})
    assert told(trajectory) == [(["Go."], "I look.", None, [("f", {"at": "door"})])]
    rejected = [(-1, "the rejected answer is left out")] if "rejected" in fields else []
    assert remarks == rejected


@pytest.mark.parametrize("key", ["response", "completion", "output", "chosen"])
def test_the_answer_may_be_a_text(tmp_path: Path, key: str) -> None:
    trajectory, _ = read_good(tmp_path, {"messages": [USER], key: "end"})
    assert told(trajectory) == [(["Go."], "end", None, [])]
    assert trajectory.source.details == {}


@pytest.mark.parametrize("key", ["response", "completion", "output"])
@pytest.mark.parametrize("value", ["end", END, [END], {"choices": [{"message": END}]}])
def test_an_answer_that_the_messages_end_with_is_not_read_twice(
    tmp_path: Path, key: str, value: Any
) -> None:
    trajectory, _ = read_good(tmp_path, {"messages": [USER, END], key: value})
    assert told(trajectory) == [(["Go."], "end", None, [])]


def test_several_answers_are_a_problem(tmp_path: Path) -> None:
    problem = refused(tmp_path, {"messages": [USER], "choices": [CHOICE, CHOICE]})
    assert "'choices' holds 2 answers" in problem.reason


def test_an_answer_cut_by_length_is_said(tmp_path: Path) -> None:
    choice = {"finish_reason": "length", "message": END}
    for row in (
        {"messages": [USER], "choices": [choice]},
        {"messages": [USER, {**END, "finish_reason": "length"}]},
        {"messages": [USER, {**END, "stop_reason": "max_tokens"}]},
        {"messages": [USER, {**END, "finishReason": "MAX_TOKENS"}]},
    ):
        trajectory, remarks = read_good(tmp_path, row)
        assert trajectory.source.details["cut_steps"] == [0]
        assert remarks == [(0, "the answer was cut by length")]


def test_the_system_prompt_may_be_blocks(tmp_path: Path) -> None:
    blocks = [{"type": "text", "text": "You book trains.", "cache_control": {"type": "ephemeral"}}]
    for system in (blocks, "You book trains.", {"role": "system", "content": "You book trains."}):
        for key in ("system", "system_prompt"):
            trajectory, _ = read_good(tmp_path, {key: system, "messages": [USER, END]})
            assert [message.content for message in trajectory.prompt] == ["You book trains."]


def test_a_second_system_prompt_is_a_problem(tmp_path: Path) -> None:
    opening = {"role": "system", "content": "One."}
    problem = refused(tmp_path, {"system": "Two.", "messages": [opening, USER, END]})
    assert "'system' is not read" in problem.reason


@pytest.mark.parametrize(
    "key", ["tools", "functions", "available_tools", "tool_defs", "tool_schemas"]
)
@pytest.mark.parametrize("value", [SCHEMA, [SCHEMA], json.dumps([SCHEMA]), [json.dumps(SCHEMA)]])
def test_tools_are_found_under_every_spelling(tmp_path: Path, key: str, value: Any) -> None:
    trajectory, _ = read_good(tmp_path, {"messages": [USER, END], "tools": [], key: value})
    assert trajectory.tools == (SCHEMA,)


def test_tools_may_stand_by_name_or_be_names(tmp_path: Path) -> None:
    named = {"f": {"description": "d"}, "g": {"description": "e"}}
    trajectory, _ = read_good(tmp_path, {"messages": [USER, END], "tools": named})
    assert [tool["name"] for tool in trajectory.tools] == ["f", "g"]
    trajectory, _ = read_good(tmp_path, {"messages": [USER, END], "tools": ["f", "g"]})
    assert trajectory.tools == ({"name": "f"}, {"name": "g"})


THOUGHT = {"role": "assistant", "content": "", "reasoning_content": "why"}
TEXT = {"role": "assistant", "content": "so"}
LEGACY = {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "{}"}}
SEEN = {"role": "function", "name": "f", "content": "7"}
F: list[Any] = [("f", {})]


@pytest.mark.parametrize(
    ("turns", "steps"),
    [
        ([THOUGHT, TEXT, LEGACY, SEEN, END], [("so", "why", F), ("end", None, [])]),
        ([THOUGHT, LEGACY, SEEN, END], [("", "why", F), ("end", None, [])]),
        ([TEXT, LEGACY, LEGACY, SEEN, SEEN, END], [("so", None, F * 2), ("end", None, [])]),
        ([THOUGHT, TEXT, END], [("so", "why", []), ("end", None, [])]),
        ([TEXT, END], [("so", None, []), ("end", None, [])]),
        ([THOUGHT, THOUGHT, TEXT], [("", "why", []), ("so", "why", [])]),
        ([LEGACY, TEXT], [("", None, F), ("so", None, [])]),
        ([LEGACY, THOUGHT, TEXT], [("", None, F), ("so", "why", [])]),
        (
            [calling(call("a")), calling(call("b")), result("a"), result("b"), END],
            [("", None, F * 2), ("end", None, [])],
        ),
        (
            [calling(call("a")), calling(call("b")), result("b"), END],
            [("", None, F), ("", None, F), ("end", None, [])],
        ),
        (
            [{**TEXT, "name": "planner"}, {**LEGACY, "name": "coder"}],
            [("so", None, []), ("", None, F)],
        ),
    ],
)
def test_one_generation_is_one_step_and_two_are_two(tmp_path: Path, turns: Any, steps: Any) -> None:
    trajectory, _ = read_good(tmp_path, {"messages": [USER, *turns]})
    assert [each[1:] for each in told(trajectory)] == steps


@pytest.mark.parametrize(
    ("turns", "remarks"),
    [
        (
            [calling(call("a"), call("b")), result("a"), END],
            [(0, "a call without a result")],
        ),
        (
            [calling(call("a")), result("z"), END],
            [(0, "a call without a result"), (1, "a result without a call")],
        ),
        ([END, result("z")], [(0, "a result without a call")]),
        (
            [calling(call("a")), result("a"), calling(call("a")), result("a"), END],
            [(1, "the id of a call is used twice")],
        ),
        (
            [calling(call("a")), result("a"), result("a"), END],
            [(1, "the id of a call is used twice")],
        ),
        ([calling(call("a"))], []),
        ([calling(call("a")), USER], []),
        ([calling(call("a"), call("b")), result("b")], [(0, "a call without a result")]),
        ([calling(call("a")), USER, END, result("a"), END], []),
        ([LEGACY, SEEN, LEGACY, SEEN, END], []),
        (
            [LEGACY, {**SEEN, "name": "g"}, END],
            [(0, "a call without a result"), (1, "a result without a call")],
        ),
        (
            [
                {"role": "assistant", "content": "<call>f</call>"},
                {"role": "tool", "content": "7"},
                END,
            ],
            [],
        ),
    ],
)
def test_calls_and_results_that_stand_alone_are_said(
    tmp_path: Path, turns: Any, remarks: Any
) -> None:
    assert read_good(tmp_path, {"messages": [USER, *turns]})[1] == remarks


def test_results_with_names_stand_in_the_order_of_the_calls(tmp_path: Path) -> None:
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in ("f", "g", "f")]
    results = [
        {"role": "tool", "name": name, "content": f"{name}{at}"} for at, name in enumerate("gff")
    ]
    trajectory, remarks = read_good(tmp_path, [USER, calling(*calls), *results, END])
    assert told(trajectory)[1][0] == ["f1", "g0", "f2"]
    assert remarks == []


@pytest.mark.parametrize("first", [END, {**END, "reasoning": "why"}])
def test_a_first_step_without_context_is_said(tmp_path: Path, first: Any) -> None:
    assert read_good(tmp_path, [first, USER, END])[1] == [(0, "the first step has no context")]


SYSTEM = {"role": "system", "content": "Rules."}
FIRST, SECOND = [USER, TEXT], [{"role": "user", "content": "On."}, END]


@pytest.mark.parametrize("extra", [{}, {"reasoning": None}])
@pytest.mark.parametrize(
    ("turns", "at"),
    [
        ([SYSTEM, *FIRST, SYSTEM, *FIRST, *SECOND], 1),
        ([*FIRST, *SECOND, *FIRST, *SECOND], 2),
        ([*FIRST, *FIRST, *SECOND, *FIRST, *SECOND, USER, END], 3),
        ([*FIRST, *FIRST, *FIRST], None),
        ([*FIRST, *SECOND, *FIRST], None),
        ([SYSTEM, *FIRST, *FIRST, *FIRST, *SECOND], None),
    ],
)
def test_a_history_written_twice_is_said_and_a_loop_is_not(
    tmp_path: Path, turns: Any, at: int | None, extra: Any
) -> None:
    messages = [*turns[:-1], {**turns[-1], **extra}]
    expected = [] if at is None else [(at, "the history is written twice")]
    assert read_good(tmp_path, {"messages": messages})[1] == expected


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (42, "42"),
        (True, "true"),
        (None, ""),
        ([], ""),
        ([{"title": "a", "n": 1}, {"title": "b"}], '[{"title": "a", "n": 1}, {"title": "b"}]'),
        ({"seen": ["a"]}, '{"seen": ["a"]}'),
        ([{"text": "a", "score": 2}], '[{"text": "a", "score": 2}]'),
        ([{"type": "text", "text": "a"}, {"type": "image", "source": {}}], "a[image]"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_a_result_may_be_any_value(tmp_path: Path, content: Any, text: str) -> None:
    trajectory, _ = read_good(tmp_path, [USER, calling(call("c")), result("c", content), END])
    assert told(trajectory)[1][0] == [text]


@pytest.mark.parametrize("role", ["ai", "bot", "AI", "Assistant", "model", "agent"])
def test_the_agent_has_many_names(tmp_path: Path, role: str) -> None:
    trajectory, _ = read_good(
        tmp_path, [{"role": "human", "content": "Go."}, {**END, "role": role}]
    )
    assert told(trajectory) == [(["Go."], "end", None, [])]


@pytest.mark.parametrize("role", ["tool-call", "tool_call", "function-call"])
@pytest.mark.parametrize("answer", ["tool-response", "tool_result", "toolResult", "observation"])
def test_calls_and_results_may_be_roles(tmp_path: Path, role: str, answer: str) -> None:
    for made in (
        {"role": role, "content": json.dumps({"name": "f", "arguments": ARGUMENTS})},
        {"role": role, "name": "f", "arguments": ARGUMENTS},
    ):
        turns = [USER, made, {"role": answer, "content": "7"}, END]
        trajectory, _ = read_good(tmp_path, {"messages": turns})
        assert told(trajectory) == [
            (["Go."], "", None, [("f", ARGUMENTS)]),
            (["7"], "end", None, []),
        ]


def test_ids_may_be_whole_numbers(tmp_path: Path) -> None:
    made = {**call("c"), "id": 7}
    trajectory, remarks = read_good(
        tmp_path, [USER, calling(made), {**result("c"), "tool_call_id": 7}, END]
    )
    assert trajectory.steps[0].response.tool_calls[0].id == "7"
    assert trajectory.steps[1].observation[0].tool_call_id == "7"
    assert remarks == []


CASE_STEPS = {
    "01_args_key": [("", [("weather", {"city": "Oslo"})]), ("It is 3 degrees.", [])],
    "01_function_args": [("", [("f", {"x": 1})]), ("end", [])],
    "01_params_key": [("", [("f", {"x": 1})]), ("end", [])],
    "02_part_tool_call": [("calling", [("f", {"x": 1})]), ("end", [])],
    "02_tool_result_in_tool_role": [("", [("f", {})]), ("end", [])],
    "04_openhands_completion_log": [
        ("I look first.", [("terminal", {"command": "ls"})]),
        ("It is there, I run it.", [("terminal", {"command": "python hello.py"})]),
    ],
    "05_anthropic_system_blocks": [
        ("ok, looking", [("find", {"to": "Rome"})]),
        ("There are two.", []),
    ],
    "06_anthropic_redacted_and_server_tools": [
        ("", [("web_search", {"query": "news"})]),
        ("Nothing much.", []),
        ("bye", []),
    ],
    "09_reasoning_details": [("2", [])],
    "09_reasoning_empty_first": [("2", [])],
    "09_reasoning_text": [("2", [])],
    "09_reasoning_thinking_blocks": [("2", [])],
    "09_refused_reasoning_object": [("6", [])],
    "13_available_tools": [("", [("s", {})]), ("a", [])],
    "14_qwen_agent_split_turn": [("let me search", [("search", {"q": "x"})]), ("done", [])],
    "15_finish_length": [("once upon a ti", [])],
    "15_missing_result": [("", [("f", {}), ("g", {})]), ("done", [])],
    "15_orphan_result": [("", [("f", {})]), ("done", [])],
    "15_results_by_name": [("", [("f", {}), ("g", {})]), ("done", [])],
    "role_ai": [("hello", [])],
    "part_tooluse_bedrock": [("ok", [("f", {"x": 1})]), ("end", [])],
    "t13_swift_fields": [("<think>\nsearch\n</think>", [("Search", {"q": ["x"]})]), ("d", [])],
    "tool_content_jsonlist": [("", [("f", {})]), ("end", [])],
    "tool_content_number": [("", [("f", {})]), ("end", [])],
    "llf_v1": [("hello", [("f", {})])],
    "xlam": [("", [("weather", {"city": "Oslo"})])],
}


@pytest.mark.skipif(not CASES.exists(), reason="the folder of import cases is not there")
@pytest.mark.parametrize("name", CASE_STEPS)
def test_the_cases_of_the_folder_are_read_right(name: str, tmp_path: Path) -> None:
    [path] = CASES.glob(f"*/{name}.json*")
    trajectory, _ = read_good(tmp_path, json.loads(path.read_text()))
    assert [(each[1], each[3]) for each in told(trajectory)] == CASE_STEPS[name]
    if name.startswith("09"):
        assert trajectory.steps[0].response.reasoning
