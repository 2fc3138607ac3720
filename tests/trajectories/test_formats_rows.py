from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.records import Problem
from atlas.trajectories.formats.rows import Row, read_rows

JSON_OBJECTS = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2), max_size=3
)


def write(tmp_path: Path, content: str | bytes, name: str = "file.json") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(path: Path) -> list[Any]:
    return [row.value if isinstance(row, Row) else row for row in read_rows(path)]


def only_problem(path: Path) -> Problem:
    [problem] = read_rows(path)
    assert isinstance(problem, Problem)
    return problem


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        ('[{"a": 1}, {"a": 2}]', "list.json", [{"a": 1}, {"a": 2}]),
        (json.dumps([{"a": 1}, {"a": 2}], indent=1), "indented.json", [{"a": 1}, {"a": 2}]),
        ('[\n{"a": 1},\n{"a": 2}\n]\n', "one a line.json", [{"a": 1}, {"a": 2}]),
        ('{"a": 1}\n{"a": 2}\n', "lines.jsonl", [{"a": 1}, {"a": 2}]),
        ('{"a": 1}\r\n\r\n{"a": 2}', "lines.json", [{"a": 1}, {"a": 2}]),
        ('[\n{"a": 1}\n]', "list.jsonl", [{"a": 1}]),
        ('{"a":\n1}', "object.json", [{"a": 1}]),
        ('[{"role": "user"}, {"role": "assistant"}]', "chat.json", [[{"role": "user"}, {"role": "assistant"}]]),
        ('[{"role": "user"}]\n[{"role": "user"}]', "chats.jsonl", [[{"role": "user"}], [{"role": "user"}]]),
        ('\ufeff{"a": 1}\n{"a": 2}', "bom.jsonl", [{"a": 1}, {"a": 2}]),
        ('\ufeff[{"a": 1}]', "bom.json", [{"a": 1}]),
    ],
)
def test_the_content_says_whether_a_file_is_json_or_json_lines(tmp_path: Path, content: str, name: str, expected: list[Any]) -> None:
    assert values(write(tmp_path, content, name)) == expected


@given(st.lists(JSON_OBJECTS, min_size=1, max_size=4), st.sampled_from([None, 1]), st.sampled_from(["x.json", "x.jsonl"]))
@settings(max_examples=50)
def test_rows_are_the_same_from_json_and_json_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], indent: int | None, name: str
) -> None:
    rows = [{"id": index, **row} for index, row in enumerate(rows)]  # not messages
    folder = tmp_path_factory.mktemp("rows")
    as_lines = write(folder, "\n".join(json.dumps(row) for row in rows), name)
    assert values(as_lines) == rows
    assert values(write(folder, json.dumps(rows, indent=indent), "list.json")) == rows


def test_a_bad_line_is_a_problem_with_its_place_and_no_good_line_is_lost(tmp_path: Path) -> None:
    lines = [
        b'{"a": 0}',
        b'{"a": ',
        b'{"a": "\xff"}',
        b"",
        b'{"a": NaN}',
        b'{"a": 5}',
        b"[" * 100_000,
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": 8}',
    ]
    rows = list(read_rows(write(tmp_path, b"\n".join(lines), "x.jsonl")))
    assert [(row.index, row.value) for row in rows if isinstance(row, Row)] == [(0, {"a": 0}), (5, {"a": 5}), (8, {"a": 8})]
    reasons = {problem.where: problem.reason for problem in rows if isinstance(problem, Problem)}
    assert reasons.keys() == {f"x.jsonl row {index} (line {index + 1})" for index in (1, 2, 4, 6, 7)}
    assert "column 6" in reasons["x.jsonl row 1 (line 2)"]
    assert "not UTF-8: byte 0xff" in reasons["x.jsonl row 2 (line 3)"]
    assert "NaN" in reasons["x.jsonl row 4 (line 5)"]


def test_a_broken_first_line_does_not_hide_the_others(tmp_path: Path) -> None:
    for name in ("x.jsonl", "x.json"):
        rows = list(read_rows(write(tmp_path, '{"a": \n{"a": 1}\n{"a": 2}\n', name)))
        assert isinstance(rows[0], Problem)
        assert [row.value for row in rows[1:] if isinstance(row, Row)] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b" \n \n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"[]", "empty list"),
        (b'[{"a": 1},\n{"a": ', "not JSON"),
        (b'[{"a": 1},\n{"a": NaN}]', "NaN is no JSON number"),
        (b'["\xff"]', "not UTF-8"),
        ('[{"a": 1}]'.encode("utf-16"), "UTF-16"),
        (b"\x1f\x8b\x08\x00", "compressed"),
        (b"hello", "not JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path, content: bytes, reason: str) -> None:
    problem = only_problem(write(tmp_path, content))
    assert problem.where == "file.json"
    assert reason in problem.reason


def test_the_content_hash_depends_on_the_content_alone() -> None:
    assert Row(0, {"a": 1, "b": "é"}, "here").content_hash == Row(7, {"b": "é", "a": 1}, "there").content_hash
    assert Row(0, {"a": 1}, "").content_hash != Row(0, {"a": 2}, "").content_hash
