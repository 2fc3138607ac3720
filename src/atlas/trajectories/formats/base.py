"""What a format is: `file -> trajectories and problems`. Adding one is one file and one row in `FORMATS`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from atlas.errors import ConfigError, DataError
from atlas.lookup import look_up
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.rows import Row, read_rows

FORMATS: dict[str, str] = {
    "atlas": "atlas.trajectories.formats.atlas:AtlasFormat",
    "agenttraj": "atlas.trajectories.formats.agenttraj:AgentTrajFormat",
    "openai": "atlas.trajectories.formats.openai:OpenAIFormat",
    "sharegpt": "atlas.trajectories.formats.sharegpt:ShareGPTFormat",
    "tau": "atlas.trajectories.formats.tau:TauFormat",
    "swe_agent": "atlas.trajectories.formats.swe_agent:SWEAgentFormat",
    "atif": "atlas.trajectories.formats.atif:ATIFFormat",
    "inspect": "atlas.trajectories.formats.inspect:InspectFormat",
    "claude_code": "atlas.trajectories.formats.claude_code:ClaudeCodeFormat",
    "otel": "atlas.trajectories.formats.otel:OTelFormat",
}
ROWS_TO_DETECT_FROM = 20  # decoded ones: a strange first row must not hide what the file is
ROWS_TO_LOOK_AT = 1000  # those that cannot be decoded included


class Format(Protocol):
    """Reads one kind of file, row after row."""

    def matches(self, row: Any) -> bool:
        """Whether a decoded row looks like this format; never raises, whatever the row is."""
        ...

    def read(self, path: Path) -> Iterator[Trajectory | Problem]:
        """Every row of the file in order: a trajectory, or the reason why it is none. Never raises for what the file holds."""
        ...


@runtime_checkable
class ClaimsFiles(Protocol):
    """A format of files that are no JSON, which it knows by their bytes."""

    def claims(self, path: Path) -> bool:
        """Whether the file is surely of this format; never raises for what the file holds."""
        ...


def make_format(name: str) -> Format:
    """The format named in `FORMATS`, or your own `package.module:Class`."""
    kind = look_up("format", name, FORMATS)
    try:
        made: Format = kind()
    except TypeError as error:
        raise ConfigError(
            f"format '{name}' cannot be made: {error}. Expected a class that takes no arguments."
        ) from error
    return made


def detect_format(path: Path) -> str:
    """The name of the one format that recognises the file's first rows.

    Raises:
        ConfigError: several formats claim the same row.
        DataError: no row can be read, or no format recognises any of the first ones.
    """
    formats = {name: make_format(name) for name in FORMATS}
    claiming = [
        name
        for name, format_ in formats.items()
        if isinstance(format_, ClaimsFiles) and format_.claims(path)
    ]
    if claiming:
        return _only(claiming, path.name)
    first: Row | None = None
    unreadable: Problem | None = None
    num_decoded = 0
    for number, row in enumerate(read_rows(path), start=1):
        if isinstance(row, Problem):
            unreadable = unreadable or row
        else:
            first = first or row
            num_decoded += 1
            if names := [name for name, format_ in formats.items() if format_.matches(row.value)]:
                return _only(names, row.where)
        if num_decoded == ROWS_TO_DETECT_FROM or number == ROWS_TO_LOOK_AT:
            break
    if first is not None:
        raise DataError(
            f"{first.where} is {describe(first.value)}; no format reads that. Known: {', '.join(sorted(FORMATS))}. "
            "Name one with --format, or your own as --format package.module:Format."
        )
    if unreadable is not None:
        raise DataError(f"{unreadable.where}: {unreadable.reason}")
    raise DataError(f"{path.name}: the file is empty, expected rows of JSON")


def _only(names: Sequence[str], where: str) -> str:
    if len(names) > 1:
        raise ConfigError(
            f"{where} looks like several formats: {', '.join(names)}. Say which it is with --format."
        )
    return names[0]


def describe(value: Any) -> str:
    """A decoded JSON value in a few words, for an error message."""
    if isinstance(value, dict):
        return (
            f"an object with the keys {_short(sorted(map(str, value)))}"
            if value
            else "an empty object"
        )
    if isinstance(value, list):
        return (
            f"a list of {len(value)}, the first {describe(value[0])}" if value else "an empty list"
        )
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return f"{value!r}"[:60]


def _short(keys: Sequence[str]) -> str:
    return ", ".join(key[:40] for key in keys[:8]) + (", …" if len(keys) > 8 else "")
