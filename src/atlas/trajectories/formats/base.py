"""What a format is: `file -> trajectories and problems`. Adding one is one file and one row in `FORMATS`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from atlas.errors import ConfigError, DataError
from atlas.lookup import look_up
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.rows import Row, read_rows

FORMATS: dict[str, str] = {
    "agenttraj": "atlas.trajectories.formats.agenttraj:AgentTrajFormat",
    "openai": "atlas.trajectories.formats.openai:OpenAIFormat",
}
ROWS_TO_DETECT_FROM = 20  # a dirty first row must not hide what the file is


class Format(Protocol):
    """Reads one kind of file, row after row."""

    def matches(self, row: Any) -> bool:
        """Whether a decoded row looks like this format; never raises, whatever the row is."""
        ...

    def read(self, path: Path) -> Iterator[Trajectory | Problem]:
        """Every row of the file in order: a trajectory, or the reason why it is none. Never raises for what the file holds."""
        ...


def make_format(name: str) -> Format:
    """The format named in `FORMATS`, or your own `package.module:Class`."""
    made: Format = look_up("format", name, FORMATS)()
    return made


def detect_format(path: Path) -> str:
    """The name of the one format that recognises the file's first rows.

    Raises:
        ConfigError: several formats claim the same row.
        DataError: no row can be read, or no format recognises any of the first ones.
    """
    first: Row | None = None
    unreadable: Problem | None = None
    for row in islice(read_rows(path), ROWS_TO_DETECT_FROM):
        if isinstance(row, Problem):
            unreadable = unreadable or row
            continue
        first = first or row
        names = [name for name in FORMATS if make_format(name).matches(row.value)]
        if len(names) > 1:
            raise ConfigError(f"{row.where} looks like several formats: {', '.join(names)}. Say which it is with format=….")
        if names:
            return names[0]
    if first is not None:
        raise DataError(
            f"{first.where} is {describe(first.value)}; no format reads that. Known: {', '.join(sorted(FORMATS))}. "
            "Name one with format=…, or your own as 'package.module:Format'."
        )
    assert unreadable is not None, "a file without rows is a problem of its own"
    raise DataError(f"{unreadable.where}: {unreadable.reason}")


def describe(value: Any) -> str:
    """A decoded JSON value in a few words, for an error message."""
    if isinstance(value, dict):
        return f"an object with the keys {_short(sorted(map(str, value)))}" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}, the first {describe(value[0])}" if value else "an empty list"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return f"{value!r}"[:60]


def _short(keys: Sequence[str]) -> str:
    return ", ".join(key[:40] for key in keys[:8]) + (", …" if len(keys) > 8 else "")
