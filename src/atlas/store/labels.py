"""Reads people's labels of steps: `file -> labels with their lines, and problems of other lines`.

    trajectory_id, step, type, annotator, note

One label per line, as JSON Lines, or as CSV with these names in the first line. An annotator labels
whole trajectories, so a step without a label counts as not critical.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from atlas.errors import ConfigError, DataError
from atlas.lookup import nearest
from atlas.records import Label, Problem

COLUMNS = tuple(Label.model_fields)
# Spreadsheets write different delimiters in different languages.
SEPARATORS = ",;\t"
BYTE_ORDER_MARK = "\ufeff"

# The content of a line, or the reason why it cannot be read.
LabelRow = dict[str, Any] | str


@dataclass(frozen=True, slots=True)
class PlacedLabel:
    """A label and where it stands: `file.jsonl line 3`."""

    label: Label
    where: str


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The labels of a file in order, and a problem for each invalid line."""

    labels: tuple[PlacedLabel, ...]
    problems: tuple[Problem, ...]


def read_labels(path: Path) -> LabelFile:
    """The labels in a `.jsonl` or `.csv` file.

    A repeated line counts once. If an annotator gives a step contradictory labels, none of them
    counts.

    Raises:
        ConfigError: the file cannot be read, or has another ending.
        DataError: the file is not UTF-8, or a CSV file without the columns trajectory_id and step.
    """
    rows = {".jsonl": _json_rows, ".csv": _csv_rows}.get(path.suffix.lower())
    if rows is None:
        raise ConfigError(f"labels {path}: expected a file that ends in .jsonl or .csv. Rename it.")
    try:
        text = path.read_bytes().decode("utf-8").removeprefix(BYTE_ORDER_MARK)
    except OSError as error:
        raise ConfigError(
            f"labels {path}: the file cannot be read ({error.strerror}). "
            "Check the path; docs/formats.md describes the file."
        ) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"labels {path} line {line}: not UTF-8. Save the file as UTF-8.") from None
    labels: list[PlacedLabel] = []
    problems: list[Problem] = []
    for line, row in rows(path, text):
        where = f"{path.name} line {line}"
        label = row if isinstance(row, str) else _parse(row)
        if isinstance(label, Label):
            labels.append(PlacedLabel(label, where))
        else:
            problems.append(Problem(where=where, reason=label))
    kept, dropped = _without_repetitions(labels)
    return LabelFile(tuple(kept), (*problems, *dropped))


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, LabelRow]]:
    """The object in each line, or its problem."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            kind = type(row).__name__
            yield number, f"a {kind}, expected an object with trajectory_id and step"


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, LabelRow]]:
    """Each row by the names of the first line, without empty cells, with its first line."""
    first = text.split("\n", 1)[0]
    separator = max(SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"not CSV: {error}"
            continue
        if names is None:
            names = _column_names(path, cells)
        elif len(cells) > len(names):
            found = f"{len(cells)} cells where the first line names {len(names)} columns"
            yield line, f"{found}. Put a text with a '{separator}' in quotes"
        elif any(cells):
            yield line, {name: cell for name, cell in zip(names, cells, strict=False) if cell}


def _column_names(path: Path, cells: list[str]) -> list[str]:
    where = f"labels {path} line 1"
    for cell in cells:
        if cell not in COLUMNS:
            raise DataError(f"{where}: the column '{cell}' is not known. {nearest(cell, COLUMNS)}")
        if cells.count(cell) > 1:
            raise DataError(f"{where}: the column '{cell}' occurs twice, expected once.")
    if missing := " or ".join(name for name in ("trajectory_id", "step") if name not in cells):
        raise DataError(f"{where}: no column {missing}, expected at least trajectory_id and step.")
    return cells


def _parse(row: dict[str, Any]) -> Label | str:
    """A label, or its problem."""
    if isinstance(kind := row.get("type"), str):
        row = {**row, "type": kind.strip().lower().replace(" ", "_").replace("-", "_")}
    if isinstance(step := row.get("step"), bool | float):
        return f"step is {step!r}, expected a whole number"
    try:
        return Label.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            return f"the field '{name}' is not known. {nearest(name, COLUMNS)}"
        if first["type"] == "missing":
            return f"no {name}"
        if name == "step":
            return (
                f"step is {first['input']!r}, expected a whole number from 0 on. "
                "Turns of the prompt (a canned 'OK.') are not steps"
            )
        return f"{name} is {first['input']!r}: {first['msg']}"


def _without_repetitions(labels: list[PlacedLabel]) -> tuple[list[PlacedLabel], list[Problem]]:
    said: dict[tuple[str, str, int], dict[str, PlacedLabel]] = defaultdict(dict)
    problems: list[Problem] = []
    for placed in labels:
        label = placed.label
        same = said[label.annotator, label.trajectory_id, label.step].setdefault(label.type, placed)
        if same is not placed:
            reason = f"{label.annotator} repeats {same.where} for step {label.step}; it counts once"
            problems.append(Problem(where=placed.where, reason=reason, item=label.trajectory_id))
    kept = []
    for (annotator, id_, step), by_type in said.items():
        group = list(by_type.values())
        if len(group) > 1 and "none" in by_type:
            both = " and ".join(placed.where.rpartition("line ")[2] for placed in group)
            reason = (
                f"{annotator} calls step {step} both critical and 'none' (lines {both}); "
                "none of these lines counts"
            )
            problems.append(Problem(where=group[-1].where, reason=reason, item=id_))
        else:
            kept += group
    return kept, problems
