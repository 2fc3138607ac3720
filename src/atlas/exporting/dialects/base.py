"""The interface of a dialect: `(trajectory, selection) -> rows` of another trainer's file.

A dialect also reads its rows back as the trainer would (`read`), including which turns carry loss.
So `--check` needs only the file to verify what was written. If a dialect cannot express something,
it reports a change (`changes`) or leaves the trajectory out (`CannotCarryError`). A new dialect is
a subclass of `Dialect` and a row in `DIALECTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from atlas.config import Config
from atlas.kinds import Kind
from atlas.records import Message, Selection, Trajectory
from atlas.rendering.count_unwritten import UnwrittenCount
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


class CannotCarryError(Exception):
    """A dialect cannot express a trajectory. The message says why, and what to use instead."""


DIALECT = Kind(
    "dialect",
    DIALECTS,
    methods=("rows", "read"),
    expected={
        "rows": (CannotCarryError,),
        "read": (ValueError, KeyError, TypeError, AttributeError, IndexError),
    },
)


@dataclass(frozen=True, slots=True)
class DialectContext:
    """What a dialect gets besides its settings: the renderer of `tokenizer`, if that is set."""

    renderer: Renderer | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A difference between the file and the trajectories to which `applies` returns true.

    Attributes:
        name: a word for it, for tests and tables.
        in_context: whether it changes the text before a response.
    """

    text: str
    applies: Callable[[Trajectory, Selection], bool]
    name: str = ""
    in_context: bool = True


@dataclass(frozen=True, slots=True)
class SupervisedChat:
    """A row as a trainer reads it: the conversation, and which of its messages carry loss."""

    messages: tuple[Message, ...]
    supervised: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class SupervisedTokens:
    """A row of tokens as a trainer reads it; labels are -100 for tokens without loss."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


class Dialect:
    """Base of dialects, made as `Class(config, context)`: JSON Lines, one row per trajectory.

    Attributes:
        notes: the tested versions, and unexpected behavior of the trainer.
        stanza: the settings for the trainer, with {file} for the path.
        suffixes: allowed suffixes of the file.
        changes: what a row omits or writes in another form (changes.py).
        demands: what the trainer or service refuses or leaves out, though the row has it.
        one_row_per_step: each critical step has its own row, in which only this step carries loss.
        stops_at_last_step: a row ends with the last critical step, because later turns would be
            trained.
        max_tokens: the length at which rows of tokens are cut; None: never.
    """

    notes = ""
    stanza = ""
    suffixes: tuple[Suffix, ...] = (".jsonl",)
    changes: tuple[Change, ...] = ()
    demands: tuple[Change, ...] = ()
    one_row_per_step = False
    stops_at_last_step = False
    max_tokens: int | None = None

    def __init__(self, config: Config, context: DialectContext) -> None:
        pass

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        """Convert a trajectory that has at least one critical step.

        Raises:
            CannotCarryError: the dialect cannot express the trajectory.
        """
        raise NotImplementedError

    def read(self, row: ExportRow) -> SupervisedChat | SupervisedTokens:
        """Read a row as the trainer would.

        Raises:
            ValueError, KeyError, TypeError: the row is damaged.
        """
        raise NotImplementedError

    def unwritten(self, trajectory: Trajectory, selection: Selection) -> UnwrittenCount | None:
        """What a chat template does not write in rows of tokens; None if the trainer renders."""
        return None

    def losses(self, trajectory: Trajectory, selection: Selection) -> tuple[Change, ...]:
        """The changes that apply to this trajectory."""
        return tuple(change for change in self.changes if change.applies(trajectory, selection))

    def refusals(self, trajectory: Trajectory, selection: Selection) -> tuple[Change, ...]:
        """The demands that this trajectory does not meet."""
        return tuple(demand for demand in self.demands if demand.applies(trajectory, selection))
