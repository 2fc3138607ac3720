"""What a dialect is: `(trajectory, selection) -> rows` of another trainer's file. Adding one is one class and one row in `DIALECTS`.

A dialect also reads its rows back as the trainer would (`read`): which turns carry loss. So `--check` can prove what
was written from the file alone. What a dialect cannot carry is either said (`losses`) or left out (`CannotCarryError`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from atlas.config import Config
from atlas.lookup import look_up
from atlas.records import Message, Selection, Trajectory
from atlas.rendering.renderer import Renderer

Row = dict[str, Any]
Suffix = Literal[".jsonl", ".json", ".parquet"]

DIALECTS: dict[str, str] = {
    "agenttraj": "atlas.exporting.dialects.sharegpt:AgentTrajDialect",
    "axolotl": "atlas.exporting.dialects.openai:AxolotlDialect",
    "last-turn": "atlas.exporting.dialects.last_turn:LastTurnDialect",
    "llamafactory": "atlas.exporting.dialects.sharegpt:LlamaFactoryDialect",
    "ms-swift": "atlas.exporting.dialects.ms_swift:MsSwiftDialect",
    "openai": "atlas.exporting.dialects.openai:OpenAIDialect",
    "parquet": "atlas.exporting.dialects.parquet:ParquetDialect",
    "renderers": "atlas.exporting.dialects.openai:RenderersDialect",
    "tinker": "atlas.exporting.dialects.tinker:TinkerDialect",
    "torchtune": "atlas.exporting.dialects.torchtune:TorchtuneDialect",
    "trl": "atlas.exporting.dialects.trl:TrlDialect",
    "verl": "atlas.exporting.dialects.parquet:VerlDialect",
}


class CannotCarryError(Exception):
    """This trajectory has no form in this dialect; the message says why and what to use instead. It becomes a Problem."""


@dataclass(frozen=True, slots=True)
class SupervisedChat:
    """What a trainer makes of a row: the conversation, and which of its messages carry loss."""

    messages: tuple[Message, ...]
    supervised: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class SupervisedTokens:
    """The same of a row that holds tokens already; labels are -100 where there is no loss."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


class DialectSettings(Config):
    """What some dialects need to know besides the data."""

    max_tokens: int | None = None


class Dialect(Protocol):
    """Made as `Class(settings, renderer)`; the renderer is there where the user named a tokenizer.

    Attributes:
        notes: versions checked, and what the trainer does with a row that one would not expect.
        stanza: the trainer's own settings, with {file} where the path goes; empty if there are none.
        suffixes: the endings that the file may have.
        one_row_per_step: whether each critical step has a row of its own, in which it alone carries loss.
        stops_at_last_step: whether a row ends with the last critical step, because what follows would be trained.
    """

    notes: str
    stanza: str
    suffixes: tuple[Suffix, ...]
    one_row_per_step: bool
    stops_at_last_step: bool

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[Row]:
        """The rows of a trajectory that has a critical step.

        Raises:
            CannotCarryError: the dialect has no form for it.
        """
        ...

    def losses(self, trajectory: Trajectory) -> tuple[str, ...]:
        """What of this trajectory does not survive as it is, in a few words each; counted and printed."""
        ...

    def read(self, row: Row) -> SupervisedChat | SupervisedTokens:
        """A row as the trainer reads it.

        Raises:
            ValueError, KeyError, TypeError: the row is damaged.
        """
        ...


def make_dialect(
    name: str, settings: DialectSettings | None = None, renderer: Renderer | None = None
) -> Dialect:
    """The dialect named in `DIALECTS`, or your own `package.module:Class`."""
    made: Dialect = look_up("dialect", name, DIALECTS)(settings or DialectSettings(), renderer)
    return made
