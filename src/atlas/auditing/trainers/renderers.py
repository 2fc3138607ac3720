"""renderers 0.1.12: `build_training_sample` with `message_loss_mask`.

From `renderers/base.py`: the mask only narrows what the renderer calls sampled, which are the words
of responses and their end of turn. A renderer without that knowledge (`DefaultRenderer`) supervises
headers too, and is not modeled.
"""

from __future__ import annotations

from atlas.auditing.rows import RefusedRowError, TrainingRow
from atlas.auditing.trainers.flagged_turns import FlaggedTurns


class RenderersTrainer(FlaggedTurns):
    """Assistant turns that `message_loss_mask` selects; all of them without it."""

    version = "renderers 0.1.12"
    flag = "message_loss_mask"
    columns = ("messages", "input_ids")
    spellings = ("role",)
    reads_system = False

    def flags(self, row: TrainingRow) -> list[bool]:
        for index, value in enumerate(row.flags.get("message_loss_mask", ())):
            if value not in (0, 1):
                raise RefusedRowError(f"entry {index} of message_loss_mask is {value!r:.40}")
        return super().flags(row)
