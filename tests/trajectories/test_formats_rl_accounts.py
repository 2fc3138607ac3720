"""Nothing of a rollout is lost in silence.

A key is renamed, a field is added or moved: each word comes through, or is reported.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.kinds import Choice
from atlas.records import Problem
from atlas.trajectories.formats import base
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.format_examples.rl import call_text, trace_row

# Each word of content stands once, so that a copy cannot hide a loss.
TOOL = {
    "type": "function",
    "function": {
        "name": "open",
        "description": "word1 opens",
        "parameters": {"type": "object", "properties": {"door": {"description": "word2 door"}}},
    },
}
CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "word3 rules"},
    {"role": "user", "content": "word4 go"},
    {
        "role": "assistant",
        "content": "word5 look",
        "reasoning_content": "word6 hm",
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "open", "arguments": '{"door": "word7"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "word8 wall"},
    {"role": "assistant", "content": "word9 done"},
]
AS_TEXT = {**CHAT[2], "tool_calls": [call_text("c1", "open", door="word7")]}
STEP = {"tokens": {"prompt_ids": [1]}, "reward": 0.5, "advantage": 0.1, "extras": {"note": "n"}}
NODES = [
    {"parent": index - 1 if index else None, "message": message, "sampled": index in (2, 4)}
    for index, message in enumerate(CHAT)
]
TRACE = trace_row([("a", "b")], 1)
TRACE["traces"][0] |= {"nodes": NODES, "tools": [TOOL["function"]]}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "verifiers results": (
        "verifiers",
        {
            "example_id": 1,
            "prompt": CHAT[:2],
            "completion": [AS_TEXT, *CHAT[3:]],
            "reward": 1.0,
            "info": {"oai_tools": [TOOL]},
            "metrics": {"turns": 2.0},
            "timing": {"total": 1.5},
        },
    ),
    "verifiers model calls": (
        "verifiers",
        {
            "example_id": 1,
            "prompt": None,
            "completion": None,
            "reward": 1.0,
            "tool_defs": [TOOL["function"]],
            "trajectory": [
                {"prompt": CHAT[:2], "completion": [CHAT[2]], **STEP},
                {"prompt": CHAT[:4], "completion": [CHAT[4]], **STEP},
            ],
        },
    ),
    "verifiers trace": ("verifiers", TRACE),
    "rllm": (
        "rllm",
        {
            "id": "t:0",
            "is_correct": True,
            "trajectories": [
                {
                    "name": "agent",
                    "reward": 1.0,
                    "steps": [
                        {"chat_completions": CHAT[:3], "reward": 0.0, "done": False},
                        {"chat_completions": CHAT, "reward": 1.0, "done": True},
                    ],
                }
            ],
        },
    ),
    "art": (
        "art",
        {
            "messages_and_choices": [
                *CHAT[:2],
                {"index": 0, "finish_reason": "tool_calls", "message": CHAT[2]},
                CHAT[3],
                {"index": 0, "finish_reason": "stop", "message": CHAT[4]},
            ],
            "reward": 0.5,
            "metrics": {"won": 1},
            "metadata": {"scenario_id": 3},
            "tools": [TOOL],
            "logs": ["started"],
        },
    ),
    "tau-bench": (
        "tau",
        {"task_id": 1, "reward": 1.0, "info": {"source": "user"}, "traj": CHAT, "trial": 0},
    ),
    "tau2-bench": (
        "tau",
        {
            "timestamp": "t",
            "info": {
                "environment_info": {
                    "domain_name": "doors",
                    "policy": "word3 rules",
                    "tool_defs": {"open": TOOL["function"]},
                }
            },
            "tasks": [],
            "simulations": [
                {
                    "id": "s",
                    "task_id": "1",
                    "termination_reason": "user_stop",
                    "reward_info": {"reward": 1.0},
                    "messages": [
                        CHAT[1],
                        {
                            "role": "assistant",
                            "content": "word5 look",
                            "raw_data": {"message": {"reasoning_content": "word6 hm"}},
                            "tool_calls": [
                                {"id": "c1", "name": "open", "arguments": {"door": "word7"}}
                            ],
                        },
                        {"role": "tool", "id": "c1", "content": "word8 wall", "error": False},
                        {**CHAT[4], "raw_data": {"message": {"content": "word9 done"}}},
                    ],
                }
            ],
        },
    ),
}
every_row = pytest.mark.parametrize("name", ROWS)
_WORD = re.compile(r"word\d+")


def read(name: str, row: Any, tmp_path: Path) -> tuple[str, bool]:
    """What came out as JSON, and whether something was reported."""
    path = tmp_path / "row.json"
    path.write_text(json.dumps(row))
    with SourceFile(path) as source:
        items = [*base.FORMAT.make(Choice(ROWS[name][0])).read(source)]
    assert items
    lines = [item for item in items if isinstance(item, TrajectoryLine)]
    is_reported = any(isinstance(item, Problem) for item in items) or any(
        line.unread for line in lines
    )
    return " ".join(line.line.decode() for line in lines), is_reported


def objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all objects in a value."""
    if isinstance(value, dict):
        yield path
        for key, child in value.items():
            yield from objects(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from objects(child, (*path, index))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@every_row
def test_the_whole_row_is_read_and_nothing_reported(name: str, tmp_path: Path) -> None:
    text, is_reported = read(name, ROWS[name][1], tmp_path)
    assert set(_WORD.findall(text)) == set(_WORD.findall(json.dumps(ROWS[name][1])))
    assert not is_reported


@every_row
def test_a_renamed_key_comes_through_or_is_reported(name: str, tmp_path: Path) -> None:
    row = ROWS[name][1]
    for path in objects(row):
        for key in at(row, path):
            changed = copy.deepcopy(row)
            owner = at(changed, path)
            owner["renamed"] = owner.pop(key)
            text, is_reported = read(name, changed, tmp_path)
            lost = set(_WORD.findall(json.dumps(row))) - set(_WORD.findall(text))
            assert is_reported or not lost, (path, key, lost)


@every_row
def test_a_field_that_moved_up_comes_through_or_is_reported(name: str, tmp_path: Path) -> None:
    row = ROWS[name][1]
    for path in objects(row):
        for key in at(row, path) if path else ():
            changed = copy.deepcopy(row)
            changed.setdefault(key, at(changed, path).pop(key))
            text, is_reported = read(name, changed, tmp_path)
            lost = set(_WORD.findall(json.dumps(row))) - set(_WORD.findall(text))
            # Under a key that the row has, nothing was moved.
            assert is_reported or not lost or key in row, (path, key, lost)


@every_row
@pytest.mark.parametrize("key", ["aside", "text", "content_2", "items"])
def test_words_in_a_new_field_of_a_message_are_reported(
    name: str, key: str, tmp_path: Path
) -> None:
    row = ROWS[name][1]
    for path in objects(row):
        if "content" not in at(row, path) or "raw_data" in path:
            continue
        changed = copy.deepcopy(row)
        at(changed, path)[key] = "word99 new"
        text, is_reported = read(name, changed, tmp_path)
        assert is_reported or "word99" in text, path


@every_row
def test_a_part_of_unknown_type_is_reported(name: str, tmp_path: Path) -> None:
    row = ROWS[name][1]
    for path in objects(row):
        owner = at(row, path)
        if not isinstance(owner.get("content"), str) or "raw_data" in path:
            continue
        changed = copy.deepcopy(row)
        parts = [{"type": "text", "text": owner["content"]}, {"type": "novel", "say": "word99"}]
        at(changed, path)["content"] = parts
        text, is_reported = read(name, changed, tmp_path)
        assert is_reported or "word99" in text, path
