"""A report.json of another version is refused with the next step, and never misread."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import DataError
from atlas.reporting.read_report import read_report
from atlas.reporting.report import REPORT_FILE, REPORT_VERSION
from tests.reporting.made_arms import make_arm, report_on


def written(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    arms = [make_arm(name, {"held_in_test": [[1.0, 0.0]]}) for name in ("all", "critical")]
    content = json.loads(report_on(arms).model_dump_json())
    changed = change(content)
    (folder / REPORT_FILE).write_text(json.dumps(content if changed is None else changed))
    return folder


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = read_report(written(tmp_path, lambda content: None))
    assert report.version == REPORT_VERSION
    assert report.comparisons[0].claim == "checkpoints"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(version=1), r"has version 1, expected 2"),
        (lambda content: content.pop("version") and None, r"has version None"),
        (lambda content: [], r"has version None"),
        (
            lambda content: content.pop("claims") and None,
            r"cannot be read \(claims: Field required",
        ),
    ],
)
def test_another_report_is_refused_with_the_next_step(
    change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=rf"{message}.*Make the report again"):
        read_report(written(tmp_path, change))


def test_a_file_that_is_missing_or_not_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_report(tmp_path)
    (tmp_path / REPORT_FILE).write_bytes(b"{\xff")
    with pytest.raises(DataError, match="cannot be read"):
        read_report(tmp_path)
