"""report.json -> its records; a file of another version is refused."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from atlas.errors import DataError
from atlas.reporting.report import REPORT_FILE, REPORT_VERSION, Report


def read_report(folder: Path) -> Report:
    """The report in a run folder of report.

    Raises:
        DataError: report.json is missing, was written by another version, or cannot be read.
    """
    file = folder / REPORT_FILE
    again = "Make the report again: atlas report … into a new folder."
    try:
        content = file.read_bytes()
        written = from_json(content)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}). {again}") from None
    version = written.get("version") if isinstance(written, dict) else None
    if version != REPORT_VERSION:
        raise DataError(
            f"{file} has version {version!r:.20}, expected {REPORT_VERSION}: another version of "
            f"atlas wrote it, with other verdicts. {again}"
        )
    try:
        return Report.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{file} cannot be read ({place}: {first['msg']}). {again}") from None
