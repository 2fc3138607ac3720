"""verl 0.9.1, `MultiTurnSFTDataset`: after `utils/dataset/multiturn_sft_dataset.py`.

- Each message is rendered and encoded on its own; what the template writes for an empty user turn
  before its text (a system prompt) is taken off, except from the first message.
- Of an assistant message all tokens after the generation prompt carry loss, also those that follow
  its end of turn. No flag is read; the class that `atlas export --to verl` prints reads
  `loss_mask`.
- If the joined tokens are not those of the whole conversation, verl stops
  (`ignore_input_ids_mismatch`).
- A sequence over `max_length` (1,024) stops it (`truncation: error`), or is cut left or right.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field

from atlas.auditing.rows import RefusedRowError, TrainingRow
from atlas.auditing.supervision import Supervision, Unwritten
from atlas.auditing.trainers.base import Trainer, TrainerContext, as_it_is, kept_of, roles_of
from atlas.config import Config


class VerlConfig(Config):
    """Settings of `verl`, as in its data config."""

    max_length: int | None = Field(
        default=1024, ge=1, description="tokens of a row; see truncation"
    )
    truncation: Literal["error", "left", "right"] = Field(
        default="error", description="what becomes of longer rows: an error, or a cut of one side"
    )
    read_loss_mask: bool = Field(
        default=True,
        description="whether the class that atlas export prints reads `loss_mask`; verl's own does "
        "not",
    )
    ignore_input_ids_mismatch: bool = Field(
        default=False, description="train messages whose tokens are not those of the conversation"
    )


class VerlTrainer(Trainer):
    """Assistant messages, encoded one by one; `loss_mask` by the class of atlas export."""

    Config = VerlConfig
    version = "verl 0.9.1"
    columns = ("messages", "input_ids")
    spellings = ("role",)
    reads_system = False

    def __init__(self, config: VerlConfig, context: TrainerContext) -> None:
        super().__init__(config, context)
        self._config = config
        self.flag = "loss_mask" if config.read_loss_mask else None

    def supervise(self, row: TrainingRow) -> Supervision:
        config = self._config
        side = {"error": "drop", "left": "end", "right": "start"}[config.truncation]
        if row.token_ids is not None:
            return as_it_is(self.template, row, self.max_length, side)
        if not row.messages:
            raise RefusedRowError("the row has no messages")
        # The class multiplies by `loss_mask`, which is 0 where it is absent.
        flags = (
            row.flagged("loss_mask", default=False)
            if config.read_loss_mask and "loss_mask" in row.flags
            else [True] * len(row.messages)
        )
        ids, codes, owners, masks = [], [], [], []
        lost: list[Unwritten] = []
        for index, message in enumerate(row.messages):
            laid = self.template.lay_out([message], row.tools if not index else ())
            first = len(self._prompt) if index and message["role"] != "system" else 0
            mask = np.zeros(len(laid.ids), dtype=np.bool_)
            if message["role"] == "assistant" and flags[index]:
                mask[first + len(self._opening) :] = True
            layout = laid.layout.shifted(index)
            its_codes, its_owners = layout.of_tokens(laid.starts)
            ids.append(laid.ids[first:])
            masks.append(mask[first:])
            codes.append(its_codes[first:])
            owners.append(its_owners[first:])
            lost += layout.unwritten
        joined = np.concatenate(ids)
        if not config.ignore_input_ids_mismatch:
            there = self.template.ids(self.template.render(row.messages, row.tools))
            if joined.tolist() != there:
                raise RefusedRowError(
                    "its messages have other tokens on their own than in the conversation, so verl "
                    "stops (ignore_input_ids_mismatch)"
                )
        mask = np.concatenate(masks)
        mask[:1] = False
        kept = kept_of(len(joined), self.max_length, side)
        dropped = None
        if side == "drop" and not kept.all():
            dropped = f"{len(joined):,} tokens, more than {self.max_length:,}: verl stops"
        return Supervision(
            joined,
            mask,
            kept,
            np.concatenate(codes),
            np.concatenate(owners),
            roles_of(row),
            tuple(lost),
            dropped,
        )

    @cached_property
    def _prompt(self) -> list[int]:
        """The tokens before an empty user turn."""
        one = self._ids(1)
        added = len(self._ids(2)) - len(one)
        return one[: len(one) - added]

    @cached_property
    def _opening(self) -> list[int]:
        """The tokens of a generation prompt."""
        return self._ids(1, open_turn=True)[len(self._ids(1)) :]

    def _ids(self, num_turns: int, *, open_turn: bool = False) -> list[int]:
        chat = [{"role": "user", "content": ""}] * num_turns
        return self.template.ids(self.template.render(chat, open_turn=open_turn))
