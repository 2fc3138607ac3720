from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.records import Problem
from atlas.trajectories.formats.rows import SourceRow
from tests.source_files import read_rows

JSON_OBJECTS = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2),
    max_size=3,
)


def write(tmp_path: Path, content: str | bytes, name: str = "file.json") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(path: Path) -> list[Any]:
    return [row.value if isinstance(row, SourceRow) else row for row in read_rows(path)]


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
        (
            '[{"role": "user"}, {"role": "assistant"}]',
            "chat.json",
            [[{"role": "user"}, {"role": "assistant"}]],
        ),
        (
            '[{"role": "user"}]\n[{"role": "user"}]',
            "chats.jsonl",
            [[{"role": "user"}], [{"role": "user"}]],
        ),
        ('\ufeff{"a": 1}\n{"a": 2}', "bom.jsonl", [{"a": 1}, {"a": 2}]),
        ('\ufeff[{"a": 1}]', "bom.json", [{"a": 1}]),
    ],
)
def test_the_content_says_whether_a_file_is_json_or_json_lines(
    tmp_path: Path, content: str, name: str, expected: list[Any]
) -> None:
    assert values(write(tmp_path, content, name)) == expected


@given(
    st.lists(JSON_OBJECTS, min_size=1, max_size=4),
    st.sampled_from([None, 1]),
    st.sampled_from(["x.json", "x.jsonl"]),
)
@settings(max_examples=50)
def test_rows_are_the_same_from_json_and_json_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], indent: int | None, name: str
) -> None:
    # Rows that are not messages.
    rows = [{"id": index, **row} for index, row in enumerate(rows)]
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
    assert [(row.index, row.value) for row in rows if isinstance(row, SourceRow)] == [
        (0, {"a": 0}),
        (5, {"a": 5}),
        (8, {"a": 8}),
    ]
    reasons = {problem.where: problem.reason for problem in rows if isinstance(problem, Problem)}
    assert reasons.keys() == {
        f"x.jsonl row {index} (line {index + 1})" for index in (1, 2, 4, 6, 7)
    }
    assert "column 6" in reasons["x.jsonl row 1 (line 2)"]
    assert "not UTF-8: byte 0xff" in reasons["x.jsonl row 2 (line 3)"]
    assert "NaN" in reasons["x.jsonl row 4 (line 5)"]


def test_a_broken_first_line_does_not_hide_the_others(tmp_path: Path) -> None:
    for name in ("x.jsonl", "x.json"):
        rows = list(read_rows(write(tmp_path, '{"a": \n{"a": 1}\n{"a": 2}\n', name)))
        assert isinstance(rows[0], Problem)
        assert [row.value for row in rows[1:] if isinstance(row, SourceRow)] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b" \n \n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"[]", "empty list"),
        ('[{"a": 1}]'.encode("utf-16"), "UTF-16"),
        ('[{"a": 1}]'.encode("utf-16-le"), "UTF-16"),
        (b"\x1f\x8b\x08\x00", "the gzip data is damaged or ends early"),
        (b"PK\x03\x04", "the file is zip data"),
        (b"PAR1", "the parquet data is damaged"),
        (b"hello", "not JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_problem(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    problem = only_problem(write(tmp_path, content))
    assert problem.where == "file.json"
    assert reason in problem.reason


@pytest.mark.parametrize(
    ("content", "good", "problems"),
    [
        ('[{"a": 1}, {"a": NaN}, {"a": 3}]', [1, 3], {"x.json row 1": "NaN is not a JSON number"}),
        (b'[{"a": 1}, {"a": "\xff"}, {"a": 3}]', [1, 3], {"x.json row 1": "not UTF-8: byte 0xff"}),
        (
            '[{"a": 1}, {"a": "\\ud800"}, {"a": 3}]',
            [1, 3],
            {"x.json row 1": "half of a surrogate pair"},
        ),
        (
            '[{"a": 1}, {"b": 0, "b": 0}, {"a": 3}]',
            [1, 3],
            {"x.json row 1": "the key 'b' occurs twice"},
        ),
        (
            '[{"a": 1}, {"b": 0 0}, {"a": 3}]',
            [1],
            {"x.json row 1": "not JSON: Expecting ',' delimiter at column 9"},
        ),
        (
            '[\n {"a": 1},\n {"b": 0 0},\n {"a": 3}\n]',
            [1, 3],
            {"x.json row 1 (line 3)": "not JSON"},
        ),
        (
            '[\n {"a": 1},\n {"b": [' + "[" * 50_000 + '},\n {"a": 3}\n]',
            [1, 3],
            {"x.json row 1 (line 3)": "nested too deeply"},
        ),
        (
            '[\n {"a": 1},\n {"b": ' + "1" * 5000 + '},\n {"a": 3}\n]',
            [1, 3],
            {"x.json row 1 (line 3)": "thousands of digits"},
        ),
        ('[{"a": 1} {"a": 2}]', [1], {"x.json row 1": "'{' where ',' was expected"}),
        (
            '[\n{"a": 1}\n{"b": 2},\n{"a": 3}]',
            [1, 3],
            {"x.json row 1 (line 3)": "',' was expected"},
        ),
        ('[{"a": 1}, {"a": "cut', [1], {"x.json row 1": "the file ends in the middle of the list"}),
        ('[{"a": 1},', [1], {"x.json row 1": "the file ends in the middle of the list"}),
        ('[{"a": 1}', [1], {"x.json row 1": "the file ends in the middle of the list"}),
        ('[{"a": 1}] x', [1], {"x.json row 1": "'x' after the end of the list"}),
        ('[{"a": 1},]', [1], {"x.json row 1": "not JSON"}),
        ("[,]", [], {"x.json row 0": "not JSON"}),
    ],
)
def test_an_element_that_is_bad_is_a_problem_with_its_place(
    tmp_path: Path, content: str | bytes, good: list[int], problems: dict[str, str]
) -> None:
    rows = list(read_rows(write(tmp_path, content, "x.json")))
    assert [row.value["a"] for row in rows if isinstance(row, SourceRow)] == good
    found = {problem.where: problem.reason for problem in rows if isinstance(problem, Problem)}
    assert found.keys() == problems.keys()
    for where, reason in problems.items():
        assert reason in found[where]


@pytest.mark.parametrize("size", [3, 7, 64])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_is_read_in_pieces_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, indent: int | None
) -> None:
    monkeypatch.setattr("atlas.trajectories.formats.json_array.CHUNK", size)
    rows = [
        {"id": number, "text": 'é\u20ac"\\' * number, "float": number / 7} for number in range(20)
    ]
    path = write(
        tmp_path, json.dumps([*rows, 12345, 1.5, True, None], indent=indent, ensure_ascii=False)
    )
    assert values(path) == [*rows, 12345, 1.5, True, None]
    lines = [row.line for row in read_rows(path) if isinstance(row, SourceRow)]
    assert lines == (
        [2 + 5 * number for number in range(20)] + [102, 103, 104, 105] if indent else [1] * 24
    )


def test_a_chat_that_is_no_chat_to_its_end_is_rows(tmp_path: Path) -> None:
    content = [{"role": "user"}, {"messages": []}, {"role": "user"}]
    assert values(write(tmp_path, json.dumps(content))) == content


def test_a_long_first_line_is_told_by_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.trajectories.formats.read_rows.HEAD_BYTES", 64)
    rows = [{"a": "x" * 100}, {"a": "y" * 100}]
    chat = [{"role": "user", "content": ""}, {"role": "assistant", "content": "z" * 100}]
    assert values(write(tmp_path, json.dumps(rows))) == rows
    assert values(write(tmp_path, "\n".join(map(json.dumps, rows)))) == rows
    assert values(write(tmp_path, json.dumps(chat))) == [chat]
    assert values(write(tmp_path, json.dumps(chat) + "\n" + json.dumps(chat))) == [chat, chat]
    assert values(write(tmp_path, "\n".join(map(json.dumps, [{}, *rows, {}])))) == [{}, *rows, {}]
    assert values(write(tmp_path, json.dumps(rows[0], indent=1))) == rows[:1]
    assert values(write(tmp_path, "\n" * 200 + json.dumps(rows[0]))) == rows[:1]


def test_a_row_too_long_to_hold_is_a_problem_and_the_next_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("read_rows", "json_array"):
        monkeypatch.setattr(f"atlas.trajectories.formats.{module}.MAX_ROW_BYTES", 2000)
    for name in ("x.jsonl", "x.json"):
        rows = [{"a": 0}, {"a": "x" * 5000}, {"a": 2}]
        content = (
            "\n".join(map(json.dumps, rows)) if name == "x.jsonl" else json.dumps(rows, indent=1)
        )
        first, problem, *_ = read_rows(write(tmp_path, content, name))
        assert isinstance(first, SourceRow)
        if name == "x.jsonl":
            assert isinstance(problem, Problem)
            assert "longer than" in problem.reason
            assert values(tmp_path / name)[2] == {"a": 2}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' occurs twice in one object"),
        ('{"a": "\\ud83d"}', "half of a surrogate pair"),
        ('{"a": "\x00"}', "not JSON: Invalid control character at column 8"),
        ('{"a": Infinity}', "Infinity is not a JSON number"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "nested too deeply"),
        ('{"a": "b\\": 1, \\": ", "a": ""}', "the key 'a' occurs twice"),
    ],
)
def test_what_json_or_a_record_cannot_hold_is_not_read_silently(
    tmp_path: Path, line: str, reason: str
) -> None:
    [problem, _] = read_rows(write(tmp_path, line + '\n{"a": 1}', "x.jsonl"))
    assert isinstance(problem, Problem)
    assert reason in problem.reason


@pytest.mark.parametrize(
    "text",
    [
        '{"a" : 1, "b":2}',
        '{"a": "\\u0022: "}',
        '{"a": "1:2", "b": "\\":\\":"}',
        '{"a":\t{"b"  :{}}}',
    ],
)
def test_colons_and_quotes_within_texts_are_no_repeated_keys(tmp_path: Path, text: str) -> None:
    assert values(write(tmp_path, text + "\n{}", "x.jsonl")) == [json.loads(text), {}]


@pytest.mark.parametrize(
    "number", [10**20, -(2**63) - 1, 2**64, 2**64 - 1, 123456789012345678901234567890]
)
def test_whole_numbers_of_any_size_are_exact(tmp_path: Path, number: int) -> None:
    for content in (f'{{"a": {number}}}\n{{}}', f'[{{"a": {number}}}, {{}}]'):
        assert values(write(tmp_path, content)) == [{"a": number}, {}]


def test_lists_that_are_kept_as_texts_are_decoded_and_the_hash_does_not_tell(
    tmp_path: Path,
) -> None:
    plain = {"messages": [{"role": "user", "content": "[1]"}], "tools": [{"name": "f"}]}
    as_text = {key: json.dumps(value) for key, value in plain.items()}
    rows = list(
        read_rows(write(tmp_path, json.dumps(plain) + "\n" + json.dumps(as_text), "x.jsonl"))
    )
    assert all(isinstance(row, SourceRow) and row.value == plain for row in rows)
    assert len({row.content_hash for row in rows if isinstance(row, SourceRow)}) == 1
    assert values(write(tmp_path, '{"messages": "[broken", "tools": "none"}')) == [
        {"messages": "[broken", "tools": "none"}
    ]


def test_the_content_hash_depends_on_the_content_alone() -> None:
    assert (
        SourceRow("x", 0, {"a": 1, "b": "é"}, "here").content_hash
        == SourceRow("x", 7, {"b": "é", "a": 1}, "there").content_hash
    )
    assert (
        SourceRow("x", 0, {"a": 1}, "").content_hash != SourceRow("x", 0, {"a": 2}, "").content_hash
    )
