"""What a dialect is: `(trajectory, selection) -> rows` of another trainer's file.

A dialect also reads its rows back as the trainer would (`read`), including which turns carry loss.
So `--check` proves what was written from the file only. What a dialect cannot carry is either
reported (`changes`) or left out (`CannotCarryError`). A new dialect is a subclass of `Dialect` and
a row in `DIALECTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from atlas.config import Config
from atlas.kinds import Kind
from atlas.records import Message, Selection, Trajectory
from atlas.rendering.renderer import Renderer

ExportRow = dict[str, Any]
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
DIALECT = Kind("dialect", DIALECTS)


class CannotCarryError(Exception):
    """This trajectory has no form in this dialect: why, and what to use instead."""


@dataclass(frozen=True, slots=True)
class DialectContext:
    """What a dialect is given beside its settings: the renderer of the user's tokenizer, if any."""

    renderer: Renderer | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What differs in the file from the trajectories that it applies to, in a few words."""

    text: str
    applies: Callable[[Trajectory], bool]


@dataclass(frozen=True, slots=True)
class SupervisedChat:
    """What a trainer makes of a row: the conversation, and which of its messages carry loss."""

    messages: tuple[Message, ...]
    supervised: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class SupervisedTokens:
    """The same for a row that holds tokens; labels are -100 outside the loss."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


class Dialect:
    """Base of dialects, made as `Class(config, context)`: JSON Lines, one row per trajectory.

    Attributes:
        notes: the versions checked, and what the trainer does with a row that may surprise.
        stanza: the trainer's own settings, with {file} for the path.
        suffixes: the endings that the file may have.
        changes: what a row does not carry, or carries in another form.
        one_row_per_step: each critical step has a row, in which only it carries loss.
        stops_at_last_step: a row ends with the last critical step: what follows would be trained.
        max_tokens: the length at which rows of tokens are cut; None: never.
    """

    notes = ""
    stanza = ""
    suffixes: tuple[Suffix, ...] = (".jsonl",)
    changes: tuple[Change, ...] = ()
    one_row_per_step = False
    stops_at_last_step = False
    max_tokens: int | None = None

    def __init__(self, config: Config, context: DialectContext) -> None:
        pass

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        """The rows of a trajectory that has a critical step.

        Raises:
            CannotCarryError: the dialect has no form for it.
        """
        raise NotImplementedError

    def read(self, row: ExportRow) -> SupervisedChat | SupervisedTokens:
        """A row as the trainer reads it.

        Raises:
            ValueError, KeyError, TypeError: the row is damaged.
        """
        raise NotImplementedError

    def losses(self, trajectory: Trajectory) -> tuple[str, ...]:
        """The changes that apply to this trajectory; they are counted and printed."""
        return tuple(change.text for change in self.changes if change.applies(trajectory))
