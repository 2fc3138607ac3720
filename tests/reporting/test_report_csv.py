"""The CSV files hold every number of report.json and every episode, and no formula."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.reporting.page.number_rows import COLUMNS
from atlas.reporting.page.write_csv import csv_text
from atlas.reporting.report import Report
from tests.reporting.synthetic_runs import RunFolders

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _numbers(value: Any) -> Iterator[tuple[str, ...]]:
    """Every number of report.json that has sources, as the cells of a row."""
    if isinstance(value, dict):
        if "sources" in value and "method" in value:
            cells = [value["value"], value["low"], value["high"]]
            texts = ["" if cell is None else str(cell) for cell in cells]
            yield (*texts, value["method"], "; ".join(value["sources"]))
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)


def test_every_number_of_the_report_is_a_row_of_a_table(
    suite: RunFolders, suite_report: Report
) -> None:
    out = suite.root.parent / "report"
    rows = [
        row
        for path in (out / "tables").glob("*.csv")
        if path.name != "runs.csv"
        for row in _rows(path)
    ]
    assert all(tuple(row) == COLUMNS for row in rows)
    cells = ("value", "low", "high", "method", "source")
    found = {tuple(row[name] for name in cells) for row in rows}
    expected = set(_numbers(json.loads((out / "report.json").read_text())))
    assert len(expected) > 200
    assert not expected - found


def test_every_episode_is_a_row_with_its_outcome(suite: RunFolders, suite_report: Report) -> None:
    rows = _rows(suite.root.parent / "report" / "episodes.csv")
    for arm in suite.config.arms:
        for number, run in enumerate(arm.runs, start=1):
            for split in run.evaluations:
                [folder] = run.folders(split)
                episodes = map(json.loads, (folder / "episodes.jsonl").read_text().splitlines())
                expected = {
                    (e["task"]["id"], e["outcome"]["status"], str(len(e["steps"])))
                    for e in episodes
                }
                own = [r for r in rows if (r["arm"], r["run"]) == (arm.name, str(number))]
                found = [r for r in own if r["split"] == split]
                assert {(r["task"], r["status"], r["steps"]) for r in found} == expected
                success = {"success": "1", "failure": "0", "truncated": "0", "error": ""}
                assert all(row["success"] == success[row["status"]] for row in found)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\t=1", '=HYPERLINK("x")', "\r-1"])
def test_a_text_is_never_a_formula_of_a_spreadsheet(text: str) -> None:
    [_, [cell, number]] = list(csv.reader(csv_text(("a", "b"), [(text, -1.5)]).splitlines()))
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert number == "-1.5"


def test_hostile_texts_stay_in_their_cells(hostile: Path) -> None:
    paths = [hostile / "episodes.csv", *(hostile / "tables").glob("*.csv")]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert not set(text) & {"\x1b", "\u202e", "\r", "\x00"}
        lines = list(csv.reader(text.splitlines()))
        assert {len(line) for line in lines} == {len(lines[0])}
        for line in lines[1:]:
            for cell in line:
                assert not cell.startswith(("=", "@", "+")), path
