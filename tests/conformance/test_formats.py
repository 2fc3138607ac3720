"""Every row of FORMATS keeps the same laws; `EXAMPLES` holds a good file of each."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.records import Problem, Trajectory
from atlas.store.record_files import read_records, write_records
from atlas.trajectories.formats.base import FORMATS, formats_of
from tests.extending_rows import FORMAT_EXAMPLES, write_examples
from tests.format_examples import chats, codex
from tests.format_examples.claude_code import claude_code_file
from tests.format_examples.gemini import cline_row, gemini_row, qwen_code_file
from tests.format_examples.langchain import langchain_row
from tests.format_examples.langfuse import langfuse_row
from tests.format_examples.nebius import nebius_row
from tests.format_examples.openhands import openhands_row
from tests.format_examples.rl import RL_EXAMPLES
from tests.format_examples.selection_table import selection_row
from tests.format_examples.smolagents import smolagents_row
from tests.source_files import detect_format, matches, read_file

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
EXCHANGES = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4)
Exchanges = list[tuple[str, str]]


def agenttraj_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    turns: list[dict[str, Any]] = [
        {"from": "human", "loss": None, "value": "Rules."},
        {"from": "gpt", "loss": False, "value": "Ok."},
    ]
    for seen, said in exchanges:
        turns += [
            {"from": "human", "loss": None, "value": seen},
            {"from": "gpt", "loss": True, "value": said},
        ]
    return {"conversations": turns, "item_id": f"babyai_{number}"}


def atlas_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    steps = [
        {
            "observation": [{"role": "user", "content": a}],
            "response": {"role": "assistant", "content": b},
        }
        for a, b in exchanges
    ]
    return {
        "version": 1,
        "id": f"task-{number}",
        "task": {"id": f"task-{number}", "environment": "babyai"},
        "steps": steps,
        "outcome": {"status": "success", "score": 1.0},
        "source": {"name": "expert", "row": number, "details": {"seed": number}},
    }


def openai_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Rules."}]
    for seen, said in exchanges:
        messages += [
            {"role": "user", "content": seen},
            {"role": "assistant", "content": said, "reasoning": None},
        ]
    return {
        "messages": messages,
        "task_id": number,
        "success": bool(number % 2),
        "reward": number % 2,
    }


def sharegpt_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    turns = [
        {"from": who, "value": text}
        for exchange in exchanges
        for who, text in zip(("human", "gpt"), exchange, strict=True)
    ]
    return {
        "conversations": turns,
        "system": "Rules.",
        "tools": '[{"name": "look"}]',
        "id": f"chat_{number}",
    }


def tau_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "# Airline Agent Policy"}]
    for seen, said in exchanges:
        messages += [
            {"role": "user", "content": seen},
            {"role": "assistant", "content": said, "tool_calls": None},
        ]
    return {"task_id": number, "reward": 1.0, "info": {}, "traj": messages, "trial": 0}


def swe_agent_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    history = [
        {"role": "system", "content": "Rules.", "agent": "main", "message_type": "system_prompt"}
    ]
    for seen, said in exchanges:
        history.append(
            {"role": "user", "content": seen, "agent": "main", "message_type": "observation"}
        )
        history.append(
            {
                "role": "assistant",
                "content": said,
                "action": "ls",
                "agent": "main",
                "message_type": "action",
            }
        )
    return {
        "environment": "main",
        "history": history,
        "trajectory": [],
        "info": {"exit_status": "submitted", "submission": str(number)},
    }


def atif_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    spoken = [("system", "Rules.")] + [
        turn for seen, said in exchanges for turn in (("user", seen), ("agent", said))
    ]
    steps = [
        {"step_id": index + 1, "source": source, "message": text}
        for index, (source, text) in enumerate(spoken)
    ]
    return {
        "schema_version": "ATIF-v1.6",
        "session_id": f"run-{number}",
        "agent": {"name": "a", "version": "1"},
        "steps": steps,
    }


def otel_file(path: Path, rows: Sequence[Exchanges]) -> None:
    """An export of several traces, a span for each call, with the whole history in each."""
    spans: list[dict[str, Any]] = []
    for number, exchanges in enumerate(rows):
        history: list[dict[str, Any]] = [
            {"role": "system", "parts": [{"type": "text", "content": "Rules."}]}
        ]
        for seen, said in exchanges:
            history.append({"role": "user", "parts": [{"type": "text", "content": seen}]})
            answer = {
                "role": "assistant",
                "parts": [{"type": "text", "content": said}],
                "finish_reason": "stop",
            }
            attributes = {
                "gen_ai.operation.name": "chat",
                "gen_ai.input.messages": json.dumps(history),
                "gen_ai.output.messages": json.dumps([answer]),
            }
            typed = [
                {"key": key, "value": {"stringValue": value}} for key, value in attributes.items()
            ]
            start = str(1_700_000_000_000_000_000 + len(spans))
            spans.append(
                {
                    "traceId": f"{number:032x}",
                    "spanId": f"{len(spans):016x}",
                    "startTimeUnixNano": start,
                    "attributes": typed,
                }
            )
            history.append(answer)
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}))


def inspect_file(path: Path, rows: Sequence[Exchanges]) -> None:
    """A log of one evaluation, a sample for each row."""
    from inspect_ai.log import (
        EvalConfig,
        EvalDataset,
        EvalLog,
        EvalSample,
        EvalSpec,
        write_eval_log,
    )
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    samples = []
    for number, exchanges in enumerate(rows):
        messages: list[Any] = [ChatMessageSystem(content="Rules.")]
        for seen, said in exchanges:
            messages += [ChatMessageUser(content=seen), ChatMessageAssistant(content=said)]
        samples.append(EvalSample(id=number, epoch=1, input="Go.", target="", messages=messages))
    spec = EvalSpec(
        created="2025-01-01T00:00:00+00:00",
        task="doors",
        dataset=EvalDataset(),
        model="mockllm/model",
        config=EvalConfig(),
    )
    write_eval_log(EvalLog(status="success", eval=spec, samples=samples), str(path), format="eval")


EXAMPLES: dict[str, Callable[[Exchanges, int], Any]] = {
    "atlas": atlas_row,
    "agenttraj": agenttraj_row,
    "openai": openai_row,
    "sharegpt": sharegpt_row,
    "tau": tau_row,
    "swe_agent": swe_agent_row,
    "atif": atif_row,
    "openhands": openhands_row,
    "nebius": nebius_row,
    "smolagents": smolagents_row,
    "gemini": gemini_row,
    "cline": cline_row,
    "selection_table": selection_row,
    "langfuse": langfuse_row,
    "langchain": langchain_row,
}
EXAMPLES |= codex.ROWS
EXAMPLES |= chats.ROWS
EXAMPLES |= FORMAT_EXAMPLES
EXAMPLES |= RL_EXAMPLES
# Formats whose rows are not trajectories.
FILES: dict[str, Callable[[Path, Sequence[Exchanges]], None]] = {
    "claude_code": claude_code_file,
    "qwen_code": qwen_code_file,
    "otel": otel_file,
    "inspect": inspect_file,
}
FILES |= codex.FILES

GOOD = [("You see a door.", "Thought:\nopen\n\nAction:\nopen door"), ("Open.", "Action:\ngo")]
NEEDED_PACKAGES = {"inspect": "inspect_ai"}


def for_each(names: Iterable[str]) -> Any:
    """Parametrize over formats, those skipped that need a package which is not installed."""
    missing = {
        name: package
        for name, package in NEEDED_PACKAGES.items()
        if importlib.util.find_spec(package) is None
    }
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(
                name,
                marks=pytest.mark.skipif(
                    name in missing, reason=f"{missing.get(name)} is not installed"
                ),
            )
            for name in names
        ],
    )


every_format = for_each(FORMATS)
every_row_format = for_each(EXAMPLES)
every_file_format = for_each(FILES)


def read(name: str, path: Path) -> list[Trajectory | Problem]:
    return read_file(name, path)


def test_every_format_has_an_example() -> None:
    assert EXAMPLES.keys() | FILES.keys() == FORMATS.keys()
    assert not EXAMPLES.keys() & FILES.keys()


@for_each(name for name in EXAMPLES if name not in chats.ROWS)
@pytest.mark.parametrize("lines", [False, True])
@given(rows=st.lists(EXCHANGES, min_size=1, max_size=3))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_seen_and_said_comes_back_verbatim(
    name: str, lines: bool, rows: list[Exchanges], tmp_path: Path
) -> None:
    values = [EXAMPLES[name](exchanges, number) for number, exchanges in enumerate(rows)]
    path = tmp_path / "file"
    path.write_text("\n".join(map(json.dumps, values)) if lines else json.dumps(values))
    assert detect_format(path) == name
    items = read(name, path)
    assert [item for item in items if isinstance(item, Problem)] == []
    trajectories = [item for item in items if isinstance(item, Trajectory)]
    assert [
        [(step.observation[0].content, step.response.content) for step in trajectory.steps]
        for trajectory in trajectories
    ] == rows
    assert [trajectory.source.row for trajectory in trajectories] == list(range(len(rows)))
    assert len({trajectory.id for trajectory in trajectories}) == len(rows)
    write_records(tmp_path / "again.jsonl", trajectories)
    assert list(read_records(tmp_path / "again.jsonl", Trajectory)) == trajectories


@every_row_format
def test_reading_twice_gives_the_same_records(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps([EXAMPLES[name](GOOD, number) for number in range(3)]))
    assert read(name, path) == read(name, path)


@every_format
@pytest.mark.parametrize(
    "row",
    [
        None,
        True,
        7,
        "text",
        [],
        {},
        [[]],
        {"messages": None},
        {"conversations": [None]},
        {"messages": [[]]},
    ],
)
def test_any_row_can_be_asked_whether_it_matches(name: str, row: Any) -> None:
    assert matches(name, row) is False


@every_row_format
@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_are_problems_and_lines_that_were_spared_are_read(
    name: str, data: st.DataObject, tmp_path: Path
) -> None:
    good = [json.dumps(EXAMPLES[name](GOOD, number)).encode() for number in range(3)]
    damaged = bytearray(good[1])
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position : position + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3)
        ).replace(b"\n", b"")
    path = tmp_path / "file.jsonl"
    path.write_bytes(b"\n".join([good[0], bytes(damaged), good[2]]))
    items = read(name, path)
    by_row = {item.source.row: item for item in items if isinstance(item, Trajectory)}
    assert {0, 2} <= by_row.keys()
    write_records(tmp_path / "again.jsonl", items)
    for problem in items:
        assert isinstance(problem, Trajectory) or problem.where.startswith(
            "file.jsonl row 1 (line 2)"
        )


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
                        "tools",
                        "weight",
                        "traj",
                        "task_id",
                        "simulations",
                        "history",
                        "trajectory",
                        "steps",
                        "source",
                        "schema_version",
                        "type",
                        "uuid",
                        "resourceSpans",
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
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_json_at_all_is_read_as_trajectories_or_problems(
    name: str, value: Any, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(value))
    items = read(name, path)
    assert items
    write_records(tmp_path / "again.jsonl", items)


@every_file_format
@given(rows=st.lists(EXCHANGES, min_size=1, max_size=3))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_was_seen_and_said_in_a_session_comes_back_verbatim(
    name: str, rows: list[Exchanges], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    FILES[name](path, rows)
    assert detect_format(path) == name
    items = read(name, path)
    assert [item for item in items if isinstance(item, Problem)] == []
    trajectories = [item for item in items if isinstance(item, Trajectory)]
    assert [
        [(step.observation[0].content, step.response.content) for step in trajectory.steps]
        for trajectory in trajectories
    ] == rows
    assert len({trajectory.id for trajectory in trajectories}) == len(rows)
    assert read(name, path) == items
    write_records(tmp_path / "again.jsonl", trajectories)
    assert list(read_records(tmp_path / "again.jsonl", Trajectory)) == trajectories


@every_file_format
@given(data=st.data())
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_bytes_of_a_session_are_trajectories_or_problems(
    name: str, data: st.DataObject, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    FILES[name](path, [GOOD, GOOD[:1]])
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # An archive differs in length from one writing to the next.
        position = data.draw(st.integers(0, 1 << 20)) % len(damaged)
        damaged[position : position + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3)
        )
    path.write_bytes(damaged)
    items = read(name, path)
    assert items
    write_records(tmp_path / "again.jsonl", items)


def test_every_example_is_of_exactly_one_format() -> None:
    for name, example in EXAMPLES.items():
        assert formats_of(example(GOOD, 1)) == [name]


@given(rows=st.lists(EXCHANGES, min_size=1, max_size=3))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_example_of_the_docs_gives_back_verbatim_what_was_seen_and_said(
    rows: list[Exchanges], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_examples(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_lab", "my_lab.logs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    path = tmp_path / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("episode", "observation", "response"))
        for number, exchanges in enumerate(rows):
            writer.writerows((number, seen, f"say {said}") for seen, said in exchanges)
    assert not matches("my_lab.logs:CsvFormat", {"messages": []})
    items = read_file("my_lab.logs:CsvFormat", path)
    assert read_file("my_lab.logs:CsvFormat", path) == items
    assert [
        [(step.observation[0].content, step.response.content) for step in item.steps]
        for item in items
        if isinstance(item, Trajectory)
    ] == [[(seen, f"say {said}") for seen, said in exchanges] for exchanges in rows]
    write_records(tmp_path / "again.jsonl", items)
