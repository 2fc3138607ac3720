from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from atlas.trajectories.import_report import print_import
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories


def printed(tmp_path: Path, *rows: object, **settings: object) -> str:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    config = ImportConfig.model_validate({"paths": (str(path),), **settings})
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    print_import(import_trajectories(config, tmp_path / "out"), tmp_path / "out", console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(number: int, name: str = "babyai", **fields: object) -> dict[str, object]:
    turns = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": f"go {number}"},
    ] * (1 + number)
    return {"messages": turns, "task_id": f"t{number}", "environment": name, **fields}


def test_the_report_says_what_was_found_and_what_was_left_out_and_why(tmp_path: Path) -> None:
    text = printed(
        tmp_path,
        row(0, success=True),
        row(1, success=False),
        row(1, success=False),
        "{broken",
        row(3),
        only=("success", "failure"),
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "babyai 2 1.5 50.0 %" in lines
    assert "steps per trajectory: min 1, median 1, 95 % up to 2, max 2" in lines
    assert "assistant 12" in lines
    assert lines[-3] == f"in: {tmp_path / 'x.jsonl'}: 1 file, format openai"
    outcomes = "outcomes failure 1 (50 %), success 1 (50 %)"
    assert lines[-2] == f"out: {tmp_path / 'out'}: trajectories 2, steps 3; {outcomes}"
    assert lines[-1].startswith("left out: 1 by only success, failure; 2 (")
    assert "1 × the same as an earlier one" in lines[-1]
    assert "1 × not JSON" in lines[-1]


def test_names_from_the_file_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    text = printed(tmp_path, row(0, name="[bold]evil[/] \x1b[31m\r\n\u202e"))
    assert "[bold]evil[/] \\x1b[31m\\r\\n\\u202e" in text
    assert "\x1b" not in text


def test_many_tasks_are_counted_together(tmp_path: Path) -> None:
    assert "(8 more)" in printed(
        tmp_path, *(row(number % 3, name=f"env{number}") for number in range(20))
    )


def test_a_share_of_some_trajectories_says_of_how_many(tmp_path: Path) -> None:
    text = printed(tmp_path, row(0, success=True), row(1), row(2))
    assert "babyai 3 2.0 100.0 % of 1" in [" ".join(line.split()) for line in text.splitlines()]


def test_remarks_and_paths_stay_tables_on_80_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    key = "a_field_with_a_long_name_" * 4
    texts = [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]
    path.write_text(json.dumps({"messages": texts * 2, key: {"b": "c"}}) + "\n{}")
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    manifest = import_trajectories(ImportConfig(paths=(str(path),)), tmp_path / "out")
    print_import(manifest, tmp_path / "out", console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert "times  kept, but odd (places: notes.jsonl)" in [line.rstrip() for line in lines]
    assert "    2  empty response" in [line.rstrip() for line in lines]
    assert "rows  path that was not read (places: notes.jsonl)" in [line.rstrip() for line in lines]
    tables = [line for line in lines if not line.startswith(("in:", "out:", "left out:"))]
    assert all(len(line) <= 80 for line in tables)
