"""Chats in further spellings: what was read wrongly, or refused although nothing was lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Trajectory
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.source_files import detect_format
from tests.trajectories.test_formats_chats import (
    END,
    USER,
    call,
    calling,
    read,
    read_good,
    refused,
    result,
    told,
)

A, B = {"type": "text", "text": "one wo"}, {"type": "text", "text": "rd"}


@pytest.mark.parametrize(
    "row",
    [
        {"system": [A, B], "messages": [USER, END]},
        {"system": ["one wo", "rd"], "messages": [USER, END]},
        [{"role": "system", "content": [A, B]}, USER, END],
        [{"role": "user", "content": [A, B, {"type": "image_url", "image_url": "u"}, B, B]}, END],
        [USER, {"role": "assistant", "content": ["one wo", B]}],
        [USER, {"role": "assistant", "content": "x", "reasoning": ["one wo", "rd"]}],
        [
            USER,
            {
                "role": "assistant",
                "content": "x",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "one wo"},
                    {"type": "reasoning.text", "text": "rd"},
                ],
            },
        ],
        [USER, calling(call("c")), result("c", [A, B]), END],
        [
            USER,
            {
                "role": "assistant",
                "content": [A, {"type": "tool_use", "id": "c", "name": "f", "input": {}}, B],
            },
            result("c"),
            END,
        ],
    ],
)
def test_parts_may_end_within_a_word(tmp_path: Path, row: Any) -> None:
    trajectory, _ = read_good(tmp_path, row)
    assert "one word" in trajectory.model_dump_json()


def test_a_part_that_is_joined_nowhere_is_reported(tmp_path: Path) -> None:
    row = [USER, {"role": "assistant", "content": [A, {**B, "zz": "lost"}]}]
    assert "content.zz" in refused(tmp_path, row).reason


FULL = {"x": "Go"}


@pytest.mark.parametrize(
    "given",
    [
        {"id": "c", "name": "f", "arguments": "{}", "input": FULL},
        {"id": "c", "name": "f", "arguments": "", "function": {"name": "f", "args": FULL}},
        {"id": "c", "name": "f", "arguments": FULL, "input": '{"x":"Go"}'},
    ],
)
def test_empty_arguments_hide_no_others(tmp_path: Path, given: Any) -> None:
    trajectory, _ = read_good(tmp_path, [USER, calling(given), result("c"), END])
    assert told(trajectory)[0][3] == [("f", FULL)]


def test_arguments_that_differ_are_a_problem_also_if_their_words_stand_elsewhere(
    tmp_path: Path,
) -> None:
    given = {"id": "c", "name": "f", "arguments": {"y": "Go"}, "input": FULL}
    assert "differ" in refused(tmp_path, [USER, calling(given), result("c"), END]).reason
    part = {"type": "tool_use", "id": "c", "name": "f", "input": {"y": "Go"}}
    row = [USER, calling(call("c", x="Go"), content=[part]), result("c"), END]
    assert "differs" in refused(tmp_path, row).reason


@pytest.mark.parametrize("id_", ["c", None])
@pytest.mark.parametrize("in_content", [{}, FULL])
def test_a_call_in_the_content_and_beside_it_is_one(
    tmp_path: Path, id_: str | None, in_content: dict[str, str]
) -> None:
    part = {"type": "tool_use", "id": "c", "name": "f", "input": in_content}
    beside = {"id": id_, "name": "f", "arguments": FULL}
    if id_ is None and not in_content:
        return
    trajectory, _ = read_good(tmp_path, [USER, calling(beside, content=[part]), result("c"), END])
    assert told(trajectory)[0][3] == [("f", FULL)]


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_call": {"name": "f", "arguments": FULL}},
        {"toolCall": [{"name": "f", "arguments": FULL}]},
        {"function_call": [{"name": "f", "arguments": FULL}]},
        {"tool_calls": [{"name": "f", "arguments": FULL}, None]},
    ],
)
def test_calls_under_other_keys(tmp_path: Path, fields: dict[str, Any]) -> None:
    row = [USER, {"role": "assistant", "content": "", **fields}, result(None), END]
    trajectory, _ = read_good(tmp_path, row)
    assert told(trajectory)[0][3] == [("f", FULL)]


@pytest.mark.parametrize("between", ["\n", " ", "\n\n"])
def test_a_turn_of_several_calls_one_after_the_other(tmp_path: Path, between: str) -> None:
    said = between.join(json.dumps({"name": "f", "arguments": {"x": x}}) for x in "ab")
    turns = [("human", "Go."), ("function_call", said), ("observation", "7"), ("gpt", "end")]
    row = {"conversations": [{"from": who, "value": what} for who, what in turns]}
    trajectory, _ = read_good(tmp_path, row)
    assert told(trajectory)[0][3] == [("f", {"x": "a"}), ("f", {"x": "b"})]


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '{"content": "hello", "b": 2}', "42", "null", '["x"]', '["x", "y"]']
)
def test_an_answer_that_is_json_stays_a_text(tmp_path: Path, text: str) -> None:
    for key in ("response", "completion"):
        line = read(tmp_path, {"messages": [USER], key: text})
        assert isinstance(line, TrajectoryLine), line
        [step] = Trajectory.model_validate_json(line.line).steps
        assert step.response.content == text
        assert not line.unread


@pytest.mark.parametrize("empty", [None, [], ""])
def test_empty_columns_hide_no_messages(tmp_path: Path, empty: Any) -> None:
    row = {"messages": empty, "conversation": empty, "conversations": [USER, END]}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    assert detect_format(path) == "openai"
    path.write_text(
        json.dumps({"conversations": empty, "messages": [{"from": "gpt", "value": "x"}]})
    )
    assert detect_format(path) == "sharegpt"


def test_a_chosen_conversation_beside_its_prompt_as_a_text(tmp_path: Path) -> None:
    rejected = {"role": "assistant", "content": "worse"}
    row = {"prompt": "Go.", "chosen": [USER, END], "rejected": [USER, rejected]}
    trajectory, _ = read_good(tmp_path, row)
    assert told(trajectory) == [(["Go."], "end", None, [])]
    assert trajectory.steps[0].annotation is None
    assert "prompt" in refused(tmp_path, {**row, "prompt": "Another one."}).reason


@pytest.mark.parametrize(
    "system",
    [
        [{"role": "system", "content": "You act."}],
        [{"role": "system", "content": [{"type": "text", "text": "You act."}]}],
        '[{"type": "text", "text": "You act."}]',
    ],
)
def test_a_system_prompt_in_a_list_of_messages_or_a_json_text(tmp_path: Path, system: Any) -> None:
    trajectory, _ = read_good(tmp_path, {"system": system, "messages": [USER, END]})
    assert [message.content for message in trajectory.prompt] == ["You act."]


@pytest.mark.parametrize(
    "fields",
    [{"error": "7"}, {"content": "", "output": "7"}, {"content": None, "error": "7"}],
)
def test_a_result_is_found_beside_an_empty_content(tmp_path: Path, fields: dict[str, Any]) -> None:
    row = [USER, calling(call("c")), {"role": "tool", "tool_call_id": "c", **fields}, END]
    trajectory, _ = read_good(tmp_path, row)
    assert [message.content for message in trajectory.steps[1].observation] == ["7"]


def test_the_server_of_a_tool_is_no_content(tmp_path: Path) -> None:
    parts = [
        {"type": "mcp_tool_use", "id": "c", "name": "f", "server_name": "files", "input": FULL},
        {"type": "mcp_tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "7"}]},
        {"type": "text", "text": "end"},
    ]
    trajectory, _ = read_good(tmp_path, [USER, {"role": "assistant", "content": parts}])
    assert told(trajectory) == [(["Go."], "", None, [("f", FULL)]), (["7"], "end", None, [])]
