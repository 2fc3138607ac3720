"""Trainers that supervise a turn from the end of its header through its end of turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.auditing.rows import RefusedRowError, TrainingRow, plain_role
from atlas.auditing.supervision import HEADER, TEMPLATE, Supervision
from atlas.auditing.template import LaidOut
from atlas.auditing.trainers.base import Trainer, as_it_is, as_supervision


def mask_of_turns(laid: LaidOut, flags: Sequence[bool]) -> NDArray[np.bool_]:
    """The tokens of flagged messages, without their headers and what follows their end."""
    chosen = np.isin(laid.owners, [index for index, flag in enumerate(flags) if flag])
    part = laid.codes & 7
    mask: NDArray[np.bool_] = chosen & (part != HEADER) & (part != TEMPLATE)
    return mask


class FlaggedTurns(Trainer):
    """Base of trainers that read one flag per message, and know a turn's end of turn as its part.

    Attributes:
        default: whether an assistant turn without a flag is supervised.
    """

    default = True

    def supervise(self, row: TrainingRow) -> Supervision:
        if row.token_ids is not None:
            return as_it_is(self.template, row, self.max_length)
        if not row.messages:
            raise RefusedRowError("the row has no messages")
        laid = self.template.lay_out(row.messages, row.tools)
        return as_supervision(laid, mask_of_turns(laid, self.flags(row)), row, self.max_length)

    def flags(self, row: TrainingRow) -> list[bool]:
        """Whether each message is supervised; only responses are, whatever their flags say."""
        flags = (
            row.flagged(self.flag, self.default)
            if self.flag
            else [self.default for _ in row.messages]
        )
        return [
            flag and plain_role(message["role"]) == "assistant"
            for flag, message in zip(flags, row.messages, strict=True)
        ]
