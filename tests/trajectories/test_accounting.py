"""The law of accounting: what it must find, what it must not report, and its cost."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from atlas.kinds import Choice
from atlas.records import Problem
from atlas.trajectories.formats import base
from atlas.trajectories.formats.accounting import rules_of, unread_leaves
from atlas.trajectories.formats.carried import Carried
from atlas.trajectories.formats.rows import Item
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from tests.source_files import read_file

WORDS = "The door to the north is locked, and the key lies below."
MESSAGES = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": "I go."}]


def read(name: str, tmp_path: Path, *rows: Any) -> list[Item]:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with SourceFile(path) as source:
        return [*base.FORMAT.make(Choice(name)).read(source)]


def unread_of(row: Any, *content: str) -> tuple[list[str], list[str]]:
    lost, others = unread_leaves(row, Carried(dict.fromkeys(content)), rules_of(()))
    return [each.path for each in lost], others


@pytest.mark.parametrize("key", ["status", "kind", "object", "model", "environment", "time"])
@pytest.mark.parametrize("nested", [False, True])
def test_sentences_under_a_name_of_generic_metadata_are_counted(key: str, nested: bool) -> None:
    given = {"more": [WORDS]} if nested else WORDS
    path = f"messages.{key}.more" if nested else f"messages.{key}"
    assert unread_of({"messages": [{"role": "user", key: given}]}) == ([], [path])
    assert unread_of({"messages": [{"role": "user", key: given}]}, WORDS) == ([], [])
    assert unread_of({"messages": [{"role": "user", key: "a state"}]}) == ([], [])


@pytest.mark.parametrize(
    "key", ["Messages", "Tool-Calls", "TOOL_RESULTS", "ReasoningContent", "System Prompt", "Output"]
)
def test_content_is_expected_whatever_the_case_and_separators_of_a_key(
    key: str, tmp_path: Path
) -> None:
    [problem] = read("openai", tmp_path, {"messages": MESSAGES, key: [{"words": WORDS}]})
    assert isinstance(problem, Problem)
    assert f"'{key}.words' is not read" in problem.reason


@pytest.mark.parametrize(
    ("row", "content", "unread"),
    [
        (
            {"messages": [{"content": f"text {n}", "rate": n + 0.5} for n in range(5000)]},
            [f"text {n} " + "x" * 1000 for n in range(5000)],
            ["messages.rate"],
        ),
        ({"usage": {"content": [f"q{n}" for n in range(5000)]}}, ["x y" * 1_000_000], None),
        (
            {"messages": [{"content": f"q{n ^ 1}q"} for n in range(5000)]},
            [f"<q{n}q> " + "x" * 1000 for n in range(5000)],
            [],
        ),
        ({"usage": {"content": ["a"] * 50}}, ["a" * 2_000_000], ["usage.content"]),
    ],
)
def test_many_leaves_of_a_large_row_are_accounted_for_in_little_time(
    row: Any, content: list[str], unread: list[str] | None
) -> None:
    start = time.process_time()
    assert unread_of(row, *content) == ([], ["usage.content"] if unread is None else unread)
    assert time.process_time() - start < 10


def test_a_line_of_codex_is_accounted_for_beside_its_payload(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"type": "session_meta", "payload": {"id": "s", "timestamp": "2026-01-01T00:00:00Z"}},
        *(
            {
                "type": "response_item",
                "payload": {
                    "type": "message",
                    "role": role,
                    "content": [{"type": kind, "text": text}],
                },
            }
            for role, kind, text in (
                ("user", "input_text", "Go."),
                ("assistant", "output_text", "I go."),
            )
        ),
    ]
    lines[0]["content"] = WORDS
    [problem] = read("codex", tmp_path, *lines)
    assert isinstance(problem, Problem)
    assert "'content' is not read" in problem.reason


def test_an_answer_beside_a_transcript_is_the_last_step(tmp_path: Path) -> None:
    text = "Thought: hm\nAction: go[1]\nObservation: a door\nThought: so\nAction: open"
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps({"text": f"{text}\nObservation: it is open", "output": "I am through."})
    )
    [trajectory] = read_file("react", path)
    assert not isinstance(trajectory, Problem)
    assert [step.action for step in trajectory.steps] == ["go[1]", "open", None]
    assert trajectory.steps[-1].response.content == "I am through."


@pytest.mark.parametrize("is_plain", [True, False])
def test_the_paths_to_ignore_are_counted_and_those_that_stand_nowhere_are_named(
    is_plain: bool, tmp_path: Path
) -> None:
    calls = {} if is_plain else {"name": "me"}
    row = {"messages": [MESSAGES[0], {**MESSAGES[1], **calls}], "grades": {"a.b": 17, "c": "no"}}
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps({**row, "n": number}) for number in range(3)))
    ignore = ("grades.a.b", "*.c", "n", "messages[1].extra")
    manifest = import_trajectories(
        ImportConfig(paths=(str(path),), ignore=ignore), tmp_path / "out"
    )
    assert manifest.summary["ignored"] == {**dict.fromkeys(ignore[:3], 3), ignore[3]: 0}
    assert manifest.summary["unread"] == {}
    notes = (tmp_path / "out" / "notes.jsonl").read_text()
    assert "ignore=messages[1].extra left nothing out" in notes
    assert "ignore=n " not in notes
