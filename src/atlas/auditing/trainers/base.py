"""The interface of a trainer's model: `row of a file -> what it supervises`.

A model is written after the trainer's code of one version, which its docstring names. A new one is
a subclass of `Trainer` and a row in `TRAINERS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from atlas.auditing.rows import RefusedRowError, TrainingRow
from atlas.auditing.supervision import Supervision, keep_end, keep_start, whole
from atlas.auditing.template import LaidOut, Template
from atlas.auditing.token_rows import supervise_tokens
from atlas.config import Config
from atlas.kinds import Kind

TRAINERS: dict[str, str] = {
    "agenttraj": "atlas.auditing.trainers.agenttraj:AgentTrajTrainer",
    "atlas": "atlas.auditing.trainers.atlas_runs:AtlasTrainer",
    "axolotl": "atlas.auditing.trainers.axolotl:AxolotlTrainer",
    "last-turn": "atlas.auditing.trainers.last_turn:LastTurnTrainer",
    "llamafactory": "atlas.auditing.trainers.llamafactory:LlamaFactoryTrainer",
    "ms-swift": "atlas.auditing.trainers.ms_swift:MsSwiftTrainer",
    "openai": "atlas.auditing.trainers.openai:OpenAITrainer",
    "parquet": "atlas.auditing.trainers.parquet:ParquetTrainer",
    "renderers": "atlas.auditing.trainers.renderers:RenderersTrainer",
    "tinker": "atlas.auditing.trainers.tinker:TinkerTrainer",
    "torchtune": "atlas.auditing.trainers.torchtune:TorchtuneTrainer",
    "trl": "atlas.auditing.trainers.trl:TrlTrainer",
    "verl": "atlas.auditing.trainers.verl:VerlTrainer",
}
TRAINER = Kind(
    "trainer", TRAINERS, methods=("supervise",), expected={"supervise": (RefusedRowError,)}
)


@dataclass(frozen=True, slots=True)
class TrainerContext:
    """What a trainer's model gets besides its settings."""

    template: Template


class LengthConfig(Config):
    """Settings of a trainer without a limit of its own."""

    max_length: int | None = Field(
        default=None, ge=1, description="tokens of a row; the end of longer rows is cut"
    )


class Trainer:
    """Base of the models, made as `Class(config, context)`.

    Attributes:
        version: the package and version that the model was written after.
        flag: the flag that the trainer reads, with its settings; None: it reads none.
        columns: the columns in which a row may stand (`TrainingRow.column`); empty: any.
        spellings: the keys of a role that it reads.
        reads_system: whether it reads a column `system` beside the messages.
        reads_runs: whether it takes trajectories with a selection, not rows.
        max_length: the length at which it cuts a sequence; None: never.
    """

    Config: type[Config] = LengthConfig
    version = ""
    flag: str | None = None
    columns: tuple[str, ...] = ()
    spellings: tuple[str, ...] = ("role", "from")
    reads_system = True
    reads_runs = False
    max_length: int | None = None

    def __init__(self, config: Any, context: TrainerContext) -> None:
        self.config = config
        self.template = context.template
        self.max_length = getattr(config, "max_length", None)

    def supervise(self, row: TrainingRow) -> Supervision:
        """The tokens of a row, and which of them carry loss.

        Raises:
            RefusedRowError: the trainer stops at the row, or leaves it out.
        """
        raise NotImplementedError

    def run_settings(self) -> dict[str, Any]:
        """The settings with which the trainer's own code is run on the rows."""
        return dict(self.config.model_dump(mode="json"))


def supervise_row(trainer: Trainer, row: TrainingRow) -> tuple[Supervision, bool]:
    """What a trainer supervises of a row, and whether it leaves out the column `system`.

    Raises:
        RefusedRowError: the trainer stops at the row, or leaves it out.
    """
    if trainer.columns and row.column not in trainer.columns:
        known = " or ".join(trainer.columns)
        raise RefusedRowError(
            f"the row stands in `{row.column}`, and the trainer reads {known}: it is of another "
            "dialect"
        )
    if row.messages and row.spelling not in trainer.spellings:
        raise RefusedRowError(
            "its messages have `from` and `value`, and the trainer reads `role` and `content`: "
            "it is of another dialect"
            if row.spelling == "from"
            else "its messages have `role` and `content`, and the trainer reads `from` and "
            "`value`: it is of another dialect"
        )
    drops_system = row.has_system and not trainer.reads_system
    return trainer.supervise(row.without_system() if drops_system else row), drops_system


def roles_of(row: TrainingRow) -> tuple[str, ...]:
    """The role of each message of a row, as in the file."""
    return tuple(str(message["role"]) for message in row.messages)


def kept_of(num_tokens: int, max_length: int | None, side: str) -> NDArray[np.bool_]:
    """What is left of a sequence: its "start", its "end", or nothing of a longer one ("drop")."""
    if side == "start":
        return keep_start(num_tokens, max_length)
    if side == "end":
        return keep_end(num_tokens, max_length)
    if max_length is not None and num_tokens > max_length:
        return np.zeros(num_tokens, dtype=np.bool_)
    return whole(num_tokens)


def as_supervision(
    laid: LaidOut,
    mask: NDArray[np.bool_],
    row: TrainingRow,
    max_length: int | None,
    side: str = "start",
) -> Supervision:
    """A rendered conversation with its mask, cut to the trainer's length.

    No position predicts the first token.
    """
    mask = mask.copy()
    mask[:1] = False
    kept = kept_of(len(mask), max_length, side)
    dropped = None
    if side == "drop" and not kept.all():
        dropped = f"{len(mask):,} tokens, longer than {max_length:,}"
    return Supervision(
        laid.ids, mask, kept, laid.codes, laid.owners, roles_of(row), laid.unwritten, dropped
    )


def as_it_is(
    template: Template, row: TrainingRow, max_length: int | None, side: str = "start"
) -> Supervision:
    """A row that is tokenized already."""
    assert row.token_ids is not None
    kept = kept_of(len(row.token_ids), max_length, side)
    mask = list(row.labels)
    mask[:1] = [False] * len(mask[:1])
    return supervise_tokens(template, row.token_ids, mask, kept)
