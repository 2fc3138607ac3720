"""A dialect from outside the package, with a setting: named as module:class in the tests."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from atlas.config import Config
from atlas.exporting.dialects.base import Dialect, DialectContext, ExportRow, SupervisedChat
from atlas.exporting.dialects.chat import read_flagged, tools_field, write_flagged
from atlas.records import Selection, Trajectory


class NamedFlagConfig(Config):
    flag: str = Field(default="learn", description="the name of the flag on each message")


class NamedFlagDialect(Dialect):
    """A flag with a name of your choice on every message."""

    Config = NamedFlagConfig
    notes = """\
Made for the tests.
No trainer reads it."""

    def __init__(self, config: NamedFlagConfig, context: DialectContext) -> None:
        self._flag = config.flag

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        messages = write_flagged(trajectory, selection, self._flag)
        yield {"messages": messages, **tools_field(trajectory)}

    def read(self, row: ExportRow) -> SupervisedChat:
        return read_flagged(row["messages"], self._flag, default=False)
