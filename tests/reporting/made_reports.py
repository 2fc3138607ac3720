"""Reports that the command makes of results made elsewhere."""

from __future__ import annotations

import shlex
from pathlib import Path

from typer.main import get_command

from atlas.cli import app
from atlas.reporting.report import Report


def run(command: str) -> Report:
    """Run `atlas report …` and read what it wrote."""
    words = shlex.split(command)
    assert words[:2] == ["atlas", "report"]
    get_command(app).main([*words[1:], "resamples=100"], standalone_mode=False)
    out = Path(words[words.index("--out") + 1])
    return Report.model_validate_json((out / "report.json").read_bytes())


def compare(*given: str, out: str = "out") -> Report:
    return run(shlex.join(["atlas", "report", *given, "--out", out]))


def notes_of(report: Report) -> str:
    return " ".join(note.text for note in report.notes)
