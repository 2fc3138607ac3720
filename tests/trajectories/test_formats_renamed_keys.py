"""Whichever key of a log is renamed, its words come through or the loss is reported.

Only identifiers and names of agents, which no model sees, may change in silence.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats import base
from atlas.trajectories.formats.rows import Item
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.trajectories import test_formats_codex as codex
from tests.trajectories import test_formats_goose as goose
from tests.trajectories import test_formats_opencode as opencode
from tests.trajectories import test_formats_responses as responses

Row = dict[str, Any]
KEPT = [codex.said("user", text)["payload"] for text in ("list the files", "Summary: listed.")]
REASONING = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a thought"}]}
MCP = {"type": "mcp_call", "id": "m", "name": "look", "arguments": "{}", "output": "seen it"}
TOOL = {
    "type": "function",
    "name": "sh",
    "description": "runs it",
    "parameters": {"type": "object"},
}
CASES: list[tuple[str, list[Row]]] = [
    (
        "codex",
        [
            codex.meta(base_instructions={"text": "You are Codex."}),
            *codex.SIMPLE[1:],
            codex.line(
                "response_item",
                type="custom_tool_call",
                name="patch",
                call_id="k",
                input="+ a line",
            ),
            codex.line(
                "response_item", type="custom_tool_call_output", call_id="k", output="patched"
            ),
            codex.line("response_item", type="web_search_call", action={"query": "the query"}),
            codex.said("assistant", "finished here"),
        ],
    ),
    (
        "codex",
        [
            *codex.SIMPLE,
            codex.line("compacted", message="Summary: listed.", replacement_history=KEPT),
            codex.said("user", "and now?"),
            codex.said("assistant", "Nothing."),
        ],
    ),
    ("codex", codex.EXEC),
    (
        "responses",
        [
            {
                "input": [responses.GO],
                "instructions": "Be kind.",
                "tools": [TOOL],
                "output": [REASONING, responses.CALL, responses.RESULT, MCP, responses.DONE],
            }
        ],
    ),
    ("responses", [{"messages": [responses.GO, responses.CALL, responses.RESULT, responses.DONE]}]),
    ("nemo_gym", [responses.rollout(reward=0.5)]),
    ("goose", [goose.session(*goose.MESSAGES)]),
    ("opencode", [opencode.session(opencode.ASK, opencode.STEP, opencode.END)]),
]
NAMES_ONLY = ("id", "name")


def read(path: Path, form: str, rows: list[Row]) -> list[Item]:
    path.write_text("\n".join(map(json.dumps, rows)))
    with SourceFile(path) as source:
        return list(base.FORMAT.make(Choice(form)).read(source))


def keys_of(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in pairs:
        if isinstance(value, dict):
            yield at, str(key)
        if isinstance(child, dict | list):
            yield from keys_of(child, (*at, key))


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str) and len(value) > 2:
        yield json.dumps(value)[1:-1]
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from texts_of(child)


def renamed(rows: list[Row], number: int, at: tuple[Any, ...], key: str, new: str) -> list[Row]:
    changed = copy.deepcopy(rows)
    owner: Any = changed[number]
    for step in at:
        owner = owner[step]
    items = [(new if name == key else name, value) for name, value in owner.items()]
    owner.clear()
    owner.update(items)
    return changed


def told(items: list[Item]) -> tuple[str, int]:
    """All that was read, as one text, and the number of steps."""
    lines = [item for item in items if isinstance(item, TrajectoryLine)]
    whole = [Trajectory.model_validate_json(line.line).model_dump_json() for line in lines]
    return "\n".join(whole), sum(line.num_steps for line in lines)


def reports(items: list[Item]) -> list[Any]:
    found: list[Any] = [item for item in items if isinstance(item, Problem)]
    for item in items:
        if isinstance(item, TrajectoryLine):
            found += [*item.unread, *item.remarks]
    return found


@pytest.mark.parametrize(("form", "rows"), CASES)
def test_a_renamed_key_comes_through_or_is_reported(
    form: str, rows: list[Row], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    good = read(path, form, rows)
    words, num_steps = told(good)
    known = reports(good)
    assert not any(isinstance(item, Problem) for item in good)
    for number, row in enumerate(rows):
        for at, key in keys_of(row):
            value: Any = row
            for step in (*at, key):
                value = value[step]
            carried = [text for text in texts_of(value) if text in words]
            for new in (f"zz_{key}", f"{key}s"):
                items = read(path, form, renamed(rows, number, at, key, new))
                if [report for report in reports(items) if report not in known]:
                    continue
                now, now_steps = told(items)
                lost = [text for text in carried if text not in now]
                assert key in NAMES_ONLY or (not lost and now_steps == num_steps), (at, key, lost)
