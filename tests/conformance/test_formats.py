"""Every row of FORMATS keeps the same laws; `EXAMPLES` holds a good file of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.records import Problem, Trajectory
from atlas.store import read_records, write_records
from atlas.trajectories.formats.base import FORMATS, detect_format, make_format

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
EXCHANGES = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4)
Exchanges = list[tuple[str, str]]


def agenttraj_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    turns: list[dict[str, Any]] = [{"from": "human", "loss": None, "value": "Rules."}, {"from": "gpt", "loss": False, "value": "Ok."}]
    for seen, said in exchanges:
        turns += [{"from": "human", "loss": None, "value": seen}, {"from": "gpt", "loss": True, "value": said}]
    return {"conversations": turns, "item_id": f"babyai_{number}"}


def openai_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Rules."}]
    for seen, said in exchanges:
        messages += [{"role": "user", "content": seen}, {"role": "assistant", "content": said, "reasoning": None}]
    return {"messages": messages, "task_id": number, "success": bool(number % 2), "reward": number % 2}


EXAMPLES: dict[str, Callable[[Exchanges, int], Any]] = {"agenttraj": agenttraj_row, "openai": openai_row}

GOOD = [("You see a door.", "Thought:\nopen\n\nAction:\nopen door"), ("Open.", "Action:\ngo")]
every_format = pytest.mark.parametrize("name", FORMATS)


def read(name: str, path: Path) -> list[Trajectory | Problem]:
    return list(make_format(name).read(path))


def test_every_format_has_an_example() -> None:
    assert EXAMPLES.keys() == FORMATS.keys()


@every_format
@pytest.mark.parametrize("lines", [False, True])
@given(rows=st.lists(EXCHANGES, min_size=1, max_size=3))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_seen_and_said_comes_back_verbatim(name: str, lines: bool, rows: list[Exchanges], tmp_path: Path) -> None:
    values = [EXAMPLES[name](exchanges, number) for number, exchanges in enumerate(rows)]
    path = tmp_path / "file"
    path.write_text("\n".join(map(json.dumps, values)) if lines else json.dumps(values))
    assert detect_format(path) == name
    items = read(name, path)
    assert [item for item in items if isinstance(item, Problem)] == []
    trajectories = [item for item in items if isinstance(item, Trajectory)]
    assert [[(step.observation[0].content, step.response.content) for step in trajectory.steps] for trajectory in trajectories] == rows
    assert [trajectory.source.row for trajectory in trajectories] == list(range(len(rows)))
    assert len({trajectory.id for trajectory in trajectories}) == len(rows)
    write_records(tmp_path / "again.jsonl", trajectories)
    assert list(read_records(tmp_path / "again.jsonl", Trajectory)) == trajectories


@every_format
def test_reading_twice_gives_the_same_records(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps([EXAMPLES[name](GOOD, number) for number in range(3)]))
    assert read(name, path) == read(name, path)


@every_format
@pytest.mark.parametrize("row", [None, True, 7, "text", [], {}, [[]], {"messages": None}, {"conversations": [None]}, {"messages": [[]]}])
def test_any_row_can_be_asked_whether_it_matches(name: str, row: Any) -> None:
    assert make_format(name).matches(row) is False


@every_format
@given(data=st.data())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_are_problems_and_lines_that_were_spared_are_read(name: str, data: st.DataObject, tmp_path: Path) -> None:
    good = [json.dumps(EXAMPLES[name](GOOD, number)).encode() for number in range(3)]
    damaged = bytearray(good[1])
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3)).replace(b"\n", b"")
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"\n".join([good[0], bytes(damaged), good[2]]))
    items = read(name, path)
    by_row = {item.source.row: item for item in items if isinstance(item, Trajectory)}
    assert {0, 2} <= by_row.keys()
    write_records(tmp_path / "again.jsonl", items)
    for problem in items:
        assert isinstance(problem, Trajectory) or problem.where.startswith("file.jsonl row 1 (line 2)")


@every_format
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "conversations",
                        "messages",
                        "from",
                        "value",
                        "loss",
                        "item_id",
                        "role",
                        "content",
                        "tool_calls",
                        "function",
                        "name",
                        "arguments",
                        "success",
                        "reward",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
    )
)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_at_all_is_read_as_trajectories_or_problems(name: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(value))
    items = read(name, path)
    assert items
    write_records(tmp_path / "again.jsonl", items)
